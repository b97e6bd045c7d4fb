//! `migrate schema`: the statements that make what the models describe, printed or run; the target
//! compared with the models, and given back what a run took off it.

use migrate_core::ddl::{self, Names};
use migrate_core::deferred::{self, Restored};
use migrate_core::run::{Options, Stop};
use migrate_core::schema::RegistryFacts;
use migrate_core::sink::Target;
use migrate_core::state::State;
use migrate_core::{Error, ErrorKind, existing};

use super::signals;
use crate::address::redact;
use crate::cli::ProgressKind;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::reporter;

/// The statements as a script.
pub(crate) fn print(registry: &'static RegistryFacts, schema: &str) -> String {
    let statements = ddl::statements(registry, Names { schema });
    let statements: Vec<String> =
        statements.into_iter().map(|statement| statement.sql + ";").collect();
    statements.join("\n\n")
}

/// Runs the statements in one transaction.
pub(crate) async fn apply(
    registry: &'static RegistryFacts,
    target: &str,
    schema: &str,
    printer: Printer,
) -> Result<Outcome, Error> {
    let mut connection = Target::parse(target)?.connect().await?;
    let statements = ddl::statements(registry, Names { schema });
    connection.execute("begin", "BEGIN").await?;
    for statement in &statements {
        let act = format!("make `{}`", statement.name);
        // What is open when the connection goes is rolled back by the server.
        connection.execute(&act, statement.sql.as_str()).await.map_err(|error| {
            match error.kind() {
                // Nothing is loaded here, so the usual hint would be wrong.
                ErrorKind::Target if error.hint() == ErrorKind::Target.hint() => error.with_hint(
                    "nothing was made; see what is there with `migrate schema diff`, then drop it or take another schema with `--schema`",
                ),
                _ => error,
            }
        })?;
    }
    connection.execute("commit", "COMMIT").await?;
    connection.close().await;
    printer.note(format_args!(
        "{} statements made the schema of {} in `{}`",
        statements.len(),
        registry.name,
        redact(target)
    ));
    Ok(Outcome::Clean)
}

/// Compares the tables in the target with the models.
pub(crate) async fn diff(
    registry: &'static RegistryFacts,
    target: &str,
    schema: &str,
    state_schema: &str,
    json: bool,
    printer: Printer,
) -> Result<Outcome, Error> {
    let names = Names { schema };
    let mut connection = Target::parse(target)?.connect().await?;
    let state = State::new(state_schema);
    let unfinished = match state.exists(&mut connection).await? {
        // A state of another version says nothing about the tables.
        true => state.last_run(&mut connection).await.ok().flatten().filter(|run| !run.finished),
        false => None,
    };
    let there = existing::tables(&mut connection, registry, names).await?.len();
    let mut differences = existing::compare(&mut connection, registry, names).await?;
    differences.extend(existing::compare_keys(&mut connection, registry, names).await?);
    connection.close().await;
    if json {
        let text = serde_json::to_string_pretty(&differences)
            .map_err(|error| Error::new(ErrorKind::File, "cannot write JSON").caused_by(error))?;
        printer.data(text);
    } else {
        for difference in &differences {
            let mark = if difference.harmless { "harmless  " } else { "in the way" };
            printer.data(format_args!("{mark}  {difference}"));
        }
    }
    let harmless = differences.iter().filter(|difference| difference.harmless).count();
    printer.note(format_args!(
        "{there} of {} tables are there: {} differences in the way of a run, {harmless} harmless",
        registry.iter().count(),
        differences.len() - harmless,
    ));
    if let Some(run) = unfinished {
        printer.note(format_args!(
            "run {} is not finished: it builds keys and indexes at its end, and puts back those that it took off",
            run.run
        ));
    }
    Ok(if harmless == differences.len() { Outcome::Clean } else { Outcome::Differs })
}

/// Puts back what the last run has taken off and not put back.
pub(crate) async fn restore(
    target: &str,
    options: &Options,
    printer: Printer,
) -> Result<Outcome, Error> {
    let target = Target::parse(target)?;
    let mut connection = target.connect().await?;
    let state = State::new(&options.state_schema);
    let run = match state.exists(&mut connection).await? {
        true => state.last_run(&mut connection).await?,
        false => None,
    };
    let Some(run) = run else {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("the target has no run in the schema `{}`", options.state_schema),
        )
        .with_hint("name the schema with `--state-schema`, or the right target with `--target`"));
    };
    connection.close().await;
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer)?;
    let reporter = reporter::new(ProgressKind::Auto, printer);
    let Restored { back, gone } =
        deferred::restore(&target, &state, &run, &reporter, &stop).await?;
    drop(reporter);
    printer.note(match (back, gone.len()) {
        (0, 0) => format!("run {} has nothing off: every key and index is on", run.run),
        (1, _) => "1 definition was put back".to_owned(),
        (more, _) => format!("{more} definitions were put back"),
    });
    Ok(Outcome::Clean)
}
