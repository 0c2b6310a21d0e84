//! Segments: changes of one host that nothing else waits between, as one script; and the window that some of them need.

use std::collections::BTreeSet;

use super::super::job::{Errors, Work};
use super::{Dispatcher, Finished, Status};
use crate::addr::{HostName, ResourceId};
use crate::change::{Action, Change, Effect, Step, StepPayload};
use crate::event::Outcome;
use crate::graph::VertexId;
use crate::model::playbook::OnFailure;
use crate::plan::bind::Bound;
use crate::plan::order::Vertex;
use crate::plan::{self, Decision, Entry, Handler};
use crate::resource::read::Reading;

/// How many vertices a confirm window holds at the most: its time runs from the first.
const WINDOW_LIMIT: usize = 64;

/// The kinds whose changes only write to files of the host, and may stand between two that share a confirm window.
const BRIEF: [&str; 14] = [
    "authorized_key",
    "block",
    "directory",
    "file",
    "firewall",
    "group",
    "hostname",
    "hosts_entry",
    "link",
    "network.link",
    "sudoers",
    "sysctl",
    "timezone",
    "user",
];

/// The largest file that may travel within a confirm window, in bytes.
const BRIEF_SIZE: u64 = 1024 * 1024;

impl<'a> Dispatcher<'a> {
    /// Returns whether a resource's change can go into one script with its neighbours.
    pub(super) fn is_simple(&self, host: &HostName, at: usize) -> bool {
        self.entry(host, at).is_some_and(|entry| match &entry.decision {
            Decision::Change(change) => change.steps.iter().all(is_simple_step),
            _ => false,
        })
    }

    /// Returns the vertices of a host, from `first` on, that can go as one script: nothing else waits between them.
    ///
    /// What can cut the way to the host begins a script of its own, with a confirm window around it. All such changes of
    /// a host share a window as far as only brief ones stand between them: each window costs a login, and is short.
    pub(super) fn segment(&self, first: VertexId, host: &HostName) -> Vec<VertexId> {
        let chain = self.request.order.chains.get(host).map(Vec::as_slice).unwrap_or_default();
        let begin = chain.iter().position(|id| *id == first).unwrap_or(chain.len());
        let mut segment = vec![first];
        let mut may_go_on = !self.goes_on_after_failure(first);
        let is_in_window = self.is_guarded(first);
        // What a guarded change notifies is refreshed within its window, or nobody would have proved the refresh.
        let mut owes_refresh = is_in_window && self.notifies(first);
        let mut needed = segment.len();
        for id in chain.iter().skip(begin + 1) {
            let is_guarded = self.is_guarded(*id);
            let is_long = self.entry_of(*id).and_then(Entry::change).is_some_and(|change| !is_brief(change));
            let is_full = segment.len() >= WINDOW_LIMIT;
            if is_guarded && !is_in_window || is_in_window && !owes_refresh && (is_long && !is_guarded || is_full) {
                break;
            }
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
            let is_refresh = matches!(self.request.order.dag.get(*id), Some(Vertex::Handlers { .. }));
            if is_guarded || is_refresh && owes_refresh {
                needed = segment.len();
            }
            owes_refresh = (owes_refresh || is_guarded && self.notifies(*id)) && !is_refresh;
        }
        if is_in_window && !owes_refresh {
            // What comes after the last of them needs no window.
            segment.truncate(needed);
        }
        segment
    }

    /// Returns whether a vertex can cut the way to its host.
    pub(super) fn is_guarded(&self, id: VertexId) -> bool {
        self.entry_of(id).and_then(Entry::change).is_some_and(|change| change.guard.is_some())
    }

    pub(super) fn notifies(&self, id: VertexId) -> bool {
        self.entry_of(id).is_some_and(|entry| !entry.notify.is_empty())
    }

    pub(super) fn is_settled(&self, host: &HostName, at: usize) -> bool {
        self.entry(host, at).is_some_and(|entry| match &entry.decision {
            Decision::Skipped { .. } => true,
            Decision::Change(change) => change.is_no_op(),
            _ => false,
        })
    }

    /// Returns whether the host goes on after this vertex failed; then a script ends with it.
    pub(super) fn goes_on_after_failure(&self, id: VertexId) -> bool {
        match self.request.order.dag.get(id) {
            Some(Vertex::Resource { host, at }) => {
                self.entry(host, *at).is_some_and(|entry| entry.on_failure == OnFailure::GoOn)
            }
            _ => false,
        }
    }

    /// Returns what is refreshed at the end of a play, because of what changed or is about to.
    pub(super) fn handlers(&self, host: &HostName, play: usize, about_to: &BTreeSet<ResourceId>) -> Vec<&'a Handler> {
        let Some(observed) = self.observed(host) else { return Vec::new() };
        let changed = self.changed.borrow();
        let all = observed.plan.handlers.get(&play).map(Vec::as_slice).unwrap_or_default();
        all.iter()
            .filter(|handler| {
                handler.is_pending
                    || handler.because.iter().any(|id| about_to.contains(id) || changed.contains(&id.on(host)))
            })
            .collect()
    }

    pub(super) fn handlers_are_simple(&self, host: &HostName, play: usize) -> bool {
        let Some(observed) = self.observed(host) else { return true };
        let all = observed.plan.handlers.get(&play).map(Vec::as_slice).unwrap_or_default();
        // A host gets its work back only when what was refreshed before has been seen to hold.
        all.iter().all(|handler| !handler.is_resume && handler.steps.iter().all(is_simple_step))
    }

    /// Does a segment: one script, and the reading of what it changed, in one exchange.
    pub(super) async fn run_segment(&self, host: &'a HostName, vertices: Vec<VertexId>) -> Finished {
        let mut works: Vec<Work> = Vec::new();
        let mut parts: Vec<(VertexId, Part<'a>)> = Vec::new();
        let mut about_to: BTreeSet<ResourceId> = BTreeSet::new();
        let mut verify = Reading::default();
        for id in &vertices {
            match self.request.order.dag.get(*id) {
                Some(Vertex::Resource { host, at }) => {
                    let Some(observed) = self.observed(host) else { continue };
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

    /// Does the refreshes of a play one by one, because one of them ends the session or gives the host its work back: first
    /// what does neither, then the reboot, then the work.
    pub(super) async fn run_handlers(&self, id: VertexId, host: &'a HostName, play: usize) -> Finished {
        let mut handlers = self.handlers(host, play, &BTreeSet::new());
        let reboots = |handler: &Handler| handler.steps.iter().any(|step| step.effect == Effect::Reboots);
        handlers.sort_by_key(|handler| (handler.is_resume, reboots(handler)));
        for handler in handlers {
            let reboots = reboots(handler);
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
}

/// What a vertex is in a segment.
enum Part<'a> {
    Settled(&'a Entry),
    Resource { work: usize, entry: &'a Entry, bound: &'a Bound, change: &'a Change },
    Handlers { first: usize, handlers: Vec<&'a Handler> },
}

pub(super) fn is_simple_step(step: &Step) -> bool {
    step.on.is_none() && step.effect != Effect::Reboots && !matches!(step.payload, StepPayload::OutputOf(_))
}

pub(super) fn work_of(number: usize, entry: &Entry, host: &HostName, change: &Change) -> Work {
    Work {
        number,
        addr: entry.id.on(host),
        action: change.action,
        steps: change.steps.clone(),
        marks: entry.notify.clone(),
        settles: None,
        errors: if entry.register.is_some() { Errors::Apart } else { Errors::WithOutput },
        guard: change.guard.as_deref().cloned(),
    }
}

/// Asks what must be read after a change to see that it is as wanted. What only ran has nothing to be seen.
pub(super) fn ask_again(bound: &Bound, change: &Change, verify: &mut Reading) {
    if change.action != Action::Run {
        plan::questions(std::slice::from_ref(bound)).into_iter().for_each(|query| verify.ask(query));
    }
}

/// Returns whether a change is done in a moment.
fn is_brief(change: &Change) -> bool {
    let is_small = |step: &Step| match &step.payload {
        StepPayload::File { size, .. } => *size <= BRIEF_SIZE,
        _ => true,
    };
    BRIEF.contains(&change.id.kind.as_str()) && change.steps.iter().all(is_small)
}
