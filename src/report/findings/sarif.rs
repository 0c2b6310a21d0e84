//! SARIF 2.1.0, the form that code hosts read.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{Checked, fingerprint, without_dot};
use crate::diag::{Diagnostic, Label, Severity, Sources, Span};
use crate::policy::{Finding, Lang};

/// Returns a SARIF log of one run.
///
/// What was waived is in it too, as a suppressed result with its justification; a path that was found is a code flow.
pub fn sarif(checked: &Checked<'_>) -> Value {
    let mut rules: IndexMap<String, Value> = IndexMap::new();
    for rule in checked.report.iter().flat_map(|report| &report.asked) {
        rules.insert(
            rule.id.to_owned(),
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.text.of(checked.lang)},
                "defaultConfiguration": {"level": level(severity_of(rule.level))},
                "properties": {"tags": [rule.pack.as_str()], "kind": rule.kind, "also": rule.also},
            }),
        );
    }
    let found = checked.all();
    let waived = checked.waived().iter().map(|waived| (waived.finding.diagnostic(), &waived.finding, waived.waiver));
    let waived: Vec<(Diagnostic, &Finding, usize)> = waived.collect();
    for diagnostic in found.iter().map(|(d, _)| d).chain(waived.iter().map(|(d, _, _)| d)) {
        let id = diagnostic.code.to_string();
        rules.entry(id).or_insert_with(|| json!({"id": diagnostic.code}));
    }
    let index = |id: &str| rules.get_index_of(id);
    let results =
        found.iter().map(|(diagnostic, finding)| result(checked, diagnostic, *finding, index(&diagnostic.code)));
    let suppressed = waived.iter().map(|(diagnostic, finding, waiver)| {
        let mut result = result(checked, diagnostic, Some(finding), index(&diagnostic.code));
        if let Some(entries) = result.as_object_mut() {
            entries.insert("suppressions".to_owned(), json!([suppression(checked, *waiver)]));
        }
        result
    });
    // SARIF's word for a rule that was asked and that nobody can answer.
    let open = checked.report.iter().flat_map(|report| &report.unasked).map(|unasked| {
        let host = checked.inventory.and_then(|inventory| inventory.hosts.get_index(unasked.host));
        let (name, place) = host.map_or(("", None), |(name, host)| (name.as_str(), Some(host.span)));
        let why = &unasked.why;
        let text = match checked.lang {
            Lang::En => format!("on `{name}` the rule could not be asked: {why}"),
            Lang::Fr => format!("sur `{name}`, la règle n'a pu être posée : {why}"),
        };
        let places = place.map(|span| json!({"physicalLocation": physical(checked.sources, span)}));
        json!({
            "ruleId": unasked.rule,
            "ruleIndex": index(unasked.rule),
            "kind": "open",
            "level": "none",
            "message": {"text": text},
            "locations": places.into_iter().collect::<Vec<_>>(),
        })
    });
    let results: Vec<Value> = results.chain(suppressed).chain(open).collect();
    let declared = checked.report.iter().flat_map(|report| &report.declared);
    let declared: Vec<Value> = declared.map(|declared| json!({"rule": declared.rule, "text": declared.text})).collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "provision",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.values().collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": {"declaredNotVerified": declared},
        }],
    })
}

fn severity_of(level: crate::policy::Level) -> Severity {
    match level {
        crate::policy::Level::Note => Severity::Note,
        crate::policy::Level::Warning => Severity::Warning,
        crate::policy::Level::Error => Severity::Error,
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn suppression(checked: &Checked<'_>, waiver: usize) -> Value {
    let Some(waiver) = checked.waiver(waiver) else { return json!({"kind": "external"}) };
    let (why, owner, expires) = (&waiver.why, &waiver.owner, &waiver.expires);
    json!({
        "kind": "external",
        "status": "accepted",
        "justification": format!("{why} ({owner}, {expires})"),
        "location": {"physicalLocation": physical(checked.sources, waiver.rule.span)},
    })
}

fn result(checked: &Checked<'_>, diagnostic: &Diagnostic, finding: Option<&Finding>, index: Option<usize>) -> Value {
    let sources = checked.sources;
    let text = match &diagnostic.help {
        Some(help) => format!("{}\n{help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let mut result = Map::new();
    result.insert("ruleId".to_owned(), json!(diagnostic.code));
    if let Some(index) = index {
        result.insert("ruleIndex".to_owned(), json!(index));
    }
    result.insert("level".to_owned(), json!(level(diagnostic.severity)));
    result.insert("message".to_owned(), json!({"text": text}));
    let mut file = None;
    if let Some(place) = &diagnostic.primary {
        file = Some(sources.locate(place.span).file.into_string());
        result.insert("locations".to_owned(), json!([{"physicalLocation": physical(sources, place.span)}]));
    }
    let related: Vec<Value> =
        diagnostic.labels.iter().enumerate().map(|(id, label)| located(sources, label, Some(id))).collect();
    if !related.is_empty() {
        result.insert("relatedLocations".to_owned(), Value::Array(related));
    }
    let paths = finding.map(|finding| finding.paths.as_slice()).unwrap_or_default();
    if !paths.is_empty() {
        let flows = paths.iter().map(|path| {
            let hops: Vec<Value> = path.iter().map(|hop| json!({"location": located(sources, hop, None)})).collect();
            json!({"threadFlows": [{"locations": hops}]})
        });
        result.insert("codeFlows".to_owned(), flows.collect());
    }
    let print = fingerprint(diagnostic, finding, file.as_deref());
    result.insert("partialFingerprints".to_owned(), json!({"finding/v1": print}));
    if let Some(finding) = finding {
        let kind = checked.rule(&finding.rule).map(|rule| rule.kind);
        result.insert("properties".to_owned(), json!({"subject": finding.subject, "kind": kind}));
    }
    Value::Object(result)
}

fn located(sources: &Sources, label: &Label, id: Option<usize>) -> Value {
    let mut location = json!({"physicalLocation": physical(sources, label.span)});
    if let Some(entries) = location.as_object_mut() {
        if !label.text.is_empty() {
            entries.insert("message".to_owned(), json!({"text": label.text}));
        }
        if let Some(id) = id {
            entries.insert("id".to_owned(), json!(id));
        }
    }
    location
}

fn physical(sources: &Sources, span: Span) -> Value {
    let start = sources.locate(span);
    let end = sources.locate(Span { start: span.end, ..span });
    let mut region = json!({"startLine": start.line.max(1), "startColumn": start.column.max(1)});
    if end.line == start.line
        && let Some(entries) = region.as_object_mut()
    {
        entries.insert("endColumn".to_owned(), json!(end.column.max(start.column)));
    }
    json!({"artifactLocation": {"uri": uri(start.file.as_str())}, "region": region})
}

/// Returns a path as a URI reference, relative ones relative to where the program was run.
fn uri(path: &str) -> String {
    let path = without_dot(path);
    let mut uri = String::with_capacity(path.len());
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
