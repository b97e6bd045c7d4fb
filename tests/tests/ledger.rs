//! The ledger: what it names, and trying again what is in it, over tables of one name in two
//! schemas and over the runs of a phased cut-over.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Document, doc};
use migrate_core::event::Silent;
use migrate_core::rejects::{self, Filter};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::RegistryFacts;
use migrate_core::source::memory::MemorySource;
use migrate_core::summary::Summary;
use migrate_core::validate::{Request, validate};
use migrate_core::{Migrate, Registry, registry};
use migrate_servers::Postgres;
use migrate_tests::end_state::{EndState, assert_same, end_state};
use migrate_tests::servers;
use uuid::Uuid;

fn server() -> &'static Postgres {
    servers::postgres(servers::NEWEST).expect("the newest version")
}

/// The rows of a query, cells with spaces between.
fn query(database: &str, sql: &str) -> Vec<String> {
    let rows = server().query(database, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let line = |row: Vec<Option<String>>| {
        row.into_iter().map(|cell| cell.unwrap_or("-".to_owned())).collect::<Vec<_>>().join(" ")
    };
    rows.into_iter().map(line).collect()
}

fn id(number: u32) -> ObjectId {
    let mut bytes = [7; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

async fn migrate(
    facts: &'static RegistryFacts,
    source: MemorySource,
    url: &str,
    options: &Options,
) -> Summary {
    run(facts, Arc::new(source), url, options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

async fn retry(facts: &'static RegistryFacts, source: MemorySource, url: &str) -> rejects::Retried {
    let (options, filter) = (Options::default(), Filter::default());
    let source = Some(Arc::new(source) as _);
    rejects::retry(facts, source, url, &options, &filter, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

#[derive(Migrate)]
#[migrate(collection = "old", schema = "old", table = "Thing")]
#[allow(dead_code)]
struct OldThing {
    #[migrate(id)]
    id: Uuid,
    name: String,
    #[fk(Self)]
    parent: Option<Uuid>,
    #[junction(OldPairs, owner = left)]
    others: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "new", schema = "new", table = "Thing")]
#[allow(dead_code)]
struct NewThing {
    #[migrate(id)]
    id: Uuid,
    name: String,
    #[fk(Self)]
    parent: Option<Uuid>,
    #[junction(NewPairs, owner = left)]
    others: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction, schema = "old", table = "Pairs")]
#[allow(dead_code)]
struct OldPairs {
    #[fk(OldThing)]
    left: Uuid,
    #[fk(OldThing)]
    right: Uuid,
}

#[derive(Migrate)]
#[migrate(junction, schema = "new", table = "Pairs")]
#[allow(dead_code)]
struct NewPairs {
    #[fk(NewThing)]
    left: Uuid,
    #[fk(NewThing)]
    right: Uuid,
}

registry! { Twins = [OldThing, NewThing, OldPairs, NewPairs] }

/// The same ids in both; document 2 is rejected in one of them, and 3 refers to it.
fn things(lacks_name: bool) -> Vec<Document> {
    let mut second = doc! { "_id": id(2), "name": "two" };
    if lacks_name {
        second.remove("name");
    }
    vec![
        doc! { "_id": id(1), "name": "one", "others": [id(2), id(3), id(4)] },
        second,
        doc! { "_id": id(3), "name": "three", "parent": id(2) },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_one_name_in_two_schemas_do_not_mix() {
    let url = server().create_database("twins").expect("a database");
    let source = || MemorySource::new().with("old", things(true)).with("new", things(false));
    let summary = migrate(Twins::FACTS, source(), &url, &Options::default()).await;
    assert!(summary.balanced, "{summary:#?}");
    let counts: Vec<_> = summary
        .tables
        .iter()
        .map(|table| {
            let orphans = table.orphans.values().sum::<u64>();
            (table.table.as_str(), table.loaded, table.rejected, orphans)
        })
        .collect();
    assert_eq!(counts, [("old.Thing", 2, 1, 1), ("new.Thing", 3, 0, 0)]);
    let counts: Vec<_> = summary
        .junctions
        .iter()
        .map(|junction| (junction.model.as_str(), junction.inserted, junction.orphans))
        .collect();
    assert_eq!(counts, [("OldPairs", 1, 2), ("NewPairs", 2, 1)]);
    let groups = rejects::groups(&url, &Options::default(), &Filter::default()).await.unwrap();
    assert_eq!(groups[0].table, "old.Thing");
    let filter = |table: &str| Filter { table: Some(table.to_owned()), ..Filter::default() };
    for (table, found) in [("old.Thing", 1), ("new.Thing", 0), ("Thing", 1)] {
        let groups = rejects::groups(&url, &Options::default(), &filter(table)).await.unwrap();
        assert_eq!(groups.len(), found, "{table}");
    }

    // Mended, it comes back into its own table, and so does what referred to it.
    let mended = MemorySource::new().with("old", things(false)).with("new", things(false));
    let retried = retry(Twins::FACTS, mended, &url).await;
    assert_eq!((retried.loaded, retried.references, retried.junction_rows), (1, 1, 1));
    let rows = "SELECT * FROM old.\"Thing\" EXCEPT SELECT * FROM new.\"Thing\"";
    assert_eq!(query("twins", rows), [""; 0]);
    assert_eq!(query("twins", "SELECT count(*) FROM old.\"Pairs\""), ["2"]);
    let orphans = "SELECT table_schema, count(*) FROM migrate.orphan GROUP BY 1 ORDER BY 1";
    assert_eq!(query("twins", orphans), ["new 1", "old 1"]);
}

#[derive(Migrate)]
#[migrate(collection = "owners")]
#[allow(dead_code)]
struct Owner {
    #[migrate(id)]
    id: Uuid,
    name: String,
}

#[derive(Migrate)]
#[migrate(collection = "items")]
#[allow(dead_code)]
struct Item {
    #[migrate(id)]
    id: Uuid,
    #[fk(Owner)]
    owner: Uuid,
    #[junction(Fans)]
    fans: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct Fans {
    #[fk(Item)]
    item: Uuid,
    #[fk(Owner)]
    owner: Uuid,
}

registry! { Shop = [Owner, Item, Fans] }

fn shop(mended: bool) -> MemorySource {
    let mut second = doc! { "_id": id(2), "name": "two" };
    if !mended {
        second.remove("name");
    }
    let owners = vec![doc! { "_id": id(1), "name": "one" }, second];
    let items = vec![
        doc! { "_id": id(10), "owner": id(1), "fans": [id(1), id(2)] },
        doc! { "_id": id(20), "owner": id(2), "fans": [id(1), id(2)] },
    ];
    MemorySource::new().with("owners", owners).with("items", items)
}

/// A phased cut-over: the rejects of every part can be seen and tried again, not only those of the
/// last, and each part's sums move with them.
#[tokio::test(flavor = "multi_thread")]
async fn rejects_of_every_part_are_tried_again() {
    let url = server().create_database("phased").expect("a database");
    let only = |model: &str| Options { only: vec![model.to_owned()], ..Options::default() };
    let first = migrate(Shop::FACTS, shop(false), &url, &only("Owner")).await;
    let second = migrate(Shop::FACTS, shop(false), &url, &only("Item")).await;
    assert_eq!((first.totals.rejected, second.totals.rejected), (1, 1));
    let groups = rejects::groups(&url, &Options::default(), &Filter::default()).await.unwrap();
    assert_eq!(groups.len(), 2, "{groups:?}");
    let mut runs = Vec::new();
    rejects::for_each(&url, &Options::default(), &Filter::default(), |entry| {
        runs.push((entry.run, entry.reject.table));
        true
    })
    .await
    .unwrap();
    assert_eq!(runs, [(2, "Item".to_owned()), (1, "Owner".to_owned())]);

    let retried = retry(Shop::FACTS, shop(false), &url).await;
    assert_eq!((retried.tried, retried.loaded, retried.rejected), (2, 0, 2));
    let retried = retry(Shop::FACTS, shop(true), &url).await;
    assert_eq!((retried.tried, retried.loaded, retried.rejected), (2, 2, 0));
    assert_eq!(query("phased", "SELECT count(*) FROM migrate.reject"), ["0"]);
    assert_eq!(query("phased", "SELECT count(*) FROM migrate.orphan"), ["0"]);
    assert_eq!(query("phased", "SELECT count(*) FROM \"Fans\""), ["4"]);
    let summaries = "SELECT summary->'totals'->>'loaded', summary->'totals'->>'rejected',
        summary->>'balanced' FROM migrate.run ORDER BY run";
    assert_eq!(query("phased", summaries), ["2 0 true", "2 0 true"]);

    // A part in another schema would not find the others.
    let elsewhere = Options { schema: "elsewhere".to_owned(), ..Options::default() };
    let error = run(
        Shop::FACTS,
        Arc::new(shop(true)),
        &url,
        &elsewhere,
        Arc::new(Silent),
        &Stop::default(),
    )
    .await
    .expect_err("everything is loaded");
    assert!(error.hint().is_some(), "{error}");
}

/// Tables with all constraints, as somebody else made them.
fn existing(database: &str) -> String {
    existing_of(Shop::FACTS, database)
}

fn existing_of(facts: &'static RegistryFacts, database: &str) -> String {
    use migrate_core::ddl::{Names, statements};
    let url = server().create_database(database).expect("a database");
    for statement in statements(facts, Names { schema: "public" }) {
        server().query(database, &statement.sql).expect("a table");
    }
    url
}

/// Two documents come to one key in different chunks: the ledger names the one that is refused, with
/// its own document, and nothing of it comes to the row of the other.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_that_is_refused_is_the_one_that_is_named() {
    for (database, text_first) in [("text_first", true), ("text_second", false)] {
        let url = existing(database);
        let owners: Vec<_> =
            (1..=3).map(|number| doc! { "_id": id(number), "name": "n" }).collect();
        let plain = doc! { "_id": id(50), "owner": id(1), "fans": [id(1)], "is": "plain" };
        let text = doc! { "_id": id(50).to_hex(), "owner": id(2), "fans": [id(2), id(3), "x"], "is": "text" };
        let others =
            (60..90).map(|number| doc! { "_id": id(number), "owner": id(1), "fans": [id(2)] });
        let (first, last) = match text_first {
            true => (text, plain),
            false => (plain, text),
        };
        let items: Vec<_> = [first].into_iter().chain(others).chain([last]).collect();
        let source =
            || MemorySource::new().with("owners", owners.clone()).with("items", items.clone());
        let options =
            Options { keep_constraints: true, jobs: 1, chunk_bytes: 512, ..Options::default() };
        let summary = migrate(Shop::FACTS, source(), &url, &options).await;
        assert!(summary.balanced, "{summary:#?}");
        let named = "SELECT source_id, reason, field, document_json->>'is' FROM migrate.reject";
        // Chunks are loaded in the order of the collection.
        let refused = match text_first {
            true => format!("{} duplicate _id plain", id(50).to_hex()),
            false => format!("\"{}\" duplicate _id text", id(50).to_hex()),
        };
        assert_eq!(query(database, named), std::slice::from_ref(&refused));
        let fans = "SELECT count(*) FROM \"Fans\" WHERE item = migrate.uuid_from_object_id($$ID$$)"
            .replace("ID", &id(50).to_hex());
        assert_eq!(query(database, &fans), [if text_first { "2" } else { "1" }]);

        // It is tried again, and is still the one.
        let retried = retry(Shop::FACTS, source(), &url).await;
        assert_eq!((retried.tried, retried.loaded, retried.rejected), (1, 0, 1));
        assert_eq!(query(database, named), [refused]);
        assert_eq!(query(database, &fans), [if text_first { "2" } else { "1" }]);
    }
}

#[derive(Migrate)]
#[migrate(collection = "wards")]
#[allow(dead_code)]
struct Ward {
    #[migrate(id)]
    id: Uuid,
    #[fk(Owner)]
    owner: Option<Uuid>,
    #[fk(Self)]
    parent: Option<Uuid>,
}

registry! { Wards = [Owner, Ward] }

/// Two documents come to one key in different chunks: what the ledger says of the references of the one that is
/// loaded stays, and no reference of the other comes to its row, also when that is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_double_changes_nothing_about_the_references_of_the_other() {
    for (database, lost) in [("double_lost", true), ("double_found", false)] {
        let url = existing_of(Wards::FACTS, database);
        let owners: Vec<_> =
            (1..=3).map(|number| doc! { "_id": id(number), "name": "n" }).collect();
        // Of the one that is loaded all references lead nowhere, of the other only some.
        let loaded = doc! { "_id": id(50), "owner": id(99), "parent": id(98) };
        let (owner, parent) = if lost { (id(97), id(96)) } else { (id(1), id(89)) };
        let refused = doc! { "_id": id(50).to_hex(), "owner": owner, "parent": parent };
        let others = (60..90).map(|number| doc! { "_id": id(number), "owner": id(1) });
        let wards: Vec<_> = [loaded].into_iter().chain(others).chain([refused]).collect();
        let source =
            || MemorySource::new().with("owners", owners.clone()).with("wards", wards.clone());
        let options =
            Options { keep_constraints: true, jobs: 1, chunk_bytes: 512, ..Options::default() };
        let summary = migrate(Wards::FACTS, source(), &url, &options).await;
        assert!(summary.balanced, "{summary:#?}");
        assert_eq!((summary.totals.rejected, summary.totals.orphans), (1, 2));
        let row = "SELECT owner, parent FROM \"Ward\"
            WHERE id = migrate.uuid_from_object_id($$ID$$)"
            .replace("ID", &id(50).to_hex());
        let notes = "SELECT column_name, migrate.object_id_from_uuid(value::uuid)
            FROM migrate.orphan WHERE NOT element ORDER BY 1";
        let validated = async |independent| {
            let (from, options) = (Arc::new(source()), Options::default());
            let request = Request { independent, ..Request::default() };
            let (reporter, stop) = (Arc::new(Silent), Stop::default());
            validate(Wards::FACTS, from, &url, &options, &request, reporter, &stop).await.unwrap()
        };
        for _ in 0..2 {
            assert_eq!(query(database, &row), ["- -"]);
            let noted =
                [format!("owner {}", id(99).to_hex()), format!("parent {}", id(98).to_hex())];
            assert_eq!(query(database, notes), noted);
            for independent in [false, true] {
                let report = validated(independent).await;
                assert!(report.clean, "{report:#?}");
            }
            let retried = retry(Wards::FACTS, source(), &url).await;
            assert_eq!((retried.tried, retried.loaded, retried.rejected), (1, 0, 1));
        }
        // An entry speaks for its own column alone.
        query(database, "DELETE FROM migrate.orphan WHERE column_name = 'owner'");
        for independent in [false, true] {
            let report = validated(independent).await;
            let columns: Vec<_> = report.tables.iter().flat_map(|table| &table.columns).collect();
            let [column] = columns.as_slice() else { panic!("{columns:#?}") };
            assert_eq!((column.column.as_str(), column.count, column.unnoted), ("owner", 1, 1));
        }
    }
}

/// The state of another version of the program is left alone, and `--clean` takes it away or says
/// what to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_another_version_can_be_cleaned() {
    let url = existing("versions");
    migrate(Shop::FACTS, shop(false), &url, &Options::default()).await;
    let attempt = |clean: bool| {
        let options = Options { clean, ..Options::default() };
        let url = url.clone();
        async move {
            let source = Arc::new(shop(true));
            run(Shop::FACTS, source, &url, &options, Arc::new(Silent), &Stop::default()).await
        }
    };
    query("versions", "UPDATE migrate.run SET version = 1 RETURNING 1");
    let error = attempt(false).await.expect_err("it is of another version");
    assert!(error.to_string().contains("has version 1"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--clean")), "{error}");
    let summary = attempt(true).await.expect("it starts over");
    assert!(summary.is_clean(), "{summary:#?}");

    query("versions", "ALTER TABLE migrate.run RENAME COLUMN created TO made");
    let error = attempt(true).await.expect_err("nothing is known of it");
    assert!(error.to_string().contains("of another version"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("DROP SCHEMA \"migrate\" CASCADE")));
    assert_eq!(query("versions", "SELECT count(*) FROM \"Owner\""), ["2"]);
}

#[derive(Migrate)]
#[migrate(collection = "codes")]
#[allow(dead_code)]
struct Code {
    #[migrate(id)]
    id: Uuid,
    #[migrate(unique)]
    number: Option<i32>,
    #[migrate(unique)]
    word: Option<String>,
}

registry! { Codes = [Code] }

/// Keys of a table that was there and that do not compare as `=` does: two without a value are one
/// where the key says so, and two words are where its collation says so.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what a server cannot do is for whoever runs the test")]
async fn keys_that_compare_in_their_own_way_are_settled_and_put_back() {
    for keep_constraints in [false, true] {
        let database = if keep_constraints { "own_keys_kept" } else { "own_keys" };
        let url = server().create_database(database).expect("a database");
        // Only ICU has collations for which different texts are one.
        let folded = "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2',
            deterministic = false)";
        let (collation, same_word) = match server().query(database, folded) {
            Ok(_) => ("folded", "wORD"),
            Err(error) => {
                eprintln!("with the collation \"C\" alone: {error:?}");
                ("\"C\"", "Word")
            }
        };
        let index = format!("CREATE UNIQUE INDEX one_word ON \"Code\" (word COLLATE {collation})");
        let statements = [
            r#"CREATE TABLE "Code" (id uuid PRIMARY KEY, number integer, word text,
                CONSTRAINT one_null UNIQUE NULLS NOT DISTINCT (number))"#,
            &index,
        ];
        for statement in statements {
            server().query(database, statement).expect(statement);
        }
        let defined = "SELECT indexdef FROM pg_indexes WHERE tablename = 'Code' ORDER BY 1";
        let before = query(database, defined);
        let source = MemorySource::new().with(
            "codes",
            vec![
                doc! { "_id": id(1), "number": 1, "word": "Word" },
                doc! { "_id": id(2), "word": "other" },
                doc! { "_id": id(3), "number": 3, "word": same_word },
                doc! { "_id": id(4), "number": null },
                doc! { "_id": id(5), "number": 5 },
            ],
        );
        let options = Options { keep_constraints, jobs: 1, ..Options::default() };
        let summary = migrate(Codes::FACTS, source, &url, &options).await;
        assert!(summary.balanced, "{summary:#?}");
        let ledger = "SELECT source_id, reason FROM migrate.reject ORDER BY 1";
        let expected = [3, 4].map(|number| format!("{} duplicate", id(number).to_hex()));
        assert_eq!(query(database, ledger), expected);
        assert_eq!(query(database, defined), before);
        if !keep_constraints {
            let fields = "SELECT field, message FROM migrate.reject ORDER BY 1";
            let found = query(database, fields);
            assert!(found[0].starts_with("number expected a value of its own, found \"null\""));
            assert!(found[1].starts_with("word expected a value of its own"), "{found:?}");
        }
    }
}

#[derive(Migrate)]
#[migrate(collection = "clubs")]
#[allow(dead_code)]
struct Club {
    #[migrate(id)]
    id: Uuid,
    name: String,
    #[junction(Members)]
    members: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "persons")]
#[allow(dead_code)]
struct Person {
    #[migrate(id)]
    id: Uuid,
    #[fk(Club)]
    favourite: Option<Uuid>,
    #[migrate(unique)]
    mail: Option<String>,
    #[junction(Members)]
    clubs: Vec<Uuid>,
    #[junction(Prizes)]
    prizes: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "cups")]
#[allow(dead_code)]
struct Cup {
    #[migrate(id)]
    id: Uuid,
    #[fk(Person)]
    holder: Uuid,
    #[junction(Prizes)]
    winners: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct Members {
    #[fk(Club)]
    club: Uuid,
    #[fk(Person)]
    person: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct Prizes {
    #[fk(Person)]
    person: Uuid,
    #[fk(Cup)]
    cup: Uuid,
}

registry! { Sports = [Club, Person, Cup, Members, Prizes] }

/// Arrays on both sides of two junctions, and of each collection documents that are rejected: for
/// what they are, because another has their value, has come to their id, or is not there.
fn sports() -> MemorySource {
    let ids = |numbers: &[u32]| numbers.iter().map(|number| id(*number)).collect::<Vec<_>>();
    let clubs = vec![
        doc! { "_id": id(1), "name": "one", "members": ids(&[11, 12, 12, 13]) },
        doc! { "_id": id(1).to_hex(), "name": "its double", "members": ids(&[11, 14, 99]) },
        doc! { "_id": id(2), "members": ids(&[11, 12]) },
        doc! { "_id": id(3), "name": "three", "members": [id(14), id(15)] },
    ];
    let persons = vec![
        doc! { "_id": id(11), "mail": "m", "clubs": ids(&[1, 2, 3]), "prizes": ids(&[21, 22, 99]) },
        doc! { "_id": id(12).to_hex(), "clubs": ids(&[1, 3]), "prizes": ids(&[21, 25]) },
        doc! { "_id": id(12), "favourite": id(2), "clubs": ids(&[3, 3, 99]), "prizes": ids(&[22]) },
        doc! { "_id": id(13), "mail": "m", "clubs": ids(&[1]), "prizes": ids(&[21]) },
        doc! { "_id": id(14), "favourite": id(1), "clubs": ["?", "!"], "prizes": [false] },
        doc! { "_id": id(14).to_hex(), "mail": "m", "clubs": ids(&[1]), "prizes": ["?"] },
    ];
    let cups = vec![
        doc! { "_id": id(21), "holder": id(11), "winners": ids(&[11, 12, 13]) },
        doc! { "_id": id(22), "holder": id(13), "winners": ids(&[11]) },
        doc! { "_id": id(23), "holder": id(12), "winners": ids(&[12, 14, 14]) },
        doc! { "_id": id(23).to_hex(), "holder": id(14), "winners": ids(&[11, 99]) },
        doc! { "_id": id(25), "holder": id(14), "winners": ids(&[14, 12, 14, 13]) },
    ];
    MemorySource::new().with("clubs", clubs).with("persons", persons).with("cups", cups)
}

/// Whatever is loaded first and what with it: the parts together come to what one run comes to, and
/// the sums of each hold, although the pairs of an array may be filled in by a later run.
#[tokio::test(flavor = "multi_thread")]
async fn parts_come_to_what_one_run_comes_to() {
    let models = ["Club", "Person", "Cup"];
    let mut whole = None;
    for cuts in 0..4 {
        let mut parts = vec![vec![models[0].to_owned()]];
        for (index, model) in models.iter().enumerate().skip(1) {
            match parts.last_mut() {
                Some(part) if cuts & index == 0 => part.push((*model).to_owned()),
                _ => parts.push(vec![(*model).to_owned()]),
            }
        }
        let database = format!("parts_{cuts}");
        let url = server().create_database(&database).expect("a database");
        let (mut tables, mut junctions) = (Vec::new(), Vec::new());
        for only in &parts {
            let options = Options { only: only.clone(), ..Options::default() };
            let summary = migrate(Sports::FACTS, sports(), &url, &options).await;
            assert!(summary.balanced, "{parts:?}: {summary:#?}");
            tables.extend(summary.tables.into_iter().map(|mut table| {
                table.seconds = 0.0;
                table
            }));
            junctions.extend(summary.junctions);
        }
        let state = end_state(server(), &database);
        let (tables, junctions) = (format!("{tables:#?}"), format!("{junctions:#?}"));
        let Some((whole, whole_tables, whole_junctions)) = &whole else {
            // A text is smaller than an ObjectId, so it is the one that stays.
            let rejects = "SELECT table_name, ('x' || right(source_id, 2))::bit(8)::integer, reason
                FROM migrate.reject ORDER BY 1, 2";
            let expected = [
                "Club 1 duplicate",
                "Club 2 missing",
                "Cup 21 orphan",
                "Cup 22 orphan",
                "Cup 23 duplicate",
                "Person 11 duplicate",
                "Person 12 duplicate",
                "Person 13 duplicate",
                "Person 14 duplicate",
            ];
            assert_eq!(query(&database, rejects), expected);
            assert_eq!(query(&database, "SELECT count(*) FROM \"Prizes\""), ["2"]);
            whole = Some((state, tables, junctions));
            continue;
        };
        // What is numbered within a run, and sums by run, are left out.
        let of_all = |state: &EndState| {
            let mut state = state.clone();
            state.retain(|part, _| !["summary", "chunks"].contains(&part.as_str()));
            state
        };
        assert_same(&of_all(whole), &of_all(&state), &format!("{parts:?}"));
        assert_eq!((whole_tables, whole_junctions), (&tables, &junctions), "{parts:?}");
    }
}
