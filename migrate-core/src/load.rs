//! The load: a chunk is read, transformed and streamed into PostgreSQL in one transaction.
//!
//! A worker takes a chunk, streams its rows in one binary COPY while the source reads ahead, and
//! commits rows, junction rows, rejects and the chunk's note together. When the target refuses a
//! row, the chunk is rolled back and done again with care: in blocks under savepoints, each block
//! narrowed until the refused rows stand alone and become rejects. It is done again so as well where
//! the source has given it in an order in which it could not go on after a stumble.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::context::Context;
use crate::copy::{HEADER, TRAILER, copy_statement};
use crate::ddl::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::feed::Feed;
use crate::kept;
use crate::ledger::{self, OrphanNote};
use crate::read_ahead::Reading;
use crate::reject::{self, Reason, Reject};
use crate::run::Stop;
use crate::schema::{Model, quote_literal};
use crate::settle;
use crate::sink::{Connection, Replies, database_error, send, sql_state, target_error};
use crate::source::{Batch, Ending};
use crate::source_id;
use crate::stages::{Stage, timed};
use crate::staging;
use crate::state::{Chunk, ChunkNote, check_on, thrown_away};
use crate::status::{self, Work};
use crate::summary::add_replaced;
use crate::transform::{Output, Scratch, Transformer};
use crate::upkeep;

/// Rows leave in messages of about this size: large enough that the number of messages does not
/// matter, small enough that the server reads one while the next is made.
const MESSAGE_BYTES: usize = 256 << 10;
/// A document from this size on is large.
const LARGE_BYTES: usize = 1 << 20;

/// Begins a chunk's transaction. What a key checks at the end of a transaction must be known while
/// the refused row can still be found.
const BEGIN: &str = "BEGIN; SET CONSTRAINTS ALL IMMEDIATE";

/// Takes and loads chunks until all chunks of the run are done, by whomever.
pub(crate) async fn work(
    context: &Context,
    connection: &mut Connection,
    failed: &Stop,
) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_millis(200);
    let mut pause = PAUSE;
    // A chunk's note commits with its rows, so a commit that a crash of the server loses is a
    // chunk that was never done; waiting for the disk at each would buy nothing. Each worker waits
    // once, at the end: a crash before that breaks its connection, and it looks for chunks again.
    let name = quote_literal(&status::worker_name(context.run.run, context.state.name()));
    connection
        .execute(
            "preparing the load",
            format!("SET synchronous_commit = off; SET application_name = {name}"),
        )
        .await?;
    let _at_work = context.read_ahead.at_work();
    // When the session was in no transaction last.
    let mut idle = Instant::now();
    // A message of its own, or a rollback would take the settings back.
    connection.execute("beginning a transaction", BEGIN).await?;
    loop {
        context.check_stop()?;
        if failed.is_stopped() {
            return Ok(());
        }
        let begun = Instant::now();
        let moved = context.watch.next_commit();
        let taking = context.read_ahead.taking();
        let taken = context.state.take_chunk(connection, &context.run).await?;
        let reading = taking.took(taken.as_ref().map(|chunk| chunk.chunk));
        match taken {
            Some(chunk) => {
                context.stages.add(Stage::Chunks, begun.elapsed());
                pause = PAUSE;
                context.options.fail_points.hit("a chunk is taken")?;
                load_chunk(context, connection, &chunk, reading, &mut idle).await?;
            }
            None => {
                connection.execute("ending a transaction", "ROLLBACK").await?;
                if !context.state.has_open_chunks(connection, &context.run).await? {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = moved => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                idle = Instant::now();
                connection.execute("beginning a transaction", BEGIN).await?;
            }
        }
    }
    upkeep::count_changes(connection);
    context.state.make_durable(connection, context.run.run).await
}

/// Loads one chunk, taken in the current transaction, commits, and begins the next transaction. It may
/// have been read already.
async fn load_chunk(
    context: &Context,
    connection: &mut Connection,
    chunk: &Chunk,
    mut reading: Option<Reading>,
    idle: &mut Instant,
) -> Result<()> {
    let model = context.model(&chunk.model)?;
    let started = Instant::now();
    let mut told = Told { context, model, documents: 0, bytes: 0 };
    let mut care = Care::No;
    let loaded = loop {
        let loaded =
            stream_chunk(context, connection, chunk, model, care, reading.take(), &mut told).await;
        care = match &loaded {
            Err(error) if care != Care::Yes && is_refusal(error) => Care::Yes,
            Ok(done) if done.ending == Ending::BrokenOff => Care::Order,
            _ => break loaded,
        };
        told.take_back();
        // What comes again may need the memory that documents of chunks which nobody has taken hold.
        context.read_ahead.end();
        connection.execute("rolling back a chunk", "ROLLBACK").await?;
        context.options.fail_points.hit("a refused chunk is rolled back")?;
        connection.execute("beginning a transaction", BEGIN).await?;
        if !retake(context, connection, chunk).await? {
            connection.execute("ending a transaction", format!("ROLLBACK; {BEGIN}")).await?;
            return Ok(());
        }
    };
    let mut chunk_done = loaded?;
    chunk_done.note.seconds = started.elapsed().as_secs_f64();
    let written = Instant::now();
    context.state.finish_chunk(connection, context.run.run, chunk.chunk, &chunk_done.note).await?;
    context.options.fail_points.hit("a chunk is written")?;
    // The server counts what a session has changed when that is in no transaction, and may do so once a
    // second; and reading many rejects back may take long.
    const SHORT: Duration = Duration::from_secs(1);
    let goes_on = idle.elapsed() < SHORT && !chunk_done.rejects_spilled;
    let commit = if goes_on { format!("COMMIT; {BEGIN}") } else { "COMMIT".to_owned() };
    let mut replies = Replies::default();
    let committed = connection.ask_into("committing a chunk", commit, &mut replies).await;
    if replies.touched.is_empty() {
        return committed;
    }
    context.stages.add(Stage::Chunks, written.elapsed());
    told.keep();
    context.watch.note_commit();
    context.options.fail_points.hit("a chunk is committed")?;
    tell_rejects(context, connection, chunk, &chunk_done).await?;
    context.reporter.event(&Event::ChunkDone {
        table: model.table,
        read: chunk_done.note.read,
        loaded: chunk_done.note.loaded,
        rejected: chunk_done.note.rejected,
        skipped: chunk_done.note.skipped,
        bytes: chunk_done.note.bytes,
        elapsed: started.elapsed(),
    });
    if !goes_on {
        *idle = Instant::now();
        connection.execute("beginning a transaction", BEGIN).await?;
    }
    committed
}

/// Locks the chunk again after its transaction was rolled back; false when another worker has
/// taken or finished it in between.
async fn retake(context: &Context, connection: &mut Connection, chunk: &Chunk) -> Result<bool> {
    const ACT: &str = "taking a chunk again";
    let run = context.run.run;
    let rows = connection
        .query(
            ACT,
            format!(
                "WITH taken AS (
                    SELECT chunk FROM {} WHERE run = {run} AND chunk = {} AND NOT done
                    FOR UPDATE SKIP LOCKED)
                 SELECT {}, {} FROM taken",
                context.state.table("chunk"),
                chunk.chunk,
                context.state.is_on_sql(&context.run),
                status::announce_sql(run, Work::Chunk, "chunk", context.state.name()),
            ),
            &[],
        )
        .await
        .map_err(thrown_away)?;
    let Some(row) = rows.first() else { return Ok(false) };
    check_on(run, row.try_get(0).map_err(|error| target_error(ACT, error))?)?;
    Ok(true)
}

/// Whether the target refused a row: an integrity constraint (class 23), a value (22), an error
/// that a trigger raised (P0001), or a value too long for an index (54000). Anything else is not about a row.
pub(crate) fn is_refusal(error: &Error) -> bool {
    sql_state(error).is_some_and(|code| {
        code.starts_with("23")
            || code.starts_with("22")
            || ["P0001", "44000", "54000"].contains(&code)
    })
}

/// Whether rows are expected to be refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// No: one COPY for all rows, no savepoints, and documents in any order.
    No,
    /// No, but reading in any order has broken off, so they come by `_id`.
    Order,
    /// Yes: blocks under savepoints.
    Yes,
}

/// What was told of a chunk's progress: taken back when the chunk does not come to its commit,
/// even where its work is just dropped.
struct Told<'a> {
    context: &'a Context,
    model: &'static Model,
    documents: u64,
    bytes: u64,
}

impl Told<'_> {
    fn tell(&mut self, batch: &Batch) {
        let (documents, bytes) = (batch.len() as u64, batch.bytes_len() as u64);
        self.documents += documents;
        self.bytes += bytes;
        self.context.watch.note_move();
        let table = self.model.table;
        self.context.reporter.event(&Event::Progress { table, documents, bytes });
    }

    fn take_back(&mut self) {
        let (documents, bytes) = (self.documents, self.bytes);
        if documents > 0 {
            let table = self.model.table;
            self.context.reporter.event(&Event::ChunkUndone { table, documents, bytes });
        }
        self.keep();
    }

    fn keep(&mut self) {
        (self.documents, self.bytes) = (0, 0);
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// A chunk whose rows are in the open transaction.
#[derive(Default)]
struct Done {
    note: ChunkNote,
    /// Whether these are all rows of the chunk.
    ending: Ending,
    /// The rejects, as long as they are few.
    rejects: Vec<Reject>,
    /// The bytes of all rejected documents.
    reject_bytes: usize,
    /// Whether the rejects were too many to keep, and are only in the ledger.
    rejects_spilled: bool,
}

/// What stands beside the rows and waits until the connection is free of their COPY.
#[derive(Default)]
pub(crate) struct Side {
    /// For each junction field of the model COPY tuples of its staging table.
    junctions: Vec<Vec<u8>>,
    /// The owner's key, the junction field and the description of each element that is no id.
    orphans: Vec<OrphanNote>,
    /// `_id`s that their UUID does not give back: a document with the field `v`, and the UUID.
    ids: Vec<(Vec<u8>, Uuid)>,
    rejects: Vec<Reject>,
    bytes: usize,
}

impl Side {
    /// Takes over what an output holds beside its rows and adds its counts to `note`; the rows in
    /// `refused` (in order) and all that belongs to them are left out. The output is empty then.
    pub(crate) fn take(
        &mut self,
        names: Names<'_>,
        model: &'static Model,
        output: &mut Output,
        refused: &[usize],
        note: &mut ChunkNote,
    ) {
        let kept = |row: usize| refused.binary_search(&row).is_err();
        self.junctions.resize_with(model.junctions.len(), Vec::new);
        for (index, field) in model.junctions.iter().enumerate() {
            // Before the first document the output knows of no junctions.
            let Some(junction) = output.junctions.get(index) else { continue };
            let mut elements = junction.total.elements;
            let side = &mut self.junctions[index];
            let before = side.len();
            if refused.is_empty() {
                side.extend_from_slice(&junction.rows);
            } else {
                for row in 0..output.row_count() {
                    let (rows, _, row_elements) = output.junction_rows(index, row);
                    if kept(row) {
                        side.extend_from_slice(rows);
                    } else {
                        elements -= row_elements;
                    }
                }
            }
            self.bytes += side.len() - before;
            *note.elements.entry(field.table.get().name.to_owned()).or_default() += elements;
        }
        for orphan in output.orphans.drain(..).filter(|orphan| kept(orphan.row)) {
            let junction = &model.junctions[orphan.junction];
            let table = junction.table.get();
            let (_, other) = junction.sides(model);
            self.bytes += 256;
            self.orphans.push(OrphanNote {
                schema: names.schema_of(table).to_owned(),
                table: table.table.to_owned(),
                column: table.columns[other].name.to_owned(),
                row_key: source_id::key_text(settle::id_column(model), &orphan.owner),
                value: orphan.value,
                position: orphan.position,
            });
        }
        for id in &output.irregular_ids {
            if let (true, Some(value)) = (kept(id.row), output.row_id(id.row)) {
                let document = value.to_document();
                self.bytes += document.len() + 64;
                self.ids.push((document, Uuid::from_bytes(id.uuid)));
            }
        }
        self.bytes +=
            output.rejects.iter().map(|reject| reject.document.len() + 256).sum::<usize>();
        self.rejects.append(&mut output.rejects);
        for (field, unknown) in output.unknown.iter().filter(|(_, unknown)| unknown.documents > 0) {
            match note.unknown.get_mut(field) {
                Some(sum) => sum.documents += unknown.documents,
                None => {
                    note.unknown.insert(field.clone(), unknown.clone());
                }
            }
        }
        let replaced = output.replaced.iter().map(|(column, values)| (*column, values));
        add_replaced(&mut note.replaced, replaced);
        note.read += output.documents;
        note.skipped += output.skipped;
        note.bytes += output.bytes;
        note.loaded += (output.row_count() - refused.len()) as u64;
        output.clear();
    }
}

/// The documents of a chunk on their way: read ahead by a task of their own, transformed here.
struct Stream {
    batches: mpsc::Receiver<Batch>,
    /// The batch that is being transformed; `None` at the end.
    batch: Option<Batch>,
    transformer: Arc<Transformer>,
    scratch: Scratch,
    output: Output,
    held: Held,
    side: Side,
    /// How long the source and the target were waited for.
    source_time: Duration,
    target_time: Duration,
}

/// The documents of a block of rows that is written with care, for the rejects among them.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Held {
    fn push(&mut self, document: &[u8]) {
        self.bytes.extend_from_slice(document);
        self.ends.push(self.bytes.len());
    }

    /// The document of that number since it was empty.
    fn get(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    /// Empties it and keeps no more memory than the next documents may need.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(LARGE_BYTES);
        self.ends.clear();
    }
}

impl Stream {
    /// Goes to the next batch. The one before gives its memory back first, so that nobody waits
    /// for memory who has some.
    async fn advance(&mut self) {
        self.batch = None;
        self.batch = timed(&mut self.source_time, self.batches.recv()).await;
    }
}

/// Reads, transforms and writes a chunk within the current transaction.
async fn stream_chunk(
    context: &Context,
    connection: &mut Connection,
    chunk: &Chunk,
    model: &'static Model,
    care: Care,
    reading: Option<Reading>,
    told: &mut Told<'_>,
) -> Result<Done> {
    let begun = Instant::now();
    let transformer = Arc::clone(context.transformer(model)?);
    let is_kept = kept::is_kept(context, model);
    // Where rows are refused one by one, the first of those that exclude each other stays.
    let in_order = care != Care::No || is_kept;
    // What was read ahead came in any order.
    let Reading { batches, reader } = reading.filter(|_| !in_order).unwrap_or_else(|| {
        let part = (chunk.collection.clone(), chunk.range.clone());
        Reading::begin(&context.source, model, part, in_order)
    });
    let mut stream = Stream {
        batches,
        batch: None,
        scratch: transformer.scratch(),
        output: Output::default(),
        held: Held::default(),
        side: Side::default(),
        source_time: Duration::ZERO,
        target_time: Duration::ZERO,
        transformer,
    };
    let mut done = Done::default();
    if is_kept {
        kept::prepare(context, connection, model).await?;
    }
    stream.advance().await;
    while stream.batch.is_some() {
        match care {
            Care::No | Care::Order => {
                stream_rows(context, connection, model, &mut stream, &mut done, told).await?;
            }
            Care::Yes => {
                careful_rows(context, connection, model, &mut stream, &mut done, told).await?;
            }
        }
        let side = &mut stream.side;
        let write = write_side(context, connection, model, side, chunk.chunk, &mut done);
        timed(&mut stream.target_time, write).await?;
        stream.advance().await;
    }
    let read = reader.await;
    done.ending = read.map_err(|error| {
        Error::new(ErrorKind::Source, "the reader broke off").caused_by(error)
    })??;
    if is_kept {
        let insert = kept::insert(context, connection, model);
        let rejected = timed(&mut stream.target_time, insert).await?;
        done.note.rejected += rejected;
        done.note.loaded = done.note.loaded.saturating_sub(rejected);
    }
    let waited = stream.source_time + stream.target_time;
    context.stages.add(Stage::Source, stream.source_time);
    context.stages.add(Stage::Target, stream.target_time);
    context.stages.add(Stage::Transform, begun.elapsed().saturating_sub(waited));
    Ok(done)
}

/// Streams rows in one COPY until the source ends or the side rows need the connection; the batch
/// that is left then is done with.
async fn stream_rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    stream: &mut Stream,
    done: &mut Done,
    told: &mut Told<'_>,
) -> Result<()> {
    let act = format!("loading {}", model.table);
    let failed = |error| target_error(&act, error);
    let statement = row_statement(context, model);
    let begin = connection.raw().copy_in_raw(&statement);
    let mut copy = timed(&mut stream.target_time, begin).await.map_err(failed)?;
    copy.send(HEADER.as_slice()).await.map_err(failed)?;
    while let Stream {
        batch: Some(documents),
        transformer,
        scratch,
        output,
        side,
        target_time,
        ..
    } = stream
    {
        for document in documents.iter() {
            transformer.transform(scratch, document, output);
            if document.len() >= LARGE_BYTES {
                // What it has made of itself on the way is not kept for the next ones.
                *scratch = transformer.scratch();
            }
            if output.rows.len() >= MESSAGE_BYTES {
                timed(target_time, send(&mut copy, &output.rows)).await.map_err(failed)?;
                side.take(context.names(), model, output, &[], &mut done.note);
            }
        }
        told.tell(documents);
        if let Err(error) = context.check_stop() {
            copy.abort("the run was asked to stop").await.map_err(failed)?;
            return Err(error);
        }
        if side.bytes + output.held_bytes() >= context.side_bytes() {
            break;
        }
        stream.advance().await;
    }
    let Stream { output, side, target_time, .. } = stream;
    let end = async {
        send(&mut copy, &output.rows).await?;
        copy.send(TRAILER.as_slice()).await?;
        copy.finish().await
    };
    timed(target_time, end).await.map_err(failed)?;
    side.take(context.names(), model, output, &[], &mut done.note);
    Ok(())
}

/// Writes rows in blocks under savepoints until the source ends or the side rows need the
/// connection; the batch that is left then is done with.
async fn careful_rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    stream: &mut Stream,
    done: &mut Done,
    told: &mut Told<'_>,
) -> Result<()> {
    // Documents and rows each have half of what may stand beside the rows of other chunks.
    let block_bytes = context.side_bytes() / 2;
    while let Stream {
        batch: Some(documents),
        transformer,
        scratch,
        output,
        held,
        side,
        target_time,
        ..
    } = stream
    {
        for document in documents.iter() {
            transformer.transform(scratch, document, output);
            if document.len() >= LARGE_BYTES {
                *scratch = transformer.scratch();
            }
            held.push(document);
            if output.rows.len() >= block_bytes || held.bytes.len() >= block_bytes {
                let note = &mut done.note;
                let write = write_block(context, connection, model, output, held, side, note);
                timed(target_time, write).await?;
            }
        }
        told.tell(documents);
        context.check_stop()?;
        if side.bytes >= context.side_bytes() {
            break;
        }
        stream.advance().await;
    }
    let Stream { output, held, side, target_time, .. } = stream;
    let write = write_block(context, connection, model, output, held, side, &mut done.note);
    timed(target_time, write).await
}

/// Writes the rows that have gathered; those that the target refuses become rejects.
///
/// The server names the line of a COPY that broke a constraint at once, so the block is cut right
/// there, and the rows behind it are halved; where it names none (a constraint checked at the end),
/// the block is halved. So a block with `k` refused rows costs a number of round trips in the order
/// of `k` times the logarithm of its rows, and no row is sent more often than that logarithm.
async fn write_block(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    output: &mut Output,
    held: &mut Held,
    side: &mut Side,
    note: &mut ChunkNote,
) -> Result<()> {
    let statement = row_statement(context, model);
    let act = format!("loading {}", model.table);
    let mut refused: Vec<(usize, Reject)> = Vec::new();
    // Ranges of rows to try, the next one last.
    let whole = 0..output.row_count();
    let mut open = Vec::from([whole]);
    while let Some(range) = open.pop() {
        if range.is_empty() {
            continue;
        }
        connection.execute("setting a savepoint", "SAVEPOINT block").await?;
        match connection.copy(&act, &statement, rows_of(output, &range)).await {
            Ok(_) => {
                connection.execute("releasing a savepoint", "RELEASE SAVEPOINT block").await?;
            }
            Err(error) if is_refusal(&error) => {
                connection
                    .execute("rolling back to a savepoint", "ROLLBACK TO SAVEPOINT block")
                    .await?;
                if range.len() == 1 {
                    refused.push((range.start, refusal(model, output, range.start, &error)));
                    continue;
                }
                // Lines count from 1.
                let line = refused_line(&error).filter(|line| (1..=range.len()).contains(line));
                match line {
                    // The rows before it may still break something among themselves that is
                    // checked later, so they are tried like any others.
                    Some(line) => {
                        let row = range.start + line - 1;
                        // Were they sent as one again for each refused row among them, many such
                        // rows would send the block with the square of their number.
                        let middle = row + 1 + (range.end - row - 1) / 2;
                        open.push(middle..range.end);
                        open.push(row + 1..middle);
                        open.push(row..row + 1);
                        open.push(range.start..row);
                    }
                    None => {
                        let middle = range.start + range.len() / 2;
                        open.push(middle..range.end);
                        open.push(range.start..middle);
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    refused.sort_by_key(|(row, _)| *row);
    let rows: Vec<usize> = refused.iter().map(|(row, _)| *row).collect();
    let documents: Vec<usize> =
        rows.iter().map(|row| output.marks[*row].document as usize).collect();
    side.take(context.names(), model, output, &rows, note);
    for ((_, mut reject), document) in refused.into_iter().zip(documents) {
        reject.document = held.get(document).to_vec();
        side.bytes += reject.document.len() + 256;
        side.rejects.push(reject);
    }
    held.clear();
    Ok(())
}

/// The tuples of a range of rows.
fn rows_of<'a>(output: &'a Output, range: &std::ops::Range<usize>) -> &'a [u8] {
    let start = match range.start {
        0 => 0,
        row => output.marks[row - 1].row_end,
    };
    &output.rows[start..output.marks[range.end - 1].row_end]
}

/// The line of the COPY at which the server stopped, from the context of its error:
/// `COPY crm_Contacts, line 17, column email: "…"`.
fn refused_line(error: &Error) -> Option<usize> {
    let context = database_error(error)?.r#where()?;
    let (_, rest) = context.rsplit_once(", line ")?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// Why the target refused a row, as a reject that still lacks its document.
fn refusal(model: &'static Model, output: &Output, row: usize, error: &Error) -> Reject {
    let id = output.row_id(row).and_then(|id| id.to_bson().ok()).unwrap_or(bson::Bson::Null);
    let mut reject = Reject {
        collection: Feed::of(model).label_of(&id),
        table: model.table.to_owned(),
        source_id: source_id::display(&id),
        stage: reject::Stage::Write,
        reason: Reason::Constraint,
        field: String::new(),
        message: String::new(),
        document: Vec::new(),
    };
    (reject.reason, reject.field, reject.message) = refusal_parts(model, error);
    reject
}

/// Why the target refused a row: reason, field and message.
pub(crate) fn refusal_parts(model: &Model, error: &Error) -> (Reason, String, String) {
    let Some(refused) = database_error(error) else {
        return (Reason::Constraint, String::new(), error.to_string());
    };
    let reason = match refused.code() {
        "23505" => Reason::Duplicate,
        "23503" => Reason::Orphan,
        "54000" => Reason::TooLong,
        _ => Reason::Constraint,
    };
    let check = refused.constraint().filter(|_| refused.code() == "23514");
    let check = check.and_then(|name| ddl::checks(model).into_iter().find(|(own, _)| own == name));
    let mut message = match check {
        Some((_, sql)) => format!("expected `{sql}`, which the row does not fulfil"),
        None => refused.message().to_owned(),
    };
    if let Some(detail) = refused.detail() {
        message.push_str("; ");
        message.push_str(detail);
    }
    let field = refused
        .column()
        .and_then(|column| model.column(column))
        .map(|(_, column)| settle::field_of(column))
        .or_else(|| refused.constraint().map(|name| constraint_columns(model, name)))
        .unwrap_or_default();
    (reason, field, message)
}

/// The columns of one of the model's own keys; for others the constraint's name.
fn constraint_columns(model: &Model, name: &str) -> String {
    model
        .columns
        .iter()
        .filter(|column| name == format!("{}_{}_key", model.table, column.name))
        .map(settle::field_of)
        .next()
        .unwrap_or_else(|| name.to_owned())
}

/// The COPY of a model's rows: into its table, or where they wait while constraints are on.
fn row_statement(context: &Context, model: &Model) -> String {
    if kept::is_kept(context, model) {
        let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
        let columns = ddl::list(&columns);
        return format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", kept::TABLE);
    }
    copy_statement(
        model.schema.unwrap_or(&context.options.schema),
        model.table,
        model.columns.iter().map(|column| column.name),
    )
}

/// Writes what stands beside the rows: junction rows, ids, orphaned elements and rejects.
async fn write_side(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    side: &mut Side,
    chunk: i64,
    done: &mut Done,
) -> Result<()> {
    let rejects = std::mem::take(&mut side.rejects);
    write_relations(context, connection, model, side).await?;
    if !rejects.is_empty() {
        let schema = context.names().schema_of(model);
        let (state, run) = (&context.state, context.run.run);
        ledger::insert_rejects(connection, state, run, schema, Some(chunk), &rejects).await?;
        done.note.rejected += rejects.len() as u64;
        done.reject_bytes += rejects.iter().map(|reject| reject.document.len()).sum::<usize>();
        if done.reject_bytes <= context.side_bytes() {
            done.rejects.extend(rejects);
        } else {
            done.rejects_spilled = true;
            done.rejects = Vec::new();
        }
    }
    Ok(())
}

/// Writes the junction rows, the ids and the orphaned elements, and clears them.
async fn write_relations(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    side: &mut Side,
) -> Result<()> {
    let run = context.run.run;
    for (junction, rows) in model.junctions.iter().zip(&mut side.junctions) {
        if rows.is_empty() {
            continue;
        }
        let table = junction.table.get();
        staging::write(connection, &kept::stage(context, model, table), table, rows).await?;
        rows.clear();
    }
    let orphan = kept::orphan_table(context, model);
    ledger::insert_orphans(connection, &orphan, run, &side.orphans).await?;
    side.orphans.clear();
    if !side.ids.is_empty() {
        let (sources, ids): (Vec<Vec<u8>>, Vec<String>) =
            side.ids.drain(..).map(|(source, id)| (source, id.to_string())).unzip();
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO {} (run, collection, source_id, id)
             SELECT {run}, $1, s, i::uuid FROM unnest($2::bytea[], $3::text[]) AS new (s, i)",
            context.state.table("id_map")
        )))
        .bind(Feed::of(model).label())
        .bind(&sources)
        .bind(&ids)
        .execute(connection.raw())
        .await
        .map_err(|error| target_error("writing the id map", error))?;
        if kept::is_kept(context, model) {
            kept::remember_ids(connection, &sources, &ids).await?;
        }
    }
    side.bytes = 0;
    Ok(())
}

/// Loads documents again that settling has taken out, without a chunk: rows, junction rows and
/// orphaned elements, in the caller's transaction. `has_ids` says that their ids are in the id map
/// already.
pub(crate) async fn write_output(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    output: &mut Output,
    has_ids: bool,
) -> Result<ChunkNote> {
    let act = format!("loading {} again", model.table);
    connection.copy(&act, &row_statement(context, model), &output.rows).await?;
    let mut side = Side::default();
    let mut note = ChunkNote::default();
    side.take(context.names(), model, output, &[], &mut note);
    if has_ids {
        let ids = side.ids.drain(..).map(|(source, id)| (source, id.to_string()));
        let (sources, ids): (Vec<Vec<u8>>, Vec<String>) = ids.unzip();
        if kept::is_kept(context, model) {
            kept::remember_ids(connection, &sources, &ids).await?;
        }
    }
    write_relations(context, connection, model, &mut side).await?;
    Ok(note)
}

/// Takes the staged junction rows, the ids and the orphaned elements of rows away, by the rows'
/// keys; gives the number of elements per junction model.
pub(crate) async fn unstage(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    keys: &[String],
) -> Result<BTreeMap<&'static str, u64>> {
    let run = context.run.run;
    let mut elements = BTreeMap::new();
    for (index, junction) in model.junctions.iter().enumerate() {
        let table = junction.table.get();
        let (own, _) = junction.sides(model);
        let column = &table.columns[own];
        let stage = kept::stage(context, model, table);
        let key_type = context.names().column_type(column);
        let origin = context.origins(model)[index];
        let gone =
            staging::remove(connection, &stage, (table, column), &key_type, origin, keys).await?;
        let notes = sqlx::query(AssertSqlSafe(format!(
            "DELETE FROM {} WHERE run = {run} AND table_schema = $4 AND table_name = $1
                AND column_name = $2 AND element AND row_key = ANY ($3::text[])",
            kept::orphan_table(context, model),
        )))
        .bind(table.table)
        .bind(table.columns[1 - own].name)
        .bind(keys)
        .bind(context.names().schema_of(table))
        .execute(connection.raw())
        .await
        .map_err(|error| target_error("taking staged rows back", error))?;
        *elements.entry(table.name).or_default() += gone + notes.rows_affected();
    }
    Ok(elements)
}

/// Tells of a committed chunk's rejects.
async fn tell_rejects(
    context: &Context,
    connection: &mut Connection,
    chunk: &Chunk,
    done: &Done,
) -> Result<()> {
    for reject in &done.rejects {
        context.reporter.event(&Event::Rejected(reject));
    }
    if !done.rejects_spilled {
        return Ok(());
    }
    // There were too many to keep: they are read back from the ledger, one at a time. Where they are
    // large their share is waited for, by somebody who has none; and the connection goes, because
    // the driver keeps a buffer of the largest row that it has read.
    let ledger = context.state.table("reject");
    let turn = context.turn_for_rows(connection, &ledger).await?;
    let (_share, mut own) = match (turn.is_some(), context.source.budget()) {
        (true, Some(budget)) => {
            context.read_ahead.end();
            // Where the server has no connection to spare, this one does.
            (Some(budget.share_of_largest().await), context.target.connect().await.ok())
        }
        _ => (None, None),
    };
    let connection = own.as_mut().unwrap_or(connection);
    const ACT: &str = "reading rejects back";
    let sql = format!(
        "SELECT {} FROM {} WHERE run = {} AND chunk = {}",
        ledger::Entry::COLUMNS,
        context.state.table("reject"),
        context.run.run,
        chunk.chunk
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(connection.raw());
    while let Some(row) = rows.try_next().await.map_err(|error| target_error(ACT, error))? {
        let entry = ledger::Entry::from_row(&row)?;
        context.reporter.event(&Event::Rejected(&entry.reject));
    }
    Ok(())
}
