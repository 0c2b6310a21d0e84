//! What is to be tried: every flow of the matrix between the hosts at its ends, and a sample of what no flow allows.
//!
//! The sample is the same each time. It holds, for each ordered pair of zones, each address of a host in the second, tried
//! from a host of the first on ports where something listens or is meant to: so every host's own filter is tried from
//! every zone. In a zone of administration SSH from host to host is always among it (PA-022 R20), and for the control plane
//! every port that a flow opens there. `Scope::Exhaustive` tries every pair of addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::Expected;
use crate::addr::HostName;
use crate::model::inventory::{Host, Nature, Ports};
use crate::model::matrix::{End, Matrix, Service, Transport};

/// How much is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every flow, from each source to up to [`DESTINATIONS`] destinations, and a sample of what is denied.
    #[default]
    Sample,
    /// Every pair of addresses.
    Exhaustive,
}

/// To how many destinations of one flow a source connects, unless everything is to be tried or a destination would be left
/// to nobody.
pub const DESTINATIONS: usize = 32;

/// How many ports of an address are tried from a zone that may not reach them.
const DENIED_PORTS: usize = 2;

/// How many sources are looked at for one that may not reach a port.
const LOOKED_AT: usize = 64;

/// A range of ports up to this size is tried as a whole where everything is to be tried.
const WHOLE_RANGE: u16 = 16;

/// A connection to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The host that connects.
    pub from: HostName,
    /// The address that it connects from.
    pub source: IpAddr,
    /// The host that is connected to.
    pub to: HostName,
    /// The address that is connected to.
    pub address: IpAddr,
    /// TCP or UDP.
    pub transport: Transport,
    /// The port.
    pub port: u16,
    /// What the matrix says.
    pub expected: Expected,
    /// The first flow that allows it, by position in the matrix.
    pub flow: Option<usize>,
}

/// All that is to be tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The probes, by source and destination in the order of the inventory.
    pub probes: Vec<Probe>,
    /// How many allowed pairs of addresses are left to other sources, because a flow has too many.
    pub left_out: usize,
    /// The flows, by position, that cannot be tried from host to host, with why.
    pub untried: BTreeMap<usize, Untried>,
}

/// Why a flow is not tried, or not as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Untried {
    /// What is at one of its ends is no host of the inventory.
    Outside,
    /// It lets nothing through that has a port.
    NoPorts,
    /// No host stands at one of its ends, or only one and the same.
    Nobody,
}

/// A host's address in a network.
#[derive(Clone, Copy)]
struct Stand<'a> {
    host: usize,
    zone: &'a str,
    nature: Option<Nature>,
    address: IpAddr,
}

/// Returns whether two addresses are of two hosts that can talk to each other at all.
fn is_other((from, source): Own, (to, address): Own) -> bool {
    from != to && source.is_ipv4() == address.is_ipv4()
}

/// Something with a port.
type Door = (Transport, u16);

/// An address of a host, which stands at its position in the inventory.
type Own = (usize, IpAddr);

/// Both hosts, both addresses, and what is connected to.
type Key = (usize, usize, IpAddr, IpAddr, Transport, u16);

/// What stands at the two ends of a flow.
#[derive(Clone, Debug, Default)]
struct Ends {
    sources: Vec<Own>,
    destinations: Vec<Own>,
}

struct Builder<'m, 'a> {
    matrix: &'m Matrix<'a>,
    hosts: Vec<&'a Host>,
    /// For each host whether it may be logged in to, and so can be a source.
    is_source: Vec<bool>,
    /// For each flow its sources and its destinations.
    ends: Vec<Ends>,
    scope: Scope,
    /// The flow of each connection; none of those that no flow allows.
    found: BTreeMap<Key, Option<usize>>,
    left_out: usize,
}

/// Returns what is to be tried from some hosts to all.
pub fn build<'a>(matrix: &Matrix<'a>, sources: &[&'a Host], scope: Scope) -> Expectations {
    let inventory = matrix.inventory();
    let hosts: Vec<&Host> = inventory.hosts.values().collect();
    let chosen: BTreeSet<&HostName> = sources.iter().map(|host| &host.name).collect();
    let is_source = hosts.iter().map(|host| chosen.contains(&host.name)).collect();
    let positions: HashMap<&str, usize> =
        matrix.flows().iter().enumerate().map(|(at, flow)| (flow.name.as_str(), at)).collect();
    let mut ends: Vec<Ends> = vec![Ends::default(); matrix.flows().len()];
    for (at, host) in hosts.iter().enumerate() {
        let flows = matrix.host(host);
        for (passages, is_from) in [(&flows.outgoing, true), (&flows.incoming, false)] {
            for passage in passages {
                let Some(end) = positions.get(passage.flow.as_str()).and_then(|flow| ends.get_mut(*flow)) else {
                    continue;
                };
                let side = if is_from { &mut end.sources } else { &mut end.destinations };
                side.extend(passage.own.iter().map(|own| (at, own.address)));
            }
        }
    }
    let mut builder = Builder { matrix, hosts, is_source, ends, scope, found: BTreeMap::new(), left_out: 0 };
    let untried = builder.allowed();
    builder.denied();
    builder.finish(untried)
}

impl<'a> Builder<'_, 'a> {
    /// Adds every flow between the hosts at its ends.
    fn allowed(&mut self) -> BTreeMap<usize, Untried> {
        let mut untried = BTreeMap::new();
        for (at, flow) in self.matrix.flows().iter().enumerate() {
            let doors = doors(&flow.services, self.scope);
            let Ends { sources, destinations } = self.ends.get(at).cloned().unwrap_or_default();
            let is_outside = |ends: &[End<'_>]| ends.iter().any(|end| matches!(end, End::Endpoint(_)));
            if doors.is_empty() {
                untried.insert(at, Untried::NoPorts);
            } else if is_outside(&flow.from.ends) || is_outside(&flow.to.ends) {
                untried.insert(at, Untried::Outside);
            } else if !sources.iter().any(|(from, _)| destinations.iter().any(|(to, _)| from != to)) {
                untried.insert(at, Untried::Nobody);
            }
            let sources: Vec<Own> =
                sources.into_iter().filter(|(from, _)| self.is_source.get(*from) == Some(&true)).collect();
            let mut left: BTreeSet<Own> = destinations.iter().copied().collect();
            for (number, (from, source)) in sources.iter().enumerate() {
                // Each source begins at another destination, so that the destinations are shared out.
                let begin = number * destinations.len() / sources.len();
                let turned = destinations.iter().cycle().skip(begin).take(destinations.len());
                let others = turned.filter(|to| is_other((*from, *source), **to));
                for (tried, to) in others.enumerate() {
                    if tried >= DESTINATIONS && self.scope == Scope::Sample {
                        self.left_out += 1;
                        continue;
                    }
                    left.remove(to);
                    self.allow(at, (*from, *source), *to, &doors);
                }
            }
            // Where there are few sources, or one is a destination itself, somebody takes what is left.
            for (number, to) in left.into_iter().enumerate() {
                let turned = sources.iter().cycle().skip(number % sources.len().max(1)).take(sources.len());
                if let Some(from) = turned.into_iter().find(|from| is_other(**from, to)) {
                    self.left_out = self.left_out.saturating_sub(1);
                    self.allow(at, *from, to, &doors);
                }
            }
        }
        untried
    }

    fn allow(&mut self, flow: usize, from: Own, to: Own, doors: &[Door]) {
        for (transport, port) in doors {
            self.found.entry((from.0, to.0, from.1, to.1, *transport, *port)).or_insert(Some(flow));
        }
    }

    /// Adds what no flow allows.
    fn denied(&mut self) {
        let stands = self.stands();
        let mut by_zone: BTreeMap<&str, Vec<Stand<'_>>> = BTreeMap::new();
        for stand in stands.iter().filter(|stand| self.is_source.get(stand.host).copied().unwrap_or_default()) {
            by_zone.entry(stand.zone).or_default().push(*stand);
        }
        let opened = self.opened();
        for (number, to) in stands.iter().enumerate() {
            let doors = self.doors_of(to, &opened);
            for (zone, sources) in &by_zone {
                if self.scope == Scope::Exhaustive {
                    for from in sources {
                        for door in &doors {
                            self.deny(from, to, *door);
                        }
                    }
                    continue;
                }
                // Of the control plane every door is tried from each other zone.
                let is_whole = to.nature == Some(Nature::Control) && *zone != to.zone;
                let limit = if is_whole { doors.len() } else { DENIED_PORTS };
                let mut tried = 0;
                for (at, door) in doors.iter().enumerate() {
                    if tried == limit {
                        break;
                    }
                    let turned = sources.iter().cycle().skip(number + at + 1).take(sources.len().min(LOOKED_AT));
                    for from in turned {
                        if self.deny(from, to, *door) {
                            tried += 1;
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Adds a connection unless a flow allows it. Returns whether none does.
    fn deny(&mut self, from: &Stand<'_>, to: &Stand<'_>, (transport, port): Door) -> bool {
        if !is_other((from.host, from.address), (to.host, to.address)) {
            return false;
        }
        if self.matrix.allows(from.address, to.address, transport, port).next().is_some() {
            return false;
        }
        self.found.insert((from.host, to.host, from.address, to.address, transport, port), None);
        true
    }

    /// Returns all addresses of hosts, in the order of the inventory.
    fn stands(&self) -> Vec<Stand<'a>> {
        let inventory = self.matrix.inventory();
        let mut stands = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            for interface in host.interfaces.values() {
                let (Some(address), Some((_, network))) = (interface.address, inventory.network_of(interface)) else {
                    continue;
                };
                let zone = network.zone.as_str();
                let nature = inventory.zones.get(zone).map(|zone| zone.nature.value);
                stands.push(Stand { host: at, zone, nature, address: address.value });
            }
        }
        stands
    }

    /// Returns for each host what flows open on it: the address and the door.
    fn opened(&self) -> HashMap<usize, Vec<(IpAddr, Door)>> {
        let mut opened: HashMap<usize, Vec<(IpAddr, Door)>> = HashMap::new();
        for (flow, Ends { destinations, .. }) in self.matrix.flows().iter().zip(&self.ends) {
            let doors = doors(&flow.services, self.scope);
            for (host, address) in destinations {
                opened.entry(*host).or_default().extend(doors.iter().map(|door| (*address, *door)));
            }
        }
        opened
    }

    /// Returns the doors of an address that are worth trying: SSH where administration is done, what flows open at this address,
    /// SSH elsewhere, and what they open at other addresses of the host.
    fn doors_of(&self, to: &Stand<'_>, opened: &HashMap<usize, Vec<(IpAddr, Door)>>) -> Vec<Door> {
        let host = self.hosts.get(to.host);
        let port = host.and_then(|host| self.matrix.inventory().ssh(host)).map_or(22, |access| access.port);
        let ssh = (Transport::Tcp, port);
        let opened = opened.get(&to.host).map(Vec::as_slice).unwrap_or_default();
        let here = opened.iter().filter(|(address, _)| *address == to.address).map(|(_, door)| *door);
        let elsewhere = opened.iter().filter(|(address, _)| *address != to.address).map(|(_, door)| *door);
        let first = (to.nature == Some(Nature::Administration)).then_some(ssh);
        let all = first.into_iter().chain(here).chain([ssh]).chain(elsewhere);
        let mut seen = BTreeSet::new();
        all.filter(|door| seen.insert(*door)).collect()
    }

    fn finish(self, untried: BTreeMap<usize, Untried>) -> Expectations {
        let name = |at: usize| self.hosts.get(at).map(|host| host.name.clone());
        let probes = self.found.iter().filter_map(|(key, flow)| {
            let (from, to, source, address, transport, port) = *key;
            let expected = if flow.is_some() { Expected::Allowed } else { Expected::Denied };
            let (from, to) = (name(from)?, name(to)?);
            Some(Probe { from, source, to, address, transport, port, expected, flow: *flow })
        });
        Expectations { probes: probes.collect(), left_out: self.left_out, untried }
    }
}

/// Returns what of some services is tried: both ends of each range of ports.
fn doors(services: &[Service], scope: Scope) -> Vec<Door> {
    let mut doors = Vec::new();
    for service in services {
        let (transport, ranges) = match service {
            Service::Tcp(ranges) => (Transport::Tcp, ranges),
            Service::Udp(ranges) => (Transport::Udp, ranges),
            Service::Ping | Service::Protocol(_) => continue,
        };
        for Ports { first, last } in ranges {
            if scope == Scope::Exhaustive && last - first < WHOLE_RANGE {
                doors.extend((*first..=*last).map(|port| (transport, port)));
            } else {
                doors.push((transport, *first));
                doors.extend((first != last).then_some((transport, *last)));
            }
        }
    }
    doors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Diagnostics, Sources};
    use crate::model::inventory::Inventory;
    use crate::model::matrix::{HostFlows, Passage};

    const FLEET: &str = "
sites: {a: {country: FR}}
zones:
  admin: {nature: administration}
  control: {nature: control}
  office: {nature: office}
networks:
  a-admin: {site: a, zone: admin, cidr: 10.1.0.0/24}
  a-control: {site: a, zone: control, cidr: 10.2.0.0/24}
  a-office: {site: a, zone: office, cidr: 10.3.0.0/24}
endpoints:
  mirror: {url: 'https://192.0.2.9', operator: self, jurisdiction: FR, addresses: 192.0.2.9}
flows:
  - {from: admin, from_hosts: jump, to: admin, tcp: 22, why: over SSH}
  - {from: control, to: control, tcp: 2379-2380, udp: 123, why: etcd}
  - {from: admin, to: mirror, tcp: 443, why: packages}
  - {from: admin, to: control, icmp: true, why: alive}
  - {from: office, to: control, tcp: 6443, why: nobody is there}
hosts:
  jump: {ssh: {address: 10.1.0.2, via: direct}, interfaces: {eth0: {network: a-admin, address: 10.1.0.2}}}
  one: {ssh: {address: 10.1.0.11, via: jump}, interfaces: {eth0: {network: a-admin, address: 10.1.0.11}, eth1: {network: a-control, address: 10.2.0.11}}}
  two: {ssh: {address: 10.1.0.12, via: jump, port: 2222}, interfaces: {eth0: {network: a-admin, address: 10.1.0.12}, eth1: {network: a-control, address: 10.2.0.12}}}
";

    fn inventory() -> Inventory {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("a.yaml");
        crate::fs::write_atomic(&path, FLEET.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems);
        inventory.unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn told(found: &Expectations) -> String {
        let lines = found.probes.iter().map(|probe| {
            let Probe { from, source, to, address, transport, port, expected, .. } = probe;
            format!("{from} {source} > {to} {address} {transport:?} {port} {expected:?}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_flow_is_tried_and_of_the_denied_a_sample_from_every_zone() {
        let inventory = inventory();
        let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
        let all: Vec<&Host> = inventory.hosts.values().collect();
        let found = build(&matrix, &all, Scope::Sample);
        insta::assert_snapshot!(told(&found));
        let untried = [(2, Untried::Outside), (3, Untried::NoPorts), (4, Untried::Nobody)];
        assert_eq!(found.untried, BTreeMap::from(untried));
        assert_eq!(found, build(&matrix, &all, Scope::Sample), "the sample is the same each time");
        for probe in &found.probes {
            let flows = matrix.allows(probe.source, probe.address, probe.transport, probe.port).count();
            assert_eq!(flows > 0, probe.expected == Expected::Allowed, "{probe:?}");
        }
    }

    #[test]
    fn everything_is_tried_where_everything_is_asked_for_and_only_from_the_chosen_hosts() {
        let inventory = inventory();
        let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
        let all: Vec<&Host> = inventory.hosts.values().collect();
        let (sample, whole) = (build(&matrix, &all, Scope::Sample), build(&matrix, &all, Scope::Exhaustive));
        let pairs = |found: &Expectations| -> BTreeSet<(IpAddr, IpAddr)> {
            found.probes.iter().map(|probe| (probe.source, probe.address)).collect()
        };
        // Five addresses, of which two and two are on one host: 5 * 4 - 2 * 2.
        assert_eq!(pairs(&whole).len(), 16);
        assert!(pairs(&sample).is_subset(&pairs(&whole)));
        let some = build(&matrix, &all[1..2], Scope::Exhaustive);
        assert!(!some.probes.is_empty() && some.probes.iter().all(|probe| probe.from.as_str() == "one"));
    }

    #[test]
    fn a_host_of_a_large_fleet_tries_its_part_in_one_round() {
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let path = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories/france");
        let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems).unwrap();
        let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
        let all: Vec<&Host> = inventory.hosts.values().collect();
        let found = build(&matrix, &all, Scope::Sample);
        let mut by_source: BTreeMap<&HostName, usize> = BTreeMap::new();
        for probe in &found.probes {
            *by_source.entry(&probe.from).or_default() += 1;
        }
        assert_eq!(by_source.len(), inventory.hosts.len());
        assert!(by_source.values().all(|number| *number <= super::super::probe::AT_ONCE), "{by_source:?}");
        // What one source leaves out another tries: every flow reaches each host that it is for, if it has another to come from.
        let tried: BTreeSet<(IpAddr, Transport, u16)> =
            found.probes.iter().map(|probe| (probe.address, probe.transport, probe.port)).collect();
        let flows: Vec<HostFlows> = inventory.hosts.values().map(|host| matrix.host(host)).collect();
        for flow in matrix.flows() {
            let of_flow = |passages: &[Passage]| passages.iter().any(|passage| passage.flow == flow.name);
            let sources: Vec<usize> =
                flows.iter().enumerate().filter(|(_, flows)| of_flow(&flows.outgoing)).map(|(at, _)| at).collect();
            for (at, flows) in flows.iter().enumerate() {
                for passage in flows.incoming.iter().filter(|passage| passage.flow == flow.name) {
                    for (own, (transport, port)) in passage
                        .own
                        .iter()
                        .flat_map(|own| doors(&flow.services, Scope::Sample).into_iter().map(move |d| (own, d)))
                    {
                        let is_tried = tried.contains(&(own.address, transport, port));
                        assert!(is_tried || sources.iter().all(|from| *from == at), "{} {own:?} {port}", flow.name);
                    }
                }
            }
        }
    }
}
