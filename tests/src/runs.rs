//! Runs of NextCRM's models in one call, and the comparison of a finished run with the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use migrate_core::event::Silent;
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::summary::Summary;
use models::NextCrm;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use crate::facts::Facts;
use crate::oracle::{Expected, Reject};
use crate::target;

/// Moves NextCRM from a source to a target.
///
/// # Panics
/// When the run fails.
pub async fn migrate(source: &str, target: &str, options: &Options) -> Summary {
    let source = migrate_core::source::open(source).await.expect("the source opens");
    run(NextCrm::FACTS, source, target, options, Arc::new(Silent), &Stop::default())
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// Holds a finished run against what the oracle expects: every row, every pair, every reject with
/// its reason, every sum.
///
/// # Panics
/// When anything differs; the message lists the differences.
pub async fn assert_as_expected(
    facts: &Facts,
    expected: &Expected,
    summary: &Summary,
    target: &str,
) {
    let mut connection = PgConnection::connect(target).await.expect("the target answers");
    let mut differences = rejects(expected, &mut connection).await;
    let found = target::load(facts, &mut connection).await.expect("the target has every table");
    differences.extend(expected.database.differences(&found));
    differences.extend(sums(facts, expected, summary));
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.into_iter().take(40).collect::<Vec<_>>().join("\n")
    );
}

async fn rejects(expected: &Expected, connection: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT table_name, source_id, reason, field, message FROM migrate.reject";
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.expect("the ledger");
    let mut found: BTreeMap<Reject, String> = rows
        .iter()
        .map(|row| {
            let field: String = row.get(3);
            let reject = Reject {
                table: row.get(0),
                source_id: row.get(1),
                reason: row.get(2),
                // The oracle names the field, the ledger the place inside it.
                field: field.split('.').next().unwrap_or_default().to_owned(),
            };
            (reject, row.get(4))
        })
        .collect();
    let mut differences = Vec::new();
    if found.len() != rows.len() {
        differences.push("the ledger has a document twice".to_owned());
    }
    for reject in &expected.rejects {
        if found.remove(reject).is_none() {
            differences.push(format!("should be rejected: {reject:?}"));
        }
    }
    for (reject, message) in found {
        differences.push(format!("should not be rejected: {reject:?}: {message}"));
    }
    differences
}

fn sums(facts: &Facts, expected: &Expected, summary: &Summary) -> Vec<String> {
    let mut differences = Vec::new();
    let mut same = |what: String, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        if expected != found {
            differences.push(format!("{what}: expected {expected}, found {found}"));
        }
    };
    same("balanced".to_owned(), &true, &summary.balanced);
    same("tables".to_owned(), &facts.tables.len(), &summary.tables.len());
    for table in &summary.tables {
        let name = &table.collection;
        let rejects = expected.rejects.iter().filter(|reject| reject.table == *name);
        let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
        for reject in rejects {
            *by_reason.entry(reject.reason.clone()).or_default() += 1;
        }
        let rejected: u64 = by_reason.values().sum();
        let orphans: BTreeMap<String, u64> = expected
            .orphans
            .iter()
            .filter(|((table, _), _)| table == name)
            .map(|((_, column), count)| (column.clone(), *count))
            .collect();
        let loaded = expected.database.tables.get(name).map_or(0, BTreeMap::len);
        let read = expected.read.get(name).copied().unwrap_or(0);
        same(format!("{name}: read"), &read, &table.read);
        same(format!("{name}: loaded"), &loaded, &table.loaded);
        same(format!("{name}: rejected"), &rejected, &table.rejected);
        same(format!("{name}: by reason"), &by_reason, &table.rejected_by_reason);
        same(format!("{name}: orphans"), &orphans, &table.orphans);
    }
    same("junctions".to_owned(), &facts.junctions.len(), &summary.junctions.len());
    for junction in &summary.junctions {
        let sums = expected.elements.get(&junction.table).copied().unwrap_or_default();
        let pairs = expected.database.junctions.get(&junction.table).map_or(0, |pairs| pairs.len());
        let name = &junction.table;
        same(format!("{name}: elements"), &sums.read, &junction.elements);
        same(format!("{name}: inserted"), &pairs, &junction.inserted);
        same(format!("{name}: duplicates"), &sums.duplicates, &junction.duplicates);
        same(format!("{name}: orphans"), &sums.orphans, &junction.orphans);
    }
    differences
}
