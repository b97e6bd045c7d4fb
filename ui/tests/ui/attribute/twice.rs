//! Words and attributes that are given twice.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(table = "a", table = "b")]
#[migrate(schema = "a")]
#[migrate(schema = "a")]
struct Users {
    #[migrate(id, id)]
    id: Uuid,
    #[migrate(default = 1, default)]
    age: i32,
    #[fk(Users)]
    #[fk(Self, deferred, deferred)]
    boss: Option<Uuid>,
}

#[derive(PgEnum)]
#[migrate(name = "a", name = "b")]
enum Status {
    #[migrate(rename = "a", rename = "b")]
    Active,
}

fn main() {}
