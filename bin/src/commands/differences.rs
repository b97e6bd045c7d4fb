//! The result of a validation for a person: what differs, the worst first, and the sums. Colour stands
//! for nothing that the words do not say.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use migrate_core::validate::{JunctionReport, ReferenceReport, Repaired, Report, TableReport};

use super::summary::{Grid, shorten_name};
use crate::printer;
use crate::reporter::rate::{duration, thousands};

/// How many differences of one table are shown; the report has more.
const MOST_SHOWN: usize = 20;

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const SOFT: Style = Style::new().dimmed();

/// What differs about one table, junction or reference, or about the definitions.
struct Part {
    name: String,
    count: u64,
    /// The sums that do not hold.
    sums: Option<String>,
    /// The first of the differences, in cells.
    rows: Vec<Vec<String>>,
}

/// The whole text, with colours, without a line break at its end. `path` is where all of it is.
pub(super) fn text(report: &Report, path: &Path) -> String {
    let mut text = report.repaired.as_ref().map(repaired).unwrap_or_default();
    let mut parts: Vec<Part> = (report.tables.iter().map(table))
        .chain(report.junctions.iter().map(junction))
        .chain(report.references.iter().map(reference))
        .chain([structure(report)])
        .filter(|part| part.count > 0)
        .collect();
    parts.sort_by_key(|part| Reverse(part.count));
    for part in &parts {
        let _ = writeln!(
            text,
            "{BAD}{}: {}{BAD:#}",
            printable(&part.name),
            counted(part.count, "difference", "differences")
        );
        if let Some(sums) = &part.sums {
            let _ = writeln!(text, "  {sums}");
        }
        let room = MOST_SHOWN - usize::from(part.sums.is_some());
        let mut grid = Grid::new(&[]);
        for row in part.rows.iter().take(room) {
            let mut cells: Vec<String> = row.iter().map(|cell| printable(cell)).collect();
            cells[0].insert_str(0, "  ");
            grid.rows.push(cells);
        }
        grid.write_left(&mut text);
        let shown = part.rows.len().min(room) as u64 + u64::from(part.sums.is_some());
        if part.count > shown {
            let left = thousands(part.count - shown);
            let _ = writeln!(text, "  {SOFT}… {left} more, see {}{SOFT:#}", path.display());
        }
        text.push('\n');
    }
    sums(&mut text, report);
    text.push('\n');
    not_independent(&mut text, report);
    text.push_str(&verdict(report));
    text
}

fn table(table: &TableReport) -> Part {
    let mut rows = Vec::new();
    let sums = (!table.counts_hold).then(|| {
        let before = match table.before {
            0 => String::new(),
            before => format!(", {} of them from before", thousands(before)),
        };
        let skipped = match table.skipped {
            0 => String::new(),
            skipped => format!(" and {} skipped", thousands(skipped)),
        };
        format!(
            "{} documents, but {} rows{before}, {} rejected{skipped}",
            thousands(table.source),
            thousands(table.target),
            thousands(table.rejected),
        )
    });
    let document = |id: &str| match id {
        "" => String::new(),
        id => format!("document {}", shorten(id)),
    };
    for row in &table.missing.first {
        rows.push(vec!["missing".to_owned(), shorten(&row.key), document(&row.source_id)]);
    }
    for row in &table.extra.first {
        rows.push(vec![
            "extra".to_owned(),
            shorten(&row.key),
            "no document has given it".to_owned(),
        ]);
    }
    for cell in &table.cells.first {
        let show = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quoted);
        rows.push(vec![
            "differs".to_owned(),
            shorten(&cell.key),
            document(&cell.source_id),
            cell.column.clone(),
            format!("source {}", show(&cell.source)),
            format!("target {}", show(&cell.target)),
        ]);
    }
    for judged in &table.judged.first {
        let (is, should) = match judged.loaded {
            true => ("loaded", "rejected"),
            false => ("rejected", "loaded"),
        };
        rows.push(vec![
            is.to_owned(),
            String::new(),
            document(&judged.source_id),
            judged.field.clone(),
            format!("should be {should}: {}", judged.reason),
        ]);
    }
    Part { name: table.table.clone(), count: table.differences(), sums, rows }
}

fn junction(junction: &JunctionReport) -> Part {
    let mut rows = Vec::new();
    let sums = (!junction.counts_hold).then(|| {
        format!(
            "{} elements, but {} pairs, {} duplicates and {} orphans",
            thousands(junction.elements),
            thousands(junction.target),
            thousands(junction.duplicates),
            thousands(junction.orphans)
        )
    });
    for pair in &junction.missing.first {
        rows.push(vec!["missing".to_owned(), format!("({pair})")]);
    }
    for pair in &junction.extra.first {
        rows.push(vec!["extra".to_owned(), format!("({pair})"), "in no array".to_owned()]);
    }
    // Sums that do not hold follow from rows that differ, so they are shown and not counted.
    let count = junction.differences().max(u64::from(!junction.counts_hold));
    Part { name: junction.table.clone(), count, sums, rows }
}

fn reference(reference: &ReferenceReport) -> Part {
    let rows = reference.orphans.first.iter().map(|orphan| {
        vec![
            shorten(&orphan.key),
            format!("points to {}, which is not in {}", shorten(&orphan.value), reference.target),
        ]
    });
    Part {
        name: format!("{}.{}", reference.table, reference.column),
        count: reference.orphans.count,
        sums: None,
        rows: rows.collect(),
    }
}

fn structure(report: &Report) -> Part {
    let rows = report.structure.iter().map(|difference| {
        let show = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        vec![
            difference.object.clone(),
            format!("expected {}", show(&difference.expected)),
            format!("found {}", show(&difference.found)),
        ]
    });
    Part {
        name: "schema".to_owned(),
        count: report.structure.len() as u64,
        sums: None,
        rows: rows.collect(),
    }
}

/// Source against target in numbers: what differs first, the others in the order of the registry.
fn sums(text: &mut String, report: &Report) {
    let mut grid =
        Grid::new(&["table", "source", "target", "rejected", "missing", "extra", "cells", ""]);
    let number = |number: u64| match number {
        0 => format!("{SOFT}0{SOFT:#}"),
        number => format!("{BAD}{}{BAD:#}", thousands(number)),
    };
    let holds = |holds: bool| match holds {
        true => String::new(),
        false => format!("{BAD}does not add up{BAD:#}"),
    };
    let mut tables: Vec<&TableReport> = report.tables.iter().collect();
    tables.sort_by_key(|table| Reverse(table.differences()));
    for table in tables {
        grid.rows.push(vec![
            printable(&shorten_name(&table.table)),
            thousands(table.source),
            thousands(table.target),
            thousands(table.rejected),
            number(table.missing.count),
            number(table.extra.count),
            number(table.cells.count),
            holds(table.counts_hold),
        ]);
    }
    let mut junctions: Vec<&JunctionReport> = report.junctions.iter().collect();
    junctions.sort_by_key(|junction| Reverse(junction.differences()));
    for junction in junctions {
        grid.rows.push(vec![
            printable(&shorten_name(&junction.table)),
            thousands(junction.source),
            thousands(junction.target),
            String::new(),
            number(junction.missing.count),
            number(junction.extra.count),
            String::new(),
            holds(junction.counts_hold),
        ]);
    }
    grid.write(text);
}

/// What an independent comparison had to take from the load's own conversions.
fn not_independent(text: &mut String, report: &Report) {
    for table in &report.tables {
        let name = printable(&table.table);
        for unchecked in &table.not_independent {
            let (column, why) = (printable(&unchecked.column), printable(&unchecked.why));
            let _ = writeln!(text, "not independent: {name}.{column}: {why}");
        }
        if table.not_decoded > 0 {
            let count = thousands(table.not_decoded);
            let _ = writeln!(
                text,
                "not independent: {count} documents of {name} cannot be decoded whole"
            );
        }
    }
}

/// How much was compared and how much differs, in a sentence.
pub(super) fn verdict(report: &Report) -> String {
    let rows: u64 = report.tables.iter().map(|table| table.target).sum();
    let pairs: u64 = report.junctions.iter().map(|junction| junction.target).sum();
    let took = duration(Duration::from_secs_f64(report.seconds.max(0.0)));
    let style = if report.clean { GOOD } else { BAD };
    let verdict = match report.differences() {
        0 => "nothing differs".to_owned(),
        count => counted(count, "difference", "differences"),
    };
    let orphans = match report.orphans() {
        0 => String::new(),
        1 => ", 1 reference points to nothing".to_owned(),
        count => format!(", {} references point to nothing", thousands(count)),
    };
    let verdict = format!("{style}{verdict}{orphans}{style:#}");
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
        "validated: {} rows and {} pairs compared with the source in {took}: {verdict}",
        thousands(rows),
        thousands(pairs),
    )
}

/// What a repair has done, in lines.
fn repaired(repaired: &Repaired) -> String {
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
        let _ = writeln!(text, "  {}", printable(left));
    }
    if !repaired.balanced {
        text.push_str("the sums of the runs do not hold any more; `migrate rejects list` and the state's tables show what they are made of\n");
    }
    text.push('\n');
    text
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

/// A name or a value within a line.
fn printable(text: &str) -> String {
    printer::printable(&printer::one_line(text)).into_owned()
}

fn shorten(text: &str) -> String {
    const MOST_CHARS: usize = 60;
    let mut short: String = text.chars().take(MOST_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn quoted(text: &str) -> String {
    format!("{:?}", shorten(text))
}

#[cfg(test)]
mod tests {
    use migrate_core::validate::{CellDifference, Named, RowDifference, StructureDifference};

    use super::*;

    fn cell(number: u64) -> CellDifference {
        CellDifference {
            key: format!("key-{number}"),
            source_id: format!("id-{number}"),
            column: "title".to_owned(),
            source: Some("a\u{1b}[31m".to_owned()),
            target: None,
        }
    }

    fn report() -> Report {
        let few = TableReport {
            table: "Few".to_owned(),
            source: 3,
            target: 2,
            counts_hold: false,
            missing: Named {
                count: 1,
                first: vec![RowDifference { key: "k".to_owned(), source_id: "s".to_owned() }],
            },
            ..TableReport::default()
        };
        let many = TableReport {
            table: "Many".to_owned(),
            source: 1_000,
            target: 1_000,
            counts_hold: true,
            cells: Named { count: 1_500, first: (0..1_000).map(cell).collect() },
            ..TableReport::default()
        };
        let clean =
            TableReport { table: "Clean".to_owned(), counts_hold: true, ..Default::default() };
        Report {
            tables: vec![clean, few, many],
            structure: vec![StructureDifference {
                object: "Few".to_owned(),
                expected: Some("index (a)".to_owned()),
                found: None,
            }],
            ..Report::default()
        }
    }

    #[test]
    fn the_worst_come_first_and_no_table_fills_the_screen() {
        let text = anstream::adapter::strip_str(&text(&report(), Path::new("files/report.json")))
            .to_string();
        let headings: Vec<&str> = text
            .lines()
            .filter(|line| line.ends_with("differences") || line.ends_with(": 1 difference"))
            .collect();
        assert_eq!(
            headings[..3],
            ["Many: 1,500 differences", "Few: 2 differences", "schema: 1 difference"],
            "{text}"
        );
        assert_eq!(text.matches("  differs  ").count(), MOST_SHOWN, "{text}");
        assert!(text.contains("\n  … 1,480 more, see files/report.json\n"), "{text}");
        assert!(
            text.contains(
                "  differs  key-0   document id-0   title  source \"a\\u{1b}[31m\"  target NULL\n"
            ),
            "{text}"
        );
        assert!(text.contains("  missing  k  document s\n"), "{text}");
        assert!(text.contains("  Few  expected index (a)  found nothing\n"), "{text}");
        let sums = text.split("missing  extra").nth(1).unwrap();
        let order: Vec<&str> =
            sums.lines().skip(1).take(3).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(order, ["Many", "Few", "Clean"], "{text}");
        assert!(sums.contains("does not add up"), "{text}");
    }

    #[test]
    fn columns_are_aligned_with_colours_as_without() {
        let coloured = text(&report(), Path::new("r"));
        assert!(coloured.contains("\u{1b}["));
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        let ends: Vec<usize> = plain
            .lines()
            .skip_while(|line| !line.starts_with("table "))
            .take(4)
            .map(|line| line.trim_end_matches("  does not add up").trim_end().chars().count())
            .collect();
        assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}\n{plain}");
    }
}
