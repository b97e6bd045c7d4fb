//! Words of paths and flattened documents that are malformed.

use migrate_core::{Json, Migrate};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(embedded = true, deny_unknown_fields(a), one_of)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(path)]
    a: i32,
    #[migrate(path = "a..b")]
    b: i32,
    #[migrate(flatten = "a_")]
    c: Uuid,
    #[migrate(flatten(prefx = "a_"))]
    d: Uuid,
    #[migrate(extra = "json")]
    e: Json,
    #[migrate(when(kind, "User"))]
    f: Option<i32>,
    #[migrate(when("kind" = 3))]
    g: Option<i32>,
    #[migrate(when("a..kind" = "User"))]
    h: Option<i32>,
}

fn main() {}
