//! The end state of a run in a form that two runs can be compared by: rows, definitions, ledger
//! and sums, without what may differ from run to run (times, and the run's own number).

use std::collections::BTreeMap;

use migrate_core::summary::Summary;
use migrate_servers::Postgres;

/// The lines of each part by the part's name.
pub type EndState = BTreeMap<String, Vec<String>>;

/// Everything that a run leaves in `database`.
///
/// # Panics
/// When the server refuses the query.
pub fn end_state(server: &Postgres, database: &str) -> EndState {
    let query = |sql: &str| {
        server.query(database, sql).unwrap_or_else(|error| {
            panic!("{sql}: {error}: {:?}", std::error::Error::source(&error))
        })
    };
    // For each table a query for the number of its rows and a checksum over them.
    let tables = query(
        "SELECT format('SELECT %L, concat(count(*), '' '',
                md5(string_agg(md5(t::text), NULL ORDER BY md5(t::text)))) FROM %s t',
            'rows of ' || relname, oid::regclass)
         FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    );
    // One statement is one connection, whose log-in costs more than the rest.
    let sql: Vec<String> = PARTS
        .iter()
        .map(|(part, sql)| format!("SELECT '{part}', part::text FROM ({sql}) part"))
        .chain(["SELECT 'summary', summary::text FROM migrate.run".to_owned()])
        .chain(tables.into_iter().flatten().flatten())
        .collect();
    let rows = query(&sql.join(" UNION ALL "));
    let mut state = EndState::new();
    for row in rows {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let (part, line) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let lines = state.entry(part.clone()).or_default();
        match part.as_str() {
            "summary" => lines.extend(comparable(&line)),
            _ => lines.push(line),
        }
    }
    for lines in state.values_mut() {
        lines.sort();
    }
    state
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
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0",
    ),
    ("indexes", "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"),
    (
        "constraints",
        "SELECT conrelid::regclass, conname, contype, convalidated, condeferrable,
            pg_get_constraintdef(oid)
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
    ),
    (
        "rejects",
        "SELECT table_name, source_id, stage, reason, field, message, md5(document)
         FROM migrate.reject",
    ),
    ("orphans", "SELECT table_name, column_name, row_key, value, element FROM migrate.orphan"),
    ("ids", "SELECT collection, source_id, id FROM migrate.id_map"),
    (
        "staging tables",
        "SELECT relname FROM pg_class WHERE relnamespace = 'migrate'::regnamespace
            AND relname LIKE 'stage\\_%'",
    ),
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
        // Which document is the example is open: it is the first that is read.
        "SELECT model, chunk, read, loaded, rejected, skipped, bytes, elements,
            (SELECT jsonb_object_agg(key, value - 'example') FROM jsonb_each(unknown)),
            (SELECT jsonb_object_agg(key, value - '{example,message}'::text[])
             FROM jsonb_each(replaced))
         FROM migrate.chunk",
    ),
];

fn comparable(json: &str) -> Vec<String> {
    let Ok(summary) = serde_json::from_str::<Summary>(json) else { return vec![json.to_owned()] };
    let mut lines: Vec<String> =
        summary.junctions.iter().map(|junction| format!("{junction:?}")).collect();
    for mut table in summary.tables {
        table.seconds = 0.0;
        table.unknown_fields.values_mut().for_each(|field| field.example.clear());
        for replaced in table.replaced.values_mut() {
            replaced.example.clear();
            replaced.message.clear();
        }
        lines.push(format!("{table:?}"));
    }
    lines.push(format!("{:?}", summary.totals));
    lines.push(format!("{:?}", summary.collections_without_model));
    lines.push(format!("{:?}", summary.models_without_collection));
    lines.push(format!("balanced: {}", summary.balanced));
    lines
}
