//! MongoDB's `sample_mflix` (films, comments, users, theaters) as a designer of tables would draw
//! it: embedded documents become columns, references become foreign keys, what was text and meant
//! a time becomes one.
//!
//! Read it from top to bottom: each model uses some words that the ones before did not, and says
//! why. The names of tables and columns are those that somebody writes in SQL, so they are set
//! apart from MongoDB's (`collection`, `rename`) where these differ.

#![expect(missing_docs, reason = "the fields are those of the collections")]

use chrono::NaiveDateTime;
use migrate_core::{Json, Migrate, Point, registry};
use uuid::Uuid;

// The order does not matter: whoever is referred to is loaded first. `migrate plan` shows it.
registry! {
    /// The whole database.
    pub Mflix = [Users, Movies, Embeddings, Comments, Theaters]
}

/// `db.users`. An ObjectId becomes a UUID that gives it back.
#[derive(Migrate)]
#[migrate(collection = "users", table = "users")]
pub struct Users {
    #[migrate(id)]
    pub id: Uuid,
    pub name: String,
    // Comments refer to users by their address, so it must be unique.
    #[migrate(unique)]
    pub email: String,
    // Left out on purpose: a run does not report it as a field that nobody takes.
    #[migrate(skip)]
    pub password: String,
    // Whatever it holds, as jsonb. One user has `{}`, the others nothing: that is `{}` and NULL.
    #[migrate(json)]
    pub preferences: Option<Json>,
}

/// `db.movies`.
#[derive(Migrate)]
#[migrate(collection = "movies", table = "movies")]
pub struct Movies {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(index)]
    pub title: String,
    pub year: i32,
    // A field that may be missing or null is an `Option`. A required one that is missing rejects
    // the document.
    pub plot: Option<String>,
    #[migrate(column = "full_plot", rename = "fullplot")]
    pub full_plot: Option<String>,
    // One label in two spellings.
    #[migrate(map(Approved = "APPROVED"))]
    pub rated: Option<String>,
    pub runtime: Option<i32>,
    pub released: Option<NaiveDateTime>,
    pub poster: Option<String>,
    // Arrays of texts are `text[]`.
    pub genres: Option<Vec<String>>,
    pub cast: Option<Vec<String>>,
    pub directors: Option<Vec<String>>,
    pub writers: Option<Vec<String>>,
    pub countries: Option<Vec<String>>,
    pub languages: Option<Vec<String>>,
    // Embedded documents become columns: `awards_wins`, `imdb_rating` …
    #[migrate(flatten(prefix = "awards_"))]
    pub awards: Awards,
    #[migrate(flatten(prefix = "imdb_"))]
    pub imdb: Imdb,
    // 11 films have no `tomatoes` at all: all its columns are NULL there.
    #[migrate(flatten(prefix = "tomatoes_"))]
    pub tomatoes: Option<Tomatoes>,
    pub metacritic: Option<i32>,
    #[migrate(rename = "num_mflix_comments", column = "comment_count")]
    pub comment_count: i32,
    // A text like `2015-08-13 00:27:59.177000000`, which is read only because `lenient` says so.
    #[migrate(rename = "lastupdated", column = "last_updated", lenient)]
    pub last_updated: NaiveDateTime,
    #[migrate(rename = "type")]
    pub kind: String,
}

/// `movies.awards`: no table, but columns of whoever flattens it.
#[derive(Migrate)]
#[migrate(embedded)]
pub struct Awards {
    pub wins: i32,
    pub nominations: i32,
    pub text: String,
}

/// `movies.imdb`. One film has empty texts for its numbers.
#[derive(Migrate)]
#[migrate(embedded)]
pub struct Imdb {
    pub id: i32,
    #[migrate(empty_as_null)]
    pub rating: Option<f64>,
    #[migrate(empty_as_null)]
    pub votes: Option<i32>,
}

/// `movies.tomatoes`, with documents inside of its own.
#[derive(Migrate)]
#[migrate(embedded)]
pub struct Tomatoes {
    #[migrate(flatten(prefix = "viewer_"))]
    pub viewer: Option<Ratings>,
    #[migrate(flatten(prefix = "critic_"))]
    pub critic: Option<Ratings>,
    pub fresh: Option<i32>,
    pub rotten: Option<i32>,
    pub dvd: Option<NaiveDateTime>,
    pub production: Option<String>,
    pub consensus: Option<String>,
    pub website: Option<String>,
    // `$26.8k`, `$47.1M`: rounded by whoever wrote it, so it stays a text.
    #[migrate(rename = "boxOffice", column = "box_office")]
    pub box_office: Option<String>,
    #[migrate(rename = "lastUpdated", column = "last_updated")]
    pub last_updated: NaiveDateTime,
}

/// `movies.tomatoes.viewer` and `movies.tomatoes.critic`.
#[derive(Migrate)]
#[migrate(embedded)]
pub struct Ratings {
    pub rating: Option<f64>,
    #[migrate(rename = "numReviews", column = "reviews")]
    pub reviews: i32,
    pub meter: Option<i32>,
}

/// `db.embedded_movies`: films again, with what a language model made of their plots. Only that is
/// new, so only that has columns; the rest stays as it came, in one jsonb.
#[derive(Migrate)]
#[migrate(collection = "embedded_movies", table = "movie_embeddings")]
pub struct Embeddings {
    #[migrate(id)]
    pub id: Uuid,
    pub title: String,
    // BSON's vectors (binary subtype 9) are `real[]`. pgvector's type is `Option<Vector>`.
    pub plot_embedding: Option<Vec<f32>>,
    #[migrate(rename = "plot_embedding_voyage_3_large", column = "plot_embedding_large")]
    pub plot_embedding_large: Option<Vec<f32>>,
    #[migrate(extra)]
    pub movie: Json,
}

/// `db.comments`: two references, one to an id and one to another unique column.
#[derive(Migrate)]
#[migrate(collection = "comments", table = "comments")]
pub struct Comments {
    #[migrate(id)]
    pub id: Uuid,
    // The sample has not all films. A comment on a film that is not there keeps its text: the
    // reference becomes NULL, and the run counts and notes it.
    #[fk(Movies, on_delete = cascade)]
    #[migrate(rename = "movie_id", column = "movie_id", index)]
    pub movie: Option<Uuid>,
    #[fk(Users, key = "email")]
    #[migrate(column = "user_email", rename = "email", index)]
    pub user: String,
    #[migrate(column = "user_name")]
    pub name: String,
    pub text: String,
    pub date: NaiveDateTime,
}

/// `db.theaters`: an address two levels deep, and a place.
#[derive(Migrate)]
#[migrate(collection = "theaters", table = "theaters", index(state, city))]
pub struct Theaters {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(rename = "theaterId", column = "number", unique)]
    pub number: i32,
    #[migrate(path = "location.address.street1")]
    pub street1: String,
    #[migrate(path = "location.address.street2")]
    pub street2: Option<String>,
    #[migrate(path = "location.address.city")]
    pub city: String,
    #[migrate(path = "location.address.state", pg_type = "char(2)")]
    pub state: String,
    #[migrate(path = "location.address.zipcode", column = "zip")]
    pub zip: String,
    // GeoJSON becomes PostgreSQL's `point`.
    #[migrate(path = "location.geo")]
    pub place: Point,
}
