//! What a run of NextCRM should come to: rows, pairs, rejects and sums, predicted from the documents.
//!
//! One document's row is what the second path of validation says
//! ([`migrate_core::validate::independent`]), which shares no conversion with the transformer; that
//! the models it follows are those of the facts is checked here, field by field. What happens
//! *between* documents is worked out below, as plainly and slowly as possible.
//!
//! The rules are those of the facts' README, numbered as there:
//!
//! 1. `_id` becomes `id`. 2. Missing fields. 3. Null. 4. Empty text for an id. 5. Junction arrays.
//! 6. References to nothing. 7. Shared unique values. 8. What is not exact is rejected.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use migrate_core::id::IdScheme;
use migrate_core::schema::Registry;
use migrate_core::validate::independent::{Expected as Cell, Path, Refused};
use models::NextCrm;

use crate::facts::{Column, Facts, Field};

/// A row: the text of each column, `None` for NULL.
pub type Row = BTreeMap<String, Option<String>>;

/// What a database holds, or should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Database {
    /// Rows by table and key.
    pub tables: BTreeMap<String, BTreeMap<String, Row>>,
    /// Pairs by junction.
    pub junctions: BTreeMap<String, BTreeSet<(String, String)>>,
}

/// What a run should come to.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The tables.
    pub database: Database,
    /// Documents by collection.
    pub read: BTreeMap<String, u64>,
    /// The rejected documents.
    pub rejects: Vec<Reject>,
    /// References that became NULL, by table and column.
    pub orphans: BTreeMap<(String, String), u64>,
    /// What became of junction elements, by junction.
    pub elements: BTreeMap<String, Elements>,
}

/// A document that must not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reject {
    /// The table, which has its collection's name.
    pub table: String,
    /// The document's `_id`: the hex digits of an ObjectId, else Extended JSON; empty for none.
    pub source_id: String,
    /// The reason's code in the ledger.
    pub reason: String,
    /// The field's key.
    pub field: String,
}

/// Sums over one junction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    /// Elements of the arrays of documents that were transformed.
    pub read: u64,
    /// Pairs that another element had given.
    pub duplicates: u64,
    /// Elements that lead nowhere, or whose own document was rejected after all.
    pub orphans: u64,
}

/// The ids in the arrays of a document, by junction field; `None` is an element that is no id.
type Ids = Vec<Vec<Option<String>>>;

/// A document on its way: its row, and its `_id` for the order of rule 7.
struct Loaded {
    id: Bson,
    key: String,
    row: Row,
    rejected: bool,
}

/// An element of a junction array.
struct Element {
    /// The position of its document among those of its table.
    owner: (String, usize),
    /// The junction's two keys; `None` for what is no id.
    pair: (Option<String>, Option<String>),
}

/// Predicts a run over all documents of all collections.
pub fn expect(facts: &Facts, collections: &BTreeMap<String, Vec<Document>>) -> Expected {
    let mut expected = Expected::default();
    let mut tables: BTreeMap<&str, Vec<Loaded>> = BTreeMap::new();
    let mut elements: BTreeMap<&str, Vec<Element>> = BTreeMap::new();

    for table in &facts.tables {
        let documents = collections.get(&table.name).map_or(&[][..], Vec::as_slice);
        expected.read.insert(table.name.clone(), documents.len() as u64);
        let loaded = tables.entry(&table.name).or_default();
        let path = path(&table.name);
        for document in documents {
            let id = document.get("_id").cloned();
            match row(&path, document) {
                Ok((row, ids)) => {
                    let key = row["id"].clone().expect("an id is never NULL");
                    for junction in &facts.junctions {
                        for (from, field) in &junction.filled_from {
                            if *from == table.name {
                                let first = junction.columns[0].1 == table.name;
                                let fields = path.model().junctions;
                                let place = fields.iter().position(|own| own.keys == [field]);
                                for element in &ids[place.expect("a junction field")] {
                                    let (own, element) = (Some(key.clone()), element.clone());
                                    let pair = if first { (own, element) } else { (element, own) };
                                    let owner = (table.name.clone(), loaded.len());
                                    let list = elements.entry(&junction.name).or_default();
                                    list.push(Element { owner, pair });
                                }
                            }
                        }
                    }
                    let id = id.expect("a document without an id is no row");
                    loaded.push(Loaded { id, key, row, rejected: false });
                }
                Err((field, reason)) => {
                    expected.rejects.push(reject(&table.name, id.as_ref(), reason, &field));
                }
            }
        }
    }

    shared_values(facts, &mut tables, &mut expected);
    references(facts, &mut tables, &mut expected);

    for table in &facts.tables {
        let rows = tables[table.name.as_str()]
            .iter()
            .filter(|loaded| !loaded.rejected)
            .map(|loaded| (loaded.key.clone(), loaded.row.clone()))
            .collect();
        expected.database.tables.insert(table.name.clone(), rows);
    }
    for junction in &facts.junctions {
        let mut sums = Elements::default();
        let mut pairs = BTreeSet::new();
        for element in elements.remove(junction.name.as_str()).unwrap_or_default() {
            sums.read += 1;
            let (table, position) = element.owner;
            if tables[table.as_str()][position].rejected {
                sums.orphans += 1;
                continue;
            }
            let (first, second) = element.pair;
            let there = |table: &str, key: &Option<String>| {
                key.clone().filter(|key| expected.database.tables[table].contains_key(key))
            };
            match (there(&junction.columns[0].1, &first), there(&junction.columns[1].1, &second)) {
                (Some(first), Some(second)) => {
                    if !pairs.insert((first, second)) {
                        sums.duplicates += 1;
                    }
                }
                _ => sums.orphans += 1,
            }
        }
        expected.database.junctions.insert(junction.name.clone(), pairs);
        expected.elements.insert(junction.name.clone(), sums);
    }
    expected.rejects.sort();
    expected
}

/// Rule 7, for ids and for unique columns: the smallest `_id` is loaded.
fn shared_values(facts: &Facts, tables: &mut BTreeMap<&str, Vec<Loaded>>, expected: &mut Expected) {
    for table in &facts.tables {
        let loaded = tables.get_mut(table.name.as_str()).expect("every table has its list");
        for field in &table.fields {
            let Some(column) = &field.column else { continue };
            if !column.unique && !column.primary_key {
                continue;
            }
            let mut order: Vec<usize> = (0..loaded.len()).collect();
            order.sort_by_key(|position| sort_key(&loaded[*position].id));
            let mut seen = BTreeSet::new();
            for position in order {
                let Some(Some(value)) = loaded[position].row.get(&column.name).cloned() else {
                    continue;
                };
                if !loaded[position].rejected && !seen.insert(value) {
                    loaded[position].rejected = true;
                    let id = Some(&loaded[position].id);
                    expected.rejects.push(reject(&table.name, id, "duplicate", &field.key));
                }
            }
        }
    }
}

/// Rule 6: required references to nothing reject, again and again until no row goes any more;
/// then what is left of nullable ones becomes NULL.
fn references(facts: &Facts, tables: &mut BTreeMap<&str, Vec<Loaded>>, expected: &mut Expected) {
    loop {
        let keys = keys(tables);
        let mut changed = false;
        for table in &facts.tables {
            for field in &table.fields {
                let Some((column, target)) = reference(field) else { continue };
                if column.nullable {
                    continue;
                }
                for loaded in tables.get_mut(table.name.as_str()).expect("every table").iter_mut() {
                    let value = loaded.row[&column.name].clone().expect("a required reference");
                    if !loaded.rejected && !keys[target].contains(&value) {
                        loaded.rejected = true;
                        changed = true;
                        expected.rejects.push(reject(
                            &table.name,
                            Some(&loaded.id),
                            "orphan",
                            &field.key,
                        ));
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    let keys = keys(tables);
    for table in &facts.tables {
        for field in &table.fields {
            let Some((column, target)) = reference(field) else { continue };
            for loaded in tables.get_mut(table.name.as_str()).expect("every table").iter_mut() {
                let cell = loaded.row.get_mut(&column.name).expect("every column has its cell");
                let orphan = cell.as_ref().is_some_and(|value| !keys[target].contains(value));
                if orphan && !loaded.rejected {
                    *cell = None;
                    let counted = (table.name.clone(), column.name.clone());
                    *expected.orphans.entry(counted).or_default() += 1;
                }
            }
        }
    }
}

fn reference(field: &Field) -> Option<(&Column, &str)> {
    let column = field.column.as_ref()?;
    let (target, _) = column.reference.as_ref()?;
    Some((column, target))
}

fn keys<'a>(tables: &BTreeMap<&'a str, Vec<Loaded>>) -> BTreeMap<&'a str, BTreeSet<String>> {
    tables
        .iter()
        .map(|(name, rows)| {
            let keys = rows.iter().filter(|row| !row.rejected).map(|row| row.key.clone());
            (*name, keys.collect())
        })
        .collect()
}

fn reject(table: &str, id: Option<&Bson>, reason: &str, field: &str) -> Reject {
    let source_id = match id {
        None => String::new(),
        Some(Bson::ObjectId(id)) => id.to_hex(),
        Some(other) => serde_json::to_string(other).expect("ids are JSON"),
    };
    Reject {
        table: table.to_owned(),
        source_id,
        reason: reason.to_owned(),
        field: field.to_owned(),
    }
}

/// Rules 1 to 5 and 8: one document's row and the ids in its arrays, by junction field, or the
/// field that is wrong and why.
fn row(path: &Path, document: &Document) -> Result<(Row, Ids), (String, Refused)> {
    let expected = path.row(document).map_err(|refusal| (refusal.field, refusal.reason))?;
    let cells = path.model().columns.iter().zip(expected.cells).map(|(column, cell)| {
        let cell = match cell {
            Cell::Null => None,
            Cell::Text(text) => Some(text),
            Cell::Unknown => panic!("{}.{} is not known", path.model().name, column.name),
        };
        (column.name.to_owned(), cell)
    });
    Ok((cells.collect(), expected.elements))
}

/// The second path of a table.
///
/// # Panics
/// When the models have no such table, or something of it is not checked.
pub fn path(table: &str) -> Path {
    let model = NextCrm::FACTS.iter().map(|(model, _)| model).find(|model| model.table == table);
    let model = model.unwrap_or_else(|| panic!("a model of {table}"));
    let path = Path::new(model, IdScheme::V8).unwrap_or_else(|why| panic!("{table}: {why:?}"));
    assert_eq!(path.unchecked(), [], "{table}");
    path
}

/// Rule 1: the UUID of any `_id`.
///
/// # Panics
/// Never: every `_id` has one.
pub fn own_id(value: &Bson) -> String {
    path("Users").key(value).expect("every id has a UUID")
}

/// A number that sorts as MongoDB sorts `_id`s: by type, then by value. Only the types that the
/// tests use as ids.
fn sort_key(id: &Bson) -> (u8, Vec<u8>) {
    match id {
        Bson::Int32(number) => sort_key(&Bson::Int64(i64::from(*number))),
        Bson::Int64(number) => (1, (number.wrapping_sub(i64::MIN) as u64).to_be_bytes().to_vec()),
        Bson::String(text) => (2, text.as_bytes().to_vec()),
        Bson::Binary(binary) => (3, binary.bytes.clone()),
        Bson::ObjectId(id) => (4, id.bytes().to_vec()),
        other => (5, format!("{other:?}").into_bytes()),
    }
}

impl Database {
    /// Every difference to another database, `self` being what is expected; each names table,
    /// key, column and both values.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (table, rows) in &self.tables {
            let nothing = BTreeMap::new();
            let found = found.tables.get(table).unwrap_or(&nothing);
            for (key, row) in rows {
                match found.get(key) {
                    None => differences.push(format!("{table} {key}: the row is not there")),
                    Some(found) => {
                        for (column, cell) in row {
                            let there = found.get(column);
                            if there != Some(cell) {
                                differences.push(format!(
                                    "{table} {key} {column}: expected {cell:?}, found {there:?}"
                                ));
                            }
                        }
                    }
                }
            }
            for key in found.keys().filter(|key| !rows.contains_key(*key)) {
                differences.push(format!("{table} {key}: a row that should not be there"));
            }
        }
        for (junction, pairs) in &self.junctions {
            let nothing = BTreeSet::new();
            let found = found.junctions.get(junction).unwrap_or(&nothing);
            for (first, second) in pairs.difference(found) {
                differences.push(format!("{junction} ({first}, {second}): the pair is not there"));
            }
            for (first, second) in found.difference(pairs) {
                differences.push(format!("{junction} ({first}, {second}): should not be there"));
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};
    use migrate_core::schema::JunctionField;

    use super::*;

    #[test]
    fn the_worked_example_of_identity() {
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        assert_eq!(own_id(&Bson::ObjectId(id)), "013a7092-e8d8-8bcf-a1b3-5e650e404400");
    }

    /// The second path follows the models, so the models have to be those of the facts: where a
    /// column comes from, and what stands in it when the field is missing, null or empty.
    #[test]
    fn the_models_are_those_of_the_facts() {
        let facts = Facts::nextcrm();
        let mut count = 0;
        for table in &facts.tables {
            let path = path(&table.name);
            let model = path.model();
            assert_eq!(model.collection, table.name);
            for field in &table.fields {
                let name = format!("{}.{}", table.name, field.key);
                let Some(facts) = &field.column else {
                    let has = |own: &JunctionField| own.keys == [field.key.as_str()];
                    assert!(model.junctions.iter().any(has), "{name}");
                    continue;
                };
                let (index, column) = model.column(&facts.name).expect(&name);
                assert_eq!(column.keys, [field.key.as_str()], "{name}");
                assert_eq!(column.nullable, facts.nullable, "{name}");
                assert_eq!(column.primary_key, facts.primary_key, "{name}");
                // Rule 2, in its order.
                let is_list = facts.pg_type.ends_with("[]");
                let default = match facts.literal() {
                    Some(literal) => Some(literal),
                    None if field.key == "__v" => Some("0"),
                    None if is_list => Some("[]"),
                    None => None,
                };
                let default = default.map(|text| Cell::Text(text.to_owned()));
                assert_eq!(path.default_of(index), default.as_ref(), "{name}");
                let is_time = default.is_none()
                    && !facts.nullable
                    && (facts.default == "now()" || facts.kept_current);
                assert_eq!(column.id_time, is_time, "{name}");
                // Rule 4.
                let single_id = field.mongo_type.trim_end_matches('?') == "objectId";
                assert_eq!(column.empty_as_null, single_id && field.key != "_id", "{name}");
                count += 1;
            }
        }
        assert_eq!(count, 361 + 29, "every column");
    }

    fn id(number: u8) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[3] = 100;
        bytes[11] = number;
        ObjectId::from_bytes(bytes)
    }

    /// One small story through all rules; every expected value was worked out by hand.
    #[test]
    fn the_rules_on_a_small_story() {
        let facts = Facts::nextcrm();
        let user = |number: u8, email: &str| doc! { "_id": id(number), "email": email };
        let collections = BTreeMap::from([
            (
                "Users".to_owned(),
                vec![
                    user(1, "a@x"),
                    user(2, "a@x"),
                    doc! { "_id": id(3).to_hex(), "email": "c@x", "created_on": Bson::Null, "watching_boardsIDs": [id(10), id(10), "nobody"] },
                    doc! { "_id": id(4), "email": 7 },
                ],
            ),
            (
                "Boards".to_owned(),
                vec![
                    doc! { "_id": id(10), "description": "d", "title": "t", "user": id(1), "watchers": id(3) },
                    doc! { "_id": id(11), "description": "d", "title": "t", "user": id(2), "watchers": [id(1)] },
                    doc! { "_id": id(12), "description": "d", "title": "t", "user": "" },
                ],
            ),
            (
                "Sections".to_owned(),
                vec![
                    doc! { "_id": id(20), "title": "t", "board": id(10) },
                    doc! { "_id": id(21), "title": "t", "board": id(11) },
                ],
            ),
            (
                "Tasks".to_owned(),
                vec![
                    doc! { "_id": id(30), "title": "t", "priority": "p", "position": 1.0, "section": id(21), "likes": Bson::Null },
                ],
            ),
        ]);
        let expected = expect(&facts, &collections);
        let rejects: Vec<(&str, &str, &str)> = expected
            .rejects
            .iter()
            .map(|reject| (reject.table.as_str(), reject.reason.as_str(), reject.field.as_str()))
            .collect();
        assert_eq!(
            rejects,
            [
                ("Boards", "orphan", "user"),
                ("Boards", "missing", "user"),
                ("Sections", "orphan", "board"),
                ("Users", "duplicate", "email"),
                ("Users", "type", "email"),
            ]
        );
        let users = &expected.database.tables["Users"];
        assert_eq!(users.len(), 2);
        let third = &users[&own_id(&Bson::ObjectId(id(3)))];
        assert_eq!(third["created_on"].as_deref(), Some("1970-01-01 00:01:40"));
        assert_eq!(third["userStatus"].as_deref(), Some("PENDING"));
        assert_eq!(third["__v"].as_deref(), Some("0"));
        let task = expected.database.tables["Tasks"].values().next().unwrap();
        assert_eq!(task["section"], None);
        assert_eq!(task["likes"], None);
        assert_eq!(task["position"].as_deref(), Some("1"));
        assert_eq!(task["taskStatus"].as_deref(), Some("ACTIVE"));
        let orphans = BTreeMap::from([(("Tasks".to_owned(), "section".to_owned()), 1)]);
        assert_eq!(expected.orphans, orphans);
        // Three elements from the user, one from each board that was transformed; the pair is
        // there once, `nobody` is no id, and the second board was rejected later.
        let watchers = expected.elements["BoardWatchers"];
        assert_eq!(watchers, Elements { read: 5, duplicates: 2, orphans: 2 });
        assert_eq!(expected.database.junctions["BoardWatchers"].len(), 1);
    }
}
