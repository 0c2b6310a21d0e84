//! The matrix as rows, for text, CSV and Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::evidence::Tally;
use super::grid::seen;
use super::view::{Passing, State, View};
use crate::model::inventory::Host;
use crate::model::matrix::{End, Passage};
use crate::policy::Lang;
use crate::report::style::escape;

/// One line of the matrix: something that may pass, or that nothing may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it comes from.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// What the inventory says of it.
    pub state: State,
    /// What may pass; empty where nothing may.
    pub services: String,
    /// Why.
    pub why: String,
    /// Where the flow stands, `file:line`.
    pub place: String,
    /// Who signed for it, where it breaks a rule.
    pub waived: String,
    /// What was seen on the hosts; none where there is no proof.
    pub proof: Option<String>,
}

/// The services of a row that says what was seen between two zones of what their flows do not let through.
const ALL_ELSE: &str = "all else";

impl Row {
    fn denied(from: String, to: String, proof: Option<String>) -> Self {
        let none = String::new;
        Self { from, to, state: State::Denied, services: none(), why: none(), place: none(), waived: none(), proof }
    }

    fn cells(&self) -> Vec<(&'static str, &str)> {
        let mut cells = vec![
            ("from", self.from.as_str()),
            ("to", &self.to),
            ("state", self.state.as_str()),
            ("services", &self.services),
            ("why", &self.why),
            ("flow", &self.place),
        ];
        cells.extend(self.proof.as_deref().map(|proof| ("proof", proof)));
        cells
    }
}

/// Returns all pairs of zones and endpoints, those that nothing may pass between too.
pub fn by_zone(view: &View<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for from in &view.ends {
        for to in &view.ends {
            if !View::is_shown(*from, *to) {
                continue;
            }
            let passing = view.passing(*from, *to);
            let (from_name, to_name) = (from.name().to_owned(), to.name().to_owned());
            if passing.is_empty() {
                let proof = view.tally(*from, *to).map(seen_of);
                rows.push(Row::denied(from_name, to_name, proof));
                continue;
            }
            for passing in passing {
                rows.extend(row_of(view, *from, *to, passing));
            }
            // What no flow of the pair lets through was tried too, and may be open.
            let denied = Tally { denied: view.tally(*from, *to).unwrap_or_default().denied, ..Tally::default() };
            if denied.verdict().is_some() {
                rows.push(Row {
                    services: ALL_ELSE.to_owned(),
                    ..Row::denied(from_name, to_name, Some(seen_of(denied)))
                });
            }
        }
    }
    rows
}

fn row_of<'a>(view: &View<'a>, from: End<'a>, to: End<'a>, passing: &Passing) -> Option<Row> {
    let flow = view.flow(passing.flow)?;
    let only = |name: &str, hosts: Option<&str>| match hosts {
        Some(hosts) => format!("{name} ({hosts})"),
        None => name.to_owned(),
    };
    let proof = view.evidence.as_ref().map(|evidence| evidence.flow(from, to, passing.flow));
    Some(Row {
        from: only(from.name(), flow.flow.from_hosts.as_ref().map(|text| text.as_str())),
        to: only(to.name(), flow.flow.to_hosts.as_ref().map(|text| text.as_str())),
        state: passing.state(),
        services: view.services(passing.flow).join(" "),
        why: flow.flow.why.value.clone(),
        place: view.place(flow.flow.span),
        waived: waived(view, &passing.waivers),
        proof: proof.map(seen_of),
    })
}

/// Returns what was seen, with how many connections it is of all: `proved 12/14`; nothing where nothing was to be tried.
fn seen_of(tally: Tally) -> String {
    seen(tally, Lang::En).map(|(_, words)| words).unwrap_or_default()
}

/// Returns who signed for something: the rule, the end and the name.
fn waived(view: &View<'_>, waivers: &BTreeSet<usize>) -> String {
    let signed = waivers.iter().filter_map(|at| view.waiver(*at));
    let signed = signed.map(|waiver| format!("{} until {} by {}", waiver.rule, waiver.expires, waiver.owner));
    signed.collect::<Vec<_>>().join("; ")
}

/// Returns what each of these hosts may do on the network.
pub fn by_host(view: &View<'_>, hosts: &[&Host]) -> Vec<Row> {
    let matrix = view.matrix;
    let positions: BTreeMap<&str, usize> =
        matrix.flows().iter().enumerate().map(|(at, flow)| (flow.name.as_str(), at)).collect();
    let mut rows = Vec::new();
    for host in hosts {
        let flows = matrix.host(host);
        let mut add = |passage: &Passage, is_incoming: bool| {
            let peers: Vec<String> = passage.peers.networks().iter().map(ToString::to_string).collect();
            let own: Vec<String> = passage.own.iter().map(|own| own.address.to_string()).collect();
            let (own, peers) = (format!("{} {}", host.name, own.join(" ")), peers.join(" "));
            let (from, to) = if is_incoming { (peers, own) } else { (own, peers) };
            let flow = positions.get(passage.flow.as_str()).copied();
            let waivers = flow.map(|flow| view.waivers_of(flow).clone()).unwrap_or_default();
            rows.push(Row {
                from,
                to,
                state: if waivers.is_empty() { State::Allowed } else { State::Waived },
                services: flow.map(|flow| view.services(flow).join(" ")).unwrap_or_default(),
                why: passage.why.clone(),
                place: flow.and_then(|flow| view.flow(flow)).map(|flow| view.place(flow.flow.span)).unwrap_or_default(),
                waived: waived(view, &waivers),
                proof: view.evidence.as_ref().map(|evidence| {
                    let flow = flow.unwrap_or(usize::MAX);
                    seen_of(evidence.host(host.name.as_str(), flow, is_incoming))
                }),
            });
        };
        flows.incoming.iter().for_each(|passage| add(passage, true));
        flows.outgoing.iter().for_each(|passage| add(passage, false));
        for is_incoming in [true, false] {
            let denied = view.evidence.as_ref().map(|evidence| evidence.denied(host.name.as_str(), is_incoming));
            if let Some(denied) = denied.filter(|denied| denied.verdict().is_some()) {
                let (own, others) = (host.name.to_string(), "other hosts".to_owned());
                let (from, to) = if is_incoming { (others, own) } else { (own, others) };
                rows.push(Row { services: ALL_ELSE.to_owned(), ..Row::denied(from, to, Some(seen_of(denied))) });
            }
        }
    }
    rows
}

/// Returns rows as text that holds in a narrow terminal; what is denied comes together at the end.
pub fn text(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows.iter().filter(|row| row.state != State::Denied) {
        let _ = writeln!(out, "{} -> {}\n  {}: {}\n  {}", row.from, row.to, row.services, escape(&row.why), row.place);
        if !row.waived.is_empty() {
            let _ = writeln!(out, "  waived: {}", escape(&row.waived));
        }
        if let Some(proof) = row.proof.as_ref().filter(|proof| !proof.is_empty()) {
            let _ = writeln!(out, "  {proof}");
        }
    }
    let denied: Vec<&Row> = rows.iter().filter(|row| row.state == State::Denied).collect();
    if !denied.is_empty() {
        out.push_str("denied:\n");
    }
    for row in denied {
        let proof = row.proof.as_ref().filter(|proof| !proof.is_empty()).map(|proof| format!(": {proof}"));
        let services = if row.services.is_empty() { String::new() } else { format!(" ({})", row.services) };
        let _ = writeln!(out, "  {} -> {}{services}{}", row.from, row.to, proof.unwrap_or_default());
    }
    out.trim_end().to_owned()
}

/// Returns the names of the columns.
fn columns(rows: &[Row]) -> Vec<&'static str> {
    let nothing = Row::denied(String::new(), String::new(), None);
    rows.first().unwrap_or(&nothing).cells().into_iter().map(|(name, _)| name).collect()
}

/// Returns rows as comma-separated values (RFC 4180). A cell that a spreadsheet would take for a formula gets a `'`.
pub fn csv(rows: &[Row]) -> String {
    let quoted = |cell: &str| {
        let guard = if cell.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    };
    let line = |cells: Vec<&str>| cells.into_iter().map(quoted).collect::<Vec<_>>().join(",");
    let cells = |row| Row::cells(row).into_iter().map(|(_, cell)| cell).collect();
    let lines = std::iter::once(line(columns(rows))).chain(rows.iter().map(|row| line(cells(row))));
    lines.collect::<Vec<_>>().join("\n")
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
    let line = |cells: Vec<&str>| format!("| {} |", cells.into_iter().map(escaped).collect::<Vec<_>>().join(" | "));
    let cells = |row| Row::cells(row).into_iter().map(|(_, cell)| cell).collect();
    let columns = columns(rows);
    let rule = format!("|{}", "---|".repeat(columns.len()));
    let lines = [line(columns), rule].into_iter().chain(rows.iter().map(|row| line(cells(row))));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_leave_its_cell() {
        let why = "=cmd|' /C calc'!A0 \"quoted\", a | b\n<script>".to_owned();
        let row = Row {
            from: "a".into(),
            to: "b".into(),
            state: State::Allowed,
            services: "tcp/1".into(),
            why,
            place: "f:1".into(),
            waived: String::new(),
            proof: None,
        };
        let rows = [row];
        let expected =
            "\"a\",\"b\",\"allowed\",\"tcp/1\",\"'=cmd|' /C calc'!A0 \"\"quoted\"\", a | b\n<script>\",\"f:1\"";
        assert_eq!(csv(&rows).split_once('\n').unwrap().1, expected);
        let markdown = markdown(&rows);
        assert_eq!(markdown.lines().count(), 3);
        assert!(markdown.ends_with("a \\| b \\<script\\> | f:1 |"), "{markdown}");
    }
}
