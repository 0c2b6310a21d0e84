//! A plan as people read it, host by host.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::diff::Diffs;
use super::{Failure, Part, compact, counted, names, one_line, parts, shown, shown_attributes, summary, why};
use crate::addr::{ResourceAddr, ResourceId};
use crate::change::{Action, AttributeChange, Change, Reverse, Shown};
use crate::event::Reach;
use crate::plan::{Decision, Entry, Handler, HostPlan};
use crate::report::style::{Color, Tone, count, escape, width_of, wrap};

/// How far what belongs to a resource is indented.
const INDENT: usize = 6;

/// How a plan is shown.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether it is coloured.
    pub color: Color,
    /// How many columns there are.
    pub width: usize,
    /// Whether to show also what does not apply, where each task stands, and the steps.
    pub verbose: bool,
}

/// Returns what would happen, host by host, and a last line that sums it up.
pub fn render(plans: &[HostPlan], failed: &[Failure], options: &Options) -> String {
    let paint = |tone, text: &str| options.color.paint(tone, text).into_owned();
    let mut out = String::new();
    let mut ends_with_blank = true;
    for ((changes, rest), hosts) in blocks(plans, options) {
        if changes.is_empty() {
            let text = format!("{}: {rest}", names(&hosts, options.verbose));
            push_lines(&mut out, 0, &wrap(&text, options.width));
            ends_with_blank = false;
            continue;
        }
        if !ends_with_blank {
            out.push('\n');
        }
        let heading = wrap(&names(&hosts, true), options.width);
        push_lines(&mut out, 0, &heading.iter().map(|line| paint(Tone::Strong, line)).collect::<Vec<_>>());
        out.push_str(&changes);
        if !rest.is_empty() {
            let _ = writeln!(out, "{}", paint(Tone::Quiet, &format!("  = {rest}")));
        }
        out.push('\n');
        ends_with_blank = true;
    }
    if !ends_with_blank && !failed.is_empty() {
        out.push('\n');
    }
    for failure in failed {
        let what = match failure.reach {
            Reach::Unreachable => "is unreachable",
            Reach::Reached => "failed",
        };
        let host = paint(Tone::Strong, &escape(failure.host.as_str()));
        let _ = writeln!(out, "{host} {}: {}", paint(Tone::Bad, what), one_line(&failure.error));
        push_hint(&mut out, 2, failure.hint.as_deref(), options);
        ends_with_blank = false;
    }
    if !ends_with_blank {
        out.push('\n');
    }
    let _ = writeln!(out, "{}", paint(Tone::Strong, &summary(plans, failed)));
    out
}

/// Groups hosts by what is shown of them: what would happen, and the counts of what stays.
fn blocks<'a>(plans: &'a [HostPlan], options: &Options) -> IndexMap<(String, String), Vec<&'a HostPlan>> {
    let mut diffs = Diffs::default();
    let mut blocks: IndexMap<(String, String), Vec<&HostPlan>> = IndexMap::new();
    for plan in plans {
        let mut changes = String::new();
        if let Some(by) = plan.awaits.as_ref().filter(|_| !options.verbose) {
            push_awaited(&mut changes, plan, by, options);
            blocks.entry((changes, counted(plan))).or_default().push(plan);
            continue;
        }
        for part in parts(plan) {
            match part {
                Part::Entry(entry) => push_entry(&mut changes, entry, options, &mut diffs),
                Part::Handler(handler) => push_handler(&mut changes, handler, options),
            }
        }
        blocks.entry((changes, counted(plan))).or_default().push(plan);
    }
    blocks
}

/// Says in one line what is to be done on a host that is not there yet: nobody knows more.
fn push_awaited(out: &mut String, plan: &HostPlan, by: &ResourceAddr, options: &Options) {
    let number = plan.entries.iter().filter(|entry| entry.is_pending()).count();
    let sign = options.color.paint(tone_of(Action::Create), &format!("{:>3}", Action::Create.sign())).into_owned();
    let what = format!("{} (the host is not there yet, {by} brings it)", count(number, "resource"));
    let mut lines = wrap(&escape(&what), options.width.saturating_sub(INDENT)).into_iter();
    let _ = writeln!(out, "{sign} {}", lines.next().unwrap_or_default());
    push_lines(out, INDENT, &lines.collect::<Vec<_>>());
}

fn push_entry(out: &mut String, entry: &Entry, options: &Options, diffs: &mut Diffs) {
    match &entry.decision {
        Decision::Change(change) if change.is_no_op() => {
            if let Some(note) = &change.note {
                push_line(out, change.action.sign(), tone_of(change.action), &entry.id, note, options);
            }
        }
        Decision::Change(change) => {
            push_line(out, change.action.sign(), tone_of(change.action), &entry.id, &change.reason, options);
            push_change(out, change, options, diffs);
            push_details(out, entry, options);
        }
        Decision::KnownAfterApply { because } => {
            let reason = format!("known after apply: {because}");
            push_line(out, "?", Tone::Changed, &entry.id, &reason, options);
            push_details(out, entry, options);
        }
        Decision::Skipped { because } => {
            if options.verbose {
                push_line(out, ".", Tone::Quiet, &entry.id, &format!("does not apply: {because}"), options);
                push_details(out, entry, options);
            }
        }
        Decision::Failed { error, hint } => {
            push_line(out, "x", Tone::Bad, &entry.id, &format!("cannot be planned: {error}"), options);
            push_hint(out, INDENT, hint.as_deref(), options);
            push_details(out, entry, options);
        }
    }
}

fn push_handler(out: &mut String, handler: &Handler, options: &Options) {
    let because = why(handler, 3);
    let titles: Vec<&str> = handler.steps.iter().map(|step| step.title.as_str()).collect();
    push_line(out, "!", Tone::Runs, &handler.id, &format!("{}, {because}", titles.join(", ")), options);
}

/// Adds a resource with its sign and, in parentheses, the reason; on further lines where one is too short.
fn push_line(out: &mut String, sign: &str, tone: Tone, id: &ResourceId, reason: &str, options: &Options) {
    let id = escape(&id.to_string()).into_owned();
    let reason = format!("({})", one_line(reason));
    let sign = options.color.paint(tone, &format!("{sign:>3}")).into_owned();
    let quiet = |text: &str| options.color.paint(Tone::Quiet, text).into_owned();
    if 5 + width_of(&id) + width_of(&reason) <= options.width {
        let _ = writeln!(out, "{sign} {id} {}", quiet(&reason));
        return;
    }
    let _ = writeln!(out, "{sign} {id}");
    let lines: Vec<String> = wrap(&reason, options.width.saturating_sub(INDENT)).iter().map(|l| quiet(l)).collect();
    push_lines(out, INDENT, &lines);
}

/// Adds what differs: attributes, and text as a diff.
fn push_change(out: &mut String, change: &Change, options: &Options, diffs: &mut Diffs) {
    for attribute in shown_attributes(change) {
        push_attribute(out, change.action, attribute, options);
    }
    if let Some(text) = &change.text {
        for (tag, line) in diffs.of(text).iter() {
            let line = match tag {
                ChangeTag::Insert => options.color.paint(Tone::Good, line),
                ChangeTag::Delete => options.color.paint(Tone::Bad, line),
                ChangeTag::Equal => options.color.paint(Tone::Quiet, line),
            };
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
    }
    if let Some(note) = &change.note {
        push_lines(out, INDENT, &wrap(&format!("note: {}", one_line(note)), options.width.saturating_sub(INDENT)));
    }
    if let Reverse::Impossible(why) = &change.reverse
        && (options.verbose || matches!(change.action, Action::Replace | Action::Delete))
    {
        let line = format!("cannot be taken back: {}", one_line(why));
        push_lines(out, INDENT, &wrap(&line, options.width.saturating_sub(INDENT)));
    }
}

/// Adds where a task stands and its steps, for those who want to know everything.
fn push_details(out: &mut String, entry: &Entry, options: &Options) {
    if !options.verbose {
        return;
    }
    let mut push = |text: String| {
        let _ = writeln!(out, "{:INDENT$}{}", "", options.color.paint(Tone::Quiet, &text));
    };
    push(format!("at {}", escape(&entry.task)));
    for step in entry.change().map(|change| change.steps.as_slice()).unwrap_or_default() {
        let on = step.on.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        push(format!("step: {}{}", one_line(&step.title), escape(&on)));
    }
}

fn push_attribute(out: &mut String, action: Action, attribute: &AttributeChange, options: &Options) {
    let name = escape(&attribute.name);
    let (before, after) = (shown(&attribute.before), shown(&attribute.after));
    let line = match action {
        Action::Create => format!("{name}: {after}"),
        Action::Replace | Action::Run if attribute.before == Shown::Absent => format!("{name}: {after}"),
        Action::Delete => format!("{name}: {before}"),
        _ => format!("{name}: {before} -> {after}"),
    };
    if INDENT + width_of(&line) <= options.width {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
        return;
    }
    let _ = writeln!(out, "{:INDENT$}{name}:", "");
    let long = |side: &Shown| match side {
        Shown::Value(value) => pretty(value),
        other => vec![shown(other)],
    };
    let (before, after) = (long(&attribute.before), long(&attribute.after));
    let mut push = |sign: char, tone: Option<Tone>, line: &str| {
        let line = format!("{sign} {line}");
        let line = match tone {
            Some(tone) => options.color.paint(tone, &line).into_owned(),
            None => line,
        };
        let _ = writeln!(out, "{:INDENT$}  {line}", "");
    };
    match action {
        Action::Create => after.iter().for_each(|line| push(' ', None, line)),
        Action::Delete => before.iter().for_each(|line| push(' ', None, line)),
        _ => {
            let (old, new): (Vec<&str>, Vec<&str>) =
                (before.iter().map(String::as_str).collect(), after.iter().map(String::as_str).collect());
            for change in TextDiff::from_slices(&old, &new).iter_all_changes() {
                match change.tag() {
                    ChangeTag::Equal => push(' ', None, change.value()),
                    ChangeTag::Delete => push('-', Some(Tone::Bad), change.value()),
                    ChangeTag::Insert => push('+', Some(Tone::Good), change.value()),
                }
            }
        }
    }
}

/// Returns a value over several lines: the items of a list, the entries of a map.
fn pretty(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(compact).collect(),
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().map(|(key, value)| format!("{}: {}", escape(key), compact(value))).collect()
        }
        Value::String(text) if text.trim_end().contains('\n') => {
            text.lines().map(|line| escape(line).into_owned()).collect()
        }
        other => vec![compact(other)],
    }
}

fn tone_of(action: Action) -> Tone {
    match action {
        Action::NoOp => Tone::Quiet,
        Action::Create => Tone::Good,
        Action::Update => Tone::Changed,
        Action::Replace | Action::Delete => Tone::Bad,
        Action::Run => Tone::Runs,
    }
}

fn push_hint(out: &mut String, indent: usize, hint: Option<&str>, options: &Options) {
    if let Some(hint) = hint {
        let line = format!("hint: {}", one_line(hint));
        push_lines(out, indent, &wrap(&line, options.width.saturating_sub(indent)));
    }
}

fn push_lines(out: &mut String, indent: usize, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}
