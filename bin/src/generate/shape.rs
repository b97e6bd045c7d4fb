//! How many documents each collection gets, what their ids are, and which of them belong
//! together: all computed from positions, so that nothing has to be remembered.

use bson::oid::ObjectId;
use migrate_core::schema::{BaseType, Column, Model, ModelKind, RegistryFacts};

use super::random::{Random, name_key};

/// The second of the first id: 2021-01-01T00:00:00Z.
const FIRST_SECOND: u64 = 1_609_459_200;
/// The ids of a collection are spread over four years.
const SPAN_SECONDS: u64 = 4 * 365 * 86_400;
/// Documents of a collection that is a list of choices, at any scale.
const CHOICES: u64 = 12;
/// Documents of a collection that stands for itself, at scale 1.
const ALONE: u64 = 40;
/// Documents of all other collections together, at scale 1.
const DOCUMENTS: f64 = 10_000.0;
/// The most elements of an array that a junction is filled from.
const MOST_ELEMENTS: u64 = 20;

/// Shares of the documents by what the collection's name ends in.
const WEIGHTS: &[(&str, f64)] = &[
    ("contact", 30.0),
    ("document", 18.0),
    ("task", 15.0),
    ("comment", 12.0),
    ("account", 8.0),
    ("lead", 8.0),
    ("opportunitie", 7.0),
    ("invoice", 7.0),
    ("contract", 4.0),
    ("section", 3.0),
    ("user", 3.0),
    ("board", 1.0),
];

/// One collection to generate.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) model: &'static Model,
    pub(super) documents: u64,
    key: u64,
}

/// All collections of a registry with their sizes.
#[derive(Debug)]
pub(super) struct Shape {
    seed: u64,
    pub(super) collections: Vec<Collection>,
}

impl Shape {
    pub(super) fn new(registry: &RegistryFacts, seed: u64, scale: f64) -> Self {
        let models: Vec<&'static Model> = registry
            .iter()
            .map(|(model, _)| model)
            .filter(|model| model.kind == ModelKind::Collection)
            .collect();
        let shared = |model: &Model| {
            let same = models.iter().filter(|other| other.collection == model.collection);
            same.count() > 1
        };
        // Models of one collection must not make the same ids.
        let keys: Vec<u64> = models
            .iter()
            .map(|model| match shared(model) {
                true => name_key(&format!("{}.{}", model.collection, model.table)),
                false => name_key(model.collection),
            })
            .collect();
        let weights: Vec<f64> = models.iter().map(|model| weight(model)).collect();
        let total: f64 = weights.iter().sum();
        let collections = models
            .into_iter()
            .zip(weights)
            .zip(keys)
            .map(|((model, weight), key)| {
                let documents = if weight > 0.0 {
                    DOCUMENTS * scale * weight / total
                } else if model.columns.len() <= 5 {
                    CHOICES as f64
                } else {
                    ALONE as f64 * scale
                };
                Collection { model, documents: (documents.round() as u64).max(1), key }
            })
            .collect();
        Self { seed, collections }
    }

    /// The position of a model's collection.
    pub(super) fn position(&self, model: &Model) -> Option<usize> {
        self.collections.iter().position(|collection| collection.model.same(model))
    }

    /// The collection whose documents are people who sign in, if there is one.
    pub(super) fn people(&self) -> Option<usize> {
        self.collections
            .iter()
            .position(|collection| last_word(collection.model.collection) == "user")
    }

    /// The seconds at which a document was made.
    pub(super) fn seconds(&self, collection: usize, index: u64) -> u64 {
        let documents = self.collections[collection].documents;
        let offset = u128::from(index) * u128::from(SPAN_SECONDS) / u128::from(documents);
        FIRST_SECOND + self.collections[collection].key % 86_400 + offset as u64
    }

    /// The ObjectId of a document. Ids of a collection grow with the position.
    pub(super) fn object_id(&self, collection: usize, index: u64) -> ObjectId {
        let process = Random::new(&[self.seed, self.collections[collection].key]).next();
        id_of_parts(self.seconds(collection, index), process | 1, index)
    }

    /// An ObjectId of the same time that no document of any collection has.
    pub(super) fn nobody(&self, collection: usize, index: u64) -> ObjectId {
        let process = Random::new(&[self.seed, self.collections[collection].key]).next();
        id_of_parts(self.seconds(collection, index), process & !1, index)
    }

    /// A random stream for one purpose in one document.
    pub(super) fn random(&self, collection: usize, index: u64, purpose: u64) -> Random {
        Random::new(&[self.seed, self.collections[collection].key, index, purpose])
    }

    /// The positions in `other` that belong to `index` of `own` by the relation `junction`, of
    /// which `first` says whether `own` is the first side.
    ///
    /// Pairs are numbered; a number gives one position on each side by arithmetic that can be
    /// turned round, so both sides find their pairs without a list. Either side leaves some out.
    pub(super) fn partners(
        &self,
        junction: &str,
        first: bool,
        own: usize,
        index: u64,
        other: usize,
    ) -> Vec<u64> {
        let (left, right) = if first { (own, other) } else { (other, own) };
        let left = self.collections[left].documents;
        let right = self.collections[right].documents;
        let pairs = 2 * left.max(right);
        let key = name_key(junction);
        let factor = coprime(key, right);
        let step = if first { left } else { right };
        let start = if first { index } else { mul_mod(index, inverse(factor, right), right) };
        let mut partners = Vec::new();
        let mut pair = start;
        while pair < pairs && (pair - start) / step < MOST_ELEMENTS {
            let mut random = Random::new(&[self.seed, key, pair]);
            let (exists, on_left, on_right) =
                (random.chance(0.6), random.chance(0.85), random.chance(0.7));
            if exists && if first { on_left } else { on_right } {
                partners.push(if first {
                    mul_mod(pair % right, factor, right)
                } else {
                    pair % left
                });
            }
            pair += step;
        }
        partners
    }
}

fn id_of_parts(seconds: u64, process: u64, index: u64) -> ObjectId {
    let process = process.to_be_bytes();
    let counter = index.to_be_bytes();
    ObjectId::from_parts(
        seconds as u32,
        [process[3], process[4], process[5], process[6], process[7]],
        [counter[5], counter[6], counter[7]],
    )
}

/// The share of a collection: 0 for those that have no relations.
fn weight(model: &Model) -> f64 {
    let word = last_word(model.collection);
    let related = !model.junctions.is_empty()
        || model.columns.iter().any(|column| column.reference.is_some());
    match WEIGHTS.iter().find(|(name, _)| *name == word) {
        Some((_, weight)) if related => *weight,
        None if related && model.columns.len() > 6 => 4.0,
        None if related => 1.0,
        _ => 0.0,
    }
}

/// The last word of a name in lower case, without a plural s.
pub(super) fn last_word(name: &str) -> String {
    let end = name.trim_end_matches('_');
    let start = end
        .char_indices()
        .rev()
        .find(|(_, character)| *character == '_' || character.is_uppercase())
        .map_or(0, |(position, character)| if character == '_' { position + 1 } else { position });
    let word = end[start..].to_lowercase();
    word.strip_suffix('s').map(str::to_owned).unwrap_or(word)
}

/// Whether a missing value of the column is filled in, or NULL.
pub(super) fn is_optional(column: &Column) -> bool {
    column.nullable || column.default.is_some() || column.id_time
}

/// Whether the column holds an id of some other document.
pub(super) fn is_id(column: &Column) -> bool {
    !column.primary_key && column.ty.base == BaseType::Uuid && column.ty.dimensions == 0
}

fn mul_mod(a: u64, b: u64, modulus: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64
}

/// A factor near `key` that can be turned round modulo `modulus`.
fn coprime(key: u64, modulus: u64) -> u64 {
    let mut factor = key % modulus;
    while gcd(factor, modulus) != 1 {
        factor = (factor + 1) % modulus;
    }
    factor
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The inverse of `factor` modulo `modulus`, by the extended Euclidean algorithm.
fn inverse(factor: u64, modulus: u64) -> u64 {
    let (mut r, mut next_r) = (i128::from(modulus), i128::from(factor));
    let (mut t, mut next_t) = (0i128, 1i128);
    while next_r != 0 {
        let quotient = r / next_r;
        (t, next_t) = (next_t, t - quotient * next_t);
        (r, next_r) = (next_r, r - quotient * next_r);
    }
    t.rem_euclid(i128::from(modulus)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words() {
        for (name, word) in [
            ("crm_Accounts_Tasks", "task"),
            ("tasksComments", "comment"),
            ("Users", "user"),
            ("crm_campaigns", "campaign"),
            ("Tasks", "task"),
            ("people", "people"),
        ] {
            assert_eq!(last_word(name), word, "{name}");
        }
    }

    #[test]
    fn factors_can_be_turned_round() {
        for modulus in 1..200u64 {
            let factor = coprime(0x1234_5678_9abc, modulus);
            for value in 0..modulus {
                let there = mul_mod(value, factor, modulus);
                assert_eq!(mul_mod(there, inverse(factor, modulus), modulus), value, "{modulus}");
            }
        }
    }
}
