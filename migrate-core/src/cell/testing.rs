//! Helpers of the families' unit tests.

use bson::Bson;

use super::{CellContext, Limit, Mismatch, Role, ToCell, Wrote};
use crate::id::IdScheme;
use crate::reject::Reason;
use crate::value::{Elements, Value};

pub(crate) fn context() -> CellContext {
    CellContext {
        ids: IdScheme::V8,
        role: Role::Plain,
        element_oid: 0,
        limit: Limit::None,
        server_version: 180_000,
    }
}

/// A document that holds one value.
pub(crate) struct Holder(Vec<u8>);

impl Holder {
    pub(crate) fn value(&self) -> Value<'_> {
        Elements::of(&self.0).next().unwrap().unwrap().1
    }
}

pub(crate) fn value(bson: &Bson) -> Holder {
    Holder(bson::doc! { "v": bson }.to_vec().unwrap())
}

pub(crate) fn encode<T: ToCell>(bson: &Bson) -> Vec<u8> {
    encode_in::<T>(bson, &context())
}

pub(crate) fn encode_in<T: ToCell>(bson: &Bson, context: &CellContext) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let wrote = T::encode(value(bson).value(), context, &mut out).unwrap();
    assert_eq!(wrote, Wrote::Payload);
    out.split_off(6)
}

pub(crate) fn mismatch<T: ToCell>(bson: &Bson, context: &CellContext) -> Mismatch {
    T::encode(value(bson).value(), context, &mut Vec::new()).unwrap_err()
}

pub(crate) fn reason<T: ToCell>(bson: &Bson) -> Reason {
    reason_in::<T>(bson, &context())
}

pub(crate) fn reason_in<T: ToCell>(bson: &Bson, context: &CellContext) -> Reason {
    mismatch::<T>(bson, context).reason()
}
