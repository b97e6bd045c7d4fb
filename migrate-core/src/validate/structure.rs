//! Types, nullability, defaults, enum labels, keys, indexes and foreign keys against the models.
//!
//! The models' own DDL is run into a schema of its own, in a transaction that is rolled back, and
//! the two catalogues are compared as PostgreSQL prints them. So no definition is understood here,
//! and none can be misunderstood.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::ddl::{self, Names};
use crate::error::Result;
use crate::schema::{BaseType, RegistryFacts, quote_ident};
use crate::sink::{Connection, target_error};

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

/// Compares the schema that the registry's DDL makes with the one in the target, as far as it
/// belongs to the models of those names. Must not be called in a transaction; leaves no trace.
pub(super) async fn differences(
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
            make_expected(connection, registry, names, schema).await?;
            let expected = facts(connection, SCHEMA, Some(schema)).await?;
            connection.execute(ACT, format!("DROP SCHEMA {} CASCADE", quote_ident(SCHEMA))).await?;
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
    connection.execute(ACT, format!("CREATE SCHEMA {}", quote_ident(SCHEMA))).await?;
    for ty in ddl::enum_types(registry) {
        if lives_here(ty.schema) {
            let sql = ddl::create_enum(names, ty).replace(&from, &to);
            connection.execute(ACT, sql).await?;
        }
    }
    let here: Vec<_> =
        registry.iter().map(|(model, _)| model).filter(|model| lives_here(model.schema)).collect();
    for model in &here {
        let sql = ddl::create_table(names, model).replace(&from, &to);
        connection.execute(ACT, sql).await?;
        for key in ddl::keys(model) {
            connection.execute(ACT, key.create(names, model).replace(&from, &to)).await?;
            if let Some(attach) = key.attach(names, model) {
                connection.execute(ACT, attach.replace(&from, &to)).await?;
            }
        }
    }
    for model in &here {
        for foreign in ddl::foreign_keys(model) {
            if here.iter().any(|other| other.same(foreign.target)) {
                let sql = foreign.add(names, model, false).replace(&from, &to);
                connection.execute(ACT, sql).await?;
            } else {
                let sql = foreign.add(names, model, false).replace(&from, &to);
                connection.execute(ACT, "SAVEPOINT elsewhere").await?;
                if connection.execute(ACT, sql).await.is_err() {
                    connection.execute(ACT, "ROLLBACK TO SAVEPOINT elsewhere").await?;
                }
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
