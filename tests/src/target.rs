//! Reads a target database into the oracle's form, with plain SQL and text results.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use migrate_core::validate::independent::SETTINGS;

use crate::facts::Facts;
use crate::oracle::{Database, Row, path};

/// Every row of every table and junction of the facts.
///
/// # Errors
/// When the server refuses a query, as for a table that is not there.
pub async fn load(facts: &Facts, connection: &mut PgConnection) -> sqlx::Result<Database> {
    let mut database = Database::default();
    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
    for table in &facts.tables {
        let path = path(&table.name);
        let columns = path.model().columns;
        let list: Vec<String> =
            columns.iter().map(|column| format!("\"{}\"::text", column.name)).collect();
        let sql = format!("SELECT {} FROM \"{}\"", list.join(", "), table.name);
        let mut rows = BTreeMap::new();
        for found in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await? {
            let mut row = Row::new();
            for (position, column) in columns.iter().enumerate() {
                let cell: Option<String> = found.try_get(position)?;
                let cell = cell.map(|text| path.found(position, &text));
                row.insert(column.name.to_owned(), cell);
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
