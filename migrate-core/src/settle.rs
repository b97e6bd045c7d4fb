//! After the load: references to nothing, duplicates of unique values, and the junctions.
//!
//! Everything is a set operation in the target, table after table in the order of the plan, so
//! that what refers to a rejected row is settled after it. Each function works within the
//! caller's transaction. A row that is rejected here needs its document for the ledger; it is
//! read again from the source by the `_id` that its key gives back.

use std::collections::{BTreeMap, HashMap};

use bson::Bson;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row as _};

use crate::choice;
use crate::context::Context;
use crate::ddl::{Foreign, Names, foreign_keys};
use crate::deferred::{self, Deferred};
use crate::error::{Error, ErrorKind, Result};
use crate::feed::{self, Feed};
use crate::fit;
use crate::kept;
use crate::ledger::{self, OrphanNote};
use crate::load;
use crate::reject::{Reason, Reject, Stage};
use crate::schema::{Column, Model, ModelKind, Orphan, key_path, quote_ident};
use crate::sink::{Connection, sql_state, target_error};
use crate::source_id;
use crate::staging;
use crate::strays;
use crate::transform::Output;
use crate::upkeep;

/// What settling has done to one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// Rows rejected.
    pub(crate) rejected: u64,
    /// References that became NULL or were kept, by column.
    pub(crate) orphans: BTreeMap<String, u64>,
}

/// What settling has done to one junction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SettledJunction {
    /// Pairs inserted.
    pub(crate) inserted: u64,
    /// Elements whose pair another element had given.
    pub(crate) duplicates: u64,
    /// Elements that point to nothing, or whose own row is gone.
    pub(crate) orphans: u64,
}

/// How many rows are rejected at a time; their documents are read one batch after the other.
const SLICE: usize = 5_000;
/// How many rows whose documents have come to one key are looked at at a time, all of whose
/// documents are in memory together.
const DOUBLES: usize = 200;

/// Builds the primary key of a collection's table. Where two documents came to one key, the one
/// with the smallest `_id` stays.
pub(crate) async fn primary_key(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    definition: &Deferred,
) -> Result<Settled> {
    let mut settled = Settled::default();
    // A key of several columns takes two rows of one id.
    if model.shares_key() {
        let table = context.names().table(model);
        settled.rejected += same_id(context, connection, model, &table).await?;
    }
    if !deferred::try_build_noted(connection, &context.state, context.run.run, definition).await? {
        let table = context.names().table(model);
        settled.rejected += same_id(context, connection, model, &table).await?;
        deferred::build_noted(connection, &context.state, context.run.run, definition).await?;
    }
    Ok(settled)
}

/// Settles a table's references and builds its unique keys, until nothing changes any more.
/// `again` includes the references that are left out of the order.
pub(crate) async fn table(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    again: bool,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let foreign: Vec<Foreign> = foreign_keys(model)
        .into_iter()
        .filter(|foreign| {
            again || !foreign.column.reference.is_some_and(|reference| reference.deferred)
        })
        .collect();
    let refers_to_itself = foreign.iter().any(|foreign| foreign.target.same(model));
    let is_own = |definition: &Deferred| {
        definition.kind == deferred::Kind::Unique && definition.model == model.name
    };
    let definitions = context.definitions(connection).await?.values();
    let mut unique: Vec<Deferred> =
        definitions.filter(|definition| is_own(definition)).cloned().collect();
    if again && !unique.is_empty() {
        unique = deferred::open_of(connection, &context.state, context.run.run, model).await?;
        unique.retain(is_own);
    }
    loop {
        let rejected_before = settled.rejected;
        let rows = context.names().table(model);
        references(context, connection, model, &rows, &foreign, &mut settled).await?;
        for definition in std::mem::take(&mut unique) {
            if !deferred::try_build_noted(connection, &context.state, context.run.run, &definition)
                .await?
            {
                settled.rejected += same_value(context, connection, model, &definition).await?;
                deferred::build_noted(connection, &context.state, context.run.run, &definition)
                    .await?;
            }
        }
        if !refers_to_itself || settled.rejected == rejected_before {
            break;
        }
    }
    if !again {
        kept_orphans(context, connection, model, &mut settled).await?;
    }
    Ok(settled)
}

/// Finds every reference to nothing in one pass over the table and treats it as the model says.
///
/// `table` holds the rows: the model's table, or the temporary one of a chunk.
pub(crate) async fn references(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
    foreign: &[Foreign],
    settled: &mut Settled,
) -> Result<()> {
    if foreign.is_empty() {
        return Ok(());
    }
    settled.rejected += strays::reject(context, connection, model, table).await?;
    let names = context.names();
    let act = format!("looking for orphans in {}", model.table);
    let suspects;
    let foreign = if table == names.table(model) {
        suspects = with_orphans(context, connection, model, foreign).await?;
        suspects.as_slice()
    } else {
        foreign
    };
    if foreign.is_empty() {
        return Ok(());
    }
    let id = quote_ident(id_column(model).name);
    let mut columns = String::new();
    let mut joins = String::new();
    let mut conditions = Vec::new();
    for (index, foreign) in foreign.iter().enumerate() {
        let column = quote_ident(foreign.column.name);
        let key = quote_ident(foreign.key.name);
        let orphan = format!("t.{column} IS NOT NULL AND p{index}.{key} IS NULL");
        columns.push_str(&format!(", CASE WHEN {orphan} THEN t.{column} END AS o{index}"));
        joins.push_str(&format!(
            " LEFT JOIN {} p{index} ON p{index}.{key} = t.{column}",
            names.table(foreign.target)
        ));
        conditions.push(format!("({orphan})"));
    }
    connection.execute(&act, "DROP TABLE IF EXISTS pg_temp.orphan_found").await?;
    let found = connection
        .execute(
            &act,
            format!(
                "CREATE TEMPORARY TABLE orphan_found ON COMMIT DROP AS
                 SELECT DISTINCT ON (t.{id}) t.{id} AS id{columns} FROM {} t{joins} WHERE {}",
                table,
                conditions.join(" OR ")
            ),
        )
        .await?;
    if found == 0 {
        return Ok(());
    }
    // Rows that go: the first required reference that points to nothing is the reason.
    let rejecting: Vec<(usize, &Foreign)> = foreign
        .iter()
        .enumerate()
        .filter(|(_, foreign)| match foreign.orphan {
            Orphan::Reject => true,
            Orphan::Default => !foreign.column.nullable,
            Orphan::Null | Orphan::Keep => false,
        })
        .collect();
    if !rejecting.is_empty() {
        let any: Vec<String> =
            rejecting.iter().map(|(index, _)| format!("o{index} IS NOT NULL")).collect();
        let values: Vec<String> =
            rejecting.iter().map(|(index, _)| format!("o{index}::text")).collect();
        loop {
            let rows = connection
                .query(
                    &act,
                    format!(
                        "DELETE FROM orphan_found WHERE ctid = ANY (ARRAY(
                            SELECT ctid FROM orphan_found WHERE {} LIMIT {SLICE}))
                         RETURNING id::text, {}",
                        any.join(" OR "),
                        values.join(", ")
                    ),
                    &[],
                )
                .await?;
            if rows.is_empty() {
                break;
            }
            let mut losers = Vec::with_capacity(rows.len());
            for row in &rows {
                let key: String = row.try_get(0).map_err(|error| target_error(&act, error))?;
                for (position, (_, foreign)) in rejecting.iter().enumerate() {
                    let value: Option<String> =
                        row.try_get(1 + position).map_err(|error| target_error(&act, error))?;
                    if let Some(value) = value {
                        losers.push(Loser {
                            key,
                            reason: Reason::Orphan,
                            field: field_of(foreign.column),
                            message: format!(
                                "expected the {} of a row in {}, found {value}, which is not there",
                                foreign.key.name, foreign.target.table
                            ),
                        });
                        break;
                    }
                }
            }
            settled.rejected += reject_rows(context, connection, model, table, losers).await?;
        }
    }
    // References that become NULL, each noted.
    for (index, foreign) in foreign.iter().enumerate() {
        let noted = connection
            .execute_with(
                &act,
                format!(
                    "INSERT INTO {} (run, table_schema, table_name, column_name, row_key, value, element)
                     SELECT {}, $3, $1, $2, id::text, o{index}::text, false
                     FROM orphan_found WHERE o{index} IS NOT NULL",
                    kept::note_table(context, table),
                    context.run.run
                ),
                &[
                    Some(model.table),
                    Some(foreign.column.name),
                    Some(names.schema_of(model)),
                ],
            )
            .await?;
        if noted > 0 {
            let losers = null_references(connection, model, table, foreign, index).await?;
            let lost = losers.len() as u64;
            settled.rejected += reject_rows(context, connection, model, table, losers).await?;
            *settled.orphans.entry(foreign.column.name.to_owned()).or_default() += noted - lost;
        }
    }
    Ok(())
}

/// The references among which there are some to nothing, or whose column has no index. Those with
/// an index are looked at by walking it beside the index of the key, without the rows.
async fn with_orphans(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    foreign: &[Foreign],
) -> Result<Vec<Foreign>> {
    let act = format!("looking for orphans in {}", model.table);
    let table = context.names().table(model);
    let indexed = context.indexed_columns(connection, model).await?;
    let (walked, mut found): (Vec<&Foreign>, Vec<&Foreign>) = foreign.iter().partition(|foreign| {
        indexed.contains(foreign.column.name) && upkeep::is_quickly_compared(foreign.column)
    });
    if !walked.is_empty() {
        let counts: Vec<String> = walked
            .iter()
            .map(|foreign| {
                let column = quote_ident(foreign.column.name);
                format!(
                    "(SELECT count(*) FROM {table} t WHERE {column} IS NOT NULL
                        AND NOT EXISTS (SELECT FROM {} p WHERE p.{} = t.{column}))",
                    context.names().table(foreign.target),
                    quote_ident(foreign.key.name)
                )
            })
            .collect();
        let (walk, as_usual) = (upkeep::WALK_INDEXES, upkeep::JOIN_AS_USUAL);
        let count = format!("{walk}; SELECT {}; {as_usual}", counts.join(", "));
        let rows = connection.ask(&act, count).await?.rows;
        for (index, foreign) in walked.into_iter().enumerate() {
            for row in &rows {
                let orphans: i64 = row.try_get(index).map_err(|error| target_error(&act, error))?;
                if orphans > 0 {
                    found.push(foreign);
                }
            }
        }
    }
    // In the order of the model, which decides which of several is the reason of a reject.
    let is_found = |own: &&Foreign| found.iter().any(|found| found.column.name == own.column.name);
    Ok(foreign.iter().filter(is_found).cloned().collect())
}

/// Makes the references NULL whose rows were not found; gives the rows that a check of the table
/// does not let be without.
async fn null_references(
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
    foreign: &Foreign,
    index: usize,
) -> Result<Vec<Loser>> {
    let act = format!("taking orphans out of {}", model.table);
    let id = quote_ident(id_column(model).name);
    let column = quote_ident(foreign.column.name);
    let update = format!(
        "UPDATE {table} t SET {column} = NULL FROM orphan_found f
         WHERE f.id = t.{id} AND f.o{index} IS NOT NULL
            AND ($1::text[] IS NULL OR f.id::text = ANY ($1::text[]))"
    );
    // All at once, and only where that is refused, by halves.
    let mut open: Vec<Option<Vec<String>>> = vec![None];
    let mut losers = Vec::new();
    while let Some(keys) = open.pop() {
        connection.execute(&act, "SAVEPOINT orphans").await?;
        let result = sqlx::query(AssertSqlSafe(update.clone()))
            .bind(&keys)
            .execute(connection.raw())
            .await
            .map_err(|error| target_error(&act, error));
        let refused = match result {
            Ok(_) => {
                connection.execute(&act, "RELEASE SAVEPOINT orphans").await?;
                continue;
            }
            Err(error) if load::is_refusal(&error) => error,
            Err(error) => return Err(error),
        };
        connection.execute(&act, "ROLLBACK TO SAVEPOINT orphans").await?;
        let keys = match keys {
            Some(keys) => keys,
            None => {
                let sql = format!(
                    "SELECT id::text FROM orphan_found WHERE o{index} IS NOT NULL ORDER BY 1"
                );
                let rows = connection.query(&act, sql, &[]).await?;
                let key = |row: &sqlx::postgres::PgRow| row.try_get(0);
                let keys: std::result::Result<Vec<String>, _> = rows.iter().map(key).collect();
                keys.map_err(|error| target_error(&act, error))?
            }
        };
        if let [key] = keys.as_slice() {
            let (_, _, refusal) = load::refusal_parts(model, &refused);
            losers.push(Loser {
                key: key.clone(),
                reason: Reason::Orphan,
                field: field_of(foreign.column),
                message: format!(
                    "expected the {} of a row in {}, which is not there, and without it the row is refused: {refusal}",
                    foreign.key.name, foreign.target.table
                ),
            });
            continue;
        }
        let (first, second) = keys.split_at(keys.len() / 2);
        open.extend([Some(second.to_vec()), Some(first.to_vec())]);
    }
    Ok(losers)
}

/// Notes the orphans of references that the model keeps; they have no foreign key.
pub(crate) async fn kept_orphans(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    settled: &mut Settled,
) -> Result<()> {
    let names = context.names();
    for column in model.columns {
        let Some(reference) = column.reference.filter(|reference| reference.orphan == Orphan::Keep)
        else {
            continue;
        };
        let target = reference.target.get();
        let key = match reference.key {
            Some(key) => key,
            None => id_column(target).name,
        };
        let act = format!("noting the orphans of {}.{}", model.table, column.name);
        // The whole table is looked at, so what was noted of it before is noted again or over.
        connection
            .execute_with(
                &act,
                format!(
                    "DELETE FROM {} WHERE {} AND column_name = $1 AND NOT element",
                    context.state.table("orphan"),
                    names.is_noted(model)
                ),
                &[Some(column.name)],
            )
            .await?;
        let noted = connection
            .execute_with(
                &act,
                format!(
                    "INSERT INTO {} (run, table_schema, table_name, column_name, row_key, value, element)
                     SELECT {}, $3, $1, $2, t.{}::text, t.{column}::text, false FROM {} t
                     WHERE t.{column} IS NOT NULL
                        AND NOT EXISTS (SELECT FROM {} p WHERE p.{} = t.{column})",
                    context.state.table("orphan"),
                    context.run.run,
                    quote_ident(id_column(model).name),
                    names.table(model),
                    names.table(target),
                    quote_ident(key),
                    column = quote_ident(column.name),
                ),
                &[Some(model.table), Some(column.name), Some(names.schema_of(model))],
            )
            .await?;
        if noted > 0 {
            *settled.orphans.entry(column.name.to_owned()).or_default() += noted;
        }
    }
    Ok(())
}

/// Rejects all rows but one of each set that shares a unique value: the document with the
/// smallest `_id` stays.
async fn same_value(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    unique: &Deferred,
) -> Result<u64> {
    let act = format!("looking for rows of {} that share a value of {}", model.table, unique.name);
    // The columns may be expressions, so they are given names of our own.
    let named: Vec<String> = unique
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{column} AS k{index}"))
        .collect();
    // Then two without a value are as like as two with the same.
    let nulls_differ = !unique.build.contains(" NULLS NOT DISTINCT");
    let all = |f: fn(usize) -> String, separator: &str| {
        (0..unique.columns.len()).map(f).collect::<Vec<_>>().join(separator)
    };
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT id::text, concat({shown}), copies FROM (
                    SELECT *, count(*) OVER (PARTITION BY {keys}) AS copies FROM (
                        SELECT {id} AS id, {named} FROM {table} WHERE {predicate}
                    ) AS named WHERE {not_null}
                 ) AS counted WHERE copies > 1 ORDER BY {keys}",
                shown = all(|index| format!("coalesce(k{index}::text, 'null')"), ", ', ', "),
                keys = all(|index| format!("k{index}"), ", "),
                named = named.join(", "),
                not_null = match nulls_differ {
                    true => all(|index| format!("k{index} IS NOT NULL"), " AND "),
                    false => "true".to_owned(),
                },
                predicate = unique.predicate.as_deref().unwrap_or("true"),
                id = quote_ident(id_column(model).name),
                table = context.names().table(model),
            ),
            &[],
        )
        .await?;
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut left_in_group = 0;
    for row in &rows {
        let get = |error| target_error(&act, error);
        let id: String = row.try_get(0).map_err(get)?;
        let shown: String = row.try_get(1).map_err(get)?;
        let copies: i64 = row.try_get(2).map_err(get)?;
        if left_in_group == 0 {
            groups.push((shown, Vec::new()));
            left_in_group = copies;
        }
        left_in_group -= 1;
        if let Some((_, ids)) = groups.last_mut() {
            ids.push(id);
        }
    }
    let all: Vec<String> = groups.iter().flat_map(|(_, ids)| ids.iter().cloned()).collect();
    let sources = source_ids(context, connection, model, &all).await?;
    let field = fields_of(model, &unique.columns);
    let mut losers = Vec::new();
    for (value, mut ids) in groups {
        ids.sort_by(|a, b| match (sources.get(a), sources.get(b)) {
            (Some(a), Some(b)) => smallest(a, b),
            _ => a.cmp(b),
        });
        let winner = sources
            .get(&ids[0])
            .and_then(|sources| sources.first())
            .map_or_else(|| ids[0].clone(), source_id::display);
        for key in ids.drain(1..) {
            losers.push(Loser {
                key,
                reason: Reason::Duplicate,
                field: field.clone(),
                message: format!(
                    "expected a value of its own, found {value:?}, which document {winner} has too"
                ),
            });
        }
    }
    if losers.is_empty() {
        return Err(Error::new(
            ErrorKind::Target,
            format!("{} cannot be built: its rows do not differ as it asks", unique.name),
        )
        .with_hint(
            "the key compares otherwise than `=` does (an operator class of its own): take it off, and build it by hand after the run",
        ));
    }
    let mut rejected = 0;
    let mut losers = losers.into_iter().peekable();
    while losers.peek().is_some() {
        let slice = losers.by_ref().take(SLICE).collect();
        let table = context.names().table(model);
        rejected += reject_rows(context, connection, model, &table, slice).await?;
    }
    Ok(rejected)
}

/// The document fields of an index's columns, where those are the model's, else the SQL.
pub(crate) fn fields_of(model: &'static Model, columns: &[String]) -> String {
    columns
        .iter()
        .map(|column| {
            let plain = column.split(" COLLATE ").next().unwrap_or_default();
            model.column_of(plain).map_or_else(|| column.clone(), field_of)
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn smallest(a: &[Bson], b: &[Bson]) -> std::cmp::Ordering {
    match (a.first(), b.first()) {
        (Some(a), Some(b)) => source_id::compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Settles documents that came to one primary key, as an ObjectId and the string of its digits
/// do: all of them are read again, the one with the smallest `_id` is loaded, the others go.
pub(crate) async fn same_id(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
) -> Result<u64> {
    let act = format!("looking for rows of {} that share an id", model.table);
    let id = id_column(model);
    let name = quote_ident(id.name);
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT {name}::text, count(*) FROM {table} GROUP BY {name} HAVING count(*) > 1"
            ),
            &[],
        )
        .await?;
    let mut keys = Vec::with_capacity(rows.len());
    let mut copies: HashMap<String, usize> = HashMap::new();
    for row in &rows {
        let get = |error| target_error(&act, error);
        let key: String = row.try_get(0).map_err(get)?;
        let count: i64 = row.try_get(1).map_err(get)?;
        copies.insert(key.clone(), count.unsigned_abs() as usize);
        keys.push(key);
    }
    let transformer = context.transformer(model)?.clone();
    let mut scratch = transformer.scratch();
    let feed = Feed::of(model);
    let mut rejected = 0;
    for keys in keys.chunks(DOUBLES) {
        let mut sources = source_ids(context, connection, model, keys).await?;
        if table == kept::TABLE {
            // A document that came to the key in an earlier chunk is none of this one's.
            for (key, own) in kept::own_ids(connection, model, keys).await? {
                let derived = source_id::of_key(model, &key, context.run.ids);
                let others = copies.get(&key).copied().unwrap_or_default() > own.len();
                let derived = derived.into_iter().filter(|_| others);
                sources.insert(key, own.into_iter().chain(derived).collect());
            }
        }
        let mut wanted: Vec<Bson> = sources.values().flatten().cloned().collect();
        wanted.sort_by(source_id::compare);
        wanted.dedup();
        let documents = context.fetch(model, &wanted).await?;
        let mut by_key: HashMap<String, Vec<(Bson, Vec<u8>)>> = HashMap::new();
        let key_of: HashMap<String, &String> = sources
            .iter()
            .flat_map(|(key, ids)| ids.iter().map(move |id| (id.to_string(), key)))
            .collect();
        for document in documents {
            let id = document
                .get("_id")
                .ok()
                .flatten()
                .and_then(|id| Bson::try_from(id).ok())
                .unwrap_or(Bson::Null);
            if let Some(key) = key_of.get(&id.to_string()) {
                by_key.entry((*key).clone()).or_default().push((id, document.as_bytes().to_vec()));
            }
        }
        delete_rows(context, connection, model, table, keys).await?;
        let mut output = Output::default();
        let mut losers = Vec::new();
        for key in keys {
            let mut documents = by_key.remove(key).unwrap_or_default();
            documents.sort_by(|(a, _), (b, _)| source_id::compare(a, b));
            let mut winner = None;
            for (id, document) in documents {
                match &winner {
                    None => {
                        if transformer.transform(&mut scratch, &document, &mut output) {
                            winner = Some(source_id::display(&id));
                        }
                    }
                    Some(winner) => losers.push(Reject {
                        collection: feed.label_of(&id),
                        table: model.table.to_owned(),
                        source_id: source_id::display(&id),
                        stage: Stage::Settle,
                        reason: Reason::Duplicate,
                        field: field_of(id_column(model)),
                        message: format!(
                            "expected an id of its own, found one that becomes {key} as that of document {winner} does"
                        ),
                        document,
                    }),
                }
            }
        }
        // The rows of both were deleted; what the winner has in junctions comes again below, and
        // what the losers had there goes with them.
        let mut gone = load::unstage(context, connection, model, keys).await?;
        if table == kept::TABLE {
            kept::forget_ids(connection, model, keys).await?;
        }
        let note = load::write_output(context, connection, model, &mut output, true).await?;
        for (junction, elements) in note.elements {
            if let Some(gone) = gone.get_mut(junction.as_str()) {
                *gone = gone.saturating_sub(elements);
            }
        }
        note_lost_elements(context, connection, model, gone).await?;
        note_rejects(context, connection, model, &losers).await?;
        rejected += losers.len() as u64;
    }
    Ok(rejected)
}

/// Notes the elements of arrays whose document is rejected and whose key another document's row
/// has: nothing in the junctions may be theirs.
pub(crate) async fn note_lost_elements(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    gone: BTreeMap<&'static str, u64>,
) -> Result<()> {
    let orphans: Vec<OrphanNote> = gone
        .into_iter()
        .filter_map(|(name, count)| {
            // Of all models: the junction may be filled by a later run than that of its arrays.
            let mut junctions = model.junctions.iter().map(|field| field.table.get());
            Some((junctions.find(|junction| junction.name == name)?, count))
        })
        .flat_map(|(junction, count)| {
            let note = OrphanNote {
                schema: context.names().schema_of(junction).to_owned(),
                table: junction.table.to_owned(),
                column: String::new(),
                row_key: String::new(),
                value: format!("an element of a document of {} that was rejected", model.table),
                position: None,
            };
            (0..count).map(move |_| note.clone())
        })
        .collect();
    let orphan = context.state.table("orphan");
    ledger::insert_orphans(connection, &orphan, context.run.run, &orphans).await
}

/// The `_id`s that rows' keys were made from, smallest first. More than one came to the same key
/// when the id map has it beside the ObjectId.
pub(crate) async fn source_ids(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    keys: &[String],
) -> Result<HashMap<String, Vec<Bson>>> {
    const ACT: &str = "reading the id map";
    let mut found: HashMap<String, Vec<Bson>> = HashMap::new();
    let has_locators = model.has_locators();
    if has_locators || id_column(model).ty.base == crate::schema::BaseType::Uuid {
        let ids: Vec<String> =
            keys.iter().map(|key| source_id::mapped(model, key).to_string()).collect();
        let key_of: HashMap<&str, &String> = ids.iter().map(String::as_str).zip(keys).collect();
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT id::text, source_id FROM {}
             WHERE collection = $1 AND id = ANY ($2::text[]::uuid[])",
            context.state.table("id_map")
        )))
        .bind(Feed::of(model).label())
        .bind(&ids)
        .fetch_all(connection.raw())
        .await
        .map_err(|error| target_error(ACT, error))?;
        for row in &rows {
            let id: String = row.try_get(0).map_err(|error| target_error(ACT, error))?;
            let Some(key) = key_of.get(id.as_str()) else { continue };
            let document: Vec<u8> = row.try_get(1).map_err(|error| target_error(ACT, error))?;
            found.entry((*key).clone()).or_default().extend(mapped_id(&document));
        }
    }
    for key in keys {
        let ids = found.entry(key.clone()).or_default();
        ids.extend(source_id::of_key(model, key, context.run.ids));
        if ids.is_empty() && !has_locators {
            ids.extend(source_id::as_uuid(key));
        }
        ids.sort_by(source_id::compare);
        ids.dedup();
    }
    Ok(found)
}

/// The `_id` in an entry of the id map.
pub(crate) fn mapped_id(document: &[u8]) -> Option<Bson> {
    let document = bson::RawDocument::from_bytes(document).ok()?;
    document.get("v").ok().flatten().and_then(|id| Bson::try_from(id).ok())
}

/// A row that goes, and why.
pub(crate) struct Loser {
    pub(crate) key: String,
    pub(crate) reason: Reason,
    pub(crate) field: String,
    pub(crate) message: String,
}

/// Moves rows into the ledger, each with its document, and deletes them.
pub(crate) async fn reject_rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
    losers: Vec<Loser>,
) -> Result<u64> {
    if losers.is_empty() {
        return Ok(0);
    }
    let keys: Vec<String> = losers.iter().map(|loser| loser.key.clone()).collect();
    let mut sources = source_ids(context, connection, model, &keys).await?;
    if table == kept::TABLE {
        // The row is of this chunk; another document with its key may be in the table.
        for (key, ids) in &mut sources {
            let derived = source_id::of_key(model, key, context.run.ids);
            ids.sort_by_key(|id| !derived.contains(id));
        }
        sources.extend(kept::own_ids(connection, model, &keys).await?);
    }
    let feed = Feed::of(model);
    let reject_of = |loser: Loser, id: Option<&Bson>, document: Vec<u8>| Reject {
        collection: id.map_or_else(|| feed.label().to_owned(), |id| feed.label_of(id)),
        table: model.table.to_owned(),
        document,
        source_id: id.map_or(loser.key, source_id::display),
        stage: Stage::Settle,
        reason: loser.reason,
        field: loser.field,
        message: loser.message,
    };
    let count = losers.len() as u64;
    let ids_of = |loser: &Loser| sources.get(&loser.key).map(Vec::as_slice).unwrap_or_default();
    let (doubles, losers): (Vec<Loser>, Vec<Loser>) =
        losers.into_iter().partition(|loser| ids_of(loser).len() > 1);
    let mut gone = Vec::new();
    let mut loser_of: HashMap<String, (Loser, Bson)> = HashMap::with_capacity(losers.len());
    let mut wanted = Vec::with_capacity(losers.len());
    for loser in losers {
        match ids_of(&loser).first() {
            Some(id) => {
                wanted.push(id.clone());
                let id = id.clone();
                loser_of.insert(source_id::display(&id), (loser, id));
            }
            None => gone.push(reject_of(loser, None, Vec::new())),
        }
    }
    let is_child = model.kind == ModelKind::Child;
    // Documents may be large: each batch goes into the ledger before the next one comes.
    let mut documents = context.fetch_batches(model, wanted);
    while let Some(batch) = documents.next().await? {
        let mut rejects = Vec::new();
        let is_meant = |document: &&[u8]| is_child || choice::is_meant(model, document);
        for document in batch.iter().filter(is_meant) {
            let shown = document_id(document).map(|id| source_id::display(&id));
            let loser = shown.and_then(|shown| loser_of.remove(&shown));
            if let Some((loser, id)) = loser {
                rejects.push(reject_of(loser, Some(&id), document.to_vec()));
            }
        }
        note_rejects(context, connection, model, &rejects).await?;
    }
    let left = loser_of.into_values();
    gone.extend(left.map(|(loser, id)| reject_of(loser, Some(&id), Vec::new())));
    note_rejects(context, connection, model, &gone).await?;
    // The key of a double is gone by now, so one of its `_id`s is right: the first that is there.
    let mut doubles = doubles.into_iter().peekable();
    while doubles.peek().is_some() {
        let slice: Vec<Loser> = doubles.by_ref().take(DOUBLES).collect();
        let wanted: Vec<Bson> = slice.iter().flat_map(ids_of).cloned().collect();
        let mut by_id: HashMap<String, Vec<u8>> = HashMap::new();
        for document in context.fetch(model, &wanted).await? {
            if let Some(id) = document_id(document.as_bytes()) {
                by_id.insert(source_id::display(&id), document.into_bytes());
            }
        }
        let mut rejects = Vec::with_capacity(slice.len());
        for loser in slice {
            let ids = ids_of(&loser);
            let there = ids.iter().find(|id| by_id.contains_key(&source_id::display(id)));
            let id = there.or(ids.first()).cloned();
            let shown = id.as_ref().map(source_id::display);
            let document = shown.and_then(|shown| by_id.remove(&shown)).unwrap_or_default();
            rejects.push(reject_of(loser, id.as_ref(), document));
        }
        note_rejects(context, connection, model, &rejects).await?;
    }
    if table == kept::TABLE {
        kept::unstage_doubles(context, connection, model, &keys).await?;
    }
    delete_rows(context, connection, model, table, &keys).await?;
    Ok(count)
}

/// The `_id` of a document's bytes.
fn document_id(document: &[u8]) -> Option<Bson> {
    let document = bson::RawDocument::from_bytes(document).ok()?;
    document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok())
}

/// Writes rejects that settling has made into the ledger, and tells of them.
async fn note_rejects(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    rejects: &[Reject],
) -> Result<()> {
    let schema = context.names().schema_of(model);
    let (state, run) = (&context.state, context.run.run);
    ledger::insert_rejects(connection, state, run, schema, None, rejects).await?;
    for reject in rejects {
        context.reporter.event(&crate::event::Event::Rejected(reject));
    }
    Ok(())
}

/// Deletes rows by their keys, and what was noted about their references. What was noted of another row of the
/// key, which is in the model's table while this one waits, stays.
async fn delete_rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
    keys: &[String],
) -> Result<()> {
    let act = format!("taking rejected rows out of {}", model.table);
    let id = id_column(model);
    sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM {table} WHERE {} = ANY ($1::text[]::{}[])",
        quote_ident(id.name),
        context.names().column_type(id)
    )))
    .bind(keys)
    .execute(connection.raw())
    .await
    .map_err(|error| target_error(&act, error))?;
    sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM {} WHERE run = {} AND table_schema = $3 AND table_name = $1 AND NOT element
            AND row_key = ANY ($2::text[])",
        kept::note_table(context, table),
        context.run.run
    )))
    .bind(model.table)
    .bind(keys)
    .bind(context.names().schema_of(model))
    .execute(connection.raw())
    .await
    .map_err(|error| target_error(&act, error))?;
    if table == kept::TABLE {
        kept::forget_late(connection, model, keys).await?;
    }
    Ok(())
}

/// How a junction is filled: the SQL of its parts, in which `s` is the junction or its staging table.
struct Filling {
    /// The columns of a pair.
    columns: [String; 2],
    /// The column of the position in the array, where there is one.
    ordinal: Option<String>,
    /// A `LEFT JOIN` of each side.
    joins: String,
    /// True where the rows of both sides are there.
    there: String,
}

impl Filling {
    fn of(context: &Context, model: &'static Model) -> Self {
        let mut joins = String::new();
        let mut there = Vec::new();
        for (index, foreign) in foreign_keys(model).iter().enumerate() {
            let key = quote_ident(foreign.key.name);
            joins.push_str(&format!(
                " LEFT JOIN {} p{index} ON p{index}.{key} = s.{}",
                context.names().table(foreign.target),
                quote_ident(foreign.column.name)
            ));
            there.push(format!("p{index}.{key} IS NOT NULL"));
        }
        Self {
            columns: model.pair().map(|column| quote_ident(column.name)),
            ordinal: model.ordinal().map(|column| quote_ident(column.name)),
            joins,
            there: there.join(" AND "),
        }
    }

    /// SQL with the position's column in the place of `#`; nothing where there is none.
    fn with_ordinal(&self, sql: &str) -> String {
        self.ordinal.as_ref().map_or_else(String::new, |column| sql.replace('#', column))
    }
}

/// Fills a junction from its staging table: each pair once, both of whose rows are there. Pairs
/// that the table has already count as duplicates. The staging table goes.
pub(crate) async fn junction(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<SettledJunction> {
    let act = format!("filling the junction {}", model.table);
    let stage = context.state.stage(model.name);
    let filling = Filling::of(context, model);
    let pair = filling.columns.join(", ");
    // Of several elements of one pair the first gives its position.
    let part = |sql: &str| filling.with_ordinal(sql);
    let (smallest, found, position) = (part(", min(#) AS #"), part(", s.#"), part(", #"));
    let qualified = filling.columns.each_ref().map(|column| format!("s.{column}"));
    let rows = connection
        .query(
            &act,
            format!(
                "WITH pair AS MATERIALIZED (
                    SELECT {qualified}{found}, s.copies, {there} AS there
                    FROM (SELECT {pair}, count(*) AS copies{smallest} FROM {elements} e GROUP BY {pair})
                        s{joins}
                 ), inserted AS (
                    INSERT INTO {table} ({pair}{position}) SELECT {pair}{position} FROM pair
                    WHERE there
                    ON CONFLICT DO NOTHING RETURNING 1
                 ){placed}
                 SELECT (SELECT count(*) FROM inserted),
                    coalesce(sum(copies) FILTER (WHERE there), 0)::bigint
                        - (SELECT count(*) FROM inserted),
                    coalesce(sum(copies) FILTER (WHERE NOT there), 0)::bigint
                 FROM pair",
                placed = placed(context.names(), model, "pair", "s.there"),
                qualified = qualified.join(", "),
                joins = filling.joins,
                there = filling.there,
                table = context.names().table(model),
                elements = staging::elements(&stage, model),
            ),
            &[],
        )
        .await?;
    let mut settled = SettledJunction::default();
    if let Some(row) = rows.first() {
        let get = |index: usize| -> Result<u64> {
            let number: i64 = row.try_get(index).map_err(|error| target_error(&act, error))?;
            Ok(number.unsigned_abs())
        };
        settled = SettledJunction { inserted: get(0)?, duplicates: get(1)?, orphans: get(2)? };
    }
    if settled.orphans > 0 {
        note_orphaned_elements(context, connection, model, &filling).await?;
    }
    connection.execute(&act, format!("DROP TABLE {stage}")).await?;
    Ok(settled)
}

/// For a junction with positions, a part of a `WITH` that gives pairs which are there the first of
/// their own and those in `from`, for which `condition` is true of `s`; it does not see what the
/// same statement inserts.
pub(crate) fn placed(names: Names<'_>, model: &Model, from: &str, condition: &str) -> String {
    let Some(ordinal) = model.ordinal() else { return String::new() };
    let ordinal = quote_ident(ordinal.name);
    let [first, second] = model.pair().map(|column| quote_ident(column.name));
    format!(
        ", placed AS (
            UPDATE {} t SET {ordinal} = s.{ordinal} FROM {from} s
            WHERE t.{first} = s.{first} AND t.{second} = s.{second} AND {condition}
                AND s.{ordinal} < coalesce(t.{ordinal}, s.{ordinal} + 1)
         )",
        names.table(model)
    )
}

/// Writes the staged elements whose rows are not both there into the ledger; gives their number.
async fn note_orphaned_elements(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    filling: &Filling,
) -> Result<u64> {
    // `origin` is odd when the array stood at the row of the second column.
    let [first, second] = &filling.columns;
    connection
        .execute_with(
            &format!("noting the orphans of {}", model.table),
            format!(
                "INSERT INTO {} (run, table_schema, table_name, column_name, row_key, value, element,
                    position)
                 SELECT {}, $4, $1, CASE WHEN s.origin % 2 = 0 THEN $3 ELSE $2 END,
                    CASE WHEN s.origin % 2 = 0 THEN s.{first}::text ELSE s.{second}::text END,
                    CASE WHEN s.origin % 2 = 0 THEN s.{second}::text ELSE s.{first}::text END, true, {}
                 FROM {} s{} WHERE NOT ({})",
                context.state.table("orphan"),
                context.run.run,
                filling.ordinal.as_ref().map_or("NULL".to_owned(), |column| format!("s.{column}")),
                staging::elements(&context.state.stage(model.name), model),
                filling.joins,
                filling.there
            ),
            &[
                Some(model.table),
                Some(model.pair()[0].name),
                Some(model.pair()[1].name),
                Some(context.names().schema_of(model)),
            ],
        )
        .await
}

/// Fills a junction from its staging table as [`junction`] does, but leaves it to the validation
/// of its foreign keys to find pairs whose rows are not both there.
///
/// The validation looks at each pair anyway, so where all are right, as they mostly are, nothing is
/// looked at twice. The staging table stays for [`validate_junction`], and goes at the end of the run. Nothing can have come to
/// depend on a pair by then, because no table refers to a junction. It is done so only where that
/// validation will come, and where a pair to nothing can neither be too long for the junction's
/// indexes nor exclude another pair by one of its keys, which are built in between.
pub(crate) async fn fill_junction(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<SettledJunction> {
    let definitions = context.definitions(connection).await?.values();
    let open: Vec<&Deferred> =
        definitions.filter(|definition| definition.model == model.name).collect();
    // Foreign keys of tables that were there may say something else than the model, or nothing.
    let is_open = |foreign: &Foreign| {
        let columns = deferred::foreign_columns(context.names(), foreign);
        open.iter().any(|other| {
            other.kind == deferred::Kind::ForeignKey
                && other.columns == columns
                && other.validate.is_some()
        })
    };
    // A pair to nothing must not be in the way of another one, until it is found.
    let lets_both_in = |definition: &&Deferred| {
        let has = |side: &Column| {
            let mut columns = definition.columns.iter().filter_map(|sql| model.column_of(sql));
            columns.any(|column| column.name == side.name)
        };
        definition.predicate.is_none() && model.pair().into_iter().all(has)
    };
    let is_key = |definition: &&&Deferred| {
        matches!(definition.kind, deferred::Kind::PrimaryKey | deferred::Kind::Unique)
    };
    let keys = foreign_keys(model);
    let is_validated = open.iter().filter(is_key).all(lets_both_in)
        && !kept::is_kept(context, model)
        && keys.len() == model.pair().len()
        && keys.iter().all(is_open);
    let may_be_long = open.iter().any(|definition| {
        [true, false].iter().any(|primary| fit::is_meant(model, definition, *primary))
    });
    if !is_validated || may_be_long {
        return junction(context, connection, model).await;
    }
    let act = format!("filling the junction {}", model.table);
    let stage = context.state.stage(model.name);
    let filling = Filling::of(context, model);
    let pair = filling.columns.join(", ");
    let (smallest, position) = (filling.with_ordinal(", min(#)"), filling.with_ordinal(", #"));
    let table = context.names().table(model);
    // Looking for rows in the way costs a fifth of all this, and a table of the run's own has none.
    let conflict = match context.run.created.tables.contains(&table) {
        true => "",
        false => "ON CONFLICT DO NOTHING",
    };
    // Pairs that are sorted for it come in the order of the key, and so to the indexes, which then have
    // little left to sort.
    // That sort is all that the statement has in memory, so it may take what an index may.
    if model.pair().into_iter().all(upkeep::is_quickly_compared) {
        connection.ahead("SET LOCAL enable_hashagg = off");
        let memory = context.options.index_bytes() >> 10;
        connection.ahead(format!("SET LOCAL work_mem = '{memory}kB'"));
    }
    let replies = connection
        .ask(
            &act,
            format!(
                "INSERT INTO {table} ({pair}{position}) SELECT {pair}{smallest} FROM {} e
                 GROUP BY {pair} {conflict}; SET LOCAL enable_hashagg TO DEFAULT;
                 SET LOCAL work_mem = '{}kB'; {}",
                staging::elements(&stage, model),
                crate::task::work_kb(context),
                staging::count_sql(&stage, model)
            ),
        )
        .await?;
    let inserted = replies.touched.first().copied().unwrap_or(0);
    let elements: i64 = match replies.rows.first() {
        Some(row) => row.try_get(0).map_err(|error| target_error(&act, error))?,
        None => 0,
    };
    let elements = elements.unsigned_abs();
    Ok(SettledJunction { inserted, duplicates: elements - inserted, orphans: 0 })
}

/// Validates the foreign keys of a junction that [`fill_junction`] has filled, with `validate`, and
/// takes pairs out whose rows are not both there.
pub(crate) async fn validate_junction(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    validate: &str,
) -> Result<()> {
    let act = format!("validating the foreign keys of {}", model.table);
    match connection.execute(&act, format!("SAVEPOINT validate; {validate}")).await {
        Ok(_) => Ok(()),
        Err(error) if sql_state(&error) == Some("23503") => {
            // What follows joins the staging table, which has no index.
            let back = format!("ROLLBACK TO SAVEPOINT validate; {}", upkeep::JOIN_AS_USUAL);
            connection.execute("rolling back to a savepoint", back).await?;
            let filling = Filling::of(context, model);
            let orphans = note_orphaned_elements(context, connection, model, &filling).await?;
            let table = context.names().table(model);
            let pairs = connection
                .execute(
                    &act,
                    format!(
                        "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                            SELECT s.ctid FROM {table} s{} WHERE NOT ({})))",
                        filling.joins, filling.there
                    ),
                )
                .await?;
            connection
                .execute_with(
                    &act,
                    format!(
                        "UPDATE {} SET result = jsonb_build_object(
                            'inserted', (result->>'inserted')::bigint - {pairs},
                            'duplicates', (result->>'duplicates')::bigint - {},
                            'orphans', {orphans})
                         WHERE run = {} AND body->>'task' = 'junction' AND body->>'model' = $1",
                        context.state.table("task"),
                        orphans.saturating_sub(pairs),
                        context.run.run
                    ),
                    &[Some(model.name)],
                )
                .await?;
            connection.execute(&act, validate).await?;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The column of a collection's primary key.
pub(crate) fn id_column(model: &Model) -> &'static Column {
    model.columns.iter().find(|column| column.primary_key).unwrap_or_else(|| {
        panic!("`{}` has no id: the derive makes that a compile error", model.name)
    })
}

/// The document field that a column is read from, as messages name it.
pub(crate) fn field_of(column: &Column) -> String {
    let key = column.keys.first().copied().map(feed::shown_key).filter(|key| !key.is_empty());
    key_path(key.unwrap_or(column.field))
}
