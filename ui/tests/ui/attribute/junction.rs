//! `#[junction]` without its table, at the wrong place, or with a wrong owner.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[junction]
struct UsersToUsers {
    #[fk(Users)]
    one: Uuid,
    #[fk(Users)]
    other: Uuid,
}

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[junction]
    a: Vec<Uuid>,
    #[junction("UsersToUsers")]
    b: Vec<Uuid>,
    #[junction(owner = one)]
    c: Vec<Uuid>,
    #[junction(UsersToUsers, owner)]
    d: Vec<Uuid>,
    #[junction(UsersToUsers, owner = a::b)]
    e: Vec<Uuid>,
}

fn main() {}
