//! `migrate validate`: every row of the target compared with its source.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use migrate_core::run::Stop;
use migrate_core::schema::RegistryFacts;
use migrate_core::source::{self, SourceOptions};
use migrate_core::validate::{self, Repaired, Report, TableReport};
use migrate_core::{Error, ErrorKind};

use super::{signals, summary};
use crate::cli::ProgressKind;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::reporter::rate::{duration, thousands};
use crate::reporter::{self, write_private};
use crate::settings::ValidateSettings;

/// How many differences of one table are shown; the report has more.
const MOST_SHOWN: usize = 20;
/// The report, in the folder of the run's files.
pub(super) const REPORT: &str = "migration-validation-report.json";

/// Compares, writes the report, and shows what differs.
pub(crate) async fn validate(
    registry: &'static RegistryFacts,
    settings: ValidateSettings,
    printer: Printer,
) -> Result<Outcome, Error> {
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer).map_err(|error| {
        Error::new(ErrorKind::File, "cannot listen for signals").caused_by(error)
    })?;
    let paced = SourceOptions { limits: settings.limits, ..SourceOptions::default() };
    let source = source::open_with(&settings.source, paced).await?;
    // Stdout is for the report.
    let progress = match settings.progress {
        ProgressKind::Json if settings.json => ProgressKind::None,
        progress => progress,
    };
    let reporter = reporter::new(progress, printer);
    let (target, options) = (&settings.target, &settings.options);
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
        validate::repair(registry, source, target, options, request, reporter, &stop, agree).await?
    } else {
        validate::validate(registry, source, target, options, request, reporter, &stop).await?
    };
    finish(&report, &settings.files, settings.json, printer)
}

/// Shows what differs and what a repair would do, and asks.
fn agree(report: &Report, files: &Path, printer: Printer) -> bool {
    let Ok(path) = write(report, files) else { return false };
    printer.note(text(report, &path));
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

/// What a repair has done, in lines.
fn repaired_text(repaired: &Repaired) -> String {
    let mut text = String::from("repaired:");
    for (what, count) in [
        ("rows inserted", repaired.inserted),
        ("rows replaced", repaired.replaced),
        ("rows deleted", repaired.deleted),
        ("documents rejected", repaired.rejected),
        ("pairs inserted", repaired.pairs_inserted),
        ("pairs deleted", repaired.pairs_deleted),
    ] {
        if count > 0 {
            let _ = write!(text, " {} {what},", thousands(count));
        }
    }
    text.truncate(text.trim_end_matches([',', ':']).len());
    text.push('\n');
    for left in repaired.left.iter().take(MOST_SHOWN) {
        let _ = writeln!(text, "  {left}");
    }
    if !repaired.balanced {
        text.push_str("the sums of the runs do not hold any more; `migrate rejects list` and the state's tables show what they are made of\n");
    }
    text.push('\n');
    text
}

/// Writes the report and shows it.
fn finish(report: &Report, files: &Path, json: bool, printer: Printer) -> Result<Outcome, Error> {
    let path = write(report, files)?;
    if json {
        printer.data(serde_json::json!(report));
    } else if !printer.is_quiet() {
        printer.data(text(report, &path));
    }
    let is_mended = report.repaired.as_ref().is_none_or(|repaired| repaired.balanced);
    Ok(if report.clean && is_mended { Outcome::Clean } else { Outcome::Differs })
}

/// Writes the report of a comparison that followed a run, and shows what differs, or that nothing
/// does.
pub(super) fn finish_run(
    report: &Report,
    files: &Path,
    progress: ProgressKind,
    printer: Printer,
) -> Result<Outcome, Error> {
    let path = write(report, files)?;
    if progress == ProgressKind::Json {
        printer.data(serde_json::json!({ "event": "validation", "report": report }));
    } else if report.clean {
        printer.data(verdict(report));
    } else {
        printer.data(text(report, &path));
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

/// The report for a person: what differs first, then the sums.
fn text(report: &Report, path: &Path) -> String {
    let mut text = report.repaired.as_ref().map(repaired_text).unwrap_or_default();
    let mut tables: Vec<_> = report.tables.iter().collect();
    tables.sort_by_key(|table| {
        std::cmp::Reverse(table.missing.count + table.extra.count + table.cells.count)
    });
    for table in &tables {
        let mut lines = Vec::new();
        if !table.counts_hold {
            lines.push(format!(
                "{} documents, but {} rows and {} rejected",
                thousands(table.source),
                thousands(table.target),
                thousands(table.rejected)
            ));
        }
        for row in &table.missing.first {
            lines.push(format!("{} is missing (document {})", row.key, row.source_id));
        }
        for row in &table.extra.first {
            lines.push(format!("{} is in the target only", row.key));
        }
        for cell in &table.cells.first {
            let show = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), shorten);
            lines.push(format!(
                "{} (document {}) {}: source {}, target {}",
                cell.key,
                cell.source_id,
                cell.column,
                show(&cell.source),
                show(&cell.target)
            ));
        }
        for judged in &table.judged.first {
            lines.push(match judged.loaded {
                true => format!(
                    "document {} is loaded, and should be rejected: {}: {}",
                    judged.source_id, judged.field, judged.reason
                ),
                false => format!(
                    "document {} is rejected, and should be loaded: {}: {}",
                    judged.source_id, judged.field, judged.reason
                ),
            });
        }
        list(&mut text, &table.table, lines, table.differences(), path);
    }
    for junction in &report.junctions {
        let missing = junction.missing.first.iter().map(|pair| format!("({pair}) is missing"));
        let extra = junction.extra.first.iter().map(|pair| format!("({pair}) is in no array"));
        let mut lines: Vec<String> = missing.chain(extra).collect();
        if !junction.counts_hold {
            lines.push(format!(
                "{} elements, but {} pairs, {} duplicates and {} orphans",
                thousands(junction.elements),
                thousands(junction.target),
                thousands(junction.duplicates),
                thousands(junction.orphans)
            ));
        }
        let count = lines.len().max(junction.differences() as usize) as u64;
        list(&mut text, &junction.table, lines, count, path);
    }
    let structure = report.structure.iter().map(|difference| {
        let show = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        format!(
            "{}: expected {}, found {}",
            difference.object,
            show(&difference.expected),
            show(&difference.found)
        )
    });
    list(&mut text, "schema", structure.collect(), report.structure.len() as u64, path);

    for reference in &report.references {
        let lines = reference.orphans.first.iter().map(|orphan| {
            format!(
                "{} points to {}, which is not in {}",
                orphan.key, orphan.value, reference.target
            )
        });
        let name = format!("{}.{}", reference.table, reference.column);
        list(&mut text, &name, lines.collect(), reference.orphans.count, path);
    }

    let mut grid = summary::Grid::new(&["table", "source", "target", "rejected", "differences"]);
    for table in &report.tables {
        grid.rows.push(vec![
            table.table.clone(),
            thousands(table.source),
            thousands(table.target),
            thousands(table.rejected),
            thousands(table.missing.count + table.extra.count + table.cells.count),
        ]);
    }
    for junction in &report.junctions {
        grid.rows.push(vec![
            junction.table.clone(),
            thousands(junction.source),
            thousands(junction.target),
            String::new(),
            thousands(junction.missing.count + junction.extra.count),
        ]);
    }
    grid.write(&mut text);
    text.push('\n');
    for table in &report.tables {
        for unchecked in &table.not_independent {
            let _ = writeln!(
                text,
                "not independent: {}.{}: {}",
                table.table, unchecked.column, unchecked.why
            );
        }
        if table.not_decoded > 0 {
            let _ = writeln!(
                text,
                "not independent: {} documents of {} cannot be decoded whole",
                thousands(table.not_decoded),
                table.table
            );
        }
    }
    text.push_str(&verdict(report));
    text
}

/// How much was compared and how much differs, in a sentence.
fn verdict(report: &Report) -> String {
    let rows: u64 = report.tables.iter().map(|table| table.target).sum();
    let pairs: u64 = report.junctions.iter().map(|junction| junction.target).sum();
    let took = duration(std::time::Duration::from_secs_f64(report.seconds.max(0.0)));
    let verdict = match report.differences() {
        0 => "nothing differs".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{} differences", thousands(count)),
    };
    let orphans = match report.orphans() {
        0 => String::new(),
        1 => ", 1 reference points to nothing".to_owned(),
        count => format!(", {} references point to nothing", thousands(count)),
    };
    if let Some(sample) = report.scope.sample {
        return format!(
            "a sample only (`--sample {} --seed {}`): {} documents and {} rows compared in {took}: {verdict}; nothing is said about the others",
            sample.rows,
            sample.seed,
            thousands(report.tables.iter().map(|table| table.source).sum()),
            thousands(rows),
        );
    }
    format!(
        "validated: {} rows and {} pairs compared with the source in {took}: {verdict}{orphans}",
        thousands(rows),
        thousands(pairs),
    )
}

fn list(text: &mut String, name: &str, lines: Vec<String>, count: u64, path: &Path) {
    if count == 0 {
        return;
    }
    let _ = writeln!(text, "{name}: {} differences", thousands(count));
    for line in lines.iter().take(MOST_SHOWN) {
        let _ = writeln!(text, "  {line}");
    }
    if count > MOST_SHOWN as u64 {
        let left = count - MOST_SHOWN as u64;
        let _ = writeln!(text, "  … {} more, see {}", thousands(left), path.display());
    }
    text.push('\n');
}

fn shorten(text: &str) -> String {
    const MOST_CHARS: usize = 60;
    let mut short: String = text.chars().take(MOST_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
