//! The order of a run as a graph: tasks of a host one after the other, and what waits across hosts.
//!
//! Across hosts nothing waits unless `needs`, `rolling` or a resource that is made with the help of another host says
//! so; that is where the parallelism comes from.

use std::collections::{BTreeMap, HashMap};

use crate::addr::{HostName, ResourceAddr};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::graph::{Dag, VertexId};
use crate::model::playbook::{Domain, Playbook};

use super::bind::{Bound, BoundState};

/// What a vertex of a run's graph stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vertex {
    /// A resource of a host, by its position among the host's.
    Resource {
        /// The host.
        host: HostName,
        /// The position.
        at: usize,
    },
    /// What is refreshed on a host at the end of a play.
    Handlers {
        /// The host.
        host: HostName,
        /// The play, by position.
        play: usize,
    },
    /// The health of a batch of a rolling play.
    Gate {
        /// The play, by position.
        play: usize,
        /// The batch, from 0.
        batch: usize,
    },
    /// The end of a play on all its hosts.
    Done {
        /// The play, by position.
        play: usize,
    },
}

/// The graph of a run.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The graph; an edge means "before".
    pub dag: Dag<Vertex>,
    /// The vertices of each host in the order in which they run there.
    pub chains: BTreeMap<HostName, Vec<VertexId>>,
    /// The hosts of each batch of each rolling play.
    pub batches: HashMap<(usize, usize), Vec<HostName>>,
}

/// Builds the graph of a run, with `brought_by` for what brings a host and `domain` for the failure domain that it stands
/// in, and reports what makes one impossible, each cycle with the lines that made it.
pub fn build<'a>(
    playbook: &Playbook,
    hosts: &[(HostName, Vec<Bound>)],
    brought_by: &dyn Fn(&HostName) -> Option<&'a ResourceAddr>,
    domain: &dyn Fn(&HostName, Domain) -> Option<String>,
    problems: &mut Diagnostics,
) -> Order {
    let mut order = Order::default();
    let mut by_addr: HashMap<ResourceAddr, VertexId> = HashMap::new();
    // Of each play and host, the first and the last vertex.
    let mut ends: BTreeMap<usize, Vec<(HostName, VertexId, VertexId)>> = BTreeMap::new();
    let mut spans: HashMap<VertexId, Span> = HashMap::new();

    for (host, bounds) in hosts {
        let mut chain: Vec<VertexId> = Vec::new();
        let mut at = 0;
        while let Some(first) = bounds.get(at) {
            let play = first.play;
            let begin = chain.len();
            let mut notifies = false;
            while let Some(bound) = bounds.get(at).filter(|bound| bound.play == play) {
                let vertex = order.dag.add(Vertex::Resource { host: host.clone(), at });
                by_addr.insert(bound.addr(host), vertex);
                spans.insert(vertex, bound.span);
                chain.push(vertex);
                notifies |= !bound.notify.is_empty() || is_refreshable(bound);
                at += 1;
            }
            if notifies {
                let vertex = order.dag.add(Vertex::Handlers { host: host.clone(), play });
                chain.push(vertex);
            }
            if let (Some(first), Some(last)) = (chain.get(begin), chain.last()) {
                ends.entry(play).or_default().push((host.clone(), *first, *last));
            }
        }
        for pair in chain.windows(2) {
            if let [before, after] = pair {
                order.dag.edge(*before, *after);
            }
        }
        order.chains.insert(host.clone(), chain);
    }

    // A guest's first task waits for what brings the guest, where this run does that.
    for (host, chain) in &order.chains {
        let brought = brought_by(host).and_then(|addr| by_addr.get(addr));
        if let (Some(before), Some(first)) = (brought, chain.first()) {
            order.dag.edge(*before, *first);
        }
    }

    let mut done: BTreeMap<usize, VertexId> = BTreeMap::new();
    for (at, play) in playbook.plays.iter().enumerate() {
        let Some(ends) = ends.get(&at) else { continue };
        let end = order.dag.add(Vertex::Done { play: at });
        spans.insert(end, play.name.span);
        done.insert(at, end);
        for (_, _, last) in ends {
            order.dag.edge(*last, end);
        }
        let Some(rolling) = &play.rolling else { continue };
        let batches = rolling.batches(ends, &|(host, _, _), kind| domain(host, kind));
        let mut gate_before: Option<VertexId> = None;
        for (number, batch) in batches.iter().enumerate() {
            let gate = order.dag.add(Vertex::Gate { play: at, batch: number });
            spans.insert(gate, play.name.span);
            for (_, first, last) in batch {
                if let Some(before) = gate_before {
                    order.dag.edge(before, *first);
                }
                order.dag.edge(*last, gate);
            }
            order.batches.insert((at, number), batch.iter().map(|(host, _, _)| host.clone()).collect());
            order.dag.edge(gate, end);
            gate_before = Some(gate);
        }
    }

    for (at, play) in playbook.plays.iter().enumerate() {
        for need in &play.needs {
            let before = match need.parse::<ResourceAddr>() {
                Ok(addr) => match by_addr.get(&addr) {
                    Some(vertex) => Some(*vertex),
                    None => {
                        let known = by_addr.keys().filter(|known| known.host == addr.host).map(ToString::to_string);
                        let known: Vec<String> = known.collect();
                        let message = format!("no task declares {addr}");
                        let problem = Diagnostic::error("unknown-resource", message).at(need.span);
                        problems.push(problem.suggest(need, known.iter().map(String::as_str)));
                        None
                    }
                },
                // A play without hosts here has nothing to wait for; an unknown play was reported when it was loaded.
                Err(_) => {
                    playbook.plays.iter().position(|p| p.name.value == need.value).and_then(|at| done.get(&at).copied())
                }
            };
            let Some(before) = before else { continue };
            for (_, first, _) in ends.get(&at).into_iter().flatten() {
                order.dag.edge(before, *first);
            }
        }
    }

    for (host, bounds) in hosts {
        for bound in bounds {
            let BoundState::Ready { resource, .. } = &bound.state else { continue };
            for (other, id) in resource.elsewhere() {
                let addr = id.on(&other);
                match (by_addr.get(&addr), by_addr.get(&bound.addr(host))) {
                    (Some(before), Some(after)) => order.dag.edge(*before, *after),
                    _ => {
                        let message = format!("{} is made with {addr}, which no task declares", bound.addr(host));
                        let problem = Diagnostic::error("unknown-resource", message).at(bound.span);
                        problems.push(problem.help("declare it on that host, or take that host into `--limit` too"));
                    }
                }
            }
        }
    }

    if let Err(cycle) = order.dag.order() {
        problems.push(cycle_problem(&order, &cycle.0, playbook, hosts, &spans));
    }
    order
}

fn is_refreshable(bound: &Bound) -> bool {
    matches!(&bound.state, BoundState::Ready { resource, .. } if resource.refresh().is_some())
}

/// Returns what a vertex is called where it is shown.
pub fn describe(vertex: &Vertex, playbook: &Playbook, hosts: &[(HostName, Vec<Bound>)]) -> String {
    let play = |at: &usize| playbook.plays.get(*at).map_or("?", |play| play.name.as_str());
    match vertex {
        Vertex::Resource { host, at } => {
            let bounds = hosts.iter().find(|(name, _)| name == host).map(|(_, bounds)| bounds);
            let bound = bounds.and_then(|bounds| bounds.get(*at));
            bound.map_or_else(|| host.to_string(), |bound| bound.addr(host).to_string())
        }
        Vertex::Handlers { host, play: at } => format!("{host}: handlers of `{}`", play(at)),
        Vertex::Gate { play: at, batch } => format!("health of batch {} of `{}`", batch + 1, play(at)),
        Vertex::Done { play: at } => format!("end of `{}`", play(at)),
    }
}

fn cycle_problem(
    order: &Order,
    cycle: &[VertexId],
    playbook: &Playbook,
    hosts: &[(HostName, Vec<Bound>)],
    spans: &HashMap<VertexId, Span>,
) -> Diagnostic {
    // Only the places where the way leaves a play or a host tell the story; the tasks between them are in order anyway.
    let mut way: Vec<String> = Vec::new();
    let mut places: Vec<Span> = Vec::new();
    for id in cycle {
        let Some(vertex) = order.dag.get(*id) else { continue };
        way.push(describe(vertex, playbook, hosts));
        if let Some(span) = spans.get(id)
            && !places.contains(span)
        {
            places.push(*span);
        }
    }
    if way.len() > 8 {
        let cut = way.len() - 6;
        way.splice(3..3 + cut, [format!("({cut} more)")]);
    }
    way.extend(way.first().cloned());
    let mut problem = Diagnostic::error("cycle", format!("these wait for each other: {}", way.join(" -> ")));
    for (at, span) in places.into_iter().take(6).enumerate() {
        problem = if at == 0 { problem.at(span) } else { problem.label(span, "and this one") };
    }
    problem.help("take one of the `needs` away, or move a task to another play")
}
