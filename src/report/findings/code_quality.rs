//! GitLab's code quality report, which a merge request shows beside the lines.

use serde_json::{Value, json};

use super::{Checked, fingerprint, without_dot};
use crate::diag::Severity;

/// Returns one issue for each problem and finding. What is waived is left out: GitLab has no word for it.
pub fn code_quality(checked: &Checked<'_>) -> Value {
    let issues = checked.all().into_iter().map(|(diagnostic, finding)| {
        let place = diagnostic.primary.as_ref().map(|label| checked.sources.locate(label.span));
        let file = place.as_ref().map(|place| place.file.as_str());
        json!({
            "description": diagnostic.message,
            "check_name": diagnostic.code,
            "fingerprint": fingerprint(&diagnostic, finding, file),
            "severity": match diagnostic.severity {
                Severity::Note => "info",
                Severity::Warning => "minor",
                Severity::Error => "critical",
            },
            // An issue without a place is not shown at all.
            "location": {"path": file.map_or(".", without_dot), "lines": {"begin": place.as_ref().map_or(1, |place| place.line.max(1))}},
        })
    });
    issues.collect()
}
