//! `#[fk]` without its model, or with values it does not have.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[fk(Users)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk]
    a: Option<Uuid>,
    #[fk()]
    b: Option<Uuid>,
    #[fk("Users")]
    c: Option<Uuid>,
    #[fk(on_delete = cascade)]
    d: Option<Uuid>,
    #[fk = Users]
    e: Option<Uuid>,
    #[fk(Users, on_delete = "cascade")]
    f: Option<Uuid>,
    #[fk(Users, on_delete = cascde, orphan = drop)]
    g: Option<Uuid>,
    #[fk(Users, on_delete, orphan = 1, key = id, deferred = true)]
    h: Option<Uuid>,
    #[fk(Users on_delete = cascade)]
    i: Option<Uuid>,
    #[fk(Users, on_delete = delete)]
    j: Option<Uuid>,
}

fn main() {}
