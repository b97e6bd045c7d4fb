//! Models that have no documents of their own to choose from.

use migrate_core::Migrate;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: i32,
    #[child(Notes)]
    notes: Vec<Notes>,
}

#[derive(Migrate)]
#[migrate(child, when(kind = "note"), filter = all)]
struct Notes {
    #[migrate(id)]
    id: i32,
    #[migrate(parent)]
    #[fk(Users)]
    user: i32,
}

#[derive(Migrate)]
#[migrate(junction, when(kind = "pair"))]
struct Pairs {
    #[fk(Users)]
    one: i32,
    #[fk(Users)]
    other: i32,
}

#[derive(Migrate)]
#[migrate(embedded, filter = all)]
struct Address {
    zip: String,
}

fn all(_: &migrate_core::bson::RawDocument) -> bool {
    true
}

fn main() {}
