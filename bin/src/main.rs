//! The `migrate` command for NextCRM.

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate_cli::main::<models::NextCrm>()
}
