//! `gipfel` into PostgreSQL; see the library for the models.
//!
//! ```text
//! cargo run -p gipfel -- plan
//! cargo run -p gipfel -- run --source ./dump/gipfel --target postgres://me@localhost/gipfel
//! ```

fn main() -> std::process::ExitCode {
    migrate_cli::main::<gipfel::Gipfel>()
}
