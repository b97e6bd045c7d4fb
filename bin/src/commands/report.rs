//! `migrate report`: a page about a run, from the state in the target.

use std::path::{Path, PathBuf};

use migrate_core::rejects::{self, Filter};
use migrate_core::run::Options;
use migrate_core::schema::RegistryFacts;
use migrate_core::status::Observer;
use migrate_core::validate::Report;
use migrate_core::{Error, ErrorKind};

use super::plan;
use super::validate::REPORT;
use crate::exit::Outcome;
use crate::html::Page;
use crate::printer::Printer;
use crate::reporter::rate::bytes;
use crate::reporter::write_private;
use crate::settings::File;

/// Where the report of a validation may be.
pub(crate) struct Validation {
    path: PathBuf,
    /// A person has named it, so it must be there and be of this run.
    named: bool,
}

impl Validation {
    /// The file that was named, or the one that a validation leaves.
    pub(crate) fn new(named: Option<PathBuf>, file: &File) -> Self {
        match named {
            Some(path) => Self { path, named: true },
            None => Self { path: file.files().join(REPORT), named: false },
        }
    }

    /// The report, where it is of the run.
    fn read(&self, run: i64, registry: &str, printer: Printer) -> Result<Option<Report>, Error> {
        let path = self.path.display();
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(_) if !self.named => return Ok(None),
            Err(error) => {
                return Err(Error::new(ErrorKind::File, format!("cannot read `{path}`"))
                    .caused_by(error)
                    .with_hint("make it with `migrate validate`, or leave `--validation` out"));
            }
        };
        let report: Report = match serde_json::from_slice(&text) {
            Ok(report) => report,
            Err(error) => {
                let error = Error::new(
                    ErrorKind::File,
                    format!("`{path}` is not the report of a validation"),
                )
                .caused_by(error)
                .with_hint("make it again with `migrate validate`");
                if self.named {
                    return Err(error);
                }
                printer.note(format_args!("warning: {error}; it is left out"));
                return Ok(None);
            }
        };
        if report.run == run && report.registry == registry {
            return Ok(Some(report));
        }
        let other = format!(
            "`{path}` is of run {} of {}, not of run {run} of {registry}",
            report.run, report.registry
        );
        if self.named {
            return Err(Error::new(ErrorKind::Usage, other)
                .with_hint("name another with `--validation`, or the run with `--run`"));
        }
        printer.note(format_args!("{other}: it is left out"));
        Ok(None)
    }
}

/// Makes the page and writes it.
pub(crate) async fn report(
    registry: &'static RegistryFacts,
    target: &str,
    options: &Options,
    run: Option<i64>,
    validation: Validation,
    out: &Path,
    printer: Printer,
) -> Result<Outcome, Error> {
    let mut observer = Observer::open(registry, target, options).await?;
    let status = observer.status(run).await?;
    let history = observer.history(Some(status.run)).await?;
    observer.close().await;
    // The groups are of the whole ledger, which is that of the only run in most cases.
    let groups = match status.runs {
        1 => rejects::groups(target, options, &Filter::default()).await?,
        _ => Vec::new(),
    };
    let validation = validation.read(status.run, &status.registry, printer)?;
    let made_at = chrono::Utc::now().format("%Y-%m-%d at %H:%M UTC").to_string();
    let html = Page {
        status: &status,
        history: &history,
        groups: &groups,
        graph: &plan::drawing(registry),
        validation: validation.as_ref(),
        made_at: &made_at,
    }
    .html();
    write_private(out, html.as_bytes()).map_err(|error| {
        Error::new(ErrorKind::File, format!("cannot write `{}`", out.display()))
            .caused_by(error)
            .with_hint(
                "name a file in a folder that is there and that you may write to with `--out`",
            )
    })?;
    printer.note(format_args!(
        "the report of run {} ({}) is in `{}`: open it in any browser",
        status.run,
        bytes(html.len() as u64),
        out.display()
    ));
    Ok(Outcome::Clean)
}
