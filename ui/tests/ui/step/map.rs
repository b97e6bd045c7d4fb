//! `map` with what is no label, one mistake at a time.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(map(1 = "x"))]
    number: String,
    #[migrate(map(B = 5))]
    value: String,
    #[migrate(map(C = nothing))]
    word: String,
    #[migrate(map(D))]
    alone: String,
    #[migrate(map(A = "active", B = "inactive", A = "x"))]
    twice: String,
    #[migrate(map("A" = "A"))]
    itself: String,
}

fn main() {}
