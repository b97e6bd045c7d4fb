//! A model with a mistake is still a model to all others: one mistake, one error.

use migrate_core::{Migrate, PgEnum, registry};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(nullable)]
    name: String,
    #[junction(UsersToTeams)]
    teams: Vec<Uuid>,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
    #[fk(Users, key = "name")]
    leader: Uuid,
    status: Status,
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
enum Status {
    #[migrate(label = "active")]
    Active,
}

registry! { Crm = [Users, Teams, UsersToTeams] }

fn main() {}
