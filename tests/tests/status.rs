//! `migrate status`: what it says of a run that is held in the middle, of one that was killed, and of
//! one that is complete is what the tables of the state and the servers say.

use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::event::Silent;
use migrate_core::failpoint::FailPoints;
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::status::{Activity, Observer, Stage, Status};
use migrate_core::summary::Summary;
use migrate_core::{Error, ErrorKind, source};
use migrate_tests::program::Program;
use migrate_tests::servers;
use models::NextCrm;
use sqlx::{Connection, PgConnection, Row as _};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");

fn dirty_dump(scale: f64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { seed: 5, scale, dirty: 0.1 };
    to_dump(&Generator::new(NextCrm::FACTS, plan), folder.path(), false).unwrap();
    folder
}

/// Holds the workers that come by a fail point for the `number`th time and later, until it is
/// told to let them go, or to let them fail.
#[derive(Default)]
struct Gate {
    state: Mutex<Passing>,
    changed: Condvar,
}

#[derive(Default)]
struct Passing {
    came_by: usize,
    held: usize,
    /// Whether they go on, or fail; `None` holds them.
    how: Option<Result<(), ()>>,
}

impl Gate {
    fn points(self: &Arc<Self>, held_at: &'static str, number: usize) -> FailPoints {
        let gate = Arc::clone(self);
        FailPoints::new(Arc::new(move |point| {
            if point != held_at {
                return Ok(());
            }
            let mut state = gate.state.lock().unwrap();
            state.came_by += 1;
            if state.came_by < number {
                return Ok(());
            }
            state.held += 1;
            gate.changed.notify_all();
            drop(state);
            // What else the runtime's thread had to do goes on on another.
            let how = tokio::task::block_in_place(|| {
                let state = gate.state.lock().unwrap();
                gate.changed.wait_while(state, |state| state.how.is_none()).unwrap().how
            });
            match how {
                Some(Err(())) => Err(Error::new(ErrorKind::Interrupted, "it was to fail")),
                _ => Ok(()),
            }
        }))
    }

    /// Waits until so many workers are held.
    fn wait(&self, workers: usize) {
        let state = self.state.lock().unwrap();
        let patience = Duration::from_secs(60);
        let (state, late) =
            self.changed.wait_timeout_while(state, patience, |state| state.held < workers).unwrap();
        assert!(!late.timed_out(), "{} of {workers} workers came by", state.held);
    }

    fn open(&self, how: Result<(), ()>) {
        self.state.lock().unwrap().how = Some(how);
        self.changed.notify_all();
    }
}

/// Lets the workers go when a test ends, also when it fails.
struct Held(Arc<Gate>);

impl Held {
    fn open(self, how: Result<(), ()>) {
        self.0.open(how);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.how.get_or_insert(Err(()));
        self.0.changed.notify_all();
    }
}

async fn look(target: &str) -> Status {
    let mut observer =
        Observer::open(NextCrm::FACTS, target, &Options::default()).await.expect("a state");
    let status = observer.status(None).await.expect("a status");
    observer.close().await;
    status
}

async fn count(target: &str, sql: &'static str) -> u64 {
    let mut connection = PgConnection::connect(target).await.unwrap();
    let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
    row.get::<i64, _>(0).unsigned_abs()
}

/// Starts a run of `jobs` workers that is held at a fail point, and waits until it is.
async fn held(
    dump: &tempfile::TempDir,
    target: &str,
    point: &'static str,
    number: usize,
    workers: usize,
) -> (Held, tokio::task::JoinHandle<migrate_core::error::Result<Summary>>) {
    let gate = Arc::new(Gate::default());
    let options = Options {
        jobs: 2,
        chunk_bytes: 64 << 10,
        fail_points: gate.points(point, number),
        ..Options::default()
    };
    let source = source::open(dump.path().to_str().unwrap()).await.unwrap();
    let target = target.to_owned();
    let task = tokio::spawn(async move {
        run(NextCrm::FACTS, source, &target, &options, Arc::new(Silent), &Stop::default()).await
    });
    let held = Held(Arc::clone(&gate));
    tokio::task::spawn_blocking(move || gate.wait(workers)).await.unwrap();
    (held, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_run_that_is_held_in_the_load_is_told_as_it_is() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let dump = dirty_dump(0.5);
    // Both workers have written a chunk each and hold it.
    let (gate, task) = held(&dump, &target, "a chunk is written", 12, 2).await;
    let status = look(&target).await;
    assert_eq!((status.activity, status.stage), (Activity::Running, Stage::Load), "{status:#?}");
    let done = count(&target, "SELECT count(*) FROM migrate.chunk WHERE done").await;
    assert_eq!((status.chunks_done, done), (11, 11));
    assert_eq!(status.chunks, count(&target, "SELECT count(*) FROM migrate.chunk").await);
    let sums = "SELECT sum(read)::bigint FROM migrate.chunk WHERE done";
    assert_eq!(status.totals.read, count(&target, sums).await);
    let rejects = count(&target, "SELECT count(*) FROM migrate.reject").await;
    assert_eq!(status.totals.rejected, rejects);
    let totals = &status.totals;
    assert_eq!(totals.read, totals.loaded + totals.rejected + totals.skipped);
    let sum = |field: fn(&migrate_core::status::TableStatus) -> u64| {
        status.tables.iter().map(field).sum::<u64>()
    };
    assert_eq!(sum(|table| table.chunks_done), 11);
    assert_eq!(sum(|table| table.totals.read), totals.read);
    assert_eq!(sum(|table| table.totals.bytes), totals.bytes);
    assert!(status.load_seconds_left.is_some_and(|left| left > 0.0), "{status:#?}");
    assert!(status.rate.documents > 0.0 && status.rate.bytes > 0.0);
    assert_eq!(status.workers.len(), 2, "{status:#?}");
    for worker in &status.workers {
        let chunk = worker.chunk.expect("a chunk in hand");
        let work = worker.work.as_deref().expect("work in words");
        assert!(work.starts_with(&format!("chunk {chunk} of ")), "{work}");
        assert!(worker.waits_for.is_empty(), "{worker:?}");
        assert!(worker.seconds >= 0.0 && !worker.user.is_empty());
    }
    let text = Command::new(EXECUTABLE).args(["status", "--target", &target]).output().unwrap();
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("run 1 of NextCrm: loading, 2 workers, for "), "{text}");
    for worker in &status.workers {
        assert!(text.contains(worker.work.as_deref().unwrap()), "{text}");
    }
    gate.open(Ok(()));
    let summary = task.await.unwrap().unwrap();
    let end = look(&target).await;
    assert_eq!((end.activity, end.stage), (Activity::Complete, Stage::Done), "{end:#?}");
    assert_eq!(end.summary.as_ref(), Some(&summary));
    assert_eq!(end.totals.read, summary.totals.read);
    assert_eq!(end.totals.loaded, summary.totals.loaded);
    assert_eq!(end.totals.rejected, summary.totals.rejected);
    assert!(end.workers.is_empty() && end.finished_at.is_some());
    assert!(end.tasks.iter().all(|tasks| tasks.tasks == tasks.done && tasks.tasks > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn tasks_and_a_process_that_crashes_in_one_are_told() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let dump = dirty_dump(0.2);
    for (number, stage) in [(25, Stage::Settle), (10, Stage::Constrain), (20, Stage::Analyze)] {
        let (gate, task) = held(&dump, &target, "a task is taken", number, 1).await;
        let status = look(&target).await;
        assert_eq!(status.activity, Activity::Running);
        assert!(status.stage > Stage::Load && status.stage <= Stage::Analyze, "{stage:?}");
        assert!(status.workers.iter().any(|worker| worker.task.is_some() && worker.work.is_some()));
        assert_eq!(status.load_seconds_left, None);
        gate.open(Err(()));
        task.await.unwrap().unwrap_err();
        let status = look(&target).await;
        assert_eq!(status.activity, Activity::Stopped, "{status:#?}");
        assert!(status.workers.is_empty() && status.finished_at.is_none());
        let done = count(&target, "SELECT count(*) FROM migrate.task WHERE done").await;
        assert_eq!(status.tasks.iter().map(|tasks| tasks.done).sum::<u64>(), done);
        assert!(status.seconds > 0.0 && status.seconds < 600.0, "{}", status.seconds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_lock_that_a_worker_waits_for_is_named_also_to_a_user_with_few_rights() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let dump = dirty_dump(0.05);
    let (gate, task) = held(&dump, &target, "the load is done", 1, 1).await;
    let mut other = PgConnection::connect(&target).await.unwrap();
    sqlx::raw_sql(
        "DROP ROLE IF EXISTS onlooker; CREATE ROLE onlooker LOGIN PASSWORD 'look';
         GRANT USAGE ON SCHEMA migrate TO onlooker;
         GRANT SELECT ON ALL TABLES IN SCHEMA migrate TO onlooker;
         SET application_name = 'an editor'",
    )
    .execute(&mut other)
    .await
    .unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE \"Users\"").execute(&mut other).await.unwrap();
    gate.open(Ok(()));
    let begun = Instant::now();
    let waiting = loop {
        let status = look(&target).await;
        // The others may wait for one that waits for it.
        let found = status.workers.into_iter().find(|worker| {
            worker.waits_for.iter().any(|blocker| blocker.application == "an editor")
        });
        if let Some(worker) = found {
            break worker;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits for the lock");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let blocker = &waiting.waits_for[0];
    assert_eq!(
        (blocker.application.as_str(), blocker.state.as_str()),
        ("an editor", "idle in transaction")
    );
    assert!(waiting.work.as_deref().is_some_and(|work| work.contains("Users")), "{waiting:?}");

    let host = target.split('@').nth(1).unwrap();
    let status = look(&format!("postgres://onlooker:look@{host}")).await;
    assert_eq!(status.activity, Activity::Running);
    assert!(status.workers.iter().any(|worker| worker.task == waiting.task), "{status:#?}");

    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(task.await.unwrap().unwrap().balanced);
    sqlx::raw_sql("DROP OWNED BY onlooker; DROP ROLE onlooker").execute(&mut other).await.unwrap();
}

#[test]
fn a_killed_run_says_how_to_go_on_and_that_works() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let target = server.create_database("status_killed").unwrap();
    let dump = dirty_dump(0.5);
    let status = |more: &[&str]| {
        let output =
            Command::new(EXECUTABLE).args(["status", "--target", &target]).args(more).output();
        output.unwrap()
    };
    let none = status(&[]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("has no run in the schema `migrate`"));

    let source = dump.path().to_str().unwrap();
    let small = ["--chunk-bytes", "48KiB", "--jobs", "2", "--uuid", "v7"];
    let arguments = [&["--source", source, "--target", &target], &small[..]].concat();
    let mut program = Program::start(EXECUTABLE, &arguments);
    assert!(program.hear(12), "it ended too soon");
    assert_eq!(program.kill().0, None);

    // The server takes a moment to see that its client is gone.
    let begun = Instant::now();
    let killed = loop {
        let output = status(&[]);
        if output.status.code() == Some(1) {
            break String::from_utf8(output.stdout).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{output:?}");
    };
    assert!(killed.starts_with("run 1 of NextCrm: stopped after "), "{killed}");
    let password = target.split([':', '@']).nth(2).unwrap();
    assert!(!killed.contains(password), "{killed}");
    let json: Status = serde_json::from_slice(&status(&["--json"]).stdout).unwrap();
    assert_eq!(json.activity, Activity::Stopped);
    assert!(json.chunks_done > 0 && json.chunks_done < json.chunks);

    // Somebody watches while it goes on as the status says.
    let folder = tempfile::tempdir().unwrap();
    let watch = Command::new("timeout")
        .args(["120", EXECUTABLE, "status", "--watch", "1", "--target", &target])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let command = killed.lines().find(|line| line.starts_with("  migrate run ")).unwrap();
    let command = command.trim().replacen("migrate", EXECUTABLE, 1);
    let resumed = Command::new("sh")
        .args(["-c", &format!("{command} --no-validate")])
        .current_dir(folder.path())
        .env("PGPASSWORD", password)
        .output()
        .unwrap();
    assert_eq!(resumed.status.code(), Some(1), "{resumed:?}");
    let watch = watch.wait_with_output().unwrap();
    assert_eq!(watch.status.code(), Some(1), "rejects: {watch:?}");
    let lines = String::from_utf8(watch.stdout).unwrap();
    let last = lines.lines().last().unwrap();
    assert!(last.contains(" run 1 complete: "), "{lines}");
    assert!(
        lines.lines().all(|line| line.contains(" chunks, ") && !line.contains('\x1b')),
        "{lines}"
    );
    let unknown = status(&["--run", "7"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("hint: the last run is 1"));
}

/// Every key that the JSON has is described, and nothing else is.
#[test]
fn the_json_is_as_its_page_says() {
    let page = include_str!("../../docs/status.md");
    let mut status = Status {
        tables: vec![Default::default()],
        tasks: vec![Default::default()],
        workers: vec![Default::default()],
        ..Status::default()
    };
    status.workers[0].waits_for.push(Default::default());
    let json = serde_json::to_value(&status).unwrap();
    let mut found = std::collections::BTreeSet::new();
    keys("", &json, &mut found);
    let described: std::collections::BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect();
    assert_eq!(found, described);
    assert!(page.contains(&format!("version {}", Status::VERSION)));
}

fn keys(path: &str, value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys(&path, value, found);
                found.insert(path);
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| keys(&format!("{path}[]"), item, found));
        }
        _ => {}
    }
}
