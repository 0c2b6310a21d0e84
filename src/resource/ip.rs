//! What `ip -j` says of a host's links and routes: the questions, and the readers of their answers.
//!
//! Facts, the kind `network.link` and the audit of live hosts all read it here. Nothing is judged, and nothing is left out but
//! what `ip` itself prints as an empty object.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::read::Query;
use crate::shell::Script;

/// Where the answer on the links is found.
pub const LINKS: &str = "network-links";

/// Where the answer on the routes is found.
pub const ROUTES: &str = "network-routes";

/// Returns the question for all links with their addresses and details.
pub fn links_query() -> Query {
    ask(LINKS, "ip -j -d addr show")
}

/// Returns the question for all routes of all tables, those of IPv4 first.
pub fn routes_query() -> Query {
    // Without a family `ip` would list those of both, and a `default` does not say which it is.
    ask(ROUTES, "ip -j -4 route show table all; echo; ip -j -6 route show table all 2>/dev/null || echo '[]'")
}

/// Where the answer on the rules of routing is found.
pub const RULES: &str = "network-rules";

/// Returns the question for the rules of routing, those of IPv4 first.
pub fn rules_query() -> Query {
    ask(RULES, "ip -j -4 rule show; echo; ip -j -6 rule show 2>/dev/null || echo '[]'")
}

fn ask(key: &str, script: &'static str) -> Query {
    Query::Snippet { key: key.to_owned(), tools: vec![("ip", "iproute2")], script: Script::constant(script) }
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IpLink {
    /// The kernel's number of it.
    #[serde(rename = "ifindex")]
    pub number: u32,
    /// Its name.
    #[serde(rename = "ifname")]
    pub name: String,
    /// `UP`, `LOWER_UP`, `LOOPBACK`...
    pub flags: Vec<String>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The hardware address.
    pub address: Option<String>,
    /// `ether`, `loopback`...
    pub link_type: String,
    /// `UP`, `DOWN`, `UNKNOWN`...
    pub operstate: String,
    /// The bond or bridge that it is part of.
    pub master: Option<String>,
    /// The link under it, where it is a VLAN.
    pub link: Option<String>,
    /// What sort of link it is.
    pub linkinfo: IpLinkInfo,
    /// Its addresses.
    #[serde(rename = "addr_info")]
    pub addresses: Vec<IpAddress>,
}

impl IpLink {
    /// Returns whether it has a flag.
    pub fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }
}

/// What sort of link it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IpLinkInfo {
    /// `bridge`, `vxlan`, `vlan`...; none for a card.
    #[serde(rename = "info_kind")]
    pub kind: Option<String>,
    /// What is special about its sort.
    #[serde(rename = "info_data")]
    pub data: Value,
}

/// An address of a link.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IpAddress {
    /// The address.
    pub local: Option<IpAddr>,
    /// The length of its network.
    pub prefixlen: u8,
    /// The address that all in its network listen to.
    pub broadcast: Option<IpAddr>,
    /// `global`, `link`, `host`...
    pub scope: String,
    /// Whether it was given for a time only, by a router or by DHCP.
    pub dynamic: bool,
}

impl IpAddress {
    /// Returns the address with the length of its network.
    pub fn with_length(&self) -> Option<IpNet> {
        IpNet::new(self.local?, self.prefixlen).ok()
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct IpRoute {
    /// `unicast`, `local`, `blackhole`...
    pub kind: String,
    /// Where it leads.
    pub to: IpNet,
    /// The ways there.
    pub hops: Vec<IpHop>,
    /// The routing table's number or name.
    pub table: String,
    /// Who made it: `kernel`, `static`, `dhcp`, `bgp`...; `boot` is who typed it.
    pub protocol: String,
    /// Which of several is taken.
    pub metric: Option<u32>,
    /// The address that the host's own packets come from.
    pub source: Option<IpAddr>,
}

/// A way of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpHop {
    /// The router.
    pub gateway: Option<IpAddr>,
    /// The link.
    pub dev: Option<String>,
}

/// A rule of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRule {
    /// Its place among the rules of its family.
    pub priority: u32,
    /// Whether it is of IPv6.
    pub is_v6: bool,
    /// The network that the packets come from.
    pub from: Option<IpNet>,
    /// The network that they go to.
    pub to: Option<IpNet>,
    /// Their mark.
    pub mark: Option<u32>,
    /// The table's number, or the name of one of the three that have one.
    pub table: String,
}

/// Reads the answer on the rules. What speaks of more than networks and a mark is left out.
///
/// # Errors
/// The text says what is wrong with it.
pub fn rules(text: &str) -> Result<Vec<IpRule>, String> {
    let mut rules = Vec::new();
    let lists = text.lines().filter(|line| line.starts_with('['));
    for (list, is_v6) in lists.zip([false, true]) {
        let raw: Vec<serde_json::Map<String, Value>> =
            serde_json::from_str(list).map_err(|error| format!("`ip -j rule`: {error}"))?;
        for rule in raw {
            let text = |key: &str| rule.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            let network = |address: &str, length: &str| {
                let address: IpAddr = text(address)?.parse().ok()?;
                let length = rule.get(length).and_then(Value::as_u64).and_then(|length| u8::try_from(length).ok());
                length.map_or(Some(IpNet::from(address)), |length| IpNet::new(address, length).ok())
            };
            let mark = |text: String| match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            };
            let usual = ["priority", "src", "srclen", "dst", "dstlen", "fwmark", "table", "protocol"];
            let Some(priority) = text("priority").and_then(|text| text.parse().ok()) else { continue };
            if rule.keys().any(|key| !usual.contains(&key.as_str())) {
                continue;
            }
            rules.push(IpRule {
                priority,
                is_v6,
                from: network("src", "srclen"),
                to: network("dst", "dstlen"),
                mark: text("fwmark").and_then(mark),
                table: text("table").unwrap_or_default(),
            });
        }
    }
    Ok(rules)
}

/// Reads the answer on the links.
///
/// # Errors
/// The text says what is wrong with it.
pub fn links(text: &str) -> Result<Vec<IpLink>, String> {
    let mut links: Vec<IpLink> = serde_json::from_str(text).map_err(|error| format!("`ip -j addr`: {error}"))?;
    // `ip` prints an empty object for what a filter left out.
    links.retain(|link| !link.name.is_empty());
    Ok(links)
}

/// Reads the answer on the routes.
///
/// # Errors
/// The text says what is wrong with it.
pub fn routes(text: &str) -> Result<Vec<IpRoute>, String> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(rename = "type", default)]
        kind: String,
        #[serde(default)]
        dst: String,
        gateway: Option<IpAddr>,
        via: Option<Via>,
        dev: Option<String>,
        #[serde(default)]
        protocol: String,
        #[serde(default)]
        table: Value,
        metric: Option<u32>,
        prefsrc: Option<IpAddr>,
        #[serde(default)]
        nexthops: Vec<IpHop>,
    }
    /// A router of the other family.
    #[derive(Deserialize)]
    struct Via {
        host: IpAddr,
    }
    let or = |text: String, usual: &str| if text.is_empty() { usual.to_owned() } else { text };
    let mut routes = Vec::new();
    let lists = text.lines().filter(|line| line.starts_with('['));
    for (list, everything) in lists.zip(["0.0.0.0/0", "::/0"]) {
        let raw: Vec<Raw> = serde_json::from_str(list).map_err(|error| format!("`ip -j route`: {error}"))?;
        for route in raw {
            let to = if route.dst == "default" { everything } else { &route.dst };
            let Ok(to) = to.parse::<IpNet>().or_else(|_| to.parse::<IpAddr>().map(IpNet::from)) else { continue };
            let gateway = route.gateway.or(route.via.map(|via| via.host));
            let own = IpHop { gateway, dev: route.dev };
            let hops = std::iter::once(own).filter(|hop| hop.dev.is_some()).chain(route.nexthops).collect();
            let table = match route.table {
                Value::String(table) => table,
                Value::Number(table) => table.to_string(),
                _ => String::new(),
            };
            routes.push(IpRoute {
                kind: or(route.kind, "unicast"),
                to,
                hops,
                table: or(table, "main"),
                protocol: or(route.protocol, "boot"),
                metric: route.metric,
                source: route.prefsrc,
            });
        }
    }
    Ok(routes)
}
