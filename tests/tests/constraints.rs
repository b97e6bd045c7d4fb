//! What a target may ask of its rows beside types: keys of several columns, conditions, the order
//! of an array in its junction. The end is the same on tables that the run makes, on tables that
//! were there, and with their constraints left on.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Document, doc};
use chrono::NaiveDate;
use migrate_core::ddl::{Names, statements};
use migrate_core::event::Silent;
use migrate_core::existing;
use migrate_core::rejects::{Filter, for_each, retry};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::sink::Target;
use migrate_core::source::Source;
use migrate_core::source::memory::MemorySource;
use migrate_core::summary::Summary;
use migrate_core::validate::{Report, Request, validate};
use migrate_core::{Migrate, registry};
use migrate_tests::servers;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(collection = "teams", table = "teams")]
struct Teams {
    #[migrate(id)]
    id: Uuid,
    name: String,
}

/// A key of a reference and a number; the id stays, and is unique.
#[derive(Migrate)]
#[migrate(collection = "seats", table = "seats", primary_key(team, number))]
#[migrate(check = "price >= 0", check(seats_row = "\"row\" <> 'Z'"))]
#[migrate(check(seats_guest = "guest IS NOT NULL OR price = 0"))]
struct Seats {
    #[migrate(id)]
    id: Uuid,
    #[fk(Teams)]
    team: Uuid,
    number: i32,
    row: String,
    price: i32,
    #[fk(Teams)]
    guest: Option<Uuid>,
    #[child(Stamps)]
    stamps: Vec<Stamps>,
}

/// A key of the parent and the position, as a table of lines has it.
#[derive(Migrate)]
#[migrate(child, table = "stamps", primary_key(seat, place))]
struct Stamps {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Seats)]
    seat: Uuid,
    #[migrate(position)]
    place: i32,
    #[migrate(value)]
    ink: String,
}

/// The id in the key together with the column that a table is cut by.
#[derive(Migrate)]
#[migrate(collection = "logs", table = "logs", primary_key(id, day))]
struct Logs {
    #[migrate(id)]
    id: Uuid,
    day: NaiveDate,
    #[migrate(unique)]
    line: i64,
}

/// Refers to another column of a table whose id is not unique alone.
#[derive(Migrate)]
#[migrate(collection = "notes", table = "notes")]
struct Notes {
    #[migrate(id)]
    id: i32,
    #[fk(Logs, key = "line")]
    line: Option<i64>,
}

#[derive(Migrate)]
#[migrate(collection = "lists", table = "lists")]
struct Lists {
    #[migrate(id)]
    id: i32,
    #[junction(ListsToSongs, position)]
    songs: Vec<i32>,
}

/// The other side, which knows of no order.
#[derive(Migrate)]
#[migrate(collection = "songs", table = "songs")]
struct Songs {
    #[migrate(id)]
    id: i32,
    title: Option<String>,
    #[junction(ListsToSongs)]
    lists: Option<Vec<i32>>,
}

#[derive(Migrate)]
#[migrate(junction, table = "lists_to_songs")]
struct ListsToSongs {
    #[fk(Lists)]
    list: i32,
    #[fk(Songs)]
    song: i32,
    #[migrate(position, column = "nr")]
    position: Option<i64>,
}

/// The transformer looks after the group itself, so a table without its check is taken.
#[derive(Migrate)]
#[migrate(collection = "gifts", table = "gifts", one_of(to_team, to_song))]
struct Gifts {
    #[migrate(id)]
    id: i32,
    to_team: Option<i32>,
    to_song: Option<i32>,
}

registry! { pub(crate) Shelf = [Gifts] }

registry! {
    pub(crate) House = [Teams, Seats, Stamps, Logs, Notes, Lists, Songs, ListsToSongs]
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// `mended` has what a first source has wrong.
fn source(mended: bool) -> Arc<dyn Source> {
    let seat = |number: u8, seat: i32, row: &str, price: i32| {
        doc! { "_id": id(number), "team": id(1), "number": seat, "row": row, "price": price, "guest": id(2) }
    };
    let with = |mut document: Document, key: &str, value: bson::Bson| {
        document.insert(key, value);
        document
    };
    let seats = [
        with(seat(10, 1, "A", 5), "stamps", vec!["red", "blue", "red"].into()),
        // The same key: the smaller `_id` stays.
        with(seat(11, if mended { 11 } else { 1 }, "B", 5), "stamps", vec!["lost"].into()),
        seat(12, 2, "A", if mended { 3 } else { -3 }),
        seat(13, 3, if mended { "Y" } else { "Z" }, 3),
        // A guest who is not there: without one, the seat must be free of charge.
        with(seat(14, 4, "A", 5), "guest", if mended { id(2) } else { id(99) }.into()),
        with(seat(15, 5, "A", 0), "guest", id(99).into()),
        with(seat(16, 6, "A", 0), "guest", bson::Bson::Null),
        with(seat(17, 7, "A", 1), "guest", if mended { id(2).into() } else { bson::Bson::Null }),
    ];
    let day = |day: &str| bson::DateTime::parse_rfc3339_str(format!("{day}T00:00:00Z")).unwrap();
    let logs = [
        doc! { "_id": id(30), "day": day("2024-01-01"), "line": 1_i64 },
        doc! { "_id": id(31), "day": day("2024-01-01"), "line": 2_i64 },
        // The same id on another day: the string comes first in MongoDB's order of types.
        doc! { "_id": id(31).to_hex(), "day": day("2024-01-02"), "line": 3_i64 },
    ];
    let lists = [
        doc! { "_id": 1, "songs": [3, 1, 3, "no id", 2, 1] },
        doc! { "_id": 2, "songs": [2, 9] },
        doc! { "_id": 3, "songs": [] },
    ];
    let mut songs = vec![
        doc! { "_id": 1 },
        doc! { "_id": 2, "lists": [1, 3] },
        doc! { "_id": 3, "lists": [3, 3] },
    ];
    if mended {
        // The other side gives the pair first, and no place.
        songs.push(doc! { "_id": 9, "lists": [2] });
    } else {
        songs.push(doc! { "_id": 9, "title": 9 });
    }
    Arc::new(
        MemorySource::new()
            .with("teams", [doc! { "_id": id(1), "name": "a" }, doc! { "_id": id(2), "name": "b" }])
            .with("seats", seats)
            .with("logs", logs)
            .with("notes", [doc! { "_id": 1, "line": 3 }, doc! { "_id": 2, "line": 2 }])
            .with("lists", lists)
            .with("songs", songs),
    )
}

async fn load(target: &str, options: &Options) -> Summary {
    run(House::FACTS, source(false), target, options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

async fn check(target: &str, mended: bool, request: &Request) -> Report {
    let (options, stop) = (Options::default(), Stop::default());
    let source = source(mended);
    validate(House::FACTS, source, target, &options, request, Arc::new(Silent), &stop)
        .await
        .unwrap()
}

async fn rows(target: &str, sql: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(target).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn execute(target: &str, sql: &str) {
    let mut connection = PgConnection::connect(target).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

async fn rejects(target: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let each = |entry: migrate_core::ledger::Entry| {
        let reject = entry.reject;
        assert!(!reject.document.is_empty(), "{} {}", reject.collection, reject.source_id);
        let (code, message) = (reject.reason.code(), reject.message);
        let id = reject.source_id;
        let id = match id.get(..24).filter(|digits| id.starts_with(&digits[..2].repeat(12))) {
            Some(digits) => format!("{}{}", &digits[..2], &id[24..]),
            None => id,
        };
        found.insert(format!("{} {id} {}: {code}: {message}", reject.table, reject.field));
        true
    };
    for_each(target, &Options::default(), &Filter::default(), each).await.unwrap();
    found
}

const SEATS: &str = "SELECT concat_ws(' ', number, row, price, guest IS NOT NULL,
    (SELECT string_agg(place || ink, ',' ORDER BY place) FROM stamps WHERE seat = seats.id))
    FROM seats ORDER BY number";
const LOGS: &str = "SELECT concat_ws(' ', day, line) FROM logs ORDER BY line";
const NOTES: &str =
    "SELECT concat_ws(' ', id, coalesce(line::text, 'null')) FROM notes ORDER BY id";
const LISTS: &str = "SELECT concat_ws(' ', list, song, coalesce(nr::text, 'null'))
    FROM lists_to_songs ORDER BY list, nr, song";
/// The definitions of all keys and checks, without their names.
const KEYS: &str = "SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE contype IN ('p', 'u', 'c') AND connamespace = 'public'::regnamespace
    UNION ALL SELECT tablename || ': ' || regexp_replace(indexdef, '.* USING', 'unique')
    FROM pg_indexes WHERE schemaname = 'public' AND indexdef ~ 'UNIQUE'
        AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn keys_conditions_and_positions() {
    for version in servers::VERSIONS {
        for mode in ["new", "there", "kept"] {
            let Some(target) = servers::database(version) else { continue };
            if mode != "new" {
                let names = Names { schema: "public" };
                let all = statements(House::FACTS, names).into_iter();
                let sql: Vec<String> = all.map(|statement| statement.sql).collect();
                execute(&target, &sql.join("; ")).await;
            }
            let options = Options { keep_constraints: mode == "kept", ..Options::default() };
            let summary = load(&target, &options).await;
            assert!(summary.balanced, "{mode}: {summary:#?}");

            let seats = rows(&target, SEATS).await;
            assert_eq!(seats, ["1 A 5 t 0red,1blue,2red", "5 A 0 f", "6 A 0 f"], "{mode}");
            // In MongoDB's order a text comes before an ObjectId.
            assert_eq!(rows(&target, LOGS).await, ["2024-01-01 1", "2024-01-02 3"], "{mode}");
            assert_eq!(rows(&target, NOTES).await, ["1 3", "2 null"], "{mode}");
            let lists = ["1 3 0", "1 1 1", "1 2 4", "2 2 0", "3 2 null", "3 3 null"];
            assert_eq!(rows(&target, LISTS).await, lists, "{mode}");
            let songs =
                summary.junctions.iter().find(|junction| junction.table == "lists_to_songs");
            let songs = songs.unwrap();
            let sums = (songs.elements, songs.inserted, songs.duplicates, songs.orphans);
            assert_eq!(sums, (12, 6, 4, 2), "{mode}");

            let keys = rows(&target, KEYS).await;
            insta::allow_duplicates! { insta::assert_snapshot!("keys", keys.join("\n")) };
            let rejects: Vec<String> = rejects(&target).await.into_iter().collect();
            // The order of loading decides where constraints are on, and the server's own words
            // tell of a key that was taken.
            let name = if mode == "kept" { "rejects_kept" } else { "rejects" };
            insta::allow_duplicates! { insta::assert_snapshot!(name, rejects.join("\n")) };

            for independent in [false, true] {
                let request = Request { independent, ..Request::default() };
                let report = check(&target, false, &request).await;
                assert!(report.clean, "{mode} {report:#?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_come_back_with_their_place() {
    let Some(target) = servers::database(servers::VERSIONS[1]) else { return };
    load(&target, &Options::default()).await;
    let retried = retry(
        House::FACTS,
        Some(source(true)),
        &target,
        &Options::default(),
        &Filter::default(),
        Arc::new(Silent),
        &Stop::default(),
    )
    .await
    .unwrap();
    assert!(retried.loaded > 0, "{retried:?}");
    let seats = rows(&target, SEATS).await;
    assert_eq!(seats.len(), 8, "{seats:?}");
    let lists = ["1 3 0", "1 1 1", "1 2 4", "2 2 0", "2 9 1", "3 2 null", "3 3 null"];
    assert_eq!(rows(&target, LISTS).await, lists);
    let report = check(&target, true, &Request::default()).await;
    assert!(report.clean, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_found_and_repaired() {
    let Some(target) = servers::database(servers::VERSIONS[0]) else { return };
    load(&target, &Options::default()).await;
    execute(
        &target,
        "UPDATE lists_to_songs SET nr = 7 WHERE list = 1 AND song = 1;
         UPDATE lists_to_songs SET nr = 7 WHERE list = 3 AND song = 2;
         DELETE FROM lists_to_songs WHERE list = 1 AND song = 3;
         INSERT INTO lists_to_songs VALUES (3, 1, NULL);
         UPDATE seats SET number = 2 WHERE number = 1;
         UPDATE seats SET number = 1 WHERE number = 5;
         DELETE FROM stamps WHERE ink = 'blue'",
    )
    .await;
    for independent in [false, true] {
        let request = Request { independent, ..Request::default() };
        let report = check(&target, false, &request).await;
        let junction = report.junctions.iter().find(|found| found.table == "lists_to_songs");
        let junction = junction.unwrap();
        assert_eq!(junction.missing.first, ["1, 1, nr 1", "1, 3, nr 0", "3, 2, nr null"]);
        assert_eq!(junction.extra.first, ["1, 1, nr 7", "3, 1, nr null", "3, 2, nr 7"]);
    }
    let report = migrate_core::validate::repair(
        House::FACTS,
        source(false),
        &target,
        &Options::default(),
        &Request::default(),
        Arc::new(Silent),
        &Stop::default(),
        &|_| true,
    )
    .await
    .unwrap();
    assert!(report.clean, "{report:#?}");
    let lists = ["1 3 0", "1 1 1", "1 2 4", "2 2 0", "3 2 null", "3 3 null"];
    assert_eq!(rows(&target, LISTS).await, lists);
    assert_eq!(rows(&target, SEATS).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_there_are_compared() {
    let Some(target) = servers::database(servers::VERSIONS[1]) else { return };
    execute(
        &target,
        "CREATE TABLE seats (id uuid NOT NULL, team uuid NOT NULL, number int NOT NULL,
            \"row\" varchar NOT NULL, price int NOT NULL, guest uuid, PRIMARY KEY (number, team),
            CONSTRAINT other CHECK (price < 1000), CHECK (price >= 0) NO INHERIT NOT VALID);
         CREATE TABLE logs (id uuid NOT NULL, day date NOT NULL, line bigint NOT NULL,
            PRIMARY KEY (id));
         CREATE TABLE gifts (id int PRIMARY KEY, to_team int, to_song int)",
    )
    .await;
    let mut connection = Target::parse(&target).unwrap().connect().await.unwrap();
    let names = Names { schema: "public" };
    let mut found = existing::compare(&mut connection, House::FACTS, names).await.unwrap();
    found.extend(existing::compare(&mut connection, Shelf::FACTS, names).await.unwrap());
    let lines: Vec<String> =
        found.iter().map(|found| format!("harmless: {} {found}", found.harmless)).collect();
    insta::assert_snapshot!("compared", lines.join("\n"));
}

/// Conditions of models with junctions, and a reference that waits for no later row.
mod refused {
    use super::*;
    use migrate_tests::moved;

    #[derive(Migrate)]
    #[migrate(collection = ["offers_a", "offers_b"], table = "offers")]
    #[migrate(check = "price >= 0", deny_unknown_fields)]
    struct Offers {
        #[migrate(id)]
        id: i32,
        price: i32,
        #[fk(Tags)]
        main: i32,
        #[junction(OffersToTags, position)]
        tags: Vec<i32>,
    }

    #[derive(Migrate)]
    #[migrate(collection = "bids", table = "bids", check = "price >= 0")]
    struct Bids {
        #[migrate(id)]
        id: i32,
        price: i32,
        #[junction(BidsToTags)]
        tags: Vec<i32>,
    }

    #[derive(Migrate)]
    #[migrate(collection = "tags", table = "tags")]
    struct Tags {
        #[migrate(id)]
        id: i32,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "offers_to_tags")]
    struct OffersToTags {
        #[fk(Offers)]
        offer: i32,
        #[fk(Tags)]
        tag: i32,
        #[migrate(position)]
        nr: i32,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "bids_to_tags")]
    struct BidsToTags {
        #[fk(Bids)]
        bid: i32,
        #[fk(Tags)]
        tag: i32,
    }

    registry! { Shop = [Offers, Bids, Tags, OffersToTags, BidsToTags] }

    fn source() -> Arc<dyn Source> {
        let tags = (1..=4).map(|id| doc! { "_id": id });
        let source = MemorySource::new()
            .with("tags", tags)
            .with(
                "bids",
                [
                    doc! { "_id": 1, "price": 1, "tags": [1, 2, 2, 9] },
                    doc! { "_id": 2, "price": -1, "tags": [1, 2, 2, 9] },
                ],
            )
            .with(
                "offers_a",
                [
                    // Refused by the target, by a reference and by the model; those with the same ids are not.
                    doc! { "_id": 1, "price": -1, "main": 1, "tags": [1, 2] },
                    doc! { "_id": 2, "price": 1, "main": 9, "tags": [1, 2] },
                    doc! { "_id": 3, "price": 1, "main": 1, "tags": [1, 2], "more": 1 },
                    doc! { "_id": 4, "price": 1, "main": 1, "tags": [1] },
                ],
            )
            .with(
                "offers_b",
                [
                    doc! { "_id": 1, "price": 1, "main": 1, "tags": [3, 3] },
                    doc! { "_id": 3, "price": 1, "main": 1, "tags": [3] },
                    // A double of one that is loaded.
                    doc! { "_id": 4, "price": 1, "main": 1, "tags": [1, 2] },
                ],
            );
        Arc::new(source)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_document_has_no_pairs() {
        for keep_constraints in [false, true] {
            let Some(target) = servers::database(servers::NEWEST) else { return };
            let mut options = Options { keep_constraints, ..Options::default() };
            let summary = moved::load(Shop::FACTS, &target, source(), &options).await;
            let sums = moved::sums(&summary);
            let kept = keep_constraints;
            assert_eq!((sums["offers"], sums["bids"]), ([7, 3, 4, 0], [2, 1, 1, 0]), "{kept}");
            for retried in [false, true] {
                if retried {
                    options.keep_constraints = false;
                    let (filter, reporter) = (Filter::default(), Arc::new(Silent));
                    let stop = Stop::default();
                    let source = Some(source());
                    let retried =
                        retry(Shop::FACTS, source, &target, &options, &filter, reporter, &stop);
                    assert_eq!(retried.await.unwrap().loaded, 0);
                }
                let pairs = "SELECT concat_ws(' ', offer, tag, nr) FROM offers_to_tags
                    UNION ALL SELECT concat_ws(' ', 'bid', bid, tag) FROM bids_to_tags ORDER BY 1";
                let expected = ["1 3 0", "3 3 0", "4 1 0", "bid 1 1", "bid 1 2"];
                assert_eq!(rows(&target, pairs).await, expected, "{kept} {retried}");
                for independent in [false, true] {
                    let request = Request { independent, ..Request::default() };
                    let report = moved::compare(Shop::FACTS, &target, source(), &request).await;
                    assert!(report.clean, "{kept} {retried} {independent} {report:#?}");
                }
            }
        }
    }

    #[derive(Migrate)]
    #[migrate(collection = "links", table = "links")]
    struct Links {
        #[migrate(id)]
        id: i32,
        #[fk(Self)]
        next: i32,
    }

    registry! { Chain = [Links] }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_run_throws_nothing_away() {
        let Some(target) = servers::database(servers::NEWEST) else { return };
        let source = || -> Arc<dyn Source> {
            Arc::new(MemorySource::new().with("links", [doc! { "_id": 1, "next": 1 }]))
        };
        moved::load(Chain::FACTS, &target, source(), &Options::default()).await;
        let options = Options { clean: true, keep_constraints: true, ..Options::default() };
        let (reporter, stop) = (Arc::new(Silent), Stop::default());
        let refused = run(Chain::FACTS, source(), &target, &options, reporter, &stop).await;
        assert!(refused.unwrap_err().to_string().contains("`Links.next`"));
        assert_eq!(rows(&target, "SELECT id::text FROM links").await, ["1"]);
    }
}

mod sole {
    use migrate_core::{Migrate, registry};

    #[derive(Migrate)]
    #[migrate(collection = "owners", table = "owners")]
    #[allow(dead_code)]
    pub(super) struct Owners {
        #[migrate(id)]
        id: i32,
        #[junction(OwnersToCars)]
        cars: Vec<i32>,
    }

    #[derive(Migrate)]
    #[migrate(collection = "cars", table = "cars")]
    #[allow(dead_code)]
    pub(super) struct Cars {
        #[migrate(id)]
        id: i32,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "owners_to_cars")]
    #[allow(dead_code)]
    pub(super) struct OwnersToCars {
        #[fk(Owners)]
        owner: i32,
        #[fk(Cars)]
        car: i32,
    }

    registry! { pub(super) Garage = [Owners, Cars, OwnersToCars] }
}

/// A junction that was there lets an owner have one car only. A car that is not there takes no place.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_to_nothing_are_not_in_the_way_of_a_key_of_a_junction() {
    for key in ["(owner)", "(owner) WHERE car > 0"] {
        let Some(target) = servers::database(servers::NEWEST) else { return };
        let facts = sole::Garage::FACTS;
        let all = statements(facts, Names { schema: "public" }).into_iter();
        let sql: Vec<String> = all.map(|statement| statement.sql).collect();
        execute(&target, &sql.join("; ")).await;
        execute(&target, &format!("CREATE UNIQUE INDEX sole ON owners_to_cars {key}")).await;
        let source = MemorySource::new()
            .with(
                "owners",
                [doc! { "_id": 1, "cars": [77, 2] }, doc! { "_id": 2, "cars": [1, 78] }],
            )
            .with("cars", [doc! { "_id": 1 }, doc! { "_id": 2 }]);
        let options = Options::default();
        let summary = migrate_tests::moved::load(facts, &target, Arc::new(source), &options).await;
        assert!(summary.balanced, "{key}: {summary:#?}");
        let pairs =
            rows(&target, "SELECT owner || ' ' || car FROM owners_to_cars ORDER BY 1").await;
        assert_eq!(pairs, ["1 2", "2 1"], "{key}");
        assert_eq!(summary.junctions[0].orphans, 2, "{key}");
    }
}
