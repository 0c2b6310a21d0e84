//! Production apart from what it is tried on: no machine, switch or network holds both.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::Span;
use crate::model::inventory::Environment;
use crate::policy::Level;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::say;

pub(super) const RULES: &[Rule] = &[Rule {
    id: "SNC-12.3.a",
    pack: Pack::Separation,
    level: Level::Error,
    kind: Kind::S,
    needs: Needs::Inventory,
    also: &[],
    text: Words {
        en: "production and what it is tried on share no machine, no switch and no network",
        fr: "la production et ce sur quoi on l'essaie ne partagent ni machine, ni commutateur, ni réseau",
    },
    check,
}];

/// Something that hosts share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shared<'a> {
    Machine(usize),
    Switch(&'a str, &'a str),
    Network(&'a str),
}

/// The first host of each sort that was seen on it.
#[derive(Default)]
struct Sides {
    production: Option<(usize, Span)>,
    other: Option<(usize, Span)>,
}

fn check(cx: &Cx<'_>, found: &mut Found) {
    let mut things: BTreeMap<Shared<'_>, Sides> = BTreeMap::new();
    for (at, host) in cx.each_host() {
        let Some(environment) = &host.record.environment else { continue };
        let mut shared = vec![Shared::Machine(cx.machine(at))];
        for interface in host.interfaces.values() {
            if let (Some(cable), Some(site)) = (&interface.cable, &host.site) {
                shared.push(Shared::Switch(site.as_str(), cable.switch.as_str()));
            }
            shared.extend(interface.network.as_ref().map(|network| Shared::Network(network.as_str())));
        }
        for thing in shared {
            let sides = things.entry(thing).or_default();
            let side = match environment.value {
                Environment::Production => &mut sides.production,
                Environment::Preproduction | Environment::Development => &mut sides.other,
            };
            side.get_or_insert((at, environment.span));
        }
    }
    let mut told: BTreeSet<usize> = BTreeSet::new();
    for (thing, sides) in things {
        let (Some((production, first)), Some((other, span))) = (sides.production, sides.other) else { continue };
        // What shares a machine shares the rest with it.
        if !told.insert(other) {
            continue;
        }
        let (Some(production), Some(host)) = (cx.host(production), cx.host(other)) else { continue };
        let (name, neighbour) = (&host.name, &production.name);
        let message = match thing {
            Shared::Machine(machine) => {
                let machine = cx.host(machine).map_or("", |host| host.name.as_str());
                say!(
                    cx,
                    "`{name}` shares the machine `{machine}` with `{neighbour}` of production",
                    "`{name}` partage la machine `{machine}` avec `{neighbour}` de production"
                )
            }
            Shared::Switch(_, switch) => say!(
                cx,
                "`{name}` shares the switch `{switch}` with `{neighbour}` of production",
                "`{name}` partage le commutateur `{switch}` avec `{neighbour}` de production"
            ),
            Shared::Network(network) => say!(
                cx,
                "`{name}` shares the network `{network}` with `{neighbour}` of production",
                "`{name}` partage le réseau `{network}` avec `{neighbour}` de production"
            ),
        };
        let label = say!(cx, "production", "la production");
        found.push(Finding::new(subject("hosts", name), message).at(span).label(first, label).hosts([other]));
    }
}
