//! The matrix as one SVG picture, with a legend.

use std::fmt::Write as _;

use super::grid::{Grid, Square, seen, state_word};
use super::view::{State, View};
use crate::policy::Lang;
use crate::proof::Verdict;
use crate::report::drawing::pen::{MONO, SANS, broken, number, shortened, text, text_width};
use crate::report::page::Tone;

const MARGIN: f64 = 24.0;
const HEAD: f64 = 64.0;
const SIDE: f64 = 190.0;
const COLUMN: f64 = 104.0;
const LABEL: f64 = 12.0;
const SMALL: f64 = 10.0;
const LINE: f64 = 13.0;
/// How many lines the services of a square may take.
const SERVICES: usize = 6;
const INK: &str = "#16202b";
const BESIDE: &str = "#526071";

/// Returns the line and the surface of a tone: the colours of a page on paper.
fn paint(tone: Tone) -> (&'static str, &'static str) {
    match tone {
        Tone::Good => ("#14633a", "#e3f4e9"),
        Tone::Plain => ("#1d4f91", "#e6f0fb"),
        Tone::Changed => ("#8a4b00", "#fdf0dc"),
        Tone::Bad => ("#a3172f", "#fde5e8"),
        Tone::Quiet => ("#5b6b7d", "#f6f8fa"),
    }
}

/// Returns the matrix as an SVG picture.
pub fn picture(view: &View<'_>, grid: &Grid) -> String {
    let provider = view.inventory().provider.name.as_ref().map(ToString::to_string);
    let words = view.word("Flow matrix", "Matrice de flux");
    let title = provider.map_or_else(|| words.to_owned(), |name| format!("{name} · {words}"));
    let subtitle = view.word(
        "rows connect to columns; what is not allowed is denied",
        "les lignes se connectent aux colonnes ; ce qui n'est pas autorisé est interdit",
    );
    let inner = (SIDE + COLUMN * grid.headings.len() as f64).max(text_width(&title, 20.0) * 1.06).max(460.0);
    let mut body = String::new();
    let names: Vec<Vec<String>> = grid.headings.iter().map(|heading| cut(&heading.name, COLUMN - 14.0, 5)).collect();
    let head = 14.0 + LINE * (1 + names.iter().map(Vec::len).max().unwrap_or_default()) as f64;
    let mut y = MARGIN + HEAD;
    for (at, (heading, lines)) in grid.headings.iter().zip(&names).enumerate() {
        push_heading(&mut body, MARGIN + SIDE + COLUMN * at as f64, y, COLUMN, head, (lines, &heading.detail));
    }
    y += head;
    for (heading, squares) in grid.headings.iter().zip(&grid.squares) {
        let lines = cut(&heading.name, SIDE - 18.0, 8);
        let texts: Vec<(Vec<String>, usize)> = squares.iter().map(|square| lines_of(view, square.as_ref())).collect();
        let most = texts.iter().map(|(lines, _)| lines.len()).max().unwrap_or_default().max(lines.len());
        let height = 14.0 + LINE * (1 + most) as f64;
        push_heading(&mut body, MARGIN, y, SIDE, height, (&lines, &heading.detail));
        for (at, (square, lines)) in squares.iter().zip(&texts).enumerate() {
            let to = grid.headings.get(at).map(|heading| heading.name.as_str()).unwrap_or_default();
            let rect = (MARGIN + SIDE + COLUMN * at as f64, y, height);
            push_square(&mut body, view, rect, square.as_ref(), lines, (&heading.name, to));
        }
        y += height;
    }
    y += 26.0;
    if grid.left_out > 0 {
        let hosts = grid.left_out;
        let words = match view.lang {
            Lang::En => format!("{hosts} more hosts are not shown; `--limit` shows them"),
            Lang::Fr => format!("{hosts} autres hôtes ne sont pas montrés ; `--limit` les montre"),
        };
        push_text(&mut body, MARGIN, y, (LABEL, INK, " font-weight=\"600\""), &words);
        y += 24.0;
    }
    y = push_legend(&mut body, view, inner, y);
    let (width, height) = ((inner + 2.0 * MARGIN).ceil(), (y + MARGIN - 10.0).ceil());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" font-family=\"{SANS}\" font-size=\"{LABEL}\">\n<title>{}</title>\n<desc>{}</desc>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        text(&title),
        text(subtitle)
    );
    push_text(&mut out, MARGIN, MARGIN + 15.0, (20.0, INK, " font-weight=\"700\""), &title);
    push_text(&mut out, MARGIN, MARGIN + 36.0, (12.5, BESIDE, ""), subtitle);
    out.push_str(&body);
    out.push_str("</svg>\n");
    out
}

fn push_text(out: &mut String, x: f64, y: f64, (size, color, more): (f64, &str, &str), raw: &str) {
    let (x, y) = (number(x), number(y));
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{color}\"{more}>{}</text>", text(raw));
}

fn push_heading(out: &mut String, x: f64, y: f64, w: f64, h: f64, (lines, detail): (&[String], &str)) {
    let _ = writeln!(
        out,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#eef2f6\" stroke=\"#ffffff\" stroke-width=\"2\"/>",
        number(x),
        number(y),
        number(w),
        number(h)
    );
    let mut base = y + 17.0;
    for line in lines {
        push_text(out, x + 8.0, base, (LABEL, INK, " font-weight=\"600\""), line);
        base += LINE;
    }
    push_text(out, x + 8.0, base, (SMALL, BESIDE, ""), &shortened(detail, w - 14.0, SMALL));
}

/// Returns what is written in a square below its sign.
///
/// The second value is how many of the last lines say what was seen.
fn lines_of(view: &View<'_>, square: Option<&Square>) -> (Vec<String>, usize) {
    let Some(square) = square else { return Default::default() };
    let mut services: Vec<String> = Vec::new();
    for service in square.flows.iter().flat_map(|flow| view.services(*flow)) {
        if !services.contains(&service) {
            services.push(service);
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for (at, service) in services.iter().enumerate() {
        let parts = broken(service, COLUMN - 12.0, SMALL * 1.04);
        let is_last = at + 1 == services.len();
        if lines.len() + parts.len() + usize::from(!is_last) > SERVICES && !lines.is_empty() {
            lines.push(format!("… + {}", services.len() - at));
            break;
        }
        lines.extend(parts);
    }
    let seen = square.tally.and_then(|tally| seen(tally, view.lang));
    let seen = seen.map(|(_, words)| {
        let whole = format!("{} {words}", square.tone().sign());
        match whole.rsplit_once(' ') {
            // How many they are is read as one: it goes to the next line whole.
            Some((verdict, number)) if text_width(&whole, SMALL * 1.08) > COLUMN - 12.0 => {
                vec![verdict.to_owned(), number.to_owned()]
            }
            _ => vec![whole],
        }
    });
    let seen = seen.unwrap_or_default();
    let number = seen.len();
    lines.extend(seen);
    (lines, number)
}

/// Returns a name in lines, of which at most so many are written: the whole name is in the squares' tooltips.
fn cut(name: &str, room: f64, most: usize) -> Vec<String> {
    let mut lines = broken(name, room, LABEL * 1.08);
    if lines.len() > most {
        lines.truncate(most - 1);
        lines.push("…".to_owned());
    }
    lines
}

fn push_square(
    out: &mut String,
    view: &View<'_>,
    (x, y, height): (f64, f64, f64),
    square: Option<&Square>,
    (lines, seen): &(Vec<String>, usize),
    (from, to): (&str, &str),
) {
    let (rect_x, rect_y, h) = (number(x), number(y), number(height));
    let Some(square) = square else {
        let _ = writeln!(
            out,
            "<rect x=\"{rect_x}\" y=\"{rect_y}\" width=\"{COLUMN}\" height=\"{h}\" fill=\"#ffffff\" stroke=\"#eef2f6\"/>"
        );
        return;
    };
    let tone = square.tone();
    let (line, fill) = paint(tone);
    let state = state_word(square.state, view.lang);
    let whys: Vec<String> =
        square.flows.iter().map(|flow| format!("{} ({})", view.why(*flow), view.services(*flow).join(" "))).collect();
    let whys = if whys.is_empty() { String::new() } else { format!(", {}", whys.join("; ")) };
    let _ = writeln!(
        out,
        "<g data-state=\"{}\"><title>{}</title>\n<rect x=\"{rect_x}\" y=\"{rect_y}\" width=\"{COLUMN}\" height=\"{h}\" \
         fill=\"{fill}\" stroke=\"#ffffff\" stroke-width=\"2\"/>",
        square.word(),
        text(&format!("{from} → {to}: {state}{whys}"))
    );
    if square.state == State::Denied && lines.is_empty() {
        let middle = " text-anchor=\"middle\"";
        push_text(out, x + COLUMN / 2.0, y + height / 2.0 + 4.0, (LABEL, line, middle), tone.sign());
    } else {
        push_text(
            out,
            x + 7.0,
            y + 17.0,
            (SMALL + 0.5, line, " font-weight=\"700\""),
            &format!("{} {state}", square.state.tone().sign()),
        );
        let family = format!(" font-family=\"{MONO}\"");
        for (at, words) in lines.iter().enumerate() {
            let is_seen = at + seen >= lines.len();
            let more = if is_seen { " font-weight=\"600\"" } else { family.as_str() };
            let color = if is_seen { line } else { INK };
            push_text(out, x + 7.0, y + 31.0 + LINE * at as f64, (SMALL, color, more), words);
        }
    }
    out.push_str("</g>\n");
}

/// Returns what signs and colours mean.
pub(super) fn legend(view: &View<'_>) -> Vec<(Tone, String, String)> {
    let lang = view.lang;
    let state = |state: State| state_word(state, lang).to_owned();
    let mut entries = vec![
        (Tone::Plain, state(State::Allowed), view.word("a flow lets it pass", "un flux le laisse passer").to_owned()),
        (
            Tone::Changed,
            state(State::Waived),
            view.word(
                "a flow lets it pass against a rule, and somebody signed for it",
                "un flux le laisse passer contre une règle, et quelqu'un a signé",
            )
            .to_owned(),
        ),
        (
            Tone::Quiet,
            state(State::Denied),
            view.word("no flow lets it pass", "aucun flux ne le laisse passer").to_owned(),
        ),
    ];
    if view.evidence.is_some() {
        let verdict = |verdict: Verdict| super::grid::verdict_word(verdict, lang).to_owned();
        entries.push((
            Tone::Good,
            verdict(Verdict::Proved),
            view.word("tried between hosts, and as said here", "essayé entre des hôtes, et conforme").to_owned(),
        ));
        entries.push((
            Tone::Bad,
            verdict(Verdict::Contradicted),
            view.word("tried between hosts, and not as said here", "essayé entre des hôtes, et non conforme")
                .to_owned(),
        ));
        entries.push((
            Tone::Changed,
            verdict(Verdict::Undecided),
            view.word("tried, and what was seen says neither", "essayé, et l'observation ne tranche pas").to_owned(),
        ));
    }
    entries
}

/// Writes the legend, and returns where it ends.
fn push_legend(out: &mut String, view: &View<'_>, inner: f64, mut y: f64) -> f64 {
    let mut x = MARGIN;
    for (tone, word, meaning) in legend(view) {
        let (line, fill) = paint(tone);
        let badge = format!("{} {word}", tone.sign());
        let (badge_width, meaning_width) = (text_width(&badge, 11.9) + 14.0, text_width(&meaning, 11.0));
        let whole = badge_width + 8.0 + meaning_width + 24.0;
        if x > MARGIN && x + whole > MARGIN + inner {
            (x, y) = (MARGIN, y + 22.0);
        }
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"17\" rx=\"4\" fill=\"{fill}\" stroke=\"{line}\" stroke-opacity=\"0.5\"/>",
            number(x),
            number(y - 12.5),
            number(badge_width)
        );
        push_text(out, x + 7.0, y, (11.0, line, " font-weight=\"600\""), &badge);
        push_text(out, x + badge_width + 8.0, y, (11.0, BESIDE, ""), &meaning);
        x += whole;
    }
    y
}
