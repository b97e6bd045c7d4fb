//! `numeric`: numbers with up to 34 decimal digits and their scale.
//!
//! A Decimal128 keeps its scale (`1.00` stays `1.00`); a double becomes the shortest decimal that
//! reads back as the same double, which is what every client has shown for it.

use std::fmt::Write as _;
use std::str::FromStr;

use bson::Decimal128;
use bson::spec::ElementType;

use super::{CellContext, Limit, Mismatch, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::value::Value;

/// A decimal number of up to 34 digits, NaN or an infinity: a `numeric` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal(pub Decimal128);

impl FromStr for Decimal {
    type Err = bson::error::Error;

    /// Reads a decimal as in `-12.50` or `1E+3`; more than 34 digits are an error.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Decimal128> for Decimal {
    fn from(number: Decimal128) -> Self {
        Self(number)
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        let mut bits = u128::from(number.unsigned_abs()) | EXPONENT_BIAS << EXPONENT_SHIFT;
        if number < 0 {
            bits |= 1 << 127;
        }
        Self(Decimal128::from_bytes(bits.to_le_bytes()))
    }
}

impl From<i32> for Decimal {
    fn from(number: i32) -> Self {
        i64::from(number).into()
    }
}

impl Default for Decimal {
    /// Zero.
    fn default() -> Self {
        0.into()
    }
}

impl ToCell for Decimal {
    const TYPE: CellType = CellType::scalar(BaseType::Numeric);
    type Literal = Self;

    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        let number = match value.kind {
            ElementType::Decimal128 => Number::from_decimal128(value.fixed()),
            ElementType::Int32 => Number::from_i64(i32::from_le_bytes(value.fixed()).into()),
            ElementType::Int64 => Number::from_i64(i64::from_le_bytes(value.fixed())),
            ElementType::Double => Number::from_f64(f64::from_le_bytes(value.fixed())),
            _ => return Err(Mismatch::wrong_type("numeric", value)),
        };
        number
            .write_numeric(context, out)
            .map_err(|(reason, expected)| Mismatch::found(reason, expected, value))?;
        Ok(Wrote::Payload)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        Number::from_decimal128(self.0.bytes())
            .write_numeric(context, out)
            .map_err(|(reason, expected)| Mismatch::new(reason, expected, self.to_string()))?;
        Ok(Wrote::Payload)
    }
}

impl Scalar for Decimal {}

const EXPONENT_BIAS: u128 = 6176;
const EXPONENT_SHIFT: u32 = 113;
const MAX_COEFFICIENT: u128 = 10_u128.pow(34) - 1;

/// A decimal number taken apart: its value is `coefficient × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Nan,
    Infinity { negative: bool },
    Finite { negative: bool, coefficient: u128, exponent: i32 },
}

impl Number {
    /// Takes a Decimal128 apart; the format is IEEE 754-2008's binary integer encoding.
    pub(crate) fn from_decimal128(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        let negative = bits >> 127 == 1;
        match bits >> 122 & 0b11111 {
            0b11111 => return Self::Nan,
            0b11110 => return Self::Infinity { negative },
            _ => {}
        }
        // With both of these bits set the coefficient begins with the bits 100, which makes it
        // larger than 34 digits: such a number counts as zero, as does any other that large.
        let (exponent, coefficient) = if bits >> 125 & 0b11 == 0b11 {
            (bits >> 111 & 0x3fff, 0)
        } else {
            let coefficient = bits & ((1 << EXPONENT_SHIFT) - 1);
            let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
            (bits >> EXPONENT_SHIFT & 0x3fff, coefficient)
        };
        let exponent = exponent as i32 - EXPONENT_BIAS as i32;
        Self::Finite { negative, coefficient, exponent }
    }

    pub(crate) fn from_i64(number: i64) -> Self {
        let coefficient = number.unsigned_abs().into();
        Self::Finite { negative: number < 0, coefficient, exponent: 0 }
    }

    /// The shortest decimal that reads back as the double.
    pub(crate) fn from_f64(number: f64) -> Self {
        if number.is_nan() {
            return Self::Nan;
        }
        if number.is_infinite() {
            return Self::Infinity { negative: number < 0.0 };
        }
        let mut text = DoubleText::default();
        write!(text, "{number:e}").expect("a double in this form has at most 24 characters");
        let (mut coefficient, mut exponent) = (0_u128, 0);
        let mut digits_behind_point = None;
        for (index, character) in text.as_bytes().iter().enumerate() {
            match character {
                b'0'..=b'9' => {
                    coefficient = coefficient * 10 + u128::from(character - b'0');
                    if let Some(digits) = &mut digits_behind_point {
                        *digits += 1;
                    }
                }
                b'.' => digits_behind_point = Some(0),
                b'e' => {
                    let tail = std::str::from_utf8(&text.as_bytes()[index + 1..]);
                    exponent = tail.ok().and_then(|tail| tail.parse().ok()).unwrap_or(0);
                    break;
                }
                _ => {}
            }
        }
        exponent -= digits_behind_point.unwrap_or(0);
        Self::Finite { negative: number.is_sign_negative(), coefficient, exponent }
    }

    /// Whether a text is a decimal number: digits with at most one point among them, a sign
    /// before and an exponent behind where wanted. White space is none of it.
    pub(crate) fn is_decimal(text: &[u8]) -> bool {
        let text = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
        let mantissa_end =
            text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let (mantissa, exponent) = text.split_at(mantissa_end);
        let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit()).count();
        let points = mantissa.iter().filter(|byte| **byte == b'.').count();
        if digits == 0 || points > 1 || digits + points < mantissa.len() {
            return false;
        }
        let Some((_, exponent)) = exponent.split_first() else { return true };
        let exponent = (exponent.strip_prefix(b"-"))
            .or_else(|| exponent.strip_prefix(b"+"))
            .unwrap_or(exponent);
        (1..=6).contains(&exponent.len()) && exponent.iter().all(u8::is_ascii_digit)
    }

    /// The number that a decimal text is, its scale kept; `None` for more than 34 digits.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if !Self::is_decimal(text) {
            return None;
        }
        let (mut coefficient, mut exponent, mut behind_point) = (0_u128, 0_i32, false);
        let mut rest = text.iter();
        for byte in rest.by_ref() {
            match byte {
                b'0'..=b'9' => {
                    coefficient = coefficient * 10 + u128::from(byte - b'0');
                    if coefficient > MAX_COEFFICIENT {
                        return None;
                    }
                    exponent -= i32::from(behind_point);
                }
                b'.' => behind_point = true,
                b'e' | b'E' => break,
                _ => {}
            }
        }
        let tail = rest.as_slice();
        if !tail.is_empty() {
            exponent += std::str::from_utf8(tail).ok()?.parse::<i32>().ok()?;
        }
        Some(Self::Finite { negative: text[0] == b'-', coefficient, exponent })
    }

    /// The same number as a Decimal128; `None` where its exponent has no room there.
    pub(crate) fn to_decimal128(self) -> Option<[u8; 16]> {
        const EXPONENTS: std::ops::RangeInclusive<i32> = -6176..=6111;
        let (negative, mut coefficient, mut exponent) = match self {
            Self::Nan => return Some((0b11111_u128 << 122).to_le_bytes()),
            Self::Infinity { negative } => {
                let bits = u128::from(negative) << 127 | 0b11110 << 122;
                return Some(bits.to_le_bytes());
            }
            Self::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        if coefficient == 0 {
            exponent = exponent.clamp(*EXPONENTS.start(), *EXPONENTS.end());
        }
        while exponent < *EXPONENTS.start() && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        while exponent > *EXPONENTS.end() && coefficient <= MAX_COEFFICIENT / 10 {
            coefficient *= 10;
            exponent -= 1;
        }
        if !EXPONENTS.contains(&exponent) || coefficient > MAX_COEFFICIENT {
            return None;
        }
        let exponent = (exponent + EXPONENT_BIAS as i32) as u128;
        let bits = u128::from(negative) << 127 | exponent << EXPONENT_SHIFT | coefficient;
        Some(bits.to_le_bytes())
    }

    /// The number without its digits behind `scale` decimal places; `None` if it has none there.
    pub(crate) fn cut(self, scale: i32) -> Option<Self> {
        let Self::Finite { negative, coefficient, exponent } = self else { return None };
        let (stripped, stripped_exponent) = strip_zeros(coefficient, exponent);
        let surplus = -stripped_exponent - scale;
        if stripped == 0 || surplus <= 0 {
            return None;
        }
        let power = 10_u128.checked_pow(surplus.unsigned_abs());
        let coefficient = power.map_or(0, |power| stripped / power);
        Some(Self::Finite { negative: negative && coefficient > 0, coefficient, exponent: -scale })
    }

    /// The same number without an exponent above 0, as far as its digits allow.
    pub(crate) fn written_out(self) -> Self {
        let Self::Finite { negative, mut coefficient, mut exponent } = self else { return self };
        const MOST_DIGITS: u128 = 10_u128.pow(21);
        while exponent > 0 && coefficient > 0 && coefficient < MOST_DIGITS / 10 {
            coefficient *= 10;
            exponent -= 1;
        }
        if exponent > 0 {
            return self;
        }
        Self::Finite { negative, coefficient, exponent }
    }

    /// The integer that it is.
    pub(crate) fn to_i64(self) -> Result<i64, Reason> {
        let Self::Finite { negative, coefficient, exponent } = self else {
            return Err(Reason::NotFinite);
        };
        let (coefficient, exponent) = strip_zeros(coefficient, exponent);
        if coefficient == 0 {
            return Ok(0);
        }
        if exponent < 0 {
            return Err(Reason::Fraction);
        }
        let whole = 10_i128
            .checked_pow(exponent as u32)
            .and_then(|power| power.checked_mul(coefficient as i128))
            .ok_or(Reason::Range)?;
        i64::try_from(if negative { -whole } else { whole }).map_err(|_| Reason::Range)
    }

    /// The double that is exactly this number.
    pub(crate) fn to_f64(self) -> Result<f64, Reason> {
        let (negative, coefficient, exponent) = match self {
            Self::Nan => return Ok(f64::NAN),
            Self::Infinity { negative: false } => return Ok(f64::INFINITY),
            Self::Infinity { negative: true } => return Ok(f64::NEG_INFINITY),
            Self::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        let (coefficient, exponent) = strip_zeros(coefficient, exponent);
        if coefficient == 0 {
            return Ok(if negative { -0.0 } else { 0.0 });
        }
        // coefficient × 10^exponent = odd × 5^exponent × 2^(twos + exponent), and a double holds
        // 53 bits beside the power of two. 5^23 has 54 bits; 5^49 has more than 34 digits.
        const MANTISSA_END: u128 = 1 << 53;
        let twos = coefficient.trailing_zeros();
        let odd = coefficient >> twos;
        let odd = match exponent {
            0..=22 => odd.checked_mul(5_u128.pow(exponent as u32)),
            -48..=-1 => {
                let fives = 5_u128.pow(exponent.unsigned_abs());
                (odd % fives == 0).then(|| odd / fives)
            }
            _ => None,
        };
        let odd = odd.filter(|odd| *odd < MANTISSA_END).ok_or(Reason::TooLong)?;
        let magnitude = odd as f64 * 2_f64.powi(twos as i32 + exponent);
        Ok(if negative { -magnitude } else { magnitude })
    }

    /// Appends the payload of a `numeric`; an error says why and what the column would take.
    ///
    /// The format is that of `numeric_recv`: the counts, then digits to the base 10,000.
    fn write_numeric(
        self,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<(), (Reason, String)> {
        const POSITIVE: u16 = 0x0000;
        const NEGATIVE: u16 = 0x4000;
        const NAN: u16 = 0xc000;
        const INFINITY: u16 = 0xd000;
        const NEGATIVE_INFINITY: u16 = 0xf000;
        const FIRST_VERSION_WITH_INFINITY: u32 = 140_000;

        let special = |sign: u16, out: &mut Vec<u8>| {
            out.extend_from_slice(&[0, 0, 0, 0]);
            out.extend_from_slice(&sign.to_be_bytes());
            out.extend_from_slice(&[0, 0]);
        };
        let (negative, coefficient, exponent) = match self {
            Self::Nan => {
                special(NAN, out);
                return Ok(());
            }
            Self::Infinity { negative } => {
                if context.server_version < FIRST_VERSION_WITH_INFINITY {
                    let expected = "a finite numeric (infinity needs PostgreSQL 14)".to_owned();
                    return Err((Reason::NotFinite, expected));
                }
                if let Limit::Numeric { precision, scale } = context.limit {
                    let expected = format!("a finite numeric({precision}, {scale})");
                    return Err((Reason::NotFinite, expected));
                }
                special(if negative { NEGATIVE_INFINITY } else { INFINITY }, out);
                return Ok(());
            }
            Self::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
        };
        if let Limit::Numeric { precision, scale } = context.limit
            && let Err(reason) = check_precision(coefficient, exponent, precision, scale)
        {
            return Err((reason, format!("numeric({precision}, {scale})")));
        }

        // Digits of the base stand at multiples of four places from the point.
        let group = exponent.div_euclid(4);
        let mut rest = coefficient * 10_u128.pow(exponent.rem_euclid(4) as u32);
        let mut digits = [0_u16; 10];
        let mut first = digits.len();
        while rest > 0 {
            first -= 1;
            digits[first] = (rest % 10_000) as u16;
            rest /= 10_000;
        }
        let digits = &digits[first..];
        let weight = if digits.is_empty() { 0 } else { group + digits.len() as i32 - 1 };
        let sign = if negative && coefficient > 0 { NEGATIVE } else { POSITIVE };
        let scale = (-exponent).max(0);
        out.extend_from_slice(&(digits.len() as u16).to_be_bytes());
        out.extend_from_slice(&(weight as i16).to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&(scale as u16).to_be_bytes());
        for digit in digits {
            out.extend_from_slice(&digit.to_be_bytes());
        }
        Ok(())
    }

    /// Appends the number as JSON writes it, its scale kept, minus zero as zero; `false` if it is
    /// not finite.
    pub(crate) fn write_json(self, out: &mut Vec<u8>) -> bool {
        let Self::Finite { negative, coefficient, exponent } = self else { return false };
        if negative && coefficient > 0 {
            out.push(b'-');
        }
        let mut buffer = [0; 40];
        let digits = decimal_digits(coefficient, &mut buffer);
        let adjusted = exponent + digits.len() as i32 - 1;
        if exponent == 0 {
            out.extend_from_slice(digits);
        } else if exponent < 0 && adjusted >= -6 {
            let behind = exponent.unsigned_abs() as usize;
            if behind >= digits.len() {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + behind - digits.len(), b'0');
                out.extend_from_slice(digits);
            } else {
                let (before, behind) = digits.split_at(digits.len() - behind);
                out.extend_from_slice(before);
                out.push(b'.');
                out.extend_from_slice(behind);
            }
        } else {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.push(b'E');
            let mut buffer = [0; 40];
            out.push(if adjusted < 0 { b'-' } else { b'+' });
            out.extend_from_slice(decimal_digits(adjusted.unsigned_abs().into(), &mut buffer));
        }
        true
    }
}

/// Whether `coefficient × 10^exponent` fits `numeric(precision, scale)` unrounded.
fn check_precision(
    coefficient: u128,
    exponent: i32,
    precision: u16,
    scale: i16,
) -> Result<(), Reason> {
    let (coefficient, exponent) = strip_zeros(coefficient, exponent);
    if coefficient == 0 {
        return Ok(());
    }
    if -exponent > i32::from(scale) {
        return Err(Reason::TooLong);
    }
    let digits_before_point = coefficient.ilog10() as i32 + 1 + exponent;
    if digits_before_point > i32::from(precision) - i32::from(scale) {
        return Err(Reason::Range);
    }
    Ok(())
}

/// The same number with a coefficient that does not end in zero.
fn strip_zeros(mut coefficient: u128, mut exponent: i32) -> (u128, i32) {
    if coefficient == 0 {
        return (0, 0);
    }
    while coefficient.is_multiple_of(10) {
        coefficient /= 10;
        exponent += 1;
    }
    (coefficient, exponent)
}

/// The digits of a whole number, written from the end of the buffer.
pub(crate) fn decimal_digits(mut number: u128, buffer: &mut [u8; 40]) -> &[u8] {
    let mut first = buffer.len();
    // Divisions of 128 bits are slow; most numbers are done with 64.
    while number > u128::from(u64::MAX) {
        first -= 1;
        buffer[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    let mut number = number as u64;
    loop {
        first -= 1;
        buffer[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[first..];
        }
    }
}

/// Room for a double in scientific form, so that formatting does not allocate.
#[derive(Default)]
struct DoubleText {
    bytes: [u8; 32],
    length: usize,
}

impl DoubleText {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Write for DoubleText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, encode_in, reason_in};
    use super::*;
    use bson::Bson;

    fn decimal(text: &str) -> Bson {
        Bson::Decimal128(text.parse().unwrap())
    }

    fn numeric(weight: i16, negative: bool, scale: u16, digits: &[u16]) -> Vec<u8> {
        let mut bytes = (digits.len() as u16).to_be_bytes().to_vec();
        bytes.extend(weight.to_be_bytes());
        bytes.extend((if negative { 0x4000_u16 } else { 0 }).to_be_bytes());
        bytes.extend(scale.to_be_bytes());
        bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        bytes
    }

    #[test]
    fn the_scale_is_kept() {
        assert_eq!(encode::<Decimal>(&decimal("1.00")), numeric(0, false, 2, &[1, 0]));
        assert_eq!(
            encode::<Decimal>(&decimal("-12345.678")),
            numeric(1, true, 3, &[1, 2345, 6780])
        );
        assert_eq!(encode::<Decimal>(&decimal("1E+3")), numeric(0, false, 0, &[1000]));
        assert_eq!(encode::<Decimal>(&decimal("-0.0")), numeric(0, false, 1, &[]));
        assert_eq!(encode::<Decimal>(&Bson::Double(-0.0)), numeric(0, false, 0, &[]));
        assert_eq!(encode::<Decimal>(&Bson::Double(12.75)), numeric(0, false, 2, &[12, 7500]));
        assert_eq!(encode::<Decimal>(&Bson::Double(0.1)), numeric(-1, false, 1, &[1000]));
        let number = Number::Finite { negative: false, coefficient: 1, exponent: 22 };
        assert_eq!(Number::from_f64(1e22), number);
    }

    #[test]
    fn coefficients_of_more_than_34_digits_are_zero() {
        let mut bytes = [0xff; 16];
        bytes[15] = 0x6c;
        assert!(matches!(
            Number::from_decimal128(bytes),
            Number::Finite { coefficient: 0, negative: false, .. }
        ));
        let too_large = (MAX_COEFFICIENT + 1) | EXPONENT_BIAS << EXPONENT_SHIFT;
        let zero = Number::Finite { negative: false, coefficient: 0, exponent: 0 };
        assert_eq!(Number::from_decimal128(too_large.to_le_bytes()), zero);
    }

    #[test]
    fn whole_numbers_convert() {
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(Decimal::from(number).to_string(), number.to_string());
        }
        assert_eq!(Decimal::default().to_string(), "0");
    }

    #[test]
    fn a_limit_is_kept_without_rounding() {
        let mut narrow = context();
        narrow.limit = Limit::Numeric { precision: 4, scale: 2 };
        encode_in::<Decimal>(&decimal("99.99"), &narrow);
        encode_in::<Decimal>(&decimal("1.5000"), &narrow);
        encode_in::<Decimal>(&decimal("0E+300"), &narrow);
        encode_in::<Decimal>(&decimal("NaN"), &narrow);
        assert_eq!(reason_in::<Decimal>(&decimal("100"), &narrow), Reason::Range);
        assert_eq!(reason_in::<Decimal>(&decimal("0.001"), &narrow), Reason::TooLong);
        assert_eq!(reason_in::<Decimal>(&decimal("Infinity"), &narrow), Reason::NotFinite);
    }

    #[test]
    fn infinity_needs_version_14() {
        let mut old = context();
        old.server_version = 130_010;
        assert_eq!(reason_in::<Decimal>(&decimal("Infinity"), &old), Reason::NotFinite);
        assert_eq!(encode::<Decimal>(&decimal("-Infinity")), [0, 0, 0, 0, 0xf0, 0, 0, 0]);
        assert_eq!(encode_in::<Decimal>(&decimal("NaN"), &old), [0, 0, 0, 0, 0xc0, 0, 0, 0]);
    }

    #[test]
    fn json_text() {
        let text = |number: &str| {
            let mut out = Vec::new();
            let number: Decimal128 = number.parse().unwrap();
            assert!(Number::from_decimal128(number.bytes()).write_json(&mut out));
            String::from_utf8(out).unwrap()
        };
        for same in ["0", "1.00", "-12.5", "0.000001", "1E+3", "1.5E-7", "1.000E-6000"] {
            assert_eq!(text(same), same);
        }
        assert_eq!(text("-0.00"), "0.00");
        assert_eq!(text("0E+3"), "0E+3");
    }
}
