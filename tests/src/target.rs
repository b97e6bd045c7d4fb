//! Reads a target database into the oracle's form, with plain SQL and text results.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::facts::{Column, Facts};
use crate::oracle::{Database, Row, canonical_json};

/// Every row of every table and junction of the facts.
///
/// # Errors
/// When the server refuses a query, as for a table that is not there.
pub async fn load(facts: &Facts, connection: &mut PgConnection) -> sqlx::Result<Database> {
    let mut database = Database::default();
    for table in &facts.tables {
        let columns: Vec<&Column> = table.columns().collect();
        let list: Vec<String> = columns.iter().map(|column| as_text(column)).collect();
        let sql = format!("SELECT {} FROM \"{}\"", list.join(", "), table.name);
        let mut rows = BTreeMap::new();
        for found in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await? {
            let mut row = Row::new();
            for (position, column) in columns.iter().enumerate() {
                let mut cell: Option<String> = found.try_get(position)?;
                if is_json(column) {
                    cell = cell.map(|text| canonical_json(&text));
                }
                row.insert(column.name.clone(), cell);
            }
            let key = row["id"].clone().unwrap_or_default();
            rows.insert(key, row);
        }
        database.tables.insert(table.name.clone(), rows);
    }
    for junction in &facts.junctions {
        let [(first, _), (second, _)] = &junction.columns;
        let sql = format!("SELECT {first}::text, {second}::text FROM \"{}\"", junction.name);
        let mut pairs = BTreeSet::new();
        for found in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await? {
            pairs.insert((found.try_get(0)?, found.try_get(1)?));
        }
        database.junctions.insert(junction.name.clone(), pairs);
    }
    Ok(database)
}

fn is_json(column: &Column) -> bool {
    column.pg_type == "jsonb" || column.pg_type.ends_with("[]")
}

/// The expression whose text is the cell in the oracle's form.
fn as_text(column: &Column) -> String {
    let name = format!("\"{}\"", column.name);
    match column.pg_type.as_str() {
        "timestamp(3)" => {
            format!("trim_scale((extract(epoch FROM {name}) * 1000)::numeric)::text")
        }
        ty if ty.ends_with("[]") => format!("to_json({name})::text"),
        _ => format!("{name}::text"),
    }
}
