//! `truncate`: what the column's type has no room for is cut off, never rounded.

use bson::spec::ElementType;

use super::{IsoTime, write_string};
use crate::cell::{Limit, Number};
use crate::schema::BaseType;
use crate::value::Value;

const NANOS_OF_DAY: i64 = 86_400_000_000_000;
const NANOS_OF_MICRO: i64 = 1000;

/// Cuts a value, if it is too long.
pub(super) fn cut(
    base: BaseType,
    limit: Limit,
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Option<ElementType> {
    match (base, limit) {
        (BaseType::Text, Limit::Chars(most)) => characters(most as usize, value, out),
        (BaseType::Numeric, Limit::Numeric { scale, .. }) => digits(scale.into(), value, out),
        (BaseType::Int2 | BaseType::Int4 | BaseType::Int8, _) => digits(0, value, out),
        (BaseType::Timestamp | BaseType::TimestampTz, Limit::SecondDigits(digits @ 0..6)) => {
            time(10_i64.pow(9 - u32::from(digits)), value, out)
        }
        (BaseType::Timestamp | BaseType::TimestampTz, _) => time(NANOS_OF_MICRO, value, out),
        (BaseType::Date, _) => time(NANOS_OF_DAY, value, out),
        _ => None,
    }
}

/// A string's first characters.
fn characters(most: usize, value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    if value.kind != ElementType::String || value.str_bytes().len() <= most {
        return None;
    }
    let text = std::str::from_utf8(value.str_bytes()).ok()?;
    let (end, _) = text.char_indices().nth(most)?;
    Some(write_string(&text.as_bytes()[..end], out))
}

/// A number without the digits behind so many decimal places.
fn digits(scale: i32, value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    let number = match value.kind {
        ElementType::Double => Number::from_f64(f64::from_le_bytes(value.fixed())),
        ElementType::Decimal128 => Number::from_decimal128(value.fixed()),
        _ => return None,
    };
    out.extend_from_slice(&number.cut(scale)?.to_decimal128()?);
    Some(ElementType::Decimal128)
}

/// A time without what is finer than that unit of nanoseconds.
fn time(unit: i64, value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    if value.kind != ElementType::DateTime {
        return None;
    }
    let time = IsoTime::read(value);
    let cut = time.floor(unit);
    (cut != time).then(|| {
        cut.write(out);
        ElementType::DateTime
    })
}
