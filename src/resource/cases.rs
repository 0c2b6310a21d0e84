//! Runs the data cases of `tests/cases/resource/KIND/*.yaml`: what is desired, what a host answered, and the change.
//!
//! The whole change is a snapshot beside the case: attributes, steps with their scripts, and the reverse.
//! After a change of a kind: `INSTA_UPDATE=always cargo nextest run -E 'test(resource_cases)'`, and read the diff.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use super::{Content, find_kind, kinds};
use crate::change::{Change, Reverse, Shown, Step, StepPayload};
use crate::diag::{Diagnostics, Sources, Span};
use crate::model::node::Node;
use crate::resource::managed_file::sha256;
use crate::resource::read::{Answers, Reading};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    desired: Value,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    answers: Value,
    /// Who logs in for the run.
    #[serde(default)]
    login: Option<String>,
}

#[test]
fn resource_cases() {
    insta::glob!("../../tests/cases/resource", "**/*.yaml", |path| {
        let kind = path.parent().and_then(|p| p.file_name()).and_then(|n| n.to_str()).unwrap();
        let text = crate::fs::read_to_string(path.try_into().unwrap()).unwrap().into_bytes();
        let mut sources = Sources::default();
        let mut problems = Diagnostics::default();
        let node = crate::load::yaml::parse(&mut sources, "case.yaml".into(), &text, &mut problems);
        assert!(problems.is_empty(), "{}: {problems:?}", path.display());
        let case: Case = serde_json::from_value(node.unwrap().to_json()).unwrap();
        insta::assert_snapshot!(render(kind, case));
    });
}

/// What a real libvirt printed of what we made: see `record.py` beside the texts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Printed {
    kind: String,
    desired: Value,
    answers: Value,
}

#[test]
fn what_libvirt_prints_of_what_we_made_is_as_wanted() {
    let mut count = 0;
    insta::glob!("../../tests/cases/libvirt", "*.yaml", |path| {
        let text = crate::fs::read_to_string(path.try_into().unwrap()).unwrap().into_bytes();
        let mut problems = Diagnostics::default();
        let node = crate::load::yaml::parse(&mut Sources::default(), "printed.yaml".into(), &text, &mut problems);
        assert!(problems.is_empty(), "{}: {problems:?}", path.display());
        let printed: Printed = serde_json::from_value(node.unwrap().to_json()).unwrap();
        let nowhere = Span::from_parts([0, 0, 0]);
        let kind = find_kind(&printed.kind).unwrap();
        let resource = kind.read(&Node::from_json(nowhere, &printed.desired), nowhere, &mut problems);
        let resource = resource.unwrap_or_else(|| panic!("{}: {problems:?}", path.display()));
        assert_eq!(resource.check(), Vec::new(), "{}", path.display());
        let change = resource.decide(&answers(printed.answers)).unwrap().change;
        assert!(change.is_no_op(), "{}: {}: {:?}", path.display(), change.reason, change.attributes);
        count += 1;
    });
    assert!(count >= 30, "only {count} texts were found");
}

#[test]
fn every_kind_has_cases_and_a_valid_example() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/resource");
    for kind in kinds() {
        let cases = std::fs::read_dir(folder.join(kind.name)).map(Iterator::count).unwrap_or(0);
        assert!(cases >= 5, "{} has {cases} data cases: absent, present, wrong, no-op, hostile name", kind.name);
        let mut sources = Sources::default();
        let mut problems = Diagnostics::default();
        let tasks =
            crate::load::yaml::parse(&mut sources, "example.yaml".into(), kind.example.as_bytes(), &mut problems);
        assert!(problems.is_empty(), "{}: {problems:?}", kind.name);
        let tasks = tasks.unwrap();
        for task in tasks.as_seq().unwrap() {
            let arguments =
                task.get(kind.name).unwrap_or_else(|| panic!("an example of {} is of another kind", kind.name));
            let resource = kind.read(arguments, arguments.span, &mut problems);
            let resource = resource.unwrap_or_else(|| panic!("{}: {problems:?}", kind.name));
            assert_eq!(resource.check(), Vec::new(), "{}", kind.name);
        }
    }
}

fn render(kind: &str, case: Case) -> String {
    let entry = find_kind(kind).unwrap_or_else(|| panic!("there is no kind `{kind}`"));
    let nowhere = Span::from_parts([0, 0, 0]);
    let mut problems = Diagnostics::default();
    let Some(mut resource) = entry.read(&Node::from_json(nowhere, &case.desired), nowhere, &mut problems) else {
        return problems.iter().map(|problem| format!("refused: {}\n", problem.message)).collect();
    };
    let mut out = String::new();
    for problem in resource.check() {
        let help = problem.help.map(|help| format!(" (help: {help})")).unwrap_or_default();
        writeln!(out, "problem in {:?}: {}{help}", problem.field, problem.message).unwrap();
    }
    if !case.inputs.is_empty() {
        resource.supply(case.inputs.into_iter().map(|text| Content::Text(text.into())).collect());
    }
    if let Some(login) = &case.login {
        resource.learn_login(login);
    }
    let mut reading = Reading::default();
    for query in resource.queries() {
        reading.ask(query);
    }
    // A command without a condition and a reboot that waits to be notified have nothing to look at.
    let may_be_blind = matches!(kind, "command" | "reboot");
    assert!(!reading.is_empty() || may_be_blind, "a kind that cannot be observed is no kind");
    let decision = match resource.decide(&answers(case.answers)) {
        Ok(decision) => decision,
        Err(error) => return format!("{out}error: {error}\nhint: {:?}\n", error.hint()),
    };
    write_change(&mut out, &decision.change);
    out
}

/// Reads answers, with the digest of each content that is given without one.
fn answers(mut json: Value) -> Answers {
    if json.is_null() {
        return Answers::default();
    }
    if let Some(paths) = json.get_mut("paths").and_then(Value::as_object_mut) {
        for state in paths.values_mut() {
            if let Some(content) = state.get("content").and_then(Value::as_str)
                && state.get("sha256").is_none()
            {
                let digest = sha256(content.as_bytes());
                state["sha256"] = digest.into();
            }
        }
    }
    serde_json::from_value(json).unwrap()
}

fn write_change(out: &mut String, change: &Change) {
    writeln!(out, "{} {}: {}", change.action.sign(), change.id, change.reason).unwrap();
    let shown = |side: &Shown| match side {
        Shown::Absent => "(absent)".to_owned(),
        Shown::Value(value) => value.to_string(),
        Shown::Sensitive => "(sensitive)".to_owned(),
        Shown::KnownAfterApply => "(known after apply)".to_owned(),
    };
    for attribute in &change.attributes {
        writeln!(out, "    {}: {} -> {}", attribute.name, shown(&attribute.before), shown(&attribute.after)).unwrap();
    }
    if let Some(text) = &change.text {
        writeln!(out, "    text: {:?} -> {:?}", text.before, text.after).unwrap();
    }
    write_steps(out, "step", &change.steps);
    match &change.reverse {
        Reverse::Nothing => {}
        Reverse::Steps(steps) => write_steps(out, "reverse", steps),
        Reverse::Impossible(why) => writeln!(out, "reverse: impossible, {why}").unwrap(),
    }
    if let Some(note) = &change.note {
        writeln!(out, "note: {note}").unwrap();
    }
    if let Some(why) = &change.consent {
        writeln!(out, "only by consent: {why}").unwrap();
    }
    if let Some(guard) = &change.guard {
        for (word, script) in [("save", &guard.save), ("restore", &guard.restore)] {
            writeln!(out, "guard: {word}").unwrap();
            script.text().lines().for_each(|line| writeln!(out, "    | {line}").unwrap());
        }
    }
    if change.is_no_op() {
        assert!(!change.reason.is_empty(), "a no-op has a reason");
        assert!(change.steps.is_empty(), "a no-op does nothing");
    } else {
        assert!(!change.steps.is_empty(), "a change that does nothing is no change");
    }
}

fn write_steps(out: &mut String, word: &str, steps: &[Step]) {
    for step in steps {
        let payload = match &step.payload {
            StepPayload::None => String::new(),
            StepPayload::Bytes(bytes) if bytes.0.contains(&0) => {
                format!(" with {} bytes of the digest {}", bytes.0.len(), sha256(&bytes.0))
            }
            StepPayload::Bytes(bytes) => format!(" with {:?}", String::from_utf8_lossy(&bytes.0)),
            StepPayload::File { path, size, .. } => format!(" with {size} bytes of {path}"),
            StepPayload::OutputOf(at) => format!(" with the output of step {at}"),
        };
        let on = step.on.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        let within = step.seconds.map(|seconds| format!(" within {seconds} s")).unwrap_or_default();
        writeln!(out, "{word}: {}{on}{payload} {:?}{within}", step.title, step.effect).unwrap();
        for line in step.script.text().lines() {
            writeln!(out, "    | {line}").unwrap();
        }
    }
}
