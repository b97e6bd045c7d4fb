//! A first look at a loaded database: queries that join tables over their foreign keys, made from
//! the models alone.

use std::collections::BTreeSet;

use migrate_core::schema::{
    BaseType, Column, Model, ModelKind, Orphan, RegistryFacts, quote_ident,
};

/// A query and the heads of its columns.
#[derive(Debug, PartialEq)]
pub(super) struct Look {
    /// What it shows, as in `Tasks with Users, Sections`.
    pub(super) title: String,
    /// One name per column.
    pub(super) head: Vec<String>,
    /// The statement.
    pub(super) sql: String,
}

/// Names of columns that tell a person which row it is, the best first.
const TELLING: [&str; 8] =
    ["name", "title", "document_name", "username", "email", "last_name", "subject", "description"];
/// Tables that one query joins beside its own.
const MOST_JOINS: usize = 2;

/// Queries over the tables with the most references, and over the junctions, in turn.
pub(super) fn looks(registry: &'static RegistryFacts, schema: &str) -> Vec<Look> {
    let mut models: Vec<&'static Model> = registry
        .iter()
        .map(|(model, _)| model)
        .filter(|model| model.kind == ModelKind::Collection && label(model).is_some())
        .collect();
    models.sort_by_key(|model| std::cmp::Reverse(references(model).len()));
    let junctions: Vec<&'static Model> = (registry.iter().map(|(model, _)| model))
        .filter(|model| model.kind == ModelKind::Junction)
        .collect();
    let most = models.len().max(junctions.len());
    (0..most)
        .flat_map(|at| [models.get(at), junctions.get(at)])
        .flatten()
        .filter_map(|model| look(model, schema))
        .collect()
}

fn look(model: &'static Model, schema: &str) -> Option<Look> {
    let references: Vec<_> = references(model).into_iter().take(MOST_JOINS).collect();
    if references.is_empty() || (model.kind == ModelKind::Junction && references.len() < 2) {
        return None;
    }
    let table = |model: &Model| {
        let schema = quote_ident(model.schema.unwrap_or(schema));
        format!("{schema}.{}", quote_ident(model.table))
    };
    let mut head = Vec::new();
    let mut cells = Vec::new();
    let mut from = format!("{} t", table(model));
    if let Some(own) = label(model) {
        head.push(format!("{}.{}", model.table, own.name));
        cells.push(format!("t.{}", quote_ident(own.name)));
    }
    for (at, (column, target, own)) in references.iter().enumerate() {
        let key = match column.reference.and_then(|reference| reference.key) {
            Some(key) => key,
            None => target.id()?.name,
        };
        from += &format!(
            " JOIN {} r{at} ON r{at}.{} = t.{}",
            table(target),
            quote_ident(key),
            quote_ident(column.name)
        );
        head.push(format!("{} -> {}.{}", column.name, target.table, own.name));
        cells.push(format!("r{at}.{}", quote_ident(own.name)));
    }
    let order: Vec<String> =
        model.primary_key().map(|column| format!("t.{}", quote_ident(column.name))).collect();
    let others: Vec<&str> = references.iter().map(|(_, target, _)| target.table).collect();
    let shown: Vec<String> = cells.iter().map(|cell| format!("left({cell}, 32)")).collect();
    let filled: Vec<String> = cells.iter().map(|cell| format!("{cell} IS NOT NULL")).collect();
    Some(Look {
        title: format!("{} with {}", model.table, others.join(" and ")),
        head,
        sql: format!(
            "SELECT {} FROM {from} WHERE {} ORDER BY {} LIMIT 4",
            shown.join(", "),
            filled.join(" AND "),
            order.join(", ")
        ),
    })
}

/// The references with a foreign key whose other side has a telling column, one for each model.
fn references(model: &'static Model) -> Vec<(&'static Column, &'static Model, &'static Column)> {
    let mut seen = BTreeSet::new();
    model
        .columns
        .iter()
        .filter_map(|column| {
            let reference = column.reference.filter(|to| to.orphan != Orphan::Keep)?;
            let target = reference.target.get();
            let label = label(target)?;
            // A junction of a table with itself has two references to it.
            (model.kind == ModelKind::Junction || seen.insert(target.name))
                .then_some((column, target, label))
        })
        .collect()
}

/// The column that tells a person which row it is.
fn label(model: &'static Model) -> Option<&'static Column> {
    let is_text = |column: &&Column| {
        column.ty.base == BaseType::Text
            && column.ty.dimensions == 0
            && !column.primary_key
            && column.pg_type.is_none()
    };
    let telling = TELLING.iter().find_map(|name| {
        model.columns.iter().filter(is_text).find(|column| column.name.eq_ignore_ascii_case(name))
    });
    telling.or_else(|| model.columns.iter().find(is_text))
}
