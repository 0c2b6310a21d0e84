//! The memory of a run: what was about to be done, and what came of it.
//!
//! A run writes one file of JSON Lines, only ever appending. The intent of a step is on the disk before the step is
//! sent, its outcome is added after it; so whenever a run dies, the file says what may have been done and what was.
//! The first line carries the version of the format. No line holds a secret or a script.

use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::addr::{HostName, ResourceAddr, RunId};
use crate::change::Action;
use crate::event::Outcome;
use crate::fs::{self, FsError};

/// The version this tool writes; it reads this and older ones.
pub const VERSION: u32 = 2;

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line.
    Run {
        /// The format's version.
        version: u32,
        /// The run.
        run: RunId,
        /// Who runs it, as `user@machine`.
        owner: String,
        /// When it began, in UTC.
        at: String,
        /// The inventory and the playbook.
        inputs: Vec<Utf8PathBuf>,
    },
    /// A resource is about to be changed.
    Intent {
        /// When.
        at: String,
        /// The resource.
        addr: ResourceAddr,
        /// The verb.
        action: Action,
        /// Its steps' titles.
        steps: Vec<String>,
    },
    /// A resource ended.
    Done {
        /// When.
        at: String,
        /// The resource.
        addr: ResourceAddr,
        /// How.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A confirm window ended.
    Window {
        /// When.
        at: String,
        /// The host.
        host: HostName,
        /// The resources whose change had to be confirmed.
        addrs: Vec<ResourceAddr>,
        /// How long it was open at the most, in seconds.
        seconds: u64,
        /// How it ended.
        end: WindowEnd,
    },
    /// The run came to its end by itself.
    End {
        /// When.
        at: String,
        /// The exit code.
        exit: u8,
    },
}

/// How a confirm window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowEnd {
    /// A new login confirmed what was done.
    Confirmed,
    /// It was never opened, and nothing was done.
    Closed,
    /// The host has taken the changes back.
    RolledBack,
    /// It cannot be shown that the host has taken them back.
    Unproven,
}

/// Why the journal could not be written. A run that cannot write it changes nothing.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The folder or file cannot be made.
    #[error("keep the journal of the run")]
    Open {
        /// What failed.
        source: FsError,
    },
    /// A line cannot be written.
    #[error("write to the journal {path}")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: Utf8PathBuf,
    file: fs::File,
}

impl Journal {
    /// Begins the journal of a run in a folder, which is made private if it is new.
    pub fn create(folder: &Utf8Path, run: &RunId) -> Result<Self, JournalError> {
        let open = |source| JournalError::Open { source };
        fs::create_private_folder(folder).map_err(open)?;
        let path = folder.join(format!("{run}.jsonl"));
        let file = fs::open_append(&path).map_err(open)?;
        Ok(Self { path, file })
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Adds lines.
    pub fn add(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry).map_err(|e| self.failed(e.into()))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(|source| self.failed(source))
    }

    /// Adds lines and returns once they are on the disk.
    pub fn add_durably(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        self.add(entries)?;
        self.file.sync_data().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> JournalError {
        JournalError::Write { path: self.path.clone(), source }
    }
}

/// Returns the time now, in UTC, as the journal writes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Reads a journal. A last line that is cut off is left out: the run died while it wrote it.
///
/// # Errors
/// The text says which line makes no sense.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        match serde_json::from_str::<Entry>(line) {
            Ok(Entry::Run { version, .. }) if version > VERSION => {
                return Err(format!("the journal has version {version}, and this tool knows up to {VERSION}"));
            }
            Ok(entry) => entries.push(entry),
            Err(_) if at + 1 == lines.len() && !text.ends_with('\n') => {}
            Err(error) => return Err(format!("line {}: {error}", at + 1)),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_reads_back_also_when_its_writer_died_in_mid_line() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let run = RunId::from("r1");
        let mut journal = Journal::create(folder, &run).unwrap();
        let addr: ResourceAddr = "h/file[/a]".parse().unwrap();
        let first = Entry::Run { version: VERSION, run, owner: "me".into(), at: now(), inputs: Vec::new() };
        let done = Entry::Done { at: now(), addr, outcome: Outcome::Changed };
        journal.add_durably(&[first.clone(), done.clone()]).unwrap();
        let text = fs::read_to_string(journal.path()).unwrap();
        assert_eq!(parse(&text).unwrap(), [first.clone(), done]);
        let cut = text.len() - 5;
        assert_eq!(parse(&text[..cut]).unwrap(), [first]);
        assert!(parse(&text[1..]).is_err());
    }
}
