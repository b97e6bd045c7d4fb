//! A registry with a model left out, named twice, or with the table of another.

use migrate_core::{Migrate, registry};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(Teams)]
    team: Uuid,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
    #[junction(UsersToTeams)]
    users: Vec<Uuid>,
    status: one::Status,
}

#[derive(Migrate)]
#[migrate(junction)]
struct UsersToTeams {
    #[fk(Users)]
    user: Uuid,
    #[fk(Teams)]
    team: Uuid,
}

#[derive(Migrate)]
#[migrate(table = "Teams")]
struct Groups {
    #[migrate(id)]
    id: Uuid,
    status: two::Status,
}

#[derive(Migrate)]
#[migrate(table = "Teams", schema = "other")]
struct OtherGroups {
    #[migrate(id)]
    id: Uuid,
    status: two::Status,
}

mod one {
    #[derive(migrate_core::PgEnum)]
    pub enum Status {
        Active,
    }
}

mod two {
    #[derive(migrate_core::PgEnum)]
    pub enum Status {
        Active,
        Inactive,
    }
}

registry! { pub NoTeams = [Users] }
registry! { pub NoJunction = [Users, Teams] }
registry! { pub Twice = [Users, Users, Teams, UsersToTeams] }
registry! { pub OneTable = [Users, Teams, UsersToTeams, Groups] }
registry! { pub TwoEnums = [Users, Teams, UsersToTeams, OtherGroups] }
registry! { pub NoEnum = []; enums = [Users] }

fn main() {}
