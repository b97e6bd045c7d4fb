//! What is safely in the target, kept in the target: the run, its chunks, its tasks, its ledger.
//!
//! The rule of this module: a note that something is done commits in the same transaction as the
//! thing itself. So whoever reads the state after a crash, however hard, reads the truth, and
//! several processes can share a run without another coordinator: a chunk or a task is taken by
//! locking its row (`FOR UPDATE SKIP LOCKED`) for as long as the transaction that does it lives,
//! and a worker that dies loses its lock with its connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::id::IdScheme;
use crate::run::UuidVersion;
use crate::schema::{quote_ident, quote_literal};
use crate::sink::{Connection, sql_state, target_error};
use crate::source::Range;
use crate::status::{self, Work};
use crate::stop::Stop;

/// The version of the state schema; a run of another version is not touched.
pub const VERSION: i32 = 6;

/// Makes the state's tables in its schema where they are missing, and the functions that translate
/// derived ids; random ones have none. Every statement can be repeated. Nothing refers to the run by a
/// foreign key: each would be made with the tables, and checked for each chunk, task and reject.
pub fn create_sql(schema: &str, uuid: UuidVersion) -> String {
    let s = quote_ident(schema);
    format!(
        r#"
CREATE TABLE IF NOT EXISTS {s}.run (
    run bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version integer NOT NULL,
    registry text NOT NULL,
    source text NOT NULL,
    fingerprint jsonb NOT NULL,
    uuid_version text NOT NULL,
    uuid_key uuid NOT NULL,
    created jsonb NOT NULL,
    left_out jsonb NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    given_up_at timestamptz,
    finished_at timestamptz,
    summary jsonb
);
COMMENT ON TABLE {s}.run IS 'Each migration into this database; the last one is the current one';
CREATE TABLE IF NOT EXISTS {s}.chunk (
    run bigint NOT NULL,
    chunk bigint NOT NULL,
    model text NOT NULL,
    collection text NOT NULL,
    phase integer NOT NULL,
    range jsonb NOT NULL,
    estimate bigint NOT NULL,
    done boolean NOT NULL DEFAULT false,
    read bigint NOT NULL DEFAULT 0,
    loaded bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    seconds double precision NOT NULL DEFAULT 0,
    elements jsonb NOT NULL DEFAULT '{{}}',
    unknown jsonb NOT NULL DEFAULT '{{}}',
    replaced jsonb NOT NULL DEFAULT '{{}}',
    done_at timestamptz,
    PRIMARY KEY (run, chunk)
);
CREATE INDEX IF NOT EXISTS chunk_open_idx ON {s}.chunk (run, phase, chunk) WHERE NOT done;
COMMENT ON TABLE {s}.chunk IS 'The parts of each collection: one transaction each, with this note of it';
CREATE TABLE IF NOT EXISTS {s}.task (
    run bigint NOT NULL,
    task bigint NOT NULL,
    level integer NOT NULL,
    ready integer NOT NULL,
    together text,
    body jsonb NOT NULL,
    done boolean NOT NULL DEFAULT false,
    result jsonb,
    seconds double precision,
    done_at timestamptz,
    PRIMARY KEY (run, task)
);
COMMENT ON TABLE {s}.task IS 'What follows the load, level after level: settling, keys, indexes, foreign keys';
CREATE TABLE IF NOT EXISTS {s}.reject (
    run bigint NOT NULL,
    chunk bigint,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    collection text NOT NULL,
    source_id text NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    field text NOT NULL,
    message text NOT NULL,
    document bytea NOT NULL,
    document_json json,
    rejected_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS reject_run_idx ON {s}.reject (run, table_name, reason);
COMMENT ON TABLE {s}.reject IS 'The ledger: every document that was not loaded, why, and the document itself';
CREATE TABLE IF NOT EXISTS {s}.orphan (
    run bigint NOT NULL,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    column_name text NOT NULL,
    row_key text NOT NULL,
    value text NOT NULL,
    element boolean NOT NULL,
    position integer
);
CREATE INDEX IF NOT EXISTS orphan_run_idx ON {s}.orphan (run, table_name, column_name);
CREATE INDEX IF NOT EXISTS orphan_row_idx ON {s}.orphan USING hash (row_key) WHERE NOT element;
COMMENT ON TABLE {s}.orphan IS 'References and junction elements that point to nothing';
CREATE TABLE IF NOT EXISTS {s}.late_reference (
    run bigint NOT NULL,
    model text NOT NULL,
    column_name text NOT NULL,
    row_key text NOT NULL,
    value text NOT NULL
);
COMMENT ON TABLE {s}.late_reference IS
    'References whose row may come later, while foreign keys are kept on';
CREATE TABLE IF NOT EXISTS {s}.id_map (
    run bigint NOT NULL,
    collection text NOT NULL,
    source_id bytea NOT NULL,
    id uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS id_map_id_idx ON {s}.id_map (id);
COMMENT ON TABLE {s}.id_map IS
    'Ids that their UUID does not give back; source_id is a BSON document whose field v is the _id';
CREATE TABLE IF NOT EXISTS {s}.deferred_ddl (
    run bigint NOT NULL,
    position integer NOT NULL,
    model text NOT NULL,
    table_name text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    build text NOT NULL,
    attach text,
    validate text,
    columns jsonb NOT NULL,
    predicate text,
    restored boolean NOT NULL DEFAULT false,
    given_back boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run, position)
);
COMMENT ON TABLE {s}.deferred_ddl IS 'Keys, indexes and foreign keys that are built after the load, or put back as they were';
"#
    ) + &match uuid {
        UuidVersion::V8 => functions(schema, 8),
        UuidVersion::V7 => functions(schema, 7),
        UuidVersion::Random => String::new(),
    }
}

/// Makes the functions that translate ids. The server need not try to understand them for that, which
/// takes it as long as four of the tables.
fn functions(schema: &str, version: u8) -> String {
    let functions = crate::id::sql_functions(schema, version);
    format!(
        "SET LOCAL check_function_bodies = off;
{functions};
SET LOCAL check_function_bodies TO DEFAULT;
"
    )
}

/// What makes two runs the same: a run goes on only where all of it is unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The registry's name.
    pub registry: String,
    /// For each model a hash over its facts, the functions of own conversions excepted.
    pub models: BTreeMap<String, String>,
    /// The source, without secrets.
    pub source: String,
    /// The options that decide what the rows are, by name.
    pub options: BTreeMap<String, String>,
}

impl Fingerprint {
    /// What differs in `self` from the run's, one sentence each.
    pub fn differences(&self, run: &Fingerprint) -> Vec<String> {
        let mut differences = Vec::new();
        if self.registry != run.registry {
            differences
                .push(format!("the registry was `{}`, is `{}`", run.registry, self.registry));
        }
        if self.source != run.source {
            differences.push(format!("the source was {}, is {}", run.source, self.source));
        }
        for (name, hash) in &self.models {
            match run.models.get(name) {
                None => differences.push(format!("the model `{name}` is new")),
                Some(old) if old != hash => {
                    differences.push(format!("the model `{name}` has changed"));
                }
                Some(_) => {}
            }
        }
        for name in run.models.keys().filter(|name| !self.models.contains_key(*name)) {
            differences.push(format!("the model `{name}` is gone"));
        }
        for (name, value) in &self.options {
            let old = run.options.get(name).map_or("", String::as_str);
            if old != value {
                differences.push(format!("`--{name}` was `{old}`, is `{value}`"));
            }
        }
        differences
    }
}

/// A run as the state has it.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its number.
    pub run: i64,
    /// What it was started with.
    pub fingerprint: Fingerprint,
    /// How ids become UUIDs in it, with its key.
    pub ids: IdScheme,
    /// The secret key that ids are drawn with under `--uuid random`.
    pub key: Uuid,
    /// What it made in the target.
    pub created: Created,
    /// Whether somebody has given it up: its keys and indexes were put back before its end, some of
    /// them at least.
    pub given_up: bool,
    /// Whether everything is done.
    pub finished: bool,
    /// Whether everything was done at least but for sums that hold: its rows can be compared.
    pub summed: bool,
}

/// What a run made in the target; `--clean` takes away no more than this.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Whether the schema of the state is the run's own.
    #[serde(default)]
    pub state_schema: bool,
    /// Schemas.
    pub schemas: Vec<String>,
    /// Enum types, as SQL names.
    pub types: Vec<String>,
    /// Tables, as SQL names.
    pub tables: Vec<String>,
    /// Tables that held rows before, with `--append`, and how many.
    #[serde(default)]
    pub rows_before: BTreeMap<String, u64>,
}

/// A part of a collection that is to be loaded.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its number in the run.
    pub chunk: i64,
    /// The model's name.
    pub model: String,
    /// The collection.
    pub collection: String,
    /// What part.
    pub range: Range,
}

/// The note of a chunk that is done.
#[derive(Clone, Debug, Default)]
pub struct ChunkNote {
    /// Documents read.
    pub read: u64,
    /// Rows sent and accepted.
    pub loaded: u64,
    /// Documents rejected by transform and write.
    pub rejected: u64,
    /// Documents that a filter left out.
    pub skipped: u64,
    /// BSON bytes read.
    pub bytes: u64,
    /// From the first read to the commit.
    pub seconds: f64,
    /// Elements of junction arrays, by the junction's model name.
    pub elements: BTreeMap<String, u64>,
    /// Fields that no column takes: documents and an example.
    pub unknown: BTreeMap<String, crate::summary::UnknownField>,
    /// Values that became something else because their column did not take them, by column.
    pub replaced: BTreeMap<String, crate::summary::ReplacedValues>,
}

/// The state of one run in one schema: every statement on it goes through here.
#[derive(Clone, Debug)]
pub struct State {
    schema: String,
    /// The schema's name without quotes.
    name: String,
}

impl State {
    /// The state in that schema.
    pub fn new(schema: &str) -> Self {
        Self { schema: quote_ident(schema), name: schema.to_owned() }
    }

    /// The schema's name, as a person writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SQL name of a table of the state.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{}", self.schema, quote_ident(name))
    }

    /// The SQL name of the staging table of a junction's model. It belongs to no run: with
    /// `--only`, one run may fill it and a later one settle it.
    pub fn stage(&self, junction: &str) -> String {
        self.table(&format!("stage_{junction}"))
    }

    /// Whether the state's tables are there.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn exists(&self, connection: &mut Connection) -> Result<bool> {
        let found = connection
            .count(
                "looking for the state of earlier runs",
                "SELECT count(to_regclass($1))",
                &[Some(&self.table("run"))],
            )
            .await?;
        Ok(found > 0)
    }

    /// The last run, if there is one.
    ///
    /// # Errors
    /// As [`State::runs`].
    pub async fn last_run(&self, connection: &mut Connection) -> Result<Option<RunRow>> {
        Ok(self.runs(connection).await?.pop())
    }

    /// All runs, the first one first. Only the last can be unfinished.
    ///
    /// # Errors
    /// When the state is of another version of this program, or cannot be read.
    pub async fn runs(&self, connection: &mut Connection) -> Result<Vec<RunRow>> {
        let runs = self.runs_of_any_version(connection).await?;
        match runs.iter().find(|(version, _)| *version != VERSION) {
            Some((version, _)) => Err(Error::new(
                ErrorKind::Preflight,
                format!(
                    "the state in schema {} has version {version}, this program writes {VERSION}",
                    self.schema
                ),
            )
            .with_hint(
                "finish the run, and whatever comes after it, with the version of migrate that began it, or start over with `--clean`",
            )),
            None => Ok(runs.into_iter().map(|(_, run)| run).collect()),
        }
    }

    /// All runs for whoever takes them away.
    ///
    /// # Errors
    /// When the state is so old or so new that its runs cannot be read; the hint says what to do
    /// by hand.
    pub(crate) async fn runs_to_clean(&self, connection: &mut Connection) -> Result<Vec<RunRow>> {
        match self.runs_of_any_version(connection).await {
            Ok(runs) => Ok(runs.into_iter().map(|(_, run)| run).collect()),
            Err(error) if error.kind().is_transient() => Err(error),
            Err(error) if sql_state(&error) == Some("42P01") => Err(thrown_away(error)),
            Err(error) => Err(Error::new(
                ErrorKind::Preflight,
                format!(
                    "the state in schema {} is of another version of migrate, and what its runs have made cannot be told",
                    self.schema
                ),
            )
            .caused_by(error)
            .with_hint(format!(
                "use `--clean` of that version; or put keys back with its `migrate schema restore`, drop or empty the tables by hand, then `DROP SCHEMA {} CASCADE`",
                self.schema
            ))),
        }
    }

    async fn runs_of_any_version(&self, connection: &mut Connection) -> Result<Vec<(i32, RunRow)>> {
        const ACT: &str = "reading the state of earlier runs";
        let rows = connection
            .query(
                ACT,
                format!(
                    "SELECT run, version, fingerprint::text, uuid_version, uuid_key::text,
                        created::text, given_up_at IS NOT NULL,
                        finished_at IS NOT NULL, summary IS NOT NULL
                     FROM {} ORDER BY run",
                    self.table("run")
                ),
                &[],
            )
            .await?;
        rows.iter().map(|row| self.run_row(row)).collect()
    }

    fn run_row(&self, row: &sqlx::postgres::PgRow) -> Result<(i32, RunRow)> {
        let get = |error| target_error("reading the state of a run", error);
        let version: i32 = row.try_get(1).map_err(get)?;
        let fingerprint: String = row.try_get(2).map_err(get)?;
        let uuid_version: String = row.try_get(3).map_err(get)?;
        let uuid_key: String = row.try_get(4).map_err(get)?;
        let created: String = row.try_get(5).map_err(get)?;
        let parse = |error: serde_json::Error| {
            Error::new(ErrorKind::Preflight, "the state of the last run cannot be understood")
                .caused_by(error)
        };
        let key = Uuid::parse_str(&uuid_key).unwrap_or_default();
        let run = RunRow {
            run: row.try_get(0).map_err(get)?,
            fingerprint: serde_json::from_str(&fingerprint).map_err(parse)?,
            ids: match uuid_version.as_str() {
                "v7" => IdScheme::V7,
                "random" => IdScheme::Random(key.into_bytes()),
                _ => IdScheme::V8,
            },
            created: serde_json::from_str(&created).map_err(parse)?,
            key,
            given_up: row.try_get(6).map_err(get)?,
            finished: row.try_get(7).map_err(get)?,
            summed: row.try_get(8).map_err(get)?,
        };
        Ok((version, run))
    }

    /// Writes a new run down and gives its number. The caller commits.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn insert_run(
        &self,
        connection: &mut Connection,
        fingerprint: &Fingerprint,
        uuid: UuidVersion,
        key: Uuid,
        created: &Created,
        left_out: &BTreeMap<String, u64>,
    ) -> Result<RunRow> {
        const ACT: &str = "writing the new run down";
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let rows = connection
            .query(
                ACT,
                format!(
                    "INSERT INTO {} (version, registry, source, fingerprint, uuid_version,
                        uuid_key, created, left_out)
                     VALUES ({VERSION}, $1, $2, $3::jsonb, $4, $5::uuid, $6::jsonb, $7::jsonb)
                     RETURNING run",
                    self.table("run")
                ),
                &[
                    Some(&fingerprint.registry),
                    Some(&fingerprint.source),
                    Some(&json(serde_json::to_string(fingerprint))),
                    Some(uuid.name()),
                    Some(&key.to_string()),
                    Some(&json(serde_json::to_string(created))),
                    Some(&json(serde_json::to_string(left_out))),
                ],
            )
            .await?;
        let run = match rows.first() {
            Some(row) => row.try_get(0).map_err(|error| target_error(ACT, error))?,
            None => return Err(Error::new(ErrorKind::Target, ACT)),
        };
        let ids = match uuid {
            UuidVersion::V8 => IdScheme::V8,
            UuidVersion::V7 => IdScheme::V7,
            UuidVersion::Random => IdScheme::Random(key.into_bytes()),
        };
        Ok(RunRow {
            run,
            fingerprint: fingerprint.clone(),
            ids,
            key,
            given_up: false,
            created: created.clone(),
            finished: false,
            summed: false,
        })
    }

    /// Writes the chunks of a run down. The caller commits.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn insert_chunks(
        &self,
        connection: &mut Connection,
        run: i64,
        chunks: &[PlannedChunk],
    ) -> Result<()> {
        const ROWS_PER_STATEMENT: usize = 1000;
        for (block, chunks) in chunks.chunks(ROWS_PER_STATEMENT).enumerate() {
            let values: Vec<String> = chunks
                .iter()
                .enumerate()
                .map(|(index, chunk)| {
                    format!(
                        "({run}, {}, {}, {}, {}, {}::jsonb, {})",
                        block * ROWS_PER_STATEMENT + index,
                        quote_literal(&chunk.model),
                        quote_literal(&chunk.collection),
                        chunk.phase,
                        quote_literal(&serde_json::to_string(&chunk.range).unwrap_or_default()),
                        chunk.estimate
                    )
                })
                .collect();
            connection
                .execute(
                    "writing the chunks down",
                    format!(
                        "INSERT INTO {} (run, chunk, model, collection, phase, range, estimate) VALUES {}",
                        self.table("chunk"),
                        values.join(", ")
                    ),
                )
                .await?;
        }
        Ok(())
    }

    /// Takes a chunk that nobody works on, within the caller's transaction: it is this worker's
    /// until the transaction ends.
    ///
    /// # Errors
    /// When the server does not answer, or the run was given up or thrown away.
    pub async fn take_chunk(
        &self,
        connection: &mut Connection,
        run: &RunRow,
    ) -> Result<Option<Chunk>> {
        const ACT: &str = "taking a chunk";
        let (is_on, run) = (self.is_on_sql(run), run.run);
        let rows = connection
            .query(
                ACT,
                format!(
                    "WITH taken AS (
                        SELECT chunk, model, collection, range::text FROM {}
                        WHERE run = {run} AND NOT done AND phase = (
                            SELECT min(phase) FROM {} WHERE run = {run} AND NOT done)
                        ORDER BY chunk LIMIT 1 FOR UPDATE SKIP LOCKED)
                     SELECT *, {is_on}, {} FROM taken",
                    self.table("chunk"),
                    self.table("chunk"),
                    status::announce_sql(run, Work::Chunk, "chunk", &self.name),
                ),
                &[],
            )
            .await
            .map_err(thrown_away)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let get = |error| target_error(ACT, error);
        check_on(run, row.try_get(4).map_err(get)?)?;
        let range: String = row.try_get(3).map_err(get)?;
        Ok(Some(Chunk {
            chunk: row.try_get(0).map_err(get)?,
            model: row.try_get(1).map_err(get)?,
            collection: row.try_get(2).map_err(get)?,
            range: serde_json::from_str(&range).map_err(|error| {
                Error::new(ErrorKind::Preflight, "a chunk's range cannot be understood")
                    .caused_by(error)
            })?,
        }))
    }

    /// Notes that a chunk is done, within the transaction that holds its rows.
    ///
    /// # Errors
    /// When the server refuses, or the chunk is not this transaction's to finish.
    pub async fn finish_chunk(
        &self,
        connection: &mut Connection,
        run: i64,
        chunk: i64,
        note: &ChunkNote,
    ) -> Result<()> {
        const ACT: &str = "noting that a chunk is done";
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let statement = |elements: &str, unknown: &str, replaced: &str| {
            format!(
                "UPDATE {} SET done = true, done_at = clock_timestamp(), read = {}, loaded = {},
                    rejected = {}, skipped = {}, bytes = {}, seconds = {},
                    elements = {elements}::jsonb, unknown = {unknown}::jsonb,
                    replaced = {replaced}::jsonb
                 WHERE run = {run} AND chunk = {chunk} AND NOT done",
                self.table("chunk"),
                note.read,
                note.loaded,
                note.rejected,
                note.skipped,
                note.bytes,
                note.seconds,
            )
        };
        let elements = json(serde_json::to_string(&note.elements));
        // Without parameters nothing is prepared for this once; but values of documents must not come into
        // the server's log, where statements that fail may stand.
        let touched = match note.unknown.is_empty() && note.replaced.is_empty() {
            true => {
                let statement = statement(&quote_literal(&elements), "'{}'", "'{}'");
                connection.execute(ACT, statement).await?
            }
            false => {
                let unknown = json(serde_json::to_string(&note.unknown));
                let replaced = json(serde_json::to_string(&note.replaced));
                let parameters = [Some(&*elements), Some(&*unknown), Some(&*replaced)];
                connection.execute_with(ACT, statement("$1", "$2", "$3"), &parameters).await?
            }
        };
        if touched != 1 {
            return Err(Error::new(
                ErrorKind::TargetConnection,
                format!("chunk {chunk} was finished by another worker"),
            ));
        }
        Ok(())
    }

    /// The collections that no model names, as the run's last summary counted them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn left_out(
        &self,
        connection: &mut Connection,
        run: i64,
    ) -> Result<BTreeMap<String, u64>> {
        const ACT: &str = "reading the summary of the run";
        let rows = connection
            .query(
                ACT,
                format!(
                    "SELECT coalesce(summary->'collections_without_model', left_out)::text
                     FROM {} WHERE run = {run}",
                    self.table("run")
                ),
                &[],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(BTreeMap::new()) };
        let text: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// The summary that a complete run has left.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn summary(
        &self,
        connection: &mut Connection,
        run: i64,
    ) -> Result<Option<crate::summary::Summary>> {
        const ACT: &str = "reading the summary of the run";
        let sql = format!("SELECT summary::text FROM {} WHERE run = {run}", self.table("run"));
        let rows = connection.query(ACT, sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text: Option<String> = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Fails when another process is at work on one of the runs; within the caller's transaction none
    /// can begin after that. `what` becomes of the run (`given up`).
    ///
    /// # Errors
    /// When one is, or the server does not answer.
    pub(crate) async fn check_idle(
        &self,
        connection: &mut Connection,
        runs: &[RunRow],
        what: &str,
    ) -> Result<()> {
        /// The server takes a moment to see that a process has ended.
        const PATIENCE: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_millis(50);
        const ACT: &str = "looking for other workers";
        let busy = || {
            Error::new(
                ErrorKind::Preflight,
                format!("another process is at work on the run that would be {what}"),
            )
            .with_hint("stop it first, or wait until it is done; `migrate status` shows it")
        };
        let started = Instant::now();
        for run in runs {
            while !self.try_key(connection, ACT, &self.presence(run)).await? {
                if started.elapsed() > PATIENCE {
                    return Err(busy());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        // A process whose presence the server has forgotten may still be in a transaction.
        for table in ["chunk", "task"] {
            let sql =
                format!("SELECT 1 FROM {} WHERE NOT done FOR UPDATE NOWAIT", self.table(table));
            let held = connection.query(ACT, sql, &[]).await;
            held.map_err(|error| match sql_state(&error) {
                Some("55P03") => busy(),
                _ => error,
            })?;
        }
        Ok(())
    }

    /// Tries to get the advisory lock of a key, in SQL, until the caller's transaction ends.
    async fn try_key(&self, connection: &mut Connection, act: &str, key: &str) -> Result<bool> {
        let sql = format!("SELECT pg_try_advisory_xact_lock({key})");
        let rows = connection.query(act, sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        row.try_get(0).map_err(|error| target_error(act, error))
    }

    /// Waits until no definition of a run is being put back, and keeps it so until the caller's
    /// transaction ends. False where one is: who puts back may have lost its other session, and with it
    /// [`State::try_lock`].
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn try_keep_off(
        &self,
        connection: &mut Connection,
        run: &RunRow,
    ) -> Result<bool> {
        let key = self.key("putting back", run);
        self.try_key(connection, "waiting for who puts keys back", &key).await
    }

    /// Begins to put a definition of a run back, within the caller's transaction.
    ///
    /// # Errors
    /// When the run is not given up any more, because somebody has gone on with it, or the server does
    /// not answer.
    pub(crate) async fn begin_putting_back(
        &self,
        connection: &mut Connection,
        run: &RunRow,
    ) -> Result<()> {
        const ACT: &str = "putting a definition back";
        let key = self.key("putting back", run);
        connection.execute(ACT, format!("SELECT pg_advisory_xact_lock_shared({key})")).await?;
        // A statement of its own, which sees what was committed while the lock was waited for.
        let sql = format!("SELECT {}", self.is_on_sql(run));
        let rows = connection.query(ACT, sql, &[]).await.map_err(thrown_away)?;
        let is_on: Option<bool> = match rows.first() {
            Some(row) => row.try_get(0).map_err(|error| target_error(ACT, error))?,
            None => None,
        };
        match is_on {
            Some(false) => Ok(()),
            Some(true) => Err(Error::new(
                ErrorKind::Preflight,
                format!("run {} goes on again: another process has taken it up", run.run),
            )
            .with_hint("see what it does with `migrate status`")),
            None => Err(started_over()),
        }
    }

    /// The key of the advisory lock that every session at work on a run shares.
    fn presence(&self, run: &RunRow) -> String {
        self.key("at work", run)
    }

    /// The key of the advisory lock that every session shares which makes visibility maps for a run.
    fn maps(&self, run: &RunRow) -> String {
        self.key("visibility maps", run)
    }

    /// The statement by which a session becomes one of those that make visibility maps.
    pub(crate) fn share_maps_sql(&self, run: &RunRow) -> String {
        format!("SELECT pg_advisory_lock_shared({})", self.maps(run))
    }

    /// The statement by which it ceases to be one.
    pub(crate) fn leave_maps_sql(&self, run: &RunRow) -> String {
        format!("SELECT pg_advisory_unlock_shared({})", self.maps(run))
    }

    /// Whether no session makes visibility maps for the run, and none begins to until the caller's
    /// transaction ends.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn are_maps_left(
        &self,
        connection: &mut Connection,
        run: &RunRow,
    ) -> Result<bool> {
        const ACT: &str = "looking for those who make visibility maps";
        let sql = format!("SELECT pg_try_advisory_xact_lock({})", self.maps(run));
        let replies = connection.ask(ACT, sql).await?;
        match replies.rows.first() {
            Some(row) => row.try_get(0).map_err(|error| target_error(ACT, error)),
            None => Ok(false),
        }
    }

    /// The key of an advisory lock on something of a run, in SQL.
    fn key(&self, what: &str, run: &RunRow) -> String {
        let name = format!("migrate:{}:{}:{}:{what}", self.name, run.run, run.key);
        format!("hashtextextended({}, 0)", quote_literal(&name))
    }

    /// Makes a session one of those at work on a run, for as long as it lives: until then nobody
    /// gives the run up or throws it away, and the server's list of sessions names the run. False
    /// where somebody does so now.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn try_join(&self, connection: &mut Connection, run: &RunRow) -> Result<bool> {
        self.try_join_as(connection, run, &status::worker_name(run.run, &self.name)).await
    }

    /// As [`State::try_join`], with that name in the server's list of sessions.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn try_join_as(
        &self,
        connection: &mut Connection,
        run: &RunRow,
        name: &str,
    ) -> Result<bool> {
        const ACT: &str = "joining the run";
        let name = quote_literal(name);
        let sql = format!(
            "SELECT pg_try_advisory_lock_shared({}), set_config('application_name', {name}, false)",
            self.presence(run)
        );
        let rows = connection.query(ACT, sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let joined = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        if joined {
            connection.set_at_work();
        }
        Ok(joined)
    }

    /// As [`State::try_join`], unless the session has joined before; waits for somebody who gives the
    /// run up or throws it away, as far as that may still come to nothing.
    ///
    /// # Errors
    /// When the server does not answer, the run was given up or thrown away, or somebody asks to stop.
    pub(crate) async fn join(
        &self,
        connection: &mut Connection,
        run: &RunRow,
        stop: &Stop,
    ) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(50);
        if connection.is_at_work() {
            return Ok(());
        }
        while !self.try_join(connection, run).await? {
            self.is_open(connection, "joining the run", run, "true").await?;
            if stop.is_stopped() {
                return Err(Stop::error());
            }
            stop.pause(PAUSE).await;
        }
        Ok(())
    }

    /// Locks the state until the caller's transaction ends: only one process at a time begins a run,
    /// throws runs away, gives one up or takes one up again. False where another one does so now.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn try_lock(&self, connection: &mut Connection) -> Result<bool> {
        let name = quote_literal(&format!("migrate:{}", self.name));
        let key = format!("hashtextextended({name}, 0)");
        self.try_key(connection, "locking the state", &key).await
    }

    /// Notes that a run is given up. A worker that was at no chunk and no task is told when it takes
    /// the next one.
    ///
    /// # Errors
    /// When the server does not answer, or the run is not there any more.
    pub(crate) async fn give_up(&self, connection: &mut Connection, run: &RunRow) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET given_up_at = clock_timestamp() WHERE run = {} AND uuid_key = '{}'",
            self.table("run"),
            run.run,
            run.key
        );
        match connection.execute("noting that the run is given up", sql).await {
            Ok(0) => Err(started_over()),
            result => result.map(drop).map_err(thrown_away),
        }
    }

    /// SQL for what [`check_on`] wants to know of a run.
    pub(crate) fn is_on_sql(&self, run: &RunRow) -> String {
        format!(
            "(SELECT given_up_at IS NULL FROM {} WHERE run = {} AND uuid_key = '{}')",
            self.table("run"),
            run.run,
            run.key
        )
    }

    /// Drops the tables and functions of the state, and the schema when nothing else is in it.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn drop_tables(
        &self,
        connection: &mut Connection,
        registry: &crate::schema::RegistryFacts,
    ) -> Result<()> {
        const ACT: &str = "dropping the state of earlier runs";
        const TABLES: [&str; 8] = [
            "chunk",
            "task",
            "reject",
            "orphan",
            "id_map",
            "late_reference",
            "deferred_ddl",
            "run",
        ];
        let mut tables: Vec<String> = TABLES.iter().map(|table| self.table(table)).collect();
        tables.extend(registry.iter().map(|(model, _)| self.stage(model.name)));
        let schema = &self.schema;
        connection
            .execute(
                ACT,
                format!(
                    "DROP TABLE IF EXISTS {};
                     DROP FUNCTION IF EXISTS {schema}.uuid_from_object_id(text);
                     DROP FUNCTION IF EXISTS {schema}.object_id_from_uuid(uuid);
                     SAVEPOINT drop_schema",
                    tables.join(", ")
                ),
            )
            .await?;
        // What else is in it is somebody else's, and so is a schema that this user does not own.
        let sql = format!("DROP SCHEMA {schema}");
        let end = match connection.execute(ACT, sql).await {
            Ok(_) => "RELEASE SAVEPOINT drop_schema",
            Err(error) if sql_state(&error).is_some() => "ROLLBACK TO SAVEPOINT drop_schema",
            Err(error) => return Err(error),
        };
        connection.execute(ACT, end).await.map(drop)
    }

    /// For each model the number of its chunks, and the documents read and the rows loaded in those that
    /// are done.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn progress(
        &self,
        connection: &mut Connection,
        run: i64,
    ) -> Result<BTreeMap<String, (u64, u64, u64)>> {
        const ACT: &str = "reading how far the run is";
        let rows = connection
            .query(
                ACT,
                format!(
                    "SELECT model, count(*), sum(read)::bigint, sum(loaded)::bigint FROM {}
                     WHERE run = {run} GROUP BY 1",
                    self.table("chunk")
                ),
                &[],
            )
            .await?;
        let get = |error| target_error(ACT, error);
        let mut progress = BTreeMap::new();
        for row in &rows {
            let count = |index| row.try_get(index).map(i64::unsigned_abs).map_err(get);
            let counts = (count(1)?, count(2)?, count(3)?);
            progress.insert(row.try_get(0).map_err(get)?, counts);
        }
        Ok(progress)
    }

    /// Adds to what the chunks of a model have counted, `read` or `skipped`, over all runs; what is
    /// taken away is taken from the chunks with the largest counts, because none can have counted
    /// less than nothing.
    pub(crate) async fn adjust(
        &self,
        connection: &mut Connection,
        model: &str,
        count: &str,
        mut more: i64,
    ) -> Result<()> {
        const ACT: &str = "adjusting the counts of a table";
        let chunk = self.table("chunk");
        let count = quote_ident(count);
        while more != 0 {
            let rows = connection
                .query(
                    ACT,
                    format!(
                        "UPDATE {chunk} c SET {count} = c.{count} + greatest({more}, -c.{count})
                         FROM (SELECT run, chunk, {count} FROM {chunk} WHERE model = $1
                               ORDER BY {count} DESC, run, chunk LIMIT 1) l
                         WHERE c.run = l.run AND c.chunk = l.chunk AND (l.{count} > 0 OR {more} > 0)
                         RETURNING greatest({more}, -l.{count})::bigint"
                    ),
                    &[Some(model)],
                )
                .await?;
            let Some(row) = rows.first() else { break };
            let changed: i64 = row.try_get(0).map_err(|error| target_error(ACT, error))?;
            more -= changed;
        }
        Ok(())
    }

    /// Waits until every commit that could be seen until now is safe from a crash of the server, and
    /// has later commits of this connection wait for themselves. A transaction that has written
    /// nothing would not wait, and the log is flushed in order.
    pub(crate) async fn make_durable(&self, connection: &mut Connection, run: i64) -> Result<()> {
        const ACT: &str = "waiting for the disk";
        let table = self.table("run");
        let statements = format!(
            "SET synchronous_commit = on; UPDATE {table} SET version = version WHERE run = {run}"
        );
        connection.execute(ACT, statements).await.map(drop)
    }

    /// Whether a chunk of a run is not done; those that are done are not looked at.
    ///
    /// # Errors
    /// As [`State::take_chunk`].
    pub async fn has_open_chunks(&self, connection: &mut Connection, run: &RunRow) -> Result<bool> {
        let open = format!("FROM {} WHERE run = {} AND NOT done", self.table("chunk"), run.run);
        self.is_open(connection, "looking for chunks", run, &open).await
    }

    /// Whether something of a run is open, by what stands behind `SELECT`.
    pub(crate) async fn is_open(
        &self,
        connection: &mut Connection,
        act: &str,
        run: &RunRow,
        open: &str,
    ) -> Result<bool> {
        let sql = format!("SELECT EXISTS (SELECT {open}), {}", self.is_on_sql(run));
        let rows = connection.query(act, sql, &[]).await.map_err(thrown_away)?;
        let get = |error| target_error(act, error);
        let Some(row) = rows.first() else { return Ok(false) };
        check_on(run.run, row.try_get(1).map_err(get)?)?;
        row.try_get(0).map_err(get)
    }

    /// How many chunks of a run are not done, and how many there are.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open_chunks(&self, connection: &mut Connection, run: i64) -> Result<(u64, u64)> {
        const ACT: &str = "counting the chunks";
        let rows = connection
            .query(
                ACT,
                format!(
                    "SELECT count(*) FILTER (WHERE NOT done), count(*) FROM {} WHERE run = {run}",
                    self.table("chunk")
                ),
                &[],
            )
            .await?;
        let get = |index: usize| -> Result<u64> {
            let number: i64 = match rows.first() {
                Some(row) => row.try_get(index).map_err(|error| target_error(ACT, error))?,
                None => 0,
            };
            Ok(number.unsigned_abs())
        };
        Ok((get(0)?, get(1)?))
    }
}

/// Fails where a run does not go on: it was given up, or, where nothing is known of it, another process
/// has started over and the number is another run's.
pub(crate) fn check_on(run: i64, is_on: Option<bool>) -> Result<()> {
    match is_on {
        Some(true) => Ok(()),
        Some(false) => Err(Error::new(
            ErrorKind::Preflight,
            format!("run {run} was given up meanwhile: `migrate schema restore` has put keys back"),
        )
        .with_hint("give the same command again: it takes them off and goes on")),
        None => Err(started_over()),
    }
}

/// The error of who finds another run in the place of theirs, or none.
pub(crate) fn started_over() -> Error {
    Error::new(ErrorKind::Preflight, "the run was thrown away: another process has started over")
        .with_hint(
            "see what it does with `migrate status`; the same command without `--clean` helps it",
        )
}

/// The error of a statement on the state, where that is gone.
pub(crate) fn thrown_away(error: Error) -> Error {
    match sql_state(&error) {
        Some("42P01" | "3F000") => started_over(),
        _ => error,
    }
}

/// A chunk before it has a number.
#[derive(Clone, Debug)]
pub struct PlannedChunk {
    /// The model's name.
    pub model: String,
    /// The collection.
    pub collection: String,
    /// The model's phase, or 0 when the order does not matter.
    pub phase: u16,
    /// What part.
    pub range: Range,
    /// Documents in it, as far as is known.
    pub estimate: u64,
}
