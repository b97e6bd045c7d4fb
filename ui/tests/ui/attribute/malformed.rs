//! Attributes that cannot be read: each mistake is reported, and the words behind it are read.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate]
#[migrate = "users"]
#[migrate[table = "users"]]
#[migrate(table = 5, collection, schema(crm), rename_all = "CamelCase", column_case = "wild")]
#[migrate(index, unique = "name", index(), index("name"), junction = true, table = "")]
struct Users {
    #[migrate(id = true, column = )]
    id: Uuid,
    #[migrate(rename "n", 7, default(""), alias = 'a', unknown)]
    name: String,
    #[migrate(with = "convert", compute = |document| 1, json = "plain", db_default = " ", pg_type)]
    notes: String,
}

#[derive(PgEnum)]
#[migrate]
enum Status {
    #[migrate(rename = 1)]
    Active,
    #[migrate]
    Inactive,
}

fn main() {}
