//! The map from `_id`s to ids, under every way to make ids: each loaded row once, each `_id` as
//! the source has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, doc};
use migrate_core::event::Silent;
use migrate_core::ids::{self, Pair};
use migrate_core::run::{Options, Stop, UuidVersion, run};
use migrate_core::source::memory::MemorySource;
use migrate_core::{ErrorKind, Migrate, Registry, registry};
use migrate_tests::servers;
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(collection = "things", table = "thing")]
#[allow(dead_code)]
struct Thing {
    #[migrate(id)]
    id: Uuid,
    name: String,
}

#[derive(Migrate)]
#[migrate(collection = "numbers")]
#[allow(dead_code)]
struct Number {
    #[migrate(id)]
    id: i64,
}

#[derive(Migrate)]
#[migrate(collection = "words")]
#[allow(dead_code)]
struct Word {
    #[migrate(id)]
    id: String,
}

registry! { Mixed = [Thing, Number, Word] }

/// More rows than are read at a time.
const ORDINARY: u32 = 6_000;

fn object_id(number: u32) -> ObjectId {
    let mut bytes = [7; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn source() -> MemorySource {
    let twin = object_id(1_000_001);
    let uuid = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef).into_bytes().to_vec(),
    };
    let things = (0..ORDINARY).map(|number| Bson::from(object_id(number))).chain([
        Bson::from(object_id(1_000_000).to_hex()),
        // The digits come first in MongoDB's order, so the ObjectId of the same digits is rejected.
        Bson::from(twin),
        Bson::from(twin.to_hex()),
        Bson::Int32(5),
        Bson::from("a, \"text\""),
        Bson::from(doc! { "a": 1, "b": "x" }),
        Bson::Binary(uuid),
    ]);
    MemorySource::new()
        .with("things", things.map(|id| doc! { "_id": id, "name": "n" }))
        .with("things", [doc! { "_id": object_id(1_000_002) }])
        .with("numbers", [doc! { "_id": 5 }, doc! { "_id": 7_i64 }])
        .with("words", [doc! { "_id": "one" }])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_has_its_source() {
    for uuid in [UuidVersion::V8, UuidVersion::V7, UuidVersion::Random] {
        let url = servers::database(servers::NEWEST).unwrap();
        let options = Options { uuid, ..Options::default() };
        let silent = Arc::new(Silent);
        run(Mixed::FACTS, Arc::new(source()), &url, &options, silent, &Stop::default())
            .await
            .unwrap();
        let options = Options::default();
        let mut pairs = Vec::new();
        let count = ids::export(Mixed::FACTS, &url, &options, None, |pair: Pair| {
            pairs.push(pair);
            true
        })
        .await
        .unwrap();
        assert_eq!(count, pairs.len() as u64);
        let mut sources: BTreeMap<(&str, String), String> = BTreeMap::new();
        for pair in &pairs {
            let key = (pair.collection.as_str(), pair.source_id.clone());
            let twice = sources.insert(key, pair.id.clone());
            assert_eq!(twice, None, "{uuid:?}: {pair:?}");
        }
        let mut expected: Vec<String> =
            (0..ORDINARY).map(|number| object_id(number).to_hex()).collect();
        expected.extend([
            format!("\"{}\"", object_id(1_000_000)),
            format!("\"{}\"", object_id(1_000_001)),
            "5".to_owned(),
            "\"a, \\\"text\\\"\"".to_owned(),
            "{\"a\":1,\"b\":\"x\"}".to_owned(),
            "{\"$binary\":{\"base64\":\"EjRWeJq8Te+BI0VniavN7w==\",\"subType\":\"04\"}}".to_owned(),
        ]);
        let mut expected: BTreeSet<(&str, String)> =
            expected.into_iter().map(|id| ("things", id)).collect();
        expected.extend([("numbers", "5"), ("numbers", "7")].map(|(c, id)| (c, id.to_owned())));
        expected.insert(("words", "\"one\"".to_owned()));
        let found: BTreeSet<(&str, String)> = sources.keys().cloned().collect();
        let differences: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(differences.is_empty(), "{uuid:?}: {differences:?}");

        // The ids are those of the rows.
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let rows = sqlx::query("SELECT id::text FROM thing ORDER BY 1")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let mut ids: Vec<String> = pairs
            .iter()
            .filter(|pair| pair.collection == "things")
            .map(|pair| pair.id.clone())
            .collect();
        ids.sort();
        assert_eq!(ids, rows, "{uuid:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_collection_may_be_named_and_the_walk_ended() {
    let url = servers::database(servers::NEWEST).unwrap();
    let options = Options { schema: "other".to_owned(), ..Options::default() };
    run(Mixed::FACTS, Arc::new(source()), &url, &options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap();
    // The schema is the run's, whatever is said now.
    let options = Options::default();
    let mut seen = Vec::new();
    let count = ids::export(Mixed::FACTS, &url, &options, Some("numbers"), |pair| {
        seen.push((pair.source_id, pair.id));
        true
    });
    assert_eq!(count.await.unwrap(), 2);
    seen.sort();
    assert_eq!(seen, [("5".to_owned(), "5".to_owned()), ("7".to_owned(), "7".to_owned())]);
    let mut seen = 0;
    let count = ids::export(Mixed::FACTS, &url, &options, None, |_| {
        seen += 1;
        seen < 3
    });
    assert_eq!(count.await.unwrap(), 3);
    let wrong = ids::export(Mixed::FACTS, &url, &options, Some("nothing"), |_| true).await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Usage);
}
