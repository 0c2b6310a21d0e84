//! Diagnostics: what is wrong with the input, where it stands, and what to do next.
//!
//! Loading and planning collect every problem of a run in [`Diagnostics`] instead of stopping at the first. This
//! module holds the data only; `report` draws it with the source excerpt, as JSON, or as SARIF.

use std::borrow::Cow;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

/// The number of a file in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A stretch of one source file, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// Returns the number of the file, the first byte and the byte after the last, so that a span can pass through serde.
    pub fn to_parts(self) -> [u32; 3] {
        [self.file.0, self.start, self.end]
    }

    /// Returns the span that [`to_parts`](Self::to_parts) took apart.
    pub fn from_parts([file, start, end]: [u32; 3]) -> Self {
        Self { file: FileId(file), start, end }
    }
}

/// A place in a source file as people count: lines and columns from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The file, as it was named when it was loaded.
    pub file: Utf8PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One loaded source file.
#[derive(Debug)]
pub struct Source {
    path: Utf8PathBuf,
    text: Arc<str>,
    line_starts: Vec<u32>,
}

impl Source {
    /// Returns the path the file was loaded from.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Returns the text of the file.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns the line, from 1, that holds the byte at `offset`.
    pub fn line_of(&self, offset: u32) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Returns the byte at which `line` (from 1) starts; the end of the text for a line after the last.
    pub fn line_start(&self, line: usize) -> usize {
        self.line_starts.get(line.saturating_sub(1)).map_or(self.text.len(), |start| *start as usize)
    }
}

/// The source files of a run, so that a [`Span`] can be shown as text.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file and returns its number.
    pub fn add(&mut self, path: impl Into<Utf8PathBuf>, text: impl Into<Arc<str>>) -> FileId {
        let text: Arc<str> = text.into();
        let mut line_starts = vec![0];
        line_starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at as u32 + 1));
        let id = FileId(self.0.len() as u32);
        self.0.push(Source { path: path.into(), text, line_starts });
        id
    }

    /// Returns a file that was added to these sources.
    pub fn get(&self, file: FileId) -> Option<&Source> {
        self.0.get(file.0 as usize)
    }

    /// Returns all files with their numbers, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &Source)> {
        self.0.iter().enumerate().map(|(at, source)| (FileId(at as u32), source))
    }

    /// Returns where `span` begins.
    pub fn locate(&self, span: Span) -> Location {
        let Some(source) = self.get(span.file) else {
            return Location { file: Utf8PathBuf::from("?"), line: 0, column: 0 };
        };
        let line = source.line_of(span.start);
        let before = source.text.get(source.line_start(line)..span.start as usize).unwrap_or_default();
        Location { file: source.path.clone(), line, column: before.chars().count() + 1 }
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something to be told, and nothing to be done.
    Note,
    /// Worth knowing; the run goes on.
    Warning,
    /// Nothing is touched.
    Error,
}

/// A further place that explains a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where it stands.
    pub span: Span,
    /// What is to be seen there.
    pub text: String,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable word for machines, such as `unknown-key`.
    pub code: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: a lowercase fragment without a full stop.
    pub message: String,
    /// Where it is, unless the problem has no place in a file; and a short word on it, which may be empty.
    pub primary: Option<Label>,
    /// Other places that matter.
    pub labels: Vec<Label>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns an error with a stable `code`.
    pub fn error(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self { code, severity: Severity::Error, message, primary: None, labels: Vec::new(), help: None }
    }

    /// Returns a warning with a stable `code`.
    pub fn warning(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where the problem is.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.primary = Some(Label { span, text: String::new() });
        self
    }

    /// Says where the problem is, with a short word on what is seen there.
    #[must_use]
    pub fn at_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.primary = Some(Label { span, text: text.into() });
        self
    }

    /// Names another place that matters.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds ``did you mean `x`?`` where one of `known` is close to `given`, and otherwise lists up to ten of them.
    #[must_use]
    pub fn suggest<'a>(self, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match suggestion(given, known) {
            Some(text) => self.help(text),
            None => self,
        }
    }
}

/// Returns a help line that offers what `given` may have been meant to be.
pub fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(given, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= given.len().max(candidate.len()).div_ceil(3))
        .min();
    match nearest {
        Some((_, candidate)) => Some(format!("did you mean `{candidate}`?")),
        None if known.is_empty() => None,
        None if known.len() <= 12 => {
            Some(format!("known are {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")))
        }
        None => None,
    }
}

/// The code of a name that nothing has.
pub const UNKNOWN_NAME: &str = "unknown-name";

/// All problems found so far, in the order they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all problems of `other`.
    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(other);
    }

    /// Keeps only some.
    pub fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.0.retain(keep);
    }

    /// Returns whether one of the problems is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Returns whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the problems in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Sorts by place, so that the output does not depend on the order in which things were checked.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|d| (d.primary.is_none(), d.primary.as_ref().map(|label| label.span)));
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_located_by_line_and_character() {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml", "é: 1\nhôte: x\n");
        let start = "é: 1\nhôte: ".len() as u32;
        let found = sources.locate(Span { file, start, end: start + 1 });
        assert_eq!(found.to_string(), "a.yaml:2:7");
    }

    #[test]
    fn a_near_name_is_suggested_and_a_short_list_is_shown() {
        assert_eq!(suggestion("hypervizor", ["hypervisor", "bastion"]).unwrap(), "did you mean `hypervisor`?");
        assert_eq!(suggestion("xyzzy", ["tcp", "udp"]).unwrap(), "known are `tcp`, `udp`");
        assert_eq!(suggestion("x", []), None);
    }
}
