//! What cannot be said about a junction, and about the fields that fill one.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[junction(UsersToUsers, owner = one)]
    #[fk(Users)]
    #[migrate(default, index, column = "friends", rename = "friends")]
    friend_ids: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction, collection = "pairs", rename_all = "camelCase")]
struct UsersToUsers {
    #[migrate(id, rename = "one", default)]
    one: Uuid,
    #[fk(Users, deferred, orphan = null)]
    other: Uuid,
    #[migrate(skip)]
    third: Uuid,
}

fn main() {}
