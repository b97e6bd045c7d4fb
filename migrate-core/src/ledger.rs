//! The ledger: rejected documents and orphans, written down in the transaction that leaves them
//! out.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::cell::extended_json;
use crate::copy::{HEADER, TRAILER};
use crate::error::Result;
use crate::feed::shown_document;
use crate::reject::{Reason, Reject, Stage};
use crate::schema::quote_ident;
use crate::sink::{Connection, send, target_error};
use crate::state::State;

/// Cells from this size on are sent from where they lie.
const LARGE_BYTES: usize = 256 << 10;

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The run that has rejected the document.
    pub run: i64,
    /// The schema of the table it was meant for.
    pub schema: String,
    /// When it was rejected, in RFC 3339.
    pub time: String,
    /// What was rejected, and why.
    pub reject: Reject,
}

impl Entry {
    /// The columns that [`Entry::from_row`] reads, in its order.
    pub(crate) const COLUMNS: &'static str =
        "run, table_schema, table_name, collection, source_id, stage, reason, field, message,
        document, to_char(rejected_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

    /// The entry of a row of [`Entry::COLUMNS`].
    pub(crate) fn from_row(row: &PgRow) -> Result<Self> {
        let get = |error| target_error("reading the ledger", error);
        let text = |index: usize| row.try_get::<String, _>(index).map_err(get);
        Ok(Self {
            run: row.try_get(0).map_err(get)?,
            schema: text(1)?,
            reject: Reject {
                table: text(2)?,
                collection: text(3)?,
                source_id: text(4)?,
                stage: Stage::from_code(&text(5)?),
                reason: Reason::from_code(&text(6)?),
                field: text(7)?,
                message: text(8)?,
                document: row.try_get(9).map_err(get)?,
            },
            time: text(10)?,
        })
    }
}

/// An orphan that the load found: an element of a junction array that is no id.
#[derive(Clone, Debug)]
pub struct OrphanNote {
    /// The schema of the junction's table.
    pub schema: String,
    /// The junction's table.
    pub table: String,
    /// The junction's column it was meant for.
    pub column: String,
    /// The key of the row that has the array, as text.
    pub row_key: String,
    /// The element, described.
    pub value: String,
    /// The pair's position, where the array gives it.
    pub position: Option<i32>,
}

/// Gives every entry of a run to `each`, without keeping them.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn of_run(
    connection: &mut Connection,
    state: &State,
    run: i64,
    mut each: impl FnMut(Entry),
) -> Result<()> {
    let sql = format!(
        "SELECT {} FROM {} WHERE run = {run} ORDER BY rejected_at, table_schema, table_name, source_id",
        Entry::COLUMNS,
        state.table("reject")
    );
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch(connection.raw());
    while let Some(row) =
        rows.try_next().await.map_err(|error| target_error("reading the ledger", error))?
    {
        each(Entry::from_row(&row)?);
    }
    Ok(())
}

/// Writes rejects down in the caller's transaction. Their tables are in `schema`; `chunk` is the chunk they belong to; `None`
/// after the load.
///
/// # Errors
/// When the server refuses.
pub async fn insert_rejects(
    connection: &mut Connection,
    state: &State,
    run: i64,
    schema: &str,
    chunk: Option<i64>,
    rejects: &[Reject],
) -> Result<()> {
    const ACT: &str = "writing rejects into the ledger";
    if rejects.is_empty() {
        return Ok(());
    }
    let failed = |error| target_error(ACT, error);
    let statement = format!(
        "COPY {} (run, chunk, table_schema, table_name, collection, source_id, stage, reason,
            field, message, document, document_json) FROM STDIN (FORMAT binary)",
        state.table("reject")
    );
    let mut copy = connection.raw().copy_in_raw(&statement).await.map_err(failed)?;
    let mut bytes = HEADER.to_vec();
    // Documents go one after the other, because they may be large, and their JSON more so.
    for reject in rejects {
        bytes.extend_from_slice(&12_i16.to_be_bytes());
        add_cell(&mut bytes, Some(&run.to_be_bytes()));
        add_cell(&mut bytes, chunk.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        let texts = [
            schema,
            &reject.table,
            &reject.collection,
            &reject.source_id,
            reject.stage.code(),
            reject.reason.code(),
            &reject.field,
            &reject.message,
        ];
        for text in texts {
            add_cell(&mut bytes, Some(storable(text).as_bytes()));
        }
        if reject.document.len() < LARGE_BYTES {
            add_cell(&mut bytes, Some(&reject.document));
        } else {
            bytes.extend_from_slice(&(reject.document.len() as u32).to_be_bytes());
            send(&mut copy, &bytes).await.map_err(failed)?;
            bytes.clear();
            send(&mut copy, &reject.document).await.map_err(failed)?;
        }
        let json = canonical_json(&reject.document);
        match &json {
            Some(json) if json.len() >= LARGE_BYTES => {
                bytes.extend_from_slice(&(json.len() as u32).to_be_bytes());
                send(&mut copy, &bytes).await.map_err(failed)?;
                bytes.clear();
                send(&mut copy, json.as_bytes()).await.map_err(failed)?;
            }
            json => add_cell(&mut bytes, json.as_ref().map(String::as_bytes)),
        }
        if bytes.len() >= LARGE_BYTES {
            send(&mut copy, &bytes).await.map_err(failed)?;
            bytes.clear();
        }
    }
    bytes.extend_from_slice(&TRAILER);
    send(&mut copy, &bytes).await.map_err(failed)?;
    copy.finish().await.map(drop).map_err(failed)
}

/// Adds a cell of a tuple of COPY.
fn add_cell(out: &mut Vec<u8>, cell: Option<&[u8]>) {
    match cell {
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

/// Writes orphaned elements down in the caller's transaction, in a table of the ledger's form.
///
/// # Errors
/// When the server refuses.
pub async fn insert_orphans(
    connection: &mut Connection,
    table: &str,
    run: i64,
    orphans: &[OrphanNote],
) -> Result<()> {
    for orphans in orphans.chunks(10_000) {
        let text = |pick: fn(&OrphanNote) -> &str| -> Vec<String> {
            orphans.iter().map(|orphan| storable(pick(orphan)).into_owned()).collect()
        };
        let sql = format!(
            "INSERT INTO {table} (run, table_schema, table_name, column_name, row_key, value, element,
                position)
             SELECT {run}, s, t, c, k, v, true, p
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
                AS new (s, t, c, k, v, p)"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(text(|orphan| &orphan.schema))
            .bind(text(|orphan| &orphan.table))
            .bind(text(|orphan| &orphan.column))
            .bind(text(|orphan| &orphan.row_key))
            .bind(text(|orphan| &orphan.value))
            .bind(orphans.iter().map(|orphan| orphan.position).collect::<Vec<_>>())
            .execute(connection.raw())
            .await
            .map_err(|error| target_error("writing orphans into the ledger", error))?;
    }
    Ok(())
}

/// A document as people know it in canonical Extended JSON, every one of two equal keys included; `None` when it is
/// not there any more.
pub fn canonical_json(document: &[u8]) -> Option<String> {
    (!document.is_empty()).then(|| extended_json(&shown_document(document)))
}

/// Text without U+0000, which PostgreSQL's text cannot hold; the document itself is kept as bytes.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Counts of what the state notes, by the table in SQL and a word: from a query for the schema, the
/// table, the word and the count.
pub(crate) async fn by_table(
    connection: &mut Connection,
    sql: &str,
) -> Result<HashMap<String, BTreeMap<String, u64>>> {
    const ACT: &str = "adding up the ledger";
    let get = |error| target_error(ACT, error);
    let mut counts: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
    for row in &connection.query(ACT, sql, &[]).await? {
        let schema: String = row.try_get(0).map_err(get)?;
        let table: String = row.try_get(1).map_err(get)?;
        let word: String = row.try_get(2).map_err(get)?;
        let count: i64 = row.try_get(3).map_err(get)?;
        let table = format!("{}.{}", quote_ident(&schema), quote_ident(&table));
        counts.entry(table).or_default().insert(word, count.unsigned_abs());
    }
    Ok(counts)
}
