//! The exit codes: a contract with whoever calls the command from a script.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | complete and clean |
//! | 1 | complete, with rejected documents or differences |
//! | 2 | could not run: usage, connection, preflight |
//! | 130 | interrupted; the same command goes on where it stopped |

use std::process::ExitCode;

use migrate_core::ErrorKind;

/// How a command ended that could run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done, and nothing is left to look at.
    Clean,
    /// All is done, with rejects or differences.
    Differs,
}

/// The code of an interrupted run.
pub(crate) const INTERRUPTED: u8 = 130;

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::SUCCESS,
            Outcome::Differs => Self::from(1),
        }
    }
}

/// The code of a failure.
pub(crate) fn of_error(kind: ErrorKind) -> ExitCode {
    match kind {
        ErrorKind::Interrupted => ExitCode::from(INTERRUPTED),
        ErrorKind::Balance => ExitCode::from(1),
        _ => ExitCode::from(2),
    }
}
