use std::collections::HashMap;

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(child, collection = "lines")]
struct NoParent {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(child)]
struct NoReference {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    order: Uuid,
    #[migrate(position)]
    one: i32,
    #[migrate(position)]
    two: i32,
}

#[derive(Migrate)]
#[migrate(child)]
struct OwnParent {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent, rename = "parent")]
    #[fk(Self, deferred)]
    parent: Uuid,
    #[migrate(position, default = 0)]
    place: i32,
}

#[derive(Migrate)]
#[migrate(child)]
struct ValueAndFields {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
    #[migrate(value)]
    value: String,
    name: String,
}

#[derive(Migrate)]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    shop: Uuid,
    #[migrate(key)]
    key: String,
    #[child(ValueAndFields)]
    #[migrate(default, index)]
    values: HashMap<String, ValueAndFields>,
    #[child]
    nothing: Vec<ValueAndFields>,
    #[child(ValueAndFields, on_reject = nothing)]
    others: Vec<ValueAndFields>,
}

#[derive(Migrate)]
#[child(Orders)]
struct Misplaced {
    #[migrate(id, child)]
    id: Uuid,
}

fn main() {}
