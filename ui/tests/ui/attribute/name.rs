//! Names that PostgreSQL would cut off or has taken.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(table = "a_table_with_a_name_that_is_longer_than_postgresql_ever_takes_one")]
struct Users {
    #[migrate(id)]
    id: Uuid,
    ctid: String,
    #[migrate(column = "xmin")]
    min: i32,
    a_field_with_a_name_that_is_longer_than_postgresql_ever_takes_one: String,
}

#[derive(PgEnum)]
enum Status {
    #[migrate(rename = "a label that is even longer than the longest that PostgreSQL ever takes")]
    Active,
}

fn main() {}
