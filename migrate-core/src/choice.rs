//! Which documents of a collection are a model's: those that its `when` and its `filter` say.
//!
//! This is asked before a document is walked, of its bytes as they are, so that what is wrong with
//! a document is told by the one model that it belongs to. Bytes that break off before the key of
//! `when` have no such field.
//!
//! Several models may share one collection, when their conditions exclude each other. A document
//! that none of them takes is rejected by the first of them in the registry, by that one alone, so
//! that it is in the ledger once.

use std::borrow::Cow;

use bson::RawDocument;
use bson::spec::ElementType;

use crate::cell::{Mismatch, describe, whole_number};
use crate::feed;
use crate::reject::Reason;
use crate::schema::{Choice, Literal, Model, ModelKind, RegistryFacts, key_path};
use crate::value::Value;

/// Whether a document of the collection is the model's: its `when` holds, and so does its `filter`.
pub(crate) fn is_meant(model: &Model, document: &[u8]) -> bool {
    takes(model, document)
        && model.filter.is_none_or(|filter| {
            let own = shown_to_functions(model, document);
            // What is no BSON is told of.
            RawDocument::from_bytes(&own).map_or(true, filter)
        })
}

/// A document as the user's own functions see it: as it stands in its collection.
pub(crate) fn shown_to_functions<'a>(model: &Model, document: &'a [u8]) -> Cow<'a, [u8]> {
    match model.kind == ModelKind::Collection && model.has_locators() {
        true => Cow::Owned(feed::ungathered(document)),
        false => Cow::Borrowed(document),
    }
}

/// Whether the model's `when` holds; true for one without.
pub(crate) fn takes(model: &Model, document: &[u8]) -> bool {
    model.when.iter().all(|choice| holds(choice, document))
}

fn holds(choice: &Choice, document: &[u8]) -> bool {
    let found = feed::field(document, &[choice.key]).map(|(_, value)| value);
    choice.any_of.iter().any(|literal| is(found, literal))
}

fn is(found: Option<Value<'_>>, literal: &Literal) -> bool {
    let Some(value) = found else { return *literal == Literal::Null };
    match (literal, value.kind) {
        (Literal::Text(text), ElementType::String | ElementType::Symbol) => {
            value.str_bytes() == text.as_bytes()
        }
        (Literal::Bool(truth), ElementType::Boolean) => value.bytes == [u8::from(*truth)],
        (Literal::Null, ElementType::Null) => true,
        (Literal::Number(number), kind) if is_number(kind) => {
            whole_number(value, "int8").is_ok_and(|found| found == *number)
        }
        _ => false,
    }
}

fn is_number(kind: ElementType) -> bool {
    use ElementType::{Decimal128, Double, Int32, Int64};
    matches!(kind, Int32 | Int64 | Double | Decimal128)
}

/// The other models of the collection, when the model is the first of several in the registry; it
/// answers for documents that none of them takes.
pub(crate) fn siblings(
    registry: &'static RegistryFacts,
    model: &'static Model,
) -> Vec<&'static Model> {
    let shared: Vec<&'static Model> = sharing(registry, model).collect();
    match shared.split_first() {
        Some((first, others)) if first.same(model) => others.to_vec(),
        _ => Vec::new(),
    }
}

/// The models of a model's collection, itself among them, in the order of the registry.
pub(crate) fn sharing(
    registry: &'static RegistryFacts,
    model: &'static Model,
) -> impl Iterator<Item = &'static Model> {
    registry.iter().map(|(other, _)| other).filter(|other| {
        model.kind == ModelKind::Collection
            && other.kind == ModelKind::Collection
            && other.collections().any(|name| model.collections().any(|own| own == name))
    })
}

/// The field that a document would have to be one of the models' by, and what it holds.
pub(crate) fn mismatch(
    model: &'static Model,
    siblings: &[&'static Model],
    document: &[u8],
) -> (String, Mismatch) {
    let models = || std::iter::once(&model).chain(siblings);
    let names: Vec<&str> = models().map(|model| model.name).collect();
    let choice = model.when.iter().find(|choice| !holds(choice, document)).or(model.when.first());
    let Some(choice) = choice else {
        let expected = format!("a document of `{}`", names.join("`, `"));
        return (String::new(), Mismatch::new(Reason::NoModel, expected, "another one"));
    };
    let mut values: Vec<String> = Vec::new();
    for of_key in models().flat_map(|model| model.when).filter(|other| other.key == choice.key) {
        for literal in of_key.any_of.iter().map(shown) {
            if !values.contains(&literal) {
                values.push(literal);
            }
        }
    }
    let expected = values.join(" or ");
    let found = match feed::field(document, &[choice.key]) {
        Some((_, value)) => describe(value),
        None => "no such field".to_owned(),
    };
    (key_path(choice.key), Mismatch::new(Reason::NoModel, expected, found))
}

fn shown(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => format!("{text:?}"),
        Literal::Number(number) => number.to_string(),
        Literal::Bool(truth) => truth.to_string(),
        Literal::Null => "null".to_owned(),
    }
}
