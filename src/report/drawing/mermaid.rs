//! The language of Mermaid, which forges and wikis render.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Direction, Drawing, Node, Shape, Weight, paint_of};
use crate::report::style::escape;

/// Returns a drawing as a flowchart of Mermaid's.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut out = format!("---\ntitle: {}\n---\n", serde_json::Value::from(escape(&drawing.title).as_ref()));
    let direction = match drawing.direction {
        Direction::Right => "LR",
        Direction::Down => "TB",
    };
    let _ = writeln!(out, "flowchart {direction}");
    // Words such as `end` mean something to Mermaid, so no name of ours is an identifier there.
    let ids: HashMap<&str, usize> = drawing.nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
    let shades = drawing.shades();
    for (at, node) in drawing.nodes.iter().enumerate().filter(|(_, node)| node.cluster.is_none()) {
        push_node(&mut out, "  ", &shades, at, node);
    }
    for (number, cluster) in drawing.clusters().into_iter().enumerate() {
        let _ = writeln!(out, "  subgraph c{number}[\"{}\"]", inside(cluster));
        for (at, node) in drawing.nodes.iter().enumerate() {
            if node.cluster.as_deref() == Some(cluster) {
                push_node(&mut out, "    ", &shades, at, node);
            }
        }
        out.push_str("  end\n");
    }
    for edge in &drawing.edges {
        let (Some(from), Some(to)) = (ids.get(edge.from.as_str()), ids.get(edge.to.as_str())) else { continue };
        let arrow = match edge.weight {
            Weight::Strong => "-->",
            Weight::Weak => "-.->",
        };
        let label = edge.label.as_ref().map(|label| format!("|\"{}\"|", inside(label))).unwrap_or_default();
        let _ = writeln!(out, "  n{from} {arrow}{label} n{to}");
    }
    for at in 0..shades.len() {
        let paint = paint_of(Some(at));
        let _ = writeln!(out, "  classDef s{at} stroke:{},fill:{},color:#1c2733", paint.line, paint.fill);
    }
    out
}

fn push_node(out: &mut String, indent: &str, shades: &[&str], at: usize, node: &Node) {
    let lines: Vec<String> = std::iter::once(&node.label).chain(&node.details).map(|line| inside(line)).collect();
    let label = lines.join("<br/>");
    let (open, close) = match node.shape {
        Shape::Thing => ("[", "]"),
        Shape::Gate => ("{{", "}}"),
        Shape::End => ("([", "])"),
    };
    let class = node.shade_in(shades).map(|shade| format!(":::s{shade}")).unwrap_or_default();
    let _ = writeln!(out, "{indent}n{at}{open}\"{label}\"{close}{class}");
}

/// Returns a text as it stands between quotes, where Mermaid reads HTML, Markdown and entities of its own.
fn inside(text: &str) -> String {
    let mut out = String::new();
    for c in escape(text).chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' | '`' | '\\' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
