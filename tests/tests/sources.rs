//! A live MongoDB and the dumps of real data: every document is read once, as it is, whatever its
//! id, and whatever happens to the server meanwhile.
#![expect(clippy::print_stdout, reason = "a test says what it skips and what it measured")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocumentBuf, doc};
use migrate_core::ErrorKind;
use migrate_core::source::{self, Batch, Ending, MongoSource, Range, Source, SourceOptions};
use migrate_servers::{Mongo, MongoOptions};
use mongodb::Client;
use tokio::sync::mpsc;

/// The server that all tests share which do not stop theirs.
fn server() -> &'static Mongo {
    static SERVER: OnceLock<Mongo> = OnceLock::new();
    SERVER.get_or_init(|| Mongo::start(MongoOptions::default()).unwrap())
}

/// A database of that name, empty.
async fn database(server: &Mongo, name: &str) -> mongodb::Database {
    let client = Client::with_uri_str(server.uri(name)).await.unwrap();
    let database = client.database(name);
    database.drop().await.unwrap();
    database
}

async fn open(server: &Mongo, name: &str) -> MongoSource {
    MongoSource::open(&server.uri(name), SourceOptions::default()).await.unwrap()
}

/// A source that cuts as if every collection were too large to walk over.
async fn open_sampling(server: &Mongo, name: &str) -> MongoSource {
    let options = SourceOptions { walked_documents: 0, ..SourceOptions::default() };
    MongoSource::open(&server.uri(name), options).await.unwrap()
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

async fn insert(database: &mongodb::Database, collection: &str, documents: &[RawDocumentBuf]) {
    let collection = database.collection::<RawDocumentBuf>(collection);
    for part in documents.chunks(10_000) {
        collection.insert_many(part).await.unwrap();
    }
}

/// The documents of a range, in the order they came.
async fn read(source: &dyn Source, collection: &str, range: &Range) -> Vec<Vec<u8>> {
    let (sender, mut batches) = mpsc::channel::<Batch>(2);
    let mut documents = Vec::new();
    let receive = async {
        while let Some(batch) = batches.recv().await {
            documents.extend(batch.iter().map(<[u8]>::to_vec));
        }
    };
    let (result, ()) = tokio::join!(source.read(collection, range, sender), receive);
    result.unwrap();
    documents
}

/// All documents of a collection, cut into ranges of that size, and how many ranges those were.
async fn read_all(
    source: &dyn Source,
    collection: &str,
    chunk_bytes: u64,
) -> (Vec<Vec<u8>>, usize) {
    let ranges = source.split(collection, chunk_bytes).await.unwrap();
    let mut documents = Vec::new();
    for range in &ranges {
        documents.extend(read(source, collection, range).await);
    }
    (documents, ranges.len())
}

fn sorted(mut documents: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    documents.sort();
    documents
}

fn bytes(documents: Vec<RawDocumentBuf>) -> Vec<Vec<u8>> {
    documents.into_iter().map(RawDocumentBuf::into_bytes).collect()
}

/// Documents with ids of every type that MongoDB allows, each type with many values.
fn of_every_id(count: i64) -> Vec<RawDocumentBuf> {
    let mut ids =
        vec![Bson::Null, Bson::MinKey, Bson::MaxKey, Bson::Boolean(true), Bson::Boolean(false)];
    for n in 0..count {
        let bytes = (n as u128 * 0x1234_5678_9abc_def1).to_be_bytes();
        let mut oid = [0; 12];
        oid.copy_from_slice(&bytes[4..]);
        oid[..4].copy_from_slice(&(n as u32).to_be_bytes());
        let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() };
        let generic =
            Binary { subtype: BinarySubtype::Generic, bytes: (n as u32).to_be_bytes().to_vec() };
        ids.extend([
            Bson::Int32(n as i32),
            Bson::Int64(n + (1 << 40)),
            Bson::Double(n as f64 + 0.5),
            Bson::Decimal128(format!("{n}.25").parse().unwrap()),
            Bson::String(format!("key ü {n}")),
            Bson::Symbol(format!("symbol {n}")),
            Bson::ObjectId(ObjectId::from_bytes(oid)),
            Bson::Binary(uuid),
            Bson::Binary(generic),
            Bson::DateTime(bson::DateTime::from_millis(n * 1_000_003 - 99_999_999)),
            Bson::Timestamp(bson::Timestamp { time: n as u32 + 1, increment: 7 }),
            Bson::Document(doc! { "tenant": n % 7, "number": n }),
        ]);
    }
    ids.iter().map(|id| raw(&doc! { "_id": id, "text": "x".repeat(50) })).collect()
}

/// Reads `count` ids of each type in many ranges.
async fn every_id_is_read_once(name: &str, source: MongoSource, count: i64, chunk_bytes: u64) {
    let database = database(server(), name).await;
    let documents = of_every_id(count);
    insert(&database, "things", &documents).await;
    let (read, ranges) = read_all(&source, "things", chunk_bytes).await;
    assert!(ranges >= 40, "{ranges} ranges");
    assert_eq!(read.len(), documents.len());
    assert_eq!(sorted(read), sorted(bytes(documents)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_type_are_read_once_in_ranges_of_a_walk() {
    let source = open(server(), "walked").await;
    every_id_is_read_once("walked", source, 300, 5_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_type_are_read_once_in_ranges_of_a_sample() {
    let source = open_sampling(server(), "drawn").await;
    every_id_is_read_once("drawn", source, 1_000, 20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_document_may_be_a_range_of_its_own() {
    let database = database(server(), "single").await;
    let documents = of_every_id(5);
    insert(&database, "things", &documents).await;
    let source = open(server(), "single").await;
    let (read, ranges) = read_all(&source, "things", 1).await;
    // Nothing is cut at the least and the greatest id.
    assert_eq!((read.len(), ranges), (65, 64));
    assert_eq!(sorted(read), sorted(bytes(documents)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_join_each_other_and_the_outer_ones_are_open() {
    let database = database(server(), "bounds").await;
    insert(&database, "things", &of_every_id(100)).await;
    let source = open(server(), "bounds").await;
    let ranges = source.split("things", 5_000).await.unwrap();
    let mut last = None;
    for range in &ranges {
        // What the target stores and gives back.
        let stored = serde_json::to_string(range).unwrap();
        assert_eq!(&serde_json::from_str::<Range>(&stored).unwrap(), range);
        let Range::Ids { min, max } = range else { panic!("{range:?}") };
        assert_eq!(*min, last);
        last.clone_from(max);
    }
    assert_eq!(last, None);

    // Ids that came after the cut, one of them before all numbers.
    let late = [raw(&doc! { "_id": ObjectId::new() }), raw(&doc! { "_id": -1.0e300 })];
    insert(&database, "things", &late).await;
    let mut count = 0;
    for range in &ranges {
        count += read(&source, "things", range).await.len();
    }
    assert_eq!(count, 5 + 12 * 100 + 2);
    assert_eq!(count as u64, source.count("things").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walked_cut_is_even_and_a_sampled_one_is_complete() {
    let database = database(server(), "even").await;
    let documents: Vec<_> =
        (0..60_000).map(|n| raw(&doc! { "_id": n, "text": "x".repeat(80) })).collect();
    insert(&database, "things", &documents).await;
    let walking = open(server(), "even").await;
    let sampling = open_sampling(server(), "even").await;
    for (source, most) in [(walking, 4_616), (sampling, 60_000)] {
        let ranges = source.split("things", 500_000).await.unwrap();
        let mut counts = Vec::new();
        for range in &ranges {
            counts.push(read(&source, "things", range).await.len());
        }
        println!("documents in {} ranges: {counts:?}", counts.len());
        assert_eq!(counts.len(), 13);
        assert!(counts.iter().all(|&count| count <= most), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 60_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_come_in_the_order_of_their_ids() {
    let database = database(server(), "order").await;
    let documents: Vec<_> = (0..500).rev().map(|n| raw(&doc! { "_id": n })).collect();
    insert(&database, "things", &documents).await;
    let source = open(server(), "order").await;
    let read = read(&source, "things", &Range::Ids { min: None, max: None }).await;
    let expected: Vec<_> = documents.into_iter().rev().map(RawDocumentBuf::into_bytes).collect();
    assert_eq!(read, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_told_without_views_and_with_notices() {
    let database = database(server(), "listed").await;
    insert(&database, "b", &[raw(&doc! { "_id": 1 }), raw(&doc! { "_id": 2 })]).await;
    let commands = [
        doc! { "create": "a" },
        doc! { "create": "seen", "viewOn": "b", "pipeline": [] },
        doc! { "create": "weather", "timeseries": { "timeField": "t" } },
        doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } },
        doc! { "create": "collated", "collation": { "locale": "de", "strength": 1 } },
        doc! { "create": "capped", "capped": true, "size": 1_000_000 },
    ];
    for command in commands {
        database.run_command(command).await.unwrap();
    }
    let numbered: Vec<_> = (0..900_i64)
        .map(|n| raw(&doc! { "_id": n, "t": bson::DateTime::from_millis(n) }))
        .collect();
    for name in ["weather", "clustered", "capped"] {
        insert(&database, name, &numbered).await;
    }
    let words: Vec<_> = ["Ärger", "b", "ZEBRA", "rüpel", "zoo", "m"]
        .iter()
        .flat_map(|word| (0..100).map(move |n| raw(&doc! { "_id": format!("{word}{n}") })))
        .collect();
    insert(&database, "collated", &words).await;

    let source = open(server(), "listed").await;
    let infos = source.collections().await.unwrap();
    let names: Vec<_> = infos.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "capped", "clustered", "collated", "weather"]);
    assert_eq!((infos[0].documents, infos[0].bytes), (Some(0), Some(0)));
    assert_eq!((infos[1].documents, infos[1].bytes), (Some(2), Some(28)));
    let notices = source.notices().join("\n");
    assert!(notices.contains("the view `seen` is left out"), "{notices}");
    assert!(notices.contains("the time series `weather`"), "{notices}");

    let counts =
        [("a", 0), ("capped", 900), ("clustered", 900), ("collated", 600), ("weather", 900)];
    for (name, count) in counts {
        let (read, ranges) = read_all(&source, name, 2_000).await;
        assert_eq!(read.len(), count, "{name} in {ranges} ranges");
        assert_eq!(source.count(name).await.unwrap(), count as u64);
        if ["capped", "clustered", "collated"].contains(&name) {
            assert!(ranges > 5, "{name}: {ranges} ranges");
        }
    }
    let (nothing, _) = read_all(&source, "not there", 2_000).await;
    assert!(nothing.is_empty());
    assert_eq!(source.count("not there").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_fetched_by_the_exact_id() {
    let database = database(server(), "fetched").await;
    let documents = of_every_id(20);
    insert(&database, "things", &documents).await;
    let source = open(server(), "fetched").await;
    let ids: Vec<_> = documents
        .iter()
        .map(|document| Bson::try_from(document.get("_id").unwrap().unwrap()).unwrap())
        .collect();
    let found = source.fetch("things", &ids).await.unwrap();
    assert_eq!(sorted(bytes(found)), sorted(bytes(documents)));
    // The server holds 3.0 and 3 equal.
    let other_types = [Bson::Double(3.0), Bson::Int64(4)];
    assert!(source.fetch("things", &other_types).await.unwrap().is_empty());
    assert_eq!(source.fetch("things", &[Bson::Int32(3)]).await.unwrap().len(), 1);
    // More than one `$in` takes.
    let many: Vec<_> = (0..25_000).map(Bson::Int32).collect();
    assert_eq!(source.fetch("things", &many).await.unwrap().len(), 20);
    assert!(source.fetch("things", &[]).await.unwrap().is_empty());
}

/// A read during which something happens to the server, behind the first batch.
async fn disturbed<F: Future<Output = ()>>(
    source: &MongoSource,
    disturb: impl FnOnce() -> F,
) -> Vec<i32> {
    let (sender, batches) = mpsc::channel::<Batch>(1);
    let whole = Range::Ids { min: None, max: None };
    let read = source.read("things", &whole, sender);
    let (result, ids) = tokio::join!(read, received(batches, disturb));
    result.unwrap();
    ids
}

/// The ids of what comes; `disturb` is done behind the first batch.
async fn received<F: Future<Output = ()>>(
    mut batches: mpsc::Receiver<Batch>,
    disturb: impl FnOnce() -> F,
) -> Vec<i32> {
    let mut disturb = Some(disturb);
    let mut ids = Vec::new();
    while let Some(batch) = batches.recv().await {
        let documents = batch.iter().map(|raw| bson::RawDocument::from_bytes(raw).unwrap());
        ids.extend(documents.map(|document| document.get_i32("_id").unwrap()));
        if let Some(disturb) = disturb.take() {
            disturb().await;
        }
    }
    ids
}

/// More documents than fit into a few batches, and a count of how often the source had to wait.
async fn many(server: &Mongo, name: &str) -> (mongodb::Database, MongoSource, Arc<AtomicUsize>) {
    let database = database(server, name).await;
    let documents: Vec<_> =
        (0..20_000).map(|n| raw(&doc! { "_id": n, "text": "x".repeat(500) })).collect();
    insert(&database, "things", &documents).await;
    let waits = Arc::new(AtomicUsize::new(0));
    let counter = waits.clone();
    let options = SourceOptions {
        batch_bytes: 200_000,
        waiting: Some(Arc::new(move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
        })),
        ..SourceOptions::default()
    };
    let source = MongoSource::open(&server.uri(name), options).await.unwrap();
    (database, source, waits)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_in_mid_read_loses_and_repeats_nothing() {
    for crash in [false, true] {
        let mut server = Mongo::start(MongoOptions::default()).unwrap();
        let (_, source, waits) = many(&server, "restarted").await;
        let ids = disturbed(&source, || async {
            if crash {
                server.kill();
            }
            server.restart().unwrap();
        })
        .await;
        assert_eq!(ids, (0..20_000).collect::<Vec<_>>());
        assert!(waits.load(Ordering::SeqCst) > 0, "the server was not missed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_the_server_forgot_loses_and_repeats_nothing() {
    let (database, source, waits) = many(server(), "killed").await;
    let ids = disturbed(&source, || async {
        // What the time limit of idle cursors does.
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
            doc! { "$match": { "ns": "killed.things", "cursor": { "$exists": true } } },
        ];
        let admin = database.client().database("admin");
        let mut killed = 0;
        // The reader may have a request under way, and then the cursor is not idle.
        while killed == 0 {
            let mut found = admin.aggregate(pipeline.clone()).await.unwrap();
            while found.advance().await.unwrap() {
                let operation: Document = found.deserialize_current().unwrap();
                let id = operation.get_document("cursor").unwrap().get_i64("cursorId").unwrap();
                let kill = doc! { "killCursors": "things", "cursors": [id] };
                database.run_command(kill).await.unwrap();
                killed += 1;
            }
        }
    })
    .await;
    assert_eq!(ids, (0..20_000).collect::<Vec<_>>());
    assert!(waits.load(Ordering::SeqCst) > 0, "the cursor was not missed");
}

/// A way to the server that can be cut, or fall silent without a word.
struct Proxy {
    port: u16,
    /// Connections opened before this number was raised carry nothing any more.
    silent_before: Arc<AtomicUsize>,
    /// Connections opened before this number was raised are closed.
    cut: tokio::sync::watch::Sender<()>,
}

impl Proxy {
    async fn start(server_port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent_before = Arc::new(AtomicUsize::new(0));
        let (cut, was_cut) = tokio::sync::watch::channel(());
        let silent = silent_before.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (near, _) = listener.accept().await.unwrap();
                let mut was_cut = was_cut.clone();
                was_cut.mark_unchanged();
                let silent = silent.clone();
                tokio::spawn(async move {
                    let far = tokio::net::TcpStream::connect(("127.0.0.1", server_port));
                    let Ok(far) = far.await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = carry(near_read, far_write, number, &silent) => {}
                        () = carry(far_read, near_write, number, &silent) => {}
                        _ = was_cut.changed() => {}
                    }
                });
            }
        });
        Self { port, silent_before, cut }
    }

    fn uri(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?directConnection=true", self.port)
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    number: usize,
    silent_before: &AtomicUsize,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(count @ 1..) => {
                while number < silent_before.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_or_falls_silent_loses_and_repeats_nothing() {
    many(server(), "network").await;
    let proxy = Proxy::start(server().port()).await;
    let waits = Arc::new(AtomicUsize::new(0));
    let counter = waits.clone();
    let options = SourceOptions {
        batch_bytes: 200_000,
        reply_timeout: Duration::from_secs(2),
        waiting: Some(Arc::new(move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
        })),
        ..SourceOptions::default()
    };
    for silent in [false, true] {
        let source = MongoSource::open(&proxy.uri("network"), options.clone()).await.unwrap();
        let ids = disturbed(&source, || async {
            match silent {
                false => proxy.cut.send(()).unwrap(),
                true => proxy.silent_before.store(1_000, Ordering::SeqCst),
            }
            // Whatever was under way has arrived, and the next request meets the fault.
            tokio::time::sleep(Duration::from_millis(500)).await;
            if silent {
                let number = proxy.silent_before.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    number.store(0, Ordering::SeqCst);
                });
            }
        })
        .await;
        assert_eq!(ids, (0..20_000).collect::<Vec<_>>(), "silent: {silent}");
        assert!(waits.swap(0, Ordering::SeqCst) > 0, "silent: {silent}: the fault was not met");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_an_error_after_a_while() {
    let mut server = Mongo::start(MongoOptions::default()).unwrap();
    many(&server, "gone").await;
    let options = SourceOptions {
        retry_for: Duration::from_secs(2),
        batch_bytes: 200_000,
        ..SourceOptions::default()
    };
    let uri = format!("{}&serverSelectionTimeoutMS=500", server.uri("gone"));
    let source = MongoSource::open(&uri, options).await.unwrap();
    let (sender, mut batches) = mpsc::channel::<Batch>(1);
    let whole = Range::Ids { min: None, max: None };
    let receive = async {
        batches.recv().await.unwrap();
        server.kill();
        while batches.recv().await.is_some() {}
    };
    let (result, ()) = tokio::join!(source.read("things", &whole, sender), receive);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceConnection);
    assert_eq!(error.to_string(), "the collection `things` cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_ends_a_read_without_an_error() {
    let (_, source, _) = many(server(), "left").await;
    let (sender, mut batches) = mpsc::channel::<Batch>(1);
    let whole = Range::Ids { min: None, max: None };
    let receive = async {
        batches.recv().await.unwrap();
        drop(batches);
    };
    let (result, ()) = tokio::join!(source.read("things", &whole, sender), receive);
    result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_read_as_it_was() {
    let database = database(server(), "snapshot").await;
    insert(&database, "things", &[raw(&doc! { "_id": 1 }), raw(&doc! { "_id": 2 })]).await;
    let options = SourceOptions { snapshot: true, ..SourceOptions::default() };
    let source = MongoSource::open(&server().uri("snapshot"), options).await.unwrap();
    insert(&database, "things", &[raw(&doc! { "_id": 3 })]).await;
    database.collection::<Document>("things").delete_one(doc! { "_id": 1 }).await.unwrap();
    let (documents, _) = read_all(&source, "things", 1_000).await;
    assert_eq!(documents, [1, 2].map(|n| raw(&doc! { "_id": n }).into_bytes()));
    let (documents, _) = read_all(&open(server(), "snapshot").await, "things", 1_000).await;
    assert_eq!(documents, [2, 3].map(|n| raw(&doc! { "_id": n }).into_bytes()));
}

/// The ids of a whole collection, read in any order, and how that ended; `disturb` is done behind
/// the first batch.
async fn in_any_order<F: Future<Output = ()>>(
    source: &dyn Source,
    disturb: impl FnOnce() -> F,
) -> (Vec<i32>, Ending) {
    let (sender, batches) = mpsc::channel::<Batch>(1);
    let whole = Range::Ids { min: None, max: None };
    let read = source.read_in_any_order("things", &whole, sender);
    let (ending, ids) = tokio::join!(read, received(batches, disturb));
    (ids, ending.unwrap())
}

async fn nothing() {}

/// Documents whose order on the disk is not that of their ids, and the ids in the former.
async fn shuffled(server: &Mongo, name: &str) -> (mongodb::Database, MongoSource, Vec<i32>) {
    let database = database(server, name).await;
    let ids: Vec<i32> = (0..20_000).map(|n| n * 7_919 % 20_000).collect();
    let documents: Vec<_> =
        ids.iter().map(|id| raw(&doc! { "_id": id, "text": "x".repeat(500) })).collect();
    insert(&database, "things", &documents).await;
    let options = SourceOptions { batch_bytes: 200_000, ..SourceOptions::default() };
    let source = MongoSource::open(&server.uri(name), options).await.unwrap();
    (database, source, ids)
}

fn sorted_ids(ids: &[i32]) -> Vec<i32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

/// A server that does on command what servers do by accident.
fn failing_server() -> Mongo {
    let arguments = ["--setParameter", "enableTestCommands=1"].map(str::to_owned).to_vec();
    Mongo::start(MongoOptions { arguments }).unwrap()
}

/// Lets the next commands of that name go wrong.
async fn fail(database: &mongodb::Database, command: &str, mode: Document, how: Document) {
    let mut data = doc! { "failCommands": [command] };
    data.extend(how);
    let fail = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    database.client().database("admin").run_command(fail).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_any_order_will_do_a_collection_is_read_as_it_lies() {
    let (database, source, ids) = shuffled(server(), "as_it_lies").await;
    let (read, ending) = in_any_order(&source, nothing).await;
    assert_eq!((read, ending), (ids.clone(), Ending::Whole));
    // A part of a collection has the index, and so has what was not asked for in any order.
    let ranges = source.split("things", 1 << 20).await.unwrap();
    assert!(ranges.len() > 5, "{ranges:?}");
    let mut parts = Vec::new();
    for range in &ranges {
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        let receive = async {
            while let Some(batch) = batches.recv().await {
                let documents = batch.iter().map(|raw| bson::RawDocument::from_bytes(raw).unwrap());
                parts.extend(documents.map(|document| document.get_i32("_id").unwrap()));
            }
        };
        let (ending, ()) = tokio::join!(source.read_in_any_order("things", range, sender), receive);
        assert_eq!(ending.unwrap(), Ending::Whole);
    }
    assert_eq!(parts, sorted_ids(&ids));
    assert_eq!(disturbed(&source, nothing).await, sorted_ids(&ids));
    // One that is not there, or holds nothing, is no reason to ask no more.
    database.collection::<Document>("things").delete_many(doc! {}).await.unwrap();
    assert_eq!(in_any_order(&source, nothing).await, (Vec::new(), Ending::Whole));
    database.collection::<Document>("things").drop().await.unwrap();
    assert_eq!(in_any_order(&source, nothing).await, (Vec::new(), Ending::Whole));
    // The server shows a capped one as of no moment.
    database.create_collection("things").capped(true).size(1 << 20).await.unwrap();
    let documents = [3, 1, 2].map(|id| raw(&doc! { "_id": id }));
    insert(&database, "things", &documents).await;
    assert_eq!(in_any_order(&source, nothing).await, (vec![1, 2, 3], Ending::Whole));
    database.collection::<Document>("things").drop().await.unwrap();
    insert(&database, "things", &documents).await;
    assert_eq!(in_any_order(&source, nothing).await, (vec![3, 1, 2], Ending::Whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_during_a_read_in_any_order_neither_lose_nor_repeat_a_document() {
    let (database, source, ids) = shuffled(server(), "written_meanwhile").await;
    let things = database.collection::<Document>("things");
    let (read, ending) = in_any_order(&source, || async {
        // These were read already, and lie at the end then.
        things.delete_many(doc! { "_id": { "$in": &ids[..100] } }).await.unwrap();
        things.insert_many(ids[..100].iter().map(|id| doc! { "_id": id })).await.unwrap();
        things.insert_many((20_000..20_100).map(|id| doc! { "_id": id })).await.unwrap();
        things.delete_many(doc! { "_id": { "$in": &ids[19_000..] } }).await.unwrap();
    })
    .await;
    assert_eq!((read, ending), (ids.clone(), Ending::Whole));
    // What was written right before is there, also where nobody waited for more than one server.
    let hasty = things.clone_with_type::<Document>();
    for number in 0..30 {
        let concern = mongodb::options::WriteConcern::builder()
            .w(mongodb::options::Acknowledgment::Nodes(1))
            .journal(false)
            .build();
        hasty.insert_one(doc! { "_id": 30_000 + number }).write_concern(concern).await.unwrap();
        let (read, _) = in_any_order(&source, nothing).await;
        assert_eq!(read.last(), Some(&(30_000 + number)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_in_any_order_that_breaks_says_so() {
    let mut server = failing_server();
    let (database, source, ids) = shuffled(&server, "breaks").await;
    for how in
        [doc! { "errorCode": 43 }, doc! { "errorCode": 239 }, doc! { "closeConnection": true }]
    {
        let (read, ending) =
            in_any_order(&source, || fail(&database, "getMore", doc! { "times": 1 }, how.clone()))
                .await;
        assert_eq!(ending, Ending::BrokenOff, "{how}");
        assert!(read.len() < ids.len() && ids.starts_with(&read), "{how}");
    }
    let (_, ending) = in_any_order(&source, || async { server.restart().unwrap() }).await;
    assert_eq!(ending, Ending::BrokenOff);
    // That is no reason to try no more.
    assert_eq!(in_any_order(&source, nothing).await, (ids, Ending::Whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_told_by_statistics_or_not_at_all_where_a_server_refuses_to_measure() {
    let server = failing_server();
    let (database, source, ids) = shuffled(&server, "sizes").await;
    let told = async || {
        let infos = source.collections().await.unwrap();
        assert_eq!(infos[0].documents, Some(ids.len() as u64));
        infos[0].bytes
    };
    let bytes = told().await.expect("a size");
    assert!(bytes > 500 * ids.len() as u64);
    // As many ranges as were asked for, and no more.
    assert_eq!(source.split("things", bytes.div_ceil(4)).await.unwrap().len(), 4);
    assert_eq!(source.split("things", bytes.div_ceil(2)).await.unwrap().len(), 2);
    for (refused, size) in [
        (doc! { "failCommands": ["dataSize"], "errorCode": 59 }, Some(bytes)),
        (doc! { "failCommands": ["dataSize", "aggregate"], "errorCode": 13 }, None),
    ] {
        fail(&database, "dataSize", doc! { "times": 4 }, refused.clone()).await;
        assert_eq!(told().await, size, "{refused}");
        fail(&database, "dataSize", doc! { "times": 0 }, refused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shows_no_moments_is_read_in_the_order_of_ids() {
    let server = failing_server();
    let (database, source, ids) = shuffled(&server, "no_moments").await;
    let sorted = sorted_ids(&ids);
    // It waits for members of the set that are down.
    fail(
        &database,
        "find",
        doc! { "times": 1 },
        doc! { "blockConnection": true, "blockTimeMS": 20_000 },
    )
    .await;
    let begun = std::time::Instant::now();
    let (read, ending) = in_any_order(&source, nothing).await;
    assert_eq!((&read, ending), (&sorted, Ending::Whole));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // It is not asked again.
    assert_eq!(in_any_order(&source, nothing).await, (sorted.clone(), Ending::Whole));
    let source = open(&server, "no_moments").await;
    fail(&database, "find", doc! { "times": 1 }, doc! { "errorCode": 72 }).await;
    assert_eq!(in_any_order(&source, nothing).await, (sorted, Ending::Whole));
    assert_eq!(in_any_order(&source, nothing).await, (ids, Ending::Whole));
}

#[tokio::test]
async fn replies_come_compressed_where_the_address_asks_for_it() {
    let name = "compressed";
    let database = database(server(), name).await;
    let document = |n| raw(&doc! { "_id": n, "text": "the same words again ".repeat(20) });
    let documents: Vec<RawDocumentBuf> = (0..5_000).map(document).collect();
    insert(&database, "many", &documents).await;
    // What the server has compressed in all, before and after.
    let compressed = async |compressor: &str| {
        let status = database.run_command(doc! { "serverStatus": 1 }).await.unwrap();
        let path = ["network", "compression", compressor, "compressor"];
        let counts = path.iter().fold(&status, |at, key| at.get_document(key).unwrap());
        ["bytesIn", "bytesOut"].map(|key| counts.get(key).and_then(Bson::as_i64).unwrap())
    };
    for compressor in ["snappy", "zlib", "zstd"] {
        let before = compressed(compressor).await;
        let uri = format!("{}&compressors={compressor}", server().uri(name));
        let source = MongoSource::open(&uri, SourceOptions::default()).await.unwrap();
        let (found, _) = read_all(&source, "many", 1 << 20).await;
        assert_eq!(found.len(), documents.len(), "{compressor}");
        let after = compressed(compressor).await;
        let (plain, sent) = (after[0] - before[0], after[1] - before[1]);
        println!("{compressor}: {plain} bytes were sent as {sent}");
        assert!(plain > 2_000_000 && sent * 3 < plain, "{compressor}: {plain}, {sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_opened_say_why_and_keep_the_password() {
    let port = server().port();
    let cases = [
        (format!("mongodb://127.0.0.1:{port}"), ErrorKind::Usage, "names no database"),
        (
            format!("mongodb://ann:se%cret@127.0.0.1:{port}/crm"),
            ErrorKind::Usage,
            "is not a MongoDB address",
        ),
        (
            format!("mongodb://ann:se/cret@127.0.0.1:{port}/crm"),
            ErrorKind::Usage,
            "is not a MongoDB address",
        ),
        (format!("mongodb://ann:secret@127.0.0.1:{port}/crm"), ErrorKind::Source, "cannot connect"),
        (
            "mongodb://ann:secret@127.0.0.1:1/crm?serverSelectionTimeoutMS=300".to_owned(),
            ErrorKind::SourceConnection,
            "cannot connect to `mongodb://127.0.0.1:1/crm`",
        ),
    ];
    for (address, kind, expected) in cases {
        let error = source::open(&address).await.unwrap_err();
        let mut text = format!("{error}\n{error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(below) = cause {
            text += &format!("\n{below}");
            cause = below.source();
        }
        assert_eq!(error.kind(), kind, "{address}: {text}");
        assert!(text.contains(expected), "{address}: {text}");
        assert!(error.hint().is_some(), "{address}: {text}");
        for secret in ["secret", "cret", "se%", "ann:"] {
            assert!(!text.contains(secret), "{address}: {text}");
        }
    }
    let source = open(server(), "described").await;
    assert_eq!(source.describe(), format!("MongoDB mongodb://127.0.0.1:{port}/described"));
}

/// The folder of real dumps beside the project; `None`, with a line that says so, where it is not.
fn datasets() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets");
    if !folder.is_dir() {
        println!("skipped: there is no folder `{}`", folder.display());
        return None;
    }
    Some(folder)
}

/// How many documents the datasets' own description names.
const COUNTS: [(&str, &[(&str, u64)]); 5] = [
    (
        "sample_mflix",
        &[
            ("comments", 1_000),
            ("embedded_movies", 101),
            ("movies", 1_000),
            ("theaters", 1_564),
            ("users", 185),
        ],
    ),
    ("sample_analytics", &[("accounts", 1_746), ("customers", 500)]),
    (
        "gipfel",
        &[
            ("ascents", 200),
            ("climbers", 13),
            ("lastchanges", 7),
            ("regions", 13),
            ("routes", 13_043),
            ("summits", 1_147),
        ],
    ),
    ("sakila", &[("actors", 200), ("customers", 599), ("films", 1_000)]),
    (
        "bsoncorpus",
        &[("datetime", 5), ("dbref", 9), ("decimal128", 605), ("multi", 36), ("string", 7)],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn real_dumps_have_the_documents_they_are_said_to_have() {
    let Some(folder) = datasets() else { return };
    for (name, counts) in COUNTS {
        let source = source::open(folder.join(name).to_str().unwrap()).await.unwrap();
        let infos: BTreeMap<_, _> = source
            .collections()
            .await
            .unwrap()
            .into_iter()
            .map(|info| (info.name.clone(), info))
            .collect();
        for (collection, count) in counts {
            let (documents, ranges) = read_all(&*source, collection, 50_000).await;
            assert_eq!(documents.len() as u64, *count, "{name}.{collection} in {ranges} ranges");
            assert_eq!(source.count(collection).await.unwrap(), *count, "{name}.{collection}");
            let bytes: usize = documents.iter().map(Vec::len).sum();
            assert_eq!(infos[*collection].bytes, Some(bytes as u64), "{name}.{collection}");
        }
    }
    let error = source::open(folder.to_str().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("holds the dumps of 5 databases"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_and_the_server_it_is_restored_to_give_the_same_bytes() {
    let Some(folder) = datasets() else { return };
    for (name, _) in COUNTS {
        let dump = source::open(folder.join(name).to_str().unwrap()).await.unwrap();
        let name = format!("restored_{name}");
        let database = database(server(), &name).await;
        let live = open(server(), &name).await;
        for info in dump.collections().await.unwrap() {
            let (documents, _) = read_all(&*dump, &info.name, u64::MAX).await;
            let raw: Vec<_> = documents
                .iter()
                .map(|document| RawDocumentBuf::from_bytes(document.clone()).unwrap())
                .collect();
            insert(&database, &info.name, &raw).await;
            let (live, _) = read_all(&live, &info.name, 50_000).await;
            assert_eq!(sorted(live), sorted(documents), "{name}.{}", info.name);
        }
    }
}
