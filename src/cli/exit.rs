//! Exit codes, which scripts and CI rely on.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done, or there is nothing to do.
    Done,
    /// Something is wrong with the input, and nothing was changed.
    Error,
    /// `plan --detailed-exitcode`: there is something to do.
    ChangesPending,
    /// Some hosts failed or cannot be reached.
    Partial,
    /// Something was rolled back, because no new login confirmed it.
    RolledBack,
    /// Something was not confirmed, and it cannot be shown that it was rolled back.
    Unproven,
    /// The command line makes no sense.
    Usage,
    /// Interrupted.
    Interrupted,
    /// What `exec` ran ended with this status.
    Status(u8),
}

impl Exit {
    /// Returns the number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::ChangesPending => 2,
            Exit::Partial => 3,
            Exit::RolledBack => 4,
            Exit::Unproven => 5,
            Exit::Usage => 64,
            Exit::Interrupted => 130,
            Exit::Status(status) => status,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
