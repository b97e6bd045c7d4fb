//! A column that must take NULL and does not.

use migrate_core::Migrate;
use uuid::Uuid;

type Maybe<T> = Option<T>;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(Users, orphan = null)]
    a: Uuid,
    #[fk(Users, on_delete = set_null)]
    b: Uuid,
    #[fk(Users, on_delete = set_null, orphan = null)]
    c: Uuid,
    #[fk(Users, on_delete = set_null, orphan = null)]
    good: Maybe<Uuid>,
}

fn main() {}
