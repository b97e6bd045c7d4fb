//! A PostgreSQL enum has labels and nothing else.

use migrate_core::PgEnum;

#[derive(PgEnum)]
struct Status {
    active: bool,
}

#[derive(PgEnum)]
enum Empty {}

#[derive(PgEnum)]
enum Full {
    Text(String),
    Number { value: i32 },
    None,
}

fn main() {}
