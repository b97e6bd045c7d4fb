//! What is checked before a run writes, what an index refuses at the end of one, and what is given
//! back when a run is given up.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, doc};
use migrate_core::deferred;
use migrate_core::event::{Event, Reporter, Step};
use migrate_core::run::{Options, Stop, run};
use migrate_core::sink::Target;
use migrate_core::source::memory::MemorySource;
use migrate_core::state::State;
use migrate_core::summary::Summary;
use migrate_core::{Error, ErrorKind, Migrate, Registry, registry};
use migrate_servers::Postgres;
use migrate_tests::servers;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(collection = "notes", table = "note")]
#[allow(dead_code)]
struct Note {
    #[migrate(id)]
    id: Uuid,
    #[migrate(index)]
    title: String,
    #[migrate(unique)]
    code: Option<String>,
    #[fk(Self)]
    parent: Option<Uuid>,
    #[junction(NoteToLabel)]
    labels: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = "comments", table = "comment")]
#[allow(dead_code)]
struct Comment {
    #[migrate(id)]
    id: Uuid,
    #[fk(Note)]
    note: Uuid,
}

#[derive(Migrate)]
#[migrate(collection = "labels", table = "label")]
#[allow(dead_code)]
struct Label {
    #[migrate(id)]
    id: String,
    #[junction(LabelToWord)]
    words: Vec<Uuid>,
}

#[derive(Migrate)]
#[migrate(junction, table = "note_label")]
#[allow(dead_code)]
struct NoteToLabel {
    #[fk(Note, on_delete = cascade)]
    note: Uuid,
    #[fk(Word, on_delete = cascade)]
    word: Uuid,
}

#[derive(Migrate)]
#[migrate(junction, table = "label_word")]
#[allow(dead_code)]
struct LabelToWord {
    #[fk(Label, on_delete = cascade)]
    label: String,
    #[fk(Word, on_delete = cascade)]
    word: Uuid,
}

#[derive(Migrate)]
#[migrate(collection = "words", table = "word")]
#[allow(dead_code)]
struct Word {
    #[migrate(id)]
    id: Uuid,
}

registry! { Notes = [Note, Comment, Label, Word, NoteToLabel, LabelToWord] }

/// Collects the notices and the tables that are planned, and stops the run where the load begins if
/// it is told to.
#[derive(Default)]
struct Watch {
    notices: Mutex<Vec<String>>,
    planned: Mutex<Vec<String>>,
    stop: Option<Stop>,
}

impl Reporter for Watch {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Notice { message } => self.notices.lock().unwrap().push((*message).to_owned()),
            Event::TablePlanned { table, .. } => {
                self.planned.lock().unwrap().push((*table).to_owned());
            }
            Event::StepStarted { step: Step::Load } => {
                if let Some(stop) = &self.stop {
                    stop.stop();
                }
            }
            _ => {}
        }
    }
}

fn server() -> &'static Postgres {
    servers::postgres(servers::NEWEST).unwrap()
}

fn one(database: &str, sql: &str) -> String {
    let rows = server().query(database, sql).expect(sql);
    let rows: Vec<String> = rows
        .into_iter()
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|"))
        .collect();
    rows.join("\n")
}

const NAMES: migrate_core::ddl::Names<'static> = migrate_core::ddl::Names { schema: "public" };

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// Text that no compression makes short.
fn noise(length: usize) -> String {
    let mut state = 7_u64;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (state >> 33) as u8 % 90)
        })
        .collect()
}

fn note(number: u8, more: Document) -> Document {
    let mut note = doc! { "_id": id(number), "title": format!("note {number}") };
    note.extend(more);
    note
}

async fn migrate(source: MemorySource, url: &str, options: &Options) -> Result<Summary, Error> {
    let reporter = Arc::new(Watch::default());
    run(Notes::FACTS, Arc::new(source), url, options, reporter, &Stop::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_long_for_an_index_is_a_reject() {
    let source = || {
        MemorySource::new()
            .with(
                "notes",
                [
                    note(1, doc! { "title": noise(10_000), "labels": [id(50)] }),
                    note(2, doc! { "code": noise(3_000) }),
                    // Long, but an index presses it.
                    note(3, doc! { "title": "a".repeat(10_000), "labels": [id(50)] }),
                    note(4, doc! { "parent": id(1), "code": noise(2_000) }),
                    note(5, doc! { "parent": id(3) }),
                ],
            )
            .with(
                "comments",
                [doc! { "_id": id(21), "note": id(1) }, doc! { "_id": id(22), "note": id(3) }],
            )
            .with(
                "labels",
                [doc! { "_id": noise(5_000), "words": [id(50)] }, doc! { "_id": "short" }],
            )
            .with("words", [doc! { "_id": id(50) }])
    };
    let url = server().create_database("too_long").unwrap();
    let summary = migrate(source(), &url, &Options::default()).await.unwrap();
    assert!(summary.balanced, "{summary:#?}");
    let ledger = "SELECT table_name, reason, field, left(source_id, 24) FROM migrate.reject
        WHERE octet_length(document) > 20 ORDER BY 1, 4";
    assert_eq!(
        one("too_long", ledger),
        format!(
            "comment|orphan|note|{}\nlabel|too_long|_id|\"{}\nnote|too_long|title|{}\nnote|too_long|code|{}",
            id(21),
            &noise(23),
            id(1),
            id(2)
        )
    );
    let message = "SELECT message FROM migrate.reject WHERE field = 'title'";
    let message = one("too_long", message);
    assert!(
        message.starts_with("expected at most ")
            && message.contains(" bytes for an entry of the index note_title_idx, found "),
        "{message}"
    );
    assert_eq!(one("too_long", "SELECT count(*), count(parent), count(code) FROM note"), "3|1|1");
    assert_eq!(one("too_long", "SELECT count(*) FROM note_label"), "1");
    assert_eq!(one("too_long", "SELECT count(*) FROM label_word"), "0");
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(one("too_long", invalid), "0");
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'";
    assert_eq!(one("too_long", indexes), "8");

    // The same where the indexes stay on.
    let kept = server().create_database("too_long_kept").unwrap();
    for statement in migrate_core::ddl::statements(Notes::FACTS, NAMES) {
        one("too_long_kept", &statement.sql);
    }
    let options = Options { keep_constraints: true, ..Options::default() };
    let summary = migrate(source(), &kept, &options).await.unwrap();
    assert!(summary.balanced, "{summary:#?}");
    // The server names the index only, so the field may be less exact.
    let ledger = "SELECT table_name, reason, source_id FROM migrate.reject ORDER BY 1, 3";
    assert_eq!(one("too_long_kept", ledger), one("too_long", ledger));
}

/// What an index refuses for good is told at once, and as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_an_index_beside_its_key_ends_the_run() {
    let url = server().create_database("words").unwrap();
    for statement in migrate_core::ddl::statements(Notes::FACTS, NAMES) {
        one("words", &statement.sql);
    }
    one("words", "CREATE INDEX note_words ON note (parent) INCLUDE (title, code)");
    // Each of them alone is short enough.
    let note = note(1, doc! { "title": noise(2_000), "code": noise(2_000) });
    let source = MemorySource::new().with("notes", [note]);
    let error = migrate(source, &url, &Options::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Target, "{error}");
    assert!(error.to_string().contains("note_words"), "{error}");
}

/// A run that is refused has planned nothing: an earlier run's files are not for it to replace.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_told_when_it_is_the_runs() {
    let planned = async |database: &str| {
        let url = server().create_database(database).unwrap();
        if database == "refused" {
            one(database, "CREATE TABLE note (id integer PRIMARY KEY)");
        }
        let source = MemorySource::new().with("notes", [note(1, doc! {})]);
        let (watch, options) = (Arc::new(Watch::default()), Options::default());
        let reporter = Arc::clone(&watch) as Arc<dyn Reporter>;
        let stop = Stop::default();
        let result = run(Notes::FACTS, Arc::new(source), &url, &options, reporter, &stop).await;
        let planned = watch.planned.lock().unwrap().clone();
        (result.is_ok(), planned)
    };
    assert_eq!(planned("refused").await, (false, vec![]));
    assert_eq!(planned("taken").await, (true, vec!["note".to_owned()]));
}

/// An index also gets rows that are gone for everybody but a transaction that began before: a
/// stranger's is waited for as long as patience lasts, a worker's until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_row_that_another_session_may_see_is_waited_for() {
    const SEEN: Duration = Duration::from_millis(1500);
    let source = || {
        MemorySource::new()
            .with("labels", [doc! { "_id": noise(5_000) }])
            .with("notes", [note(1, doc! { "code": noise(3_000) }), note(2, doc! {})])
    };
    let hasty = Options { patience: Duration::from_millis(300), ..Options::default() };
    for (database, is_worker) in [("seen", false), ("seen_by_worker", true)] {
        let url = server().create_database(database).unwrap();
        let mut other = PgConnection::connect(&url).await.unwrap();
        let open = match is_worker {
            false => "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class",
            true => {
                "SET application_name = 'migrate run 1 task 9 in migrate';
                 BEGIN; SELECT pg_current_xact_id()"
            }
        };
        sqlx::raw_sql(open).execute(&mut other).await.unwrap();
        let begun = Instant::now();
        let (hasty, patient) = (&hasty, Options::default());
        if !is_worker {
            let error = migrate(source(), &url, hasty).await.unwrap_err();
            assert!(error.to_string().contains("may still be seen by another session"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("pg_stat_activity")), "{error}");
        }
        let options = if is_worker { hasty } else { &patient };
        let (summary, ()) =
            tokio::join!(async { migrate(source(), &url, options).await.unwrap() }, async {
                tokio::time::sleep(SEEN).await;
                sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            });
        assert!(begun.elapsed() > SEEN && summary.balanced, "{summary:#?}");
        assert_eq!((summary.totals.loaded, summary.totals.rejected), (1, 2));
        assert_eq!(one(database, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0");
    }
}

/// A slip of the pen in the name of the source's database is no migration of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_none_of_the_collections_is_refused() {
    let url = server().create_database("mistyped").expect("a database");
    for (source, found) in [
        (MemorySource::new(), "no collections at all, views left out"),
        (MemorySource::new().with("note", [doc! { "_id": 1 }]), "collections like `note`"),
    ] {
        let error = migrate(source, &url, &Options::default()).await.expect_err("none is there");
        assert!(error.to_string().contains("none of the models' collections"), "{error}");
        assert!(error.to_string().ends_with(found), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("the name of the database")));
        assert_eq!(one("mistyped", "SELECT to_regnamespace('migrate') IS NULL"), "t");
    }
    // One of them is enough: the others may be empty.
    let source = MemorySource::new().with("labels", [doc! { "_id": "one" }]);
    let summary = migrate(source, &url, &Options::default()).await.expect("it is the source");
    assert_eq!(summary.totals.loaded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_looked_at_before_anything_is_written() {
    let url = server().create_database("rights").unwrap();
    one("rights", "CREATE ROLE narrow LOGIN PASSWORD 'narrow'");
    one("rights", "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    one("rights", "REVOKE ALL ON DATABASE rights FROM PUBLIC");
    one("rights", "GRANT CONNECT ON DATABASE rights TO narrow");
    let (_, host) = url.split_once('@').unwrap();
    let narrow = format!("postgres://narrow:narrow@{host}");
    let source = || MemorySource::new().with("words", [doc! { "_id": id(50) }]);
    let refused = migrate(source(), &narrow, &Options::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Preflight);
    assert_eq!(
        refused.to_string(),
        "the user narrow lacks rights in the target:\
         \n  make temporary tables: `GRANT TEMPORARY ON DATABASE rights TO narrow;`\
         \n  make tables in the schema \"public\": `GRANT USAGE, CREATE ON SCHEMA \"public\" TO narrow;`\
         \n  make the schema \"migrate\": `CREATE SCHEMA \"migrate\" AUTHORIZATION narrow;`"
    );
    assert_eq!(one("rights", "SELECT count(*) FROM pg_namespace WHERE nspname = 'migrate'"), "0");

    // One connection is not enough, which is told before half of the work is done.
    one("rights", "ALTER ROLE narrow CONNECTION LIMIT 1");
    let refused = migrate(source(), &narrow, &Options::default()).await.unwrap_err();
    let expected = "`narrow` may have 1 connection to `rights` at a time";
    assert_eq!((refused.kind(), refused.to_string().as_str()), (ErrorKind::Preflight, expected));
    assert!(refused.hint().is_some_and(|hint| hint.contains("2 at the least")), "{refused}");
    one("rights", "ALTER ROLE narrow CONNECTION LIMIT 2");

    // A table of somebody else, whose keys only its owner can take off.
    one("rights", "CREATE TABLE word (id uuid PRIMARY KEY)");
    one("rights", "GRANT TEMPORARY ON DATABASE rights TO narrow");
    one("rights", "GRANT USAGE, CREATE ON SCHEMA public TO narrow");
    // A schema that is there serves for the state, although none can be made.
    one("rights", "CREATE SCHEMA shared");
    one("rights", "CREATE TABLE shared.others (a int)");
    one("rights", "GRANT USAGE, CREATE ON SCHEMA shared TO narrow");
    let options = Options { state_schema: "shared".to_owned(), ..Options::default() };
    let refused = migrate(source(), &narrow, &options).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("take the keys and indexes off \"public\".\"word\""), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");

    one("rights", "DROP TABLE word");
    let summary = migrate(source(), &narrow, &options).await.unwrap();
    assert!(summary.is_clean(), "{summary:#?}");
    // Starting over leaves what others keep in that schema.
    let clean = Options { clean: true, ..options };
    let summary = migrate(source(), &narrow, &clean).await.unwrap();
    assert!(summary.is_clean(), "{summary:#?}");
    assert_eq!(one("rights", "SELECT count(*) FROM shared.others"), "0");
    assert_eq!(one("rights", "SELECT count(*) FROM shared.run"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_counterpart_is_named() {
    let url = server().create_database("counterparts").unwrap();
    let source = MemorySource::new()
        .with("words", [doc! { "_id": id(50) }])
        .with("sessions", [doc! { "_id": 1 }, doc! { "_id": 2 }]);
    let watch = Arc::new(Watch::default());
    let options = Options::default();
    let (source, told) = (Arc::new(source), Arc::clone(&watch) as Arc<dyn Reporter>);
    run(Notes::FACTS, source, &url, &options, told, &Stop::default()).await.unwrap();
    let notices = watch.notices.lock().unwrap().join("\n");
    assert!(
        notices.contains(
            "collections without a model, which are not loaded: `sessions` (about 2 documents)"
        ),
        "{notices}"
    );
    assert!(notices.contains("the source has no collection `labels`"), "{notices}");
}

/// A run that is stopped before it has loaded anything.
async fn stopped(url: &str) {
    let stop = Stop::default();
    let watch = Watch { stop: Some(stop.clone()), ..Watch::default() };
    let source = MemorySource::new().with("words", [doc! { "_id": id(50) }]);
    let options = Options::default();
    let stopped = run(Notes::FACTS, Arc::new(source), url, &options, Arc::new(watch), &stop).await;
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
}

/// Gives the last run up; how many definitions were put back.
async fn given_up(url: &str) -> usize {
    let target = Target::parse(url).unwrap();
    let mut connection = target.connect().await.unwrap();
    let state = State::new("migrate");
    let run = state.last_run(&mut connection).await.unwrap().unwrap();
    let silent: Arc<dyn Reporter> = Arc::new(Watch::default());
    deferred::restore(&target, &state, &run, &silent, &Stop::default()).await.unwrap().back
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_given_up_gives_everything_back() {
    const DEFINITIONS: &str = "
        SELECT conrelid::regclass::text || conname || pg_get_constraintdef(oid) || convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index
        JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'public'::regnamespace
        ORDER BY 1";
    let url = server().create_database("given_up").unwrap();
    for statement in migrate_core::ddl::statements(Notes::FACTS, NAMES) {
        one("given_up", &statement.sql);
    }
    one("given_up", "CREATE INDEX mine ON note (lower(title) DESC) WHERE code IS NOT NULL");
    let before = one("given_up", DEFINITIONS);
    stopped(&url).await;
    // Everything is off: NOT NULL constraints of newer servers aside.
    let off = one("given_up", DEFINITIONS);
    assert!(!off.contains("KEY") && !off.contains("INDEX"), "{off}");

    let restored = given_up(&url).await;
    assert_eq!(one("given_up", DEFINITIONS), before);
    assert!(restored > 8, "{restored}");
    assert_eq!(given_up(&url).await, 0);
}

/// Autovacuum is kept away from tables that a run makes; who gives the run up gets it back.
#[tokio::test(flavor = "multi_thread")]
async fn autovacuum_comes_back_to_a_run_that_is_given_up() {
    const KEPT_AWAY: &str = "SELECT count(*)::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND reloptions::text LIKE '%autovacuum%'";
    let url = server().create_database("given_up_new").unwrap();
    stopped(&url).await;
    assert_ne!(one("given_up_new", KEPT_AWAY), "0");
    given_up(&url).await;
    assert_eq!(one("given_up_new", KEPT_AWAY), "0");
}

#[derive(Migrate)]
#[migrate(collection = "words", table = "bad_word")]
#[allow(dead_code)]
struct BadWord {
    #[migrate(id)]
    id: Uuid,
    #[migrate(default = "now", db_default = "nobody_has_this()")]
    made: String,
}

#[derive(Migrate)]
#[migrate(collection = "words", table = "unreadable")]
#[allow(dead_code)]
struct Unreadable {
    #[migrate(id)]
    id: Uuid,
    #[migrate(default = "now", db_default = "lower('a' 'b'")]
    made: String,
}

#[derive(Migrate)]
#[migrate(collection = "words", table = "mistyped")]
#[allow(dead_code)]
struct Mistyped {
    #[migrate(id)]
    id: Uuid,
    #[migrate(db_default = "ARRAY[true]")]
    made: Option<i32>,
}

/// Made before the others, with a name that has more bytes than characters.
#[derive(Migrate)]
#[migrate(collection = "before", table = "wörter_für_übermorgen")]
#[allow(dead_code)]
struct Before {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(collection = "after", table = "after")]
#[allow(dead_code)]
struct After {
    #[migrate(id)]
    id: Uuid,
}

registry! { BadWords = [Before, BadWord, After] }
registry! { UnreadableWords = [Before, Unreadable, After] }
registry! { MistypedWords = [Before, Mistyped, After] }

/// What the target refuses of a table is refused before anything is written: what it cannot read, what it
/// does not know, and what does not fit, of which the first two are refused at a place in the text.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_that_the_target_refuses_leaves_nothing_behind() {
    let url = server().create_database("bad_default").unwrap();
    for (facts, table) in [
        (BadWords::FACTS, "bad_word"),
        (UnreadableWords::FACTS, "unreadable"),
        (MistypedWords::FACTS, "mistyped"),
    ] {
        let source = MemorySource::new().with("words", [doc! { "_id": id(50) }]);
        let options = Options::default();
        let watch = Arc::new(Watch::default());
        let error = run(facts, Arc::new(source), &url, &options, watch, &Stop::default())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), format!("making the table {table}"));
        let left = format!(
            "SELECT (to_regclass('{table}') IS NULL AND to_regclass('wörter_für_übermorgen') IS NULL
                AND to_regnamespace('migrate') IS NULL)::text"
        );
        assert_eq!(one("bad_default", &left).trim_end(), "true");
    }
}
