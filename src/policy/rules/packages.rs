//! Where software comes from, and what may be run from where.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::policy::cx::{Cx, Written, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "BP028-R59",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &["SNC-12.10.a"],
        text: Words {
            en: "packages come from the declared repositories and from nowhere else",
            fr: "les paquets viennent des dépôts déclarés et de nulle part ailleurs",
        },
        check: exclusive,
    },
    Rule {
        id: "BP028-R28",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &[],
        text: Words {
            en: "what users and services write to is mounted without devices, set-user-ID and, where it can be, execution",
            fr: "ce où écrivent utilisateurs et services est monté sans périphériques, sans setuid et, si possible, sans \
                 exécution",
        },
        check: mounts,
    },
    Rule {
        id: "BP028-R42",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &[],
        text: Words {
            en: "a sudo rule lists what is allowed, not what is not",
            fr: "une règle sudo liste ce qui est permis, et non ce qui ne l'est pas",
        },
        check: |cx, found| sudo(cx, found, SudoFault::Negated),
    },
    Rule {
        id: "BP028-R43",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &["BP028-R40"],
        text: Words { en: "a sudo rule names each command", fr: "une règle sudo nomme chaque commande" },
        check: |cx, found| sudo(cx, found, SudoFault::Everything),
    },
];

/// Returns the resources of a kind that are to be there.
pub(super) fn of_kind<'c, 'a>(cx: &'c Cx<'a>, kind: &'static str) -> impl Iterator<Item = &'c Written<'a>> + 'c {
    let all = cx.playbook.map(|playbook| playbook.resources.as_slice()).unwrap_or_default().iter();
    all.filter(move |resource| {
        resource.kind == kind && resource.spec.get("state").and_then(Value::as_str) != Some("absent")
    })
}

fn text<'v>(spec: &'v Value, key: &str) -> Option<&'v str> {
    spec.get(key).and_then(Value::as_str)
}

fn exclusive(cx: &Cx<'_>, found: &mut Found) {
    // That a repository names its key is part of what the kind asks for.
    let mut hosts: BTreeMap<&str, (&Written<'_>, bool)> = BTreeMap::new();
    for resource in of_kind(cx, "apt.repository") {
        let is_exclusive = resource.spec.get("exclusive").and_then(Value::as_bool).unwrap_or_default();
        hosts.entry(resource.host.as_str()).or_insert((resource, false)).1 |= is_exclusive;
    }
    for (host, (resource, is_exclusive)) in hosts {
        if is_exclusive {
            continue;
        }
        let message = say!(
            cx,
            "nothing removes the repositories that are on the host already",
            "rien ne retire les dépôts déjà présents sur l'hôte"
        );
        let help = say!(cx, "say `exclusive: true` of the repository", "dites `exclusive: true` du dépôt");
        let finding = Finding::new(subject("hosts", host), message).at(resource.span).help(help);
        found.push(finding.hosts(cx.position(host)));
    }
}

/// Paths with the options that R28 asks for.
pub(super) const MOUNTS: &[(&str, &[&str])] = &[
    ("/boot", &["nosuid", "nodev", "noexec"]),
    ("/home", &["nosuid", "nodev", "noexec"]),
    ("/opt", &["nosuid", "nodev"]),
    ("/srv", &["nosuid", "nodev", "noexec"]),
    ("/tmp", &["nosuid", "nodev", "noexec"]),
    ("/usr", &["nodev"]),
    ("/var", &["nosuid", "nodev"]),
    ("/var/log", &["nosuid", "nodev", "noexec"]),
    ("/var/tmp", &["nosuid", "nodev", "noexec"]),
];

fn mounts(cx: &Cx<'_>, found: &mut Found) {
    for resource in of_kind(cx, "mount") {
        let path = text(&resource.spec, "path").unwrap_or_default();
        let Some((_, wanted)) = MOUNTS.iter().find(|(known, _)| *known == path) else { continue };
        let options = resource.spec.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let missing: Vec<&str> =
            wanted.iter().copied().filter(|wanted| !options.iter().any(|option| option == wanted)).collect();
        if missing.is_empty() {
            continue;
        }
        let missing = missing.join(", ");
        let message = say!(cx, "{path} is mounted without {missing}", "{path} est monté sans {missing}");
        let at = cx.position(resource.host.as_str());
        found.push(Finding::new(subject("hosts", resource.host), message).at(resource.span).hosts(at));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SudoFault {
    Negated,
    Everything,
}

/// Returns the commands of a line of sudoers: `%admins ALL=(root) NOPASSWD: /bin/a, !/bin/b`.
fn commands(line: &str) -> Vec<&str> {
    let line = line.trim();
    let is_rule = !line.starts_with(['#', '@']) && !line.starts_with("Defaults") && !line.contains("_Alias");
    let Some((_, right)) = line.split_once('=').filter(|_| is_rule) else { return Vec::new() };
    let right = match right.trim_start().strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or("", |(_, rest)| rest),
        None => right,
    };
    let commands = right.split(',').map(|command| {
        let mut command = command.trim();
        // Tags stand before a command, each with a colon: `NOPASSWD: NOEXEC: /bin/a`.
        while let Some((tag, rest)) = command.split_once(':')
            && !tag.is_empty()
            && tag.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        {
            command = rest.trim_start();
        }
        command
    });
    commands.collect()
}

fn sudo(cx: &Cx<'_>, found: &mut Found, fault: SudoFault) {
    for resource in of_kind(cx, "sudoers") {
        let Some(text) = &resource.text else { continue };
        for command in text.lines().flat_map(commands) {
            let message = match fault {
                SudoFault::Negated if command.starts_with('!') => say!(
                    cx,
                    "the sudo rule excludes `{command}`, and another name of the same program passes",
                    "la règle sudo exclut `{command}`, et un autre nom du même programme passe"
                ),
                SudoFault::Everything if command == "ALL" => {
                    say!(cx, "the sudo rule allows every command", "la règle sudo permet toute commande")
                }
                _ => continue,
            };
            let at = cx.position(resource.host.as_str());
            found.push(Finding::new(subject("hosts", resource.host), message).at(resource.span).hosts(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_sudo_rule_are_told_apart() {
        assert_eq!(commands("%admins ALL=(root) NOPASSWD: NOEXEC: /bin/a -x, !/bin/b"), ["/bin/a -x", "!/bin/b"]);
        assert_eq!(commands("deploy ALL=(ALL:ALL) ALL"), ["ALL"]);
        assert_eq!(commands("Defaults:deploy umask=0077"), [""; 0]);
        assert_eq!(commands("# a = ALL"), [""; 0]);
    }
}
