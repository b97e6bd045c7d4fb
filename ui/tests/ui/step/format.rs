//! Formats that chrono would not read a date with.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(lenient("%Y-%m-%d", "%d.%m.%Q"))]
    a: chrono::NaiveDate,
    #[migrate(lenient("%H:%M"))]
    b: chrono::NaiveDateTime,
    #[migrate(lenient("YYYY-MM-DD"))]
    c: chrono::NaiveDate,
    #[migrate(lenient("%"))]
    d: chrono::NaiveDate,
}

fn main() {}
