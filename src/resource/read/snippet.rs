//! Questions that only one kind asks: shell text, its output and its exit status.

use std::collections::BTreeMap;

use super::{Bytes, ReadError};
use crate::sh;
use crate::shell::Script;

/// What a snippet printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnippetOutput {
    /// Standard output and standard error, in the order they came.
    pub output: Bytes,
    /// The exit status.
    pub status: i32,
}

impl SnippetOutput {
    /// Returns the output as text, without the last newline.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        let bytes = self.output.0.strip_suffix(b"\n").unwrap_or(&self.output.0);
        String::from_utf8_lossy(bytes)
    }

    /// Returns whether the snippet ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }
}

pub(super) fn script(at: usize, text: &Script) -> Script {
    // A subshell, so that an `exit`, a `cd` or a variable of one snippet does not reach the next; and `eval`, so that a
    // syntax error in one does not keep the others from being read.
    sh!("_mark snippet {}; ( eval {} ) </dev/null 2>&1; _mark status {} $?", at, text.text(), at)
}

pub(super) fn take_output(
    rest: &str,
    data: Vec<u8>,
    keys: &[String],
    snippets: &mut BTreeMap<String, SnippetOutput>,
) -> Result<(), ReadError> {
    let key = rest.parse().ok().and_then(|at: usize| keys.get(at));
    let key = key.ok_or_else(|| ReadError::shape(super::SNIPPET, format!("the number {rest:?}")))?;
    snippets.entry(key.clone()).or_default().output = Bytes(data);
    Ok(())
}

pub(super) fn take_status(
    rest: &str,
    keys: &[String],
    snippets: &mut BTreeMap<String, SnippetOutput>,
) -> Result<(), ReadError> {
    let shape = || ReadError::shape(super::STATUS, format!("the line {rest:?}"));
    let (at, status) = rest.split_once(' ').ok_or_else(shape)?;
    let key = at.parse().ok().and_then(|at: usize| keys.get(at)).ok_or_else(shape)?;
    snippets.entry(key.clone()).or_default().status = status.parse().map_err(|_| shape())?;
    Ok(())
}
