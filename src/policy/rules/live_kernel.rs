//! The settings of the kernel as they are in force. What BP-028 R12 asks of the network is asked together with who passes
//! packets on, in [`live_network`](super::live_network).

use super::live::{each, rule};
use super::settings::{FILES, KERNEL, NETWORK, Settings};
use crate::policy::cx::Cx;
use crate::policy::finding::Found;
use crate::policy::rule::{Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        also: &["BP028-R11"],
        ..rule(
            "BP028-R9",
            Level::Error,
            Words {
                en: "no setting of the kernel in force is weaker than asked for",
                fr: "aucun réglage du noyau en vigueur n'est plus faible que demandé",
            },
            |cx, found| weaker(cx, found, KERNEL),
        )
    },
    rule(
        "BP028-R14",
        Level::Error,
        Words {
            en: "no setting of the file systems in force is weaker than asked for",
            fr: "aucun réglage des systèmes de fichiers en vigueur n'est plus faible que demandé",
        },
        |cx, found| weaker(cx, found, FILES),
    ),
];

/// The setting that the rule on who passes packets on judges by itself, with its exceptions.
const FORWARDING: &str = "net.ipv4.ip_forward";

fn weaker(cx: &Cx<'_>, found: &mut Found, settings: Settings) {
    each(
        cx,
        found,
        |live| &live.settings,
        |on, values| {
            let mut silent: Vec<&str> = Vec::new();
            for (key, accepted) in settings.iter().filter(|(key, _)| *key != FORWARDING) {
                // Without IPv6 there is nothing to set.
                let has_no_ipv6 =
                    key.starts_with("net.ipv6.") && !values.keys().any(|key| key.starts_with("net.ipv6."));
                match values.get(*key) {
                    Some(value) if accepted.contains(&value.as_str()) => {}
                    Some(value) => {
                        let wanted = accepted.join(" | ");
                        let message = say!(
                            on.cx,
                            "`{key}` is {value}, and {wanted} is asked for",
                            "`{key}` vaut {value}, et {wanted} est demandé"
                        );
                        on.push(on.finding_of("settings", key, message));
                    }
                    None if has_no_ipv6 => {}
                    None => silent.push(key),
                }
            }
            if !silent.is_empty() {
                let keys = silent.join(", ");
                on.unread(say!(on.cx, "the kernel does not have {keys}", "le noyau n'a pas {keys}"));
            }
        },
    );
}

/// Reports the settings of the network that are weaker than asked for, of all cards and of each.
pub(super) fn network(cx: &Cx<'_>, found: &mut Found) {
    weaker(cx, found, NETWORK);
    each(
        cx,
        found,
        |live| &live.cards,
        |on, cards| {
            for ((family, card, name), value) in cards {
                // What holds for all and for new cards is judged above, and the loopback leads nowhere.
                if value == "0" || matches!(card.as_str(), "all" | "default" | "lo") {
                    continue;
                }
                let of_all = (family.clone(), "all".to_owned(), name.clone());
                if cards.get(&of_all).is_some_and(|value| value != "0") {
                    continue;
                }
                // The kernel heeds these of IPv4 where `all` or the card has them, and of IPv6 where the card has.
                let key = format!("net.{family}.conf.{card}.{name}");
                let message =
                    say!(on.cx, "`{key}` is {value}, and 0 is asked for", "`{key}` vaut {value}, et 0 est demandé");
                on.push(on.finding_of("settings", &key, message));
            }
        },
    );
}
