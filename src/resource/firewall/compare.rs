//! What differs between the table that is loaded and the one that is wanted, part by part.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::ruleset::{Chain, Set, Table, element};
use crate::change::{AttributeChange, Shown};

/// How many rules of one chain are shown one by one.
const SHOWN: usize = 40;

/// Says how many rules there are.
pub(super) fn rules(count: usize) -> String {
    if count == 1 { "1 rule".to_owned() } else { format!("{count} rules") }
}

/// Returns a difference of which one side may be absent.
pub(super) fn only(name: String, before: Option<Value>, after: Option<Value>) -> AttributeChange {
    let shown = |side: Option<Value>| side.map_or(Shown::Absent, Shown::Value);
    AttributeChange { name, before: shown(before), after: shown(after) }
}

/// Adds each difference between two tables.
pub(super) fn differences(found: &Table, wanted: &Table, attributes: &mut Vec<AttributeChange>) {
    let none = Chain::default();
    let names: BTreeSet<&String> = found.chains.keys().chain(wanted.chains.keys()).collect();
    for name in names {
        match (found.chains.get(name), wanted.chains.get(name)) {
            (Some(found), None) => {
                attributes.push(only(format!("chain {name}"), Some(json!(rules(found.rules.len()))), None));
            }
            (before, Some(wanted)) => {
                let found = before.unwrap_or(&none);
                if found.head != wanted.head {
                    let head = before.map(|chain| json!(chain.head));
                    attributes.push(only(format!("chain {name}"), head, Some(json!(wanted.head))));
                }
                rule_differences(name, found, wanted, attributes);
            }
            (None, None) => {}
        }
    }
    let names: BTreeSet<&String> = found.sets.keys().chain(wanted.sets.keys()).collect();
    for name in names {
        let (before, after) = (found.sets.get(name), wanted.sets.get(name));
        if before != after {
            attributes.push(only(format!("set {name}"), before.map(text_of), after.map(text_of)));
        }
    }
    let surplus = found.counters.difference(&wanted.counters).map(|name| format!("counter {name}"));
    for name in surplus.chain(found.others.iter().cloned()) {
        attributes.push(only(name, Some(json!("there")), None));
    }
    for name in wanted.counters.difference(&found.counters) {
        attributes.push(only(format!("counter {name}"), None, Some(json!("there"))));
    }
}

fn rule_differences(chain: &str, found: &Chain, wanted: &Chain, attributes: &mut Vec<AttributeChange>) {
    let surplus = without(&found.rules, &wanted.rules);
    let missing = without(&wanted.rules, &found.rules);
    if surplus.is_empty() && missing.is_empty() && found.rules != wanted.rules {
        let (before, after) = (Some(json!("in another order")), Some(json!("in the order of the flows")));
        attributes.push(only(format!("rules of {chain}"), before, after));
    }
    let name = format!("rule of {chain}");
    let mut add = |rules: Vec<&str>, as_side: &dyn Fn(Value) -> (Option<Value>, Option<Value>)| {
        let more = rules.len().saturating_sub(SHOWN);
        for rule in rules.into_iter().take(SHOWN) {
            let (before, after) = as_side(json!(rule));
            attributes.push(only(name.clone(), before, after));
        }
        if more > 0 {
            let (before, after) = as_side(json!(format!("{more} more")));
            attributes.push(only(name.clone(), before, after));
        }
    };
    add(surplus, &|rule| (Some(rule), None));
    add(missing, &|rule| (None, Some(rule)));
}

/// Returns what `some` has and `others` have not, each as often as it is too many.
fn without<'a>(some: &'a [String], others: &[String]) -> Vec<&'a str> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in others {
        *left.entry(rule).or_default() += 1;
    }
    let mut surplus = Vec::new();
    for rule in some {
        match left.get_mut(rule.as_str()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => surplus.push(rule.as_str()),
        }
    }
    surplus
}

fn text_of(set: &Set) -> Value {
    let mut elements: Vec<String> = set.addresses.networks().iter().map(element).collect();
    elements.extend(set.others.iter().cloned());
    if elements.is_empty() { json!("empty") } else { json!(elements.join(", ")) }
}
