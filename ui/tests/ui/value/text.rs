//! What an id, an origin and the key of a map can be.

use std::collections::HashMap;

use migrate_core::{Json, Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
struct Compound {
    #[migrate(id)]
    id: Json,
}

#[derive(PgEnum)]
enum Kind {
    A,
    #[migrate(other)]
    Others,
}

#[derive(Migrate)]
struct Kinds {
    #[migrate(id)]
    id: Kind,
}

#[derive(Migrate)]
#[migrate(collection = ["orders_2023", "orders_2024"])]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[migrate(origin)]
    year: i32,
    #[child(Lines)]
    lines: HashMap<String, Lines>,
}

#[derive(PgEnum)]
#[migrate(name = "region")]
enum Region {
    #[migrate(rename = "sums_eu")]
    Eu,
    Us,
}

#[derive(Migrate)]
#[migrate(collection = ["sums_eu", "sums_us"])]
struct Sums {
    #[migrate(id)]
    id: Uuid,
    #[migrate(origin)]
    region: Region,
}

#[derive(Migrate)]
#[migrate(collection = ["taken_a", "taken_b"])]
struct Taken {
    #[migrate(id)]
    id: Uuid,
    #[migrate(origin, map(taken_a = "2023", taken_b = "2024"), lenient)]
    year: i32,
}

#[derive(Migrate)]
#[migrate(child)]
struct Lines {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
    #[migrate(key)]
    number: i32,
}

fn main() {}
