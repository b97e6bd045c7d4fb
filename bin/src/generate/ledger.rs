//! The ledger of what was planted: one line for each fault, with what must become of it.

use std::collections::BTreeMap;

use migrate_core::Reason;
use serde::{Deserialize, Serialize};

/// What was generated and what was planted in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Documents by collection, of models and others.
    pub documents: BTreeMap<String, u64>,
    /// BSON bytes over all collections.
    pub bytes: u64,
    /// Every planted fault and oddity, in the order of the documents.
    pub planted: Vec<Planted>,
}

/// A fault or an oddity in one document; no document has two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planted {
    /// What it is.
    pub kind: Fault,
    /// The collection.
    pub collection: String,
    /// The document key; empty when it is about the whole document.
    pub field: String,
    /// The document's `_id`: the hex digits of an ObjectId, else Extended JSON.
    pub source_id: String,
    /// What must become of it.
    pub expected: Expected,
}

/// What must become of a document with a fault. A rejected document has consequences of its own:
/// what refers to it refers to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// The document is rejected.
    Rejected(Reason),
    /// The document is loaded with NULL for a reference to nothing, which is noted.
    Orphan,
    /// The document is loaded, without the element that is no id or points to nothing.
    JunctionOrphan,
    /// The document is loaded exactly.
    Loaded,
}

/// The faults of real data, and the oddities that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A label that the enum does not have.
    UnknownLabel,
    /// Digits as text for a number.
    NumberAsString,
    /// A number for text.
    TextAsNumber,
    /// `"true"` for a boolean.
    BoolAsString,
    /// An ISO date as text for a time.
    DateAsString,
    /// A fraction for an integer.
    Fraction,
    /// A number that the integer type does not reach.
    OutOfRange,
    /// A single value for an array.
    ScalarForArray,
    /// An element of another type in an array.
    ElementType,
    /// U+0000 in text.
    NulInText,
    /// U+0000 in a text inside JSON.
    NulInJson,
    /// NaN inside JSON.
    NanInJson,
    /// A time that PostgreSQL does not reach.
    DateOutOfRange,
    /// A required field is missing.
    MissingRequired,
    /// A required field is null.
    NullRequired,
    /// Text that is no id where an id belongs.
    NoId,
    /// A required reference points to nothing.
    OrphanRequired,
    /// Another document has the unique value already.
    DuplicateUnique,
    /// The document before has the same id, as an ObjectId, where this one has its hex digits;
    /// text sorts first, so the document before is the one that is rejected.
    IdTwice,
    /// A reference that may be NULL points to nothing.
    OrphanNullable,
    /// An element of an array of ids is none.
    JunctionNoId,
    /// An element of an array of ids points to nothing.
    JunctionOrphan,
    /// A double without a fraction for an integer.
    WholeDouble,
    /// An int64 where int32 is usual.
    LongForInt,
    /// A Decimal128 without a fraction for an integer.
    WholeDecimal,
    /// An id as its 24 hex digits.
    HexId,
    /// Empty text for no id.
    EmptyId,
    /// One id instead of an array of ids.
    JunctionSingle,
    /// Null instead of an array of ids.
    JunctionNull,
    /// The ids of an array as hex digits.
    JunctionHex,
    /// The same id twice in an array.
    JunctionRepeated,
    /// `_id` is the hex digits of an ObjectId.
    HexOwnId,
    /// `_id` is a UUID.
    UuidOwnId,
    /// `_id` is a text that nothing refers to.
    TextOwnId,
    /// `_id` is a number that nothing refers to.
    NumberOwnId,
    /// A field that no column takes.
    UnknownField,
    /// The version that Mongoose keeps is missing.
    VersionMissing,
}

impl Fault {
    /// Every fault and oddity.
    pub const ALL: &[Self] = &[
        Self::UnknownLabel,
        Self::NumberAsString,
        Self::TextAsNumber,
        Self::BoolAsString,
        Self::DateAsString,
        Self::Fraction,
        Self::OutOfRange,
        Self::ScalarForArray,
        Self::ElementType,
        Self::NulInText,
        Self::NulInJson,
        Self::NanInJson,
        Self::DateOutOfRange,
        Self::MissingRequired,
        Self::NullRequired,
        Self::NoId,
        Self::OrphanRequired,
        Self::DuplicateUnique,
        Self::IdTwice,
        Self::OrphanNullable,
        Self::JunctionNoId,
        Self::JunctionOrphan,
        Self::WholeDouble,
        Self::LongForInt,
        Self::WholeDecimal,
        Self::HexId,
        Self::EmptyId,
        Self::JunctionSingle,
        Self::JunctionNull,
        Self::JunctionHex,
        Self::JunctionRepeated,
        Self::HexOwnId,
        Self::UuidOwnId,
        Self::TextOwnId,
        Self::NumberOwnId,
        Self::UnknownField,
        Self::VersionMissing,
    ];

    /// The fault as the ledger spells it, as in `unknown_label`.
    pub fn code(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(code)) => code,
            _ => format!("{self:?}"),
        }
    }
}

impl Ledger {
    /// How often each fault was planted.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        let mut counts = BTreeMap::new();
        for planted in &self.planted {
            *counts.entry(planted.kind).or_default() += 1;
        }
        counts
    }

    /// How many documents of each collection must be rejected for what was planted in them.
    pub fn rejected(&self) -> BTreeMap<&str, u64> {
        let mut rejected = BTreeMap::new();
        for planted in &self.planted {
            if matches!(planted.expected, Expected::Rejected(_)) {
                *rejected.entry(planted.collection.as_str()).or_default() += 1;
            }
        }
        rejected
    }

    /// All documents.
    pub fn total(&self) -> u64 {
        self.documents.values().sum()
    }
}
