//! The run: preflight → schema → load → settle → constrain → analyze → report.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Reporter;
use crate::schema::RegistryFacts;
use crate::source::Source;
use crate::summary::Summary;

/// How ids become UUIDs, as a person chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UuidVersion {
    /// Derived, version 8.
    #[default]
    V8,
    /// Derived, marked as version 7.
    V7,
    /// Version 4, kept in `id_map`.
    Random,
}

/// What a person may choose about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections to each server; 0 takes the number of cores.
    pub jobs: usize,
    /// How ids become UUIDs.
    pub uuid: UuidVersion,
    /// The schema of the run's own tables.
    pub state_schema: String,
    /// The schema of models that name none.
    pub schema: String,
    /// About how many BSON bytes one chunk has.
    pub chunk_bytes: u64,
    /// Throws the results of an earlier run away (its tables are emptied) and starts over.
    pub clean: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 0,
            uuid: UuidVersion::default(),
            state_schema: "migrate".to_owned(),
            schema: "public".to_owned(),
            chunk_bytes: 64 << 20,
            clean: false,
        }
    }
}

/// Asks a run to stop in an orderly way: chunks in flight are finished or rolled back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<std::sync::atomic::AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// Whether somebody has asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Moves every document of the registry's collections from `source` into the PostgreSQL database
/// at `target` (`postgres://…`), or goes on with an unfinished run found there. On return every
/// row, key and index is durable, and the sums in the summary were checked against the tables.
///
/// # Errors
/// When a server cannot be reached, the target is not as the run needs it, or somebody asked to
/// stop; what is committed stays, and the same call goes on from there. Rejected documents are no
/// error: the summary counts them.
pub async fn run(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Summary> {
    let _ = (registry, source, target, options, reporter, stop);
    Err(Error::new(ErrorKind::Usage, "not yet"))
}
