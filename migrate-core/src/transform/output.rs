//! What a batch of documents became: rows, junction rows, rejects and what is to be told about
//! them. One [`Output`] is used again and again; [`Output::clear`] keeps its memory.

use std::collections::HashMap;

use bson::spec::ElementType;
use serde::{Deserialize, Serialize};

use crate::reject::Reject;
use crate::value::Value;

/// The results of a number of documents.
#[derive(Debug, Default)]
pub struct Output {
    /// COPY tuples of the loaded documents, without header and trailer.
    pub rows: Vec<u8>,
    /// For each row where it ends and which document it came from.
    pub marks: Vec<RowMark>,
    /// The `_id`s of the rows; read them with [`row_id`](Self::row_id).
    pub ids: Vec<u8>,
    /// For each junction field of the model its rows.
    pub junctions: Vec<JunctionOutput>,
    /// Elements of junction arrays that are no ids.
    pub orphans: Vec<OrphanElement>,
    /// Rows whose id does not say by itself which `_id` it came from, in order: the entries of
    /// the id map.
    pub irregular_ids: Vec<IrregularId>,
    /// Documents that were not loaded.
    pub rejects: Vec<Reject>,
    /// Fields at the top level that nothing of the model takes, by key; entries with a count of 0
    /// are left from before. Keys beyond [`MAX_UNKNOWN_KEYS`] are counted under `*`.
    pub unknown: HashMap<String, UnknownField>,
    /// Values of loaded rows that their column did not take and that became something else, as
    /// the model says, by column; entries whose counts are 0 are left from before.
    pub replaced: HashMap<&'static str, ReplacedValues>,
    /// Documents seen.
    pub documents: u64,
    /// Those of them that are not the model's.
    pub skipped: u64,
    /// Their size.
    pub bytes: u64,
}

/// A field that no column takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnknownField {
    /// Documents that have it.
    pub documents: u64,
    /// The `_id` of one of them.
    pub example: String,
}

/// Values that one column did not take, by what took their place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedValues {
    /// Those that are NULL, by `on_invalid = null`.
    pub null: u64,
    /// Those that are the column's default, by `on_invalid = default`.
    pub default: u64,
    /// Documents with a label that is the enum's `other`.
    pub other: u64,
    /// The `_id` of one document.
    pub example: String,
    /// What was wrong with its value.
    pub message: String,
}

impl ReplacedValues {
    /// All of them.
    pub fn count(&self) -> u64 {
        self.null + self.default + self.other
    }

    /// Adds the counts of another part; the example stays.
    pub(crate) fn add(&mut self, other: &Self) {
        self.null += other.null;
        self.default += other.default;
        self.other += other.other;
    }

    /// Counts from 0 again; the example stays.
    pub(crate) fn clear(&mut self) {
        (self.null, self.default, self.other) = (0, 0, 0);
    }
}

/// What took the place of a value that its column did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplacedBy {
    /// NULL, by `on_invalid = null`.
    Null,
    /// The column's default, by `on_invalid = default`.
    Default,
    /// The label of the variant that is marked `other`.
    Other,
}

/// How much memory for rows is kept for the next ones.
const KEPT_BYTES: usize = 1 << 20;

/// How many different unknown keys are counted by name.
pub const MAX_UNKNOWN_KEYS: usize = 1000;

/// Where a row is. Offsets are ends; a row begins where the one before it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowMark {
    /// The end of its tuple in `rows`.
    pub row_end: usize,
    /// The end of its `_id` in `ids`.
    pub id_end: usize,
    /// The number of its document, counted from 0 since the output was cleared.
    pub document: u64,
}

/// The rows that one junction field gave.
#[derive(Debug, Default)]
pub struct JunctionOutput {
    /// COPY tuples of the junction's two columns, in their order, the origin as int2, and where
    /// the junction has positions this one's as int4.
    pub rows: Vec<u8>,
    /// For each row of the table where its junction rows end.
    pub marks: Vec<JunctionMark>,
    /// The sums so far.
    pub total: JunctionMark,
}

/// Sums over a junction field's rows up to the end of one document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JunctionMark {
    /// The end of the tuples in `rows`.
    pub row_end: usize,
    /// Tuples.
    pub row_count: u64,
    /// Elements, those that are no ids among them.
    pub elements: u64,
}

/// An element of a junction array that is no id.
#[derive(Clone, Debug, PartialEq)]
pub struct OrphanElement {
    /// The junction field's position in the model.
    pub junction: usize,
    /// The table's row in this output.
    pub row: usize,
    /// The owner's id as a cell's payload.
    pub owner: Vec<u8>,
    /// The owner's `_id` for people.
    pub source_id: String,
    /// The element's type and, where short, the element.
    pub value: String,
    /// Its place, where the field gives positions.
    pub position: Option<i32>,
}

/// A row whose UUID does not give its `_id` back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrregularId {
    /// The row in this output; [`Output::row_id`] has its `_id`.
    pub row: usize,
    /// The UUID.
    pub uuid: [u8; 16],
}

impl Output {
    /// How many rows there are.
    pub fn row_count(&self) -> usize {
        self.marks.len()
    }

    /// The tuple of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let start = self.start(row);
        &self.rows[start.row_end..self.marks[row].row_end]
    }

    /// The `_id` of one row's document; `None` if it has none.
    pub fn row_id(&self, row: usize) -> Option<Value<'_>> {
        let start = self.start(row);
        let (kind, bytes) = self.ids[start.id_end..self.marks[row].id_end].split_first()?;
        ElementType::from(*kind).map(|kind| Value::new(kind, bytes))
    }

    /// The junction rows that one row's document gave, and their counts.
    pub fn junction_rows(&self, junction: usize, row: usize) -> (&[u8], u64, u64) {
        let junction = &self.junctions[junction];
        let start = match row {
            0 => JunctionMark::default(),
            row => junction.marks[row - 1],
        };
        let end = junction.marks[row];
        (
            &junction.rows[start.row_end..end.row_end],
            end.row_count - start.row_count,
            end.elements - start.elements,
        )
    }

    fn start(&self, row: usize) -> RowMark {
        match row {
            0 => RowMark::default(),
            row => self.marks[row - 1],
        }
    }

    /// How many bytes the results take.
    pub fn held_bytes(&self) -> usize {
        let junctions: usize = self.junctions.iter().map(|junction| junction.rows.len()).sum();
        let rejects: usize = self.rejects.iter().map(|reject| reject.document.len() + 256).sum();
        self.rows.len()
            + self.ids.len()
            + junctions
            + rejects
            + self.marks.len() * size_of::<RowMark>()
            + self.irregular_ids.len() * size_of::<IrregularId>()
            + self.orphans.len() * 256
    }

    /// Empties it and keeps the memory, unless a large document has asked for much of it.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.rows.shrink_to(KEPT_BYTES);
        self.marks.clear();
        self.ids.clear();
        for junction in &mut self.junctions {
            junction.rows.clear();
            junction.rows.shrink_to(KEPT_BYTES);
            junction.marks.clear();
            junction.total = JunctionMark::default();
        }
        self.orphans.clear();
        self.irregular_ids.clear();
        self.rejects.clear();
        for field in self.unknown.values_mut() {
            field.documents = 0;
        }
        for values in self.replaced.values_mut() {
            values.clear();
        }
        self.documents = 0;
        self.skipped = 0;
        self.bytes = 0;
    }

    /// Counts a value that became something else.
    pub(super) fn count_replaced(
        &mut self,
        column: &'static str,
        by: ReplacedBy,
        message: String,
        id: Option<Value<'_>>,
    ) {
        let values = self.replaced.entry(column).or_insert_with(|| ReplacedValues {
            example: id.map(crate::cell::id_text).unwrap_or_default(),
            message,
            ..ReplacedValues::default()
        });
        match by {
            ReplacedBy::Null => values.null += 1,
            ReplacedBy::Default => values.default += 1,
            ReplacedBy::Other => values.other += 1,
        }
    }

    /// Counts a key that nothing takes.
    pub(super) fn count_unknown(&mut self, key: &[u8], id: Option<Value<'_>>) {
        if let Ok(key) = std::str::from_utf8(key)
            && let Some(field) = self.unknown.get_mut(key)
        {
            field.documents += 1;
            return;
        }
        let key = match self.unknown.len() {
            0..MAX_UNKNOWN_KEYS => String::from_utf8_lossy(key).into_owned(),
            _ => "*".to_owned(),
        };
        let example = || id.map(crate::cell::id_text).unwrap_or_default();
        let new = || UnknownField { documents: 0, example: example() };
        self.unknown.entry(key).or_insert_with(new).documents += 1;
    }
}
