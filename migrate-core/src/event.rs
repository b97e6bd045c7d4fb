//! What a run tells about itself while it goes on.
//!
//! The core never prints: whoever starts a run gives it a [`Reporter`], which may draw a bar,
//! write lines or do nothing. Events come from several tasks at once.

use std::time::Duration;

use crate::ledger::Entry;
use crate::reject::Reject;

/// Receives what a run tells.
pub trait Reporter: Send + Sync {
    /// Called for each event, in the order of each task. It must not block for long.
    fn event(&self, event: &Event<'_>);
}

/// Ignores every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

/// The steps of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the step of that name in ARCHITECTURE.md")]
pub enum Step {
    Preflight,
    Schema,
    Load,
    Settle,
    Constrain,
    Analyze,
    Validate,
    Report,
}

impl Step {
    /// The step's name, as in `preflight`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Schema => "schema",
            Self::Load => "load",
            Self::Settle => "settle",
            Self::Constrain => "constrain",
            Self::Analyze => "analyze",
            Self::Validate => "validate",
            Self::Report => "report",
        }
    }
}

/// A fact about the run. Counts are since the event before unless they say otherwise.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    StepStarted {
        /// Which.
        step: Step,
    },
    /// A step is done.
    StepFinished {
        /// Which.
        step: Step,
        /// How long it took.
        elapsed: Duration,
    },
    /// A new run is written down in the target and begins.
    Begun {
        /// The run's number.
        run: i64,
    },
    /// An unfinished run was found in the target and goes on.
    Resumed {
        /// The run's number.
        run: i64,
        /// Chunks that are done already.
        chunks_done: u64,
        /// All chunks.
        chunks: u64,
    },
    /// A collection will be read.
    TablePlanned {
        /// The model's table.
        table: &'a str,
        /// The collection.
        collection: &'a str,
        /// Documents as the source estimates them; 0 when it does not know.
        documents: u64,
        /// Documents that an earlier process of this run has read.
        documents_done: u64,
        /// Rows that it has loaded of them.
        rows_done: u64,
        /// Chunks it was cut into.
        chunks: u64,
    },
    /// Documents were read and turned into rows; they are not durable yet.
    Progress {
        /// The model's table.
        table: &'a str,
        /// Documents read.
        documents: u64,
        /// BSON bytes read.
        bytes: u64,
    },
    /// A chunk is committed.
    ChunkDone {
        /// The model's table.
        table: &'a str,
        /// Documents read.
        read: u64,
        /// Rows loaded.
        loaded: u64,
        /// Documents rejected.
        rejected: u64,
        /// Documents that are not the model's.
        skipped: u64,
        /// BSON bytes read.
        bytes: u64,
        /// From the first read to the commit.
        elapsed: Duration,
    },
    /// A chunk was given up and will be done again; its documents count as not read.
    ChunkUndone {
        /// The model's table.
        table: &'a str,
        /// The documents that [`Event::Progress`] had told of.
        documents: u64,
        /// The BSON bytes that it had told of.
        bytes: u64,
    },
    /// A document was rejected, and is in the ledger when its chunk is committed.
    Rejected(&'a Reject),
    /// A document that an earlier process of this run has rejected, when that run goes on.
    RejectedBefore(&'a Entry),
    /// A part of a step begins: a key, an index, a junction.
    TaskStarted {
        /// The step it belongs to.
        step: Step,
        /// What is done, as in `index Tasks (priority)`.
        task: &'a str,
    },
    /// A part of a step is done.
    TaskFinished {
        /// The step it belongs to.
        step: Step,
        /// What was done.
        task: &'a str,
        /// How long it took.
        elapsed: Duration,
    },
    /// The run waits before it tries again.
    Waiting {
        /// What went wrong, and what is waited for.
        what: &'a str,
        /// How long it waits.
        delay: Duration,
    },
    /// Something a person should know; the run goes on.
    Notice {
        /// The sentence.
        message: &'a str,
    },
}
