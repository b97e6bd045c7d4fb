//! Tables that were there before the run: do they match the models, and what is in the way?
//!
//! PostgreSQL itself judges whether two types are one: the model's columns are made as a temporary
//! table, and its catalogue entries are compared with those of the table that is there.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::Row as _;

use crate::ddl::{self, Key, Names, Part, foreign_keys};
use crate::error::Result;
use crate::preflight::{self, Lookup};
use crate::schema::{Model, RegistryFacts, quote_ident, quote_literal};
use crate::sink::{self, Connection, target_error};

/// One way in which the target is not as the models say.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Whether a run can go on with it.
    pub harmless: bool,
    /// The table or type in SQL.
    pub object: String,
    /// The column, or empty.
    pub column: String,
    /// What differs.
    pub what: String,
    /// The statement that would mend it in the target, where there is one.
    pub mend: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        if !self.column.is_empty() {
            write!(f, ".{}", quote_ident(&self.column))?;
        }
        write!(f, ": {}", self.what)?;
        match &self.mend {
            Some(mend) => write!(f, " (`{mend};`)"),
            None => Ok(()),
        }
    }
}

/// The models whose tables are there, in the order of the registry.
///
/// # Errors
/// When the server does not answer.
pub async fn tables(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
) -> Result<Vec<&'static Model>> {
    let models: Vec<&'static Model> = registry.iter().map(|(model, _)| model).collect();
    let tables: Vec<String> = models.iter().map(|model| names.table(model)).collect();
    let found = preflight::oids(connection, Lookup::Table, &tables).await?;
    let there = models.into_iter().zip(found).filter(|(_, oid)| oid.is_some());
    Ok(there.map(|(model, _)| model).collect())
}

/// Waits until no other process makes types and tables, for the rest of the transaction.
pub(crate) async fn lock_schema(connection: &mut Connection) -> Result<()> {
    connection
        .execute(
            "waiting for another process that makes the schema",
            "SELECT pg_advisory_xact_lock(hashtextextended('migrate schema', 0))",
        )
        .await
        .map(drop)
}

/// Compares the tables and enum types that are there with the models. Tables that are not there
/// are no difference: a run makes them. Leaves no trace; must not be called in a transaction.
///
/// # Errors
/// When the server does not answer.
pub async fn compare(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
) -> Result<Vec<Difference>> {
    connection.execute("beginning a transaction", "BEGIN").await?;
    let result = async {
        lock_schema(connection).await?;
        let there = tables(connection, registry, names).await?;
        let mut differences = enums(connection, registry, names, !there.is_empty()).await?;
        // Without its enum types a table cannot be made for comparison.
        if differences.iter().all(|difference| difference.harmless) {
            for model in there {
                differences.extend(table(connection, names, model).await?);
            }
        }
        Ok(differences)
    }
    .await;
    connection.execute("ending a transaction", "ROLLBACK").await?;
    result
}

/// Compares the unique keys, the indexes and the foreign keys of the tables that are there with those
/// of the models. A run can go on with each difference: it takes these things off and builds the
/// models' own. Leaves no trace; must not be called in a transaction.
///
/// # Errors
/// When the server does not answer.
pub async fn compare_keys(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
) -> Result<Vec<Difference>> {
    connection.execute("beginning a transaction", "BEGIN").await?;
    let result = async {
        lock_schema(connection).await?;
        let mut differences = Vec::new();
        for model in tables(connection, registry, names).await? {
            indexes(connection, names, model, &mut differences).await?;
            references(connection, names, model, &mut differences).await?;
        }
        Ok(differences)
    }
    .await;
    connection.execute("ending a transaction", "ROLLBACK").await?;
    result
}

/// An index as the catalogue has it.
struct Index {
    name: String,
    /// The part of its definition behind the table's name, and whether it is unique.
    definition: (String, bool),
    columns: Vec<String>,
    is_valid: bool,
}

async fn table_indexes(connection: &mut Connection, act: &str, table: &str) -> Result<Vec<Index>> {
    let rows = connection
        .query(
            act,
            "SELECT format('%I.%I', n.nspname, c.relname),
                coalesce(substring(pg_get_indexdef(x.indexrelid) FROM ' (USING .*)'), ''),
                x.indisunique,
                ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(x.indkey::int2[])
                    WITH ORDINALITY AS k (number, place)
                    LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
                    WHERE k.place <= x.indnkeyatts ORDER BY k.place),
                x.indisvalid AND x.indisready
             FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE x.indrelid = $1::regclass ORDER BY c.relname",
            &[Some(table)],
        )
        .await?;
    let get = |error| target_error(act, error);
    rows.iter()
        .map(|row| {
            Ok(Index {
                name: row.try_get(0).map_err(get)?,
                definition: (row.try_get(1).map_err(get)?, row.try_get(2).map_err(get)?),
                columns: row.try_get(3).map_err(get)?,
                is_valid: row.try_get(4).map_err(get)?,
            })
        })
        .collect()
}

/// Compares unique keys and indexes. Those of the model are made on a table like the one that is
/// there, and PostgreSQL prints both.
async fn indexes(
    connection: &mut Connection,
    names: Names<'_>,
    model: &'static Model,
    differences: &mut Vec<Difference>,
) -> Result<()> {
    const COPY: &str = "pg_temp.migrate_indexes";
    let table = names.table(model);
    let act = format!("comparing the indexes of {table}");
    let there = table_indexes(connection, &act, &table).await?;
    let columns = attributes(connection, &table).await?;
    make_like(connection, &act, COPY, &table).await?;
    // Primary keys, and that of the id beside another one, are looked at with the columns.
    let own_id = |key: &Key| {
        !model.own_key.is_empty() && model.id().is_some_and(|id| key.columns == [id.name])
    };
    let wanted = ddl::keys(model);
    let wanted = wanted.iter().filter(|key| key.part != Part::PrimaryKey && !own_id(key));
    for key in wanted.filter(|key| key.columns.iter().all(|name| columns.contains_key(*name))) {
        let is_unique = key.part == Part::UniqueKey;
        let (word, unique) = if is_unique { ("unique key", "UNIQUE ") } else { ("index", "") };
        let list = ddl::list(&key.columns);
        let mut differ = |what: String, mend: Option<String>| {
            let column = key.columns.first().filter(|_| key.columns.len() == 1);
            let column = column.map_or_else(String::new, |column| (*column).to_owned());
            differences.push(Difference {
                harmless: true,
                object: table.clone(),
                column,
                what,
                mend,
            });
        };
        connection.execute(&act, "SAVEPOINT made").await?;
        let made = connection
            .execute(&act, format!("CREATE {unique}INDEX migrate_made ON {COPY} ({list})"))
            .await;
        if let Err(error) = made {
            let reason = sink::database_error(&error).map(|error| error.message().to_owned());
            let Some(reason) = reason else { return Err(error) };
            connection.execute(&act, "ROLLBACK TO SAVEPOINT made").await?;
            differ(format!("the {word} ({list}) cannot be made here: {reason}"), None);
            continue;
        }
        let made = table_indexes(connection, &act, COPY).await?;
        connection.execute(&act, "ROLLBACK TO SAVEPOINT made").await?;
        let Some(made) = made.first() else { continue };
        let mut same = there.iter().filter(|index| index.definition == made.definition);
        if let Some(index) = same.clone().find(|index| index.is_valid).or_else(|| same.next()) {
            if !index.is_valid {
                differ(
                    format!("the {word} {} ({list}) is not valid", index.name),
                    Some(format!("REINDEX INDEX {}", index.name)),
                );
            }
            continue;
        }
        let other = match there.iter().find(|index| index.columns == key.columns) {
            Some(index) => {
                let unique = if index.definition.1 { "unique" } else { "not unique" };
                format!("; {} is another ({unique}, {})", index.name, index.definition.0)
            }
            None => String::new(),
        };
        differ(format!("the {word} ({list}) is missing{other}"), Some(key.create(names, model)));
    }
    Ok(())
}

/// Compares the foreign keys that the model asks for.
async fn references(
    connection: &mut Connection,
    names: Names<'_>,
    model: &'static Model,
    differences: &mut Vec<Difference>,
) -> Result<()> {
    let table = names.table(model);
    let act = format!("comparing the foreign keys of {table}");
    let get = |error| target_error(&act, error);
    let columns = attributes(connection, &table).await?;
    for foreign in foreign_keys(model) {
        let column = foreign.column.name;
        if !columns.contains_key(column) {
            continue;
        }
        let rows = connection
            .query(
                &act,
                "SELECT k.conname::text, pg_get_constraintdef(k.oid), k.convalidated,
                    k.confrelid = to_regclass($3) AND k.confdeltype::text = $5
                        AND ARRAY(SELECT a.attname::text FROM pg_attribute a
                            WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey))
                        = ARRAY[$4::text]
                 FROM pg_constraint k
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
                 WHERE k.contype = 'f' AND k.conrelid = $1::regclass AND a.attname = $2
                    AND cardinality(k.conkey) = 1 ORDER BY 4 DESC, 3 DESC, 1",
                &[
                    Some(&table),
                    Some(column),
                    Some(&names.table(foreign.target)),
                    Some(foreign.key.name),
                    Some(foreign.on_delete.catalogue()),
                ],
            )
            .await?;
        let add = foreign.add(names, model, false);
        let drop =
            |name: &str| format!("ALTER TABLE {table} DROP CONSTRAINT {}", quote_ident(name));
        let (what, mend) = match rows.first() {
            None => (
                format!(
                    "the foreign key to {} ({}) is missing",
                    names.table(foreign.target),
                    quote_ident(foreign.key.name)
                ),
                add,
            ),
            Some(row) => {
                let name: String = row.try_get(0).map_err(get)?;
                let definition: String = row.try_get(1).map_err(get)?;
                let is_valid: bool = row.try_get(2).map_err(get)?;
                let is_same: Option<bool> = row.try_get(3).map_err(get)?;
                match (is_same.unwrap_or_default(), is_valid) {
                    (true, true) => continue,
                    (true, false) => (
                        format!("the foreign key {name} is not valid"),
                        format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", quote_ident(&name)),
                    ),
                    (false, _) => {
                        let wanted = add.split_once(" FOREIGN KEY").map_or("", |(_, rest)| rest);
                        (
                            format!(
                                "the foreign key {name} is {definition}, the model's is FOREIGN KEY{wanted}"
                            ),
                            format!("{}; {add}", drop(&name)),
                        )
                    }
                }
            }
        };
        let (object, column) = (table.clone(), column.to_owned());
        differences.push(Difference { harmless: true, object, column, what, mend: Some(mend) });
    }
    Ok(())
}

/// Compares the enum types that are there; with `make` makes those that are not, for the comparison
/// of tables (the transaction is rolled back).
async fn enums(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
    make: bool,
) -> Result<Vec<Difference>> {
    const ACT: &str = "comparing the enum types";
    let mut differences = Vec::new();
    if make {
        for schema in ddl::schemas(registry, names) {
            // `IF NOT EXISTS` asks for the right to make one even where it is there.
            if !preflight::schema_exists(connection, schema).await? {
                connection.execute(ACT, format!("CREATE SCHEMA {}", quote_ident(schema))).await?;
            }
        }
    }
    let types = ddl::enum_types(registry);
    let type_names: Vec<String> = types.iter().map(|ty| names.enum_type(ty)).collect();
    let found = preflight::oids(connection, Lookup::Type, &type_names).await?;
    for ((ty, name), oid) in types.into_iter().zip(type_names).zip(found) {
        if oid.is_none() {
            if make {
                connection.execute(ACT, ddl::create_enum(names, ty)).await?;
            }
            continue;
        }
        let rows = connection
            .query(
                ACT,
                "SELECT enumlabel::text FROM pg_enum
                 WHERE enumtypid = to_regtype($1) ORDER BY enumsortorder",
                &[Some(&name)],
            )
            .await?;
        let mut labels: Vec<String> = Vec::with_capacity(rows.len());
        for row in &rows {
            labels.push(row.try_get(0).map_err(|error| target_error(ACT, error))?);
        }
        if labels.is_empty() {
            differences.push(Difference {
                harmless: false,
                object: name,
                column: String::new(),
                what: "there is a type of this name, but it is no enum".to_owned(),
                mend: None,
            });
            continue;
        }
        for label in ty.labels.iter().filter(|label| !labels.iter().any(|there| there == *label)) {
            differences.push(Difference {
                harmless: false,
                object: name.clone(),
                column: String::new(),
                what: format!("the label {label:?} is missing"),
                mend: Some(format!("ALTER TYPE {name} ADD VALUE {}", quote_literal(label))),
            });
        }
        for label in labels.iter().filter(|label| !ty.labels.contains(&label.as_str())) {
            differences.push(Difference {
                harmless: true,
                object: name.clone(),
                column: String::new(),
                what: format!("the label {label:?} is not the model's"),
                mend: None,
            });
        }
    }
    Ok(differences)
}

/// A column as the catalogue has it.
struct Attribute {
    type_name: String,
    type_oid: i64,
    type_mod: i64,
    not_null: bool,
    has_default: bool,
    generated: bool,
}

async fn attributes(
    connection: &mut Connection,
    table: &str,
) -> Result<BTreeMap<String, Attribute>> {
    const ACT: &str = "comparing the columns";
    let rows = connection
        .query(
            ACT,
            "SELECT attname::text, format_type(atttypid, atttypmod), atttypid::bigint,
                atttypmod::bigint, attnotnull, atthasdef OR attidentity <> '',
                attgenerated <> '' OR attidentity = 'a'
             FROM pg_attribute
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
            &[Some(table)],
        )
        .await?;
    let get = |error| target_error(ACT, error);
    let mut attributes = BTreeMap::new();
    for row in &rows {
        attributes.insert(
            row.try_get(0).map_err(get)?,
            Attribute {
                type_name: row.try_get(1).map_err(get)?,
                type_oid: row.try_get(2).map_err(get)?,
                type_mod: row.try_get(3).map_err(get)?,
                not_null: row.try_get(4).map_err(get)?,
                has_default: row.try_get(5).map_err(get)?,
                generated: row.try_get(6).map_err(get)?,
            },
        );
    }
    Ok(attributes)
}

/// Whether values of the model's type can be sent for a column of the other and arrive unchanged,
/// or be refused: the types are one, and the column's modifier does not round.
fn fits(model: &Attribute, there: &Attribute) -> bool {
    // text and varchar have one binary form. A varchar cuts spaces at the end that are too many,
    // so it must not be shorter than the model says.
    const TEXT: i64 = 25;
    const VARCHAR: i64 = 1043;
    let texts = [TEXT, VARCHAR];
    if texts.contains(&model.type_oid) && texts.contains(&there.type_oid) {
        return there.type_mod == -1 || there.type_mod == model.type_mod;
    }
    model.type_oid == there.type_oid && (there.type_mod == -1 || model.type_mod == there.type_mod)
}

async fn table(
    connection: &mut Connection,
    names: Names<'_>,
    model: &'static Model,
) -> Result<Vec<Difference>> {
    const EXPECTED: &str = "pg_temp.migrate_expected";
    let table = names.table(model);
    let act = format!("comparing {table}");
    let columns: Vec<String> = model
        .columns
        .iter()
        .map(|column| format!("{} {}", quote_ident(column.name), names.column_type(column)))
        .collect();
    connection
        .execute(
            &act,
            format!(
                "DROP TABLE IF EXISTS {EXPECTED};
                 CREATE TEMPORARY TABLE migrate_expected ({}) ON COMMIT DROP",
                columns.join(", ")
            ),
        )
        .await?;
    let expected = attributes(connection, EXPECTED).await?;
    let there = attributes(connection, &table).await?;
    let mut differences = Vec::new();
    let mut differ = |harmless, column: &str, what: String, mend: Option<String>| {
        differences.push(Difference {
            harmless,
            object: table.clone(),
            column: column.to_owned(),
            what,
            mend,
        });
    };
    for column in model.columns {
        let Some(wanted) = expected.get(column.name) else { continue };
        let name = quote_ident(column.name);
        let Some(found) = there.get(column.name) else {
            let not_null = if column.nullable { "" } else { " NOT NULL" };
            differ(
                false,
                column.name,
                format!("the column is missing; the model has {}", wanted.type_name),
                Some(format!(
                    "ALTER TABLE {table} ADD COLUMN {name} {}{not_null}",
                    names.column_type(column)
                )),
            );
            continue;
        };
        if found.generated {
            differ(
                false,
                column.name,
                "the column is generated by the database and takes no values".to_owned(),
                None,
            );
        }
        if !fits(wanted, found) {
            differ(
                false,
                column.name,
                format!("the column is {}, the model's is {}", found.type_name, wanted.type_name),
                Some(format!(
                    "ALTER TABLE {table} ALTER COLUMN {name} TYPE {}",
                    names.column_type(column)
                )),
            );
        }
        if column.nullable && found.not_null {
            differ(
                false,
                column.name,
                "the column is NOT NULL, the model's field is an `Option`".to_owned(),
                Some(format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL")),
            );
        } else if !column.nullable && !found.not_null {
            differ(
                true,
                column.name,
                "the column takes NULL, the model's field is never NULL".to_owned(),
                Some(format!("ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL")),
            );
        }
    }
    for (name, found) in &there {
        if model.column(name).is_some() {
            continue;
        }
        let quoted = quote_ident(name);
        if found.not_null && !found.has_default {
            differ(
                false,
                name,
                "the column is NOT NULL without a default, and the model has no field for it"
                    .to_owned(),
                Some(format!("ALTER TABLE {table} ALTER COLUMN {quoted} DROP NOT NULL")),
            );
        } else {
            differ(true, name, "the model has no field for this column".to_owned(), None);
        }
    }
    let primary = connection
        .count(
            &act,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conrelid = $1::regclass
                AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text)
                    FROM pg_attribute a WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey))
                    = ARRAY(SELECT k FROM unnest(string_to_array($2, E'\n')) AS k ORDER BY k)",
            &[
                Some(&table),
                Some(&model.primary_key().map(|key| key.name).collect::<Vec<_>>().join("\n")),
            ],
        )
        .await?;
    if primary == 0 {
        let columns: Vec<&str> = model.primary_key().map(|key| key.name).collect();
        differ(
            false,
            "",
            format!("the primary key ({}) is missing", ddl::list(&columns)),
            Some(format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", ddl::list(&columns))),
        );
    }
    if let (false, false, Some(id)) = (model.own_key.is_empty(), model.shares_key(), model.id())
        && !has_unique(connection, &table, id.name).await?
    {
        let column = quote_ident(id.name);
        differ(
            false,
            id.name,
            "the column has no unique key, and is the id of the model's rows".to_owned(),
            Some(format!("ALTER TABLE {table} ADD UNIQUE ({column})")),
        );
    }
    // A foreign key that the model does not know would break at the end, when nobody has settled
    // its orphans.
    let rows = connection
        .query(
            &act,
            "SELECT conname::text, pg_get_constraintdef(oid),
                ARRAY(SELECT a.attname::text FROM pg_attribute a
                    WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey))
             FROM pg_constraint WHERE contype = 'f' AND conrelid = $1::regclass ORDER BY 1",
            &[Some(&table)],
        )
        .await?;
    let known = foreign_keys(model);
    for row in &rows {
        let get = |error| target_error(&act, error);
        let name: String = row.try_get(0).map_err(get)?;
        let definition: String = row.try_get(1).map_err(get)?;
        let columns: Vec<String> = row.try_get(2).map_err(get)?;
        let is_known =
            known.iter().any(|foreign| columns.len() == 1 && columns[0] == foreign.column.name);
        if !is_known {
            differ(
                false,
                columns.first().map_or("", String::as_str),
                format!(
                    "the table has the foreign key {name} ({definition}), the model has no `#[fk(..)]` for it"
                ),
                Some(format!("ALTER TABLE {table} DROP CONSTRAINT {}", quote_ident(&name))),
            );
        }
    }
    checks(connection, names, model, &mut differences).await?;
    Ok(differences)
}

/// Whether a column alone has a unique key or a unique index without a condition.
async fn has_unique(connection: &mut Connection, table: &str, column: &str) -> Result<bool> {
    let found = connection
        .count(
            "comparing the keys",
            "SELECT count(*) FROM pg_index x
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
             WHERE x.indrelid = $1::regclass AND x.indisunique AND x.indisvalid
                AND x.indpred IS NULL AND x.indnkeyatts = 1 AND a.attname = $2",
            &[Some(table), Some(column)],
        )
        .await?;
    Ok(found > 0)
}

/// Makes a temporary table, for the rest of the transaction, with the columns of another.
async fn make_like(connection: &mut Connection, act: &str, copy: &str, table: &str) -> Result<()> {
    let sql = format!(
        "DROP TABLE IF EXISTS {copy}; CREATE TEMPORARY TABLE {copy} (LIKE {table}) ON COMMIT DROP"
    );
    connection.execute(act, sql).await.map(drop)
}

/// Compares the conditions on each row. Those of the model are made on a table like the one that
/// is there, and PostgreSQL prints both.
async fn checks(
    connection: &mut Connection,
    names: Names<'_>,
    model: &'static Model,
    differences: &mut Vec<Difference>,
) -> Result<()> {
    const COPY: &str = "pg_temp.migrate_checks";
    let table = names.table(model);
    let act = format!("comparing the checks of {table}");
    let there = check_definitions(connection, &act, &table).await?;
    let wanted = ddl::checks(model);
    let mut known = Vec::new();
    make_like(connection, &act, COPY, &table).await?;
    for (index, (name, sql)) in wanted.iter().enumerate() {
        let quoted = quote_ident(name);
        let mut differ = |harmless, what: String, mend: Option<String>| {
            let (object, column) = (table.clone(), String::new());
            differences.push(Difference { harmless, object, column, what, mend });
        };
        connection.execute(&act, "SAVEPOINT made").await?;
        let made = connection
            .execute(&act, format!("ALTER TABLE {COPY} ADD CONSTRAINT {quoted} CHECK ({sql})"))
            .await;
        if let Err(error) = made {
            let reason = sink::database_error(&error).map(|error| error.message().to_owned());
            let Some(reason) = reason else { return Err(error) };
            connection.execute(&act, "ROLLBACK TO SAVEPOINT made").await?;
            differ(false, format!("the check `{sql}` cannot be made here: {reason}"), None);
            continue;
        }
        let definitions = check_definitions(connection, &act, COPY).await?;
        let made = definitions.into_iter().find(|(known, _)| known == name);
        let Some((_, definition)) = made else { continue };
        if there.iter().all(|(_, there)| *there != definition) {
            // The transformer looks after the groups itself.
            let harmless = index < model.one_of.len();
            differ(
                harmless,
                format!("the check {definition} is missing"),
                Some(format!("ALTER TABLE {table} ADD CONSTRAINT {quoted} CHECK ({sql})")),
            );
        }
        known.push(definition);
    }
    for (name, definition) in there.iter().filter(|(_, there)| !known.contains(there)) {
        differences.push(Difference {
            harmless: true,
            object: table.clone(),
            column: String::new(),
            what: format!(
                "the table has the check {name} ({definition}), which the model does not know: rows that break it are rejected"
            ),
            mend: None,
        });
    }
    Ok(())
}

/// The names and the definitions of a table's checks that look at new rows.
async fn check_definitions(
    connection: &mut Connection,
    act: &str,
    table: &str,
) -> Result<Vec<(String, String)>> {
    let rows = connection
        .query(
            act,
            "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint
             WHERE contype = 'c' AND conrelid = $1::regclass ORDER BY 1",
            &[Some(table)],
        )
        .await?;
    let mut definitions = Vec::new();
    for row in &rows {
        let get = |error| target_error(act, error);
        let (name, definition): (String, String) =
            (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
        // A check that is not valid is one for new rows all the same.
        if !definition.ends_with(" NOT ENFORCED") {
            let definition = definition.trim_end_matches(" NOT VALID");
            let definition = definition.trim_end_matches(" NO INHERIT").to_owned();
            definitions.push((name, definition));
        }
    }
    Ok(definitions)
}
