//! Each step against a plain second implementation, and what a row's value passes through.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, bson, doc};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::cell::{Json, PgEnum, ToCell, parse_limit};
use crate::reject::Reason;
use crate::schema::Nul;
use crate::value::Elements;
use crate::{Decimal, cell::CellContext};

/// The value after the steps of a column of type `T`; a date finer than BSON's is none here.
fn after<T: ToCell>(
    steps: &'static [Step],
    pg_type: &str,
    value: &Bson,
) -> Result<Bson, (Reason, String)> {
    let steps = Steps { steps, ty: T::TYPE, limit: parse_limit(pg_type) };
    let document = doc! { "v": value }.to_vec().unwrap();
    let (_, value) = Elements::of(&document).next().unwrap().unwrap();
    let mut workspace = Workspace::default();
    let told = |mismatch: Mismatch| (mismatch.reason(), mismatch.to_string());
    let stepped = steps.apply(value, &mut workspace).map_err(told)?;
    // The bytes have to be BSON again, to the last one.
    let document = stepped.value.to_document();
    let document = Document::from_reader(document.as_slice()).expect("steps give BSON");
    Ok(document.get("v").unwrap().clone())
}

/// The cell's payload after the steps.
fn cell<T: ToCell>(
    steps: &'static [Step],
    pg_type: &str,
    value: &Bson,
) -> Result<Vec<u8>, (Reason, String)> {
    let limit = parse_limit(pg_type);
    let steps = Steps { steps, ty: T::TYPE, limit };
    let document = doc! { "v": value }.to_vec().unwrap();
    let (_, value) = Elements::of(&document).next().unwrap().unwrap();
    let mut workspace = Workspace::default();
    let told = |mismatch: Mismatch| (mismatch.reason(), mismatch.to_string());
    let stepped = steps.apply(value, &mut workspace).map_err(told)?;
    let mut out = Vec::new();
    T::encode(stepped.value, &context(pg_type), &mut out).map_err(told)?;
    Ok(out)
}

fn context(pg_type: &str) -> CellContext {
    CellContext { limit: parse_limit(pg_type), ..crate::cell::testing::context() }
}

/// The payload of a value of the column's own type.
fn written<T: ToCell>(value: T) -> Result<Vec<u8>, (Reason, String)> {
    let mut out = Vec::new();
    value.write(&context(""), &mut out).unwrap();
    Ok(out)
}

#[track_caller]
fn refused<T: ToCell>(steps: &'static [Step], pg_type: &str, value: Bson, message: &str) {
    let (_, told) = cell::<T>(steps, pg_type, &value).unwrap_err();
    assert_eq!(told, message);
}

const LENIENT: &[Step] = &[Step::Lenient(&[])];
const TRIM: &[Step] = &[Step::Trim];
const TRUNCATE: &[Step] = &[Step::Truncate];

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

#[test]
fn steps_are_done_in_the_order_written() {
    const TAGS: &[Step] = &[
        Step::Trim,
        Step::Split(","),
        Step::Trim,
        Step::Map(&[("A", Some("active")), ("-", None)]),
    ];
    assert_eq!(
        after::<Vec<Option<String>>>(TAGS, "", &bson!("  A , b,-,, A")),
        Ok(bson!(["active", "b", null, "", "active"]))
    );
    // An array is an array already; its elements are seen to all the same.
    assert_eq!(after::<Vec<String>>(TAGS, "", &bson!([" A", "x,y"])), Ok(bson!(["active", "x,y"])));
    assert_eq!(after::<Vec<String>>(TAGS, "", &bson!("   ")), Ok(bson!([])));
    assert_eq!(after::<Vec<String>>(TAGS, "", &bson!(5)), Ok(bson!(5)));
    const CUT: &[Step] = &[Step::Truncate, Step::Trim];
    const CUT_LAST: &[Step] = &[Step::Trim, Step::Truncate];
    assert_eq!(after::<String>(CUT, "varchar(3)", &bson!(" ab c")), Ok(bson!("ab")));
    assert_eq!(after::<String>(CUT_LAST, "varchar(3)", &bson!(" ab c")), Ok(bson!("ab ")));
    const LABEL: &[Step] =
        &[Step::Lenient(&[]), Step::Map(&[("0", Some("off")), ("1", Some("on"))])];
    assert_eq!(after::<String>(LABEL, "", &bson!(1.0)), Ok(bson!("on")));
    assert_eq!(after::<String>(LABEL, "", &bson!(2)), Ok(bson!("2")));
    const WORDS: &[Step] = &[Step::Map(&[("one", Some("1")), ("N/A", None)]), Step::Lenient(&[])];
    assert_eq!(cell::<i32>(WORDS, "", &bson!("one")), written(1));
    assert_eq!(after::<i32>(WORDS, "", &bson!("N/A")), Ok(Bson::Null));
    refused::<i32>(WORDS, "", bson!("two"), "expected int4, found string \"two\"");
}

#[test]
fn two_dimensions() {
    const CELLS: &[Step] = &[Step::Split(";"), Step::Trim];
    assert_eq!(
        after::<Vec<Vec<String>>>(CELLS, "", &bson!([[" a"], ["b "]])),
        Ok(bson!([["a"], ["b"]]))
    );
    assert_eq!(
        cell::<Vec<Vec<i32>>>(LENIENT, "", &bson!([["1"], [2]])),
        written(vec![vec![1], vec![2]])
    );
}

#[test]
fn numbers_from_texts() {
    for (text, number) in [
        ("12", 12),
        ("+12", 12),
        ("-0", 0),
        ("12.00", 12),
        ("1.2e1", 12),
        ("-2147483648", i32::MIN),
    ] {
        assert_eq!(cell::<i32>(LENIENT, "", &bson!(text)), written(number), "{text}");
    }
    for text in
        ["", " 12", "12 ", "1,2", "0x10", "1_000", ".", "e5", "12e", "--1", "twelve", "1.2.3"]
    {
        assert_eq!(cell::<i32>(LENIENT, "", &bson!(text)).unwrap_err().0, Reason::Type, "{text}");
    }
    refused::<i32>(LENIENT, "", bson!("12.75"), "expected int4, found decimal 12.75");
    refused::<i32>(LENIENT, "", bson!(12.75), "expected int4, found double 12.75");
    refused::<i32>(LENIENT, "", bson!("2147483648"), "expected int4, found decimal 2147483648");
    refused::<i32>(LENIENT, "", bson!(true), "expected int4, found bool true");
    assert_eq!(cell::<i64>(LENIENT, "", &bson!("NaN")).unwrap_err().0, Reason::NotFinite);
    assert_eq!(
        cell::<Decimal>(LENIENT, "", &bson!("-001.50")),
        written::<Decimal>("-1.50".parse().unwrap())
    );
    assert_eq!(
        cell::<Decimal>(LENIENT, "", &bson!("NaN")),
        written::<Decimal>("NaN".parse().unwrap())
    );
    let long = "1".repeat(35);
    assert_eq!(cell::<Decimal>(LENIENT, "", &bson!(long.as_str())).unwrap_err().0, Reason::TooLong);
    assert_eq!(cell::<f64>(LENIENT, "", &bson!("0.1")), written(0.1));
    assert_eq!(cell::<f64>(LENIENT, "", &decimal("0.1")), written(0.1));
    assert_eq!(cell::<f64>(LENIENT, "", &bson!(i64::MAX)), written(9_223_372_036_854_775_807_f64));
    assert_eq!(cell::<f64>(LENIENT, "", &bson!("-Infinity")), written(f64::NEG_INFINITY));
    assert_eq!(cell::<f64>(LENIENT, "", &bson!("1e999")).unwrap_err().0, Reason::Range);
    assert_eq!(cell::<f32>(LENIENT, "", &bson!(0.1)), written(0.1_f32));
    assert_eq!(cell::<f32>(LENIENT, "", &bson!("0.1")), written(0.1_f32));
    assert_eq!(cell::<f32>(LENIENT, "", &bson!(1e39)).unwrap_err().0, Reason::Range);
}

#[test]
fn booleans_from_words_and_numbers() {
    for truth in [
        bson!("TRUE"),
        bson!("Yes"),
        bson!("y"),
        bson!("on"),
        bson!("1"),
        bson!(1),
        bson!(1.0),
        decimal("1.0"),
    ] {
        assert_eq!(cell::<bool>(LENIENT, "", &truth), written(true), "{truth}");
    }
    for lie in [
        bson!("false"),
        bson!("NO"),
        bson!("n"),
        bson!("off"),
        bson!("0"),
        bson!(0_i64),
        bson!(-0.0),
    ] {
        assert_eq!(cell::<bool>(LENIENT, "", &lie), written(false), "{lie}");
    }
    for neither in [bson!(""), bson!(" yes"), bson!("ja"), bson!(2), bson!(0.5), bson!(f64::NAN)] {
        assert_eq!(cell::<bool>(LENIENT, "", &neither).unwrap_err().0, Reason::Type, "{neither}");
    }
}

#[test]
fn text_from_other_values() {
    let id = bson::oid::ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
    let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![0x11; 16] };
    let pattern = bson::Regex {
        pattern: "^a".to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    };
    for (value, text) in [
        (bson!(5), "5"),
        (bson!(i64::MIN), "-9223372036854775808"),
        (bson!(5.0), "5"),
        (bson!(-0.0), "0"),
        (bson!(100.0), "100"),
        (bson!(12.75), "12.75"),
        (bson!(1e21), "1E+21"),
        (bson!(f64::NAN), "NaN"),
        (bson!(f64::NEG_INFINITY), "-Infinity"),
        (decimal("1.00"), "1.00"),
        (decimal("1E+3"), "1000"),
        (bson!(true), "true"),
        (bson!(id), "507f1f77bcf86cd799439011"),
        (Bson::Binary(uuid), "11111111-1111-1111-1111-111111111111"),
        (bson!(bson::DateTime::from_millis(0)), "1970-01-01T00:00:00.000Z"),
        (Bson::Symbol("s".into()), "s"),
        (Bson::JavaScriptCode("f()".into()), "f()"),
        (Bson::RegularExpression(pattern), "/^a/i"),
        (bson!("as it is"), "as it is"),
    ] {
        assert_eq!(after::<String>(LENIENT, "", &value), Ok(bson!(text)), "{value}");
    }
    for value in
        [bson!({}), Bson::MinKey, Bson::Timestamp(bson::Timestamp { time: 1, increment: 1 })]
    {
        assert_eq!(cell::<String>(LENIENT, "", &value).unwrap_err().0, Reason::Type, "{value}");
    }
    let year_10000 = bson!(bson::DateTime::from_millis(253_402_300_800_000));
    assert_eq!(after::<String>(LENIENT, "", &year_10000), Ok(year_10000));
    assert_eq!(after::<Vec<String>>(LENIENT, "", &bson!(5)), Ok(bson!(["5"])));
    assert_eq!(after::<Vec<String>>(LENIENT, "", &bson!(["a", 5])), Ok(bson!(["a", "5"])));
}

#[test]
fn ids_and_bytes() {
    let uuid: Uuid = "013a7092-e8d8-8bcf-a1b3-5e650e404400".parse().unwrap();
    assert_eq!(cell::<Uuid>(LENIENT, "", &bson!(uuid.to_string())), written(uuid));
    assert_eq!(cell::<Uuid>(LENIENT, "", &bson!(uuid.simple().to_string())), written(uuid));
    assert_eq!(cell::<Uuid>(LENIENT, "", &bson!("x")).unwrap_err().0, Reason::Type);
    for subtype in [BinarySubtype::Uuid, BinarySubtype::Md5, BinarySubtype::Vector] {
        let bytes = vec![0, 1, 2, 255];
        let value = Bson::Binary(Binary { subtype, bytes: bytes.clone() });
        assert_eq!(cell::<Vec<u8>>(&[], "", &value).unwrap_err().0, Reason::Type);
        assert_eq!(cell::<Vec<u8>>(LENIENT, "", &value), Ok(bytes));
    }
}

#[test]
fn times_from_texts_and_counts() {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let lenient = |text: &str| cell::<DateTime<Utc>>(LENIENT, "", &bson!(text));
    for (text, time) in [
        ("2024-02-29", "2024-02-29T00:00:00Z"),
        ("2024-02-29T23:59", "2024-02-29T23:59:00Z"),
        ("2024-02-29 23:59:59", "2024-02-29T23:59:59Z"),
        ("2024-02-29T23:59:59.123456Z", "2024-02-29T23:59:59.123456Z"),
        ("2015-08-26 00:03:50.133000000", "2015-08-26T00:03:50.133Z"),
        ("2024-02-29T23:59:59,5+02:00", "2024-02-29T21:59:59.5Z"),
        ("2024-02-29T23:59:59-0530", "2024-03-01T05:29:59Z"),
        ("2024-02-29T23:59:59+01", "2024-02-29T22:59:59Z"),
        ("1960-01-01T00:00:00.000001Z", "1960-01-01T00:00:00.000001Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ] {
        assert_eq!(lenient(text), written(at(time)), "{text}");
    }
    for text in [
        "",
        "2024",
        "2024-2-29",
        "2023-02-29",
        "29.02.2024",
        "2024-02-29T24:00",
        "2024-02-29T10",
        "2024-02-29 10:00 PM",
        "2024-02-29T10:00:00.",
        "2024-02-29T10:00:00.1234567890",
        "2024-02-29T10:00+",
        "2024-02-29T10:00Zx",
    ] {
        assert_eq!(lenient(text).unwrap_err().0, Reason::Type, "{text}");
    }
    refused::<DateTime<Utc>>(
        LENIENT,
        "",
        bson!("2024-02-29T23:59:59.123456789"),
        "expected a timestamp of whole microseconds, found date 2024-02-29T23:59:59.123Z",
    );
    // A count is of milliseconds, as JavaScript's, unless a format says something else.
    assert_eq!(
        cell::<DateTime<Utc>>(LENIENT, "", &bson!(1_709_251_199_001_i64)),
        written(at("2024-02-29T23:59:59.001Z"))
    );
    assert_eq!(
        cell::<DateTime<Utc>>(LENIENT, "", &bson!(-1.0)),
        written(at("1969-12-31T23:59:59.999Z"))
    );
    const SECONDS: &[Step] = &[Step::Lenient(&["%s"])];
    assert_eq!(
        cell::<DateTime<Utc>>(SECONDS, "", &bson!(1_709_251_199)),
        written(at("2024-02-29T23:59:59Z"))
    );
    const COMPACT: &[Step] = &[Step::Lenient(&["%Y%m%d"])];
    let day = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
    assert_eq!(cell::<NaiveDate>(COMPACT, "", &bson!(20_240_229)), written(day));
    assert_eq!(cell::<NaiveDate>(LENIENT, "", &bson!("2024-02-29")), written(day));
    assert_eq!(
        cell::<NaiveDate>(LENIENT, "", &bson!("2024-02-29 10:00")).unwrap_err().0,
        Reason::Fraction
    );
    let counter = Bson::Timestamp(bson::Timestamp { time: 1_709_251_199, increment: 7 });
    assert_eq!(cell::<DateTime<Utc>>(LENIENT, "", &counter), written(at("2024-02-29T23:59:59Z")));
}

#[test]
fn the_first_format_that_fits_reads_a_date() {
    const FORMATS: &[Step] = &[Step::Lenient(&[
        "%Y-%m-%d %H:%M:%S%.f",
        "%d.%m.%Y",
        "%m/%d/%Y %I:%M %p",
        "%a, %d %b %Y %H:%M:%S %z",
    ])];
    let at = |text: &str| text.parse::<NaiveDateTime>().unwrap();
    for (text, time) in [
        ("2005-06-15 00:54:12.0", "2005-06-15T00:54:12"),
        ("2005-06-15 00:54:12", "2005-06-15T00:54:12"),
        ("2005-06-15 00:54:12.123456", "2005-06-15T00:54:12.123456"),
        ("1.2.2024", "2024-02-01T00:00:00"),
        ("02/01/2024 11:30 PM", "2024-02-01T23:30:00"),
        ("Thu, 01 Feb 2024 01:00:00 +0200", "2024-01-31T23:00:00"),
    ] {
        assert_eq!(cell::<NaiveDateTime>(FORMATS, "", &bson!(text)), written(at(time)), "{text}");
    }
    for text in ["2005-06-15", "32.1.2024", "", "2005-06-15T00:54:12"] {
        assert_eq!(cell::<NaiveDateTime>(FORMATS, "", &bson!(text)).unwrap_err().0, Reason::Type);
    }
}

#[test]
fn what_is_cut_off() {
    assert_eq!(after::<String>(TRUNCATE, "varchar(3)", &bson!("ěšč+")), Ok(bson!("ěšč")));
    assert_eq!(
        after::<Vec<String>>(TRUNCATE, "varchar(1)[]", &bson!(["ab", "c"])),
        Ok(bson!(["a", "c"]))
    );
    for (value, cut) in
        [(bson!(12.75), 12), (bson!(-12.75), -12), (decimal("0.9"), 0), (bson!(7), 7)]
    {
        assert_eq!(cell::<i32>(TRUNCATE, "", &value), written(cut), "{value}");
    }
    refused::<i32>(TRUNCATE, "", bson!(1e10), "expected int4, found double 10000000000.0");
    refused::<i32>(TRUNCATE, "", bson!(f64::NAN), "expected int4, found double NaN");
    let numeric = |value: Bson| cell::<Decimal>(TRUNCATE, "numeric(5, 2)", &value);
    for (value, cut) in [
        (bson!(5.989_999_771_118_164), "5.98"),
        (decimal("-1.999"), "-1.99"),
        (decimal("0.001"), "0.00"),
        (decimal("1E-6000"), "0.00"),
    ] {
        assert_eq!(numeric(value), written::<Decimal>(cut.parse().unwrap()));
    }
    assert_eq!(numeric(decimal("1000")).unwrap_err().0, Reason::Range);
    const READ: &[Step] = &[Step::Lenient(&[]), Step::Truncate];
    let at = |text: &str| text.parse::<NaiveDateTime>().unwrap();
    let time = "1969-12-31T23:59:59.123456789";
    for (pg_type, cut) in [
        ("", "1969-12-31T23:59:59.123456"),
        ("timestamp(3)", "1969-12-31T23:59:59.123"),
        ("timestamp(0)", "1969-12-31T23:59:59"),
    ] {
        assert_eq!(
            cell::<NaiveDateTime>(READ, pg_type, &bson!(time)),
            written(at(cut)),
            "{pg_type}"
        );
    }
    assert_eq!(
        cell::<NaiveDate>(READ, "", &bson!(time)),
        written(NaiveDate::from_ymd_opt(1969, 12, 31).unwrap())
    );
    assert_eq!(
        cell::<NaiveDate>(TRUNCATE, "", &bson!(bson::DateTime::from_millis(-1))),
        written(NaiveDate::from_ymd_opt(1969, 12, 31).unwrap())
    );
}

#[derive(crate::PgEnum)]
#[migrate(rename_all = "lowercase")]
enum Size {
    Small,
    Large,
    #[migrate(other)]
    Unknown,
}

#[test]
fn unknown_labels_become_the_other_one() {
    assert_eq!(Size::ENUM.other, Some("unknown"));
    assert_eq!(after::<Size>(&[], "", &bson!("huge")), Ok(bson!("unknown")));
    assert_eq!(after::<Size>(&[], "", &bson!("small")), Ok(bson!("small")));
    assert_eq!(
        after::<Vec<Size>>(TRIM, "", &bson!([" large", "x"])),
        Ok(bson!(["large", "unknown"]))
    );
    assert_eq!(after::<Size>(&[], "", &bson!(5)), Ok(bson!(5)));
    assert_eq!(after::<Size>(LENIENT, "", &bson!(5)), Ok(bson!("unknown")));
}

/// U+0000 taken out of a value of the `bson` crate.
fn without_nul(nul: Nul, value: Bson) -> Bson {
    let text = |text: String| match nul {
        Nul::Strip => text.replace('\0', ""),
        Nul::Replace => text.replace('\0', "\u{fffd}"),
    };
    match value {
        Bson::String(string) => Bson::String(text(string)),
        Bson::Symbol(string) => Bson::Symbol(text(string)),
        Bson::JavaScriptCode(string) => Bson::JavaScriptCode(text(string)),
        Bson::JavaScriptCodeWithScope(code) => {
            let Bson::Document(scope) = without_nul(nul, Bson::Document(code.scope)) else {
                unreachable!()
            };
            bson::JavaScriptCodeWithScope { code: text(code.code), scope }.into()
        }
        Bson::Array(array) => {
            array.into_iter().map(|element| without_nul(nul, element)).collect::<Vec<_>>().into()
        }
        Bson::Document(document) => Bson::Document(
            document.into_iter().map(|(key, value)| (key, without_nul(nul, value))).collect(),
        ),
        value => value,
    }
}

const STRIP: &[Step] = &[Step::Nul(Nul::Strip)];
const REPLACE: &[Step] = &[Step::Nul(Nul::Replace)];

/// Any value, with texts that the steps look at.
fn any_value() -> impl Strategy<Value = Bson> {
    let text = prop_oneof![
        "[ \t\u{a0}\u{0}ab,;ě🦀]{0,12}",
        "[-+]?[0-9]{0,3}[.]?[0-9]{0,3}(e[0-9])?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}",
        prop::sample::select(vec!["yes", "NO", "1", "0", "NaN", "A", "B"]).prop_map(String::from),
    ];
    let leaf = prop_oneof![
        text.clone().prop_map(Bson::String),
        text.clone().prop_map(Bson::Symbol),
        text.clone().prop_map(|code| Bson::JavaScriptCodeWithScope(
            bson::JavaScriptCodeWithScope { scope: doc! { "x": &code }, code }
        )),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        any::<bool>().prop_map(Bson::Boolean),
        any::<i64>().prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(bson::Decimal128::from_bytes(bytes))),
        any::<[u8; 5]>().prop_map(|bytes| Bson::Binary(Binary {
            subtype: BinarySubtype::Encrypted,
            bytes: bytes.to_vec()
        })),
        Just(Bson::Null),
        Just(Bson::Undefined),
        Just(Bson::MaxKey),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::hash_map("[a-c]{0,2}", inner, 0..4)
                .prop_map(|map| Bson::Document(map.into_iter().collect())),
        ]
    })
}

/// Does `change` to a value, or to each element of an array.
fn to_each(value: &Bson, change: &dyn Fn(&Bson) -> Bson) -> Bson {
    match value {
        Bson::Array(elements) => elements.iter().map(change).collect::<Vec<_>>().into(),
        value => change(value),
    }
}

/// Compared by how they are written, since NaN is not equal to itself.
#[track_caller]
fn same(found: Result<Bson, (Reason, String)>, expected: &Bson) {
    assert_eq!(
        doc! { "v": found.unwrap() }.to_vec().unwrap(),
        doc! { "v": expected }.to_vec().unwrap()
    );
}

proptest! {
    #[test]
    fn trim_as_the_standard_library(value in any_value()) {
        let trim = |value: &Bson| match value {
            Bson::String(text) => Bson::String(text.trim().to_owned()),
            value => value.clone(),
        };
        same(after::<String>(TRIM, "", &value), &trim(&value));
        same(after::<Vec<String>>(TRIM, "", &value), &to_each(&value, &trim));
    }

    #[test]
    fn split_as_the_standard_library(value in any_value()) {
        let expected = match &value {
            Bson::String(text) if text.is_empty() => bson!([]),
            Bson::String(text) => text.split(",").map(str::to_owned).collect::<Vec<_>>().into(),
            value => value.clone(),
        };
        same(after::<Vec<String>>(&[Step::Split(",")], "", &value), &expected);
    }

    #[test]
    fn map_as_a_match(value in any_value()) {
        const LABELS: &[Step] = &[Step::Map(&[("A", Some("active")), ("", None), ("yes", Some(""))])];
        let map = |value: &Bson| match value.as_str() {
            Some("A") => bson!("active"),
            Some("") => Bson::Null,
            Some("yes") => bson!(""),
            _ => value.clone(),
        };
        same(after::<String>(LABELS, "", &value), &map(&value));
        same(after::<Vec<String>>(LABELS, "", &value), &to_each(&value, &map));
    }

    #[test]
    fn nul_as_replace(value in any_value()) {
        same(after::<Json>(STRIP, "", &value), &without_nul(Nul::Strip, value.clone()));
        same(after::<Json>(REPLACE, "", &value), &without_nul(Nul::Replace, value.clone()));
    }

    #[test]
    fn texts_are_cut_as_by_chars(text in ".{0,12}", most in 0_usize..12) {
        let expected: String = text.chars().take(most).collect();
        let found = after::<String>(TRUNCATE, &format!("varchar({most})"), &bson!(text));
        prop_assert_eq!(found, Ok(bson!(expected)));
    }

    #[test]
    fn decimals_are_cut_as_texts(coefficient in any::<i64>(), places in 0_u32..25, scale in 0_usize..10) {
        let text = format!("{coefficient}E-{places}");
        let digits = format!("{:0>30}", coefficient.unsigned_abs());
        let (before, behind) = digits.split_at(30 - places as usize);
        let behind: String = behind.chars().take(scale).collect();
        let sign = if coefficient < 0 { "-" } else { "" };
        let expected: Decimal = format!("{sign}{before}.{behind}").trim_end_matches('.').parse().unwrap();
        let found = after::<Decimal>(TRUNCATE, &format!("numeric(40, {scale})"), &decimal(&text)).unwrap();
        let number = |value: &Bson| match value {
            Bson::Decimal128(number) => number.to_string().parse::<f64>().unwrap(),
            _ => f64::NAN,
        };
        prop_assert_eq!(number(&found), number(&Bson::Decimal128(expected.0)));
    }

    #[test]
    fn number_texts_as_two_parsers_read_them(text in "[-+]?[0-9]{0,20}[.]?[0-9]{0,10}([eE][-+]?[0-9]{1,2})?") {
        let found = after::<f64>(LENIENT, "", &bson!(text.as_str()));
        match text.parse::<f64>() {
            Ok(number) => prop_assert_eq!(found, Ok(Bson::Double(number))),
            Err(_) => prop_assert_eq!(found, Ok(Bson::String(text.clone()))),
        }
        let found = after::<Decimal>(LENIENT, "", &bson!(text.as_str()));
        // The other parser does not know a point without digits behind it.
        let plain = text.replace(".e", "e").replace(".E", "E");
        let plain = plain.strip_suffix('.').unwrap_or(&plain).trim_start_matches('+').to_owned();
        if let (Ok(_), Ok(number)) = (text.parse::<f64>(), plain.parse::<bson::Decimal128>()) {
            prop_assert_eq!(found.map(|value| value.to_string()), Ok(number.to_string()));
        }
    }

    #[test]
    fn iso_texts_as_chrono_reads_them(millis in -60_000_000_000_000_i64..250_000_000_000_000, nanos in 0_u32..1_000_000, shape in 0..5) {
        let time = DateTime::from_timestamp(millis.div_euclid(1000), (millis.rem_euclid(1000) * 1_000_000) as u32 + nanos).unwrap();
        let text = match shape {
            0 => time.to_rfc3339(),
            1 => time.naive_utc().to_string(),
            2 => time.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string(),
            3 => time.with_timezone(&chrono::FixedOffset::east_opt(19_800).unwrap()).to_rfc3339(),
            _ => time.format("%Y-%m-%d %H:%M:%S%.9f+00").to_string(),
        };
        let cut = time.timestamp_micros();
        let found = cell::<DateTime<Utc>>(&[Step::Lenient(&[]), Step::Truncate], "", &bson!(text));
        prop_assert_eq!(found, written(DateTime::from_timestamp_micros(cut).unwrap()));
    }

    #[test]
    fn lenient_text_reads_back(value in any_value()) {
        // What a number's text says is that number.
        let Ok(Bson::String(text)) = after::<String>(LENIENT, "", &value) else { return Ok(()) };
        match &value {
            Bson::Double(number) if number.is_finite() => {
                prop_assert_eq!(text.parse::<f64>().unwrap(), *number);
            }
            Bson::Int64(number) => prop_assert_eq!(text, number.to_string()),
            Bson::Int32(number) => prop_assert_eq!(text, number.to_string()),
            Bson::Boolean(truth) => prop_assert_eq!(text, truth.to_string()),
            _ => {}
        }
    }

    #[test]
    fn any_steps_over_any_value_give_bson(value in any_value(), order in prop::sample::subsequence(vec![0, 1, 2, 3, 4, 5], 0..=6).prop_shuffle()) {
        const ALL: [Step; 6] = [
            Step::Trim,
            Step::Split(","),
            Step::Map(&[("A", None), ("B", Some("1"))]),
            Step::Lenient(&[]),
            Step::Truncate,
            Step::Nul(Nul::Replace),
        ];
        let steps: &'static [Step] = order.iter().map(|index| ALL[*index]).collect::<Vec<_>>().leak();
        let _ = after::<Vec<String>>(steps, "varchar(3)[]", &value);
        let _ = after::<i32>(steps, "", &value);
        let _ = after::<Vec<Decimal>>(steps, "numeric(5,2)[]", &value);
        let _ = after::<bool>(steps, "", &value);
        let _ = after::<Json>(steps, "", &value);
        let _ = after::<Size>(steps, "", &value);
        let _ = cell::<NaiveDateTime>(steps, "timestamp(3)", &value);
    }
}
