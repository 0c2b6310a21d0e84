//! A ruleset as plain data: what is wanted of a host, made from its flows, and the text that `nft` loads.
//!
//! A rule is kept as the text in which it is written, so what is wanted and what was found can be compared and shown
//! word by word. [`live`](super::live) brings what a host answered into the same words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ipnet::IpNet;
use serde::Serialize;

use crate::model::inventory::Ports;
use crate::model::matrix::{AddressSet, Family, Forwarding, HostFlows, Passage, Service};

/// The table that is ours; all others belong to somebody else.
pub(super) const TABLE: &str = "inet provision";

/// The longest comment that the kernel keeps with a rule is 127 bytes.
const COMMENT: usize = 120;

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    pub counters: BTreeSet<String>,
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
    /// What else is in it: maps, flow tables, quotas.
    pub others: BTreeSet<String>,
}

/// A named set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Set {
    /// The type of its elements and its flags, as one text.
    pub head: String,
    /// The elements that are addresses.
    pub addresses: AddressSet,
    /// The elements that are anything else.
    pub others: BTreeSet<String>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Chain {
    /// Its hook and policy, as one text; empty for a chain that only others jump to.
    pub head: String,
    /// Its rules, in order.
    pub rules: Vec<String>,
}

impl Table {
    /// Returns how many rules there are in it.
    pub fn size(&self) -> usize {
        self.chains.values().map(|chain| chain.rules.len()).sum()
    }

    /// Returns the table that lets these flows through and nothing else.
    pub fn of(flows: &HostFlows, log: bool) -> Self {
        let mut table = Self::default();
        let mut input = chain_start("input", "iifname");
        input.push(ND_IN.to_owned());
        input.push(MLD_IN.to_owned());
        for passage in &flows.incoming {
            table.passage(passage, Direction::In, &mut input);
        }
        let mut output = chain_start("output", "oifname");
        output.push(ND_OUT.to_owned());
        output.push(MLD_OUT.to_owned());
        for passage in &flows.outgoing {
            table.passage(passage, Direction::Out, &mut output);
        }
        let mut forward = Vec::new();
        if !flows.forwarded.is_empty() {
            forward.push(ESTABLISHED.to_owned());
            forward.push(invalid("forward"));
        }
        for passed in &flows.forwarded {
            table.forwarding(passed, &mut forward);
        }
        for (hook, mut rules) in [("input", input), ("output", output), ("forward", forward)] {
            let counter = dropped(hook);
            rules.push(format!("counter name \"{counter}\""));
            if log {
                let prefix = format!("limit rate 10/minute burst 5 packets log prefix \"dropped {hook}: \" level info");
                rules.push(prefix);
            }
            table.counters.insert(counter);
            let head = format!("type filter hook {hook} priority 0; policy drop;");
            table.chains.insert(hook.to_owned(), Chain { head, rules });
        }
        table
    }

    fn passage(&mut self, passage: &Passage, direction: Direction, rules: &mut Vec<String>) {
        let (prefix, mine, theirs) = match direction {
            Direction::In => ("in", "daddr", "saddr"),
            Direction::Out => ("out", "saddr", "daddr"),
        };
        let counter = format!("{prefix}_{}", passage.flow);
        for (family, ip) in FAMILIES {
            let mut own: Vec<_> = passage.own.iter().filter(|own| Family::of(own.address) == family).collect();
            if direction == Direction::Out {
                own.sort_by_key(|own| own.address);
                own.dedup_by_key(|own| own.address);
            }
            if own.is_empty() {
                continue;
            }
            let Some(set) = self.set(&counter, &passage.peers, family) else { continue };
            for own in own {
                // What comes to an address comes by its interface; what leaves is sorted by where it leaves from.
                let interface = match direction {
                    Direction::In => format!("iifname \"{}\" ", own.interface),
                    Direction::Out => String::new(),
                };
                let (from, to) = match direction {
                    Direction::In => (format!("{ip} {theirs} @{set}"), format!("{ip} {mine} {}", own.address)),
                    Direction::Out => (format!("{ip} {mine} {}", own.address), format!("{ip} {theirs} @{set}")),
                };
                self.accept(
                    &passage.services,
                    family,
                    &format!("{interface}{from} {to}"),
                    &counter,
                    &passage.why,
                    rules,
                );
            }
        }
    }

    fn forwarding(&mut self, passed: &Forwarding, rules: &mut Vec<String>) {
        let counter = format!("forward_{}", passed.flow);
        for (family, ip) in FAMILIES {
            let both = passed.from.of_family(family).next().is_some() && passed.to.of_family(family).next().is_some();
            if !both {
                continue;
            }
            let from = self.set(&format!("{counter}_from"), &passed.from, family).unwrap_or_default();
            let to = self.set(&format!("{counter}_to"), &passed.to, family).unwrap_or_default();
            let ends = format!("{ip} saddr @{from} {ip} daddr @{to}");
            self.accept(&passed.services, family, &ends, &counter, &passed.why, rules);
        }
    }

    fn accept(
        &mut self,
        services: &[Service],
        family: Family,
        ends: &str,
        counter: &str,
        why: &str,
        rules: &mut Vec<String>,
    ) {
        for service in services {
            let service = match service {
                Service::Tcp(ports) => format!("tcp dport {}", one_or_set(ports)),
                Service::Udp(ports) => format!("udp dport {}", one_or_set(ports)),
                Service::Ping if family == Family::V4 => "icmp type echo-request".to_owned(),
                Service::Ping => "icmpv6 type echo-request".to_owned(),
                Service::Protocol(number) => format!("meta l4proto {number}"),
            };
            self.counters.insert(counter.to_owned());
            rules.push(format!("{ends} {service} counter name \"{counter}\" accept comment \"{}\"", comment(why)));
        }
    }

    /// Adds the set of the addresses of one family, and returns its name; none where there are none.
    fn set(&mut self, name: &str, addresses: &AddressSet, family: Family) -> Option<String> {
        let networks: Vec<IpNet> = addresses.of_family(family).copied().collect();
        if networks.is_empty() {
            return None;
        }
        let (suffix, kind) = if family == Family::V4 { ("4", "ipv4_addr") } else { ("6", "ipv6_addr") };
        let name = format!("{name}_{suffix}");
        let set = Set {
            head: format!("type {kind}; flags interval;"),
            addresses: AddressSet::new(networks),
            others: BTreeSet::new(),
        };
        self.sets.insert(name.clone(), set);
        Some(name)
    }

    /// Returns the file that replaces the table with this one, in one transaction.
    pub fn render(&self) -> String {
        let mut text = format!(
            "#!/usr/sbin/nft -f\n# Managed by provision: the flows of this host, and nothing else.\n\
             table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n"
        );
        for counter in &self.counters {
            writeln!(text, "\tcounter {counter} {{ }}").ok();
        }
        for (name, set) in &self.sets {
            let elements: Vec<String> = set.addresses.networks().iter().map(element).collect();
            let head = set.head.replace("; ", "\n\t\t").replace(';', "");
            writeln!(text, "\n\tset {name} {{\n\t\t{head}\n\t\telements = {{ {} }}\n\t}}", elements.join(", ")).ok();
        }
        for name in ["input", "output", "forward"] {
            let Some(chain) = self.chains.get(name) else { continue };
            writeln!(text, "\n\tchain {name} {{\n\t\t{}", chain.head).ok();
            for rule in &chain.rules {
                writeln!(text, "\t\t{rule}").ok();
            }
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "ip"), (Family::V6, "ip6")];

/// Answers, and the errors that belong to a connection: without "fragmentation needed" a path with a smaller MTU is dead.
const ESTABLISHED: &str = "ct state established,related accept";

// IPv6 has no ARP: without these no neighbour is found, and no switch that looks at MLD passes on what finds them.
const ND_IN: &str =
    "ip6 hoplimit 255 icmpv6 type { nd-neighbor-advert, nd-neighbor-solicit } accept comment \"who has an address\"";
const ND_OUT: &str = ND_IN;
const MLD_IN: &str = "ip6 hoplimit 1 icmpv6 type mld-listener-query accept comment \"who listens\"";
const MLD_OUT: &str = "ip6 hoplimit 1 icmpv6 type { mld-listener-done, mld-listener-report, mld2-listener-report } accept comment \"who listens\"";

fn chain_start(hook: &str, interface: &str) -> Vec<String> {
    vec![format!("{interface} \"lo\" accept"), ESTABLISHED.to_owned(), invalid(hook)]
}

fn invalid(hook: &str) -> String {
    format!("ct state invalid counter name \"{}\" drop", dropped(hook))
}

/// Returns the name of what counts the packets of a hook that nothing let through.
pub(super) fn dropped(hook: &str) -> String {
    format!("dropped_{hook}")
}

fn one_or_set(ports: &[Ports]) -> String {
    match ports {
        [one] => one.to_string(),
        many => format!("{{ {} }}", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Returns a network as `nft` writes it: one address without its length.
pub(super) fn element(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

/// Returns a reason as a comment: on one line, without the quotes that would end it, and no longer than the kernel keeps.
fn comment(why: &str) -> String {
    let plain: String = why
        .chars()
        .map(|c| {
            if c == '"' {
                '\''
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect();
    let mut end = plain.len().min(COMMENT);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    plain.get(..end).unwrap_or_default().trim().to_owned()
}
