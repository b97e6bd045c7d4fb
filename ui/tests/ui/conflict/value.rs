//! Two words that say what a value becomes.

use migrate_core::{Json, Migrate};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(compute = size, rename = "s", alias = "t", default = 1, empty_as_null, with = x)]
    size: i32,
    #[migrate(default, id_time)]
    time: i64,
    #[migrate(json, with = convert)]
    notes: Json,
    #[migrate(skip, column = "p", default, index)]
    #[fk(Users)]
    password: String,
    #[fk(Users, orphan = keep, on_delete = cascade)]
    boss: Uuid,
    #[fk(Users, on_delete = set_default)]
    friend: Option<Uuid>,
    #[fk(Self, deferred)]
    parent: Option<Uuid>,
}

fn main() {}
