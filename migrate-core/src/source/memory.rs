//! Documents in memory, for tests: with faults where a test wants them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Bson, Document, RawDocumentBuf};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::mpsc;

use super::{Batch, CollectionInfo, Range, Source, id_key, id_key_of, id_of};
use crate::error::{Error, ErrorKind, Result};

/// Collections in memory, each in the order in which its documents were given.
#[derive(Debug, Default)]
pub struct MemorySource {
    collections: BTreeMap<String, Vec<Vec<u8>>>,
    batch_documents: usize,
    fault: Mutex<Option<Fault>>,
    reads: AtomicUsize,
}

/// An error that a read is to end in.
#[derive(Debug)]
struct Fault {
    collection: String,
    documents: usize,
    kind: ErrorKind,
    times: usize,
}

impl MemorySource {
    /// A source without collections, which sends 100 documents at a time.
    pub fn new() -> Self {
        Self { batch_documents: 100, ..Self::default() }
    }

    /// Adds a collection, or documents to one.
    ///
    /// # Panics
    /// When a document cannot be written as BSON, as one with a key that holds U+0000.
    #[must_use]
    pub fn with(self, collection: &str, documents: impl IntoIterator<Item = Document>) -> Self {
        let raw = documents.into_iter().map(|document| {
            RawDocumentBuf::try_from(&document).expect("a document of BSON").into_bytes()
        });
        let raw: Vec<_> = raw.collect();
        self.with_raw(collection, raw)
    }

    /// Adds documents as bytes, which need not be good BSON.
    #[must_use]
    pub fn with_raw(
        mut self,
        collection: &str,
        documents: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        self.collections.entry(collection.to_owned()).or_default().extend(documents);
        self
    }

    /// Sends so many documents at a time.
    #[must_use]
    pub fn batches_of(mut self, documents: usize) -> Self {
        self.batch_documents = documents.max(1);
        self
    }

    /// Lets the next `times` reads of a collection that come past its document number `documents`
    /// end there in an error of that kind.
    pub fn fail_after(&self, collection: &str, documents: usize, kind: ErrorKind, times: usize) {
        let fault = Fault { collection: collection.to_owned(), documents, kind, times };
        *self.fault.lock().expect("no panic under the lock") = Some(fault);
    }

    /// How many ranges were read, to the end or not.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn documents(&self, collection: &str) -> Result<&[Vec<u8>]> {
        self.collections.get(collection).map(Vec::as_slice).ok_or_else(|| {
            Error::new(ErrorKind::Source, format!("there is no collection `{collection}`"))
        })
    }

    /// The fault that documents `start..end` of the collection run into.
    fn fault(&self, collection: &str, start: usize, end: usize) -> Option<(usize, ErrorKind)> {
        let mut fault = self.fault.lock().expect("no panic under the lock");
        let found = fault.as_mut().filter(|fault| {
            fault.times > 0
                && fault.collection == collection
                && (start..end).contains(&fault.documents)
        })?;
        found.times -= 1;
        Some((found.documents, found.kind))
    }
}

impl Source for MemorySource {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>> {
        let infos = self.collections.iter().map(|(name, documents)| CollectionInfo {
            name: name.clone(),
            documents: Some(documents.len() as u64),
            bytes: Some(documents.iter().map(|document| document.len() as u64).sum()),
        });
        std::future::ready(Ok(infos.collect())).boxed()
    }

    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>> {
        let count = self.collections.get(collection).map_or(0, Vec::len);
        std::future::ready(Ok(count as u64)).boxed()
    }

    fn split<'a>(
        &'a self,
        collection: &'a str,
        chunk_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<Range>>> {
        // A range's bounds are numbers of documents.
        let split = || {
            let mut ranges = Vec::new();
            let (mut start, mut bytes) = (0, 0);
            for (index, document) in self.documents(collection)?.iter().enumerate() {
                if bytes >= chunk_bytes {
                    ranges.push(Range::Bytes { start, end: Some(index as u64) });
                    (start, bytes) = (index as u64, 0);
                }
                bytes += document.len() as u64;
            }
            ranges.push(Range::Bytes { start, end: None });
            Ok(ranges)
        };
        std::future::ready(split()).boxed()
    }

    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let documents = self.documents(collection)?;
            let Range::Bytes { start, end } = *range else {
                return Err(Error::new(ErrorKind::Source, "memory has no ranges of ids"));
            };
            let end = end.map_or(documents.len(), |end| end as usize).min(documents.len());
            let start = (start as usize).min(end);
            let fault = self.fault(collection, start, end);
            let stop = fault.map_or(end, |(documents, _)| documents);
            for part in documents[start..stop].chunks(self.batch_documents) {
                if batches.send(Batch::from_documents(part)).await.is_err() {
                    return Ok(());
                }
            }
            match fault {
                Some((_, kind)) => Err(Error::new(kind, format!("`{collection}` fails on demand"))),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn fetch_batches<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [Bson],
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let wanted: std::collections::HashSet<Vec<u8>> =
                ids.iter().map(id_key_of).collect::<Result<_>>()?;
            let is_wanted =
                |document: &[u8]| id_of(document).is_some_and(|id| wanted.contains(&id_key(id)));
            for document in self.documents(collection)?.iter().filter(|found| is_wanted(found)) {
                if batches.send(Batch::from_documents([document])).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    async fn read(source: &MemorySource, range: &Range) -> (usize, Result<()>) {
        let (sender, mut batches) = mpsc::channel(100);
        let result = source.read("c", range, sender).await;
        let mut count = 0;
        while let Some(batch) = batches.recv().await {
            count += batch.len();
        }
        (count, result)
    }

    #[tokio::test]
    async fn ranges_hold_every_document_once_and_faults_come_as_often_as_they_are_asked_for() {
        let source =
            MemorySource::new().with("c", (0..10).map(|n| doc! { "_id": n })).batches_of(3);
        let ranges = source.split("c", 28).await.unwrap();
        assert_eq!(ranges.len(), 5);
        let mut count = 0;
        for range in &ranges {
            count += read(&source, range).await.0;
        }
        assert_eq!(count, 10);

        source.fail_after("c", 5, ErrorKind::SourceConnection, 2);
        for expected in [5, 5, 10] {
            let (count, result) = read(&source, &Range::Bytes { start: 0, end: None }).await;
            assert_eq!((count, result.is_err()), (expected, expected < 10));
        }
        assert_eq!(source.reads(), 8);
        let found = source.fetch("c", &[Bson::Int32(3), Bson::Int64(4)]).await.unwrap();
        assert_eq!(found.len(), 1);
    }
}
