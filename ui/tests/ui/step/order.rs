//! Steps in an order that makes no sense, and steps given twice.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(trim, trim)]
    a: String,
    #[migrate(trim, split = ",", trim, trim)]
    b: Vec<String>,
    #[migrate(lenient, split = ",")]
    c: Vec<i32>,
    #[migrate(split = ";", trim, split = ",")]
    d: Vec<String>,
    #[migrate(truncate, lenient)]
    e: i32,
    #[migrate(truncate, map(A = "a"), pg_type = "varchar(3)")]
    f: String,
    #[migrate(map(A = "a"), map(B = "b"))]
    g: String,
    #[migrate(lenient("%Y-%m-%d"), trim, lenient("%d.%m.%Y"))]
    h: chrono::NaiveDate,
    #[migrate(on_invalid = null, on_invalid = default, default = 1)]
    i: Option<i32>,
}

fn main() {}
