//! Runs under faults: the process killed, the servers killed, the network cut, a stop at every
//! step. Whatever happens, the end state is that of a run that nothing disturbed: no row lost,
//! none twice, every reject, key and index as it was to be.

#![expect(clippy::print_stderr, reason = "kills and figures are for whoever runs the test")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::schema::Registry;
use migrate_servers::Postgres;
use migrate_tests::end_state::{assert_same, end_state};
use migrate_tests::program::Program;
use migrate_tests::random::Random;
use migrate_tests::servers;
use models::NextCrm;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");

/// The exit code of a run that is complete and has rejected documents.
const REJECTS: Option<i32> = Some(1);

/// One test at a time disturbs a run, so that instants mean something on a small machine.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Generated documents with faults, as a dump.
fn dirty_dump(scale: f64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let generator = Generator::new(NextCrm::FACTS, Plan { seed: 21, scale, dirty: 0.1 });
    to_dump(&generator, folder.path(), false).expect("a dump");
    folder
}

/// So small that every collection has several.
const SMALL_CHUNKS: &str = "48KiB";

fn arguments<'a>(source: &'a str, target: &'a str) -> Vec<&'a str> {
    vec!["--source", source, "--target", target, "--chunk-bytes", SMALL_CHUNKS, "--jobs", "3"]
}

/// A run that nothing disturbs; gives the number of its events.
fn undisturbed(source: &str, target: &str) -> u64 {
    let mut program = Program::start(EXECUTABLE, &arguments(source, target));
    assert_eq!(program.finish(), REJECTS);
    ["chunk_done", "task_started", "task_finished"]
        .iter()
        .map(|event| program.heard.get(*event).copied().unwrap_or_default())
        .sum()
}

/// Kills a run at random instants until it completes, about `kills` times; gives the number of
/// kills by the step that the run was in.
fn kill_until_complete(
    source: &str,
    target: &str,
    events: u64,
    kills: u64,
    random: &mut Random,
) -> BTreeMap<String, u64> {
    let mut killed = BTreeMap::new();
    loop {
        let mut program = Program::start(EXECUTABLE, &arguments(source, target));
        // Each process goes on for a while counted in what it does, so that a slow machine and a
        // fast one are killed in the same places, and then for a moment counted in time.
        let went_on = program.hear(random.below(2 * events / kills + 1));
        if went_on {
            std::thread::sleep(Duration::from_micros(random.below(30_000)));
        }
        let step = program.step().to_owned();
        if let Some(status) = program.kill() {
            // Code 2 says that the run is complete: the one before was killed when it had
            // finished and was about to say so.
            assert!(matches!(status.code(), Some(1 | 2)), "{status} in {step}");
            return killed;
        }
        *killed.entry(step).or_default() += 1;
        let total: u64 = killed.values().sum();
        assert!(total < 5 * kills, "it does not come to its end: {killed:?}");
    }
}

fn make(server: &Postgres, name: &str, statements: &[String]) -> String {
    let url = server.create_database(name).expect("a fresh database");
    for statement in statements {
        server.query(name, statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    url
}

/// The schema as somebody else made it before: all of ours, and more.
fn existing_schema() -> Vec<String> {
    use migrate_core::ddl::{Names, statements};
    let ours = statements(NextCrm::FACTS, Names { schema: "public" });
    let theirs = [
        r#"CREATE INDEX "by hand" ON "crm_Contacts" (lower("email") DESC) WHERE "email" <> ''"#,
        r#"CREATE TABLE notes (account uuid REFERENCES "crm_Accounts" ON DELETE CASCADE)"#,
        // It refuses some rows in the middle of a COPY, and with them all that refer to them.
        r#"ALTER TABLE "crm_Accounts" ADD CONSTRAINT even CHECK (right(id::text, 2) <> '2a')"#,
        r#"ALTER TABLE "Tasks" ADD CONSTRAINT odd CHECK (right(id::text, 2) <> '17')"#,
    ];
    ours.into_iter().map(|statement| statement.sql).chain(theirs.map(str::to_owned)).collect()
}

/// How often each of the two tests below kills, about.
const KILLS: u64 = 30;

fn killed(test: &str, statements: &[String]) {
    let server = servers::postgres(servers::NEWEST).expect("the newest version");
    let dump = dirty_dump(1.5);
    let source = dump.path().to_str().expect("a path in UTF-8");
    let mut random = Random::for_test(test);
    let _turn = turn();
    let begun = Instant::now();
    let reference = format!("{test}_reference");
    let events = undisturbed(source, &make(server, &reference, statements));
    let alone = begun.elapsed();
    let expected = end_state(server, &reference);
    let target = make(server, test, statements);
    let kills = kill_until_complete(source, &target, events, KILLS, &mut random);
    assert_same(&expected, &end_state(server, test), test);
    let total: u64 = kills.values().sum();
    eprintln!("{test}: {total} kills in {:?} (alone {alone:?}): {kills:?}", begun.elapsed());
    assert!(total >= 15, "only {kills:?}");
    assert!(kills.contains_key("load"), "{kills:?}");
    // Settling is short: one of the two.
    assert!(kills.contains_key("constrain") || kills.contains_key("settle"), "{kills:?}");
}

#[test]
fn a_killed_run_goes_on_into_tables_that_it_makes() {
    killed("killed_created", &[]);
}

#[test]
fn a_killed_run_goes_on_into_tables_with_all_constraints() {
    killed("killed_existing", &existing_schema());
}
