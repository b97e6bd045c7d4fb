//! Elements of rejected documents whose parent's key another document's row has.
//!
//! A child's row that points to nothing is an orphan. Where two documents come to one key and only
//! one of them is loaded, the elements of the other point to a row all the same, which is not
//! theirs; they are found by their way back.

use std::collections::HashMap;

use bson::Bson;
use sqlx::{AssertSqlSafe, Row as _};

use crate::context::Context;
use crate::ddl::foreign_keys;
use crate::error::Result;
use crate::feed::{self, Feed, Piece};
use crate::kept;
use crate::reject::Reason;
use crate::schema::{BaseType, Model, ModelKind, quote_ident, quote_literal};
use crate::settle::{self, Loser, field_of, id_column};
use crate::sink::{Connection, target_error};
use crate::source::Batch;
use crate::source_id;
use crate::transform::{Output, Scratch, Transformer};

/// How many rejects are named at a time.
const NAMED: usize = 1_000;
/// How many bytes of rejected documents are in memory at a time, unless one alone is larger.
const SLICE_BYTES: usize = 4 << 20;

/// Rejects the rows of `table` that are elements of rejected documents of the parent's model; gives
/// their number. `table` is the model's own, or the temporary one of a chunk.
pub(crate) async fn reject(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
) -> Result<u64> {
    let Some((parent, _)) = model.parent() else { return Ok(0) };
    let id = id_column(model).ty.base;
    if !matches!(
        id,
        BaseType::Uuid | BaseType::Text | BaseType::Int2 | BaseType::Int4 | BaseType::Int8
    ) {
        return Ok(0);
    }
    let act = format!("looking for elements of rejected documents in {}", model.table);
    let get = |error| target_error(&act, error);
    let ledger = context.state.table("reject");
    let noted = context.names().is_noted(parent);
    let Some(doubles) = doubles(context, parent) else { return Ok(0) };
    connection
        .execute(
            &act,
            format!(
                "DECLARE stray NO SCROLL CURSOR FOR SELECT ctid::text, octet_length(document)
                 FROM {ledger} WHERE {noted} AND octet_length(document) > 0 AND {doubles}"
            ),
        )
        .await?;
    let mut rejected = 0;
    loop {
        let rows = connection.query(&act, format!("FETCH {NAMED} FROM stray"), &[]).await?;
        if rows.is_empty() {
            break;
        }
        let mut slice: Vec<String> = Vec::new();
        let mut bytes = 0;
        for row in &rows {
            let length: i32 = row.try_get(1).map_err(get)?;
            if bytes > 0 && bytes + length.unsigned_abs() as usize > SLICE_BYTES {
                let slice = std::mem::take(&mut slice);
                rejected += reject_slice(context, connection, model, table, &slice).await?;
                bytes = 0;
            }
            bytes += length.unsigned_abs() as usize;
            slice.push(row.try_get(0).map_err(get)?);
        }
        rejected += reject_slice(context, connection, model, table, &slice).await?;
    }
    connection.execute(&act, "CLOSE stray").await?;
    Ok(rejected)
}

/// The condition, in SQL, on entries of the ledger whose documents may have come to the key of
/// another one; none where no two documents of the model come to one key.
fn doubles(context: &Context, parent: &'static Model) -> Option<String> {
    if parent.kind == ModelKind::Child || !parent.further_collections.is_empty() {
        return Some("true".to_owned());
    }
    // An ObjectId, and the text of its digits or of its UUID. What is no ObjectId is in the id map
    // where it was loaded.
    (id_column(parent).ty.base == BaseType::Uuid).then(|| {
        format!(
            "(source_id !~ '^[0-9a-f]{{24}}$' OR EXISTS (SELECT FROM {} WHERE collection = {}))",
            context.state.table("id_map"),
            quote_literal(Feed::of(parent).label())
        )
    })
}

/// Does it for the documents of these entries of the ledger.
async fn reject_slice(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    table: &str,
    entries: &[String],
) -> Result<u64> {
    let act = format!("looking for elements of rejected documents in {}", model.table);
    let get = |error| target_error(&act, error);
    let sql = format!(
        "SELECT document FROM {} WHERE ctid = ANY ($1::text[]::tid[])",
        context.state.table("reject")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(entries);
    let rows = rows.fetch_all(connection.raw()).await.map_err(get)?;
    let transformer = context.transformer(model)?.clone();
    let mut elements = Elements { scratch: transformer.scratch(), found: Vec::new() };
    for row in &rows {
        let document: Vec<u8> = row.try_get(0).map_err(get)?;
        elements.add(&transformer, &document);
    }
    let Some(foreign) = foreign_keys(model)
        .into_iter()
        .find(|foreign| matches!(foreign.column.keys, [key] if *key == feed::PARENT))
    else {
        return Ok(0);
    };
    // Those that point to nothing are orphans, and seen to as such.
    let id = quote_ident(id_column(model).name);
    let sql = format!(
        "SELECT t.{id}::text, p.{key}::text FROM {table} t
         JOIN {} p ON p.{key} = t.{} WHERE t.{id} = ANY ($1::text[]::{}[])",
        context.names().table(foreign.target),
        quote_ident(foreign.column.name),
        context.names().column_type(id_column(model)),
        key = quote_ident(foreign.key.name),
    );
    let keys: Vec<&str> = elements.found.iter().map(|(key, _)| key.as_str()).collect();
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(&keys);
    let rows = rows.fetch_all(connection.raw()).await.map_err(get)?;
    let mut there: Vec<(String, String)> = Vec::with_capacity(rows.len());
    for row in &rows {
        there.push((row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?));
    }
    let keys: Vec<String> = there.iter().map(|(key, _)| key.clone()).collect();
    let mut sources = settle::source_ids(context, connection, model, &keys).await?;
    if table == kept::TABLE {
        sources.extend(kept::own_ids(connection, model, &keys).await?);
    }
    // An element of another document may have the same key; of several the first was loaded.
    let is_own =
        |key: &str, locator: &Bson| sources.get(key).and_then(|ids| ids.first()) == Some(locator);
    let mut found: HashMap<&str, Vec<&Bson>> = HashMap::new();
    for (key, locator) in &elements.found {
        found.entry(key).or_default().push(locator);
    }
    let mut losers = Vec::new();
    for (key, parent) in there {
        let locators = found.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
        if locators.iter().any(|locator| is_own(&key, locator)) {
            losers.push(Loser {
                key,
                reason: Reason::Orphan,
                field: field_of(foreign.column),
                message: format!(
                    "expected the {} of its own document's row in {}, found {parent}, which is another document's",
                    foreign.key.name, foreign.target.table
                ),
            });
        }
    }
    settle::reject_rows(context, connection, model, table, losers).await
}

/// The elements of rejected documents: the key of the row that each becomes, and its locator.
struct Elements {
    scratch: Scratch,
    found: Vec<(String, Bson)>,
}

impl Elements {
    /// Adds those that a document holds for the transformer's model.
    fn add(&mut self, transformer: &Transformer, document: &[u8]) {
        let model = transformer.model();
        let id = id_column(model);
        let Some(index) = model.columns.iter().position(|column| column.name == id.name) else {
            return;
        };
        let mut out = Output::default();
        let mut take = |batch: Batch| {
            for element in batch.iter() {
                let element = feed::with_whole_locator(element);
                transformer.transform(&mut self.scratch, &element, &mut out);
            }
            for row in 0..out.row_count() {
                let locator = out.row_id(row).and_then(|id| id.to_bson().ok());
                if let (Some(locator), Some(payload)) = (locator, cell(out.row(row), index)) {
                    self.found.push((source_id::key_text(id, payload), locator));
                }
            }
            out.clear();
            true
        };
        let mut piece = Piece::new(&mut take);
        Feed::below(model).unwind(document, &mut piece);
        piece.pass_on();
    }
}

/// The payload of a tuple's cell.
fn cell(tuple: &[u8], index: usize) -> Option<&[u8]> {
    let mut rest = tuple.get(2..)?;
    for _ in 0..index {
        let length = i32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
        rest = rest.get(4 + usize::try_from(length).unwrap_or(0)..)?;
    }
    let length = i32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    rest.get(4..4 + usize::try_from(length).ok()?)
}
