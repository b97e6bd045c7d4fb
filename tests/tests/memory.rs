//! The memory of the program: whatever the documents are and however many connections there are,
//! it keeps to its budget. Looked at from outside, as the system counts it.

#![expect(clippy::print_stderr, reason = "figures are for whoever runs the test")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, doc};
use migrate_tests::random::Random;
use migrate_tests::servers;

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
    // Rows of 16 MB, as text and as jsonb; rejects of 16 MB.
    let tasks = database.collection::<Document>("Tasks");
    for number in 0..16 {
        let document = match number % 4 {
            0 | 1 => task("content", large.clone()),
            2 => task("tags", large.clone()),
            _ => {
                let mut task = task("content", large.clone());
                task.remove("title");
                task
            }
        };
        tasks.insert_one(document).await.unwrap();
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
