//! Which `_id` became which id: for every row of every collection, under every strategy.
//!
//! A derived id gives its ObjectId back by arithmetic; ids that it does not give back, and random
//! ones, stand in `id_map`.

use std::collections::{BTreeSet, HashMap};

use bson::Bson;
use sqlx::{AssertSqlSafe, Row as _};

use crate::ddl::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::{self, Feed};
use crate::rejects;
use crate::run::Options;
use crate::schema::{BaseType, Model, RegistryFacts, quote_ident, quote_literal};
use crate::settle::id_column;
use crate::sink::{Connection, target_error};
use crate::source_id;
use crate::state::{RunRow, State};

/// A row's id and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The collection, and for an element of a child the way to its field.
    pub collection: String,
    /// The `_id` as the ledger shows it: the hex digits of an ObjectId, else relaxed Extended JSON.
    pub source_id: String,
    /// The row's key as text.
    pub id: String,
}

/// Rows that are in memory at a time.
const PAGE: usize = 5_000;

/// Gives every loaded row's pair of ids to `each`, collection after collection in the order of the
/// registry, without keeping them; `each` ends the walk by returning false. `collection` names one
/// collection (or its table or model); gives the number of pairs.
///
/// # Errors
/// When the state is not there or cannot be read, or no loaded collection has that name.
pub async fn export(
    registry: &'static RegistryFacts,
    target: &str,
    options: &Options,
    collection: Option<&str>,
    mut each: impl FnMut(Pair) -> bool,
) -> Result<u64> {
    let (mut connection, state) = rejects::open(target, options).await?;
    let runs = state.runs(&mut connection).await?;
    let loaded =
        |model: &Model| runs.iter().find(|run| run.fingerprint.models.contains_key(model.name));
    let mut models: Vec<(&'static Model, &RunRow)> = registry
        .iter()
        .map(|(model, _)| model)
        .filter(|model| model.kind.has_documents())
        .filter_map(|model| Some((model, loaded(model)?)))
        .collect();
    if let Some(name) = collection {
        models.retain(|(model, _)| {
            [model.table, model.name].contains(&name) || Feed::of(model).is_named(name)
        });
        if models.is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("no run has loaded a collection `{name}`"),
            )
            .with_hint("`migrate plan` shows the names"));
        }
    }
    let mut pairs = 0;
    for (model, run) in models {
        let schema = run.fingerprint.options.get("schema");
        let names = Names { schema: schema.unwrap_or(&options.schema) };
        if !table(&mut connection, &state, run, names, model, &mut pairs, &mut each).await? {
            break;
        }
    }
    connection.close().await;
    Ok(pairs)
}

/// The pairs of one table; false when `each` has had enough.
async fn table(
    connection: &mut Connection,
    state: &State,
    run: &RunRow,
    names: Names<'_>,
    model: &'static Model,
    pairs: &mut u64,
    each: &mut impl FnMut(Pair) -> bool,
) -> Result<bool> {
    let act = format!("reading the ids of {}", model.table);
    let feed = Feed::of(model);
    let id = id_column(model);
    let mapped = match id.ty.base {
        BaseType::Uuid => format!(
            "(SELECT array_agg(DISTINCT m.source_id) FROM {} m
              WHERE m.id = t.{} AND m.collection = {})",
            state.table("id_map"),
            quote_ident(id.name),
            quote_literal(Feed::of(model).label())
        ),
        _ => "NULL::bytea[]".to_owned(),
    };
    connection
        .execute(&act, "BEGIN TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ")
        .await?;
    connection
        .execute(
            &act,
            format!(
                "DECLARE ids NO SCROLL CURSOR FOR SELECT t.{}::text, {mapped} FROM {} t",
                quote_ident(id.name),
                names.table(model),
            ),
        )
        .await?;
    let mut wants_more = true;
    while wants_more {
        let rows = connection.query(&act, format!("FETCH {PAGE} FROM ids"), &[]).await?;
        if rows.is_empty() {
            break;
        }
        let mut page: Vec<(String, Vec<Bson>)> = Vec::with_capacity(rows.len());
        let get = |error| target_error(&act, error);
        let keys = rows.iter().map(|row| row.try_get(0).map_err(get));
        let keys: Vec<String> = keys.collect::<Result<_>>()?;
        let mut of_texts = match (id.ty.base, model.has_locators()) {
            (BaseType::Uuid, _) | (_, false) => HashMap::new(),
            _ => of_texts(connection, state, model, &keys).await?,
        };
        for (row, key) in rows.iter().zip(keys) {
            let mapped: Option<Vec<Vec<u8>>> = row.try_get(1).map_err(get)?;
            let mapped = mapped.or_else(|| of_texts.remove(&key)).unwrap_or_default();
            let candidates = candidates(model, &key, mapped, run);
            page.push((key, candidates));
        }
        // Where two documents came to one id, the ledger has those that are not in the table.
        let doubtful: Vec<String> = page
            .iter()
            .filter(|(_, candidates)| candidates.len() > 1)
            .flat_map(|(_, candidates)| candidates.iter().map(source_id::display))
            .collect();
        let rejected = rejected(connection, state, names, model, &doubtful).await?;
        for (key, candidates) in page {
            let shown: Vec<String> = candidates.iter().map(source_id::display).collect();
            let place = shown.iter().position(|shown| !rejected.contains(shown)).unwrap_or(0);
            let id = candidates.get(place);
            let collection = id.map_or_else(|| feed.label().to_owned(), |id| feed.label_of(id));
            let source_id = match id.map(feed::own_id) {
                Some(id) => source_id::display(id),
                None => key.clone(),
            };
            *pairs += 1;
            wants_more = each(Pair { collection, source_id, id: key });
            if !wants_more {
                break;
            }
        }
    }
    connection.execute(&act, "COMMIT").await?;
    Ok(wants_more)
}

/// The entries of the id map for rows whose keys are no UUIDs, by key.
async fn of_texts(
    connection: &mut Connection,
    state: &State,
    model: &'static Model,
    keys: &[String],
) -> Result<HashMap<String, Vec<Vec<u8>>>> {
    const ACT: &str = "reading the id map";
    let ids: Vec<String> =
        keys.iter().map(|key| source_id::mapped(model, key).to_string()).collect();
    let key_of: HashMap<&str, &String> = ids.iter().map(String::as_str).zip(keys).collect();
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT DISTINCT id::text, source_id FROM {}
         WHERE collection = $1 AND id = ANY ($2::text[]::uuid[])",
        state.table("id_map")
    )))
    .bind(Feed::of(model).label())
    .bind(&ids)
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))?;
    let mut found: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    for row in &rows {
        let id: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
        let Some(key) = key_of.get(id.as_str()) else { continue };
        let source_id = row.try_get(1).map_err(|error| target_error(ACT, error))?;
        found.entry((*key).clone()).or_default().push(source_id);
    }
    Ok(found)
}

/// The `_id`s that a key can have come from, the likeliest first.
fn candidates(model: &Model, key: &str, mapped: Vec<Vec<u8>>, run: &RunRow) -> Vec<Bson> {
    let mut candidates: Vec<Bson> = mapped
        .iter()
        .filter_map(|document| {
            let document = bson::RawDocument::from_bytes(document).ok()?;
            Bson::try_from(document.get("v").ok()??).ok()
        })
        .collect();
    candidates.sort_by(source_id::compare);
    let derived = source_id::of_key(model, key, run.ids);
    match id_column(model).ty.base {
        BaseType::Uuid => candidates.extend(derived),
        // The types that a number can have had are shown alike.
        _ => candidates.extend(derived.into_iter().next()),
    }
    if candidates.is_empty() {
        candidates.extend(source_id::as_uuid(key));
    }
    candidates
}

/// Those of the `_id`s that the ledger has for the table.
async fn rejected(
    connection: &mut Connection,
    state: &State,
    names: Names<'_>,
    model: &Model,
    shown: &[String],
) -> Result<BTreeSet<String>> {
    const ACT: &str = "looking for ids in the ledger";
    if shown.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT source_id FROM {} WHERE table_schema = $3 AND table_name = $1
            AND source_id = ANY ($2::text[])",
        state.table("reject")
    )))
    .bind(model.table)
    .bind(shown)
    .bind(names.schema_of(model))
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| target_error(ACT, error))).collect()
}
