//! Jobs: hands works to a host, with their intents in the journal first, and gathers what it says of them.

use super::super::job::{HostJob, HostMessage, Window, WindowEnd, Work};
use super::super::{HostFailure, executor, script};
use super::ended::Ended;
use super::{Dispatcher, Report};
use crate::addr::{HostName, ResourceAddr};
use crate::event::{Event, Reach};
use crate::journal;
use crate::resource::read::Reading;

impl Dispatcher<'_> {
    /// Writes the intents, does the works, and writes nothing of what came of them: that is for who knows better.
    pub(super) async fn apply(&self, host: &HostName, works: Vec<Work>, verify: &Reading) -> Report {
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
            let failure = HostFailure { error: executor::with_causes(&error), hint: None, reach: Reach::Reached };
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

    pub(super) async fn job(&self, host: &HostName, job: HostJob, works: &[Work]) -> Report {
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
            HostMessage::StepEnded { work, step, status, output } => {
                report.end_step(*work, *step, *status, output);
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
    pub(super) fn lose(&self, host: &HostName, failure: HostFailure) -> Ended {
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
