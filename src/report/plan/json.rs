//! A plan for programs.

use serde_json::{Value, json};

use super::diff::diff;
use super::{Failure, Tally, handlers};
use crate::change::{Change, Reverse, Step};
use crate::event::Reach;
use crate::plan::{Decision, Entry, HostPlan};

/// The version of the JSON form.
const VERSION: u32 = 1;

/// Returns a plan as one JSON object.
///
/// - `version`: 1. New keys may be added; a change of meaning raises it.
/// - `summary`: the numbers of `create`, `update`, `replace`, `delete`, `run`, `known_after_apply`, `unchanged`, `skipped` and
///   `failed` resources, handlers counted as `run`, and of `hosts`, `hosts_unreachable` and `hosts_failed`.
/// - `hosts`: each with its `host`, the number of `unchanged` resources, and the lists
///   - `changes`: `resource`, `action` (`create`, `update`, `replace`, `delete`, `run`), `reason`, `task` (`file:line:column`),
///     `attributes` (`name`, `before` and `after`: `{"value": ...}`, `"absent"`, `"sensitive"` or `"known-after-apply"`), `diff`
///     (unified, or `null`), `steps` (titles), `irreversible` (why it cannot be taken back, or `null`);
///   - `known_after_apply` and `skipped`: `resource`, `task`, `because`;
///   - `failed`: `resource`, `task`, `error`, `hint`;
///   - `notes`: `resource`, `task`, `note`: what is not as wanted and stays so, such as what waits for the next start;
///   - `handlers`: `resource`, `steps` (titles), `notified_by`, `pending` (whether an earlier run left it undone).
/// - `failed`: the hosts that take no part: `host`, `error`, `hint`, `reach` (`unreachable` or `reached`).
pub fn to_json(plans: &[HostPlan], failed: &[Failure]) -> Value {
    let tally = Tally::of(plans);
    let of = |reach| failed.iter().filter(|failure| failure.reach == reach).count();
    let mut summary = json!(tally);
    if let Some(entries) = summary.as_object_mut() {
        entries.insert("hosts".to_owned(), json!(plans.len()));
        entries.insert("hosts_unreachable".to_owned(), json!(of(Reach::Unreachable)));
        entries.insert("hosts_failed".to_owned(), json!(of(Reach::Reached)));
    }
    let failed: Vec<Value> = failed
        .iter()
        .map(|failure| {
            json!({"host": failure.host, "error": failure.error, "hint": failure.hint, "reach": failure.reach})
        })
        .collect();
    let hosts: Vec<Value> = plans.iter().map(host_json).collect();
    json!({"version": VERSION, "summary": summary, "hosts": hosts, "failed": failed})
}

fn host_json(plan: &HostPlan) -> Value {
    let (mut changes, mut waiting, mut skipped, mut broken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut unchanged = 0;
    let mut notes = Vec::new();
    for entry in &plan.entries {
        let (id, task) = (&entry.id, &entry.task);
        if let Decision::Change(Change { note: Some(note), .. }) = &entry.decision {
            notes.push(json!({"resource": id, "task": task, "note": note}));
        }
        match &entry.decision {
            Decision::Change(change) if change.is_no_op() => unchanged += 1,
            Decision::Change(change) => changes.push(change_json(entry, change)),
            Decision::KnownAfterApply { because } => {
                waiting.push(json!({"resource": id, "task": task, "because": because}));
            }
            Decision::Skipped { because } => skipped.push(json!({"resource": id, "task": task, "because": because})),
            Decision::Failed { error, hint } => {
                broken.push(json!({"resource": id, "task": task, "error": error, "hint": hint}));
            }
        }
    }
    let handlers: Vec<Value> = handlers(plan)
        .map(|handler| {
            json!({
                "resource": handler.id,
                "steps": titles(&handler.steps),
                "notified_by": handler.because,
                "pending": handler.is_pending,
            })
        })
        .collect();
    json!({
        "host": plan.host,
        "unchanged": unchanged,
        "changes": changes,
        "known_after_apply": waiting,
        "skipped": skipped,
        "failed": broken,
        "notes": notes,
        "handlers": handlers,
    })
}

fn change_json(entry: &Entry, change: &Change) -> Value {
    let diff = change.text.as_ref().map(|text| {
        let lines = diff(text);
        lines.iter().map(|(_, line)| format!("{line}\n")).collect::<String>()
    });
    let irreversible = match &change.reverse {
        Reverse::Impossible(why) => Some(why),
        _ => None,
    };
    json!({
        "resource": entry.id,
        "action": change.action,
        "reason": change.reason,
        "task": entry.task,
        "attributes": change.attributes,
        "diff": diff,
        "steps": titles(&change.steps),
        "irreversible": irreversible,
    })
}

fn titles(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.title.as_str()).collect()
}
