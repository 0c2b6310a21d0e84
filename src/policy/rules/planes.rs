//! What the planes must not share: administration zones, bastions, login keys, authorities, people, networks.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::Span;
use crate::model::inventory::{Nature, SshDefaults};
use crate::policy::cx::{Cx, Member, plane_of, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "PA022-R5",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "each plane is administered in an administration zone of its own",
            fr: "chaque plan est administré dans une zone d'administration qui lui est propre",
        },
        check: administration_zones,
    },
    Rule {
        id: "SNC-13.2.a",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-9.7.c"],
        text: Words {
            en: "no network or VLAN of the control plane has hosts of another plane in it",
            fr: "aucun réseau ni VLAN du plan de contrôle ne contient d'hôtes d'un autre plan",
        },
        check: shared_networks,
    },
    Rule {
        id: "PA022-R22",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "a host is reached through a bastion of its own plane only",
            fr: "un hôte n'est joint que par un bastion de son propre plan",
        },
        check: bastions,
    },
    Rule {
        id: "PA022-R25",
        pack: Pack::Separation,
        level: Level::Warning,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["PA022-R26"],
        text: Words {
            en: "every host but a bastion is reached through a bastion",
            fr: "tout hôte qui n'est pas un bastion est joint par un bastion",
        },
        check: direct,
    },
    Rule {
        id: "PA022-R27",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-9.3.f"],
        text: Words {
            en: "who administers the control plane administers nothing else",
            fr: "qui administre le plan de contrôle n'administre rien d'autre",
        },
        check: people,
    },
    Rule {
        id: "SNC-9.3.f",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "nobody has rights that are declared incompatible",
            fr: "nul n'a de droits déclarés incompatibles",
        },
        check: incompatible,
    },
    Rule {
        id: "PA022-R30",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "the key that opens the control plane opens no other plane",
            fr: "la clé qui ouvre le plan de contrôle n'ouvre aucun autre plan",
        },
        check: login_keys,
    },
    Rule {
        id: "PA022-R37",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["NT007-R29"],
        text: Words {
            en: "the authority that signs the control plane's host keys or certificates signs those of no other plane",
            fr: "l'autorité qui signe les clés d'hôte ou les certificats du plan de contrôle ne signe ceux d'aucun autre plan",
        },
        check: authorities,
    },
];

/// Returns one host of each plane among the members of networks, by plane.
fn planes_in<'a>(cx: &Cx<'a>, members: impl IntoIterator<Item = Member<'a>>) -> BTreeMap<&'a str, Member<'a>> {
    let mut planes = BTreeMap::new();
    for member in members {
        if let Some(plane) = cx.host(member.host).and_then(plane_of) {
            planes.entry(plane).or_insert(member);
        }
    }
    planes
}

fn names(planes: &BTreeMap<&str, Member<'_>>) -> String {
    planes.keys().map(|plane| format!("`{plane}`")).collect::<Vec<_>>().join(", ")
}

/// Names one host of each plane, the control plane's first.
fn witnesses<'a>(cx: &Cx<'a>, mut finding: Finding, planes: &BTreeMap<&'a str, Member<'a>>) -> Finding {
    for (plane, member) in planes {
        let Some(host) = cx.host(member.host) else { continue };
        let name = &host.name;
        let span = member.interface.network.as_ref().map_or(member.name.span, |network| network.span);
        finding = finding.label(span, say!(cx, "`{name}` of the plane `{plane}`", "`{name}` du plan `{plane}`"));
    }
    finding
}

fn administration_zones(cx: &Cx<'_>, found: &mut Found) {
    for (name, zone) in &cx.inventory.zones {
        if zone.nature.value != Nature::Administration {
            continue;
        }
        let networks = cx.networks_named(name.as_str());
        let planes = planes_in(cx, networks.iter().flat_map(|(network, _)| cx.members(network).iter().copied()));
        if planes.len() > 1 {
            let all = names(&planes);
            let message = say!(
                cx,
                "the administration zone `{name}` is shared by the planes {all}",
                "la zone d'administration `{name}` est partagée par les plans {all}"
            );
            let help = say!(
                cx,
                "give each plane a zone and networks of its own, so that who is in one does not see the other",
                "donnez à chaque plan une zone et des réseaux propres, pour que l'un ne voie pas l'autre"
            );
            let finding = Finding::new(subject("zones", name), message).at(zone.span).help(help);
            found.push(witnesses(cx, finding, &planes));
        }
    }
}

fn shared_networks(cx: &Cx<'_>, found: &mut Found) {
    for (name, network) in &cx.inventory.networks {
        // The administration networks are the matter of PA022-R5.
        if cx.nature_of(network) == Some(Nature::Administration) {
            continue;
        }
        let planes = planes_in(cx, cx.members(name.as_str()).iter().copied());
        if planes.len() > 1 && planes.keys().any(|plane| cx.is_control_plane(plane)) {
            let all = names(&planes);
            let message = say!(
                cx,
                "the network `{name}` is shared by the planes {all}",
                "le réseau `{name}` est partagé par les plans {all}"
            );
            let finding = Finding::new(subject("networks", name), message).at(network.span);
            found.push(witnesses(cx, finding, &planes));
        }
    }
}

fn bastions(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        let Some(via) = cx.inventory.via(host) else { continue };
        let (Some(own), Some(other)) = (plane_of(host), plane_of(via)) else { continue };
        if own == other {
            continue;
        }
        let (name, bastion) = (&host.name, &via.name);
        let of_plane = || cx.inventory.planes.get(own)?.bastion.as_ref().map(|bastion| bastion.span);
        let span = host.ssh.via.as_ref().map(|via| via.span).or_else(of_plane).unwrap_or(host.span);
        let message = say!(
            cx,
            "`{name}` of the plane `{own}` is reached through `{bastion}` of the plane `{other}`",
            "`{name}` du plan `{own}` est joint par `{bastion}` du plan `{other}`"
        );
        let label = say!(cx, "the bastion of another plane", "le bastion d'un autre plan");
        found.push(Finding::new(subject("hosts", name), message).at(span).label(via.span, label).hosts([at]));
    }
}

fn direct(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        let is_local = host.connection() == crate::model::inventory::ConnectionKind::Local;
        if host.has_role("bastion") || is_local || cx.inventory.via(host).is_some() {
            continue;
        }
        let name = &host.name;
        let span = host.ssh.via.as_ref().map_or(host.span, |via| via.span);
        let message = say!(
            cx,
            "`{name}` is reached without a bastion that could break the protocol and keep a record",
            "`{name}` est joint sans bastion qui puisse rompre le protocole et garder trace"
        );
        found.push(Finding::new(subject("hosts", name), message).at(span).hosts([at]));
    }
}

fn people(cx: &Cx<'_>, found: &mut Found) {
    for (name, operator) in &cx.inventory.operators {
        let control = operator.planes.iter().find(|plane| cx.is_control_plane(plane.as_str()));
        let other = operator.planes.iter().find(|plane| !cx.is_control_plane(plane.as_str()));
        if let (Some(control), Some(other)) = (control, other) {
            let message = say!(
                cx,
                "`{name}` administers the control plane and the plane `{other}`",
                "`{name}` administre le plan de contrôle et le plan `{other}`"
            );
            let label = say!(cx, "the control plane", "le plan de contrôle");
            let help = say!(
                cx,
                "leave one of the two to somebody else: who is caught on one side must not open the other",
                "laissez l'un des deux à quelqu'un d'autre : qui est pris d'un côté ne doit pas ouvrir l'autre"
            );
            let finding = Finding::new(subject("operators", name), message).at(other.span);
            found.push(finding.label(control.span, label).help(help));
        }
    }
}

fn incompatible(cx: &Cx<'_>, found: &mut Found) {
    for pair in &cx.inventory.policy.incompatible {
        for (name, operator) in &cx.inventory.operators {
            let mut held =
                operator.planes.iter().filter(|plane| pair.planes.iter().any(|other| other.value == plane.value));
            if let (Some(first), Some(second)) = (held.next(), held.next()) {
                let why = &pair.why;
                let message = say!(
                    cx,
                    "`{name}` administers `{first}` and `{second}`, which must not be in one hand: {why}",
                    "`{name}` administre `{first}` et `{second}`, qui ne doivent pas être dans une même main : {why}"
                );
                let label = say!(cx, "declared here", "déclaré ici");
                found.push(Finding::new(subject("operators", name), message).at(second.span).label(pair.span, label));
            }
        }
    }
}

/// Reports what several planes have of `of`, where one of them is the control plane.
fn shared(
    cx: &Cx<'_>,
    found: &mut Found,
    of: impl Fn(&SshDefaults) -> Vec<(String, Span)>,
    message: impl Fn(&str, &str, &str) -> String,
) {
    let planes_used: BTreeSet<&str> = cx.hosts.iter().filter_map(|host| plane_of(host)).collect();
    let defaults = of(&cx.inventory.defaults.ssh);
    let mut users: BTreeMap<String, Vec<(&str, Span)>> = BTreeMap::new();
    for (name, plane) in &cx.inventory.planes {
        if !planes_used.contains(name.as_str()) {
            continue;
        }
        let own = of(&plane.ssh);
        for (thing, span) in if own.is_empty() { defaults.clone() } else { own } {
            users.entry(thing).or_default().push((name.as_str(), span));
        }
    }
    for (thing, planes) in users {
        let control = planes.iter().find(|(plane, _)| cx.is_control_plane(plane));
        let other = planes.iter().find(|(plane, _)| !cx.is_control_plane(plane));
        if let (Some((control, first)), Some((other, second))) = (control, other) {
            let finding = Finding::new(subject("planes", other), message(&thing, control, other)).at(*second);
            let label = say!(cx, "the control plane's", "celle du plan de contrôle");
            found.push(if first == second { finding } else { finding.label(*first, label) });
        }
    }
}

fn login_keys(cx: &Cx<'_>, found: &mut Found) {
    let keys = |ssh: &SshDefaults| ssh.identity.iter().map(|path| (path.to_string(), path.span)).collect();
    shared(cx, found, keys, |key, control, other| {
        say!(
            cx,
            "the planes `{control}` and `{other}` are logged in to with the same key {key}",
            "on se connecte aux plans `{control}` et `{other}` avec la même clé {key}"
        )
    });
}

fn authorities(cx: &Cx<'_>, found: &mut Found) {
    let keys = |ssh: &SshDefaults| ssh.host_ca.iter().map(|key| (key.base64().to_owned(), key.span)).collect();
    shared(cx, found, keys, |_, control, other| {
        say!(
            cx,
            "one authority signs the host keys of the planes `{control}` and `{other}`",
            "une même autorité signe les clés d'hôte des plans `{control}` et `{other}`"
        )
    });
    certificates(cx, found);
}

/// Reports hosts of the role `ca` that both the control plane and another plane may ask.
fn certificates(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host().filter(|(_, host)| host.has_role("ca")) {
        let mut askers: BTreeMap<&str, Span> = BTreeMap::new();
        askers.extend(plane_of(host).map(|plane| (plane, host.span)));
        for flow in &cx.inventory.flows {
            // Who only logs in there asks for no certificate.
            let is_login = flow.udp.is_empty() && flow.tcp.iter().all(|ports| (ports.first, ports.last) == (22, 22));
            let leads_here =
                !is_login && flow.to.iter().any(|to| cx.receives(at, to)) && cx.is_meant(flow.to_hosts.as_ref(), at);
            if !leads_here {
                continue;
            }
            for from in flow.from.iter() {
                let members = cx.networks_named(from).into_iter().flat_map(|(network, _)| cx.members(network));
                for member in members.filter(|member| cx.is_meant(flow.from_hosts.as_ref(), member.host)) {
                    if let Some(plane) = cx.host(member.host).and_then(plane_of) {
                        askers.entry(plane).or_insert(from.span);
                    }
                }
            }
        }
        let control = askers.iter().find(|(plane, _)| cx.is_control_plane(plane));
        let other = askers.iter().find(|(plane, _)| !cx.is_control_plane(plane));
        if let (Some((control, first)), Some((other, second))) = (control, other) {
            let name = &host.name;
            let message = say!(
                cx,
                "the authority `{name}` signs for the planes `{control}` and `{other}`",
                "l'autorité `{name}` signe pour les plans `{control}` et `{other}`"
            );
            let mut finding = Finding::new(subject("hosts", name), message).at(host.span).hosts([at]);
            for (plane, span) in [(control, first), (other, second)] {
                if *span != host.span {
                    finding = finding.label(*span, say!(cx, "the plane `{plane}`", "le plan `{plane}`"));
                }
            }
            found.push(finding);
        }
    }
}
