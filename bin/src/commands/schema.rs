//! `migrate schema`: the statements that make what the models describe, printed or run.

use migrate_core::Error;
use migrate_core::ddl::{self, Names};
use migrate_core::schema::RegistryFacts;
use migrate_core::sink::Target;

use crate::address::redact;
use crate::exit::Outcome;
use crate::printer::Printer;

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
        connection.execute(&act, statement.sql.as_str()).await?;
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
