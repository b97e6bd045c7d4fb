//! A line of Extended JSON, canonical or relaxed, becomes the BSON it was written from: the keys in
//! their order, numbers with their types.

use bson::raw::{CString, RawBson};
use bson::{Bson, RawArrayBuf, RawDocumentBuf};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

use super::super::Batch;
use super::reader::Fault;

/// The batch of the documents on those lines; `start` is the first line's offset in the file.
pub(super) fn batch(start: u64, bytes: &[u8], lines: &[(u32, u32)]) -> Result<Batch, Fault> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut places = Vec::with_capacity(lines.len());
    for &(offset, length) in lines {
        let line = element(&bytes[offset as usize..][..length as usize]);
        if line.is_empty() {
            continue;
        }
        let document = document(line).map_err(|cause| Fault {
            offset: start + u64::from(offset),
            what: "the line is no document of Extended JSON".to_owned(),
            cause: Some(cause),
        })?;
        places.push((out.len() as u32, document.as_bytes().len() as u32));
        out.extend_from_slice(document.as_bytes());
    }
    Ok(Batch::new(out, places))
}

/// A line without the brackets and commas that an array of documents has around them.
fn element(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    let line = line.strip_prefix(b"[").unwrap_or(line).trim_ascii_start();
    let line = line.strip_suffix(b"]").unwrap_or(line).trim_ascii_end();
    line.strip_suffix(b",").unwrap_or(line).trim_ascii_end()
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn document(line: &[u8]) -> Result<RawDocumentBuf, Cause> {
    match serde_json::from_slice(line)? {
        Node::Object(entries) => raw_document(entries),
        _ => Err("expected an object".into()),
    }
}

/// JSON as it was written; unlike `serde_json::Value` it keeps the order of keys, and a key that
/// is there twice.
enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        // What no integer of BSON holds is a double, as the specification has it.
        Ok(i64::try_from(value).map_or(Node::Double(value as f64), Node::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Node::Object(object))
    }
}

fn raw_document(entries: Vec<(String, Node)>) -> Result<RawDocumentBuf, Cause> {
    let mut document = RawDocumentBuf::new();
    for (key, value) in entries {
        document.append(CString::try_from(key)?, raw_value(value)?);
    }
    Ok(document)
}

fn raw_value(node: Node) -> Result<RawBson, Cause> {
    Ok(match node {
        Node::Null => RawBson::Null,
        Node::Bool(value) => RawBson::Boolean(value),
        Node::Int(value) => i32::try_from(value).map_or(RawBson::Int64(value), RawBson::Int32),
        Node::Double(value) => RawBson::Double(value),
        Node::String(value) => RawBson::String(value),
        Node::Array(items) => {
            let mut array = RawArrayBuf::new();
            for item in items {
                array.push(raw_value(item)?);
            }
            RawBson::Array(array)
        }
        Node::Object(entries) => match typed(&entries)? {
            Some(value) => value,
            None => RawBson::Document(raw_document(entries)?),
        },
    })
}

/// The value that an object such as `{"$oid": ..}` stands for; `None` when it is an object.
fn typed(entries: &[(String, Node)]) -> Result<Option<RawBson>, Cause> {
    if !entries.first().is_some_and(|(key, _)| key.starts_with('$')) {
        return Ok(None);
    }
    let json = serde_json::Value::Object(
        entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
    );
    match Bson::try_from(json)? {
        // A reference (`$ref`, `$id`) is a document like any other.
        Bson::Document(_) => Ok(None),
        value => Ok(Some(RawBson::try_from(value)?)),
    }
}

fn plain(node: &Node) -> serde_json::Value {
    match node {
        Node::Null => serde_json::Value::Null,
        Node::Bool(value) => (*value).into(),
        Node::Int(value) => (*value).into(),
        Node::Double(value) => (*value).into(),
        Node::String(value) => value.as_str().into(),
        Node::Array(items) => items.iter().map(plain).collect(),
        Node::Object(entries) => serde_json::Value::Object(
            entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        ),
    }
}
