//! Why a host could not be reached, or was lost on the way.
//!
//! Each variant is a situation that an administrator knows by another remedy, and [`ConnectError::hint`] says which.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::addr::HostName;
use crate::fs::FsError;

/// Why a TCP connection did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The name has no address.
    Dns,
    /// Nothing listens on the port, or a firewall says so.
    Refused,
    /// Nothing answered in time.
    TimedOut,
    /// No network leads there.
    NoRoute,
    /// The connection was accepted and closed or reset at once.
    Closed,
    /// The bastion could not connect to it.
    BeyondBastion,
    /// This process has as many files open as it may.
    Descriptors,
    /// Anything else that the system answers.
    Other,
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dns => "the name has no address",
            Self::Refused => "connection refused",
            Self::TimedOut => "no answer in time",
            Self::NoRoute => "no route",
            Self::Closed => "connection closed before the login",
            Self::BeyondBastion => "the bastion cannot connect to it",
            Self::Descriptors => "too many connections are open here",
            Self::Other => "the connection failed",
        })
    }
}

/// Why sudo did not give a root shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SudoProblem {
    /// sudo is not installed.
    Missing,
    /// sudo wants a password and none was given.
    PasswordNeeded,
    /// The password was wrong.
    PasswordWrong,
    /// The user may not use sudo for this.
    NotAllowed,
    /// `Defaults requiretty` is in force.
    NeedsTty,
    /// `Defaults noexec` is in force: a shell starts, but nothing that it calls.
    NoExec,
    /// sudo said something else.
    Other,
}

impl std::fmt::Display for SudoProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "sudo is not installed",
            Self::PasswordNeeded => "sudo asks for a password",
            Self::PasswordWrong => "sudo refused the password",
            Self::NotAllowed => "the user may not use sudo",
            Self::NeedsTty => "sudo insists on a terminal (requiretty)",
            Self::NoExec => "sudo lets the shell start no command (noexec)",
            Self::Other => "sudo failed",
        })
    }
}

/// Why there is no session with a host.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No TCP connection.
    #[error("connect to {host} at {address}: {why}")]
    Unreachable {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// What kind of failure it was.
        why: Unreachable,
        /// What the system answered, where it did.
        source: Option<io::Error>,
    },
    /// Something accepted the connection and then said nothing.
    #[error("connect to {host} at {address}: accepted, but silent for {after:?}")]
    NoAnswer {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The other side is no SSH server that we can speak to.
    #[error("speak SSH with {host} at {address}: {reason}")]
    Handshake {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Nothing is recorded of the host's key.
    #[error("the host key of {host} at {address} is not known; it offers {offered}")]
    HostKeyUnknown {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// The algorithm and fingerprint that the host offers.
        offered: String,
    },
    /// The host has another key than the recorded one.
    #[error("the host key of {host} at {address} is not the recorded one: expected {}, offered {offered}", .expected.join(" or "))]
    HostKeyMismatch {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// The algorithms and fingerprints that are recorded.
        expected: Vec<String>,
        /// The algorithm and fingerprint that the host offers.
        offered: String,
    },
    /// The host has a key that was revoked.
    #[error("the host key of {host} at {address} is revoked: {offered}")]
    HostKeyRevoked {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// The algorithm and fingerprint that the host offers.
        offered: String,
    },
    /// The host has a certificate that does not hold.
    #[error("the host certificate of {host} at {address} does not hold: {reason}")]
    HostCertificate {
        /// The host.
        host: HostName,
        /// Its address and port.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A recorded host key cannot be read.
    #[error("read the recorded host key of {host}: {reason}")]
    HostKeyUnreadable {
        /// The host.
        host: HostName,
        /// What is wrong with it.
        reason: String,
    },
    /// The host did not let us in.
    #[error("log in to {host} as {user}: {}", describe_tried(.tried))]
    LoginRefused {
        /// The host.
        host: HostName,
        /// The user.
        user: String,
        /// What was tried, in order, and what came of it.
        tried: Vec<String>,
        /// What the host would accept, if it said so.
        accepted: Vec<String>,
    },
    /// A private key or certificate file is of no use.
    #[error("use the key file {path}: {reason}")]
    KeyFile {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was named in the settings cannot be read.
    #[error(transparent)]
    File(#[from] FsError),
    /// sudo did not give a root shell.
    #[error("become root on {host} as {user}: {problem}{}", after_colon(.said))]
    Sudo {
        /// The host.
        host: HostName,
        /// The login user.
        user: String,
        /// What kind of failure it was.
        problem: SudoProblem,
        /// What the host printed.
        said: String,
    },
    /// The login works, but gives no POSIX shell.
    #[error("start a shell on {host} as {user}: {reason}{}", after_colon(.said))]
    NoShell {
        /// The host.
        host: HostName,
        /// The login user.
        user: String,
        /// What happened instead.
        reason: String,
        /// What the host printed.
        said: String,
    },
    /// A bastion on the way could not be used.
    #[error("reach {host} through {bastion}")]
    Bastion {
        /// The host beyond.
        host: HostName,
        /// The bastion.
        bastion: HostName,
        /// Why; shared by all hosts that waited for it.
        source: Arc<ConnectError>,
    },
    /// A bastion lets us in, but does not forward.
    #[error("reach {host} at {address} through {bastion}: the bastion refuses to forward")]
    Forwarding {
        /// The host beyond.
        host: HostName,
        /// Its address and port.
        address: String,
        /// The bastion.
        bastion: HostName,
    },
    /// A bastion carries as many connections as it may.
    #[error("reach {host} through {bastion}: all {limit} forwarded connections are in use")]
    BastionFull {
        /// The host beyond.
        host: HostName,
        /// The bastion.
        bastion: HostName,
        /// How many connections it carries.
        limit: usize,
    },
}

fn describe_tried(tried: &[String]) -> String {
    if tried.is_empty() { "there is no key to try".to_owned() } else { format!("tried {}", tried.join(", ")) }
}

fn after_colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl ConnectError {
    /// Returns what to do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { why: Unreachable::Dns, .. } => {
                "give the host an IP address in the inventory (`ssh: {address: …}`)".to_owned()
            }
            Self::Unreachable { why: Unreachable::Descriptors, .. } => {
                "raise the limit of open files (`ulimit -Hn`), or do it in parts with `--limit`".to_owned()
            }
            Self::Unreachable { why: Unreachable::Closed, .. } => {
                "the server may have too many logins under way (`MaxStartups`); run with less parallelism".to_owned()
            }
            Self::Unreachable { .. } => return None,
            Self::NoAnswer { .. } => "the address may belong to something that is no SSH server".to_owned(),
            Self::Handshake { .. } => return None,
            Self::HostKeyUnknown { host, .. } => {
                format!("compare the fingerprint on the host's console, then record it: `provision trust {host}`")
            }
            Self::HostKeyMismatch { host, .. } => format!(
                "find out why before anything else; if {host} was installed anew, record its key again: `provision trust {host}`"
            ),
            Self::HostKeyRevoked { .. } => "the host needs a new key; do not log in to it".to_owned(),
            Self::HostCertificate { .. } => "have the host's key signed again by the host CA".to_owned(),
            Self::HostKeyUnreadable { .. } => {
                "a host key is one line as in `/etc/ssh/ssh_host_ed25519_key.pub`".to_owned()
            }
            Self::LoginRefused { tried, .. } if tried.is_empty() => {
                "name a private key in the settings, or load one into an SSH agent".to_owned()
            }
            Self::LoginRefused { user, accepted, .. } => {
                if accepted.is_empty() || accepted.iter().any(|method| method == "publickey") {
                    format!("put the public key into `~{user}/.ssh/authorized_keys`, or have it signed for `{user}`")
                } else {
                    format!("the host accepts {} only; it must accept a public key", accepted.join(" and "))
                }
            }
            Self::KeyFile { .. } | Self::File(_) => return None,
            Self::Sudo { user, problem, .. } => match problem {
                SudoProblem::Missing => "install sudo on the host, or log in as root".to_owned(),
                SudoProblem::PasswordNeeded => {
                    format!("allow `{user} ALL=(root) NOPASSWD: /bin/sh`, or give the password")
                }
                SudoProblem::PasswordWrong => {
                    "the account may be locked after further attempts (faillock); check before trying again".to_owned()
                }
                SudoProblem::NotAllowed => format!("allow `{user} ALL=(root) NOPASSWD: /bin/sh` in /etc/sudoers.d"),
                SudoProblem::NeedsTty => format!("add `Defaults:{user} !requiretty` to the sudoers"),
                SudoProblem::NoExec => format!("add `Defaults:{user} !noexec`, or tag the rule `EXEC:`"),
                SudoProblem::Other => return None,
            },
            Self::NoShell { .. } => {
                "the login must give a POSIX shell, without a forced command and without output of its start files"
                    .to_owned()
            }
            Self::Bastion { source, .. } => return source.hint(),
            Self::Forwarding { bastion, .. } => format!(
                "allow it in sshd_config on {bastion}: `AllowTcpForwarding local` with a `PermitOpen` for this address"
            ),
            Self::BastionFull { .. } => "run with less parallelism, or add a bastion".to_owned(),
        })
    }

    /// Returns whether the host could not be spoken to at all, as opposed to having refused us.
    ///
    /// An unreachable host is not a failed one: it is reported as such, and the others go on.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::BastionFull { .. } => true,
            Self::Bastion { source, .. } => source.is_unreachable(),
            _ => false,
        }
    }

    /// Returns whether a host that is only being brought up would say the same for ever: who it is, or what we are, is wrong.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Bastion { source, .. } => source.is_final(),
            Self::Unreachable { why, .. } => matches!(why, Unreachable::Dns),
            Self::HostKeyUnknown { .. }
            | Self::HostKeyMismatch { .. }
            | Self::HostKeyRevoked { .. }
            | Self::HostCertificate { .. }
            | Self::HostKeyUnreadable { .. }
            | Self::KeyFile { .. }
            | Self::File(_) => true,
            _ => false,
        }
    }

    /// Returns whether another attempt may fare better. A refused login or a wrong host key never does.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { why, .. } => {
                matches!(
                    why,
                    Unreachable::Refused | Unreachable::TimedOut | Unreachable::Closed | Unreachable::BeyondBastion
                )
            }
            Self::NoAnswer { .. } => true,
            _ => false,
        }
    }
}

/// Why a request did not come to its end.
///
/// The session is of no further use after any of these.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The shell never started, which shows only now because the first request is sent ahead.
    #[error(transparent)]
    Start(Box<ConnectError>),
    /// The connection broke.
    #[error("lost {host} while {during}: {why}{}", after_colon(.stderr))]
    Lost {
        /// The host.
        host: HostName,
        /// What was going on: sending, or the last mark that was seen.
        during: String,
        /// How it was noticed.
        why: String,
        /// The last that the host wrote to its standard error.
        stderr: String,
    },
    /// The host said nothing for too long.
    #[error("no word from {host} for {after:?} while {during}{}", after_colon(.stderr))]
    Silent {
        /// The host.
        host: HostName,
        /// How long it was waited for.
        after: Duration,
        /// What was going on: sending, or the last mark that was seen.
        during: String,
        /// The last that the host wrote to its standard error.
        stderr: String,
    },
    /// The host sent what it should not.
    #[error("understand {host} while {during}: {reason}{}", after_colon(.stderr))]
    Protocol {
        /// The host.
        host: HostName,
        /// What was going on: sending, or the last mark that was seen.
        during: String,
        /// What was wrong.
        reason: String,
        /// The last that the host wrote to its standard error.
        stderr: String,
    },
    /// A file of ours that was to be sent cannot be read.
    #[error("send {path} to {host}")]
    LocalFile {
        /// The host.
        host: HostName,
        /// The file.
        path: Utf8PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl SessionError {
    /// Returns what to do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start(error) => error.hint(),
            _ => None,
        }
    }

    /// Returns whether the host went away, as opposed to having refused us.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Start(error) => error.is_unreachable(),
            Self::Lost { .. } | Self::Silent { .. } => true,
            Self::Protocol { .. } | Self::LocalFile { .. } => false,
        }
    }
}
