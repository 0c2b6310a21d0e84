//! A proof for people: what was tried between each two zones, and each connection that is not as the flow matrix says.
//!
//! Where the inventory speaks of it and what to do next stands in the findings, which are drawn apart from this.

mod junit;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;

pub use self::junit::junit;
use super::style::{Color, Tone, count, escape, width_of, wrap};
use crate::model::inventory::Inventory;
use crate::model::matrix::Transport;
use crate::policy::Lang;
use crate::proof::{Cell, Expected, Note, Proof, Verdict};

/// How many connections of a sort are listed one by one.
const LISTED: usize = 20;

/// A proof and what it is shown with.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The proof.
    pub proof: &'a Proof,
    /// The inventory, which says what zones there are.
    pub inventory: &'a Inventory,
    /// How many allowed pairs of addresses were left to other sources.
    pub left_out: usize,
    /// What else could not be tried, a line each.
    pub untried: &'a [String],
    /// The language.
    pub lang: Lang,
    /// Whether it is coloured.
    pub color: Color,
    /// How many columns there are.
    pub width: usize,
}

/// What came of the connections between two zones.
#[derive(Clone, Copy, Default)]
struct Tally {
    allowed: Count,
    denied: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    tried: usize,
    proved: usize,
    contradicted: usize,
}

impl View<'_> {
    fn word(&self, en: &'static str, fr: &'static str) -> &'static str {
        if self.lang == Lang::Fr { fr } else { en }
    }

    /// Returns the zones by the addresses of hosts.
    fn zones(&self) -> HashMap<IpAddr, &str> {
        let interfaces = self.inventory.hosts.values().flat_map(|host| host.interfaces.values());
        let zones = interfaces.filter_map(|interface| {
            let (_, network) = self.inventory.network_of(interface)?;
            Some((interface.address?.value, network.zone.as_str()))
        });
        zones.collect()
    }

    /// Returns the whole text.
    pub fn text(&self) -> String {
        let mut out = self.table();
        let sections = [
            (
                Verdict::Contradicted,
                self.word("not as the flow matrix says", "autrement que la matrice de flux"),
                Tone::Bad,
            ),
            (Verdict::Undecided, self.word("undecided", "indécis"), Tone::Changed),
        ];
        for (verdict, heading, tone) in sections {
            let cells: Vec<&Cell> = self.proof.cells.iter().filter(|cell| cell.verdict == verdict).collect();
            if cells.is_empty() {
                continue;
            }
            let _ = writeln!(out, "\n{}{}", self.color.paint(tone, heading), self.word(":", " :"));
            for (connection, seen) in cells.iter().take(LISTED).map(|cell| self.told(cell)) {
                for (text, indent) in [(connection, 2), (seen, 4)] {
                    for line in wrap(&escape(&text), self.width.saturating_sub(indent).max(30)) {
                        let _ = writeln!(out, "{:indent$}{line}", "");
                    }
                }
            }
            let more = cells.len().saturating_sub(LISTED);
            if more > 0 {
                let more = match self.lang {
                    Lang::En => format!("{more} more; `--out FILE` has all of them"),
                    Lang::Fr => format!("{more} de plus ; `--out FICHIER` les a toutes"),
                };
                let _ = writeln!(out, "  {more}");
            }
        }
        self.untried(&mut out);
        out.push('\n');
        for line in wrap(&self.summary(), self.width.max(40)) {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    /// Returns a line for each pair of zones between which something was to be tried.
    fn table(&self) -> String {
        let zones = self.zones();
        let order = |zone: &str| self.inventory.zones.get_index_of(zone).unwrap_or(usize::MAX);
        let mut tallies: BTreeMap<(usize, usize), (String, Tally)> = BTreeMap::new();
        for cell in &self.proof.cells {
            let zone = |address: &IpAddr| zones.get(address).copied().unwrap_or("?");
            let (from, to) = (zone(&cell.source), zone(&cell.address));
            let entry = tallies.entry((order(from), order(to)));
            let (_, tally) = entry.or_insert_with(|| (format!("{from} -> {to}"), Tally::default()));
            let counted = match cell.expected {
                Expected::Allowed => &mut tally.allowed,
                Expected::Denied => &mut tally.denied,
            };
            counted.tried += 1;
            counted.proved += usize::from(cell.verdict == Verdict::Proved);
            counted.contradicted += usize::from(cell.verdict == Verdict::Contradicted);
        }
        let head = [self.word("zones", "zones"), self.word("allowed", "permis"), self.word("denied", "interdit")];
        let shown = |counted: Count| match counted.tried {
            0 => "-".to_owned(),
            tried => format!("{}/{tried}", counted.proved),
        };
        let mut rows: Vec<([String; 3], bool)> = vec![(head.map(str::to_owned), false)];
        for (pair, tally) in tallies.into_values() {
            let is_bad = tally.allowed.contradicted + tally.denied.contradicted > 0;
            rows.push(([pair, shown(tally.allowed), shown(tally.denied)], is_bad));
        }
        let widest = |column: usize| {
            rows.iter().filter_map(|(cells, _)| cells.get(column)).map(|cell| width_of(cell)).max().unwrap_or_default()
        };
        let widths = [widest(0), widest(1), widest(2)];
        let mut out = String::new();
        for (at, ([pair, allowed, denied], is_bad)) in rows.iter().enumerate() {
            let [a, b, c] = widths;
            let line = format!("{pair:<a$}  {allowed:>b$}  {denied:>c$}");
            let line = match (at, is_bad) {
                (0, _) => self.color.paint(Tone::Strong, &line).into_owned(),
                (_, true) => format!("{}  <-", self.color.paint(Tone::Bad, &line)),
                (_, false) => line,
            };
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out
    }

    /// Tells of one connection: who and to where; and what was expected and seen.
    fn told(&self, cell: &Cell) -> (String, String) {
        let transport = match cell.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let line = format!("{} {} -> {} {} {transport}/{}", cell.from, cell.source, cell.to, cell.address, cell.port);
        let expected = match (&cell.flow, cell.expected) {
            (Some(why), _) => match self.lang {
                Lang::En => format!("allowed ({why})"),
                Lang::Fr => format!("permise ({why})"),
            },
            (None, Expected::Allowed) => self.word("allowed", "permise").to_owned(),
            (None, Expected::Denied) => self.word("denied", "interdite").to_owned(),
        };
        let but = if cell.verdict == Verdict::Contradicted { self.word(", but ", ", mais ") } else { ", " };
        let note = cell.note.map(|note| note.words().of(self.lang));
        let seen = cell.seen.words().of(self.lang);
        let told = match (cell.note, note) {
            (Some(Note::HeldBackBySource), Some(note)) => note.to_owned(),
            (_, Some(note)) => format!("{seen}{}{note}", self.word(": ", " : ")),
            (_, None) => seen.to_owned(),
        };
        (line, format!("{expected}{but}{told}"))
    }

    /// Adds what was not tried, and why.
    fn untried(&self, out: &mut String) {
        let mut lines: Vec<String> = Vec::new();
        for (host, why) in &self.proof.unreachable {
            let of_host = |cell: &&Cell| cell.from == *host || cell.to == *host;
            let untried = |cell: &&Cell| cell.verdict == Verdict::NotTried;
            let number = self.proof.cells.iter().filter(of_host).filter(untried).count();
            lines.push(match self.lang {
                Lang::En => format!("{} of {host}: {why}", count(number, "connection")),
                Lang::Fr => format!("{} de {host} : {why}", french(number, "connexion")),
            });
        }
        let is_half = |cell: &&Cell| cell.note == Some(Note::AroundNotTried);
        let half = self.proof.cells.iter().filter(is_half).count();
        if half > 0 {
            let (en, fr) = (count(half, "connection"), french(half, "connexion"));
            lines.push(match self.lang {
                Lang::En => {
                    format!("around the source's own filter: {en}, so the destination's was not proved by them")
                }
                Lang::Fr => {
                    format!(
                        "en contournant le filtre de la source : {fr} ; le filtre propre à la destination n'en est pas prouvé"
                    )
                }
            });
        }
        if self.left_out > 0 {
            let number = self.left_out;
            lines.push(match self.lang {
                Lang::En => format!("{number} pairs of large flows, which others stand for; `--exhaustive` tries them"),
                Lang::Fr => {
                    format!("{number} paires de grands flux, que d'autres représentent ; `--exhaustive` les essaie")
                }
            });
        }
        lines.extend(self.untried.iter().cloned());
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "\n{}", self.word("not tried:", "non essayé :"));
        for line in lines {
            for (at, line) in wrap(&escape(&line), self.width.saturating_sub(4).max(30)).into_iter().enumerate() {
                let _ = writeln!(out, "{}{line}", if at == 0 { "  " } else { "    " });
            }
        }
    }

    fn summary(&self) -> String {
        let of = |verdict| self.proof.count(verdict);
        let hosts = self.inventory.hosts.len();
        let (total, proved, contradicted) = (self.proof.cells.len(), of(Verdict::Proved), of(Verdict::Contradicted));
        let (undecided, untried) = (of(Verdict::Undecided), of(Verdict::NotTried));
        match self.lang {
            Lang::En => format!(
                "Proof: {} between {}: {proved} proved, {contradicted} contradicted, {undecided} undecided, {untried} not tried.",
                count(total, "connection"),
                count(hosts, "host")
            ),
            Lang::Fr => format!(
                "Preuve : {} entre {} : {}, {}, {}, {}.",
                french(total, "connexion"),
                french(hosts, "hôte"),
                french(proved, "prouvée"),
                french(contradicted, "contredite"),
                french(undecided, "indécise"),
                french(untried, "non essayée")
            ),
        }
    }
}

/// Returns a count with its noun, in French: zero and one are singular.
fn french(number: usize, noun: &str) -> String {
    if number < 2 { format!("{number} {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Diagnostics, Sources};
    use crate::proof::{Seen, VERSION};

    fn inventory() -> Inventory {
        let text = "
sites: {a: {country: FR}}
zones: {admin: {nature: administration}, control: {nature: control}, compute: {nature: production}}
networks:
  a-admin: {site: a, zone: admin, cidr: 10.1.0.0/24}
  a-control: {site: a, zone: control, cidr: 10.2.0.0/24}
  a-compute: {site: a, zone: compute, cidr: 10.3.0.0/24}
hosts:
  one: {ssh: {address: 10.1.0.1}, interfaces: {e0: {network: a-admin, address: 10.1.0.1}, e1: {network: a-control, address: 10.2.0.1}}}
  two: {ssh: {address: 10.1.0.2}, interfaces: {e0: {network: a-admin, address: 10.1.0.2}, e1: {network: a-control, address: 10.2.0.2}}}
  three: {ssh: {address: 10.1.0.3}, interfaces: {e0: {network: a-admin, address: 10.1.0.3}, e1: {network: a-compute, address: 10.3.0.3}}}
";
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("a.yaml");
        crate::fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems);
        inventory.unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn cell(from: (&str, &str), to: (&str, &str), port: u16, seen: Seen, verdict: Verdict, note: Option<Note>) -> Cell {
        let is_allowed = port == 2379;
        Cell {
            from: from.0.into(),
            source: from.1.parse().unwrap(),
            to: to.0.into(),
            address: to.1.parse().unwrap(),
            transport: if port == 514 { Transport::Udp } else { Transport::Tcp },
            port,
            expected: if is_allowed { Expected::Allowed } else { Expected::Denied },
            seen,
            verdict,
            flow: is_allowed.then(|| "etcd peers and clients \u{1b}[2J".to_owned()),
            around: None,
            note,
        }
    }

    fn proof() -> Proof {
        let (one, two, three) = (("one", "10.2.0.1"), ("two", "10.2.0.2"), ("three", "10.3.0.3"));
        let (one_admin, two_admin) = (("one", "10.1.0.1"), ("two", "10.1.0.2"));
        let held = Some(Note::HeldBackBySource);
        let cells = vec![
            cell(one_admin, two_admin, 22, Seen::Dropped, Verdict::Proved, Some(Note::AroundNotTried)),
            cell(one, two, 2379, Seen::Connected, Verdict::Proved, None),
            cell(two, one, 2379, Seen::Dropped, Verdict::Contradicted, None),
            cell(three, one, 22, Seen::Dropped, Verdict::Contradicted, held),
            cell(three, two, 514, Seen::Silent, Verdict::Undecided, Some(Note::NeedNotAnswer)),
            cell(
                two_admin,
                ("three", "10.1.0.3"),
                22,
                Seen::NotTried,
                Verdict::NotTried,
                Some(Note::SourceUnreachable),
            ),
        ];
        Proof {
            version: VERSION,
            at: "2027-01-31T04:05:06.789Z".to_owned(),
            inventory: "inventory".to_owned(),
            cells,
            findings: Vec::new(),
            unreachable: BTreeMap::from([("two".into(), "connect to 10.1.0.2 port 22: it timed out".to_owned())]),
        }
    }

    fn text(lang: Lang, color: Color, width: usize) -> String {
        let (proof, inventory) = (proof(), inventory());
        let untried = ["the flow `packages`: one of its ends is outside the fleet".to_owned()];
        let view = View { proof: &proof, inventory: &inventory, left_out: 7, untried: &untried, lang, color, width };
        view.text()
    }

    #[test]
    fn a_proof_is_read_in_narrow_terminals_and_in_french() {
        insta::assert_snapshot!("proof_100", text(Lang::En, Color::Never, 100));
        insta::assert_snapshot!("proof_60", text(Lang::En, Color::Never, 60));
        insta::assert_snapshot!("proof_french", text(Lang::Fr, Color::Never, 80));
        assert!(text(Lang::En, Color::Never, 60).lines().all(|line| width_of(line) <= 60));
    }

    #[test]
    fn zones_are_cases_of_junit() {
        let (proof, inventory) = (proof(), inventory());
        let (lang, color) = (Lang::En, Color::Never);
        let view = View { proof: &proof, inventory: &inventory, left_out: 0, untried: &[], lang, color, width: 80 };
        let (problems, sources) = (Diagnostics::default(), Sources::default());
        let inventory = Some(&inventory);
        let checked =
            crate::report::findings::Checked { problems: &problems, report: None, inventory, sources: &sources, lang };
        insta::assert_snapshot!("proof_junit", junit(&view, &checked));
    }

    #[test]
    fn colour_adds_only_escape_sequences() {
        let coloured = text(Lang::En, Color::Always, 80);
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(console::strip_ansi_codes(&coloured), text(Lang::En, Color::Never, 80));
    }

    #[test]
    fn a_proof_is_stable_json_that_is_read_again() {
        let json = serde_json::to_string_pretty(&proof()).unwrap();
        insta::assert_snapshot!("proof_json", json);
        assert_eq!(Proof::parse(&json).unwrap(), proof());
        let newer = json.replacen("\"version\": 1", "\"version\": 2", 1);
        assert_eq!(Proof::parse(&newer).unwrap_err(), "it has the version 2, and this program reads versions up to 1");
        assert!(Proof::parse("{}").unwrap_err().starts_with("it is no proof"));
    }
}
