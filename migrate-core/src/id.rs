//! ObjectId → UUID, always the same for the same id, and back.
//!
//! The 12 bytes of an ObjectId fit into the 122 free bits of an RFC 9562 UUID:
//!
//! ```text
//! octets 0..6    48 bits   the ObjectId's seconds × 1000, big-endian (version 7's milliseconds)
//! then           64 bits   its other 8 bytes, left-aligned in the 74 bits beside version and variant
//! last           10 bits   zero
//! ```
//!
//! So a reference is translated without a lookup, the UUID gives the ObjectId back, and UUIDs
//! sort as their ObjectIds do.

use bson::oid::ObjectId;
use bson::spec::ElementType;
use uuid::Uuid;

use crate::value::Value;

/// How ids become UUIDs in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdScheme {
    /// Version 8, the default: derived, reversible, ordered.
    V8,
    /// The same bits under version 7, for tools that insist on it.
    V7,
    /// Version 4 drawn from the ObjectId and the run's secret key, so that every worker draws the
    /// same one without asking; only `migrate.id_map` gives the ObjectId back.
    Random([u8; 16]),
}

impl IdScheme {
    /// The UUID of an ObjectId.
    #[inline]
    pub fn uuid(self, id: [u8; 12]) -> [u8; 16] {
        match self {
            Self::V8 => layout(id, 0x8),
            Self::V7 => layout(id, 0x7),
            Self::Random(key) => keyed(key, &id),
        }
    }

    /// The ObjectId that a UUID of this scheme was made from; `None` when it was not made so, and
    /// always for `Random`.
    pub fn object_id(self, uuid: Uuid) -> Option<ObjectId> {
        let version = match self {
            Self::V8 => 0x8,
            Self::V7 => 0x7,
            Self::Random(_) => return None,
        };
        let bits = u128::from_be_bytes(uuid.into_bytes());
        let seconds = (bits >> 80) / 1000;
        let rest = (bits >> 64 & 0xfff) << 52 | (bits & ((1 << 62) - 1)) >> 10;
        let id = seconds << 64 | rest;
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&id.to_be_bytes()[4..]);
        // Comparing with the way there excludes every UUID of another origin.
        (layout(bytes, version) == uuid.into_bytes()).then(|| ObjectId::from_bytes(bytes))
    }
}

#[inline]
fn layout(id: [u8; 12], version: u128) -> [u8; 16] {
    let seconds = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
    let rest =
        u64::from_be_bytes([id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11]]) as u128;
    let bits = (seconds as u128 * 1000) << 80
        | version << 76
        | (rest >> 52) << 64
        | 0b10 << 62
        | (rest & ((1 << 52) - 1)) << 10;
    bits.to_be_bytes()
}

/// A version 4 UUID that only the key's holder can foresee: version 5's hash over key and id,
/// marked as version 4.
fn keyed(key: [u8; 16], id: &[u8]) -> [u8; 16] {
    let mut bytes = Uuid::new_v5(&Uuid::from_bytes(key), id).into_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes
}

/// The namespace of ids that are no ObjectIds; itself version 5 of the URL namespace and
/// `https://www.mongodb.com/docs/manual/reference/bson-types/`.
pub const OTHER_IDS: Uuid = Uuid::from_u128(0x6c5b_3b5e_8f0b_5d0e_9a52_2f1f_0d7a_91c4);

/// The UUID of an `_id` that is neither an ObjectId nor a UUID: version 5 over its type byte and
/// its bytes. Numbers that MongoDB holds equal (`1`, `1.0`, `NumberLong(1)`) give one UUID.
pub fn other_id(scheme: IdScheme, value: Value<'_>) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(value.bytes.len() + 1);
    match whole_number(value) {
        Some(number) => {
            bytes.push(ElementType::Int64 as u8);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        None => {
            bytes.push(value.kind as u8);
            bytes.extend_from_slice(value.bytes);
        }
    }
    match scheme {
        IdScheme::Random(key) => keyed(key, &bytes),
        IdScheme::V8 | IdScheme::V7 => Uuid::new_v5(&OTHER_IDS, &bytes).into_bytes(),
    }
}

/// The number of an int32, an int64 or a double without a fraction.
pub(crate) fn whole_number(value: Value<'_>) -> Option<i64> {
    match value.kind {
        ElementType::Int32 => Some(i32::from_le_bytes(value.fixed()).into()),
        ElementType::Int64 => Some(i64::from_le_bytes(value.fixed())),
        ElementType::Double => {
            let number = f64::from_le_bytes(value.fixed());
            let whole = number as i64;
            (number.fract() == 0.0 && whole as f64 == number && whole != i64::MAX).then_some(whole)
        }
        _ => None,
    }
}

/// The 12 bytes of a 24-digit hex string.
#[inline]
pub fn object_id_from_hex(text: &[u8]) -> Option<[u8; 12]> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let (pairs, _) = text.as_chunks::<2>();
    let mut id = [0; 12];
    let mut seen = 0;
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        let (high, low) = (HEX_DIGITS[usize::from(*high)], HEX_DIGITS[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen & NO_HEX_DIGIT == 0).then_some(id)
}

/// The mark of what is no digit; no digit has this bit.
const NO_HEX_DIGIT: u8 = 0x80;

/// The value of each byte as a digit.
const HEX_DIGITS: [u8; 256] = {
    let mut digits = [NO_HEX_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digits[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

/// SQL that installs `uuid_from_object_id(text)` and `object_id_from_uuid(uuid)` in the state
/// schema `schema` (quoted here), for UUIDs of that version, 8 or 7.
pub fn sql_functions(schema: &str, version: u8) -> String {
    let schema = crate::schema::quote_ident(schema);
    format!(
        r#"
CREATE OR REPLACE FUNCTION {schema}.uuid_from_object_id(id text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN id ~ '^[0-9a-fA-F]{{24}}$' THEN (
        lpad(to_hex(('x' || lpad(left(id, 8), 16, '0'))::bit(64)::bigint * 1000), 12, '0')
        || '{version}' || substr(id, 9, 3)
        || to_hex((
            B'10' || ('x' || substr(id, 12, 13))::bit(52) || B'0000000000'
        )::bit(64)::bigint)
    )::uuid END
$$;
COMMENT ON FUNCTION {schema}.uuid_from_object_id(text) IS
    'The UUID (version {version}) of a MongoDB ObjectId given as 24 hex digits; NULL for anything else';

CREATE OR REPLACE FUNCTION {schema}.object_id_from_uuid(id uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN hex ~ '^.{{12}}[78].{{3}}[89ab]' AND bits & 1023 = 0 AND millis % 1000 = 0
            AND millis / 1000 < 4294967296 THEN
        lpad(to_hex(millis / 1000), 8, '0')
        || substr(hex, 14, 3)
        || lpad(to_hex((bits << 2 >> 12) & 4503599627370495), 13, '0')
    END
    FROM (SELECT replace(id::text, '-', '') AS hex) AS text,
        LATERAL (SELECT
            ('x' || lpad(left(hex, 12), 16, '0'))::bit(64)::bigint AS millis,
            ('x' || right(hex, 16))::bit(64)::bigint AS bits) AS parts
$$;
COMMENT ON FUNCTION {schema}.object_id_from_uuid(uuid) IS
    'The MongoDB ObjectId, as 24 hex digits, that a derived UUID was made from; NULL for others';
"#
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The worked example of the design.
    #[test]
    fn worked_example() {
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        let uuid = Uuid::from_bytes(IdScheme::V8.uuid(id.bytes()));
        assert_eq!(uuid.to_string(), "013a7092-e8d8-8bcf-a1b3-5e650e404400");
        assert_eq!(uuid.get_version_num(), 8);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(IdScheme::V8.object_id(uuid), Some(id));
        assert_eq!(IdScheme::V7.object_id(uuid), None);
        let seven = Uuid::from_bytes(IdScheme::V7.uuid(id.bytes()));
        assert_eq!(seven.to_string(), "013a7092-e8d8-7bcf-a1b3-5e650e404400");
        let millis = seven.get_timestamp().unwrap().to_unix();
        assert_eq!(millis, (1_350_508_407, 0));
    }

    #[test]
    fn random_is_version_4_and_depends_on_the_key() {
        let id = [7; 12];
        let a = Uuid::from_bytes(IdScheme::Random([1; 16]).uuid(id));
        let b = Uuid::from_bytes(IdScheme::Random([2; 16]).uuid(id));
        assert_eq!(a.get_version_num(), 4);
        assert_ne!(a, b);
        assert_eq!(a.into_bytes(), IdScheme::Random([1; 16]).uuid(id));
        assert_eq!(IdScheme::Random([1; 16]).object_id(a), None);
    }

    proptest! {
        #[test]
        fn round_trip_and_order(a: [u8; 12], b: [u8; 12]) {
            for scheme in [IdScheme::V8, IdScheme::V7] {
                let (x, y) = (scheme.uuid(a), scheme.uuid(b));
                prop_assert_eq!(scheme.object_id(Uuid::from_bytes(x)), Some(ObjectId::from_bytes(a)));
                prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            }
        }

        #[test]
        fn a_uuid_of_another_origin_has_no_object_id(bits: u128) {
            let uuid = Uuid::from_u128(bits);
            if let Some(id) = IdScheme::V8.object_id(uuid) {
                prop_assert_eq!(IdScheme::V8.uuid(id.bytes()), uuid.into_bytes());
            }
        }

        #[test]
        fn hex_is_an_object_id(id: [u8; 12], upper: bool) {
            let mut hex = ObjectId::from_bytes(id).to_hex();
            if upper {
                hex = hex.to_uppercase();
            }
            prop_assert_eq!(object_id_from_hex(hex.as_bytes()), Some(id));
        }
    }
}
