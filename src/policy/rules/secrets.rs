//! Secrets do not stand in the inventory, and passwords are kept as hashes that hold.

use serde_json::Value;

use crate::diag::Span;
use crate::model::vars::{SecretRef, Vars};
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};
use crate::template::has_expression;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-10.5.d",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-10.5.c"],
        text: Words {
            en: "no secret stands in the inventory, only references to where it is kept",
            fr: "aucun secret n'est écrit dans l'inventaire, seulement des références à l'endroit où il est gardé",
        },
        check: literal,
    },
    Rule {
        id: "SNC-10.3.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-10.3.d", "BP028-R68"],
        text: Words {
            en: "passwords are kept as yescrypt or SHA-512 hashes with salt",
            fr: "les mots de passe sont gardés en hachés yescrypt ou SHA-512 avec sel",
        },
        check: hashes,
    },
];

/// Ends of the names of variables that hold a secret.
const SECRET_NAMES: &[&str] =
    &["password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "private_key", "psk", "mot_de_passe"];

/// What a crypt hash begins with, and whether it still holds.
const CRYPT: &[(&str, bool)] = &[
    ("$y$", true),
    ("$6$", true),
    ("$1$", false),
    ("$5$", false),
    ("$2a$", false),
    ("$2b$", false),
    ("$2y$", false),
    ("$7$", false),
];

/// What is called with the owner of a variable, its host, its place, the nearest name above a text, and the text.
pub(super) type Visit<'v> = dyn FnMut(&str, Option<usize>, Span, &str, &str) + 'v;

/// Calls `visit` with each text in the variables of every layer.
pub(super) fn each_text(cx: &Cx<'_>, visit: &mut Visit<'_>) {
    let inventory = cx.inventory;
    let mut layer = |owner: &str, host: Option<usize>, vars: &Vars| {
        for (name, var) in vars.iter() {
            walk(name, &var.value, &mut |name, text| visit(owner, host, var.span, name, text));
        }
    };
    layer("defaults.vars", None, &inventory.defaults.vars);
    for (name, site) in &inventory.sites {
        layer(&subject("sites", name), None, &site.vars);
    }
    for (name, plane) in &inventory.planes {
        layer(&subject("planes", name), None, &plane.vars);
    }
    for (name, group) in &inventory.groups {
        layer(&subject("groups", name), None, &group.vars);
    }
    for (at, host) in cx.each_host() {
        if !host.vars.is_empty() {
            layer(&subject("hosts", &host.name), Some(at), &host.vars);
        }
    }
}

/// Calls `visit` with each text in a value and the nearest name above it; not with references to secrets.
fn walk(name: &str, value: &Value, visit: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => visit(name, text),
        Value::Array(items) => items.iter().for_each(|item| walk(name, item, visit)),
        Value::Object(_) if SecretRef::of(value).is_some() => {}
        Value::Object(entries) => entries.iter().for_each(|(key, item)| walk(key, item, visit)),
        _ => {}
    }
}

fn crypt(text: &str) -> Option<bool> {
    CRYPT.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, holds)| *holds)
}

fn is_secret(name: &str, text: &str) -> bool {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY-----") {
        return true;
    }
    let name = name.to_lowercase();
    SECRET_NAMES.iter().any(|end| name == *end || name.ends_with(&format!("_{end}")))
        && !text.trim().is_empty()
        && crypt(text).is_none()
        && !has_expression(text)
        && !matches!(text, "locked" | "!" | "*")
        // A path leads to a secret and is none.
        && !text.starts_with('/')
}

fn literal(cx: &Cx<'_>, found: &mut Found) {
    each_text(cx, &mut |owner, host, span, name, text| {
        if is_secret(name, text) {
            let message = say!(
                cx,
                "`{name}` is a secret that stands in the inventory for whoever reads it",
                "`{name}` est un secret que l'inventaire montre à qui le lit"
            );
            let help = say!(
                cx,
                "write where it is kept: `{name}: {{secret: {{command: [pass, show, …]}}}}`, and change the secret",
                "écrivez où il est gardé : `{name}: {{secret: {{command: [pass, show, …]}}}}`, et changez le secret"
            );
            found.push(Finding::new(owner, message).at(span).help(help).hosts(host));
        }
    });
}

fn hashes(cx: &Cx<'_>, found: &mut Found) {
    each_text(cx, &mut |owner, host, span, name, text| {
        if crypt(text) == Some(false) {
            let kind = text.get(..3).unwrap_or_default();
            let message = say!(
                cx,
                "`{name}` is a hash of the sort `{kind}`, which is too fast to guess",
                "`{name}` est un haché de type `{kind}`, trop rapide à deviner"
            );
            let help = say!(
                cx,
                "`mkpasswd --method=yescrypt` makes one that holds",
                "`mkpasswd --method=yescrypt` en produit un solide"
            );
            found.push(Finding::new(owner, message).at(span).help(help).hosts(host));
        }
    });
}
