//! `lenient`: values of another type than the column's, as drifting data has them. What it takes
//! is a table in the reference of `#[derive(Migrate)]`; what it does not take it hands on.

use std::io::Write as _;

use bson::spec::ElementType;
use chrono::format::{Parsed, StrftimeItems, parse};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use super::{write_string, write_text};
use crate::cell::{Mismatch, Number, stored_uuid, write_hex, write_iso_date};
use crate::reject::Reason;
use crate::schema::BaseType;
use crate::value::Value;

/// Whether a value may stand for an array of one.
pub(super) fn is_single(value: Value<'_>) -> bool {
    !matches!(
        value.kind,
        ElementType::Array
            | ElementType::Null
            | ElementType::Undefined
            | ElementType::EmbeddedDocument
            | ElementType::Binary
    )
}

/// Reads a value as one of the column's type, if it can be.
pub(super) fn convert(
    base: BaseType,
    formats: &[&str],
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<ElementType>, Mismatch> {
    match base {
        BaseType::Bool => Ok(boolean(value, out)),
        BaseType::Int2 | BaseType::Int4 | BaseType::Int8 | BaseType::Numeric => number(value, out),
        BaseType::Float4 | BaseType::Other("vector") => float(value, true, out),
        BaseType::Float8 => float(value, false, out),
        BaseType::Text | BaseType::Enum(_) => Ok(text(value, out)),
        BaseType::Timestamp | BaseType::TimestampTz | BaseType::Date => {
            Ok(time(formats, value, out))
        }
        BaseType::Uuid => Ok(uuid(value, out)),
        BaseType::Bytea => bytes(value, out),
        BaseType::Jsonb | BaseType::Other(_) => Ok(None),
    }
}

/// The text of a string that is UTF-8.
fn string(value: Value<'_>) -> Option<&str> {
    match value.kind {
        ElementType::String => std::str::from_utf8(value.str_bytes()).ok(),
        _ => None,
    }
}

/// A number of any type.
fn number_of(value: Value<'_>) -> Option<Number> {
    Some(match value.kind {
        ElementType::Int32 => Number::from_i64(i32::from_le_bytes(value.fixed()).into()),
        ElementType::Int64 => Number::from_i64(i64::from_le_bytes(value.fixed())),
        ElementType::Double => Number::from_f64(f64::from_le_bytes(value.fixed())),
        ElementType::Decimal128 => Number::from_decimal128(value.fixed()),
        _ => return None,
    })
}

fn boolean(value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    const TRUE: [&str; 6] = ["true", "t", "yes", "y", "on", "1"];
    const FALSE: [&str; 6] = ["false", "f", "no", "n", "off", "0"];
    let among =
        |words: &[&str], text: &str| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let truth = match (string(value), number_of(value)) {
        (Some(text), _) if among(&TRUE, text) => true,
        (Some(text), _) if among(&FALSE, text) => false,
        (_, Some(number)) => match number.to_i64() {
            Ok(0) => false,
            Ok(1) => true,
            _ => return None,
        },
        _ => return None,
    };
    out.push(u8::from(truth));
    Some(ElementType::Boolean)
}

/// A decimal text as the number it is.
fn number(value: Value<'_>, out: &mut Vec<u8>) -> Result<Option<ElementType>, Mismatch> {
    let Some(text) = string(value) else { return Ok(None) };
    if let Some(number) = not_finite(text) {
        out.extend_from_slice(&number.to_le_bytes());
        return Ok(Some(ElementType::Double));
    }
    if !Number::is_decimal(text.as_bytes()) {
        return Ok(None);
    }
    let Some(decimal) = Number::parse(text.as_bytes()).and_then(Number::to_decimal128) else {
        let expected = "a number of at most 34 digits";
        return Err(Mismatch::found(Reason::TooLong, expected, value));
    };
    out.extend_from_slice(&decimal);
    Ok(Some(ElementType::Decimal128))
}

/// The words for what is no number, as PostgreSQL reads them.
fn not_finite(text: &str) -> Option<f64> {
    let (negative, word) = match text.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, text),
    };
    if word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    text.eq_ignore_ascii_case("nan").then_some(f64::NAN)
}

/// The nearest number that a float of that size has.
fn float(
    value: Value<'_>,
    short: bool,
    out: &mut Vec<u8>,
) -> Result<Option<ElementType>, Mismatch> {
    let nearest = |text: &str| match short {
        true => text.parse::<f32>().map(f64::from).ok(),
        false => text.parse::<f64>().ok(),
    };
    let number = match value.kind {
        ElementType::String => {
            let Some(text) = string(value) else { return Ok(None) };
            match not_finite(text) {
                Some(number) => Some(number),
                None if Number::is_decimal(text.as_bytes()) => finite(nearest(text), value)?,
                None => None,
            }
        }
        ElementType::Double if short => {
            let number = f64::from_le_bytes(value.fixed());
            match number.is_finite() {
                true => finite(Some(f64::from(number as f32)), value)?,
                false => None,
            }
        }
        ElementType::Int64 if short => Some(f64::from(i64::from_le_bytes(value.fixed()) as f32)),
        ElementType::Int64 => Some(i64::from_le_bytes(value.fixed()) as f64),
        ElementType::Int32 if short => Some(f64::from(i32::from_le_bytes(value.fixed()) as f32)),
        ElementType::Decimal128 => match Number::from_decimal128(value.fixed()) {
            Number::Finite { negative, coefficient, exponent } => {
                let mut buffer = [0; 64];
                let mut rest = &mut buffer[..];
                let sign = if negative { "-" } else { "" };
                let _ = write!(rest, "{sign}{coefficient}e{exponent}");
                let left = rest.len();
                let text = std::str::from_utf8(&buffer[..64 - left]).unwrap_or_default();
                finite(nearest(text), value)?
            }
            _ => None,
        },
        _ => None,
    };
    Ok(number.map(|number| {
        out.extend_from_slice(&number.to_le_bytes());
        ElementType::Double
    }))
}

fn finite(number: Option<f64>, value: Value<'_>) -> Result<Option<f64>, Mismatch> {
    match number {
        Some(number) if number.is_infinite() => {
            Err(Mismatch::found(Reason::Range, "a number that a float can hold", value))
        }
        number => Ok(number),
    }
}

/// The text of a single value.
fn text(value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    match value.kind {
        ElementType::Int32 | ElementType::Int64 | ElementType::Decimal128 | ElementType::Double => {
            let number = number_of(value)?;
            let special = match number {
                Number::Nan => "NaN",
                Number::Infinity { negative: false } => "Infinity",
                Number::Infinity { negative: true } => "-Infinity",
                Number::Finite { .. } => {
                    return Some(write_text(
                        |out| {
                            write_number(number, out);
                        },
                        out,
                    ));
                }
            };
            Some(write_string(special.as_bytes(), out))
        }
        ElementType::Boolean => {
            Some(write_string(if value.bytes[0] == 0 { b"false" } else { b"true" }, out))
        }
        ElementType::ObjectId => Some(write_text(|out| write_hex(value.bytes, out), out)),
        ElementType::DateTime => {
            let (millis, start) = (i64::from_le_bytes(value.fixed()), out.len());
            let mut fits = false;
            let kind = write_text(|out| fits = write_iso_date(millis, out), out);
            if !fits {
                out.truncate(start);
            }
            fits.then_some(kind)
        }
        ElementType::Binary => {
            let mut buffer = uuid::Uuid::encode_buffer();
            let text =
                uuid::Uuid::from_bytes(stored_uuid(value)?).hyphenated().encode_lower(&mut buffer);
            Some(write_string(text.as_bytes(), out))
        }
        ElementType::Symbol | ElementType::JavaScriptCode => {
            out.extend_from_slice(value.bytes);
            Some(ElementType::String)
        }
        ElementType::RegularExpression => {
            let (pattern, options) = value.regex();
            Some(write_text(
                |out| {
                    for part in [b"/", pattern, b"/", options] {
                        out.extend_from_slice(part);
                    }
                },
                out,
            ))
        }
        _ => None,
    }
}

/// A number as plain JSON writes it: the double 5.0 is `5`.
fn write_number(number: Number, out: &mut Vec<u8>) {
    number.written_out().write_json(out);
}

fn uuid(value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    let uuid = uuid::Uuid::try_parse(string(value)?).ok()?;
    out.extend_from_slice(&16_u32.to_le_bytes());
    out.push(4);
    out.extend_from_slice(uuid.as_bytes());
    Some(ElementType::Binary)
}

/// The bytes of a binary, whatever its subtype says about them.
fn bytes(value: Value<'_>, out: &mut Vec<u8>) -> Result<Option<ElementType>, Mismatch> {
    if value.kind != ElementType::Binary || matches!(value.bytes[4], 0 | 2 | 128..) {
        return Ok(None);
    }
    let (_, bytes) = value.binary();
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.push(0);
    out.extend_from_slice(bytes);
    Ok(Some(ElementType::Binary))
}

const MILLIS_OF_DAY: i64 = 86_400_000;
const NANOS_OF_MILLI: u32 = 1_000_000;

/// A time from a text, from a count of milliseconds, or from a timestamp of the replication.
fn time(formats: &[&str], value: Value<'_>, out: &mut Vec<u8>) -> Option<ElementType> {
    let time = match value.kind {
        ElementType::String if formats.is_empty() => parse_iso(value.str_bytes())?,
        ElementType::String => by_formats(formats, string(value)?)?,
        ElementType::Timestamp => {
            let seconds = u64::from_le_bytes(value.fixed()) >> 32;
            IsoTime { millis: seconds as i64 * 1000, nanos: 0 }
        }
        _ => {
            let number = number_of(value)?.to_i64().ok()?;
            match formats {
                [] => IsoTime { millis: number, nanos: 0 },
                formats => {
                    let mut buffer = [0; 24];
                    let mut rest = &mut buffer[..];
                    let _ = write!(rest, "{number}");
                    let left = rest.len();
                    by_formats(formats, std::str::from_utf8(&buffer[..24 - left]).ok()?)?
                }
            }
        }
    };
    time.write(out);
    Some(ElementType::DateTime)
}

/// A time finer than BSON's: milliseconds since 1970, and nanoseconds below the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsoTime {
    pub(crate) millis: i64,
    pub(crate) nanos: u32,
}

impl IsoTime {
    /// Takes a time of the calendar, `offset` seconds east of UTC.
    fn new(date: NaiveDate, time: NaiveTime, offset: i32) -> Self {
        let time = NaiveDateTime::new(date, time).and_utc();
        // A leap second has more than 1,000 of these, and is the next minute's first second.
        let nanos = time.timestamp_subsec_nanos();
        let millis =
            (time.timestamp() - i64::from(offset)) * 1000 + i64::from(nanos / NANOS_OF_MILLI);
        Self { millis, nanos: nanos % NANOS_OF_MILLI }
    }

    /// Appends it as a BSON date, with the nanoseconds behind it where there are any. Such a date
    /// never leaves the steps and the cell behind them.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.millis.to_le_bytes());
        if self.nanos > 0 {
            out.extend_from_slice(&self.nanos.to_le_bytes());
        }
    }

    /// Reads what [`write`](Self::write) has written, or any BSON date.
    pub(crate) fn read(value: Value<'_>) -> Self {
        let nanos = match value.bytes.get(8..12) {
            Some(nanos) => u32::from_le_bytes([nanos[0], nanos[1], nanos[2], nanos[3]]),
            None => 0,
        };
        Self { millis: i64::from_le_bytes(value.fixed()), nanos }
    }

    /// The time cut off to whole units of so many nanoseconds, which divide a day.
    pub(super) fn floor(self, unit: i64) -> Self {
        let days = self.millis.div_euclid(MILLIS_OF_DAY);
        let nanos_of_day = self.millis.rem_euclid(MILLIS_OF_DAY) * i64::from(NANOS_OF_MILLI)
            + i64::from(self.nanos);
        let nanos_of_day = nanos_of_day - nanos_of_day % unit;
        let millis_of_day = nanos_of_day / i64::from(NANOS_OF_MILLI);
        Self {
            millis: days * MILLIS_OF_DAY + millis_of_day,
            nanos: (nanos_of_day % i64::from(NANOS_OF_MILLI)) as u32,
        }
    }
}

/// The time that the first fitting format reads. Without an offset it is UTC, without a time of
/// day midnight.
fn by_formats(formats: &[&str], text: &str) -> Option<IsoTime> {
    formats.iter().find_map(|format| {
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
        let offset = parsed.offset().unwrap_or(0);
        if let Ok(time) = parsed.to_naive_datetime_with_offset(offset) {
            return Some(IsoTime::new(time.date(), time.time(), offset));
        }
        let has_time = parsed.hour_div_12().is_some()
            || parsed.hour_mod_12().is_some()
            || parsed.minute().is_some()
            || parsed.second().is_some();
        match has_time {
            true => None,
            false => Some(IsoTime::new(parsed.to_naive_date().ok()?, NaiveTime::MIN, offset)),
        }
    })
}

/// A time as ISO 8601 writes it: a date, and behind `T` or a space hours and minutes, seconds and
/// up to nine digits of them, and `Z` or an offset.
fn parse_iso(text: &[u8]) -> Option<IsoTime> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    byte(&mut rest, b'-')?;
    let month = digits(&mut rest, 2)?;
    byte(&mut rest, b'-')?;
    let day = digits(&mut rest, 2)?;
    let date = NaiveDate::from_ymd_opt(year as i32, month, day)?;
    if rest.is_empty() {
        return Some(IsoTime::new(date, NaiveTime::MIN, 0));
    }
    byte(&mut rest, b'T').or_else(|| byte(&mut rest, b' ')).or_else(|| byte(&mut rest, b't'))?;
    let hour = digits(&mut rest, 2)?;
    byte(&mut rest, b':')?;
    let minute = digits(&mut rest, 2)?;
    let (mut second, mut nanos) = (0, 0);
    if byte(&mut rest, b':').is_some() {
        second = digits(&mut rest, 2)?;
        if byte(&mut rest, b'.').or_else(|| byte(&mut rest, b',')).is_some() {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&count) {
                return None;
            }
            nanos = digits(&mut rest, count)? * 10_u32.pow(9 - count as u32);
        }
    }
    // A leap second is the first second of the next minute, as PostgreSQL reads it.
    let leap = u32::from(second == 60);
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second - leap, nanos)?;
    let offset = match rest.split_first() {
        None => 0,
        Some((b'Z' | b'z', [])) => 0,
        Some((sign @ (b'+' | b'-'), mut rest)) => {
            let hours = digits(&mut rest, 2)?;
            let _ = byte(&mut rest, b':');
            let minutes = if rest.is_empty() { 0 } else { digits(&mut rest, 2)? };
            if !rest.is_empty() || hours > 15 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 3600 + minutes * 60) as i32;
            if *sign == b'-' { -seconds } else { seconds }
        }
        Some(_) => return None,
    };
    let mut time = IsoTime::new(date, time, offset);
    time.millis += i64::from(leap) * 1000;
    Some(time)
}

/// Takes that byte off the front.
fn byte(rest: &mut &[u8], wanted: u8) -> Option<()> {
    let (first, behind) = rest.split_first()?;
    (*first == wanted).then(|| *rest = behind)
}

/// Takes so many digits off the front.
fn digits(rest: &mut &[u8], count: usize) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(count)?;
    let mut number = 0;
    for digit in digits {
        number = number * 10 + u32::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    *rest = behind;
    Some(number)
}
