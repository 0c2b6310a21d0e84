//! The SSH server as it runs: what `sshd -T` says is in force, what `Match` blocks say beside, and the server's keys.

use super::live::{OnHost, each, rule};
use crate::policy::cx::{Cx, plane_of};
use crate::policy::finding::Found;
use crate::policy::live::Sshd;
use crate::policy::rule::{Rule, Words};
use crate::policy::rules::sshd::BROKEN;
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    rule(
        "BP028-R33",
        Level::Error,
        Words { en: "the SSH server lets nobody in as root", fr: "le serveur SSH ne laisse entrer nul en root" },
        |cx, found| asked(cx, found, "PermitRootLogin", &["no"]),
    ),
    rule(
        "NT007-R7",
        Level::Error,
        Words { en: "the SSH server has no DSA key", fr: "le serveur SSH n'a pas de clé DSA" },
        |cx, found| keys(cx, found, "DSA", u32::MAX),
    ),
    rule(
        "NT007-R8",
        Level::Error,
        Words {
            en: "the RSA keys of the SSH server have 2048 bits or more",
            fr: "les clés RSA du serveur SSH ont 2048 bits ou plus",
        },
        |cx, found| keys(cx, found, "RSA", 2048),
    ),
    rule(
        "NT007-R9",
        Level::Error,
        Words {
            en: "the ECDSA keys of the SSH server have 256 bits or more",
            fr: "les clés ECDSA du serveur SSH ont 256 bits ou plus",
        },
        |cx, found| keys(cx, found, "ECDSA", 256),
    ),
    rule(
        "NT007-R15",
        Level::Error,
        Words {
            en: "the SSH server offers AES in CTR mode with HMAC, and nothing older",
            fr: "le serveur SSH propose AES en mode CTR avec HMAC, et rien de plus ancien",
        },
        ciphers,
    ),
    rule(
        "NT007-R22",
        Level::Error,
        Words { en: "the SSH server lists who may log in", fr: "le serveur SSH liste qui peut se connecter" },
        allowed,
    ),
    rule(
        "NT007-R23",
        Level::Error,
        Words {
            en: "users do not change the environment of their session",
            fr: "les utilisateurs ne modifient pas l'environnement de leur session",
        },
        |cx, found| asked(cx, found, "PermitUserEnvironment", &["no"]),
    ),
    rule(
        "NT007-R25",
        Level::Warning,
        Words {
            en: "the SSH server listens at the administration address only",
            fr: "le serveur SSH n'écoute que sur l'adresse d'administration",
        },
        listens,
    ),
    rule(
        "NT007-R27",
        Level::Error,
        Words { en: "no TCP connection is forwarded", fr: "aucune connexion TCP n'est redirigée" },
        forwarding,
    ),
    rule(
        "NT007-R28",
        Level::Error,
        Words { en: "no X11 display is forwarded", fr: "aucun affichage X11 n'est redirigé" },
        |cx, found| asked(cx, found, "X11Forwarding", &["no"]),
    ),
    rule(
        "PA022-R36",
        Level::Error,
        Words { en: "a password alone lets nobody in", fr: "un mot de passe seul ne laisse entrer personne" },
        factors,
    ),
    rule(
        "PA022-R34",
        Level::Error,
        Words { en: "nobody logs in with an empty password", fr: "nul ne se connecte avec un mot de passe vide" },
        |cx, found| asked(cx, found, "PermitEmptyPasswords", &["no"]),
    ),
];

/// Reports hosts where a directive has another value than those accepted, for everybody or in a `Match` block.
fn asked(cx: &Cx<'_>, found: &mut Found, key: &str, accepted: &[&str]) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            weak(on, sshd, key, accepted, &|_| false);
        },
    );
}

fn weak(on: &mut OnHost<'_, '_>, sshd: &Sshd, key: &str, accepted: &[&str], is_fine: &dyn Fn(&str) -> bool) {
    let wanted = accepted.join(" | ");
    let lower = key.to_lowercase();
    let is_weak = |value: &str| !accepted.contains(&value.to_lowercase().as_str());
    match sshd.first(&lower) {
        Some(value) if is_weak(value) => {
            let message = say!(
                on.cx,
                "the SSH server has `{key} {value}`, and `{wanted}` is asked for",
                "le serveur SSH a `{key} {value}`, et `{wanted}` est demandé"
            );
            on.push(on.finding(message));
        }
        Some(_) => {}
        None => on.unread(say!(on.cx, "`sshd -T` says nothing of `{key}`", "`sshd -T` ne dit rien de `{key}`")),
    }
    for matched in sshd.matched.iter().filter(|matched| matched.key == lower && is_weak(&matched.value)) {
        if is_fine(&matched.only) {
            continue;
        }
        let (only, value) = (&matched.only, &matched.value);
        let message = say!(
            on.cx,
            "the SSH server has `{key} {value}` for `{only}`, and `{wanted}` is asked for",
            "le serveur SSH a `{key} {value}` pour `{only}`, et `{wanted}` est demandé"
        );
        on.push(on.finding_of("sshd", only, message));
    }
}

/// A bastion carries connections to hosts that are named: that is what it is for, and NT-007's own exception.
fn forwarding(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            let is_bastion = on.host.has_role("bastion");
            let is_named = |only: &str| {
                let permits = sshd.matched.iter().filter(|matched| matched.only == only && matched.key == "permitopen");
                let mut permits = permits.map(|matched| matched.value.as_str()).peekable();
                permits.peek().is_some() && permits.all(|value| value != "any" && !value.contains('*'))
            };
            weak(on, sshd, "AllowTcpForwarding", &["no"], &|only| is_bastion && is_named(only));
        },
    );
}

fn keys(cx: &Cx<'_>, found: &mut Found, sort: &str, least: u32) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            for key in sshd.keys.iter().filter(|key| key.sort == sort && key.bits < least) {
                let (path, bits) = (&key.path, key.bits);
                let message = say!(
                    on.cx,
                    "the SSH server has a key {path} ({sort}, {bits} bits)",
                    "le serveur SSH a une clé {path} ({sort}, {bits} bits)"
                );
                on.push(on.finding_of("keys", path, message));
            }
        },
    );
}

fn ciphers(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            for key in ["ciphers", "macs"] {
                let Some(list) = sshd.first(key) else {
                    on.unread(say!(on.cx, "`sshd -T` says nothing of `{key}`", "`sshd -T` ne dit rien de `{key}`"));
                    continue;
                };
                let named = |names: &[&str]| -> Vec<&str> {
                    list.split(',').filter(|name| names.iter().any(|part| name.contains(part))).collect()
                };
                let old = named(BROKEN);
                if !old.is_empty() {
                    let names = old.join(", ");
                    let message = say!(
                        on.cx,
                        "the SSH server accepts {names}, which no guide does any more",
                        "le serveur SSH accepte {names}, qu'aucun guide n'admet plus"
                    );
                    on.push(on.finding(message));
                }
                let new = named(&["gcm", "poly1305"]);
                if !new.is_empty() {
                    let names = new.join(", ");
                    let message = say!(
                        on.cx,
                        "the SSH server accepts {names}, newer than NT-007 and unknown to it",
                        "le serveur SSH accepte {names}, plus récent que la NT-007 et inconnu d'elle"
                    );
                    on.push(on.finding(message).only(Level::Note));
                }
            }
        },
    );
}

fn allowed(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            if sshd.all("allowusers").is_empty() && sshd.all("allowgroups").is_empty() {
                let message = say!(
                    on.cx,
                    "the SSH server lets every account log in: neither `AllowUsers` nor `AllowGroups` is given",
                    "le serveur SSH laisse tout compte se connecter : ni `AllowUsers` ni `AllowGroups` n'est donné"
                );
                return on.push(on.finding(message));
            }
            // Who is listed is somebody: an operator of the host's plane, or the tool's own user.
            let plane = plane_of(on.host);
            let own = on.login_user();
            for user in sshd.all("allowusers").iter().flat_map(|line| line.split_whitespace()) {
                let name = user.split('@').next().unwrap_or(user);
                let is_operator = on.cx.inventory.operators.iter().any(|(known, operator)| {
                    known == name && operator.planes.iter().any(|known| Some(known.as_str()) == plane)
                });
                if is_operator || name == own {
                    continue;
                }
                let message = say!(
                    on.cx,
                    "the SSH server lets `{user}` log in, who is no operator of this host",
                    "le serveur SSH laisse `{user}` se connecter, qui n'est pas un opérateur de cet hôte"
                );
                on.push(on.finding_of("accounts", name, message));
            }
        },
    );
}

fn listens(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            let address = on.host.ssh.address.as_ref().map(|address| address.as_str()).unwrap_or_default();
            let at = |line: &str| -> String {
                let address = line.rsplit_once(':').map_or(line, |(address, _)| address);
                address.trim_start_matches('[').trim_end_matches(']').to_owned()
            };
            let others: Vec<String> =
                sshd.all("listenaddress").iter().map(|line| at(line)).filter(|at| at != address).collect();
            // A host that has one network card listens where it is administered, however it says so.
            if others.is_empty() || on.host.interfaces.len() < 2 {
                return;
            }
            let others = others.join(", ");
            let message = say!(
                on.cx,
                "the SSH server listens at {others}, and the host is administered at {address}",
                "le serveur SSH écoute sur {others}, et l'hôte est administré sur {address}"
            );
            on.push(on.finding(message));
        },
    );
}

fn factors(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sshd,
        |on, sshd| {
            let is_on = |key: &str| sshd.first(key) == Some("yes");
            let ways: Vec<&str> = ["passwordauthentication", "kbdinteractiveauthentication"]
                .into_iter()
                .filter(|key| is_on(key))
                .collect();
            let methods = sshd.first("authenticationmethods").unwrap_or("any");
            // Each list of methods is a way in by itself.
            let is_enough = |list: &str| list.contains(',') || list.starts_with("publickey");
            if !ways.is_empty() && !methods.split_whitespace().all(is_enough) {
                let ways = ways.join(", ");
                let message = say!(
                    on.cx,
                    "the SSH server lets people in with a password alone ({ways})",
                    "le serveur SSH laisse entrer avec un mot de passe seul ({ways})"
                );
                on.push(on.finding(message));
            }
        },
    );
}
