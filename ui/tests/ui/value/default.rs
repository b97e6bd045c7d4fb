//! A default of another type than the field's, or of a type that has none.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(PgEnum)]
enum Status {
    Active,
}

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(default = 0)]
    name: String,
    #[migrate(default = "0")]
    age: i32,
    #[migrate(default)]
    status: Status,
    #[migrate(default = Missing)]
    other: i32,
}

fn main() {}
