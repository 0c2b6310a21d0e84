//! A plan as people read it, as markdown for a merge request, and as JSON.
//!
//! Hosts for which the same would happen are shown once, so two hundred equal hosts are one block. What a plan holds is
//! masked already; here only what could forge a line of output is shown escaped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::style::{Color, Tone, count, escape, width_of, wrap};
use crate::addr::{HostName, ResourceAddr, ResourceId};
use crate::change::{Action, AttributeChange, Change, Reverse, Shown, Step, TextChange};
use crate::event::Reach;
use crate::plan::{Decision, Entry, Handler, HostPlan};

/// The version of the JSON form.
const VERSION: u32 = 1;

/// The longest diff that is shown whole, in lines.
const LONGEST_DIFF: usize = 400;

/// How far what belongs to a resource is indented.
const INDENT: usize = 6;

/// A host that takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The host.
    pub host: HostName,
    /// What went wrong, with its causes.
    pub error: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether it is unreachable, which is not the same as failed.
    pub reach: Reach,
}

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

/// How many resources would come to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Made.
    pub create: usize,
    /// Changed.
    pub update: usize,
    /// Removed and made anew.
    pub replace: usize,
    /// Removed.
    pub delete: usize,
    /// Run or refreshed.
    pub run: usize,
    /// Only a running step can tell.
    pub known_after_apply: usize,
    /// Left as they are.
    pub unchanged: usize,
    /// Not for their host.
    pub skipped: usize,
    /// Could not be read.
    pub failed: usize,
}

impl Tally {
    /// Counts what would happen on hosts.
    pub fn of<'a>(plans: impl IntoIterator<Item = &'a HostPlan>) -> Self {
        let mut tally = Self::default();
        for plan in plans {
            for entry in &plan.entries {
                *match &entry.decision {
                    Decision::Change(change) => match change.action {
                        Action::NoOp => &mut tally.unchanged,
                        Action::Create => &mut tally.create,
                        Action::Update => &mut tally.update,
                        Action::Replace => &mut tally.replace,
                        Action::Delete => &mut tally.delete,
                        Action::Run => &mut tally.run,
                    },
                    Decision::KnownAfterApply { .. } => &mut tally.known_after_apply,
                    Decision::Skipped { .. } => &mut tally.skipped,
                    Decision::Failed { .. } => &mut tally.failed,
                } += 1;
            }
            tally.run += handlers(plan).count();
        }
        tally
    }

    /// Returns whether nothing would happen.
    pub fn is_empty(&self) -> bool {
        let Self { create, update, replace, delete, run, known_after_apply, unchanged: _, skipped: _, failed } = *self;
        create + update + replace + delete + run + known_after_apply + failed == 0
    }
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

/// Returns the line that sums a plan up: `Plan: 3 to create, 2 to update, ... on 8 hosts.`
pub fn summary(plans: &[HostPlan], failed: &[Failure]) -> String {
    let tally = Tally::of(plans);
    let hosts = count(plans.len(), "host");
    let mut text = if plans.is_empty() && !failed.is_empty() {
        "No host could be read".to_owned()
    } else if tally.is_empty() {
        let verb = if tally.unchanged == 1 { "is" } else { "are" };
        format!("No changes. {} on {hosts} {verb} as wanted", count(tally.unchanged, "resource"))
    } else {
        let parts = [
            (tally.create, "to create", true),
            (tally.update, "to update", true),
            (tally.replace, "to replace", false),
            (tally.delete, "to delete", true),
            (tally.run, "to run", true),
            (tally.known_after_apply, "known after apply", false),
            (tally.failed, "cannot be planned", false),
            (tally.unchanged, "unchanged", true),
        ];
        let shown = parts.into_iter().filter(|(number, _, always)| *always || *number > 0);
        let shown: Vec<String> = shown.map(|(number, what, _)| format!("{number} {what}")).collect();
        format!("Plan: {} on {hosts}", shown.join(", "))
    };
    for (reach, what) in [(Reach::Unreachable, "unreachable"), (Reach::Reached, "failed")] {
        let number = failed.iter().filter(|failure| failure.reach == reach).count();
        if number > 0 {
            let _ = write!(text, "; {} {what}", count(number, "host"));
        }
    }
    text + "."
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

/// What is shown of a plan, in order.
enum Part<'a> {
    Entry(&'a Entry),
    Handler(&'a Handler),
}

/// Returns the entries of a host with the handlers of each play behind it, where they run.
fn parts(plan: &HostPlan) -> Vec<Part<'_>> {
    let mut parts = Vec::with_capacity(plan.entries.len());
    let mut entries = plan.entries.iter().peekable();
    while let Some(entry) = entries.next() {
        parts.push(Part::Entry(entry));
        if entries.peek().is_none_or(|next| next.play != entry.play) {
            let of_play = plan.handlers.get(&entry.play).into_iter().flatten();
            parts.extend(of_play.filter(|handler| !handler.steps.is_empty()).map(Part::Handler));
        }
    }
    parts
}

/// Returns the handlers that do something: a service that is to be stopped has nothing to restart.
fn handlers(plan: &HostPlan) -> impl Iterator<Item = &Handler> {
    plan.handlers.values().flatten().filter(|handler| !handler.steps.is_empty())
}

/// Returns the names of hosts and, where they are several, their number.
fn names(plans: &[&HostPlan], all: bool) -> String {
    let mut names: Vec<String> = plans.iter().map(|plan| escape(plan.host.as_str()).into_owned()).collect();
    let number = names.len();
    let rest = if all || number <= 8 { 0 } else { number - 6 };
    names.truncate(number - rest);
    let mut text = names.join(", ");
    if rest > 0 {
        let _ = write!(text, " and {rest} more");
    }
    if number > 1 {
        let _ = write!(text, " ({number} hosts)");
    }
    text
}

/// Returns the counts of what stays as it is.
fn counted(plan: &HostPlan) -> String {
    let tally = Tally::of([plan]);
    let mut counted = Vec::new();
    let is_quiet = tally.is_empty() && tally.skipped == 0;
    if tally.unchanged > 0 || is_quiet {
        counted.push(format!("{} unchanged", tally.unchanged));
    }
    match tally.skipped {
        0 => {}
        1 => counted.push("1 does not apply".to_owned()),
        more => counted.push(format!("{more} do not apply")),
    }
    counted.join(", ")
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

/// Returns why a resource is refreshed, naming at most `limit` of the resources that ask for it.
fn why(handler: &Handler, limit: usize) -> String {
    let mut because: Vec<String> = handler.because.iter().take(limit).map(ToString::to_string).collect();
    let more = handler.because.len().saturating_sub(limit);
    if more > 0 {
        because.push(format!("{more} more"));
    }
    match (because.is_empty(), handler.is_pending) {
        (false, false) => format!("notified by {}", because.join(", ")),
        (false, true) => format!("notified by {} and left undone by an earlier run", because.join(", ")),
        (true, _) => "left undone by an earlier run".to_owned(),
    }
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

/// Returns the attributes to show: a digest says nothing where the text itself is shown.
fn shown_attributes(change: &Change) -> impl Iterator<Item = &AttributeChange> {
    let is_digest = |side: &Shown| match side {
        Shown::Absent => true,
        Shown::Value(Value::String(text)) => text.starts_with("sha256:"),
        _ => false,
    };
    let digest_is_said = change.text.is_some();
    change.attributes.iter().filter(move |attribute| {
        !(digest_is_said && attribute.name == "content" && is_digest(&attribute.before) && is_digest(&attribute.after))
    })
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

/// Returns one side of an attribute on one line.
fn shown(side: &Shown) -> String {
    match side {
        Shown::Absent => "(absent)".to_owned(),
        Shown::Sensitive => "(sensitive)".to_owned(),
        Shown::KnownAfterApply => "(known after apply)".to_owned(),
        Shown::Value(value) => compact(value),
    }
}

/// Returns a value as JSON on one line, a digest shortened to what tells it apart.
fn compact(value: &Value) -> String {
    match value {
        Value::String(text) => match text.strip_prefix("sha256:").and_then(|hex| hex.get(..12)) {
            Some(start) if text.len() == 71 => format!("sha256:{start}"),
            _ => escape(&value.to_string()).into_owned(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", escape(key), compact(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
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

/// Returns free text as one line in which nothing can forge another.
fn one_line(text: &str) -> String {
    escape(&text.trim().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | "))
        .into_owned()
}

/// Diffs by their two texts: equal hosts get equal files, and a diff is dearer than a look into a map.
#[derive(Default)]
struct Diffs(HashMap<(Arc<str>, Arc<str>), Arc<DiffLines>>);

type DiffLines = Vec<(ChangeTag, String)>;

impl Diffs {
    fn of(&mut self, text: &TextChange) -> Arc<DiffLines> {
        let key = (text.before.clone(), text.after.clone());
        self.0.entry(key).or_insert_with(|| Arc::new(cut(diff(text)))).clone()
    }
}

/// Returns the lines of a unified diff with three lines of context, escaped and without ends of line.
///
/// A text that is wholly new or wholly gone has no hunk headers. Where both texts are the same, what differs is masked.
fn diff(text: &TextChange) -> DiffLines {
    if text.before == text.after {
        return vec![(ChangeTag::Equal, "(what differs is sensitive)".to_owned())];
    }
    let is_whole = text.before.is_empty() || text.after.is_empty();
    let diff = TextDiff::from_lines(&*text.before, &*text.after);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().iter_hunks() {
        if !is_whole {
            lines.push((ChangeTag::Equal, hunk.header().to_string()));
        }
        for change in hunk.iter_changes() {
            let line = change.value().strip_suffix('\n').unwrap_or(change.value());
            lines.push((change.tag(), format!("{}{}", change.tag(), escape(line))));
            if change.missing_newline() {
                lines.push((ChangeTag::Equal, "\\ No newline at end of file".to_owned()));
            }
        }
    }
    lines
}

fn cut(mut lines: DiffLines) -> DiffLines {
    if lines.len() > LONGEST_DIFF {
        let more = lines.len() - LONGEST_DIFF;
        lines.truncate(LONGEST_DIFF);
        lines.push((ChangeTag::Equal, format!("({more} more lines; `--json` has them all)")));
    }
    lines
}

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::change::Attributes;
    use crate::model::playbook::OnFailure;
    use crate::shell::Script;

    fn attributes(value: Value) -> Attributes {
        serde_json::from_value(value).unwrap()
    }

    fn entry(id: &str, play: usize, decision: Decision) -> Entry {
        Entry {
            id: id.parse().unwrap(),
            play,
            task: format!("playbooks/site.yaml:{}:5", 10 + id.len()),
            decision,
            observed: Value::Null,
            notify: Vec::new(),
            register: None,
            on_failure: OnFailure::Stop,
        }
    }

    fn change(id: &str, play: usize, make: impl FnOnce(ResourceId) -> Change) -> Entry {
        entry(id, play, Decision::Change(make(id.parse().unwrap())))
    }

    fn text(before: &str, after: &str) -> Option<TextChange> {
        Some(TextChange { before: before.into(), after: after.into() })
    }

    fn step(title: &str) -> Step {
        Step::new(title, Script::default())
    }

    fn handler(id: &str, title: &str, because: &[&str], is_pending: bool) -> Handler {
        Handler {
            id: id.parse().unwrap(),
            steps: vec![step(title)],
            because: because.iter().map(|id| id.parse().unwrap()).collect(),
            is_pending,
            is_resume: false,
        }
    }

    fn plan(host: &str, entries: Vec<Entry>, handlers: Vec<(usize, Handler)>) -> HostPlan {
        let mut by_play: BTreeMap<usize, Vec<Handler>> = BTreeMap::new();
        for (play, handler) in handlers {
            by_play.entry(play).or_default().push(handler);
        }
        HostPlan { host: host.into(), entries, handlers: by_play, awaits: None }
    }

    fn unchanged(number: usize) -> impl Iterator<Item = Entry> {
        (0..number).map(|n| change(&format!("file[/etc/{n}]"), 0, |id| Change::no_op(id, "mode is as wanted")))
    }

    fn hypervisor(name: &str) -> HostPlan {
        let mut entries: Vec<Entry> = unchanged(12).collect();
        entries.push(change("file[/etc/motd]", 0, |id| {
            let desired = json!({"content": format!("sha256:{}", "a".repeat(64)), "mode": "0644", "owner": "root"});
            let mut change = Change::create(id, &attributes(desired)).step(step("write /etc/motd"));
            change.text = text("", "Authorised use only.\nAsk first.\n");
            change
        }));
        entries.push(change("file[/etc/default/etcd]", 1, |id| {
            let observed = json!({"content": format!("sha256:{}", "b".repeat(64)), "mode": "0600"});
            let desired = json!({"content": format!("sha256:{}", "c".repeat(64)), "mode": "0640"});
            let change = Change::between(id, &attributes(observed), &attributes(desired));
            let mut change = change.step(step("write /etc/default/etcd"));
            let before: String = (1..30).map(|n| format!("OPTION_{n}=old\n")).collect();
            let after = before.replace("OPTION_4=old", "OPTION_4=new").replace("OPTION_28=old\n", "");
            change.text = text(&before, after.trim_end());
            change
        }));
        plan(
            name,
            entries,
            vec![(1, handler("service[etcd]", "restart etcd.service", &["file[/etc/default/etcd]"], false))],
        )
    }

    fn everything() -> HostPlan {
        let entries = vec![
            change("user[deploy]", 0, |id| {
                let mut change = Change::between(
                    id,
                    &attributes(
                        json!({"groups": ["adm", "audio", "cdrom", "dialout", "plugdev"], "shell": "/bin/sh", "password": "x"}),
                    ),
                    &attributes(
                        json!({"groups": ["adm", "audio", "docker", "dialout", "plugdev", "libvirt", "kvm"], "shell": "/bin/bash", "password": "y"}),
                    ),
                );
                change = change.sensitive("password", |_| true);
                change.attributes.push(AttributeChange {
                    name: "uid".into(),
                    before: Shown::Absent,
                    after: Shown::KnownAfterApply,
                });
                change.step(step("change the user deploy"))
            }),
            change("package[ntp]", 0, |id| {
                Change::delete(id, &attributes(json!({"version": "1:4.2.8p15"})))
                    .step(step("remove the package ntp"))
                    .irreversible("the old version is not in the mirror any more")
            }),
            change("link[/etc/localtime]", 0, |id| {
                let change = Change::create(id, &attributes(json!({"to": "/usr/share/zoneinfo/Europe/Paris"})));
                let mut change = change.because("a file is in its place");
                change.action = Action::Replace;
                change
            }),
            change("command[touch /run/\u{1b}[2Jx]", 0, |id| {
                Change::run(id, "it has neither `creates` nor `unless`\nand runs each time").step(step("run it"))
            }),
            change("file[/etc/secret.conf]", 0, |id| {
                let observed = json!({"content": format!("sha256:{}", "b".repeat(64))});
                let desired = json!({"content": format!("sha256:{}", "c".repeat(64))});
                let mut change = Change::between(id, &attributes(observed), &attributes(desired));
                change.text = text("key=(sensitive)\n", "key=(sensitive)\n");
                change
            }),
            change("file[/etc/image]", 0, |id| {
                let observed = json!({"content": format!("sha256:{}", "b".repeat(64))});
                let desired = json!({"content": format!("sha256:{}", "c".repeat(64))});
                Change::between(id, &attributes(observed), &attributes(desired))
            }),
            entry(
                "file[/etc/later]",
                0,
                Decision::KnownAfterApply { because: "it depends on what an earlier task prints".into() },
            ),
            entry("mount[/srv]", 0, Decision::Skipped { because: "`when: facts.os.version > 12` is false".into() }),
            entry(
                "timezone[it]",
                0,
                Decision::Failed {
                    error: "timezone[it] needs `timedatectl`, which the host does not have".into(),
                    hint: Some("install the package `systemd` on the host first".into()),
                },
            ),
        ];
        plan("ctl-1", entries, vec![(0, handler("service[ssh]", "reload ssh.service", &[], true))])
    }

    fn failures() -> Vec<Failure> {
        vec![
            Failure {
                host: "hv-9".into(),
                error: "connect to 10.0.0.9:22: no answer within 10 s\nand no bastion".into(),
                hint: Some("look whether the host is up, and whether the way to it is open from here".into()),
                reach: Reach::Unreachable,
            },
            Failure { host: "hv-8".into(), error: "sudo wants a password".into(), hint: None, reach: Reach::Reached },
        ]
    }

    fn example() -> Vec<HostPlan> {
        let quiet: Vec<HostPlan> =
            (1..=10).map(|n| plan(&format!("log-{n}"), unchanged(7).collect(), vec![])).collect();
        let hypervisors = ["hv-1", "hv-2", "hv-3"].map(hypervisor);
        hypervisors.into_iter().chain(quiet).chain([everything()]).collect()
    }

    fn options(width: usize) -> Options {
        Options { color: Color::Never, width, verbose: false }
    }

    #[test]
    fn a_plan_is_shown_host_by_host() {
        insta::assert_snapshot!("plan_100", render(&example(), &failures(), &options(100)));
        insta::assert_snapshot!("plan_60", render(&example(), &failures(), &options(60)));
        insta::assert_snapshot!("plan_verbose", render(&example(), &[], &Options { verbose: true, ..options(100) }));
    }

    #[test]
    fn colour_adds_only_escape_sequences() {
        let coloured = render(&example(), &failures(), &Options { color: Color::Always, ..options(60) });
        assert_eq!(console::strip_ansi_codes(&coloured), render(&example(), &failures(), &options(60)));
        insta::assert_snapshot!(coloured.replace('\u{1b}', "^"));
    }

    #[test]
    fn a_plan_without_changes_says_so() {
        let plans = [plan("a", unchanged(400).collect(), vec![]), plan("b", unchanged(12).collect(), vec![])];
        insta::assert_snapshot!(render(&plans, &[], &options(60)), @r"
        a: 400 unchanged
        b: 12 unchanged

        No changes. 412 resources on 2 hosts are as wanted.
        ");
        assert_eq!(summary(&[], &failures()), "No host could be read; 1 host unreachable; 1 host failed.");
        assert_eq!(
            summary(&plans[..1], &failures()[..1]),
            "No changes. 400 resources on 1 host are as wanted; 1 host unreachable."
        );
    }

    #[test]
    fn a_very_long_diff_is_cut_and_whole_in_json() {
        let long: String = (0..500).map(|n| format!("line {n}\n")).collect();
        let entry = change("file[/long]", 0, |id| {
            let mut change = Change::create(id, &Attributes::new());
            change.text = text("", &long);
            change
        });
        let plans = [plan("a", vec![entry], vec![])];
        let shown = render(&plans, &[], &options(100));
        assert!(shown.contains("      +line 399\n      (100 more lines; `--json` has them all)\n"), "{shown}");
        assert!(!shown.contains("line 400"));
        assert!(to_json(&plans, &[])["hosts"][0]["changes"][0]["diff"].as_str().unwrap().ends_with("+line 499\n"));
    }

    #[test]
    fn a_merge_request_gets_markdown() {
        insta::assert_snapshot!(markdown(&example(), &failures()));
    }

    #[test]
    fn what_stands_in_a_file_cannot_leave_its_markdown() {
        let entry = change("file[/a<b>*c*]", 0, |id| {
            let mut change = Change::create(id, &Attributes::new()).because("`x` <script>");
            change.text = text("", "````\n</details>\n");
            change
        });
        insta::assert_snapshot!(markdown(&[plan("a", vec![entry], vec![])], &[]));
    }

    #[test]
    fn a_plan_is_stable_json() {
        let plans = [hypervisor("hv-1"), everything()];
        insta::assert_json_snapshot!(to_json(&plans, &failures()));
    }
}
