//! What did happen: the messages of a run, in the order in which they happened.
//!
//! The engine sends them, and the terminal, `--json` and the journal are all fed from this one stream. Every message is
//! serialisable and stands for itself, so an executor in another datacenter could send the same.

use serde::{Deserialize, Serialize};

use crate::addr::{HostName, ResourceAddr, RunId};
use crate::change::Action;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// The run.
        run: RunId,
        /// What it does: `plan`, `apply`, `facts`, `exec`.
        command: String,
        /// Its hosts.
        hosts: Vec<HostName>,
    },
    /// A connection is being opened.
    Connecting {
        /// The host.
        host: HostName,
    },
    /// A host that was just brought up is waited for, until it lets us in.
    Awaited {
        /// The host.
        host: HostName,
    },
    /// A host was read.
    Observed {
        /// The host.
        host: HostName,
        /// How many resources it was read for.
        resources: usize,
        /// What the session has cost so far.
        cost: Cost,
    },
    /// A host cannot be reached, or refuses us.
    HostFailed {
        /// The host.
        host: HostName,
        /// What went wrong, with its causes.
        error: String,
        /// What to do next.
        hint: Option<String>,
        /// Whether it is unreachable, which is not the same as failed.
        reach: Reach,
    },
    /// A change of a resource begins.
    Started {
        /// The resource.
        addr: ResourceAddr,
        /// The verb.
        action: Action,
    },
    /// A step begins.
    Step {
        /// The resource.
        addr: ResourceAddr,
        /// What the step does.
        title: String,
    },
    /// A resource is done, one way or another.
    Finished {
        /// The resource.
        addr: ResourceAddr,
        /// How.
        outcome: Outcome,
        /// The last lines that the steps printed, for a failure or a command.
        output: String,
    },
    /// The health of a batch of a rolling play is looked at.
    Gate {
        /// The play.
        play: String,
        /// The batch, from 1.
        batch: usize,
        /// Whether it is well; `None` while it is being looked at.
        healthy: Option<bool>,
        /// What was said, where it is not well.
        detail: String,
    },
}

/// What a session has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Waits for the other side, the login included.
    pub round_trips: u32,
    /// Requests to the host's shell.
    pub exchanges: u32,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
}

/// Whether a host that takes no part could be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It cannot be reached, or was lost.
    Unreachable,
    /// It was reached and something there failed.
    Reached,
}

/// How a resource ended. Each resource of a run ends in exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was as wanted, or does not apply.
    Unchanged,
    /// It was changed, and what was read afterwards is as wanted.
    Changed,
    /// A step failed, or what was read afterwards is not as wanted.
    Failed {
        /// What went wrong.
        error: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It can cut the way to the host, no new login confirmed it, and the host has taken it back.
    RolledBack {
        /// Because of what.
        because: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It can cut the way to the host, no new login confirmed it, and the host does not say that it has taken it back.
    Unproven {
        /// Because of what.
        because: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It was not tried, because of something else.
    Skipped {
        /// Because of what.
        because: String,
    },
    /// The run ended before its turn came.
    NotStarted {
        /// Because of what.
        because: String,
    },
}
