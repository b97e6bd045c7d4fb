//! The `when` and the `filter` of a struct, written wrongly.

use migrate_core::{Migrate, bson::RawDocument};

#[derive(Migrate)]
#[migrate(when)]
struct Alone {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when())]
struct Nothing {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when = "company")]
struct WithoutKey {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind))]
struct WithoutValue {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind = 1.5))]
struct Fraction {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind = Company))]
struct WithoutQuotes {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind = []))]
struct NoValue {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind = ["a", "b", "a"]))]
struct ValueTwice {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind = "a", kind = "b"))]
struct KeyTwice {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when("owner..kind" = "a"))]
struct BadPath {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(when(kind = "a"), when(level = 1), filter = is_new, filter = is_new)]
struct Twice {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(filter = "is_new")]
struct FilterInQuotes {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(filter = says_how_many)]
struct OtherFilter {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
struct OnAField {
    #[migrate(id)]
    id: i32,
    #[migrate(filter = is_new)]
    name: String,
}

fn is_new(_: &RawDocument) -> bool {
    true
}

fn says_how_many(_: &RawDocument) -> usize {
    1
}

fn main() {}
