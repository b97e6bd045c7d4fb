//! The one file of `mongodump --archive`, plain or with `--gzip`.
//!
//! ```text
//! magic number, header, a document of metadata per collection, terminator
//! then, again and again: a document that names a collection, documents of it, terminator
//! ```
//!
//! The collections lie in it in turns, and every collection's end has a check sum over its
//! documents. Reading one collection would mean to go through the whole file, so it is unpacked
//! once into a temporary folder of plain files, which are then read like any dump. That takes as
//! much room in the folder for temporary files (`TMPDIR`) as the documents have. A damaged archive
//! is refused as a whole, before anything is loaded from it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::reader::is_length;
use super::{Metadata, unreadable};
use crate::error::{Error, ErrorKind, Result};

const MAGIC: u32 = 0x8199_e26d;
const TERMINATOR: u32 = u32::MAX;

/// What was in an archive, of one database.
pub(super) struct Unpacked {
    pub(super) database: String,
    /// The collections with documents or an end, each in a file of plain BSON.
    pub(super) files: Vec<(String, PathBuf)>,
    /// What the beginning of the archive says of each collection.
    pub(super) metadata: BTreeMap<String, Metadata>,
    /// Where the files lie; they are gone with it.
    pub(super) folder: tempfile::TempDir,
}

/// A document that names a collection: before its documents, and at its end.
#[derive(serde::Deserialize)]
struct Namespace {
    db: String,
    collection: String,
    #[serde(rename = "EOF", default)]
    end: bool,
    #[serde(rename = "CRC", default)]
    check_sum: i64,
}

/// The document of a collection at the beginning of the archive.
#[derive(serde::Deserialize)]
struct Announced {
    db: String,
    collection: String,
    #[serde(default)]
    metadata: String,
}

/// A collection that is being unpacked.
struct Part {
    path: PathBuf,
    /// `None` once its end was met.
    writer: Option<BufWriter<File>>,
    check_sum: u64,
}

/// Whether a file begins as an archive does; one that is compressed is looked into.
pub(super) fn is_archive(path: &Path) -> io::Result<bool> {
    let mut magic = [0; 4];
    let whole = content(path)?.read_exact(&mut magic).is_ok();
    Ok(whole && u32::from_le_bytes(magic) == MAGIC)
}

fn content(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed {
        Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// Walks through an archive.
struct Walk<'a> {
    path: &'a Path,
    input: Box<dyn Read>,
    offset: u64,
    /// The document that was read last.
    document: Vec<u8>,
}

impl Walk<'_> {
    fn broken(&self, what: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Dump,
            format!("`{}` is broken at byte {}: {what}", self.path.display(), self.offset),
        )
    }

    /// Goes to the next document; false at a terminator. The end of the file is an error, unless
    /// `last` allows it, and then false as well.
    fn next(&mut self, last: &mut bool) -> Result<bool> {
        let mut prefix = [0; 4];
        let read = read_up_to(&mut self.input, &mut prefix);
        match read.map_err(|error| self.broken("it cannot be read on").caused_by(error))? {
            0 if *last => return Ok(false),
            4 => *last = false,
            _ => return Err(self.broken("it ends where more must follow")),
        }
        let length = u32::from_le_bytes(prefix);
        if length == TERMINATOR {
            self.offset += 4;
            return Ok(false);
        }
        if !is_length(length as usize) {
            return Err(self.broken(format!("a document cannot have {} bytes", length as i32)));
        }
        self.document.resize(length as usize, 0);
        self.document[..4].copy_from_slice(&prefix);
        let rest = self.input.read_exact(&mut self.document[4..]);
        rest.map_err(|error| self.broken("it ends within a document").caused_by(error))?;
        self.offset += u64::from(length);
        Ok(true)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        bson::deserialize_from_slice(&self.document)
            .map_err(|error| self.broken("a document of the archive's own").caused_by(error))
    }
}

/// Reads until the buffer is full or the file at its end.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Unpacks the collections of one database: the one that is named, or the only one there is.
///
/// # Errors
/// When the archive is damaged, a temporary file cannot be written, or it is not clear which
/// database is meant.
pub(super) fn unpack(path: &Path, database: Option<&str>) -> Result<Unpacked> {
    let input = content(path).map_err(|error| unreadable(path, error))?;
    let mut walk = Walk { path, input, offset: 4, document: Vec::new() };
    let mut magic = [0; 4];
    walk.input.read_exact(&mut magic).map_err(|error| unreadable(path, error))?;
    if !walk.next(&mut false)? {
        return Err(walk.broken("it has no header"));
    }
    let mut announced = Vec::new();
    while walk.next(&mut false)? {
        announced.push(walk.parse::<Announced>()?);
    }
    let database = choose(path, &announced, database)?;
    let mut metadata = BTreeMap::new();
    for Announced { db, collection, metadata: json } in announced {
        if db == database {
            let known =
                if json.is_empty() { Ok(Metadata::default()) } else { serde_json::from_str(&json) };
            let known = known.map_err(|error| {
                walk.broken(format!("the metadata of `{collection}`")).caused_by(error)
            })?;
            metadata.insert(collection, known);
        }
    }

    let folder = tempfile::Builder::new().prefix("migrate-archive-").tempdir();
    let folder = folder.map_err(|error| unwritable(&std::env::temp_dir(), error))?;
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    loop {
        let mut last = true;
        if !walk.next(&mut last)? {
            if last {
                break;
            }
            return Err(walk.broken("a terminator without a collection"));
        }
        let namespace: Namespace = walk.parse()?;
        if namespace.db != database {
            while walk.next(&mut false)? {}
            continue;
        }
        let name = namespace.collection;
        if !parts.contains_key(&name) {
            let path = folder.path().join(format!("{}.bson", parts.len()));
            let file = File::create_new(&path).map_err(|error| unwritable(&path, error))?;
            let writer = Some(BufWriter::with_capacity(256 << 10, file));
            parts.insert(name.clone(), Part { path, writer, check_sum: 0 });
        }
        let part = parts.get_mut(&name).expect("it was put in above");
        let Some(writer) = &mut part.writer else {
            return Err(walk.broken(format!("`{name}` goes on behind its end")));
        };
        while walk.next(&mut false)? {
            part.check_sum = crc64(part.check_sum, &walk.document);
            writer.write_all(&walk.document).map_err(|error| unwritable(&part.path, error))?;
        }
        if namespace.end {
            writer.flush().map_err(|error| unwritable(&part.path, error))?;
            part.writer = None;
            if part.check_sum != namespace.check_sum as u64 {
                return Err(walk.broken(format!("the check sum of `{name}` is wrong")));
            }
        }
    }
    if let Some((name, _)) = parts.iter().find(|(_, part)| part.writer.is_some()) {
        return Err(walk.broken(format!("it ends before the end of `{name}`")));
    }
    // A collection that was announced has an end even when it holds nothing.
    let missing = metadata
        .iter()
        .find(|(name, known)| known.has_documents(name) && !parts.contains_key(*name));
    if let Some((name, _)) = missing {
        return Err(walk.broken(format!("it ends before `{name}`")));
    }
    let files = parts.into_iter().map(|(name, part)| (name, part.path)).collect();
    Ok(Unpacked { database, files, metadata, folder })
}

/// The database that is meant.
fn choose(path: &Path, announced: &[Announced], named: Option<&str>) -> Result<String> {
    let mut databases: Vec<&str> = announced
        .iter()
        .filter(|one| !one.collection.starts_with("system.") && !one.db.is_empty())
        .map(|one| one.db.as_str())
        .collect();
    databases.sort_unstable();
    databases.dedup();
    let example = |name: &str| format!("`{}#{name}`", path.display());
    match (named, databases.as_slice()) {
        (Some(named), known) if known.contains(&named) => Ok(named.to_owned()),
        (Some(named), known) => Err(Error::new(
            ErrorKind::Usage,
            format!("the archive `{}` has no database `{named}`", path.display()),
        )
        .with_hint(format!("it has: {}", known.join(", ")))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => {
            Err(Error::new(ErrorKind::Usage, format!("the archive `{}` is empty", path.display()))
                .with_hint("make it again with `mongodump --archive=FILE --db=DATABASE`"))
        }
        (None, several) => Err(Error::new(
            ErrorKind::Usage,
            format!("the archive `{}` holds {} databases", path.display(), several.len()),
        )
        .with_hint(format!(
            "name one of them: {}",
            several.iter().map(|name| example(name)).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("`{}` cannot be written", path.display()))
        .caused_by(error)
        .with_hint("an archive is unpacked into the folder for temporary files: make room there, or set `TMPDIR` to a larger one")
}

/// CRC-64 with the polynomial of ECMA-182, lowest bit first, over more bytes.
pub(super) fn crc64(check_sum: u64, bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u64;
            let mut bit = 0;
            while bit < 8 {
                value =
                    if value & 1 == 1 { value >> 1 ^ 0xc96c_5795_d787_0f42 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    let mut value = !check_sum;
    for &byte in bytes {
        value = TABLE[(value as u8 ^ byte) as usize] ^ value >> 8;
    }
    !value
}
