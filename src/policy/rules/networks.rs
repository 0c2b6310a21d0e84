//! What networks carry: administration apart, customers apart, the office apart, and flows that say why.

use crate::model::inventory::{Nature, Ports};
use crate::model::node::Spanned;
use crate::policy::cx::{Cx, flow_subject, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "PA022-R15",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-13.2.c"],
        text: Words {
            en: "an administration network has cables of its own, or is encrypted",
            fr: "un réseau d'administration a ses propres câbles, ou est chiffré",
        },
        check: own_cables,
    },
    Rule {
        id: "SNC-9.6.b",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-9.6.a"],
        text: Words {
            en: "what administers the cloud is in no network of a customer's",
            fr: "ce qui administre le cloud n'est dans aucun réseau de client",
        },
        check: tenants_apart,
    },
    Rule {
        id: "SNC-9.7.a",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "no bridge and no VXLAN carries two customers",
            fr: "aucun pont ni VXLAN ne porte deux clients",
        },
        check: customers_apart,
    },
    Rule {
        id: "SNC-9.7.b",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "the office has no way into the service but by the administration's and what is public",
            fr: "le bureau n'a d'accès au service que par l'administration et par ce qui est public",
        },
        check: office,
    },
    Rule {
        id: "PA022-R10",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["PA022-R9", "SNC-12.12.b"],
        text: Words {
            en: "no flow leads from an administration zone to the Internet",
            fr: "aucun flux ne mène d'une zone d'administration à Internet",
        },
        check: internet,
    },
    Rule {
        id: "PA022-R43",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-12.14.a", "SNC-12.10.a"],
        text: Words {
            en: "only named hosts connect to what is outside: relays, mirrors, time servers",
            fr: "seuls des hôtes nommés se connectent à l'extérieur : relais, miroirs, serveurs de temps",
        },
        check: outbound,
    },
    Rule {
        id: "PA022-R20",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["DR-R34"],
        text: Words {
            en: "no flow lets every administered host connect to every other",
            fr: "aucun flux ne laisse tout hôte administré se connecter à tout autre",
        },
        check: sideways,
    },
    Rule {
        id: "PA022-R24",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["NT007-R3"],
        text: Words {
            en: "no flow carries an administration protocol without encryption",
            fr: "aucun flux ne porte un protocole d'administration en clair",
        },
        check: in_clear,
    },
    Rule {
        id: "SNC-13.1.a",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words { en: "every flow says why it is needed", fr: "chaque flux dit pourquoi il est nécessaire" },
        check: reasons,
    },
    Rule {
        id: "SNC-13.2.e",
        pack: Pack::Separation,
        level: Level::Warning,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["PA022-R16"],
        text: Words { en: "no flow opens thousands of ports", fr: "aucun flux n'ouvre des milliers de ports" },
        check: wide,
    },
];

fn own_cables(cx: &Cx<'_>, found: &mut Found) {
    for (name, network) in &cx.inventory.networks {
        let is_physical = network.physical.as_ref().is_some_and(|physical| physical.value);
        if cx.nature_of(network) != Some(Nature::Administration) || is_physical || network.encryption.is_some() {
            continue;
        }
        let message = say!(
            cx,
            "the administration network `{name}` has no cables of its own and is not encrypted",
            "le réseau d'administration `{name}` n'a pas de câbles propres et n'est pas chiffré"
        );
        let help = say!(
            cx,
            "say `physical: true` where it is so, or encrypt it and say `encryption: ipsec`",
            "dites `physical: true` si c'est le cas, ou chiffrez-le et dites `encryption: ipsec`"
        );
        let span = network.physical.as_ref().map_or(network.span, |physical| physical.span);
        found.push(Finding::new(subject("networks", name), message).at(span).help(help));
    }
}

fn tenants_apart(cx: &Cx<'_>, found: &mut Found) {
    for (name, network) in &cx.inventory.networks {
        let nature = cx.nature_of(network);
        let is_own =
            matches!(nature, Some(Nature::Administration | Nature::Control | Nature::Supervision | Nature::Backup));
        if let Some(tenant) = network.tenant.as_ref().filter(|_| is_own) {
            let zone = &network.zone;
            let message = say!(
                cx,
                "the network `{name}` is for the customer {tenant}, in the zone `{zone}` that is the provider's own",
                "le réseau `{name}` est pour le client {tenant}, dans la zone `{zone}` qui est propre au prestataire"
            );
            found.push(Finding::new(subject("networks", name), message).at(tenant.span));
        }
        let is_customer = nature == Some(Nature::Tenant) || network.tenant.is_some();
        if !is_customer || is_own {
            continue;
        }
        for member in cx.members(name.as_str()) {
            let Some(host) = cx.host(member.host) else { continue };
            let does_administer = ["bastion", "log", "supervision", "ca", "backup", "time", "mirror", "admin-station"];
            let Some(role) = does_administer.iter().find(|role| host.has_role(role)) else { continue };
            let host_name = &host.name;
            let span = member.interface.network.as_ref().map_or(member.name.span, |network| network.span);
            let message = say!(
                cx,
                "`{host_name}` ({role}) has an interface in the customers' network `{name}`",
                "`{host_name}` ({role}) a une interface dans le réseau de clients `{name}`"
            );
            found.push(Finding::new(subject("hosts", host_name), message).at(span).hosts([member.host]));
        }
    }
}

fn customers_apart(cx: &Cx<'_>, found: &mut Found) {
    let tenant_of = |network: &str| {
        let network = cx.inventory.networks.get(network)?;
        network.tenant.as_ref().map(|tenant| (tenant.as_str(), tenant.span))
    };
    let mut carried: std::collections::HashMap<u32, (&str, crate::diag::Span)> = std::collections::HashMap::new();
    for (at, host) in cx.each_host() {
        let name = &host.name;
        for (bridge_name, interface) in &host.interfaces {
            if let Some(bridge) = &interface.bridge {
                let own = interface.network.as_ref().and_then(|network| tenant_of(network.as_str()));
                let ports = bridge.ports.iter().filter_map(|port| {
                    let network = host.interfaces.get(port.as_str())?.network.as_ref()?;
                    Some((tenant_of(network.as_str())?.0, port.span))
                });
                let mut first: Option<(&str, crate::diag::Span)> = own.map(|(tenant, _)| (tenant, bridge_name.span));
                for (tenant, span) in ports {
                    match first {
                        Some((other, _)) if other != tenant => {
                            let message = say!(
                                cx,
                                "the bridge `{bridge_name}` of `{name}` joins the customers {other} and {tenant}",
                                "le pont `{bridge_name}` de `{name}` joint les clients {other} et {tenant}"
                            );
                            found.push(Finding::new(subject("hosts", name), message).at(span).hosts([at]));
                            break;
                        }
                        Some(_) => {}
                        None => first = Some((tenant, span)),
                    }
                }
            }
            let network = interface.network.as_ref();
            if let (Some(vxlan), Some((tenant, _))) = (&interface.vxlan, network.and_then(|n| tenant_of(n.as_str()))) {
                let vni = &vxlan.vni;
                let (other, first) = *carried.entry(vni.value).or_insert((tenant, vni.span));
                if other != tenant {
                    let message = say!(
                        cx,
                        "the VXLAN {vni} carries the customers {other} and {tenant}",
                        "le VXLAN {vni} porte les clients {other} et {tenant}"
                    );
                    let label = say!(cx, "the other customer's", "celui de l'autre client");
                    let finding = Finding::new(subject("hosts", name), message).at(vni.span).label(first, label);
                    found.push(finding.hosts([at]));
                }
            }
        }
    }
}

/// Whether the office may see a zone.
fn is_open_to_office(nature: Nature) -> bool {
    matches!(nature, Nature::Office | Nature::Administration | Nature::Dmz | Nature::Public)
}

fn office(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        let natures = |ends: &[Spanned<String>]| -> Vec<(Nature, crate::diag::Span, String)> {
            let named = ends.iter().filter_map(|end| Some((cx.zone_named(end)?.1, end.span, end.value.clone())));
            named.collect()
        };
        let (from, to) = (natures(&flow.from), natures(&flow.to));
        for (here, there) in [(&from, &to), (&to, &from)] {
            let Some((_, office, _)) = here.iter().find(|(nature, _, _)| *nature == Nature::Office) else { continue };
            let Some((_, span, name)) = there.iter().find(|(nature, _, _)| !is_open_to_office(*nature)) else {
                continue;
            };
            let message = say!(
                cx,
                "a flow joins the office and `{name}`, which is part of the service",
                "un flux joint le bureau et `{name}`, qui fait partie du service"
            );
            let label = say!(cx, "the office", "le bureau");
            found.push(Finding::new(flow_subject(flow), message).at(*span).label(*office, label));
        }
    }
    for (at, host) in cx.each_host() {
        let mut legs = host.interfaces.values().filter_map(|interface| Some((cx.nature(interface)?, interface)));
        let office = legs.clone().find(|(nature, _)| *nature == Nature::Office);
        let other = legs.find(|(nature, _)| !is_open_to_office(*nature));
        if let (Some((_, office)), Some((_, other))) = (office, other)
            && let (Some(office), Some(other)) = (&office.network, &other.network)
        {
            let name = &host.name;
            let message = say!(
                cx,
                "`{name}` stands in the office network `{office}` and in `{other}`",
                "`{name}` se trouve dans le réseau du bureau `{office}` et dans `{other}`"
            );
            found.push(Finding::new(subject("hosts", name), message).at(office.span).hosts([at]));
        }
    }
}

/// Returns whether a name in a flow stands for the Internet: an endpoint that is everywhere, or a public zone.
fn is_internet(cx: &Cx<'_>, name: &str) -> bool {
    let everywhere = |name: &str| {
        let endpoint = cx.inventory.endpoints.get(name)?;
        Some(endpoint.addresses.iter().any(|addresses| addresses.value.0.prefix_len() == 0))
    };
    everywhere(name).unwrap_or_else(|| cx.zone_named(name).is_some_and(|(_, nature)| nature == Nature::Public))
}

fn internet(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        let from = flow.from.iter().find(|end| cx.zone_named(end).is_some_and(|(_, n)| n == Nature::Administration));
        let to = flow.to.iter().find(|end| is_internet(cx, end));
        if let (Some(from), Some(to)) = (from, to) {
            let message = say!(
                cx,
                "hosts of the administration zone `{from}` may connect to `{to}`",
                "des hôtes de la zone d'administration `{from}` peuvent se connecter à `{to}`"
            );
            let label = say!(cx, "an administration zone", "une zone d'administration");
            found.push(Finding::new(flow_subject(flow), message).at(to.span).label(from.span, label));
        }
    }
}

fn outbound(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        let is_outside = |end: &&Spanned<String>| cx.inventory.endpoints.contains_key(end.as_str());
        // What stands at the border is there to go out; the Internet from the administration is the matter of PA022-R10.
        let is_inside = |end: &&Spanned<String>| {
            let nature = cx.zone_named(end).map(|(_, nature)| nature);
            nature
                .is_some_and(|nature| !matches!(nature, Nature::Public | Nature::Dmz | Nature::Tenant | Nature::Office))
        };
        let (Some(from), Some(to)) = (flow.from.iter().find(is_inside), flow.to.iter().find(is_outside)) else {
            continue;
        };
        let is_told =
            cx.zone_named(from).is_some_and(|(_, nature)| nature == Nature::Administration) && is_internet(cx, to);
        if flow.from_hosts.is_some() || is_told {
            continue;
        }
        let message = say!(
            cx,
            "every host of `{from}` may connect to `{to}`, which is outside",
            "tout hôte de `{from}` peut se connecter à `{to}`, qui est à l'extérieur"
        );
        let help = say!(
            cx,
            "say with `from_hosts` which hosts relay it to the others",
            "dites par `from_hosts` quels hôtes le relaient aux autres"
        );
        found.push(Finding::new(flow_subject(flow), message).at(from.span).help(help));
    }
}

fn sideways(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        if flow.from_hosts.is_some() || flow.to_hosts.is_some() {
            continue;
        }
        let is_administration =
            |end: &Spanned<String>| cx.zone_named(end).is_some_and(|(_, nature)| nature == Nature::Administration);
        let (Some(from), Some(to)) =
            (flow.from.iter().find(|end| is_administration(end)), flow.to.iter().find(|end| is_administration(end)))
        else {
            continue;
        };
        let message = say!(
            cx,
            "every host of `{from}` may connect to every host of `{to}` over the administration network",
            "tout hôte de `{from}` peut se connecter à tout hôte de `{to}` par le réseau d'administration"
        );
        let help = say!(
            cx,
            "say with `from_hosts` or `to_hosts` which ones: bastions, log servers, time servers",
            "dites par `from_hosts` ou `to_hosts` lesquels : bastions, serveurs de journaux, de temps"
        );
        found.push(Finding::new(flow_subject(flow), message).at(to.span).help(help));
    }
}

/// Ports of protocols that administer in clear, with their names.
const TCP_IN_CLEAR: &[(u16, &str)] = &[
    (21, "FTP"),
    (23, "Telnet"),
    (512, "rexec"),
    (513, "rlogin"),
    (2375, "Docker"),
    (5900, "VNC"),
    (16509, "libvirt"),
];
const UDP_IN_CLEAR: &[(u16, &str)] = &[(69, "TFTP"), (161, "SNMP"), (623, "IPMI")];

fn in_clear(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        for (ports, known) in [(&flow.tcp, TCP_IN_CLEAR), (&flow.udp, UDP_IN_CLEAR)] {
            for range in ports.iter() {
                let Some((port, protocol)) = known.iter().find(|(port, _)| is_meant(range, *port)) else { continue };
                let message = say!(
                    cx,
                    "the flow carries {protocol} (port {port}), which is not encrypted",
                    "le flux porte {protocol} (port {port}), qui n'est pas chiffré"
                );
                found.push(Finding::new(flow_subject(flow), message).at(range.span));
            }
        }
    }
}

/// Returns whether a range means this port: a wide one has it by accident, and is the matter of SNC-13.2.e.
fn is_meant(range: &Ports, port: u16) -> bool {
    (range.first..=range.last).contains(&port) && range.last - range.first < WIDE
}

/// How many ports are too many to be meant one by one.
const WIDE: u16 = 4096;

fn wide(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        for range in flow.tcp.iter().chain(flow.udp.iter()) {
            if range.last - range.first >= WIDE {
                let number = u32::from(range.last - range.first) + 1;
                let message =
                    say!(cx, "the flow opens {number} ports at once", "le flux ouvre {number} ports d'un coup");
                found.push(Finding::new(flow_subject(flow), message).at(range.span));
            }
        }
    }
}

/// Words that stand where a reason should.
const NO_REASON: &[&str] = &[
    "todo",
    "tbd",
    "fixme",
    "xxx",
    "test",
    "temp",
    "temporary",
    "temporaire",
    "needed",
    "n/a",
    "na",
    "none",
    "why",
    "à compléter",
];

fn reasons(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        let why = flow.why.trim().trim_matches(|c: char| c.is_ascii_punctuation()).to_lowercase();
        if why.chars().count() >= 4 && !NO_REASON.contains(&why.as_str()) {
            continue;
        }
        let said = &flow.why;
        let message = say!(cx, "`{said}` is no reason for a flow", "`{said}` n'est pas une raison pour un flux");
        let help = say!(
            cx,
            "say what would not work without it, for who reads the matrix in an audit",
            "dites ce qui ne marcherait pas sans lui, pour qui lit la matrice lors d'un audit"
        );
        found.push(Finding::new(flow_subject(flow), message).at(flow.why.span).help(help));
    }
}
