//! The `migrate` command line for any registry of models. A project of your own is a crate of
//! models and this `main`:
//!
//! ```no_run
//! # mod my_models { pub use models::NextCrm as MyModels; }
//! fn main() -> std::process::ExitCode {
//!     migrate_cli::main::<my_models::MyModels>()
//! }
//! ```
//!
//! The whole of it, models included, is `bin/examples/own_models.rs`.
//!
//! # Features
//!
//! - `nextcrm` (default): the binary `migrate` with the models of NextCRM. Leave it out for a
//!   command of your own.

mod address;
mod allocator;
mod cli;
mod commands;
mod exit;
pub mod generate;
mod html;
mod printer;
mod report;
mod reporter;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use migrate_core::schema::RegistryFacts;
use migrate_core::{Error, ErrorKind, Registry};

use crate::cli::{Cli, Command, Ids, Schema};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::settings::{File, RunSettings, ValidateSettings};

/// Runs the command line of this process for the models of `R`, and gives its exit code back.
///
/// It reads the arguments, the environment and `migrate.toml`, writes to stdout and stderr, and
/// handles SIGINT and SIGTERM. Usage errors and `--help` end the process.
pub fn main<R: Registry>() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let printer = Printer::new(cli.global.quiet);
    init_tracing();
    allocator::set();
    let mut addresses = Vec::new();
    match run(R::FACTS, cli, printer, &mut addresses) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            printer.error(report::error_text(&error, &addresses));
            exit::of_error(error.kind())
        }
    }
}

/// Shows help, or what is wrong with the arguments; an address that stands where none belongs is
/// repeated without its password.
fn usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let addresses: Vec<&str> = arguments.iter().filter_map(|text| address::within(text)).collect();
    if addresses.is_empty() || !error.use_stderr() {
        // The reader may have gone.
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let text = addresses.iter().fold(text, |text, address| address::scrub(&text, address));
        Printer::new(false).error(text.trim_end());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Runs a command. The addresses it works with are added to `addresses`, so that an error can be
/// shown without their passwords.
fn run(
    registry: &'static RegistryFacts,
    cli: Cli,
    printer: Printer,
    addresses: &mut Vec<String>,
) -> Result<Outcome, Error> {
    let file = File::load(&cli.global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A job may read a dump and take children out of it, each on a thread of its own.
        .max_blocking_threads(2_048)
        .build()
        .map_err(|error| Error::new(ErrorKind::File, "cannot start threads").caused_by(error))?;
    match cli.command {
        Command::Run(run) => {
            let settings = RunSettings::new(*run, file)?;
            addresses.extend([settings.source.clone(), settings.target.clone()]);
            runtime.block_on(commands::run::run(registry, settings, printer))
        }
        Command::Validate(validate) => {
            let settings = ValidateSettings::new(validate, file)?;
            addresses.extend([settings.source.clone(), settings.target.clone()]);
            runtime.block_on(commands::validate::validate(registry, settings, printer))
        }
        Command::Status(arguments) => {
            let (target, options) = file.state(arguments.state)?;
            addresses.push(target.clone());
            let look = commands::status::Look {
                run: arguments.run,
                watch: arguments.watch.map(|seconds| Duration::from_secs(seconds.into())),
                json: arguments.json,
            };
            runtime.block_on(commands::status::status(registry, &target, &options, look, printer))
        }
        Command::Report(arguments) => {
            let validation = commands::report::Validation::new(arguments.validation, &file);
            let (target, options) = file.state(arguments.state)?;
            addresses.push(target.clone());
            runtime.block_on(commands::report::report(
                registry,
                &target,
                &options,
                arguments.run,
                validation,
                &arguments.out,
                printer,
            ))
        }
        Command::Plan(plan) => {
            printer.data(commands::plan::plan(registry, plan.format));
            Ok(Outcome::Clean)
        }
        Command::Schema(Schema::Print(arguments)) => {
            printer.data(commands::schema::print(registry, &file.schema(arguments.schema)));
            Ok(Outcome::Clean)
        }
        Command::Schema(Schema::Apply(arguments)) => {
            let target = file.target(arguments.target)?;
            addresses.push(target.clone());
            let schema = file.schema(arguments.schema);
            runtime.block_on(commands::schema::apply(registry, &target, &schema, printer))
        }
        Command::Schema(Schema::Diff(arguments)) => {
            let target = file.target(arguments.target)?;
            addresses.push(target.clone());
            let schema = file.schema(arguments.schema);
            runtime.block_on(commands::schema::diff(
                registry,
                &target,
                &schema,
                &file.state_schema(),
                arguments.json,
                printer,
            ))
        }
        Command::Schema(Schema::Restore(arguments)) => {
            let (target, options) = file.state(arguments)?;
            addresses.push(target.clone());
            runtime.block_on(commands::schema::restore(&target, &options, printer))
        }
        Command::Rejects(command) => runtime
            .block_on(commands::rejects::rejects(registry, command, &file, printer, addresses)),
        Command::Ids(Ids::Export(arguments)) => {
            let (target, options) = file.state(arguments.state)?;
            addresses.push(target.clone());
            runtime.block_on(commands::ids::export(
                registry,
                &target,
                &options,
                arguments.collection.as_deref(),
                arguments.out.as_deref(),
                printer,
            ))
        }
        Command::Generate(arguments) => {
            addresses.extend(arguments.to.target_mongo.clone());
            runtime.block_on(commands::generate::generate(registry, arguments, printer))
        }
        Command::Bench(arguments) => {
            runtime.block_on(commands::bench::bench(registry, arguments, printer))
        }
        Command::Demo(arguments) => {
            runtime.block_on(commands::demo::demo(registry, arguments, printer))
        }
    }
}

/// Shows what the libraries log, for whoever sets `MIGRATE_LOG`, as in `MIGRATE_LOG=debug`.
fn init_tracing() {
    let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("MIGRATE_LOG") else { return };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// The example of the README is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
