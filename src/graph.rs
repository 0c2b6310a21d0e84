//! The order of things: a directed acyclic graph whose edge `a → b` means "a before b".
//!
//! It is the only scheduler: tasks of a host, plays that need others, batches and health gates are all vertices and
//! edges here. Drawing it as DOT, Mermaid or SVG is `report`'s work, running it `engine`'s.

mod ways;

use std::collections::BTreeMap;

use petgraph::Direction;
use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

pub use self::ways::{Reached, Ways};

/// The number of a vertex, from 0 in the order in which vertices were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(u32);

impl VertexId {
    /// Returns the number.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A graph of `V`s.
#[derive(Clone, Debug)]
pub struct Dag<V> {
    graph: DiGraph<V, ()>,
}

impl<V> Default for Dag<V> {
    fn default() -> Self {
        Self { graph: DiGraph::new() }
    }
}

/// Vertices that wait for each other, each for the next and the last for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<VertexId>);

impl<V> Dag<V> {
    /// Adds a vertex.
    pub fn add(&mut self, vertex: V) -> VertexId {
        VertexId(self.graph.add_node(vertex).index() as u32)
    }

    /// Says that `before` comes before `after`. Saying it twice is saying it once.
    pub fn edge(&mut self, before: VertexId, after: VertexId) {
        self.graph.update_edge(node(before), node(after), ());
    }

    /// Returns a vertex.
    pub fn get(&self, id: VertexId) -> Option<&V> {
        self.graph.node_weight(node(id))
    }

    /// Returns the number of vertices.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Returns whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all vertices in the order in which they were added.
    pub fn vertices(&self) -> impl Iterator<Item = (VertexId, &V)> {
        self.graph.node_indices().filter_map(|i| Some((VertexId(i.index() as u32), self.graph.node_weight(i)?)))
    }

    /// Returns all edges.
    pub fn edges(&self) -> impl Iterator<Item = (VertexId, VertexId)> {
        self.graph.edge_references().map(|e| (vertex(e.source()), vertex(e.target())))
    }

    /// Returns what must come before a vertex.
    pub fn before(&self, id: VertexId) -> impl Iterator<Item = VertexId> {
        self.graph.neighbors_directed(node(id), Direction::Incoming).map(vertex)
    }

    /// Returns what waits for a vertex.
    pub fn after(&self, id: VertexId) -> impl Iterator<Item = VertexId> {
        self.graph.neighbors_directed(node(id), Direction::Outgoing).map(vertex)
    }

    /// Returns an order in which every vertex comes after all that it waits for.
    ///
    /// # Errors
    /// The shortest of the cycles found, starting at its earliest vertex.
    pub fn order(&self) -> Result<Vec<VertexId>, Cycle> {
        // `tarjan_scc` and `is_cyclic_directed` recurse and overflow the stack on long chains; these two do not.
        match toposort(&self.graph, None) {
            Ok(order) => Ok(order.into_iter().map(vertex).collect()),
            Err(_) => Err(self.cycle()),
        }
    }

    fn cycle(&self) -> Cycle {
        let tangled = kosaraju_scc(&self.graph).into_iter().filter(|part| part.len() > 1).min_by_key(Vec::len);
        let Some(tangled) = tangled else {
            // A vertex that waits for itself is a cycle of one.
            let own = self.graph.edge_references().find(|e| e.source() == e.target());
            return Cycle(own.map(|e| vertex(e.source())).into_iter().collect());
        };
        let start = tangled.iter().copied().min().unwrap_or_default();
        // A breadth-first search inside the tangle finds a shortest way back to the start.
        let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for next in self.graph.neighbors_directed(at, Direction::Outgoing) {
                if next == start {
                    let mut way = vec![vertex(at)];
                    let mut step = at;
                    while let Some(previous) = came_from.get(&step) {
                        way.push(vertex(*previous));
                        step = *previous;
                    }
                    way.reverse();
                    return Cycle(way);
                }
                if tangled.contains(&next) && !came_from.contains_key(&next) {
                    came_from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        Cycle(vec![vertex(start)])
    }
}

fn node(id: VertexId) -> NodeIndex {
    NodeIndex::new(id.index())
}

fn vertex(index: NodeIndex) -> VertexId {
    VertexId(index.index() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cycle_is_named_vertex_by_vertex() {
        let mut dag = Dag::default();
        let v: Vec<VertexId> = (0..5).map(|n| dag.add(n)).collect();
        for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4)] {
            dag.edge(v[a], v[b]);
        }
        assert_eq!(dag.order().unwrap_err(), Cycle(vec![v[1], v[2], v[3]]));
        let mut own = Dag::default();
        let only = own.add(0);
        own.edge(only, only);
        assert_eq!(own.order().unwrap_err(), Cycle(vec![only]));
    }

    #[test]
    fn a_very_long_chain_is_ordered() {
        let mut dag = Dag::default();
        let v: Vec<VertexId> = (0..200_000).map(|n| dag.add(n)).collect();
        for pair in v.windows(2) {
            dag.edge(pair[0], pair[1]);
        }
        assert_eq!(dag.order().unwrap(), v);
    }

    proptest! {
        #[test]
        fn no_vertex_comes_before_what_it_waits_for(edges in proptest::collection::vec((0usize..40, 0usize..40), 0..120)) {
            let mut dag = Dag::default();
            let v: Vec<VertexId> = (0..40).map(|n| dag.add(n)).collect();
            for (a, b) in edges.iter().filter(|(a, b)| a < b) {
                dag.edge(v[*a], v[*b]);
            }
            let order = dag.order().unwrap();
            prop_assert_eq!(order.len(), 40);
            for (a, b) in dag.edges() {
                let place = |id| order.iter().position(|other| *other == id);
                prop_assert!(place(a) < place(b));
            }
        }
    }
}
