//! The `migrate` command for NextCRM once more, as a program of this package: a test can start,
//! and kill, only the programs of its own package.

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate_cli::main::<models::NextCrm>()
}
