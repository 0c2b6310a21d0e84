//! What a host's kernel really does: `nft -j list ruleset`, brought into the words in which rules are wanted.
//!
//! Handles, the values of counters, the order of what has no order and comments of sets are left out. What is unknown here
//! is kept as the JSON that the host gave, so that it differs from everything that is wanted and can still be read.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
use serde_json::Value;

use super::ruleset::{Chain, Set, Table};
use crate::model::matrix::AddressSet;
use crate::model::matrix::protocol_number;

/// Reads a ruleset: its tables, each by family and name.
///
/// # Errors
/// The text says what has not the shape of a ruleset.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Table>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("`nft -j list ruleset`: {error}"))?;
    let objects = json.get("nftables").and_then(Value::as_array).ok_or("`nft -j list ruleset` lists nothing")?;
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for object in objects {
        let Some((kind, body)) = object.as_object().and_then(|entries| entries.iter().next()) else { continue };
        if kind == "metainfo" {
            continue;
        }
        let name = field(body, "name");
        let family = field(body, "family");
        let of = if kind == "table" { name } else { field(body, "table") };
        let table = tables.entry(format!("{family} {of}")).or_default();
        match kind.as_str() {
            "table" => {}
            "chain" => table.chains.entry(name.to_owned()).or_default().head = chain_head(body),
            "rule" => {
                let chain: &mut Chain = table.chains.entry(field(body, "chain").to_owned()).or_default();
                chain.rules.push(rule(body));
            }
            "counter" => {
                table.counters.insert(name.to_owned());
            }
            "set" => {
                table.sets.insert(name.to_owned(), set(body));
            }
            other => {
                table.others.insert(format!("{other} {name}"));
            }
        }
    }
    Ok(tables)
}

fn field<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn chain_head(body: &Value) -> String {
    let hook = field(body, "hook");
    if hook.is_empty() {
        return String::new();
    }
    let priority = body.get("prio").map(plain).unwrap_or_default();
    let device = body.get("dev").map(|dev| format!(" device {}", plain(dev))).unwrap_or_default();
    format!("type {} hook {hook}{device} priority {priority}; policy {};", field(body, "type"), field(body, "policy"))
}

fn set(body: &Value) -> Set {
    let kind = body.get("type").map(plain).unwrap_or_default();
    let mut flags: Vec<String> = items(body.get("flags")).map(plain).collect();
    flags.sort();
    let flags = if flags.is_empty() { String::new() } else { format!(" flags {};", flags.join(",")) };
    let mut networks: Vec<IpNet> = Vec::new();
    let mut others = BTreeSet::new();
    for element in items(body.get("elem")) {
        match addresses(element) {
            Some(found) => networks.extend(found),
            None => {
                others.insert(operand(element, Quote::Never));
            }
        }
    }
    Set { head: format!("type {kind};{flags}"), addresses: AddressSet::new(networks), others }
}

/// Returns the items of a list; one that stands alone is a list of one.
fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    match value {
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
    .iter()
}

/// Returns the networks that an element of a set stands for, if it stands for addresses.
fn addresses(element: &Value) -> Option<Vec<IpNet>> {
    if let Some(text) = element.as_str() {
        return Some(vec![IpNet::from(text.parse::<std::net::IpAddr>().ok()?)]);
    }
    if let Some(prefix) = element.get("prefix") {
        return Some(vec![format!("{}/{}", field(prefix, "addr"), prefix.get("len")?).parse().ok()?]);
    }
    let [first, last] = element.get("range")?.as_array()?.as_slice() else { return None };
    let subnets = match (first.as_str()?.parse().ok()?, last.as_str()?.parse().ok()?) {
        (std::net::IpAddr::V4(first), std::net::IpAddr::V4(last)) => IpSubnets::V4(Ipv4Subnets::new(first, last, 0)),
        (std::net::IpAddr::V6(first), std::net::IpAddr::V6(last)) => IpSubnets::V6(Ipv6Subnets::new(first, last, 0)),
        _ => return None,
    };
    Some(subnets.collect())
}

fn rule(body: &Value) -> String {
    let mut words: Vec<String> = items(body.get("expr")).map(statement).collect();
    if let Some(comment) = body.get("comment").and_then(Value::as_str) {
        words.push(format!("comment \"{comment}\""));
    }
    words.join(" ")
}

fn statement(json: &Value) -> String {
    let Some((kind, body)) = json.as_object().and_then(|entries| entries.iter().next()) else { return plain(json) };
    let known = match kind.as_str() {
        "match" => matched(body),
        "counter" => Some(body.as_str().map_or("counter".to_owned(), |name| format!("counter name \"{name}\""))),
        "accept" | "drop" | "return" | "continue" => Some(kind.clone()),
        "jump" | "goto" => Some(format!("{kind} {}", field(body, "target"))),
        "limit" => limit(body),
        "log" => log(body),
        _ => None,
    };
    known.unwrap_or_else(|| json.to_string())
}

fn matched(body: &Value) -> Option<String> {
    let left = body.get("left")?;
    let (name, quote) = match left.as_object()?.iter().next()? {
        (kind, meta) if kind == "meta" => match field(meta, "key") {
            key @ ("iifname" | "oifname") => (key.to_owned(), Quote::Always),
            key @ ("iif" | "oif") => (key.to_owned(), Quote::Always),
            key => (format!("meta {key}"), Quote::Never),
        },
        (kind, payload) if kind == "payload" && payload.get("protocol").is_some() => {
            (format!("{} {}", field(payload, "protocol"), field(payload, "field")), Quote::Never)
        }
        (kind, ct) if kind == "ct" && ct.get("dir").is_none() => (format!("ct {}", field(ct, "key")), Quote::Never),
        _ => return None,
    };
    let right = body.get("right")?;
    let mut value = operand(right, quote);
    if name == "meta l4proto" {
        // Some hosts know the names of protocols and some do not.
        value = protocol_number(&value).map_or(value, |number| number.to_string());
    }
    let operator = match field(body, "op") {
        "==" | "in" => String::new(),
        other => format!("{other} "),
    };
    Some(format!("{name} {operator}{value}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Always,
    Never,
}

fn operand(value: &Value, quote: Quote) -> String {
    match value {
        Value::String(text) if quote == Quote::Always && !text.starts_with('@') => format!("\"{text}\""),
        Value::Array(flags) => {
            let mut flags: Vec<String> = flags.iter().map(|flag| operand(flag, quote)).collect();
            flags.sort();
            flags.join(",")
        }
        Value::Object(entries) => match entries.iter().next() {
            Some((kind, Value::Array(parts))) if kind == "set" => {
                let mut parts: Vec<String> = parts.iter().map(|part| operand(part, quote)).collect();
                parts.sort_by_key(|part| (leading_number(part), part.clone()));
                format!("{{ {} }}", parts.join(", "))
            }
            Some((kind, Value::Array(ends))) if kind == "range" => ends.iter().map(plain).collect::<Vec<_>>().join("-"),
            Some((kind, prefix)) if kind == "prefix" => {
                format!("{}/{}", field(prefix, "addr"), prefix.get("len").map(plain).unwrap_or_default())
            }
            _ => value.to_string(),
        },
        other => plain(other),
    }
}

/// Returns the number that a part begins with, so that ports are in their own order.
fn leading_number(part: &str) -> Option<u64> {
    let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn limit(body: &Value) -> Option<String> {
    let is_plain = body.as_object()?.keys().all(|key| matches!(key.as_str(), "rate" | "burst" | "per"));
    is_plain.then(|| {
        let number = |name: &str| body.get(name).map(plain).unwrap_or_default();
        format!("limit rate {}/{} burst {} packets", number("rate"), field(body, "per"), number("burst"))
    })
}

fn log(body: &Value) -> Option<String> {
    let is_plain = body.as_object()?.keys().all(|key| matches!(key.as_str(), "prefix" | "level"));
    is_plain.then(|| {
        let level = if field(body, "level").is_empty() { "warn" } else { field(body, "level") };
        format!("log prefix \"{}\" level {level}", field(body, "prefix"))
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
