//! Where documents come from: one trait for a live MongoDB and for a dump.
//!
//! A source cuts a collection into ranges and streams one range in batches of raw BSON. The
//! ranges of one cut cover the collection completely and without overlap, whatever types its ids
//! have, so that a run may read them in any order, side by side, and again after a crash.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::error::Result;

/// Documents of one range, next to each other in one buffer.
pub struct Batch {
    /// The buffer that holds them.
    pub bytes: Vec<u8>,
    /// Where each document lies in it: offset and length in bytes.
    pub documents: Vec<(u32, u32)>,
}

/// What a source knows of a collection without reading it.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Documents, as far as is known; an estimate on a live server, `None` in a compressed dump.
    pub documents: Option<u64>,
    /// Size of its BSON in bytes, where known.
    pub bytes: Option<u64>,
}

/// A part of a collection. What it means is the source's business; it is stored as JSON in the
/// target, with the chunk it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Documents whose `_id` lies in `min..max`, in BSON's order over all types; each bound is
    /// Extended JSON of a document `{"_id": ..}`, `None` is open.
    Ids {
        /// The first id of the range.
        min: Option<serde_json::Value>,
        /// The first id behind it.
        max: Option<serde_json::Value>,
    },
    /// Bytes `start..end` of a dump file, uncompressed; both lie between documents.
    Bytes {
        /// The first document's offset.
        start: u64,
        /// The end of the last document; `None` is the end of the file.
        end: Option<u64>,
    },
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

    /// Cuts a collection into ranges of about `chunk_bytes` each.
    ///
    /// # Errors
    /// When the source cannot be reached or read.
    fn split<'a>(
        &'a self,
        collection: &'a str,
        chunk_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<Range>>>;

    /// Sends the documents of a range to `batches`, waiting while the channel is full; returns
    /// when all are sent, or early and without an error when the receiver is gone.
    ///
    /// # Errors
    /// When the source cannot be reached or read, or the dump breaks off.
    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Reads documents again by their `_id`s, in any order; those that are not there any more are
    /// left out, and an id that several documents have gives them all.
    ///
    /// # Errors
    /// When the source cannot be reached or read.
    fn fetch<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [bson::Bson],
    ) -> BoxFuture<'a, Result<Vec<bson::RawDocumentBuf>>>;
}

/// Opens the source that a setting names: `mongodb://…` and `mongodb+srv://…` with the database
/// in the path, or the folder of a dump.
///
/// # Errors
/// When the address cannot be understood, the server not be reached, or the folder has no dump.
pub async fn open(address: &str) -> Result<Arc<dyn Source>> {
    Err(crate::error::Error::new(
        crate::error::ErrorKind::Usage,
        format!("`{address}` is neither a MongoDB address nor the folder of a dump"),
    ))
}
