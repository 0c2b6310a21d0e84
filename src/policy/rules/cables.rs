//! The cabling plan: a port of a switch has one cable, and a colour one meaning.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::model::inventory::Nature;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-11.6.b",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "the cabling plan gives each port of a switch to one interface",
            fr: "le plan de câblage donne chaque port de commutateur à une seule interface",
        },
        check: ports,
    },
    Rule {
        id: "SNC-11.6.c",
        pack: Pack::Hardening,
        level: Level::Warning,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["DR-R38"],
        text: Words {
            en: "the colour of administration's cables is that of no others at the site",
            fr: "la couleur des câbles d'administration n'est celle d'aucun autre sur le site",
        },
        check: colours,
    },
];

fn ports(cx: &Cx<'_>, found: &mut Found) {
    let mut taken = HashMap::new();
    for (at, host) in cx.each_host() {
        let site = host.site.as_ref().map(|site| site.as_str());
        for cable in host.interfaces.values().filter_map(|interface| interface.cable.as_ref()) {
            match taken.entry((site, cable.switch.as_str(), cable.port.as_str())) {
                Entry::Vacant(entry) => {
                    entry.insert(cable.port.span);
                }
                Entry::Occupied(entry) => {
                    let (switch, port) = (&cable.switch, &cable.port);
                    let message = say!(
                        cx,
                        "the port {port} of `{switch}` has two cables",
                        "le port {port} de `{switch}` a deux câbles"
                    );
                    let label = say!(cx, "the first", "le premier");
                    let finding = Finding::new(subject("hosts", &host.name), message).at(cable.port.span);
                    found.push(finding.label(*entry.get(), label).hosts([at]));
                }
            }
        }
    }
}

fn colours(cx: &Cx<'_>, found: &mut Found) {
    let mut meaning = HashMap::new();
    let mut told = Vec::new();
    for (at, host) in cx.each_host() {
        let site = host.site.as_ref().map(|site| site.as_str());
        for interface in host.interfaces.values() {
            let Some(colour) = interface.cable.as_ref().and_then(|cable| cable.color.as_ref()) else { continue };
            let Some(nature) = cx.nature(interface) else { continue };
            let is_administration = nature == Nature::Administration;
            let key = (site, colour.as_str());
            let (first_is, first) = *meaning.entry(key).or_insert((is_administration, colour.span));
            if first_is == is_administration || told.contains(&key) {
                continue;
            }
            told.push(key);
            let message = say!(
                cx,
                "cables of the colour {colour} carry administration and other networks",
                "des câbles de couleur {colour} portent l'administration et d'autres réseaux"
            );
            let label = say!(cx, "another meaning of it", "un autre sens de cette couleur");
            let finding = Finding::new(subject("hosts", &host.name), message).at(colour.span).label(first, label);
            found.push(finding.hosts([at]));
        }
    }
}
