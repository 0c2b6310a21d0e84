//! What is drawn: the hosts, the plays, or every resource of a run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Direction, Drawing, Edge, Node, Shape, Weight};
use crate::addr::{HostName, ResourceAddr};
use crate::graph::VertexId;
use crate::model::inventory::{Host, Inventory};
use crate::model::playbook::{Batch, Domain, Play, Playbook, Purpose, Rolling};
use crate::plan::bind::{Bound, BoundState};
use crate::plan::order::{Order, Vertex, describe};
use crate::report::style::count;

/// How many batches of a rolling play are drawn; of more, the first ones and the last.
const BATCHES: usize = 6;

/// Returns hosts by site, and the way to each.
pub fn hosts(inventory: &Inventory, chosen: &[&Host]) -> Drawing {
    let mut all: Vec<&Host> = chosen.to_vec();
    // Whoever is on the way is part of the picture.
    for host in chosen {
        for hop in inventory.hops(host) {
            if !all.iter().any(|known| known.name == hop.name) {
                all.push(hop);
            }
        }
    }
    let place = |name: &str| inventory.hosts.get_index_of(name);
    all.sort_by_key(|host| place(host.name.as_str()));
    let node = |host: &&Host| {
        let roles: Vec<&str> = host.roles.iter().map(|role| role.as_str()).collect();
        let mut details = Vec::new();
        if !roles.is_empty() {
            details.push(roles.join(" · "));
        }
        details.extend(inventory.ssh(host).map(|ssh| ssh.address));
        let cluster = host.site.as_ref().map(|name| {
            let site = inventory.sites.get(name.as_str());
            let city = site.and_then(|site| site.city.as_ref()).map(|city| format!(" · {city}"));
            let country = site.map(|site| format!(", {}", site.country.as_str()));
            format!("{name}{}{}", city.unwrap_or_default(), country.unwrap_or_default())
        });
        Node {
            id: host.name.to_string(),
            label: host.name.to_string(),
            details,
            cluster,
            shade: host.plane.as_ref().map(|plane| format!("plane {plane}")),
            shape: Shape::Thing,
        }
    };
    let edges = all.iter().filter_map(|host| {
        let via = inventory.via(host)?;
        Some(Edge { from: via.name.to_string(), to: host.name.to_string(), ..Edge::default() })
    });
    let sites: BTreeSet<&str> = all.iter().filter_map(|host| Some(host.site.as_ref()?.as_str())).collect();
    let title = inventory.provider.name.as_ref().map_or_else(|| "Hosts".to_owned(), |name| name.to_string());
    Drawing {
        title,
        subtitle: format!("{} on {}, and how they are reached", count(all.len(), "host"), count(sites.len(), "site")),
        strong: "SSH goes through".to_owned(),
        lanes: true,
        says_shades: true,
        nodes: all.iter().map(node).collect(),
        edges: edges.collect(),
        ..Drawing::default()
    }
}

/// Returns the plays that are for any of the hosts, and what each waits for.
///
/// `domain` says which failure domain a host stands in.
pub fn plays(
    playbook: &Playbook,
    hosts: &[(HostName, Vec<Bound>)],
    domain: &dyn Fn(&HostName, Domain) -> Option<String>,
) -> Drawing {
    let mut hosts_of: BTreeMap<usize, Vec<&HostName>> = BTreeMap::new();
    // Which play follows which on some host.
    let mut follows: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut declares: BTreeMap<ResourceAddr, usize> = BTreeMap::new();
    for (host, bounds) in hosts {
        let mut before = None;
        for bound in bounds {
            declares.insert(bound.addr(host), bound.play);
            if before == Some(bound.play) {
                continue;
            }
            hosts_of.entry(bound.play).or_default().push(host);
            if let Some(before) = before {
                follows.insert((before, bound.play));
            }
            before = Some(bound.play);
        }
    }
    let mut drawing = Drawing {
        title: playbook.name.clone().unwrap_or_else(|| "Plays".to_owned()),
        subtitle: format!("{} on {}", count(hosts_of.len(), "play"), count(hosts.len(), "host")),
        direction: Direction::Down,
        strong: "needs".to_owned(),
        weak: "comes next on the same hosts".to_owned(),
        says_shades: false,
        ..Drawing::default()
    };
    // Plays for the same hosts look the same, and those for all hosts are quiet.
    let shade_of = |of_play: &[&HostName]| (of_play.len() < hosts.len()).then(|| listed(of_play, hosts.len()));
    // Where edges to a play arrive, and where those from it leave.
    let mut doors: BTreeMap<usize, (String, String)> = BTreeMap::new();
    for (at, of_play) in &hosts_of {
        let Some(play) = playbook.plays.get(*at) else { continue };
        let door = match &play.rolling {
            Some(rolling) => rolling_play(play, rolling, of_play, domain, shade_of(of_play), &mut drawing),
            None => {
                let id = play.name.to_string();
                let details = vec![listed(of_play, hosts.len())];
                let shade = shade_of(of_play);
                drawing.nodes.push(Node { id: id.clone(), label: id.clone(), details, shade, ..Node::default() });
                (id.clone(), id)
            }
        };
        doors.insert(*at, door);
    }
    let mut needs: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (at, play) in playbook.plays.iter().enumerate() {
        for need in &play.needs {
            let found = match need.parse::<ResourceAddr>() {
                Ok(addr) => declares.get(&addr).map(|before| (*before, Some(addr.to_string()))),
                Err(_) => playbook.plays.iter().position(|p| p.name.value == need.value).map(|before| (before, None)),
            };
            let Some((before, label)) = found else { continue };
            if let (Some((_, from)), Some((to, _))) = (doors.get(&before), doors.get(&at)) {
                needs.insert((before, at));
                drawing.edges.push(Edge { from: from.clone(), to: to.clone(), label, weight: Weight::Strong });
            }
        }
    }
    for (before, after) in follows.difference(&needs) {
        if let (Some((_, from)), Some((to, _))) = (doors.get(before), doors.get(after)) {
            let (from, to) = (from.clone(), to.clone());
            drawing.edges.push(Edge { from, to, label: None, weight: Weight::Weak });
        }
    }
    drawing
}

/// Adds a rolling play, batch by batch, and returns the nodes that it begins and ends with.
fn rolling_play(
    play: &Play,
    rolling: &Rolling,
    hosts: &[&HostName],
    domain: &dyn Fn(&HostName, Domain) -> Option<String>,
    shade: Option<String>,
    drawing: &mut Drawing,
) -> (String, String) {
    let at_a_time = rolling.batch.map(|batch| match batch {
        Batch::Hosts(hosts) => count(hosts, "host"),
        Batch::Percent(percent) => format!("{percent}% of the hosts"),
    });
    let of_domains = rolling.max_unavailable.iter().map(|(domain, most)| format!("{most} of a {}", domain.name()));
    let limits: Vec<String> = at_a_time.into_iter().chain(of_domains).collect();
    let cluster = format!("{} · {} at a time", play.name, limits.join(", "));
    let checks: Vec<String> = rolling.health.iter().filter_map(|check| check_text(&check.to_json())).collect();
    let is_drained = play.tasks.iter().any(|task| task.purpose == Purpose::Drain);
    let drained = is_drained.then(|| "drained first".to_owned());
    let batches = rolling.batches(hosts, &|host, kind| domain(host, kind));
    let left_out = if batches.len() > BATCHES { batches.len() - (BATCHES - 1) } else { 0 };
    let mut ends: Option<(String, String)> = None;
    let mut add = |node: Node, drawing: &mut Drawing| {
        if let Some((_, last)) = &ends {
            let (from, to) = (last.clone(), node.id.clone());
            drawing.edges.push(Edge { from, to, label: None, weight: Weight::Strong });
        }
        ends = Some((ends.take().map_or_else(|| node.id.clone(), |(first, _)| first), node.id.clone()));
        drawing.nodes.push(Node { cluster: Some(cluster.clone()), shade: shade.clone(), ..node });
    };
    for (number, batch) in batches.iter().enumerate() {
        if left_out > 0 && (BATCHES - 2..batches.len() - 1).contains(&number) {
            if number == BATCHES - 2 {
                let id = format!("{}: more batches", play.name);
                add(
                    Node { id, label: format!("{left_out} more batches"), shape: Shape::End, ..Node::default() },
                    drawing,
                );
            }
            continue;
        }
        add(
            Node {
                id: format!("{}: batch {}", play.name, number + 1),
                label: format!("{}, batch {}", play.name, number + 1),
                details: [listed(batch, usize::MAX)].into_iter().chain(drained.clone()).collect(),
                ..Node::default()
            },
            drawing,
        );
        let label = if checks.is_empty() { "all done" } else { "healthy?" };
        let details = if checks.is_empty() { Vec::new() } else { vec![checks.join(", ")] };
        let id = format!("{}: health of batch {}", play.name, number + 1);
        add(Node { id, label: label.to_owned(), details, shape: Shape::Gate, ..Node::default() }, drawing);
    }
    ends.unwrap_or_default()
}

/// Returns what a health check awaits.
fn check_text(check: &serde_json::Value) -> Option<String> {
    let text = |key: &str| {
        let value = check.get(key)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let port = || text("port").map(|port| format!("port {port}"));
    let path = || text("path").map(|path| format!("path {path}"));
    text("name").or_else(|| text("command")).or_else(port).or_else(path)
}

/// Returns the names of a few hosts, or the number of many.
fn listed(hosts: &[&HostName], all: usize) -> String {
    match hosts {
        [] => "no host".to_owned(),
        [_, _] if all == 2 => "both hosts".to_owned(),
        [..] if hosts.len() == all && all > 1 => format!("all {all} hosts"),
        [one] => one.to_string(),
        many => {
            let names: Vec<&str> = many.iter().map(|host| host.as_str()).collect();
            let names = names.join(", ");
            if names.chars().count() <= 40 { names } else { count(many.len(), "host") }
        }
    }
}

/// Returns every resource of a run, each host's beside those of the others, in the order in which they are changed.
pub fn resources(playbook: &Playbook, hosts: &[(HostName, Vec<Bound>)], order: &Order) -> Drawing {
    let bounds_of: BTreeMap<&HostName, &Vec<Bound>> = hosts.iter().map(|(host, bounds)| (host, bounds)).collect();
    let play_of = |at: usize| playbook.plays.get(at).map_or_else(String::new, |play| play.name.to_string());
    let id_of = |id: VertexId, vertex: &Vertex| match vertex {
        // Several tasks may speak of one resource, and a name that is not known yet may be that of several.
        Vertex::Resource { host, at } => match bounds_of.get(host).and_then(|bounds| bounds.get(*at)) {
            Some(bound) => format!("{} #{at}", bound.addr(host)),
            None => format!("{host} #{}", id.index()),
        },
        other => describe(other, playbook, hosts),
    };
    let mut ids: BTreeMap<VertexId, String> = BTreeMap::new();
    let mut nodes = Vec::new();
    for (id, vertex) in order.dag.vertices() {
        let node = match vertex {
            Vertex::Resource { host, at } => {
                let bound = bounds_of.get(host).and_then(|bounds| bounds.get(*at));
                let label = bound.map_or_else(|| host.to_string(), |bound| bound.id.to_string());
                let skipped = matches!(bound.map(|bound| &bound.state), Some(BoundState::Skipped { .. }));
                let play = bound.map(|bound| play_of(bound.play)).unwrap_or_default();
                let detail = if skipped { format!("{play} · does not apply") } else { play };
                let (shape, cluster) = (if skipped { Shape::End } else { Shape::Thing }, Some(host.to_string()));
                Node { label, details: vec![detail], cluster, shape, ..Node::default() }
            }
            Vertex::Handlers { host, play } => Node {
                label: "handlers".to_owned(),
                details: vec![play_of(*play)],
                cluster: Some(host.to_string()),
                shape: Shape::End,
                ..Node::default()
            },
            Vertex::Gate { play, batch } => Node {
                label: format!("healthy? (batch {})", batch + 1),
                details: vec![play_of(*play)],
                shape: Shape::Gate,
                ..Node::default()
            },
            // The end of a play matters only to who waits for it.
            Vertex::Done { .. } if order.dag.after(id).next().is_none() => continue,
            Vertex::Done { play } => Node {
                label: "all hosts done".to_owned(),
                details: vec![play_of(*play)],
                shape: Shape::Gate,
                ..Node::default()
            },
        };
        let name = id_of(id, vertex);
        ids.insert(id, name.clone());
        nodes.push(Node { id: name, ..node });
    }
    let host_of = |id: VertexId| match order.dag.get(id) {
        Some(Vertex::Resource { host, .. } | Vertex::Handlers { host, .. }) => Some(host),
        _ => None,
    };
    let edges = order.dag.edges().filter_map(|(before, after)| {
        let stays = host_of(before).is_some() && host_of(before) == host_of(after);
        let weight = if stays { Weight::Weak } else { Weight::Strong };
        Some(Edge { from: ids.get(&before)?.clone(), to: ids.get(&after)?.clone(), label: None, weight })
    });
    let edges: Vec<Edge> = edges.collect();
    let resources = order.dag.vertices().filter(|(_, vertex)| matches!(vertex, Vertex::Resource { .. })).count();
    Drawing {
        title: playbook.name.clone().unwrap_or_else(|| "Resources".to_owned()),
        subtitle: format!("{} on {}", count(resources, "resource"), count(hosts.len(), "host")),
        direction: Direction::Down,
        strong: "waits for another host".to_owned(),
        weak: "comes next on the host".to_owned(),
        lanes: true,
        says_shades: false,
        nodes,
        edges,
    }
}
