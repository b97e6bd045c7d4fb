//! The target's schema as SQL: types and tables before the load, keys and indexes after it.
//!
//! Every statement is made from the facts alone, so that `schema print` shows exactly what a run
//! does. Names of keys and indexes are those that Prisma and PostgreSQL's own habits give:
//! `Users_pkey`, `Users_email_key`, `Tasks_priority_idx`, `Tasks_user_fkey`.

use std::collections::BTreeSet;

use crate::schema::{
    BaseType, Column, EnumType, Model, OnDelete, Orphan, RegistryFacts, quote_ident, quote_literal,
};

/// The part of the schema that a statement makes; a run makes the parts in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A schema that models name.
    Schema,
    /// An enum type.
    Type,
    /// A table with its columns and nothing else.
    Table,
    /// A primary key.
    PrimaryKey,
    /// A unique key.
    UniqueKey,
    /// Another index.
    Index,
    /// A foreign key.
    ForeignKey,
}

/// One statement of the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it makes.
    pub part: Part,
    /// The name of what it makes, unquoted.
    pub name: String,
    /// The SQL, without a semicolon.
    pub sql: String,
}

/// Where unqualified tables and types go.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The schema of models that name none.
    pub schema: &'a str,
}

impl<'a> Names<'a> {
    /// The schema of the table, unquoted.
    pub fn schema_of(&self, model: &Model) -> &'a str {
        model.schema.unwrap_or(self.schema)
    }

    /// The table's name in SQL, with its schema.
    pub fn table(&self, model: &Model) -> String {
        format!("{}.{}", quote_ident(self.schema_of(model)), quote_ident(model.table))
    }

    /// The condition on the ledger's tables that an entry is of the model's table.
    pub(crate) fn is_noted(&self, model: &Model) -> String {
        let (schema, table) = (quote_literal(self.schema_of(model)), quote_literal(model.table));
        format!("table_schema = {schema} AND table_name = {table}")
    }

    /// The enum's name in SQL, with its schema.
    pub fn enum_type(&self, ty: &EnumType) -> String {
        format!("{}.{}", quote_ident(ty.schema.unwrap_or(self.schema)), quote_ident(ty.name))
    }

    /// The column's type in SQL.
    pub fn column_type(&self, column: &Column) -> String {
        match (column.pg_type, column.ty.base) {
            (Some(written), _) => written.to_owned(),
            (None, BaseType::Enum(ty)) => {
                self.enum_type(ty) + &"[]".repeat(column.ty.dimensions.into())
            }
            (None, _) => column.ty.sql(),
        }
    }
}

/// A key or an index of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name, unquoted.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<&'static str>,
    /// What it is: primary key, unique key or index.
    pub part: Part,
}

impl Key {
    fn new(model: &Model, columns: Vec<&'static str>, part: Part) -> Self {
        let name = match part {
            Part::PrimaryKey => limited(model.table, &[], "pkey"),
            Part::UniqueKey => limited(model.table, &columns, "key"),
            _ => limited(model.table, &columns, "idx"),
        };
        Self { name, columns, part }
    }

    /// The statement that builds its index. A unique index is attached as a key afterwards with
    /// [`Key::attach`], because building it alone lets others read and build beside it.
    pub fn create(&self, names: Names<'_>, model: &Model) -> String {
        let unique = if self.part == Part::Index { "" } else { "UNIQUE " };
        format!(
            "CREATE {unique}INDEX {} ON {} ({})",
            quote_ident(&self.name),
            names.table(model),
            list(&self.columns)
        )
    }

    /// The statement that makes the unique index the table's primary key; `None` for others,
    /// which are complete as they are.
    pub fn attach(&self, names: Names<'_>, model: &Model) -> Option<String> {
        (self.part == Part::PrimaryKey).then(|| {
            let name = quote_ident(&self.name);
            format!(
                "ALTER TABLE {} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name}",
                names.table(model)
            )
        })
    }
}

/// A foreign key of a table.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its name, unquoted.
    pub name: String,
    /// The referring column.
    pub column: &'static Column,
    /// The model referred to.
    pub target: &'static Model,
    /// The column referred to.
    pub key: &'static Column,
    /// What happens when the row there is deleted.
    pub on_delete: OnDelete,
    /// What happens to a reference to nothing.
    pub orphan: Orphan,
}

impl Foreign {
    /// The statement that adds the key; `NOT VALID` leaves the rows that are there unchecked.
    pub fn add(&self, names: Names<'_>, model: &Model, not_valid: bool) -> String {
        let rule = match self.on_delete {
            OnDelete::NoAction => String::new(),
            rule => format!(" ON DELETE {}", rule.sql()),
        };
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){rule}{}",
            names.table(model),
            quote_ident(&self.name),
            quote_ident(self.column.name),
            names.table(self.target),
            quote_ident(self.key.name),
            if not_valid { " NOT VALID" } else { "" },
        )
    }
}

/// The primary key, the unique keys and the indexes of a model, in that order.
pub fn keys(model: &'static Model) -> Vec<Key> {
    let mut keys = Vec::new();
    let primary: Vec<_> = model.primary_key().map(|column| column.name).collect();
    if !primary.is_empty() {
        keys.push(Key::new(model, primary, Part::PrimaryKey));
    }
    if let (false, false, Some(id)) = (model.own_key.is_empty(), model.shares_key(), model.id()) {
        keys.push(Key::new(model, vec![id.name], Part::UniqueKey));
    }
    for unique in [true, false] {
        let part = if unique { Part::UniqueKey } else { Part::Index };
        for column in model.columns {
            if if unique { column.unique } else { column.index } {
                keys.push(Key::new(model, vec![column.name], part));
            }
        }
        for index in model.indexes.iter().filter(|index| index.unique == unique) {
            keys.push(Key::new(model, index.columns.to_vec(), part));
        }
    }
    // The same index may be asked for at the field and at the struct.
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert((key.part == Part::Index, key.columns.clone())));
    keys
}

/// The foreign keys of a model. A reference whose orphans are kept has none.
pub fn foreign_keys(model: &'static Model) -> Vec<Foreign> {
    model
        .columns
        .iter()
        .filter_map(|column| {
            let reference = column.reference?;
            let target = reference.target.get();
            let key = match reference.key {
                Some(name) => target.column(name)?.1,
                None => target.id()?,
            };
            (reference.orphan != Orphan::Keep).then(|| Foreign {
                name: limited(model.table, &[column.name], "fkey"),
                column,
                target,
                key,
                on_delete: reference.on_delete,
                orphan: reference.orphan,
            })
        })
        .collect()
}

/// The enum types that the registry's columns use, each once, in the order of their first use,
/// and then those that it declares beside.
pub fn enum_types(registry: &RegistryFacts) -> Vec<&'static EnumType> {
    let mut types: Vec<&'static EnumType> = Vec::new();
    for (model, _) in registry.iter() {
        for column in model.columns {
            if let BaseType::Enum(ty) = column.ty.base
                && !types.contains(&ty)
            {
                types.push(ty);
            }
        }
    }
    for ty in registry.enums {
        if !types.contains(ty) {
            types.push(ty);
        }
    }
    types
}

/// The conditions on each row, by the names of their constraints: those of `one_of` and those of
/// `check`.
pub fn checks(model: &Model) -> Vec<(String, String)> {
    let one_of = model.one_of.iter().map(|group| {
        let name = limited(model.table, group.columns, "check");
        (name, format!("num_nonnulls({}) = 1", list(group.columns)))
    });
    let mut unnamed = 0;
    let checks = model.checks.iter().map(|check| {
        let name = check.name.map(str::to_owned).unwrap_or_else(|| {
            unnamed += 1;
            // As PostgreSQL counts them.
            let number = if unnamed == 1 { String::new() } else { (unnamed - 1).to_string() };
            limited(model.table, &[], &format!("check{number}"))
        });
        (name, check.sql.to_owned())
    });
    one_of.chain(checks).collect()
}

/// `CREATE TABLE` with columns, nullability and default clauses, and of the constraints those that
/// are about one row, so that a row that breaks one is refused while its document is at hand.
pub fn create_table(names: Names<'_>, model: &Model) -> String {
    let columns: Vec<String> = model
        .columns
        .iter()
        .map(|column| {
            let mut sql = format!("    {} {}", quote_ident(column.name), names.column_type(column));
            if !column.nullable {
                sql.push_str(" NOT NULL");
            }
            if let Some(default) = column.db_default {
                sql.push_str(" DEFAULT ");
                sql.push_str(default);
            }
            sql
        })
        .chain(
            checks(model)
                .iter()
                .map(|(name, sql)| format!("    CONSTRAINT {} CHECK ({sql})", quote_ident(name))),
        )
        .collect();
    format!("CREATE TABLE {} (\n{}\n)", names.table(model), columns.join(",\n"))
}

/// `CREATE TYPE … AS ENUM`.
pub fn create_enum(names: Names<'_>, ty: &EnumType) -> String {
    let labels: Vec<String> =
        ty.labels.iter().map(|label| crate::schema::quote_literal(label)).collect();
    format!("CREATE TYPE {} AS ENUM ({})", names.enum_type(ty), labels.join(", "))
}

/// The whole schema in an order in which it can be run.
pub fn statements(registry: &RegistryFacts, names: Names<'_>) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut push = |part, name: &str, sql| {
        statements.push(Statement { part, name: name.to_owned(), sql });
    };
    for schema in schemas(registry, names) {
        push(Part::Schema, schema, format!("CREATE SCHEMA IF NOT EXISTS {}", quote_ident(schema)));
    }
    for ty in enum_types(registry) {
        push(Part::Type, ty.name, create_enum(names, ty));
    }
    for (model, _) in registry.iter() {
        push(Part::Table, model.table, create_table(names, model));
    }
    for (model, _) in registry.iter() {
        for key in keys(model) {
            push(key.part, &key.name, key.create(names, model));
            if let Some(attach) = key.attach(names, model) {
                push(key.part, &key.name, attach);
            }
        }
    }
    for (model, _) in registry.iter() {
        for foreign in foreign_keys(model) {
            push(Part::ForeignKey, &foreign.name, foreign.add(names, model, false));
        }
    }
    statements.sort_by_key(|statement| statement.part);
    statements
}

/// The schemas that tables and enum types live in, each once.
pub fn schemas<'a>(registry: &RegistryFacts, names: Names<'a>) -> Vec<&'a str> {
    let mut schemas: Vec<&'a str> = Vec::new();
    let all = registry
        .iter()
        .map(|(model, _)| model.schema)
        .chain(enum_types(registry).into_iter().map(|ty| ty.schema));
    for schema in all {
        let schema: &'a str = schema.unwrap_or(names.schema);
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    schemas
}

/// Quoted column names, separated by commas.
pub fn list(columns: &[&str]) -> String {
    columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ")
}

/// A name of at most 63 bytes (PostgreSQL cuts longer ones, and two cut names may meet): what is
/// too long loses its middle to a hash of the whole.
fn limited(table: &str, columns: &[&str], suffix: &str) -> String {
    const MOST_BYTES: usize = 63;
    let mut name = table.to_owned();
    for column in columns {
        name.push('_');
        name.push_str(column);
    }
    if name.len() + 1 + suffix.len() <= MOST_BYTES {
        return format!("{name}_{suffix}");
    }
    let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string();
    let mut end = MOST_BYTES - suffix.len() - 10;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{}_{suffix}", &name[..end], &hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_within_63_bytes_and_apart() {
        let table = "a_table_with_a_name_that_goes_on_and_on_and_on";
        let a = limited(table, &["and_a_column_that_does_so_as_well"], "idx");
        let b = limited(table, &["and_a_column_that_does_so_as_well_2"], "idx");
        assert!(a.len() <= 63 && b.len() <= 63, "{a} {b}");
        assert_ne!(a, b);
        assert_eq!(limited("Users", &["email"], "key"), "Users_email_key");
        let umlauts = limited(&"ä".repeat(40), &["ö"], "idx");
        assert!(umlauts.len() <= 63);
    }
}
