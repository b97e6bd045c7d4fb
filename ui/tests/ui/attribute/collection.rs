//! Several collections, written wrongly.

use migrate_core::Migrate;

#[derive(Migrate)]
#[migrate(collection = [])]
struct None {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(collection = ["a", b])]
struct WithoutQuotes {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(collection = ["a", ""])]
struct NoName {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
#[migrate(collection = ["a", "b", "a"])]
struct Twice {
    #[migrate(id)]
    id: i32,
}

#[derive(Migrate)]
struct OneCollection {
    #[migrate(id)]
    id: i32,
    #[migrate(origin)]
    origin: String,
    #[child(Parts)]
    parts: Vec<Parts>,
}

#[derive(Migrate)]
#[migrate(child)]
struct Parts {
    #[migrate(id)]
    id: i32,
    #[migrate(parent)]
    #[fk(OneCollection)]
    parent: i32,
    #[migrate(origin)]
    origin: String,
}

#[derive(Migrate)]
#[migrate(collection = ["a", "b"])]
struct Origins {
    #[migrate(id)]
    id: i32,
    #[migrate(origin, rename = "source", default = "a")]
    first: String,
    #[migrate(origin)]
    second: String,
}

#[derive(Migrate)]
#[migrate(collection = ["a", "b"])]
struct AsId {
    #[migrate(id, origin)]
    id: String,
}

#[derive(Migrate)]
#[migrate(collection = ["a", "b"], primary_key(origin, id))]
struct SharedKey {
    #[migrate(id)]
    id: i32,
    #[migrate(origin)]
    origin: String,
}

fn main() {}
