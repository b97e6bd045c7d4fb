//! The second look: rows whose hash was not found are judged by PostgreSQL, cell by cell, and the
//! rows of the target that no document has given are named.
//!
//! However much differs, a page of it is in memory at a time, and of each table the first
//! [`MOST_NAMED`](super::MOST_NAMED) differences.

use std::collections::{BTreeSet, HashMap};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::independent::compare as independent;
use super::references::{Link, Nulled};
use super::rows::{Compared, Part};
use super::tuples::Tuples;
use super::{CellDifference, MOST_NAMED, RowDifference, TableReport, canonical, needed_connection};
use crate::cell::id_text;
use crate::context::Context;
use crate::ddl::{foreign_keys, list};
use crate::error::Result;
use crate::schema::{BaseType, CellType, Column, Model, quote_ident, quote_literal};
use crate::settle::{self, id_column};
use crate::sink::{Connection, target_error};
use crate::source_id;
use crate::transform::Output;

/// How many differences are read at a time.
const PAGE: usize = 1_000;
/// How much of a value is shown, in characters.
const SHOWN: usize = 10_000;

/// Where the keys of what differs are kept for a repair, while the connection lives.
pub(super) const REPAIRS: &str = "pg_temp.repair_key";

/// The references of one model that the ledger says have become NULL.
const NOTED: &str = "pg_temp.noted_reference";

/// What is wrong with a row, as [`REPAIRS`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Missing,
    Differs,
    Extra,
}

impl Fault {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Extra => "extra",
        }
    }
}

/// The columns beside the model's in the table of suspects: the document's `_id` for people, and
/// as its type's byte and its bytes.
const SHOWN_ID: &str = "\"migrate: _id\"";
const RAW_ID: &str = "\"migrate: raw _id\"";

/// The name of the temporary table of a model's rows that were not found, in SQL.
pub(super) fn suspects_table(model: &Model) -> String {
    format!("pg_temp.{}", quote_ident(&format!("suspect_{}", model.name)))
}

/// Makes the temporary table of a model's rows that were not found.
pub(super) async fn prepare(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<()> {
    // A label is text on the way, and stays text here: the target's type may lack it.
    let columns: Vec<String> = model
        .columns
        .iter()
        .map(|column| {
            let name = quote_ident(column.name);
            if is_label(column) { format!("{name}::text AS {name}") } else { name }
        })
        .collect();
    connection
        .execute(
            &format!("preparing a second look at {}", model.table),
            format!(
                "DROP TABLE IF EXISTS {0}; CREATE TEMPORARY TABLE {1} AS SELECT {2},
                    ''::text AS {SHOWN_ID}, ''::bytea AS {RAW_ID} FROM {3} WITH NO DATA",
                suspects_table(model),
                suspects_table(model).trim_start_matches("pg_temp."),
                columns.join(", "),
                context.names().table(model)
            ),
        )
        .await
        .map(drop)
}

/// Whether a column holds a single label of an enum.
fn is_label(column: &Column) -> bool {
    matches!(column.ty, CellType { base: BaseType::Enum(_), dimensions: 0 })
}

/// Appends a row of the output as the table of suspects takes it: with its document's `_id`.
pub(super) fn append(output: &Output, row: usize, out: &mut Vec<u8>) {
    let tuple = output.row(row);
    let cells = i16::from_be_bytes([tuple[0], tuple[1]]) + 2;
    out.extend_from_slice(&cells.to_be_bytes());
    out.extend_from_slice(&tuple[2..]);
    let (shown, raw) = match output.row_id(row) {
        Some(id) => (id_text(id), [&[id.kind as u8], id.bytes].concat()),
        None => (String::new(), Vec::new()),
    };
    // The ledger keeps ids so, because text holds no U+0000.
    let shown = shown.replace('\0', "\u{fffd}");
    for cell in [shown.as_bytes(), &raw] {
        out.extend_from_slice(&(cell.len() as u32).to_be_bytes());
        out.extend_from_slice(cell);
    }
}

/// Sends rows that were not found, as [`append`] has written them.
pub(super) async fn send(
    connection: &mut Connection,
    model: &'static Model,
    rows: &[u8],
) -> Result<()> {
    let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
    let statement = format!(
        "COPY {} ({}, {SHOWN_ID}, {RAW_ID}) FROM STDIN (FORMAT binary)",
        suspects_table(model),
        list(&columns)
    );
    let act = format!("taking a second look at {}", model.table);
    connection.copy(&act, &statement, rows).await.map(drop)
}

/// Takes out what was sent twice because a range was read again: of rows of one document with one
/// key all but one.
pub(super) async fn forget_copies(
    connection: &mut Connection,
    model: &'static Model,
) -> Result<()> {
    let act = format!("taking a second look at {}", model.table);
    let (suspects, id) = (suspects_table(model), quote_ident(id_column(model).name));
    let sql = format!(
        "DELETE FROM {suspects} WHERE ctid IN (
            SELECT ctid FROM (
                SELECT ctid, row_number() OVER (PARTITION BY {RAW_ID}, {id}::text) AS copy
                FROM {suspects} WHERE {RAW_ID} <> '') AS numbered
            WHERE copy > 1)"
    );
    connection.execute(&act, sql).await.map(drop)
}

/// Lets PostgreSQL judge the rows whose hash was not found; drops them afterwards.
pub(super) async fn judge(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    links: &[Link],
    nulled: &mut Nulled,
    table: &mut TableReport,
) -> Result<()> {
    let names = context.names();
    let act = format!("taking a second look at {}", model.table);
    let suspects = suspects_table(model);
    let target = names.table(model);
    let id = quote_ident(id_column(model).name);
    let its_id = match is_label(id_column(model)) {
        true => format!("t.{id}::text"),
        false => format!("t.{id}"),
    };
    // Documents in the ledger rightly have no row of their own. Two may have come to one key, of
    // which one was loaded; so it is the document that counts here, and not the key.
    let in_ledger = format!(
        "SELECT FROM {} r WHERE {} AND r.source_id = s.{SHOWN_ID}",
        context.state.table("reject"),
        names.is_noted(model)
    );
    connection.execute(&act, format!("ANALYZE {suspects}")).await?;
    // Of rows that are as their documents say the references were followed as they were read.
    let rows = format!("FROM {target} t WHERE {its_id} IN (SELECT {id} FROM {suspects})");
    Link::follow_rows(links, context, connection, &act, &rows).await?;
    connection
        .execute(&act, format!("BEGIN; DELETE FROM {suspects} s WHERE EXISTS ({in_ledger})"))
        .await?;

    // Documents without a row.
    let mut missing = Cursor::open(
        connection,
        &act,
        &format!("missing_{}", model.name),
        &format!(
            "SELECT s.{id}::text, s.{SHOWN_ID}, s.{RAW_ID} FROM {suspects} s
             WHERE NOT EXISTS (SELECT FROM {target} t WHERE {its_id} = s.{id}) ORDER BY 1, 2"
        ),
    )
    .await?;
    while let Some(rows) = missing.page(connection).await? {
        let get = |error| target_error(&act, error);
        let mut lost = Vec::with_capacity(rows.len());
        for row in &rows {
            let key: String = row.try_get(0).map_err(get)?;
            lost.push((key.clone(), row.try_get(2).map_err(get)?));
            table.missing.push(RowDifference { key, source_id: row.try_get(1).map_err(get)? });
        }
        keep(connection, model, Fault::Missing, lost).await?;
    }

    // Rows with a cell that differs, column by column, each judged as a value. A reference to nothing
    // is rightly NULL where the model says so and the ledger has it.
    let rows = format!("FROM {suspects} s JOIN {target} t ON {its_id} = s.{id}");
    let lost = lost_references(context, connection, model, &rows).await?;
    for reference in &lost {
        nulled.add(model, reference.column, reference.noted);
    }
    let columns: Vec<String> = model
        .columns
        .iter()
        .map(|column| {
            let name = quote_ident(column.name);
            // As text, because not every type compares itself (`point`, `json`), and some take what
            // differs for the same (`citext`). A number is the same with more zeros behind its point.
            let (own, cast) = match (column.ty.base, column.ty.dimensions) {
                (BaseType::Enum(_), 0) => ("", "::text"),
                (BaseType::Numeric, _) => ("", ""),
                _ => ("::text", "::text"),
            };
            let mut differs = format!("s.{name}{own} IS DISTINCT FROM t.{name}{cast}");
            if let Some(lost) = lost.iter().find(|lost| lost.column == column.name) {
                differs = format!("({differs} AND NOT {})", lost.condition);
            }
            format!(
                "({}, {differs}, left(s.{name}::text, {SHOWN}), left(t.{name}::text, {SHOWN}))",
                quote_literal(column.name)
            )
        })
        .collect();
    let mut cells = Cursor::open(
        connection,
        &act,
        &format!("cells_{}", model.name),
        &format!(
            "SELECT s.{id}::text, c.name, c.source, c.target, s.{SHOWN_ID}, s.{RAW_ID}
             {rows} CROSS JOIN LATERAL (VALUES {}) AS c (name, differs, source, target)
             WHERE c.differs ORDER BY 1, 2",
            columns.join(", ")
        ),
    )
    .await?;
    while let Some(rows) = cells.page(connection).await? {
        let get = |error| target_error(&act, error);
        let mut differing: Vec<(String, Option<Vec<u8>>)> = Vec::new();
        for row in &rows {
            let key: String = row.try_get(0).map_err(get)?;
            if differing.last().is_none_or(|(last, _)| *last != key) {
                differing.push((key.clone(), row.try_get(5).map_err(get)?));
            }
            table.differs(CellDifference {
                key,
                source_id: row.try_get(4).map_err(get)?,
                column: row.try_get(1).map_err(get)?,
                source: row.try_get(2).map_err(get)?,
                target: row.try_get(3).map_err(get)?,
            });
        }
        keep(connection, model, Fault::Differs, differing).await?;
    }
    for lost in &lost {
        table.add_unnoted(lost.column, lost.unnoted);
    }
    connection.execute(&act, format!("COMMIT; DROP TABLE {suspects}")).await.map(drop)
}

/// References of one column of the suspects that are NULL because they point to nothing.
struct Lost {
    column: &'static str,
    /// Which of them are rightly NULL: the ledger says so of each.
    condition: String,
    /// How many the ledger says it of.
    noted: u64,
    /// How many it does not say it of.
    unnoted: u64,
}

/// The columns of a model of whose references some are NULL because they point to nothing, over `rows` with
/// the suspect as `s` and its row as `t`. Must be used in a transaction.
async fn lost_references(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    rows: &str,
) -> Result<Vec<Lost>> {
    let act = format!("taking a second look at {}", model.table);
    let mut lost: Vec<Lost> = foreign_keys(model)
        .into_iter()
        .filter(|foreign| foreign.column.loses_orphans())
        .map(|foreign| {
            let (name, key) = (quote_ident(foreign.column.name), quote_ident(foreign.key.name));
            let target = context.names().table(foreign.target);
            let condition = format!(
                "s.{name} IS NOT NULL AND t.{name} IS NULL
                    AND NOT EXISTS (SELECT FROM {target} p WHERE p.{key} = s.{name})"
            );
            Lost { column: foreign.column.name, condition, noted: 0, unnoted: 0 }
        })
        .collect();
    let counts = count_each(connection, &act, &lost, rows).await?;
    for (lost, count) in lost.iter_mut().zip(counts) {
        lost.unnoted = count;
    }
    lost.retain(|lost| lost.unnoted > 0);
    if lost.is_empty() {
        return Ok(lost);
    }

    let id = quote_ident(id_column(model).name);
    let noted = format!(
        "CREATE TEMPORARY TABLE {NOTED} ON COMMIT DROP AS
            SELECT row_key, column_name FROM {} WHERE {} AND NOT element;
         CREATE INDEX ON {NOTED} USING hash (row_key);
         ANALYZE {NOTED}",
        context.state.table("orphan"),
        context.names().is_noted(model)
    );
    connection.execute(&act, noted).await?;
    for lost in &mut lost {
        lost.condition = format!(
            "({} AND EXISTS (SELECT FROM {NOTED} n
                WHERE n.row_key = t.{id}::text AND n.column_name = {}))",
            lost.condition,
            quote_literal(lost.column)
        );
    }
    let counts = count_each(connection, &act, &lost, rows).await?;
    for (lost, count) in lost.iter_mut().zip(counts) {
        lost.noted = count;
        lost.unnoted = lost.unnoted.saturating_sub(count);
    }
    Ok(lost)
}

/// How many of `rows` meet the condition of each, in their order.
async fn count_each(
    connection: &mut Connection,
    act: &str,
    lost: &[Lost],
    rows: &str,
) -> Result<Vec<u64>> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let counts: Vec<String> =
        lost.iter().map(|lost| format!("count(*) FILTER (WHERE {})", lost.condition)).collect();
    let found = connection.query(act, format!("SELECT {} {rows}", counts.join(", ")), &[]).await?;
    let mut counts = vec![0; lost.len()];
    for row in &found {
        for (index, count) in counts.iter_mut().enumerate() {
            let found: i64 = row.try_get(index).map_err(|error| target_error(act, error))?;
            *count = found.unsigned_abs();
        }
    }
    Ok(counts)
}

/// A query's rows, a page at a time; must be used in a transaction.
pub(super) struct Cursor {
    act: String,
    name: String,
}

impl Cursor {
    /// Opens the cursor of that name.
    pub(super) async fn open(
        connection: &mut Connection,
        act: &str,
        name: &str,
        query: &str,
    ) -> Result<Self> {
        // A name has at most 63 bytes, and only has to be one of its own here.
        let name = quote_ident(&format!("c{:032x}", xxh3_128(name.as_bytes())));
        connection.execute(act, format!("DECLARE {name} NO SCROLL CURSOR FOR {query}")).await?;
        Ok(Self { act: act.to_owned(), name })
    }

    /// The next page; `None` after the last, when the cursor is closed.
    pub(super) async fn page(&mut self, connection: &mut Connection) -> Result<Option<Vec<PgRow>>> {
        let sql = format!("FETCH {PAGE} FROM {}", self.name);
        let rows = connection.query(&self.act, sql, &[]).await?;
        if rows.is_empty() {
            connection.execute(&self.act, format!("CLOSE {}", self.name)).await?;
            return Ok(None);
        }
        Ok(Some(rows))
    }
}

/// Makes the table in which [`keep`] keeps rows; without it nothing is kept.
pub(super) async fn keep_repairs(connection: &mut Connection) -> Result<()> {
    connection
        .execute(
            "preparing a repair",
            "CREATE TEMPORARY TABLE repair_key (model text, fault text, key text, source_id bytea)",
        )
        .await
        .map(drop)
}

/// Keeps rows that a repair is to mend, if one is wanted: their keys, and the `_id`s of the
/// documents that they should come from.
pub(super) async fn keep(
    connection: &mut Connection,
    model: &Model,
    fault: Fault,
    rows: Vec<(String, Option<Vec<u8>>)>,
) -> Result<()> {
    const ACT: &str = "keeping keys for a repair";
    if rows.is_empty()
        || connection.count(ACT, format!("SELECT count(to_regclass('{REPAIRS}'))"), &[]).await? == 0
    {
        return Ok(());
    }
    let (keys, ids): (Vec<String>, Vec<Option<Vec<u8>>>) = rows.into_iter().unzip();
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO {REPAIRS} (model, fault, key, source_id)
         SELECT $1, $2, * FROM unnest($3::text[], $4::bytea[])"
    )))
    .bind(model.name)
    .bind(fault.code())
    .bind(keys)
    .bind(ids)
    .execute(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))
    .map(drop)
}

/// Names the rows of the target that no document has given.
pub(super) async fn extra_rows(
    context: &Context,
    connection: &mut Connection,
    compared: &Compared,
    part: Part,
    table: &mut TableReport,
) -> Result<()> {
    let model = compared.model;
    if compared.seen.left() == 0 {
        return Ok(());
    }
    // Their keys are gone with the hash, so the table's keys are gone through once more.
    let act = format!("naming rows of {}", model.table);
    let id = id_column(model);
    let name = quote_ident(id.name);
    let query = format!("SELECT {name}, {name}::text FROM {}", context.names().table(model));
    // The other connection is for what is kept meanwhile.
    let mut reader = needed_connection(context).await?;
    let mut first: BTreeSet<String> = BTreeSet::new();
    let mut page = Vec::new();
    let mut form = Vec::new();
    {
        let mut tuples = Tuples::open(&mut reader, act, &query).await?;
        while let Some(tuple) = tuples.next().await? {
            let size = u32::from_be_bytes([tuple[2], tuple[3], tuple[4], tuple[5]]) as usize;
            let text = String::from_utf8_lossy(&tuple[6 + size + 4..]).into_owned();
            let key = match &compared.path {
                Some(path) => independent::key_hash(&path.found(path.id_column(), &text)),
                None => {
                    form.clear();
                    canonical::append(id.ty, &tuple[6..6 + size], &mut form);
                    xxh3_64(&form)
                }
            };
            if !part.has(key) || !compared.seen.is_left(key) {
                continue;
            }
            table.extra.count += 1;
            page.push((text.clone(), None));
            first.insert(text);
            if first.len() + table.extra.first.len() > MOST_NAMED {
                first.pop_last();
            }
            if page.len() >= PAGE {
                keep(connection, model, Fault::Extra, std::mem::take(&mut page)).await?;
            }
        }
    }
    reader.close().await;
    keep(connection, model, Fault::Extra, page).await?;
    let first: Vec<String> = first.into_iter().collect();
    let shown = shown_ids(context, connection, model, &first).await?;
    table.extra.first.extend(first.into_iter().map(|key| {
        let source_id = shown.get(&key).cloned().unwrap_or_default();
        RowDifference { key, source_id }
    }));
    Ok(())
}

/// The `_id`s that rows' keys give back, for people.
pub(super) async fn shown_ids(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    keys: &[String],
) -> Result<HashMap<String, String>> {
    let ids = settle::source_ids(context, connection, model, keys).await?;
    let shown =
        ids.into_iter().filter_map(|(key, ids)| Some((key, source_id::display(ids.first()?))));
    Ok(shown.collect())
}

/// The first column of rows, which is text.
pub(super) fn texts(act: &str, rows: &[PgRow]) -> Result<Vec<String>> {
    rows.iter().map(|row| row.try_get(0).map_err(|error| target_error(act, error))).collect()
}
