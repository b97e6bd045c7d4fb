//! The end of a run: the sums, made from the state and checked against the tables.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::Row as _;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::Feed;
use crate::ledger;
use crate::preflight;
use crate::rejects::{self, Filter};
use crate::schema::{Model, ModelKind};
use crate::settle::SettledJunction;
use crate::sink::{Connection, target_error};
use crate::source::CollectionInfo;
use crate::state;
use crate::summary::{JunctionSummary, Summary, TableSummary};

/// Collections that are counted at the same time.
const COUNTED: usize = 4;

/// Adds everything up. The rows are counted in the tables, not taken from the notes, so that a
/// sum can fail; by `helper` as well, where there is one and nothing that is not committed is to be counted.
pub(crate) async fn summary(
    context: &Context,
    connection: &mut Connection,
    helper: Option<&mut Connection>,
    collections: &[CollectionInfo],
) -> Result<Summary> {
    let run = context.run.run;
    let state = &context.state;
    let mut summary = Summary {
        version: Summary::VERSION,
        run,
        registry: context.registry.name.to_owned(),
        collections_without_model: preflight::left_out(context.registry, collections),
        ..Summary::default()
    };
    let chunks = chunk_notes(context, connection).await?;
    let settled = junction_tasks(context, connection).await?;
    let elements = elements(context, connection).await?;
    let models = context.document_models().map(|(model, _)| model);
    let models: Vec<&'static Model> = models.chain(context.junction_models()).collect();
    // Both servers count at the same time.
    let others: Vec<String> = summary.collections_without_model.keys().cloned().collect();
    let counts: Vec<_> = others.iter().map(|name| context.source.count(name)).collect();
    let counts = futures_util::stream::iter(counts).buffered(COUNTED).try_collect::<Vec<u64>>();
    let expected = |model: &Model| match model.kind {
        ModelKind::Junction => settled.get(model.name).map_or(0, |settled| settled.inserted),
        _ => chunks.get(model.name).into_iter().flatten().map(|chunk| chunk.loaded).sum(),
    };
    let rows = rows_in_halves(context, connection, helper, &models, expected);
    let (counts, rows) = tokio::try_join!(counts, rows)?;
    summary.collections_without_model = others.into_iter().zip(counts).collect();
    let mut reasons = ledger::by_table(
        connection,
        &format!(
            "SELECT table_schema, table_name, reason, count(*) FROM {} WHERE run = {run}
             GROUP BY 1, 2, 3",
            state.table("reject")
        ),
    )
    .await?;
    let mut orphans = ledger::by_table(
        connection,
        &format!(
            "SELECT table_schema, table_name, column_name, count(*) FROM {}
             WHERE run = {run} AND NOT element GROUP BY 1, 2, 3",
            state.table("orphan")
        ),
    )
    .await?;
    let orphaned_elements = ledger::by_table(
        connection,
        &format!(
            "SELECT table_schema, table_name, '', count(*) FROM {} WHERE element GROUP BY 1, 2",
            state.table("orphan")
        ),
    )
    .await?;
    for (model, _) in context.document_models() {
        let mut table = TableSummary {
            model: model.name.to_owned(),
            collection: Feed::of(model).label().to_owned(),
            table: match model.schema {
                Some(schema) => format!("{schema}.{}", model.table),
                None => model.table.to_owned(),
            },
            ..TableSummary::default()
        };
        match chunks.get(model.name) {
            Some(notes) => {
                for note in notes {
                    table.add(note);
                }
            }
            None => summary.models_without_collection.push(model.name.to_owned()),
        }
        let name = context.names().table(model);
        let before = context.run.created.rows_before.get(&name).copied().unwrap_or_default();
        let rows = rows.get(model.name).copied().unwrap_or_default();
        table.loaded = rows.saturating_sub(before);
        table.rejected_by_reason = reasons.remove(&name).unwrap_or_default();
        table.rejected = table.rejected_by_reason.values().sum();
        table.orphans = orphans.remove(&name).unwrap_or_default();
        summary.tables.push(table);
    }
    for model in context.junction_models() {
        let name = context.names().table(model);
        let before = context.run.created.rows_before.get(&name).copied().unwrap_or_default();
        let rows = rows.get(model.name).copied().unwrap_or_default();
        let inserted = rows.saturating_sub(before);
        let orphans = orphaned_elements.get(&name).map_or(0, |counts| counts.values().sum());
        summary.junctions.push(JunctionSummary {
            model: model.name.to_owned(),
            table: model.table.to_owned(),
            elements: elements.get(model.name).copied().unwrap_or_default(),
            inserted,
            duplicates: settled.get(model.name).map_or(0, |settled| settled.duplicates),
            orphans,
            balanced: false,
        });
    }
    let filter = Filter { run: Some(run), ..Filter::default() };
    summary.patterns = rejects::patterns(&rejects::groups_of(connection, state, &filter).await?);
    summary.finish();
    Ok(summary)
}

/// As [`rows`], half of them by `helper`, a worker's connection whose session has opened most of the tables
/// before. `expected` is about how many rows a model has.
async fn rows_in_halves(
    context: &Context,
    connection: &mut Connection,
    helper: Option<&mut Connection>,
    models: &[&'static Model],
    expected: impl Fn(&Model) -> u64,
) -> Result<HashMap<&'static str, u64>> {
    /// From here on the server counts with several processes itself.
    const MANY_ROWS: u64 = 1_000_000;
    /// What it takes to begin with a table, in rows.
    const BEGINNING: u64 = 1_000;
    let mut models: Vec<(u64, &'static Model)> =
        models.iter().map(|model| (expected(model) + BEGINNING, *model)).collect();
    let total: u64 = models.iter().map(|(rows, _)| rows).sum();
    let helper = helper.filter(|_| total < MANY_ROWS);
    models.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
    let mut halves = [(0, Vec::new()), (0, Vec::new())];
    for (rows, model) in models {
        let half = usize::from(helper.is_some() && halves[0].0 > halves[1].0);
        halves[half].0 += rows;
        halves[half].1.push(model);
    }
    let [(_, own), (_, others)] = halves;
    let Some(helper) = helper else { return rows(context, connection, &own).await };
    let (mut counts, more) =
        tokio::try_join!(rows(context, connection, &own), rows(context, helper, &others))?;
    counts.extend(more);
    Ok(counts)
}

/// The rows of the models' tables, by the model's name: counted in one statement, of which the
/// server may do several parts side by side.
pub(crate) async fn rows(
    context: &Context,
    connection: &mut Connection,
    models: &[&'static Model],
) -> Result<HashMap<&'static str, u64>> {
    const ACT: &str = "counting the rows of the tables";
    /// What starting processes costs in the planner's units: each has to open all of the tables, which
    /// takes it as long as to count some hundred thousand rows. PostgreSQL's own guess is 1,000.
    const PARALLEL_COST: u32 = 5_000;
    let get = |error| target_error(ACT, error);
    let counts: Vec<String> = models
        .iter()
        .enumerate()
        .map(|(index, model)| {
            format!("SELECT {index}::bigint, count(*) FROM {}", context.names().table(model))
        })
        .collect();
    if counts.is_empty() {
        return Ok(HashMap::new());
    }
    let counts = counts.join(" UNION ALL ");
    connection.ahead(format!(
        "SELECT set_config('parallel_setup_cost',
            greatest(current_setting('parallel_setup_cost')::float8, {PARALLEL_COST})::text, true)"
    ));
    let count = format!("{counts}; SET LOCAL parallel_setup_cost TO DEFAULT");
    let replies = connection.ask(ACT, count).await?;
    let mut counts = HashMap::new();
    for row in &replies.rows {
        let (index, count): (i64, i64) =
            (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
        if let Some(model) = usize::try_from(index).ok().and_then(|index| models.get(index)) {
            counts.insert(model.name, count.unsigned_abs());
        }
    }
    Ok(counts)
}

/// Marks the run as finished, unless its sums do not hold: then the same command adds up again.
///
/// # Errors
/// Where the run was thrown away, or the server cannot be reached.
pub(crate) async fn finish(
    context: &Context,
    connection: &mut Connection,
    summary: &Summary,
) -> Result<()> {
    let json = serde_json::to_string(summary).unwrap_or_default();
    let finished = connection
        .execute_with(
            "finishing the run",
            format!(
                "UPDATE {} SET finished_at = CASE WHEN {} THEN coalesce(finished_at, now()) END,
                    summary = $1::jsonb
                 WHERE run = {} AND uuid_key = $2::uuid",
                context.state.table("run"),
                summary.balanced,
                context.run.run
            ),
            &[Some(&json), Some(&context.run.key.to_string())],
        )
        .await
        .map_err(state::thrown_away)?;
    // The number may be another run's by now.
    if finished == 0 {
        return Err(state::started_over());
    }
    Ok(())
}

/// Adds the seconds of the tasks to the steps they belong to: settling, constraints, statistics.
/// Tasks that ran side by side each count theirs.
pub(crate) async fn task_seconds(
    context: &Context,
    connection: &mut Connection,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<()> {
    const ACT: &str = "adding up the tasks";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT body->>'task', sum(seconds) FROM {} WHERE run = {} GROUP BY 1",
                context.state.table("task"),
                context.run.run
            ),
            &[],
        )
        .await?;
    for row in &rows {
        let task: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        let sum: Option<f64> = row.try_get(1).map_err(|error| target_error(ACT, error))?;
        seconds.insert(format!("task_{task}"), sum.unwrap_or_default());
    }
    Ok(())
}

/// The notes of all chunks by model.
async fn chunk_notes(
    context: &Context,
    connection: &mut Connection,
) -> Result<HashMap<String, Vec<crate::state::ChunkNote>>> {
    const ACT: &str = "adding up the chunks";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT model, read, loaded, rejected, skipped, bytes, seconds,
                    elements::text, unknown::text, replaced::text
                 FROM {} WHERE run = {} ORDER BY chunk",
                context.state.table("chunk"),
                context.run.run
            ),
            &[],
        )
        .await?;
    let mut notes: HashMap<String, Vec<_>> = HashMap::new();
    for row in &rows {
        let get = |error| target_error(ACT, error);
        let number = |index: usize| -> Result<u64> {
            row.try_get::<i64, _>(index).map(i64::unsigned_abs).map_err(get)
        };
        let model: String = row.try_get(0).map_err(get)?;
        let elements: String = row.try_get(7).map_err(get)?;
        let unknown: String = row.try_get(8).map_err(get)?;
        let replaced: String = row.try_get(9).map_err(get)?;
        let parse = |error: serde_json::Error| {
            Error::new(ErrorKind::Preflight, "the note of a chunk cannot be understood")
                .caused_by(error)
        };
        notes.entry(model).or_default().push(crate::state::ChunkNote {
            read: number(1)?,
            loaded: number(2)?,
            rejected: number(3)?,
            skipped: number(4)?,
            bytes: number(5)?,
            seconds: row.try_get(6).map_err(get)?,
            elements: serde_json::from_str(&elements).map_err(parse)?,
            unknown: serde_json::from_str(&unknown).map_err(parse)?,
            replaced: serde_json::from_str(&replaced).map_err(parse)?,
        });
    }
    Ok(notes)
}

/// The elements of all arrays by the junction's model, over all runs: with `--only` the sides of
/// a junction may be loaded by different ones.
async fn elements(context: &Context, connection: &mut Connection) -> Result<HashMap<String, u64>> {
    const ACT: &str = "adding up the elements";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT key, sum(value::bigint)::bigint
                 FROM {}, jsonb_each_text(elements) GROUP BY key",
                context.state.table("chunk")
            ),
            &[],
        )
        .await?;
    let mut elements = HashMap::new();
    for row in &rows {
        let junction: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        let count: i64 = row.try_get(1).map_err(|error| target_error(ACT, error))?;
        elements.insert(junction, count.unsigned_abs());
    }
    Ok(elements)
}

/// What the junction tasks have found, by model.
async fn junction_tasks(
    context: &Context,
    connection: &mut Connection,
) -> Result<HashMap<String, SettledJunction>> {
    const ACT: &str = "adding up the junctions";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT body->>'model', result::text FROM {}
                 WHERE run = {} AND body->>'task' = 'junction' AND result IS NOT NULL",
                context.state.table("task"),
                context.run.run
            ),
            &[],
        )
        .await?;
    let mut settled = HashMap::new();
    for row in &rows {
        let get = |error| target_error(ACT, error);
        let model: String = row.try_get(0).map_err(get)?;
        let result: String = row.try_get(1).map_err(get)?;
        settled.insert(model, serde_json::from_str(&result).unwrap_or_default());
    }
    Ok(settled)
}
