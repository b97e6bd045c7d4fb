//! `migrate demo`: the whole way with nothing to prepare: documents with the faults of real data,
//! a private PostgreSQL, a run, and a look at the result.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use migrate_core::run::{Options, Stop};
use migrate_core::schema::RegistryFacts;
use migrate_core::source::Limits;
use migrate_core::{Error, ErrorKind};
use migrate_servers::binaries::must_fetch_postgres;
use migrate_servers::{Postgres, PostgresOptions};

use super::look::{Look, looks};
use super::{generate, run, signals, summary};
use crate::cli::{Demo, ProgressKind};
use crate::exit::Outcome;
use crate::generate::{Generator, Plan, to_dump};
use crate::printer::Printer;
use crate::reporter::rate::{bytes, thousands};
use crate::settings::RunSettings;

const DATABASE: &str = "crm";
/// How many joins are shown.
const LOOKS: usize = 3;

/// Shows it. Rejects are planted and expected, so the outcome is clean when every sum holds.
pub(crate) async fn demo(
    registry: &'static RegistryFacts,
    arguments: Demo,
    printer: Printer,
) -> Result<Outcome, Error> {
    let place = Place::new(arguments.keep.as_deref())?;
    if must_fetch_postgres() {
        printer.note(
            "PostgreSQL's server is not on this machine; it is fetched with Python's pip, once",
        );
    }
    let server = Postgres::start(PostgresOptions {
        // A temporary server has a temporary folder of its own, in a place that is open to the
        // user that PostgreSQL runs as.
        folder: arguments.keep.is_some().then(|| place.path().join("postgres")),
        ..PostgresOptions::default()
    })
    .map_err(|error| {
        Error::new(ErrorKind::Preflight, "cannot start a private PostgreSQL").caused_by(error)
    })?;
    let failed = |error: migrate_servers::Error| {
        Error::new(ErrorKind::Target, "the private PostgreSQL failed").caused_by(error)
    };
    let target = server.create_database(DATABASE).map_err(failed)?;
    printer.note(format_args!(
        "PostgreSQL {} listens on 127.0.0.1:{}, for this demo alone",
        server.major(),
        server.port()
    ));

    let dump = place.path().join("dump");
    let plan = Plan { seed: arguments.seed, scale: arguments.scale, dirty: Plan::DIRTY };
    let ledger = to_dump(&Generator::new(registry, plan), &dump, false)?;
    printer.note(format_args!(
        "{} documents ({}) were generated, {} of them with a fault or an oddity of real data\n",
        thousands(ledger.total()),
        bytes(ledger.bytes),
        thousands(ledger.planted.len() as u64)
    ));

    let settings = RunSettings {
        source: dump.display().to_string(),
        target: target.clone(),
        options: Options::default(),
        summary: None,
        files: place.path().to_owned(),
        yes: true,
        dry_run: false,
        validate: true,
        progress: ProgressKind::Auto,
        limits: Limits::default(),
    };
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer)?;
    let (result, _) = run::execute(registry, &settings, printer, &stop).await?;
    printer.data(format_args!("\n{}", summary::text(&result, summary::Kind::Whole)));

    let mut shown = 0;
    for look in looks(registry, &settings.options.schema) {
        let rows = server.query(DATABASE, &look.sql).map_err(failed)?;
        if rows.len() > 1 {
            printer.data(format_args!("\n{}", table(&look, &rows)));
            shown += 1;
        }
        if shown == LOOKS {
            break;
        }
    }

    let program = std::env::args().next().unwrap_or_else(|| "migrate".to_owned());
    match place {
        Place::Temporary(_) => {
            drop(server);
            printer.data(format_args!("\n{}", next(&program)));
        }
        Place::Kept(folder) => {
            let url = folder.join("url");
            write_private(&url, &target)?;
            let psql = psql(server.binaries());
            server.keep().map_err(failed)?;
            printer.data(format_args!("\n{}", next_kept(&program, &folder, psql.as_deref())));
        }
    }
    Ok(if result.balanced { Outcome::Clean } else { Outcome::Differs })
}

/// The folder of the demo: of its own or the person's.
enum Place {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(keep: Option<&Path>) -> Result<Self, Error> {
        let failed = |path: &Path, error: std::io::Error| {
            Error::new(ErrorKind::File, format!("cannot make `{}`", path.display()))
                .caused_by(error)
        };
        let Some(folder) = keep else {
            return tempfile::Builder::new()
                .prefix("migrate-demo-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|error| failed(&std::env::temp_dir(), error));
        };
        generate::check_empty(folder)?;
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let folder = folder.canonicalize().map_err(|error| failed(folder, error))?;
        Ok(Self::Kept(folder))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// Rows of text under their heads.
fn table(look: &Look, rows: &[Vec<Option<String>>]) -> String {
    let cell = |cell: &Option<String>| {
        cell.as_deref().unwrap_or("NULL").replace(|c: char| c.is_control(), " ")
    };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>()).collect();
    let widths: Vec<usize> = (0..look.head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).chain([&look.head[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = format!("{}\n", look.title);
    for line in [&look.head].into_iter().chain(&rows) {
        let mut out = " ".to_owned();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(out, " {cell:width$} ");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

fn next(program: &str) -> String {
    format!(
        "\
The database is gone now. What to type next:
  {program} demo --keep ./demo                 the same, and the database stays
  {program} plan                               what was loaded, and in which order
  {program} schema print                       the tables, as SQL
  {program} run --help                         how to load documents of your own"
    )
}

fn next_kept(program: &str, folder: &Path, psql: Option<&Path>) -> String {
    let folder = quote(&folder.display().to_string());
    let url = format!("\"$(cat {folder}/url)\"");
    let look = match psql {
        Some(psql) => format!("  {} {url}", quote(&psql.display().to_string())),
        None => format!("  cat {folder}/url{:24}the address, for a PostgreSQL client", ""),
    };
    format!(
        "\
The database goes on. What to type next:
{look}
  {program} rejects list --target {url}
  {program} run --source {folder}/dump --target {url} --files {folder} --clean --yes
  less {folder}/migration-errors.log
  {folder}/postgres/stop                       and `start` there for the next time
  rm -r {folder}                               when it is stopped, nothing else is left"
    )
}

/// The machine's own `psql`, else the one beside the server's programs.
fn psql(binaries: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join("psql").is_file()) {
        return Some("psql".into());
    }
    Some(binaries.join("psql")).filter(|psql| psql.is_file())
}

/// The text as one word of a shell.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{text}"))
        .map_err(|error| {
            Error::new(ErrorKind::File, format!("cannot write `{}`", path.display()))
                .caused_by(error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_heads() {
        let look = Look {
            title: "Tasks with Users".to_owned(),
            head: vec!["Tasks.title".to_owned(), "user -> Users.name".to_owned()],
            sql: String::new(),
        };
        let rows = [
            vec![Some("write".to_owned()), Some("Zoë\nB.".to_owned())],
            vec![Some("read it again".to_owned()), None],
        ];
        assert_eq!(
            table(&look, &rows),
            "\
Tasks with Users
  Tasks.title    user -> Users.name
  write          Zoë B.
  read it again  NULL"
        );
    }

    #[test]
    fn words_are_safe_in_a_shell() {
        assert_eq!(quote("/tmp/demo-1"), "/tmp/demo-1");
        assert_eq!(quote("/tmp/it's here"), "'/tmp/it'\\''s here'");
    }
}
