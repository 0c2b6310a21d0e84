//! JUnit XML: a suite for each pack, a case for each rule that was asked.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::Checked;
use crate::diag::{Diagnostic, Severity};
use crate::policy::{Kind, Needs, Pack};

/// Returns how the fleet stands to each rule.
///
/// A rule that is broken is a failed case with all its findings; one whose breaches are all waived is a skipped case with
/// who signed; one that could not be asked of some host is an error with why; what is only declared stands in the output
/// of its case. The input's own problems are the cases of the suite `input`.
pub fn junit(checked: &Checked<'_>) -> String {
    let is_live = |report: &crate::policy::Report| report.asked.iter().any(|rule| rule.needs == Needs::Live);
    let name = if checked.report.is_some_and(is_live) { "provision audit" } else { "provision validate" };
    let mut document = Document::new(name);
    document.add_test_suites(suites(checked));
    document.to_string().unwrap_or_default()
}

/// Returns the suites of [`junit`].
pub(in crate::report) fn suites(checked: &Checked<'_>) -> Vec<TestSuite> {
    let mut suites = Vec::new();
    let mut input = TestSuite::new("input");
    for problem in checked.problems.iter() {
        let status = failed(checked, &problem.code, std::iter::once(problem.clone()).collect());
        input.add_test_case(TestCase::new(problem.code.to_string(), status));
    }
    if checked.problems.is_empty() {
        input.add_test_case(TestCase::new("valid", TestCaseStatus::success()));
    }
    suites.push(input);
    let Some(report) = checked.report else { return suites };
    for pack in Pack::ALL.into_iter().filter(|pack| report.packs.contains(pack)) {
        let mut suite = TestSuite::new(pack.as_str());
        for rule in report.asked.iter().filter(|rule| rule.pack == pack) {
            suite.add_test_case(case(checked, rule.id, Some(rule.text.of(checked.lang))));
        }
        suites.push(suite);
    }
    // The fleet's own rules, and what is wrong with waivers.
    let asked = |id: &str| report.asked.iter().any(|rule| rule.id == id);
    let mut others: Vec<&str> = report.own.iter().map(String::as_str).collect();
    others.extend(report.findings.iter().map(|finding| &*finding.rule).filter(|id| !asked(id)));
    others.sort_unstable();
    others.dedup();
    if !others.is_empty() {
        let mut suite = TestSuite::new("own");
        suite.add_test_cases(others.into_iter().map(|id| case(checked, id, None)));
        suites.push(suite);
    }
    suites
}

fn case(checked: &Checked<'_>, id: &str, text: Option<&str>) -> TestCase {
    let found: Vec<Diagnostic> = checked.findings().iter().filter(|f| f.rule == id).map(|f| f.diagnostic()).collect();
    let mut waivers: BTreeMap<usize, usize> = BTreeMap::new();
    for waived in checked.waived().iter().filter(|waived| waived.finding.rule == id) {
        *waivers.entry(waived.waiver).or_default() += 1;
    }
    let waived = waivers.into_iter().filter_map(|(at, number)| {
        let waiver = checked.waiver(at)?;
        Some(format!("{number} waived until {} by {}: {}", waiver.expires, waiver.owner, waiver.why))
    });
    let waived: Vec<String> = waived.collect();
    let unasked = checked.report.iter().flat_map(|report| &report.unasked).filter(|unasked| unasked.rule == id);
    let unasked: Vec<String> = unasked
        .map(|unasked| {
            let host = checked.inventory.and_then(|inventory| inventory.hosts.get_index(unasked.host));
            format!("{}: {}", host.map_or("", |(name, _)| name.as_str()), unasked.why)
        })
        .collect();
    let is_broken = found.iter().any(|diagnostic| diagnostic.severity > Severity::Note);
    let status = if is_broken {
        failed(checked, id, found)
    } else if let Some(first) = unasked.first() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(first.clone()).set_type("unread").set_description(unasked.join("\n"));
        status
    } else if waived.is_empty() {
        TestCaseStatus::success()
    } else {
        let mut status = TestCaseStatus::skipped();
        status.set_message(waived.join("; "));
        status
    };
    let mut case = TestCase::new(id, status);
    if let Some(text) = text {
        case.set_classname(text);
    }
    // Beside a failure stands what was waived of the same rule, and what nobody can verify.
    let declared = checked.report.iter().flat_map(|report| &report.declared).filter(|declared| declared.rule == id);
    let declared = declared.map(|declared| format!("{}: {}", Kind::M.meaning().of(checked.lang), declared.text));
    let beside: Vec<String> = waived.into_iter().filter(|_| is_broken).chain(declared).collect();
    if !beside.is_empty() {
        case.set_system_out(beside.join("\n"));
    }
    case
}

fn failed(checked: &Checked<'_>, id: &str, found: Vec<Diagnostic>) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    let first = found.first().map(|diagnostic| diagnostic.message.clone()).unwrap_or_default();
    let message = if found.len() > 1 { format!("{first} (+{})", found.len() - 1) } else { first };
    status.set_message(message).set_type(id);
    let lines = found.iter().map(|diagnostic| {
        let place = diagnostic.primary.as_ref().map(|place| format!("{}: ", checked.sources.locate(place.span)));
        format!("{}{}", place.unwrap_or_default(), diagnostic.message)
    });
    status.set_description(lines.collect::<Vec<_>>().join("\n"));
    status
}
