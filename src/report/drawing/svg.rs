//! A picture that stands alone: system fonts, no script, nothing that is fetched.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::layout::{Point, Rect, Way, layout};
use super::pen::{MONO, SANS, is_address, number, shortened, text, text_width};
use super::{Drawing, NEUTRAL, Node, PAINTS, Shape, Weight, paint_of};

const MARGIN: f64 = 28.0;
const LABEL: f64 = 13.0;
const DETAIL: f64 = 11.0;
const LINE: f64 = 15.0;
const LEGEND_LINE: f64 = 20.0;
/// Between a node's edge and its text.
const INSET: f64 = 15.0;
const WIDEST: f64 = 330.0;
const WIDEST_DETAIL: f64 = 235.0;
const NARROWEST: f64 = 96.0;

/// Returns a drawing as an SVG picture.
pub fn svg(drawing: &Drawing) -> String {
    let widest = drawing.nodes.iter().map(width_of_node).fold(NARROWEST, f64::max).min(WIDEST).ceil();
    let lines = drawing.nodes.iter().map(|node| node.details.len()).max().unwrap_or_default();
    let height = 32.0 + LINE * lines as f64;
    let placed = layout(drawing, widest, height);
    let shades = drawing.shades();
    let legend = legend(drawing, &shades);
    let title_width = text_width(&drawing.title, 20.0) * 1.06;
    let subtitle_width = text_width(&drawing.subtitle, 12.5);
    let head = if drawing.title.is_empty() { 0.0 } else { 54.0 };
    let widest_entry = legend.iter().map(Entry::width).fold(0.0, f64::max);
    let inner = placed.size.x.max(title_width).max(subtitle_width).max(widest_entry).max(260.0);
    let rows = legend_rows(&legend, inner);
    let foot = if rows.is_empty() { 0.0 } else { 14.0 + LEGEND_LINE * rows.len() as f64 };
    let (width, full) = ((inner + 2.0 * MARGIN).ceil(), (placed.size.y + head + foot + 2.0 * MARGIN).ceil());

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {full}\" width=\"{width}\" height=\"{full}\" \
         role=\"img\" font-family=\"{SANS}\" font-size=\"{LABEL}\">\n<title>{}</title>\n",
        text(&drawing.title)
    );
    push_definitions(&mut out, shades.len());
    let _ = writeln!(
        out,
        "<rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"14\" fill=\"#fbfcfe\" stroke=\"#dfe5ec\"/>",
        width - 1.0,
        full - 1.0
    );
    if !drawing.title.is_empty() {
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"20\" font-weight=\"700\" fill=\"#16202b\">{}</text>",
            MARGIN + 15.0,
            text(&drawing.title)
        );
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"12.5\" fill=\"#5b6b7d\">{}</text>",
            MARGIN + 35.0,
            text(&drawing.subtitle)
        );
    }
    let left = MARGIN + ((inner - placed.size.x) / 2.0).max(0.0).min(if drawing.lanes { 0.0 } else { f64::MAX });
    let _ = writeln!(out, "<g transform=\"translate({} {})\">", number(left), number(MARGIN + head));
    for rect in &placed.clusters {
        push_cluster(&mut out, rect);
    }
    let shade_of: HashMap<&str, Option<usize>> =
        drawing.nodes.iter().map(|node| (node.id.as_str(), node.shade_in(&shades))).collect();
    // What follows anyway lies below what somebody asked for.
    for weight in [Weight::Weak, Weight::Strong] {
        for (edge, way) in drawing.edges.iter().zip(&placed.edges).filter(|(edge, _)| edge.weight == weight) {
            let shade = shade_of.get(edge.from.as_str()).copied().flatten();
            push_edge(&mut out, drawing, edge.weight, shade, way);
            if let (Some(label), Some(at)) = (&edge.label, middle(way.points())) {
                push_label(&mut out, label, at);
            }
        }
    }
    for (name, rect) in drawing.clusters().iter().zip(&placed.clusters) {
        push_cluster_name(&mut out, name, rect);
    }
    for (node, rect) in drawing.nodes.iter().zip(&placed.nodes) {
        push_node(&mut out, node, node.shade_in(&shades), rect);
    }
    out.push_str("</g>\n");
    for (at, row) in rows.iter().rev().enumerate() {
        push_legend(&mut out, row, full - MARGIN + 4.0 - LEGEND_LINE * at as f64);
    }
    out.push_str("</svg>\n");
    out
}

fn push_definitions(out: &mut String, shades: usize) {
    out.push_str("<defs>\n");
    let heads = (0..shades.min(PAINTS.len())).map(|at| (format!("a{at}"), paint_of(Some(at)).line));
    for (id, color) in heads.chain([("an".to_owned(), NEUTRAL.line), ("aw".to_owned(), WEAK)]) {
        let _ = writeln!(
            out,
            "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0.5 0.8 L7.5 4 L0.5 7.2 Z\" fill=\"{color}\"/></marker>"
        );
    }
    out.push_str("</defs>\n");
}

const WEAK: &str = "#a9b6c4";

fn push_cluster(out: &mut String, rect: &Rect) {
    let Rect { x, y, w, h } = *rect;
    let _ = writeln!(
        out,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"12\" fill=\"#ffffff\" stroke=\"#cfd8e2\"/>",
        number(x),
        number(y),
        number(w),
        number(h)
    );
}

fn push_cluster_name(out: &mut String, name: &str, rect: &Rect) {
    let shown = shortened(name, rect.w - 28.0, 12.0);
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"12\" font-weight=\"600\" letter-spacing=\"0.3\" fill=\"#5b6b7d\" \
         stroke=\"#ffffff\" stroke-width=\"4\" stroke-linejoin=\"round\" paint-order=\"stroke\">{}</text>",
        number(rect.x + 14.0),
        number(rect.y + 20.0),
        text(&shown)
    );
}

fn push_edge(out: &mut String, drawing: &Drawing, weight: Weight, shade: Option<usize>, way: &Way) {
    let path = match way {
        Way::Curved(points) => curved(drawing, points),
        Way::Square(points) => square(points),
    };
    let Some(path) = path else { return };
    let (color, head, stroke) = match (weight, shade) {
        (Weight::Weak, _) => (WEAK, "aw".to_owned(), 1.3),
        (Weight::Strong, Some(shade)) => (paint_of(Some(shade)).line, format!("a{}", shade % PAINTS.len()), 1.7),
        (Weight::Strong, None) => (NEUTRAL.line, "an".to_owned(), 1.7),
    };
    let _ = writeln!(
        out,
        "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{stroke}\" stroke-linecap=\"round\" \
         marker-end=\"url(#{head})\"/>"
    );
}

/// Returns a way as a path: curves that leave and arrive straight, with straight lines between them.
fn curved(drawing: &Drawing, way: &[Point]) -> Option<String> {
    let start = way.first()?;
    let mut path = format!("M{} {}", number(start.x), number(start.y));
    for (at, pair) in way.windows(2).enumerate() {
        let [from, to] = pair else { continue };
        if at % 2 == 1 {
            let _ = write!(path, " L{} {}", number(to.x), number(to.y));
            continue;
        }
        let (first, second) = match drawing.direction {
            super::Direction::Right => {
                let bend = ((to.x - from.x) * 0.5).max(6.0);
                (Point { x: from.x + bend, y: from.y }, Point { x: to.x - bend, y: to.y })
            }
            super::Direction::Down => {
                let bend = ((to.y - from.y) * 0.5).max(6.0);
                (Point { x: from.x, y: from.y + bend }, Point { x: to.x, y: to.y - bend })
            }
        };
        let points = [first, second, *to].map(|point| format!("{} {}", number(point.x), number(point.y)));
        let _ = write!(path, " C{}", points.join(" "));
    }
    Some(path)
}

/// Returns a way of straight lines as a path, its corners rounded.
fn square(way: &[Point]) -> Option<String> {
    const ROUND: f64 = 9.0;
    let mut points: Vec<Point> = Vec::new();
    for point in way {
        let is_corner = |a: &Point, b: &Point| (a.x == b.x && b.x == point.x) || (a.y == b.y && b.y == point.y);
        if points.last() == Some(point) {
            continue;
        }
        if let [.., a, b] = points.as_slice()
            && is_corner(a, b)
        {
            points.pop();
        }
        points.push(*point);
    }
    let start = points.first()?;
    let mut path = format!("M{} {}", number(start.x), number(start.y));
    for corner in points.windows(3) {
        let [before, at, after] = corner else { continue };
        let towards = |other: &Point| {
            let (dx, dy) = (other.x - at.x, other.y - at.y);
            let length = dx.abs() + dy.abs();
            let share = ROUND.min(length / 2.0) / length.max(0.1);
            Point { x: at.x + dx * share, y: at.y + dy * share }
        };
        let (from, to) = (towards(before), towards(after));
        let points = [from, *at, to].map(|point| format!("{} {}", number(point.x), number(point.y)));
        let [from, at, to] = points;
        let _ = write!(path, " L{from} Q{at} {to}");
    }
    let end = points.last()?;
    let _ = write!(path, " L{} {}", number(end.x), number(end.y));
    Some(path)
}

fn middle(way: &[Point]) -> Option<Point> {
    let at = (way.len() / 2).checked_sub(1)?;
    let (a, b) = (way.get(at)?, way.get(at + 1)?);
    Some(Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 })
}

fn push_label(out: &mut String, label: &str, at: Point) {
    let shown = shortened(label, 150.0, 10.5);
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"10.5\" text-anchor=\"middle\" fill=\"#3d4a58\" stroke=\"#fbfcfe\" \
         stroke-width=\"4\" stroke-linejoin=\"round\" paint-order=\"stroke\">{}</text>",
        number(at.x),
        number(at.y + 3.5),
        text(&shown)
    );
}

fn push_node(out: &mut String, node: &Node, shade: Option<usize>, rect: &Rect) {
    let paint = paint_of(shade);
    let Rect { x, y, w, h } = *rect;
    let (line, fill) = (paint.line, paint.fill);
    let whole: Vec<&str> = std::iter::once(&node.label).chain(&node.details).map(String::as_str).collect();
    let _ = writeln!(out, "<g><title>{}</title>", text(&whole.join(", ")));
    let (nx, ny, nw, nh) = (number(x), number(y), number(w), number(h));
    match node.shape {
        Shape::Thing => {
            let _ = writeln!(
                out,
                "<rect x=\"{nx}\" y=\"{ny}\" width=\"{nw}\" height=\"{nh}\" rx=\"8\" fill=\"{fill}\" stroke=\"{line}\" \
                 stroke-opacity=\"0.45\"/>"
            );
            // The bar at the left keeps to the round corners.
            let _ = writeln!(
                out,
                "<path d=\"M{} {ny} h-1 a8 8 0 0 0 -8 8 v{} a8 8 0 0 0 8 8 h1 a4 8 0 0 1 -4 -8 v-{} a4 8 0 0 1 4 -8 Z\" \
                 fill=\"{line}\"/>",
                number(x + 9.0),
                number(h - 16.0),
                number(h - 16.0)
            );
        }
        Shape::Gate => {
            let _ = writeln!(
                out,
                "<rect x=\"{nx}\" y=\"{ny}\" width=\"{nw}\" height=\"{nh}\" rx=\"{}\" fill=\"#ffffff\" stroke=\"{line}\" \
                 stroke-dasharray=\"4 3\"/>",
                number(h / 2.0)
            );
        }
        Shape::End => {
            let _ = writeln!(
                out,
                "<rect x=\"{nx}\" y=\"{ny}\" width=\"{nw}\" height=\"{nh}\" rx=\"{}\" fill=\"{fill}\" stroke=\"{line}\" \
                 stroke-opacity=\"0.3\"/>",
                number(h / 2.0)
            );
        }
    }
    let room = w - 2.0 * INSET;
    let (tx, anchor) = match node.shape {
        Shape::Thing => (x + INSET, ""),
        Shape::Gate | Shape::End => (x + w / 2.0, " text-anchor=\"middle\""),
    };
    let lines = 1 + node.details.len();
    let top = y + (h - LINE * lines as f64) / 2.0 + 11.5;
    let weight = if node.shape == Shape::End { "" } else { " font-weight=\"600\"" };
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\"{anchor}{weight} fill=\"#16202b\">{}</text>",
        number(tx),
        number(top),
        text(&shortened(&node.label, room / 1.06, LABEL))
    );
    for (at, detail) in node.details.iter().enumerate() {
        let family = if is_address(detail) { format!(" font-family=\"{MONO}\"") } else { String::new() };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\"{anchor} font-size=\"{DETAIL}\"{family} fill=\"#526071\">{}</text>",
            number(tx),
            number(top + LINE * (at + 1) as f64),
            text(&shortened(detail, room, DETAIL))
        );
    }
    out.push_str("</g>\n");
}

/// What the legend has to say.
enum Entry<'a> {
    Shade(usize, &'a str),
    Edge(Weight, &'a str),
}

impl Entry<'_> {
    fn text(&self) -> &str {
        match self {
            Entry::Shade(_, text) | Entry::Edge(_, text) => text,
        }
    }

    fn width(&self) -> f64 {
        let sign = match self {
            Entry::Shade(..) => 20.0,
            Entry::Edge(..) => 38.0,
        };
        sign + text_width(self.text(), 11.5) + 24.0
    }
}

fn legend<'a>(drawing: &'a Drawing, shades: &[&'a str]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let shades = if drawing.says_shades { shades } else { &[] };
    entries.extend(shades.iter().enumerate().map(|(at, shade)| Entry::Shade(at, shade)));
    for (weight, meaning) in [(Weight::Strong, &drawing.strong), (Weight::Weak, &drawing.weak)] {
        if !meaning.is_empty() && drawing.edges.iter().any(|edge| edge.weight == weight) {
            entries.push(Entry::Edge(weight, meaning));
        }
    }
    entries
}

/// Returns the legend in rows that are no wider than the picture.
fn legend_rows<'a, 'b>(legend: &'b [Entry<'a>], room: f64) -> Vec<Vec<&'b Entry<'a>>> {
    let mut rows: Vec<Vec<&Entry<'a>>> = Vec::new();
    let mut used = f64::INFINITY;
    for entry in legend {
        used += entry.width();
        match rows.last_mut() {
            Some(row) if used <= room => row.push(entry),
            _ => {
                used = entry.width();
                rows.push(vec![entry]);
            }
        }
    }
    rows
}

fn push_legend(out: &mut String, legend: &[&Entry<'_>], y: f64) {
    let mut x = MARGIN;
    for entry in legend {
        let sign = match entry {
            Entry::Shade(at, _) => {
                let paint = paint_of(Some(*at));
                let _ = writeln!(
                    out,
                    "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"3\" fill=\"{}\" stroke=\"{}\"/>",
                    number(x),
                    number(y - 10.0),
                    paint.fill,
                    paint.line
                );
                20.0
            }
            Entry::Edge(weight, _) => {
                let (color, head) = match weight {
                    Weight::Strong => (NEUTRAL.line, "an"),
                    Weight::Weak => (WEAK, "aw"),
                };
                let _ = writeln!(
                    out,
                    "<path d=\"M{} {} h28\" stroke=\"{color}\" stroke-width=\"1.6\" marker-end=\"url(#{head})\"/>",
                    number(x),
                    number(y - 4.0)
                );
                38.0
            }
        };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" font-size=\"11.5\" fill=\"#3d4a58\">{}</text>",
            number(x + sign),
            number(y),
            text(entry.text())
        );
        x += entry.width();
    }
}

fn width_of_node(node: &Node) -> f64 {
    let details = node.details.iter().map(|detail| {
        if is_address(detail) { detail.chars().count() as f64 * DETAIL * 0.61 } else { text_width(detail, DETAIL) }
    });
    let details = details.map(|width| width.min(WIDEST_DETAIL));
    details.fold(text_width(&node.label, LABEL) * 1.06, f64::max) + 2.0 * INSET
}
