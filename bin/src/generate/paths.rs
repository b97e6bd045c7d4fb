//! Values inside of embedded documents, and fields that depend on others: documents are made flat,
//! with paths for keys, and nested at the end.

use bson::{Bson, Document};
use migrate_core::schema::{Column, Convert, KEY_SEPARATOR, Model};

use super::random::Random;

/// Whether a value is made for the column.
pub(super) fn is_made(column: &Column) -> bool {
    let is_value = matches!(column.convert, Convert::Value(_));
    // Ids are made whole, so nothing stands inside of one.
    is_value && column.keys.first().is_some_and(|key| is_free(key))
}

/// Whether a value may be put under a key or a path: it does not stand in the id.
pub(super) fn is_free(key: &str) -> bool {
    !key.starts_with("_id\0") && !key.starts_with('\u{1}') && key != "_id"
}

/// Whether the column is read from a key of the document itself, whatever else the document holds.
pub(super) fn is_plain(column: &Column) -> bool {
    is_made(column) && column.when.is_none() && !column.keys[0].contains(KEY_SEPARATOR)
}

/// Of the columns that depend on one field the one whose value the document has. `random` is the
/// same for all of them.
pub(super) fn is_chosen(model: &Model, column: &Column, random: &mut Random) -> bool {
    let key = column.when.map(|when| when.key);
    let choices: Vec<&str> = model
        .columns
        .iter()
        .filter(|other| other.when.map(|when| when.key) == key)
        .map(|other| other.name)
        .collect();
    let chosen = random.below(choices.len().max(1) as u64) as usize;
    choices.get(chosen) == Some(&column.name)
}

/// The document with its paths taken apart.
pub(super) fn nested(flat: Document) -> Document {
    if !flat.keys().any(|key| key.contains(KEY_SEPARATOR)) {
        return flat;
    }
    let mut document = Document::new();
    for (path, value) in flat {
        let keys: Vec<&str> = path.split(KEY_SEPARATOR).collect();
        insert(&mut document, &keys, value);
    }
    for (_, value) in document.iter_mut() {
        arrays(value);
    }
    document
}

fn insert(document: &mut Document, keys: &[&str], value: Bson) {
    match keys {
        [] => {}
        [key] => {
            document.insert(*key, value);
        }
        [key, rest @ ..] => {
            let inner = document.entry((*key).to_owned()).or_insert(Bson::Null);
            if !matches!(inner, Bson::Document(_)) {
                *inner = Bson::Document(Document::new());
            }
            if let Bson::Document(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Makes arrays of the documents whose keys are the positions of one.
fn arrays(value: &mut Bson) {
    let Bson::Document(document) = value else { return };
    for (_, value) in document.iter_mut() {
        arrays(value);
    }
    let positions = document.keys().enumerate().all(|(at, key)| *key == at.to_string());
    if positions && !document.is_empty() {
        *value = document.values().cloned().collect::<Vec<_>>().into();
    }
}
