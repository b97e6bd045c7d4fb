//! Rules that need more than one attribute; one function per rule. What needs a type is not
//! known here and is checked in const evaluation (`migrate_core::plan::check`).

use std::collections::HashMap;

use proc_macro2::Span;
use syn::LitStr;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::ast::{Enum, Fate, Field, Model, RESERVED};
use crate::attr::{Step, Word};
use crate::ctxt::Ctxt;
use crate::symbol;

/// The longest name in PostgreSQL, in bytes. It cuts longer ones off without an error.
const MOST_NAME_BYTES: usize = 63;

/// The columns that every table of PostgreSQL has already.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Applies every rule to a model.
pub(crate) fn check(ctxt: &Ctxt, model: &Model) {
    if model.is_embedded() {
        check_embedded(ctxt, model);
    } else if model.is_junction() {
        check_junction_struct(ctxt, model);
    } else {
        check_one_id(ctxt, model);
    }
    if model.is_child() {
        check_child_struct(ctxt, model);
    } else {
        check_no_child(ctxt, model);
    }
    for field in &model.fields {
        match field.fate() {
            Fate::Skipped => check_skipped(ctxt, field),
            Fate::Junction => {
                check_junction_field(ctxt, model, field);
                check_path(ctxt, field);
            }
            Fate::Flattened => check_flattened(ctxt, field),
            Fate::Child => {
                check_child_field(ctxt, model, field);
                check_path(ctxt, field);
            }
            Fate::Column if model.is_junction() => check_foreign_key(ctxt, model, field),
            Fate::Column => {
                check_id(ctxt, model, field);
                check_placed(ctxt, field);
                check_origin(ctxt, model, field);
                check_computed(ctxt, field);
                check_path(ctxt, field);
                check_extra(ctxt, model, field);
                check_missing(ctxt, field);
                check_steps(ctxt, field);
                check_on_invalid(ctxt, field);
                check_foreign_key(ctxt, model, field);
            }
        }
    }
    check_names(ctxt, model);
    check_columns_differ(ctxt, model);
    check_keys_differ(ctxt, model);
    check_indexes(ctxt, model);
    check_indexes_differ(ctxt, model);
    check_one_of(ctxt, model);
    check_primary_key(ctxt, model);
    check_checks(ctxt, model);
}

/// Applies every rule to an enum.
pub(crate) fn check_enum(ctxt: &Ctxt, input: &Enum) {
    if input.variants.is_empty() {
        ctxt.error(
            input.ident.span(),
            "an enum without labels holds no value",
            "add a variant for each label",
        );
    }
    let name = input.attrs.name.as_ref().map_or(input.ident.span(), |word| word.value.span());
    check_length(ctxt, &input.type_name(), name, "name");
    if let Some(schema) = &input.attrs.schema {
        check_length(ctxt, &schema.value.value(), schema.value.span(), "name");
    }
    let mut others = input.variants.iter().filter(|variant| variant.attrs.other.is_some());
    if let Some(first) = others.next() {
        for variant in others {
            let span = variant.attrs.other.as_ref().map_or(variant.ident.span(), |word| word.span);
            ctxt.error(
                span,
                format!("`{}` and `{}` are both marked `other`", first.ident, variant.ident),
                "one label takes the unknown ones: remove `other` from one of them",
            );
        }
    }
    let mut labels: HashMap<String, String> = HashMap::new();
    for variant in &input.variants {
        let (label, span) = input.label(variant);
        check_length(ctxt, &label, span, "label");
        if let Some(first) = labels.get(&label) {
            ctxt.error(
                span,
                format!("`{first}` and `{}` have the same label `{label}`", variant.ident),
                "give one of them another `#[migrate(rename = \"..\")]`",
            );
        } else {
            labels.insert(label, variant.ident.to_string());
        }
    }
}

/// Two words that exclude each other; the error stands at the second.
fn conflict(ctxt: &Ctxt, first: &str, second: (&str, Option<Span>), help: &str) {
    if let (word, Some(span)) = second {
        ctxt.error(span, format!("`{first}` and `{word}` exclude each other"), help);
    }
}

/// Every attribute on a field by its word, except those that say what becomes of the field.
fn words(field: &Field) -> Vec<(&'static str, Option<Span>)> {
    let attrs = &field.attrs;
    let mut words = vec![
        ("id", attrs.id.as_ref().map(|word| word.span)),
        ("rename", attrs.rename.as_ref().map(|word| word.span)),
        ("column", attrs.column.as_ref().map(|word| word.span)),
        ("alias", attrs.aliases.first().map(|word| word.span)),
        ("path", attrs.path.as_ref().map(|word| word.span)),
        ("flatten", attrs.flatten.as_ref().map(|word| word.span)),
        ("extra", attrs.extra.as_ref().map(|word| word.span)),
        ("when", attrs.when.as_ref().map(|word| word.span)),
        ("default", attrs.default.as_ref().map(|word| word.span)),
        ("db_default", attrs.db_default.as_ref().map(|word| word.span)),
        ("index", attrs.index.as_ref().map(|word| word.span)),
        ("unique", attrs.unique.as_ref().map(|word| word.span)),
        ("pg_type", attrs.pg_type.as_ref().map(|word| word.span)),
        ("json", attrs.json.as_ref().map(|word| word.span)),
        ("with", attrs.with.as_ref().map(|word| word.span)),
        ("compute", attrs.compute.as_ref().map(|word| word.span)),
        ("empty_as_null", attrs.empty_as_null.as_ref().map(|word| word.span)),
        ("id_time", attrs.id_time.as_ref().map(|word| word.span)),
        ("#[fk]", attrs.fk.as_ref().map(|word| word.span)),
        ("#[junction]", attrs.junction.as_ref().map(|word| word.span)),
        ("#[child]", attrs.child.as_ref().map(|word| word.span)),
        ("origin", attrs.origin.as_ref().map(|word| word.span)),
        ("parent", attrs.parent.as_ref().map(|word| word.span)),
        ("position", attrs.position.as_ref().map(|word| word.span)),
        ("key", attrs.key.as_ref().map(|word| word.span)),
        ("value", attrs.value.as_ref().map(|word| word.span)),
        ("on_invalid", attrs.on_invalid.as_ref().map(|word| word.span)),
    ];
    words.extend(attrs.steps.iter().map(|step| (step.value.word(), Some(step.span))));
    words
}

/// The words on the field other than those allowed.
fn words_except<'a>(
    field: &'a Field,
    allowed: &'a [&str],
) -> impl Iterator<Item = (&'static str, Span)> + 'a {
    words(field)
        .into_iter()
        .filter(|(word, _)| !allowed.contains(word))
        .filter_map(|(word, span)| Some((word, span?)))
}

/// Without exactly one id a row cannot be found again from its document, nor be referred to.
fn check_one_id(ctxt: &Ctxt, model: &Model) {
    let mut ids = model.fields.iter().filter(|field| field.attrs.id.is_some());
    let Some(first) = ids.next() else {
        ctxt.error(
            model.ident.span(),
            format!("`{}` has no id", model.ident),
            "mark the field that `_id` becomes with `#[migrate(id)]`",
        );
        return;
    };
    for field in ids {
        let span = field.attrs.id.as_ref().map_or(field.ident.span(), |word| word.span);
        ctxt.error(
            span,
            format!("`{}` and `{}` are both marked as the id", first.ident, field.ident),
            "a document has one `_id`: remove `id` from one of them",
        );
    }
}

/// A junction's rows are pairs of references and come from no document, so nothing else can be
/// said about it.
fn check_junction_struct(ctxt: &Ctxt, model: &Model) {
    let attrs = &model.attrs;
    for (word, span) in [
        ("collection", attrs.collection.as_ref().map(|word| word.span)),
        ("when", attrs.when.as_ref().map(|word| word.span)),
        ("filter", attrs.filter.as_ref().map(|word| word.span)),
        ("rename_all", attrs.rename_all.as_ref().map(|word| word.span)),
        ("primary_key", attrs.primary_key.as_ref().map(|word| word.span)),
        ("check", attrs.checks.first().map(|word| word.span)),
    ] {
        let help = match word {
            "primary_key" => "a pair of references is the primary key of a junction: remove it",
            "check" => "a pair of references is all that a junction holds: remove it",
            _ => {
                "a junction is filled from `#[junction(..)]` fields of other models, not from documents: remove one of them"
            }
        };
        conflict(ctxt, "junction", (word, span), help);
    }
    let is_position = |field: &&Field| field.attrs.position.is_some();
    let sides = model.fields.iter().filter(|field| !is_position(field)).count();
    if sides != 2 {
        ctxt.error(
            model.ident.span(),
            format!("a junction has two fields, `{}` has {sides}", model.ident),
            "write one `#[fk(..)]` field for each of the two models that it joins",
        );
    }
    let mut positions = model.fields.iter().filter(is_position);
    if let Some(first) = positions.next() {
        let last = model.fields.last().is_some_and(|last| last.ident == first.ident);
        if let (false, Some(word)) = (last, &first.attrs.position) {
            ctxt.error(
                word.span,
                "the position stands behind the two references",
                format!("write `{}` as the last field", first.ident),
            );
        }
        for field in positions {
            let span = field.attrs.position.as_ref().map_or(field.ident.span(), |word| word.span);
            ctxt.error(
                span,
                format!("`{}` and `{}` are both marked as the position", first.ident, field.ident),
                "a pair has one position: remove one of them",
            );
        }
    }
    for field in &model.fields {
        let position = field.attrs.position.is_some();
        let allowed: &[&str] = match position {
            true => &["column", "db_default", "pg_type", "position"],
            false => &["column", "db_default", "index", "pg_type", "#[fk]"],
        };
        for (word, span) in words_except(field, allowed) {
            let help = match (position, word) {
                (true, "#[fk]") => {
                    "the position is a number: write it as a field of its own, beside the two references"
                }
                (true, _) => "the position comes from the arrays that fill the junction: remove it",
                _ => {
                    "both columns are the primary key, and come from `#[junction(..)]` fields of other models"
                }
            };
            ctxt.error(span, format!("`{word}` has no meaning in a junction"), help);
        }
        if let Some(skip) = &field.attrs.skip {
            ctxt.error(skip.span, "`skip` has no meaning in a junction", "remove the field");
        }
        if position {
            continue;
        }
        let Some(fk) = &field.attrs.fk else {
            ctxt.error(
                field.ident.span(),
                format!("`{}` refers to no model", field.ident),
                "write `#[fk(..)]` with the model above it",
            );
            continue;
        };
        if let Some(deferred) = &fk.value.deferred {
            ctxt.error(
                deferred.span,
                "`deferred` has no meaning in a junction",
                "junctions are loaded last: remove it",
            );
        }
        if let Some(orphan) = &fk.value.orphan {
            ctxt.error(
                orphan.span,
                "`orphan` has no meaning in a junction",
                "an id that points to nothing is counted and makes no row: remove it",
            );
        }
    }
}

/// A skipped field has no column, so nothing can be said about one.
fn check_skipped(ctxt: &Ctxt, field: &Field) {
    for (word, span) in words_except(field, &["rename", "alias"]) {
        conflict(
            ctxt,
            "skip",
            (word, Some(span)),
            "a skipped field has no column: remove one of them",
        );
    }
}

/// An array that fills a junction is rows of another table and no column of this one.
fn check_junction_field(ctxt: &Ctxt, model: &Model, field: &Field) {
    if model.is_junction() {
        return;
    }
    for (word, span) in words_except(field, &["rename", "alias", "path", "#[junction]"]) {
        let help = match word {
            "#[fk]" => "a single id is `#[fk(..)]`, an array of ids is `#[junction(..)]`",
            "default" => "a missing array makes no rows: remove `default`",
            _ => "this field fills another table and has no column: remove one of them",
        };
        conflict(ctxt, "#[junction]", (word, Some(span)), help);
    }
}

/// A child's rows come from its parent's documents, which it names once.
fn check_child_struct(ctxt: &Ctxt, model: &Model) {
    let attrs = &model.attrs;
    for (word, span) in [
        ("collection", attrs.collection.as_ref().map(|word| word.span)),
        ("when", attrs.when.as_ref().map(|word| word.span)),
        ("filter", attrs.filter.as_ref().map(|word| word.span)),
        ("junction", attrs.junction.as_ref().map(|word| word.span)),
    ] {
        conflict(
            ctxt,
            "child",
            (word, span),
            "a child is filled from a `#[child(..)]` field of its parent: remove one of them",
        );
    }
    let placed = |field: &Field| {
        let attrs = &field.attrs;
        [
            ("parent", attrs.parent.as_ref().map(|word| word.span)),
            ("position", attrs.position.as_ref().map(|word| word.span)),
            ("key", attrs.key.as_ref().map(|word| word.span)),
            ("value", attrs.value.as_ref().map(|word| word.span)),
        ]
    };
    let mut first: HashMap<&str, &Field> = HashMap::new();
    for field in &model.fields {
        for (word, span) in placed(field) {
            let Some(span) = span else { continue };
            match first.get(word) {
                Some(first) => ctxt.error(
                    span,
                    format!(
                        "`{}` and `{}` are both marked as the {word}",
                        first.ident, field.ident
                    ),
                    format!("an element has one {word}: remove `{word}` from one of them"),
                ),
                None => drop(first.insert(word, field)),
            }
        }
    }
    match first.get("parent") {
        None => ctxt.error(
            model.ident.span(),
            format!("the child `{}` has no parent", model.ident),
            "mark the field that the parent's id becomes with `#[migrate(parent)]` and `#[fk(..)]`",
        ),
        Some(field) if field.attrs.fk.is_none() => ctxt.error(
            field.ident.span(),
            format!("the parent `{}` refers to no model", field.ident),
            "write `#[fk(..)]` with the parent's model above it",
        ),
        Some(_) => {}
    }
    if let (Some(value), Some(other)) = (
        first.get("value"),
        model.fields.iter().find(|field| {
            !placed(field).iter().any(|(_, span)| span.is_some())
                && field.attrs.id.is_none()
                && field.attrs.compute.is_none()
        }),
    ) {
        ctxt.error(
            other.ident.span(),
            format!(
                "`{}` is read from the element, which `{}` takes as a whole",
                other.ident, value.ident
            ),
            "take `value` away to read the element's fields, or read this one with `compute = ..`",
        );
    }
}

/// Outside of a child there is no element whose place could tell anything.
fn check_no_child(ctxt: &Ctxt, model: &Model) {
    for field in &model.fields {
        for (word, span) in words(field) {
            if let ("parent" | "position" | "key" | "value", Some(span)) = (word, span) {
                if word == "position" && model.is_junction() {
                    continue;
                }
                let (where_, how) = match word {
                    "position" => (
                        "a child or a junction",
                        "mark the struct with `#[migrate(child)]`, or keep an array's order with `#[junction(Table, position)]`",
                    ),
                    _ => {
                        ("a child", "mark the struct with `#[migrate(child)]`, or remove the word")
                    }
                };
                ctxt.error(span, format!("`{word}` has a meaning in {where_} alone"), how);
            }
        }
    }
}

/// An array that fills a child is rows of another table and no column of this one.
fn check_child_field(ctxt: &Ctxt, model: &Model, field: &Field) {
    if model.is_junction() {
        return;
    }
    for (word, span) in words_except(field, &["rename", "alias", "path", "#[child]"]) {
        let help = match word {
            "#[fk]" => "the child's `parent` refers to this model: remove `#[fk]`",
            "default" => "a missing array makes no rows: remove `default`",
            _ => "this field fills another table and has no column: remove one of them",
        };
        conflict(ctxt, "#[child]", (word, Some(span)), help);
    }
}

/// Where a document comes from is always there, and worth a column where there are several places.
fn check_origin(ctxt: &Ctxt, model: &Model, field: &Field) {
    let Some(origin) = &field.attrs.origin else { return };
    if !model.is_gathered() {
        let help = match model.is_child() || model.is_embedded() {
            true => "write it in the model of the collections",
            false => "name them with `collection = [\"a\", \"b\"]`, or remove `origin`",
        };
        ctxt.error(origin.span, "`origin` needs a model with several collections", help);
    }
    for (other, span) in words(field) {
        let help = match other {
            "rename" | "alias" | "path" | "compute" | "extra" => {
                "it is the name of the collection and not read from the document: remove one of them"
            }
            "id" => "several documents come from one collection: remove one of them",
            "default" | "id_time" | "empty_as_null" => "it is always there: remove it",
            _ => continue,
        };
        conflict(ctxt, "origin", (other, span), help);
    }
    if let Some((first, last)) = model.fields.iter().find_map(|other| {
        let is_first = other.attrs.origin.is_some();
        (is_first && other.ident != field.ident).then_some((other, field))
    }) && model.fields.iter().position(|other| other.ident == first.ident)
        < model.fields.iter().position(|other| other.ident == last.ident)
    {
        ctxt.error(
            origin.span,
            format!("`{}` and `{}` are both marked as the origin", first.ident, last.ident),
            "a document has one origin: remove `origin` from one of them",
        );
    }
}

/// What an element's place tells is always there and always the same.
fn check_placed(ctxt: &Ctxt, field: &Field) {
    let attrs = &field.attrs;
    let placed = [
        ("parent", &attrs.parent),
        ("position", &attrs.position),
        ("key", &attrs.key),
        ("value", &attrs.value),
    ];
    let mut placed = placed.into_iter().filter(|(_, word)| word.is_some());
    let Some((word, _)) = placed.next() else { return };
    for (second, other) in placed {
        let span = other.as_ref().map(|word| word.span);
        conflict(ctxt, word, (second, span), "a field has one of them: remove the other");
    }
    for (other, span) in words(field) {
        let help = match other {
            "rename" | "alias" | "compute" => "it is read from the element's place: remove it",
            "default" | "id_time" | "empty_as_null" if word != "value" => {
                "it is always there: remove it"
            }
            "id" if word != "key" => "the id is read from the element: remove one of them",
            _ => continue,
        };
        conflict(ctxt, word, (other, span), help);
    }
    let Some(fk) = attrs.fk.as_ref().filter(|_| word == "parent") else { return };
    for (other, span) in [
        ("key", fk.value.key.as_ref().map(|word| word.span)),
        ("deferred", fk.value.deferred.as_ref().map(|word| word.span)),
    ] {
        conflict(
            ctxt,
            "parent",
            (other, span),
            "a child refers to its parent's id, and is loaded after it",
        );
    }
    if fk.value.model.is_ident("Self") {
        ctxt.error(
            fk.value.model.span(),
            "a child cannot be its own parent",
            "a list inside a list of the same kind is kept whole by `#[migrate(json)]`",
        );
    }
}

/// The id is read from `_id` and from nowhere else, or a resumed run would not find its document.
fn check_id(ctxt: &Ctxt, model: &Model, field: &Field) {
    if field.attrs.id.is_none() {
        return;
    }
    for (word, span) in words(field) {
        let help = match word {
            // An element's id is the key that the application has given it.
            "rename" | "alias" | "path" if model.is_child() => continue,
            "rename" | "alias" | "path" => "the id is always read from `_id`: remove it",
            "when" | "extra" => "every row has an id: remove it",
            "default" | "id_time" | "empty_as_null" => "every document has an `_id`: remove it",
            "compute" => "the id is read from `_id`; `with = ..` converts it",
            "index" | "unique" => "a primary key is unique and has an index: remove it",
            "json" => "jsonb is no id: remove one of them",
            "trim" | "split" | "map" | "lenient" | "truncate" | "nul" | "on_invalid" => {
                "a document is found again by its `_id`, which is taken exactly as it is: remove it"
            }
            _ => continue,
        };
        conflict(ctxt, "id", (word, span), help);
    }
}

/// A computed value looks at the document itself, so nothing else can be read for it.
fn check_computed(ctxt: &Ctxt, field: &Field) {
    if field.attrs.compute.is_none() {
        return;
    }
    for (word, span) in words(field) {
        let help = match word {
            "rename" | "alias" | "path" => "the function reads the document itself: remove it",
            "default" | "id_time" | "empty_as_null" => "let the function give that value",
            "with" => "one function makes the value: keep one of them",
            "json" => "the function makes the value: remove `json`",
            "trim" | "split" | "map" | "lenient" | "truncate" | "nul" => {
                "the function reads the document itself: let it do that"
            }
            _ => continue,
        };
        conflict(ctxt, "compute", (word, span), help);
    }
}

/// A path is a way to a value, and so is a key.
fn check_path(ctxt: &Ctxt, field: &Field) {
    if let (Some(_), Some(rename)) = (&field.attrs.path, &field.attrs.rename) {
        conflict(
            ctxt,
            "path",
            ("rename", Some(rename.span)),
            "both say where the value is: remove one of them",
        );
    }
}

/// What is left over is known when all else is read; there is one place for it, and no place when
/// it is refused.
fn check_extra(ctxt: &Ctxt, model: &Model, field: &Field) {
    let Some(extra) = &field.attrs.extra else { return };
    for (word, span) in words_except(
        field,
        &["extra", "json", "column", "pg_type", "db_default", "nul", "on_invalid"],
    ) {
        if word != "id" {
            conflict(
                ctxt,
                "extra",
                (word, Some(span)),
                "the column takes all fields that no other takes, as jsonb: remove one of them",
            );
        }
    }
    if model.attrs.deny_unknown_fields.is_some() {
        conflict(
            ctxt,
            "deny_unknown_fields",
            ("extra", Some(extra.span)),
            "a field that no other takes is either kept or refused: remove one of them",
        );
    }
    let first = model.fields.iter().find(|field| field.attrs.extra.is_some());
    if let Some(first) = first.filter(|first| first.ident != field.ident) {
        ctxt.error(
            extra.span,
            format!("`{}` and `{}` both take what is left over", first.ident, field.ident),
            "remove `extra` from one of them",
        );
    }
}

/// A flattened field is the columns of another struct and no column itself.
fn check_flattened(ctxt: &Ctxt, field: &Field) {
    for (word, span) in words_except(field, &["rename", "path", "flatten"]) {
        let help = match word {
            "json" => "jsonb keeps the document in one column: keep one of them",
            "alias" => "an embedded document is read from one key: remove `alias`",
            "column" => {
                "its columns have their own names; put something in front of them with `flatten(prefix = \"..\")`"
            }
            "default" => {
                "make the field's type an `Option`, and the columns are NULL without the document"
            }
            _ => "the field is the columns of another struct: write the word there",
        };
        conflict(ctxt, "flatten", (word, Some(span)), help);
    }
    check_path(ctxt, field);
    if let Some(flatten) = &field.attrs.flatten
        && let Some(present) = &flatten.value.present
    {
        check_length(ctxt, &present.value.value(), present.value.span(), "name");
    }
}

/// An embedded document is a part of a row: it has no table, and its columns are read out of it.
fn check_embedded(ctxt: &Ctxt, model: &Model) {
    let attrs = &model.attrs;
    for (word, span) in [
        ("collection", attrs.collection.as_ref().map(|word| word.span)),
        ("when", attrs.when.as_ref().map(|word| word.span)),
        ("filter", attrs.filter.as_ref().map(|word| word.span)),
        ("table", attrs.table.as_ref().map(|word| word.span)),
        ("schema", attrs.schema.as_ref().map(|word| word.span)),
        ("junction", attrs.junction.as_ref().map(|word| word.span)),
        ("deny_unknown_fields", attrs.deny_unknown_fields.as_ref().map(|word| word.span)),
        ("one_of", attrs.one_of.first().map(|word| word.span)),
        ("primary_key", attrs.primary_key.as_ref().map(|word| word.span)),
        ("check", attrs.checks.first().map(|word| word.span)),
    ] {
        conflict(
            ctxt,
            "embedded",
            (word, span),
            "its columns belong to the tables of the models that flatten it: write the word there",
        );
    }
    if model.columns().next().is_none()
        && !model.fields.iter().any(|field| field.fate() == Fate::Flattened)
    {
        ctxt.error(
            model.ident.span(),
            format!("`{}` has no columns", model.ident),
            "write a field for each value of the embedded document that is to be a column",
        );
    }
    for field in &model.fields {
        for (word, help) in [
            ("id", "a value of the document's `_id` is `path = \"_id.region\"` in the model"),
            ("compute", "write the computed column in the model that flattens it"),
            ("extra", "write it in the model that flattens it, or keep the document with `json`"),
            ("#[junction]", "write it in the model, with `path = \"..\"` to the array"),
        ] {
            for (_, span) in words(field).into_iter().filter(|(found, _)| *found == word) {
                conflict(ctxt, "embedded", (word, span), help);
            }
        }
        if let Some(fk) = &field.attrs.fk
            && fk.value.model.is_ident("Self")
        {
            ctxt.error(
                fk.value.model.span(),
                "`Self` is an embedded document, which has no rows to refer to",
                "write the model whose id it is",
            );
        }
    }
}

/// A group of one column or of the same column says nothing, and NULL for a reference to nothing
/// would leave no column set.
fn check_one_of(ctxt: &Ctxt, model: &Model) {
    for group in &model.attrs.one_of {
        if let [only] = group.value.as_slice() {
            ctxt.error(
                only.span(),
                "`one_of` needs two fields or more",
                "write it as `one_of(owner_user, owner_company)`",
            );
        }
        for (position, name) in group.value.iter().enumerate() {
            let text = name.unraw().to_string();
            let field = model.fields.iter().find(|field| field.name() == text);
            match field {
                Some(field) if field.fate() != Fate::Column => ctxt.error(
                    name.span(),
                    format!("`{text}` has no column"),
                    "`one_of` is about columns of this table",
                ),
                Some(field) => {
                    if let Some(fk) = &field.attrs.fk
                        && let Some(orphan) = &fk.value.orphan
                        && orphan.value.unraw() == "null"
                    {
                        ctxt.error(
                            orphan.span,
                            "`one_of` and `orphan = null` exclude each other",
                            "NULL for a reference to nothing would leave none of the group: write `orphan = reject`",
                        );
                    }
                }
                None => {
                    let names: Vec<String> = model.columns().map(Field::name).collect();
                    let help = match symbol::nearest(&text, names.iter().map(String::as_str)) {
                        Some(near) => format!("there is `{near}`"),
                        None => "write the names of the struct's fields".to_owned(),
                    };
                    ctxt.error(
                        name.span(),
                        format!("`{}` has no field `{text}`", model.ident),
                        help,
                    );
                }
            }
            if group.value[..position].iter().any(|earlier| earlier.unraw() == text) {
                ctxt.error(name.span(), format!("`{text}` is named twice"), "remove one of them");
            }
        }
    }
}

/// A primary key of the id alone is what every table has.
fn check_primary_key(ctxt: &Ctxt, model: &Model) {
    let Some(key) = &model.attrs.primary_key else { return };
    if let [only] = key.value.as_slice()
        && let Some(field) = model.fields.iter().find(|field| field.ident.unraw() == only.unraw())
        && field.attrs.id.is_some()
    {
        ctxt.error(
            key.span,
            "the id is the primary key where nothing is said of it",
            "remove `primary_key`",
        );
        return;
    }
    // Documents of two collections with one `_id` would both be rows, and no row be known by its id.
    let has_id = key.value.iter().any(|ident| {
        let is_it = |field: &&Field| field.ident.unraw() == ident.unraw();
        model.fields.iter().find(is_it).is_some_and(|field| field.attrs.id.is_some())
    });
    if has_id && model.is_gathered() {
        ctxt.error(
            key.span,
            "the id of several collections cannot share the primary key with other columns",
            "leave the id out of it: it has a unique key of its own then",
        );
    }
}

/// A constraint is known by its name, in rejects as well.
fn check_checks(ctxt: &Ctxt, model: &Model) {
    let mut names: Vec<String> = Vec::new();
    for check in &model.attrs.checks {
        let Some(name) = &check.value.name else { continue };
        let text = name.unraw().to_string();
        check_length(ctxt, &text, name.span(), "name");
        if names.contains(&text) {
            ctxt.error(
                name.span(),
                format!("there is a check `{text}` already"),
                "give one of them another name",
            );
        }
        names.push(text);
    }
}

/// Two values for the same missing field.
fn check_missing(ctxt: &Ctxt, field: &Field) {
    if field.attrs.id.is_some() || field.attrs.compute.is_some() {
        return;
    }
    if field.attrs.default.is_some() {
        let span = field.attrs.id_time.as_ref().map(|word| word.span);
        conflict(
            ctxt,
            "default",
            ("id_time", span),
            "both say what a missing value becomes: keep one of them",
        );
    }
    if field.attrs.with.is_some() {
        let span = field.attrs.json.as_ref().map(|word| word.span);
        conflict(
            ctxt,
            "with",
            ("json", span),
            "both say how the value is written: keep one of them",
        );
    }
}

/// Steps whose order makes no sense, or that another word leaves without a meaning.
fn check_steps(ctxt: &Ctxt, field: &Field) {
    let steps = &field.attrs.steps;
    if field.attrs.with.is_some() {
        for step in steps {
            let help = match step.value {
                Step::Lenient(_) => {
                    "the function is given the value as it is, and reads what it likes"
                }
                Step::Truncate => "the function makes the value: let it do that",
                _ => continue,
            };
            conflict(ctxt, "with", (step.value.word(), Some(step.span)), help);
        }
    }
    for (index, step) in steps.iter().enumerate() {
        let word = step.value.word();
        if let Some(twin) = steps[..index].iter().rposition(|other| other.value.word() == word) {
            // White space may be taken off a text, and again off each of its parts.
            let split = |other: &Word<Step>| matches!(other.value, Step::Split(_));
            if !matches!(step.value, Step::Trim) || !steps[twin..index].iter().any(split) {
                let help = match step.value {
                    Step::Map(_) => "put all labels into one `map(..)`",
                    Step::Lenient(_) => "put all formats into one `lenient(..)`",
                    _ => "remove one of them",
                };
                ctxt.error(step.span, format!("`{word}` is given twice"), help);
            }
        }
        for other in &steps[..index] {
            let first = other.value.word();
            let help = match (&other.value, &step.value) {
                (Step::Truncate, Step::Split(_) | Step::Map(_) | Step::Lenient(_)) => {
                    "what is cut off first is missing here: write `truncate` last"
                }
                (Step::Lenient(_), Step::Split(_)) => {
                    "the parts of a text are texts, and would have to be read still: write `split` first"
                }
                _ => continue,
            };
            ctxt.error(step.span, format!("`{word}` comes too late behind `{first}`"), help);
        }
    }
    for step in steps {
        match &step.value {
            Step::Map(labels) => check_labels_differ(ctxt, labels),
            Step::Lenient(formats) => formats.iter().for_each(|format| check_format(ctxt, format)),
            _ => {}
        }
    }
}

/// The same label twice: one of the two would never be found.
fn check_labels_differ(ctxt: &Ctxt, labels: &[(LitStr, Option<LitStr>)]) {
    for (index, (from, to)) in labels.iter().enumerate() {
        let text = from.value();
        if labels[..index].iter().any(|(earlier, _)| earlier.value() == text) {
            ctxt.error(
                from.span(),
                format!("`map` has the label `{text}` already"),
                "remove one of them",
            );
        }
        if to.as_ref().is_some_and(|to| to.value() == text) {
            ctxt.error(
                from.span(),
                format!("`map` makes the label `{text}` what it is"),
                "remove it: what is not in the list stays as it is",
            );
        }
    }
}

/// A format of chrono's language that chrono would not know, or that no date comes from.
fn check_format(ctxt: &Ctxt, format: &LitStr) {
    /// The letters, without those that stand for a name of a zone, which is read over.
    const LETTERS: &str = "YCyqmbBhdeaAwuUWGgVjDxFvHkIlPpMSfRTXrzs+ctn%";
    /// Those that say which day it is.
    const DAYS: &str = "YyGgDxFvcs+";
    let text = format.value();
    let mut names_day = false;
    let mut rest = text.as_str();
    while let Some(at) = rest.find('%') {
        let flags = |c: char| matches!(c, '-' | '_' | '.' | ':' | '#' | '0'..='9');
        let behind = rest[at + 1..].trim_start_matches(flags);
        let letter = behind.chars().next();
        match letter {
            Some(letter) if LETTERS.contains(letter) => {
                names_day |= DAYS.contains(letter);
                rest = &behind[letter.len_utf8()..];
            }
            _ => {
                let written: String =
                    rest[at..].chars().take(1 + rest[at + 1..].len() - behind.len()).collect();
                let letter = letter.map(String::from).unwrap_or_default();
                ctxt.error(
                    format.span(),
                    format!("formats of dates have no `{written}{letter}`"),
                    "the language is that of chrono, as in `%Y-%m-%d %H:%M:%S%.f` or `%d.%m.%Y`",
                );
                return;
            }
        }
    }
    if !names_day {
        ctxt.error(
            format.span(),
            format!("the format `{text}` says nothing of the year"),
            "a date needs a day, a month and a year, as in `%d.%m.%Y`",
        );
    }
}

/// A rule for invalid values that has nothing to give.
fn check_on_invalid(ctxt: &Ctxt, field: &Field) {
    let Some(rule) = &field.attrs.on_invalid else { return };
    if rule.value == "default" && field.attrs.default.is_none() && field.attrs.id.is_none() {
        let help = match field.attrs.id_time {
            Some(_) => "`id_time` fills what is missing: write `default = ..` in its place",
            None => "add `default = ..`",
        };
        ctxt.error(rule.value.span(), "`on_invalid = default` needs a default", help);
    }
}

/// Rules of a foreign key that contradict each other in the database.
fn check_foreign_key(ctxt: &Ctxt, model: &Model, field: &Field) {
    let Some(fk) = &field.attrs.fk else { return };
    let fk = &fk.value;
    if let (Some(orphan), Some(on_delete)) = (&fk.orphan, &fk.on_delete)
        && orphan.value.unraw() == "keep"
    {
        ctxt.error(
            on_delete.span,
            "`orphan = keep` and `on_delete` exclude each other",
            "with orphans kept there is no foreign key, and so no delete rule: remove one of them",
        );
    }
    if let Some(on_delete) = &fk.on_delete
        && on_delete.value.unraw() == "set_default"
        && field.attrs.db_default.is_none()
    {
        ctxt.error(
            on_delete.value.span(),
            "`on_delete = set_default` needs a default of the column",
            "add `#[migrate(db_default = \"..\")]`, or write `set_null`",
        );
    }
    let to_self = fk.model.is_ident("Self") || fk.model.is_ident(&model.ident);
    if let (true, false, Some(deferred)) = (to_self, model.is_junction(), &fk.deferred) {
        ctxt.error(
            deferred.span,
            "a reference of a model to itself is never part of the order",
            "remove `deferred`",
        );
    }
}

/// PostgreSQL cuts long names off, and has columns of its own.
fn check_names(ctxt: &Ctxt, model: &Model) {
    let table = model.attrs.table.as_ref().map_or(model.ident.span(), |word| word.value.span());
    check_length(ctxt, &model.table(), table, "name");
    if let Some(schema) = &model.attrs.schema {
        check_length(ctxt, &schema.value.value(), schema.value.span(), "name");
    }
    for field in model.columns() {
        let (column, span) = model.column(field);
        check_length(ctxt, &column, span, "name");
        if SYSTEM_COLUMNS.contains(&column.as_str()) {
            ctxt.error(
                span,
                format!("PostgreSQL has a column `{column}` in every table already"),
                "give it another name with `#[migrate(column = \"..\")]`",
            );
        }
    }
}

fn check_length(ctxt: &Ctxt, name: &str, span: Span, what: &str) {
    if name.len() > MOST_NAME_BYTES {
        ctxt.error(
            span,
            format!(
                "the {what} `{name}` has {} bytes, and PostgreSQL takes {MOST_NAME_BYTES}",
                name.len()
            ),
            format!("give it a shorter {what}"),
        );
    }
}

/// Two fields for one column would be a table that cannot be made.
fn check_columns_differ(ctxt: &Ctxt, model: &Model) {
    let mut columns: HashMap<String, &Field> = HashMap::new();
    for field in model.columns() {
        let (column, span) = model.column(field);
        if let Some(first) = columns.get(&column) {
            ctxt.error(
                span,
                format!("`{}` and `{}` are both the column `{column}`", first.ident, field.ident),
                "give one of them another `#[migrate(column = \"..\")]`",
            );
        } else {
            columns.insert(column, field);
        }
    }
}

/// A value has one place to go; whoever needs it twice says so with `compute`.
fn check_keys_differ(ctxt: &Ctxt, model: &Model) {
    let mut keys: HashMap<String, &Field> = HashMap::new();
    for field in &model.fields {
        for (key, span) in model.keys(field) {
            let shown = match key.strip_prefix(RESERVED) {
                Some("OWN_ID") => "_id",
                // Two that an element has once were told of as such.
                Some(_) => continue,
                None => &key.replace('\0', "."),
            };
            match keys.get(&key) {
                // Two ids have been reported as such.
                Some(first) if first.attrs.id.is_some() && field.attrs.id.is_some() => {}
                // One reads it in some documents, the other in others.
                Some(first) if first.attrs.when.is_some() && field.attrs.when.is_some() => {}
                Some(first) if first.ident == field.ident => ctxt.error(
                    span,
                    format!("`{}` is read from `{shown}` already", field.ident),
                    "remove one of them",
                ),
                Some(first) => ctxt.error(
                    span,
                    format!("`{}` and `{}` are both read from `{shown}`", first.ident, field.ident),
                    "to use a value twice, take the second from the document with `compute = ..`",
                ),
                None => {
                    keys.insert(key, field);
                }
            }
        }
    }
}

/// An index is over columns of this table, each once.
fn check_indexes(ctxt: &Ctxt, model: &Model) {
    let indexes = model.attrs.indexes.iter().map(|index| (&index.value.fields, "an index is over"));
    let key = model.attrs.primary_key.iter().map(|key| (&key.value, "the primary key is made of"));
    for (fields, what) in indexes.chain(key) {
        for (position, name) in fields.iter().enumerate() {
            let text = name.unraw().to_string();
            let field = model.fields.iter().find(|field| field.name() == text);
            match field.map(Field::fate) {
                Some(Fate::Column) => {}
                Some(_) => ctxt.error(
                    name.span(),
                    format!("`{text}` has no column"),
                    format!("{what} columns of this table"),
                ),
                None => {
                    let names: Vec<String> = model.columns().map(Field::name).collect();
                    let by_column = model.columns().find(|field| model.column(field).0 == text);
                    let help =
                        match (by_column, symbol::nearest(&text, names.iter().map(String::as_str)))
                        {
                            (Some(field), _) => {
                                format!("that is a column; write its field, `{}`", field.name())
                            }
                            (None, Some(near)) => format!("there is `{near}`"),
                            (None, None) => "write the names of the struct's fields".to_owned(),
                        };
                    ctxt.error(
                        name.span(),
                        format!("`{}` has no field `{text}`", model.ident),
                        help,
                    );
                }
            }
            if fields[..position].iter().any(|earlier| earlier.unraw() == text) {
                ctxt.error(name.span(), format!("`{text}` is named twice"), "remove one of them");
            }
        }
    }
}

/// The same index twice costs space and time at every write and is of no use. A unique key and an
/// index over the same columns are left alone: there are schemas that have both.
fn check_indexes_differ(ctxt: &Ctxt, model: &Model) {
    let mut seen: Vec<(bool, Vec<String>)> = Vec::new();
    for field in model.columns() {
        for (unique, word) in [(true, &field.attrs.unique), (false, &field.attrs.index)] {
            if word.is_some() {
                seen.push((unique, vec![field.name()]));
            }
        }
    }
    if let Some(key) = &model.attrs.primary_key {
        let fields = key.value.iter().map(|name| name.unraw().to_string()).collect();
        if seen.contains(&(true, fields)) {
            ctxt.error(
                key.value[0].span(),
                "the primary key is unique without another key",
                "remove `unique` from the field",
            );
        }
        seen.push((true, key.value.iter().map(|name| name.unraw().to_string()).collect()));
    }
    for index in &model.attrs.indexes {
        let fields = index.value.fields.iter().map(|name| name.unraw().to_string()).collect();
        let index_facts = (index.value.unique, fields);
        if seen.contains(&index_facts) {
            let (unique, fields) = &index_facts;
            let (what, word) =
                if *unique { ("a unique key", "unique") } else { ("an index", "index") };
            let fields = symbol::list(fields.iter().map(String::as_str));
            ctxt.error(
                index.span,
                format!("there is {what} over {fields} already"),
                format!("remove this `{word}`"),
            );
        }
        seen.push(index_facts);
    }
}
