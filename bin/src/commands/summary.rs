//! The end of a run as text: what became of every document, and where to look.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use migrate_core::rejects::{self, Group, Pattern};
use migrate_core::summary::{Summary, TableSummary};

use crate::reporter::rate::{bytes, duration, thousands};

/// How many tables are named as the slowest.
const SLOWEST: usize = 5;
/// How many lines the lists of rejects and unknown fields have at most.
const LONGEST_LIST: usize = 20;

/// What the summary is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A run that one process made.
    Whole,
    /// A run that went on where an earlier process had stopped.
    Resumed,
    /// A run that only looked: junctions are settled in the target, so it knows nothing of them.
    Dry,
}

/// The summary for a person, without a line break at its end.
pub(super) fn text(summary: &Summary, kind: Kind) -> String {
    let mut text = String::new();
    tables(&mut text, summary);
    if kind != Kind::Dry {
        junctions(&mut text, summary);
    }
    slowest(&mut text, summary);
    rejects(&mut text, summary);
    strangers(&mut text, summary);
    replaced(&mut text, summary);
    balance(&mut text, summary, kind);
    let took = duration(Duration::from_secs_f64(summary.seconds.max(0.0)));
    let rate = || thousands((summary.totals.read as f64 / summary.seconds.max(0.001)) as u64);
    let size = bytes(summary.totals.bytes);
    let run = summary.run;
    let _ = match kind {
        Kind::Whole => {
            writeln!(text, "\nrun {run} took {took}: {} documents per second, {size}", rate())
        }
        // The counts are of the whole run, the time is of this process alone.
        Kind::Resumed => writeln!(text, "\nrun {run} is complete; its last part took {took}"),
        Kind::Dry => {
            writeln!(text, "\nthe dry run took {took}: {} documents per second, {size}", rate())
        }
    };
    text.trim_end().to_owned()
}

fn tables(text: &mut String, summary: &Summary) {
    let skips = summary.totals.skipped > 0;
    let mut grid = Grid::new(&["table", "read", "loaded", "rejected", "orphans", "seconds"]);
    if skips {
        grid.head.insert(4, "skipped".to_owned());
    }
    for table in &summary.tables {
        let mut row = vec![
            shorten_name(&table.table),
            thousands(table.read),
            thousands(table.loaded),
            thousands(table.rejected),
            thousands(table.orphans.values().sum()),
            format!("{:.1}", table.seconds),
        ];
        if skips {
            row.insert(4, thousands(table.skipped));
        }
        grid.rows.push(row);
    }
    let totals = &summary.totals;
    let mut row = vec![
        "all".to_owned(),
        thousands(totals.read),
        thousands(totals.loaded),
        thousands(totals.rejected),
        thousands(totals.orphans),
        format!("{:.1}", summary.tables.iter().map(|table| table.seconds).sum::<f64>()),
    ];
    if skips {
        row.insert(4, thousands(totals.skipped));
    }
    grid.rows.push(row);
    grid.write(text);
}

fn junctions(text: &mut String, summary: &Summary) {
    if summary.junctions.is_empty() {
        return;
    }
    let mut grid = Grid::new(&["junction", "elements", "rows", "duplicates", "orphans"]);
    for junction in &summary.junctions {
        grid.rows.push(vec![
            shorten_name(&junction.table),
            thousands(junction.elements),
            thousands(junction.inserted),
            thousands(junction.duplicates),
            thousands(junction.orphans),
        ]);
    }
    let totals = &summary.totals;
    grid.rows.push(vec![
        "all".to_owned(),
        thousands(totals.junction_elements),
        thousands(totals.junction_inserted),
        thousands(totals.junction_duplicates),
        thousands(totals.junction_orphans),
    ]);
    text.push('\n');
    grid.write(text);
}

fn slowest(text: &mut String, summary: &Summary) {
    let mut tables: Vec<&TableSummary> =
        summary.tables.iter().filter(|table| table.seconds >= 0.05).collect();
    tables.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    tables.truncate(SLOWEST);
    if tables.is_empty() {
        return;
    }
    text.push_str("\nslowest tables\n");
    let mut grid = Grid::new(&[]);
    for table in tables {
        grid.rows.push(vec![
            format!("  {}", shorten_name(&table.table)),
            format!("{:.1} s", table.seconds),
            format!("{} documents/s", thousands((table.read as f64 / table.seconds) as u64)),
            bytes(table.bytes),
        ]);
    }
    grid.write(text);
}

fn rejects(text: &mut String, summary: &Summary) {
    let mut reasons: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for table in &summary.tables {
        for (reason, count) in &table.rejected_by_reason {
            reasons.entry(reason).or_default().push((*count, &table.table));
        }
    }
    if reasons.is_empty() {
        return;
    }
    let total = |tables: &[(u64, &str)]| tables.iter().map(|(count, _)| count).sum::<u64>();
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, tables)| (Reverse(total(tables)), *reason));
    text.push_str("\nrejected by reason\n");
    let mut grid = Grid::new(&[]);
    for (reason, mut tables) in reasons {
        tables.sort_by_key(|(count, table)| (Reverse(*count), *table));
        let shown: Vec<String> = tables
            .iter()
            .take(4)
            .map(|(count, table)| format!("{table} {}", thousands(*count)))
            .collect();
        let more = match tables.len().saturating_sub(4) {
            0 => String::new(),
            more => format!(", {more} more"),
        };
        grid.rows.push(vec![
            format!("  {reason}"),
            thousands(total(&tables)),
            format!("{}{more}", shown.join(", ")),
        ]);
    }
    grid.write_with_text_last(text);
}

/// The groups that account for most rejects, and what to do to have them accepted;
/// nothing where there are no rejects.
pub(super) fn patterns(groups: &[Group]) -> String {
    let all: u64 = groups.iter().map(|group| group.count).sum();
    let mut text = String::new();
    let mut sum = 0;
    for Pattern { group, advice } in rejects::patterns(groups) {
        sum += group.count;
        let count = thousands(group.count);
        let _ = writeln!(text, "  {count} × {}", super::rejects::describe(&group));
        let _ = writeln!(text, "    to accept them: {advice}");
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "most rejects ({} of {}) are of these kinds\n{}",
        thousands(sum),
        thousands(all),
        text.trim_end()
    )
}

fn strangers(text: &mut String, summary: &Summary) {
    if !summary.collections_without_model.is_empty() {
        text.push_str("\ncollections without a model, not loaded\n");
        let mut grid = Grid::new(&[]);
        for (collection, documents) in &summary.collections_without_model {
            grid.rows
                .push(vec![format!("  {}", shorten_name(collection)), in_documents(*documents)]);
        }
        grid.write(text);
    }
    if !summary.models_without_collection.is_empty() {
        let names = summary.models_without_collection.join(", ");
        let _ = writeln!(text, "\nmodels whose collection the source does not have\n  {names}");
    }
    let unknown: Vec<_> = summary
        .tables
        .iter()
        .flat_map(|table| table.unknown_fields.iter().map(move |field| (table, field)))
        .collect();
    if unknown.is_empty() {
        return;
    }
    text.push_str("\nfields that no column takes\n");
    let mut grid = Grid::new(&[]);
    for (table, (name, field)) in unknown.iter().take(LONGEST_LIST) {
        grid.rows.push(vec![
            // Where models share a collection, which documents are meant.
            match summary.tables.iter().filter(|t| t.collection == table.collection).count() {
                1 => format!("  {}.{name}", table.collection),
                _ => format!("  {}.{name} of {}", table.collection, table.table),
            },
            in_documents(field.documents),
            format!("as in {}", field.example),
        ]);
    }
    grid.write_with_text_last(text);
    if unknown.len() > LONGEST_LIST {
        let _ = writeln!(text, "  and {} more in `--summary`", unknown.len() - LONGEST_LIST);
    }
}

/// Values that columns did not take and that became something else, as the model says.
fn replaced(text: &mut String, summary: &Summary) {
    let replaced: Vec<_> = summary
        .tables
        .iter()
        .flat_map(|table| table.replaced.iter().map(move |values| (table, values)))
        .collect();
    if replaced.is_empty() {
        return;
    }
    text.push_str("\nvalues replaced, as the models say\n");
    let mut grid = Grid::new(&[]);
    for (table, (column, values)) in replaced.iter().take(LONGEST_LIST) {
        let parts = [
            (values.null, "became NULL"),
            (values.default, "became the default"),
            (values.other, "became the label for unknown ones"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", thousands(count)))
            .collect();
        grid.rows.push(vec![
            format!("  {}.{column}", table.table),
            parts.join(", "),
            format!("as in {}: {}", values.example, values.message),
        ]);
    }
    grid.write_with_text_last(text);
    if replaced.len() > LONGEST_LIST {
        let _ = writeln!(text, "  and {} more in `--summary`", replaced.len() - LONGEST_LIST);
    }
}

fn in_documents(count: u64) -> String {
    format!("{} {}", thousands(count), if count == 1 { "document" } else { "documents" })
}

fn balance(text: &mut String, summary: &Summary, kind: Kind) {
    let totals = &summary.totals;
    let skipped = match totals.skipped {
        0 => String::new(),
        skipped => format!(" + {} skipped", thousands(skipped)),
    };
    let _ = writeln!(
        text,
        "\nbalance: {} documents read = {} loaded + {} rejected{skipped}",
        thousands(totals.read),
        thousands(totals.loaded),
        thousands(totals.rejected),
    );
    if !summary.junctions.is_empty() && kind != Kind::Dry {
        let _ = writeln!(
            text,
            "         {} junction elements = {} rows + {} duplicates + {} orphans",
            thousands(totals.junction_elements),
            thousands(totals.junction_inserted),
            thousands(totals.junction_duplicates),
            thousands(totals.junction_orphans),
        );
    }
    let unbalanced: Vec<&str> = (summary.tables.iter().filter(|table| !table.balanced))
        .map(|table| table.table.as_str())
        .chain(
            (summary.junctions.iter().filter(|table| !table.balanced))
                .map(|table| table.table.as_str()),
        )
        .collect();
    if summary.balanced {
        text.push_str("         every sum holds\n");
    } else {
        let _ = writeln!(text, "         DOES NOT HOLD for {}", unbalanced.join(", "));
    }
}

/// A name that does not push the columns behind it out of sight; its end tells names apart.
pub(super) fn shorten_name(name: &str) -> String {
    const MOST_CHARS: usize = 48;
    let count = name.chars().count();
    if count <= MOST_CHARS {
        return name.to_owned();
    }
    let head: String = name.chars().take(MOST_CHARS / 2).collect();
    let tail: String = name.chars().skip(count - (MOST_CHARS / 2 - 1)).collect();
    format!("{head}…{tail}")
}

/// How many places a text takes, its colours not counted.
fn width(text: &str) -> usize {
    let mut count = 0;
    let mut in_style = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => in_style = true,
            'm' if in_style => in_style = false,
            _ if in_style => {}
            _ => count += 1,
        }
    }
    count
}

/// Text in columns: the first to the left, the others to the right.
pub(super) struct Grid {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Grid {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|text| (*text).to_owned()).collect(), rows: Vec::new() }
    }

    pub(super) fn write(&self, text: &mut String) {
        self.write_columns(text, usize::MAX);
    }

    pub(super) fn write_with_text_last(&self, text: &mut String) {
        let last = self.rows.first().map_or(0, |row| row.len().saturating_sub(1));
        self.write_columns(text, last);
    }

    /// All columns to the left.
    pub(super) fn write_left(&self, text: &mut String) {
        self.write_columns(text, 0);
    }

    fn write_columns(&self, text: &mut String, left: usize) {
        let lines =
            || Some(&self.head).filter(|head| !head.is_empty()).into_iter().chain(&self.rows);
        let columns = lines().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                lines()
                    .filter_map(|line| line.get(column))
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        for line in lines() {
            let mut out = String::new();
            for (column, cell) in line.iter().enumerate() {
                let free = " ".repeat(widths[column].saturating_sub(width(cell)));
                let gap = if column == 0 { "" } else { "  " };
                let _ = match column {
                    0 => write!(out, "{cell}{free}"),
                    _ if column >= left => write!(out, "{gap}{cell}{free}"),
                    _ => write!(out, "{gap}{free}{cell}"),
                };
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use migrate_core::summary::{JunctionSummary, ReplacedValues, UnknownField};

    use super::*;

    #[test]
    fn patterns_are_the_groups_that_most_rejects_belong_to() {
        let group = |count, reason: &str| Group {
            table: "Tasks".to_owned(),
            field: "state".to_owned(),
            reason: reason.to_owned(),
            message: "expected a label".to_owned(),
            count,
            examples: Vec::new(),
        };
        assert_eq!(patterns(&[]), "");
        let groups = [group(1_700, "label"), group(200, "nul"), group(100, "type")];
        assert_eq!(
            patterns(&groups),
            "most rejects (1,700 of 2,000) are of these kinds
  1,700 × Tasks.state: expected a label
    to accept them: add the label to the enum, replace it with `#[migrate(map(..))]`, or mark a variant `other` that takes unknown ones"
        );
        let even: Vec<Group> = (0..9).map(|_| group(1, "type")).collect();
        assert_eq!(patterns(&even).matches('×').count(), 5);
    }

    #[test]
    fn a_summary_reads_well() {
        let table = |name: &str, read, loaded, rejected, seconds| TableSummary {
            model: name.to_owned(),
            collection: name.to_owned(),
            table: name.to_owned(),
            read,
            loaded,
            rejected,
            seconds,
            bytes: read * 1000,
            ..TableSummary::default()
        };
        let mut users = table("Users", 1200, 1199, 1, 0.25);
        users.rejected_by_reason.insert("duplicate".to_owned(), 1);
        let mut tasks = table("Tasks", 30, 25, 4, 0.01);
        tasks.orphans.insert("user".to_owned(), 2);
        tasks.rejected_by_reason.insert("type".to_owned(), 3);
        tasks.rejected_by_reason.insert("duplicate".to_owned(), 1);
        let example = UnknownField { documents: 7, example: "507f1f77bcf86cd799439011".to_owned() };
        tasks.unknown_fields.insert("legacy".to_owned(), example);
        let values = ReplacedValues {
            null: 1200,
            other: 3,
            example: "507f1f77bcf86cd799439011".to_owned(),
            message: "expected int4, found string \"many\"".to_owned(),
            ..ReplacedValues::default()
        };
        tasks.replaced.insert("count".to_owned(), values);
        let mut summary = Summary {
            run: 1,
            tables: vec![users, tasks],
            junctions: vec![JunctionSummary {
                table: "DocumentsToTasks".to_owned(),
                elements: 10,
                inserted: 7,
                duplicates: 2,
                orphans: 1,
                ..JunctionSummary::default()
            }],
            collections_without_model: [("sessions".to_owned(), 44)].into(),
            seconds: 0.5,
            ..Summary::default()
        };
        summary.finish();
        assert_eq!(
            text(&summary, Kind::Whole),
            "\
table   read  loaded  rejected  orphans  seconds
Users  1,200   1,199         1        0      0.2
Tasks     30      25         4        2      0.0
all    1,230   1,224         5        2      0.3

junction          elements  rows  duplicates  orphans
DocumentsToTasks        10     7           2        1
all                     10     7           2        1

slowest tables
  Users  0.2 s  4,800 documents/s  1.1 MiB

rejected by reason
  type       3  Tasks 3
  duplicate  2  Tasks 1, Users 1

collections without a model, not loaded
  sessions  44 documents

fields that no column takes
  Tasks.legacy  7 documents  as in 507f1f77bcf86cd799439011

values replaced, as the models say
  Tasks.count  1,200 became NULL, 3 became the label for unknown ones  as in 507f1f77bcf86cd799439011: expected int4, found string \"many\"

balance: 1,230 documents read = 1,224 loaded + 5 rejected
         10 junction elements = 7 rows + 2 duplicates + 1 orphans
         DOES NOT HOLD for Tasks

run 1 took 0.5s: 2,460 documents per second, 1.2 MiB"
        );
        let dry = text(&summary, Kind::Dry);
        assert!(!dry.contains("junction"), "{dry}");
        assert!(dry.ends_with("\nthe dry run took 0.5s: 2,460 documents per second, 1.2 MiB"));
    }
}
