//! Rows and pairs: the scan of the target, the walk over the source, and the second look.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_128;

use super::{CellDifference, JunctionReport, Report, RowDifference, TableReport, canonical};
use crate::context::Context;
use crate::ddl::{Foreign, foreign_keys, list};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::run;
use crate::schema::{BaseType, CellType, Column, Model, ModelKind, Orphan, quote_ident};
use crate::settle::{self, id_column};
use crate::sink::{Connection, target_error};
use crate::source::{Batch, Range};
use crate::source_id;
use crate::transform::Output;

/// What the hashes of the rows of one group of tables may take.
const HASH_BYTES: u64 = 160 << 20;
/// What one row takes in the table of hashes, its share of empty places included.
const ROW_BYTES: u64 = 80;
/// Rows that were not found travel to the target in blocks of this size.
const SUSPECT_BYTES: usize = 1 << 20;
/// How many parts the hashes of a table are kept in, each under its own lock.
const SHARDS: usize = 16;

/// The rows of one table as the target has them: for each key's hash the row's, and whether a
/// document has given it.
struct Seen {
    shards: Vec<Mutex<HashMap<u128, (u128, bool)>>>,
}

impl Seen {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect() }
    }

    fn shard(&self, key: u128) -> std::sync::MutexGuard<'_, HashMap<u128, (u128, bool)>> {
        self.shards[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One model while it is compared.
struct Compared {
    model: &'static Model,
    seen: Seen,
    /// Documents read.
    source: Mutex<u64>,
}

/// Compares every table and junction, in groups that fit into memory.
pub(super) async fn compare(
    context: &Arc<Context>,
    connection: &mut Connection,
    report: &mut Report,
) -> Result<()> {
    let mut sized = Vec::new();
    for (model, _) in context.collection_models() {
        let rows = connection
            .count(
                &format!("counting the rows of {}", model.table),
                format!("SELECT count(*) FROM {}", context.names().table(model)),
                &[],
            )
            .await?;
        sized.push((model, rows));
    }
    let mut tables: BTreeMap<&'static str, TableReport> = BTreeMap::new();
    let mut elements = Elements::prepare(context, connection).await?;
    let mut group: Vec<&'static Model> = Vec::new();
    let mut bytes = 0;
    for (model, rows) in &sized {
        let size = rows * ROW_BYTES;
        let passes = size.div_ceil(HASH_BYTES).max(1);
        if passes > 1 {
            for pass in 0..passes {
                let part = Part { pass, passes };
                compare_group(context, connection, &[*model], part, &mut elements, &mut tables)
                    .await?;
            }
            continue;
        }
        if bytes + size > HASH_BYTES {
            let models = std::mem::take(&mut group);
            compare_group(context, connection, &models, Part::ALL, &mut elements, &mut tables)
                .await?;
            bytes = 0;
        }
        group.push(model);
        bytes += size;
    }
    if !group.is_empty() {
        compare_group(context, connection, &group, Part::ALL, &mut elements, &mut tables).await?;
    }
    let rejected = rejected_by_table(context, connection).await?;
    for (model, rows) in sized {
        let mut table = tables.remove(model.name).unwrap_or_default();
        table.model = model.name.to_owned();
        table.table = model.table.to_owned();
        table.target = rows;
        table.rejected = rejected.get(model.table).copied().unwrap_or_default();
        table.counts_hold = table.source == table.target + table.rejected;
        report.tables.push(table);
    }
    for model in context.junction_models() {
        report.junctions.push(elements.compare(context, connection, model).await?);
    }
    // The temporary tables go with the connection.
    Ok(())
}

/// The rows of one pass over a table that does not fit into memory at once.
#[derive(Clone, Copy)]
struct Part {
    pass: u64,
    passes: u64,
}

impl Part {
    const ALL: Self = Self { pass: 0, passes: 1 };

    fn has(self, key: u128) -> bool {
        self.passes == 1 || (key >> 64) as u64 % self.passes == self.pass
    }
}

async fn compare_group(
    context: &Arc<Context>,
    connection: &mut Connection,
    models: &[&'static Model],
    part: Part,
    elements: &mut Elements,
    tables: &mut BTreeMap<&'static str, TableReport>,
) -> Result<()> {
    let compared: Vec<Arc<Compared>> = models
        .iter()
        .map(|model| Arc::new(Compared { model, seen: Seen::new(), source: Mutex::new(0) }))
        .collect();
    let mut scans = Vec::new();
    for compared in &compared {
        scans.push(Unit::Scan(Arc::clone(compared)));
    }
    units(context, scans, part, None).await?;
    let collections: HashSet<String> =
        context.source.collections().await?.into_iter().map(|collection| collection.name).collect();
    let mut reads = Vec::new();
    for compared in &compared {
        if !collections.contains(compared.model.collection) {
            continue;
        }
        let ranges =
            context.source.split(compared.model.collection, context.options.chunk_bytes).await?;
        reads.extend(ranges.into_iter().map(|range| Unit::Read(Arc::clone(compared), range)));
    }
    // Rows that were not found and junction rows leave through one connection.
    let (sender, mut results) = mpsc::channel::<Found>(8);
    let reading = tokio::spawn({
        let context = Arc::clone(context);
        async move { units(&context, reads, part, Some(sender)).await }
    });
    let mut prepared: HashSet<&'static str> = HashSet::new();
    while let Some(found) = results.recv().await {
        if !found.rows.is_empty() {
            if prepared.insert(found.model.name) {
                prepare_suspects(context, connection, found.model).await?;
            }
            send_suspects(connection, found.model, &found.rows).await?;
        }
        if part.pass == 0 {
            elements.add(context, connection, found.model, &found.junctions).await?;
        }
    }
    reading.await.map_err(|error| {
        Error::new(ErrorKind::Source, "the reader broke off").caused_by(error)
    })??;
    for compared in &compared {
        let model = compared.model;
        let table = tables.entry(model.name).or_default();
        if part.pass == 0 {
            table.source = *compared.source.lock().unwrap_or_else(PoisonError::into_inner);
        }
        if prepared.contains(model.name) {
            second_look(context, connection, compared, table).await?;
        }
        extra_rows(context, connection, compared, part, table).await?;
    }
    Ok(())
}

/// A piece of work for one connection or one reader.
enum Unit {
    Scan(Arc<Compared>),
    Read(Arc<Compared>, Range),
}

/// What a reader has for the target.
struct Found {
    model: &'static Model,
    rows: Vec<u8>,
    junctions: Vec<Vec<u8>>,
}

/// Does units of work on as many workers as the run has jobs.
async fn units(
    context: &Arc<Context>,
    units: Vec<Unit>,
    part: Part,
    results: Option<mpsc::Sender<Found>>,
) -> Result<()> {
    let queue = Arc::new(Mutex::new(units.into_iter()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..context.options.jobs() {
        let (context, queue, results) = (Arc::clone(context), Arc::clone(&queue), results.clone());
        workers.spawn(async move {
            let mut connection = None;
            loop {
                context.check_stop()?;
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                match (next, &results) {
                    (Some(Unit::Scan(compared)), _) => {
                        let connection = match &mut connection {
                            Some(connection) => connection,
                            none => none.insert(context.target.connect().await?),
                        };
                        scan(&context, connection, &compared, part).await?;
                    }
                    (Some(Unit::Read(compared, range)), Some(results)) => {
                        read(&context, &compared, range, part, results).await?;
                    }
                    (Some(Unit::Read(..)), None) | (None, _) => return Ok::<(), Error>(()),
                }
            }
        });
    }
    drop(results);
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| {
            Error::new(ErrorKind::Target, "a worker broke off").caused_by(error)
        })??;
    }
    Ok(())
}

/// Scans a table of the target in binary and keeps the hashes.
async fn scan(
    context: &Context,
    connection: &mut Connection,
    compared: &Compared,
    part: Part,
) -> Result<()> {
    let model = compared.model;
    let act = format!("reading {}", model.table);
    let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
    let statement = format!(
        "COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)",
        list(&columns),
        context.names().table(model)
    );
    let mut stream = connection
        .raw()
        .copy_out_raw(&statement)
        .await
        .map_err(|error| target_error(&act, error))?;
    let mut buffer: Vec<u8> = Vec::new();
    let mut start = crate::copy::HEADER.len();
    let mut hasher = RowHash::new(model);
    while let Some(piece) = stream.try_next().await.map_err(|error| target_error(&act, error))? {
        buffer.extend_from_slice(&piece);
        while let Some(length) = tuple_length(buffer.get(start..).unwrap_or_default()) {
            let (key, row) = hasher.hash(&buffer[start..start + length]);
            if part.has(key) {
                compared.seen.shard(key).insert(key, (row, false));
            }
            start += length;
        }
        // The header may come in pieces of its own.
        if start <= buffer.len() {
            buffer.drain(..start);
            start = 0;
        }
    }
    Ok(())
}

/// The length of the tuple at the start of `bytes`; `None` when it is not complete, or the end.
fn tuple_length(bytes: &[u8]) -> Option<usize> {
    let cells = i16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let mut offset = 2;
    for _ in 0..u16::try_from(cells).ok()? {
        let length = bytes.get(offset..offset + 4)?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        offset += 4 + usize::try_from(length).unwrap_or(0);
    }
    (offset <= bytes.len()).then_some(offset)
}

/// Hashes tuples of one model.
struct RowHash {
    model: &'static Model,
    id: usize,
    form: Vec<u8>,
}

impl RowHash {
    fn new(model: &'static Model) -> Self {
        let id = model.columns.iter().position(|column| column.primary_key).unwrap_or_default();
        Self { model, id, form: Vec::new() }
    }

    /// The hashes of a complete tuple's key and of all its cells.
    fn hash(&mut self, tuple: &[u8]) -> (u128, u128) {
        self.form.clear();
        let mut key = 0;
        let mut offset = 2;
        for (index, column) in self.model.columns.iter().enumerate() {
            let length = i32::from_be_bytes([
                tuple[offset],
                tuple[offset + 1],
                tuple[offset + 2],
                tuple[offset + 3],
            ]);
            offset += 4;
            let Ok(length) = usize::try_from(length) else {
                self.form.extend_from_slice(&[0xff; 4]);
                continue;
            };
            let payload = &tuple[offset..offset + length];
            offset += length;
            let start = self.form.len();
            canonical::append(column.ty, payload, &mut self.form);
            if index == self.id {
                key = xxh3_128(&self.form[start..]);
            }
        }
        (key, xxh3_128(&self.form))
    }
}

/// Reads and transforms a range of the source and looks every row up.
async fn read(
    context: &Context,
    compared: &Arc<Compared>,
    range: Range,
    part: Part,
    results: &mpsc::Sender<Found>,
) -> Result<()> {
    let model = compared.model;
    let transformer = Arc::clone(context.transformer(model)?);
    let (sender, mut batches) = mpsc::channel::<Batch>(2);
    let reader = tokio::spawn({
        let source = Arc::clone(&context.source);
        async move { source.read(model.collection, &range, sender).await }
    });
    let mut scratch = transformer.scratch();
    let mut output = Output::default();
    let mut hasher = RowHash::new(model);
    let new =
        || Found { model, rows: Vec::new(), junctions: vec![Vec::new(); model.junctions.len()] };
    let mut found = new();
    while let Some(batch) = batches.recv().await {
        for document in batch.iter() {
            transformer.transform(&mut scratch, document, &mut output);
        }
        let mut start = 0;
        for mark in &output.marks {
            let tuple = &output.rows[start..mark.row_end];
            start = mark.row_end;
            let (key, row) = hasher.hash(tuple);
            if !part.has(key) {
                continue;
            }
            let is_right = match compared.seen.shard(key).get_mut(&key) {
                Some((expected, seen)) => {
                    let is_first = !std::mem::replace(seen, true);
                    is_first && *expected == row
                }
                None => false,
            };
            if !is_right {
                found.rows.extend_from_slice(tuple);
            }
        }
        for (all, junction) in found.junctions.iter_mut().zip(&output.junctions) {
            all.extend_from_slice(&junction.rows);
        }
        *compared.source.lock().unwrap_or_else(PoisonError::into_inner) += output.documents;
        context.reporter.event(&Event::Progress {
            table: model.table,
            documents: output.documents,
            bytes: output.bytes,
        });
        output.clear();
        let held = found.rows.len() + found.junctions.iter().map(Vec::len).sum::<usize>();
        if held >= SUSPECT_BYTES
            && results.send(std::mem::replace(&mut found, new())).await.is_err()
        {
            return Ok(());
        }
        context.check_stop()?;
    }
    let _receiver_gone = results.send(found).await;
    reader
        .await
        .map_err(|error| Error::new(ErrorKind::Source, "the reader broke off").caused_by(error))?
}

fn suspects_table(model: &Model) -> String {
    format!("pg_temp.{}", quote_ident(&format!("suspect_{}", model.name)))
}

async fn prepare_suspects(
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

async fn send_suspects(
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

/// Lets PostgreSQL judge the rows whose hash was not found.
async fn second_look(
    context: &Context,
    connection: &mut Connection,
    compared: &Compared,
    table: &mut TableReport,
) -> Result<()> {
    let model = compared.model;
    let names = context.names();
    let act = format!("taking a second look at {}", model.table);
    let suspects = suspects_table(model);
    let target = names.table(model);
    let id = quote_ident(id_column(model).name);
    connection.execute(&act, format!("ANALYZE {suspects}")).await?;

    // Documents without a row: right when the ledger has them.
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT s.{id}::text FROM {suspects} s
                 WHERE NOT EXISTS (SELECT FROM {target} t WHERE t.{id} = s.{id})"
            ),
            &[],
        )
        .await?;
    let missing = texts(&act, &rows)?;
    let entries = in_ledger(context, connection, model, &missing).await?;
    for key in &missing {
        if !entries.contains_key(key) {
            let source_id = shown_id(context, connection, model, key).await?;
            table.missing.push(RowDifference { key: key.clone(), source_id });
        }
    }

    // Rows with a cell that differs, column by column, each judged as a value.
    let foreign: Vec<Foreign> = foreign_keys(model);
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
                differs = format!(
                    "({differs} AND NOT (t.{name} IS NULL AND NOT EXISTS
                        (SELECT FROM {} p WHERE p.{} = s.{name})))",
                    names.table(foreign.target),
                    quote_ident(foreign.key.name)
                );
            }
            format!(
                "({}, {differs}, s.{name}::text, t.{name}::text)",
                crate::schema::quote_literal(column.name)
            )
        })
        .collect();
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT s.{id}::text, c.name, c.source, c.target
                 FROM {suspects} s JOIN {target} t ON t.{id} = s.{id}
                 CROSS JOIN LATERAL (VALUES {}) AS c (name, differs, source, target)
                 WHERE c.differs ORDER BY 1",
                columns.join(", ")
            ),
            &[],
        )
        .await?;
    let keys: Vec<String> = texts(&act, &rows)?;
    // Two documents may have come to one key; the one that was not loaded is in the ledger.
    let entries = in_ledger(context, connection, model, &keys).await?;
    for (row, key) in rows.iter().zip(keys) {
        if entries.contains_key(&key) {
            continue;
        }
        let get = |error| target_error(&act, error);
        let difference = CellDifference {
            source_id: match table.cells.first.len() < super::MOST_NAMED {
                true => shown_id(context, connection, model, &key).await?,
                false => String::new(),
            },
            key,
            column: row.try_get(1).map_err(get)?,
            source: row.try_get(2).map_err(get)?,
            target: row.try_get(3).map_err(get)?,
        };
        table.cells.push(difference);
    }
    connection.execute(&act, format!("DROP TABLE {suspects}")).await.map(drop)
}

/// Names the rows of the target that no document has given.
async fn extra_rows(
    context: &Context,
    connection: &mut Connection,
    compared: &Compared,
    part: Part,
    table: &mut TableReport,
) -> Result<()> {
    let model = compared.model;
    let unseen: HashSet<u128> = compared
        .seen
        .shards
        .iter()
        .flat_map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.iter().filter(|(_, (_, seen))| !seen).map(|(key, _)| *key).collect::<Vec<_>>()
        })
        .collect();
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
    let mut keys = Vec::new();
    {
        let mut stream = connection
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
                let first = u32::from_be_bytes([tuple[2], tuple[3], tuple[4], tuple[5]]) as usize;
                form.clear();
                canonical::append(id.ty, &tuple[6..6 + first], &mut form);
                let key = xxh3_128(&form);
                if part.has(key) && unseen.contains(&key) {
                    let text = &tuple[6 + first + 4..];
                    keys.push(String::from_utf8_lossy(text).into_owned());
                }
            }
            if start <= buffer.len() {
                buffer.drain(..start);
                start = 0;
            }
        }
    }
    keys.sort();
    for key in keys {
        let source_id = match table.extra.first.len() < super::MOST_NAMED {
            true => shown_id(context, connection, model, &key).await?,
            false => String::new(),
        };
        table.extra.push(RowDifference { key, source_id });
    }
    Ok(())
}

/// Which rows' documents the ledger has, by the rows' keys.
async fn in_ledger(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    keys: &[String],
) -> Result<HashMap<String, String>> {
    let mut entries = HashMap::new();
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
        .map_err(|error| target_error("looking into the ledger", error))?;
        let there: HashSet<String> = texts("looking into the ledger", &rows)?.into_iter().collect();
        for (shown, key) in shown {
            if there.contains(&shown) {
                entries.insert(key, shown);
            }
        }
    }
    Ok(entries)
}

/// The `_id` that a key gives back, for people.
async fn shown_id(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    key: &str,
) -> Result<String> {
    let key = key.to_owned();
    let ids = settle::source_ids(context, connection, model, std::slice::from_ref(&key)).await?;
    Ok(ids.get(&key).and_then(|ids| ids.first()).map(source_id::display).unwrap_or_default())
}

fn texts(act: &str, rows: &[sqlx::postgres::PgRow]) -> Result<Vec<String>> {
    rows.iter().map(|row| row.try_get(0).map_err(|error| target_error(act, error))).collect()
}

async fn rejected_by_table(
    context: &Context,
    connection: &mut Connection,
) -> Result<HashMap<String, u64>> {
    const ACT: &str = "counting the ledger";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT table_name, count(*) FROM {} GROUP BY 1",
                context.state.table("reject")
            ),
            &[],
        )
        .await?;
    let mut counts = HashMap::new();
    for row in &rows {
        let get = |error| target_error(ACT, error);
        let count: i64 = row.try_get(1).map_err(get)?;
        counts.insert(row.try_get(0).map_err(get)?, count.unsigned_abs());
    }
    Ok(counts)
}

/// The elements of all arrays, in temporary tables of the target, one per junction.
struct Elements;

impl Elements {
    async fn prepare(context: &Context, connection: &mut Connection) -> Result<Self> {
        for model in context.junction_models() {
            let sql = format!(
                "CREATE TEMPORARY TABLE {} {}",
                quote_ident(&format!("element_{}", model.name)),
                run::stage_columns(context.names(), model)
            );
            connection.execute("preparing the junctions", sql).await?;
        }
        Ok(Self)
    }

    fn table(model: &Model) -> String {
        format!("pg_temp.{}", quote_ident(&format!("element_{}", model.name)))
    }

    async fn add(
        &mut self,
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
        junctions: &[Vec<u8>],
    ) -> Result<()> {
        for (field, rows) in model.junctions.iter().zip(junctions) {
            let junction = field.table.get();
            let is_compared = context
                .registry
                .iter()
                .any(|(known, _)| known.kind == ModelKind::Junction && known.same(junction));
            if rows.is_empty() || !is_compared {
                continue;
            }
            let statement = format!(
                "COPY {} ({}, origin) FROM STDIN (FORMAT binary)",
                Self::table(junction),
                list(&[junction.columns[0].name, junction.columns[1].name])
            );
            connection.copy("comparing a junction", &statement, rows).await?;
        }
        Ok(())
    }

    async fn compare(
        &mut self,
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
    ) -> Result<JunctionReport> {
        let act = format!("comparing {}", model.table);
        let names = context.names();
        let elements = Self::table(model);
        let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
        let pair = list(&columns);
        let foreign = foreign_keys(model);
        let there: Vec<String> = foreign
            .iter()
            .map(|foreign| {
                format!(
                    "EXISTS (SELECT FROM {} p WHERE p.{} = e.{})",
                    names.table(foreign.target),
                    quote_ident(foreign.key.name),
                    quote_ident(foreign.column.name)
                )
            })
            .collect();
        connection.execute(&act, format!("ANALYZE {elements}")).await?;
        let expected =
            format!("SELECT DISTINCT {pair} FROM {elements} e WHERE {}", there.join(" AND "));
        let actual = format!("SELECT {pair} FROM {}", names.table(model));
        let mut report = JunctionReport {
            model: model.name.to_owned(),
            table: model.table.to_owned(),
            source: connection
                .count(&act, format!("SELECT count(*) FROM ({expected}) AS pairs"), &[])
                .await?,
            target: connection
                .count(&act, format!("SELECT count(*) FROM ({actual}) AS pairs"), &[])
                .await?,
            ..JunctionReport::default()
        };
        for (left, right, missing) in [(&expected, &actual, true), (&actual, &expected, false)] {
            let shown: Vec<String> =
                columns.iter().map(|column| format!("{}::text", quote_ident(column))).collect();
            let sql = format!(
                "SELECT {} FROM ({left} EXCEPT {right}) AS pairs ORDER BY 1, 2",
                shown.join(", ")
            );
            let rows = connection.query(&act, sql, &[]).await?;
            let get = |error| target_error(&act, error);
            let mut pairs: Vec<[String; 2]> = Vec::with_capacity(rows.len());
            for row in &rows {
                pairs.push([row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?]);
            }
            if missing {
                // Of two documents that came to one key, the one in the ledger has no pairs.
                for (side, foreign) in foreign.iter().enumerate().take(2) {
                    let keys: Vec<String> = pairs.iter().map(|pair| pair[side].clone()).collect();
                    let entries = in_ledger(context, connection, foreign.target, &keys).await?;
                    pairs.retain(|pair| !entries.contains_key(&pair[side]));
                }
                report.source -= (rows.len() - pairs.len()) as u64;
            }
            let named = if missing { &mut report.missing } else { &mut report.extra };
            for pair in pairs {
                named.push(pair.join(", "));
            }
        }
        Ok(report)
    }
}
