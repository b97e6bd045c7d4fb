//! What `primary_key` and `position` need of types and of other models.

use migrate_core::{Migrate, registry};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(primary_key(team, number, tags))]
struct Seats {
    #[migrate(id)]
    id: Uuid,
    team: i32,
    number: Option<i32>,
    tags: Vec<String>,
}

#[derive(Migrate)]
#[migrate(primary_key(id, day))]
struct Logs {
    #[migrate(id)]
    id: Uuid,
    day: chrono::NaiveDate,
}

#[derive(Migrate)]
struct Readers {
    #[migrate(id)]
    id: Uuid,
    #[fk(Logs)]
    log: Uuid,
    #[fk(Logs, key = "id")]
    other: Uuid,
    #[fk(Seats)]
    seat: Option<Uuid>,
}

#[derive(Migrate)]
struct Lists {
    #[migrate(id)]
    id: Uuid,
    #[junction(Ordered)]
    without: Vec<Uuid>,
    #[junction(Unordered, position)]
    with: Vec<Uuid>,
    #[junction(Both, position)]
    both: Vec<Uuid>,
}

#[derive(Migrate)]
struct Songs {
    #[migrate(id)]
    id: Uuid,
    #[junction(Both, position)]
    lists: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction)]
struct Ordered {
    #[fk(Lists)]
    list: Uuid,
    #[fk(Songs)]
    song: Uuid,
    #[migrate(position)]
    position: i32,
}

#[derive(Migrate)]
#[migrate(junction)]
struct Unordered {
    #[fk(Lists)]
    list: Uuid,
    #[fk(Songs)]
    song: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct Both {
    #[fk(Lists)]
    list: Uuid,
    #[fk(Songs)]
    song: Uuid,
    #[migrate(position)]
    position: Option<i32>,
}

#[derive(Migrate)]
#[migrate(junction)]
struct Named {
    #[fk(Lists)]
    list: Uuid,
    #[fk(Songs)]
    song: Uuid,
    #[migrate(position)]
    position: String,
}

registry! { pub(crate) All = [Lists, Songs, Ordered, Unordered, Both] }

fn main() {}
