//! The conversions that are not exact: what a model asks for by name is done to a value here,
//! step after step, before it becomes a cell.
//!
//! A step takes a BSON value and gives another one, or hands it on as it is. Between two steps
//! the value lies in one of two buffers that a worker keeps, so that a row costs no allocation.
//! What no step could make fit is refused by the cell itself, with the message that it would
//! have without steps.

mod lenient;
mod text;
mod truncate;

use std::io::Write as _;

use bson::spec::ElementType;

use crate::cell::{Limit, Mismatch, describe};
use crate::schema::{BaseType, CellType, Step};
use crate::value::Value;

pub(crate) use lenient::IsoTime;

/// What steps have to know of their column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) steps: &'static [Step],
    pub(crate) ty: CellType,
    pub(crate) limit: Limit,
}

/// Where a value lies between two steps.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    current: Vec<u8>,
    next: Vec<u8>,
}

/// A value after its steps.
#[derive(Debug)]
pub(crate) struct Stepped<'a> {
    pub(crate) value: Value<'a>,
    /// The first label that became the enum's `other`, for people.
    pub(crate) other: Option<String>,
}

impl Steps {
    /// Whether there is anything to do.
    pub(crate) fn any(&self) -> bool {
        !self.steps.is_empty() || self.other().is_some()
    }

    /// The label for unknown ones.
    fn other(&self) -> Option<&'static str> {
        match self.ty.base {
            BaseType::Enum(ty) => ty.other,
            _ => None,
        }
    }

    /// Does every step, and then sees to unknown labels.
    ///
    /// # Errors
    /// When a value is of the kind that a step converts, but out of its range, or malformed.
    #[inline(never)]
    pub(crate) fn apply<'a>(
        &self,
        value: Value<'a>,
        workspace: &'a mut Workspace,
    ) -> Result<Stepped<'a>, Mismatch> {
        let Workspace { current, next } = workspace;
        let mut kind = value.kind;
        let mut held = false;
        for step in self.steps {
            next.clear();
            let bytes = if held { current.as_slice() } else { value.bytes };
            let changed = self.run(step, Value::new(kind, bytes), next)?;
            if let Some(changed) = changed {
                kind = changed;
                held = true;
                std::mem::swap(current, next);
            }
        }
        let mut other = None;
        if let (Some(label), BaseType::Enum(ty)) = (self.other(), self.ty.base) {
            next.clear();
            let bytes = if held { current.as_slice() } else { value.bytes };
            let mut replace = |value: Value<'_>, out: &mut Vec<u8>| {
                if value.kind != ElementType::String
                    || std::str::from_utf8(value.str_bytes()).is_err()
                    || ty.labels.iter().any(|label| label.as_bytes() == value.str_bytes())
                {
                    return Ok(None);
                }
                other.get_or_insert_with(|| describe(value));
                Ok(Some(write_string(label.as_bytes(), out)))
            };
            let value = Value::new(kind, bytes);
            if let Some(changed) = each(value, self.ty.dimensions, next, &mut replace)? {
                kind = changed;
                held = true;
                std::mem::swap(current, next);
            }
        }
        let bytes = if held { current.as_slice() } else { value.bytes };
        Ok(Stepped { value: Value::new(kind, bytes), other })
    }

    /// Does one step: appends the new value and gives its type, or appends nothing.
    fn run(
        &self,
        step: &Step,
        value: Value<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<ElementType>, Mismatch> {
        let (base, limit) = (self.ty.base, self.limit);
        let array = self.ty.dimensions > 0;
        // A vector is one value to PostgreSQL, and an array in a document.
        let dimensions = match base {
            BaseType::Other("vector") => 1,
            _ => self.ty.dimensions,
        };
        match *step {
            Step::Split(separator) => Ok(text::split(separator, value, out)),
            Step::Lenient(formats) => {
                let mut convert = |value: Value<'_>, out: &mut Vec<u8>| {
                    lenient::convert(base, formats, value, out)
                };
                match each(value, dimensions, out, &mut convert)? {
                    Some(kind) if array && kind != ElementType::Array => {
                        Ok(Some(wrap_last(kind, 0, out)))
                    }
                    None if array && lenient::is_single(value) => {
                        out.extend_from_slice(value.bytes);
                        Ok(Some(wrap_last(value.kind, 0, out)))
                    }
                    changed => Ok(changed),
                }
            }
            Step::Nul(nul) if base == BaseType::Jsonb => text::nul(nul, value, out),
            Step::Trim => {
                each(value, dimensions, out, &mut |value, out| Ok(text::trim(value, out)))
            }
            Step::Map(labels) => {
                each(value, dimensions, out, &mut |value, out| Ok(text::map(labels, value, out)))
            }
            Step::Nul(nul) => {
                each(value, dimensions, out, &mut |value, out| text::nul(nul, value, out))
            }
            Step::Truncate => each(value, dimensions, out, &mut |value, out| {
                Ok(truncate::cut(base, limit, value, out))
            }),
        }
    }
}

/// The type of the value that was appended, if one was.
type Changed = Result<Option<ElementType>, Mismatch>;

/// Does something to every element of an array of so many dimensions, or to what is none.
fn each(
    value: Value<'_>,
    dimensions: u8,
    out: &mut Vec<u8>,
    convert: &mut dyn FnMut(Value<'_>, &mut Vec<u8>) -> Changed,
) -> Changed {
    if dimensions == 0 || value.kind != ElementType::Array {
        return convert(value, out);
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut changed = false;
    let mut elements = value.elements();
    let mut index = 0;
    while let Some(element) = elements.next() {
        let (_, element) = element?;
        let kind_at = begin_element(index, out);
        let kind = match each(element, dimensions - 1, out, convert)
            .map_err(|mismatch| mismatch.at(crate::cell::PathStep::Index(index)))?
        {
            Some(kind) => {
                changed = true;
                kind
            }
            None => {
                out.extend_from_slice(element.bytes);
                element.kind
            }
        };
        out[kind_at] = kind as u8;
        index += 1;
    }
    if !changed {
        out.truncate(start);
        return Ok(None);
    }
    Ok(Some(end_array(start, out)))
}

/// Begins an array's element, and says where its type belongs.
fn begin_element(index: usize, out: &mut Vec<u8>) -> usize {
    let kind_at = out.len();
    out.push(0);
    let _ = write!(out, "{index}");
    out.push(0);
    kind_at
}

/// Ends an array (or a document) that begins with four bytes for its length.
fn end_array(start: usize, out: &mut Vec<u8>) -> ElementType {
    out.push(0);
    patch_length(start, out.len() - start, out);
    ElementType::Array
}

/// Makes the value that `out` ends in, from `start` on, the only element of an array.
fn wrap_last(kind: ElementType, start: usize, out: &mut Vec<u8>) -> ElementType {
    /// The array's length, the type, and the key `0` with its end.
    const HEAD: usize = 4 + 1 + 2;
    out.splice(start..start, [0, 0, 0, 0, kind as u8, b'0', 0]);
    debug_assert!(out.len() >= start + HEAD);
    end_array(start, out)
}

/// Writes a length of four bytes to its place.
fn patch_length(at: usize, length: usize, out: &mut [u8]) {
    out[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
}

/// Appends a BSON string.
fn write_string(text: &[u8], out: &mut Vec<u8>) -> ElementType {
    out.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(text);
    out.push(0);
    ElementType::String
}

/// Appends a BSON string that `write` writes.
fn write_text(write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) -> ElementType {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    out.push(0);
    patch_length(start, out.len() - start - 4, out);
    ElementType::String
}

#[cfg(test)]
mod tests;
