//! References that point to nothing, in the target as it is: of the models that are compared, and
//! of others to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Row as _;
use tokio::task::JoinSet;

use super::{MOST_NAMED, OrphanReference, ReferenceReport, Report};
use crate::context::Context;
use crate::ddl::{Foreign, foreign_keys};
use crate::error::{Error, ErrorKind, Result};
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
    context: &Arc<Context>,
    loaded: &'static RegistryFacts,
    compared: &HashSet<&'static str>,
    nulled: &Nulled,
    report: &mut Report,
) -> Result<()> {
    let all = loaded.iter().flat_map(|(model, _)| {
        foreign_keys(model).into_iter().map(move |foreign| (model, foreign))
    });
    let wanted: Vec<(&'static Model, Foreign)> = all
        .filter(|(model, foreign)| {
            compared.contains(model.name) || compared.contains(foreign.target.name)
        })
        .collect();
    let queue = Arc::new(Mutex::new(wanted.into_iter().enumerate()));
    let mut workers = JoinSet::new();
    for _ in 0..context.options.jobs() {
        let (context, queue) = (Arc::clone(context), Arc::clone(&queue));
        workers.spawn(async move {
            let mut connection = context.target.connect().await?;
            connection.execute("preparing a comparison", "SET work_mem = '64MB'").await?;
            let mut found = Vec::new();
            loop {
                context.check_stop()?;
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((place, (model, foreign))) = next else { break };
                let reference = follow(&context, &mut connection, model, &foreign).await?;
                found.push((place, (model, foreign), reference));
            }
            connection.close().await;
            Ok::<_, Error>(found)
        });
    }
    let mut found = Vec::new();
    while let Some(worker) = workers.join_next().await {
        found.extend(worker.map_err(|error| {
            Error::new(ErrorKind::Target, "a worker broke off").caused_by(error)
        })??);
    }
    found.sort_by_key(|(place, ..)| *place);
    report.references.extend(found.into_iter().map(|(_, (model, foreign), mut reference)| {
        reference.nulled = nulled.of(model, foreign.column.name);
        reference
    }));
    Ok(())
}

/// Follows one reference; what is rightly NULL is not counted.
async fn follow(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    foreign: &Foreign,
) -> Result<ReferenceReport> {
    let names = context.names();
    let act = format!("following {}.{}", model.table, foreign.column.name);
    let column = quote_ident(foreign.column.name);
    let table = names.table(model);
    let target = names.table(foreign.target);
    let key = quote_ident(foreign.key.name);
    let orphan = format!(
        "FROM {table} t WHERE t.{column} IS NOT NULL
            AND NOT EXISTS (SELECT FROM {target} p WHERE p.{key} = t.{column})"
    );
    let mut reference = ReferenceReport {
        table: model.table.to_owned(),
        column: foreign.column.name.to_owned(),
        target: foreign.target.table.to_owned(),
        key: foreign.key.name.to_owned(),
        references: connection
            .count(&act, format!("SELECT count({column}) FROM {table}"), &[])
            .await?,
        ..ReferenceReport::default()
    };
    reference.orphans.count =
        connection.count(&act, format!("SELECT count(*) {orphan}"), &[]).await?;
    if reference.orphans.count > 0 {
        // A junction's row has no key beside its two references.
        let own: Vec<String> = model
            .primary_key()
            .map(|column| format!("t.{}::text", quote_ident(column.name)))
            .collect();
        let rows = connection
            .query(
                &act,
                format!(
                    "SELECT concat_ws(', ', {}), t.{column}::text {orphan}
                     ORDER BY 1 LIMIT {MOST_NAMED}",
                    own.join(", ")
                ),
                &[],
            )
            .await?;
        for row in &rows {
            let get = |error| target_error(&act, error);
            reference.orphans.first.push(OrphanReference {
                key: row.try_get(0).map_err(get)?,
                value: row.try_get(1).map_err(get)?,
            });
        }
    }
    reference.noted = connection
        .count(
            &act,
            format!(
                "SELECT count(*) FROM {} WHERE {} AND column_name = $1 AND NOT element",
                context.state.table("orphan"),
                names.is_noted(model)
            ),
            &[Some(foreign.column.name)],
        )
        .await?;
    Ok(reference)
}
