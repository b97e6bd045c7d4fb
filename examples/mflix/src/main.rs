//! `sample_mflix` into PostgreSQL; see the library for the models.
//!
//! ```text
//! cargo run -p mflix -- plan
//! cargo run -p mflix -- run --source ./dump/sample_mflix --target postgres://me@localhost/mflix
//! ```

fn main() -> std::process::ExitCode {
    migrate_cli::main::<mflix::Mflix>()
}
