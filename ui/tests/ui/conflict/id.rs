//! What cannot be said about an id.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id, rename = "key", alias = "k", default, index, unique, skip)]
    id: Uuid,
    name: String,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(default, index, unique, id, rename = "key", alias = "k", id_time, empty_as_null)]
    id: Uuid,
}

#[derive(Migrate)]
struct Boards {
    #[migrate(id, compute = board)]
    id: Uuid,
}

fn main() {}
