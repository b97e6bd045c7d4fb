//! `migrate validate`: every row of the target compared with its source.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use migrate_core::budget::Budget;
use migrate_core::event::{Event, Reporter};
use migrate_core::run::{Options, Stop};
use migrate_core::schema::RegistryFacts;
use migrate_core::source::{self, Limits, Source, SourceOptions};
use migrate_core::validate::{self, BrokenOff, Report, TableReport};
use migrate_core::{Error, ErrorKind};

use super::differences::{repaired, text, verdict};
use super::signals;
use crate::cli::ProgressKind;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::report::error_text;
use crate::reporter::rate::thousands;
use crate::reporter::{self, write_private};
use crate::settings::ValidateSettings;

/// The report, in the folder of the run's files.
pub(super) const REPORT: &str = "migration-validation-report.json";

/// Opens the source of a comparison, which reads it no faster than a person has said.
pub(super) async fn open(
    address: &str,
    limits: Limits,
    options: &Options,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Arc<dyn Source>, Error> {
    let paced = source_options(options, options.validation_budget(), limits, reporter, stop);
    source::open_with(address, paced).await
}

/// How a source is read by a command that tells of its waits and that a signal stops.
pub(super) fn source_options(
    options: &Options,
    memory: Budget,
    limits: Limits,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> SourceOptions {
    /// A reply may take that long, however short the patience is.
    const REPLY_TIMES: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(120));
    let waits = Arc::clone(reporter);
    SourceOptions {
        retry_for: options.patience,
        reply_timeout: options.patience.clamp(REPLY_TIMES.0, REPLY_TIMES.1),
        limits,
        waiting: Some(Arc::new(move |what, delay| waits.event(&Event::Waiting { what, delay }))),
        stop: stop.clone(),
        ..SourceOptions::within(memory)
    }
}

/// Compares, writes the report, and shows what differs.
pub(crate) async fn validate(
    registry: &'static RegistryFacts,
    settings: ValidateSettings,
    printer: Printer,
) -> Result<Outcome, Error> {
    // Stdout is for the report.
    let progress = match settings.progress {
        ProgressKind::Json if settings.json => ProgressKind::None,
        progress => progress,
    };
    let reporter = reporter::new(progress, printer);
    let (target, options) = (&settings.target, &settings.options);
    let stop = &Stop::default();
    let _signals = signals::listen(stop, printer)?;
    let source = open(&settings.source, settings.limits, options, &reporter, stop).await?;
    let request = &settings.request;
    let report = if settings.repair {
        if !settings.yes && !std::io::stdin().is_terminal() {
            return Err(Error::new(
                ErrorKind::Usage,
                "`--repair` changes the target, and nobody is there to ask",
            )
            .with_hint("add `--yes` if that is wanted"));
        }
        let files = settings.files.clone();
        let agree = move |report: &Report| settings.yes || agree(report, &files, printer);
        let agree = &agree;
        let repaired =
            validate::repair(registry, source, target, options, request, reporter, stop, agree);
        repaired.await.map_err(|broken_off| give_up(broken_off, &settings, printer))?
    } else {
        validate::validate(registry, source, target, options, request, reporter, stop).await?
    };
    finish(&report, &settings.files, settings.json, printer)
}

/// Shows what differs and what a repair would do, and asks.
fn agree(report: &Report, files: &Path, printer: Printer) -> bool {
    let Ok(path) = write(report, files) else { return false };
    printer.styled_note(text(report, Some(&path)));
    let sum = |count: fn(&TableReport) -> u64| -> u64 { report.tables.iter().map(count).sum() };
    // Several cells of a row may differ.
    let question = format!(
        "This inserts {} rows, loads those of {} differing cells again, deletes {} rows that no document has given, inserts {} pairs and deletes {}.\nType `yes` to go on:",
        thousands(sum(|table| table.missing.count)),
        thousands(sum(|table| table.cells.count)),
        thousands(sum(|table| table.extra.count)),
        thousands(report.junctions.iter().map(|junction| junction.missing.count).sum()),
        thousands(report.junctions.iter().map(|junction| junction.extra.count).sum()),
    );
    printer.ask(&question).is_ok_and(|answer| answer == "yes")
}

/// Tells what a repair had done before it broke off; gives back why it did.
fn give_up(broken_off: BrokenOff, settings: &ValidateSettings, printer: Printer) -> Error {
    let BrokenOff { error, report } = broken_off;
    let Some(report) = report else { return error };
    if settings.json {
        printer.data(serde_json::json!(report));
    } else if let Some(done) = &report.repaired {
        printer.styled(repaired(done).trim_end());
    }
    match write(&report, &settings.files) {
        Ok(path) if !settings.json => printer.styled(format_args!(
            "what differed before, and what was repaired since, is in {}\n",
            path.display()
        )),
        Ok(_) => (),
        Err(error) => printer.error(format_args!("warning: {error}")),
    }
    error
}

/// Writes the report and shows it, also where it could not be written.
fn finish(report: &Report, files: &Path, json: bool, printer: Printer) -> Result<Outcome, Error> {
    let path = write(report, files);
    if json {
        printer.data(serde_json::json!(report));
    } else if !printer.is_quiet() {
        printer.styled(text(report, path.as_deref().ok()));
    }
    path?;
    let is_mended = report.repaired.as_ref().is_none_or(|repaired| repaired.balanced);
    Ok(if report.clean && is_mended { Outcome::Clean } else { Outcome::Differs })
}

/// Writes the report of a comparison that followed a run, and shows what differs, or that nothing
/// does. The run is complete without the file, as without the others.
pub(super) fn finish_run(
    report: &Report,
    files: &Path,
    progress: ProgressKind,
    printer: Printer,
) -> Result<Outcome, Error> {
    let path = write(report, files);
    if let Err(error) = &path {
        // The hint is for a command that has not done what it was to do.
        let text = error_text(error, &[]).replacen("error", "warning", 1);
        printer.error(text.split("\n\n").next().unwrap_or_default());
    }
    if progress == ProgressKind::Json {
        printer.data(serde_json::json!({ "event": "validation", "report": report }));
    } else if report.clean {
        printer.styled(verdict(report));
    } else {
        printer.styled(text(report, path.as_deref().ok()));
    }
    Ok(if report.clean { Outcome::Clean } else { Outcome::Differs })
}

fn write(report: &Report, files: &Path) -> Result<PathBuf, Error> {
    let path = files.join(REPORT);
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::File, format!("cannot write `{}`", path.display())).caused_by(error)
    };
    let pretty = serde_json::to_vec_pretty(report).map_err(|error| failed(error.into()))?;
    std::fs::create_dir_all(files).map_err(failed)?;
    write_private(&path, &pretty).map_err(failed)?;
    Ok(path)
}
