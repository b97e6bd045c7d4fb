//! A second implementation of the eight rules by which a NextCRM document becomes a row.
//!
//! It works on decoded documents and on the facts' own tables, as plainly and slowly as possible,
//! and shares no code with the runtime: not the cells, not the identity, not the models. What it
//! expects and what the target holds are both brought into one form, [`Database`], in which every
//! cell is text:
//!
//! - text, numbers, booleans (`true`), UUIDs and enum labels as PostgreSQL prints them;
//! - a timestamp as whole milliseconds since 1970;
//! - JSON and arrays as JSON with sorted keys and numbers in their shortest form.
//!
//! The rules are those of the facts' README, numbered as there:
//!
//! 1. `_id` becomes `id`. 2. Missing fields. 3. Null. 4. Empty text for an id. 5. Junction arrays.
//! 6. References to nothing. 7. Shared unique values. 8. What is not exact is rejected.

use std::collections::{BTreeMap, BTreeSet};

use bson::spec::BinarySubtype;
use bson::{Bson, Document};
use uuid::Uuid;

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

/// Why a value was refused: the reason's code.
type Refused = &'static str;

/// Predicts a run over all documents of all collections.
pub fn expect(facts: &Facts, collections: &BTreeMap<String, Vec<Document>>) -> Expected {
    let mut expected = Expected::default();
    let mut tables: BTreeMap<&str, Vec<Loaded>> = BTreeMap::new();
    let mut elements: BTreeMap<&str, Vec<Element>> = BTreeMap::new();

    for table in &facts.tables {
        let documents = collections.get(&table.name).map_or(&[][..], Vec::as_slice);
        expected.read.insert(table.name.clone(), documents.len() as u64);
        let loaded = tables.entry(&table.name).or_default();
        for document in documents {
            let id = document.get("_id").cloned();
            match row(facts, &table.fields, document) {
                Ok(row) => {
                    let key = row["id"].clone().expect("an id is never NULL");
                    for junction in &facts.junctions {
                        for (from, field) in &junction.filled_from {
                            if *from == table.name {
                                let first = junction.columns[0].1 == table.name;
                                for element in junction_elements(document.get(field)) {
                                    let own = Some(key.clone());
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

/// Rules 1 to 4 and 8: one document's row, or the field that is wrong and why.
fn row(facts: &Facts, fields: &[Field], document: &Document) -> Result<Row, (String, Refused)> {
    let mut row = Row::new();
    for field in fields {
        let Some(column) = &field.column else { continue };
        let refused = |reason| (field.key.clone(), reason);
        let mut value = document.get(&field.key);
        let single_id = field.mongo_type.trim_end_matches('?') == "objectId";
        // Rule 4; `_id` itself is never "no id".
        if single_id && field.key != "_id" && value == Some(&Bson::String(String::new())) {
            value = Some(&Bson::Null);
        }
        let cell = match value {
            // Rule 3.
            Some(Bson::Null) if column.nullable => None,
            // Rule 2.
            None | Some(Bson::Null) => missing(field, column, document).map_err(refused)?,
            Some(value) if field.key == "_id" => Some(own_id(value)),
            Some(value) => Some(cell(facts, column, value).map_err(refused)?),
        };
        row.insert(column.name.clone(), cell);
    }
    Ok(row)
}

/// Rule 2.
fn missing(field: &Field, column: &Column, document: &Document) -> Result<Option<String>, Refused> {
    if let Some(literal) = column.literal() {
        return Ok(Some(literal.to_owned()));
    }
    if field.key == "__v" {
        return Ok(Some("0".to_owned()));
    }
    if column.pg_type.ends_with("[]") {
        return Ok(Some("[]".to_owned()));
    }
    if !column.nullable && (column.default == "now()" || column.kept_current) {
        let id = match document.get("_id") {
            Some(Bson::ObjectId(id)) => Some(id.to_hex()),
            Some(Bson::String(text)) if is_hex_id(text) => Some(text.clone()),
            _ => None,
        };
        let Some(id) = id else { return Err("missing") };
        let seconds = i64::from_str_radix(&id[..8], 16).expect("hex digits");
        return Ok(Some((seconds * 1000).to_string()));
    }
    if column.nullable { Ok(None) } else { Err("missing") }
}

/// Rule 8: the cell that is exactly the value.
fn cell(facts: &Facts, column: &Column, value: &Bson) -> Result<String, Refused> {
    match column.pg_type.as_str() {
        "text" => text(value),
        "int4" => integer(value, i64::from(i32::MIN), i64::from(i32::MAX)),
        "int8" => integer(value, i64::MIN, i64::MAX),
        "bool" => match value {
            Bson::Boolean(truth) => Ok(truth.to_string()),
            _ => Err("type"),
        },
        "timestamp(3)" => match value {
            Bson::DateTime(time) => {
                let millis = time.timestamp_millis();
                // From Julian day 0 up to, but not including, the year 294277.
                let range = -210_866_803_200_000..9_224_318_016_000_000;
                if range.contains(&millis) { Ok(millis.to_string()) } else { Err("range") }
            }
            _ => Err("type"),
        },
        "uuid" => id(value).ok_or("type"),
        "jsonb" => {
            let mut json = String::new();
            write_json(value, &mut json)?;
            Ok(json)
        }
        "text[]" | "uuid[]" => {
            let Bson::Array(elements) = value else { return Err("type") };
            let mut json = Vec::new();
            for element in elements {
                let element = if column.pg_type == "text[]" {
                    text(element)?
                } else {
                    id(element).ok_or("type")?
                };
                json.push(serde_json::to_string(&element).expect("text is JSON"));
            }
            Ok(format!("[{}]", json.join(",")))
        }
        other => {
            let name = other.strip_prefix("enum ").expect("a type of the facts");
            let (_, labels) = facts.enums.iter().find(|(ty, _)| ty == name).expect("an enum");
            match value {
                Bson::String(label) if labels.contains(label) => Ok(label.clone()),
                Bson::String(_) => Err("label"),
                _ => Err("type"),
            }
        }
    }
}

fn text(value: &Bson) -> Result<String, Refused> {
    match value {
        Bson::String(text) if text.contains('\0') => Err("nul"),
        Bson::String(text) => Ok(text.clone()),
        _ => Err("type"),
    }
}

/// A whole number of any BSON type, by its decimal digits.
fn integer(value: &Bson, min: i64, max: i64) -> Result<String, Refused> {
    let number: i128 = match value {
        Bson::Int32(number) => i128::from(*number),
        Bson::Int64(number) => i128::from(*number),
        Bson::Double(number) => {
            if !number.is_finite() {
                return Err("not_finite");
            }
            if number.fract() != 0.0 {
                return Err("fraction");
            }
            if number.abs() > 1e30 {
                return Err("range");
            }
            *number as i128
        }
        Bson::Decimal128(number) => whole_decimal(&number.to_string())?,
        _ => return Err("type"),
    };
    if number < i128::from(min) || number > i128::from(max) {
        return Err("range");
    }
    Ok(number.to_string())
}

/// The number that a Decimal128 spells, as in `-12.00` or `7E+2`, when it is whole.
fn whole_decimal(spelling: &str) -> Result<i128, Refused> {
    let (digits, exponent) = match spelling.split_once(['E', 'e']) {
        Some((digits, exponent)) => {
            (digits, exponent.trim_start_matches('+').parse::<i32>().map_err(|_| "not_finite")?)
        }
        None => (spelling, 0),
    };
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.chars().chain(fraction.chars()).all(|digit| digit.is_ascii_digit()) {
        return Err("not_finite");
    }
    // Shift the point by hand until no exponent is left.
    let (mut whole, mut fraction) = (whole.to_owned(), fraction.to_owned());
    for _ in 0..exponent.max(0) {
        let moved = if fraction.is_empty() { '0' } else { fraction.remove(0) };
        whole.push(moved);
    }
    for _ in exponent.min(0)..0 {
        let moved = whole.pop().unwrap_or('0');
        fraction.insert(0, moved);
    }
    if fraction.chars().any(|digit| digit != '0') {
        return Err("fraction");
    }
    let whole = whole.trim_start_matches('0');
    let number: i128 = match whole.len() {
        0 => 0,
        1..=35 => whole.parse().expect("up to 35 digits"),
        _ => return Err("range"),
    };
    Ok(if negative { -number } else { number })
}

/// The UUID of a reference or of an element: an ObjectId, its hex digits, or a UUID.
fn id(value: &Bson) -> Option<String> {
    match value {
        Bson::ObjectId(id) => Some(uuid_of_object_id(&id.to_hex())),
        Bson::String(text) if is_hex_id(text) => Some(uuid_of_object_id(text)),
        Bson::Binary(binary)
            if binary.bytes.len() == 16
                && matches!(binary.subtype, BinarySubtype::Uuid | BinarySubtype::UuidOld) =>
        {
            let bytes: [u8; 16] = binary.bytes.clone().try_into().expect("16 bytes");
            Some(Uuid::from_bytes(bytes).to_string())
        }
        _ => None,
    }
}

/// Rule 1: the UUID of any `_id`.
pub fn own_id(value: &Bson) -> String {
    if let Some(id) = id(value) {
        return id;
    }
    // Version 5 over the type's number and the value's bytes; whole numbers of every type count
    // as int64, because MongoDB holds them equal.
    let namespace = Uuid::parse_str("6c5b3b5e-8f0b-5d0e-9a52-2f1f0d7a91c4").expect("a UUID");
    let value = match value {
        Bson::Int32(number) => Bson::Int64(i64::from(*number)),
        Bson::Double(number)
            if number.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(number) =>
        {
            Bson::Int64(*number as i64)
        }
        other => other.clone(),
    };
    let document = bson::doc! { "v": value }.to_vec().expect("a document of one value");
    // A document is its length (4 bytes), the type, `v` and a zero byte, the value, a zero byte.
    let mut bytes = vec![document[4]];
    bytes.extend_from_slice(&document[7..document.len() - 1]);
    Uuid::new_v5(&namespace, &bytes).to_string()
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 24 && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// The UUID of an ObjectId, bit by bit: 48 bits of milliseconds, the version, 12 bits, the
/// variant, 52 bits, ten zeros.
fn uuid_of_object_id(hex: &str) -> String {
    let seconds = u64::from_str_radix(&hex[..8], 16).expect("hex digits");
    let rest = u64::from_str_radix(&hex[8..], 16).expect("hex digits");
    let rest = format!("{rest:064b}");
    let bits = format!("{:048b}1000{}10{}0000000000", seconds * 1000, &rest[..12], &rest[12..]);
    Uuid::from_u128(u128::from_str_radix(&bits, 2).expect("128 bits")).to_string()
}

/// Rule 5: the ids that an array, or what stands in its place, holds.
fn junction_elements(value: Option<&Bson>) -> Vec<Option<String>> {
    match value {
        None | Some(Bson::Null) => Vec::new(),
        Some(Bson::Array(elements)) => elements.iter().map(id).collect(),
        Some(single) => vec![id(single)],
    }
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

/// Plain JSON of a value: ids as hex digits, times as ISO 8601; keys sorted, numbers short.
fn write_json(value: &Bson, out: &mut String) -> Result<(), Refused> {
    let text = |text: &str, out: &mut String| {
        if text.contains('\0') {
            return Err("nul");
        }
        out.push_str(&serde_json::to_string(text).expect("text is JSON"));
        Ok(())
    };
    match value {
        Bson::Null => out.push_str("null"),
        Bson::Boolean(truth) => out.push_str(&truth.to_string()),
        Bson::Int32(number) => out.push_str(&number.to_string()),
        Bson::Int64(number) => out.push_str(&number.to_string()),
        Bson::Double(number) if !number.is_finite() => return Err("not_finite"),
        Bson::Double(number) => out.push_str(&short_number(*number)),
        Bson::String(string) => text(string, out)?,
        Bson::ObjectId(id) => text(&id.to_hex(), out)?,
        Bson::DateTime(time) => match iso_time(time.timestamp_millis()) {
            Some(iso) => text(&iso, out)?,
            None => out.push_str(&format!(
                "{{\"$date\":{{\"$numberLong\":\"{}\"}}}}",
                time.timestamp_millis()
            )),
        },
        Bson::Array(elements) => {
            out.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_json(element, out)?;
            }
            out.push(']');
        }
        Bson::Document(document) => {
            let mut keys: Vec<&String> = document.keys().collect();
            keys.sort();
            out.push('{');
            for (position, key) in keys.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                text(key, out)?;
                out.push(':');
                write_json(document.get(key).expect("its own key"), out)?;
            }
            out.push('}');
        }
        Bson::Decimal128(number) => {
            let spelling = number.to_string();
            match whole_decimal(&spelling) {
                Ok(whole) if i64::try_from(whole).is_ok() => out.push_str(&whole.to_string()),
                Err("not_finite") => return Err("not_finite"),
                _ => out.push_str(&short_number(spelling.parse().expect("a decimal"))),
            }
        }
        Bson::Binary(_) if id(value).is_some() => text(&id(value).unwrap_or_default(), out)?,
        Bson::Binary(binary) => text(&base64(&binary.bytes), out)?,
        // What JSON has nothing for is canonical Extended JSON, whose keys sort as they stand.
        Bson::Undefined => out.push_str("{\"$undefined\":true}"),
        Bson::MinKey => out.push_str("{\"$minKey\":1}"),
        Bson::MaxKey => out.push_str("{\"$maxKey\":1}"),
        Bson::Timestamp(time) => out.push_str(&format!(
            "{{\"$timestamp\":{{\"i\":{},\"t\":{}}}}}",
            time.increment, time.time
        )),
        Bson::RegularExpression(regex) => {
            out.push_str("{\"$regularExpression\":{\"options\":");
            text(regex.options.as_str(), out)?;
            out.push_str(",\"pattern\":");
            text(regex.pattern.as_str(), out)?;
            out.push_str("}}");
        }
        Bson::JavaScriptCode(code) => {
            out.push_str("{\"$code\":");
            text(code, out)?;
            out.push('}');
        }
        Bson::Symbol(symbol) => {
            out.push_str("{\"$symbol\":");
            text(symbol, out)?;
            out.push('}');
        }
        other => panic!("the oracle does not know {other:?} in JSON"),
    }
    Ok(())
}

/// Milliseconds since 1970 as ISO 8601 with three digits of the second; `None` where the year
/// has not four digits.
fn iso_time(millis: i64) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_millis(millis)?;
    let year: i32 = time.format("%Y").to_string().parse().ok()?;
    (0..10_000).contains(&year).then(|| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// Base64 by its table, six bits at a time.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    while !bits.len().is_multiple_of(6) {
        bits.push('0');
    }
    let mut text: String = (0..bits.len() / 6)
        .map(|digit| {
            let digit = usize::from_str_radix(&bits[6 * digit..6 * digit + 6], 2).expect("bits");
            DIGITS[digit] as char
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// A number without a needless point or zero.
fn short_number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        (number as i64).to_string()
    } else {
        format!("{number:?}")
    }
}

/// JSON text from elsewhere in the form that this file compares.
///
/// # Panics
/// When the text is no JSON.
pub fn canonical_json(text: &str) -> String {
    fn write(value: &serde_json::Value, out: &mut String) {
        match value {
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => out.push_str(&whole.to_string()),
                (None, Some(number)) => out.push_str(&short_number(number)),
                (None, None) => out.push_str(&number.to_string()),
            },
            serde_json::Value::Array(elements) => {
                out.push('[');
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write(element, out);
                }
                out.push(']');
            }
            serde_json::Value::Object(object) => {
                let mut keys: Vec<&String> = object.keys().collect();
                keys.sort();
                out.push('{');
                for (position, key) in keys.into_iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    out.push_str(&serde_json::to_string(key).expect("text is JSON"));
                    out.push(':');
                    write(&object[key], out);
                }
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let value: serde_json::Value = serde_json::from_str(text).expect("the target gives JSON");
    let mut out = String::new();
    write(&value, &mut out);
    out
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

    use super::*;

    #[test]
    fn the_worked_example_of_identity() {
        let uuid = uuid_of_object_id("507f1f77bcf86cd799439011");
        assert_eq!(uuid, "013a7092-e8d8-8bcf-a1b3-5e650e404400");
    }

    #[test]
    fn base64_has_its_padding() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn decimals() {
        for (spelling, whole) in [
            ("7", Ok(7)),
            ("-12.00", Ok(-12)),
            ("7E+2", Ok(700)),
            ("1.5E+1", Ok(15)),
            ("1.5", Err("fraction")),
            ("15E-1", Err("fraction")),
            ("150E-1", Ok(15)),
            ("0E-6176", Ok(0)),
            ("1E+6000", Err("range")),
            ("NaN", Err("not_finite")),
            ("-Infinity", Err("not_finite")),
        ] {
            assert_eq!(whole_decimal(spelling), whole, "{spelling}");
        }
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
        let third = &users[&uuid_of_object_id(&id(3).to_hex())];
        assert_eq!(third["created_on"].as_deref(), Some("100000"));
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
