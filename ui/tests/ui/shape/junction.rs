//! A junction has two references and nothing else.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct One {
    #[fk(Users)]
    user: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct Three {
    #[fk(Users)]
    user: Uuid,
    #[fk(Users)]
    other: Uuid,
    position: i32,
}

#[derive(Migrate)]
#[migrate(junction)]
struct Nullable {
    #[fk(Users)]
    user: Uuid,
    #[fk(Users)]
    other: Option<Uuid>,
}

fn main() {}
