//! `sakila` into PostgreSQL; see the library for the models.
//!
//! ```text
//! cargo run -p sakila -- plan
//! cargo run -p sakila -- run --source ./dump/sakila --target postgres://me@localhost/sakila
//! ```

fn main() -> std::process::ExitCode {
    migrate_cli::main::<sakila::Sakila>()
}
