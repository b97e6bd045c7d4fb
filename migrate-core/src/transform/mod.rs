//! One document in, one row out: the walk over the raw BSON, the rules for what is missing, and
//! the junction rows.
//!
//! The transformer reads a model's constants and is the same code for every model. It allocates
//! nothing per document once its buffers have grown, except for what a reject has to say. Cells
//! leave in column order, whatever the order of the document's fields.

mod dbref;
mod keys;
mod output;

use std::collections::HashMap;

use bson::spec::ElementType;

use crate::cell::{CellContext, Limit, Mismatch, Role, Wrote, builtin_oid, id_text, parse_limit};
use crate::choice;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::{self, Feed, Piece};
use crate::id::{IdScheme, object_id_from_hex};
use crate::reject::{Reason, Reject, Stage};
use crate::row::RowWriter;
use crate::schema::{
    BaseType, CellType, Column, Convert, EncodeFn, Model, ModelKind, OnInvalid, key_path,
};
use crate::source::Batch;
use crate::source_id;
use crate::steps::{Steps, Workspace};
use crate::value::Value;

use keys::{Found, Keys, WalkError};
pub use output::{
    IrregularId, JunctionMark, JunctionOutput, MAX_UNKNOWN_KEYS, OrphanElement, Output, ReplacedBy,
    ReplacedValues, RowMark, UnknownField,
};

/// What has to be known of the target before the first row.
#[derive(Clone, Debug)]
pub struct TargetFacts {
    /// The version as `server_version_num` gives it, as 180003.
    pub server_version: u32,
    /// How ids become UUIDs.
    pub ids: IdScheme,
    /// The OIDs of the enum types that have array columns, by the schema and the name that the
    /// model gives them.
    pub enum_oids: HashMap<(Option<&'static str>, &'static str), u32>,
    /// The OIDs of other types that are no built-in ones and have array columns, by their name.
    pub other_oids: HashMap<String, u32>,
}

impl TargetFacts {
    /// Facts that are enough for models without arrays of enums.
    pub fn new(server_version: u32, ids: IdScheme) -> Self {
        Self { server_version, ids, enum_oids: HashMap::new(), other_oids: HashMap::new() }
    }
}

/// Turns the documents of one model's collection into rows. Workers share it; each has its own
/// [`Scratch`].
#[derive(Debug)]
pub struct Transformer {
    model: &'static Model,
    keys: Keys,
    columns: Vec<ColumnPlan>,
    junctions: Vec<JunctionPlan>,
    /// The slot of `_id`, which may be a locator.
    id_slot: u16,
    /// The slot of the document's own `_id`.
    own_id_slot: u16,
    /// The column of the primary key.
    id_column: usize,
    ids: IdScheme,
    /// Whether a column takes the fields that are left over.
    takes_rest: bool,
    /// Groups of columns of which exactly one is not NULL.
    one_of: Vec<Vec<usize>>,
    feed: Feed,
    /// The slot of the fault of a document with a locator.
    fault_slot: Option<u16>,
    /// The children whose elements are tried with the document.
    strict: Vec<StrictChild>,
    /// Whether only some documents of the collection are the model's.
    chooses: bool,
    /// The other models of the collection, where this one answers for documents that none takes.
    siblings: Vec<&'static Model>,
}

/// A child of which every element must be taken for the document to be.
#[derive(Debug)]
struct StrictChild {
    feed: Feed,
    transformer: Transformer,
}

#[derive(Debug)]
struct ColumnPlan {
    column: &'static Column,
    context: CellContext,
    /// The slots of the column's keys: the first that is filled wins.
    slots: Vec<u16>,
    /// The short way for columns of which the model says nothing special.
    plain: Option<Plain>,
    default: Option<Cell>,
    /// What makes the column NULL whatever its keys hold.
    unless: Option<Unless>,
    /// What is done to a value first; `None` for most columns.
    steps: Option<Steps>,
    /// The model whose id it refers to.
    target: Option<&'static Model>,
}

/// What is known of a column whose cell depends on one value alone, so that most values need no
/// more questions. What this does not settle goes the long way.
#[derive(Clone, Copy, Debug)]
struct Plain {
    slot: u16,
    /// Whether a missing field is the default or, without one, NULL.
    missing: bool,
    /// Whether null is NULL.
    null: bool,
    /// The types of which each value is for `encode` alone, a bit for each.
    kinds: u32,
    encode: EncodeFn,
}

impl Plain {
    fn of(plan: &ColumnPlan) -> Option<Self> {
        let column = plan.column;
        let (Convert::Value(encode), [slot]) = (column.convert, plan.slots.as_slice()) else {
            return None;
        };
        let special =
            plan.unless.is_some() || plan.steps.is_some() || column.on_invalid != OnInvalid::Reject;
        if special {
            return None;
        }
        let null = column.nullable && !column.required;
        let mut kinds = !Self::bit(ElementType::Null);
        if column.empty_as_null {
            kinds &= !Self::bit(ElementType::String);
        }
        if plan.target.is_some() {
            kinds &= !Self::bit(ElementType::EmbeddedDocument);
            kinds &= !Self::bit(ElementType::DbPointer);
        }
        let missing = plan.default.is_some() || null && !column.id_time;
        Some(Self { slot: *slot, missing, null, kinds, encode })
    }

    /// The bit of a type; the two keys that are no values share theirs.
    #[inline(always)]
    fn bit(kind: ElementType) -> u32 {
        1 << (kind as u32 & 31)
    }

    /// Writes the cell, or says that the long way must be gone.
    #[inline(always)]
    fn write(
        &self,
        plan: &ColumnPlan,
        found: &Found,
        document: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<std::result::Result<Wrote, Mismatch>> {
        let Some(value) = found.get(self.slot, document) else {
            if let Some(Cell::Payload(payload)) = &plan.default {
                out.extend_from_slice(payload);
                return Some(Ok(Wrote::Payload));
            }
            return self.missing.then_some(Ok(Wrote::Null));
        };
        if self.kinds & Self::bit(value.kind) == 0 {
            let null = self.null && value.kind == ElementType::Null;
            return null.then_some(Ok(Wrote::Null));
        }
        match (self.encode)(value, &plan.context, out) {
            Ok(Wrote::Null) if !self.null => None,
            wrote => Some(wrote),
        }
    }
}

/// The conditions of a column.
#[derive(Debug)]
struct Unless {
    /// The slot of the embedded document that must be there and not empty.
    within: Option<u16>,
    /// The slot that must hold the text.
    when: Option<(u16, &'static str)>,
}

impl Unless {
    fn of(column: &Column, keys: &Keys) -> Option<Self> {
        if column.within.is_none() && column.when.is_none() {
            return None;
        }
        Some(Self {
            within: column.within.map(|path| keys.slot(path)),
            when: column.when.map(|when| (keys.slot(when.key), when.is)),
        })
    }

    fn applies(&self, found: &Found, document: &[u8]) -> bool {
        /// The bytes of a document or an array without elements.
        const EMPTY_BYTES: usize = 5;
        let absent = self.within.is_some_and(|slot| {
            found.get(slot, document).is_none_or(|value| match value.kind {
                ElementType::EmbeddedDocument | ElementType::Array => {
                    value.bytes.len() == EMPTY_BYTES
                }
                kind => kind == ElementType::Null,
            })
        });
        absent
            || self.when.is_some_and(|(slot, is)| {
                !found.get(slot, document).is_some_and(|value| {
                    value.kind == ElementType::String && value.str_bytes() == is.as_bytes()
                })
            })
    }
}

/// A cell that is known before the first document.
#[derive(Debug)]
enum Cell {
    Null,
    Payload(Vec<u8>),
}

#[derive(Debug)]
struct JunctionPlan {
    slots: Vec<u16>,
    encode: EncodeFn,
    context: CellContext,
    /// Whether the owner's id is the junction's first column.
    owner_first: bool,
    /// The model whose ids the elements are.
    target: Option<&'static Model>,
    origin: i16,
    /// Whether the junction has positions, and the field gives them.
    ordinal: Option<bool>,
}

/// What a worker keeps from document to document.
#[derive(Debug)]
pub struct Scratch {
    found: Found,
    /// The fields that are left over, as a document of their own.
    rest: Vec<u8>,
    work: Work,
    /// Those of the children whose elements are tried.
    strict: Vec<Self>,
}

/// What lasts no longer than one document, the keys aside.
#[derive(Debug, Default)]
struct Work {
    workspace: Workspace,
    /// Values of this document that became something else, to be counted when it is loaded.
    replaced: Vec<Replacement>,
}

/// A value that its column did not take, and what the column got in its place.
#[derive(Debug)]
struct Replacement {
    column: &'static str,
    by: ReplacedBy,
    message: String,
}

/// Why a document does not become a row: the field, by its path in the document, and the mismatch.
struct Refusal {
    field: String,
    mismatch: Mismatch,
}

impl Transformer {
    /// A transformer for a model; `origins` has for each of its junction fields the number that
    /// its staging rows carry.
    ///
    /// # Errors
    /// When a default is no value of its column, or a column's types do not go together.
    pub fn new(model: &'static Model, facts: &TargetFacts, origins: &[i16]) -> Result<Self> {
        let keys = keys_of(model);
        let id_slot = keys.slot("_id");
        let mut columns = Vec::with_capacity(model.columns.len());
        for column in model.columns {
            let context = column_context(model, column, facts)?;
            let default = default_cell(model, column, &context)?;
            let slots = read_keys(model, column).map(|key| keys.slot(key)).collect();
            let unless = Unless::of(column, &keys);
            let steps = Steps { steps: column.steps, ty: column.ty, limit: context.limit };
            let steps = steps.any().then_some(steps);
            let target = dbref::target(column.reference.as_ref());
            let plain = None;
            let mut plan =
                ColumnPlan { column, context, slots, plain, default, unless, steps, target };
            plan.plain = Plain::of(&plan);
            columns.push(plan);
        }
        let id_column = model
            .columns
            .iter()
            .position(|column| column.primary_key)
            .ok_or_else(|| unusable(model, "id", "the model has no `#[migrate(id)]` field"))?;
        if origins.len() != model.junctions.len() {
            let message = format!(
                "`{}` has {} junction fields and got {} origins",
                model.name,
                model.junctions.len(),
                origins.len()
            );
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let junctions = model.junctions.iter().zip(origins).map(|(field, origin)| {
            let context = CellContext {
                ids: facts.ids,
                role: Role::Reference,
                element_oid: builtin_oid(field.ty.base),
                limit: Limit::None,
                server_version: facts.server_version,
            };
            JunctionPlan {
                slots: field.keys.iter().map(|key| keys.slot(key)).collect(),
                encode: field.encode,
                context,
                owner_first: field.sides(model).0 == 0,
                target: {
                    let (_, other) = field.sides(model);
                    dbref::target(field.table.get().columns[other].reference.as_ref())
                },
                origin: *origin,
                ordinal: field.table.get().ordinal().map(|_| field.position),
            }
        });
        let junctions = junctions.collect();
        let takes_rest =
            model.columns.iter().any(|column| matches!(column.convert, Convert::Rest(_)));
        let one_of = model.one_of.iter().map(|group| {
            let names = group.columns.iter();
            names.filter_map(|name| Some(model.column(name)?.0)).collect()
        });
        let one_of = one_of.collect();
        let strict = model.children.iter().filter(|child| child.strict).map(|child| {
            let model = child.table.get();
            // What they give is thrown away, so their origins mean nothing.
            let origins = vec![0; model.junctions.len()];
            let transformer = Self::new(model, facts, &origins)?;
            Ok(StrictChild { feed: Feed::below(model), transformer })
        });
        let strict = strict.collect::<Result<_>>()?;
        let fault_slot = model.has_locators().then(|| keys.slot(feed::FAULT));
        let own_id_slot = match model.further_collections.is_empty() {
            true => id_slot,
            false => keys.slot(feed::OWN_ID),
        };
        Ok(Self {
            model,
            keys,
            columns,
            junctions,
            id_slot,
            own_id_slot,
            id_column,
            ids: facts.ids,
            takes_rest,
            one_of,
            feed: Feed::of(model),
            fault_slot,
            strict,
            chooses: !model.when.is_empty() || model.filter.is_some(),
            siblings: Vec::new(),
        })
    }

    /// Has documents rejected that neither this model nor one of the others of its collection takes.
    pub(crate) fn answer_for(self, siblings: Vec<&'static Model>) -> Self {
        Self { siblings, ..self }
    }

    /// The model.
    pub fn model(&self) -> &'static Model {
        self.model
    }

    /// What one worker needs beside the transformer.
    pub fn scratch(&self) -> Scratch {
        let strict = self.strict.iter().map(|child| child.transformer.scratch()).collect();
        let work = Work::default();
        Scratch { found: Found::new(&self.keys), rest: Vec::new(), work, strict }
    }

    /// The other models of the collection, where this one answers for documents that none takes.
    pub(crate) fn siblings(&self) -> &[&'static Model] {
        &self.siblings
    }

    /// Adds one document to the output, as a row or as a reject; true if it became a row. One that
    /// is not the model's is counted alone.
    ///
    /// The bytes may be anything: what is no BSON is a reject.
    pub fn transform(&self, scratch: &mut Scratch, document: &[u8], out: &mut Output) -> bool {
        let number = out.documents;
        out.documents += 1;
        out.bytes += document.len() as u64;
        let attempt = match self.chooses && !choice::is_meant(self.model, document) {
            false => self.attempt(scratch, document, number, out),
            true if self.is_nobodys(document) => Err(self.nobodys(scratch, document)),
            true => {
                out.skipped += 1;
                return false;
            }
        };
        match attempt {
            Ok(()) => true,
            Err(refusal) => {
                self.reject(&scratch.found, document, &refusal, out);
                false
            }
        }
    }

    /// Whether no model of the collection takes a document, and it is this one's to say so.
    pub(crate) fn is_nobodys(&self, document: &[u8]) -> bool {
        !self.siblings.is_empty()
            && !choice::takes(self.model, document)
            && !self.siblings.iter().any(|sibling| choice::takes(sibling, document))
    }

    /// Why a document that no model takes is rejected.
    #[cold]
    fn nobodys(&self, scratch: &mut Scratch, document: &[u8]) -> Refusal {
        if let Err(error) = scratch.found.walk(&self.keys, document) {
            return self.walk_refusal(error, &scratch.found, document);
        }
        let (field, mismatch) = choice::mismatch(self.model, &self.siblings, document);
        Refusal { field, mismatch }
    }

    /// Adds one document as a row, or nothing.
    fn attempt(
        &self,
        scratch: &mut Scratch,
        document: &[u8],
        number: u64,
        out: &mut Output,
    ) -> std::result::Result<(), Refusal> {
        if out.junctions.len() != self.junctions.len() {
            out.junctions.resize_with(self.junctions.len(), JunctionOutput::default);
        }
        let Scratch { found, rest, work, strict } = scratch;
        if let Err(error) = found.walk(&self.keys, document) {
            return Err(self.walk_refusal(error, found, document));
        }
        if self.takes_rest {
            found.rest(document, rest);
        }
        if found.has_unknown() {
            self.look_at_unknown(found, document, out)?;
        }
        if let Some(fault) = self.fault_slot.and_then(|slot| found.get(slot, document)) {
            return Err(Refusal { field: String::new(), mismatch: feed::fault_of(fault) });
        }
        if !self.strict.is_empty() {
            self.try_elements(strict, document)?;
        }
        let loaded = self.load(found, rest, document, number, work, out);
        for Replacement { column, by, message } in work.replaced.drain(..) {
            if loaded.is_ok() {
                out.count_replaced(column, by, message, found.get(self.id_slot, document));
            }
        }
        loaded
    }

    /// Refuses a document when one of its children's elements would be.
    fn try_elements(
        &self,
        scratch: &mut [Scratch],
        document: &[u8],
    ) -> std::result::Result<(), Refusal> {
        for (child, scratch) in self.strict.iter().zip(scratch) {
            let mut out = Output::default();
            let mut refused = None;
            let mut attempt = |elements: Batch| {
                for element in elements.iter() {
                    let attempt = child.transformer.attempt(scratch, element, 0, &mut out);
                    if let Err(refusal) = attempt {
                        let field = child.transformer.place(&scratch.found, element, &refusal);
                        let mismatch = refusal.mismatch.without_path();
                        refused = Some(Refusal { field, mismatch });
                        return false;
                    }
                }
                out.clear();
                true
            };
            let mut piece = Piece::new(&mut attempt);
            child.feed.unwind(document, &mut piece);
            piece.pass_on();
            if let Some(refusal) = refused {
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Counts the fields that nothing takes, or refuses the first of them.
    fn look_at_unknown(
        &self,
        found: &Found,
        document: &[u8],
        out: &mut Output,
    ) -> std::result::Result<(), Refusal> {
        let id = found.get(self.id_slot, document);
        for (key, at_top) in found.unknown(&self.keys, document) {
            let key = feed::shown_bytes(&key);
            if self.model.deny_unknown_fields {
                let field = String::from_utf8_lossy(key).into_owned();
                let expected = "a field that the model takes";
                let mismatch = Mismatch::new(Reason::UnknownField, expected, "another one");
                return Err(Refusal { field, mismatch });
            }
            if !(at_top && self.takes_rest) {
                out.count_unknown(key, id);
            }
        }
        Ok(())
    }

    /// Writes the row and all that belongs to it, or nothing.
    fn load(
        &self,
        found: &Found,
        rest: &[u8],
        document: &[u8],
        number: u64,
        work: &mut Work,
        out: &mut Output,
    ) -> std::result::Result<(), Refusal> {
        let mut row = RowWriter::new(&mut out.rows, self.columns.len() as u16);
        let mut id = 0..0;
        for (index, plan) in self.columns.iter().enumerate() {
            let (_, start) = row
                .cell(|out| self.write_cell(plan, found, rest, document, work, out))
                .map_err(|mismatch| self.refusal(plan, found, document, mismatch))?;
            if index == self.id_column {
                id = start..row.buffer().len();
            }
        }
        if !self.one_of.is_empty() {
            self.check_one_of(row.tuple())?;
        }
        row.finish().map_err(|mismatch| Refusal { field: String::new(), mismatch })?;

        let row_end = out.rows.len();
        if !self.junctions.is_empty()
            && let Err(refusal) = self.write_junctions(found, document, id.clone(), out)
        {
            let start = out.marks.last().map_or(0, |mark| mark.row_end);
            out.rows.truncate(start);
            return Err(refusal);
        }
        let row_index = out.marks.len();
        if let Some(value) = found.get(self.id_slot, document) {
            out.ids.push(value.kind as u8);
            out.ids.extend_from_slice(value.bytes);
            let regular =
                value.kind == ElementType::ObjectId && !matches!(self.ids, IdScheme::Random(_));
            let column = &self.model.columns[self.id_column];
            if self.fault_slot.is_some() {
                // No key gives a locator back.
                let key = source_id::key_text(column, &out.rows[id]);
                let uuid = source_id::mapped(self.model, &key).into_bytes();
                out.irregular_ids.push(IrregularId { row: row_index, uuid });
            } else if !regular
                && column.ty == CellType::scalar(BaseType::Uuid)
                && let Ok(uuid) = out.rows[id].try_into()
            {
                out.irregular_ids.push(IrregularId { row: row_index, uuid });
            }
        }
        out.marks.push(RowMark { row_end, id_end: out.ids.len(), document: number });
        for junction in &mut out.junctions {
            junction.marks.push(junction.total);
        }
        Ok(())
    }

    #[inline]
    fn write_cell(
        &self,
        plan: &ColumnPlan,
        found: &Found,
        rest: &[u8],
        document: &[u8],
        work: &mut Work,
        out: &mut Vec<u8>,
    ) -> std::result::Result<Wrote, Mismatch> {
        if let Some(plain) = &plan.plain
            && let Some(wrote) = plain.write(plan, found, document, out)
        {
            return wrote;
        }
        self.write_special(plan, found, rest, document, work, out)
    }

    /// Writes a cell that the short way does not settle.
    #[inline(never)]
    fn write_special(
        &self,
        plan: &ColumnPlan,
        found: &Found,
        rest: &[u8],
        document: &[u8],
        work: &mut Work,
        out: &mut Vec<u8>,
    ) -> std::result::Result<Wrote, Mismatch> {
        let start = out.len();
        match self.write_value(plan, found, rest, document, work, out) {
            Err(mismatch) if plan.column.on_invalid != OnInvalid::Reject => {
                out.truncate(start);
                write_invalid(plan, mismatch, work, out)
            }
            wrote => wrote,
        }
    }

    #[inline]
    fn write_value(
        &self,
        plan: &ColumnPlan,
        found: &Found,
        rest: &[u8],
        document: &[u8],
        work: &mut Work,
        out: &mut Vec<u8>,
    ) -> std::result::Result<Wrote, Mismatch> {
        if let Some(unless) = &plan.unless
            && unless.applies(found, document)
        {
            return Ok(Wrote::Null);
        }
        let encode = match plan.column.convert {
            Convert::Value(encode) => encode,
            Convert::Rest(encode) => {
                return match (rest, plan.column.nullable) {
                    ([], true) => Ok(Wrote::Null),
                    ([], false) => {
                        let empty = Value::new(ElementType::EmbeddedDocument, &[5, 0, 0, 0, 0]);
                        encode(empty, &plan.context, out)
                    }
                    (rest, _) => {
                        let mut rest = Value::new(ElementType::EmbeddedDocument, rest);
                        if let Some(steps) = &plan.steps {
                            rest = steps.apply(rest, &mut work.workspace)?.value;
                        }
                        encode(rest, &plan.context, out)
                    }
                };
            }
            Convert::Presence => {
                let value = plan.slots.iter().find_map(|slot| found.get(*slot, document));
                let Some(value) = value else { return Ok(Wrote::Null) };
                out.push(u8::from(value.kind != ElementType::Null));
                return Ok(Wrote::Payload);
            }
            Convert::Document(compute) => {
                let own = choice::shown_to_functions(self.model, document);
                let raw = bson::RawDocument::from_bytes(&own).map_err(|error| {
                    Mismatch::new(Reason::Malformed, "valid BSON", error.to_string())
                })?;
                return match compute(raw, &plan.context, out)? {
                    Wrote::Null => self.write_absent(plan, true, found, document, out),
                    Wrote::Payload => Ok(Wrote::Payload),
                };
            }
        };
        let value = plan.slots.iter().find_map(|slot| found.get(*slot, document));
        let Some(mut value) = value else {
            return self.write_absent(plan, false, found, document, out);
        };
        if let Some(steps) = &plan.steps {
            let stepped = steps.apply(value, &mut work.workspace)?;
            if let Some(message) = stepped.other {
                let by = ReplacedBy::Other;
                work.replaced.push(Replacement { column: plan.column.name, by, message });
            }
            value = stepped.value;
        }
        let value = match plan.target {
            Some(target) => dbref::resolve(value, target)?,
            None => value,
        };
        let is_null = match value.kind {
            ElementType::Null => true,
            ElementType::String => plan.column.empty_as_null && value.str_bytes().is_empty(),
            _ => false,
        };
        if !is_null && encode(value, &plan.context, out)? == Wrote::Payload {
            return Ok(Wrote::Payload);
        }
        self.write_absent(plan, true, found, document, out)
    }

    /// Writes the cell of a field that is missing or null.
    fn write_absent(
        &self,
        plan: &ColumnPlan,
        is_null: bool,
        found: &Found,
        document: &[u8],
        out: &mut Vec<u8>,
    ) -> std::result::Result<Wrote, Mismatch> {
        let column = plan.column;
        let takes_null = column.nullable && !column.required;
        if is_null && takes_null {
            return Ok(Wrote::Null);
        }
        match &plan.default {
            Some(Cell::Payload(payload)) => {
                out.extend_from_slice(payload);
                return Ok(Wrote::Payload);
            }
            Some(Cell::Null) => return Ok(Wrote::Null),
            None => {}
        }
        if column.id_time
            && let Some(seconds) = self.id_seconds(found, document)
            && let Convert::Value(encode) = column.convert
        {
            let millis = (i64::from(seconds) * 1000).to_le_bytes();
            let value = Value::new(ElementType::DateTime, &millis);
            return encode(value, &plan.context, out);
        }
        if takes_null {
            return Ok(Wrote::Null);
        }
        Err(missing(column, is_null))
    }

    /// The field that a message about a column names: the key that was read, else the first one.
    #[cold]
    fn refusal(
        &self,
        plan: &ColumnPlan,
        found: &Found,
        document: &[u8],
        mismatch: Mismatch,
    ) -> Refusal {
        let column = plan.column;
        let read = plan.slots.iter().position(|slot| found.get(*slot, document).is_some());
        let key = match column.convert {
            Convert::Value(_) | Convert::Presence => column.keys.get(read.unwrap_or(0)),
            Convert::Document(_) | Convert::Rest(_) => None,
        };
        let key = key.copied().map_or(column.field, feed::shown_key);
        Refusal { field: key_path(key), mismatch }
    }

    /// The creation time inside the document's ObjectId.
    fn id_seconds(&self, found: &Found, document: &[u8]) -> Option<u32> {
        let id = found.get(self.own_id_slot, document)?;
        let id = match id.kind {
            ElementType::ObjectId => id.fixed(),
            ElementType::String => object_id_from_hex(id.str_bytes())?,
            _ => return None,
        };
        Some(u32::from_be_bytes([id[0], id[1], id[2], id[3]]))
    }

    /// Writes the rows of all junction fields, or nothing; `id` is where the owner's id lies.
    fn write_junctions(
        &self,
        found: &Found,
        document: &[u8],
        id: std::ops::Range<usize>,
        out: &mut Output,
    ) -> std::result::Result<(), Refusal> {
        let orphans = out.orphans.len();
        let result = (0..self.junctions.len())
            .try_for_each(|index| self.write_junction(index, found, document, id.clone(), out));
        if result.is_err() {
            out.orphans.truncate(orphans);
            for junction in &mut out.junctions {
                junction.total = junction.marks.last().copied().unwrap_or_default();
                junction.rows.truncate(junction.total.row_end);
            }
        }
        result
    }

    fn write_junction(
        &self,
        index: usize,
        found: &Found,
        document: &[u8],
        id: std::ops::Range<usize>,
        out: &mut Output,
    ) -> std::result::Result<(), Refusal> {
        let plan = &self.junctions[index];
        let keys = self.model.junctions[index].keys;
        let filled = plan
            .slots
            .iter()
            .zip(keys)
            .find_map(|(slot, key)| found.get(*slot, document).map(|value| (value, *key)));
        let Some((value, field)) = filled else { return Ok(()) };
        match value.kind {
            ElementType::Null => Ok(()),
            ElementType::Array => {
                for (position, element) in value.elements().enumerate() {
                    let (_, element) = element.map_err(|error| Refusal {
                        field: key_path(field),
                        mismatch: error.into(),
                    })?;
                    let id = id.clone();
                    self.write_junction_row(index, position, element, found, document, id, out);
                }
                Ok(())
            }
            _ => {
                self.write_junction_row(index, 0, value, found, document, id, out);
                Ok(())
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what one document's walk has found")]
    fn write_junction_row(
        &self,
        index: usize,
        position: usize,
        element: Value<'_>,
        found: &Found,
        document: &[u8],
        id: std::ops::Range<usize>,
        out: &mut Output,
    ) {
        let plan = &self.junctions[index];
        let Output { rows, junctions, orphans, marks, .. } = out;
        let junction = &mut junctions[index];
        let owner = &rows[id];
        junction.total.elements += 1;
        let position = plan.ordinal.filter(|given| *given).map(|_| position as i32);
        let mut row = RowWriter::new(&mut junction.rows, 3 + u16::from(plan.ordinal.is_some()));
        if plan.owner_first {
            row.payload(owner);
        }
        let id = match plan.target {
            Some(target) => dbref::resolve(element, target).ok(),
            None => Some(element),
        };
        let wrote = match id.filter(|id| id.kind != ElementType::Null) {
            Some(id) => row.cell(|out| (plan.encode)(id, &plan.context, out)).ok(),
            None => None,
        };
        if !matches!(wrote, Some((Wrote::Payload, _))) {
            drop(row);
            orphans.push(OrphanElement {
                junction: index,
                row: marks.len(),
                owner: owner.to_vec(),
                source_id: self.source_id(found, document),
                value: crate::cell::describe(element),
                position,
            });
            return;
        }
        if !plan.owner_first {
            row.payload(owner);
        }
        row.payload(&plan.origin.to_be_bytes());
        match (plan.ordinal, position) {
            (None, _) => {}
            (Some(_), Some(position)) => row.payload(&position.to_be_bytes()),
            (Some(_), None) => row.null(),
        }
        // Two ids and a number never reach a row's limit.
        if row.finish().is_ok() {
            junction.total.row_count += 1;
            junction.total.row_end = junction.rows.len();
        }
    }

    #[cold]
    fn walk_refusal(&self, error: WalkError, found: &Found, document: &[u8]) -> Refusal {
        match error {
            WalkError::Malformed(malformed) => {
                Refusal { field: String::new(), mismatch: malformed.into() }
            }
            WalkError::Duplicate(slot) => {
                let (expected, twice) = ("each key once", "the same key twice");
                let mismatch = Mismatch::new(Reason::DuplicateKey, expected, twice);
                Refusal { field: self.keys.path(slot), mismatch }
            }
            WalkError::NoDocument(level) => {
                let expected = self.keys.expected(level);
                let mismatch = match found.no_document(&self.keys, level, document) {
                    Some(value) => Mismatch::wrong_type(expected, value),
                    None => Mismatch::new(Reason::Type, expected, "something else"),
                };
                Refusal { field: self.keys.document_path(level), mismatch }
            }
        }
    }

    /// Refuses a row that has none or several of a group's columns.
    fn check_one_of(&self, tuple: &[u8]) -> std::result::Result<(), Refusal> {
        for (group, columns) in self.one_of.iter().enumerate() {
            let is_set = |column: &usize| crate::row::cell(tuple, *column).is_some();
            let set = columns.iter().filter(|column| is_set(column)).count();
            if set != 1 {
                let names = self.model.one_of[group].columns.join("`, `");
                let expected = format!("exactly one of `{names}`");
                let field = columns.first().map(|column| {
                    let column = &self.model.columns[*column];
                    key_path(column.keys.first().copied().unwrap_or(column.field))
                });
                let mismatch = Mismatch::new(Reason::Constraint, expected, set.to_string());
                return Err(Refusal { field: field.unwrap_or_default(), mismatch });
            }
        }
        Ok(())
    }

    #[cold]
    fn reject(&self, found: &Found, document: &[u8], refusal: &Refusal, out: &mut Output) {
        out.rejects.push(Reject {
            collection: match found.get(self.id_slot, document).and_then(|id| id.to_bson().ok()) {
                Some(id) => self.feed.label_of(&id),
                None => self.feed.label().to_owned(),
            },
            table: self.model.table.to_owned(),
            source_id: self.source_id(found, document),
            stage: Stage::Transform,
            reason: refusal.mismatch.reason(),
            field: self.place(found, document, refusal),
            message: refusal.mismatch.to_string(),
            document: document.to_vec(),
        });
    }

    /// The path of the field that a refusal is about, from the collection's document on.
    #[cold]
    fn place(&self, found: &Found, document: &[u8], refusal: &Refusal) -> String {
        let field = refusal.mismatch.path(&refusal.field);
        let id = found.get(self.id_slot, document).filter(|_| self.fault_slot.is_some());
        match id.and_then(feed::field_path) {
            Some(place) => {
                // The path below an element without a field begins with a point already.
                let point = if field.is_empty() || field.starts_with('.') { "" } else { "." };
                format!("{place}{point}{field}")
            }
            None => field,
        }
    }

    fn source_id(&self, found: &Found, document: &[u8]) -> String {
        found.get(self.id_slot, document).map(id_text).unwrap_or_default()
    }
}

/// The keys that a model takes and those that it skips.
fn keys_of(model: &Model) -> Keys {
    let mut keys = Keys::new();
    keys.add_whole("_id");
    for column in model.columns {
        for key in column.keys {
            match column.convert {
                Convert::Presence => keys.add(key),
                _ => keys.add_whole(key),
            }
        }
        if let Some(path) = column.within {
            keys.add(path);
        }
        if let Some(when) = column.when {
            keys.add(when.key);
        }
    }
    for key in model.junctions.iter().flat_map(|junction| junction.keys) {
        keys.add_whole(key);
    }
    for key in model.children.iter().flat_map(|child| child.keys) {
        keys.add_whole(key);
    }
    // A document that has one of them twice could be of two models.
    for choice in model.when {
        keys.add(choice.key);
    }
    keys.end_of_taken();
    for key in model.skipped {
        keys.add(key);
    }
    if model.has_locators() {
        for key in feed::RESERVED {
            keys.add_whole(key);
        }
    }
    if !model.further_collections.is_empty() {
        for key in feed::GATHERED {
            keys.add_whole(key);
        }
    }
    keys.index();
    keys
}

/// Writes what `on_invalid` says in place of a value that was refused, and notes it. Bytes that
/// are no BSON remain a reject, and so does what has nothing to take its place.
#[cold]
fn write_invalid(
    plan: &ColumnPlan,
    mismatch: Mismatch,
    work: &mut Work,
    out: &mut Vec<u8>,
) -> std::result::Result<Wrote, Mismatch> {
    if matches!(mismatch.reason(), Reason::Malformed | Reason::Missing) {
        return Err(mismatch);
    }
    let column = plan.column;
    let (by, wrote) = match (column.on_invalid, &plan.default) {
        (OnInvalid::Null, _) if column.nullable => (ReplacedBy::Null, Wrote::Null),
        (OnInvalid::Default, Some(Cell::Null)) => (ReplacedBy::Default, Wrote::Null),
        (OnInvalid::Default, Some(Cell::Payload(payload))) => {
            out.extend_from_slice(payload);
            (ReplacedBy::Default, Wrote::Payload)
        }
        _ => return Err(mismatch),
    };
    let message = mismatch.to_string();
    work.replaced.push(Replacement { column: column.name, by, message });
    Ok(wrote)
}

/// The keys that a column is read from. The locator of an element becomes a UUID and no id of
/// another type.
fn read_keys(model: &Model, column: &Column) -> impl Iterator<Item = &'static str> {
    let without_locator = model.kind == ModelKind::Child && column.ty.base != BaseType::Uuid;
    column.keys.iter().copied().filter(move |key| !(without_locator && *key == "_id"))
}

#[cold]
fn missing(column: &Column, is_null: bool) -> Mismatch {
    let found = if is_null { "null" } else { "no such field" };
    Mismatch::new(Reason::Missing, column.ty.sql(), found)
}

#[cold]
fn unusable(model: &Model, column: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("column `{column}` of `{}`: {why}", model.name))
}

fn default_cell(model: &Model, column: &Column, context: &CellContext) -> Result<Option<Cell>> {
    let Some(write) = column.default else { return Ok(None) };
    let mut payload = Vec::new();
    match write(context, &mut payload) {
        Ok(Wrote::Payload) => Ok(Some(Cell::Payload(payload))),
        Ok(Wrote::Null) if column.nullable => Ok(Some(Cell::Null)),
        Ok(Wrote::Null) => Err(unusable(
            model,
            column.name,
            "its default is NULL, which it does not take: make the field an `Option`",
        )),
        Err(mismatch) => {
            Err(unusable(model, column.name, &format!("its default is refused: {mismatch}")))
        }
    }
}

fn column_context(model: &Model, column: &Column, facts: &TargetFacts) -> Result<CellContext> {
    // The parent's id is read here as it is there.
    let is_parent = column.keys.contains(&feed::PARENT);
    let role = match (column.primary_key || is_parent, column.reference) {
        (true, _) => Role::Id,
        (false, Some(_)) => Role::Reference,
        (false, None) => Role::Plain,
    };
    if let Some(pg_type) = column.pg_type
        && let Some(wire) = wire_type(pg_type)
        && !same_wire(column.ty.base, wire)
    {
        let why = format!(
            "`pg_type = \"{pg_type}\"` is not sent as `{}` is: change the field's type to that of `{}`",
            column.ty.base.name(),
            wire.name(),
        );
        return Err(unusable(model, column.name, &why));
    }
    let element_oid = match column.ty.dimensions {
        0 => 0,
        _ => element_oid(column, facts).ok_or_else(|| {
            let why = format!("the target has no type {}", column.ty.base.name());
            unusable(model, column.name, &why)
        })?,
    };
    Ok(CellContext {
        ids: facts.ids,
        role,
        element_oid,
        limit: column.pg_type.map_or(Limit::None, parse_limit),
        server_version: facts.server_version,
    })
}

/// The OID that the payload of an array must name.
fn element_oid(column: &Column, facts: &TargetFacts) -> Option<u32> {
    const VARCHAR: u32 = 1043;
    const BPCHAR: u32 = 1042;
    if let Some(pg_type) = column.pg_type {
        let name = type_name(pg_type);
        match name.as_str() {
            "varchar" | "character varying" => return Some(VARCHAR),
            "char" | "character" | "bpchar" => return Some(BPCHAR),
            name => {
                if let Some(oid) = facts.other_oids.get(name) {
                    return Some(*oid);
                }
                if let Some(wire) = wire_type(pg_type) {
                    return Some(builtin_oid(wire));
                }
            }
        }
    }
    match column.ty.base {
        BaseType::Enum(ty) => facts.enum_oids.get(&(ty.schema, ty.name)).copied(),
        BaseType::Other(name) => (facts.other_oids.get(name).copied())
            .or_else(|| Some(builtin_oid(column.ty.base)).filter(|oid| *oid != 0)),
        base => Some(builtin_oid(base)),
    }
}

/// The name in a type of the DDL: without modifiers and brackets, in lower case.
fn type_name(pg_type: &str) -> String {
    let lower = pg_type.to_ascii_lowercase();
    let mut name = String::with_capacity(lower.len());
    let mut depth = 0;
    for character in lower.chars() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ if depth == 0 => name.push(character),
            _ => {}
        }
    }
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type whose binary form the named one has; `None` for names that are not known here.
fn wire_type(pg_type: &str) -> Option<BaseType> {
    Some(match type_name(pg_type).as_str() {
        "text" | "varchar" | "character varying" | "char" | "character" | "bpchar" => {
            BaseType::Text
        }
        "boolean" | "bool" => BaseType::Bool,
        "smallint" | "int2" => BaseType::Int2,
        "integer" | "int" | "int4" => BaseType::Int4,
        "bigint" | "int8" => BaseType::Int8,
        "real" | "float4" => BaseType::Float4,
        "double precision" | "float8" => BaseType::Float8,
        "numeric" | "decimal" => BaseType::Numeric,
        "uuid" => BaseType::Uuid,
        "timestamp" | "timestamp without time zone" => BaseType::Timestamp,
        "timestamptz" | "timestamp with time zone" => BaseType::TimestampTz,
        "date" => BaseType::Date,
        "jsonb" => BaseType::Jsonb,
        "bytea" => BaseType::Bytea,
        "json" => BaseType::Other("json"),
        _ => return None,
    })
}

fn same_wire(base: BaseType, other: BaseType) -> bool {
    use BaseType::{Enum, Other, Text, Timestamp, TimestampTz};
    match (base, other) {
        (Timestamp | TimestampTz, Timestamp | TimestampTz) => true,
        // An enum's payload is its label; and only the author knows a type of the author's own.
        (Enum(_), Text) | (Other(_), _) => true,
        (base, other) => base == other,
    }
}

#[cfg(test)]
mod tests;
