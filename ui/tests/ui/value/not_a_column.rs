//! Types that are no column, at the user's own type.

use migrate_core::Migrate;
use std::collections::HashMap;
use uuid::Uuid;

struct Address;
enum Status {}

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    address: Address,
    status: Option<Status>,
    tags: HashMap<String, String>,
    addresses: Vec<Address>,
    age: u64,
    #[junction(UsersToUsers, owner = one)]
    friend: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct UsersToUsers {
    #[fk(Users)]
    one: Uuid,
    #[fk(Users)]
    other: Uuid,
}

fn main() {}
