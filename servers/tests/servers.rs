//! Starts the real servers, and looks whether they are gone afterwards.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use migrate_servers::{Mongo, MongoOptions, Postgres, PostgresOptions};

fn postgres(version: u32) -> Option<Postgres> {
    match Postgres::start(PostgresOptions { version: Some(version), ..Default::default() }) {
        Ok(server) => Some(server),
        Err(error) if error.is_not_found() && version != 18 => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

/// Whether the process is there; one that ended and waits to be buried is not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn await_gone(pid: u32) {
    let begin = Instant::now();
    while is_alive(pid) {
        assert!(begin.elapsed() < Duration::from_secs(20), "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check_postgres(version: u32) {
    let Some(mut server) = postgres(version) else { return };
    let pid = server.pid().unwrap();
    let folder = server.folder().to_owned();
    server.create_database("a \"b\"").unwrap();
    let rows = server.query("a \"b\"", "SELECT current_database(), NULL, 1 + 1").unwrap();
    assert_eq!(rows, [[Some("a \"b\"".to_owned()), None, Some("2".to_owned())]]);
    let rows = server.query("postgres", "SHOW server_version_num").unwrap();
    assert!(rows[0][0].as_ref().unwrap().starts_with(&version.to_string()), "{rows:?}");
    let again = server.create_database("a \"b\"").unwrap_err().to_string();
    assert!(again.contains("already exists"), "{again}");

    server.query("a \"b\"", "CREATE TABLE t AS SELECT 7 AS n").unwrap();
    server.kill();
    assert!(!is_alive(pid));
    server.restart().unwrap();
    assert_eq!(server.query("a \"b\"", "SELECT n FROM t").unwrap()[0][0].as_deref(), Some("7"));
    let pid = server.pid().unwrap();
    server.stop();
    assert!(server.pid().is_none());
    assert!(!is_alive(pid));
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn postgres_15_starts_and_stops() {
    check_postgres(15);
}

#[test]
fn postgres_18_starts_and_stops() {
    check_postgres(18);
}

#[test]
fn a_wrong_password_is_refused() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let url = server.url("postgres");
    let password = url.split(['@', ':']).nth(2).unwrap();
    assert_eq!(password.len(), 32, "{url}");
    let hba = std::fs::read_to_string(server.folder().join("data/pg_hba.conf")).unwrap();
    assert!(!hba.lines().any(|line| line.ends_with("trust")), "{hba}");
}

#[test]
fn a_panic_stops_the_server() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        sender.send((server.pid().unwrap(), server.folder().to_owned())).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    let (pid, folder) = receiver.recv().unwrap();
    assert!(!is_alive(pid));
    assert!(!folder.exists());
}

#[test]
fn a_given_folder_stays_and_is_not_used_twice() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("kept");
    let options = PostgresOptions { folder: Some(folder.clone()), ..Default::default() };
    let server = Postgres::start(options.clone()).unwrap();
    drop(server);
    assert!(folder.join("data/PG_VERSION").is_file());
    let error = Postgres::start(options).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "it has something in it; name a new or empty folder");
}

#[test]
fn a_kept_server_runs_on_and_has_its_scripts() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("it's kept");
    let options = PostgresOptions { folder: Some(folder.clone()), ..Default::default() };
    let server = Postgres::start(options).unwrap();
    let (pid, port) = (server.pid().unwrap(), server.port());
    assert_eq!(server.keep().unwrap(), folder);
    assert!(is_alive(pid));
    let script = |name: &str| {
        let output = Command::new(folder.join(name)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    script("stop");
    assert!(!is_alive(pid));
    script("start");
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    script("stop");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn mongo_is_a_primary_with_one_member() {
    let mut server = Mongo::start(MongoOptions::default()).unwrap();
    let pid = server.pid().unwrap();
    let port = server.port();
    assert!(server.uri("crm").ends_with(&format!(":{port}/crm?replicaSet=rs0")));
    server.kill();
    assert!(!is_alive(pid));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    let pid = server.pid().unwrap();
    server.stop();
    assert!(!is_alive(pid));
}

/// Runs this test program again as a child that starts a server and waits, and kills it.
#[test]
fn a_killed_process_leaves_no_server() {
    let marker = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture"])
        .env("MIGRATE_SERVERS_TEST_MARKER", marker.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let pid: u32 = loop {
        assert!(begin.elapsed() < Duration::from_secs(60), "the child started no server");
        match std::fs::read_to_string(marker.path()).unwrap().trim().parse() {
            Ok(pid) => break pid,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(is_alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    await_gone(pid);
}

/// Does nothing by itself; it is the other half of the test above.
#[test]
fn child_that_is_killed() {
    let Some(marker) = std::env::var_os("MIGRATE_SERVERS_TEST_MARKER") else { return };
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    std::fs::write(marker, format!("{}\n", server.pid().unwrap())).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}
