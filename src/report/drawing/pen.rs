//! What all pictures share: fonts, how wide a text is, and texts and numbers as SVG takes them.

use crate::report::style::escape;

pub(in crate::report) const SANS: &str =
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif";
pub(in crate::report) const MONO: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

/// Returns whether a text is an address, which is written in letters of one width.
pub(in crate::report) fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Returns about how wide a text is. Which font there is, nobody knows; the widest common one is taken.
pub(in crate::report) fn text_width(text: &str, size: f64) -> f64 {
    let of = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'I' | ' ' => 0.32,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' | '"' => 0.41,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 0.95,
        c if c.is_ascii_uppercase() => 0.70,
        c if c.is_ascii() => 0.62,
        c if c < '\u{1100}' => 0.66,
        _ => 1.0,
    };
    text.chars().map(of).sum::<f64>() * size
}

/// Returns a text without its middle where it is too wide: names differ at their ends.
pub(in crate::report) fn shortened(text: &str, room: f64, size: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let mut keep = chars.len();
    while keep > 2 {
        keep -= 1;
        let head = keep.div_ceil(2);
        let tail = keep - head;
        let parts = chars.iter().take(head).chain(['…'].iter()).chain(chars.iter().skip(chars.len() - tail));
        let short: String = parts.collect();
        if text_width(&short, size) <= room {
            return short;
        }
    }
    "…".to_owned()
}

/// Returns a text as it stands between tags.
pub(in crate::report) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in escape(raw).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML has no place for these, escaped or not.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Returns a length with at most one digit behind the point.
pub(in crate::report) fn number(length: f64) -> String {
    let rounded = (length * 10.0).round() / 10.0;
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// Returns a text in lines that are no wider than `room`, broken behind a `-`, `.`, `,` or blank where there is one.
pub(in crate::report) fn broken(text: &str, room: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(['-', '.', ',', '_', ' ', '/']) {
        let fits = |line: &str| text_width(line.trim_end(), size) <= room;
        if !line.is_empty() && !fits(&format!("{line}{word}")) {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if !line.is_empty() && !fits(&format!("{line}{c}")) {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}
