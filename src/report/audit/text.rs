//! An audit for a terminal: a line for each host, then what breaks the rules, then what nobody could read.

use std::fmt::Write as _;

use super::View;
use crate::policy::{Lang, Level, Pack, Score};
use crate::report::style::{Color, Tone, count, escape, width_of, wrap};

/// How many hosts are listed one by one; of more, those that keep to the fewest rules.
const LISTED: usize = 40;

/// Returns the whole text.
pub fn text(view: &View<'_>, color: Color, width: usize) -> String {
    let mut out = String::new();
    scores(view, color, &mut out);
    let mut section = |heading: &str, tone: Tone, lines: Vec<(String, String)>| {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "\n{}", color.paint(tone, heading));
        for (head, text) in lines {
            let lines = wrap(&escape(&format!("{head}: {text}")), width.saturating_sub(6).max(30));
            for (at, line) in lines.into_iter().enumerate() {
                let _ = writeln!(out, "{}{line}", if at == 0 { "  " } else { "      " });
            }
        }
    };
    let told = |level: Level| -> Vec<(String, String)> {
        let findings = view.report.findings.iter().filter(|finding| finding.level == level);
        let breaches = view.breaches(findings);
        // What a host breaks a rule by stands together.
        let mut lines: Vec<(String, String)> = Vec::new();
        for breach in breaches {
            let hosts = view.named(&breach.hosts);
            let head = if hosts.is_empty() { breach.rule.to_owned() } else { format!("{} ({hosts})", breach.rule) };
            match lines.iter_mut().find(|(known, _)| *known == head) {
                Some((_, text)) => *text += &format!("{}{}", view.word("; ", " ; "), breach.message),
                None => lines.push((head, breach.message.to_owned())),
            }
        }
        lines
    };
    section(view.word("errors", "erreurs"), Tone::Bad, told(Level::Error));
    section(view.word("warnings", "avertissements"), Tone::Changed, told(Level::Warning));
    let unread = view
        .unasked()
        .into_iter()
        .map(|(why, rules, hosts)| (format!("{} ({})", rules.join(", "), view.named(&hosts)), why.to_owned()));
    section(view.word("could not be read", "n'a pu être lu"), Tone::Changed, unread.collect());
    let unreached = view.unreached.iter().map(|(host, why)| (host.to_string(), why.clone()));
    section(view.word("not reached", "hors d'atteinte"), Tone::Bad, unreached.collect());
    out.push('\n');
    for line in wrap(&summary(view), width.max(40)) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn scores(view: &View<'_>, color: Color, out: &mut String) {
    let standings = view.standings();
    let mut hosts: Vec<usize> = view.report.hosts.clone();
    if hosts.len() > LISTED {
        hosts.sort_by_key(|at| standings.score(None, Some(*at)).per_cent());
        hosts.truncate(LISTED);
    }
    let heads = [
        view.word("score", "score"),
        view.word("held", "tenues"),
        view.word("broken", "enfreintes"),
        view.word("waived", "dérogées"),
        view.word("unread", "non lues"),
    ];
    let row = |name: &str, score: Score| -> Vec<String> {
        let per_cent = score.per_cent().map_or_else(|| "–".to_owned(), |share| format!("{share} %"));
        let numbers = [score.held, score.broken, score.waived, score.unread].map(|number| number.to_string());
        [name.to_owned(), per_cent].into_iter().chain(numbers).collect()
    };
    let mut rows: Vec<Vec<String>> =
        vec![std::iter::once(String::new()).chain(heads.iter().map(|head| (*head).to_owned())).collect()];
    rows.extend(hosts.iter().map(|at| row(view.host(*at), standings.score(None, Some(*at)))));
    let is_asked = |pack: &Pack| standings.score(Some(*pack), None).asked() > 0;
    let packs: Vec<Pack> = Pack::ALL.into_iter().filter(is_asked).collect();
    let first_pack = rows.len();
    rows.extend(packs.iter().map(|pack| row(pack.as_str(), standings.score(Some(*pack), None))));
    rows.push(row(view.word("all", "tout"), standings.score(None, None)));
    let columns = heads.len() + 1;
    let widest: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| width_of(cell)).max().unwrap_or_default())
        .collect();
    for (number, row) in rows.iter().enumerate() {
        if number == first_pack {
            out.push('\n');
        }
        let mut line = String::new();
        for (at, (cell, widest)) in row.iter().zip(&widest).enumerate() {
            let room = " ".repeat(widest.saturating_sub(width_of(cell)));
            line += &if at == 0 { format!("{cell}{room}") } else { format!("  {room}{cell}") };
        }
        let line = line.trim_end();
        let _ = writeln!(out, "{}", if number == 0 { color.paint(Tone::Quiet, line) } else { line.into() });
    }
    let more = view.report.hosts.len() - hosts.len();
    if more > 0 {
        let more = match view.lang() {
            Lang::En => format!("{more} more hosts keep to more of the rules."),
            Lang::Fr => format!("{more} autres hôtes tiennent davantage de règles."),
        };
        let _ = writeln!(out, "{more}");
    }
}

fn summary(view: &View<'_>) -> String {
    let report = view.report;
    let standings = view.standings();
    let (rules, hosts) = (standings.rules.len(), report.hosts.len());
    let asked = hosts + view.unreached.len();
    let (errors, warnings, waived) = (report.count(Level::Error), report.count(Level::Warning), report.waived.len());
    let unread = standings.score(None, None).unread;
    match view.lang() {
        Lang::En => format!(
            "{} on {hosts} of {}: {}, {}, {waived} waived, {unread} could not be asked.",
            count(rules, "rule"),
            count(asked, "host"),
            count(errors, "error"),
            count(warnings, "warning")
        ),
        Lang::Fr => format!(
            "{rules} règles sur {hosts} de {asked} hôtes : {errors} en erreur, {warnings} en avertissement, {waived} sous \
             dérogation, {unread} n'ont pu être posées."
        ),
    }
}
