//! A model that does not exist, and a struct that is none.

use migrate_core::{Migrate, registry};
use uuid::Uuid;

struct Plain;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(Team)]
    team: Uuid,
    #[fk(Plain)]
    plain: Uuid,
    #[junction(UsersToTeams)]
    teams: Vec<Uuid>,
}

registry! { Crm = [Users, Missing, Plain] }

fn main() {}
