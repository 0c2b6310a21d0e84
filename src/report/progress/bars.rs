//! The bar on a terminal, and below it the hosts that are at work.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Counted;
use super::state::{Busy, State};
use crate::addr::HostName;
use crate::report::style::{Color, Tone, count, escape};

/// How many hosts are shown at work.
const SHOWN_HOSTS: usize = 12;

/// What is to be seen at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) verb: &'static str,
    pub(super) done: usize,
    pub(super) total: usize,
    /// What stands behind the bar.
    pub(super) counts: String,
    /// The hosts at work, one line each.
    pub(super) lines: Vec<String>,
}

impl State {
    pub(super) fn picture(&self, now: Instant, width: usize) -> Picture {
        let summary = self.summary(now);
        let (verb, done, total, noun) = match self.counted {
            // A host may be read and lost later; it counts once.
            Counted::Hosts(total) => {
                let read = self.hosts.iter().filter(|host| !self.lost.contains_key(*host)).count();
                ("Reading", read + self.lost.len(), total, "hosts")
            }
            Counted::Resources(total) => ("Applying", self.ended.len(), total, "resources"),
        };
        let mut counts = format!("{done}/{total} {noun}, {}", clock(summary.elapsed));
        let parts = [
            (summary.changed, "changed"),
            (summary.failed, "failed"),
            (summary.skipped, "skipped"),
            (summary.not_started, "not started"),
            (summary.hosts_unreachable, "unreachable"),
        ];
        for (number, what) in parts {
            if number > 0 {
                let _ = write!(counts, ", {number} {what}");
            }
        }
        // Who takes longest is whom one wants to see.
        let mut busy: Vec<(&HostName, &Busy)> = self.busy.iter().collect();
        busy.sort_by_key(|(name, busy)| (busy.since, *name));
        let shown = if busy.len() > SHOWN_HOSTS { SHOWN_HOSTS - 1 } else { busy.len() };
        let names = busy.iter().take(shown).map(|(host, _)| host.as_str().chars().count()).max().unwrap_or_default();
        let names = names.min(width / 3);
        let mut lines: Vec<String> = busy
            .iter()
            .take(shown)
            .map(|(host, busy)| {
                let taken = now.saturating_duration_since(busy.since);
                let taken = if taken < Duration::from_secs(2) { String::new() } else { format!(" ({})", clock(taken)) };
                let host = format!("{:<names$}", escape(host.as_str()));
                let room = width.saturating_sub(4 + names + taken.len());
                let what = console::truncate_str(&busy.what, room, "…");
                console::truncate_str(&format!("  {host}  {what}{taken}"), width, "…").into_owned()
            })
            .collect();
        if busy.len() > shown {
            lines.push(format!("  … and {}", count(busy.len() - shown, "more host")));
        }
        Picture { verb, done, total, counts, lines }
    }
}

/// Returns a time as people read it: `4s`, `1m 05s`, `2h 03m`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The bar on the terminal, with the hosts at work below it.
///
/// All of it is one message: each setting of an indicatif bar is a drawing of its own, and there is to be one for a picture.
pub(super) struct Bars {
    pub(super) bar: ProgressBar,
    color: Color,
    pub(super) width: usize,
    last: String,
}

impl Bars {
    pub(super) fn new(target: ProgressDrawTarget, color: Color, width: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar, color, width, last: String::new() }
    }

    pub(super) fn draw(&mut self, lines: &[String], picture: &Picture) {
        if !lines.is_empty() {
            self.bar.println(lines.join("\n"));
        }
        let text = picture.text(self.color, self.width);
        // A terminal may be far away, and the same picture is there already.
        if text != self.last {
            self.bar.set_message(text.clone());
            self.last = text;
        }
    }
}

impl Picture {
    pub(super) fn text(&self, color: Color, width: usize) -> String {
        let room = (width / 5).clamp(8, 30);
        let full = (room * self.done).checked_div(self.total).unwrap_or(room).min(room);
        let head = if full < room { ">" } else { "" };
        let line = format!("{:=<full$}{head}", "");
        let bar = color.paint(Tone::Good, &format!("{line:<room$}")).into_owned();
        let verb = color.paint(Tone::Strong, self.verb);
        let counts = console::truncate_str(&self.counts, width.saturating_sub(self.verb.len() + room + 4), "…");
        let mut text = format!("{verb} [{bar}] {counts}");
        for line in &self.lines {
            text.push('\n');
            text.push_str(line);
        }
        text
    }
}
