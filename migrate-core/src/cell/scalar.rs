//! Booleans, integers and floating-point numbers.
//!
//! A number of any BSON type is taken if the column's type holds exactly that number: `3`, `3.0`
//! and `NumberDecimal("3")` are one number, and 0.1 as a double is not the decimal 0.1.

use bson::spec::ElementType;

use super::numeric::Number;
use super::{CellContext, Mismatch, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

impl ToCell for bool {
    const TYPE: CellType = CellType::scalar(BaseType::Bool);
    type Literal = Self;

    #[inline]
    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        match value.kind {
            ElementType::Boolean => {
                out.push(value.bytes[0]);
                Ok(Wrote::Payload)
            }
            _ => Err(Mismatch::wrong_type("bool", value)),
        }
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.push(u8::from(*self));
        Ok(Wrote::Payload)
    }
}

impl Scalar for bool {}

macro_rules! integer {
    ($rust:ty, $base:ident, $name:literal) => {
        impl ToCell for $rust {
            const TYPE: CellType = CellType::scalar(BaseType::$base);
            type Literal = Self;

            #[inline]
            fn encode(
                value: Value<'_>,
                _: &CellContext,
                out: &mut Vec<u8>,
            ) -> Result<Wrote, Mismatch> {
                let whole = whole_number(value, $name)?;
                let number = <$rust>::try_from(whole)
                    .map_err(|_| Mismatch::found(Reason::Range, $name, value))?;
                out.extend_from_slice(&number.to_be_bytes());
                Ok(Wrote::Payload)
            }

            fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
                out.extend_from_slice(&self.to_be_bytes());
                Ok(Wrote::Payload)
            }
        }

        impl Scalar for $rust {}
    };
}

integer!(i16, Int2, "int2");
integer!(i32, Int4, "int4");
integer!(i64, Int8, "int8");

/// The whole number that a value is.
#[inline]
pub(crate) fn whole_number(value: Value<'_>, expected: &'static str) -> Result<i64, Mismatch> {
    match value.kind {
        ElementType::Int32 => Ok(i32::from_le_bytes(value.fixed()).into()),
        ElementType::Int64 => Ok(i64::from_le_bytes(value.fixed())),
        ElementType::Double => whole_double(f64::from_le_bytes(value.fixed()))
            .map_err(|reason| Mismatch::found(reason, expected, value)),
        ElementType::Decimal128 => Number::from_decimal128(value.fixed())
            .to_i64()
            .map_err(|reason| Mismatch::found(reason, expected, value)),
        _ => Err(Mismatch::wrong_type(expected, value)),
    }
}

fn whole_double(number: f64) -> Result<i64, Reason> {
    if !number.is_finite() {
        return Err(Reason::NotFinite);
    }
    if number.fract() != 0.0 {
        return Err(Reason::Fraction);
    }
    // 2^63 is a double and the first one out of range; i64::MAX is none.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&number) { Ok(number as i64) } else { Err(Reason::Range) }
}

/// The double that is exactly the value.
#[inline]
pub(super) fn exact_double(value: Value<'_>, expected: &'static str) -> Result<f64, Mismatch> {
    match value.kind {
        ElementType::Double => Ok(f64::from_le_bytes(value.fixed())),
        ElementType::Int32 => Ok(i32::from_le_bytes(value.fixed()).into()),
        ElementType::Int64 => {
            let whole = i64::from_le_bytes(value.fixed());
            let number = whole as f64;
            // Through i128, because the cast to i64 would turn 2^63 into i64::MAX.
            if number as i128 == i128::from(whole) {
                Ok(number)
            } else {
                Err(Mismatch::found(Reason::TooLong, expected, value))
            }
        }
        ElementType::Decimal128 => Number::from_decimal128(value.fixed())
            .to_f64()
            .map_err(|reason| Mismatch::found(reason, expected, value)),
        _ => Err(Mismatch::wrong_type(expected, value)),
    }
}

impl ToCell for f64 {
    const TYPE: CellType = CellType::scalar(BaseType::Float8);
    type Literal = Self;

    #[inline]
    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        let number = exact_double(value, "float8")?;
        out.extend_from_slice(&number.to_be_bytes());
        Ok(Wrote::Payload)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(&self.to_be_bytes());
        Ok(Wrote::Payload)
    }
}

impl Scalar for f64 {}

impl ToCell for f32 {
    const TYPE: CellType = CellType::scalar(BaseType::Float4);
    type Literal = Self;

    #[inline]
    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        let number = exact_double(value, "float4")?;
        let short = number as f32;
        if f64::from(short) != number && !number.is_nan() {
            let reason = if short.is_infinite() { Reason::Range } else { Reason::TooLong };
            return Err(Mismatch::found(reason, "float4", value));
        }
        out.extend_from_slice(&short.to_be_bytes());
        Ok(Wrote::Payload)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(&self.to_be_bytes());
        Ok(Wrote::Payload)
    }
}

impl Scalar for f32 {}

#[cfg(test)]
mod tests {
    use super::super::testing::{encode, reason, value};
    use super::*;
    use bson::Bson;

    #[test]
    fn one_number_whatever_its_type() {
        let decimal = Bson::Decimal128("7.00E+1".parse().unwrap());
        for number in [Bson::Int32(70), Bson::Int64(70), Bson::Double(70.0), decimal] {
            assert_eq!(encode::<i16>(&number), 70_i16.to_be_bytes());
            assert_eq!(encode::<i32>(&number), 70_i32.to_be_bytes());
            assert_eq!(encode::<i64>(&number), 70_i64.to_be_bytes());
            assert_eq!(encode::<f32>(&number), 70_f32.to_be_bytes());
            assert_eq!(encode::<f64>(&number), 70_f64.to_be_bytes());
        }
    }

    #[test]
    fn the_ends_of_the_integers() {
        assert_eq!(encode::<i32>(&Bson::Int64(i32::MIN.into())), i32::MIN.to_be_bytes());
        assert_eq!(reason::<i32>(&Bson::Int64(i64::from(i32::MAX) + 1)), Reason::Range);
        assert_eq!(reason::<i16>(&Bson::Int32(32768)), Reason::Range);
        let end = 9_223_372_036_854_775_808.0;
        assert_eq!(encode::<i64>(&Bson::Double(-end)), i64::MIN.to_be_bytes());
        assert_eq!(reason::<i64>(&Bson::Double(end)), Reason::Range);
        let largest = |text: &str| Bson::Decimal128(text.parse().unwrap());
        assert_eq!(encode::<i64>(&largest("9223372036854775807")), i64::MAX.to_be_bytes());
        assert_eq!(encode::<i64>(&largest("-9223372036854775808.000")), i64::MIN.to_be_bytes());
        assert_eq!(reason::<i64>(&largest("9223372036854775808")), Reason::Range);
        assert_eq!(reason::<i64>(&largest("1E+6000")), Reason::Range);
        assert_eq!(encode::<i64>(&largest("-0E+6000")), [0; 8]);
        assert_eq!(reason::<i64>(&largest("1E-6000")), Reason::Fraction);
        assert_eq!(reason::<i64>(&largest("NaN")), Reason::NotFinite);
    }

    #[test]
    fn what_is_no_whole_number() {
        assert_eq!(reason::<i32>(&Bson::Double(12.75)), Reason::Fraction);
        assert_eq!(reason::<i32>(&Bson::Double(f64::NAN)), Reason::NotFinite);
        assert_eq!(reason::<i32>(&Bson::Double(f64::INFINITY)), Reason::NotFinite);
        assert_eq!(reason::<i32>(&Bson::String("12".into())), Reason::Type);
        assert_eq!(reason::<i32>(&Bson::Boolean(true)), Reason::Type);
        assert_eq!(encode::<i32>(&Bson::Double(-0.0)), [0; 4]);
    }

    #[test]
    fn floats_take_only_their_own_numbers() {
        assert_eq!(encode::<f64>(&Bson::Double(-0.0)), (-0.0_f64).to_be_bytes());
        assert_eq!(encode::<f64>(&Bson::Int64(1 << 53)), 9_007_199_254_740_992_f64.to_be_bytes());
        assert_eq!(reason::<f64>(&Bson::Int64((1 << 53) + 1)), Reason::TooLong);
        assert_eq!(reason::<f64>(&Bson::Int64(i64::MAX)), Reason::TooLong);
        assert_eq!(encode::<f64>(&Bson::Int64(i64::MIN)), (i64::MIN as f64).to_be_bytes());
        assert_eq!(reason::<f32>(&Bson::Double(0.1)), Reason::TooLong);
        assert_eq!(encode::<f32>(&Bson::Double(0.1_f32.into())), 0.1_f32.to_be_bytes());
        assert_eq!(reason::<f32>(&Bson::Double(1e39)), Reason::Range);
        assert_eq!(reason::<f32>(&Bson::Double(1e-60)), Reason::TooLong);
        assert!(encode::<f32>(&Bson::Double(f64::NAN)).starts_with(&[0x7f]));
        let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
        assert_eq!(encode::<f64>(&decimal("0.5")), 0.5_f64.to_be_bytes());
        assert_eq!(reason::<f64>(&decimal("0.1")), Reason::TooLong);
        assert_eq!(encode::<f64>(&decimal("-Infinity")), f64::NEG_INFINITY.to_be_bytes());
    }

    #[test]
    fn a_message_says_what_was_expected_and_found() {
        let bson = Bson::Double(12.75);
        let document = value(&bson);
        let mut out = Vec::new();
        let context = super::super::testing::context();
        let mismatch = i64::encode(document.value(), &context, &mut out).unwrap_err();
        assert_eq!(mismatch.to_string(), "expected int8, found double 12.75");
    }
}
