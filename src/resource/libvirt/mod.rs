//! What the kinds of libvirt's objects share: their names, how one is found, how two definitions differ, and how one
//! is handed to `virsh`.
//!
//! A specification is rendered as the XML that it wants, and both that and the XML of the host are read into the same
//! attributes, so a difference is one of meaning. A new definition is the host's own with our part put into its place: what
//! libvirt has added to it (UUID, MAC of a bridge, addresses) stays. XML reaches `virsh` on its standard input, is
//! checked against libvirt's schema, and only then takes the place of the old.

mod domain;
mod network;
mod pool;
mod seed;
mod volume;
mod xml;

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use self::xml::Element;
use super::read::{Answers, Virt};
use super::{Kind, ObserveError};
use crate::change::{AttributeChange, Attributes, Shown, Step};
use crate::sh;
use crate::shell::{Script, Word};

pub use domain::LibvirtDomain;
pub use network::LibvirtNetwork;
pub use pool::LibvirtPool;
pub use volume::LibvirtVolume;

/// The name of an object of libvirt's: letters, digits, `_`, `.`, `+`, `-`, a letter or digit first; not a number or a
/// UUID, which libvirt would take for another name of something else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VirtName(String);

impl VirtName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for VirtName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.0, f)
    }
}

impl std::fmt::Display for VirtName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Word for VirtName {
    fn write_to(&self, text: &mut String) {
        self.0.as_str().write_to(text);
    }
}

impl<'de> Deserialize<'de> for VirtName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(is_plain) {
            return Err(de::Error::custom(format!(
                "{text:?} is not a name for libvirt here: letters, digits, `_`, `.`, `+` and `-`, a letter or digit first"
            )));
        }
        if text.len() > 80 {
            return Err(de::Error::custom(format!("the name {text:?} is longer than 80 characters")));
        }
        let is_uuid = text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if is_uuid || text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(de::Error::custom(format!(
                "{text:?} is a number, which libvirt would take for the number of another"
            )));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for VirtName {
    fn schema_name() -> Cow<'static, str> {
        "VirtName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_.+-]*$|\\{\\{",
            "description": "The name of an object of libvirt's"
        })
    }
}

/// Whether a network or a pool is to be there, and to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It is defined and runs.
    #[default]
    Running,
    /// It is defined and does not run.
    Stopped,
    /// It is not there.
    Absent,
}

impl RunState {
    fn word(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Stopped => "stopped",
            RunState::Absent => "absent",
        }
    }
}

/// An object as it was found.
#[derive(Clone, Debug)]
struct Found {
    /// The definition that it is started with; none for one that goes when it stops.
    stored: Option<Element>,
    /// The definition that it runs with; none where it does not run.
    live: Option<Element>,
    autostart: bool,
}

impl Found {
    /// Returns the definition that a new one is made from.
    fn base(&self) -> Option<&Element> {
        self.stored.as_ref().or(self.live.as_ref())
    }
}

/// Returns whether the host has no libvirt yet: then nothing of it is there.
fn is_without_libvirt(answers: &Answers) -> bool {
    answers.lacks("virsh") || answers.lacks("libvirtd")
}

fn silent<K: Kind>(kind: &K, said: &str) -> ObserveError {
    let said = one_line(said);
    ObserveError::Silent {
        id: Kind::id(kind),
        service: "libvirt".to_owned(),
        said: if said.is_empty() { "it said nothing".to_owned() } else { said },
        hint: "look at `systemctl status libvirtd` on the host, or at `virtqemud` where its daemons are separate"
            .to_owned(),
    }
}

/// Returns what libvirt knows of an object; none where it does not know it, or where there is no libvirt yet.
fn find<K: Kind>(kind: &K, object: &Virt, answers: &Answers) -> Result<Option<Found>, ObserveError> {
    if is_without_libvirt(answers) {
        return Ok(None);
    }
    let said = answers.libvirt();
    let Some(state) = said.get(object) else { return Err(silent(kind, &said.trouble)) };
    if state.info.starts_with("error: failed to get ") {
        return Ok(None);
    }
    if state.info.starts_with("error:") || state.info.is_empty() {
        return Err(silent(kind, if state.info.is_empty() { &said.trouble } else { &state.info }));
    }
    let info = |name: &str| {
        let line = state.info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    };
    let read = |what: &str, text: &str| {
        Element::parse(text).map_err(|error| {
            let why = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            ObserveError::unexpected(kind, format!("its {what} definition: {error}{why}"))
        })
    };
    let is_active = info("Active") == "yes" || info("State") == "running" || !matches!(info("Id"), "" | "-");
    let stored = (info("Persistent") == "yes").then(|| read("stored", &state.stored)).transpose()?;
    let live = is_active.then(|| read("live", &state.live)).transpose()?;
    Ok(Some(Found { stored, live, autostart: matches!(info("Autostart"), "yes" | "enable") }))
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.strip_prefix("error: ").unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Returns what differs between two definitions, but for what is in `unmanaged`.
fn differences(before: &Attributes, after: &Attributes, unmanaged: &[&str]) -> Vec<AttributeChange> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |side: &Attributes, name: &str| side.get(name).map_or(Shown::Absent, |v| Shown::Value(v.clone()));
    names
        .into_iter()
        .filter(|name| !unmanaged.contains(&name.as_str()) && before.get(*name) != after.get(*name))
        .map(|name| AttributeChange { name: name.clone(), before: shown(before, name), after: shown(after, name) })
        .collect()
}

/// Returns an attribute that differs.
fn differing(name: impl Into<String>, before: impl Into<Value>, after: impl Into<Value>) -> AttributeChange {
    AttributeChange { name: name.into(), before: Shown::Value(before.into()), after: Shown::Value(after.into()) }
}

/// Returns the names of attributes as a reason: `mtu, domain differ`.
fn reason(attributes: &[AttributeChange]) -> String {
    let names: Vec<&str> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    let verb = if names.len() == 1 { "differs" } else { "differ" };
    format!("{} {verb}", names.join(", "))
}

/// Returns a call of `virsh`, which says something only where it fails.
fn virsh<W: Word>(words: impl IntoIterator<Item = W>) -> Script {
    sh!("virsh -q -c qemu:///system {} >/dev/null", Script::words(words))
}

/// Returns a step that hands a definition to `virsh`, by its standard input.
fn define(title: impl Into<String>, verb: &str, definition: &Element) -> Step {
    Step::new(title, sh!("_payload | virsh -q -c qemu:///system {} --validate /dev/stdin >/dev/null", verb))
        .with_bytes(definition.render().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_no_number() {
        let read = |text: &str| serde_json::from_value::<VirtName>(text.into());
        for good in ["default", "par1-control", "vm_1.qcow2", "0a"] {
            assert_eq!(read(good).unwrap().as_str(), good);
        }
        let uuid = "52810f98-0a3e-4b7b-abfc-d29c7fc2c008";
        for bad in ["", "-r", "7", "a b", "a/b", "$(id)", "é", "a\n", uuid, &uuid.replace('-', ""), &"a".repeat(81)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
