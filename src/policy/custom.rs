//! A fleet's own rules: CEL expressions over the model, asked of each thing that they are for.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map as JsonMap, Value, json};

use super::cx::{Cx, flow_subject, subject};
use super::finding::Finding;
use super::rule::Lang;
use super::rules::find_rule;
use super::say;
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::model::inventory::{Host, Inventory};
use crate::model::node::Spanned;
use crate::model::rules::{CustomRule, RuleScope};
use crate::model::vars;
use crate::template::{Expression, ExpressionError, Given};

/// The fleet's own rules, with their expressions parsed.
pub(super) struct Own<'a>(Vec<OwnRule<'a>>);

struct OwnRule<'a> {
    rule: &'a CustomRule,
    when: Option<(&'a Spanned<String>, Expression)>,
    check: Expression,
}

/// Something that a rule is asked for.
struct Item {
    subject: String,
    name: String,
    host: Option<usize>,
    span: Option<Span>,
    value: Value,
}

impl<'a> Own<'a> {
    /// Parses the expressions; what is wrong with a rule is added to `problems`, and the rule is not asked.
    pub(super) fn parse(rules: &'a [Spanned<CustomRule>], problems: &mut Diagnostics) -> Self {
        let mut own: Vec<OwnRule<'a>> = Vec::new();
        for rule in rules {
            let rule = &rule.value;
            if find_rule(&rule.id).is_some() {
                let problem = Diagnostic::error("duplicate-rule", format!("`{}` is a rule of the tool's own", rule.id));
                problems.push(problem.at(rule.id.span).help("`provision rules` lists them; choose another identifier"));
                continue;
            }
            if let Some(first) = own.iter().find(|other| other.rule.id == rule.id) {
                let problem = Diagnostic::error("duplicate-rule", format!("there are two rules `{}`", rule.id));
                problems.push(problem.at(rule.id.span).label(first.rule.id.span, "it is first given here"));
                continue;
            }
            let mut parse = |text: &'a Spanned<String>| match Expression::parse(text) {
                Ok(expression) => Some(expression),
                Err(error) => {
                    problems.push(located(&error, text));
                    None
                }
            };
            let check = parse(&rule.check);
            let when = rule.when.as_ref().map(|when| (when, parse(when)));
            let when = match when {
                Some((_, None)) => continue,
                Some((text, Some(expression))) => Some((text, expression)),
                None => None,
            };
            own.extend(check.map(|check| OwnRule { rule, when, check }));
        }
        Self(own)
    }

    /// Returns the identifiers.
    pub(super) fn ids(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().map(|own| own.rule.id.as_str())
    }

    /// Asks all rules.
    pub(super) fn check(&self, cx: &Cx<'_>, findings: &mut Vec<Finding>, problems: &mut Diagnostics) {
        if self.0.is_empty() {
            return;
        }
        let fleet = Given::new(&fleet(cx.inventory));
        for own in &self.0 {
            own.check(cx, &fleet, findings, problems);
        }
    }
}

impl OwnRule<'_> {
    fn check(&self, cx: &Cx<'_>, fleet: &Given, findings: &mut Vec<Finding>, problems: &mut Diagnostics) {
        let with_vars = [Some(&self.check), self.when.as_ref().map(|(_, when)| when)]
            .into_iter()
            .flatten()
            .any(|expression| expression.mentions("item").iter().any(|word| word == "vars"));
        let mut report = |text: &Spanned<String>, error: &ExpressionError, item: &Item| {
            let mut problem = located(error, text);
            problem.message = format!("{} (asked of `{}`)", problem.message, item.name);
            problems.push(
                problem.help("`item` is what the rule is for, and `fleet` the whole inventory without its hosts"),
            );
        };
        for item in items(cx, self.rule.each.value, with_vars) {
            let value = Given::new(&item.value);
            let given = [("item", &value), ("fleet", fleet)];
            if let Some((text, when)) = &self.when {
                match when.holds(&given) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    // One item shows what is wrong with the expression; the others would say it again.
                    Err(error) => return report(text, &error, &item),
                }
            }
            match self.check.holds(&given) {
                Ok(true) => {}
                Ok(false) => findings.push(self.finding(cx, item)),
                Err(error) => return report(&self.rule.check, &error, &item),
            }
        }
    }

    fn finding(&self, cx: &Cx<'_>, item: Item) -> Finding {
        let message = match (&self.rule.message_fr, cx.lang) {
            (Some(french), Lang::Fr) => french,
            _ => &self.rule.message,
        };
        let name = &item.name;
        let text = match item.span {
            Some(_) => format!("{message}: `{name}`"),
            None => message.value.clone(),
        };
        let rule_is_here = say!(cx, "what the rule asks", "ce que la règle demande");
        let mut finding = Finding::new(item.subject, text).hosts(item.host).only(self.rule.level);
        finding.rule = Cow::Owned(self.rule.id.value.clone());
        finding.help = self.rule.help.clone();
        match item.span {
            Some(span) => finding.at(span).label(self.rule.check.span, rule_is_here),
            None => finding.at(self.rule.check.span),
        }
    }
}

/// Returns a problem with an expression, at its place in the file.
fn located(error: &ExpressionError, text: &Spanned<String>) -> Diagnostic {
    let (message, at) = match error {
        ExpressionError::Syntax { why, at, .. } => {
            // The parser says where as if the expression were a file of its own.
            let why = why
                .split_once("<input>:")
                .and_then(|(_, rest)| rest.split_once(": "))
                .map_or(why.as_str(), |(_, why)| why);
            (format!("the expression is not well-formed: {why}"), *at)
        }
        ExpressionError::Evaluation { why, .. } => (format!("the expression cannot be evaluated: {why}"), None),
        ExpressionError::NotBoolean { found, .. } => {
            (format!("the expression is {found}, which is neither true nor false"), None)
        }
    };
    let span = match at {
        Some((1, column)) => within(text, column, 1),
        _ => undeclared(error, text).unwrap_or(text.span),
    };
    Diagnostic::error("bad-expression", message).at(span)
}

/// Returns where the variable stands that an expression asks for and nobody gives.
fn undeclared(error: &ExpressionError, text: &Spanned<String>) -> Option<Span> {
    let ExpressionError::Evaluation { why, .. } = error else { return None };
    let name = why.strip_prefix("Undeclared reference to '")?.strip_suffix('\'')?;
    let at = text.find(name)?;
    Some(within(text, text.get(..at)?.chars().count() + 1, name.len()))
}

/// Returns the place of some characters from a column on, of a text that stands on one line of a file.
fn within(text: &Spanned<String>, column: usize, length: usize) -> Span {
    let span = text.span;
    // The text starts at its span, or after a quote; with escapes in it, only the whole can be pointed at.
    let quote = match ((span.end - span.start) as usize).checked_sub(text.len()) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return span,
    };
    let offset: usize = text.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    let start = (span.start as usize + quote + offset.min(text.len())) as u32;
    Span { start, end: start + length as u32, ..span }
}

fn items(cx: &Cx<'_>, scope: RuleScope, with_vars: bool) -> Vec<Item> {
    fn entries<'a, T: Serialize + 'a>(section: &str, all: impl Iterator<Item = (String, &'a Spanned<T>)>) -> Vec<Item> {
        let items = all.map(|(name, entry)| Item {
            subject: subject(section, &name),
            host: None,
            span: Some(entry.span),
            value: named(&name, &entry.value),
            name,
        });
        items.collect()
    }
    let inventory = cx.inventory;
    match scope {
        RuleScope::Fleet => vec![Item {
            subject: "fleet".to_owned(),
            name: "fleet".to_owned(),
            host: None,
            span: None,
            value: fleet(inventory),
        }],
        RuleScope::Sites => entries("sites", inventory.sites.iter().map(|(name, entry)| (name.to_string(), entry))),
        RuleScope::Zones => entries("zones", inventory.zones.iter().map(|(name, entry)| (name.to_string(), entry))),
        RuleScope::Networks => {
            entries("networks", inventory.networks.iter().map(|(name, entry)| (name.to_string(), entry)))
        }
        RuleScope::Planes => entries("planes", inventory.planes.iter().map(|(name, entry)| (name.to_string(), entry))),
        RuleScope::Endpoints => {
            entries("endpoints", inventory.endpoints.iter().map(|(name, entry)| (name.clone(), entry)))
        }
        RuleScope::Suppliers => {
            entries("suppliers", inventory.suppliers.iter().map(|(name, entry)| (name.clone(), entry)))
        }
        RuleScope::Operators => {
            entries("operators", inventory.operators.iter().map(|(name, entry)| (name.clone(), entry)))
        }
        RuleScope::Flows => {
            let flows = inventory.flows.iter().map(|flow| Item {
                subject: flow_subject(flow),
                name: flow.why.value.clone(),
                host: None,
                span: Some(flow.span),
                value: serde_json::to_value(&flow.value).unwrap_or_default(),
            });
            flows.collect()
        }
        RuleScope::Hosts => {
            let hosts = cx.each_host().map(|(at, host)| Item {
                subject: subject("hosts", &host.name),
                name: host.name.to_string(),
                host: Some(at),
                span: Some(host.span),
                value: host_value(inventory, host, with_vars),
            });
            hosts.collect()
        }
    }
}

fn named(name: &str, entry: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    if let Some(entries) = value.as_object_mut() {
        entries.insert("name".to_owned(), Value::from(name));
    }
    value
}

fn host_value(inventory: &Inventory, host: &Host, with_vars: bool) -> Value {
    let mut value = inventory.lookup(host);
    if let Some(entries) = value.as_object_mut() {
        entries.insert("record".to_owned(), serde_json::to_value(&host.record).unwrap_or_default());
        let by = host.provided_by.as_ref().map(|by| by.to_string());
        entries.insert("provided_by".to_owned(), by.map_or(Value::Null, Value::from));
        if with_vars {
            let vars = inventory.vars(host).into_iter().map(|(name, var)| (name, var.value));
            entries.insert("vars".to_owned(), Value::Object(vars::to_json(vars)));
        }
    }
    value
}

/// Returns all of an inventory but its hosts, which are too many to be handed to each expression.
fn fleet(inventory: &Inventory) -> Value {
    fn map<'a, K: std::fmt::Display + 'a, T: Serialize + 'a>(
        entries: impl Iterator<Item = (&'a K, &'a Spanned<T>)>,
    ) -> Value {
        let entries = entries.map(|(name, entry)| (name.to_string(), named(&name.to_string(), &entry.value)));
        Value::Object(entries.collect::<JsonMap<String, Value>>())
    }
    json!({
        "provider": inventory.provider,
        "policy": inventory.policy,
        "sites": map(inventory.sites.iter()),
        "zones": map(inventory.zones.iter()),
        "networks": map(inventory.networks.iter()),
        "planes": map(inventory.planes.iter()),
        "endpoints": map(inventory.endpoints.iter()),
        "suppliers": map(inventory.suppliers.iter()),
        "operators": map(inventory.operators.iter()),
        "flows": inventory.flows.iter().map(|flow| serde_json::to_value(&flow.value).unwrap_or_default()).collect::<Vec<_>>(),
        "hosts": inventory.hosts.len(),
    })
}
