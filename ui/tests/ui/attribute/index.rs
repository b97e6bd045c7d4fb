//! `index` and `unique` over fields that are not there or have no column.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(index(nmae), unique(id, mail_address), index(password), index(name, name), index(zzz))]
struct Users {
    #[migrate(id)]
    id: Uuid,
    name: String,
    #[migrate(column = "mail_address")]
    mail: String,
    #[migrate(skip)]
    password: String,
}

#[derive(Migrate)]
#[migrate(index(a, b), unique(b, a), index(a, b), index(c), unique(c), index(d))]
struct Same {
    #[migrate(id)]
    id: Uuid,
    #[migrate(index, unique)]
    a: i32,
    b: i32,
    #[migrate(index)]
    c: i32,
    #[migrate(unique)]
    d: i32,
}

fn main() {}
