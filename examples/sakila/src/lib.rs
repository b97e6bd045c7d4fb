//! `sakila`, the shop that rents films: once a relational database, then documents with arrays
//! inside arrays, and here tables again. Keys have spaces, numbers and times are texts, and a
//! reference has another type than the id it points to.

#![expect(missing_docs, reason = "the fields are those of the collections")]

use chrono::NaiveDateTime;
use migrate_core::{Decimal, Migrate, PgEnum, convert, registry};
use uuid::Uuid;

registry! {
    /// The whole database.
    pub Sakila = [Actors, Films, FilmActors, Customers, Rentals, Payments]
}

/// `db.actors`. The ids are doubles (`1.0`), and whole numbers all the same.
#[derive(Migrate)]
#[migrate(collection = "actors", table = "actors")]
pub struct Actors {
    #[migrate(id)]
    pub id: i32,
    #[migrate(rename = "FirstName")]
    pub first_name: String,
    #[migrate(rename = "LastName")]
    pub last_name: String,
    #[migrate(skip)]
    pub phone: String,
    #[migrate(skip)]
    pub address: String,
}

/// `db.films`.
#[derive(Migrate)]
#[migrate(collection = "films", table = "films", rename_all = "PascalCase")]
pub struct Films {
    #[migrate(id)]
    pub id: i32,
    #[migrate(index)]
    pub title: String,
    pub description: String,
    pub category: String,
    // Numbers that are stored as texts: `lenient` reads them, and refuses what is none.
    #[migrate(rename = "Length", column = "minutes", lenient)]
    pub minutes: i16,
    #[migrate(rename = "Rental Duration", lenient)]
    pub rental_duration: i16,
    #[migrate(rename = "Replacement Cost", lenient, pg_type = "numeric(5, 2)")]
    pub replacement_cost: Decimal,
    pub rating: Rating,
    // "Trailers,Deleted Scenes" is an array.
    #[migrate(rename = "Special Features", split = ",")]
    pub special_features: Vec<String>,
    // Each element is a row of its own table.
    #[child(FilmActors)]
    pub actors: Vec<FilmActors>,
}

/// What a film is rated.
#[derive(PgEnum)]
#[migrate(name = "mpaa_rating")]
pub enum Rating {
    G,
    #[migrate(rename = "PG")]
    Pg,
    #[migrate(rename = "PG-13")]
    Pg13,
    R,
    #[migrate(rename = "NC-17")]
    Nc17,
}

/// `Actors: [{ actorId, "First name", "Last name" }]` in a film.
#[derive(Migrate)]
#[migrate(child, table = "film_actors", unique(film, actor))]
pub struct FilmActors {
    // The elements have no id, so one is made of the film's id and the place in the array: the same
    // in every run.
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(parent)]
    #[fk(Films, on_delete = cascade)]
    pub film: i32,
    // 1 here, 1.0 there: one number, so the reference holds.
    #[fk(Actors)]
    #[migrate(rename = "actorId", index)]
    pub actor: i32,
    #[migrate(position)]
    pub place: i16,
    // The names stand in the actors' table.
    #[migrate(skip, rename = "First name")]
    pub first_name: String,
    #[migrate(skip, rename = "Last name")]
    pub last_name: String,
}

/// `db.customers`, each with all rentals and all payments inside.
#[derive(Migrate)]
#[migrate(collection = "customers", table = "customers", rename_all = "PascalCase")]
pub struct Customers {
    #[migrate(id)]
    pub id: i32,
    #[migrate(rename = "First Name")]
    pub first_name: String,
    #[migrate(rename = "Last Name")]
    pub last_name: String,
    pub address: String,
    pub district: String,
    pub city: String,
    pub country: String,
    pub phone: String,
    #[child(Rentals)]
    pub rentals: Vec<Rentals>,
}

/// `Rentals` in a customer.
#[derive(Migrate)]
#[migrate(child, table = "rentals")]
pub struct Rentals {
    // The application has given the element a key: it is the row's id.
    #[migrate(id, rename = "rentalId")]
    pub id: i32,
    #[migrate(parent)]
    #[fk(Customers, on_delete = cascade)]
    #[migrate(index)]
    pub customer: i32,
    #[fk(Films)]
    #[migrate(rename = "filmId", index)]
    pub film: i32,
    #[migrate(rename = "staffId")]
    pub staff: i16,
    // "2005-06-15 00:54:12.0"
    #[migrate(rename = "Rental Date", lenient)]
    pub rented_at: NaiveDateTime,
    #[migrate(rename = "Return Date", lenient)]
    pub returned_at: Option<NaiveDateTime>,
    // The title stands in the films' table.
    #[migrate(skip, rename = "Film Title")]
    pub film_title: String,
    // A child may have children.
    #[child(Payments)]
    #[migrate(rename = "Payments")]
    pub payments: Vec<Payments>,
}

/// `Payments` in a rental in a customer.
#[derive(Migrate)]
#[migrate(child, table = "payments")]
pub struct Payments {
    #[migrate(id, rename = "Payment Id")]
    pub id: i32,
    // The parent is the rental; the customer is reached through it.
    #[migrate(parent)]
    #[fk(Rentals, on_delete = cascade)]
    #[migrate(index)]
    pub rental: i32,
    // 5.989999771118164 was 5.99 before it was put into four bytes.
    #[migrate(rename = "Amount", with = convert::short_float, pg_type = "numeric(5, 2)")]
    pub amount: Decimal,
    #[migrate(rename = "Payment Date", lenient)]
    pub paid_at: NaiveDateTime,
}
