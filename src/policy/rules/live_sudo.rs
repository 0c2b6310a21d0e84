//! Who may do what as somebody else on the live host, as sudo itself reads its files.

use std::collections::BTreeSet;

use super::live::{OnHost, each, rule};
use crate::policy::cx::Cx;
use crate::policy::finding::Found;
use crate::policy::live::{Right, Sudo};
use crate::policy::rule::{Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    rule(
        "BP028-R38",
        Level::Warning,
        Words { en: "only a group of its own can run sudo", fr: "seul un groupe dédié peut exécuter sudo" },
        program,
    ),
    rule(
        "BP028-R39",
        Level::Warning,
        Words {
            en: "sudo confines what it runs: noexec, use_pty, umask=0077, ignore_dot, env_reset",
            fr: "sudo confine ce qu'il exécute : noexec, use_pty, umask=0077, ignore_dot, env_reset",
        },
        options,
    ),
    rule(
        "BP028-R40",
        Level::Warning,
        Words {
            en: "a sudo rule names as whom, and not everybody",
            fr: "une règle sudo nomme en tant que qui, et non tout le monde",
        },
        targets,
    ),
    rule(
        "BP028-R42",
        Level::Error,
        Words {
            en: "a sudo rule in force lists what is allowed, not what is not",
            fr: "une règle sudo en vigueur liste ce qui est permis, et non ce qui ne l'est pas",
        },
        negated,
    ),
    rule(
        "BP028-R43",
        Level::Error,
        Words { en: "a sudo rule in force names each command", fr: "une règle sudo en vigueur nomme chaque commande" },
        everything,
    ),
];

/// Calls `check` with the rights of a host that has sudo. What root may do as somebody else, root may do anyway.
fn each_right(cx: &Cx<'_>, found: &mut Found, check: impl Fn(&mut OnHost<'_, '_>, &Sudo, &Right)) {
    each(
        cx,
        found,
        |live| &live.sudo,
        |on, sudo| match sudo {
            None => on.has_none(),
            Some(sudo) => {
                sudo.rights.iter().filter(|right| right.who != "root").for_each(|right| check(on, sudo, right));
            }
        },
    );
}

fn program(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sudo,
        |on, sudo| match sudo {
            None => on.has_none(),
            Some(sudo) => {
                let mode = &sudo.mode;
                let is_open =
                    mode.chars().next_back().and_then(|digit| digit.to_digit(8)).is_none_or(|bits| bits & 1 == 1);
                if is_open {
                    let message =
                        say!(on.cx, "everybody can run sudo (mode {mode})", "chacun peut exécuter sudo (mode {mode})");
                    on.push(on.finding(message));
                }
            }
        },
    );
}

/// Options that R39 asks for. A terminal (`requiretty`) is left out: sudo's own `use_pty` gives one.
const WANTED: [&str; 5] = ["noexec", "use_pty", "umask=0077", "ignore_dot", "env_reset"];

fn options(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sudo,
        |on, sudo| {
            let Some(sudo) = sudo else { return on.has_none() };
            let people: BTreeSet<&str> =
                sudo.rights.iter().map(|right| right.who.as_str()).filter(|who| *who != "root").collect();
            if people.is_empty() {
                return on.has_none();
            }
            for who in people {
                let missing: Vec<&str> = WANTED.into_iter().filter(|wanted| !has_option(sudo, who, wanted)).collect();
                if !missing.is_empty() {
                    let missing = missing.join(", ");
                    let message = say!(
                        on.cx,
                        "sudo runs what `{who}` asks for without {missing}",
                        "sudo exécute ce que demande `{who}` sans {missing}"
                    );
                    on.push(on.finding_of("sudo", who, message));
                }
            }
        },
    );
}

/// Returns whether an option is in force for somebody: the last word counts, and of a right its own.
fn has_option(sudo: &Sudo, who: &str, wanted: &str) -> bool {
    let name = wanted.split('=').next().unwrap_or(wanted);
    let own = |option: &String| option.trim_start_matches('!').split('=').next() == Some(name);
    let is_on = |option: &String| option == wanted;
    // General ones come first, those of somebody afterwards, whatever their order in the files.
    let general = sudo.defaults.iter().filter(|(whom, _)| whom.is_none());
    let bound = sudo.defaults.iter().filter(|(whom, _)| whom.as_deref() == Some(who));
    let by_default = general.chain(bound).map(|(_, option)| option).rfind(|option| own(option));
    let mut rights = sudo.rights.iter().filter(|right| right.who == who);
    rights.all(|right| right.options.iter().rfind(|option| own(option)).or(by_default).is_some_and(is_on))
}

fn targets(cx: &Cx<'_>, found: &mut Found) {
    each_right(cx, found, |on, _, right| {
        if right.run_as.iter().any(|whom| whom == "ALL") {
            let (who, commands) = (&right.who, right.commands.join(", "));
            let message = say!(
                on.cx,
                "`{who}` may run {commands} as anybody",
                "`{who}` peut exécuter {commands} en tant que n'importe qui"
            );
            on.push(on.finding_of("sudo", who, message));
        }
    });
}

fn negated(cx: &Cx<'_>, found: &mut Found) {
    each_right(cx, found, |on, _, right| {
        for command in right.commands.iter().filter(|command| command.starts_with('!')) {
            let who = &right.who;
            let message = say!(
                on.cx,
                "the sudo rule of `{who}` excludes `{command}`, and another name of the same program passes",
                "la règle sudo de `{who}` exclut `{command}`, et un autre nom du même programme passe"
            );
            on.push(on.finding_of("sudo", who, message));
        }
    });
}

fn everything(cx: &Cx<'_>, found: &mut Found) {
    each_right(cx, found, |on, _, right| {
        if !right.commands.iter().any(|command| command == "ALL") {
            return;
        }
        let who = &right.who;
        let message = match right.is_without_password {
            true => say!(
                on.cx,
                "the sudo rule of `{who}` allows every command, without a password",
                "la règle sudo de `{who}` permet toute commande, sans mot de passe"
            ),
            false => say!(
                on.cx,
                "the sudo rule of `{who}` allows every command",
                "la règle sudo de `{who}` permet toute commande"
            ),
        };
        on.push(on.finding_of("sudo", who, message));
    });
}
