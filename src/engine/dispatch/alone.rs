//! What cannot share a script: steps that need each other's output or another host, reboots, and what only now can be told.

use serde_json::json;

use super::super::job::{Errors, HostJob, Work};
use super::super::script;
use super::ended::Ended;
use super::segment::{ask_again, is_simple_step, work_of};
use super::{Dispatcher, Finished, REBOOT_SECONDS, Status};
use crate::addr::HostName;
use crate::change::{Change, Effect, StepPayload};
use crate::diag::Diagnostics;
use crate::event::Outcome;
use crate::graph::VertexId;
use crate::plan::bind::{Bound, BoundState, Known};
use crate::plan::{self, Decision, Entry};
use crate::resource::read::{Bytes, Reading};
use crate::shell::Script;

impl<'a> Dispatcher<'a> {
    /// Does a resource that cannot share a script: its steps need each other's output or another host, the host reboots,
    /// or only now can be told what is to be done.
    pub(super) async fn run_alone(&self, id: VertexId, host: &'a HostName, at: usize) -> Finished {
        let done = |status| Finished { vertices: vec![(id, status)] };
        let Some(observed) = self.observed(host) else { return done(Status::Done) };
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
        let report = self
            .job(host, HostJob::Read { questions: script::questions(&reading), lock: None, patience: None }, &[])
            .await;
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
    pub(super) async fn apply_change(
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
    pub(super) async fn reboot(&self, host: &HostName, work: Work) -> Result<(), Ended> {
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
}
