//! Two circles that share a model, one of them closed twice; a deferred reference closes none.

use migrate_core::Migrate;
use uuid::Uuid;

mod models {
    use super::*;

    #[derive(Migrate)]
    pub struct Accounts {
        #[migrate(id)]
        id: Uuid,
        #[fk(Contacts)]
        first: Option<Uuid>,
        #[fk(Contacts)]
        second: Option<Uuid>,
        #[fk(super::Users)]
        owner: Option<Uuid>,
    }

    #[derive(Migrate)]
    pub struct Contacts {
        #[migrate(id)]
        id: Uuid,
        #[fk(Accounts)]
        account: Option<Uuid>,
    }
}

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(models::Accounts)]
    account: Option<Uuid>,
    #[fk(Users)]
    boss: Option<Uuid>,
    #[fk(Teams)]
    team: Option<Uuid>,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
    #[fk(Users, deferred)]
    leader: Option<Uuid>,
}

fn main() {}
