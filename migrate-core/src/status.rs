//! What a run did so far and does now, read from the target alone.
//!
//! The state tells what is done, because a note commits with the thing itself. Who is at work is
//! told by PostgreSQL: a worker's connection carries the run's number in its name, and the chunk or
//! task for as long as the transaction that does it lives. There is nothing to go stale: a worker
//! that dies takes its connection, and with it its name and its lock, away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Step;
use crate::rejects;
use crate::run::Options;
use crate::schema::{RegistryFacts, quote_literal};
use crate::sink::{Connection, Target, target_error};
use crate::state::{Fingerprint, State};
use crate::summary::Summary;
use crate::task::Task;

/// How long back the rate of a run at work looks.
const RATE_WINDOW_SECONDS: f64 = 60.0;

/// What a worker has in hand.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// A chunk of a collection.
    Chunk,
    /// What follows the load.
    Task,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::Task => "task",
        }
    }
}

/// An expression that names the connection after the work in the column `number`, until the
/// transaction ends; see [`announcement`].
pub(crate) fn announce_sql(run: i64, work: Work, number: &str, state_schema: &str) -> String {
    let work = work.name();
    // Together with the taking, so that it costs no round trip; and without a parameter, so that the
    // server plans it once and not anew for each of the first times.
    let schema = quote_literal(state_schema);
    format!(
        "set_config('application_name', 'migrate run {run} {work} ' || {number} || ' in ' || {schema}, true)"
    )
}

/// The name of a worker's connection that has this in hand.
pub(crate) fn announcement(run: i64, work: Work, number: i64, state_schema: &str) -> String {
    format!("migrate run {run} {} {number} in {state_schema}", work.name())
}

/// The name of a worker's connection that has nothing in hand.
pub(crate) fn worker_name(run: i64, state_schema: &str) -> String {
    format!("migrate run {run} in {state_schema}")
}

/// The name of a connection that validates.
pub(crate) fn validator_name(run: i64, state_schema: &str) -> String {
    format!("migrate validate {run} in {state_schema}")
}

/// Whether a session's name is that of a worker of the run, at a chunk or a task or between two.
pub(crate) fn is_worker(name: &str, state_schema: &str, run: i64) -> bool {
    parse_name(name, state_schema)
        .is_some_and(|announced| announced.run == run && !announced.validates)
}

/// Understands the name of a connection.
fn parse_name(name: &str, state_schema: &str) -> Option<Announced> {
    /// PostgreSQL cuts names off behind this many bytes, and replaces what is not ASCII.
    const LONGEST: usize = 63;
    let (head, schema) = name.split_once(" in ")?;
    let same = schema == state_schema
        || !state_schema.is_ascii()
        || (name.len() >= LONGEST && state_schema.starts_with(schema));
    let mut words = head.split(' ');
    if !same || words.next() != Some("migrate") {
        return None;
    }
    let validates = match words.next()? {
        "run" => false,
        "validate" => true,
        _ => return None,
    };
    let mut announced =
        Announced { run: words.next()?.parse().ok()?, validates, chunk: None, task: None };
    match (words.next(), words.next().and_then(|number| number.parse().ok())) {
        (Some("chunk"), number) => announced.chunk = number,
        (Some("task"), number) => announced.task = number,
        _ => {}
    }
    Some(announced)
}

#[derive(Debug, PartialEq)]
struct Announced {
    run: i64,
    validates: bool,
    chunk: Option<i64>,
    task: Option<i64>,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Somebody is at work on it.
    Running,
    /// It is not complete, and nobody is at work on it.
    #[default]
    Stopped,
    /// It is complete, and its sums hold.
    Complete,
    /// Everything is done, but the sums do not hold.
    Unbalanced,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Documents are read and become rows.
    #[default]
    Load,
    /// References to nothing, duplicates, junctions.
    Settle,
    /// Keys, indexes and foreign keys.
    Constrain,
    /// Statistics.
    Analyze,
    /// The sums are made.
    Report,
    /// Every row is compared with its source.
    Validate,
    /// Nothing is left to do.
    Done,
}

impl Stage {
    /// The stage's name, as in `constrain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Settle => "settle",
            Self::Constrain => "constrain",
            Self::Analyze => "analyze",
            Self::Report => "report",
            Self::Validate => "validate",
            Self::Done => "done",
        }
    }

    fn of(step: Step) -> Self {
        match step {
            Step::Preflight | Step::Schema | Step::Load => Self::Load,
            Step::Settle => Self::Settle,
            Step::Constrain => Self::Constrain,
            Step::Analyze => Self::Analyze,
            Step::Validate => Self::Validate,
            Step::Report => Self::Report,
        }
    }
}

/// What a run did so far and does now. `status --json` prints it; docs/status.md describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this format.
    pub version: u32,
    /// The run's number.
    pub run: i64,
    /// How many runs the state has; the last one has the highest number.
    pub runs: u64,
    /// The registry's name.
    pub registry: String,
    /// Where documents come from, without secrets.
    pub source: String,
    /// Where rows go, without secrets.
    pub target: String,
    /// The schema of the state.
    pub state_schema: String,
    /// The options that decide what the rows are, by name.
    pub options: BTreeMap<String, String>,
    /// The models that it loads, when those are not all of the registry.
    pub only: Vec<String>,
    /// Whether it goes on.
    pub activity: Activity,
    /// How far it is.
    pub stage: Stage,
    /// When the state was read, by the target's clock, in ISO 8601.
    pub at: String,
    /// When the run began, by the target's clock.
    pub started_at: String,
    /// When somebody gave it up, by putting keys and indexes back before its end.
    #[serde(default)]
    pub given_up_at: Option<String>,
    /// When it was complete.
    pub finished_at: Option<String>,
    /// From its beginning to its end, or to now when it runs, or to the last thing done when it
    /// stopped.
    pub seconds: f64,
    /// Chunks of all collections.
    pub chunks: u64,
    /// Chunks that are done.
    pub chunks_done: u64,
    /// The tables of collections, in the order of the registry.
    pub tables: Vec<TableStatus>,
    /// What follows the load, stage by stage.
    pub tasks: Vec<TaskStatus>,
    /// Who is at work.
    pub workers: Vec<Worker>,
    /// Sums over all tables.
    pub totals: TableTotals,
    /// How fast documents are read: of a run at work in its last minute, else over all of its
    /// load.
    pub rate: Rate,
    /// Seconds until the load is done, where that can be told.
    pub load_seconds_left: Option<f64>,
    /// The summary of a complete run.
    pub summary: Option<Summary>,
}

/// The documents of one collection on their way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableStatus {
    /// The model.
    pub model: String,
    /// The table, with its schema where it has one of its own.
    pub table: String,
    /// The collection.
    pub collection: String,
    /// Chunks it was cut into.
    pub chunks: u64,
    /// Chunks that are done.
    pub chunks_done: u64,
    /// Documents as they were estimated before the load; 0 when nobody knew.
    pub estimate: u64,
    /// What became of the documents of the chunks that are done.
    #[serde(flatten)]
    pub totals: TableTotals,
    /// Seconds of work in all chunks; workers side by side each count theirs.
    pub seconds: f64,
}

/// Counts of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableTotals {
    /// Documents read.
    pub read: u64,
    /// Rows that are in the table.
    pub loaded: u64,
    /// Documents in the ledger.
    pub rejected: u64,
    /// Documents that the model's filter left out.
    pub skipped: u64,
    /// BSON bytes read.
    pub bytes: u64,
}

/// The tasks of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The stage.
    pub stage: Stage,
    /// Its tasks.
    pub tasks: u64,
    /// Those that are done.
    pub done: u64,
    /// Seconds of work; workers side by side each count theirs.
    pub seconds: f64,
}

/// A connection that works on the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The server's process.
    pub pid: i32,
    /// Who is connected.
    pub user: String,
    /// From where; empty for a local socket.
    pub address: String,
    /// What it has in hand, in words; `None` between two pieces of work.
    pub work: Option<String>,
    /// The number of the chunk in hand.
    pub chunk: Option<i64>,
    /// The number of the task in hand.
    pub task: Option<i64>,
    /// Whether it validates.
    pub validates: bool,
    /// How long it is at it.
    pub seconds: f64,
    /// Rows that it has sent and not committed, where the server tells (14 and later).
    pub rows: u64,
    /// Who holds a lock that it waits for, workers of the run last.
    pub waits_for: Vec<Blocker>,
}

/// Somebody who holds a lock that a worker waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// The server's process.
    pub pid: i32,
    /// Who is connected.
    pub user: String,
    /// The program.
    pub application: String,
    /// Its state, as in `idle in transaction`; empty where this user may not see it.
    pub state: String,
    /// How long its transaction lives.
    pub seconds: f64,
}

/// How fast documents are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Documents per second.
    pub documents: f64,
    /// BSON bytes per second.
    pub bytes: f64,
    /// Over how many seconds.
    pub seconds: f64,
}

/// When everything was done, for a picture of it. Seconds are from the beginning of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The chunks that are done, in the order in which they were.
    pub chunks: Vec<ChunkSpan>,
    /// The tasks that are done, in the order in which they were.
    pub tasks: Vec<TaskSpan>,
    /// The ledger by table, stage and reason, the most frequent first.
    pub rejects: Vec<RejectCount>,
}

/// A chunk that is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkSpan {
    /// The model.
    pub model: String,
    /// When it was begun.
    pub begun: f64,
    /// When it was done.
    pub done: f64,
    /// Documents read.
    pub read: u64,
    /// BSON bytes read.
    pub bytes: u64,
}

/// A task that is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSpan {
    /// The stage it belongs to.
    pub stage: Stage,
    /// What was done.
    pub task: String,
    /// The model it was about, where there is one.
    pub model: Option<String>,
    /// When it was begun.
    pub begun: f64,
    /// When it was done.
    pub done: f64,
}

/// Rejects with a table, a stage and a reason in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RejectCount {
    /// The table.
    pub table: String,
    /// The stage: `transform`, `write` or `settle`.
    pub stage: String,
    /// The reason's code.
    pub reason: String,
    /// How many.
    pub count: u64,
}

impl Status {
    /// The version of the format that this code writes.
    pub const VERSION: u32 = 1;

    /// Whether nothing more will be done on it.
    pub fn is_over(&self) -> bool {
        matches!(self.activity, Activity::Complete | Activity::Unbalanced)
    }
}

/// Reads the state of runs, again and again if need be, on one connection.
#[derive(Debug)]
pub struct Observer {
    registry: &'static RegistryFacts,
    target: Target,
    connection: Connection,
    state: State,
}

const ACT: &str = "reading the state of the run";

impl Observer {
    /// Connects to a target that has a state.
    ///
    /// # Errors
    /// When it cannot be reached, or no run has left a state in the options' schema.
    pub async fn open(
        registry: &'static RegistryFacts,
        target: &str,
        options: &Options,
    ) -> Result<Self> {
        let target = Target::parse(target)?.named("migrate status");
        let mut connection = target.connect().await?;
        let state = State::new(&options.state_schema);
        if !state.exists(&mut connection).await? {
            return Err(rejects::no_run(options));
        }
        Ok(Self { registry, target, connection, state })
    }

    /// What a run, or the last one, did so far and does now: one view of all tables of the state.
    ///
    /// # Errors
    /// When there is no such run, the state is of another version, or the server does not answer.
    pub async fn status(&mut self, run: Option<i64>) -> Result<Status> {
        // The version is checked there.
        let runs = self.state.runs(&mut self.connection).await?;
        let number = number(&runs, run, &self.state)?;
        self.connection.execute(ACT, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let status = self.read(number, runs.len() as u64).await;
        // The error of the reading is the one that says what went wrong.
        let ended = self.connection.execute(ACT, "ROLLBACK").await;
        let status = status?;
        ended.map(|_| status)
    }

    /// When everything of a run, or of the last one, was done.
    ///
    /// # Errors
    /// As [`Observer::status`].
    pub async fn history(&mut self, run: Option<i64>) -> Result<History> {
        let runs = self.state.runs(&mut self.connection).await?;
        let run = number(&runs, run, &self.state)?;
        let mut history = History::default();
        let since =
            format!("(SELECT started_at FROM {} WHERE run = {run})", self.state.table("run"));
        for row in self
            .query(format!(
                "SELECT model, extract(epoch FROM done_at - {since})::float8, seconds, read, bytes
                 FROM {} WHERE run = {run} AND done ORDER BY done_at, chunk",
                self.state.table("chunk")
            ))
            .await?
        {
            let done: f64 = get(&row, 1)?;
            let seconds: f64 = get(&row, 2)?;
            history.chunks.push(ChunkSpan {
                model: get(&row, 0)?,
                begun: (done - seconds).max(0.0),
                done: done.max(0.0),
                read: unsigned(&row, 3)?,
                bytes: unsigned(&row, 4)?,
            });
        }
        for row in self
            .query(format!(
                "SELECT body::text, extract(epoch FROM done_at - {since})::float8, seconds
                 FROM {} WHERE run = {run} AND done ORDER BY done_at, task",
                self.state.table("task")
            ))
            .await?
        {
            let task = task(&get::<String>(&row, 0)?)?;
            let done: f64 = get(&row, 1)?;
            let seconds: Option<f64> = get(&row, 2)?;
            history.tasks.push(TaskSpan {
                stage: Stage::of(task.step()),
                task: task.describe(),
                model: task.model().map(str::to_owned),
                begun: (done - seconds.unwrap_or_default()).max(0.0),
                done: done.max(0.0),
            });
        }
        for row in self
            .query(format!(
                "SELECT table_name, stage, reason, count(*) FROM {} WHERE run = {run}
                 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
                self.state.table("reject")
            ))
            .await?
        {
            history.rejects.push(RejectCount {
                table: get(&row, 0)?,
                stage: get(&row, 1)?,
                reason: get(&row, 2)?,
                count: unsigned(&row, 3)?,
            });
        }
        Ok(history)
    }

    /// Says good-bye to the server.
    pub async fn close(self) {
        self.connection.close().await;
    }

    async fn query(&mut self, sql: String) -> Result<Vec<PgRow>> {
        self.connection.query(ACT, sql, &[]).await
    }

    async fn read(&mut self, run: i64, runs: u64) -> Result<Status> {
        let mut status = Status {
            version: Status::VERSION,
            run,
            runs,
            target: self.target.describe(),
            state_schema: self.state.name().to_owned(),
            ..Status::default()
        };
        let finished = self.read_run(&mut status).await?;
        self.read_tables(&mut status).await?;
        let stage = self.read_tasks(&mut status).await?;
        self.read_workers(&mut status).await?;
        let works = |validates| status.workers.iter().any(|worker| worker.validates == validates);
        let unbalanced = status.summary.as_ref().is_some_and(|summary| !summary.balanced);
        status.stage = match stage {
            Some(stage) => stage,
            None if works(true) => Stage::Validate,
            None if finished || (unbalanced && !works(false)) => Stage::Done,
            None => Stage::Report,
        };
        status.activity = match finished {
            true => Activity::Complete,
            false if works(false) => Activity::Running,
            false if unbalanced && status.stage == Stage::Done => Activity::Unbalanced,
            false => Activity::Stopped,
        };
        self.read_times(&mut status).await?;
        Ok(status)
    }

    /// The run itself; gives whether it is finished.
    async fn read_run(&mut self, status: &mut Status) -> Result<bool> {
        const ISO: &str = "'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'";
        let rows = self
            .query(format!(
                "SELECT fingerprint::text, summary::text, to_char(started_at AT TIME ZONE 'UTC', {ISO}),
                    to_char(finished_at AT TIME ZONE 'UTC', {ISO}),
                    to_char(now() AT TIME ZONE 'UTC', {ISO}),
                    to_char(given_up_at AT TIME ZONE 'UTC', {ISO})
                 FROM {} WHERE run = {}",
                self.state.table("run"),
                status.run
            ))
            .await?;
        let row = rows.first().ok_or_else(|| no_such_run(status.run, &self.state))?;
        let fingerprint: String = get(row, 0)?;
        let fingerprint: Fingerprint = serde_json::from_str(&fingerprint).map_err(unreadable)?;
        let summary: Option<String> = get(row, 1)?;
        status.summary = summary.and_then(|summary| serde_json::from_str(&summary).ok());
        status.started_at = get(row, 2)?;
        status.finished_at = get(row, 3)?;
        status.at = get(row, 4)?;
        status.given_up_at = get(row, 5)?;
        let registry = self.registry;
        let collections =
            || registry.iter().map(|(model, _)| model).filter(|model| model.kind.has_documents());
        if collections().any(|model| !fingerprint.models.contains_key(model.name)) {
            status.only = collections()
                .filter(|model| fingerprint.models.contains_key(model.name))
                .map(|model| model.name.to_owned())
                .collect();
        }
        status.registry = fingerprint.registry;
        status.source = fingerprint.source;
        status.options = fingerprint.options;
        Ok(status.finished_at.is_some())
    }

    async fn read_tables(&mut self, status: &mut Status) -> Result<()> {
        let (chunk, reject, run) =
            (self.state.table("chunk"), self.state.table("reject"), status.run);
        // `loaded` counts the rows of a chunk at its end; what is rejected later comes off.
        let rows = self
            .query(format!(
                "SELECT model, collection, count(*), count(*) FILTER (WHERE done),
                    sum(estimate)::bigint, sum(read)::bigint, sum(loaded)::bigint,
                    sum(rejected)::bigint, sum(skipped)::bigint, sum(bytes)::bigint, sum(seconds)
                 FROM {chunk} WHERE run = {run} GROUP BY 1, 2"
            ))
            .await?;
        let ledger = self
            .query(format!(
                "SELECT collection, table_name, count(*) FROM {reject} WHERE run = {run} GROUP BY 1, 2"
            ))
            .await?;
        let mut rejects: BTreeMap<(String, String), u64> = BTreeMap::new();
        for row in &ledger {
            rejects.insert((get(row, 0)?, get(row, 1)?), unsigned(row, 2)?);
        }
        for row in &rows {
            let name: String = get(row, 0)?;
            let model = self.registry.model(&name);
            let table = model.map_or(name.as_str(), |model| model.table);
            let collection: String = get(row, 1)?;
            let rejected =
                rejects.get(&(collection.clone(), table.to_owned())).copied().unwrap_or_default();
            let late = rejected.saturating_sub(unsigned(row, 7)?);
            let mut totals = TableTotals {
                read: unsigned(row, 5)?,
                loaded: unsigned(row, 6)?.saturating_sub(late),
                rejected,
                skipped: unsigned(row, 8)?,
                bytes: unsigned(row, 9)?,
            };
            // At the end the rows were counted in the table itself.
            let summary = status.summary.iter().flat_map(|summary| &summary.tables);
            if let Some(counted) = summary.into_iter().find(|table| table.model == name) {
                totals.loaded = counted.loaded;
                totals.rejected = counted.rejected;
            }
            status.totals.add(&totals);
            let chunks = unsigned(row, 2)?;
            let chunks_done = unsigned(row, 3)?;
            status.chunks += chunks;
            status.chunks_done += chunks_done;
            status.tables.push(TableStatus {
                table: match model.and_then(|model| model.schema) {
                    Some(schema) => format!("{schema}.{table}"),
                    None => table.to_owned(),
                },
                model: name,
                collection,
                chunks,
                chunks_done,
                estimate: unsigned(row, 4)?,
                totals,
                seconds: get(row, 10)?,
            });
        }
        let place = |name: &str| {
            self.registry.iter().position(|(model, _)| model.name == name).unwrap_or(usize::MAX)
        };
        status.tables.sort_by_cached_key(|table| (place(&table.model), table.model.clone()));
        Ok(())
    }

    /// The tasks by stage; gives the first stage that has something left to do.
    async fn read_tasks(&mut self, status: &mut Status) -> Result<Option<Stage>> {
        let rows = self
            .query(format!(
                "SELECT body::text, done, seconds FROM {} WHERE run = {} ORDER BY level, task",
                self.state.table("task"),
                status.run
            ))
            .await?;
        let mut stages: BTreeMap<Stage, TaskStatus> = BTreeMap::new();
        let mut open = None;
        for row in &rows {
            let stage = Stage::of(task(&get::<String>(row, 0)?)?.step());
            let sum = stages.entry(stage).or_insert(TaskStatus { stage, ..Default::default() });
            sum.tasks += 1;
            if get(row, 1)? {
                sum.done += 1;
                sum.seconds += get::<Option<f64>>(row, 2)?.unwrap_or_default();
            } else if open.is_none() {
                open = Some(stage);
            }
        }
        status.tasks = stages.into_values().collect();
        Ok(if status.chunks_done < status.chunks { Some(Stage::Load) } else { open })
    }

    async fn read_workers(&mut self, status: &mut Status) -> Result<()> {
        let version =
            self.query("SELECT current_setting('server_version_num')::bigint".to_owned()).await?;
        let version = version.first().map_or(Ok(0), |row| unsigned(row, 0))?;
        let rows_sent = match version {
            140_000.. => {
                "(SELECT tuples_processed FROM pg_stat_progress_copy c WHERE c.pid = a.pid LIMIT 1)"
            }
            _ => "NULL::bigint",
        };
        // Who holds a lock on a chunk or task is at work, also where a pooler changes the names.
        let rows = self
            .query(format!(
                "SELECT a.pid, coalesce(a.usename::text, ''), coalesce(host(a.client_addr), ''),
                    a.application_name,
                    coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8,
                    coalesce({rows_sent}, 0),
                    CASE WHEN a.wait_event_type = 'Lock'
                        THEN pg_blocking_pids(a.pid) ELSE '{{}}' END,
                    EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted
                        AND l.mode = 'RowShareLock' AND l.relation IN (
                            to_regclass('{}')::oid, to_regclass('{}')::oid))
                 FROM pg_stat_activity a
                 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
                 ORDER BY a.xact_start NULLS LAST, a.pid",
                self.state.table("chunk").replace('\'', "''"),
                self.state.table("task").replace('\'', "''"),
            ))
            .await?;
        for row in &rows {
            let name: String = get(row, 3)?;
            let holds: bool = get(row, 7)?;
            let announced = match parse_name(&name, &status.state_schema) {
                Some(announced) if announced.run == status.run => announced,
                // Only the run that is not finished can have workers.
                None if holds && status.finished_at.is_none() && !name.starts_with("migrate ") => {
                    Announced { run: status.run, validates: false, chunk: None, task: None }
                }
                _ => continue,
            };
            let blockers: Vec<i32> = get(row, 6)?;
            let mut worker = Worker {
                pid: get(row, 0)?,
                user: get(row, 1)?,
                address: get(row, 2)?,
                work: None,
                chunk: announced.chunk,
                task: announced.task,
                validates: announced.validates,
                seconds: get::<f64>(row, 4)?.max(0.0),
                rows: unsigned(row, 5)?,
                waits_for: Vec::new(),
            };
            worker.work = self.work(status, &announced).await?;
            for pid in blockers {
                worker.waits_for.push(self.blocker(pid).await?);
            }
            // Of the run's own workers another line says what they wait for.
            let is_ours = |blocker: &Blocker| {
                parse_name(&blocker.application, &status.state_schema).is_some()
            };
            worker.waits_for.sort_by_key(is_ours);
            status.workers.push(worker);
        }
        Ok(())
    }

    /// What a worker has in hand, in words.
    async fn work(&mut self, status: &Status, announced: &Announced) -> Result<Option<String>> {
        let run = status.run;
        if announced.validates {
            return Ok(Some("compares rows with the source".to_owned()));
        }
        if let Some(chunk) = announced.chunk {
            let sql = format!(
                "SELECT model FROM {} WHERE run = {run} AND chunk = {chunk}",
                self.state.table("chunk")
            );
            let rows = self.query(sql).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let model: String = get(row, 0)?;
            let table = status.tables.iter().find(|table| table.model == model);
            let table = table.map_or(model.as_str(), |table| &table.table);
            return Ok(Some(format!("chunk {chunk} of {table}")));
        }
        let Some(number) = announced.task else { return Ok(None) };
        let sql = format!(
            "SELECT body::text FROM {} WHERE run = {run} AND task = {number}",
            self.state.table("task")
        );
        let rows = self.query(sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(task(&get::<String>(row, 0)?)?.describe()))
    }

    async fn blocker(&mut self, pid: i32) -> Result<Blocker> {
        let rows = self
            .query(format!(
                "SELECT coalesce(usename::text, ''), application_name, coalesce(state, ''),
                    coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8
                 FROM pg_stat_activity WHERE pid = {pid}"
            ))
            .await?;
        let Some(row) = rows.first() else { return Ok(Blocker { pid, ..Blocker::default() }) };
        Ok(Blocker {
            pid,
            user: get(row, 0)?,
            application: get(row, 1)?,
            state: get(row, 2)?,
            seconds: get(row, 3)?,
        })
    }

    /// How long it took so far, how fast it is, and how long the load will take.
    async fn read_times(&mut self, status: &mut Status) -> Result<()> {
        let (chunk, run) = (self.state.table("chunk"), status.run);
        let end = match status.activity {
            Activity::Running => "now()".to_owned(),
            _ => format!(
                "coalesce(finished_at, (SELECT max(done_at) FROM (
                    SELECT done_at FROM {chunk} WHERE run = {run}
                    UNION ALL SELECT done_at FROM {} WHERE run = {run}) all_done), started_at)",
                self.state.table("task")
            ),
        };
        let rows = self
            .query(format!(
                "SELECT extract(epoch FROM {end} - started_at)::float8 FROM {} WHERE run = {run}",
                self.state.table("run")
            ))
            .await?;
        status.seconds = rows.first().map_or(Ok(0.0), |row| get(row, 0))?;
        status.rate = match (status.activity, status.stage) {
            (Activity::Running, Stage::Load) => self.rate_now(status).await?,
            _ => self.rate_of_all(status).await?,
        };
        if status.stage == Stage::Load && status.rate.documents > 0.0 {
            let open: u64 = status
                .tables
                .iter()
                .filter(|table| table.chunks_done < table.chunks)
                .map(|table| {
                    let share = table.estimate as f64 / table.chunks.max(1) as f64;
                    (share * (table.chunks - table.chunks_done) as f64) as u64
                })
                .sum();
            let on_the_way: u64 = status.workers.iter().map(|worker| worker.rows).sum();
            if open > 0 {
                let left = open.saturating_sub(on_the_way) as f64 / status.rate.documents;
                status.load_seconds_left = Some(left);
            }
        }
        Ok(())
    }

    /// The rate of the last minute. A chunk that began before counts with the part of it that
    /// falls within; while the first chunks are on their way, the rows sent count.
    async fn rate_now(&mut self, status: &Status) -> Result<Rate> {
        let rows = self
            .query(format!(
                "WITH recent AS (
                    SELECT done_at - make_interval(secs => seconds) AS begun, done_at, read, bytes,
                        now() - make_interval(secs => {RATE_WINDOW_SECONDS}) AS since
                    FROM {} WHERE run = {} AND done_at > now() - make_interval(secs => {RATE_WINDOW_SECONDS})
                 ), shares AS (
                    SELECT begun, since, read, bytes, CASE WHEN begun >= since THEN 1 ELSE
                        extract(epoch FROM done_at - since) / extract(epoch FROM done_at - begun)
                        END::float8 AS share
                    FROM recent)
                 SELECT coalesce(sum(read * share), 0)::float8, coalesce(sum(bytes * share), 0)::float8,
                    coalesce(extract(epoch FROM now() - greatest(min(begun), min(since))), 0)::float8
                 FROM shares",
                self.state.table("chunk"),
                status.run
            ))
            .await?;
        let Some(row) = rows.first() else { return Ok(Rate::default()) };
        let (documents, bytes, seconds): (f64, f64, f64) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        if documents > 0.0 && seconds > 0.0 {
            return Ok(Rate { documents: documents / seconds, bytes: bytes / seconds, seconds });
        }
        let sent: u64 = status.workers.iter().map(|worker| worker.rows).sum();
        let longest = status.workers.iter().map(|worker| worker.seconds).fold(0.0, f64::max);
        Ok(match longest > 0.0 {
            true => Rate { documents: sent as f64 / longest, bytes: 0.0, seconds: longest },
            false => Rate::default(),
        })
    }

    /// The rate over the time in which chunks were loaded, without the pauses between processes.
    async fn rate_of_all(&mut self, status: &Status) -> Result<Rate> {
        let rows = self
            .query(format!(
                "WITH span AS (
                    SELECT done_at - make_interval(secs => seconds) AS begun, done_at
                    FROM {} WHERE run = {} AND done
                 ), marked AS (
                    SELECT *, begun > max(done_at) OVER (
                        ORDER BY begun, done_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                        AS apart FROM span
                 ), numbered AS (
                    SELECT *, count(*) FILTER (WHERE apart) OVER (ORDER BY begun, done_at) AS island
                    FROM marked
                 ), islands AS (
                    SELECT max(done_at) - min(begun) AS length FROM numbered GROUP BY island)
                 SELECT coalesce(extract(epoch FROM sum(length)), 0)::float8 FROM islands",
                self.state.table("chunk"),
                status.run
            ))
            .await?;
        let seconds: f64 = rows.first().map_or(Ok(0.0), |row| get(row, 0))?;
        if seconds <= 0.0 {
            return Ok(Rate::default());
        }
        Ok(Rate {
            documents: status.totals.read as f64 / seconds,
            bytes: status.totals.bytes as f64 / seconds,
            seconds,
        })
    }
}

impl TableTotals {
    fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.loaded += other.loaded;
        self.rejected += other.rejected;
        self.skipped += other.skipped;
        self.bytes += other.bytes;
    }
}

/// The number of the run that is meant: the one that was named, or the last.
fn number(runs: &[crate::state::RunRow], run: Option<i64>, state: &State) -> Result<i64> {
    let found = match run {
        Some(number) => runs.iter().find(|run| run.run == number),
        None => runs.last(),
    };
    found.map(|run| run.run).ok_or_else(|| match run {
        Some(number) => no_such_run(number, state).with_hint(match runs.last() {
            Some(last) => format!("the last run is {}", last.run),
            None => "no run was begun there".to_owned(),
        }),
        None => Error::new(
            ErrorKind::Usage,
            format!("no run was begun in the schema `{}`", state.name()),
        ),
    })
}

fn no_such_run(run: i64, state: &State) -> Error {
    Error::new(ErrorKind::Usage, format!("there is no run {run} in the schema `{}`", state.name()))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Preflight, "the state of the run cannot be understood").caused_by(error)
}

fn task(body: &str) -> Result<Task> {
    serde_json::from_str(body).map_err(unreadable)
}

fn get<'r, T>(row: &'r PgRow, index: usize) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(index).map_err(|error| target_error(ACT, error))
}

fn unsigned(row: &PgRow, index: usize) -> Result<u64> {
    Ok(get::<i64>(row, index)?.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_connections_are_understood() {
        let announced = |run, validates, chunk, task| Announced { run, validates, chunk, task };
        for (name, schema, expected) in [
            ("migrate run 3 in migrate", "migrate", Some(announced(3, false, None, None))),
            ("migrate run 3 chunk 17 in m", "m", Some(announced(3, false, Some(17), None))),
            ("migrate run 3 task 4 in a in b", "a in b", Some(announced(3, false, None, Some(4)))),
            ("migrate validate 3 in migrate", "migrate", Some(announced(3, true, None, None))),
            ("migrate run 3 in migrate", "other", None),
            ("migrate status", "migrate", None),
            ("migrate", "migrate", None),
            ("psql run 3 in migrate", "migrate", None),
            ("migrate run x in migrate", "migrate", None),
            ("", "", None),
        ] {
            assert_eq!(parse_name(name, schema), expected, "{name}");
        }
        // As the server shows it: 63 bytes, and no letters beyond ASCII.
        let long = "s".repeat(60);
        let cut = &worker_name(12, &long)[..63];
        assert_eq!(parse_name(cut, &long), Some(announced(12, false, None, None)));
        let replaced = worker_name(1, "zw\\xc3\\xb6lf");
        assert_eq!(parse_name(&replaced, "zwölf"), Some(announced(1, false, None, None)));
        assert_eq!(worker_name(1, "migrate"), "migrate run 1 in migrate");
        assert_eq!(validator_name(1, "m"), "migrate validate 1 in m");
    }
}
