//! Runs under faults: the process killed, the servers killed, the network cut, a stop at every
//! step. Whatever happens, the end state is that of a run that nothing disturbed: no row lost,
//! none twice, every reject, key and index as it was to be.

#![expect(clippy::print_stderr, reason = "kills and figures are for whoever runs the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, doc};
use migrate_cli::generate::{Generator, Plan, to_dump, to_mongodb};
use migrate_core::deferred::{self, Restored};
use migrate_core::event::{Event, Reporter, Silent};
use migrate_core::failpoint::FailPoints;
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::sink::Target;
use migrate_core::source::memory::MemorySource;
use migrate_core::state::{RunRow, State};
use migrate_core::summary::Summary;
use migrate_core::{Error, ErrorKind, Migrate, registry};
use migrate_servers::{Mongo, MongoOptions, Postgres, PostgresOptions};
use migrate_tests::end_state::{assert_same, end_state};
use migrate_tests::program::{Program, WORK};
use migrate_tests::proxy::Proxy;
use migrate_tests::random::Random;
use migrate_tests::servers;
use models::NextCrm;
use uuid::Uuid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");

/// The exit code of a run that is complete and has rejected documents.
const REJECTS: Option<i32> = Some(1);

/// Two tests at a time disturb a run, so that instants mean something on a small machine.
static TURNS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// Waits for a turn, which lasts as long as what is returned.
fn turn() -> tokio::sync::SemaphorePermit<'static> {
    loop {
        match TURNS.try_acquire() {
            Ok(permit) => return permit,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Generated documents with faults, as a dump.
fn dirty_dump(scale: f64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let generator = Generator::new(NextCrm::FACTS, Plan { seed: 21, scale, dirty: 0.1 });
    to_dump(&generator, folder.path(), false).expect("a dump");
    folder
}

/// So small that most collections have several.
const SMALL_CHUNKS: &str = "48KiB";

fn arguments<'a>(source: &'a str, target: &'a str) -> Vec<&'a str> {
    vec!["--source", source, "--target", target, "--chunk-bytes", SMALL_CHUNKS, "--jobs", "3"]
}

/// A run that nothing disturbs; gives the number of its events.
fn undisturbed(source: &str, target: &str) -> u64 {
    let mut program = Program::start(EXECUTABLE, &arguments(source, target));
    assert_eq!(program.finish(), REJECTS);
    WORK.iter().filter_map(|event| program.heard.get(*event)).sum()
}

/// Kills a run at random instants until it completes, at least `kills` times; gives the number of
/// kills by the step that the run was in.
fn kill_until_complete(
    source: &str,
    target: &str,
    folder: &Path,
    events: u64,
    kills: u64,
    random: &mut Random,
) -> BTreeMap<String, u64> {
    let mut killed = BTreeMap::new();
    let (mut done, mut left) = (0, events);
    loop {
        let mut program = Program::start_in(folder, EXECUTABLE, &arguments(source, target));
        // Each process goes on for a while counted in what it does, so that a slow machine and a
        // fast one are killed in the same places, and then for a moment counted in time. What is
        // left to do is shared out among more kills than must be, for some processes do more than
        // was heard of them; but never so little that nothing is done any more.
        let share = left / (2 * kills).saturating_sub(done).max(1);
        let went_on = program.hear(1 + random.below(2 * share.max(3)));
        if went_on {
            std::thread::sleep(Duration::from_micros(random.below(30_000)));
        }
        let step = program.step().to_owned();
        let (status, heard) = program.kill();
        if let Some(status) = status {
            // Code 1 as well where the one before was killed when it had finished and was about
            // to say so.
            assert_eq!(status.code(), REJECTS, "{status} in {step}");
            return killed;
        }
        done += 1;
        left = left.saturating_sub(heard);
        *killed.entry(step).or_default() += 1;
        assert!(done < 5 * kills, "it does not come to its end: {killed:?}");
    }
}

fn make(server: &Postgres, name: &str, statements: &[String]) -> String {
    let url = server.create_database(name).expect("a fresh database");
    if !statements.is_empty() {
        let all = format!("DO $do$ BEGIN {} END $do$", script(statements));
        server.query(name, &all).unwrap_or_else(|error| panic!("{all}: {error:?}"));
    }
    url
}

fn script(statements: &[String]) -> String {
    statements.iter().map(|statement| format!("{statement};")).collect()
}

/// The schema as somebody else made it before: all of ours, and more.
fn existing_schema() -> Vec<String> {
    use migrate_core::ddl::{Names, statements};
    let ours = statements(NextCrm::FACTS, Names { schema: "public" });
    let theirs = [
        r#"CREATE INDEX "by hand" ON "crm_Contacts" (lower("email") DESC) WHERE "email" <> ''"#,
        r#"CREATE TABLE notes (account uuid REFERENCES "crm_Accounts" ON DELETE CASCADE)"#,
        // It refuses some rows in the middle of a COPY, and with them all that refer to them.
        r#"ALTER TABLE "crm_Accounts" ADD CONSTRAINT even CHECK (hashtext(id::text) % 100 <> 7)"#,
        r#"ALTER TABLE "Tasks" ADD CONSTRAINT odd CHECK (hashtext(id::text) % 100 <> 11)"#,
    ];
    ours.into_iter().map(|statement| statement.sql).chain(theirs.map(str::to_owned)).collect()
}

/// How often each of the two tests below kills, at least.
const KILLS: u64 = 30;

fn killed(test: &str, statements: &[String]) {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let dump = dirty_dump(5.0);
    let source = dump.path().to_str().expect("a path in UTF-8");
    let mut random = Random::for_test(test);
    let _turn = turn();
    let begun = Instant::now();
    let reference = format!("{test}_reference");
    let events = undisturbed(source, &make(server, &reference, statements));
    let alone = begun.elapsed();
    let expected = end_state(server, &reference);
    let refused = expected["rejects"].iter().any(|reject| reject.contains(",write,"));
    assert_eq!(refused, !statements.is_empty(), "their constraints refuse rows");
    let target = make(server, test, statements);
    let folder = tempfile::tempdir().expect("a folder");
    let kills = kill_until_complete(source, &target, folder.path(), events, KILLS, &mut random);
    assert_same(&expected, &end_state(server, test), test);
    assert_log_mirrors_ledger(folder.path(), server, test);
    let total: u64 = kills.values().sum();
    eprintln!("{test}: {total} kills in {:?} (alone {alone:?}): {kills:?}", begun.elapsed());
    assert!(total >= KILLS, "only {kills:?}");
    assert!(kills.contains_key("load"), "{kills:?}");
    // Settling is short: one of the two.
    assert!(kills.contains_key("constrain") || kills.contains_key("settle"), "{kills:?}");
}

/// The log of rejects has the entries of the ledger, each once, whatever was killed between a commit
/// and the log.
fn assert_log_mirrors_ledger(folder: &Path, server: &Postgres, database: &str) {
    let log = std::fs::read_to_string(folder.join("migration-errors.log")).expect("the log");
    let mut logged: Vec<String> = log
        .split_terminator("\n\n")
        .map(|entry| {
            let lines: Vec<&str> = entry.lines().collect();
            let [head, id, error, _] = lines[..] else { panic!("{entry}") };
            let (_, table) = head.split_once("ERROR in table ").expect("a table");
            format!("{table} {id} {error}")
        })
        .collect();
    let sql = "SELECT format('\"%s\" MongoDB ObjectId: %s Error: %s%s', table_name, source_id,
            CASE WHEN field <> '' THEN field || ': ' END, message)
        FROM migrate.reject";
    let rows = server.query(database, sql).expect("the ledger");
    // An entry of the log has its four lines whatever is in the message.
    let line = |text: String| text.replace('\n', "\\n").replace('\r', "\\r");
    let mut ledger: Vec<String> = rows.into_iter().flatten().flatten().map(line).collect();
    logged.sort();
    ledger.sort();
    let found = logged.iter().zip(&ledger).find(|(logged, ledger)| logged != ledger);
    assert_eq!(found, None, "{database}");
    assert_eq!(logged.len(), ledger.len(), "{database}");
}

#[test]
fn a_killed_run_goes_on_into_tables_that_it_makes() {
    killed("killed_created", &[]);
}

#[test]
fn a_killed_run_goes_on_into_tables_with_all_constraints() {
    killed("killed_existing", &existing_schema());
}

/// Two processes on one run, started at the same moment; one is killed. The rows are shared, none
/// is written twice, and what the dead one held is done by the other.
#[test]
fn two_processes_share_a_run_and_one_is_killed() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let dump = dirty_dump(2.5);
    let source = dump.path().to_str().expect("a path in UTF-8");
    let mut random = Random::for_test("two processes");
    let _turn = turn();
    undisturbed(source, &make(server, "shared_reference", &[]));
    let expected = end_state(server, "shared_reference");
    let target = make(server, "shared", &[]);
    let mut first = Program::start(EXECUTABLE, &arguments(source, &target));
    let mut second = Program::start(EXECUTABLE, &arguments(source, &target));
    // Both have begun: one of them made the run, the other found it.
    assert!(second.hear(1), "it found nothing to do");
    assert!(first.hear(8 + random.below(20)), "it found nothing to do");
    let chunks_of_first = first.heard["chunk_done"];
    assert_eq!(first.kill().0, None, "it was at work");
    assert_eq!(second.finish(), REJECTS);
    let chunks_of_second = second.heard["chunk_done"];
    assert_same(&expected, &end_state(server, "shared"), "shared");
    eprintln!(
        "shared: {chunks_of_first} chunks by the killed one, {chunks_of_second} by the other"
    );
    assert!(chunks_of_first > 0 && chunks_of_second > 0);
}

/// Goes on until the program ends; every so many events `disturb` is called, `times` at most.
fn disturbed(
    mut program: Program,
    random: &mut Random,
    every: u64,
    times: u64,
    mut disturb: impl FnMut(u64),
) -> (Program, u64) {
    let mut done = 0;
    while done < times && program.hear(1 + random.below(2 * every)) {
        eprintln!("fault {done} in {}", program.step());
        disturb(done);
        done += 1;
    }
    let code = program.finish();
    assert_eq!(code, REJECTS, "after {done} faults; it waited for {:#?}", program.waits);
    (program, done)
}

fn kill_process(pid: i32) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// A server of PostgreSQL that loses a process to SIGKILL, which makes it throw every connection
/// out, and that is killed as a whole and comes back. The run ends by itself.
#[test]
fn postgresql_is_killed_and_comes_back() {
    let options = PostgresOptions { version: Some(servers::NEWEST), ..Default::default() };
    let mut server = Postgres::start(options).expect("a server");
    let dump = dirty_dump(2.5);
    let source = dump.path().to_str().expect("a path in UTF-8");
    let mut random = Random::for_test("postgresql is killed");
    let _turn = turn();
    let events = undisturbed(source, &make(&server, "reference", &[]));
    let expected = end_state(&server, "reference");
    let target = make(&server, "killed", &[]);
    let program = Program::start(EXECUTABLE, &arguments(source, &target));
    let (mut backends, mut servers) = (0, 0);
    let (program, faults) = disturbed(program, &mut random, events / 10, 8, |fault| {
        if fault % 4 == 3 {
            server.kill();
            server.restart().expect("it comes back");
            servers += 1;
            return;
        }
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^migrate( |$)'
                   ORDER BY random() LIMIT 1";
        // It may still be recovering from the fault before.
        let rows = server.query("postgres", sql).unwrap_or_default();
        let pid = rows.first().and_then(|row| row[0].as_deref()?.parse().ok());
        backends += u64::from(pid.is_some_and(kill_process));
    });
    assert_same(&expected, &end_state(&server, "killed"), "postgresql is killed");
    eprintln!(
        "postgresql: {backends} backends and {servers} servers killed in {faults} faults, waited {} times",
        program.waits.len()
    );
    assert!(backends > 0 && servers > 0, "{backends} backends, {servers} servers");
}

/// A live source that is killed and comes back, and a network that breaks on both ends.
#[tokio::test(flavor = "multi_thread")]
async fn mongodb_is_killed_and_the_network_is_cut() {
    let target_server = servers::postgres(servers::NEWEST).expect("the newest version");
    let mut mongo = Mongo::start(MongoOptions::default()).expect("a server");
    let generator = Generator::new(NextCrm::FACTS, Plan { seed: 22, scale: 1.0, dirty: 0.1 });
    to_mongodb(&generator, &mongo.uri("crm")).await.expect("documents");
    let near = Proxy::start(mongo.port()).await;
    let far = Proxy::start(target_server.port()).await;
    let mut random = Random::for_test("mongodb is killed");
    let _turn = turn();
    let source = mongo.uri("crm");
    let events = undisturbed(&source, &make(target_server, "live_reference", &[]));
    let expected = end_state(target_server, "live_reference");

    let target = make(target_server, "live_killed", &[]);
    let program = Program::start(EXECUTABLE, &arguments(&source, &target));
    let (program, kills) = disturbed(program, &mut random, events / 50, 2, |_| {
        mongo.kill();
        mongo.restart().expect("it comes back");
    });
    assert_same(&expected, &end_state(target_server, "live_killed"), "mongodb is killed");
    eprintln!("mongodb: killed {kills} times, waited {} times", program.waits.len());

    let source = format!("mongodb://127.0.0.1:{}/crm?directConnection=true", near.port());
    let target = make(target_server, "live_cut", &[])
        .replace(&format!(":{}/", target_server.port()), &format!(":{}/", far.port()));
    let program = Program::start(EXECUTABLE, &arguments(&source, &target));
    let (program, cuts) = disturbed(program, &mut random, events / 12, 8, |cut| {
        let proxies: &[&Proxy] = match cut % 3 {
            0 => &[&near],
            1 => &[&far],
            _ => &[&near, &far],
        };
        // Sometimes nobody answers for a while.
        for proxy in proxies {
            proxy.close(cut % 2 == 0);
            proxy.cut();
        }
        std::thread::sleep(Duration::from_millis(300));
        for proxy in proxies {
            proxy.close(false);
        }
    });
    assert_same(&expected, &end_state(target_server, "live_cut"), "the network is cut");
    eprintln!("network: cut {cuts} times, waited {} times", program.waits.len());
    assert!(kills > 0 && cuts > 2, "{kills} kills, {cuts} cuts");
}

/// A person in a team, with a boss.
#[derive(Migrate)]
#[migrate(collection = "people")]
#[allow(dead_code)]
struct Person {
    #[migrate(id)]
    id: Uuid,
    #[migrate(unique)]
    email: Option<String>,
    #[fk(Self)]
    boss: Option<Uuid>,
    #[fk(Team)]
    #[migrate(index)]
    team: Uuid,
    #[junction(Friends, owner = left)]
    friends: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "teams")]
#[allow(dead_code)]
struct Team {
    #[migrate(id)]
    id: Uuid,
    // Left out of the order: leaders are in teams.
    #[fk(Person, deferred)]
    lead: Option<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction)]
#[allow(dead_code)]
struct Friends {
    #[fk(Person, on_delete = cascade)]
    left: Uuid,
    #[fk(Person, on_delete = cascade)]
    right: Uuid,
}

registry! { Club = [Person, Team, Friends] }

fn id(number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(1_600_000_000 + number).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// Forty people, with faults of every kind that settling knows.
fn club() -> MemorySource {
    let person = |number: u32| {
        let mut person = doc! { "_id": id(number), "team": id(1001 + number % 3) };
        match number {
            // A team that is not there; who refers to this person is settled after it.
            7 => drop(person.insert("team", id(9999))),
            8 => drop(person.insert("boss", id(7))),
            // The same address twice, and who refers to the one that goes.
            11 | 12 => drop(person.insert("email", "one@club")),
            13 => drop(person.insert("boss", id(12))),
            14 => drop(person.insert("boss", "nobody")),
            15 => drop(person.insert("friends", vec![id(1), id(1), id(7), id(8888)])),
            16 => drop(person.remove("team")),
            // What a constraint of somebody else's refuses.
            30 => drop(person.insert("email", "odd@club")),
            // The same id in another type.
            17 => drop(person.insert("_id", id(18).to_hex())),
            _ => drop(person.insert("friends", vec![id(number - 1), id(number % 5 + 1)])),
        }
        person
    };
    let people: Vec<Document> = (1..=40).map(person).collect();
    let leads = [7, 12, 20];
    let teams = leads.map(|lead| doc! { "_id": id(1001 + lead % 3), "lead": id(lead) });
    MemorySource::new().with("people", people).with("teams", teams).batches_of(10)
}

async fn run_club(
    source: MemorySource,
    url: &str,
    fail_points: FailPoints,
) -> migrate_core::error::Result<Summary> {
    let options = Options { jobs: 1, chunk_bytes: 1024, fail_points, ..Options::default() };
    run(Club::FACTS, Arc::new(source), url, &options, Arc::new(Silent), &Stop::default()).await
}

/// Fail points that count, and end the run at the hit of that number.
fn stop_at(number: u64) -> (FailPoints, Arc<AtomicU64>) {
    let hits = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&hits);
    let hook = move |point: &str| match counted.fetch_add(1, Ordering::SeqCst) + 1 {
        hit if hit == number => {
            Err(Error::new(ErrorKind::Interrupted, format!("stopped where {point}")))
        }
        _ => Ok(()),
    };
    (FailPoints::new(Arc::new(hook)), hits)
}

/// The tables of the club as somebody else made them, with keys, indexes and a refusal of theirs.
fn existing_club() -> Vec<String> {
    use migrate_core::ddl::{Names, statements};
    let ours = statements(Club::FACTS, Names { schema: "public" });
    let theirs = r#"ALTER TABLE "Person" ADD CONSTRAINT odd CHECK (email <> 'odd@club')"#;
    ours.into_iter().map(|statement| statement.sql).chain([theirs.to_owned()]).collect()
}

/// A run that is stopped at one step and goes on, for every step of the state machine in turn.
async fn stopped_at_every_step(test: &str, statements: &[String]) {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let reference = format!("{test}_reference");
    let (fail_points, hits) = stop_at(0);
    let url = make(server, &reference, statements);
    let summary = run_club(club(), &url, fail_points).await.expect("nothing disturbs it");
    assert!(summary.balanced, "{summary:#?}");
    let steps = hits.load(Ordering::SeqCst);
    let expected = end_state(server, &reference);
    assert!(!expected.contains_key("staging tables"), "{expected:?}");
    let mut stopped = BTreeMap::new();
    let url = make(server, test, &[]);
    // Quicker than a database for each step.
    let emptied = format!(
        "DO $do$ BEGIN DROP SCHEMA IF EXISTS migrate CASCADE; DROP SCHEMA public CASCADE;
         CREATE SCHEMA public; {} END $do$",
        script(statements)
    );
    for step in 1..=steps {
        server.query(test, &emptied).expect("a database as it was");
        let (fail_points, _) = stop_at(step);
        let error = run_club(club(), &url, fail_points).await.expect_err("it is stopped");
        assert_eq!(error.kind(), ErrorKind::Interrupted, "step {step}: {error}");
        let (fail_points, _) = stop_at(0);
        run_club(club(), &url, fail_points)
            .await
            .unwrap_or_else(|failure| panic!("after {error} (step {step}): {failure}"));
        let found = end_state(server, test);
        assert_same(&expected, &found, &format!("step {step}, {error}"));
        *stopped.entry(error.to_string()).or_insert(0_u32) += 1;
    }
    eprintln!("{test}: {steps} steps: {stopped:#?}");
    assert!(stopped.len() > 8, "{stopped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_every_step_changes_nothing() {
    stopped_at_every_step("step", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_every_step_changes_nothing_in_tables_that_were_there() {
    stopped_at_every_step("existing_step", &existing_club()).await;
}

/// Begins the club's run, and stops before its load: everything is off, and no row is in the way.
async fn stopped_before_the_load(url: &str) -> Error {
    let stop_here = |point: &str| match point {
        "the plan is committed" => Err(Error::new(ErrorKind::Interrupted, "stopped")),
        _ => Ok(()),
    };
    let fail_points = FailPoints::new(Arc::new(stop_here));
    run_club(club(), url, fail_points).await.expect_err("it is stopped")
}

/// Gives a run up.
async fn restore(
    target: &Target,
    state: &State,
    run: &RunRow,
) -> migrate_core::error::Result<Restored> {
    let silent: Arc<dyn Reporter> = Arc::new(Silent);
    deferred::restore(target, state, run, &silent, &Stop::default()).await
}

/// Gives the club's run up: its keys and indexes are put back, as far as the rows allow it.
async fn give_up(url: &str) -> migrate_core::error::Result<usize> {
    let target = Target::parse(url)?;
    let state = State::new("migrate");
    let mut connection = target.connect().await?;
    if !state.exists(&mut connection).await? {
        return Ok(0);
    }
    match state.last_run(&mut connection).await? {
        Some(run) => Ok(restore(&target, &state, &run).await?.back),
        None => Ok(0),
    }
}

/// A run that stops at one step, is given up, and goes on after all, for every other step in turn.
async fn given_up_at_every_other_step(test: &str, statements: &[String], phase: u64) {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let reference = format!("{test}_reference");
    let (fail_points, hits) = stop_at(0);
    let url = make(server, &reference, statements);
    run_club(club(), &url, fail_points).await.expect("nothing disturbs it");
    let expected = end_state(server, &reference);
    let (mut back, mut broke) = (0, BTreeMap::new());
    for step in (phase..=hits.load(Ordering::SeqCst)).step_by(2) {
        let name = format!("{test}_{step}");
        let url = make(server, &name, statements);
        let (fail_points, _) = stop_at(step);
        let stopped = run_club(club(), &url, fail_points).await.expect_err("it is stopped");
        match give_up(&url).await {
            Ok(some) => back += some,
            Err(error) => *broke.entry(error.to_string()).or_insert(0) += 1,
        }
        let (fail_points, _) = stop_at(0);
        run_club(club(), &url, fail_points)
            .await
            .unwrap_or_else(|failure| panic!("after {stopped} (step {step}): {failure}"));
        let what = format!("step {step}, {stopped}");
        assert_same(&expected, &end_state(server, &name), &what);
    }
    eprintln!("{test}: {back} definitions put back; {broke:#?}");
    assert!(back > 8 && !broke.is_empty(), "{back}, {broke:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_given_up_goes_on_after_all() {
    given_up_at_every_other_step("given_up", &[], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_given_up_goes_on_in_tables_that_were_there() {
    given_up_at_every_other_step("given_up_existing", &existing_club(), 1).await;
}

/// Gives the run up from another thread, as another process would, and waits for it.
fn give_up_beside(url: &str) -> migrate_core::error::Result<usize> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(give_up(url))
        });
        other.join().expect("no panic")
    })
}

/// Ends all sessions of a database, as a server does that is started anew.
fn end_sessions(server: &Postgres, database: &str) {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    let ended = server.query("postgres", &sql).expect("sessions end");
    assert_ne!(ended[0][0].as_deref(), Some("0"), "{database}");
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    let begun = Instant::now();
    while server.query("postgres", &left).expect("sessions")[0][0].as_deref() != Some("0") {
        assert!(begun.elapsed() < Duration::from_secs(60), "they do not end: {database}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Nobody may put keys on a table beside a run, whatever that does at this moment; and one that had no
/// session while somebody did must not load into them.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_is_not_given_up_and_one_without_sessions_is_told() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let (fail_points, _) = stop_at(0);
    let url = make(server, "beside_reference", &[]);
    run_club(club(), &url, fail_points).await.expect("nothing disturbs it");
    let expected = end_state(server, "beside_reference");
    let points = [
        "the plan is committed",
        "a chunk is taken",
        "a chunk is committed",
        "the load is done",
        "a task is taken",
        "a task is committed",
        "the summary is made",
    ];
    let cut = ["the plan is committed", "a chunk is committed", "a task is committed"];
    let cases = points.map(|point| (point, false)).into_iter().chain(cut.map(|cut| (cut, true)));
    for (number, (point, is_cut)) in cases.enumerate() {
        let name = format!("beside_{number}");
        let url = make(server, &name, &[]);
        let (there, hits) = (url.clone(), Arc::new(AtomicU64::new(0)));
        let database = name.clone();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let hook = move |hit: &str| {
            // Once, in the middle where there is one.
            let nth = hits.fetch_add(u64::from(hit == point), Ordering::SeqCst);
            let is_once = point.starts_with("the ");
            if hit == point && nth == u64::from(!is_once) {
                if is_cut {
                    end_sessions(server, &database);
                }
                let given_up = give_up_beside(&there);
                counted.fetch_add(1, Ordering::SeqCst);
                let text = given_up.map_or_else(|error| error.to_string(), |_| String::new());
                let refusal = "another process is at work on the run that would be given up";
                // Where nobody is at work, the rows may be in the way.
                assert_eq!(text == refusal, !is_cut, "{point}: {text}");
            }
            Ok(())
        };
        let result = run_club(club(), &url, FailPoints::new(Arc::new(hook))).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{point}");
        // Before its first chunk it looks at the run again, and takes it up itself.
        if is_cut && point != "the plan is committed" {
            let error = result.expect_err(point);
            assert!(error.to_string().contains("was given up meanwhile"), "{point}: {error}");
            let (fail_points, _) = stop_at(0);
            run_club(club(), &url, fail_points).await.expect("it goes on");
        } else if let Err(error) = result {
            panic!("{point}: {error}");
        }
        assert_same(&expected, &end_state(server, &name), point);
    }
}

/// What a run has told.
#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Reporter for Notices {
    fn event(&self, event: &Event<'_>) {
        if let Event::Notice { message } = event {
            self.0.lock().expect("no panic").push((*message).to_owned());
        }
    }
}

/// A table of somebody else's whose foreign key is off may be dropped meanwhile: what was to be put
/// back on it is left out and named, by the run, by who gives it up, and by who starts over.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_meanwhile_is_in_nobodys_way() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let theirs = [
        r#"CREATE TABLE note (person uuid CONSTRAINT of_person REFERENCES "Person")"#,
        r#"ALTER TABLE "Person" ADD COLUMN shelf bigint"#,
        r#"CREATE INDEX shelves ON "Person" (shelf)"#,
        r#"CREATE TABLE kept (person uuid CONSTRAINT stays REFERENCES "Person")"#,
        "CREATE FUNCTION own(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)'",
        r#"CREATE INDEX owned ON "Person" (own(email))"#,
        r#"CREATE INDEX quick ON "Person" (upper(email)) WHERE email > 'a'"#,
        r#"CREATE TABLE part (id int, person uuid CONSTRAINT parts REFERENCES "Person")
            PARTITION BY RANGE (id)"#,
        "CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10)",
    ];
    let statements: Vec<String> =
        existing_club().into_iter().chain(theirs.map(str::to_owned)).collect();
    let drops = ["DROP TABLE note", r#"ALTER TABLE "Person" DROP COLUMN shelf"#];
    let gone = ["of_person", "shelves"];
    let names = |database: &str| -> Vec<String> {
        let sql = "SELECT conname::text FROM pg_constraint WHERE contype = 'f' UNION ALL
            SELECT relname::text FROM pg_class WHERE relkind = 'i'
                AND relnamespace = 'public'::regnamespace ORDER BY 1";
        let rows = server.query(database, sql).expect("names");
        rows.into_iter().filter_map(|mut row| row.remove(0)).collect()
    };
    for (number, way) in
        ["run", "restore", "broken", "clean", "restore and run"].into_iter().enumerate()
    {
        let name = format!("dropped_{number}");
        let url = make(server, &name, &statements);
        let before = names(&name);
        // Before the load: no row is in the way of a key.
        let stopped = stopped_before_the_load(&url).await;
        assert!(!names(&name).contains(&"stays".to_owned()), "it is off: {stopped}");
        for sql in drops {
            server.query(&name, sql).expect("theirs to drop");
        }
        // The index would have gone with its function.
        if way == "clean" || way == "run" {
            server.query(&name, "DROP FUNCTION own").expect("theirs to drop");
        }
        // Somebody is quicker, and has built another one of that name.
        if way == "clean" {
            server.query(&name, "CREATE INDEX quick ON kept (person)").expect("an index");
        }
        let told = Arc::new(Notices::default());
        let reporter = Arc::clone(&told) as Arc<dyn Reporter>;
        let mut broken = Vec::new();
        if way != "run" && way != "clean" {
            if way == "broken" {
                let sql = r#"INSERT INTO "Person" (id, email, team)
                    SELECT gen_random_uuid(), 'one@club', gen_random_uuid()
                    FROM generate_series(1, 2)"#;
                server.query(&name, sql).expect("rows");
                broken = vec!["Person_email_key", "Person_team_fkey"];
            }
            // Somebody for whom names mean something else.
            let target = format!("{url}?options=-c%20search_path=pg_temp");
            let target = Target::parse(&target).expect("an address");
            let state = State::new("migrate");
            let mut connection = target.connect().await.expect("a connection");
            let run = state.last_run(&mut connection).await.expect("a state").expect("a run");
            let restored =
                deferred::restore(&target, &state, &run, &reporter, &Stop::default()).await;
            match restored {
                Ok(restored) => {
                    let names: Vec<&str> =
                        restored.gone.iter().map(|definition| definition.name.as_str()).collect();
                    assert_eq!(names.len(), 2, "{names:?}");
                    assert!(gone.iter().all(|gone| names.contains(gone)), "{names:?}");
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        text.starts_with("2 definitions cannot be put back; 12 of 16"),
                        "{text}"
                    );
                    assert!(broken.iter().all(|name| text.contains(name)), "{text}");
                    assert_eq!(way, "broken", "{text}");
                }
            }
        }
        if way == "run" || way == "clean" || way == "restore and run" {
            let options = Options { jobs: 1, clean: way == "clean", ..Options::default() };
            let (source, stop) = (Arc::new(club()), Stop::default());
            let reporter = Arc::clone(&reporter);
            let summary = run(Club::FACTS, source, &url, &options, reporter, &stop).await;
            let summary = summary.unwrap_or_else(|error| panic!("{way}: {error:?}"));
            assert!(summary.balanced, "{way}: {summary:#?}");
        }
        let told = told.0.lock().expect("no panic").join("\n");
        for gone in gone {
            assert!(told.contains(&format!("{gone} is not put back on ")), "{way}: {told}");
        }
        let build = r#"ALTER TABLE public.note ADD CONSTRAINT "of_person" FOREIGN KEY (person)"#;
        assert!(told.contains(build), "{told}");
        let mut after = names(&name);
        after.retain(|name| !name.ends_with("_pkey"));
        let mut expected = before;
        let is_without = way == "clean" || way == "run";
        assert_eq!(told.contains("owned is not put back on "), is_without, "{told}");
        assert_eq!(told.contains("quick is not put back on "), way == "clean", "{told}");
        let is_off = |name: &str| {
            gone.contains(&name) || broken.contains(&name) || (is_without && name == "owned")
        };
        expected.retain(|name| !name.ends_with("_pkey") && !is_off(name));
        assert_eq!(after, expected, "{way}");
    }
}

/// Who is asked to stop while keys are put back does not wait for a lock, and leaves no statement behind
/// that would go on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn putting_keys_back_can_be_stopped() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let url = make(server, "restore_stopped", &existing_club());
    stopped_before_the_load(&url).await;
    let target = Target::parse(&url).expect("an address");
    let state = State::new("migrate");
    let mut holder = target.connect().await.expect("a connection");
    let run = state.last_run(&mut holder).await.expect("a state").expect("a run");
    holder.execute("holding a lock", r#"BEGIN; LOCK TABLE "Team""#).await.expect("a lock");
    let stop = Stop::default();
    let asking = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        asking.stop();
    });
    let (begun, silent) = (Instant::now(), Arc::new(Silent) as Arc<dyn Reporter>);
    let error =
        deferred::restore(&target, &state, &run, &silent, &stop).await.expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    assert!(error.to_string().ends_with(" definitions are back"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'restore_stopped'
        AND wait_event_type = 'Lock'";
    while server.query("postgres", waiting).expect("sessions")[0][0].as_deref() != Some("0") {
        assert!(begun.elapsed() < Duration::from_secs(20), "a statement waits on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    holder.execute("giving the lock back", "ROLLBACK").await.expect("it is given back");
    let some = restore(&target, &state, &run).await.expect("the rest").back;
    assert!(some > 0);
    assert_eq!(restore(&target, &state, &run).await.expect("nothing").back, 0);
}

/// Who puts keys back and has lost the session that keeps others away goes no further once the run
/// goes on.
#[tokio::test(flavor = "multi_thread")]
async fn putting_back_ends_where_the_run_goes_on() {
    /// Ends the other session, and lets the run come to its end.
    struct Between(Mutex<u32>, String);
    impl Reporter for Between {
        fn event(&self, event: &Event<'_>) {
            let Event::TaskStarted { .. } = event else { return };
            let mut count = self.0.lock().expect("no panic");
            *count += 1;
            if *count != 3 {
                return;
            }
            let server = servers::postgres(servers::NEWEST).expect("the newest version");
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = 'restore_lost' AND state = 'idle in transaction'";
            let ended = server.query("postgres", sql).expect("it ends");
            assert_eq!(ended[0][0].as_deref(), Some("1"));
            let url = self.1.clone();
            let going = std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                runtime.block_on(run_club(club(), &url, stop_at(0).0))
            });
            going.join().expect("no panic").expect("it goes on");
        }
    }
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let url = make(server, "restore_lost_reference", &existing_club());
    run_club(club(), &url, stop_at(0).0).await.expect("nothing disturbs it");
    let url = make(server, "restore_lost", &existing_club());
    stopped_before_the_load(&url).await;
    let target = Target::parse(&url).expect("an address");
    let state = State::new("migrate");
    let mut connection = target.connect().await.expect("a connection");
    let run = state.last_run(&mut connection).await.expect("a state").expect("a run");
    let between: Arc<dyn Reporter> = Arc::new(Between(Mutex::new(0), url));
    let error = deferred::restore(&target, &state, &run, &between, &Stop::default()).await;
    let text = error.expect_err("the run goes on").to_string();
    assert_eq!(text, "run 1 goes on again: another process has taken it up");
    let expected = end_state(server, "restore_lost_reference");
    assert_same(&expected, &end_state(server, "restore_lost"), "it went on");
}

/// A run that has no session while another process throws it away must not work on the next one, which
/// has the same number.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_thrown_away_is_told() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    for (number, anew) in [true, false].into_iter().enumerate() {
        let name = format!("thrown_away_{number}");
        let url = make(server, &name, &[]);
        let database = name.clone();
        let (there, hits) = (url.clone(), Arc::new(AtomicU64::new(0)));
        let hook = move |hit: &str| {
            if hit == "a chunk is committed" && hits.fetch_add(1, Ordering::SeqCst) == 1 {
                end_sessions(server, &database);
                let clean = |stop_at: u64| Options {
                    clean: true,
                    fail_points: self::stop_at(stop_at).0,
                    ..Options::default()
                };
                // The second ends right after its clean.
                let options = if anew { clean(0) } else { clean(4) };
                let result = std::thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                        let (source, silent) = (Arc::new(club()), Arc::new(Silent));
                        let stop = Stop::default();
                        let all = run(Club::FACTS, source, &there, &options, silent, &stop);
                        runtime.block_on(all)
                    });
                    other.join().expect("no panic")
                });
                assert_eq!(result.is_ok(), anew, "{:?}", result.err());
            }
            Ok(())
        };
        let error = run_club(club(), &url, FailPoints::new(Arc::new(hook))).await.unwrap_err();
        assert!(error.to_string().contains("thrown away"), "{error}");
    }
}

/// Of two that start over at once one does, and the other one says why it does not.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_start_over_one_does() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let (fail_points, _) = stop_at(0);
    let url = make(server, "start_over", &[]);
    run_club(club(), &url, fail_points).await.expect("a run");
    let clean = |fail_points| Options { clean: true, jobs: 1, fail_points, ..Options::default() };
    // The first goes on when the second is waiting for it.
    let first = FailPoints::new(Arc::new(|point| {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE NOT granted AND datname = 'start_over'";
        let waits = || server.query("postgres", waiting).expect("locks")[0][0].clone();
        let begun = Instant::now();
        while point == "earlier runs are taken away" && waits().as_deref() == Some("0") {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }));
    let start = |options| {
        let (source, silent, url) = (Arc::new(club()), Arc::new(Silent), url.clone());
        // Each in a process of its own, as it were: the first one blocks its threads.
        std::thread::spawn(move || {
            let stop = Stop::default();
            let all = run(Club::FACTS, source, &url, &options, silent, &stop);
            tokio::runtime::Runtime::new().expect("a runtime").block_on(all)
        })
    };
    let first = start(clean(first));
    std::thread::sleep(Duration::from_millis(500));
    let second = start(clean(stop_at(0).0)).join().expect("no panic");
    let summary = first.join().expect("no panic").expect("it starts over");
    assert!(summary.balanced, "{summary:#?}");
    let error = second.expect_err("one is enough");
    let expected = "the run was thrown away: another process has started over";
    assert_eq!(error.to_string(), expected);
}

/// Every process stops a few steps further on, until one comes to the end.
#[tokio::test(flavor = "multi_thread")]
async fn many_stops_in_a_row_change_nothing() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let (fail_points, _) = stop_at(0);
    let url = make(server, "chain_reference", &[]);
    run_club(club(), &url, fail_points).await.expect("nothing disturbs it");
    let url = make(server, "chain", &[]);
    let mut stops = 0;
    loop {
        // The first hits of a process are those before its first chunk or task.
        let (fail_points, _) = stop_at(5 + stops % 3);
        match run_club(club(), &url, fail_points).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
        }
        stops += 1;
        assert!(stops < 500, "it does not come to its end");
    }
    let found = end_state(server, "chain");
    assert_same(&end_state(server, "chain_reference"), &found, "a chain of stops");
    eprintln!("chain: {stops} stops");
    assert!(stops > 10, "{stops}");
}

/// What somebody does to the target behind the run's back, between the last task and the summary,
/// and the part of the summary that says so.
#[tokio::test(flavor = "multi_thread")]
async fn sums_that_do_not_hold_are_told() {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    for (number, tampering) in [
        r#"DELETE FROM "Person" WHERE id = (SELECT max(id::text)::uuid FROM "Person" WHERE id NOT IN (SELECT lead FROM "Team" WHERE lead IS NOT NULL))"#,
        r#"DELETE FROM "Friends" WHERE ctid = (SELECT min(ctid) FROM "Friends")"#,
        "DELETE FROM migrate.reject WHERE reason = 'duplicate'",
        "UPDATE migrate.chunk SET read = read + 1 WHERE chunk = (SELECT min(chunk) FROM migrate.chunk)",
        r#"INSERT INTO "Team" VALUES (gen_random_uuid())"#,
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("tampered_{number}");
        let url = make(server, &name, &[]);
        let database = name.clone();
        let hook = move |point: &str| {
            if point == "the tasks are done" {
                let sql = format!("WITH done AS ({tampering} RETURNING 1) SELECT count(*) FROM done");
                let touched = server.query(&database, &sql).expect(tampering);
                assert_ne!(touched[0][0].as_deref(), Some("0"), "{tampering}");
            }
            Ok(())
        };
        let summary =
            run_club(club(), &url, FailPoints::new(Arc::new(hook))).await.expect("it completes");
        assert!(!summary.balanced && !summary.is_clean(), "{tampering}: {summary:#?}");
        let unbalanced = summary.tables.iter().filter(|table| !table.balanced).count()
            + summary.junctions.iter().filter(|junction| !junction.balanced).count();
        assert!(unbalanced > 0, "{tampering}");
        // The run is not over: the same command adds up again.
        let (fail_points, _) = stop_at(0);
        let again = run_club(club(), &url, fail_points).await.expect("it adds up again");
        assert!(!again.balanced, "{tampering}");
    }
}

/// A row of next to nothing.
#[derive(Migrate)]
#[migrate(collection = "rows")]
#[allow(dead_code)]
struct Tiny {
    #[migrate(id)]
    id: Uuid,
    #[migrate(unique)]
    code: i32,
}

registry! { Rows = [Tiny] }

/// Many rows in one chunk, three of which the target refuses: how often it must be asked more than
/// for rows that are all taken. The number of rows is `MIGRATE_TEST_ROWS`, or 1,000,000, or 200,000
/// in a build without optimization.
#[tokio::test(flavor = "multi_thread")]
async fn three_bad_rows_among_many_cost_a_few_round_trips() {
    let rows: u32 = match std::env::var("MIGRATE_TEST_ROWS") {
        Ok(rows) => rows.parse().expect("`MIGRATE_TEST_ROWS` is a number"),
        Err(_) if cfg!(debug_assertions) => 200_000,
        Err(_) => 1_000_000,
    };
    let bad = [17, rows / 2, rows - 1];
    let [first, second, third] = bad;
    let codes = format!("{first}, {second}, {third}");
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let proxy = Proxy::start(server.port()).await;
    let clean = many_rows(server, &proxy, "tiny", rows, &[], "ANALYZE \"Tiny\"").await;
    assert!(clean > 20, "{clean}");
    for (name, reason, fault) in [
        // The rows that were there stay.
        (
            "tiny_duplicates",
            "duplicate",
            format!(r#"INSERT INTO "Tiny" SELECT gen_random_uuid(), unnest(ARRAY[{codes}])"#),
        ),
        // Refused in the middle of a COPY.
        (
            "tiny_check",
            "constraint",
            format!(r#"ALTER TABLE "Tiny" ADD CHECK (code NOT IN ({codes}))"#),
        ),
    ] {
        let rejects = bad.map(|number| format!("{} {reason}", id(number).to_hex()));
        let found = many_rows(server, &proxy, name, rows, &rejects, &fault).await;
        let extra = found.saturating_sub(clean);
        eprintln!("{rows} rows: {clean} round trips, {extra} more with 3 of {name}");
        assert!(extra < 80, "{name}: {found} for {clean}");
    }
}

/// Loads that many rows in one chunk, and gives the round trips.
async fn many_rows(
    server: &Postgres,
    proxy: &Proxy,
    name: &str,
    rows: u32,
    rejects: &[String],
    fault: &str,
) -> u64 {
    let table =
        r#"CREATE TABLE "Tiny" (id uuid PRIMARY KEY, code integer NOT NULL UNIQUE)"#.to_owned();
    let url = make(server, name, &[table, fault.to_owned()]);
    let append = fault.starts_with("INSERT");
    let documents = (0..rows).map(|number| {
        bson::RawDocumentBuf::try_from(&doc! { "_id": id(number), "code": number as i32 })
            .expect("a document")
            .into_bytes()
    });
    let source = MemorySource::new().with_raw("rows", documents).batches_of(5000);
    // The proxy can only read what is not encrypted.
    let url = url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()))
        + "?sslmode=disable";
    let options = Options { jobs: 1, append, chunk_bytes: 1 << 30, ..Options::default() };
    let before = proxy.round_trips();
    let silent = Arc::new(Silent);
    let summary = run(Rows::FACTS, Arc::new(source), &url, &options, silent, &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    let round_trips = proxy.round_trips() - before;
    assert!(summary.balanced, "{summary:#?}");
    let chunks = server.query(name, "SELECT count(*) FROM migrate.chunk").expect("a count");
    assert_eq!(chunks[0][0].as_deref(), Some("1"));
    let found = server
        .query(name, "SELECT source_id || ' ' || reason FROM migrate.reject ORDER BY 1")
        .expect("the ledger");
    assert_eq!(found.into_iter().flatten().flatten().collect::<Vec<_>>(), rejects);
    round_trips
}
