//! Every column type through a real PostgreSQL and back, edges first: cells go in by binary COPY
//! and come out as text, which is compared with text that did not pass through our encoders.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Decimal128, Document, bson, doc};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use migrate_core::cell::{
    CellContext, Limit, Role, builtin_oid, encode_extended, extended_json, parse_limit,
};
use migrate_core::id::IdScheme;
use migrate_core::row::RowWriter;
use migrate_core::schema::{BaseType, EncodeFn};
use migrate_core::value::Elements;
use migrate_core::{Decimal, Json, PgEnum, Reason, ToCell, copy};
use migrate_servers::{Postgres, PostgresOptions};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

const VERSIONS: [u32; 2] = [15, 18];

/// The servers that judge: one of each version for all tests of this file.
fn servers() -> &'static [Postgres] {
    static SERVERS: OnceLock<Vec<Postgres>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let start = |version| {
            let settings = vec![("timezone".to_owned(), "UTC".to_owned())];
            let options =
                PostgresOptions { version: Some(version), settings, ..Default::default() };
            Postgres::start(options).expect("the test needs PostgreSQL")
        };
        VERSIONS.map(start).into()
    })
}

/// Sends cells of one column in, and gets them out as `SELECT {expression} FROM cells`.
struct Judge<'a> {
    /// The column's type in SQL.
    ty: &'a str,
    encode: EncodeFn,
    context: CellContext,
    expression: &'a str,
    /// Run before the table is made.
    setup: &'a str,
}

fn context(element: BaseType) -> CellContext {
    CellContext {
        ids: IdScheme::V8,
        role: Role::Plain,
        element_oid: builtin_oid(element),
        limit: Limit::None,
        server_version: 150_000,
    }
}

impl<'a> Judge<'a> {
    fn of<T: ToCell>(ty: &'a str) -> Self {
        let context = CellContext { limit: parse_limit(ty), ..context(T::TYPE.base) };
        Self { ty, encode: T::encode, context, expression: "c::text", setup: "" }
    }

    fn reason(&self, value: &Bson) -> Option<Reason> {
        let document = doc! { "v": value }.to_vec().unwrap();
        let (_, value) = Elements::of(&document).next().unwrap().unwrap();
        (self.encode)(value, &self.context, &mut Vec::new()).err().map(|error| error.reason())
    }

    #[track_caller]
    fn refuses(&self, value: impl Into<Bson>, reason: Reason) {
        let value = value.into();
        assert_eq!(self.reason(&value), Some(reason), "{value:?} as {}", self.ty);
    }

    /// The text that each server gives for each value.
    #[track_caller]
    fn texts(&self, server: &Postgres, values: &[Bson]) -> Vec<Option<String>> {
        let mut rows = copy::HEADER.to_vec();
        for (number, value) in values.iter().enumerate() {
            let document = doc! { "v": value }.to_vec().unwrap();
            let (_, cell) = Elements::of(&document).next().unwrap().unwrap();
            let mut row = RowWriter::new(&mut rows, 2);
            row.payload(&(number as i32).to_be_bytes());
            row.cell(|out| (self.encode)(cell, &self.context, out))
                .unwrap_or_else(|error| panic!("{value:?} as {}: {error}", self.ty));
            row.finish().unwrap();
        }
        rows.extend(copy::TRAILER);
        let database = unique_name();
        let url = server.create_database(&database).unwrap();
        for statement in self.setup.split_inclusive(';').filter(|sql| !sql.is_empty()) {
            server.query(&database, statement).unwrap();
        }
        server.query(&database, &format!("CREATE TABLE cells (n int4, c {})", self.ty)).unwrap();
        let statement = copy::copy_statement("public", "cells", ["n", "c"]);
        runtime().block_on(async {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let mut copy = connection.copy_in_raw(&statement).await.unwrap();
            copy.send(rows.as_slice()).await.unwrap();
            let count = copy.finish().await.unwrap_or_else(|error| panic!("{}: {error}", self.ty));
            assert_eq!(count, values.len() as u64);
            connection.close().await.unwrap();
        });
        let sql = format!("SELECT {} FROM cells ORDER BY n", self.expression);
        let rows = server.query(&database, &sql).unwrap();
        server.query("postgres", &format!("DROP DATABASE {database}")).unwrap();
        rows.into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// Every server gives these texts.
    #[track_caller]
    fn gives(&self, cases: &[(Bson, &str)]) {
        let values: Vec<Bson> = cases.iter().map(|(value, _)| value.clone()).collect();
        for server in servers() {
            for ((value, expected), text) in cases.iter().zip(self.texts(server, &values)) {
                let version = server.major();
                assert_eq!(text.as_deref(), Some(*expected), "{value:?} in PostgreSQL {version}");
            }
        }
    }

    /// Every server gives the text that it gives for an SQL expression.
    #[track_caller]
    fn gives_sql(&self, cases: &[(Bson, String)]) {
        let values: Vec<Bson> = cases.iter().map(|(value, _)| value.clone()).collect();
        for server in servers() {
            let mut expected = Vec::new();
            for some in cases.chunks(200) {
                let mut sql = "SELECT e FROM (VALUES ".to_owned();
                for (number, (_, expression)) in some.iter().enumerate() {
                    let comma = if number > 0 { "," } else { "" };
                    write!(sql, "{comma}({number}, ({expression})::text)").unwrap();
                }
                sql.push_str(") AS list (n, e) ORDER BY n");
                let rows = server.query("postgres", &sql).unwrap();
                expected.extend(rows.into_iter().map(|mut row| row.remove(0)));
            }
            let texts = self.texts(server, &values);
            for (((value, _), expected), text) in cases.iter().zip(expected).zip(texts) {
                assert_eq!(text, expected, "{value:?} in PostgreSQL {}", server.major());
            }
        }
    }
}

fn unique_name() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("cells_{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

fn date(millis: i64) -> Bson {
    Bson::DateTime(bson::DateTime::from_millis(millis))
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype, bytes: bytes.to_vec() })
}

/// Quotes text as an SQL literal; the server's own `standard_conforming_strings` is on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[test]
fn booleans_and_integers() {
    Judge::of::<bool>("boolean").gives(&[(true.into(), "true"), (false.into(), "false")]);
    Judge::of::<i16>("smallint").gives(&[
        (Bson::Int32(-32768), "-32768"),
        (Bson::Int64(32767), "32767"),
        (Bson::Double(-0.0), "0"),
        (decimal("1.50E+2"), "150"),
    ]);
    Judge::of::<i32>("integer").gives(&[
        (Bson::Int32(i32::MIN), "-2147483648"),
        (Bson::Double(2_147_483_647.0), "2147483647"),
        (decimal("-7.000"), "-7"),
    ]);
    Judge::of::<i64>("bigint").gives(&[
        (Bson::Int64(i64::MIN), "-9223372036854775808"),
        (Bson::Int64(i64::MAX), "9223372036854775807"),
        (Bson::Double(-9_223_372_036_854_775_808.0), "-9223372036854775808"),
        (decimal("9223372036854775807.00"), "9223372036854775807"),
    ]);
    let judge = Judge::of::<i32>("integer");
    judge.refuses(2_147_483_648_i64, Reason::Range);
    judge.refuses(0.5, Reason::Fraction);
    judge.refuses("5", Reason::Type);
    judge.refuses(f64::NAN, Reason::NotFinite);
    Judge::of::<bool>("boolean").refuses(1, Reason::Type);
    Judge::of::<bool>("boolean").refuses("true", Reason::Type);
}

#[test]
fn floats() {
    Judge::of::<f64>("double precision").gives(&[
        (Bson::Double(0.1), "0.1"),
        (Bson::Double(-0.0), "-0"),
        (Bson::Double(5e-324), "5e-324"),
        (Bson::Double(f64::MAX), "1.7976931348623157e+308"),
        (Bson::Double(f64::NAN), "NaN"),
        (Bson::Double(f64::NEG_INFINITY), "-Infinity"),
        (Bson::Int32(-3), "-3"),
        (Bson::Int64(1 << 60), "1.152921504606847e+18"),
        (decimal("0.375"), "0.375"),
        (decimal("-0.0"), "-0"),
        (decimal("1E+22"), "1e+22"),
    ]);
    Judge::of::<f32>("real").gives(&[
        (Bson::Double(0.1_f32.into()), "0.1"),
        (Bson::Double(f32::MAX.into()), "3.4028235e+38"),
        (Bson::Double(1e-45_f32.into()), "1e-45"),
        (Bson::Double(f64::INFINITY), "Infinity"),
        (Bson::Int32(16_777_216), "1.6777216e+07"),
    ]);
    Judge::of::<f32>("real").refuses(16_777_217, Reason::TooLong);
    Judge::of::<f64>("double precision").refuses(decimal("1E+23"), Reason::TooLong);
}

#[test]
fn a_decimal_as_a_double_is_exact_or_refused() {
    let judge = Judge::of::<f64>("double precision");
    let mut numbers = Numbers(0x853c_49e6_748f_ea9b);
    let mut taken = 0;
    for _ in 0..2000 {
        // Dyadic fractions as well as any digits, else hardly one would be exact.
        let digits = match numbers.below(3) {
            0 => u128::from(numbers.below(1000)) * 5_u128.pow(numbers.below(20) as u32),
            1 => u128::from(numbers.below(1 << 40)) << numbers.below(60),
            _ => u128::from(numbers.next()),
        };
        let text = format!("{digits}E{}", numbers.below(60) as i64 - 40);
        // The exact value of the nearest double, printed with all its digits.
        let nearest = text.parse::<f64>().unwrap();
        let exact = plain(&format!("{nearest:.1100}")) == plain(&spread(&text));
        assert_eq!(judge.reason(&decimal(&text)).is_none(), exact, "{text}");
        taken += u32::from(exact);
    }
    assert!((100..1900).contains(&taken), "{taken} of 2000 were exact");
}

/// A decimal with an exponent, written out.
fn spread(text: &str) -> String {
    let (digits, exponent) = text.split_once('E').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    if exponent >= 0 {
        return format!("{digits}{}", "0".repeat(exponent as usize));
    }
    let behind = exponent.unsigned_abs() as usize;
    let padded = format!("{digits:0>width$}", width = behind + 1);
    let (before, after) = padded.split_at(padded.len() - behind);
    format!("{before}.{after}")
}

/// Without zeros that mean nothing.
fn plain(text: &str) -> &str {
    let text = text.trim_start_matches('0');
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[test]
fn numerics() {
    let judge = Judge::of::<Decimal>("numeric");
    judge.gives(&[
        (decimal("1.00"), "1.00"),
        (decimal("-0.00"), "0.00"),
        (decimal("1234567890123456789012345678901234"), "1234567890123456789012345678901234"),
        (decimal("-0.1234567890123456789012345678901234"), "-0.1234567890123456789012345678901234"),
        (decimal("NaN"), "NaN"),
        (decimal("Infinity"), "Infinity"),
        (decimal("-Infinity"), "-Infinity"),
        (Bson::Double(f64::INFINITY), "Infinity"),
        (Bson::Double(0.1), "0.1"),
        (Bson::Double(12.75), "12.75"),
        (Bson::Double(1e21), "1000000000000000000000"),
        (Bson::Double(-0.0), "0"),
        (Bson::Int32(-1), "-1"),
        (Bson::Int64(i64::MIN), "-9223372036854775808"),
    ]);
    judge.refuses("1", Reason::Type);

    // The server reads the same number from text.
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut cases: Vec<(Bson, String)> =
        ["9.999999999999999999999999999999999E+6144", "1E-6176", "0E+6111", "0E-6176"]
            .iter()
            .map(|text| (decimal(text), format!("{}::numeric", literal(text))))
            .collect();
    for _ in 0..1500 {
        let digits = u128::from(numbers.next()) << 64 | u128::from(numbers.next());
        let digits = digits % 10_u128.pow(1 + numbers.below(34) as u32);
        let sign = if numbers.below(2) == 0 { "" } else { "-" };
        let text = format!("{sign}{digits}E{}", numbers.below(120) as i64 - 80);
        let number: Decimal128 = text.parse().unwrap();
        cases
            .push((Bson::Decimal128(number), format!("{}::numeric", literal(&number.to_string()))));
        let double = f64::from_bits(numbers.next());
        if double.is_finite() {
            cases.push((
                Bson::Double(double),
                format!("{}::numeric", literal(&format!("{double:e}"))),
            ));
        }
    }
    judge.gives_sql(&cases);

    let judge = Judge::of::<Decimal>("numeric(6,2)");
    judge.gives(&[
        (decimal("9999.99"), "9999.99"),
        (decimal("1.5000"), "1.50"),
        (decimal("0E-300"), "0.00"),
        (decimal("NaN"), "NaN"),
        (Bson::Double(-1234.5), "-1234.50"),
    ]);
    judge.refuses(decimal("10000"), Reason::Range);
    judge.refuses(decimal("0.001"), Reason::TooLong);
    judge.refuses(decimal("Infinity"), Reason::NotFinite);
}

#[test]
fn texts() {
    let control: String = (1..0x20).map(char::from).collect();
    let long = "ž".repeat(100_000);
    let samples = ["", "a", "Žluťoučký kůň", "🦀\u{10ffff}", "'\"\\", &control, "\u{7f}", &long];
    let cases: Vec<_> = samples.iter().map(|text| ((*text).into(), *text)).collect();
    Judge::of::<String>("text").gives(&cases);
    let judge = Judge::of::<String>("varchar(3)");
    judge.gives(&[("žšč".into(), "žšč"), ("🦀🦀🦀".into(), "🦀🦀🦀"), ("".into(), "")]);
    judge.refuses("abcd", Reason::TooLong);
    judge.refuses("a\0", Reason::Nul);
    judge.refuses(Bson::Symbol("a".into()), Reason::Type);
    judge.refuses(Bson::Int32(1), Reason::Type);
    let judge = Judge::of::<Vec<String>>("varchar(3)[]");
    judge.refuses(bson!(["abc", "abcd"]), Reason::TooLong);
}

#[test]
fn uuids() {
    let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
    let bytes: Vec<u8> = (0..16).collect();
    let judge = Judge::of::<Uuid>("uuid");
    judge.gives(&[
        (id.into(), "013a7092-e8d8-8bcf-a1b3-5e650e404400"),
        (id.to_hex().into(), "013a7092-e8d8-8bcf-a1b3-5e650e404400"),
        (binary(BinarySubtype::Uuid, &bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (binary(BinarySubtype::UuidOld, &bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
    ]);
    judge.refuses(binary(BinarySubtype::Generic, &bytes), Reason::Type);
    judge.refuses("507f1f77bcf86cd79943901", Reason::Type);
    judge.refuses("", Reason::Type);
    judge.refuses(7, Reason::Type);
}

#[test]
fn times() {
    // Both ends of PostgreSQL's range, and what lies one step outside.
    const FIRST: i64 = -210_866_803_200_000;
    const LAST: i64 = 9_224_318_015_999_999;
    let cases = [
        (date(0), "1970-01-01 00:00:00"),
        (date(-1), "1969-12-31 23:59:59.999"),
        (date(951_782_400_001), "2000-02-29 00:00:00.001"),
        (date(-62_135_596_800_001), "0001-12-31 23:59:59.999 BC"),
        (date(253_402_300_800_000), "10000-01-01 00:00:00"),
        (date(FIRST), "4714-11-24 00:00:00 BC"),
        (date(LAST), "294276-12-31 23:59:59.999"),
    ];
    let judge = Judge::of::<NaiveDateTime>("timestamp");
    judge.gives(&cases);
    let zoned = cases.clone().map(|(value, text)| {
        (
            value,
            match text.strip_suffix(" BC") {
                Some(text) => format!("{text}+00 BC"),
                None => format!("{text}+00"),
            },
        )
    });
    let zoned: Vec<_> = zoned.iter().map(|(value, text)| (value.clone(), text.as_str())).collect();
    Judge::of::<DateTime<Utc>>("timestamptz").gives(&zoned);
    Judge::of::<NaiveDateTime>("timestamp(3)").gives(&cases);
    for outside in [FIRST - 1, LAST + 1, i64::MIN, i64::MAX] {
        judge.refuses(date(outside), Reason::Range);
        Judge::of::<DateTime<Utc>>("timestamptz").refuses(date(outside), Reason::Range);
    }
    Judge::of::<NaiveDateTime>("timestamp(0)").refuses(date(1), Reason::TooLong);
    Judge::of::<NaiveDateTime>("timestamp(0)").gives(&[(date(1000), "1970-01-01 00:00:01")]);
    judge.refuses("2020-01-01", Reason::Type);
    judge.refuses(Bson::Timestamp(bson::Timestamp { time: 1, increment: 1 }), Reason::Type);

    // The server counts the same milliseconds.
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let millis = (0..1500).map(|_| FIRST + (numbers.next() % (LAST - FIRST) as u64) as i64);
    let cases: Vec<_> = millis.map(|millis| (date(millis), format!("{millis}::numeric"))).collect();
    let expression = "trim_scale(extract(epoch FROM c) * 1000)::text";
    Judge { expression, ..Judge::of::<NaiveDateTime>("timestamp") }.gives_sql(&cases);
}

#[test]
fn dates() {
    const DAY: i64 = 86_400_000;
    const FIRST: i64 = -210_866_803_200_000;
    const LAST: i64 = 185_331_706_992_000_000;
    let judge = Judge::of::<NaiveDate>("date");
    judge.gives(&[
        (date(0), "1970-01-01"),
        (date(-DAY), "1969-12-31"),
        (date(FIRST), "4714-11-24 BC"),
        (date(LAST), "5874897-12-31"),
    ]);
    for outside in [FIRST - DAY, LAST + DAY] {
        judge.refuses(date(outside), Reason::Range);
    }
    judge.refuses(date(1), Reason::Fraction);
    judge.refuses(date(-1), Reason::Fraction);
    judge.refuses("2020-01-01", Reason::Type);
}

#[test]
fn bytes() {
    let all: Vec<u8> = (0..=255).collect();
    let hex: String = all.iter().fold("\\x".to_owned(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let judge = Judge::of::<Vec<u8>>("bytea");
    judge.gives(&[
        (binary(BinarySubtype::Generic, &all), &hex),
        (binary(BinarySubtype::BinaryOld, &[0, 255]), "\\x00ff"),
        (binary(BinarySubtype::UserDefined(0x80), &[]), "\\x"),
    ]);
    judge.refuses(binary(BinarySubtype::Uuid, &[0; 16]), Reason::Type);
    judge.refuses(binary(BinarySubtype::Vector, &[3, 0, 1]), Reason::Type);
    judge.refuses("AAEC", Reason::Type);
}

#[test]
fn arrays() {
    let with_dimensions = "array_dims(c) || '=' || c::text";
    let judge = |judge| Judge { expression: "coalesce(array_dims(c), 'none') || c::text", ..judge };
    judge(Judge::of::<Vec<i32>>("integer[]"))
        .gives(&[(bson!([]), "none{}"), (bson!([1, 2_i64, 3.0]), "[1:3]{1,2,3}")]);
    judge(Judge::of::<Vec<Option<i64>>>("bigint[]"))
        .gives(&[(bson!([null]), "[1:1]{NULL}"), (bson!([1, null, 3]), "[1:3]{1,NULL,3}")]);
    judge(Judge::of::<Vec<String>>("text[]"))
        .gives(&[(bson!(["", "a,b", "NULL", "ž\"\\"]), r#"[1:4]{"","a,b","NULL","ž\"\\"}"#)]);
    let mut varchars = judge(Judge::of::<Vec<String>>("varchar(3)[]"));
    varchars.context.element_oid = 1043;
    varchars.gives(&[(bson!(["abc", ""]), r#"[1:2]{abc,""}"#)]);
    judge(Judge::of::<Vec<Uuid>>("uuid[]")).gives(&[(
        bson!([ObjectId::from_bytes([0; 12])]),
        "[1:1]{00000000-0000-8000-8000-000000000000}",
    )]);
    judge(Judge::of::<Vec<bool>>("boolean[]")).gives(&[(bson!([true, false]), "[1:2]{t,f}")]);
    judge(Judge::of::<Vec<f64>>("double precision[]"))
        .gives(&[(bson!([0.5, -0.0]), "[1:2]{0.5,-0}")]);
    judge(Judge::of::<Vec<Decimal>>("numeric(4,2)[]"))
        .gives(&[(bson!([1, 2.5]), "[1:2]{1.00,2.50}")]);
    judge(Judge::of::<Vec<NaiveDateTime>>("timestamp[]"))
        .gives(&[(bson!([date(0)]), r#"[1:1]{"1970-01-01 00:00:00"}"#)]);
    judge(Judge::of::<Vec<NaiveDate>>("date[]")).gives(&[(bson!([date(0)]), "[1:1]{1970-01-01}")]);
    judge(Judge::of::<Vec<Json>>("jsonb[]")).gives(&[(
        bson!([{ "a": [] }, [1, null], "x"]),
        r#"[1:3]{"{\"a\": []}","[1, null]","\"x\""}"#,
    )]);
    judge(Judge::of::<Vec<Vec<u8>>>("bytea[]")).gives(&[(
        bson!([binary(BinarySubtype::Generic, &[0, 255]), binary(BinarySubtype::Generic, &[])]),
        r#"[1:2]{"\\x00ff","\\x"}"#,
    )]);
    Judge { expression: with_dimensions, ..Judge::of::<Vec<Vec<i32>>>("integer[][]") }.gives(&[
        (bson!([[1]]), "[1:1][1:1]={{1}}"),
        (bson!([[1, 2, 3], [4, 5, 6]]), "[1:2][1:3]={{1,2,3},{4,5,6}}"),
    ]);
    judge(Judge::of::<Vec<Vec<String>>>("text[][]")).gives(&[(bson!([]), "none{}")]);

    let judge = Judge::of::<Vec<i32>>("integer[]");
    judge.refuses(bson!([1, null]), Reason::Type);
    judge.refuses(bson!([1, "2"]), Reason::Type);
    judge.refuses(bson!([[1]]), Reason::Type);
    judge.refuses(1, Reason::Type);
    let judge = Judge::of::<Vec<Vec<i32>>>("integer[][]");
    judge.refuses(bson!([[1], [2, 3]]), Reason::Shape);
    judge.refuses(bson!([[], []]), Reason::Shape);
}

#[derive(PgEnum)]
enum Mood {
    #[migrate(rename = "so so")]
    SoSo,
    Happy,
    #[migrate(rename = "Žluť, \"quoted\"")]
    Quoted,
}

#[test]
fn enums() {
    let labels = Mood::ENUM.labels;
    let quoted: Vec<_> = labels.iter().map(|label| literal(label)).collect();
    let setup = format!("CREATE TYPE \"Mood\" AS ENUM ({})", quoted.join(", "));
    let cases: Vec<(Bson, &str)> = labels.iter().map(|label| ((*label).into(), *label)).collect();
    let judge = Judge { setup: &setup, ..Judge::of::<Mood>("\"Mood\"") };
    judge.gives(&cases);
    judge.refuses("happy", Reason::Label);
    judge.refuses(1, Reason::Type);

    // An array names its element type, whose number only the server knows: the type is made in
    // the template, so that every database has it under the same number.
    for server in servers() {
        let template = "template1";
        server.query(template, &setup.replace("\"Mood\"", "\"Moods\"")).unwrap();
        let rows = server.query(template, "SELECT '\"Moods\"'::regtype::oid").unwrap();
        let mut judge = Judge::of::<Vec<Option<Mood>>>("\"Moods\"[]");
        judge.context.element_oid = rows[0][0].as_ref().unwrap().parse().unwrap();
        let texts = judge.texts(server, &[bson!(["Happy", null, "so so"]), bson!([])]);
        server.query(template, "DROP TYPE \"Moods\"").unwrap();
        assert_eq!(texts, [Some(r#"{Happy,NULL,"so so"}"#.to_owned()), Some("{}".to_owned())]);
    }
}

#[test]
fn jsonb_of_every_type() {
    let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
    let judge = Judge::of::<Json>("jsonb");
    judge.gives(&[
        (bson!({}), "{}"),
        (bson!([[], {}]), "[[], {}]"),
        (bson!("ž\u{1f}\"\\/"), r#""ž\u001f\"\\/""#),
        (bson!({ "": { "a.b": { "$c": 1 } } }), r#"{"": {"a.b": {"$c": 1}}}"#),
        (
            bson!([i64::MIN, 0.1, 1e300, 5e-324, -0.0]),
            &format!(
                "[-9223372036854775808, 0.1, 1{}, 0.{}5, 0]",
                "0".repeat(300),
                "0".repeat(323),
            ),
        ),
        (bson!([decimal("1.00"), decimal("-0.0"), decimal("1E+3")]), "[1.00, 0.0, 1000]"),
        (id.into(), r#""507f1f77bcf86cd799439011""#),
        (date(-1), r#""1969-12-31T23:59:59.999Z""#),
        (date(-62_167_219_200_000), r#""0000-01-01T00:00:00.000Z""#),
        (date(-62_167_219_200_001), r#"{"$date": {"$numberLong": "-62167219200001"}}"#),
        (date(i64::MAX), r#"{"$date": {"$numberLong": "9223372036854775807"}}"#),
        (binary(BinarySubtype::Uuid, &[0xab; 16]), r#""abababab-abab-abab-abab-abababababab""#),
        (binary(BinarySubtype::Vector, &[3, 0, 1]), r#""AwAB""#),
        (Bson::Undefined, r#"{"$undefined": true}"#),
        (Bson::MinKey, r#"{"$minKey": 1}"#),
        (
            Bson::Timestamp(bson::Timestamp { time: u32::MAX, increment: 1 }),
            r#"{"$timestamp": {"i": 1, "t": 4294967295}}"#,
        ),
    ]);
    judge.refuses(bson!({ "a": "\0" }), Reason::Nul);
    judge.refuses(bson!([f64::NAN]), Reason::NotFinite);
    judge.refuses(decimal("NaN"), Reason::NotFinite);

    // As deep as our limit goes, the server follows.
    let deep = (0..200).fold(Bson::Null, |inner, _| bson!({ "a": inner }));
    for server in servers() {
        let texts = judge.texts(server, std::slice::from_ref(&deep));
        assert_eq!(texts[0].as_ref().unwrap().matches("{\"a\": ").count(), 200);
    }
    judge.refuses(bson!([deep]), Reason::Shape);
}

/// The cases of the BSON specification's corpus: a name, and the value.
fn corpus() -> Option<Vec<(String, Bson)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets/bsoncorpus");
    if !folder.is_dir() {
        skip("the BSON corpus is not beside the repository");
        return None;
    }
    let mut cases = Vec::new();
    for documents in dump_documents(&folder) {
        let name = documents.get_str("_id").unwrap().to_owned();
        let value =
            documents.iter().find(|(key, _)| !["_id", "description"].contains(&key.as_str()));
        cases.push((name, value.expect("a case has a value").1.clone()));
    }
    assert!(cases.len() > 600, "only {} cases", cases.len());
    Some(cases)
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn dump_documents(folder: &Path) -> Vec<Document> {
    runtime().block_on(async {
        let source = migrate_core::source::open(folder.to_str().unwrap()).await.unwrap();
        let mut documents = Vec::new();
        for collection in source.collections().await.unwrap() {
            for range in source.split(&collection.name, u64::MAX).await.unwrap() {
                let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
                let read = source.read(&collection.name, &range, sender);
                let collect = async {
                    while let Some(batch) = receiver.recv().await {
                        let owned = batch.iter().map(Document::from_reader);
                        documents.extend(owned.map(Result::unwrap));
                    }
                };
                tokio::join!(async { read.await.unwrap() }, collect);
            }
        }
        documents
    })
}

/// What a value must be refused for as plain jsonb.
fn plain_reason(value: &Bson) -> Option<Reason> {
    let nul = |text: &str| text.contains('\0').then_some(Reason::Nul);
    match value {
        Bson::String(text) | Bson::Symbol(text) | Bson::JavaScriptCode(text) => nul(text),
        Bson::Double(number) if !number.is_finite() => Some(Reason::NotFinite),
        Bson::Decimal128(number) => {
            let text = number.to_string();
            (text.ends_with("NaN") || text.ends_with("Infinity")).then_some(Reason::NotFinite)
        }
        Bson::Array(values) => values.iter().find_map(plain_reason),
        Bson::Document(document) => {
            document.iter().find_map(|(key, value)| nul(key).or_else(|| plain_reason(value)))
        }
        // What plain JSON writes as canonical Extended JSON: regular expressions, code with scope.
        other => nul(&extended_texts(&other.clone().into_canonical_extjson())),
    }
}

/// All keys and texts of a JSON value, one after the other.
fn extended_texts(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) => values.iter().map(extended_texts).collect(),
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}{}", extended_texts(value))).collect()
        }
        _ => String::new(),
    }
}

/// Plain JSON made from owned values, sharing no code with the encoder.
fn plain_json(value: &Bson) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match value {
        Bson::Array(values) => {
            let values: Vec<_> = values.iter().map(plain_json).collect();
            format!("[{}]", values.join(","))
        }
        Bson::Document(document) => {
            let fields =
                document.iter().map(|(key, value)| format!("{}:{}", text(key), plain_json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Bson::Double(number) => format!("{number:e}"),
        Bson::Int32(number) => number.to_string(),
        Bson::Int64(number) => number.to_string(),
        Bson::Decimal128(number) => number.to_string(),
        Bson::ObjectId(id) => text(&id.to_hex()),
        Bson::DateTime(time) => {
            let utc = DateTime::<Utc>::from_timestamp_millis(time.timestamp_millis());
            match utc.map(|utc| utc.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()) {
                Some(iso) if iso.len() == 24 => text(&iso),
                _ => value.clone().into_canonical_extjson().to_string(),
            }
        }
        Bson::Binary(binary) => match (binary.subtype, binary.bytes.as_slice().try_into()) {
            (BinarySubtype::Uuid | BinarySubtype::UuidOld, Ok(bytes)) => {
                text(&Uuid::from_bytes(bytes).to_string())
            }
            _ => {
                let json = value.clone().into_canonical_extjson();
                json["$binary"]["base64"].to_string()
            }
        },
        other => other.clone().into_canonical_extjson().to_string(),
    }
}

#[test]
fn the_corpus_as_jsonb() {
    let Some(cases) = corpus() else { return };
    let judge = Judge::of::<Json>("jsonb");
    let mut loaded = Vec::new();
    for (name, value) in &cases {
        let expected = plain_reason(value);
        assert_eq!(judge.reason(value), expected, "{name}: {value:?}");
        if expected.is_none() {
            loaded.push((value.clone(), format!("{}::jsonb", literal(&plain_json(value)))));
        }
    }
    assert!(cases.len() - loaded.len() >= 5);
    judge.gives_sql(&loaded);
}

#[test]
fn the_corpus_as_extended_json() {
    let Some(cases) = corpus() else { return };
    let judge = Judge { encode: encode_extended, ..Judge::of::<Json>("jsonb") };
    let mut loaded = Vec::new();
    for (name, value) in &cases {
        let text = value.clone().into_canonical_extjson().to_string();
        // U+0000 is all that Extended JSON cannot bring into jsonb.
        let expected = text.contains("\\u0000").then_some(Reason::Nul);
        assert_eq!(judge.reason(value), expected, "{name}: {value:?}");
        let document = doc! { "v": value }.to_vec().unwrap();
        let ledger: serde_json::Value = serde_json::from_str(&extended_json(&document)).unwrap();
        assert_eq!(ledger["v"], value.clone().into_canonical_extjson(), "{name}");
        if expected.is_none() {
            loaded.push((value.clone(), format!("{}::jsonb", literal(&text))));
        }
    }
    judge.gives_sql(&loaded);
}

#[test]
fn the_corpus_in_typed_columns() {
    let Some(cases) = corpus() else { return };
    let mut numerics = Vec::new();
    let mut bytes = Vec::new();
    let mut texts = Vec::new();
    for (name, value) in &cases {
        match value {
            Bson::Decimal128(number) => {
                numerics
                    .push((value.clone(), format!("{}::numeric", literal(&number.to_string()))));
                let judge = Judge::of::<i64>("bigint");
                let whole = number.to_string().parse::<i64>();
                if whole.is_ok() {
                    assert_eq!(judge.reason(value), None, "{name}");
                }
            }
            Bson::Double(number) if number.is_finite() => {
                numerics
                    .push((value.clone(), format!("{}::numeric", literal(&number.to_string()))));
            }
            Bson::String(text) if text.contains('\0') => {
                Judge::of::<String>("text").refuses(value.clone(), Reason::Nul);
            }
            Bson::String(text) => texts.push((value.clone(), literal(text))),
            Bson::Binary(binary) => {
                let judge = Judge::of::<Vec<u8>>("bytea");
                let plain = matches!(u8::from(binary.subtype), 0 | 2 | 0x80..);
                if plain {
                    let hex = binary.bytes.iter().map(|byte| format!("{byte:02x}"));
                    bytes.push((value.clone(), format!("'\\x{}'::bytea", hex.collect::<String>())));
                } else {
                    judge.refuses(value.clone(), Reason::Type);
                }
            }
            _ => {}
        }
    }
    Judge::of::<Decimal>("numeric").gives_sql(&numerics);
    Judge::of::<String>("text").gives_sql(&texts);
    Judge::of::<Vec<u8>>("bytea").gives_sql(&bytes);
}

/// A value of any type, nested up to `depth` levels.
fn any_value(numbers: &mut Numbers, depth: u32) -> Bson {
    match numbers.below(if depth == 0 { 15 } else { 18 }) {
        0 => Bson::Null,
        1 => (numbers.below(2) == 0).into(),
        2 => (numbers.next() as i32).into(),
        3 => (numbers.next() as i64).into(),
        // Any bits, so that about one in two thousand is not finite; and numbers of every day.
        4 => f64::from_bits(numbers.next()).into(),
        5 => (numbers.below(1 << 30) as f64 / 100.0).into(),
        6 => {
            let bits = u128::from(numbers.next()) << 64 | u128::from(numbers.next());
            Bson::Decimal128(Decimal128::from_bytes(bits.to_le_bytes()))
        }
        7 => date(numbers.next() as i64 >> numbers.below(30)),
        8 => ObjectId::from_bytes([numbers.next() as u8; 12]).into(),
        9 => {
            let length = numbers.below(20) as usize;
            let bytes: Vec<u8> = (0..length).map(|_| numbers.next() as u8).collect();
            binary([BinarySubtype::Generic, BinarySubtype::Md5][length % 2], &bytes)
        }
        10 => binary(BinarySubtype::Uuid, &[numbers.next() as u8; 16]),
        11 => Bson::Timestamp(bson::Timestamp {
            time: numbers.next() as u32,
            increment: numbers.next() as u32,
        }),
        12 => Bson::Symbol(any_text(numbers)),
        13 | 14 => any_text(numbers).into(),
        15 => {
            let count = numbers.below(5);
            Bson::Array((0..count).map(|_| any_value(numbers, depth - 1)).collect())
        }
        _ => {
            let count = numbers.below(24);
            let fields = (0..count)
                .map(|_| (any_text(numbers).replace('\0', ""), any_value(numbers, depth - 1)));
            Bson::Document(fields.collect())
        }
    }
}

fn any_text(numbers: &mut Numbers) -> String {
    let length = numbers.below(12);
    let characters = (0..length).map(|_| match numbers.below(60) {
        0 => '\0',
        1..10 => char::from(numbers.below(0x30) as u8 + 1),
        10..20 => char::from_u32(numbers.below(0x11_0000) as u32).unwrap_or('\\'),
        _ => char::from(numbers.below(26) as u8 + b'a'),
    });
    characters.collect()
}

#[test]
fn any_value_as_jsonb() {
    let mut numbers = Numbers(0xda94_2042_e4dd_58b5);
    let judge = Judge::of::<Json>("jsonb");
    let mut loaded = Vec::new();
    for _ in 0..1500 {
        let value = any_value(&mut numbers, 3);
        let reason = judge.reason(&value);
        match plain_reason(&value) {
            // Of several faults the one that is met first is told.
            Some(_) => {
                assert!(matches!(reason, Some(Reason::Nul | Reason::NotFinite)), "{value:?}")
            }
            None => {
                assert_eq!(reason, None, "{value:?}");
                loaded.push((value.clone(), format!("{}::jsonb", literal(&plain_json(&value)))));
            }
        }
    }
    assert!((1000..1500).contains(&loaded.len()), "{} of 1500 were loaded", loaded.len());
    judge.gives_sql(&loaded);
}

#[test]
fn any_value_as_extended_json() {
    let mut numbers = Numbers(0x6c62_272e_07bb_0142);
    let judge = Judge { encode: encode_extended, ..Judge::of::<Json>("jsonb") };
    let mut loaded = Vec::new();
    for _ in 0..1500 {
        let value = any_value(&mut numbers, 3);
        let text = value.clone().into_canonical_extjson().to_string();
        if judge.reason(&value).is_none() {
            loaded.push((value, format!("{}::jsonb", literal(&text))));
        }
    }
    assert!((1000..1500).contains(&loaded.len()), "{} of 1500 were loaded", loaded.len());
    judge.gives_sql(&loaded);
}
