//! Conversions that are not exact, through real runs: messy documents whose rows are known in
//! advance, and the BSON corpus through a model with a column of every type.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, bson, doc};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use migrate_core::event::Silent;
use migrate_core::rejects::{self, Filter};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::RegistryFacts;
use migrate_core::source::memory::MemorySource;
use migrate_core::summary::Summary;
use migrate_core::validate::{Request, validate};
use migrate_core::{
    Decimal, Geometry, Json, Migrate, PgEnum, Point, Reason, Registry, Vector, registry,
};
use migrate_servers::{Postgres, PostgresOptions};
use uuid::Uuid;

fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = vec![("timezone".to_owned(), "UTC".to_owned())];
        let options = PostgresOptions { settings, ..PostgresOptions::default() };
        Postgres::start(options).expect("PostgreSQL starts")
    })
}

/// Runs a registry into a fresh database of that name.
async fn migrate(
    registry: &'static RegistryFacts,
    collection: &str,
    documents: Vec<Document>,
    database: &str,
) -> Summary {
    let url = postgres().create_database(database).expect("a fresh database");
    let source = Arc::new(MemorySource::new().with(collection, documents));
    run(registry, source, &url, &Options::default(), Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// Whether every row of a database is what the documents give once more, and the schema too.
async fn is_valid(
    registry: &'static RegistryFacts,
    collection: &str,
    documents: Vec<Document>,
    database: &str,
) -> bool {
    let url = postgres().url(database);
    let source = Arc::new(MemorySource::new().with(collection, documents));
    let (options, request, stop) = (Options::default(), Request::default(), Stop::default());
    let report = validate(registry, source, &url, &options, &request, Arc::new(Silent), &stop)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    report.clean
}

/// The rows of a query; NULL is `∅`.
fn rows(database: &str, sql: &str) -> Vec<Vec<String>> {
    let rows = postgres().query(database, sql).expect(sql);
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "∅".to_owned());
    rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[derive(PgEnum)]
#[migrate(name = "state", rename_all = "lowercase")]
#[allow(dead_code)]
enum State {
    Active,
    Inactive,
    #[migrate(other)]
    Unknown,
}

/// What ten years of applications have left behind.
#[derive(Migrate)]
#[migrate(collection = "orders", table = "orders")]
#[allow(dead_code)]
struct Order {
    #[migrate(id)]
    id: i32,
    #[migrate(trim, map("N/A" = null, null = null), lenient, empty_as_null, on_invalid = null)]
    count: Option<i32>,
    #[migrate(with = migrate_core::convert::decimal_comma, on_invalid = null)]
    price: Option<Decimal>,
    #[migrate(lenient, on_invalid = default, default = false)]
    paid: bool,
    #[migrate(
        trim,
        lenient("%+", "%Y-%m-%d %H:%M:%S%.f", "%d.%m.%Y", "%m/%d/%Y %I:%M %p", "%Y%m%d"),
        on_invalid = null
    )]
    seen: Option<DateTime<Utc>>,
    #[migrate(split = ",", trim, lenient, on_invalid = default, default = Vec::new())]
    tags: Vec<String>,
    #[migrate(trim, map(A = "active", I = "inactive"))]
    state: Option<State>,
    #[migrate(nul = replace, trim, lenient, truncate, pg_type = "varchar(5)")]
    name: String,
    #[migrate(json, nul = strip)]
    more: Option<Json>,
}

registry! { Shop = [Order] }

/// What becomes of a value.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// The cell, as PostgreSQL shows it.
    Is(&'static str),
    /// The cell, because the value was refused.
    Became(&'static str),
    Rejected,
}
use Fate::{Became, Is, Rejected};

const NULL: Fate = Is("∅");

/// A value, or none, and what becomes of it.
type Found = (Option<Bson>, Fate);

/// For each field the values that are found there, with what a person says that they mean.
fn found() -> Vec<(&'static str, Vec<Found>)> {
    let some = |value: Bson, fate| (Some(value), fate);
    let given_up = Became("∅");
    let date = |text: &str| {
        let time = text.parse::<DateTime<Utc>>().unwrap();
        bson!(bson::DateTime::from_millis(time.timestamp_millis()))
    };
    vec![
        (
            "count",
            vec![
                (None, NULL),
                some(bson!(5), Is("5")),
                some(bson!(5_i64), Is("5")),
                some(bson!(5.0), Is("5")),
                some(bson!("5"), Is("5")),
                some(bson!("\t5 "), Is("5")),
                some(bson!("-05.00"), Is("-5")),
                some(bson!("1e3"), Is("1000")),
                some(bson!(""), NULL),
                some(bson!("  "), NULL),
                some(bson!(" N/A"), NULL),
                some(bson!("null"), NULL),
                some(Bson::Null, NULL),
                some(bson!("many"), given_up),
                some(bson!("12.75"), given_up),
                some(bson!(12.75), given_up),
                some(bson!([5]), given_up),
                some(bson!({ "count": 5 }), given_up),
                some(bson!(3_000_000_000_i64), given_up),
                some(bson!("3000000000"), given_up),
                some(bson!(true), given_up),
                some(Bson::Undefined, given_up),
            ],
        ),
        (
            "price",
            vec![
                (None, NULL),
                some(Bson::Null, NULL),
                some(bson!(12.75), Is("12.75")),
                some(bson!(12), Is("12")),
                some(bson!("1.234,56 €"), Is("1234.56")),
                some(bson!("EUR 12,00"), Is("12.00")),
                some(bson!("(0,50)"), Is("-0.50")),
                some(bson!("12.75"), given_up),
                some(bson!("free"), given_up),
                some(bson!(""), given_up),
            ],
        ),
        (
            "paid",
            vec![
                (None, Is("f")),
                some(Bson::Null, Is("f")),
                some(bson!(true), Is("t")),
                some(bson!(1), Is("t")),
                some(bson!(0.0), Is("f")),
                some(bson!("yes"), Is("t")),
                some(bson!("TRUE"), Is("t")),
                some(bson!("0"), Is("f")),
                some(bson!("off"), Is("f")),
                some(bson!("maybe"), Became("f")),
                some(bson!(2), Became("f")),
                some(bson!([true]), Became("f")),
            ],
        ),
        (
            "seen",
            vec![
                (None, NULL),
                some(date("2024-02-29T23:59:59.5Z"), Is("2024-02-29 23:59:59.5+00")),
                some(bson!("2024-02-29T23:59:59Z"), Is("2024-02-29 23:59:59+00")),
                some(bson!("2024-02-29T23:59:59+02:00"), Is("2024-02-29 21:59:59+00")),
                some(bson!(" 2005-06-15 00:54:12.0"), Is("2005-06-15 00:54:12+00")),
                some(bson!("2005-06-15 00:54:12.123456"), Is("2005-06-15 00:54:12.123456+00")),
                some(bson!("29.02.2024"), Is("2024-02-29 00:00:00+00")),
                some(bson!("02/29/2024 11:59 PM"), Is("2024-02-29 23:59:00+00")),
                some(bson!("20240229"), Is("2024-02-29 00:00:00+00")),
                some(bson!(20_240_229), Is("2024-02-29 00:00:00+00")),
                some(bson!("30.02.2024"), given_up),
                some(bson!("yesterday"), given_up),
                some(bson!(""), given_up),
                some(bson!(true), given_up),
                some(bson!("2005-06-15 00:54:12.123456789"), given_up),
            ],
        ),
        (
            "tags",
            vec![
                (None, Is("{}")),
                some(Bson::Null, Is("{}")),
                some(bson!("a, b ,c"), Is("{a,b,c}")),
                some(bson!(["a ", "b"]), Is("{a,b}")),
                some(bson!(["a", 5, 1.5]), Is("{a,5,1.5}")),
                some(bson!(5), Is("{5}")),
                some(bson!(""), Is("{}")),
                some(bson!("a,,b"), Is("{a,\"\",b}")),
                some(bson!([{ "name": "a" }]), Became("{}")),
                some(bson!({ "0": "a" }), Became("{}")),
            ],
        ),
        (
            "state",
            vec![
                (None, NULL),
                some(bson!("A "), Is("active")),
                some(bson!("inactive"), Is("inactive")),
                some(bson!("unknown"), Is("unknown")),
                some(bson!("closed"), Became("unknown")),
                some(bson!(""), Became("unknown")),
                some(bson!(7), Rejected),
            ],
        ),
        (
            "name",
            vec![
                some(bson!("Ann"), Is("Ann")),
                some(bson!(" Příbram"), Is("Příbr")),
                some(bson!("a\0b"), Is("a\u{fffd}b")),
                some(bson!(12_345_678), Is("12345")),
                some(bson!(false), Is("false")),
                some(bson!(""), Is("")),
                (None, Rejected),
                some(bson!({ "first": "Ann" }), Rejected),
                some(bson!(["Ann"]), Rejected),
            ],
        ),
        (
            "more",
            vec![
                (None, NULL),
                some(bson!({ "a\u{1}": ["x\0y", 1] }), Is("{\"a\\u0001\": [\"xy\", 1]}")),
                some(bson!("\0"), Is("\"\"")),
                some(bson!([f64::NAN]), Rejected),
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_documents() {
    let fields = found();
    let mut documents = Vec::new();
    let mut expected: Vec<Vec<String>> = Vec::new();
    let mut replaced: BTreeMap<&str, u64> = BTreeMap::new();
    let mut rejected = 0;
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for number in 0..3000_i32 {
        let mut document = doc! { "_id": number };
        let mut fates = Vec::new();
        for (index, (field, values)) in fields.iter().enumerate() {
            // Every value at least once alone, in a row whose other fields are sound.
            let turn = number as usize;
            let value = if turn / 40 == index {
                &values[turn % 40 % values.len()]
            } else if turn < 40 * fields.len() {
                &values[0]
            } else {
                &values[numbers.below(values.len())]
            };
            if let Some(bson) = &value.0 {
                document.insert(*field, bson.clone());
            }
            fates.push((*field, value.1));
        }
        documents.push(document);
        if fates.iter().any(|(_, fate)| *fate == Rejected) {
            rejected += 1;
            continue;
        }
        let mut row = vec![number.to_string()];
        for (field, fate) in fates {
            match fate {
                Is(text) => row.push(text.to_owned()),
                Became(text) => {
                    *replaced.entry(field).or_default() += 1;
                    row.push(text.to_owned());
                }
                Rejected => unreachable!("such documents have no row"),
            }
        }
        expected.push(row);
    }
    let summary = migrate(Shop::FACTS, "orders", documents.clone(), "worst").await;
    assert!(is_valid(Shop::FACTS, "orders", documents, "worst").await);
    let found = rows("worst", "SELECT * FROM orders ORDER BY id");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    let table = &summary.tables[0];
    assert!(summary.balanced);
    assert_eq!((table.read, table.rejected), (3000, rejected));
    let counts: BTreeMap<&str, u64> =
        table.replaced.iter().map(|(column, values)| (column.as_str(), values.count())).collect();
    assert_eq!(counts, replaced);
    assert_eq!(counts.len(), 6);
    assert!(table.replaced["count"].null > 0 && table.replaced["paid"].default > 0);
    assert_eq!(table.replaced["state"].other, table.replaced["state"].count());
    let example: i32 = table.replaced["seen"].example.parse().unwrap();
    assert!(found.iter().any(|row| row[0] == example.to_string() && row[4] == "∅"));
    assert!(table.replaced["seen"].message.starts_with("expected "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_counts_what_no_chunk_has_counted() {
    let documents = |name: Bson| {
        vec![
            doc! { "_id": 1, "name": "Ann", "count": "many", "state": "closed" },
            doc! { "_id": 2, "name": name, "count": "more", "paid": "perhaps" },
        ]
    };
    let summary = migrate(Shop::FACTS, "orders", documents(bson!({})), "steps_retry").await;
    assert_eq!((summary.totals.loaded, summary.totals.rejected), (1, 1));
    let counts = || {
        let sums = "SELECT key, value->>'null', value->>'default', value->>'other'
            FROM migrate.run, jsonb_each(summary->'tables'->0->'replaced') ORDER BY key";
        rows("steps_retry", sums)
    };
    assert_eq!(counts(), [["count", "1", "0", "0"], ["state", "0", "0", "1"]]);
    let source = MemorySource::new().with("orders", documents(bson!("Bob")));
    let retried = rejects::retry(
        Shop::FACTS,
        Some(Arc::new(source)),
        &postgres().url("steps_retry"),
        &Options::default(),
        &Filter::default(),
        Arc::new(Silent),
        &Stop::default(),
    )
    .await
    .expect("the retry runs");
    assert_eq!((retried.tried, retried.loaded), (1, 1));
    assert_eq!(
        counts(),
        [["count", "2", "0", "0"], ["paid", "0", "1", "0"], ["state", "0", "0", "1"]]
    );
}

/// Texts as they are, and what the steps make of them, beside each other.
#[derive(Migrate)]
#[migrate(collection = "judged", table = "judged")]
#[allow(dead_code)]
struct Judged {
    #[migrate(id)]
    id: i32,
    number: String,
    #[migrate(lenient)]
    numeric: Decimal,
    #[migrate(lenient)]
    double: f64,
    #[migrate(lenient)]
    float: f32,
    #[migrate(lenient, truncate)]
    whole: i64,
    #[migrate(lenient, truncate, pg_type = "numeric(30, 2)")]
    cents: Decimal,
    word: String,
    #[migrate(lenient)]
    truth: bool,
    time: String,
    #[migrate(lenient)]
    instant: DateTime<Utc>,
    #[migrate(lenient, truncate, pg_type = "timestamp(3)")]
    millis: NaiveDateTime,
    #[migrate(lenient, truncate)]
    day: NaiveDate,
    #[migrate(lenient("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%d"))]
    by_format: DateTime<Utc>,
    text: String,
    #[migrate(truncate, pg_type = "varchar(5)")]
    cut: String,
    #[migrate(split = ",")]
    parts: Vec<String>,
    #[migrate(trim)]
    trimmed: String,
}

registry! { Court = [Judged] }

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_reads_the_same_from_texts() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut documents = Vec::new();
    for id in 0..1000_i32 {
        let digits = |most: usize, numbers: &mut Numbers| -> String {
            (0..numbers.below(most + 1))
                .map(|_| char::from(b'0' + numbers.below(10) as u8))
                .collect()
        };
        let (before, behind) = (digits(9, &mut numbers), digits(9, &mut numbers));
        let before = if before.is_empty() && behind.is_empty() { "0".to_owned() } else { before };
        let number = format!(
            "{}{before}{}{behind}{}",
            ["", "-", "+"][numbers.below(3)],
            if behind.is_empty() && numbers.below(2) == 0 { "" } else { "." },
            ["", "", "e3", "E-2", "e+0"][numbers.below(5)],
        );
        const WORDS: [&str; 14] = [
            "true", "t", "YES", "y", "On", "1", "TRUE", "false", "F", "no", "N", "off", "0",
            "False",
        ];
        let word = WORDS[numbers.below(WORDS.len())];
        let date = format!(
            "{:04}-{:02}-{:02}",
            1 + numbers.below(3000),
            1 + numbers.below(12),
            1 + numbers.below(28)
        );
        let clock =
            format!("{:02}:{:02}:{:02}", numbers.below(24), numbers.below(60), numbers.below(60));
        let fraction = digits(6, &mut numbers);
        let fraction = if fraction.is_empty() { fraction } else { format!(".{fraction}") };
        let time = match numbers.below(3) {
            0 => date,
            1 => format!("{date} {clock}{fraction}"),
            _ => {
                let zone = ["+00:00", "-05:30", "+14:00"][numbers.below(3)];
                format!("{date}T{clock}{fraction}{zone}")
            }
        };
        let letters = [' ', '\t', ',', 'a', 'ě', '🦀', '"', '\\'];
        let text: String =
            (0..numbers.below(12)).map(|_| letters[numbers.below(letters.len())]).collect();
        documents.push(doc! {
            "_id": id,
            "number": &number, "numeric": &number, "double": &number, "float": &number,
            "whole": &number, "cents": &number,
            "word": word, "truth": word,
            "time": &time, "instant": &time, "millis": &time, "day": &time, "by_format": &time,
            "text": &text, "cut": &text, "parts": &text, "trimmed": &text,
        });
    }
    let summary = migrate(Court::FACTS, "judged", documents, "judged").await;
    let rejects = rows("judged", "SELECT field, message FROM migrate.reject LIMIT 5");
    assert_eq!(summary.totals.loaded, 1000, "{rejects:?}");
    for same in [
        "numeric::text = number::numeric::text",
        "double = number::float8",
        "float = number::float4",
        "whole = trunc(number::numeric)",
        "cents = trunc(number::numeric, 2)",
        "truth = word::boolean",
        "instant = time::timestamptz",
        "by_format = time::timestamptz",
        "millis = date_trunc('milliseconds', time::timestamptz AT TIME ZONE 'UTC')",
        "day = (time::timestamptz AT TIME ZONE 'UTC')::date",
        "cut = text::varchar(5)",
        "parts = string_to_array(text, ',')",
        "trimmed = btrim(text, E' \\t')",
    ] {
        let sql = format!("SELECT * FROM judged WHERE ({same}) IS NOT TRUE ORDER BY id LIMIT 3");
        let differing = rows("judged", &sql);
        assert!(differing.is_empty(), "{same}: {differing:#?}");
    }
}

#[derive(Migrate)]
#[migrate(embedded)]
#[allow(dead_code)]
struct Address {
    #[migrate(trim)]
    city: Option<String>,
    #[migrate(lenient, on_invalid = null)]
    zip: Option<i32>,
}

#[derive(Migrate)]
#[migrate(collection = "people", table = "people")]
#[allow(dead_code)]
struct Person {
    #[migrate(id)]
    id: i32,
    #[migrate(flatten(prefix = "addr_"))]
    address: Option<Address>,
    #[migrate(path = "stats.age", trim, lenient, on_invalid = null)]
    age: Option<i32>,
    #[migrate(extra, nul = strip)]
    rest: Option<Json>,
}

registry! { Town = [Person] }

#[tokio::test(flavor = "multi_thread")]
async fn values_out_of_embedded_documents_take_steps_too() {
    let documents = vec![
        doc! { "_id": 1, "address": { "city": " Prag", "zip": "11000" }, "stats": { "age": "7 " } },
        doc! { "_id": 2, "address": { "zip": "?" }, "stats": { "age": [] }, "more": "x\0y" },
        doc! { "_id": 3, "address": null },
        doc! { "_id": 4, "address": { "city": 5 } },
    ];
    let summary = migrate(Town::FACTS, "people", documents, "town").await;
    assert_eq!((summary.totals.loaded, summary.totals.rejected), (3, 1));
    assert_eq!(
        rows("town", "SELECT * FROM people ORDER BY id"),
        [
            ["1", "Prag", "11000", "7", "∅"],
            ["2", "∅", "∅", "∅", "{\"more\": \"xy\"}"],
            ["3", "∅", "∅", "∅", "∅"],
        ]
    );
    let replaced = &summary.tables[0].replaced;
    let columns: Vec<(&str, u64)> =
        replaced.iter().map(|(column, values)| (column.as_str(), values.null)).collect();
    assert_eq!(columns, [("addr_zip", 1), ("age", 1)]);
}

/// Places and vectors. The target has neither PostGIS nor pgvector, so their bytes go into
/// `bytea`.
#[derive(Migrate)]
#[migrate(collection = "places", table = "places")]
#[allow(dead_code)]
struct Place {
    #[migrate(id)]
    id: i32,
    point: Option<Point>,
    points: Option<Vec<Point>>,
    #[migrate(with = migrate_core::convert::coordinates)]
    pair: Option<Vec<f64>>,
    #[migrate(pg_type = "bytea")]
    geometry: Option<Geometry>,
    floats: Option<Vec<f32>>,
    doubles: Option<Vec<f64>>,
    #[migrate(lenient, pg_type = "bytea")]
    vector: Option<Vector>,
    #[migrate(lenient)]
    bytes: Option<Vec<u8>>,
}

registry! { Map = [Place] }

#[tokio::test(flavor = "multi_thread")]
async fn places_and_vectors() {
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let floats = binary(BinarySubtype::Vector, &[0x27, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
    let documents = vec![
        doc! {
            "_id": 1,
            "point": { "type": "Point", "coordinates": [8.25, 47] },
            "points": [[1, 2], { "lat": 4, "lng": 3 }],
            "pair": { "type": "Point", "coordinates": [8.25, 47] },
            "geometry": { "type": "LineString", "coordinates": [[1, 2], [2, 1]] },
            "floats": floats.clone(),
            "doubles": floats.clone(),
            "vector": floats.clone(),
            "bytes": floats,
        },
        doc! {
            "_id": 2,
            "point": [0.1, -0.0],
            "pair": [1, 2],
            "floats": binary(BinarySubtype::Vector, &[0x10, 5, 0b1010_0000]),
            "vector": [0.1, 2],
            "bytes": binary(BinarySubtype::Md5, &[1, 2]),
        },
        doc! { "_id": 3, "point": [1, 2, 3] },
        doc! { "_id": 4, "geometry": { "type": "Circle" } },
    ];
    let summary = migrate(Map::FACTS, "places", documents, "places").await;
    let rejects = rows("places", "SELECT source_id, field, message FROM migrate.reject ORDER BY 1");
    let ids: Vec<&str> = rejects.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(ids, ["3", "4"], "{rejects:?}");
    assert_eq!((summary.tables[0].loaded, summary.tables[0].rejected), (2, 2));
    let found = rows(
        "places",
        "SELECT point, points, pair, encode(geometry, 'hex'), floats, doubles,
            encode(vector, 'hex'), encode(bytes, 'hex'), point[0] FROM places ORDER BY id",
    );
    let (one, two) = ("000000000000f03f", "0000000000000040");
    assert_eq!(
        found[0],
        [
            "(8.25,47)",
            "{\"(1,2)\",\"(3,4)\"}",
            "{8.25,47}",
            &format!("0102000020e610000002000000{one}{two}{two}{one}"),
            "{1,-0.5}",
            "{1,-0.5}",
            "000200003f800000bf000000",
            "27000000803f000000bf",
            "8.25",
        ]
    );
    assert_eq!(
        found[1],
        ["(0.1,-0)", "∅", "{1,2}", "∅", "{1,0,1}", "∅", "000200003dcccccd40000000", "0102", "0.1"]
    );
}

#[derive(PgEnum)]
#[allow(dead_code)]
enum Label {
    A,
    B,
}

/// A column of every type; each document has one of them.
#[derive(Migrate)]
#[migrate(collection = "cases", table = "cases")]
#[allow(dead_code)]
struct Case {
    #[migrate(id)]
    id: String,
    boolean: Option<bool>,
    int2: Option<i16>,
    int4: Option<i32>,
    int8: Option<i64>,
    float4: Option<f32>,
    float8: Option<f64>,
    numeric: Option<Decimal>,
    text: Option<String>,
    uuid: Option<Uuid>,
    timestamp: Option<NaiveDateTime>,
    timestamptz: Option<DateTime<Utc>>,
    date: Option<NaiveDate>,
    bytea: Option<Vec<u8>>,
    label: Option<Label>,
    texts: Option<Vec<String>>,
    floats: Option<Vec<f32>>,
    point: Option<Point>,
    #[migrate(json)]
    json: Option<Json>,
    #[migrate(json = "extended")]
    extended: Option<Json>,
}

registry! { Corpus = [Case] }

const COLUMNS: [&str; 19] = [
    "boolean",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "text",
    "uuid",
    "timestamp",
    "timestamptz",
    "date",
    "bytea",
    "label",
    "texts",
    "floats",
    "point",
    "json",
    "extended",
];

/// A decimal text as digits and an exponent, without zeros at the end of the digits.
fn digits(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().unwrap();
    let mantissa = mantissa.trim_start_matches('-');
    if let Some((_, behind)) = mantissa.split_once('.') {
        exponent -= behind.len() as i32;
    }
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_start_matches('0');
    let stripped = digits.trim_end_matches('0');
    if stripped.is_empty() {
        return (String::new(), 0);
    }
    (stripped.to_owned(), exponent + (digits.len() - stripped.len()) as i32)
}

/// The text of a number; `None` for other values.
fn number(value: &Bson) -> Option<String> {
    match value {
        Bson::Int32(number) => Some(number.to_string()),
        Bson::Int64(number) => Some(number.to_string()),
        Bson::Double(number) => Some(format!("{number:e}")),
        Bson::Decimal128(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether an integer column takes the value, and why not.
fn whole(value: &Bson, least: i128, most: i128) -> Option<Reason> {
    let Some(text) = number(value) else { return Some(Reason::Type) };
    if text.contains(['N', 'I', 'i']) {
        return Some(Reason::NotFinite);
    }
    let (digits, exponent) = digits(&text);
    if digits.is_empty() {
        return None;
    }
    if exponent < 0 {
        return Some(Reason::Fraction);
    }
    if digits.len() as i32 + exponent > 20 {
        return Some(Reason::Range);
    }
    let number: i128 = format!("{digits}{}", "0".repeat(exponent as usize)).parse().unwrap();
    let number = if text.starts_with('-') { -number } else { number };
    (!(least..=most).contains(&number)).then_some(Reason::Range)
}

/// Whether a float column takes the value: only if the nearest double, written with all its
/// digits, is the same number.
fn double(value: &Bson) -> Result<f64, Reason> {
    let text = number(value).ok_or(Reason::Type)?;
    let nearest: f64 = text.parse().unwrap();
    if text.contains(['N', 'I', 'i']) || matches!(value, Bson::Double(_)) {
        return Ok(nearest);
    }
    let exact = nearest.is_finite() && digits(&format!("{nearest:.1100}")) == digits(&text);
    if exact { Ok(nearest) } else { Err(Reason::TooLong) }
}

fn nul(text: &str) -> Option<Reason> {
    text.contains('\0').then_some(Reason::Nul)
}

/// Why plain JSON refuses a value: what is written as text with U+0000, or is not finite.
fn plain_json(value: &Bson) -> Option<Reason> {
    match value {
        Bson::Double(number) if !number.is_finite() => Some(Reason::NotFinite),
        Bson::Decimal128(number) => {
            let text = number.to_string();
            (text.ends_with("NaN") || text.ends_with("Infinity")).then_some(Reason::NotFinite)
        }
        Bson::Array(values) => values.iter().find_map(plain_json),
        Bson::Document(document) => document.iter().find_map(|(_, value)| plain_json(value)),
        value => {
            let text = value.clone().into_canonical_extjson().to_string();
            text.contains("\\u0000").then_some(Reason::Nul)
        }
    }
}

/// Why a column refuses a value of the corpus; `None` where it takes it.
fn refusal(column: &str, value: &Bson) -> Option<Reason> {
    let only = |fits: bool| (!fits).then_some(Reason::Type);
    match (column, value) {
        (_, Bson::Null) => None,
        ("boolean", value) => only(matches!(value, Bson::Boolean(_))),
        ("int2", value) => whole(value, i16::MIN.into(), i16::MAX.into()),
        ("int4", value) => whole(value, i32::MIN.into(), i32::MAX.into()),
        ("int8", value) => whole(value, i64::MIN.into(), i64::MAX.into()),
        ("float8", value) => double(value).err(),
        ("float4", value) => match double(value) {
            Err(reason) => Some(reason),
            Ok(number) if number.is_nan() || f64::from(number as f32) == number => None,
            Ok(number) if (number as f32).is_infinite() => Some(Reason::Range),
            Ok(_) => Some(Reason::TooLong),
        },
        ("numeric", value) => only(number(value).is_some()),
        ("text", Bson::String(text)) => nul(text),
        ("label", Bson::String(text)) => {
            (!["A", "B"].contains(&text.as_str())).then_some(Reason::Label)
        }
        ("uuid", Bson::ObjectId(_)) => None,
        ("uuid", Bson::String(text)) => {
            only(text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        ("uuid", Bson::Binary(binary)) => {
            only(matches!(u8::from(binary.subtype), 3 | 4) && binary.bytes.len() == 16)
        }
        ("timestamp" | "timestamptz", value) => only(matches!(value, Bson::DateTime(_))),
        ("date", Bson::DateTime(time)) => {
            (time.timestamp_millis() % 86_400_000 != 0).then_some(Reason::Fraction)
        }
        ("bytea", Bson::Binary(binary)) => only(matches!(u8::from(binary.subtype), 0 | 2 | 128..)),
        ("texts", Bson::Array(values)) => {
            values.iter().find_map(|value| refusal("text", value).or(only(*value != Bson::Null)))
        }
        ("floats", Bson::Array(values)) => {
            values.iter().find_map(|value| refusal("float4", value).or(only(*value != Bson::Null)))
        }
        ("floats", Bson::Binary(binary)) if binary.subtype == BinarySubtype::Vector => {
            binary.bytes.len().checked_sub(2).is_none().then_some(Reason::Malformed)
        }
        // No case is a pair or GeoJSON; an array may have another number of numbers.
        ("point", Bson::Array(values)) if values.iter().all(|value| number(value).is_some()) => {
            Some(Reason::Shape)
        }
        ("json", value) => plain_json(value),
        ("extended", value) => {
            let text = value.clone().into_canonical_extjson().to_string();
            text.contains("\\u0000").then_some(Reason::Nul)
        }
        _ => Some(Reason::Type),
    }
}

/// The cases of the BSON specification's corpus: a name, and the value.
async fn corpus() -> Option<Vec<(String, Bson)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets/bsoncorpus");
    if !folder.is_dir() {
        skip("the BSON corpus is not beside the repository");
        return None;
    }
    let source = migrate_core::source::open(folder.to_str().unwrap()).await.unwrap();
    let mut cases = Vec::new();
    for collection in source.collections().await.unwrap() {
        for range in source.split(&collection.name, u64::MAX).await.unwrap() {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            let read = source.read(&collection.name, &range, sender);
            let collect = async {
                while let Some(batch) = receiver.recv().await {
                    for document in batch.iter() {
                        let document = Document::from_reader(document).unwrap();
                        let name = document.get_str("_id").unwrap().to_owned();
                        let mut fields = document.into_iter();
                        let value =
                            fields.find(|(key, _)| !["_id", "description"].contains(&key.as_str()));
                        cases.push((name, value.expect("a case has a value").1));
                    }
                }
            };
            tokio::join!(async { read.await.unwrap() }, collect);
        }
    }
    assert!(cases.len() > 600, "only {} cases", cases.len());
    Some(cases)
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_corpus_into_a_column_of_every_type() {
    let Some(mut cases) = corpus().await else { return };
    // What the corpus has inside documents only.
    for value in [Bson::Symbol("s".into()), Bson::MinKey, Bson::MaxKey, Bson::Undefined] {
        cases.push(("alone".to_owned(), value));
    }
    let mut documents = Vec::new();
    let mut expected: BTreeMap<String, &str> = BTreeMap::new();
    let mut extended: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for (number, (name, value)) in cases.iter().enumerate() {
        for column in COLUMNS {
            let id = format!("{number} {name} {column}");
            documents.push(doc! { "_id": &id, column: value.clone() });
            let refusal = refusal(column, value);
            expected.insert(id.clone(), refusal.map_or("loaded", Reason::code));
            if column == "extended" && refusal.is_none() && *value != Bson::Null {
                extended.insert(id, value.clone().into_canonical_extjson());
            }
        }
    }
    let read = documents.len() as u64;
    let summary = migrate(Corpus::FACTS, "cases", documents, "corpus").await;
    let table = &summary.tables[0];
    assert!(summary.balanced);
    assert_eq!((table.read, table.loaded + table.rejected), (read, read));

    let ids = rows("corpus", "SELECT id FROM cases");
    let mut found: BTreeMap<String, String> =
        ids.into_iter().map(|mut row| (row.remove(0), "loaded".to_owned())).collect();
    for row in rows("corpus", "SELECT source_id, reason FROM migrate.reject") {
        let id: String = serde_json::from_str(&row[0]).unwrap();
        assert_eq!(found.insert(id, row[1].clone()), None);
    }
    let differences: Vec<String> = expected
        .iter()
        .filter(|(id, fate)| found.get(*id).map(String::as_str) != Some(**fate))
        .map(|(id, fate)| format!("{id}: expected {fate}, found {:?}", found.get(id)))
        .collect();
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
    assert_eq!(found.len(), expected.len());

    // Extended JSON is the corpus' canonical form; the server compares, since jsonb orders keys.
    let texts = rows("corpus", "SELECT id, extended::text FROM cases WHERE extended IS NOT NULL");
    assert_eq!(texts.len(), extended.len());
    for row in texts {
        let text: serde_json::Value = serde_json::from_str(&row[1]).unwrap();
        assert_eq!(text, extended[&row[0]], "{}", row[0]);
    }

    // What no column has a type for says how it can be taken.
    let told = rows(
        "corpus",
        "SELECT DISTINCT message FROM migrate.reject
         WHERE field = 'int4' AND message ~ 'regex|javascript|symbol|dbPointer|minKey|maxKey|timestamp'",
    );
    assert!(told.len() >= 7, "{told:?}");
    assert!(told.iter().all(|row| row[0].contains("(take it as `Json` with `json`")), "{told:?}");
}
