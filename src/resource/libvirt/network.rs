//! `libvirt.network`: a virtual network of a hypervisor's, as it is stored and as it runs.
//!
//! The definition is owned as a whole: an address, a name or a `<dns>` that somebody has added by hand is a
//! difference. The UUID, the bridge's MAC, its spanning tree, a bridge that libvirt has named itself, and the ports that it
//! translates by default are libvirt's own and stay.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::xml::Element;
use super::{Found, RunState, VirtName, define, differences, differing, find, reason, virsh};
use crate::change::{Action, AttributeChange, Attributes, Change, Step};
use crate::resource::parts::listed;
use crate::resource::read::{Answers, Query, Virt};
use crate::resource::{Kind, ObserveError, SpecProblem};
use crate::shell::Script;

/// A virtual network of a hypervisor's, with what libvirt serves on it.
///
/// A changed definition is stored at once. While the network runs, DHCP's ranges and hosts change live; anything else
/// needs a restart of the network, which cuts off the guests that are on it until they are connected anew. So that is
/// done by itself only where no guest is on it. Otherwise the stored definition is as wanted and counts as such, the plan
/// says with which one the network runs, and `on_change: restart` has it restarted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LibvirtNetwork {
    /// Its name, which guests refer to.
    name: VirtName,
    /// Where its guests' traffic may go: nowhere (`isolated`), out through the host (`nat`, `route`, `open`), or onto a
    /// bridge that the host has already (`bridge`). With `open` libvirt makes no firewall rules.
    #[serde(default)]
    forward: Forward,
    /// The only interface that traffic may leave the host by; any where none is given.
    #[serde(default)]
    device: Option<String>,
    /// The bridge. With `forward: bridge` it is one that the host has; otherwise libvirt makes it, and names it itself where
    /// no name is given.
    #[serde(default)]
    bridge: Option<String>,
    /// The host's own addresses on it with the length of their prefix, such as `10.9.1.1/24`.
    #[serde(default)]
    addresses: Vec<String>,
    /// What is given out by DHCP; nothing where it is left out.
    #[serde(default)]
    dhcp: Option<Dhcp>,
    /// The domain of its names. Questions for names in it go to no other server.
    #[serde(default)]
    domain: Option<String>,
    /// Whether libvirt answers questions for names on its addresses.
    #[serde(default = "yes")]
    dns: bool,
    /// The size of the largest packet.
    #[serde(default)]
    mtu: Option<u32>,
    /// Whether it is started with the host.
    #[serde(default = "yes")]
    autostart: bool,
    /// What is done when a running network must change in a way that it cannot while it runs.
    #[serde(default)]
    on_change: OnChange,
    /// `running`, `stopped` or `absent`.
    #[serde(default)]
    state: RunState,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Forward {
    #[default]
    Isolated,
    Nat,
    Route,
    Open,
    Bridge,
}

impl Forward {
    fn word(self) -> &'static str {
        match self {
            Forward::Isolated => "isolated",
            Forward::Nat => "nat",
            Forward::Route => "route",
            Forward::Open => "open",
            Forward::Bridge => "bridge",
        }
    }
}

/// What is done when something that runs must change in a way that it cannot while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnChange {
    /// It waits for the next start, unless nobody would notice.
    #[default]
    Live,
    /// It is stopped and started.
    Restart,
}

/// What is given out by DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dhcp {
    /// Addresses for anybody, from the first to the last, such as `10.9.1.100-10.9.1.199`.
    #[serde(default)]
    ranges: Vec<String>,
    /// Addresses that are kept for one guest.
    #[serde(default)]
    hosts: Vec<DhcpHost>,
}

/// An address that is kept for one guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DhcpHost {
    /// The MAC address of its interface.
    mac: String,
    /// Its address.
    address: String,
    /// Its name.
    #[serde(default)]
    name: Option<String>,
}

/// A network as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedNetwork {
    stored: Option<Attributes>,
    live: Option<Attributes>,
    autostart: bool,
    /// Whether a guest is on it.
    is_used: bool,
    #[serde(skip)]
    found: Option<Found>,
}

/// What can change while the network runs.
const LIVE: [&str; 2] = ["dhcp_hosts", "dhcp_ranges"];

/// Elements that are described or libvirt's own; any other was added by hand.
const KNOWN: [&str; 10] =
    ["name", "uuid", "title", "description", "metadata", "forward", "bridge", "mtu", "mac", "domain"];

/// Returns what a definition says, without what is libvirt's own.
fn view(network: &Element) -> Attributes {
    let mut view = Attributes::new();
    let mut set = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            view.insert(name.to_owned(), value);
        }
    };
    let forward = network.find("forward");
    let mode = forward.map_or("isolated", |forward| forward.get("mode").unwrap_or("nat"));
    set("forward", Some(json!(mode)));
    let device = forward.and_then(|f| f.get("dev").or_else(|| f.get_at("interface", "dev")));
    set("device", device.map(|device| json!(device)));
    set("bridge", network.get_at("bridge", "name").map(|name| json!(name)));
    set("mtu", network.get_at("mtu", "size").and_then(|size| size.parse::<u32>().ok()).map(|size| json!(size)));
    set("domain", network.get_at("domain", "name").map(|name| json!(name)));
    set("dns", Some(json!(network.get_at("dns", "enable") != Some("no"))));
    let mut addresses = BTreeSet::new();
    let (mut ranges, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for ip in network.all("ip") {
        addresses.extend(address_of(ip).map(|address| address.to_string()));
        for dhcp in ip.all("dhcp") {
            ranges.extend(dhcp.all("range").map(|range| {
                format!("{}-{}", range.get("start").unwrap_or_default(), range.get("end").unwrap_or_default())
            }));
            hosts.extend(dhcp.all("host").map(|host| {
                let words = [host.get("mac").or_else(|| host.get("id")), host.get("ip"), host.get("name")];
                words.into_iter().flatten().collect::<Vec<_>>().join(" ").to_lowercase()
            }));
        }
    }
    set("addresses", Some(json!(addresses)));
    set("dhcp_ranges", Some(json!(ranges)));
    set("dhcp_hosts", Some(json!(hosts)));
    let mut others: BTreeSet<&str> = network.children.iter().map(|child| child.name.as_str()).collect();
    others.retain(|name| !KNOWN.contains(name) && !matches!(*name, "ip" | "dns"));
    if network.find("dns").is_some_and(|dns| !dns.children.is_empty()) {
        others.insert("dns");
    }
    set("others", (!others.is_empty()).then(|| json!(others)));
    view
}

fn address_of(ip: &Element) -> Option<IpNet> {
    let address: IpAddr = ip.get("address")?.parse().ok()?;
    let prefix = match (ip.get("prefix"), ip.get("netmask"), address) {
        (Some(prefix), _, _) => prefix.parse().ok()?,
        (None, Some(mask), _) => ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok()?,
        // What libvirt takes it for.
        (None, None, IpAddr::V4(address)) => match address.octets() {
            [0..=127, ..] => 8,
            [128..=191, ..] => 16,
            _ => 24,
        },
        (None, None, IpAddr::V6(_)) => 64,
    };
    IpNet::new(address, prefix).ok()
}

impl LibvirtNetwork {
    fn virt(&self) -> Virt {
        Virt::Network(self.name.0.clone())
    }

    fn nets(&self) -> impl Iterator<Item = IpNet> {
        self.addresses.iter().filter_map(|text| text.parse().ok())
    }

    fn ip_elements(&self) -> Vec<Element> {
        let mut dhcp = self.dhcp.as_ref();
        self.nets()
            .map(|net| {
                let mut ip = Element::new("ip");
                if net.addr().is_ipv6() {
                    ip = ip.with("family", "ipv6");
                }
                ip = ip.with("address", &net.addr().to_string()).with("prefix", &net.prefix_len().to_string());
                // libvirt gives out addresses of one IPv4 network only.
                match dhcp.take_if(|_| net.addr().is_ipv4()) {
                    Some(dhcp) => ip.child(dhcp.element()),
                    None => ip,
                }
            })
            .collect()
    }

    /// Returns the definition that is wanted, made from the one that is there.
    fn element(&self, base: Option<&Element>) -> Element {
        let mut network = base.cloned().unwrap_or_else(|| Element::new("network"));
        network.attributes.shift_remove("connections");
        if network.find("name").is_none() {
            network.children.insert(0, Element::of_text("name", self.name.as_str()));
        }
        network.children.retain(|child| KNOWN.contains(&child.name.as_str()));
        let was = network.get_at("forward", "mode").map(str::to_owned);
        let keeps_bridge = was.as_deref() != Some("bridge") && self.forward != Forward::Bridge;
        if was.as_deref() != Some(self.forward.word()) || network.get_at("forward", "dev") != self.device.as_deref() {
            let forward = Element::new("forward").with("mode", self.forward.word());
            let forward = forward.with_some("dev", self.device.as_deref());
            network.replace("forward", (self.forward != Forward::Isolated).then_some(forward).into_iter().collect());
        }
        let mut bridge = network.find("bridge").filter(|_| keeps_bridge).cloned();
        if !keeps_bridge {
            network.remove("mac");
        }
        if let Some(name) = &self.bridge {
            bridge.get_or_insert_with(|| Element::new("bridge")).attributes.insert("name".to_owned(), name.clone());
        }
        network.replace("bridge", bridge.into_iter().collect());
        let mtu = self.mtu.map(|mtu| Element::new("mtu").with("size", &mtu.to_string()));
        network.replace("mtu", mtu.into_iter().collect());
        let domain =
            self.domain.as_ref().map(|name| Element::new("domain").with("name", name).with("localOnly", "yes"));
        network.replace("domain", domain.into_iter().collect());
        if !self.dns {
            network.children.push(Element::new("dns").with("enable", "no"));
        }
        network.children.extend(self.ip_elements());
        network
    }

    fn unmanaged(&self) -> &'static [&'static str] {
        if self.bridge.is_none() { &["bridge"] } else { &[] }
    }

    fn desired(&self) -> Attributes {
        view(&self.element(None))
    }

    fn define_step(&self, title: String, definition: &Element) -> Step {
        define(title, "net-define", definition)
    }

    fn autostart_step(&self, on: bool) -> Step {
        autostart(&self.name, on)
    }

    fn start_step(&self) -> Step {
        Step::new(format!("start the network {}", self.name), virsh(["net-start", self.name.as_str()]))
    }

    fn stop_step(&self) -> Step {
        Step::new(format!("stop the network {}", self.name), virsh(["net-destroy", self.name.as_str()]))
    }

    fn restart_step(&self) -> Step {
        let script = virsh(["net-destroy", self.name.as_str()]).then(virsh(["net-start", self.name.as_str()]));
        Step::new(format!("restart the network {}", self.name), script)
    }

    fn create(&self) -> Change {
        let mut desired = self.desired();
        if self.bridge.is_none() {
            desired.remove("bridge");
        }
        desired.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        desired.insert("autostart".into(), json!(self.autostart));
        desired.insert("state".into(), json!(self.state.word()));
        let name = &self.name;
        let mut change = Change::create(self.id(), &desired)
            .step(self.define_step(format!("define the network {name}"), &self.element(None)));
        let mut reverse = vec![undefine(name)];
        if self.autostart {
            change = change.step(self.autostart_step(true));
        }
        if self.state == RunState::Running {
            change = change.step(self.start_step());
            reverse.insert(0, stop_if_active(name));
        }
        change.reversed_by(reverse)
    }

    fn update(&self, observed: &ObservedNetwork, found: &Found) -> Change {
        let name = &self.name;
        let desired = self.desired();
        let mut attributes = Vec::new();
        let (mut steps, mut reverse) = (Vec::new(), Vec::new());
        let stored = observed.stored.as_ref();
        let stored_differences = match stored {
            Some(stored) => differences(stored, &desired, self.unmanaged()),
            None => vec![differing("stored", false, true)],
        };
        if !stored_differences.is_empty() {
            let definition = self.element(found.base());
            steps.push(self.define_step(format!("define the network {name}"), &definition));
            reverse.push(match &found.stored {
                Some(former) => self.define_step(format!("define the network {name} as it was"), former),
                None => undefine(name),
            });
        }
        attributes.extend(stored_differences);
        if observed.autostart != self.autostart {
            attributes.push(differing("autostart", observed.autostart, self.autostart));
            steps.push(self.autostart_step(self.autostart));
            if found.stored.is_some() {
                reverse.insert(0, self.autostart_step(observed.autostart));
            }
        }
        let mut waiting = Vec::new();
        let mut is_lost = false;
        match (&observed.live, self.state) {
            (None, RunState::Running) => {
                attributes.push(differing("state", "stopped", "running"));
                steps.push(self.start_step());
                reverse.insert(0, self.stop_step());
            }
            (Some(_), RunState::Stopped) => {
                attributes.push(differing("state", "running", "stopped"));
                steps.push(self.stop_step());
                reverse.push(self.start_step());
            }
            (Some(live), RunState::Running) => {
                let differing = differences(live, &desired, self.unmanaged());
                let (now, later): (Vec<_>, Vec<_>) =
                    differing.into_iter().partition(|a| LIVE.contains(&a.name.as_str()));
                let restarts = !later.is_empty() && (self.on_change == OnChange::Restart || !observed.is_used);
                let is_stored = |a: &AttributeChange| attributes.iter().any(|stored| stored.name == a.name);
                let acted: Vec<AttributeChange> = if restarts {
                    now.iter().chain(&later).filter(|a| !is_stored(a)).cloned().collect()
                } else {
                    now.iter().filter(|a| !is_stored(a)).cloned().collect()
                };
                if restarts {
                    is_lost = later.iter().any(|a| !is_stored(a));
                    steps.push(self.restart_step());
                    reverse.push(self.restart_step());
                } else if let Some(live) = found.live.as_ref().filter(|_| !now.is_empty()) {
                    let wanted = self.element(None);
                    let title = format!("give the running network {name} its DHCP");
                    steps.push(update_step(name, &title, live, &wanted));
                    let title = format!("give the running network {name} its former DHCP");
                    reverse.push(update_step(name, &title, &wanted, live));
                }
                attributes.extend(acted.into_iter().map(|mut attribute| {
                    attribute.name = format!("live.{}", attribute.name);
                    attribute
                }));
                if !restarts {
                    waiting = later;
                }
            }
            (None, _) | (Some(_), RunState::Absent) => {}
        }
        let waits = (!waiting.is_empty()).then(|| {
            let names: Vec<&str> = waiting.iter().map(|attribute| attribute.name.as_str()).collect();
            format!("it runs with another {} until its next start, because guests are on it", listed(&names))
        });
        if steps.is_empty() {
            let reason = format!("it is {} and defined as wanted", self.state.word());
            return Change::no_op(self.id(), reason).noting(waits);
        }
        let mut change = Change::no_op(self.id(), reason(&attributes)).noting(waits);
        change.action = Action::Update;
        change.attributes = attributes;
        change.steps = steps;
        if is_lost {
            change.irreversible("the definition that it ran with is stored nowhere")
        } else {
            change.reversed_by(reverse)
        }
    }

    fn delete(&self, observed: &ObservedNetwork, found: &Found) -> Change {
        let name = &self.name;
        let view = observed.stored.as_ref().or(observed.live.as_ref()).cloned().unwrap_or_default();
        let mut change = Change::delete(self.id(), &view);
        let mut reverse = Vec::new();
        if found.live.is_some() {
            change = change.step(self.stop_step());
        }
        if let Some(stored) = &found.stored {
            change = change.step(undefine(name));
            reverse.push(self.define_step(format!("define the network {name} as it was"), stored));
            if found.autostart {
                reverse.push(self.autostart_step(true));
            }
            if found.live.is_some() {
                reverse.push(self.start_step());
            }
        } else if let Some(live) = &found.live {
            let mut live = live.clone();
            live.attributes.shift_remove("connections");
            reverse.push(define(format!("make the network {name} as it was"), "net-create", &live));
        }
        if observed.is_used {
            change.reason = "it must not be there; guests are on it, and are cut off".to_owned();
        }
        change.reversed_by(reverse)
    }
}

impl Dhcp {
    fn element(&self) -> Element {
        let ranges = self.ranges.iter().filter_map(|range| {
            let (start, end) = range.split_once('-')?;
            Some(Element::new("range").with("start", start.trim()).with("end", end.trim()))
        });
        let hosts = self.hosts.iter().map(|host| {
            let element = Element::new("host").with("mac", &host.mac.to_lowercase());
            element.with_some("name", host.name.as_deref()).with("ip", &host.address)
        });
        Element::new("dhcp").and(ranges).and(hosts)
    }
}

fn autostart(name: &VirtName, on: bool) -> Step {
    if on {
        Step::new(format!("start the network {name} with the host"), virsh(["net-autostart", name.as_str()]))
    } else {
        let script = virsh(["net-autostart", "--disable", name.as_str()]);
        Step::new(format!("no longer start the network {name} with the host"), script)
    }
}

fn undefine(name: &VirtName) -> Step {
    Step::new(format!("undefine the network {name}"), virsh(["net-undefine", name.as_str()]))
}

/// Stops a network that a run may have died before it started.
fn stop_if_active(name: &VirtName) -> Step {
    let script = virsh(["net-destroy", name.as_str()]);
    Step::new(format!("stop the network {name}"), crate::sh!("{} 2>&1 || :", script))
}

/// Returns the step that brings DHCP of a running network from one definition to another.
fn update_step(name: &VirtName, title: &str, from: &Element, to: &Element) -> Step {
    let entries = |network: &Element, tag: &str| -> Vec<Element> {
        let dhcp = network.all("ip").filter_map(|ip| ip.find("dhcp"));
        dhcp.flat_map(|dhcp| dhcp.all(tag).cloned().collect::<Vec<_>>()).collect()
    };
    let mut script = Script::default();
    for (tag, section) in [("host", "ip-dhcp-host"), ("range", "ip-dhcp-range")] {
        let (old, new) = (entries(from, tag), entries(to, tag));
        let calls = old.iter().filter(|entry| !new.contains(entry)).map(|entry| ("delete", entry));
        let calls = calls.chain(new.iter().filter(|entry| !old.contains(entry)).map(|entry| ("add-last", entry)));
        for (verb, entry) in calls {
            let xml = entry.render();
            script.push(&virsh(["net-update", name.as_str(), verb, section, xml.trim(), "--live"]));
        }
    }
    Step::new(title, script)
}

impl Kind for LibvirtNetwork {
    const NAME: &'static str = "libvirt.network";
    const SUMMARY: &'static str = "A virtual network of a hypervisor's, as it is stored and as it runs";
    const EXAMPLE: &'static str = r#"- libvirt.network: {name: par1-control, forward: bridge, bridge: br-control}
- libvirt.network:
    name: build
    forward: nat
    bridge: virbr-build
    addresses: [10.9.1.1/24]
    dhcp:
      ranges: [10.9.1.100-10.9.1.199]
      hosts: [{mac: "52:54:00:09:01:0a", address: 10.9.1.10, name: runner-1}]
    domain: build.example
- libvirt.network: {name: default, state: absent}
"#;

    type Observed = ObservedNetwork;

    fn name(&self) -> String {
        self.name.0.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let mut problem = |field: &'static str, message: String, help: &str| {
            let problem = SpecProblem::new(field, message);
            problems.push(if help.is_empty() { problem } else { problem.help(help) });
        };
        for (field, interface) in [("bridge", &self.bridge), ("device", &self.device)] {
            let Some(name) = interface else { continue };
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            if name.is_empty() || name.len() > 15 || !name.chars().all(is_plain) {
                problem(field, format!("{name:?} is not the name of an interface"), "it has 15 characters at the most");
            }
        }
        for address in &self.addresses {
            if address.parse::<IpNet>().is_err() {
                let message = format!("{address:?} is not an address with the length of its prefix");
                problem("addresses", message, "write it as `10.9.1.1/24`");
            }
        }
        match self.forward {
            Forward::Bridge => {
                if self.bridge.is_none() && self.state != RunState::Absent {
                    problem("bridge", "there is no bridge to forward to".to_owned(), "name a bridge that the host has");
                }
                let given = [
                    ("addresses", !self.addresses.is_empty()),
                    ("dhcp", self.dhcp.is_some()),
                    ("domain", self.domain.is_some()),
                    ("device", self.device.is_some()),
                    ("mtu", self.mtu.is_some()),
                ];
                for (field, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                    problem(
                        field,
                        "libvirt leaves a bridge of the host's as it is".to_owned(),
                        "set it on the bridge itself",
                    );
                }
            }
            Forward::Isolated if self.device.is_some() => {
                problem("device", "nothing leaves an isolated network".to_owned(), "");
            }
            Forward::Nat | Forward::Route if self.addresses.is_empty() && self.state != RunState::Absent => {
                problem("addresses", format!("with `forward: {}` the host needs an address", self.forward.word()), "");
            }
            _ => {}
        }
        if self.forward == Forward::Open && self.device.is_some() {
            problem("device", "with `forward: open` libvirt lets traffic leave by any interface".to_owned(), "");
        }
        if let Some(dhcp) = &self.dhcp {
            let net = self.nets().find(|net| net.addr().is_ipv4());
            if net.is_none() {
                problem("dhcp", "there is no IPv4 address of the host's to give out addresses by".to_owned(), "");
            }
            let is_outside = |text: &str| {
                let address = text.trim().parse::<IpAddr>().ok();
                address.is_none_or(|address| net.is_some_and(|net| !net.contains(&address)))
            };
            for range in &dhcp.ranges {
                let ends = range.split_once('-').filter(|(start, end)| !is_outside(start) && !is_outside(end));
                let in_order = |(start, end): (&str, &str)| {
                    start.trim().parse::<IpAddr>().ok() <= end.trim().parse::<IpAddr>().ok()
                };
                if !ends.is_some_and(in_order) {
                    let message = format!("{range:?} is not a range of addresses of the network");
                    problem("dhcp", message, "write the first and the last: `10.9.1.100-10.9.1.199`");
                }
            }
            let mut seen = BTreeSet::new();
            for host in &dhcp.hosts {
                if !is_mac(&host.mac) {
                    problem("dhcp", format!("{:?} is not a MAC address", host.mac), "write it as `52:54:00:09:01:0a`");
                }
                if is_outside(&host.address) {
                    problem("dhcp", format!("{:?} is not an address of the network", host.address), "");
                }
                if !seen.insert(host.mac.to_lowercase()) | !seen.insert(host.address.clone()) {
                    problem("dhcp", format!("{} is given twice", host.mac), "");
                }
                if host.name.as_deref().is_some_and(|name| !is_host_name(name)) {
                    problem("dhcp", format!("{:?} is not the name of a host", host.name.as_deref().unwrap_or("")), "");
                }
            }
        }
        if self.domain.as_deref().is_some_and(|domain| !is_host_name(domain)) {
            problem("domain", format!("{:?} is not a domain", self.domain.as_deref().unwrap_or_default()), "");
        }
        if self.mtu.is_some_and(|mtu| !(68..=65535).contains(&mtu)) {
            problem("mtu", "it is between 68 and 65535".to_owned(), "");
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Virt(self.virt())]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedNetwork, ObserveError> {
        let found = find(self, &self.virt(), answers)?;
        let live = found.as_ref().and_then(|found| found.live.as_ref());
        Ok(ObservedNetwork {
            stored: found.as_ref().and_then(|found| found.stored.as_ref()).map(view),
            live: live.map(view),
            autostart: found.as_ref().is_some_and(|found| found.autostart),
            // What cannot be told counts as used.
            is_used: live.is_some() && answers.libvirt().get(&self.virt()).is_some_and(|state| !state.ports.is_empty()),
            found,
        })
    }

    fn diff(&self, observed: &ObservedNetwork) -> Change {
        match (&observed.found, self.state) {
            (None, RunState::Absent) => Change::no_op(self.id(), "it is not there, as wanted"),
            (None, _) => self.create(),
            (Some(found), RunState::Absent) => self.delete(observed, found),
            (Some(found), _) => self.update(observed, found),
        }
    }
}

/// Returns whether a text is a MAC address of a single interface.
pub(super) fn is_mac(text: &str) -> bool {
    let bytes: Vec<Option<u8>> =
        text.split(':').map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten()).collect();
    bytes.len() == 6
        && bytes.iter().all(Option::is_some)
        && bytes.first().is_some_and(|first| first.is_some_and(|first| first & 1 == 0))
        && !text.contains('+')
}

pub(super) fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.len() < 254 && text.split('.').all(is_label)
}
