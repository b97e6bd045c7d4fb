//! The other two ways to make UUIDs, over the whole of NextCRM: the target's ids are translated
//! back into the derived ones, and then every row and pair must be as ever.

use std::collections::BTreeMap;

use bson::Bson;
use migrate_cli::generate::{Generator, Plan, to_dump, to_memory};
use migrate_core::run::{Options, UuidVersion};
use migrate_core::schema::Registry;
use migrate_tests::facts::Facts;
use migrate_tests::oracle::{self, Database, own_id};
use migrate_tests::{runs, servers, target};
use models::NextCrm;
use sqlx::{Connection, PgConnection, Row as _};

/// Puts other ids in the place of those that `translate` knows.
fn translated(database: &Database, translate: impl Fn(&str) -> Option<String>) -> Database {
    let id = |text: &str| translate(text).unwrap_or_else(|| text.to_owned());
    let cell = |text: &str| match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        // An array of ids is JSON text.
        Some(list) => {
            let ids = list.split(',').map(|quoted| {
                let bare = quoted.trim_matches('"');
                quoted.replace(bare, &id(bare))
            });
            format!("[{}]", ids.collect::<Vec<_>>().join(","))
        }
        None => id(text),
    };
    let tables = database.tables.iter().map(|(table, rows)| {
        let rows = rows.iter().map(|(key, row)| {
            let row = row
                .iter()
                .map(|(column, text)| (column.clone(), text.as_deref().map(cell)))
                .collect();
            (id(key), row)
        });
        (table.clone(), rows.collect())
    });
    let junctions = database.junctions.iter().map(|(junction, pairs)| {
        (junction.clone(), pairs.iter().map(|(first, second)| (id(first), id(second))).collect())
    });
    Database { tables: tables.collect(), junctions: junctions.collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_7_and_random_ids() {
    let facts = Facts::nextcrm();
    let generator = Generator::new(NextCrm::FACTS, Plan { seed: 31, scale: 0.1, dirty: 0.0 });
    let (collections, _) = to_memory(&generator);
    let expected = oracle::expect(&facts, &collections);
    let folder = tempfile::tempdir().unwrap();
    to_dump(&generator, folder.path(), false).unwrap();
    for uuid in [UuidVersion::V7, UuidVersion::Random] {
        let target = servers::database(servers::NEWEST).unwrap();
        let options = Options { uuid, ..Options::default() };
        let summary = runs::migrate(folder.path().to_str().unwrap(), &target, &options).await;
        assert!(summary.is_clean());
        let mut connection = PgConnection::connect(&target).await.unwrap();
        let found = target::load(&facts, &mut connection).await.unwrap();
        let found = match uuid {
            UuidVersion::Random => {
                let map = id_map(&mut connection).await;
                let documents: usize = collections.values().map(Vec::len).sum();
                assert_eq!(map.len(), documents);
                assert!(map.keys().all(|id| version(id) == Some('4')));
                translated(&found, |id| map.get(id).cloned())
            }
            _ => translated(&found, |id| {
                (version(id) == Some('7')).then(|| format!("{}8{}", &id[..14], &id[15..]))
            }),
        };
        let differences = expected.database.differences(&found);
        assert_eq!(
            differences.len(),
            0,
            "{uuid:?}: {:?}",
            &differences[..differences.len().min(9)]
        );
    }
}

/// The version digit of what looks like a UUID.
fn version(id: &str) -> Option<char> {
    (id.len() == 36 && id.matches('-').count() == 4).then(|| id.chars().nth(14))?
}

/// The derived id of each random one.
async fn id_map(connection: &mut PgConnection) -> BTreeMap<String, String> {
    let rows = sqlx::query("SELECT id::text, source_id FROM migrate.id_map")
        .fetch_all(connection)
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            let id: String = row.get(0);
            let source: Vec<u8> = row.get(1);
            let source = bson::Document::from_reader(&source[..]).unwrap();
            let source: &Bson = source.get("v").unwrap();
            (id, own_id(source))
        })
        .collect()
}
