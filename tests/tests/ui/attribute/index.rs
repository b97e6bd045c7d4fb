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

fn main() {}
