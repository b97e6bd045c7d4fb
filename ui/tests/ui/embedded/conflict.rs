//! Words that exclude those of paths and flattened documents.

use migrate_core::{Json, Migrate};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(deny_unknown_fields)]
struct Users {
    #[migrate(id, path = "a.id", when("kind" = "User"))]
    id: Uuid,
    #[migrate(path = "a.b", rename = "b")]
    b: i32,
    #[migrate(path = "a.c")]
    c: i32,
    #[migrate(path = "a.c")]
    twice: i32,
    #[migrate(flatten, json, column = "d", default, alias = "e", unique)]
    d: Address,
    #[migrate(extra, default, index, rename = "x")]
    extra: Json,
    #[migrate(extra)]
    more: Json,
}

#[derive(Migrate)]
#[migrate(embedded, table = "addresses", collection = "addresses", deny_unknown_fields)]
struct Address {
    #[migrate(id)]
    id: Uuid,
    #[fk(Self)]
    other: Option<Uuid>,
    #[migrate(compute = size)]
    size: i32,
    #[migrate(extra)]
    rest: Json,
    #[junction(Links)]
    links: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(embedded)]
struct Empty {
    #[migrate(skip)]
    nothing: i32,
}

#[derive(Migrate)]
#[migrate(one_of(a), one_of(a, a), one_of(a, address, missing), one_of(a, owner))]
struct Files {
    #[migrate(id)]
    id: Uuid,
    a: Option<i32>,
    #[migrate(flatten)]
    address: Address,
    #[fk(Users, orphan = null)]
    owner: Option<Uuid>,
}

fn main() {}
