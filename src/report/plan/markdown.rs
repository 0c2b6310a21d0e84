//! A plan for a merge request.

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::diff::Diffs;
use super::{Failure, Part, counted, names, one_line, parts, shown, shown_attributes, summary, why};
use crate::addr::ResourceId;
use crate::change::{Action, Shown};
use crate::event::Reach;
use crate::plan::{Decision, Entry, HostPlan};
use crate::report::style::escape;

/// Returns a plan for a merge request: a heading that sums it up, and each change with its diff folded away.
pub fn markdown(plans: &[HostPlan], failed: &[Failure]) -> String {
    let mut out = format!("### {}\n", summary(plans, failed));
    let mut diffs = Diffs::default();
    let mut blocks: IndexMap<(String, String), Vec<&HostPlan>> = IndexMap::new();
    for plan in plans {
        let mut changes = String::new();
        for part in parts(plan) {
            match part {
                Part::Entry(entry) => push_markdown(&mut changes, entry, &mut diffs),
                Part::Handler(handler) => {
                    let titles: Vec<&str> = handler.steps.iter().map(|step| step.title.as_str()).collect();
                    let reason = format!("{}, {}", titles.join(", "), why(handler, usize::MAX));
                    let _ = writeln!(changes, "- {}", markdown_line("!", &handler.id, &reason));
                }
            }
        }
        blocks.entry((changes, counted(plan))).or_default().push(plan);
    }
    for ((changes, rest), hosts) in &blocks {
        let names = names(hosts, !changes.is_empty());
        if changes.is_empty() {
            let _ = writeln!(out, "\n**{}**: {rest}", html(&names));
        } else {
            let _ = write!(out, "\n#### {}\n\n{changes}", html(&names));
            if !rest.is_empty() {
                let _ = writeln!(out, "- {rest}");
            }
        }
    }
    if !failed.is_empty() {
        out.push_str("\n#### Not in this plan\n\n");
    }
    for failure in failed {
        let what = match failure.reach {
            Reach::Unreachable => "is unreachable",
            Reach::Reached => "failed",
        };
        let _ = write!(out, "- **{}** {what}: {}", html(failure.host.as_str()), html(&one_line(&failure.error)));
        if let Some(hint) = &failure.hint {
            let _ = write!(out, " ({})", html(&one_line(hint)));
        }
        out.push('\n');
    }
    out
}

fn push_markdown(out: &mut String, entry: &Entry, diffs: &mut Diffs) {
    let change = match &entry.decision {
        Decision::Change(change) if change.is_no_op() => {
            if let Some(note) = &change.note {
                let _ = writeln!(out, "- {}", markdown_line(change.action.sign(), &entry.id, note));
            }
            return;
        }
        Decision::Change(change) => change,
        Decision::Skipped { .. } => return,
        Decision::KnownAfterApply { because } => {
            let reason = format!("known after apply: {because}");
            let _ = writeln!(out, "- {}", markdown_line("?", &entry.id, &reason));
            return;
        }
        Decision::Failed { error, hint } => {
            let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let reason = format!("cannot be planned: {error}{hint}");
            let _ = writeln!(out, "- {}", markdown_line("x", &entry.id, &reason));
            return;
        }
    };
    let mut lines: Vec<String> = Vec::new();
    for attribute in shown_attributes(change) {
        let name = escape(&attribute.name);
        if change.action != Action::Create && attribute.before != Shown::Absent {
            lines.push(format!("- {name}: {}", shown(&attribute.before)));
        }
        if change.action != Action::Delete && attribute.after != Shown::Absent {
            lines.push(format!("+ {name}: {}", shown(&attribute.after)));
        }
    }
    if let Some(text) = &change.text {
        lines.extend(diffs.of(text).iter().map(|(_, line)| line.clone()));
    }
    let note = change.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    let line = markdown_line(change.action.sign(), &entry.id, &format!("{}{note}", change.reason));
    if lines.is_empty() {
        let _ = writeln!(out, "- {line}");
        return;
    }
    // A fence must be longer than any run of backticks in what it holds.
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(out, "- <details><summary>{line}</summary>\n\n  {fence}diff");
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
    let _ = writeln!(out, "  {fence}\n\n  </details>");
}

fn markdown_line(sign: &str, id: &ResourceId, reason: &str) -> String {
    format!("<code>{sign} {}</code> {}", html(&id.to_string()), html(&one_line(reason)))
}

/// Returns text in which neither HTML nor markdown finds anything to interpret.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '*' | '_' | '`' | '[' | ']' | '|' | '~' | '#' | '@' | '\\' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
