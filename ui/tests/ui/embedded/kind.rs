//! Types that the words do not go together with.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(one_of(user, company))]
struct Files {
    #[migrate(id)]
    id: Uuid,
    #[migrate(extra)]
    rest: String,
    #[migrate(path = "owner.id", when("owner.kind" = "User"))]
    user: Uuid,
    company: Uuid,
}

#[derive(Migrate)]
struct People {
    #[migrate(id)]
    id: Uuid,
    name: String,
    #[migrate(unique)]
    number: i32,
    #[junction(PeopleToPlaces)]
    places: Vec<Uuid>,
}

#[derive(Migrate)]
struct Places {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
struct PeopleToPlaces {
    #[fk(People, key = "number")]
    person: i32,
    #[fk(Places)]
    place: Uuid,
}

fn main() {}
