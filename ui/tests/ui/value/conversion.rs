//! Own conversions with another signature than the one that is called.

use migrate_core::{Migrate, Value};
use uuid::Uuid;

fn wrong_argument(_: i32) -> Result<i32, String> {
    Ok(1)
}

fn wrong_result(_: Value<'_>) -> Result<String, String> {
    Ok(String::new())
}

fn no_result(_: &bson::RawDocument) -> i32 {
    1
}

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(with = wrong_argument)]
    a: i32,
    #[migrate(with = wrong_result)]
    b: i32,
    #[migrate(compute = no_result)]
    c: i32,
    #[migrate(with = missing)]
    d: i32,
}

fn main() {}
