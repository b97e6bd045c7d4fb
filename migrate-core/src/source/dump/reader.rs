//! One file of a dump, from document to document, plain or compressed.
//!
//! A [`Reader`] stands between two documents; it hands out whole documents in batches that lie as
//! they were read, and carries the piece of a document at the end over into the next batch.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::bufread::MultiGzDecoder;

use super::super::Batch;
use crate::budget::Budget;
use crate::error::{Error, ErrorKind, Result};

/// The longest document that is believed. MongoDB holds 16 MB, its own tools and internal
/// documents a little more; a larger length is a fault in the file.
const MAX_DOCUMENT: usize = 48 << 20;

/// The shortest: its length and its last zero byte.
const MIN_DOCUMENT: usize = 5;

/// What is read of a file to guess how many documents it has.
const SAMPLE_BYTES: usize = 1 << 20;

/// Readers of a compressed file that are kept; more than that many tasks do not read one file.
const IDLE_READERS: usize = 16;

/// What a file's documents look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    /// One BSON document behind the other.
    Bson,
    /// A line of Extended JSON each, alone or as the elements of an array.
    Lines,
}

/// A file with the documents of one collection.
pub(super) struct DumpFile {
    path: PathBuf,
    format: Format,
    packed: bool,
    disk_bytes: u64,
    /// Readers of a compressed file that came to the end of their range.
    idle: Mutex<Vec<Reader>>,
    /// The size of a compressed file's content, once a reader has seen its end.
    end: Mutex<Option<u64>>,
    #[cfg(test)]
    opened: std::sync::atomic::AtomicUsize,
}

/// How much a file holds: exact for a small file, else guessed from its beginning.
pub(super) struct Size {
    pub(super) documents: u64,
    pub(super) bytes: u64,
}

impl fmt::Debug for DumpFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DumpFile({})", self.path.display())
    }
}

impl DumpFile {
    pub(super) fn new(path: PathBuf, format: Format, packed: bool) -> io::Result<Self> {
        let disk_bytes = std::fs::metadata(&path)?.len();
        Ok(Self {
            path,
            format,
            packed,
            disk_bytes,
            idle: Mutex::default(),
            end: Mutex::default(),
            #[cfg(test)]
            opened: Default::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's size as it lies on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    #[cfg(test)]
    pub(super) fn readers_opened(&self) -> usize {
        self.opened.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn idle_readers(&self) -> usize {
        self.idle.lock().expect("no panic under the lock").len()
    }

    fn failed(&self, error: io::Error) -> Error {
        super::unreadable(&self.path, error)
    }

    /// A guess of what the file holds. A fault in it is not told here, but when it is read.
    pub(super) fn estimate(&self) -> Result<Size> {
        let mut reader = self.open(0)?;
        reader.fill(SAMPLE_BYTES);
        let places = reader.places(None, SAMPLE_BYTES);
        let (documents, sampled) = (places.documents.len() as u64, places.consumed as u64);
        if reader.ended || documents == 0 {
            let bytes = if self.packed { sampled } else { self.disk_bytes };
            return Ok(Size { documents, bytes });
        }
        let bytes = match self.packed {
            false => self.disk_bytes,
            true => self.unpacked_bytes(&reader).map_err(|error| self.failed(error))?,
        };
        let documents = (documents as f64 * bytes as f64 / sampled as f64) as u64;
        Ok(Size { documents, bytes })
    }

    /// The size of the content. The trailer holds its low 32 bits; the others are guessed from how
    /// well the beginning is compressed.
    fn unpacked_bytes(&self, reader: &Reader) -> io::Result<u64> {
        let mut file = File::open(&self.path)?;
        let mut trailer = [0; 4];
        if self.disk_bytes < 18 {
            return Ok(0);
        }
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut trailer)?;
        let low = u64::from(u32::from_le_bytes(trailer)) as f64;
        let (packed, unpacked) = reader.ratio();
        let guess = self.disk_bytes as f64 * unpacked as f64 / packed.max(1) as f64;
        let high = ((guess - low) / 4_294_967_296.0).round().max(0.0);
        Ok((low + high * 4_294_967_296.0) as u64)
    }

    /// Where the file is cut: offsets behind 0 in order. A fault in a plain file begins a range of
    /// its own, so that all before it can be read.
    pub(super) fn bounds(&self, chunk_bytes: u64) -> Result<Vec<u64>> {
        if self.packed || self.format == Format::Lines {
            let bytes = self.estimate()?.bytes;
            // A guess that is far too high must not make millions of empty ranges.
            let chunk_bytes = chunk_bytes.max(bytes >> 20);
            return Ok((1..bytes.div_ceil(chunk_bytes)).map(|part| part * chunk_bytes).collect());
        }
        let failed = |error| self.failed(error);
        let file = File::open(&self.path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::with_capacity(256 << 10, file);
        let mut bounds = Vec::new();
        let mut range = 0;
        let mut offset = 0;
        while offset < bytes {
            let mut length = [0; 4];
            let believed = offset + 4 <= bytes && {
                file.read_exact(&mut length).map_err(failed)?;
                is_length(u32::from_le_bytes(length) as usize)
            };
            let end = offset + u64::from(u32::from_le_bytes(length));
            if !believed || end > bytes {
                if offset > range {
                    bounds.push(offset);
                }
                break;
            }
            if offset - range >= chunk_bytes {
                bounds.push(offset);
                range = offset;
            }
            file.seek_relative((end - offset - 4) as i64).map_err(failed)?;
            offset = end;
        }
        Ok(bounds)
    }

    /// Hands the documents whose first byte lies in `start..end` to `send`, until it is done or
    /// `send` answers false. Waits for memory, so it must be called where the runtime may block.
    pub(super) fn read(
        &self,
        start: u64,
        end: Option<u64>,
        batch_bytes: usize,
        memory: &Budget,
        mut send: impl FnMut(Batch) -> bool,
    ) -> Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let known_end = *self.end.lock().expect("no panic under the lock");
        if known_end.is_some_and(|known_end| start >= known_end) {
            return Ok(());
        }
        let mut reader = self.reader_at(start, batch_bytes)?;
        loop {
            // A reply of a server and a piece of a file are held to the same budget.
            let slot = runtime.block_on(memory.slot());
            match reader.next_batch(end, batch_bytes) {
                Ok(Some(mut batch)) => {
                    runtime.block_on(batch.take_share(memory));
                    drop(slot);
                    if !send(batch) {
                        return Ok(());
                    }
                }
                Ok(None) => break,
                Err(fault) => return Err(self.fault(fault)),
            }
        }
        if let Some(end) = end {
            // No document begins between the end of the range and the reader.
            reader.serves_from = end;
        }
        self.put_back(reader);
        Ok(())
    }

    fn fault(&self, fault: Fault) -> Error {
        let Fault { offset, what, cause } = fault;
        let place = if self.packed { "byte of its content" } else { "byte" };
        let error = Error::new(
            ErrorKind::Dump,
            format!("`{}` is broken at {place} {offset}: {what}", self.path.display()),
        );
        let error = match self.format {
            Format::Bson => error,
            Format::Lines => error.with_hint(
                "each line must be one document of Extended JSON, as `mongoexport` writes it without `--pretty`",
            ),
        };
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }

    /// A reader that stands at the first document from `start` on.
    fn reader_at(&self, start: u64, batch_bytes: usize) -> Result<Reader> {
        if !self.packed {
            return self.open(start);
        }
        let idle = {
            let mut idle = self.idle.lock().expect("no panic under the lock");
            let nearest = (0..idle.len())
                .filter(|&index| idle[index].serves_from <= start)
                .max_by_key(|&index| idle[index].position);
            nearest.map(|index| idle.swap_remove(index))
        };
        let mut reader = match idle {
            Some(reader) => reader,
            None => self.open(0)?,
        };
        reader.skip_to(start, batch_bytes).map_err(|fault| self.fault(fault))?;
        Ok(reader)
    }

    fn put_back(&self, mut reader: Reader) {
        if !self.packed {
            return;
        }
        if reader.is_at_end() {
            *self.end.lock().expect("no panic under the lock") = Some(reader.position);
            return;
        }
        // Nobody counts what lies in a reader that waits.
        reader.ahead.shrink_to_fit();
        let mut idle = self.idle.lock().expect("no panic under the lock");
        if idle.len() < IDLE_READERS {
            idle.push(reader);
        }
    }

    /// A new reader; only a plain file can be entered elsewhere than at its beginning.
    fn open(&self, start: u64) -> Result<Reader> {
        #[cfg(test)]
        self.opened.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let failed = |error| self.failed(error);
        let mut file = File::open(&self.path).map_err(failed)?;
        let mut position = 0;
        let mut ahead = Vec::new();
        if start > 0 && !self.packed {
            position = start;
            match self.format {
                Format::Bson => {
                    file.seek(SeekFrom::Start(start)).map_err(failed)?;
                }
                // The range begins behind the next end of a line, which may be the byte before.
                Format::Lines => {
                    file.seek(SeekFrom::Start(start - 1)).map_err(failed)?;
                    let mut buffered = BufReader::new(&file);
                    let skipped = skip_line(&mut buffered).map_err(failed)?;
                    position = start - 1 + skipped;
                    ahead.extend_from_slice(buffered.buffer());
                }
            }
        }
        let input = match self.packed {
            false => Input::Plain(file),
            true => Input::Packed(Box::new(MultiGzDecoder::new(Counted {
                inner: BufReader::with_capacity(128 << 10, file),
                count: 0,
            }))),
        };
        Ok(Reader {
            input,
            format: self.format,
            position,
            serves_from: position,
            ahead,
            unpacked: 0,
            ended: false,
            broken: None,
        })
    }
}

/// Reads a small file whole, decompressed if its name says so.
pub(super) fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => MultiGzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes)?,
        false => (&file).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// Goes behind the next end of a line, and says how many bytes that was.
fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        let (used, found) = match memchr::memchr(b'\n', buffer) {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        skipped += used as u64;
        input.consume(used);
        if found || used == 0 {
            return Ok(skipped);
        }
    }
}

pub(super) fn is_length(length: usize) -> bool {
    (MIN_DOCUMENT..=MAX_DOCUMENT).contains(&length)
}

enum Input {
    Plain(File),
    Packed(Box<MultiGzDecoder<Counted>>),
}

/// Counts what is taken from a compressed file.
struct Counted {
    inner: BufReader<File>,
    count: u64,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}

/// What is wrong in a file, and where.
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) what: String,
    pub(super) cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Stands between two documents of a file.
struct Reader {
    input: Input,
    format: Format,
    /// The offset in the content of the first byte of `ahead`, where a document begins.
    position: u64,
    /// The least offset from which on no document begins before the reader.
    serves_from: u64,
    /// What is read and not handed out.
    ahead: Vec<u8>,
    /// How much was read.
    unpacked: u64,
    /// Nothing more can be read.
    ended: bool,
    /// Why, if it is not the end of the file.
    broken: Option<io::Error>,
}

/// Whole documents at the beginning of [`Reader::ahead`].
struct Places {
    documents: Vec<(u32, u32)>,
    /// The end of the last one.
    consumed: usize,
    stop: Stop,
}

/// Why there are no more of them.
enum Stop {
    /// The next one belongs to the next range.
    Range,
    /// The batch is full.
    Full,
    /// The next one is not read whole; it has at least so many bytes.
    Piece(usize),
    /// What follows is no document.
    Fault(String),
}

impl Reader {
    fn is_at_end(&self) -> bool {
        self.ended && self.broken.is_none() && self.ahead.is_empty()
    }

    /// Bytes taken from a compressed file, and what they gave.
    fn ratio(&self) -> (u64, u64) {
        match &self.input {
            Input::Plain(_) => (1, 1),
            Input::Packed(decoder) => (decoder.get_ref().count, self.unpacked),
        }
    }

    /// Reads until `wanted` bytes lie ahead, or the end.
    fn fill(&mut self, wanted: usize) {
        let before = self.ahead.len();
        if self.ended || before >= wanted {
            return;
        }
        self.ahead.reserve_exact(wanted - before);
        let missing = (wanted - before) as u64;
        let result = match &mut self.input {
            Input::Plain(file) => file.take(missing).read_to_end(&mut self.ahead),
            Input::Packed(decoder) => decoder.take(missing).read_to_end(&mut self.ahead),
        };
        self.unpacked += (self.ahead.len() - before) as u64;
        // What was read before an error stays in the buffer.
        self.broken = result.err();
        self.ended = self.ahead.len() < wanted;
    }

    /// Finds whole documents, those that begin before `end`.
    fn places(&self, end: Option<u64>, batch_bytes: usize) -> Places {
        let mut documents = Vec::new();
        let mut offset = 0;
        let stop = loop {
            if end.is_some_and(|end| self.position + offset as u64 >= end) {
                break Stop::Range;
            }
            let rest = &self.ahead[offset..];
            let length = match self.format {
                Format::Bson => {
                    let Some(prefix) = rest.first_chunk::<4>() else {
                        break Stop::Piece(offset + 4);
                    };
                    let length = u32::from_le_bytes(*prefix) as usize;
                    if !is_length(length) {
                        break Stop::Fault(format!(
                            "a document cannot have {} bytes",
                            i32::from_le_bytes(*prefix)
                        ));
                    }
                    length
                }
                Format::Lines => match memchr::memchr(b'\n', rest) {
                    Some(end) => end + 1,
                    None if self.ended && !rest.is_empty() => rest.len(),
                    // Twice as much, so that a long line is not searched over and over.
                    None => break Stop::Piece(offset + 2 * rest.len().max(1 << 10)),
                },
            };
            if length > rest.len() {
                break Stop::Piece(offset + length);
            }
            if offset > 0 && offset + length > batch_bytes {
                break Stop::Full;
            }
            documents.push((offset as u32, length as u32));
            offset += length;
        };
        Places { documents, consumed: offset, stop }
    }

    /// The next documents that begin before `end`; `None` when there are no more.
    fn next_batch(&mut self, end: Option<u64>, batch_bytes: usize) -> Result<Option<Batch>, Fault> {
        loop {
            let Some((documents, consumed)) = self.advance(end, batch_bytes)? else {
                return Ok(None);
            };
            let mut ahead = Vec::with_capacity(batch_bytes.max(self.ahead.len() - consumed));
            ahead.extend_from_slice(&self.ahead[consumed..]);
            let mut bytes = std::mem::replace(&mut self.ahead, ahead);
            bytes.truncate(consumed);
            let start = self.position;
            self.position += consumed as u64;
            let batch = match self.format {
                Format::Bson => Batch::new(bytes, documents),
                Format::Lines => super::json::batch(start, &bytes, &documents)?,
            };
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    /// Goes to the first document that begins at `start` or behind it.
    fn skip_to(&mut self, start: u64, batch_bytes: usize) -> Result<(), Fault> {
        while let Some((_, consumed)) = self.advance(Some(start), batch_bytes)? {
            self.ahead.drain(..consumed);
            self.position += consumed as u64;
        }
        Ok(())
    }

    /// Reads until a whole document lies ahead.
    #[expect(clippy::type_complexity, reason = "the places and their end")]
    fn advance(
        &mut self,
        end: Option<u64>,
        batch_bytes: usize,
    ) -> Result<Option<(Vec<(u32, u32)>, usize)>, Fault> {
        let mut wanted = batch_bytes.max(MIN_DOCUMENT);
        loop {
            self.fill(wanted);
            let Places { documents, consumed, stop } = self.places(end, batch_bytes);
            if !documents.is_empty() {
                return Ok(Some((documents, consumed)));
            }
            match stop {
                Stop::Range | Stop::Full => return Ok(None),
                Stop::Fault(what) => {
                    return Err(Fault { offset: self.position, what, cause: None });
                }
                Stop::Piece(bytes) if bytes > MAX_DOCUMENT * 2 => {
                    let what = "a line of that length is no document".to_owned();
                    return Err(Fault { offset: self.position, what, cause: None });
                }
                Stop::Piece(bytes) if !self.ended => wanted = bytes,
                Stop::Piece(bytes) => return self.at_end(bytes),
            }
        }
    }

    /// Nothing follows, or only a piece of a document of which at least so many bytes are due.
    fn at_end<T>(&mut self, due: usize) -> Result<Option<T>, Fault> {
        let (offset, rest) = (self.position, self.ahead.len());
        match self.broken.take() {
            Some(error) => {
                let what =
                    format!("the compressed data goes no further, {rest} bytes into a document");
                Err(Fault { offset, what, cause: Some(error.into()) })
            }
            None if rest == 0 => Ok(None),
            None if rest < 4 => {
                let what = format!("{rest} bytes follow the last document");
                Err(Fault { offset, what, cause: None })
            }
            None => {
                let what = format!("it ends {rest} bytes into a document of {due} bytes");
                Err(Fault { offset, what, cause: None })
            }
        }
    }
}
