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
    /// What is said before any difference: the sums that do not hold, and how many follow from the
    /// definitions.
    first: Vec<String>,
    /// How many differences `first` stands for.
    counted: u64,
    /// The first of the other differences, in cells.
    rows: Vec<Vec<String>>,
}

/// The whole text, with colours, without a line break at its end. `path` is where all of it is, unless it could not be written.
pub(super) fn text(report: &Report, path: Option<&Path>) -> String {
    let mut text = report.repaired.as_ref().map(repaired).unwrap_or_default();
    let mut parts: Vec<Part> = (report.tables.iter().map(table))
        .chain(report.junctions.iter().map(junction))
        .chain(report.references.iter().map(reference))
        .collect();
    parts.sort_by_key(|part| Reverse(part.count));
    // Rows may differ because of the definitions.
    parts.insert(0, structure(report));
    for part in parts.iter().filter(|part| part.count > 0) {
        let _ = writeln!(
            text,
            "{BAD}{}: {}{BAD:#}",
            printable(&part.name),
            counted(part.count, "difference", "differences")
        );
        for line in &part.first {
            let _ = writeln!(text, "  {line}");
        }
        let room = MOST_SHOWN.saturating_sub(part.first.len());
        let mut grid = Grid::new(&[]);
        for row in part.rows.iter().take(room) {
            let mut cells: Vec<String> = row.iter().map(|cell| printable(cell)).collect();
            cells[0].insert_str(0, "  ");
            grid.rows.push(cells);
        }
        grid.write_left(&mut text);
        let shown = part.rows.len().min(room) as u64 + part.counted;
        if part.count > shown {
            let left = thousands(part.count - shown);
            let see = path.map_or(String::new(), |path| format!(", see {}", path.display()));
            let _ = writeln!(text, "  {SOFT}… {left} more{see}{SOFT:#}");
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
    let mut first: Vec<String> = Vec::new();
    if !table.counts_hold {
        let before = match table.before {
            0 => String::new(),
            before => format!(", {} of them from before", thousands(before)),
        };
        let skipped = match table.skipped {
            0 => String::new(),
            skipped => format!(" and {} skipped", thousands(skipped)),
        };
        first.push(format!(
            "{} documents, but {} rows{before}, {} rejected{skipped}",
            thousands(table.source),
            thousands(table.target),
            thousands(table.rejected),
        ));
    }
    let mut counted_here = first.len() as u64;
    for column in &table.columns {
        let Some(cause) = &column.cause else { continue };
        let cells = counted(column.count, "cell", "cells");
        let name = printable(&column.column);
        first.push(format!("{cells} of {name}, because {}", printable(cause)));
        counted_here += column.count;
    }
    for column in table.columns.iter().filter(|column| column.unnoted > 0) {
        let (count, name) = (thousands(column.unnoted), printable(&column.column));
        first.push(format!(
            "{count} of {name}: NULL for pointing to nothing, without an entry in the ledger"
        ));
    }
    let others = table.columns.iter().filter(|column| column.cause.is_none());
    if table.cells.count > MOST_SHOWN as u64 && others.clone().count() > 1 {
        let counts: Vec<String> = others
            .clone()
            .map(|column| format!("{} of {}", thousands(column.count), printable(&column.column)))
            .collect();
        first.push(format!("cells: {}", counts.join(", ")));
    }
    let is_explained = |name: &str| {
        table.columns.iter().any(|column| column.column == name && column.cause.is_some())
    };
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
    for cell in table.cells.first.iter().filter(|cell| !is_explained(&cell.column)) {
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
    let (name, count) = (table.table.clone(), table.differences());
    Part { name, count, first, counted: counted_here, rows }
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
    let counted = u64::from(sums.is_some());
    let (name, first) = (junction.table.clone(), sums.into_iter().collect());
    Part { name, count, first, counted, rows }
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
        first: Vec::new(),
        counted: 0,
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
        first: Vec::new(),
        counted: 0,
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
pub(super) fn repaired(repaired: &Repaired) -> String {
    let mut text = match &repaired.failed {
        None => "repaired:".to_owned(),
        Some(_) => "repaired before it broke off:".to_owned(),
    };
    let whole = [
        repaired.inserted,
        repaired.replaced,
        repaired.deleted,
        repaired.rejected,
        repaired.pairs_inserted,
        repaired.pairs_deleted,
    ];
    text.push_str(&changes(whole));
    text.push('\n');
    for table in &repaired.tables {
        let counts = [
            table.inserted,
            table.replaced,
            table.deleted,
            table.rejected,
            table.pairs_inserted,
            table.pairs_deleted,
        ];
        let _ = writeln!(text, "  {}:{}", printable(&table.table), changes(counts));
    }
    for left in repaired.left.iter().take(MOST_SHOWN) {
        let _ = writeln!(text, "  {}", printable(left));
    }
    if !repaired.balanced && repaired.failed.is_none() {
        text.push_str("the sums of the runs do not hold any more; `migrate rejects list` and the state's tables show what they are made of\n");
    }
    text.push('\n');
    text
}

/// What was changed, as in ` 3 rows inserted, 1 pair deleted`, or that nothing was.
fn changes(counts: [u64; 6]) -> String {
    const WORDS: [(&str, &str, &str); 6] = [
        ("row", "rows", "inserted"),
        ("row", "rows", "replaced"),
        ("row", "rows", "deleted"),
        ("document", "documents", "rejected"),
        ("pair", "pairs", "inserted"),
        ("pair", "pairs", "deleted"),
    ];
    let changes: Vec<String> = WORDS
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|((one, many, what), count)| format!("{} {what}", counted(count, one, many)))
        .collect();
    match changes.is_empty() {
        true => " nothing".to_owned(),
        false => format!(" {}", changes.join(", ")),
    }
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
        let text =
            anstream::adapter::strip_str(&text(&report(), Some(Path::new("files/report.json"))))
                .to_string();
        let headings: Vec<&str> = text
            .lines()
            .filter(|line| line.ends_with("differences") || line.ends_with(": 1 difference"))
            .collect();
        assert_eq!(
            headings[..3],
            ["schema: 1 difference", "Many: 1,500 differences", "Few: 2 differences"],
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
        let coloured = text(&report(), Some(Path::new("r")));
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
