//! A session: the driver's side of the wire protocol, the same over SSH and on this machine.
//!
//! A task of the session drains the channel at all times, because one unread channel stalls every other that shares
//! its connection; between requests what it reads is dropped. The exchange itself is one future without a task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::driver::status;
use super::frames::{Parser, Piece};
use super::wire::Meter;
use super::{ConnectError, Counters, Ended, Frame, Payload, Request, Session, SessionError, SudoProblem};
use crate::addr::HostName;
use crate::fs;

/// How much of a host's standard error and of its noise is kept.
const TAIL: usize = 8 * 1024;

/// How much is written at once; also the largest packet that SSH servers take.
const CHUNK: usize = 32 * 1024;

/// How much of a file is read at once.
const FILE_CHUNK: usize = 8 * CHUNK;

/// How long to wait for the end of the standard error once the standard output has ended.
const STDERR_GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the host to clean up.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// What comes from the host.
pub(super) enum Heard {
    /// Bytes of its standard output.
    Output(Vec<u8>),
    /// Bytes of its standard error.
    Errors(Vec<u8>),
    /// The end, and nothing after it.
    Exit {
        /// The driver's exit status, if it is known.
        status: Option<i32>,
        /// How the end was noticed.
        why: String,
    },
}

/// Whether a request waits for what the draining task reads.
#[derive(Default)]
struct Gate {
    is_wanted: AtomicBool,
    closed: Notify,
}

/// Where the draining task puts what it reads.
pub(super) struct Outlet {
    sender: mpsc::Sender<Heard>,
    gate: Arc<Gate>,
}

impl Outlet {
    /// Hands on what was heard. While no request is under way it waits for nobody, and a request that is given up
    /// in the meantime lets it go: a channel that is not drained would hold up all others of its bastion.
    pub(super) async fn put(&self, heard: Heard) {
        let mut closed = std::pin::pin!(self.gate.closed.notified());
        closed.as_mut().enable();
        if self.gate.is_wanted.load(Ordering::Acquire) {
            tokio::select! {
                biased;
                _ = self.sender.send(heard) => {}
                () = closed => {}
            }
        } else {
            self.sender.try_send(heard).ok();
        }
    }
}

/// How the session became root, so that a failure to start can be told.
pub(super) enum Start {
    /// It did not have to.
    Plain,
    /// By `sudo -n`.
    Sudo,
    /// By sudo with a password.
    SudoAsking { password: SecretString, prompt: String, hello: String },
}

/// What a session is made of.
pub(super) struct Parts {
    pub(super) host: HostName,
    pub(super) user: String,
    pub(super) start: Start,
    pub(super) start_timeout: Duration,
    pub(super) round_trips: u32,
    pub(super) input: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) meter: Arc<Meter>,
    /// What must be kept for the session to live, and what ends it when it is dropped.
    pub(super) link: Box<dyn Send>,
}

/// A session with a driver.
pub(super) struct Shell {
    parts: Parts,
    output: mpsc::Receiver<Heard>,
    gate: Arc<Gate>,
    drain: AbortOnDrop,
    exchanges: u32,
    is_usable: bool,
    is_started: bool,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets the draining task wait for us while a request is under way, and for nobody after that.
struct Wanted<'a>(&'a Gate);

impl<'a> Wanted<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.is_wanted.store(true, Ordering::Release);
        Self(gate)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.is_wanted.store(false, Ordering::Release);
        self.0.closed.notify_waiters();
    }
}

/// When something last moved in either direction.
struct Progress {
    start: Instant,
    last: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0) }
    }

    fn touch(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn expiry(&self, limit: Duration) -> Option<Instant> {
        (self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))).checked_add(limit)
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * TAIL {
            self.0.drain(..self.0.len() - TAIL);
        }
    }

    fn text(&self) -> String {
        let kept = self.0.get(self.0.len().saturating_sub(TAIL)..).unwrap_or_default();
        String::from_utf8_lossy(kept).trim().to_owned()
    }
}

enum Unsent {
    Wire(std::io::Error),
    File { path: camino::Utf8PathBuf, source: std::io::Error },
}

impl From<std::io::Error> for Unsent {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(error)
    }
}

/// What has been understood of the answer to a request.
struct Answer {
    parser: Parser,
    stderr: Tail,
    stderr_end: Vec<u8>,
    is_stderr_whole: bool,
    noise: Tail,
    is_started: bool,
    status: Option<i32>,
    last_mark: Option<String>,
}

impl Answer {
    fn new(boundary: &str) -> Self {
        Self {
            parser: Parser::new(boundary),
            stderr: Tail::default(),
            stderr_end: format!("\n{boundary}.\n").into_bytes(),
            is_stderr_whole: false,
            noise: Tail::default(),
            is_started: false,
            status: None,
            last_mark: None,
        }
    }

    fn output(
        &mut self,
        bytes: &[u8],
        on_frame: &mut (dyn FnMut(Frame) + Send),
    ) -> Result<(), super::frames::BadFrame> {
        let Self { parser, noise, is_started, status, last_mark, .. } = self;
        parser.feed(bytes, &mut |piece| match piece {
            Piece::Noise(bytes) => noise.push(&bytes),
            Piece::Started => *is_started = true,
            Piece::Mark(words) => {
                *last_mark = Some(words.clone());
                on_frame(Frame::Mark(words));
            }
            Piece::Data(bytes) => on_frame(Frame::Data(bytes)),
            Piece::Ended(end) => *status = Some(end),
        })
    }

    /// Takes standard error. The driver closes each request's with the boundary, so that it is known to be whole.
    fn errors(&mut self, bytes: &[u8]) {
        self.stderr.push(bytes);
        if let Some(at) = memchr::memmem::find(&self.stderr.0, &self.stderr_end) {
            self.stderr.0.truncate(at);
            self.is_stderr_whole = true;
        }
    }

    fn during(&self) -> String {
        match &self.last_mark {
            Some(words) => format!("at `{words}`"),
            None if self.is_started => "running the script".to_owned(),
            None => "sending the script".to_owned(),
        }
    }
}

impl Shell {
    /// Returns a session whose channel `drain` reads.
    pub(super) fn new<F>(parts: Parts, drain: impl FnOnce(Outlet) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, output) = mpsc::channel(32);
        let gate = Arc::new(Gate::default());
        let drain = AbortOnDrop(tokio::spawn(drain(Outlet { sender, gate: gate.clone() })));
        Self { parts, output, gate, drain, exchanges: 0, is_usable: true, is_started: false }
    }

    async fn run(&mut self, request: Request, on_frame: &mut (dyn FnMut(Frame) + Send)) -> Result<Ended, SessionError> {
        if !self.is_usable {
            let (during, why) = ("using it again".to_owned(), "an earlier request did not end".to_owned());
            return Err(SessionError::Lost { host: self.parts.host.clone(), during, why, stderr: String::new() });
        }
        check_files(&self.parts.host, &request.payloads)?;
        self.is_usable = false;
        let gate = self.gate.clone();
        let _wanted = Wanted::new(&gate);
        if !self.is_started {
            self.give_password().await?;
        }
        self.exchanges += 1;
        self.parts.round_trips += 1;

        let boundary = format!("{:032x}", rand::random::<u128>());
        let mut answer = Answer::new(&boundary);
        let progress = Progress::new();
        let limit = request.deadline;
        let sent = send(&mut self.parts.input, &boundary, &request, &progress);
        let limits = Limits { start: limit.unwrap_or(Duration::MAX).min(self.parts.start_timeout), run: limit };
        let result = converse(sent, &mut self.output, &mut answer, on_frame, &progress, limits, self.is_started).await;
        self.is_started |= answer.is_started;
        let host = self.parts.host.clone();
        match result {
            Ok(status) => {
                self.is_usable = true;
                Ok(Ended { status, stderr: answer.stderr.text() })
            }
            Err(Trouble::File { path, source }) => Err(SessionError::LocalFile { host, path, source }),
            Err(Trouble::BadFrame) => {
                let reason = "the output has a frame that is none".to_owned();
                Err(SessionError::Protocol { host, during: answer.during(), reason, stderr: answer.stderr.text() })
            }
            Err(Trouble::Exit { status, why }) => Err(self.explain_exit(&answer, status, why)),
            Err(Trouble::Silence(after)) => Err(self.explain_silence(&answer, after)),
        }
    }

    /// Gives sudo the password once it asks, or finds that it does not.
    async fn give_password(&mut self) -> Result<(), SessionError> {
        let Start::SudoAsking { password, prompt, hello } = &self.parts.start else {
            return Ok(());
        };
        let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
        let mut is_given = false;
        let refuse = |problem, said: String| {
            let (host, user) = (self.parts.host.clone(), self.parts.user.clone());
            let said = said.replace(prompt.as_str(), "").trim().to_owned();
            Err(SessionError::Start(Box::new(ConnectError::Sudo { host, user, problem, said })))
        };
        let mut expiry = Instant::now() + self.parts.start_timeout;
        loop {
            let heard = match tokio::time::timeout_at(expiry, self.output.recv()).await {
                Ok(Some(heard)) => heard,
                Ok(None) => return refuse(SudoProblem::Other, stderr.text()),
                Err(_) => return refuse(SudoProblem::Other, format!("no prompt and no shell; {}", stderr.text())),
            };
            match heard {
                Heard::Output(bytes) => stdout.push(&bytes),
                Heard::Errors(bytes) => stderr.push(&bytes),
                Heard::Exit { status, .. } => {
                    let problem = match classify_sudo(&stderr.text(), status) {
                        SudoProblem::Other | SudoProblem::PasswordNeeded if is_given => SudoProblem::PasswordWrong,
                        problem => problem,
                    };
                    return refuse(problem, stderr.text());
                }
            }
            if memchr::memmem::find(&stdout.0, format!("\n{hello}>\n").as_bytes()).is_some() {
                return Ok(());
            }
            let asked = memchr::memmem::find_iter(&stderr.0, prompt.as_bytes()).count();
            if asked > 0 && !is_given {
                is_given = true;
                self.parts.round_trips += 1;
                expiry = Instant::now() + self.parts.start_timeout;
                let mut line = zeroize::Zeroizing::new(password.expose_secret().as_bytes().to_vec());
                line.push(b'\n');
                // If it cannot be written, the end of the session is heard next.
                self.parts.input.write_all(&line).await.ok();
            } else if asked > 1 {
                // A second try would count against the account (faillock).
                return refuse(SudoProblem::PasswordWrong, String::new());
            }
        }
    }

    fn explain_exit(&self, answer: &Answer, status: Option<i32>, why: String) -> SessionError {
        let host = self.parts.host.clone();
        let stderr = answer.stderr.text();
        if self.is_started {
            let during = answer.during();
            let reason = match status {
                Some(status::NO_PLACE) => "no folder for temporary files can be written (/run, /dev/shm, /tmp)",
                Some(status::OUT_OF_STEP) => "the payloads and the script do not fit together",
                _ => return SessionError::Lost { host, during, why, stderr },
            };
            return SessionError::Protocol { host, during, reason: reason.to_owned(), stderr };
        }
        let user = self.parts.user.clone();
        let said = if stderr.is_empty() { answer.noise.text() } else { stderr };
        let by_sudo = !matches!(self.parts.start, Start::Plain);
        if status.is_none() && said.is_empty() {
            return SessionError::Lost { host, during: answer.during(), why, stderr: said };
        }
        SessionError::Start(Box::new(if by_sudo {
            ConnectError::Sudo { host, user, problem: classify_sudo(&said, status), said }
        } else if status == Some(status::NO_COMMAND) && said.is_empty() {
            ConnectError::NoShell { host, user, reason: "`dd` is missing".to_owned(), said }
        } else {
            ConnectError::NoShell { host, user, reason: why, said }
        }))
    }

    fn explain_silence(&self, answer: &Answer, after: Duration) -> SessionError {
        let host = self.parts.host.clone();
        if self.is_started {
            return SessionError::Silent { host, after, during: answer.during(), stderr: answer.stderr.text() };
        }
        let said = if answer.stderr.0.is_empty() { answer.noise.text() } else { answer.stderr.text() };
        let (user, reason) = (self.parts.user.clone(), format!("none started within {after:?}"));
        SessionError::Start(Box::new(ConnectError::NoShell { host, user, reason, said }))
    }
}

/// How long the host may be silent before its shell has started and after.
struct Limits {
    start: Duration,
    run: Option<Duration>,
}

/// How a conversation came to a bad end.
enum Trouble {
    File { path: camino::Utf8PathBuf, source: std::io::Error },
    BadFrame,
    Exit { status: Option<i32>, why: String },
    Silence(Duration),
}

/// Sends and hears at the same time, for a script may print more than a channel holds before it takes its payloads.
async fn converse(
    sending: impl Future<Output = Result<(), Unsent>>,
    output: &mut mpsc::Receiver<Heard>,
    answer: &mut Answer,
    on_frame: &mut (dyn FnMut(Frame) + Send),
    progress: &Progress,
    limits: Limits,
    is_shell_there: bool,
) -> Result<i32, Trouble> {
    let mut sending = std::pin::pin!(sending);
    let mut is_sent = false;
    let mut send_failure = None;
    loop {
        let limit = if answer.status.is_some() && is_sent {
            Some(STDERR_GRACE)
        } else if is_shell_there || answer.is_started {
            limits.run
        } else {
            Some(limits.start)
        };
        let expiry = limit.and_then(|limit| progress.expiry(limit));
        tokio::select! {
            result = &mut sending, if !is_sent => {
                is_sent = true;
                match result {
                    Ok(()) => {}
                    Err(Unsent::File { path, source }) => return Err(Trouble::File { path, source }),
                    // What the host has to say about it is on its way, and tells more.
                    Err(Unsent::Wire(error)) => send_failure = Some(error.to_string()),
                }
            }
            heard = output.recv() => match heard {
                Some(Heard::Output(bytes)) => {
                    progress.touch();
                    answer.output(&bytes, on_frame).map_err(|_| Trouble::BadFrame)?;
                }
                Some(Heard::Errors(bytes)) => {
                    progress.touch();
                    answer.errors(&bytes);
                }
                Some(Heard::Exit { status, why }) => return Err(Trouble::Exit { status, why }),
                None => {
                    let why = send_failure.unwrap_or_else(|| "the connection is closed".to_owned());
                    return Err(Trouble::Exit { status: None, why });
                }
            },
            () = tokio::time::sleep_until(expiry.unwrap_or(progress.start)), if expiry.is_some() => {
                let limit = limit.unwrap_or_default();
                if progress.expiry(limit).is_some_and(|expiry| expiry <= Instant::now()) {
                    // The script has ended; only the end of its standard error is missing.
                    match answer.status {
                        Some(_) if is_sent => answer.is_stderr_whole = true,
                        _ => return Err(Trouble::Silence(limit)),
                    }
                }
            }
        }
        if let Some(status) = answer.status
            && answer.is_stderr_whole
            && is_sent
        {
            return Ok(status);
        }
    }
}

impl Session for Shell {
    fn exchange<'a>(
        &'a mut self,
        request: Request,
        on_frame: &'a mut (dyn FnMut(Frame) + Send),
    ) -> BoxFuture<'a, Result<Ended, SessionError>> {
        Box::pin(self.run(request, on_frame))
    }

    fn counters(&self) -> Counters {
        let (bytes_sent, bytes_received) = self.parts.meter.read();
        Counters { round_trips: self.parts.round_trips, exchanges: self.exchanges, bytes_sent, bytes_received }
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self { parts, output, mut drain, .. } = *self;
        Box::pin(async move {
            drop(output);
            let mut input = parts.input;
            // The end of the stream ends the driver, which removes its folder; then the host closes the channel.
            let end = async {
                input.shutdown().await.ok();
                drop(input);
                (&mut drain.0).await.ok();
            };
            tokio::time::timeout(CLOSE_GRACE, end).await.ok();
            drop(parts.link);
        })
    }
}

/// Refuses before anything is sent what could not be sent whole.
fn check_files(host: &HostName, payloads: &[Payload]) -> Result<(), SessionError> {
    for payload in payloads {
        let Payload::File { path, size } = payload else { continue };
        let source = match fs::metadata(path) {
            Ok(Some(found)) if found.len() == *size => continue,
            Ok(Some(found)) => changed(found.len(), *size),
            Ok(None) => std::io::ErrorKind::NotFound.into(),
            Err(error) => error.source,
        };
        return Err(SessionError::LocalFile { host: host.clone(), path: path.clone(), source });
    }
    Ok(())
}

fn changed(found: u64, expected: u64) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("it has {found} bytes instead of {expected}"))
}

async fn send(
    input: &mut (dyn AsyncWrite + Send + Unpin),
    boundary: &str,
    request: &Request,
    progress: &Progress,
) -> Result<(), Unsent> {
    let trailer = format!("{boundary}\n");
    let total: u64 = request.payloads.iter().map(|payload| payload.size() + trailer.len() as u64).sum();
    let script = request.script.text();
    // Small pieces are gathered, so that a request of a few kilobytes is one packet.
    let mut gathered = zeroize::Zeroizing::new(Vec::with_capacity(script.len() + 128));
    gathered.extend_from_slice(format!("{} {boundary} {total}\n{script}{trailer}", script.len()).as_bytes());
    for payload in &request.payloads {
        match payload {
            Payload::Bytes(bytes) => gathered.extend_from_slice(bytes),
            Payload::File { path, size } => {
                put(input, &gathered, progress).await?;
                gathered.clear();
                send_file(input, path, *size, progress).await?;
            }
        }
        gathered.extend_from_slice(trailer.as_bytes());
        if gathered.len() >= CHUNK {
            put(input, &gathered, progress).await?;
            gathered.clear();
        }
    }
    put(input, &gathered, progress).await?;
    input.flush().await?;
    progress.touch();
    Ok(())
}

async fn put(
    input: &mut (dyn AsyncWrite + Send + Unpin),
    bytes: &[u8],
    progress: &Progress,
) -> Result<(), std::io::Error> {
    for chunk in bytes.chunks(CHUNK) {
        input.write_all(chunk).await?;
        progress.touch();
    }
    Ok(())
}

async fn send_file(
    input: &mut (dyn AsyncWrite + Send + Unpin),
    path: &camino::Utf8Path,
    size: u64,
    progress: &Progress,
) -> Result<(), Unsent> {
    let unread = |source| Unsent::File { path: path.to_owned(), source };
    let file = fs::open(path).map_err(|error| unread(error.source))?;
    let mut file = tokio::fs::File::from_std(file);
    let (mut current, mut next) = (vec![0; FILE_CHUNK], vec![0; FILE_CHUNK]);
    let mut left = size;
    let mut ready = 0;
    loop {
        // The next piece is read while the current one is on its way.
        let room = FILE_CHUNK.min(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = next.get_mut(..room).unwrap_or_default();
        let (read, sent) =
            tokio::join!(file.read(wanted), put(input, current.get(..ready).unwrap_or_default(), progress));
        sent?;
        if left == 0 {
            return Ok(());
        }
        ready = read.map_err(unread)?;
        if ready == 0 {
            // The host is still waiting for the rest; it takes the end of the session for a broken transfer.
            return Err(unread(changed(size - left, size)));
        }
        left -= ready as u64;
        std::mem::swap(&mut current, &mut next);
    }
}

/// Tells from what sudo printed (in English: `LC_ALL=C`) why it did not start the driver.
fn classify_sudo(said: &str, status: Option<i32>) -> SudoProblem {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| said.contains(phrase));
    if says(&["must have a tty", "sorry, you must have a tty"]) {
        SudoProblem::NeedsTty
    } else if says(&["not in the sudoers", "may not run sudo", "is not allowed to"]) {
        SudoProblem::NotAllowed
    } else if says(&["incorrect password", "Sorry, try again", "Authentication failed"]) {
        SudoProblem::PasswordWrong
    } else if says(&["password is required", "password was provided", "terminal is required"]) {
        SudoProblem::PasswordNeeded
    } else if status == Some(status::NO_COMMAND) || says(&["sudo: not found", "sudo: command not found"]) {
        SudoProblem::Missing
    } else if status == Some(status::NO_EXEC) {
        SudoProblem::NoExec
    } else {
        SudoProblem::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sudo_says_names_the_remedy() {
        for (said, status, problem) in [
            ("sudo: sorry, you must have a tty to run sudo", 1, SudoProblem::NeedsTty),
            ("sudo: a password is required", 1, SudoProblem::PasswordNeeded),
            ("alice is not in the sudoers file.", 1, SudoProblem::NotAllowed),
            ("Sorry, user alice may not run sudo on h.", 1, SudoProblem::NotAllowed),
            ("Sorry, user alice is not allowed to execute '/bin/sh' as root on h.", 1, SudoProblem::NotAllowed),
            ("env: ‘sudo’: No such file or directory", 127, SudoProblem::Missing),
            ("sudo: 1 incorrect password attempt", 1, SudoProblem::PasswordWrong),
            ("", 126, SudoProblem::NoExec),
            ("sudo: unable to resolve host", 1, SudoProblem::Other),
        ] {
            assert_eq!(classify_sudo(said, Some(status)), problem, "{said}");
        }
    }
}
