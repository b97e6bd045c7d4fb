//! A word that is not known, or stands at the wrong place.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(tabel = "users", primary, on_delete = cascade, empty_as_null)]
struct Users {
    #[migrate(id, Table = "users", fk(Teams))]
    id: Uuid,
    #[migrate(defualt = "", collection = "x", deferred, owner = a, name = "n")]
    name: String,
    #[fk(Teams, on_delte = cascade, rename = "x", on_update)]
    team: Uuid,
    #[junction(UsersToTeams, ower = user, key = "a")]
    teams: Vec<Uuid>,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct UsersToTeams {
    #[fk(Users)]
    user: Uuid,
    #[fk(Teams)]
    team: Uuid,
}

#[derive(PgEnum)]
#[migrate(nam = "status", table = "status", rename = "x")]
enum Status {
    #[migrate(renam = "a", label = "b", rename_all = "UPPERCASE")]
    Active,
}

fn main() {}
