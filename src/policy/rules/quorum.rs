//! Hosts that decide by majority: the loss of one machine, rack or site must leave a majority.

use std::collections::BTreeMap;

use crate::diag::Span;
use crate::policy::cx::{Cx, plane_of, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "PROV-QUORUM",
    pack: Pack::Separation,
    level: Level::Error,
    kind: Kind::S,
    needs: Needs::Inventory,
    also: &[],
    text: Words {
        en: "members of a quorum stand on machines and racks of their own, and no site holds most of them",
        fr: "les membres d'un quorum sont sur des machines et des baies distinctes, et aucun site n'en tient la majorité",
    },
    check,
}];

/// What fails as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Domain {
    Machine,
    Rack,
    Site,
}

fn check(cx: &Cx<'_>, found: &mut Found) {
    let mut quorums: Vec<(String, Vec<usize>)> = Vec::new();
    let declared = cx.inventory.groups.iter().filter(|(_, group)| group.quorum.as_ref().is_some_and(|q| q.value));
    let declared: Vec<&str> = declared.map(|(name, _)| name.as_str()).collect();
    let mut by_plane: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    let mut by_group: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, host) in cx.each_host() {
        let mut is_in_group = false;
        for group in &host.groups {
            if let Some(name) = declared.iter().find(|name| **name == group.as_str()) {
                by_group.entry(name).or_default().push(at);
                is_in_group = true;
            }
        }
        // The members of etcd are one whether or not a group says so.
        if host.has_role("etcd") && !is_in_group {
            by_plane.entry(plane_of(host)).or_default().push(at);
        }
    }
    quorums.extend(by_group.into_iter().map(|(name, hosts)| (name.to_owned(), hosts)));
    quorums.extend(by_plane.into_values().map(|hosts| ("etcd".to_owned(), hosts)));
    for (name, hosts) in quorums.iter().filter(|(_, hosts)| hosts.len() > 1) {
        one(cx, found, name, hosts);
    }
}

fn one(cx: &Cx<'_>, found: &mut Found, quorum: &str, hosts: &[usize]) {
    let number = hosts.len();
    for domain in [Domain::Machine, Domain::Rack, Domain::Site] {
        let most = match domain {
            Domain::Machine | Domain::Rack => 1,
            // A majority is more than half of all: what may go is less than half.
            Domain::Site => number.div_ceil(2) - 1,
        };
        let mut held: BTreeMap<String, Vec<(usize, Span)>> = BTreeMap::new();
        for at in hosts {
            if let Some((place, span)) = place(cx, *at, domain) {
                held.entry(place).or_default().push((*at, span));
            }
        }
        let Some((place, members)) = held.into_iter().find(|(_, members)| members.len() > most) else { continue };
        let count = members.len();
        let message = match domain {
            Domain::Machine => say!(
                cx,
                "{count} of {number} members of `{quorum}` run on the machine `{place}`",
                "{count} membres sur {number} de `{quorum}` tournent sur la machine `{place}`"
            ),
            Domain::Rack => say!(
                cx,
                "{count} of {number} members of `{quorum}` stand in the rack `{place}`",
                "{count} membres sur {number} de `{quorum}` sont dans la baie `{place}`"
            ),
            Domain::Site => say!(
                cx,
                "{count} of {number} members of `{quorum}` stand at `{place}`: without it, no majority is left",
                "{count} membres sur {number} de `{quorum}` sont à `{place}` : sans lui, plus de majorité"
            ),
        };
        let Some((last, span)) = members.last().copied() else { return };
        let name = cx.host(last).map_or("", |host| host.name.as_str());
        let mut finding = Finding::new(subject("hosts", name), message).at(span);
        for (_, other) in members.iter().take(count - 1) {
            finding = finding.label(*other, say!(cx, "another member", "un autre membre"));
        }
        // The wider domains hold what the narrower one does.
        return found.push(finding.hosts(members.iter().map(|(at, _)| *at)));
    }
}

/// Returns what a host falls with, and where the inventory says so.
fn place(cx: &Cx<'_>, at: usize, domain: Domain) -> Option<(String, Span)> {
    let host = cx.host(at)?;
    let machine = cx.host(cx.machine(at))?;
    let on_it = host.provided_by.as_ref().map(|by| by.span);
    match domain {
        Domain::Machine => Some((machine.name.to_string(), on_it.unwrap_or(host.span))),
        Domain::Rack => {
            let (site, rack) = (machine.site.as_ref()?, machine.rack.as_ref()?);
            let room = machine.room.as_ref().map_or("", |room| room.as_str());
            Some((format!("{site}/{room}/{rack}"), on_it.unwrap_or(rack.span)))
        }
        Domain::Site => machine.site.as_ref().map(|site| (site.to_string(), on_it.unwrap_or(site.span))),
    }
}
