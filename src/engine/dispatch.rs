//! Dispatching: walks the graph, hands each host the changes that may be done, and knows what became of each.
//!
//! Changes of one host that nothing else waits between go as one script. A change whose steps need another host, or what
//! an earlier step printed, goes step by step; one that only a running task can tell is decided when its turn comes.

mod alone;
mod arrive;
mod ended;
mod gate;
mod jobs;
mod segment;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;

use super::job::{Lock, WindowEnd};
use super::{Fleet, HostFailure, Listener, ObservedHost};
use crate::addr::{HostName, ResourceAddr, RunId};
use crate::diag::Sources;
use crate::event::{Outcome, Reach};
use crate::graph::VertexId;
use crate::journal::{Journal, JournalError};
use crate::model::playbook::Playbook;
use crate::plan::bind::{Binder, HostInput};
use crate::plan::order::{Order, Vertex};
use crate::plan::{Decision, Entry};
use crate::resource::read::{Answers, Bytes};
use crate::secret::Vault;

/// How long a rebooting host is waited for, in seconds.
const REBOOT_SECONDS: u64 = 600;

/// Whether a run should begin nothing more.
#[derive(Clone, Debug, Default)]
pub struct Stop(std::rc::Rc<Cell<bool>>);

/// How often who waits looks whether the run is to stop.
const STOP_POLL: std::time::Duration = std::time::Duration::from_millis(100);

impl Stop {
    /// Asks the run to begin nothing more.
    pub fn ask(&self) {
        self.0.set(true);
    }

    /// Returns whether that was asked.
    pub fn is_asked(&self) -> bool {
        self.0.get()
    }

    /// Returns once it is asked.
    async fn asked(&self) {
        while !self.is_asked() {
            tokio::time::sleep(STOP_POLL).await;
        }
    }
}

/// What is to be applied.
pub struct ApplyRequest<'a> {
    /// The executors.
    pub fleet: &'a Fleet,
    /// What binds tasks to hosts.
    pub binder: &'a Binder<'a>,
    /// Where the tasks stand.
    pub sources: &'a Sources,
    /// The playbook.
    pub playbook: &'a Playbook,
    /// The graph.
    pub order: &'a Order,
    /// The hosts.
    pub inputs: &'a BTreeMap<HostName, HostInput>,
    /// What was observed of them.
    pub observed: &'a BTreeMap<HostName, ObservedHost>,
    /// The hosts that take no part.
    pub failed: &'a BTreeMap<HostName, HostFailure>,
    /// The run.
    pub run: &'a RunId,
    /// Who holds the hosts' locks.
    pub lock: &'a Lock,
    /// The secrets.
    pub vault: &'a Vault,
    /// How long a change that can cut the way to a host waits for a new login to confirm it, in seconds.
    pub confirm_seconds: u64,
    /// Asks the run to begin nothing more.
    pub stop: Stop,
    /// Who is told.
    pub listener: &'a Listener<'a>,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Applied {
    /// How each resource ended.
    pub outcomes: BTreeMap<ResourceAddr, Outcome>,
    /// The hosts that were lost on the way.
    pub lost: BTreeMap<HostName, HostFailure>,
}

/// Where a vertex stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    Waiting,
    Running,
    Done,
    /// What waits for it is skipped, because of this.
    Blocks(String),
}

/// What a finished activity says of its vertices.
struct Finished {
    vertices: Vec<(VertexId, Status)>,
}

struct Dispatcher<'a> {
    request: &'a ApplyRequest<'a>,
    journal: RefCell<&'a mut Journal>,
    journal_error: RefCell<Option<JournalError>>,
    status: RefCell<Vec<Status>>,
    unmet: RefCell<Vec<usize>>,
    outcomes: RefCell<BTreeMap<ResourceAddr, Outcome>>,
    lost: RefCell<BTreeMap<HostName, HostFailure>>,
    changed: RefCell<BTreeSet<ResourceAddr>>,
    registered: RefCell<BTreeMap<HostName, Value>>,
    gate_failures: RefCell<BTreeMap<usize, usize>>,
    /// The hosts that are brought in this run, once they were observed.
    arrived: &'a BTreeMap<HostName, OnceCell<ObservedHost>>,
}

/// What one job on a host brought.
#[derive(Default)]
struct Report {
    answers: Answers,
    /// Of each work, its steps' ends: status and output.
    ends: BTreeMap<usize, Vec<(i32, Bytes)>>,
    /// The work that was begun last.
    begun: Option<usize>,
    stdout: String,
    stderr: String,
    status: i32,
    failure: Option<HostFailure>,
    /// How the confirm window ended, where there was one.
    window: Option<WindowEnd>,
}

impl Report {
    /// Notes how a step of a work ended, once: who confirms a window is told all ends again, also those that came before the
    /// session was lost.
    fn end_step(&mut self, work: usize, step: usize, status: i32, output: &Bytes) {
        let ends = self.ends.entry(work).or_default();
        if ends.len() == step {
            ends.push((status, output.clone()));
        }
    }
}

impl ApplyRequest<'_> {
    /// Does it, and returns what became of each resource.
    ///
    /// # Errors
    /// A journal that cannot be written ends the run: nothing more is begun.
    pub async fn run(&self, journal: &mut Journal) -> (Applied, Option<JournalError>) {
        let count = self.order.dag.len();
        let unmet = self.order.dag.vertices().map(|(id, _)| self.order.dag.before(id).count()).collect();
        let awaited = self.observed.iter().filter(|(_, host)| host.plan.awaits.is_some());
        let arrived = awaited.map(|(name, _)| (name.clone(), OnceCell::new())).collect();
        let dispatcher = Dispatcher {
            request: self,
            journal: RefCell::new(journal),
            journal_error: RefCell::default(),
            status: RefCell::new(vec![Status::Waiting; count]),
            unmet: RefCell::new(unmet),
            outcomes: RefCell::default(),
            lost: RefCell::default(),
            changed: RefCell::default(),
            registered: RefCell::default(),
            gate_failures: RefCell::default(),
            arrived: &arrived,
        };
        dispatcher.walk().await;
        let applied = Applied { outcomes: dispatcher.outcomes.into_inner(), lost: dispatcher.lost.into_inner() };
        (applied, dispatcher.journal_error.into_inner())
    }
}

impl<'a> Dispatcher<'a> {
    async fn walk(&self) {
        let mut ready: VecDeque<VertexId> = self
            .request
            .order
            .dag
            .vertices()
            .map(|(id, _)| id)
            .filter(|id| self.unmet.borrow().get(id.index()) == Some(&0))
            .collect();
        let mut running: FuturesUnordered<LocalBoxFuture<'_, Finished>> = FuturesUnordered::new();
        loop {
            while let Some(id) = ready.pop_front() {
                if self.status(id) != Status::Waiting {
                    continue;
                }
                match self.begin(id) {
                    Begun::Finished(status) => self.finish(id, status, &mut ready),
                    Begun::Running(activity) => running.push(activity),
                }
            }
            let Some(finished) = running.next().await else { break };
            for (id, status) in finished.vertices {
                if status == Status::Waiting {
                    self.set_status(id, status);
                    ready.push_back(id);
                } else {
                    self.finish(id, status, &mut ready);
                }
            }
        }
    }

    fn status(&self, id: VertexId) -> Status {
        self.status.borrow().get(id.index()).cloned().unwrap_or(Status::Done)
    }

    fn set_status(&self, id: VertexId, status: Status) {
        if let Some(slot) = self.status.borrow_mut().get_mut(id.index()) {
            *slot = status;
        }
    }

    fn finish(&self, id: VertexId, status: Status, ready: &mut VecDeque<VertexId>) {
        self.set_status(id, status);
        for next in self.request.order.dag.after(id) {
            let mut unmet = self.unmet.borrow_mut();
            if let Some(count) = unmet.get_mut(next.index()) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ready.push_back(next);
                }
            }
        }
    }

    /// Returns because of what a vertex cannot be done, if so.
    fn culprit(&self, id: VertexId) -> Option<String> {
        self.request.order.dag.before(id).find_map(|before| match self.status(before) {
            Status::Blocks(because) => Some(because),
            _ => None,
        })
    }

    fn begin(&self, id: VertexId) -> Begun<'_> {
        let Some(vertex) = self.request.order.dag.get(id) else { return Begun::Finished(Status::Done) };
        match vertex {
            Vertex::Done { .. } => Begun::Finished(self.culprit(id).map_or(Status::Done, Status::Blocks)),
            Vertex::Gate { play, batch } => {
                self.set_status(id, Status::Running);
                Begun::Running(Box::pin(self.gate(id, *play, *batch)))
            }
            Vertex::Resource { host, .. } | Vertex::Handlers { host, .. } => {
                if let Some(status) = self.resolve_now(id, vertex, host) {
                    return Begun::Finished(status);
                }
                if self.arrived.get(host).is_some_and(|arrived| arrived.get().is_none()) {
                    self.set_status(id, Status::Running);
                    return Begun::Running(Box::pin(self.arrive(id, host)));
                }
                if let Vertex::Resource { at, .. } = vertex
                    && !self.is_simple(host, *at)
                {
                    self.set_status(id, Status::Running);
                    return Begun::Running(Box::pin(self.run_alone(id, host, *at)));
                }
                if let Vertex::Handlers { play, .. } = vertex
                    && !self.handlers_are_simple(host, *play)
                {
                    self.set_status(id, Status::Running);
                    return Begun::Running(Box::pin(self.run_handlers(id, host, *play)));
                }
                let segment = self.segment(id, host);
                for vertex in &segment {
                    self.set_status(*vertex, Status::Running);
                }
                Begun::Running(Box::pin(self.run_segment(host, segment)))
            }
        }
    }

    /// Settles a vertex for which nothing is to be done on a host.
    fn resolve_now(&self, id: VertexId, vertex: &Vertex, host: &HostName) -> Option<Status> {
        let gone = self.request.failed.get(host).cloned().or_else(|| self.lost.borrow().get(host).cloned());
        if let Some(failure) = gone {
            let word = if failure.reach == Reach::Unreachable { "is unreachable" } else { "failed" };
            let because = format!("{host} {word}");
            self.not_started(vertex, &because);
            return Some(Status::Blocks(because));
        }
        if let Some(because) = self.culprit(id) {
            self.skipped(vertex, &because);
            return Some(Status::Blocks(because));
        }
        if self.request.stop.is_asked() || self.journal_error.borrow().is_some() {
            let because = if self.request.stop.is_asked() { "the run was interrupted" } else { "the journal failed" };
            self.not_started(vertex, because);
            return Some(Status::Blocks(because.to_owned()));
        }
        let observed = self.observed(host)?;
        match vertex {
            Vertex::Resource { at, .. } => {
                let entry = observed.plan.entries.get(*at)?;
                match &entry.decision {
                    Decision::Skipped { .. } => {
                        self.settled(host, entry);
                        Some(Status::Done)
                    }
                    Decision::Change(change) if change.is_no_op() => {
                        self.settled(host, entry);
                        Some(Status::Done)
                    }
                    Decision::Failed { error, hint } => {
                        let addr = entry.id.on(host);
                        let outcome = Outcome::Failed { error: error.clone(), hint: hint.clone() };
                        self.outcome(&addr, outcome, String::new());
                        Some(self.after_failure(&addr, entry.on_failure))
                    }
                    _ => None,
                }
            }
            Vertex::Handlers { play, .. } => {
                if self.handlers(host, *play, &BTreeSet::new()).is_empty() {
                    Some(Status::Done)
                } else {
                    None
                }
            }
            _ => Some(Status::Done),
        }
    }

    fn entry(&self, host: &HostName, at: usize) -> Option<&'a Entry> {
        self.observed(host)?.plan.entries.get(at)
    }

    /// Returns what is known of a host: what was observed at the beginning, or when it came.
    fn observed(&self, host: &HostName) -> Option<&'a ObservedHost> {
        let arrived = self.arrived.get(host).and_then(OnceCell::get);
        arrived.or_else(|| self.request.observed.get(host))
    }

    fn entry_of(&self, id: VertexId) -> Option<&'a Entry> {
        match self.request.order.dag.get(id) {
            Some(Vertex::Resource { host, at }) => self.entry(host, *at),
            _ => None,
        }
    }

    fn not_started(&self, vertex: &Vertex, because: &str) {
        if let Some(addr) = self.addr_of(vertex) {
            self.outcome(&addr, Outcome::NotStarted { because: because.to_owned() }, String::new());
        }
    }

    fn skipped(&self, vertex: &Vertex, because: &str) {
        if let Some(addr) = self.addr_of(vertex) {
            self.outcome(&addr, Outcome::Skipped { because: because.to_owned() }, String::new());
        }
    }

    fn addr_of(&self, vertex: &Vertex) -> Option<ResourceAddr> {
        match vertex {
            Vertex::Resource { host, at } => Some(self.entry(host, *at)?.id.on(host)),
            _ => None,
        }
    }
}

enum Begun<'s> {
    Finished(Status),
    Running(LocalBoxFuture<'s, Finished>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_step_that_is_told_twice_counts_once() {
        let mut report = Report::default();
        for (work, step, status) in [(3, 0, 0), (3, 1, 1), (3, 0, 0), (3, 1, 1), (4, 0, 0), (3, 2, 0), (4, 0, 0)] {
            report.end_step(work, step, status, &Bytes::default());
        }
        let statuses = |work: usize| report.ends[&work].iter().map(|(status, _)| *status).collect::<Vec<_>>();
        assert_eq!((statuses(3), statuses(4)), (vec![0, 1, 0], vec![0]));
    }
}
