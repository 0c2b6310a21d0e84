//! The one voice: everything that the program prints goes through here, with secrets masked.
//!
//! Standard output is for data, standard error for all else. A reader that goes away is no error.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};

use super::exit::Exit;
use crate::diag::{Diagnostics, Sources};
use crate::policy::Lang;
use crate::report::style::Color;
use crate::report::{Counted, Progress, ProgressMode, diagnostic};
use crate::secret::Vault;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only errors and data.
    Quiet,
    /// What matters.
    #[default]
    Normal,
    /// Also what each host cost, and what was skipped and why.
    Verbose,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Prints.
#[derive(Clone, Debug)]
pub struct Printer {
    /// How much is said.
    pub verbosity: Verbosity,
    /// Whether data is JSON.
    pub json: bool,
    /// The secrets.
    pub vault: Vault,
    choice: ColorChoice,
    /// Why not all of the data could be printed.
    lost: Arc<OnceLock<String>>,
}

impl Printer {
    /// Returns a printer.
    pub fn new(verbosity: Verbosity, json: bool, choice: ColorChoice) -> Self {
        Self { verbosity, json, vault: Vault::default(), choice, lost: Arc::default() }
    }

    fn color(&self, is_terminal: bool) -> bool {
        match self.choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Returns whether data on standard output is coloured.
    pub fn stdout_color(&self) -> bool {
        self.color(std::io::stdout().is_terminal())
    }

    /// Returns whether messages on standard error are coloured.
    pub fn stderr_color(&self) -> bool {
        self.color(std::io::stderr().is_terminal())
    }

    /// Returns the style of data on standard output.
    pub fn stdout_style(&self) -> Color {
        if self.stdout_color() { Color::Always } else { Color::Never }
    }

    /// Returns the style of messages on standard error.
    pub fn stderr_style(&self) -> Color {
        if self.stderr_color() { Color::Always } else { Color::Never }
    }

    /// Starts the display of a run; with `--json` it is `in_json`.
    pub fn progress(&self, counted: Counted, in_json: ProgressMode) -> Progress {
        let color = if self.stderr_color() { Color::Always } else { Color::Never };
        let verbose = self.verbosity == Verbosity::Verbose;
        let mode = match self.verbosity {
            _ if self.json => in_json,
            Verbosity::Quiet => ProgressMode::Quiet,
            // Lines and bars would tear each other apart.
            Verbosity::Normal if std::io::stderr().is_terminal() => ProgressMode::Bars { color, width: self.width() },
            _ => ProgressMode::Lines { color, verbose },
        };
        let sink: Box<dyn Write + Send> =
            if mode == ProgressMode::Json { Box::new(std::io::stdout()) } else { Box::new(std::io::stderr()) };
        Progress::start(mode, counted, &self.vault, sink)
    }

    /// Returns how many columns there are.
    pub fn width(&self) -> usize {
        let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let terminal = || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        given.or_else(terminal).unwrap_or(100).clamp(40, 200)
    }

    /// Prints data on standard output.
    pub fn data(&self, text: &str) {
        let masked = self.vault.mask(text);
        let end: &[u8] = if masked.ends_with('\n') || masked.is_empty() { b"" } else { b"\n" };
        let mut out = std::io::stdout().lock();
        let written = out.write_all(masked.as_bytes()).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
        // A pipe whose reader left (`| head`) is not an error of ours.
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.lost.set(error.to_string()).ok();
        }
    }

    /// Returns how the program ends: what could not be printed whole is no success.
    pub fn end(&self, exit: Exit) -> Exit {
        match self.lost.get() {
            Some(error) => {
                self.error(&format!("the output is not whole: {error}"), Some("see whether its disk is full"));
                if exit == Exit::Done { Exit::Error } else { exit }
            }
            None => exit,
        }
    }

    /// Prints a value as JSON on standard output.
    pub fn json(&self, value: &serde_json::Value) {
        self.data(&format!("{value:#}"));
    }

    /// Prints a message on standard error, unless told to be quiet.
    pub fn note(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.say(text);
        }
    }

    /// Prints lines on standard error, unless told to be quiet or there are none.
    pub fn note_lines(&self, text: &str) {
        if !text.is_empty() {
            self.note(text);
        }
    }

    /// Prints a message on standard error in any case.
    pub fn say(&self, text: &str) {
        let masked = self.vault.mask(text);
        let mut out = std::io::stderr().lock();
        writeln!(out, "{}", masked.trim_end_matches('\n')).ok();
    }

    /// Prints an error with what to do next.
    pub fn error(&self, text: &str, hint: Option<&str>) {
        let word = if self.stderr_color() {
            console::style("error").red().bold().force_styling(true).to_string()
        } else {
            "error".to_owned()
        };
        self.say(&format!("{word}: {text}"));
        if let Some(hint) = hint {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Prints all problems: on standard error for people, on standard output as JSON.
    pub fn diagnostics(&self, problems: &Diagnostics, sources: &Sources) {
        self.diagnostics_in(Lang::En, problems, sources);
    }

    /// Prints all problems with the words around their messages in a language.
    pub fn diagnostics_in(&self, lang: Lang, problems: &Diagnostics, sources: &Sources) {
        if self.json {
            self.json(&diagnostic::to_json(problems, sources));
        } else if !problems.is_empty() {
            let shown = problems.has_errors() || self.verbosity > Verbosity::Quiet;
            if shown {
                self.say(&diagnostic::render_in(lang, problems, sources, self.stderr_style(), self.width()));
            }
        }
    }
}
