//! Observing: one exchange with each host, all hosts at once, and the decision from what they answered.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::oneshot;

use super::executor::Afterwards;
use super::job::{HostJob, HostMessage, Lock};
use super::{Fleet, HostFailure, Listener, script};
use crate::addr::{HostName, ResourceId};
use crate::change::{Action, Change};
use crate::diag::{Diagnostics, Sources};
use crate::event::{Event, Reach};
use crate::plan::bind::{Binder, Bound, BoundState, HostInput, Known};
use crate::plan::{self, HostPlan};
use crate::resource::fact;
use crate::resource::read::{Answers, Query, Reading};

/// What is to be observed.
pub struct ObserveRequest<'a> {
    /// The executors.
    pub fleet: &'a Fleet,
    /// What binds tasks to hosts.
    pub binder: &'a Binder<'a>,
    /// Where the tasks stand.
    pub sources: &'a Sources,
    /// The hosts.
    pub hosts: &'a [HostInput],
    /// The tasks of each host, as far as they could be bound without facts.
    pub bounds: BTreeMap<HostName, Vec<Bound>>,
    /// Groups of facts to read beside those that the playbook speaks of.
    pub facts: BTreeSet<String>,
    /// Who takes the hosts' locks, for a run that will change them.
    pub lock: Option<Lock>,
    /// Whether the hosts are needed again.
    pub purpose: Purpose,
    /// How long to try to reach a host, in seconds, where it is only being brought up.
    pub patience: Option<u64>,
    /// Who is told.
    pub listener: &'a Listener<'a>,
}

/// What the hosts are observed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be shown: a session ends with its reading, and of a host only its plan is kept, so that the memory that a
    /// plan takes does not grow with the number of open connections.
    Plan,
    /// To be changed next, over the same sessions.
    Apply,
}

/// A host that was observed.
#[derive(Debug)]
pub struct ObservedHost {
    /// What would happen.
    pub plan: HostPlan,
    /// Its tasks, bound with its facts; none where it was observed for its plan alone.
    pub bounds: Vec<Bound>,
    /// Its facts; null where it was observed for its plan alone.
    pub facts: Value,
}

impl ObserveRequest<'_> {
    /// Observes all hosts. What is wrong with the playbook and shows only with a host's facts is added to `problems`.
    pub async fn run(
        mut self,
        problems: &mut Diagnostics,
    ) -> (BTreeMap<HostName, ObservedHost>, BTreeMap<HostName, HostFailure>) {
        let mut bounds = std::mem::take(&mut self.bounds);
        let found = RefCell::new(Diagnostics::default());
        let mut groups: BTreeSet<String> = self.binder.facts_used();
        groups.extend(self.facts.iter().cloned());
        let (this, groups, found_by_all) = (&self, &groups, &found);
        let mut guests: Vec<(&HostInput, oneshot::Sender<HostFailure>)> = Vec::new();
        let mut waiting: FuturesUnordered<_> = self
            .hosts
            .iter()
            .map(|host| {
                let own = bounds.remove(&host.name).unwrap_or_default();
                let (tell, told) = oneshot::channel();
                if host.provided_by.is_some() {
                    guests.push((host, tell));
                }
                async move {
                    let observing = std::pin::pin!(this.observe(host, own, groups, found_by_all));
                    let result = match select(observing, told).await {
                        Either::Left((result, _)) => result,
                        Either::Right((Ok(failure), _)) => Err(failure),
                        Either::Right((Err(_), observing)) => observing.await,
                    };
                    (host.name.clone(), result)
                }
            })
            .collect();
        let (mut observed, mut failed) = (BTreeMap::new(), BTreeMap::new());
        while let Some((host, result)) = waiting.next().await {
            match result {
                Ok(state) => {
                    // A guest that this host is still to bring need not be tried until its address times out.
                    for (guest, tell) in guests.extract_if(.., |(guest, _)| is_missing(guest, &host, &state)) {
                        let error = format!("{} is not there yet", guest.name);
                        tell.send(HostFailure { error, hint: None, reach: Reach::Unreachable }).ok();
                    }
                    observed.insert(host, state);
                }
                Err(failure) => {
                    failed.insert(host.clone(), failure);
                    // Whether it is only not there yet, what brings it will tell.
                    if !self.hosts.iter().any(|input| input.name == host && input.provided_by.is_some()) {
                        self.tell_failed(&host, &failed);
                    }
                }
            }
        }
        drop(waiting);
        for input in self.hosts.iter().filter(|input| input.provided_by.is_some()) {
            match self.awaited(input, &observed, &failed) {
                Some(awaited) => {
                    failed.remove(&input.name);
                    observed.insert(input.name.clone(), awaited);
                }
                None => self.tell_failed(&input.name, &failed),
            }
        }
        problems.extend(found.into_inner());
        (observed, failed)
    }

    fn tell_failed(&self, host: &HostName, failed: &BTreeMap<HostName, HostFailure>) {
        let Some(HostFailure { error, hint, reach }) = failed.get(host) else { return };
        let (error, hint, reach) = (error.clone(), hint.clone(), *reach);
        (self.listener)(Event::HostFailed { host: host.clone(), error, hint, reach });
    }

    /// Returns what is known of a host that cannot be reached because what brings it is still to be done.
    fn awaited(
        &self,
        host: &HostInput,
        observed: &BTreeMap<HostName, ObservedHost>,
        failed: &BTreeMap<HostName, HostFailure>,
    ) -> Option<ObservedHost> {
        let by = host.provided_by.as_ref()?;
        let is_away = failed.get(&host.name)?.reach == Reach::Unreachable;
        // What brings it may be a guest itself, and not be there either.
        let is_brought = observed
            .get(&by.host)
            .is_some_and(|machine| machine.plan.entries.iter().any(|entry| entry.id == by.id && entry.is_pending()));
        if !is_away || !is_brought {
            return None;
        }
        let bounds = self.binder.bind(host, Known::default(), &mut Diagnostics::default());
        let plan = plan::await_host(&host.name, by, &bounds, self.sources, self.binder.vault());
        Some(ObservedHost { plan, bounds, facts: Value::Null })
    }

    /// Observes one host.
    ///
    /// # Errors
    /// The text says why it takes no part.
    pub(super) async fn observe(
        &self,
        host: &HostInput,
        mut bounds: Vec<Bound>,
        groups: &BTreeSet<String>,
        found: &RefCell<Diagnostics>,
    ) -> Result<ObservedHost, HostFailure> {
        let names: BTreeSet<&str> = groups.iter().map(String::as_str).collect();
        let mut asked = Reading::default();
        for query in fact::queries(&names) {
            asked.ask(query);
        }
        ask_all(&mut asked, plan::questions(&bounds));
        let may_read_again = bounds.iter().any(waits_for_facts);
        let (mut answers, pending) = self.read(&host.name, &asked, self.lock.clone(), may_read_again).await?;
        let facts = fact::parse(&names, &answers).map_err(|error| HostFailure {
            error: error.to_string(),
            hint: error.hint(),
            reach: Reach::Reached,
        })?;
        if may_read_again {
            let mut problems = Diagnostics::default();
            let known = Known { facts: Some(&facts), registered: None };
            bounds = self.binder.bind(host, known, &mut problems);
            let is_wrong = problems.has_errors();
            found.borrow_mut().extend(problems);
            if is_wrong {
                let error = "the playbook cannot be applied to it with the facts that it has".to_owned();
                return Err(HostFailure { error, hint: None, reach: Reach::Reached });
            }
            let further = plan::further_questions(&bounds, &asked);
            if !further.is_empty() {
                let (more, _) = self.read(&host.name, &further, None, false).await?;
                answers.merge(more);
            }
        }
        let plan = plan::decide(&host.name, &bounds, &answers, &pending, self.sources, self.binder.vault());
        Ok(match self.purpose {
            Purpose::Plan => ObservedHost { plan, bounds: Vec::new(), facts: Value::Null },
            Purpose::Apply => ObservedHost { plan, bounds, facts },
        })
    }

    async fn read(
        &self,
        host: &HostName,
        reading: &Reading,
        lock: Option<Lock>,
        may_read_again: bool,
    ) -> Result<(Answers, BTreeSet<ResourceId>), HostFailure> {
        let job = HostJob::Read { questions: script::questions(reading), lock, patience: self.patience };
        let is_last = self.purpose == Purpose::Plan && !may_read_again;
        let afterwards = if is_last { Afterwards::Close } else { Afterwards::Keep };
        let last = self.fleet.order(host, job, afterwards, |message| {
            if matches!(message, HostMessage::Connecting) {
                (self.listener)(Event::Connecting { host: host.clone() });
            }
        });
        match last.await {
            HostMessage::Done { answers, pending, cost, .. } => {
                (self.listener)(Event::Observed { host: host.clone(), resources: reading.len(), cost });
                Ok((answers, pending.into_iter().collect()))
            }
            HostMessage::Held { by } => Err(HostFailure {
                error: format!("{host} is being changed by another run: {by}"),
                hint: Some("wait until it is done; the lock of a run that died frees itself".to_owned()),
                reach: Reach::Reached,
            }),
            HostMessage::Failed { error, hint, reach } => Err(HostFailure { error, hint, reach }),
            other => Err(HostFailure {
                error: format!("{host} ended its job with {other:?}"),
                hint: None,
                reach: Reach::Reached,
            }),
        }
    }
}

/// Returns whether what brings `guest` is to be made on `host` first.
fn is_missing(guest: &HostInput, host: &HostName, state: &ObservedHost) -> bool {
    let Some(by) = guest.provided_by.as_ref().filter(|by| by.host == *host) else { return false };
    let is_made = |change: &Change| change.action == Action::Create;
    state.plan.entries.iter().any(|entry| entry.id == by.id && entry.change().is_some_and(is_made))
}

fn ask_all(reading: &mut Reading, queries: Vec<Query>) {
    for query in queries {
        reading.ask(query);
    }
}

fn waits_for_facts(bound: &Bound) -> bool {
    match &bound.state {
        BoundState::WaitsForFacts => true,
        BoundState::Ready { content_waits, when_waits, .. } => *content_waits || *when_waits,
        _ => false,
    }
}
