//! What is checked of variables where they are written, and those from the command line.

use camino::Utf8Path;

use crate::diag::{Diagnostic, Diagnostics, Sources, Span};
use crate::model::node::{Node, Scalar, Value};
use crate::model::vars::{RESERVED, SecretValue, Var, Vars};

/// Checks the names and the secret references of the `vars` of an entry.
pub(super) fn check_vars(entry: &Node, diags: &mut Diagnostics) {
    let Some(vars) = entry.get("vars").and_then(Node::as_map) else { return };
    for (key, value) in vars {
        check_variable_name(&key.text, key.span, diags);
        check_secrets(value, diags);
    }
}

fn check_variable_name(name: &str, span: Span, diags: &mut Diagnostics) {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_word {
        let diagnostic =
            Diagnostic::error("invalid-name", format!("`{}` cannot be the name of a variable", name.escape_debug()));
        let with_underscores = name.replace(['-', '.'], "_");
        diags.push(diagnostic.at(span).help(if with_underscores == name {
            "a variable is a word of letters, digits and `_`, so that conditions can name it".to_owned()
        } else {
            format!("write `{with_underscores}`: conditions would take the `-` for a minus and the `.` for a field")
        }));
    } else if RESERVED.contains(&name) {
        let message = format!("`{name}` has a meaning of its own and cannot be the name of a variable");
        diags.push(Diagnostic::error("invalid-name", message).at(span));
    }
}

/// Checks that each map with the one key `secret` is a reference, not the secret itself.
fn check_secrets(value: &Node, diags: &mut Diagnostics) {
    match &value.value {
        Value::Scalar(_) => {}
        Value::Seq(items) => items.iter().for_each(|item| check_secrets(item, diags)),
        Value::Map(entries) => match entries.as_slice() {
            [(key, inner)] if &*key.text == "secret" => {
                if inner.as_map().is_none() {
                    diags.push(
                        Diagnostic::error("literal-secret", "a secret is a reference, not its value")
                            .at(inner.span)
                            .help("write `{secret: {env: NAME}}`, `{secret: {file: PATH}}` or `{secret: {command: [...]}}`"),
                    );
                } else if value.read_all::<SecretValue>(diags).is_some_and(|value| value.secret.is_empty()) {
                    diags.push(Diagnostic::error("invalid-value", "the reference to a secret is empty").at(inner.span));
                }
            }
            _ => entries.iter().for_each(|(_, value)| check_secrets(value, diags)),
        },
    }
}

/// Reads `KEY=VALUE` arguments; each value is YAML.
pub(super) fn read_sets(sets: &[String], sources: &mut Sources, diags: &mut Diagnostics) -> Vars {
    let mut vars = Vars::default();
    for set in sets {
        let Some((name, text)) = set.split_once('=') else {
            let message = format!("`--set {set}` sets nothing");
            diags.push(Diagnostic::error("invalid-set", message).help("write `--set NAME=VALUE`"));
            continue;
        };
        let path = format!("--set {name}");
        let value = if text.trim().is_empty() {
            let file = sources.add(&path, text);
            Some(Node { span: Span { file, start: 0, end: 0 }, value: Value::Scalar(Scalar::quoted(text)) })
        } else {
            super::super::yaml::parse(sources, Utf8Path::new(&path), text.as_bytes(), diags)
        };
        if let Some(value) = value {
            check_variable_name(name, value.span, diags);
            check_secrets(&value, diags);
            vars.set(name, Var { value: value.to_json(), span: value.span });
        }
    }
    vars
}
