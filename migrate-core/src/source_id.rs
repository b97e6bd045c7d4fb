//! The way back from a row's key to the document's `_id`, and the order of `_id`s.

use std::cmp::Ordering;

use bson::Bson;
use bson::spec::BinarySubtype;
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use uuid::Uuid;

use crate::cell::id_text;
use crate::cell::json::write_hex;
use crate::cell::mixed_id::ids_of_text;
use crate::id::IdScheme;
use crate::schema::{BaseType, Column, Model};
use crate::value::Elements;

/// The `_id`s that a row's key, as text, can have been made from, when the key alone tells; none
/// when only the id map does. A whole number may be stored under several types.
pub fn of_key(model: &Model, key: &str, scheme: IdScheme) -> Vec<Bson> {
    if model.has_locators() {
        return Vec::new();
    }
    let Some(id) = model.columns.iter().find(|column| column.primary_key) else {
        return Vec::new();
    };
    match id.ty.base {
        BaseType::Uuid => Uuid::parse_str(key)
            .ok()
            .and_then(|uuid| scheme.object_id(uuid))
            .map(Bson::ObjectId)
            .into_iter()
            .collect(),
        BaseType::Int2 | BaseType::Int4 | BaseType::Int8 => {
            let Ok(number) = key.parse::<i64>() else { return Vec::new() };
            let mut ids = vec![Bson::Int64(number), Bson::Double(number as f64)];
            ids.extend(i32::try_from(number).map(Bson::Int32));
            ids.extend(decimal(key));
            ids
        }
        BaseType::Float4 | BaseType::Float8 => {
            let Ok(number) = key.parse::<f64>() else { return Vec::new() };
            let mut ids = vec![Bson::Double(number)];
            ids.extend(whole(number));
            ids.extend(decimal(key));
            ids
        }
        BaseType::Numeric => {
            let mut ids: Vec<Bson> = decimal(key).into_iter().collect();
            if let Ok(number) = key.parse::<f64>() {
                ids.push(Bson::Double(number));
                ids.extend(whole(number));
            }
            ids
        }
        BaseType::Timestamp | BaseType::TimestampTz | BaseType::Date => {
            time(key).into_iter().collect()
        }
        BaseType::Bytea => bytes(key).into_iter().collect(),
        BaseType::Enum(_) => vec![Bson::String(key.to_owned())],
        BaseType::Bool => vec![Bson::Boolean(key == "t" || key == "true")],
        BaseType::Text if id.mixed => ids_of_text(key),
        BaseType::Text => vec![Bson::String(key.to_owned())],
        _ => Vec::new(),
    }
}

/// A number without a fraction under the types of whole numbers.
fn whole(number: f64) -> Vec<Bson> {
    if number.fract() != 0.0 || number.abs() >= 9e15 {
        return Vec::new();
    }
    let mut ids = vec![Bson::Int64(number as i64)];
    ids.extend(i32::try_from(number as i64).map(Bson::Int32));
    ids
}

fn decimal(text: &str) -> Option<Bson> {
    text.parse().ok().map(Bson::Decimal128)
}

/// A time as PostgreSQL writes it where the session's time zone is UTC.
fn time(text: &str) -> Option<Bson> {
    let text = text.trim_end_matches("+00");
    let date_time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .ok()
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    let millis = date_time.and_utc().timestamp_millis();
    Some(Bson::DateTime(bson::DateTime::from_millis(millis)))
}

/// Binary of the generic subtype, as `\x61` and so on.
fn bytes(text: &str) -> Option<Bson> {
    let digits = text.strip_prefix("\\x")?;
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes = bytes.collect::<Option<Vec<u8>>>()?;
    Some(Bson::Binary(bson::Binary { subtype: BinarySubtype::Generic, bytes }))
}

/// The UUID under which the id map has the row with that key: the key itself, or what is made of
/// its text where it is no UUID.
pub(crate) fn mapped(model: &Model, key: &str) -> Uuid {
    let id = model.columns.iter().find(|column| column.primary_key);
    match id.map(|id| id.ty.base) {
        Some(BaseType::Uuid) => Uuid::parse_str(key).unwrap_or_default(),
        _ => Uuid::new_v5(&crate::id::OTHER_IDS, key.as_bytes()),
    }
}

/// The key of a row as text, from the payload of its cell.
pub(crate) fn key_text(column: &Column, payload: &[u8]) -> String {
    match (column.ty.base, payload.len()) {
        (BaseType::Uuid, 16) => Uuid::from_slice(payload).unwrap_or_default().to_string(),
        (BaseType::Int2, 2) => i16::from_be_bytes(fixed(payload)).to_string(),
        (BaseType::Int4, 4) => i32::from_be_bytes(fixed(payload)).to_string(),
        (BaseType::Int8, 8) => i64::from_be_bytes(fixed(payload)).to_string(),
        (BaseType::Float4, 4) => f32::from_be_bytes(fixed(payload)).to_string(),
        (BaseType::Float8, 8) => f64::from_be_bytes(fixed(payload)).to_string(),
        (BaseType::Bool, 1) => (payload[0] != 0).to_string(),
        (BaseType::Timestamp | BaseType::TimestampTz, 8) => {
            let time = TimeDelta::microseconds(i64::from_be_bytes(fixed(payload)));
            let zone = if column.ty.base == BaseType::TimestampTz { "+00" } else { "" };
            FIRST_DAY
                .and_hms_opt(0, 0, 0)
                .and_then(|first| first.checked_add_signed(time))
                .map_or_else(String::new, |time| {
                    let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
                    format!("{}{zone}", text.trim_end_matches('0').trim_end_matches('.'))
                })
        }
        (BaseType::Date, 4) => {
            let days = i32::from_be_bytes(fixed(payload));
            let day = FIRST_DAY.checked_add_signed(TimeDelta::days(days.into()));
            day.map_or_else(String::new, |day| day.to_string())
        }
        (BaseType::Bytea, _) => {
            let mut text = b"\\x".to_vec();
            write_hex(payload, &mut text);
            String::from_utf8(text).unwrap_or_default()
        }
        // Text that is none cannot be sent, and holds no U+0000.
        _ => String::from_utf8_lossy(payload).replace('\0', "\u{fffd}"),
    }
}

/// A payload whose length was looked at.
fn fixed<const N: usize>(payload: &[u8]) -> [u8; N] {
    payload.try_into().unwrap_or([0; N])
}

/// The day that PostgreSQL counts from.
const FIRST_DAY: NaiveDate = match NaiveDate::from_ymd_opt(2000, 1, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};

/// The `_id` of a key that neither names an ObjectId nor is in the id map: a UUID that came as one.
pub fn as_uuid(key: &str) -> Option<Bson> {
    let uuid = Uuid::parse_str(key).ok()?;
    Some(Bson::Binary(bson::Binary {
        subtype: BinarySubtype::Uuid,
        bytes: uuid.into_bytes().to_vec(),
    }))
}

/// An `_id` as people know it: the hex digits of an ObjectId, the way to an element of a child as in
/// `507f1f77bcf86cd799439011/climbers/3`, else relaxed Extended JSON.
pub fn display(id: &Bson) -> String {
    match id {
        Bson::ObjectId(id) => id.to_hex(),
        Bson::Document(_) if let Some(text) = crate::feed::locator_text(id) => text,
        // As the transformer shows it: a number looks the same under each of its types.
        other => match bson::RawDocumentBuf::try_from(&bson::doc! { "v": other }) {
            Ok(document) => match Elements::of(document.as_bytes()).next() {
                Some(Ok((_, value))) => id_text(value),
                _ => String::new(),
            },
            Err(_) => other.clone().into_relaxed_extjson().to_string(),
        },
    }
}

/// The order of two `_id`s in MongoDB: by type first, then by value.
/// <https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/>
pub fn compare(a: &Bson, b: &Bson) -> Ordering {
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Bson::String(a) | Bson::Symbol(a), Bson::String(b) | Bson::Symbol(b)) => {
            a.as_bytes().cmp(b.as_bytes())
        }
        (Bson::ObjectId(a), Bson::ObjectId(b)) => a.bytes().cmp(&b.bytes()),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::Timestamp(a), Bson::Timestamp(b)) => {
            (a.time, a.increment).cmp(&(b.time, b.increment))
        }
        (Bson::Binary(a), Bson::Binary(b)) => (a.bytes.len(), u8::from(a.subtype), &a.bytes)
            .cmp(&(b.bytes.len(), u8::from(b.subtype), &b.bytes)),
        (Bson::Int32(a), Bson::Int32(b)) => a.cmp(b),
        (Bson::Int64(a), Bson::Int64(b)) => a.cmp(b),
        (Bson::Int32(a), Bson::Int64(b)) => i64::from(*a).cmp(b),
        (Bson::Int64(a), Bson::Int32(b)) => a.cmp(&i64::from(*b)),
        (Bson::Document(a), Bson::Document(b)) => documents(a, b),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.to_string().cmp(&b.to_string()),
        },
    })
}

/// Field by field: the type, then the key, then the value; a prefix sorts first.
fn documents(a: &bson::Document, b: &bson::Document) -> Ordering {
    for ((a_key, a), (b_key, b)) in a.iter().zip(b) {
        let order =
            rank(a).cmp(&rank(b)).then_with(|| a_key.cmp(b_key)).then_with(|| compare(a, b));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        Bson::Decimal128(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn rank(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined => 1,
        Bson::Null => 2,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 3,
        Bson::String(_) | Bson::Symbol(_) => 4,
        Bson::Document(_) => 5,
        Bson::Array(_) => 6,
        Bson::Binary(_) => 7,
        Bson::ObjectId(_) => 8,
        Bson::Boolean(_) => 9,
        Bson::DateTime(_) => 10,
        Bson::Timestamp(_) => 11,
        Bson::RegularExpression(_) => 12,
        Bson::DbPointer(_) => 13,
        Bson::JavaScriptCode(_) => 14,
        Bson::JavaScriptCodeWithScope(_) => 15,
        Bson::MaxKey => 16,
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, oid::ObjectId};

    use super::*;

    #[test]
    fn ids_sort_by_type_and_then_by_value() {
        let sorted = [
            Bson::Null,
            Bson::Int32(-3),
            Bson::Double(-2.5),
            Bson::Int64(7),
            Bson::String("507f".into()),
            Bson::String("a".into()),
            bson!({ "a": 1 }),
            bson!({ "a": 1, "b": 2 }),
            Bson::ObjectId(ObjectId::from_bytes([1; 12])),
            Bson::ObjectId(ObjectId::from_bytes([2; 12])),
            Bson::Boolean(false),
            Bson::DateTime(bson::DateTime::from_millis(0)),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
    }
}
