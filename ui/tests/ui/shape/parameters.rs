//! A model has no parameters.

use migrate_core::{Migrate, PgEnum};
use uuid::Uuid;

#[derive(Migrate)]
struct Users<'a> {
    #[migrate(id)]
    id: Uuid,
    name: &'a str,
}

#[derive(Migrate)]
struct Teams<T: Clone, const N: usize> {
    #[migrate(id)]
    id: T,
    #[migrate(nmae)]
    name: [u8; N],
}

#[derive(PgEnum)]
enum Status<'a> {
    Active(&'a str),
}

fn main() {}
