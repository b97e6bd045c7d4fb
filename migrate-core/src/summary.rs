//! Counts that add up: what became of every document and of every element of a junction array.
//!
//! The summary is made from the state in the target when a run has ended, so it is the same
//! whether one process did the run or five. `run --summary` writes it as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rejects::Pattern;
use crate::state::ChunkNote;

pub use crate::transform::{ReplacedValues, UnknownField};

/// The outcome of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this format.
    pub version: u32,
    /// The run's number in the state schema.
    pub run: i64,
    /// The registry's name.
    pub registry: String,
    /// Tables of collections, in the order of the registry.
    pub tables: Vec<TableSummary>,
    /// Junction tables, in the order of the registry.
    pub junctions: Vec<JunctionSummary>,
    /// Collections of the source that no model names, with their documents.
    pub collections_without_model: BTreeMap<String, u64>,
    /// Models whose collection the source does not have.
    pub models_without_collection: Vec<String>,
    /// Over all tables and junctions.
    pub totals: Totals,
    /// Seconds of each step of this process, by name.
    pub step_seconds: BTreeMap<String, f64>,
    /// What the workers of this process have spent the load with, in seconds, added up over all
    /// of them: `waiting_for_source`, `transform`, `waiting_for_target`,
    /// `taking_and_committing_chunks`.
    #[serde(default)]
    pub load_seconds: BTreeMap<String, f64>,
    /// Seconds of the whole run of this process.
    pub seconds: f64,
    /// Whether every sum holds.
    pub balanced: bool,
    /// The kinds that most rejects belong to, with advice.
    #[serde(default)]
    pub patterns: Vec<Pattern>,
}

/// What became of one collection's documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableSummary {
    /// The model.
    pub model: String,
    /// The collection.
    pub collection: String,
    /// The table, with its schema where it has one of its own.
    pub table: String,
    /// Documents read.
    pub read: u64,
    /// Rows in the table, counted there.
    pub loaded: u64,
    /// Documents in the ledger.
    pub rejected: u64,
    /// Documents that the model's filter left out.
    pub skipped: u64,
    /// The rejected by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// References that pointed to nothing and became NULL (or were kept), by column.
    pub orphans: BTreeMap<String, u64>,
    /// Fields that no column takes: how many documents have one, and one of them.
    pub unknown_fields: BTreeMap<String, UnknownField>,
    /// Values that their column did not take and that became something else, as the model says
    /// (`on_invalid`, `other`), by column.
    #[serde(default)]
    pub replaced: BTreeMap<String, ReplacedValues>,
    /// BSON bytes read.
    pub bytes: u64,
    /// Seconds of work in all chunks; workers side by side each count theirs.
    pub seconds: f64,
    /// Whether read = loaded + rejected + skipped.
    pub balanced: bool,
}

/// Adds counts by column to others.
pub(crate) fn add_replaced<'a>(
    sums: &mut BTreeMap<String, ReplacedValues>,
    parts: impl IntoIterator<Item = (&'a str, &'a ReplacedValues)>,
) {
    for (column, values) in parts.into_iter().filter(|(_, values)| values.count() > 0) {
        match sums.get_mut(column) {
            Some(sum) => sum.add(values),
            None => {
                sums.insert(column.to_owned(), values.clone());
            }
        }
    }
}

/// What became of the elements of all arrays that fill one junction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JunctionSummary {
    /// The model.
    pub model: String,
    /// The table.
    pub table: String,
    /// Elements in the arrays of documents that were not rejected by their transformation.
    pub elements: u64,
    /// Rows in the table, counted there.
    pub inserted: u64,
    /// Pairs that another element had given already.
    pub duplicates: u64,
    /// Elements that are no ids, or point to nothing, or whose own row was rejected later.
    pub orphans: u64,
    /// Whether elements = inserted + duplicates + orphans.
    pub balanced: bool,
}

/// Sums over all tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "sums of the fields of the same names")]
pub struct Totals {
    pub read: u64,
    pub loaded: u64,
    pub rejected: u64,
    pub skipped: u64,
    pub orphans: u64,
    pub bytes: u64,
    pub junction_elements: u64,
    pub junction_inserted: u64,
    pub junction_duplicates: u64,
    pub junction_orphans: u64,
}

impl TableSummary {
    /// Adds what the reader and the transformer have counted in one chunk; rows and rejects are
    /// counted elsewhere.
    pub(crate) fn add(&mut self, note: &ChunkNote) {
        self.read += note.read;
        self.skipped += note.skipped;
        self.bytes += note.bytes;
        self.seconds += note.seconds;
        for (field, unknown) in &note.unknown {
            let sum = self
                .unknown_fields
                .entry(field.clone())
                .or_insert_with(|| UnknownField { documents: 0, example: unknown.example.clone() });
            sum.documents += unknown.documents;
        }
        let replaced = note.replaced.iter().map(|(column, values)| (column.as_str(), values));
        add_replaced(&mut self.replaced, replaced);
    }
}

impl Summary {
    /// The version of the format that this code writes.
    pub const VERSION: u32 = 1;

    /// Fills `totals` and `balanced` from the parts.
    pub fn finish(&mut self) {
        let mut totals = Totals::default();
        let mut balanced = true;
        for table in &mut self.tables {
            table.balanced = table.read == table.loaded + table.rejected + table.skipped;
            balanced &= table.balanced;
            totals.read += table.read;
            totals.loaded += table.loaded;
            totals.rejected += table.rejected;
            totals.skipped += table.skipped;
            totals.orphans += table.orphans.values().sum::<u64>();
            totals.bytes += table.bytes;
        }
        for junction in &mut self.junctions {
            junction.balanced =
                junction.elements == junction.inserted + junction.duplicates + junction.orphans;
            balanced &= junction.balanced;
            totals.junction_elements += junction.elements;
            totals.junction_inserted += junction.inserted;
            totals.junction_duplicates += junction.duplicates;
            totals.junction_orphans += junction.orphans;
        }
        self.totals = totals;
        self.balanced = balanced;
    }

    /// Whether nothing was rejected and every sum holds.
    pub fn is_clean(&self) -> bool {
        self.balanced && self.totals.rejected == 0
    }
}
