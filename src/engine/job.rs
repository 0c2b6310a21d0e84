//! The messages between the dispatcher, which walks the graph, and an executor, which owns a host's session.
//!
//! They are plain serialisable values and refer to nothing shared, so that an executor may sit in another datacenter.

use serde::{Deserialize, Serialize};

use crate::addr::{ResourceAddr, ResourceId, RunId};
use crate::change::{Action, Guard, Step};
use crate::event::{Cost, Reach};
use crate::resource::read::{Answers, Asked, Bytes};
use crate::shell::Script;

/// What an executor is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum HostJob {
    /// Read the host, and take its lock first where one is asked for.
    Read {
        /// The questions.
        questions: Questions,
        /// Who takes the host's lock.
        lock: Option<Lock>,
        /// How long to try to reach it, in seconds, where it is only being brought up.
        patience: Option<u64>,
    },
    /// Change the host, and read afterwards what was changed.
    Apply {
        /// The run, under whose name backups are kept.
        run: RunId,
        /// What to do, in order. After a failure the rest is not done.
        works: Vec<Work>,
        /// What to read afterwards.
        verify: Questions,
        /// Where a work can cut the way to the host: in which window it must be confirmed by a new login.
        window: Option<Window>,
    },
    /// Run a script and hand back what it prints.
    Run {
        /// The script.
        script: Script,
    },
    /// Wait until the host is back from a reboot, and take its lock again.
    AwaitReboot {
        /// The boot id that it must not have any more.
        boot_id: String,
        /// How long to wait at the most, in seconds.
        seconds: u64,
        /// Who takes the host's lock.
        lock: Lock,
    },
}

/// Questions to a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Questions {
    /// The script that asks them.
    pub script: Script,
    /// What the reader of the answers must know.
    pub asked: Asked,
}

/// Who holds a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// `user@machine`.
    pub owner: String,
    /// The run.
    pub run: RunId,
    /// Since when, in UTC.
    pub since: String,
}

/// A time in which a change must be confirmed by a new login; the host takes it back by itself otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How long, in seconds.
    pub seconds: u64,
    /// Who holds the host's lock, which the new session takes over.
    pub lock: Lock,
}

/// How a confirm window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowEnd {
    /// A new login confirmed what was done.
    Confirmed,
    /// It was never opened, and nothing was done.
    Closed,
    /// The host has taken the changes back.
    RolledBack,
    /// It cannot be shown that the host has taken them back.
    Unproven,
}

/// The change of one resource, or a part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// Its position in the job.
    pub number: usize,
    /// The resource.
    pub addr: ResourceAddr,
    /// The verb.
    pub action: Action,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// The resources that are marked on the host as to be refreshed, once all steps are done.
    pub marks: Vec<ResourceId>,
    /// The resource whose mark is taken away, once all steps are done.
    pub settles: Option<ResourceId>,
    /// Where the steps' standard error goes.
    pub errors: Errors,
    /// How the host takes it back by itself, where it can cut the way to the host.
    pub guard: Option<Guard>,
}

/// Where a step's standard error goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errors {
    /// Into its output, in the order in which both came: for people to read.
    #[default]
    WithOutput,
    /// Apart, because something reads the output.
    Apart,
}

/// What an executor says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "the large one comes once in a job")]
pub enum HostMessage {
    /// A connection is being opened.
    Connecting,
    /// A step begins.
    StepStarted {
        /// The position of its work in the job.
        work: usize,
        /// Its position.
        step: usize,
    },
    /// A step ended.
    StepEnded {
        /// The position of its work in the job.
        work: usize,
        /// Its position.
        step: usize,
        /// Its exit status.
        status: i32,
        /// What it printed, at most its last 64 KiB.
        output: Bytes,
    },
    /// A job is done, and this is its last message.
    Done {
        /// What was read.
        answers: Answers,
        /// Resources that an earlier run left to be refreshed.
        pending: Vec<ResourceId>,
        /// What a script printed.
        output: Bytes,
        /// How a script ended.
        status: i32,
        /// The end of what came on standard error.
        stderr: String,
        /// What the session has cost so far.
        cost: Cost,
        /// How the confirm window ended, where there was one.
        window: Option<WindowEnd>,
    },
    /// Another run holds the host; the last message of the job.
    Held {
        /// Who, and since when.
        by: String,
    },
    /// The job cannot be done; its last message.
    Failed {
        /// What went wrong, with its causes.
        error: String,
        /// What to do next.
        hint: Option<String>,
        /// Whether the host is unreachable.
        reach: Reach,
    },
}
