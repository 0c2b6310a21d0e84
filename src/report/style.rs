//! What all output shares: colours that never carry meaning alone, escapes, counts and indents.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether output is coloured. Who prints decides, by the terminal, `NO_COLOR` and `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    #[default]
    Never,
    /// With ANSI escape sequences.
    Always,
}

/// What a stretch of text is, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something that is added or went well.
    Good,
    /// Something that changes, or a warning.
    Changed,
    /// Something that is removed, or went wrong.
    Bad,
    /// Something that runs each time.
    Runs,
    /// A heading or a name.
    Strong,
    /// Something beside the point.
    Quiet,
}

impl Color {
    /// Returns `text` in the colour of its tone.
    pub fn paint(self, tone: Tone, text: &str) -> Cow<'_, str> {
        if self == Color::Never || text.is_empty() {
            return Cow::Borrowed(text);
        }
        let style = console::Style::new().force_styling(true);
        let style = match tone {
            Tone::Good => style.green(),
            Tone::Changed => style.yellow(),
            Tone::Bad => style.red(),
            Tone::Runs => style.magenta(),
            Tone::Strong => style.bold(),
            Tone::Quiet => style.dim(),
        };
        Cow::Owned(style.apply_to(text).to_string())
    }
}

/// Returns `text` with every character shown that could forge a line, move the cursor or turn the direction of reading.
///
/// Tabs stay: they harm nobody, and a diff must show them as they are.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn is_harmful(c: char) -> bool {
    let turns_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t') || turns_direction || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Returns a count with its noun: `1 host`, `2 hosts`.
pub fn count(number: usize, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns how many columns a text takes, escape sequences not counted.
pub fn width_of(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Adds each line of `text`, escaped, behind an indent; a text without lines adds nothing.
pub fn push_indented(out: &mut String, indent: usize, text: &str) {
    for line in text.lines() {
        let line = escape(line);
        if line.trim().is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    }
}

/// Breaks `text` into lines of at most `width` columns at blanks; a word that is wider stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let wide = width_of(word);
        if used > 0 && used + 1 + wide > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += wide;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_output_is_shown_escaped() {
        assert_eq!(escape("a\u{1b}[2Jb\nc\u{202e}d\te"), "a\\u{1b}[2Jb\\nc\\u{202e}d\te");
        assert!(matches!(escape("hôte"), Cow::Borrowed(_)));
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!(
            [count(1, "host"), count(0, "host"), count(2, "entry"), count(2, "play")],
            ["1 host", "0 hosts", "2 entries", "2 plays"]
        );
    }

    #[test]
    fn text_is_wrapped_at_blanks() {
        assert_eq!(wrap("hv-1, hv-2, hv-3", 11), ["hv-1, hv-2,", "hv-3"]);
        assert_eq!(wrap("averylongword b", 4), ["averylongword", "b"]);
    }

    #[test]
    fn colour_is_only_added_where_it_is_asked_for() {
        assert_eq!(Color::Never.paint(Tone::Bad, "x"), "x");
        assert_eq!(Color::Always.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
