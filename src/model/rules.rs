//! Rules of a fleet's own, as `policies/*.yaml` declares them. What an expression means is `policy`'s to know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::Spanned;

/// A file of rules.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RulesFile {
    /// The rules.
    pub rules: Vec<Spanned<CustomRule>>,
}

/// A rule of a fleet's own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomRule {
    /// The identifier, such as `EC-001`, by which waivers and reports name the rule.
    pub id: Spanned<String>,
    /// How bad it is to break the rule.
    #[serde(default)]
    pub level: RuleLevel,
    /// What the expression is asked for, one by one.
    #[serde(rename = "for")]
    pub each: Spanned<RuleScope>,
    /// A CEL expression: only where it is true does the rule apply.
    #[serde(default)]
    pub when: Option<Spanned<String>>,
    /// A CEL expression that must be true. `item` is what is asked for, and `fleet` the whole.
    pub check: Spanned<String>,
    /// What is wrong where it is not: a lowercase fragment without a full stop.
    pub message: Spanned<String>,
    /// The same in French.
    #[serde(default)]
    pub message_fr: Option<Spanned<String>>,
    /// What to do next.
    #[serde(default)]
    pub help: Option<String>,
}

/// How bad it is to break a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleLevel {
    /// Worth telling.
    Note,
    /// To be looked at; the run goes on.
    Warning,
    /// Nothing is touched.
    #[default]
    Error,
}

/// What a rule is asked for, one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleScope {
    /// The fleet as a whole.
    Fleet,
    /// Each site.
    Sites,
    /// Each zone.
    Zones,
    /// Each network.
    Networks,
    /// Each plane.
    Planes,
    /// Each flow.
    Flows,
    /// Each endpoint.
    Endpoints,
    /// Each supplier.
    Suppliers,
    /// Each operator.
    Operators,
    /// Each host.
    Hosts,
}
