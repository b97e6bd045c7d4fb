//! The rows of a query as the target sends them: binary tuples, one after the other.

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use crate::copy::HEADER;
use crate::error::Result;
use crate::sink::{Connection, target_error};

/// The tuples of a query. The connection is busy until all were read or this is dropped.
pub(super) struct Tuples<'a> {
    act: String,
    stream: BoxStream<'a, sqlx::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    /// Where the next tuple begins.
    start: usize,
}

impl<'a> Tuples<'a> {
    /// Asks for the rows of `query`.
    pub(super) async fn open(
        connection: &'a mut Connection,
        act: String,
        query: &str,
    ) -> Result<Self> {
        let statement = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
        match connection.raw().copy_out_raw(&statement).await {
            Ok(stream) => Ok(Self { act, stream, buffer: Vec::new(), start: HEADER.len() }),
            Err(error) => Err(target_error(&act, error)),
        }
    }

    /// The next tuple; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>> {
        let length = loop {
            if let Some(length) = tuple_length(self.buffer.get(self.start..).unwrap_or_default()) {
                break length;
            }
            // The header may come in pieces of its own.
            if self.start <= self.buffer.len() {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            match self.stream.try_next().await {
                Ok(Some(piece)) => self.buffer.extend_from_slice(&piece),
                Ok(None) => return Ok(None),
                Err(error) => return Err(target_error(&self.act, error)),
            }
        };
        let tuple = self.start..self.start + length;
        self.start = tuple.end;
        Ok(Some(&self.buffer[tuple]))
    }
}

/// The length of the tuple at the start of `bytes`; `None` when it is not complete, or the end.
pub(super) fn tuple_length(bytes: &[u8]) -> Option<usize> {
    let cells = i16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let mut offset = 2;
    for _ in 0..u16::try_from(cells).ok()? {
        let length = bytes.get(offset..offset + 4)?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        offset += 4 + usize::try_from(length).unwrap_or(0);
    }
    (offset <= bytes.len()).then_some(offset)
}
