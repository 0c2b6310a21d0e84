//! The display of a run while it goes on: bars on a terminal, plain lines elsewhere, or one JSON object per event.
//!
//! It is fed with [`Event`]s and writes to the sink it was given; on a terminal indicatif draws. At most a dozen busy
//! hosts have a line of their own: more would only flicker, and drawing hundreds of bars costs seconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::style::{self, Color, Tone};
use crate::addr::HostName;
use crate::event::{Event, Outcome, Reach};
use crate::secret::Vault;

/// How many busy hosts have a line of their own.
const BUSY_LINES: usize = 12;

/// How many lines of a failed step's output are shown.
const OUTPUT_LINES: usize = 20;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// Nothing but failures.
    Quiet,
    /// Bars on a terminal.
    Bars(Color),
    /// A line for each thing that happened.
    Lines {
        /// Whether lines are coloured.
        color: Color,
        /// Whether also what went well without a change is told, and what it cost.
        verbose: bool,
    },
    /// Each event as one line of JSON.
    Json,
}

/// What the run's bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Hosts that were read.
    Hosts(usize),
    /// Resources that are done.
    Resources(usize),
}

/// The display of a run.
pub struct Progress {
    mode: ProgressMode,
    counted: Counted,
    vault: Vault,
    sink: RefCell<Box<dyn Write>>,
    bars: Option<Bars>,
}

struct Bars {
    multi: MultiProgress,
    run: ProgressBar,
    more: ProgressBar,
    busy: RefCell<BTreeMap<HostName, Option<ProgressBar>>>,
}

impl Progress {
    /// Starts a display that writes to `sink`.
    pub fn start(mode: ProgressMode, counted: Counted, vault: &Vault, sink: Box<dyn Write>) -> Self {
        let total = match counted {
            Counted::Hosts(total) | Counted::Resources(total) => total,
        };
        let bars = matches!(mode, ProgressMode::Bars(_)).then(|| Bars::new(total, counted));
        Self { mode, counted, vault: vault.clone(), sink: RefCell::new(sink), bars }
    }

    /// Shows what happened.
    pub fn event(&self, event: &Event) {
        if self.mode == ProgressMode::Json {
            let line = serde_json::to_string(event).unwrap_or_default();
            writeln!(self.sink.borrow_mut(), "{}", self.vault.mask(&line)).ok();
            return;
        }
        if let Some(bars) = &self.bars {
            bars.event(event, self.counted);
        }
        if let Some(text) = self.told(event) {
            let text = self.vault.mask(&text).into_owned();
            match &self.bars {
                Some(bars) => bars.say(&text),
                None => {
                    writeln!(self.sink.borrow_mut(), "{text}").ok();
                }
            }
        }
    }

    /// Ends the display and clears the bars.
    pub fn finish(self) {
        if let Some(bars) = self.bars {
            bars.clear();
        }
        self.sink.borrow_mut().flush().ok();
    }

    fn color(&self) -> Color {
        match self.mode {
            ProgressMode::Bars(color) | ProgressMode::Lines { color, .. } => color,
            _ => Color::Never,
        }
    }

    /// Returns what is said of an event, beyond the bars.
    fn told(&self, event: &Event) -> Option<String> {
        let lines = matches!(self.mode, ProgressMode::Lines { .. });
        let verbose = matches!(self.mode, ProgressMode::Lines { verbose: true, .. });
        let word = |tone, word: &str| self.color().paint(tone, &format!("{word:<11}")).into_owned();
        match event {
            Event::Observed { host, resources, cost } if verbose => Some(format!(
                "{} {host}: {}, {}, {}, {} bytes sent, {} received",
                word(Tone::Quiet, "read"),
                style::count(*resources, "resource"),
                style::count(cost.round_trips as usize, "round trip"),
                style::count(cost.exchanges as usize, "exchange"),
                cost.bytes_sent,
                cost.bytes_received
            )),
            Event::HostFailed { host, error, hint, reach } => {
                let what = if *reach == Reach::Unreachable { "unreachable" } else { "failed" };
                let mut text = format!("{} {host}: {}", word(Tone::Bad, what), style::escape(error));
                if let Some(hint) = hint {
                    text.push_str(&format!("\n            hint: {hint}"));
                }
                Some(text)
            }
            Event::Started { addr, action } if verbose => {
                Some(format!("{} {} {addr}", word(Tone::Quiet, "begun"), action.sign()))
            }
            Event::Step { addr, title } if verbose => {
                Some(format!("{} {addr}: {}", word(Tone::Quiet, "step"), style::escape(title)))
            }
            Event::Finished { addr, outcome, output } => match outcome {
                Outcome::Changed if lines => Some(format!("{} {addr}", word(Tone::Changed, "changed"))),
                Outcome::Unchanged if verbose => Some(format!("{} {addr}", word(Tone::Quiet, "unchanged"))),
                Outcome::Failed { error, hint } => {
                    let mut text = format!("{} {addr}: {}", word(Tone::Bad, "failed"), style::escape(error));
                    let all: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
                    // A single line of output is already part of the error.
                    if all.len() > 1 {
                        for line in all.iter().skip(all.len().saturating_sub(OUTPUT_LINES)) {
                            text.push_str(&format!("\n            | {}", style::escape(line)));
                        }
                    }
                    if let Some(hint) = hint {
                        text.push_str(&format!("\n            hint: {hint}"));
                    }
                    Some(text)
                }
                Outcome::Skipped { because } if verbose => {
                    Some(format!("{} {addr}, because {because}", word(Tone::Quiet, "skipped")))
                }
                Outcome::NotStarted { because } if verbose => {
                    Some(format!("{} {addr}, because {because}", word(Tone::Quiet, "not started")))
                }
                _ => None,
            },
            Event::Gate { play, batch, healthy: Some(true), .. } if lines => {
                Some(format!("{} batch {batch} of `{play}`", word(Tone::Good, "healthy")))
            }
            Event::Gate { play, batch, healthy: Some(false), detail } => {
                Some(format!("{} batch {batch} of `{play}`: {}", word(Tone::Bad, "not healthy"), style::escape(detail)))
            }
            _ => None,
        }
    }
}

impl Bars {
    fn new(total: usize, counted: Counted) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let noun = if matches!(counted, Counted::Hosts(_)) { "hosts read" } else { "resources" };
        let template = format!("{{bar:30}} {{pos}}/{{len}} {noun}  {{elapsed}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let run = multi.add(ProgressBar::new(total as u64).with_style(style.progress_chars("=> ")));
        run.enable_steady_tick(Duration::from_millis(250));
        let plain = ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let more = multi.add(ProgressBar::new_spinner().with_style(plain));
        Self { multi, run, more, busy: RefCell::default() }
    }

    fn say(&self, text: &str) {
        for line in text.lines() {
            self.multi.println(line).ok();
        }
    }

    fn event(&self, event: &Event, counted: Counted) {
        match event {
            Event::Connecting { host } => self.set_busy(host, "connecting"),
            Event::Observed { host, .. } | Event::HostFailed { host, .. } => {
                if matches!(counted, Counted::Hosts(_)) {
                    self.run.inc(1);
                }
                self.set_idle(host);
            }
            Event::Step { addr, title } => self.set_busy(&addr.host, &format!("{}: {title}", addr.id)),
            Event::Finished { addr, .. } => {
                if matches!(counted, Counted::Resources(_)) {
                    self.run.inc(1);
                }
                self.set_idle(&addr.host);
            }
            _ => {}
        }
    }

    fn set_busy(&self, host: &HostName, what: &str) {
        let mut busy = self.busy.borrow_mut();
        let shown = busy.values().filter(|bar| bar.is_some()).count();
        let bar = busy.entry(host.clone()).or_insert_with(|| {
            (shown < BUSY_LINES).then(|| {
                let plain =
                    ProgressStyle::with_template("  {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
                self.multi.insert_before(&self.more, ProgressBar::new_spinner().with_style(plain))
            })
        });
        if let Some(bar) = bar {
            bar.set_message(format!("{host}  {}", style::escape(what)));
        }
        self.tell_of_more(&busy);
    }

    fn set_idle(&self, host: &HostName) {
        let mut busy = self.busy.borrow_mut();
        if let Some(Some(bar)) = busy.remove(host) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
        self.tell_of_more(&busy);
    }

    fn tell_of_more(&self, busy: &BTreeMap<HostName, Option<ProgressBar>>) {
        let hidden = busy.values().filter(|bar| bar.is_none()).count();
        self.more.set_message(if hidden == 0 {
            String::new()
        } else {
            format!("... and {}", style::count(hidden, "more host"))
        });
    }

    fn clear(self) {
        self.run.finish_and_clear();
        self.more.finish_and_clear();
        for bar in self.busy.into_inner().into_values().flatten() {
            bar.finish_and_clear();
        }
        self.multi.clear().ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::change::Action;
    use crate::event::Cost;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(mode: ProgressMode) -> String {
        let vault = Vault::default();
        vault.keep("hunter2");
        let sink = Sink::default();
        let progress = Progress::start(mode, Counted::Resources(3), &vault, Box::new(sink.clone()));
        let host = HostName::from("h1");
        let addr = |text: &str| text.parse::<crate::addr::ResourceAddr>().unwrap();
        let failed = Outcome::Failed { error: "write /a: disk full".into(), hint: Some("make room".into()) };
        for event in [
            Event::Connecting { host: host.clone() },
            Event::Observed {
                host: host.clone(),
                resources: 3,
                cost: Cost { round_trips: 9, exchanges: 1, ..Cost::default() },
            },
            Event::Started { addr: addr("h1/file[/a]"), action: Action::Create },
            Event::Step { addr: addr("h1/file[/a]"), title: "write /a".into() },
            Event::Finished { addr: addr("h1/file[/a]"), outcome: failed, output: "first hunter2\nsecond\n".into() },
            Event::Finished {
                addr: addr("h1/file[/b]"),
                outcome: Outcome::Skipped { because: "h1/file[/a] failed".into() },
                output: String::new(),
            },
            Event::Finished { addr: addr("h1/link[/c]"), outcome: Outcome::Changed, output: String::new() },
            Event::Finished { addr: addr("h1/link[/d]"), outcome: Outcome::Unchanged, output: String::new() },
            Event::HostFailed {
                host: "h2".into(),
                error: "connect to h2: refused".into(),
                hint: None,
                reach: Reach::Unreachable,
            },
            Event::Gate { play: "etcd".into(), batch: 1, healthy: Some(false), detail: "h1: no quorum".into() },
        ] {
            progress.event(&event);
        }
        progress.finish();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn plain_lines_tell_what_happened() {
        insta::assert_snapshot!("lines", shown(ProgressMode::Lines { color: Color::Never, verbose: false }));
        insta::assert_snapshot!("verbose", shown(ProgressMode::Lines { color: Color::Never, verbose: true }));
        insta::assert_snapshot!("quiet", shown(ProgressMode::Quiet));
        insta::assert_snapshot!("json", shown(ProgressMode::Json));
    }
}
