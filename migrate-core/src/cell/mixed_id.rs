//! Ids of several types in one `text` column.
//!
//! A collection whose `_id`s are ObjectIds here and strings there has no type that all of them
//! keep. [`MixedId`] writes each as a text that no other id has and that gives the id back:
//!
//! | `_id` | text |
//! |---|---|
//! | ObjectId | its 24 hex digits, in lower case |
//! | string | itself; behind `$string:` if it is 24 hex digits or begins with `$` |
//! | int, long, double | `$number:` and the number; equal numbers of any type are one `_id` in MongoDB and one text here |
//! | UUID (binary 4 or 3) | `$uuid:` or `$uuid3:` and the UUID |
//! | anything else | `$json:` and canonical Extended JSON |

use bson::spec::{BinarySubtype, ElementType};
use bson::{Bson, oid::ObjectId};
use uuid::Uuid;

use super::json::write_hex;
use super::object_id::stored_uuid;
use super::{CellContext, Mismatch, Scalar, ToCell, Wrote, extended_json};
use crate::id::{object_id_from_hex, whole_number};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

/// An id of any BSON type as `text`, unambiguous and reversible: for collections whose `_id`s are
/// of several types, and for references to them.
///
/// An ObjectId is its hex digits and a string is itself, so most ids look as they do in MongoDB;
/// what could be taken for another begins with `$` and its type, as in `$number:7`. To have UUIDs
/// instead, write the field as [`Uuid`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MixedId(String);

const STRING: &str = "$string:";
const NUMBER: &str = "$number:";
const UUID: &str = "$uuid:";
const UUID_OLD: &str = "$uuid3:";
const JSON: &str = "$json:";

impl ToCell for MixedId {
    const TYPE: CellType = CellType::scalar(BaseType::Text);
    const MIXED: bool = true;
    type Literal = &'static str;

    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        match value.kind {
            ElementType::ObjectId => write_hex(value.bytes, out),
            ElementType::String => {
                let bytes = value.str_bytes();
                if bytes.first() == Some(&b'$') || object_id_from_hex(bytes).is_some() {
                    out.extend_from_slice(STRING.as_bytes());
                }
                return String::encode(value, context, out);
            }
            ElementType::Int32 | ElementType::Int64 | ElementType::Double => {
                out.extend_from_slice(NUMBER.as_bytes());
                let text = match whole_number(value) {
                    Some(number) => number.to_string(),
                    None => format!("{:?}", f64::from_le_bytes(value.fixed())),
                };
                out.extend_from_slice(text.as_bytes());
            }
            _ => match stored_uuid(value) {
                Some(uuid) => {
                    let old = value.binary().0 == 3;
                    out.extend_from_slice(if old { UUID_OLD } else { UUID }.as_bytes());
                    out.extend_from_slice(Uuid::from_bytes(uuid).to_string().as_bytes());
                }
                None => write_json(value, out)?,
            },
        }
        Ok(Wrote::Payload)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        self.0.write(context, out)
    }
}

impl Scalar for MixedId {}

/// Canonical Extended JSON of a value by itself.
fn write_json(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    // Looking at the value as a whole finds what is no BSON.
    value.to_bson()?;
    let json = extended_json(&value.to_document());
    let inner = json.strip_prefix("{\"v\":").and_then(|json| json.strip_suffix('}'));
    let inner = inner.ok_or_else(|| Mismatch::malformed(value))?;
    if inner.contains('\0') {
        return Err(Mismatch::found(Reason::Nul, "an id without U+0000", value));
    }
    out.extend_from_slice(JSON.as_bytes());
    out.extend_from_slice(inner.as_bytes());
    Ok(())
}

/// The ids that a text can have been made from; more than one for a number, which may be stored
/// under several types.
pub(crate) fn ids_of_text(text: &str) -> Vec<Bson> {
    if let Some(string) = text.strip_prefix(STRING) {
        return vec![Bson::String(string.to_owned())];
    }
    if let Some(number) = text.strip_prefix(NUMBER) {
        return match (number.parse::<i64>(), number.parse::<f64>()) {
            (Ok(whole), _) => {
                let mut ids = vec![Bson::Int64(whole), Bson::Double(whole as f64)];
                ids.extend(i32::try_from(whole).map(Bson::Int32));
                ids
            }
            (_, Ok(number)) => vec![Bson::Double(number)],
            _ => Vec::new(),
        };
    }
    for (prefix, subtype) in [(UUID, BinarySubtype::Uuid), (UUID_OLD, BinarySubtype::UuidOld)] {
        if let Some(uuid) = text.strip_prefix(prefix).and_then(|uuid| Uuid::parse_str(uuid).ok()) {
            let bytes = uuid.into_bytes().to_vec();
            return vec![Bson::Binary(bson::Binary { subtype, bytes })];
        }
    }
    if let Some(json) = text.strip_prefix(JSON) {
        let json = serde_json::from_str::<serde_json::Value>(json);
        return json.ok().and_then(|json| Bson::try_from(json).ok()).into_iter().collect();
    }
    match object_id_from_hex(text.as_bytes()) {
        Some(id) => vec![Bson::ObjectId(ObjectId::from_bytes(id))],
        None => vec![Bson::String(text.to_owned())],
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::encode;
    use super::*;
    use bson::{Binary, bson};

    fn text(id: &Bson) -> String {
        String::from_utf8(encode::<MixedId>(id)).unwrap()
    }

    #[test]
    fn every_id_has_a_text_of_its_own_that_gives_it_back() {
        let uuid: Uuid = "550e8400-e29b-41d4-a716-446655440000".parse().unwrap();
        let binary =
            |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
        let hex = "507f1f77bcf86cd799439011";
        let ids = [
            (Bson::ObjectId(ObjectId::parse_str(hex).unwrap()), hex),
            (hex.into(), "$string:507f1f77bcf86cd799439011"),
            ("507F1F77BCF86CD799439011".into(), "$string:507F1F77BCF86CD799439011"),
            ("".into(), ""),
            ("7".into(), "7"),
            ("$number:7".into(), "$string:$number:7"),
            (Bson::Int64(7), "$number:7"),
            (Bson::Double(7.5), "$number:7.5"),
            (Bson::Double(1e300), "$number:1e300"),
            (Bson::Double(f64::INFINITY), "$number:inf"),
            (Bson::Int64(i64::MAX), "$number:9223372036854775807"),
            (
                binary(BinarySubtype::Uuid, uuid.as_bytes()),
                "$uuid:550e8400-e29b-41d4-a716-446655440000",
            ),
            (
                binary(BinarySubtype::UuidOld, uuid.as_bytes()),
                "$uuid3:550e8400-e29b-41d4-a716-446655440000",
            ),
            (Bson::Boolean(true), "$json:true"),
            (bson!({ "a": 1, "b": "x" }), r#"$json:{"a":{"$numberInt":"1"},"b":"x"}"#),
            (
                binary(BinarySubtype::Generic, &[1, 2]),
                r#"$json:{"$binary":{"base64":"AQI=","subType":"00"}}"#,
            ),
            (
                Bson::DateTime(bson::DateTime::from_millis(5)),
                r#"$json:{"$date":{"$numberLong":"5"}}"#,
            ),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (id, expected) in ids {
            assert_eq!(text(&id), expected);
            assert!(seen.insert(expected));
            assert!(ids_of_text(expected).contains(&id), "{expected}");
        }
        for number in [Bson::Int32(7), Bson::Double(7.0)] {
            assert_eq!(text(&number), "$number:7");
            assert!(ids_of_text("$number:7").contains(&number));
        }
    }
}
