//! Two fields for one column or from one key, two variants with one label.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(rename_all = "camelCase")]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(column = "name", alias = "firstName")]
    first_name: String,
    name: String,
    #[migrate(rename = "name")]
    label: String,
    #[migrate(alias = "_id")]
    old_id: String,
}

#[derive(PgEnum)]
#[migrate(rename_all = "lowercase")]
enum Status {
    InWork,
    Inwork,
    #[migrate(rename = "inwork")]
    Working,
}

fn main() {}
