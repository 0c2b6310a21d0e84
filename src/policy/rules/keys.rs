//! Keys: the server is known before it is trusted, and no key is too short.

use crate::model::inventory::{ConnectionKind, PublicKey};
use crate::model::node::Spanned;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "NT007-R6",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["NT007-R31"],
        text: Words {
            en: "each host's key, or the authority that signs it, is known before the first login",
            fr: "la clé de chaque hôte, ou l'autorité qui la signe, est connue avant la première connexion",
        },
        check: pinned,
    },
    Rule {
        id: "NT007-R8",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["NT007-R7", "NT007-R9"],
        text: Words { en: "an RSA key has 2048 bits or more", fr: "une clé RSA a au moins 2048 bits" },
        check: |cx, found| short(cx, found, 0, 2048),
    },
    Rule {
        id: "RegleFactorisation",
        pack: Pack::Hardening,
        level: Level::Warning,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "an RSA key has 3072 bits or more, which is required from 2031 on",
            fr: "une clé RSA a au moins 3072 bits, ce qui est exigé à partir de 2031",
        },
        check: |cx, found| short(cx, found, 2048, 3072),
    },
];

fn pinned(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        if host.connection() == ConnectionKind::Local {
            continue;
        }
        let Some(ssh) = cx.inventory.ssh(host) else { continue };
        if !ssh.host_keys.is_empty() || ssh.known_hosts.is_some() {
            continue;
        }
        let name = &host.name;
        let message = say!(
            cx,
            "nothing says which key `{name}` has, so whoever answers at its address would be trusted",
            "rien ne dit quelle clé a `{name}` : qui répond à son adresse serait cru"
        );
        let help = say!(
            cx,
            "`provision trust {name}` writes it into the inventory for review; or give `ssh.host_ca`",
            "`provision trust {name}` l'écrit dans l'inventaire pour relecture ; ou donnez `ssh.host_ca`"
        );
        found.push(Finding::new(subject("hosts", name), message).at(host.span).help(help).hosts([at]));
    }
}

/// Reports RSA keys of `from` bits or more, but fewer than `least`.
fn short(cx: &Cx<'_>, found: &mut Found, from: usize, least: usize) {
    let inventory = cx.inventory;
    let mut look = |key: &Spanned<PublicKey>, subject: String, host: Option<usize>| {
        if let Some(bits) = key.rsa_bits()
            && (from..least).contains(&bits)
        {
            let message = say!(
                cx,
                "the RSA key has {bits} bits, and {least} are asked for",
                "la clé RSA a {bits} bits, et {least} sont demandés"
            );
            let help =
                say!(cx, "an Ed25519 key is shorter and stronger", "une clé Ed25519 est plus courte et plus forte");
            found.push(Finding::new(subject, message).at(key.span).help(help).hosts(host));
        }
    };
    for (name, operator) in &inventory.operators {
        operator.keys.iter().for_each(|key| look(key, subject("operators", name), None));
    }
    for (at, host) in cx.each_host() {
        host.ssh.host_key.iter().for_each(|key| look(key, subject("hosts", &host.name), Some(at)));
    }
    inventory.defaults.ssh.host_ca.iter().for_each(|key| look(key, "defaults.ssh".to_owned(), None));
    for (name, plane) in &inventory.planes {
        plane.ssh.host_ca.iter().for_each(|key| look(key, subject("planes", name), None));
    }
}
