//! The network of the live hosts against what the inventory says: cards, addresses, routes, tunnels, forwarding, and who
//! listens. These rules are asked where hosts were, by `verify`; those on filters and on connections stand in
//! [`live_connections`](super::live_connections).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::live::unread_network;
use super::live_kernel;
use crate::diag::{Diagnostics, Span};
use crate::model::inventory::{Host, Interface, Nature};
use crate::model::matrix::{HostFlows, Matrix, Transport, host_with};
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::network::{HostNetwork, Link, Listener, Part};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-13.2.a",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Network,
        also: &["SNC-9.7.c", "PA022-R18"],
        text: Words {
            en: "no card, address, route or tunnel leads a host into a zone that it does not stand in",
            fr: "aucune carte, adresse, route ou tunnel ne mène un hôte dans une zone où il ne se trouve pas",
        },
        check: zones_apart,
    },
    Rule {
        id: "SNC-8.1.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Network,
        also: &[],
        text: Words {
            en: "each host has the addresses that it is recorded with",
            fr: "chaque hôte a les adresses sous lesquelles il est inventorié",
        },
        check: recorded_addresses,
    },
    Rule {
        id: "BP028-R12",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Network,
        also: &[],
        text: Words {
            en: "no host passes packets on, except the routers, and no network setting in force is weaker than asked for",
            fr: "aucun hôte ne relaie de paquets, sauf les routeurs, et aucun réglage réseau en vigueur n'est plus faible que \
                 demandé",
        },
        check: forwarding,
    },
    Rule {
        id: "BP028-R80",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Network,
        also: &[],
        text: Words {
            en: "nothing listens on the network that no flow leads to",
            fr: "rien n'écoute sur le réseau sans qu'un flux n'y mène",
        },
        check: listeners,
    },
];

/// UDP ports from here on are given out to whoever asks a question: who has one waits for an answer.
const FIRST_EPHEMERAL: u16 = 32768;

/// Kinds of interfaces whose packets travel inside others.
const TUNNELS: [&str; 22] = [
    "bareudp",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "ipvti",
    "l2tpeth",
    "ppp",
    "sit",
    "tun",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
    "xfrm",
    "amt",
];

/// Names of the interfaces that the kernel makes with each driver of tunnels; one that is off carries nothing.
const FALLBACKS: [&str; 9] =
    ["erspan0", "gre0", "gretap0", "ip6_vti0", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0"];

/// Returns the hosts that were asked, with their positions.
pub(super) fn asked<'c, 'a>(cx: &'c Cx<'a>) -> impl Iterator<Item = (usize, &'a Host, &'a HostNetwork)> + 'c {
    let network = cx.network;
    cx.each_host().filter_map(move |(at, host)| Some((at, host, network?.hosts.get(&host.name)?)))
}

/// Returns the network that an address is in.
fn network_of<'a>(cx: &Cx<'a>, address: IpAddr) -> Option<(&'a str, &'a str, Option<Nature>)> {
    let networks = cx.inventory.networks.iter();
    let mut holding = networks.filter(|(_, network)| network.cidr.trunc().contains(&address));
    holding.next().map(|(name, network)| (name.as_str(), network.zone.as_str(), cx.nature_of(network)))
}

/// Returns the zone that an address is in, and what the zone is for.
pub(super) fn zone_of<'a>(cx: &Cx<'a>, address: IpAddr) -> Option<(&'a str, Nature)> {
    let (_, zone, nature) = network_of(cx, address)?;
    Some((zone, nature?))
}

/// Returns the word for TCP or UDP.
pub(super) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

// ---- zones

fn zones_apart(cx: &Cx<'_>, found: &mut Found) {
    unread_network(cx, found, &[Part::Links, Part::Routes]);
    for (at, host, network) in asked(cx) {
        let mut push = |message: String, place: Span, help: String| {
            let finding = Finding::new(subject("hosts", &host.name), message).at(place).help(help);
            found.push(finding.hosts([at]));
        };
        for link in &network.links {
            if let Some((message, place)) = strange_zone(cx, host, link) {
                let help = say!(
                    cx,
                    "remove the address, or declare the interface and why it stands there",
                    "retirez l'adresse, ou déclarez l'interface et pourquoi elle se trouve là"
                );
                push(message, place, help);
            }
            if let Some((message, help)) = strange_link(cx, host, link) {
                push(message, host.span, help);
            }
        }
        for (message, place) in strange_routes(cx, host, network) {
            let help = say!(
                cx,
                "remove the route, or declare who passes packets on with `forwards`",
                "retirez la route, ou déclarez qui relaie les paquets avec `forwards`"
            );
            push(message, place, help);
        }
    }
}

/// Returns what is wrong where an interface has an address in a zone that the host does not stand in.
fn strange_zone(cx: &Cx<'_>, host: &Host, link: &Link) -> Option<(String, Span)> {
    let own: BTreeSet<&str> = cx.inventory.zones_of(host).into_iter().map(|zone| zone.as_str()).collect();
    let (address, zone) = link.addresses.iter().find_map(|address| {
        let (_, zone, _) = network_of(cx, *address)?;
        (!own.contains(zone)).then_some((address, zone))
    })?;
    let (name, card) = (&host.name, &link.name);
    let message = say!(
        cx,
        "`{name}` stands in the zone `{zone}` by {address} on `{card}`, and the inventory does not have it there",
        "`{name}` se trouve dans la zone `{zone}` par {address} sur `{card}`, et l'inventaire ne l'y place pas"
    );
    let place = declared(host, card).and_then(|interface| interface.address.map(|address| address.span));
    Some((message, place.unwrap_or(host.span)))
}

/// Returns what is wrong with an interface that the inventory does not have: a tunnel, or a card that is on.
fn strange_link(cx: &Cx<'_>, host: &Host, link: &Link) -> Option<(String, String)> {
    if declared(host, &link.name).is_some() || link.master.is_some() {
        return None;
    }
    let (name, card) = (&host.name, &link.name);
    let kind = link.kind.as_deref().unwrap_or_default();
    if TUNNELS.contains(&kind) {
        if !link.is_up && FALLBACKS.contains(&card.as_str()) {
            return None;
        }
        let end = link.remote.map(|remote| {
            let whose = host_with(cx.inventory, remote).map(|host| format!(", `{host}`")).unwrap_or_default();
            let zone = zone_of(cx, remote).map(|(zone, _)| say!(cx, " in the zone `{zone}`", " dans la zone `{zone}`"));
            let zone = zone.unwrap_or_default();
            say!(cx, " to {remote}{whose}{zone}", " vers {remote}{whose}{zone}")
        });
        let end = end.unwrap_or_default();
        let message = say!(
            cx,
            "`{name}` has a tunnel that the inventory does not have: `{card}` ({kind}){end}",
            "`{name}` a un tunnel que l'inventaire n'a pas : `{card}` ({kind}){end}"
        );
        let help = say!(
            cx,
            "remove it: what travels in it passes every filter between its ends",
            "retirez-le : ce qui y passe traverse tous les filtres entre ses bouts"
        );
        return Some((message, help));
    }
    // What other kinds there are (bridges, VLANs) leads nowhere without a card or an address.
    let is_card = link.kind.is_none() || kind == "veth";
    (is_card && link.is_up).then(|| {
        let message = say!(
            cx,
            "`{name}` has a network card `{card}` that is on, and the inventory does not have it",
            "`{name}` a une carte réseau `{card}` en service, que l'inventaire n'a pas"
        );
        let help =
            say!(cx, "declare it with its network, or switch it off", "déclarez-la avec son réseau, ou éteignez-la");
        (message, help)
    })
}

/// Returns the routes that lead into networks of the inventory and not by a gateway that it names.
fn strange_routes(cx: &Cx<'_>, host: &Host, network: &HostNetwork) -> Vec<(String, Span)> {
    let mut strange = Vec::new();
    for route in &network.routes {
        let interface = declared(host, &route.link);
        let own = interface.and_then(|interface| cx.inventory.network_of(interface)).map(|(_, network)| network);
        let leads_to: Vec<(&str, &str)> = cx
            .inventory
            .networks
            .iter()
            .filter(|(_, network)| {
                let cidr = network.cidr.trunc();
                cidr.contains(&route.destination.trunc()) || route.destination.contains(&cidr)
            })
            .map(|(name, network)| (name.as_str(), network.zone.as_str()))
            .collect();
        let Some((first, zone)) = leads_to.first() else { continue };
        let is_ours = match (route.via, own) {
            (Some(via), Some(own)) => own.gateway.is_some_and(|gateway| gateway.value == via),
            // On its own wire a host needs nobody.
            (None, Some(own)) => leads_to.iter().all(|(_, zone)| *zone == own.zone.as_str()),
            (_, None) => false,
        };
        if is_ours {
            continue;
        }
        let (name, link, destination) = (&host.name, &route.link, route.destination);
        let hop = match route.via {
            Some(via) => {
                let whose = host_with(cx.inventory, via).map(|host| format!(" (`{host}`)")).unwrap_or_default();
                say!(cx, "{via}{whose} on `{link}`", "{via}{whose} sur `{link}`")
            }
            None => format!("`{link}`"),
        };
        let message = match destination.prefix_len() {
            0 => say!(
                cx,
                "`{name}` sends everything that has no other route to {hop}, which is no gateway of the inventory",
                "`{name}` envoie tout ce qui n'a pas d'autre route à {hop}, qui n'est pas une passerelle de l'inventaire"
            ),
            _ => say!(
                cx,
                "`{name}` has a route to {destination} (`{first}`, zone `{zone}`) by {hop}, which is no gateway of the inventory",
                "`{name}` a une route vers {destination} (`{first}`, zone `{zone}`) par {hop}, qui n'est pas une passerelle de l'inventaire"
            ),
        };
        let place = interface.and_then(|i| i.network.as_ref().map(|network| network.span)).unwrap_or(host.span);
        strange.push((message, place));
    }
    strange
}

fn declared<'a>(host: &'a Host, card: &str) -> Option<&'a Interface> {
    host.interfaces.iter().find(|(name, _)| name.as_str() == card).map(|(_, interface)| interface)
}

// ---- addresses, forwarding, listeners

fn recorded_addresses(cx: &Cx<'_>, found: &mut Found) {
    unread_network(cx, found, &[Part::Links]);
    for (at, host, network) in asked(cx).filter(|(_, _, network)| !network.unread.contains_key(&Part::Links)) {
        let name = &host.name;
        let own: BTreeSet<&str> = cx.inventory.zones_of(host).into_iter().map(|zone| zone.as_str()).collect();
        let recorded: BTreeMap<IpAddr, (&str, Span)> = host
            .interfaces
            .iter()
            .filter_map(|(card, interface)| {
                let address = interface.address.as_ref()?;
                Some((address.value, (card.as_str(), address.span)))
            })
            .collect();
        let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
        for link in &network.links {
            let card = &link.name;
            for address in &link.addresses {
                seen.insert(*address);
                let finding = match recorded.get(address) {
                    Some((known, _)) if known == card => continue,
                    Some((known, span)) => {
                        let message = say!(
                            cx,
                            "`{name}` has {address} on `{card}`, and the inventory has it on `{known}`",
                            "`{name}` a {address} sur `{card}`, et l'inventaire l'a sur `{known}`"
                        );
                        Finding::new(subject("hosts", name), message).at(*span)
                    }
                    None => {
                        let zone = network_of(cx, *address).map(|(_, zone, _)| zone);
                        // One in another zone is the matter of SNC-13.2.a.
                        if zone.is_some_and(|zone| !own.contains(zone)) {
                            continue;
                        }
                        let message = say!(
                            cx,
                            "`{name}` has an address that the inventory does not have: {address} on `{card}`",
                            "`{name}` a une adresse que l'inventaire n'a pas : {address} sur `{card}`"
                        );
                        let place = declared(host, card).and_then(|interface| interface.address.map(|a| a.span));
                        let finding = Finding::new(subject("hosts", name), message).at(place.unwrap_or(host.span));
                        // What lies in no network of the inventory is most often a bridge for machines.
                        if zone.is_none() { finding.only(Level::Warning) } else { finding }
                    }
                };
                let help = say!(
                    cx,
                    "remove the address, or record it in the inventory",
                    "retirez l'adresse, ou inscrivez-la dans l'inventaire"
                );
                found.push(finding.help(help).hosts([at]));
            }
        }
        if network.links.is_empty() {
            continue;
        }
        for (address, (card, span)) in recorded.iter().filter(|(address, _)| !seen.contains(*address)) {
            let message = say!(
                cx,
                "`{name}` does not have the address {address}, which the inventory has on `{card}`",
                "`{name}` n'a pas l'adresse {address}, que l'inventaire a sur `{card}`"
            );
            found.push(Finding::new(subject("hosts", name), message).at(*span).hosts([at]));
        }
    }
}

fn forwarding(cx: &Cx<'_>, found: &mut Found) {
    live_kernel::network(cx, found);
    unread_network(cx, found, &[Part::Forwarding]);
    for (at, host, network) in asked(cx) {
        if network.forwarding.is_empty() || cx.forwards(at) {
            continue;
        }
        let name = &host.name;
        // With `all` every other one is on too.
        let of_all: Vec<&String> = network.forwarding.iter().filter(|setting| setting.ends_with(" all")).collect();
        let named = if of_all.is_empty() { network.forwarding.iter().collect() } else { of_all };
        let settings: Vec<String> =
            named.into_iter().map(|setting| format!("net.{}.forwarding", setting.replacen(' ', ".conf.", 1))).collect();
        let settings = settings.join(", ");
        let message = say!(
            cx,
            "`{name}` passes packets on from one of its networks to another: {settings}",
            "`{name}` relaie des paquets d'un de ses réseaux à un autre : {settings}"
        );
        let help = say!(
            cx,
            "switch it off; a router says `forwards` with its zones in the inventory",
            "désactivez-le ; un routeur dit `forwards` avec ses zones dans l'inventaire"
        );
        found.push(Finding::new(subject("hosts", name), message).at(host.span).help(help).hosts([at]));
    }
}

fn listeners(cx: &Cx<'_>, found: &mut Found) {
    if cx.network.is_none() {
        return;
    }
    unread_network(cx, found, &[Part::Listeners]);
    let matrix = Matrix::build(cx.inventory, &mut Diagnostics::default());
    for (at, host, network) in asked(cx) {
        let name = &host.name;
        let flows = matrix.host(host);
        let mut told = BTreeSet::new();
        for listener in &network.listeners {
            let Listener { transport: by, port, address, program } = listener;
            let is_waiting = *by == Transport::Udp && *port >= FIRST_EPHEMERAL;
            if is_waiting || is_known(&flows, listener) || !told.insert((*by, *port, program)) {
                continue;
            }
            let by = transport(*by);
            let who = program.as_ref().map(|program| format!("`{program}`"));
            let who = who.unwrap_or_else(|| say!(cx, "something", "quelque chose"));
            let place = match address {
                Some(address) => say!(cx, "at {address}", "sur {address}"),
                None => say!(cx, "at every address", "sur toutes les adresses"),
            };
            let message = say!(
                cx,
                "on `{name}` {who} listens on {by}/{port} {place}, and no flow leads there",
                "sur `{name}` {who} écoute sur {by}/{port} {place}, et aucun flux n'y mène"
            );
            let help = say!(
                cx,
                "stop it, let it listen on 127.0.0.1, or declare the flow that it is there for",
                "arrêtez-le, faites-le écouter sur 127.0.0.1, ou déclarez le flux auquel il sert"
            );
            found.push(Finding::new(subject("hosts", name), message).at(host.span).help(help).hosts([at]));
        }
    }
}

/// Returns whether a flow leads to a listener.
fn is_known(flows: &HostFlows, listener: &Listener) -> bool {
    flows.incoming.iter().any(|passage| {
        passage.services.iter().any(|service| service.has(listener.transport, listener.port))
            && passage.own.iter().any(|own| listener.is_at(own.address))
    })
}
