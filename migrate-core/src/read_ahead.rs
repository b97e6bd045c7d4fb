//! Reading chunks before a worker has taken them: the first ones while the target makes its tables, and
//! then the next ones while rows of those before are written, so that no worker waits for the source to
//! begin.
//!
//! Workers take chunks in the order of their numbers, and so they are read. No more are being read
//! at once than there are workers at work, those that workers have included, so what has come of a chunk
//! that nobody has taken yet waits for nothing but a worker: all that was begun before it is in memory or
//! is being read for one. A worker that waits for memory without a chunk, or that leaves, has all of it
//! let go first. And only where the run is this process's alone is it known which chunks come next: the
//! first sign of another one, or of a chunk that is done again, ends it as well.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::budget::Budget;
use crate::error::Result;
use crate::feed::Feed;
use crate::schema::{Model, RegistryFacts};
use crate::source::{Batch, Ending, Range, Source};
use crate::state::PlannedChunk;

/// Batches in stock for a transformer.
const STOCK: usize = 2;
/// For one that has not come yet, which has none at hand either.
const STOCK_AHEAD: usize = STOCK + 1;
/// While the target makes its tables there is time for more, and for some chunks.
const FIRST_STOCK: usize = 8;
const FIRST_READINGS: usize = 4;

/// The reading of a chunk's documents, in a task of its own. It ends by itself when this is dropped.
pub(crate) struct Reading {
    pub(crate) batches: mpsc::Receiver<Batch>,
    pub(crate) reader: JoinHandle<Result<Ending>>,
}

impl Reading {
    /// Begins to read a part of a collection.
    pub(crate) fn begin(
        source: &Arc<dyn Source>,
        model: &'static Model,
        part: (String, Range),
        in_order: bool,
    ) -> Self {
        Self::with_stock(source, model, part, in_order, STOCK, || {})
    }

    /// Begins to read with so many batches in stock, and does `then` when all is read.
    fn with_stock(
        source: &Arc<dyn Source>,
        model: &'static Model,
        (collection, range): (String, Range),
        in_order: bool,
        stock: usize,
        then: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (sender, batches) = mpsc::channel(stock);
        let (source, feed) = (Arc::clone(source), Feed::of(model));
        let reader = tokio::spawn(async move {
            let read = feed.read_either(&*source, (&collection, &range), in_order, sender).await;
            then();
            read
        });
        Self { batches, reader }
    }
}

/// The chunks of a plan that are read before they are taken; of the default there are none.
#[derive(Default)]
pub(crate) struct ReadAhead(Option<Arc<Shared>>);

struct Shared {
    source: Arc<dyn Source>,
    registry: &'static RegistryFacts,
    ahead: Mutex<Ahead>,
    /// Strict until somebody takes what is read.
    budget: Option<Budget>,
}

#[derive(Default)]
struct Ahead {
    /// The chunks that are not begun, with their numbers, in order.
    plan: VecDeque<(i64, PlannedChunk)>,
    /// What nobody has taken yet, by the number of its chunk.
    readings: HashMap<i64, Reading>,
    /// How many chunks are being read, whoever has them.
    active: usize,
    /// How many workers are at work.
    workers: usize,
    /// How many workers are about to take a chunk.
    taking: usize,
    /// The last chunk that a worker has taken.
    last: Option<i64>,
    /// Whether there is a sign of other processes, or nothing left to take.
    over: bool,
}

impl ReadAhead {
    /// Begins to read a plan, whose chunks have the numbers of their order.
    pub(crate) fn begin(
        source: &Arc<dyn Source>,
        registry: &'static RegistryFacts,
        chunks: &[PlannedChunk],
    ) -> Self {
        let plan = (0..).zip(chunks.iter().cloned()).collect();
        let shared = Arc::new(Shared {
            source: Arc::clone(source),
            registry,
            ahead: Mutex::new(Ahead { plan, ..Ahead::default() }),
            budget: source.budget().cloned(),
        });
        if let Some(budget) = &shared.budget {
            budget.be_strict(true);
        }
        shared.advance(&mut shared.ahead());
        Self(Some(shared))
    }

    /// Tells that a worker begins to work; it has ended when this is dropped, and with it the reading
    /// ahead: then there are no more chunks, or it has failed.
    pub(crate) fn at_work(&self) -> AtWork<'_> {
        if let Some(shared) = &self.0 {
            let mut ahead = shared.ahead();
            ahead.workers += 1;
            shared.advance(&mut ahead);
        }
        AtWork(self)
    }

    /// Tells that a worker is about to take a chunk.
    pub(crate) fn taking(&self) -> Taking<'_> {
        if let Some(shared) = &self.0 {
            shared.ahead().taking += 1;
        }
        Taking(self.0.as_ref())
    }

    /// Ends what nobody has taken, for good.
    pub(crate) fn end(&self) {
        if let Some(shared) = &self.0 {
            shared.begin_to_take();
            shared.ahead().end();
        }
    }
}

/// A worker at work; see [`ReadAhead::at_work`].
pub(crate) struct AtWork<'a>(&'a ReadAhead);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_to_take(&self) {
        if let Some(budget) = &self.budget {
            budget.be_strict(false);
        }
    }

    /// Begins to read what comes next, as long as fewer chunks are being read than there are workers, and
    /// not too many of those that are read wait for one. While the target makes its tables one chunk at
    /// a time is read, because two would take the core that the target needs.
    fn advance(self: &Arc<Self>, ahead: &mut Ahead) {
        let (active, waiting, stock) = match ahead.workers {
            0 => (1, FIRST_READINGS, FIRST_STOCK),
            workers => (workers, 2 * workers, STOCK_AHEAD),
        };
        while !ahead.over && ahead.active < active && ahead.readings.len() < waiting {
            let Some((number, chunk)) = ahead.plan.pop_front() else { return };
            let Some(reading) = self.start(ahead, chunk, stock) else { return };
            ahead.readings.insert(number, reading);
        }
    }

    fn start(
        self: &Arc<Self>,
        ahead: &mut Ahead,
        chunk: PlannedChunk,
        stock: usize,
    ) -> Option<Reading> {
        let model = self.registry.model(&chunk.model)?;
        ahead.active += 1;
        let shared = Arc::clone(self);
        let then = move || {
            let mut ahead = shared.ahead();
            ahead.active -= 1;
            shared.advance(&mut ahead);
        };
        let part = (chunk.collection, chunk.range);
        Some(Reading::with_stock(&self.source, model, part, false, stock, then))
    }
}

impl Ahead {
    fn end(&mut self) {
        self.plan.clear();
        self.readings.clear();
        self.over = true;
    }
}

/// A worker that is about to take a chunk. Until all have said which one they have, a reading of a
/// chunk that is taken may be one of theirs.
pub(crate) struct Taking<'a>(Option<&'a Arc<Shared>>);

impl Taking<'_> {
    /// Gives the reading of the chunk that the worker has taken, if it has taken one, and if it is
    /// known that it would.
    pub(crate) fn took(self, chunk: Option<i64>) -> Option<Reading> {
        let shared = self.0?;
        shared.begin_to_take();
        let mut ahead = shared.ahead();
        let Some(chunk) = chunk else {
            ahead.over = true;
            return None;
        };
        let mut own = ahead.readings.remove(&chunk);
        if own.is_none() && ahead.plan.front().is_some_and(|(next, _)| *next == chunk) {
            let next = ahead.plan.pop_front();
            own = next.and_then(|(_, next)| shared.start(&mut ahead, next, STOCK));
        }
        ahead.over |= own.is_none();
        ahead.last = ahead.last.max(Some(chunk));
        shared.advance(&mut ahead);
        own
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let Some(shared) = self.0 else { return };
        let mut ahead = shared.ahead();
        ahead.taking -= 1;
        if ahead.taking == 0 {
            // A worker takes the first free one: what is left before it is with another process.
            let is_passed = |number: &i64| ahead.last.is_some_and(|last| *number < last);
            if ahead.over || ahead.readings.keys().any(is_passed) {
                ahead.end();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::doc;
    use bson::oid::ObjectId;
    use uuid::Uuid;

    use super::*;
    use crate::schema::Registry as _;
    use crate::source::memory::MemorySource;
    use crate::{Migrate, registry};

    #[derive(Migrate)]
    #[migrate(collection = "words")]
    #[allow(dead_code)]
    struct Word {
        #[migrate(id)]
        id: Uuid,
    }

    registry! { Words = [Word] }

    /// Of a plan of so many chunks what two workers have ahead.
    fn of(chunks: usize) -> ReadAhead {
        let words: Vec<_> = (0..9).map(|_| doc! { "_id": ObjectId::new() }).collect();
        let source: Arc<dyn Source> = Arc::new(MemorySource::new().with("words", words));
        let chunk = PlannedChunk {
            model: "Word".to_owned(),
            collection: "words".to_owned(),
            phase: 0,
            range: Range::Bytes { start: 0, end: None },
            estimate: 9,
        };
        ReadAhead::begin(&source, Words::FACTS, &vec![chunk; chunks])
    }

    fn ahead(of: &ReadAhead) -> Vec<i64> {
        let mut numbers: Vec<i64> =
            of.0.as_ref().unwrap().ahead().readings.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    async fn documents(reading: Option<Reading>) -> usize {
        let mut reading = reading.expect("it was begun");
        let mut documents = 0;
        while let Some(batch) = reading.batches.recv().await {
            documents += batch.len();
        }
        assert_eq!(reading.reader.await.unwrap().unwrap(), Ending::Whole);
        documents
    }

    /// Waits until as many are read ahead as may be.
    async fn full(of: &ReadAhead, expected: &[i64]) {
        let wait = async {
            while ahead(of) != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("as many as may be");
    }

    #[tokio::test]
    async fn the_next_chunks_are_read_before_they_are_taken() {
        let of = of(7);
        // One at a time as long as nobody takes them.
        assert_eq!(ahead(&of), [0]);
        full(&of, &[0, 1, 2, 3]).await;
        let _workers = [of.at_work(), of.at_work()];
        for number in 0..7 {
            assert_eq!(documents(of.taking().took(Some(number))).await, 9);
        }
        assert!(ahead(&of).is_empty());
    }

    #[tokio::test]
    async fn a_reading_waits_for_the_worker_that_may_have_taken_its_chunk() {
        let of = of(2);
        let (first, second) = (of.taking(), of.taking());
        // Nothing was free any more, because of the first or because of another process.
        assert!(second.took(None).is_none());
        assert_eq!(documents(first.took(Some(0))).await, 9);
        assert!(ahead(&of).is_empty());
    }

    #[tokio::test]
    async fn workers_may_tell_what_they_took_in_another_order() {
        let of = of(4);
        full(&of, &[0, 1, 2, 3]).await;
        let (first, second) = (of.taking(), of.taking());
        assert_eq!(documents(second.took(Some(1))).await, 9);
        assert_eq!(documents(first.took(Some(0))).await, 9);
        assert_eq!(ahead(&of), [2, 3]);
    }

    #[tokio::test]
    async fn a_chunk_that_another_process_has_ends_it() {
        let of = of(9);
        full(&of, &[0, 1, 2, 3]).await;
        assert_eq!(documents(of.taking().took(Some(1))).await, 9);
        assert!(ahead(&of).is_empty());
        // And what comes now is read by who takes it.
        assert!(of.taking().took(Some(4)).is_none());
        tokio::task::yield_now().await;
        assert!(ahead(&of).is_empty());
    }

    #[tokio::test]
    async fn a_worker_that_leaves_ends_it() {
        let of = of(9);
        let workers = [of.at_work(), of.at_work()];
        full(&of, &[0, 1, 2, 3]).await;
        drop(workers);
        assert!(ahead(&of).is_empty());
        assert!(of.taking().took(Some(0)).is_none());
    }

    #[tokio::test]
    async fn a_chunk_that_is_not_the_next_one_ends_it() {
        let of = of(9);
        assert!(of.taking().took(Some(7)).is_none());
        assert!(ahead(&of).is_empty());
    }
}
