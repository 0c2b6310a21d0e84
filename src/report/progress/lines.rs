//! Events in words, a line each, or as JSON.

use serde_json::Value;

use crate::addr::ResourceAddr;
use crate::event::{Cost, Event, Outcome, Reach};
use crate::report::style::{Color, Tone, count, escape};
use crate::secret::Vault;

/// How many of the last lines of output are shown with a failure.
const OUTPUT_LINES: usize = 20;

/// How events are told in words.
pub(super) struct Told<'a> {
    pub(super) color: Color,
    pub(super) vault: &'a Vault,
    pub(super) verbose: bool,
}

impl Told<'_> {
    /// Returns what is told in any case: what went wrong.
    pub(super) fn of_failures(&self, event: &Event) -> Vec<String> {
        match event {
            Event::HostFailed { .. }
            | Event::Finished {
                outcome: Outcome::Failed { .. } | Outcome::RolledBack { .. } | Outcome::Unproven { .. },
                ..
            }
            | Event::Gate { healthy: Some(false), .. } => self.of_lines(event),
            _ => Vec::new(),
        }
    }

    /// Returns what is told where there are no bars.
    pub(super) fn of_lines(&self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted { run, command, hosts } => self.if_verbose(|| {
                self.line(Tone::Quiet, "run", &format!("{run}: {command} on {}", count(hosts.len(), "host")))
            }),
            Event::Connecting { host } => self.if_verbose(|| self.line(Tone::Quiet, "connecting", host.as_str())),
            Event::Awaited { host } => {
                vec![self.line(Tone::Quiet, "waiting", &format!("for {host}, until it lets us in"))]
            }
            Event::Observed { host, resources, cost } => self.if_verbose(|| {
                let (sent, received) = (bytes(cost.bytes_sent), bytes(cost.bytes_received));
                let questions = count(*resources, "question");
                let text = format!("{host}: {questions}, {}, {sent} sent, {received} received", spent(cost));
                self.line(Tone::Quiet, "observed", &text)
            }),
            Event::HostFailed { host, error, hint, reach } => {
                let word = match reach {
                    Reach::Unreachable => "unreachable",
                    Reach::Reached => "failed",
                };
                let mut lines = vec![self.line(Tone::Bad, word, &self.with_error(host.as_str(), error))];
                lines.extend(self.hint(hint.as_deref()));
                lines.into_iter().collect()
            }
            Event::Started { .. } => Vec::new(),
            Event::Step { addr, title } => {
                self.if_verbose(|| self.line(Tone::Quiet, "step", &format!("{addr}: {}", self.vault.mask(title))))
            }
            Event::Finished { addr, outcome, output } => self.finished(addr, outcome, output),
            Event::Gate { play, batch, healthy, detail } => {
                let place = format!("batch {batch} of `{play}`");
                match healthy {
                    None => self.if_verbose(|| self.line(Tone::Quiet, "looking at", &place)),
                    Some(true) => vec![self.line(Tone::Good, "healthy", &place)],
                    Some(false) => vec![self.line(Tone::Bad, "unhealthy", &self.with_error(&place, detail))],
                }
            }
        }
    }

    fn finished(&self, addr: &ResourceAddr, outcome: &Outcome, output: &str) -> Vec<String> {
        let name = addr.to_string();
        match outcome {
            Outcome::Unchanged => Vec::new(),
            Outcome::Changed => {
                let mut lines = vec![self.line(Tone::Changed, "changed", &name)];
                if self.verbose {
                    lines.extend(self.output(output));
                }
                lines
            }
            Outcome::Failed { error, hint } => {
                let mut lines = vec![self.line(Tone::Bad, "failed", &self.with_error(&name, error))];
                // A single line of output is part of the error already.
                let is_said = output.trim().lines().count() <= 1 && error.contains(output.trim());
                if !is_said {
                    lines.extend(self.output(output));
                }
                lines.extend(self.hint(hint.as_deref()));
                lines
            }
            Outcome::RolledBack { because, hint } | Outcome::Unproven { because, hint } => {
                let word = if matches!(outcome, Outcome::RolledBack { .. }) { "rolled back" } else { "unproven" };
                let mut lines = vec![self.line(Tone::Bad, word, &self.with_error(&name, because))];
                lines.extend(self.hint(hint.as_deref()));
                lines
            }
            Outcome::Skipped { because } => {
                vec![self.line(Tone::Quiet, "skipped", &self.with_error(&name, &format!("because {because}")))]
            }
            // Where a host was lost these are all that it had left to do; the summary has them.
            Outcome::NotStarted { because } => self.if_verbose(|| {
                self.line(Tone::Quiet, "not started", &self.with_error(&name, &format!("because {because}")))
            }),
        }
    }

    fn if_verbose(&self, line: impl FnOnce() -> String) -> Vec<String> {
        if self.verbose { vec![line()] } else { Vec::new() }
    }

    fn line(&self, tone: Tone, word: &str, text: &str) -> String {
        format!("{} {}", self.color.paint(tone, &format!("{word:<11}")), escape(text))
    }

    /// Returns a name with what is to be said of it, as one line.
    fn with_error(&self, name: &str, error: &str) -> String {
        let error = self.vault.mask(error);
        let error: Vec<&str> = error.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // What was said may begin with the name already.
        let error = error.join(" | ");
        match error.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")) {
            Some(rest) => format!("{name}: {rest}"),
            None => format!("{name}: {error}"),
        }
    }

    fn hint(&self, hint: Option<&str>) -> Option<String> {
        hint.map(|hint| format!("{:12}hint: {}", "", escape(&self.vault.mask(hint).replace('\n', " "))))
    }

    /// Returns the last lines of what a step printed.
    fn output(&self, output: &str) -> Vec<String> {
        tail(&self.vault.mask(output)).into_iter().map(|line| format!("{:12}{line}", "")).collect()
    }
}

/// Returns the last lines of an output, escaped, each behind a bar, and how many there were before them.
fn tail(output: &str) -> Vec<String> {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    let before = lines.len().saturating_sub(OUTPUT_LINES);
    let mut shown = Vec::new();
    if before > 0 {
        shown.push(format!("| ({} before)", count(before, "line")));
    }
    shown.extend(lines.iter().skip(before).map(|line| format!("| {}", escape(line.trim_end()))));
    shown
}

fn spent(cost: &Cost) -> String {
    format!("{}, {}", count(cost.round_trips as usize, "round trip"), count(cost.exchanges as usize, "exchange"))
}

fn bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{number} bytes"),
        10_000..10_000_000 => format!("{} kB", number / 1000),
        _ => format!("{} MB", number / 1_000_000),
    }
}

/// Returns an event as one line of JSON in which each text is masked by itself: escapes could hide a secret otherwise.
pub(super) fn json_line(event: &Event, vault: &Vault) -> String {
    serde_json::to_value(event).map(|value| masked(value, vault).to_string()).unwrap_or_default()
}

pub(in crate::report) fn masked(value: Value, vault: &Vault) -> Value {
    match value {
        Value::String(text) => Value::String(vault.mask(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| masked(item, vault)).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, masked(value, vault))).collect(),
        other => other,
    }
}
