//! All that generated code may name, and nothing else. Not part of the public interface.

pub use core::option::Option::{None, Some};
pub use core::primitive::{str, u8, usize};

use std::fmt::Display;

pub use crate::__flattened as flattened;
pub use crate::cell::encode_extended as json_extended;
pub use crate::cell::{CellContext, PgEnum, Scalar, ToCell};
use crate::cell::{Mismatch, Wrote, enumeration};
pub use crate::feed::{KEY, ORIGIN, OWN_ID, PARENT, POSITION, VALUE};
pub use crate::flatten;
pub use crate::model::{Flatten, Migrate};
pub use crate::plan::{check, edge_count, phases};
pub use crate::schema::{
    BaseType, CellType, Check, ChildField, Choice, Column, EnumType, Index, JunctionField, Literal,
    Model, ModelKind, ModelRef, Nul, OnDelete, OnInvalid, OneOf, Orphan, Reference, Registry,
    RegistryFacts, Step,
};
pub use crate::value::Value;

/// What cells are written to.
pub type Buffer = Vec<u8>;
/// What a conversion answers.
pub type Written = Result<Wrote, Mismatch>;

/// Writes the literal of `default = literal` for a field of type `T`.
#[inline]
pub fn literal<T: ToCell>(
    literal: T::Literal,
    context: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    literal.write(context, out)
}

/// Writes `T::default()` for a bare `default`.
pub fn default<T: ToCell + Default>(
    context: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    T::default().write(context, out)
}

/// Runs the function of `with = path` on a value and writes what it gives.
pub fn with<T: ToCell, E: Display>(
    convert: fn(Value<'_>) -> Result<T, E>,
    value: Value<'_>,
    context: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    convert(value).map_err(Mismatch::own)?.write(context, out)
}

/// Runs the function of `compute = path` on the document and writes what it gives.
pub fn compute<T: ToCell, E: Display>(
    compute: fn(&bson::RawDocument) -> Result<T, E>,
    document: &bson::RawDocument,
    context: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    compute(document).map_err(Mismatch::own)?.write(context, out)
}

/// Writes the label of a `#[derive(PgEnum)]` type for a BSON value.
#[inline]
pub fn encode_enum<T: PgEnum>(
    value: Value<'_>,
    context: &CellContext,
    out: &mut Buffer,
) -> Written {
    enumeration::encode::<T>(value, context, out)
}

/// Writes the label of a value of a `#[derive(PgEnum)]` type.
pub fn write_enum<T: PgEnum>(value: &T, context: &CellContext, out: &mut Buffer) -> Written {
    enumeration::write(value, context, out)
}
