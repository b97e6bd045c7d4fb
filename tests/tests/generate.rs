//! What `migrate generate` makes: the same for the same seed, of sensible sizes, with references
//! that lead somewhere, and with a ledger that names each planted fault.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use migrate_cli::generate::{Expected, Fault, Generator, Plan, to_dump, to_memory, to_mongodb};
use migrate_core::schema::Registry;
use migrate_tests::facts::Facts;
use migrate_tests::oracle;
use models::NextCrm;

fn generator(plan: Plan) -> Generator {
    Generator::new(NextCrm::FACTS, plan)
}

/// All documents as BSON, because a NaN in one is not equal to itself.
fn bytes(collections: &BTreeMap<String, Vec<Document>>) -> Vec<Vec<u8>> {
    collections.values().flatten().map(|document| document.to_vec().unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_documents() {
    let plan = Plan { seed: 5, scale: 0.1, dirty: 0.2 };
    let (first, ledger) = to_memory(&generator(plan));
    let (second, second_ledger) = to_memory(&generator(plan));
    let (other, _) = to_memory(&generator(Plan { seed: 6, ..plan }));
    assert!(bytes(&first) == bytes(&second) && ledger == second_ledger);
    assert!(bytes(&first) != bytes(&other));
    let documents: usize = first.values().map(Vec::len).sum();
    assert_eq!(ledger.total(), documents as u64);

    let folder = tempfile::tempdir().unwrap();
    assert_eq!(to_dump(&generator(plan), folder.path(), false).unwrap(), ledger);
    let in_files: u64 = first
        .keys()
        .map(|name| folder.path().join(format!("{name}.bson")).metadata().unwrap().len())
        .sum();
    assert_eq!(in_files, ledger.bytes);
}

#[test]
fn scale_1_is_about_ten_thousand_documents() {
    let plan = Plan::default();
    let (collections, ledger) = to_memory(&generator(plan));
    assert_eq!(collections.len(), 29);
    assert!((10_000..10_600).contains(&ledger.total()), "{:?}", ledger.documents);
    assert!(ledger.planted.is_empty());
    let count = |name: &str| collections[name].len();
    assert!(count("crm_Contacts") > count("Documents"));
    assert!(count("Documents") > count("Users"));
    assert_eq!(count("crm_Industry_Type"), 12);
    // The documents of the published measurements have 625 bytes on average.
    let contacts = &collections["crm_Contacts"];
    let bytes: usize = contacts.iter().map(|document| document.to_vec().unwrap().len()).sum();
    let average = bytes / contacts.len();
    assert!((550..700).contains(&average), "{average} bytes");
    // Ids grow with the position, and no two documents share one.
    for documents in collections.values() {
        let ids: Vec<_> =
            documents.iter().map(|document| document.get_object_id("_id").unwrap()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}

/// The ids that an array of ids holds.
fn ids(document: &Document, key: &str) -> Vec<Bson> {
    match document.get(key) {
        Some(Bson::Array(ids)) => ids.clone(),
        _ => Vec::new(),
    }
}

#[test]
fn both_sides_of_a_junction_hold_it_partly() {
    let facts = Facts::nextcrm();
    let (collections, _) = to_memory(&generator(Plan { scale: 0.3, ..Plan::default() }));
    for junction in &facts.junctions {
        let [(_, first), _] = &junction.columns;
        let mut sides: Vec<BTreeSet<(String, String)>> = Vec::new();
        for (table, key) in &junction.filled_from {
            let mut pairs = BTreeSet::new();
            for document in &collections[table] {
                let own = document["_id"].to_string();
                for id in ids(document, key) {
                    let other = id.to_string();
                    let pair =
                        if table == first { (own.clone(), other) } else { (other, own.clone()) };
                    pairs.insert(pair);
                }
            }
            assert!(!pairs.is_empty(), "{table}.{key} is empty");
            sides.push(pairs);
        }
        if let [left, right] = &sides[..] {
            assert!(left.intersection(right).next().is_some(), "{}", junction.name);
            assert!(left.difference(right).next().is_some(), "{}", junction.name);
            assert!(right.difference(left).next().is_some(), "{}", junction.name);
        }
    }
}

#[test]
fn clean_documents_have_no_faults() {
    let facts = Facts::nextcrm();
    let (collections, _) = to_memory(&generator(Plan { scale: 0.3, ..Plan::default() }));
    let expected = oracle::expect(&facts, &collections);
    assert_eq!(expected.rejects, []);
    assert_eq!(expected.orphans, BTreeMap::new());
    assert!(expected.elements.values().all(|elements| elements.orphans == 0));
    // Every column is filled in some row and, where it may be, NULL in another.
    for table in &facts.tables {
        let rows = &expected.database.tables[&table.name];
        for column in table.columns() {
            let filled = rows.values().filter(|row| row[&column.name].is_some()).count();
            assert!(filled > 0, "{}.{} is always NULL", table.name, column.name);
            if column.nullable && rows.len() > 100 {
                assert!(filled < rows.len(), "{}.{} is never NULL", table.name, column.name);
            }
        }
    }
}

#[test]
fn every_fault_is_planted_and_has_its_consequence() {
    let facts = Facts::nextcrm();
    let (collections, ledger) =
        to_memory(&generator(Plan { seed: 9, scale: 1.0, dirty: Plan::DIRTY }));
    let expected = oracle::expect(&facts, &collections);
    let rejected: BTreeSet<(&str, &str, &str)> = expected
        .rejects
        .iter()
        .map(|reject| (reject.table.as_str(), reject.source_id.as_str(), reject.reason.as_str()))
        .collect();
    let mut planted = BTreeSet::new();
    for fault in &ledger.planted {
        let key = |reason| (fault.collection.as_str(), fault.source_id.as_str(), reason);
        match fault.expected {
            Expected::Rejected(reason) => {
                assert!(rejected.contains(&key(reason.code())), "{fault:?}");
                planted.insert(key(reason.code()));
            }
            _ => {
                let mut found = rejected
                    .iter()
                    .filter(|(table, id, _)| *table == fault.collection && *id == fault.source_id);
                assert!(found.all(|(_, _, reason)| *reason == "orphan"), "{fault:?}");
            }
        }
    }
    for consequence in rejected.difference(&planted) {
        assert_eq!(consequence.2, "orphan", "rejected, but not planted: {consequence:?}");
    }
    let counts = ledger.counts();
    let missing: Vec<Fault> =
        Fault::ALL.iter().copied().filter(|fault| !counts.contains_key(fault)).collect();
    assert_eq!(missing, [], "{counts:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_by_its_own_option() {
    let generator = Generator::new(NextCrm::FACTS, Plan { seed: 1, scale: 0.1, dirty: 0.0 });
    let nowhere = "mongodb://127.0.0.1:1/crm?serverSelectionTimeoutMS=200";
    let error = to_mongodb(&generator, nowhere).await.unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("`--target-mongo`")), "{error}");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.starts_with("no server answers (127.0.0.1:1: "), "{cause}");
}
