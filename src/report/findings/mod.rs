//! How a fleet stands to the rules, for people and for the machines that read reports: JSON, SARIF, JUnit and GitLab's
//! code quality. Each says what was found, what was waived and by whom, and what is only declared.

mod code_quality;
mod json;
mod junit;
mod listing;
mod sarif;
mod summary;

use crate::diag::{Diagnostic, Diagnostics, Severity, Sources};
use crate::model::inventory::{Inventory, Waiver};
use crate::policy::{Conflict, Finding, Lang, Report, Rule, Waived, conflicts_of, find_rule};

pub use code_quality::code_quality;
pub use json::to_json;
pub use junit::junit;
pub(in crate::report) use junit::suites;
pub use listing::{explain, list, list_json};
pub use sarif::sarif;
pub use summary::{notes, signed, summary};

/// Everything that a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// What is wrong with the input itself.
    pub problems: &'a Diagnostics,
    /// How the fleet stands to the rules; none where the input could not be read.
    pub report: Option<&'a Report>,
    /// The inventory, which has the waivers.
    pub inventory: Option<&'a Inventory>,
    /// The files.
    pub sources: &'a Sources,
    /// The language.
    pub lang: Lang,
}

impl<'a> Checked<'a> {
    fn findings(&self) -> &'a [Finding] {
        self.report.map(|report| report.findings.as_slice()).unwrap_or_default()
    }

    fn waived(&self) -> &'a [Waived] {
        self.report.map(|report| report.waived.as_slice()).unwrap_or_default()
    }

    /// Returns the rule that a finding breaks: of those with its identifier the one that was asked.
    fn rule(&self, id: &str) -> Option<&'static Rule> {
        let asked = self.report.and_then(|report| report.asked.iter().copied().find(|rule| rule.id == id));
        asked.or_else(|| find_rule(id))
    }

    fn waiver(&self, at: usize) -> Option<&'a Waiver> {
        self.inventory?.policy.waivers.get(at).map(|waiver| &waiver.value)
    }

    /// Returns problems and findings as one list, by place, each with the finding it is.
    fn all(&self) -> Vec<(Diagnostic, Option<&'a Finding>)> {
        let problems = self.problems.iter().map(|problem| (problem.clone(), None));
        let findings = self.findings().iter().map(|finding| (finding.diagnostic(), Some(finding)));
        let mut all: Vec<_> = problems.chain(findings).collect();
        let place = |diagnostic: &Diagnostic| diagnostic.primary.as_ref().map(|label| label.span);
        all.sort_by_key(|(diagnostic, _)| (place(diagnostic).is_none(), place(diagnostic)));
        all
    }

    /// Returns problems and findings as one list, by place; notes only where asked for.
    pub fn diagnostics(&self, with_notes: bool) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        let all = self.all().into_iter().map(|(diagnostic, _)| diagnostic);
        diagnostics.extend(all.filter(|diagnostic| with_notes || diagnostic.severity > Severity::Note));
        diagnostics
    }

    /// Returns where guides disagree on what was found or waived.
    fn conflicts(&self) -> Vec<&'static Conflict> {
        let rules = self.findings().iter().chain(self.waived().iter().map(|waived| &waived.finding));
        let mut conflicts: Vec<&'static Conflict> = Vec::new();
        for conflict in rules.flat_map(|finding| conflicts_of(&finding.rule)) {
            if !conflicts.iter().any(|known| std::ptr::eq(*known, conflict)) {
                conflicts.push(conflict);
            }
        }
        conflicts.sort_by_key(|conflict| conflict.rule);
        conflicts
    }
}

/// Returns what tells a finding from all others in the next report too, wherever its lines have moved.
fn fingerprint(diagnostic: &Diagnostic, finding: Option<&Finding>, file: Option<&str>) -> String {
    use sha2::{Digest, Sha256};
    let subject = finding.map_or("", |finding| finding.subject.as_str());
    // On how many hosts it is, is no part of what it is.
    let message = &diagnostic.message;
    let message =
        message.rfind(" (on ").or(message.rfind(" (sur ")).and_then(|at| message.get(..at)).unwrap_or(message);
    let mut hasher = Sha256::new();
    for part in [&*diagnostic.code, subject, message, file.unwrap_or_default()] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a path without the `./` that a tool which compares paths would stumble over.
fn without_dot(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}
