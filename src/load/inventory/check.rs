//! What the entries of an inventory say of each other: every reference leads somewhere, and nothing is given out twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;

use indexmap::IndexSet;
use ipnet::IpNet;
use jiff::civil::Date;

use super::sections::Declared;
use crate::addr::HostName;
use crate::diag::{Diagnostic, Diagnostics, Span, UNKNOWN_NAME};
use crate::model::inventory::{ConnectionKind, DIRECT, Host, Interface, Inventory, Network, SshDefaults};
use crate::model::node::Spanned;
use crate::model::selector::Selector;

/// Who runs something that no supplier runs.
const SELF: &str = "self";

/// The longest name of an interface that the kernel takes.
const MAX_INTERFACE_NAME: usize = 15;

pub(super) struct Check<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) declared: &'a Declared,
    pub(super) diags: &'a mut Diagnostics,
}

/// Finds what is given out twice: remembers the first place of each value.
struct Once<K>(HashMap<K, Span>);

impl<K: Eq + Hash> Once<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Remembers `key`, or returns where it was first.
    fn first(&mut self, key: K, span: Span) -> Option<Span> {
        match self.0.entry(key) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(span);
                None
            }
        }
    }
}

impl Check<'_> {
    pub(super) fn run(&mut self, today: Date) {
        self.sites();
        self.networks();
        self.planes();
        self.groups();
        self.flows();
        self.suppliers_of_things();
        self.operators(today);
        self.waivers();
        self.hosts();
        self.addresses();
        self.loops();
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.diags.push(Diagnostic::error(code, message).at(span));
    }

    fn error_with_help(&mut self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.diags.push(Diagnostic::error(code, message).at(span).help(help));
    }

    fn twice(&mut self, code: &'static str, first: Span, second: Span, message: impl Into<String>) {
        self.diags.push(Diagnostic::error(code, message).at(second).label(first, "it is first given here"));
    }

    /// Reports a name that is not among those `declared`, and returns whether it is.
    fn refers(&mut self, what: &str, name: &str, span: Span, declared: &IndexSet<Box<str>>) -> bool {
        let known = declared.contains(name);
        if !known {
            let diagnostic = Diagnostic::error(UNKNOWN_NAME, format!("no {what} is called `{name}`")).at(span);
            self.diags.push(diagnostic.suggest(name, declared.iter().map(|name| &**name)));
        }
        known
    }

    fn selector(&mut self, text: &Spanned<String>) {
        match Selector::parse_at(text) {
            Err(problem) => self.diags.push(*problem),
            Ok(selector) if self.declared.complete => {
                if let Err(error) = selector.select(self.inventory) {
                    self.diags.push(error.diagnostic(text.span));
                }
            }
            Ok(_) => {}
        }
    }

    fn sites(&mut self) {
        for site in self.inventory.sites.values() {
            for (room, contents) in &site.rooms {
                self.plain_name("room", room);
                let mut racks = Once::new();
                for rack in &contents.racks {
                    self.plain_name("rack", rack);
                    if let Some(first) = racks.first(&rack.value, rack.span) {
                        self.twice("duplicate-entry", first, rack.span, format!("the rack `{rack}` is given twice"));
                    }
                }
            }
        }
    }

    /// Reports a name that a selector could not name.
    fn plain_name(&mut self, what: &str, name: &Spanned<String>) {
        let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !fits {
            let message = format!("`{}` cannot be a {what} name", name.escape_debug());
            self.error_with_help("invalid-name", name.span, message, "use letters, digits, `-`, `_` and `.`");
        }
    }

    fn networks(&mut self) {
        let inventory = self.inventory;
        let mut vlans = Once::new();
        for (name, network) in &inventory.networks {
            self.refers("site", network.site.as_str(), network.site.span, &self.declared.sites);
            self.refers("zone", network.zone.as_str(), network.zone.span, &self.declared.zones);
            let cidr = &network.cidr;
            if cidr.trunc() != cidr.value.0 {
                let message = format!("`{cidr}` is an address in a network, not the network itself");
                self.error_with_help("host-bits", cidr.span, message, format!("write `{}`", cidr.trunc()));
            }
            if let Some(gateway) = &network.gateway {
                if !cidr.contains(&gateway.value) {
                    let message = format!("the gateway {gateway} is not in the network {}", cidr.trunc());
                    self.error("address-outside-network", gateway.span, message);
                } else if let Some(reserved) = reserved(network, gateway.value, Gateway::Ignored) {
                    let message = format!("the gateway {gateway} is {reserved} of `{name}`");
                    self.error("reserved-address", gateway.span, message);
                }
            }
            if let Some(vlan) = &network.vlan {
                self.vlan_number(vlan);
                if let Some(first) = vlans.first((&network.site.value, vlan.value), vlan.span) {
                    let message = format!("the VLAN {vlan} is given to two networks at `{}`", network.site);
                    self.twice("duplicate-vlan", first, vlan.span, message);
                }
            }
            if let Some(mtu) = &network.mtu {
                self.mtu(mtu);
            }
        }
        self.overlaps();
    }

    fn vlan_number(&mut self, vlan: &Spanned<u16>) {
        if !(1..=4094).contains(&vlan.value) {
            self.error("invalid-value", vlan.span, format!("a VLAN number is from 1 to 4094, found {vlan}"));
        }
    }

    fn mtu(&mut self, mtu: &Spanned<u32>) {
        if !(68..=65_535).contains(&mtu.value) {
            self.error("invalid-value", mtu.span, format!("an MTU is from 68 to 65535 bytes, found {mtu}"));
        }
    }

    /// Reports networks at one site that share addresses.
    fn overlaps(&mut self) {
        let inventory = self.inventory;
        let mut networks: Vec<_> = inventory.networks.iter().collect();
        networks.sort_by_key(|(_, network)| {
            (&network.site.value, network.cidr.trunc().network(), network.cidr.prefix_len())
        });
        // Networks nest or are apart. In this order, one that overlaps follows the widest that holds it.
        let mut widest: Option<(&crate::addr::NetworkName, &Spanned<Network>)> = None;
        for (name, network) in networks {
            match widest {
                Some((outer_name, outer))
                    if outer.site.value == network.site.value && outer.cidr.trunc().contains(&network.cidr.trunc()) =>
                {
                    let message = format!(
                        "the networks `{outer_name}` ({}) and `{name}` ({}) overlap at `{}`",
                        outer.cidr, network.cidr, network.site
                    );
                    self.diags.push(
                        Diagnostic::error("overlapping-networks", message)
                            .at(network.cidr.span)
                            .label(outer.cidr.span, "this network holds it"),
                    );
                }
                _ => widest = Some((name, network)),
            }
        }
    }

    fn planes(&mut self) {
        for plane in self.inventory.planes.values() {
            if let Some(bastion) = &plane.bastion {
                self.refers("host", bastion.as_str(), bastion.span, &self.declared.hosts);
            }
            self.login(&plane.ssh);
        }
        self.login(&self.inventory.defaults.ssh);
    }

    fn login(&mut self, ssh: &SshDefaults) {
        self.port(ssh.port.as_ref());
        let declared = self.declared;
        for name in ssh.from.iter() {
            let known = [&declared.zones, &declared.networks, &declared.endpoints, &declared.hosts];
            self.one_of("zone, network, endpoint or host", name, &known);
        }
    }

    /// Reports a name that nothing of several sorts has.
    fn one_of(&mut self, what: &str, name: &Spanned<String>, declared: &[&IndexSet<Box<str>>]) {
        let known = || declared.iter().flat_map(|names| names.iter()).map(|name| &**name);
        if !known().any(|declared| *declared == *name.value) {
            let problem = Diagnostic::error(UNKNOWN_NAME, format!("no {what} is called `{name}`")).at(name.span);
            self.diags.push(problem.suggest(name, known()));
        }
    }

    fn port(&mut self, port: Option<&Spanned<u16>>) {
        if let Some(port) = port
            && port.value == 0
        {
            self.error("invalid-value", port.span, "a port is from 1 to 65535, found 0");
        }
    }

    fn groups(&mut self) {
        for (name, group) in &self.inventory.groups {
            if let Some(host) = self.inventory.hosts.get(name.as_str()) {
                let message = format!("`{name}` is the name of a group and of a host");
                self.diags.push(
                    Diagnostic::error("name-clash", message)
                        .at(group.span)
                        .label(host.span, "the host")
                        .help("a selector could not tell them apart"),
                );
            }
            for host in &group.hosts {
                self.refers("host", host.as_str(), host.span, &self.declared.hosts);
            }
        }
    }

    /// Reports names that are those of two things a flow can name.
    fn clashes(&mut self) {
        let mut names: HashMap<&str, (&str, Span)> = HashMap::new();
        let zones = self.inventory.zones.iter().map(|(name, zone)| ("a zone", name.as_str(), zone.span));
        let networks = self.inventory.networks.iter().map(|(name, network)| ("a network", name.as_str(), network.span));
        let endpoints = self.inventory.endpoints.iter().map(|(name, end)| ("an endpoint", name.as_str(), end.span));
        for (what, name, span) in zones.chain(networks).chain(endpoints) {
            if let Some((other, first)) = names.insert(name, (what, span)) {
                self.diags.push(
                    Diagnostic::error("name-clash", format!("{other} and {what} are both called `{name}`"))
                        .at(span)
                        .label(first, format!("the name of {other}"))
                        .help("a flow could not tell them apart"),
                );
            }
        }
    }

    fn flows(&mut self) {
        let declared = self.declared;
        let known = || declared.zones.iter().chain(&declared.networks).chain(&declared.endpoints);
        self.clashes();
        for flow in &self.inventory.flows {
            for end in flow.from.iter().chain(flow.to.iter()) {
                if !known().any(|name| **name == *end.value) {
                    let message = format!("no zone, network or endpoint is called `{end}`");
                    let diagnostic = Diagnostic::error(UNKNOWN_NAME, message).at(end.span);
                    self.diags.push(diagnostic.suggest(end, known().map(|name| &**name)));
                }
            }
            for (side, names) in [("from", &flow.from), ("to", &flow.to)] {
                if names.is_empty() {
                    self.error("invalid-value", flow.span, format!("`{side}` of the flow names nothing"));
                }
            }
            if flow.tcp.is_empty() && flow.udp.is_empty() && flow.protocols.is_empty() && !flow.icmp {
                let help = "give `tcp`, `udp`, `icmp` or `protocols`";
                self.error_with_help("invalid-value", flow.span, "the flow allows nothing", help);
            }
            if flow.why.trim().is_empty() {
                self.error("invalid-value", flow.why.span, "the flow has no reason");
            }
            for text in [&flow.from_hosts, &flow.to_hosts].into_iter().flatten() {
                self.selector(text);
            }
        }
    }

    fn supplier(&mut self, name: &Spanned<String>) {
        if name.value != SELF && !self.declared.suppliers.contains(&*name.value) {
            let known = self.declared.suppliers.iter().map(|name| &**name).chain([SELF]);
            let diagnostic = Diagnostic::error(UNKNOWN_NAME, format!("no supplier is called `{name}`")).at(name.span);
            self.diags.push(diagnostic.suggest(name, known));
        }
    }

    fn suppliers_of_things(&mut self) {
        for endpoint in self.inventory.endpoints.values() {
            self.supplier(&endpoint.operator);
        }
        for host in self.inventory.hosts.values() {
            if let Some(supplier) = &host.record.supplier {
                self.supplier(supplier);
            }
        }
        for operator in self.inventory.operators.values() {
            if let Some(supplier) = &operator.supplier {
                self.supplier(supplier);
            }
        }
    }

    fn operators(&mut self, today: Date) {
        let mut keys = Once::new();
        for (name, operator) in &self.inventory.operators {
            for plane in operator.planes.iter() {
                self.refers("plane", plane.as_str(), plane.span, &self.declared.planes);
            }
            for key in operator.keys.iter() {
                if let Some(first) = keys.first(key.base64().to_owned(), key.span) {
                    self.twice("duplicate-key", first, key.span, "two operators share a key");
                }
            }
            // Where the rules are asked, one of them says so, and for the day that is asked about.
            if let Some(expires) = &operator.expires
                && expires.value < today
                && !self.inventory.policy.packs.iter().any(|pack| pack.value == "hardening")
            {
                let message = format!("the rights of `{name}` ended on {expires}");
                self.diags.push(
                    Diagnostic::warning("expired-operator", message)
                        .at(expires.span)
                        .help("remove the operator, or renew the date after a review"),
                );
            }
        }
    }

    fn waivers(&mut self) {
        for incompatible in &self.inventory.policy.incompatible {
            for plane in &incompatible.planes {
                self.refers("plane", plane.as_str(), plane.span, &self.declared.planes);
            }
            if incompatible.planes.len() < 2 {
                self.error("invalid-value", incompatible.span, "one plane alone is not incompatible with anything");
            }
        }
        for waiver in &self.inventory.policy.waivers {
            if let Some(hosts) = &waiver.hosts {
                self.selector(hosts);
            }
        }
    }

    fn hosts(&mut self) {
        let inventory = self.inventory;
        let mut serials = Once::new();
        let mut doors = Once::new();
        for host in inventory.hosts.values() {
            self.place(host);
            if let Some(plane) = &host.plane {
                self.refers("plane", plane.as_str(), plane.span, &self.declared.planes);
            }
            let mut roles = Once::new();
            for role in host.roles.iter() {
                self.plain_name("role", role);
                if let Some(first) = roles.first(&role.value, role.span) {
                    self.twice("duplicate-entry", first, role.span, format!("the role `{role}` is given twice"));
                }
            }
            if let Some(serial) = &host.record.serial
                && let Some(first) = serials.first(&serial.value, serial.span)
            {
                let message = format!("the serial number `{serial}` is given to two hosts");
                self.twice("duplicate-serial", first, serial.span, message);
            }
            self.ssh(host);
            if let Some(address) = &host.ssh.address {
                let port = inventory.ssh(host).map_or(22, |ssh| ssh.port);
                let via = inventory.via(host).map(|via| &via.name);
                if let Some(first) = doors.first((address.value.clone(), port, via), address.span) {
                    let message = format!("two hosts are reached at the same address {address}");
                    self.twice("duplicate-address", first, address.span, message);
                }
            }
            for name in host.forwards.iter() {
                self.one_of("zone or network", name, &[&self.declared.zones, &self.declared.networks]);
            }
            if let Some(provider) = &host.provided_by {
                self.refers("host", provider.host.as_str(), provider.span, &self.declared.hosts);
            }
            let mut users: HashMap<&str, (&str, Span)> = HashMap::new();
            for (name, interface) in &host.interfaces {
                self.interface(host, name, interface);
                let bonded = interface.bond.iter().flat_map(|bond| &bond.members);
                let bridged = interface.bridge.iter().flat_map(|bridge| &bridge.ports);
                for member in bonded.chain(bridged) {
                    if let Some((owner, first)) = users.insert(&member.value, (&name.value, member.span)) {
                        let message = format!("`{member}` is in `{owner}` and in `{name}`");
                        self.twice("duplicate-member", first, member.span, message);
                    }
                }
            }
        }
    }

    /// Checks site, room and rack of a host.
    fn place(&mut self, host: &Host) {
        let site = match &host.site {
            Some(site) if self.refers("site", site.as_str(), site.span, &self.declared.sites) => {
                self.inventory.sites.get(site.as_str()).map(|found| (site, found))
            }
            _ => None,
        };
        let Some(room) = &host.room else {
            if let Some(rack) = &host.rack {
                self.error("missing-key", rack.span, "a rack is named, but not the room that it stands in");
            }
            return;
        };
        if host.site.is_none() {
            self.error("missing-key", room.span, "a room is named, but not the site that it is at");
        }
        let Some((site_name, site)) = site else { return };
        let Some(found) = site.rooms.get(room.value.as_str()) else {
            let diagnostic =
                Diagnostic::error(UNKNOWN_NAME, format!("the site `{site_name}` has no room `{room}`")).at(room.span);
            self.diags.push(diagnostic.suggest(room, site.rooms.keys().map(|name| name.as_str())));
            return;
        };
        if let Some(rack) = &host.rack
            && !found.racks.contains(rack)
        {
            let message = format!("the room `{room}` of `{site_name}` has no rack `{rack}`");
            let diagnostic = Diagnostic::error(UNKNOWN_NAME, message).at(rack.span);
            self.diags.push(diagnostic.suggest(rack, found.racks.iter().map(|name| name.as_str())));
        }
    }

    fn ssh(&mut self, host: &Host) {
        let ssh = &host.ssh;
        self.port(ssh.port.as_ref());
        if let Some(via) = &ssh.via
            && via.as_str() != DIRECT
        {
            if via.value == host.name {
                let help = format!("write `{DIRECT}` for a host that no bastion stands before");
                self.error_with_help("via-loop", via.span, format!("`{via}` is reached through itself"), help);
            } else {
                self.refers("host", via.as_str(), via.span, &self.declared.hosts);
            }
        }
        match &ssh.address {
            None if host.connection() == ConnectionKind::Ssh => {
                let message = format!("`{}` has no `ssh.address`", host.name);
                let help = "give the address to log in to, or `ssh: {connection: local}` for this machine";
                self.error_with_help("missing-address", host.span, message, help);
            }
            Some(address) if !is_address_or_name(address) => {
                let message = format!("`{}` is neither an IP address nor a DNS name", address.escape_debug());
                self.error("invalid-value", address.span, message);
            }
            _ => {}
        }
    }

    fn interface(&mut self, host: &Host, name: &Spanned<String>, interface: &Interface) {
        let fits = !name.is_empty()
            && name.len() <= MAX_INTERFACE_NAME
            && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':')
            && !matches!(name.as_str(), "." | "..");
        if !fits {
            let message = format!("`{}` cannot be the name of an interface", name.escape_debug());
            let help = format!("the kernel takes up to {MAX_INTERFACE_NAME} characters, without spaces, `/` and `:`");
            self.error_with_help("invalid-name", name.span, message, help);
        }
        let sorts = [
            interface.bond.is_some(),
            interface.vlan.is_some(),
            interface.bridge.is_some(),
            interface.vxlan.is_some(),
            interface.wireguard.is_some(),
            interface.dummy,
        ];
        if sorts.iter().filter(|sort| **sort).count() > 1 {
            let message = format!("`{name}` is more than one of bond, VLAN, bridge, VXLAN, WireGuard and dummy");
            self.error("invalid-value", name.span, message);
        }
        if let Some(mtu) = &interface.mtu {
            self.mtu(mtu);
        }
        let network = match &interface.network {
            Some(network) if self.refers("network", network.as_str(), network.span, &self.declared.networks) => {
                self.inventory.networks.get(network.as_str()).map(|found| (network, found))
            }
            _ => None,
        };
        self.vlan(name, interface, network.map(|(_, network)| &network.value));
        if let Some(vxlan) = &interface.vxlan {
            if vxlan.vni.value > 0x00FF_FFFF {
                let message = format!("a VXLAN identifier is from 0 to 16777215, found {}", vxlan.vni);
                self.error("invalid-value", vxlan.vni.span, message);
            }
            if let Some(local) = &vxlan.local
                && !host.interfaces.values().any(|other| other.address.is_some_and(|a| a.value == local.value))
            {
                self.error("invalid-value", local.span, format!("{local} is not an address of `{}`", host.name));
            }
        }
        for part in [interface.vlan.as_ref().map(|vlan| &vlan.parent)]
            .into_iter()
            .flatten()
            .chain(interface.bond.iter().flat_map(|bond| &bond.members))
            .chain(interface.bridge.iter().flat_map(|bridge| &bridge.ports))
        {
            if part.value == name.value {
                self.error("invalid-value", part.span, format!("`{name}` is made of itself"));
            }
        }
        for route in &interface.routes {
            if let Some(problem) = route.problem() {
                self.error("invalid-value", route.span, problem);
            }
        }
        for rule in &interface.rules {
            if let Some(problem) = rule.problem() {
                self.error("invalid-value", rule.span, problem);
            }
        }
        for peer in interface.wireguard.iter().flat_map(|wireguard| &wireguard.peers) {
            if let Some(problem) = peer.problem() {
                self.error("invalid-value", peer.span, problem);
            }
        }
        let Some(address) = &interface.address else { return };
        match (network, &interface.network) {
            (None, None) => {
                let message = format!("`{name}` has an address, but no network that it is in");
                self.error("missing-key", address.span, message);
            }
            (Some((network_name, network)), _) => {
                if let (Some(host_site), true) = (&host.site, self.declared.sites.contains(network.site.as_str()))
                    && host_site.value != network.site.value
                {
                    let message =
                        format!("`{}` is at `{host_site}`, but `{network_name}` at `{}`", host.name, network.site);
                    self.diags.push(
                        Diagnostic::error("wrong-site", message)
                            .at(network_name.span)
                            .label(network.site.span, "the site of the network"),
                    );
                }
                let cidr = network.cidr.trunc();
                if !cidr.contains(&address.value) {
                    let message = format!("{address} is not in `{network_name}` ({cidr})");
                    self.diags.push(
                        Diagnostic::error("address-outside-network", message)
                            .at(address.span)
                            .label(network.cidr.span, "the network"),
                    );
                } else if let Some(reserved) = reserved(network, address.value, Gateway::Reserved) {
                    let message = format!("{address} is {reserved} of `{network_name}`");
                    self.error("reserved-address", address.span, message);
                }
            }
            (None, Some(_)) => {}
        }
    }

    /// Checks that a VLAN interface, its name and its network agree on the number.
    fn vlan(&mut self, name: &Spanned<String>, interface: &Interface, network: Option<&Network>) {
        let Some(vlan) = &interface.vlan else { return };
        if let Some(id) = &vlan.id {
            self.vlan_number(id);
        }
        let by_name = name.rsplit_once('.').and_then(|(_, number)| number.parse::<u16>().ok());
        let by_network = network.and_then(|network| network.vlan);
        let number = vlan.id.map(|id| (id.value, id.span)).or(by_name.map(|number| (number, name.span)));
        match (number, by_network) {
            (None, None) => {
                let message = format!("nothing says which VLAN `{name}` is");
                self.error_with_help("missing-key", name.span, message, "give `vlan.id`, or the `vlan` of its network");
            }
            (Some((number, span)), Some(network)) if number != network.value => {
                let message = format!("`{name}` is the VLAN {number}, but its network is the VLAN {network}");
                self.diags.push(
                    Diagnostic::error("vlan-mismatch", message).at(span).label(network.span, "the VLAN of the network"),
                );
            }
            _ => {}
        }
    }

    /// Reports addresses and MAC addresses that two interfaces have.
    fn addresses(&mut self) {
        let inventory = self.inventory;
        let mut addresses = Once::new();
        let mut macs = Once::new();
        for interface in inventory.hosts.values().flat_map(|host| host.interfaces.values()) {
            if let Some(mac) = &interface.mac
                && let Some(first) = macs.first(mac.value, mac.span)
            {
                self.twice(
                    "duplicate-mac",
                    first,
                    mac.span,
                    format!("the MAC address {mac} is given to two interfaces"),
                );
            }
            // Sites may use the same private addresses, behind different bastions.
            let site = inventory.network_of(interface).map(|(_, network)| &network.site.value);
            if let Some(address) = &interface.address
                && let Some(first) = addresses.first((site, address.value), address.span)
            {
                let message = format!("the address {address} is given to two interfaces");
                self.twice("duplicate-address", first, address.span, message);
            }
            for address in interface.addresses.iter() {
                if let Some(first) = addresses.first((site, address.0.addr()), address.span) {
                    let message = format!("the address {} is given to two interfaces", address.0.addr());
                    self.twice("duplicate-address", first, address.span, message);
                }
            }
        }
    }

    /// Reports hosts that are reached through each other, or made by each other.
    fn loops(&mut self) {
        let inventory = self.inventory;
        let via = |host: &Host| {
            let by_plane = || inventory.planes.get(host.plane.as_ref()?.as_str())?.bastion.as_ref().map(|via| via.span);
            let next = &inventory.via(host)?.name;
            Some((next, host.ssh.via.as_ref().map(|via| via.span).or_else(by_plane)?))
        };
        for found in loops(inventory, &via) {
            self.report_loop("via-loop", "hosts are reached through each other", &found);
        }
        let made = |host: &Host| {
            let by = host.provided_by.as_ref()?;
            Some((&inventory.hosts.get(&by.host)?.name, by.span))
        };
        for found in loops(inventory, &made) {
            self.report_loop("provided-by-loop", "hosts are made by each other", &found);
        }
    }

    fn report_loop(&mut self, code: &'static str, what: &str, found: &[(&HostName, Span)]) {
        let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        names.extend(names.first().copied());
        let mut spans = found.iter().map(|(_, span)| *span);
        let Some(first) = spans.next() else { return };
        let diagnostic = Diagnostic::error(code, format!("{what}: {}", names.join(" → "))).at(first);
        self.diags.push(spans.fold(diagnostic, |diagnostic, span| diagnostic.label(span, "and here")));
    }
}

/// Whether the gateway of a network counts as taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gateway {
    Reserved,
    Ignored,
}

/// Returns what an address of a network is for, if no host can have it.
fn reserved(network: &Network, address: IpAddr, gateway: Gateway) -> Option<&'static str> {
    let cidr = network.cidr.trunc();
    // Networks of one or two addresses have no network and broadcast address (RFC 3021, RFC 6164).
    let has_ends = cidr.max_prefix_len() - cidr.prefix_len() > 1;
    if gateway == Gateway::Reserved && network.gateway.is_some_and(|gateway| gateway.value == address) {
        return Some("the gateway");
    }
    match cidr {
        _ if !has_ends => None,
        _ if address == cidr.network() => Some("the network address"),
        IpNet::V4(cidr) if address == IpAddr::V4(cidr.broadcast()) => Some("the broadcast address"),
        _ => None,
    }
}

fn is_address_or_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // What has only digits and dots is meant as an address, and `10.0.0.300` is none.
    let is_name = text.len() <= 253
        && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse::<IpAddr>().is_ok() || is_name
}

/// A host on a loop, with where its way on stands.
type Step<'a> = (&'a HostName, Span);

/// Returns the loops that following `next` from host to host runs into, each once.
fn loops<'a>(inventory: &'a Inventory, next: &dyn Fn(&'a Host) -> Option<Step<'a>>) -> Vec<Vec<Step<'a>>> {
    // For each host seen, the walk on which it was seen.
    let mut seen: HashMap<&HostName, usize> = HashMap::new();
    let mut found = Vec::new();
    for (walk, start) in inventory.hosts.values().enumerate() {
        let mut path: Vec<Step<'a>> = Vec::new();
        let mut host = start;
        loop {
            match seen.get(&host.name) {
                Some(earlier) if *earlier == walk => {
                    let at = path.iter().position(|(name, _)| **name == host.name).unwrap_or_default();
                    found.push(path.split_off(at));
                    break;
                }
                Some(_) => break,
                None => {}
            }
            seen.insert(&host.name, walk);
            let Some((onward, span)) = next(host) else { break };
            path.push((&host.name, span));
            let Some(onward) = inventory.hosts.get(onward) else { break };
            host = onward;
        }
    }
    found
}
