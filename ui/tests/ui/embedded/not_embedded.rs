//! A type that is no embedded document.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(flatten)]
    text: String,
}

fn main() {}
