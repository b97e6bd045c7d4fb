//! The run: preflight → schema → load → settle → constrain → analyze → report.
//!
//! A run is a row in the state schema with its chunks and tasks; a process that is given the same
//! command finds the row and works on what is not done. So one process, several at once, and one
//! after another's crash all do the same run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::sync::Mutex;

use crate::budget::{self, Budget};
use crate::cell::{CellContext, Limit, PLACEHOLDER_OID, Role};
use crate::choice;
use crate::context::Context;
use crate::ddl::{self, Names};
use crate::deferred;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter, Step};
use crate::existing;
use crate::failpoint::FailPoints;
use crate::feed::Feed;
use crate::id::IdScheme;
use crate::kept;
use crate::ledger;
use crate::load;
use crate::preflight::{self, Lookup};
use crate::read_ahead::ReadAhead;
use crate::schema::{BaseType, Column, Convert, Model, ModelKind, RegistryFacts, quote_ident};
use crate::sink::{Connection, Target, sql_state, target_error};
use crate::source::{CollectionInfo, Source};
use crate::staging;
use crate::state::{self, Created, Fingerprint, PlannedChunk, RunRow, State};
use crate::stop::GRACE;
use crate::summary::Summary;
use crate::transform::{TargetFacts, Transformer};
use crate::upkeep::{self, Analyze};
use crate::watch::Watch;
use crate::{report, status, task};

pub use crate::stop::Stop;

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
    /// About how many BSON bytes one chunk has; 0 chooses by what there is to load, see
    /// [`Options::chunk_bytes_of`].
    pub chunk_bytes: u64,
    /// Throws the results of earlier runs away (what they made is dropped, what was there is
    /// emptied) and starts over.
    pub clean: bool,
    /// Loads only these models, by the name of the struct, the table or the collection; empty is
    /// every model that no earlier run has loaded.
    pub only: Vec<String>,
    /// Leaves the keys, indexes and foreign keys of tables that are there on while loading, phase
    /// after phase.
    pub keep_constraints: bool,
    /// Keeps rows that are there; a document that clashes with one becomes a reject.
    pub append: bool,
    /// How statistics for the planner are gathered.
    pub analyze: Analyze,
    /// How much memory PostgreSQL may use for sorting while indexes are built, over all
    /// connections.
    pub sort_bytes: u64,
    /// How much memory this process may take; [`Options::budget`] is for its source.
    pub memory_bytes: u64,
    /// How long a server that cannot be reached, or refuses for now, is tried again while nothing
    /// comes forward.
    pub patience: Duration,
    /// Where tests stop the run.
    pub fail_points: FailPoints,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 0,
            uuid: UuidVersion::default(),
            state_schema: "migrate".to_owned(),
            schema: "public".to_owned(),
            chunk_bytes: 0,
            clean: false,
            only: Vec::new(),
            append: false,
            keep_constraints: false,
            analyze: Analyze::default(),
            sort_bytes: 512 << 20,
            memory_bytes: budget::DEFAULT_BYTES,
            patience: Duration::from_secs(60),
            fail_points: FailPoints::default(),
        }
    }
}

impl Options {
    /// The connections to each server.
    pub fn jobs(&self) -> usize {
        match self.jobs {
            0 => budget::cores(),
            jobs => jobs,
        }
    }

    /// About how many BSON bytes one chunk of a load of `total` bytes has: where nobody says, 64 MiB, and up
    /// to 256 MiB where each connection still gets four chunks. Fewer cuts cost less, and a collection that
    /// is not cut is read as it lies on the disk; what a crash undoes is a chunk for each connection.
    pub fn chunk_bytes_of(&self, total: u64) -> u64 {
        match self.chunk_bytes {
            0 => (total / (4 * self.jobs() as u64)).clamp(64 << 20, 256 << 20),
            bytes => bytes,
        }
    }

    /// The memory of a run, for the source that it reads.
    pub fn budget(&self) -> Budget {
        Budget::of_run(self.memory_bytes, self.jobs())
    }

    /// The memory of a validation, for the source that it reads.
    pub fn validation_budget(&self) -> Budget {
        Budget::of_validation(self.memory_bytes, self.jobs())
    }

    /// What one task may use of `sort_bytes`.
    pub(crate) fn index_bytes(&self) -> u64 {
        // PostgreSQL's own limits: 64 kB at least, below 2 GB for the types behind the settings.
        (self.sort_bytes / self.jobs() as u64).clamp(1 << 20, (2 << 30) - 1024)
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
    let target = Target::parse(target)?;
    let watch = Arc::new(Watch::default());
    tokio::select! {
        result = watched_run(registry, source, &target, options, &reporter, stop, &watch) => result,
        never = watch.keep(&target, options, &reporter, stop) => match never {},
    }
}

/// The run, while the sessions it works on are watched.
async fn watched_run(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &Target,
    options: &Options,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
    watch: &Arc<Watch>,
) -> Result<Summary> {
    let started = Instant::now();
    let mut seconds = BTreeMap::new();

    let timer = Timer::start(reporter, Step::Preflight);
    // Nothing has been done yet, and an address that is wrong stays wrong: only a server that is
    // just starting is waited for.
    let first = Options { patience: options.patience.min(FIRST_PATIENCE), ..options.clone() };
    let connecting = async {
        let mut connection = match connect(target, &first, reporter, stop).await {
            // It is there, and just starting: that may take as long as a crash has left to mend.
            Err(error)
                if sql_state(&error) == Some("57P03") && options.patience > first.patience =>
            {
                connect(target, options, reporter, stop).await?
            }
            connected => connected?,
        };
        let server = preflight::server(&mut connection).await?;
        Ok((connection, server))
    };
    let ((mut connection, server), collections) =
        tokio::try_join!(connecting, source.collections())?;
    let server_version = server.version;
    let fitting = server.fitting(options);
    server.tell(options, &fitting, reporter);
    let options = &fitting;
    for notice in source.notices() {
        reporter.event(&Event::Notice { message: &notice });
    }
    timer.finish(reporter, &mut seconds);
    options.fail_points.hit("preflight is done")?;

    let timer = Timer::start(reporter, Step::Schema);
    let mut preparation = Preparation {
        target,
        server_version,
        early: None,
        anew: 0,
        registry,
        source: &source,
        options: options.clone(),
        state: State::new(&options.state_schema),
        collections: &collections,
        reporter,
        stop,
    };
    let mut stumbles = Stumbles::default();
    let prepared = loop {
        let (committed, pid) = (watch.committed(), connection.pid());
        match watch.over(pid, preparation.prepare(&mut connection)).await {
            Ok(prepared) => break prepared,
            Err(error) => {
                // What it has left open goes with the connection.
                drop(connection);
                stumbles.wait(options, reporter, stop, watch, committed, error).await?;
            }
        }
        connection = connect(target, options, reporter, stop).await?;
    };
    timer.finish(reporter, &mut seconds);
    let whole = registry;
    let (registry, run, oids, read_ahead) = match prepared {
        Prepared::Begun(registry, run, oids, read_ahead) => (registry, *run, oids, read_ahead),
        Prepared::Complete(summary) => {
            connection.close().await;
            reporter.event(&Event::Notice {
                message: &format!("run {} is complete already: nothing was done", summary.run),
            });
            return Ok(*summary);
        }
    };

    let origins = origins(registry);
    let transformers = transformers(whole, registry, server_version, run.ids, oids, &origins)?;
    let Preparation { state, early, .. } = preparation;
    let context = Arc::new(Context {
        stages: Default::default(),
        lookups: Default::default(),
        read_ahead,
        large_rows: Context::large_rows(options),
        registry,
        source,
        target: target.clone().named(&status::worker_name(run.run, &options.state_schema)),
        idle: Default::default(),
        state,
        run,
        options: options.clone(),
        reporter: Arc::clone(reporter),
        stop: stop.clone(),
        watch: Arc::clone(watch),
        transformers,
        origins,
    });
    // The rejects of a run that goes on have come over it, and it keeps room for the largest.
    connection.raw().shrink_buffers();
    context.keep(connection).await;
    for connection in early.into_iter().flat_map(EarlyConnections::finished) {
        context.keep(connection).await;
    }

    let timer = Timer::start(reporter, Step::Load);
    workers(&context, Work::Load).await?;
    timer.finish(reporter, &mut seconds);
    options.fail_points.hit("the load is done")?;
    leave_out_gone(&context).await?;

    let timer = Timer::start(reporter, Step::Constrain);
    workers(&context, Work::Tasks).await?;
    timer.finish(reporter, &mut seconds);
    options.fail_points.hit("the tasks are done")?;

    let mut stumbles = Stumbles::default();
    loop {
        let mut connection = connect_worker(&context).await?;
        let committed = watch.committed();
        let pid = connection.pid();
        let finish = async {
            context.state.join(&mut connection, &context.run, stop).await?;
            finish(&context, &mut connection, &collections, started, &seconds).await
        };
        let finished = watch.over(pid, finish).await;
        match finished {
            Ok(summary) => {
                connection.close().await;
                context.close().await;
                return Ok(summary);
            }
            Err(error) => stumbles.wait(options, reporter, stop, watch, committed, error).await?,
        }
    }
}

/// What the schema step has come to.
enum Prepared {
    /// The models of this run, the run, which is begun or goes on, and what is read of it already.
    Begun(&'static RegistryFacts, Box<RunRow>, preflight::EnumOids, ReadAhead),
    /// Everything is loaded already.
    Complete(Box<Summary>),
}

/// The schema step: it can be done again when a server stumbles.
struct Preparation<'a> {
    target: &'a Target,
    /// As `server_version_num`.
    server_version: u32,
    /// Connections for workers, opened when it is known that there is something to do.
    early: Option<EarlyConnections>,
    /// How often it was begun anew because another process had finished a run meanwhile.
    anew: u32,
    registry: &'static RegistryFacts,
    source: &'a Arc<dyn Source>,
    options: Options,
    state: State,
    collections: &'a [CollectionInfo],
    reporter: &'a Arc<dyn Reporter>,
    stop: &'a Stop,
}

impl Preparation<'_> {
    /// Whether another process has finished a run since `runs` were read, and it is worth while to begin
    /// anew. What the connection has open is rolled back.
    async fn has_finished_since(&self, connection: &mut Connection, runs: &[RunRow]) -> bool {
        const MOST: u32 = 3;
        let finished = |runs: &[RunRow]| runs.iter().filter(|run| run.finished).count();
        self.anew < MOST
            && connection.execute("ending a transaction", "ROLLBACK").await.is_ok()
            && (self.state.runs(connection).await).is_ok_and(|now| finished(&now) > finished(runs))
    }

    async fn prepare(&mut self, connection: &mut Connection) -> Result<Prepared> {
        let (registry, source, reporter) = (self.registry, self.source, self.reporter);
        let names = Names { schema: &self.options.schema };
        let runs = match !self.options.clean && self.state.exists(connection).await? {
            true => self.state.runs(connection).await?,
            false => Vec::new(),
        };
        self.options.fail_points.hit("the runs are known")?;
        if !self.options.clean
            && let Some(summary) =
                complete(registry, source, &self.options, &self.state, connection, &runs).await?
        {
            return Ok(Prepared::Complete(Box::new(summary)));
        }
        let selected = select(registry, &self.options, &runs)?;
        // A run that goes on may need nothing of the source any more.
        if runs.last().is_none_or(|run| run.finished) {
            preflight::is_the_source(source, registry, selected, self.collections).await?;
        }
        preflight::target_rights(connection, selected, names, &self.options).await?;
        preflight::name_left_out(registry, self.collections, reporter);
        if self.options.clean {
            // What cannot be run is refused before anything is thrown away.
            preflight::source_rights(source, selected).await?;
            if self.options.keep_constraints || self.options.append {
                selected.iter().try_for_each(|(model, _)| kept::check(model))?;
            }
            let (state, options) = (&self.state, &self.options);
            clean(registry, names, state, options, connection, reporter, self.stop).await?;
            // Once is enough when this is done again.
            self.options.clean = false;
        }
        // An older server counts what a session has changed when it ends, so none is handed on.
        if self.early.is_none() && self.server_version >= upkeep::COUNTS_AT_ONCE {
            self.early = Some(early_connections(self.target, self.options.jobs() - 1));
        }
        let names = Names { schema: &self.options.schema };
        let mut beginning = Beginning {
            registry: selected,
            source,
            options: &self.options,
            state: &self.state,
            connection,
            collections: self.collections,
            reporter,
            stop: self.stop,
            earlier: &runs,
        };
        let (run, read_ahead) = match beginning.begin().await {
            Ok(begun) => begun,
            // What was found of the runs before was not so any more.
            Err(error)
                if error.kind() != ErrorKind::Interrupted
                    && self.has_finished_since(connection, &runs).await =>
            {
                tracing::debug!(%error, "another process has finished a run: beginning anew");
                self.anew += 1;
                return Box::pin(self.prepare(connection)).await;
            }
            Err(error) => return Err(error),
        };
        let oids = preflight::enum_oids(connection, selected, names).await?;
        Ok(Prepared::Begun(selected, Box::new(run), oids, read_ahead))
    }
}

/// Before the tasks, leaves out what nothing is left of: somebody has dropped a table or a column
/// while its keys and indexes were off.
async fn leave_out_gone(context: &Context) -> Result<()> {
    let is_new = |model: &Model| context.run.created.tables.contains(&context.names().table(model));
    if context.registry.iter().all(|(model, _)| is_new(model)) {
        return Ok(());
    }
    let Context { options, reporter, stop, watch, state, run, .. } = context;
    let mut stumbles = Stumbles::default();
    loop {
        let mut connection = connect_worker(context).await?;
        let (committed, pid) = (watch.committed(), connection.pid());
        let leaving = async {
            state.join(&mut connection, run, stop).await?;
            connection.execute("beginning a transaction", "BEGIN").await?;
            let left_out = deferred::leave_out_gone(&mut connection, state, run).await?;
            connection.execute("committing", "COMMIT").await?;
            Ok(left_out)
        };
        let left_out = watch.over(pid, leaving).await;
        match left_out {
            Ok(messages) => {
                context.keep(connection).await;
                for message in &messages {
                    reporter.event(&Event::Notice { message });
                }
                return Ok(());
            }
            Err(error) => stumbles.wait(options, reporter, stop, watch, committed, error).await?,
        }
    }
}

/// Makes the summary, and writes it down as the end of the run.
async fn finish(
    context: &Context,
    connection: &mut Connection,
    collections: &[CollectionInfo],
    started: Instant,
    seconds: &BTreeMap<String, f64>,
) -> Result<Summary> {
    let mut seconds = seconds.clone();
    let timer = Timer::start(&context.reporter, Step::Report);
    let mut helper = context.idle_connection().await;
    let helper_pid = helper.as_ref().map(Connection::pid);
    let adding = report::summary(context, connection, helper.as_mut(), collections);
    let mut summary = match helper_pid {
        Some(pid) => context.watch.over(pid, adding).await?,
        None => adding.await?,
    };
    if let Some(helper) = helper {
        context.keep(helper).await;
    }
    timer.finish(&context.reporter, &mut seconds);
    report::task_seconds(context, connection, &mut seconds).await?;
    summary.step_seconds = seconds;
    summary.load_seconds = context.stages.seconds();
    summary.seconds = started.elapsed().as_secs_f64();
    context.options.fail_points.hit("the summary is made")?;
    connection.execute("beginning a transaction", "BEGIN").await?;
    report::finish(context, connection, &summary).await?;
    // A transaction that drops tables waits for the disk, as this one does anyway. It is the run's own as it
    // has just found; a staging table belongs to whichever run has its name.
    let stages: Vec<String> =
        context.junction_models().map(|model| context.state.stage(model.name)).collect();
    let drop = match stages.is_empty() {
        true => String::new(),
        false => format!("DROP TABLE IF EXISTS {}; ", stages.join(", ")),
    };
    connection.execute("ending the run", format!("{drop}COMMIT")).await?;
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

/// How long the first connection of a run is tried.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// Connections that are opened while somebody else is busy.
struct EarlyConnections(tokio::task::JoinSet<Option<Connection>>);

/// Opens connections for workers while the schema is made, which takes the target about as long as
/// to prove so many times who one is. Those that fail are tried again by the workers.
fn early_connections(target: &Target, count: usize) -> EarlyConnections {
    let mut connecting = tokio::task::JoinSet::new();
    for _ in 0..count {
        let target = target.clone();
        connecting.spawn(async move { target.connect().await.ok() });
    }
    EarlyConnections(connecting)
}

impl EarlyConnections {
    /// Those that are open; the others are given up.
    fn finished(mut self) -> Vec<Connection> {
        let mut connections = Vec::new();
        while let Some(connected) = self.0.try_join_next() {
            connections.extend(connected.ok().flatten());
        }
        connections
    }
}

/// Gives a connection for a worker of a run: one that nobody uses any more, or as [`connect`] does.
async fn connect_worker(context: &Context) -> Result<Connection> {
    match context.idle_connection().await {
        Some(connection) => Ok(connection),
        None => {
            let Context { target, options, reporter, stop, .. } = context;
            connect(target, options, reporter, stop).await
        }
    }
}

/// Has a session in the target while something is waited for, so that the run is still seen to be at
/// work; `None` where there is none to be had at once.
async fn stay(context: &Context) -> Option<Connection> {
    const TIME: Duration = Duration::from_secs(2);
    let staying = async {
        let mut connection = context.target.connect().await?;
        context.state.join(&mut connection, &context.run, &context.stop).await?;
        Ok::<_, Error>(connection)
    };
    let staying = tokio::time::timeout(TIME, context.stop.or(Duration::ZERO, staying)).await;
    match staying {
        Ok(Some(Ok(connection))) => Some(connection),
        _ => None,
    }
}

/// Opens a connection, again and again for as long as the options' patience lasts.
pub(crate) async fn connect(
    target: &Target,
    options: &Options,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Connection> {
    let started = Instant::now();
    let mut delay = Duration::from_millis(100);
    loop {
        let error = match stop.or(GRACE, target.connect()).await {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(error)) => error,
            None => return Err(Stop::error()),
        };
        if !error.kind().is_transient() {
            return Err(error);
        }
        if stop.is_stopped() {
            return Err(Stop::error().caused_by(error));
        }
        if started.elapsed() + delay >= options.patience {
            return Err(out_of_patience(error, options));
        }
        reporter.event(&Event::Waiting { what: &waiting_for(&error), delay });
        stop.pause(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

/// An error that trying again has not mended, with the patience that is over.
fn out_of_patience(error: Error, options: &Options) -> Error {
    const SAID: &str = "`--patience`";
    let hint = error.hint().unwrap_or("give the same command again");
    if options.patience <= FIRST_PATIENCE || hint.contains(SAID) {
        return error;
    }
    let hint = format!("{hint} ({SAID} of {} s is over)", options.patience.as_secs());
    error.with_hint(hint)
}

fn waiting_for(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their cause in their own sentence.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The model that a person means by the name of its struct or its table, or all that share the
/// collection of that name.
///
/// # Errors
/// When there is none.
pub fn models_named(registry: &'static RegistryFacts, name: &str) -> Result<Vec<&'static Model>> {
    let models = || registry.iter().map(|(model, _)| model);
    if let Some(model) = models().find(|model| [model.name, model.table].contains(&name)) {
        return Ok(vec![model]);
    }
    let with_documents = || models().filter(|model| model.kind.has_documents());
    let of_collection: Vec<_> =
        with_documents().filter(|model| Feed::of(model).is_named(name)).collect();
    if of_collection.is_empty() {
        let known: Vec<&str> = with_documents().map(|model| model.name).collect();
        return Err(Error::new(ErrorKind::Usage, format!("there is no model `{name}`"))
            .with_hint(format!("the models are {}", known.join(", "))));
    }
    Ok(of_collection)
}

/// The models that a run loads: those that a person names, or all that no earlier run has loaded;
/// with each junction for which both sides and all arrays are there by then.
pub(crate) fn select(
    registry: &'static RegistryFacts,
    options: &Options,
    runs: &[RunRow],
) -> Result<&'static RegistryFacts> {
    let loaded: BTreeSet<&str> = runs
        .iter()
        .filter(|run| run.finished)
        .flat_map(|run| run.fingerprint.models.keys().map(String::as_str))
        .collect();
    let mut chosen = BTreeSet::new();
    for name in &options.only {
        let named = models_named(registry, name)?;
        if named.iter().any(|model| model.kind == ModelKind::Junction) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{name}` is a junction, which has no documents of its own"),
            )
            .with_hint(
                "name the models whose arrays fill it; it is filled with the last of them",
            ));
        }
        let mut open = named.iter().filter(|model| !loaded.contains(model.name)).peekable();
        if open.peek().is_none() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{name}` was loaded by an earlier run"),
            )
            .with_hint("leave it out, or start over with `--clean`"));
        }
        chosen.extend(open.map(|model| model.name));
    }
    if options.only.is_empty() {
        if loaded.is_empty() {
            return Ok(registry);
        }
        chosen = registry
            .iter()
            .filter(|(model, _)| model.kind.has_documents() && !loaded.contains(model.name))
            .map(|(model, _)| model.name)
            .collect();
    }
    if chosen.is_empty() {
        let run = runs.last().map_or(0, |run| run.run);
        return Err(Error::new(
            ErrorKind::Preflight,
            format!("the target holds run {run}, which is complete"),
        )
        .with_hint(
            "take another database, or drop what earlier runs made and start over with `--clean`",
        ));
    }
    let there = |model: &Model| chosen.contains(model.name) || loaded.contains(model.name);
    let references = |model: &'static Model| {
        model
            .columns
            .iter()
            .filter_map(|column| column.reference)
            .filter(|reference| reference.orphan != crate::schema::Orphan::Keep)
    };
    // The rows of a model that is not there would all look like orphans.
    let missing = |model: &'static Model| {
        let mut missing: Vec<&'static Model> = Vec::new();
        for target in references(model).map(|reference| reference.target.get()) {
            if !there(target) && !missing.iter().any(|other| other.same(target)) {
                missing.push(target);
            }
        }
        missing
    };
    let mut refusals = Vec::new();
    let mut needed: Vec<&'static Model> = Vec::new();
    for (model, _) in registry.iter().filter(|(model, _)| chosen.contains(model.name)) {
        let targets = missing(model);
        if !targets.is_empty() {
            let names: Vec<String> =
                targets.iter().map(|target| format!("`{}`", target.name)).collect();
            refusals.push(format!("`{}` refers to {}", model.name, names.join(", ")));
            needed.extend(targets);
        }
    }
    if !refusals.is_empty() {
        // What they refer to in turn is needed as well.
        let mut next = 0;
        while let Some(model) = needed.get(next).copied() {
            next += 1;
            needed.extend(missing(model));
            let mut seen = BTreeSet::new();
            needed.retain(|model| seen.insert(model.name));
        }
        let needs = |model: &Model| needed.iter().any(|other| other.same(model));
        let only: Vec<String> = registry
            .iter()
            .filter(|(model, _)| needs(model))
            .map(|(model, _)| format!("--only {}", model.name))
            .collect();
        let (is, it) = if needed.len() == 1 { ("is", "it") } else { ("are", "them") };
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{}, which {is} not loaded", refusals.join("; ")),
        )
        .with_hint(format!("load {it} too with `{}`, or before", only.join(" "))));
    }
    let is_filled = |junction: &'static Model| {
        let feeds =
            |model: &Model| model.junctions.iter().any(|field| field.table.get().same(junction));
        references(junction).all(|reference| there(reference.target.get()))
            && registry.iter().all(|(model, _)| !feeds(model) || there(model))
    };
    Ok(subset(registry, |model| match model.kind {
        ModelKind::Collection | ModelKind::Child => chosen.contains(model.name),
        ModelKind::Junction => !loaded.contains(model.name) && is_filled(model),
        ModelKind::Embedded => false,
    }))
}

/// The registry with the models for which `keep` is true.
pub(crate) fn subset(
    registry: &'static RegistryFacts,
    keep: impl Fn(&'static Model) -> bool,
) -> &'static RegistryFacts {
    let (models, phases): (Vec<_>, Vec<_>) = registry
        .models
        .iter()
        .zip(registry.phases)
        .filter(|(model, _)| keep(model.get()))
        .map(|(model, phase)| (*model, *phase))
        .unzip();
    // A process selects once, and everything that reads facts expects them to live as long as it.
    Box::leak(Box::new(RegistryFacts {
        name: registry.name,
        models: Box::leak(models.into_boxed_slice()),
        phases: Box::leak(phases.into_boxed_slice()),
        enums: registry.enums,
    }))
}

/// The summary of the last run where it is complete and this very command had begun it: all of the registry
/// is loaded, or the run has loaded just what the command names, and nothing differs from what it was given.
async fn complete(
    registry: &'static RegistryFacts,
    source: &Arc<dyn Source>,
    options: &Options,
    state: &State,
    connection: &mut Connection,
    runs: &[RunRow],
) -> Result<Option<Summary>> {
    let Some((last, before)) = runs.split_last().filter(|(last, _)| last.finished) else {
        return Ok(None);
    };
    let has = |run: &RunRow, model: &Model| run.fingerprint.models.contains_key(model.name);
    let was_loaded = |model: &Model| before.iter().any(|run| run.finished && has(run, model));
    let is_whole = match options.only.as_slice() {
        [] => registry.iter().all(|(model, _)| was_loaded(model) || has(last, model)),
        only => {
            // As `select` had understood the names then.
            let mut meant: BTreeSet<&str> = BTreeSet::new();
            for name in only {
                let mut open = models_named(registry, name)?;
                open.retain(|model| model.kind.has_documents() && !was_loaded(model));
                if open.is_empty() {
                    return Ok(None);
                }
                meant.extend(open.into_iter().map(|model| model.name));
            }
            // Junctions come with the models whose arrays fill them.
            let mut with_documents =
                registry.iter().map(|(model, _)| model).filter(|model| model.kind.has_documents());
            with_documents.all(|model| has(last, model) == meant.contains(model.name))
        }
    };
    let same = subset(registry, |model| has(last, model));
    match is_whole && fingerprint(same, source, options).differences(&last.fingerprint).is_empty() {
        true => state.summary(connection, last.run).await,
        false => Ok(None),
    }
}

/// What it takes to begin a run, or to find it.
struct Beginning<'a> {
    registry: &'static RegistryFacts,
    source: &'a Arc<dyn Source>,
    options: &'a Options,
    state: &'a State,
    connection: &'a mut Connection,
    collections: &'a [CollectionInfo],
    reporter: &'a Arc<dyn Reporter>,
    stop: &'a Stop,
    /// The runs before, as they were when the models were selected.
    earlier: &'a [RunRow],
}

/// What has become of a new run.
enum Made {
    /// It is written down, and the transaction is open.
    Run(Box<RunRow>),
    /// Another process has begun it.
    Elsewhere(Box<RunRow>),
}

impl Beginning<'_> {
    /// Goes on with the unfinished run in the target, or writes a new one down: its tables,
    /// chunks and tasks, in one transaction.
    async fn begin(&mut self) -> Result<(RunRow, ReadAhead)> {
        let (options, registry) = (self.options, self.registry);
        let names = Names { schema: &options.schema };
        let fingerprint = fingerprint(registry, self.source, options);
        if let Some(run) = self.unfinished(&fingerprint).await? {
            return Ok((self.resume(run).await?, ReadAhead::default()));
        }
        // Who begins a run at this moment makes its tables, which nobody needs to compare.
        if lock(self.state, self.connection, self.reporter, self.stop).await?
            && let Some(run) = self.unfinished(&fingerprint).await?
        {
            return Ok((self.resume(run).await?, ReadAhead::default()));
        }
        if options.keep_constraints || options.append {
            registry.iter().try_for_each(|(model, _)| kept::check(model))?;
        }
        if let Err(error) = check_existing(registry, names, self.connection, self.reporter).await {
            // Another process may have begun the run since: then the tables are as they should be.
            return match self.unfinished(&fingerprint).await {
                Ok(Some(run)) => Ok((self.resume(run).await?, ReadAhead::default())),
                _ => Err(error),
            };
        }
        if !options.keep_constraints && !options.append {
            check_partitions(registry, names, self.connection).await?;
        }
        // Cutting large collections takes the source about as long as tables take the target. Where
        // it takes longer, nobody who comes to the target meanwhile must wait for it.
        let is_cut_at_once = is_cut_at_once(registry, options, self.collections);
        let planning = async {
            preflight::source_rights(self.source, registry).await?;
            let plan = plan_chunks(registry, self.source, options, self.collections).await?;
            // What waits beside the constraints of its table is read in order.
            let read_ahead = match options.keep_constraints || options.append {
                true => ReadAhead::default(),
                false => ReadAhead::begin(self.source, registry, &plan.chunks),
            };
            Ok((plan, read_ahead))
        };
        let ((plan, read_ahead), made) = match is_cut_at_once {
            true => tokio::try_join!(planning, self.make_schema(names, &fingerprint))?,
            false => (planning.await?, self.make_schema(names, &fingerprint).await?),
        };
        let run = match made {
            Made::Run(run) => *run,
            Made::Elsewhere(run) => {
                return Ok((self.resume(*run).await?, ReadAhead::default()));
            }
        };
        plan.tell(self.reporter);
        let connection = &mut *self.connection;
        self.state.insert_chunks(connection, run.run, &plan.chunks).await?;
        // What was there is taken off in the transaction that writes it down. Unique keys of
        // tables with rows stay on: they decide about clashes.
        let existing: Vec<&'static Model> = registry
            .iter()
            .map(|(model, _)| model)
            .filter(|model| !run.created.tables.contains(&names.table(model)))
            .collect();
        let mut deferred = match options.keep_constraints {
            true => Vec::new(),
            false => deferred::of_catalogue(connection, names, &existing).await?,
        };
        deferred.retain(|definition| {
            matches!(definition.kind, deferred::Kind::Index | deferred::Kind::ForeignKey)
                || registry
                    .model(&definition.model)
                    .is_none_or(|model| !run.created.rows_before.contains_key(&names.table(model)))
        });
        let taken = deferred.len();
        for (model, _) in registry.iter() {
            if run.created.tables.contains(&names.table(model)) {
                deferred.extend(deferred::of_facts(names, model));
            }
        }
        deferred::insert(connection, self.state, run.run, &mut deferred).await?;
        deferred::take_off(connection, names, registry, &deferred[..taken]).await?;
        let kept: Vec<&'static Model> = existing
            .iter()
            .copied()
            .filter(|model| {
                options.keep_constraints
                    || run.created.rows_before.contains_key(&names.table(model))
            })
            .collect();
        let tasks = task::plan(registry, &deferred, &existing, &kept, &plan.bytes);
        task::insert(connection, self.state, run.run, &tasks).await?;
        options.fail_points.hit("the plan is written")?;
        connection.execute("committing the plan", "COMMIT").await?;
        self.reporter.event(&Event::Begun { run: run.run });
        options.fail_points.hit("the plan is committed")?;
        Ok((run, read_ahead))
    }

    /// Begins the transaction that writes a new run down, and makes its tables in it, unless another
    /// process has begun one.
    async fn make_schema(&mut self, names: Names<'_>, fingerprint: &Fingerprint) -> Result<Made> {
        let (options, registry) = (self.options, self.registry);
        self.connection.execute("beginning a transaction", "BEGIN").await?;
        // Two processes that are started at once must not both begin a run.
        lock(self.state, self.connection, self.reporter, self.stop).await?;
        if let Some(run) = self.unfinished(fingerprint).await? {
            self.connection.execute("ending a transaction", "ROLLBACK").await?;
            return Ok(Made::Elsewhere(Box::new(run)));
        }
        let connection = &mut *self.connection;
        let own_schema = !preflight::schema_exists(connection, &options.state_schema).await?;
        if own_schema {
            let schema = quote_ident(&options.state_schema);
            connection
                .execute("making the state's schema", format!("CREATE SCHEMA {schema}"))
                .await?;
        }
        connection
            .execute(
                "making the state's tables",
                state::create_sql(&options.state_schema, options.uuid),
            )
            .await?;
        existing::lock_schema(connection).await?;
        let mut created = create_schema(registry, names, options, connection).await?;
        created.state_schema = own_schema;
        let left_out = preflight::left_out(registry, self.collections);
        let key = self.earlier.first().map_or_else(uuid::Uuid::new_v4, |run| run.key);
        let run = self
            .state
            .insert_run(connection, fingerprint, options.uuid, key, &created, &left_out)
            .await?;
        // Nobody knows of it yet, so nobody can be in the way.
        self.state.try_join(connection, &run).await?;
        self.stage_junctions(names).await?;
        Ok(Made::Run(Box::new(run)))
    }

    /// Makes the staging table of each junction that the models feed.
    async fn stage_junctions(&mut self, names: Names<'_>) -> Result<()> {
        let mut junctions: Vec<&'static Model> = Vec::new();
        for (model, _) in self.registry.iter() {
            let fed = model.junctions.iter().map(|field| field.table.get());
            let own = (model.kind == ModelKind::Junction).then_some(model);
            for junction in fed.chain(own) {
                if !junctions.iter().any(|known| known.same(junction)) {
                    junctions.push(junction);
                }
            }
        }
        staging::create(self.connection, self.state, names, &junctions).await
    }

    /// The unfinished run in the target, when it is the one that this command means.
    async fn unfinished(&mut self, fingerprint: &Fingerprint) -> Result<Option<RunRow>> {
        if !self.state.exists(self.connection).await? {
            return Ok(None);
        }
        let Some(run) = self.state.last_run(self.connection).await? else { return Ok(None) };
        let mut differences = fingerprint.differences(&run.fingerprint);
        if run.finished {
            // A new run beside it must make the same ids.
            let other =
                |name: &str| fingerprint.options.get(name) != run.fingerprint.options.get(name);
            // And its references must find the tables of those before.
            for (option, what) in
                [("uuid", "made its ids differently"), ("schema", "has its tables elsewhere")]
            {
                if other(option) {
                    differences.retain(|difference| difference.contains(&format!("`--{option}`")));
                    return Err(Error::new(
                        ErrorKind::Preflight,
                        format!("an earlier run {what}: {}", differences.join("; ")),
                    )
                    .with_hint(format!(
                        "give the same `--{option}` again, or start over with `--clean`"
                    )));
                }
            }
            if self.earlier.iter().all(|earlier| earlier.run != run.run || !earlier.finished) {
                return Err(Error::new(
                    ErrorKind::Preflight,
                    format!("another process has just finished run {}", run.run),
                )
                .with_hint("there is nothing left to do"));
            }
            return Ok(None);
        }
        if differences.is_empty() {
            return Ok(Some(run));
        }
        Err(Error::new(
            ErrorKind::Preflight,
            format!(
                "the target holds run {}, which is not finished and was begun differently: {}",
                run.run,
                differences.join("; ")
            ),
        )
        .with_hint(
            "finish it with the command and the models that began it, or start over with `--clean`",
        ))
    }

    /// The run as it is now, while nobody can throw it away.
    async fn last(&mut self, run: &RunRow) -> Result<RunRow> {
        let last = self.state.last_run(self.connection).await.map_err(state::thrown_away)?;
        last.filter(|last| (last.run, last.key) == (run.run, run.key))
            .ok_or_else(state::started_over)
    }

    /// Becomes one of those at work on a run, and takes it up where somebody had given it up.
    async fn join(&mut self, run: &RunRow) -> Result<RunRow> {
        let mut turn = Turn::default();
        while !self.state.try_join(self.connection, run).await? {
            turn.wait(self.reporter, self.stop).await?;
        }
        let run = self.last(run).await?;
        match run.given_up {
            true => self.take_up(run).await,
            false => Ok(run),
        }
    }

    /// Takes a run up that somebody had given up, unless another process has done so since.
    async fn take_up(&mut self, run: RunRow) -> Result<RunRow> {
        let names = Names { schema: &self.options.schema };
        self.connection.execute("beginning a transaction", "BEGIN").await?;
        lock(self.state, self.connection, self.reporter, self.stop).await?;
        keep_off(self.state, self.connection, &run, self.reporter, self.stop).await?;
        let last = self.last(&run).await?;
        let connection = &mut *self.connection;
        let mut taken = 0;
        if last.given_up {
            taken = deferred::take_up(connection, self.state, names, self.registry, &last).await?;
        }
        self.options.fail_points.hit("a run is taken up")?;
        connection.execute("committing", "COMMIT").await?;
        if taken > 0 {
            let message = format!(
                "{taken} keys and indexes that were put back are taken off again: the run goes on"
            );
            self.reporter.event(&Event::Notice { message: &message });
        }
        Ok(RunRow { given_up: false, ..last })
    }

    async fn resume(&mut self, run: RunRow) -> Result<RunRow> {
        preflight::source_rights(self.source, self.registry).await?;
        let run = self.join(&run).await?;
        let (open, chunks) = self.state.open_chunks(self.connection, run.run).await?;
        self.reporter.event(&Event::Resumed { run: run.run, chunks_done: chunks - open, chunks });
        let progress = self.state.progress(self.connection, run.run).await?;
        for (model, _) in self.registry.iter() {
            if let Some((chunks, read, loaded)) = progress.get(model.name) {
                let feed = Feed::of(model);
                self.reporter.event(&Event::TablePlanned {
                    table: model.table,
                    collection: feed.label(),
                    documents: feed.documents(self.collections),
                    documents_done: *read,
                    rows_done: *loaded,
                    chunks: *chunks,
                });
            }
        }
        ledger::of_run(self.connection, self.state, run.run, |entry| {
            self.reporter.event(&Event::RejectedBefore(&entry));
        })
        .await?;
        Ok(run)
    }
}

/// One transformer per model with documents; `whole` is the registry that it was selected from.
pub(crate) fn transformers(
    whole: &'static RegistryFacts,
    registry: &'static RegistryFacts,
    server_version: u32,
    ids: IdScheme,
    enum_oids: preflight::EnumOids,
    origins: &HashMap<&'static str, Vec<i16>>,
) -> Result<HashMap<&'static str, Arc<Transformer>>> {
    let mut facts = TargetFacts::new(server_version, ids);
    facts.enum_oids = enum_oids;
    registry
        .iter()
        .filter(|(model, _)| model.kind.has_documents())
        .map(|(model, _)| {
            let origins = origins.get(model.name).map(Vec::as_slice).unwrap_or_default();
            let transformer = Transformer::new(model, &facts, origins)?;
            let transformer = transformer.answer_for(choice::siblings(whole, model));
            Ok((model.name, Arc::new(transformer)))
        })
        .collect()
}

/// What is to be loaded.
#[derive(Default)]
pub(crate) struct LoadPlan {
    /// The largest ones first, so that the small ones fill the connections' last moments.
    pub(crate) chunks: Vec<PlannedChunk>,
    /// The collections' sizes by model.
    bytes: HashMap<&'static str, u64>,
    tables: Vec<PlannedTable>,
    notices: Vec<String>,
}

struct PlannedTable {
    table: &'static str,
    collection: String,
    documents: u64,
    chunks: u64,
}

impl LoadPlan {
    /// Tells of it, once it is what will be done.
    pub(crate) fn tell(&self, reporter: &Arc<dyn Reporter>) {
        for message in &self.notices {
            reporter.event(&Event::Notice { message });
        }
        for PlannedTable { table, collection, documents, chunks } in &self.tables {
            reporter.event(&Event::TablePlanned {
                table,
                collection,
                documents: *documents,
                documents_done: 0,
                rows_done: 0,
                chunks: *chunks,
            });
        }
    }
}

/// Cuts every collection into chunks.
pub(crate) async fn plan_chunks(
    registry: &'static RegistryFacts,
    source: &Arc<dyn Source>,
    options: &Options,
    collections: &[CollectionInfo],
) -> Result<LoadPlan> {
    let mut plan = LoadPlan::default();
    let mut sized = Vec::new();
    let models = || registry.iter().filter(|(model, _)| model.kind.has_documents());
    // Each collection that is there is cut once for each model of it, several at a time.
    let is_there = |name: &&str| collections.iter().any(|known| known.name == *name);
    let mut cuts = Vec::new();
    let chunk_bytes = chunk_bytes(registry, options, collections);
    for (model, _) in models() {
        let names = Feed::of(model).collections().filter(is_there);
        cuts.extend(names.map(|name| source.split(name, chunk_bytes)));
    }
    let mut cuts = futures_util::stream::iter(cuts).buffered(options.jobs());
    for (model, phase) in models() {
        let feed = Feed::of(model);
        let mut model_chunks = 0;
        for name in feed.collections() {
            let Some(collection) = collections.iter().find(|known| known.name == name) else {
                let without = match model.further_collections {
                    [] => format!("{} stays empty", model.table),
                    _ => format!("nothing of it comes into {}", model.table),
                };
                plan.notices.push(format!("the source has no collection `{name}`: {without}"));
                continue;
            };
            let size = collection.bytes.unwrap_or_default();
            *plan.bytes.entry(model.name).or_default() += size;
            let Some(ranges) = cuts.next().await.transpose()? else {
                return Err(Error::new(ErrorKind::Source, format!("`{name}` was not cut")));
            };
            model_chunks += ranges.len() as u64;
            let parts = ranges.len().max(1) as u64;
            for range in ranges {
                sized.push((
                    size / parts,
                    PlannedChunk {
                        model: model.name.to_owned(),
                        collection: name.to_owned(),
                        // With derived ids nothing needs the order while constraints are off.
                        phase: if options.keep_constraints || options.append { phase } else { 0 },
                        range,
                        estimate: collection.documents.unwrap_or_default() / parts,
                    },
                ));
            }
        }
        if plan.bytes.contains_key(model.name) {
            plan.tables.push(PlannedTable {
                table: model.table,
                collection: feed.label().to_owned(),
                documents: feed.documents(collections),
                chunks: model_chunks,
            });
        }
    }
    sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    plan.chunks = sized.into_iter().map(|(_, chunk)| chunk).collect();
    Ok(plan)
}

/// The collections of the models, those that are there, each as often as a model reads it.
fn read<'a>(
    registry: &'static RegistryFacts,
    collections: &'a [CollectionInfo],
) -> impl Iterator<Item = &'a CollectionInfo> {
    let names = registry.iter().flat_map(|(model, _)| model.collections());
    names.filter_map(|name| collections.iter().find(|info| info.name == name))
}

/// How large a chunk is, by what the models' collections hold together.
fn chunk_bytes(
    registry: &'static RegistryFacts,
    options: &Options,
    collections: &[CollectionInfo],
) -> u64 {
    let bytes = read(registry, collections).map(|info| info.bytes.unwrap_or_default());
    options.chunk_bytes_of(bytes.fold(0, u64::saturating_add))
}

/// Whether all collections can be cut while a transaction is open in the target.
fn is_cut_at_once(
    registry: &'static RegistryFacts,
    options: &Options,
    collections: &[CollectionInfo],
) -> bool {
    /// The source looks at some millions of ids a second.
    const AT_ONCE: u64 = 2_000_000;
    let chunk_bytes = chunk_bytes(registry, options, collections);
    let large = |info: &&CollectionInfo| info.bytes.is_none_or(|bytes| bytes > chunk_bytes);
    let large = read(registry, collections).filter(large);
    let ids = large.map(|info| info.documents.unwrap_or(AT_ONCE));
    ids.fold(0, u64::saturating_add) < AT_ONCE
}

/// Makes schemas, enum types and tables, and remembers which it has made.
async fn create_schema(
    registry: &'static RegistryFacts,
    names: Names<'_>,
    options: &Options,
    connection: &mut Connection,
) -> Result<Created> {
    let mut created = Created::default();
    for schema in ddl::schemas(registry, names) {
        if !preflight::schema_exists(connection, schema).await? {
            connection
                .execute("making a schema", format!("CREATE SCHEMA {}", quote_ident(schema)))
                .await?;
            created.schemas.push(quote_ident(schema));
        }
    }
    let there = existing::tables(connection, registry, names).await?;
    let filled = preflight::filled_tables(connection, names, &there).await?;
    if !options.append && !filled.is_empty() {
        return Err(Error::new(
            ErrorKind::Preflight,
            format!(
                "the target has tables that hold rows already: {}",
                filled.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        )
        .with_hint(
            "empty them, keep their rows with `--append`, or take another database or schema (`--schema`)",
        ));
    }
    created.rows_before = filled;
    let types = ddl::enum_types(registry);
    let type_names: Vec<String> = types.iter().map(|ty| names.enum_type(ty)).collect();
    let found = preflight::oids(connection, Lookup::Type, &type_names).await?;
    let mut statements = Vec::new();
    for (ty, _) in types.into_iter().zip(found).filter(|(_, oid)| oid.is_none()) {
        statements.push((format!("making the type {}", ty.name), ddl::create_enum(names, ty)));
        created.types.push(names.enum_type(ty));
    }
    for (model, _) in registry.iter() {
        if there.iter().any(|existing| existing.same(model)) {
            continue;
        }
        let create = ddl::create_table(names, model) + upkeep::WITHOUT_AUTOVACUUM;
        statements.push((format!("making the table {}", model.table), create));
        created.tables.push(names.table(model));
    }
    connection.execute_each(&statements).await?;
    Ok(created)
}

/// Fails when tables are there that do not match the models, with every difference.
pub(crate) async fn check_existing(
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

/// Fails for partitioned tables, whose keys PostgreSQL does not let be made of indexes that are
/// there, so that they could not be put back.
async fn check_partitions(
    registry: &'static RegistryFacts,
    names: Names<'_>,
    connection: &mut Connection,
) -> Result<()> {
    let tables: Vec<String> = registry.iter().map(|(model, _)| names.table(model)).collect();
    let sql = "SELECT t FROM unnest($1::text[]) AS named (t)
         JOIN pg_class ON oid = to_regclass(t) AND relkind = 'p' ORDER BY t";
    let found: Vec<String> = sqlx::query_scalar(sql)
        .bind(&tables)
        .fetch_all(connection.raw())
        .await
        .map_err(|error| target_error("looking for partitioned tables", error))?;
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Preflight,
        format!("the target has partitioned tables: {}", found.join(", ")),
    )
    .with_hint("their keys cannot be taken off and put back: add `--keep-constraints`"))
}

/// Empties tables together, because they refer to each other. A table of somebody else's that
/// refers to them would be emptied with them, so it must be empty already.
async fn empty_tables(connection: &mut Connection, tables: &[String]) -> Result<()> {
    const ACT: &str = "emptying the tables";
    if tables.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(AssertSqlSafe(
        "WITH RECURSIVE own AS (SELECT unnest($1::text[])::regclass::oid AS oid),
         referring AS (
            SELECT oid FROM own
            UNION SELECT c.conrelid FROM pg_constraint c JOIN referring r ON c.confrelid = r.oid
            WHERE c.contype = 'f'
         )
         SELECT oid::regclass::text FROM referring WHERE oid NOT IN (SELECT oid FROM own)",
    ))
    .bind(tables)
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))?;
    for row in &rows {
        let other: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {other} LIMIT 1) AS first");
        if connection.count(ACT, sql, &[]).await? > 0 {
            return Err(Error::new(
                ErrorKind::Preflight,
                format!("{other} refers to the tables that would be emptied, and has rows"),
            )
            .with_hint("empty it first, or take its foreign key off"));
        }
    }
    connection.execute(ACT, format!("TRUNCATE {} CASCADE", tables.join(", "))).await.map(drop)
}

/// Locks the state until the caller's transaction ends, or for a moment where there is none; see
/// [`State::try_lock`]. Waits for whoever has the lock, and says so; whether there was somebody.
async fn lock(
    state: &State,
    connection: &mut Connection,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<bool> {
    let mut turn = Turn::default();
    while !state.try_lock(connection).await? {
        turn.wait(reporter, stop).await?;
    }
    Ok(turn.since.is_some())
}

/// Has nobody put definitions of a run back until the caller's transaction ends; see
/// [`State::try_keep_off`].
async fn keep_off(
    state: &State,
    connection: &mut Connection,
    run: &RunRow,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<()> {
    let mut turn = Turn::default();
    while !state.try_keep_off(connection, run).await? {
        turn.wait(reporter, stop).await?;
    }
    Ok(())
}

/// Somebody who tries to get a lock of the state until it is free.
#[derive(Default)]
struct Turn {
    since: Option<Instant>,
    told: bool,
}

impl Turn {
    /// Waits before the next attempt, and says what for where that takes long.
    async fn wait(&mut self, reporter: &Arc<dyn Reporter>, stop: &Stop) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(10);
        const SILENT: Duration = Duration::from_secs(1);
        if stop.is_stopped() {
            return Err(Stop::error());
        }
        if !self.told && self.since.get_or_insert_with(Instant::now).elapsed() > SILENT {
            let message = "waiting for another process, which begins a run, starts over, or puts keys and indexes back";
            reporter.event(&Event::Notice { message });
            self.told = true;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Drops what earlier runs have made, empties what they have filled, and drops their state.
async fn clean(
    registry: &'static RegistryFacts,
    names: Names<'_>,
    state: &State,
    options: &Options,
    connection: &mut Connection,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<()> {
    if !state.exists(connection).await? {
        return Ok(());
    }
    let runs = state.runs_to_clean(connection).await?;
    let made = |pick: fn(&Created) -> &Vec<String>| -> Vec<String> {
        runs.iter().flat_map(|run| pick(&run.created).iter().cloned()).collect()
    };
    let tables = made(|created| &created.tables);
    if runs.iter().any(|run| !run.created.rows_before.is_empty()) {
        return Err(Error::new(
            ErrorKind::Preflight,
            "an earlier run has appended to tables that held rows, which cannot be told apart",
        )
        .with_hint(
            "take the rows out by hand, put the keys back with `migrate schema restore`, and drop the state schema",
        ));
    }
    connection.execute("beginning a transaction", "BEGIN").await?;
    lock(state, connection, reporter, stop).await?;
    // Whoever had the lock before may have done the same.
    let keys = |runs: &[RunRow]| runs.iter().map(|run| (run.run, run.key)).collect::<Vec<_>>();
    if !state.exists(connection).await?
        || keys(&state.runs_to_clean(connection).await?) != keys(&runs)
    {
        return Err(state::started_over());
    }
    state.check_idle(connection, &runs, "thrown away").await?;
    for run in &runs {
        keep_off(state, connection, run, reporter, stop).await?;
    }
    // Tables that were there before are emptied, and get back what was taken off them.
    let mut emptied = Vec::new();
    for (model, _) in registry.iter() {
        let table = names.table(model);
        let loaded = runs.iter().any(|run| run.fingerprint.models.contains_key(model.name));
        if loaded && !tables.contains(&table) && preflight::table_exists(connection, &table).await?
        {
            emptied.push(table);
        }
    }
    empty_tables(connection, &emptied).await?;
    const ACT: &str = "dropping what earlier runs have made";
    let needed = |error: Error| {
        error.with_hint(
            "something of yours depends on what would be dropped (a view, a foreign key): drop that first",
        )
    };
    if !tables.is_empty() {
        // Together, because they refer to each other; and nothing that depends on them.
        let sql = format!("DROP TABLE IF EXISTS {}", tables.join(", "));
        connection.execute(ACT, sql).await.map_err(needed)?;
    }
    let mut left_out = Vec::new();
    for run in &runs {
        left_out.extend(deferred::put_back(connection, state, run.run, &tables).await?);
    }
    for ty in made(|created| &created.types) {
        let sql = format!("DROP TYPE IF EXISTS {ty}");
        connection.execute(ACT, sql).await.map_err(needed)?;
    }
    // A schema that was there before may hold what is not ours.
    state.drop_tables(connection, registry).await?;
    options.fail_points.hit("earlier runs are taken away")?;
    connection.execute("committing", "COMMIT").await?;
    options.fail_points.hit("earlier runs are gone")?;
    for message in &left_out {
        reporter.event(&Event::Notice { message });
    }
    reporter.event(&Event::Notice {
        message: &format!("{} tables that earlier runs had made are dropped", tables.len()),
    });
    Ok(())
}

/// The cell of a column's default, as far as it does not depend on the target.
fn default_payload(column: &Column) -> Option<Vec<u8>> {
    let context = CellContext {
        ids: IdScheme::V8,
        role: Role::Plain,
        element_oid: PLACEHOLDER_OID,
        limit: Limit::None,
        server_version: 0,
    };
    let mut payload = Vec::new();
    column.default.map(|write| match write(&context, &mut payload) {
        Ok(_) => payload,
        Err(_) => Vec::new(),
    })
}

/// The labels of a column's enum, and which one takes those that are not among them.
fn labels(column: &Column) -> (&'static [&'static str], Option<&'static str>) {
    match column.ty.base {
        BaseType::Enum(ty) => (ty.labels, ty.other),
        _ => (&[], None),
    }
}

/// What decides what the rows are. The functions of `with` and `compute` cannot be compared from
/// process to process; a change in one is not seen.
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
                        (default_payload(column), column.db_default, labels(column)),
                        (column.id_time, column.empty_as_null),
                        (column.steps, column.on_invalid),
                        column.reference,
                        (column.within, column.when, convert_name(column)),
                    )
                )
            })
            .collect();
        let junctions: Vec<String> = model
            .junctions
            .iter()
            .map(|junction| {
                let facts = (junction.keys, junction.table, junction.owner, junction.position);
                format!("{facts:?}")
            })
            .collect();
        let children: Vec<String> = model
            .children
            .iter()
            .map(|child| format!("{:?}", (child.keys, child.table, child.shape, child.strict)))
            .collect();
        let text = format!(
            "{:?}",
            (
                (model.collection, model.schema, model.table, columns, junctions, model.indexes),
                (model.deny_unknown_fields, model.one_of, children),
                (model.when, model.filter.is_some(), model.further_collections),
                (model.own_key, model.checks),
            )
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
            ("append".to_owned(), options.append.to_string()),
            ("keep-constraints".to_owned(), options.keep_constraints.to_string()),
        ]),
    }
}

/// What a cell is made of, without the function that makes it.
fn convert_name(column: &Column) -> &'static str {
    match column.convert {
        Convert::Value(_) => "value",
        Convert::Document(_) => "document",
        Convert::Rest(_) => "rest",
        Convert::Presence => "presence",
    }
}

/// The marks of staged junction rows; see [`Context::origins`].
pub(crate) fn origins(registry: &'static RegistryFacts) -> HashMap<&'static str, Vec<i16>> {
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

/// Those that share a kind of work. One connection is enough for it: where the server has no more for
/// this user, a worker without one waits until there is one, or the work is done by the others.
#[derive(Default)]
struct Crew {
    /// Held by who tries to get a connection: the others would find none either.
    trying: Mutex<()>,
    at_work: AtomicUsize,
    /// Nothing is left to take.
    done: AtomicBool,
    /// One of them has failed.
    failed: Stop,
}

impl Crew {
    /// Whether nobody is needed any more.
    fn is_over(&self) -> bool {
        self.done.load(Ordering::SeqCst) || self.failed.is_stopped()
    }

    /// A connection for one that is at work from now on; `None` where it is not needed any more.
    async fn connection(&self, context: &Context) -> Result<Option<Connection>> {
        const FIRST_PAUSE: Duration = Duration::from_millis(250);
        const LONGEST_PAUSE: Duration = Duration::from_secs(10);
        const TICK: Duration = Duration::from_millis(50);
        let mut pause = FIRST_PAUSE;
        let _trying = self.trying.lock().await;
        let connection = loop {
            if self.is_over() {
                return Ok(None);
            }
            context.check_stop()?;
            if self.at_work.load(Ordering::SeqCst) == 0 {
                break connect_worker(context).await.inspect_err(|_| self.failed.stop())?;
            }
            if let Some(connection) = context.idle_connection().await {
                break connection;
            }
            let error = match context.stop.or(GRACE, context.target.connect()).await {
                Some(Ok(connection)) => break connection,
                Some(Err(error)) if error.kind().is_transient() => error,
                Some(Err(error)) => return Err(error),
                None => return Err(Stop::error()),
            };
            if pause == FIRST_PAUSE {
                let message = format!(
                    "a worker gets no connection to the target: {}; the others do its work",
                    waiting_for(&error)
                );
                context.reporter.event(&Event::Notice { message: &message });
            }
            // Somebody who ends, or comes back without a connection, needs not wait as long.
            let (begun, at_work) = (Instant::now(), self.at_work.load(Ordering::SeqCst));
            while begun.elapsed() < pause
                && self.at_work.load(Ordering::SeqCst) >= at_work
                && !self.is_over()
                && !context.stop.is_stopped()
            {
                tokio::time::sleep(TICK).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        self.at_work.fetch_add(1, Ordering::SeqCst);
        Ok(Some(connection))
    }
}

/// Runs as many workers as the options have jobs until the work is done or one fails; the others
/// then end after what they are at.
async fn workers(context: &Arc<Context>, work: Work) -> Result<()> {
    let crew = Arc::new(Crew::default());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..context.options.jobs() {
        let (context, crew) = (Arc::clone(context), Arc::clone(&crew));
        workers.spawn(async move {
            let result = worker(&context, work, &crew).await;
            if result.is_err() {
                crew.failed.stop();
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
async fn worker(context: &Arc<Context>, work: Work, crew: &Crew) -> Result<()> {
    let mut stumbles = Stumbles::default();
    let failed = &crew.failed;
    loop {
        let Some(mut connection) = crew.connection(context).await? else { return Ok(()) };
        let committed = context.watch.committed();
        let pid = connection.pid();
        let doing = async {
            context.state.join(&mut connection, &context.run, &context.stop).await?;
            match work {
                Work::Load => load::work(context, &mut connection, failed).await,
                Work::Tasks => task::work(context, &mut connection, failed).await,
            }
        };
        let result = context.watch.over(pid, doing).await;
        if result.is_ok() {
            // Before somebody finds that nobody is at work.
            crew.done.store(true, Ordering::SeqCst);
        }
        crew.at_work.fetch_sub(1, Ordering::SeqCst);
        let error = match result {
            Ok(()) => {
                // Who ends because another one has failed may leave a transaction open.
                match failed.is_stopped() {
                    true => connection.close().await,
                    false => context.keep(connection).await,
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if failed.is_stopped() {
            return Err(error);
        }
        let Context { options, reporter, stop, watch, .. } = &**context;
        let is_there = matches!(error.kind(), ErrorKind::SourceConnection | ErrorKind::TargetBusy);
        let staying = match is_there && error.waited() < options.patience {
            true => stay(context).await,
            false => None,
        };
        // Its transaction must not stay open while we wait.
        drop(connection);
        stumbles.wait(options, reporter, stop, watch, committed, error).await?;
        if let Some(connection) = staying {
            context.keep(connection).await;
        }
    }
}

/// Reads something from the target, again and again where it stumbles, for as long as the options'
/// patience lasts.
///
/// # Errors
/// Those of `act` that trying again does not mend, and when somebody asks to stop meanwhile.
pub async fn patiently<T>(
    options: &Options,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
    mut act: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let mut stumbles = Stumbles::default();
    loop {
        match act().await {
            Ok(done) => return Ok(done),
            Err(error) => {
                stumbles.wait(options, reporter, stop, &Watch::default(), 0, error).await?;
            }
        }
    }
}

/// The failures in a row of somebody who tries again.
#[derive(Default)]
pub(crate) struct Stumbles {
    since: Option<Instant>,
    delay: Duration,
}

impl Stumbles {
    const FIRST_DELAY: Duration = Duration::from_millis(100);

    /// Waits before the act that failed is tried again; gives the error back when that would not
    /// help, or patience is at its end. It counts from the first failure in a row: it starts anew
    /// when more is committed than was before the act.
    pub(crate) async fn wait(
        &mut self,
        options: &Options,
        reporter: &Arc<dyn Reporter>,
        stop: &Stop,
        watch: &Watch,
        committed: u64,
        error: Error,
    ) -> Result<()> {
        if !error.kind().is_transient() {
            return Err(error);
        }
        if stop.is_stopped() {
            return Err(Stop::error().caused_by(error));
        }
        if self.since.is_none() || watch.committed() != committed {
            // Whoever has failed may have been patient before.
            let since = Instant::now().checked_sub(error.waited());
            *self = Self { since, delay: Self::FIRST_DELAY };
        }
        if self.since.is_none_or(|since| since.elapsed() >= options.patience) {
            return Err(out_of_patience(error, options));
        }
        let delay = self.delay;
        reporter.event(&Event::Waiting { what: &waiting_for(&error), delay });
        stop.pause(delay).await;
        self.delay = (delay * 2).min(Duration::from_secs(5));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn chunks_grow_with_what_there_is_to_load_unless_somebody_says() {
        let mib = |bytes: u64| bytes >> 20;
        for (jobs, total_mib, chunk_mib) in
            [(2, 0, 64), (2, 512, 64), (2, 1_000, 125), (2, 1 << 20, 256), (8, 1_600, 64)]
        {
            let options = Options { jobs, ..Options::default() };
            assert_eq!(mib(options.chunk_bytes_of(total_mib << 20)), chunk_mib, "{total_mib}");
            let given = Options { chunk_bytes: 4096, ..options };
            assert_eq!(given.chunk_bytes_of(total_mib << 20), 4096);
        }
        assert_eq!(mib(Options { jobs: 2, ..Options::default() }.chunk_bytes_of(u64::MAX)), 256);
    }
}
