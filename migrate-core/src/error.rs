//! What stops a run: the act that failed, on what, why, and what to do about it.

use std::fmt;
use std::time::Duration;

/// The result of an act of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed act: its kind, what was done on what, and the cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    context: String,
    hint: Option<String>,
    waited: Duration,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure it was; decides whether trying again can help and what the hint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings contradict each other or name something that is not there.
    Usage,
    /// The source cannot be reached.
    SourceConnection,
    /// The source answered with an error.
    Source,
    /// A dump or a document in it cannot be read.
    Dump,
    /// The target cannot be reached.
    TargetConnection,
    /// The target refuses for now: a lock, a timeout, a full disk.
    TargetBusy,
    /// The target answered with an error.
    Target,
    /// The target is not as the run needs it: rights, version, tables, an older run.
    Preflight,
    /// A file of the run cannot be written or read.
    File,
    /// The sums do not hold.
    Balance,
    /// A person asked the run to stop.
    Interrupted,
}

impl ErrorKind {
    /// Whether the same act may succeed a little later.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::SourceConnection | Self::TargetConnection | Self::TargetBusy => true,
            Self::Usage
            | Self::Source
            | Self::Dump
            | Self::Target
            | Self::Preflight
            | Self::File
            | Self::Balance
            | Self::Interrupted => false,
        }
    }

    /// What a person can do about a failure of this kind when nothing better is known.
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::SourceConnection => Some(
                "check that MongoDB runs and that `--source` names it; give the same command again to go on",
            ),
            Self::TargetConnection => Some(
                "check that PostgreSQL runs and that `--target` names it; give the same command again to go on",
            ),
            Self::Source | Self::Target | Self::TargetBusy | Self::File => Some(
                "mend the cause, then give the same command again: what is loaded stays loaded",
            ),
            Self::Dump => Some(
                "check the dump with `bsondump`, or make it again with `mongodump`; a run that has begun with this one starts over with `--clean`",
            ),
            Self::Balance => Some(
                "this is a bug in migrate or somebody else wrote to the tables: do not use the target, and report the summary",
            ),
            Self::Interrupted => Some("give the same command again to go on where it stopped"),
            Self::Usage | Self::Preflight => None,
        }
    }
}

impl Error {
    /// An error without a cause below it.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        let (hint, waited, source) = (None, Duration::ZERO, None);
        Self(Box::new(Inner { kind, context: context.into(), hint, waited, source }))
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says what to do, in place of the kind's own hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says for how long the act was tried again before it failed.
    #[must_use]
    pub(crate) fn after(mut self, waited: Duration) -> Self {
        self.0.waited = waited;
        self
    }

    /// For how long the act was tried again before it failed.
    pub(crate) fn waited(&self) -> Duration {
        self.0.waited
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| self.0.kind.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
