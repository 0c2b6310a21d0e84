//! A command that an inventory's author wrote, made ready for a host: as whom, where, with which environment, how long.
//!
//! The text and the environment reach the shell as variables that builtins export, so neither stands in the arguments
//! of a program, where `ps` would show it.

use std::collections::BTreeMap;

use super::spec::{AccountName, HostPath};
use crate::sh;
use crate::shell::Script;

/// What is called.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// Shell text, run by `sh -e`.
    Shell(&'a str),
    /// A program and its arguments.
    Program(&'a [String]),
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub what: What<'a>,
    pub user: Option<&'a AccountName>,
    pub cwd: Option<&'a HostPath>,
    pub environment: Option<&'a BTreeMap<String, String>>,
}

impl Call<'_> {
    /// Returns a call of shell text as root, in `/`.
    pub fn shell(text: &str) -> Call<'_> {
        Call { what: What::Shell(text), user: None, cwd: None, environment: None }
    }

    /// Returns what comes before the call: it must succeed by itself.
    pub fn setup(&self) -> Script {
        // The session's own umask is the strictest; an author expects the usual one.
        let mut script = Script::constant("umask 022");
        if let Some(user) = self.user {
            script.push(&sh!(
                r#"_user=$(getent passwd -- {}) || { echo {} >&2; exit 1; }
_gid=${_user#*:*:*:}; _gid=${_gid%%:*}
_home=${_user#*:*:*:*:*:}; _home=${_home%%:*}
HOME=$_home; USER={}; LOGNAME={}; export HOME USER LOGNAME"#,
                user,
                format!("there is no user {user}"),
                user,
                user
            ));
        }
        for (name, value) in self.environment.into_iter().flatten() {
            // The name was checked to be one; the value is quoted.
            script.push(&sh!("{}={}; export {}", Script::from_author(name), value, Script::from_author(name)));
        }
        if let What::Shell(text) = self.what {
            script.push(&sh!("_text={}; export _text", text));
        }
        if let Some(cwd) = self.cwd {
            script.push(&sh!("cd -- {}", cwd));
        }
        script
    }

    /// Returns the call itself, one simple command that ends with status 124 or 137 when `seconds` are over.
    pub fn command(&self, seconds: Script) -> Script {
        let mut words = sh!("timeout -k 5 {}", seconds);
        if let Some(user) = self.user {
            words = sh!("{} setpriv --reuid {} --regid \"$_gid\" --init-groups --", words, user);
        }
        match self.what {
            What::Shell(_) => sh!("{} sh -e -c '_t=$_text; unset _text; eval \"$_t\"'", words),
            What::Program(argv) => sh!("{} {}", words, Script::words(argv)),
        }
    }
}

/// Returns whether `name` can be an environment variable's. Names that begin with `_` are the session's own.
pub fn is_variable(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Returns a resource's name for a command that was given none: its beginning, on one line.
pub fn short_name(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(60).collect()
}
