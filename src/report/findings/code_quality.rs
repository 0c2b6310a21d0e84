//! GitLab's code quality report, which a merge request shows beside the lines.

use serde_json::{Value, json};

use super::{Checked, fingerprint, without_dot};
use crate::diag::{Diagnostic, Severity};
use crate::policy::{Finding, Lang};

/// Returns one issue for each problem and finding, and one of severity `info` for each that is waived.
pub fn code_quality(checked: &Checked<'_>) -> Value {
    let found = checked.all().into_iter().map(|(diagnostic, finding)| {
        let severity = match diagnostic.severity {
            Severity::Note => "info",
            Severity::Warning => "minor",
            Severity::Error => "critical",
        };
        issue(checked, &diagnostic, finding, severity, diagnostic.message.clone())
    });
    let waived = checked.waived().iter().filter_map(|waived| {
        let (diagnostic, waiver) = (waived.finding.diagnostic(), checked.waiver(waived.waiver)?);
        let (expires, owner, why) = (&waiver.expires, &waiver.owner, &waiver.why);
        let text = match checked.lang {
            Lang::En => format!("waived until {expires} by {owner} ({why}): {}", diagnostic.message),
            Lang::Fr => format!("dérogé jusqu'au {expires} par {owner} ({why}) : {}", diagnostic.message),
        };
        Some(issue(checked, &diagnostic, Some(&waived.finding), "info", text))
    });
    found.chain(waived).collect()
}

fn issue(
    checked: &Checked<'_>,
    diagnostic: &Diagnostic,
    finding: Option<&Finding>,
    severity: &str,
    text: String,
) -> Value {
    let place = diagnostic.primary.as_ref().map(|label| checked.sources.locate(label.span));
    let file = place.as_ref().map(|place| place.file.as_str());
    json!({
        "description": text,
        "check_name": diagnostic.code,
        "fingerprint": fingerprint(diagnostic, finding, file),
        "severity": severity,
        // An issue without a place is not shown at all.
        "location": {
            "path": file.map_or(".", without_dot),
            "lines": {"begin": place.as_ref().map_or(1, |place| place.line.max(1))},
        },
    })
}
