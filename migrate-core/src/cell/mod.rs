//! How one value becomes one cell of a binary COPY: the trait [`ToCell`] and what its
//! implementations need to know.
//!
//! The rule of every implementation: the cell is exactly the value, or there is a [`Mismatch`]
//! that says what was expected and what was found. Whatever PostgreSQL would refuse about a value
//! is refused here, so that a COPY can fail only by a constraint between rows.
//!
//! Each family of types has its file, with the BSON it accepts, its encoding (PostgreSQL's
//! `*_recv` functions are the format's definition) and its tests.

use crate::id::IdScheme;
use crate::schema::{BaseType, CellType, EnumType};
use crate::value::Value;

mod bytes;
pub(crate) mod enumeration;
mod geometry;
pub(crate) mod json;
mod list;
mod mismatch;
pub(crate) mod mixed_id;
mod numeric;
mod object_id;
mod scalar;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod time;
mod vector;

pub(crate) use geometry::pair;
pub use geometry::{Geometry, Point};
pub use json::{Json, encode_extended, extended_json, id_text};
pub(crate) use json::{write_hex, write_iso_date};
pub(crate) use mismatch::describe;
pub use mismatch::{Mismatch, PathStep};
pub use mixed_id::MixedId;
pub use numeric::Decimal;
pub(crate) use numeric::Number;
pub(crate) use object_id::stored_uuid;
pub(crate) use scalar::whole_number;
pub use vector::Vector;

/// Whether a conversion wrote a payload or stands for NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The payload was appended to the buffer.
    Payload,
    /// Nothing was appended; the cell is NULL.
    Null,
}

/// A Rust type that a model's field may have: its PostgreSQL type, what BSON it accepts, and how
/// it is written in binary COPY.
///
/// Implement it for a type of your own to use it in a model; `encode` and `write` append the
/// payload *without* its length, which the caller puts in front.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a column",
    label = "no conversion from BSON to a PostgreSQL cell is known for this type",
    note = "columns are bool, i16, i32, i64, f32, f64, String, Uuid, MixedId, DateTime<Utc>, NaiveDateTime, NaiveDate, Decimal, Json, Vec<u8>, a `#[derive(PgEnum)]` enum, and `Option` or `Vec` of them",
    note = "use `Json` with `#[migrate(json)]` for an embedded document, or implement `migrate_core::ToCell` for `{Self}`"
)]
pub trait ToCell {
    /// The PostgreSQL type.
    const TYPE: CellType;
    /// Whether the column takes NULL.
    const NULLABLE: bool = false;
    /// Whether its text holds ids of several types, as that of [`MixedId`] does.
    const MIXED: bool = false;
    /// What `default = ..` takes for a field of this type: `&'static str` for `String`, else
    /// mostly the type itself.
    type Literal: ToCell;

    /// Appends the payload for a BSON value. The value is never BSON null: the runtime has
    /// settled missing and null values before.
    ///
    /// # Errors
    /// When the value is not exactly one of this type; the buffer may then end in a part of the
    /// cell, which the caller takes off.
    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch>;

    /// Appends the payload for a value of this type, as `default`, `with` and `compute` give it.
    ///
    /// # Errors
    /// When PostgreSQL could not hold the value, as for text with U+0000.
    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch>;
}

impl<T: ToCell> ToCell for Option<T> {
    const TYPE: CellType = T::TYPE;
    const NULLABLE: bool = true;
    const MIXED: bool = T::MIXED;
    type Literal = T::Literal;

    #[inline]
    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        T::encode(value, context, out)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        match self {
            Some(value) => value.write(context, out),
            None => Ok(Wrote::Null),
        }
    }
}

/// A type that may stand in an array: what `Vec<T>` asks of `T`.
///
/// Every single-valued [`ToCell`] of the framework has it, and so has `Option` of one (NULL
/// elements) and `Vec` of one (another dimension). `u8` has it too, so that `Vec<u8>` is `bytea`.
#[diagnostic::on_unimplemented(
    message = "`Vec<{Self}>` cannot be a column",
    label = "`{Self}` cannot be the element of a PostgreSQL array",
    note = "write the field as `Json` with `#[migrate(json)]` to keep the whole array as jsonb",
    note = "an enum becomes an element by `#[derive(PgEnum)]`, a type of your own by `impl migrate_core::Scalar`"
)]
pub trait Element: Sized {
    /// The type of the `Vec`.
    const VEC_TYPE: CellType;
    /// What `default = ..` takes for the `Vec`.
    type Literal: ToCell;

    /// Appends the payload of the `Vec` for a BSON value.
    ///
    /// # Errors
    /// As [`ToCell::encode`]; the path of the mismatch begins with the element's position.
    fn encode_vec(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch>;

    /// Appends the payload of a slice.
    ///
    /// # Errors
    /// As [`ToCell::write`].
    fn write_slice(
        values: &[Self],
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch>;
}

impl<T: Element> ToCell for Vec<T> {
    const TYPE: CellType = T::VEC_TYPE;
    type Literal = T::Literal;

    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        T::encode_vec(value, context, out)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        T::write_slice(self, context, out)
    }
}

/// Marks a [`ToCell`] with a single value, which makes it an [`Element`] as well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a single value",
    label = "an array of it cannot be a column",
    note = "implement `migrate_core::Scalar` for `{Self}` if it is one"
)]
pub trait Scalar: ToCell {}

/// A field that `#[junction(..)]` may stand on: an array of ids.
#[diagnostic::on_unimplemented(
    message = "`#[junction]` needs an array of ids, found `{Self}`",
    label = "not a `Vec` of ids",
    note = "write the field as `Vec<Uuid>`, or `Vec` of the type of the other model's id"
)]
pub trait JunctionIds {
    /// The type of one id.
    type Id: ToCell;
}

impl<T: Scalar> JunctionIds for Vec<T> {
    type Id = T;
}

impl<T: Scalar> JunctionIds for Option<Vec<T>> {
    type Id = T;
}

/// An enum that is a PostgreSQL enum type; implemented by `#[derive(PgEnum)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a PostgreSQL enum",
    note = "add `#[derive(PgEnum)]` to `{Self}`"
)]
pub trait PgEnum: Sized + 'static {
    /// The type and its labels.
    const ENUM: &'static EnumType;
    /// The label of a value.
    fn label(&self) -> &'static str;
}

/// What a conversion knows beside the value: one per column, made when the run starts.
#[derive(Clone, Debug)]
pub struct CellContext {
    /// How ObjectIds become UUIDs.
    pub ids: IdScheme,
    /// What the column is for: `Id` accepts every type of `_id`.
    pub role: Role,
    /// The base type's OID in the target, which a binary array must name.
    pub element_oid: u32,
    /// The limit that the column's type modifier sets.
    pub limit: Limit,
    /// The server's version as `server_version_num` gives it, as 180003.
    pub server_version: u32,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The primary key from `_id`.
    Id,
    /// A reference, or an element of a junction array.
    Reference,
    /// Anything else.
    Plain,
}

/// The limit of a type modifier, as in `varchar(10)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None.
    None,
    /// `varchar(n)` and `char(n)`: at most so many characters.
    Chars(u32),
    /// `numeric(p, s)`: at most `p` digits, `s` of them behind the point.
    Numeric {
        /// All digits.
        precision: u16,
        /// Digits behind the point; negative rounds before it.
        scale: i16,
    },
    /// `timestamp(n)`: at most `n` digits of the second.
    SecondDigits(u8),
    /// `vector(n)`: exactly `n` dimensions.
    Dimensions(u32),
}

/// The kind of the type modifier's own base: what `pg_type = "varchar(3)"` says about the type.
///
/// # Errors
/// None: a type it does not know has no limit, and the server then judges the rows.
pub fn parse_limit(pg_type: &str) -> Limit {
    let lower = pg_type.to_ascii_lowercase();
    let Some((name, rest)) = lower.split_once('(') else {
        return match lower.trim_end_matches(['[', ']', ' ']) {
            "char" | "character" => Limit::Chars(1),
            _ => Limit::None,
        };
    };
    let arguments: Vec<i32> = rest
        .split(')')
        .next()
        .unwrap_or_default()
        .split(',')
        .filter_map(|argument| argument.trim().parse().ok())
        .collect();
    match (name.trim(), arguments.as_slice()) {
        ("varchar" | "character varying" | "char" | "character" | "bpchar", [chars]) => {
            Limit::Chars(u32::try_from(*chars).unwrap_or(u32::MAX))
        }
        ("numeric" | "decimal", [precision]) => {
            Limit::Numeric { precision: *precision as u16, scale: 0 }
        }
        ("numeric" | "decimal", [precision, scale]) => {
            Limit::Numeric { precision: *precision as u16, scale: *scale as i16 }
        }
        ("timestamp" | "timestamptz", [digits]) => {
            Limit::SecondDigits(u8::try_from(*digits).unwrap_or(6))
        }
        ("vector", [dimensions]) => Limit::Dimensions(u32::try_from(*dimensions).unwrap_or(0)),
        _ => Limit::None,
    }
}

/// An OID for types whose own is not known, where nothing is sent.
pub(crate) const PLACEHOLDER_OID: u32 = 1;

/// The OID of a built-in type, or of its array type; 0 for enums and others, which only the
/// target knows. From PostgreSQL's `pg_type.dat`.
pub const fn builtin_oid(base: BaseType) -> u32 {
    match base {
        BaseType::Bool => 16,
        BaseType::Bytea => 17,
        BaseType::Int8 => 20,
        BaseType::Int2 => 21,
        BaseType::Int4 => 23,
        BaseType::Text => 25,
        BaseType::Float4 => 700,
        BaseType::Float8 => 701,
        BaseType::Date => 1082,
        BaseType::Timestamp => 1114,
        BaseType::TimestampTz => 1184,
        BaseType::Numeric => 1700,
        BaseType::Uuid => 2950,
        BaseType::Jsonb => 3802,
        BaseType::Other(name) if crate::schema::str_eq(name, "point") => 600,
        BaseType::Enum(_) | BaseType::Other(_) => 0,
    }
}
