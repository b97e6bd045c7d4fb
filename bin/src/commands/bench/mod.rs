//! `migrate bench`: a run measured against the floor, in turn, round after round, on servers of
//! its own.
//!
//! The run is a process of its own, this very program with `run`, so that its memory and its CPU
//! time are those that a person would see.

mod floor;
mod measure;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use migrate_core::run::{Options, models_named};
use migrate_core::schema::{Model, RegistryFacts};
use migrate_core::summary::Summary;
use migrate_core::{Error, ErrorKind};
use migrate_servers::{Mongo, MongoOptions, Postgres, PostgresOptions};
use mongodb::Client;
use serde::Serialize;

use super::generate::set_documents;
use crate::cli::{Bench, BenchSource};
use crate::exit::Outcome;
use crate::generate::{Generator, Plan, to_dump, to_mongodb};
use crate::printer::Printer;

use floor::{Floor, FloorTimes, Table};
use measure::{Cost, cpu_seconds_of_family};

/// What an administrator would set for a load, for both sides of the comparison alike. Autovacuum is
/// on, as a run expects it, but what it does for the tables of one round, minutes later, must not fall
/// into the next ones.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "30min"),
    ("autovacuum_naptime", "1d"),
];
/// The most that [`turns`] gives.
const MOST_TURNS: u32 = 5;

/// All figures; `--json` writes them as they are.
#[derive(Debug, Serialize)]
struct Figures {
    /// The version of this format.
    version: u32,
    jobs: usize,
    postgresql: u32,
    source: &'static str,
    /// Whether the run's tables were there before, with their constraints.
    existing: bool,
    /// One for each `--scale`, in its order.
    scales: Vec<Scale>,
}

/// What was measured with one number of documents.
#[derive(Debug, Serialize)]
struct Scale {
    /// As `--scale` gives it.
    scale: f64,
    /// Documents in the collections that are measured.
    documents: u64,
    /// Their BSON bytes.
    bytes: u64,
    /// Rows that came of them, those of junctions among them.
    rows: u64,
    /// What the floor's tables take on the disk, without their indexes, in bytes.
    floor_bytes: u64,
    /// What was measured, in its order: once for each turn of each round; see [`turns`].
    rounds: Vec<Round>,
}

/// A run, and the floor.
#[derive(Debug, Serialize)]
struct Round {
    run: Cost,
    /// CPU seconds of the servers during the run.
    postgresql_cpu_seconds: f64,
    mongodb_cpu_seconds: f64,
    /// Seconds of the run's steps, as its summary has them.
    steps: BTreeMap<String, f64>,
    /// What the run's workers spent its load with, in seconds added up over all of them.
    load: BTreeMap<String, f64>,
    /// The same run into tables that it makes itself, where those of `run` were there before.
    created: Option<Cost>,
    floor: FloorTimes,
    validate: Option<Cost>,
}

/// Measures.
pub(crate) async fn bench(
    registry: &'static RegistryFacts,
    arguments: Bench,
    printer: Printer,
) -> Result<Outcome, Error> {
    if cfg!(debug_assertions) {
        printer.note("this is not the release build; its figures mean little");
    }
    let jobs = arguments.jobs.map_or_else(|| Options::default().jobs(), usize::from);
    let mut models = Vec::new();
    for name in &arguments.only {
        models.extend(models_named(registry, name)?);
    }
    let before = models_before(&models);
    let only: Vec<&str> = models.iter().map(|model| model.name).collect();
    let place = tempfile::Builder::new()
        .prefix("migrate-bench-")
        .tempdir()
        .map_err(|error| failed("cannot make a folder", error))?;
    let server = Postgres::start(PostgresOptions {
        durable: true,
        settings: settings(&arguments.set),
        ..PostgresOptions::default()
    })
    .map_err(|error| failed("cannot start a private PostgreSQL", error))?;

    let mongo = match arguments.from {
        BenchSource::Dump => None,
        BenchSource::Mongodb => {
            let mongo = Mongo::start(MongoOptions::default());
            Some(mongo.map_err(|error| failed("cannot start a private MongoDB", error))?)
        }
    };
    printer.note("generating documents");
    let mut labs = Vec::new();
    let mut documents = Vec::new();
    for (place_of_scale, scale) in arguments.scale.iter().enumerate() {
        let plan = Plan { seed: arguments.seed, scale: *scale, dirty: 0.0 };
        let mut generator = Generator::new(registry, plan);
        set_documents(&mut generator, &arguments.documents)?;
        let is_measured =
            |name: &str| models.is_empty() || models.iter().any(|of| of.collection == name);
        let counts = generator.collections().filter(|(name, _)| is_measured(name));
        documents.push(counts.map(|(_, count)| count).sum::<u64>().max(1));
        let name = format!("bench_{}", place_of_scale + 1);
        let source = match &mongo {
            Some(mongo) => mongo.uri(&name),
            None => place.path().join(&name).display().to_string(),
        };
        match &mongo {
            Some(_) => to_mongodb(&generator, &source).await?,
            None => to_dump(&generator, Path::new(&source), false)?,
        };
        let lab =
            Lab { server: &server, mongo: mongo.as_ref(), name, source, place: place.path(), jobs };
        labs.push((lab, None));
    }
    if let Some(mongo) = &mongo {
        flush(mongo).await?;
    }

    let mut figures = Figures {
        version: 3,
        jobs,
        postgresql: server.major(),
        source: if mongo.is_some() { "mongodb" } else { "dump" },
        existing: arguments.existing,
        scales: Vec::new(),
    };
    let mut measured: Vec<Option<Scale>> = arguments.scale.iter().map(|_| None).collect();
    let order = order(&documents);
    for number in 1..=arguments.rounds {
        for &(place_of_scale, turn) in &order {
            let (lab, floor) = &mut labs[place_of_scale];
            let scale = arguments.scale[place_of_scale];
            let turns = turns(documents[place_of_scale], &documents);
            let database = format!("{}_{number}_{turn}", lab.name);
            let (summary, round) =
                lab.round(registry, &arguments, (&before, &only), &database, floor)?;
            let of_scale = match (arguments.scale.len(), turns) {
                (1, _) => String::new(),
                (_, 1) => format!(", scale {scale}"),
                _ => format!(", scale {scale}, {turn} of {turns}"),
            };
            printer.note(format_args!(
                "round {number} of {}{of_scale}: run {:.2} s, floor {:.2} s",
                arguments.rounds, round.run.seconds, round.floor.seconds
            ));
            let of_scale = measured[place_of_scale].get_or_insert_with(|| Scale {
                scale,
                documents: summary.totals.read,
                bytes: summary.totals.bytes,
                rows: summary.totals.loaded + summary.totals.junction_inserted,
                floor_bytes: floor.as_ref().map_or(0, Floor::bytes),
                rounds: Vec::new(),
            });
            of_scale.rounds.push(round);
        }
    }
    figures.scales = measured.into_iter().flatten().collect();
    if arguments.json {
        let json = serde_json::to_string_pretty(&figures)
            .map_err(|error| failed("cannot write JSON", error))?;
        printer.data(json);
    } else {
        printer.data(table::text(&figures));
    }
    Ok(Outcome::Clean)
}

/// How often a scale is measured in a round, for all scales of the benchmark. A disk that answers late
/// for a tenth of a second is a tenth of a small run and nothing of a large one, so the median of small
/// ones needs more of them; and they take little time.
///
/// `documents` is their number in one scale, `all` those in each.
fn turns(documents: u64, all: &[u64]) -> u32 {
    let largest = all.iter().copied().fold(documents, u64::max);
    ((largest as f64 / documents as f64).sqrt().round() as u32).clamp(1, MOST_TURNS)
}

/// The scales of a round by their places, each with the number of its turn, in the order in which they
/// are measured: the turns of each stand evenly among those of the others.
fn order(documents: &[u64]) -> Vec<(usize, u32)> {
    let mut order: Vec<(f64, usize, u32)> = Vec::new();
    for (place, count) in documents.iter().enumerate() {
        let turns = turns(*count, documents);
        let when = |turn| (f64::from(turn) - 0.5) / f64::from(turns);
        order.extend((1..=turns).map(|turn| (when(turn), place, turn)));
    }
    order.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    order.into_iter().map(|(_, place, turn)| (place, turn)).collect()
}

/// The settings of the server; what a person gives comes last, and stays.
fn settings(given: &[(String, String)]) -> Vec<(String, String)> {
    let own = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.into_iter().chain(given.iter().cloned()).collect()
}

/// The models that those in `only` refer to, in any number of steps, and that are loaded first.
fn models_before(only: &[&'static Model]) -> Vec<&'static str> {
    let mut open = only.to_vec();
    let mut before: Vec<&'static str> = Vec::new();
    while let Some(model) = open.pop() {
        for reference in model.columns.iter().filter_map(|column| column.reference) {
            let target = reference.target.get();
            let is_measured = only.iter().any(|model| model.name == target.name);
            if !is_measured && !before.contains(&target.name) {
                before.push(target.name);
                open.push(target);
            }
        }
    }
    before
}

/// The schema that the arguments of `run` name, for the other commands.
fn schema_of(run_arguments: &[String]) -> Option<&str> {
    let place = run_arguments.iter().position(|argument| argument.starts_with("--schema"))?;
    match run_arguments[place].split_once('=') {
        Some((_, schema)) => Some(schema),
        None => run_arguments.get(place + 1).map(String::as_str),
    }
}

/// What all rounds of one scale share.
struct Lab<'a> {
    server: &'a Postgres,
    mongo: Option<&'a Mongo>,
    /// What the databases of the rounds are called, before the numbers of round and turn.
    name: String,
    source: String,
    place: &'a Path,
    jobs: usize,
}

impl Lab<'_> {
    /// Measures the models in `only`, after those in `before`, once, in databases named after
    /// `database`.
    fn round(
        &self,
        registry: &'static RegistryFacts,
        arguments: &Bench,
        (before, only): (&[&str], &[&str]),
        database: &str,
        floor: &mut Option<Floor>,
    ) -> Result<(Summary, Round), Error> {
        let refused = |error| failed("the private PostgreSQL failed", error);
        let created = match arguments.existing {
            true => {
                let database = format!("{database}_created");
                let target = self.prepare(arguments, before, &database, false)?;
                let mut command = self.run_command(arguments, only, &target, "created")?;
                let cost = finish(measure::run(&mut command), "run", &[0])?;
                Some(cost)
            }
            false => None,
        };
        let target = self.prepare(arguments, before, database, arguments.existing)?;
        let mut command = self.run_command(arguments, only, &target, "run")?;
        let servers = || {
            let postgres = self.server.pid().map_or(0.0, cpu_seconds_of_family);
            let mongo = self.mongo.and_then(Mongo::pid).map_or(0.0, cpu_seconds_of_family);
            (postgres, mongo)
        };
        let servers_before = servers();
        let run = finish(measure::run(&mut command), "run", &[0])?;
        let servers_after = servers();
        let path = self.place.join("run.json");
        let summary: Summary = std::fs::read_to_string(&path)
            .map_err(|error| failed("the run wrote no summary", error))
            .and_then(|text| {
                serde_json::from_str(&text)
                    .map_err(|error| failed("the run's summary is no summary", error))
            })?;
        let validate = match arguments.validate {
            true => {
                let mut command = self.command(&["validate"], &target)?;
                command.arg("--jobs").arg(self.jobs.to_string());
                if let Some(schema) = schema_of(&arguments.run_arguments) {
                    command.args(["--schema", schema]);
                }
                Some(finish(measure::run(&mut command), "validate", &[0])?)
            }
            false => None,
        };

        if floor.is_none() {
            *floor = Some(self.floor(registry, arguments, only, database)?);
        }
        let times = match &floor {
            Some(floor) => floor.load(self.server, database, self.jobs).map_err(refused)?,
            None => FloorTimes::default(),
        };
        let round = Round {
            run,
            postgresql_cpu_seconds: servers_after.0 - servers_before.0,
            mongodb_cpu_seconds: servers_after.1 - servers_before.1,
            steps: summary.step_seconds.clone(),
            load: summary.load_seconds.clone(),
            created,
            floor: times,
            validate,
        };
        Ok((summary, round))
    }

    /// Makes a database with what stands in it before the run that is measured; gives its address.
    ///
    /// No database is dropped before the server is: without a journal, ext4 takes no number of a file
    /// that was just deleted for a new one, and looks for another one at each file that the next
    /// round makes.
    fn prepare(
        &self,
        arguments: &Bench,
        before: &[&str],
        database: &str,
        existing: bool,
    ) -> Result<String, Error> {
        let refused = |error| failed("the private PostgreSQL failed", error);
        let target = self.server.create_database(database).map_err(refused)?;
        if existing {
            let mut command = self.command(&["schema", "apply"], &target)?;
            if let Some(schema) = schema_of(&arguments.run_arguments) {
                command.args(["--schema", schema]);
            }
            finish(measure::run(&mut command), "schema apply", &[0])?;
        }
        if !before.is_empty() {
            let mut command = self.run_command(arguments, before, &target, "before")?;
            finish(measure::run(&mut command), "run", &[0])?;
        }
        self.server.query("postgres", "CHECKPOINT").map_err(refused)?;
        quiet_disk();
        Ok(target)
    }

    /// The floor of the tables that the measured run has filled.
    fn floor(
        &self,
        registry: &'static RegistryFacts,
        arguments: &Bench,
        only: &[&str],
        database: &str,
    ) -> Result<Floor, Error> {
        let options = Options::default();
        let schema = schema_of(&arguments.run_arguments).unwrap_or(&options.schema);
        let tables: Vec<Table> = registry
            .iter()
            .map(|(model, _)| model)
            .filter(|model| only.is_empty() || only.contains(&model.name))
            .map(|model| Table::new(model.schema.unwrap_or(schema), model.table))
            .collect();
        // The server's own folder is one that it may write to, as whatever user it runs.
        let folder = self.server.folder().join("data");
        Floor::of(self.server, database, &tables, &folder, self.jobs, options.sort_bytes)
            .map_err(|error| failed("cannot write down the floor", error))
    }

    fn run_command(
        &self,
        arguments: &Bench,
        only: &[&str],
        target: &str,
        summary: &str,
    ) -> Result<Command, Error> {
        let mut command = self.command(&["run"], target)?;
        command
            .args(["--no-validate", "--progress", "none", "--jobs"])
            .arg(self.jobs.to_string())
            .arg("--summary")
            .arg(self.place.join(format!("{summary}.json")));
        for model in only {
            command.args(["--only", model]);
        }
        command.args(&arguments.run_arguments);
        Ok(command)
    }

    /// This program, with settings of its own only; addresses stand in the environment, because
    /// everybody on the machine can read arguments.
    fn command(&self, words: &[&str], target: &str) -> Result<Command, Error> {
        let program = std::env::current_exe()
            .map_err(|error| failed("cannot find this program on the disk", error))?;
        let mut command = Command::new(program);
        command
            .args(words)
            .arg("--quiet")
            .env("MIGRATE_SOURCE", &self.source)
            .env("MIGRATE_TARGET", target)
            .current_dir(self.place)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(command)
    }
}

/// Waits until all that was written so far is on the disk, so that what is measured next does not wait
/// for it: the system writes what a load of gigabytes has left for half a minute after its end, and
/// whoever waits for the disk meanwhile waits for that as well.
fn quiet_disk() {
    rustix::fs::sync();
}

/// Has MongoDB write down the documents that it was given, which it would do within a minute.
async fn flush(mongo: &Mongo) -> Result<(), Error> {
    let refused = |error| failed("the private MongoDB failed", error);
    let client = Client::with_uri_str(mongo.uri("admin")).await.map_err(refused)?;
    client.database("admin").run_command(bson::doc! { "fsync": 1 }).await.map_err(refused)?;
    Ok(())
}

/// The cost of a command that ended as expected.
fn finish(
    measured: std::io::Result<(std::process::ExitStatus, Cost)>,
    what: &str,
    codes: &[i32],
) -> Result<Cost, Error> {
    let (status, cost) =
        measured.map_err(|error| failed(&format!("cannot start `{what}`"), error))?;
    match status.code() {
        Some(code) if codes.contains(&code) => Ok(cost),
        _ => Err(Error::new(ErrorKind::Usage, format!("`{what}` ended with {status}"))
            .with_hint("its message stands above")),
    }
}

fn failed(what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Preflight, what.to_owned()).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::{order, turns};

    #[test]
    fn small_scales_have_more_turns_than_large_ones_and_one_alone_has_one() {
        let of = |all: &[u64]| all.iter().map(|one| turns(*one, all)).collect::<Vec<_>>();
        assert_eq!(of(&[10, 30, 100, 300]), [5, 3, 2, 1]);
        assert_eq!(of(&[100, 10]), [1, 3]);
        assert_eq!(of(&[10]), [1]);
        assert_eq!(of(&[10, 12]), [1, 1]);
        assert_eq!(of(&[1, 30_000]), [5, 1]);
    }

    #[test]
    fn turns_stand_evenly_among_those_of_other_scales() {
        let all = [30, 10, 300];
        let order: Vec<u64> = order(&all).iter().map(|(place, _)| all[*place]).collect();
        assert_eq!(order, [10, 30, 10, 30, 10, 300, 10, 30, 10]);
    }
}
