//! What is no struct with named fields is no model.

use migrate_core::Migrate;

#[derive(Migrate)]
enum Users {
    A,
}

#[derive(Migrate)]
union Teams {
    a: u8,
}

#[derive(Migrate)]
struct Boards(uuid::Uuid);

#[derive(Migrate)]
#[migrate(tabel = "tasks")]
struct Tasks;

fn main() {}
