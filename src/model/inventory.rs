//! The inventory: what the datacenter is made of, and the questions that the rest of the tool asks of it.
//!
//! An [`Inventory`] is built and checked by `load`, so every name in it refers to something that is there. Variables
//! are kept once per layer and merged only for the host that is asked about: ten thousand hosts share what their
//! group says.

mod links;
mod spec;
mod types;
mod view;

use std::ops::Deref;

use camino::{Utf8Path, Utf8PathBuf};
use indexmap::IndexMap;
use serde_json::{Map as JsonMap, Value as Json, json};

pub use self::links::*;
pub use self::spec::*;
pub use self::types::*;
pub use self::view::*;
use super::node::Spanned;
use super::playbook::Domain;
use super::rules::CustomRule;
use super::selector::{Selector, SelectorError};
use super::vars::{self, Layer, ResolvedVar, Vars};
use crate::addr::{GroupName, HostName, NetworkName, PlaneName, SiteName, ZoneName};
use crate::diag::Span;

/// What `ssh.via` says for a host that no bastion stands before.
pub const DIRECT: &str = "direct";

/// A described datacenter. The span of an entry is that of its name.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The folder it was loaded from, to which paths in it are relative.
    pub folder: Utf8PathBuf,
    /// The cloud provider that operates the fleet.
    pub provider: Provider,
    /// Which rules apply, and which exceptions are signed.
    pub policy: Policy,
    /// What holds for all hosts unless something closer says otherwise.
    pub defaults: Defaults,
    /// The datacenters.
    pub sites: IndexMap<SiteName, Spanned<Site>>,
    /// The security zones.
    pub zones: IndexMap<ZoneName, Spanned<Zone>>,
    /// The networks.
    pub networks: IndexMap<NetworkName, Spanned<Network>>,
    /// The planes.
    pub planes: IndexMap<PlaneName, Spanned<Plane>>,
    /// The flow matrix.
    pub flows: Vec<Spanned<Flow>>,
    /// What hosts talk to outside the fleet.
    pub endpoints: IndexMap<String, Spanned<Endpoint>>,
    /// Who maintains what.
    pub suppliers: IndexMap<String, Spanned<Supplier>>,
    /// The administrators.
    pub operators: IndexMap<String, Spanned<Operator>>,
    /// The groups, in file order.
    pub groups: IndexMap<GroupName, Spanned<Group>>,
    /// The hosts, in file order.
    pub hosts: IndexMap<HostName, Host>,
    /// Variables from the command line, which win over all others.
    pub sets: Vars,
    /// Rules of the fleet's own.
    pub rules: Vec<Spanned<CustomRule>>,
}

/// A host and what it belongs to.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Where its name stands.
    pub span: Span,
    /// The groups it is in, in file order.
    pub groups: Vec<GroupName>,
    /// What the inventory says about it.
    pub spec: HostSpec,
}

impl Deref for Host {
    type Target = HostSpec;

    fn deref(&self) -> &HostSpec {
        &self.spec
    }
}

impl Host {
    /// Returns whether the host has a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known.value == role)
    }

    /// Returns how the host is reached.
    pub fn connection(&self) -> ConnectionKind {
        self.ssh.connection.map(|kind| kind.value).unwrap_or_default()
    }
}

/// How to log in to one host, after defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAccess {
    /// The IP address or DNS name.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The user; the tool's own user where nothing says otherwise.
    pub user: Option<String>,
    /// The recorded keys of the host, then those of its authorities as `@cert-authority KEY`.
    pub host_keys: Vec<String>,
    /// A known_hosts file of the inventory.
    pub known_hosts: Option<Utf8PathBuf>,
    /// Private key files, the first tried first.
    pub identities: Vec<Utf8PathBuf>,
}

impl Inventory {
    /// Returns a host by its name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// Returns the hosts that a selector means, in the order of the inventory; never none.
    pub fn select(&self, selector: &Selector) -> Result<Vec<&Host>, SelectorError> {
        selector.select(self)
    }

    /// Returns the network of an interface.
    pub fn network_of(&self, interface: &Interface) -> Option<(&NetworkName, &Network)> {
        let name = interface.network.as_ref()?;
        self.networks.get_key_value(name.as_str()).map(|(name, network)| (name, &network.value))
    }

    /// Returns the zones that a host has an interface in, each once, in the order of its interfaces.
    pub fn zones_of<'a>(&'a self, host: &'a Host) -> Vec<&'a ZoneName> {
        let mut zones: Vec<&ZoneName> = Vec::new();
        for interface in host.interfaces.values() {
            if let Some((_, network)) = self.network_of(interface)
                && !zones.contains(&&network.zone.value)
            {
                zones.push(&network.zone.value);
            }
        }
        zones
    }

    /// Returns the machine that a host falls with: the one that brings it, where it is a guest.
    pub fn machine<'a>(&'a self, host: &'a Host) -> &'a Host {
        let mut machine = host;
        // A loop is refused elsewhere; the limit is for who asks before.
        for _ in 0..self.hosts.len() {
            let under = machine.provided_by.as_ref().and_then(|by| self.host(by.host.as_str()));
            let Some(under) = under else { break };
            machine = under;
        }
        machine
    }

    /// Returns the name of the rack, room or site that a host falls with, unique in the inventory, where that is known.
    pub fn domain(&self, host: &Host, kind: Domain) -> Option<String> {
        let machine = self.machine(host);
        let (site, room) = (machine.site.as_ref()?, machine.room.as_ref());
        match kind {
            Domain::Rack => {
                let room = room.map_or("", |room| room.as_str());
                Some(format!("{site}/{room}/{}", machine.rack.as_ref()?))
            }
            Domain::Room => Some(format!("{site}/{}", room?)),
            Domain::Site => Some(site.to_string()),
        }
    }

    /// Returns the host that `host` is reached through, if any: its `ssh.via`, or the bastion of its plane.
    pub fn via(&self, host: &Host) -> Option<&Host> {
        if host.connection() == ConnectionKind::Local {
            return None;
        }
        let via = match &host.ssh.via {
            Some(via) => &via.value,
            None => &self.planes.get(host.plane.as_ref()?.as_str())?.bastion.as_ref()?.value,
        };
        if via.as_str() == DIRECT || *via == host.name { None } else { self.hosts.get(via) }
    }

    /// Returns the hosts on the way to `host`, the outermost first.
    pub fn hops(&self, host: &Host) -> Vec<&Host> {
        let mut hops = Vec::new();
        let mut next = self.via(host);
        // A loop was refused on loading; the length limits it all the same.
        while let Some(hop) = next
            && hops.len() < self.hosts.len()
        {
            hops.push(hop);
            next = self.via(hop);
        }
        hops.reverse();
        hops
    }

    /// Returns how to log in to a host, or `None` for one without an address.
    pub fn ssh(&self, host: &Host) -> Option<SshAccess> {
        let plane = host.plane.as_ref().and_then(|plane| self.planes.get(plane.as_str())).map(|plane| &plane.ssh);
        let layers = [plane, Some(&self.defaults.ssh)];
        let mut layers_with_ca = layers.iter().flatten().filter(|layer| !layer.host_ca.is_empty());
        let authorities = layers_with_ca.next().map(|layer| &layer.host_ca[..]).unwrap_or_default();
        let keys = host.ssh.host_key.iter().map(|key| key.to_string());
        let identities = layers.iter().flatten().find(|layer| !layer.identity.is_empty());
        Some(SshAccess {
            address: host.ssh.address.as_ref()?.value.clone(),
            port: std::iter::once(&host.ssh.port)
                .chain(layers.iter().flatten().map(|layer| &layer.port))
                .find_map(|port| port.as_ref().map(|port| port.value))
                .unwrap_or(22),
            user: std::iter::once(&host.ssh.user)
                .chain(layers.iter().flatten().map(|layer| &layer.user))
                .find_map(|user| user.as_ref().map(|user| user.value.clone())),
            host_keys: keys.chain(authorities.iter().map(|key| format!("@cert-authority {key}"))).collect(),
            known_hosts: layers
                .iter()
                .flatten()
                .find_map(|layer| layer.known_hosts.as_ref())
                .map(|path| self.path(path)),
            identities: identities.map_or_else(Vec::new, |layer| layer.identity.iter().map(|p| self.path(p)).collect()),
        })
    }

    /// Returns a path of the inventory as one that can be opened: relative ones are relative to its folder.
    pub fn path(&self, path: &Utf8Path) -> Utf8PathBuf {
        if path.starts_with("~") { path.to_owned() } else { self.folder.join(path) }
    }

    /// Returns the layers of variables that a host has, the weakest first.
    pub fn layers<'a>(&'a self, host: &'a Host) -> Vec<(Layer, &'a Vars)> {
        let mut layers = vec![(Layer::Defaults, &self.defaults.vars)];
        if let Some((name, site)) = host.site.as_ref().and_then(|site| self.sites.get_key_value(site.as_str())) {
            layers.push((Layer::Site(name.clone()), &site.vars));
        }
        if let Some((name, plane)) = host.plane.as_ref().and_then(|plane| self.planes.get_key_value(plane.as_str())) {
            layers.push((Layer::Plane(name.clone()), &plane.vars));
        }
        for name in &host.groups {
            if let Some(group) = self.groups.get(name) {
                layers.push((Layer::Group(name.clone()), &group.vars));
            }
        }
        layers.push((Layer::Host, &host.vars));
        layers.push((Layer::Set, &self.sets));
        layers
    }

    /// Returns the variables of a host with where each comes from, sorted by name.
    pub fn vars<'a>(&'a self, host: &'a Host) -> IndexMap<&'a str, ResolvedVar<'a>> {
        vars::resolve(self.layers(host))
    }

    /// Returns what templates and conditions of a host see: its variables and, beside them, what the inventory says.
    ///
    /// Secrets are still references. The names of [`vars::RESERVED`] are never those of variables.
    pub fn context(&self, host: &Host) -> JsonMap<String, Json> {
        let mut context = vars::to_json(self.vars(host).into_iter().map(|(name, var)| (name, var.value)));
        let text = |value: Option<&str>| value.map_or(Json::Null, Json::from);
        let mut put = |name: &str, value: Json| {
            context.insert(name.to_owned(), value);
        };
        put("host", Json::from(host.name.as_str()));
        put("site", text(host.site.as_ref().map(|site| site.as_str())));
        put("room", text(host.room.as_ref().map(|room| room.as_str())));
        put("rack", text(host.rack.as_ref().map(|rack| rack.as_str())));
        put("plane", text(host.plane.as_ref().map(|plane| plane.as_str())));
        put("roles", host.roles.iter().map(|role| Json::from(role.as_str())).collect());
        put("groups", host.groups.iter().map(|group| Json::from(group.as_str())).collect());
        put("provided_by", text(host.provided_by.as_ref().map(|by| by.to_string()).as_deref()));
        put("ssh", self.access(host));
        put("record", serde_json::to_value(&host.record).unwrap_or_default());
        put("address", text(self.ssh(host).map(|ssh| ssh.address).as_deref()));
        put("interfaces", self.interfaces(host));
        put("links", self.links(host).into_iter().map(Json::from).collect());
        put("operators", serde_json::to_value(&self.operators).unwrap_or_default());
        context
    }

    /// Returns what templates of other hosts see of a host: what the inventory says of it, without its variables,
    /// which may be secret.
    pub fn lookup(&self, host: &Host) -> Json {
        json!({
            "name": host.name.as_str(),
            "address": host.ssh.address.as_ref().map(|address| address.as_str()),
            "site": host.site.as_ref().map(|site| site.as_str()),
            "room": host.room.as_ref().map(|room| room.as_str()),
            "rack": host.rack.as_ref().map(|rack| rack.as_str()),
            "plane": host.plane.as_ref().map(|plane| plane.as_str()),
            "roles": host.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
            "groups": host.groups,
            "ssh": self.access(host),
            "interfaces": self.interfaces(host),
        })
    }

    /// Returns how a host is logged in to, as templates see it.
    fn access(&self, host: &Host) -> Json {
        let ssh = self.ssh(host);
        json!({
            "address": ssh.as_ref().map(|ssh| &ssh.address),
            "port": ssh.as_ref().map(|ssh| ssh.port),
            "user": ssh.as_ref().and_then(|ssh| ssh.user.as_ref()),
            "via": self.via(host).map(|via| via.name.as_str()),
        })
    }

    fn interfaces(&self, host: &Host) -> Json {
        let interfaces =
            host.interfaces.iter().map(|(name, interface)| (name.value.clone(), self.interface(interface)));
        Json::Object(interfaces.collect())
    }

    /// Returns an interface as templates see it, with what its network says.
    fn interface(&self, interface: &Interface) -> Json {
        let network = self.network_of(interface).map(|(_, network)| network);
        json!({
            "network": interface.network.as_ref().map(|name| name.as_str()),
            "zone": network.map(|network| network.zone.as_str()),
            "address": interface.address.map(|address| address.value),
            "prefix": network.map(|network| network.cidr.prefix_len()),
            "gateway": network.and_then(|network| network.gateway).map(|gateway| gateway.value),
            "vlan": network.and_then(|network| network.vlan.as_ref()).map(|vlan| vlan.value),
            "mtu": interface.mtu.or(network.and_then(|network| network.mtu)).map(|mtu| mtu.value),
            "mac": interface.mac.map(|mac| mac.to_string()),
        })
    }
}
