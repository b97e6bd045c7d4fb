//! A dump: the folder that `mongodump` writes, plain or with `--gzip`, its `--archive` in one file,
//! and files of Extended JSON as `mongoexport` writes them. No server is needed.
//!
//! # How a file is cut
//! A range holds the documents whose *first byte* lies in it. A plain `.bson` file is walked once
//! from length to length, and its bounds lie between documents, so that a reader starts right
//! there. A compressed file cannot be entered in the middle: its bounds are guessed from its size,
//! and a reader decompresses up to the first of them. So that this does not grow with the square
//! of the file, a reader that has come to the end of its range is kept; whoever reads on from
//! there, or from the nearest place behind it, takes it over. One task that reads range after
//! range decompresses a file once, *n* tasks side by side at most *n* times.
//!
//! # Broken files
//! The documents before the fault are sent, then comes an error with file and offset. A document
//! whose length can be right but whose inside is broken is sent as it is: it is one document's
//! matter, and the transformer rejects it.

mod archive;
mod json;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bson::Bson;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::mpsc;

use self::reader::{DumpFile, Format};
use super::{Batch, CollectionInfo, Range, Source, SourceOptions, id_key, id_key_of, id_of};
use crate::budget::Budget;
use crate::error::{Error, ErrorKind, Result};

/// One database's dump.
#[derive(Debug)]
pub struct DumpSource {
    description: String,
    /// The folder, or the archive.
    place: PathBuf,
    files: BTreeMap<String, Arc<DumpFile>>,
    notices: Vec<String>,
    options: SourceOptions,
    /// Where an archive is unpacked; gone with the source.
    _unpacked: Option<tempfile::TempDir>,
}

/// What the files of one folder are.
#[derive(Default)]
struct Listing {
    /// The files with documents, by their collection.
    data: Vec<(String, PathBuf, Format, bool)>,
    /// The `metadata.json` files, by the name in the file name.
    metadata: BTreeMap<String, PathBuf>,
    folders: Vec<PathBuf>,
}

/// What `metadata.json` says of a collection, as far as it matters here.
#[derive(Default, serde::Deserialize)]
struct Metadata {
    /// The name, where it is too long for a file name.
    #[serde(rename = "collectionName")]
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: MetadataOptions,
}

#[derive(Default, serde::Deserialize)]
struct MetadataOptions {
    #[serde(rename = "viewOn")]
    view_on: Option<serde::de::IgnoredAny>,
    timeseries: Option<serde::de::IgnoredAny>,
}

impl Metadata {
    fn is_view(&self) -> bool {
        self.options.view_on.is_some() || self.kind.as_deref() == Some("view")
    }

    /// Whether documents are to be expected under that name.
    fn has_documents(&self, name: &str) -> bool {
        !self.is_view() && self.options.timeseries.is_none() && !name.starts_with("system.")
    }
}

impl DumpSource {
    /// Looks at a folder, that of a database or one that holds a single database's folder, or
    /// unpacks an archive, of which `FILE#DATABASE` names a database.
    ///
    /// # Errors
    /// When it cannot be read, holds no dump, or holds those of several databases.
    pub async fn open(address: impl AsRef<Path>, options: SourceOptions) -> Result<Self> {
        let address = address.as_ref().to_owned();
        blocking(move || {
            let (path, database) = match address.to_str().and_then(|text| text.rsplit_once('#')) {
                Some((path, database)) if !address.exists() => (Path::new(path), Some(database)),
                _ => (address.as_path(), None),
            };
            let is_archive = path.is_file()
                && archive::is_archive(path).map_err(|error| unreadable(path, error))?;
            match is_archive {
                true => Self::open_archive(path, database, options),
                false => Self::open_folder(&address, options),
            }
        })
        .await
    }

    fn open_archive(path: &Path, database: Option<&str>, options: SourceOptions) -> Result<Self> {
        let archive::Unpacked { database, files, mut metadata, folder } =
            archive::unpack(path, database)?;
        let files = files.into_iter().map(|(collection, path)| {
            let known = metadata.remove(&collection).unwrap_or_default();
            (collection, known, path, Format::Bson, false)
        });
        let files = files.collect();
        let mut source = Self::assemble(path, files, metadata, options)?;
        let bytes = fs::metadata(path).map_err(|error| unreadable(path, error))?.len();
        source.description = format!(
            "archive {}, database {database} ({} collections, {bytes} bytes)",
            shown(path),
            source.files.len()
        );
        source._unpacked = Some(folder);
        Ok(source)
    }

    fn open_folder(address: &Path, options: SourceOptions) -> Result<Self> {
        let (folder, listing) = database_folder(address)?;
        let mut metadata = BTreeMap::new();
        for (name, path) in listing.metadata {
            metadata.insert(name, read_metadata(&path)?);
        }
        let files = listing.data.into_iter().map(|(name, path, format, packed)| {
            let mut known = metadata.remove(&name).unwrap_or_default();
            let collection = known.name.take().unwrap_or_else(|| unescape(&name));
            (collection, known, path, format, packed)
        });
        let files = files.collect();
        let metadata = metadata
            .into_iter()
            .map(|(name, mut known)| (known.name.take().unwrap_or_else(|| unescape(&name)), known));
        Self::assemble(&folder, files, metadata.collect(), options)
    }

    /// Sorts out what is a collection. `metadata` is of those that have no file.
    fn assemble(
        place: &Path,
        data: Vec<(String, Metadata, PathBuf, Format, bool)>,
        mut metadata: BTreeMap<String, Metadata>,
        options: SourceOptions,
    ) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut notices = Vec::new();
        for (collection, known, path, format, packed) in data {
            let series = collection.strip_prefix("system.buckets.");
            // A server without the collection of buckets keeps them under the series' own name.
            if series.is_some() || known.options.timeseries.is_some() {
                let series = series.unwrap_or(&collection);
                metadata.remove(series);
                notices.push(format!(
                    "the time series `{series}` is left out: a dump holds it in buckets, so restore it into a MongoDB and read it from there"
                ));
                continue;
            }
            if collection.starts_with("system.") {
                continue;
            }
            let file =
                DumpFile::new(path, format, packed).map_err(|error| unreadable(place, error))?;
            if let Some(other) = files.insert(collection.clone(), Arc::new(file)) {
                return Err(Error::new(
                    ErrorKind::Dump,
                    format!(
                        "the collection `{collection}` is there twice: `{}` and `{}`",
                        other.path().display(),
                        files[&collection].path().display()
                    ),
                )
                .with_hint("move the one that is not meant out of the folder"));
            }
        }
        for (name, known) in metadata {
            if known.is_view() {
                notices.push(format!(
                    "the view `{name}` is left out: it holds no documents of its own"
                ));
            } else if known.has_documents(&name) {
                notices.push(format!(
                    "the collection `{name}` has metadata in the dump but no documents"
                ));
            }
        }
        let bytes: u64 = files.values().map(|file| file.disk_bytes()).sum();
        let description =
            format!("dump {} ({} collections, {bytes} bytes)", shown(place), files.len());
        let place = place.to_owned();
        Ok(Self { description, place, files, notices, options, _unpacked: None })
    }

    fn file(&self, collection: &str) -> Result<Arc<DumpFile>> {
        self.files.get(collection).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Dump,
                format!("the dump `{}` has no collection `{collection}`", self.place.display()),
            )
        })
    }
}

fn shown(path: &Path) -> String {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The text without what stands before an `@`: a mistyped address may hold a password.
fn without_password(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

/// The folder of the database that an address names, with what lies in it.
fn database_folder(address: &Path) -> Result<(PathBuf, Listing)> {
    let kind = fs::metadata(address).map_err(|error| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "`{}` is neither a MongoDB address nor the folder of a dump",
                without_password(&address.display().to_string())
            ),
        )
        .caused_by(error)
        .with_hint("give `mongodb://HOST/DATABASE`, or the folder that `mongodump` has written")
    })?;
    if !kind.is_dir() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("`{}` is neither the folder of a dump nor an archive", address.display()),
        )
        .with_hint(
            "name the folder it lies in, or a file that `mongodump --archive` has written",
        ));
    }
    let listing = list(address)?;
    if !listing.data.is_empty() {
        return Ok((address.to_owned(), listing));
    }
    let mut databases = Vec::new();
    for folder in &listing.folders {
        let below = list(folder)?;
        if below.data.iter().any(|(name, ..)| !name.starts_with("system.")) {
            databases.push((folder.clone(), below));
        }
    }
    if databases.len() > 1 {
        let names: Vec<_> =
            databases.iter().map(|(folder, _)| format!("`{}`", folder.display())).collect();
        return Err(Error::new(
            ErrorKind::Usage,
            format!("`{}` holds the dumps of {} databases", address.display(), names.len()),
        )
        .with_hint(format!("name one of them: {}", names.join(", "))));
    }
    databases.pop().ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "`{}` holds no dump: no `.bson`, `.bson.gz` or `.json` file",
                address.display()
            ),
        )
        .with_hint(
            "name the folder that `mongodump --out` was given, or the database's folder in it",
        )
    })
}

/// The files of a folder by what they are.
fn list(folder: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if path.is_dir() {
            listing.folders.push(path);
            continue;
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let (stem, packed) = match name.strip_suffix(".gz") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        // The first is the log of writes that `--oplog` adds, the second tells of the tools.
        if stem == "oplog.bson" || stem == "prelude.json" {
            continue;
        }
        if let Some(name) = stem.strip_suffix(".metadata.json") {
            listing.metadata.insert(name.to_owned(), path.clone());
        } else if let Some(name) = stem.strip_suffix(".bson") {
            listing.data.push((name.to_owned(), path.clone(), Format::Bson, packed));
        } else if let Some(name) =
            stem.strip_suffix(".json").or_else(|| stem.strip_suffix(".jsonl"))
        {
            listing.data.push((name.to_owned(), path.clone(), Format::Lines, packed));
        }
    }
    listing.data.sort();
    listing.folders.sort();
    Ok(listing)
}

fn read_metadata(path: &Path) -> Result<Metadata> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Dump, format!("`{}` cannot be read", path.display())).caused_by(error)
    };
    let bytes = reader::read_whole(path).map_err(|error| broken(error.into()))?;
    if bytes.is_empty() {
        return Ok(Metadata::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| broken(error.into()))
}

/// A collection's name from that of its file: `mongodump` escapes it as a part of an URL.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Dump, format!("`{}` cannot be read", path.display()))
        .caused_by(error)
        .with_hint("check that it is there and that you may read it")
}

/// Reads files where that may block, and not on a thread that drives connections.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Source for DumpSource {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>> {
        let files = self.files.clone();
        blocking(move || {
            let mut infos = Vec::with_capacity(files.len());
            for (name, file) in files {
                let size = file.estimate()?;
                infos.push(CollectionInfo {
                    name,
                    documents: Some(size.documents),
                    bytes: Some(size.bytes),
                });
            }
            Ok(infos)
        })
        .boxed()
    }

    fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }

    fn budget(&self) -> Option<&Budget> {
        Some(&self.options.memory)
    }

    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>> {
        let Some(file) = self.files.get(collection).cloned() else {
            return async { Ok(0) }.boxed();
        };
        let SourceOptions { batch_bytes, memory, .. } = self.options.clone();
        blocking(move || {
            let mut count = 0;
            file.read(0, None, batch_bytes, &memory, |batch| {
                count += batch.len() as u64;
                true
            })?;
            Ok(count)
        })
        .boxed()
    }

    fn split<'a>(
        &'a self,
        collection: &'a str,
        chunk_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<Range>>> {
        async move {
            let file = self.file(collection)?;
            blocking(move || {
                let bounds = file.bounds(chunk_bytes.max(1))?;
                let starts = std::iter::once(0).chain(bounds.iter().copied());
                let ends = bounds.iter().copied().map(Some).chain(std::iter::once(None));
                Ok(starts.zip(ends).map(|(start, end)| Range::Bytes { start, end }).collect())
            })
            .await
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let Range::Bytes { start, end } = *range else {
                return Err(Error::new(
                    ErrorKind::Dump,
                    format!("a range of a live server cannot be read from the {}", self.description),
                )
                .with_hint("the run was begun with another source: name that one, or start over with `--clean`"));
            };
            let file = self.file(collection)?;
            let SourceOptions { batch_bytes, memory, .. } = self.options.clone();
            blocking(move || {
                file.read(start, end, batch_bytes, &memory, |batch| {
                    batches.blocking_send(batch).is_ok()
                })
            })
            .await
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
            if wanted.is_empty() {
                return Ok(());
            }
            let file = self.file(collection)?;
            let SourceOptions { batch_bytes, memory, .. } = self.options.clone();
            blocking(move || {
                file.read(0, None, batch_bytes, &memory, |mut batch| {
                    batch.keep(|document| {
                        id_of(document).is_some_and(|id| wanted.contains(&id_key(id)))
                    });
                    batch.is_empty() || batches.blocking_send(batch).is_ok()
                })
            })
            .await
        }
        .boxed()
    }
}
