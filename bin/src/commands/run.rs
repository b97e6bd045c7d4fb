//! `migrate run`: loads a source into a target and says what became of every document.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrate_core::dry_run::dry_run;
use migrate_core::event::Reporter;
use migrate_core::rejects::{self, Filter};
use migrate_core::run::{Stop, patiently};
use migrate_core::schema::RegistryFacts;
use migrate_core::sink::Target;
use migrate_core::source;
use migrate_core::status::Observer;
use migrate_core::summary::Summary;
use migrate_core::validate::{Request, validate as compare_rows};
use migrate_core::{Error, ErrorKind};

use super::{signals, summary, validate};
use crate::address::redact;
use crate::cli::ProgressKind;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::report;
use crate::reporter::{self, Both, Files, try_private, write_private};
use crate::settings::RunSettings;

/// Runs, or goes on with a run that was interrupted.
pub(crate) async fn run(
    registry: &'static RegistryFacts,
    settings: RunSettings,
    printer: Printer,
) -> Result<Outcome, Error> {
    if settings.options.clean && !settings.yes {
        confirm_clean(&settings, printer)?;
    }
    let progress = settings.progress;
    let summary_file = settings.summary.clone();
    if let Some(path) = &summary_file {
        let absolute = |path: &Path| std::path::absolute(path).ok();
        let folder = absolute(path).and_then(|path| Some(path.parent()?.to_owned()));
        if folder.is_some() && folder == absolute(&settings.files) {
            // The folder of the run's own files is made.
            std::fs::create_dir_all(&settings.files).map_err(|error| cannot_write(path, error))?;
        }
        // Better told now than after hours.
        try_private(path).map_err(|error| cannot_write(path, error))?;
    }
    // One for all that this command does, so that no signal falls between two parts of it.
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer)?;
    let (summary, files) = execute(registry, &settings, printer, &stop).await?;
    if let Some(path) = &summary_file {
        write_summary(path, &summary)?;
    }
    if progress == ProgressKind::Json {
        let value = serde_json::to_value(&summary)
            .map_err(|error| Error::new(ErrorKind::File, "cannot write JSON").caused_by(error))?;
        printer.data(serde_json::json!({ "event": "summary", "summary": value }));
    } else {
        let kind = match (settings.dry_run, files.is_resumed()) {
            (true, _) => summary::Kind::Dry,
            (false, true) => summary::Kind::Resumed,
            (false, false) => summary::Kind::Whole,
        };
        printer.data(summary::text(&summary, kind));
    }
    if settings.dry_run {
        printer.note(
            "\nnothing was written to the target; references and unique values are judged only there",
        );
        if summary.totals.rejected > 0 {
            printer
                .note(format_args!("what would be rejected is in `{}`", files.errors().display()));
        }
    } else if summary.totals.rejected > 0 {
        if progress != ProgressKind::Json && !printer.is_quiet() {
            let (target, options) = (&settings.target, &settings.options);
            let reporter = reporter::new(progress, printer);
            let read = async || rejects::groups(target, options, &Filter::default()).await;
            match patiently(options, &reporter, &stop, read).await {
                Ok(groups) => printer.data(format_args!("\n{}", summary::patterns(&groups))),
                // The run is complete without it.
                Err(error) => printer.error(format_args!("warning: {error}")),
            }
        }
        let log = match files.failure() {
            Some(_) => String::new(),
            None => format!(" and in `{}`", files.errors().display()),
        };
        printer.note(format_args!(
            "\nrejected documents are in the table \"{}\".\"reject\" of the target{log};\n`migrate rejects list` counts them by field and reason",
            settings.options.state_schema,
        ));
    }
    if !summary.balanced {
        let error = Error::new(ErrorKind::Balance, "the sums do not hold");
        printer.error(format_args!("\n{}", report::error_text(&error, &[])));
    }
    let compared = match settings.validate && !settings.dry_run {
        true => compare(registry, &settings, printer, &stop).await?,
        false => Outcome::Clean,
    };
    Ok(if summary.is_clean() { compared } else { Outcome::Differs })
}

/// Compares every row with its source after a run, and shows the report.
async fn compare(
    registry: &'static RegistryFacts,
    settings: &RunSettings,
    printer: Printer,
    stop: &Stop,
) -> Result<Outcome, Error> {
    if stop.is_stopped() {
        return Err(Error::new(
            ErrorKind::Interrupted,
            "the run is complete, and was asked to stop before its rows were compared",
        )
        .with_hint("give the same command again, or `migrate validate`, to compare them"));
    }
    let (target, options) = (&settings.target, &settings.options);
    let reporter = reporter::new(settings.progress, printer);
    let (from, limits) = (&settings.source, settings.limits);
    let source = validate::open(from, limits, options, &reporter, stop).await?;
    let request = Request::default();
    let report = compare_rows(registry, source, target, options, &request, reporter, stop).await?;
    validate::finish_run(&report, &settings.files, settings.progress, printer)
}

/// How long a target is asked for the counts of a run that was stopped.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Runs with progress and files, and gives back what became of the documents.
pub(super) async fn execute(
    registry: &'static RegistryFacts,
    settings: &RunSettings,
    printer: Printer,
    stop: &Stop,
) -> Result<(Summary, Arc<Files>), Error> {
    let files = Files::new(&settings.files, settings.dry_run).map_err(|error| {
        Error::new(ErrorKind::File, format!("cannot make `{}`", settings.files.display()))
            .caused_by(error)
    })?;
    let shown = Target::parse(&settings.target).map(|target| target.describe());
    let files = Arc::new(files.of_target(shown.unwrap_or_default()));
    if let Some(other) = files.unfinished_elsewhere() {
        printer.error(format_args!("warning: {other}"));
    }
    let shown = reporter::new(settings.progress, printer);
    let reporter: Arc<dyn Reporter> = Arc::new(Both(Arc::clone(&files) as _, Arc::clone(&shown)));
    let (budget, limits) = (settings.options.budget(), settings.limits);
    let source_options =
        validate::source_options(&settings.options, budget, limits, &reporter, stop);
    let source = source::open_with(&settings.source, source_options).await?;
    let (target, options) = (&settings.target, &settings.options);
    let result = if settings.dry_run {
        dry_run(registry, source, target, options, reporter, stop).await
    } else {
        migrate_core::run::run(registry, source, target, options, reporter, stop).await
    };
    if let Err(error) = &result
        && error.kind() == ErrorKind::Interrupted
        && !settings.dry_run
        // A target that does not answer leaves the counts as they were told.
        && let Ok(Ok(mut observer)) =
            tokio::time::timeout(ANSWER_TIME, Observer::open(registry, target, options)).await
    {
        if let Ok(Ok(status)) = tokio::time::timeout(ANSWER_TIME, observer.status(None)).await {
            files.correct(&status);
        }
        observer.close().await;
    }
    files.finish(result.as_ref().ok());
    if let Ok(summary) = &result
        && !settings.dry_run
        && files.is_doubtful(summary.totals.rejected)
    {
        let mirror = async || mirror(settings, &files, summary.run).await;
        patiently(options, &shown, stop, mirror).await?;
    }
    if let Some(failure) = files.failure() {
        printer.error(format_args!("warning: {failure}; the target holds the same and more"));
    }
    Ok((result?, files))
}

/// Makes the log of rejects anew from the ledger.
async fn mirror(settings: &RunSettings, files: &Files, run: i64) -> Result<(), Error> {
    let mut log = match files.new_log() {
        Ok(log) => log,
        Err(error) => {
            files.log_failed(&error);
            return Ok(());
        }
    };
    let filter = Filter { run: Some(run), ..Filter::default() };
    let mut written = Ok(());
    rejects::for_each(&settings.target, &settings.options, &filter, |entry| {
        written = log.add(&entry);
        written.is_ok()
    })
    .await?;
    if let Err(error) = written.and_then(|()| log.finish()) {
        files.log_failed(&error);
    }
    Ok(())
}

fn confirm_clean(settings: &RunSettings, printer: Printer) -> Result<(), Error> {
    let target = redact(&settings.target);
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("`--clean` would throw away what earlier runs loaded into `{target}`, and nobody is there to ask"),
        )
        .with_hint("add `--yes` if that is wanted"));
    }
    let question =
        format!("This throws away what earlier runs loaded into `{target}`.\nType `yes` to go on:");
    match printer.ask(&question) {
        Ok(answer) if answer == "yes" => Ok(()),
        _ => {
            Err(Error::new(ErrorKind::Usage, "nothing was changed, because you did not say `yes`"))
        }
    }
}

fn write_summary(path: &Path, summary: &Summary) -> Result<(), Error> {
    let mut text =
        serde_json::to_string_pretty(summary).map_err(|error| cannot_write(path, error.into()))?;
    text.push('\n');
    // It holds values of documents, as the log of rejects does.
    write_private(path, text.as_bytes()).map_err(|error| cannot_write(path, error))
}

fn cannot_write(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::File, format!("cannot write the summary to `{}`", path.display()))
        .caused_by(error)
        .with_hint("name a file in a folder that is there and that you may write to")
}
