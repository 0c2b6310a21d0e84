//! The JSON form of `validate`.

use serde_json::{Value, json};

use super::Checked;
use crate::report::diagnostic;

/// Returns everything as one JSON object, version 1.
///
/// `diagnostics` is what [`diagnostic::to_json`] makes, of problems and findings by place; one that is a finding also has
/// `subject`, `hosts`, `pack` and `kind`. Beside it stand `packs`, `rules` (the identifiers that were asked), `waived`,
/// `declared` and `conflicts`. New keys may be added; a change of meaning raises the version.
pub fn to_json(checked: &Checked<'_>) -> Value {
    let all = checked.all();
    let mut output = diagnostic::to_json(&checked.diagnostics(true), checked.sources);
    if let Some(diagnostics) = output.get_mut("diagnostics").and_then(Value::as_array_mut) {
        for (shown, (_, finding)) in diagnostics.iter_mut().zip(&all) {
            if let (Some(entries), Some(finding)) = (shown.as_object_mut(), finding) {
                let rule = checked.rule(&finding.rule);
                entries.insert("subject".to_owned(), json!(finding.subject));
                entries.insert("hosts".to_owned(), hosts(checked, &finding.hosts));
                entries.insert("pack".to_owned(), json!(rule.map(|rule| rule.pack)));
                entries.insert("kind".to_owned(), json!(rule.map(|rule| rule.kind)));
            }
        }
    }
    let waived = checked.waived().iter().map(|waived| {
        let finding = &waived.finding;
        let place = finding.place.as_ref().map(|place| checked.sources.locate(place.span));
        let waiver = checked.waiver(waived.waiver);
        json!({
            "rule": finding.rule,
            "subject": finding.subject,
            "hosts": hosts(checked, &finding.hosts),
            "message": finding.message,
            "file": place.as_ref().map(|place| &place.file),
            "line": place.as_ref().map(|place| place.line),
            "column": place.as_ref().map(|place| place.column),
            "why": waiver.map(|waiver| &waiver.why.value),
            "owner": waiver.map(|waiver| &waiver.owner.value),
            "expires": waiver.map(|waiver| waiver.expires.value.to_string()),
            "waiver": waiver.map(|waiver| checked.sources.locate(waiver.rule.span)),
        })
    });
    let conflicts = checked.conflicts().into_iter().map(
        |conflict| json!({"rule": conflict.rule, "against": conflict.against, "text": conflict.text.of(checked.lang)}),
    );
    if let Some(entries) = output.as_object_mut() {
        let report = checked.report;
        let rules = report.iter().flat_map(|report| {
            report.asked.iter().map(|rule| rule.id.to_owned()).chain(report.own.iter().cloned()).collect::<Vec<_>>()
        });
        let declared = report.iter().flat_map(|report| &report.declared);
        let declared = declared.map(|declared| json!({"rule": declared.rule, "text": declared.text}));
        entries.insert("packs".to_owned(), json!(report.map(|report| report.packs.clone()).unwrap_or_default()));
        entries.insert("rules".to_owned(), rules.collect());
        entries.insert("waived".to_owned(), waived.collect());
        entries.insert("declared".to_owned(), declared.collect());
        entries.insert("conflicts".to_owned(), conflicts.collect());
    }
    output
}

fn hosts(checked: &Checked<'_>, hosts: &[usize]) -> Value {
    let names = hosts.iter().filter_map(|at| checked.inventory?.hosts.get_index(*at)).map(|(name, _)| name.as_str());
    names.collect()
}
