//! Servers that stumble: a lock, a timeout, a full disk, a host that says nothing any more. What may
//! pass is waited for, told, for a bounded time; what does not pass ends in a clean stop, and the
//! same call goes on from there.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bson::doc;
use bson::oid::ObjectId;
use migrate_core::deferred;
use migrate_core::error::Result;
use migrate_core::event::{Event, Reporter, Silent};
use migrate_core::failpoint::FailPoints;
use migrate_core::run::{Options, Stop, run};
use migrate_core::sink::Target;
use migrate_core::source::memory::MemorySource;
use migrate_core::source::{self, Source, SourceOptions};
use migrate_core::state::State;
use migrate_core::summary::Summary;
use migrate_core::validate::{Request, validate};
use migrate_core::{ErrorKind, Migrate, Registry, registry};
use migrate_servers::{Mongo, MongoOptions, Postgres};
use migrate_tests::proxy::Proxy;
use migrate_tests::servers;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

/// An order with a number.
#[derive(Migrate)]
#[migrate(collection = "orders")]
#[allow(dead_code)]
struct Order {
    #[migrate(id)]
    id: Uuid,
    #[migrate(index)]
    number: i32,
    note: Option<String>,
}

registry! { Orders = [Order] }

const ORDERS: u32 = 500;

fn id(number: u32) -> ObjectId {
    let mut bytes = [7; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn orders() -> MemorySource {
    let orders = (0..ORDERS).map(|number| doc! { "_id": id(number), "number": number as i32 });
    MemorySource::new().with("orders", orders.collect::<Vec<_>>()).batches_of(50)
}

/// Remembers what a run waits for, and the chunks that it has begun again.
#[derive(Default)]
struct Waits(Mutex<Vec<String>>);

impl Reporter for Waits {
    fn event(&self, event: &Event<'_>) {
        let what = match event {
            Event::Waiting { what, .. } => (*what).to_owned(),
            Event::ChunkUndone { table, documents, .. } => {
                format!("{table} without {documents} documents")
            }
            _ => return,
        };
        self.0.lock().expect("no panic").push(what);
    }
}

impl Waits {
    fn any(&self, part: &str) -> bool {
        self.0.lock().expect("no panic").iter().any(|what| what.contains(part))
    }
}

fn server() -> &'static Postgres {
    servers::postgres(servers::NEWEST).expect("the newest version")
}

async fn migrate(
    source: Arc<dyn Source>,
    url: &str,
    patience: Duration,
) -> (Result<Summary>, Arc<Waits>) {
    let waits = Arc::new(Waits::default());
    let options = Options { jobs: 2, chunk_bytes: 4096, patience, ..Options::default() };
    let told = Arc::clone(&waits) as Arc<dyn Reporter>;
    (run(Orders::FACTS, source, url, &options, told, &Stop::default()).await, waits)
}

#[track_caller]
fn assert_whole(database: &str, result: Result<Summary>) {
    let summary = result.unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
    assert!(summary.is_clean(), "{summary:#?}");
    assert_eq!(summary.totals.loaded, u64::from(ORDERS));
    let found = server()
        .query(
            database,
            r#"SELECT count(*), count(DISTINCT number),
                (SELECT count(*) FROM pg_indexes WHERE tablename = 'Order') FROM "Order""#,
        )
        .expect("a count");
    let found: Vec<_> = found[0].iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
    assert_eq!(found, ["500", "500", "2"], "{database}");
}

/// A table whose trigger refuses rows with that code, so often in all: a sequence counts on
/// whatever is rolled back.
fn refusing(database: &str, code: &str, times: u32) -> String {
    let url = server().create_database(database).expect("a database");
    let statements = format!(
        r#"DO $do$ BEGIN
            CREATE TABLE "Order" (id uuid PRIMARY KEY, number integer NOT NULL, note text);
            CREATE INDEX by_number ON "Order" (number);
            CREATE SEQUENCE tries;
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
                IF nextval('tries') <= {times} THEN
                    RAISE 'not now' USING ERRCODE = '{code}';
                END IF;
                RETURN new;
            END $f$;
            CREATE TRIGGER refuse BEFORE INSERT ON "Order" FOR EACH ROW EXECUTE FUNCTION refuse();
        END $do$"#
    );
    server().query(database, &statements).expect("a table with a trigger");
    url
}

/// Lock timeout, statement timeout, disk full, no memory, deadlock.
const CODES: [(&str, &str); 5] = [
    ("55P03", "holds a lock"),
    ("57014", "cancels the statement"),
    ("53100", "disk is full"),
    ("53200", "no memory left"),
    ("40P01", "same command again"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_waited_for() {
    for (code, _) in CODES {
        let database = format!("passes_{}", code.to_lowercase());
        let url = refusing(&database, code, 3);
        let (result, waits) = migrate(Arc::new(orders()), &url, Duration::from_secs(20)).await;
        assert_whole(&database, result);
        assert!(waits.any(&format!("loading Order: not now ({code})")), "{:?}", waits.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_ends_in_a_clean_stop() {
    for (code, hint) in CODES {
        let database = format!("stays_{}", code.to_lowercase());
        let url = refusing(&database, code, 1_000_000);
        let begun = Instant::now();
        let (result, waits) = migrate(Arc::new(orders()), &url, Duration::from_secs(1)).await;
        let error = result.expect_err("it never takes a row");
        assert_eq!(error.kind(), ErrorKind::TargetBusy, "{code}: {error}");
        assert!(error.hint().is_some_and(|found| found.contains(hint)), "{:?}", error.hint());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(waits.any(code), "{:?}", waits.0);
        let rejects = server().query(&database, "SELECT count(*) FROM migrate.reject");
        assert_eq!(rejects.expect("the ledger")[0][0].as_deref(), Some("0"), "{code}");
        // Room was made; the sequence has a value already.
        server().query(&database, "SELECT setval('tries', 1000000)").expect("a sequence");
        let (result, _) = migrate(Arc::new(orders()), &url, Duration::from_secs(1)).await;
        assert_whole(&database, result);
    }
}

/// A session of somebody else that holds the table.
async fn hold(url: &str) -> PgConnection {
    let mut other = PgConnection::connect(url).await.expect("a session");
    let lock = r#"BEGIN; LOCK TABLE "Order" IN ACCESS EXCLUSIVE MODE"#;
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut other).await.expect("the lock");
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_holds_is_named() {
    let url = refusing("locked", "55P03", 0);
    // Given back after a while.
    let other = hold(&url).await;
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        other.close().await.expect("it ends");
    });
    let (result, waits) = migrate(Arc::new(orders()), &url, Duration::from_secs(8)).await;
    release.await.expect("it has ended");
    assert_whole("locked", result);
    assert!(waits.any("waits for a lock that session"), "{:?}", waits.0);
    assert!(waits.any("idle in transaction"), "{:?}", waits.0);

    // Never given back: the run gives up, and leaves nothing behind that waits.
    let url = refusing("locked_for_good", "55P03", 0);
    let other = hold(&url).await;
    let begun = Instant::now();
    let (result, _) = migrate(Arc::new(orders()), &url, Duration::from_secs(2)).await;
    let error = result.expect_err("the table is locked");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(error.to_string().contains("waits for a lock"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("pg_terminate_backend")));
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'locked_for_good'";
    for _ in 0..100 {
        let waiting = server().query("postgres", sql).expect("the sessions");
        if waiting[0][0].as_deref() == Some("0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server().query("postgres", sql).expect("the sessions")[0][0].as_deref(), Some("0"));
    other.close().await.expect("it ends");
    let (result, _) = migrate(Arc::new(orders()), &url, Duration::from_secs(2)).await;
    assert_whole("locked_for_good", result);
}

/// A role that is not to wait for locks: each try ends at once, and is made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_timeout_of_the_database_is_tried_again() {
    let url = refusing("impatient", "55P03", 0);
    server()
        .query("impatient", "ALTER DATABASE impatient SET lock_timeout = '200ms'")
        .expect("a setting");
    let other = hold(&url).await;
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        other.close().await.expect("it ends");
    });
    let (result, waits) = migrate(Arc::new(orders()), &url, Duration::from_secs(20)).await;
    release.await.expect("it has ended");
    assert_whole("impatient", result);
    assert!(waits.any("lock timeout (55P03)"), "{:?}", waits.0);
}

/// A server that mends what a crash has left is there, and is waited for as one that went away.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_starting_is_waited_for() {
    const DATABASE: &str = "recovering";
    server().create_database(DATABASE).expect("a database");
    let proxy = Arc::new(Proxy::start(server().port()).await);
    let url = server()
        .url(DATABASE)
        .replace(&format!(":{}/", server().port()), &format!(":{}/", proxy.port()));
    proxy.recover(true);
    let up = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move {
            // Longer than an address that is wrong is tried.
            tokio::time::sleep(Duration::from_millis(3500)).await;
            proxy.recover(false);
        }
    });
    let (result, waits) = migrate(Arc::new(orders()), &url, Duration::from_secs(20)).await;
    up.await.expect("it is up");
    assert_whole(DATABASE, result);
    assert!(waits.any("recovery mode"), "{:?}", waits.0);
    proxy.recover(true);
    let begun = Instant::now();
    let (result, _) = migrate(Arc::new(orders()), &url, Duration::from_secs(5)).await;
    let error = result.expect_err("it never comes up");
    assert_eq!(error.kind(), ErrorKind::TargetConnection, "{error}");
    let took = begun.elapsed();
    assert!(Duration::from_secs(3) < took && took < Duration::from_secs(15), "{took:?}");
}

/// A session of a slow source's target has nothing to do for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_be_idle() {
    let url = server().create_database("idle").expect("a database");
    let setting = "ALTER DATABASE idle SET idle_session_timeout = '1s'";
    server().query("idle", setting).expect("a setting");
    let mut connection =
        Target::parse(&url).expect("an address").connect().await.expect("a session");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let one = connection.count("asking", "SELECT 1::bigint", &[]).await.expect("it lives");
    assert_eq!(one, 1);
}

/// What a run tells of its tasks, and that it waits.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn event(&self, event: &Event<'_>) {
        let told = match event {
            Event::TaskStarted { task, .. } => format!("begins {task}"),
            Event::TaskFinished { task, .. } => format!("ends {task}"),
            Event::Waiting { what, .. } => format!("waits: {what}"),
            _ => return,
        };
        self.0.lock().expect("no panic").push(told);
    }
}

/// The commit of a task and the taking of the next one are one message. Where what follows the commit
/// fails, the task is done and told, and nobody does it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_told_though_the_next_one_cannot_be_taken() {
    const DATABASE: &str = "behind_the_commit";
    const TASK: usize = 2;
    let url = server().create_database(DATABASE).expect("a database");
    server()
        .query(DATABASE, &format!("ALTER DATABASE {DATABASE} SET lock_timeout = '100ms'"))
        .expect("a setting");
    // Somebody who has asked for the table that says which runs are on gets it with the commit, for a
    // while: the task's note does not look at it, and the next take does.
    let holder: Arc<Mutex<Option<std::thread::JoinHandle<()>>>> = Arc::default();
    let hook = {
        let (holder, hits) = (Arc::clone(&holder), Arc::new(Mutex::new(0)));
        move |point: &str| {
            if point != "a task is written" {
                return Ok(());
            }
            let mut hits = hits.lock().expect("no panic");
            *hits += 1;
            if *hits == TASK {
                let thread = std::thread::spawn(|| {
                    let lock = "SET lock_timeout = 0; BEGIN;
                        LOCK TABLE migrate.run IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1); COMMIT";
                    server().query(DATABASE, lock).expect("the lock");
                });
                *holder.lock().expect("no panic") = Some(thread);
                let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted
                    AND relation = 'migrate.run'::regclass";
                let begun = Instant::now();
                while server().query(DATABASE, waiting).expect("locks")[0][0].as_deref()
                    == Some("0")
                {
                    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits for the lock");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Ok(())
        }
    };
    let told = Arc::new(Told::default());
    let options = Options {
        jobs: 1,
        patience: Duration::from_secs(20),
        fail_points: FailPoints::new(Arc::new(hook)),
        ..Options::default()
    };
    let reporter = Arc::clone(&told) as Arc<dyn Reporter>;
    let source = Arc::new(orders());
    let result = run(Orders::FACTS, source, &url, &options, reporter, &Stop::default()).await;
    holder.lock().expect("no panic").take().expect("it has begun").join().expect("it has ended");
    assert_whole(DATABASE, result);
    let told = told.0.lock().expect("no panic");
    let waited = told.iter().position(|what| what.contains("55P03")).expect("it has waited");
    let ended = told[..waited].iter().filter(|what| what.starts_with("ends ")).count();
    assert!(ended >= TASK, "{told:?}");
    let of = |word: &str| {
        let mut tasks: Vec<_> = told.iter().filter_map(|what| what.strip_prefix(word)).collect();
        tasks.sort_unstable();
        tasks
    };
    let begun = of("begins ");
    assert_eq!(begun, of("ends "));
    assert!(begun.is_sorted_by(|one, next| one < next), "{begun:?}");
    let tasks = server().query(DATABASE, "SELECT count(*) FROM migrate.task").expect("tasks");
    assert_eq!(tasks[0][0].as_deref(), Some(begun.len().to_string().as_str()));
}

/// The host of the target is gone without a word, in the middle of the load, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_falls_silent_is_noticed() {
    let proxy = Arc::new(Proxy::start(server().port()).await);
    for (name, comes_back) in [("silent", true), ("silent_for_good", false)] {
        let url = server().create_database(name).expect("a database");
        let through =
            url.replace(&format!(":{}/", server().port()), &format!(":{}/", proxy.port()));
        let frozen = Arc::clone(&proxy);
        // When some chunks are in.
        let reporter = After::new(100, move || {
            frozen.freeze(true);
            if comes_back {
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(12));
                    frozen.freeze(false);
                });
            }
        });
        let patience = Duration::from_secs(3);
        let options = Options { jobs: 2, chunk_bytes: 4096, patience, ..Options::default() };
        let begun = Instant::now();
        let (source, told) = (Arc::new(orders()), Arc::clone(&reporter) as Arc<dyn Reporter>);
        let result = run(Orders::FACTS, source, &through, &options, told, &Stop::default()).await;
        assert!(reporter.1.any("is silent"), "{:?}", reporter.1.0);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        if !comes_back {
            let error = result.expect_err("the target is gone");
            assert_eq!(error.kind(), ErrorKind::TargetConnection, "{error}");
            proxy.freeze(false);
            let (result, _) = migrate(Arc::new(orders()), &url, Duration::from_secs(20)).await;
            assert_whole(name, result);
        } else {
            assert_whole(name, result);
        }
    }
}

/// The source is silent for a while: the progress says so, and the read goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_falls_silent_is_told_of_and_read_again() {
    let mongo = Mongo::start(MongoOptions::default()).expect("a server");
    let client = mongodb::Client::with_uri_str(mongo.uri("shop")).await.expect("a client");
    let documents: Vec<_> = (0..ORDERS)
        .map(|number| doc! { "_id": id(number), "number": number as i32, "note": "x".repeat(9000) })
        .collect();
    client.database("shop").collection("orders").insert_many(documents).await.expect("documents");
    let proxy = Arc::new(Proxy::start(mongo.port()).await);
    let address = format!("mongodb://127.0.0.1:{}/shop?directConnection=true", proxy.port());
    let url = server().create_database("source_silent").expect("a database");
    let waits = Arc::new(Waits::default());
    let told = Arc::clone(&waits);
    let options = SourceOptions {
        reply_timeout: Duration::from_secs(7),
        batch_bytes: 64 << 10,
        waiting: Some(Arc::new(move |what, delay| told.event(&Event::Waiting { what, delay }))),
        ..SourceOptions::default()
    };
    let source = source::open_with(&address, options).await.expect("the source");
    let frozen = Arc::clone(&proxy);
    let freeze = tokio::spawn(async move {
        let sql = "SELECT count(*) > 0 FROM migrate.run";
        while server().query("source_silent", sql).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        frozen.freeze(true);
        tokio::time::sleep(Duration::from_secs(9)).await;
        frozen.freeze(false);
    });
    let (result, _) = migrate(source, &url, Duration::from_secs(30)).await;
    freeze.await.expect("it was frozen");
    assert_whole("source_silent", result);
    assert!(waits.any("has not answered for 5 s"), "{:?}", waits.0);
    assert!(waits.any("no answer within 7 seconds"), "{:?}", waits.0);
}

/// A live shop behind proxies, on both sides.
struct Shop {
    _mongo: Mongo,
    near: Arc<Proxy>,
    far: Arc<Proxy>,
    source: String,
}

impl Shop {
    async fn open() -> Self {
        let mongo = Mongo::start(MongoOptions::default()).expect("a server");
        let client = mongodb::Client::with_uri_str(mongo.uri("shop")).await.expect("a client");
        let documents: Vec<_> = (0..ORDERS)
            .map(|number| {
                doc! { "_id": id(number), "number": number as i32, "note": "x".repeat(9000) }
            })
            .collect();
        let orders = client.database("shop").collection("orders");
        orders.insert_many(documents).await.expect("documents");
        let near = Arc::new(Proxy::start(mongo.port()).await);
        let far = Arc::new(Proxy::start(server().port()).await);
        let source = format!("mongodb://127.0.0.1:{}/shop?directConnection=true", near.port());
        Self { _mongo: mongo, near, far, source }
    }

    /// A fresh database behind the proxy.
    fn target(&self, name: &str) -> String {
        let url = server().create_database(name).expect("a database");
        let (here, there) = (format!(":{}/", server().port()), format!(":{}/", self.far.port()));
        url.replace(&here, &there)
    }

    async fn source(&self, patience: Duration, stop: &Stop) -> Arc<dyn Source> {
        let options = SourceOptions {
            retry_for: patience,
            batch_bytes: 64 << 10,
            stop: stop.clone(),
            ..SourceOptions::default()
        };
        source::open_with(&self.source, options).await.expect("the source")
    }
}

/// Acts once, when so many documents have gone by, and remembers what is waited for.
struct After<F>(Mutex<(u64, Option<F>)>, Waits);

impl<F: FnOnce() + Send> After<F> {
    fn new(documents: u64, act: F) -> Arc<Self> {
        Arc::new(Self(Mutex::new((documents, Some(act))), Waits::default()))
    }
}

impl<F: FnOnce() + Send> Reporter for After<F> {
    fn event(&self, event: &Event<'_>) {
        self.1.event(event);
        if let Event::Progress { documents, .. } = event {
            let mut state = self.0.lock().expect("no panic");
            state.0 = state.0.saturating_sub(*documents);
            if state.0 == 0
                && let Some(act) = state.1.take()
            {
                act();
            }
        }
    }
}

/// Whoever is asked to stop does not wait for an answer that never comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_server_that_says_nothing() {
    let shop = Shop::open().await;
    let options = Options { jobs: 2, chunk_bytes: 256 << 10, ..Options::default() };
    let loaded = shop.target("stopped_loaded");
    let source = shop.source(options.patience, &Stop::default()).await;
    let silent = Arc::new(Silent);
    run(Orders::FACTS, source, &loaded, &options, silent, &Stop::default()).await.expect("a run");
    for (number, (is_run, is_source)) in
        [(true, true), (true, false), (false, true), (false, false)].into_iter().enumerate()
    {
        let proxy = Arc::clone(if is_source { &shop.near } else { &shop.far });
        let stop = Stop::default();
        let source = shop.source(options.patience, &stop).await;
        let asked = Arc::new(Mutex::new(None));
        let (frozen, asking, time) = (Arc::clone(&proxy), stop.clone(), Arc::clone(&asked));
        let reporter = After::new(100, move || {
            frozen.freeze(true);
            asking.stop();
            *time.lock().expect("no panic") = Some(Instant::now());
        });
        let target = match is_run {
            true => shop.target(&format!("stopped_{number}")),
            false => loaded.clone(),
        };
        let error = match is_run {
            true => run(Orders::FACTS, source, &target, &options, reporter, &stop).await.err(),
            false => {
                let request = Request::default();
                validate(Orders::FACTS, source, &target, &options, &request, reporter, &stop)
                    .await
                    .err()
            }
        };
        proxy.freeze(false);
        let what = format!("run: {is_run}, source: {is_source}");
        let error = error.unwrap_or_else(|| panic!("{what}: it ends"));
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{what}: {error}");
        let asked = asked.lock().expect("no panic").expect("asked");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(9), "{what}: {took:?}");
    }
}

/// A source that goes away for good ends the run when the patience is over, and not much later; what
/// it says is for people.
#[tokio::test(flavor = "multi_thread")]
async fn the_patience_with_a_source_is_as_long_as_it_says() {
    let shop = Shop::open().await;
    let patience = Duration::from_secs(4);
    let options = Options { jobs: 2, chunk_bytes: 256 << 10, patience, ..Options::default() };
    let source = shop.source(patience, &Stop::default()).await;
    let gone = Arc::new(Mutex::new(None));
    let (proxy, time) = (Arc::clone(&shop.near), Arc::clone(&gone));
    let reporter = After::new(100, move || {
        proxy.close(true);
        proxy.cut();
        *time.lock().expect("no panic") = Some(Instant::now());
    });
    let target = shop.target("patience");
    let told = Arc::clone(&reporter) as Arc<dyn Reporter>;
    let error = run(Orders::FACTS, source, &target, &options, told, &Stop::default()).await;
    let error = error.expect_err("it ends");
    assert_eq!(error.kind(), ErrorKind::SourceConnection, "{error}");
    let took = gone.lock().expect("no panic").expect("gone").elapsed();
    // The driver looks for a server for three seconds at a time.
    assert!(took >= patience && took < Duration::from_secs(11), "{took:?}");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.starts_with("no server answers (127.0.0.1:"), "{error}: {cause}");
    let waits = reporter.1.0.lock().expect("no panic");
    assert!(!waits.iter().any(|what| what.contains("Topology")), "{waits:?}");
}

/// A run that waits for its source, and holds no chunk because the source has given up, is at work:
/// nobody gives it up meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_its_source_is_not_given_up() {
    let shop = Shop::open().await;
    let options = Options { jobs: 2, chunk_bytes: 256 << 10, ..Options::default() };
    let source = shop.source(Duration::from_millis(100), &Stop::default()).await;
    let proxy = Arc::clone(&shop.near);
    let reporter = After::new(100, move || {
        proxy.close(true);
        proxy.cut();
    });
    let told = Arc::clone(&reporter);
    let url = shop.target("waiting");
    let (near, target) = (Arc::clone(&shop.near), Target::parse(&url).expect("an address"));
    let given_up = tokio::spawn(async move {
        while !told.1.any("no server answers") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut connection = target.connect().await.expect("a connection");
        let state = State::new("migrate");
        let run = state.last_run(&mut connection).await.expect("a state").expect("a run");
        let (begun, silent) = (Instant::now(), Arc::new(Silent) as Arc<dyn Reporter>);
        let mut answers = Vec::new();
        while begun.elapsed() < Duration::from_secs(6) {
            let stop = Stop::default();
            let answer = deferred::restore(&target, &state, &run, &silent, &stop).await;
            answers.push(answer.map_err(|error| error.to_string()));
        }
        near.close(false);
        answers
    });
    let told = Arc::clone(&reporter) as Arc<dyn Reporter>;
    let result = run(Orders::FACTS, source, &url, &options, told, &Stop::default()).await;
    for answer in given_up.await.expect("no panic") {
        let refusal = "another process is at work on the run that would be given up";
        assert_eq!(answer.expect_err("it is at work"), refusal);
    }
    assert_whole("waiting", result);
}

/// The target throws every session out in the middle of a comparison, which begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_waits_for_its_target() {
    let url = server().create_database("compared").expect("a database");
    let (result, _) = migrate(Arc::new(orders()), &url, Duration::from_secs(20)).await;
    assert_whole("compared", result);
    // A target that was never there is not waited for as long as one that goes away.
    let (begun, nowhere) = (Instant::now(), "postgres://127.0.0.1:1/compared");
    let (options, stop, silent) = (Options::default(), Stop::default(), Arc::new(Silent));
    let (source, request) = (Arc::new(orders()), Request::default());
    let error = validate(Orders::FACTS, source, nowhere, &options, &request, silent, &stop).await;
    assert!(error.expect_err("nobody is there").to_string().starts_with("cannot connect to "));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for patience in [20, 0] {
        let reporter = After::new(100, || {
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = 'compared' AND pid <> pg_backend_pid()";
            let ended = server().query("compared", sql).expect("sessions end");
            assert_ne!(ended[0][0].as_deref(), Some("0"));
        });
        let options =
            Options { patience: Duration::from_secs(patience), jobs: 2, ..Options::default() };
        let told = Arc::clone(&reporter) as Arc<dyn Reporter>;
        let (source, request, stop) = (Arc::new(orders()), Request::default(), Stop::default());
        let report = validate(Orders::FACTS, source, &url, &options, &request, told, &stop).await;
        match patience {
            0 => {
                let error = report.expect_err("it does not wait");
                assert_eq!(error.to_string(), "source and target cannot be compared");
                assert_eq!(error.kind(), ErrorKind::TargetConnection);
            }
            _ => {
                let report = report.expect("it begins anew");
                assert!(report.clean, "{report:#?}");
                assert_eq!(report.tables[0].source, u64::from(ORDERS));
                assert!(reporter.1.any("cannot be compared: "), "{:?}", reporter.1.0);
            }
        }
    }
}

/// A collection is read as it lies on the disk, which is not in the order of its ids, and the cursor
/// is lost in the middle, or the connection: the chunk is begun again, and each row is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_read_as_it_lies_is_begun_again_when_its_cursor_is_lost() {
    let arguments = ["--setParameter", "enableTestCommands=1"].map(str::to_owned).to_vec();
    let mongo = Mongo::start(MongoOptions { arguments }).expect("a server");
    let client = mongodb::Client::with_uri_str(mongo.uri("shop")).await.expect("a client");
    let numbers = (0..ORDERS).map(|number| number * 77 % ORDERS);
    let documents: Vec<_> = numbers
        .map(|number| doc! { "_id": id(number), "number": number as i32, "note": "x".repeat(9000) })
        .collect();
    client.database("shop").collection("orders").insert_many(documents).await.expect("documents");
    let faults = [doc! { "errorCode": 43 }, doc! { "closeConnection": true }];
    for (number, fault) in faults.into_iter().enumerate() {
        let mut data = doc! { "failCommands": ["getMore"] };
        data.extend(fault);
        let mode = doc! { "skip": 3, "times": 1 };
        let fail = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        client.database("admin").run_command(fail).await.expect("a fault");
        let options = SourceOptions { batch_bytes: 256 << 10, ..SourceOptions::default() };
        let source = source::open_with(&mongo.uri("shop"), options).await.expect("the source");
        let name = format!("read_as_it_lies_{number}");
        let url = server().create_database(&name).expect("a database");
        let waits = Arc::new(Waits::default());
        let told = Arc::clone(&waits) as Arc<dyn Reporter>;
        let (options, stop) = (Options::default(), Stop::default());
        let result =
            run(Orders::FACTS, Arc::clone(&source), &url, &options, told.clone(), &stop).await;
        assert_whole(&name, result);
        assert!(waits.any("Order without "), "{:?}", waits.0);
        let request = Request::default();
        let report = validate(Orders::FACTS, source, &url, &options, &request, told, &stop).await;
        let report = report.expect("a report");
        assert!(report.clean, "{report:#?}");
    }
}
