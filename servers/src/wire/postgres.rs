//! SQL to PostgreSQL by the simple query protocol, with a password sent over loopback.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::{Error, Result};

const SERVER: &str = "PostgreSQL";
const PROTOCOL_3: i32 = 3 << 16;

/// A row in text form; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Runs one statement on a connection of its own.
pub(crate) fn query(
    port: u16,
    user: &str,
    password: &str,
    database: &str,
    sql: &str,
) -> Result<Vec<Row>> {
    Session::open(port, user, password, database)?.query(sql)
}

/// A connection to a server of this crate, for one statement after another.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
}

impl Session {
    pub(crate) fn open(port: u16, user: &str, password: &str, database: &str) -> Result<Self> {
        let opened = || -> io::Result<Result<Self, String>> {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            let mut session = Self { stream };
            let mut startup = PROTOCOL_3.to_be_bytes().to_vec();
            for text in ["user", user, "database", database, ""] {
                startup.extend(text.as_bytes());
                startup.push(0);
            }
            send(&mut session.stream, None, &startup)?;
            loop {
                let (kind, body) = receive(&mut session.stream)?;
                match kind {
                    b'R' if body.starts_with(&3_i32.to_be_bytes()) => {
                        send(&mut session.stream, Some(b'p'), &terminated(password))?;
                    }
                    b'R' if !body.starts_with(&0_i32.to_be_bytes()) => {
                        return Err(io::Error::other("it asks for another way to log in"));
                    }
                    b'E' => return Ok(Err(parse_error(&body))),
                    b'Z' => return Ok(Ok(session)),
                    _ => {}
                }
            }
        };
        answer(opened(), "logging in")
    }

    /// Runs one statement and gives its rows back in text form.
    ///
    /// # Errors
    /// When the server refuses it, or the connection is lost.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let mut run = || -> io::Result<Result<Vec<Row>, String>> {
            send(&mut self.stream, Some(b'Q'), &terminated(sql))?;
            let mut rows = Vec::new();
            let mut refusal = None;
            loop {
                let (kind, body) = receive(&mut self.stream)?;
                match kind {
                    b'D' => rows.push(parse_row(&body)?),
                    b'E' => refusal = Some(parse_error(&body)),
                    b'Z' => return Ok(refusal.map_or(Ok(rows), Err)),
                    _ => {}
                }
            }
        };
        answer(run(), sql)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = send(&mut self.stream, Some(b'X'), &[]);
    }
}

/// The server's answer, its refusal of `command`, or a lost connection.
fn answer<T>(result: io::Result<Result<T, String>>, command: &str) -> Result<T> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(message)) => {
            Err(Error::Refused { server: SERVER, command: command.to_owned(), message })
        }
        Err(source) => Err(Error::Connection { server: SERVER, source }),
    }
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let mut message: Vec<u8> = kind.into_iter().collect();
    let length = i32::try_from(body.len() + 4).map_err(io::Error::other)?;
    message.extend(length.to_be_bytes());
    message.extend(body);
    stream.write_all(&message)
}

fn receive(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut body = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

fn parse_row(body: &[u8]) -> io::Result<Row> {
    let broken = || io::Error::other("a row that breaks off");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(broken)?;
    let mut row = Vec::new();
    for _ in 0..i16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        rest = after;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            row.push(None);
            continue;
        };
        let (cell, after) = rest.split_at_checked(length).ok_or_else(broken)?;
        rest = after;
        row.push(Some(String::from_utf8_lossy(cell).into_owned()));
    }
    Ok(row)
}

/// The field `M` of an error message: its sentence.
fn parse_error(body: &[u8]) -> String {
    body.split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(b"M"))
        .map(|message| String::from_utf8_lossy(message).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_with_its_nulls() {
        let body = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        let row = parse_row(body).unwrap();
        assert_eq!(row, [Some("ab".to_owned()), None, Some(String::new())]);
        assert!(parse_row(b"\0\x01\0\0\0\x05ab").is_err());
    }
}
