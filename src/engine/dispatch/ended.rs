//! Endings: what became of a work, and what that means for its resource and for what waits for it.

use serde_json::json;

use super::super::job::{WindowEnd, Work};
use super::{Dispatcher, Report, Status};
use crate::addr::{HostName, ResourceAddr};
use crate::change::{Action, Change, Step};
use crate::event::{Event, Outcome};
use crate::journal;
use crate::model::playbook::OnFailure;
use crate::plan::bind::Bound;
use crate::plan::{self, Decision, Entry};
use crate::resource::read::{Answers, Bytes};

impl Dispatcher<'_> {
    /// Returns how a work ended, once it is known whether the host has kept it.
    pub(super) fn kept(
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
            WindowEnd::RolledBack if matches!(&ended, Err(ended) if ended.kind == EndedKind::Failed && report.failure.is_none()) => {
                ended
            }
            WindowEnd::RolledBack => {
                let is_failed = |ends: &Vec<(i32, Bytes)>| ends.iter().any(|(status, _)| *status != 0);
                let (error, hint) = if report.failure.is_none() && report.ends.values().any(is_failed) {
                    let error = "another change in its confirm window failed, so the host has gone back to what it was";
                    (error.to_owned(), "mend what failed; both are made together again by the next run")
                } else {
                    let seconds = self.request.confirm_seconds;
                    (
                        format!(
                            "no new login to {host} confirmed it within {seconds} s, so the host has gone back to what it was"
                        ),
                        "what it would have cut off is the way that this tool takes: look at the flows, or at what it changes",
                    )
                };
                let (kind, output) = (EndedKind::RolledBack, String::new());
                Err(Ended { kind, error, hint: Some(hint.to_owned()), output })
            }
            WindowEnd::Unproven => Err(Ended {
                kind: EndedKind::Unproven,
                error: format!("nobody confirmed it, and {host} does not say that it has gone back"),
                hint: Some("look at its console; `/var/lib/provision/window` says how far it came".to_owned()),
                output: String::new(),
            }),
        }
    }

    /// Returns what a work printed if all its steps are done, and otherwise how it ended.
    pub(super) fn ended(&self, report: &Report, work: Option<&Work>, blocked: Option<&str>) -> Result<String, Ended> {
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

    pub(super) fn text_of(&self, output: &Bytes, stderr: &str) -> String {
        let mut text = String::from_utf8_lossy(&output.0).into_owned();
        if !stderr.trim().is_empty() {
            text.push_str(stderr);
        }
        self.request.vault.mask(&text).into_owned()
    }

    /// Returns an error if what was read after a change is not what was wanted.
    pub(super) fn verified(&self, bound: &Bound, change: &Change, answers: &Answers) -> Result<(), Ended> {
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

    pub(super) fn settled(&self, host: &HostName, entry: &Entry) {
        self.register(host, entry, String::new(), false);
        self.outcome(&entry.id.on(host), Outcome::Unchanged, String::new());
    }

    pub(super) fn register(&self, host: &HostName, entry: &Entry, output: String, is_changed: bool) {
        let Some(name) = &entry.register else { return };
        let mut registered = self.registered.borrow_mut();
        let known = registered.entry(host.clone()).or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            let stdout = output.strip_suffix('\n').unwrap_or(&output);
            let lines: Vec<&str> = stdout.lines().collect();
            known.insert(name.clone(), json!({"stdout": stdout, "lines": lines, "changed": is_changed}));
        }
    }

    pub(super) fn after_failure(&self, addr: &ResourceAddr, on_failure: OnFailure) -> Status {
        match on_failure {
            OnFailure::GoOn => Status::Done,
            OnFailure::Stop => Status::Blocks(format!("{addr} failed")),
        }
    }

    /// Records how a resource ended.
    pub(super) fn conclude(&self, host: &HostName, entry: &Entry, ended: Result<String, Ended>) -> Status {
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
    pub(super) fn conclude_handler(&self, addr: &ResourceAddr, ended: Result<String, Ended>) -> Status {
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

    pub(super) fn outcome(&self, addr: &ResourceAddr, outcome: Outcome, output: String) {
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
}

/// How a work that is not done ended.
pub(super) struct Ended {
    pub(super) kind: EndedKind,
    pub(super) error: String,
    pub(super) hint: Option<String>,
    pub(super) output: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedKind {
    Failed,
    Skipped,
    NotStarted,
    /// The host has taken it back.
    RolledBack,
    /// Nobody knows whether it has.
    Unproven,
}

impl Ended {
    pub(super) fn failed(error: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind: EndedKind::Failed, error: error.into(), hint, output: String::new() }
    }

    pub(super) fn step_failed(step: Option<&Step>, status: i32, output: String) -> Self {
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
