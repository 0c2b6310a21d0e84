//! A proof as JUnit XML: a case for each two zones and what is expected between them, and the rules beside it.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::View;
use crate::proof::{Cell, Expected, Verdict};
use crate::report::findings::{Checked, suites};

/// Returns the suite `connections`, and a suite for each pack of rules.
///
/// Zones between which a connection is not as expected are a failed case with all such connections. Where nothing could
/// be decided, or nothing was tried, the case is skipped.
pub fn junit(view: &View<'_>, checked: &Checked<'_>) -> String {
    let mut document = Document::new("provision verify");
    let zones = view.zones();
    let zone = |address| zones.get(address).copied().unwrap_or("?");
    let order = |zone: &str| view.inventory.zones.get_index_of(zone).unwrap_or(usize::MAX);
    let mut groups: BTreeMap<(usize, usize, Expected), (String, Vec<&Cell>)> = BTreeMap::new();
    for cell in &view.proof.cells {
        let (from, to) = (zone(&cell.source), zone(&cell.address));
        let expected = match cell.expected {
            Expected::Allowed => "allowed",
            Expected::Denied => "denied",
        };
        let name = || (format!("{from} -> {to} {expected}"), Vec::new());
        groups.entry((order(from), order(to), cell.expected)).or_insert_with(name).1.push(cell);
    }
    let mut suite = TestSuite::new("connections");
    for (name, cells) in groups.into_values() {
        suite.add_test_case(TestCase::new(name, status(view, &cells)));
    }
    document.add_test_suite(suite);
    document.add_test_suites(suites(checked));
    document.to_string().unwrap_or_default()
}

fn status(view: &View<'_>, cells: &[&Cell]) -> TestCaseStatus {
    let of = |verdict: Verdict| cells.iter().filter(move |cell| cell.verdict == verdict);
    let told = |cell: &&Cell| {
        let (connection, seen) = view.told(cell);
        format!("{connection}: {seen}")
    };
    let contradicted: Vec<String> = of(Verdict::Contradicted).map(told).collect();
    if let Some(first) = contradicted.first() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        let more = contradicted.len() - 1;
        let message = if more > 0 { format!("{first} (+{more})") } else { first.clone() };
        status.set_message(message).set_type("contradicted").set_description(contradicted.join("\n"));
        return status;
    }
    if of(Verdict::Proved).next().is_some() {
        return TestCaseStatus::success();
    }
    let mut status = TestCaseStatus::skipped();
    status.set_message(cells.first().map(told).unwrap_or_default());
    status
}
