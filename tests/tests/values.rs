//! Every kind of BSON value at every field of every table: what the run makes of each must be what
//! the oracle says, rule by rule.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, Regex, Timestamp, doc};
use migrate_cli::generate::{Generator, Plan, to_memory};
use migrate_core::run::Options;
use migrate_core::schema::Registry;
use migrate_tests::facts::Facts;
use migrate_tests::{oracle, runs, servers};
use models::NextCrm;

/// One value of every BSON type and the edges of those that columns take. `known` is the id of a
/// document that is there.
fn values(known: &Bson) -> Vec<Bson> {
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let date = |millis| Bson::DateTime(DateTime::from_millis(millis));
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let hex = match known {
        Bson::ObjectId(id) => id.to_hex(),
        other => panic!("{other} is no ObjectId"),
    };
    let nobody = Bson::ObjectId(ObjectId::from_bytes([0xee; 12]));
    vec![
        Bson::Null,
        Bson::Undefined,
        Bson::Boolean(true),
        Bson::Int32(7),
        Bson::Int32(-1),
        Bson::Int64(i64::from(i32::MAX)),
        Bson::Int64(i64::from(i32::MAX) + 1),
        Bson::Int64(i64::from(i32::MIN) - 1),
        Bson::Int64(i64::MAX),
        Bson::Int64(i64::MIN),
        Bson::Double(7.0),
        Bson::Double(-0.0),
        Bson::Double(7.5),
        Bson::Double(-9_223_372_036_854_775_808.0),
        Bson::Double(9_223_372_036_854_775_808.0),
        Bson::Double(1e300),
        Bson::Double(f64::NAN),
        Bson::Double(f64::NEG_INFINITY),
        decimal("7"),
        decimal("7.000"),
        decimal("7.001"),
        decimal("-2E+3"),
        decimal("9223372036854775807"),
        decimal("9223372036854775808"),
        decimal("1E+60"),
        decimal("NaN"),
        decimal("-Infinity"),
        "".into(),
        " ".into(),
        "text with \"quotes\", a \\, a\ttab and \u{1f600}".into(),
        "ACTIVE".into(),
        "en".into(),
        "true".into(),
        "7".into(),
        "2024-02-29T00:00:00.000Z".into(),
        "NUL\0inside".into(),
        hex.clone().into(),
        hex.to_uppercase().into(),
        "507f1f77bcf86cd79943901".into(),
        "507f1f77bcf86cd79943901g".into(),
        "013a7092-e8d8-8bcf-a1b3-5e650e404400".into(),
        known.clone(),
        nobody.clone(),
        date(0),
        date(-1),
        date(1_709_164_800_123),
        date(-62_167_219_200_001),
        date(-210_866_803_200_000),
        date(-210_866_803_200_001),
        date(9_224_318_015_999_999),
        date(9_224_318_016_000_000),
        date(i64::MAX),
        binary(BinarySubtype::Uuid, &[0x5a; 16]),
        binary(BinarySubtype::UuidOld, &[0x5b; 16]),
        binary(BinarySubtype::Uuid, &[0x5c; 15]),
        binary(BinarySubtype::Generic, &[0x5d; 16]),
        binary(BinarySubtype::Generic, b""),
        Bson::Array(vec![]),
        vec!["one", "", "two, \"three\" {NULL}"].into(),
        vec![Bson::from("one"), Bson::Null].into(),
        vec![Bson::from("one"), Bson::Int32(1)].into(),
        vec!["be\0fore"].into(),
        vec![known.clone(), nobody.clone(), known.clone()].into(),
        vec![Bson::from(hex), "".into(), Bson::Null].into(),
        vec![Bson::Array(vec![known.clone()])].into(),
        doc! {}.into(),
        doc! { "": 1, "$date": "no date", "a.b": { "c": [1.5, Bson::Null, known.clone()] } }.into(),
        doc! { "deep": { "nul\u{1}": "fine" }, "when": date(i64::MIN), "none": Bson::Undefined }
            .into(),
        doc! { "list": [ { "text": "be\0fore" } ] }.into(),
        doc! { "list": [ { "number": f64::INFINITY } ] }.into(),
        Bson::RegularExpression(Regex {
            pattern: "^a".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        }),
        Bson::JavaScriptCode("1".into()),
        Bson::Symbol("ACTIVE".into()),
        Bson::Timestamp(Timestamp { time: 5, increment: 6 }),
        Bson::MinKey,
        Bson::MaxKey,
    ]
}

/// The values that one collection can have as ids at the same time, and one id in two spellings.
fn ids() -> Vec<Bson> {
    let own = Bson::ObjectId(ObjectId::from_bytes([0xab; 12]));
    let mut ids = values(&own);
    ids.retain(|id| match id {
        // MongoDB holds numbers equal whatever their types, and these are in the list as int64.
        Bson::Double(number) => number.fract() != 0.0 && number.is_finite(),
        Bson::Decimal128(_) => false,
        Bson::String(text) => !text.starts_with("AB"),
        _ => true,
    });
    ids
}

/// A document of the table that is loaded whole, with every field that a row needs.
fn model_document<'a>(
    facts: &Facts,
    collections: &'a BTreeMap<String, Vec<Document>>,
    table: &str,
) -> &'a Document {
    let one = |document: &&Document| {
        let alone = BTreeMap::from([(table.to_owned(), vec![(*document).clone()])]);
        oracle::expect(facts, &alone).rejects.iter().all(|reject| reject.reason == "orphan")
    };
    collections[table].iter().find(one).expect("clean documents are loaded")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_at_every_field() {
    let facts = Facts::nextcrm();
    let plan = Plan { seed: 21, scale: 0.02, dirty: 0.0 };
    let (clean, _) = to_memory(&Generator::new(NextCrm::FACTS, plan));
    let mut collections = clean.clone();
    let mut count = 0u32;
    for table in &facts.tables {
        let model = model_document(&facts, &clean, &table.name).clone();
        for field in &table.fields {
            // What a reference may point to: any document of the right table is as good.
            let target = field.column.as_ref().and_then(|column| column.reference.as_ref());
            let target = target.map_or("Users", |(target, _)| target);
            let known = clean[target][0]["_id"].clone();
            let mut variants: Vec<_> = if field.key == "_id" {
                ids().into_iter().map(Some).collect()
            } else {
                values(&known).into_iter().map(Some).collect()
            };
            variants.push(None);
            for value in variants {
                let mut document = model.clone();
                count += 1;
                let mut id = [0x70; 12];
                id[8..].copy_from_slice(&count.to_be_bytes());
                document.insert("_id", ObjectId::from_bytes(id));
                if table.name == "Users" {
                    document.insert("email", format!("{count}@example.com"));
                }
                match value {
                    Some(value) => document.insert(&field.key, value),
                    None => document.remove(&field.key),
                };
                collections.get_mut(&table.name).unwrap().push(document);
            }
        }
    }
    assert!(count > 30_000, "{count} variants");
    let expected = oracle::expect(&facts, &collections);
    // Not all of them are refused, and not all are taken.
    for table in &facts.tables {
        let loaded = expected.database.tables[&table.name].len();
        assert!(loaded > 20 && loaded < collections[&table.name].len(), "{}", table.name);
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, documents) in &collections {
        let bytes: Vec<u8> =
            documents.iter().flat_map(|document| document.to_vec().unwrap()).collect();
        std::fs::write(folder.path().join(format!("{name}.bson")), bytes).unwrap();
    }
    for version in servers::VERSIONS {
        let Some(target) = servers::database(version) else { continue };
        let source = folder.path().to_str().unwrap();
        let options = Options { chunk_bytes: 1 << 20, ..Options::default() };
        let summary = runs::migrate(source, &target, &options).await;
        runs::assert_as_expected(&facts, &expected, &summary, &target).await;
    }
}
