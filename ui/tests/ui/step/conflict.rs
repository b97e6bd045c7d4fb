//! Steps beside words that leave them without a meaning.

use migrate_core::{Json, Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id, trim, lenient, on_invalid = reject)]
    id: Uuid,
    #[migrate(with = convert, trim, lenient, truncate)]
    with: i32,
    #[migrate(compute = convert, trim, on_invalid = null)]
    compute: Option<i32>,
    #[migrate(skip, trim)]
    skipped: String,
    #[junction(Friends)]
    #[migrate(trim, split = ",")]
    friends: Vec<Uuid>,
    #[migrate(on_invalid = default)]
    no_default: i32,
    #[migrate(id_time, on_invalid = default)]
    created: chrono::NaiveDateTime,
    #[migrate(json, nul = strip)]
    right: Json,
}

#[derive(PgEnum)]
enum Size {
    Small,
    #[migrate(other)]
    Other,
    #[migrate(other)]
    Unknown,
}

fn main() {}
