//! What would happen to one resource: the action, the attributes that differ, and the steps that make it so.
//!
//! A [`Change`] is plain data. A kind's `diff` makes it from what is desired and what was observed, a plan holds it,
//! `engine` carries its steps to the host, and `report` shows it. Nothing in it can be computed differently later:
//! what was shown is what runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::addr::{HostName, ResourceId};
use crate::shell::Script;

/// The attributes of a resource, by name, as a user reads them.
pub type Attributes = BTreeMap<String, Value>;

/// The verb of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing to do.
    NoOp,
    /// It is not there and will be made.
    Create,
    /// It is there and some attributes will change.
    Update,
    /// It will be removed and made anew.
    Replace,
    /// It is there and will be removed.
    Delete,
    /// A command that cannot tell whether it is needed: it runs each time.
    Run,
}

impl Action {
    /// Returns the sign that stands before a resource in a plan.
    pub fn sign(self) -> &'static str {
        match self {
            Action::NoOp => "=",
            Action::Create => "+",
            Action::Update => "~",
            Action::Replace => "-/+",
            Action::Delete => "-",
            Action::Run => "!",
        }
    }
}

/// One side of an attribute's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// The attribute is not there.
    Absent,
    /// Its value.
    Value(Value),
    /// It holds a secret.
    Sensitive,
    /// Only a running step can tell.
    KnownAfterApply,
}

/// An attribute that will differ after the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeChange {
    /// The attribute's name.
    pub name: String,
    /// What it is on the host.
    pub before: Shown,
    /// What it will be.
    pub after: Shown,
}

/// Text of a file before and after, from which a unified diff is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextChange {
    /// The text on the host, empty where there is none.
    pub before: Arc<str>,
    /// The text that will be there.
    pub after: Arc<str>,
}

/// Bytes that a step reads, sent behind the script on the same stream and never in an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPayload {
    /// The step reads nothing.
    None,
    /// These bytes.
    Bytes(PayloadBytes),
    /// A file of the control machine, streamed.
    File {
        /// Where it is on the control machine.
        path: Utf8PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The SHA-256 of its content, lowercase hexadecimal.
        sha256: String,
    },
    /// What an earlier step of the same change printed, by its position among the steps.
    OutputOf(usize),
}

/// Payload bytes, whose `Debug` shows only the length: they may be secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadBytes(pub Arc<[u8]>);

impl std::fmt::Debug for PayloadBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a step does to the session that runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: the next step follows in the same session.
    #[default]
    None,
    /// The host reboots: the run waits until it is back with another boot id.
    Reboots,
    /// It only looks whether the earlier steps of its change held, and it is their last. In a script it comes after the
    /// other changes, so that waiting for the one is waiting for all.
    Looks,
}

/// One thing done on a host: a script, and what it reads.
///
/// The script runs with `set -eu`, standard input from `/dev/null` and these in its environment as shell variables:
/// `$_run` (the run's id), `$_backup` (a private folder on the host for this run's backups, made when first used
/// by `_keep`). `_payload` writes the payload to standard output. Exit status 0 is success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it does, as a user reads it: `write /etc/hosts`.
    pub title: String,
    /// The shell text.
    pub script: Script,
    /// What the script reads with `_payload`.
    pub payload: StepPayload,
    /// The host it runs on, where that is not the resource's own.
    pub on: Option<HostName>,
    /// What it does to the session.
    pub effect: Effect,
    /// How many seconds it may take, where that is not the usual time; for a reboot, until the host is back.
    #[serde(default)]
    pub seconds: Option<u32>,
}

impl Step {
    /// Returns a step without a payload, on the resource's own host.
    pub fn new(title: impl Into<String>, script: Script) -> Self {
        Self { title: title.into(), script, payload: StepPayload::None, on: None, effect: Effect::None, seconds: None }
    }

    /// Gives the step bytes to read.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.payload = StepPayload::Bytes(PayloadBytes(bytes.into()));
        self
    }

    /// Gives the step a payload to read.
    #[must_use]
    pub fn with_payload(mut self, payload: StepPayload) -> Self {
        self.payload = payload;
        self
    }

    /// Says how many seconds the step may take.
    #[must_use]
    pub fn within(mut self, seconds: u32) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// Says that the step only looks whether the earlier ones held.
    #[must_use]
    pub fn that_looks(mut self) -> Self {
        self.effect = Effect::Looks;
        self
    }

    /// Has the step run on another host.
    #[must_use]
    pub fn on_host(mut self, host: HostName) -> Self {
        self.on = Some(host);
        self
    }
}

/// How a change is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reverse {
    /// Nothing was changed, so nothing is to be taken back.
    Nothing,
    /// These steps, in this order, bring back what was observed before the change.
    Steps(Vec<Step>),
    /// It cannot be taken back, and this is why.
    Impossible(String),
}

/// How a host goes back by itself from a change that can cut the way to it.
///
/// `save` runs before anything is changed and `restore` when nobody has confirmed the change in time, maybe after a reboot
/// and before the network is up. Both run with `set -eu` and these: `$_saved` is a private folder that outlives a reboot,
/// `_keep PATH NAME` copies what is at a path into it, and `_restore PATH NAME` puts it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Keeps what is there now; a failure ends the change before it begins.
    pub save: Script,
    /// Brings back what was kept. It must not wait for another unit of the host.
    pub restore: Script,
}

/// What would happen to one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The resource, without its host.
    pub id: ResourceId,
    /// The verb.
    pub action: Action,
    /// Why: for a no-op what is as it should be, otherwise what is to be done.
    pub reason: String,
    /// The attributes that will differ.
    pub attributes: Vec<AttributeChange>,
    /// The text before and after, for a text file.
    pub text: Option<TextChange>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// How it is taken back.
    pub reverse: Reverse,
    /// How the host takes it back by itself, where it can cut the way to the host.
    #[serde(default)]
    pub guard: Option<Box<Guard>>,
    /// What is not as wanted and stays so by what the specification says, such as what waits for the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it is not made unless somebody has asked for it by `--allow-replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
}

impl Change {
    fn bare(id: ResourceId, action: Action, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            id,
            action,
            reason,
            attributes: Vec::new(),
            text: None,
            steps: Vec::new(),
            reverse: Reverse::Nothing,
            guard: None,
            note: None,
            consent: None,
        }
    }

    /// Returns the change that changes nothing, because of `reason`.
    pub fn no_op(id: ResourceId, reason: impl Into<String>) -> Self {
        Self::bare(id, Action::NoOp, reason)
    }

    /// Returns the change that makes a resource with these attributes.
    pub fn create(id: ResourceId, desired: &Attributes) -> Self {
        let attributes = desired
            .iter()
            .map(|(name, value)| AttributeChange {
                name: name.clone(),
                before: Shown::Absent,
                after: Shown::Value(value.clone()),
            })
            .collect();
        Self { attributes, ..Self::bare(id, Action::Create, "it is not there") }
    }

    /// Returns the change that removes a resource which has these attributes.
    pub fn delete(id: ResourceId, observed: &Attributes) -> Self {
        let attributes = observed
            .iter()
            .map(|(name, value)| AttributeChange {
                name: name.clone(),
                before: Shown::Value(value.clone()),
                after: Shown::Absent,
            })
            .collect();
        Self { attributes, ..Self::bare(id, Action::Delete, "it must not be there") }
    }

    /// Returns the change of those desired attributes that differ from what was observed; a no-op where none does.
    ///
    /// An attribute that is observed and not desired is not managed and stays as it is.
    pub fn between(id: ResourceId, observed: &Attributes, desired: &Attributes) -> Self {
        let attributes: Vec<AttributeChange> = desired
            .iter()
            .filter(|(name, value)| observed.get(*name) != Some(value))
            .map(|(name, value)| AttributeChange {
                name: name.clone(),
                before: observed.get(name).map_or(Shown::Absent, |before| Shown::Value(before.clone())),
                after: Shown::Value(value.clone()),
            })
            .collect();
        if attributes.is_empty() {
            let names: Vec<&str> = desired.keys().map(String::as_str).collect();
            let reason = match names.as_slice() {
                [] => "it is there".to_owned(),
                [one] => format!("{one} is as wanted"),
                [all @ .., last] => format!("{} and {last} are as wanted", all.join(", ")),
            };
            return Self::no_op(id, reason);
        }
        let names: Vec<&str> = attributes.iter().map(|a| a.name.as_str()).collect();
        let verb = if names.len() == 1 { "differs" } else { "differ" };
        let reason = format!("{} {verb}", names.join(", "));
        Self { attributes, ..Self::bare(id, Action::Update, reason) }
    }

    /// Returns the change that runs something which cannot tell whether it is needed.
    pub fn run(id: ResourceId, reason: impl Into<String>) -> Self {
        let reverse = Reverse::Impossible("a command's effect is not known".to_owned());
        Self { reverse, ..Self::bare(id, Action::Run, reason) }
    }

    /// Returns whether nothing is to be done.
    pub fn is_no_op(&self) -> bool {
        self.action == Action::NoOp
    }

    /// Returns whether an attribute will differ.
    pub fn changes(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|a| a.name == attribute)
    }

    /// Says why, in better words than the attributes' names.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Hides those values of an attribute that hold a secret, on both sides.
    #[must_use]
    pub fn sensitive(mut self, attribute: &str, holds_secret: impl Fn(&Value) -> bool) -> Self {
        for found in self.attributes.iter_mut().filter(|a| a.name == attribute) {
            for side in [&mut found.before, &mut found.after] {
                if matches!(side, Shown::Value(value) if holds_secret(value)) {
                    *side = Shown::Sensitive;
                }
            }
        }
        self
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Says how the change is taken back.
    #[must_use]
    pub fn reversed_by(mut self, steps: Vec<Step>) -> Self {
        self.reverse = Reverse::Steps(steps);
        self
    }

    /// Has the host take the change back by itself unless a new login confirms it; a change that does nothing needs no guard.
    #[must_use]
    pub fn guarded_by(mut self, guard: Guard) -> Self {
        self.guard = (!self.is_no_op()).then_some(Box::new(guard));
        self
    }

    /// Says what stays as it is though it is not as wanted; a plan shows it also where nothing is to be done.
    #[must_use]
    pub fn noting(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }

    /// Has the change made only by who asks for it, because of `why`.
    #[must_use]
    pub fn needs_consent(mut self, why: impl Into<String>) -> Self {
        self.consent = Some(why.into());
        self
    }

    /// Says that the change cannot be taken back, and why.
    #[must_use]
    pub fn irreversible(mut self, why: impl Into<String>) -> Self {
        self.reverse = Reverse::Impossible(why.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(pairs: &[(&str, Value)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn only_desired_attributes_that_differ_are_changed() {
        let id = ResourceId::new("file", "/a");
        let observed = attributes(&[("mode", json!("0600")), ("owner", json!("root")), ("size", json!(3))]);
        let same = Change::between(id.clone(), &observed, &attributes(&[("owner", json!("root"))]));
        assert_eq!((same.action, same.reason.as_str()), (Action::NoOp, "owner is as wanted"));

        let desired = attributes(&[("mode", json!("0644")), ("owner", json!("root"))]);
        let change = Change::between(id, &observed, &desired);
        assert_eq!((change.action, change.reason.as_str()), (Action::Update, "mode differs"));
        assert_eq!(change.attributes.len(), 1);
    }
}
