//! Where documents come from: one trait for a live MongoDB and for a dump.
//!
//! A source cuts a collection into ranges and streams one range in batches of raw BSON. The
//! ranges of one cut cover the collection completely and without overlap, whatever types its ids
//! have, so that a run may read them in any order, side by side, and again after a crash.

mod dump;
#[cfg(any(test, feature = "test-util"))]
pub mod memory;
#[cfg(feature = "engine")]
mod mongo;
mod pace;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::spec::ElementType;
use futures_util::future::BoxFuture;
#[cfg(feature = "engine")]
use mongodb::raw_batch_cursor::RawBatch;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::budget::{Budget, Share};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Stop;
use crate::value::{Elements, Value};

pub use dump::DumpSource;
#[cfg(feature = "engine")]
pub use mongo::{MongoSource, driver_text};
pub use pace::Limits;

/// Documents of one range in one buffer: a piece of a dump, or a server's reply as it came.
///
/// The documents lie where they were read; nothing is copied for a batch. Their lengths are known
/// to be right, what is in them is not yet looked at.
pub struct Batch {
    buffer: Buffer,
    /// Offset and length of each document in the buffer.
    documents: Vec<(u32, u32)>,
    /// The documents' lengths, added up.
    bytes: usize,
    /// What it takes of the budget; several batches may be made of one.
    share: Option<Arc<Share>>,
}

enum Buffer {
    Bytes(Vec<u8>),
    #[cfg(feature = "engine")]
    Reply(RawBatch),
}

impl Batch {
    /// A batch of the documents that lie at those offsets, with those lengths, in `bytes`.
    ///
    /// # Panics
    /// [`Batch::iter`] panics when a document does not lie in the buffer.
    pub fn new(bytes: Vec<u8>, documents: Vec<(u32, u32)>) -> Self {
        Self::of(Buffer::Bytes(bytes), documents)
    }

    /// A batch of copies of whole documents.
    pub fn from_documents<D: AsRef<[u8]>>(documents: impl IntoIterator<Item = D>) -> Self {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for document in documents {
            let document = document.as_ref();
            places.push((bytes.len() as u32, document.len() as u32));
            bytes.extend_from_slice(document);
        }
        Self::new(bytes, places)
    }

    fn of(buffer: Buffer, documents: Vec<(u32, u32)>) -> Self {
        let bytes = documents.iter().map(|&(_, length)| length as usize).sum();
        Self { buffer, documents, bytes, share: None }
    }

    /// Waits until the budget has room for the batch and for what becomes of it; until it is
    /// dropped that is taken.
    pub(crate) async fn take_share(&mut self, budget: &Budget) {
        let largest = self.documents.iter().map(|&(_, length)| length as usize).max();
        self.share = Some(Arc::new(budget.share(self.bytes, largest.unwrap_or(0)).await));
    }

    /// Lets the batch hold what `other` has taken of the budget, which it was made of.
    pub(crate) fn share_with(&mut self, other: &Self) {
        self.share.clone_from(&other.share);
    }

    /// The documents in the order of the source, each from its length to its last zero byte.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + Clone {
        let buffer = self.buffer();
        self.documents
            .iter()
            .map(move |&(offset, length)| &buffer[offset as usize..][..length as usize])
    }

    /// Leaves out the documents that `keep` does not want; asks in their order.
    pub(crate) fn keep(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let kept: Vec<bool> = self.iter().map(&mut keep).collect();
        let mut kept = kept.into_iter();
        self.documents.retain(|_| kept.next().unwrap_or_default());
        self.bytes = self.documents.iter().map(|&(_, length)| length as usize).sum();
    }

    fn buffer(&self) -> &[u8] {
        match &self.buffer {
            Buffer::Bytes(bytes) => bytes.as_slice(),
            #[cfg(feature = "engine")]
            Buffer::Reply(reply) => reply.as_raw_document().as_bytes(),
        }
    }

    /// How many documents it holds.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The bytes of its documents: what a budget of memory counts, to within a reply's frame.
    pub fn bytes_len(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} documents, {} bytes)", self.len(), self.bytes)
    }
}

/// What a source knows of a collection without reading it.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Documents, as far as is known: an estimate on a live server, and in a dump from the size
    /// of the first ones. For a progress bar, not for a sum.
    pub documents: Option<u64>,
    /// Size of its BSON in bytes, where known.
    pub bytes: Option<u64>,
}

/// A part of a collection. What it means is the source's business; it is stored as JSON in the
/// target, with the chunk it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Documents whose `_id` lies in `min..max`, in BSON's order over all types; each bound is a
    /// document `{"_id": ..}` in BSON, written in base64: JSON in a database would change the order
    /// of an id's own keys, and with it the id. `None` is open.
    Ids {
        /// The first id of the range.
        min: Option<String>,
        /// The first id behind it.
        max: Option<String>,
    },
    /// Documents whose first byte lies in `start..end` of a dump file, uncompressed. The bounds of
    /// a plain file lie between documents, those of a compressed one anywhere.
    Bytes {
        /// Where it begins.
        start: u64,
        /// Where the next range begins; `None` is the end of the file.
        end: Option<u64>,
    },
}

/// How a read ended that could not go on after a stumble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// All documents were sent, each once.
    #[default]
    Whole,
    /// Documents are missing, and what has come of the others is to be undone.
    BrokenOff,
}

/// Where documents come from.
pub trait Source: Send + Sync + fmt::Debug {
    /// The source in a sentence, without secrets; part of a run's fingerprint.
    fn describe(&self) -> String;

    /// The collections, in the order of their names, without views and system collections.
    ///
    /// # Errors
    /// When the source cannot be reached or read.
    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>>;

    /// What a person should know of the source, a sentence each: data that is there and that
    /// [`Source::collections`] does not name. Complete once that has returned.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// The memory that its documents take, where it keeps to a budget; what else of a run is as large
    /// as documents are takes its share of it too.
    fn budget(&self) -> Option<&Budget> {
        None
    }

    /// Whether [`Source::fetch`] knows the elements of child models by their locators, so that
    /// they need not be looked for in the documents that hold them.
    fn has_elements(&self) -> bool {
        false
    }

    /// Asks for a collection as a read would, to know whether that is allowed; a collection that is
    /// not there is no error.
    ///
    /// # Errors
    /// When the source cannot be reached or refuses.
    fn check<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<()>> {
        let _ = collection;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Counts a collection's documents exactly, reading as much of it as that takes; 0 for a
    /// collection that is not there.
    ///
    /// # Errors
    /// When the source cannot be reached or read.
    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Cuts a collection into ranges of about `chunk_bytes` each. Together they hold every
    /// document that lies in the collection while they are read, each in one of them; a range may
    /// be empty. One cut of a collection need not be like the next.
    ///
    /// # Errors
    /// When the source cannot be reached or read.
    fn split<'a>(
        &'a self,
        collection: &'a str,
        chunk_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<Range>>>;

    /// Sends the documents of a range to `batches`, waiting while the channel is full; returns
    /// when all are sent, or early and without an error when the receiver is gone. A live server
    /// that stumbles is asked again, and every document is still sent once.
    ///
    /// # Errors
    /// When the source cannot be reached or read, or the dump breaks off; the documents before
    /// have been sent.
    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Sends the documents of a range as [`Source::read`] does, but in whichever order is the
    /// cheapest for the source, and without going on after a stumble where that order allows none:
    /// then it says so, and the range is to be read with [`Source::read`].
    ///
    /// # Errors
    /// As those of [`Source::read`].
    fn read_in_any_order<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<Ending>> {
        let read = self.read(collection, range, batches);
        Box::pin(async move { read.await.map(|()| Ending::Whole) })
    }

    /// Reads documents again by their `_id`s, in any order, and sends them to `batches`, waiting while
    /// the channel is full: of many or large documents only some are in memory at a time. Those that
    /// are not there any more are left out, and an id that several documents have gives them all. Ids
    /// are compared with their BSON types: `1` does not find `1.0`. Returns early and without an error
    /// when the receiver is gone.
    ///
    /// # Errors
    /// When the source cannot be reached or read; some documents may have been sent.
    fn fetch_batches<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [bson::Bson],
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Reads documents again as [`Source::fetch_batches`] does and gives them all.
    ///
    /// # Errors
    /// When the source cannot be reached or read.
    fn fetch<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [bson::Bson],
    ) -> BoxFuture<'a, Result<Vec<bson::RawDocumentBuf>>> {
        Box::pin(async move {
            let (sender, batches) = mpsc::channel(1);
            let fetch = self.fetch_batches(collection, ids, sender);
            let (fetched, found) = tokio::join!(fetch, documents_of(batches));
            fetched.map(|()| found)
        })
    }
}

/// How a source is read; the defaults are good.
#[derive(Clone)]
pub struct SourceOptions {
    /// How long a live server that cannot be reached is asked again before the act fails.
    pub retry_for: Duration,
    /// How long one reply of a live server may take before the connection counts as lost.
    pub reply_timeout: Duration,
    /// About how many bytes of documents travel together.
    pub batch_bytes: usize,
    /// The most documents that travel together from a live server.
    pub batch_documents: usize,
    /// The most that all readers together read in a second; counts and the search for split
    /// points, which read the `_id` index, are not held back.
    pub limits: Limits,
    /// Collections of a live server with at most so many documents are cut along the whole `_id`
    /// index, larger ones by a sample.
    pub walked_documents: u64,
    /// Reads a replica set as it was at the moment of opening. The server keeps that moment for
    /// five minutes unless `minSnapshotHistoryWindowInSeconds` says otherwise; a read that comes
    /// later fails.
    pub snapshot: bool,
    /// The memory that documents may take on their way.
    pub memory: Budget,
    /// Told what is waited for, and how long, before a lost server is asked again.
    pub waiting: Option<Waiting>,
    /// Ends what waits for a live server when somebody asks to stop.
    pub stop: Stop,
}

/// Called with a sentence and the delay that follows.
pub type Waiting = Arc<dyn Fn(&str, Duration) + Send + Sync>;

impl Default for SourceOptions {
    fn default() -> Self {
        Self::within(Budget::default())
    }
}

impl SourceOptions {
    /// The defaults, for so much memory.
    pub fn within(memory: Budget) -> Self {
        Self {
            retry_for: Duration::from_secs(90),
            reply_timeout: Duration::from_secs(120),
            batch_bytes: memory.batch_bytes(),
            memory,
            batch_documents: 100_000,
            limits: Limits::default(),
            walked_documents: 2_000_000,
            snapshot: false,
            waiting: None,
            stop: Stop::default(),
        }
    }
}

impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOptions")
            .field("retry_for", &self.retry_for)
            .field("reply_timeout", &self.reply_timeout)
            .field("batch_bytes", &self.batch_bytes)
            .field("batch_documents", &self.batch_documents)
            .field("limits", &self.limits)
            .field("walked_documents", &self.walked_documents)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

/// Opens the source that a setting names: `mongodb://…` and `mongodb+srv://…` with the database
/// in the path, the folder of a dump, or the file of `mongodump --archive`, of which
/// `FILE#DATABASE` names a database.
///
/// # Errors
/// When the address cannot be understood, the server not be reached, or there is no good dump.
#[cfg(feature = "engine")]
pub async fn open(address: &str) -> Result<Arc<dyn Source>> {
    open_with(address, SourceOptions::default()).await
}

/// Opens a source as [`open`] does, to be read as `options` say.
///
/// # Errors
/// As those of [`open`].
#[cfg(feature = "engine")]
pub async fn open_with(address: &str, mut options: SourceOptions) -> Result<Arc<dyn Source>> {
    let limits = options.limits;
    if limits.is_none() {
        return open_unlimited(address, options).await;
    }
    limits.shrink_batches(&mut options);
    let source = open_unlimited(address, options).await?;
    Ok(Arc::new(pace::Paced::new(source, limits)))
}

#[cfg(feature = "engine")]
async fn open_unlimited(address: &str, options: SourceOptions) -> Result<Arc<dyn Source>> {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("mongodb" | "mongodb+srv") => Ok(Arc::new(MongoSource::open(address, options).await?)),
        Some(scheme) => Err(Error::new(
            ErrorKind::Usage,
            format!("a source cannot be read from a `{scheme}://` address"),
        )
        .with_hint(
            "give `mongodb://HOST/DATABASE`, `mongodb+srv://HOST/DATABASE`, or the folder of a dump",
        )),
        None => Ok(Arc::new(DumpSource::open(address, options).await?)),
    }
}

/// All documents of a read.
pub(crate) async fn documents_of(mut batches: mpsc::Receiver<Batch>) -> Vec<bson::RawDocumentBuf> {
    let mut found = Vec::new();
    while let Some(batch) = batches.recv().await {
        // Their lengths are right, which is all that is asked of them.
        found.extend(batch.iter().map(<[u8]>::to_vec).flat_map(bson::RawDocumentBuf::from_bytes));
    }
    found
}

/// The value of a raw document's `_id`, wherever it stands; `None` when it has none, or the
/// document breaks before it.
fn id_of(document: &[u8]) -> Option<Value<'_>> {
    Elements::of(document)
        .map_while(|element| element.ok())
        .find_map(|(key, value)| (key == b"_id").then_some(value))
}

/// What two ids are compared by: the type's byte and the value's.
fn id_key(id: Value<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + id.bytes.len());
    key.push(id.kind as u8);
    key.extend_from_slice(id.bytes);
    key
}

/// [`id_key`] of an id that is not in a document.
fn id_key_of(id: &bson::Bson) -> Result<Vec<u8>> {
    let document = bson::RawDocumentBuf::try_from(&bson::doc! { "_id": id }).map_err(|error| {
        Error::new(ErrorKind::Source, format!("the id {id} cannot be written as BSON"))
            .caused_by(error)
    })?;
    match id_of(document.as_bytes()) {
        Some(value) => Ok(id_key(value)),
        None => Ok(vec![ElementType::Undefined as u8]),
    }
}
