//! Where two guides disagree. Both are shown wherever one of the rules is broken or waived; none is dropped for the
//! other in silence.

use super::rule::Words;

/// Two requirements that cannot both be met.
#[derive(Clone, Copy, Debug)]
pub struct Conflict {
    /// The rule that is checked.
    pub rule: &'static str,
    /// What stands against it.
    pub against: &'static str,
    /// What each says, and how it is settled here.
    pub text: Words,
}

/// All known conflicts.
pub const CONFLICTS: &[Conflict] = &[
    Conflict {
        rule: "BP028-R12",
        against: "BP028-R66",
        text: Words {
            en: "R12 switches forwarding off; a hypervisor that routes its machines' networks, and a route server, cannot \
                 work without. A waiver for these hosts says which of the two is followed",
            fr: "R12 coupe le relais des paquets ; un hyperviseur qui route les réseaux de ses machines, ou un serveur de \
                 routes, ne peut s'en passer. Une dérogation pour ces hôtes dit laquelle des deux est suivie",
        },
    },
    Conflict {
        rule: "NT007-R15",
        against: "OpenSSH 9",
        text: Words {
            en: "NT-007 is of 2015 and names AES-CTR with HMAC; today's advice puts AES-GCM and ChaCha20-Poly1305 first. \
                 What is older than both, CBC and SHA-1, is refused by both",
            fr: "la NT-007 date de 2015 et nomme AES-CTR avec HMAC ; l'usage actuel place AES-GCM et ChaCha20-Poly1305 \
                 devant. Ce qui est plus ancien, CBC et SHA-1, est refusé par les deux",
        },
    },
    Conflict {
        rule: "NT007-R27",
        against: "PA022-R25",
        text: Words {
            en: "NT-007 forbids forwarding unless it is justified; a bastion that breaks no protocol forwards. A waiver for \
                 the bastions is that justification",
            fr: "la NT-007 interdit la redirection sauf justification ; un bastion sans rupture de protocole redirige. Une \
                 dérogation pour les bastions est cette justification",
        },
    },
    Conflict {
        rule: "NT007-R8",
        against: "RègleFactorisation",
        text: Words {
            en: "NT-007 accepts RSA from 2048 bits; ANSSI's guide on cryptography recommends 3072 now and requires it from \
                 2031 on",
            fr: "la NT-007 accepte RSA dès 2048 bits ; le guide cryptographique de l'ANSSI recommande déjà 3072 et l'exige \
                 à partir de 2031",
        },
    },
    Conflict {
        rule: "BP028-R28",
        against: "dpkg",
        text: Words {
            en: "R28 mounts /var without the right to execute; Debian's packages run their scripts from /var/lib/dpkg/info",
            fr: "R28 monte /var sans droit d'exécution ; les paquets Debian exécutent leurs scripts depuis /var/lib/dpkg/info",
        },
    },
];

/// Returns the conflicts that a rule is part of.
pub fn conflicts_of(rule: &str) -> impl Iterator<Item = &'static Conflict> + '_ {
    CONFLICTS.iter().filter(move |conflict| conflict.rule == rule || conflict.against == rule)
}
