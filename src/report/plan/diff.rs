//! What becomes of a text, line by line.

use std::collections::HashMap;
use std::sync::Arc;

use similar::{ChangeTag, TextDiff};

use crate::change::TextChange;
use crate::report::style::escape;

/// The longest diff that is shown whole, in lines.
const LONGEST_DIFF: usize = 400;

/// Diffs by their two texts: equal hosts get equal files, and a diff is dearer than a look into a map.
#[derive(Default)]
pub(super) struct Diffs(HashMap<(Arc<str>, Arc<str>), Arc<DiffLines>>);

pub(super) type DiffLines = Vec<(ChangeTag, String)>;

impl Diffs {
    pub(super) fn of(&mut self, text: &TextChange) -> Arc<DiffLines> {
        let key = (text.before.clone(), text.after.clone());
        self.0.entry(key).or_insert_with(|| Arc::new(cut(diff(text)))).clone()
    }
}

/// Returns the lines of a unified diff with three lines of context, escaped and without ends of line.
///
/// A text that is wholly new or wholly gone has no hunk headers. Where both texts are the same, what differs is masked.
pub(super) fn diff(text: &TextChange) -> DiffLines {
    if text.before == text.after {
        return vec![(ChangeTag::Equal, "(what differs is sensitive)".to_owned())];
    }
    let is_whole = text.before.is_empty() || text.after.is_empty();
    let diff = TextDiff::from_lines(&*text.before, &*text.after);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().iter_hunks() {
        if !is_whole {
            lines.push((ChangeTag::Equal, hunk.header().to_string()));
        }
        for change in hunk.iter_changes() {
            let line = change.value().strip_suffix('\n').unwrap_or(change.value());
            lines.push((change.tag(), format!("{}{}", change.tag(), escape(line))));
            if change.missing_newline() {
                lines.push((ChangeTag::Equal, "\\ No newline at end of file".to_owned()));
            }
        }
    }
    lines
}

fn cut(mut lines: DiffLines) -> DiffLines {
    if lines.len() > LONGEST_DIFF {
        let more = lines.len() - LONGEST_DIFF;
        lines.truncate(LONGEST_DIFF);
        lines.push((ChangeTag::Equal, format!("({more} more lines; `--json` has them all)")));
    }
    lines
}
