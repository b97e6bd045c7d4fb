//! The ledger after a run: what was rejected, and trying again once the cause is mended.
//!
//! A retry reads the documents again, transforms them with the models as they are now, and loads
//! those that pass into the finished tables: settled against the rows that are there, with their
//! junction rows, and with what others had lost because the row was missing. The ledger and the
//! sums move in the same transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bson::{Bson, RawDocumentBuf};
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::mpsc;

use crate::choice;
use crate::context::Context;
use crate::ddl::{Names, foreign_keys};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter};
use crate::feed::{self, Feed};
use crate::ledger::{self, Entry};
use crate::reject::{Reason, Stage};
use crate::run::{Options, Stop};
use crate::schema::{Model, ModelKind, RegistryFacts, quote_ident};
use crate::settle::{self, Settled, id_column};
use crate::sink::{Connection, Target, target_error};
use crate::source::{Batch, CollectionInfo, Range, Source};
use crate::source_id;
use crate::state::{self, ChunkNote, RunRow, State};
use crate::summary::add_replaced;
use crate::transform::Output;
use crate::{kept, load, preflight, run, staging, status};

/// Which rejects are meant; what is `None` is not restricted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of this table (with its schema or without) or collection.
    pub table: Option<String>,
    /// Those with this reason's code.
    pub reason: Option<String>,
    /// Those of this field; `tags.*` is every place in the array `tags`.
    pub field: Option<String>,
    /// The document with this `_id`, as the ledger shows it.
    pub source_id: Option<String>,
    /// Those of this run.
    pub run: Option<i64>,
}

impl Filter {
    /// The filter as a condition on the ledger, and its parameters.
    fn sql(&self) -> (String, [Option<&str>; 4]) {
        let run = self.run.map_or("NULL".to_owned(), |run| run.to_string());
        let condition = format!(
            "coalesce(run = {run}, true) AND ($1::text IS NULL
                OR $1 IN (table_name, collection, table_schema || '.' || table_name))
            AND ($2::text IS NULL OR reason = $2)
            AND ($3::text IS NULL OR $3 IN (field, regexp_replace(field, '\\.\\d+', '.*', 'g')))
            AND ($4::text IS NULL OR source_id = $4)"
        );
        let parameters = [
            self.table.as_deref(),
            self.reason.as_deref(),
            self.field.as_deref(),
            self.source_id.as_deref(),
        ];
        (condition, parameters)
    }
}

/// Rejects that have table, field, reason and message's kind in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The table they were meant for.
    pub table: String,
    /// The field.
    pub field: String,
    /// The reason's code.
    pub reason: String,
    /// The message without the value that was found, as in `expected bool, found string`.
    pub message: String,
    /// How many.
    pub count: u64,
    /// The `_id`s of a few.
    pub examples: Vec<String>,
}

impl Group {
    /// What to do to have such documents accepted, if that is wanted.
    pub fn advice(&self) -> &'static str {
        Reason::from_code(&self.reason).advice(&self.field, &self.message)
    }
}

/// A table of the ledger as people know it: with its schema where that is another than the run's.
const SHOWN_TABLE: &str = "CASE WHEN table_schema = run.fingerprint->'options'->>'schema'
    THEN table_name ELSE table_schema || '.' || table_name END";

/// The ledger of all runs in groups, the largest first.
///
/// # Errors
/// When the state is not there or cannot be read.
pub async fn groups(target: &str, options: &Options, filter: &Filter) -> Result<Vec<Group>> {
    let (mut connection, state) = open(target, options).await?;
    let groups = groups_of(&mut connection, &state, filter).await?;
    connection.close().await;
    Ok(groups)
}

/// The ledger in groups over a connection that is there.
pub(crate) async fn groups_of(
    connection: &mut Connection,
    state: &State,
    filter: &Filter,
) -> Result<Vec<Group>> {
    const ACT: &str = "reading the ledger";
    let (condition, parameters) = filter.sql();
    // The value follows the type's name in a message; positions in arrays are one field.
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT {SHOWN_TABLE} AS shown, shape, reason,
                    CASE WHEN reason IN ('orphan', 'duplicate')
                        THEN split_part(split_part(message, ', found', 1), '; ', 1)
                        ELSE coalesce(substring(message FROM '^(expected .*, found (?:no such field|[A-Za-z]+))'),
                            split_part(message, '; ', 1)) END AS kind,
                    count(*), (array_agg(source_id ORDER BY source_id))[1:3]
                 FROM (SELECT *, regexp_replace(field, '\\.\\d+', '.*', 'g') AS shape FROM {}) AS r
                 JOIN {} AS run USING (run)
                 WHERE {condition} GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4",
                state.table("reject"),
                state.table("run")
            ),
            &parameters,
        )
        .await?;
    let get = |error| target_error(ACT, error);
    let mut groups = Vec::with_capacity(rows.len());
    for row in &rows {
        let count: i64 = row.try_get(4).map_err(get)?;
        groups.push(Group {
            table: row.try_get(0).map_err(get)?,
            field: row.try_get(1).map_err(get)?,
            reason: row.try_get(2).map_err(get)?,
            message: row.try_get(3).map_err(get)?,
            count: count.unsigned_abs(),
            examples: row.try_get(5).map_err(get)?,
        });
    }
    Ok(groups)
}

/// A group that many rejects belong to, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// The rejects.
    #[serde(flatten)]
    pub group: Group,
    /// What to do to have them accepted, if that is wanted.
    pub advice: String,
}

/// The groups that account for most rejects, of all groups, the largest first.
pub fn patterns(groups: &[Group]) -> Vec<Pattern> {
    /// As many groups as it takes for this share of the rejects, and at most so many.
    const SHARE: f64 = 0.8;
    const MOST: usize = 5;
    let all: u64 = groups.iter().map(|group| group.count).sum();
    let mut patterns = Vec::new();
    let mut sum = 0;
    for group in groups.iter().take(MOST) {
        if sum as f64 >= all as f64 * SHARE {
            break;
        }
        sum += group.count;
        let advice = group.advice().to_owned();
        patterns.push(Pattern { group: group.clone(), advice });
    }
    patterns
}

/// Gives every entry of the filter to `each`, in the order of tables and ids, without keeping
/// them; `each` ends the walk by returning false.
///
/// # Errors
/// When the state is not there or cannot be read.
pub async fn for_each(
    target: &str,
    options: &Options,
    filter: &Filter,
    mut each: impl FnMut(Entry) -> bool,
) -> Result<()> {
    const ACT: &str = "reading the ledger";
    let (mut connection, state) = open(target, options).await?;
    let (condition, parameters) = filter.sql();
    let sql = format!(
        "SELECT {} FROM {} WHERE {condition}
         ORDER BY table_schema, table_name, source_id, rejected_at",
        Entry::COLUMNS,
        state.table("reject")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for parameter in parameters {
        query = query.bind(parameter);
    }
    let mut rows = query.fetch(connection.raw());
    while let Some(row) = rows.try_next().await.map_err(|error| target_error(ACT, error))? {
        if !each(Entry::from_row(&row)?) {
            break;
        }
    }
    Ok(())
}

/// What a retry has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Retried {
    /// Documents tried again.
    pub tried: u64,
    /// Those of them that are loaded now.
    pub loaded: u64,
    /// Those that were rejected again.
    pub rejected: u64,
    /// Those that the source does not have any more; they stay in the ledger.
    pub gone: u64,
    /// Those that are no longer their model's: they have left the ledger, or come back there as
    /// rejects of the model of their collection that takes them now, and are tried again with it.
    pub moved: u64,
    /// Junction rows that could be inserted now, those of other documents' arrays included.
    pub junction_rows: u64,
    /// References of other rows that point to a row again.
    pub references: u64,
    /// Loaded by table.
    pub by_table: BTreeMap<String, u64>,
}

/// Tries rejected documents again: read from `source`, or as the ledger has stored them when that
/// is `None`. The run must be complete.
///
/// # Errors
/// When a server cannot be reached, the run is not complete, or somebody asked to stop; slices of
/// documents that were committed stay loaded.
pub async fn retry(
    registry: &'static RegistryFacts,
    source: Option<Arc<dyn Source>>,
    target: &str,
    options: &Options,
    filter: &Filter,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Retried> {
    let (mut connection, state) = open(target, options).await?;
    let server = preflight::server(&mut connection).await?;
    let (server_version, options) = (server.version, &server.fitting(options));
    let mut rows = state.runs(&mut connection).await?;
    let Some(last) = rows.last() else {
        return Err(Error::new(ErrorKind::Usage, "the target holds no run"));
    };
    if !last.summed {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("run {} is not complete, its documents cannot be tried again yet", last.run),
        )
        .with_hint("finish it with `migrate run` first"));
    }
    join(&state, &mut connection, last).await?;
    let is_loaded = |model: &Model| {
        rows.iter().any(|row: &RunRow| row.fingerprint.models.contains_key(model.name))
    };
    let whole = registry;
    let registry = run::subset(whole, is_loaded);
    let schema = last.fingerprint.options.get("schema").cloned();
    let options = Options {
        keep_constraints: true,
        schema: schema.unwrap_or_else(|| options.schema.clone()),
        ..options.clone()
    };
    let names = Names { schema: &options.schema };
    let origins = run::origins(registry);
    let oids = preflight::enum_oids(&mut connection, registry, names).await?;
    let transformers =
        run::transformers(whole, registry, server_version, last.ids, oids, &origins)?;
    let stored = source.is_none().then(|| Arc::new(Stored::default()));
    let source = match (source, &stored) {
        (Some(source), _) => source,
        (None, Some(stored)) => Arc::clone(stored) as Arc<dyn Source>,
        (None, None) => return Err(Error::new(ErrorKind::Usage, "there is no source")),
    };
    let target = Target::parse(target)?;
    // A document is noted in the run that has loaded its model, but settled against the rows and
    // the junctions of all.
    let contexts: Vec<Context> = rows
        .drain(..)
        .map(|mut row| {
            // Every key is on by now, so all tables are loaded as those whose constraints are kept.
            row.created.tables.clear();
            Context {
                idle: Default::default(),
                stages: Default::default(),
                lookups: Default::default(),
                read_ahead: Default::default(),
                large_rows: Context::large_rows(&options),
                registry,
                source: Arc::clone(&source),
                target: target.clone(),
                state: state.clone(),
                run: row,
                options: options.clone(),
                reporter: Arc::clone(&reporter),
                stop: stop.clone(),
                watch: Arc::default(),
                transformers: transformers.clone(),
                origins: origins.clone(),
            }
        })
        .collect();
    let mut models: Vec<(&'static Model, u16, &Context)> = Vec::new();
    for context in &contexts {
        let loads = |model: &Model| context.run.fingerprint.models.contains_key(model.name);
        let own = context.document_models().filter(|(model, _)| loads(model));
        models.extend(own.map(|(model, phase)| (model, phase, context)));
    }
    models.sort_by_key(|(_, phase, _)| *phase);
    let mut retried = Retried::default();
    let mut seen = BTreeSet::new();
    loop {
        // A document may have failed only because another was rejected, so the ledger is gone
        // through until a round loads nothing.
        let (mut loaded, moved) = (0, retried.moved);
        for (model, _, context) in &models {
            let stored = stored.as_deref();
            let (seen, retried) = (&mut seen, &mut retried);
            loaded +=
                retry_model(context, &mut connection, model, filter, stored, seen, retried).await?;
        }
        if loaded == 0 && retried.moved == moved {
            break;
        }
    }
    retried.tried = seen.len() as u64;
    retried.rejected = retried.tried.saturating_sub(retried.loaded + retried.gone);
    let collections = source.collections().await?;
    // The summaries move with the ledger.
    let mut balanced = true;
    for mut context in contexts {
        let run = context.run.run;
        let left_out = state.left_out(&mut connection, run).await?;
        let own = context.run.fingerprint.models.clone();
        context.registry = run::subset(whole, |model| own.contains_key(model.name));
        let mut summary =
            crate::report::summary(&context, &mut connection, None, &collections).await?;
        if stored.is_some() {
            summary.collections_without_model = left_out;
        }
        crate::report::finish(&context, &mut connection, &summary).await?;
        balanced &= summary.balanced;
    }
    if !balanced {
        return Err(Error::new(ErrorKind::Balance, "the sums do not hold after the retry")
            .with_hint("somebody else has written to the tables: `migrate validate` names the rows, and `migrate validate --repair` mends them"));
    }
    connection.close().await;
    Ok(retried)
}

/// Makes a session one of those that work on a complete run: nobody throws it away meanwhile.
async fn join(state: &State, connection: &mut Connection, run: &RunRow) -> Result<()> {
    let name = status::validator_name(run.run, state.name());
    match state.try_join_as(connection, run, &name).await? {
        true => Ok(()),
        false => Err(state::started_over()),
    }
}

/// A connection to a target that holds a run, and the run's state.
pub(crate) async fn open(target: &str, options: &Options) -> Result<(Connection, State)> {
    let mut connection = Target::parse(target)?.connect().await?;
    let state = State::new(&options.state_schema);
    if !state.exists(&mut connection).await? {
        return Err(no_run(options));
    }
    Ok((connection, state))
}

/// That no run has left a state in the schema of the options.
pub(crate) fn no_run(options: &Options) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("the target has no run in the schema `{}`", options.state_schema),
    )
    .with_hint("name the schema with `--state-schema`, or the right target with `--target`")
}

/// An entry of the ledger that is tried again.
struct Candidate {
    /// Its place in the table, for the time of the transaction.
    place: String,
    source_id: String,
    stage: Stage,
    document: RawDocumentBuf,
    id: Bson,
}

/// How many documents are tried again in one transaction, and how many bytes they have.
const SLICE_ROWS: usize = 20_000;
const SLICE_BYTES: usize = 32 << 20;

/// Tries a model's rejects again, slice after slice; gives how many were loaded.
async fn retry_model(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    filter: &Filter,
    stored: Option<&Stored>,
    seen: &mut BTreeSet<(&'static str, String)>,
    retried: &mut Retried,
) -> Result<u64> {
    const ACT: &str = "reading rejects to try again";
    let get = |error| target_error(ACT, error);
    let (condition, parameters) = filter.sql();
    let mut loaded_in_all = 0;
    // What comes back into the ledger is younger, and is not tried again in this round.
    let rows = connection.query(ACT, "SELECT clock_timestamp()::text", &[]).await?;
    let begun: String = match rows.first() {
        Some(row) => row.try_get(0).map_err(get)?,
        None => return Ok(0),
    };
    let mut after: Option<(String, String)> = None;
    loop {
        context.check_stop()?;
        connection.execute("beginning a transaction", "BEGIN").await?;
        let table = context.state.table("reject");
        let sql = format!(
            "SELECT ctid::text, source_id, stage, octet_length(document) FROM {table}
             WHERE {condition} AND table_schema = $5 AND table_name = $6
                AND ($7::text IS NULL OR (source_id, ctid) > ($7, $8::text::tid))
                AND rejected_at < $9::text::timestamptz AND octet_length(document) > 0
             ORDER BY source_id, ctid LIMIT {SLICE_ROWS} FOR UPDATE"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for parameter in parameters {
            query = query.bind(parameter);
        }
        let rows = query
            .bind(context.names().schema_of(model))
            .bind(model.table)
            .bind(after.as_ref().map(|(id, _)| id.as_str()))
            .bind(after.as_ref().map(|(_, place)| place.as_str()))
            .bind(&begun)
            .fetch_all(connection.raw())
            .await
            .map_err(get)?;
        let mut slice: Vec<(String, String, Stage)> = Vec::new();
        let mut bytes = 0;
        for row in &rows {
            let length: i32 = row.try_get(3).map_err(get)?;
            bytes += length.unsigned_abs() as usize;
            if bytes > SLICE_BYTES && !slice.is_empty() {
                break;
            }
            let stage: String = row.try_get(2).map_err(get)?;
            let (place, source_id) = (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
            slice.push((place, source_id, Stage::from_code(&stage)));
        }
        let last = slice.len() == rows.len() && rows.len() < SLICE_ROWS;
        after = slice.last().map(|(place, source_id, _)| (source_id.clone(), place.clone()));
        let places: Vec<&str> = slice.iter().map(|(place, ..)| place.as_str()).collect();
        let sql = format!(
            "SELECT ctid::text, document FROM {table} WHERE ctid = ANY ($1::text[]::tid[])"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(&places);
        let rows = rows.fetch_all(connection.raw()).await.map_err(get)?;
        let mut documents: HashMap<String, Vec<u8>> = HashMap::with_capacity(rows.len());
        for row in &rows {
            documents.insert(row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
        }
        let mut entries = Vec::with_capacity(slice.len());
        for (place, source_id, stage) in slice {
            // What is no BSON cannot become a row, whatever the model says.
            let document = documents.remove(&place).unwrap_or_default();
            let Ok(document) = RawDocumentBuf::from_bytes(document) else { continue };
            let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
            let Some(id) = id else { continue };
            entries.push(Candidate { place, source_id, stage, document, id });
        }
        for entries in one_of_each_id(entries) {
            loaded_in_all +=
                retry_slice(context, connection, model, entries, stored, seen, retried).await?;
        }
        connection.execute("committing a retry", "COMMIT").await?;
        if last {
            break;
        }
    }
    if loaded_in_all > 0 {
        *retried.by_table.entry(model.table.to_owned()).or_default() += loaded_in_all;
        retried.loaded += loaded_in_all;
    }
    Ok(loaded_in_all)
}

/// Cuts entries into parts of which none has two documents that come to one id: what settling has
/// noted of the one must not be taken for the other's.
fn one_of_each_id(entries: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut parts: Vec<Vec<Candidate>> = Vec::new();
    let mut copies: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let own = match feed::own_id(&entry.id) {
            // The digits of an ObjectId are the same id as the ObjectId.
            Bson::String(text) => text.to_ascii_lowercase(),
            id => source_id::display(id),
        };
        let copy = copies.entry(own).or_default();
        if parts.len() == *copy {
            parts.push(Vec::new());
        }
        parts[*copy].push(entry);
        *copy += 1;
    }
    parts
}

async fn retry_slice(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    mut entries: Vec<Candidate>,
    stored: Option<&Stored>,
    seen: &mut BTreeSet<(&'static str, String)>,
    retried: &mut Retried,
) -> Result<u64> {
    let mut documents: HashMap<String, Vec<u8>> = HashMap::new();
    if let Some(stored) = stored {
        let mut given = Vec::with_capacity(entries.len());
        for entry in &entries {
            documents.insert(entry.id.to_string(), entry.document.as_bytes().to_vec());
            given.push((entry.id.clone(), entry.document.clone()));
        }
        *stored.0.lock().unwrap_or_else(PoisonError::into_inner) = given;
    } else {
        let ids: Vec<Bson> = entries.iter().map(|entry| entry.id.clone()).collect();
        if !ids.is_empty() {
            for document in context.fetch_any(model, &ids).await? {
                let id = document.get("_id").ok().flatten();
                if let Some(id) = id.and_then(|id| Bson::try_from(id).ok()) {
                    documents.insert(id.to_string(), document.as_bytes().to_vec());
                }
            }
        }
    }
    move_entries(context, connection, model, &mut entries, &documents, retried).await?;
    for entry in &entries {
        let is_new = seen.insert((model.table, entry.source_id.clone()));
        if is_new && !documents.contains_key(&entry.id.to_string()) {
            retried.gone += 1;
        }
    }
    entries.retain(|entry| documents.contains_key(&entry.id.to_string()));
    if entries.is_empty() {
        return Ok(0);
    }
    // They leave the ledger; those that fail again come back with their new reason.
    let places: Vec<&str> = entries.iter().map(|entry| entry.place.as_str()).collect();
    sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM {} WHERE ctid = ANY ($1::text[]::tid[])",
        context.state.table("reject")
    )))
    .bind(&places)
    .execute(connection.raw())
    .await
    .map_err(|error| target_error("taking rejects out of the ledger", error))?;

    kept::prepare(context, connection, model).await?;
    stage_tables(context, connection, model).await?;
    let transformer = Arc::clone(context.transformer(model)?);
    let mut scratch = transformer.scratch();
    let mut note = ChunkNote::default();
    let mut rejects = Vec::new();
    let mut sent = 0;
    for was_settled in [true, false] {
        let mut output = Output::default();
        for entry in entries.iter().filter(|entry| (entry.stage == Stage::Settle) == was_settled) {
            if let Some(document) = documents.get(&entry.id.to_string()) {
                transformer.transform(&mut scratch, document, &mut output);
            }
        }
        rejects.append(&mut output.rejects);
        sent += output.row_count() as u64;
        if was_settled {
            // The elements of a document that settling took out were counted by its chunk, and
            // stand in the ledger as orphans: they come from there.
            for junction in &mut output.junctions {
                *junction = Default::default();
            }
            output.orphans.clear();
            // So were its values that something else took the place of.
            output.replaced.clear();
            let marks = output.marks.len();
            for junction in &mut output.junctions {
                junction.marks.resize(marks, Default::default());
            }
        }
        let written =
            load::write_output(context, connection, model, &mut output, was_settled).await?;
        for (junction, elements) in written.elements {
            *note.elements.entry(junction).or_default() += elements;
        }
        let replaced = written.replaced.iter().map(|(column, values)| (column.as_str(), values));
        add_replaced(&mut note.replaced, replaced);
    }
    let schema = context.names().schema_of(model);
    ledger::insert_rejects(connection, &context.state, context.run.run, schema, None, &rejects)
        .await?;
    for reject in &rejects {
        context.reporter.event(&Event::Rejected(reject));
    }
    let refused = kept::insert(context, connection, model).await?;
    let late: Settled = kept::late_references(context, connection, model).await?;
    let loaded = sent.saturating_sub(refused + late.rejected);
    note_retry(context, connection, model, &note).await?;
    junction_rows(context, connection, model, retried).await?;
    restore_references(context, connection, model, retried).await?;
    for junction in context.junction_models() {
        if foreign_keys(junction).iter().any(|foreign| foreign.target.same(model)) {
            restore_elements(context, connection, junction, retried).await?;
        }
    }
    Ok(loaded)
}

/// Takes entries out of the ledger of a model whose documents are not its own any more: those that
/// another model of the collection takes are its rejects from now on, the others are left out.
async fn move_entries(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    entries: &mut Vec<Candidate>,
    documents: &HashMap<String, Vec<u8>>,
    retried: &mut Retried,
) -> Result<()> {
    const ACT: &str = "moving rejects to another model";
    let transformer = context.transformer(model)?;
    let mut moved: Vec<(String, Option<&'static Model>)> = Vec::new();
    entries.retain(|entry| {
        let Some(document) = documents.get(&entry.id.to_string()) else { return true };
        if model.kind != ModelKind::Collection
            || choice::is_meant(model, document)
            || transformer.is_nobodys(document)
        {
            return true;
        }
        let mut others = choice::sharing(context.registry, model);
        let other = others.find(|other| !other.same(model) && choice::takes(other, document));
        moved.push((entry.place.clone(), other));
        false
    });
    let table = context.state.table("reject");
    for (place, other) in &moved {
        let Some(other) = other else {
            let sql = format!("DELETE FROM {table} WHERE ctid = $1::tid");
            connection.execute_with(ACT, sql, &[Some(place)]).await?;
            continue;
        };
        // Nothing that the other model's chunks have counted is the document's.
        let sql = format!(
            "UPDATE {table} SET table_schema = $2, table_name = $3, stage = $4, run = coalesce(
                (SELECT max(run) FROM {} WHERE model = $5), run)
             WHERE ctid = $1::tid",
            context.state.table("chunk")
        );
        let (schema, stage) = (context.names().schema_of(other), Stage::Transform.code());
        let parameters = [place.as_str(), schema, other.table, stage, other.name].map(Some);
        connection.execute_with(ACT, sql, &parameters).await?;
        context.state.adjust(connection, other.name, "skipped", -1).await?;
    }
    let count = moved.len() as u64;
    retried.moved += count;
    context.state.adjust(connection, model.name, "skipped", count as i64).await
}

/// Makes the staging tables of the junctions that a model feeds, for this transaction.
async fn stage_tables(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<()> {
    let junctions: Vec<&'static Model> =
        model.junctions.iter().map(|junction| junction.table.get()).collect();
    staging::create(connection, &context.state, context.names(), &junctions).await
}

/// Adds the elements of arrays and the replaced values that no chunk has counted.
async fn note_retry(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    note: &ChunkNote,
) -> Result<()> {
    if note.elements.values().sum::<u64>() == 0 && note.replaced.is_empty() {
        return Ok(());
    }
    let elements = serde_json::to_string(&note.elements).unwrap_or_default();
    let replaced = serde_json::to_string(&note.replaced).unwrap_or_default();
    connection
        .execute_with(
            "counting the elements of a retry",
            format!(
                "INSERT INTO {0} (run, chunk, model, collection, phase, range, estimate, done,
                    done_at, elements, replaced)
                 SELECT {1}, (SELECT max(chunk) + 1 FROM {0} WHERE run = {1}), $1, $2, 0,
                    'null', 0, true, now(), $3::jsonb, $4::jsonb",
                context.state.table("chunk"),
                context.run.run
            ),
            &[Some(model.name), Some(Feed::of(model).label()), Some(&elements), Some(&replaced)],
        )
        .await
        .map(drop)
}

/// Moves the staged rows into their junctions, as settling does, beside the rows that are there.
async fn junction_rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    retried: &mut Retried,
) -> Result<()> {
    let mut done: Vec<&str> = Vec::new();
    for field in model.junctions {
        let junction = field.table.get();
        // One that a later run will fill keeps what is staged for it.
        let is_filled = context.junction_models().any(|known| known.same(junction));
        if !is_filled || done.contains(&junction.name) {
            continue;
        }
        done.push(junction.name);
        let settled = settle::junction(context, connection, junction).await?;
        retried.junction_rows += settled.inserted;
        add_duplicates(context, connection, junction, settled.duplicates).await?;
    }
    Ok(())
}

/// Sets references again that had become NULL because the row they point to was rejected.
pub(crate) async fn restore_references(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    retried: &mut Retried,
) -> Result<()> {
    let names = context.names();
    let orphan = context.state.table("orphan");
    for (other, _) in context.document_models() {
        for foreign in foreign_keys(other).iter().filter(|foreign| foreign.target.same(model)) {
            let act = format!("setting {}.{} again", other.table, foreign.column.name);
            let (column, id) =
                (quote_ident(foreign.column.name), quote_ident(id_column(other).name));
            let restored = connection
                .execute_with(
                    &act,
                    format!(
                        "WITH back AS (
                            DELETE FROM {orphan} o USING {} p
                            WHERE o.table_schema = $3 AND o.table_name = $1
                                AND o.column_name = $2 AND NOT o.element
                                AND p.{}::text = o.value
                            RETURNING o.row_key, o.value
                         )
                         UPDATE {} t SET {column} = back.value::{} FROM back
                         WHERE t.{column} IS NULL AND t.{id} = back.row_key::{}",
                        names.table(model),
                        quote_ident(foreign.key.name),
                        names.table(other),
                        names.column_type(foreign.column),
                        names.column_type(id_column(other)),
                    ),
                    &[Some(other.table), Some(foreign.column.name), Some(names.schema_of(other))],
                )
                .await?;
            retried.references += restored;
        }
    }
    Ok(())
}

/// Inserts pairs of a junction whose rows are both there by now, from the elements that had been
/// orphans.
pub(crate) async fn restore_elements(
    context: &Context,
    connection: &mut Connection,
    junction: &'static Model,
    retried: &mut Retried,
) -> Result<()> {
    let names = context.names();
    let act = format!("filling the junction {} again", junction.table);
    let foreign = foreign_keys(junction);
    let [first, second] = foreign.as_slice() else { return Ok(()) };
    let ordinal = junction.ordinal().map(|column| quote_ident(column.name));
    for (missing, present) in [(first, second), (second, first)] {
        let rows = connection
            .query(
                &act,
                format!(
                    "WITH back AS (
                        DELETE FROM {orphan} o USING {missing_table} m, {present_table} p
                        WHERE o.table_schema = $3 AND o.table_name = $1 AND o.column_name = $2
                            AND o.element
                            AND m.{missing_key}::text = o.value AND p.{present_key}::text = o.row_key
                        RETURNING m.{missing_key} AS {missing_column},
                            p.{present_key} AS {present_column}, o.position
                     ), pair AS (
                        SELECT {missing_column}, {present_column}{smallest} FROM back
                        GROUP BY {missing_column}, {present_column}
                     ), inserted AS (
                        INSERT INTO {junction} ({missing_column}, {present_column}{position})
                        SELECT {missing_column}, {present_column}{position} FROM pair
                        ON CONFLICT DO NOTHING RETURNING 1
                     ){placed}
                     SELECT (SELECT count(*) FROM back), (SELECT count(*) FROM inserted)",
                    position = ordinal.as_ref().map_or(String::new(), |name| format!(", {name}")),
                    smallest = ordinal
                        .as_ref()
                        .map_or(String::new(), |name| format!(", min(position) AS {name}")),
                    placed = settle::placed(names, junction, "pair", "true"),
                    orphan = context.state.table("orphan"),
                    missing_table = names.table(missing.target),
                    present_table = names.table(present.target),
                    missing_key = quote_ident(missing.key.name),
                    present_key = quote_ident(present.key.name),
                    junction = names.table(junction),
                    missing_column = quote_ident(missing.column.name),
                    present_column = quote_ident(present.column.name),
                ),
                &[
                    Some(junction.table),
                    Some(missing.column.name),
                    Some(names.schema_of(junction)),
                ],
            )
            .await?;
        let Some(row) = rows.first() else { continue };
        let get = |error| target_error(&act, error);
        let back: i64 = row.try_get(0).map_err(get)?;
        let inserted: i64 = row.try_get(1).map_err(get)?;
        retried.junction_rows += inserted.unsigned_abs();
        add_duplicates(context, connection, junction, (back - inserted).unsigned_abs()).await?;
    }
    Ok(())
}

/// Adds to the duplicates that the junction's task has counted.
async fn add_duplicates(
    context: &Context,
    connection: &mut Connection,
    junction: &Model,
    duplicates: u64,
) -> Result<()> {
    if duplicates == 0 {
        return Ok(());
    }
    connection
        .execute_with(
            "counting duplicates",
            format!(
                "UPDATE {0} SET result = jsonb_set(result, '{{duplicates}}',
                    to_jsonb((result->>'duplicates')::bigint + {duplicates}))
                 WHERE body->>'task' = 'junction' AND body->>'model' = $1",
                context.state.table("task")
            ),
            &[Some(junction.name)],
        )
        .await
        .map(drop)
}

/// The source of a retry of stored documents: it gives those of the slice that is tried.
#[derive(Debug, Default)]
struct Stored(Mutex<Vec<(Bson, RawDocumentBuf)>>);

impl Source for Stored {
    fn describe(&self) -> String {
        "the ledger".to_owned()
    }

    fn has_elements(&self) -> bool {
        true
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn count<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async { Ok(0) })
    }

    fn split<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Vec<Range>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn read<'a>(
        &'a self,
        _: &'a str,
        _: &'a Range,
        _: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn fetch_batches<'a>(
        &'a self,
        _: &'a str,
        ids: &'a [Bson],
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<Batch> = stored
            .iter()
            .filter(|(id, _)| ids.contains(id))
            .map(|(_, document)| Batch::from_documents([document.as_bytes()]))
            .collect();
        Box::pin(async move {
            for batch in found {
                if batches.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_restricts_what_it_names() {
        let filter = Filter { reason: Some("type".to_owned()), ..Filter::default() };
        assert_eq!(filter.sql().1, [None, Some("type"), None, None]);
    }
}
