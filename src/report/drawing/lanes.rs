//! The level-3 diagram as a picture: networks are lanes from top to bottom, in the colour of their zone; hosts are rows, and a
//! dot stands where a host is in a network. So lines cross, but no text lies on another, however many hosts there are.

use std::fmt::Write as _;

use super::paint_of;
use super::pen::{MONO, SANS, broken, number, shortened, text, text_width};
use super::topology::{Frame, Lane, Port, Row, Topology};
use crate::policy::Lang;

const MARGIN: f64 = 20.0;
const GAP: f64 = 26.0;
const HOSTS: f64 = 232.0;
const INSET: f64 = 14.0;
const LABEL: f64 = 12.0;
/// How wide bold letters of that size are, as if they were plain ones of this.
const BOLD: f64 = 12.9;
const DETAIL: f64 = 10.5;
const LINE: f64 = 14.0;
/// How many lines the names of the hosts of one row, or its addresses in one network, may take.
const LINES: usize = 4;
const NARROWEST: f64 = 96.0;
const WIDEST: f64 = 190.0;
const INK: &str = "#16202b";
const BESIDE: &str = "#526071";
const BORDER: &str = "#cfd8e2";

/// Returns the whole diagram as one SVG picture.
pub fn topology_svg(topology: &Topology) -> String {
    let frames: Vec<Shape<'_>> = topology.frames.iter().map(|frame| Shape::of(frame, topology.lang)).collect();
    let inner = frames.iter().map(|frame| frame.width).fold(text_width(&topology.title, 20.0) * 1.06, f64::max);
    let inner = inner.max(text_width(&topology.subtitle, 12.5)).max(420.0);
    let mut body = String::new();
    let mut y = MARGIN + 54.0;
    for frame in &frames {
        frame.push(&mut body, MARGIN, y);
        y += frame.height + GAP;
    }
    y = push_outside(&mut body, topology, inner, y);
    y = push_legend(&mut body, topology.lang, inner, MARGIN, y);
    let (width, height) = (inner + 2.0 * MARGIN, y + MARGIN - 8.0);
    let mut out = open(width, height, &topology.title, &topology.subtitle);
    push_text(&mut out, MARGIN, MARGIN + 15.0, 20.0, INK, " font-weight=\"700\"", &topology.title);
    push_text(&mut out, MARGIN, MARGIN + 35.0, 12.5, BESIDE, "", &topology.subtitle);
    out.push_str(&body);
    out.push_str("</svg>\n");
    out
}

/// Returns each frame as a picture of its own, to be printed on a sheet each, then what lies outside the fleet.
pub fn topology_frames(topology: &Topology) -> Vec<String> {
    let mut pictures = Vec::new();
    for frame in &topology.frames {
        let shape = Shape::of(frame, topology.lang);
        let mut body = String::new();
        shape.push(&mut body, 1.0, 1.0);
        let width = shape.width.max(420.0);
        let height = push_legend(&mut body, topology.lang, width, 1.0, shape.height + 20.0);
        let mut out = open(width + 2.0, height, &shape.title, &topology.subtitle);
        out.push_str(&body);
        out.push_str("</svg>\n");
        pictures.push(out);
    }
    if !topology.outside.is_empty() {
        let mut body = String::new();
        let height = push_outside(&mut body, topology, 760.0 - 2.0 * MARGIN, 1.0) - GAP;
        let title = outside_title(topology.lang);
        pictures.push(format!("{}{body}</svg>\n", open(760.0, height + 4.0, title, &topology.subtitle)));
    }
    pictures
}

fn open(width: f64, height: f64, title: &str, description: &str) -> String {
    let (width, height) = (width.ceil(), height.ceil());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" font-family=\"{SANS}\" font-size=\"{LABEL}\">\n<title>{}</title>\n<desc>{}</desc>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        text(title),
        text(description)
    )
}

fn push_text(out: &mut String, x: f64, y: f64, size: f64, color: &str, more: &str, raw: &str) {
    let (x, y) = (number(x), number(y));
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{color}\"{more}>{}</text>", text(raw));
}

/// A frame with the sizes of its parts.
struct Shape<'a> {
    frame: &'a Frame,
    lang: Lang,
    title: String,
    lane: f64,
    /// Where the names of the networks begin.
    names: f64,
    /// Where the rows begin.
    head: f64,
    rows: Vec<Measured<'a>>,
    width: f64,
    height: f64,
}

/// A row with its lines of text.
struct Measured<'a> {
    row: &'a Row,
    names: Vec<String>,
    ports: Vec<(&'a Port, Vec<String>)>,
    height: f64,
}

impl<'a> Shape<'a> {
    fn of(frame: &'a Frame, lang: Lang) -> Self {
        let mono = |text: &str| text.chars().count() as f64 * DETAIL * 0.61;
        let details = frame.lanes.iter().flat_map(|lane| &lane.details).map(|detail| text_width(detail, DETAIL));
        let addresses = frame.rows.iter().flat_map(|row| &row.ports).flat_map(|port| &port.addresses);
        let needed = details.chain(addresses.map(|address| mono(address))).fold(0.0, f64::max);
        let lane = (needed + 28.0).clamp(NARROWEST, WIDEST);
        let title = match frame.part {
            (at, all) if all > 1 => format!("{} ({at}/{all})", frame.name),
            _ => frame.name.clone(),
        };
        let rows: Vec<Measured<'a>> = frame.rows.iter().map(|row| Measured::of(row, lane)).collect();
        let lines = |network: &Lane| broken(&network.network, lane - 16.0, BOLD).len() + network.details.len();
        let zones = zones(frame);
        let zone_lines = zones.iter().map(|(zone, _, count)| broken(zone, *count as f64 * lane - 16.0, BOLD).len());
        let names = 48.0 + LINE * zone_lines.max().unwrap_or_default() as f64;
        let head = names + LINE * frame.lanes.iter().map(lines).max().unwrap_or_default() as f64 + 8.0;
        let foot = if frame.left_out > 0 { 24.0 } else { 8.0 };
        let height = head + rows.iter().map(|row| row.height).sum::<f64>() + foot;
        let width = (HOSTS + INSET + lane * frame.lanes.len() as f64 + INSET).max(text_width(&title, 14.0) + 40.0);
        Self { frame, lang, title, lane, names, head, rows, width, height }
    }

    fn lane_x(&self, at: usize) -> f64 {
        HOSTS + INSET + self.lane * at as f64
    }

    fn push(&self, out: &mut String, x: f64, y: f64) {
        let _ = writeln!(out, "<g transform=\"translate({} {})\">", number(x), number(y));
        let _ = writeln!(
            out,
            "<rect x=\"0\" y=\"0\" width=\"{}\" height=\"{}\" rx=\"10\" fill=\"#fbfcfe\" stroke=\"{BORDER}\"/>",
            number(self.width),
            number(self.height)
        );
        push_text(out, INSET, 22.0, 14.0, INK, " font-weight=\"700\"", &self.title);
        let foot = self.head + self.rows.iter().map(|row| row.height).sum::<f64>();
        for (zone, first, count) in zones(self.frame) {
            self.push_zone(out, zone, first, count, foot);
        }
        for (at, lane) in self.frame.lanes.iter().enumerate() {
            self.push_lane(out, at, lane, foot);
        }
        let mut top = self.head;
        for row in &self.rows {
            self.push_row(out, row, top);
            top += row.height;
        }
        if self.frame.left_out > 0 {
            let hosts = self.frame.left_out;
            let words = match self.lang {
                Lang::En => format!("{hosts} more hosts of this site are not drawn; `--limit` draws them"),
                Lang::Fr => format!("{hosts} autres hôtes de ce site ne sont pas dessinés ; `--limit` les dessine"),
            };
            push_text(out, INSET, foot + 16.0, DETAIL, INK, " font-weight=\"600\"", &words);
        }
        out.push_str("</g>\n");
    }

    fn push_zone(&self, out: &mut String, zone: &str, first: usize, count: usize, foot: f64) {
        let paint = paint_of(self.frame.lanes.get(first).map(|lane| lane.shade));
        let (x, width) = (self.lane_x(first), self.lane * count as f64);
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"32\" width=\"{}\" height=\"{}\" rx=\"6\" fill=\"{}\" stroke=\"{}\" stroke-opacity=\"0.35\"/>",
            number(x + 2.0),
            number(width - 4.0),
            number(foot - 32.0),
            paint.fill,
            paint.line
        );
        push_text(out, x + 9.0, 43.5, 8.5, paint.line, " letter-spacing=\"0.5\"", "zone");
        for (at, line) in broken(zone, width - 16.0, BOLD).iter().enumerate() {
            let y = 56.0 + LINE * at as f64;
            push_text(out, x + 9.0, y, LABEL, paint.line, " font-weight=\"700\"", line);
        }
    }

    fn push_lane(&self, out: &mut String, at: usize, lane: &Lane, foot: f64) {
        let paint = paint_of(Some(lane.shade));
        let x = self.lane_x(at);
        let names = broken(&lane.network, self.lane - 16.0, BOLD);
        let _ = writeln!(out, "<g><title>{}</title>", text(&format!("{}: {}", lane.network, lane.details.join(", "))));
        let mut y = self.names;
        for name in &names {
            y += LINE;
            push_text(out, x + 9.0, y - 3.0, LABEL, INK, " font-weight=\"600\"", name);
        }
        for (number, detail) in lane.details.iter().enumerate() {
            y += LINE;
            let family = if number == 0 { format!(" font-family=\"{MONO}\"") } else { String::new() };
            push_text(out, x + 9.0, y - 3.0, DETAIL, BESIDE, &family, &shortened(detail, self.lane - 14.0, DETAIL));
        }
        let _ = writeln!(
            out,
            "<path d=\"M{} {} V{}\" stroke=\"{}\" stroke-width=\"3\" stroke-linecap=\"round\"/></g>",
            number(x + 13.0),
            number(self.head),
            number(foot - 6.0),
            paint.line
        );
    }

    fn push_row(&self, out: &mut String, measured: &Measured<'_>, top: f64) {
        let row = measured.row;
        let (box_top, box_height) = (top + 4.0, measured.height - 10.0);
        let wire = box_top + 13.0;
        let whole: Vec<&str> = row.names.iter().chain(&row.details).map(String::as_str).collect();
        let _ = writeln!(out, "<g><title>{}</title>", text(&whole.join(", ")));
        if let Some(last) = row.ports.last() {
            let _ = writeln!(
                out,
                "<path d=\"M{} {} H{}\" stroke=\"#5b6b7d\" stroke-width=\"1.2\"/>",
                number(HOSTS - 2.0),
                number(wire),
                number(self.lane_x(last.lane) + 13.0)
            );
        }
        let dash = if row.is_bastion { " stroke-width=\"1.8\"" } else { "" };
        let border = if row.is_bastion || row.is_router { INK } else { "#9aa9b8" };
        let _ = writeln!(
            out,
            "<rect x=\"{INSET}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\" fill=\"#ffffff\" stroke=\"{border}\"{dash}/>",
            number(box_top),
            number(HOSTS - 2.0 - INSET),
            number(box_height)
        );
        let mut y = box_top + 17.0;
        for name in &measured.names {
            push_text(out, INSET + 9.0, y, LABEL, INK, " font-weight=\"600\"", name);
            y += LINE;
        }
        for detail in &row.details {
            push_text(out, INSET + 9.0, y, DETAIL, BESIDE, "", &shortened(detail, HOSTS - INSET - 20.0, DETAIL));
            y += LINE;
        }
        self.push_tags(out, row, box_top);
        for (port, addresses) in &measured.ports {
            self.push_port(out, port, addresses, wire);
        }
        out.push_str("</g>\n");
    }

    /// Writes how many hosts there are, and what else they are, at the right of the box.
    fn push_tags(&self, out: &mut String, row: &Row, top: f64) {
        let mut right = HOSTS - 8.0;
        for tag in tags(row, self.lang) {
            let width = text_width(&tag, 9.5) + 11.0;
            let _ = writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"15\" rx=\"7.5\" fill=\"{INK}\"/>",
                number(right - width),
                number(top + 5.5),
                number(width)
            );
            let middle = " font-weight=\"600\" text-anchor=\"middle\"";
            push_text(out, right - width / 2.0, top + 16.5, 9.5, "#ffffff", middle, &tag);
            right -= width + 4.0;
        }
    }

    fn push_port(&self, out: &mut String, port: &Port, addresses: &[String], wire: f64) {
        let Some(lane) = self.frame.lanes.get(port.lane) else { return };
        let paint = paint_of(Some(lane.shade));
        let x = self.lane_x(port.lane) + 13.0;
        let (at_x, at_y) = (number(x), number(wire));
        let _ = if port.routes {
            writeln!(
                out,
                "<path d=\"M{at_x} {} l7 7 l-7 7 l-7 -7 Z\" fill=\"#ffffff\" stroke=\"{}\" stroke-width=\"2.2\"/>",
                number(wire - 7.0),
                paint.line
            )
        } else {
            writeln!(
                out,
                "<circle cx=\"{at_x}\" cy=\"{at_y}\" r=\"5\" fill=\"#ffffff\" stroke=\"{}\" stroke-width=\"2.4\"/>",
                paint.line
            )
        };
        let mut y = wire + 13.5;
        for address in addresses {
            push_text(out, x + 7.0, y, DETAIL, INK, &format!(" font-family=\"{MONO}\""), address);
            y += LINE - 1.0;
        }
        let interfaces = shortened(&port.interfaces.join(" "), self.lane - 22.0, 9.5);
        push_text(out, x + 7.0, y, 9.5, BESIDE, "", &interfaces);
    }
}

fn tags(row: &Row, lang: Lang) -> Vec<String> {
    let mut tags = Vec::new();
    if row.count > 1 {
        tags.push(format!("× {}", row.count));
    }
    if row.is_router {
        tags.push(if lang == Lang::Fr { "routeur" } else { "router" }.to_owned());
    }
    if row.is_bastion {
        tags.push("bastion".to_owned());
    }
    tags
}

impl<'a> Measured<'a> {
    fn of(row: &'a Row, lane: f64) -> Self {
        let taken: f64 = tags(row, Lang::Fr).iter().map(|tag| text_width(tag, 9.5) + 15.0).sum();
        let room = HOSTS - INSET - 20.0 - taken;
        let mut names: Vec<String> = row.names.iter().flat_map(|name| broken(name, room, BOLD)).collect();
        let missing = row.unnamed;
        cut(&mut names, missing);
        let ports: Vec<(&Port, Vec<String>)> = row
            .ports
            .iter()
            .map(|port| {
                let short = port.addresses.iter().map(|address| shortened(address, lane - 24.0, DETAIL * 0.98));
                let mut lines: Vec<String> = short.collect();
                cut(&mut lines, 0);
                (port, lines)
            })
            .collect();
        let own = 12.0 + LINE * (names.len() + row.details.len()) as f64;
        let attached = ports.iter().map(|(_, lines)| 30.0 + (LINE - 1.0) * lines.len() as f64).fold(0.0, f64::max);
        Self { row, names, ports, height: own.max(attached).max(30.0) + 12.0 }
    }
}

/// Leaves only so many lines, and says how many more there would be.
fn cut(lines: &mut Vec<String>, more: usize) {
    if lines.len() > LINES || more > 0 {
        let left = lines.len().saturating_sub(LINES - 1) + more;
        lines.truncate(LINES - 1);
        lines.push(format!("… + {left}"));
    }
}

/// Returns the zones of a frame, each with its first lane and their number.
fn zones(frame: &Frame) -> Vec<(&str, usize, usize)> {
    let mut zones: Vec<(&str, usize, usize)> = Vec::new();
    for (at, lane) in frame.lanes.iter().enumerate() {
        match zones.last_mut() {
            Some((zone, _, count)) if *zone == lane.zone => *count += 1,
            _ => zones.push((&lane.zone, at, 1)),
        }
    }
    zones
}

fn outside_title(lang: Lang) -> &'static str {
    if lang == Lang::Fr { "Hors du parc, nommé par des flux" } else { "Outside the fleet, named by flows" }
}

/// Writes what lies outside the fleet, and returns where it ends.
fn push_outside(out: &mut String, topology: &Topology, inner: f64, top: f64) -> f64 {
    if topology.outside.is_empty() {
        return top;
    }
    let height = 36.0 + 19.0 * topology.outside.len() as f64;
    let _ = writeln!(
        out,
        "<rect x=\"{MARGIN}\" y=\"{}\" width=\"{}\" height=\"{height}\" rx=\"10\" fill=\"#fbfcfe\" stroke=\"{BORDER}\" \
         stroke-dasharray=\"5 4\"/>",
        number(top),
        number(inner)
    );
    push_text(out, MARGIN + INSET, top + 22.0, 14.0, INK, " font-weight=\"700\"", outside_title(topology.lang));
    for (at, outside) in topology.outside.iter().enumerate() {
        let y = top + 42.0 + 19.0 * at as f64;
        push_text(out, MARGIN + INSET, y, LABEL, INK, " font-weight=\"600\"", &shortened(&outside.name, 180.0, LABEL));
        push_text(out, MARGIN + INSET + 195.0, y, DETAIL, BESIDE, "", &shortened(&outside.operator, 150.0, DETAIL));
        let room = inner - 195.0 - 160.0 - 2.0 * INSET;
        let addresses = shortened(&outside.addresses.join(" "), room.max(40.0), DETAIL * 1.05);
        push_text(out, MARGIN + INSET + 355.0, y, DETAIL, INK, &format!(" font-family=\"{MONO}\""), &addresses);
    }
    top + height + GAP
}

/// Writes what the signs mean, in lines no wider than `room`, and returns where it ends.
fn push_legend(out: &mut String, lang: Lang, room: f64, left: f64, mut y: f64) -> f64 {
    let word = |en: &'static str, fr: &'static str| if lang == Lang::Fr { fr } else { en };
    let entries = [
        ("circle", word("is in the network, with this address", "est dans le réseau, à cette adresse")),
        ("diamond", word("passes packets on from here", "transmet des paquets d'ici")),
        (
            "line",
            word(
                "a line that only crosses a network is not in it",
                "un trait qui ne fait que croiser un réseau n'y est pas",
            ),
        ),
    ];
    let mut x = left;
    for (sign, meaning) in entries {
        let width = 20.0 + text_width(meaning, DETAIL) + 22.0;
        if x > left && x + width > left + room {
            (x, y) = (left, y + 18.0);
        }
        let (middle, base) = (x + 8.0, y - 4.0);
        let _ = match sign {
            "circle" => writeln!(
                out,
                "<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"#ffffff\" stroke=\"{BESIDE}\" stroke-width=\"2.4\"/>",
                number(middle),
                number(base)
            ),
            "diamond" => writeln!(
                out,
                "<path d=\"M{} {} l7 7 l-7 7 l-7 -7 Z\" fill=\"#ffffff\" stroke=\"{BESIDE}\" stroke-width=\"2.2\"/>",
                number(middle),
                number(base - 7.0)
            ),
            _ => writeln!(
                out,
                "<path d=\"M{} {} v14 M{} {} h16\" fill=\"none\" stroke=\"{BESIDE}\" stroke-width=\"1.4\"/>",
                number(middle),
                number(base - 7.0),
                number(middle - 8.0),
                number(base)
            ),
        };
        push_text(out, x + 20.0, y, DETAIL, BESIDE, "", meaning);
        x += width;
    }
    y + 12.0
}
