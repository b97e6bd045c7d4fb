//! The files for people: `migration-errors.log` with every rejected document, and
//! `migration-checkpoint.json`, a mirror of what is in the target. Both have mode 0600, for they
//! hold customers' data. The log mirrors the ledger: it is made anew from it when a run goes on, and
//! at the end where it may differ. Nothing is read back from them but the target of a run that did not finish,
//! to warn whoever starts another one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use migrate_core::Reject;
use migrate_core::cell::extended_json;
use migrate_core::event::{Event, Reporter};
use migrate_core::feed::shown_document;
use migrate_core::ledger::Entry;
use migrate_core::status::{Status, TableStatus};
use migrate_core::summary::Summary;
use serde::Serialize;

use crate::printer::{one_line, printable};

const ERRORS: &str = "migration-errors.log";
const CHECKPOINT: &str = "migration-checkpoint.json";
/// The mirror is rewritten at most this often while chunks come in.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes both files from the events of a run. A file that cannot be written does not stop the
/// run, whose truth is in the target: the first failure is kept for [`Files::failure`].
pub(crate) struct Files {
    folder: PathBuf,
    /// A dry run loads nothing, so there is nothing to mirror.
    dry: bool,
    state: Mutex<State>,
}

struct State {
    log: Option<io::BufWriter<fs::File>>,
    /// Entries that this process has written into the log.
    logged: u64,
    /// Whether something was done again, and its rejects told twice.
    waited: bool,
    resumed: bool,
    checkpoint: Checkpoint,
    tables: BTreeMap<String, Table>,
    /// The file of an earlier process has been set aside.
    backed_up: bool,
    written: Option<Instant>,
    failure: Option<String>,
}

#[derive(Default)]
struct Table {
    documents: u64,
    read: u64,
    chunks: u64,
    chunks_done: u64,
    estimated: bool,
}

/// The contents of `migration-checkpoint.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    version: u32,
    timestamp: String,
    current_table: Option<String>,
    completed_tables: Vec<String>,
    migrated_records: BTreeMap<String, u64>,
    total_records_migrated: u64,
    total_errors: u64,
    /// Where the rows go, without secrets.
    target: String,
    /// The run's number in the target, once it has one.
    run: Option<i64>,
    finished: bool,
}

impl Files {
    /// Will write into `folder`, which is made if need be; of a `dry` run only the rejects.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn new(folder: &Path, dry: bool) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let checkpoint = Checkpoint { version: 1, ..Checkpoint::default() };
        let state = State {
            log: None,
            logged: 0,
            waited: false,
            resumed: false,
            checkpoint,
            tables: BTreeMap::new(),
            backed_up: false,
            written: None,
            failure: None,
        };
        Ok(Self { folder: folder.to_owned(), dry, state: Mutex::new(state) })
    }

    /// Names the target in the checkpoint, as it may be shown.
    #[must_use]
    pub(crate) fn of_target(self, target: String) -> Self {
        self.lock().checkpoint.target = target;
        self
    }

    /// A sentence about the run whose checkpoint lies in the folder, if that is not finished and
    /// has another target than this one.
    pub(crate) fn unfinished_elsewhere(&self) -> Option<String> {
        let path = self.folder.join(CHECKPOINT);
        let text = fs::read_to_string(&path).ok()?;
        let found: serde_json::Value = serde_json::from_str(&text).ok()?;
        let other = found["target"].as_str().filter(|target| !target.is_empty())?;
        // One that never began has no number.
        let run = found["run"].as_i64()?;
        let state = self.lock();
        let target = &state.checkpoint.target;
        if found["finished"] != false || other == target {
            return None;
        }
        Some(format!(
            "`{}` tells of run {run} into {other}, which is not finished; this one goes into {target}",
            path.display()
        ))
    }

    /// The log of rejected documents.
    pub(crate) fn errors(&self) -> PathBuf {
        self.folder.join(ERRORS)
    }

    /// Writes what is still to be written, with the counts of the summary where the run came to
    /// its end.
    pub(crate) fn finish(&self, summary: Option<&Summary>) {
        let mut state = self.lock();
        if let Some(summary) = summary {
            state.checkpoint.current_table = None;
            state.checkpoint.completed_tables =
                summary.tables.iter().map(|table| table.table.clone()).collect();
            state.checkpoint.migrated_records =
                summary.tables.iter().map(|table| (table.table.clone(), table.loaded)).collect();
            state.checkpoint.total_errors = summary.totals.rejected;
            state.checkpoint.run = Some(summary.run);
            state.checkpoint.finished = true;
        }
        // A run that failed before it touched anything leaves the files of an earlier one alone.
        if summary.is_some() || state.written.is_some() || !state.tables.is_empty() {
            self.write_checkpoint(&mut state);
        }
        if let Some(mut log) = state.log.take()
            && let Err(error) = log.flush()
        {
            state.fail(ERRORS, &error);
        }
    }

    /// Sets the counts of a run that was stopped to those of the state: what was told of a task is
    /// told after its commit, and a stop may come in between.
    pub(crate) fn correct(&self, status: &Status) {
        let mut state = self.lock();
        let checkpoint = &mut state.checkpoint;
        let is_done = |table: &&TableStatus| table.chunks_done == table.chunks;
        checkpoint.run = Some(status.run);
        checkpoint.completed_tables =
            status.tables.iter().filter(is_done).map(|table| table.table.clone()).collect();
        checkpoint.migrated_records =
            status.tables.iter().map(|table| (table.table.clone(), table.totals.loaded)).collect();
        checkpoint.total_errors = status.totals.rejected;
        if checkpoint
            .current_table
            .as_ref()
            .is_some_and(|table| checkpoint.completed_tables.contains(table))
        {
            checkpoint.current_table = None;
        }
    }

    /// Whether the run went on where an earlier process had stopped.
    pub(crate) fn is_resumed(&self) -> bool {
        self.lock().resumed
    }

    /// What could not be written, if anything.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_checkpoint(&self, state: &mut State) {
        if self.dry {
            return;
        }
        state.written = Some(Instant::now());
        let checkpoint = &mut state.checkpoint;
        checkpoint.timestamp = now();
        checkpoint.total_records_migrated = checkpoint.migrated_records.values().sum();
        let path = self.folder.join(CHECKPOINT);
        let result = replace(&path, checkpoint, !state.backed_up);
        state.backed_up = true;
        if let Err(error) = result {
            state.fail(CHECKPOINT, &error);
        }
    }

    /// Whether the log may differ from the ledger of a run with so many rejects: an earlier process
    /// died between a commit and the log, something was done twice, or others have done a part.
    pub(crate) fn is_doubtful(&self, rejected: u64) -> bool {
        let state = self.lock();
        state.resumed || state.waited || state.logged != rejected
    }

    /// Makes the log anew, in one step when [`NewLog::finish`] is called.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new_log(&self) -> io::Result<NewLog> {
        let (path, new) = (self.errors(), self.folder.join(format!("{ERRORS}.new")));
        let file = fs::File::options();
        let file = file.clone().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        Ok(NewLog { file: io::BufWriter::new(file), path, new, is_empty: true })
    }

    /// Keeps a failure for [`Files::failure`].
    pub(crate) fn log_failed(&self, error: &io::Error) {
        self.lock().fail(ERRORS, error);
    }

    fn write_reject(&self, state: &mut State, reject: &Reject, time: &str) {
        let path = self.errors();
        if state.log.is_none() {
            match open_log(&path) {
                Ok(file) => state.log = Some(io::BufWriter::new(file)),
                Err(error) => return state.fail(ERRORS, &error),
            }
        }
        let Some(log) = &mut state.log else { return };
        let result = log.write_all(entry(reject, time).as_bytes());
        state.logged += 1;
        if let Err(error) = result {
            state.fail(ERRORS, &error);
        }
    }
}

/// A log on its way to replace the one that is there.
pub(crate) struct NewLog {
    file: io::BufWriter<fs::File>,
    path: PathBuf,
    new: PathBuf,
    is_empty: bool,
}

impl NewLog {
    /// Adds an entry of the ledger.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add(&mut self, ledger: &Entry) -> io::Result<()> {
        self.is_empty = false;
        self.file.write_all(entry(&ledger.reject, &ledger.time).as_bytes())
    }

    /// Puts it in place; where nothing was rejected there is no log.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        if !self.is_empty {
            return fs::rename(&self.new, &self.path);
        }
        fs::remove_file(&self.new)?;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Table {
    /// Whether all of it was read, as far as is known: a table that goes on tells only of the
    /// chunks that were left, and then the documents are counted.
    fn is_complete(&self) -> bool {
        match self.estimated {
            true => self.documents > 0 && self.read >= self.documents,
            false => self.chunks > 0 && self.chunks_done == self.chunks,
        }
    }
}

impl State {
    fn complete(&mut self, table: &str) {
        let tables = &mut self.checkpoint.completed_tables;
        if !tables.iter().any(|complete| complete == table) {
            tables.push(table.to_owned());
        }
    }

    fn fail(&mut self, file: &str, error: &io::Error) {
        self.failure.get_or_insert_with(|| format!("`{file}` could not be written: {error}"));
    }
}

impl Reporter for Files {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::Begun { run } => state.checkpoint.run = Some(*run),
            Event::Resumed { run, .. } => {
                state.resumed = true;
                // It is made anew from the ledger, whose entries follow: the process before may
                // have died between a commit and its log.
                if let Err(error) = fs::File::options()
                    .write(true)
                    .truncate(true)
                    .open(self.errors())
                    .and_then(|file| file.set_len(0))
                    && error.kind() != io::ErrorKind::NotFound
                {
                    state.fail(ERRORS, &error);
                }
                state.checkpoint.run = Some(*run);
            }
            Event::TablePlanned { table, documents, documents_done, rows_done, chunks, .. } => {
                if state.tables.is_empty() && !state.resumed {
                    // The rejects of an earlier run are none of this one.
                    set_aside(&self.errors()).unwrap_or_else(|error| state.fail(ERRORS, &error));
                }
                let entry = Table {
                    documents: *documents,
                    read: *documents_done,
                    chunks: *chunks,
                    chunks_done: 0,
                    estimated: *documents_done > 0,
                };
                if *documents_done > 0 {
                    state.checkpoint.migrated_records.insert((*table).to_owned(), *rows_done);
                }
                if entry.is_complete() {
                    state.complete(table);
                }
                state.tables.insert((*table).to_owned(), entry);
            }
            Event::ChunkDone { table, read, loaded, rejected, .. } => {
                state.checkpoint.current_table = Some((*table).to_owned());
                *state.checkpoint.migrated_records.entry((*table).to_owned()).or_default() +=
                    loaded;
                state.checkpoint.total_errors += rejected;
                if let Some(entry) = state.tables.get_mut(*table) {
                    entry.chunks_done += 1;
                    entry.read += read;
                    if entry.is_complete() {
                        state.complete(table);
                    }
                }
                // The log is complete up to the last committed chunk.
                if let Some(log) = &mut state.log
                    && let Err(error) = log.flush()
                {
                    state.fail(ERRORS, &error);
                }
                if state.written.is_none_or(|written| written.elapsed() >= INTERVAL) {
                    self.write_checkpoint(&mut state);
                }
            }
            Event::Rejected(reject) => self.write_reject(&mut state, reject, &now()),
            Event::RejectedBefore(entry) => {
                state.checkpoint.total_errors += 1;
                self.write_reject(&mut state, &entry.reject, &entry.time);
            }
            Event::Waiting { .. } => state.waited = true,
            _ => {}
        }
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn open_log(path: &Path) -> io::Result<fs::File> {
    fs::File::options().append(true).create(true).mode(0o600).open(path)
}

/// Renames a file to its backup, where there is one.
fn set_aside(path: &Path) -> io::Result<()> {
    match fs::rename(path, backup_of(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Replaces the file in one step, so that a reader sees the old one or the new one. Nobody waits until it is
/// on the disk, which a whole run would have to wait for: a machine that fails may leave an empty file, or the
/// one before, and the target has the truth.
fn replace(path: &Path, checkpoint: &Checkpoint, back_up: bool) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(checkpoint)?;
    text.push(b'\n');
    let (new, _) = write_beside(path, &text)?;
    if back_up {
        set_aside(path)?;
    }
    fs::rename(&new, path)
}

/// Replaces a file that nobody else may read, in one step. A link stays one, and what is no file, as
/// `/dev/stdout`, is written to as it is.
pub(crate) fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    match place_of(path)? {
        Some(place) => {
            let (new, file) = write_beside(&place, text)?;
            file.sync_all()?;
            fs::rename(new, place)
        }
        None => fs::File::options().write(true).open(path)?.write_all(text),
    }
}

/// Whether [`write_private`] could write the file, without a trace of it.
pub(crate) fn try_private(path: &Path) -> io::Result<()> {
    match place_of(path)? {
        Some(place) => fs::remove_file(write_beside(&place, b"")?.0),
        None => fs::File::options().write(true).open(path).map(drop),
    }
}

/// Where a file is, or will be; `None` for what is there and is none.
fn place_of(path: &Path) -> io::Result<Option<PathBuf>> {
    // A file that stdout was sent to must not be replaced under it.
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return Ok(None);
    }
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if there.is_file() => fs::canonicalize(path).map(Some),
        Ok(_) => Ok(None),
        // A link to what is not there yet: that is made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(link) => Ok(Some(path.parent().unwrap_or(Path::new("")).join(link))),
            Err(_) => Ok(Some(path.to_owned())),
        },
        Err(error) => Err(error),
    }
}

/// Writes the file's next version beside it, where no other process writes one; gives its place, and the
/// file as it is open.
fn write_beside(path: &Path, text: &[u8]) -> io::Result<(PathBuf, fs::File)> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    // What stands there was left by a process of the same number.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    Ok((new, file))
}

fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    name.into()
}

/// One rejected document in the log, with an empty line behind it.
pub(crate) fn entry(reject: &Reject, time: &str) -> String {
    let separator = if reject.field.is_empty() { "" } else { ": " };
    format!(
        "[{time}] ERROR in table \"{}\"\nMongoDB ObjectId: {}\nError: {}{separator}{}\nOriginal Document: {}\n\n",
        line(&reject.table),
        shown_id(&reject.source_id),
        line(&reject.field),
        line(&reject.message),
        document(&reject.document),
    )
}

/// Names and values come from the documents; a line break in one must not look like another entry.
fn line(text: &str) -> String {
    printable(&one_line(text)).into_owned()
}

/// An `_id` as the ledger has it; a document without one has none to show.
pub(crate) fn shown_id(source_id: &str) -> String {
    match source_id {
        "" => "(the document has no _id)".to_owned(),
        id => line(id),
    }
}

/// Canonical Extended JSON, every one of two equal keys included; of what is no BSON the bytes.
fn document(bytes: &[u8]) -> String {
    extended_json(&shown_document(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bson::doc;
    use bson::oid::ObjectId;
    use migrate_core::Reason;
    use migrate_core::reject::Stage;

    use super::*;

    fn reject() -> Reject {
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        Reject {
            collection: "crm_Opportunities".to_owned(),
            table: "crm_Opportunities".to_owned(),
            source_id: id.to_hex(),
            stage: Stage::Transform,
            reason: Reason::Fraction,
            field: "budget".to_owned(),
            message: "expected int8, found double 12.75".to_owned(),
            document: doc! { "_id": id, "budget": 12.75 }.to_vec().unwrap(),
        }
    }

    fn chunk_done(table: &str, loaded: u64, rejected: u64) -> Event<'_> {
        let read = loaded + rejected;
        let elapsed = Duration::from_secs(1);
        Event::ChunkDone { table, read, loaded, rejected, skipped: 0, bytes: 1, elapsed }
    }

    fn planned(table: &str, documents: u64, chunks: u64) -> Event<'_> {
        let (documents_done, rows_done) = (0, 0);
        Event::TablePlanned {
            table,
            collection: table,
            documents,
            documents_done,
            rows_done,
            chunks,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_entry_has_the_form_of_the_design() {
        assert_eq!(
            entry(&reject(), "2025-11-05T10:30:45.123Z"),
            "[2025-11-05T10:30:45.123Z] ERROR in table \"crm_Opportunities\"\n\
             MongoDB ObjectId: 507f1f77bcf86cd799439011\n\
             Error: budget: expected int8, found double 12.75\n\
             Original Document: {\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"budget\":{\"$numberDouble\":\"12.75\"}}\n\n"
        );
        let broken = Reject {
            field: String::new(),
            message: "first\nsecond".to_owned(),
            document: vec![1, 255],
            ..reject()
        };
        let text = entry(&broken, "T");
        let nameless = Reject { source_id: String::new(), ..reject() };
        assert!(entry(&nameless, "T").contains("\nMongoDB ObjectId: (the document has no _id)\n"));
        assert!(
            text.contains(
                "\nError: first\\nsecond\nOriginal Document: {\"$malformed\":\"Af8=\"}\n"
            )
        );
    }

    #[test]
    fn both_files_are_written_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path(), false).unwrap();
        files.event(&planned("Users", 3, 1));
        files.event(&planned("Tasks", 9, 2));
        files.event(&Event::Rejected(&reject()));
        files.event(&chunk_done("Users", 2, 1));
        files.event(&chunk_done("Tasks", 4, 0));
        files.finish(None);
        assert_eq!(files.failure(), None);
        let path = folder.path().join(CHECKPOINT);
        let text = fs::read_to_string(&path).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
        value["timestamp"] = "T".into();
        assert_eq!(
            value,
            serde_json::json!({
                "version": 1,
                "timestamp": "T",
                "currentTable": "Tasks",
                "completedTables": ["Users"],
                "migratedRecords": {"Users": 2, "Tasks": 4},
                "totalRecordsMigrated": 6,
                "totalErrors": 1,
                "target": "",
                "run": null,
                "finished": false,
            })
        );
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&files.errors()), 0o600);
        assert_eq!(fs::read_to_string(files.errors()).unwrap().lines().count(), 5);
    }

    #[test]
    fn a_new_run_sets_the_older_files_aside_and_a_resumed_one_begins_with_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let one_reject = |resumed: bool| {
            let files = Files::new(folder.path(), false).unwrap();
            if resumed {
                files.event(&Event::Resumed { run: 1, chunks_done: 1, chunks: 2 });
                let (schema, time) = ("public".to_owned(), "T".to_owned());
                let before = Entry { run: 1, schema, time, reject: reject() };
                files.event(&Event::RejectedBefore(&before));
                files.event(&Event::RejectedBefore(&before));
            }
            files.event(&planned("Users", 1, 1));
            files.event(&Event::Rejected(&reject()));
            files.finish(None);
            assert_eq!(files.failure(), None);
            fs::read_to_string(files.errors()).unwrap().matches("ERROR in table").count()
        };
        assert_eq!(one_reject(false), 1);
        // What the ledger had, and one more.
        assert_eq!(one_reject(true), 3);
        assert_eq!(one_reject(true), 3);
        assert_eq!(one_reject(false), 1);
        let backup = fs::read_to_string(folder.path().join("migration-errors.log.bak")).unwrap();
        assert_eq!(backup.matches("ERROR in table").count(), 3);
        assert!(folder.path().join("migration-checkpoint.json.bak").is_file());
        let clean = Files::new(folder.path(), false).unwrap();
        clean.event(&planned("Users", 1, 1));
        clean.finish(None);
        assert!(!clean.errors().exists(), "the rejects of another run");
        assert_eq!(mode(&folder.path().join("migration-errors.log.bak")), 0o600);
    }

    #[test]
    fn a_resumed_run_knows_what_was_read_and_a_dry_one_mirrors_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path(), false).unwrap();
        files.event(&Event::Resumed { run: 1, chunks_done: 3, chunks: 4 });
        for (table, documents_done, rows_done) in [("Users", 9, 8), ("Tasks", 4, 4)] {
            let (collection, documents) = (table, 9);
            let chunks = 2;
            files.event(&Event::TablePlanned {
                table,
                collection,
                documents,
                documents_done,
                rows_done,
                chunks,
            });
        }
        let (schema, time) = ("public".to_owned(), "2025-11-05T10:30:45Z".to_owned());
        files.event(&Event::RejectedBefore(&Entry { run: 1, schema, time, reject: reject() }));
        files.finish(None);
        let read = || fs::read_to_string(folder.path().join(CHECKPOINT)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&read()).unwrap();
        assert_eq!(value["completedTables"], serde_json::json!(["Users"]));
        assert_eq!(value["totalRecordsMigrated"], 12);
        assert_eq!(value["totalErrors"], 1);

        let before = read();
        let dry = Files::new(folder.path(), true).unwrap();
        dry.event(&planned("Users", 1, 1));
        dry.event(&Event::Rejected(&reject()));
        dry.event(&chunk_done("Users", 0, 1));
        dry.finish(None);
        assert_eq!(read(), before);
        assert!(dry.errors().is_file());
    }

    #[test]
    fn an_unfinished_run_into_another_target_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            |target: &str| Files::new(folder.path(), false).unwrap().of_target(target.to_owned());
        assert_eq!(files("a").unfinished_elsewhere(), None);
        let first = files("a");
        first.event(&Event::Begun { run: 3 });
        first.event(&planned("Users", 1, 2));
        first.event(&chunk_done("Users", 1, 0));
        first.finish(None);
        assert_eq!(files("a").unfinished_elsewhere(), None);
        let told = files("b").unfinished_elsewhere().unwrap();
        assert!(
            told.ends_with("tells of run 3 into a, which is not finished; this one goes into b"),
            "{told}"
        );
        first.finish(Some(&Summary::default()));
        assert_eq!(files("b").unfinished_elsewhere(), None);
    }

    #[test]
    fn a_run_that_never_began_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        Files::new(folder.path(), false).unwrap().finish(None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
