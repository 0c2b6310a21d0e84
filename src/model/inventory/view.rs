//! The inventory as JSON for other programs: a shape that stays the same.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map as JsonMap, Value as Json};

use super::{Host, Inventory};
use crate::model::vars;

/// The version of [`InventoryView`]; it grows when a field changes its meaning or goes.
pub const VIEW_VERSION: u32 = 1;

/// Whether a view shows the variables of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewVars {
    /// No.
    Hidden,
    /// Yes, with secrets as references.
    Shown,
}

/// The inventory for other programs.
#[derive(Clone, Debug, Serialize)]
pub struct InventoryView<'a> {
    /// The version of this shape.
    pub version: u32,
    /// The hosts, in the order of the inventory.
    pub hosts: Vec<HostView<'a>>,
    /// The networks, in the order of the inventory.
    pub networks: Vec<NetworkView<'a>>,
}

/// A host for other programs.
#[derive(Clone, Debug, Serialize)]
pub struct HostView<'a> {
    /// Its name.
    pub name: &'a str,
    /// The site it stands at.
    pub site: Option<&'a str>,
    /// The room of the site.
    pub room: Option<&'a str>,
    /// The rack of the room.
    pub rack: Option<&'a str>,
    /// The plane it belongs to.
    pub plane: Option<&'a str>,
    /// What it is for.
    pub roles: Vec<&'a str>,
    /// The groups it is in.
    pub groups: Vec<&'a str>,
    /// The resource that makes it.
    pub provided_by: Option<String>,
    /// How to log in, after defaults.
    pub ssh: SshView,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceView<'a>>,
    /// Its variables, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars: Option<JsonMap<String, Json>>,
}

/// How to log in to a host, for other programs.
#[derive(Clone, Debug, Serialize)]
pub struct SshView {
    /// The IP address or DNS name; none for this machine.
    pub address: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// The host to go through.
    pub via: Option<String>,
}

/// An interface for other programs.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceView<'a> {
    /// Its name.
    pub name: &'a str,
    /// The network it is in.
    pub network: Option<&'a str>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The prefix length of the network.
    pub prefix: Option<u8>,
    /// Its hardware address.
    pub mac: Option<String>,
}

/// A network for other programs.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkView<'a> {
    /// Its name.
    pub name: &'a str,
    /// The site it is at.
    pub site: &'a str,
    /// The security zone it belongs to.
    pub zone: &'a str,
    /// Its addresses.
    pub cidr: String,
    /// The address of the router.
    pub gateway: Option<IpAddr>,
    /// The VLAN it is carried in.
    pub vlan: Option<u16>,
    /// The largest packet.
    pub mtu: Option<u32>,
}

impl Inventory {
    /// Returns the inventory for other programs.
    pub fn view(&self, vars: ViewVars) -> InventoryView<'_> {
        self.view_of(self.hosts.values(), vars)
    }

    /// Returns the inventory for other programs, with only some of its hosts.
    pub fn view_of<'a>(&'a self, hosts: impl IntoIterator<Item = &'a Host>, vars: ViewVars) -> InventoryView<'a> {
        let networks = self.networks.iter().map(|(name, network)| NetworkView {
            name: name.as_str(),
            site: network.site.as_str(),
            zone: network.zone.as_str(),
            cidr: network.cidr.to_string(),
            gateway: network.gateway.map(|gateway| gateway.value),
            vlan: network.vlan.map(|vlan| vlan.value),
            mtu: network.mtu.map(|mtu| mtu.value),
        });
        InventoryView {
            version: VIEW_VERSION,
            hosts: hosts.into_iter().map(|host| self.host_view(host, vars)).collect(),
            networks: networks.collect(),
        }
    }

    fn host_view<'a>(&'a self, host: &'a Host, with_vars: ViewVars) -> HostView<'a> {
        let ssh = self.ssh(host);
        let interfaces = host.interfaces.iter().map(|(name, interface)| InterfaceView {
            name,
            network: interface.network.as_ref().map(|network| network.as_str()),
            address: interface.address.map(|address| address.value),
            prefix: self.network_of(interface).map(|(_, network)| network.cidr.prefix_len()),
            mac: interface.mac.map(|mac| mac.to_string()),
        });
        HostView {
            name: host.name.as_str(),
            site: host.site.as_ref().map(|site| site.as_str()),
            room: host.room.as_ref().map(|room| room.as_str()),
            rack: host.rack.as_ref().map(|rack| rack.as_str()),
            plane: host.plane.as_ref().map(|plane| plane.as_str()),
            roles: host.roles.iter().map(|role| role.as_str()).collect(),
            groups: host.groups.iter().map(|group| group.as_str()).collect(),
            provided_by: host.provided_by.as_ref().map(|by| by.to_string()),
            ssh: SshView {
                port: ssh.as_ref().map(|ssh| ssh.port),
                user: ssh.as_ref().and_then(|ssh| ssh.user.clone()),
                address: ssh.map(|ssh| ssh.address),
                via: self.via(host).map(|via| via.name.to_string()),
            },
            interfaces: interfaces.collect(),
            vars: (with_vars == ViewVars::Shown)
                .then(|| vars::to_json(self.vars(host).into_iter().map(|(name, var)| (name, var.value)))),
        }
    }
}
