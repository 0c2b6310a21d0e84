//! Questions to a host, asked in one script and answered in one stream.
//!
//! Kinds state [`Query`]s; [`Reading`] gathers those of all resources of a host, drops the doubles, and makes one
//! script in which each family of questions is one process (`find` for all paths, `dpkg-query` for all packages),
//! because on a host the forks are what costs. [`Answers`] are read from the stream by the families' parsers.

mod account;
mod bytes;
mod kernel;
mod libvirt;
mod package;
mod path;
mod snippet;
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::shell::Script;

pub use account::{AccountState, GroupState, ShadowState, password_digest};
pub use bytes::Bytes;
pub use libvirt::{Virt, VirtState, VirtStates};
pub use package::PackageState;
pub use path::{CONTENT_LIMIT, FileKind, PathState, Want};
pub use snippet::SnippetOutput;
pub use unit::UnitState;

/// One question to a host. It must be read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// What is at an absolute path, and how much of it is wanted.
    Path(String, Want),
    /// Whether a package is installed, in which version, and whether it is held.
    Package(String),
    /// The version of a package that apt would install.
    Candidate(String),
    /// The text of a file of the kernel's below `/proc` or `/sys`.
    Kernel(String),
    /// The state of a systemd unit, named with its suffix (`etcd.service`).
    Unit(String),
    /// A user account with its groups.
    User(String),
    /// A group with its members.
    Group(String),
    /// A user's expiry and the digest of the password's hash; with the hash that is wanted, where one is.
    Shadow(String, Option<String>),
    /// An object of libvirt's: its definition, the one that it runs with, and its state.
    Virt(Virt),
    /// Shell text whose output and exit status are the answer. Builtins cost nothing, programs about 1 ms each.
    Snippet {
        /// What the answer is found by again; the same key must mean the same script.
        key: String,
        /// Programs that the script needs and that may be missing, with the package of each.
        tools: Tools,
        /// The script.
        script: Script,
    },
}

/// Programs that may be missing, with the package of each.
type Tools = Vec<(&'static str, &'static str)>;

/// All questions to one host, without doubles.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    paths: BTreeMap<String, Want>,
    packages: BTreeMap<String, ()>,
    candidates: BTreeMap<String, ()>,
    kernel: BTreeMap<String, ()>,
    units: BTreeMap<String, ()>,
    users: BTreeMap<String, ()>,
    groups: BTreeMap<String, ()>,
    shadows: BTreeMap<String, Option<String>>,
    virts: BTreeSet<Virt>,
    snippets: BTreeMap<String, (Tools, Script)>,
}

/// A part of the stream: which family it answers.
const PATHS: &str = "paths";
const DIGESTS: &str = "digests";
const CONTENT: &str = "content";
const PACKAGES: &str = "packages";
const CANDIDATES: &str = "candidates";
const KERNEL: &str = "kernel";
const UNITS: &str = "units";
const PASSWD: &str = "passwd";
const GROUPS: &str = "groups";
const SHADOW: &str = "shadow";
const LIBVIRT: &str = "libvirt";
const SNIPPET: &str = "snippet";
const STATUS: &str = "status";
const MISSING: &str = "missing";

impl Reading {
    /// Adds a question; one that was asked before is asked once, for the most that anybody wants to know.
    pub fn ask(&mut self, query: Query) {
        match query {
            Query::Path(path, want) => {
                let known = self.paths.entry(path).or_default();
                *known = std::mem::take(known).join(want);
            }
            Query::Package(name) => {
                self.packages.insert(name, ());
            }
            Query::Candidate(name) => {
                self.candidates.insert(name, ());
            }
            Query::Kernel(path) => {
                self.kernel.insert(path, ());
            }
            Query::Unit(name) => {
                self.units.insert(name, ());
            }
            Query::User(name) => {
                self.users.insert(name, ());
            }
            Query::Group(name) => {
                self.groups.insert(name, ());
            }
            Query::Shadow(name, hash) => {
                let known = self.shadows.entry(name).or_default();
                *known = known.take().or(hash);
            }
            Query::Virt(object) => {
                self.virts.insert(object);
            }
            Query::Snippet { key, tools, script } => {
                self.snippets.insert(key, (tools, script));
            }
        }
    }

    /// Returns whether a question is asked already.
    pub fn has(&self, query: &Query) -> bool {
        match query {
            Query::Path(path, want) => {
                self.paths.get(path).is_some_and(|known| known.clone().join(want.clone()) == *known)
            }
            Query::Package(name) => self.packages.contains_key(name),
            Query::Unit(name) => self.units.contains_key(name),
            Query::User(name) => self.users.contains_key(name),
            Query::Group(name) => self.groups.contains_key(name),
            Query::Candidate(name) => self.candidates.contains_key(name),
            Query::Kernel(path) => self.kernel.contains_key(path),
            Query::Shadow(name, hash) => self.shadows.get(name).is_some_and(|known| hash.is_none() || known == hash),
            Query::Virt(object) => self.virts.contains(object),
            Query::Snippet { key, .. } => self.snippets.contains_key(key),
        }
    }

    /// Returns how many things are asked.
    pub fn len(&self) -> usize {
        let packages = self.packages.len() + self.candidates.len();
        let accounts = self.users.len() + self.groups.len() + self.shadows.len();
        let others = self.virts.len() + self.snippets.len();
        self.paths.len() + packages + self.kernel.len() + self.units.len() + accounts + others
    }

    /// Returns whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
            && self.packages.is_empty()
            && self.candidates.is_empty()
            && self.kernel.is_empty()
            && self.units.is_empty()
            && self.users.is_empty()
            && self.groups.is_empty()
            && self.shadows.is_empty()
            && self.virts.is_empty()
            && self.snippets.is_empty()
    }

    /// Returns the script that asks everything. Each answer is announced by `_mark`, which the session defines.
    pub fn script(&self) -> Script {
        let mut script = Script::default();
        for tool in self.tools() {
            // `command -v` is a builtin: it costs no process.
            script.push(&crate::sh!("command -v {} >/dev/null 2>&1 || _mark missing {}", tool, tool));
        }
        let keys = |map: &BTreeMap<String, ()>| map.keys().cloned().collect::<Vec<_>>();
        script.push(&path::script(&self.paths));
        script.push(&package::script(&keys(&self.packages)));
        script.push(&package::candidate_script(&keys(&self.candidates)));
        script.push(&kernel::script(&keys(&self.kernel)));
        script.push(&unit::script(&keys(&self.units)));
        script.push(&account::script(&keys(&self.users), !self.groups.is_empty()));
        script.push(&account::shadow_script(&self.shadows));
        script.push(&libvirt::script(&self.virts.iter().cloned().collect::<Vec<_>>()));
        for (at, (_, text)) in self.snippets.values().enumerate() {
            script.push(&snippet::script(at, text));
        }
        script
    }

    fn tools(&self) -> Vec<&'static str> {
        let mut tools: Vec<&'static str> = Vec::new();
        if !self.paths.is_empty() {
            tools.extend(["find", "sha256sum", "head"]);
        }
        if !self.packages.is_empty() {
            tools.push("dpkg-query");
        }
        if !self.candidates.is_empty() {
            tools.push("apt-cache");
        }
        if !self.kernel.is_empty() {
            tools.push("grep");
        }
        if !self.units.is_empty() {
            tools.push("systemctl");
        }
        if !self.users.is_empty() || !self.groups.is_empty() {
            tools.push("getent");
        }
        if !self.shadows.is_empty() {
            tools.extend(["getent", "sha256sum"]);
        }
        if !self.virts.is_empty() {
            tools.push("virsh");
        }
        for (needed, _) in self.snippets.values() {
            tools.extend(needed.iter().map(|(tool, _)| *tool));
        }
        tools.sort_unstable();
        tools.dedup();
        tools
    }

    /// Returns what a reader of this reading's stream must know.
    pub fn asked(&self) -> Asked {
        Asked { units: self.units.keys().cloned().collect(), snippets: self.snippets.keys().cloned().collect() }
    }
}

/// What was asked, as far as the stream of answers does not say it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    units: Vec<String>,
    snippets: Vec<String>,
}

/// What a host answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    paths: BTreeMap<String, PathState>,
    packages: BTreeMap<String, PackageState>,
    candidates: BTreeMap<String, String>,
    kernel: BTreeMap<String, String>,
    units: BTreeMap<String, UnitState>,
    users: BTreeMap<String, AccountState>,
    groups: BTreeMap<String, GroupState>,
    shadows: BTreeMap<String, ShadowState>,
    libvirt: VirtStates,
    snippets: BTreeMap<String, SnippetOutput>,
    missing_tools: Vec<String>,
}

impl Answers {
    /// Returns what is at a path; `None` where nothing is.
    pub fn path(&self, path: &str) -> Option<&PathState> {
        self.paths.get(path)
    }

    /// Returns a package's state; `None` where dpkg does not know it.
    pub fn package(&self, name: &str) -> Option<&PackageState> {
        self.packages.get(name)
    }

    /// Returns the version of a package that apt would install; `None` where no repository offers it.
    pub fn candidate(&self, name: &str) -> Option<&str> {
        self.candidates.get(name).map(String::as_str)
    }

    /// Returns the text of a file of the kernel's, without the last newline; `None` where it cannot be read.
    pub fn kernel(&self, path: &str) -> Option<&str> {
        self.kernel.get(path).map(String::as_str)
    }

    /// Returns a unit's state; `None` where systemd said nothing of it.
    pub fn unit(&self, name: &str) -> Option<&UnitState> {
        self.units.get(name)
    }

    /// Returns a user; `None` where there is none of this name.
    pub fn user(&self, name: &str) -> Option<&AccountState> {
        self.users.get(name)
    }

    /// Returns a group; `None` where there is none of this name.
    pub fn group(&self, name: &str) -> Option<&GroupState> {
        self.groups.get(name)
    }

    /// Returns what is secret of a user, without the secret; `None` where there is no such user.
    pub fn shadow(&self, name: &str) -> Option<&ShadowState> {
        self.shadows.get(name)
    }

    /// Returns what libvirt said.
    pub fn libvirt(&self) -> &VirtStates {
        &self.libvirt
    }

    /// Returns what a snippet printed and how it ended; `None` where it was not asked.
    pub fn snippet(&self, key: &str) -> Option<&SnippetOutput> {
        self.snippets.get(key)
    }

    /// Returns the programs that were looked for and are not on the host.
    pub fn missing_tools(&self) -> &[String] {
        &self.missing_tools
    }

    /// Returns whether a program was looked for and is not on the host.
    pub fn lacks(&self, tool: &str) -> bool {
        self.missing_tools.iter().any(|missing| missing == tool)
    }

    /// Adds the answers of a further exchange.
    pub fn merge(&mut self, other: Answers) {
        self.paths.extend(other.paths);
        self.packages.extend(other.packages);
        self.candidates.extend(other.candidates);
        self.kernel.extend(other.kernel);
        self.units.extend(other.units);
        self.users.extend(other.users);
        self.groups.extend(other.groups);
        self.shadows.extend(other.shadows);
        self.libvirt.extend(other.libvirt);
        self.snippets.extend(other.snippets);
        self.missing_tools.extend(other.missing_tools);
    }
}

/// Why the stream of answers could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// A family's output does not have its shape.
    #[error("read the answer to `{part}`: {what}")]
    Shape {
        /// The family.
        part: String,
        /// What was found.
        what: String,
    },
}

impl ReadError {
    fn shape(part: &str, what: impl Into<String>) -> Self {
        Self::Shape { part: part.to_owned(), what: what.into() }
    }
}

/// Reads the stream of answers, part by part.
#[derive(Debug)]
pub struct AnswerReader {
    asked: Asked,
    part: Option<String>,
    data: Vec<u8>,
    answers: Answers,
}

impl AnswerReader {
    /// Returns a reader for the answers to what was asked.
    pub fn new(asked: Asked) -> Self {
        Self { asked, part: None, data: Vec::new(), answers: Answers::default() }
    }

    /// Takes a line that the script printed with `_mark`: the part before it is complete.
    pub fn mark(&mut self, line: &str) -> Result<(), ReadError> {
        self.finish_part()?;
        match line.split_once(' ') {
            Some((MISSING, tool)) => self.answers.missing_tools.push(tool.to_owned()),
            _ => self.part = Some(line.to_owned()),
        }
        Ok(())
    }

    /// Takes bytes of the current part.
    pub fn data(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Returns the answers, after the last byte.
    pub fn finish(mut self) -> Result<Answers, ReadError> {
        self.finish_part()?;
        Ok(self.answers)
    }

    fn finish_part(&mut self) -> Result<(), ReadError> {
        let data = std::mem::take(&mut self.data);
        let Some(part) = self.part.take() else { return Ok(()) };
        let (verb, rest) = part.split_once(' ').unwrap_or((&part, ""));
        let answers = &mut self.answers;
        match verb {
            PATHS => path::parse_states(&data, &mut answers.paths),
            DIGESTS => path::parse_digests(&data, &mut answers.paths),
            CONTENT => path::take_content(rest, data, &mut answers.paths),
            PACKAGES => package::parse(&data, &mut answers.packages),
            CANDIDATES => package::parse_candidates(&data, &mut answers.candidates),
            KERNEL => kernel::parse(&data, &mut answers.kernel),
            UNITS => unit::parse(&data, &self.asked.units, &mut answers.units),
            PASSWD => account::parse_passwd(&data, &mut answers.users),
            GROUPS => account::parse_groups(&data, &mut answers.users, &mut answers.groups),
            SHADOW => account::parse_shadow(&data, &mut answers.shadows),
            LIBVIRT => libvirt::parse(&data, &mut answers.libvirt),
            SNIPPET => snippet::take_output(rest, data, &self.asked.snippets, &mut answers.snippets),
            STATUS => snippet::take_status(rest, &self.asked.snippets, &mut answers.snippets),
            _ => Err(ReadError::shape(verb, "no such part")),
        }
    }
}
