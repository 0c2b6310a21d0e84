//! What a live host is like: read-only questions, and the readers of their answers.
//!
//! Nothing here judges: the rules stand in `policy`, whose data this fills in. What cannot be read, because a program is
//! missing or the host says something else, is [`Unread`] with why, and is never taken for something that is well.

pub mod host;
pub mod network;
mod readers;

use crate::policy::live::{Seen, Unread};
use crate::resource::read::Answers;

/// The longest part of a host's own words that is passed on.
const SAID: usize = 160;

/// Returns what a snippet's answer says, or why nobody knows.
fn seen<T>(
    answers: &Answers,
    key: &str,
    tools: &[(&'static str, &'static str)],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Seen<T> {
    if let Some((tool, package)) = tools.iter().find(|(tool, _)| answers.lacks(tool)) {
        return Err(Unread::NoTool { tool: (*tool).to_owned(), package: (*package).to_owned() });
    }
    let answer = answers.snippet(key).ok_or(Unread::NotAsked)?;
    let text = answer.text();
    if !answer.succeeded() {
        let said = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let status = answer.status;
        return Err(Unread::Failed(format!("{} (status {status})", shortened(said))));
    }
    parse(&text).map_err(|error| Unread::Failed(shortened(&error)))
}

/// Returns a text of one line that is not too long.
fn shortened(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(SAID) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
