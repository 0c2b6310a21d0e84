//! Variables: values with the place they were set at, in layers of one order.
//!
//! The order is `defaults < site < plane < groups in file order < host < --set`. A later layer replaces a value as a
//! whole, also a map: nothing is merged inside a value, so what a variable holds can always be read in one place.

use std::borrow::Cow;
use std::fmt;

use camino::Utf8PathBuf;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map as JsonMap, Value as Json};

use super::node::Spanned;
use crate::addr::{GroupName, PlaneName, SiteName};
use crate::diag::Span;

/// The variables of one layer.
///
/// A value that is to be kept secret is a reference, `{secret: {env: NAME}}`; it stays one until it is needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vars(IndexMap<Box<str>, Var>);

/// A variable's value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Var {
    /// The value.
    pub value: Json,
    /// Where its name stands.
    pub span: Span,
}

impl Vars {
    /// Returns the variable called `name`.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.0.get(name)
    }

    /// Returns all variables in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.0.iter().map(|(name, var)| (&**name, var))
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a variable, replacing an earlier value.
    pub fn set(&mut self, name: &str, var: Var) {
        self.0.insert(name.into(), var);
    }
}

impl<'de> Deserialize<'de> for Vars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = IndexMap::<Spanned<String>, Json>::deserialize(deserializer)?;
        let vars = entries.into_iter().map(|(name, value)| (name.value.into(), Var { value, span: name.span }));
        Ok(Self(vars.collect()))
    }
}

impl Serialize for Vars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, var)| (name, &var.value)))
    }
}

impl JsonSchema for Vars {
    fn schema_name() -> Cow<'static, str> {
        "Vars".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Variables. A value that is to be kept secret is a reference, `{secret: {env: NAME}}`",
            "additionalProperties": true
        })
    }
}

/// Which layer a variable was set in, from the weakest to the strongest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The `defaults` of the inventory.
    Defaults,
    /// The site of the host.
    Site(SiteName),
    /// The plane of the host.
    Plane(PlaneName),
    /// A group that the host is in.
    Group(GroupName),
    /// The host itself.
    Host,
    /// The command line.
    Set,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::Site(name) => write!(f, "site {name}"),
            Self::Plane(name) => write!(f, "plane {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Host => f.write_str("host"),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// Where a value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The layer.
    pub layer: Layer,
    /// Where the variable's name stands.
    pub span: Span,
}

/// A variable as one host has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedVar<'a> {
    /// The value that won.
    pub value: &'a Json,
    /// Where it comes from.
    pub origin: Origin,
    /// Where the values come from that it won over, the strongest first.
    pub overrode: Vec<Origin>,
}

/// Returns the variables that `layers` give together, sorted by name; a later layer wins.
pub fn resolve<'a>(layers: impl IntoIterator<Item = (Layer, &'a Vars)>) -> IndexMap<&'a str, ResolvedVar<'a>> {
    let mut resolved: IndexMap<&str, ResolvedVar<'_>> = IndexMap::new();
    for (layer, vars) in layers {
        for (name, var) in vars.iter() {
            let origin = Origin { layer: layer.clone(), span: var.span };
            match resolved.entry(name) {
                indexmap::map::Entry::Vacant(entry) => {
                    entry.insert(ResolvedVar { value: &var.value, origin, overrode: Vec::new() });
                }
                indexmap::map::Entry::Occupied(mut entry) => {
                    let winner = entry.get_mut();
                    winner.value = &var.value;
                    winner.overrode.insert(0, std::mem::replace(&mut winner.origin, origin));
                }
            }
        }
    }
    resolved.sort_unstable_keys();
    resolved
}

/// Names that a template or condition has from the host itself, so that no variable may take them.
pub const RESERVED: &[&str] = &[
    "host",
    "hosts",
    "address",
    "site",
    "room",
    "rack",
    "plane",
    "roles",
    "groups",
    "ssh",
    "interfaces",
    "links",
    "record",
    "provided_by",
    "operators",
    "facts",
    "registered",
    "inventory",
    "networks",
    "vars",
    "item",
    "this",
    "true",
    "false",
    "null",
    "in",
];

/// Where a secret value is to be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// An environment variable of the tool.
    Env(String),
    /// A file, relative to the inventory's folder; a newline at its end is left out.
    File(#[schemars(with = "String")] Utf8PathBuf),
    /// The output of a program, given as its arguments; a newline at its end is left out.
    Command(Vec<String>),
}

/// A value that is a reference to a secret: `{secret: {env: NAME}}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// Where the value is to be had.
    pub secret: SecretRef,
}

impl SecretRef {
    /// Returns the reference that `value` is, if it is one.
    pub fn of(value: &Json) -> Option<Self> {
        let map = value.as_object()?;
        if map.len() != 1 || !map.contains_key("secret") {
            return None;
        }
        SecretValue::deserialize(value).ok().map(|value| value.secret)
    }

    /// Returns whether the reference names nothing at all.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Env(name) => name.is_empty(),
            Self::File(path) => path.as_str().is_empty(),
            Self::Command(argv) => argv.first().is_none_or(String::is_empty),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file `{path}`"),
            // The arguments may name a path of a password store, but the rest of the line is noise in an error.
            Self::Command(argv) => write!(f, "the command `{}`", argv.first().map_or("", String::as_str)),
        }
    }
}

/// Returns variables as a JSON object.
pub fn to_json<'a>(vars: impl IntoIterator<Item = (&'a str, &'a Json)>) -> JsonMap<String, Json> {
    vars.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}
