//! An executor: owns the session of one host, and does the jobs that come one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::job::{HostJob, HostMessage, Lock, Questions, Window, WindowEnd, Work};
use super::script;
use crate::addr::{ResourceId, RunId};
use crate::connection::{Connect, ConnectError, Frame, Request, Route, Session, SessionError};
use crate::event::{Cost, Reach};
use crate::resource::read::{AnswerReader, Answers, Asked, Bytes, ReadError};
use crate::shell::Script;

/// How long a host may be silent while it is read.
const READ_SILENCE: Duration = Duration::from_secs(300);

/// How long a host may be silent while it is changed: a large package or a slow service takes its time.
const APPLY_SILENCE: Duration = Duration::from_secs(1800);

/// How much of a step's output is kept.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// How often a rebooting host is tried again.
const REBOOT_POLL: Duration = Duration::from_secs(2);

/// A job and where its messages go.
pub(super) struct Order {
    pub job: HostJob,
    pub replies: mpsc::UnboundedSender<HostMessage>,
    pub afterwards: Afterwards,
}

/// What becomes of the session after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Another job may come.
    Keep,
    /// The job was the last one: the host need not keep a shell for us, nor we its connection.
    Close,
}

/// Does the jobs of one host until there are no more.
pub(super) async fn run(
    connect: Arc<dyn Connect>,
    route: Route,
    active: Arc<Semaphore>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut executor = Executor { connect, route, session: None };
    while let Some(Order { job, replies, afterwards }) = orders.recv().await {
        // The limit is on hosts that are being worked on; a session that only waits costs no more than its memory.
        let permit = active.acquire().await;
        let is_reading = matches!(job, HostJob::Read { .. });
        tokio::select! {
            last = executor.perform(job, &replies) => drop(replies.send(last)),
            // A reading that nobody waits for any more is given up; a change is done to its end.
            () = replies.closed(), if is_reading => executor.session = None,
        }
        drop(replies);
        if afterwards == Afterwards::Close
            && let Some(session) = executor.session.take()
        {
            session.close().await;
        }
        drop(permit);
    }
    if let Some(session) = executor.session {
        session.close().await;
    }
}

struct Executor {
    connect: Arc<dyn Connect>,
    route: Route,
    session: Option<Box<dyn Session>>,
}

/// Why a job ended early.
enum Trouble {
    Connect(ConnectError),
    Session(SessionError),
    Read(ReadError),
    ReadInPart,
    Lock,
    NoLockTool(String),
}

impl From<Trouble> for HostMessage {
    fn from(trouble: Trouble) -> Self {
        let (error, hint, is_unreachable) = match &trouble {
            Trouble::Connect(error) => (with_causes(error), error.hint(), error.is_unreachable()),
            Trouble::Session(error) => (with_causes(error), error.hint(), error.is_unreachable()),
            Trouble::Read(error) => (with_causes(error), None, false),
            Trouble::ReadInPart => (
                "read the host: its shell ended before everything was read".to_owned(),
                Some("is a program missing there, or was the shell killed?".to_owned()),
                false,
            ),
            Trouble::NoLockTool(tool) => (
                format!("take the host's lock: it does not have `{tool}`"),
                Some("install the package `util-linux` on the host first".to_owned()),
                false,
            ),
            Trouble::Lock => (
                "take the host's lock in /var/lib/provision".to_owned(),
                Some("is the file system full or read-only?".to_owned()),
                false,
            ),
        };
        let reach = if is_unreachable { Reach::Unreachable } else { Reach::Reached };
        HostMessage::Failed { error, hint, reach }
    }
}

/// Returns an error with all its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// What one exchange brought.
#[derive(Default)]
struct Heard {
    answers: Answers,
    pending: Vec<ResourceId>,
    held_by: Option<String>,
    lock_failed: bool,
    lock_tool: Option<String>,
    is_read_to_its_end: bool,
    output: Vec<u8>,
    status: i32,
    stderr: String,
    /// How the host says that a confirm window stands.
    window: Option<String>,
    /// The ends of steps that a lost session could not tell.
    ends: Vec<(usize, usize, i32)>,
    window_end: Option<WindowEnd>,
}

impl Executor {
    async fn perform(&mut self, job: HostJob, replies: &mpsc::UnboundedSender<HostMessage>) -> HostMessage {
        match self.try_perform(job, replies).await {
            Ok(message) => message,
            Err(trouble) => {
                // After an error a session is of no further use.
                self.session = None;
                trouble.into()
            }
        }
    }

    async fn try_perform(
        &mut self,
        job: HostJob,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<HostMessage, Trouble> {
        let reads = matches!(job, HostJob::Read { .. } | HostJob::Apply { .. });
        let heard = match job {
            HostJob::Read { questions, lock, patience } => {
                if let Some(seconds) = patience {
                    self.await_host(Duration::from_secs(seconds), replies).await?;
                }
                self.read(&questions, lock.as_ref(), replies).await?
            }
            HostJob::Apply { run, works, verify, window: None } => self.apply(&run, &works, &verify, replies).await?,
            HostJob::Apply { run, works, verify, window: Some(window) } => {
                self.apply_in_window(&run, &works, &verify, &window, replies).await?
            }
            HostJob::Run { script } => {
                let request = Request::new(script, APPLY_SILENCE);
                self.exchange(request, Asked::default(), false, replies).await?
            }
            HostJob::AwaitReboot { boot_id, seconds, lock } => {
                self.await_reboot(&boot_id, seconds, &lock, replies).await?
            }
        };
        if let Some(by) = heard.held_by {
            return Ok(HostMessage::Held { by });
        }
        if let Some(tool) = heard.lock_tool {
            return Err(Trouble::NoLockTool(tool));
        }
        if heard.lock_failed {
            return Err(Trouble::Lock);
        }
        if reads && !heard.is_read_to_its_end {
            return Err(Trouble::ReadInPart);
        }
        Ok(HostMessage::Done {
            answers: heard.answers,
            pending: heard.pending,
            output: Bytes(heard.output),
            status: heard.status,
            stderr: heard.stderr,
            cost: self.cost(),
            window: heard.window_end,
        })
    }

    fn cost(&self) -> Cost {
        let Some(session) = &self.session else { return Cost::default() };
        let counters = session.counters();
        Cost {
            round_trips: counters.round_trips,
            exchanges: counters.exchanges,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
        }
    }

    async fn read(
        &mut self,
        questions: &Questions,
        lock: Option<&Lock>,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<Heard, Trouble> {
        let request = Request::new(script::read(questions, lock), READ_SILENCE);
        self.exchange(request, questions.asked.clone(), true, replies).await
    }

    async fn apply(
        &mut self,
        run: &RunId,
        works: &[Work],
        verify: &Questions,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<Heard, Trouble> {
        let (script, payloads) = script::apply(run, works, verify, None);
        // A step that sets itself a longer time may be silent for that long.
        let own = works.iter().flat_map(|work| &work.steps).filter_map(|step| step.seconds).max().unwrap_or(0);
        let silence = APPLY_SILENCE.max(Duration::from_secs(u64::from(own) + 60));
        let request = Request { script, payloads, deadline: Some(silence) };
        self.exchange(request, verify.asked.clone(), false, replies).await
    }

    /// Sends a request and sorts what comes back. `is_reading` is whether everything that comes is answers.
    async fn exchange(
        &mut self,
        request: Request,
        asked: Asked,
        is_reading: bool,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<Heard, Trouble> {
        if self.session.is_none() {
            replies.send(HostMessage::Connecting).ok();
            self.session = Some(self.connect.open(&self.route).await.map_err(Trouble::Connect)?);
        }
        let Some(session) = &mut self.session else { return Err(Trouble::Lock) };
        exchange(session.as_mut(), request, asked, is_reading, replies).await
    }

    /// Does works that can cut the way to the host. A new session confirms them, or the host takes them back.
    async fn apply_in_window(
        &mut self,
        run: &RunId,
        works: &[Work],
        verify: &Questions,
        window: &Window,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<Heard, Trouble> {
        let mut old = match self.session.take() {
            Some(session) => session,
            None => self.connect.open(&self.route).await.map_err(Trouble::Connect)?,
        };
        let length = Duration::from_secs(window.seconds);
        let (script, payloads) = script::apply(run, works, verify, Some(window));
        let request = Request { script, payloads, deadline: Some(APPLY_SILENCE) };
        let begun = Instant::now();
        // The old session is kept until the new one has spoken: what is cut off may still be at work.
        let mut first = Box::pin(exchange(old.as_mut(), request, Asked::default(), false, replies));
        let told = tokio::time::timeout(length / 2, &mut first).await;
        let is_told = matches!(&told, Ok(Ok(_)));
        match &told {
            Ok(Ok(heard)) if heard.window.as_deref() == Some("closed") => {
                let error = String::from_utf8_lossy(&heard.output).trim().to_owned();
                let stderr = if error.is_empty() { heard.stderr.clone() } else { error };
                drop(first);
                self.session = Some(old);
                let window_end = Some(WindowEnd::Closed);
                return Ok(Heard { window_end, stderr, is_read_to_its_end: true, ..Heard::default() });
            }
            _ => {}
        }
        let mut last: Option<Trouble> = None;
        // After the window the host needs a moment to go back, and the network one to find it again.
        let give_up = begun + length + length.max(Duration::from_secs(60));
        while Instant::now() < give_up {
            let left = give_up.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left.min(Duration::from_secs(90)), self.confirm(verify, window, replies)).await {
                Ok(Ok((session, mut heard))) => match heard.window.as_deref() {
                    Some(state @ ("confirmed" | "restored")) => {
                        if !is_told {
                            for (work, step, status) in std::mem::take(&mut heard.ends) {
                                let message = HostMessage::StepEnded { work, step, status, output: Bytes::default() };
                                replies.send(message).ok();
                            }
                        }
                        let end = if state == "confirmed" { WindowEnd::Confirmed } else { WindowEnd::RolledBack };
                        heard.window_end = Some(end);
                        self.session = Some(session);
                        return Ok(heard);
                    }
                    Some("failed") => {
                        self.session = Some(session);
                        return Ok(Heard { window_end: Some(WindowEnd::Unproven), ..heard });
                    }
                    // It died before a window was opened: nothing was changed.
                    None if !is_told => return Err(last.unwrap_or(Trouble::ReadInPart)),
                    _ => session.close().await,
                },
                Ok(Err(trouble)) => last = Some(trouble),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(Heard { window_end: Some(WindowEnd::Unproven), is_read_to_its_end: true, ..Heard::default() })
    }

    /// Logs in anew and confirms the window, or hears how it ended.
    async fn confirm(
        &mut self,
        verify: &Questions,
        window: &Window,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<(Box<dyn Session>, Heard), Trouble> {
        let mut session = self.connect.open(&self.route).await.map_err(Trouble::Connect)?;
        let request = Request::new(script::confirm(&window.lock, verify), READ_SILENCE);
        let heard = exchange(session.as_mut(), request, verify.asked.clone(), false, replies).await?;
        Ok((session, heard))
    }

    /// Tries until a host that is being brought up lets us in.
    async fn await_host(
        &mut self,
        patience: Duration,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + patience;
        replies.send(HostMessage::Connecting).ok();
        while self.session.is_none() {
            match self.connect.open(&self.route).await {
                Ok(session) => self.session = Some(session),
                // A host that boots may also refuse for a moment, as long as its accounts are not there.
                Err(error) if Instant::now() >= deadline || error.is_final() => return Err(Trouble::Connect(error)),
                Err(_) => tokio::time::sleep(REBOOT_POLL).await,
            }
        }
        Ok(())
    }

    async fn await_reboot(
        &mut self,
        boot_id: &str,
        seconds: u64,
        lock: &Lock,
        replies: &mpsc::UnboundedSender<HostMessage>,
    ) -> Result<Heard, Trouble> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(session) = self.session.take() {
                tokio::time::timeout(REBOOT_POLL, session.close()).await.ok();
            }
            tokio::time::sleep(REBOOT_POLL).await;
            let script = Script::constant("cat /proc/sys/kernel/random/boot_id");
            let seen =
                self.exchange(Request::new(script, Duration::from_secs(20)), Asked::default(), false, replies).await;
            match seen {
                Ok(heard) if String::from_utf8_lossy(&heard.output).trim() != boot_id => {
                    return self.read(&Questions::default(), Some(lock), replies).await;
                }
                Err(trouble) if Instant::now() >= deadline => return Err(trouble),
                Ok(heard) if Instant::now() >= deadline => return Ok(Heard { status: 1, ..heard }),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Sends a request on a session and sorts what comes back. `is_reading` is whether everything that comes is answers.
async fn exchange(
    session: &mut dyn Session,
    request: Request,
    asked: Asked,
    is_reading: bool,
    replies: &mpsc::UnboundedSender<HostMessage>,
) -> Result<Heard, Trouble> {
    let mut heard = Heard::default();
    let mut reader = AnswerReader::new(asked);
    let mut wrong: Option<ReadError> = None;
    let mut reading = is_reading;
    let mut on_frame = |frame: Frame| match frame {
        Frame::Mark(line) => {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "begin" => {
                    heard.output.clear();
                    if let Some((work, step)) = two_numbers(rest) {
                        replies.send(HostMessage::StepStarted { work, step }).ok();
                    }
                }
                "end" => {
                    let (place, status) = rest.rsplit_once(' ').unwrap_or((rest, ""));
                    if let (Some((work, step)), Ok(status)) = (two_numbers(place), status.parse()) {
                        let output = Bytes(std::mem::take(&mut heard.output));
                        replies.send(HostMessage::StepEnded { work, step, status, output }).ok();
                    }
                }
                "window" => heard.window = Some(rest.to_owned()),
                "ended" => {
                    let (place, status) = rest.rsplit_once(' ').unwrap_or((rest, ""));
                    if let (Some((work, step)), Ok(status)) = (two_numbers(place), status.parse()) {
                        heard.ends.push((work, step, status));
                    }
                }
                "verify" => reading = true,
                "read" => heard.is_read_to_its_end = true,
                "pending" => heard.pending.extend(rest.parse().ok()),
                "lock" => match rest.split_once(' ') {
                    Some(("held", by)) => heard.held_by = Some(by.to_owned()),
                    Some(("missing", tool)) => heard.lock_tool = Some(tool.to_owned()),
                    _ => heard.lock_failed = true,
                },
                _ if reading => wrong = wrong.take().or(reader.mark(&line).err()),
                _ => {}
            }
        }
        Frame::Data(bytes) if reading => reader.data(&bytes),
        Frame::Data(bytes) => {
            heard.output.extend_from_slice(&bytes);
            if heard.output.len() > 2 * OUTPUT_LIMIT {
                let cut = heard.output.len() - OUTPUT_LIMIT;
                heard.output.drain(..cut);
            }
        }
    };
    let ended = session.exchange(request, &mut on_frame).await.map_err(Trouble::Session)?;
    heard.status = ended.status;
    heard.stderr = ended.stderr;
    if let Some(error) = wrong {
        return Err(Trouble::Read(error));
    }
    heard.answers = reader.finish().map_err(Trouble::Read)?;
    Ok(heard)
}

fn two_numbers(text: &str) -> Option<(usize, usize)> {
    let (first, second) = text.split_once(' ')?;
    Some((first.parse().ok()?, second.parse().ok()?))
}
