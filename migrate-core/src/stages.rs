//! What the workers of a load spend their time with, added up over all of them: where most of it
//! goes is where more speed would help.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A stage of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing has come from the source yet.
    Source,
    /// Documents become rows.
    Transform,
    /// The target takes rows, and what stands beside them.
    Target,
    /// Chunks are taken, noted and committed.
    Chunks,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Source, Self::Transform, Self::Target, Self::Chunks];

    /// The name in the summary.
    const fn name(self) -> &'static str {
        match self {
            Self::Source => "waiting_for_source",
            Self::Transform => "transform",
            Self::Target => "waiting_for_target",
            Self::Chunks => "taking_and_committing_chunks",
        }
    }
}

/// The sums of one process.
#[derive(Debug, Default)]
pub(crate) struct Stages([AtomicU64; Stage::ALL.len()]);

impl Stages {
    /// Adds time that a worker has spent.
    pub(crate) fn add(&self, stage: Stage, time: Duration) {
        self.0[stage as usize].fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// Seconds by the name of the stage.
    pub(crate) fn seconds(&self) -> BTreeMap<String, f64> {
        let seconds = |stage: Stage| self.0[stage as usize].load(Ordering::Relaxed) as f64 / 1e6;
        Stage::ALL.map(|stage| (stage.name().to_owned(), seconds(stage))).into()
    }
}

/// Adds the time that `act` takes to `sum`.
pub(crate) async fn timed<T>(sum: &mut Duration, act: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = act.await;
    *sum += begun.elapsed();
    result
}
