//! What a proof says of each pair of zones and of each flow. Whoever shows a proof beside a matrix must know that they
//! belong together, so every connection of the proof is looked up in the matrix first.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use thiserror::Error;

use crate::addr::HostName;
use crate::model::matrix::{End, Matrix, Transport};
use crate::proof::{Cell, Expected, Proof, Verdict};

/// A proof that belongs to a matrix, counted by what it is about.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The proof.
    pub proof: &'a Proof,
    pairs: HashMap<(&'a str, &'a str), Tally>,
    flows: HashMap<(&'a str, &'a str, usize), Tally>,
    /// Of each host and flow what comes in and what goes out.
    hosts: HashMap<(&'a str, usize), (Tally, Tally)>,
    /// Of each host what comes in and what goes out of what no flow allows.
    denied: HashMap<&'a str, (Tally, Tally)>,
    /// Where each contradicted connection leads from and to.
    contradicted: Vec<(&'a Cell, &'a str, &'a str)>,
}

/// How many connections came to which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that a flow allows.
    pub allowed: Count,
    /// Those that none allows.
    pub denied: Count,
}

/// How many connections came to which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// As the matrix says.
    pub proved: usize,
    /// Not as the matrix says.
    pub contradicted: usize,
    /// What was seen says neither.
    pub undecided: usize,
    /// A host was not reached.
    pub not_tried: usize,
}

impl Count {
    fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Proved => &mut self.proved,
            Verdict::Contradicted => &mut self.contradicted,
            Verdict::Undecided => &mut self.undecided,
            Verdict::NotTried => &mut self.not_tried,
        } += 1;
    }

    /// Returns the two together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            proved: self.proved + other.proved,
            contradicted: self.contradicted + other.contradicted,
            undecided: self.undecided + other.undecided,
            not_tried: self.not_tried + other.not_tried,
        }
    }

    /// Returns how many there are.
    pub fn all(self) -> usize {
        self.proved + self.contradicted + self.undecided + self.not_tried
    }
}

impl Tally {
    pub(super) fn add(&mut self, cell: &Cell) {
        let count = match cell.expected {
            Expected::Allowed => &mut self.allowed,
            Expected::Denied => &mut self.denied,
        };
        count.add(cell.verdict);
    }

    /// Returns the two together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { allowed: self.allowed.with(other.allowed), denied: self.denied.with(other.denied) }
    }

    /// Returns allowed and denied together.
    pub fn sum(self) -> Count {
        self.allowed.with(self.denied)
    }

    /// Returns whether something was to be tried, and all of it is proved.
    pub fn is_all_proved(self) -> bool {
        let sum = self.sum();
        sum.proved > 0 && sum.proved == sum.all()
    }

    /// Returns what follows for all together: one contradiction contradicts, and nothing is proved by what nobody tried.
    pub fn verdict(self) -> Option<Verdict> {
        let sum = self.sum();
        [
            (sum.contradicted, Verdict::Contradicted),
            (sum.proved, Verdict::Proved),
            (sum.undecided, Verdict::Undecided),
            (sum.not_tried, Verdict::NotTried),
        ]
        .into_iter()
        .find_map(|(number, verdict)| (number > 0).then_some(verdict))
    }
}

/// Why a proof does not belong to a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// The inventory has no such host.
    #[error("it speaks of the host `{host}`, which the inventory does not have")]
    UnknownHost {
        /// The host.
        host: HostName,
    },
    /// The inventory gives the host other addresses.
    #[error("it has `{host}` at {address}, which is no address of that host in the inventory")]
    OtherAddress {
        /// The host.
        host: HostName,
        /// The address.
        address: IpAddr,
    },
    /// The matrix says otherwise.
    #[error(
        "it was made with another flow matrix: there {} {port} from `{from}` to `{to}` ({address}) is {}, here {}",
        transport_name(.transport), word(.expected), word(&opposite(.expected))
    )]
    OtherMatrix {
        /// The host that connects.
        from: HostName,
        /// The host that is connected to.
        to: HostName,
        /// The address that is connected to.
        address: IpAddr,
        /// TCP or UDP.
        transport: Transport,
        /// The port.
        port: u16,
        /// What the proof says.
        expected: Expected,
    },
}

fn transport_name(transport: &Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

fn word(expected: &Expected) -> &'static str {
    match expected {
        Expected::Allowed => "allowed",
        Expected::Denied => "denied",
    }
}

fn opposite(expected: &Expected) -> Expected {
    match expected {
        Expected::Allowed => Expected::Denied,
        Expected::Denied => Expected::Allowed,
    }
}

impl<'a> Evidence<'a> {
    /// Counts a proof, after every connection of it was found in the matrix.
    ///
    /// # Errors
    /// The proof was made of other hosts, other addresses or other flows.
    pub fn new(proof: &'a Proof, matrix: &Matrix<'a>) -> Result<Self, EvidenceError> {
        let inventory = matrix.inventory();
        // Two hosts may have the same address in networks that never meet.
        let mut zones: HashMap<(&str, IpAddr), &'a str> = HashMap::new();
        for host in inventory.hosts.values() {
            for interface in host.interfaces.values() {
                if let (Some(address), Some((_, network))) = (interface.address, inventory.network_of(interface)) {
                    zones.insert((host.name.as_str(), address.value), network.zone.as_str());
                }
            }
        }
        let zone_of = |host: &HostName, address: IpAddr| match zones.get(&(host.as_str(), address)) {
            Some(zone) => Ok(*zone),
            None if inventory.host(host.as_str()).is_none() => Err(EvidenceError::UnknownHost { host: host.clone() }),
            None => Err(EvidenceError::OtherAddress { host: host.clone(), address }),
        };
        let positions: HashMap<&str, usize> =
            matrix.flows().iter().enumerate().map(|(at, flow)| (flow.name.as_str(), at)).collect();
        let (pairs, flows, hosts, denied) = Default::default();
        let mut evidence = Self { proof, pairs, flows, hosts, denied, contradicted: Vec::new() };
        for cell in &proof.cells {
            let (from, to) = (zone_of(&cell.from, cell.source)?, zone_of(&cell.to, cell.address)?);
            let flow = matrix.allows(cell.source, cell.address, cell.transport, cell.port).next();
            if flow.is_some() != (cell.expected == Expected::Allowed) {
                let Cell { from, to, address, transport, port, expected, .. } = cell.clone();
                return Err(EvidenceError::OtherMatrix { from, to, address, transport, port, expected });
            }
            evidence.pairs.entry((from, to)).or_default().add(cell);
            if flow.is_none() {
                evidence.denied.entry(cell.to.as_str()).or_default().0.add(cell);
                evidence.denied.entry(cell.from.as_str()).or_default().1.add(cell);
            }
            if let Some(flow) = flow.and_then(|flow| positions.get(flow.name.as_str())) {
                evidence.flows.entry((from, to, *flow)).or_default().add(cell);
                evidence.hosts.entry((cell.to.as_str(), *flow)).or_default().0.add(cell);
                evidence.hosts.entry((cell.from.as_str(), *flow)).or_default().1.add(cell);
            }
            if cell.verdict == Verdict::Contradicted {
                evidence.contradicted.push((cell, from, to));
            }
        }
        Ok(evidence)
    }

    /// Returns what came of the connections between two ends.
    pub fn pair(&self, from: End<'_>, to: End<'_>) -> Tally {
        self.pairs.get(&(from.name(), to.name())).copied().unwrap_or_default()
    }

    /// Returns what came of the connections between two ends that a flow allows.
    pub fn flow(&self, from: End<'_>, to: End<'_>, flow: usize) -> Tally {
        self.flows.get(&(from.name(), to.name(), flow)).copied().unwrap_or_default()
    }

    /// Returns what came of the connections of a flow that lead to a host, or from it.
    pub fn host(&self, host: &str, flow: usize, is_incoming: bool) -> Tally {
        let (incoming, outgoing) = self.hosts.get(&(host, flow)).copied().unwrap_or_default();
        if is_incoming { incoming } else { outgoing }
    }

    /// Returns what came of the connections that no flow allows and that lead to a host, or from it.
    pub fn denied(&self, host: &str, is_incoming: bool) -> Tally {
        let (incoming, outgoing) = self.denied.get(host).copied().unwrap_or_default();
        if is_incoming { incoming } else { outgoing }
    }

    /// Returns all pairs of zones of which something was to be tried, in order.
    pub fn pairs(&self) -> BTreeMap<(&'a str, &'a str), Tally> {
        self.pairs.iter().map(|(pair, tally)| (*pair, *tally)).collect()
    }

    /// Returns the connections that are not as the matrix says, each with the zones that it leads from and to.
    pub fn contradicted(&self) -> &[(&'a Cell, &'a str, &'a str)] {
        &self.contradicted
    }

    /// Returns all together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.proof.cells.iter().for_each(|cell| total.add(cell));
        total
    }
}
