//! Every row: the scan of the target and the walk over the source.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range as Span;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Row as _;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::hashes::Hashes;
use super::independent::{Path, compare as independent};
use super::junctions::{Elements, Pairs, rows_before};
use super::references::{Followed, Link, Nulled};
use super::tuples::Tuples;
use super::{Named, Report, TableReport, WorkerConnections, canonical, look};
use crate::budget;
use crate::cell::id_text;
use crate::context::Context;
use crate::ddl::list;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::feed::Feed;
use crate::ledger;
use crate::report;
use crate::schema::Model;
use crate::sink::{Connection, target_error};
use crate::source::{Batch, CollectionInfo, Ending, Range};
use crate::transform::Output;

/// Rows are looked up when their tuples have come to this size.
const PIECE_BYTES: usize = 256 << 10;
/// Rows that were not found travel to the target in blocks of this size.
const SUSPECT_BYTES: usize = 1 << 20;

/// One model while it is compared.
pub(super) struct Compared {
    pub(super) model: &'static Model,
    /// The rows as the target has them: for each key's hash the row's. With a second path the keys
    /// alone, with hashes of their own.
    pub(super) seen: Arc<Hashes<u64>>,
    /// Its references that are followed by hashes.
    links: Vec<Link>,
    /// About how many there are.
    rows: u64,
    /// For each junction field the pairs of the target, where they are hashed.
    pairs: Vec<Option<Arc<Pairs>>>,
    /// Whether its rows are compared; else it is read for its arrays only.
    pub(super) has_rows: bool,
    /// The `_id`s of documents in the ledger that have no pairs, as [`doubles`] gives them.
    pub(super) doubles: HashMap<String, bool>,
    /// What is expected of its documents, where that is not the transformer's to say.
    pub(super) path: Option<Path>,
    /// What the second path has found.
    pub(super) found: Mutex<TableReport>,
    /// Documents read, and those of them that are not the model's.
    documents: Mutex<(u64, u64)>,
    /// Whether a range was read again after it had broken off.
    is_read_again: AtomicBool,
}

impl Compared {
    async fn new(
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
        work: &Work<'_>,
    ) -> Result<Self> {
        let doubles = doubles(context, connection, model, work.is_independent).await?;
        let mut found = TableReport::default();
        let path = match work.is_independent.then(|| Path::new(model, context.run.ids)) {
            Some(Ok(path)) => {
                let path = path.answer_for(context.transformer(model)?.siblings());
                found.not_independent = path.unchecked().to_vec();
                Some(path)
            }
            Some(Err(unchecked)) => {
                found.not_independent = vec![unchecked];
                None
            }
            None => None,
        };
        Ok(Self {
            model,
            seen: Arc::default(),
            links: Vec::new(),
            rows: work.rows.get(model.name).copied().unwrap_or_default(),
            pairs: work.elements.pairs_of(model),
            has_rows: work.compared.contains(model.name),
            doubles,
            path,
            found: Mutex::new(found),
            documents: Mutex::default(),
            is_read_again: AtomicBool::new(false),
        })
    }

    /// Counts documents, and those of them that are not the model's.
    pub(super) fn add_documents(&self, count: u64, skipped: u64) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.0 += count;
        documents.1 += skipped;
    }
}

/// The `_id`s of documents of a model with arrays that are in the ledger and have no pairs although a
/// row may have their key, and for each whether the run has counted its elements: those that settling
/// took out, but not those that the target has refused as they came. With `all` also those that
/// the transformer refuses.
pub(super) async fn doubles(
    context: &Context,
    connection: &mut Connection,
    model: &Model,
    all: bool,
) -> Result<HashMap<String, bool>> {
    const ACT: &str = "reading the ledger";
    let get = |error| target_error(ACT, error);
    if model.junctions.is_empty() {
        return Ok(HashMap::new());
    }
    let mut which = "(reason = 'duplicate' OR stage = 'write'".to_owned();
    if !model.further_collections.is_empty() {
        which.push_str(" OR stage = 'settle'");
    }
    if all {
        which.push_str(" OR stage = 'transform'");
    }
    let sql = format!(
        "SELECT source_id, stage = 'settle' FROM {} WHERE {} AND {which})",
        context.state.table("reject"),
        context.names().is_noted(model)
    );
    let rows = connection.query(ACT, sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?)))
        .collect()
}

/// Whether a row of an output comes from one of those documents, and then whether its elements are
/// counted.
pub(super) fn is_double(
    doubles: &HashMap<String, bool>,
    output: &Output,
    row: usize,
) -> Option<bool> {
    if doubles.is_empty() {
        return None;
    }
    doubles.get(&id_text(output.row_id(row)?)).copied()
}

/// What the comparison of groups of tables adds to.
struct Work<'a> {
    compared: &'a HashSet<&'static str>,
    /// The rows of the tables.
    rows: HashMap<&'static str, u64>,
    is_independent: bool,
    elements: Elements,
    nulled: &'a mut Nulled,
    followed: &'a mut Followed,
    tables: BTreeMap<&'static str, TableReport>,
}

/// Compares every table and junction of the names in `compared`, in groups that fit into memory.
/// With `keeps_elements` the elements of all arrays are in temporary tables afterwards.
pub(super) async fn compare(
    context: &Arc<Context>,
    connection: &mut Connection,
    compared: &HashSet<&'static str>,
    (nulled, followed): (&mut Nulled, &mut Followed),
    keeps_elements: bool,
    report: &mut Report,
) -> Result<Elements> {
    let is_independent = report.scope.independent;
    let models: Vec<&'static Model> = context.document_models().map(|(model, _)| model).collect();
    let mut with_rows = models.clone();
    with_rows.retain(|model| compared.contains(model.name));
    let rows = report::rows(context, connection, &with_rows).await?;
    let sized: Vec<(&'static Model, u64)> = models
        .into_iter()
        .map(|model| (model, rows.get(model.name).copied().unwrap_or_default()))
        .collect();
    announce(context).await?;
    // The second path writes its pairs as text, and a repair looks at all elements.
    let hash_bytes = budget::hash_bytes(context.options.memory_bytes);
    let for_pairs = if is_independent || keeps_elements { 0 } else { hash_bytes / 2 };
    let elements = Elements::prepare(context, connection, compared, for_pairs).await?;
    let hash_bytes = hash_bytes - elements.hash_bytes();
    let mut work = Work {
        compared,
        rows,
        is_independent,
        elements,
        nulled,
        followed,
        tables: BTreeMap::new(),
    };
    for (index, (models, part)) in groups(&sized, hash_bytes).into_iter().enumerate() {
        compare_group(context, connection, &models, (part, index == 0), &mut work).await?;
    }
    let rejected = ledger::by_table(
        connection,
        &format!(
            "SELECT table_schema, table_name, '', count(*) FROM {} GROUP BY 1, 2",
            context.state.table("reject")
        ),
    )
    .await?;
    for (model, rows) in sized.into_iter().filter(|(model, _)| compared.contains(model.name)) {
        let mut table = work.tables.remove(model.name).unwrap_or_default();
        table.model = model.name.to_owned();
        table.table = model.table.to_owned();
        table.target = rows;
        let rejected = rejected.get(&context.names().table(model));
        table.rejected = rejected.map_or(0, |counts| counts.values().sum());
        table.before = rows_before(context, &context.names().table(model));
        if table.extra.count <= table.before {
            // Rows that were there before came from no document.
            table.extra = Named::default();
        }
        table.counts_hold =
            table.source + table.before == table.target + table.rejected + table.skipped;
        report.tables.push(table);
    }
    let elements = work.elements;
    elements.compare(context, connection, false, report).await?;
    Ok(elements)
}

/// Tells how many documents will be read.
async fn announce(context: &Context) -> Result<()> {
    let collections = context.source.collections().await?;
    for (model, _) in context.document_models() {
        let feed = Feed::of(model);
        context.reporter.event(&Event::TablePlanned {
            table: model.table,
            collection: feed.label(),
            documents: feed.documents(&collections),
            documents_done: 0,
            rows_done: 0,
            chunks: 0,
        });
    }
    Ok(())
}

/// The rows of one pass over a table that does not fit into memory at once.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) pass: u64,
    passes: u64,
}

impl Part {
    const ALL: Self = Self { pass: 0, passes: 1 };

    pub(super) const fn has(self, key: u64) -> bool {
        self.passes == 1 || key % self.passes == self.pass
    }

    const fn is_all(self) -> bool {
        self.passes == 1
    }
}

/// The models with their numbers of rows in groups whose hashes fit into so many bytes; a table
/// that does not fit by itself is gone over in parts.
fn groups(sized: &[(&'static Model, u64)], hash_bytes: u64) -> Vec<(Vec<&'static Model>, Part)> {
    let mut groups = Vec::new();
    let mut group: Vec<&'static Model> = Vec::new();
    let mut bytes = 0;
    for (model, rows) in sized {
        let size = Hashes::<u64>::bytes(*rows);
        let passes = size.div_ceil(hash_bytes).max(1);
        if passes > 1 {
            groups.extend((0..passes).map(|pass| (vec![*model], Part { pass, passes })));
            continue;
        }
        if bytes + size > hash_bytes {
            groups.push((std::mem::take(&mut group), Part::ALL));
            bytes = 0;
        }
        group.push(model);
        bytes += size;
    }
    if !group.is_empty() {
        groups.push((group, Part::ALL));
    }
    groups
}

/// Compares a group of models; with the first one the pairs of the junctions are scanned, before
/// any element is read.
async fn compare_group(
    context: &Arc<Context>,
    connection: &mut Connection,
    models: &[&'static Model],
    (part, is_first): (Part, bool),
    work: &mut Work<'_>,
) -> Result<()> {
    let mut compared = Vec::with_capacity(models.len());
    for model in models {
        compared.push(Compared::new(context, connection, model, work).await?);
    }
    // A reference is followed by hashes where those of all keys it may name are there at once.
    let hashed: HashMap<&'static str, Arc<Hashes<u64>>> = compared
        .iter()
        .filter(|compared| compared.has_rows && part.is_all() && !work.is_independent)
        .map(|compared| (compared.model.name, Arc::clone(&compared.seen)))
        .collect();
    for compared in &mut compared {
        if hashed.contains_key(compared.model.name) {
            compared.links = Link::all(compared.model, &hashed);
        }
    }
    let compared: Vec<Arc<Compared>> = compared.into_iter().map(Arc::new).collect();
    let mut scans: Vec<&Arc<Compared>> =
        compared.iter().filter(|compared| compared.has_rows).collect();
    // The largest first, so that no worker is left alone with it.
    scans.sort_by_key(|compared| std::cmp::Reverse(compared.rows));
    let scans = scans.into_iter().map(|compared| Unit::Scan(Arc::clone(compared))).collect();
    let (reads, ()) = tokio::try_join!(
        reads(context, &compared, &work.elements),
        units(context, scans, part, None)
    )?;
    if is_first {
        let mut scans: Vec<(&Arc<Pairs>, Arc<[Link]>)> = work
            .elements
            .hashed()
            .map(|pairs| (pairs, Link::all(pairs.model(), &hashed).into()))
            .collect();
        scans.sort_by_key(|(pairs, _)| std::cmp::Reverse(pairs.rows()));
        let unit = |(pairs, links): &(&Arc<Pairs>, Arc<[Link]>)| {
            Unit::Pairs(Arc::clone(pairs), Arc::clone(links))
        };
        units(context, scans.iter().map(unit).collect(), part, None).await?;
        for (pairs, links) in scans {
            work.followed.add(pairs.model(), &links);
        }
    }
    // Rows that were not found and junction rows leave through one connection.
    let (sender, mut results) = mpsc::channel::<Found>(1);
    let reading = tokio::spawn({
        let context = Arc::clone(context);
        async move { units(&context, reads, part, Some(sender)).await }
    });
    let mut prepared: HashSet<&'static str> = HashSet::new();
    while let Some(found) = results.recv().await {
        if !found.rows.is_empty() {
            if prepared.insert(found.model.name) {
                look::prepare(context, connection, found.model).await?;
            }
            look::send(connection, found.model, &found.rows).await?;
        }
        if part.pass == 0 {
            work.elements.add(connection, found.model, &found.junctions, &found.elements).await?;
            work.elements.add_texts(context, connection, found.model, found.texts).await?;
        }
    }
    reading.await.map_err(|error| {
        Error::new(ErrorKind::Source, "the reader broke off").caused_by(error)
    })??;
    for compared in compared.iter().filter(|compared| compared.has_rows) {
        context.check_stop()?;
        let model = compared.model;
        let table = work.tables.entry(model.name).or_default();
        if part.pass == 0 {
            let documents = compared.documents.lock().unwrap_or_else(PoisonError::into_inner);
            (table.source, table.skipped) = *documents;
        }
        table.take(&mut compared.found.lock().unwrap_or_else(PoisonError::into_inner));
        if prepared.contains(model.name) {
            if compared.is_read_again.load(Ordering::Relaxed) {
                look::forget_copies(connection, model).await?;
            }
            let links = &compared.links;
            look::judge(context, connection, model, links, work.nulled, table).await?;
        }
        look::extra_rows(context, connection, compared, part, table).await?;
        if compared.seen.left() > 0 || compared.seen.has_doubles() {
            // No document has led to those rows, so nobody has followed their references.
            compared.links.iter().for_each(Link::doubt);
        }
        work.followed.add(model, &compared.links);
    }
    Ok(())
}

/// What is to be read of the source for a group of models, the largest collections first.
async fn reads(
    context: &Context,
    compared: &[Arc<Compared>],
    elements: &Elements,
) -> Result<Vec<Unit>> {
    let collections: HashMap<String, CollectionInfo> = context
        .source
        .collections()
        .await?
        .into_iter()
        .map(|collection| (collection.name.clone(), collection))
        .collect();
    let mut wanted = Vec::new();
    for compared in compared {
        if compared.has_rows || elements.wants(compared.model) {
            let names = Feed::of(compared.model).collections();
            wanted.extend(names.filter_map(|name| Some((compared, name, collections.get(name)?))));
        }
    }
    let bytes = wanted.iter().map(|(.., info)| info.bytes.unwrap_or_default());
    let chunk_bytes = context.options.chunk_bytes_of(bytes.fold(0, u64::saturating_add));
    let mut reads = Vec::new();
    for (compared, collection, info) in wanted {
        let documents = info.documents.unwrap_or(u64::MAX);
        let ranges = context.source.split(collection, chunk_bytes).await?;
        let read = |range| (documents, Unit::Read(Arc::clone(compared), collection, range));
        reads.extend(ranges.into_iter().map(read));
    }
    reads.sort_by_key(|(documents, _)| std::cmp::Reverse(*documents));
    Ok(reads.into_iter().map(|(_, read)| read).collect())
}

/// A piece of work for one connection or one reader.
enum Unit {
    Pairs(Arc<Pairs>, Arc<[Link]>),
    Scan(Arc<Compared>),
    Read(Arc<Compared>, &'static str, Range),
}

impl Unit {
    /// Whether a worker needs a connection for it.
    fn needs_target(&self) -> bool {
        match self {
            Self::Scan(_) | Self::Pairs(..) => true,
            Self::Read(compared, ..) => compared.path.is_some(),
        }
    }
}

/// What a reader has for the target.
pub(super) struct Found {
    model: &'static Model,
    rows: Vec<u8>,
    junctions: Vec<Vec<u8>>,
    /// Elements of each junction field, those that are no ids among them.
    pub(super) elements: Vec<u64>,
    /// Pairs of each junction field as text, in the order of the junction's columns.
    pub(super) texts: Vec<Vec<([String; 2], i32)>>,
}

impl Found {
    pub(super) fn new(model: &'static Model) -> Self {
        let fields = model.junctions.len();
        Self {
            model,
            rows: Vec::new(),
            junctions: vec![Vec::new(); fields],
            elements: vec![0; fields],
            texts: vec![Vec::new(); fields],
        }
    }

    /// Adds the junction rows of a document. One that is in the ledger has none, but its elements
    /// are counted where the run has counted them.
    fn add_junctions(
        &mut self,
        compared: &Compared,
        output: &Output,
        row: usize,
        form: &mut Vec<u8>,
    ) {
        if output.junctions.is_empty() {
            return;
        }
        let is_double = is_double(&compared.doubles, output, row);
        for (index, rows) in self.junctions.iter_mut().enumerate() {
            let (tuples, _, elements) = output.junction_rows(index, row);
            self.elements[index] += if is_double == Some(false) { 0 } else { elements };
            match &compared.pairs[index] {
                _ if is_double.is_some() => {}
                Some(pairs) => pairs.give(tuples, form, rows),
                None => rows.extend_from_slice(tuples),
            }
        }
    }
}

/// Does units of work on as many workers as the run has jobs.
async fn units(
    context: &Arc<Context>,
    units: Vec<Unit>,
    part: Part,
    results: Option<mpsc::Sender<Found>>,
) -> Result<()> {
    let needs_target = units.iter().any(Unit::needs_target);
    let queue = Arc::new(Mutex::new(units.into_iter()));
    let mut workers = tokio::task::JoinSet::new();
    let connections = WorkerConnections::default();
    for _ in 0..context.options.jobs() {
        let (context, queue, results) = (Arc::clone(context), Arc::clone(&queue), results.clone());
        let connections = connections.clone();
        workers.spawn(async move {
            let mut connection = None;
            loop {
                context.check_stop()?;
                // Before something is taken, which somebody else may be able to do.
                if needs_target && connection.is_none() {
                    connection = connections.next(&context).await?;
                    if connection.is_none() {
                        return Ok(());
                    }
                }
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                match (next, &results, &mut connection) {
                    (Some(Unit::Pairs(pairs, links)), _, Some(connection)) => {
                        pairs.scan(&context, connection, &links).await?;
                    }
                    (Some(Unit::Scan(compared)), _, Some(connection)) => match &compared.path {
                        Some(path) => {
                            independent::scan(connection, &context, &compared, path, part).await?;
                        }
                        None => scan(&context, connection, &compared, part).await?,
                    },
                    (Some(Unit::Read(compared, collection, range)), Some(results), connection) => {
                        match (&compared.path, connection) {
                            (Some(path), Some(connection)) => {
                                let compared = &compared;
                                independent::read(
                                    connection,
                                    &context,
                                    compared,
                                    path,
                                    (collection, range),
                                    part,
                                    results,
                                )
                                .await?;
                            }
                            _ => {
                                read(&context, &compared, collection, range, part, results).await?
                            }
                        }
                    }
                    (Some(_), ..) | (None, ..) => return Ok::<(), Error>(()),
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
    let _turn = context.turn_for_rows(connection, &context.names().table(model)).await?;
    let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
    let query = format!("SELECT {} FROM {}", list(&columns), context.names().table(model));
    let mut tuples = Tuples::open(connection, act, &query).await?;
    let mut hasher = RowHash::new(compared);
    let mut references = vec![0; compared.links.len()];
    let expected = compared.rows.div_ceil(part.passes);
    let mut hashes = Vec::with_capacity((expected + expected / 32) as usize);
    while let Some(tuple) = tuples.next().await? {
        let (key, row) = hasher.hash(&tuple);
        if part.has(key) {
            hashes.push((key, row));
        }
        for (count, cell) in references.iter_mut().zip(&hasher.links) {
            *count += u64::from(!cell.is_empty());
        }
    }
    for (link, count) in compared.links.iter().zip(references) {
        link.count(count);
    }
    compared.seen.extend(hashes);
    Ok(())
}

/// Hashes tuples of one model.
struct RowHash {
    model: &'static Model,
    id: usize,
    form: Vec<u8>,
    /// The columns whose references are followed, in their order.
    linked: Vec<usize>,
    /// Where their cells lie in the form; NULL takes no room.
    links: Vec<Span<usize>>,
}

impl RowHash {
    fn new(compared: &Compared) -> Self {
        let model = compared.model;
        let id = model.columns.iter().position(|column| column.primary_key).unwrap_or_default();
        let linked = compared.links.iter().map(|link| link.place).collect();
        Self { model, id, form: Vec::new(), linked, links: Vec::new() }
    }

    /// The hash of the cell of one of the columns whose references are followed, of the last tuple;
    /// `None` is NULL.
    fn link(&self, index: usize) -> Option<u64> {
        let cell = &self.form[self.links[index].clone()];
        (!cell.is_empty()).then(|| xxh3_64(cell))
    }

    /// The hashes of a complete tuple's key and of all its cells.
    fn hash(&mut self, tuple: &[u8]) -> (u64, u64) {
        self.form.clear();
        // A large row's form is not kept for the next ones.
        self.form.shrink_to(PIECE_BYTES);
        self.links.clear();
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
            let is_linked = self.linked.get(self.links.len()) == Some(&index);
            let Ok(length) = usize::try_from(length) else {
                self.form.extend_from_slice(&[0xff; 4]);
                if is_linked {
                    self.links.push(0..0);
                }
                continue;
            };
            let payload = &tuple[offset..offset + length];
            offset += length;
            let start = self.form.len();
            canonical::append(column.ty, payload, &mut self.form);
            if index == self.id {
                key = xxh3_64(&self.form[start..]);
            }
            if is_linked {
                self.links.push(start..self.form.len());
            }
        }
        (key, xxh3_64(&self.form))
    }
}

/// Reads and transforms a range of the source and looks every row up.
async fn read(
    context: &Context,
    compared: &Arc<Compared>,
    collection: &'static str,
    range: Range,
    part: Part,
    results: &mpsc::Sender<Found>,
) -> Result<()> {
    for in_order in [false, true] {
        let ending =
            read_once(context, compared, (collection, &range), in_order, part, results).await?;
        if ending == Ending::Whole {
            break;
        }
        // Rows that were found already are not found again, and PostgreSQL sees that they are right.
        compared.is_read_again.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Does so in the order of the ids, or in whichever is the cheapest. What is counted is counted when
/// the range has come whole.
async fn read_once(
    context: &Context,
    compared: &Arc<Compared>,
    (collection, range): (&'static str, &Range),
    in_order: bool,
    part: Part,
    results: &mpsc::Sender<Found>,
) -> Result<Ending> {
    let model = compared.model;
    let transformer = Arc::clone(context.transformer(model)?);
    let (sender, mut batches) = mpsc::channel::<Batch>(2);
    let reader = tokio::spawn({
        let (source, feed) = (Arc::clone(&context.source), Feed::of(model));
        let range = range.clone();
        async move { feed.read_either(&*source, (collection, &range), in_order, sender).await }
    });
    let mut scratch = transformer.scratch();
    let mut output = Output::default();
    let mut hasher = RowHash::new(compared);
    let mut found = Found::new(model);
    let mut form = Vec::new();
    let mut counted = (0, 0);
    while let Some(batch) = batches.recv().await {
        let (documents, bytes) = (batch.len() as u64, batch.bytes_len() as u64);
        let mut skipped = 0;
        let mut left = batch.iter();
        while let Some(document) = left.next() {
            transformer.transform(&mut scratch, document, &mut output);
            if left.len() > 0 && output.held_bytes() < PIECE_BYTES {
                continue;
            }
            for row in 0..output.row_count() {
                if compared.has_rows {
                    let (key, hash) = hasher.hash(output.row(row));
                    // As a document gives it, and no document before has.
                    let is_right = |key| compared.seen.give(key) == Some((&hash, true));
                    if part.has(key) && !is_right(key) {
                        look::append(&output, row, &mut found.rows);
                    } else {
                        for (index, link) in compared.links.iter().enumerate() {
                            if let Some(key) = hasher.link(index) {
                                link.follow(key);
                            }
                        }
                    }
                }
                if part.pass == 0 {
                    found.add_junctions(compared, &output, row, &mut form);
                }
            }
            skipped += output.skipped;
            output.clear();
        }
        counted = (counted.0 + documents, counted.1 + skipped);
        if part.pass == 0 {
            context.reporter.event(&Event::Progress { table: model.table, documents, bytes });
        }
        let held = found.rows.len() + found.junctions.iter().map(Vec::len).sum::<usize>();
        if held >= SUSPECT_BYTES {
            let mut next = Found::new(model);
            std::mem::swap(&mut next.elements, &mut found.elements);
            if results.send(std::mem::replace(&mut found, next)).await.is_err() {
                return Ok(Ending::Whole);
            }
        }
        context.check_stop()?;
    }
    let ending = reader.await.map_err(|error| {
        Error::new(ErrorKind::Source, "the reader broke off").caused_by(error)
    })??;
    if ending == Ending::Whole {
        compared.add_documents(counted.0, counted.1);
        let _receiver_gone = results.send(found).await;
    }
    Ok(ending)
}
