//! References inside embedded documents are references of the models that flatten them.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(flatten(prefix = "home_"))]
    home: Option<Address>,
}

#[derive(Migrate)]
struct Towns {
    #[migrate(id)]
    id: Uuid,
    #[fk(Users)]
    mayor: Uuid,
}

#[derive(Migrate)]
#[migrate(embedded)]
struct Address {
    #[fk(Towns)]
    town: Uuid,
}

fn main() {}
