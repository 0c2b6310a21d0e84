//! The knowledge of each kind: how to see it, how it differs, how to change it.
//!
//! One file per kind; nothing here talks to a host. A kind says with `queries` what to ask, `read` turns the
//! questions of all resources into one batched script and its output into answers, and `decide` compares the
//! answers with what is desired. `engine` carries both across the wire. Delete a kind's file and its line in
//! `registry`, and only that kind disappears.

mod apt;
mod apt_repository;
mod archive;
mod authorized_key;
mod block;
mod call;
#[cfg(test)]
mod cases;
mod certificate;
mod check;
mod command;
mod directory;
pub mod fact;
mod file;
pub mod firewall;
mod group;
mod hostname;
mod hosts_entry;
pub mod ip;
mod kernel_module;
mod libvirt;
mod link;
mod managed_file;
mod mount;
mod network_link;
mod package;
mod parts;
pub mod read;
mod reboot;
mod registry;
mod service;
mod spec;
mod sudoers;
mod sysctl;
mod systemd;
mod text_edit;
mod timer;
mod timezone;
mod unit;
mod user;
mod way;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::addr::{HostName, ResourceId};
use crate::change::{Change, Step};
use read::{Answers, Query};

pub use registry::{KindEntry, find_kind, kinds};

/// What a kind needs to be: a typed specification, and pure functions over it.
///
/// A kind is its own specification: the struct that a task's arguments are read into, with
/// `#[serde(deny_unknown_fields)]` and a documented field for each argument.
pub trait Kind: Debug + Clone + Send + Sync + Serialize + DeserializeOwned + JsonSchema + 'static {
    /// The kind's name, as a task writes it.
    const NAME: &'static str;
    /// One sentence on what a resource of this kind is, for `provision explain`.
    const SUMMARY: &'static str;
    /// Tasks as a playbook has them, for `provision explain`; each is checked by a test.
    const EXAMPLE: &'static str;

    /// Whether its resources are made from the flow matrix of the inventory, by [`Input::Flows`].
    const NEEDS_FLOWS: bool = false;

    /// What was found on a host.
    type Observed: Debug + Serialize;

    /// Returns the name of the resource, unique among those of its kind on a host.
    fn name(&self) -> String;

    /// Returns what is wrong with the specification beyond its types.
    fn check(&self) -> Vec<SpecProblem> {
        Vec::new()
    }

    /// Returns what this resource owns on a host: two resources that claim the same thing are an error.
    ///
    /// A kind that owns a path claims [`Claim::Path`], so that a `file` and a `link` of one path are found.
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Resource(self.id())]
    }

    /// Returns what of the control machine this resource needs the content of, in a fixed order.
    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }

    /// Takes the content of the inputs, in the order of `inputs`.
    ///
    /// It is called before `decide` and, where the content does not depend on the host's facts, before `queries`.
    fn supply(&mut self, _contents: Vec<Content>) {}

    /// Returns the content that was supplied, for who looks into what is written.
    fn supplied(&self) -> Option<&Content> {
        None
    }

    /// Learns who logs in to the host for the run, for a kind that could shut that account out.
    fn learn_login(&mut self, _user: &str) {}

    /// Learns what all resources of the host own, for a kind that removes what nobody owns.
    fn learn_owned(&mut self, _owned: &BTreeSet<Claim>) {}

    /// Returns what to ask the host.
    fn queries(&self) -> Vec<Query>;

    /// Returns what the answers say of this resource.
    fn observe(&self, answers: &Answers) -> Result<Self::Observed, ObserveError>;

    /// Returns the change that brings what was observed to what is desired.
    fn diff(&self, observed: &Self::Observed) -> Change;

    /// Returns what is done when a resource that notifies this one has changed; none where a kind cannot be notified.
    fn refresh(&self) -> Option<Vec<Step>> {
        None
    }

    /// Returns the hosts other than its own that this resource's steps run on, with what must be done there first.
    fn elsewhere(&self) -> Vec<(HostName, ResourceId)> {
        Vec::new()
    }

    /// Returns the resource's identifier.
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::NAME, self.name())
    }
}

/// A resource of any kind. Implemented for every [`Kind`].
pub trait Resource: Debug + Send + Sync {
    /// Returns the resource's identifier.
    fn id(&self) -> ResourceId;
    /// See [`Kind::check`].
    fn check(&self) -> Vec<SpecProblem>;
    /// See [`Kind::claims`].
    fn claims(&self) -> Vec<Claim>;
    /// See [`Kind::inputs`].
    fn inputs(&self) -> Vec<Input>;
    /// See [`Kind::supply`].
    fn supply(&mut self, contents: Vec<Content>);
    /// See [`Kind::supplied`].
    fn supplied(&self) -> Option<&Content>;
    /// Returns the specification as the task's arguments give it.
    fn specification(&self) -> Value;
    /// See [`Kind::learn_login`].
    fn learn_login(&mut self, user: &str);
    /// See [`Kind::learn_owned`].
    fn learn_owned(&mut self, owned: &BTreeSet<Claim>);
    /// See [`Kind::queries`].
    fn queries(&self) -> Vec<Query>;
    /// Observes and compares.
    fn decide(&self, answers: &Answers) -> Result<Decision, ObserveError>;
    /// See [`Kind::refresh`].
    fn refresh(&self) -> Option<Vec<Step>>;
    /// See [`Kind::elsewhere`].
    fn elsewhere(&self) -> Vec<(HostName, ResourceId)>;
    /// Returns a copy, to be given other inputs for another host.
    fn boxed_clone(&self) -> Box<dyn Resource>;
}

impl<K: Kind> Resource for K {
    fn id(&self) -> ResourceId {
        Kind::id(self)
    }

    fn check(&self) -> Vec<SpecProblem> {
        Kind::check(self)
    }

    fn claims(&self) -> Vec<Claim> {
        Kind::claims(self)
    }

    fn inputs(&self) -> Vec<Input> {
        Kind::inputs(self)
    }

    fn supply(&mut self, contents: Vec<Content>) {
        Kind::supply(self, contents);
    }

    fn supplied(&self) -> Option<&Content> {
        Kind::supplied(self)
    }

    fn specification(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn learn_login(&mut self, user: &str) {
        Kind::learn_login(self, user);
    }

    fn learn_owned(&mut self, owned: &BTreeSet<Claim>) {
        Kind::learn_owned(self, owned);
    }

    fn queries(&self) -> Vec<Query> {
        Kind::queries(self)
    }

    fn decide(&self, answers: &Answers) -> Result<Decision, ObserveError> {
        let observed = self.observe(answers)?;
        let change = self.diff(&observed);
        let observed = serde_json::to_value(&observed).map_err(|e| ObserveError::unexpected(self, e.to_string()))?;
        Ok(Decision { observed, change })
    }

    fn refresh(&self) -> Option<Vec<Step>> {
        Kind::refresh(self)
    }

    fn elsewhere(&self) -> Vec<(HostName, ResourceId)> {
        Kind::elsewhere(self)
    }

    fn boxed_clone(&self) -> Box<dyn Resource> {
        Box::new(self.clone())
    }
}

/// What was found of a resource, and what would happen to it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What was found, as a plan keeps it to notice that the host changed since.
    pub observed: Value,
    /// What would happen.
    pub change: Change,
}

/// Something on a host that only one resource may own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// A path in the host's file system.
    Path(String),
    /// The resource itself.
    Resource(ResourceId),
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Claim::Path(path) => write!(f, "the path {path}"),
            Claim::Resource(id) => write!(f, "{id}"),
        }
    }
}

/// A mistake in a specification that its types cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// The argument it is in; empty for the task as a whole.
    pub field: &'static str,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

impl SpecProblem {
    /// Returns a problem with one argument.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into(), help: None }
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// Something of the control machine whose content a resource needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A template in the project's `templates` folder, to be rendered for the host.
    Template(Utf8PathBuf),
    /// A file in the project's `files` folder, taken as it is.
    Source(Utf8PathBuf),
    /// The host's part of the flow matrix, as the JSON of a [`HostFlows`](crate::model::matrix::HostFlows).
    Flows,
    /// What the inventory says of one link of the host, as the JSON of a
    /// [`LinkView`](crate::model::inventory::LinkView), or `null` where it says nothing.
    Link(String),
}

/// Content for a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Content that is held in memory: a rendered template, a small file.
    Text(Arc<str>),
    /// A file of the control machine that is streamed.
    File {
        /// Where it is on the control machine.
        path: Utf8PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The SHA-256 of its content, lowercase hexadecimal.
        sha256: String,
    },
}

/// Why an answer could not be understood.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The host lacks a program that is needed to see the resource.
    #[error("{id} needs `{tool}`, which the host does not have")]
    MissingTool {
        /// The resource.
        id: ResourceId,
        /// The program.
        tool: String,
        /// The Debian package that brings it.
        package: String,
    },
    /// A service of the host's that knows of the resource does not answer.
    #[error("{id} cannot be seen, {service} does not answer: {said}")]
    Silent {
        /// The resource.
        id: ResourceId,
        /// The service.
        service: String,
        /// What was said instead.
        said: String,
        /// What to do next.
        hint: String,
    },
    /// What is wanted cannot be, whatever the host answers.
    #[error("{id}: {what}")]
    Impossible {
        /// The resource.
        id: ResourceId,
        /// Why it cannot be.
        what: String,
        /// What to do next.
        hint: String,
    },
    /// The host answered something else than what the kind understands.
    #[error("the host's answer on {id} makes no sense: {what}")]
    Unexpected {
        /// The resource.
        id: ResourceId,
        /// What was not understood.
        what: String,
    },
}

impl ObserveError {
    /// Returns the error for an answer of `resource` that makes no sense.
    pub fn unexpected(resource: &impl Kind, what: impl Into<String>) -> Self {
        Self::Unexpected { id: Kind::id(resource), what: what.into() }
    }

    /// Returns what to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingTool { package, .. } => Some(format!("install the package `{package}` on the host first")),
            Self::Silent { hint, .. } | Self::Impossible { hint, .. } => Some(hint.clone()),
            Self::Unexpected { .. } => None,
        }
    }
}
