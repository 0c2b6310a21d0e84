//! The program that runs on the host, and how it is started.
//!
//! It is a POSIX shell program of coreutils' `dd`, `cat`, `mktemp` and `rm` only, tried under dash, bash and busybox.
//! `dd` with `fullblock` reads exactly what it is told to, where busybox' `head` reads ahead. A block that it has read
//! is read even if it cannot be written, so a full disk leaves the stream where it should be: of a large file `dd` says
//! how many blocks it has read, and the driver passes over the others. The stream is descriptor 9
//! of the driver alone: a script reaches it through `/proc` (which only its own user can), so that neither its
//! commands nor a daemon that it starts can read what is not for them. Where the stream is a socket, which cannot be
//! opened through `/proc`, a script that has payloads does inherit it.

use crate::sh;
use crate::shell::Script;

const DRIVER: &str = include_str!("driver.sh");

/// Where commands are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit statuses of the driver itself.
pub(super) mod status {
    /// There is no place for a private folder.
    pub(in super::super) const NO_PLACE: i32 = 97;
    /// The stream is not where it should be.
    pub(in super::super) const OUT_OF_STEP: i32 = 98;
    /// The shell may not start a command: sudo's `noexec`.
    pub(in super::super) const NO_EXEC: i32 = 126;
    /// A command of coreutils is missing.
    pub(in super::super) const NO_COMMAND: i32 = 127;
}

/// How the driver becomes root.
pub(super) enum Elevation<'a> {
    /// Not at all.
    None,
    /// By `sudo -n`.
    Sudo,
    /// By sudo, which asks for the password with this prompt, and a driver that greets with this word.
    Ask { prompt: &'a str, hello: &'a str },
}

/// Returns the driver's text for `sh -c`; it prints a frame with `hello` first, unless that is empty.
pub(super) fn program(hello: &str, path: Option<&str>) -> Script {
    // An empty word would be written as quotes, which the test below refuses.
    let head = if hello.is_empty() { Script::constant("_hello=;") } else { sh!("_hello={};", hello) };
    head.then(sh!("PATH={}", path.unwrap_or(PATH))).then(Script::constant(DRIVER))
}

/// Returns the command that starts the driver, for the login shell of a host.
///
/// `env LC_ALL=C` makes sudo speak English, whatever the login's locale, so that its complaints can be told apart. It
/// is a command and not an assignment because the login shell may be none of Bourne's kind.
pub(super) fn command(elevation: &Elevation<'_>) -> Script {
    match elevation {
        Elevation::None => sh!("sh -c {}", program("", None).text()),
        Elevation::Sudo => sh!("env LC_ALL=C sudo -n -- sh -c {}", program("", None).text()),
        Elevation::Ask { prompt, hello } => {
            sh!("env LC_ALL=C sudo -S -p {} -- sh -c {}", *prompt, program(hello, None).text())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_login_shell_reads_the_command_as_one_quoted_word() {
        // A quote would end the word, and csh expands `!` even within quotes.
        assert!(!program("", None).text().contains(['\'', '!']));
        assert!(command(&Elevation::Sudo).text().starts_with("env LC_ALL=C sudo -n -- sh -c '_hello=;"));
    }
}
