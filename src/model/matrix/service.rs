//! What a flow lets through: ports, `ping`, and protocols without ports.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::diag::{Diagnostic, Diagnostics};
use crate::model::inventory::{Flow, Ports};

/// Something that may pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// TCP to these ports.
    Tcp(Vec<Ports>),
    /// UDP to these ports.
    Udp(Vec<Ports>),
    /// `ping`.
    Ping,
    /// A protocol, by its number.
    Protocol(u8),
}

/// What carries ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Protocols by name, as IANA numbers them: a minimal host has no `/etc/protocols` to ask.
const PROTOCOLS: [(&str, u8); 18] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
];

impl Service {
    /// Returns whether a connection to a port is among it.
    pub fn has(&self, transport: Transport, port: u16) -> bool {
        let ports = match (self, transport) {
            (Service::Tcp(ports), Transport::Tcp) | (Service::Udp(ports), Transport::Udp) => ports,
            _ => return false,
        };
        ports.iter().any(|ports| (ports.first..=ports.last).contains(&port))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ports: &[Ports]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match self {
            Service::Tcp(ports) => write!(f, "tcp/{}", list(ports)),
            Service::Udp(ports) => write!(f, "udp/{}", list(ports)),
            Service::Ping => f.write_str("ping"),
            Service::Protocol(number) => match PROTOCOLS.iter().find(|(_, known)| known == number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "protocol {number}"),
            },
        }
    }
}

/// Returns the number of a protocol that is given by its name or its number.
pub fn protocol_number(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| name.parse().ok())
}

/// Returns what a flow lets through, and reports protocols that nobody knows.
pub(super) fn of(flow: &Flow, problems: &mut Diagnostics) -> Vec<Service> {
    let sorted = |ports: &mut dyn Iterator<Item = Ports>| {
        let mut ports: Vec<Ports> = ports.collect();
        ports.sort();
        merged(ports)
    };
    let mut services = Vec::new();
    let tcp = sorted(&mut flow.tcp.iter().map(|ports| ports.value));
    let udp = sorted(&mut flow.udp.iter().map(|ports| ports.value));
    if !tcp.is_empty() {
        services.push(Service::Tcp(tcp));
    }
    if !udp.is_empty() {
        services.push(Service::Udp(udp));
    }
    if flow.icmp {
        services.push(Service::Ping);
    }
    for name in flow.protocols.iter() {
        match protocol_number(name) {
            Some(number) => services.push(Service::Protocol(number)),
            None => {
                let problem = Diagnostic::error("unknown-name", format!("no protocol is called `{name}`"));
                let problem = problem.at(name.span).suggest(name, PROTOCOLS.iter().map(|(known, _)| *known));
                let help = problem.help.clone().unwrap_or_else(|| "give its number, from 1 to 255".to_owned());
                problems.push(problem.help(help));
            }
        }
    }
    services
}

/// Returns ranges of ports, sorted, as ranges that neither overlap nor touch.
fn merged(sorted: Vec<Ports>) -> Vec<Ports> {
    let mut merged: Vec<Ports> = Vec::with_capacity(sorted.len());
    for ports in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(ports.first) <= u32::from(last.last) + 1 => last.last = last.last.max(ports.last),
            _ => merged.push(ports),
        }
    }
    merged
}
