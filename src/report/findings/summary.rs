//! What stands below the findings for people: what was waived, what is only declared, where guides disagree, and a count.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Checked;
use crate::diag::Severity;
use crate::policy::{Lang, Level};
use crate::report::style::{Color, Tone, count, escape, wrap};

/// Returns the findings that are only notes, one line each.
pub fn notes(checked: &Checked<'_>, color: Color) -> String {
    let mut out = String::new();
    for diagnostic in checked.diagnostics(true).iter().filter(|diagnostic| diagnostic.severity == Severity::Note) {
        let place = diagnostic.primary.as_ref().map(|label| format!(" {}:", checked.sources.locate(label.span)));
        let head = format!("note[{}]", diagnostic.code);
        let (head, place) = (color.paint(Tone::Quiet, &head), place.unwrap_or_else(|| ":".to_owned()));
        let _ = writeln!(out, "{head}{place} {}", escape(&diagnostic.message));
    }
    out
}

/// Returns what was waived and by whom, what is only declared, and where guides disagree.
pub fn signed(checked: &Checked<'_>, color: Color, width: usize) -> String {
    let Some(report) = checked.report else { return String::new() };
    let is_french = checked.lang == Lang::Fr;
    let word = |en: &'static str, fr: &'static str| if is_french { fr } else { en };
    let mut out = String::new();
    let mut section = |heading: &str, lines: Vec<(String, String)>| {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "{}", color.paint(Tone::Strong, heading));
        for (head, text) in lines {
            let text = format!("{head}: {}", escape(&text));
            for (at, line) in wrap(&text, width.saturating_sub(4)).into_iter().enumerate() {
                let _ = writeln!(out, "{}{line}", if at == 0 { "  " } else { "    " });
            }
        }
    };

    let mut waived: BTreeMap<usize, usize> = BTreeMap::new();
    for found in &report.waived {
        *waived.entry(found.waiver).or_default() += 1;
    }
    let lines = waived.into_iter().filter_map(|(at, number)| {
        let waiver = checked.waiver(at)?;
        let (rule, expires, owner) = (&waiver.rule, &waiver.expires, &waiver.owner);
        let head = match is_french {
            false => format!("{rule} ({}, until {expires}, {owner})", count(number, "finding")),
            true => format!("{rule} ({}, jusqu'au {expires}, {owner})", french(number, "constat")),
        };
        Some((head, waiver.why.value.clone()))
    });
    section(word("Waived", "Dérogations"), lines.collect());
    let declared = report.declared.iter().map(|declared| (declared.rule.to_owned(), declared.text.clone()));
    section(word("Declared, not verified", "Déclaré, non vérifié"), declared.collect());
    let conflicts = checked.conflicts().into_iter().map(|conflict| {
        let head = format!("{} {} {}", conflict.rule, word("against", "contre"), conflict.against);
        (head, conflict.text.of(checked.lang).to_owned())
    });
    section(word("Where guides disagree", "Où les guides se contredisent"), conflicts.collect());
    out
}

/// Returns what stands below the findings; nothing where no rule was asked.
pub fn summary(checked: &Checked<'_>, color: Color, width: usize) -> String {
    let Some(report) = checked.report.filter(|report| !report.asked.is_empty() || !report.own.is_empty()) else {
        return String::new();
    };
    let mut out = signed(checked, color, width);
    let is_french = checked.lang == Lang::Fr;
    let rules = report.asked.len() + report.own.len();
    let numbers = [
        (rules, "rule", "règle"),
        (report.count(Level::Error), "error", "erreur"),
        (report.count(Level::Warning), "warning", "avertissement"),
        (report.count(Level::Note), "note", "note"),
    ];
    let numbers = numbers.map(|(number, en, fr)| if is_french { french(number, fr) } else { count(number, en) });
    let number = report.waived.len();
    let waived = if is_french { french(number, "constat dérogé") } else { format!("{number} waived") };
    let packs: Vec<&str> = report.packs.iter().map(|pack| pack.as_str()).collect();
    let _ = writeln!(out, "{} ({}): {waived}.", numbers.join(", "), packs.join(", "));
    out
}

/// Returns a count with its noun, in French: zero and one are singular.
fn french(number: usize, noun: &str) -> String {
    if number < 2 {
        return format!("{number} {noun}");
    }
    let words: Vec<String> = noun.split(' ').map(|word| format!("{word}s")).collect();
    format!("{number} {}", words.join(" "))
}
