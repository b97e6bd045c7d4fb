//! The real binary: its output and exit codes, with folders blanked.
//!
//! It stands here and not among the other tests of the whole, because cargo tells only the package
//! that makes a binary where it is.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use migrate_core::summary::Summary;
use migrate_servers::{Postgres, PostgresOptions};
use rustix::process::{Pid, Signal, kill_process};

/// A command in a folder of its own, without the environment's settings.
fn migrate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("MIGRATE_SOURCE")
        .env_remove("MIGRATE_TARGET")
        .env_remove("MIGRATE_LOG")
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

/// What a command did.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        write!(f, "exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

fn run(mut command: Command) -> Done {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn in_nowhere(arguments: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    run(migrate(folder.path(), arguments))
}

/// A dump in a folder.
fn dump(folder: &Path, more: &[&str]) -> PathBuf {
    let path = folder.join("dump");
    let mut arguments = vec!["generate", "--quiet", "--out", path.to_str().unwrap()];
    arguments.extend(more);
    let done = run(migrate(folder, &arguments));
    assert_eq!(done.code, Some(0), "{done}");
    path
}

fn server() -> Postgres {
    Postgres::start(PostgresOptions::default()).unwrap()
}

#[test]
fn help_teaches() {
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help_demo", &["demo", "--help"]),
        ("help_run", &["run", "--help"]),
        ("help_rejects", &["rejects", "--help"]),
        ("help_rejects_list", &["rejects", "list", "--help"]),
        ("help_rejects_show", &["rejects", "show", "--help"]),
        ("help_rejects_export", &["rejects", "export", "--help"]),
        ("help_rejects_retry", &["rejects", "retry", "--help"]),
        ("help_plan", &["plan", "--help"]),
        ("help_schema", &["schema", "--help"]),
        ("help_schema_print", &["schema", "print", "--help"]),
        ("help_schema_apply", &["schema", "apply", "--help"]),
        ("help_generate", &["generate", "--help"]),
    ] {
        insta::assert_snapshot!(name, in_nowhere(arguments));
    }
}

#[test]
fn the_plan_of_nextcrm() {
    for format in ["text", "mermaid", "dot"] {
        let done = in_nowhere(&["plan", "--format", format]);
        insta::assert_snapshot!(format!("plan_{format}"), done);
    }
}

#[test]
fn wrong_usage_is_explained() {
    for (name, arguments) in [
        ("usage_none", &[][..]),
        ("usage_command", &["rum"]),
        ("usage_flag", &["run", "--job", "3"]),
        ("usage_uuid", &["run", "--uuid", "v4"]),
        ("usage_size", &["run", "--chunk-bytes", "64 apples"]),
        ("usage_jobs", &["run", "--jobs", "0"]),
        ("usage_no_target", &["run", "--source", "dump"]),
        ("usage_no_source", &["run", "--target", "postgres://h/db"]),
        ("usage_no_dump", &["run", "--source", "dump", "--target", "postgres://h/db"]),
        ("usage_generate", &["generate"]),
        ("usage_scale", &["generate", "--out", "dump", "--scale", "0"]),
        ("usage_config", &["--config", "nothing.toml", "plan"]),
        (
            "usage_clean",
            &["run", "--source", "d", "--target", "postgres://u:geheim@h/db", "--clean"],
        ),
    ] {
        insta::assert_snapshot!(name, in_nowhere(arguments));
    }
}

#[test]
fn a_wrong_address_is_an_error_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let dump = dump(folder.path(), &["--scale", "0.01"]);
    let dump = dump.to_str().unwrap();
    for (name, source, target) in [
        ("address_refused", dump, "postgres://me:geheim@127.0.0.1:1/db"),
        ("address_other_database", dump, "mysql://me:geheim@127.0.0.1/db"),
        ("address_unreadable", dump, "postgres://me:geheim@127.0.0.1:port/db"),
        ("address_source", "mongodb://me:geheim@:27017", "postgres://me:geheim@127.0.0.1:1/db"),
    ] {
        let mut command = migrate(folder.path(), &["run", "--patience", "0"]);
        command.env("MIGRATE_SOURCE", source).env("MIGRATE_TARGET", target);
        let text = run(command).to_string().replace(dump, "[dump]");
        assert!(!text.contains("geheim"), "{text}");
        insta::assert_snapshot!(name, text);
    }
    let mut command = migrate(folder.path(), &["run", "--help"]);
    command.env("MIGRATE_TARGET", "postgres://me:geheim@h/db");
    assert!(!run(command).to_string().contains("geheim"));
}

#[test]
fn settings_stand_in_the_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let target = server.create_database("crm").unwrap();
    dump(folder.path(), &["--scale", "0.01"]);
    let settings = format!("source = \"dump\"\ntarget = \"{target}\"\nprogress = \"none\"\n");
    fs::write(folder.path().join("migrate.toml"), settings).unwrap();
    let done = run(migrate(folder.path(), &["run"]));
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done}");
    assert!(done.stdout.contains("every sum holds"), "{done}");
}

#[test]
fn a_clean_run_ends_with_0_and_a_dirty_one_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    for (database, more, code) in
        [("clean", &[][..], 0), ("dirty", &["--dirty", "--ledger", "ledger.jsonl"], 1)]
    {
        let place = folder.path().join(database);
        fs::create_dir(&place).unwrap();
        let dump = dump(&place, &[&["--scale", "0.2"], more].concat());
        let target = server.create_database(database).unwrap();
        let mut arguments = vec!["run", "--source", dump.to_str().unwrap(), "--target", &target];
        arguments.extend(["--files", "files", "--summary", "summary.json"]);
        let look = run(migrate(&place, &[&arguments[..], &["--dry-run"]].concat()));
        assert_eq!(look.code, Some(code), "{look}");
        assert!(!place.join("files/migration-checkpoint.json").exists());
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'migrate')";
        assert_eq!(server.query(database, tables).unwrap()[0][0].as_deref(), Some("0"));
        let done = run(migrate(&place, &arguments));
        assert_eq!(done.code, Some(code), "{done}");
        let text = fs::read_to_string(place.join("summary.json")).unwrap();
        let summary: Summary = serde_json::from_str(&text).unwrap();
        assert!(summary.balanced && summary.tables.len() == 29 && summary.junctions.len() == 10);
        assert_eq!(summary.is_clean(), code == 0);
        assert!(done.stdout.contains("every sum holds"), "{done}");

        let checkpoint = place.join("files/migration-checkpoint.json");
        let mode = fs::metadata(&checkpoint).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let value: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&checkpoint).unwrap()).unwrap();
        assert_eq!(value["totalRecordsMigrated"], summary.totals.loaded);
        assert_eq!(value["totalErrors"], summary.totals.rejected);
        assert_eq!(value["completedTables"].as_array().unwrap().len(), 29);
        let log = place.join("files/migration-errors.log");
        assert_eq!(log.exists(), code == 1);
        if code == 1 {
            let text = fs::read_to_string(&log).unwrap();
            let entries = text.lines().filter(|line| line.contains("] ERROR in table \""));
            assert_eq!(entries.count() as u64, summary.totals.rejected);
            let stored = server.query(database, "SELECT count(*) FROM migrate.reject").unwrap();
            assert_eq!(stored, [[Some(summary.totals.rejected.to_string())]]);
            let ledger = fs::read_to_string(place.join("ledger.jsonl")).unwrap();
            let planted = ledger.lines().filter(|line| line.contains("{\"rejected\":")).count();
            assert!((1..=summary.totals.rejected).contains(&(planted as u64)));
            check_rejects(&place, &target, summary.totals.rejected);
        }

        let again = run(migrate(&place, &arguments));
        assert_eq!(again.code, Some(2), "{again}");
        assert!(again.stderr.contains("error: the target holds run 1, which is complete"));
    }
}

/// Looks at the rejects of a finished run in every way there is, and tries them again.
fn check_rejects(folder: &Path, target: &str, rejected: u64) {
    let rejects = |words: &[&str], code| {
        let done = run(migrate(folder, &[&["rejects"], words, &["--target", target]].concat()));
        assert_eq!(done.code, Some(code), "{done}");
        done
    };
    let list = rejects(&["list"], 0);
    assert!(list.stdout.ends_with(&format!("\n{rejected} rejected\n")), "{list}");
    let groups: serde_json::Value =
        serde_json::from_str(&rejects(&["list", "--json"], 0).stdout).unwrap();
    let groups = groups.as_array().unwrap();
    let counts = groups.iter().map(|group| group["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), rejected);

    let id = groups[0]["examples"][0].as_str().unwrap();
    let reason = groups[0]["reason"].as_str().unwrap();
    let show = rejects(&["show", id], 0);
    assert!(show.stdout.contains(&format!("_id         {id}\n")), "{show}");
    assert!(rejects(&["show", "nobody"], 2).stderr.contains("no rejected document"));

    let export = rejects(&["export"], 0);
    assert_eq!(export.stdout.lines().count() as u64, rejected);
    for line in rejects(&["export", "--reason", reason], 0).stdout.lines() {
        let reject: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(reject["reason"], reason);
        assert!(reject["document"].is_object(), "{line}");
    }

    // Nothing was mended, so nothing is loaded.
    let retry = rejects(&["retry", "--stored"], 1);
    let expected = format!("{rejected} tried again: 0 loaded, {rejected} rejected again, 0 not");
    assert!(retry.stdout.starts_with(&expected), "{retry}");
    assert!(rejects(&["list"], 0).stdout.ends_with(&format!("\n{rejected} rejected\n")));
}

fn summary_of(stdout: &str) -> Summary {
    let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "summary");
    serde_json::from_value(last["summary"].clone()).unwrap()
}

#[test]
fn an_interrupted_run_ends_with_130_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let dump = dump(folder.path(), &["--scale", "0.5"]);
    let arguments = |target| {
        let mut arguments = vec!["run", "--source", dump.to_str().unwrap(), "--target", target];
        arguments.extend(["--chunk-bytes", "32KiB", "--progress", "json"]);
        arguments
    };
    let undisturbed = server.create_database("undisturbed").unwrap();
    let done = run(migrate(folder.path(), &arguments(&undisturbed)));
    assert_eq!(done.code, Some(0), "{done}");
    let expected = summary_of(&done.stdout);

    let target = server.create_database("interrupted").unwrap();
    let arguments = arguments(&target);
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = migrate(folder.path(), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut chunks = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if line.unwrap().contains("\"chunk_done\"") {
                chunks += 1;
                if chunks == 3 {
                    kill_process(Pid::from_child(&child), signal).unwrap();
                }
            }
        }
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("hint: give the same command again"), "{stderr}");
    }
    let done = run(migrate(folder.path(), &arguments));
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.lines().any(|line| line.contains("\"resumed\"")), "{done}");
    assert_eq!(summary_of(&done.stdout).totals, expected.totals);
}

#[test]
fn a_schema_is_made_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let target = server.create_database("crm").unwrap();
    let tables = |schema: &str| {
        let sql = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'");
        server.query("crm", &sql).unwrap()[0][0].clone().unwrap()
    };

    server.query("crm", "CREATE TABLE \"Users\" (id int)").unwrap();
    let apply = ["schema", "apply", "--target", &target];
    let done = run(migrate(folder.path(), &apply));
    assert_eq!(done.code, Some(2), "{done}");
    assert!(done.stderr.contains("already exists"), "{done}");
    assert_eq!(tables("public"), "1");

    server.query("crm", "DROP TABLE \"Users\"").unwrap();
    let done = run(migrate(folder.path(), &apply));
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(tables("public"), "39");
    let password = target.split([':', '@']).nth(2).unwrap();
    assert!(!done.to_string().contains(password), "{done}");

    // What is printed is what is run.
    let printed = run(migrate(folder.path(), &["schema", "print", "--schema", "second"]));
    assert_eq!(printed.code, Some(0), "{printed}");
    server.query("crm", &printed.stdout).unwrap();
    assert_eq!(tables("second"), "39");
}

#[test]
fn the_demo_shows_a_balanced_run_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = migrate(folder.path(), &["demo", "--scale", "0.2"]);
    command.env("TMPDIR", folder.path());
    let done = run(command);
    assert_eq!(done.code, Some(0), "{done}");
    for part in ["every sum holds", "rejected by reason", " with ", "What to type next:"] {
        assert!(done.stdout.contains(part), "{part}: {done}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_kept_demo_can_be_used_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    let arguments = ["demo", "--scale", "0.1", "--keep", keep.to_str().unwrap()];
    let done = run(migrate(folder.path(), &arguments));
    assert_eq!(done.code, Some(0), "{done}");
    let stop = Stopped(keep.join("postgres/stop"));
    let command = done.stdout.lines().find(|line| line.contains(" run --source ")).unwrap();
    let again = Command::new("sh").args(["-c", command]).current_dir(folder.path()).output();
    let again = again.unwrap();
    // The planted faults are rejected again.
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    drop(stop);
    assert!(!keep.join("postgres/data/postmaster.pid").exists());
    for file in ["url", "migration-errors.log", "migration-checkpoint.json"] {
        let mode = fs::metadata(keep.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let twice = run(migrate(folder.path(), &arguments));
    assert_eq!(twice.code, Some(2), "{twice}");
    assert!(twice.stderr.contains("has something in it"), "{twice}");
}

/// Runs the script that stops the kept server, also when the test fails.
struct Stopped(PathBuf);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new(&self.0).output();
    }
}
