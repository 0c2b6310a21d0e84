//! What a run is doing, while it does it: bars on a terminal, plain lines elsewhere, or one JSON object per line.
//!
//! [`Progress`] is fed with the run's events. What it knows is plain data, from which the picture is made; on a terminal one
//! thread draws it ten times a second at most, so a run of thousands of hosts pays nothing for being watched.
//! Failures are told as they come; the rest is for the summary.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::style::{Color, Tone, count, escape};
use crate::addr::{HostName, ResourceAddr};
use crate::event::{Cost, Event, Outcome, Reach};
use crate::secret::Vault;

/// How many hosts are shown at work.
const SHOWN_HOSTS: usize = 12;

/// How many of the last lines of output are shown with a failure.
const OUTPUT_LINES: usize = 20;

/// The time between two pictures.
const FRAME: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// Nothing but failures.
    Quiet,
    /// Bars on the terminal at standard error.
    Bars {
        /// Whether they are coloured.
        color: Color,
        /// How many columns there are.
        width: usize,
    },
    /// A line for each thing that is worth one.
    Lines {
        /// Whether they are coloured.
        color: Color,
        /// Whether to tell also what each host cost, and each step.
        verbose: bool,
    },
    /// Each event as a JSON object on a line of its own.
    Json,
}

/// What the run's bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// So many hosts, which are read.
    Hosts(usize),
    /// So many resources, which are brought to what is wanted.
    Resources(usize),
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Resources that were as wanted.
    pub unchanged: usize,
    /// Resources that were changed.
    pub changed: usize,
    /// Resources that failed.
    pub failed: usize,
    /// Resources that were skipped because of something else.
    pub skipped: usize,
    /// Resources whose turn did not come.
    pub not_started: usize,
    /// Hosts that were read.
    pub hosts: usize,
    /// Hosts that cannot be reached, or were lost.
    pub hosts_unreachable: usize,
    /// Hosts that were reached and failed.
    pub hosts_failed: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// The display of a run.
pub struct Progress {
    mode: ProgressMode,
    vault: Vault,
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What the thread that draws shares with those who tell.
struct Shared {
    state: Mutex<State>,
    sink: Mutex<Box<dyn Write + Send>>,
    wake: Condvar,
}

/// What is known of a run.
struct State {
    counted: Counted,
    began: Instant,
    busy: BTreeMap<HostName, Busy>,
    ended: HashMap<ResourceAddr, Ending>,
    hosts: BTreeSet<HostName>,
    lost: BTreeMap<HostName, Reach>,
    /// Lines that wait to be printed above the bars.
    waiting: Vec<String>,
    is_over: bool,
}

/// What a host is at.
struct Busy {
    what: String,
    since: Instant,
    /// The resources that were begun and have not ended.
    open: BTreeSet<ResourceAddr>,
}

/// How a resource ended, without the words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Unchanged,
    Changed,
    Failed,
    Skipped,
    NotStarted,
}

impl Progress {
    /// Begins to show a run. Lines and JSON go to `sink`; bars go to the terminal at standard error.
    pub fn start(mode: ProgressMode, counted: Counted, vault: &Vault, sink: Box<dyn Write + Send>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(counted, Instant::now())),
            sink: Mutex::new(sink),
            wake: Condvar::new(),
        });
        let drawer = match mode {
            ProgressMode::Bars { color, width } => {
                // The limit of the target is above ours: each picture that is drawn is to be seen.
                let bars = Bars::new(ProgressDrawTarget::stderr_with_hz(30), color, width);
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name("progress".to_owned())
                    .spawn(move || draw_until_over(&shared, bars))
                    .ok()
            }
            _ => None,
        };
        Self { mode, vault: vault.clone(), shared, drawer }
    }

    /// Takes notice of what happened.
    pub fn event(&self, event: &Event) {
        let now = Instant::now();
        let lines = match self.mode {
            ProgressMode::Quiet => Told { color: Color::Never, vault: &self.vault, verbose: false }.of_failures(event),
            ProgressMode::Json => vec![json_line(event, &self.vault)],
            ProgressMode::Bars { color, .. } => Told { color, vault: &self.vault, verbose: false }.of_failures(event),
            ProgressMode::Lines { color, verbose } => Told { color, vault: &self.vault, verbose }.of_lines(event),
        };
        let mut state = self.state();
        state.take(event, &self.vault, now);
        self.print(state, lines);
    }

    /// Says something beside the events, above the bars where there are some.
    pub fn say(&self, text: &str) {
        let lines = match self.mode {
            ProgressMode::Quiet | ProgressMode::Json => return,
            ProgressMode::Bars { .. } | ProgressMode::Lines { .. } => self.vault.mask(text).trim_end().to_owned(),
        };
        self.print(self.state(), vec![lines]);
    }

    /// Ends the display and returns what came of the run.
    pub fn finish(mut self) -> Summary {
        self.end();
        self.state().summary(Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, mut state: MutexGuard<'_, State>, lines: Vec<String>) {
        if lines.is_empty() {
            return;
        }
        if self.drawer.is_some() {
            state.waiting.extend(lines);
            return;
        }
        drop(state);
        if matches!(self.mode, ProgressMode::Bars { .. }) {
            return;
        }
        let mut sink = self.shared.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        // Somebody who stopped listening is no reason to stop the run.
        sink.write_all(text.as_bytes()).and_then(|()| sink.flush()).ok();
    }

    fn end(&mut self) {
        self.state().is_over = true;
        self.shared.wake.notify_all();
        if let Some(drawer) = self.drawer.take() {
            drawer.join().ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn draw_until_over(shared: &Shared, mut bars: Bars) {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let lines = std::mem::take(&mut state.waiting);
        let picture = state.picture(Instant::now(), bars.width);
        let is_over = state.is_over;
        // The terminal may be slow, and nobody who tells something is to wait for it.
        drop(state);
        bars.draw(&lines, &picture);
        if is_over {
            bars.bar.finish_and_clear();
            return;
        }
        state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_over {
            state = shared.wake.wait_timeout(state, FRAME).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What is to be seen at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    verb: &'static str,
    done: usize,
    total: usize,
    /// What stands behind the bar.
    counts: String,
    /// The hosts at work, one line each.
    lines: Vec<String>,
}

impl State {
    fn new(counted: Counted, now: Instant) -> Self {
        Self {
            counted,
            began: now,
            busy: BTreeMap::new(),
            ended: HashMap::new(),
            hosts: BTreeSet::new(),
            lost: BTreeMap::new(),
            waiting: Vec::new(),
            is_over: false,
        }
    }

    fn take(&mut self, event: &Event, vault: &Vault, now: Instant) {
        let shown = |text: &str| escape(&vault.mask(text)).into_owned();
        match event {
            Event::RunStarted { .. } => {}
            Event::Connecting { host } => {
                let busy = Busy { what: "connecting".to_owned(), since: now, open: BTreeSet::new() };
                self.busy.insert(host.clone(), busy);
            }
            Event::Observed { host, .. } => {
                self.hosts.insert(host.clone());
                self.busy.remove(host);
            }
            Event::HostFailed { host, reach, .. } => {
                self.lost.insert(host.clone(), *reach);
                self.busy.remove(host);
            }
            Event::Started { addr, .. } => {
                let busy = self.at_work(addr, shown(&addr.id.to_string()), now);
                busy.open.insert(addr.clone());
            }
            Event::Step { addr, title } => {
                self.at_work(addr, shown(title), now);
            }
            Event::Finished { addr, outcome, .. } => {
                let ending = match outcome {
                    Outcome::Unchanged => Ending::Unchanged,
                    Outcome::Changed => Ending::Changed,
                    Outcome::Failed { .. } | Outcome::RolledBack { .. } | Outcome::Unproven { .. } => Ending::Failed,
                    Outcome::Skipped { .. } => Ending::Skipped,
                    Outcome::NotStarted { .. } => Ending::NotStarted,
                };
                // A refresh ends under the name of its resource, which ended before: the later word counts.
                self.ended.insert(addr.clone(), ending);
                if let Some(busy) = self.busy.get_mut(&addr.host) {
                    busy.open.remove(addr);
                    if busy.open.is_empty() {
                        self.busy.remove(&addr.host);
                    }
                }
            }
            Event::Gate { .. } => {}
        }
    }

    fn at_work(&mut self, addr: &ResourceAddr, what: String, now: Instant) -> &mut Busy {
        let busy = self.busy.entry(addr.host.clone());
        let busy = busy.or_insert_with(|| Busy { what: String::new(), since: now, open: BTreeSet::new() });
        busy.what = what;
        busy.since = now;
        busy
    }

    fn summary(&self, now: Instant) -> Summary {
        let of = |ending| self.ended.values().filter(|known| **known == ending).count();
        let lost = |reach| self.lost.values().filter(|known| **known == reach).count();
        Summary {
            unchanged: of(Ending::Unchanged),
            changed: of(Ending::Changed),
            failed: of(Ending::Failed),
            skipped: of(Ending::Skipped),
            not_started: of(Ending::NotStarted),
            hosts: self.hosts.len(),
            hosts_unreachable: lost(Reach::Unreachable),
            hosts_failed: lost(Reach::Reached),
            elapsed: now.saturating_duration_since(self.began),
        }
    }

    fn picture(&self, now: Instant, width: usize) -> Picture {
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
pub(super) fn clock(time: Duration) -> String {
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
struct Bars {
    bar: ProgressBar,
    color: Color,
    width: usize,
    last: String,
}

impl Bars {
    fn new(target: ProgressDrawTarget, color: Color, width: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar, color, width, last: String::new() }
    }

    fn draw(&mut self, lines: &[String], picture: &Picture) {
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
    fn text(&self, color: Color, width: usize) -> String {
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

/// How events are told in words.
struct Told<'a> {
    color: Color,
    vault: &'a Vault,
    verbose: bool,
}

impl Told<'_> {
    /// Returns what is told in any case: what went wrong.
    fn of_failures(&self, event: &Event) -> Vec<String> {
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
    fn of_lines(&self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted { run, command, hosts } => self.if_verbose(|| {
                self.line(Tone::Quiet, "run", &format!("{run}: {command} on {}", count(hosts.len(), "host")))
            }),
            Event::Connecting { host } => self.if_verbose(|| self.line(Tone::Quiet, "connecting", host.as_str())),
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
pub(super) fn tail(output: &str) -> Vec<String> {
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
fn json_line(event: &Event, vault: &Vault) -> String {
    serde_json::to_value(event).map(|value| masked(value, vault).to_string()).unwrap_or_default()
}

pub(super) fn masked(value: Value, vault: &Vault) -> Value {
    match value {
        Value::String(text) => Value::String(vault.mask(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| masked(item, vault)).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, masked(value, vault))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use indicatif::TermLike;

    use super::*;
    use crate::change::Action;

    /// A place to write to that can be read afterwards.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn addr(text: &str) -> ResourceAddr {
        text.parse().unwrap()
    }

    fn finished(text: &str, outcome: Outcome, output: &str) -> Event {
        Event::Finished { addr: addr(text), outcome, output: output.to_owned() }
    }

    fn cost(round_trips: u32, exchanges: u32) -> Cost {
        Cost { round_trips, exchanges, bytes_sent: 48_000, bytes_received: 1_234 }
    }

    fn events() -> Vec<Event> {
        let long: String = (1..=23).map(|n| format!("line {n} hunter2\u{1b}[2J\n")).collect();
        vec![
            Event::RunStarted {
                run: "20261123-1".into(),
                command: "apply".into(),
                hosts: vec!["hv-1".into(), "hv-2".into()],
            },
            Event::Connecting { host: "hv-1".into() },
            Event::Observed { host: "hv-1".into(), resources: 50, cost: cost(7, 1) },
            Event::HostFailed {
                host: "hv-2".into(),
                error: "hv-2: connect to 10.0.0.2:22: no answer".into(),
                hint: Some("look whether it is up".into()),
                reach: Reach::Unreachable,
            },
            Event::Started { addr: addr("hv-1/file[/etc/a]"), action: Action::Create },
            Event::Step { addr: addr("hv-1/file[/etc/a]"), title: "write /etc/a with hunter2".into() },
            finished("hv-1/file[/etc/a]", Outcome::Changed, "wrote it\n"),
            finished("hv-1/file[/etc/same]", Outcome::Unchanged, ""),
            finished(
                "hv-1/package[chrony]",
                Outcome::Failed {
                    error: "install the package chrony: exit status 100\nE: hunter2".into(),
                    hint: Some("look at the mirror".into()),
                },
                &long,
            ),
            finished("hv-1/service[chrony]", Outcome::Skipped { because: "hv-1/package[chrony] failed".into() }, ""),
            finished("hv-2/file[/etc/a]", Outcome::NotStarted { because: "hv-2 is unreachable".into() }, ""),
            Event::Gate { play: "etcd".into(), batch: 1, healthy: None, detail: String::new() },
            Event::Gate { play: "etcd".into(), batch: 1, healthy: Some(true), detail: String::new() },
            Event::Gate {
                play: "etcd".into(),
                batch: 2,
                healthy: Some(false),
                detail: "hv-1: port 2379 does not answer".into(),
            },
        ]
    }

    fn run(mode: ProgressMode) -> (String, Summary) {
        let (paper, vault) = (Paper::default(), Vault::default());
        vault.keep("hunter2");
        let progress = Progress::start(mode, Counted::Resources(5), &vault, Box::new(paper.clone()));
        events().iter().for_each(|event| progress.event(event));
        progress.say("interrupted by hunter2");
        let summary = progress.finish();
        (paper.text(), Summary { elapsed: Duration::ZERO, ..summary })
    }

    #[test]
    fn without_a_terminal_each_change_is_a_line() {
        let (text, summary) = run(ProgressMode::Lines { color: Color::Never, verbose: false });
        insta::assert_snapshot!(text);
        assert_eq!(
            summary,
            Summary {
                unchanged: 1,
                changed: 1,
                failed: 1,
                skipped: 1,
                not_started: 1,
                hosts: 1,
                hosts_unreachable: 1,
                ..Summary::default()
            }
        );
    }

    #[test]
    fn verbose_lines_tell_what_each_host_cost() {
        insta::assert_snapshot!(run(ProgressMode::Lines { color: Color::Never, verbose: true }).0);
    }

    #[test]
    fn lines_are_coloured_only_where_it_is_asked_for() {
        let (plain, _) = run(ProgressMode::Lines { color: Color::Never, verbose: true });
        let (coloured, _) = run(ProgressMode::Lines { color: Color::Always, verbose: true });
        assert_ne!(coloured, plain);
        assert_eq!(console::strip_ansi_codes(&coloured), plain);
    }

    #[test]
    fn json_is_one_event_a_line_with_secrets_masked() {
        let (text, _) = run(ProgressMode::Json);
        assert!(!text.contains("hunter2"));
        let read: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), events().len());
        assert_eq!(read[0], events()[0]);
        assert!(
            text.contains(r#"{"event":"step","addr":"hv-1/file[/etc/a]","title":"write /etc/a with (sensitive)"}"#),
            "{text}"
        );
    }

    #[test]
    fn quiet_tells_failures_and_counts_all_the_same() {
        let (text, summary) = run(ProgressMode::Quiet);
        let told: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!((told.len(), summary.changed), (3, 1), "{text}");
    }

    fn shown(state: &State, now: Instant, width: usize) -> String {
        let text = state.picture(now, width).text(Color::Never, width);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        text + "\n"
    }

    #[test]
    fn the_picture_shows_who_is_at_work_and_counts_the_others() {
        let began = Instant::now();
        let later = |seconds| began + Duration::from_secs(seconds);
        let vault = Vault::default();
        let mut state = State::new(Counted::Hosts(60), began);
        for n in 0..50 {
            state.take(&Event::Connecting { host: format!("hv-{n:02}").into() }, &vault, later(n));
        }
        let mut out = shown(&state, later(75), 60);
        for event in events() {
            state.take(&event, &vault, later(60));
        }
        out.push_str(&shown(&state, later(75), 60));
        let mut state = State::new(Counted::Resources(2), began);
        let title = "write a file with a very long name into a folder with another very long name";
        state.take(&Event::Started { addr: addr("ctl-par1-01/file[/a]"), action: Action::Create }, &vault, later(1));
        state.take(&Event::Step { addr: addr("ctl-par1-01/file[/a]"), title: title.into() }, &vault, later(1));
        state.take(&Event::Started { addr: addr("hv/file[/b]"), action: Action::Update }, &vault, later(3));
        out.push_str(&shown(&state, later(4000), 60));
        out.push_str(&shown(&state, later(4), 100));
        state.take(&finished("ctl-par1-01/file[/a]", Outcome::Changed, ""), &vault, later(5));
        state.take(&finished("hv/file[/b]", Outcome::Changed, ""), &vault, later(5));
        out.push_str(&shown(&state, later(5), 100));
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_refresh_counts_under_the_name_of_its_resource() {
        let (now, vault) = (Instant::now(), Vault::default());
        let mut state = State::new(Counted::Resources(1), now);
        state.take(&finished("a/service[x]", Outcome::Unchanged, ""), &vault, now);
        state.take(&Event::Started { addr: addr("a/service[x]"), action: Action::Run }, &vault, now);
        state.take(&finished("a/service[x]", Outcome::Changed, ""), &vault, now);
        let summary = state.summary(now);
        assert_eq!((summary.unchanged, summary.changed, state.picture(now, 60).lines.len()), (0, 1, 0));
    }

    /// A terminal that keeps what is written, without its cursor.
    #[derive(Clone, Debug, Default)]
    struct Screen(Paper);

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            60
        }

        fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
            if n == 0 { Ok(()) } else { write!(self.0.clone(), "<up {n}>") }
        }

        fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
            write!(self.0.clone(), "<down {n}>")
        }

        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> std::io::Result<()> {
            writeln!(self.0.clone(), "{}", text.trim_end())
        }

        fn write_str(&self, text: &str) -> std::io::Result<()> {
            write!(self.0.clone(), "{}", text.trim_end_matches(' '))
        }

        fn clear_line(&self) -> std::io::Result<()> {
            write!(self.0.clone(), "<clear>")
        }

        fn flush(&self) -> std::io::Result<()> {
            writeln!(self.0.clone())
        }
    }

    #[test]
    fn bars_are_drawn_below_what_is_told_and_leave_nothing_behind() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let mut bars = Bars::new(target, Color::Never, 60);
        let lines = ["  hv-1  write /etc/a".to_owned(), "  hv-2  connecting".to_owned()];
        let counts = "1/4 resources, 0s".to_owned();
        let mut picture = Picture { verb: "Applying", done: 1, total: 4, counts, lines: lines.to_vec() };
        bars.draw(&[], &picture);
        picture.done = 4;
        picture.counts = "4/4 resources, 2s, 1 failed".to_owned();
        picture.lines.clear();
        bars.draw(&["failed      hv-1/file[/etc/a]: no space".to_owned(), "            hint: a".to_owned()], &picture);
        bars.bar.finish_and_clear();
        insta::assert_snapshot!(screen.0.text());
    }

    #[test]
    fn bars_may_be_dropped_in_mid_run() {
        let mode = ProgressMode::Bars { color: Color::Never, width: 60 };
        let progress = Progress::start(mode, Counted::Hosts(1), &Vault::default(), Box::new(std::io::sink()));
        progress.event(&Event::Connecting { host: "a".into() });
        drop(progress);
    }
}
