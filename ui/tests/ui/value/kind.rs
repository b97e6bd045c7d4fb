//! Words that need a column of a certain type.

use migrate_core::{Json, Migrate};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(id_time)]
    created: String,
    #[migrate(id_time)]
    times: Vec<chrono::NaiveDateTime>,
    #[migrate(json)]
    notes: Option<String>,
    #[migrate(json = "extended")]
    list: Vec<Json>,
}

fn main() {}
