//! Conversions for `#[migrate(with = ..)]`: what is found written in real databases, and what no
//! rule that fits all of them could read.
//!
//! Each is named by what it takes, and gives a field of its type or an `Option` of it. A value
//! that is a number already is taken as it is; everything else than what a function describes is
//! a reject with a message.

use std::borrow::Cow;

use bson::spec::ElementType;

use crate::cell::{Decimal, Mismatch, Number, Point, pair};
use crate::reject::Reason;
use crate::value::Value;

/// A decimal with a comma: `1.234,56 €`, `-12,5`, `EUR 1 234,00`, `(12,00)`.
///
/// Points, spaces and apostrophes group digits by three. A currency may stand before or behind,
/// as a sign or as three letters. A minus may stand before or behind the digits, and parentheses
/// mean one.
///
/// ```
/// use migrate_core::{Decimal, Migrate};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Invoices {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(with = migrate_core::convert::decimal_comma)]
///     total: Decimal,
///     #[migrate(with = migrate_core::convert::decimal_comma)]
///     discount: Option<Decimal>,
/// }
/// # use migrate_core::{Value, convert};
/// # use bson::spec::ElementType;
/// # fn read(text: &str) -> Option<String> {
/// #     let mut bytes = (text.len() as u32 + 1).to_le_bytes().to_vec();
/// #     bytes.extend(text.as_bytes());
/// #     bytes.push(0);
/// #     let value = Value::new(ElementType::String, &bytes);
/// #     convert::decimal_comma::<Decimal>(value).ok().map(|number| number.to_string())
/// # }
///
/// // `read` gives the function a BSON string.
/// assert_eq!(read("1.234,56 €").as_deref(), Some("1234.56"));
/// assert_eq!(read("(12,00)").as_deref(), Some("-12.00"));
/// assert_eq!(read("1.23"), None);
/// ```
///
/// # Errors
/// When the value is neither a number nor such a text.
pub fn decimal_comma<T: From<Decimal>>(value: Value<'_>) -> Result<T, Mismatch> {
    decimal(value, Marks { point: b',', group: b'.' }, "a decimal with a comma, as 1.234,56")
}

/// A decimal with a point: `$1,234.56`, `1234.5 USD`, `-.5`, `(12.00)`.
///
/// As [`decimal_comma`], with the comma and the point the other way round.
///
/// ```
/// use migrate_core::{Decimal, Migrate};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Orders {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(with = migrate_core::convert::decimal_point)]
///     total: Decimal,
/// }
/// # use migrate_core::{Value, convert};
/// # use bson::spec::ElementType;
/// # fn read(text: &str) -> Option<String> {
/// #     let mut bytes = (text.len() as u32 + 1).to_le_bytes().to_vec();
/// #     bytes.extend(text.as_bytes());
/// #     bytes.push(0);
/// #     let value = Value::new(ElementType::String, &bytes);
/// #     convert::decimal_point::<Decimal>(value).ok().map(|number| number.to_string())
/// # }
///
/// // `read` gives the function a BSON string.
/// assert_eq!(read("$1,234.56").as_deref(), Some("1234.56"));
/// assert_eq!(read("12.00-").as_deref(), Some("-12.00"));
/// assert_eq!(read("1,23"), None);
/// ```
///
/// # Errors
/// When the value is neither a number nor such a text.
pub fn decimal_point<T: From<Decimal>>(value: Value<'_>) -> Result<T, Mismatch> {
    decimal(value, Marks { point: b'.', group: b',' }, "a decimal with a point, as 1,234.56")
}

/// A share in percent as a fraction: `12.5 %` and `12,5%` are 0.125. A number is a fraction
/// already.
///
/// ```
/// use migrate_core::{Decimal, Migrate};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Rates {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(with = migrate_core::convert::percent)]
///     vat: Option<Decimal>,
/// }
/// # use migrate_core::{Value, convert};
/// # use bson::spec::ElementType;
/// # fn read(text: &str) -> Option<String> {
/// #     let mut bytes = (text.len() as u32 + 1).to_le_bytes().to_vec();
/// #     bytes.extend(text.as_bytes());
/// #     bytes.push(0);
/// #     let value = Value::new(ElementType::String, &bytes);
/// #     convert::percent::<Decimal>(value).ok().map(|number| number.to_string())
/// # }
///
/// // `read` gives the function a BSON string.
/// assert_eq!(read("12,5 %").as_deref(), Some("0.125"));
/// assert_eq!(read("19"), None);
/// ```
///
/// # Errors
/// When the value is neither a number nor a text that ends in `%`.
pub fn percent<T: From<Decimal>>(value: Value<'_>) -> Result<T, Mismatch> {
    const EXPECTED: &str = "a share in percent, as 12.5 %";
    if let Some(number) = number(value) {
        return finish(number, value, EXPECTED);
    }
    let text = text(value, EXPECTED)?;
    let digits = text.trim().strip_suffix('%').map(|digits| digits.trim().replace(',', "."));
    let number = digits.and_then(|digits| Number::parse(digits.as_bytes()));
    match number {
        Some(Number::Finite { negative, coefficient, exponent }) => {
            let number = Number::Finite { negative, coefficient, exponent: exponent - 2 };
            finish(number, value, EXPECTED)
        }
        _ => Err(Mismatch::found(Reason::Invalid, EXPECTED, value)),
    }
}

/// A double that was a float of four bytes before: the shortest decimal of that float, so that
/// 5.989999771118164 is 5.99 again.
///
/// Doubles that are no such float, and numbers of other types, are taken as they are.
///
/// ```
/// use migrate_core::{Decimal, Migrate};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Payments {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(with = migrate_core::convert::short_float, pg_type = "numeric(5, 2)")]
///     amount: Decimal,
/// }
/// # use migrate_core::{Value, convert};
/// # use bson::spec::ElementType;
///
/// let bytes = 5.989999771118164_f64.to_le_bytes();
/// let value = Value::new(ElementType::Double, &bytes);
/// let amount: Decimal = convert::short_float(value).unwrap();
/// assert_eq!(amount.to_string(), "5.99");
/// ```
///
/// # Errors
/// When the value is no number.
pub fn short_float<T: From<Decimal>>(value: Value<'_>) -> Result<T, Mismatch> {
    const EXPECTED: &str = "a number";
    if value.kind == ElementType::Double {
        let double = f64::from_le_bytes(value.fixed());
        let float = double as f32;
        if double.is_finite() && f64::from(float) == double {
            let text = float.to_string();
            if let Some(number) = Number::parse(text.as_bytes()) {
                return finish(number, value, EXPECTED);
            }
        }
    }
    match number(value) {
        Some(number) => finish(number, value, EXPECTED),
        None => Err(Mismatch::wrong_type(EXPECTED, value)),
    }
}

/// The coordinates of a point in any of the forms that [`Point`] takes, as `[lng, lat]` in a
/// `float8[]`.
///
/// ```
/// use migrate_core::Migrate;
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Theaters {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(with = migrate_core::convert::coordinates)]
///     place: Option<Vec<f64>>,
/// }
/// # use migrate_core::{Value, convert};
/// # use bson::spec::ElementType;
///
/// let document = bson::doc! { "type": "Point", "coordinates": [8.5, 47] }.to_vec().unwrap();
/// let value = Value::new(ElementType::EmbeddedDocument, &document);
/// let place: Vec<f64> = convert::coordinates(value).unwrap();
/// assert_eq!(place, [8.5, 47.0]);
/// ```
///
/// # Errors
/// As [`Point`] refuses it.
pub fn coordinates<T: From<Vec<f64>>>(value: Value<'_>) -> Result<T, Mismatch> {
    Ok(pair(value)?.to_vec().into())
}

/// A point whose latitude comes first, as `[lat, lng]` or as the text `47.0, 8.5`.
///
/// ```
/// use migrate_core::{Migrate, Point};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// struct Summits {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(with = migrate_core::convert::latitude_first)]
///     place: Option<Point>,
/// }
/// # use migrate_core::{Value, convert};
/// # use bson::spec::ElementType;
///
/// let document = bson::doc! { "0": 47, "1": 8.5 }.to_vec().unwrap();
/// let value = Value::new(ElementType::Array, &document);
/// let place: Point = convert::latitude_first(value).unwrap();
/// assert_eq!((place.x, place.y), (8.5, 47.0));
/// ```
///
/// # Errors
/// When the value is neither a pair of numbers nor a text of two.
pub fn latitude_first<T: From<Point>>(value: Value<'_>) -> Result<T, Mismatch> {
    const EXPECTED: &str = "a latitude and a longitude, as [lat, lng] or \"47.0, 8.5\"";
    let [latitude, longitude] = match value.kind {
        ElementType::Array => pair(value)?,
        ElementType::String => {
            let text = value.as_str()?;
            let number = |text: &str| {
                let text = text.trim();
                Number::is_decimal(text.as_bytes()).then(|| text.parse::<f64>().ok()).flatten()
            };
            let both = text.split_once([',', ';']).map(|(lat, lng)| (number(lat), number(lng)));
            match both {
                Some((Some(latitude), Some(longitude))) => [latitude, longitude],
                _ => return Err(Mismatch::found(Reason::Invalid, EXPECTED, value)),
            }
        }
        _ => return Err(Mismatch::wrong_type(EXPECTED, value)),
    };
    if !(-90.0..=90.0).contains(&latitude) {
        return Err(Mismatch::new(
            Reason::Range,
            "a latitude between -90 and 90",
            latitude.to_string(),
        ));
    }
    Ok(Point { x: longitude, y: latitude }.into())
}

/// What stands between whole and fraction, and what between groups of three digits.
struct Marks {
    point: u8,
    group: u8,
}

fn decimal<T: From<Decimal>>(
    value: Value<'_>,
    marks: Marks,
    expected: &'static str,
) -> Result<T, Mismatch> {
    if let Some(number) = number(value) {
        return finish(number, value, expected);
    }
    let refused = || Mismatch::found(Reason::Invalid, expected, value);
    let text = text(value, expected)?;
    let (negative, digits) = without_sign(&text).ok_or_else(refused)?;
    let plain = plain_digits(digits, &marks).ok_or_else(refused)?;
    match Number::parse(plain.as_bytes()) {
        Some(Number::Finite { coefficient, exponent, .. }) => {
            finish(Number::Finite { negative, coefficient, exponent }, value, expected)
        }
        _ => Err(refused()),
    }
}

/// The digits and their marks, without currency and sign; and whether the sign is a minus.
fn without_sign(text: &str) -> Option<(bool, &str)> {
    let mut text = text.trim_matches(is_space);
    let mut negative = false;
    let (mut sign, mut currency) = (false, false);
    if let Some(inside) = text.strip_prefix('(') {
        text = inside.strip_suffix(')')?.trim_matches(is_space);
        (negative, sign) = (true, true);
    }
    // A sign and a currency may come in either order, on either side, each once.
    loop {
        let before = text;
        for minus in ['-', '\u{2212}', '+'] {
            let rest = text.strip_prefix(minus).or_else(|| text.strip_suffix(minus));
            if let (Some(rest), false) = (rest, sign) {
                (text, sign, negative) = (rest.trim_matches(is_space), true, minus != '+');
            }
        }
        if !currency && let Some(rest) = without_currency(text) {
            (text, currency) = (rest.trim_matches(is_space), true);
        }
        if text == before {
            return Some((negative, text));
        }
    }
}

/// The text without a currency's sign or its three letters, before or behind.
fn without_currency(text: &str) -> Option<&str> {
    const SIGNS: [char; 12] = ['€', '$', '£', '¥', '₹', '₽', '₺', '₩', '₪', '₫', '₴', '¢'];
    const NAMES: [&str; 6] = ["Kč", "kr", "zł", "Ft", "Fr.", "R$"];
    for name in NAMES {
        if let Some(rest) = text.strip_prefix(name).or_else(|| text.strip_suffix(name)) {
            return Some(rest);
        }
    }
    if let Some(rest) = text.strip_prefix(SIGNS).or_else(|| text.strip_suffix(SIGNS)) {
        return Some(rest);
    }
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    if let (Some(code), Some(rest)) = (text.get(..3), text.get(3..))
        && letters(code)
    {
        return Some(rest);
    }
    let end = text.len().checked_sub(3)?;
    let (rest, code) = (text.get(..end)?, text.get(end..)?);
    letters(code).then_some(rest)
}

/// The digits with a point, when the groups are of three and marked alike.
fn plain_digits<'a>(text: &'a str, marks: &Marks) -> Option<Cow<'a, str>> {
    let (whole, fraction) = match text.split_once(char::from(marks.point)) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_some_and(|fraction| fraction.is_empty() || !digits(fraction)) {
        return None;
    }
    if digits(whole) && fraction.is_none() {
        return Some(Cow::Borrowed(whole));
    }
    let mark = whole.chars().find(|character| !character.is_ascii_digit());
    let plain = match mark {
        None => whole.to_owned(),
        Some(mark) => {
            let is_mark = mark == char::from(marks.group)
                || is_space(mark)
                || matches!(mark, '\'' | '\u{2019}');
            let mut groups = whole.split(mark);
            let first = groups.next()?;
            if !is_mark || !(1..=3).contains(&first.len()) || !digits(first) {
                return None;
            }
            let mut plain = first.to_owned();
            for group in groups {
                if group.len() != 3 || !digits(group) {
                    return None;
                }
                plain.push_str(group);
            }
            plain
        }
    };
    Some(Cow::Owned(match fraction {
        Some(fraction) => format!("{plain}.{fraction}"),
        None => plain,
    }))
}

fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{a0}' | '\u{202f}')
}

/// A value that is a number already.
fn number(value: Value<'_>) -> Option<Number> {
    Some(match value.kind {
        ElementType::Int32 => Number::from_i64(i32::from_le_bytes(value.fixed()).into()),
        ElementType::Int64 => Number::from_i64(i64::from_le_bytes(value.fixed())),
        ElementType::Double => Number::from_f64(f64::from_le_bytes(value.fixed())),
        ElementType::Decimal128 => Number::from_decimal128(value.fixed()),
        _ => return None,
    })
}

fn text<'a>(value: Value<'a>, expected: &'static str) -> Result<Cow<'a, str>, Mismatch> {
    match value.kind {
        ElementType::String => value.as_str().map(Cow::Borrowed),
        _ => Err(Mismatch::wrong_type(expected, value)),
    }
}

fn finish<T: From<Decimal>>(
    number: Number,
    value: Value<'_>,
    expected: &'static str,
) -> Result<T, Mismatch> {
    match number.to_decimal128() {
        Some(bytes) => Ok(Decimal(bson::Decimal128::from_bytes(bytes)).into()),
        None => Err(Mismatch::found(Reason::Range, expected, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::testing;
    use bson::{Bson, bson};

    fn told(read: fn(Value<'_>) -> Result<Decimal, Mismatch>, value: Bson) -> Option<String> {
        let holder = testing::value(&value);
        read(holder.value()).ok().map(|number| number.to_string())
    }

    #[test]
    fn decimals_as_people_write_them() {
        for (text, number) in [
            ("1.234,56 €", "1234.56"),
            ("€1.234,56", "1234.56"),
            ("-12,5", "-12.5"),
            ("12,5-", "-12.5"),
            ("- 12,5 EUR", "-12.5"),
            ("EUR -12,5", "-12.5"),
            ("(12,00)", "-12.00"),
            ("(12,00 €)", "-12.00"),
            ("1 234 567", "1234567"),
            ("1\u{a0}234,5", "1234.5"),
            ("1'234,5", "1234.5"),
            ("1.234", "1234"),
            (",5", "0.5"),
            ("+7", "7"),
            ("12345,67", "12345.67"),
            ("1 234,50 Kč", "1234.50"),
            ("\u{2212}1", "-1"),
        ] {
            assert_eq!(told(decimal_comma, bson!(text)).as_deref(), Some(number), "{text}");
        }
        for text in [
            "",
            "€",
            "1.23",
            "1.2345",
            "1,234,5",
            "1.234.56",
            "12,",
            "1 23",
            "1.234 567",
            "--1",
            "(-1)",
            "1e5",
            "1,5 EUR USD",
            "abc",
            "(1",
            "1-2",
            "0x1",
            "1.234'567",
        ] {
            assert_eq!(told(decimal_comma, bson!(text)), None, "{text}");
        }
        for (text, number) in [
            ("$1,234.56", "1234.56"),
            ("(12.00)", "-12.00"),
            ("USD 5", "5"),
            ("-$5.10", "-5.10"),
            (".5", "0.5"),
        ] {
            assert_eq!(told(decimal_point, bson!(text)).as_deref(), Some(number), "{text}");
        }
        assert_eq!(told(decimal_point, bson!("1.234,56")), None);
        assert_eq!(told(decimal_point, bson!(5)).as_deref(), Some("5"));
        assert_eq!(told(decimal_comma, bson!(12.75)).as_deref(), Some("12.75"));
        assert_eq!(told(decimal_comma, bson!(true)), None);
    }

    #[test]
    fn shares_and_short_floats() {
        assert_eq!(told(percent, bson!("-12.5%")).as_deref(), Some("-0.125"));
        assert_eq!(told(percent, bson!(0.19)).as_deref(), Some("0.19"));
        assert_eq!(told(percent, bson!("%")), None);
        assert_eq!(told(short_float, bson!(0.1)).as_deref(), Some("0.1"));
        assert_eq!(told(short_float, bson!(f64::from(0.1_f32))).as_deref(), Some("0.1"));
        assert_eq!(told(short_float, bson!(3)).as_deref(), Some("3"));
        assert_eq!(told(short_float, bson!("3")), None);
    }

    #[test]
    fn points_with_the_latitude_first() {
        let read = |value: Bson| {
            let holder = testing::value(&value);
            latitude_first::<Point>(holder.value()).ok().map(|point| (point.x, point.y))
        };
        assert_eq!(read(bson!([47, 8.5])), Some((8.5, 47.0)));
        assert_eq!(read(bson!("47.0,8.5")), Some((8.5, 47.0)));
        assert_eq!(read(bson!([91, 8.5])), None);
        assert_eq!(read(bson!("47.0")), None);
        let holder = testing::value(&bson!({ "lng": 8.5, "lat": 47 }));
        assert_eq!(coordinates::<Vec<f64>>(holder.value()).unwrap(), [8.5, 47.0]);
    }
}
