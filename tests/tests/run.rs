//! The engine on small models made for the purpose: what settling does to documents that refer to
//! nothing, share a value or an id, and to circles; tables that were there; stopping and going on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bson::oid::ObjectId;
use bson::{Document, doc};
use migrate_core::event::{Event, Reporter, Silent};
use migrate_core::failpoint::FailPoints;
use migrate_core::rejects::{self, Filter};
use migrate_core::run::{Options, Stop, UuidVersion, run};
use migrate_core::source::Source;
use migrate_core::source::memory::MemorySource;
use migrate_core::summary::Summary;
use migrate_core::upkeep::Analyze;
use migrate_core::{Error, ErrorKind, Migrate, Registry, registry};
use migrate_servers::{Postgres, PostgresOptions};
use uuid::Uuid;

/// A person, who may have a boss and must have a home.
#[derive(Migrate)]
#[migrate(collection = "people")]
#[allow(dead_code)]
struct Person {
    #[migrate(id)]
    id: Uuid,
    #[migrate(unique)]
    email: Option<String>,
    #[fk(Self)]
    boss: Option<Uuid>,
    #[fk(City)]
    #[migrate(index)]
    city: Uuid,
    #[junction(Friends, owner = left)]
    friends: Vec<Uuid>,
    #[junction(Visits)]
    visited: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "cities")]
#[allow(dead_code)]
struct City {
    #[migrate(id)]
    id: Uuid,
    name: String,
    // Left out of the order: mayors live in cities.
    #[fk(Person, deferred)]
    mayor: Option<Uuid>,
    #[junction(Visits)]
    visitors: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct Friends {
    #[fk(Person, on_delete = cascade)]
    left: Uuid,
    #[fk(Person, on_delete = cascade)]
    #[migrate(index)]
    right: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct Visits {
    #[fk(Person, on_delete = cascade)]
    person: Uuid,
    #[fk(City, on_delete = cascade)]
    city: Uuid,
}

#[derive(Migrate)]
#[migrate(collection = "products")]
#[allow(dead_code)]
struct Product {
    #[migrate(id)]
    id: Uuid,
    #[migrate(unique)]
    code: String,
    #[junction(ProductToOrder)]
    orders: Vec<i64>,
}

#[derive(Migrate)]
#[migrate(collection = "orders")]
#[allow(dead_code)]
struct Order {
    #[migrate(id)]
    id: i64,
    #[fk(Product)]
    main: Option<Uuid>,
    #[junction(ProductToOrder)]
    products: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct ProductToOrder {
    #[fk(Product)]
    product: Uuid,
    #[fk(Order)]
    order: i64,
}

registry! { Shop = [Product, Order, ProductToOrder] }

registry! { World = [Person, City, Friends, Visits] }

fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).expect("PostgreSQL starts"))
}

fn database(name: &str) -> String {
    postgres().create_database(name).expect("a fresh database")
}

/// One column of one row as text, NULL as `∅`, rows joined by spaces.
fn query(database: &str, sql: &str) -> String {
    let rows = postgres().query(database, sql).expect(sql);
    let rows: Vec<String> = rows
        .into_iter()
        .map(|row| {
            let cells: Vec<String> =
                row.into_iter().map(|cell| cell.unwrap_or_else(|| "∅".to_owned())).collect();
            cells.join("|")
        })
        .collect();
    rows.join(" ")
}

async fn migrate(source: MemorySource, url: &str, options: Options) -> Summary {
    run(World::FACTS, Arc::new(source), url, &options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

fn id(number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(1_600_000_000 + number).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn person(number: u32, city: u32) -> Document {
    doc! { "_id": id(number), "city": id(1000 + city) }
}

fn city(number: u32) -> Document {
    doc! { "_id": id(1000 + number), "name": format!("city {number}") }
}

fn with(mut document: Document, more: Document) -> Document {
    document.extend(more);
    document
}

fn options(jobs: usize) -> Options {
    Options { jobs, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_follows_consequences() {
    let url = database("settling");
    let source = MemorySource::new()
        .with(
            "people",
            [
                person(1, 1),
                // Rejected: there is no city 9. Who refers to person 2 is settled after it.
                person(2, 9),
                with(person(3, 1), doc! { "boss": id(2), "email": "a@b" }),
                // The same address: the smaller id, 3, stays, and 4's subordinate loses the boss.
                with(person(4, 1), doc! { "email": "a@b" }),
                with(person(5, 2), doc! { "boss": id(4), "email": "c@d" }),
                with(person(6, 2), doc! { "boss": id(5) }),
                with(
                    person(7, 1),
                    doc! { "friends": [id(1), id(1), id(2), id(77), "none", 5, id(6).to_hex()],
                    "visited": [id(1001), id(1002)] },
                ),
            ],
        )
        .with(
            "cities",
            [
                with(city(1), doc! { "mayor": id(4), "visitors": [id(7), id(1), id(2)] }),
                with(city(2), doc! { "mayor": id(1), "visitors": id(6) }),
                // The whole row is required to have a name.
                doc! { "_id": id(1003), "mayor": id(1) },
            ],
        )
        .with("left_out", [doc! { "_id": 1 }]);
    let summary = migrate(source, &url, options(2)).await;
    assert!(summary.balanced, "{summary:#?}");

    let people = query(
        "settling",
        r#"SELECT right(id::text, 4), boss IS NULL, email FROM "Person" ORDER BY id"#,
    );
    let tail = |number: u32| {
        let uuid = migrate_core::id::IdScheme::V8.uuid(id(number).bytes());
        Uuid::from_bytes(uuid).to_string()[32..].to_owned()
    };
    assert_eq!(
        people,
        [
            format!("{}|t|∅", tail(1)),
            format!("{}|t|a@b", tail(3)),
            format!("{}|t|c@d", tail(5)),
            format!("{}|f|∅", tail(6)),
            format!("{}|t|∅", tail(7)),
        ]
        .join(" ")
    );
    assert_eq!(
        query("settling", r#"SELECT name, mayor IS NULL FROM "City" ORDER BY name"#),
        "city 1|t city 2|f"
    );
    assert_eq!(
        query("settling", "SELECT source_id, stage, reason, field FROM migrate.reject ORDER BY 1"),
        format!(
            "{}|settle|orphan|city {}|settle|duplicate|email {}|transform|missing|name",
            id(2),
            id(4),
            id(1003)
        )
    );
    // Each reject has its document.
    assert_eq!(
        query(
            "settling",
            "SELECT document_json->'_id'->>'$oid' = source_id, octet_length(document) > 20
             FROM migrate.reject"
        ),
        "t|t t|t t|t"
    );
    let friends = summary.junctions.iter().find(|junction| junction.table == "Friends").unwrap();
    assert_eq!(
        (friends.elements, friends.inserted, friends.duplicates, friends.orphans),
        (7, 2, 1, 4)
    );
    // (7,1) (7,2) from the person, (1,7) (1,1) (1,2→rejected) (2,6) from the cities.
    let visits = summary.junctions.iter().find(|junction| junction.table == "Visits").unwrap();
    assert_eq!((visits.elements, visits.inserted, visits.duplicates, visits.orphans), (6, 4, 1, 1));
    assert_eq!(
        query(
            "settling",
            "SELECT table_name, column_name, element, count(*) FROM migrate.orphan GROUP BY 1, 2, 3 ORDER BY 1, 2"
        ),
        "City|mayor|f|1 Friends|right|t|4 Person|boss|f|2 Visits|person|t|1"
    );
    assert_eq!(summary.collections_without_model.get("left_out"), Some(&1));
    assert_eq!(
        query(
            "settling",
            "SELECT conname, contype, convalidated FROM pg_constraint
             WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f') ORDER BY 1"
        ),
        "City_mayor_fkey|f|t City_pkey|p|t Friends_left_fkey|f|t Friends_pkey|p|t \
         Friends_right_fkey|f|t Person_boss_fkey|f|t Person_city_fkey|f|t Person_pkey|p|t \
         Visits_city_fkey|f|t Visits_person_fkey|f|t Visits_pkey|p|t"
    );
    assert_eq!(
        query(
            "settling",
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        ),
        "City_pkey Friends_pkey Friends_right_idx Person_city_idx Person_email_key Person_pkey Visits_pkey"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_and_its_digits_are_one_row() {
    for uuid in [UuidVersion::V8, UuidVersion::V7, UuidVersion::Random] {
        let name = format!("digits_{}", uuid.name());
        let url = database(&name);
        let source = MemorySource::new()
            .with(
                "people",
                [
                    // In MongoDB's order the string comes first, so it is the one that stays.
                    with(person(1, 1), doc! { "email": "object", "visited": [id(1001)] }),
                    doc! { "_id": id(1).to_hex(), "city": id(1001), "email": "string",
                    "friends": [id(2)] },
                    person(2, 1),
                    doc! { "_id": 5, "city": id(1001) },
                    doc! { "_id": "no digits", "city": id(1001), "boss": id(1).to_hex() },
                ],
            )
            .with("cities", [city(1)]);
        let options = Options { uuid, ..options(1) };
        let summary = migrate(source, &url, options).await;
        assert!(summary.balanced, "{uuid:?} {summary:#?}");
        assert_eq!(
            query(&name, r#"SELECT count(*), count(email), min(email), count(boss) FROM "Person""#),
            "4|1|string|1"
        );
        assert_eq!(
            query(&name, "SELECT source_id, reason, field FROM migrate.reject"),
            format!("{}|duplicate|_id", id(1))
        );
        assert_eq!(query(&name, r#"SELECT count(*) FROM "Friends""#), "1");
        assert_eq!(query(&name, r#"SELECT count(*) FROM "Visits""#), "0");
        let version = query(&name, r#"SELECT DISTINCT substr(id::text, 15, 1) FROM "City""#);
        assert_eq!(
            version,
            match uuid {
                UuidVersion::V8 => "8",
                UuidVersion::V7 => "7",
                UuidVersion::Random => "4",
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_tried_again() {
    let url = database("retry");
    let source = |mended: bool| {
        let email = if mended { "b@b" } else { "a@b" };
        let mut third = doc! { "_id": id(1003), "mayor": id(4), "visitors": [id(4), id(1), id(1)] };
        if mended {
            third.insert("name", "city 3");
        }
        MemorySource::new()
            .with(
                "people",
                [
                    person(1, 1),
                    person(2, 9),
                    with(
                        person(3, 1),
                        doc! { "email": "a@b", "visited": [id(1003)], "friends": id(4) },
                    ),
                    with(
                        person(4, 1),
                        doc! { "email": email, "boss": id(1), "friends": [id(3), id(3), id(2)] },
                    ),
                    with(person(5, 1), doc! { "boss": id(4), "friends": [id(4)] }),
                    // Rejected for its city, and loaded when the city is.
                    person(6, 3),
                ],
            )
            .with("cities", [with(city(1), doc! { "mayor": id(4) }), third])
    };
    let summary = migrate(source(false), &url, options(2)).await;
    assert!(summary.balanced, "{summary:#?}");
    assert_eq!(summary.totals.rejected, 4);
    let groups = rejects::groups(&url, &options(1), &Filter::default()).await.expect("groups");
    let shown: Vec<String> = groups
        .iter()
        .map(|group| format!("{}.{} {} {}", group.table, group.field, group.reason, group.count))
        .collect();
    assert_eq!(shown, ["Person.city orphan 2", "City.name missing 1", "Person.email duplicate 1"]);

    let retry = |source: Option<Arc<dyn Source>>, filter: Filter| {
        let url = url.clone();
        async move {
            let stop = Stop::default();
            rejects::retry(
                World::FACTS,
                source,
                &url,
                &options(1),
                &filter,
                Arc::new(Silent),
                &stop,
            )
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
        }
    };
    // What the ledger has stored fails again, and the ledger stays as it was.
    let before =
        query("retry", "SELECT table_name, source_id, reason FROM migrate.reject ORDER BY 1, 2");
    let stored = retry(None, Filter::default()).await;
    assert_eq!((stored.tried, stored.loaded, stored.rejected, stored.gone), (4, 0, 4, 0));
    assert_eq!(
        query("retry", "SELECT table_name, source_id, reason FROM migrate.reject ORDER BY 1, 2"),
        before
    );
    // Mended in the source, three of them load, and others get back what they had lost.
    let only = Filter { reason: Some("duplicate".to_owned()), ..Filter::default() };
    let one = retry(Some(Arc::new(source(true))), only).await;
    assert_eq!((one.tried, one.loaded, one.references), (1, 1, 2), "{one:?}");
    let rest = retry(Some(Arc::new(source(true))), Filter::default()).await;
    assert_eq!((rest.tried, rest.loaded, rest.rejected), (3, 2, 1), "{rest:?}");
    assert_eq!(
        query("retry", r#"SELECT count(*), count(boss), count(email) FROM "Person""#),
        "5|2|2"
    );
    assert_eq!(query("retry", r#"SELECT count(*), count(mayor) FROM "City""#), "2|2");
    assert_eq!(
        query("retry", "SELECT source_id, reason FROM migrate.reject"),
        format!("{}|orphan", id(2))
    );
    // As if it had been right from the start.
    let fresh = database("retry_fresh");
    let expected = migrate(source(true), &fresh, options(2)).await;
    for table in ["Person", "City", "Friends", "Visits"] {
        let rows = format!(r#"SELECT t::text FROM "{table}" t ORDER BY 1"#);
        assert_eq!(query("retry", &rows), query("retry_fresh", &rows), "{table}");
    }
    let sums = "SELECT summary->'totals' FROM migrate.run";
    let totals: migrate_core::summary::Totals =
        serde_json::from_str(&query("retry", sums)).expect("totals");
    // The run itself had read the documents before they were mended.
    assert_eq!(
        migrate_core::summary::Totals { bytes: expected.totals.bytes, ..totals },
        expected.totals
    );
}

/// The schema of [`World`] as somebody else would have made it.
const FOREIGN_SCHEMA: &str = r#"
CREATE TABLE "City" (id uuid CONSTRAINT city_key PRIMARY KEY, name text NOT NULL CHECK (length(name) <= 20), mayor uuid, extra int);
CREATE TABLE "Person" (
    id uuid PRIMARY KEY, email text, boss uuid REFERENCES "Person" DEFERRABLE INITIALLY DEFERRED,
    city uuid NOT NULL REFERENCES "City" ON UPDATE CASCADE, CONSTRAINT mail UNIQUE (email) DEFERRABLE);
ALTER TABLE "City" ADD CONSTRAINT mayor FOREIGN KEY (mayor) REFERENCES "Person" ON DELETE SET NULL;
COMMENT ON CONSTRAINT mayor ON "City" IS 'it''s the mayor';
CREATE UNIQUE INDEX lower_mail ON "Person" (lower(email)) WHERE email <> '';
ALTER INDEX lower_mail ALTER COLUMN 1 SET STATISTICS 400;
CREATE INDEX by_city ON "Person" (city DESC NULLS LAST) INCLUDE (email) WITH (fillfactor = 70);
COMMENT ON INDEX by_city IS 'people of a city';
CREATE TABLE "Friends" ("left" uuid REFERENCES "Person", "right" uuid REFERENCES "Person", PRIMARY KEY ("left", "right"));
CREATE TABLE "Visits" (person uuid REFERENCES "Person", city uuid REFERENCES "City", PRIMARY KEY (person, city));
CREATE TABLE other (city uuid REFERENCES "City");
"#;

const DEFINITIONS: &str = "
    SELECT conrelid::regclass::text || conname || pg_get_constraintdef(oid) || convalidated
        || coalesce(obj_description(oid, 'pg_constraint'), '')
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT pg_get_indexdef(indexrelid) || coalesce(obj_description(indexrelid, 'pg_class'), '')
        || coalesce((SELECT string_agg(attstattarget::text, ' ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = indexrelid), '')
    FROM pg_index WHERE indrelid::regclass::text IN ('\"City\"', '\"Person\"', '\"Friends\"', '\"Visits\"')
    ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_there_come_back_as_they_were() {
    let url = database("foreign_schema");
    for statement in FOREIGN_SCHEMA.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        query("foreign_schema", statement);
    }
    let before = query("foreign_schema", DEFINITIONS);
    assert!(before.contains("400"), "{before}");
    let source = || {
        MemorySource::new()
            .with(
                "people",
                [
                    with(person(1, 1), doc! { "email": "a@b" }),
                    with(person(2, 1), doc! { "email": "A@B" }),
                    with(
                        person(3, 1),
                        doc! { "email": "c@d", "friends": [id(1), id(2)], "boss": id(4) },
                    ),
                    with(person(4, 1), doc! { "boss": id(77), "visited": id(1001) }),
                ],
            )
            .with(
                "cities",
                [
                    city(1),
                    doc! { "_id": id(1002), "name": "a name of more than twenty characters" },
                ],
            )
    };
    let summary = migrate(source(), &url, options(2)).await;
    assert!(summary.balanced, "{summary:#?}");
    assert_eq!(query("foreign_schema", DEFINITIONS), before);
    assert_eq!(
        query("foreign_schema", "SELECT source_id, reason, field FROM migrate.reject ORDER BY 1"),
        format!("{}|duplicate|lower(email) {}|constraint|City_name_check", id(2), id(1002))
    );
    // With the constraints kept on the rows are the same, though it is the first that stays and
    // not the smallest: the key decides while rows come in.
    let kept_url = database("kept");
    for statement in FOREIGN_SCHEMA.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        query("kept", statement);
    }
    let keep = Options { keep_constraints: true, ..options(2) };
    let kept = migrate(source(), &kept_url, keep).await;
    assert!(kept.balanced, "{kept:#?}");
    assert_eq!(query("kept", DEFINITIONS), before);
    for table in ["Person", "City", "Friends", "Visits"] {
        let rows = format!(r#"SELECT t::text FROM "{table}" t ORDER BY 1"#);
        assert_eq!(query("kept", &rows), query("foreign_schema", &rows), "{table}");
    }
    assert_eq!(
        query("kept", "SELECT source_id, reason FROM migrate.reject ORDER BY 1"),
        format!("{}|duplicate {}|constraint", id(2), id(1002))
    );
    // The same again does nothing and gives the same summary; `--clean` starts over on the
    // emptied tables.
    let again = migrate(source(), &url, options(2)).await;
    assert_eq!((again.run, &again.totals), (summary.run, &summary.totals));
    let clean = Options { clean: true, ..options(2) };
    let summary = migrate(source(), &url, clean).await;
    assert!(summary.balanced, "{summary:#?}");
    assert_eq!(query("foreign_schema", DEFINITIONS), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_match_is_refused_with_every_difference() {
    let url = database("mismatch");
    for statement in [
        r#"CREATE TABLE "City" (id uuid PRIMARY KEY, name char(5) NOT NULL, mayor uuid NOT NULL, founded date NOT NULL)"#,
        r#"CREATE TABLE "Person" (id bigint, boss uuid, city uuid REFERENCES "City")"#,
    ] {
        query("mismatch", statement);
    }
    let source = MemorySource::new().with("people", [person(1, 1)]);
    let error =
        run(World::FACTS, Arc::new(source), &url, &options(1), Arc::new(Silent), &Stop::default())
            .await
            .expect_err("the tables do not match")
            .to_string();
    for expected in [
        r#""City"."name": the column is character(5), the model's is text"#,
        r#""City"."mayor": the column is NOT NULL, the model's field is an `Option`"#,
        r#""City"."founded": the column is NOT NULL without a default"#,
        r#""Person"."email": the column is missing"#,
        r#""Person"."id": the column is bigint, the model's is uuid"#,
        r#""Person": the primary key ("id") is missing"#,
    ] {
        assert!(error.contains(expected), "{expected}\nis not in\n{error}");
    }
    assert_eq!(
        query("mismatch", "SELECT count(*) FROM pg_namespace WHERE nspname = 'migrate'"),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_goes_on() {
    let url = database("stopped");
    let people = |count: u32| (1..=count).map(|number| person(number, number % 3 + 1));
    let source = || {
        MemorySource::new()
            .with("people", people(2000))
            .with("cities", (1..=3).map(city))
            .batches_of(100)
    };
    let stop = Stop::default();
    stop.stop();
    let error = run(World::FACTS, Arc::new(source()), &url, &options(1), Arc::new(Silent), &stop)
        .await
        .expect_err("it was stopped");
    assert_eq!(error.kind(), migrate_core::ErrorKind::Interrupted, "{error}");
    // Another source is refused, because the run would be another one.
    let other = run(
        World::FACTS,
        Arc::new(source()),
        &url,
        &Options { uuid: UuidVersion::V7, ..options(1) },
        Arc::new(Silent),
        &Stop::default(),
    )
    .await
    .expect_err("the options differ");
    assert!(other.to_string().contains("`--uuid` was `v8`, is `v7`"), "{other}");
    let summary = migrate(source(), &url, options(2)).await;
    assert!(summary.balanced);
    assert_eq!(summary.totals.loaded, 2003);
    assert_eq!(summary.totals.rejected, 0);
}

fn shop(number: u32) -> MemorySource {
    MemorySource::new()
        .with("products", (1..=number).map(|n| doc! { "_id": id(n), "code": format!("p{n}") }))
        .with(
            "orders",
            [
                doc! { "_id": 1, "main": id(1), "products": [id(1), id(2)] },
                doc! { "_id": 2.0, "main": id(99), "products": id(1) },
                doc! { "_id": 3.5 },
            ],
        )
}

async fn migrate_shop(
    source: MemorySource,
    url: &str,
    options: &Options,
) -> migrate_core::error::Result<Summary> {
    run(Shop::FACTS, Arc::new(source), url, options, Arc::new(Silent), &Stop::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_loaded_one_after_the_other() {
    let url = database("parts");
    let only = |name: &str| Options { only: vec![name.to_owned()], ..options(1) };
    // Orders refer to products: alone, all their references would look like orphans.
    let error =
        migrate_shop(shop(3), &url, &only("Order")).await.expect_err("products are missing");
    assert!(
        error.to_string().contains("`Order` refers to `Product`, which is not loaded"),
        "{error}"
    );
    let error = migrate_shop(shop(3), &url, &only("Oder")).await.expect_err("no such model");
    assert!(error.hint().is_some_and(|hint| hint.contains("Product, Order")), "{error:?}");

    let first = migrate_shop(shop(3), &url, &only("products")).await.expect("products");
    assert_eq!((first.tables.len(), first.junctions.len(), first.totals.loaded), (1, 0, 3));
    let again = migrate_shop(shop(3), &url, &only("Product")).await.expect("it is done");
    assert_eq!((again.run, &again.totals), (first.run, &first.totals));
    let other = Options { uuid: UuidVersion::V7, ..only("Product") };
    let error = migrate_shop(shop(3), &url, &other).await.expect_err("it is done, differently");
    assert!(error.to_string().contains("was loaded by an earlier run"), "{error}");
    // Without a name, what is left.
    let rest = migrate_shop(shop(3), &url, &options(1)).await.expect("orders");
    assert!(rest.balanced, "{rest:#?}");
    assert_eq!(rest.tables[0].table, "Order");
    assert_eq!((rest.totals.loaded, rest.totals.rejected, rest.totals.orphans), (2, 1, 1));
    assert_eq!(rest.junctions[0].inserted, 3);
    assert_eq!(
        query(
            "parts",
            r#"SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"#
        ),
        "3"
    );
    let again = migrate_shop(shop(3), &url, &options(1)).await.expect("all is done");
    assert_eq!(again.totals, rest.totals);
    let again = migrate_shop(shop(3), &url, &only("Order")).await.expect("its part is done");
    assert_eq!((again.run, &again.totals), (rest.run, &rest.totals));
    // No run was begun with these names.
    for names in [&["products"][..], &["products", "Order"], &["Order", "products"]] {
        let only = names.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { only, ..options(1) };
        let error = migrate_shop(shop(3), &url, &options).await.expect_err("nobody did that last");
        assert!(error.to_string().contains("was loaded by an earlier run"), "{error}");
    }
    let other = Options { uuid: UuidVersion::V7, ..options(1) };
    let error = migrate_shop(shop(3), &url, &other).await.expect_err("all is done, differently");
    assert!(error.to_string().contains("which is complete"), "{error}");
    // What is not the run's own stays, and what depends on the run's tables is not taken along.
    query("parts", "CREATE TABLE migrate.mine AS SELECT 1");
    query("parts", r#"CREATE VIEW own AS SELECT * FROM "Order""#);
    let clean = Options { clean: true, ..options(1) };
    let error = migrate_shop(shop(3), &url, &clean).await.expect_err("a view needs the table");
    assert!(error.hint().is_some_and(|hint| hint.contains("depends on")), "{error:?}");
    query("parts", "DROP VIEW own");
    let clean = Options { clean: true, ..options(1) };
    let all = migrate_shop(shop(3), &url, &clean).await.expect("all of it again");
    assert_eq!(all.totals.loaded, 5);
    assert_eq!(query("parts", "SELECT count(*) FROM migrate.mine"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_there_stay_with_append() {
    let url = database("append");
    query("append", r#"CREATE TABLE "Product" (id uuid PRIMARY KEY, code text NOT NULL UNIQUE)"#);
    query(
        "append",
        r#"INSERT INTO "Product" VALUES (gen_random_uuid(), 'old'), (gen_random_uuid(), 'p2'), (gen_random_uuid(), 'p4')"#,
    );
    let error = migrate_shop(shop(5), &url, &options(1)).await.expect_err("there are rows");
    assert!(
        error.to_string().contains(r#"tables that hold rows already: "public"."Product""#),
        "{error}"
    );
    let append = Options { append: true, ..options(1) };
    let summary = migrate_shop(shop(5), &url, &append).await.expect("appended");
    assert!(summary.balanced, "{summary:#?}");
    assert_eq!(
        query("append", r#"SELECT string_agg(code, ' ' ORDER BY code) FROM "Product""#),
        "old p1 p2 p3 p4 p5"
    );
    assert_eq!(
        query(
            "append",
            "SELECT source_id, stage, reason, field, octet_length(document) > 0 FROM migrate.reject WHERE table_name = 'Product' ORDER BY 1"
        ),
        format!("{}|settle|duplicate|code|t {}|settle|duplicate|code|t", id(2), id(4))
    );
}

/// Somebody who gives the same command, and finds the run nearly done, while it comes to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_while_another_process_begins_is_no_error_there() {
    let url = database("ends_meanwhile");
    let stop_at = |point: &'static str| {
        let hook = move |hit: &str| match hit == point {
            true => Err(Error::new(ErrorKind::Interrupted, "stopped")),
            false => Ok(()),
        };
        Options { fail_points: FailPoints::new(Arc::new(hook)), ..options(1) }
    };
    let error =
        migrate_shop(shop(3), &url, &stop_at("the load is done")).await.expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    // The runs are known to the second one, and then the first one ends.
    let ended = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (url, ended) = (url.clone(), Arc::clone(&ended));
        move |hit: &str| {
            if hit == "the runs are known" && ended.fetch_add(1, Ordering::Relaxed) == 0 {
                let first = std::thread::scope(|scope| {
                    let first = scope.spawn(|| {
                        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                        runtime.block_on(migrate_shop(shop(3), &url, &options(1)))
                    });
                    first.join().expect("no panic")
                });
                assert!(first.expect("the first one ends").balanced);
            }
            Ok(())
        }
    };
    let second = Options { fail_points: FailPoints::new(Arc::new(hook)), ..options(1) };
    let summary = migrate_shop(shop(3), &url, &second).await.expect("it is done");
    assert_eq!(ended.load(Ordering::Relaxed), 2);
    assert!(summary.balanced && summary.totals.loaded == 5, "{summary:#?}");
    assert_eq!(query("ends_meanwhile", "SELECT count(*) FROM migrate.run"), "1");
}

/// Tasks of small tables share a transaction, which PostgreSQL knows from the rows that it has
/// written last, and each has a note of its own.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_small_tables_are_done_together() {
    let url = database("together");
    let people = (1..=1500).map(|number| person(number, number % 200));
    let source = MemorySource::new().with("people", people).with("cities", (0..200).map(city));
    // Two workers may share a group.
    let summary = migrate(source, &url, options(1)).await;
    assert!(summary.balanced, "{summary:#?}");

    let groups =
        "SELECT string_agg(DISTINCT body->>'task', ' '), count(*), count(DISTINCT xmin::text)
        FROM migrate.task GROUP BY coalesce(together, task::text)
        HAVING count(*) > 1 ORDER BY 1";
    assert_eq!(query("together", groups), "analyze|2|1 primary_key|2|1 validate_foreign_keys|2|1");
    let transactions = "SELECT count(DISTINCT xmin::text)
            - count(DISTINCT coalesce(together, task::text)),
            count(*) - count(DISTINCT done_at), count(*) FILTER (WHERE NOT done),
            count(*) FILTER (WHERE seconds IS NULL OR result IS NULL)
        FROM migrate.task";
    assert_eq!(query("together", transactions), "0|0|0|0");
    // The larger table comes first and is sampled, which the smaller one takes nothing of.
    let bounds = "SELECT tablename, array_length(histogram_bounds::text::text[], 1) FROM pg_stats
        WHERE schemaname = 'public' AND attname = 'id' AND tablename IN ('City', 'Person')
        ORDER BY 1";
    assert_eq!(query("together", bounds), "City|101 Person|2");
}

/// Hears of waiting.
#[derive(Default)]
struct Waits(AtomicUsize);

impl Reporter for Waits {
    fn event(&self, event: &Event<'_>) {
        if let Event::Waiting { .. } = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Workers hand their connections on; one that has ended meanwhile is nobody's trouble.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_between_two_steps_are_not_missed() {
    let url = database("handed_on");
    let ended = Arc::new(AtomicUsize::new(0));
    let hook = {
        let ended = Arc::clone(&ended);
        move |point: &str| {
            if ["the load is done", "the tasks are done"].contains(&point) {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = 'handed_on' AND application_name LIKE 'migrate run%'";
                let found = tokio::task::block_in_place(|| query("handed_on", sql));
                ended.fetch_add(found.parse().unwrap(), Ordering::Relaxed);
            }
            Ok(())
        }
    };
    let options = Options { fail_points: FailPoints::new(Arc::new(hook)), ..options(2) };
    let people = (1..=20).map(|number| person(number, number % 2));
    let source = MemorySource::new().with("people", people).with("cities", (0..2).map(city));
    let waits = Arc::new(Waits::default());
    let reporter: Arc<dyn Reporter> = Arc::clone(&waits) as _;
    let source: Arc<dyn Source> = Arc::new(source);
    let stop = Stop::default();
    let summary = run(World::FACTS, source, &url, &options, reporter, &stop).await.unwrap();
    assert!(summary.balanced, "{summary:#?}");
    assert_eq!(ended.load(Ordering::Relaxed), 4);
    assert_eq!(waits.0.load(Ordering::Relaxed), 0);
}

/// More people than quick statistics sample, each in a city, with two friends.
fn crowd() -> MemorySource {
    const PEOPLE: u32 = 8_000;
    let people = (1..=PEOPLE).map(|number| {
        let friends = [id(number % PEOPLE + 1), id((number + 1) % PEOPLE + 1)];
        let more = doc! { "email": format!("{number}@example.org"), "friends": friends };
        with(person(number, number % 7), more)
    });
    MemorySource::new().with("people", people).with("cities", (0..7).map(city))
}

/// How often a run tells that visibility maps are begun, and that they are made.
#[derive(Default)]
struct Maps([AtomicUsize; 2]);

impl Reporter for Maps {
    fn event(&self, event: &Event<'_>) {
        let (place, task) = match event {
            Event::TaskStarted { task, .. } => (0, task),
            Event::TaskFinished { task, .. } => (1, task),
            _ => return,
        };
        if task.starts_with("visibility maps") {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A table is in use while its visibility map is made, so nobody goes on to its keys meanwhile, be it in
/// another process.
#[tokio::test(flavor = "multi_thread")]
async fn visibility_maps_are_waited_for_by_all_processes() {
    let url = database("maps");
    let start = |fail_points: FailPoints| {
        let (url, told) = (url.clone(), Arc::new(Maps::default()));
        let reporter: Arc<dyn Reporter> = Arc::clone(&told) as _;
        let options = Options { fail_points, ..options(2) };
        let thread = std::thread::spawn(move || {
            let (source, stop) = (Arc::new(crowd()), Stop::default());
            let all = run(World::FACTS, source, &url, &options, reporter, &stop);
            tokio::runtime::Runtime::new().expect("a runtime").block_on(all)
        });
        (thread, told)
    };
    // The first one is held at its first map until the second one has made its own.
    let (is_at_it, may_go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let wait_for = |what: &AtomicUsize| {
        let begun = std::time::Instant::now();
        while what.load(Ordering::SeqCst) == 0 {
            assert!(begun.elapsed().as_secs() < 60, "it does not come");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let held = {
        let (is_at_it, may_go_on) = (Arc::clone(&is_at_it), Arc::clone(&may_go_on));
        move |point: &str| {
            if point == "a visibility map is made" && is_at_it.fetch_add(1, Ordering::SeqCst) == 0 {
                wait_for(&may_go_on);
            }
            Ok(())
        }
    };
    let (first, told_by_first) = start(FailPoints::new(Arc::new(held)));
    wait_for(&is_at_it);
    let (second, told_by_second) = start(FailPoints::default());
    wait_for(&told_by_second.0[1]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(query("maps", "SELECT count(*) FROM migrate.task WHERE done"), "0");
    may_go_on.store(1, Ordering::SeqCst);
    for (thread, told) in [(first, told_by_first), (second, told_by_second)] {
        let summary = thread.join().expect("no panic").expect("it is done");
        assert!(summary.balanced, "{summary:#?}");
        let [begun, made] = &told.0;
        assert_eq!(begun.load(Ordering::Relaxed), made.load(Ordering::Relaxed));
    }
}

/// Waits until autovacuum has come to what `sql` says.
async fn wait_until(server: &Postgres, name: &str, sql: &str) {
    let begun = std::time::Instant::now();
    loop {
        let rows = server.query(name, sql).unwrap();
        if rows.iter().flatten().any(|cell| cell.as_deref() == Some("t")) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "not true after a minute: {sql}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// What a run leaves to autovacuum, it does; where there is none, the run does it.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_gathered_quickly_and_completed_by_autovacuum() {
    let server = Postgres::start(PostgresOptions::default()).expect("PostgreSQL starts");
    let set = |setting: &str| {
        server.query("postgres", &format!("ALTER SYSTEM SET {setting}")).unwrap();
        server.query("postgres", "SELECT pg_reload_conf()").unwrap();
    };
    let bounds = |name: &str| {
        let sql = "SELECT coalesce(max(array_length(histogram_bounds::text::text[], 1)), 0)
            FROM pg_stats WHERE schemaname = 'public' AND tablename = 'Person' AND attname = 'email'";
        let rows = server.query(name, sql).unwrap();
        rows[0][0].as_ref().unwrap().parse::<usize>().unwrap()
    };
    let run = async |name: &str, analyze: Analyze| {
        let url = server.create_database(name).expect("a fresh database");
        let summary = migrate(crowd(), &url, Options { analyze, ..options(2) }).await;
        assert!(summary.balanced, "{summary:#?}");
    };
    // For now nobody else looks at the tables.
    set("autovacuum_naptime = '1h'");
    let is_rare = "SELECT current_setting('autovacuum_naptime') = '1h'";
    wait_until(&server, "postgres", is_rare).await;
    run("quick", Analyze::Quick).await;
    assert_eq!(bounds("quick"), 2);
    run("full", Analyze::Full).await;
    assert_eq!(bounds("full"), 101);
    // Rows that nobody has touched since the load are seen through an index alone, but for a few.
    let unseen = "SELECT string_agg(relname, ', ') FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relallvisible < relpages";
    assert_eq!(server.query("full", unseen).unwrap()[0][0].as_deref(), Some("City"));

    // Tables that the run has made are autovacuum's again.
    let kept_away = "SELECT count(*) FROM pg_class WHERE reloptions::text LIKE '%autovacuum%'";
    assert_eq!(server.query("quick", kept_away).unwrap()[0][0].as_deref(), Some("0"));
    set("autovacuum_naptime = '1s'");
    let completed = "SELECT coalesce(max(array_length(histogram_bounds::text::text[], 1)), 0) = 101
        FROM pg_stats WHERE schemaname = 'public' AND tablename = 'Person' AND attname = 'email'";
    wait_until(&server, "quick", completed).await;

    set("autovacuum = off");
    wait_until(&server, "postgres", "SELECT NOT current_setting('autovacuum')::bool").await;
    run("alone", Analyze::Quick).await;
    assert_eq!(bounds("alone"), 101, "nobody would complete them");
    run("off", Analyze::Off).await;
    assert_eq!(bounds("off"), 0);
    assert_eq!(server.query("off", kept_away).unwrap()[0][0].as_deref(), Some("0"));
}
