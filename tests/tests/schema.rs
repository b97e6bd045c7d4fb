//! The schema that the models make equals the facts of NextCRM, as PostgreSQL's own catalogue
//! tells it: names, types, nullability, defaults, keys, indexes, delete rules, enum labels.

use std::collections::BTreeSet;

use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::run::Options;
use migrate_core::schema::Registry;
use migrate_tests::facts::{Column, Facts};
use migrate_tests::{runs, servers};
use models::NextCrm;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_equals_the_facts() {
    let facts = Facts::nextcrm();
    let plan = Plan { seed: 3, scale: 0.02, dirty: 0.0 };
    let folder = tempfile::tempdir().unwrap();
    to_dump(&Generator::new(NextCrm::FACTS, plan), folder.path(), false).unwrap();
    for version in servers::VERSIONS {
        let Some(target) = servers::database(version) else { continue };
        runs::migrate(folder.path().to_str().unwrap(), &target, &Options::default()).await;
        let mut connection = PgConnection::connect(&target).await.unwrap();
        assert_eq!(columns(&mut connection).await, expected_columns(&facts), "{version}");
        assert_eq!(indexes(&mut connection).await, expected_indexes(&facts), "{version}");
        assert_eq!(references(&mut connection).await, expected_references(&facts), "{version}");
        assert_eq!(enums(&mut connection).await, expected_enums(&facts), "{version}");
    }
}

/// Runs a query of text columns and joins each row with blanks.
async fn lines(connection: &mut PgConnection, sql: &str) -> BTreeSet<String> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    let count = rows.len();
    let lines: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = (0..row.len()).map(|index| row.get(index)).collect();
            cells.join(" ")
        })
        .collect();
    assert_eq!(lines.len(), count, "the same twice: {sql}");
    lines
}

async fn columns(connection: &mut PgConnection) -> BTreeSet<String> {
    let sql = "SELECT c.relname::text, a.attnum::text, a.attname::text,
            format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END,
            coalesce('default ' || pg_get_expr(d.adbin, d.adrelid), '')
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped";
    lines(connection, sql).await
}

fn expected_columns(facts: &Facts) -> BTreeSet<String> {
    let tables = facts.tables.iter().map(|table| (&table.name, table.columns().collect()));
    let junctions =
        facts.junctions.iter().map(|junction| (&junction.name, junction.full.iter().collect()));
    let all: Vec<(&String, Vec<&Column>)> = tables.chain(junctions).collect();
    all.into_iter()
        .flat_map(|(table, columns)| {
            columns.into_iter().enumerate().map(move |(position, column)| {
                let ty = catalogue_type(&column.pg_type);
                let null = if column.nullable { "null" } else { "not null" };
                let default = match column.default.as_str() {
                    "" => String::new(),
                    "uuid()" => "default gen_random_uuid()".to_owned(),
                    "now()" => "default CURRENT_TIMESTAMP".to_owned(),
                    literal => match column.pg_type.as_str() {
                        "text" => format!("default '{}'::text", literal.trim_matches('"')),
                        "bool" | "int4" | "int8" => format!("default {literal}"),
                        _ => format!("default '{literal}'::{ty}"),
                    },
                };
                format!("{table} {} {} {ty} {null} {default}", position + 1, column.name)
            })
        })
        .collect()
}

fn catalogue_type(pg_type: &str) -> String {
    match pg_type {
        "int4" => "integer".to_owned(),
        "int8" => "bigint".to_owned(),
        "bool" => "boolean".to_owned(),
        "timestamp(3)" => "timestamp(3) without time zone".to_owned(),
        other => match other.strip_prefix("enum ") {
            Some(name) => format!("\"{name}\""),
            None => other.to_owned(),
        },
    }
}

async fn indexes(connection: &mut PgConnection) -> BTreeSet<String> {
    let sql = "SELECT c.relname::text,
            CASE WHEN i.indisprimary THEN 'primary key' WHEN i.indisunique THEN 'unique'
                ELSE 'index' END,
            (SELECT string_agg(a.attname, ', ' ORDER BY k.position)
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum)
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
        WHERE i.indisvalid AND i.indpred IS NULL";
    lines(connection, sql).await
}

fn expected_indexes(facts: &Facts) -> BTreeSet<String> {
    let mut indexes = BTreeSet::new();
    for (table, columns) in &facts.indexes {
        indexes.insert(format!("{table} index {}", columns.join(", ")));
    }
    for table in &facts.tables {
        for column in table.columns() {
            if column.primary_key {
                indexes.insert(format!("{} primary key {}", table.name, column.name));
            }
            if column.unique {
                indexes.insert(format!("{} unique {}", table.name, column.name));
            }
        }
    }
    for junction in &facts.junctions {
        let [(first, _), (second, _)] = &junction.columns;
        indexes.insert(format!("{} primary key {first}, {second}", junction.name));
    }
    indexes
}

async fn references(connection: &mut PgConnection) -> BTreeSet<String> {
    let sql = "SELECT c.relname::text, a.attname::text, t.relname::text, b.attname::text,
            CASE k.confdeltype WHEN 'c' THEN 'cascade' WHEN 'a' THEN 'no action'
                ELSE k.confdeltype::text END
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_class t ON t.oid = k.confrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]
        WHERE k.contype = 'f' AND k.convalidated AND cardinality(k.conkey) = 1";
    lines(connection, sql).await
}

fn expected_references(facts: &Facts) -> BTreeSet<String> {
    let tables = facts
        .tables
        .iter()
        .flat_map(|table| table.columns().map(move |column| (&table.name, column)));
    let junctions = facts
        .junctions
        .iter()
        .flat_map(|junction| junction.full.iter().map(move |column| (&junction.name, column)));
    tables
        .chain(junctions)
        .filter_map(|(table, column)| {
            let (target, cascade) = column.reference.as_ref()?;
            let rule = if *cascade { "cascade" } else { "no action" };
            Some(format!("{table} {} {target} id {rule}", column.name))
        })
        .collect()
}

async fn enums(connection: &mut PgConnection) -> BTreeSet<String> {
    let sql = "SELECT t.typname::text, string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
        FROM pg_type t
        JOIN pg_enum e ON e.enumtypid = t.oid
        JOIN pg_namespace n ON n.oid = t.typnamespace AND n.nspname = 'public'
        GROUP BY t.oid, t.typname";
    lines(connection, sql).await
}

fn expected_enums(facts: &Facts) -> BTreeSet<String> {
    facts.enums.iter().map(|(name, labels)| format!("{name} {}", labels.join(","))).collect()
}
