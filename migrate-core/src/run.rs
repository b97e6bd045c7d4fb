//! The run: preflight → schema → load → settle → constrain → analyze → report.
//!
//! A run is a row in the state schema with its chunks and tasks; a process that is given the same
//! command finds the row and works on what is not done. So one process, several at once, and one
//! after another's crash all do the same run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::ddl::{self, Names};
use crate::deferred;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter, Step};
use crate::existing;
use crate::preflight;
use crate::schema::{Model, ModelKind, RegistryFacts, quote_ident};
use crate::sink::{Connection, Target};
use crate::source::{CollectionInfo, Source};
use crate::state::{self, Created, Fingerprint, PlannedChunk, RunRow, State};
use crate::summary::Summary;
use crate::transform::{TargetFacts, Transformer};
use crate::{load, report, task};

/// How ids become UUIDs, as a person chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UuidVersion {
    /// Derived, version 8.
    #[default]
    V8,
    /// Derived, marked as version 7.
    V7,
    /// Version 4, kept in `id_map`.
    Random,
}

impl UuidVersion {
    /// The name on the command line and in the state.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V8 => "v8",
            Self::V7 => "v7",
            Self::Random => "random",
        }
    }
}

/// What a person may choose about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections to each server; 0 takes the number of cores.
    pub jobs: usize,
    /// How ids become UUIDs.
    pub uuid: UuidVersion,
    /// The schema of the run's own tables.
    pub state_schema: String,
    /// The schema of models that name none.
    pub schema: String,
    /// About how many BSON bytes one chunk has.
    pub chunk_bytes: u64,
    /// Throws the results of the last run away (what it made is dropped) and starts over.
    pub clean: bool,
    /// How much memory PostgreSQL may use for sorting while indexes are built, over all
    /// connections.
    pub sort_bytes: u64,
    /// How long a server that cannot be reached is tried again.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 0,
            uuid: UuidVersion::default(),
            state_schema: "migrate".to_owned(),
            schema: "public".to_owned(),
            chunk_bytes: 64 << 20,
            clean: false,
            sort_bytes: 512 << 20,
            patience: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// The connections to each server.
    pub fn jobs(&self) -> usize {
        match self.jobs {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            jobs => jobs,
        }
    }

    /// What one task may use of `sort_bytes`.
    pub(crate) fn index_bytes(&self) -> u64 {
        // PostgreSQL's own limits: 64 kB at least, below 2 GB for the types behind the settings.
        (self.sort_bytes / self.jobs() as u64).clamp(1 << 20, (2 << 30) - 1024)
    }
}

/// Asks a run to stop in an orderly way: chunks in flight are finished or rolled back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Moves every document of the registry's collections from `source` into the PostgreSQL database
/// at `target` (`postgres://…`), or goes on with an unfinished run found there. On return every
/// row, key and index is durable, and the sums in the summary were checked against the tables.
///
/// # Errors
/// When a server cannot be reached, the target is not as the run needs it, or somebody asked to
/// stop; what is committed stays, and the same call goes on from there. Rejected documents are no
/// error: the summary counts them.
pub async fn run(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Summary> {
    let started = Instant::now();
    let mut seconds = BTreeMap::new();
    let target = Target::parse(target)?;

    let timer = Timer::start(&reporter, Step::Preflight);
    let mut connection = connect(&target, options, &reporter, stop).await?;
    let server_version = preflight::server(&mut connection).await?;
    let collections = source.collections().await?;
    for notice in source.notices() {
        reporter.event(&Event::Notice { message: &notice });
    }
    timer.finish(&reporter, &mut seconds);

    let timer = Timer::start(&reporter, Step::Schema);
    let state = State::new(&options.state_schema);
    let run =
        begin(registry, &source, options, &state, &mut connection, &collections, &reporter).await?;
    let oids =
        preflight::enum_oids(&mut connection, registry, Names { schema: &options.schema }).await?;
    timer.finish(&reporter, &mut seconds);

    let origins = origins(registry);
    let mut facts = TargetFacts::new(server_version, run.ids);
    facts.enum_oids = oids;
    let mut transformers = HashMap::new();
    for (model, _) in registry.iter().filter(|(model, _)| model.kind == ModelKind::Collection) {
        let origins = origins.get(model.name).map(Vec::as_slice).unwrap_or_default();
        transformers.insert(model.name, Arc::new(Transformer::new(model, &facts, origins)?));
    }
    let context = Arc::new(Context {
        registry,
        source,
        target,
        state,
        run,
        options: options.clone(),
        reporter: Arc::clone(&reporter),
        stop: stop.clone(),
        transformers,
        origins,
    });

    let timer = Timer::start(&reporter, Step::Load);
    workers(&context, Work::Load).await?;
    timer.finish(&reporter, &mut seconds);

    let timer = Timer::start(&reporter, Step::Constrain);
    workers(&context, Work::Tasks).await?;
    timer.finish(&reporter, &mut seconds);

    let timer = Timer::start(&reporter, Step::Report);
    let mut summary = report::summary(&context, &mut connection, &collections).await?;
    timer.finish(&reporter, &mut seconds);
    report::task_seconds(&context, &mut connection, &mut seconds).await?;
    summary.step_seconds = seconds;
    summary.seconds = started.elapsed().as_secs_f64();
    report::finish(&context, &mut connection, &summary).await?;
    connection.close().await;
    Ok(summary)
}

/// Times a step and tells of it.
struct Timer {
    step: Step,
    started: Instant,
}

impl Timer {
    fn start(reporter: &Arc<dyn Reporter>, step: Step) -> Self {
        reporter.event(&Event::StepStarted { step });
        Self { step, started: Instant::now() }
    }

    fn finish(self, reporter: &Arc<dyn Reporter>, seconds: &mut BTreeMap<String, f64>) {
        let elapsed = self.started.elapsed();
        reporter.event(&Event::StepFinished { step: self.step, elapsed });
        seconds.insert(self.step.name().to_owned(), elapsed.as_secs_f64());
    }
}

/// Opens a connection, again and again for as long as the options' patience lasts.
async fn connect(
    target: &Target,
    options: &Options,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Connection> {
    let started = Instant::now();
    let mut delay = Duration::from_millis(100);
    loop {
        match target.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error)
                if error.kind().is_transient()
                    && started.elapsed() + delay < options.patience
                    && !stop.is_stopped() =>
            {
                reporter.event(&Event::Waiting { what: &waiting_for(&error), delay });
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(error),
        }
    }
}

fn waiting_for(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Goes on with the unfinished run in the target, or writes a new one down: its tables, chunks
/// and tasks, in one transaction.
async fn begin(
    registry: &'static RegistryFacts,
    source: &Arc<dyn Source>,
    options: &Options,
    state: &State,
    connection: &mut Connection,
    collections: &[CollectionInfo],
    reporter: &Arc<dyn Reporter>,
) -> Result<RunRow> {
    let names = Names { schema: &options.schema };
    let fingerprint = fingerprint(registry, source, options);
    if options.clean {
        clean(registry, names, state, options, connection, reporter).await?;
    }
    // Splitting asks the source, which may take a while: it is done before the lock is taken,
    // unless there is a run to go on with.
    if let Some(run) = unfinished(state, connection, &fingerprint).await? {
        return resume(registry, state, connection, run, collections, reporter).await;
    }
    check_existing(registry, names, connection, reporter).await?;
    let (chunks, bytes) = plan_chunks(registry, source, options, collections, reporter).await?;

    connection.execute("beginning a transaction", "BEGIN").await?;
    // Two processes that are started at once must not both begin a run.
    connection
        .execute_with(
            "locking the state",
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            &[Some(&format!("migrate:{}", options.state_schema))],
        )
        .await?;
    if let Some(run) = unfinished(state, connection, &fingerprint).await? {
        connection.execute("ending a transaction", "ROLLBACK").await?;
        return resume(registry, state, connection, run, collections, reporter).await;
    }
    connection
        .execute("making the state's tables", state::create_sql(&options.state_schema))
        .await?;
    let created = create_schema(registry, names, connection).await?;
    let left_out = preflight::left_out(registry, collections);
    let run = state.insert_run(connection, &fingerprint, options.uuid, &created, &left_out).await?;
    for (model, _) in registry.iter().filter(|(model, _)| model.kind == ModelKind::Junction) {
        let columns: Vec<String> = model
            .columns
            .iter()
            .map(|column| format!("{} {}", quote_ident(column.name), names.column_type(column)))
            .collect();
        connection
            .execute(
                "making a staging table",
                format!(
                    "CREATE TABLE {} ({}, origin smallint NOT NULL)",
                    state.stage(run.run, model.name),
                    columns.join(", ")
                ),
            )
            .await?;
    }
    state.insert_chunks(connection, run.run, &chunks).await?;
    // What was there is taken off in the transaction that writes it down.
    let existing: Vec<&'static Model> = registry
        .iter()
        .map(|(model, _)| model)
        .filter(|model| !run.created.tables.contains(&names.table(model)))
        .collect();
    let mut deferred = deferred::of_catalogue(connection, names, &existing).await?;
    let taken = deferred.len();
    for (model, _) in registry.iter() {
        if run.created.tables.contains(&names.table(model)) {
            deferred.extend(deferred::of_facts(names, model));
        }
    }
    deferred::insert(connection, state, run.run, &mut deferred).await?;
    deferred::take_off(connection, names, registry, &deferred[..taken]).await?;
    let tasks = task::plan(registry, &deferred, &bytes);
    task::insert(connection, state, run.run, &tasks).await?;
    connection.execute("committing the plan", "COMMIT").await?;
    Ok(run)
}

/// The unfinished run in the target, when it is the one that this command means.
async fn unfinished(
    state: &State,
    connection: &mut Connection,
    fingerprint: &Fingerprint,
) -> Result<Option<RunRow>> {
    if !state.exists(connection).await? {
        return Ok(None);
    }
    let Some(run) = state.last_run(connection).await? else { return Ok(None) };
    let differences = fingerprint.differences(&run.fingerprint);
    match (run.finished, differences.is_empty()) {
        (false, true) => Ok(Some(run)),
        (false, false) => Err(Error::new(
            ErrorKind::Preflight,
            format!(
                "the target holds run {}, which is not finished and was begun differently: {}",
                run.run,
                differences.join("; ")
            ),
        )
        .with_hint(
            "finish it with the command and the models that began it, or start over with `--clean`",
        )),
        (true, _) => Err(Error::new(
            ErrorKind::Preflight,
            format!("the target holds run {}, which is complete", run.run),
        )
        .with_hint(
            "take another database, or drop what that run made and start over with `--clean`",
        )),
    }
}

async fn resume(
    registry: &'static RegistryFacts,
    state: &State,
    connection: &mut Connection,
    run: RunRow,
    collections: &[CollectionInfo],
    reporter: &Arc<dyn Reporter>,
) -> Result<RunRow> {
    let (open, chunks) = state.open_chunks(connection, run.run).await?;
    reporter.event(&Event::Resumed { run: run.run, chunks_done: chunks - open, chunks });
    let progress = state.progress(connection, run.run).await?;
    for (model, _) in registry.iter() {
        if let Some((chunks, read)) = progress.get(model.name) {
            let known = collections.iter().find(|known| known.name == model.collection);
            reporter.event(&Event::TablePlanned {
                table: model.table,
                collection: model.collection,
                documents: known.and_then(|known| known.documents).unwrap_or_default(),
                documents_done: *read,
                chunks: *chunks,
            });
        }
    }
    Ok(run)
}

/// Cuts every collection into chunks, and gives the collections' sizes by model. The largest
/// chunks come first, so that the small ones fill the connections' last moments.
async fn plan_chunks(
    registry: &'static RegistryFacts,
    source: &Arc<dyn Source>,
    options: &Options,
    collections: &[CollectionInfo],
    reporter: &Arc<dyn Reporter>,
) -> Result<(Vec<PlannedChunk>, HashMap<&'static str, u64>)> {
    let mut sized = Vec::new();
    let mut bytes = HashMap::new();
    for (model, _) in registry.iter().filter(|(model, _)| model.kind == ModelKind::Collection) {
        let Some(collection) = collections.iter().find(|known| known.name == model.collection)
        else {
            reporter.event(&Event::Notice {
                message: &format!(
                    "the source has no collection `{}`: {} stays empty",
                    model.collection, model.table
                ),
            });
            continue;
        };
        let size = collection.bytes.unwrap_or_default();
        bytes.insert(model.name, size);
        let ranges = source.split(model.collection, options.chunk_bytes).await?;
        reporter.event(&Event::TablePlanned {
            table: model.table,
            collection: model.collection,
            documents: collection.documents.unwrap_or_default(),
            documents_done: 0,
            chunks: ranges.len() as u64,
        });
        let parts = ranges.len().max(1) as u64;
        for range in ranges {
            sized.push((
                size / parts,
                PlannedChunk {
                    model: model.name.to_owned(),
                    collection: model.collection.to_owned(),
                    // With derived ids nothing needs the order while constraints are off.
                    phase: 0,
                    range,
                    estimate: collection.documents.unwrap_or_default() / parts,
                },
            ));
        }
    }
    sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    Ok((sized.into_iter().map(|(_, chunk)| chunk).collect(), bytes))
}

/// Makes schemas, enum types and tables, and remembers which it has made.
async fn create_schema(
    registry: &'static RegistryFacts,
    names: Names<'_>,
    connection: &mut Connection,
) -> Result<Created> {
    let mut created = Created::default();
    for schema in ddl::schemas(registry, names) {
        let there = connection
            .count(
                "looking for the schema",
                "SELECT count(*) FROM pg_namespace WHERE nspname = $1",
                &[Some(schema)],
            )
            .await?;
        if there == 0 {
            connection
                .execute("making a schema", format!("CREATE SCHEMA {}", quote_ident(schema)))
                .await?;
            created.schemas.push(quote_ident(schema));
        }
    }
    let there = existing::tables(connection, registry, names).await?;
    preflight::tables_are_empty(connection, names, &there).await?;
    for ty in ddl::enum_types(registry) {
        if preflight::type_exists(connection, &names.enum_type(ty)).await? {
            continue;
        }
        connection
            .execute(&format!("making the type {}", ty.name), ddl::create_enum(names, ty))
            .await?;
        created.types.push(names.enum_type(ty));
    }
    for (model, _) in registry.iter() {
        if there.iter().any(|existing| existing.same(model)) {
            continue;
        }
        connection
            .execute(&format!("making the table {}", model.table), ddl::create_table(names, model))
            .await?;
        created.tables.push(names.table(model));
    }
    Ok(created)
}

/// Fails when tables are there that do not match the models, with every difference.
async fn check_existing(
    registry: &'static RegistryFacts,
    names: Names<'_>,
    connection: &mut Connection,
    reporter: &Arc<dyn Reporter>,
) -> Result<()> {
    let differences = existing::compare(connection, registry, names).await?;
    let (harmless, others): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|difference| difference.harmless);
    if !others.is_empty() {
        let list: Vec<String> =
            others.iter().map(|difference| format!("\n  {difference}")).collect();
        return Err(Error::new(
            ErrorKind::Preflight,
            format!("the target has tables that do not match the models:{}", list.concat()),
        )
        .with_hint(
            "change the tables with the statements above or the models, drop the tables, or take another schema with `--schema`",
        ));
    }
    for difference in harmless {
        reporter.event(&Event::Notice { message: &difference.to_string() });
    }
    Ok(())
}

/// Drops what the last run has made, and its state.
async fn clean(
    registry: &'static RegistryFacts,
    names: Names<'_>,
    state: &State,
    options: &Options,
    connection: &mut Connection,
    reporter: &Arc<dyn Reporter>,
) -> Result<()> {
    if !state.exists(connection).await? {
        return Ok(());
    }
    let Some(run) = state.last_run(connection).await? else { return Ok(()) };
    connection.execute("beginning a transaction", "BEGIN").await?;
    // Tables that were there before are emptied, and get back what was taken off them.
    for (model, _) in registry.iter() {
        let table = names.table(model);
        if !run.created.tables.contains(&table)
            && preflight::table_exists(connection, &table).await?
        {
            connection.execute("emptying a table", format!("TRUNCATE {table} CASCADE")).await?;
        }
    }
    for table in &run.created.tables {
        connection
            .execute(
                "dropping what the last run made",
                format!("DROP TABLE IF EXISTS {table} CASCADE"),
            )
            .await?;
    }
    for ty in &run.created.types {
        connection
            .execute("dropping what the last run made", format!("DROP TYPE IF EXISTS {ty}"))
            .await?;
    }
    deferred::put_back(connection, state, run.run, &run.created.tables).await?;
    connection
        .execute(
            "dropping the state of the last run",
            format!("DROP SCHEMA {} CASCADE", quote_ident(&options.state_schema)),
        )
        .await?;
    connection.execute("committing", "COMMIT").await?;
    reporter.event(&Event::Notice {
        message: &format!(
            "run {} and the {} tables it had made are dropped",
            run.run,
            run.created.tables.len()
        ),
    });
    Ok(())
}

/// What decides what the rows are.
fn fingerprint(
    registry: &'static RegistryFacts,
    source: &Arc<dyn Source>,
    options: &Options,
) -> Fingerprint {
    let hash = |model: &Model| {
        // Function pointers differ from process to process, so they are left out.
        let columns: Vec<String> = model
            .columns
            .iter()
            .map(|column| {
                format!(
                    "{:?}",
                    (
                        (column.name, column.keys, column.sql_type(), column.nullable),
                        (column.primary_key, column.unique, column.index),
                        (column.default.is_some(), column.db_default),
                        (column.id_time, column.empty_as_null),
                        column.reference,
                    )
                )
            })
            .collect();
        let junctions: Vec<String> = model
            .junctions
            .iter()
            .map(|junction| format!("{:?}", (junction.keys, junction.table, junction.owner)))
            .collect();
        let text = format!(
            "{:?}",
            (model.collection, model.schema, model.table, columns, junctions, model.indexes)
        );
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()
    };
    Fingerprint {
        registry: registry.name.to_owned(),
        models: registry.iter().map(|(model, _)| (model.name.to_owned(), hash(model))).collect(),
        source: source.describe(),
        options: BTreeMap::from([
            ("uuid".to_owned(), options.uuid.name().to_owned()),
            ("schema".to_owned(), options.schema.clone()),
        ]),
    }
}

/// The marks of staged junction rows; see [`Context::origins`].
fn origins(registry: &'static RegistryFacts) -> HashMap<&'static str, Vec<i16>> {
    let mut number = 0;
    let mut origins = HashMap::new();
    for (model, _) in registry.iter() {
        let marks = model.junctions.iter().map(|junction| {
            let (own, _) = junction.sides(model);
            number += 1;
            (number - 1) * 2 + own as i16
        });
        origins.insert(model.name, marks.collect());
    }
    origins
}

/// What workers do.
#[derive(Clone, Copy)]
enum Work {
    Load,
    Tasks,
}

/// Runs as many workers as the options have jobs until the work is done or one fails; the others
/// then end after what they are at.
async fn workers(context: &Arc<Context>, work: Work) -> Result<()> {
    let failed = Stop::default();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..context.options.jobs() {
        let context = Arc::clone(context);
        let failed = failed.clone();
        workers.spawn(async move {
            let result = worker(&context, work, &failed).await;
            if result.is_err() {
                failed.stop();
            }
            result
        });
    }
    let mut first = Ok(());
    while let Some(result) = workers.join_next().await {
        let result = match result {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => {
                Err(Error::new(ErrorKind::Target, "a worker was cancelled").caused_by(error))
            }
        };
        if first.is_ok() {
            first = result;
        }
    }
    first
}

/// One worker: connects, works, and starts again when a server stumbles. What was not committed
/// was not done, so starting again is always safe.
async fn worker(context: &Arc<Context>, work: Work, failed: &Stop) -> Result<()> {
    let mut stumbled: Option<Instant> = None;
    let mut delay = Duration::from_millis(100);
    loop {
        let mut connection =
            connect(&context.target, &context.options, &context.reporter, &context.stop).await?;
        let begun = Instant::now();
        let result = match work {
            Work::Load => load::work(context, &mut connection, failed).await,
            Work::Tasks => task::work(context, &mut connection, failed).await,
        };
        let error = match result {
            Ok(()) => {
                connection.close().await;
                return Ok(());
            }
            Err(error) => error,
        };
        if !error.kind().is_transient() || context.stop.is_stopped() || failed.is_stopped() {
            return Err(error);
        }
        // Patience counts from the first failure in a row; work in between starts it anew.
        if begun.elapsed() > Duration::from_secs(10) {
            stumbled = None;
            delay = Duration::from_millis(100);
        }
        let since = *stumbled.get_or_insert_with(Instant::now);
        if since.elapsed() > context.options.patience {
            return Err(error);
        }
        context.reporter.event(&Event::Waiting { what: &waiting_for(&error), delay });
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}
