//! What an inventory file may say: the declared form of every section, field by field.
//!
//! The documentation of these fields is what the JSON Schema shows. A field that a check may have to point at is
//! [`Spanned`].

use std::net::{IpAddr, SocketAddr};

use camino::Utf8PathBuf;
use indexmap::IndexMap;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{AddressOrCidr, Cidr, Country, Destination, LinkAddress, Mac, Ports, PublicKey};
use crate::addr::{GroupName, HostName, NetworkName, PlaneName, ResourceAddr, SiteName, ZoneName};
use crate::model::node::{OneOrMany, Spanned};
use crate::model::vars::Vars;

/// An inventory: the merged top-level maps of all its files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InventoryFile {
    /// The cloud provider that operates the fleet.
    pub provider: Provider,
    /// Which rules apply, and which exceptions are signed.
    pub policy: Policy,
    /// What holds for all hosts unless something closer says otherwise.
    pub defaults: Defaults,
    /// The datacenters.
    pub sites: IndexMap<SiteName, Site>,
    /// The security zones, in SecNumCloud's sense.
    pub zones: IndexMap<ZoneName, Zone>,
    /// The networks.
    pub networks: IndexMap<NetworkName, Network>,
    /// The planes: parts of the fleet with an administration of their own.
    pub planes: IndexMap<PlaneName, Plane>,
    /// The flow matrix: what is not here is dropped.
    pub flows: Vec<Flow>,
    /// Everything outside the fleet that a host talks to.
    pub endpoints: IndexMap<String, Endpoint>,
    /// Who maintains what, under which law.
    pub suppliers: IndexMap<String, Supplier>,
    /// The nominative administrators.
    pub operators: IndexMap<String, Operator>,
    /// Named sets of hosts, with variables for them.
    pub groups: IndexMap<GroupName, Group>,
    /// The hosts.
    pub hosts: IndexMap<HostName, HostSpec>,
}

/// The cloud provider that operates the fleet.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// The legal name.
    pub name: Option<Spanned<String>>,
    /// The country of the registered seat.
    pub seat: Option<Spanned<Country>>,
    /// Domains of the provider's own, such as `exemple-cloud.example`: names in them lead to the fleet.
    pub domains: OneOrMany<Spanned<String>>,
    /// Who owns the provider.
    pub shareholders: Vec<Spanned<Shareholder>>,
}

/// An owner of the provider.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shareholder {
    /// The legal name.
    pub name: Spanned<String>,
    /// The country of the registered seat.
    pub seat: Spanned<Country>,
    /// The share of the capital, in percent.
    pub share: Spanned<f64>,
    /// Whether the shareholder can veto decisions or appoint most of the board.
    #[serde(default)]
    pub control: bool,
}

/// Which rules apply, and which exceptions are signed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The rule packs that are checked.
    pub packs: Vec<Spanned<String>>,
    /// The countries that sites, data and technical data may be in.
    pub allowed_countries: Vec<Spanned<Country>>,
    /// Planes that nobody may administer together.
    pub incompatible: Vec<Spanned<Incompatible>>,
    /// Signed exceptions from single rules.
    pub waivers: Vec<Spanned<Waiver>>,
}

/// Planes whose administration must not be in one hand.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incompatible {
    /// The planes, two or more.
    pub planes: Vec<Spanned<PlaneName>>,
    /// Why not.
    pub why: Spanned<String>,
}

/// A signed exception from a rule.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The identifier of the rule.
    pub rule: Spanned<String>,
    /// The hosts that are excepted, as a selector. Without it and `subjects`, the exception holds everywhere.
    #[serde(default)]
    pub hosts: Option<Spanned<String>>,
    /// What else is excepted, by section and name, such as `networks.par1-backup` or `operators.*`; a flow is named by its
    /// reason.
    #[serde(default)]
    pub subjects: OneOrMany<Spanned<String>>,
    /// Why the rule cannot be followed.
    pub why: Spanned<String>,
    /// Who answers for it.
    pub owner: Spanned<String>,
    /// The day after which it no longer holds.
    #[schemars(with = "String")]
    pub expires: Spanned<Date>,
}

/// What holds for all hosts unless something closer says otherwise.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// Variables of all hosts.
    pub vars: Vars,
    /// How to log in.
    pub ssh: SshDefaults,
}

/// How to log in to many hosts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshDefaults {
    /// The user that logs in.
    pub user: Option<Spanned<String>>,
    /// The port of the SSH server.
    pub port: Option<Spanned<u16>>,
    /// Public keys of the authorities that sign host keys.
    pub host_ca: OneOrMany<Spanned<PublicKey>>,
    /// A known_hosts file, relative to the inventory's folder.
    #[schemars(with = "Option<String>")]
    pub known_hosts: Option<Spanned<Utf8PathBuf>>,
    /// Private key files to log in with, the first tried first; `~/` is the home folder.
    #[schemars(with = "OneOrMany<String>")]
    pub identity: OneOrMany<Spanned<Utf8PathBuf>>,
    /// Where this tool is run: the zones, networks, endpoints or hosts that logins come from. Where nothing says so, it is
    /// any network of a zone whose nature is `administration`.
    pub from: OneOrMany<Spanned<String>>,
}

/// A datacenter.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The country it stands in.
    pub country: Spanned<Country>,
    /// The town it stands in.
    #[serde(default)]
    pub city: Option<Spanned<String>>,
    /// The street address.
    #[serde(default)]
    pub address: Option<String>,
    /// Its rooms.
    #[serde(default)]
    pub rooms: IndexMap<Spanned<String>, Room>,
    /// Variables of the hosts at this site.
    #[serde(default)]
    pub vars: Vars,
}

/// A room of a datacenter.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Room {
    /// Its racks.
    pub racks: Vec<Spanned<String>>,
    /// How access to the room is restricted.
    pub access: Option<Spanned<RoomAccess>>,
}

/// How access to a room is restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomAccess {
    /// Open to visitors.
    Public,
    /// For staff.
    Private,
    /// For those who work on the production itself.
    Sensitive,
}

/// A security zone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// What the zone is for.
    pub nature: Spanned<Nature>,
    /// What it holds, in words.
    #[serde(default)]
    pub description: Option<String>,
}

/// What a security zone is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Nature {
    /// Where administrators log in.
    Administration,
    /// The control plane of the cloud.
    Control,
    /// What serves the customers' machines.
    Production,
    /// Disks over the network.
    Storage,
    /// Measuring and alerting.
    Supervision,
    /// Copies of data, apart from it.
    Backup,
    /// Between the Internet and the rest.
    Dmz,
    /// Reachable from the Internet.
    Public,
    /// A customer's own.
    Tenant,
    /// The provider's office.
    Office,
}

impl std::fmt::Display for Nature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// A network at one site.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The site it is at.
    pub site: Spanned<SiteName>,
    /// The security zone it belongs to.
    pub zone: Spanned<ZoneName>,
    /// Its addresses, such as `10.20.0.0/24`.
    pub cidr: Spanned<Cidr>,
    /// The address of the router, which no host may have.
    #[serde(default)]
    pub gateway: Option<Spanned<IpAddr>>,
    /// The VLAN it is carried in.
    #[serde(default)]
    pub vlan: Option<Spanned<u16>>,
    /// The largest packet, in bytes.
    #[serde(default)]
    pub mtu: Option<Spanned<u32>>,
    /// Whether it has cables and switches of its own.
    #[serde(default)]
    pub physical: Option<Spanned<bool>>,
    /// What encrypts it where it has none.
    #[serde(default)]
    pub encryption: Option<Spanned<Encryption>>,
    /// The customer it is for.
    #[serde(default)]
    pub tenant: Option<Spanned<String>>,
    /// What it is for, in words.
    #[serde(default)]
    pub description: Option<String>,
}

/// What encrypts a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// IPsec tunnels.
    Ipsec,
    /// MACsec on the links.
    Macsec,
    /// WireGuard tunnels.
    Wireguard,
}

/// A part of the fleet with an administration of its own: its own bastion, users and keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plane {
    /// What it holds, in words.
    pub description: Option<String>,
    /// What it is for. The control plane is the one that says `control`; where none does, the one of that name.
    pub nature: Option<Spanned<Nature>>,
    /// The host through which the others of the plane are reached, unless their `ssh.via` says otherwise.
    pub bastion: Option<Spanned<HostName>>,
    /// How to log in to the hosts of the plane.
    pub ssh: SshDefaults,
    /// Variables of the hosts of the plane.
    pub vars: Vars,
}

/// Allowed traffic. A name in `from` or `to` is a zone, a network or an endpoint.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Where the connections come from: zones, networks or endpoints.
    pub from: OneOrMany<Spanned<String>>,
    /// Where they go: zones, networks or endpoints.
    pub to: OneOrMany<Spanned<String>>,
    /// Only these hosts of `from`, as a selector.
    #[serde(default)]
    pub from_hosts: Option<Spanned<String>>,
    /// Only these hosts of `to`, as a selector.
    #[serde(default)]
    pub to_hosts: Option<Spanned<String>>,
    /// TCP ports of the side that is connected to.
    #[serde(default)]
    pub tcp: OneOrMany<Spanned<Ports>>,
    /// UDP ports of the side that is connected to.
    #[serde(default)]
    pub udp: OneOrMany<Spanned<Ports>>,
    /// Whether `ping` is allowed.
    #[serde(default)]
    pub icmp: bool,
    /// Other protocols, by the name in `/etc/protocols`: `esp`, `vrrp`.
    #[serde(default)]
    pub protocols: OneOrMany<Spanned<String>>,
    /// Why the traffic is needed.
    pub why: Spanned<String>,
}

/// Something outside the fleet that a host talks to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where it is.
    pub url: Spanned<String>,
    /// Who runs it: `self` or a supplier.
    pub operator: Spanned<String>,
    /// The country whose law reaches it.
    pub jurisdiction: Spanned<Country>,
    /// Its addresses or networks, for flows that name it.
    #[serde(default)]
    pub addresses: OneOrMany<Spanned<AddressOrCidr>>,
    /// What it is for, in words.
    #[serde(default)]
    pub description: Option<String>,
}

/// A company that maintains something of the fleet.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supplier {
    /// The legal name.
    #[serde(default)]
    pub name: Option<String>,
    /// The country of the registered seat.
    pub seat: Spanned<Country>,
    /// The country from which the company is controlled.
    pub controlled_from: Spanned<Country>,
    /// What it maintains: `hardware`, `software`, `network`...
    #[serde(default)]
    pub scope: OneOrMany<Spanned<String>>,
    /// Whether its staff can log in to hosts.
    #[serde(default)]
    pub access: Option<Spanned<bool>>,
}

/// A person who administers hosts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The person's name.
    pub name: Spanned<String>,
    /// The planes that the person administers.
    #[serde(default)]
    pub planes: OneOrMany<Spanned<PlaneName>>,
    /// The person's public keys.
    #[serde(default)]
    pub keys: OneOrMany<Spanned<PublicKey>>,
    /// The supplier that the person works for; the provider itself where there is none.
    #[serde(default)]
    pub supplier: Option<Spanned<String>>,
    /// The last day of the person's rights.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub expires: Option<Spanned<Date>>,
    /// The day on which the person's rights were last reviewed.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub reviewed: Option<Spanned<Date>>,
    /// How far the person was vetted.
    #[serde(default)]
    pub vetting: Option<Spanned<Vetting>>,
}

/// How far a person was vetted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Vetting {
    /// Not at all: the person comes in for announced work, watched, and for a time.
    None,
    /// By the provider.
    Provider,
    /// By the State.
    State,
}

/// A named set of hosts: those that match the selector, and those that are listed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// What the hosts have in common, in words.
    pub description: Option<String>,
    /// A selector of hosts.
    #[serde(rename = "match")]
    pub selector: Option<Spanned<String>>,
    /// Hosts by name.
    pub hosts: Vec<Spanned<HostName>>,
    /// Whether these hosts decide by majority, so that no machine, rack or site may hold most of them.
    pub quorum: Option<Spanned<bool>>,
    /// Variables of these hosts.
    pub vars: Vars,
}

/// A host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSpec {
    /// The site it stands at.
    pub site: Option<Spanned<SiteName>>,
    /// The room of the site.
    pub room: Option<Spanned<String>>,
    /// The rack of the room.
    pub rack: Option<Spanned<String>>,
    /// The plane it belongs to.
    pub plane: Option<Spanned<PlaneName>>,
    /// What it is for: `hypervisor`, `etcd`...
    pub roles: OneOrMany<Spanned<String>>,
    /// What the inventory of equipment has to say about it.
    pub record: Record,
    /// How to log in.
    pub ssh: SshSpec,
    /// Its network interfaces, by the name that the kernel gives them.
    pub interfaces: IndexMap<Spanned<String>, Interface>,
    /// The zones and networks that the host passes packets between, as their router. Only flows of the matrix pass.
    pub forwards: OneOrMany<Spanned<String>>,
    /// The resource that makes this host, such as `hv-1/libvirt.domain[ctl-1]`: it need not exist yet when a plan is made.
    pub provided_by: Option<Spanned<ResourceAddr>>,
    /// Variables of this host alone.
    pub vars: Vars,
}

/// What the inventory of equipment has to say about a host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// The maker's name for the machine.
    pub model: Option<Spanned<String>>,
    /// The serial number.
    pub serial: Option<Spanned<String>>,
    /// Who answers for it.
    pub owner: Option<Spanned<String>>,
    /// How much it needs protection.
    pub security_need: Option<Spanned<SecurityNeed>>,
    /// Which stage of a change it serves.
    pub environment: Option<Spanned<Environment>>,
    /// Who maintains the hardware: `self` or a supplier.
    pub supplier: Option<Spanned<String>>,
    /// The day it went into service.
    #[schemars(with = "Option<String>")]
    pub since: Option<Spanned<Date>>,
    /// Anything else worth knowing.
    pub note: Option<String>,
}

/// How much a host needs protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecurityNeed {
    /// Little depends on it.
    Low,
    /// Its loss is felt.
    Medium,
    /// Its loss or exposure is grave.
    High,
    /// Its exposure endangers the whole fleet.
    Critical,
}

/// Which stage of a change a host serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Customers depend on it.
    Production,
    /// Changes are tried on it before production.
    Preproduction,
    /// For development and tests.
    Development,
}

/// How to log in to a host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshSpec {
    /// The IP address or DNS name.
    pub address: Option<Spanned<String>>,
    /// The port of the SSH server; 22 where nothing says otherwise.
    pub port: Option<Spanned<u16>>,
    /// The user that logs in.
    pub user: Option<Spanned<String>>,
    /// The host's public keys, each as one OpenSSH line.
    pub host_key: OneOrMany<Spanned<PublicKey>>,
    /// The host to go through, or `direct` for none.
    pub via: Option<Spanned<HostName>>,
    /// Whether to log in at all, or to run on this machine.
    pub connection: Option<Spanned<ConnectionKind>>,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionKind {
    /// Over SSH.
    #[default]
    Ssh,
    /// The machine that runs the tool.
    Local,
}

/// A network interface of a host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Interface {
    /// The network it is in.
    pub network: Option<Spanned<NetworkName>>,
    /// Its address in that network, without a prefix length.
    #[schemars(with = "Option<String>")]
    pub address: Option<Spanned<IpAddr>>,
    /// Further addresses with the lengths of their networks, such as `10.20.0.5/32`. No flow speaks of them.
    pub addresses: OneOrMany<Spanned<LinkAddress>>,
    /// Further routes over it; the default route is that of the first interface whose network has a `gateway`.
    pub routes: Vec<Spanned<LinkRoute>>,
    /// Which packets look into which routing table.
    pub rules: Vec<Spanned<LinkRule>>,
    /// The servers that are asked for names over it.
    #[schemars(with = "OneOrMany<String>")]
    pub dns: OneOrMany<Spanned<IpAddr>>,
    /// Its hardware address.
    pub mac: Option<Spanned<Mac>>,
    /// The largest packet, in bytes, where it is not that of the network.
    pub mtu: Option<Spanned<u32>>,
    /// Several interfaces as one.
    pub bond: Option<Bond>,
    /// A VLAN on another interface.
    pub vlan: Option<Vlan>,
    /// A bridge over other interfaces.
    pub bridge: Option<Bridge>,
    /// A network tunnelled over another.
    pub vxlan: Option<Vxlan>,
    /// Whether it is a link with nothing behind it, for addresses that are on no wire.
    pub dummy: bool,
    /// An encrypted tunnel.
    pub wireguard: Option<Wireguard>,
    /// Where the cable goes.
    pub cable: Option<Cable>,
    /// What it is for, in words.
    pub description: Option<String>,
}

/// A route over an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRoute {
    /// Where it leads: a network such as `10.30.0.0/16`, or `default` for everything.
    pub to: Destination,
    /// The router; none for what is on the link itself.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub via: Option<IpAddr>,
    /// The routing table, by number; the main one where nothing says otherwise.
    #[serde(default)]
    pub table: Option<u32>,
    /// Which of several routes is taken: the one with the lowest.
    #[serde(default)]
    pub metric: Option<u32>,
    /// The address that the host's own packets come from.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub source: Option<IpAddr>,
    /// Whether the router is on the link although no network of it says so.
    #[serde(default)]
    pub onlink: bool,
}

/// A rule of routing: packets that it speaks of look into a table of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRule {
    /// The address or network that the packets come from; any where it says nothing.
    #[serde(default)]
    pub from: Option<AddressOrCidr>,
    /// The address or network that they go to; any where it says nothing.
    #[serde(default)]
    pub to: Option<AddressOrCidr>,
    /// The mark that a firewall gave them.
    #[serde(default)]
    pub mark: Option<u32>,
    /// The routing table, by number.
    pub table: u32,
    /// Its place among the host's rules: the lowest is looked at first.
    pub priority: u32,
}

/// An encrypted tunnel. The host makes its private key, and nobody else ever sees it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wireguard {
    /// The UDP port on which it listens; one that the kernel chooses where nothing says otherwise.
    pub port: Option<u16>,
    /// The other ends.
    pub peers: Vec<Spanned<WireguardPeer>>,
}

/// The other end of an encrypted tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WireguardPeer {
    /// Its public key, as `wg show NAME public-key` says it there.
    pub public_key: String,
    /// The address and port by which it is reached first, such as `192.0.2.7:51820`; none where it always speaks first.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<SocketAddr>,
    /// The networks that are behind it. A route over the tunnel is said in `routes`.
    pub allowed: Vec<AddressOrCidr>,
    /// After how many seconds of silence it is spoken to, so that a firewall between keeps the way open.
    #[serde(default)]
    pub keepalive: Option<u16>,
}

/// Several interfaces as one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bond {
    /// How the members share the traffic.
    pub mode: Spanned<BondMode>,
    /// The interfaces it is made of.
    pub members: Vec<Spanned<String>>,
}

/// How the members of a bond share the traffic, by the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum BondMode {
    /// One after the other.
    #[serde(rename = "balance-rr")]
    BalanceRr,
    /// One at a time, another when it fails.
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// By a hash of the addresses.
    #[serde(rename = "balance-xor")]
    BalanceXor,
    /// All at once.
    #[serde(rename = "broadcast")]
    Broadcast,
    /// LACP.
    #[serde(rename = "802.3ad")]
    Lacp,
    /// By load when sending.
    #[serde(rename = "balance-tlb")]
    BalanceTlb,
    /// By load both ways.
    #[serde(rename = "balance-alb")]
    BalanceAlb,
}

impl std::fmt::Display for BondMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// A VLAN on another interface.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// The interface that carries it.
    pub parent: Spanned<String>,
    /// Its number, where it is not that of the network.
    #[serde(default)]
    pub id: Option<Spanned<u16>>,
}

/// A bridge over other interfaces.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bridge {
    /// The interfaces it joins; virtual machines add theirs.
    pub ports: Vec<Spanned<String>>,
    /// Whether the spanning tree protocol runs on it.
    pub stp: Option<bool>,
}

/// A network tunnelled over another.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vxlan {
    /// The VXLAN network identifier.
    pub vni: Spanned<u32>,
    /// The address that tunnels start from; one of this host's.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub local: Option<Spanned<IpAddr>>,
    /// The other ends, or one multicast group.
    #[serde(default)]
    #[schemars(with = "OneOrMany<String>")]
    pub remote: OneOrMany<Spanned<IpAddr>>,
    /// The UDP port; 4789 where nothing says otherwise.
    #[serde(default)]
    pub port: Option<Spanned<u16>>,
    /// Whether it remembers behind which end an address is; it does where nothing says otherwise. A routing daemon that
    /// knows better (EVPN) wants it off.
    #[serde(default)]
    pub learning: Option<bool>,
}

/// Where a cable goes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cable {
    /// The switch.
    pub switch: Spanned<String>,
    /// The port of the switch.
    pub port: Spanned<String>,
    /// The colour of the cable.
    #[serde(default)]
    pub color: Option<Spanned<String>>,
}
