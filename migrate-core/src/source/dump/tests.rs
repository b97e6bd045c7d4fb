//! Dumps that are whole, compressed, cut anywhere, and broken in every way a disk breaks them.

use std::collections::BTreeSet;
use std::io::Write;

use bson::{Document, doc};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

fn raw(document: &Document) -> Vec<u8> {
    bson::RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

/// Documents of very different sizes.
fn documents(count: i32) -> Vec<Document> {
    (0..count).map(|n| doc! { "_id": n, "text": "x".repeat((n * 37 % 1009) as usize) }).collect()
}

fn content(documents: &[Document]) -> Vec<u8> {
    documents.iter().flat_map(raw).collect()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

async fn open(folder: &TempDir) -> DumpSource {
    let options = SourceOptions { batch_bytes: 10_000, ..SourceOptions::default() };
    DumpSource::open(folder.path(), options).await.unwrap()
}

/// The documents of a range, and the error that ended it.
async fn read(
    source: &DumpSource,
    collection: &str,
    range: &Range,
) -> (Vec<Vec<u8>>, Option<Error>) {
    let (sender, mut batches) = mpsc::channel::<Batch>(1);
    let mut documents = Vec::new();
    let receive = async {
        while let Some(batch) = batches.recv().await {
            assert!(!batch.is_empty());
            assert_eq!(batch.bytes_len(), batch.iter().map(<[u8]>::len).sum::<usize>());
            documents.extend(batch.iter().map(<[u8]>::to_vec));
        }
    };
    let (result, ()) = tokio::join!(source.read(collection, range, sender), receive);
    (documents, result.err())
}

async fn read_all(source: &DumpSource, collection: &str, ranges: &[Range]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for range in ranges {
        let (documents, error) = read(source, collection, range).await;
        assert!(error.is_none(), "{error:?}");
        all.extend(documents);
    }
    all
}

const WHOLE: Range = Range::Bytes { start: 0, end: None };

#[tokio::test]
async fn ranges_of_every_size_hold_every_document_once() {
    let documents = documents(500);
    let bytes = content(&documents);
    let expected: Vec<_> = documents.iter().map(raw).collect();
    let lines: String = documents
        .iter()
        .map(|document| {
            format!("{}\n", bson::Bson::Document(document.clone()).into_canonical_extjson())
        })
        .collect();
    let folder = folder(&[
        ("plain.bson", &bytes),
        ("packed.bson.gz", &packed(&bytes)),
        ("lines.json", lines.as_bytes()),
        ("packed_lines.json.gz", &packed(lines.as_bytes())),
    ]);
    let source = open(&folder).await;
    for collection in ["plain", "packed", "lines", "packed_lines"] {
        for chunk_bytes in [700, 997, 5_000, 100_000, u64::MAX] {
            let ranges = source.split(collection, chunk_bytes).await.unwrap();
            if chunk_bytes == 5_000 {
                assert!(ranges.len() > 40, "{collection}: {} ranges", ranges.len());
            }
            let read = read_all(&source, collection, &ranges).await;
            assert_eq!(read, expected, "{collection} in ranges of {chunk_bytes}");
        }
        assert_eq!(source.count(collection).await.unwrap(), 500);
    }
}

#[tokio::test]
async fn ranges_of_a_compressed_file_can_be_read_in_any_order_and_again() {
    let documents = documents(300);
    let folder = folder(&[("c.bson.gz", &packed(&content(&documents)))]);
    let source = open(&folder).await;
    let mut ranges = source.split("c", 4_000).await.unwrap();
    ranges.reverse();
    let backwards = read_all(&source, "c", &ranges).await;
    ranges.reverse();
    let forwards = read_all(&source, "c", &ranges).await;
    let as_set = |documents: &[Vec<u8>]| documents.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(backwards.len(), 300);
    assert_eq!(as_set(&backwards), as_set(&forwards));
    assert_eq!(forwards, documents.iter().map(raw).collect::<Vec<_>>());
}

#[tokio::test]
async fn consecutive_ranges_of_a_compressed_file_share_one_decompression() {
    let folder = folder(&[("c.bson.gz", &packed(&content(&documents(300))))]);
    let source = open(&folder).await;
    let ranges = source.split("c", 4_000).await.unwrap();
    assert!(ranges.len() > 10);
    for range in &ranges {
        read(&source, "c", range).await;
        // Each range took over the reader of the one before, so there is never a second.
        assert!(source.files["c"].idle_readers() <= 1);
    }
    let read_once = source.files["c"].readers_opened();
    // One for the guess of the size, one for all ranges.
    assert_eq!(read_once, 2);
}

#[tokio::test]
async fn the_folder_may_be_the_databases_or_the_one_above() {
    let bytes = content(&documents(3));
    let one = folder(&[
        ("crm/Users.bson", &bytes),
        ("admin/system.version.bson", &bytes),
        ("oplog.bson", &bytes),
        ("prelude.json", b"{}"),
    ]);
    assert_eq!(open(&one).await.count("Users").await.unwrap(), 3);
    let below = one.path().join("crm");
    let source = super::super::open(below.to_str().unwrap()).await.unwrap();
    assert_eq!(source.count("Users").await.unwrap(), 3);

    let two = folder(&[("a/x.bson", &bytes), ("b/x.bson", &bytes)]);
    let error = DumpSource::open(two.path(), SourceOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let hint = error.hint().unwrap();
    assert!(hint.contains("/a`") && hint.contains("/b`"), "{hint}");

    let none = folder(&[("readme.txt", b"")]);
    let error = DumpSource::open(none.path(), SourceOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("holds no dump"), "{error}");

    let error = super::super::open("/no/such/folder").await.unwrap_err();
    assert!(error.to_string().contains("neither a MongoDB address nor the folder"), "{error}");
    let error = super::super::open("postgres://localhost/x").await.unwrap_err();
    assert!(error.to_string().contains("`postgres://`"), "{error}");
}

#[tokio::test]
async fn names_are_those_of_the_collections_not_of_the_files() {
    let bytes = content(&documents(1));
    let long = "n".repeat(300);
    let metadata = format!(r#"{{"collectionName":"{long}","type":"collection","indexes":[]}}"#);
    let folder = folder(&[
        ("a%2Fb%3Ac.bson", &bytes),
        ("100%.bson", &bytes),
        ("nnn%24hash.bson", &bytes),
        ("nnn%24hash.metadata.json", metadata.as_bytes()),
        ("system.users.bson", &bytes),
        ("system.buckets.weather.bson", &bytes),
        (
            "weather.metadata.json",
            br#"{"type":"timeseries","options":{"timeseries":{"timeField":"t"}}}"#,
        ),
        (
            "open_tasks.metadata.json",
            br#"{"type":"view","options":{"viewOn":"Tasks","pipeline":[]}}"#,
        ),
        ("gone.metadata.json.gz", &packed(br#"{"type":"collection","options":{}}"#)),
    ]);
    let source = open(&folder).await;
    let names: Vec<_> =
        source.collections().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["100%", "a/b:c", &long]);
    let notices = source.notices().join("\n");
    for expected in ["the time series `weather`", "the view `open_tasks`", "the collection `gone`"]
    {
        assert!(notices.contains(expected), "{expected} in {notices}");
    }
}

#[tokio::test]
async fn a_collection_that_is_there_twice_is_refused() {
    let bytes = content(&documents(1));
    let folder = folder(&[("c.bson", &bytes), ("c.bson.gz", &packed(&bytes))]);
    let error = DumpSource::open(folder.path(), SourceOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("`c` is there twice"), "{error}");
}

#[tokio::test]
async fn an_empty_file_is_an_empty_collection() {
    let folder = folder(&[("a.bson", b""), ("b.bson.gz", &packed(b"")), ("c.json", b"")]);
    let source = open(&folder).await;
    for info in source.collections().await.unwrap() {
        assert_eq!((info.documents, info.bytes), (Some(0), Some(0)), "{}", info.name);
        let ranges = source.split(&info.name, 100).await.unwrap();
        assert_eq!(ranges, [WHOLE]);
        assert!(read_all(&source, &info.name, &ranges).await.is_empty());
    }
}

/// What a fault in the file leaves to be read, and how it is told.
async fn broken(name: &str, bytes: &[u8], chunk_bytes: u64) -> (usize, Error) {
    let folder = folder(&[(name, bytes)]);
    let source = open(&folder).await;
    let ranges = source.split("c", chunk_bytes).await.unwrap();
    let mut documents = 0;
    for range in &ranges {
        let (read, error) = read(&source, "c", range).await;
        documents += read.len();
        if let Some(error) = error {
            assert_eq!(error.kind(), ErrorKind::Dump);
            assert!(error.to_string().contains(name), "{error}");
            return (documents, error);
        }
    }
    panic!("`{name}` was read without an error: {documents} documents");
}

#[tokio::test]
async fn what_stands_before_a_fault_is_read_and_the_fault_has_a_place() {
    let documents = documents(50);
    let whole = content(&documents);
    let last = whole.len() - raw(&documents[49]).len();
    let middle: usize = documents[..20].iter().map(|document| raw(document).len()).sum();

    let truncated = &whole[..whole.len() - 1];
    let trailing = [&whole[..], b"abc"].concat();
    let mut zero = whole.clone();
    zero[middle..middle + 4].fill(0);
    let mut huge = whole.clone();
    huge[middle..middle + 4].copy_from_slice(&(49_u32 << 20).to_le_bytes());
    let mut negative = whole.clone();
    negative[middle..middle + 4].fill(0xff);
    let mut beyond = whole.clone();
    beyond[middle..middle + 4].copy_from_slice(&(1_u32 << 20).to_le_bytes());

    let cases: [(&str, &[u8], usize, usize, &str); 6] = [
        ("truncated", truncated, 49, last, "bytes into a document of"),
        ("trailing", &trailing, 50, whole.len(), "3 bytes follow the last document"),
        ("zero", &zero, 20, middle, "cannot have 0 bytes"),
        ("huge", &huge, 20, middle, "cannot have 51380224 bytes"),
        ("negative", &negative, 20, middle, "cannot have -1 bytes"),
        ("beyond", &beyond, 20, middle, "into a document of 1048576 bytes"),
    ];
    for (case, bytes, expected, offset, what) in cases {
        for chunk_bytes in [1_000, u64::MAX] {
            for (name, bytes) in [("c.bson", bytes.to_vec()), ("c.bson.gz", packed(bytes))] {
                let (read, error) = broken(name, &bytes, chunk_bytes).await;
                assert_eq!(read, expected, "{case} in {name}");
                let message = error.to_string();
                assert!(message.contains(&format!(" {offset}: ")), "{case}: {message}");
                assert!(message.contains(what), "{case}: {message}");
            }
        }
    }
}

#[tokio::test]
async fn a_fault_in_a_plain_file_begins_a_range_of_its_own() {
    let documents = documents(50);
    let whole = content(&documents);
    let folder = folder(&[("c.bson", &whole[..whole.len() - 1])]);
    let source = open(&folder).await;
    let ranges = source.split("c", u64::MAX).await.unwrap();
    assert_eq!(ranges.len(), 2);
    let (read_first, error) = read(&source, "c", &ranges[0]).await;
    assert_eq!((read_first.len(), error.is_none()), (49, true));
    let (read_last, error) = read(&source, "c", &ranges[1]).await;
    assert_eq!((read_last.len(), error.is_none()), (0, false));
}

#[tokio::test]
async fn compressed_data_that_breaks_off_or_is_garbled_is_told() {
    let bytes = packed(&content(&documents(400)));
    let (read, error) = broken("c.bson.gz", &bytes[..bytes.len() / 2], u64::MAX).await;
    assert!(read > 0 && read < 400, "{read}");
    assert!(error.to_string().contains("the compressed data goes no further"), "{error}");

    // The check sum at the end.
    let mut garbled = bytes.clone();
    let at = garbled.len() - 6;
    garbled[at] ^= 1;
    let (read, error) = broken("c.bson.gz", &garbled, u64::MAX).await;
    assert_eq!(read, 400);
    assert!(error.to_string().contains("the compressed data goes no further"), "{error}");

    let (read, _) = broken("c.bson.gz", b"not gzip at all", u64::MAX).await;
    assert_eq!(read, 0);
}

#[tokio::test]
async fn several_members_of_gzip_are_one_file() {
    let documents = documents(20);
    let mut bytes = packed(&content(&documents[..7]));
    bytes.extend(packed(&content(&documents[7..])));
    let folder = folder(&[("c.bson.gz", &bytes)]);
    let source = open(&folder).await;
    let read = read_all(&source, "c", &source.split("c", 500).await.unwrap()).await;
    assert_eq!(read, documents.iter().map(raw).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_document_with_a_broken_inside_is_passed_on() {
    let good = documents(3);
    let mut bad = raw(&doc! { "_id": 9, "text": "abc" });
    let at = bad.len() - 10;
    bad[at] = 0xff;
    let bytes = [content(&good), bad.clone(), content(&good)].concat();
    let folder = folder(&[("c.bson", &bytes)]);
    let source = open(&folder).await;
    let read = read_all(&source, "c", &[WHOLE]).await;
    assert_eq!(read.len(), 7);
    assert_eq!(read[3], bad);
}

#[tokio::test]
async fn a_document_larger_than_a_batch_travels_alone() {
    let large = doc! { "_id": 2, "text": "x".repeat(20 << 20) };
    let documents = [doc! { "_id": 1 }, large, doc! { "_id": 3 }];
    let bytes = content(&documents);
    let folder = folder(&[("a.bson", &bytes), ("b.bson.gz", &packed(&bytes))]);
    let source = open(&folder).await;
    for collection in ["a", "b"] {
        let read = read_all(&source, collection, &[WHOLE]).await;
        assert_eq!(read, documents.iter().map(raw).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn documents_are_found_again_by_the_exact_id() {
    let documents = [
        doc! { "_id": 1, "n": "int" },
        doc! { "_id": 1.0, "n": "double" },
        doc! { "n": "late", "_id": "a" },
        doc! { "n": "none" },
        doc! { "_id": { "a": 1, "b": 2 }, "n": "object" },
        doc! { "_id": "a", "n": "again" },
    ];
    let folder = folder(&[("c.bson", &content(&documents))]);
    let source = open(&folder).await;
    let names = |ids: Vec<Bson>| {
        let source = &source;
        async move {
            let found = source.fetch("c", &ids).await.unwrap();
            found
                .iter()
                .map(|document| document.get_str("n").unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(names(vec![Bson::Int32(1)]).await, ["int"]);
    assert_eq!(
        names(vec![Bson::Double(1.0), Bson::String("a".to_owned())]).await,
        ["double", "late", "again"]
    );
    assert_eq!(names(vec![doc! { "a": 1, "b": 2 }.into()]).await, ["object"]);
    assert!(names(vec![Bson::Int64(1), Bson::Null]).await.is_empty());
    assert!(names(vec![]).await.is_empty());
}

#[tokio::test]
async fn lines_keep_the_order_of_keys_and_the_types_of_numbers() {
    let lines = concat!(
        r#"[{"z":1,"_id":{"$oid":"507f1f77bcf86cd799439011"},"a":{"y":{"$numberLong":"2"},"b":[1.5,{"$numberDecimal":"1.00"}]}},"#,
        "\n\r\n",
        r#"{"big":5000000000,"date":{"$date":"2020-01-02T03:04:05.678Z"},"near":0.1,"ref":{"$ref":"c","$id":1}}]"#,
    );
    let folder = folder(&[("c.json", lines.as_bytes())]);
    let source = open(&folder).await;
    let read = read_all(&source, "c", &[WHOLE]).await;
    let id = bson::oid::ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
    let decimal: bson::Decimal128 = "1.00".parse().unwrap();
    let date = bson::DateTime::from_millis(1_577_934_245_678);
    let expected = [
        doc! { "z": 1, "_id": id, "a": { "y": 2_i64, "b": [1.5, decimal] } },
        doc! { "big": 5_000_000_000_i64, "date": date, "near": 0.1, "ref": { "$ref": "c", "$id": 1 } },
    ];
    assert_eq!(read, expected.iter().map(raw).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_line_that_is_no_document_is_told_with_its_place() {
    let (read, error) = broken("c.json", b"{\"a\":1}\n{\"a\":\n", u64::MAX).await;
    assert_eq!(read, 0);
    assert!(error.to_string().contains("at byte 8: the line is no document"), "{error}");
    assert!(error.hint().unwrap().contains("--pretty"), "{error:?}");
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_a_read_without_an_error() {
    let folder = folder(&[("c.bson", &content(&documents(500)))]);
    let source = open(&folder).await;
    let (sender, batches) = mpsc::channel(1);
    drop(batches);
    source.read("c", &WHOLE, sender).await.unwrap();
}

#[tokio::test]
async fn sizes_are_exact_for_small_files_and_near_for_large_ones() {
    let small = documents(50);
    let large: Vec<_> =
        (0..40_000).map(|n| doc! { "_id": n, "text": "abcdefgh".repeat(8) }).collect();
    let (small, large) = (content(&small), content(&large));
    let folder = folder(&[
        ("a.bson", &small),
        ("b.bson.gz", &packed(&small)),
        ("c.bson", &large),
        ("d.bson.gz", &packed(&large)),
    ]);
    let infos = open(&folder).await.collections().await.unwrap();
    for (info, bytes) in infos[..2].iter().zip([&small; 2]) {
        assert_eq!((info.documents, info.bytes), (Some(50), Some(bytes.len() as u64)));
    }
    for info in &infos[2..] {
        assert_eq!(info.bytes, Some(large.len() as u64));
        assert!((39_900..=40_100).contains(&info.documents.unwrap()), "{info:?}");
    }
}

/// An archive of those blocks: a collection's name, its documents, and whether it ends there.
fn archive(announced: &[(&str, &str)], blocks: &[(&str, &str, Vec<Document>, bool)]) -> Vec<u8> {
    const END: [u8; 4] = [0xff; 4];
    let mut bytes = 0x8199_e26d_u32.to_le_bytes().to_vec();
    bytes.extend(raw(&doc! { "concurrent_collections": 4, "version": "0.1" }));
    for (db, collection) in announced {
        let metadata =
            format!(r#"{{"indexes":[],"type":"collection","collectionName":"{collection}"}}"#);
        bytes.extend(raw(
            &doc! { "db": db, "collection": collection, "metadata": metadata, "size": 0 },
        ));
    }
    bytes.extend(END);
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (db, collection, documents, end) in blocks {
        let sum = sums.entry((db, collection)).or_default();
        let header = |end: bool, sum: i64| {
            raw(&doc! { "db": db, "collection": collection, "EOF": end, "CRC": sum })
        };
        if !documents.is_empty() {
            bytes.extend(header(false, 0));
            *sum = archive::crc64(*sum, &content(documents));
            bytes.extend(content(documents));
            bytes.extend(END);
        }
        if *end {
            bytes.extend(header(true, *sum as i64));
            bytes.extend(END);
        }
    }
    bytes
}

fn crm_archive() -> Vec<u8> {
    let documents = documents(100);
    let part = |from: usize, to: usize| documents[from..to].to_vec();
    archive(
        &[("crm", "Users"), ("crm", "Tasks"), ("crm", "empty"), ("admin", "system.version")],
        &[
            ("crm", "Users", part(0, 10), false),
            ("crm", "Tasks", part(40, 60), false),
            ("admin", "system.version", part(0, 1), true),
            ("crm", "Users", part(10, 40), true),
            ("crm", "empty", vec![], true),
            ("crm", "Tasks", part(60, 100), true),
        ],
    )
}

#[test]
fn the_check_sum_is_that_of_the_tools() {
    // The check value that catalogues of CRCs give for CRC-64/XZ.
    assert_eq!(archive::crc64(0, b"123456789"), 0x995d_c9bb_df19_39fa);
    assert_eq!(archive::crc64(archive::crc64(0, b"1234"), b"56789"), 0x995d_c9bb_df19_39fa);
}

#[tokio::test]
async fn the_collections_of_an_archive_are_told_apart() {
    let bytes = crm_archive();
    let folder = folder(&[("plain.archive", &bytes), ("packed.gz", &packed(&bytes))]);
    let documents = documents(100);
    for name in ["plain.archive", "packed.gz"] {
        let address = folder.path().join(name);
        let source = super::super::open(address.to_str().unwrap()).await.unwrap();
        assert!(source.describe().contains("database crm (3 collections"), "{}", source.describe());
        assert_eq!(source.count("empty").await.unwrap(), 0);
        for (collection, expected) in [("Users", &documents[..40]), ("Tasks", &documents[40..])] {
            let (sender, mut batches) = mpsc::channel(1000);
            source.read(collection, &WHOLE, sender).await.unwrap();
            let mut read = Vec::new();
            while let Some(batch) = batches.recv().await {
                read.extend(batch.iter().map(<[u8]>::to_vec));
            }
            assert_eq!(read, expected.iter().map(raw).collect::<Vec<_>>(), "{name} {collection}");
        }
    }
}

#[tokio::test]
async fn a_damaged_archive_is_refused_wherever_it_is_cut() {
    let whole = crm_archive();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crm.archive");
    let mut good = 0;
    for end in (4..whole.len()).step_by(61).chain([whole.len() - 1, whole.len() - 4]) {
        fs::write(&path, &whole[..end]).unwrap();
        let opened = DumpSource::open(&path, SourceOptions::default()).await;
        let error = opened.expect_err("a piece of an archive");
        assert_eq!(error.kind(), ErrorKind::Dump, "{error}");
        good += 1;
    }
    assert!(good > 100);

    // Cut between two collections.
    let without_last =
        archive(&[("crm", "Users"), ("crm", "Tasks")], &[("crm", "Users", documents(3), true)]);
    fs::write(&path, &without_last).unwrap();
    let error = DumpSource::open(&path, SourceOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("it ends before `Tasks`"), "{error}");

    let mut flipped = whole.clone();
    let at = flipped.len() - 2_000;
    flipped[at] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let error = DumpSource::open(&path, SourceOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("check sum of `Tasks` is wrong"), "{error}");
}

#[tokio::test]
async fn a_database_of_an_archive_is_named_behind_the_file() {
    let bytes = archive(
        &[("a", "x"), ("b", "x")],
        &[("a", "x", documents(2), true), ("b", "x", documents(5), true)],
    );
    let folder = folder(&[("all.archive", &bytes)]);
    let path = folder.path().join("all.archive");
    let open = |address: String| DumpSource::open(address, SourceOptions::default());
    let error = open(path.display().to_string()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("all.archive#b`"), "{error:?}");
    let source = open(format!("{}#b", path.display())).await.unwrap();
    assert_eq!(source.count("x").await.unwrap(), 5);
    let error = open(format!("{}#c", path.display())).await.unwrap_err();
    assert!(error.to_string().contains("has no database `c`"), "{error}");
}

/// A mistyped address is no reason to show its password.
#[test]
fn a_password_in_a_mistyped_address_is_not_shown() {
    assert_eq!(super::without_password("mongodb:/u:s3cr3t@h/x"), "…@h/x");
    assert_eq!(super::without_password("./dump/crm"), "./dump/crm");
}
