//! What `primary_key`, `check` and `position` need, told by the derive.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(primary_key(id), check, check = "", check(positive = budget), check())]
struct Alone {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(primary_key(team, nubmer, team, tags), primary_key(team))]
#[migrate(check(same = "a > 0"), check(same = "b > 0"))]
struct Seats {
    #[migrate(id)]
    id: Uuid,
    team: i32,
    number: i32,
    #[junction(SeatsToTags)]
    tags: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(primary_key(code))]
struct Codes {
    #[migrate(id)]
    id: Uuid,
    #[migrate(unique)]
    code: String,
}

#[derive(Migrate)]
#[migrate(junction, primary_key(seat, tag), check = "true")]
struct SeatsToTags {
    #[fk(Codes)]
    seat: Uuid,
    #[migrate(position, index)]
    first: i32,
    #[fk(Codes)]
    tag: Uuid,
    #[migrate(position)]
    second: i32,
}

#[derive(Migrate)]
#[migrate(embedded, primary_key(zip), check = "true")]
struct Address {
    zip: String,
}

#[derive(Migrate)]
struct Lists {
    #[migrate(id)]
    id: Uuid,
    #[junction(SeatsToTags, position = 1, key = "code")]
    tags: Vec<Uuid>,
    #[migrate(position)]
    place: i32,
}

fn main() {}
