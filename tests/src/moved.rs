//! Documents moved into a fresh database by any registry, and what is then there.

use std::collections::BTreeMap;
use std::sync::Arc;

use migrate_core::event::Silent;
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::RegistryFacts;
use migrate_core::source::Source;
use migrate_core::summary::Summary;
use migrate_core::validate::{Report, Request, validate};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use crate::servers;

/// A finished run: its sums, its target, and what validation says of it.
#[derive(Debug)]
pub struct Moved {
    /// The sums of the run, which hold.
    pub summary: Summary,
    /// What validation found.
    pub report: Report,
    /// The address of the target.
    pub target: String,
    connection: PgConnection,
}

/// Moves a source into a fresh database and validates it; `None` where there is no PostgreSQL.
///
/// # Panics
/// When the run fails, its sums do not hold, or validation finds a difference.
pub async fn moved(registry: &'static RegistryFacts, source: Arc<dyn Source>) -> Option<Moved> {
    let target = servers::database(servers::NEWEST)?;
    let summary = load(registry, &target, Arc::clone(&source), &Options::default()).await;
    assert!(summary.balanced, "{summary:?}");
    let report = compare(registry, &target, Arc::clone(&source), &Request::default()).await;
    assert_eq!(report.differences(), 0, "{report:?}");
    // And so says whoever has never heard of the transformer.
    let request = Request { independent: true, ..Request::default() };
    let second = compare(registry, &target, source, &request).await;
    assert_eq!(second.differences(), 0, "{second:#?}");
    let connection = PgConnection::connect(&target).await.expect("the target answers");
    Some(Moved { summary, report, target, connection })
}

/// Runs a migration into a target.
///
/// # Panics
/// When the run fails.
pub async fn load(
    registry: &'static RegistryFacts,
    target: &str,
    source: Arc<dyn Source>,
    options: &Options,
) -> Summary {
    run(registry, source, target, options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// Validates a target.
///
/// # Panics
/// When that fails; differences are in the report.
pub async fn compare(
    registry: &'static RegistryFacts,
    target: &str,
    source: Arc<dyn Source>,
    request: &Request,
) -> Report {
    let (options, stop) = (Options::default(), Stop::default());
    validate(registry, source, target, &options, request, Arc::new(Silent), &stop)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// The rows of a query of one column as texts.
///
/// # Panics
/// When the target refuses it.
pub async fn texts(target: &str, sql: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(target).await.expect("the target answers");
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await;
    rows.unwrap_or_else(|error| panic!("{error}")).iter().map(|row| row.get(0)).collect()
}

/// Read, loaded, rejected and skipped of each table.
///
/// # Panics
/// When the sums do not hold.
pub fn sums(summary: &Summary) -> BTreeMap<&str, [u64; 4]> {
    assert!(summary.balanced, "{summary:#?}");
    let sums = summary.tables.iter().map(|table| {
        (table.table.as_str(), [table.read, table.loaded, table.rejected, table.skipped])
    });
    sums.collect()
}

impl Moved {
    /// The rows of a query as JSON objects.
    ///
    /// # Panics
    /// When the target refuses it.
    pub async fn rows(&mut self, sql: &str) -> Vec<Value> {
        let sql = format!("SELECT to_jsonb(moved)::text FROM ({sql}) AS moved");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        rows.iter()
            .map(|row| serde_json::from_str(row.get(0)).expect("PostgreSQL writes JSON"))
            .collect()
    }

    /// The rows of a query of one column as texts.
    ///
    /// # Panics
    /// When the target refuses it.
    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The number that a query of one count gives.
    ///
    /// # Panics
    /// When the target refuses it.
    pub async fn count(&mut self, sql: &str) -> i64 {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.connection).await;
        row.unwrap_or_else(|error| panic!("{error}")).get(0)
    }

    /// What the target says to a statement that it must refuse.
    ///
    /// # Panics
    /// When it does not.
    pub async fn refused(&mut self, sql: &str) -> String {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        match done {
            Ok(_) => panic!("the target takes {sql}"),
            Err(error) => error.to_string(),
        }
    }

    /// The ledger: `_id`, reason, field and message of each reject, in order.
    ///
    /// # Panics
    /// When the target has none.
    pub async fn rejects(&mut self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws(' | ', source_id, reason, field, message) COLLATE \"C\"
             FROM migrate.reject ORDER BY 1",
        )
        .await
    }
}
