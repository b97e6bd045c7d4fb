//! The end state of a run in a form that two runs can be compared by: rows, definitions, ledger
//! and sums, without what may differ from run to run (times, and the run's own number).

use std::collections::BTreeMap;

use migrate_core::summary::Summary;
use migrate_servers::{Postgres, Row};

/// The lines of each part by the part's name.
pub type EndState = BTreeMap<String, Vec<String>>;

/// Everything that a run leaves in `database`.
///
/// # Panics
/// When the server refuses a query.
pub fn end_state(server: &Postgres, database: &str) -> EndState {
    let mut state = rows(server, database);
    for (part, sql) in PARTS {
        state.insert((*part).to_owned(), lines(query(server, database, sql)));
    }
    let sql = "SELECT summary::text FROM migrate.run ORDER BY run";
    let summaries = query(server, database, sql).into_iter().flat_map(|row| {
        let text = row.into_iter().next().flatten().unwrap_or_default();
        serde_json::from_str(&text).map_or(vec![text], comparable)
    });
    state.insert("summary".to_owned(), summaries.collect());
    state
}

/// The number of rows of each table in `public`, with a checksum over them.
///
/// # Panics
/// When the server refuses a query.
pub fn rows(server: &Postgres, database: &str) -> EndState {
    let tables = query(
        server,
        database,
        "SELECT quote_ident(relname) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    );
    let sums: Vec<String> = lines(tables)
        .into_iter()
        .map(|table| {
            format!(
                "SELECT '{table}', count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text)))
                 FROM {table} t"
            )
        })
        .collect();
    let found = query(server, database, &sums.join(" UNION ALL "));
    found.into_iter().map(|row| (text(&row[..1]), vec![text(&row[1..])])).collect()
}

/// What differs, a line each.
pub fn differences(expected: &EndState, found: &EndState) -> Vec<String> {
    let mut differences = Vec::new();
    for (part, expected) in expected {
        let none = Vec::new();
        let found = found.get(part).unwrap_or(&none);
        let missing = expected.iter().filter(|line| !found.contains(line));
        differences.extend(missing.map(|line| format!("{part}: missing: {line}")));
        let more = found.iter().filter(|line| !expected.contains(line));
        differences.extend(more.map(|line| format!("{part}: not expected: {line}")));
        if differences.is_empty() && expected.len() != found.len() {
            differences.push(format!("{part}: {} lines, not {}", found.len(), expected.len()));
        }
    }
    for part in found.keys().filter(|part| !expected.contains_key(*part)) {
        differences.push(format!("{part}: not expected"));
    }
    differences
}

/// Holds two end states against each other.
///
/// # Panics
/// When they differ; the message lists the differences.
#[track_caller]
pub fn assert_same(expected: &EndState, found: &EndState, what: &str) {
    let differences = differences(expected, found);
    assert!(
        differences.is_empty(),
        "{what}: {} differences:\n{}",
        differences.len(),
        differences.into_iter().take(30).collect::<Vec<_>>().join("\n")
    );
}

const PARTS: &[(&str, &str)] = &[
    (
        "columns",
        "SELECT attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod), attnotnull
         FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
         ORDER BY attrelid::regclass::text, attnum",
    ),
    ("indexes", "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"),
    (
        "constraints",
        "SELECT conrelid::regclass, conname, contype, convalidated, condeferrable,
            pg_get_constraintdef(oid)
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
         ORDER BY 1, 2",
    ),
    (
        "rejects",
        "SELECT table_name, source_id, stage, reason, field, message, md5(document)
         FROM migrate.reject ORDER BY 1, 2, 3, 4, 5, 6",
    ),
    (
        "orphans",
        "SELECT table_name, column_name, row_key, value, element
         FROM migrate.orphan ORDER BY 1, 2, 3, 4, 5",
    ),
    ("ids", "SELECT collection, source_id, id FROM migrate.id_map ORDER BY 1, 2, 3"),
    (
        "what is open",
        "SELECT (SELECT count(*) FROM migrate.run WHERE finished_at IS NULL),
            (SELECT count(*) FROM migrate.chunk WHERE NOT done),
            (SELECT count(*) FROM migrate.task WHERE NOT done),
            (SELECT count(*) FROM migrate.deferred_ddl WHERE NOT restored),
            (SELECT count(*) FROM migrate.late_reference)",
    ),
    (
        "chunks",
        "SELECT model, chunk, read, loaded, rejected, skipped, bytes, elements, unknown
         FROM migrate.chunk ORDER BY run, chunk",
    ),
];

fn comparable(summary: Summary) -> Vec<String> {
    let mut lines: Vec<String> =
        summary.junctions.iter().map(|junction| format!("{junction:?}")).collect();
    for mut table in summary.tables {
        table.seconds = 0.0;
        lines.push(format!("{table:?}"));
    }
    lines.push(format!("{:?}", summary.totals));
    lines.push(format!("{:?}", summary.collections_without_model));
    lines.push(format!("{:?}", summary.models_without_collection));
    lines.push(format!("balanced: {}", summary.balanced));
    lines
}

fn query(server: &Postgres, database: &str, sql: &str) -> Vec<Row> {
    server
        .query(database, sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", std::error::Error::source(&error)))
}

fn lines(rows: Vec<Row>) -> Vec<String> {
    rows.iter().map(|row| text(row)).collect()
}

fn text(row: &[Option<String>]) -> String {
    let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
    cells.join("|")
}
