//! Parts of collections: documents that a model leaves out, and several models that share one
//! collection. Each document is one model's row, or somebody's reject, or counted as left out.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use migrate_cli::generate::{Generator, Plan, to_memory};
use migrate_core::event::Silent;
use migrate_core::failpoint::FailPoints;
use migrate_core::rejects::{Filter, retry};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::source::memory::MemorySource;
use migrate_core::source::{self, Source};
use migrate_core::summary::Summary;
use migrate_core::validate::{Report, Request, repair};
use migrate_core::{Error, ErrorKind, Migrate, dry_run, registry};
use migrate_servers::{Mongo, MongoOptions};
use migrate_tests::moved::{self, moved, sums, texts};
use migrate_tests::servers;
use mongodb::Client;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// `db.parties`, where `kind` says what a document is.
#[derive(Migrate)]
#[migrate(collection = "parties", table = "companies", when(kind = "company"))]
struct Companies {
    #[migrate(id)]
    id: Uuid,
    name: String,
    vat: Option<String>,
    #[child(Branches)]
    branches: Vec<Branches>,
}

#[derive(Migrate)]
#[migrate(child, table = "branches")]
struct Branches {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Companies)]
    company: Uuid,
    city: String,
}

#[derive(Migrate)]
#[migrate(collection = "parties", table = "people", when(kind = ["person", "contact"]))]
struct People {
    #[migrate(id)]
    id: Uuid,
    #[migrate(rename = "name")]
    full_name: String,
    #[fk(Companies)]
    employer: Option<Uuid>,
    #[junction(PeopleToClubs)]
    clubs: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "parties", table = "clubs", when(kind = 3, "state.active" = [true, null]))]
struct Clubs {
    #[migrate(id)]
    id: Uuid,
    name: String,
}

#[derive(Migrate)]
#[migrate(junction, table = "people_clubs")]
struct PeopleToClubs {
    #[fk(People)]
    person: Uuid,
    #[fk(Clubs)]
    club: Uuid,
}

/// `db.events`, of which the drafts and those of the year before are left out.
#[derive(Migrate)]
#[migrate(collection = "events", table = "events", when(draft = [false, null]), filter = is_recent)]
struct Events {
    #[migrate(id)]
    id: i32,
    year: i32,
}

fn is_recent(document: &RawDocument) -> bool {
    !matches!(document.get_i32("year"), Ok(year) if year < 2020)
}

registry! { Parties = [Companies, Branches, People, Clubs, PeopleToClubs, Events] }

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// What nobody should have written; `mended` has what they meant.
fn parties(mended: bool) -> Vec<Document> {
    let or = |wrong: Bson, right: Bson| if mended { right } else { wrong };
    vec![
        doc! { "_id": id(1), "kind": "company", "name": "Apex", "vat": "1",
        "branches": [{ "city": "Graz" }, { "city": or(Bson::Int32(5), "Linz".into()) }] },
        doc! { "_id": id(2), "kind": Bson::Symbol("company".to_owned()), "name": "Bolt" },
        doc! { "_id": id(3), "kind": "person", "name": "Cleo", "employer": id(1), "clubs": [id(6), id(99)] },
        doc! { "_id": id(4), "name": "Dana", "kind": "contact", "employer": id(12), "vat": "a stranger here" },
        doc! { "_id": id(5), "kind": "person", "name": or(Bson::Int32(5), "Eve".into()), "branches": [{ "city": "Rome" }] },
        doc! { "_id": id(6), "kind": 3, "name": "chess" },
        doc! { "_id": id(7), "kind": 3.0, "name": "golf", "state": { "active": true } },
        doc! { "_id": id(8), "kind": or(Bson::Int32(4), Bson::Int64(3)), "name": "judo" },
        // Nobody's.
        doc! { "_id": id(9), "kind": 3, "name": "gone", "state": { "active": false } },
        doc! { "_id": id(10), "name": "no kind" },
        doc! { "_id": id(11), "kind": null, "name": "null" },
        doc! { "_id": id(12), "kind": or("Company".into(), "company".into()), "name": "Case" },
        doc! { "_id": id(13), "kind": { "is": "company" }, "branches": [{ "city": "lost" }] },
        doc! { "_id": "text", "kind": or("robot".into(), "contact".into()), "name": "R2" },
    ]
}

fn events() -> Vec<Document> {
    vec![
        doc! { "_id": 1, "year": 2024 },
        doc! { "_id": 2, "year": 2024, "draft": true },
        doc! { "_id": 3, "year": 2019, "draft": null },
        doc! { "_id": 4, "draft": false },
        doc! { "_id": 5, "year": 2025, "draft": "no boolean" },
    ]
}

/// Bytes that no driver writes: a key twice, and a document that breaks off.
fn broken() -> [RawDocumentBuf; 1] {
    let mut twice = RawDocumentBuf::new();
    twice.append(bson::cstr!("_id"), id(14));
    twice.append(bson::cstr!("kind"), "company");
    twice.append(bson::cstr!("name"), "two kinds");
    twice.append(bson::cstr!("kind"), "person");
    [twice]
}

fn memory(mended: bool) -> Arc<dyn Source> {
    let mut documents: Vec<RawDocumentBuf> =
        parties(mended).iter().map(|document| document.try_into().unwrap()).collect();
    documents.extend(broken());
    let documents = documents.into_iter().map(RawDocumentBuf::into_bytes);
    Arc::new(MemorySource::new().with_raw("parties", documents).with("events", events()))
}

async fn load(target: &str, source: Arc<dyn Source>, options: &Options) -> Summary {
    moved::load(Parties::FACTS, target, source, options).await
}

async fn compare(target: &str, source: Arc<dyn Source>, request: &Request) -> Report {
    moved::compare(Parties::FACTS, target, source, request).await
}

fn expected() -> BTreeMap<&'static str, [u64; 4]> {
    BTreeMap::from([
        // Of those that nobody takes, the first model answers for all.
        ("companies", [15, 2, 8, 5]),
        ("branches", [2, 1, 1, 0]),
        ("people", [15, 2, 1, 12]),
        ("clubs", [15, 2, 0, 13]),
        ("events", [5, 1, 1, 3]),
    ])
}

const LEDGER: &str = "SELECT concat_ws(' | ', table_name, source_id, reason, field, message)
    COLLATE \"C\" FROM migrate.reject ORDER BY 1";
const ROWS: &str = "SELECT 'company ' || name COLLATE \"C\" FROM companies
    UNION ALL SELECT 'person ' || full_name FROM people
    UNION ALL SELECT 'club ' || name FROM clubs
    UNION ALL SELECT 'branch ' || city FROM branches
    UNION ALL SELECT 'event ' || id FROM events ORDER BY 1";

fn ledger() -> Vec<String> {
    let hex = |number: u8| id(number).to_hex();
    let none = |number: u8, found: &str| {
        format!(
            "companies | {} | no_model | kind | expected \"company\" or \"person\" or \"contact\" or 3, found {found}",
            hex(number)
        )
    };
    let mut ledger = vec![
        format!(
            "branches | {}/branches/1 | type | branches.1.city | expected text, found int 5",
            hex(1)
        ),
        format!("people | {} | type | name | expected text, found int 5", hex(5)),
        none(8, "int 4"),
        none(9, "int 3"),
        none(10, "no such field"),
        none(11, "null"),
        none(12, "string \"Company\""),
        none(13, "object"),
        none(0, "string \"robot\"").replace(&hex(0), "\"text\""),
        format!(
            "companies | {} | duplicate_key | kind | expected each key once, found the same key twice",
            hex(14)
        ),
        "events | 4 | missing | year | expected integer, found no such field".to_owned(),
    ];
    ledger.sort();
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn each_document_is_one_models_alone() {
    let Some(mut moved) = moved(Parties::FACTS, memory(false)).await else { return };
    assert_eq!(moved.texts(LEDGER).await, ledger());
    assert_eq!(sums(&moved.summary), expected());
    let rows = [
        "branch Graz",
        "club chess",
        "club golf",
        "company Apex",
        "company Bolt",
        "event 1",
        "person Cleo",
        "person Dana",
    ];
    assert_eq!(moved.texts(ROWS).await, rows);
    // A field is strange only where its own document's model does not take it, and what a model
    // is chosen by is no stranger.
    let strange: Vec<String> = (moved.summary.tables.iter())
        .flat_map(|table| table.unknown_fields.keys().map(|key| format!("{}.{key}", table.table)))
        .collect();
    assert_eq!(strange, ["people.branches", "people.vat"]);
    assert_eq!(moved.summary.collections_without_model, BTreeMap::new());
    let [skipped, rejected] = [
        moved.report.tables.iter().map(|table| table.skipped).sum::<u64>(),
        moved.report.tables.iter().map(|table| table.rejected).sum(),
    ];
    assert_eq!((skipped, rejected), (33, 11));

    // Nothing is written by a dry run, which knows the same of them.
    let target = servers::database(servers::NEWEST).unwrap();
    let options = Options::default();
    let (reporter, stop) = (Arc::new(Silent), Stop::default());
    let dry = dry_run::dry_run(Parties::FACTS, memory(false), &target, &options, reporter, &stop);
    assert_eq!(sums(&dry.await.unwrap()), expected());
}

/// Sample documents have what makes them the one or the other model's.
#[tokio::test(flavor = "multi_thread")]
async fn generated_documents_find_their_models() {
    let plan = Plan { seed: 9, scale: 0.05, dirty: 0.2 };
    let mut generator = Generator::new(Parties::FACTS, plan);
    assert!(generator.set_documents("parties", 300));
    let (collections, ledger) = to_memory(&generator);
    assert_eq!(collections["parties"].len(), 300);
    assert_eq!(ledger.documents["parties"], 300);
    let mut source = MemorySource::new();
    for (name, documents) in collections {
        source = source.with(&name, documents);
    }
    let Some(moved) = moved(Parties::FACTS, Arc::new(source)).await else { return };
    let parts: Vec<u64> = (moved.summary.tables.iter())
        .filter(|table| table.collection == "parties")
        .map(|table| table.read - table.skipped)
        .collect();
    assert_eq!(parts, [100, 100, 100]);
    let reasons = moved.summary.tables.iter().flat_map(|table| table.rejected_by_reason.keys());
    assert!(reasons.into_iter().all(|reason| reason != "no_model"), "{:?}", moved.summary);
}

/// The same from files and from a server, in chunks of one document, whatever stops the run.
#[tokio::test(flavor = "multi_thread")]
async fn sources_and_crashes_change_nothing() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, documents: Vec<RawDocumentBuf>| {
        let bytes: Vec<u8> = documents.iter().flat_map(|one| one.as_bytes().to_vec()).collect();
        fs::write(folder.path().join(format!("{name}.bson")), bytes).unwrap();
    };
    let raw = |documents: Vec<Document>| -> Vec<RawDocumentBuf> {
        documents.iter().map(|document| document.try_into().unwrap()).collect()
    };
    write("parties", [raw(parties(false)), broken().into()].concat());
    write("events", raw(events()));
    let dump = source::open(folder.path().to_str().unwrap()).await.unwrap();
    let options = Options { chunk_bytes: 1, jobs: 2, ..Options::default() };
    for point in ["a chunk is written", "a chunk is committed", "the load is done"] {
        let fail_points = FailPoints::new(Arc::new(move |hit| match hit == point {
            true => Err(Error::new(ErrorKind::Interrupted, "stopped")),
            false => Ok(()),
        }));
        let options = Options { fail_points, ..options.clone() };
        let (reporter, stop) = (Arc::new(Silent), Stop::default());
        let source = Arc::clone(&dump);
        let stopped = run(Parties::FACTS, source, &target, &options, reporter, &stop).await;
        assert!(stopped.is_err(), "{point}");
    }
    let summary = load(&target, Arc::clone(&dump), &options).await;
    assert_eq!(sums(&summary), expected());
    assert_eq!(texts(&target, LEDGER).await, ledger());
    assert!(compare(&target, dump, &Request::default()).await.differences() == 0);

    let mongo = Mongo::start(MongoOptions::default()).unwrap();
    let client = Client::with_uri_str(mongo.uri("shop")).await.unwrap();
    let database = client.database("shop");
    for (name, documents) in
        [("parties", [raw(parties(false)), broken().into()].concat()), ("events", raw(events()))]
    {
        database.collection::<RawDocumentBuf>(name).insert_many(documents).await.unwrap();
    }
    let live = source::open(&mongo.uri("shop")).await.unwrap();
    let Some(target) = servers::database(servers::VERSIONS[0]) else { return };
    let summary = load(&target, Arc::clone(&live), &options).await;
    assert_eq!(sums(&summary), expected());
    assert_eq!(texts(&target, LEDGER).await, ledger());
    assert!(compare(&target, live, &Request::default()).await.differences() == 0);
}

/// With `--only`, documents that nobody takes are told of by the one model that answers for them.
#[tokio::test(flavor = "multi_thread")]
async fn models_of_one_collection_one_after_the_other() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let only = |name: &str| Options { only: vec![name.to_owned()], ..Options::default() };
    let clubs = load(&target, memory(false), &only("clubs")).await;
    assert_eq!(sums(&clubs), BTreeMap::from([("clubs", expected()["clubs"])]));
    // The collection means all models of it that are not loaded yet.
    let rest = load(&target, memory(false), &only("parties")).await;
    let names = ["companies", "people"];
    assert_eq!(sums(&rest), names.map(|name| (name, expected()[name])).into());
    load(&target, memory(false), &Options::default()).await;
    assert_eq!(texts(&target, LEDGER).await, ledger());
    assert_eq!(compare(&target, memory(false), &Request::default()).await.differences(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_found_their_model_are_tried_again_with_it() {
    for stored in [false, true] {
        let Some(target) = servers::database(servers::NEWEST) else { return };
        load(&target, memory(false), &Options::default()).await;
        let source = (!stored).then(|| memory(true));
        let (options, filter, stop) = (Options::default(), Filter::default(), Stop::default());
        let reporter = Arc::new(Silent);
        let retried =
            retry(Parties::FACTS, source, &target, &options, &filter, reporter, &stop).await;
        let retried = retried.unwrap();
        if stored {
            assert_eq!((retried.loaded, retried.moved), (0, 0), "{retried:?}");
            assert_eq!(texts(&target, LEDGER).await, ledger());
            continue;
        }
        // Two are people and clubs, and no more the first model's.
        assert_eq!((retried.loaded, retried.moved), (5, 2), "{retried:?}");
        let rows = [
            "branch Graz",
            "branch Linz",
            "club chess",
            "club golf",
            "club judo",
            "company Apex",
            "company Bolt",
            "company Case",
            "event 1",
            "person Cleo",
            "person Dana",
            "person Eve",
            "person R2",
        ];
        assert_eq!(texts(&target, ROWS).await, rows);
        let employers = "SELECT full_name || ' ' || name FROM people p
            JOIN companies c ON c.id = p.employer ORDER BY 1";
        assert_eq!(texts(&target, employers).await, ["Cleo Apex", "Dana Case"]);
        let report = compare(&target, memory(true), &Request::default()).await;
        assert_eq!(report.differences(), 0, "{report:#?}");
        let sums = "SELECT concat_ws(' ', t->>'table', t->>'read', t->>'loaded', t->>'rejected',
                t->>'skipped', t->>'balanced')
            FROM migrate.run, jsonb_array_elements(summary->'tables') t ORDER BY 1";
        let expected = [
            "branches 2 2 0 0 true",
            "clubs 15 3 0 12 true",
            "companies 15 3 5 7 true",
            "events 5 1 1 3 true",
            "people 15 4 0 11 true",
        ];
        assert_eq!(texts(&target, sums).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_wrong_model_are_found_and_repaired() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    load(&target, memory(false), &Options::default()).await;
    let mut connection = PgConnection::connect(&target).await.unwrap();
    for sql in [
        // One is the other model's document, one is nobody's.
        "INSERT INTO companies (id, name) SELECT id, full_name FROM people WHERE full_name = 'Cleo'",
        "DELETE FROM people WHERE full_name = 'Dana'",
        "INSERT INTO events VALUES (2, 2024)",
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    for independent in [false, true] {
        let request = Request { independent, ..Request::default() };
        let report = compare(&target, memory(false), &request).await;
        let found: Vec<(&str, u64, u64)> = (report.tables.iter())
            .map(|table| (table.table.as_str(), table.missing.count, table.extra.count))
            .filter(|(_, missing, extra)| missing + extra > 0)
            .collect();
        assert_eq!(found, [("companies", 0, 1), ("people", 1, 0), ("events", 0, 1)]);
    }
    let options = Options::default();
    let (request, reporter, stop) = (Request::default(), Arc::new(Silent), Stop::default());
    let source = memory(false);
    let mended =
        repair(Parties::FACTS, source, &target, &options, &request, reporter, &stop, &|_| true);
    let mended = mended.await.unwrap();
    assert!(mended.repaired.as_ref().is_some_and(|repaired| repaired.balanced), "{mended:?}");
    assert_eq!(compare(&target, memory(false), &Request::default()).await.differences(), 0);
}
