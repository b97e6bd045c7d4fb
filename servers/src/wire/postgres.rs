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
    let session = Session { user, password, database };
    match session.query(port, sql) {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(message)) => {
            Err(Error::Refused { server: SERVER, command: sql.to_owned(), message })
        }
        Err(source) => Err(Error::Connection { server: SERVER, source }),
    }
}

struct Session<'a> {
    user: &'a str,
    password: &'a str,
    database: &'a str,
}

impl Session<'_> {
    /// The rows, or the server's refusal.
    fn query(&self, port: u16, sql: &str) -> io::Result<Result<Vec<Row>, String>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut startup = PROTOCOL_3.to_be_bytes().to_vec();
        for text in ["user", self.user, "database", self.database, ""] {
            startup.extend(text.as_bytes());
            startup.push(0);
        }
        send(&mut stream, None, &startup)?;
        let mut asked = false;
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            let (kind, body) = receive(&mut stream)?;
            match kind {
                b'R' if body.starts_with(&3_i32.to_be_bytes()) => {
                    send(&mut stream, Some(b'p'), &terminated(self.password))?;
                }
                b'R' if !body.starts_with(&0_i32.to_be_bytes()) => {
                    return Err(io::Error::other("it asks for another way to log in"));
                }
                b'D' => rows.push(parse_row(&body)?),
                b'E' => {
                    refusal = Some(parse_error(&body));
                    // Before the first query nothing follows a refusal.
                    if !asked {
                        break;
                    }
                }
                b'Z' if asked => break,
                b'Z' => {
                    asked = true;
                    send(&mut stream, Some(b'Q'), &terminated(sql))?;
                }
                _ => {}
            }
        }
        let _ = send(&mut stream, Some(b'X'), &[]);
        Ok(match refusal {
            Some(message) => Err(message),
            None => Ok(rows),
        })
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
