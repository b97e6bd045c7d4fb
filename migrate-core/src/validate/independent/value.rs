//! The conversions of the second path: a decoded BSON value to the text of its cell, as plainly
//! as can be. Slow on purpose; nothing here is shared with the cells of the first path.
//!
//! Both what is expected and what PostgreSQL prints (`::text`, with dates in ISO form, time zone
//! UTC and bytes in hex) are brought into one form, in which equal values are equal texts: numbers
//! without zeros that do not count, JSON with sorted keys, arrays as JSON.

use bson::Bson;
use bson::spec::BinarySubtype;
use uuid::Uuid;

use crate::id::IdScheme;
use crate::schema::{BaseType, EnumType};

/// Why a value is refused: the reason's code in the ledger.
pub type Refused = &'static str;

/// What one cell holds, as the second path understands it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Scalar(BaseType),
    /// An array of so many dimensions, and whether its elements may be NULL.
    List(BaseType, u8, bool),
}

/// What a column's type is restricted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    None,
    Chars(usize),
    SecondDigits(u32),
    Numeric(i64, i64),
}

/// The cell that is exactly the value, in the common form.
pub(super) fn expected(
    kind: Kind,
    limit: Limit,
    ids: IdScheme,
    value: &Bson,
) -> Result<String, Refused> {
    let (base, dimensions, nullable) = match kind {
        Kind::Scalar(base) => return scalar(base, limit, ids, value),
        Kind::List(base, dimensions, nullable) => (base, dimensions, nullable),
    };
    if let (Bson::Binary(binary), BaseType::Float4 | BaseType::Float8, 1) =
        (value, base, dimensions)
        && binary.subtype == BinarySubtype::Vector
    {
        let numbers = vector(&binary.bytes).ok_or("malformed")?;
        let parts: Vec<_> = numbers.into_iter().map(|number| quoted(&float_text(number))).collect();
        return Ok(format!("[{}]", parts.join(",")));
    }
    let Bson::Array(elements) = value else { return Err("type") };
    let mut parts = Vec::with_capacity(elements.len());
    let mut length = None;
    for element in elements {
        if dimensions == 2 {
            let Bson::Array(inner) = element else { return Err("type") };
            let part = expected(Kind::List(base, 1, nullable), limit, ids, element)?;
            if inner.is_empty() || length.is_some_and(|length| length != inner.len()) {
                return Err("shape");
            }
            length = Some(inner.len());
            parts.push(part);
        } else if *element == Bson::Null {
            if !nullable {
                return Err("type");
            }
            parts.push("null".to_owned());
        } else {
            parts.push(quoted(&scalar(base, limit, ids, element)?));
        }
    }
    Ok(format!("[{}]", parts.join(",")))
}

/// The numbers of a vector: a byte for their type, one for the bits at the end that do not count,
/// and the numbers.
/// <https://github.com/mongodb/specifications/blob/master/source/bson-binary-vector/bson-binary-vector.md>
fn vector(bytes: &[u8]) -> Option<Vec<f64>> {
    let (&[kind, padding], numbers) = bytes.split_first_chunk::<2>()?;
    match (kind, padding) {
        (0x27, 0) if numbers.len().is_multiple_of(4) => Some(
            numbers
                .chunks(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]).into())
                .collect(),
        ),
        (0x03, 0) => Some(numbers.iter().map(|byte| f64::from(*byte as i8)).collect()),
        (0x10, 0..=7) if padding == 0 || !numbers.is_empty() => {
            let bits: String = numbers.iter().map(|byte| format!("{byte:08b}")).collect();
            let counted = &bits[..bits.len() - usize::from(padding)];
            Some(counted.bytes().map(|bit| f64::from(bit - b'0')).collect())
        }
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn scalar(base: BaseType, limit: Limit, ids: IdScheme, value: &Bson) -> Result<String, Refused> {
    match base {
        BaseType::Text => {
            let Bson::String(text) = value else { return Err("type") };
            checked_text(text)?;
            match limit {
                Limit::Chars(most) if text.chars().count() > most => Err("too_long"),
                _ => Ok(text.clone()),
            }
        }
        BaseType::Bool => match value {
            Bson::Boolean(truth) => Ok(truth.to_string()),
            _ => Err("type"),
        },
        BaseType::Int2 => integer(value, i16::MIN.into(), i16::MAX.into()),
        BaseType::Int4 => integer(value, i32::MIN.into(), i32::MAX.into()),
        BaseType::Int8 => integer(value, i64::MIN, i64::MAX),
        BaseType::Float8 => Ok(float_text(double(value)?)),
        BaseType::Float4 => {
            let number = double(value)?;
            let short = number as f32;
            match number.is_nan() || f64::from(short) == number {
                true => Ok(float_text(short.into())),
                false if number.is_finite() && short.is_infinite() => Err("range"),
                false => Err("too_long"),
            }
        }
        BaseType::Numeric => numeric(value, limit),
        BaseType::Uuid => id(ids, value).ok_or("type"),
        BaseType::Timestamp | BaseType::TimestampTz => {
            let Bson::DateTime(time) = value else { return Err("type") };
            let zone = if base == BaseType::TimestampTz { "+00" } else { "" };
            timestamp(time.timestamp_millis(), zone, limit)
        }
        BaseType::Date => {
            let Bson::DateTime(time) = value else { return Err("type") };
            date(time.timestamp_millis())
        }
        BaseType::Jsonb => {
            let mut json = String::new();
            write_json(value, 0, &mut json)?;
            Ok(sorted_json(&json).unwrap_or(json))
        }
        BaseType::Bytea => {
            let Bson::Binary(binary) = value else { return Err("type") };
            match binary.subtype {
                BinarySubtype::Generic
                | BinarySubtype::BinaryOld
                | BinarySubtype::UserDefined(_) => {
                    let hex: String =
                        binary.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    Ok(format!("\\x{hex}"))
                }
                _ => Err("type"),
            }
        }
        BaseType::Enum(ty) => label(ty, value),
        BaseType::Other(_) => Err("invalid"),
    }
}

fn checked_text(text: &str) -> Result<(), Refused> {
    if text.contains('\0') { Err("nul") } else { Ok(()) }
}

fn label(ty: &EnumType, value: &Bson) -> Result<String, Refused> {
    match value {
        Bson::String(label) if ty.labels.contains(&label.as_str()) => Ok(label.clone()),
        Bson::String(_) => Err("label"),
        _ => Err("type"),
    }
}

/// A whole number of any BSON type.
fn integer(value: &Bson, min: i64, max: i64) -> Result<String, Refused> {
    let number: i128 = match value {
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) if !number.is_finite() => return Err("not_finite"),
        Bson::Double(number) if number.fract() != 0.0 => return Err("fraction"),
        // Beyond what an i128 is sure to hold, and what any column does.
        Bson::Double(number) if number.abs() > 1e30 => return Err("range"),
        Bson::Double(number) => *number as i128,
        Bson::Decimal128(number) => {
            let decimal = Decimal::parse(&number.to_string()).ok_or("not_finite")?;
            if decimal.exponent < 0 {
                return Err("fraction");
            }
            if decimal.digits.len() as i64 + decimal.exponent > 35 {
                return Err("range");
            }
            decimal.plain().parse().map_err(|_| "range")?
        }
        _ => return Err("type"),
    };
    match (i128::from(min)..=i128::from(max)).contains(&number) {
        true => Ok(number.to_string()),
        false => Err("range"),
    }
}

/// The double that is exactly the value.
fn double(value: &Bson) -> Result<f64, Refused> {
    let (number, spelled) = match value {
        Bson::Double(number) => return Ok(*number),
        Bson::Int32(number) => return Ok((*number).into()),
        Bson::Int64(number) => (*number as f64, number.to_string()),
        Bson::Decimal128(number) => {
            let spelled = number.to_string();
            match spelled.as_str() {
                "NaN" => return Ok(f64::NAN),
                "Infinity" => return Ok(f64::INFINITY),
                "-Infinity" => return Ok(f64::NEG_INFINITY),
                _ => (spelled.parse().map_err(|_| "type")?, spelled),
            }
        }
        _ => return Err("type"),
    };
    // All digits that the double stands for.
    let whole = Decimal::parse(&format!("{number:.1074}"));
    match number.is_finite() && whole == Decimal::parse(&spelled) {
        true => Ok(number),
        false => Err("too_long"),
    }
}

fn float_text(number: f64) -> String {
    format!("{number:?}")
}

fn numeric(value: &Bson, limit: Limit) -> Result<String, Refused> {
    let spelled = match value {
        Bson::Int32(number) => number.to_string(),
        Bson::Int64(number) => number.to_string(),
        Bson::Double(number) if number.is_nan() => "NaN".to_owned(),
        Bson::Double(number) if number.is_infinite() && *number > 0.0 => "Infinity".to_owned(),
        Bson::Double(number) if number.is_infinite() => "-Infinity".to_owned(),
        // The shortest decimal that reads back as the double.
        Bson::Double(number) => number.to_string(),
        Bson::Decimal128(number) => number.to_string(),
        _ => return Err("type"),
    };
    let Some(decimal) = Decimal::parse(&spelled) else {
        return match limit {
            Limit::Numeric(..) if spelled != "NaN" => Err("not_finite"),
            _ => Ok(spelled),
        };
    };
    if let Limit::Numeric(precision, scale) = limit
        && !decimal.digits.is_empty()
    {
        if -decimal.exponent > scale {
            return Err("too_long");
        }
        if decimal.digits.len() as i64 + decimal.exponent > precision - scale {
            return Err("range");
        }
    }
    Ok(decimal.plain())
}

/// A number as its digits without zeros around them, and the power of ten behind.
#[derive(Debug, PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a spelling as in `-12.00` or `7E+2`; `None` for all that is no number.
    fn parse(spelling: &str) -> Option<Self> {
        let (mantissa, exponent) = match spelling.split_once(['E', 'e']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (spelling, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.chars().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let zeros = all.len() - all.trim_end_matches('0').len();
        let exponent = exponent - fraction.len() as i64 + zeros as i64;
        Some(Self { negative, digits: digits.to_owned(), exponent })
    }

    /// The number without an exponent.
    fn plain(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        if self.exponent >= 0 {
            return format!("{sign}{}{}", self.digits, "0".repeat(self.exponent as usize));
        }
        let behind = self.exponent.unsigned_abs() as usize;
        let padded = format!("{:0>width$}", self.digits, width = behind + 1);
        let (before, after) = padded.split_at(padded.len() - behind);
        format!("{sign}{before}.{after}")
    }
}

/// The day as people write it: year, month, day. The Gregorian calendar, also before it began.
fn civil(days: i64) -> (i64, i64, i64) {
    // 400 years have 146,097 days. Years begin in March here, so that a leap day is their last.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A year as PostgreSQL prints it, and what stands behind the date before the year 1.
fn year_text(year: i64) -> (String, &'static str) {
    if year > 0 { (format!("{year:04}"), "") } else { (format!("{:04}", 1 - year), " BC") }
}

/// The first day that PostgreSQL has: day 0 of the Julian count.
const FIRST_DAY: i64 = -2_440_588;
const DAY: i64 = 86_400_000;

fn timestamp(millis: i64, zone: &str, limit: Limit) -> Result<String, Refused> {
    let (days, rest) = (millis.div_euclid(DAY), millis.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    if days < FIRST_DAY || year > 294_276 {
        return Err("range");
    }
    if let Limit::SecondDigits(digits) = limit
        && digits < 3
        && rest % 10_i64.pow(3 - digits) != 0
    {
        return Err("too_long");
    }
    let (year, era) = year_text(year);
    let (seconds, thousandths) = (rest / 1000, rest % 1000);
    let mut text = format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if thousandths > 0 {
        text.push_str(format!(".{thousandths:03}").trim_end_matches('0'));
    }
    Ok(format!("{text}{zone}{era}"))
}

fn date(millis: i64) -> Result<String, Refused> {
    if millis.rem_euclid(DAY) != 0 {
        return Err("fraction");
    }
    let days = millis.div_euclid(DAY);
    let (year, month, day) = civil(days);
    if days < FIRST_DAY || year > 5_874_897 {
        return Err("range");
    }
    let (year, era) = year_text(year);
    Ok(format!("{year}-{month:02}-{day:02}{era}"))
}

/// Seconds since 1970 inside an `_id` that is an ObjectId or its hex digits.
pub(super) fn id_seconds(id: Option<&Bson>) -> Option<i64> {
    let hex = match id? {
        Bson::ObjectId(id) => id.to_hex(),
        Bson::String(text) if is_hex_id(text) => text.clone(),
        _ => return None,
    };
    i64::from_str_radix(&hex[..8], 16).ok()
}

/// The UUID of a reference or of an element: an ObjectId, its hex digits, or a UUID.
pub(super) fn id(ids: IdScheme, value: &Bson) -> Option<String> {
    match value {
        Bson::ObjectId(id) => Some(uuid_of_object_id(ids, &id.to_hex())),
        Bson::String(text) if is_hex_id(text) => Some(uuid_of_object_id(ids, &text.to_lowercase())),
        Bson::Binary(binary)
            if matches!(binary.subtype, BinarySubtype::Uuid | BinarySubtype::UuidOld) =>
        {
            let bytes: [u8; 16] = binary.bytes.clone().try_into().ok()?;
            Some(Uuid::from_bytes(bytes).to_string())
        }
        _ => None,
    }
}

/// The UUID of any `_id`.
pub(super) fn own_id(ids: IdScheme, value: &Bson) -> String {
    if let Some(id) = id(ids, value) {
        return id;
    }
    // Over the type's number and the value's bytes; whole numbers of every type count as int64,
    // because MongoDB holds them equal.
    let value = match value {
        Bson::Int32(number) => Bson::Int64(i64::from(*number)),
        Bson::Double(number)
            if number.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(number) =>
        {
            Bson::Int64(*number as i64)
        }
        other => other.clone(),
    };
    let document = bson::doc! { "v": value }.to_vec().unwrap_or_default();
    // A document is its length (4 bytes), the type, `v` and a zero byte, the value, a zero byte.
    let mut bytes = vec![document[4]];
    bytes.extend_from_slice(&document[7..document.len() - 1]);
    match ids {
        IdScheme::Random(key) => drawn(key, &bytes),
        IdScheme::V8 | IdScheme::V7 => {
            let namespace = Uuid::from_u128(0x6c5b_3b5e_8f0b_5d0e_9a52_2f1f_0d7a_91c4);
            Uuid::new_v5(&namespace, &bytes).to_string()
        }
    }
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 24 && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// The UUID of an ObjectId, bit by bit: 48 bits of milliseconds, the version, 12 bits, the
/// variant, 52 bits, ten zeros.
fn uuid_of_object_id(ids: IdScheme, hex: &str) -> String {
    let version = match ids {
        IdScheme::V8 => "1000",
        IdScheme::V7 => "0111",
        IdScheme::Random(key) => {
            let bytes: Vec<u8> = (0..12)
                .filter_map(|byte| u8::from_str_radix(&hex[2 * byte..2 * byte + 2], 16).ok())
                .collect();
            return drawn(key, &bytes);
        }
    };
    let seconds = u64::from_str_radix(&hex[..8], 16).unwrap_or_default();
    let rest = u64::from_str_radix(&hex[8..], 16).unwrap_or_default();
    let rest = format!("{rest:064b}");
    let bits =
        format!("{:048b}{version}{}10{}0000000000", seconds * 1000, &rest[..12], &rest[12..]);
    Uuid::from_u128(u128::from_str_radix(&bits, 2).unwrap_or_default()).to_string()
}

/// Version 5 under the run's key, called version 4.
fn drawn(key: [u8; 16], bytes: &[u8]) -> String {
    let mut text = Uuid::new_v5(&Uuid::from_bytes(key), bytes).to_string();
    text.replace_range(14..15, "4");
    text
}

/// How deep documents may be nested.
const DEEPEST: usize = 200;

/// Plain JSON of a value: ids as hex digits, times as ISO 8601.
fn write_json(value: &Bson, depth: usize, out: &mut String) -> Result<(), Refused> {
    let text = |text: &str, out: &mut String| {
        checked_text(text)?;
        out.push_str(&quoted(text));
        Ok::<(), Refused>(())
    };
    if depth >= DEEPEST && matches!(value, Bson::Array(_) | Bson::Document(_)) {
        return Err("shape");
    }
    match value {
        Bson::Null => out.push_str("null"),
        Bson::Boolean(truth) => out.push_str(&truth.to_string()),
        Bson::Int32(number) => out.push_str(&number.to_string()),
        Bson::Int64(number) => out.push_str(&number.to_string()),
        Bson::Double(number) if !number.is_finite() => return Err("not_finite"),
        Bson::Double(number) => out.push_str(&number.to_string()),
        Bson::String(string) => text(string, out)?,
        Bson::ObjectId(id) => text(&id.to_hex(), out)?,
        Bson::DateTime(time) => match iso_time(time.timestamp_millis()) {
            Some(iso) => text(&iso, out)?,
            None => out.push_str(&format!(
                "{{\"$date\":{{\"$numberLong\":\"{}\"}}}}",
                time.timestamp_millis()
            )),
        },
        Bson::Array(elements) => {
            out.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_json(element, depth + 1, out)?;
            }
            out.push(']');
        }
        Bson::Document(document) => {
            out.push('{');
            for (position, (key, element)) in document.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                text(key, out)?;
                out.push(':');
                write_json(element, depth + 1, out)?;
            }
            out.push('}');
        }
        Bson::Decimal128(number) => {
            let decimal = Decimal::parse(&number.to_string()).ok_or("not_finite")?;
            let sign = if decimal.negative { "-" } else { "" };
            match decimal.digits.is_empty() {
                true => out.push('0'),
                false => out.push_str(&format!("{sign}{}e{}", decimal.digits, decimal.exponent)),
            }
        }
        Bson::Binary(binary) => {
            let is_uuid = matches!(binary.subtype, BinarySubtype::Uuid | BinarySubtype::UuidOld);
            match <[u8; 16]>::try_from(binary.bytes.as_slice()) {
                Ok(bytes) if is_uuid => text(&Uuid::from_bytes(bytes).to_string(), out)?,
                _ => text(&base64(&binary.bytes), out)?,
            }
        }
        // What JSON has nothing for is canonical Extended JSON.
        Bson::Undefined => out.push_str("{\"$undefined\":true}"),
        Bson::MinKey => out.push_str("{\"$minKey\":1}"),
        Bson::MaxKey => out.push_str("{\"$maxKey\":1}"),
        Bson::Timestamp(time) => out.push_str(&format!(
            "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}",
            time.time, time.increment
        )),
        Bson::RegularExpression(regex) => {
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            text(regex.pattern.as_str(), out)?;
            out.push_str(",\"options\":");
            text(regex.options.as_str(), out)?;
            out.push_str("}}");
        }
        Bson::JavaScriptCode(code) => {
            out.push_str("{\"$code\":");
            text(code, out)?;
            out.push('}');
        }
        Bson::Symbol(symbol) => {
            out.push_str("{\"$symbol\":");
            text(symbol, out)?;
            out.push('}');
        }
        other => {
            let json = other.clone().into_canonical_extjson().to_string();
            // An escape, and no escaped backslash before `u0000`.
            if json.replace("\\\\", "").contains("\\u0000") {
                return Err("nul");
            }
            out.push_str(&json);
        }
    }
    Ok(())
}

/// Milliseconds since 1970 as ISO 8601 with three digits of the second; `None` where the year has
/// not four digits.
fn iso_time(millis: i64) -> Option<String> {
    let (year, month, day) = civil(millis.div_euclid(DAY));
    let rest = millis.rem_euclid(DAY);
    let (seconds, thousandths) = (rest / 1000, rest % 1000);
    (0..10_000).contains(&year).then(|| {
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{thousandths:03}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    })
}

/// Base64 by its table, six bits at a time.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    while !bits.len().is_multiple_of(6) {
        bits.push('0');
    }
    let mut text: String = (0..bits.len() / 6)
        .map(|digit| {
            let digit = usize::from_str_radix(&bits[6 * digit..6 * digit + 6], 2);
            DIGITS[digit.unwrap_or_default()] as char
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// A cell as PostgreSQL prints it, in the common form.
pub(super) fn found(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Scalar(base) => found_scalar(base, text),
        Kind::List(base, ..) => {
            let mut rest = text;
            // Bounds other than 1 are printed in front, as in `[0:1]={a,b}`, and are a difference.
            match found_list(base, &mut rest) {
                Some(list) if rest.is_empty() => list,
                _ => text.to_owned(),
            }
        }
    }
}

fn found_scalar(base: BaseType, text: &str) -> String {
    match base {
        BaseType::Numeric => {
            Decimal::parse(text).map_or_else(|| text.to_owned(), |decimal| decimal.plain())
        }
        BaseType::Float8 => text.parse().map_or_else(|_| text.to_owned(), float_text),
        BaseType::Float4 => {
            text.parse().map_or_else(|_| text.to_owned(), |short: f32| float_text(short.into()))
        }
        BaseType::Jsonb => sorted_json(text).unwrap_or_else(|| text.to_owned()),
        _ => text.to_owned(),
    }
}

/// Reads an array as PostgreSQL prints it, and what stands behind it stays in `rest`.
fn found_list(base: BaseType, rest: &mut &str) -> Option<String> {
    let mut parts = Vec::new();
    *rest = rest.strip_prefix('{')?;
    while !rest.starts_with('}') {
        if !parts.is_empty() {
            *rest = rest.strip_prefix(',')?;
        }
        if rest.starts_with('{') {
            parts.push(found_list(base, rest)?);
        } else if let Some(quoted_text) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut characters = quoted_text.char_indices();
            let end = loop {
                match characters.next()? {
                    (_, '\\') => text.push(characters.next()?.1),
                    (end, '"') => break end,
                    (_, character) => text.push(character),
                }
            };
            *rest = &quoted_text[end + 1..];
            parts.push(quoted(&found_scalar(base, &text)));
        } else {
            let end = rest.find([',', '}'])?;
            let (text, behind) = rest.split_at(end);
            *rest = behind;
            parts.push(match text {
                "NULL" => "null".to_owned(),
                text => quoted(&found_scalar(base, text)),
            });
        }
    }
    *rest = rest.strip_prefix('}')?;
    Some(format!("[{}]", parts.join(",")))
}

/// JSON with sorted keys, without space, and with numbers in one form; `None` for all that is no
/// JSON.
fn sorted_json(text: &str) -> Option<String> {
    let mut rest = text.trim_start();
    let json = json_value(&mut rest)?;
    rest.is_empty().then_some(json)
}

/// Takes one value and the space behind it off the text.
fn json_value(rest: &mut &str) -> Option<String> {
    let json = match rest.chars().next()? {
        '"' => json_string(rest)?,
        '[' => {
            *rest = rest[1..].trim_start();
            let mut parts = Vec::new();
            while !rest.starts_with(']') {
                if !parts.is_empty() {
                    *rest = rest.strip_prefix(',')?.trim_start();
                }
                parts.push(json_value(rest)?);
            }
            *rest = &rest[1..];
            format!("[{}]", parts.join(","))
        }
        '{' => {
            *rest = rest[1..].trim_start();
            let mut parts = Vec::new();
            while !rest.starts_with('}') {
                if !parts.is_empty() {
                    *rest = rest.strip_prefix(',')?.trim_start();
                }
                let key = json_string(rest)?;
                *rest = rest.trim_start().strip_prefix(':')?.trim_start();
                parts.push(format!("{key}:{}", json_value(rest)?));
            }
            *rest = &rest[1..];
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        _ => {
            let end = rest
                .find(|character: char| ",]}".contains(character) || character.is_whitespace())
                .unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            *rest = behind;
            match word {
                "true" | "false" | "null" => word.to_owned(),
                number => {
                    let decimal = Decimal::parse(number)?;
                    let sign = if decimal.negative { "-" } else { "" };
                    match (decimal.digits.is_empty(), decimal.exponent) {
                        (true, _) => "0".to_owned(),
                        (false, -20..=20) => decimal.plain(),
                        (false, exponent) => format!("{sign}{}e{exponent}", decimal.digits),
                    }
                }
            }
        }
    };
    *rest = rest.trim_start();
    Some(json)
}

fn json_string(rest: &mut &str) -> Option<String> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find_map(|(index, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(index)
    })?;
    let (literal, behind) = rest.split_at(end + 1);
    *rest = behind;
    let text: String = serde_json::from_str(literal).ok()?;
    Some(quoted(&text))
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};

    use super::*;

    const IDS: IdScheme = IdScheme::V8;

    #[test]
    fn the_worked_example_of_identity() {
        let id = Bson::ObjectId(ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap());
        assert_eq!(own_id(IDS, &id), "013a7092-e8d8-8bcf-a1b3-5e650e404400");
    }

    #[test]
    fn base64_has_its_padding() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn decimals() {
        for (spelling, plain) in [
            ("7", "7"),
            ("-12.00", "-12"),
            ("7E+2", "700"),
            ("0.00120", "0.0012"),
            ("15E-1", "1.5"),
            ("0E-6176", "0"),
            ("-0.0", "0"),
        ] {
            assert_eq!(Decimal::parse(spelling).unwrap().plain(), plain, "{spelling}");
        }
        for spelling in ["NaN", "-Infinity", "", ".", "1e", "x"] {
            assert_eq!(Decimal::parse(spelling), None, "{spelling}");
        }
    }

    #[test]
    fn whole_numbers_of_every_type() {
        let whole = |text: &str| {
            let value = Bson::Decimal128(text.parse().unwrap());
            expected(Kind::Scalar(BaseType::Int8), Limit::None, IDS, &value)
        };
        for (spelling, number) in [
            ("-12.00", Ok("-12")),
            ("1.5E+1", Ok("15")),
            ("1.5", Err("fraction")),
            ("150E-1", Ok("15")),
            ("1E+6000", Err("range")),
            ("NaN", Err("not_finite")),
        ] {
            assert_eq!(whole(spelling), number.map(str::to_owned), "{spelling}");
        }
    }

    #[test]
    fn days_and_times() {
        let at = |millis| timestamp(millis, "", Limit::None);
        assert_eq!(at(0).unwrap(), "1970-01-01 00:00:00");
        assert_eq!(at(-1).unwrap(), "1969-12-31 23:59:59.999");
        assert_eq!(at(1_709_164_800_120).unwrap(), "2024-02-29 00:00:00.12");
        assert_eq!(at(-62_135_596_800_001).unwrap(), "0001-12-31 23:59:59.999 BC");
        assert_eq!(at(-210_866_803_200_000).unwrap(), "4714-11-24 00:00:00 BC");
        assert_eq!(at(-210_866_803_200_001), Err("range"));
        assert_eq!(at(9_224_318_015_999_999).unwrap(), "294276-12-31 23:59:59.999");
        assert_eq!(at(9_224_318_016_000_000), Err("range"));
        assert_eq!(timestamp(1, "+00", Limit::SecondDigits(2)), Err("too_long"));
        assert_eq!(date(DAY), Ok("1970-01-02".to_owned()));
    }

    #[test]
    fn what_postgresql_prints_comes_to_the_same() {
        let list = Kind::List(BaseType::Text, 1, true);
        let value = bson::bson!(["a b", "", "NULL", null, "q\"\\", "{,}"]);
        assert_eq!(
            expected(list, Limit::None, IDS, &value).unwrap(),
            found(list, r#"{"a b","","NULL",NULL,"q\"\\","{,}"}"#)
        );
        let grid = Kind::List(BaseType::Numeric, 2, false);
        let value = bson::bson!([[1, 2.5], [3_i64, 4.0]]);
        assert_eq!(
            expected(grid, Limit::None, IDS, &value).unwrap(),
            found(grid, "{{1.00,2.5},{3,4}}")
        );
        let json = Kind::Scalar(BaseType::Jsonb);
        let value = Bson::Document(doc! { "b": [1.50, "x\u{e9}\n"], "a": { "z": Bson::Null } });
        assert_eq!(
            expected(json, Limit::None, IDS, &value).unwrap(),
            found(json, r#"{"a": {"z": null}, "b": [1.500, "x\u00e9\n"]}"#)
        );
        let double = Kind::Scalar(BaseType::Float8);
        for (number, printed) in [(0.1, "0.1"), (1e300, "1e+300"), (-0.0, "-0"), (f64::NAN, "NaN")]
        {
            let value = Bson::Double(number);
            assert_eq!(expected(double, Limit::None, IDS, &value).unwrap(), found(double, printed));
        }
    }
}
