//! A live ruleset without a task: what of it is not as the flows of the host want it, for whoever examines a host.
//!
//! The comparison is the one that a plan makes. What only a task can say is left open: whether dropped packets are logged,
//! and which tables of others may stay, so those are named and it is for the reader to judge them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::differences;
use super::live;
use super::ruleset::{TABLE, Table, dropped};
use crate::change::{AttributeChange, Shown};
use crate::model::matrix::HostFlows;
use crate::shell::Script;

/// How a live ruleset stands to the flows of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Whether the table of the flows is loaded.
    pub is_loaded: bool,
    /// How many rules there are in it.
    pub rules: usize,
    /// What is in it and should not be, or the other way.
    pub differences: Vec<Difference>,
    /// The tables of others, each with how many rules it has.
    pub others: BTreeMap<String, usize>,
}

/// A part of the table that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The part, such as `rule of input`.
    pub part: String,
    /// What is there; none where nothing is.
    pub found: Option<String>,
    /// What should be; none where nothing should.
    pub wanted: Option<String>,
}

/// Returns what reads the ruleset; [`examine`] takes what it prints.
pub fn question() -> Script {
    // Warnings that other programs manage a table come on standard error, and an error is wanted in words.
    Script::constant("nft -j list ruleset 2>/dev/null || { nft -j list ruleset 2>&1 >/dev/null; exit 1; }")
}

/// Compares a live ruleset with the flows of its host.
///
/// # Errors
/// The text says what has not the shape of a ruleset.
pub fn examine(flows: &HostFlows, text: &str) -> Result<Examined, String> {
    let mut tables = live::parse(text)?;
    let table = tables.remove(TABLE);
    let others = tables.into_iter().map(|(name, table)| (name, table.size())).collect();
    let Some(table) = table else { return Ok(Examined { others, ..Examined::default() }) };
    let of = |log: bool| {
        let mut attributes = Vec::new();
        differences(&table, &Table::of(flows, log), &mut attributes);
        attributes
    };
    // Whether dropped packets are logged is for a task to say: whichever is nearer is taken for what was wanted.
    let (plain, logged) = (of(false), of(true));
    let nearer = if logged.len() < plain.len() { logged } else { plain };
    let differences = nearer.into_iter().map(|change| {
        let AttributeChange { name, before, after } = change;
        Difference { part: name, found: text_of(before), wanted: text_of(after) }
    });
    Ok(Examined { is_loaded: true, rules: table.size(), differences: differences.collect(), others })
}

fn text_of(side: Shown) -> Option<String> {
    match side {
        Shown::Value(Value::String(text)) => Some(text),
        Shown::Value(value) => Some(value.to_string()),
        Shown::Absent | Shown::Sensitive | Shown::KnownAfterApply => None,
    }
}

/// Returns what reads the counters of the table of the flows; [`counted`] takes what it prints.
pub fn counters_question() -> Script {
    Script::constant("nft -j list counters table inet provision 2>/dev/null || :")
}

/// What the table has counted of the packets that came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Those that a flow let in, by the flow's name. Of a connection only the first packets count.
    pub by_flow: BTreeMap<String, u64>,
    /// Those that no flow let in.
    pub dropped: u64,
}

/// Reads the counters; there are none where the table is not loaded.
pub fn counted(text: &str) -> Counted {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let objects = json.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut counted = Counted::default();
    for counter in objects.iter().filter_map(|object| object.get("counter")) {
        let name = counter.get("name").and_then(Value::as_str).unwrap_or_default();
        let packets = counter.get("packets").and_then(Value::as_u64).unwrap_or_default();
        if name == dropped("input") {
            counted.dropped = packets;
        } else if let Some(flow) = name.strip_prefix("in_") {
            counted.by_flow.insert(flow.to_owned(), packets);
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::super::tests::every_sort;
    use super::*;

    fn flows() -> HostFlows {
        serde_json::from_value(every_sort()).unwrap()
    }

    #[test]
    fn a_ruleset_as_the_kernel_shows_it_is_recognised_and_each_stranger_in_it_is_named() {
        let live = include_str!("../../../tests/cases/nft/every_sort.json");
        let found = examine(&flows(), live).unwrap();
        assert!(found.is_loaded && found.differences.is_empty(), "{found:?}");
        let mut json: Value = serde_json::from_str(live).unwrap();
        let objects = json["nftables"].as_array_mut().unwrap();
        let hole = serde_json::json!({"rule": {"family": "inet", "table": "provision", "chain": "input", "handle": 99, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 8080}},
            {"accept": null},
        ]}});
        objects.push(hole);
        objects.push(serde_json::json!({"table": {"family": "ip", "name": "nat", "handle": 7}}));
        let found = examine(&flows(), &json.to_string()).unwrap();
        let hole = Difference {
            part: "rule of input".to_owned(),
            found: Some("tcp dport 8080 accept".to_owned()),
            wanted: None,
        };
        assert_eq!(found.differences, [hole]);
        assert_eq!(found.others, BTreeMap::from([("ip nat".to_owned(), 0)]));
    }

    #[test]
    fn a_table_that_is_gone_is_not_loaded() {
        let found = examine(&flows(), r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}]}"#).unwrap();
        assert_eq!(found, Examined::default());
        assert!(examine(&flows(), "Error: not permitted").is_err());
    }

    #[test]
    fn packets_are_counted_by_flow() {
        let text = r#"{"nftables": [{"metainfo": {}}, {"counter": {"family": "inet", "name": "in_ssh", "table": "provision", "packets": 7, "bytes": 1}},
            {"counter": {"family": "inet", "name": "dropped_input", "table": "provision", "packets": 3, "bytes": 1}}]}"#;
        let wanted = Counted { by_flow: BTreeMap::from([("ssh".to_owned(), 7)]), dropped: 3 };
        assert_eq!(counted(text), wanted);
        assert_eq!(counted(""), Counted::default());
    }
}
