//! The whole path for all of NextCRM: generated documents, clean and dirty, from a dump and from a
//! live MongoDB, into real servers; the target must equal what the oracle predicts in every row,
//! pair, reject and sum.

use std::collections::BTreeMap;

use bson::Document;
use migrate_cli::generate::{Generator, Plan, to_dump, to_memory, to_mongodb};
use migrate_core::run::Options;
use migrate_core::schema::Registry;
use migrate_tests::facts::Facts;
use migrate_tests::{oracle, runs, servers, target};
use models::NextCrm;
use sqlx::{Connection, PgConnection};

/// The scale of these tests; 1 is about 10,000 documents. `MIGRATE_TEST_SCALE` sets another.
const SCALE: f64 = 0.3;

fn clean() -> Plan {
    Plan { seed: 11, scale: scale(), dirty: 0.0 }
}

fn dirty() -> Plan {
    Plan { seed: 12, scale: scale(), dirty: 0.2 }
}

fn scale() -> f64 {
    match std::env::var("MIGRATE_TEST_SCALE") {
        Ok(scale) => scale.parse().expect("`MIGRATE_TEST_SCALE` is a number, as in `10`"),
        Err(_) => SCALE,
    }
}

fn generate(plan: Plan) -> (Generator, BTreeMap<String, Vec<Document>>) {
    let generator = Generator::new(NextCrm::FACTS, plan);
    let (collections, _) = to_memory(&generator);
    (generator, collections)
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_documents_from_a_dump() {
    let facts = Facts::nextcrm();
    let (generator, collections) = generate(clean());
    let expected = oracle::expect(&facts, &collections);
    assert_eq!(expected.rejects, []);
    for (version, gzip) in [(servers::VERSIONS[0], true), (servers::VERSIONS[1], false)] {
        let folder = tempfile::tempdir().unwrap();
        to_dump(&generator, folder.path(), gzip).unwrap();
        let Some(target) = servers::database(version) else { continue };
        let source = folder.path().to_str().unwrap();
        let summary = runs::migrate(source, &target, &Options::default()).await;
        runs::assert_as_expected(&facts, &expected, &summary, &target).await;
        assert!(summary.is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dirty_documents_from_a_dump() {
    let facts = Facts::nextcrm();
    let (generator, collections) = generate(dirty());
    let expected = oracle::expect(&facts, &collections);
    let folder = tempfile::tempdir().unwrap();
    to_dump(&generator, folder.path(), false).unwrap();
    for version in servers::VERSIONS {
        let Some(target) = servers::database(version) else { continue };
        let source = folder.path().to_str().unwrap();
        // Small chunks, so that every collection has several.
        let options = Options { chunk_bytes: 64 << 10, ..Options::default() };
        let summary = runs::migrate(source, &target, &options).await;
        runs::assert_as_expected(&facts, &expected, &summary, &target).await;
        assert!(!summary.is_clean());
        assert_eq!(
            summary.collections_without_model,
            BTreeMap::from([("system_logs".to_owned(), 25)])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_and_dirty_documents_from_mongodb() {
    let facts = Facts::nextcrm();
    for plan in [clean(), dirty()] {
        let (generator, collections) = generate(plan);
        let expected = oracle::expect(&facts, &collections);
        let source = servers::mongodb();
        to_mongodb(&generator, &source).await.unwrap();
        let Some(target) = servers::database(servers::NEWEST) else { continue };
        let options = Options { chunk_bytes: 128 << 10, ..Options::default() };
        let summary = runs::migrate(&source, &target, &options).await;
        runs::assert_as_expected(&facts, &expected, &summary, &target).await;
    }
}

/// The comparison itself: what somebody changes in the target is found, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_target_differs_from_the_expectation() {
    let facts = Facts::nextcrm();
    let (generator, collections) = generate(Plan { scale: 0.05, ..dirty() });
    let expected = oracle::expect(&facts, &collections);
    let folder = tempfile::tempdir().unwrap();
    to_dump(&generator, folder.path(), true).unwrap();
    let target = servers::database(servers::NEWEST).unwrap();
    let source = folder.path().to_str().unwrap();
    runs::migrate(source, &target, &Options::default()).await;
    let mut connection = PgConnection::connect(&target).await.unwrap();
    for (change, difference) in [
        (
            "UPDATE \"crm_Contacts\" SET tags = tags || 'more'::text WHERE id = (SELECT min(id::text)::uuid FROM \"crm_Contacts\")",
            "crm_Contacts",
        ),
        (
            "DELETE FROM \"DocumentsToTasks\" WHERE document_id = (SELECT min(document_id::text)::uuid FROM \"DocumentsToTasks\")",
            "DocumentsToTasks",
        ),
        ("INSERT INTO \"invoice_States\" (name) VALUES ('new')", "invoice_States"),
        (
            "UPDATE \"Users\" SET created_on = created_on + interval '1 ms' WHERE id = (SELECT min(id::text)::uuid FROM \"Users\")",
            "Users",
        ),
    ] {
        let found = target::load(&facts, &mut connection).await.unwrap();
        let before = expected.database.differences(&found).len();
        sqlx::query(change).execute(&mut connection).await.unwrap();
        let found = target::load(&facts, &mut connection).await.unwrap();
        let differences = expected.database.differences(&found);
        assert!(differences.len() > before, "{change}");
        assert!(differences.iter().any(|line| line.starts_with(difference)), "{differences:?}");
    }
}
