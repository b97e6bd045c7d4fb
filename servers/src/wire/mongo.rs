//! Commands to MongoDB: one `OP_MSG` with one document each way.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bson::Document;

use crate::{Error, Result};

const SERVER: &str = "MongoDB";
const OP_MSG: i32 = 2013;

/// Runs one command on a connection of its own and gives the answer back, which may be a refusal.
pub(crate) fn command(port: u16, command: &Document) -> Result<Document> {
    round_trip(port, command).map_err(|source| Error::Connection { server: SERVER, source })
}

fn round_trip(port: u16, command: &Document) -> io::Result<Document> {
    let body = command.to_vec().map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(21 + body.len());
    let length = i32::try_from(21 + body.len()).map_err(io::Error::other)?;
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(body);
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(&message)?;
    let mut header = [0; 21];
    stream.read_exact(&mut header)?;
    let length = i32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let rest = usize::try_from(length).ok().and_then(|length| length.checked_sub(21));
    let mut body = vec![0; rest.ok_or_else(|| io::Error::other("an answer without a body"))?];
    stream.read_exact(&mut body)?;
    Document::from_reader(body.as_slice()).map_err(io::Error::other)
}

/// Whether the answer says that the command was done.
pub(crate) fn is_ok(answer: &Document) -> bool {
    answer.get_f64("ok").is_ok_and(|ok| ok == 1.0)
}
