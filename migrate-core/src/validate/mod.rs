//! Source against target, after the load: every row, every pair, every key.
//!
//! For each table the target is scanned once in binary, and what stays of a row is its key and a
//! hash of its cells. Then the source is read and transformed again, chunks side by side: a row
//! whose hash is found is right. Neither side needs an order, so keys of every type work, and a
//! dump in any order. What is not found so goes, as a row, into a temporary table of the target,
//! and PostgreSQL itself judges cell by cell, as values: `1.0` and `1.00`, or an object with its
//! keys in another order, are no difference. So the hash only has to be a sieve; it can let
//! nothing wrong pass (128 bits), and what it holds back by mistake is looked at again.
//!
//! A document is rightly not in the target when it is in the ledger, and a reference is rightly
//! NULL when what it points to is not in the target and the model says so.

mod canonical;
mod rows;
mod structure;

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::ddl::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter, Step};
use crate::preflight;
use crate::run::{self, Options, Stop};
use crate::schema::RegistryFacts;
use crate::sink::Target;
use crate::source::Source;
use crate::state::State;

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
    /// The tables of collections.
    pub tables: Vec<TableReport>,
    /// The junctions.
    pub junctions: Vec<JunctionReport>,
    /// Types, defaults, keys, indexes and foreign keys that are not as the models say.
    pub structure: Vec<StructureDifference>,
    /// Seconds that the validation took.
    pub seconds: f64,
    /// Whether nothing differs.
    pub clean: bool,
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
    /// Whether source = target + rejected.
    pub counts_hold: bool,
    /// Documents that have neither a row nor an entry in the ledger.
    pub missing: Named<RowDifference>,
    /// Rows that no document has given.
    pub extra: Named<RowDifference>,
    /// Cells that differ.
    pub cells: Named<CellDifference>,
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
    /// Pairs that are missing, as text.
    pub missing: Named<String>,
    /// Pairs that no array asks for, as text.
    pub extra: Named<String>,
}

impl Report {
    /// The version of the format that this code writes.
    pub const VERSION: u32 = 1;

    /// The differences of all kinds.
    pub fn differences(&self) -> u64 {
        let tables: u64 = self
            .tables
            .iter()
            .map(|table| {
                let counts = u64::from(!table.counts_hold);
                table.missing.count + table.extra.count + table.cells.count + counts
            })
            .sum();
        let junctions: u64 = self
            .junctions
            .iter()
            .map(|junction| junction.missing.count + junction.extra.count)
            .sum();
        tables + junctions + self.structure.len() as u64
    }
}

/// Compares the whole source with the target of a complete run. `table` restricts it to one model,
/// by the name of the struct, the table or the collection. Nothing is written but temporary tables.
///
/// # Errors
/// When a server cannot be reached, the target has no complete run, or somebody asked to stop.
/// Differences are no error: the report names them.
pub async fn validate(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    table: Option<&str>,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Report> {
    let started = Instant::now();
    reporter.event(&Event::StepStarted { step: Step::Validate });
    let parsed = Target::parse(target)?;
    let mut connection = parsed.connect().await?;
    let server_version = preflight::server(&mut connection).await?;
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
    if !run.finished {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("run {} is not complete, so there is nothing to compare yet", run.run),
        )
        .with_hint("finish it with `migrate run` first"));
    }
    let loaded = |name: &str| runs.iter().any(|run| run.fingerprint.models.contains_key(name));
    let registry = run::subset(registry, |model| {
        let named = |name: &str| [model.name, model.table, model.collection].contains(&name);
        loaded(model.name) && table.is_none_or(named)
    });
    if registry.models.is_empty() {
        let name = table.unwrap_or_default();
        return Err(Error::new(ErrorKind::Usage, format!("no run has loaded a model `{name}`")));
    }
    let names = Names { schema: &options.schema };
    let origins = run::origins(registry);
    let oids = preflight::enum_oids(&mut connection, registry, names).await?;
    let transformers = run::transformers(registry, server_version, run.ids, oids, &origins)?;
    let mut report = Report {
        version: Report::VERSION,
        run: run.run,
        registry: registry.name.to_owned(),
        structure: structure::differences(&mut connection, registry, names).await?,
        ..Report::default()
    };
    let context = Arc::new(Context {
        registry,
        source,
        target: parsed,
        state,
        run,
        options: options.clone(),
        reporter: Arc::clone(&reporter),
        stop: stop.clone(),
        transformers,
        origins,
    });
    rows::compare(&context, &mut connection, &mut report).await?;
    connection.close().await;
    report.clean = report.differences() == 0;
    report.seconds = started.elapsed().as_secs_f64();
    reporter.event(&Event::StepFinished { step: Step::Validate, elapsed: started.elapsed() });
    Ok(report)
}
