//! `uuid`, from ObjectIds and from UUIDs.
//!
//! An ObjectId becomes the UUID that [`crate::id`] derives from it, and so does a string of 24
//! hex digits, because applications store ids as text. A UUID passes through, in the byte order
//! in which it is stored (the old subtype 3 says nothing about its own). The primary key takes an
//! `_id` of any other type as well, and hashes it.

use bson::spec::ElementType;
use uuid::Uuid;

use super::{CellContext, Mismatch, Role, Scalar, ToCell, Wrote};
use crate::id::{object_id_from_hex, other_id};
use crate::schema::{BaseType, CellType};
use crate::value::Value;

impl ToCell for Uuid {
    const TYPE: CellType = CellType::scalar(BaseType::Uuid);
    type Literal = Self;

    #[inline]
    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let uuid = match value.kind {
            ElementType::ObjectId => context.ids.uuid(value.fixed()),
            _ => other_uuid(value, context)?,
        };
        out.extend_from_slice(&uuid);
        Ok(Wrote::Payload)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(self.as_bytes());
        Ok(Wrote::Payload)
    }
}

impl Scalar for Uuid {}

fn other_uuid(value: Value<'_>, context: &CellContext) -> Result<[u8; 16], Mismatch> {
    if value.kind == ElementType::String
        && let Some(id) = object_id_from_hex(value.str_bytes())
    {
        return Ok(context.ids.uuid(id));
    }
    if let Some(uuid) = stored_uuid(value) {
        return Ok(uuid);
    }
    match context.role {
        Role::Id => Ok(other_id(context.ids, value)),
        Role::Reference | Role::Plain => Err(Mismatch::wrong_type("objectId", value)),
    }
}

/// The bytes of a binary that is a UUID.
pub(crate) fn stored_uuid(value: Value<'_>) -> Option<[u8; 16]> {
    if value.kind != ElementType::Binary {
        return None;
    }
    match value.binary() {
        (3 | 4, bytes) => bytes.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, encode_in, reason};
    use super::*;
    use crate::reject::Reason;
    use bson::oid::ObjectId;
    use bson::spec::BinarySubtype;
    use bson::{Binary, Bson};

    #[test]
    fn ids_in_all_their_forms() {
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        let uuid: Uuid = "013a7092-e8d8-8bcf-a1b3-5e650e404400".parse().unwrap();
        assert_eq!(encode::<Uuid>(&Bson::ObjectId(id)), uuid.as_bytes());
        assert_eq!(encode::<Uuid>(&Bson::String(id.to_hex())), uuid.as_bytes());
        assert_eq!(encode::<Uuid>(&Bson::String(id.to_hex().to_uppercase())), uuid.as_bytes());
        for subtype in [BinarySubtype::Uuid, BinarySubtype::UuidOld] {
            let binary = Binary { subtype, bytes: uuid.as_bytes().to_vec() };
            assert_eq!(encode::<Uuid>(&Bson::Binary(binary)), uuid.as_bytes());
        }
    }

    #[test]
    fn only_the_primary_key_takes_other_types() {
        let short = Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 15] };
        let mut id = context();
        id.role = Role::Id;
        let others =
            [Bson::Int32(1), Bson::String("x".into()), Bson::String("".into()), short.into()];
        for other in others {
            assert_eq!(reason::<Uuid>(&other), Reason::Type);
            let uuid = Uuid::from_slice(&encode_in::<Uuid>(&other, &id)).unwrap();
            assert_eq!(uuid.get_version_num(), 5);
        }
        assert_eq!(
            encode_in::<Uuid>(&Bson::Int32(1), &id),
            encode_in::<Uuid>(&Bson::Double(1.0), &id)
        );
    }
}
