//! `bytea`, from BSON binaries without a meaning of their own.
//!
//! A subtype is a statement about the bytes, and `bytea` has no place for it: taken are the
//! generic subtypes 0 and 2 and the users' own from 128 on, whose meaning the model's author
//! knows. A UUID, an encrypted value, a vector is another type and asks for another column.

use bson::spec::ElementType;

use super::{CellContext, Element, Mismatch, Scalar, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

impl Element for u8 {
    const VEC_TYPE: CellType = CellType::scalar(BaseType::Bytea);
    type Literal = Vec<u8>;

    fn encode_vec(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        if value.kind != ElementType::Binary {
            return Err(Mismatch::wrong_type("bytea", value));
        }
        check_inner_length(value)?;
        match value.binary() {
            (0 | 2 | 128.., bytes) => {
                out.extend_from_slice(bytes);
                Ok(Wrote::Payload)
            }
            (3 | 4, _) => Err(Mismatch::new(
                Reason::Type,
                "bytea (take a UUID as `Uuid`, or its bytes with `lenient`)",
                "binData that is a UUID",
            )),
            (subtype, _) => Err(Mismatch::new(
                Reason::Type,
                "bytea (take other subtypes as `Json`, or their bytes with `lenient`)",
                format!("binData of subtype {subtype}"),
            )),
        }
    }

    fn write_slice(values: &[Self], _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(values);
        Ok(Wrote::Payload)
    }
}

// So that `Vec<Vec<u8>>` is `bytea[]`.
impl Scalar for Vec<u8> {}

/// Subtype 2 states its length a second time; a binary where the two differ is malformed.
pub(crate) fn check_inner_length(value: Value<'_>) -> Result<(), Mismatch> {
    if value.bytes[4] != 2 {
        return Ok(());
    }
    match value.bytes.get(5..9) {
        Some(length)
            if i64::from(i32::from_le_bytes([length[0], length[1], length[2], length[3]]))
                == value.bytes.len() as i64 - 9 =>
        {
            Ok(())
        }
        _ => Err(Mismatch::malformed(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ToCell;
    use super::super::testing::{encode, reason, value};
    use super::*;
    use bson::spec::BinarySubtype;
    use bson::{Binary, Bson};

    fn binary(subtype: BinarySubtype) -> Bson {
        Bson::Binary(Binary { subtype, bytes: vec![0, 1, 2, 255] })
    }

    #[test]
    fn plain_bytes() {
        let plain =
            [BinarySubtype::Generic, BinarySubtype::BinaryOld, BinarySubtype::UserDefined(200)];
        for subtype in plain {
            assert_eq!(encode::<Vec<u8>>(&binary(subtype)), [0, 1, 2, 255]);
        }
        let empty = Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![] });
        assert!(encode::<Vec<u8>>(&empty).is_empty());
        assert_eq!(reason::<Vec<u8>>(&binary(BinarySubtype::Md5)), Reason::Type);
        assert_eq!(reason::<Vec<u8>>(&binary(BinarySubtype::Uuid)), Reason::Type);
        assert_eq!(reason::<Vec<u8>>(&Bson::String("00".into())), Reason::Type);
    }

    #[test]
    fn a_second_length_must_agree() {
        let document = value(&binary(BinarySubtype::BinaryOld));
        let mut bytes = document.value().bytes.to_vec();
        bytes[5] += 1;
        let value = Value::new(ElementType::Binary, &bytes);
        let context = super::super::testing::context();
        let mismatch = Vec::<u8>::encode(value, &context, &mut Vec::new()).unwrap_err();
        assert_eq!(mismatch.reason(), Reason::Malformed);
    }
}
