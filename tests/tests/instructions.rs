//! What the transformer costs, in instructions: a number that does not depend on how busy the
//! machine is. `migrate-core/benches/instructions.rs` is run under callgrind, and the counts are
//! compared with those of `instructions.toml` beside it. `INSTRUCTIONS=overwrite` records them.
//!
//! The program is built without the engine, and its dependencies as those of the tests are, only
//! `migrate-core` itself is fully optimised. So few things are built a second time; a release build,
//! which looks across crates, needs about a twentieth less.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

/// By how much a count may differ from the recorded one.
const SLACK: f64 = 0.03;
/// The program's documents.
const DOCUMENTS: u64 = 200;

const RECORD: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../migrate-core/benches/instructions.toml");
const TOOLCHAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rust-toolchain.toml");

#[test]
fn counts_are_the_recorded_ones() {
    let Some(program) = program() else { return };
    let names = String::from_utf8(Command::new(program).arg("--names").output().unwrap().stdout);
    let names: Vec<String> = names.unwrap().lines().map(str::to_owned).collect();
    let counts = count(program, &names);
    if std::env::var_os("INSTRUCTIONS").is_some_and(|value| value == "overwrite") {
        std::fs::write(RECORD, record(&counts)).unwrap();
        return;
    }
    let recorded = recorded();
    let mut changed = Vec::new();
    for name in recorded.keys().chain(counts.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (was, is) = (recorded.get(name).copied(), counts.get(name).copied());
        let ratio = is.unwrap_or(0) as f64 / was.unwrap_or(0) as f64;
        if !((1.0 - SLACK)..=(1.0 + SLACK)).contains(&ratio) {
            changed.push(format!("{name}: {was:?} instructions a document before, now {is:?}"));
        }
    }
    assert!(
        changed.is_empty(),
        "{}\nafter a change that is worth it: `INSTRUCTIONS=overwrite cargo test -p migrate-tests \
         --test instructions`, and commit the record",
        changed.join("\n")
    );
}

#[test]
fn cost_is_linear_in_the_size() {
    let Some(program) = program() else { return };
    // The least size of what is copied is one at which copying has a cost at all, and the step is
    // large, because the C library has ways of its own for each size. What goes through many values
    // takes long under callgrind.
    let copied = ["text", "text beyond ASCII", "bytea"].map(|name| (name, 4, 4));
    let walked = ["text[]", "int4[]", "unknown fields"].map(|name| (name, 4, 2));
    for (name, least, step) in copied.into_iter().chain(walked).chain([("jsonb", 1, 2)]) {
        let sizes =
            [least, least * step, least * step * step].map(|factor| format!("{name}*{factor}"));
        let counts = count(program, &sizes);
        let [small, middle, large] = sizes.map(|name| counts[&name] as f64);
        // A step adds at most so many times what the one before it has added, where a square would
        // add the square of that; it is less where long runs are copied with a single instruction.
        let growth = (large - middle) / (middle - small);
        let most = 1.1 * f64::from(step);
        assert!(growth < most, "{name}: {small}, {middle}, {large}");
    }
}

#[test]
fn the_order_of_the_fields_changes_little() {
    let Some(program) = program() else { return };
    let names = ["contacts", "contacts in any order"].map(str::to_owned);
    let counts = count(program, &names);
    let [same, any] = names.map(|name| counts[&name] as f64);
    assert!(any < 1.4 * same, "{same} in one order, {any} in any");
}

/// The program that transforms; `None`, with the reason printed, where it cannot be counted.
fn program() -> Option<&'static PathBuf> {
    static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| match ready() {
        Ok(()) => Some(build()),
        Err(reason) => {
            skip(&reason);
            None
        }
    });
    PROGRAM.as_ref()
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Whether this is the compiler and the kind of machine that the record is of.
fn ready() -> Result<(), String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err("there is no valgrind".to_owned());
    }
    let toolchain = std::fs::read_to_string(TOOLCHAIN).unwrap();
    let pinned = value_of(&toolchain, "channel").unwrap().to_owned();
    if !rustc().starts_with(&format!("rustc {pinned} ")) {
        return Err(format!("the counts are those of rustc {pinned}, this is {}", rustc()));
    }
    let overwrite = std::env::var_os("INSTRUCTIONS").is_some();
    let text = std::fs::read_to_string(RECORD).unwrap_or_default();
    let machine = value_of(&text, "machine").unwrap_or_default();
    if !overwrite && machine != self::machine() {
        return Err(format!("the counts are those of {machine}, this is {}", self::machine()));
    }
    Ok(())
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What the code that is run depends on: searches in text ask the processor what it can do.
fn machine() -> String {
    #[cfg(target_arch = "x86_64")]
    let wide = if std::arch::is_x86_feature_detected!("avx2") { " with avx2" } else { "" };
    #[cfg(not(target_arch = "x86_64"))]
    let wide = "";
    format!("{}-{}{wide}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Builds the program and gives its path.
fn build() -> PathBuf {
    let settings =
        ["opt-level=3", "codegen-units=1", "debug-assertions=false", "overflow-checks=false"];
    let mut cargo = Command::new("cargo");
    // What cargo says about this test to its process would make build scripts run again, and with
    // them half of the dependencies.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let told = ["CARGO_MANIFEST", "CARGO_PKG_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
        if told.iter().any(|told| name.starts_with(told)) || name == "CARGO" || name == "OUT_DIR" {
            cargo.env_remove(name);
        }
    }
    // The engine is most of what there is to compile, and nothing of what is counted.
    cargo.args([
        "build",
        "-p",
        "migrate-core",
        "--no-default-features",
        "--locked",
        "--bench",
        "instructions",
    ]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    for setting in settings {
        cargo.args(["--config", &format!("profile.dev.package.migrate-core.{setting}")]);
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = artifacts
        .filter(|message| message["target"]["name"] == "instructions")
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    programs.next().expect("cargo names what it has built")
}

/// The instructions per document of each case.
fn count(program: &PathBuf, names: &[String]) -> BTreeMap<String, u64> {
    let left = Mutex::new(names.iter());
    let counts = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(name) = left.lock().unwrap().next() else { return };
                    let all = instructions(program, name);
                    counts.lock().unwrap().insert(name.clone(), all / DOCUMENTS);
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

/// The instructions of the program's counted pass.
fn instructions(program: &PathBuf, name: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*counted_pass*")
        .arg(program)
        .arg(name)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.split_once("Collected : ").map(|(_, rest)| rest);
    let number = collected.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

fn record(counts: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "# Instructions per document, as callgrind counts them; `tests/tests/instructions.rs` \
         compares.\n# Cases named for a kind of cell have sixteen of them and an id.\n\n\
         machine = \"{}\"\n\n[instructions]\n",
        machine()
    );
    for (name, count) in counts {
        text.push_str(&format!("\"{name}\" = {count}\n"));
    }
    text
}

fn recorded() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(RECORD).unwrap();
    let (_, counts) = text.split_once("[instructions]\n").unwrap();
    let entries = counts.lines().map(|line| line.split_once(" = ").unwrap());
    entries
        .map(|(name, count)| (name.trim_matches('"').to_owned(), count.parse().unwrap()))
        .collect()
}

/// The text of a key at the top of a TOML file.
fn value_of<'a>(toml: &'a str, key: &str) -> Option<&'a str> {
    let line = toml.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
    Some(line.trim_matches('"'))
}
