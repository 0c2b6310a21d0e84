//! Hypervisors: those of one plane hold no machine of another, and what controls the cloud holds no customer's.

use std::collections::BTreeMap;

use crate::policy::cx::{Cx, plane_of, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "PA022-R7",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-9.7.b"],
        text: Words {
            en: "a hypervisor holds machines of one plane only, its own",
            fr: "un hyperviseur ne porte que des machines d'un seul plan, le sien",
        },
        check: planes,
    },
    Rule {
        id: "SNC-9.7.c",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["BP028-R66"],
        text: Words {
            en: "a machine that controls or administers the cloud is no hypervisor beside",
            fr: "une machine qui contrôle ou administre le cloud n'est pas aussi hyperviseur",
        },
        check: roles,
    },
];

fn planes(cx: &Cx<'_>, found: &mut Found) {
    let mut guests: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, host) in cx.each_host() {
        if let Some(by) = host.provided_by.as_ref().and_then(|by| cx.position(by.host.as_str())) {
            guests.entry(by).or_default().push(at);
        }
    }
    for (hypervisor, guests) in guests {
        let Some(below) = cx.host(hypervisor) else { continue };
        let first = guests.first().and_then(|guest| cx.host(*guest)).and_then(plane_of);
        let Some(own) = plane_of(below).or(first) else { continue };
        let strangers: Vec<usize> = guests
            .iter()
            .copied()
            .filter(|guest| cx.host(*guest).and_then(plane_of).is_some_and(|plane| plane != own))
            .collect();
        let Some(stranger) = strangers.first().and_then(|at| cx.host(*at)) else { continue };
        let (name, guest, plane) = (&below.name, &stranger.name, plane_of(stranger).unwrap_or_default());
        let message = say!(
            cx,
            "the hypervisor `{name}` of the plane `{own}` holds `{guest}` of the plane `{plane}`",
            "l'hyperviseur `{name}` du plan `{own}` porte `{guest}` du plan `{plane}`"
        );
        let span = stranger.provided_by.as_ref().map_or(stranger.span, |by| by.span);
        let label = say!(cx, "the hypervisor", "l'hyperviseur");
        let finding = Finding::new(subject("hosts", name), message).at(span).label(below.span, label);
        found.push(finding.hosts(strangers));
    }
}

/// Roles of what controls or administers the cloud.
const CONTROLLING: [&str; 9] = ["control", "etcd", "api", "bastion", "log", "ca", "backup", "supervision", "time"];

fn roles(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        let Some(hypervisor) = host.roles.iter().find(|role| role.value == "hypervisor") else { continue };
        let Some(other) = host.roles.iter().find(|role| CONTROLLING.contains(&role.value.as_str())) else { continue };
        let name = &host.name;
        let message =
            say!(cx, "`{name}` is `{other}` and hypervisor in one", "`{name}` est à la fois `{other}` et hyperviseur");
        let label = say!(cx, "what controls the cloud", "ce qui contrôle le cloud");
        found.push(
            Finding::new(subject("hosts", name), message).at(hypervisor.span).label(other.span, label).hosts([at]),
        );
    }
}
