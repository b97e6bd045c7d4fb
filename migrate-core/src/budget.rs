//! The memory of a run: one number in bytes for all workers, and who has how much of it.
//!
//! What grows with the data passes through here. Before a source asks for more it takes a *slot*,
//! which stands for the largest reply there is, because nobody knows what will come. What has come
//! takes its *share*: its own bytes, and those of what becomes of its largest document on the way
//! to PostgreSQL. The share goes with the batch and is given back when the batch is dropped.
//!
//! Nobody who has a share waits for another one, so waiting always ends: a batch that is being
//! written needs nothing from here. What cannot be seen from here is a worker that waits in
//! PostgreSQL for another one's transaction. So when nothing is given back for a long time, a
//! batch goes through without a share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a run may take unless told otherwise.
pub const DEFAULT_BYTES: u64 = 256_000_000;
/// With less a document of 16 MB has no place.
pub const LEAST_BYTES: u64 = 128_000_000;

/// The largest reply of MongoDB: 16 MiB of documents, or one that is as large with its frame.
const REPLY_BYTES: u64 = (16 << 20) + (64 << 10);
/// The largest document that MongoDB holds.
const LARGEST_BYTES: usize = 16 << 20;
/// The driver takes the documents out of the message it has read, so for a moment both are there.
const REPLY_COPIES: u64 = 2;
/// The program, its threads and its connections.
const FIXED_BYTES: u64 = 48 << 20;
/// What a worker has at hand whatever it loads: a message, and the piece that is made meanwhile.
const WORKER_BYTES: u64 = 1 << 20;
/// How much more than itself a document may take while it becomes a row: the row, which grows
/// with escapes in jsonb, or its copy in the ledger with its Extended JSON.
const GROWTH: u64 = 4;
/// Shares are counted in units of this size.
const UNIT: u64 = 4 << 10;
/// When nothing is given back for so long, workers may be waiting for each other.
const STANDSTILL: Duration = Duration::from_secs(30);

/// The cores that this process may use; two where nobody says. The system is asked once: on Linux it
/// reads some files for the answer, and tasks ask.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(2, usize::from))
}

/// How much may stand beside the rows of one worker, of a run on so many connections.
pub(crate) fn side_bytes(bytes: u64, jobs: usize) -> usize {
    (bytes / 8 / jobs.max(1) as u64).clamp(64 << 10, 4 << 20) as usize
}

/// What the hashes of rows may take while a validation compares them.
pub(crate) fn hash_bytes(bytes: u64) -> u64 {
    // The program, a reply on its way and its documents need the rest.
    const OTHERS: u64 = 100 << 20;
    (bytes * 3 / 8).min(bytes.saturating_sub(OTHERS)).max(8 << 20)
}

/// A budget in bytes; clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Arc<Semaphore>,
    units: Arc<Semaphore>,
    /// All units.
    most: u32,
    jobs: u64,
    /// How often a share was given back.
    given_back: AtomicU64,
    is_strict: AtomicBool,
    standstill: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of_run(DEFAULT_BYTES, cores())
    }
}

impl Budget {
    /// What a run on so many connections has to share.
    pub fn of_run(bytes: u64, jobs: usize) -> Self {
        Self::new(bytes, jobs, jobs as u64 * side_bytes(bytes, jobs) as u64)
    }

    /// What a validation on so many connections has to share; a part of it is for the hashes of
    /// rows.
    pub fn of_validation(bytes: u64, jobs: usize) -> Self {
        Self::new(bytes, jobs, hash_bytes(bytes))
    }

    fn new(bytes: u64, jobs: usize, apart: u64) -> Self {
        let jobs = jobs.max(1) as u64;
        let fixed = (FIXED_BYTES + jobs * WORKER_BYTES).min(bytes / 3);
        let rest = bytes.saturating_sub(fixed + apart);
        let slot = REPLY_BYTES * REPLY_COPIES;
        let slots = (rest / 2 / slot).clamp(1, 64);
        let share = rest.saturating_sub(slots * slot).max(REPLY_BYTES);
        let most = (share / UNIT).min(u64::from(u32::MAX >> 4)) as u32;
        Self(Arc::new(Inner {
            slots: Arc::new(Semaphore::new(slots as usize)),
            units: Arc::new(Semaphore::new(most as usize)),
            most,
            jobs,
            given_back: AtomicU64::new(0),
            is_strict: AtomicBool::new(false),
            standstill: STANDSTILL,
        }))
    }

    /// About how many bytes of documents should travel together, so that every connection has
    /// some, and some are on their way.
    pub fn batch_bytes(&self) -> usize {
        const AT_ONCE: u64 = 4;
        let share = u64::from(self.0.most) * UNIT;
        (share / (self.0.jobs * AT_ONCE)).clamp(64 << 10, 2 << 20) as usize
    }

    /// As long as it is strict, nothing passes without its share, however long nothing is given back: for
    /// times in which everybody knows that nobody takes what is read.
    pub(crate) fn be_strict(&self, strict: bool) {
        self.0.is_strict.store(strict, Ordering::Relaxed);
        // Who has waited through such a time has not seen a standstill.
        self.0.given_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until a reply may be asked for.
    pub(crate) async fn slot(&self) -> Slot {
        let permit = Arc::clone(&self.0.slots).acquire_owned().await;
        Slot { _permit: permit.ok() }
    }

    /// Waits until the largest document there is, and what becomes of it, may be kept.
    pub(crate) async fn share_of_largest(&self) -> Share {
        self.share(LARGEST_BYTES, LARGEST_BYTES).await
    }

    /// Waits until documents of so many bytes, the largest of which has `largest`, may be kept.
    pub(crate) async fn share(&self, bytes: usize, largest: usize) -> Share {
        let wanted = (bytes as u64 + GROWTH * largest as u64).div_ceil(UNIT);
        let units = wanted.clamp(1, u64::from(self.0.most)) as u32;
        let budget = self.clone();
        loop {
            let given_back = self.0.given_back.load(Ordering::Relaxed);
            let acquire = Arc::clone(&self.0.units).acquire_many_owned(units);
            match tokio::time::timeout(self.0.standstill, acquire).await {
                Ok(permit) => return Share { permit: permit.ok(), budget },
                Err(_) if self.0.is_strict.load(Ordering::Relaxed) => {}
                Err(_) if self.0.given_back.load(Ordering::Relaxed) == given_back => {
                    tracing::warn!(bytes, "nothing was given back for a while");
                    return Share { permit: None, budget };
                }
                Err(_) => {}
            }
        }
    }
}

/// The right to ask for a reply; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Memory that documents take; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    budget: Budget,
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.permit.take().is_some() {
            self.budget.0.given_back.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What all parts of a budget come to.
    fn sum(budget: &Budget, apart: u64) -> u64 {
        let inner = &budget.0;
        inner.slots.available_permits() as u64 * REPLY_BYTES * REPLY_COPIES
            + u64::from(inner.most) * UNIT
            + inner.jobs * WORKER_BYTES
            + apart
    }

    #[test]
    fn the_parts_fit_into_the_whole() {
        for bytes in [LEAST_BYTES, DEFAULT_BYTES, 512_000_000, 4_000_000_000] {
            for jobs in [1, 2, 16, 32] {
                let sides = (jobs * side_bytes(bytes, jobs)) as u64;
                let of_run = (Budget::of_run(bytes, jobs), sides);
                let of_validation = (Budget::of_validation(bytes, jobs), hash_bytes(bytes));
                for (budget, apart) in [of_run, of_validation] {
                    let sum = sum(&budget, apart);
                    // At the least one document of 16 MB is let through whatever the jobs.
                    let program = if bytes == LEAST_BYTES { 0 } else { FIXED_BYTES / 2 };
                    assert!(sum <= bytes - program, "{bytes} {jobs} {sum} {budget:?}");
                    let batches = budget.batch_bytes() as u64 * jobs as u64 * 4;
                    assert!(batches <= u64::from(budget.0.most) * UNIT, "{bytes} {jobs}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_share_is_waited_for_and_given_back() {
        let budget = Budget::of_run(DEFAULT_BYTES, 4);
        // More than there is takes all there is.
        let all = budget.share(1 << 30, 1 << 30).await;
        let mut waiting = Box::pin(budget.share(1, 1));
        let early = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(early.is_err());
        drop(all);
        waiting.await;
    }

    #[tokio::test]
    async fn a_standstill_ends() {
        let mut budget = Budget::of_run(DEFAULT_BYTES, 4);
        Arc::get_mut(&mut budget.0).unwrap().standstill = Duration::from_millis(20);
        let _all = budget.share(1 << 30, 1 << 30).await;
        budget.be_strict(true);
        let strict = tokio::time::timeout(Duration::from_millis(100), budget.share(1, 1)).await;
        assert!(strict.is_err());
        budget.be_strict(false);
        let over = budget.share(1, 1).await;
        assert!(over.permit.is_none());
    }
}
