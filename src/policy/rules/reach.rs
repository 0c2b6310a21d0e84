//! What can be reached, hop by hop: from public, customers' and foreign zones, over flows, hosts that stand in several
//! zones, hosts that pass packets on, bastions and hypervisors.
//!
//! An edge means "who has this can get there". Who reaches a host is taken to have it: the question is not whether a
//! service has a hole, but what a hole would open. In our own zones a neighbour is held off by the firewall, and only a
//! flow leads on; in a public or customers' zone the neighbours are not ours, and a host that also stands elsewhere is
//! within their reach.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::diag::{Label, Span};
use crate::graph::{VertexId, Ways};
use crate::model::inventory::{Country, Flow, Nature};
use crate::model::node::Spanned;
use crate::policy::cx::{Cx, flow_subject, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "SNC-9.6.d",
    pack: Pack::Separation,
    level: Level::Error,
    kind: Kind::S,
    needs: Needs::Inventory,
    also: &["SNC-9.7.a", "SNC-9.7.c", "SNC-13.2.e"],
    text: Words {
        en: "no path leads from a public, customers' or foreign zone to the control plane or an administration interface",
        fr: "aucun chemin ne mène d'une zone publique, de clients ou étrangère au plan de contrôle ou à une interface \
             d'administration",
    },
    check,
}];

/// A vertex.
enum At<'a> {
    /// Whoever is in a zone, or an endpoint.
    Somebody { name: &'a str },
    /// Some hosts of a zone or network, on their way to a flow or from one; never shown.
    Some,
    /// One `to` of a flow.
    Flow { flow: &'a Spanned<Flow>, to: &'a str, target: Target },
    /// A host.
    Host { host: usize, is_control: bool },
}

/// What of a flow's far side must not be reached.
struct Target {
    hosts: Vec<usize>,
    nature: Option<Nature>,
}

impl Target {
    fn is_forbidden(&self) -> bool {
        !self.hosts.is_empty() || matches!(self.nature, Some(Nature::Administration | Nature::Control))
    }
}

/// What opens an edge; none for the inner ones, which are not shown.
type Opener = Option<(Span, String)>;

struct Map<'c, 'a> {
    cx: &'c Cx<'a>,
    ways: Ways<At<'a>, Opener>,
    zones: HashMap<&'a str, VertexId>,
    endpoints: HashMap<&'a str, VertexId>,
    hosts: Vec<VertexId>,
    /// Hosts of a zone or network that a selector leaves, on their way out and in.
    senders: HashMap<(&'a str, &'a str), VertexId>,
    receivers: HashMap<(&'a str, &'a str), VertexId>,
}

fn check(cx: &Cx<'_>, found: &mut Found) {
    let sources = sources(cx);
    if sources.is_empty() {
        return;
    }
    let mut map = Map::draw(cx);
    let zones: Vec<&str> = sources.iter().filter(|name| cx.inventory.zones.contains_key(**name)).copied().collect();
    map.stand_among_strangers(&zones);
    let mut findings = BTreeMap::new();
    for source in sources {
        map.search(source, &mut findings);
    }
    findings.into_values().for_each(|finding| found.push(finding));
}

/// Returns the zones and endpoints that are not ours to trust.
fn sources<'a>(cx: &Cx<'a>) -> Vec<&'a str> {
    let inventory = cx.inventory;
    let allowed = &inventory.policy.allowed_countries;
    let is_foreign =
        |country: Country| !country.is_in_european_union() && !allowed.iter().any(|allowed| allowed.value == country);
    let zones = inventory.zones.iter().filter(|(name, zone)| {
        let mut networks = inventory.networks.values().filter(|network| network.zone.value == **name).peekable();
        let is_abroad = networks.peek().is_some()
            && networks.all(|network| {
                inventory.sites.get(network.site.as_str()).is_some_and(|site| is_foreign(site.country.value))
            });
        matches!(zone.nature.value, Nature::Public | Nature::Tenant) || is_abroad
    });
    let endpoints = inventory.endpoints.iter().filter(|(_, endpoint)| {
        let is_everywhere = endpoint.addresses.iter().any(|addresses| addresses.value.0.prefix_len() == 0);
        let law = inventory.suppliers.get(endpoint.operator.as_str());
        let is_under_foreign_law =
            law.is_some_and(|supplier| is_foreign(supplier.seat.value) || is_foreign(supplier.controlled_from.value));
        is_everywhere || is_foreign(endpoint.jurisdiction.value) || is_under_foreign_law
    });
    zones.map(|(name, _)| name.as_str()).chain(endpoints.map(|(name, _)| name.as_str())).collect()
}

impl<'c, 'a> Map<'c, 'a> {
    fn draw(cx: &'c Cx<'a>) -> Self {
        let mut ways = Ways::default();
        let zones = cx.inventory.zones.keys();
        let zones = zones.map(|name| (name.as_str(), ways.add(At::Somebody { name: name.as_str() }))).collect();
        let endpoints = cx.inventory.endpoints.keys();
        let endpoints = endpoints.map(|name| (name.as_str(), ways.add(At::Somebody { name }))).collect();
        let hosts = cx.each_host().map(|(host, found)| ways.add(At::Host { host, is_control: cx.is_control(found) }));
        let hosts = hosts.collect();
        let (senders, receivers) = Default::default();
        let mut map = Self { cx, ways, zones, endpoints, hosts, senders, receivers };
        for (at, _) in cx.each_host() {
            map.host(at);
        }
        for flow in &cx.inventory.flows {
            map.flow(flow);
        }
        map
    }

    fn vertex(&self, host: usize) -> Option<VertexId> {
        self.hosts.get(host).copied()
    }

    /// Opens what a host has by itself: its zones, the hosts behind it, the machines on it.
    fn host(&mut self, at: usize) {
        let cx = self.cx;
        let (Some(host), Some(vertex)) = (cx.host(at), self.vertex(at)) else { return };
        let name = &host.name;
        let mut stands_in: Vec<&str> = Vec::new();
        for interface in host.interfaces.values() {
            let (Some((_, network)), Some(written)) = (cx.inventory.network_of(interface), &interface.network) else {
                continue;
            };
            let zone = network.zone.as_str();
            let Some(zone_vertex) = self.zones.get(zone).copied() else { continue };
            if stands_in.contains(&zone) {
                continue;
            }
            stands_in.push(zone);
            let text = say!(cx, "`{name}` stands in `{zone}`", "`{name}` se trouve dans `{zone}`");
            self.ways.open(vertex, zone_vertex, Some((written.span, text)));
            if cx.forwards(at) {
                let text =
                    say!(cx, "`{name}` passes packets on from `{zone}`", "`{name}` relaie les paquets de `{zone}`");
                self.ways.open(zone_vertex, vertex, Some((written.span, text)));
            }
        }
        if let Some(via) = cx.inventory.via(host)
            && let Some(bastion) = cx.position(via.name.as_str()).and_then(|at| self.vertex(at))
        {
            let of_plane = || {
                let plane = cx.inventory.planes.get(host.plane.as_ref()?.as_str())?;
                plane.bastion.as_ref().map(|bastion| bastion.span)
            };
            let span = host.ssh.via.as_ref().map(|via| via.span).or_else(of_plane).unwrap_or(host.span);
            let via = &via.name;
            let text = say!(cx, "`{via}` is the bastion of `{name}`", "`{via}` est le bastion de `{name}`");
            self.ways.open(bastion, vertex, Some((span, text)));
        }
        if let Some(by) = &host.provided_by
            && let Some(below) = cx.position(by.host.as_str()).and_then(|at| self.vertex(at))
        {
            let hypervisor = &by.host;
            let text = say!(cx, "`{name}` runs on `{hypervisor}`", "`{name}` tourne sur `{hypervisor}`");
            self.ways.open(below, vertex, Some((by.span, text)));
        }
    }

    /// Opens the way from zones whose neighbours are not ours to the hosts that stand there and elsewhere.
    fn stand_among_strangers(&mut self, zones: &[&'a str]) {
        let cx = self.cx;
        for (name, network) in &cx.inventory.networks {
            let zone = network.zone.as_str();
            if !zones.contains(&zone) {
                continue;
            }
            for member in cx.members(name.as_str()) {
                let (Some(host), Some(vertex)) = (cx.host(member.host), self.vertex(member.host)) else { continue };
                let (Some(from), Some(written)) = (self.zones.get(zone).copied(), &member.interface.network) else {
                    continue;
                };
                if cx.inventory.zones_of(host).len() > 1 {
                    let host = &host.name;
                    let text = say!(
                        cx,
                        "`{host}` stands in `{zone}` and in other zones",
                        "`{host}` se trouve dans `{zone}` et dans d'autres zones"
                    );
                    self.ways.open(from, vertex, Some((written.span, text)));
                }
            }
        }
    }

    fn flow(&mut self, flow: &'a Spanned<Flow>) {
        let cx = self.cx;
        let why = &flow.why;
        for to in flow.to.iter() {
            let Some((_, nature)) = cx.zone_named(to) else { continue };
            let selector = flow.to_hosts.as_ref();
            let receivers = self.members(to.as_str(), selector);
            let is_all = matches!(nature, Nature::Administration | Nature::Control);
            let hosts = receivers.iter().copied().filter(|at| is_all || cx.host(*at).is_some_and(|h| cx.is_control(h)));
            let target = Target { hosts: hosts.collect(), nature: Some(nature) };
            let vertex = self.ways.add(At::Flow { flow, to: to.as_str(), target });
            let inside = self.receivers(to.as_str(), selector.map_or("", |text| text.as_str()), &receivers);
            self.ways.open(vertex, inside, None);
            for from in flow.from.iter() {
                let text = say!(cx, "a flow, for: {why}", "un flux, pour : {why}");
                let opener = Some((from.span, text));
                if let Some(endpoint) = self.endpoints.get(from.as_str()) {
                    self.ways.open(*endpoint, vertex, opener);
                    continue;
                }
                let Some((zone, _)) = cx.zone_named(from) else { continue };
                match &flow.from_hosts {
                    None => {
                        if let Some(zone) = self.zones.get(zone).copied() {
                            self.ways.open(zone, vertex, opener);
                        }
                    }
                    Some(selector) => {
                        let senders = self.senders(from.as_str(), selector);
                        self.ways.open(senders, vertex, opener);
                    }
                }
            }
        }
    }

    /// Returns the hosts of a zone or network that a selector means; all of them where there is none.
    fn members(&self, name: &str, selector: Option<&Spanned<String>>) -> Vec<usize> {
        let cx = self.cx;
        let networks = cx.networks_named(name);
        let members = networks.iter().flat_map(|(network, _)| cx.members(network)).map(|member| member.host);
        let mut members: Vec<usize> = members.filter(|at| cx.is_meant(selector, *at)).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    fn senders(&mut self, name: &'a str, selector: &'a Spanned<String>) -> VertexId {
        if let Some(known) = self.senders.get(&(name, selector.as_str())) {
            return *known;
        }
        let vertex = self.ways.add(At::Some);
        for host in self.members(name, Some(selector)) {
            if let Some(host) = self.vertex(host) {
                self.ways.open(host, vertex, None);
            }
        }
        self.senders.insert((name, selector.as_str()), vertex);
        vertex
    }

    fn receivers(&mut self, name: &'a str, selector: &'a str, members: &[usize]) -> VertexId {
        if let Some(known) = self.receivers.get(&(name, selector)) {
            return *known;
        }
        let vertex = self.ways.add(At::Some);
        for host in members {
            if let Some(host) = self.vertex(*host) {
                self.ways.open(vertex, host, None);
            }
        }
        self.receivers.insert((name, selector), vertex);
        vertex
    }

    /// Adds what can be reached from a source. What another source reaches too is told once, with both ways to it.
    fn search(&self, source: &'a str, found: &mut BTreeMap<VertexId, Finding>) {
        let start = self.zones.get(source).or_else(|| self.endpoints.get(source)).copied();
        let Some(start) = start else { return };
        // What lies behind a machine of the control plane is the control plane.
        let reached = self.ways.from(start, |at| matches!(at, At::Host { is_control: true, .. }));
        for vertex in reached.iter().skip(1) {
            let Some((subject, hosts, nature)) = self.forbidden(vertex) else { continue };
            let path = self.ways.path(&reached, vertex);
            let nearer = path.iter().rev().skip(1).filter_map(|(_, at)| Some((*at, self.forbidden(*at)?.0)));
            let nearer: Vec<(VertexId, String)> = nearer.collect();
            // A host behind a flow that is a finding itself is part of that one.
            let is_flow = |at: VertexId| matches!(self.ways.get(at), Some(At::Flow { .. }));
            if !is_flow(vertex) && nearer.iter().any(|(at, _)| is_flow(*at)) {
                continue;
            }
            match found.entry(vertex) {
                Entry::Vacant(entry) => {
                    let mut finding = self.finding(source, subject, hosts, nature, &path);
                    finding.behind = nearer.into_iter().map(|(_, subject)| subject).collect();
                    entry.insert(finding);
                }
                Entry::Occupied(mut entry) => {
                    let way = self.way(source, &path);
                    let also = say!(self.cx, "also from `{source}`: {way}", "aussi depuis `{source}` : {way}");
                    let finding = entry.get_mut();
                    finding.help = Some(format!("{}\n{also}", finding.help.clone().unwrap_or_default()));
                    finding.paths.push(self.hops(Some(source), &path));
                }
            }
        }
    }

    /// Returns what opens each hop of a path; `from` is named where it is not the first source.
    fn hops(&self, from: Option<&str>, path: &[(&Opener, VertexId)]) -> Vec<Label> {
        let cx = self.cx;
        let openers: Vec<&(Span, String)> = path.iter().filter_map(|(opener, _)| opener.as_ref()).collect();
        let number = openers.len();
        let hops = openers.into_iter().enumerate().map(|(at, (span, text))| {
            let hop = at + 1;
            let text = match from {
                Some(from) => say!(cx, "from `{from}`, hop {hop}: {text}", "depuis `{from}`, saut {hop} : {text}"),
                None if number > 1 => say!(cx, "hop {hop}: {text}", "saut {hop} : {text}"),
                None => text.clone(),
            };
            Label { span: *span, text }
        });
        hops.collect()
    }

    /// Returns what must not be reached of a vertex: the subject, the hosts, and what the zone is for.
    fn forbidden(&self, vertex: VertexId) -> Option<(String, Vec<usize>, Option<Nature>)> {
        match self.ways.get(vertex)? {
            At::Flow { flow, target, .. } if target.is_forbidden() => {
                Some((flow_subject(flow), target.hosts.clone(), target.nature))
            }
            At::Host { host, is_control: true } => {
                Some((subject("hosts", &self.cx.host(*host)?.name), vec![*host], None))
            }
            _ => None,
        }
    }

    /// Returns the stations of a path, the source first.
    fn way(&self, source: &str, path: &[(&Opener, VertexId)]) -> String {
        let mut stations = vec![source.to_owned()];
        let last = path.len().saturating_sub(1);
        for (at, (_, vertex)) in path.iter().enumerate() {
            match self.ways.get(*vertex) {
                Some(At::Somebody { name }) => stations.push((*name).to_owned()),
                Some(At::Host { host, .. }) => {
                    stations.push(self.cx.host(*host).map_or_else(String::new, |host| host.name.to_string()));
                }
                Some(At::Flow { to, target, .. }) if at == last => stations.push(self.named(to, &target.hosts)),
                _ => {}
            }
        }
        stations.join(" → ")
    }

    fn finding(
        &self,
        source: &str,
        subject: String,
        hosts: Vec<usize>,
        nature: Option<Nature>,
        path: &[(&Opener, VertexId)],
    ) -> Finding {
        let cx = self.cx;
        let way = self.way(source, path);
        let message = match nature {
            Some(Nature::Administration) => say!(
                cx,
                "an administration interface can be reached from `{source}`: {way}",
                "une interface d'administration peut être atteinte depuis `{source}` : {way}"
            ),
            _ => say!(
                cx,
                "the control plane can be reached from `{source}`: {way}",
                "le plan de contrôle peut être atteint depuis `{source}` : {way}"
            ),
        };
        let mut finding = Finding::new(subject, message).hosts(hosts);
        let mut hops = self.hops(None, path);
        finding.paths.push(hops.clone());
        if !hops.is_empty() {
            finding.place = Some(hops.remove(0));
        }
        finding.labels = hops;
        let help = say!(
            cx,
            "close one of the hops; where the way is meant, sign a waiver for the hosts that it ends at",
            "fermez l'un des sauts ; si le chemin est voulu, signez une dérogation pour les hôtes où il finit"
        );
        finding.help(help)
    }

    /// Names what a flow leads to: its only host, or the zone with how many.
    fn named(&self, to: &str, hosts: &[usize]) -> String {
        let cx = self.cx;
        match hosts {
            [only] => cx.host(*only).map_or_else(String::new, |host| host.name.to_string()),
            [] => to.to_owned(),
            [first, others @ ..] => {
                let name = cx.host(*first).map_or("", |host| host.name.as_str());
                let others = others.len();
                say!(cx, "{name} (and {others} more in `{to}`)", "{name} (et {others} de plus dans `{to}`)")
            }
        }
    }
}
