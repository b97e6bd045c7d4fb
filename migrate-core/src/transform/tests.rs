//! The rules for missing and null, junctions, and documents that are no BSON.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use chrono::{DateTime, NaiveDateTime, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::__private as private;
use crate::cell::{Json, ToCell};
use crate::schema::{JunctionField, ModelKind, ModelRef, Reference};
use crate::value::Elements;

static LINK: Model = Model {
    table: "Link",
    kind: ModelKind::Junction,
    columns: &[
        Column::of::<Uuid>("other", "other", &[]).reference(Reference::to(ModelRef::new(&OTHER))),
        Column::of::<Uuid>("sample", "sample", &[])
            .reference(Reference::to(ModelRef::new(&SAMPLE))),
    ],
    indexes: &[],
    ..base("Link")
};

static OTHER: Model = Model {
    collection: "Other",
    table: "Other",
    columns: &[Column::of::<Uuid>("id", "id", &["_id"]).primary_key()],
    indexes: &[],
    ..base("Other")
};

static SAMPLE: Model = Model {
    collection: "Samples",
    table: "sample",
    columns: &[
        Column::of::<Uuid>("id", "id", &["_id"]).primary_key(),
        Column::of::<i32>("version", "version", &["__v"])
            .default(|context, out| private::literal::<i32>(7, context, out)),
        Column::of::<Option<String>>("kind", "kind", &["kind"])
            .default(|context, out| private::literal::<Option<String>>("plain", context, out)),
        Column::of::<Option<Uuid>>("owner", "owner", &["owner", "ownerId"]).empty_as_null(),
        Column::of::<NaiveDateTime>("created", "created", &["created"]).id_time(),
        Column::of::<Vec<String>>("tags", "tags", &["tags"])
            .default(private::default::<Vec<String>>),
        Column::of::<String>("title", "title", &["title"]),
        Column::of::<Option<Json>>("extra", "extra", &["extra"]),
        Column::of::<i64>("size", "size", &[]).compute(|document, context, out| {
            private::compute(
                |document| Ok::<_, std::fmt::Error>(document.as_bytes().len() as i64),
                document,
                context,
                out,
            )
        }),
    ],
    junctions: &[JunctionField::of::<Vec<Uuid>>("others", &["others"], ModelRef::new(&LINK))],
    skipped: &["ignored"],
    indexes: &[],
    ..base("Sample")
};

fn transformer() -> Transformer {
    Transformer::new(&SAMPLE, &TargetFacts::new(180_000, IdScheme::V8), &[5]).unwrap()
}

fn id() -> ObjectId {
    ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap()
}

fn transformed(document: &Document) -> Output {
    let transformer = transformer();
    let mut out = Output::default();
    transformer.transform(&mut transformer.scratch(), &document.to_vec().unwrap(), &mut out);
    out
}

/// The cells of a tuple; `None` is NULL.
fn cells(mut tuple: &[u8]) -> Vec<Option<&[u8]>> {
    let count = i16::from_be_bytes(tuple[..2].try_into().unwrap());
    tuple = &tuple[2..];
    let mut cells = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(tuple[..4].try_into().unwrap());
        tuple = &tuple[4..];
        cells.push((length >= 0).then(|| {
            let (cell, rest) = tuple.split_at(length as usize);
            tuple = rest;
            cell
        }));
    }
    assert!(tuple.is_empty());
    cells
}

fn loaded(document: &Document) -> Vec<Option<Vec<u8>>> {
    let out = transformed(document);
    assert_eq!(out.rejects, []);
    assert_eq!((out.row_count(), out.documents), (1, 1));
    cells(out.row(0)).into_iter().map(|cell| cell.map(<[u8]>::to_vec)).collect()
}

fn rejected(document: &Document) -> (Reason, String, String) {
    let mut out = transformed(document);
    assert!(out.rows.is_empty() && out.marks.is_empty() && out.ids.is_empty());
    assert!(out.junctions[0].rows.is_empty() && out.orphans.is_empty());
    assert_eq!(out.junctions[0].total, JunctionMark::default());
    assert_eq!(out.documents, 1);
    let reject = out.rejects.pop().unwrap();
    (reject.reason, reject.field, reject.message)
}

fn written<T: ToCell>(value: T) -> Option<Vec<u8>> {
    let facts = TargetFacts::new(180_000, IdScheme::V8);
    let context = column_context(&SAMPLE, &SAMPLE.columns[0], &facts).unwrap();
    let mut out = Vec::new();
    (value.write(&context, &mut out).unwrap() == Wrote::Payload).then_some(out)
}

#[test]
fn what_is_missing() {
    let document = doc! { "_id": id(), "title": "t" };
    let created: DateTime<Utc> = "2012-10-17T21:13:27Z".parse().unwrap();
    assert_eq!(
        loaded(&document),
        [
            written("013a7092-e8d8-8bcf-a1b3-5e650e404400".parse::<Uuid>().unwrap()),
            written(7),
            written("plain"),
            None,
            written(created.naive_utc()),
            written(Vec::<String>::new()),
            written("t"),
            None,
            written(document.to_vec().unwrap().len() as i64),
        ]
    );
}

#[test]
fn what_is_null() {
    let document = doc! {
        "_id": id(), "title": "t", "__v": null, "kind": null, "owner": null, "created": null,
        "tags": null, "extra": null,
    };
    let cells = loaded(&document);
    assert_eq!(cells[1], written(7));
    assert_eq!(cells[2], None);
    assert_eq!(cells[3], None);
    assert!(cells[4].is_some());
    assert_eq!(cells[5], written(Vec::<String>::new()));
    assert_eq!(cells[7], None);
}

#[test]
fn required_fields() {
    let (reason, field, message) = rejected(&doc! { "_id": id() });
    assert_eq!((reason, field.as_str()), (Reason::Missing, "title"));
    assert_eq!(message, "expected text, found no such field");
    let (reason, _, message) = rejected(&doc! { "_id": id(), "title": null });
    assert_eq!((reason, message.as_str()), (Reason::Missing, "expected text, found null"));
    // Without an ObjectId there is no time to take.
    let (reason, field, _) = rejected(&doc! { "_id": 5, "title": "t" });
    assert_eq!((reason, field.as_str()), (Reason::Missing, "created"));
    let (reason, field, _) = rejected(&doc! { "title": "t" });
    assert_eq!((reason, field.as_str()), (Reason::Missing, "_id"));
}

#[test]
fn the_first_alias_that_is_present_wins() {
    let (one, two) = (ObjectId::from_bytes([1; 12]), ObjectId::from_bytes([2; 12]));
    let uuid = |id: ObjectId| written(Uuid::from_bytes(IdScheme::V8.uuid(id.bytes())));
    let with = |owner: Bson| {
        let document = doc! { "ownerId": two, "_id": id(), "title": "t", "owner": owner };
        loaded(&document)[3].clone()
    };
    assert_eq!(with(one.into()), uuid(one));
    assert_eq!(with(Bson::Null), None);
    assert_eq!(with("".into()), None);
    assert_eq!(loaded(&doc! { "ownerId": two, "_id": id(), "title": "t" })[3], uuid(two));
    let (reason, field, _) =
        rejected(&doc! { "ownerId": "x", "_id": id(), "title": "t", "kind": "k" });
    assert_eq!((reason, field.as_str()), (Reason::Type, "ownerId"));
}

#[test]
fn a_reject_names_the_place() {
    let mut out =
        transformed(&doc! { "_id": id(), "title": "t", "tags": ["a", 5], "others": [id()] });
    let reject = out.rejects.pop().unwrap();
    assert_eq!(reject.collection, "Samples");
    assert_eq!(reject.table, "sample");
    assert_eq!(reject.source_id, "507f1f77bcf86cd799439011");
    assert_eq!(reject.stage, Stage::Transform);
    assert_eq!(reject.field, "tags.1");
    assert_eq!(reject.message, "expected text, found int 5");
    assert!(Document::from_reader(reject.document.as_slice()).is_ok());
    let (_, field, _) = rejected(&doc! { "_id": id(), "title": "t", "extra": { "a": [f64::NAN] } });
    assert_eq!(field, "extra.a.0");
}

#[test]
fn the_same_key_twice() {
    let mut bytes = doc! { "_id": id(), "title": "t", "titlf": "t" }.to_vec().unwrap();
    let place = bytes.windows(5).position(|window| window == b"titlf").unwrap();
    bytes[place + 4] = b'e';
    let transformer = transformer();
    let mut out = Output::default();
    assert!(!transformer.transform(&mut transformer.scratch(), &bytes, &mut out));
    assert_eq!(
        (out.rejects[0].reason, out.rejects[0].field.as_str()),
        (Reason::DuplicateKey, "title")
    );
}

#[test]
fn junction_rows_have_the_junctions_columns() {
    let (one, two) = (ObjectId::from_bytes([1; 12]), ObjectId::from_bytes([2; 12]));
    let document = doc! {
        "_id": id(), "title": "t", "others": [one, null, two.to_hex(), "no id", one],
    };
    let out = transformed(&document);
    let (rows, row_count, elements) = out.junction_rows(0, 0);
    assert_eq!((row_count, elements), (3, 5));
    let uuid = |id: ObjectId| IdScheme::V8.uuid(id.bytes());
    for (row, other) in rows.chunks(rows.len() / 3).zip([one, two, one]) {
        let cells = cells(row);
        assert_eq!(cells[0].unwrap(), uuid(other));
        assert_eq!(cells[1].unwrap(), uuid(id()));
        assert_eq!(cells[2].unwrap(), [0, 5]);
    }
    let values: Vec<_> = out.orphans.iter().map(|orphan| orphan.value.as_str()).collect();
    assert_eq!(values, ["null", "string \"no id\""]);
    assert_eq!(out.orphans[0].owner, uuid(id()));
    assert_eq!(out.orphans[0].source_id, id().to_hex());
}

#[test]
fn a_junction_may_be_one_id_or_none() {
    let total = |others: Bson| {
        let out = transformed(&doc! { "_id": id(), "title": "t", "others": others });
        (out.junctions[0].total.row_count, out.junctions[0].total.elements)
    };
    assert_eq!(total(id().into()), (1, 1));
    assert_eq!(total(Bson::Null), (0, 0));
    assert_eq!(total(Bson::Array(vec![])), (0, 0));
    assert_eq!(total(5.into()), (0, 1));
    let out = transformed(&doc! { "_id": id(), "title": "t" });
    assert_eq!(out.junctions[0].total, JunctionMark::default());
}

#[test]
fn rows_can_be_told_apart() {
    let transformer = transformer();
    let mut scratch = transformer.scratch();
    let mut out = Output::default();
    for turn in 0..2 {
        let documents = [
            doc! { "_id": id(), "title": "a", "others": [id()], "new": 1 },
            doc! { "_id": id(), "title": 1 },
            doc! { "_id": id().to_hex(), "title": "b", "others": [id(), id()], "new": 1 },
        ];
        for document in &documents {
            transformer.transform(&mut scratch, &document.to_vec().unwrap(), &mut out);
        }
        assert_eq!((out.row_count(), out.documents, out.rejects.len()), (2, 3, 1));
        let numbers: Vec<_> = out.marks.iter().map(|mark| mark.document).collect();
        assert_eq!(numbers, [0, 2]);
        assert_eq!(cells(out.row(1))[6].unwrap(), b"b");
        assert_eq!(id_text(out.row_id(0).unwrap()), id().to_hex());
        assert_eq!(id_text(out.row_id(1).unwrap()), format!("\"{}\"", id().to_hex()));
        assert_eq!(out.junction_rows(0, 1).1, 2);
        let uuid = IdScheme::V8.uuid(id().bytes());
        assert_eq!(out.irregular_ids, [IrregularId { row: 1, uuid }]);
        assert_eq!(out.unknown["new"].documents, 2, "turn {turn}");
        assert_eq!(out.unknown["new"].example, id().to_hex());
        assert!(out.held_bytes() > 0);
        out.clear();
        assert_eq!(out.held_bytes(), 0);
    }
}

#[test]
fn random_ids_are_all_irregular() {
    let facts = TargetFacts::new(180_000, IdScheme::Random([3; 16]));
    let transformer = Transformer::new(&SAMPLE, &facts, &[5]).unwrap();
    let mut out = Output::default();
    let bytes = doc! { "_id": id(), "title": "a" }.to_vec().unwrap();
    transformer.transform(&mut transformer.scratch(), &bytes, &mut out);
    assert_eq!(out.irregular_ids.len(), 1);
    assert_eq!(Some(out.irregular_ids[0].uuid.as_slice()), cells(out.row(0))[0]);
}

#[test]
fn unknown_keys_are_bounded() {
    let transformer = transformer();
    let mut out = Output::default();
    let mut scratch = transformer.scratch();
    for number in 0..MAX_UNKNOWN_KEYS + 10 {
        let document = doc! { "_id": id(), "title": "t", format!("key{number}"): 1 };
        transformer.transform(&mut scratch, &document.to_vec().unwrap(), &mut out);
    }
    assert_eq!(out.unknown.len(), MAX_UNKNOWN_KEYS + 1);
    assert_eq!(out.unknown["*"].documents, 10);
}

#[test]
fn skipped_keys_are_known() {
    let out = transformed(&doc! { "_id": id(), "ignored": 1, "title": "t" });
    assert_eq!((out.row_count(), out.unknown.len()), (1, 0));
    let mut bytes =
        doc! { "_id": id(), "ignored": 1, "ignorec": 1, "title": "t" }.to_vec().unwrap();
    let place = bytes.windows(7).position(|window| window == b"ignorec").unwrap();
    bytes[place + 6] = b'd';
    let transformer = transformer();
    let mut out = Output::default();
    assert!(transformer.transform(&mut transformer.scratch(), &bytes, &mut out));
}

#[test]
fn types_that_do_not_go_together() {
    static WRONG: Model = Model {
        columns: &[Column::of::<i32>("id", "id", &["_id"]).primary_key().pg_type("bigint")],
        ..base("Wrong")
    };
    let error =
        Transformer::new(&WRONG, &TargetFacts::new(180_000, IdScheme::V8), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("column `id` of `Wrong`"), "{error}");
    for (pg_type, wire) in [
        ("varchar(3)", Some(BaseType::Text)),
        ("Timestamp(3) without time zone", Some(BaseType::Timestamp)),
        ("numeric(10,2)[]", Some(BaseType::Numeric)),
        ("citext", None),
    ] {
        assert_eq!(wire_type(pg_type), wire);
    }
}

const fn base(name: &'static str) -> Model {
    Model { name, module: "tests", ..Model::EMPTY }
}

/// Documents with values of many types under the sample's keys.
fn any_document() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        any::<bool>().prop_map(Bson::Boolean),
        any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(ObjectId::from_bytes(id))),
        any::<i64>().prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(bson::Decimal128::from_bytes(bytes))),
        ".{0,20}".prop_map(Bson::String),
        "[a-z]{0,9}".prop_map(Bson::Symbol),
        "[a-z]{0,9}".prop_map(|code| Bson::JavaScriptCodeWithScope(
            bson::JavaScriptCodeWithScope { code, scope: doc! { "x": 1 } }
        )),
        Just(Bson::Null),
        Just(Bson::Undefined),
        Just(Bson::MinKey),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::hash_map("[a-c]{0,2}", inner, 0..4)
                .prop_map(|map| Bson::Document(map.into_iter().collect())),
        ]
    });
    let keys =
        ["_id", "__v", "kind", "owner", "created", "tags", "title", "extra", "others", "unknown"];
    prop::collection::vec((prop::sample::select(keys.to_vec()), value), 0..10).prop_map(|fields| {
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
        fields.collect::<Document>().to_vec().unwrap()
    })
}

fn check(transformer: &Transformer, scratch: &mut Scratch, bytes: &[u8], out: &mut Output) {
    let rows = out.row_count();
    let rejects = out.rejects.len();
    let loaded = transformer.transform(scratch, bytes, out);
    assert_eq!(out.row_count() - rows, usize::from(loaded));
    assert_eq!(out.rejects.len() - rejects, usize::from(!loaded));
    assert_eq!(out.marks.last().map_or(0, |mark| mark.row_end), out.rows.len());
    let junction = &out.junctions[0];
    assert_eq!(junction.marks.last().copied().unwrap_or_default(), junction.total);
    assert_eq!(junction.total.row_end, junction.rows.len());
    assert_eq!(junction.total.elements, junction.total.row_count + out.orphans.len() as u64);
    if loaded {
        assert_eq!(cells(out.row(rows)).len(), SAMPLE.columns.len());
    }
}

proptest! {
    #[test]
    fn any_bytes_become_a_row_or_a_reject(
        documents in prop::collection::vec(any_document(), 1..4),
        faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<Option<prop::sample::Index>>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let transformer = transformer();
        let mut scratch = transformer.scratch();
        let mut out = Output::default();
        for document in &documents {
            check(&transformer, &mut scratch, document, &mut out);
            let mut broken = document.clone();
            for (place, byte) in &faults {
                let place = place.index(broken.len());
                broken[place] = *byte;
            }
            check(&transformer, &mut scratch, &broken, &mut out);
            if let Some(cut) = cut {
                broken.truncate(cut.index(broken.len()));
                check(&transformer, &mut scratch, &broken, &mut out);
                // A length that fits again, so that the fault is found further inside.
                if broken.len() >= 5 {
                    let length = broken.len() as u32;
                    broken[..4].copy_from_slice(&length.to_le_bytes());
                    *broken.last_mut().unwrap() = 0;
                    check(&transformer, &mut scratch, &broken, &mut out);
                    crate::cell::extended_json(&broken);
                }
            }
        }
        check(&transformer, &mut scratch, &noise, &mut out);
    }

    #[test]
    fn the_order_of_fields_changes_nothing(
        document in any_document(),
        seed in any::<u64>(),
    ) {
        let mut elements: Vec<_> = Elements::of(&document).map(|element| element.unwrap()).collect();
        let transformer = transformer();
        let mut scratch = transformer.scratch();
        let mut out = Output::default();
        let first = transformer.transform(&mut scratch, &document, &mut out);
        elements.sort_by_key(|(key, _)| key.iter().fold(seed, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        }));
        let mut shuffled = vec![0; 4];
        for (key, value) in elements {
            shuffled.push(value.kind as u8);
            shuffled.extend_from_slice(key);
            shuffled.push(0);
            shuffled.extend_from_slice(value.bytes);
        }
        shuffled.push(0);
        let length = shuffled.len() as u32;
        shuffled[..4].copy_from_slice(&length.to_le_bytes());
        prop_assert_eq!(transformer.transform(&mut scratch, &shuffled, &mut out), first);
        if first {
            prop_assert_eq!(out.row(0), out.row(1));
        }
    }
}

#[derive(crate::PgEnum)]
enum Grade {
    A,
    B,
    #[migrate(other)]
    Ungraded,
}

#[derive(crate::Migrate)]
#[allow(dead_code, reason = "a model is only declared")]
struct Messy {
    #[migrate(id)]
    id: Uuid,
    #[migrate(trim, map("N/A" = null, "-" = null), lenient, empty_as_null, on_invalid = null)]
    count: Option<i32>,
    #[migrate(lenient, on_invalid = default, default = true)]
    active: bool,
    #[migrate(split = ";", trim)]
    tags: Option<Vec<String>>,
    grade: Option<Grade>,
    #[migrate(trim)]
    title: Option<String>,
}

/// The cells behind the id, and what was replaced: NULL, default, other.
fn messy(documents: &[Document]) -> (Vec<Vec<Option<Vec<u8>>>>, Output) {
    let model = <Messy as crate::Migrate>::MODEL.get();
    let facts = TargetFacts::new(180_000, IdScheme::V8);
    let transformer = Transformer::new(model, &facts, &[]).unwrap();
    let mut scratch = transformer.scratch();
    let mut out = Output::default();
    for document in documents {
        transformer.transform(&mut scratch, &document.to_vec().unwrap(), &mut out);
    }
    let rows = (0..out.row_count()).map(|row| {
        cells(out.row(row)).into_iter().skip(1).map(|cell| cell.map(<[u8]>::to_vec)).collect()
    });
    (rows.collect(), out)
}

#[test]
fn steps_come_before_the_cell() {
    let document = doc! {
        "_id": id(), "count": " 12 ", "active": "yes", "tags": "a; b", "grade": "A", "title": "\tt ",
    };
    let (rows, out) = messy(&[document]);
    assert_eq!(out.rejects, []);
    assert!(out.replaced.is_empty());
    let tags = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(rows[0], [written(12), written(true), written(tags), written("A"), written("t")]);
    // A text that is empty once it is trimmed is empty, and a label may stand for null.
    for nothing in ["  ", "", "N/A ", "-"] {
        let (rows, out) = messy(&[doc! { "_id": id(), "count": nothing }]);
        assert_eq!((&rows[0][0], out.replaced.len()), (&None, 0), "{nothing:?}");
    }
}

#[test]
fn invalid_values_are_counted_and_not_rejected() {
    let (rows, mut out) = messy(&[
        doc! { "_id": id(), "count": "many", "active": "perhaps", "grade": "Z" },
        doc! { "_id": id(), "count": 5, "active": 7 },
        doc! { "_id": id(), "count": 1.5, "grade": "Y" },
        // A document that is rejected counts for nothing else.
        doc! { "_id": id(), "count": "x", "title": 5 },
        doc! { "_id": id(), "grade": 5 },
    ]);
    assert_eq!(out.rejects.len(), 2);
    assert_eq!(rows[0], [None, written(true), None, written("Ungraded"), None]);
    assert_eq!(rows[1][..2], [written(5), written(true)]);
    assert_eq!((&rows[2][0], &rows[2][3]), (&None, &written("Ungraded")));
    let count = |out: &Output, column: &str| {
        let values = &out.replaced[column];
        (values.null, values.default, values.other)
    };
    assert_eq!(count(&out, "count"), (2, 0, 0));
    assert_eq!(count(&out, "active"), (0, 2, 0));
    assert_eq!(count(&out, "grade"), (0, 0, 2));
    let example = &out.replaced["count"];
    assert_eq!(example.message, "expected int4, found string \"many\"");
    assert_eq!(example.example, id().to_hex());
    assert_eq!(out.replaced["grade"].message, "string \"Z\"");
    out.clear();
    assert!(out.replaced.values().all(|values| values.count() == 0));
}

#[test]
fn text_that_is_not_utf8_is_invalid_too() {
    let mut bytes = doc! { "_id": id(), "active": "yes" }.to_vec().unwrap();
    let place = bytes.windows(3).position(|window| window == b"yes").unwrap();
    bytes[place] = 0xff;
    let model = <Messy as crate::Migrate>::MODEL.get();
    let facts = TargetFacts::new(180_000, IdScheme::V8);
    let transformer = Transformer::new(model, &facts, &[]).unwrap();
    let mut out = Output::default();
    // Text that is not UTF-8 is an invalid value like any other.
    assert!(transformer.transform(&mut transformer.scratch(), &bytes, &mut out));
    assert_eq!(out.replaced["active"].default, 1);
}
