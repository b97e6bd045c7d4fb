//! Vectors of numbers: BSON's binary subtype 9, and pgvector's `vector`.
//!
//! Subtype 9 has one byte for the type of its elements, one for the bits at the end that are
//! none, and the elements: floats of four bytes, the lowest first; integers of one; or bits, the
//! highest first. Format of a `vector`: `vector_recv`, the number of dimensions in two bytes, two
//! bytes of zero, and the floats, the highest byte first.

use bson::spec::ElementType;

use super::{CellContext, Limit, Mismatch, PathStep, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

/// A vector of pgvector: the column's type is `vector`, or what `pg_type` says, as `vector(1536)`.
///
/// It is read from a binary of subtype 9 and from an array of numbers that are floats of four
/// bytes; with `lenient`, each number is the nearest such float.
///
/// ```
/// use migrate_core::{Migrate, Vector};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Documents {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(lenient, pg_type = "vector(1536)")]
///     embedding: Option<Vector>,
/// }
///
/// assert_eq!(Documents::MODEL.get().columns[1].sql_type(), "vector(1536)");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vector(pub Vec<f32>);

/// The most dimensions of a vector.
const MAX_DIMENSIONS: usize = 16_000;

impl ToCell for Vector {
    const TYPE: CellType = CellType::scalar(BaseType::Other("vector"));
    type Literal = Self;

    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        const EXPECTED: &str = "a vector: binData of subtype 9 or an array of numbers";
        let start = begin(out);
        let mut count = 0;
        match value.kind {
            ElementType::Binary if value.bytes[4] == SUBTYPE => {
                each_element(value, |number| {
                    count += 1;
                    write_element(number, out)
                })?;
            }
            ElementType::Array => {
                let mut elements = value.elements();
                while let Some(element) = elements.next() {
                    let (_, element) = element?;
                    let at = out.len();
                    f32::encode(element, context, out)
                        .and_then(|_| {
                            let bytes = [out[at], out[at + 1], out[at + 2], out[at + 3]];
                            out.truncate(at);
                            write_element(f32::from_be_bytes(bytes), out)
                        })
                        .map_err(|error| error.at(PathStep::Index(count)))?;
                    count += 1;
                }
            }
            _ => return Err(Mismatch::wrong_type(EXPECTED, value)),
        }
        end(start, count, context, out)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        let start = begin(out);
        for number in &self.0 {
            write_element(*number, out)?;
        }
        end(start, self.0.len(), context, out)
    }
}

impl Scalar for Vector {}

fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

fn write_element(number: f32, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    if !number.is_finite() {
        let found = number.to_string();
        return Err(Mismatch::new(Reason::NotFinite, "a vector of finite numbers", found));
    }
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

fn end(
    start: usize,
    count: usize,
    context: &CellContext,
    out: &mut [u8],
) -> Result<Wrote, Mismatch> {
    let expected = match context.limit {
        Limit::Dimensions(dimensions) if dimensions as usize != count => {
            format!("a vector of {dimensions} dimensions")
        }
        _ if (1..=MAX_DIMENSIONS).contains(&count) => {
            out[start..start + 2].copy_from_slice(&(count as u16).to_be_bytes());
            return Ok(Wrote::Payload);
        }
        _ => format!("a vector of 1 to {MAX_DIMENSIONS} dimensions"),
    };
    Err(Mismatch::new(Reason::Shape, expected, format!("one of {count}")))
}

/// The binary subtype of vectors.
pub(crate) const SUBTYPE: u8 = 9;

/// Calls `each` with every element of a binary of subtype 9.
pub(crate) fn each_element(
    value: Value<'_>,
    mut each: impl FnMut(f32) -> Result<(), Mismatch>,
) -> Result<(), Mismatch> {
    const INT8: u8 = 0x03;
    const PACKED_BIT: u8 = 0x10;
    const FLOAT32: u8 = 0x27;
    let (_, bytes) = value.binary();
    let broken = |what: &str| {
        Err(Mismatch::new(Reason::Malformed, "a vector as BSON's subtype 9 has it", what))
    };
    let [kind, padding, elements @ ..] = bytes else {
        return broken("a binary without the vector's head");
    };
    match (*kind, *padding) {
        (FLOAT32, 0) => {
            let (numbers, rest) = elements.as_chunks::<4>();
            if !rest.is_empty() {
                return broken("floats of which the last is cut off");
            }
            numbers.iter().try_for_each(|number| each(f32::from_le_bytes(*number)))
        }
        (INT8, 0) => elements.iter().try_for_each(|number| each(f32::from(*number as i8))),
        (PACKED_BIT, padding @ 0..8) => {
            let bits = elements.len() * 8;
            let Some(bits) = bits.checked_sub(padding.into()) else {
                return broken("more bits at the end than there are");
            };
            (0..bits).try_for_each(|bit| each(f32::from(elements[bit / 8] >> (7 - bit % 8) & 1)))
        }
        (FLOAT32 | INT8, _) => broken("bits at the end of whole elements"),
        (PACKED_BIT, _) => broken("a byte and more at the end that is no element"),
        (kind, _) => broken(&format!("elements of the type {kind:#04x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, encode_in, reason, reason_in};
    use super::*;
    use bson::spec::BinarySubtype;
    use bson::{Binary, Bson, bson};

    fn vector(bytes: &[u8]) -> Bson {
        Bson::Binary(Binary { subtype: BinarySubtype::Vector, bytes: bytes.to_vec() })
    }

    /// As pgvector's `vector_send` writes it.
    fn sent(numbers: &[f32]) -> Vec<u8> {
        let mut bytes = (numbers.len() as i16).to_be_bytes().to_vec();
        bytes.extend(0_i16.to_be_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    #[test]
    fn three_types_of_elements() {
        let floats = [&[0x27, 0][..], &127_f32.to_le_bytes(), &(-0.5_f32).to_le_bytes()].concat();
        assert_eq!(encode::<Vector>(&vector(&floats)), sent(&[127.0, -0.5]));
        assert_eq!(encode::<Vector>(&vector(&[3, 0, 127, 0x80])), sent(&[127.0, -128.0]));
        assert_eq!(
            encode::<Vector>(&vector(&[0x10, 4, 0b1010_0001, 0b1001_0000])),
            sent(&[1., 0., 1., 0., 0., 0., 0., 1., 1., 0., 0., 1.])
        );
        assert_eq!(encode::<Vector>(&bson!([1, 0.5, 2_i64])), sent(&[1.0, 0.5, 2.0]));
    }

    #[test]
    fn the_same_as_arrays() {
        let mut expected = Vec::new();
        vec![127_f32, -128.0].write(&context(), &mut expected).unwrap();
        assert_eq!(encode::<Vec<f32>>(&vector(&[3, 0, 127, 0x80])), expected);
        let mut expected = Vec::new();
        vec![1_f64, 0.0].write(&context(), &mut expected).unwrap();
        assert_eq!(encode::<Vec<f64>>(&vector(&[0x10, 6, 0b1000_0000])), expected);
        assert_eq!(encode::<Vec<f32>>(&vector(&[0x27, 0])), encode::<Vec<f32>>(&bson!([])));
        assert_eq!(reason::<Vec<i32>>(&vector(&[3, 0, 127])), Reason::Type);
    }

    #[test]
    fn vectors_that_are_none() {
        for bytes in [
            &[][..],
            &[0x27],
            &[0x27, 0, 1, 2, 3],
            &[0x27, 1, 0, 0, 0, 0],
            &[3, 1, 5],
            &[0x10, 8, 255],
            &[0x10, 1],
            &[0x11, 0, 1],
        ] {
            assert_eq!(reason::<Vec<f32>>(&vector(bytes)), Reason::Malformed, "{bytes:?}");
        }
        assert_eq!(reason::<Vector>(&vector(&[0x27, 0])), Reason::Shape);
        assert_eq!(reason::<Vector>(&bson!([f64::NAN])), Reason::NotFinite);
        assert_eq!(reason::<Vector>(&bson!([0.1])), Reason::TooLong);
        assert_eq!(reason::<Vector>(&bson!(["1"])), Reason::Type);
        assert_eq!(reason::<Vector>(&bson!("[1]")), Reason::Type);
        let long = Bson::Array(vec![Bson::Int32(1); MAX_DIMENSIONS + 1]);
        assert_eq!(reason::<Vector>(&long), Reason::Shape);
        let mut three = context();
        three.limit = crate::cell::parse_limit("vector(3)");
        assert_eq!(encode_in::<Vector>(&bson!([1, 2, 3]), &three), sent(&[1., 2., 3.]));
        assert_eq!(reason_in::<Vector>(&bson!([1, 2]), &three), Reason::Shape);
    }
}
