//! The memory of the program: whatever the documents are and however many connections there are,
//! it keeps to its budget, looked at from outside, as the system counts it; and nobody waits for
//! memory that is kept for nobody.

#![expect(clippy::print_stderr, reason = "figures are for whoever runs the test")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, doc};
use migrate_core::budget::LEAST_BYTES;
use migrate_core::event::{Event, Reporter};
use migrate_core::failpoint::FailPoints;
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::source::{self, SourceOptions};
use migrate_core::{Migrate, registry};
use migrate_tests::random::Random;
use migrate_tests::servers;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::oneshot;
use uuid::Uuid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");
/// What `--memory` is unless told otherwise, and what is promised.
const BUDGET: u64 = 256_000_000;
/// A little less than the 16 MiB that MongoDB takes.
const LARGE: usize = 15_900_000;

/// Runs the program to its end; gives its exit code and the most memory it had.
fn measured(command: &str, arguments: &[&str]) -> (Option<i32>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(EXECUTABLE)
        .arg(command)
        .args(arguments)
        .args(["--progress", "none", "--files"])
        .arg(folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_bytes(child.id()).unwrap_or(0));
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    eprintln!("{command}: {} MB at most, {:?}", peak / 1_000_000, begun.elapsed());
    (status.code(), peak)
}

/// The high-water mark of a process's resident memory (proc(5)).
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// Text that does not compress, with what JSON escapes among it.
fn text(random: &mut Random, bytes: usize) -> String {
    const LETTERS: &[u8; 64] =
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ 123456789\"\n";
    let mut text = Vec::with_capacity(bytes + 8);
    while text.len() < bytes {
        let mut bits = random.below(u64::MAX);
        for _ in 0..8 {
            text.push(LETTERS[(bits & 63) as usize]);
            bits >>= 6;
        }
    }
    text.truncate(bytes);
    String::from_utf8(text).unwrap()
}

/// A task whose field `key` has so many bytes.
fn task(key: &str, value: String) -> Document {
    let mut task = doc! {
        "_id": ObjectId::new(), "title": "large", "position": 1_i64, "priority": "high",
    };
    task.insert(key, value);
    task
}

/// Rows of 16 MB, as text and as jsonb, and rejects of 16 MB, in turn.
fn large_task(number: usize, large: &str) -> Document {
    let mut task = task(if number % 4 == 2 { "tags" } else { "content" }, large.to_owned());
    if number % 4 == 3 {
        task.remove("title");
    }
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_documents_near_16_mb_keeps_to_its_budget() {
    let begun = Instant::now();
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let source = servers::mongodb();
    let client = mongodb::Client::with_uri_str(&source).await.unwrap();
    let database = client.default_database().unwrap();
    // The cache of the tests' server is too small for such transactions.
    let cache = doc! { "setParameter": 1, "wiredTigerEngineRuntimeConfig": "cache_size=1GB" };
    client.database("admin").run_command(cache).await.unwrap();
    let mut random = Random::for_test("memory");
    let large = text(&mut random, LARGE);
    let tasks = database.collection::<Document>("Tasks");
    for number in 0..16 {
        tasks.insert_one(large_task(number, &large)).await.unwrap();
    }
    // Comments on a task that is not there, which settling takes out and reads again.
    let comments = database.collection::<Document>("tasksComments");
    for _ in 0..3 {
        let mut comment = doc! { "_id": ObjectId::new(), "comment": &large };
        comment.insert("task", ObjectId::new());
        comment.insert("user", ObjectId::new());
        comments.insert_one(comment).await.unwrap();
    }
    // Small ones beside them.
    let todos = (0..20_000).map(|number| {
        doc! {
            "_id": ObjectId::new(), "createdAt": "now", "description": &large[number..number + 500],
            "title": "small", "url": "", "user": "",
        }
    });
    let lists = database.collection::<Document>("TodoList");
    lists.insert_many(todos).await.unwrap();
    eprintln!("inserted after {:?}", begun.elapsed());

    let addresses = ["--source", &source, "--target", &target, "--jobs", "16"];
    let run = [&addresses[..], &["--chunk-bytes", "1MiB", "--no-validate"]].concat();
    let (code, peak) = measured("run", &run);
    assert_eq!(code, Some(1), "rejects");
    assert!(peak <= BUDGET, "{peak} bytes");

    let (code, peak) = measured("validate", &addresses);
    assert_eq!(code, Some(0), "nothing differs");
    assert!(peak <= BUDGET, "{peak} bytes");
    eprintln!("{:?}", begun.elapsed());
}

/// From a file, into a table that refuses some rows, so that its chunks are done again with care.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_with_documents_near_16_mb_and_refused_rows_keeps_to_its_budget() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let apply = ["schema", "apply", "--target", &target];
    assert!(Command::new(EXECUTABLE).args(apply).stdout(Stdio::null()).status().unwrap().success());
    let mut connection = PgConnection::connect(&target).await.unwrap();
    let trigger = r#"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN IF NEW.title = 'refused' THEN RAISE 'not this one'; END IF; RETURN NEW; END$$;
        CREATE TRIGGER refuse BEFORE INSERT ON "Tasks" FOR EACH ROW EXECUTE FUNCTION refuse()"#;
    sqlx::raw_sql(trigger).execute(&mut connection).await.unwrap();

    let large = text(&mut Random::for_test("memory of a dump"), LARGE);
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("Tasks.bson")).unwrap();
    for number in 0..12 {
        let mut task = large_task(number, &large);
        if number % 4 == 1 {
            task.insert("title", "refused");
        }
        file.write_all(RawDocumentBuf::try_from(&task).unwrap().as_bytes()).unwrap();
    }
    let source = folder.path().to_str().unwrap();
    let addresses = ["--source", source, "--target", &target, "--jobs", "16"];
    let run = [&addresses[..], &["--chunk-bytes", "20MiB", "--no-validate"]].concat();
    let (code, peak) = measured("run", &run);
    assert_eq!(code, Some(1), "rejects");
    let rejects = "SELECT stage, count(*) FROM migrate.reject GROUP BY 1 ORDER BY 1";
    let rejects: Vec<(String, i64)> =
        sqlx::query_as(rejects).fetch_all(&mut connection).await.unwrap();
    assert_eq!(rejects, [("transform".to_owned(), 3), ("write".to_owned(), 3)]);
    assert!(peak <= BUDGET, "{peak} bytes");
}

/// `db.scrolls`.
#[derive(Migrate)]
#[migrate(collection = "scrolls")]
#[allow(dead_code)]
struct Scroll {
    #[migrate(id)]
    id: Uuid,
    text: String,
}

/// `db.scans`.
#[derive(Migrate)]
#[migrate(collection = "scans")]
#[allow(dead_code)]
struct Scan {
    #[migrate(id)]
    id: Uuid,
    text: String,
}

registry! { Archive = [Scroll, Scan] }

/// Notes when the first chunk is done.
#[derive(Default)]
struct FirstChunk(AtomicBool);

impl Reporter for FirstChunk {
    fn event(&self, event: &Event<'_>) {
        if let Event::ChunkDone { .. } = event {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Another process has a chunk that this one has begun to read: what was read of it does not keep
/// from the other chunk the memory that its documents need.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_of_a_chunk_of_another_process_gives_its_memory_back() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let large = text(&mut Random::for_test("memory of read-ahead"), LARGE);
    let folder = tempfile::tempdir().unwrap();
    for (name, documents) in [("scrolls", 4), ("scans", 3)] {
        let mut file = std::fs::File::create(folder.path().join(format!("{name}.bson"))).unwrap();
        for _ in 0..documents {
            let document = doc! { "_id": ObjectId::new(), "text": &large };
            file.write_all(RawDocumentBuf::try_from(&document).unwrap().as_bytes()).unwrap();
        }
    }
    let done = Arc::new(FirstChunk::default());
    let (give, waited) = oneshot::channel();
    let (give, handle) = (Mutex::new(Some(give)), tokio::runtime::Handle::current());
    let hook = {
        let (target, done) = (target.clone(), Arc::clone(&done));
        move |point: &str| {
            if point != "the plan is committed" {
                return Ok(());
            }
            let Some(give) = give.lock().unwrap().take() else { return Ok(()) };
            let (target, done) = (target.clone(), Arc::clone(&done));
            let (locked, is_locked) = std::sync::mpsc::channel();
            handle.spawn(async move {
                let mut other = PgConnection::connect(&target).await.unwrap();
                let lock = "BEGIN; SELECT FROM migrate.chunk WHERE chunk = 1 FOR UPDATE";
                sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
                locked.send(()).unwrap();
                let begun = Instant::now();
                while !done.0.load(Ordering::SeqCst) && begun.elapsed() < PATIENCE {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                give.send(done.0.load(Ordering::SeqCst)).unwrap();
                sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            });
            is_locked.recv().unwrap();
            Ok(())
        }
    };
    let source = source::open_with(folder.path().to_str().unwrap(), SourceOptions::default());
    let options = Options {
        jobs: 2,
        chunk_bytes: 1 << 30,
        fail_points: FailPoints::new(Arc::new(hook)),
        ..Options::default()
    };
    let (source, stop) = (source.await.unwrap(), Stop::default());
    let summary = run(Archive::FACTS, source, &target, &options, done, &stop).await.unwrap();
    assert!(summary.is_clean(), "{summary:#?}");
    assert!(waited.await.unwrap(), "the free chunk has waited for the other one");
}

/// A worker reads rejects back from the ledger, for which it waits for memory: documents of the next
/// chunk, which nobody but itself would take, do not keep it.
#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_read_back_while_the_next_chunk_is_read() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let text = text(&mut Random::for_test("memory of rejects"), 5_000);
    let folder = tempfile::tempdir().unwrap();
    for (name, field, documents) in [("scrolls", "script", 2_000), ("scans", "text", 100)] {
        let mut file = std::fs::File::create(folder.path().join(format!("{name}.bson"))).unwrap();
        for _ in 0..documents {
            let document = doc! { "_id": ObjectId::new(), field: &text };
            file.write_all(RawDocumentBuf::try_from(&document).unwrap().as_bytes()).unwrap();
        }
    }
    let options = Options { jobs: 1, memory_bytes: LEAST_BYTES, ..Options::default() };
    let source = SourceOptions { memory: options.budget(), ..SourceOptions::default() };
    let source = source::open_with(folder.path().to_str().unwrap(), source).await.unwrap();
    let (stop, reporter) = (Stop::default(), Arc::new(FirstChunk::default()));
    let run = run(Archive::FACTS, source, &target, &options, reporter, &stop);
    // Without memory it would go on after half a minute.
    let summary = tokio::time::timeout(PATIENCE, run).await.expect("it stands still").unwrap();
    let counts = |table: &str| {
        let table = summary.tables.iter().find(|found| found.table == table).unwrap();
        (table.loaded, table.rejected)
    };
    assert!(summary.balanced, "{summary:#?}");
    assert_eq!((counts("Scroll"), counts("Scan")), ((0, 2_000), (100, 0)));
}
