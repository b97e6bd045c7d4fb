//! `validate --repair`: what somebody has changed in the target is as it was afterwards, and
//! nothing else has moved, the notes of the state included; also when the repair is broken off
//! after any of its slices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Document, doc, oid::ObjectId};
use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::event::Silent;
use migrate_core::failpoint::FailPoints;
use migrate_core::run::{self, Options, Stop, UuidVersion};
use migrate_core::schema::{ModelKind, Registry, quote_ident};
use migrate_core::source::memory::MemorySource;
use migrate_core::validate::{BrokenOff, Repaired, Report, Request, Sample, repair, validate};
use migrate_core::{Error, ErrorKind, source};
use migrate_tests::end_state::{EndState, assert_same, end_state};
use migrate_tests::planted::changed;
use migrate_tests::servers;
use models::NextCrm;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

struct Loaded {
    folder: tempfile::TempDir,
    target: String,
    options: Options,
    connection: PgConnection,
}

/// NextCRM's dirty documents in a fresh database, on a connection that foreign keys do not hinder.
async fn loaded(seed: u64, uuid: UuidVersion) -> Loaded {
    let target = servers::database(servers::NEWEST).expect("a server");
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { seed, scale: 0.1, dirty: 0.1 };
    to_dump(&Generator::new(NextCrm::FACTS, plan), folder.path(), false).unwrap();
    let options = Options { uuid, ..Options::default() };
    let source = source::open(folder.path().to_str().unwrap()).await.unwrap();
    let stop = Stop::default();
    let summary =
        run::run(NextCrm::FACTS, source, &target, &options, Arc::new(Silent), &stop).await.unwrap();
    assert!(summary.balanced && summary.totals.rejected > 0 && summary.totals.orphans > 0);
    let mut connection = PgConnection::connect(&target).await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut connection).await.unwrap();
    Loaded { folder, target, options, connection }
}

impl Loaded {
    async fn execute(&mut self, sql: &str) -> u64 {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        done.unwrap_or_else(|error| panic!("{error}: {sql}")).rows_affected()
    }

    async fn texts(&mut self, sql: String) -> Vec<String> {
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn validate(&self) -> Report {
        self.validate_with(&Request::default()).await
    }

    async fn validate_with(&self, request: &Request) -> Report {
        let source = source::open(self.folder.path().to_str().unwrap()).await.unwrap();
        let (reporter, stop) = (Arc::new(Silent), Stop::default());
        validate(NextCrm::FACTS, source, &self.target, &self.options, request, reporter, &stop)
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    async fn repair(&self, options: &Options, agree: bool) -> Result<Report, BrokenOff> {
        let source = source::open(self.folder.path().to_str().unwrap()).await.unwrap();
        let (request, reporter, stop) = (Request::default(), Arc::new(Silent), Stop::default());
        let agree = move |_: &Report| agree;
        let (target, agree) = (&self.target, &agree);
        repair(NextCrm::FACTS, source, target, options, &request, reporter, &stop, agree).await
    }

    fn end_state(&self) -> EndState {
        let name = self.target.rsplit('/').next().unwrap();
        let name = name.split('?').next().unwrap();
        end_state(servers::postgres(servers::NEWEST).unwrap(), name)
    }

    /// All kinds of faults, in every table and junction; gives how many rows were changed.
    async fn plant(&mut self) -> u64 {
        let mut planted = 0;
        for (model, _) in NextCrm::FACTS.iter() {
            let table = quote_ident(model.table);
            if model.kind == ModelKind::Junction {
                let [first, second] = [0, 1].map(|side| quote_ident(model.columns[side].name));
                planted += self
                    .execute(&format!(
                        "DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table});
                         UPDATE {table} SET {first} = gen_random_uuid()
                         WHERE ctid = (SELECT max(ctid) FROM {table});
                         INSERT INTO {table} ({first}, {second})
                         SELECT a.{first}, b.{second} FROM {table} a, {table} b
                         ORDER BY 1 DESC, 2 DESC LIMIT 3 ON CONFLICT DO NOTHING"
                    ))
                    .await;
                continue;
            }
            let keys = self.texts(format!("SELECT id::text FROM {table} ORDER BY id")).await;
            // Each column of some row, a row that is lost, and one that nobody sent.
            let cells = model.columns.iter().filter(|column| !column.primary_key);
            for (index, column) in cells.enumerate() {
                let (name, value) = (quote_ident(column.name), changed(column));
                let key = &keys[index % keys.len()];
                planted += self
                    .execute(&format!("UPDATE {table} SET {name} = {value} WHERE id = '{key}'"))
                    .await;
            }
            let lost = &keys[keys.len() / 2];
            let columns: Vec<String> = model
                .columns
                .iter()
                .filter(|column| !column.primary_key)
                .map(|column| quote_ident(column.name))
                .collect();
            let values = match columns.is_empty() {
                true => String::new(),
                false => format!(", {}", columns.join(", ")),
            };
            // The row that nobody sent takes unique values of the lost one over.
            self.execute(&format!(
                "CREATE TEMP TABLE lost AS SELECT gen_random_uuid() AS id{values} FROM {table} WHERE id = '{lost}';
                 DELETE FROM {table} WHERE id = '{lost}';
                 INSERT INTO {table} (id{values}) SELECT id{values} FROM lost;
                 DROP TABLE lost"
            ))
            .await;
            planted += 2;
        }
        planted
    }
}

/// The parts of a report where something differs.
fn differing(report: &Report) -> String {
    let mut text = format!("{:#?}\n{:#?}\n", report.repaired, report.structure);
    for table in report.tables.iter().filter(|table| table.differences() > 0) {
        text += &format!("{table:#?}\n");
    }
    for junction in &report.junctions {
        if junction.differences() > 0 || !junction.counts_hold {
            text += &format!("{junction:#?}\n");
        }
    }
    for reference in report.references.iter().filter(|found| found.orphans.count > 0) {
        text += &format!("{reference:#?}\n");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_fault_is_mended_and_nothing_else_moves() {
    for (seed, uuid) in [(21, UuidVersion::V8), (22, UuidVersion::Random)] {
        let mut loaded = loaded(seed, uuid).await;
        let before = loaded.end_state();
        assert!(loaded.plant().await > 300);
        // Somebody who says no changes nothing.
        let refused = loaded.repair(&loaded.options, false).await.unwrap();
        assert!(refused.repaired.is_none() && refused.differences() > 300);

        let report = loaded.repair(&loaded.options, true).await.unwrap();
        let repaired = report.repaired.clone().unwrap();
        assert!(report.clean && repaired.balanced, "{}", differing(&report));
        assert_eq!((repaired.inserted, repaired.deleted), (29, 29));
        // Each junction lacks pairs; one that was planted twice, or that comes back with its row,
        // counts once.
        assert!(repaired.replaced > 100 && repaired.pairs_inserted >= 10, "{repaired:?}");
        assert!(loaded.validate().await.clean);
        assert_same(&before, &loaded.end_state(), &format!("{uuid:?}"));
        // Where nothing differs nothing is done, and nobody is asked.
        assert!(loaded.repair(&loaded.options, true).await.unwrap().repaired.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_is_null_without_an_entry_of_the_ledger_is_named_and_noted_again() {
    let mut loaded = loaded(26, UuidVersion::V8).await;
    let before = loaded.end_state();
    assert!(loaded.validate().await.clean);
    // What no longer stands in the ledger, as the database tells it: table, column and row.
    let gone = loaded
        .texts(
            "WITH gone AS (
                DELETE FROM migrate.orphan o WHERE NOT element AND ctid IN (
                    SELECT min(ctid) FROM migrate.orphan WHERE NOT element
                    GROUP BY table_name, column_name)
                RETURNING o.*
             ) SELECT concat_ws('.', table_name, column_name, row_key) COLLATE \"C\" FROM gone ORDER BY 1"
                .to_owned(),
        )
        .await;
    assert!(gone.len() > 5, "{gone:?}");
    let whole = Some(Sample { rows: 100_000, seed: 1 });
    for (independent, sample) in [(false, None), (true, None), (false, whole)] {
        let request = Request { independent, sample, ..Request::default() };
        let report = loaded.validate_with(&request).await;
        let mut named: Vec<String> = Vec::new();
        for table in &report.tables {
            assert_eq!(table.differences(), table.cells.count, "{table:#?}");
            for cell in &table.cells.first {
                assert!(cell.source.is_some() && cell.target.is_none(), "{cell:?}");
                named.push(format!("{}.{}.{}", table.table, cell.column, cell.key));
            }
            for column in &table.columns {
                assert_eq!((column.unnoted, &column.cause), (column.count, &None), "{column:?}");
            }
        }
        named.sort_unstable();
        assert_eq!(named, gone, "{request:?}");
        assert!(!report.clean);
    }

    let report = loaded.repair(&loaded.options, true).await.unwrap();
    assert!(report.clean, "{}", differing(&report));
    assert_same(&before, &loaded.end_state(), "after the repair");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_row_is_still_told_after_a_repair() {
    let mut loaded = loaded(25, UuidVersion::V8).await;
    loaded.execute(r#"DROP INDEX "Tasks_priority_idx""#).await;
    assert_eq!(
        loaded
            .execute(r#"DELETE FROM "crm_Leads" WHERE id = (SELECT id FROM "crm_Leads" LIMIT 1)"#)
            .await,
        1
    );
    let report = loaded.repair(&loaded.options, true).await.unwrap();
    let repaired = report.repaired.clone().unwrap();
    assert_eq!((repaired.inserted, report.structure.len()), (1, 1), "{}", differing(&report));
    assert!(!report.clean, "the index is still away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_breaks_off_goes_on() {
    let mut loaded = loaded(23, UuidVersion::V8).await;
    let before = loaded.end_state();
    for stop_at in [0, 20, 45, 64] {
        loaded.plant().await;
        let hits = Arc::new(AtomicUsize::new(0));
        let fail_points = FailPoints::new(Arc::new({
            let hits = Arc::clone(&hits);
            move |point| {
                if point.ends_with("is repaired") && hits.fetch_add(1, Ordering::SeqCst) == stop_at
                {
                    return Err(Error::new(ErrorKind::Target, "a crash"));
                }
                Ok(())
            }
        }));
        let options = Options { fail_points, ..loaded.options.clone() };
        let BrokenOff { error, report } = loaded.repair(&options, true).await.unwrap_err();
        assert_eq!(error.to_string(), "a crash", "{:?}", std::error::Error::source(&error));
        // What it tells of is what was done: each slice and each junction that was committed.
        let done = report.unwrap().repaired.unwrap();
        assert!(!done.balanced && done.failed.as_deref() == Some("a crash"), "{done:?}");
        let rows = |done: &Repaired| [done.inserted, done.replaced, done.deleted];
        let of_tables = done.tables.iter().fold([0; 3], |[a, b, c], table| {
            [a + table.inserted, b + table.replaced, c + table.deleted]
        });
        assert_eq!(rows(&done), of_tables);
        assert_eq!(done.tables.is_empty(), stop_at == 0, "{done:?}");
        assert!(!loaded.validate().await.clean);
        let report = loaded.repair(&loaded.options, true).await.unwrap();
        assert!(report.clean, "{stop_at}: {}", differing(&report));
        let rest = report.repaired.clone().unwrap();
        assert_eq!(done.inserted + rest.inserted, 29, "{stop_at}: {done:?} {rest:?}");
        assert_eq!(done.deleted + rest.deleted, 29, "{stop_at}: {done:?} {rest:?}");
        assert_same(&before, &loaded.end_state(), &format!("broken off at {stop_at}"));
    }
}

/// Documents that the source has got, lost and changed since it was loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_moved() {
    let id = |number: u8| ObjectId::from_bytes([number; 12]);
    let board = |number: u8, watchers: &[u8]| -> Document {
        let watchers: Vec<ObjectId> = watchers.iter().map(|number| id(*number)).collect();
        doc! { "_id": id(number), "title": format!("{number}"), "description": "d", "user": id(1), "watchers": watchers }
    };
    let user = |number: u8| doc! { "_id": id(number), "email": format!("{number}@x") };
    let target = servers::database(servers::NEWEST).expect("a server");
    let (options, stop) = (Options::default(), Stop::default());
    let old = MemorySource::new()
        .with("Users", [user(1), user(2), user(3)])
        .with("Boards", [board(11, &[1, 2, 1, 9]), board(12, &[3])]);
    let summary =
        run::run(NextCrm::FACTS, Arc::new(old), &target, &options, Arc::new(Silent), &stop)
            .await
            .unwrap();
    assert!(summary.balanced);
    let new = || {
        Arc::new(
            MemorySource::new()
                .with("Users", [user(1), user(2), user(4), user(5)])
                .with("Boards", [board(11, &[1, 4, 4, 4, 8]), board(13, &[2, 5])]),
        )
    };
    let (request, reporter) = (Request::default(), Arc::new(Silent));
    let agree = |_: &Report| true;
    let report =
        repair(NextCrm::FACTS, new(), &target, &options, &request, reporter, &stop, &agree)
            .await
            .unwrap();
    let repaired = report.repaired.clone().unwrap();
    assert!(report.clean && repaired.balanced, "{}", differing(&report));
    assert_eq!((repaired.inserted, repaired.deleted), (3, 2), "{repaired:?}");
    let report =
        validate(NextCrm::FACTS, new(), &target, &options, &request, Arc::new(Silent), &stop)
            .await
            .unwrap();
    assert!(report.clean, "{}", differing(&report));
    let watchers = report.junctions.iter().find(|found| found.model == "BoardWatchers").unwrap();
    assert_eq!((watchers.elements, watchers.target), (7, 4));
    assert_eq!((watchers.duplicates, watchers.orphans), (2, 1));
}

/// A repair breaks off behind rows that the source has got, and what is left is mended by hand: the
/// same command still has the sums to make.
#[tokio::test(flavor = "multi_thread")]
async fn sums_are_made_after_a_repair_that_broke_off() {
    let id = |number: u8| ObjectId::from_bytes([number; 12]);
    let user = |number: u8| doc! { "_id": id(number), "email": format!("{number}@x") };
    let source = |users: u8| {
        let board = doc! { "_id": id(11), "title": "t", "description": "d", "user": id(1) };
        let users: Vec<Document> = (1..=users).map(user).collect();
        Arc::new(MemorySource::new().with("Users", users).with("Boards", [board]))
    };
    let target = servers::database(servers::NEWEST).expect("a server");
    let (options, stop) = (Options::default(), Stop::default());
    run::run(NextCrm::FACTS, source(3), &target, &options, Arc::new(Silent), &stop).await.unwrap();
    let mut connection = PgConnection::connect(&target).await.unwrap();
    let mut set_title = async |title: &str| {
        let sql = format!("UPDATE \"Boards\" SET title = '{title}'");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    };
    set_title("other").await;
    let hits = AtomicUsize::new(0);
    let fail_points = FailPoints::new(Arc::new(move |point| {
        match point == "a slice is repaired" && hits.fetch_add(1, Ordering::SeqCst) == 1 {
            true => Err(Error::new(ErrorKind::Target, "a crash")),
            false => Ok(()),
        }
    }));
    let broken = Options { fail_points, ..options.clone() };
    let (request, agree) = (Request::default(), |_: &Report| true);
    let mend = async |options: &Options| {
        let reporter = Arc::new(Silent);
        repair(NextCrm::FACTS, source(4), &target, options, &request, reporter, &stop, &agree).await
    };
    let BrokenOff { report, .. } = mend(&broken).await.unwrap_err();
    let done = report.unwrap().repaired.unwrap();
    assert_eq!((done.inserted, done.tables[0].table.as_str()), (1, "Users"), "{done:?}");
    set_title("t").await;

    let report = mend(&options).await.unwrap();
    assert!(report.clean, "{}", differing(&report));
    assert!(report.repaired.as_ref().is_some_and(|done| done.balanced), "{}", differing(&report));
    let read = "SELECT sum(read)::bigint FROM migrate.chunk WHERE model = 'Users'";
    let mut connection = PgConnection::connect(&target).await.unwrap();
    let read: i64 = sqlx::query_scalar(read).fetch_one(&mut connection).await.unwrap();
    assert_eq!(read, 4);
    assert!(mend(&options).await.unwrap().repaired.is_none());
}
