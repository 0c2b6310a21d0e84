use std::collections::BTreeMap;
use std::net::IpAddr;

use indexmap::IndexMap;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::diag::Sources;

fn span() -> Span {
    Span { file: Sources::default().add("t", ""), start: 0, end: 0 }
}

/// A tree with a span of its own for each part, so that a test can name the part an error points at.
fn numbered(node: &mut Node, next: &mut u32) {
    let mut number = |span: &mut Span| {
        *next += 1;
        (span.start, span.end) = (*next, *next);
    };
    number(&mut node.span);
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::Seq(items) => items.iter_mut().for_each(|item| numbered(item, next)),
        Value::Map(entries) => {
            for (key, value) in entries {
                *next += 1;
                (key.span.start, key.span.end) = (*next, *next);
                numbered(value, next);
            }
        }
    }
}

fn plain(text: &str) -> Node {
    Node { span: span(), value: Value::Scalar(Scalar::plain(text)) }
}

fn tree(json: serde_json::Value) -> Node {
    let mut node = Node::from_json(span(), &json);
    numbered(&mut node, &mut 0);
    node
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Ssh {
    address: IpAddr,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Ssh,
    Local,
    Wrapped(String),
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Host {
    site: Spanned<String>,
    ssh: Ssh,
    #[serde(default)]
    roles: OneOrMany<Spanned<String>>,
    #[serde(default)]
    vars: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    up: bool,
    #[serde(default)]
    jumps: Vec<Ssh>,
}

#[test]
fn a_typed_value_is_read_with_its_places() {
    let node = tree(json!({"site": "par1", "ssh": {"address": "10.0.0.1", "mode": {"wrapped": "x"}}, "roles": "etcd"}));
    let host: Host = node.read().unwrap();
    assert_eq!(&*host.site.value, "par1");
    assert_eq!(host.site.span, node.get("site").unwrap().span);
    assert_eq!(host.ssh.mode, Mode::Wrapped("x".to_owned()));
    assert_eq!(host.roles.0.len(), 1);
    assert_eq!(host.roles[0].span, node.get("roles").unwrap().span);
}

#[test]
fn all_errors_of_a_value_are_reported_each_at_its_place() {
    let node = tree(json!({
        "sit": "par1",
        "ssh": {"address": "10.0.0", "port": 70000, "mode": "locl", "x": 1},
        "jumps": [{"port": 1, "hop": 2}],
        "roles": ["a", ["b"]],
        "up": "yes",
        "vars": []
    }));
    let mut diags = Diagnostics::default();
    assert!(node.read_all_at::<Host>(Span { start: 900, end: 900, ..span() }, &mut diags).is_none());
    diags.sort();
    let shown: Vec<String> = diags
        .iter()
        .map(|d| {
            let at = d.primary.as_ref().unwrap().span.start;
            format!("{at} {}: {} ({})", d.code, d.message, d.help.as_deref().unwrap_or_default())
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    2 unknown-key: unknown key `sit` (did you mean `site`?)
    7 invalid-value: invalid IP address syntax: `10.0.0` ()
    9 invalid-value: expected an integer from 0 to 65535, found `70000` ()
    11 unknown-value: unknown value `locl` (did you mean `local`?)
    12 unknown-key: unknown key `x` (known are `address`, `port`, `mode`)
    16 missing-key: the key `address` is missing ()
    19 unknown-key: unknown key `hop` (known are `address`, `port`, `mode`)
    24 wrong-type: expected a text, found a list ()
    27 wrong-type: expected `true` or `false`, found the text "yes" ()
    29 wrong-type: expected a map, found a list ()
    "#);
}

#[test]
fn strings_take_scalars_as_written_but_not_null() {
    for text in ["1.10", "0644", "no", "true", "52:54:00:00:00:01", "12"] {
        assert_eq!(plain(text).read::<String>().unwrap(), text);
    }
    assert_eq!(plain("~").read::<Option<String>>().unwrap(), None);
    for text in ["", "~", "null"] {
        let error = plain(text).read::<String>().unwrap_err();
        assert_eq!(error.message, "expected a text, found nothing");
    }
    assert_eq!(
        plain("0644").read::<u32>().unwrap_err().message,
        "expected an integer from 0 to 4294967295, found the text \"0644\""
    );
    assert_eq!(plain("0x1F").read::<u8>().unwrap(), 31);
    assert_eq!(plain("0o17").read::<u8>().unwrap(), 15);
    assert_eq!(plain("1e3").read::<f64>().unwrap(), 1000.0);
    assert_eq!(plain("-1").read::<u8>().unwrap_err().message, "expected an integer from 0 to 255, found `-1`");
    for text in ["yes", "True", "on", "1"] {
        assert!(plain(text).read::<bool>().is_err(), "{text}");
    }
}

#[test]
fn keys_are_read_as_the_type_of_the_map() {
    let node = tree(json!({"22": "ssh", "80": "http"}));
    let ports: IndexMap<Spanned<u16>, String> = node.read().unwrap();
    assert_eq!(ports.keys().map(|port| port.value).collect::<Vec<_>>(), [22, 80]);
    assert_eq!(ports.keys().next().unwrap().span.start, 2);
    assert_eq!(tree(json!({"x": "ssh"})).read::<BTreeMap<u16, String>>().unwrap_err().span.start, 2);
}

#[test]
fn a_located_value_has_the_schema_of_its_value_and_a_single_item_may_stand_for_a_list() {
    let schema = |schema: schemars::Schema| schema.to_value();
    assert_eq!(schema(schemars::schema_for!(Spanned<u16>)), schema(schemars::schema_for!(u16)));
    assert!(schema(schemars::schema_for!(OneOrMany<String>)).to_string().contains("anyOf"));
    let many: OneOrMany<u8> = serde_json::from_str("[1, 2]").unwrap();
    assert_eq!(serde_json::to_string(&many).unwrap(), "[1,2]");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
        "(true|null|~|[0-9.+-eE]{1,6}|)".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(".{0,8}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_comes_back_as_it_went_in(json in any_json()) {
        let node = Node::from_json(span(), &json);
        prop_assert_eq!(&node.to_json(), &json);
        // The serde reader and `to_json` agree on every value.
        prop_assert_eq!(node.read::<serde_json::Value>().unwrap(), json);
    }

    #[test]
    fn a_plain_scalar_keeps_its_text_unless_it_is_null(text in "[ -~]{1,12}") {
        let node = plain(&text);
        match node.to_json() {
            serde_json::Value::Null => prop_assert!(node.is_null()),
            serde_json::Value::String(found) => prop_assert_eq!(found, text),
            other => prop_assert_eq!(other.to_string(), text),
        }
    }
}
