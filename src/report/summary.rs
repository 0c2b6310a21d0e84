//! What became of a run: a line for each host, each failure with its error, and who was skipped because of what.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::style::{self, Color, Tone};
use crate::addr::{HostName, ResourceAddr};
use crate::event::{Outcome, Reach};

/// A host that took no part, or was lost.
#[derive(Clone, Debug)]
pub struct LostHost {
    /// The host.
    pub host: HostName,
    /// What went wrong.
    pub error: String,
    /// Whether it is unreachable.
    pub reach: Reach,
}

/// How many resources of a host ended in which way.
#[derive(Clone, Copy, Default)]
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
            Outcome::Failed { .. } => &mut self.failed,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::NotStarted { .. } => &mut self.not_started,
        } += 1;
    }
}

/// Returns the summary for people, at most `width` columns wide.
pub fn render(outcomes: &BTreeMap<ResourceAddr, Outcome>, lost: &[LostHost], color: Color, width: usize) -> String {
    let mut hosts: BTreeMap<&HostName, Tally> = lost.iter().map(|lost| (&lost.host, Tally::default())).collect();
    let mut all = Tally::default();
    for (addr, outcome) in outcomes {
        hosts.entry(&addr.host).or_default().add(outcome);
        all.add(outcome);
    }
    let mut out = String::new();
    out.push_str(&table(&hosts, lost, width));
    let failed = outcomes.iter().filter_map(|(addr, outcome)| match outcome {
        Outcome::Failed { error, hint } => Some((addr, error, hint)),
        _ => None,
    });
    for (addr, error, hint) in failed {
        out.push_str(&format!("{} {addr}: {}\n", color.paint(Tone::Bad, "failed"), style::escape(error)));
        if let Some(hint) = hint {
            out.push_str(&format!("       hint: {hint}\n"));
        }
    }
    for lost in lost {
        let word = if lost.reach == Reach::Unreachable { "unreachable" } else { "failed" };
        out.push_str(&format!("{} {}: {}\n", color.paint(Tone::Bad, word), lost.host, style::escape(&lost.error)));
    }
    let mut because: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for outcome in outcomes.values() {
        match outcome {
            Outcome::Skipped { because: why } => *because.entry(("skipped", why)).or_default() += 1,
            Outcome::NotStarted { because: why } => *because.entry(("not started", why)).or_default() += 1,
            _ => {}
        }
    }
    for ((word, why), count) in because {
        out.push_str(&format!("{} {word}, because {}\n", style::count(count, "resource"), style::escape(why)));
    }
    let mut parts = vec![format!("{} changed", all.changed), format!("{} unchanged", all.unchanged)];
    for (count, word) in [(all.failed, "failed"), (all.skipped, "skipped"), (all.not_started, "not started")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let tone = if all.failed + all.skipped + all.not_started + lost.len() > 0 { Tone::Bad } else { Tone::Good };
    let last = format!("Applied: {} on {}.", parts.join(", "), style::count(hosts.len(), "host"));
    out.push_str(&format!("{}\n", color.paint(tone, &last)));
    out
}

fn table(hosts: &BTreeMap<&HostName, Tally>, lost: &[LostHost], width: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_width(u16::try_from(width).unwrap_or(100));
    // On a narrow terminal the columns' names are shortened before a number is.
    let head = if width >= 80 {
        ["HOST", "CHANGED", "UNCHANGED", "FAILED", "SKIPPED", "NOT STARTED"]
    } else {
        ["HOST", "CHG", "SAME", "FAIL", "SKIP", "LEFT"]
    };
    table.set_header(head);
    for (host, tally) in hosts {
        let gone = lost.iter().any(|lost| lost.host == **host && lost.reach == Reach::Unreachable);
        let name = if gone { format!("{host} (unreachable)") } else { host.to_string() };
        let numbers = [tally.changed, tally.unchanged, tally.failed, tally.skipped, tally.not_started];
        let numbers = numbers.map(|number| if number == 0 { "-".to_owned() } else { number.to_string() });
        table.add_row(std::iter::once(name).chain(numbers));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Returns the summary as one JSON object, version 1.
pub fn to_json(outcomes: &BTreeMap<ResourceAddr, Outcome>, lost: &[LostHost]) -> Value {
    let resources: Vec<Value> = outcomes
        .iter()
        .map(|(addr, outcome)| {
            let mut entry = json!({"addr": addr.to_string(), "host": addr.host, "id": addr.id});
            if let (Some(entry), Ok(Value::Object(outcome))) = (entry.as_object_mut(), serde_json::to_value(outcome)) {
                entry.extend(outcome);
            }
            entry
        })
        .collect();
    let lost: Vec<Value> =
        lost.iter().map(|lost| json!({"host": lost.host, "error": lost.error, "reach": lost.reach})).collect();
    json!({"version": 1, "resources": resources, "hosts_lost": lost})
}

/// Returns how each resource ended as JUnit XML, a suite for each host.
pub fn junit(outcomes: &BTreeMap<ResourceAddr, Outcome>) -> String {
    let mut suites: BTreeMap<&HostName, TestSuite> = BTreeMap::new();
    for (addr, outcome) in outcomes {
        let status = match outcome {
            Outcome::Unchanged | Outcome::Changed => TestCaseStatus::success(),
            Outcome::Failed { error, .. } => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(error.clone());
                status
            }
            Outcome::Skipped { because } | Outcome::NotStarted { because } => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(because.clone());
                status
            }
        };
        let suite = suites.entry(&addr.host).or_insert_with(|| TestSuite::new(addr.host.as_str()));
        suite.add_test_case(TestCase::new(addr.id.to_string(), status));
    }
    let mut report = quick_junit::Report::new("provision apply");
    report.add_test_suites(suites.into_values());
    report.to_string().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (BTreeMap<ResourceAddr, Outcome>, Vec<LostHost>) {
        let outcome = |text: &str, outcome| (text.parse().unwrap(), outcome);
        let skipped = || Outcome::Skipped { because: "ctl-1/package[etcd-server] failed".into() };
        let outcomes = BTreeMap::from([
            outcome("ctl-1/file[/a]", Outcome::Changed),
            outcome("ctl-1/file[/b]", Outcome::Unchanged),
            outcome(
                "ctl-1/package[etcd-server]",
                Outcome::Failed { error: "no such package".into(), hint: Some("look".into()) },
            ),
            outcome("ctl-1/service[etcd]", skipped()),
            outcome("ctl-1/service[x]", skipped()),
            outcome("ctl-2/file[/a]", Outcome::NotStarted { because: "ctl-2 is unreachable".into() }),
        ]);
        let lost =
            LostHost { host: "ctl-2".into(), error: "connect to ctl-2: refused".into(), reach: Reach::Unreachable };
        (outcomes, vec![lost])
    }

    #[test]
    fn a_summary_names_each_failure_and_who_was_skipped_because_of_it() {
        let (outcomes, lost) = sample();
        insta::assert_snapshot!("wide", render(&outcomes, &lost, Color::Never, 100));
        insta::assert_snapshot!("narrow", render(&outcomes, &lost, Color::Never, 60));
    }

    #[test]
    fn ci_gets_junit_and_json() {
        let (outcomes, lost) = sample();
        insta::assert_snapshot!("junit", junit(&outcomes));
        insta::assert_snapshot!("json", format!("{:#}", to_json(&outcomes, &lost)));
    }
}
