//! The JSON form of `audit`.

use serde_json::{Map, Value, json};

use super::View;
use crate::policy::{Pack, Score, Standing};
use crate::report::findings;

fn score(score: Score) -> Value {
    json!({
        "held": score.held,
        "broken": score.broken,
        "waived": score.waived,
        "unread": score.unread,
        "not-concerned": score.not_concerned,
        "asked": score.asked(),
        "per-cent": score.per_cent(),
    })
}

/// Returns everything as one JSON object, version 1.
///
/// It is what `validate --json` prints (`diagnostics`, `waived`, `declared`, `conflicts`), and beside it `at`, `inventory`,
/// `scores` by pack and of `all`, `hosts` (each with its scores and, by rule, `held`, `broken`, `waived`, `unread` or
/// `not-concerned`), `unread` with why, `unreached` with why, and `software` where it was asked for.
pub fn json(view: &View<'_>) -> Value {
    let standings = view.standings();
    let mut output = findings::to_json(view.checked);
    let by_pack = |host: Option<usize>| -> Value {
        let packs = Pack::ALL.into_iter().filter(|pack| view.report.packs.contains(pack));
        let mut scores: Map<String, Value> =
            packs.map(|pack| (pack.as_str().to_owned(), score(standings.score(Some(pack), host)))).collect();
        scores.insert("all".to_owned(), score(standings.score(None, host)));
        Value::Object(scores)
    };
    let hosts = view.report.hosts.iter().map(|at| {
        let rules: Map<String, Value> =
            standings.rules.iter().map(|rule| (rule.id.to_owned(), json!(standings.standing(rule, *at)))).collect();
        json!({"host": view.host(*at), "scores": by_pack(Some(*at)), "rules": rules})
    });
    let unread = view.report.unasked.iter().map(|unasked| {
        json!({"rule": unasked.rule, "host": view.host(unasked.host), "why": unasked.why, "standing": Standing::Unread})
    });
    let unreached: Map<String, Value> =
        view.unreached.iter().map(|(host, why)| (host.to_string(), json!(why))).collect();
    if let Some(entries) = output.as_object_mut() {
        entries.insert("at".to_owned(), json!(view.at));
        entries.insert("inventory".to_owned(), json!(view.given));
        entries.insert("scores".to_owned(), by_pack(None));
        entries.insert("hosts".to_owned(), hosts.collect());
        entries.insert("unread".to_owned(), unread.collect());
        entries.insert("unreached".to_owned(), Value::Object(unreached));
        if !view.software.is_empty() {
            entries.insert("software".to_owned(), json!(view.software));
        }
    }
    output
}
