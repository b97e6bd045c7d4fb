//! A model has exactly one id.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    id: Uuid,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
    #[migrate(id)]
    other: Uuid,
    #[migrate(id)]
    third: Uuid,
}

#[derive(Migrate)]
struct Boards {
    #[migrate(id)]
    id: Option<Uuid>,
}

#[derive(Migrate)]
struct Tasks {
    #[migrate(id)]
    id: Vec<Uuid>,
}

#[derive(Migrate)]
struct Empty {}

fn main() {}
