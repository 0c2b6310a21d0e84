//! The way that the tool itself takes: operator to bastion, bastion to host, each hop a flow of the matrix or a finding.
//!
//! A firewall made from a matrix without this way would lock out whoever made it. So each hop's address, port and where
//! it comes from is looked up before anything runs, and a hop that nothing lets through is named with the flow to add.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Matrix, Transport};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::model::inventory::{ConnectionKind, Host, Inventory, Nature, SshDefaults};
use crate::model::node::{OneOrMany, Spanned};

/// Where a hop begins.
enum Origin<'a> {
    /// At a host of the inventory.
    Host(&'a Host),
    /// Where the tool runs: everything that `ssh.from` names.
    Declared(&'a OneOrMany<Spanned<String>>),
    /// Where the tool runs, which nothing says: any network of administration.
    Administration,
}

/// A hop that no flow lets through.
struct Closed {
    problem: Diagnostic,
    /// How many more hosts have the same problem.
    others: usize,
}

/// Reports each hop on the way to these hosts that no flow lets through. Hops of one sort are told once.
pub fn check<'a>(matrix: &Matrix<'a>, hosts: impl IntoIterator<Item = &'a Host>, problems: &mut Diagnostics) {
    let inventory = matrix.inventory();
    let mut closed: BTreeMap<(String, String), Closed> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for host in hosts {
        if host.connection() == ConnectionKind::Local {
            continue;
        }
        let mut way: Vec<&Host> = inventory.hops(host);
        way.push(host);
        let mut before: Option<&Host> = None;
        for target in way {
            let origin = match before {
                Some(hop) => Origin::Host(hop),
                None => declared_origin(inventory, target),
            };
            // A bastion is on the way to many.
            if !seen.insert((before.map(|hop| hop.name.as_str()), target.name.as_str())) {
                before = Some(target);
                continue;
            }
            if let Some(problem) = hop_problem(matrix, &origin, before, target) {
                let key = (before.map_or(String::new(), |hop| hop.name.to_string()), network_of(inventory, target));
                closed.entry(key).and_modify(|known| known.others += 1).or_insert(Closed { problem, others: 0 });
            }
            before = Some(target);
        }
    }
    for Closed { mut problem, others } in closed.into_values() {
        if others > 0 {
            let noun = if others == 1 { "host" } else { "hosts" };
            problem.message = format!("{} (and {others} more {noun} of that network)", problem.message);
        }
        problems.push(problem);
    }
}

/// Returns where the first hop to a host begins.
fn declared_origin<'a>(inventory: &'a Inventory, target: &Host) -> Origin<'a> {
    let plane = target.plane.as_ref().and_then(|plane| inventory.planes.get(plane.as_str())).map(|plane| &plane.ssh);
    let mut layers = [plane, Some(&inventory.defaults.ssh)].into_iter().flatten();
    match layers.find(|layer: &&SshDefaults| !layer.from.is_empty()) {
        Some(layer) => Origin::Declared(&layer.from),
        None => Origin::Administration,
    }
}

fn network_of(inventory: &Inventory, host: &Host) -> String {
    let address = host.ssh.address.as_ref().and_then(|address| address.parse::<IpAddr>().ok());
    let found = host.interfaces.values().find(|i| i.address.map(|a| a.value) == address && address.is_some());
    let network = found.and_then(|interface| inventory.network_of(interface)).map(|(name, _)| name.to_string());
    network.unwrap_or_else(|| host.name.to_string())
}

/// Returns what is wrong with one hop.
fn hop_problem(matrix: &Matrix<'_>, origin: &Origin<'_>, before: Option<&Host>, target: &Host) -> Option<Diagnostic> {
    let inventory = matrix.inventory();
    let access = inventory.ssh(target)?;
    let place = target.ssh.address.as_ref().map_or(target.span, |address| address.span);
    let own = |host: &Host| -> Vec<IpAddr> {
        host.interfaces.values().filter_map(|interface| interface.address.map(|address| address.value)).collect()
    };
    let addresses = match access.address.parse::<IpAddr>() {
        Ok(address) if own(target).contains(&address) => vec![address],
        Ok(address) => {
            let message = format!("`{}` is logged in to at {address}, which none of its interfaces has", target.name);
            let problem = Diagnostic::error("ssh-path-unknown", message).at(place);
            return Some(problem.help("give the address to an interface, or its firewall closes the way in"));
        }
        // A name resolves to one of its addresses, and nobody here knows to which.
        Err(_) => own(target),
    };
    let port = access.port;
    let is_open = |from: IpAddr| addresses.iter().any(|to| allowed(matrix, from, *to, port));
    let closed = |from: String, from_names: &str, label: Option<(Span, String)>| {
        let message = format!(
            "no flow lets {from} reach `{}` at {} on TCP port {port}, and the tool logs in that way",
            target.name, access.address
        );
        let mut problem = Diagnostic::error("ssh-path-closed", message).at(place);
        if let Some((span, text)) = label {
            problem = problem.label(span, text);
        }
        let to = zone_of(inventory, target, &addresses);
        problem.help(format!(
            "add to `flows`: {{from: {from_names}, to: {to}, to_hosts: {}, tcp: {port}, why: administration over SSH}}",
            target.name
        ))
    };
    match origin {
        Origin::Host(hop) => {
            let froms = own(hop);
            if froms.iter().any(|from| is_open(*from)) {
                return None;
            }
            let from = format!("{}, from_hosts: {}", zone_of(inventory, hop, &froms), hop.name);
            let via = target.ssh.via.as_ref().map(|via| via.span).unwrap_or(hop.span);
            let label = Some((via, "the hop before it".to_owned()));
            Some(closed(format!("`{}`", hop.name), &from, label))
        }
        Origin::Declared(names) => names.iter().find_map(|name| {
            let is_through = match inventory.hosts.get(name.as_str()) {
                Some(host) => own(host).iter().any(|from| is_open(*from)),
                None => networks_called(inventory, name).iter().all(|network| {
                    addresses.iter().any(|to| {
                        matrix.flows().iter().any(|flow| {
                            flow.services.iter().any(|service| service.has(Transport::Tcp, port))
                                && flow.from.addresses.holds(network)
                                && flow.to.addresses.contains(*to)
                        })
                    })
                }),
            };
            let label = Some((name.span, "where the tool runs".to_owned()));
            (!is_through).then(|| closed(format!("`{name}`"), name, label))
        }),
        Origin::Administration => {
            let mut networks = inventory.networks.values().filter(|network| {
                let zone = inventory.zones.get(network.zone.as_str());
                zone.is_some_and(|zone| zone.nature.value == Nature::Administration)
            });
            let is_through = networks.any(|network| {
                let whole = network.cidr.trunc();
                matrix.flows().iter().any(|flow| {
                    flow.services.iter().any(|service| service.has(Transport::Tcp, port))
                        && flow.from.addresses.holds(&whole)
                        && addresses.iter().any(|to| flow.to.addresses.contains(*to))
                })
            });
            if is_through {
                return None;
            }
            let zone = inventory.zones.iter().find(|(_, zone)| zone.nature.value == Nature::Administration);
            let from = zone.map_or("the zone of the administrators", |(name, _)| name.as_str());
            let mut problem = closed("the administrators' networks".to_owned(), from, None);
            if before.is_none()
                && let Some(help) = &mut problem.help
            {
                help.push_str(
                    "; if the tool runs elsewhere, say so with `ssh: {from: NETWORK}` in `defaults` or in the plane",
                );
            }
            Some(problem)
        }
    }
}

fn allowed(matrix: &Matrix<'_>, from: IpAddr, to: IpAddr, port: u16) -> bool {
    matrix.allows(from, to, Transport::Tcp, port).next().is_some()
}

/// Returns the networks that a zone, network or endpoint stands for.
fn networks_called(inventory: &Inventory, name: &str) -> Vec<ipnet::IpNet> {
    if inventory.zones.contains_key(name) {
        let of_zone = inventory.networks.values().filter(|network| network.zone.as_str() == name);
        return of_zone.map(|network| network.cidr.trunc()).collect();
    }
    if let Some(network) = inventory.networks.get(name) {
        return vec![network.cidr.trunc()];
    }
    let endpoint = inventory.endpoints.get(name);
    endpoint.map(|e| e.addresses.iter().map(|address| address.value.0).collect()).unwrap_or_default()
}

/// Returns the zone of the first of a host's addresses that is in one.
fn zone_of(inventory: &Inventory, host: &Host, addresses: &[IpAddr]) -> String {
    let interface = host.interfaces.values().find(|i| i.address.is_some_and(|a| addresses.contains(&a.value)));
    let network = interface.and_then(|interface| inventory.network_of(interface));
    network.map_or_else(|| "ZONE".to_owned(), |(_, network)| network.zone.to_string())
}
