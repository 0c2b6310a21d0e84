//! Dispatching: walks the graph, hands each host the changes that may be done, and knows what became of each.
//!
//! Changes of one host that nothing else waits between go as one script. A change whose steps need another host, or what
//! an earlier step printed, goes step by step; one that only a running task can tell is decided when its turn comes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::job::{Errors, HostJob, HostMessage, Lock, Window, WindowEnd, Work};
use super::{Fleet, HostFailure, Listener, ObservedHost, script};
use crate::addr::{HostName, ResourceAddr, ResourceId, RunId};
use crate::change::{Action, Change, Effect, Step, StepPayload};
use crate::diag::Diagnostics;
use crate::event::{Event, Outcome, Reach};
use crate::graph::VertexId;
use crate::journal::{self, Journal, JournalError};
use crate::model::playbook::{OnFailure, Playbook};
use crate::plan::bind::{Binder, Bound, BoundState, HostInput, Known};
use crate::plan::order::{Order, Vertex};
use crate::plan::{self, Decision, Entry, Handler};
use crate::resource::read::{Answers, Bytes, Reading};
use crate::secret::Vault;
use crate::shell::Script;

/// How long a rebooting host is waited for, in seconds.
const REBOOT_SECONDS: u64 = 600;

/// Whether a run should begin nothing more.
#[derive(Clone, Debug, Default)]
pub struct Stop(std::rc::Rc<Cell<bool>>);

impl Stop {
    /// Asks the run to begin nothing more.
    pub fn ask(&self) {
        self.0.set(true);
    }

    /// Returns whether that was asked.
    pub fn is_asked(&self) -> bool {
        self.0.get()
    }
}

/// What is to be applied.
pub struct ApplyRequest<'a> {
    /// The executors.
    pub fleet: &'a Fleet,
    /// What binds tasks to hosts.
    pub binder: &'a Binder<'a>,
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

impl ApplyRequest<'_> {
    /// Does it, and returns what became of each resource.
    ///
    /// # Errors
    /// A journal that cannot be written ends the run: nothing more is begun.
    pub async fn run(&self, journal: &mut Journal) -> (Applied, Option<JournalError>) {
        let count = self.order.dag.len();
        let unmet = self.order.dag.vertices().map(|(id, _)| self.order.dag.before(id).count()).collect();
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
                self.finish(id, status, &mut ready);
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
        let observed = self.request.observed.get(host)?;
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

    fn after_failure(&self, addr: &ResourceAddr, on_failure: OnFailure) -> Status {
        match on_failure {
            OnFailure::GoOn => Status::Done,
            OnFailure::Stop => Status::Blocks(format!("{addr} failed")),
        }
    }

    fn entry(&self, host: &HostName, at: usize) -> Option<&'a Entry> {
        self.request.observed.get(host)?.plan.entries.get(at)
    }

    /// Returns whether a resource's change can go into one script with its neighbours.
    fn is_simple(&self, host: &HostName, at: usize) -> bool {
        self.entry(host, at).is_some_and(|entry| match &entry.decision {
            Decision::Change(change) => change.steps.iter().all(is_simple_step),
            _ => false,
        })
    }

    /// Returns the vertices of a host, from `first` on, that can go as one script: nothing else waits between them.
    fn segment(&self, first: VertexId, host: &HostName) -> Vec<VertexId> {
        let chain = self.request.order.chains.get(host).map(Vec::as_slice).unwrap_or_default();
        let begin = chain.iter().position(|id| *id == first).unwrap_or(chain.len());
        let mut segment = vec![first];
        let mut may_go_on = !self.goes_on_after_failure(first);
        // A window is short: what can cut the wire begins a script, with it goes what it notifies, and nothing else after.
        let is_in_window = self.is_guarded(first);
        let mut owes_refresh = is_in_window && self.notifies(first);
        for id in chain.iter().skip(begin + 1) {
            let is_guarded = self.is_guarded(*id);
            let is_change = self.entry_of(*id).is_some_and(|entry| entry.change().is_some());
            if is_guarded && !is_in_window || is_in_window && is_change && !is_guarded && !owes_refresh {
                break;
            }
            owes_refresh |= is_guarded && self.notifies(*id);
            let waits_for_others = self.request.order.dag.before(*id).any(|before| {
                !segment.contains(&before) && matches!(self.status(before), Status::Waiting | Status::Running)
            });
            let fits = match self.request.order.dag.get(*id) {
                Some(Vertex::Resource { host, at }) => {
                    let waits_unsettled = self.entry(host, *at).is_some_and(|entry| entry.change().is_none());
                    // What needs nothing done settles by itself once what is before it is done.
                    self.is_simple(host, *at) || (waits_unsettled && self.is_settled(host, *at))
                }
                Some(Vertex::Handlers { host, play }) => self.handlers_are_simple(host, *play),
                _ => false,
            };
            if !may_go_on || !fits || waits_for_others {
                break;
            }
            segment.push(*id);
            may_go_on = !self.goes_on_after_failure(*id);
            owes_refresh &= !matches!(self.request.order.dag.get(*id), Some(Vertex::Handlers { .. }));
        }
        segment
    }

    fn entry_of(&self, id: VertexId) -> Option<&'a Entry> {
        match self.request.order.dag.get(id) {
            Some(Vertex::Resource { host, at }) => self.entry(host, *at),
            _ => None,
        }
    }

    /// Returns whether a vertex can cut the way to its host.
    fn is_guarded(&self, id: VertexId) -> bool {
        self.entry_of(id).and_then(Entry::change).is_some_and(|change| change.guard.is_some())
    }

    fn notifies(&self, id: VertexId) -> bool {
        self.entry_of(id).is_some_and(|entry| !entry.notify.is_empty())
    }

    fn is_settled(&self, host: &HostName, at: usize) -> bool {
        self.entry(host, at).is_some_and(|entry| match &entry.decision {
            Decision::Skipped { .. } => true,
            Decision::Change(change) => change.is_no_op(),
            _ => false,
        })
    }

    /// Returns whether the host goes on after this vertex failed; then a script ends with it.
    fn goes_on_after_failure(&self, id: VertexId) -> bool {
        match self.request.order.dag.get(id) {
            Some(Vertex::Resource { host, at }) => {
                self.entry(host, *at).is_some_and(|entry| entry.on_failure == OnFailure::GoOn)
            }
            _ => false,
        }
    }

    /// Returns what is refreshed at the end of a play, because of what changed or is about to.
    fn handlers(&self, host: &HostName, play: usize, about_to: &BTreeSet<ResourceId>) -> Vec<&'a Handler> {
        let Some(observed) = self.request.observed.get(host) else { return Vec::new() };
        let changed = self.changed.borrow();
        let all = observed.plan.handlers.get(&play).map(Vec::as_slice).unwrap_or_default();
        all.iter()
            .filter(|handler| {
                handler.is_pending
                    || handler.because.iter().any(|id| about_to.contains(id) || changed.contains(&id.on(host)))
            })
            .collect()
    }

    fn handlers_are_simple(&self, host: &HostName, play: usize) -> bool {
        let Some(observed) = self.request.observed.get(host) else { return true };
        let all = observed.plan.handlers.get(&play).map(Vec::as_slice).unwrap_or_default();
        all.iter().all(|handler| handler.steps.iter().all(is_simple_step))
    }

    /// Does the refreshes of a play one by one, because one of them ends the session; those that do come last.
    async fn run_handlers(&self, id: VertexId, host: &'a HostName, play: usize) -> Finished {
        let mut handlers = self.handlers(host, play, &BTreeSet::new());
        handlers.sort_by_key(|handler| handler.steps.iter().any(|step| step.effect == Effect::Reboots));
        for handler in handlers {
            let reboots = handler.steps.iter().any(|step| step.effect == Effect::Reboots);
            let mut work = Work {
                number: 0,
                addr: handler.id.on(host),
                action: Action::Run,
                steps: handler.steps.clone(),
                marks: Vec::new(),
                settles: (!reboots).then(|| handler.id.clone()),
                errors: Errors::WithOutput,
                guard: None,
            };
            let mut ended = Ok(String::new());
            if reboots {
                ended = self.reboot(host, work.clone()).await.map(|()| String::new());
                work.steps.clear();
                work.settles = Some(handler.id.clone());
            }
            if ended.is_ok() {
                let report = self.apply(host, vec![work.clone()], &Reading::default()).await;
                ended = match report.failure.clone() {
                    Some(failure) if work.steps.is_empty() => Err(self.lose(host, failure)),
                    _ => self.ended(&report, Some(&work), None),
                };
            }
            if let Status::Blocks(because) = self.conclude_handler(&handler.id.on(host), ended) {
                return Finished { vertices: vec![(id, Status::Blocks(because))] };
            }
        }
        Finished { vertices: vec![(id, Status::Done)] }
    }

    /// Does a segment: one script, and the reading of what it changed, in one exchange.
    async fn run_segment(&self, host: &'a HostName, vertices: Vec<VertexId>) -> Finished {
        let mut works: Vec<Work> = Vec::new();
        let mut parts: Vec<(VertexId, Part<'a>)> = Vec::new();
        let mut about_to: BTreeSet<ResourceId> = BTreeSet::new();
        let mut verify = Reading::default();
        for id in &vertices {
            match self.request.order.dag.get(*id) {
                Some(Vertex::Resource { host, at }) => {
                    let Some(observed) = self.request.observed.get(host) else { continue };
                    let (Some(entry), Some(bound)) = (observed.plan.entries.get(*at), observed.bounds.get(*at)) else {
                        continue;
                    };
                    let Some(change) = entry.change() else {
                        parts.push((*id, Part::Settled(entry)));
                        continue;
                    };
                    about_to.insert(entry.id.clone());
                    ask_again(bound, change, &mut verify);
                    parts.push((*id, Part::Resource { work: works.len(), entry, bound, change }));
                    works.push(work_of(works.len(), entry, host, change));
                }
                Some(Vertex::Handlers { host, play }) => {
                    let handlers = self.handlers(host, *play, &about_to);
                    parts.push((*id, Part::Handlers { first: works.len(), handlers: handlers.clone() }));
                    for handler in handlers {
                        works.push(Work {
                            number: works.len(),
                            addr: handler.id.on(host),
                            action: Action::Run,
                            steps: handler.steps.clone(),
                            marks: Vec::new(),
                            settles: Some(handler.id.clone()),
                            errors: Errors::WithOutput,
                            guard: None,
                        });
                    }
                }
                _ => {}
            }
        }
        let report = self.apply(host, works.clone(), &verify).await;
        let mut finished = Vec::new();
        let mut blocked: Option<String> = None;
        for (id, part) in parts {
            let status = match (&blocked, part) {
                (Some(because), Part::Settled(entry)) => {
                    self.outcome(&entry.id.on(host), Outcome::Skipped { because: because.clone() }, String::new());
                    Status::Blocks(because.clone())
                }
                (None, Part::Settled(entry)) => {
                    self.settled(host, entry);
                    Status::Done
                }
                (_, Part::Resource { work, entry, bound, change }) => {
                    let ended = self.ended(&report, works.get(work), blocked.as_deref());
                    let ended = self.kept(host, &report, change, ended);
                    let ended = match ended {
                        Ok(output) => self.verified(bound, change, &report.answers).map(|()| output),
                        Err(other) => Err(other),
                    };
                    self.conclude(host, entry, ended)
                }
                (_, Part::Handlers { first, handlers }) => {
                    let mut status = blocked.clone().map_or(Status::Done, Status::Blocks);
                    for (at, handler) in handlers.iter().enumerate() {
                        let ended = self.ended(&report, works.get(first + at), blocked.as_deref());
                        status = self.conclude_handler(&handler.id.on(host), ended);
                        if let Status::Blocks(because) = &status {
                            blocked = Some(because.clone());
                        }
                    }
                    status
                }
            };
            if let Status::Blocks(because) = &status {
                blocked.get_or_insert_with(|| because.clone());
            }
            finished.push((id, status));
        }
        Finished { vertices: finished }
    }

    /// Does a resource that cannot share a script: its steps need each other's output or another host, the host reboots,
    /// or only now can be told what is to be done.
    async fn run_alone(&self, id: VertexId, host: &'a HostName, at: usize) -> Finished {
        let done = |status| Finished { vertices: vec![(id, status)] };
        let Some(observed) = self.request.observed.get(host) else { return done(Status::Done) };
        let (Some(entry), Some(bound)) = (observed.plan.entries.get(at), observed.bounds.get(at)) else {
            return done(Status::Done);
        };
        if let Decision::Change(change) = &entry.decision {
            let ended = self.apply_change(host, entry, bound, change).await;
            return done(self.conclude(host, entry, ended));
        }
        // Known only now: bind again with what the earlier tasks printed, read, decide, and do it.
        let Some(input) = self.request.inputs.get(host) else { return done(Status::Done) };
        let registered = self.registered.borrow().get(host).cloned().unwrap_or_else(|| json!({}));
        let known = Known { facts: Some(&observed.facts), registered: Some(&registered) };
        let mut problems = Diagnostics::default();
        let again = self.request.binder.bind_again(input, bound, known, &mut problems);
        if let Some(problem) = problems.iter().find(|p| p.severity == crate::diag::Severity::Error) {
            let failed = Ended::failed(problem.message.clone(), problem.help.clone());
            return done(self.conclude(host, entry, Err(failed)));
        }
        let Some(again) = again else { return done(Status::Done) };
        if !matches!(again.state, BoundState::Ready { .. }) {
            self.outcome(&again.id.on(host), Outcome::Unchanged, String::new());
            return done(Status::Done);
        }
        let mut reading = Reading::default();
        plan::questions(std::slice::from_ref(&again)).into_iter().for_each(|query| reading.ask(query));
        let report = self.job(host, HostJob::Read { questions: script::questions(&reading), lock: None }, &[]).await;
        if let Some(failure) = report.failure {
            return done(self.conclude(host, entry, Err(self.lose(host, failure))));
        }
        let late = Entry { id: again.id.clone(), ..entry.clone() };
        let status = match plan::decide_one(&again, &report.answers, self.request.vault).0 {
            Decision::Change(change) if change.is_no_op() => {
                self.settled(host, &late);
                Status::Done
            }
            Decision::Change(change) => {
                let ended = self.apply_change(host, &late, &again, &change).await;
                self.conclude(host, &late, ended)
            }
            Decision::Failed { error, hint } => self.conclude(host, &late, Err(Ended::failed(error, hint))),
            Decision::Skipped { .. } | Decision::KnownAfterApply { .. } => {
                self.settled(host, &late);
                Status::Done
            }
        };
        done(status)
    }

    /// Does one change by itself, step by step where its steps ask for it, and reads it again.
    async fn apply_change(
        &self,
        host: &HostName,
        entry: &Entry,
        bound: &Bound,
        change: &Change,
    ) -> Result<String, Ended> {
        let mut verify = Reading::default();
        ask_again(bound, change, &mut verify);
        if change.steps.iter().all(is_simple_step) {
            let work = work_of(0, entry, host, change);
            let report = self.apply(host, vec![work.clone()], &verify).await;
            let ended = self.ended(&report, Some(&work), None);
            let output = self.kept(host, &report, change, ended)?;
            return self.verified(bound, change, &report.answers).map(|()| output);
        }
        let mut outputs: Vec<Bytes> = Vec::new();
        for (at, step) in change.steps.iter().enumerate() {
            let mut step = step.clone();
            if let StepPayload::OutputOf(earlier) = step.payload {
                let bytes = outputs.get(earlier).map(|output| output.0.clone()).unwrap_or_default();
                step = step.with_bytes(bytes);
            }
            let reboots = step.effect == Effect::Reboots;
            let there = step.on.take().unwrap_or_else(|| host.clone());
            let is_last = at + 1 == change.steps.len();
            let feeds = change.steps.iter().any(|later| later.payload == StepPayload::OutputOf(at));
            let work = Work {
                steps: vec![step],
                marks: if is_last { entry.notify.clone() } else { Vec::new() },
                errors: if feeds { Errors::Apart } else { Errors::WithOutput },
                ..work_of(0, entry, host, change)
            };
            if reboots {
                self.reboot(host, work).await?;
                outputs.push(Bytes::default());
                continue;
            }
            let questions = if is_last { verify.clone() } else { Reading::default() };
            let report = self.apply(&there, vec![work.clone()], &questions).await;
            let output = self.ended(&report, Some(&work), None)?;
            if is_last {
                return self.verified(bound, change, &report.answers).map(|()| output);
            }
            outputs.push(Bytes(
                report.ends.get(&0).and_then(|ends| ends.first()).map(|end| end.1.0.clone()).unwrap_or_default(),
            ));
        }
        Ok(String::new())
    }

    /// Reboots a host and waits until it is back, which only another boot id proves.
    async fn reboot(&self, host: &HostName, work: Work) -> Result<(), Ended> {
        let script = Script::constant("cat /proc/sys/kernel/random/boot_id");
        let before = self.job(host, HostJob::Run { script }, &[]).await;
        if let Some(failure) = before.failure {
            return Err(self.lose(host, failure));
        }
        let boot_id = before.stdout.trim().to_owned();
        let report = self.apply(host, vec![work.clone()], &Reading::default()).await;
        // The connection may end before the step's end is told; only a step that says it failed is a failure.
        if let Some((status, output)) = report.ends.get(&0).and_then(|ends| ends.last())
            && *status != 0
        {
            return Err(Ended::step_failed(work.steps.first(), *status, self.text_of(output, &report.stderr)));
        }
        self.lost.borrow_mut().remove(host);
        let seconds = work.steps.iter().filter_map(|step| step.seconds).max().map_or(REBOOT_SECONDS, u64::from);
        let job = HostJob::AwaitReboot { boot_id, seconds, lock: self.request.lock.clone() };
        let back = self.job(host, job, &[]).await;
        match back.failure {
            Some(failure) => Err(self.lose(host, failure)),
            None if back.status != 0 => {
                let error = format!("{host} answers, but has not rebooted within {seconds} s: its boot id is the same");
                Err(Ended::failed(error, Some("look at its console, and at what inhibits a shutdown".to_owned())))
            }
            None => Ok(()),
        }
    }

    /// Writes the intents, does the works, and writes nothing of what came of them: that is for who knows better.
    async fn apply(&self, host: &HostName, works: Vec<Work>, verify: &Reading) -> Report {
        let intents: Vec<journal::Entry> = works
            .iter()
            .map(|work| journal::Entry::Intent {
                at: journal::now(),
                addr: work.addr.clone(),
                action: work.action,
                steps: work.steps.iter().map(|step| step.title.clone()).collect(),
            })
            .collect();
        if let Err(error) = self.journal.borrow_mut().add_durably(&intents) {
            let failure =
                HostFailure { error: super::executor::with_causes(&error), hint: None, reach: Reach::Reached };
            self.journal_error.borrow_mut().get_or_insert(error);
            return Report { failure: Some(failure), ..Report::default() };
        }
        if works.is_empty() && verify.is_empty() {
            return Report::default();
        }
        let run = self.request.run.clone();
        let guarded: Vec<ResourceAddr> =
            works.iter().filter(|work| work.guard.is_some()).map(|work| work.addr.clone()).collect();
        let window = Window { seconds: self.request.confirm_seconds, lock: self.request.lock.clone() };
        let window = (!guarded.is_empty()).then_some(window);
        let job = HostJob::Apply { run, works: works.clone(), verify: script::questions(verify), window };
        let report = self.job(host, job, &works).await;
        if !guarded.is_empty() {
            let end = report.window.unwrap_or(WindowEnd::Closed);
            let seconds = self.request.confirm_seconds;
            let entry = journal::Entry::Window {
                at: journal::now(),
                host: host.clone(),
                addrs: guarded,
                seconds,
                end: end.into(),
            };
            if let Err(error) = self.journal.borrow_mut().add_durably(&[entry]) {
                self.journal_error.borrow_mut().get_or_insert(error);
            }
        }
        report
    }

    /// Returns how a work ended, once it is known whether the host has kept it.
    fn kept(
        &self,
        host: &HostName,
        report: &Report,
        change: &Change,
        ended: Result<String, Ended>,
    ) -> Result<String, Ended> {
        let (Some(end), true) = (report.window, change.guard.is_some()) else { return ended };
        match end {
            WindowEnd::Confirmed => ended,
            WindowEnd::Closed => Err(Ended::failed(
                format!("the confirm window could not be opened, so nothing was changed: {}", report.stderr.trim()),
                None,
            )),
            // What failed by itself says so; that it was taken back as well is in the journal.
            WindowEnd::RolledBack if matches!(&ended, Err(ended) if ended.kind == EndedKind::Failed && report.failure.is_none()) => ended,
            WindowEnd::RolledBack => Err(Ended {
                kind: EndedKind::RolledBack,
                error: format!(
                    "no new login to {host} confirmed it within {} s, so the host has gone back to what it was",
                    self.request.confirm_seconds
                ),
                hint: Some("what it would have cut off is the way that this tool takes: look at the flows, or at what it changes".to_owned()),
                output: String::new(),
            }),
            WindowEnd::Unproven => Err(Ended {
                kind: EndedKind::Unproven,
                error: format!("nobody confirmed it, and {host} does not say that it has gone back"),
                hint: Some("look at its console; `/var/lib/provision/window` says how far it came".to_owned()),
                output: String::new(),
            }),
        }
    }

    async fn job(&self, host: &HostName, job: HostJob, works: &[Work]) -> Report {
        let mut report = Report::default();
        let listener = self.request.listener;
        let last = self.request.fleet.call(host, job, |message| match message {
            HostMessage::StepStarted { work, step } => {
                report.begun = Some(*work);
                let Some(work) = works.get(*work) else { return };
                if *step == 0 {
                    listener(Event::Started { addr: work.addr.clone(), action: work.action });
                }
                let title = work.steps.get(*step).map(|step| step.title.clone()).unwrap_or_default();
                listener(Event::Step { addr: work.addr.clone(), title });
            }
            HostMessage::StepEnded { work, status, output, .. } => {
                report.ends.entry(*work).or_default().push((*status, output.clone()));
            }
            _ => {}
        });
        match last.await {
            HostMessage::Done { answers, stderr, status, output, window, .. } => {
                report.window = window;
                report.answers = answers;
                report.stderr = stderr;
                report.status = status;
                report.stdout = String::from_utf8_lossy(&output.0).into_owned();
            }
            HostMessage::Failed { error, hint, reach } => report.failure = Some(HostFailure { error, hint, reach }),
            HostMessage::Held { by } => {
                let error = format!("{host} is being changed by another run: {by}");
                report.failure = Some(HostFailure { error, hint: None, reach: Reach::Reached });
            }
            other => {
                let error = format!("{host} ended its job with {other:?}");
                report.failure = Some(HostFailure { error, hint: None, reach: Reach::Reached });
            }
        }
        report
    }

    /// Notes that a host was lost, and returns what that means for the resource at hand.
    fn lose(&self, host: &HostName, failure: HostFailure) -> Ended {
        let ended = Ended::failed(failure.error.clone(), failure.hint.clone());
        let mut lost = self.lost.borrow_mut();
        if !lost.contains_key(host) {
            (self.request.listener)(Event::HostFailed {
                host: host.clone(),
                error: failure.error.clone(),
                hint: failure.hint.clone(),
                reach: failure.reach,
            });
            lost.insert(host.clone(), failure);
        }
        ended
    }

    /// Returns what a work printed if all its steps are done, and otherwise how it ended.
    fn ended(&self, report: &Report, work: Option<&Work>, blocked: Option<&str>) -> Result<String, Ended> {
        let Some(work) = work else { return Ok(String::new()) };
        let ends = report.ends.get(&work.number).map(Vec::as_slice).unwrap_or_default();
        if let Some(at) = ends.iter().position(|(status, _)| *status != 0) {
            let (status, output) = ends.get(at).cloned().unwrap_or_default();
            return Err(Ended::step_failed(work.steps.get(at), status, self.text_of(&output, &report.stderr)));
        }
        if ends.len() == work.steps.len() {
            let all: Vec<String> = ends.iter().map(|(_, output)| self.text_of(output, "")).collect();
            return Ok(all.concat());
        }
        if let Some(failure) = &report.failure {
            let lost = self.lose(&work.addr.host, failure.clone());
            if report.begun == Some(work.number) {
                let title = work.steps.get(ends.len()).map(|step| step.title.clone()).unwrap_or_default();
                let error = format!("the connection was lost while it was to {title}: {}", lost.error);
                let hint = "it may be done in part; the next run reads the host again and does what is left";
                return Err(Ended::failed(error, Some(hint.to_owned())));
            }
            return Err(Ended { kind: EndedKind::NotStarted, error: format!("{} was lost", work.addr.host), ..lost });
        }
        let because = blocked.unwrap_or("an earlier step failed").to_owned();
        Err(Ended { kind: EndedKind::Skipped, error: because, hint: None, output: String::new() })
    }

    fn text_of(&self, output: &Bytes, stderr: &str) -> String {
        let mut text = String::from_utf8_lossy(&output.0).into_owned();
        if !stderr.trim().is_empty() {
            text.push_str(stderr);
        }
        self.request.vault.mask(&text).into_owned()
    }

    /// Returns an error if what was read after a change is not what was wanted.
    fn verified(&self, bound: &Bound, change: &Change, answers: &Answers) -> Result<(), Ended> {
        if change.action == Action::Run {
            return Ok(());
        }
        let hint = "does another task, or a service on the host, change it back?".to_owned();
        match plan::decide_one(bound, answers, self.request.vault).0 {
            Decision::Change(left) if left.is_no_op() => Ok(()),
            Decision::Change(left) => {
                let names: Vec<&str> = left.attributes.iter().map(|a| a.name.as_str()).collect();
                let what = if names.is_empty() { left.reason.clone() } else { names.join(", ") };
                Err(Ended::failed(format!("after the change it is still not as wanted: {what}"), Some(hint)))
            }
            Decision::Failed { error, hint } => Err(Ended::failed(error, hint)),
            Decision::Skipped { .. } | Decision::KnownAfterApply { .. } => Ok(()),
        }
    }

    fn settled(&self, host: &HostName, entry: &Entry) {
        self.register(host, entry, String::new(), false);
        self.outcome(&entry.id.on(host), Outcome::Unchanged, String::new());
    }

    fn register(&self, host: &HostName, entry: &Entry, output: String, is_changed: bool) {
        let Some(name) = &entry.register else { return };
        let mut registered = self.registered.borrow_mut();
        let known = registered.entry(host.clone()).or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            let stdout = output.strip_suffix('\n').unwrap_or(&output);
            let lines: Vec<&str> = stdout.lines().collect();
            known.insert(name.clone(), json!({"stdout": stdout, "lines": lines, "changed": is_changed}));
        }
    }

    /// Records how a resource ended.
    fn conclude(&self, host: &HostName, entry: &Entry, ended: Result<String, Ended>) -> Status {
        let addr = entry.id.on(host);
        match ended {
            Ok(output) => {
                self.changed.borrow_mut().insert(addr.clone());
                self.register(host, entry, output.clone(), true);
                self.outcome(&addr, Outcome::Changed, output);
                Status::Done
            }
            Err(ended) => {
                let status = match ended.kind {
                    EndedKind::Failed => self.after_failure(&addr, entry.on_failure),
                    EndedKind::RolledBack => Status::Blocks(format!("{addr} was rolled back")),
                    EndedKind::Unproven => Status::Blocks(format!("{addr} was not confirmed")),
                    EndedKind::Skipped | EndedKind::NotStarted => Status::Blocks(ended.error.clone()),
                };
                let output = ended.output.clone();
                self.outcome(&addr, ended.into(), output);
                status
            }
        }
    }

    /// Records how a refresh ended; it is told under the name of the resource that is refreshed.
    fn conclude_handler(&self, addr: &ResourceAddr, ended: Result<String, Ended>) -> Status {
        match ended {
            Ok(output) => {
                let failed = matches!(self.outcomes.borrow().get(addr), Some(Outcome::Failed { .. }));
                if !failed {
                    self.outcome(addr, Outcome::Changed, output);
                }
                Status::Done
            }
            Err(ended) => {
                let because = match ended.kind {
                    EndedKind::Failed => format!("{addr} failed"),
                    _ => ended.error.clone(),
                };
                // A refresh that was not tried stays marked on the host; the resource itself ended as it did.
                if ended.kind == EndedKind::Failed || !self.outcomes.borrow().contains_key(addr) {
                    let output = ended.output.clone();
                    self.outcome(addr, ended.into(), output);
                }
                Status::Blocks(because)
            }
        }
    }

    fn outcome(&self, addr: &ResourceAddr, outcome: Outcome, output: String) {
        if outcome != Outcome::Unchanged {
            let done = journal::Entry::Done { at: journal::now(), addr: addr.clone(), outcome: outcome.clone() };
            if let Err(error) = self.journal.borrow_mut().add(&[done]) {
                self.journal_error.borrow_mut().get_or_insert(error);
            }
        }
        // Two tasks may speak of one resource, where their conditions exclude each other: the one that applied counts.
        if outcome != Outcome::Unchanged || !self.outcomes.borrow().contains_key(addr) {
            self.outcomes.borrow_mut().insert(addr.clone(), outcome.clone());
        }
        (self.request.listener)(Event::Finished { addr: addr.clone(), outcome, output });
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

    /// Looks whether a batch of a rolling play is well enough to begin the next.
    async fn gate(&self, id: VertexId, play_at: usize, batch: usize) -> Finished {
        let done = |status| Finished { vertices: vec![(id, status)] };
        let Some(play) = self.request.playbook.plays.get(play_at) else { return done(Status::Done) };
        let Some(rolling) = &play.rolling else { return done(Status::Done) };
        let hosts = self.request.order.batches.get(&(play_at, batch)).map(Vec::as_slice).unwrap_or_default();
        let failures: Vec<String> = self
            .request
            .order
            .dag
            .before(id)
            .filter_map(|before| match self.status(before) {
                Status::Blocks(because) => Some(because),
                _ => None,
            })
            .collect();
        let failed_before = self.gate_failures.borrow().get(&play_at).copied().unwrap_or(0);
        let failed = failed_before + failures.len();
        self.gate_failures.borrow_mut().insert(play_at, failed);
        if failed > rolling.max_failures
            && let Some(because) = failures.first()
        {
            return done(Status::Blocks(because.clone()));
        }
        // A batch in which nothing changed is as well as it was before.
        let changed: Vec<&HostName> = hosts.iter().filter(|host| self.changed_in(host, play_at)).collect();
        if rolling.health.is_empty() || changed.is_empty() {
            return done(Status::Done);
        }
        let gate =
            |healthy, detail: String| Event::Gate { play: play.name.value.clone(), batch: batch + 1, healthy, detail };
        (self.request.listener)(gate(None, String::new()));
        for host in changed {
            if let Err(error) = self.is_healthy(host, play_at).await {
                (self.request.listener)(gate(Some(false), format!("{host}: {error}")));
                return done(Status::Blocks(format!(
                    "batch {} of `{}` is not well: {host}: {error}",
                    batch + 1,
                    play.name
                )));
            }
        }
        (self.request.listener)(gate(Some(true), String::new()));
        done(Status::Done)
    }

    fn changed_in(&self, host: &HostName, play: usize) -> bool {
        let Some(observed) = self.request.observed.get(host) else { return false };
        let changed = self.changed.borrow();
        let handled = observed.plan.handlers.get(&play).is_some_and(|h| h.iter().any(|h| h.is_pending));
        handled || observed.plan.entries.iter().any(|e| e.play == play && changed.contains(&e.id.on(host)))
    }

    async fn is_healthy(&self, host: &HostName, play: usize) -> Result<(), String> {
        let (Some(input), Some(observed)) = (self.request.inputs.get(host), self.request.observed.get(host)) else {
            return Ok(());
        };
        let registered = json!({});
        let known = Known { facts: Some(&observed.facts), registered: Some(&registered) };
        let checks = self.request.binder.bind_health(input, play, known)?;
        for bound in checks {
            let mut reading = Reading::default();
            plan::questions(std::slice::from_ref(&bound)).into_iter().for_each(|query| reading.ask(query));
            let report =
                self.job(host, HostJob::Read { questions: script::questions(&reading), lock: None }, &[]).await;
            if let Some(failure) = report.failure {
                return Err(failure.error);
            }
            let change = match plan::decide_one(&bound, &report.answers, self.request.vault).0 {
                Decision::Change(change) => change,
                Decision::Failed { error, .. } => return Err(error),
                _ => continue,
            };
            if change.is_no_op() {
                continue;
            }
            let work = Work {
                number: 0,
                addr: bound.id.on(host),
                action: change.action,
                steps: change.steps.clone(),
                marks: Vec::new(),
                settles: None,
                errors: Errors::WithOutput,
                guard: None,
            };
            let report = self.apply(host, vec![work.clone()], &Reading::default()).await;
            self.ended(&report, Some(&work), None)
                .map_err(|ended| format!("{}\n{}", ended.error, ended.output).trim().to_owned())?;
        }
        Ok(())
    }
}

impl From<WindowEnd> for journal::WindowEnd {
    fn from(end: WindowEnd) -> Self {
        match end {
            WindowEnd::Confirmed => Self::Confirmed,
            WindowEnd::Closed => Self::Closed,
            WindowEnd::RolledBack => Self::RolledBack,
            WindowEnd::Unproven => Self::Unproven,
        }
    }
}

enum Begun<'s> {
    Finished(Status),
    Running(LocalBoxFuture<'s, Finished>),
}

/// What a vertex is in a segment.
enum Part<'a> {
    Settled(&'a Entry),
    Resource { work: usize, entry: &'a Entry, bound: &'a Bound, change: &'a Change },
    Handlers { first: usize, handlers: Vec<&'a Handler> },
}

/// How a work that is not done ended.
struct Ended {
    kind: EndedKind,
    error: String,
    hint: Option<String>,
    output: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EndedKind {
    Failed,
    Skipped,
    NotStarted,
    /// The host has taken it back.
    RolledBack,
    /// Nobody knows whether it has.
    Unproven,
}

impl Ended {
    fn failed(error: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind: EndedKind::Failed, error: error.into(), hint, output: String::new() }
    }

    fn step_failed(step: Option<&Step>, status: i32, output: String) -> Self {
        let title = step.map_or("a step", |step| step.title.as_str());
        let said = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
        let error = if said.is_empty() {
            format!("{title}: exit status {status}")
        } else {
            format!("{title}: {said} (exit status {status})")
        };
        let hint = match () {
            () if output.contains("No space left on device") => Some("make room on that file system, then run again"),
            () if output.contains("Read-only file system") => {
                Some("the file system is mounted read-only: look at the host's disk and its mounts")
            }
            () if status == 127 => Some("the host does not have that program: install the package that brings it"),
            () => None,
        };
        Self { kind: EndedKind::Failed, error, hint: hint.map(str::to_owned), output }
    }
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        match ended.kind {
            EndedKind::Failed => Outcome::Failed { error: ended.error, hint: ended.hint },
            EndedKind::Skipped => Outcome::Skipped { because: ended.error },
            EndedKind::NotStarted => Outcome::NotStarted { because: ended.error },
            EndedKind::RolledBack => Outcome::RolledBack { because: ended.error, hint: ended.hint },
            EndedKind::Unproven => Outcome::Unproven { because: ended.error, hint: ended.hint },
        }
    }
}

fn is_simple_step(step: &Step) -> bool {
    step.on.is_none() && step.effect != Effect::Reboots && !matches!(step.payload, StepPayload::OutputOf(_))
}

fn work_of(number: usize, entry: &Entry, host: &HostName, change: &Change) -> Work {
    Work {
        number,
        addr: entry.id.on(host),
        action: change.action,
        steps: change.steps.clone(),
        marks: entry.notify.clone(),
        settles: None,
        errors: if entry.register.is_some() { Errors::Apart } else { Errors::WithOutput },
        guard: change.guard.clone(),
    }
}

/// Asks what must be read after a change to see that it is as wanted. What only ran has nothing to be seen.
fn ask_again(bound: &Bound, change: &Change, verify: &mut Reading) {
    if change.action != Action::Run {
        plan::questions(std::slice::from_ref(bound)).into_iter().for_each(|query| verify.ask(query));
    }
}
