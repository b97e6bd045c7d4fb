//! Several collections in one table: each document keeps its way back, also where two collections
//! have the same `_id`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use chrono::NaiveDateTime;
use migrate_core::event::Silent;
use migrate_core::ids::export;
use migrate_core::rejects::{Filter, retry};
use migrate_core::run::{Options, Stop, UuidVersion};
use migrate_core::schema::Registry;
use migrate_core::source::memory::MemorySource;
use migrate_core::source::{self, Source};
use migrate_core::summary::Summary;
use migrate_core::validate::{Report, Request, Sample, repair};
use migrate_core::{Migrate, registry};
use migrate_tests::moved::{self, moved, sums, texts};
use migrate_tests::servers;
use mongodb::Client;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// One collection a year, one of which is not there yet.
#[derive(Migrate)]
#[migrate(collection = ["orders_2023", "orders_2024", "orders_2025"], table = "orders")]
#[migrate(when(draft = [false, null]), filter = is_priced)]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[migrate(origin)]
    year: String,
    total: i32,
    #[migrate(unique)]
    number: Option<String>,
    #[fk(Users)]
    user: Uuid,
    #[migrate(id_time)]
    created: Option<NaiveDateTime>,
    #[migrate(compute = id_of)]
    text_id: String,
    #[child(Items)]
    items: Vec<Items>,
    #[junction(OrdersToUsers)]
    watchers: Vec<Uuid>,
}

fn is_priced(document: &RawDocument) -> bool {
    document.get_object_id("_id").is_err()
        || !document.get_i32("total").is_ok_and(|total| total == 0)
}

/// The document's `_id`, as it stands in its collection.
fn id_of(document: &RawDocument) -> Result<String, bson::error::Error> {
    let id = document.get("_id")?.map(Bson::try_from).transpose()?;
    assert!(!document.iter().flatten().any(|(key, _)| key.as_str().starts_with('\u{1}')));
    Ok(id.unwrap_or(Bson::Null).to_string())
}

#[derive(Migrate)]
#[migrate(child, table = "items")]
struct Items {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
    name: String,
}

#[derive(Migrate)]
#[migrate(junction, table = "orders_users")]
struct OrdersToUsers {
    #[fk(Orders)]
    order: Uuid,
    #[fk(Users)]
    user: Uuid,
}

#[derive(Migrate)]
#[migrate(collection = "users", table = "users")]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(Orders, deferred)]
    last: Option<Uuid>,
}

/// Keys of their own, and an `_id` of parts.
#[derive(Migrate)]
#[migrate(collection = ["notes_a", "notes_b"], table = "notes")]
struct Notes {
    #[migrate(id)]
    id: String,
    text: String,
}

#[derive(Migrate)]
#[migrate(collection = ["sums_eu", "sums_us"], table = "sums", when("_id.kind" = null))]
struct Sums {
    #[migrate(id)]
    id: Uuid,
    #[migrate(path = "_id.month")]
    month: i32,
    #[migrate(origin)]
    region: Region,
}

#[derive(migrate_core::PgEnum)]
#[migrate(name = "region")]
enum Region {
    #[migrate(rename = "sums_eu")]
    Eu,
    #[migrate(rename = "sums_us")]
    Us,
}

registry! { Years = [Orders, Items, OrdersToUsers, Users, Notes, Sums] }

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// The documents of each collection; `mended` has what somebody has got wrong put right.
fn collections(mended: bool) -> Vec<(&'static str, Vec<Document>)> {
    let or = |wrong: Bson, right: Bson| if mended { right } else { wrong };
    vec![
        (
            "orders_2023",
            vec![
                doc! { "_id": id(1), "total": 10, "number": "A", "user": id(201), "items": [{ "name": "pen" }, { "name": or(Bson::Int32(1), "ink".into()) }], "watchers": [id(201), id(202)] },
                doc! { "_id": id(2), "total": 20, "user": id(201), "items": [{ "name": "cap" }] },
                doc! { "_id": id(3), "total": 30, "user": or(id(250).into(), id(202).into()), "watchers": [id(201)] },
                doc! { "_id": "text", "total": 40, "user": id(202) },
                doc! { "_id": id(9), "total": 0, "user": id(202) },
            ],
        ),
        (
            "orders_2024",
            vec![
                // The same `_id` as the year before, alike and otherwise.
                doc! { "_id": id(2), "total": 21, "user": id(202), "items": [{ "name": "hat" }], "watchers": [id(202)] },
                doc! { "_id": "text", "total": 40, "user": id(202) },
                doc! { "_id": id(3), "total": or("3".into(), Bson::Int32(31)), "user": id(201) },
                doc! { "_id": id(4), "total": 41, "number": "A", "user": id(201) },
                doc! { "_id": id(5), "total": 50, "number": "B", "user": id(202), "items": [{ "name": "mug" }] },
                doc! { "_id": id(6), "draft": true },
                doc! { "_id": id(7), "total": 70, "user": or(Bson::Null, id(201).into()) },
            ],
        ),
        (
            "users",
            vec![doc! { "_id": id(201), "last": id(5) }, doc! { "_id": id(202), "last": id(3) }],
        ),
        ("notes_a", vec![doc! { "_id": "x", "text": "a" }, doc! { "_id": "y", "text": "a" }]),
        (
            "notes_b",
            vec![
                doc! { "_id": "x", "text": "b" },
                doc! { "_id": "z", "text": or(Bson::Int32(5), "b".into()) },
            ],
        ),
        (
            "sums_eu",
            vec![
                doc! { "_id": { "month": 1, "shop": 1 } },
                doc! { "_id": { "month": 2 } },
                doc! { "_id": { "kind": "year" } },
            ],
        ),
        ("sums_us", vec![doc! { "_id": { "month": 1, "shop": 2 } }, doc! { "_id": { "shop": 3 } }]),
    ]
}

fn memory(mended: bool) -> Arc<dyn Source> {
    let mut source = MemorySource::new();
    for (name, documents) in collections(mended) {
        source = source.with(name, documents);
    }
    // One that breaks off.
    let mut broken = doc! { "_id": id(8), "total": 80, "user": id(201) }.to_vec().unwrap();
    let end = broken.len() - 19;
    broken[end] = 0x7e;
    Arc::new(source.with_raw("orders_2024", [broken]))
}

async fn load(target: &str, source: Arc<dyn Source>, options: &Options) -> Summary {
    moved::load(Years::FACTS, target, source, options).await
}

async fn compare(target: &str, source: Arc<dyn Source>, request: &Request) -> Report {
    moved::compare(Years::FACTS, target, source, request).await
}

fn expected() -> BTreeMap<&'static str, [u64; 4]> {
    BTreeMap::from([
        ("orders", [13, 4, 7, 2]),
        ("items", [5, 3, 2, 0]),
        ("users", [2, 2, 0, 0]),
        ("notes", [4, 2, 2, 0]),
        ("sums", [5, 3, 1, 1]),
    ])
}

const LEDGER: &str = "SELECT concat_ws(' | ', table_name, collection, source_id, reason, field)
    COLLATE \"C\" FROM migrate.reject ORDER BY 1";
const ROWS: &str = "SELECT concat_ws(' ', year, total, number, text_id) COLLATE \"C\" FROM orders
    UNION ALL SELECT 'item ' || name FROM items
    UNION ALL SELECT concat_ws(' ', 'note', id, text) FROM notes
    UNION ALL SELECT concat_ws(' ', region, month) FROM sums ORDER BY 1";

fn ledger() -> Vec<String> {
    let hex = |number: u8| id(number).to_hex();
    let mut ledger = vec![
        format!("items | orders_2023.items | orders_2023/{}/items/1 | type | items.1.name", hex(1)),
        // Its order is not there, and the other one with that id is not its own.
        format!("items | orders_2024.items | orders_2024/{}/items/0 | orphan | order", hex(2)),
        format!("orders | orders_2023 | orders_2023/{} | orphan | user", hex(3)),
        format!("orders | orders_2024 | orders_2024/{} | duplicate | _id", hex(2)),
        "orders | orders_2024 | orders_2024/\"text\" | duplicate | _id".to_owned(),
        format!("orders | orders_2024 | orders_2024/{} | type | total", hex(3)),
        format!("orders | orders_2024 | orders_2024/{} | duplicate | number", hex(4)),
        format!("orders | orders_2024 | orders_2024/{} | missing | user", hex(7)),
        format!("orders | orders_2024 | orders_2024/{} | malformed | ", hex(8)),
        "notes | notes_b | notes_b/\"x\" | duplicate | _id".to_owned(),
        "notes | notes_b | notes_b/\"z\" | type | text".to_owned(),
        "sums | sums_us | sums_us/{\"shop\":3} | missing | _id.month".to_owned(),
    ];
    ledger.sort();
    ledger
}

fn rows() -> Vec<String> {
    let hex = |number: u8| format!("ObjectId(\"{}\")", id(number).to_hex());
    let mut rows = vec![
        format!("orders_2023 10 A {}", hex(1)),
        format!("orders_2023 20 {}", hex(2)),
        "orders_2023 40 \"text\"".to_owned(),
        format!("orders_2024 50 B {}", hex(5)),
        "item cap".to_owned(),
        "item mug".to_owned(),
        "item pen".to_owned(),
        "note x a".to_owned(),
        "note y a".to_owned(),
        "sums_eu 1".to_owned(),
        "sums_eu 2".to_owned(),
        "sums_us 1".to_owned(),
    ];
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn several_collections_are_one_table() {
    let Some(mut moved) = moved(Years::FACTS, memory(false)).await else { return };
    assert_eq!(moved.texts(LEDGER).await, ledger());
    assert_eq!(sums(&moved.summary), expected());
    assert_eq!(moved.texts(ROWS).await, rows());
    let strange: Vec<&String> =
        moved.summary.tables.iter().flat_map(|table| table.unknown_fields.keys()).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(moved.summary.models_without_collection, Vec::<String>::new());
    assert_eq!(moved.summary.collections_without_model, BTreeMap::new());
    // Times come from the ObjectId, and references lead to orders of either year.
    let created = "SELECT extract(epoch FROM created)::bigint FROM orders WHERE total = 50";
    assert_eq!(moved.count(created).await, 0x0505_0505);
    let last = "SELECT count(*) FROM users u JOIN orders o ON o.id = u.last WHERE total = 50";
    assert_eq!(moved.count(last).await, 1);
    let watchers = "SELECT total || ' ' || count(*) FROM orders o JOIN orders_users w
        ON w.order = o.id GROUP BY total ORDER BY 1";
    assert_eq!(moved.texts(watchers).await, ["10 2"]);
    let double = "SELECT message FROM migrate.reject WHERE source_id = 'orders_2024/\"text\"'";
    let message = &moved.texts(double).await[0];
    assert!(message.contains("document orders_2023/\"text\""), "{message}");

    let mut pairs = Vec::new();
    let each = |pair: migrate_core::ids::Pair| {
        pairs.push(format!("{} {}", pair.collection, pair.source_id));
        true
    };
    export(Years::FACTS, &moved.target, &Options::default(), None, each).await.unwrap();
    pairs.sort();
    let hex = |number: u8| id(number).to_hex();
    let mut known = vec![
        "notes_a \"x\"".to_owned(),
        "notes_a \"y\"".to_owned(),
        format!("orders_2023 {}", hex(1)),
        format!("orders_2023 {}", hex(2)),
        "orders_2023 \"text\"".to_owned(),
        format!("orders_2024 {}", hex(5)),
        format!("orders_2023.items orders_2023/{}/items/0", hex(1)),
        format!("orders_2023.items orders_2023/{}/items/0", hex(2)),
        format!("orders_2024.items orders_2024/{}/items/0", hex(5)),
        "sums_eu {\"month\":1,\"shop\":1}".to_owned(),
        "sums_eu {\"month\":2}".to_owned(),
        "sums_us {\"month\":1,\"shop\":2}".to_owned(),
        format!("users {}", hex(201)),
        format!("users {}", hex(202)),
    ];
    known.sort();
    assert_eq!(pairs, known);
}

/// The same in chunks of one document, with constraints kept on, from a dump and from a server.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_source_and_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let mongo = servers::mongodb();
    let client = Client::with_uri_str(&mongo).await.unwrap();
    let database = client.default_database().unwrap();
    for (name, documents) in collections(false) {
        let bytes: Vec<u8> = documents.iter().flat_map(|one| one.to_vec().unwrap()).collect();
        fs::write(folder.path().join(format!("{name}.bson")), bytes).unwrap();
        let raw: Vec<RawDocumentBuf> =
            documents.iter().map(|document| document.try_into().unwrap()).collect();
        database.collection::<RawDocumentBuf>(name).insert_many(raw).await.unwrap();
    }
    let dump = source::open(folder.path().to_str().unwrap()).await.unwrap();
    let live = source::open(&mongo).await.unwrap();
    let small = Options { chunk_bytes: 1, jobs: 2, ..Options::default() };
    let kept = Options { keep_constraints: true, ..small.clone() };
    let random = Options { uuid: UuidVersion::Random, ..small.clone() };
    for (source, options) in [(&dump, &small), (&live, &small), (&live, &kept), (&dump, &random)] {
        let Some(target) = servers::database(servers::NEWEST) else { return };
        let summary = load(&target, Arc::clone(source), options).await;
        let mut expected = expected();
        // The one that breaks off is in memory alone.
        expected.insert("orders", [12, 4, 6, 2]);
        assert_eq!(sums(&summary), expected);
        let mut found = texts(&target, LEDGER).await;
        let mut ledger = ledger();
        ledger.retain(|line| !line.contains("malformed"));
        if options.keep_constraints {
            // With constraints kept on, of two documents with one id or value the one that came
            // first stays.
            for lines in [&mut found, &mut ledger] {
                lines.retain(|line| !line.contains("duplicate"));
            }
        }
        assert_eq!(found, ledger);
        for independent in [false, true] {
            let request = Request { independent, ..Request::default() };
            let report = compare(&target, Arc::clone(source), &request).await;
            if !options.keep_constraints {
                assert_eq!(report.differences(), 0, "{report:#?}");
            }
        }
        let request = Request { sample: Some(Sample { rows: 100, seed: 7 }), ..Request::default() };
        let report = compare(&target, Arc::clone(source), &request).await;
        if !options.keep_constraints {
            assert_eq!(report.differences(), 0, "{report:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_read_again_from_their_own_collection() {
    // All at once: two of them have one id, and one of these was taken out with its watchers.
    let Some(target) = servers::database(servers::NEWEST) else { return };
    load(&target, memory(false), &Options::default()).await;
    let (options, filter, stop) = (Options::default(), Filter::default(), Stop::default());
    let (source, reporter) = (Some(memory(true)), Arc::new(Silent));
    let retried =
        retry(Years::FACTS, source, &target, &options, &filter, reporter, &stop).await.unwrap();
    assert_eq!((retried.loaded, retried.gone), (4, 0), "{retried:?}");
    assert_eq!(compare(&target, memory(true), &Request::default()).await.differences(), 0);

    let Some(target) = servers::database(servers::NEWEST) else { return };
    load(&target, memory(false), &Options::default()).await;
    let (options, stop) = (Options::default(), Stop::default());
    let filter = Filter { table: Some("orders_2023".to_owned()), ..Filter::default() };
    let retried = retry(
        Years::FACTS,
        Some(memory(true)),
        &target,
        &options,
        &filter,
        Arc::new(Silent),
        &stop,
    )
    .await;
    let retried = retried.unwrap();
    assert_eq!((retried.tried, retried.loaded, retried.gone), (1, 1, 0), "{retried:?}");
    let filter = Filter::default();
    let retried = retry(
        Years::FACTS,
        Some(memory(true)),
        &target,
        &options,
        &filter,
        Arc::new(Silent),
        &stop,
    );
    let retried = retried.await.unwrap();
    // An item, a note and an order; the others have a double, a number that is taken, or no month.
    assert_eq!((retried.loaded, retried.gone), (3, 0), "{retried:?}");
    let totals = "SELECT concat_ws(' ', year, total) FROM orders ORDER BY total";
    let orders = [
        "orders_2023 10",
        "orders_2023 20",
        "orders_2023 30",
        "orders_2023 40",
        "orders_2024 50",
        "orders_2024 70",
    ];
    assert_eq!(texts(&target, totals).await, orders);
    let report = compare(&target, memory(true), &Request::default()).await;
    assert_eq!(report.differences(), 0, "{report:#?}");
    let balanced = "SELECT (summary->>'balanced') FROM migrate.run";
    assert_eq!(texts(&target, balanced).await, ["true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found_and_repaired() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    load(&target, memory(false), &Options::default()).await;
    let mut connection = PgConnection::connect(&target).await.unwrap();
    for sql in [
        "UPDATE orders SET year = 'orders_2023' WHERE total = 50",
        "UPDATE orders SET total = 11 WHERE total = 10",
        "DELETE FROM notes WHERE id = 'y'",
        "INSERT INTO notes VALUES ('new', 'new')",
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    for independent in [false, true] {
        let request = Request { independent, ..Request::default() };
        let report = compare(&target, memory(false), &request).await;
        let found: Vec<(&str, [u64; 3])> = (report.tables.iter())
            .map(|table| {
                let counts = [table.cells.count, table.missing.count, table.extra.count];
                (table.table.as_str(), counts)
            })
            .filter(|(_, counts)| *counts != [0; 3])
            .collect();
        assert_eq!(found, [("orders", [2, 0, 0]), ("notes", [0, 1, 1])], "{independent}");
    }
    let (options, request) = (Options::default(), Request::default());
    let (reporter, stop) = (Arc::new(Silent), Stop::default());
    let mended =
        repair(Years::FACTS, memory(false), &target, &options, &request, reporter, &stop, &|_| {
            true
        })
        .await
        .unwrap();
    assert!(mended.repaired.as_ref().is_some_and(|repaired| repaired.balanced), "{mended:#?}");
    assert_eq!(compare(&target, memory(false), &Request::default()).await.differences(), 0);
    assert_eq!(texts(&target, ROWS).await, rows());
}

mod trips {
    use super::*;

    #[derive(Migrate)]
    #[migrate(collection = ["trips_a", "trips_b"], table = "trips")]
    struct Trips {
        #[migrate(id)]
        id: Uuid,
        name: String,
        #[child(Stops)]
        stops: Vec<Stops>,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "stops")]
    struct Stops {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent)]
        #[fk(Trips)]
        trip: Uuid,
        name: String,
        #[child(Photos)]
        photos: Vec<Photos>,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "photos")]
    struct Photos {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent)]
        #[fk(Stops)]
        stop: Uuid,
        #[migrate(value)]
        file: String,
    }

    /// One collection, in which an ObjectId and the text of its digits are one key.
    #[derive(Migrate)]
    #[migrate(collection = "boxes", table = "boxes")]
    struct Boxes {
        #[migrate(id)]
        id: Uuid,
        size: i32,
        #[child(Things)]
        things: Vec<Things>,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "things")]
    struct Things {
        #[migrate(id, rename = "number")]
        id: i64,
        #[migrate(parent)]
        #[fk(Boxes)]
        r#box: Uuid,
    }

    registry! { pub(super) Journeys = [Trips, Stops, Photos, Boxes, Things] }

    pub(super) fn documents() -> Arc<dyn Source> {
        let hex = id(9).to_hex();
        let source = MemorySource::new()
            .with(
                "trips_a",
                [
                    // Refused, and its double is not.
                    doc! { "_id": id(1), "name": 1, "stops": [{ "name": "lost", "photos": ["lost"] }] },
                    doc! { "_id": id(2), "name": "a2", "stops": [{ "_id": id(50), "name": "a2", "photos": ["a2"] }] },
                    // A stop that is refused, and has the `_id` of another one.
                    doc! { "_id": id(3), "name": "a3", "stops": [{ "_id": id(51), "photos": ["lost"] }] },
                ],
            )
            .with(
                "trips_b",
                [
                    doc! { "_id": id(1), "name": "b1", "stops": [{ "name": "b1", "photos": ["b1"] }] },
                    // The double of one that is loaded.
                    doc! { "_id": id(2), "name": "b2", "stops": [{ "name": "lost", "photos": ["lost", "lost"] }] },
                    doc! { "_id": id(4), "name": "b4", "stops": [{ "_id": id(51), "name": "b4", "photos": ["b4"] }] },
                    // Its stop has the `_id` of one that is loaded.
                    doc! { "_id": id(5), "name": "b5", "stops": [{ "_id": id(50), "name": "lost", "photos": ["lost"] }] },
                ],
            );
        Arc::new(source.with(
            "boxes",
            [
                doc! { "_id": id(8), "size": 1, "things": [{ "number": 1 }] },
                doc! { "_id": &hex, "size": "?", "things": [{ "number": 2 }, { "number": 3 }] },
                doc! { "_id": id(9), "size": 2, "things": [{ "number": 4 }] },
                doc! { "_id": id(10), "size": 2, "things": [{ "number": 5 }] },
                doc! { "_id": id(10).to_hex(), "size": 3, "things": [{ "number": 6 }] },
            ],
        ))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_of_a_rejected_document_are_never_those_of_its_double() {
    let facts = trips::Journeys::FACTS;
    let Some(mut moved) = moved(facts, trips::documents()).await else { return };
    let expected = BTreeMap::from([
        ("trips", [7, 5, 2, 0]),
        ("stops", [7, 3, 4, 0]),
        ("photos", [8, 3, 5, 0]),
        ("boxes", [5, 3, 2, 0]),
        ("things", [6, 3, 3, 0]),
    ]);
    assert_eq!(sums(&moved.summary), expected);
    let all = "SELECT concat_ws(' ', t.name, s.name, p.file) FROM photos p
        JOIN stops s ON s.id = p.stop JOIN trips t ON t.id = s.trip
        UNION ALL SELECT concat_ws(' ', size, t.id) FROM things t JOIN boxes b ON b.id = t.box
        ORDER BY 1";
    let own = ["1 1", "2 4", "3 6", "a2 a2 a2", "b1 b1 b1", "b4 b4 b4"];
    assert_eq!(moved.texts(all).await, own);
    // Nor when they are tried again, nor where keys and references stay on.
    let (options, stop) = (Options::default(), Stop::default());
    let (source, reporter) = (Some(trips::documents()), Arc::new(Silent));
    let retried =
        retry(facts, source, &moved.target, &options, &Filter::default(), reporter, &stop).await;
    assert_eq!(retried.unwrap().loaded, 0);
    assert_eq!(moved.texts(all).await, own);
    let clean = Options { clean: true, keep_constraints: true, ..Options::default() };
    let summary = moved::load(facts, &moved.target, trips::documents(), &clean).await;
    assert_eq!(sums(&summary), expected);
    assert_eq!(moved.texts(all).await, own);
}
