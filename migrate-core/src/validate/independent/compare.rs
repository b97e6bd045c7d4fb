//! The walk over the source with the second path: each document's row is asked for by its key and
//! compared as text.

use std::collections::HashMap;
use std::sync::PoisonError;

use bson::{Bson, RawDocument};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::{Expected, Owner, Path, Refusal, Row, SETTINGS};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::schema::{Model, quote_ident, quote_literal};
use crate::settle::id_column;
use crate::sink::{Connection, target_error};
use crate::source::{Batch, Range};
use crate::source_id;
use crate::validate::look::Cursor;
use crate::validate::rows::{Compared, Found, Part};
use crate::validate::{CellDifference, Judged, RowDifference};

/// How many documents are compared at a time, and how many bytes of them.
const SLICE: usize = 500;
const SLICE_BYTES: usize = 4 << 20;

/// The hash of a key in the form of [`Path::found`].
pub(crate) fn key_hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// Puts the keys of a table into the table of rows that are still to be given.
pub(crate) async fn scan(
    connection: &mut Connection,
    context: &Context,
    compared: &Compared,
    path: &Path,
    part: Part,
) -> Result<()> {
    let model = compared.model;
    let act = format!("reading the keys of {}", model.table);
    let query = format!(
        "SELECT {}::text FROM {}",
        quote_ident(id_column(model).name),
        context.names().table(model)
    );
    connection.execute(&act, format!("{SETTINGS}; BEGIN")).await?;
    let mut cursor =
        Cursor::open(connection, &act, &format!("keys_{}", model.name), &query).await?;
    let mut keys = Vec::new();
    while let Some(rows) = cursor.page(connection).await? {
        for row in &rows {
            let key: String = row.try_get(0).map_err(|error| target_error(&act, error))?;
            let key = key_hash(&path.found(path.id_column(), &key));
            if part.has(key) {
                keys.push((key, 0));
            }
        }
    }
    compared.seen.extend(keys);
    connection.execute(&act, "COMMIT").await.map(drop)
}

/// A document and what the second path makes of it.
struct Item {
    source_id: String,
    /// The key, where the `_id` gives one.
    key: Option<String>,
    outcome: std::result::Result<Row, Refusal>,
}

/// Reads a range of the source and compares each document with its row.
pub(crate) async fn read(
    connection: &mut Connection,
    context: &Context,
    compared: &Compared,
    path: &Path,
    (collection, range): (&'static str, Range),
    part: Part,
    results: &mpsc::Sender<Found>,
) -> Result<()> {
    let model = compared.model;
    connection.execute("preparing a comparison", SETTINGS).await?;
    let (sender, mut batches) = mpsc::channel::<Batch>(2);
    let reader = tokio::spawn({
        let source = std::sync::Arc::clone(&context.source);
        async move { source.read(collection, &range, sender).await }
    });
    let mut items = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = batches.recv().await {
        let mut found = Found::new(model);
        let mut skipped = 0;
        for document in batch.iter() {
            let item = match path.owner(document) {
                Owner::This => item(path, collection, document),
                Owner::Nobody => nobodys(path, collection, document),
                Owner::Another => {
                    skipped += 1;
                    continue;
                }
            };
            if part.pass == 0 {
                add_elements(compared, &item, path, &mut found);
            }
            let hash = item.key.as_deref().map(key_hash);
            let is_ours = hash.map_or(part.pass == 0, |hash| part.has(hash));
            if compared.has_rows && is_ours {
                items.push(item);
                bytes += document.len();
            }
            if items.len() >= SLICE || bytes >= SLICE_BYTES {
                compare(connection, context, compared, path, std::mem::take(&mut items)).await?;
                bytes = 0;
            }
        }
        if part.pass == 0 {
            compared.add_documents(batch.len() as u64, skipped);
            context.reporter.event(&Event::Progress {
                table: model.table,
                documents: batch.len() as u64,
                bytes: batch.bytes_len() as u64,
            });
        }
        if results.send(found).await.is_err() {
            return Ok(());
        }
        context.check_stop()?;
    }
    compare(connection, context, compared, path, items).await?;
    reader
        .await
        .map_err(|error| Error::new(ErrorKind::Source, "the reader broke off").caused_by(error))?
}

fn item(path: &Path, collection: &str, bytes: &[u8]) -> Item {
    let id = RawDocument::from_bytes(bytes)
        .ok()
        .and_then(|raw| raw.get("_id").ok().flatten())
        .and_then(|id| Bson::try_from(id).ok());
    let source_id = id.as_ref().map(source_id::display).unwrap_or_default();
    let mut source_id = source_id.replace('\0', "\u{fffd}");
    if !path.model().further_collections.is_empty() {
        source_id = format!("{collection}/{source_id}");
    }
    let key = id.as_ref().and_then(|id| path.key(id));
    let row = |document| path.row(&path.gather(document, collection));
    let outcome = path.decode(bytes).and_then(row);
    Item { source_id, key, outcome }
}

/// A document that no model of the collection takes.
fn nobodys(path: &Path, collection: &str, bytes: &[u8]) -> Item {
    let refusal = Refusal { field: String::new(), reason: "no_model" };
    Item { outcome: Err(refusal), ..item(path, collection, bytes) }
}

/// Adds the pairs that a document's arrays ask for.
fn add_elements(compared: &Compared, item: &Item, path: &Path, found: &mut Found) {
    let (Ok(row), Some(key)) = (&item.outcome, &item.key) else { return };
    let is_double = compared.doubles.get(&item.source_id);
    if is_double == Some(&false) {
        return;
    }
    for (index, field) in compared.model.junctions.iter().enumerate() {
        found.elements[index] += row.elements[index].len() as u64;
        if is_double.is_some() || path.elements[index].is_none() {
            continue;
        }
        let own_first = field.sides(compared.model).0 == 0;
        let elements = row.elements[index].iter().zip(0..);
        found.texts[index].extend(elements.filter_map(|(element, place)| {
            let element = element.clone()?;
            let pair = match own_first {
                true => [key.clone(), element],
                false => [element, key.clone()],
            };
            Some((pair, place))
        }));
    }
}

/// What the ledger says of a document.
struct Entry {
    stage: String,
    field: String,
    reason: String,
}

/// Compares a slice of documents with their rows.
async fn compare(
    connection: &mut Connection,
    context: &Context,
    compared: &Compared,
    path: &Path,
    items: Vec<Item>,
) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let model = compared.model;
    let rows = rows(connection, context, model, path, &items).await?;
    let orphans = orphans(connection, context, model, path, &items, &rows).await?;
    // Only documents that do not simply have their row are looked up in the ledger.
    let mut open = Vec::new();
    for item in items {
        let row = item.key.as_ref().and_then(|key| rows.get(key));
        if let Some(key) = &item.key
            && row.is_some()
        {
            compared.seen.give(key_hash(key));
        }
        let cells = match (&item.outcome, &row, &item.key) {
            (Ok(expected), Some(found), Some(key)) => {
                let cells = differing(path, expected, found, key, &orphans);
                if cells.is_empty() {
                    continue;
                }
                cells
            }
            _ => Vec::new(),
        };
        open.push((row.is_some(), cells, item));
    }
    let ids: Vec<String> = open.iter().map(|(_, _, item)| item.source_id.clone()).collect();
    let ledger = ledger(connection, context, model, &ids).await?;
    let mut table = compared.found.lock().unwrap_or_else(PoisonError::into_inner);
    for (has_row, cells, item) in open {
        let entry = ledger.get(&item.source_id);
        let key = item.key.unwrap_or_default();
        let source_id = item.source_id;
        match (item.outcome, entry) {
            // A double, whose row is another document's, or one that settling has rejected.
            (Ok(_), Some(entry)) if has_row || entry.stage != "transform" => {}
            (Ok(_), Some(entry)) if path.is_unchecked(&entry.field, &entry.reason) => {}
            (Ok(_), Some(Entry { field, reason, .. })) => table.judged.push(Judged {
                key,
                source_id,
                loaded: false,
                field: field.clone(),
                reason: reason.clone(),
            }),
            (Ok(_), None) if !has_row => table.missing.push(RowDifference { key, source_id }),
            (Ok(_), None) => {
                for (index, source, target) in cells {
                    let column = model.columns[index].name;
                    table.differs(CellDifference {
                        key: key.clone(),
                        source_id: source_id.clone(),
                        column: column.to_owned(),
                        source,
                        target,
                    });
                    if orphans.get(&(index, key.clone())) == Some(&false) {
                        table.add_unnoted(column, 1);
                    }
                }
            }
            (Err(_), Some(_)) => {}
            // What cannot be decoded whole may be broken where no column looks.
            (Err(refusal), None) if has_row && refusal.reason == "malformed" => {
                table.not_decoded += 1;
            }
            (Err(refusal), None) if has_row => table.judged.push(Judged {
                key,
                source_id,
                loaded: true,
                field: refusal.field,
                reason: refusal.reason.to_owned(),
            }),
            (Err(_), None) => table.missing.push(RowDifference { key, source_id }),
        }
    }
    Ok(())
}

/// The rows of the documents, by their keys.
async fn rows(
    connection: &mut Connection,
    context: &Context,
    model: &'static Model,
    path: &Path,
    items: &[Item],
) -> Result<HashMap<String, Vec<Option<String>>>> {
    let act = format!("reading rows of {}", model.table);
    let get = |error| target_error(&act, error);
    let keys: Vec<&String> = items.iter().filter_map(|item| item.key.as_ref()).collect();
    let cells: Vec<String> =
        model.columns.iter().map(|column| format!("{}::text", quote_ident(column.name))).collect();
    let id = id_column(model);
    let found = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM {} WHERE {} = ANY ($1::text[]::{}[])",
        cells.join(", "),
        context.names().table(model),
        quote_ident(id.name),
        context.names().column_type(id)
    )))
    .bind(keys)
    .fetch_all(connection.raw())
    .await
    .map_err(get)?;
    let mut rows = HashMap::with_capacity(found.len());
    for row in &found {
        let mut cells = Vec::with_capacity(model.columns.len());
        for index in 0..model.columns.len() {
            cells.push(row.try_get::<Option<String>, _>(index).map_err(get)?);
        }
        let key = cells[path.id_column()].clone().unwrap_or_default();
        rows.insert(path.found(path.id_column(), &key), cells);
    }
    Ok(rows)
}

/// The references that are NULL because no row is there, by column and key of the row that refers, and
/// whether the ledger says so.
async fn orphans(
    connection: &mut Connection,
    context: &Context,
    model: &'static Model,
    path: &Path,
    items: &[Item],
    rows: &HashMap<String, Vec<Option<String>>>,
) -> Result<HashMap<(usize, String), bool>> {
    let mut orphans = HashMap::new();
    for (index, column) in model.columns.iter().enumerate() {
        let Some(reference) = column.reference.filter(|_| column.loses_orphans()) else { continue };
        let lost = items.iter().filter_map(|item| {
            let row = rows.get(item.key.as_ref()?)?;
            match (&item.outcome.as_ref().ok()?.cells[index], &row[index]) {
                (Expected::Text(text), None) => {
                    Some((text.clone(), row[path.id_column()].clone()?))
                }
                _ => None,
            }
        });
        let (values, keys): (Vec<String>, Vec<String>) = lost.unzip();
        if values.is_empty() {
            continue;
        }
        let target = reference.target.get();
        let key = reference.key.unwrap_or(id_column(target).name);
        let act = format!("following {}.{}", model.table, column.name);
        let found = sqlx::query(AssertSqlSafe(format!(
            "SELECT lost.row_key, EXISTS (SELECT FROM {} o WHERE {} AND o.column_name = {}
                AND NOT o.element AND o.row_key = lost.row_key)
             FROM unnest($1::text[], $2::text[]) AS lost (value, row_key)
             WHERE NOT EXISTS (SELECT FROM {} p WHERE p.{} = lost.value::{})",
            context.state.table("orphan"),
            context.names().is_noted(model),
            quote_literal(column.name),
            context.names().table(target),
            quote_ident(key),
            context.names().column_type(column)
        )))
        .bind(values)
        .bind(keys)
        .fetch_all(connection.raw())
        .await
        .map_err(|error| target_error(&act, error))?;
        for row in &found {
            let get = |error| target_error(&act, error);
            let key: String = row.try_get(0).map_err(get)?;
            let is_noted = row.try_get(1).map_err(get)?;
            orphans.insert((index, path.found(path.id_column(), &key)), is_noted);
        }
    }
    Ok(orphans)
}

type Cells = Vec<(usize, Option<String>, Option<String>)>;

/// The cells of the row of that key that are not as expected, by column; references are looked up in `orphans`.
fn differing(
    path: &Path,
    expected: &Row,
    found: &[Option<String>],
    key: &str,
    orphans: &HashMap<(usize, String), bool>,
) -> Cells {
    let mut cells = Vec::new();
    for (index, cell) in found.iter().enumerate() {
        let there = cell.as_ref().map(|text| path.found(index, text));
        let due = match &expected.cells[index] {
            Expected::Unknown => continue,
            Expected::Null => None,
            Expected::Text(text) => Some(text.clone()),
        };
        if due == there {
            continue;
        }
        if orphans.get(&(index, key.to_owned())) == Some(&true) {
            continue;
        }
        cells.push((index, due, cell.clone()));
    }
    cells
}

/// The entries of the ledger about some documents.
async fn ledger(
    connection: &mut Connection,
    context: &Context,
    model: &Model,
    ids: &[String],
) -> Result<HashMap<String, Entry>> {
    const ACT: &str = "looking into the ledger";
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT source_id, stage, field, reason FROM {}
         WHERE {} AND source_id = ANY ($1::text[])",
        context.state.table("reject"),
        context.names().is_noted(model)
    )))
    .bind(ids)
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))?;
    let mut entries = HashMap::new();
    for row in &rows {
        let get = |error| target_error(ACT, error);
        let entry = Entry {
            stage: row.try_get(1).map_err(get)?,
            field: row.try_get(2).map_err(get)?,
            reason: row.try_get(3).map_err(get)?,
        };
        entries.insert(row.try_get(0).map_err(get)?, entry);
    }
    Ok(entries)
}
