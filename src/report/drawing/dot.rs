//! The language of Graphviz.

use std::fmt::Write as _;

use super::{Direction, Drawing, Node, Shape, Weight, paint_of};
use crate::report::style::escape;

/// Returns a drawing as a graph of Graphviz's.
pub fn dot(drawing: &Drawing) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&drawing.title));
    let direction = match drawing.direction {
        Direction::Right => "LR",
        Direction::Down => "TB",
    };
    let _ = writeln!(out, "  graph [rankdir={direction}, fontname=\"sans-serif\"];");
    out.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];\n");
    out.push_str("  edge [color=\"#5b6b7d\", fontname=\"sans-serif\", fontsize=9];\n");
    let shades = drawing.shades();
    for node in drawing.nodes.iter().filter(|node| node.cluster.is_none()) {
        push_node(&mut out, "  ", &shades, node);
    }
    for (at, cluster) in drawing.clusters().into_iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{at} {{");
        let _ = writeln!(out, "    label={};", quoted(cluster));
        for node in drawing.nodes.iter().filter(|node| node.cluster.as_deref() == Some(cluster)) {
            push_node(&mut out, "    ", &shades, node);
        }
        out.push_str("  }\n");
    }
    for edge in &drawing.edges {
        let mut attributes: Vec<String> = Vec::new();
        if let Some(label) = &edge.label {
            attributes.push(format!("label={}", quoted(label)));
        }
        if edge.weight == Weight::Weak {
            attributes.push("style=dashed".to_owned());
        }
        let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        let _ = writeln!(out, "  {} -> {}{attributes};", quoted(&edge.from), quoted(&edge.to));
    }
    out.push_str("}\n");
    out
}

fn push_node(out: &mut String, indent: &str, shades: &[&str], node: &Node) {
    let label: Vec<&str> = std::iter::once(&node.label).chain(&node.details).map(String::as_str).collect();
    let label: Vec<String> = label.into_iter().map(inside).collect();
    let paint = paint_of(node.shade_in(shades));
    let shape = match node.shape {
        Shape::Thing => "",
        Shape::Gate => ", shape=hexagon, style=filled",
        Shape::End => ", shape=plain, style=\"\"",
    };
    let (line, fill) = (paint.line, paint.fill);
    let label = label.join("\\n");
    let _ = writeln!(
        out,
        "{indent}{} [label=\"{label}\", color=\"{line}\", fillcolor=\"{fill}\"{shape}];",
        quoted(&node.id)
    );
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", inside(text))
}

/// Returns a text as it stands between quotes. A backslash would begin an escape such as `\N`, the node's own name.
fn inside(text: &str) -> String {
    escape(text).replace('\\', "\\\\").replace('"', "\\\"")
}
