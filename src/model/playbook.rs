//! Plays and tasks, as they were written: no host has been chosen and nothing has been rendered yet.
//!
//! A task's kind and arguments are still a [`Node`]: this floor does not know which kinds there are. Each part keeps
//! its span, because what is wrong with a task often shows only once it is bound to a host.

use crate::diag::Span;
use crate::model::node::{Node, Spanned};

/// A playbook with everything that it includes, in the order in which it runs on a host.
#[derive(Clone, Debug, Default)]
pub struct Playbook {
    /// What it is called.
    pub name: Option<String>,
    /// The plays.
    pub plays: Vec<Play>,
}

/// Tasks for some hosts.
#[derive(Clone, Debug)]
pub struct Play {
    /// The name, unique in the playbook.
    pub name: Spanned<String>,
    /// The selector of its hosts.
    pub hosts: Spanned<String>,
    /// Plays (by name) or resources (`host/kind[name]`) that must be done before it starts on any host.
    pub needs: Vec<Spanned<String>>,
    /// How many hosts it changes at a time, and what must be well before the next.
    pub rolling: Option<Rolling>,
    /// Variables of the play, with their places; they win over the inventory's.
    pub vars: Vec<(String, Node)>,
    /// Tags of all its tasks.
    pub tags: Vec<String>,
    /// The tasks, in the order in which they run on a host.
    pub tasks: Vec<Task>,
}

/// A play that goes through its hosts in batches.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// How many hosts at a time.
    pub batch: Batch,
    /// How many hosts may fail before no further batch is begun.
    pub max_failures: usize,
    /// What must hold on each host of a batch before the next begins: arguments of the kind `check`.
    pub health: Vec<Node>,
}

/// The size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many hosts.
    Hosts(usize),
    /// So many of a hundred hosts, but at least one.
    Percent(usize),
}

impl Batch {
    /// Returns the number of hosts in a batch, of `total`.
    pub fn size(self, total: usize) -> usize {
        match self {
            Batch::Hosts(hosts) => hosts.max(1),
            Batch::Percent(percent) => (total * percent / 100).max(1),
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where it begins.
    pub span: Span,
    /// What its author calls it.
    pub name: Option<String>,
    /// The kind's name.
    pub kind: Spanned<String>,
    /// The kind's arguments.
    pub arguments: Node,
    /// The expression that must be true for the task to apply.
    pub when: Option<Spanned<String>>,
    /// The list to repeat the task for, as `item`.
    pub for_each: Option<Node>,
    /// The resources to refresh once after it changed: `kind[name]`.
    pub notify: Vec<Spanned<String>>,
    /// The name under which later tasks know what it printed.
    pub register: Option<Spanned<String>>,
    /// Tags, its play's included.
    pub tags: Vec<String>,
    /// Whether the host goes on after it failed.
    pub on_failure: OnFailure,
    /// Variables given where its file was included.
    pub vars: Vec<(String, Node)>,
}

/// What happens on the host after a task failed there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// What comes after it is skipped.
    #[default]
    Stop,
    /// The failure is reported and the next task runs.
    GoOn,
}
