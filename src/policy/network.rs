//! What the network of the hosts really is, as rules look at it: cards, addresses, routes, listeners, filters, and which
//! connections were not as the flow matrix says. Plain data: whoever asks the hosts fills it in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::live::Unread;
use super::rule::Words;
use crate::addr::HostName;
use crate::model::matrix::Transport;

/// What was found on the hosts that could be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveNetwork {
    /// The hosts.
    pub hosts: BTreeMap<HostName, HostNetwork>,
    /// Connections that are not as the flow matrix says.
    pub contradictions: Vec<Contradiction>,
    /// Hosts that are there, as others can tell, but that the tool cannot log in to; each with what it was told.
    pub closed: BTreeMap<HostName, String>,
}

/// The network of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNetwork {
    /// Its interfaces, real and virtual, without the loopback.
    pub links: Vec<Link>,
    /// Its routes, without those that follow from its addresses.
    pub routes: Vec<Route>,
    /// The interfaces that pass packets on, `all` among them, by family: `ipv4 all`, `ipv6 eno1`.
    pub forwarding: Vec<String>,
    /// Who listens, without what only the host itself can reach.
    pub listeners: Vec<Listener>,
    /// What is filtered.
    pub filter: Filter,
    /// The parts that could not be read; nothing of them is above.
    pub unread: BTreeMap<Part, Unread>,
}

/// A part of a host's network that is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The interfaces with their addresses.
    Links,
    /// The routes.
    Routes,
    /// Who passes packets on.
    Forwarding,
    /// Who listens.
    Listeners,
    /// What is filtered.
    Filter,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What sort of virtual interface it is, such as `vxlan`; none for a real card.
    pub kind: Option<String>,
    /// Whether it is switched on.
    pub is_up: bool,
    /// The bridge or bond that it belongs to.
    pub master: Option<String>,
    /// Of a tunnel, its other end.
    pub remote: Option<IpAddr>,
    /// Its addresses, without link-local ones.
    pub addresses: Vec<IpAddr>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; `0.0.0.0/0` or `::/0` for the default route.
    pub destination: IpNet,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The interface.
    pub link: String,
}

/// Somebody who listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// TCP or UDP.
    pub transport: Transport,
    /// The port.
    pub port: u16,
    /// The address; none for all of them.
    pub address: Option<IpAddr>,
    /// The program, where the host can tell.
    pub program: Option<String>,
}

impl Listener {
    /// Returns whether a connection to an address reaches it.
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.address.is_none_or(|own| own == address)
    }
}

/// What a host filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// It was not asked, or did not say.
    #[default]
    Unknown,
    /// It has no `nft`.
    NoTool,
    /// The table of its flows is not loaded.
    NotLoaded {
        /// The tables of others, each with how many rules it has.
        others: BTreeMap<String, usize>,
    },
    /// The table of its flows is loaded.
    Loaded {
        /// How many rules there are in it.
        rules: usize,
        /// What in it is not as the flows want it.
        differences: Vec<Difference>,
        /// The tables of others, each with how many rules it has.
        others: BTreeMap<String, usize>,
    },
}

/// A part of the table that is not as the flows want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The part, such as `rule of input`.
    pub part: String,
    /// What is there; none where nothing is.
    pub found: Option<String>,
    /// What should be; none where nothing should.
    pub wanted: Option<String>,
}

/// A connection that is not as the flow matrix says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
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
    /// The flow that should let it through, by position in the inventory; none where no flow should.
    pub flow: Option<usize>,
    /// Whether the source alone holds it back.
    pub is_held_back: bool,
    /// What was seen.
    pub seen: Words,
}
