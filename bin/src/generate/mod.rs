//! Deterministic sample documents for the collections of any registry: what a real application
//! would have stored, and on request the faults that real data has.
//!
//! A document is a function of the seed, the scale, its collection and its position: nothing is
//! remembered between two of them, so memory stays flat at any scale and documents may be made in
//! any order. What a field holds is guessed from its key and its column.

use bson::{Binary, Bson, Document, doc};
use migrate_core::schema::{BaseType, KEY_SEPARATOR, Literal, Model, RegistryFacts};

mod dirty;
mod ledger;
mod paths;
mod random;
mod shape;
mod sink;
mod value;
mod words;

pub use ledger::{Expected, Fault, Ledger, Planted};
pub use sink::{to_dump, to_memory, to_mongodb};

use dirty::{Faults, Spot, Surroundings};
use shape::{Shape, is_id, is_optional};

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The same seed gives the same documents.
    pub seed: u64,
    /// 1 is about 10,000 documents in all for NextCRM; lists of choices keep their size.
    pub scale: f64,
    /// The share of documents that get a fault or an oddity; 0 plants none.
    pub dirty: f64,
}

impl Plan {
    /// The share of faults where none is named.
    pub const DIRTY: f64 = 0.05;
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, scale: 1.0, dirty: 0.0 }
    }
}

/// Purposes of the random streams of one document; columns and junctions follow.
const FAULT: u64 = 0;
const OWN_ID: u64 = 1;
const SOMEBODY: u64 = 2;
const WHEN: u64 = 3;
const COLUMNS: u64 = 16;

/// A model with more columns than this has many that are mostly empty.
const WIDE: usize = 20;

/// A collection without a model that `dirty` adds.
const STRAY: &str = "system_logs";
const STRAY_DOCUMENTS: u64 = 25;

/// Makes the documents of a registry.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    shape: Shape,
    /// For each collection and column, the collection it refers to.
    targets: Vec<Vec<Option<usize>>>,
    /// For each collection and junction field, the other side and whether this is the first.
    partners: Vec<Vec<Option<(usize, bool)>>>,
    faults: Vec<Faults>,
    people: Option<usize>,
}

/// A generated document.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The document.
    pub document: Document,
    /// The fault in it.
    pub planted: Option<Planted>,
}

impl Generator {
    /// A generator for the registry's collections.
    pub fn new(registry: &RegistryFacts, plan: Plan) -> Self {
        let shape = Shape::new(registry, plan.seed, plan.scale);
        let people = shape.people();
        let target = |model: &Model| shape.position(model);
        let targets: Vec<Vec<Option<usize>>> = shape
            .collections
            .iter()
            .map(|collection| {
                let columns = collection.model.columns.iter();
                columns
                    .map(|column| match column.reference {
                        Some(reference) => target(reference.target.get()),
                        None => None,
                    })
                    .collect()
            })
            .collect();
        let partners: Vec<Vec<Option<(usize, bool)>>> = shape
            .collections
            .iter()
            .map(|collection| {
                let junctions = collection.model.junctions.iter();
                junctions
                    .map(|junction| {
                        let (own, other) = junction.sides(collection.model);
                        let other = junction.table.get().columns[other].reference?;
                        Some((target(other.target.get())?, own == 0))
                    })
                    .collect()
            })
            .collect();
        let faults = (0..shape.collections.len())
            .map(|position| {
                let referred = targets.iter().flatten().any(|target| *target == Some(position))
                    || partners.iter().flatten().any(|to| to.is_some_and(|(to, _)| to == position))
                    || people == Some(position);
                Faults::of(shape.collections[position].model, referred)
            })
            .collect();
        Self { plan, shape, targets, partners, faults, people }
    }

    /// Gives one collection another number of documents than its share; false when there is no
    /// such collection.
    pub fn set_documents(&mut self, collection: &str, documents: u64) -> bool {
        // Models that share a collection have equal parts of it.
        let is_it = |shape: &shape::Collection| shape.model.collection == collection;
        let count = self.shape.collections.iter().filter(|shape| is_it(shape)).count() as u64;
        for shape in self.shape.collections.iter_mut().filter(|shape| is_it(shape)) {
            shape.documents = (documents / count).max(1);
        }
        count > 0
    }

    /// The collections with their sizes, in the order of the registry, and those without a model.
    pub fn collections(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let stray = (self.plan.dirty > 0.0).then_some((STRAY, STRAY_DOCUMENTS));
        self.shape
            .collections
            .iter()
            .map(|collection| (collection.model.collection, collection.documents))
            .chain(stray)
    }

    /// The document at a position of the collection that [`Generator::collections`] gives at
    /// `collection`.
    pub fn document(&self, collection: usize, index: u64) -> Generated {
        let Some(facts) = self.shape.collections.get(collection) else {
            return Generated { document: stray(index), planted: None };
        };
        let model = facts.model;
        let own_id = self.own_id(collection, index);
        let has_time = matches!(own_id, Bson::ObjectId(_) | Bson::String(_))
            && !matches!(self.fault(collection, index), Some((Fault::TextOwnId, _)));
        let mut document = doc! { "_id": own_id.clone() };
        for (position, column) in model.columns.iter().enumerate() {
            if column.primary_key || !paths::is_made(column) {
                continue;
            }
            let key = column.keys[0];
            if let Some(when) = column.when {
                let mut random = self.shape.random(collection, index, WHEN);
                if !paths::is_chosen(model, column, &mut random) {
                    continue;
                }
                document.insert(when.key, when.is);
            }
            let mut random = self.shape.random(collection, index, COLUMNS + position as u64);
            let share = match model.columns.len() > WIDE {
                true if column.ty.base == BaseType::Text => 0.6,
                true => 0.3,
                false => 0.15,
            };
            let needs_time = column.id_time && !column.nullable && column.default.is_none();
            let may_miss = is_optional(column) && !column.required && column.when.is_none();
            if may_miss && random.chance(share) && (has_time || !needs_time) {
                if random.chance(0.3) {
                    document.insert(key, Bson::Null);
                }
                continue;
            }
            if let Some(value) = self.value(collection, index, position) {
                document.insert(key, value);
            }
        }
        for (position, junction) in model.junctions.iter().enumerate() {
            let purpose = COLUMNS + (model.columns.len() + position) as u64;
            let mut random = self.shape.random(collection, index, purpose);
            if random.chance(0.08) {
                if random.chance(0.3) {
                    document.insert(junction.keys[0], Bson::Null);
                }
                continue;
            }
            let Some((other, first)) = self.partners[collection][position] else { continue };
            let name = junction.table.get().name;
            let ids: Vec<Bson> = self
                .shape
                .partners(name, first, collection, index, other)
                .into_iter()
                .filter_map(|partner| self.partner_key(model, position, other, partner))
                .collect();
            document.insert(junction.keys[0], ids);
        }
        // What makes it the model's; no fault is planted there.
        for choice in model.when.iter().filter(|choice| paths::is_free(choice.key)) {
            let value = match choice.any_of[index as usize % choice.any_of.len()] {
                Literal::Text(text) => text.into(),
                Literal::Number(number) => Bson::Int64(number),
                Literal::Bool(truth) => Bson::Boolean(truth),
                Literal::Null => Bson::Null,
            };
            document.insert(choice.key, value);
        }
        let planted = self.plant(collection, index, &own_id, &mut document);
        Generated { document: paths::nested(document), planted }
    }

    /// The value of a column in a document, where it is neither missing nor null.
    fn value(&self, collection: usize, index: u64, position: usize) -> Option<Bson> {
        let model = self.shape.collections[collection].model;
        let column = &model.columns[position];
        let purpose = COLUMNS + (model.columns.len() + model.junctions.len() + position) as u64;
        let mut random = self.shape.random(collection, index, purpose);
        if let Some(reference) = column.reference {
            let target = self.targets[collection][position]?;
            let there = random.below(self.shape.collections[target].documents);
            return match reference.key {
                None => Some(self.own_id(target, there)),
                Some(key) => {
                    let (key, _) = self.shape.collections[target].model.column(key)?;
                    self.value(target, there, key)
                }
            };
        }
        if column.ty.base == BaseType::Uuid {
            let somebody = |random: &mut random::Random| match self.people {
                Some(people) => {
                    self.own_id(people, random.below(self.shape.collections[people].documents))
                }
                None => Bson::ObjectId(self.shape.nobody(collection, index)),
            };
            if is_id(column) {
                return Some(somebody(&mut random));
            }
            let length = random.below(3);
            return Some((0..length).map(|_| somebody(&mut random)).collect::<Vec<_>>().into());
        }
        let place = value::Place {
            collection: model.collection,
            key: column.keys.first()?.rsplit(KEY_SEPARATOR).next()?,
            index,
            made: self.shape.seconds(collection, index) as i64 * 1000,
            unique: column.unique,
            nested: false,
        };
        value::value(column.ty, &place, &mut random).map(|value| value::limited(value, column))
    }

    /// What an element of a junction's array holds of its partner: the id, or another key.
    fn partner_key(
        &self,
        model: &Model,
        position: usize,
        other: usize,
        partner: u64,
    ) -> Option<Bson> {
        let junction = &model.junctions[position];
        let (_, side) = junction.sides(model);
        match junction.table.get().columns[side].reference?.key {
            None => Some(self.own_id(other, partner)),
            Some(key) => {
                let (key, _) = self.shape.collections[other].model.column(key)?;
                self.value(other, partner, key)
            }
        }
    }

    /// The `_id` of a document, odd ones included.
    fn own_id(&self, collection: usize, index: u64) -> Bson {
        let id = self.shape.object_id(collection, index);
        let model = self.shape.collections[collection].model;
        // A primary key of a type of its own asks for ids of that type.
        match model.id().map(|column| column.ty.base) {
            None | Some(BaseType::Uuid) => {}
            Some(BaseType::Text) => return id.to_hex().into(),
            Some(_) => return Bson::Int64(index as i64 + 1),
        }
        match self.fault(collection, index) {
            Some((Fault::HexOwnId, _)) => id.to_hex().into(),
            Some((Fault::IdTwice, _)) => {
                self.shape.object_id(collection, index - 1).to_hex().into()
            }
            Some((Fault::UuidOwnId, _)) => {
                let mut random = self.shape.random(collection, index, OWN_ID);
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&random.next().to_be_bytes());
                bytes[8..].copy_from_slice(&random.next().to_be_bytes());
                bytes[6] = bytes[6] & 0x0f | 0x40;
                bytes[8] = bytes[8] & 0x3f | 0x80;
                let subtype = bson::spec::BinarySubtype::Uuid;
                Bson::Binary(Binary { subtype, bytes: bytes.to_vec() })
            }
            Some((Fault::TextOwnId, _)) => format!("{}-{index}", model.collection).into(),
            Some((Fault::NumberOwnId, _)) => Bson::Int32(index as i32),
            _ => Bson::ObjectId(id),
        }
    }

    /// The fault of a document.
    fn fault(&self, collection: usize, index: u64) -> Option<(Fault, Spot)> {
        if self.plan.dirty <= 0.0 {
            return None;
        }
        let mut random = self.shape.random(collection, index, FAULT);
        if !random.chance(self.plan.dirty) {
            return None;
        }
        let (fault, spot) = self.faults[collection].pick(&mut random);
        // No document has two faults, and this one is as much that of the document before.
        let alone = || index > 0 && self.fault(collection, index - 1).is_none();
        (fault != Fault::IdTwice || alone()).then_some((fault, spot))
    }

    /// Whether a document is loaded whatever else was planted.
    fn is_sound(&self, collection: usize, index: u64) -> bool {
        self.fault(collection, index).is_none()
            && !matches!(self.fault(collection, index + 1), Some((Fault::IdTwice, _)))
    }

    /// Puts its fault into a document.
    fn plant(
        &self,
        collection: usize,
        index: u64,
        own_id: &Bson,
        document: &mut Document,
    ) -> Option<Planted> {
        let (fault, spot) = self.fault(collection, index)?;
        let model = self.shape.collections[collection].model;
        let mut random = self.shape.random(collection, index, SOMEBODY);
        let mut column = None;
        let id_type = match spot {
            Spot::Column(position) => model.columns[position].ty.base,
            Spot::Junction(position) => model.junctions[position].ty.base,
            Spot::Document => BaseType::Uuid,
        };
        let nobody = self.shape.nobody(collection, index);
        let nobody = match id_type {
            BaseType::Text => nobody.to_hex().into(),
            BaseType::Int2 | BaseType::Int4 | BaseType::Int8 => Bson::Int64(-1 - index as i64),
            _ => Bson::ObjectId(nobody),
        };
        let mut surroundings = Surroundings { value: None, nobody, somebody: None, earlier: None };
        let key = match spot {
            Spot::Column(position) => {
                column = Some(&model.columns[position]);
                surroundings.value = self.value(collection, index, position);
                if fault == Fault::DuplicateUnique {
                    let earlier = (0..index).rev().find(|at| self.is_sound(collection, *at));
                    surroundings.earlier =
                        earlier.and_then(|at| self.value(collection, at, position));
                }
                model.columns[position].keys[0]
            }
            Spot::Junction(position) => {
                surroundings.somebody =
                    self.partners[collection][position].and_then(|(other, _)| {
                        let partner = random.below(self.shape.collections[other].documents);
                        self.partner_key(model, position, other, partner)
                    });
                model.junctions[position].keys[0]
            }
            Spot::Document => "",
        };
        let expected = dirty::plant(fault, key, column, surroundings, &mut random, document)?;
        Some(Planted {
            kind: fault,
            collection: model.collection.to_owned(),
            field: match fault {
                Fault::UnknownField => "legacy".to_owned(),
                Fault::HexOwnId
                | Fault::UuidOwnId
                | Fault::TextOwnId
                | Fault::NumberOwnId
                | Fault::IdTwice => "_id".to_owned(),
                _ => key.to_owned(),
            },
            source_id: match fault {
                Fault::IdTwice => self.shape.object_id(collection, index - 1).to_hex(),
                _ => source_id(own_id),
            },
            expected,
        })
    }
}

/// An id as the ledger of rejects spells it: the hex digits of an ObjectId, else Extended JSON.
fn source_id(id: &Bson) -> String {
    match id {
        Bson::ObjectId(id) => id.to_hex(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// A document of the collection without a model.
fn stray(index: u64) -> Document {
    doc! { "_id": index as i64, "level": "info", "text": format!("line {index}") }
}
