//! What a run is doing, while it does it: bars on a terminal, plain lines elsewhere, or one JSON object per line.
//!
//! [`Progress`] is fed with the run's events. What it knows is plain data, from which the picture is made; on a terminal one
//! thread draws it ten times a second at most, so a run of thousands of hosts pays nothing for being watched.
//! Failures are told as they come; the rest is for the summary.

mod bars;
mod lines;
mod state;

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::ProgressDrawTarget;

use self::bars::Bars;
pub(super) use self::lines::masked;
use self::lines::{Told, json_line};
use self::state::State;
use super::style::Color;
use crate::event::Event;
use crate::secret::Vault;

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

#[cfg(test)]
mod tests {
    use indicatif::TermLike;

    use super::bars::Picture;
    use super::*;
    use crate::addr::ResourceAddr;
    use crate::change::Action;
    use crate::event::{Cost, Outcome, Reach};

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
