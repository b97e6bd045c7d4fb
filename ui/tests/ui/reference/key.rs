//! A foreign key to a column that is not there, not unique, or of another type.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(unique(number), unique(country, region))]
struct Accounts {
    #[migrate(id)]
    id: Uuid,
    name: String,
    #[migrate(unique)]
    code: String,
    number: i32,
    country: String,
    region: String,
}

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(Accounts, key = "kode")]
    a: String,
    #[fk(Accounts, key = "name")]
    b: String,
    #[fk(Accounts, key = "country")]
    c: String,
    #[fk(Accounts, key = "code")]
    d: Uuid,
    #[fk(Accounts)]
    e: Option<String>,
    #[fk(Accounts)]
    f: Vec<Uuid>,
    #[fk(Accounts, key = "code")]
    good: Option<String>,
    #[fk(Accounts, key = "number")]
    good_too: i64,
}

fn main() {}
