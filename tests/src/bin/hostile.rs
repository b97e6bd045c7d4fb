//! The command line for models with hostile names.

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate_cli::main::<migrate_tests::hostile::Hostile>()
}
