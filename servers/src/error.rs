//! Why a private server could not be had.

use std::io;
use std::path::PathBuf;

/// What went wrong; every sentence says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine has no such binaries, and they could not be fetched.
    #[error("{what} was not found: {tried}; {remedy}")]
    NotFound {
        /// The server, with its version where one was asked for.
        what: String,
        /// Where it was looked for.
        tried: String,
        /// What to install or to set.
        remedy: &'static str,
    },
    /// A file or folder could not be used.
    #[error("cannot {act} `{}`", path.display())]
    File {
        /// What was done, as in `create`.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended with an error, or too early.
    #[error("{what} failed; the end of its output:\n{output}")]
    Failed {
        /// The program and what it was to do.
        what: String,
        /// The last lines it wrote.
        output: String,
    },
    /// A server did not get ready in time.
    #[error("{what} was not ready after {seconds} s; the end of its log:\n{output}")]
    NotReady {
        /// The server.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
        /// The last lines of its log.
        output: String,
    },
    /// The server refused a command.
    #[error("{server} refused `{command}`: {message}")]
    Refused {
        /// The server.
        server: &'static str,
        /// The command.
        command: String,
        /// Its answer.
        message: String,
    },
    /// The connection to a server broke.
    #[error("lost the connection to {server}")]
    Connection {
        /// The server.
        server: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn file(
        act: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source }
    }

    /// Whether the binaries are simply not there, so that a test may be skipped.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
