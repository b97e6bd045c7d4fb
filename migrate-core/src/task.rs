//! What follows the load, as tasks in the state: each is done in one transaction with its note.
//!
//! Tasks stand in levels; those of one level run side by side, on any worker of any process, and
//! a level begins when the one before is done. Within a level the largest tables come first, so
//! that no connection is left with a long one at the end. A worker that finds nothing left in the
//! level takes a later task that needs less than all levels before its own: an index can be built
//! as soon as no value is too long for it, and a junction be filled when both its sides are settled.
//! Tasks of small tables that would take no longer than their own transactions are done together in
//! one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use tokio::time::Instant;

use crate::context::Context;
use crate::deferred::{self, Deferred, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Step};
use crate::fit;
use crate::kept;
use crate::run::Stop;
use crate::schema::{BaseType, Column, Model, ModelKind, Orphan, RegistryFacts, quote_literal};
use crate::settle;
use crate::sink::{Connection, Replies, sql_state, target_error};
use crate::state::{RunRow, State, check_on, thrown_away};
use crate::status::{self, Work};
use crate::upkeep;

/// One piece of work after the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "task")]
pub(crate) enum Task {
    /// Makes the visibility maps of the models' tables, the first of all tasks, or of `junctions`.
    Vacuum { junctions: bool },
    /// Builds a collection table's primary key, by the position of its definition.
    PrimaryKey { model: String, position: i32 },
    /// Rejects the rows of a table whose values are too long for its primary key, or for its other
    /// indexes. A task of its own: an index takes up rows that its own transaction has deleted.
    Fit { model: String, primary: bool },
    /// Settles a table's references and builds its unique keys.
    Settle { model: String },
    /// Settles all tables again, references left out of the order included, until nothing
    /// changes.
    SettleDeferred,
    /// Sets the references of a table whose constraints were kept on that had to wait.
    LateReferences { model: String },
    /// Fills a junction from its staging table.
    Junction { model: String },
    /// Builds an index, or a junction's key.
    Index { name: String, position: i32 },
    /// Adds foreign keys without looking at the rows: those between tables of documents, or the others.
    AddForeignKeys { documents: bool },
    /// Looks at the rows of a table's foreign keys, by the table's name in SQL.
    ValidateForeignKeys { table: String },
    /// Gathers a table's statistics.
    Analyze { model: String },
}

/// A task and the level it stands in.
pub(crate) struct Planned {
    pub(crate) level: i32,
    /// The last level that must be done before it.
    pub(crate) ready: i32,
    pub(crate) task: Task,
    /// Tasks that bear the same mark are done in one transaction.
    pub(crate) together: Option<String>,
}

/// Tasks of one kind that go through no more documents than this, counted once for each task, are done
/// together: taking them and committing them takes about as long as some hundred kilobytes.
const TOGETHER_BYTES: u64 = 4 << 20;
/// The same for indexes of one table, of which there are many, and which whoever has nothing else to do
/// may build early: one after the other they find the table's rows where the last one has left them.
const INDEXES_BYTES: u64 = 20 << 20;
/// The most tasks that are done together.
const TOGETHER: usize = 16;

// The levels leave room for one per phase of the plan (`u16`).
const VACUUM: i32 = 0;
const FIT_PRIMARY: i32 = 1;
const PRIMARY_KEYS: i32 = 2;
const FIT: i32 = 3;
const REFERENCE_INDEXES: i32 = 4;
const SETTLE: i32 = 5;
const SETTLE_AGAIN: i32 = 100_000;
const JUNCTIONS: i32 = 100_001;
const JUNCTION_KEYS: i32 = 100_002;
const VACUUM_JUNCTIONS: i32 = 100_003;
const ADD_FOREIGN_KEYS: i32 = 100_004;
const VALIDATE_FOREIGN_KEYS: i32 = 100_005;
const ANALYZE: i32 = 100_006;

impl Task {
    /// The step of the run that it belongs to.
    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Vacuum { .. }
            | Self::Fit { .. }
            | Self::Settle { .. }
            | Self::SettleDeferred
            | Self::LateReferences { .. }
            | Self::Junction { .. } => Step::Settle,
            Self::PrimaryKey { .. }
            | Self::Index { .. }
            | Self::AddForeignKeys { .. }
            | Self::ValidateForeignKeys { .. } => Step::Constrain,
            Self::Analyze { .. } => Step::Analyze,
        }
    }

    /// The model that it is about, where there is one.
    pub(crate) fn model(&self) -> Option<&str> {
        match self {
            Self::PrimaryKey { model, .. }
            | Self::Fit { model, .. }
            | Self::Settle { model }
            | Self::LateReferences { model }
            | Self::Junction { model }
            | Self::Analyze { model } => Some(model),
            Self::Vacuum { .. }
            | Self::SettleDeferred
            | Self::Index { .. }
            | Self::AddForeignKeys { .. }
            | Self::ValidateForeignKeys { .. } => None,
        }
    }

    /// The task in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Vacuum { junctions: false } => "visibility maps".to_owned(),
            Self::Vacuum { junctions: true } => "visibility maps of junctions".to_owned(),
            Self::PrimaryKey { model, .. } => format!("primary key of {model}"),
            Self::Fit { model, .. } => format!("values too long for the indexes of {model}"),
            Self::Settle { model } => format!("references of {model}"),
            Self::LateReferences { model } => format!("late references of {model}"),
            Self::SettleDeferred => "deferred references".to_owned(),
            Self::Junction { model } => format!("junction {model}"),
            Self::Index { name, .. } => format!("index {name}"),
            Self::AddForeignKeys { documents: true } => "foreign keys between documents".to_owned(),
            Self::AddForeignKeys { .. } => "foreign keys".to_owned(),
            Self::ValidateForeignKeys { table } => format!("foreign keys of {table}"),
            Self::Analyze { model } => format!("statistics of {model}"),
        }
    }
}

/// The tasks of a run, in order. The tables of the models in `existing` were there before it. The
/// constraints of those in `kept` are on, and their chunks were settled one by one; `bytes` gives the
/// size of a model's collection.
pub(crate) fn plan(
    registry: &'static RegistryFacts,
    deferred: &[Deferred],
    existing: &[&'static Model],
    kept: &[&'static Model],
    bytes: &HashMap<&'static str, u64>,
) -> Vec<Planned> {
    let size = |model: &str| bytes.get(model).copied().unwrap_or(0);
    let mut models: Vec<(&'static Model, u16)> = registry.iter().collect();
    // Largest first; junctions have no collection and keep the registry's order.
    models.sort_by_cached_key(|(model, _)| std::cmp::Reverse(size(model.name)));
    let mut tasks = Vec::new();
    let again = models.iter().any(|(model, _)| {
        !kept.iter().any(|kept| kept.same(model))
            && model.columns.iter().any(|column| column.reference.is_some_and(|to| to.deferred))
    });
    // The level after which no row of a model is taken away any more.
    let settled = |model: &Model| {
        let phase =
            models.iter().find(|(other, _)| other.same(model)).map_or(0, |(_, phase)| *phase);
        if again { SETTLE_AGAIN } else { SETTLE + i32::from(phase) }
    };
    let mut marks = Marks::default();
    // Somebody who reads two tables that were there must not find one shut while the other one waits
    // for him.
    let is_new = |model: &str| !existing.iter().any(|existing| existing.name == model);
    // Of a table that had rows the collection's size says nothing.
    let is_kept = |model: &str| kept.iter().any(|kept| kept.name == model);
    // Most tasks wait for all levels before theirs.
    let push = |tasks: &mut Vec<Planned>, level: i32, task| {
        tasks.push(Planned { level, ready: level - 1, task, together: None });
    };
    for &(model, phase) in &models {
        let name = model.name.to_owned();
        match model.kind {
            ModelKind::Collection | ModelKind::Child
                if kept.iter().any(|kept| kept.same(model)) =>
            {
                let keeps = |column: &Column| {
                    column.reference.is_some_and(|reference| reference.orphan == Orphan::Keep)
                };
                if kept::late_columns(model).next().is_some() || model.columns.iter().any(keeps) {
                    push(&mut tasks, SETTLE_AGAIN, Task::LateReferences { model: name.clone() });
                }
            }
            ModelKind::Collection | ModelKind::Child => {
                // The others come when the primary key tells rows apart.
                for (level, primary) in [(FIT_PRIMARY, true), (FIT, false)] {
                    if deferred.iter().any(|definition| fit::is_meant(model, definition, primary)) {
                        let together = is_new(&name)
                            .then(|| marks.next(format!("values {level}"), size(&name)))
                            .flatten();
                        let task = Task::Fit { model: name.clone(), primary };
                        tasks.push(Planned { level, ready: level - 1, task, together });
                    }
                }
                let settles = model.columns.iter().any(|column| column.reference.is_some())
                    || deferred.iter().any(|definition| {
                        definition.model == model.name && definition.kind == Kind::Unique
                    });
                if settles {
                    let level = SETTLE + i32::from(phase);
                    let together = is_new(&name)
                        .then(|| marks.next(format!("references {level}"), size(&name)))
                        .flatten();
                    let task = Task::Settle { model: name.clone() };
                    tasks.push(Planned { level, ready: level - 1, task, together });
                }
            }
            ModelKind::Junction => {
                let sides = model.columns.iter().filter_map(|column| column.reference);
                let ready = sides.map(|to| settled(to.target.get())).max().unwrap_or(JUNCTIONS - 1);
                let task = Task::Junction { model: name.clone() };
                tasks.push(Planned { level: JUNCTIONS, ready, task, together: None });
            }
            // No registry has one.
            ModelKind::Embedded => {}
        }
        let together =
            (!is_kept(&name)).then(|| marks.next("statistics".to_owned(), size(&name))).flatten();
        let task = Task::Analyze { model: name };
        tasks.push(Planned { level: ANALYZE, ready: ADD_FOREIGN_KEYS, task, together });
    }
    let mut definitions: Vec<&Deferred> = deferred.iter().collect();
    // Of one table those that take the longest come first as well.
    definitions.sort_by_cached_key(|definition| {
        let is_quick = registry
            .model(&definition.model)
            .is_some_and(|model| key_columns(model, definition).all(is_quickly_sorted));
        (std::cmp::Reverse(size(&definition.model)), is_quick)
    });
    let mut validated = BTreeMap::new();
    for definition in definitions {
        let position = definition.position;
        let model = registry.model(&definition.model);
        let kind = model.map(|model| model.kind);
        let index = Task::Index { name: definition.name.clone(), position };
        match (definition.kind, kind) {
            (Kind::PrimaryKey, Some(kind)) if kind.has_documents() => {
                let name = &definition.model;
                let together =
                    is_new(name).then(|| marks.next("keys".to_owned(), size(name))).flatten();
                let task = Task::PrimaryKey { model: name.clone(), position };
                let (level, ready) = (PRIMARY_KEYS, PRIMARY_KEYS - 1);
                tasks.push(Planned { level, ready, task, together });
            }
            // A collection's unique keys are built by its settling.
            (Kind::Unique, Some(kind)) if kind.has_documents() => {}
            (Kind::ForeignKey, _) => {
                if definition.validate.is_some() {
                    let rank = models.iter().position(|(model, _)| model.name == definition.model);
                    let rank = rank.unwrap_or(models.len());
                    validated.insert((rank, &definition.table), &definition.model);
                }
            }
            (_, Some(ModelKind::Junction)) => push(&mut tasks, JUNCTION_KEYS, index),
            (kind, _) => {
                let is_plain = |model: &&'static Model| {
                    kind == Kind::Index
                        && definition.predicate.is_none()
                        && definition.attach.is_none()
                        && key_columns(model, definition).count() == definition.columns.len()
                };
                // Whoever has nothing else to do may build it, even if settling takes some of its
                // rows away again. An expression may not take a row that settling rejects. What
                // attaches a key waits for whoever builds an index of that table, so two of that kind
                // would wait for each other; one that attaches nothing waits for nobody. The primary
                // key must not wait for one that takes much longer than itself.
                let ready = match model.filter(is_plain) {
                    Some(model) if fit::is_meant(model, definition, false) => FIT,
                    Some(model) if key_columns(model, definition).all(is_quickly_sorted) => {
                        FIT_PRIMARY
                    }
                    Some(_) => PRIMARY_KEYS,
                    None => model.map_or(JUNCTIONS - 1, settled),
                };
                // Settling walks those of references.
                let walked = model.is_some_and(|model| is_of_reference(model, definition));
                let level = if walked { REFERENCE_INDEXES } else { JUNCTIONS };
                let ready = ready.min(level - 1);
                // What can be done early must not wait for the others.
                let kind = format!("indexes of {} after {ready}", definition.model);
                let together = (!is_kept(&definition.model))
                    .then(|| marks.up_to(INDEXES_BYTES, kind, size(&definition.model)))
                    .flatten();
                tasks.push(Planned { level, ready, task: index, together });
            }
        }
    }
    // In the order of the statistics, which lock tables in the same way and may be gathered beside.
    for ((_, table), model) in validated {
        let together =
            is_new(model).then(|| marks.next("foreign keys".to_owned(), size(model))).flatten();
        let (level, ready) = (VALIDATE_FOREIGN_KEYS, VALIDATE_FOREIGN_KEYS - 1);
        let task = Task::ValidateForeignKeys { table: table.clone() };
        tasks.push(Planned { level, ready, task, together });
    }
    push(&mut tasks, VACUUM, Task::Vacuum { junctions: false });
    push(&mut tasks, VACUUM_JUNCTIONS, Task::Vacuum { junctions: true });
    // At the end of its level: for whoever finds no key of a junction any more, while the last are built.
    push(&mut tasks, JUNCTION_KEYS, Task::AddForeignKeys { documents: true });
    push(&mut tasks, ADD_FOREIGN_KEYS, Task::AddForeignKeys { documents: false });
    if again {
        push(&mut tasks, SETTLE_AGAIN, Task::SettleDeferred);
    }
    tasks.sort_by_key(|planned| planned.level);
    tasks
}

/// Marks of tasks that are done together.
#[derive(Default)]
struct Marks(HashMap<String, Mark>);

/// The last mark of a kind: its number, and what bears it.
#[derive(Default)]
struct Mark {
    number: usize,
    tasks: usize,
    bytes: u64,
}

impl Marks {
    /// The mark of the next task of that kind, which goes through so many bytes of documents; none where
    /// that is too much, or 0, as nobody knows then whether it is.
    fn next(&mut self, kind: String, bytes: u64) -> Option<String> {
        self.up_to(TOGETHER_BYTES, kind, bytes)
    }

    fn up_to(&mut self, most: u64, kind: String, bytes: u64) -> Option<String> {
        if !(1..=most).contains(&bytes) {
            return None;
        }
        let last = self.0.entry(kind.clone()).or_default();
        if last.tasks == TOGETHER || last.bytes + bytes > most {
            *last = Mark { number: last.number + 1, ..Mark::default() };
        }
        last.tasks += 1;
        last.bytes += bytes;
        Some(format!("{kind} {}", last.number))
    }
}

/// The columns of an index that are columns of its model, and no expressions.
fn key_columns(model: &Model, index: &Deferred) -> impl Iterator<Item = &'static Column> {
    index.columns.iter().filter_map(|sql| model.column_of(sql))
}

/// Whether values of a column are sorted by a few instructions each, and text by its collation is
/// not.
fn is_quickly_sorted(column: &Column) -> bool {
    use BaseType::{Bool, Date, Enum, Float4, Float8, Timestamp, TimestampTz};
    upkeep::is_quickly_compared(column)
        || (column.ty.dimensions == 0
            && matches!(
                column.ty.base,
                Bool | Date | Enum(_) | Float4 | Float8 | Timestamp | TimestampTz
            ))
}

/// Whether an index orders the rows by a column that refers to another table.
fn is_of_reference(model: &Model, index: &Deferred) -> bool {
    let first = index.columns.first().and_then(|sql| model.column_of(sql));
    first.is_some_and(|column| column.reference.is_some())
}

/// Writes the tasks of a run down. The caller commits.
pub(crate) async fn insert(
    connection: &mut Connection,
    state: &State,
    run: i64,
    tasks: &[Planned],
) -> Result<()> {
    let values: Vec<String> = tasks
        .iter()
        .enumerate()
        .map(|(index, planned)| {
            let body = serde_json::to_string(&planned.task).unwrap_or_default();
            let together = planned.together.as_deref().map(quote_literal);
            format!(
                "({run}, {index}, {}, {}, {}, {})",
                planned.level,
                planned.ready,
                together.as_deref().unwrap_or("NULL"),
                quote_literal(&body)
            )
        })
        .collect();
    if !values.is_empty() {
        connection
            .execute(
                "writing the tasks down",
                format!(
                    "INSERT INTO {} (run, task, level, ready, together, body) VALUES {}",
                    state.table("task"),
                    values.join(", ")
                ),
            )
            .await?;
    }
    Ok(())
}

/// The next thing for a worker to do.
enum Next {
    /// These tasks with their numbers, taken in the current transaction, and the number of tasks that
    /// are open and could be done now, those that other workers are at included; no more of them are
    /// counted than there are connections.
    Tasks(Vec<(i64, Task)>, u64),
    /// Others are at the last tasks of a level.
    Wait,
    /// Everything is done.
    Done,
}

/// What the sessions of workers call the statements that they send for each task.
const TAKE: &str = "migrate_take";
const NOTE: &str = "migrate_note";
const NOTE_BUILT: &str = "migrate_note_built";

/// Names the statements that [`take`] and [`notes_sql`] execute, so that the server need not
/// understand and plan each of them anew.
///
/// `enough` is the largest number of tasks that could be done now which anybody wants to know.
async fn name_statements(
    connection: &mut Connection,
    state: &State,
    run: &RunRow,
    enough: usize,
) -> Result<()> {
    const ACT: &str = "preparing the tasks";
    let table = state.table("task");
    let (is_on, number) = (state.is_on_sql(run), run.run);
    // Tasks are numbered level after level, so the first that is open stands in the lowest one.
    let ready = format!(
        "run = {number} AND task >= (SELECT task FROM lowest) AND NOT done
            AND ready < (SELECT level FROM lowest)"
    );
    // Asked once for each task: it passes those that are done once, and the open ones as far as it must.
    let take = format!(
        "WITH lowest AS MATERIALIZED (
            SELECT task, level FROM {table} WHERE run = {number} AND NOT done
            ORDER BY task LIMIT 1),
         first AS (
            SELECT task, together, body FROM {table}
            WHERE {ready} ORDER BY task LIMIT 1 FOR UPDATE SKIP LOCKED),
         others AS (
            SELECT task, together, body FROM {table}
            WHERE (SELECT together FROM first) IS NOT NULL
                AND {ready} AND task > (SELECT task FROM first)
                AND together = (SELECT together FROM first)
            FOR UPDATE SKIP LOCKED),
         taken AS (SELECT * FROM first UNION ALL SELECT * FROM others)
         SELECT task, body::text,
            (SELECT count(*) FROM (SELECT FROM {table} WHERE {ready} LIMIT {enough}) AS ready),
            {is_on}, {}
         FROM taken ORDER BY task",
        status::announce_sql(number, Work::Task, "(SELECT task FROM first)", state.name()),
    );
    // The bounds have the planner use the key: without statistics it takes the table for one of few rows.
    let note = format!(
        "UPDATE {table} task SET done = true, seconds = note.seconds, result = note.result::jsonb,
            done_at = clock_timestamp() - make_interval(secs => note.ago)
         FROM unnest($1, $2, $3, $4) AS note (task, seconds, result, ago)
         WHERE run = {number} AND task.task BETWEEN $5 AND $6 AND task.task = note.task"
    );
    let built =
        format!("{} AND position BETWEEN $2 AND $3", deferred::note_any_sql(state, number, "$1"));
    for (name, types, sql) in [
        (TAKE, "", take),
        (NOTE, " (bigint[], float8[], text[], float8[], bigint, bigint)", note),
        (NOTE_BUILT, " (integer[], integer, integer)", built),
    ] {
        connection.name(ACT, name, types, sql).await.map_err(thrown_away)?;
    }
    Ok(())
}

/// Begins a transaction and takes what is to be done next.
async fn take(connection: &mut Connection, state: &State, run: &RunRow) -> Result<Next> {
    take_behind(connection, state, run, &[], &mut Replies::default()).await
}

/// As [`take`], in one message with statements before it; `replies` tells how many of them were done.
async fn take_behind(
    connection: &mut Connection,
    state: &State,
    run: &RunRow,
    before: &[String],
    replies: &mut Replies,
) -> Result<Next> {
    let act = match before {
        [] => "taking a task",
        _ => "noting what is done and taking the next task",
    };
    let number = run.run;
    let take = ["BEGIN".to_owned(), format!("EXECUTE {}", connection.named(TAKE))];
    let message = [before, &take].concat().join("; ");
    let asked = connection.ask_into(act, message, replies).await;
    // What fails at the commit before is not about the state: a constraint or a trigger of somebody's.
    let is_commit = replies.touched.len() + 1 == before.len();
    asked.map_err(|error| if is_commit { error } else { thrown_away(error) })?;
    let rows = std::mem::take(&mut replies.rows);
    let mut tasks = Vec::with_capacity(rows.len());
    let mut ready = 0;
    for row in &rows {
        let get = |error| target_error(act, error);
        check_on(number, row.try_get(3).map_err(get)?)?;
        let body: String = row.try_get(1).map_err(get)?;
        let task = serde_json::from_str(&body).map_err(|error| {
            Error::new(ErrorKind::Preflight, "a task of the run cannot be understood")
                .caused_by(error)
        })?;
        tasks.push((row.try_get(0).map_err(get)?, task));
        ready = row.try_get::<i64, _>(2).map_err(get)?.unsigned_abs();
    }
    if !tasks.is_empty() {
        return Ok(Next::Tasks(tasks, ready));
    }
    let open = format!("FROM {} WHERE run = {number} AND NOT done", state.table("task"));
    Ok(match state.is_open(connection, act, run, &open).await? {
        true => Next::Wait,
        false => Next::Done,
    })
}

/// A task whose work is in the open transaction.
struct Done {
    number: i64,
    step: Step,
    describe: String,
    outcome: Outcome,
    started: Instant,
    elapsed: Duration,
    /// Whether its end was told, before it could be noted.
    is_told: bool,
}

/// What a task has done within its transaction.
struct Outcome {
    /// As JSON.
    result: String,
    /// The positions of the definitions that it has built and not noted yet.
    built: Vec<i32>,
}

impl Outcome {
    fn of(result: &impl Serialize) -> Self {
        Self { result: serde_json::to_string(result).unwrap_or_default(), built: Vec::new() }
    }

    fn built(built: Vec<i32>) -> Self {
        Self { result: "{}".to_owned(), built }
    }

    fn done() -> Self {
        Self::built(Vec::new())
    }
}

/// The statements that note tasks and what they have built, within the transaction that did it.
fn notes_sql(connection: &Connection, done: &[Done]) -> Vec<String> {
    let list = |of: &dyn Fn(&Done) -> String| done.iter().map(of).collect::<Vec<_>>().join(", ");
    let numbers = || done.iter().map(|done| done.number);
    let note = format!(
        "EXECUTE {} (ARRAY[{}], ARRAY[{}], ARRAY[{}], ARRAY[{}], {}, {})",
        connection.named(NOTE),
        list(&|done| done.number.to_string()),
        list(&|done| done.elapsed.as_secs_f64().to_string()),
        list(&|done| quote_literal(&done.outcome.result)),
        list(&|done| (done.started.elapsed() - done.elapsed).as_secs_f64().to_string()),
        numbers().min().unwrap_or_default(),
        numbers().max().unwrap_or_default(),
    );
    let positions = || done.iter().flat_map(|done| done.outcome.built.iter().copied());
    match (positions().min(), positions().max()) {
        (Some(first), Some(last)) => {
            let name = connection.named(NOTE_BUILT);
            let built: Vec<String> = positions().map(|position| position.to_string()).collect();
            let built = built.join(", ");
            vec![format!("EXECUTE {name} (ARRAY[{built}], {first}, {last})"), note]
        }
        _ => vec![note],
    }
}

/// What a join or a sort of a task may take, in kB: what an index may take, and 64 MiB at the most, because a
/// statement of settling has several.
pub(crate) fn work_kb(context: &Context) -> u64 {
    const MOST: u64 = 64 << 10;
    (context.options.index_bytes() >> 10).min(MOST)
}

/// Does tasks until all are done. On return every task of the run is committed, whoever did it.
pub(crate) async fn work(
    context: &Context,
    connection: &mut Connection,
    failed: &Stop,
) -> Result<()> {
    /// How long to wait for other processes at the end of a level: ever longer, but never by more
    /// than this part of the time that was waited already. Commits of this one wake its workers.
    const PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_millis(200);
    const PART: u32 = 8;
    let mut waiting: Option<Instant> = None;
    // Tasks whose index has met a row that was rejected, for which workers were waited for.
    let mut met = BTreeSet::new();
    let (memory, work) = (context.options.index_bytes() >> 10, work_kb(context));
    let mut processes = Processes::default();
    // A task's note commits with what it did, as a chunk's does: see the load.
    connection
        .execute(
            "preparing the tasks",
            format!(
                "SET synchronous_commit = off; SET jit = off; SET work_mem = '{work}kB';
                 SET maintenance_work_mem = '{memory}kB'; RESET max_parallel_maintenance_workers"
            ),
        )
        .await?;
    let (state, on) = (&context.state, &context.run);
    name_statements(connection, state, on, context.options.jobs()).await?;
    let mut moved = context.watch.next_commit();
    let mut next = take(connection, state, on).await?;
    'tasks: loop {
        context.check_stop()?;
        if failed.is_stopped() {
            return Ok(());
        }
        match next {
            Next::Tasks(tasks, ready) => {
                context.options.fail_points.hit("a task is taken")?;
                if let [(number, task @ Task::Vacuum { junctions })] = tasks.as_slice() {
                    match make_maps(context, connection, *number, task, *junctions).await? {
                        Made::All => {}
                        Made::Own => {
                            moved = context.watch.next_commit();
                            next = take(connection, state, on).await?;
                            continue;
                        }
                        Made::NotByOthers => {
                            next = Next::Wait;
                            continue;
                        }
                    }
                }
                waiting = None;
                // A second process for one index takes a core from another index, where there is one.
                let alone = !context.takes_all_cores() || ready < context.options.jobs() as u64;
                processes.allow(connection, alone).await?;
                let mut done = Vec::with_capacity(tasks.len());
                let counts = tasks.iter().any(|(_, task)| matches!(task, Task::Junction { .. }));
                for (number, task) in tasks {
                    if !done.is_empty() {
                        let (run, state) = (context.run.run, context.state.name());
                        let name =
                            quote_literal(&status::announcement(run, Work::Task, number, state));
                        connection.ahead(format!("SET LOCAL application_name = {name}"));
                    }
                    let (step, describe) = (task.step(), task.describe());
                    let begun = match &task {
                        Task::Vacuum { junctions } => context.maps(*junctions).begun(),
                        _ => None,
                    };
                    let started = begun.unwrap_or_else(Instant::now);
                    if begun.is_none() {
                        context.reporter.event(&Event::TaskStarted { step, task: &describe });
                    }
                    let outcome = match run(context, connection, &task).await {
                        Err(error) if fit::is_too_long(&error) => {
                            connection.execute("ending a transaction", "ROLLBACK").await?;
                            processes.forget(connection).await?;
                            if !may_meet_a_rejected_row(context, connection, &task).await? {
                                return Err(error);
                            }
                            if !met.insert(number) {
                                return Err(fit::seen_by_others(error));
                            }
                            fit::wait_for_workers(context, connection, failed).await?;
                            moved = context.watch.next_commit();
                            next = take(connection, state, on).await?;
                            continue 'tasks;
                        }
                        outcome => outcome?,
                    };
                    let elapsed = started.elapsed();
                    let is_told = begun.is_some();
                    done.push(Done { number, step, describe, outcome, started, elapsed, is_told });
                }
                context.options.fail_points.hit("a task is written")?;
                let mut notes = notes_sql(connection, &done);
                notes.push("COMMIT".to_owned());
                let tell = || {
                    context.watch.note_commit();
                    for Done { step, describe, elapsed, .. } in
                        done.iter().filter(|done| !done.is_told)
                    {
                        let (step, elapsed) = (*step, *elapsed);
                        let finished = Event::TaskFinished { step, task: describe, elapsed };
                        context.reporter.event(&finished);
                    }
                };
                if counts {
                    // The server counts what a session has changed when it is in no transaction.
                    connection.execute("noting what is done", notes.join("; ")).await?;
                    tell();
                    moved = context.watch.next_commit();
                    next = take(connection, state, on).await?;
                } else {
                    // In one message, because most tasks of small tables take no longer than a few.
                    let committed = context.watch.committed();
                    moved = context.watch.next_commit();
                    let mut replies = Replies::default();
                    let taken = take_behind(connection, state, on, &notes, &mut replies).await;
                    // The server may also have ended before it could say so.
                    if replies.touched.len() >= notes.len() {
                        tell();
                    }
                    // This commit is nothing to wake up for. One that comes from here on wakes whoever
                    // waits for the next, and one that came before has been counted.
                    let after = context.watch.next_commit();
                    if context.watch.committed() == committed + 1 {
                        moved = after;
                    }
                    next = taken?;
                }
                context.options.fail_points.hit("a task is committed")?;
            }
            Next::Wait => {
                connection.execute("ending a transaction", "ROLLBACK").await?;
                let waited = waiting.get_or_insert_with(Instant::now).elapsed();
                tokio::select! {
                    () = tokio::time::sleep((waited / PART).clamp(PAUSE, LONGEST_PAUSE)) => {}
                    () = moved => {}
                }
                moved = context.watch.next_commit();
                next = take(connection, state, on).await?;
            }
            Next::Done => {
                connection.execute("ending a transaction", "ROLLBACK").await?;
                return context.state.make_durable(connection, context.run.run).await;
            }
        }
    }
}

/// Where the making of visibility maps has come to.
enum Made {
    /// There are none to make any more, and the task is only to be noted.
    All,
    /// Those of this process are made, and the task was given back.
    Own,
    /// Another process is still at it.
    NotByOthers,
}

/// Makes visibility maps, for which the task that was taken for it is given back.
async fn make_maps(
    context: &Context,
    connection: &mut Connection,
    number: i64,
    task: &Task,
    junctions: bool,
) -> Result<Made> {
    let mut models: Vec<&'static Model> = match junctions {
        true => context.junction_models().collect(),
        false => context.document_models().map(|(model, _)| model).collect(),
    };
    models.retain(|model| !kept::is_kept(context, model));
    let maps = context.maps(junctions);
    let (step, describe) = (task.step(), task.describe());
    let begins = || context.reporter.event(&Event::TaskStarted { step, task: &describe });
    if !maps.find(context, connection, &models, begins).await? {
        // What others do to a table may hold up whoever comes next there.
        let is_noted =
            maps.begun().is_none() || context.state.are_maps_left(connection, &context.run).await?;
        return Ok(if is_noted { Made::All } else { Made::NotByOthers });
    }
    // Its name tells what it does for as long as the transaction lives, and this goes on behind it.
    let (run, state) = (context.run.run, context.state.name());
    let at_it = quote_literal(&status::announcement(run, Work::Task, number, state));
    let share = context.state.share_maps_sql(&context.run);
    let give_back = format!("ROLLBACK; SET application_name = {at_it}; {share}");
    connection.execute("giving a task back", give_back).await?;
    context.watch.wake();
    let is_last = maps.make(context, connection).await?;
    let free = quote_literal(&status::worker_name(run, state));
    let leave = context.state.leave_maps_sql(&context.run);
    let as_before = format!("{leave}; SET synchronous_commit = off; SET application_name = {free}");
    connection.execute("having made visibility maps", as_before).await?;
    if is_last {
        let elapsed = maps.begun().map(|begun| begun.elapsed()).unwrap_or_default();
        context.reporter.event(&Event::TaskFinished { step, task: &describe, elapsed });
    }
    Ok(Made::Own)
}

/// Whether the server may build an index with several processes, as a connection was told last.
#[derive(Default)]
struct Processes {
    forbidden: bool,
}

impl Processes {
    /// Tells the connection, if that is news to it. What is told in a transaction that is rolled
    /// back is forgotten, so the caller commits, calls [`Processes::forget`], or gives the connection
    /// up.
    async fn allow(&mut self, connection: &mut Connection, allowed: bool) -> Result<()> {
        if self.forbidden == allowed {
            let sql = match allowed {
                true => "RESET max_parallel_maintenance_workers",
                false => "SET max_parallel_maintenance_workers = 0",
            };
            connection.execute("choosing how indexes are built", sql).await?;
            self.forbidden = !allowed;
        }
        Ok(())
    }

    /// After a transaction that was rolled back, and with it perhaps what was told in it.
    async fn forget(&mut self, connection: &mut Connection) -> Result<()> {
        self.forbidden = true;
        self.allow(connection, true).await
    }
}

/// Does one task within the caller's transaction.
async fn run(context: &Context, connection: &mut Connection, task: &Task) -> Result<Outcome> {
    let (state, number) = (&context.state, context.run.run);
    Ok(match task {
        // See `make_maps`.
        Task::Vacuum { .. } => Outcome::done(),
        Task::PrimaryKey { model, position } => {
            let definition = definition(context, connection, *position).await?;
            let model = context.model(model)?;
            let settled = settle::primary_key(context, connection, model, definition).await;
            Outcome::of(&settled.map_err(built_elsewhere)?)
        }
        Task::Fit { model, primary } => {
            Outcome::of(&fit::table(context, connection, context.model(model)?, *primary).await?)
        }
        Task::Settle { model } => {
            let settled = settle::table(context, connection, context.model(model)?, false).await;
            Outcome::of(&settled.map_err(built_elsewhere)?)
        }
        Task::SettleDeferred => Outcome::of(&settle_deferred(context, connection).await?),
        Task::LateReferences { model } => {
            let model = context.model(model)?;
            Outcome::of(&kept::late_references(context, connection, model).await?)
        }
        Task::Junction { model } => {
            let settled = settle::fill_junction(context, connection, context.model(model)?).await?;
            upkeep::count_changes(connection);
            Outcome::of(&settled)
        }
        Task::Index { position, .. } => {
            let is_open = context.definitions(connection).await?.contains_key(position);
            // Who had given the run up may have found that its column is gone.
            if is_open || !deferred::is_left_out(connection, state, number, *position).await? {
                let definition = definition(context, connection, *position).await?;
                deferred::build(connection, definition).await.map_err(built_elsewhere)?;
            }
            Outcome::built(vec![*position])
        }
        Task::AddForeignKeys { documents } => {
            let mut open = deferred::open(connection, state, number).await?;
            open.retain(|definition| {
                let part = definition.is_between_documents(context.names(), context.registry);
                definition.kind == Kind::ForeignKey && *documents == part
            });
            for of_table in open.chunk_by(|one, next| one.table == next.table) {
                let gone = deferred::add_foreign_keys(connection, state, number, of_table).await?;
                for definition in &gone {
                    let message = definition.gone_text();
                    context.reporter.event(&Event::Notice { message: &message });
                }
            }
            Outcome::done()
        }
        Task::ValidateForeignKeys { table } => {
            let definitions = context.definitions(connection).await?.values();
            let mut open: Vec<&Deferred> = definitions
                .filter(|definition| definition.validate.is_some() && definition.table == *table)
                .collect();
            let built = open.iter().map(|definition| definition.position).collect();
            if !context.run.created.tables.contains(table) {
                // What somebody has dropped meanwhile, or what it refers to, was not added.
                let added = deferred::foreign_keys_of(connection, table).await?;
                open.retain(|definition| added.contains(&definition.name));
            }
            let clauses: Vec<&str> =
                open.iter().filter_map(|definition| definition.validate.as_deref()).collect();
            if !clauses.is_empty() {
                // Those of another table may stand before these in one transaction.
                let joins = match context.is_walked(connection, table).await? {
                    true => upkeep::WALK_INDEXES,
                    false => upkeep::JOIN_AS_USUAL,
                };
                let validate = format!("{joins}; ALTER TABLE {table} {}", clauses.join(", "));
                match filled_junction(context, connection, &open).await? {
                    Some(model) => {
                        settle::validate_junction(context, connection, model, &validate).await?;
                    }
                    None => {
                        let act = format!("validating the foreign keys of {table}");
                        connection.execute(&act, validate).await?;
                    }
                }
            }
            Outcome::built(built)
        }
        Task::Analyze { model } => {
            upkeep::analyze(context, connection, context.model(model)?).await?;
            Outcome::done()
        }
    })
}

/// The junction that the foreign keys belong to, where it is filled and its pairs are still to be
/// checked.
async fn filled_junction(
    context: &Context,
    connection: &mut Connection,
    foreign_keys: &[&Deferred],
) -> Result<Option<&'static Model>> {
    let junctions = foreign_keys.iter().find_map(|key| context.registry.model(&key.model));
    let Some(model) = junctions.filter(|model| model.kind == ModelKind::Junction) else {
        return Ok(None);
    };
    let staged = connection
        .count(
            "looking for a staging table",
            format!(
                "SELECT count(to_regclass($1)) FROM {}
                 WHERE run = {} AND body->>'task' = 'junction' AND body->>'model' = $2",
                context.state.table("task"),
                context.run.run
            ),
            &[Some(&context.state.stage(model.name)), Some(model.name)],
        )
        .await?;
    Ok((staged > 0).then_some(model))
}

/// Whether what a task builds may have met a row that was rejected because a value was too long.
async fn may_meet_a_rejected_row(
    context: &Context,
    connection: &mut Connection,
    task: &Task,
) -> Result<bool> {
    let (model, position) = match task {
        Task::PrimaryKey { model, position } => (model.clone(), Some(*position)),
        Task::Settle { model } => (model.clone(), None),
        Task::Index { position, .. } => {
            (definition(context, connection, *position).await?.model.clone(), Some(*position))
        }
        _ => return Ok(false),
    };
    let model = context.registry.model(&model).filter(|model| model.kind.has_documents());
    match model {
        Some(model) => fit::may_meet_a_rejected_row(context, connection, model, position).await,
        None => Ok(false),
    }
}

/// The definition at that position, which waits for its task.
async fn definition<'a>(
    context: &'a Context,
    connection: &mut Connection,
    position: i32,
) -> Result<&'a Deferred> {
    context.definitions(connection).await?.get(&position).ok_or_else(|| {
        let message = format!("definition {position} was built outside of the run");
        Error::new(ErrorKind::Preflight, message).with_hint("start over with `--clean`")
    })
}

/// Says what to do about a name that is taken.
fn built_elsewhere(error: Error) -> Error {
    // A table or an index, another object, a primary key.
    match sql_state(&error) {
        Some("42P07" | "42710" | "42P16") => error.with_hint(
            "somebody has made it outside of the run: drop it and give the same command again, or start over with `--clean`",
        ),
        _ => error,
    }
}

/// Settles every table again with the references that were left out of the order, until nothing
/// is rejected any more: a row rejected in one round may be what another refers to.
async fn settle_deferred(
    context: &Context,
    connection: &mut Connection,
) -> Result<settle::Settled> {
    let mut all = settle::Settled::default();
    loop {
        let mut rejected = 0;
        for (model, _) in context.document_models() {
            let settled = settle::table(context, connection, model, true).await?;
            rejected += settled.rejected;
            for (column, count) in settled.orphans {
                *all.orphans.entry(format!("{}.{column}", model.table)).or_default() += count;
            }
        }
        all.rejected += rejected;
        if rejected == 0 {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ddl::Names;
    use crate::schema::Registry as _;
    use crate::{Migrate, registry};

    #[derive(Migrate)]
    #[migrate(collection = "towns")]
    #[allow(dead_code)]
    struct Town {
        #[migrate(id)]
        id: Uuid,
        #[migrate(index)]
        name: String,
        #[migrate(index)]
        mayor: Option<String>,
    }

    #[derive(Migrate)]
    #[migrate(collection = "people")]
    #[allow(dead_code)]
    struct Person {
        #[migrate(id)]
        id: Uuid,
        #[fk(Town)]
        town: Option<Uuid>,
        #[migrate(index)]
        name: String,
    }

    #[derive(Migrate)]
    #[migrate(collection = "pets")]
    #[allow(dead_code)]
    struct Pet {
        #[migrate(id)]
        id: Uuid,
        #[fk(Person)]
        owner: Option<Uuid>,
    }

    registry! { Place = [Town, Person, Pet] }

    #[derive(Migrate)]
    #[migrate(collection = "clubs")]
    #[allow(dead_code)]
    struct Club {
        #[migrate(id)]
        id: Uuid,
        #[fk(Town)]
        town: Option<Uuid>,
        #[junction(TownsOfClubs)]
        towns: Vec<Uuid>,
    }

    #[derive(Migrate)]
    #[migrate(junction)]
    #[allow(dead_code)]
    struct TownsOfClubs {
        #[fk(Club)]
        club: Uuid,
        #[fk(Town)]
        town: Uuid,
    }

    registry! { Society = [Town, Club, TownsOfClubs] }

    /// Whoever finds no key of a junction any more adds those that do not need one. What refers to a
    /// junction does, whoever has made it.
    #[test]
    fn foreign_keys_between_documents_are_added_beside_the_keys_of_junctions() {
        let (registry, names) = (Society::FACTS, Names { schema: "public" });
        let models = registry.iter().map(|(model, _)| model);
        let mut deferred: Vec<Deferred> =
            models.flat_map(|model| deferred::of_facts(names, model)).collect();
        let tasks = plan(registry, &deferred, &[], &[], &HashMap::new());
        let place = |task: &Task| tasks.iter().position(|planned| planned.task == *task).unwrap();
        let keys = tasks.iter().rposition(|planned| {
            planned.level == JUNCTION_KEYS && matches!(planned.task, Task::Index { .. })
        });
        let documents = place(&Task::AddForeignKeys { documents: true });
        let others = place(&Task::AddForeignKeys { documents: false });
        assert_eq!(tasks[documents].level, JUNCTION_KEYS);
        assert!(keys.unwrap() < documents && documents < others);
        assert!(tasks[others].ready >= JUNCTION_KEYS);

        let of_clubs = |definition: &&Deferred| {
            definition.kind == Kind::ForeignKey && definition.model == "Club"
        };
        let mut theirs = deferred.iter().find(of_clubs).unwrap().clone();
        theirs.columns[1] = names.table(registry.model("TownsOfClubs").unwrap());
        // As the catalogue has one of several columns, which it quotes where it must.
        let several = Deferred {
            build: r#"ALTER TABLE x ADD CONSTRAINT y FOREIGN KEY (a, b) REFERENCES public."Town"(a, b)"#
                .to_owned(),
            columns: Vec::new(),
            ..theirs.clone()
        };
        let nobodys = Deferred { model: String::new(), ..several.clone() };
        deferred.extend([theirs, several, nobodys]);
        deferred.retain(|definition| definition.kind == Kind::ForeignKey);
        let between: Vec<(&str, bool)> = deferred
            .iter()
            .map(|key| (key.model.as_str(), key.is_between_documents(names, registry)))
            .collect();
        let expected = [
            ("Club", true),
            ("TownsOfClubs", false),
            ("TownsOfClubs", false),
            ("Club", false),
            ("Club", true),
            ("", false),
        ];
        assert_eq!(between, expected);
    }

    /// The tasks where the collections have so many bytes.
    fn tasks(
        bytes: [u64; 3],
        existing: &[&'static Model],
        kept: &[&'static Model],
    ) -> Vec<Planned> {
        let registry = Place::FACTS;
        let names = Names { schema: "public" };
        let models = registry.iter().map(|(model, _)| model);
        let deferred: Vec<Deferred> =
            models.flat_map(|model| crate::deferred::of_facts(names, model)).collect();
        let bytes = ["Town", "Person", "Pet"].into_iter().zip(bytes).collect();
        plan(registry, &deferred, existing, kept, &bytes)
    }

    /// The tables of one kind of task with their marks, in the order in which they are taken.
    fn marks(
        tasks: &[Planned],
        of: impl Fn(&Task) -> Option<String>,
    ) -> Vec<(String, Option<&str>)> {
        tasks.iter().filter_map(|task| Some((of(&task.task)?, task.together.as_deref()))).collect()
    }

    fn validated(task: &Task) -> Option<String> {
        match task {
            Task::ValidateForeignKeys { table } => Some(table.replace("\"public\".", "")),
            _ => None,
        }
    }

    fn analyzed(task: &Task) -> Option<String> {
        match task {
            Task::Analyze { model } => Some(format!("{model:?}")),
            _ => None,
        }
    }

    fn indexed(task: &Task) -> Option<String> {
        match task {
            Task::Index { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    /// Both lock several tables in one transaction, and in the same way.
    #[test]
    fn foreign_keys_and_statistics_go_through_tables_in_one_order() {
        for bytes in [[10, 10, 10], [10, 20, 30], [30, 20, 10], [10, 30, 20]] {
            let tasks = tasks(bytes, &[], &[]);
            let statistics: Vec<String> =
                marks(&tasks, analyzed).into_iter().map(|(table, _)| table).collect();
            let keys = marks(&tasks, validated);
            let place = |table: &str| statistics.iter().position(|other| other == table).unwrap();
            assert!(keys.is_sorted_by_key(|(table, _)| place(table)), "{keys:?} {statistics:?}");
            assert!(keys.iter().all(|(_, mark)| *mark == Some("foreign keys 0")), "{keys:?}");
        }
    }

    #[test]
    fn what_goes_through_much_has_a_transaction_of_its_own() {
        let half = TOGETHER_BYTES / 2;
        // Largest first: one alone, and one of which nobody knows how large it is.
        let tasks = tasks([TOGETHER_BYTES + 1, half + 1, 0], &[], &[]);
        let all = marks(&tasks, analyzed);
        let statistics: Vec<_> = all.iter().map(|(table, mark)| (table.as_str(), *mark)).collect();
        let expected =
            [("\"Town\"", None), ("\"Person\"", Some("statistics 0")), ("\"Pet\"", None)];
        assert_eq!(statistics, expected);
        let tasks = self::tasks([half + 1, half, half], &[], &[]);
        let marks: Vec<_> = marks(&tasks, analyzed).into_iter().map(|(_, mark)| mark).collect();
        assert_eq!(marks, [Some("statistics 0"), Some("statistics 1"), Some("statistics 1")]);
    }

    /// What somebody else reads or has filled is not shut longer than one task needs.
    #[test]
    fn tables_that_were_there_are_done_one_by_one() {
        let town: Vec<&'static Model> = Place::FACTS
            .iter()
            .map(|(model, _)| model)
            .filter(|model| model.name == "Town")
            .collect();
        let keys = |task: &Task| match task {
            Task::PrimaryKey { model, .. } => Some(model.clone()),
            _ => None,
        };
        let mark = |tasks: &[Planned], of: &dyn Fn(&Task) -> Option<String>, name: &str| {
            let all = marks(tasks, of);
            let (_, mark) = all.iter().find(|(found, _)| found.contains(name)).unwrap();
            mark.is_some()
        };
        let fresh = tasks([10, 10, 10], &[], &[]);
        let existing = tasks([10, 10, 10], &town, &[]);
        let filled = tasks([10, 10, 10], &town, &town);
        assert!(mark(&fresh, &keys, "Town") && !mark(&existing, &keys, "Town"));
        assert!(mark(&existing, &indexed, "Town_name") && !mark(&filled, &indexed, "Town_name"));
        assert!(mark(&existing, &analyzed, "Town") && !mark(&filled, &analyzed, "Town"));
    }
}
