//! The flow matrix for people and for an audit file: zones by zones, or host by host, each flow with its reason and place.

use std::fmt::Write as _;

use crate::diag::Sources;
use crate::model::inventory::Host;
use crate::model::matrix::{End, Matrix, Passage, ResolvedFlow};

/// One line of the matrix: something that may pass, or that nothing may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it comes from.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// What may pass; empty where nothing may.
    pub services: String,
    /// Why.
    pub why: String,
    /// Where the flow stands, `file:line`.
    pub place: String,
}

/// The names of a row's columns.
const COLUMNS: [&str; 6] = ["from", "to", "state", "services", "why", "flow"];

impl Row {
    fn state(&self) -> &'static str {
        if self.services.is_empty() { "denied" } else { "allowed" }
    }

    fn cells(&self) -> [&str; 6] {
        [&self.from, &self.to, self.state(), &self.services, &self.why, &self.place]
    }
}

/// Returns all pairs of zones and endpoints, those that nothing may pass between too.
pub fn by_zone(matrix: &Matrix<'_>, sources: &Sources) -> Vec<Row> {
    let (ends, cells) = (matrix.ends(), matrix.cells());
    let mut rows = Vec::new();
    for from in &ends {
        for to in &ends {
            // Two endpoints are nobody's business here.
            if matches!((from, to), (End::Endpoint(_), End::Endpoint(_))) {
                continue;
            }
            let flows = cells.get(&(*from, *to)).map(Vec::as_slice).unwrap_or_default();
            let (from, to) = (from.name().to_owned(), to.name().to_owned());
            if flows.is_empty() {
                let none = String::new;
                rows.push(Row { from, to, services: none(), why: none(), place: none() });
                continue;
            }
            for flow in flows.iter().filter_map(|at| matrix.flows().get(*at)) {
                let only = |name: &str, hosts: Option<&str>| match hosts {
                    Some(hosts) => format!("{name} ({hosts})"),
                    None => name.to_owned(),
                };
                rows.push(Row {
                    from: only(&from, flow.flow.from_hosts.as_ref().map(|text| text.as_str())),
                    to: only(&to, flow.flow.to_hosts.as_ref().map(|text| text.as_str())),
                    services: services(flow),
                    why: flow.flow.why.value.clone(),
                    place: place(flow, sources),
                });
            }
        }
    }
    rows
}

/// Returns what each of these hosts may do on the network.
pub fn by_host(matrix: &Matrix<'_>, hosts: &[&Host], sources: &Sources) -> Vec<Row> {
    let mut rows = Vec::new();
    for host in hosts {
        let flows = matrix.host(host);
        let mut add = |passage: &Passage, is_incoming: bool| {
            let peers: Vec<String> = passage.peers.networks().iter().map(ToString::to_string).collect();
            let own: Vec<String> = passage.own.iter().map(|own| own.address.to_string()).collect();
            let (own, peers) = (format!("{} {}", host.name, own.join(" ")), peers.join(" "));
            let (from, to) = if is_incoming { (peers, own) } else { (own, peers) };
            let flow = matrix.flows().iter().find(|flow| flow.name == passage.flow);
            rows.push(Row {
                from,
                to,
                services: flow.map(services).unwrap_or_default(),
                why: passage.why.clone(),
                place: flow.map(|flow| place(flow, sources)).unwrap_or_default(),
            });
        };
        flows.incoming.iter().for_each(|passage| add(passage, true));
        flows.outgoing.iter().for_each(|passage| add(passage, false));
    }
    rows
}

fn services(flow: &ResolvedFlow<'_>) -> String {
    flow.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn place(flow: &ResolvedFlow<'_>, sources: &Sources) -> String {
    let place = sources.locate(flow.flow.span);
    format!("{}:{}", place.file, place.line)
}

/// Returns rows as text that holds in a narrow terminal; what is denied comes together at the end.
pub fn text(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows.iter().filter(|row| row.state() == "allowed") {
        writeln!(out, "{} -> {}\n  {}: {}\n  {}", row.from, row.to, row.services, row.why, row.place).ok();
    }
    let denied: Vec<&Row> = rows.iter().filter(|row| row.state() == "denied").collect();
    if !denied.is_empty() {
        out.push_str("denied:\n");
    }
    for row in denied {
        writeln!(out, "  {} -> {}", row.from, row.to).ok();
    }
    out.trim_end().to_owned()
}

/// Returns rows as comma-separated values (RFC 4180). A cell that a spreadsheet would take for a formula gets a `'`.
pub fn csv(rows: &[Row]) -> String {
    let quoted = |cell: &str| {
        let guard = if cell.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    };
    let line = |cells: [&str; 6]| cells.map(quoted).join(",");
    let lines: Vec<String> = std::iter::once(line(COLUMNS)).chain(rows.iter().map(|row| line(row.cells()))).collect();
    lines.join("\n")
}

/// Returns rows as a table in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let escaped = |cell: &str| {
        let mut out = String::new();
        for c in cell.chars() {
            match c {
                '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '&' => out.extend(['\\', c]),
                c if c.is_control() => out.push(' '),
                c => out.push(c),
            }
        }
        out
    };
    let line = |cells: [&str; 6]| format!("| {} |", cells.map(escaped).join(" | "));
    let head = [line(COLUMNS), "|---|---|---|---|---|---|".to_owned()];
    let lines: Vec<String> = head.into_iter().chain(rows.iter().map(|row| line(row.cells()))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_leave_its_cell() {
        let why = "=cmd|' /C calc'!A0 \"quoted\", a | b\n<script>".to_owned();
        let row = Row { from: "a".into(), to: "b".into(), services: "tcp/1".into(), why, place: "f:1".into() };
        let rows = [row];
        let expected =
            "\"a\",\"b\",\"allowed\",\"tcp/1\",\"'=cmd|' /C calc'!A0 \"\"quoted\"\", a | b\n<script>\",\"f:1\"";
        assert_eq!(csv(&rows).split_once('\n').unwrap().1, expected);
        let markdown = markdown(&rows);
        assert_eq!(markdown.lines().count(), 3);
        assert!(markdown.ends_with("a \\| b \\<script\\> | f:1 |"), "{markdown}");
    }
}
