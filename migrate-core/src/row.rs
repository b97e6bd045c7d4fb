//! COPY tuples in a buffer: the number of cells, then each cell's length and payload.
//!
//! Lengths are patched in when a payload is there, and a row that is not finished leaves nothing.

use crate::cell::{Mismatch, Wrote};
use crate::reject::Reason;

/// The most bytes of one row, and so of one cell: PostgreSQL holds neither beyond 1 GB, and
/// needs some room of its own beside the payloads.
pub const MAX_ROW_BYTES: usize = (1 << 30) - (1 << 20);

const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// One row on its way into a buffer. Dropped before [`finish`](Self::finish), it takes all its
/// bytes off again.
#[derive(Debug)]
pub struct RowWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    finished: bool,
}

impl<'a> RowWriter<'a> {
    /// Begins a row with so many cells at the end of the buffer.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, cell_count: u16) -> Self {
        let start = out.len();
        out.extend_from_slice(&cell_count.to_be_bytes());
        Self { out, start, finished: false }
    }

    /// Appends a cell with the payload that `write` appends; returns what it was and where the
    /// payload begins. After an error the row can only be dropped.
    ///
    /// # Errors
    /// Those of `write`.
    #[inline]
    pub fn cell<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Wrote, E>,
    ) -> Result<(Wrote, usize), E> {
        self.out.extend_from_slice(&NULL);
        let start = self.out.len();
        let wrote = write(self.out)?;
        if wrote == Wrote::Payload {
            // Lengths that do not fit are found by `finish`.
            let length = (self.out.len() - start) as u32;
            if let Some(place) = self.out[..start].last_chunk_mut::<4>() {
                *place = length.to_be_bytes();
            }
        }
        Ok((wrote, start))
    }

    /// Appends a cell with that payload.
    pub fn payload(&mut self, payload: &[u8]) {
        self.out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        self.out.extend_from_slice(payload);
    }

    /// Appends NULL.
    pub fn null(&mut self) {
        self.out.extend_from_slice(&NULL);
    }

    /// The buffer, as far as it is written.
    pub fn buffer(&self) -> &[u8] {
        self.out
    }

    /// The tuple, as far as it is written.
    pub fn tuple(&self) -> &[u8] {
        &self.out[self.start..]
    }

    /// Keeps the row.
    ///
    /// # Errors
    /// When it is larger than PostgreSQL's rows; the row is then taken off.
    #[inline]
    pub fn finish(mut self) -> Result<(), Mismatch> {
        let bytes = self.out.len() - self.start;
        if bytes > MAX_ROW_BYTES {
            return Err(Mismatch::new(
                Reason::TooLong,
                "a row of at most 1 GB",
                format!("one of {bytes} bytes"),
            ));
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for RowWriter<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// The payload of one cell of a tuple; `None` for NULL and beyond the last one.
pub fn cell(tuple: &[u8], index: usize) -> Option<&[u8]> {
    let mut rest = tuple.get(2..)?;
    for at in 0.. {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        if at == index {
            return behind.get(..length?);
        }
        rest = behind.get(length.unwrap_or_default()..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_stand_before_payloads() {
        let mut out = b"old".to_vec();
        let mut row = RowWriter::new(&mut out, 3);
        row.cell(|out| {
            out.extend_from_slice(b"abc");
            Ok::<_, Mismatch>(Wrote::Payload)
        })
        .unwrap();
        row.null();
        row.payload(b"");
        row.finish().unwrap();
        assert_eq!(out, b"old\0\x03\0\0\0\x03abc\xff\xff\xff\xff\0\0\0\0");
    }

    #[test]
    fn an_unfinished_row_leaves_nothing() {
        let mut out = b"old".to_vec();
        let mut row = RowWriter::new(&mut out, 1);
        let failed = row.cell(|out| {
            out.push(1);
            Err(Mismatch::own("no"))
        });
        assert!(failed.is_err());
        drop(row);
        assert_eq!(out, b"old");
    }
}
