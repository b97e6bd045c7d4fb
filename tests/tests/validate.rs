//! Validation: a good run has no difference, and what somebody changes in the target afterwards is
//! found and named, in every table and every column, and nothing else.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bson::{Bson, doc};
use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::error::Result;
use migrate_core::event::{Event, Reporter, Silent};
use migrate_core::rejects::{Filter, retry};
use migrate_core::run::{Options, Stop};
use migrate_core::schema::{Model, ModelKind, Registry, quote_ident};
use migrate_core::source::{Batch, CollectionInfo, Ending, Range, Source};
use migrate_core::validate::{ReferenceReport, Report, Request, Sample, Since, repair, validate};
use migrate_core::{Error, ErrorKind, run, source};
use migrate_tests::planted::changed;
use migrate_tests::servers;
use models::NextCrm;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::sync::mpsc;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

const DIRTY: Plan = Plan { seed: 21, scale: 0.2, dirty: 0.1 };

struct Loaded {
    folder: tempfile::TempDir,
    target: String,
    connection: PgConnection,
}

/// NextCRM's dirty documents in a fresh database, on a connection that foreign keys do not hinder.
async fn loaded() -> Option<Loaded> {
    loaded_with(DIRTY).await
}

async fn loaded_with(plan: Plan) -> Option<Loaded> {
    let target = servers::database(servers::NEWEST)?;
    let folder = tempfile::tempdir().unwrap();
    to_dump(&Generator::new(NextCrm::FACTS, plan), folder.path(), false).unwrap();
    let source = source::open(folder.path().to_str().unwrap()).await.unwrap();
    let stop = Stop::default();
    let options = Options::default();
    let summary =
        run::run(NextCrm::FACTS, source, &target, &options, Arc::new(Silent), &stop).await.unwrap();
    assert!(summary.balanced && summary.totals.rejected > 0 && summary.totals.orphans > 0);
    let mut connection = PgConnection::connect(&target).await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut connection).await.unwrap();
    Some(Loaded { folder, target, connection })
}

impl Loaded {
    async fn validate(&self) -> Report {
        self.validate_some(&Request::default()).await
    }

    async fn validate_some(&self, request: &Request) -> Report {
        let source = source::open(self.folder.path().to_str().unwrap()).await.unwrap();
        self.validate_from(source, request, 64 << 10).await
    }

    async fn validate_from(
        &self,
        source: Arc<dyn Source>,
        request: &Request,
        chunk_bytes: u64,
    ) -> Report {
        let stop = Stop::default();
        let options = Options { chunk_bytes, ..Options::default() };
        let reporter = Arc::new(Silent);
        validate(NextCrm::FACTS, source, &self.target, &options, request, reporter, &stop)
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    async fn execute(&mut self, sql: String) -> u64 {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut self.connection).await;
        done.unwrap_or_else(|error| panic!("{error}: {sql}")).rows_affected()
    }

    async fn texts(&mut self, sql: String) -> Vec<String> {
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Loaded {
    /// The references to nothing, counted table by table.
    async fn dangling(&mut self) -> u64 {
        let mut count = 0;
        for (model, _) in NextCrm::FACTS.iter() {
            for column in model.columns {
                let Some(reference) = column.reference else { continue };
                let (table, name) = (quote_ident(model.table), quote_ident(column.name));
                let target = quote_ident(reference.target.get().table);
                let sql = format!(
                    "SELECT count(*)::text FROM {table} WHERE {name} IS NOT NULL AND {name} NOT IN (SELECT id FROM {target})"
                );
                count += self.texts(sql).await[0].parse::<u64>().unwrap();
            }
        }
        count
    }
}

fn models(kind: ModelKind) -> impl Iterator<Item = &'static Model> {
    NextCrm::FACTS.iter().map(|(model, _)| model).filter(move |model| model.kind == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_cell_is_named_and_nothing_else() {
    let Some(mut loaded) = loaded().await else { return };
    let report = loaded.validate().await;
    assert_eq!(report.structure, []);
    assert!(report.clean, "{report:#?}");

    // Each cell of one row in turn, for every table: cell `n` in the table's row `n`.
    let mut planted = BTreeSet::new();
    for model in models(ModelKind::Collection) {
        let table = quote_ident(model.table);
        let keys = loaded.texts(format!("SELECT id::text FROM {table} ORDER BY id")).await;
        assert!(!keys.is_empty(), "{table} has no rows to change");
        for (index, column) in model.columns.iter().filter(|column| !column.primary_key).enumerate()
        {
            let key = &keys[index % keys.len()];
            let name = quote_ident(column.name);
            let value = changed(column);
            let sql = format!("UPDATE {table} SET {name} = {value} WHERE id = '{key}'");
            assert_eq!(loaded.execute(sql).await, 1, "{table}.{name}");
            planted.insert((model.table.to_owned(), key.clone(), column.name.to_owned()));
        }
    }
    // No change of value: another form of the same JSON object.
    loaded.execute(r#"UPDATE "Tasks" SET tags = tags::text::jsonb"#.to_owned()).await;
    let report = loaded.validate().await;
    let found: BTreeSet<_> = report
        .tables
        .iter()
        .flat_map(|table| {
            table.cells.first.iter().map(|cell| {
                assert_ne!(cell.source, cell.target, "{cell:?}");
                assert!(!cell.source_id.is_empty(), "{cell:?}");
                (table.table.clone(), cell.key.clone(), cell.column.clone())
            })
        })
        .collect();
    let missed: Vec<_> = planted.difference(&found).collect();
    let invented: Vec<_> = found.difference(&planted).collect();
    assert!(missed.is_empty() && invented.is_empty(), "missed {missed:#?}\ninvented {invented:#?}");
    assert_eq!(report.differences(), planted.len() as u64);
    assert_eq!(planted.len(), 361, "every column but the keys of all 29 tables");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_extra_rows_and_pairs_are_named() {
    let Some(mut loaded) = loaded().await else { return };
    let mut expected = 0;
    for model in models(ModelKind::Collection) {
        let table = quote_ident(model.table);
        // A row that nobody sent, made of another.
        let columns: Vec<String> = model
            .columns
            .iter()
            .filter(|column| !column.primary_key && !column.unique)
            .map(|column| quote_ident(column.name))
            .collect();
        let unique: Vec<String> = model
            .columns
            .iter()
            .filter(|column| column.unique)
            .map(|column| quote_ident(column.name))
            .collect();
        let into: Vec<String> =
            columns.iter().chain(&unique).map(|name| format!(", {name}")).collect();
        let values: Vec<String> = columns
            .iter()
            .map(|name| format!(", {name}"))
            .chain(unique.iter().map(|name| format!(", 'extra ' || {name}")))
            .collect();
        let key = loaded.texts(format!("SELECT max(id::text) FROM {table}")).await.remove(0);
        loaded
            .execute(format!(
                "INSERT INTO {table} (id{}) SELECT gen_random_uuid(){} FROM {table} WHERE id = '{key}'",
                into.concat(),
                values.concat()
            ))
            .await;
        // A row that is lost, with its pairs.
        loaded.execute(format!("DELETE FROM {table} WHERE id = '{key}'")).await;
        for junction in models(ModelKind::Junction) {
            for column in junction.columns {
                if column.reference.is_some_and(|reference| reference.target.get().same(model)) {
                    loaded
                        .execute(format!(
                            "DELETE FROM {} WHERE {} = '{key}'",
                            quote_ident(junction.table),
                            quote_ident(column.name)
                        ))
                        .await;
                }
            }
        }
        expected += 2;
    }
    let report = loaded.validate().await;
    for table in &report.tables {
        assert_eq!((table.missing.count, table.extra.count), (1, 1), "{table:#?}");
        // One came and one went, so the counts alone see nothing.
        assert!(table.counts_hold && table.cells.count == 0, "{table:#?}");
    }
    assert_eq!(report.differences(), expected, "{:#?}", report.junctions);

    // The rows that are lost leave references behind, each of which is told of.
    let orphans = loaded.dangling().await;
    assert!(orphans > 0);
    assert_eq!(report.orphans(), orphans);

    // A pair that points elsewhere, in every junction.
    for junction in models(ModelKind::Junction) {
        let table = quote_ident(junction.table);
        let column = quote_ident(junction.columns[0].name);
        let first = format!("SELECT min(ctid::text)::tid FROM {table}");
        let sql = format!("UPDATE {table} SET {column} = gen_random_uuid() WHERE ctid = ({first})");
        assert_eq!(loaded.execute(sql).await, 1, "{table}");
    }
    let report = loaded.validate().await;
    for junction in &report.junctions {
        assert_eq!((junction.missing.count, junction.extra.count), (1, 1), "{junction:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_to_nothing_are_found_among_rows_that_are_right() {
    let Some(mut loaded) = loaded().await else { return };
    let report = loaded.validate().await;
    assert!(report.clean, "{report:#?}");
    let mut counted = 0;
    for reference in &report.references {
        let (table, column) = (quote_ident(&reference.table), quote_ident(&reference.column));
        let count = loaded.texts(format!("SELECT count({column})::text FROM {table}")).await;
        assert_eq!(reference.references.to_string(), count[0], "{table}.{column}");
        counted += reference.references;
    }
    assert!(counted > 1000);

    // The rows that refer are as their documents say, and the one that they refer to is gone.
    let lost = "SELECT assigned_to FROM \"crm_Accounts\" WHERE assigned_to IS NOT NULL LIMIT 1";
    assert_eq!(loaded.execute(format!("DELETE FROM \"Users\" WHERE id = ({lost})")).await, 1);
    // A reference that is not as its document says, and leads nowhere.
    let one = "SELECT min(ctid::text)::tid FROM \"tasksComments\" WHERE task IS NOT NULL";
    let sql = format!("UPDATE \"tasksComments\" SET task = gen_random_uuid() WHERE ctid = ({one})");
    assert_eq!(loaded.execute(sql).await, 1);
    // A pair whose second side is gone.
    let lost = "SELECT contact_id FROM \"DocumentsToContacts\" LIMIT 1";
    assert_eq!(
        loaded.execute(format!("DELETE FROM \"crm_Contacts\" WHERE id = ({lost})")).await,
        1
    );
    let report = loaded.validate().await;
    let orphans = loaded.dangling().await;
    assert!(orphans > 3);
    assert_eq!(report.orphans(), orphans, "{:#?}", report.references);
    assert!(report.tables.iter().all(|table| table.extra.count == 0));
    for (table, column) in [
        ("crm_Accounts", "assigned_to"),
        ("tasksComments", "task"),
        ("DocumentsToContacts", "contact_id"),
    ] {
        let of =
            |reference: &&ReferenceReport| reference.table == table && reference.column == column;
        let reference = report.references.iter().find(of).unwrap();
        assert!(!reference.orphans.first.is_empty(), "{reference:#?}");
        assert_eq!(reference.orphans.count, reference.orphans.first.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_schema_is_named() {
    let Some(mut loaded) = loaded().await else { return };
    for (planted, object) in [
        (r#"DROP INDEX "Tasks_priority_idx""#, "Tasks"),
        (r#"ALTER TABLE "Tasks" DROP CONSTRAINT "Tasks_user_fkey""#, "Tasks"),
        (r#"ALTER TABLE "Users" DROP CONSTRAINT "Users_pkey" CASCADE"#, "Users"),
        (r#"ALTER TYPE "Language" RENAME VALUE 'en' TO 'eng'"#, "Language"),
        (
            r#"ALTER TABLE "Sections" DROP CONSTRAINT "Sections_board_fkey",
                ADD FOREIGN KEY (board) REFERENCES "Boards" NOT VALID"#,
            "Sections",
        ),
        (
            r#"UPDATE pg_index SET indisvalid = false
                WHERE indexrelid = '"Tasks_section_idx"'::regclass"#,
            "Tasks",
        ),
        (r#"ALTER TABLE "Boards" ALTER COLUMN title TYPE varchar(500)"#, "Boards"),
        (r#"ALTER TABLE "Boards" ALTER COLUMN description DROP NOT NULL"#, "Boards"),
        (r#"ALTER TABLE "crm_Leads" ALTER COLUMN status DROP DEFAULT"#, "crm_Leads"),
        (r#"ALTER TABLE "Boards" ALTER COLUMN "createdAt" TYPE timestamp(0)"#, "Boards"),
    ] {
        let before = loaded.validate().await.structure.len();
        loaded.execute(planted.to_owned()).await;
        let report = loaded.validate().await;
        assert!(report.structure.len() > before, "{planted}: {:#?}", report.structure);
        assert!(
            report.structure.iter().any(|difference| difference.object == object),
            "{planted}: {:#?}",
            report.structure
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_array_is_not_null() {
    let Some(mut loaded) = loaded().await else { return };
    loaded
        .execute(r#"ALTER TABLE "crm_Contacts" ALTER COLUMN tags DROP NOT NULL"#.to_owned())
        .await;
    let changed = loaded
        .execute(
            r#"UPDATE "crm_Contacts" SET tags = NULL WHERE id = (
                SELECT id FROM "crm_Contacts" WHERE tags = '{}' LIMIT 1)"#
                .to_owned(),
        )
        .await;
    assert_eq!(changed, 1);
    let report = loaded.validate().await;
    let cells: Vec<_> = report.tables.iter().flat_map(|table| &table.cells.first).collect();
    assert_eq!(cells.len(), 1, "{cells:#?}");
    assert_eq!((cells[0].source.as_deref(), cells[0].target.as_deref()), (Some("{}"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_compared_when_a_part_is_named() {
    let Some(mut loaded) = loaded().await else { return };
    for sql in [
        r#"UPDATE "Boards" SET title = title || '!'"#,
        r#"UPDATE "Users" SET name = 'x'"#,
        r#"DELETE FROM "BoardWatchers" WHERE ctid = (SELECT min(ctid::text)::tid FROM "BoardWatchers")"#,
        r#"DROP INDEX "Tasks_priority_idx""#,
    ] {
        assert!(loaded.execute(sql.to_owned()).await > 0 || sql.starts_with("DROP"), "{sql}");
    }
    let request = |names: &[&str]| Request {
        tables: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Request::default()
    };
    let report = loaded.validate_some(&request(&["Boards"])).await;
    assert_eq!(report.scope.models, ["Boards"]);
    assert_eq!(report.tables.len(), 1);
    assert_eq!(report.differences(), report.tables[0].target, "{:#?}", report.structure);
    assert!(report.junctions.is_empty());
    // A junction needs the arrays of both its sides, and none of their rows.
    let report = loaded.validate_some(&request(&["BoardWatchers"])).await;
    assert!(report.tables.is_empty());
    assert_eq!(report.junctions[0].missing.count, 1, "{:#?}", report.junctions);
    assert_eq!(report.differences(), 1);
    let report = loaded.validate_some(&request(&["Tasks", "Sections"])).await;
    assert_eq!(report.tables.len(), 2);
    assert_eq!((report.differences(), report.structure.len()), (1, 1));
    // References to the table and from it.
    let about = |table: &str| report.references.iter().any(|found| found.table == table);
    assert!(about("Tasks") && about("tasksComments") && !about("Boards"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_finds_what_is_in_it_and_is_the_same_for_the_same_seed() {
    let Some(mut loaded) = loaded().await else { return };
    let request =
        |rows, seed| Request { sample: Some(Sample { rows, seed }), ..Request::default() };
    let report = loaded.validate_some(&request(20, 1)).await;
    assert!(report.clean, "{report:#?}");
    assert!(report.tables.iter().all(|table| table.source <= 20 && table.target <= 20));
    assert!(report.tables.iter().any(|table| table.source == 20 && table.target == 20));

    // All of the table is lost, all of it differs, or a row is one too many.
    let before = loaded.texts(r#"SELECT count(*)::text FROM "Tasks""#.to_owned()).await;
    loaded.execute(r#"DELETE FROM "Sections""#.to_owned()).await;
    loaded.execute(r#"UPDATE "Tasks" SET title = title || '!'"#.to_owned()).await;
    let mut extra = 0;
    while extra < 5 {
        extra += loaded
            .execute(
                r#"INSERT INTO "invoice_States" (id, name) VALUES (gen_random_uuid(), 'x')"#
                    .to_owned(),
            )
            .await;
    }
    let mut reports = Vec::new();
    for seed in [7, 7, 8] {
        let mut report = loaded.validate_some(&request(20, seed)).await;
        let table = |name: &str| report.tables.iter().find(|table| table.table == name).unwrap();
        // The others are in the ledger.
        assert!(table("Sections").missing.count > 10, "{:#?}", table("Sections"));
        assert!(table("Tasks").cells.count > 20, "{:#?}", table("Tasks"));
        // A row of the sample whose document is in the sample too counts once.
        let keys: BTreeSet<_> = table("Tasks").cells.first.iter().map(|cell| &cell.key).collect();
        assert_eq!(keys.len() as u64, table("Tasks").cells.count);
        assert_eq!(table("invoice_States").extra.count, 5, "the table has fewer than 20 rows");
        assert!(!report.clean);
        report.seconds = 0.0;
        reports.push(report);
    }
    assert_eq!(reports[0], reports[1]);
    assert!(before[0].parse::<u64>().unwrap() > 40);
    assert_ne!(reports[0].tables, reports[2].tables);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_later_run_alone() {
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    to_dump(&Generator::new(NextCrm::FACTS, DIRTY), folder.path(), false).unwrap();
    let stop = Stop::default();
    for only in [vec!["Users".to_owned()], vec![]] {
        let source = source::open(folder.path().to_str().unwrap()).await.unwrap();
        let options = Options { only, ..Options::default() };
        run::run(NextCrm::FACTS, source, &target, &options, Arc::new(Silent), &stop).await.unwrap();
    }
    let connection = PgConnection::connect(&target).await.unwrap();
    let mut loaded = Loaded { folder, target, connection };
    loaded.execute(r#"UPDATE "Users" SET name = 'x' || name"#.to_owned()).await;
    let all = loaded.validate().await;
    assert!(!all.clean && all.tables.len() == 29 && all.junctions.len() == 10);
    let request = |since| Request { since: Some(since), ..Request::default() };
    let last = loaded.validate_some(&request(Since::Last)).await;
    assert_eq!(last.scope.since_run, Some(2));
    // The pairs with users are of the second run, and the arrays of users are read for them.
    assert!(last.clean, "{last:#?}");
    assert_eq!((last.tables.len(), last.junctions.len()), (28, 10));
    let first = loaded.validate_some(&request(Since::Run(1))).await;
    assert_eq!(first.tables, all.tables);
}

/// A source whose reads in any order always break off, and only after their last batch.
#[derive(Debug)]
struct BreaksOff(Arc<dyn Source>);

impl Source for BreaksOff {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>> {
        self.0.collections()
    }

    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.0.count(collection)
    }

    fn split<'a>(&'a self, collection: &'a str, bytes: u64) -> BoxFuture<'a, Result<Vec<Range>>> {
        self.0.split(collection, bytes)
    }

    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        self.0.read(collection, range, batches)
    }

    fn read_in_any_order<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<Ending>> {
        Box::pin(async move {
            self.0.read(collection, range, batches).await?;
            Ok(Ending::BrokenOff)
        })
    }

    fn fetch_batches<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [Bson],
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        self.0.fetch_batches(collection, ids, batches)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_twice_is_counted_once() {
    // So much that not all differences are still in hand when a read breaks off.
    let Some(mut loaded) = loaded_with(Plan { scale: 1.0, ..DIRTY }).await else { return };
    loaded.execute(r#"DELETE FROM "tasksComments" WHERE id::text < '7'"#.to_owned()).await;
    loaded.execute(r#"DELETE FROM "DocumentsToTasks" WHERE task_id::text < '7'"#.to_owned()).await;
    loaded.execute(r#"UPDATE "crm_Contacts" SET last_name = 'x' || last_name"#.to_owned()).await;
    let expected = loaded.validate().await;
    let table = |name: &str| expected.tables.iter().find(|table| table.table == name).unwrap();
    assert!(table("tasksComments").missing.count > 1 && table("crm_Contacts").cells.count > 1);
    let source = source::open(loaded.folder.path().to_str().unwrap()).await.unwrap();
    let found =
        loaded.validate_from(Arc::new(BreaksOff(source)), &Request::default(), 64 << 20).await;
    assert_eq!(found.tables, expected.tables);
    assert_eq!(found.junctions, expected.junctions);
    assert_eq!(found.references, expected.references);
}

mod two_schemas {
    use bson::doc;
    use migrate_core::{Migrate, registry};
    use uuid::Uuid;

    #[derive(Migrate)]
    #[migrate(collection = "people", schema = "hr")]
    #[allow(dead_code)]
    pub(super) struct Person {
        #[migrate(id)]
        id: Uuid,
    }

    #[derive(Migrate)]
    #[migrate(collection = "sales", schema = "shop")]
    #[allow(dead_code)]
    pub(super) struct Sale {
        #[migrate(id)]
        id: Uuid,
        #[fk(Person)]
        seller: Uuid,
    }

    registry! { pub(super) Firm = [Person, Sale] }

    pub(super) fn documents() -> migrate_core::source::memory::MemorySource {
        let id = bson::oid::ObjectId::from_bytes([7; 12]);
        migrate_core::source::memory::MemorySource::new()
            .with("people", [doc! { "_id": id }])
            .with("sales", [doc! { "_id": id, "seller": id }])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_into_another_schema_is_compared() {
    use migrate_core::Registry as _;
    use sqlx::{Connection as _, Executor as _};

    let facts = two_schemas::Firm::FACTS;
    let source = || std::sync::Arc::new(two_schemas::documents());
    let Some(moved) = migrate_tests::moved::moved(facts, source()).await else { return };
    let mut connection = sqlx::PgConnection::connect(&moved.target).await.unwrap();
    connection
        .execute(r#"ALTER TABLE shop."Sale" DROP CONSTRAINT "Sale_seller_fkey""#)
        .await
        .unwrap();
    let report = migrate_core::validate::validate(
        facts,
        source(),
        &moved.target,
        &migrate_core::run::Options::default(),
        &migrate_core::validate::Request::default(),
        std::sync::Arc::new(migrate_core::event::Silent),
        &migrate_core::run::Stop::default(),
    )
    .await
    .unwrap();
    assert_eq!(report.structure.len(), 1, "{:?}", report.structure);
    assert_eq!(report.structure[0].object, "Sale");
    assert!(report.structure[0].expected.as_ref().unwrap().contains("hr.\"Person\""));
}

mod own_types {
    use migrate_core::{Migrate, Point, registry};

    #[derive(Migrate)]
    #[migrate(collection = "places", table = "places")]
    pub(super) struct Places {
        #[migrate(id)]
        id: i32,
        #[migrate(unique)]
        name: String,
        // PostgreSQL has no `=` for these.
        at: Option<Point>,
        // A type that no model makes, in the schema of the tables.
        #[migrate(pg_type = "plate")]
        plate: Option<String>,
    }

    registry! { pub(super) Town = [Places] }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_ones_own_and_types_without_equality_are_compared() {
    use migrate_core::Registry as _;
    use migrate_core::run::Options;
    use migrate_core::source::memory::MemorySource;
    use migrate_tests::{moved, servers};
    use sqlx::{Connection as _, Executor as _};

    let facts = own_types::Town::FACTS;
    let Some(target) = servers::database(servers::NEWEST) else { return };
    let mut connection = sqlx::PgConnection::connect(&target).await.unwrap();
    connection.execute("CREATE DOMAIN plate AS text").await.unwrap();
    let source = || -> std::sync::Arc<dyn migrate_core::source::Source> {
        std::sync::Arc::new(MemorySource::new().with(
            "places",
            [
                doc! { "_id": 1, "name": "a", "at": [1.5, 2.5], "plate": "X" },
                // Its row is looked at twice, because the name is taken.
                doc! { "_id": 2, "name": "a", "at": [1.5, 2.5] },
                doc! { "_id": 3, "name": "c", "at": [0.0, 0.0] },
            ],
        ))
    };
    let summary = moved::load(facts, &target, source(), &Options::default()).await;
    assert_eq!(moved::sums(&summary)["places"], [3, 2, 1, 0]);
    let report = moved::compare(facts, &target, source(), &Request::default()).await;
    assert_eq!(report.differences(), 0, "{report:#?}");
    connection.execute("UPDATE places SET at = '(0,-0)' WHERE id = 3").await.unwrap();
    connection.execute("UPDATE places SET plate = 'x' WHERE id = 1").await.unwrap();
    let report = moved::compare(facts, &target, source(), &Request::default()).await;
    let cells: Vec<&str> =
        report.tables[0].cells.first.iter().map(|cell| cell.column.as_str()).collect();
    assert_eq!(cells, ["plate", "at"], "{report:#?}");
}

/// Who may have two connections at a time compares as everybody does, only not side by side.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_few_connections_compares() {
    let Some(server) = servers::postgres(servers::NEWEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    to_dump(&Generator::new(NextCrm::FACTS, DIRTY), folder.path(), false).unwrap();
    for limit in [2, 3] {
        let name = format!("few_{limit}");
        let url = server.create_database(&name).unwrap();
        let act = |sql: &str| server.query(&name, sql).unwrap();
        act(&format!("CREATE ROLE {name} LOGIN PASSWORD 'few' CONNECTION LIMIT {limit}"));
        act(&format!("ALTER DATABASE {name} OWNER TO {name}"));
        let (_, host) = url.split_once('@').unwrap();
        let target = format!("postgres://{name}:few@{host}");
        let options = Options { jobs: 4, ..Options::default() };
        let (stop, silent) = (Stop::default(), Arc::new(Silent));
        let open = async || source::open(folder.path().to_str().unwrap()).await.unwrap();
        let source = open().await;
        let loaded =
            run::run(NextCrm::FACTS, source, &target, &options, silent.clone(), &stop).await;
        assert!(loaded.unwrap().balanced);
        for independent in if limit == 2 { vec![false, true] } else { vec![false] } {
            let request = Request { independent, ..Request::default() };
            let compared = async |source| {
                let silent = silent.clone();
                validate(NextCrm::FACTS, source, &target, &options, &request, silent, &stop)
                    .await
                    .unwrap()
            };
            let report = compared(open().await).await;
            assert!(report.clean, "{limit}, {independent}: {report:#?}");
            // Rows and pairs that nothing has given are looked for on a connection of their own.
            act(r#"INSERT INTO "Users" SELECT (jsonb_populate_record(u, jsonb_build_object(
                'id', gen_random_uuid(), 'email', 'few'))).* FROM "Users" u LIMIT 1"#);
            act(r#"INSERT INTO "DocumentsToTasks" SELECT d.id, t.id FROM "Documents" d, "Tasks" t
                ON CONFLICT DO NOTHING"#);
            let report = compared(open().await).await;
            let extra: u64 = report.tables.iter().map(|table| table.extra.count).sum();
            let pairs: u64 = report.junctions.iter().map(|junction| junction.extra.count).sum();
            assert!(extra == 1 && pairs > 0, "{limit}, {independent}: {extra}, {pairs}");
            act(r#"DELETE FROM "Users" WHERE email = 'few'"#);
            let request = Request::default();
            let (agree, silent) = (|_: &Report| true, silent.clone());
            let source = open().await;
            repair(NextCrm::FACTS, source, &target, &options, &request, silent, &stop, &agree)
                .await
                .unwrap();
        }
    }
}

/// What a person has changed in the tables, and a retry finds out, is mended by a repair: the run is
/// not lost with its sums.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_sums_do_not_hold_after_a_retry_is_repaired() {
    let Some(mut loaded) = loaded().await else { return };
    loaded
        .execute(
            r#"DELETE FROM "Invoices" WHERE id = (SELECT min(id::text)::uuid FROM "Invoices")"#
                .to_owned(),
        )
        .await;
    let (options, stop) = (Options::default(), Stop::default());
    let (filter, silent) = (Filter::default(), Arc::new(Silent));
    let retried =
        retry(NextCrm::FACTS, None, &loaded.target, &options, &filter, silent, &stop).await;
    let error = retried.expect_err("a row is missing");
    assert_eq!(error.kind(), ErrorKind::Balance, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--repair")), "{:?}", error.hint());
    let report = loaded.validate().await;
    assert!(!report.clean);
    let source = source::open(loaded.folder.path().to_str().unwrap()).await.unwrap();
    let (request, silent, agree) = (Request::default(), Arc::new(Silent), |_: &Report| true);
    let repaired =
        repair(NextCrm::FACTS, source, &loaded.target, &options, &request, silent, &stop, &agree);
    let report = repaired.await.map_err(|broken_off| broken_off.error).unwrap();
    assert!(report.clean && report.repaired.is_some_and(|repaired| repaired.balanced));
}

/// Nobody throws a run away while its rows are compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_compared_is_not_thrown_away() {
    struct Cleaning(Mutex<Option<String>>, Mutex<Option<Error>>, String);
    impl Reporter for Cleaning {
        fn event(&self, event: &Event<'_>) {
            let Event::Progress { .. } = event else { return };
            let Some(folder) = self.0.lock().unwrap().take() else { return };
            let target = self.2.clone();
            let cleaning = std::thread::spawn(move || {
                tokio::runtime::Runtime::new().unwrap().block_on(async {
                    let source = source::open(&folder).await.unwrap();
                    let options = Options { clean: true, ..Options::default() };
                    let (silent, stop) = (Arc::new(Silent), Stop::default());
                    run::run(NextCrm::FACTS, source, &target, &options, silent, &stop).await
                })
            });
            *self.1.lock().unwrap() = cleaning.join().unwrap().err();
        }
    }
    let Some(loaded) = loaded().await else { return };
    let folder = loaded.folder.path().to_str().unwrap().to_owned();
    let source = source::open(&folder).await.unwrap();
    let cleaning = Cleaning(Mutex::new(Some(folder)), Mutex::default(), loaded.target.clone());
    let reporter = Arc::new(cleaning);
    let told = Arc::clone(&reporter) as Arc<dyn Reporter>;
    let (options, request, stop) = (Options::default(), Request::default(), Stop::default());
    let report =
        validate(NextCrm::FACTS, source, &loaded.target, &options, &request, told, &stop).await;
    assert!(report.unwrap().clean);
    let refused = reporter.1.lock().unwrap().take().expect("it is refused").to_string();
    assert_eq!(refused, "another process is at work on the run that would be thrown away");
}
