//! What PostgreSQL would do behind a load in its own time, done where it helps the run itself: the
//! visibility map, and the planner's statistics.
//!
//! A table that has just been loaded has no visibility map, so every look at it, be it through an
//! index, visits its rows. `VACUUM` makes the map in one pass, which costs less than one join does.
//! From then on a reference is checked by walking two indexes side by side, in the settling and in
//! PostgreSQL's own validation of foreign keys, and neither touches the rows.
//!
//! Until its end the run keeps autovacuum away from the tables that it has made, because it would
//! read them while they grow, and hold locks that keys and foreign keys wait for.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::{OnceCell, RwLock};
use tokio::time::Instant;

use crate::context::Context;
use crate::ddl::Names;
use crate::error::{ErrorKind, Result};
use crate::schema::{BaseType, Column, Model, RegistryFacts};
use crate::sink::{Connection, target_error};
use crate::state::{RunRow, State};

/// How a run gathers statistics for the planner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Analyze {
    /// From a small part of the usual sample where autovacuum will gather the full ones soon after;
    /// from all of it elsewhere.
    #[default]
    Quick,
    /// From the usual sample.
    Full,
    /// Not at all: autovacuum does, where it is on.
    Off,
}

/// The `statistics target` of quick statistics; PostgreSQL's own is 100.
const QUICK_TARGET: i32 = 1;
/// PostgreSQL's sample has 300 rows for each unit of the target.
const SAMPLED_ROWS: i32 = 300;

/// What is written behind `CREATE TABLE`; [`analyze`] takes it back.
pub(crate) const WITHOUT_AUTOVACUUM: &str = " WITH (autovacuum_enabled = off)";

/// A table of up to so many bytes of documents, or of up to so many pairs, is read as quickly without
/// its visibility map, which is a file of its own.
const SMALL_BYTES: u64 = 512 << 10;
const SMALL_PAIRS: u64 = 10_000;

/// The tables of the models, but for small ones that the run has made. Nobody is asked for more than
/// the run's own notes: a look at the table itself would wait for whoever has shut it.
async fn large_tables(
    context: &Context,
    connection: &mut Connection,
    models: &[&'static Model],
) -> Result<Vec<String>> {
    const ACT: &str = "looking for large tables";
    let (state, run) = (&context.state, context.run.run);
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT model FROM {} WHERE run = {run} GROUP BY model
                 HAVING sum(bytes) > {SMALL_BYTES}
                 UNION ALL
                 SELECT body->>'model' FROM {} WHERE run = {run} AND body->>'task' = 'junction'
                    AND (result->>'inserted')::bigint > {SMALL_PAIRS}",
                state.table("chunk"),
                state.table("task"),
            ),
            &[],
        )
        .await?;
    let large: BTreeSet<String> = rows
        .iter()
        .map(|row| row.try_get(0).map_err(|error| target_error(ACT, error)))
        .collect::<Result<_>>()?;
    let tables = models.iter().map(|model| (model, context.names().table(model)));
    Ok(tables
        .filter(|(model, table)| {
            large.contains(model.name) || !context.run.created.tables.contains(table)
        })
        .map(|(_, table)| table)
        .collect())
}

/// What the workers of a process make the visibility maps of some tables with.
///
/// `VACUUM` cannot be part of a transaction, so whoever takes the task finds the tables, gives the task back,
/// and makes maps on the connection that it has: the server is at home in these tables there, and would have
/// to begin anew on another one. Who takes the task meanwhile helps. When all tables are done the task is
/// taken once more, to be noted, when no other process is at it any more: each leaves out what the other one
/// is at.
#[derive(Default)]
pub(crate) struct Maps {
    /// When it was begun, and the tables that nobody has taken, the last one first.
    tables: OnceCell<(Instant, Mutex<Vec<String>>)>,
    /// Shared by those who are at it.
    at_work: RwLock<()>,
    are_made: AtomicBool,
}

impl Maps {
    /// When the first one was begun.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.tables.get().map(|(begun, _)| *begun)
    }

    /// Finds the tables, and whether there is anything to do. `begins` is called by who is the first to
    /// find any.
    pub(crate) async fn find(
        &self,
        context: &Context,
        connection: &mut Connection,
        models: &[&'static Model],
        begins: impl FnOnce(),
    ) -> Result<bool> {
        if self.are_made.load(Ordering::Acquire) {
            return Ok(false);
        }
        if self.tables.get().is_none() {
            let mut tables = large_tables(context, connection, models).await?;
            if tables.is_empty() {
                return Ok(false);
            }
            tables.reverse();
            if self.tables.set((Instant::now(), Mutex::new(tables))).is_ok() {
                begins();
            }
        }
        Ok(true)
    }

    /// Makes maps until there are no tables left, and waits for those who are at the last ones. True for
    /// the first one who finds that all are made. No transaction is open.
    ///
    /// All depends on the maps only in speed, so where one cannot be made the run goes on: the user may
    /// not own the table.
    ///
    /// # Errors
    /// When the connection is lost, or somebody asks to stop.
    pub(crate) async fn make(
        &self,
        context: &Context,
        connection: &mut Connection,
    ) -> Result<bool> {
        let at_work = self.at_work.read().await;
        let Some((_, tables)) = self.tables.get() else { return Ok(false) };
        let tables = || tables.lock().unwrap_or_else(PoisonError::into_inner);
        let are_left = !tables().is_empty();
        if are_left {
            // A row counts as visible to all only when its commit is on the disk. The note that PostgreSQL
            // keeps of this is one for some commits in a row, so none may come behind this one.
            context.state.make_durable(connection, context.run.run).await?;
        }
        // Values that are stored apart are not looked at through the map.
        let toast = match connection.raw().server_version_num() {
            Some(140_000..) => ", PROCESS_TOAST false",
            _ => "",
        };
        loop {
            context.check_stop()?;
            let Some(table) = tables().pop() else { break };
            let act = format!("making the visibility map of {table}");
            let vacuum =
                format!("VACUUM (SKIP_LOCKED, INDEX_CLEANUP false, TRUNCATE false{toast}) {table}");
            match connection.execute(&act, vacuum).await {
                Ok(_) => {}
                // Somebody with another connection makes it.
                Err(error) if error.kind() == ErrorKind::TargetConnection => {
                    tables().push(table);
                    return Err(error);
                }
                Err(error) => tracing::warn!(%error, "a visibility map is not made"),
            }
            context.options.fail_points.hit("a visibility map is made")?;
        }
        drop(at_work);
        let _all = self.at_work.write().await;
        Ok(!self.are_made.swap(true, Ordering::AcqRel))
    }
}

/// The first `server_version_num` for which [`counts_at_once`] is true.
pub(crate) const COUNTS_AT_ONCE: u32 = 150_000;

/// Whether a session can have the server count what it has changed as soon as it is idle again.
pub(crate) fn counts_at_once(connection: &mut Connection) -> bool {
    connection.raw().server_version_num().is_some_and(|version| version >= COUNTS_AT_ONCE)
}

/// Has the server count what the session has changed as soon as it is idle again behind the next
/// statements, and not some time later, so that [`analyze`] finds the counts. Servers before
/// PostgreSQL 15 cannot be asked.
pub(crate) fn count_changes(connection: &mut Connection) {
    if counts_at_once(connection) {
        connection.ahead("SELECT pg_stat_force_next_flush()");
    }
}

/// Gives a table that a run has made back to autovacuum, unless it is gone.
pub(crate) async fn give_back(connection: &mut Connection, table: &str) -> Result<()> {
    let act = format!("giving {table} back to autovacuum");
    connection.execute(&act, give_back_sql(table)).await.map(drop)
}

fn give_back_sql(table: &str) -> String {
    format!("ALTER TABLE IF EXISTS {table} RESET (autovacuum_enabled)")
}

/// Keeps autovacuum away again from tables that a run has made and not given back itself.
pub(crate) async fn keep_away(
    connection: &mut Connection,
    state: &State,
    names: Names<'_>,
    registry: &RegistryFacts,
    run: &RunRow,
) -> Result<()> {
    const ACT: &str = "keeping autovacuum away";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT body->>'model' FROM {} WHERE run = {} AND NOT done
                    AND body->>'task' = 'analyze'",
                state.table("task"),
                run.run
            ),
            &[],
        )
        .await?;
    for row in &rows {
        let model: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        let table = registry.model(&model).map(|model| names.table(model));
        if let Some(table) = table.filter(|table| run.created.tables.contains(table)) {
            let sql = format!("ALTER TABLE IF EXISTS {table} SET (autovacuum_enabled = off)");
            connection.execute(ACT, sql).await?;
        }
    }
    Ok(())
}

/// Gives a table back to autovacuum, where the run had kept it away, and gathers its statistics.
///
/// Quick ones name the columns: PostgreSQL then leaves its counter of changes as it is, and
/// autovacuum, which goes by that counter, gathers the full ones within its next rounds.
pub(crate) async fn analyze(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<()> {
    let table = context.names().table(model);
    let act = format!("gathering the statistics of {}", model.table);
    let mut sql = Vec::new();
    if context.run.created.tables.contains(&table) {
        sql.push(give_back_sql(&table));
    }
    let columns = match context.options.analyze {
        Analyze::Quick => context.quick_columns(connection, &table).await?,
        Analyze::Full | Analyze::Off => None,
    };
    match columns {
        Some(columns) => sql.push(format!(
            "SELECT set_config('default_statistics_target',
                least(current_setting('default_statistics_target')::int, {QUICK_TARGET})::text, true);
             ANALYZE {table} ({columns})"
        )),
        None if context.options.analyze == Analyze::Off => {}
        // Another table's quick statistics may stand before these in one transaction.
        None => sql
            .push(format!("SET LOCAL default_statistics_target TO DEFAULT; ANALYZE {table}")),
    }
    connection.execute(&act, sql.join("; ")).await.map(drop)
}

/// The columns of tables, by the table, where quick statistics are less work and autovacuum will
/// follow: it is on, also for those in `created` once they are given back to it, and has counted
/// enough changes, which it forgets when the server crashes. Expressions of indexes would get no
/// statistics at all.
pub(crate) async fn quick_columns(
    connection: &mut Connection,
    tables: Vec<String>,
    created: &[String],
) -> Result<HashMap<String, String>> {
    const ACT: &str = "looking at what is to be analyzed";
    let sql = format!(
        "SELECT name, string_agg(quote_ident(attname), ', ' ORDER BY attnum)
         FROM unnest($1::text[]) AS named (name)
         JOIN pg_class c ON c.oid = to_regclass(name)
         JOIN pg_attribute ON attrelid = c.oid
         WHERE attnum > 0 AND NOT attisdropped
            AND c.relkind = 'r' AND c.reltuples > {}
            AND current_setting('autovacuum')::bool
            AND current_setting('track_counts')::bool
            AND pg_stat_get_mod_since_analyze(c.oid)
                > current_setting('autovacuum_analyze_threshold')::float8
                    + current_setting('autovacuum_analyze_scale_factor')::float8 * c.reltuples
            AND (name = ANY ($2::text[])
                OR coalesce(c.reloptions::text, '') NOT LIKE '%autovacuum%')
            AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indexprs IS NOT NULL)
         GROUP BY 1",
        QUICK_TARGET * SAMPLED_ROWS
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(&tables).bind(created);
    let rows = rows.fetch_all(connection.raw()).await;
    let rows = rows.map_err(|error| target_error(ACT, error))?;
    let pair = |row: &sqlx::postgres::PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(pair).collect::<sqlx::Result<_>>().map_err(|error| target_error(ACT, error))
}

/// The columns of tables, unquoted, that an index orders the rows by, all of them. None where a
/// table has no visibility map, as when an old transaction of somebody's was in the way: then an
/// index is no way around the rows.
pub(crate) async fn indexed_columns(
    connection: &mut Connection,
    tables: Vec<String>,
) -> Result<HashMap<String, BTreeSet<String>>> {
    const ACT: &str = "looking for indexes of references";
    let sql = format!(
        "SELECT name, attname::text
         FROM unnest($1::text[]) AS named (name)
         JOIN pg_class c ON c.oid = to_regclass(name)
         JOIN pg_index ON indrelid = c.oid
         JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
         JOIN pg_class i ON i.oid = indexrelid JOIN pg_am a ON a.oid = i.relam
         WHERE indisvalid AND indpred IS NULL AND a.amname = 'btree' AND {}",
        is_seen("c")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(&tables).fetch_all(connection.raw()).await;
    let mut indexed: HashMap<String, BTreeSet<String>> = HashMap::new();
    for row in &rows.map_err(|error| target_error(ACT, error))? {
        let get = |error| target_error(ACT, error);
        let (table, column) = (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
        indexed.entry(table).or_default().insert(column);
    }
    Ok(indexed)
}

/// SQL that tells whether next to all rows of a table are seen through an index alone, or are so few
/// that it does not matter and [`large_tables`] has left them out; `class` is its row of `pg_class`.
fn is_seen(class: &str) -> String {
    /// What small tables have at the most, and as much again, as rows may be larger than documents.
    const FEW_PAGES: u64 = 2 * SMALL_BYTES / 8192;
    format!("({class}.relallvisible >= 0.9 * {class}.relpages OR {class}.relpages <= {FEW_PAGES})")
}

/// Whether comparing two values of a column costs next to nothing, so that walking two indexes
/// side by side is cheaper than a hash table of one side. Text is compared by its collation.
pub(crate) fn is_quickly_compared(column: &Column) -> bool {
    column.ty.dimensions == 0
        && matches!(
            column.ty.base,
            BaseType::Uuid | BaseType::Int2 | BaseType::Int4 | BaseType::Int8
        )
}

/// Those of the tables whose foreign keys that are not validated yet are best validated by walking
/// indexes: each has one column of a type that is quickly compared, and an index on it, and both
/// tables have a visibility map.
pub(crate) async fn walked_tables(
    connection: &mut Connection,
    tables: Vec<String>,
) -> Result<BTreeSet<String>> {
    const ACT: &str = "looking for indexes of foreign keys";
    let sql = format!(
        "SELECT name FROM unnest($1::text[]) AS named (name)
         JOIN pg_constraint ON conrelid = to_regclass(name)
         JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
         WHERE contype = 'f' AND NOT convalidated
         GROUP BY name
         HAVING bool_and(cardinality(conkey) = 1
            AND atttypid IN ('uuid'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype)
            AND EXISTS (SELECT FROM pg_index
                JOIN pg_class i ON i.oid = indexrelid JOIN pg_am a ON a.oid = i.relam
                WHERE indrelid = conrelid AND indkey[0] = conkey[1] AND indisvalid
                    AND indpred IS NULL AND a.amname = 'btree')
            AND (SELECT bool_and({}) FROM pg_class c WHERE c.oid IN (conrelid, confrelid)))",
        is_seen("c")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(&tables).fetch_all(connection.raw()).await;
    let rows = rows.map_err(|error| target_error(ACT, error))?;
    let name = |row: &sqlx::postgres::PgRow| row.try_get(0);
    rows.iter().map(name).collect::<sqlx::Result<_>>().map_err(|error| target_error(ACT, error))
}

/// For the rest of a transaction, joins walk indexes; [`JOIN_AS_USUAL`] ends it.
pub(crate) const WALK_INDEXES: &str =
    "SET LOCAL enable_hashjoin = off; SET LOCAL random_page_cost = 1.1";
/// Joins are the planner's choice again.
pub(crate) const JOIN_AS_USUAL: &str =
    "SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL random_page_cost TO DEFAULT";
