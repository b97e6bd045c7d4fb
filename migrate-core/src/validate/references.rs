//! References that point to nothing, in the target as it is: of the models that are compared, and
//! of others to them.
//!
//! Where the hashes of all keys are in memory, a reference is followed there: those of a junction
//! as its pairs are scanned, those of a table as its rows are found to be what the documents say.
//! Only where that leaves a doubt does PostgreSQL look for the rows. Foreign keys that hold would
//! say the same, but what is validated is the rows and not the promise.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Row as _;
use tokio::task::JoinSet;

use super::hashes::Hashes;
use super::{MOST_NAMED, OrphanReference, ReferenceReport, Report, WorkerConnections};
use crate::context::Context;
use crate::ddl::{Foreign, foreign_keys};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger;
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

/// One reference that is followed by the hashes of the keys that it may lead to.
pub(super) struct Link {
    foreign: Foreign,
    /// The column's place in its model.
    pub(super) place: usize,
    keys: Arc<Hashes<u64>>,
    references: AtomicU64,
    is_doubtful: AtomicBool,
}

impl Link {
    /// The links of a model to those tables whose keys are hashed, by their models' names; in the
    /// order of their columns.
    pub(super) fn all(
        model: &'static Model,
        hashed: &HashMap<&'static str, Arc<Hashes<u64>>>,
    ) -> Vec<Self> {
        let link = |foreign: Foreign| {
            // What is hashed is the id, in the form of its type.
            let is_key = foreign.target.id().is_some_and(|id| id.name == foreign.key.name)
                && foreign.key.ty == foreign.column.ty;
            let keys = hashed.get(foreign.target.name).filter(|_| is_key)?;
            let (place, _) = model.column(foreign.column.name)?;
            Some(Self {
                place,
                keys: Arc::clone(keys),
                foreign,
                references: AtomicU64::new(0),
                is_doubtful: AtomicBool::new(false),
            })
        };
        let mut links: Vec<Self> = foreign_keys(model).into_iter().filter_map(link).collect();
        links.sort_by_key(|link| link.place);
        links
    }

    /// Counts references of the target, whether they lead anywhere or not.
    pub(super) fn count(&self, references: u64) {
        self.references.fetch_add(references, Ordering::Relaxed);
    }

    /// Follows one reference of the target, by the hash of the key that it names.
    pub(super) fn follow(&self, key: u64) {
        if !self.keys.has(key) {
            self.doubt();
        }
    }

    /// Notes that not all references are followed, or that one leads nowhere: PostgreSQL is to say.
    pub(super) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    /// Lets PostgreSQL follow the references of rows of the target.
    pub(super) async fn follow_rows(
        links: &[Self],
        context: &Context,
        connection: &mut Connection,
        act: &str,
        rows: &str,
    ) -> Result<()> {
        let lost: Vec<String> = links
            .iter()
            .map(|Self { foreign, .. }| {
                let (column, key) =
                    (quote_ident(foreign.column.name), quote_ident(foreign.key.name));
                let target = context.names().table(foreign.target);
                format!(
                    "count(*) FILTER (WHERE t.{column} IS NOT NULL
                        AND NOT EXISTS (SELECT FROM {target} p WHERE p.{key} = t.{column}))"
                )
            })
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let found =
            connection.query(act, format!("SELECT {} {rows}", lost.join(", ")), &[]).await?;
        for (index, link) in links.iter().enumerate() {
            for row in &found {
                let lost: i64 = row.try_get(index).map_err(|error| target_error(act, error))?;
                if lost > 0 {
                    link.doubt();
                }
            }
        }
        Ok(())
    }
}

/// References that lead to a row, all of them, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Followed(HashMap<(&'static str, &'static str), u64>);

impl Followed {
    /// Takes over what was followed of a model's references, where there is no doubt.
    pub(super) fn add(&mut self, model: &'static Model, links: &[Link]) {
        for link in links.iter().filter(|link| !link.is_doubtful.load(Ordering::Relaxed)) {
            let references = link.references.load(Ordering::Relaxed);
            self.0.insert((model.name, link.foreign.column.name), references);
        }
    }

    fn of(&self, model: &Model, foreign: &Foreign) -> Option<u64> {
        self.0.get(&(model.name, foreign.column.name)).copied()
    }
}

/// Looks every reference up that concerns a model that is compared and was not followed already.
pub(super) async fn compare(
    context: &Arc<Context>,
    connection: &mut Connection,
    loaded: &'static RegistryFacts,
    compared: &HashSet<&'static str>,
    (nulled, followed): (&Nulled, &Followed),
    report: &mut Report,
) -> Result<()> {
    // The references that runs have made NULL.
    let noted = ledger::by_table(
        connection,
        &format!(
            "SELECT table_schema, table_name, column_name, count(*) FROM {} WHERE NOT element
             GROUP BY 1, 2, 3",
            context.state.table("orphan")
        ),
    )
    .await?;
    let all = loaded.iter().flat_map(|(model, _)| {
        foreign_keys(model).into_iter().map(move |foreign| (model, foreign))
    });
    let wanted: Vec<(&'static Model, Foreign)> = all
        .filter(|(model, foreign)| {
            compared.contains(model.name) || compared.contains(foreign.target.name)
        })
        .collect();
    let mut found = Vec::new();
    let mut open = Vec::new();
    for (place, (model, foreign)) in wanted.into_iter().enumerate() {
        match followed.of(model, &foreign) {
            Some(references) => {
                let reference = ReferenceReport { references, ..named(model, &foreign) };
                found.push((place, (model, foreign), reference));
            }
            None => open.push((place, (model, foreign))),
        }
    }
    let mut workers = JoinSet::new();
    let jobs = context.options.jobs().min(open.len());
    let queue = Arc::new(Mutex::new(open.into_iter()));
    let connections = WorkerConnections::default();
    for _ in 0..jobs {
        let (context, queue) = (Arc::clone(context), Arc::clone(&queue));
        let connections = connections.clone();
        workers.spawn(async move {
            let Some(mut connection) = connections.next(&context).await? else {
                return Ok(Vec::new());
            };
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
    while let Some(worker) = workers.join_next().await {
        found.extend(worker.map_err(|error| {
            Error::new(ErrorKind::Target, "a worker broke off").caused_by(error)
        })??);
    }
    found.sort_by_key(|(place, ..)| *place);
    report.references.extend(found.into_iter().map(|(_, (model, foreign), mut reference)| {
        reference.nulled = nulled.of(model, foreign.column.name);
        let its = noted.get(&context.names().table(model));
        reference.noted =
            its.and_then(|its| its.get(foreign.column.name)).copied().unwrap_or_default();
        reference
    }));
    Ok(())
}

/// The report of a reference, without what is found.
fn named(model: &Model, foreign: &Foreign) -> ReferenceReport {
    ReferenceReport {
        table: model.table.to_owned(),
        column: foreign.column.name.to_owned(),
        target: foreign.target.table.to_owned(),
        key: foreign.key.name.to_owned(),
        ..ReferenceReport::default()
    }
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
        references: connection
            .count(&act, format!("SELECT count({column}) FROM {table}"), &[])
            .await?,
        ..named(model, foreign)
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
    Ok(reference)
}
