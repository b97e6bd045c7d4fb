//! The repair: the rows and pairs that a validation has found to differ are loaded again, and no
//! others.
//!
//! Rows go through the same temporary table as those of a chunk whose constraints stay on
//! ([`kept`]), are settled there, and replace or join what is in the table. A slice of rows is one
//! transaction, with everything that the state says about them; what is not done when the repair
//! breaks off still differs, so the same command finds it again.
//!
//! Foreign keys and unique keys stay on, so not every row can be mended at once: one that has to
//! wait for another stays on the list, and the list is gone through until nothing moves.

use std::collections::{BTreeMap, HashSet};
use std::error::Error as _;
use std::sync::Arc;

use bson::Bson;
use bson::spec::ElementType;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::junctions::{Elements, expected_pairs, rows_before};
use super::look::{Cursor, Fault, REPAIRS, keep_repairs, texts};
use super::{Prepared, Report, Request};
use crate::context::Context;
use crate::ddl::{Names, foreign_keys, list};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Reporter;
use crate::rejects::{self, Retried};
use crate::run::{self, Options, Stop};
use crate::schema::{Model, ModelKind, Orphan, RegistryFacts, quote_ident};
use crate::settle::{self, Settled, id_column};
use crate::sink::{Connection, sql_state, target_error};
use crate::source::Source;
use crate::source_id;
use crate::state::RunRow;
use crate::transform::Output;
use crate::value::Value;
use crate::{kept, ledger, load, preflight, report};

/// How many rows are mended in one transaction.
const SLICE: usize = 500;

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repaired {
    /// Rows that were missing.
    pub inserted: u64,
    /// Rows with cells that differed.
    pub replaced: u64,
    /// Rows that no document had given.
    pub deleted: u64,
    /// Documents that are in the ledger now, because they cannot be loaded beside the others.
    pub rejected: u64,
    /// Pairs of junctions that were missing.
    pub pairs_inserted: u64,
    /// Pairs of junctions that no array asks for.
    pub pairs_deleted: u64,
    /// The same by table and junction, in the order in which they were first changed.
    #[serde(default)]
    pub tables: Vec<RepairedTable>,
    /// What could not be mended, a sentence each; the first [`MOST_NAMED`](super::MOST_NAMED).
    pub left: Vec<String>,
    /// Whether the sums of the runs hold afterwards; false where the repair did not come to them.
    pub balanced: bool,
    /// Why the repair ended early. What is said above is in the target all the same, and the
    /// report's other parts are those of the comparison before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a repair has done to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedTable {
    /// The table.
    pub table: String,
    /// Rows that were missing.
    pub inserted: u64,
    /// Rows with cells that differed.
    pub replaced: u64,
    /// Rows that no document had given.
    pub deleted: u64,
    /// Documents that are in the ledger now.
    pub rejected: u64,
    /// Pairs that were missing, of the junction, or of all that came back with rows of the table.
    pub pairs_inserted: u64,
    /// Pairs that no array asks for, of the junction, or of all that went with rows of the table.
    pub pairs_deleted: u64,
}

impl Repaired {
    /// Adds what was committed for a table.
    fn add(&mut self, change: RepairedTable) {
        if change == (RepairedTable { table: change.table.clone(), ..RepairedTable::default() }) {
            return;
        }
        let index = self.tables.iter().position(|table| table.table == change.table);
        let index = index.unwrap_or_else(|| {
            let table = change.table.clone();
            self.tables.push(RepairedTable { table, ..RepairedTable::default() });
            self.tables.len() - 1
        });
        let table = &mut self.tables[index];
        for (all, of_table, more) in [
            (&mut self.inserted, &mut table.inserted, change.inserted),
            (&mut self.replaced, &mut table.replaced, change.replaced),
            (&mut self.deleted, &mut table.deleted, change.deleted),
            (&mut self.rejected, &mut table.rejected, change.rejected),
            (&mut self.pairs_inserted, &mut table.pairs_inserted, change.pairs_inserted),
            (&mut self.pairs_deleted, &mut table.pairs_deleted, change.pairs_deleted),
        ] {
            *all += more;
            *of_table += more;
        }
    }
}

/// A repair that ended early, and how far it had come.
#[derive(Debug)]
pub struct BrokenOff {
    /// Why.
    pub error: Error,
    /// What differed before, with what was mended since; `None` where nothing was begun.
    pub report: Option<Box<Report>>,
}

impl From<Error> for BrokenOff {
    fn from(error: Error) -> Self {
        Self { error, report: None }
    }
}

impl BrokenOff {
    /// A repair that had done that much.
    fn new(error: Error, mut before: Report, mut done: Repaired) -> Self {
        let mut failed = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            failed = format!("{failed}: {error}");
            cause = error.source();
        }
        done.failed = Some(failed);
        let error = match error.kind() {
            ErrorKind::Interrupted => error,
            _ => error.with_hint(match before.structure.is_empty() {
                true => {
                    "mend the cause, then give the same command again: what is repaired stays so, and the rest is found again"
                }
                false => {
                    "a repair loads rows and changes no definitions: mend those that differ, for which `migrate schema diff` has the statements, then give the same command again: what is repaired stays so, and the rest is found again"
                }
            }),
        };
        before.repaired = Some(done);
        Self { error, report: Some(Box::new(before)) }
    }
}

/// Compares as [`validate`](super::validate) does, and loads what differs again, once `agree` has
/// said yes to the report. Then the tables concerned are compared again: that report is given,
/// with what was done. Definitions are not repaired.
///
/// # Errors
/// As those of [`validate`](super::validate). Slices that were committed stay mended, and the error
/// comes with what they were.
#[expect(clippy::too_many_arguments, reason = "those of `validate`, and the question")]
pub async fn repair(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    request: &Request,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
    agree: &(dyn Fn(&Report) -> bool + Send + Sync),
) -> Result<Report, BrokenOff> {
    if request.sample.is_some() {
        return Err(Error::new(ErrorKind::Usage, "a sample cannot be repaired")
            .with_hint("leave `--sample` out, so that everything that differs is found")
            .into());
    }
    if request.independent {
        return Err(Error::new(
            ErrorKind::Usage,
            "what the transformer does wrong cannot be repaired by loading it again",
        )
        .with_hint("leave `--repair` or `--independent` out")
        .into());
    }
    let mut prepared =
        super::prepare(registry, source, target, options, request, reporter, stop).await?;
    keep_repairs(&mut prepared.connection).await?;
    let (before, elements) = super::compare(&mut prepared, true).await?;
    let rows: u64 = before
        .tables
        .iter()
        .map(|table| table.missing.count + table.cells.count + table.extra.count)
        .sum();
    let pairs: u64 = before.junctions.iter().map(|junction| junction.differences()).sum();
    let only_sums = rows + pairs == 0;
    let nothing = only_sums && !sums_are_left(&mut prepared, &before).await?;
    if nothing || !agree(&before) {
        prepared.connection.close().await;
        return Ok(before);
    }
    let concerned = match only_sums {
        true => prepared.compared.clone(),
        false => concerned(&prepared, &before),
    };
    let mut repair = Repair::new(prepared, options, elements.unwrap_or_default()).await?;
    let mended = repair.mend(&before).await;
    let Repair { mut prepared, mut done, .. } = repair;
    let after = match mended {
        Ok(()) => look_again(&mut prepared, &concerned).await,
        Err(error) => {
            done.balanced = false;
            Err(error)
        }
    };
    match after {
        Ok(mut after) => {
            // Definitions are not repaired, and those of the other tables are as they were.
            after.structure = before.structure;
            after.clean = after.differences() == 0 && after.orphans() == 0;
            after.repaired = Some(done);
            prepared.connection.close().await;
            Ok(after)
        }
        Err(error) => Err(BrokenOff::new(error, before, done)),
    }
}

/// Compares the models of those names, after a repair.
async fn look_again(prepared: &mut Prepared, concerned: &HashSet<&'static str>) -> Result<Report> {
    prepared.connection.execute("ending a repair", "DISCARD TEMP").await?;
    prepared.compared.retain(|name| concerned.contains(name));
    prepared.scope.models = prepared
        .loaded
        .iter()
        .filter(|(model, _)| prepared.compared.contains(model.name))
        .map(|(model, _)| model.name.to_owned())
        .collect();
    let (after, _) = super::compare(prepared, false).await?;
    Ok(after)
}

/// Whether the notes about the source's documents and elements are not of the source as it is,
/// although all rows are: where a repair broke off before it came to them.
async fn sums_are_left(prepared: &mut Prepared, report: &Report) -> Result<bool> {
    if !report.tables.iter().all(|table| table.counts_hold) {
        return Ok(false);
    }
    for table in &report.tables {
        for (count, documents) in [("read", table.source), ("skipped", table.skipped)] {
            let Prepared { context, connection, .. } = prepared;
            if noted(context, connection, &table.model, count).await? != documents {
                return Ok(true);
            }
        }
    }
    Ok(report.junctions.iter().any(|junction| !junction.counts_hold))
}

/// The models whose rows or pairs may change: those that differ, those that refer to them, and
/// their junctions.
fn concerned(prepared: &Prepared, report: &Report) -> HashSet<&'static str> {
    let differs = |model: &Model| {
        report.tables.iter().any(|table| table.model == model.name && table.differences() > 0)
            || report
                .junctions
                .iter()
                .any(|junction| junction.model == model.name && junction.differences() > 0)
    };
    let models = || prepared.loaded.iter().map(|(model, _)| model);
    let refers =
        |model: &'static Model| foreign_keys(model).iter().any(|foreign| differs(foreign.target));
    models().filter(|model| differs(model) || refers(model)).map(|model| model.name).collect()
}

/// A repair at work.
struct Repair {
    prepared: Prepared,
    elements: Elements,
    /// One context per run, for the notes that belong to it, the last one last.
    contexts: Vec<Context>,
    done: Repaired,
}

impl Repair {
    async fn new(mut prepared: Prepared, options: &Options, elements: Elements) -> Result<Self> {
        let loaded = prepared.loaded;
        let server_version = preflight::server(&mut prepared.connection).await?.version;
        let runs = prepared.context.state.runs(&mut prepared.connection).await?;
        let mut contexts = Vec::with_capacity(runs.len());
        for mut run in runs {
            // Every key is on by now, so all tables are loaded as those whose constraints are kept.
            run.created.tables.clear();
            let options = Options { keep_constraints: true, ..options.clone() };
            let origins = run::origins(loaded);
            let names = Names { schema: &options.schema };
            let oids = preflight::enum_oids(&mut prepared.connection, loaded, names).await?;
            let transformers =
                run::transformers(prepared.whole, loaded, server_version, run.ids, oids, &origins)?;
            let shared = &prepared.context;
            contexts.push(Context {
                idle: Default::default(),
                stages: Default::default(),
                lookups: Default::default(),
                read_ahead: Default::default(),
                large_rows: Context::large_rows(&options),
                registry: loaded,
                source: Arc::clone(&shared.source),
                target: shared.target.clone(),
                state: shared.state.clone(),
                run,
                options,
                reporter: Arc::clone(&shared.reporter),
                stop: shared.stop.clone(),
                watch: shared.watch.clone(),
                transformers,
                origins,
            });
        }
        Ok(Self { prepared, elements, contexts, done: Repaired::default() })
    }

    /// Mends rows and pairs, and makes the sums again. `self.done` has what was committed, also when
    /// it fails.
    async fn mend(&mut self, before: &Report) -> Result<()> {
        self.rows().await?;
        self.junctions().await?;
        self.sums(before).await
    }

    /// Mends all rows that can be mended.
    async fn rows(&mut self) -> Result<()> {
        let mut models: Vec<(&'static Model, u16)> =
            self.prepared.context.document_models().collect();
        models.sort_by_key(|(_, phase)| *phase);
        let mut open = self.open().await?;
        loop {
            // Rows that should not be there may hold values that others need.
            for (model, _) in models.iter().rev() {
                self.slices(model, &[Fault::Extra]).await?;
            }
            for (model, _) in &models {
                self.slices(model, &[Fault::Missing, Fault::Differs]).await?;
            }
            let left = self.open().await?;
            if left == 0 || left == open {
                break;
            }
            open = left;
        }
        if open > 0 {
            self.name_left().await?;
        }
        Ok(())
    }

    /// How many keys are still on the list.
    async fn open(&mut self) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {REPAIRS}");
        self.prepared.connection.count("looking what is left to repair", sql, &[]).await
    }

    /// Goes through a model's keys with one of those faults, slice by slice.
    async fn slices(&mut self, model: &'static Model, faults: &[Fault]) -> Result<()> {
        const ACT: &str = "reading what is to be repaired";
        let codes: Vec<&str> = faults.iter().map(|fault| fault.code()).collect();
        let index = self
            .contexts
            .iter()
            .position(|context| context.run.fingerprint.models.contains_key(model.name))
            .unwrap_or(self.contexts.len() - 1);
        let mut after = String::new();
        loop {
            let context = &self.contexts[index];
            let connection = &mut self.prepared.connection;
            context.check_stop()?;
            let rows = sqlx::query(AssertSqlSafe(format!(
                "SELECT DISTINCT ON (key COLLATE \"C\") key, source_id FROM {REPAIRS}
                 WHERE model = $1 AND fault = ANY ($2::text[]) AND key COLLATE \"C\" > $3
                 ORDER BY key COLLATE \"C\", source_id LIMIT {SLICE}"
            )))
            .bind(model.name)
            .bind(&codes)
            .bind(&after)
            .fetch_all(connection.raw())
            .await
            .map_err(|error| target_error(ACT, error))?;
            let keys = texts(ACT, &rows)?;
            let mut ids = Vec::new();
            for row in &rows {
                let id: Option<Vec<u8>> =
                    row.try_get(1).map_err(|error| target_error(ACT, error))?;
                ids.extend(id.as_deref().and_then(bson_id));
            }
            let Some(last) = keys.last() else { return Ok(()) };
            after.clone_from(last);
            connection.execute("beginning a transaction", "BEGIN").await?;
            let done = RepairedTable { table: model.table.to_owned(), ..Default::default() };
            let mut slice = Slice { context, connection, model, done };
            let mended = match faults {
                [Fault::Extra] => slice.delete(&keys).await?,
                _ => slice.reload(&keys, &ids).await?,
            };
            let Slice { done, .. } = slice;
            sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM {REPAIRS} WHERE model = $1 AND fault = ANY ($2::text[])
                    AND key = ANY ($3::text[])"
            )))
            .bind(model.name)
            .bind(&codes)
            .bind(&mended)
            .execute(connection.raw())
            .await
            .map_err(|error| target_error(ACT, error))?;
            context.options.fail_points.hit("a slice is repaired")?;
            connection.execute("committing a repair", "COMMIT").await?;
            self.done.add(done);
        }
    }

    /// Names the rows that could not be mended.
    async fn name_left(&mut self) -> Result<()> {
        const ACT: &str = "naming what could not be repaired";
        let sql = format!(
            "SELECT model, fault, key FROM {REPAIRS} ORDER BY 1, 2, 3 LIMIT {}",
            super::MOST_NAMED
        );
        let rows = self.prepared.connection.query(ACT, sql, &[]).await?;
        for row in &rows {
            let get = |error| target_error(ACT, error);
            let (model, fault, key): (String, String, String) = (
                row.try_get(0).map_err(get)?,
                row.try_get(1).map_err(get)?,
                row.try_get(2).map_err(get)?,
            );
            let why = match fault.as_str() {
                "extra" => "is in the target only, and other rows that are right refer to it",
                "missing" => {
                    "is missing, and its document was not found by its key or its unique value is another row's"
                }
                _ => {
                    "differs, and its document was not found by its key or its unique value is another row's"
                }
            };
            self.done.left.push(format!("{model} {key} {why}"));
        }
        Ok(())
    }

    /// Adds the pairs that are missing and takes those away that no array asks for.
    async fn junctions(&mut self) -> Result<()> {
        let compared: Vec<&'static Model> = self.elements.junctions().to_vec();
        for model in compared {
            let context = &self.prepared.context;
            let connection = &mut self.prepared.connection;
            context.check_stop()?;
            let act = format!("repairing {}", model.table);
            let table = context.names().table(model);
            let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
            let types = model.pair().map(|column| context.names().column_type(column));
            let pair = list(&model.pair().map(|column| column.name));
            let given = format!("unnest($1::text[]::{}[], $2::text[]::{}[])", types[0], types[1]);
            let expected = expected_pairs(context, model);
            let actual = format!("SELECT {} FROM {table}", list(&columns));
            let insert = match model.ordinal() {
                None => format!(
                    "INSERT INTO {table} ({pair}) SELECT * FROM {given} ON CONFLICT DO NOTHING"
                ),
                // A pair that is there gets its position.
                Some(column) => {
                    let position = quote_ident(column.name);
                    format!(
                        "INSERT INTO {table} ({pair}, {position}) SELECT g.*
                         FROM unnest($1::text[]::{}[], $2::text[]::{}[], $3::int[]) g
                         ON CONFLICT ({pair}) DO UPDATE SET {position} = EXCLUDED.{position}",
                        types[0], types[1]
                    )
                }
            };
            let shown: Vec<String> =
                columns.iter().map(|column| format!("{}::text", quote_ident(column))).collect();
            let mut done = RepairedTable { table: model.table.to_owned(), ..Default::default() };
            connection.execute(&act, "BEGIN").await?;
            for missing in [true, false] {
                // Pairs that were there before the first run cannot be told from others.
                if !missing && rows_before(context, &table) > 0 {
                    continue;
                }
                let (left, right) =
                    if missing { (&expected, &actual) } else { (&actual, &expected) };
                let query =
                    format!("SELECT {} FROM ({left} EXCEPT {right}) AS pairs", shown.join(", "));
                let name = format!("repair_{missing}_{}", model.name);
                let mut cursor = Cursor::open(connection, &act, &name, &query).await?;
                while let Some(rows) = cursor.page(connection).await? {
                    let get = |error| target_error(&act, error);
                    let (mut first, mut second, mut places) = (Vec::new(), Vec::new(), Vec::new());
                    for row in &rows {
                        first.push(row.try_get::<String, _>(0).map_err(get)?);
                        second.push(row.try_get::<String, _>(1).map_err(get)?);
                        if model.ordinal().is_some() {
                            let place: Option<String> = row.try_get(2).map_err(get)?;
                            places.push(place.and_then(|place| place.parse::<i32>().ok()));
                        }
                    }
                    let statement = match missing {
                        true => insert.clone(),
                        false => {
                            format!("DELETE FROM {table} WHERE ({pair}) IN (SELECT * FROM {given})")
                        }
                    };
                    let query = sqlx::query(AssertSqlSafe(statement)).bind(first).bind(second);
                    let query = match missing && model.ordinal().is_some() {
                        true => query.bind(places),
                        false => query,
                    };
                    let changed = query
                        .execute(connection.raw())
                        .await
                        .map_err(|error| target_error(&act, error))?
                        .rows_affected();
                    match missing {
                        true => done.pairs_inserted += changed,
                        false => done.pairs_deleted += changed,
                    }
                }
            }
            context.options.fail_points.hit("a junction is repaired")?;
            connection.execute(&act, "COMMIT").await?;
            self.done.add(done);
        }
        Ok(())
    }

    /// Makes the sums of the runs again, after the notes about documents that the source has got
    /// or lost since it was loaded.
    async fn sums(&mut self, before: &Report) -> Result<()> {
        let connection = &mut self.prepared.connection;
        connection.execute("beginning a transaction", "BEGIN").await?;
        for table in &before.tables {
            let context = &self.prepared.context;
            for (count, documents) in [("read", table.source), ("skipped", table.skipped)] {
                note_documents(context, connection, &table.model, count, documents).await?;
            }
        }
        for model in self.elements.junctions() {
            let found = before.junctions.iter().find(|junction| junction.model == model.name);
            if let Some(found) = found {
                note_elements(&self.prepared.context, connection, model, found.elements).await?;
            }
        }
        let collections = self.prepared.context.source.collections().await?;
        self.done.balanced = true;
        let mut contexts = std::mem::take(&mut self.contexts);
        let runs: Vec<RunRow> = contexts.iter().map(|context| context.run.clone()).collect();
        for (context, run) in contexts.iter_mut().zip(runs) {
            let models = &run.fingerprint.models;
            context.registry =
                run::subset(self.prepared.loaded, |model| models.contains_key(model.name));
            let summary = report::summary(context, connection, None, &collections).await?;
            self.done.balanced &= summary.balanced;
            // A run that is complete stays so, whatever the sums say by now.
            if summary.balanced {
                report::finish(context, connection, &summary).await?;
            }
        }
        self.contexts = contexts;
        connection.execute("committing a repair", "COMMIT").await.map(drop)
    }
}

/// Rows that are mended together, in the caller's transaction.
struct Slice<'a> {
    context: &'a Context,
    connection: &'a mut Connection,
    model: &'static Model,
    done: RepairedTable,
}

impl Slice<'_> {
    /// Deletes rows that no document has given, with all that refers to them and may go; gives the
    /// keys of those that are gone.
    async fn delete(&mut self, keys: &[String]) -> Result<Vec<String>> {
        self.connection.execute("setting a savepoint", "SAVEPOINT extra").await?;
        match self.delete_rows(keys).await {
            Ok(deleted) => {
                self.done.deleted += deleted;
                return Ok(keys.to_vec());
            }
            Err(error) if is_in_the_way(&error) => {
                self.connection.execute(ROLL_BACK, "ROLLBACK TO SAVEPOINT extra").await?;
            }
            Err(error) => return Err(error),
        }
        let mut gone = Vec::new();
        for key in keys {
            self.connection.execute("setting a savepoint", "SAVEPOINT extra").await?;
            match self.delete_rows(std::slice::from_ref(key)).await {
                Ok(deleted) => {
                    self.done.deleted += deleted;
                    gone.push(key.clone());
                }
                Err(error) if is_in_the_way(&error) => {
                    self.connection.execute(ROLL_BACK, "ROLLBACK TO SAVEPOINT extra").await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    async fn delete_rows(&mut self, keys: &[String]) -> Result<u64> {
        let act = format!("deleting rows of {}", self.model.table);
        let context = self.context;
        let names = context.names();
        let mut pairs = 0;
        for (other, _) in context.registry.iter() {
            for foreign in foreign_keys(other) {
                if !foreign.target.same(self.model) {
                    continue;
                }
                let column = quote_ident(foreign.column.name);
                let meant =
                    format!("{column} = ANY ($1::text[]::{}[])", names.column_type(foreign.column));
                if other.kind == ModelKind::Junction {
                    let sql = format!("DELETE FROM {} WHERE {meant}", names.table(other));
                    pairs += self.change(&act, sql, keys).await?;
                    continue;
                }
                if foreign.column.loses_orphans() {
                    // As settling does with a reference to nothing.
                    let sql = format!(
                        "WITH lost AS (
                            UPDATE {} t SET {column} = NULL FROM (
                                SELECT {id}, {column} AS value FROM {} WHERE {meant}
                            ) old WHERE t.{id} = old.{id} RETURNING old.{id} AS id, old.value
                         )
                         INSERT INTO {} (run, table_schema, table_name, column_name, row_key,
                            value, element)
                         SELECT {}, {}, {}, {}, id::text, value::text, false FROM lost",
                        names.table(other),
                        names.table(other),
                        context.state.table("orphan"),
                        context.run.run,
                        crate::schema::quote_literal(names.schema_of(other)),
                        crate::schema::quote_literal(other.table),
                        crate::schema::quote_literal(foreign.column.name),
                        id = quote_ident(id_column(other).name),
                    );
                    self.change(&act, sql, keys).await?;
                }
            }
        }
        let id = id_column(self.model);
        let sql = format!(
            "DELETE FROM {} WHERE {} = ANY ($1::text[]::{}[])",
            names.table(self.model),
            quote_ident(id.name),
            names.column_type(id)
        );
        let deleted = self.change(&act, sql, keys).await?;
        self.forget_orphans(keys).await?;
        self.done.pairs_deleted += pairs;
        Ok(deleted)
    }

    async fn change(&mut self, act: &str, sql: String, keys: &[String]) -> Result<u64> {
        sqlx::query(AssertSqlSafe(sql))
            .bind(keys)
            .execute(self.connection.raw())
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| target_error(act, error))
    }

    /// Takes back what was noted about references of rows.
    async fn forget_orphans(&mut self, keys: &[String]) -> Result<()> {
        let sql = format!(
            "DELETE FROM {} WHERE {} AND NOT element AND row_key = ANY ($1::text[])",
            self.context.state.table("orphan"),
            self.context.names().is_noted(self.model)
        );
        self.change("taking notes about references back", sql, keys).await.map(drop)
    }

    /// Reads the documents of rows again and puts what they give into the table; gives the keys
    /// that are done with.
    async fn reload(&mut self, keys: &[String], ids: &[Bson]) -> Result<Vec<String>> {
        let (context, model) = (self.context, self.model);
        let act = format!("repairing {}", model.table);
        let documents = context.fetch(model, ids).await?;
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        self.forget_orphans(keys).await?;
        for column in model.columns {
            // The notes of references that are kept are made again below, for the whole table.
            if column.reference.is_some_and(|reference| reference.orphan == Orphan::Keep) {
                self.connection
                    .execute_with(
                        &act,
                        format!(
                            "DELETE FROM {} WHERE {} AND column_name = $1 AND NOT element",
                            context.state.table("orphan"),
                            context.names().is_noted(model)
                        ),
                        &[Some(column.name)],
                    )
                    .await?;
            }
        }
        kept::prepare(context, self.connection, model).await?;
        let transformer = Arc::clone(context.transformer(model)?);
        let mut scratch = transformer.scratch();
        let mut output = Output::default();
        for document in &documents {
            transformer.transform(&mut scratch, document.as_bytes(), &mut output);
        }
        let forgotten = self.forget_rejects(&output).await?;
        ledger::insert_rejects(
            self.connection,
            &context.state,
            context.run.run,
            context.names().schema_of(model),
            None,
            &output.rejects,
        )
        .await?;
        self.done.rejected += output.rejects.len() as u64;
        output.rejects.clear();
        // The elements of arrays were counted when they were loaded; pairs are mended by
        // themselves.
        for junction in &mut output.junctions {
            let marks = junction.marks.len();
            *junction = Default::default();
            junction.marks.resize(marks, Default::default());
        }
        output.orphans.clear();
        self.forget_known_ids(&mut output).await?;
        load::write_output(context, self.connection, model, &mut output, false).await?;

        self.done.rejected += settle::same_id(context, self.connection, model, kept::TABLE).await?;
        let mut settled = Settled::default();
        let foreign: Vec<_> = foreign_keys(model)
            .into_iter()
            .filter(|foreign| !kept::is_late(model, foreign))
            .collect();
        settle::references(context, self.connection, model, kept::TABLE, &foreign, &mut settled)
            .await?;
        self.done.rejected += settled.rejected;
        for foreign in kept::late_columns(model) {
            kept::put_aside(context, self.connection, model, &foreign).await?;
        }
        let waiting = self.set_aside_taken_values(&act).await?;
        let refused = self.replace(&act).await?;
        let id = quote_ident(id_column(model).name);
        let fresh = self
            .connection
            .count(&act, format!("SELECT count(*) FROM {}", kept::TABLE), &[])
            .await?;
        if fresh > 0 {
            let rejected = kept::insert(context, self.connection, model).await?;
            self.done.rejected += rejected;
            self.done.inserted += fresh - rejected.min(fresh);
        }
        self.done.rejected = self.done.rejected.saturating_sub(forgotten);
        kept::keep_notes(context, self.connection).await?;
        kept::late_references(context, self.connection, model).await?;
        let mut retried = Retried::default();
        rejects::restore_references(context, self.connection, model, &mut retried).await?;
        for junction in context.junction_models() {
            if foreign_keys(junction).iter().any(|foreign| foreign.target.same(model)) {
                rejects::restore_elements(context, self.connection, junction, &mut retried).await?;
            }
        }
        self.done.pairs_inserted += retried.junction_rows;
        // Done with is what is in the table now.
        let sql = format!(
            "SELECT {id}::text FROM {} WHERE {id} = ANY ($1::text[]::{}[])",
            context.names().table(model),
            context.names().column_type(id_column(model))
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(keys)
            .fetch_all(self.connection.raw())
            .await
            .map_err(|error| target_error(&act, error))?;
        let not_yet: HashSet<String> = waiting.into_iter().chain(refused).collect();
        Ok(texts(&act, &rows)?.into_iter().filter(|key| !not_yet.contains(key)).collect())
    }

    /// Takes the documents out of the ledger: what is rejected again, as in a second round, comes
    /// back there. Gives the number of rejects that are gone.
    async fn forget_rejects(&mut self, output: &Output) -> Result<u64> {
        let mut ids: Vec<String> =
            output.rejects.iter().map(|reject| reject.source_id.clone()).collect();
        let rows = (0..output.row_count()).filter_map(|row| output.row_id(row)?.to_bson().ok());
        ids.extend(rows.map(|id| source_id::display(&id)));
        let sql = format!(
            "DELETE FROM {} WHERE {} AND source_id = ANY ($1::text[])",
            self.context.state.table("reject"),
            self.context.names().is_noted(self.model)
        );
        self.change("taking documents out of the ledger", sql, &ids).await
    }

    /// Leaves only those entries for the id map that it does not have.
    async fn forget_known_ids(&mut self, output: &mut Output) -> Result<()> {
        const ACT: &str = "reading the id map";
        if output.irregular_ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = output
            .irregular_ids
            .iter()
            .map(|irregular| Uuid::from_bytes(irregular.uuid).to_string())
            .collect();
        let sql = format!(
            "SELECT id::text FROM {} WHERE collection = $1 AND id = ANY ($2::text[]::uuid[])",
            self.context.state.table("id_map")
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(crate::feed::Feed::of(self.model).label())
            .bind(ids)
            .fetch_all(self.connection.raw())
            .await
            .map_err(|error| target_error(ACT, error))?;
        let known: HashSet<String> = texts(ACT, &rows)?.into_iter().collect();
        output
            .irregular_ids
            .retain(|irregular| !known.contains(&Uuid::from_bytes(irregular.uuid).to_string()));
        Ok(())
    }

    /// Takes rows back out of the temporary table whose unique value another row of the table
    /// holds; gives their keys. They are tried again once that row is mended.
    async fn set_aside_taken_values(&mut self, act: &str) -> Result<Vec<String>> {
        let model = self.model;
        let id = quote_ident(id_column(model).name);
        let single = model
            .columns
            .iter()
            .filter(|column| column.unique && !column.primary_key)
            .map(|column| vec![column.name]);
        let several =
            model.indexes.iter().filter(|index| index.unique).map(|index| index.columns.to_vec());
        let key = (!model.shares_key()).then(|| model.own_key.to_vec());
        let key = key.filter(|columns| !columns.is_empty());
        let mut waiting = Vec::new();
        for columns in single.chain(several).chain(key).collect::<Vec<_>>() {
            let same: Vec<String> = columns
                .iter()
                .map(|column| format!("t.{0} = k.{0}", quote_ident(column)))
                .collect();
            let rows = self
                .connection
                .query(
                    act,
                    format!(
                        "DELETE FROM {kept} k USING {table} t WHERE {same} AND t.{id} <> k.{id}
                            AND NOT EXISTS (SELECT FROM {kept} o WHERE o.{id} = t.{id})
                         RETURNING k.{id}::text",
                        kept = kept::TABLE,
                        table = self.context.names().table(model),
                        same = same.join(" AND "),
                    ),
                    &[],
                )
                .await?;
            waiting.extend(texts(act, &rows)?);
        }
        Ok(waiting)
    }

    /// Replaces the rows that are in the table by those in the temporary one, which leave it;
    /// gives the keys of those that the table refuses for now.
    async fn replace(&mut self, act: &str) -> Result<Vec<String>> {
        let model = self.model;
        let table = self.context.names().table(model);
        let id = quote_ident(id_column(model).name);
        let cells: Vec<String> = model
            .columns
            .iter()
            .filter(|column| !column.primary_key)
            .map(|column| format!("{0} = k.{0}", quote_ident(column.name)))
            .collect();
        let cells = match cells.is_empty() {
            true => format!("{id} = k.{id}"),
            false => cells.join(", "),
        };
        let update = format!(
            "WITH replaced AS (
                UPDATE {table} t SET {cells} FROM {kept} k WHERE t.{id} = k.{id}
                    AND ($1::text[] IS NULL OR k.{id}::text = ANY ($1::text[]))
                RETURNING t.{id}
             )
             DELETE FROM {kept} k USING replaced r WHERE k.{id} = r.{id}",
            kept = kept::TABLE,
        );
        self.connection.execute("setting a savepoint", "SAVEPOINT replace").await?;
        match self.update(act, &update, None).await {
            Ok(replaced) => {
                self.done.replaced += replaced;
                return Ok(Vec::new());
            }
            Err(error) if is_in_the_way(&error) => {
                self.connection.execute(ROLL_BACK, "ROLLBACK TO SAVEPOINT replace").await?;
            }
            Err(error) => return Err(error),
        }
        let sql = format!(
            "SELECT k.{id}::text FROM {} k JOIN {table} t ON t.{id} = k.{id} ORDER BY 1",
            kept::TABLE
        );
        let rows = self.connection.query(act, sql, &[]).await?;
        let mut refused = Vec::new();
        for key in texts(act, &rows)? {
            self.connection.execute("setting a savepoint", "SAVEPOINT replace").await?;
            match self.update(act, &update, Some(&key)).await {
                Ok(replaced) => self.done.replaced += replaced,
                Err(error) if is_in_the_way(&error) => {
                    self.connection.execute(ROLL_BACK, "ROLLBACK TO SAVEPOINT replace").await?;
                    let sql = format!("DELETE FROM {} WHERE {id}::text = $1", kept::TABLE);
                    self.connection.execute_with(act, sql, &[Some(&key)]).await?;
                    refused.push(key);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    async fn update(&mut self, act: &str, sql: &str, key: Option<&String>) -> Result<u64> {
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .bind(key.map(|key| vec![key.clone()]))
            .execute(self.connection.raw())
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| target_error(act, error))
    }
}

/// An `_id` from its type's byte and its bytes.
fn bson_id(raw: &[u8]) -> Option<Bson> {
    let (kind, bytes) = raw.split_first()?;
    Value::new(ElementType::from(*kind)?, bytes).to_bson().ok()
}

const ROLL_BACK: &str = "rolling back to a savepoint";

/// Whether a statement failed because of another row: a foreign key or a unique key.
fn is_in_the_way(error: &Error) -> bool {
    matches!(sql_state(error), Some("23503" | "23505" | "23514"))
}

/// Notes how many documents the source has by now, or how many of them are `skipped`, so that the
/// sums of the run that loaded the model are about the documents that were compared.
async fn note_documents(
    context: &Context,
    connection: &mut Connection,
    model: &str,
    count: &str,
    documents: u64,
) -> Result<()> {
    let more = documents as i64 - noted(context, connection, model, count).await? as i64;
    context.state.adjust(connection, model, count, more).await
}

/// How many documents of a model the runs have noted, or how many of them as `skipped`.
async fn noted(
    context: &Context,
    connection: &mut Connection,
    model: &str,
    count: &str,
) -> Result<u64> {
    let chunk = context.state.table("chunk");
    let sql = format!("SELECT coalesce(sum({count}), 0)::bigint FROM {chunk} WHERE model = $1");
    connection.count("reading the documents that were noted", sql, &[Some(model)]).await
}

/// Notes the elements of a junction as they are by now, where the sums do not hold any more: the
/// arrays have changed since they were loaded.
async fn note_elements(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    elements: u64,
) -> Result<()> {
    let act = format!("noting the elements of {}", model.table);
    let chunk = context.state.table("chunk");
    let noted = connection
        .count(
            &act,
            format!(
                "SELECT coalesce(sum((elements->>$1)::bigint), 0)::bigint FROM {chunk}
                 WHERE elements ? $1"
            ),
            &[Some(model.name)],
        )
        .await?;
    if noted == elements {
        return Ok(());
    }
    let mut per_chunk: BTreeMap<(i64, i64), u64> = BTreeMap::new();
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT run, chunk, (elements->>$1)::bigint FROM {chunk} WHERE elements ? $1
                 ORDER BY run, chunk"
            ),
            &[Some(model.name)],
        )
        .await?;
    for row in &rows {
        let get = |error| target_error(&act, error);
        let count: i64 = row.try_get(2).map_err(get)?;
        per_chunk.insert(
            (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?),
            count.unsigned_abs(),
        );
    }
    let mut left = elements;
    let last = per_chunk.keys().next_back().copied();
    for (place, count) in &per_chunk {
        let new = if Some(*place) == last { left } else { left.min(*count) };
        left -= new;
        let sql = format!(
            "UPDATE {chunk} SET elements = jsonb_set(elements, ARRAY[$1], to_jsonb({new}::bigint))
             WHERE run = {} AND chunk = {}",
            place.0, place.1
        );
        connection.execute_with(&act, sql, &[Some(model.name)]).await?;
    }
    let stage = Elements::table(model);
    let [first, second] = model.pair().map(|column| quote_ident(column.name));
    let expected = expected_pairs(context, model);
    let position = match model.ordinal() {
        Some(column) => format!("s.{}", quote_ident(column.name)),
        None => "NULL".to_owned(),
    };
    let orphan = context.state.table("orphan");
    let noted = context.names().is_noted(model);
    connection.execute(&act, format!("DELETE FROM {orphan} WHERE {noted} AND element")).await?;
    let schema = Some(context.names().schema_of(model));
    // As settling notes them; `origin` is odd when the array stood at the second column's row.
    let in_pairs = connection
        .execute_with(
            &act,
            format!(
                "INSERT INTO {orphan} (run, table_schema, table_name, column_name, row_key, value,
                    element, position)
                 SELECT {}, $4, $1, CASE WHEN s.origin % 2 = 0 THEN $3 ELSE $2 END,
                    CASE WHEN s.origin % 2 = 0 THEN s.{first}::text ELSE s.{second}::text END,
                    CASE WHEN s.origin % 2 = 0 THEN s.{second}::text ELSE s.{first}::text END, true,
                    {position}
                 FROM {stage} s WHERE (s.{first}, s.{second}) NOT IN (
                    SELECT {first}, {second} FROM ({expected}) AS expected)",
                context.run.run
            ),
            &[Some(model.table), Some(model.pair()[0].name), Some(model.pair()[1].name), schema],
        )
        .await?;
    let sent = connection.count(&act, format!("SELECT count(*) FROM {stage}"), &[]).await?;
    let no_ids = elements.saturating_sub(sent);
    let sql = format!(
        "INSERT INTO {orphan} (run, table_schema, table_name, column_name, row_key, value, element)
         SELECT {}, $2, $1, '', '', 'an element that is no id', true
         FROM generate_series(1, {no_ids})",
        context.run.run
    );
    connection.execute_with(&act, sql, &[Some(model.table), schema]).await?;
    let pairs = connection
        .count(&act, format!("SELECT count(*) FROM {}", context.names().table(model)), &[])
        .await?
        .saturating_sub(rows_before(context, &context.names().table(model)));
    let duplicates = sent.saturating_sub(in_pairs + pairs);
    let sql = format!(
        "UPDATE {} SET result = jsonb_set(result, '{{duplicates}}', to_jsonb({duplicates}::bigint))
         WHERE body->>'task' = 'junction' AND body->>'model' = $1 AND result IS NOT NULL",
        context.state.table("task")
    );
    connection.execute_with(&act, sql, &[Some(model.name)]).await.map(drop)
}
