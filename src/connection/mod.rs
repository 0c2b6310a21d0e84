//! The way to a host: over SSH, through bastions, or to this machine; and a scripted fake of all of them.
//!
//! A [`Session`] takes [`Request`]s, each a script with payloads, and hands back the frames of its output as they
//! come. Nothing here knows what a script is for. Only this module speaks SSH.
//!
//! # What a script may rely on
//! A request's script runs as root under `sh`, in a subshell of its own: what it sets, or an `exit` in it, ends with
//! it. Its standard input is `/dev/null`. `LC_ALL` is `C`, the umask 077, the folder `/`.
//! - `_mark WORDS` prints a [`Frame::Mark`]. A script whose connection is gone ends at its next `_mark`.
//! - `_take BYTES > FILE` or `_take BYTES COMMAND…` takes the next payload, which must have that length, and returns the
//!   status of the writing or of the command. `_take BYTES | COMMAND` works too, but loses that status. If the
//!   connection breaks within a payload, the script ends there: nothing after the `_take` runs.
//!
//! Payloads that a script leaves, or of which a command takes only a part, are passed over; they never become the next
//! request. Commands that the script starts hold neither the stream of payloads nor the boundary.
//!
//! # On the wire
//! One channel per host carries one `sh` whose program, `driver.sh`, is a constant in argv and holds no secret. A request
//! is `LENGTH BOUNDARY PAYLOADS\n`, the script, and the payloads, where the boundary closes the script and each
//! payload on a line of its own: so a truncated script never runs and a truncated file is never taken for whole. The
//! answer is cut into [`Frame`]s by the boundary, which is drawn anew for each request and never leaves the shell.
//! Nobody waits for the shell to be there: the first request follows its start as soon as the host lets it.
//!
//! # What a round trip is
//! [`Counters::round_trips`] counts each wait for an answer that the protocols impose. A first request costs 9: TCP, the
//! identification, the key exchange, the service request, the offer of the key, its signature, the channel, the start
//! of the shell (OpenSSH takes no input before that) and the request itself. Each further key that a host
//! refuses costs one, a bastion that is not yet connected costs its own 6, one that is costs 1 in place of TCP, a sudo
//! password costs one, and each further request costs one.

mod bastion;
pub mod descriptors;
mod driver;
mod error;
pub mod fake;
mod frames;
mod hostkeys;
mod keys;
pub mod local;
mod session;
mod ssh;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use futures_util::future::BoxFuture;
use secrecy::SecretString;

use crate::addr::HostName;
use crate::shell::Script;

pub use error::{ConnectError, SessionError, SudoProblem, Unreachable};
pub use ssh::{Connector, OfferedKey};

/// One SSH server and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// What the inventory calls it.
    pub host: HostName,
    /// Its IP address or DNS name.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// Recorded host keys: public keys in OpenSSH's one-line form, or `@cert-authority` and the key of a host CA.
    ///
    /// Where there are any, the known_hosts files only tell which keys are revoked.
    pub host_keys: Vec<String>,
}

/// How to get to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The bastions on the way, the outermost first.
    pub via: Vec<Endpoint>,
    /// Where the way ends.
    pub target: Target,
}

/// Where a route ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An SSH server.
    Ssh(Endpoint),
    /// This machine.
    Local(HostName),
}

impl Target {
    /// Returns the name of the host.
    pub fn host(&self) -> &HostName {
        match self {
            Self::Ssh(endpoint) => &endpoint.host,
            Self::Local(host) => host,
        }
    }
}

/// Whether keys of a running SSH agent are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentUse {
    /// No.
    Never,
    /// After the key files. A key file with a passphrase is used through the agent where it holds the key.
    #[default]
    AfterFiles,
    /// Only the agent.
    Only,
}

/// How a session becomes root.
#[derive(Clone, Debug, Default)]
pub enum Become {
    /// By `sudo -n`, unless the login user is root. On this machine, not at all.
    #[default]
    Auto,
    /// Not at all: the login user is root or is enough.
    No,
    /// By `sudo -n`.
    Sudo,
    /// By sudo with a password, which is sent only once sudo asks for it, and never in argv.
    SudoWithPassword(SecretString),
}

/// What all connections of a run have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Private key files, the first tried first. `KEY-cert.pub` beside one is used as its certificate.
    pub identities: Vec<Utf8PathBuf>,
    /// Whether keys of an SSH agent are used.
    pub agent: AgentUse,
    /// Where the agent listens; `SSH_AUTH_SOCK` of the environment where this is `None`.
    pub agent_socket: Option<Utf8PathBuf>,
    /// known_hosts files. One that is not there is as good as empty.
    pub known_hosts: Vec<Utf8PathBuf>,
    /// How long to wait for a TCP connection and for the server's first word.
    pub connect_timeout: Duration,
    /// How long to wait for the login after that, and for the shell to start.
    pub login_timeout: Duration,
    /// How often to try, as long as the failure is one that passes.
    pub attempts: u32,
    /// How to become root.
    pub become_root: Become,
    /// How many connections to one bastion there may be; each carries up to 50 hosts.
    pub bastion_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identities: Vec::new(),
            agent: AgentUse::default(),
            agent_socket: None,
            known_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(20),
            attempts: 3,
            become_root: Become::default(),
            bastion_connections: 100,
        }
    }
}

/// One script with what it takes from its standard input.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the host runs.
    pub script: Script,
    /// What the script takes by `_take`, in this order.
    pub payloads: Vec<Payload>,
    /// How long the host may be silent: neither a byte from it nor one accepted by it.
    pub deadline: Option<Duration>,
}

impl Request {
    /// Returns a request without payloads.
    pub fn new(script: Script, deadline: Duration) -> Self {
        Self { script, payloads: Vec::new(), deadline: Some(deadline) }
    }
}

/// Bytes that a script takes.
#[derive(Clone)]
pub enum Payload {
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// A file of ours, read while it is sent.
    File {
        /// The file.
        path: Utf8PathBuf,
        /// Its size, which it must have when it is sent.
        size: u64,
    },
}

impl Payload {
    /// Returns how many bytes it is, the number that the script gives to `_take`.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

impl std::fmt::Debug for Payload {
    /// Tells the size only: the bytes may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.size())
    }
}

/// Part of a script's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The words that the script gave to `_mark`.
    Mark(String),
    /// Bytes that it printed between marks, in pieces as they come.
    Data(Vec<u8>),
}

/// How a script ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status.
    pub status: i32,
    /// The last 8 KiB of its standard error.
    pub stderr: String,
}

/// What a session has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often it had to wait for the other side, the login included.
    pub round_trips: u32,
    /// How many requests it carried.
    pub exchanges: u32,
    /// Bytes sent, as they were on the wire.
    pub bytes_sent: u64,
    /// Bytes received, as they were on the wire.
    pub bytes_received: u64,
}

/// A shell on a host.
pub trait Session: Send {
    /// Sends one request and hands every frame to `on_frame` as it comes, until the script has ended.
    ///
    /// If the future is dropped before that, or ends in an error, the session is of no further use.
    fn exchange<'a>(
        &'a mut self,
        request: Request,
        on_frame: &'a mut (dyn FnMut(Frame) + Send),
    ) -> BoxFuture<'a, Result<Ended, SessionError>>;

    /// Returns what the session has cost so far.
    fn counters(&self) -> Counters;

    /// Ends the session and lets the host clean up. A session that is only dropped is cut off, and the host cleans up
    /// when it notices.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What opens sessions: a [`Connector`], or a [`fake::Fleet`].
pub trait Connect: Send + Sync {
    /// Opens a session with the host at the end of a route.
    fn open<'a>(&'a self, route: &'a Route) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>>;
}
