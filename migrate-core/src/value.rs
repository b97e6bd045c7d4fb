//! A BSON value where it lies: type and bytes, nothing copied.
//!
//! [`Elements`] walks a document once and never reads past its end, whatever the bytes say;
//! the format is <https://bsonspec.org/spec.html>.

use bson::spec::ElementType;

use crate::cell::Mismatch;

/// One BSON value of a raw document.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// The element type.
    pub kind: ElementType,
    /// The value's bytes as the document holds them, length prefixes included.
    pub bytes: &'a [u8],
}

/// The document's bytes are no BSON: where reading stopped, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The offset in the document.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed BSON at byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Malformed {}

impl<'a> Value<'a> {
    /// A value of that type with those bytes; the caller has taken them from [`Elements`].
    pub fn new(kind: ElementType, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    /// The type's name, as MongoDB's `$type` spells it.
    pub fn kind_name(&self) -> &'static str {
        kind_name(self.kind)
    }

    /// The first `N` bytes.
    #[inline]
    pub fn fixed<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[..N]);
        bytes
    }

    /// The bytes of a string, symbol or code, without length and terminator; not yet known to be
    /// UTF-8.
    #[inline]
    pub fn str_bytes(&self) -> &'a [u8] {
        &self.bytes[4..self.bytes.len() - 1]
    }

    /// The text of a string.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    pub fn as_str(&self) -> Result<&'a str, Mismatch> {
        std::str::from_utf8(self.str_bytes()).map_err(|_| Mismatch::utf8(*self))
    }

    /// The elements of a document or array.
    pub fn elements(&self) -> Elements<'a> {
        Elements::of(self.bytes)
    }

    /// The value as the `bson` crate's owned type, for users' own conversions and for messages.
    ///
    /// # Errors
    /// When the value is malformed in a way the walk does not look at, as text that is not UTF-8.
    pub fn to_bson(self) -> Result<bson::Bson, Mismatch> {
        let bad = |_| Mismatch::malformed(self);
        let document = self.to_document();
        let document = bson::RawDocument::from_bytes(&document).map_err(bad)?;
        let value = document.get("v").map_err(bad)?.ok_or_else(|| Mismatch::malformed(self))?;
        bson::Bson::try_from(value).map_err(bad)
    }

    /// A document whose only field, `v`, is this value: how a value is stored by itself.
    pub fn to_document(self) -> Vec<u8> {
        let length = 4 + 1 + 2 + self.bytes.len() + 1;
        let mut document = Vec::with_capacity(length);
        document.extend_from_slice(&(length as u32).to_le_bytes());
        document.push(self.kind as u8);
        document.extend_from_slice(b"v\0");
        document.extend_from_slice(self.bytes);
        document.push(0);
        document
    }

    /// The subtype and the bytes of a binary; the inner length of subtype 2 is taken off.
    pub fn binary(&self) -> (u8, &'a [u8]) {
        let subtype = self.bytes[4];
        let skip = if subtype == 2 && self.bytes.len() >= 9 { 9 } else { 5 };
        (subtype, &self.bytes[skip..])
    }

    /// The pattern and the options of a regular expression.
    pub fn regex(&self) -> (&'a [u8], &'a [u8]) {
        let end = memchr::memchr(0, self.bytes).unwrap_or(0);
        (&self.bytes[..end], &self.bytes[end + 1..self.bytes.len() - 1])
    }
}

/// The elements of a document or an array in order.
///
/// Every item lies within the document, strings end in their terminator, and fixed types have
/// their size, so the accessors of [`Value`] cannot go wrong on one.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Set when the end or a fault was reached.
    done: bool,
}

impl<'a> Elements<'a> {
    /// Walks a document given with its length prefix and terminator. A length that does not fit
    /// is reported by the first item.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 4, done: false }
    }

    #[cold]
    fn fault(&mut self, what: &'static str) -> Malformed {
        self.done = true;
        Malformed { offset: self.offset, what }
    }

    /// The next element: its key, which is not yet known to be UTF-8, and its value.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "the trait's name reads best at the call")]
    pub fn next(&mut self) -> Option<Result<(&'a [u8], Value<'a>), Malformed>> {
        if self.done {
            return None;
        }
        let bytes = self.bytes;
        if self.offset == 4 {
            let fits = bytes.len() >= 5
                && u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
                    == bytes.len();
            if !fits {
                return Some(Err(self.fault("the length does not fit the document")));
            }
        }
        // The terminator must be the last byte, and the last byte the terminator.
        let end = bytes.len() - 1;
        if self.offset >= end {
            self.done = true;
            return match bytes[end] {
                0 if self.offset == end => None,
                _ => Some(Err(self.fault("the document does not end in a zero byte"))),
            };
        }
        let rest = &bytes[self.offset + 1..end];
        let Some(kind) = kind_of(bytes[self.offset]) else {
            return Some(Err(self.fault("unknown element type")));
        };
        let Some(length) = key_length(rest) else {
            return Some(Err(self.fault("a key without an end")));
        };
        let (key, rest) = rest.split_at(length);
        let rest = &rest[1..];
        match value_length(kind, rest) {
            Some(length) => {
                self.offset = end - rest.len() + length;
                Some(Ok((key, Value { kind, bytes: &rest[..length] })))
            }
            None => {
                self.offset = end - rest.len();
                Some(Err(self.fault("a value that does not fit into its document")))
            }
        }
    }
}

/// The length of the key that the bytes begin with; `None` if it has no end.
#[inline]
fn key_length(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else {
        return bytes.iter().position(|byte| *byte == 0);
    };
    let head = u64::from_le_bytes(*head);
    // The lowest bit that is set belongs to the first zero byte.
    let zeros = head.wrapping_sub(ONES) & !head & ONES << 7;
    if zeros != 0 {
        return Some((zeros.trailing_zeros() / 8) as usize);
    }
    memchr::memchr(0, rest).map(|length| 8 + length)
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        Elements::next(self)
    }
}

/// The element type of each type byte.
const KINDS: [Option<ElementType>; 256] = {
    use ElementType as E;
    const ALL: [ElementType; 21] = [
        E::Double,
        E::String,
        E::EmbeddedDocument,
        E::Array,
        E::Binary,
        E::Undefined,
        E::ObjectId,
        E::Boolean,
        E::DateTime,
        E::Null,
        E::RegularExpression,
        E::DbPointer,
        E::JavaScriptCode,
        E::Symbol,
        E::JavaScriptCodeWithScope,
        E::Int32,
        E::Timestamp,
        E::Int64,
        E::Decimal128,
        E::MinKey,
        E::MaxKey,
    ];
    let mut kinds = [None; 256];
    let mut index = 0;
    while index < ALL.len() {
        kinds[ALL[index] as usize] = Some(ALL[index]);
        index += 1;
    }
    kinds
};

/// The element type of a type byte, by one look at a table.
#[inline]
pub(crate) fn kind_of(tag: u8) -> Option<ElementType> {
    KINDS[usize::from(tag)]
}

/// A string, a symbol or code: a length and a text with its terminator.
const TEXT: u8 = 0x80;
/// All else that has no fixed size, and the boolean, of which the byte is looked at.
const OTHER: u8 = 0x81;

/// The size of each type's values, or one of the marks above.
const SIZES: [u8; 256] = {
    use ElementType as E;
    let mut sizes = [OTHER; 256];
    let fixed = [
        (E::Double, 8),
        (E::DateTime, 8),
        (E::Int64, 8),
        (E::Timestamp, 8),
        (E::Int32, 4),
        (E::ObjectId, 12),
        (E::Decimal128, 16),
        (E::Null, 0),
        (E::Undefined, 0),
        (E::MinKey, 0),
        (E::MaxKey, 0),
        (E::String, TEXT),
        (E::Symbol, TEXT),
        (E::JavaScriptCode, TEXT),
    ];
    let mut index = 0;
    while index < fixed.len() {
        sizes[fixed[index].0 as usize] = fixed[index].1;
        index += 1;
    }
    sizes
};

/// The length in bytes of a value of that type at the start of `rest`; `None` if it does not fit
/// or breaks the format.
#[inline]
pub(crate) fn value_length(kind: ElementType, rest: &[u8]) -> Option<usize> {
    let size = SIZES[usize::from(kind as u8)];
    if size < TEXT {
        let size = usize::from(size);
        return (size <= rest.len()).then_some(size);
    }
    if size == TEXT {
        let (length, text) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        // No text has no byte, not even the terminator; a length that is negative fits nowhere.
        return (text.get(length.wrapping_sub(1)) == Some(&0)).then_some(4 + length);
    }
    other_length(kind, rest)
}

/// The same for types whose length neither a table nor a text's prefix tells.
fn other_length(kind: ElementType, rest: &[u8]) -> Option<usize> {
    let prefix = || {
        let bytes = rest.first_chunk::<4>()?;
        usize::try_from(i32::from_le_bytes(*bytes)).ok()
    };
    let length = match kind {
        ElementType::Boolean => {
            // Any other byte is no boolean; reading it as true would change the value.
            return (*rest.first()? <= 1).then_some(1);
        }
        ElementType::EmbeddedDocument | ElementType::Array => {
            let length = prefix()?;
            return (length >= 5 && rest.get(length - 1) == Some(&0)).then_some(length);
        }
        ElementType::Binary => 5 + prefix()?,
        ElementType::RegularExpression => {
            let pattern = memchr::memchr(0, rest)? + 1;
            return Some(pattern + memchr::memchr(0, &rest[pattern..])? + 1);
        }
        ElementType::DbPointer => {
            let length = prefix()?;
            if length < 1 || rest.get(4 + length - 1) != Some(&0) {
                return None;
            }
            4 + length + 12
        }
        ElementType::JavaScriptCodeWithScope => {
            // The total, a string and a document: 4 + (4 + 1) + 5 bytes at least.
            let length = prefix()?;
            if length < 14 {
                return None;
            }
            length
        }
        ElementType::Double
        | ElementType::DateTime
        | ElementType::Int64
        | ElementType::Timestamp
        | ElementType::Int32
        | ElementType::ObjectId
        | ElementType::Decimal128
        | ElementType::Null
        | ElementType::Undefined
        | ElementType::MinKey
        | ElementType::MaxKey
        | ElementType::String
        | ElementType::Symbol
        | ElementType::JavaScriptCode => unreachable!("the table has their sizes"),
    };
    (length <= rest.len()).then_some(length)
}

/// The name of a BSON type as MongoDB's `$type` operator spells it.
pub fn kind_name(kind: ElementType) -> &'static str {
    match kind {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MinKey => "minKey",
        ElementType::MaxKey => "maxKey",
    }
}
