//! How a run ended: a table by host, each failure and skip with its culprit, JSON, and JUnit for CI.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use indexmap::IndexMap;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Value, json};

use super::plan::Failure;
use super::progress::masked;
use super::style::{Color, Tone, count, escape, width_of, wrap};
use crate::addr::{HostName, ResourceAddr, ResourceId};
use crate::event::{Outcome, Reach};
use crate::secret::Vault;

/// The version of the JSON form.
const VERSION: u32 = 1;

/// How many hosts are shown one by one; of more, those where all went well are gathered.
const LISTED_HOSTS: usize = 40;

/// How the resources of a host, or of all, ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct Tally {
    unchanged: usize,
    changed: usize,
    failed: usize,
    skipped: usize,
    not_started: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Changed => &mut self.changed,
            Outcome::Failed { .. } | Outcome::RolledBack { .. } | Outcome::Unproven { .. } => &mut self.failed,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::NotStarted { .. } => &mut self.not_started,
        } += 1;
    }

    fn numbers(self) -> [usize; 5] {
        [self.unchanged, self.changed, self.failed, self.skipped, self.not_started]
    }

    fn is_well(self) -> bool {
        self.failed + self.skipped + self.not_started == 0
    }
}

const COLUMNS: [&str; 5] = ["unchanged", "changed", "failed", "skipped", "not started"];

/// A host's row: how its resources ended, and what happened to the host itself.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    tally: Tally,
    lost: Option<Reach>,
}

fn rows<'a>(outcomes: &'a BTreeMap<ResourceAddr, Outcome>, failed: &'a [Failure]) -> BTreeMap<&'a HostName, Row> {
    let mut rows: BTreeMap<&HostName, Row> = BTreeMap::new();
    for (addr, outcome) in outcomes {
        rows.entry(&addr.host).or_default().tally.add(outcome);
    }
    for failure in failed {
        rows.entry(&failure.host).or_default().lost = Some(failure.reach);
    }
    rows
}

fn total(outcomes: &BTreeMap<ResourceAddr, Outcome>) -> Tally {
    let mut tally = Tally::default();
    outcomes.values().for_each(|outcome| tally.add(outcome));
    tally
}

/// Returns the table by host, each failure and skip, and a last line that sums the run up.
pub fn render(
    outcomes: &BTreeMap<ResourceAddr, Outcome>,
    failed: &[Failure],
    vault: &Vault,
    color: Color,
    width: usize,
) -> String {
    let voice = Voice { vault, color, width };
    let mut out = String::new();
    let rows = rows(outcomes, failed);
    if !rows.is_empty() {
        out.push_str(&table(&rows, width));
        out.push('\n');
    }
    let failures = outcomes.iter().filter_map(|(addr, outcome)| match outcome {
        Outcome::Failed { error, hint } => Some((addr, "failed", error, hint)),
        Outcome::RolledBack { because, hint } => Some((addr, "rolled back", because, hint)),
        Outcome::Unproven { because, hint } => Some((addr, "not confirmed", because, hint)),
        _ => None,
    });
    for (addr, what, error, hint) in failures {
        voice.push_failure(&mut out, &addr.to_string(), what, error, hint.as_deref());
    }
    for failure in failed {
        let what = match failure.reach {
            Reach::Unreachable => "is unreachable",
            Reach::Reached => "failed",
        };
        voice.push_failure(&mut out, failure.host.as_str(), what, &failure.error, failure.hint.as_deref());
    }
    for ((host, word, because), ids) in left_out(outcomes) {
        voice.push_left_out(&mut out, host, word, because, &ids);
    }
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
    let line = last_line(outcomes, failed);
    let _ = writeln!(out, "{}", color.paint(Tone::Strong, &line));
    out
}

/// Returns the line that sums a run up: `Apply: 3 changed, 1 failed, ... on 8 hosts.`
fn last_line(outcomes: &BTreeMap<ResourceAddr, Outcome>, failed: &[Failure]) -> String {
    let tally = total(outcomes);
    let hosts: std::collections::BTreeSet<&HostName> = outcomes.keys().map(|addr| &addr.host).collect();
    let hosts = count(hosts.len(), "host");
    let mut text = if tally.is_well() && tally.changed == 0 {
        let verb = if tally.unchanged == 1 { "is" } else { "are" };
        format!("Nothing changed. {} on {hosts} {verb} as wanted", count(tally.unchanged, "resource"))
    } else {
        let parts = [
            (tally.changed, "changed", true),
            (tally.failed, "failed", true),
            (tally.skipped, "skipped", false),
            (tally.not_started, "not started", false),
            (tally.unchanged, "unchanged", true),
        ];
        let shown = parts.into_iter().filter(|(number, _, always)| *always || *number > 0);
        let shown: Vec<String> = shown.map(|(number, what, _)| format!("{number} {what}")).collect();
        format!("Apply: {} on {hosts}", shown.join(", "))
    };
    for (reach, what) in [(Reach::Unreachable, "unreachable"), (Reach::Reached, "failed")] {
        let number = failed.iter().filter(|failure| failure.reach == reach).count();
        if number > 0 {
            let _ = write!(text, "; {} {what}", count(number, "host"));
        }
    }
    text + "."
}

fn table(rows: &BTreeMap<&HostName, Row>, width: usize) -> String {
    // A column that says nothing is left out: there is little room on a narrow terminal.
    let is_needed = |at: usize| at < 3 || rows.values().any(|row| row.tally.numbers().get(at).is_some_and(|n| *n > 0));
    let columns: Vec<usize> = (0..COLUMNS.len()).filter(|at| is_needed(*at)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    let header = columns.iter().filter_map(|at| COLUMNS.get(*at)).map(|name| (*name).to_owned());
    table.set_header(std::iter::once("host".to_owned()).chain(header));
    let mut longest = 0;
    let mut add = |name: String, row: &Row| {
        longest = longest.max(width_of(&name));
        let numbers = row.tally.numbers();
        // A host of which nothing is known has no numbers either.
        let shown = |number: &usize| if row.tally == Tally::default() { "-".to_owned() } else { number.to_string() };
        let cells = columns.iter().filter_map(|at| numbers.get(*at)).map(shown);
        table.add_row(std::iter::once(name).chain(cells));
    };
    let gathers = rows.len() > LISTED_HOSTS;
    let mut gathered: IndexMap<Tally, Vec<&HostName>> = IndexMap::new();
    for (host, row) in rows {
        let name = escape(host.as_str()).into_owned();
        match row.lost {
            // On a narrow terminal it is said below the table only.
            Some(Reach::Unreachable) if width >= 80 => add(format!("{name} (unreachable)"), row),
            Some(Reach::Reached) if width >= 80 => add(format!("{name} (failed)"), row),
            None if gathers && row.tally.is_well() => gathered.entry(row.tally).or_default().push(*host),
            _ => add(name, row),
        }
    }
    for (tally, hosts) in gathered {
        let first = hosts.first().map(|host| escape(host.as_str()).into_owned()).unwrap_or_default();
        let more = hosts.len() - 1;
        let name = if more == 0 { first } else { format!("{first} and {more} more, each") };
        add(name, &Row { tally, lost: None });
    }
    for at in 0..=columns.len() {
        if let Some(column) = table.column_mut(at) {
            match at {
                0 => {
                    // Names are the last to be broken.
                    let least = longest.min(width.saturating_sub(columns.len() * 9)).max(4) + 1;
                    let least = Width::Fixed(u16::try_from(least).unwrap_or(u16::MAX));
                    column.set_padding((0, 1)).set_constraint(ColumnConstraint::LowerBoundary(least));
                }
                _ => {
                    column.set_padding((1, 0)).set_cell_alignment(CellAlignment::Right);
                }
            }
        }
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

type LeftOut<'a> = IndexMap<(&'a HostName, &'static str, &'a str), Vec<&'a ResourceId>>;

/// Gathers what was not done, by host and by what it was not done because of.
fn left_out(outcomes: &BTreeMap<ResourceAddr, Outcome>) -> LeftOut<'_> {
    let mut gathered = LeftOut::new();
    for (addr, outcome) in outcomes {
        let (word, because) = match outcome {
            Outcome::Skipped { because } => ("skipped", because),
            Outcome::NotStarted { because } => ("not started", because),
            _ => continue,
        };
        gathered.entry((&addr.host, word, because)).or_default().push(&addr.id);
    }
    gathered
}

struct Voice<'a> {
    vault: &'a Vault,
    color: Color,
    width: usize,
}

impl Voice<'_> {
    fn push_failure(&self, out: &mut String, name: &str, what: &str, error: &str, hint: Option<&str>) {
        let name = self.color.paint(Tone::Strong, &escape(name)).into_owned();
        let _ = writeln!(out, "{name} {}", self.color.paint(Tone::Bad, what));
        for line in self.vault.mask(error).lines().filter(|line| !line.trim().is_empty()) {
            self.push_wrapped(out, &escape(line.trim()));
        }
        if let Some(hint) = hint {
            self.push_wrapped(out, &format!("hint: {}", escape(&self.vault.mask(hint))));
        }
    }

    fn push_left_out(&self, out: &mut String, host: &HostName, word: &str, because: &str, ids: &[&ResourceId]) {
        let because = self.vault.mask(because);
        let because = escape(&because);
        let host = self.color.paint(Tone::Strong, &escape(host.as_str())).into_owned();
        let _ = writeln!(out, "{host}: {} {word}", count(ids.len(), "resource"));
        self.push_wrapped(out, &format!("because {because}"));
        // The names of the first few say where in the playbook it stopped.
        let mut names: Vec<String> = ids.iter().take(5).map(|id| escape(&id.to_string()).into_owned()).collect();
        if ids.len() > 5 {
            names.push(format!("{} more", ids.len() - 5));
        }
        self.push_wrapped(out, &names.join(", "));
    }

    fn push_wrapped(&self, out: &mut String, text: &str) {
        for line in wrap(text, self.width.saturating_sub(2)) {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// Returns how a run ended as one JSON object.
///
/// - `version`: 1. New keys may be added; a change of meaning raises it.
/// - `summary`: the numbers of `unchanged`, `changed`, `failed`, `skipped` and `not_started` resources.
/// - `hosts`: the same numbers for each `host`, with `reach` (`unreachable` or `reached`) for one that failed as a whole, or `null`.
/// - `resources`: all that were not unchanged: `resource` (`host/kind[name]`), `outcome` (`changed`, `failed`, `skipped`,
///   `not-started`), and `error` and `hint`, or `because`.
/// - `failed`: the hosts that failed as a whole: `host`, `error`, `hint`, `reach`.
pub fn to_json(outcomes: &BTreeMap<ResourceAddr, Outcome>, failed: &[Failure], vault: &Vault) -> Value {
    let hosts: Vec<Value> = rows(outcomes, failed)
        .into_iter()
        .map(|(host, row)| {
            let mut json = json!({"host": host, "reach": row.lost});
            if let (Some(entries), Value::Object(numbers)) = (json.as_object_mut(), json!(row.tally)) {
                entries.extend(numbers);
            }
            json
        })
        .collect();
    let resources: Vec<Value> = outcomes
        .iter()
        .filter(|(_, outcome)| **outcome != Outcome::Unchanged)
        .map(|(addr, outcome)| {
            let mut json = json!({"resource": addr});
            if let (Some(entries), Value::Object(said)) = (json.as_object_mut(), json!(outcome)) {
                entries.extend(said);
            }
            json
        })
        .collect();
    let failed: Vec<Value> = failed
        .iter()
        .map(|failure| {
            json!({"host": failure.host, "error": failure.error, "hint": failure.hint, "reach": failure.reach})
        })
        .collect();
    let json = json!({
        "version": VERSION,
        "summary": total(outcomes),
        "hosts": hosts,
        "resources": resources,
        "failed": failed,
    });
    masked(json, vault)
}

/// Returns how a run ended as JUnit XML: a suite for each host, a case for each resource.
///
/// What was skipped or not started is a skipped case with its culprit; a host that failed as a whole has a case `connection` of
/// its own, which is an error.
pub fn junit(outcomes: &BTreeMap<ResourceAddr, Outcome>, failed: &[Failure], vault: &Vault) -> String {
    let said = |text: &str| vault.mask(text).into_owned();
    let mut suites: BTreeMap<&HostName, TestSuite> = BTreeMap::new();
    for failure in failed {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(said(&failure.error)).set_type(match failure.reach {
            Reach::Unreachable => "unreachable",
            Reach::Reached => "failed",
        });
        if let Some(hint) = &failure.hint {
            status.set_description(said(hint));
        }
        let mut case = TestCase::new("connection", status);
        case.set_classname(failure.host.as_str());
        suite(&mut suites, &failure.host).add_test_case(case);
    }
    for (addr, outcome) in outcomes {
        let mut status = match outcome {
            Outcome::Unchanged | Outcome::Changed => TestCaseStatus::success(),
            Outcome::Failed { error, hint }
            | Outcome::RolledBack { because: error, hint }
            | Outcome::Unproven { because: error, hint } => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let kind = match outcome {
                    Outcome::RolledBack { .. } => "rolled back",
                    Outcome::Unproven { .. } => "not confirmed",
                    _ => "failed",
                };
                status.set_message(said(error)).set_type(kind);
                if let Some(hint) = hint {
                    status.set_description(said(hint));
                }
                status
            }
            Outcome::Skipped { .. } | Outcome::NotStarted { .. } => TestCaseStatus::skipped(),
        };
        match outcome {
            Outcome::Skipped { because } => {
                status.set_message(format!("skipped because {}", said(because)));
            }
            Outcome::NotStarted { because } => {
                status.set_message(format!("not started because {}", said(because)));
            }
            _ => {}
        }
        let mut case = TestCase::new(addr.id.to_string(), status);
        case.set_classname(addr.host.as_str());
        if *outcome == Outcome::Changed {
            case.set_system_out("changed");
        }
        suite(&mut suites, &addr.host).add_test_case(case);
    }
    let mut report = Report::new("provision");
    report.add_test_suites(suites.into_values());
    report.to_string().unwrap_or_default()
}

fn suite<'a, 'b>(suites: &'a mut BTreeMap<&'b HostName, TestSuite>, host: &'b HostName) -> &'a mut TestSuite {
    suites.entry(host).or_insert_with(|| TestSuite::new(host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> BTreeMap<ResourceAddr, Outcome> {
        let mut outcomes = BTreeMap::new();
        let mut add = |addr: &str, outcome: Outcome| {
            outcomes.insert(addr.parse().unwrap(), outcome);
        };
        for host in ["ctl-par1-01", "ctl-par1-02", "hv-1"] {
            (0..12).for_each(|n| add(&format!("{host}/file[/etc/{n}]"), Outcome::Unchanged));
            add(&format!("{host}/file[/etc/motd]"), Outcome::Changed);
        }
        let error = "install the package chrony: exit status 100\nE: Unable to fetch hunter2 from https://mirror.example/debian and from nowhere else";
        let hint = Some("look whether the mirror answers".to_owned());
        add("ctl-par1-01/package[chrony]", Outcome::Failed { error: error.into(), hint });
        let because = "ctl-par1-01/package[chrony] failed".to_owned();
        add("ctl-par1-01/service[chrony]", Outcome::Skipped { because: because.clone() });
        (0..9)
            .for_each(|n| add(&format!("ctl-par1-01/file[/later/{n}]"), Outcome::Skipped { because: because.clone() }));
        add("hv-1/file[/a\n<b>\"]", Outcome::NotStarted { because: "hv-1 was lost".into() });
        outcomes
    }

    fn failures() -> Vec<Failure> {
        let failure =
            |host: &str, error: &str, reach| Failure { host: host.into(), error: error.into(), hint: None, reach };
        vec![
            failure("hv-1", "hv-1: the connection was lost", Reach::Unreachable),
            failure("hv-9", "sudo wants a password, and hunter2 is wrong", Reach::Reached),
        ]
    }

    fn vault() -> Vault {
        let vault = Vault::default();
        vault.keep("hunter2");
        vault
    }

    #[test]
    fn a_run_is_summed_up_by_host() {
        let render = |width| render(&outcomes(), &failures(), &vault(), Color::Never, width);
        insta::assert_snapshot!("summary_100", render(100));
        insta::assert_snapshot!("summary_60", render(60));
        assert!(render(60).lines().all(|line| line.len() <= 60 || line.starts_with("Apply: ")));
    }

    #[test]
    fn colour_adds_only_escape_sequences() {
        let render = |color| render(&outcomes(), &failures(), &vault(), color, 60);
        assert_ne!(render(Color::Always), render(Color::Never));
        assert_eq!(console::strip_ansi_codes(&render(Color::Always)), render(Color::Never));
    }

    #[test]
    fn many_hosts_where_all_went_well_are_gathered() {
        let mut all = outcomes();
        for n in 0..200 {
            all.insert(format!("log-{n:03}/file[/a]").parse().unwrap(), Outcome::Changed);
        }
        all.insert("log-007/file[/b]".parse().unwrap(), Outcome::Unchanged);
        insta::assert_snapshot!(render(&all, &[], &vault(), Color::Never, 60));
    }

    #[test]
    fn a_run_that_changed_nothing_says_so() {
        let all = BTreeMap::from([("a/file[/a]".parse().unwrap(), Outcome::Unchanged)]);
        insta::assert_snapshot!(render(&all, &[], &vault(), Color::Never, 60));
    }

    #[test]
    fn a_run_is_stable_json() {
        insta::assert_json_snapshot!(to_json(&outcomes(), &failures(), &vault()));
    }

    #[test]
    fn a_run_is_junit() {
        let all: BTreeMap<ResourceAddr, Outcome> =
            outcomes().into_iter().filter(|(addr, _)| !addr.id.name.starts_with("/etc/1")).collect();
        insta::assert_snapshot!(junit(&all, &failures(), &vault()));
    }
}
