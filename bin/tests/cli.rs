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
        ("help_plan", &["plan", "--help"]),
        ("help_schema", &["schema", "--help"]),
        ("help_schema_print", &["schema", "print", "--help"]),
        ("help_schema_apply", &["schema", "apply", "--help"]),
        ("help_schema_diff", &["schema", "diff", "--help"]),
        ("help_schema_restore", &["schema", "restore", "--help"]),
        ("help_validate", &["validate", "--help"]),
        ("help_status", &["status", "--help"]),
        ("help_report", &["report", "--help"]),
        ("help_rejects", &["rejects", "--help"]),
        ("help_rejects_list", &["rejects", "list", "--help"]),
        ("help_rejects_show", &["rejects", "show", "--help"]),
        ("help_rejects_export", &["rejects", "export", "--help"]),
        ("help_rejects_retry", &["rejects", "retry", "--help"]),
        ("help_ids", &["ids", "--help"]),
        ("help_ids_export", &["ids", "export", "--help"]),
        ("help_generate", &["generate", "--help"]),
        ("help_bench", &["bench", "--help"]),
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
        ("usage_stray_address", &["run", "postgres://me:geheim@h/db"]),
        ("usage_stray_flag", &["run", "--traget=postgres://me:geheim@h/db"]),
        ("usage_append_and_clean", &["run", "--append", "--clean"]),
        (
            "usage_tiny_chunks",
            &["run", "--source", "d", "--target", "postgres://h/db", "--chunk-bytes", "1"],
        ),
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
        arguments.extend(["--files", "files", "--summary", "./files/summary.json"]);
        let look = run(migrate(&place, &[&arguments[..], &["--dry-run"]].concat()));
        assert_eq!(look.code, Some(code), "{look}");
        assert!(!place.join("files/migration-checkpoint.json").exists());
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'migrate')";
        assert_eq!(server.query(database, tables).unwrap()[0][0].as_deref(), Some("0"));
        let done = run(migrate(&place, &arguments));
        assert_eq!(done.code, Some(code), "{done}");
        let files = place.join("files");
        // It may hold values of documents, and its next version is not left beside it.
        let mode = fs::metadata(files.join("summary.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.ends_with(".new")), "{names:?}");
        let text = fs::read_to_string(files.join("summary.json")).unwrap();
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
        assert_eq!(again.code, Some(code), "{again}");
        assert!(again.stderr.contains("run 1 is complete already: nothing was done"), "{again}");
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
    assert!(retry.stdout.contains(&format!("{rejected}  tried again\n")), "{retry}");
    assert!(retry.stdout.contains("        0  loaded\n"), "{retry}");
    assert!(rejects(&["list"], 0).stdout.ends_with(&format!("\n{rejected} rejected\n")));
}

fn summary_of(stdout: &str) -> Summary {
    // The report of the validation comes behind it.
    let found = stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|line| line["event"] == "summary")
        .unwrap();
    serde_json::from_value(found["summary"].clone()).unwrap()
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
        // The file for people says what is committed.
        let text =
            std::fs::read_to_string(folder.path().join("migration-checkpoint.json")).unwrap();
        let checkpoint: serde_json::Value = serde_json::from_str(&text).unwrap();
        let committed = "SELECT coalesce(sum(loaded), 0), coalesce(sum(rejected), 0) \
                         FROM migrate.chunk WHERE done";
        let committed = server.query("interrupted", committed).unwrap();
        let counts = ["totalRecordsMigrated", "totalErrors"].map(|key| checkpoint[key].to_string());
        assert_eq!(counts.map(Some).as_slice(), committed[0]);
    }
    // The command to go on does not pretend to be the whole one, and keys that are still to be built
    // are not told as if they were lost.
    let status = run(migrate(folder.path(), &["status", "--target", &target]));
    assert!(status.stdout.contains("nor is what changes no row (`--max-read-mb-s`"), "{status}");
    let diff = run(migrate(folder.path(), &["schema", "diff", "--target", &target]));
    assert!(diff.stdout.contains("the foreign key to"), "{diff}");
    assert!(diff.stderr.contains("run 1 is not finished: it builds keys and indexes"), "{diff}");
    let done = run(migrate(folder.path(), &arguments));
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.lines().any(|line| line.contains("\"resumed\"")), "{done}");
    assert_eq!(summary_of(&done.stdout).totals, expected.totals);

    // A signal at its very end is for the comparison that follows.
    let target = server.create_database("interrupted_late").unwrap();
    let arguments = ["run", "--source", dump.to_str().unwrap(), "--target", &target];
    let mut child = migrate(folder.path(), &arguments)
        // The comparison reads for two seconds more, however late the signal comes.
        .args(["--progress", "json", "--max-docs-s", "2000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if line.unwrap().contains(r#""event":"step_started","step":"report""#) {
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        }
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let done = run(migrate(folder.path(), &arguments));
    assert_eq!(done.code, Some(0), "{done}");
}

#[test]
fn rejects_are_shown_exported_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let dump = dump(folder.path(), &["--scale", "0.2", "--dirty"]);
    let server = server();
    let target = server.create_database("rejects").unwrap();
    let with_target = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--target", &target]);
        run(migrate(folder.path(), &arguments))
    };
    let none = with_target(&["rejects", "list"]);
    assert_eq!(none.code, Some(2), "{none}");
    assert!(none.stderr.contains("has no run in the schema `migrate`"), "{none}");

    let loaded = with_target(&["run", "--source", dump.to_str().unwrap()]);
    assert_eq!(loaded.code, Some(1), "{loaded}");
    assert!(loaded.stdout.contains("\nmost rejects ("), "{loaded}");
    assert!(loaded.stdout.contains("    to accept them: "), "{loaded}");
    assert!(loaded.stderr.contains("`migrate rejects list` counts them"), "{loaded}");

    // The groups hold every reject, in text and in JSON.
    let count = |sql: &str| -> u64 {
        server.query("rejects", sql).unwrap()[0][0].as_ref().unwrap().parse().unwrap()
    };
    let all = count("SELECT count(*) FROM migrate.reject");
    let list = with_target(&["rejects", "list", "--json"]);
    assert_eq!(list.code, Some(0), "{list}");
    let groups: Vec<serde_json::Value> = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(groups.iter().map(|group| group["count"].as_u64().unwrap()).sum::<u64>(), all);
    let text = with_target(&["rejects", "list"]);
    assert_eq!(text.stdout.matches(" × ").count(), groups.len(), "{text}");
    let reason = groups[0]["reason"].as_str().unwrap();
    let some = with_target(&["rejects", "list", "--reason", reason, "--json"]);
    let some: Vec<serde_json::Value> = serde_json::from_str(&some.stdout).unwrap();
    assert!(!some.is_empty() && some.len() < groups.len());
    assert!(some.iter().all(|group| group["reason"] == reason));
    // What a group says of itself finds it again.
    for group in &groups {
        let word = |name: &str| group[name].as_str().unwrap();
        let filter = ["--table", word("table"), "--field", word("field"), "--json"];
        let found = with_target(&[&["rejects", "list"], &filter[..]].concat());
        assert!(found.stdout.contains(word("message")), "{group}: {found}");
    }
    let wrong = with_target(&["rejects", "list", "--reason", "bad"]);
    assert_eq!(wrong.code, Some(2), "{wrong}");
    assert!(wrong.stderr.contains("duplicate_key"), "{wrong}");

    let id = groups[0]["examples"][0].as_str().unwrap();
    let show = with_target(&["rejects", "show", id]);
    assert_eq!(show.code, Some(0), "{show}");
    assert!(show.stdout.contains(&format!("reason      {reason}\n")), "{show}");
    assert!(show.stdout.contains(&format!("\"$oid\": \"{id}\"")), "{show}");
    let missing = with_target(&["rejects", "show", "nothing"]);
    assert_eq!(missing.code, Some(2), "{missing}");
    assert!(missing.stderr.contains("no rejected document has the `_id` `nothing`"), "{missing}");

    // Every line of the file is a reject with the document that was read.
    let file = folder.path().join("rejects.jsonl");
    let export = with_target(&["rejects", "export", "--out", file.to_str().unwrap()]);
    assert_eq!(export.code, Some(0), "{export}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count() as u64, all);
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["document"]["_id"].is_object() || line["bytes"].is_string(), "{line}");
    }
    assert_eq!(with_target(&["rejects", "export"]).stdout.lines().count() as u64, all);

    // The cause of some is gone, of the others not.
    let stored = with_target(&["rejects", "retry", "--stored"]);
    assert_eq!(stored.code, Some(1), "{stored}");
    assert!(stored.stdout.contains("        0  loaded\n"), "{stored}");
    assert_eq!(count("SELECT count(*) FROM migrate.reject"), all);
    let no_source = with_target(&["rejects", "retry"]);
    assert_eq!(no_source.code, Some(2), "{no_source}");
    assert!(no_source.stderr.contains("or take `--stored`"), "{no_source}");
    // A clean dump of the same seed has each document as it was before a fault was planted.
    let clean = folder.path().join("clean");
    let generate = ["generate", "--quiet", "--scale", "0.2", "--out", clean.to_str().unwrap()];
    assert_eq!(run(migrate(folder.path(), &generate)).code, Some(0));
    let retry = with_target(&["rejects", "retry", "--source", clean.to_str().unwrap()]);
    assert!(matches!(retry.code, Some(0 | 1)), "{retry}");
    let left = count("SELECT count(*) FROM migrate.reject");
    assert!(left < all, "{retry}");
    assert_eq!(retry.code, Some(i32::from(left > 0)), "{retry}");
    let password = target.split([':', '@']).nth(2).unwrap();
    for done in [none, loaded, list, show, export, stored, retry] {
        assert!(!done.to_string().contains(password), "{done}");
    }
}

#[test]
fn ids_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let dump = dump(folder.path(), &["--scale", "0.1"]);
    let server = server();
    let target = server.create_database("ids").unwrap();
    let source = dump.to_str().unwrap();
    let loaded =
        run(migrate(folder.path(), &["run", "--quiet", "--source", source, "--target", &target]));
    assert_eq!(loaded.code, Some(0), "{loaded}");
    let file = folder.path().join("ids.csv");
    // Where the ids cannot be read, nothing is said but why.
    let empty = server.create_database("no_ids").unwrap();
    for wrong in [
        &["ids", "export", "--target", &empty][..],
        &["ids", "export", "--target", &target, "--collection", "Nobody"],
    ] {
        let done = run(migrate(folder.path(), wrong));
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done}");
        assert!(done.stderr.starts_with("error: "), "{done}");
    }
    let export = ["ids", "export", "--target", &target, "--collection", "Users", "--out"];
    let done = run(migrate(folder.path(), &[&export[..], &[file.to_str().unwrap()]].concat()));
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let csv = fs::read_to_string(&file).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("collection,source_id,id"));
    let mut found: Vec<String> = lines.map(str::to_owned).collect();
    found.sort();
    let sql = "SELECT 'Users,' || migrate.object_id_from_uuid(id) || ',' || id
        FROM \"Users\" ORDER BY 1";
    let rows = server.query("ids", sql).unwrap();
    let mut expected: Vec<String> = rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
    expected.sort();
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
}

#[test]
fn a_schema_is_compared_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let target = server.create_database("compared").unwrap();
    let migrate = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--target", &target]);
        run(migrate(folder.path(), &arguments))
    };
    let nothing = migrate(&["schema", "diff"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(0), ""), "{nothing}");
    assert!(nothing.stderr.contains("0 of 39 tables are there"), "{nothing}");
    assert_eq!(migrate(&["schema", "apply"]).code, Some(0));
    let same = migrate(&["schema", "diff"]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""), "{same}");

    server.query("compared", "ALTER TABLE \"Users\" ADD COLUMN extra int").unwrap();
    let harmless = migrate(&["schema", "diff"]);
    assert_eq!(harmless.code, Some(0), "{harmless}");
    assert!(
        harmless.stdout.starts_with("harmless    \"public\".\"Users\".\"extra\": "),
        "{harmless}"
    );
    server.query("compared", "ALTER TABLE \"Users\" DROP COLUMN email").unwrap();
    let differs = migrate(&["schema", "diff", "--json"]);
    assert_eq!(differs.code, Some(1), "{differs}");
    let found: Vec<serde_json::Value> = serde_json::from_str(&differs.stdout).unwrap();
    let missing = found.iter().find(|found| found["harmless"] == false).unwrap();
    assert_eq!(missing["column"], "email", "{differs}");
    assert!(missing["mend"].as_str().unwrap().starts_with("ALTER TABLE"), "{differs}");

    // Keys, indexes and foreign keys that are missing or others, each with what mends it.
    for (planted, column, what) in [
        (r#"DROP INDEX "Tasks_priority_idx""#, "priority", "the index (\"priority\") is missing"),
        (
            r#"DROP INDEX "Tasks_section_idx"; CREATE UNIQUE INDEX other ON "Tasks" (section)"#,
            "section",
            "is missing; public.other is another (unique, USING btree (section))",
        ),
        (
            r#"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"Tasks_user_idx"'::regclass"#,
            "user",
            "the index public.\"Tasks_user_idx\" (\"user\") is not valid",
        ),
        (
            r#"ALTER TABLE "Boards" DROP CONSTRAINT "Boards_user_fkey""#,
            "user",
            "the foreign key to \"public\".\"Users\" (\"id\") is missing",
        ),
        (
            r#"ALTER TABLE "Sections" DROP CONSTRAINT "Sections_board_fkey",
                ADD CONSTRAINT other FOREIGN KEY (board) REFERENCES "Boards" ON DELETE RESTRICT"#,
            "board",
            "the foreign key other is FOREIGN KEY (board) REFERENCES \"Boards\"(id) ON DELETE RESTRICT, the model's is FOREIGN KEY",
        ),
        (
            r#"ALTER TABLE "Tasks" DROP CONSTRAINT "Tasks_user_fkey",
                ADD CONSTRAINT mine FOREIGN KEY ("user") REFERENCES "Users" NOT VALID"#,
            "user",
            "the foreign key mine is not valid",
        ),
    ] {
        let count =
            |done: &Done| -> Vec<serde_json::Value> { serde_json::from_str(&done.stdout).unwrap() };
        let before = count(&migrate(&["schema", "diff", "--json"])).len();
        let statements = format!("DO $$ BEGIN {planted}; END $$");
        server.query("compared", &statements).unwrap();
        let text = migrate(&["schema", "diff"]);
        assert!(text.stdout.contains(what), "{what}: {text}");
        let found = count(&migrate(&["schema", "diff", "--json"]));
        assert_eq!(found.len(), before + 1, "{planted}: {text}");
        let named = found.iter().find(|found| found["what"].as_str().unwrap().contains(what));
        let named = named.unwrap();
        assert_eq!((&named["column"], &named["harmless"]), (&column.into(), &true.into()));
        // What is said to mend it does.
        let mend = format!("DO $$ BEGIN {}; END $$", named["mend"].as_str().unwrap());
        server.query("compared", &mend).unwrap();
        assert_eq!(count(&migrate(&["schema", "diff", "--json"])).len(), before, "{mend}");
    }

    let no_run = migrate(&["schema", "restore"]);
    assert_eq!(no_run.code, Some(2), "{no_run}");
    assert!(no_run.stderr.contains("has no run in the schema `migrate`"), "{no_run}");
}

/// A dump loaded into a database of that name; a command with both addresses.
fn loaded(folder: &Path, server: &Postgres, name: &str) -> impl Fn(&[&str]) -> Done {
    let dump = dump(folder, &["--scale", "0.3"]);
    let target = server.create_database(name).unwrap();
    let folder = folder.to_owned();
    let command = move |arguments: &[&str]| {
        let addresses = ["--source", dump.to_str().unwrap(), "--target", &target];
        run(migrate(&folder, &[arguments, &addresses[..]].concat()))
    };
    let done = command(&["run", "--quiet", "--no-validate"]);
    assert_eq!(done.code, Some(0), "{done}");
    command
}

#[test]
fn a_repair_that_breaks_off_tells_what_it_has_done() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let command = loaded(folder.path(), &server, "broken_off");
    // Users come after Boards, and cannot be loaded while their enum lacks a label.
    let plant = r#"DO $$ BEGIN
        ALTER TYPE "Language" RENAME VALUE 'en' TO 'eng';
        UPDATE "crm_campaigns" SET name = name || 'x' WHERE id IN (SELECT id FROM "crm_campaigns" LIMIT 3);
        DELETE FROM "MyAccount" WHERE id IN (SELECT id FROM "MyAccount" LIMIT 1);
    END $$"#;
    server.query("broken_off", plant).unwrap();
    let done = command(&["validate", "--repair", "--yes"]);
    assert_eq!(done.code, Some(2), "{done}");
    assert!(
        done.stdout.starts_with("repaired before it broke off: 1 row inserted, 3 rows replaced\n"),
        "{done}"
    );
    for part in ["  crm_campaigns: 3 rows replaced\n", "  MyAccount: 1 row inserted\n"] {
        assert!(done.stdout.contains(part), "{part}: {done}");
    }
    for part in
        ["invalid input value for enum", "`migrate schema diff`", "same command again", "stays so"]
    {
        assert!(done.stderr.contains(part), "{part}: {done}");
    }
    let report = folder.path().join("migration-validation-report.json");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["repaired"]["replaced"], 3, "{report}");
    assert!(report["repaired"]["failed"].as_str().unwrap().contains("enum"), "{report}");

    // As JSON, when one more row has been lost.
    server.query("broken_off", "DELETE FROM \"MyAccount\"").unwrap();
    let done = command(&["validate", "--repair", "--yes", "--json"]);
    assert_eq!(done.code, Some(2), "{done}");
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let tables = report["repaired"]["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 1, "{report}");
    assert_eq!(tables[0]["table"], "MyAccount");
    assert_eq!(report["clean"], false);

    // With the cause mended the same command ends well.
    server.query("broken_off", "ALTER TYPE \"Language\" RENAME VALUE 'eng' TO 'en'").unwrap();
    server.query("broken_off", "DELETE FROM \"MyAccount\"").unwrap();
    let done = command(&["validate", "--repair", "--yes"]);
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.starts_with("repaired: "), "{done}");
}

/// A run is as complete without the files for people; who asks for a comparison asks for its report.
#[test]
fn a_report_that_cannot_be_written_hides_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let command = loaded(folder.path(), &server, "unwritable");
    fs::create_dir(folder.path().join("migration-validation-report.json")).unwrap();
    let done = command(&["run"]);
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.contains("nothing differs"), "{done}");
    assert!(done.stderr.contains("warning: cannot write `"), "{done}");
    let done = command(&["validate"]);
    assert_eq!(done.code, Some(2), "{done}");
    assert!(done.stdout.contains("nothing differs"), "{done}");
    assert!(done.stderr.contains("error: cannot write `"), "{done}");
}

#[test]
fn a_cause_in_the_definitions_is_named_before_the_rows_that_follow_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let command = loaded(folder.path(), &server, "causes");
    let plant = r#"DO $$ BEGIN
        ALTER TYPE "Language" RENAME VALUE 'en' TO 'eng';
        UPDATE "Users" SET name = 'changed' WHERE id IN (SELECT id FROM "Users" ORDER BY id DESC LIMIT 2);
    END $$"#;
    server.query("causes", plant).unwrap();
    let done = command(&["validate"]);
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stdout.starts_with("schema: "), "{done}");
    let count = "SELECT count(*) FROM \"Users\" WHERE \"userLanguage\" = 'eng'";
    let count = server.query("causes", count).unwrap()[0][0].clone().unwrap();
    assert!(
        done.stdout.contains(&format!(
            "\n  {count} cells of userLanguage, because the target's enum Language lacks 'en'\n"
        )),
        "{done}"
    );
    // What has another cause is listed, and nothing else.
    assert_eq!(done.stdout.matches("  differs  ").count(), 2, "{done}");
    assert!(!done.stdout.contains("more, see"), "{done}");

    let back = "ALTER TYPE \"Language\" RENAME VALUE 'eng' TO 'en'";
    server.query("causes", back).unwrap();
    server.query("causes", "ALTER TABLE \"Tasks\" DROP COLUMN content").unwrap();
    let done = command(&["validate"]);
    assert_eq!(done.code, Some(2), "{done}");
    assert!(done.stderr.contains("lacks columns: Tasks: column content text"), "{done}");
    assert!(done.stderr.contains("`migrate schema diff` has a statement for each"), "{done}");
}

#[test]
fn a_part_that_lacks_others_names_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let dump = dump(folder.path(), &["--scale", "0.1"]);
    let server = server();
    let target = server.create_database("parts").unwrap();
    let addresses =
        ["run", "--source", dump.to_str().unwrap(), "--target", &target, "--no-validate"];
    let only = |more: &[&str]| run(migrate(folder.path(), &[&addresses[..], more].concat()));
    let done = only(&["--only", "Tasks"]);
    assert_eq!(done.code, Some(2), "{done}");
    assert!(
        done.stderr.contains("`Tasks` refers to `Sections`, `Users`, which are not loaded"),
        "{done}"
    );
    // With those that they refer to in turn; what is said is enough.
    let said = done.stderr.split('`').find(|part| part.starts_with("--only ")).unwrap();
    assert!(said.contains("--only Boards"), "{done}");
    let more: Vec<&str> = said.split(' ').chain(["--only", "Tasks"]).collect();
    let done = only(&more);
    assert_eq!(done.code, Some(0), "{done}");
}

#[test]
fn advice_is_about_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    fs::create_dir(&dump).unwrap();
    let id = "507f1f77bcf86cd799439011";
    let users = format!(
        "{{\"_id\": {{\"$oid\": \"{id}\"}}, \"email\": \"a@x\"}}\n{{\"_id\": \"{id}\", \"email\": \"b@x\"}}\n"
    );
    fs::write(dump.join("Users.json"), users).unwrap();
    let late = r#"{"_id": {"$oid": "507f1f77bcf86cd799439012"}, "title": "t", "description": "d",
        "user": {"$oid": "507f1f77bcf86cd799439011"},
        "createdAt": {"$date": {"$numberLong": "9223372036854775000"}}}"#;
    fs::write(dump.join("Boards.json"), late.replace('\n', " ") + "\n").unwrap();
    let server = server();
    let target = server.create_database("advice").unwrap();
    let done = run(migrate(
        folder.path(),
        &["run", "--no-validate", "--source", dump.to_str().unwrap(), "--target", &target],
    ));
    assert_eq!(done.code, Some(1), "{done}");
    for part in [
        "expected a timestamp between",
        "    to accept them: PostgreSQL has no such time",
        "Users._id: expected an id of its own",
        "    to accept them: no model keeps two documents of one id",
    ] {
        assert!(done.stdout.contains(part), "{part}: {done}");
    }
    assert!(!done.stdout.contains("`unique`") && !done.stdout.contains("`i64`"), "{done}");
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
fn hints_are_about_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let dump = dump(folder.path(), &["--scale", "0.01"]);
    let missing = server.url("nobody_made_it");
    let run_into = |target: &str| {
        let source = dump.to_str().unwrap();
        run(migrate(folder.path(), &["run", "--source", source, "--target", target]))
    };
    let done = run_into(&missing);
    assert_eq!(done.code, Some(2), "{done}");
    let cause = "  cause: database \"nobody_made_it\" does not exist\n";
    assert!(done.stderr.contains(cause), "{done}");
    assert!(done.stderr.contains("hint: make the database first"), "{done}");

    let frozen = server.create_database("frozen").unwrap();
    let freeze = "ALTER DATABASE frozen SET default_transaction_read_only = on";
    server.query("postgres", freeze).unwrap();
    let done = run_into(&frozen);
    assert_eq!(done.code, Some(2), "{done}");
    assert!(done.stderr.contains("hint: the target takes no changes"), "{done}");

    let target = server.create_database("applied").unwrap();
    let apply = ["schema", "apply", "--target", &target];
    assert_eq!(run(migrate(folder.path(), &apply)).code, Some(0));
    let twice = run(migrate(folder.path(), &apply));
    assert_eq!(twice.code, Some(2), "{twice}");
    assert!(twice.stderr.contains("hint: nothing was made; see what is there"), "{twice}");

    let quiet = ["generate", "--quiet", "--scale", "0.01", "--out", "again"];
    let quiet = run(migrate(folder.path(), &quiet));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""), "{quiet}");
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

#[test]
fn sums_that_do_not_hold_end_with_1_and_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let dump = dump(folder.path(), &["--scale", "0.1"]);
    let server = server();
    let target = server.create_database("unbalanced").unwrap();
    let apply = run(migrate(folder.path(), &["schema", "apply", "--target", &target]));
    assert_eq!(apply.code, Some(0), "{apply}");
    // Somebody's trigger drops a row without a word.
    let trigger = r#"DO $do$ BEGIN
        CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
            IF nextval('lost') = 3 THEN RETURN NULL; END IF;
            RETURN new;
        END $f$;
        CREATE SEQUENCE lost;
        CREATE TRIGGER lose BEFORE INSERT ON "Modules" FOR EACH ROW EXECUTE FUNCTION lose();
        END $do$"#;
    let table = r#"SELECT relname::text FROM pg_class
        WHERE relname IN ('Modules', 'system_Modules_Enabled', 'Employees') ORDER BY 1 LIMIT 1"#;
    let table = server.query("unbalanced", table).unwrap()[0][0].clone().unwrap();
    server.query("unbalanced", &trigger.replace("Modules", &table)).unwrap();
    let summary = folder.path().join("summary.json");
    let arguments = ["run", "--source", dump.to_str().unwrap(), "--target", &target];
    let more = ["--no-validate", "--summary", summary.to_str().unwrap()];
    let done = run(migrate(folder.path(), &[&arguments[..], &more[..]].concat()));
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stdout.contains(&format!("DOES NOT HOLD for {table}\n")), "{done}");
    assert!(done.stderr.contains("error: the sums do not hold"), "{done}");
    assert!(done.stderr.contains("hint: "), "{done}");
    let read = || -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap()
    };
    assert_eq!(read()["balanced"], false);
    // The run is not over: it says so again.
    let again = run(migrate(folder.path(), &[&arguments[..], &more[..]].concat()));
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stdout.contains("DOES NOT HOLD"), "{again}");
}

/// A document that nests deeper than any stack: it is rejected, and every way to look at it lives.
#[test]
fn a_document_nested_100000_levels_deep_is_a_reject_like_others() {
    const LEVELS: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let dump = dump(folder.path(), &["--scale", "0.1"]);
    // From the inside out, backwards: each level ends with the zero byte of its document.
    let mut reversed = Vec::with_capacity(LEVELS * 8);
    let document = |reversed: &mut Vec<u8>, inner: usize, key: &[u8]| {
        // The element's name with its end, its type, then the document's length.
        reversed.extend(key.iter().rev());
        reversed.push(3);
        let length = (inner + key.len() + 1 + 4 + 1) as u32;
        reversed.extend(length.to_be_bytes());
    };
    let mut length = 5;
    reversed.extend(5_u32.to_be_bytes());
    for _ in 0..LEVELS {
        document(&mut reversed, length, b"a\0");
        length += 2 + 1 + 4 + 1;
    }
    let mut inner: Vec<u8> = reversed.into_iter().rev().collect();
    inner.extend(std::iter::repeat_n(0, LEVELS + 1));
    assert_eq!(inner.len(), length);
    let mut bytes = Vec::new();
    let id = [0x50; 12];
    let body = [&b"\x07_id\0"[..], &id, b"\x03tags\0", &inner, b"\0"].concat();
    bytes.extend((body.len() as u32 + 4).to_le_bytes());
    bytes.extend(body);
    let file = dump.join("crm/Documents.bson");
    let file = if file.exists() { file } else { dump.join("Documents.bson") };
    let mut all = fs::read(&file).unwrap();
    all.extend(&bytes);
    fs::write(&file, all).unwrap();

    let server = server();
    let target = server.create_database("deep").unwrap();
    let summary = folder.path().join("summary.json");
    let done = run(migrate(
        folder.path(),
        &[
            "run",
            "--source",
            dump.to_str().unwrap(),
            "--target",
            &target,
            "--summary",
            summary.to_str().unwrap(),
        ],
    ));
    assert_eq!(done.code, Some(1), "{done}");
    let id = "50".repeat(12);
    let log = fs::read_to_string(folder.path().join("migration-errors.log")).unwrap();
    assert!(log.contains(&format!("MongoDB ObjectId: {id}\n")), "{} bytes", log.len());
    let with_target = |arguments: &[&str]| {
        run(migrate(folder.path(), &[arguments, &["--target", &target]].concat()))
    };
    let show = with_target(&["rejects", "show", &id]);
    assert_eq!(show.code, Some(0), "{}", show.stderr);
    assert!(show.stdout.contains("no BSON that can be shown, in hex: "));
    let export = with_target(&["rejects", "export"]);
    assert_eq!(export.code, Some(0), "{}", export.stderr);
    let line: serde_json::Value = serde_json::from_str(export.stdout.trim()).unwrap();
    assert_eq!(line["bytes"].as_str().unwrap().len(), bytes.len() * 2);
    for retry in [&["rejects", "retry", "--stored"][..], &["rejects", "retry", "--source"]] {
        let mut arguments = retry.to_vec();
        if retry.len() == 3 && retry[2] == "--source" {
            arguments.push(dump.to_str().unwrap());
        }
        let retry = with_target(&arguments);
        assert_eq!(retry.code, Some(1), "{}", retry.stderr);
        assert!(retry.stdout.contains("1  rejected again\n"), "{retry}");
    }
    // A run that cannot begin leaves no file, and one that is there as it was.
    let nowhere =
        ["run", "--source", dump.to_str().unwrap(), "--target", "postgres://localhost:1/x"];
    let other = folder.path().join("other.json");
    for (path, there) in [(&other, false), (&summary, true)] {
        let before = fs::read(path).ok();
        assert_eq!(before.is_some(), there);
        let more = ["--patience", "0", "--summary", path.to_str().unwrap()];
        let done = run(migrate(folder.path(), &[&nowhere[..], &more].concat()));
        assert_eq!(done.code, Some(2), "{done}");
        assert_eq!(fs::read(path).ok(), before);
    }
    let no_folder = ["--summary", "nowhere/summary.json"];
    let done = run(migrate(folder.path(), &[&nowhere[..], &no_folder].concat()));
    assert!(done.stderr.contains("cannot write the summary to `nowhere/summary.json`"), "{done}");
    // The summary's file says what kind of reject it is, and what to do about it.
    let summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap();
    let pattern = &summary["patterns"][0];
    assert_eq!(pattern["count"], 1, "{pattern}");
    assert_eq!(pattern["examples"][0], id.as_str(), "{pattern}");
    assert!(pattern["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{pattern}");
}
