//! What rules look at: the inventory with what many of them ask of it, worked out once.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use camino::Utf8Path;
use jiff::civil::Date;
use serde_json::Value;

use super::live::Live;
use super::network::LiveNetwork;
use super::rule::Lang;
use crate::addr::HostName;
use crate::diag::{FileId, Span};
use crate::model::inventory::{Flow, Host, Interface, Inventory, Nature, Network};
use crate::model::node::Spanned;
use crate::model::selector::Selector;

/// What a playbook would write on hosts.
#[derive(Debug, Default)]
pub struct Playbook<'a> {
    /// Templates and files as they stand in the project.
    pub sources: Vec<SourceText<'a>>,
    /// The resources that rules look into.
    pub resources: Vec<Written<'a>>,
    /// Whether these are all; not where `--limit` or tags leave some out.
    pub is_whole: bool,
}

/// A template or a file as it stands in the project.
#[derive(Clone, Debug)]
pub struct SourceText<'a> {
    /// Its number among the loaded files.
    pub file: FileId,
    /// Its name in the project's folder, as a task gives it.
    pub name: &'a Utf8Path,
    /// Its text.
    pub text: &'a str,
}

/// A resource of a playbook on one host.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// The host.
    pub host: &'a HostName,
    /// The kind.
    pub kind: &'a str,
    /// The name.
    pub name: &'a str,
    /// The arguments, with everything rendered.
    pub spec: Arc<Value>,
    /// What is written, where that is text and known without the host.
    pub text: Option<Arc<str>>,
    /// The task.
    pub span: Span,
}

/// Everything that a check may look at.
pub(super) struct Cx<'a> {
    pub inventory: &'a Inventory,
    pub playbook: Option<&'a Playbook<'a>>,
    /// What the network of the hosts really is, where they were asked.
    pub network: Option<&'a LiveNetwork>,
    /// What the hosts themselves are like, where they were asked.
    pub live: Option<&'a Live>,
    pub today: Date,
    pub lang: Lang,
    /// The hosts, by position.
    pub hosts: Vec<&'a Host>,
    /// For each host the machine that it runs on: itself, or the one that makes it, or the one that makes that.
    pub machines: Vec<usize>,
    /// The planes that are the control plane.
    control_planes: HashSet<&'a str>,
    /// For each host whether a waiver says that it passes packets on.
    forwarders: Vec<bool>,
    /// For each network the hosts in it.
    in_network: HashMap<&'a str, Vec<Member<'a>>>,
    /// For each selector that was asked for, which hosts it means.
    selected: RefCell<HashMap<String, Vec<bool>>>,
}

/// A host's interface in a network.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub host: usize,
    pub name: &'a Spanned<String>,
    pub interface: &'a Interface,
}

impl<'a> Cx<'a> {
    pub(super) fn new(
        inventory: &'a Inventory,
        playbook: Option<&'a Playbook<'a>>,
        today: Date,
        lang: Lang,
        forwarders: Vec<bool>,
    ) -> Self {
        let hosts: Vec<&Host> = inventory.hosts.values().collect();
        let machines = (0..hosts.len()).map(|at| machine(inventory, at)).collect();
        let mut control_planes: HashSet<&str> = inventory
            .planes
            .iter()
            .filter(|(_, plane)| plane.nature.as_ref().is_some_and(|nature| nature.value == Nature::Control))
            .map(|(name, _)| name.as_str())
            .collect();
        if control_planes.is_empty() {
            control_planes.extend(inventory.planes.get_key_value("control").map(|(name, _)| name.as_str()));
        }
        let mut in_network: HashMap<&str, Vec<Member<'a>>> = HashMap::with_capacity(inventory.networks.len());
        for (at, host) in hosts.iter().enumerate() {
            for (name, interface) in &host.interfaces {
                if let Some(network) = &interface.network {
                    in_network.entry(network.as_str()).or_default().push(Member { host: at, name, interface });
                }
            }
        }
        Self {
            inventory,
            playbook,
            network: None,
            live: None,
            today,
            lang,
            hosts,
            machines,
            control_planes,
            forwarders,
            in_network,
            selected: RefCell::default(),
        }
    }

    /// Returns a host.
    pub(super) fn host(&self, at: usize) -> Option<&'a Host> {
        self.hosts.get(at).copied()
    }

    /// Returns the hosts with their positions.
    pub(super) fn each_host(&self) -> impl Iterator<Item = (usize, &'a Host)> + '_ {
        self.hosts.iter().copied().enumerate()
    }

    /// Returns the position of a host.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.inventory.hosts.get_index_of(name)
    }

    /// Returns the machine that a host runs on.
    pub(super) fn machine(&self, at: usize) -> usize {
        self.machines.get(at).copied().unwrap_or(at)
    }

    /// Returns whether a plane is the control plane.
    pub(super) fn is_control_plane(&self, plane: &str) -> bool {
        self.control_planes.contains(plane)
    }

    /// Returns whether a host belongs to the control plane.
    pub(super) fn is_control(&self, host: &Host) -> bool {
        plane_of(host).is_some_and(|plane| self.is_control_plane(plane))
    }

    /// Returns whether a host passes packets from one of its networks to another.
    pub(super) fn forwards(&self, at: usize) -> bool {
        self.forwarders.get(at).copied().unwrap_or_default()
            || self
                .host(at)
                .is_some_and(|host| !host.forwards.is_empty() || ROUTERS.iter().any(|role| host.has_role(role)))
    }

    /// Returns the hosts in a network.
    pub(super) fn members(&self, network: &str) -> &[Member<'a>] {
        self.in_network.get(network).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns what a network is for.
    pub(super) fn nature_of(&self, network: &Network) -> Option<Nature> {
        self.inventory.zones.get(network.zone.as_str()).map(|zone| zone.nature.value)
    }

    /// Returns what the network of an interface is for.
    pub(super) fn nature(&self, interface: &Interface) -> Option<Nature> {
        self.inventory.network_of(interface).and_then(|(_, network)| self.nature_of(network))
    }

    /// Returns the networks that a name in a flow stands for: those of a zone, or itself.
    pub(super) fn networks_named(&self, name: &str) -> Vec<(&'a str, &'a Spanned<Network>)> {
        let all = self.inventory.networks.iter();
        all.filter(|(network, found)| network.as_str() == name || found.zone.as_str() == name)
            .map(|(name, network)| (name.as_str(), network))
            .collect()
    }

    /// Returns whether a host stands where a name in a flow leads.
    pub(super) fn receives(&self, at: usize, name: &str) -> bool {
        let networks = self.host(at).into_iter().flat_map(|host| host.interfaces.values());
        let mut networks = networks.filter_map(|interface| self.inventory.network_of(interface));
        networks.any(|(network, found)| network.as_str() == name || found.zone.as_str() == name)
    }

    /// Returns whether a selector means a host; one that is not there means all.
    pub(super) fn is_meant(&self, selector: Option<&Spanned<String>>, at: usize) -> bool {
        let Some(text) = selector else { return true };
        let mut selected = self.selected.borrow_mut();
        let chosen = selected.entry(text.value.clone()).or_insert_with(|| {
            let parsed = Selector::parse(text).ok();
            parsed.and_then(|selector| selector.matches(self.inventory).ok()).unwrap_or_default()
        });
        chosen.get(at).copied().unwrap_or_default()
    }

    /// Returns the zone that a name in a flow stands for or lies in.
    pub(super) fn zone_named(&self, name: &str) -> Option<(&'a str, Nature)> {
        let zone = match self.inventory.networks.get(name) {
            Some(network) => network.zone.as_str(),
            None => name,
        };
        self.inventory.zones.get_key_value(zone).map(|(name, zone)| (name.as_str(), zone.nature.value))
    }
}

/// The roles whose hosts pass packets on.
const ROUTERS: [&str; 3] = ["router", "gateway", "firewall"];

/// Returns the plane of a host.
pub(super) fn plane_of(host: &Host) -> Option<&str> {
    host.plane.as_ref().map(|plane| plane.as_str())
}

/// Returns a subject: what a finding is about.
pub(super) fn subject(section: &str, name: impl std::fmt::Display) -> String {
    format!("{section}.{name}")
}

/// Returns what names a flow: its reason.
pub(super) fn flow_subject(flow: &Flow) -> String {
    subject("flows", &flow.why)
}

/// Follows `provided_by` to the machine at the bottom. A circle was refused on loading.
fn machine(inventory: &Inventory, start: usize) -> usize {
    let mut at = start;
    for _ in 0..16 {
        let below = inventory.hosts.get_index(at).and_then(|(_, host)| host.provided_by.as_ref());
        match below.and_then(|by| inventory.hosts.get_index_of(by.host.as_str())) {
            Some(below) => at = below,
            None => break,
        }
    }
    at
}
