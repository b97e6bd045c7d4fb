//! References that point to nothing, in the target as it is: of the models that are compared, and
//! of others to them.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;

use super::{MOST_NAMED, Named, OrphanReference, ReferenceReport, Report};
use crate::context::Context;
use crate::ddl::foreign_keys;
use crate::error::Result;
use crate::schema::{Model, RegistryFacts, quote_ident};
use crate::sink::{Connection, target_error};

/// References that are rightly NULL, by model and column.
#[derive(Debug, Default)]
pub(super) struct Nulled(HashMap<(&'static str, String), u64>);

impl Nulled {
    pub(super) fn add(&mut self, model: &'static Model, column: &str, count: u64) {
        *self.0.entry((model.name, column.to_owned())).or_default() += count;
    }

    fn of(&self, model: &Model, column: &str) -> u64 {
        self.0.get(&(model.name, column.to_owned())).copied().unwrap_or_default()
    }
}

/// Looks every reference up that concerns a model that is compared. A foreign key that holds needs
/// no such look; one that is off, or was put back without a check, does.
pub(super) async fn compare(
    context: &Context,
    connection: &mut Connection,
    loaded: &'static RegistryFacts,
    compared: &HashSet<&'static str>,
    nulled: &Nulled,
    report: &mut Report,
) -> Result<()> {
    let names = context.names();
    for (model, _) in loaded.iter() {
        for foreign in foreign_keys(model) {
            if !compared.contains(model.name) && !compared.contains(foreign.target.name) {
                continue;
            }
            context.check_stop()?;
            let act = format!("following {}.{}", model.table, foreign.column.name);
            let column = quote_ident(foreign.column.name);
            let table = names.table(model);
            let orphan = format!(
                "FROM {table} t WHERE t.{column} IS NOT NULL
                    AND NOT EXISTS (SELECT FROM {} p WHERE p.{} = t.{column})",
                names.table(foreign.target),
                quote_ident(foreign.key.name)
            );
            let mut orphans = Named {
                count: connection.count(&act, format!("SELECT count(*) {orphan}"), &[]).await?,
                first: Vec::new(),
            };
            if orphans.count > 0 {
                // A junction's row has no key beside its two references.
                let key: Vec<String> = model
                    .primary_key()
                    .map(|column| format!("t.{}::text", quote_ident(column.name)))
                    .collect();
                let rows = connection
                    .query(
                        &act,
                        format!(
                            "SELECT concat_ws(', ', {}), t.{column}::text {orphan}
                             ORDER BY 1 LIMIT {MOST_NAMED}",
                            key.join(", ")
                        ),
                        &[],
                    )
                    .await?;
                for row in &rows {
                    let get = |error| target_error(&act, error);
                    orphans.first.push(OrphanReference {
                        key: row.try_get(0).map_err(get)?,
                        value: row.try_get(1).map_err(get)?,
                    });
                }
            }
            report.references.push(ReferenceReport {
                table: model.table.to_owned(),
                column: foreign.column.name.to_owned(),
                target: foreign.target.table.to_owned(),
                key: foreign.key.name.to_owned(),
                references: connection
                    .count(&act, format!("SELECT count({column}) FROM {table}"), &[])
                    .await?,
                orphans,
                noted: connection
                    .count(
                        &act,
                        format!(
                            "SELECT count(*) FROM {} WHERE {} AND column_name = $1 AND NOT element",
                            context.state.table("orphan"),
                            context.names().is_noted(model)
                        ),
                        &[Some(foreign.column.name)],
                    )
                    .await?,
                nulled: nulled.of(model, foreign.column.name),
            });
        }
    }
    Ok(())
}
