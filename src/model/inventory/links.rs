//! What the inventory says of one link of a host, gathered from the interface, its network and the interfaces around it.
//!
//! An interface knows its members, and nothing of what it is a member of; a link that is to be configured needs both. What
//! is here is plain data without places, so that it can be handed to the kind that configures links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use indexmap::{IndexMap, IndexSet};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{BondMode, Destination, Host, Interface, Inventory, LinkRoute, LinkRule, Network, WireguardPeer};
use crate::model::node::Spanned;

/// What the inventory says of one link of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkView {
    /// What sort of link it is.
    pub sort: LinkSort,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Its addresses, each with the length of its network.
    pub addresses: Vec<IpNet>,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
    /// The routers of the host's default routes, where they are reached over this link.
    pub gateways: Vec<IpAddr>,
    /// Further routes over it.
    pub routes: Vec<LinkRoute>,
    /// Which packets look into which routing table.
    pub rules: Vec<LinkRule>,
    /// The servers of names that are asked over it.
    pub dns: Vec<IpAddr>,
    /// The bond or bridge that it is part of.
    pub part_of: Option<PartOf>,
    /// The VLANs that it carries, by the names of their links.
    pub vlans: Vec<String>,
}

/// What sort of link it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum LinkSort {
    /// A card that the kernel finds.
    #[default]
    Physical,
    /// Several links as one.
    Bond {
        /// How the members share the traffic.
        mode: BondMode,
    },
    /// A VLAN on another link.
    Vlan {
        /// The link that carries it.
        parent: String,
        /// Its number.
        id: u16,
    },
    /// A bridge over other links.
    Bridge {
        /// Whether the spanning tree protocol runs on it.
        stp: bool,
    },
    /// A network tunnelled over another.
    Vxlan {
        /// Its number.
        vni: u32,
        /// The address that tunnels start from.
        local: Option<IpAddr>,
        /// The other ends, or one multicast group.
        remote: Vec<IpAddr>,
        /// The UDP port.
        port: u16,
        /// Whether it remembers behind which end an address is.
        learning: bool,
    },
    /// A link with nothing behind it.
    Dummy,
    /// An encrypted tunnel.
    Wireguard {
        /// The UDP port on which it listens.
        port: Option<u16>,
        /// The other ends.
        peers: Vec<WireguardPeer>,
    },
}

/// What a link is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PartOf {
    /// A bond, by name.
    Bond(String),
    /// A bridge, by name.
    Bridge(String),
}

impl LinkRoute {
    /// Returns the network that it leads to, everything being one of the router's family; none where nothing tells the family.
    pub fn network(&self) -> Option<IpNet> {
        match (self.to, self.via.or(self.source)) {
            (Destination::Network(network), _) => Some(network),
            (Destination::Default, Some(IpAddr::V4(_))) => IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).ok(),
            (Destination::Default, Some(IpAddr::V6(_))) => IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0).ok(),
            (Destination::Default, None) => None,
        }
    }

    /// Returns what is wrong with it.
    pub fn problem(&self) -> Option<String> {
        let Some(network) = self.network() else {
            return Some("a default route needs the router that it goes `via`".to_owned());
        };
        let is_v4 = network.addr().is_ipv4();
        for (what, address) in [("router", self.via), ("source", self.source)] {
            if let Some(address) = address
                && address.is_ipv4() != is_v4
            {
                return Some(format!("the {what} {address} and {} are of different families", self.to));
            }
        }
        (self.onlink && self.via.is_none()).then(|| "`onlink` speaks of a router, and there is none".to_owned())
    }
}

/// The first and the last priority that a rule may have: those around them are the kernel's own.
const RULE_PRIORITIES: std::ops::RangeInclusive<u32> = 1..=32765;

impl LinkRule {
    /// Returns whether it is of IPv6; one that names no network is of IPv4.
    pub fn is_v6(&self) -> bool {
        self.from.or(self.to).is_some_and(|network| network.0.addr().is_ipv6())
    }

    /// Returns what is wrong with it.
    pub fn problem(&self) -> Option<String> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from.0.addr().is_ipv4() != to.0.addr().is_ipv4()
        {
            return Some(format!("{from} and {to} are of different families"));
        }
        if !RULE_PRIORITIES.contains(&self.priority) {
            let (first, last) = (RULE_PRIORITIES.start(), RULE_PRIORITIES.end());
            return Some(format!("the priority of a rule is from {first} to {last}, found {}", self.priority));
        }
        (self.table == 0).then(|| "there is no routing table 0".to_owned())
    }
}

impl WireguardPeer {
    /// Returns what is wrong with it.
    pub fn problem(&self) -> Option<String> {
        let key = &self.public_key;
        // 32 bytes in base64: the last letter but one has two bits that mean nothing.
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let is_key = key.len() == 44
            && key.strip_suffix('=').is_some_and(|rest| rest.chars().all(is_base64))
            && key.get(42..43).is_some_and(|last| "AEIMQUYcgkosw048".contains(last));
        (!is_key).then(|| format!("{key:?} is no public key: that is 44 letters, as `wg show NAME public-key` says it"))
    }
}

impl PartOf {
    /// Returns the name of the bond or bridge.
    pub fn name(&self) -> &str {
        match self {
            PartOf::Bond(name) | PartOf::Bridge(name) => name,
        }
    }
}

/// The UDP port of VXLAN where nothing says otherwise.
const VXLAN_PORT: u16 = 4789;

impl Inventory {
    /// Returns what is known of a link of a host; nothing where none of its interfaces speaks of it.
    pub fn link(&self, host: &Host, name: &str) -> Option<LinkView> {
        if !self.links(host).contains(name) {
            return None;
        }
        // A member of a bond or bridge needs no entry of its own.
        let bare = Interface::default();
        let interface = host.interfaces.get(name).unwrap_or(&bare);
        let network = self.network_of(interface).map(|(_, network)| network);
        let own = interface
            .address
            .iter()
            .zip(network)
            .filter_map(|(address, network)| IpNet::new(address.value, network.cidr.prefix_len()).ok());
        let further = interface.addresses.iter().map(|address| address.value.0);
        let gateways = self.default_routes(host).into_iter().filter(|(link, _)| *link == name);
        let others = || host.interfaces.iter().map(|(name, other)| (name.value.as_str(), other));
        let part_of = others().find_map(|(other_name, other)| {
            let has = |members: &[Spanned<String>]| members.iter().any(|member| member.value == name);
            if other.bond.as_ref().is_some_and(|bond| has(&bond.members)) {
                return Some(PartOf::Bond(other_name.to_owned()));
            }
            let is_port = other.bridge.as_ref().is_some_and(|bridge| has(&bridge.ports));
            is_port.then(|| PartOf::Bridge(other_name.to_owned()))
        });
        let carried = others().filter(|(_, other)| other.vlan.as_ref().is_some_and(|vlan| vlan.parent.value == name));
        Some(LinkView {
            sort: sort_of(name, interface, network),
            mac: interface.mac.map(|mac| mac.to_string()),
            addresses: own.chain(further).collect(),
            mtu: interface.mtu.or(network.and_then(|network| network.mtu)).map(|mtu| mtu.value),
            gateways: gateways.map(|(_, gateway)| gateway).collect(),
            routes: interface.routes.iter().map(|route| route.value.clone()).collect(),
            rules: interface.rules.iter().map(|rule| rule.value.clone()).collect(),
            dns: interface.dns.iter().map(|server| server.value).collect(),
            part_of,
            vlans: carried.map(|(name, _)| name.to_owned()).collect(),
        })
    }

    /// Returns the names of all links of a host, those of members included, in the order in which they can be configured:
    /// a bond or bridge before its members, and what carries a VLAN before the VLAN.
    pub fn links<'a>(&self, host: &'a Host) -> IndexSet<&'a str> {
        let mut names: IndexSet<&str> = IndexSet::new();
        for (name, interface) in &host.interfaces {
            names.insert(&name.value);
            names.extend(members(interface).map(|member| member.value.as_str()));
            names.extend(interface.vlan.iter().map(|vlan| vlan.parent.value.as_str()));
        }
        let comes_before = |name: &str, other: &str| {
            let is_member_of = |container: &str| {
                host.interfaces.get(container).is_some_and(|found| members(found).any(|member| member.value == name))
            };
            let vlan = host.interfaces.get(name).and_then(|found| found.vlan.as_ref());
            is_member_of(other) || vlan.is_some_and(|vlan| vlan.parent.value == other)
        };
        let mut ordered = IndexSet::new();
        // As many rounds as there are links: what is made of itself over corners keeps the order of the file.
        for _ in 0..names.len() {
            let next = names.iter().find(|name| {
                !ordered.contains(**name)
                    && names.iter().all(|other| ordered.contains(other) || !comes_before(name, other))
            });
            ordered.extend(next.copied());
        }
        ordered.extend(names);
        ordered
    }

    /// Returns the host's default routes, one for each family: over the first interface whose network has a router.
    pub fn default_routes<'a>(&self, host: &'a Host) -> Vec<(&'a str, IpAddr)> {
        let mut routes: IndexMap<bool, (&str, IpAddr)> = IndexMap::new();
        for (name, interface) in &host.interfaces {
            let Some(gateway) = self.network_of(interface).and_then(|(_, network)| network.gateway) else { continue };
            let has_other = interface.address.is_some_and(|address| address.value != gateway.value);
            if has_other {
                routes.entry(gateway.is_ipv4()).or_insert((&name.value, gateway.value));
            }
        }
        routes.into_values().collect()
    }
}

/// Returns what a bond or bridge is made of.
fn members(interface: &Interface) -> impl Iterator<Item = &Spanned<String>> {
    let bonded = interface.bond.iter().flat_map(|bond| &bond.members);
    bonded.chain(interface.bridge.iter().flat_map(|bridge| &bridge.ports))
}

fn sort_of(name: &str, interface: &Interface, network: Option<&Network>) -> LinkSort {
    if let Some(bond) = &interface.bond {
        return LinkSort::Bond { mode: bond.mode.value };
    }
    if let Some(vlan) = &interface.vlan {
        let by_name = || name.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
        let by_network = || network.and_then(|network| network.vlan).map(|vlan| vlan.value);
        // What says none of the three is refused when the inventory is loaded.
        let id = vlan.id.map(|id| id.value).or_else(by_name).or_else(by_network).unwrap_or_default();
        return LinkSort::Vlan { parent: vlan.parent.value.clone(), id };
    }
    if let Some(bridge) = &interface.bridge {
        return LinkSort::Bridge { stp: bridge.stp.unwrap_or(false) };
    }
    if let Some(vxlan) = &interface.vxlan {
        return LinkSort::Vxlan {
            vni: vxlan.vni.value,
            local: vxlan.local.map(|local| local.value),
            remote: vxlan.remote.iter().map(|remote| remote.value).collect(),
            port: vxlan.port.map_or(VXLAN_PORT, |port| port.value),
            learning: vxlan.learning.unwrap_or(true),
        };
    }
    if let Some(wireguard) = &interface.wireguard {
        let peers = wireguard.peers.iter().map(|peer| peer.value.clone()).collect();
        return LinkSort::Wireguard { port: wireguard.port, peers };
    }
    if interface.dummy { LinkSort::Dummy } else { LinkSort::Physical }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Diagnostics, Sources};

    /// Loads a host with these interfaces, in three networks of which two have a router.
    fn inventory(interfaces: &str) -> Inventory {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("a.yaml");
        let text = format!(
            "sites: {{s: {{country: FR}}}}
zones: {{z: {{nature: control}}}}
networks:
  a: {{site: s, zone: z, cidr: 10.1.0.0/24, mtu: 9000}}
  b: {{site: s, zone: z, cidr: 10.2.0.0/24, vlan: 7, gateway: 10.2.0.1}}
  c: {{site: s, zone: z, cidr: 10.3.0.0/24, gateway: 10.3.0.1}}
hosts:
  h: {{ssh: {{address: 10.1.0.2}}, interfaces: {{{interfaces}}}}}
"
        );
        crate::fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems);
        inventory.unwrap_or_else(|| panic!("{problems:?}"))
    }

    const STACK: &str = "
    up7: {vlan: {parent: bond0}, network: b, address: 10.2.0.2},
    eno1: {network: a, address: 10.1.0.2, addresses: 10.1.0.3/32, routes: [{to: 10.9.0.0/16, via: 10.1.0.254}], dns: 10.1.0.53},
    bond0: {bond: {mode: 802.3ad, members: [ens1, ens2]}, mtu: 9000},
    br0: {bridge: {ports: [eno3, up8]}, network: c, address: 10.3.0.2},
    up8: {vlan: {parent: bond0, id: 8}}";

    #[test]
    fn links_come_after_what_they_are_part_of_and_after_what_carries_them() {
        let inventory = inventory(STACK);
        let host = inventory.host("h").unwrap();
        let links: Vec<&str> = inventory.links(host).into_iter().collect();
        assert_eq!(links, ["bond0", "up7", "eno1", "ens1", "ens2", "br0", "eno3", "up8"]);
    }

    #[test]
    fn a_link_knows_what_its_network_and_the_interfaces_around_it_say() {
        let inventory = inventory(STACK);
        let host = inventory.host("h").unwrap();
        let link = |name: &str| inventory.link(host, name).unwrap();
        let eno1 = link("eno1");
        let texts: Vec<String> = eno1.addresses.iter().map(IpNet::to_string).collect();
        assert_eq!((texts, eno1.mtu), (vec!["10.1.0.2/24".to_owned(), "10.1.0.3/32".to_owned()], Some(9000)));
        assert_eq!((eno1.routes.len(), eno1.dns.len(), eno1.gateways.len()), (1, 1, 0));
        assert_eq!(link("up7").sort, LinkSort::Vlan { parent: "bond0".to_owned(), id: 7 });
        // The first of the interfaces whose network has a router has the default route, and the second has none.
        assert_eq!(link("up7").gateways, ["10.2.0.1".parse::<IpAddr>().unwrap()]);
        assert!(link("br0").gateways.is_empty());
        assert_eq!(link("bond0").vlans, ["up7", "up8"]);
        assert_eq!(link("ens2").part_of, Some(PartOf::Bond("bond0".to_owned())));
        assert_eq!(link("up8").part_of, Some(PartOf::Bridge("br0".to_owned())));
        assert!(inventory.link(host, "eno9").is_none());
        // What is handed to the kind is read as it was written.
        let text = serde_json::to_string(&link("up8")).unwrap();
        assert_eq!(serde_json::from_str::<LinkView>(&text).unwrap(), link("up8"));
    }
}
