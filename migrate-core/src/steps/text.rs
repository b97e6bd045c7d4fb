//! The steps over text: `trim`, `split`, `map` and `nul`. Text that is not UTF-8 is handed on,
//! and refused by the cell.

use bson::spec::ElementType;
use memchr::memmem;

use super::{begin_element, end_array, patch_length, write_string};
use crate::cell::Mismatch;
use crate::schema::Nul;
use crate::value::Value;

/// How deep `nul` follows nested documents; what is deeper is refused by the cell.
const MAX_DEPTH: usize = 200;

/// Takes white space, as Unicode knows it, off both ends of a string.
pub(super) fn trim(value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    if value.kind != ElementType::String {
        return None;
    }
    let bytes = value.str_bytes();
    let solid = |byte: Option<&u8>| {
        byte.is_none_or(|byte| byte.is_ascii() && !char::from(*byte).is_whitespace())
    };
    if solid(bytes.first()) && solid(bytes.last()) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let trimmed = text.trim();
    (trimmed.len() < text.len()).then(|| write_string(trimmed.as_bytes(), out))
}

/// Cuts a string into an array; an empty one has no elements.
pub(super) fn split(separator: &str, value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    if value.kind != ElementType::String {
        return None;
    }
    let text = value.str_bytes();
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let element = |index: usize, part: &[u8], out: &mut Vec<u8>| {
        let kind_at = begin_element(index, out);
        out[kind_at] = write_string(part, out) as u8;
    };
    if !text.is_empty() {
        let (mut from, mut index) = (0, 0);
        for at in memmem::find_iter(text, separator.as_bytes()) {
            element(index, &text[from..at], out);
            from = at + separator.len();
            index += 1;
        }
        element(index, &text[from..], out);
    }
    Some(end_array(start, out))
}

/// Replaces a string that is one of the labels.
pub(super) fn map(
    labels: &[(&str, Option<&str>)],
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Option<ElementType> {
    if value.kind != ElementType::String {
        return None;
    }
    let text = value.str_bytes();
    let (_, to) = labels.iter().find(|(from, _)| from.as_bytes() == text)?;
    Some(match to {
        Some(to) => write_string(to.as_bytes(), out),
        None => ElementType::Null,
    })
}

/// Takes U+0000 out of a string, or out of all strings inside a document.
pub(super) fn nul(
    nul: Nul,
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<ElementType>, Mismatch> {
    let start = out.len();
    if rewrite(nul, value, 0, out)? {
        return Ok(Some(value.kind));
    }
    out.truncate(start);
    Ok(None)
}

/// Appends the value without U+0000, and says whether it had any.
fn rewrite(nul: Nul, value: Value<'_>, depth: usize, out: &mut Vec<u8>) -> Result<bool, Mismatch> {
    let bytes = value.bytes;
    match value.kind {
        ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => {
            Ok(rewrite_string(nul, bytes, out))
        }
        ElementType::DbPointer => {
            let (name, id) = bytes.split_at(bytes.len() - 12);
            let changed = rewrite_string(nul, name, out);
            out.extend_from_slice(id);
            Ok(changed)
        }
        ElementType::JavaScriptCodeWithScope => {
            let length = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
            let Some(end) = 8_usize.checked_add(length).filter(|end| *end + 5 <= bytes.len())
            else {
                return Err(Mismatch::malformed(value));
            };
            if length == 0 || bytes[end - 1] != 0 {
                return Err(Mismatch::malformed(value));
            }
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            let mut changed = rewrite_string(nul, &bytes[4..end], out);
            let scope = Value::new(ElementType::EmbeddedDocument, &bytes[end..]);
            changed |= rewrite(nul, scope, depth + 1, out)?;
            patch_length(start, out.len() - start, out);
            Ok(changed)
        }
        ElementType::EmbeddedDocument | ElementType::Array if depth < MAX_DEPTH => {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            let mut changed = false;
            let mut elements = value.elements();
            while let Some(element) = elements.next() {
                let (key, element) = element?;
                out.push(element.kind as u8);
                out.extend_from_slice(key);
                out.push(0);
                changed |= rewrite(nul, element, depth + 1, out)?;
            }
            end_array(start, out);
            Ok(changed)
        }
        _ => {
            out.extend_from_slice(bytes);
            Ok(false)
        }
    }
}

/// The same for a string with its length and its end.
fn rewrite_string(nul: Nul, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let text = &bytes[4..bytes.len() - 1];
    if memchr::memchr(0, text).is_none() {
        out.extend_from_slice(bytes);
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for (index, part) in text.split(|byte| *byte == 0).enumerate() {
        if index > 0 && nul == Nul::Replace {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
        out.extend_from_slice(part);
    }
    out.push(0);
    patch_length(start, out.len() - start - 4, out);
    true
}
