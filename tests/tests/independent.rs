//! `validate --independent`: it says the same as the transformer where that is right, finds what
//! the transformer does wrong, and tells what it does not check.

use std::sync::Arc;

use bson::spec::ElementType;
use bson::{Bson, Document, doc, oid::ObjectId};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::cell::{CellContext, Wrote};
use migrate_core::event::Silent;
use migrate_core::run::{self, Options, Stop, UuidVersion};
use migrate_core::schema::{Column, Convert, EncodeFn, Model, ModelRef, Registry, RegistryFacts};
use migrate_core::source::{self, Source, memory::MemorySource};
use migrate_core::validate::{Report, Request, validate};
use migrate_core::{Decimal, Json, Migrate, Mismatch, PgEnum, Reason, ToCell, Value, registry};
use migrate_tests::servers;
use models::NextCrm;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

async fn load(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    uuid: UuidVersion,
) -> String {
    let target = servers::database(servers::NEWEST).expect("a server");
    let options = Options { uuid, ..Options::default() };
    let stop = Stop::default();
    let summary =
        run::run(registry, source, &target, &options, Arc::new(Silent), &stop).await.unwrap();
    assert!(summary.balanced);
    target
}

async fn compare(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    independent: bool,
) -> Report {
    let request = Request { independent, ..Request::default() };
    let options = Options { chunk_bytes: 64 << 10, ..Options::default() };
    let (reporter, stop) = (Arc::new(Silent), Stop::default());
    validate(registry, source, target, &options, &request, reporter, &stop)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// The parts of a report where something differs.
fn differing(report: &Report) -> String {
    let mut text = String::new();
    for table in report.tables.iter().filter(|table| table.differences() > 0) {
        text += &format!("{table:#?}\n");
    }
    for junction in &report.junctions {
        if junction.differences() > 0 || !junction.counts_hold {
            text += &format!("{junction:#?}\n");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn both_paths_agree_on_all_of_nextcrm() {
    for (seed, uuid) in [(51, UuidVersion::V8), (52, UuidVersion::V7), (53, UuidVersion::Random)] {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan { seed, scale: 0.2, dirty: 0.2 };
        to_dump(&Generator::new(NextCrm::FACTS, plan), folder.path(), false).unwrap();
        let open = || async { source::open(folder.path().to_str().unwrap()).await.unwrap() };
        let target = load(NextCrm::FACTS, open().await, uuid).await;
        let report = compare(NextCrm::FACTS, open().await, &target, true).await;
        assert!(report.scope.independent);
        assert!(report.clean, "{uuid:?}: {}", differing(&report));
        assert!(report.tables.iter().all(|table| table.not_independent.is_empty()));
        assert!(report.tables.iter().all(|table| table.not_decoded == 0));

        // What somebody has changed is found as well.
        let mut connection = PgConnection::connect(&target).await.unwrap();
        for sql in [
            r#"UPDATE "Boards" SET "createdAt" = "createdAt" + interval '1 ms' WHERE id = (SELECT min(id::text)::uuid FROM "Boards" WHERE "createdAt" IS NOT NULL)"#,
            r#"DELETE FROM "BoardWatchers" WHERE ctid = (SELECT min(ctid) FROM "BoardWatchers")"#,
            r#"INSERT INTO "invoice_States" (name) VALUES ('new')"#,
            r#"DELETE FROM "crm_Contracts" WHERE id = (SELECT min(id::text)::uuid FROM "crm_Contracts")"#,
        ] {
            let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
            assert_eq!(done.rows_affected(), 1, "{sql}");
        }
        let report = compare(NextCrm::FACTS, open().await, &target, true).await;
        // Two of the tables have too few or too many rows as well.
        assert_eq!(report.differences(), 4 + 2, "{}", differing(&report));
        let table = |name: &str| report.tables.iter().find(|table| table.table == name).unwrap();
        assert_eq!(table("Boards").cells.first[0].column, "createdAt");
        assert_eq!(table("invoice_States").extra.count, 1);
        assert_eq!(table("crm_Contracts").missing.count, 1);
    }
}

#[derive(PgEnum)]
enum Size {
    Small,
    Large,
}

/// A type whose conversion is its own: cents.
struct Cents;

impl ToCell for Cents {
    const TYPE: migrate_core::schema::CellType = i64::TYPE;
    type Literal = i64;

    fn encode(
        value: Value<'_>,
        context: &CellContext,
        out: &mut Vec<u8>,
    ) -> Result<Wrote, Mismatch> {
        i64::encode(value, context, out)
    }

    fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        0_i64.write(context, out)
    }
}

#[derive(Migrate)]
#[migrate(collection = "things")]
#[allow(dead_code)]
struct Things {
    #[migrate(id)]
    id: String,
    count: i32,
    title: String,
    size: Size,
    price: Decimal,
    weight: f64,
    grade: Option<f32>,
    day: NaiveDate,
    made: DateTime<Utc>,
    #[migrate(pg_type = "timestamp(3)")]
    seen: Option<NaiveDateTime>,
    picture: Option<Vec<u8>>,
    grid: Vec<Vec<i32>>,
    sizes: Vec<Option<i64>>,
    more: Json,
    owner: Option<Uuid>,
    paid: Cents,
    #[migrate(json = "extended")]
    exact: Option<Json>,
}

registry! {
    Store = [Things]
}

fn thing(number: i32) -> Document {
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    doc! {
        "_id": format!("thing {number}"),
        "count": number,
        "title": format!("a \"title\", \\ and {number}"),
        "size": if number % 2 == 0 { "Small" } else { "Large" },
        "price": decimal(&format!("{number}.50")),
        "weight": f64::from(number) / 7.0,
        "grade": if number % 3 == 0 { Bson::Null } else { Bson::Double(0.5) },
        "day": bson::DateTime::from_millis(i64::from(number) * 86_400_000 * 4_000),
        "made": bson::DateTime::from_millis(i64::from(number) * 1_234_567_891),
        "seen": bson::DateTime::from_millis(-i64::from(number) * 86_400_000 * 20_000 - 1),
        "picture": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![number as u8, 255] },
        "grid": [[number, 1], [2, 3]],
        "sizes": [Bson::Int32(number), Bson::Null],
        "more": { "b": [1.50, number], "a": { "deep": decimal("1.10"), "at": bson::DateTime::from_millis(5) } },
        "owner": ObjectId::from_bytes([number as u8; 12]),
        "paid": number,
        "exact": number,
    }
}

fn things() -> Arc<dyn Source> {
    let mut documents: Vec<Document> = (0..100).map(thing).collect();
    documents[7].insert("count", 1.5);
    documents[8].insert("title", 8);
    Arc::new(MemorySource::new().with("things", documents))
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_every_kind_and_what_is_not_checked() {
    let target = load(Store::FACTS, things(), UuidVersion::V8).await;
    let report = compare(Store::FACTS, things(), &target, true).await;
    assert!(report.clean, "{}", differing(&report));
    assert_eq!((report.tables[0].target, report.tables[0].rejected), (98, 2));
    let unchecked: Vec<&str> =
        report.tables[0].not_independent.iter().map(|found| found.column.as_str()).collect();
    assert_eq!(unchecked, ["paid", "exact"]);
    let why = &report.tables[0].not_independent[0].why;
    assert!(why.contains("Cents") && why.contains("conversion of its own"), "{why}");

    // Not checked means that nothing is said, for better or worse.
    let mut connection = PgConnection::connect(&target).await.unwrap();
    sqlx::query(r#"UPDATE "Things" SET paid = paid + 1"#).execute(&mut connection).await.unwrap();
    assert!(compare(Store::FACTS, things(), &target, true).await.clean);
    assert_eq!(compare(Store::FACTS, things(), &target, false).await.differences(), 98);
}

/// The registry with another conversion of one column, as if the runtime had that mistake.
fn with_a_bug(field: &str, encode: EncodeFn) -> &'static RegistryFacts {
    let model = Store::FACTS.iter().next().unwrap().0;
    let columns: Vec<Column> = model
        .columns
        .iter()
        .map(|column| match column.field == field {
            true => Column { convert: Convert::Value(encode), ..*column },
            false => *column,
        })
        .collect();
    let broken: &'static Model = Box::leak(Box::new(Model { columns: columns.leak(), ..*model }));
    Box::leak(Box::new(RegistryFacts {
        models: vec![ModelRef::new(broken)].leak(),
        ..*Store::FACTS
    }))
}

/// One too many, for one value in ten.
fn off_by_one(
    value: Value<'_>,
    context: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    let wrote = i32::encode(value, context, out)?;
    if let Some(last) = out.last_mut()
        && *last % 10 == 3
    {
        *last += 1;
    }
    Ok(wrote)
}

/// A millisecond lost, as by a detour over floating-point seconds.
fn early(value: Value<'_>, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
    let start = out.len();
    let wrote = DateTime::<Utc>::encode(value, context, out)?;
    let micros = i64::from_be_bytes(out[start..].try_into().unwrap()) - 1000;
    out.truncate(start);
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(wrote)
}

/// The last character lost.
fn short(value: Value<'_>, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
    let wrote = String::encode(value, context, out)?;
    out.pop();
    Ok(wrote)
}

/// Refuses what it should take.
fn strict(value: Value<'_>, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
    if value.kind == ElementType::Int32 && i32::from_le_bytes(value.fixed()) > 89 {
        return Err(Mismatch::new(Reason::Range, "a small number", "a large one"));
    }
    i32::encode(value, context, out)
}

/// Takes what it should refuse.
fn lax(value: Value<'_>, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
    match value.kind {
        ElementType::Double => {
            out.extend_from_slice(&(f64::from_le_bytes(value.fixed()) as i32).to_be_bytes());
            Ok(Wrote::Payload)
        }
        _ => i32::encode(value, context, out),
    }
}

/// A mistake in a conversion of the transformer is a mistake of the load and of the comparison
/// alike, so only the second path sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_of_the_transformer_is_found_by_the_second_path_alone() {
    let bugs: [(&str, EncodeFn, u64); 5] = [
        ("count", off_by_one, 10),
        ("made", early, 98),
        ("title", short, 98),
        ("count", strict, 10),
        ("count", lax, 1),
    ];
    for (field, bug, expected) in bugs {
        let registry = with_a_bug(field, bug);
        let target = load(registry, things(), UuidVersion::V8).await;
        let alike = compare(registry, things(), &target, false).await;
        assert!(alike.clean, "{field}: {}", differing(&alike));
        let report = compare(registry, things(), &target, true).await;
        let table = &report.tables[0];
        assert_eq!(report.differences(), expected, "{field}: {}", differing(&report));
        assert!(table.cells.first.iter().all(|cell| cell.column == field));
        assert!(table.judged.first.iter().all(|judged| judged.field == field));
    }
}
