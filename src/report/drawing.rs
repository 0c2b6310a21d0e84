//! Pictures of graphs: of the hosts and the way to them, of plays and what they wait for, of the order of a run.
//!
//! A [`Drawing`] is plain data that says nothing of how it is shown. [`dot()`] and [`mermaid()`] write it for other programs;
//! [`svg()`] lays it out and draws it, so that a picture needs no other program at all.

mod dot;
mod lanes;
mod layout;
mod mermaid;
pub(in crate::report) mod pen;
mod scopes;
mod svg;
mod topology;

use serde::Serialize;

pub use dot::dot;
pub use lanes::{topology_frames, topology_svg};
pub use mermaid::mermaid;
pub use scopes::{hosts, plays, resources};
pub use svg::svg;
pub use topology::{Frame, Lane, Outside, Port, Row, Topology, topology};

/// A graph to be shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Drawing {
    /// What is shown.
    pub title: String,
    /// A sentence on what is shown.
    pub subtitle: String,
    /// Where it leads.
    pub direction: Direction,
    /// What an edge of weight [`Weight::Strong`] means.
    pub strong: String,
    /// What an edge of weight [`Weight::Weak`] means.
    pub weak: String,
    /// Whether the legend says what the colours mean, because nothing else does.
    pub says_shades: bool,
    /// Whether clusters are as long as the whole drawing, so that what is beside each other happens together.
    pub lanes: bool,
    /// The nodes; those of one cluster and rank are shown in this order unless edges ask for another.
    pub nodes: Vec<Node>,
    /// The edges.
    pub edges: Vec<Edge>,
}

/// Where a drawing leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From left to right.
    #[default]
    Right,
    /// From top to bottom.
    Down,
}

/// A node of a drawing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Node {
    /// Its name, unique in the drawing.
    pub id: String,
    /// What is written in it.
    pub label: String,
    /// Lines below the label.
    pub details: Vec<String>,
    /// The box that it is in.
    pub cluster: Option<String>,
    /// What gives it its colour: nodes with the same word look the same.
    pub shade: Option<String>,
    /// What it is.
    pub shape: Shape,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A thing.
    #[default]
    Thing,
    /// A condition that must hold before it goes on.
    Gate,
    /// The end of something.
    End,
}

/// An edge of a drawing: `from` comes before `to`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Edge {
    /// The node it starts at.
    pub from: String,
    /// The node it leads to.
    pub to: String,
    /// What is written at it.
    pub label: Option<String>,
    /// How much it matters.
    pub weight: Weight,
}

/// How much an edge matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Somebody asked for it.
    #[default]
    Strong,
    /// It follows from the order of things.
    Weak,
}

impl Drawing {
    /// Returns the clusters in the order in which they come.
    pub fn clusters(&self) -> Vec<&str> {
        in_order(self.nodes.iter().filter_map(|node| node.cluster.as_deref()))
    }

    /// Returns the shades in the order in which they come.
    pub fn shades(&self) -> Vec<&str> {
        in_order(self.nodes.iter().filter_map(|node| node.shade.as_deref()))
    }
}

impl Node {
    /// Returns the number of the node's shade among all.
    fn shade_in(&self, shades: &[&str]) -> Option<usize> {
        let shade = self.shade.as_deref()?;
        shades.iter().position(|known| *known == shade)
    }
}

fn in_order<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

/// The colours of a shade: of the line and of the surface. They are told apart also by those who see few colours, and
/// no meaning is in them alone.
struct Paint {
    line: &'static str,
    fill: &'static str,
}

const PAINTS: [Paint; 8] = [
    Paint { line: "#2563a8", fill: "#eaf2fb" },
    Paint { line: "#b4530a", fill: "#fdf1e4" },
    Paint { line: "#0f766e", fill: "#e6f5f3" },
    Paint { line: "#8b3a8f", fill: "#f8ecf8" },
    Paint { line: "#4d7c0f", fill: "#f0f7e4" },
    Paint { line: "#b3304a", fill: "#fcebee" },
    Paint { line: "#4b4fc0", fill: "#eeeefb" },
    Paint { line: "#806015", fill: "#f9f3dd" },
];
const NEUTRAL: Paint = Paint { line: "#5b6b7d", fill: "#f3f6f9" };

fn paint_of(shade: Option<usize>) -> &'static Paint {
    shade.and_then(|shade| PAINTS.get(shade % PAINTS.len())).unwrap_or(&NEUTRAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that mean something to the formats they are written in.
    pub(super) fn hostile() -> Drawing {
        let node = |id: &str, cluster: Option<&str>| Node {
            id: id.to_owned(),
            label: format!("label of {id}"),
            details: vec!["<b>&amp;</b> #35; `x`".to_owned(), "a\nb\u{1b}[2J".to_owned()],
            cluster: cluster.map(str::to_owned),
            shade: Some("one\"two".to_owned()),
            shape: Shape::Thing,
        };
        let edge = |from: &str, to: &str| Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            label: Some("a|b\"c".to_owned()),
            weight: Weight::Strong,
        };
        Drawing {
            title: "A \"title\" </title> <script>".to_owned(),
            subtitle: "x & y".to_owned(),
            nodes: vec![
                node("a\"b", Some("c]\"; end")),
                node("back\\slash\\", None),
                node("]]><script>alert(1)</script>", Some("c]\"; end")),
            ],
            edges: vec![edge("a\"b", "back\\slash\\"), edge("back\\slash\\", "]]><script>alert(1)</script>")],
            ..Drawing::default()
        }
    }

    #[test]
    fn names_cannot_break_out_of_a_format() {
        let drawing = hostile();
        insta::assert_snapshot!("hostile_dot", dot(&drawing));
        insta::assert_snapshot!("hostile_mermaid", mermaid(&drawing));
        let svg = svg(&drawing);
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'));
        insta::assert_snapshot!("hostile_svg", svg);
    }
}
