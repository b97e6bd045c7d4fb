//! The examples, with the data sets that they describe: what is loaded, what is refused and what
//! points to nothing is what the data sets' own description says, and validation agrees.

use std::path::Path;
use std::sync::Arc;

use analytics::Analytics;
use gipfel::Gipfel;
use mflix::Mflix;
use migrate_cli::generate::{Generator, Plan, to_memory};
use migrate_core::schema::{Registry, RegistryFacts};
use migrate_core::source::memory::MemorySource;
use migrate_tests::moved::{Moved, moved};
use sakila::Sakila;
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
    assert_eq!(
        tables(&moved),
        [("accounts", 1746, 1745, 1), ("customer_tiers", 456, 456, 0), ("customers", 500, 500, 0)]
    );
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
    // A map without entries makes no rows.
    assert_eq!(
        moved
            .count(
                "SELECT count(*) FROM customers c
                 WHERE NOT EXISTS (SELECT FROM customer_tiers t WHERE t.customer_id = c.id)"
            )
            .await,
        267
    );
    assert_eq!(
        moved.count("SELECT count(*) FROM customer_tiers WHERE length(code) = 32").await,
        456
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gipfel() {
    let Some(mut moved) = data_set(Gipfel::FACTS, "gipfel").await else { return };
    assert_eq!(
        tables(&moved),
        [
            ("ascents", 200, 200, 0),
            ("climbers", 13, 13, 0),
            ("last_changes", 7, 7, 0),
            ("participants", 565, 565, 0),
            ("regions", 13, 13, 0),
            ("routes", 13043, 13043, 0),
            ("summits", 1147, 1147, 0),
        ]
    );
    assert_eq!(unknown(&moved), [""; 0]);
    assert_eq!(moved.summary.totals.orphans, 0);
    // Every element knows its ascent and its climber, and places count from 0 without a gap.
    let joined = "SELECT count(*) FROM participants p JOIN ascents a ON a.id = p.ascent
        JOIN climbers c ON c.id = p.climber";
    assert_eq!(moved.count(joined).await, 565);
    let gaps = "SELECT count(*) FROM (SELECT FROM participants GROUP BY ascent
        HAVING max(place) + 1 <> count(*) OR min(place) <> 0) AS gaps";
    assert_eq!(moved.count(gaps).await, 0);
    assert_eq!(moved.count("SELECT count(lead_climber) FROM ascents").await, 160);
    assert_eq!(moved.count("SELECT count(latitude) FROM summits").await, 1141);
    assert_eq!(moved.count("SELECT count(grade) FROM routes").await, 12758);
    assert_eq!(moved.count("SELECT count(jump) FROM routes").await, 308);
    // An element's own ObjectId is its row's id, as a document's is.
    let id = "SELECT count(*) FROM participants
        WHERE id = migrate.uuid_from_object_id('687684c19a3a9f3eac11e818')";
    assert_eq!(moved.count(id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sakila() {
    let Some(mut moved) = data_set(Sakila::FACTS, "sakila").await else { return };
    assert_eq!(
        tables(&moved),
        [
            ("actors", 200, 200, 0),
            ("customers", 599, 599, 0),
            ("film_actors", 5462, 5462, 0),
            ("films", 1000, 1000, 0),
            ("payments", 16044, 16044, 0),
            ("rentals", 16044, 16044, 0),
        ]
    );
    assert_eq!(unknown(&moved), [""; 0]);
    assert_eq!(moved.summary.totals.orphans, 0);
    let pairs = "SELECT count(*) FROM film_actors p JOIN films f ON f.id = p.film
        JOIN actors a ON a.id = p.actor";
    assert_eq!(moved.count(pairs).await, 5462);
    assert_eq!(moved.count("SELECT count(*) FROM rentals WHERE returned_at IS NULL").await, 183);
    assert_eq!(
        moved
            .rows(
                "SELECT r.id, customer, film, rented_at, returned_at, p.id AS payment, amount, paid_at
                 FROM rentals r JOIN payments p ON p.rental = r.id WHERE r.id = 1185"
            )
            .await,
        [json!({
            "id": 1185, "customer": 1, "film": 611, "rented_at": "2005-06-15T00:54:12",
            "returned_at": "2005-06-23T02:42:12", "payment": 3, "amount": 5.99,
            "paid_at": "2005-06-15T00:54:12",
        })]
    );
    assert_eq!(
        moved
            .rows(
                "SELECT title, minutes, rental_duration, replacement_cost, rating, special_features,
                    (SELECT count(*) FROM film_actors WHERE film = films.id) AS actors
                 FROM films WHERE id = 1"
            )
            .await,
        [json!({
            "title": "ACADEMY DINOSAUR", "minutes": 86, "rental_duration": 6,
            "replacement_cost": 20.99, "rating": "PG",
            "special_features": ["Deleted Scenes", "Behind the Scenes"], "actors": 10,
        })]
    );
}
