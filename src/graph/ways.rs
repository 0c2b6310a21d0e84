//! Ways: a directed graph that may go round in circles, with what opens each way from one vertex to the next.

use std::collections::VecDeque;

use petgraph::Direction;
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;

use super::VertexId;

/// A graph of `V`s in which an edge `a → b` means that who is at `a` can get to `b`, because of an `E`.
#[derive(Clone, Debug)]
pub struct Ways<V, E> {
    graph: DiGraph<V, E>,
}

impl<V, E> Default for Ways<V, E> {
    fn default() -> Self {
        Self { graph: DiGraph::new() }
    }
}

/// What can be got to from one vertex, each by a shortest path.
#[derive(Clone, Debug)]
pub struct Reached {
    order: Vec<VertexId>,
    came_by: Vec<Option<EdgeIndex>>,
}

impl<V, E> Ways<V, E> {
    /// Adds a vertex.
    pub fn add(&mut self, vertex: V) -> VertexId {
        super::vertex(self.graph.add_node(vertex))
    }

    /// Opens a way. Of two that are equally short, the one opened first is found.
    pub fn open(&mut self, from: VertexId, to: VertexId, by: E) {
        self.graph.add_edge(super::node(from), super::node(to), by);
    }

    /// Returns a vertex.
    pub fn get(&self, id: VertexId) -> Option<&V> {
        self.graph.node_weight(super::node(id))
    }

    /// Returns what can be got to from `start`, the nearest first; no way leads on from a vertex that `stops`.
    pub fn from(&self, start: VertexId, stops: impl Fn(&V) -> bool) -> Reached {
        let mut came_by = vec![None; self.graph.node_count()];
        let mut seen = vec![false; self.graph.node_count()];
        let mark = |seen: &mut Vec<bool>, at: NodeIndex| {
            seen.get_mut(at.index()).is_some_and(|seen| !std::mem::replace(seen, true))
        };
        let mut order = Vec::new();
        let mut queue = VecDeque::from([super::node(start)]);
        mark(&mut seen, super::node(start));
        while let Some(at) = queue.pop_front() {
            order.push(super::vertex(at));
            if at != super::node(start) && self.graph.node_weight(at).is_some_and(&stops) {
                continue;
            }
            let mut ways: Vec<_> = self.graph.edges_directed(at, Direction::Outgoing).collect();
            // They come last in first out.
            ways.reverse();
            for way in ways {
                if mark(&mut seen, way.target()) {
                    if let Some(slot) = came_by.get_mut(way.target().index()) {
                        *slot = Some(way.id());
                    }
                    queue.push_back(way.target());
                }
            }
        }
        Reached { order, came_by }
    }

    /// Returns the path to a vertex that was reached: what opens each hop, and where the hop leads.
    pub fn path<'a>(&'a self, reached: &Reached, to: VertexId) -> Vec<(&'a E, VertexId)> {
        let mut path = Vec::new();
        let mut at = super::node(to);
        while let Some(edge) = reached.came_by.get(at.index()).copied().flatten()
            && let (Some(by), Some((from, _))) = (self.graph.edge_weight(edge), self.graph.edge_endpoints(edge))
        {
            path.push((by, super::vertex(at)));
            at = from;
        }
        path.reverse();
        path
    }
}

impl Reached {
    /// Returns the vertices, the nearest first; the first is the start itself.
    pub fn iter(&self) -> impl Iterator<Item = VertexId> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortest_path_is_found_through_circles_and_stops_are_not_passed() {
        let mut ways = Ways::default();
        let v: Vec<VertexId> = (0..5).map(|n| ways.add(n)).collect();
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 3), (0, 2), (3, 4)] {
            ways.open(v[from], v[to], (from, to));
        }
        let reached = ways.from(v[0], |n| *n == 3);
        assert!(!reached.iter().any(|at| at == v[4]));
        let path: Vec<(usize, usize)> = ways.path(&reached, v[3]).into_iter().map(|(by, _)| *by).collect();
        assert_eq!(path, [(0, 2), (2, 3)]);
        assert!(ways.path(&reached, v[0]).is_empty());
    }
}
