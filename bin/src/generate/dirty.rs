//! Which document gets which fault. The choice depends on the document's position alone, so that
//! a reference knows the odd id of the document it points to.

use bson::{Bson, Document, doc};
use migrate_core::Reason;
use migrate_core::schema::{BaseType, Column, Model, OnInvalid};

use super::ledger::{Expected, Fault};
use super::paths;
use super::random::Random;
use super::shape::{is_id, is_optional};

/// The place of a fault in a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spot {
    /// A column, by position.
    Column(usize),
    /// An array that fills a junction, by position.
    Junction(usize),
    /// The document as a whole.
    Document,
}

/// The faults that a model's documents can have, each with its places. Those that few models can
/// have stand here several times, so that a small scale has them too.
#[derive(Debug)]
pub(super) struct Faults(Vec<(Fault, Vec<Spot>)>);

/// How often a fault of few models is counted.
const RARE: usize = 8;

/// Whether the column holds what makes a document the model's.
fn is_chosen_by(model: &Model, column: &Column) -> bool {
    model.when.iter().any(|choice| column.keys.contains(&choice.key))
}

impl Faults {
    /// The faults of a model; `referred` says whether other documents point to its own.
    pub(super) fn of(model: &Model, referred: bool) -> Self {
        let mut faults = Self(Vec::new());
        for (position, column) in model.columns.iter().enumerate() {
            let spot = Spot::Column(position);
            if column.primary_key {
                if column.ty.base == BaseType::Uuid {
                    faults.add(Fault::HexOwnId, Spot::Document);
                    faults.add(Fault::UuidOwnId, Spot::Document);
                    faults.add(Fault::IdTwice, Spot::Document);
                    if !referred {
                        faults.add(Fault::TextOwnId, Spot::Document);
                        faults.add(Fault::NumberOwnId, Spot::Document);
                    }
                }
            } else if paths::is_plain(column) && !is_chosen_by(model, column) {
                faults.add_column(column, spot);
            }
        }
        for position in 0..model.junctions.len() {
            for fault in [
                Fault::JunctionNoId,
                Fault::JunctionOrphan,
                Fault::JunctionSingle,
                Fault::JunctionNull,
                Fault::JunctionHex,
                Fault::JunctionRepeated,
            ] {
                faults.add(fault, Spot::Junction(position));
            }
        }
        faults.add(Fault::UnknownField, Spot::Document);
        faults
    }

    fn add(&mut self, fault: Fault, spot: Spot) {
        match self.0.iter_mut().find(|(known, _)| *known == fault) {
            Some((_, spots)) => spots.push(spot),
            None => self.0.push((fault, vec![spot])),
        }
    }

    fn add_column(&mut self, column: &Column, spot: Spot) {
        if column.keys[0] == "__v" {
            self.add(Fault::VersionMissing, spot);
        }
        if !is_optional(column) {
            self.add(Fault::MissingRequired, spot);
            self.add(Fault::NullRequired, spot);
        }
        if column.unique {
            self.0.extend((0..RARE).map(|_| (Fault::DuplicateUnique, vec![spot])));
        }
        if column.reference.is_some() && column.reference.is_some_and(|to| to.key.is_none()) {
            let fault = if column.nullable { Fault::OrphanNullable } else { Fault::OrphanRequired };
            self.add(fault, spot);
        }
        let faults: &[Fault] = match (column.ty.base, column.ty.dimensions) {
            // What becomes of a value there is for the model to say.
            _ if takes_more(column) => &[],
            (BaseType::Text | BaseType::Uuid, 1..) => &[Fault::ScalarForArray, Fault::ElementType],
            (_, 1..) => &[Fault::ScalarForArray],
            // Another number would be another reference, or somebody else's unique value.
            (BaseType::Int2 | BaseType::Int4 | BaseType::Int8, 0)
                if column.reference.is_some() || column.unique =>
            {
                &[Fault::NumberAsString, Fault::Fraction, Fault::OutOfRange]
            }
            (BaseType::Int2 | BaseType::Int4 | BaseType::Int8, 0) => &[
                Fault::NumberAsString,
                Fault::Fraction,
                Fault::OutOfRange,
                Fault::WholeDouble,
                Fault::LongForInt,
                Fault::WholeDecimal,
            ],
            (BaseType::Bool, 0) => &[Fault::BoolAsString],
            (BaseType::Timestamp | BaseType::TimestampTz, 0) => {
                &[Fault::DateAsString, Fault::DateOutOfRange]
            }
            (BaseType::Enum(_), 0) => &[Fault::UnknownLabel],
            (BaseType::Text, 0) => &[Fault::TextAsNumber, Fault::NulInText],
            (BaseType::Jsonb, 0) => &[Fault::NulInJson, Fault::NanInJson],
            (BaseType::Uuid, 0) => &[Fault::NoId, Fault::HexId],
            _ => &[],
        };
        for fault in faults {
            self.add(*fault, spot);
        }
        if is_id(column) && column.nullable && column.empty_as_null {
            self.add(Fault::EmptyId, spot);
        }
    }

    /// One of the faults at one of its places.
    pub(super) fn pick(&self, random: &mut Random) -> (Fault, Spot) {
        let (fault, spots) = &self.0[random.below(self.0.len() as u64) as usize];
        (*fault, random.pick(spots))
    }
}

/// Whether a column takes more than the values of its type.
fn takes_more(column: &Column) -> bool {
    let other = match column.ty.base {
        BaseType::Enum(ty) => ty.other,
        _ => None,
    };
    !column.steps.is_empty() || column.on_invalid != OnInvalid::Reject || other.is_some()
}

/// What the plan knows of a document that its fault needs.
pub(super) struct Surroundings {
    /// The value the field would have, where it has one.
    pub(super) value: Option<Bson>,
    /// An id that no document has.
    pub(super) nobody: Bson,
    /// An id that a document has, for arrays of ids and references.
    pub(super) somebody: Option<Bson>,
    /// The value that an earlier document has in the same field.
    pub(super) earlier: Option<Bson>,
}

/// Puts a fault into a document. Returns what must become of it, or `None` where this document
/// cannot have it.
pub(super) fn plant(
    fault: Fault,
    key: &str,
    column: Option<&Column>,
    surroundings: Surroundings,
    random: &mut Random,
    document: &mut Document,
) -> Option<Expected> {
    use Expected::{JunctionOrphan, Loaded, Orphan, Rejected};
    let Surroundings { value, nobody, somebody, earlier } = surroundings;
    let base = column.map(|column| column.ty.base);
    let small = random.range(1, 90);
    let (bad, expected): (Bson, Expected) = match fault {
        Fault::UnknownLabel => {
            (random.pick(&["ARCHIVED", "", "active ", "?"]).into(), Rejected(Reason::Label))
        }
        Fault::NumberAsString => (small.to_string().into(), Rejected(Reason::Type)),
        Fault::TextAsNumber => (Bson::Int32(small as i32), Rejected(Reason::Type)),
        Fault::BoolAsString => (random.pick(&["true", "yes"]).into(), Rejected(Reason::Type)),
        Fault::DateAsString => ("2024-02-29T12:00:00.000Z".into(), Rejected(Reason::Type)),
        Fault::Fraction => (Bson::Double(small as f64 + 0.75), Rejected(Reason::Fraction)),
        Fault::OutOfRange => {
            let bad = match base {
                Some(BaseType::Int2) => Bson::Int32(40_000),
                Some(BaseType::Int4) => random
                    .pick(&[Bson::Int64(1 << 31), Bson::Int64(-(1 << 31) - 1)].each_ref())
                    .clone(),
                _ if random.chance(0.5) => Bson::Double(1e19),
                _ => Bson::Decimal128("9223372036854775808".parse().ok()?),
            };
            (bad, Rejected(Reason::Range))
        }
        Fault::ScalarForArray => {
            let bad = if base == Some(BaseType::Uuid) { nobody } else { "alone".into() };
            (bad, Rejected(Reason::Type))
        }
        Fault::ElementType => {
            let bad = vec![value_of(base)?, Bson::Document(doc! { "id": 1 })];
            (bad.into(), Rejected(Reason::Type))
        }
        Fault::NulInText => ("before\0after".into(), Rejected(Reason::Nul)),
        Fault::NulInJson => (doc! { "list": ["fine", "be\0fore"] }.into(), Rejected(Reason::Nul)),
        Fault::NanInJson => {
            let bad = random.pick(&[f64::NAN, f64::INFINITY]);
            (doc! { "share": { "of": bad } }.into(), Rejected(Reason::NotFinite))
        }
        Fault::DateOutOfRange => {
            let millis = random.pick(&[i64::MAX, i64::MIN, -300_000_000_000_000]);
            (Bson::DateTime(bson::DateTime::from_millis(millis)), Rejected(Reason::Range))
        }
        Fault::MissingRequired => {
            document.remove(key);
            return Some(Rejected(Reason::Missing));
        }
        Fault::NullRequired => (Bson::Null, Rejected(Reason::Missing)),
        Fault::NoId => {
            let bad = random.pick(&["nobody", "507f1f77bcf86cd79943901z", "507f1f77"]);
            (bad.into(), Rejected(Reason::Type))
        }
        Fault::OrphanRequired => (nobody, Rejected(Reason::Orphan)),
        Fault::DuplicateUnique => (earlier?, Rejected(Reason::Duplicate)),
        Fault::OrphanNullable => (nobody, Orphan),
        Fault::JunctionNoId => {
            let bad = [Bson::Int32(5), Bson::Null, "nobody".into(), "".into(), doc! {}.into()];
            let mut ids: Vec<Bson> = somebody.into_iter().collect();
            ids.push(bad[random.below(bad.len() as u64) as usize].clone());
            (ids.into(), JunctionOrphan)
        }
        Fault::JunctionOrphan => {
            let mut ids: Vec<Bson> = somebody.into_iter().collect();
            ids.push(nobody);
            (ids.into(), JunctionOrphan)
        }
        Fault::WholeDouble => (Bson::Double(small as f64), Loaded),
        Fault::LongForInt => (Bson::Int64(small), Loaded),
        Fault::WholeDecimal => {
            let text = format!("{small}{}", random.pick(&["", ".0", ".000", "E+0"]));
            (Bson::Decimal128(text.parse().ok()?), Loaded)
        }
        Fault::HexId => match value? {
            Bson::ObjectId(id) => (id.to_hex().into(), Loaded),
            _ => return None,
        },
        Fault::EmptyId => ("".into(), Loaded),
        Fault::JunctionSingle => (somebody?, Loaded),
        Fault::JunctionNull => (Bson::Null, Loaded),
        Fault::JunctionHex => match somebody? {
            Bson::ObjectId(id) => (vec![Bson::from(id.to_hex().to_uppercase())].into(), Loaded),
            _ => return None,
        },
        Fault::JunctionRepeated => {
            let id = somebody?;
            (vec![id.clone(), id].into(), Loaded)
        }
        Fault::UnknownField => {
            document.insert("legacy", doc! { "code": small, "from": ["import", "2019"] });
            return Some(Loaded);
        }
        Fault::VersionMissing => {
            document.remove(key);
            return Some(Loaded);
        }
        Fault::IdTwice => return Some(Rejected(Reason::Duplicate)),
        // The document has that id already.
        Fault::HexOwnId | Fault::UuidOwnId | Fault::TextOwnId | Fault::NumberOwnId => {
            return Some(Loaded);
        }
    };
    document.insert(key, bad);
    Some(expected)
}

fn value_of(base: Option<BaseType>) -> Option<Bson> {
    Some(match base? {
        BaseType::Uuid => Bson::ObjectId(bson::oid::ObjectId::from_bytes([7; 12])),
        _ => "fine".into(),
    })
}
