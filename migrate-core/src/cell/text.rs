//! `text` and its kin, from BSON strings alone.
//!
//! A symbol or JavaScript code is no string, although its bytes look like one: its type would be
//! lost. The bytes are checked once, for UTF-8 and for the U+0000 that PostgreSQL cannot hold.

use bson::spec::ElementType;

use super::{CellContext, Limit, Mismatch, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

impl ToCell for String {
    const TYPE: CellType = CellType::scalar(BaseType::Text);
    type Literal = &'static str;

    #[inline]
    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        if value.kind != ElementType::String {
            return Err(Mismatch::wrong_type("text", value));
        }
        let bytes = value.str_bytes();
        match check_text(bytes, context.limit) {
            Ok(()) => {
                out.extend_from_slice(bytes);
                Ok(Wrote::Payload)
            }
            Err(reason) => Err(refused(reason, context.limit, value)),
        }
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        self.as_str().write_text(context, out)
    }
}

impl Scalar for String {}

impl ToCell for &'static str {
    const TYPE: CellType = CellType::scalar(BaseType::Text);
    type Literal = &'static str;

    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        String::encode(value, context, out)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        self.write_text(context, out)
    }
}

impl Scalar for &'static str {}

trait WriteText {
    fn write_text(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch>;
}

impl WriteText for str {
    fn write_text(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        check_text(self.as_bytes(), context.limit)
            .map_err(|reason| Mismatch::new(reason, expected(reason, context.limit), self))?;
        out.extend_from_slice(self.as_bytes());
        Ok(Wrote::Payload)
    }
}

#[inline]
fn check_text(bytes: &[u8], limit: Limit) -> Result<(), Reason> {
    if !is_plain_ascii(bytes) {
        check_other_text(bytes)?;
    }
    match limit {
        // A character has at least one byte.
        Limit::Chars(most) if bytes.len() > most as usize => check_length(bytes, most),
        _ => Ok(()),
    }
}

/// Whether every byte is ASCII and none is zero: most texts are, and this is soon known.
#[inline]
fn is_plain_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A byte's high bit is set in `word`, or in `word - 1` where the byte (or, after a borrow,
    // a lower one) is zero.
    let odd = |word: u64| (word | word.wrapping_sub(ONES)) & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        found |= odd(u64::from_le_bytes(*word));
    }
    match bytes.last_chunk::<8>() {
        Some(last) => found |= odd(u64::from_le_bytes(*last)),
        None => {
            for byte in rest {
                found |= odd(u64::from(*byte) | ONES << 8);
            }
        }
    }
    found == 0
}

#[inline(never)]
fn check_other_text(bytes: &[u8]) -> Result<(), Reason> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Reason::Utf8);
    }
    if memchr::memchr(0, bytes).is_some() {
        return Err(Reason::Nul);
    }
    Ok(())
}

#[cold]
fn check_length(bytes: &[u8], most: u32) -> Result<(), Reason> {
    // Of a character's bytes all but the first look like 10xxxxxx.
    let chars = bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count();
    if chars > most as usize { Err(Reason::TooLong) } else { Ok(()) }
}

#[cold]
fn refused(reason: Reason, limit: Limit, value: Value<'_>) -> Mismatch {
    match reason {
        Reason::Utf8 => Mismatch::utf8(value),
        reason => Mismatch::found(reason, expected(reason, limit), value),
    }
}

#[cold]
fn expected(reason: Reason, limit: Limit) -> String {
    match (reason, limit) {
        (Reason::TooLong, Limit::Chars(most)) => format!("at most {most} characters"),
        _ => "text without U+0000".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, encode_in, reason, reason_in};
    use super::*;
    use bson::Bson;

    fn text(text: &str) -> Bson {
        Bson::String(text.to_owned())
    }

    #[test]
    fn text_as_it_is() {
        for sample in ["", "a", "Prag", "Příbram", "exactly 8", "🦀 and more than sixteen bytes"]
        {
            assert_eq!(encode::<String>(&text(sample)), sample.as_bytes());
        }
    }

    #[test]
    fn a_zero_byte_is_found_at_every_place() {
        for length in 1..40 {
            for place in 0..length {
                let mut bytes = vec![b'x'; length];
                bytes[place] = 0;
                let sample = String::from_utf8(bytes).unwrap();
                assert_eq!(reason::<String>(&Bson::String(sample)), Reason::Nul);
            }
        }
    }

    #[test]
    fn only_strings_are_text() {
        assert_eq!(reason::<String>(&Bson::Int32(5)), Reason::Type);
        assert_eq!(reason::<String>(&Bson::Symbol("a".into())), Reason::Type);
        assert_eq!(reason::<String>(&Bson::JavaScriptCode("a".into())), Reason::Type);
    }

    #[test]
    fn bytes_that_are_no_utf8() {
        let bytes = [3, 0, 0, 0, 0xff, b'x', 0];
        let value = Value::new(ElementType::String, &bytes);
        let mismatch = String::encode(value, &context(), &mut Vec::new()).unwrap_err();
        assert_eq!(mismatch.reason(), Reason::Utf8);
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let mut short = context();
        short.limit = Limit::Chars(3);
        assert_eq!(encode_in::<String>(&text("ěšč"), &short), "ěšč".as_bytes());
        assert_eq!(reason_in::<String>(&text("ěščř"), &short), Reason::TooLong);
        // The server would cut these spaces off.
        assert_eq!(reason_in::<String>(&text("abc "), &short), Reason::TooLong);
    }
}
