//! The files that systemd-networkd reads.

use std::fmt::Write;
use std::net::IpAddr;

use super::wanted::{Wanted, broadcast};
use super::{CardMatch, Dhcp};
use crate::model::inventory::{BondMode, LinkSort, PartOf};

/// What networkd reads beside the links' own files. By itself it would remove the routes of everybody else (a routing daemon's,
/// a tunnel's) from each link that it configures; what must not be there is removed by name instead.
pub(super) const CONF: &str = "# Managed by provision: network.link.
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
";

/// Returns the file that says how a link is configured.
pub(super) fn network(wanted: &Wanted) -> String {
    let mut text = format!("# Managed by provision: network.link[{}].\n[Match]\nName={}\n", wanted.name, wanted.name);
    text.push_str("\n[Link]\n");
    if let Some(mtu) = wanted.mtu {
        line(&mut text, "MTUBytes", mtu);
    }
    // The boot does not wait for a link over which nothing of the host's own goes.
    let is_waited_for = !wanted.addresses.is_empty();
    line(&mut text, "RequiredForOnline", yes(is_waited_for));
    // On a bridge that is others', machines' for one, the host is not to be met: without this it answers there for the addresses
    // of all its links, and drops what then comes in by the wrong one; by its link-local address it can be reached, too.
    let is_of_others = matches!(wanted.sort, LinkSort::Bridge { .. })
        && wanted.addresses.is_empty()
        && wanted.routes.is_empty()
        && wanted.vlans.is_empty()
        && wanted.dhcp == Dhcp::No;
    if is_of_others {
        line(&mut text, "ARP", "no");
    }
    text.push_str("\n[Network]\n");
    if is_of_others {
        line(&mut text, "LinkLocalAddressing", "no");
    }
    // Whether a cable is plugged in is no difference: the link is configured all the same.
    line(&mut text, "ConfigureWithoutCarrier", "yes");
    line(&mut text, "IPv6AcceptRA", "no");
    if wanted.dhcp != Dhcp::No {
        line(&mut text, "DHCP", wanted.dhcp.word());
    }
    for server in &wanted.dns {
        line(&mut text, "DNS", server);
    }
    if !wanted.search.is_empty() {
        line(&mut text, "Domains", wanted.search.join(" "));
    }
    match &wanted.part_of {
        Some(PartOf::Bond(name)) => line(&mut text, "Bond", name),
        Some(PartOf::Bridge(name)) => line(&mut text, "Bridge", name),
        None => {}
    }
    for vlan in &wanted.vlans {
        line(&mut text, "VLAN", vlan);
    }
    for address in &wanted.addresses {
        text.push_str("\n[Address]\n");
        line(&mut text, "Address", address);
        if let Some(broadcast) = broadcast(*address) {
            // networkd 252 takes an address without it for another than the one that the link has, and replaces it with itself.
            line(&mut text, "Broadcast", broadcast);
        }
    }
    for way in &wanted.routes {
        text.push_str("\n[Route]\n");
        line(&mut text, "Destination", way.to);
        if let Some(via) = way.via {
            line(&mut text, "Gateway", via);
            if wanted.onlink.contains(&via) {
                line(&mut text, "GatewayOnLink", "yes");
            }
        } else {
            line(&mut text, "Scope", "link");
        }
        if !way.is_in_main_table() {
            line(&mut text, "Table", &way.table);
        }
        if let Some(metric) = way.metric {
            line(&mut text, "Metric", metric);
        }
        if let Some(source) = way.source {
            line(&mut text, "PreferredSource", source);
        }
    }
    for rule in &wanted.rules {
        text.push_str("\n[RoutingPolicyRule]\n");
        for (key, network) in [("From", rule.from), ("To", rule.to)] {
            if let Some(network) = network {
                line(&mut text, key, network);
            }
        }
        if let Some(mark) = rule.mark {
            line(&mut text, "FirewallMark", mark);
        }
        line(&mut text, "Table", rule.table);
        line(&mut text, "Priority", rule.priority);
        if rule.from.or(rule.to).is_none() {
            line(&mut text, "Family", "ipv4");
        }
    }
    for end in ends(&wanted.sort) {
        text.push_str("\n[BridgeFDB]\nMACAddress=00:00:00:00:00:00\n");
        line(&mut text, "Destination", end);
    }
    text
}

/// Returns the ends of a tunnel that has several: what has no known way goes to each of them.
pub(super) fn ends(sort: &LinkSort) -> &[IpAddr] {
    match sort {
        LinkSort::Vxlan { remote, .. } if remote.len() > 1 => remote,
        _ => &[],
    }
}

/// Returns the file by which a card has the link's name from the next boot on.
pub(super) fn link(name: &str, card: &CardMatch) -> String {
    let mut text = format!("# Managed by provision: network.link[{name}].\n[Match]\n");
    if let Some(mac) = card.mac {
        line(&mut text, "PermanentMACAddress", mac);
    }
    if let Some(path) = &card.path {
        line(&mut text, "Path", path);
    }
    text.push_str("\n[Link]\n");
    line(&mut text, "Name", name);
    text
}

/// Returns where the host keeps the private key of a tunnel.
pub(super) fn key_path(name: &str) -> String {
    format!("/etc/systemd/network/50-{name}.key")
}

/// Returns the file that says what a link is made as; none for a card.
pub(super) fn netdev(wanted: &Wanted) -> Option<String> {
    let kind = match &wanted.sort {
        LinkSort::Physical => return None,
        LinkSort::Bond { .. } => "bond",
        LinkSort::Vlan { .. } => "vlan",
        LinkSort::Bridge { .. } => "bridge",
        LinkSort::Vxlan { .. } => "vxlan",
        LinkSort::Dummy => "dummy",
        LinkSort::Wireguard { .. } => "wireguard",
    };
    let mut text = format!("# Managed by provision: network.link[{}].\n[NetDev]\n", wanted.name);
    line(&mut text, "Name", &wanted.name);
    line(&mut text, "Kind", kind);
    if let Some(mtu) = wanted.mtu {
        line(&mut text, "MTUBytes", mtu);
    }
    match &wanted.sort {
        LinkSort::Physical | LinkSort::Dummy => {}
        LinkSort::Wireguard { port, peers } => {
            text.push_str("\n[WireGuard]\n");
            line(&mut text, "PrivateKeyFile", key_path(&wanted.name));
            if let Some(port) = port {
                line(&mut text, "ListenPort", port);
            }
            for peer in peers {
                text.push_str("\n[WireGuardPeer]\n");
                line(&mut text, "PublicKey", &peer.public_key);
                for network in &peer.allowed {
                    line(&mut text, "AllowedIPs", network.0);
                }
                if let Some(endpoint) = peer.endpoint {
                    line(&mut text, "Endpoint", endpoint);
                }
                if let Some(seconds) = peer.keepalive {
                    line(&mut text, "PersistentKeepalive", seconds);
                }
            }
        }
        LinkSort::Bond { mode } => {
            text.push_str("\n[Bond]\n");
            line(&mut text, "Mode", mode);
            line(&mut text, "MIIMonitorSec", "100ms");
            if *mode == BondMode::Lacp {
                line(&mut text, "LACPTransmitRate", "fast");
                line(&mut text, "TransmitHashPolicy", "layer3+4");
            }
        }
        LinkSort::Vlan { id, .. } => {
            text.push_str("\n[VLAN]\n");
            line(&mut text, "Id", id);
        }
        LinkSort::Bridge { stp } => {
            text.push_str("\n[Bridge]\n");
            line(&mut text, "STP", yes(*stp));
        }
        LinkSort::Vxlan { vni, local, remote, port, learning } => {
            text.push_str("\n[VXLAN]\n");
            line(&mut text, "VNI", vni);
            if let Some(local) = local {
                line(&mut text, "Local", local);
            }
            if let [remote] = remote.as_slice() {
                line(&mut text, if remote.is_multicast() { "Group" } else { "Remote" }, remote);
            }
            line(&mut text, "DestinationPort", port);
            line(&mut text, "MacLearning", yes(*learning));
            line(&mut text, "Independent", "yes");
        }
    }
    Some(text)
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key}={value}");
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
