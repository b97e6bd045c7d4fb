//! A child of an embedded document belongs to the model that flattens it, and to one of them.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[migrate(flatten)]
    shipping: Shipping,
}

#[derive(Migrate)]
struct Returns {
    #[migrate(id)]
    id: Uuid,
    #[migrate(flatten)]
    shipping: Shipping,
}

#[derive(Migrate)]
struct Twice {
    #[migrate(id)]
    id: Uuid,
    #[migrate(flatten(prefix = "a_"))]
    first: Labels,
    #[migrate(flatten(prefix = "b_"))]
    second: Labels,
}

#[derive(Migrate)]
#[migrate(embedded)]
struct Shipping {
    city: String,
    #[child(Parcels)]
    parcels: Vec<Parcels>,
}

#[derive(Migrate)]
#[migrate(embedded)]
struct Labels {
    name: String,
    #[child(Lines)]
    lines: Vec<Lines>,
}

#[derive(Migrate)]
#[migrate(child)]
struct Parcels {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
}

#[derive(Migrate)]
#[migrate(child)]
struct Lines {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Twice)]
    of: Uuid,
}

fn main() {}
