//! `migrate status`: what a run did so far and does now, from the target alone.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use migrate_core::run::Options;
use migrate_core::schema::RegistryFacts;
use migrate_core::sink::Target;
use migrate_core::status::{Activity, Blocker, Observer, Stage, Status, TableStatus, Worker};
use migrate_core::{Error, ErrorKind};

use super::summary::Grid;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::reporter::rate::{bytes, duration, thousands};

/// How a person wants to look.
pub(crate) struct Look {
    /// The number of the run; `None` is the last.
    pub(crate) run: Option<i64>,
    /// The time between two looks; `None` is one look.
    pub(crate) watch: Option<Duration>,
    /// As JSON.
    pub(crate) json: bool,
}

/// Looks once, or again and again until the run is over.
pub(crate) async fn status(
    registry: &'static RegistryFacts,
    target: &str,
    options: &Options,
    look: Look,
    printer: Printer,
) -> Result<Outcome, Error> {
    let (mut observer, mut status) = begin(registry, target, options, &look, printer).await?;
    let Some(pause) = look.watch else {
        printer.data(match look.json {
            true => serde_json::json!(status).to_string(),
            false => text(&status, Size::Whole),
        });
        observer.close().await;
        return Ok(outcome(&status));
    };
    let redraw = !look.json && std::io::stdout().is_terminal();
    if redraw {
        // What stood on the screen scrolls away and is not overwritten.
        printer.data("\n".repeat(60));
    }
    loop {
        match (look.json, redraw) {
            (true, _) => printer.data(serde_json::json!(status)),
            (false, true) => printer.redraw(&text(&status, Size::Screen)),
            (false, false) => printer.data(line(&status)),
        }
        if status.is_over() {
            observer.close().await;
            return Ok(outcome(&status));
        }
        // The same run, also when another one begins meanwhile.
        let run = Some(status.run);
        tokio::time::sleep(pause).await;
        let begun = Instant::now();
        loop {
            match observer.status(run).await {
                Ok(next) => {
                    status = next;
                    break;
                }
                Err(error) if error.kind().is_transient() && begun.elapsed() < options.patience => {
                    printer.note(format_args!("{error}; trying again"));
                    tokio::time::sleep(pause).await;
                    if let Ok(next) = Observer::open(registry, target, options).await {
                        observer = next;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The first look. Whoever watches may have come before the run has begun.
async fn begin(
    registry: &'static RegistryFacts,
    target: &str,
    options: &Options,
    look: &Look,
    printer: Printer,
) -> Result<(Observer, Status), Error> {
    // What is wrong with the address does not mend itself.
    Target::parse(target)?;
    let begun = Instant::now();
    let mut told = false;
    loop {
        let found = match Observer::open(registry, target, options).await {
            Ok(mut observer) => observer.status(look.run).await.map(|status| (observer, status)),
            Err(error) => Err(error),
        };
        match (found, look.watch) {
            (Err(error), Some(pause))
                if error.kind() == ErrorKind::Usage && begun.elapsed() < options.patience =>
            {
                if !told {
                    printer.note(format_args!("{error}; waiting for one to begin"));
                    told = true;
                }
                tokio::time::sleep(pause).await;
            }
            (found, _) => return found,
        }
    }
}

fn outcome(status: &Status) -> Outcome {
    let clean = match status.activity {
        Activity::Running => true,
        Activity::Stopped | Activity::Unbalanced => false,
        Activity::Complete => status.totals.rejected == 0,
    };
    if clean { Outcome::Clean } else { Outcome::Differs }
}

/// How much room there is.
#[derive(Clone, Copy, PartialEq)]
enum Size {
    /// Every table.
    Whole,
    /// What fits on a screen: the tables that are being loaded.
    Screen,
}

/// How many tables fit on a screen.
const MOST_TABLES: usize = 12;

/// The status for a person, without a line break at its end.
fn text(status: &Status, size: Size) -> String {
    let mut text = format!("{}\n", headline(status));
    let _ = writeln!(text, "  from  {}", status.source);
    let _ = writeln!(text, "  into  {}", status.target);
    let _ = writeln!(
        text,
        "  since {}{}",
        readable(&status.started_at),
        match &status.finished_at {
            Some(at) => format!(", complete at {}", readable(at)),
            None => String::new(),
        }
    );
    text.push('\n');
    stages(&mut text, status);
    tables(&mut text, status, size);
    workers(&mut text, status);
    text.push('\n');
    text.push_str(&speed(status));
    if let Some(next) = next(status) {
        text.push_str("\n\n");
        text.push_str(&next);
    }
    text
}

/// What run it is and how it goes.
fn headline(status: &Status) -> String {
    let took = took(status.seconds);
    let workers =
        plural(status.workers.iter().filter(|worker| !worker.validates).count(), "worker");
    let doing = match (status.activity, status.stage) {
        (Activity::Running, stage) => format!("{}, {workers}, for {took}", doing(stage)),
        (Activity::Stopped, stage) => {
            format!("stopped after {took}, while it was {}", doing(stage))
        }
        (Activity::Complete, Stage::Validate) => format!("complete after {took}, validating"),
        (Activity::Complete, _) => format!("complete after {took}"),
        (Activity::Unbalanced, _) => format!("done after {took}, AND ITS SUMS DO NOT HOLD"),
    };
    format!("run {} of {}: {doing}", status.run, status.registry)
}

fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Load => "loading",
        Stage::Settle => "settling references",
        Stage::Constrain => "building keys and indexes",
        Stage::Analyze => "gathering statistics",
        Stage::Report => "adding up",
        Stage::Validate => "validating",
        Stage::Done => "done",
    }
}

fn stages(text: &mut String, status: &Status) {
    let mut grid = Grid::new(&["stage", "done", "of", "work"]);
    let work = |seconds: f64| duration(Duration::from_secs_f64(seconds.max(0.0)));
    grid.rows.push(vec![
        "load".to_owned(),
        thousands(status.chunks_done),
        plural(status.chunks as usize, "chunk"),
        work(status.tables.iter().map(|table| table.seconds).sum()),
    ]);
    for tasks in &status.tasks {
        grid.rows.push(vec![
            tasks.stage.name().to_owned(),
            thousands(tasks.done),
            plural(tasks.tasks as usize, "task"),
            work(tasks.seconds),
        ]);
    }
    grid.write(text);
}

fn tables(text: &mut String, status: &Status, size: Size) {
    let begun = |table: &TableStatus| {
        let at_work = (status.workers.iter())
            .filter_map(|worker| worker.work.as_deref())
            .any(|work| work.ends_with(&format!(" of {}", table.table)));
        at_work || (table.chunks_done > 0 && table.chunks_done < table.chunks)
    };
    let all = &status.tables;
    let shown: Vec<&TableStatus> = match size {
        Size::Whole => all.iter().collect(),
        Size::Screen => all.iter().filter(|table| begun(table)).take(MOST_TABLES).collect(),
    };
    let mut grid =
        Grid::new(&["table", "chunks", "read", "of about", "loaded", "rejected", "size"]);
    let skips = status.totals.skipped > 0;
    if skips {
        grid.head.insert(6, "skipped".to_owned());
    }
    for table in shown {
        let mut row = vec![
            super::summary::shorten_name(&table.table),
            format!("{}/{}", thousands(table.chunks_done), thousands(table.chunks)),
            thousands(table.totals.read),
            if table.estimate == 0 { "?".to_owned() } else { thousands(table.estimate) },
            thousands(table.totals.loaded),
            thousands(table.totals.rejected),
            bytes(table.totals.bytes),
        ];
        if skips {
            row.insert(6, thousands(table.totals.skipped));
        }
        grid.rows.push(row);
    }
    let totals = &status.totals;
    let mut row = vec![
        "all".to_owned(),
        format!("{}/{}", thousands(status.chunks_done), thousands(status.chunks)),
        thousands(totals.read),
        thousands(all.iter().map(|table| table.estimate).sum()),
        thousands(totals.loaded),
        thousands(totals.rejected),
        bytes(totals.bytes),
    ];
    if skips {
        row.insert(6, thousands(totals.skipped));
    }
    grid.rows.push(row);
    text.push('\n');
    grid.write(text);
}

fn workers(text: &mut String, status: &Status) {
    if status.workers.is_empty() {
        return;
    }
    text.push('\n');
    let mut grid = Grid::new(&["worker", "since", "rows sent", "at work on"]);
    for worker in &status.workers {
        let since = match worker.work {
            Some(_) => took(worker.seconds),
            None => String::new(),
        };
        let rows = if worker.rows > 0 { thousands(worker.rows) } else { String::new() };
        grid.rows.push(vec![place(worker), since, rows, at_work(worker)]);
    }
    grid.write_with_text_last(text);
}

fn place(worker: &Worker) -> String {
    let from = match worker.address.as_str() {
        "" => String::new(),
        address => format!(" from {address}"),
    };
    format!("{}{from}, server process {}", worker.user, worker.pid)
}

fn at_work(worker: &Worker) -> String {
    let mut text = worker.work.clone().unwrap_or_else(|| "nothing at the moment".to_owned());
    if !worker.waits_for.is_empty() {
        let blockers: Vec<String> = worker.waits_for.iter().map(blocker).collect();
        let _ = write!(text, ", WAITS for a lock that is held by {}", blockers.join(" and "));
    }
    text
}

fn blocker(blocker: &Blocker) -> String {
    let mut text = format!("server process {}", blocker.pid);
    let about: Vec<String> = [
        Some(blocker.application.clone()).filter(|name| !name.is_empty()),
        Some(blocker.user.clone()).filter(|name| !name.is_empty()),
        Some(blocker.state.clone()).filter(|name| !name.is_empty()),
        (blocker.seconds > 0.0).then(|| format!("for {}", took(blocker.seconds))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !about.is_empty() {
        let _ = write!(text, " ({})", about.join(", "));
    }
    text
}

fn speed(status: &Status) -> String {
    let rate = &status.rate;
    if rate.documents <= 0.0 {
        return "no chunk is done yet, so there is no rate".to_owned();
    }
    let now = matches!((status.activity, status.stage), (Activity::Running, Stage::Load));
    let mut text = format!(
        "{} documents per second, {} per second, over {} {}",
        thousands(rate.documents as u64),
        bytes(rate.bytes as u64),
        if now { "the last" } else { "the load's" },
        took(rate.seconds),
    );
    if let Some(left) = status.load_seconds_left {
        let _ = match status.activity {
            Activity::Running => {
                write!(text, "; about {} until all is loaded", took(left))
            }
            _ => write!(text, "; what is left to load would take about {}", took(left)),
        };
    }
    text
}

/// What a person does next, where there is something to do.
fn next(status: &Status) -> Option<String> {
    match status.activity {
        Activity::Running => None,
        Activity::Stopped => Some(format!(
            "Nobody is at work on it. What is done stays done; {}go on with\n  {}\nPasswords and options of the addresses are not kept, nor is what changes no row (`--max-read-mb-s`,\n`--max-docs-s`, `--jobs`, `--memory` and the like): add what is needed.",
            match status.given_up_at {
                Some(_) => {
                    "the keys and indexes that\n`migrate schema restore` has put back come off again when you "
                }
                None => "",
            },
            resume(status)
        )),
        Activity::Unbalanced => Some(
            "This is a bug in migrate, or somebody else wrote to the tables: do not use the target before\n`migrate validate` has shown what differs."
                .to_owned(),
        ),
        Activity::Complete if status.totals.rejected > 0 => Some(format!(
            "{} rejected: `migrate rejects list` shows why",
            match status.totals.rejected {
                1 => "1 document is".to_owned(),
                count => format!("{} documents are", thousands(count)),
            }
        )),
        Activity::Complete => None,
    }
}

/// The command that goes on with a run.
fn resume(status: &Status) -> String {
    let mut words = vec!["migrate run --source".to_owned(), shell(address(&status.source))];
    words.extend(["--target".to_owned(), shell(&status.target)]);
    let option = |name: &str| status.options.get(name).map_or("", String::as_str);
    for (name, default) in [("uuid", "v8"), ("schema", "public")] {
        if ![default, ""].contains(&option(name)) {
            words.extend([format!("--{name}"), shell(option(name))]);
        }
    }
    if status.state_schema != Options::default().state_schema {
        words.extend(["--state-schema".to_owned(), shell(&status.state_schema)]);
    }
    for name in ["append", "keep-constraints"] {
        if option(name) == "true" {
            words.push(format!("--{name}"));
        }
    }
    for model in &status.only {
        words.extend(["--only".to_owned(), shell(model)]);
    }
    words.join(" ")
}

/// What names a source on the command line: a dump describes itself with its size, a server with its
/// kind.
fn address(source: &str) -> &str {
    if let Some(address) = source.strip_prefix("MongoDB ") {
        return address;
    }
    match source.strip_prefix("dump ").and_then(|rest| rest.rsplit_once(" (")) {
        Some((path, _)) => path,
        None => source,
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The status in one line, for a log.
fn line(status: &Status) -> String {
    let totals = &status.totals;
    let tasks: u64 = status.tasks.iter().map(|tasks| tasks.tasks).sum();
    let done: u64 = status.tasks.iter().map(|tasks| tasks.done).sum();
    let mut text = format!(
        "{} run {} {}: {}/{} chunks, {done}/{tasks} tasks, {} documents read, {} loaded, {} rejected",
        status.at,
        status.run,
        match status.activity {
            Activity::Running => status.stage.name(),
            Activity::Stopped => "stopped",
            Activity::Complete => "complete",
            Activity::Unbalanced => "unbalanced",
        },
        status.chunks_done,
        status.chunks,
        totals.read,
        totals.loaded,
        totals.rejected,
    );
    let workers = status.workers.iter().filter(|worker| !worker.validates).count();
    if workers > 0 {
        let _ = write!(text, ", {}", plural(workers, "worker"));
    }
    if status.activity == Activity::Running && status.stage == Stage::Load {
        let _ = write!(text, ", {:.0} documents/s", status.rate.documents);
        if let Some(left) = status.load_seconds_left {
            let _ = write!(text, ", about {} left to load", took(left));
        }
    }
    text
}

fn took(seconds: f64) -> String {
    duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

/// `2026-01-31T12:00:00.123Z` as `2026-01-31 12:00:00 UTC`.
fn readable(iso: &str) -> String {
    match (iso.split_once('T'), iso.split_once('.')) {
        (Some((day, _)), Some((until_seconds, _))) => {
            format!("{day} {} UTC", until_seconds.split_once('T').map_or("", |(_, time)| time))
        }
        _ => iso.to_owned(),
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use migrate_core::status::{Rate, TableTotals, TaskStatus};

    use super::*;

    fn example() -> Status {
        let totals =
            TableTotals { read: 8_000, loaded: 7_990, rejected: 10, skipped: 0, bytes: 4 << 20 };
        let table = TableStatus {
            model: "Tasks".to_owned(),
            table: "Tasks".to_owned(),
            collection: "Tasks".to_owned(),
            chunks: 4,
            chunks_done: 2,
            estimate: 16_000,
            totals,
            seconds: 2.5,
        };
        Status {
            version: Status::VERSION,
            run: 3,
            runs: 3,
            registry: "NextCrm".to_owned(),
            source: "dump ./my dump (1 collections, 7 bytes)".to_owned(),
            target: "postgres://me@h:5432/crm".to_owned(),
            state_schema: "migrate".to_owned(),
            options: [("uuid".to_owned(), "v7".to_owned())].into(),
            at: "2026-01-31T12:00:02.500Z".to_owned(),
            started_at: "2026-01-31T12:00:00.123Z".to_owned(),
            seconds: 65.0,
            chunks: 4,
            chunks_done: 2,
            tables: vec![table],
            tasks: vec![TaskStatus { stage: Stage::Settle, tasks: 7, ..Default::default() }],
            totals,
            rate: Rate { documents: 4_000.0, bytes: 2e6, seconds: 2.0 },
            load_seconds_left: Some(2.0),
            ..Status::default()
        }
    }

    #[test]
    fn a_stopped_run_says_how_to_go_on() {
        assert_eq!(
            text(&example(), Size::Whole),
            "\
run 3 of NextCrm: stopped after 1m05s, while it was loading
  from  dump ./my dump (1 collections, 7 bytes)
  into  postgres://me@h:5432/crm
  since 2026-01-31 12:00:00 UTC

stage   done        of  work
load       2  4 chunks  2.5s
settle     0   7 tasks  0.0s

table  chunks   read  of about  loaded  rejected     size
Tasks     2/4  8,000    16,000   7,990        10  4.0 MiB
all       2/4  8,000    16,000   7,990        10  4.0 MiB

4,000 documents per second, 1.9 MiB per second, over the load's 2.0s; what is left to load would take about 2.0s

Nobody is at work on it. What is done stays done; go on with
  migrate run --source './my dump' --target postgres://me@h:5432/crm --uuid v7
Passwords and options of the addresses are not kept, nor is what changes no row (`--max-read-mb-s`,
`--max-docs-s`, `--jobs`, `--memory` and the like): add what is needed."
        );
        assert_eq!(outcome(&example()), Outcome::Differs);
    }

    #[test]
    fn a_source_is_named_as_the_command_line_takes_it() {
        for (source, named) in [
            ("dump ./my dump (1 collections, 7 bytes)", "./my dump"),
            ("MongoDB mongodb://h:27017/crm", "mongodb://h:27017/crm"),
            ("memory", "memory"),
        ] {
            assert_eq!(address(source), named);
        }
    }

    #[test]
    fn a_run_at_work_names_its_workers_and_what_they_wait_for() {
        let worker = Worker {
            pid: 7,
            user: "me".to_owned(),
            address: "10.0.0.3".to_owned(),
            work: Some("chunk 3 of Tasks".to_owned()),
            seconds: 1.5,
            rows: 1_200,
            waits_for: vec![Blocker {
                pid: 9,
                user: "you".to_owned(),
                application: "psql".to_owned(),
                state: "idle in transaction".to_owned(),
                seconds: 100.0,
            }],
            ..Worker::default()
        };
        let idle = Worker { pid: 8, user: "me".to_owned(), ..Worker::default() };
        let status =
            Status { activity: Activity::Running, workers: vec![worker, idle], ..example() };
        let shown = text(&status, Size::Screen);
        assert!(shown.starts_with("run 3 of NextCrm: loading, 2 workers, for 1m05s\n"), "{shown}");
        assert!(
            shown.contains(
                "me from 10.0.0.3, server process 7   1.5s      1,200  chunk 3 of Tasks, WAITS for a lock that is held by server process 9 (psql, you, idle in transaction, for 1m40s)\n"
            ),
            "{shown}"
        );
        assert!(shown.ends_with("about 2.0s until all is loaded"), "{shown}");
        assert_eq!(outcome(&status), Outcome::Clean);
        assert_eq!(
            line(&status),
            "2026-01-31T12:00:02.500Z run 3 load: 2/4 chunks, 0/7 tasks, 8000 documents read, 7990 loaded, 10 rejected, 2 workers, 4000 documents/s, about 2.0s left to load"
        );
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(shell("mongodb://h/db"), "mongodb://h/db");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell(""), "''");
        assert_eq!(shell("a$(b)"), "'a$(b)'");
    }
}
