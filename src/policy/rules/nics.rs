//! Network cards: one of its own for administration, and no bridge between zones.

use crate::diag::Span;
use crate::model::inventory::{ConnectionKind, Host, Interface, Nature};
use crate::model::node::Spanned;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "PA022-R18",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "each host has exactly one network card for administration, which carries nothing else",
            fr: "chaque hôte a exactement une carte réseau d'administration, qui ne porte rien d'autre",
        },
        check: administration_cards,
    },
    Rule {
        id: "SNC-13.2.b",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "no bridge of a host joins two security zones",
            fr: "aucun pont d'un hôte ne joint deux zones de sécurité",
        },
        check: bridges,
    },
];

type Named<'a> = (&'a Spanned<String>, &'a Interface);

/// Returns what else an interface shares its wire with: the name and the place.
fn shares_wire<'a>(cx: &Cx<'a>, host: &'a Host, (name, interface): Named<'a>) -> Option<(&'a str, Span)> {
    let is_other = |other: &Interface| cx.nature(other).is_some_and(|nature| nature != Nature::Administration);
    if let Some(vlan) = &interface.vlan {
        let parent = vlan.parent.as_str();
        let sibling = host.interfaces.iter().find(|(other_name, other)| {
            let on_parent = other.vlan.as_ref().is_some_and(|vlan| vlan.parent.as_str() == parent);
            (on_parent || other_name.as_str() == parent) && is_other(other)
        });
        return sibling.map(|(other, _)| (other.as_str(), vlan.parent.span));
    }
    // What rides on the administration's own card.
    let rider = host.interfaces.iter().find(|(_, other)| {
        other.vlan.as_ref().is_some_and(|vlan| vlan.parent.as_str() == name.as_str()) && is_other(other)
    });
    rider.map(|(other, _)| (other.as_str(), other.span))
}

/// Returns the bridge that an interface is, or is enslaved to.
fn bridge_of<'a>(host: &'a Host, (name, interface): Named<'a>) -> Option<(&'a str, Span)> {
    if interface.bridge.is_some() {
        return Some((name.as_str(), name.span));
    }
    host.interfaces.iter().find_map(|(bridge, other)| {
        let port = other.bridge.as_ref()?.ports.iter().find(|port| port.value == name.value)?;
        Some((bridge.as_str(), port.span))
    })
}

fn administration_cards(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        if host.connection() == ConnectionKind::Local {
            continue;
        }
        let name = &host.name;
        let mut cards =
            host.interfaces.iter().filter(|(_, interface)| cx.nature(interface) == Some(Nature::Administration));
        let Some(card) = cards.next() else {
            let message = say!(
                cx,
                "`{name}` has no network card in an administration zone",
                "`{name}` n'a pas de carte réseau dans une zone d'administration"
            );
            found.push(Finding::new(subject("hosts", name), message).at(host.span).hosts([at]));
            continue;
        };
        if let Some(second) = cards.next() {
            let (first, again) = (card.0, second.0);
            let message = say!(
                cx,
                "`{name}` has two network cards for administration, `{first}` and `{again}`",
                "`{name}` a deux cartes réseau d'administration, `{first}` et `{again}`"
            );
            let finding = Finding::new(subject("hosts", name), message).at(second.0.span);
            found.push(finding.label(card.0.span, say!(cx, "the first", "la première")).hosts([at]));
        }
        let card_name = card.0;
        if let Some((bridge, span)) = bridge_of(host, card) {
            let message = say!(
                cx,
                "the administration card `{card_name}` of `{name}` is in the bridge `{bridge}`, which machines join",
                "la carte d'administration `{card_name}` de `{name}` est dans le pont `{bridge}`, que des machines joignent"
            );
            found.push(Finding::new(subject("hosts", name), message).at(span).hosts([at]));
        } else if let Some((other, span)) = shares_wire(cx, host, card) {
            let message = say!(
                cx,
                "the administration of `{name}` shares a wire with `{other}`",
                "l'administration de `{name}` partage un câble avec `{other}`"
            );
            let help = say!(
                cx,
                "give administration a card of its own; where there is none to be had, encrypt it and sign a waiver (R18-)",
                "donnez à l'administration une carte propre ; à défaut, chiffrez-la et signez une dérogation (R18-)"
            );
            found.push(Finding::new(subject("hosts", name), message).at(span).help(help).hosts([at]));
        }
    }
}

fn bridges(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        let name = &host.name;
        for (bridge_name, interface) in &host.interfaces {
            let Some(bridge) = &interface.bridge else { continue };
            let zone = |interface: &Interface| {
                cx.inventory.network_of(interface).map(|(_, network)| network.zone.value.clone())
            };
            let own = zone(interface).map(|zone| (zone, bridge_name.span));
            let ports = bridge.ports.iter().filter_map(|port| {
                let interface = host.interfaces.get(port.as_str())?;
                // A bridge with the administration's card in it is the matter of PA022-R18.
                (cx.nature(interface) != Some(Nature::Administration)).then_some(())?;
                Some((zone(interface)?, port.span))
            });
            let mut all = own.into_iter().chain(ports);
            let Some((first, _)) = all.next() else { continue };
            let Some((second, span)) = all.find(|(zone, _)| *zone != first) else { continue };
            let message = say!(
                cx,
                "the bridge `{bridge_name}` of `{name}` joins the zones `{first}` and `{second}`",
                "le pont `{bridge_name}` de `{name}` joint les zones `{first}` et `{second}`"
            );
            found.push(Finding::new(subject("hosts", name), message).at(span).hosts([at]));
        }
    }
}
