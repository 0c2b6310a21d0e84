//! The flow matrix: who may talk to whom, worked out from zones, networks, flows, hosts and their interfaces.
//!
//! Each flow is resolved once into sets of addresses; a host's part of it is found through the networks that the host is
//! in, so ten thousand hosts cost ten thousand look-ups and never a pair of hosts each. What is made of it is for others:
//! the `firewall` kind turns [`HostFlows`] into rules, `provision matrix` prints [`Matrix::cells`], and whoever wants to
//! know of one connection asks [`Matrix::allows`]. [`path`] looks whether the way that the tool itself takes is in it.

mod address;
pub mod path;
mod service;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::address::{AddressSet, Family};
pub use self::service::{Service, Transport, protocol_number};
use super::inventory::{Flow, Host, Interface, Inventory, Nature};
use super::node::{OneOrMany, Spanned};
use super::selector::Selector;
use crate::addr::{HostName, NetworkName, ZoneName};
use crate::diag::{Diagnostic, Diagnostics, Span};

/// The flow matrix of an inventory.
#[derive(Debug)]
pub struct Matrix<'a> {
    inventory: &'a Inventory,
    flows: Vec<ResolvedFlow<'a>>,
    /// Of each network, the flows that come from it and those that go to it.
    by_network: HashMap<&'a str, (Vec<usize>, Vec<usize>)>,
    /// Of each network, the flows that a host which forwards for it may have to let through.
    positions: HashMap<&'a str, usize>,
}

/// A flow with what its names stand for.
#[derive(Debug)]
pub struct ResolvedFlow<'a> {
    /// Its name, made from its reason: it stays the same when the file around it changes.
    pub name: String,
    /// The flow, with its place.
    pub flow: &'a Spanned<Flow>,
    /// What may pass.
    pub services: Vec<Service>,
    /// Where it comes from.
    pub from: Side<'a>,
    /// Where it goes.
    pub to: Side<'a>,
}

/// One side of a flow.
#[derive(Debug)]
pub struct Side<'a> {
    /// The zones and endpoints that it touches, each once, in the order in which the flow names them.
    pub ends: Vec<End<'a>>,
    /// All that it holds.
    pub addresses: Arc<AddressSet>,
    networks: BTreeSet<&'a str>,
    /// For each host of the inventory whether it is meant; all of them where this is `None`.
    hosts: Option<Vec<bool>>,
}

/// What a row or a column of the matrix stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End<'a> {
    /// A zone.
    Zone(&'a str),
    /// Something outside the fleet.
    Endpoint(&'a str),
}

impl<'a> End<'a> {
    /// Returns its name.
    pub fn name(self) -> &'a str {
        match self {
            End::Zone(name) | End::Endpoint(name) => name,
        }
    }
}

/// What may pass between two ends: positions of flows. What has no cell is denied.
pub type Cells<'a> = BTreeMap<(End<'a>, End<'a>), Vec<usize>>;

/// What one host may do on the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostFlows {
    /// What comes in.
    pub incoming: Vec<Passage>,
    /// What goes out.
    pub outgoing: Vec<Passage>,
    /// What it passes on, as a router.
    pub forwarded: Vec<Forwarding>,
}

/// The interface that every host has, and that no cable is plugged into.
const LOOPBACK: &str = "lo";

/// A flow, as one of the two hosts at its ends sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passage {
    /// The flow's name.
    pub flow: String,
    /// Why it is needed.
    pub why: String,
    /// What may pass.
    pub services: Vec<Service>,
    /// The host's own addresses that take part.
    pub own: Vec<OwnAddress>,
    /// The other side.
    pub peers: Arc<AddressSet>,
}

/// An address of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnAddress {
    /// The interface that has it.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// A flow, as a router on its way sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarding {
    /// The flow's name.
    pub flow: String,
    /// Why it is needed.
    pub why: String,
    /// What may pass.
    pub services: Vec<Service>,
    /// Where it comes from.
    pub from: Arc<AddressSet>,
    /// Where it goes.
    pub to: Arc<AddressSet>,
}

impl<'a> Matrix<'a> {
    /// Resolves the flows of a valid inventory; what cannot be resolved is reported.
    pub fn build(inventory: &'a Inventory, problems: &mut Diagnostics) -> Self {
        let mut names = BTreeSet::new();
        let networks_of_zone = networks_of_zones(inventory);
        let mut flows = Vec::with_capacity(inventory.flows.len());
        for flow in &inventory.flows {
            let services = service::of(flow, problems);
            let mut resolver = Resolver { inventory, networks_of_zone: &networks_of_zone, problems };
            let from = resolver.side(&flow.from, flow.from_hosts.as_ref());
            let to = resolver.side(&flow.to, flow.to_hosts.as_ref());
            flows.push(ResolvedFlow { name: name_of(&flow.why, &mut names), flow, services, from, to });
        }
        let mut by_network: HashMap<&str, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (at, flow) in flows.iter().enumerate() {
            for network in &flow.from.networks {
                by_network.entry(network).or_default().0.push(at);
            }
            for network in &flow.to.networks {
                by_network.entry(network).or_default().1.push(at);
            }
        }
        let positions = inventory.hosts.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        Self { inventory, flows, by_network, positions }
    }

    /// Returns the inventory that it was made from.
    pub fn inventory(&self) -> &'a Inventory {
        self.inventory
    }

    /// Returns the flows, in the order of the inventory.
    pub fn flows(&self) -> &[ResolvedFlow<'a>] {
        &self.flows
    }

    /// Returns all ends that the matrix speaks of: every zone, then every endpoint that a flow names.
    pub fn ends(&self) -> Vec<End<'a>> {
        let zones = self.inventory.zones.keys().map(|zone| End::Zone(zone.as_str()));
        let named: BTreeSet<End<'_>> =
            self.flows.iter().flat_map(|flow| flow.from.ends.iter().chain(&flow.to.ends)).copied().collect();
        let endpoints = self.inventory.endpoints.keys().map(|name| End::Endpoint(name.as_str()));
        zones.chain(endpoints.filter(|end| named.contains(end))).collect()
    }

    /// Returns what may pass between zones and endpoints.
    pub fn cells(&self) -> Cells<'a> {
        let mut cells = Cells::new();
        for (at, flow) in self.flows.iter().enumerate() {
            for from in &flow.from.ends {
                for to in &flow.to.ends {
                    cells.entry((*from, *to)).or_default().push(at);
                }
            }
        }
        cells
    }

    /// Returns what a host may do on the network, its flows in the order of the inventory.
    pub fn host(&self, host: &Host) -> HostFlows {
        let Some(position) = self.positions.get(host.name.as_str()).copied() else { return HostFlows::default() };
        let own = |side: &Side<'_>| self.own_addresses(host, position, side);
        let (from, to) = self.candidates(host);
        let passages = |candidates: BTreeSet<usize>, is_incoming: bool| -> Vec<Passage> {
            let found = candidates.into_iter().filter_map(|at| self.flows.get(at)).map(|flow| {
                let (mine, theirs) = if is_incoming { (&flow.to, &flow.from) } else { (&flow.from, &flow.to) };
                Passage {
                    flow: flow.name.clone(),
                    why: flow.flow.why.value.clone(),
                    services: flow.services.clone(),
                    own: own(mine),
                    peers: theirs.addresses.clone(),
                }
            });
            found.filter(|passage| !passage.own.is_empty()).collect()
        };
        HostFlows { incoming: passages(to, true), outgoing: passages(from, false), forwarded: self.forwarded(host) }
    }

    /// Returns the flows that let a connection pass, from one address to another.
    pub fn allows(
        &self,
        from: IpAddr,
        to: IpAddr,
        transport: Transport,
        port: u16,
    ) -> impl Iterator<Item = &ResolvedFlow<'a>> {
        self.flows.iter().filter(move |flow| {
            flow.services.iter().any(|service| service.has(transport, port))
                && flow.from.addresses.contains(from)
                && flow.to.addresses.contains(to)
        })
    }

    /// Returns the flows that leave every host of an administration network open to every other, against PA-022 R20.
    pub fn lateral(&self) -> impl Iterator<Item = usize> {
        let is_administration = |end: &End<'_>| match end {
            End::Zone(zone) => {
                self.inventory.zones.get(*zone).is_some_and(|zone| zone.nature.value == Nature::Administration)
            }
            End::Endpoint(_) => false,
        };
        self.flows.iter().enumerate().filter_map(move |(at, flow)| {
            let is_open = |side: &Side<'_>| side.hosts.is_none() && side.ends.iter().any(is_administration);
            (is_open(&flow.from) && is_open(&flow.to)).then_some(at)
        })
    }

    /// Returns the flows that come from a network of the host, and those that go to one.
    fn candidates(&self, host: &Host) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
        for interface in host.interfaces.values() {
            let Some(network) = &interface.network else { continue };
            if let Some((coming, going)) = self.by_network.get(network.as_str()) {
                from.extend(coming);
                to.extend(going);
            }
        }
        (from, to)
    }

    fn own_addresses(&self, host: &Host, position: usize, side: &Side<'_>) -> Vec<OwnAddress> {
        if side.hosts.as_ref().is_some_and(|hosts| hosts.get(position) != Some(&true)) {
            return Vec::new();
        }
        let mut own: Vec<OwnAddress> = host
            .interfaces
            .iter()
            .filter(|(_, interface)| {
                interface.network.as_ref().is_some_and(|network| side.networks.contains(network.as_str()))
            })
            .flat_map(|(name, interface)| {
                let address = interface.address.map(|address| address.value);
                let ways = if name.value == LOOPBACK { self.ways_to_loopback(host, interface) } else { Vec::new() };
                let ways = if ways.is_empty() { vec![name.value.clone()] } else { ways };
                ways.into_iter().filter_map(move |interface| Some(OwnAddress { interface, address: address? }))
            })
            .collect();
        own.sort();
        own
    }

    /// Returns the interfaces by which the others reach an address of the loopback interface: those of its zone.
    ///
    /// Such an address is the host's whichever of its cables is alive, and routing leads to it by each of them.
    fn ways_to_loopback(&self, host: &Host, loopback: &Interface) -> Vec<String> {
        let zone =
            |interface: &Interface| self.inventory.network_of(interface).map(|(_, network)| network.zone.as_str());
        let others = host.interfaces.iter().filter(|(name, _)| name.value != LOOPBACK);
        let same = others.filter(|(_, other)| zone(other).is_some() && zone(other) == zone(loopback));
        same.map(|(name, _)| name.value.clone()).collect()
    }

    /// Returns the flows between different networks of those that the host forwards for.
    fn forwarded(&self, host: &Host) -> Vec<Forwarding> {
        if host.forwards.is_empty() {
            return Vec::new();
        }
        let mut routed: BTreeSet<&str> = BTreeSet::new();
        for name in host.forwards.iter() {
            let of_zone = self.inventory.networks.iter().filter(|(_, network)| *network.zone.as_str() == name.value);
            routed.extend(of_zone.map(|(network, _)| network.as_str()));
            routed.extend(self.inventory.networks.get_key_value(name.as_str()).map(|(network, _)| network.as_str()));
        }
        let crosses = |flow: &&ResolvedFlow<'_>| {
            let comes = flow.from.networks.iter().filter(|network| routed.contains(*network));
            comes.into_iter().any(|from| flow.to.networks.iter().any(|to| routed.contains(to) && from != to))
                || flow.from.touches_endpoint() && flow.to.networks.iter().any(|to| routed.contains(to))
                || flow.to.touches_endpoint() && flow.from.networks.iter().any(|from| routed.contains(from))
        };
        let found = self.flows.iter().filter(crosses).map(|flow| Forwarding {
            flow: flow.name.clone(),
            why: flow.flow.why.value.clone(),
            services: flow.services.clone(),
            from: flow.from.addresses.clone(),
            to: flow.to.addresses.clone(),
        });
        found.collect()
    }
}

impl Side<'_> {
    /// Returns whether the side means only some hosts of its networks.
    pub fn is_narrowed(&self) -> bool {
        self.hosts.is_some()
    }

    fn touches_endpoint(&self) -> bool {
        self.ends.iter().any(|end| matches!(end, End::Endpoint(_)))
    }
}

fn networks_of_zones(inventory: &Inventory) -> HashMap<&str, Vec<&NetworkName>> {
    let mut networks: HashMap<&str, Vec<&NetworkName>> = HashMap::new();
    for (name, network) in &inventory.networks {
        networks.entry(network.zone.as_str()).or_default().push(name);
    }
    networks
}

/// Finds what the names of a flow stand for.
struct Resolver<'a, 'b> {
    inventory: &'a Inventory,
    networks_of_zone: &'b HashMap<&'a str, Vec<&'a NetworkName>>,
    problems: &'b mut Diagnostics,
}

impl<'a> Resolver<'a, '_> {
    fn side(&mut self, names: &'a OneOrMany<Spanned<String>>, only: Option<&Spanned<String>>) -> Side<'a> {
        // A selector that means nobody was refused when the inventory was loaded; it opens nothing all the same.
        let nobody = || vec![false; self.inventory.hosts.len()];
        let hosts = only.map(|text| match Selector::parse_at(text) {
            Ok(selector) => selector.matches(self.inventory).unwrap_or_else(|_| nobody()),
            Err(_) => nobody(),
        });
        let mut ends: Vec<End<'a>> = Vec::new();
        let mut networks: BTreeSet<&'a str> = BTreeSet::new();
        let mut addresses: Vec<IpNet> = Vec::new();
        for name in names.iter() {
            let inventory = self.inventory;
            if let Some((zone, _)) = inventory.zones.get_key_value(name.as_str()) {
                ends.push(End::Zone(zone.as_str()));
                networks.extend(self.networks_of_zone.get(zone.as_str()).into_iter().flatten().map(|n| n.as_str()));
            } else if let Some((network, found)) = inventory.networks.get_key_value(name.as_str()) {
                ends.push(End::Zone(zone_name(inventory, &found.zone.value)));
                networks.insert(network.as_str());
            } else if let Some((endpoint, found)) = inventory.endpoints.get_key_value(name.as_str()) {
                ends.push(End::Endpoint(endpoint.as_str()));
                addresses.extend(found.addresses.iter().map(|address| address.value.0));
                if found.addresses.is_empty() {
                    self.without_addresses(name, found.span);
                }
            }
        }
        ends.dedup();
        let mut seen = BTreeSet::new();
        ends.retain(|end| seen.insert(*end));
        match &hosts {
            None => addresses.extend(
                networks
                    .iter()
                    .filter_map(|network| self.inventory.networks.get(*network).map(|network| network.cidr.trunc())),
            ),
            Some(chosen) => {
                let meant = self.inventory.hosts.values().zip(chosen).filter(|(_, chosen)| **chosen);
                for interface in meant.flat_map(|(host, _)| host.interfaces.values()) {
                    if let (Some(network), Some(address)) = (&interface.network, &interface.address)
                        && networks.contains(network.as_str())
                    {
                        addresses.push(IpNet::from(address.value));
                    }
                }
            }
        }
        Side { ends, addresses: Arc::new(AddressSet::new(addresses)), networks, hosts }
    }

    fn without_addresses(&mut self, name: &Spanned<String>, endpoint: Span) {
        let message = format!("the endpoint `{name}` has no `addresses`, so no firewall can let this flow through");
        self.problems.push(
            Diagnostic::error("missing-addresses", message)
                .at(name.span)
                .label(endpoint, "the endpoint")
                .help("give its addresses or networks, such as `addresses: 192.0.2.10`"),
        );
    }
}

/// Returns the name of a zone as the inventory holds it.
fn zone_name<'a>(inventory: &'a Inventory, zone: &'a ZoneName) -> &'a str {
    inventory.zones.get_key_value(zone.as_str()).map_or(zone.as_str(), |(known, _)| known.as_str())
}

/// The longest name of a flow; with a prefix and a suffix it must fit what the kernel takes.
const MAX_NAME: usize = 48;

/// Returns a name for a flow from its reason, another than those in `taken`.
fn name_of(why: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = String::new();
    for c in why.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('_') && !name.is_empty() {
            name.push('_');
        }
    }
    name.truncate(MAX_NAME);
    let name = name.trim_end_matches('_');
    let name = if name.is_empty() { "flow" } else { name };
    let mut unique = name.to_owned();
    let mut number = 2;
    while !taken.insert(unique.clone()) {
        unique = format!("{name}_{number}");
        number += 1;
    }
    unique
}

/// Returns the name of a host that has an address in the inventory, if one has.
pub fn host_with(inventory: &Inventory, address: IpAddr) -> Option<&HostName> {
    let has = |host: &&Host| host.interfaces.values().any(|i| i.address.is_some_and(|known| known.value == address));
    inventory.hosts.values().find(has).map(|host| &host.name)
}

#[cfg(test)]
mod tests;
