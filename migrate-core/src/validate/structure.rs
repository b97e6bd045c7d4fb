//! Types, nullability, defaults, enum labels, keys, indexes and foreign keys against the models.
//!
//! The models' own DDL is run into a schema of its own, in a transaction that is rolled back, and
//! the two catalogues are compared as PostgreSQL prints them. So no definition is understood here,
//! and none can be misunderstood.

use std::cmp::Reverse;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::{Report, needed_connection};
use crate::context::Context;
use crate::ddl::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{BaseType, Column, RegistryFacts, quote_ident, quote_literal};
use crate::sink::{Connection, sql_state, target_error};

/// One definition that is not as the models say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StructureDifference {
    /// What it belongs to: a table's or a type's name.
    pub object: String,
    /// The definition that the models ask for. What the target has beside what the models ask for
    /// is no difference.
    pub expected: Option<String>,
    /// The definition that the target has; `None` where it is missing.
    pub found: Option<String>,
}

/// What the catalogue says of a schema's tables and enums, one line a fact: owner, name and
/// definition. `$1` is the schema. Names of keys and indexes are left out: another name is no
/// difference.
const FACTS: &str = "
    SELECT c.relname::text AS object, 'column ' || a.attname AS name,
        format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
            || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS definition
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT t.typname::text, 'labels', string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
    FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
    WHERE t.typnamespace = $1::regnamespace GROUP BY 1
    UNION ALL
    SELECT c.relname::text,
        CASE WHEN x.indisprimary THEN 'primary key' WHEN x.indisunique THEN 'unique' ELSE 'index' END
            || substring(pg_get_indexdef(x.indexrelid) FROM ' USING .*'),
        CASE WHEN x.indisvalid AND x.indisready THEN 'valid' ELSE 'NOT VALID' END
    FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
    WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT c.relname::text, CASE k.contype WHEN 'f' THEN 'foreign key ' ELSE 'check ' END || regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
        CASE WHEN k.convalidated THEN 'valid' ELSE 'NOT VALID' END
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype IN ('c', 'f') AND c.relnamespace = $1::regnamespace";

/// Where the models' DDL is run for the comparison.
const SCHEMA: &str = "migrate_expected";

/// How many missing columns an error names.
const MOST_MISSING: usize = 10;

/// Compares the schema that the registry's DDL makes with the one in the target, as far as it
/// belongs to the models of those names. Must not be called in a transaction; leaves no trace.
pub(crate) async fn differences(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    compared: &HashSet<&'static str>,
    names: Names<'_>,
) -> Result<Vec<StructureDifference>> {
    const ACT: &str = "comparing the schema with the models";
    connection.execute("beginning a transaction", "BEGIN").await?;
    let result = async {
        let mut differences = Vec::new();
        let mut objects = HashSet::new();
        for (model, _) in registry.iter().filter(|(model, _)| compared.contains(model.name)) {
            objects.insert(model.table);
            objects.extend(model.columns.iter().filter_map(|column| match column.ty.base {
                BaseType::Enum(ty) => Some(ty.name),
                _ => None,
            }));
        }
        if registry.models.len() == compared.len() {
            objects.extend(registry.enums.iter().map(|ty| ty.name));
        }
        for schema in ddl::schemas(registry, names) {
            let found = facts(connection, schema, None).await?;
            connection.execute(ACT, "SAVEPOINT expected").await?;
            make_expected(connection, registry, names, schema).await?;
            let expected = facts(connection, SCHEMA, Some(schema)).await?;
            // To drop a foreign key would lock the table that it points to against readers, and that
            // may be one in another schema.
            connection.execute(ACT, "ROLLBACK TO SAVEPOINT expected").await?;
            for (object, name, definition) in &expected {
                if !objects.contains(object.as_str()) {
                    continue;
                }
                let there = found
                    .iter()
                    .find(|(its_object, its_name, _)| its_object == object && its_name == name);
                let found = match there {
                    Some((_, _, there)) if there == definition => continue,
                    Some((_, _, there)) => Some(format!("{name} {there}")),
                    None => None,
                };
                differences.push(StructureDifference {
                    object: object.clone(),
                    expected: Some(format!("{name} {definition}")),
                    found,
                });
            }
        }
        differences.sort();
        Ok(differences)
    }
    .await;
    connection.execute("ending a transaction", "ROLLBACK").await?;
    result
}

/// Says of columns with differing cells what in the definitions makes their cells differ, and puts
/// the worst first.
pub(super) fn explain(registry: &'static RegistryFacts, report: &mut Report) {
    for table in &mut report.tables {
        let model = registry.iter().map(|(model, _)| model).find(|model| model.name == table.model);
        for differing in &mut table.columns {
            let column = model.and_then(|model| Some(model.column(&differing.column)?.1));
            differing.cause =
                column.and_then(|column| cause(&table.table, column, &report.structure));
        }
        table.columns.sort_by_key(|column| Reverse(column.count));
    }
}

/// Why cells of a column cannot be as their documents say: its type is another, or its enum lacks
/// a label.
fn cause(table: &str, column: &Column, structure: &[StructureDifference]) -> Option<String> {
    if let BaseType::Enum(ty) = column.ty.base {
        let labels = structure.iter().find(|difference| {
            let expected = difference.expected.as_deref().unwrap_or_default();
            difference.object == ty.name && expected.starts_with("labels ")
        });
        if let Some(found) = labels.and_then(|difference| difference.found.as_deref()) {
            let missing: Vec<String> = ty
                .labels
                .iter()
                .map(|label| quote_literal(label))
                .filter(|label| !found.contains(label.as_str()))
                .collect();
            if !missing.is_empty() {
                return Some(format!("the target's enum {} lacks {}", ty.name, missing.join(", ")));
            }
        }
    }
    let start = format!("column {} ", column.name);
    let type_of = |definition: &Option<String>| {
        let ty = definition.as_deref()?.strip_prefix(&start)?;
        let ty = ty.split(" DEFAULT ").next()?.trim_end_matches(" NOT NULL");
        Some(ty.to_owned())
    };
    structure.iter().filter(|difference| difference.object == table).find_map(|difference| {
        let (expected, found) = (type_of(&difference.expected)?, type_of(&difference.found)?);
        (expected != found)
            .then(|| format!("the column is {found} in the target, and {expected} in the model"))
    })
}

/// Whether an act failed because the target lacks a table, a column or a type.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(sql_state(error), Some("42P01" | "42703" | "42704"))
}

/// Such an error with the tables and columns that the target lacks.
pub(super) async fn named(
    context: &Context,
    registry: &'static RegistryFacts,
    compared: &HashSet<&'static str>,
    error: Error,
) -> Error {
    let found = async {
        // The other connection may be in the middle of a transaction.
        let mut connection = needed_connection(context).await?;
        let found = differences(&mut connection, registry, compared, context.names()).await;
        connection.close().await;
        found
    }
    .await;
    let missing: Vec<String> = found
        .unwrap_or_default()
        .into_iter()
        .filter(|difference| difference.found.is_none())
        .filter_map(|difference| {
            let column = difference.expected?;
            column.starts_with("column ").then(|| format!("{}: {column}", difference.object))
        })
        .collect();
    if missing.is_empty() {
        return error;
    }
    let more = match missing.len().saturating_sub(MOST_MISSING) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let first = missing[..missing.len().min(MOST_MISSING)].join(", ");
    Error::new(
        ErrorKind::Target,
        format!("nothing is compared, because the target lacks columns: {first}{more}"),
    )
    .caused_by(error)
    .with_hint("`migrate schema diff` has a statement for each; add them, then compare again")
}

/// Runs the models' DDL of one schema into [`SCHEMA`]. References to models that live elsewhere are
/// made to their own tables; where such a table lacks the key, which is a difference of its own,
/// the reference is left out.
async fn make_expected(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
    schema: &str,
) -> Result<()> {
    const ACT: &str = "making the schema that the models ask for";
    let lives_here = |model_schema: Option<&str>| model_schema.unwrap_or(names.schema) == schema;
    // The statements name their schema in front, as the run's do, and are pointed to the copy.
    let from = format!("{}.", quote_ident(schema));
    let to = format!("{}.", quote_ident(SCHEMA));
    // What belongs together goes in one message: each of these statements takes hardly longer than one.
    let mut sql = vec![format!("CREATE SCHEMA {}", quote_ident(SCHEMA))];
    let types = ddl::enum_types(registry).into_iter().filter(|ty| lives_here(ty.schema));
    sql.extend(types.map(|ty| ddl::create_enum(names, ty).replace(&from, &to)));
    connection.execute(ACT, sql.join("; ")).await?;
    let here: Vec<_> =
        registry.iter().map(|(model, _)| model).filter(|model| lives_here(model.schema)).collect();
    for model in &here {
        let mut sql = vec![ddl::create_table(names, model)];
        for key in ddl::keys(model) {
            sql.push(key.create(names, model));
            sql.extend(key.attach(names, model));
        }
        connection.execute(ACT, sql.join("; ").replace(&from, &to)).await?;
    }
    for model in &here {
        let (own, elsewhere): (Vec<_>, Vec<_>) = ddl::foreign_keys(model)
            .into_iter()
            .partition(|foreign| here.iter().any(|other| other.same(foreign.target)));
        let add = |foreign: &ddl::Foreign| foreign.add(names, model, false).replace(&from, &to);
        let own: Vec<String> = own.iter().map(add).collect();
        if !own.is_empty() {
            connection.execute(ACT, own.join("; ")).await?;
        }
        for sql in elsewhere.iter().map(add) {
            connection.execute(ACT, "SAVEPOINT elsewhere").await?;
            if connection.execute(ACT, sql).await.is_err() {
                connection.execute(ACT, "ROLLBACK TO SAVEPOINT elsewhere").await?;
            }
        }
    }
    Ok(())
}

/// The facts of a schema, with its own name taken out of the definitions; of a copy with that of the
/// schema that it is a `copy_of` as well, which has the types that no model makes, as an extension's.
async fn facts(
    connection: &mut Connection,
    schema: &str,
    copy_of: Option<&str>,
) -> Result<Vec<(String, String, String)>> {
    const ACT: &str = "reading the catalogue";
    // What is in the search path is printed without its schema, which would differ between the
    // two.
    let path: Vec<String> =
        [Some(schema), copy_of].into_iter().flatten().map(quote_ident).collect();
    connection.execute(ACT, format!("SET LOCAL search_path = {}", path.join(", "))).await?;
    let quoted = quote_ident(schema);
    let rows = connection.query(ACT, FACTS, &[Some(&quoted)]).await?;
    let get = |error| target_error(ACT, error);
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get(0).map_err(get)?,
                row.try_get(1).map_err(get)?,
                row.try_get(2).map_err(get)?,
            ))
        })
        .collect()
}
