//! A plan in a file: `plan --out` writes it, `apply FILE` applies exactly it or refuses.
//!
//! The file holds no secret and no content that is not shown. What is applied is therefore made anew from the same
//! inputs, whose digests the file holds, and from what the hosts answer under their lock; if either leads to
//! another decision than the saved one, that host is refused and the attribute that differs is named. So what
//! was approved is what runs, and a plan file can be kept and shown around.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::{Decision, Entry, HostPlan};
use crate::addr::{HostName, ResourceId, RunId};
use crate::change::{Action, AttributeChange};

/// The version of the format. Readers accept this and older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FormatVersion(pub u32);

/// The version this tool writes. Since 2 a plan says whether resources may be replaced.
pub const VERSION: FormatVersion = FormatVersion(2);

/// A saved plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    /// The format.
    pub version: FormatVersion,
    /// The run that made the plan.
    pub run: RunId,
    /// When, in UTC.
    pub created: String,
    /// How it was asked for.
    pub options: SavedOptions,
    /// The SHA-256 of each input file.
    pub inputs: BTreeMap<Utf8PathBuf, String>,
    /// What was decided for each host.
    pub hosts: Vec<SavedHost>,
}

/// The options that choose what is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedOptions {
    /// The inventory's path.
    pub inventory: Utf8PathBuf,
    /// The playbook's path.
    pub playbook: Utf8PathBuf,
    /// The selector of `--limit`.
    pub limit: Option<String>,
    /// The tags of `--tags`.
    pub tags: Vec<String>,
    /// The tags of `--skip-tags`.
    pub skip_tags: Vec<String>,
    /// The variables of `--set`.
    pub set: Vec<String>,
    /// Whether `--allow-replace` was given.
    #[serde(default)]
    pub allow_replace: bool,
}

/// What was decided for a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHost {
    /// The host.
    pub host: HostName,
    /// Its resources.
    pub entries: Vec<SavedEntry>,
    /// What is refreshed.
    pub handlers: Vec<ResourceId>,
}

/// What was decided for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedEntry {
    /// The resource.
    pub id: ResourceId,
    /// The verb, where it is known.
    pub action: Option<Action>,
    /// Why.
    pub reason: String,
    /// The attributes that would differ.
    pub attributes: Vec<AttributeChange>,
    /// The titles of the steps.
    pub steps: Vec<String>,
    /// What was found.
    pub observed: Value,
}

/// Why a saved plan cannot be applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StaleError {
    /// An input file changed.
    #[error("{file} changed since the plan was made")]
    Input {
        /// The file.
        file: Utf8PathBuf,
    },
    /// A host changed.
    #[error("{host}/{id} changed since the plan was made: {attribute} was {planned} and is {found}")]
    Host {
        /// The host.
        host: HostName,
        /// The resource.
        id: ResourceId,
        /// The attribute.
        attribute: String,
        /// What the plan was made for.
        planned: String,
        /// What is found now.
        found: String,
    },
    /// A host's resources are others than those that were planned.
    #[error("{host}: {what} since the plan was made")]
    Resources {
        /// The host.
        host: HostName,
        /// What changed.
        what: String,
    },
}

impl SavedEntry {
    fn of(entry: &Entry) -> Self {
        let (action, reason, attributes, steps) = match &entry.decision {
            Decision::Change(change) => (
                Some(change.action),
                change.reason.clone(),
                change.attributes.clone(),
                change.steps.iter().map(|step| step.title.clone()).collect(),
            ),
            Decision::KnownAfterApply { because } | Decision::Skipped { because } => {
                (None, because.clone(), Vec::new(), Vec::new())
            }
            Decision::Failed { error, .. } => (None, error.clone(), Vec::new(), Vec::new()),
        };
        Self { id: entry.id.clone(), action, reason, attributes, steps, observed: entry.observed.clone() }
    }
}

impl SavedHost {
    /// Returns what a plan file keeps of a host's plan.
    pub fn of(plan: &HostPlan) -> Self {
        Self {
            host: plan.host.clone(),
            entries: plan.entries.iter().map(SavedEntry::of).collect(),
            handlers: plan.handlers.values().flatten().map(|handler| handler.id.clone()).collect(),
        }
    }

    /// Returns an error if `now` is not what was decided then.
    pub fn check(&self, now: &HostPlan) -> Result<(), StaleError> {
        let now = Self::of(now);
        let changed = |what: &str| StaleError::Resources { host: self.host.clone(), what: what.to_owned() };
        if self.entries.len() != now.entries.len() {
            return Err(changed("the list of its resources changed"));
        }
        for (planned, found) in self.entries.iter().zip(&now.entries) {
            if planned == found {
                continue;
            }
            let (attribute, was, is) = first_difference(planned, found);
            return Err(StaleError::Host {
                host: self.host.clone(),
                id: found.id.clone(),
                attribute,
                planned: was,
                found: is,
            });
        }
        if self.handlers != now.handlers {
            return Err(changed("what is to be refreshed changed"));
        }
        Ok(())
    }
}

fn first_difference(planned: &SavedEntry, found: &SavedEntry) -> (String, String, String) {
    if let Some((path, was, is)) = json_difference("", &planned.observed, &found.observed) {
        // `attributes.mode` is what a user calls `mode`.
        let attribute = path.trim_start_matches('.').trim_start_matches("attributes.").to_owned();
        return (if attribute.is_empty() { "it".to_owned() } else { attribute }, was, is);
    }
    if planned.attributes != found.attributes {
        return ("what is wanted".to_owned(), "other".to_owned(), format!("{} attributes", found.attributes.len()));
    }
    ("the decision".to_owned(), planned.reason.clone(), found.reason.clone())
}

fn json_difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                let other = right.get(key).unwrap_or(&Value::Null);
                if let Some(found) = json_difference(&format!("{path}.{key}"), value, other) {
                    return Some(found);
                }
            }
            let new = right.iter().find(|(key, _)| !left.contains_key(*key));
            new.map(|(key, value)| (format!("{path}.{key}"), "not there".to_owned(), value.to_string()))
        }
        _ if a == b => None,
        _ => {
            let shown = |value: &Value| if value.is_null() { "not there".to_owned() } else { value.to_string() };
            Some((path.to_owned(), shown(a), shown(b)))
        }
    }
}
