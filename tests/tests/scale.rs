//! Several processes on one run: they share its chunks evenly, and what a chunk costs does not
//! depend on how many there are or how many are done.

#![expect(clippy::print_stderr, reason = "figures are for whoever runs the test")]

use std::path::Path;
use std::time::Instant;

use bson::oid::ObjectId;
use bson::{RawDocumentBuf, doc};
use migrate_core::sink::{Connection, Target};
use migrate_core::state::State;
use migrate_tests::program::Program;
use migrate_tests::servers;
use sqlx::{Connection as _, PgConnection, Row as _};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");
/// The smallest that the command takes.
const CHUNK: &str = "4KiB";

/// A dump of one collection with so many documents of about 1 kB.
fn dump(folder: &Path, documents: usize) {
    let mut bytes = Vec::new();
    let text = "x".repeat(900);
    for _ in 0..documents {
        let document = doc! {
            "_id": ObjectId::new(), "createdAt": "now", "description": &text, "title": "a",
            "url": "", "user": "",
        };
        bytes.extend_from_slice(RawDocumentBuf::try_from(&document).unwrap().as_bytes());
    }
    std::fs::write(folder.join("TodoList.bson"), bytes).unwrap();
}

/// How many processes and documents there are; `MIGRATE_TEST_CHUNKS` sets another number of
/// chunks for a measurement.
fn sizes() -> (usize, usize) {
    let chunks = std::env::var("MIGRATE_TEST_CHUNKS");
    let chunks = chunks.map_or(1_000, |chunks| chunks.parse().expect("a number, as in `10000`"));
    (3, chunks * 5)
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_spread_evenly_over_processes() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let (processes, documents) = sizes();
    let folder = tempfile::tempdir().unwrap();
    dump(folder.path(), documents);
    let source = folder.path().to_str().unwrap();
    let summaries: Vec<String> = (0..processes).map(|n| format!("{source}/{n}.summary")).collect();
    let begun = Instant::now();
    let mut programs: Vec<Program> = summaries
        .iter()
        .map(|summary| {
            let arguments = ["--source", source, "--target", &target, "--chunk-bytes", CHUNK];
            let more = ["--jobs", "1", "--no-validate", "--summary", summary];
            Program::start(EXECUTABLE, &[&arguments[..], &more].concat())
        })
        .collect();
    let mut done = Vec::new();
    for program in &mut programs {
        assert_eq!(program.finish(), Some(0));
        done.push(program.heard.get("chunk_done").copied().unwrap_or_default());
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let mut connection = PgConnection::connect(&target).await.unwrap();
    let count = |sql| sqlx::query_scalar::<_, i64>(sql);
    let chunks = count("SELECT count(*) FROM migrate.chunk").fetch_one(&mut connection).await;
    let rows = count("SELECT count(*) FROM \"TodoList\"").fetch_one(&mut connection).await;
    assert_eq!(rows.unwrap(), documents as i64);
    let chunks = chunks.unwrap() as u64;
    // Those of the other collections are empty, as they are in a part of a database.
    assert_eq!(done.iter().sum::<u64>(), chunks, "each chunk once");
    let mut taking = 0.0;
    let mut all = 0.0;
    for summary in &summaries {
        let text = std::fs::read_to_string(summary).unwrap();
        let summary: migrate_core::summary::Summary = serde_json::from_str(&text).unwrap();
        taking += summary.load_seconds["taking_and_committing_chunks"];
        all += summary.load_seconds.values().sum::<f64>();
    }
    eprintln!(
        "{chunks} chunks in {elapsed:.1} s, by process: {done:?}; taking and committing one: {:.2} ms of {:.2} ms",
        taking * 1e3 / chunks as f64,
        all * 1e3 / chunks as f64
    );
    let share = chunks / processes as u64;
    assert!(done.iter().all(|done| *done >= share / 3), "{done:?} of {chunks}");
}

/// How often this session has gone through the chunks one by one, and how many an index has given.
async fn scans_and_fetches(connection: &mut Connection) -> (i64, i64) {
    let sql = "SELECT coalesce(seq_scan, 0), coalesce(idx_tup_fetch, 0)
        FROM pg_stat_xact_user_tables WHERE relid = 'migrate.chunk'::regclass";
    let rows = connection.query("asking", sql, &[]).await.unwrap();
    (rows[0].get(0), rows[0].get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_a_chunk_does_not_look_at_those_that_are_done() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    dump(folder.path(), 1);
    let source = folder.path().to_str().unwrap();
    let arguments = ["--source", source, "--target", &target, "--no-validate"];
    assert_eq!(Program::start(EXECUTABLE, &arguments).finish(), Some(0));

    let target = Target::parse(&target).unwrap();
    let mut connection = target.connect().await.unwrap();
    let state = State::new("migrate");
    let run = state.last_run(&mut connection).await.unwrap().expect("a run");
    let fill = "UPDATE migrate.chunk SET done = true;
        INSERT INTO migrate.chunk (run, chunk, model, collection, phase, range, estimate, done)
        SELECT 1, n, 'TodoList', 'TodoList', 0,
            '{\"bytes\": {\"start\": 0, \"end\": 1}}', 1, false
        FROM generate_series(1000, 20999) n";
    connection.execute("filling", fill).await.unwrap();
    // As they become done one after the other, and whatever the server knows of that.
    for (done, analyze) in [(0, false), (0, true), (10_000, false), (19_990, false), (19_990, true)]
    {
        let sql = format!(
            "UPDATE migrate.chunk SET done = true WHERE NOT done AND chunk < {}",
            1000 + done
        );
        connection.execute("doing", sql).await.unwrap();
        // The server cleans up behind itself, as it does while a run goes on.
        let upkeep = if analyze { "VACUUM ANALYZE migrate.chunk" } else { "VACUUM migrate.chunk" };
        connection.execute("upkeep", upkeep).await.unwrap();
        connection.execute("beginning", "BEGIN").await.unwrap();
        let before = scans_and_fetches(&mut connection).await;
        let begun = Instant::now();
        let chunk = state.take_chunk(&mut connection, &run).await.unwrap().expect("one is open");
        let elapsed = begun.elapsed();
        assert_eq!(chunk.chunk, 1000 + done, "the first one that is open");
        let after = scans_and_fetches(&mut connection).await;
        let (scans, fetched) = (after.0 - before.0, after.1 - before.1);
        eprintln!("{done} of 20,000 done: {elapsed:?}, {fetched} rows fetched");
        assert!(scans == 0 && fetched <= 20, "{done} done: {scans} scans, {fetched} rows");
        connection.execute("ending", "ROLLBACK").await.unwrap();
    }
}

/// Its keys cannot be taken off and put back, so that must be left, and is asked for in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_that_is_there_is_loaded_with_its_keys_on() {
    for version in servers::VERSIONS {
        let Some(target) = servers::database(version) else { continue };
        let folder = tempfile::tempdir().unwrap();
        dump(folder.path(), 500);
        let mut connection = PgConnection::connect(&target).await.unwrap();
        let make = r#"CREATE TABLE "TodoList" (
                id uuid NOT NULL DEFAULT gen_random_uuid(), "createdAt" text NOT NULL,
                description text NOT NULL, title text NOT NULL, url text NOT NULL,
                "user" text NOT NULL, PRIMARY KEY (id)
            ) PARTITION BY HASH (id);
            CREATE TABLE part_0 PARTITION OF "TodoList" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE part_1 PARTITION OF "TodoList" FOR VALUES WITH (MODULUS 2, REMAINDER 1)"#;
        sqlx::raw_sql(make).execute(&mut connection).await.unwrap();
        let source = folder.path().to_str().unwrap();
        let plain = ["--source", source, "--target", &target, "--only", "TodoList"];
        assert_eq!(Program::start(EXECUTABLE, &plain).finish(), Some(2));
        let kept = "SELECT count(*) FROM pg_constraint WHERE conname = 'TodoList_pkey'";
        let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut connection).await.unwrap();
        assert_eq!(kept, 1, "nothing was touched");

        let arguments = [&plain[..], &["--keep-constraints"]].concat();
        assert_eq!(Program::start(EXECUTABLE, &arguments).finish(), Some(0));
        let parts = "SELECT count(*) FROM part_0 UNION ALL SELECT count(*) FROM part_1";
        let parts: Vec<i64> = sqlx::query_scalar(parts).fetch_all(&mut connection).await.unwrap();
        assert!(
            parts.iter().all(|rows| *rows > 0) && parts.iter().sum::<i64>() == 500,
            "{parts:?}"
        );
    }
}
