//! `sample_analytics` into PostgreSQL; see the library for the models.
//!
//! ```text
//! cargo run -p analytics -- plan
//! cargo run -p analytics -- run --source ./dump/sample_analytics --target postgres://me@localhost/analytics
//! ```

fn main() -> std::process::ExitCode {
    migrate_cli::main::<analytics::Analytics>()
}
