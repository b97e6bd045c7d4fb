//! The second look: rows whose hash was not found are judged by PostgreSQL, cell by cell, and the
//! rows of the target that no document has given are named.
//!
//! However much differs, a page of it is in memory at a time, and of each table the first
//! [`MOST_NAMED`](super::MOST_NAMED) differences.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use xxhash_rust::xxh3::xxh3_128;

use super::references::Nulled;
use super::rows::{Compared, Part, tuple_length};
use super::{CellDifference, MOST_NAMED, RowDifference, TableReport, canonical};
use crate::context::Context;
use crate::ddl::{Foreign, foreign_keys, list};
use crate::error::Result;
use crate::schema::{BaseType, CellType, Column, Model, Orphan, quote_ident, quote_literal};
use crate::settle::{self, id_column};
use crate::sink::{Connection, target_error};
use crate::source_id;

/// How many differences are read at a time.
const PAGE: usize = 1_000;
/// How much of a value is shown, in characters.
const SHOWN: usize = 10_000;

/// Where the keys of what differs are kept for a repair, while the connection lives.
pub(super) const REPAIRS: &str = "pg_temp.repair_key";

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
                "DROP TABLE IF EXISTS {0}; CREATE TEMPORARY TABLE {1} AS SELECT {2} FROM {3} WITH NO DATA",
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

/// Sends rows that were not found.
pub(super) async fn send(
    connection: &mut Connection,
    model: &'static Model,
    rows: &[u8],
) -> Result<()> {
    let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
    let statement =
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", suspects_table(model), list(&columns));
    let act = format!("taking a second look at {}", model.table);
    connection.copy(&act, &statement, rows).await.map(drop)
}

/// Lets PostgreSQL judge the rows whose hash was not found; drops them afterwards.
pub(super) async fn judge(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    nulled: &mut Nulled,
    table: &mut TableReport,
) -> Result<()> {
    let names = context.names();
    let act = format!("taking a second look at {}", model.table);
    let suspects = suspects_table(model);
    let target = names.table(model);
    let id = quote_ident(id_column(model).name);
    connection.execute(&act, format!("ANALYZE {suspects}; BEGIN")).await?;

    // Documents without a row: right when the ledger has them.
    let mut missing = Cursor::open(
        connection,
        &act,
        &format!("missing_{}", model.name),
        &format!(
            "SELECT s.{id}::text FROM {suspects} s
             WHERE NOT EXISTS (SELECT FROM {target} t WHERE t.{id} = s.{id}) ORDER BY 1"
        ),
    )
    .await?;
    while let Some(rows) = missing.page(connection).await? {
        let keys = texts(&act, &rows)?;
        let known = known(context, connection, model, &keys).await?;
        let mut lost = Vec::new();
        for key in keys {
            let known = known.get(&key).cloned().unwrap_or_default();
            if !known.in_ledger {
                lost.push(key.clone());
                table.missing.push(RowDifference { key, source_id: known.source_id });
            }
        }
        keep(connection, model, Fault::Missing, &lost).await?;
    }

    // Rows with a cell that differs, column by column, each judged as a value.
    let foreign: Vec<Foreign> = foreign_keys(model);
    let mut lost_references = Vec::new();
    let columns: Vec<String> = model
        .columns
        .iter()
        .map(|column| {
            let name = quote_ident(column.name);
            let cast = if is_label(column) { "::text" } else { "" };
            let mut differs = format!("s.{name} IS DISTINCT FROM t.{name}{cast}");
            // A reference to nothing is rightly NULL, when the model says so.
            if let Some(foreign) = foreign.iter().find(|foreign| foreign.column.name == column.name)
                && (foreign.orphan == Orphan::Null
                    || (foreign.orphan == Orphan::Default && column.nullable))
            {
                let lost = format!(
                    "(s.{name} IS NOT NULL AND t.{name} IS NULL AND NOT EXISTS
                        (SELECT FROM {} p WHERE p.{} = s.{name}))",
                    names.table(foreign.target),
                    quote_ident(foreign.key.name)
                );
                differs = format!("({differs} AND NOT {lost})");
                lost_references.push((column.name, lost));
            }
            format!(
                "({}, {differs}, left(s.{name}::text, {SHOWN}), left(t.{name}::text, {SHOWN}))",
                quote_literal(column.name)
            )
        })
        .collect();
    if !lost_references.is_empty() {
        let counts: Vec<String> = lost_references
            .iter()
            .map(|(_, lost)| format!("count(*) FILTER (WHERE {lost})"))
            .collect();
        let rows = connection
            .query(
                &act,
                format!(
                    "SELECT {} FROM {suspects} s JOIN {target} t ON t.{id} = s.{id}",
                    counts.join(", ")
                ),
                &[],
            )
            .await?;
        for (index, (column, _)) in lost_references.iter().enumerate() {
            if let Some(row) = rows.first() {
                let count: i64 = row.try_get(index).map_err(|error| target_error(&act, error))?;
                nulled.add(model, column, count.unsigned_abs());
            }
        }
    }
    let mut cells = Cursor::open(
        connection,
        &act,
        &format!("cells_{}", model.name),
        &format!(
            "SELECT s.{id}::text, c.name, c.source, c.target
             FROM {suspects} s JOIN {target} t ON t.{id} = s.{id}
             CROSS JOIN LATERAL (VALUES {}) AS c (name, differs, source, target)
             WHERE c.differs ORDER BY 1, 2",
            columns.join(", ")
        ),
    )
    .await?;
    while let Some(rows) = cells.page(connection).await? {
        let keys = texts(&act, &rows)?;
        // Two documents may have come to one key; the one that was not loaded is in the ledger.
        let known = known(context, connection, model, &keys).await?;
        let mut differing = BTreeSet::new();
        for (row, key) in rows.iter().zip(keys) {
            let known = known.get(&key).cloned().unwrap_or_default();
            if known.in_ledger {
                continue;
            }
            differing.insert(key.clone());
            let get = |error| target_error(&act, error);
            table.cells.push(CellDifference {
                source_id: known.source_id,
                key,
                column: row.try_get(1).map_err(get)?,
                source: row.try_get(2).map_err(get)?,
                target: row.try_get(3).map_err(get)?,
            });
        }
        let differing: Vec<String> = differing.into_iter().collect();
        keep(connection, model, Fault::Differs, &differing).await?;
    }
    connection.execute(&act, format!("COMMIT; DROP TABLE {suspects}")).await.map(drop)
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

/// Keeps the keys of rows that a repair is to mend, if one is wanted.
pub(super) async fn keep(
    connection: &mut Connection,
    model: &Model,
    fault: Fault,
    keys: &[String],
) -> Result<()> {
    const ACT: &str = "keeping keys for a repair";
    if keys.is_empty()
        || connection.count(ACT, format!("SELECT count(to_regclass('{REPAIRS}'))"), &[]).await? == 0
    {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO {REPAIRS} (model, fault, key) SELECT $1, $2, unnest($3::text[])"
    )))
    .bind(model.name)
    .bind(fault.code())
    .bind(keys)
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
    let unseen: HashSet<u128> = compared.seen.unseen();
    if unseen.is_empty() {
        return Ok(());
    }
    // Their keys are gone with the hash, so the table's keys are gone through once more.
    let act = format!("naming rows of {}", model.table);
    let id = id_column(model);
    let name = quote_ident(id.name);
    let statement = format!(
        "COPY (SELECT {name}, {name}::text FROM {}) TO STDOUT (FORMAT binary)",
        context.names().table(model)
    );
    // The other connection is for what is kept meanwhile.
    let mut reader = context.target.connect().await?;
    let mut first: BTreeSet<String> = BTreeSet::new();
    let mut page = Vec::new();
    {
        let mut stream = reader
            .raw()
            .copy_out_raw(&statement)
            .await
            .map_err(|error| target_error(&act, error))?;
        let mut buffer: Vec<u8> = Vec::new();
        let mut start = crate::copy::HEADER.len();
        let mut form = Vec::new();
        while let Some(piece) =
            stream.try_next().await.map_err(|error| target_error(&act, error))?
        {
            buffer.extend_from_slice(&piece);
            while let Some(length) = tuple_length(buffer.get(start..).unwrap_or_default()) {
                let tuple = &buffer[start..start + length];
                start += length;
                let size = u32::from_be_bytes([tuple[2], tuple[3], tuple[4], tuple[5]]) as usize;
                form.clear();
                canonical::append(id.ty, &tuple[6..6 + size], &mut form);
                let key = xxh3_128(&form);
                if !part.has(key) || !unseen.contains(&key) {
                    continue;
                }
                let text = String::from_utf8_lossy(&tuple[6 + size + 4..]).into_owned();
                table.extra.count += 1;
                page.push(text.clone());
                first.insert(text);
                if first.len() + table.extra.first.len() > MOST_NAMED {
                    first.pop_last();
                }
            }
            if start <= buffer.len() {
                buffer.drain(..start);
                start = 0;
            }
            if page.len() >= PAGE {
                keep(connection, model, Fault::Extra, &page).await?;
                page.clear();
            }
        }
    }
    reader.close().await;
    keep(connection, model, Fault::Extra, &page).await?;
    let first: Vec<String> = first.into_iter().collect();
    let known = known(context, connection, model, &first).await?;
    table.extra.first.extend(first.into_iter().map(|key| {
        let source_id = known.get(&key).map(|known| known.source_id.clone()).unwrap_or_default();
        RowDifference { key, source_id }
    }));
    Ok(())
}

/// What the state knows of a row's document.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The `_id` that the key gives back, for people.
    pub(super) source_id: String,
    /// Whether the document is in the ledger.
    pub(super) in_ledger: bool,
}

/// The documents of rows, by the rows' keys.
pub(super) async fn known(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    keys: &[String],
) -> Result<HashMap<String, Known>> {
    const ACT: &str = "looking into the ledger";
    let mut found: HashMap<String, Known> = HashMap::new();
    for keys in keys.chunks(5_000) {
        let ids = settle::source_ids(context, connection, model, keys).await?;
        let shown: Vec<(String, String)> = ids
            .iter()
            .flat_map(|(key, ids)| ids.iter().map(move |id| (source_id::display(id), key.clone())))
            .collect();
        let wanted: Vec<&str> = shown.iter().map(|(shown, _)| shown.as_str()).collect();
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT source_id FROM {} WHERE table_name = $1 AND source_id = ANY ($2::text[])",
            context.state.table("reject")
        )))
        .bind(model.table)
        .bind(&wanted)
        .fetch_all(connection.raw())
        .await
        .map_err(|error| target_error(ACT, error))?;
        let there: HashSet<String> = texts(ACT, &rows)?.into_iter().collect();
        for (shown, key) in shown {
            let entry = found.entry(key).or_default();
            entry.in_ledger |= there.contains(&shown);
            if entry.source_id.is_empty() {
                entry.source_id = shown;
            }
        }
    }
    Ok(found)
}

/// The first column of rows, which is text.
pub(super) fn texts(act: &str, rows: &[PgRow]) -> Result<Vec<String>> {
    rows.iter().map(|row| row.try_get(0).map_err(|error| target_error(act, error))).collect()
}
