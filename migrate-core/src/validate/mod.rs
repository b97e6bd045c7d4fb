//! Source against target, after the load: every row, every pair, every key.
//!
//! For each table the target is scanned once in binary, and what stays of a row is its key and a
//! hash of its cells. Then the source is read and transformed again, chunks side by side: a row
//! whose hash is found is right. Neither side needs an order, so keys of every type work, and a
//! dump in any order. What is not found so goes, as a row, into a temporary table of the target,
//! and PostgreSQL itself judges cell by cell, as values: `1.0` and `1.00`, or an object with its
//! keys in another order, are no difference. So the hashes only have to be a sieve: what they hold
//! back by mistake is looked at again, and of rows with a right key and a wrong cell they let pass
//! one in 2⁶⁴.
//!
//! A document is rightly not in the target when it is in the ledger, and a reference is rightly
//! NULL when what it points to is not in the target and the model says so.

mod canonical;
mod hashes;
pub mod independent;
mod junctions;
mod look;
mod references;
mod repair;
mod rows;
mod sample;
mod structure;
mod tuples;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use junctions::Elements;

use crate::context::Context;
use crate::ddl::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter, Step};
use crate::feed::Feed;
use crate::preflight;
use crate::run::{self, Options, Stop, Stumbles};
use crate::schema::{Model, RegistryFacts};
use crate::sink::{Connection, NO_CONNECTION_LEFT, Target, sql_state};
use crate::source::Source;
use crate::state::{self, RunRow, State};
use crate::status;
use crate::watch::Watch;

pub use independent::Unchecked;
pub use repair::{BrokenOff, Repaired, RepairedTable, repair};
pub use structure::StructureDifference;

/// How many differences of one table are named; the others are counted.
pub const MOST_NAMED: usize = 1000;

/// What a validation has found. Written as `migration-validation-report.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// The run that was validated.
    pub run: i64,
    /// The registry's name.
    pub registry: String,
    /// What was compared, where that is not everything.
    #[serde(default)]
    pub scope: Scope,
    /// The tables of collections.
    pub tables: Vec<TableReport>,
    /// The junctions.
    pub junctions: Vec<JunctionReport>,
    /// The references between tables.
    #[serde(default)]
    pub references: Vec<ReferenceReport>,
    /// Types, defaults, keys, indexes and foreign keys that are not as the models say.
    pub structure: Vec<StructureDifference>,
    /// What a repair has done before this comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<Repaired>,
    /// Seconds that the validation took.
    pub seconds: f64,
    /// Whether nothing differs, and no reference points to nothing.
    pub clean: bool,
}

/// The part of source and target that a validation looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The models, by their names; empty is all that runs have loaded.
    #[serde(default)]
    pub models: Vec<String>,
    /// The first of the runs whose models are compared.
    #[serde(default)]
    pub since_run: Option<i64>,
    /// A sample and not every row: nothing is said about the others.
    #[serde(default)]
    pub sample: Option<Sample>,
    /// Whether a second path has said what the rows should be, and not the transformer that has
    /// loaded them.
    #[serde(default)]
    pub independent: bool,
}

/// A sample of each table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many documents, and as many rows, of each table.
    pub rows: u64,
    /// The same seed takes the same sample of the same data.
    pub seed: u64,
}

/// A run, as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// By its number.
    Run(i64),
    /// The last one.
    Last,
}

/// What a person wants compared; the default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Only these models, by the name of the struct, the table or the collection.
    pub tables: Vec<String>,
    /// Only models that this run or a later one has loaded.
    pub since: Option<Since>,
    /// Only a sample of each table.
    pub sample: Option<Sample>,
    /// Lets the second path say what the rows should be, in place of the transformer: slower, and
    /// mistakes of the transformer are found.
    pub independent: bool,
}

/// One table against its collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// The model.
    pub model: String,
    /// The table.
    pub table: String,
    /// Documents read from the source.
    pub source: u64,
    /// Rows in the target.
    pub target: u64,
    /// Documents in the ledger.
    pub rejected: u64,
    /// Documents that the model leaves out.
    #[serde(default)]
    pub skipped: u64,
    /// Rows that were in the table before the first run, which none has touched (`--append`).
    #[serde(default)]
    pub before: u64,
    /// Whether source = target - before + rejected + skipped. A sample does not judge it.
    pub counts_hold: bool,
    /// Documents that have neither a row nor an entry in the ledger.
    pub missing: Named<RowDifference>,
    /// Rows that no document has given.
    pub extra: Named<RowDifference>,
    /// Cells that differ. No column has more than half of the names, so that one of which all cells
    /// differ leaves room for the others.
    pub cells: Named<CellDifference>,
    /// The same by column, the worst first.
    #[serde(default)]
    pub columns: Vec<ColumnDifferences>,
    /// Documents that the second path judges otherwise than the transformer did.
    #[serde(default = "Named::default")]
    pub judged: Named<Judged>,
    /// What the second path does not check, and why. Where that is the whole table (`*`), the
    /// transformer has said what its rows should be.
    #[serde(default)]
    pub not_independent: Vec<Unchecked>,
    /// Documents that could not be decoded whole, whose rows the second path has not checked.
    #[serde(default)]
    pub not_decoded: u64,
}

/// Differences by their number, with the first of them by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named<T> {
    /// How many there are.
    pub count: u64,
    /// The first [`MOST_NAMED`].
    pub first: Vec<T>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T> Named<T> {
    fn push(&mut self, difference: T) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push(difference);
        }
    }

    fn append(&mut self, other: &mut Self) {
        self.count += std::mem::take(&mut other.count);
        self.first.append(&mut other.first);
        self.first.truncate(MOST_NAMED);
    }
}

/// A row that is only on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowDifference {
    /// The row's key as text.
    pub key: String,
    /// The `_id` that the key gives back, where it does.
    pub source_id: String,
}

/// A cell that is not what the source says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellDifference {
    /// The row's key as text.
    pub key: String,
    /// The `_id` that the key gives back, where it does.
    pub source_id: String,
    /// The column.
    pub column: String,
    /// What the source says, as text; `None` is NULL.
    pub source: Option<String>,
    /// What the target has, as text; `None` is NULL.
    pub target: Option<String>,
}

/// How many cells of a column differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDifferences {
    /// The column.
    pub column: String,
    /// How many cells.
    pub count: u64,
    /// The difference in the definitions that they follow from, where there is one.
    #[serde(default)]
    pub cause: Option<String>,
    /// How many of them are references that point to nothing and are NULL, as the model has it, of which
    /// the ledger does not say that they became so.
    #[serde(default)]
    pub unnoted: u64,
}

/// A document that was loaded and should not have been, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The row's key as text.
    pub key: String,
    /// The document's `_id`.
    pub source_id: String,
    /// Whether it was loaded; else it is in the ledger.
    pub loaded: bool,
    /// The field for which it should have been rejected, or was.
    pub field: String,
    /// The reason's code.
    pub reason: String,
}

/// One junction against the arrays that fill it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JunctionReport {
    /// The model.
    pub model: String,
    /// The table.
    pub table: String,
    /// Pairs that the arrays ask for and whose rows are both there.
    pub source: u64,
    /// Pairs in the target.
    pub target: u64,
    /// Elements of the arrays.
    #[serde(default)]
    pub elements: u64,
    /// Elements whose pair another element had given, as the runs have noted.
    #[serde(default)]
    pub duplicates: u64,
    /// Elements that lead nowhere, as the runs have noted.
    #[serde(default)]
    pub orphans: u64,
    /// Pairs that were in the table before the first run.
    #[serde(default)]
    pub before: u64,
    /// Whether elements = target - before + duplicates + orphans. A sample does not judge it.
    #[serde(default = "yes")]
    pub counts_hold: bool,
    /// Pairs that are missing, as text.
    pub missing: Named<String>,
    /// Pairs that no array asks for, as text.
    pub extra: Named<String>,
}

const fn yes() -> bool {
    true
}

/// One reference between two tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceReport {
    /// The table that refers.
    pub table: String,
    /// Its column.
    pub column: String,
    /// The table referred to.
    pub target: String,
    /// Its column.
    pub key: String,
    /// Cells that are not NULL.
    pub references: u64,
    /// Cells that point to a row that is not there.
    pub orphans: Named<OrphanReference>,
    /// References that became NULL because they pointed to nothing, as the runs have noted.
    pub noted: u64,
    /// References that are rightly NULL although the document has one, as this validation has
    /// found: those that point to nothing, and of which the ledger says so.
    pub nulled: u64,
}

/// A reference to a row that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanReference {
    /// The key of the row that refers, as text.
    pub key: String,
    /// What it refers to, as text.
    pub value: String,
}

impl Report {
    /// The version of the format that this code writes.
    pub const VERSION: u32 = 1;

    /// The differences of all kinds. References to nothing are not among them: their cells may
    /// be what the documents say, or be counted as different already. Neither are a junction's
    /// sums where a row or a pair differs, because those change them.
    pub fn differences(&self) -> u64 {
        let tables: u64 = self.tables.iter().map(TableReport::differences).sum();
        let pairs: u64 = self.junctions.iter().map(JunctionReport::differences).sum();
        let rows_differ = self
            .tables
            .iter()
            .any(|table| table.missing.count + table.extra.count > 0 || !table.counts_hold);
        let sums = self.junctions.iter().filter(|junction| {
            !junction.counts_hold && !rows_differ && junction.differences() == 0
        });
        tables + pairs + sums.count() as u64 + self.structure.len() as u64
    }

    /// The references to rows that are not there.
    pub fn orphans(&self) -> u64 {
        self.references.iter().map(|reference| reference.orphans.count).sum()
    }
}

impl TableReport {
    /// The differences of all kinds.
    pub fn differences(&self) -> u64 {
        let counts = u64::from(!self.counts_hold);
        self.missing.count + self.extra.count + self.cells.count + self.judged.count + counts
    }

    /// Notes a cell that differs.
    fn differs(&mut self, cell: CellDifference) {
        match self.note_column(&cell.column, 1) > MOST_NAMED as u64 / 2 {
            true => self.cells.count += 1,
            false => self.cells.push(cell),
        }
    }

    /// Adds to the differing cells of a column; gives how many they are.
    fn note_column(&mut self, column: &str, count: u64) -> u64 {
        let index = self.columns.iter().position(|known| known.column == column);
        let index = index.unwrap_or_else(|| {
            let column = column.to_owned();
            self.columns.push(ColumnDifferences { column, count: 0, cause: None, unnoted: 0 });
            self.columns.len() - 1
        });
        self.columns[index].count += count;
        self.columns[index].count
    }

    /// Adds to the references of a column that are NULL without an entry of the ledger; their cells are noted
    /// before.
    fn add_unnoted(&mut self, column: &str, count: u64) {
        if let Some(known) = self.columns.iter_mut().find(|known| known.column == column) {
            known.unnoted += count;
        }
    }

    /// Moves over what the second path has found, in an order of its own.
    fn take(&mut self, found: &mut Self) {
        found.missing.first.sort_by(|a, b| a.key.cmp(&b.key));
        found.cells.first.sort_by(|a, b| (&a.key, &a.column).cmp(&(&b.key, &b.column)));
        found.judged.first.sort_by(|a, b| a.source_id.cmp(&b.source_id));
        self.missing.append(&mut found.missing);
        self.cells.append(&mut found.cells);
        for column in found.columns.drain(..) {
            self.note_column(&column.column, column.count);
            self.add_unnoted(&column.column, column.unnoted);
        }
        self.judged.append(&mut found.judged);
        self.not_decoded += found.not_decoded;
        self.not_independent = std::mem::take(&mut found.not_independent);
    }
}

impl JunctionReport {
    /// The pairs that differ.
    pub fn differences(&self) -> u64 {
        self.missing.count + self.extra.count
    }
}

/// What a validation is about, found in the target.
struct Prepared {
    context: Arc<Context>,
    connection: Connection,
    scope: Scope,
    /// The registry as it is given.
    whole: &'static RegistryFacts,
    /// All models that runs have loaded.
    loaded: &'static RegistryFacts,
    /// The names of the models that are compared. Others in the context's registry only feed
    /// junctions that are.
    compared: HashSet<&'static str>,
}

/// Compares the source with the target of a complete run: all of it, or what `request` names.
/// Nothing is written but temporary tables. Where the target goes away meanwhile, the options' patience
/// waits for it, and the comparison begins anew.
///
/// # Errors
/// When a server cannot be reached, the target has no complete run, or somebody asked to stop.
/// Differences are no error: the report names them.
pub async fn validate(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    request: &Request,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Report> {
    /// How long a statement may go on once somebody has asked to stop.
    const GRACE: Duration = Duration::from_secs(5);
    /// How often one that has gone on for longer than the patience begins anew.
    const ANEW: u32 = 3;
    let first = Options { patience: options.patience.min(run::FIRST_PATIENCE), ..options.clone() };
    let (mut patience, mut anew) = (&first, 0);
    let mut stumbles = Stumbles::default();
    let mut has_begun = false;
    loop {
        let begun = Instant::now();
        let attempt = async {
            let (source, reporter) = (Arc::clone(&source), Arc::clone(&reporter));
            let begun = prepare(registry, source, target, patience, request, reporter, stop);
            let mut prepared = begun.await?;
            has_begun = true;
            let (report, _) = compare(&mut prepared, false).await?;
            prepared.connection.close().await;
            Ok(report)
        };
        let error: Error = match stop.or(GRACE, attempt).await {
            Some(Ok(report)) => return Ok(report),
            // An address that is wrong stays wrong.
            Some(Err(error)) if !has_begun => return Err(error),
            Some(Err(error)) => error,
            None => return Err(Stop::error()),
        };
        if error.kind() != ErrorKind::TargetConnection {
            return Err(error);
        }
        if begun.elapsed() > options.patience && anew < ANEW {
            (stumbles, anew) = (Stumbles::default(), anew + 1);
        }
        let hint = error.hint().map(str::to_owned).unwrap_or_default();
        let error = Error::new(error.kind(), "source and target cannot be compared")
            .caused_by(error)
            .with_hint(hint);
        stumbles.wait(options, &reporter, stop, &Watch::default(), 0, error).await?;
        patience = options;
    }
}

/// Compares what was prepared, and names what the target lacks where that is why it cannot be
/// compared.
async fn compare(
    prepared: &mut Prepared,
    keeps_elements: bool,
) -> Result<(Report, Option<Elements>)> {
    match compare_all(prepared, keeps_elements).await {
        Err(error) if structure::is_missing(&error) => {
            let Prepared { context, loaded, compared, .. } = prepared;
            Err(structure::named(context, loaded, compared, error).await)
        }
        compared => compared,
    }
}

/// Finds the run and the models that are meant.
async fn prepare(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    request: &Request,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Prepared> {
    let parsed = Target::parse(target)?;
    if request.independent && request.sample.is_some() {
        return Err(Error::new(ErrorKind::Usage, "a sample is not compared independently")
            .with_hint("leave `--sample` or `--independent` out; `--table` restricts either"));
    }
    let mut connection = run::connect(&parsed, options, &reporter, stop).await?;
    // What is put into temporary tables, and what is sorted and hashed of it.
    connection
        .execute("preparing a comparison", "SET temp_buffers = '64MB'; SET work_mem = '64MB'")
        .await?;
    let server = preflight::server(&mut connection).await?;
    let (server_version, options) = (server.version, &server.fitting(options));
    let state = State::new(&options.state_schema);
    let missing = || {
        Error::new(ErrorKind::Usage, "the target holds no run that could be validated")
            .with_hint("load it first with `migrate run`")
    };
    if !state.exists(&mut connection).await? {
        return Err(missing());
    }
    let runs = state.runs(&mut connection).await?;
    let Some(run) = runs.last().cloned() else { return Err(missing()) };
    if !run.summed {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("run {} is not complete, so there is nothing to compare yet", run.run),
        )
        .with_hint("finish it with `migrate run` first"));
    }
    // Nobody throws it away meanwhile.
    let name = status::validator_name(run.run, &options.state_schema);
    if !state.try_join_as(&mut connection, &run, &name).await? {
        return Err(state::started_over());
    }
    let since = match request.since {
        None => None,
        Some(Since::Last) => Some(run.run),
        Some(Since::Run(number)) if runs.iter().any(|run| run.run == number) => Some(number),
        Some(Since::Run(number)) => {
            let known: Vec<String> = runs.iter().map(|run| run.run.to_string()).collect();
            return Err(Error::new(ErrorKind::Usage, format!("there is no run {number}"))
                .with_hint(format!("the target holds {}", known.join(", "))));
        }
    };
    let whole = registry;
    let loaded = run::subset(registry, |model| {
        runs.iter().any(|run| run.fingerprint.models.contains_key(model.name))
    });
    let compared = compared(loaded, &runs, since, &request.tables)?;
    let feeds = |model: &Model| {
        model.junctions.iter().any(|field| compared.contains(field.table.get().name))
    };
    let registry = run::subset(loaded, |model| compared.contains(model.name) || feeds(model));
    let names = Names { schema: &options.schema };
    let origins = run::origins(registry);
    let oids = preflight::enum_oids(&mut connection, registry, names).await?;
    let transformers = run::transformers(whole, registry, server_version, run.ids, oids, &origins)?;
    let scope = Scope {
        models: match request.tables.is_empty() && since.is_none() {
            true => Vec::new(),
            false => loaded
                .iter()
                .filter(|(model, _)| compared.contains(model.name))
                .map(|(model, _)| model.name.to_owned())
                .collect(),
        },
        since_run: since,
        sample: request.sample,
        independent: request.independent,
    };
    let context = Arc::new(Context {
        lookups: Default::default(),
        read_ahead: Default::default(),
        idle: Default::default(),
        stages: Default::default(),
        large_rows: Context::large_rows(options),
        registry,
        source,
        target: parsed.named(&status::validator_name(run.run, &options.state_schema)),
        state,
        run,
        options: options.clone(),
        reporter,
        stop: stop.clone(),
        watch: Arc::default(),
        transformers,
        origins,
    });
    Ok(Prepared { context, connection, scope, whole, loaded, compared })
}

/// The models that are compared: those that are named, of the runs that are meant.
fn compared(
    loaded: &'static RegistryFacts,
    runs: &[RunRow],
    since: Option<i64>,
    tables: &[String],
) -> Result<HashSet<&'static str>> {
    let of_runs = |model: &Model| {
        runs.iter()
            .filter(|run| since.is_none_or(|since| run.run >= since))
            .any(|run| run.fingerprint.models.contains_key(model.name))
    };
    let is = |model: &'static Model, name: &str| {
        // A junction has no collection.
        [model.name, model.table].contains(&name)
            || (model.kind.has_documents() && Feed::of(model).is_named(name))
    };
    for name in tables {
        if !loaded.iter().any(|(model, _)| is(model, name) && of_runs(model)) {
            let known: Vec<&str> = loaded
                .iter()
                .filter(|(model, _)| of_runs(model))
                .map(|(model, _)| model.table)
                .collect();
            return Err(Error::new(
                ErrorKind::Usage,
                format!("no run has loaded a model `{name}`"),
            )
            .with_hint(format!("loaded are {}", known.join(", "))));
        }
    }
    let compared: HashSet<&'static str> = loaded
        .iter()
        .map(|(model, _)| model)
        .filter(|model| of_runs(model))
        .filter(|model| tables.is_empty() || tables.iter().any(|name| is(model, name)))
        .map(|model| model.name)
        .collect();
    if compared.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "no run has loaded a model of this registry"));
    }
    Ok(compared)
}

/// How long a connection is waited for that nobody can do without: another part of the comparison may
/// have it, and one that was closed is counted by the server for a moment more.
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// A connection beside those that there are; `None` where the server has none left for this user.
async fn spare_connection(context: &Context) -> Result<Option<Connection>> {
    match context.target.connect().await {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if sql_state(&error) == Some(NO_CONNECTION_LEFT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A connection that nobody can do without. Gives the error where the server has none left for as
/// long as [`CONNECTION_TIME`].
async fn needed_connection(context: &Context) -> Result<Connection> {
    context.target.connect_patiently(CONNECTION_TIME).await
}

/// Connections for workers that share what is to be done. One of them is enough: where the server has
/// none left, the others leave the work to those that have one.
#[derive(Clone, Default)]
struct WorkerConnections(Arc<Mutex<bool>>);

impl WorkerConnections {
    /// A connection for one more worker; `None` where it is not needed and not to be had.
    async fn next(&self, context: &Context) -> Result<Option<Connection>> {
        // One after the other, so that the others know whether the first has one.
        let mut served = self.0.lock().await;
        if *served {
            drop(served);
            return spare_connection(context).await;
        }
        let connection = needed_connection(context).await?;
        *served = true;
        Ok(Some(connection))
    }
}

/// Compares what was prepared. With `keeps_elements` the elements of all arrays stay in temporary
/// tables, unless it was a sample.
async fn compare_all(
    prepared: &mut Prepared,
    keeps_elements: bool,
) -> Result<(Report, Option<Elements>)> {
    let started = Instant::now();
    let reporter = Arc::clone(&prepared.context.reporter);
    reporter.event(&Event::StepStarted { step: Step::Validate });
    let Prepared { context, connection, scope, loaded, compared, .. } = prepared;
    let mut report = Report {
        version: Report::VERSION,
        run: context.run.run,
        registry: context.registry.name.to_owned(),
        scope: scope.clone(),
        ..Report::default()
    };
    // Both catalogues are compared beside the rows, where the server has a connection for that.
    let structure = async {
        let Some(mut connection) = spare_connection(context).await? else { return Ok(None) };
        let differences =
            structure::differences(&mut connection, loaded, compared, context.names()).await?;
        connection.close().await;
        Ok(Some(differences))
    };
    let rows = async {
        let mut nulled = references::Nulled::default();
        let mut followed = references::Followed::default();
        if let Some(sample) = scope.sample {
            let rows =
                sample::compare(context, connection, compared, sample, &mut nulled, &mut report);
            return rows.await.map(|()| None);
        }
        let elements = rows::compare(
            context,
            connection,
            compared,
            (&mut nulled, &mut followed),
            keeps_elements,
            &mut report,
        )
        .await?;
        let known = (&nulled, &followed);
        references::compare(context, connection, loaded, compared, known, &mut report).await?;
        Ok(Some(elements))
    };
    let (structure, elements) = tokio::try_join!(structure, rows)?;
    report.structure = match structure {
        Some(structure) => structure,
        None => structure::differences(connection, loaded, compared, context.names()).await?,
    };
    report.clean = report.differences() == 0 && report.orphans() == 0;
    report.seconds = started.elapsed().as_secs_f64();
    structure::explain(loaded, &mut report);
    reporter.event(&Event::StepFinished { step: Step::Validate, elapsed: started.elapsed() });
    Ok((report, elements))
}
