//! Steps that do nothing to values of the column's type.

use migrate_core::{Decimal, Json, Migrate};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(trim)]
    a: i32,
    #[migrate(trim, lenient)]
    right: i32,
    #[migrate(map(A = "1"))]
    b: bool,
    #[migrate(split = ",")]
    c: String,
    #[migrate(split = ",")]
    d: Vec<u8>,
    #[migrate(lenient)]
    e: Json,
    #[migrate(lenient("%Y"))]
    f: i32,
    #[migrate(truncate)]
    g: String,
    #[migrate(truncate)]
    h: Decimal,
    #[migrate(truncate)]
    i: Uuid,
    #[migrate(nul = strip)]
    j: i64,
    #[migrate(trim)]
    k: Json,
    #[migrate(on_invalid = null)]
    l: i32,
    #[migrate(truncate, pg_type = "varchar(3)[]")]
    also_right: Vec<String>,
}

fn main() {}
