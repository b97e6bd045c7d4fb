//! The examples, with the data sets that they describe: what is loaded, what is refused and what
//! points to nothing is what the data sets' own description says, and validation agrees.

use std::path::Path;
use std::sync::Arc;

use analytics::Analytics;
use mflix::Mflix;
use migrate_cli::generate::{Generator, Plan, to_memory};
use migrate_core::schema::{Registry, RegistryFacts};
use migrate_core::source::memory::MemorySource;
use migrate_tests::moved::{Moved, moved};
use serde_json::json;

/// Moves a data set; `None`, with a printed reason, where it is not there.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
async fn data_set(registry: &'static RegistryFacts, name: &str) -> Option<Moved> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets").join(name);
    if !folder.is_dir() {
        eprintln!("skipped: there is no data set at {}", folder.display());
        return None;
    }
    let folder = folder.to_str().expect("the folder's name is text");
    let source = migrate_core::source::open(folder).await.expect("the data set opens");
    moved(registry, source).await
}

/// Read, loaded and rejected, by table.
fn tables(moved: &Moved) -> Vec<(&str, u64, u64, u64)> {
    let tables = moved.summary.tables.iter();
    let mut tables: Vec<_> = tables
        .map(|table| (table.table.as_str(), table.read, table.loaded, table.rejected))
        .collect();
    tables.sort();
    tables
}

fn unknown(moved: &Moved) -> Vec<&str> {
    let tables = moved.summary.tables.iter();
    tables.flat_map(|table| table.unknown_fields.keys().map(String::as_str)).collect()
}

/// Generated documents of an example's models are taken, all of them.
async fn generated(registry: &'static RegistryFacts) {
    let plan = Plan { seed: 3, scale: 0.02, dirty: 0.0 };
    let (collections, _) = to_memory(&Generator::new(registry, plan));
    let mut source = MemorySource::new();
    for (name, documents) in collections {
        source = source.with(&name, documents);
    }
    let Some(mut moved) = moved(registry, Arc::new(source)).await else { return };
    assert_eq!(moved.rejects().await, [""; 0]);
    assert!(moved.summary.totals.read > 0);
    assert_eq!(unknown(&moved), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_documents() {
    for registry in [Mflix::FACTS, Analytics::FACTS] {
        generated(registry).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mflix() {
    let Some(mut moved) = data_set(Mflix::FACTS, "sample_mflix").await else { return };
    assert_eq!(
        tables(&moved),
        [
            ("comments", 1000, 1000, 0),
            ("movie_embeddings", 101, 101, 0),
            ("movies", 1000, 1000, 0),
            ("theaters", 1564, 1564, 0),
            ("users", 185, 185, 0),
        ]
    );
    assert_eq!(unknown(&moved), [""; 0]);
    // 230 comments speak of 189 films that the sample does not have.
    let orphans = "FROM migrate.orphan WHERE table_name = 'comments'";
    assert_eq!(moved.count(&format!("SELECT count(*) {orphans}")).await, 230);
    assert_eq!(moved.count(&format!("SELECT count(DISTINCT value) {orphans}")).await, 189);
    assert_eq!(moved.count("SELECT count(movie_id) FROM comments").await, 770);
    assert_eq!(
        moved.count("SELECT count(*) FROM comments JOIN users ON email = user_email").await,
        1000
    );
    assert_eq!(
        moved
            .rows(
                "SELECT title, year, awards_wins, imdb_rating, tomatoes_viewer_rating,
                    tomatoes_critic_rating, tomatoes_fresh, last_updated, genres
                 FROM movies WHERE title = 'The Great Train Robbery'"
            )
            .await,
        [json!({
            "title": "The Great Train Robbery", "year": 1903, "awards_wins": 1, "imdb_rating": 7.4,
            "tomatoes_viewer_rating": 3.7, "tomatoes_critic_rating": 7.6, "tomatoes_fresh": 6,
            "last_updated": "2015-08-13T00:27:59.177", "genres": ["Short", "Western"],
        })]
    );
    let count = "SELECT count(*) FROM movies WHERE";
    assert_eq!(moved.count(&format!("{count} tomatoes_last_updated IS NULL")).await, 11);
    assert_eq!(moved.count(&format!("{count} imdb_rating IS NULL")).await, 1);
    assert_eq!(moved.count(&format!("{count} released < '1970-01-01'")).await, 949);
    assert_eq!(moved.count(&format!("{count} rated = 'Approved'")).await, 0);
    // BSON's vectors: 6,146 bytes are 1,536 floats and their head.
    assert_eq!(
        moved
            .texts(
                "SELECT DISTINCT concat_ws(' ', array_length(plot_embedding, 1),
                    array_length(plot_embedding_large, 1)) FROM movie_embeddings ORDER BY 1"
            )
            .await,
        ["", "1536 2048"]
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM movie_embeddings JOIN movies USING (id)").await,
        46
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM movie_embeddings WHERE movie ? 'imdb'").await,
        101
    );
    assert_eq!(
        moved.rows("SELECT city, state, zip, place::text FROM theaters WHERE number = 1000").await,
        [
            json!({ "city": "Bloomington", "state": "MN", "zip": "55425", "place": "(-93.24565,44.85466)" })
        ]
    );
    assert_eq!(moved.count("SELECT count(street2) FROM theaters").await, 367);
}

#[tokio::test(flavor = "multi_thread")]
async fn analytics() {
    let Some(mut moved) = data_set(Analytics::FACTS, "sample_analytics").await else { return };
    assert_eq!(tables(&moved), [("accounts", 1746, 1745, 1), ("customers", 500, 500, 0)]);
    assert_eq!(unknown(&moved), [""; 0]);
    let rejects = moved.rejects().await;
    assert_eq!(
        rejects,
        [
            "5ca4bbc7a2dd94ee58162812 | duplicate | account_id | expected a value of its own, found \"627788\", which document 5ca4bbc7a2dd94ee58162718 has too"
        ]
    );
    // Every number that a customer has is that of an account: each pair is there once.
    let junction = &moved.summary.junctions[0];
    assert_eq!(
        (junction.elements, junction.inserted, junction.duplicates, junction.orphans),
        (1746, 1746, 0, 0)
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM customer_accounts WHERE account_number = 627788").await,
        2
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM customers WHERE birthdate < '1970-01-01'").await,
        51
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM accounts WHERE 'InvestmentStock' = ANY (products)").await,
        1745
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM customers WHERE address LIKE E'%\\n%'").await,
        500
    );
}
