//! Diagnostics as people read them, with the source excerpt, and as JSON.
//!
//! An excerpt is cut out of the source before it is drawn: two lines around each place. What is far apart or in another
//! file is drawn as an excerpt of its own, so the cost does not depend on the size of the files.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::style::{Color, Tone, count, escape};
use crate::diag::{Diagnostic, Diagnostics, FileId, Location, Severity, Source, Sources, Span};
use crate::policy::Lang;

/// Lines shown before and after a place.
const CONTEXT: usize = 2;

/// The longest line that is drawn, in bytes; of a longer one only the place is named.
const LONGEST_LINE: usize = 2000;

/// The version of the JSON form.
const VERSION: u32 = 1;

/// Returns all problems, each with its source excerpt, and a last line that counts them; nothing where there is none.
pub fn render(problems: &Diagnostics, sources: &Sources, color: Color, width: usize) -> String {
    render_in(Lang::En, problems, sources, color, width)
}

/// Returns the same with the words around the messages in a language; the messages are as they are.
pub fn render_in(lang: Lang, problems: &Diagnostics, sources: &Sources, color: Color, width: usize) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let renderer = match color {
        Color::Never => Renderer::plain(),
        Color::Always => Renderer::styled(),
    };
    let renderer = renderer.term_width(width.max(40));
    let mut out = String::new();
    for problem in problems.iter() {
        out.push_str(&renderer.render(&[group(problem, sources, lang)]));
        out.push_str("\n\n");
    }
    out.push_str(&counted_in(lang, problems, color));
    out.push('\n');
    out
}

/// Returns how many errors and warnings there are: `3 errors, 1 warning`.
pub fn counted(problems: &Diagnostics, color: Color) -> String {
    counted_in(Lang::En, problems, color)
}

fn counted_in(lang: Lang, problems: &Diagnostics, color: Color) -> String {
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let noun = |severity: Severity| match (lang, severity) {
        (Lang::En, Severity::Error) => "error",
        (Lang::Fr, Severity::Error) => "erreur",
        (Lang::En, Severity::Warning) => "warning",
        (Lang::Fr, Severity::Warning) => "avertissement",
        (_, Severity::Note) => "note",
    };
    let parts = [(Severity::Error, Tone::Bad), (Severity::Warning, Tone::Changed), (Severity::Note, Tone::Quiet)];
    let parts = parts.map(|(severity, tone)| (of(severity), noun(severity), tone));
    let parts = parts.into_iter().filter(|(number, _, _)| *number > 0);
    parts
        .map(|(number, noun, tone)| color.paint(tone, &count(number, noun)).into_owned())
        .collect::<Vec<_>>()
        .join(", ")
}

/// An excerpt to be drawn: neighbouring lines of one file with the places in them.
struct Excerpt<'a> {
    source: &'a Source,
    first: usize,
    last: usize,
    marks: Vec<Mark<'a>>,
}

struct Mark<'a> {
    kind: AnnotationKind,
    span: Range<usize>,
    text: &'a str,
}

fn group<'a>(problem: &'a Diagnostic, sources: &'a Sources, lang: Lang) -> Group<'a> {
    let level = match (problem.severity, lang) {
        (Severity::Error, Lang::En) => Level::ERROR,
        (Severity::Error, Lang::Fr) => Level::ERROR.with_name("erreur"),
        (Severity::Warning, Lang::En) => Level::WARNING,
        (Severity::Warning, Lang::Fr) => Level::WARNING.with_name("avertissement"),
        (Severity::Note, _) => Level::NOTE,
    };
    let help_level = match lang {
        Lang::En => Level::HELP,
        Lang::Fr => Level::HELP.with_name("aide"),
    };
    let mut group = Group::with_title(level.primary_title(escape(&problem.message)).id(&*problem.code));
    let (excerpts, unshown) = excerpts(problem, sources);
    for excerpt in excerpts {
        let start = excerpt.source.line_start(excerpt.first);
        let end = line_end(excerpt.source, excerpt.last);
        let text = excerpt.source.text().get(start..end).unwrap_or_default();
        let snippet = Snippet::source(text).path(excerpt.source.path().as_str()).line_start(excerpt.first).fold(false);
        group = group.element(snippet.annotations(excerpt.marks.into_iter().map(|mark| {
            let span = mark.span.start.saturating_sub(start)..mark.span.end.saturating_sub(start);
            mark.kind.span(span).label((!mark.text.is_empty()).then(|| escape(mark.text)))
        })));
    }
    for place in unshown {
        group = group.element(Origin::path(place.file.into_string()).line(place.line).char_column(place.column));
    }
    if let Some(help) = &problem.help {
        group = group.element(help_level.message(help.lines().map(escape).collect::<Vec<_>>().join("\n")));
    }
    group
}

/// Returns what is to be drawn of a problem, and the places that can only be named.
fn excerpts<'a>(problem: &'a Diagnostic, sources: &'a Sources) -> (Vec<Excerpt<'a>>, Vec<Location>) {
    let mut excerpts: Vec<(FileId, Excerpt<'a>)> = Vec::new();
    let mut unshown = Vec::new();
    let primary = problem.primary.iter().map(|label| (AnnotationKind::Primary, label));
    let others = problem.labels.iter().map(|label| (AnnotationKind::Context, label));
    for (kind, label) in primary.chain(others) {
        let Some(source) = sources.get(label.span.file) else { continue };
        let (line, span) = first_line_of(source, label.span);
        let is_blank = |line: usize| line_text(source, line).trim().is_empty();
        let first = (line.saturating_sub(CONTEXT).max(1)..line).find(|line| !is_blank(*line)).unwrap_or(line);
        let last = (line..=(line + CONTEXT).min(last_line(source))).rfind(|line| !is_blank(*line)).unwrap_or(line);
        let longest = (first..=last).map(|line| line_end(source, line) - source.line_start(line)).max();
        if longest.unwrap_or_default() > LONGEST_LINE {
            unshown.push(sources.locate(label.span));
            continue;
        }
        let mark = Mark { kind, span, text: &label.text };
        let near = |(file, other): &&mut (FileId, Excerpt<'a>)| {
            *file == label.span.file && first <= other.last + 1 && other.first <= last + 1
        };
        match excerpts.iter_mut().find(near) {
            Some((_, other)) => {
                other.first = other.first.min(first);
                other.last = other.last.max(last);
                other.marks.push(mark);
            }
            None => excerpts.push((label.span.file, Excerpt { source, first, last, marks: vec![mark] })),
        }
    }
    (excerpts.into_iter().map(|(_, excerpt)| excerpt).collect(), unshown)
}

/// Returns the line of a span and the part of the span that is on it: a whole map would hide what is meant.
fn first_line_of(source: &Source, span: Span) -> (usize, Range<usize>) {
    let text = source.text();
    let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let start = boundary(span.start as usize);
    let line = source.line_of(start as u32);
    let end = boundary(span.end as usize).min(line_end(source, line)).max(start);
    (line, start..end)
}

/// Returns the byte after the last of a line, its end of line not counted.
fn line_end(source: &Source, line: usize) -> usize {
    source.line_start(line) + line_text(source, line).len()
}

fn line_text(source: &Source, line: usize) -> &str {
    let text = source.text().get(source.line_start(line)..source.line_start(line + 1));
    text.unwrap_or_default().trim_end_matches(['\n', '\r'])
}

/// Returns the number of the last line; what follows a final end of line is none.
fn last_line(source: &Source) -> usize {
    let text = source.text();
    let last = source.line_of(text.len() as u32);
    if text.ends_with('\n') { (last - 1).max(1) } else { last }
}

/// Returns all problems as one JSON object.
///
/// `{"version": 1, "diagnostics": [...]}`, each with `code`, `severity` (`error` or `warning`), `message`, `file`, `line`
/// and `column` (from 1; `null` for a problem without a place), `label` (what is seen there), `labels` (further places: `file`,
/// `line`, `column`, `text`) and `help`. New keys may be added; a change of meaning raises the version.
pub fn to_json(problems: &Diagnostics, sources: &Sources) -> serde_json::Value {
    #[derive(Serialize)]
    struct Output<'a> {
        version: u32,
        diagnostics: Vec<Problem<'a>>,
    }

    #[derive(Serialize)]
    struct Problem<'a> {
        code: &'a str,
        severity: Severity,
        message: &'a str,
        file: Option<String>,
        line: Option<usize>,
        column: Option<usize>,
        label: Option<&'a str>,
        labels: Vec<Place<'a>>,
        help: Option<&'a str>,
    }

    #[derive(Serialize)]
    struct Place<'a> {
        file: String,
        line: usize,
        column: usize,
        text: &'a str,
    }

    let diagnostics = problems.iter().map(|problem| {
        let place = problem.primary.as_ref().map(|label| sources.locate(label.span));
        Problem {
            code: &problem.code,
            severity: problem.severity,
            message: &problem.message,
            file: place.as_ref().map(|place| place.file.to_string()),
            line: place.as_ref().map(|place| place.line),
            column: place.as_ref().map(|place| place.column),
            label: problem.primary.as_ref().map(|label| label.text.as_str()).filter(|text| !text.is_empty()),
            labels: problem
                .labels
                .iter()
                .map(|label| {
                    let Location { file, line, column } = sources.locate(label.span);
                    Place { file: file.into_string(), line, column, text: &label.text }
                })
                .collect(),
            help: problem.help.as_deref(),
        }
    });
    serde_json::to_value(Output { version: VERSION, diagnostics: diagnostics.collect() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(sources: &Sources, file: FileId, part: &str) -> Span {
        let text = sources.get(file).unwrap().text();
        let start = text.find(part).unwrap();
        Span { file, start: start as u32, end: (start + part.len()) as u32 }
    }

    fn example() -> (Diagnostics, Sources) {
        let mut sources = Sources::default();
        let site = sources.add(
            "playbooks/site.yaml",
            "name: Site\nplays:\n  - name: étcd\n    hosts: role=etcd\n    colour: red\n    tasks:\n      - file: {path: /etc/motd}\n\
             \u{20}     - link: {path: /etc/motd, to: /run/motd}\n\n\n\n\n\n  - name: étcd\n    hosts: all\n",
        );
        let hosts =
            sources.add("inventory/par1.yaml", "hosts:\n  hv-1:\n    plane: compute\r\n    rôles: [hypervizor]\n");
        let mut problems = Diagnostics::default();
        let place = span(&sources, site, "colour");
        problems.push(
            Diagnostic::error("unknown-key", "unknown key `colour`").at(place).suggest("colour", ["hosts", "tasks"]),
        );
        let (first, second) = (span(&sources, site, "file"), span(&sources, site, "link"));
        let problem =
            Diagnostic::error("two-owners", "link[/etc/motd] and file[/etc/motd] both own the path /etc/motd on hv-1");
        problems.push(problem.at(second).label(first, "the first owner").help("keep one of the two tasks"));
        let text = sources.get(site).unwrap().text();
        let again = text.rfind("étcd").unwrap() as u32;
        let again = Span { file: site, start: again, end: again + 5 };
        let problem = Diagnostic::error("duplicate-play", "there are two plays called `étcd`");
        problems.push(problem.at(again).label(span(&sources, site, "étcd"), "the first is here"));
        let problem = Diagnostic::error("unknown-role", "no host has the role `hypervizor`");
        let problem = problem.at_label(span(&sources, hosts, "hypervizor"), "not a role of this inventory");
        problems.push(problem.label(span(&sources, site, "role=etcd"), "roles are used here"));
        problems.push(Diagnostic::warning("unused-variable", "nobody uses the variable `mtu\u{1b}[2J`"));
        (problems, sources)
    }

    #[test]
    fn problems_are_drawn_with_their_source() {
        let (problems, sources) = example();
        insta::assert_snapshot!("diagnostics_100", render(&problems, &sources, Color::Never, 100));
        insta::assert_snapshot!("diagnostics_60", render(&problems, &sources, Color::Never, 60));
    }

    #[test]
    fn colour_adds_only_escape_sequences() {
        let (problems, sources) = example();
        let coloured = render(&problems, &sources, Color::Always, 100);
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(console::strip_ansi_codes(&coloured), render(&problems, &sources, Color::Never, 100));
    }

    #[test]
    fn problems_are_stable_json() {
        let (problems, sources) = example();
        insta::assert_json_snapshot!(to_json(&problems, &sources));
    }

    #[test]
    fn places_at_the_edges_of_a_file_are_drawn() {
        let mut sources = Sources::default();
        let empty = sources.add("empty.yaml", "");
        let long = sources.add("long.yaml", format!("a: {}\n", "x".repeat(100_000)));
        let whole = sources.add("whole.yaml", "é:\n  b: 1\n  c: 2\n");
        let mut problems = Diagnostics::default();
        let at = |file, start, end| Span { file, start, end };
        problems.push(Diagnostic::error("empty", "the file is empty").at(at(empty, 0, 0)));
        problems.push(Diagnostic::error("long", "a long line").at(at(long, 50_000, 50_001)));
        problems.push(Diagnostic::error("whole", "a whole map").at(at(whole, 0, 17)));
        problems.push(Diagnostic::error("end", "beyond the end").at(at(whole, 99, 120)));
        problems.push(Diagnostic::error("half", "in the middle of a character").at(at(whole, 1, 1)));
        insta::assert_snapshot!(render(&problems, &sources, Color::Never, 60));
    }

    #[test]
    fn nothing_is_said_where_there_is_nothing_to_say() {
        assert_eq!(render(&Diagnostics::default(), &Sources::default(), Color::Always, 60), "");
    }
}
