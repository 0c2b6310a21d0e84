//! The level-3 diagram: which hosts have which address in which network, site by site.
//!
//! Hosts that are alike (same site, plane, roles, networks, way in) are one row, so that a fleet of many fits on paper. A site
//! with many networks or rows becomes several frames; what is left out all the same is counted.

use std::collections::{BTreeSet, HashMap};

use super::{Drawing, Edge, Node, Shape};
use crate::model::inventory::{Host, Inventory, Network};
use crate::policy::Lang;
use crate::report::groups;

/// How many networks stand beside each other in one frame.
const LANES: usize = 10;
/// How many rows stand in one frame, so that it is still read when it is printed on one sheet.
const ROWS: usize = 13;
/// How many rows of a site are drawn at all.
const ALL_ROWS: usize = 10 * ROWS;

/// Which hosts have which address in which network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Whose it is.
    pub title: String,
    /// A sentence on what is shown.
    pub subtitle: String,
    /// The language of its words.
    pub lang: Lang,
    /// The sites, each as one frame or several.
    pub frames: Vec<Frame>,
    /// What flows name outside the fleet.
    pub outside: Vec<Outside>,
}

/// A site, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The site and where it stands.
    pub name: String,
    /// Which part of how many it is.
    pub part: (usize, usize),
    /// The networks, those of one zone beside each other.
    pub lanes: Vec<Lane>,
    /// The hosts, alike ones together.
    pub rows: Vec<Row>,
    /// How many hosts of the site are in no frame.
    pub left_out: usize,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub network: String,
    /// Its zone.
    pub zone: String,
    /// The position of the zone in the inventory, which gives the colour.
    pub shade: usize,
    /// Its addresses, VLAN, router and so on, a line each.
    pub details: Vec<String>,
}

/// Hosts that are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Their names, in few words.
    pub names: Vec<String>,
    /// How many names are left out.
    pub unnamed: usize,
    /// How many hosts there are.
    pub count: usize,
    /// Their roles and the way to them, a line each.
    pub details: Vec<String>,
    /// Whether others are reached through them.
    pub is_bastion: bool,
    /// Whether they pass packets between networks.
    pub is_router: bool,
    /// Where they are attached, by lane.
    pub ports: Vec<Port>,
}

/// The interfaces of like hosts in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// The network, by position in the frame.
    pub lane: usize,
    /// The names of the interfaces.
    pub interfaces: Vec<String>,
    /// The addresses, in few words.
    pub addresses: Vec<String>,
    /// Whether packets are passed on from here.
    pub routes: bool,
}

/// Something outside the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Who runs it, under which law.
    pub operator: String,
}

/// What hosts of a site must share to be one row.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    plane: Option<String>,
    roles: Vec<String>,
    networks: BTreeSet<String>,
    forwards: BTreeSet<String>,
    via: Option<String>,
    is_bastion: bool,
}

/// Returns the level-3 diagram of some hosts. Networks without any of them are shown where all hosts are.
pub fn topology(inventory: &Inventory, chosen: &[&Host], lang: Lang) -> Topology {
    let word = |en: &'static str, fr: &'static str| if lang == Lang::Fr { fr } else { en };
    let bastions: BTreeSet<&str> =
        inventory.hosts.values().filter_map(|host| inventory.via(host)).map(|host| host.name.as_str()).collect();
    let is_whole = chosen.len() == inventory.hosts.len();
    let mut by_site: HashMap<Option<&str>, Vec<&Host>> = HashMap::new();
    for host in chosen {
        by_site.entry(host.site.as_ref().map(|site| site.as_str())).or_default().push(host);
    }
    let named = inventory.sites.keys().map(|site| Some(site.as_str()));
    let mut frames = Vec::new();
    for site in named.chain([None]) {
        let hosts = by_site.remove(&site).unwrap_or_default();
        let used: BTreeSet<&str> = hosts.iter().flat_map(|host| networks_of(host)).collect();
        let mut lanes: Vec<(usize, Lane)> = inventory
            .networks
            .iter()
            .filter(|(name, network)| used.contains(name.as_str()) || is_whole && site == Some(network.site.as_str()))
            .map(|(name, network)| lane(inventory, name.as_str(), network, lang))
            .map(|lane| (lane.shade, lane))
            .collect();
        if lanes.is_empty() && hosts.is_empty() {
            continue;
        }
        lanes.sort_by_key(|(zone, _)| *zone);
        let lanes: Vec<Lane> = lanes.into_iter().map(|(_, lane)| lane).collect();
        let groups = groups::alike(&hosts, |host| likeness(inventory, host, &bastions));
        let left_out = groups.iter().skip(ALL_ROWS).map(Vec::len).sum();
        let groups: Vec<Vec<&Host>> = groups.into_iter().take(ALL_ROWS).collect();
        let name = match site.and_then(|site| inventory.sites.get_key_value(site)) {
            Some((name, site)) => {
                let city = site.city.as_ref().map(|city| format!(" · {city}")).unwrap_or_default();
                format!("{name}{city}, {}", site.country.as_str())
            }
            None => word("at no site", "sur aucun site").to_owned(),
        };
        frames.extend(frames_of(inventory, &name, &lanes, &groups, left_out, &bastions, lang));
    }
    let subtitle = match lang {
        Lang::En => format!(
            "level-3 diagram: {} hosts in {} networks of {} zones, {} sites",
            chosen.len(),
            inventory.networks.len(),
            inventory.zones.len(),
            inventory.sites.len()
        ),
        Lang::Fr => format!(
            "schéma de niveau 3 : {} hôtes dans {} réseaux de {} zones, {} sites",
            chosen.len(),
            inventory.networks.len(),
            inventory.zones.len(),
            inventory.sites.len()
        ),
    };
    let mentioned: BTreeSet<&str> = inventory
        .flows
        .iter()
        .flat_map(|flow| flow.from.iter().chain(flow.to.iter()))
        .map(|name| name.value.as_str())
        .collect();
    let outside = inventory.endpoints.iter().filter(|(name, _)| mentioned.contains(name.as_str()));
    Topology {
        title: inventory
            .provider
            .name
            .as_ref()
            .map_or_else(|| word("Networks", "Réseaux").to_owned(), ToString::to_string),
        subtitle,
        lang,
        frames,
        outside: outside
            .map(|(name, endpoint)| Outside {
                name: name.clone(),
                addresses: endpoint.addresses.iter().map(|address| address.value.to_string()).collect(),
                operator: format!("{}, {}", endpoint.operator, endpoint.jurisdiction.as_str()),
            })
            .collect(),
    }
}

fn networks_of(host: &Host) -> impl Iterator<Item = &str> {
    host.interfaces.values().filter_map(|interface| interface.network.as_ref()).map(|network| network.as_str())
}

fn lane(inventory: &Inventory, name: &str, network: &Network, lang: Lang) -> Lane {
    let word = |en: &'static str, fr: &'static str| if lang == Lang::Fr { fr } else { en };
    let mut details = vec![network.cidr.trunc().to_string()];
    details.extend(network.vlan.as_ref().map(|vlan| format!("VLAN {vlan}")));
    details.extend(network.gateway.as_ref().map(|gateway| format!("{} {gateway}", word("router", "routeur"))));
    if network.physical.as_ref().is_some_and(|physical| physical.value) {
        details.push(word("cables of its own", "câbles dédiés").to_owned());
    }
    if let Some(encryption) = &network.encryption {
        details.push(format!("{:?}", encryption.value).to_uppercase());
    }
    Lane {
        network: name.to_owned(),
        zone: network.zone.to_string(),
        shade: inventory.zones.get_index_of(network.zone.as_str()).unwrap_or_default(),
        details,
    }
}

fn likeness(inventory: &Inventory, host: &Host, bastions: &BTreeSet<&str>) -> Likeness {
    Likeness {
        plane: host.plane.as_ref().map(ToString::to_string),
        roles: host.roles.iter().map(|role| role.value.clone()).collect(),
        networks: networks_of(host).map(str::to_owned).collect(),
        forwards: host.forwards.iter().map(|name| name.value.clone()).collect(),
        via: inventory.via(host).map(|via| via.name.to_string()),
        is_bastion: bastions.contains(host.name.as_str()),
    }
}

/// Returns a site as frames that can be printed each on one sheet.
fn frames_of(
    inventory: &Inventory,
    name: &str,
    lanes: &[Lane],
    groups: &[Vec<&Host>],
    left_out: usize,
    bastions: &BTreeSet<&str>,
    lang: Lang,
) -> Vec<Frame> {
    let chunks: Vec<&[Lane]> = if lanes.is_empty() { vec![&[]] } else { lanes.chunks(LANES).collect() };
    let mut frames: Vec<Frame> = Vec::new();
    for (number, lanes) in chunks.iter().enumerate() {
        let rows: Vec<Row> = groups
            .iter()
            .map(|group| row(inventory, group, lanes, bastions, lang))
            .filter(|row| !row.ports.is_empty() || number == 0 && chunks.len() == 1)
            .collect();
        let frame = |rows: &[Row]| Frame {
            name: name.to_owned(),
            lanes: lanes.to_vec(),
            rows: rows.to_vec(),
            ..Frame::default()
        };
        if rows.is_empty() {
            frames.push(frame(&[]));
        }
        // Parts of about the same size, and not a last one with a single row.
        let parts = rows.len().div_ceil(ROWS).max(1);
        frames.extend(rows.chunks(rows.len().div_ceil(parts).max(1)).map(frame));
    }
    let all = frames.len();
    for (at, frame) in frames.iter_mut().enumerate() {
        frame.part = (at + 1, all);
    }
    if let Some(last) = frames.last_mut() {
        last.left_out = left_out;
    }
    frames
}

fn row(inventory: &Inventory, group: &[&Host], lanes: &[Lane], bastions: &BTreeSet<&str>, lang: Lang) -> Row {
    let word = |en: &'static str, fr: &'static str| if lang == Lang::Fr { fr } else { en };
    let (names, unnamed) = groups::names(group.iter().map(|host| host.name.as_str()));
    let Some(first) = group.first() else { return Row::default() };
    let mut details = Vec::new();
    let roles: Vec<&str> = first.roles.iter().map(|role| role.as_str()).collect();
    if !roles.is_empty() {
        details.push(roles.join(" · "));
    }
    if let Some(via) = inventory.via(first) {
        details.push(format!("{} {}", word("SSH through", "SSH par"), via.name));
    }
    let forwards: Vec<&str> = first.forwards.iter().map(|name| name.as_str()).collect();
    if !forwards.is_empty() {
        details.push(format!("{} {}", word("routes", "route"), forwards.join(" ↔ ")));
    }
    let mut ports = Vec::new();
    for (at, lane) in lanes.iter().enumerate() {
        let found = group.iter().flat_map(|host| host.interfaces.iter()).filter(|(_, interface)| {
            interface.network.as_ref().is_some_and(|network| network.as_str() == lane.network)
        });
        let (mut interfaces, mut addresses, mut has_any) = (BTreeSet::new(), Vec::new(), false);
        for (name, interface) in found {
            has_any = true;
            interfaces.insert(name.value.clone());
            addresses.extend(interface.address.map(|address| address.value));
        }
        if has_any {
            ports.push(Port {
                lane: at,
                interfaces: interfaces.into_iter().collect(),
                addresses: groups::addresses(addresses),
                routes: forwards.contains(&lane.network.as_str()) || forwards.contains(&lane.zone.as_str()),
            });
        }
    }
    Row {
        names,
        unnamed,
        count: group.len(),
        details,
        is_bastion: bastions.contains(first.name.as_str()),
        is_router: !forwards.is_empty(),
        ports,
    }
}

impl Topology {
    /// Returns it as a graph, for programs that draw graphs: networks and hosts, with an edge for each that is in one.
    pub fn drawing(&self) -> Drawing {
        let mut drawing = Drawing {
            title: self.title.clone(),
            subtitle: self.subtitle.clone(),
            strong: if self.lang == Lang::Fr { "est dans" } else { "is in" }.to_owned(),
            says_shades: true,
            ..Drawing::default()
        };
        let mut known: BTreeSet<String> = BTreeSet::new();
        for frame in &self.frames {
            for row in &frame.rows {
                let id = row.names.join(" ");
                if known.insert(format!("hosts {id}")) {
                    let count = (row.count > 1).then(|| format!("× {}", row.count));
                    drawing.nodes.push(Node {
                        id: format!("hosts {id}"),
                        label: id.clone(),
                        details: count.into_iter().chain(row.details.iter().cloned()).collect(),
                        cluster: Some(frame.name.clone()),
                        ..Node::default()
                    });
                }
                for port in &row.ports {
                    let Some(lane) = frame.lanes.get(port.lane) else { continue };
                    drawing.edges.push(Edge {
                        from: format!("hosts {id}"),
                        to: format!("network {}", lane.network),
                        label: Some(port.addresses.join(" ")).filter(|label| !label.is_empty()),
                        ..Edge::default()
                    });
                }
            }
            for lane in &frame.lanes {
                if known.insert(format!("network {}", lane.network)) {
                    drawing.nodes.push(Node {
                        id: format!("network {}", lane.network),
                        label: lane.network.clone(),
                        details: lane.details.clone(),
                        cluster: Some(frame.name.clone()),
                        shade: Some(format!("zone {}", lane.zone)),
                        shape: Shape::End,
                    });
                }
            }
        }
        drawing
    }
}
