//! What a link is to be: what the inventory says of it, with the task's own arguments added.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Dhcp, NetworkLink};
use crate::model::inventory::{Destination, LinkRoute, LinkRule, LinkSort, LinkView, PartOf};

/// The routing table that is looked into where a rule says nothing else.
const MAIN: &str = "main";

/// A link as it is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub name: String,
    pub sort: LinkSort,
    pub mtu: Option<u32>,
    pub addresses: BTreeSet<IpNet>,
    pub routes: BTreeSet<Way>,
    /// Routers that are on the link although no network of it says so.
    pub onlink: BTreeSet<IpAddr>,
    pub rules: BTreeSet<LinkRule>,
    pub dns: Vec<IpAddr>,
    pub search: Vec<String>,
    pub dhcp: Dhcp,
    pub part_of: Option<PartOf>,
    pub vlans: Vec<String>,
}

/// A route over a link, so that what is wanted and what is found can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Way {
    pub to: IpNet,
    pub via: Option<IpAddr>,
    /// The table's number, or `main`.
    pub table: String,
    pub metric: Option<u32>,
    pub source: Option<IpAddr>,
}

/// What the kernel gives a route of IPv6 that says nothing of its metric.
const USUAL_METRIC_OF_V6: u32 = 1024;

impl Way {
    /// Returns a route, with what is usual left out.
    pub fn new(to: IpNet, via: Option<IpAddr>, table: &str, metric: Option<u32>, source: Option<IpAddr>) -> Self {
        let usual = if to.addr().is_ipv6() { USUAL_METRIC_OF_V6 } else { 0 };
        let table = if table == "254" { MAIN } else { table };
        Self { to, via, table: table.to_owned(), metric: metric.filter(|metric| *metric != usual), source }
    }

    fn of(route: &LinkRoute) -> Option<Self> {
        let table = route.table.map_or(MAIN.to_owned(), |table| table.to_string());
        Some(Self::new(route.network()?, route.via, &table, route.metric, route.source))
    }

    /// Returns whether it is in the table that is usual.
    pub fn is_in_main_table(&self) -> bool {
        self.table == MAIN
    }

    /// Returns where it leads, as `ip` takes it.
    pub fn destination(&self) -> String {
        if self.to.prefix_len() == 0 { "default".to_owned() } else { self.to.to_string() }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.to.prefix_len() == 0 && self.to.addr().is_ipv6() && self.via.is_none() {
            f.write_str("::/0")?;
        } else {
            f.write_str(&self.destination())?;
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if !self.is_in_main_table() {
            write!(f, " table {}", self.table)?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        Ok(())
    }
}

impl Wanted {
    /// Returns what a task wants of its link.
    pub fn of(task: &NetworkLink) -> Self {
        let bare = LinkView::default();
        let view = task.link.as_ref().unwrap_or(&bare);
        let given: Vec<&LinkRoute> = view.routes.iter().chain(&task.routes).collect();
        let mut routes: BTreeSet<Way> = given.iter().filter_map(|route| Way::of(route)).collect();
        if task.default_route {
            for gateway in &view.gateways {
                let default = LinkRoute {
                    to: Destination::Default,
                    via: Some(*gateway),
                    table: None,
                    metric: None,
                    source: None,
                    onlink: false,
                };
                let Some(way) = Way::of(&default) else { continue };
                // A default route that is spelt out takes the place of the network's.
                let is_given = routes.iter().any(|other| other.to == way.to && other.is_in_main_table());
                if !is_given {
                    routes.insert(way);
                }
            }
        }
        let onlink = given.iter().filter(|route| route.onlink).filter_map(|route| route.via).collect();
        let rules = view.rules.iter().chain(&task.rules).cloned().collect();
        let further = task.addresses.iter().map(|address| address.0);
        let dns = view.dns.iter().chain(task.dns.iter()).copied();
        Self {
            name: task.name.clone(),
            sort: view.sort.clone(),
            mtu: task.mtu.or(view.mtu),
            addresses: view.addresses.iter().copied().chain(further).collect(),
            routes,
            onlink,
            rules,
            dns: dns.collect(),
            search: task.search.to_vec(),
            dhcp: task.dhcp,
            part_of: view.part_of.clone(),
            vlans: view.vlans.clone(),
        }
    }

    /// Returns a route whose router nothing on the link leads to: the kernel would not have it.
    pub fn unreachable(&self) -> Option<&Way> {
        if self.dhcp != Dhcp::No {
            return None;
        }
        let is_local = |router: &IpAddr| matches!(router, IpAddr::V6(router) if router.is_unicast_link_local());
        let on_link = |router: &IpAddr| {
            let direct = self.routes.iter().filter(|way| way.via.is_none()).map(|way| &way.to);
            self.addresses.iter().chain(direct).any(|network| network.contains(router))
        };
        let is_lost = |router: &IpAddr| !self.onlink.contains(router) && !is_local(router) && !on_link(router);
        self.routes.iter().find(|way| way.via.as_ref().is_some_and(is_lost))
    }

    /// Returns whether it is a card, which is there or not, and is not made.
    pub fn is_physical(&self) -> bool {
        self.sort == LinkSort::Physical
    }
}

/// Returns a rule in the words of `ip rule`.
pub(super) fn rule_words(rule: &LinkRule) -> Vec<String> {
    let mut words = vec!["priority".to_owned(), rule.priority.to_string()];
    let mut word =
        |name: &str, value: Option<String>| words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    word("from", rule.from.map(|network| network.to_string()));
    word("to", rule.to.map(|network| network.to_string()));
    word("fwmark", rule.mark.map(|mark| mark.to_string()));
    word("table", Some(rule.table.to_string()));
    words
}

/// Returns the address that all in an address's network listen to, where there is one.
pub(super) fn broadcast(address: IpNet) -> Option<IpAddr> {
    match address {
        IpNet::V4(address) if address.prefix_len() <= 30 => Some(IpAddr::V4(address.broadcast())),
        _ => None,
    }
}
