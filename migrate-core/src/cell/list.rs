//! Arrays: `Vec<T>`, `Vec<Option<T>>` and `Vec<Vec<T>>`, from BSON arrays alone; of floats also
//! from vectors (binary subtype 9).
//!
//! The elements' positions are what counts; the keys that BSON stores with them are not looked
//! at. Format: `array_recv`. PostgreSQL knows one empty array, whatever its dimensions: `[]` is
//! one, while `[[], []]` would lose its shape and is refused.

use bson::spec::ElementType;

use super::vector::{SUBTYPE, each_element};
use super::{CellContext, Element, Mismatch, PathStep, Scalar, ToCell, Wrote, builtin_oid};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

// As for enums: an error should name the trait that the user asked for.
#[diagnostic::do_not_recommend]
impl<T: Scalar> Element for T {
    const VEC_TYPE: CellType = T::TYPE.array_of();
    type Literal = Vec<T>;

    fn encode_vec(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let mut array = ArrayWriter::new(Self::VEC_TYPE, context, out);
        if is_vector(value, T::TYPE.base) {
            array.vector(value, T::TYPE.base)?;
            array.finish();
            return Ok(Wrote::Payload);
        }
        encode_row(value, Self::VEC_TYPE, array_of_one(&mut array, context, T::encode, false))?;
        array.finish();
        Ok(Wrote::Payload)
    }

    fn write_slice(
        values: &[Self],
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let mut array = ArrayWriter::new(Self::VEC_TYPE, context, out);
        for value in values {
            array.element(false, |out| value.write(context, out))?;
        }
        array.finish();
        Ok(Wrote::Payload)
    }
}

impl<T: Scalar> Element for Option<T> {
    const VEC_TYPE: CellType = T::TYPE.array_of();
    type Literal = Vec<Option<T>>;

    fn encode_vec(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let mut array = ArrayWriter::new(Self::VEC_TYPE, context, out);
        if is_vector(value, T::TYPE.base) {
            array.vector(value, T::TYPE.base)?;
            array.finish();
            return Ok(Wrote::Payload);
        }
        encode_row(value, Self::VEC_TYPE, array_of_one(&mut array, context, T::encode, true))?;
        array.finish();
        Ok(Wrote::Payload)
    }

    fn write_slice(
        values: &[Self],
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let mut array = ArrayWriter::new(Self::VEC_TYPE, context, out);
        for value in values {
            array.element(true, |out| value.write(context, out))?;
        }
        array.finish();
        Ok(Wrote::Payload)
    }
}

impl<T: Scalar> Element for Vec<T> {
    const VEC_TYPE: CellType = T::TYPE.array_of().array_of();
    type Literal = Vec<Vec<T>>;

    fn encode_vec(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let mut array = ArrayWriter::new(Self::VEC_TYPE, context, out);
        let mut columns = Columns::default();
        encode_row(value, Self::VEC_TYPE, |row| {
            let before = array.count;
            encode_row(row, T::VEC_TYPE, array_of_one(&mut array, context, T::encode, false))?;
            columns.check(array.count - before)
        })?;
        array.finish_rows(columns);
        Ok(Wrote::Payload)
    }

    fn write_slice(
        values: &[Self],
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let mut array = ArrayWriter::new(Self::VEC_TYPE, context, out);
        let mut columns = Columns::default();
        for row in values {
            for value in row {
                array.element(false, |out| value.write(context, out))?;
            }
            columns.check(row.len() as u32)?;
        }
        array.finish_rows(columns);
        Ok(Wrote::Payload)
    }
}

/// Calls `each` with every element of an array; a mismatch gets the element's position.
#[inline]
fn encode_row(
    value: Value<'_>,
    ty: CellType,
    mut each: impl FnMut(Value<'_>) -> Result<(), Mismatch>,
) -> Result<(), Mismatch> {
    if value.kind != ElementType::Array {
        return Err(Mismatch::wrong_type(ty.sql(), value));
    }
    let mut elements = value.elements();
    let mut index = 0;
    while let Some(element) = elements.next() {
        let (_, element) = element?;
        each(element).map_err(|mismatch| mismatch.at(PathStep::Index(index)))?;
        index += 1;
    }
    Ok(())
}

/// Encodes one element of one dimension.
fn array_of_one<'a>(
    array: &'a mut ArrayWriter<'_>,
    context: &'a CellContext,
    encode: impl Fn(Value<'_>, &CellContext, &mut Vec<u8>) -> Result<Wrote, Mismatch> + 'a,
    nullable: bool,
) -> impl FnMut(Value<'_>) -> Result<(), Mismatch> {
    move |value| {
        if value.kind != ElementType::Null {
            return array.element(nullable, |out| encode(value, context, out));
        }
        if !nullable {
            return Err(Mismatch::new(Reason::Type, "elements that are not null", "null"));
        }
        array.element(true, |_| Ok(Wrote::Null))
    }
}

/// Whether a value is a binary of subtype 9 and the array's elements are floats.
#[inline]
fn is_vector(value: Value<'_>, base: BaseType) -> bool {
    matches!(base, BaseType::Float4 | BaseType::Float8)
        && value.kind == ElementType::Binary
        && value.bytes[4] == SUBTYPE
}

/// How many elements each row of a two-dimensional array has.
#[derive(Default)]
struct Columns {
    rows: u32,
    count: u32,
}

impl Columns {
    fn check(&mut self, count: u32) -> Result<(), Mismatch> {
        if count == 0 {
            return Err(Mismatch::new(
                Reason::Shape,
                "rows with at least one element",
                "an empty array inside an array",
            ));
        }
        if self.rows > 0 && count != self.count {
            return Err(Mismatch::new(
                Reason::Shape,
                format!("rows of {} elements, as the first one", self.count),
                format!("one of {count}"),
            ));
        }
        self.rows += 1;
        self.count = count;
        Ok(())
    }
}

/// Writes the payload of an array; what is known at the end only is patched in then.
struct ArrayWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    dimensions: u8,
    count: u32,
    has_null: bool,
}

impl<'a> ArrayWriter<'a> {
    fn new(ty: CellType, context: &CellContext, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        let oid = match context.element_oid {
            0 => builtin_oid(ty.base),
            oid => oid,
        };
        // Dimensions and the flag for NULLs, then the type, then for each dimension its length
        // and its lower bound.
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&oid.to_be_bytes());
        out.resize(out.len() + 8 * usize::from(ty.dimensions), 0);
        Self { out, start, dimensions: ty.dimensions, count: 0, has_null: false }
    }

    #[inline]
    fn element(
        &mut self,
        nullable: bool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Wrote, Mismatch>,
    ) -> Result<(), Mismatch> {
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0xff; 4]);
        match write(self.out)? {
            Wrote::Payload => {
                let length = (self.out.len() - length_at - 4) as u32;
                self.out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
            }
            Wrote::Null if nullable => self.has_null = true,
            Wrote::Null => {
                return Err(Mismatch::new(Reason::Type, "elements that are not null", "null"));
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Writes the elements of a binary that is a vector.
    fn vector(&mut self, value: Value<'_>, base: BaseType) -> Result<(), Mismatch> {
        each_element(value, |number| {
            self.element(false, |out| {
                match base {
                    BaseType::Float4 => out.extend_from_slice(&number.to_be_bytes()),
                    _ => out.extend_from_slice(&f64::from(number).to_be_bytes()),
                }
                Ok(Wrote::Payload)
            })
        })
    }

    fn finish(self) {
        let count = self.count;
        self.patch(&[count]);
    }

    fn finish_rows(self, columns: Columns) {
        self.patch(&[columns.rows, columns.count]);
    }

    fn patch(self, lengths: &[u32]) {
        let header = &mut self.out[self.start..];
        if lengths[0] == 0 {
            self.out.truncate(self.start + 12);
            return;
        }
        header[3] = self.dimensions;
        header[7] = u8::from(self.has_null);
        for (dimension, length) in header[12..].chunks_exact_mut(8).zip(lengths) {
            dimension[..4].copy_from_slice(&length.to_be_bytes());
            dimension[4..].copy_from_slice(&1_i32.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, mismatch, reason};
    use super::*;
    use bson::{Bson, bson};

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn one_dimension() {
        assert_eq!(encode::<Vec<i32>>(&bson!([])), words(&[0, 0, 23]));
        let expected = words(&[1, 0, 23, 2, 1, 4, 7, 4, 8]);
        assert_eq!(encode::<Vec<i32>>(&bson!([7, 8.0])), expected);
        let mut out = Vec::new();
        vec![7, 8].write(&context(), &mut out).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn null_elements_only_where_allowed() {
        let nulls = bson!([7, null]);
        assert_eq!(encode::<Vec<Option<i32>>>(&nulls), words(&[1, 1, 23, 2, 1, 4, 7, -1]));
        let mismatch = mismatch::<Vec<i32>>(&nulls, &context());
        assert_eq!(mismatch.reason(), Reason::Type);
        assert_eq!(mismatch.path("tags"), "tags.1");
    }

    #[test]
    fn two_dimensions_are_rectangular() {
        assert_eq!(encode::<Vec<Vec<i32>>>(&bson!([])), words(&[0, 0, 23]));
        assert_eq!(
            encode::<Vec<Vec<i32>>>(&bson!([[7], [8]])),
            words(&[2, 0, 23, 2, 1, 1, 1, 4, 7, 4, 8])
        );
        assert_eq!(reason::<Vec<Vec<i32>>>(&bson!([[7], [8, 9]])), Reason::Shape);
        assert_eq!(reason::<Vec<Vec<i32>>>(&bson!([[], []])), Reason::Shape);
        assert_eq!(reason::<Vec<Vec<i32>>>(&bson!([7])), Reason::Type);
        let mismatch = mismatch::<Vec<Vec<i32>>>(&bson!([[7], ["x"]]), &context());
        assert_eq!(mismatch.path("grid"), "grid.1.0");
    }

    #[test]
    fn a_scalar_is_no_array() {
        assert_eq!(reason::<Vec<i32>>(&Bson::Int32(7)), Reason::Type);
        assert_eq!(reason::<Vec<i32>>(&bson!([[7]])), Reason::Type);
    }

    #[test]
    fn the_elements_type_is_the_contexts() {
        let mut other = context();
        other.element_oid = 70_000;
        let mut out = Vec::new();
        vec!["x".to_owned()].write(&other, &mut out).unwrap();
        assert_eq!(out[8..12], 70_000_u32.to_be_bytes());
    }
}
