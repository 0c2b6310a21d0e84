//! Gates: whether a batch of a rolling play is well enough to begin the next.

use serde_json::json;

use super::super::job::{Errors, HostJob, Work};
use super::super::script;
use super::{Dispatcher, Finished, Status};
use crate::addr::HostName;
use crate::event::Event;
use crate::graph::VertexId;
use crate::plan::bind::Known;
use crate::plan::{self, Decision};
use crate::resource::read::Reading;

impl Dispatcher<'_> {
    /// Looks whether a batch of a rolling play is well enough to begin the next.
    pub(super) async fn gate(&self, id: VertexId, play_at: usize, batch: usize) -> Finished {
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

    pub(super) fn changed_in(&self, host: &HostName, play: usize) -> bool {
        let Some(observed) = self.observed(host) else { return false };
        let changed = self.changed.borrow();
        let handled = observed.plan.handlers.get(&play).is_some_and(|h| h.iter().any(|h| h.is_pending));
        handled || observed.plan.entries.iter().any(|e| e.play == play && changed.contains(&e.id.on(host)))
    }

    pub(super) async fn is_healthy(&self, host: &HostName, play: usize) -> Result<(), String> {
        let (Some(input), Some(observed)) = (self.request.inputs.get(host), self.observed(host)) else {
            return Ok(());
        };
        let registered = json!({});
        let known = Known { facts: Some(&observed.facts), registered: Some(&registered) };
        let checks = self.request.binder.bind_health(input, play, known)?;
        for bound in checks {
            let mut reading = Reading::default();
            plan::questions(std::slice::from_ref(&bound)).into_iter().for_each(|query| reading.ask(query));
            let report = self
                .job(host, HostJob::Read { questions: script::questions(&reading), lock: None, patience: None }, &[])
                .await;
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
