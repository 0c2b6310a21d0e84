//! The table of rules, for who wants to know what is checked.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::policy::{ALWAYS, Lang, Level, Needs, Pack, Rule, conflicts_of, rules};
use crate::report::style::{Color, Tone, width_of, wrap};

fn level(level: Level) -> &'static str {
    match level {
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// Returns all rules by pack, a line or two each.
pub fn list(lang: Lang, color: Color, width: usize) -> String {
    let mut out = String::new();
    let ids = rules().map(|rule| rule.id).chain(ALWAYS.iter().map(|rule| rule.id));
    let widest = ids.map(width_of).max().unwrap_or_default();
    for pack in Pack::ALL {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", color.paint(Tone::Strong, pack.as_str()));
        for rule in rules().filter(|rule| rule.pack == pack) {
            let head = format!("  {:<widest$}  {:<7}  {:?}  ", rule.id, level(rule.level), rule.kind);
            let indent = width_of(&head);
            for (at, line) in wrap(rule.text.of(lang), width.saturating_sub(indent).max(30)).into_iter().enumerate() {
                let _ = match at {
                    0 => writeln!(out, "{head}{line}"),
                    _ => writeln!(out, "{:indent$}{line}", ""),
                };
            }
        }
    }
    let _ = writeln!(out, "\n{}", color.paint(Tone::Strong, if lang == Lang::Fr { "toujours" } else { "always" }));
    for rule in ALWAYS {
        let _ = writeln!(out, "  {:<widest$}  {:<7}  S  {}", rule.id, level(rule.level), rule.text.of(lang));
    }
    out
}

/// Returns all that is known of one rule.
pub fn explain(rule: &Rule, lang: Lang, color: Color, width: usize) -> String {
    let word = |en: &'static str, fr: &'static str| if lang == Lang::Fr { fr } else { en };
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", color.paint(Tone::Strong, rule.id), rule.text.of(lang));
    let other = if lang == Lang::Fr { rule.text.en } else { rule.text.fr };
    let _ = writeln!(out, "{other}\n");
    let needs = match rule.needs {
        Needs::Inventory => word("the inventory", "l'inventaire"),
        Needs::Both => word("the inventory, and what a playbook writes", "l'inventaire, et ce qu'écrit un playbook"),
        Needs::Playbook => word("what a playbook writes", "ce qu'écrit un playbook"),
        Needs::Live => word("the live hosts (`audit`)", "les hôtes en service (`audit`)"),
        Needs::Network => word(
            "the network of the live hosts (`audit`, `verify`)",
            "le réseau des hôtes en service (`audit`, `verify`)",
        ),
        Needs::Tried => word("connections that are tried (`verify`)", "des connexions essayées (`verify`)"),
    };
    let meaning = format!("{:?}, {}", rule.kind, rule.kind.meaning().of(lang));
    let mut rows = vec![
        (word("pack", "paquet"), rule.pack.as_str().to_owned()),
        (word("level", "niveau"), level(rule.level).to_owned()),
        (word("kind", "type"), meaning),
        (word("looks at", "examine"), needs.to_owned()),
    ];
    if !rule.also.is_empty() {
        rows.push((word("answers also", "répond aussi à"), rule.also.join(", ")));
    }
    for conflict in conflicts_of(rule.id) {
        let text = format!("{}: {}", conflict.against, conflict.text.of(lang));
        rows.push((word("disagrees with", "contredit"), text));
    }
    let widest = rows.iter().map(|(name, _)| width_of(name)).max().unwrap_or_default();
    for (name, text) in rows {
        for (at, line) in wrap(&text, width.saturating_sub(widest + 4).max(30)).into_iter().enumerate() {
            let _ = writeln!(out, "  {:<widest$}  {line}", if at == 0 { name } else { "" });
        }
    }
    out
}

/// Returns rules for other programs.
pub fn list_json<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Value {
    let rules = rules.into_iter().map(|rule| {
        let conflicts =
            conflicts_of(rule.id).map(|conflict| json!({"against": conflict.against, "text": conflict.text}));
        json!({
            "id": rule.id,
            "pack": rule.pack,
            "level": rule.level,
            "kind": rule.kind,
            "needs": rule.needs,
            "text": rule.text,
            "also": rule.also,
            "conflicts": conflicts.collect::<Vec<_>>(),
        })
    });
    json!({"version": 1, "rules": rules.collect::<Vec<_>>()})
}
