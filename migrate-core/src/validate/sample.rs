//! A sample of each table, for a quick look: documents that are drawn from the source must have
//! their rows, and rows that are drawn from the target their documents.
//!
//! Both are drawn by a hash of seed and key, so that the same seed takes the same sample. Of a
//! large collection only a few parts are read and the documents drawn from those, so that the look
//! stays quick; a sample says nothing about what is not in it.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::junctions::Elements;
use super::look::{self, shown_ids, texts};
use super::references::Nulled;
use super::rows::{doubles, is_double};
use super::{Report, RowDifference, Sample, TableReport};
use crate::choice;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::Feed;
use crate::schema::{Model, quote_ident};
use crate::settle::{self, id_column};
use crate::sink::{Connection, target_error};
use crate::source::{Batch, Range};
use crate::source_id;
use crate::transform::Output;

/// How many parts of a collection are read at most, and how large one is.
const MOST_PARTS: usize = 32;
const PART_BYTES: u64 = 1 << 20;

/// Compares a sample of every table of the names in `compared`, and the pairs that the documents
/// in it ask for.
pub(super) async fn compare(
    context: &Arc<Context>,
    connection: &mut Connection,
    compared: &HashSet<&'static str>,
    sample: Sample,
    nulled: &mut Nulled,
    report: &mut Report,
) -> Result<()> {
    let collections: HashSet<String> =
        context.source.collections().await?.into_iter().map(|collection| collection.name).collect();
    let mut elements = Elements::prepare(context, connection, compared, 0).await?;
    for (model, _) in context.document_models() {
        context.check_stop()?;
        let there: Vec<&'static str> = Feed::of(model)
            .collections()
            .filter(|collection| collections.contains(*collection))
            .collect();
        let is_there = !there.is_empty();
        let mut table = TableReport {
            model: model.name.to_owned(),
            table: model.table.to_owned(),
            counts_hold: true,
            ..TableReport::default()
        };
        let mut documents = match is_there {
            true => documents(context, model, &there, sample).await?,
            false => Vec::new(),
        };
        table.source = documents.len() as u64;
        if compared.contains(model.name) {
            let (keys, of_rows) =
                rows(context, connection, model, sample, is_there, &mut table).await?;
            table.target = keys;
            documents.extend(of_rows);
            // One may have been drawn from both sides.
            documents.sort_unstable();
            documents.dedup();
        }
        let transformer = Arc::clone(context.transformer(model)?);
        let mut scratch = transformer.scratch();
        let mut output = Output::default();
        for document in &documents {
            transformer.transform(&mut scratch, document, &mut output);
        }
        // One that was not loaded because another has its id has no pairs.
        let doubles = doubles(context, connection, model, false).await?;
        let mut junctions: Vec<Vec<u8>> = vec![Vec::new(); output.junctions.len()];
        for row in
            (0..output.row_count()).filter(|row| is_double(&doubles, &output, *row).is_none())
        {
            for (index, rows) in junctions.iter_mut().enumerate() {
                rows.extend_from_slice(output.junction_rows(index, row).0);
            }
        }
        let counts: Vec<u64> =
            output.junctions.iter().map(|junction| junction.total.elements).collect();
        table.rejected = output.rejects.len() as u64;
        elements.add(connection, model, &junctions, &counts).await?;
        if compared.contains(model.name) {
            look::prepare(context, connection, model).await?;
            let mut suspects = Vec::new();
            for row in 0..output.row_count() {
                look::append(&output, row, &mut suspects);
            }
            look::send(connection, model, &suspects).await?;
            look::judge(context, connection, model, &[], nulled, &mut table).await?;
            report.tables.push(table);
        }
    }
    elements.compare(context, connection, true, report).await
}

/// A document with its place in the drawing; the largest goes first.
struct Drawn {
    place: u64,
    document: Vec<u8>,
}

impl PartialEq for Drawn {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Drawn {}

impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

/// Draws documents of a collection.
async fn documents(
    context: &Context,
    model: &'static Model,
    collections: &[&'static str],
    sample: Sample,
) -> Result<Vec<Vec<u8>>> {
    let feed = Feed::of(model);
    let mut ranges: Vec<(&'static str, Range)> = Vec::new();
    for collection in collections {
        let split = context.source.split(collection, PART_BYTES).await?;
        ranges.extend(split.into_iter().map(|range| (*collection, range)));
    }
    let place = |(collection, range): &(&str, Range)| {
        let text = format!("{} {collection} {range:?}", model.name);
        xxh3_64_with_seed(text.as_bytes(), sample.seed)
    };
    ranges.sort_by_cached_key(place);
    ranges.truncate(MOST_PARTS);
    let mut drawn: BinaryHeap<Drawn> = BinaryHeap::new();
    for (collection, range) in ranges {
        context.check_stop()?;
        let (sender, mut batches) = mpsc::channel::<Batch>(2);
        let reader = tokio::spawn({
            let (source, feed) = (Arc::clone(&context.source), feed.clone());
            async move { feed.read(&*source, collection, &range, sender).await }
        });
        while let Some(batch) = batches.recv().await {
            let is_meant = |document: &&[u8]| feed.is_child() || choice::is_meant(model, document);
            for document in batch.iter().filter(is_meant) {
                let place = xxh3_64_with_seed(document, sample.seed);
                let is_full = drawn.len() as u64 >= sample.rows;
                if is_full && drawn.peek().is_none_or(|last| last.place <= place) {
                    continue;
                }
                drawn.push(Drawn { place, document: document.to_vec() });
                if is_full {
                    drawn.pop();
                }
            }
        }
        reader.await.map_err(|error| {
            Error::new(ErrorKind::Source, "the reader broke off").caused_by(error)
        })??;
    }
    Ok(drawn.into_sorted_vec().into_iter().map(|drawn| drawn.document).collect())
}

/// Draws rows of a table; gives how many, and the documents that their keys lead to. A row whose
/// key leads to no document is one that no document has given.
async fn rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    sample: Sample,
    is_there: bool,
    table: &mut TableReport,
) -> Result<(u64, Vec<Vec<u8>>)> {
    let act = format!("drawing rows of {}", model.table);
    let id = quote_ident(id_column(model).name);
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {id}::text FROM {} ORDER BY hashtextextended({id}::text, $1), 1 LIMIT $2",
        context.names().table(model)
    )))
    .bind(sample.seed as i64)
    .bind(i64::try_from(sample.rows).unwrap_or(i64::MAX))
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(&act, error))?;
    let keys = texts(&act, &rows)?;
    let ids = settle::source_ids(context, connection, model, &keys).await?;
    let mut wanted: Vec<bson::Bson> = ids.values().flatten().cloned().collect();
    wanted.sort_by(source_id::compare);
    wanted.dedup();
    let found = match is_there && !wanted.is_empty() {
        true => context.fetch(model, &wanted).await?,
        false => Vec::new(),
    };
    let found_ids: HashSet<String> = found
        .iter()
        .filter_map(|document| document.get("_id").ok().flatten())
        .filter_map(|id| bson::Bson::try_from(id).ok())
        .map(|id| id.to_string())
        .collect();
    let extra: Vec<String> = keys
        .iter()
        .filter(|key| {
            !ids.get(*key)
                .is_some_and(|ids| ids.iter().any(|id| found_ids.contains(&id.to_string())))
        })
        .cloned()
        .collect();
    let shown = shown_ids(context, connection, model, &extra).await?;
    for key in extra {
        let source_id = shown.get(&key).cloned().unwrap_or_default();
        table.extra.push(RowDifference { key, source_id });
    }
    let documents = found.into_iter().map(|document| document.into_bytes()).collect();
    Ok((keys.len() as u64, documents))
}
