//! `jsonb`, from any BSON value.
//!
//! Two forms. *Plain* JSON is for reading: ids as hex, dates as ISO 8601, numbers as numbers,
//! binaries as base64, and what JSON has nothing for as canonical Extended JSON. *Canonical
//! Extended JSON* (`json = "extended"`) keeps every BSON type. Both refuse what jsonb cannot hold
//! or would silently change: U+0000, NaN and infinities as numbers, the same key twice.
//!
//! Format: `jsonb_recv`, a version byte and the text.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::spec::ElementType;

use super::bytes::check_inner_length;
use super::numeric::{Number, decimal_digits};
use super::object_id::stored_uuid;
use super::{CellContext, Mismatch, PathStep, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::{Elements, Value};

/// A `jsonb` column: any BSON value, or JSON text for defaults and own conversions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string())
    }
}

impl FromStr for Json {
    type Err = serde_json::Error;

    /// Takes JSON text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str::<serde_json::Value>(text).map(Self::from)
    }
}

impl Default for Json {
    /// JSON's `null`.
    fn default() -> Self {
        Self("null".to_owned())
    }
}

impl ToCell for Json {
    const TYPE: CellType = CellType::scalar(BaseType::Jsonb);
    type Literal = Self;

    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        write_jsonb(Style::PLAIN, value, out)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        if has_nul_escape(&self.0) {
            return Err(nul("JSON with \\u0000"));
        }
        out.push(JSONB_VERSION);
        out.extend_from_slice(self.0.as_bytes());
        check_jsonb_size(self.0.as_bytes())?;
        Ok(Wrote::Payload)
    }
}

impl Scalar for Json {}

/// Encodes a value as canonical Extended JSON, for `json = "extended"`.
///
/// # Errors
/// As [`ToCell::encode`] of [`Json`].
pub fn encode_extended(
    value: Value<'_>,
    _: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    write_jsonb(Style::CANONICAL, value, out)
}

/// A document as canonical Extended JSON for people: never refused. What is no BSON ends the
/// text with the key `$malformed`; text that is not UTF-8 gets U+FFFD.
pub fn extended_json(document: &[u8]) -> String {
    let mut out = Vec::with_capacity(document.len() * 2);
    let value = Value::new(ElementType::EmbeddedDocument, document);
    // With this style the only error is bytes that are no BSON.
    if Style::LEDGER.value(value, 0, &mut out).is_err() {
        out.clear();
        let _ = write!(out, "{{\"$malformed\":\"{}\"}}", STANDARD.encode(document));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An `_id` for people: the bare hex digits of an ObjectId, the way to an element of a child, else
/// relaxed Extended JSON.
pub fn id_text(value: Value<'_>) -> String {
    let mut out = Vec::new();
    match value.kind {
        ElementType::ObjectId => write_hex(value.bytes, &mut out),
        ElementType::EmbeddedDocument
            if let Some(text) =
                value.to_bson().ok().and_then(|id| crate::feed::locator_text(&id)) =>
        {
            return text;
        }
        _ if Style::ID.value(value, 0, &mut out).is_err() => return String::new(),
        _ => {}
    }
    String::from_utf8_lossy(&out).into_owned()
}

const JSONB_VERSION: u8 = 1;

/// How deep documents may be nested.
///
/// MongoDB stores at most 180 levels. PostgreSQL's parser recurses as well and gives up where its
/// stack of 2 MB ends, which is several thousand levels further.
const MAX_DEPTH: usize = 200;

/// The most bytes that the elements of one jsonb container may have together.
const JSONB_MAX_BYTES: usize = 0x0fff_ffff;

fn write_jsonb(style: Style, value: Value<'_>, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
    out.push(JSONB_VERSION);
    let start = out.len();
    style.value(value, 0, out)?;
    check_jsonb_size(&out[start..])?;
    Ok(Wrote::Payload)
}

/// Refuses a text that could become a jsonb beyond its limit of 256 MB.
fn check_jsonb_size(text: &[u8]) -> Result<(), Mismatch> {
    /// An entry of 4 bytes and an aligned numeric: a value needs at most so much beside its text.
    const BYTES_PER_VALUE: usize = 24;
    // With nothing but one-digit numbers half of the text's bytes would be values.
    if text.len() < JSONB_MAX_BYTES / (BYTES_PER_VALUE / 2 + 1) {
        return Ok(());
    }
    let values = text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count() + 1;
    if text.len() + values * BYTES_PER_VALUE <= JSONB_MAX_BYTES {
        return Ok(());
    }
    Err(Mismatch::new(
        Reason::TooLong,
        "jsonb of at most 256 MB",
        format!("JSON text of {} bytes with about {values} values", text.len()),
    ))
}

#[cold]
fn nul(found: &str) -> Mismatch {
    Mismatch::new(Reason::Nul, "JSON without U+0000", found)
}

/// Whether a JSON text has `\u0000` as an escape (and not as an escaped backslash before `u0000`).
fn has_nul_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut offset = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[offset..]) {
        offset += found;
        if bytes[offset..].starts_with(b"\\u0000") {
            return true;
        }
        offset += 2;
        if offset >= bytes.len() {
            break;
        }
    }
    false
}

/// How values are written.
#[derive(Clone, Copy)]
struct Style {
    form: Form,
    /// Refuses what jsonb cannot hold.
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Relaxed,
    Canonical,
}

impl Style {
    const PLAIN: Self = Self { form: Form::Plain, strict: true };
    const CANONICAL: Self = Self { form: Form::Canonical, strict: true };
    const LEDGER: Self = Self { form: Form::Canonical, strict: false };
    const ID: Self = Self { form: Form::Relaxed, strict: false };

    fn value(self, value: Value<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        match value.kind {
            ElementType::String => self.string(value.str_bytes(), value, out)?,
            ElementType::Int32 => {
                self.integer("{\"$numberInt\":\"", i32::from_le_bytes(value.fixed()).into(), out);
            }
            ElementType::Int64 => {
                self.integer("{\"$numberLong\":\"", i64::from_le_bytes(value.fixed()), out);
            }
            ElementType::Double => self.double(value, out)?,
            ElementType::Decimal128 => self.decimal(value, out)?,
            ElementType::Boolean => {
                out.extend_from_slice(if value.bytes[0] == 0 { b"false" } else { b"true" });
            }
            ElementType::Null => out.extend_from_slice(b"null"),
            ElementType::ObjectId => {
                let bare = self.form == Form::Plain;
                out.extend_from_slice(if bare { b"\"" } else { b"{\"$oid\":\"" });
                write_hex(value.bytes, out);
                out.extend_from_slice(if bare { b"\"" } else { b"\"}" });
            }
            ElementType::DateTime => self.date(i64::from_le_bytes(value.fixed()), out),
            ElementType::EmbeddedDocument => self.object(value, depth, out)?,
            ElementType::Array => self.array(value, depth, out)?,
            ElementType::Binary => self.binary(value, out)?,
            ElementType::Undefined => out.extend_from_slice(b"{\"$undefined\":true}"),
            ElementType::MinKey => out.extend_from_slice(b"{\"$minKey\":1}"),
            ElementType::MaxKey => out.extend_from_slice(b"{\"$maxKey\":1}"),
            ElementType::Timestamp => {
                let bits = u64::from_le_bytes(value.fixed());
                let (time, increment) = (bits >> 32, bits & 0xffff_ffff);
                let _ = write!(out, "{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}");
            }
            ElementType::RegularExpression => {
                let (pattern, options) = value.regex();
                out.extend_from_slice(b"{\"$regularExpression\":{\"pattern\":");
                self.string(pattern, value, out)?;
                out.extend_from_slice(b",\"options\":");
                self.string(options, value, out)?;
                out.extend_from_slice(b"}}");
            }
            ElementType::JavaScriptCode => {
                out.extend_from_slice(b"{\"$code\":");
                self.string(value.str_bytes(), value, out)?;
                out.push(b'}');
            }
            ElementType::Symbol => {
                out.extend_from_slice(b"{\"$symbol\":");
                self.string(value.str_bytes(), value, out)?;
                out.push(b'}');
            }
            ElementType::DbPointer => {
                let (name, id) = value.bytes.split_at(value.bytes.len() - 12);
                out.extend_from_slice(b"{\"$dbPointer\":{\"$ref\":");
                self.string(&name[4..name.len() - 1], value, out)?;
                out.extend_from_slice(b",\"$id\":{\"$oid\":\"");
                write_hex(id, out);
                out.extend_from_slice(b"\"}}}");
            }
            ElementType::JavaScriptCodeWithScope => {
                let (code, scope) =
                    code_with_scope(value.bytes).ok_or_else(|| Mismatch::malformed(value))?;
                out.extend_from_slice(b"{\"$code\":");
                self.string(code, value, out)?;
                out.extend_from_slice(b",\"$scope\":");
                // A scope belongs to Extended JSON, whatever is around it.
                let form = if self.form == Form::Plain { Form::Canonical } else { self.form };
                let scope = Value::new(ElementType::EmbeddedDocument, scope);
                Self { form, ..self }.value(scope, depth, out)?;
                out.push(b'}');
            }
        }
        Ok(())
    }

    fn object(self, value: Value<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        self.check_depth(depth)?;
        if self.strict {
            check_keys(value.elements())?;
        }
        out.push(b'{');
        let mut elements = value.elements();
        let mut first = true;
        while let Some(element) = elements.next() {
            let (key, value) = element?;
            if !first {
                out.push(b',');
            }
            first = false;
            self.string(key, value, out)
                .and_then(|()| {
                    out.push(b':');
                    self.value(value, depth + 1, out)
                })
                .map_err(|mismatch| mismatch.at(key_step(key)))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn array(self, value: Value<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        self.check_depth(depth)?;
        out.push(b'[');
        let mut elements = value.elements();
        let mut index = 0;
        while let Some(element) = elements.next() {
            let (_, value) = element?;
            if index > 0 {
                out.push(b',');
            }
            self.value(value, depth + 1, out)
                .map_err(|mismatch| mismatch.at(PathStep::Index(index)))?;
            index += 1;
        }
        out.push(b']');
        Ok(())
    }

    #[inline]
    fn check_depth(self, depth: usize) -> Result<(), Mismatch> {
        // The ledger has to show what was refused for its depth, within what the stack holds.
        let most = if self.strict { MAX_DEPTH } else { 5 * MAX_DEPTH };
        if depth < most {
            return Ok(());
        }
        Err(Mismatch::new(
            Reason::Shape,
            format!("at most {MAX_DEPTH} levels of nesting"),
            "a document nested deeper",
        ))
    }

    /// A string with its quotes; `value` is what a message names.
    #[inline]
    fn string(self, bytes: &[u8], value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        if std::str::from_utf8(bytes).is_err() && self.strict {
            return Err(Mismatch::utf8(value));
        }
        out.push(b'"');
        let mut done = 0;
        for (index, byte) in bytes.iter().enumerate() {
            let escape = ESCAPES[usize::from(*byte)];
            if escape == 0 {
                continue;
            }
            out.extend_from_slice(&bytes[done..index]);
            done = index + 1;
            match escape {
                b'u' => {
                    if *byte == 0 && self.strict {
                        return Err(nul("a string with U+0000"));
                    }
                    out.extend_from_slice(b"\\u00");
                    write_hex(&[*byte], out);
                }
                escape => out.extend_from_slice(&[b'\\', escape]),
            }
        }
        out.extend_from_slice(&bytes[done..]);
        out.push(b'"');
        Ok(())
    }

    fn integer(self, canonical: &str, number: i64, out: &mut Vec<u8>) {
        let wrapped = self.form == Form::Canonical;
        if wrapped {
            out.extend_from_slice(canonical.as_bytes());
        }
        write_integer(number, out);
        if wrapped {
            out.extend_from_slice(b"\"}");
        }
    }

    fn double(self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        let number = f64::from_le_bytes(value.fixed());
        if self.form != Form::Canonical && number.is_finite() {
            // Whole doubles below 2^53 are most of them, and quicker written as integers.
            if number.fract() == 0.0 && number.abs() < 9e15 {
                write_integer(number as i64, out);
            } else {
                Number::from_f64(number).write_json(out);
            }
            return Ok(());
        }
        if self.form == Form::Plain {
            return Err(Mismatch::found(Reason::NotFinite, "a finite number", value));
        }
        out.extend_from_slice(b"{\"$numberDouble\":\"");
        if number.is_nan() {
            out.extend_from_slice(b"NaN");
        } else if number.is_infinite() {
            out.extend_from_slice(if number > 0.0 { b"Infinity" } else { b"-Infinity" });
        } else {
            let _ = write!(out, "{number}");
            if number.fract() == 0.0 {
                out.extend_from_slice(b".0");
            }
        }
        out.extend_from_slice(b"\"}");
        Ok(())
    }

    fn decimal(self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        if self.form == Form::Plain {
            let finite = Number::from_decimal128(value.fixed()).write_json(out);
            return if finite {
                Ok(())
            } else {
                Err(Mismatch::found(Reason::NotFinite, "a finite number", value))
            };
        }
        let number = bson::Decimal128::from_bytes(value.fixed());
        let _ = write!(out, "{{\"$numberDecimal\":\"{number}\"}}");
        Ok(())
    }

    fn date(self, millis: i64, out: &mut Vec<u8>) {
        let iso = match self.form {
            Form::Plain => ISO_MS.contains(&millis),
            Form::Relaxed => millis >= 0 && ISO_MS.contains(&millis),
            Form::Canonical => false,
        };
        if !iso {
            out.extend_from_slice(b"{\"$date\":{\"$numberLong\":\"");
            write_integer(millis, out);
            out.extend_from_slice(b"\"}}");
            return;
        }
        let bare = self.form == Form::Plain;
        out.extend_from_slice(if bare { b"\"" } else { b"{\"$date\":\"" });
        write_iso(millis, out);
        out.extend_from_slice(if bare { b"\"" } else { b"\"}" });
    }

    fn binary(self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        check_inner_length(value)?;
        let (subtype, bytes) = value.binary();
        if self.form == Form::Plain {
            out.push(b'"');
            match stored_uuid(value) {
                Some(uuid) => {
                    let mut buffer = uuid::Uuid::encode_buffer();
                    let text = uuid::Uuid::from_bytes(uuid).hyphenated().encode_lower(&mut buffer);
                    out.extend_from_slice(text.as_bytes());
                }
                None => write_base64(bytes, out),
            }
            out.push(b'"');
            return Ok(());
        }
        out.extend_from_slice(b"{\"$binary\":{\"base64\":\"");
        write_base64(bytes, out);
        out.extend_from_slice(b"\",\"subType\":\"");
        write_hex(&[subtype], out);
        out.extend_from_slice(b"\"}}");
        Ok(())
    }
}

#[cold]
fn key_step(key: &[u8]) -> PathStep {
    PathStep::Key(String::from_utf8_lossy(key).into_owned())
}

/// For each byte of a JSON string the letter of its escape; 0 stands for itself, `u` for hex.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[0x08] = b'b';
    escapes[0x09] = b't';
    escapes[0x0a] = b'n';
    escapes[0x0c] = b'f';
    escapes[0x0d] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = bytes.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room is that of the text");
}

fn write_integer(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    let mut buffer = [0; 40];
    out.extend_from_slice(decimal_digits(number.unsigned_abs().into(), &mut buffer));
}

/// The instants whose year has four digits, 0000 to 9999.
const ISO_MS: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;

/// An instant as ISO 8601, if its year has four digits.
pub(crate) fn iso_date(millis: i64) -> Option<String> {
    let mut out = Vec::with_capacity(24);
    write_iso_date(millis, &mut out).then_some(())?;
    String::from_utf8(out).ok()
}

/// Appends an instant as ISO 8601; `false` if its year has not four digits.
pub(crate) fn write_iso_date(millis: i64, out: &mut Vec<u8>) -> bool {
    let fits = ISO_MS.contains(&millis);
    if fits {
        write_iso(millis, out);
    }
    fits
}

/// An instant of the years 0000 to 9999 as in `2024-02-29T23:59:59.001Z`.
fn write_iso(millis: i64, out: &mut Vec<u8>) {
    const DAY_MS: i64 = 86_400_000;
    let (days, time) = (millis.div_euclid(DAY_MS), millis.rem_euclid(DAY_MS) as u32);
    // The calendar repeats after 146,097 days; years are counted from March, so that the leap
    // day is the last one. 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month =
        (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }) as u32;
    let year = (year_of_era + era * 400 + i64::from(month <= 2)) as u32;
    let two = |number: u32| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
    let parts = [
        (year / 100, None),
        (year % 100, Some(b'-')),
        (month, Some(b'-')),
        (day, Some(b'T')),
        (time / 3_600_000, Some(b':')),
        (time / 60_000 % 60, Some(b':')),
        (time / 1000 % 60, Some(b'.')),
        (time / 10 % 100, None),
    ];
    for (number, behind) in parts {
        out.extend_from_slice(&two(number));
        out.extend(behind);
    }
    out.extend_from_slice(&[b'0' + (time % 10) as u8, b'Z']);
}

/// The code and the scope of a value whose outer length is known to fit.
fn code_with_scope(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    let end = 8_usize.checked_add(length)?;
    let code = bytes.get(8..end)?;
    let scope = &bytes[end..];
    (code.last() == Some(&0) && scope.len() >= 5).then(|| (&code[..code.len() - 1], scope))
}

thread_local! {
    static KEY_HASHES: RefCell<(RandomState, Vec<u64>)> = RefCell::default();
}

/// Refuses an object that has the same key twice: jsonb would keep only one of the values.
fn check_keys(mut elements: Elements<'_>) -> Result<(), Mismatch> {
    const FEW: usize = 16;
    let all = elements.clone();
    let mut keys: [&[u8]; FEW] = [&[]; FEW];
    let mut count = 0;
    while let Some(element) = elements.next() {
        let (key, _) = element?;
        if count == FEW {
            return check_many_keys(all);
        }
        if keys[..count].contains(&key) {
            return Err(duplicate_key(key));
        }
        keys[count] = key;
        count += 1;
    }
    Ok(())
}

/// The same for objects of any size, in the time that sorting takes, and without an allocation
/// once the thread has seen an object of that size.
fn check_many_keys(mut elements: Elements<'_>) -> Result<(), Mismatch> {
    let all = elements.clone();
    let suspicious = KEY_HASHES.with_borrow_mut(|(state, hashes)| {
        hashes.clear();
        while let Some(element) = elements.next() {
            let (key, _) = element?;
            hashes.push(state.hash_one(key));
        }
        hashes.sort_unstable();
        Ok::<_, Mismatch>(hashes.is_sorted_by(|a, b| a < b))
    })?;
    if suspicious {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for element in all {
        let (key, _) = element?;
        if !seen.insert(key) {
            return Err(duplicate_key(key));
        }
    }
    Ok(())
}

#[cold]
fn duplicate_key(key: &[u8]) -> Mismatch {
    Mismatch::new(Reason::DuplicateKey, "each key once", "the same key twice").at(key_step(key))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, mismatch, reason, value};
    use super::*;
    use bson::spec::BinarySubtype;
    use bson::{Binary, Bson, bson, doc};

    fn plain(value: &Bson) -> String {
        let payload = encode::<Json>(value);
        assert_eq!(payload[0], JSONB_VERSION);
        String::from_utf8(payload[1..].to_vec()).unwrap()
    }

    fn extended(bson: &Bson) -> String {
        let mut out = Vec::new();
        encode_extended(value(bson).value(), &context(), &mut out).unwrap();
        String::from_utf8(out.split_off(1)).unwrap()
    }

    #[test]
    fn plain_json_is_for_reading() {
        let id = bson::oid::ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        let document = bson!({
            "id": id,
            "at": bson::DateTime::from_millis(1_709_251_199_001),
            "n": [1, 2_i64, 3.5, -0.0, 1e300, 5.0],
            "d": Bson::Decimal128("1.00".parse().unwrap()),
            "ok": true,
            "none": null,
            "text": "a\"\\\n\u{1}ž",
        });
        assert_eq!(
            plain(&document),
            concat!(
                r#"{"id":"507f1f77bcf86cd799439011","at":"2024-02-29T23:59:59.001Z","#,
                r#""n":[1,2,3.5,0,1E+300,5],"d":1.00,"ok":true,"none":null,"#,
                r#""text":"a\"\\\n\u0001ž"}"#
            )
        );
    }

    #[test]
    fn what_json_has_nothing_for_is_extended() {
        let scope = doc! { "x": 1 };
        let code = bson::JavaScriptCodeWithScope { code: "x".into(), scope };
        assert_eq!(
            plain(&Bson::JavaScriptCodeWithScope(code)),
            r#"{"$code":"x","$scope":{"x":{"$numberInt":"1"}}}"#
        );
        assert_eq!(plain(&Bson::Undefined), r#"{"$undefined":true}"#);
        let year_10000 = Bson::DateTime(bson::DateTime::from_millis(253_402_300_800_000));
        assert_eq!(plain(&year_10000), r#"{"$date":{"$numberLong":"253402300800000"}}"#);
        let bytes = Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2, 3, 4] };
        assert_eq!(plain(&Bson::Binary(bytes)), r#""AQIDBA==""#);
        let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![0x11; 16] };
        assert_eq!(plain(&Bson::Binary(uuid)), r#""11111111-1111-1111-1111-111111111111""#);
    }

    #[test]
    fn iso_dates_agree_with_chrono() {
        for days in (-719_528..2_932_896).step_by(997) {
            let millis = days * 86_400_000 + 12_345_678;
            let mut out = Vec::new();
            write_iso(millis, &mut out);
            let time = chrono::DateTime::from_timestamp_millis(millis).unwrap();
            let expected = time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn jsonb_cannot_hold_these() {
        assert_eq!(reason::<Json>(&bson!({ "a": "x\0" })), Reason::Nul);
        assert_eq!(reason::<Json>(&bson!([f64::NAN])), Reason::NotFinite);
        assert_eq!(reason::<Json>(&bson!([f64::INFINITY])), Reason::NotFinite);
        let infinite = Bson::Decimal128("Infinity".parse().unwrap());
        assert_eq!(reason::<Json>(&infinite), Reason::NotFinite);
        assert_eq!(extended(&infinite), r#"{"$numberDecimal":"Infinity"}"#);
        assert_eq!(extended(&bson!(f64::NAN)), r#"{"$numberDouble":"NaN"}"#);
        let mismatch = mismatch::<Json>(&bson!({ "a": [{ "b.c": "\0" }] }), &context());
        assert_eq!(mismatch.path("tags"), "tags.a.0.b.c");
    }

    fn nested(levels: usize) -> Bson {
        (0..levels).fold(Bson::Null, |inner, _| Bson::Array(vec![inner]))
    }

    #[test]
    fn depth_has_a_limit() {
        encode::<Json>(&nested(MAX_DEPTH));
        assert_eq!(reason::<Json>(&nested(MAX_DEPTH + 1)), Reason::Shape);
    }

    /// A document of int32 with any keys, also with the same one twice.
    fn document_of(keys: impl Iterator<Item = String>) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for (index, key) in keys.enumerate() {
            bytes.push(ElementType::Int32 as u8);
            bytes.extend(key.as_bytes());
            bytes.push(0);
            bytes.extend((index as i32).to_le_bytes());
        }
        bytes.push(0);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    #[test]
    fn the_same_key_twice_is_refused_at_every_size() {
        for count in [2, 16, 17, 40] {
            let bytes = document_of((0..count).map(|index| match index {
                0 => "k".to_owned(),
                _ if index == count - 1 => "k".to_owned(),
                _ => format!("k{index}"),
            }));
            let value = Value::new(ElementType::EmbeddedDocument, &bytes);
            let mismatch = Json::encode(value, &context(), &mut Vec::new()).unwrap_err();
            assert_eq!(mismatch.reason(), Reason::DuplicateKey);
            assert_eq!(mismatch.path("x"), "x.k");
            assert!(extended_json(&bytes).starts_with(r#"{"k":{"$numberInt":"0"},"k"#));
        }
        let many: bson::Document =
            (0..40).map(|index| (format!("k{index}"), index.into())).collect();
        encode::<Json>(&Bson::Document(many));
    }

    #[test]
    fn own_json_is_checked() {
        let write = |json: Json| json.write(&context(), &mut Vec::new());
        assert!(write(serde_json::json!({ "a": "\\u0000" }).into()).is_ok());
        assert_eq!(write(serde_json::json!(["\0"]).into()).unwrap_err().reason(), Reason::Nul);
        assert!("{".parse::<Json>().is_err());
    }

    #[test]
    fn a_jsonb_beyond_its_size_is_refused() {
        let long = vec![b'1'; JSONB_MAX_BYTES + 1];
        assert_eq!(check_jsonb_size(&long).unwrap_err().reason(), Reason::TooLong);
        let mut many = b"[".to_vec();
        many.extend(b"1,".repeat(JSONB_MAX_BYTES / 20));
        assert_eq!(check_jsonb_size(&many).unwrap_err().reason(), Reason::TooLong);
        assert!(check_jsonb_size(&[b'1'; 20_000_000]).is_ok());
    }

    #[test]
    fn ids_for_people() {
        let text = |bson: Bson| id_text(value(&bson).value());
        let id = bson::oid::ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        assert_eq!(text(id.into()), "507f1f77bcf86cd799439011");
        assert_eq!(text("a\0b".into()), r#""a\u0000b""#);
        assert_eq!(text(5.into()), "5");
        assert_eq!(
            text(bson::DateTime::from_millis(0).into()),
            r#"{"$date":"1970-01-01T00:00:00.000Z"}"#
        );
        assert_eq!(text(bson!({ "a": id })), r#"{"a":{"$oid":"507f1f77bcf86cd799439011"}}"#);
    }

    #[test]
    fn the_ledger_shows_what_is_no_bson() {
        assert_eq!(extended_json(&[1, 2, 3]), r#"{"$malformed":"AQID"}"#);
    }
}
