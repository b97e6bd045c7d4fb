//! A junction that does not refer to the owner, refers to it twice, or is none.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[junction(TeamsToBoards)]
    a: Vec<Uuid>,
    #[junction(UsersToUsers)]
    b: Vec<Uuid>,
    #[junction(Teams)]
    c: Vec<Uuid>,
    #[junction(UsersToUsers, owner = user)]
    d: Vec<Uuid>,
    #[junction(UsersToTeams, owner = team)]
    e: Vec<Uuid>,
    #[junction(UsersToTeams)]
    f: Vec<String>,
    #[fk(UsersToTeams)]
    g: Uuid,
    #[junction(UsersToUsers, owner = "other_id")]
    good: Vec<Uuid>,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
struct Boards {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct TeamsToBoards {
    #[fk(Teams)]
    team: Uuid,
    #[fk(Boards)]
    board: Uuid,
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
#[migrate(junction)]
struct UsersToUsers {
    #[fk(Users)]
    one: Uuid,
    #[fk(Users)]
    #[migrate(column = "other_id")]
    other: Uuid,
}

fn main() {}
