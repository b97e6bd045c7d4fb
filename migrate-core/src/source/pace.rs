//! Slows reading down, for a source that serves customers meanwhile.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Batch, CollectionInfo, Range, Source, SourceOptions};
use crate::budget::Budget;
use crate::error::Result;

/// A batch takes at least this part of a second, so that the source is asked little and often
/// instead of much and seldom.
const BATCHES_PER_SECOND: f64 = 8.0;

/// The most that all readers of a source read together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// BSON bytes in a second; `None` is no limit.
    pub bytes_per_second: Option<f64>,
    /// Documents in a second; `None` is no limit.
    pub documents_per_second: Option<f64>,
}

impl Limits {
    /// Whether there is any.
    pub fn is_none(&self) -> bool {
        self.bytes_per_second.is_none() && self.documents_per_second.is_none()
    }

    /// Makes batches small enough for an even pace.
    pub(super) fn shrink_batches(&self, options: &mut SourceOptions) {
        if let Some(rate) = self.bytes_per_second {
            let bytes = (rate / BATCHES_PER_SECOND) as usize;
            options.batch_bytes = options.batch_bytes.min(bytes.max(1 << 10));
        }
        if let Some(rate) = self.documents_per_second {
            let documents = (rate / BATCHES_PER_SECOND) as usize;
            options.batch_documents = options.batch_documents.min(documents.max(1));
        }
    }

    /// How long so much may take at the least.
    fn time_of(&self, bytes: usize, documents: usize) -> Duration {
        let of = |amount: usize, rate: Option<f64>| rate.map_or(0.0, |rate| amount as f64 / rate);
        let seconds =
            of(bytes, self.bytes_per_second).max(of(documents, self.documents_per_second));
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// A source whose readers keep to limits, all together.
#[derive(Debug)]
pub(super) struct Paced {
    source: Arc<dyn Source>,
    limits: Limits,
    /// When the next batch may be passed on.
    free: Mutex<Instant>,
}

impl Paced {
    pub(super) fn new(source: Arc<dyn Source>, limits: Limits) -> Self {
        Self { source, limits, free: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of so much.
    async fn turn(&self, bytes: usize, documents: usize) {
        let time = self.limits.time_of(bytes, documents);
        let turn = {
            let mut free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            turn_of(&mut free, Instant::now(), time)
        };
        tokio::time::sleep_until(turn).await;
    }

    /// Passes batches on at the pace of the limits.
    async fn pass_on(&self, mut receiver: mpsc::Receiver<Batch>, batches: mpsc::Sender<Batch>) {
        while let Some(batch) = receiver.recv().await {
            self.turn(batch.bytes_len(), batch.len()).await;
            if batches.send(batch).await.is_err() {
                // The reader notices by its own channel.
                break;
            }
        }
    }
}

/// When something that may take so long has its turn, asked for now; `free` is when the one after
/// it has. Time in which nobody asked is not saved up.
fn turn_of(free: &mut Instant, now: Instant, time: Duration) -> Instant {
    let turn = (*free).max(now);
    *free = turn.checked_add(time).unwrap_or(turn);
    turn
}

impl Source for Paced {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>> {
        self.source.collections()
    }

    fn notices(&self) -> Vec<String> {
        self.source.notices()
    }

    fn check<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<()>> {
        self.source.check(collection)
    }

    fn budget(&self) -> Option<&Budget> {
        self.source.budget()
    }

    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.source.count(collection)
    }

    fn split<'a>(
        &'a self,
        collection: &'a str,
        chunk_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<Range>>> {
        self.source.split(collection, chunk_bytes)
    }

    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel::<Batch>(1);
            let read = self.source.read(collection, range, sender);
            let (read, ()) = tokio::join!(read, self.pass_on(receiver, batches));
            read
        })
    }

    fn fetch_batches<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [bson::Bson],
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel::<Batch>(1);
            let fetch = self.source.fetch_batches(collection, ids, sender);
            let (fetched, ()) = tokio::join!(fetch, self.pass_on(receiver, batches));
            fetched
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::source::memory::MemorySource;

    #[test]
    fn turns_are_even_and_time_is_not_saved_up() {
        let limits = Limits { documents_per_second: Some(50.0), bytes_per_second: None };
        let begin = Instant::now();
        let mut free = begin;
        let mut ask = |after: f64, documents| {
            let now = begin + Duration::from_secs_f64(after);
            let turn = turn_of(&mut free, now, limits.time_of(1, documents));
            (turn - begin).as_secs_f64()
        };
        // Two readers that are always ready share one pace.
        let turns: Vec<f64> = (0..100).map(|_| ask(0.0, 5)).collect();
        for (number, turn) in turns.iter().enumerate() {
            assert!((turn - number as f64 * 0.1).abs() < 1e-6, "{number}: {turn}");
        }
        // After a pause the pace is the same, not a burst.
        assert_eq!(ask(60.0, 5), 60.0);
        assert!((ask(60.0, 5) - 60.1).abs() < 1e-6);
    }

    #[test]
    fn the_tighter_limit_holds() {
        let limits = Limits { documents_per_second: Some(100.0), bytes_per_second: Some(1000.0) };
        assert_eq!(limits.time_of(500, 10), Duration::from_millis(500));
        assert_eq!(limits.time_of(10, 10), Duration::from_millis(100));
        assert_eq!(Limits::default().time_of(usize::MAX, 1), Duration::ZERO);
    }

    #[test]
    fn batches_fit_the_pace() {
        let mut options = SourceOptions::default();
        Limits { documents_per_second: Some(80.0), bytes_per_second: Some(1e6) }
            .shrink_batches(&mut options);
        assert_eq!((options.batch_documents, options.batch_bytes), (10, 125_000));
        Limits { documents_per_second: Some(0.5), bytes_per_second: Some(1.0) }
            .shrink_batches(&mut options);
        assert_eq!((options.batch_documents, options.batch_bytes), (1, 1024));
    }

    #[tokio::test]
    async fn every_document_arrives() {
        let documents = (0..500).map(|id| doc! { "_id": id });
        let memory = MemorySource::new().with("c", documents).batches_of(7);
        let limits = Limits { documents_per_second: Some(1e6), bytes_per_second: Some(1e9) };
        let source = Paced::new(Arc::new(memory), limits);
        let mut count = 0;
        for range in source.split("c", 1000).await.unwrap() {
            let (sender, mut receiver) = mpsc::channel::<Batch>(1);
            let collect = async {
                let mut count = 0;
                while let Some(batch) = receiver.recv().await {
                    count += batch.len();
                }
                count
            };
            let (read, part) = tokio::join!(source.read("c", &range, sender), collect);
            read.unwrap();
            count += part;
        }
        assert_eq!(count, 500);
    }
}
