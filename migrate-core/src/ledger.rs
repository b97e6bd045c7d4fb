//! The ledger: rejected documents and orphans, written down in the transaction that leaves them
//! out.

use crate::error::Result;
use crate::reject::Reject;
use crate::sink::{Connection, target_error};
use crate::state::State;

/// An orphan that the load found: an element of a junction array that is no id.
#[derive(Clone, Debug)]
pub struct OrphanNote {
    /// The junction's table.
    pub table: String,
    /// The junction's column it was meant for.
    pub column: String,
    /// The key of the row that has the array, as text.
    pub row_key: String,
    /// The element, described.
    pub value: String,
}

/// Writes rejects down in the caller's transaction. `chunk` is the chunk they belong to; `None`
/// after the load.
///
/// # Errors
/// When the server refuses.
pub async fn insert_rejects(
    connection: &mut Connection,
    state: &State,
    run: i64,
    chunk: Option<i64>,
    rejects: &[Reject],
) -> Result<()> {
    /// Documents of at most this size travel in one statement.
    const STATEMENT_BYTES: usize = 4 << 20;
    let mut start = 0;
    while start < rejects.len() {
        let mut end = start;
        let mut bytes = 0;
        while end < rejects.len() && (end == start || bytes < STATEMENT_BYTES) {
            bytes += rejects[end].document.len();
            end += 1;
        }
        insert_block(connection, state, run, chunk, &rejects[start..end]).await?;
        start = end;
    }
    Ok(())
}

async fn insert_block(
    connection: &mut Connection,
    state: &State,
    run: i64,
    chunk: Option<i64>,
    rejects: &[Reject],
) -> Result<()> {
    let text = |pick: fn(&Reject) -> &str| -> Vec<String> {
        rejects.iter().map(|reject| storable(pick(reject))).collect()
    };
    let sql = format!(
        "INSERT INTO {} (run, chunk, table_name, collection, source_id, stage, reason, field,
            message, document, document_json)
         SELECT {run}, {}, t, c, i, s, r, f, m, d, j::json
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::bytea[], $9::text[]) AS new (t, c, i, s, r, f, m, d, j)",
        state.table("reject"),
        chunk.map_or("NULL".to_owned(), |chunk| chunk.to_string()),
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(text(|reject| &reject.table))
        .bind(text(|reject| &reject.collection))
        .bind(text(|reject| &reject.source_id))
        .bind(text(|reject| reject.stage.code()))
        .bind(text(|reject| reject.reason.code()))
        .bind(text(|reject| &reject.field))
        .bind(text(|reject| &reject.message))
        .bind(rejects.iter().map(|reject| reject.document.clone()).collect::<Vec<_>>())
        .bind(rejects.iter().map(|reject| canonical_json(&reject.document)).collect::<Vec<_>>())
        .execute(connection.raw())
        .await
        .map_err(|error| target_error("writing rejects into the ledger", error))?;
    Ok(())
}

/// Writes orphaned elements down in the caller's transaction.
///
/// # Errors
/// When the server refuses.
pub async fn insert_orphans(
    connection: &mut Connection,
    state: &State,
    run: i64,
    orphans: &[OrphanNote],
) -> Result<()> {
    for orphans in orphans.chunks(10_000) {
        let text = |pick: fn(&OrphanNote) -> &str| -> Vec<String> {
            orphans.iter().map(|orphan| storable(pick(orphan))).collect()
        };
        let sql = format!(
            "INSERT INTO {} (run, table_name, column_name, row_key, value, element)
             SELECT {run}, t, c, k, v, true
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (t, c, k, v)",
            state.table("orphan"),
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(text(|orphan| &orphan.table))
            .bind(text(|orphan| &orphan.column))
            .bind(text(|orphan| &orphan.row_key))
            .bind(text(|orphan| &orphan.value))
            .execute(connection.raw())
            .await
            .map_err(|error| target_error("writing orphans into the ledger", error))?;
    }
    Ok(())
}

/// A document in canonical Extended JSON, every one of two equal keys included; `None` when it is
/// not there any more.
pub fn canonical_json(document: &[u8]) -> Option<String> {
    (!document.is_empty()).then(|| crate::cell::extended_json(document))
}

/// Text without U+0000, which PostgreSQL's text cannot hold; the document itself is kept as bytes.
fn storable(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}
