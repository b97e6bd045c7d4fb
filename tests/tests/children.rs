//! Child tables: elements of arrays and maps, to any depth, become rows; each is counted once, and
//! what is refused can be tried again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use migrate_core::event::Silent;
use migrate_core::feed::Feed;
use migrate_core::rejects::{Filter, for_each, retry};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::source::memory::MemorySource;
use migrate_core::source::{Batch, Source};
use migrate_core::summary::Summary;
use migrate_core::validate::{Request, validate};
use migrate_core::{Migrate, dry_run, registry};
use migrate_tests::servers;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tokio::sync::mpsc;
use uuid::Uuid;

/// `db.tours`: arrays, maps and arrays inside arrays.
#[derive(Migrate)]
#[migrate(collection = "tours", table = "tours")]
struct Tours {
    #[migrate(id)]
    id: Uuid,
    title: String,
    #[child(Stages)]
    #[migrate(alias = "legs")]
    stages: Vec<Stages>,
    #[child(Tags)]
    tags: Option<Vec<Tags>>,
    #[child(Prices)]
    prices: HashMap<String, Prices>,
    #[child(Members)]
    members: Vec<Members>,
}

/// Elements without an id of their own.
#[derive(Migrate)]
#[migrate(child, table = "stages", unique(tour, place))]
struct Stages {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Tours, on_delete = cascade)]
    tour: Uuid,
    #[migrate(position)]
    place: i32,
    name: String,
    km: Option<f64>,
    #[child(Stops)]
    stops: Vec<Stops>,
}

/// Elements of elements, with a key that the application gave them.
#[derive(Migrate)]
#[migrate(child, table = "stops")]
struct Stops {
    #[migrate(id, rename = "stopNo")]
    id: i32,
    #[migrate(parent)]
    #[fk(Stages)]
    stage: Uuid,
    #[fk(Huts)]
    hut: Option<String>,
}

/// Scalars.
#[derive(Migrate)]
#[migrate(child, table = "tags")]
struct Tags {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Tours)]
    tour: Uuid,
    #[migrate(position)]
    place: i32,
    #[migrate(value)]
    label: String,
}

/// A map whose keys are data.
#[derive(Migrate)]
#[migrate(child, table = "prices")]
struct Prices {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Tours)]
    tour: Uuid,
    #[migrate(key)]
    season: String,
    euros: i32,
}

/// A junction with payload; its elements have ids of their own.
#[derive(Migrate)]
#[migrate(child, table = "members")]
struct Members {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Tours)]
    tour: Uuid,
    #[fk(People)]
    person: Uuid,
    leads: bool,
}

#[derive(Migrate)]
#[migrate(collection = "people", table = "people")]
struct People {
    #[migrate(id)]
    id: Uuid,
    name: String,
}

#[derive(Migrate)]
#[migrate(collection = "huts", table = "huts")]
struct Huts {
    #[migrate(id)]
    id: String,
}

registry! { pub(crate) Alps = [Stops, Stages, Tags, Prices, Members, Tours, People, Huts] }

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// Six tours, clean and otherwise; `mended` has what the first source has wrong.
fn tours(mended: bool) -> Vec<Document> {
    let or = |wrong: Bson, right: Bson| if mended { right } else { wrong };
    vec![
        doc! {
            "_id": id(1), "title": "all of it",
            "stages": [
                { "name": "up", "km": 4.5, "stops": [{ "stopNo": 1, "hut": "Alm" }, { "stopNo": 2 }] },
                { "name": "down", "stops": [] },
                { "name": "home" },
            ],
            "tags": ["steep", "wet", "steep"],
            "prices": { "summer": { "euros": 20 }, "win.ter": { "euros": 12.0 } },
            "members": [
                { "_id": id(101), "person": id(201), "leads": true },
                { "_id": id(102), "person": id(202), "leads": false },
            ],
        },
        doc! { "_id": id(2), "title": "none of it" },
        doc! { "_id": id(3), "title": "nulls", "stages": null, "tags": null, "prices": {}, "members": [] },
        doc! {
            "_id": id(4), "title": "what is wrong inside",
            "legs": [
                { "name": "good" },
                or("no document".into(), doc! { "name": "a document" }.into()),
                { "name": or(Bson::Int32(7), "seven".into()) },
                { "name": "with stops", "stops": or(Bson::Int32(1), Bson::Null) },
                { "name": "with more", "stops": [
                    { "stopNo": or("3".into(), Bson::Int32(3)) },
                    { "stopNo": or(Bson::Int32(1), Bson::Int32(4)) },
                    { "stopNo": 5, "hut": or("nowhere".into(), "Alm".into()) },
                ] },
            ],
            "tags": or("not an array".into(), vec!["an array"].into()),
            "prices": { "summer": { "euros": or("20".into(), Bson::Int32(20)), "note": 1 } },
            "members": [
                { "_id": id(103), "person": or(id(250).into(), id(201).into()), "leads": true },
                or(Bson::Null, doc! { "_id": id(104), "person": id(202), "leads": true }.into()),
            ],
        },
        doc! {
            "_id": id(5), "title": or(Bson::Int32(5), "no number".into()),
            "stages": [{ "name": "lost", "stops": [{ "stopNo": 6 }] }],
            "tags": ["lost"],
        },
        doc! { "_id": "text", "title": "an id of another type", "tags": ["steep"], "stages": [{ "name": "one", "stops": [{ "stopNo": 7 }] }] },
    ]
}

fn source(mended: bool) -> Arc<dyn Source> {
    let people = [201, 202].map(|number| doc! { "_id": id(number), "name": "somebody" });
    Arc::new(
        MemorySource::new()
            .with("tours", tours(mended))
            .with("people", people)
            .with("huts", [doc! { "_id": "Alm" }]),
    )
}

async fn load(target: &str, source: Arc<dyn Source>, options: &Options) -> Summary {
    run(Alps::FACTS, source, target, options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

async fn rows(target: &str, sql: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(target).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn rejects(target: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let each = |entry: migrate_core::ledger::Entry| {
        let reject = entry.reject;
        let text = format!("{}: {}: {}", reject.field, reject.reason.code(), reject.message);
        assert!(!reject.document.is_empty(), "{} {}", reject.collection, reject.source_id);
        found.insert(format!("{} {}", reject.table, reject.source_id), text);
        true
    };
    for_each(target, &Options::default(), &Filter::default(), each).await.unwrap();
    found
}

/// Read, loaded and rejected of each table.
fn sums(summary: &Summary) -> BTreeMap<&str, (u64, u64, u64)> {
    let sums = |table: &migrate_core::summary::TableSummary| {
        assert!(table.balanced, "{table:?}");
        (table.read, table.loaded, table.rejected)
    };
    summary.tables.iter().map(|table| (table.table.as_str(), sums(table))).collect()
}

async fn assert_valid(target: &str, source: Arc<dyn Source>) {
    let stop = Stop::default();
    let options = Options::default();
    let report = validate(
        Alps::FACTS,
        source,
        target,
        &options,
        &Request::default(),
        Arc::new(Silent),
        &stop,
    )
    .await
    .unwrap();
    assert!(report.clean, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_element_is_a_row_or_a_reject() {
    for version in servers::VERSIONS {
        let Some(target) = servers::database(version) else { continue };
        // One document to a chunk, and all in one.
        let options =
            Options { chunk_bytes: if version == 15 { 1 } else { 1 << 20 }, ..Options::default() };
        let dry = dry_run::dry_run(
            Alps::FACTS,
            source(false),
            &target,
            &options,
            Arc::new(Silent),
            &Stop::default(),
        )
        .await
        .unwrap();
        assert!(dry.balanced);
        let summary = load(&target, source(false), &options).await;
        let expected = BTreeMap::from([
            ("tours", (6, 5, 1)),
            ("stages", (10, 7, 3)),
            ("stops", (8, 4, 4)),
            ("tags", (6, 4, 2)),
            ("prices", (3, 2, 1)),
            ("members", (4, 2, 2)),
            ("people", (2, 2, 0)),
            ("huts", (1, 1, 0)),
        ]);
        assert_eq!(sums(&summary), expected);
        for (table, (read, ..)) in sums(&dry) {
            assert_eq!(read, expected[table].0, "{table}");
        }
        let stages = rows(
            &target,
            "SELECT concat_ws(' ', title, place, name, km) FROM stages s
             JOIN tours t ON t.id = s.tour ORDER BY 1",
        )
        .await;
        assert_eq!(
            stages,
            [
                "all of it 0 up 4.5",
                "all of it 1 down",
                "all of it 2 home",
                "an id of another type 0 one",
                "what is wrong inside 0 good",
                "what is wrong inside 3 with stops",
                "what is wrong inside 4 with more",
            ]
        );
        let stops = "SELECT concat_ws(' ', s.id, name, hut) FROM stops s
            JOIN stages g ON g.id = s.stage ORDER BY s.id";
        assert_eq!(rows(&target, stops).await, ["1 up Alm", "2 up", "5 with more", "7 one"]);
        let tags =
            "SELECT string_agg(label, ',' ORDER BY place) FROM tags GROUP BY tour ORDER BY 1";
        assert_eq!(rows(&target, tags).await, ["steep", "steep,wet,steep"]);
        let prices = "SELECT season || ' ' || euros FROM prices ORDER BY 1";
        assert_eq!(rows(&target, prices).await, ["summer 20", "win.ter 12"]);
        // An element's own ObjectId becomes its row's id as that of a document does.
        let members =
            "SELECT substr(replace(id::text, '-', ''), 1, 11) || leads FROM members ORDER BY 1";
        assert_eq!(rows(&target, members).await.len(), 2);

        let (four, five) = (id(4).to_hex(), id(5).to_hex());
        let expected = [
            (format!("tours {five}"), "title: type: expected text, found int 5".to_owned()),
            (
                format!("stages {four}/legs/1"),
                "legs.1: type: expected object, found string \"no document\"".to_owned(),
            ),
            (
                format!("stages {four}/legs/2"),
                "legs.2.name: type: expected text, found int 7".to_owned(),
            ),
            (
                format!("stops {four}/legs/3/stops"),
                "legs.3.stops: type: expected array, found int 1".to_owned(),
            ),
            (
                format!("stops {four}/legs/4/stops/0"),
                "legs.4.stops.0.stopNo: type: expected int4, found string \"3\"".to_owned(),
            ),
            (
                format!("tags {four}/tags"),
                "tags: type: expected array, found string \"not an array\"".to_owned(),
            ),
            (
                format!("prices {four}/prices/summer"),
                "prices.*.euros: type: expected int4, found string \"20\"".to_owned(),
            ),
            (
                format!("members {four}/members/1"),
                "members.1: type: expected object, found null".to_owned(),
            ),
        ];
        // What people read in the ledger are elements as they stand in their documents.
        let json = "SELECT concat_ws(' ', table_name, document_json) FROM migrate.reject
            WHERE table_name IN ('members', 'prices', 'stops') ORDER BY 1";
        let shown = rows(&target, json).await;
        assert!(!shown.iter().any(|line| line.contains("u0001")), "{shown:#?}");
        assert!(shown.contains(&"members {\"value\":null}".to_owned()), "{shown:#?}");
        assert!(shown.contains(&"stops {\"stopNo\":\"3\"}".to_owned()), "{shown:#?}");
        let found = rejects(&target).await;
        for (source_id, text) in expected {
            assert_eq!(found.get(&source_id), Some(&text), "{source_id} of {found:#?}");
        }
        for (source_id, reason) in [
            (format!("stages {five}/stages/0"), "tour: orphan: "),
            (format!("stops {five}/stages/0/stops/0"), "stage: orphan: "),
            (format!("tags {five}/tags/0"), "tour: orphan: "),
            (format!("stops {four}/legs/4/stops/1"), "stopNo: duplicate: "),
            (format!("members {four}/members/0"), "person: orphan: "),
        ] {
            let text = found.get(&source_id).unwrap_or_else(|| panic!("{source_id} of {found:#?}"));
            assert!(text.starts_with(reason), "{text}");
        }
        assert_eq!(found.len(), 13);
        assert_valid(&target, source(false)).await;

        // Elements that the ledger holds can be tried again without the source; the models are the
        // same, so all but the duplicate's winner fail again, and no sum moves.
        let options = Options::default();
        let filter = Filter::default();
        let (silent, stop) = (Arc::new(Silent), Stop::default());
        let again = retry(Alps::FACTS, None, &target, &options, &filter, silent, &stop);
        assert_eq!(again.await.unwrap().loaded, 0);
        assert!(rejects(&target).await.keys().eq(found.keys()));

        // With a source that is mended all of them become rows.
        let (silent, mended) = (Arc::new(Silent), source(true));
        let again = retry(Alps::FACTS, Some(mended), &target, &options, &filter, silent, &stop);
        let again = again.await.unwrap();
        assert_eq!((again.tried, again.loaded, again.gone), (13, 11, 2), "{again:?}");
        assert_eq!(rejects(&target).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_with_their_constraints_on() {
    let target = servers::database(servers::NEWEST).unwrap();
    let options = Options { keep_constraints: true, ..Options::default() };
    // The tables are made by somebody else.
    let names = migrate_core::ddl::Names { schema: "public" };
    let mut connection = PgConnection::connect(&target).await.unwrap();
    for statement in migrate_core::ddl::statements(Alps::FACTS, names) {
        if statement.part != migrate_core::ddl::Part::Schema {
            sqlx::raw_sql(AssertSqlSafe(statement.sql)).execute(&mut connection).await.unwrap();
        }
    }
    let summary = load(&target, source(false), &options).await;
    let sums = sums(&summary);
    assert_eq!((sums["stages"], sums["stops"]), ((10, 7, 3), (8, 4, 4)));
    assert_eq!(rejects(&target).await.len(), 13);
    assert_valid(&target, source(false)).await;
    let exported = std::cell::RefCell::new(Vec::new());
    migrate_core::ids::export(
        Alps::FACTS,
        &target,
        &Options::default(),
        Some("tours.stages"),
        |pair| {
            exported.borrow_mut().push(pair.source_id);
            true
        },
    )
    .await
    .unwrap();
    let mut exported = exported.into_inner();
    exported.sort();
    assert_eq!(exported.len(), 7);
    assert_eq!(exported[0], "\"text\"/stages/0");
    assert_eq!(exported[1], format!("{}/stages/0", id(1).to_hex()));
}

/// `db.bills`, which are loaded with all of their lines or not at all.
#[derive(Migrate)]
#[migrate(collection = "bills", table = "bills")]
struct Bills {
    #[migrate(id)]
    id: i32,
    #[child(Lines, on_reject = document)]
    lines: Vec<Lines>,
}

#[derive(Migrate)]
#[migrate(child, table = "lines")]
struct Lines {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Bills)]
    bill: i32,
    cents: i64,
    #[child(Discounts, on_reject = document)]
    discounts: Vec<Discounts>,
}

#[derive(Migrate)]
#[migrate(child, table = "discounts")]
struct Discounts {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Lines)]
    line: Uuid,
    #[migrate(value)]
    percent: i16,
}

registry! { pub(crate) Books = [Bills, Lines, Discounts] }

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_refused_with_its_elements_where_the_model_says_so() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let line = |cents: Bson, discounts: Vec<Bson>| doc! { "cents": cents, "discounts": discounts };
    let bills = [
        doc! { "_id": 1, "lines": [line(100.into(), vec![5.into()]), line(200.into(), vec![])] },
        doc! { "_id": 2, "lines": [line(100.into(), vec![]), line(2.5.into(), vec![])] },
        doc! { "_id": 3, "lines": [line(100.into(), vec![5.into(), "ten".into()])] },
        doc! { "_id": 4, "lines": 7 },
    ];
    let source = Arc::new(MemorySource::new().with("bills", bills));
    let (options, stop) = (Options::default(), Stop::default());
    let summary = run(Books::FACTS, source, &target, &options, Arc::new(Silent), &stop).await;
    let summary = summary.unwrap();
    let expected =
        BTreeMap::from([("bills", (4, 1, 3)), ("lines", (6, 2, 4)), ("discounts", (3, 1, 2))]);
    assert_eq!(sums(&summary), expected);
    let found = rejects(&target).await;
    for (source_id, text) in [
        ("bills 2", "lines.1.cents: fraction: expected int8, found double 2.5"),
        ("bills 3", "lines.0.discounts.1: type: expected int2, found string \"ten\""),
        ("bills 4", "lines: type: expected array, found int 7"),
        (
            "discounts 3/lines/0/discounts/1",
            "lines.0.discounts.1: type: expected int2, found string \"ten\"",
        ),
    ] {
        assert_eq!(found.get(source_id).map(String::as_str), Some(text), "{found:#?}");
    }
}

/// One document of many elements comes in many pieces, so that only some are in memory at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_many_elements_comes_in_pieces() {
    const ELEMENTS: usize = 60_000;
    let tags: Vec<Bson> =
        (0..ELEMENTS).map(|number| Bson::String(format!("tag {number}"))).collect();
    let source = MemorySource::new().with("tours", [doc! { "_id": ObjectId::new(), "tags": tags }]);
    let feed = Feed::of(Alps::FACTS.model("Tags").unwrap());
    let ranges = source.split("tours", u64::MAX).await.unwrap();
    let read = async |most: usize| {
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        let take = async {
            let (mut elements, mut largest) = (0, 0);
            while elements < most
                && let Some(batch) = batches.recv().await
            {
                elements += batch.len();
                largest = largest.max(batch.bytes_len());
            }
            drop(batches);
            (elements, largest)
        };
        let (read, taken) = tokio::join!(feed.read(&source, "tours", &ranges[0], sender), take);
        read.unwrap();
        taken
    };
    let (elements, largest) = read(usize::MAX).await;
    assert_eq!(elements, ELEMENTS);
    assert!(largest < 512 << 10, "{largest} bytes at once");
    // Whoever wants no more gets no more, and nobody waits for ever.
    let (elements, _) = read(1).await;
    assert!(elements < ELEMENTS, "{elements}");
}
