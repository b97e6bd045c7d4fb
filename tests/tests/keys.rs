//! Primary keys and references of every kind: what an id may be, what a reference may look like,
//! and that a row's document is found again by its key.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use migrate_core::event::Silent;
use migrate_core::rejects::{self, Filter};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::source::Source;
use migrate_core::source::memory::MemorySource;
use migrate_core::{ErrorKind, Migrate, MixedId, registry};
use migrate_tests::moved::moved;
use migrate_tests::servers;
use uuid::Uuid;

fn oid(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 12])
}

fn uuid(subtype: BinarySubtype, byte: u8) -> Bson {
    Bson::Binary(Binary { subtype, bytes: vec![byte; 16] })
}

mod primary {
    use super::*;

    #[derive(Migrate)]
    struct Targets {
        #[migrate(id)]
        id: i32,
    }

    macro_rules! keyed {
        ($($name:ident: $id:ty),*) => {
            $(
                #[derive(Migrate)]
                struct $name {
                    #[migrate(id)]
                    id: $id,
                    // A reference to nothing rejects the row, whose document is then read again.
                    #[fk(Targets)]
                    target: i32,
                }
            )*
        };
    }

    keyed!(
        Uuids: Uuid,
        Strings: String,
        Integers: i64,
        Small: i32,
        Doubles: f64,
        Mixed: MixedId,
        Hashed: Uuid
    );

    #[derive(Migrate)]
    struct Regions {
        #[migrate(id)]
        id: Uuid,
        #[migrate(path = "_id.region")]
        region: String,
        #[migrate(path = "_id.year", index)]
        year: i32,
        #[fk(Targets)]
        target: i32,
    }

    registry! { All = [Targets, Uuids, Strings, Integers, Small, Doubles, Mixed, Hashed, Regions] }

    /// For each model its ids; each stands in a document that is loaded and, changed a little,
    /// in one that is rejected after the load.
    fn ids(good: bool) -> Vec<(&'static str, Vec<Bson>)> {
        let byte = |byte: u8| if good { byte } else { byte + 100 };
        let number = |number: i32| if good { number } else { number + 100 };
        let text =
            |text: &str| Bson::String(if good { text.to_owned() } else { format!("{text}!") });
        let mixed = vec![
            Bson::ObjectId(oid(byte(1))),
            text("plain"),
            text("$number:5"),
            Bson::String(oid(byte(9)).to_hex()),
            Bson::Int32(number(5)),
            Bson::Int64(i64::from(number(6)) << 33),
            Bson::Double(f64::from(number(7)) + 0.5),
            uuid(BinarySubtype::Uuid, byte(3)),
            uuid(BinarySubtype::UuidOld, byte(4)),
            Bson::Document(doc! { "region": text("x"), "year": 1 }),
        ];
        let uuids = vec![uuid(BinarySubtype::Uuid, byte(1)), uuid(BinarySubtype::UuidOld, byte(2))];
        let region =
            |region: &str, year: i32| Bson::Document(doc! { "region": text(region), "year": year });
        vec![
            ("Uuids", uuids),
            ("Strings", vec![text("a"), text("b c"), text("ž")]),
            (
                "Integers",
                vec![
                    Bson::Int32(number(1)),
                    Bson::Int64(number(2).into()),
                    Bson::Double(number(3).into()),
                ],
            ),
            (
                "Small",
                vec![
                    Bson::Int32(number(1)),
                    Bson::Int64(number(2).into()),
                    Bson::Double(number(3).into()),
                ],
            ),
            ("Doubles", vec![Bson::Double(f64::from(number(1)) + 0.25), Bson::Int32(number(2))]),
            ("Mixed", mixed.clone()),
            ("Hashed", mixed),
            ("Regions", vec![region("north", 2023), region("south", 2024)]),
        ]
    }

    fn source(mended: bool) -> Arc<MemorySource> {
        let mut targets = vec![doc! { "_id": 1 }];
        if mended {
            targets.push(doc! { "_id": 2 });
        }
        let mut source = MemorySource::new().with("Targets", targets);
        let document = |id: Bson, target: i32| doc! { "target": target, "_id": id };
        for ((name, good), (_, bad)) in ids(true).into_iter().zip(ids(false)) {
            let loaded = good.into_iter().map(|id| document(id, 1));
            let late = bad.into_iter().map(|id| document(id, if mended { 1 } else { 2 }));
            source = source.with(name, loaded.chain(late).collect::<Vec<Document>>());
        }
        Arc::new(source)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_that_was_broken_off_goes_on() {
        let Some(target) = servers::database(servers::NEWEST) else { return };
        let options = Options { jobs: 1, ..Options::default() };
        let (reporter, stop) = (Arc::new(Silent), Stop::default());
        let broken = source(false);
        for name in ["Uuids", "Integers", "Mixed", "Regions"] {
            broken.fail_after(name, 1, ErrorKind::Source, 1);
        }
        let mut runs = 0;
        let summary = loop {
            runs += 1;
            let source = Arc::clone(&broken) as Arc<dyn Source>;
            let done = run(All::FACTS, source, &target, &options, reporter.clone(), &stop).await;
            match done {
                Ok(summary) => break summary,
                Err(error) => assert!(runs < 9, "{error}"),
            }
        };
        assert!(runs > 1, "the source has failed");
        assert!(summary.balanced);
        for (name, ids) in ids(true) {
            let table = summary.tables.iter().find(|table| table.table == name).unwrap();
            let count = ids.len() as u64;
            assert_eq!((table.loaded, table.rejected), (count, count), "{name}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_is_found_again_by_its_key() {
        let Some(mut moved) = moved(All::FACTS, source(false)).await else { return };
        for (name, ids) in ids(true) {
            let table = moved.summary.tables.iter().find(|table| table.table == name).unwrap();
            let count = ids.len() as u64;
            assert_eq!((table.loaded, table.rejected), (count, count), "{name}");
        }
        // Each reject has the document that its row was made of.
        let lost = moved
            .texts(
                "SELECT collection || ' ' || source_id FROM migrate.reject
                 WHERE reason <> 'orphan' OR octet_length(document) = 0",
            )
            .await;
        assert_eq!(lost, [""; 0]);
        assert_eq!(
            moved.texts("SELECT id FROM \"Mixed\" ORDER BY id COLLATE \"C\"").await,
            [
                "$json:{\"region\":\"x\",\"year\":{\"$numberInt\":\"1\"}}",
                "$number:5",
                "$number:51539607552",
                "$number:7.5",
                "$string:$number:5",
                "$string:090909090909090909090909",
                "$uuid3:04040404-0404-0404-0404-040404040404",
                "$uuid:03030303-0303-0303-0303-030303030303",
                "010101010101010101010101",
                "plain",
            ]
        );
        assert_eq!(
            moved.texts("SELECT concat_ws(' ', region, year) FROM \"Regions\" ORDER BY year").await,
            ["north 2023", "south 2024"]
        );
        assert_eq!(
            moved.texts("SELECT id::text FROM \"Uuids\" ORDER BY id").await,
            ["01010101-0101-0101-0101-010101010101", "02020202-0202-0202-0202-020202020202"]
        );
        // What was rejected is read from the mended source by its `_id`, and loaded.
        let retried = rejects::retry(
            All::FACTS,
            Some(source(true)),
            &moved.target,
            &Options::default(),
            &Filter::default(),
            Arc::new(Silent),
            &Stop::default(),
        )
        .await
        .unwrap();
        let expected: usize = ids(false).iter().map(|(_, ids)| ids.len()).sum();
        assert_eq!(retried.loaded, expected as u64);
        assert_eq!(moved.rejects().await, [""; 0]);
        for (name, ids) in ids(true) {
            let count = moved.count(&format!("SELECT count(*) FROM \"{name}\"")).await;
            assert_eq!(count as usize, 2 * ids.len(), "{name}");
        }
    }
}

mod references {
    use super::*;

    #[derive(Migrate)]
    struct Accounts {
        #[migrate(id)]
        id: Uuid,
        #[migrate(unique)]
        account_id: i32,
    }

    #[derive(Migrate)]
    struct People {
        #[migrate(id)]
        id: Uuid,
        #[fk(Self)]
        boss: Option<Uuid>,
        #[fk(People)]
        #[migrate(path = "team.deputy")]
        deputy: Option<Uuid>,
        #[fk(Accounts, key = "account_id")]
        main: Option<i64>,
        #[fk(Accounts, key = "account_id", orphan = reject)]
        other: Option<i32>,
        #[fk(Codes)]
        code: Option<MixedId>,
        #[junction(PeopleToAccounts)]
        accounts: Vec<i32>,
        #[junction(Friends, owner = person)]
        friends: Vec<Uuid>,
    }

    #[derive(Migrate)]
    struct Codes {
        #[migrate(id)]
        id: MixedId,
    }

    #[derive(Migrate)]
    #[migrate(junction)]
    struct PeopleToAccounts {
        #[fk(People)]
        person: Uuid,
        #[fk(Accounts, key = "account_id")]
        #[migrate(index)]
        account: i32,
    }

    #[derive(Migrate)]
    #[migrate(junction)]
    struct Friends {
        #[fk(People)]
        person: Uuid,
        #[fk(People)]
        friend: Uuid,
    }

    registry! { Bank = [People, Accounts, Codes, PeopleToAccounts, Friends] }

    fn reference(collection: &str, id: impl Into<Bson>) -> Bson {
        Bson::Document(doc! { "$ref": collection, "$id": id.into() })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn by_value_whatever_the_type() {
        let accounts = vec![
            doc! { "_id": oid(1), "account_id": 10 },
            doc! { "_id": oid(2), "account_id": 20.0 },
            // The number is there already: this document is a reject, and who refers to the
            // number means the other one.
            doc! { "_id": oid(3), "account_id": 10_i64 },
        ];
        let pointer = serde_json::json!({
            "$dbPointer": { "$ref": "bank.People", "$id": { "$oid": oid(0x11).to_hex() } }
        });
        let pointer = Bson::try_from(pointer).unwrap();
        let people = vec![
            doc! { "_id": oid(0x11), "main": 10.0, "other": 20_i64, "code": "A",
            "accounts": [10, 20.0, 10_i64, 99, "x"], "friends": [oid(0x12), reference("People", oid(0x12))] },
            doc! { "_id": oid(0x12), "boss": oid(0x11).to_hex(), "team": { "deputy": oid(0x12) }, "main": 99, "code": 7.0,
            "friends": [reference("Robots", oid(0x11))] },
            doc! { "_id": oid(0x13), "boss": reference("People", oid(0x12)), "other": 99 },
            doc! { "_id": oid(0x14), "boss": reference("People", oid(0x12)), "code": reference("Codes", "A") },
            doc! { "_id": oid(0x15), "boss": reference("Robots", oid(0x12)) },
            doc! { "_id": oid(0x16), "boss": pointer, "code": Bson::Int64(7) },
            doc! { "_id": oid(0x17), "boss": reference("People", Bson::Null) },
            doc! { "_id": oid(0x18), "boss": { "id": oid(0x11) } },
        ];
        let codes = vec![doc! { "_id": "A" }, doc! { "_id": 7 }];
        let source = MemorySource::new()
            .with("Accounts", accounts)
            .with("People", people)
            .with("Codes", codes);
        let Some(mut moved) = moved(Bank::FACTS, Arc::new(source)).await else { return };
        assert_eq!(
            moved
                .texts(
                    "SELECT concat_ws(' ', migrate.object_id_from_uuid(id), migrate.object_id_from_uuid(boss),
                        migrate.object_id_from_uuid(deputy), main, other, code)
                     FROM \"People\" ORDER BY id"
                )
                .await,
            [
                "111111111111111111111111 10 20 A",
                "121212121212121212121212 111111111111111111111111 121212121212121212121212 $number:7",
                "141414141414141414141414 121212121212121212121212 A",
                "161616161616161616161616 111111111111111111111111 $number:7",
                "171717171717171717171717",
            ]
        );
        let rejects = moved.rejects().await;
        let rejects: Vec<_> =
            rejects.iter().map(|reject| &reject[..reject.len().min(110)]).collect();
        assert_eq!(
            rejects,
            [
                "030303030303030303030303 | duplicate | account_id | expected a value of its own, found \"10\", which document 01",
                "131313131313131313131313 | orphan | other | expected the account_id of a row in Accounts, found 99, which is n",
                "151515151515151515151515 | type | boss | expected a reference to `People`, found one to `Robots`",
                "181818181818181818181818 | type | boss | expected objectId, found object",
            ]
        );
        let junction = |name: &str| {
            let junctions = moved.summary.junctions.iter();
            let table = junctions.clone().find(|junction| junction.table == name).unwrap();
            (table.elements, table.inserted, table.duplicates, table.orphans)
        };
        assert_eq!(junction("PeopleToAccounts"), (5, 2, 1, 2));
        assert_eq!(junction("Friends"), (3, 1, 1, 1));
        assert_eq!(
            moved.texts("SELECT account::text FROM \"PeopleToAccounts\" ORDER BY account").await,
            ["10", "20"]
        );
    }
}

/// Ids that are no ObjectIds, texts or numbers: a rejected document is kept whole all the same.
mod ids {
    use std::sync::Arc;

    use bson::{Binary, Bson, DateTime, doc, spec::BinarySubtype};
    use chrono::NaiveDateTime;
    use migrate_core::schema::Registry;
    use migrate_core::source::memory::MemorySource;
    use migrate_core::{Decimal, Migrate, PgEnum, registry};
    use migrate_tests::moved::moved;

    #[derive(Migrate)]
    #[migrate(collection = "days", table = "days")]
    struct Days {
        #[migrate(id)]
        id: NaiveDateTime,
        #[migrate(unique)]
        name: String,
        #[junction(DaysToHashes)]
        hashes: Vec<Vec<u8>>,
    }

    #[derive(Migrate)]
    #[migrate(collection = "hashes", table = "hashes")]
    struct Hashes {
        #[migrate(id)]
        id: Vec<u8>,
        #[migrate(unique)]
        name: String,
    }

    #[derive(Migrate)]
    #[migrate(collection = "amounts", table = "amounts")]
    struct Amounts {
        #[migrate(id)]
        id: Decimal,
        #[migrate(unique)]
        name: String,
    }

    #[derive(Migrate)]
    #[migrate(collection = "kinds", table = "kinds")]
    struct Kinds {
        #[migrate(id)]
        id: Kind,
        #[migrate(unique)]
        name: String,
    }

    #[derive(PgEnum)]
    #[migrate(name = "kind")]
    enum Kind {
        A,
        B,
    }

    #[derive(Migrate)]
    #[migrate(collection = "counts", table = "counts")]
    struct Counts {
        #[migrate(id)]
        id: i64,
        #[migrate(unique)]
        name: String,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "days_hashes")]
    struct DaysToHashes {
        #[fk(Days)]
        day: NaiveDateTime,
        #[fk(Hashes)]
        hash: Vec<u8>,
    }

    registry! { Odd = [Days, Hashes, Amounts, Kinds, Counts, DaysToHashes] }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rejected_document_is_kept_whatever_its_id() {
        let time = |millis| DateTime::from_millis(millis);
        let hash = |byte: u8| Binary { subtype: BinarySubtype::Generic, bytes: vec![byte, 0xff] };
        let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
        // Each second one has a name that is taken.
        let source = MemorySource::new()
            .with(
                "days",
                [
                    doc! { "_id": time(-1), "name": "a", "hashes": [hash(1), 5, "?"] },
                    doc! { "_id": time(86_400_500), "name": "a", "hashes": [hash(1)] },
                ],
            )
            .with(
                "hashes",
                [doc! { "_id": hash(1), "name": "a" }, doc! { "_id": hash(2), "name": "a" }],
            )
            .with(
                "amounts",
                [
                    doc! { "_id": decimal("2.5"), "name": "a" },
                    doc! { "_id": decimal("2.50E+3"), "name": "b" },
                    doc! { "_id": decimal("7.10"), "name": "a" },
                    doc! { "_id": 8, "name": "a" },
                    doc! { "_id": 9.25, "name": "a" },
                ],
            )
            .with("kinds", [doc! { "_id": "A", "name": "a" }, doc! { "_id": "B", "name": "a" }])
            .with(
                "counts",
                [doc! { "_id": 1, "name": "a" }, doc! { "_id": decimal("2"), "name": "a" }],
            );
        let Some(mut moved) = moved(Odd::FACTS, Arc::new(source)).await else { return };
        let ledger = "SELECT concat_ws(' ', table_name, source_id, octet_length(document) > 0)
            FROM migrate.reject ORDER BY 1";
        assert_eq!(
            moved.texts(ledger).await,
            [
                "amounts 8 t",
                "amounts 9.25 t",
                "amounts {\"$numberDecimal\":\"7.10\"} t",
                "counts {\"$numberDecimal\":\"2\"} t",
                "days {\"$date\":\"1970-01-02T00:00:00.500Z\"} t",
                "hashes {\"$binary\":{\"base64\":\"Av8=\",\"subType\":\"00\"}} t",
                "kinds \"B\" t",
            ]
        );
        assert_eq!(moved.count("SELECT count(*) FROM days_hashes").await, 1);
        let orphans = "SELECT DISTINCT row_key FROM migrate.orphan ORDER BY 1";
        let days = ["1969-12-31 23:59:59.999", "1970-01-02 00:00:00.5"];
        assert_eq!(moved.texts(orphans).await, days);
    }
}

/// Pairs of types whose numbers only the server knows, many to a row while they are staged; what a
/// document brought that is rejected after the load is taken out of the midst of others' pairs.
mod staged {
    use std::collections::BTreeSet;

    use migrate_core::validate::Request;
    use migrate_core::{PgEnum, ddl};
    use migrate_tests::moved::{compare, load};
    use sqlx::{AssertSqlSafe, Connection, PgConnection};

    use super::*;

    #[derive(PgEnum)]
    #[migrate(name = "mood")]
    enum Mood {
        Glad,
        Sad,
    }

    #[derive(Migrate)]
    struct Moods {
        #[migrate(id)]
        id: Mood,
    }

    #[derive(Migrate)]
    struct Words {
        #[migrate(id, pg_type = "varchar(40)")]
        id: String,
        #[junction(WordsToMoods)]
        moods: Vec<Mood>,
    }

    #[derive(Migrate)]
    struct Owners {
        #[migrate(id)]
        id: Uuid,
        #[junction(OwnersToWords, position)]
        words: Vec<String>,
    }

    #[derive(Migrate)]
    #[migrate(junction)]
    struct WordsToMoods {
        #[fk(Words)]
        #[migrate(pg_type = "varchar(40)")]
        word: String,
        #[fk(Moods)]
        mood: Mood,
    }

    #[derive(Migrate)]
    #[migrate(junction)]
    struct OwnersToWords {
        #[fk(Owners)]
        owner: Uuid,
        #[fk(Words)]
        #[migrate(pg_type = "varchar(40)")]
        word: String,
        #[migrate(position)]
        position: Option<i32>,
    }

    registry! { Staged = [Moods, Words, Owners, WordsToMoods, OwnersToWords] }

    fn word(number: usize) -> String {
        // Of all lengths up to the longest, with letters of several bytes.
        format!("{number}{}", "ž".repeat(number % 37))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pairs_of_any_type_are_staged_and_taken_back() {
        let moods = |number: usize| match number % 3 {
            0 => vec!["Glad", "Sad", "Glad"],
            1 => vec!["Sad"],
            _ => vec![],
        };
        let words = (0..500).map(|number| doc! { "_id": word(number), "moods": moods(number) });
        let list = |numbers: std::ops::Range<usize>| numbers.map(word).collect::<Vec<_>>();
        let owners = [
            (Bson::ObjectId(oid(1)), list(0..70)),
            // The text of an ObjectId becomes the same key as the ObjectId, and comes first.
            (Bson::ObjectId(oid(2)), list(100..230)),
            (Bson::String(oid(2).to_hex()), list(200..210)),
            (Bson::ObjectId(oid(3)), list(300..301)),
            (Bson::ObjectId(oid(4)), vec![]),
            (Bson::ObjectId(oid(5)), list(495..505)),
        ];
        let documents = owners.map(|(id, words)| doc! { "_id": id, "words": words });
        let source = MemorySource::new()
            .with("Moods", [doc! { "_id": "Glad" }, doc! { "_id": "Sad" }])
            .with("Words", words.collect::<Vec<Document>>())
            .with("Owners", documents);
        let source = Arc::new(source);
        let Some(mut moved) = moved(Staged::FACTS, source.clone()).await else { return };

        // The same where constraints stay on, and rows wait beside the table.
        let kept = servers::database(servers::NEWEST).unwrap();
        let mut connection = PgConnection::connect(&kept).await.unwrap();
        for statement in ddl::statements(Staged::FACTS, ddl::Names { schema: "public" }) {
            sqlx::raw_sql(AssertSqlSafe(statement.sql)).execute(&mut connection).await.unwrap();
        }
        let options = Options { keep_constraints: true, ..Options::default() };
        let beside = load(Staged::FACTS, &kept, source.clone(), &options).await;
        assert_eq!(beside.junctions, moved.summary.junctions);
        let report = compare(Staged::FACTS, &kept, source, &Request::default()).await;
        assert_eq!(report.differences(), 0, "{report:?}");

        let junction = |name: &str| {
            let table = moved.summary.junctions.iter().find(|found| found.table == name).unwrap();
            assert!(table.balanced, "{table:?}");
            (table.elements, table.inserted, table.duplicates, table.orphans)
        };
        // Of 500 words 167 have three moods, one of them twice, and 167 have one.
        assert_eq!(junction("WordsToMoods"), (668, 501, 167, 0));
        // The 130 of the document that is rejected are orphans, and five words are not there.
        let kept = 70 + 10 + 1 + 5;
        assert_eq!(junction("OwnersToWords"), (kept + 130 + 5, kept, 0, 135));

        let pairs = "SELECT word || ' ' || mood FROM \"WordsToMoods\"";
        let found: BTreeSet<String> = moved.texts(pairs).await.into_iter().collect();
        let pairs = (0..500).flat_map(|number| {
            moods(number).into_iter().map(move |mood| format!("{} {mood}", word(number)))
        });
        assert_eq!(found, pairs.collect());

        let pairs = "SELECT concat_ws(' ', migrate.object_id_from_uuid(owner), position, word)
             FROM \"OwnersToWords\"";
        let found: BTreeSet<String> = moved.texts(pairs).await.into_iter().collect();
        let there =
            [(1, list(0..70)), (2, list(200..210)), (3, list(300..301)), (5, list(495..500))];
        let expected = there.iter().flat_map(|(owner, words)| {
            let places = words.iter().enumerate();
            places.map(|(place, word)| format!("{} {place} {word}", oid(*owner).to_hex()))
        });
        assert_eq!(found, expected.collect());
    }
}
