//! The rows of a query as the target sends them: binary tuples, one after the other.

use bytes::{Buf as _, Bytes};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use crate::copy::HEADER;
use crate::error::Result;
use crate::sink::{Connection, target_error};

/// The tuples of a query. The connection is busy until all were read or this is dropped.
pub(super) struct Tuples<'a> {
    act: String,
    stream: BoxStream<'a, sqlx::Result<Bytes>>,
    /// What is left of the header.
    header: usize,
    /// What is left of the last piece.
    piece: Bytes,
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
            Ok(stream) => Ok(Self { act, stream, header: HEADER.len(), piece: Bytes::new() }),
            Err(error) => Err(target_error(&act, error)),
        }
    }

    /// The next tuple; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(length) = tuple_length(&self.piece) {
                return Ok(Some(self.piece.split_to(length)));
            }
            let Some(mut piece) =
                self.stream.try_next().await.map_err(|error| target_error(&self.act, error))?
            else {
                return Ok(None);
            };
            let header = self.header.min(piece.len());
            piece.advance(header);
            self.header -= header;
            // The server sends rows whole, so there seldom is something left.
            self.piece = match self.piece.is_empty() {
                true => piece,
                false => [&self.piece[..], &piece[..]].concat().into(),
            };
        }
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
