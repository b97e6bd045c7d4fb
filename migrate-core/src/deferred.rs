//! Keys, indexes and foreign keys that are built after the load.
//!
//! For a table that the run makes they come from the model's facts; for one that was there they
//! come from the catalogue's own definitions, are taken off before the load, and are put back as
//! they were. Either way each is a row of `deferred_ddl`, written in the transaction that takes it
//! off and marked in the transaction that builds it, so no crash can lose one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::ddl::{Foreign, Names, Part, foreign_keys, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter, Step};
use crate::schema::{Model, RegistryFacts, quote_ident, quote_literal};
use crate::sink::{Connection, Target, sql_state, target_error};
use crate::state::{RunRow, State};
use crate::stop::{GRACE, Stop};
use crate::upkeep;

/// What a deferred definition makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key that tells rows apart: the primary key, or the unique key on the id where the
    /// primary key is made of other columns.
    PrimaryKey,
    /// A unique key or a unique index.
    Unique,
    /// Another index.
    Index,
    /// A foreign key.
    ForeignKey,
}

impl Kind {
    /// The kind in the state.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PrimaryKey => "primary_key",
            Self::Unique => "unique",
            Self::Index => "index",
            Self::ForeignKey => "foreign_key",
        }
    }

    fn from_code(code: &str) -> Self {
        match code {
            "primary_key" => Self::PrimaryKey,
            "unique" => Self::Unique,
            "foreign_key" => Self::ForeignKey,
            _ => Self::Index,
        }
    }
}

/// One definition that waits for the load's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Deferred {
    /// Its place in the run.
    pub position: i32,
    /// The model of its table; empty for a foreign key of a table that no model has.
    pub model: String,
    /// Its table in SQL.
    pub table: String,
    /// Its name, unquoted.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The statement that builds it. A foreign key is added without looking at the rows.
    pub build: String,
    /// What follows: statements that make a unique index a key and restore the rest of it.
    pub attach: Option<String>,
    /// For a foreign key, the clause of `ALTER TABLE` that looks at the rows.
    pub validate: Option<String>,
    /// The columns or expressions of a key or an index, as SQL. Of a foreign key of one column that
    /// column, the table it points to and the column there; of one of several nothing.
    pub columns: Vec<String>,
    /// The condition of a partial unique index, as SQL.
    pub predicate: Option<String>,
}

impl Deferred {
    /// The sentence that tells why it is not put back where what it stands on is gone, with the
    /// statement that would build it.
    pub fn gone_text(&self) -> String {
        let Self { name, table, build, .. } = self;
        format!(
            "{name} is not put back on {table}, because somebody has dropped or renamed what it stands on: {build}"
        )
    }

    /// The sentence that tells why it is left out where a statement has failed for another reason.
    fn left_out_text(&self, error: &Error) -> String {
        let Self { name, table, build, .. } = self;
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        format!("{name} is not put back on {table}, because it cannot be built ({cause}): {build}")
    }

    /// The table that a foreign key points to, in SQL.
    fn referenced(&self) -> Option<&str> {
        if self.kind != Kind::ForeignKey {
            return None;
        }
        if let [_, table, _] = self.columns.as_slice() {
            return Some(table);
        }
        // Of several columns: the name between the word and the columns, where quotes hide nothing.
        let (_, behind) = self.build.split_once(" REFERENCES ")?;
        behind.split_once('(').map(|(table, _)| table.trim_end())
    }

    /// Whether it is a foreign key from a table of documents of this run to one: it can be added before
    /// junctions have their keys.
    pub(crate) fn is_between_documents(&self, names: Names<'_>, registry: &RegistryFacts) -> bool {
        let mut with_documents =
            registry.iter().map(|(model, _)| model).filter(|model| model.kind.has_documents());
        registry.model(&self.model).is_some_and(|model| model.kind.has_documents())
            && self
                .referenced()
                .is_some_and(|to| with_documents.any(|model| same_table(&names.table(model), to)))
    }
}

/// The definitions of a table that the run makes.
pub(crate) fn of_facts(names: Names<'_>, model: &'static Model) -> Vec<Deferred> {
    let table = names.table(model);
    let mut deferred: Vec<Deferred> = keys(model)
        .into_iter()
        .map(|key| Deferred {
            position: 0,
            model: model.name.to_owned(),
            table: table.clone(),
            kind: match key.part {
                Part::Index => Kind::Index,
                part => kind_of_key(model, part == Part::PrimaryKey, &key.columns),
            },
            build: key.create(names, model),
            attach: key.attach(names, model),
            validate: None,
            columns: key.columns.iter().map(|column| quote_ident(column)).collect(),
            predicate: None,
            name: key.name,
        })
        .collect();
    deferred.extend(foreign_keys(model).into_iter().map(|foreign| Deferred {
        position: 0,
        model: model.name.to_owned(),
        table: table.clone(),
        kind: Kind::ForeignKey,
        build: foreign.add(names, model, true),
        attach: None,
        validate: Some(format!("VALIDATE CONSTRAINT {}", quote_ident(&foreign.name))),
        columns: foreign_columns(names, &foreign),
        predicate: None,
        name: foreign.name,
    }));
    deferred
}

/// What [`Deferred::columns`] holds for a foreign key.
pub(crate) fn foreign_columns(names: Names<'_>, foreign: &Foreign) -> Vec<String> {
    vec![
        quote_ident(foreign.column.name),
        names.table(foreign.target),
        quote_ident(foreign.key.name),
    ]
}

/// What a primary or unique key is to a model, by its columns.
fn kind_of_key<T: AsRef<str>>(model: &Model, primary: bool, columns: &[T]) -> Kind {
    let is_id = |column: &str| model.column_of(column).is_some_and(|column| column.primary_key);
    let tells_apart = match model.own_key.is_empty() || model.shares_key() {
        true => primary,
        false => matches!(columns, [only] if is_id(only.as_ref())),
    };
    if tells_apart { Kind::PrimaryKey } else { Kind::Unique }
}

/// The definitions on tables that were there: every key, index and foreign key of theirs, and
/// the foreign keys of other tables that point to them, from the catalogue; within the caller's
/// transaction.
///
/// Exclusion constraints and indexes that are not valid stay where they are.
pub(crate) async fn of_catalogue(
    connection: &mut Connection,
    names: Names<'_>,
    models: &[&'static Model],
) -> Result<Vec<Deferred>> {
    const ACT: &str = "reading keys and indexes from the catalogue";
    let get = |error| target_error(ACT, error);
    let mut deferred = Vec::new();
    if models.is_empty() {
        return Ok(deferred);
    }
    let tables: Vec<String> =
        models.iter().map(|model| quote_literal(&names.table(model))).collect();
    let tables = format!("ARRAY[{}]::regclass[]", tables.join(", "));
    // So that every name comes out with its schema: another role may build it.
    connection.execute(ACT, "SET LOCAL search_path = pg_catalog").await?;
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT i.relname::text, x.indisprimary, x.indisunique, c.oid IS NOT NULL,
                    pg_get_indexdef(x.indexrelid), c.conname::text,
                    coalesce(c.condeferrable, false), coalesce(c.condeferred, false),
                    ARRAY(SELECT pg_get_indexdef(x.indexrelid, n, true)
                            || coalesce(' COLLATE ' || quote_ident(cn.nspname) || '.'
                                || quote_ident(k.collname), '')
                        FROM generate_series(1, x.indnkeyatts) AS n
                        LEFT JOIN pg_attribute a
                            ON a.attrelid = x.indrelid AND a.attnum = x.indkey[n - 1]
                        LEFT JOIN pg_collation k ON k.oid = x.indcollation[n - 1]
                            AND k.oid <> coalesce(a.attcollation, 'pg_catalog.\"default\"'::regcollation)
                        LEFT JOIN pg_namespace cn ON cn.oid = k.collnamespace
                        ORDER BY n),
                    pg_get_expr(x.indpred, x.indrelid), s.spcname::text,
                    obj_description(x.indexrelid, 'pg_class'),
                    obj_description(c.oid, 'pg_constraint'), x.indisclustered, x.indisreplident,
                    own.place,
                    ARRAY(SELECT format('ALTER INDEX %s.%I ALTER COLUMN %s SET STATISTICS %s',
                            i.relnamespace::regnamespace, i.relname, attnum, attstattarget)
                        FROM pg_attribute WHERE attrelid = i.oid AND attstattarget >= 0
                        ORDER BY attnum)
                 FROM unnest({tables}) WITH ORDINALITY AS own (oid, place)
                 JOIN pg_index x ON x.indrelid = own.oid
                 JOIN pg_class i ON i.oid = x.indexrelid
                 LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid
                    AND c.conrelid = x.indrelid AND c.contype IN ('p', 'u')
                 LEFT JOIN pg_tablespace s ON s.oid = i.reltablespace
                 WHERE x.indisvalid AND NOT x.indisexclusion
                 ORDER BY own.place, x.indisprimary DESC, x.indisunique DESC, i.relname"
            ),
            &[],
        )
        .await?;
    for row in &rows {
        let name: String = row.try_get(0).map_err(get)?;
        let primary: bool = row.try_get(1).map_err(get)?;
        let unique: bool = row.try_get(2).map_err(get)?;
        let is_constraint: bool = row.try_get(3).map_err(get)?;
        let mut build: String = row.try_get(4).map_err(get)?;
        let constraint: Option<String> = row.try_get(5).map_err(get)?;
        let deferrable: bool = row.try_get(6).map_err(get)?;
        let initially: bool = row.try_get(7).map_err(get)?;
        let tablespace: Option<String> = row.try_get(10).map_err(get)?;
        let index_comment: Option<String> = row.try_get(11).map_err(get)?;
        let comment: Option<String> = row.try_get(12).map_err(get)?;
        let clustered: bool = row.try_get(13).map_err(get)?;
        let replica: bool = row.try_get(14).map_err(get)?;
        let columns: Vec<String> = row.try_get(8).map_err(get)?;
        let predicate: Option<String> = row.try_get(9).map_err(get)?;
        let place: i64 = row.try_get(15).map_err(get)?;
        let targets: Vec<String> = row.try_get(16).map_err(get)?;
        let Some(model) = usize::try_from(place - 1).ok().and_then(|place| models.get(place))
        else {
            continue;
        };
        let table = names.table(model);
        if let Some(tablespace) = tablespace {
            build = with_tablespace(&build, &tablespace);
        }
        let schema = quote_ident(model.schema.unwrap_or(names.schema));
        let quoted = quote_ident(&name);
        let mut attach = Vec::new();
        if let (true, Some(constraint)) = (is_constraint, &constraint) {
            let constraint = quote_ident(constraint);
            attach.push(format!(
                "ALTER TABLE {table} ADD CONSTRAINT {constraint} {} USING INDEX {quoted}{}{}",
                if primary { "PRIMARY KEY" } else { "UNIQUE" },
                if deferrable { " DEFERRABLE" } else { "" },
                if initially { " INITIALLY DEFERRED" } else { "" },
            ));
            if let Some(comment) = comment {
                attach.push(format!(
                    "COMMENT ON CONSTRAINT {constraint} ON {table} IS {}",
                    quote_literal(&comment)
                ));
            }
        }
        if let Some(comment) = index_comment {
            attach
                .push(format!("COMMENT ON INDEX {schema}.{quoted} IS {}", quote_literal(&comment)));
        }
        attach.extend(targets);
        if clustered {
            attach.push(format!("ALTER TABLE {table} CLUSTER ON {quoted}"));
        }
        if replica {
            attach.push(format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {quoted}"));
        }
        deferred.push(Deferred {
            position: 0,
            model: model.name.to_owned(),
            table: table.clone(),
            kind: match (primary || unique, &predicate) {
                (true, None) => kind_of_key(model, primary, &columns),
                (true, Some(_)) => Kind::Unique,
                (false, _) => Kind::Index,
            },
            build,
            attach: (!attach.is_empty()).then(|| attach.join("; ")),
            validate: None,
            columns,
            predicate,
            name,
        });
    }
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT c.conname::text,
                    quote_ident(n.nspname) || '.' || quote_ident(t.relname),
                    pg_get_constraintdef(c.oid), c.convalidated,
                    obj_description(c.oid, 'pg_constraint'),
                    a.attname::text, rn.nspname::text, r.relname::text, k.attname::text,
                    t.relkind = 'p'
                 FROM pg_constraint c
                 JOIN pg_class t ON t.oid = c.conrelid
                 JOIN pg_namespace n ON n.oid = t.relnamespace
                 JOIN pg_class r ON r.oid = c.confrelid
                 JOIN pg_namespace rn ON rn.oid = r.relnamespace
                 LEFT JOIN pg_attribute a ON cardinality(c.conkey) = 1
                    AND a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                 LEFT JOIN pg_attribute k ON cardinality(c.conkey) = 1
                    AND k.attrelid = c.confrelid AND k.attnum = c.confkey[1]
                 WHERE c.contype = 'f' AND c.conparentid = 0
                    AND (c.conrelid = ANY ({tables}) OR c.confrelid = ANY ({tables}))
                 ORDER BY 2, 1"
            ),
            &[],
        )
        .await?;
    for row in &rows {
        let name: String = row.try_get(0).map_err(get)?;
        let table: String = row.try_get(1).map_err(get)?;
        let definition: String = row.try_get(2).map_err(get)?;
        let validated: bool = row.try_get(3).map_err(get)?;
        let comment: Option<String> = row.try_get(4).map_err(get)?;
        let column: Option<String> = row.try_get(5).map_err(get)?;
        let key: Option<String> = row.try_get(8).map_err(get)?;
        // Before version 18 one of a partitioned table is added and looked at in one act.
        let apart = validated && !row.try_get::<bool, _>(9).map_err(get)?;
        let (schema, other): (String, String) =
            (row.try_get(6).map_err(get)?, row.try_get(7).map_err(get)?);
        let other = format!("{}.{}", quote_ident(&schema), quote_ident(&other));
        let columns = match (column, key) {
            (Some(column), Some(key)) => vec![quote_ident(&column), other, quote_ident(&key)],
            _ => Vec::new(),
        };
        let owner = models
            .iter()
            .find(|model| same_table(&names.table(model), &table))
            .map_or("", |model| model.name);
        let quoted = quote_ident(&name);
        deferred.push(Deferred {
            position: 0,
            model: owner.to_owned(),
            kind: Kind::ForeignKey,
            build: format!(
                "ALTER TABLE {table} ADD CONSTRAINT {quoted} {definition}{}",
                if apart { " NOT VALID" } else { "" }
            ),
            attach: comment.map(|comment| {
                format!("COMMENT ON CONSTRAINT {quoted} ON {table} IS {}", quote_literal(&comment))
            }),
            validate: apart.then(|| format!("VALIDATE CONSTRAINT {quoted}")),
            columns,
            predicate: None,
            table,
            name,
        });
    }
    connection.execute(ACT, "SET LOCAL search_path TO DEFAULT").await?;
    Ok(deferred)
}

/// Whether two SQL names, quoted always or only where needed, name one table.
fn same_table(a: &str, b: &str) -> bool {
    a.replace('"', "") == b.replace('"', "")
}

/// An index definition with its tablespace, which `pg_get_indexdef` leaves out; it stands before
/// the condition of a partial index.
fn with_tablespace(definition: &str, tablespace: &str) -> String {
    let clause = format!(" TABLESPACE {}", quote_ident(tablespace));
    match definition.rsplit_once(" WHERE ") {
        Some((head, condition)) if !head.is_empty() => {
            format!("{head}{clause} WHERE {condition}")
        }
        _ => format!("{definition}{clause}"),
    }
}

/// Takes definitions off their tables: foreign keys first, because they need the keys they point
/// to. The caller has written them down in the same transaction.
pub(crate) async fn take_off(
    connection: &mut Connection,
    names: Names<'_>,
    registry: &RegistryFacts,
    deferred: &[Deferred],
) -> Result<()> {
    for kind in [Kind::ForeignKey, Kind::Index, Kind::Unique, Kind::PrimaryKey] {
        // All of a table in one statement, of each sort.
        let mut constraints: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut indexes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for definition in deferred.iter().filter(|definition| definition.kind == kind) {
            let name = quote_ident(&definition.name);
            let is_constraint = kind == Kind::ForeignKey
                || definition
                    .attach
                    .as_deref()
                    .and_then(|attach| attach.split("; ").next())
                    .is_some_and(|first| first.contains(" ADD CONSTRAINT "));
            if is_constraint {
                let drop = format!("DROP CONSTRAINT IF EXISTS {name}");
                constraints.entry(&definition.table).or_default().push(drop);
            } else {
                let schema = registry
                    .model(&definition.model)
                    .and_then(|model| model.schema)
                    .unwrap_or(names.schema);
                let name = format!("{}.{name}", quote_ident(schema));
                indexes.entry(&definition.table).or_default().push(name);
            }
        }
        let constraints = constraints.into_iter().map(|(table, drops)| {
            // Somebody may have dropped it while a run was given up.
            (table, format!("ALTER TABLE IF EXISTS {table} {}", drops.join(", ")))
        });
        let indexes = indexes
            .into_iter()
            .map(|(table, names)| (table, format!("DROP INDEX IF EXISTS {}", names.join(", "))));
        for (table, sql) in constraints.chain(indexes) {
            connection
                .execute(&format!("taking keys and indexes off {table}"), sql)
                .await
                .map_err(|error| match crate::sink::sql_state(&error) {
                    Some("2BP01") => error.with_hint(
                        "something else in the database needs it (a view, a publication): drop that for the migration, or keep the constraints on with `--keep-constraints`",
                    ),
                    _ => error,
                })?;
        }
    }
    Ok(())
}

/// Writes definitions down and gives them their positions. The caller commits.
pub(crate) async fn insert(
    connection: &mut Connection,
    state: &State,
    run: i64,
    deferred: &mut [Deferred],
) -> Result<()> {
    for (position, definition) in deferred.iter_mut().enumerate() {
        definition.position = position as i32;
    }
    let rows: Vec<serde_json::Value> = deferred
        .iter()
        .map(|definition| {
            serde_json::json!({
                "position": definition.position,
                "model": definition.model,
                "table_name": definition.table,
                "name": definition.name,
                "kind": definition.kind.code(),
                "build": definition.build,
                "attach": definition.attach,
                "validate": definition.validate,
                "columns": definition.columns,
                "predicate": definition.predicate,
            })
        })
        .collect();
    let rows = serde_json::Value::from(rows).to_string();
    connection
        .execute_with(
            "writing the definitions down",
            format!(
                "INSERT INTO {} (run, position, model, table_name, name, kind, build, attach,
                    validate, columns, predicate)
                 SELECT {run}, position, model, table_name, name, kind, build, attach, validate,
                    columns, predicate
                 FROM jsonb_to_recordset($1::jsonb) AS definition (position integer, model text,
                    table_name text, name text, kind text, build text, attach text, validate text,
                    columns jsonb, predicate text)",
                state.table("deferred_ddl")
            ),
            &[Some(&rows)],
        )
        .await
        .map(drop)
}

/// The definitions of a run that are not built yet, in order.
///
/// # Errors
/// When the server does not answer.
pub async fn open(connection: &mut Connection, state: &State, run: i64) -> Result<Vec<Deferred>> {
    definitions_where(connection, state, run, "NOT restored", &[]).await
}

/// The definitions of a model in a run that are not built yet, in order.
pub(crate) async fn open_of(
    connection: &mut Connection,
    state: &State,
    run: i64,
    model: &Model,
) -> Result<Vec<Deferred>> {
    let condition = "NOT restored AND model = $1";
    definitions_where(connection, state, run, condition, &[Some(model.name)]).await
}

async fn definitions_where(
    connection: &mut Connection,
    state: &State,
    run: i64,
    condition: &str,
    parameters: &[Option<&str>],
) -> Result<Vec<Deferred>> {
    const ACT: &str = "reading the deferred definitions";
    let rows = connection
        .query(
            ACT,
            format!(
                "SELECT position, model, table_name, name, kind, build, attach, validate,
                    columns::text, predicate
                 FROM {} WHERE run = {run} AND {condition} ORDER BY position",
                state.table("deferred_ddl")
            ),
            parameters,
        )
        .await?;
    let get = |error| target_error(ACT, error);
    rows.iter()
        .map(|row| {
            let kind: String = row.try_get(4).map_err(get)?;
            let columns: String = row.try_get(8).map_err(get)?;
            Ok(Deferred {
                position: row.try_get(0).map_err(get)?,
                model: row.try_get(1).map_err(get)?,
                table: row.try_get(2).map_err(get)?,
                name: row.try_get(3).map_err(get)?,
                kind: Kind::from_code(&kind),
                build: row.try_get(5).map_err(get)?,
                attach: row.try_get(6).map_err(get)?,
                validate: row.try_get(7).map_err(get)?,
                columns: serde_json::from_str(&columns).unwrap_or_default(),
                predicate: row.try_get(9).map_err(get)?,
            })
        })
        .collect()
}

/// Builds a key or an index within the caller's transaction, who notes it.
pub(crate) async fn build(connection: &mut Connection, definition: &Deferred) -> Result<()> {
    execute(connection, definition, build_sql(definition)).await
}

/// Builds a key or an index within the caller's transaction, and notes it.
pub(crate) async fn build_noted(
    connection: &mut Connection,
    state: &State,
    run: i64,
    definition: &Deferred,
) -> Result<()> {
    let note = note_sql(state, run, &[definition.position]);
    execute(connection, definition, format!("{}; {note}", build_sql(definition))).await
}

/// Does the same where the rows do not break the key, which is tried under a savepoint; else gives
/// false, and the transaction is as it was.
pub(crate) async fn try_build_noted(
    connection: &mut Connection,
    state: &State,
    run: i64,
    definition: &Deferred,
) -> Result<bool> {
    let note = note_sql(state, run, &[definition.position]);
    let build = build_sql(definition);
    let sql = format!("SAVEPOINT build; {build}; {note}; RELEASE SAVEPOINT build");
    match execute(connection, definition, sql).await {
        Ok(()) => Ok(true),
        Err(error) if sql_state(&error) == Some("23505") => {
            connection
                .execute("rolling back to a savepoint", "ROLLBACK TO SAVEPOINT build")
                .await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn build_sql(definition: &Deferred) -> String {
    match &definition.attach {
        Some(attach) => format!("{}; {attach}", definition.build),
        None => definition.build.clone(),
    }
}

async fn execute(connection: &mut Connection, definition: &Deferred, sql: String) -> Result<()> {
    let act = format!("building {} on {}", definition.name, definition.table);
    connection.execute(&act, sql).await.map(drop)
}

/// Adds foreign keys of one table within the caller's transaction; gives those that nothing is left
/// of to put them on. Those whose rows are still to be looked at are built only then.
pub(crate) async fn add_foreign_keys(
    connection: &mut Connection,
    state: &State,
    run: i64,
    definitions: &[Deferred],
) -> Result<Vec<Deferred>> {
    let Some(first) = definitions.first() else { return Ok(Vec::new()) };
    let act = format!("adding the foreign keys of {}", first.table);
    let sql = foreign_keys_sql(state, run, definitions);
    if unless_gone(connection, definitions, &act, &sql).await? {
        return Ok(Vec::new());
    }
    let mut gone = Vec::new();
    for definition in definitions {
        let only = std::slice::from_ref(definition);
        if !unless_gone(connection, only, &act, &foreign_keys_sql(state, run, only)).await? {
            let note = note_sql(state, run, &[definition.position]);
            connection.execute("noting that a definition is gone", note).await?;
            gone.push(definition.clone());
        }
    }
    Ok(gone)
}

/// The statements that add foreign keys and note those that are built with that.
fn foreign_keys_sql(state: &State, run: i64, definitions: &[Deferred]) -> String {
    let mut sql: Vec<&str> = Vec::new();
    for definition in definitions {
        sql.push(&definition.build);
        sql.extend(definition.attach.as_deref());
    }
    let built = definitions.iter().filter(|definition| definition.validate.is_none());
    let built: Vec<i32> = built.map(|definition| definition.position).collect();
    let note = note_sql(state, run, &built);
    if !built.is_empty() {
        sql.push(&note);
    }
    sql.join("; ")
}

/// Whether a definition was left out because what it stands on is gone.
pub(crate) async fn is_left_out(
    connection: &mut Connection,
    state: &State,
    run: i64,
    position: i32,
) -> Result<bool> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE run = {run} AND position = {position}
            AND restored AND NOT given_back",
        state.table("deferred_ddl")
    );
    Ok(connection.count("looking for a definition", sql, &[]).await? > 0)
}

/// The names of a table's foreign keys, unquoted; none where the table is gone.
pub(crate) async fn foreign_keys_of(
    connection: &mut Connection,
    table: &str,
) -> Result<BTreeSet<String>> {
    const ACT: &str = "looking for foreign keys";
    let sql = "SELECT conname::text FROM pg_constraint
         WHERE conrelid = to_regclass($1) AND contype = 'f'";
    let rows = connection.query(ACT, sql, &[Some(table)]).await?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| target_error(ACT, error))).collect()
}

/// The statement that notes that definitions are built, by their positions; for the transaction that
/// builds them.
pub(crate) fn note_sql(state: &State, run: i64, positions: &[i32]) -> String {
    let positions: Vec<String> = positions.iter().map(i32::to_string).collect();
    note_any_sql(state, run, &format!("'{{{}}}'::integer[]", positions.join(", ")))
}

/// As [`note_sql`], with the positions as an array in SQL.
pub(crate) fn note_any_sql(state: &State, run: i64, positions: &str) -> String {
    let table = state.table("deferred_ddl");
    format!("UPDATE {table} SET restored = true WHERE run = {run} AND position = ANY ({positions})")
}

/// What [`restore`] has come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restored {
    /// How many definitions are back.
    pub back: usize,
    /// Those that nothing is left of to put them on, because somebody has dropped it meanwhile.
    pub gone: Vec<Deferred>,
}

/// Puts every definition back that an unfinished run has taken off or not yet built, one transaction
/// each. For people who give a run up; who goes on with it after all has them taken off again. What is
/// at work, and what is left out because nothing is left of it, is told.
///
/// # Errors
/// When a process is at work on the run, or begins or ends one; nothing is touched then. When the rows
/// that are there break definitions: the others are back, and these are named. When somebody asks to
/// stop: those before are back.
pub async fn restore(
    target: &Target,
    state: &State,
    run: &RunRow,
    reporter: &Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Restored> {
    let mut connection = target.connect_patiently(CONNECTION_TIME).await?;
    // Nobody may begin at a chunk or a task, or with another run, until all are back.
    let mut guard = target.connect_patiently(CONNECTION_TIME).await?;
    guard.execute("beginning a transaction", "BEGIN").await?;
    if !state.try_lock(&mut guard).await? {
        return Err(Error::new(
            ErrorKind::Preflight,
            "another process begins a run, starts over, or puts keys and indexes back",
        )
        .with_hint("wait until it is done, or stop it first"));
    }
    // Who compares a complete run is in nobody's way.
    if !run.finished {
        state.check_idle(&mut guard, std::slice::from_ref(run), "given up").await?;
    }
    let mut progress = Progress::default();
    let (pid, putting) = (
        connection.pid(),
        put_all_back(&mut connection, state, run, reporter, &mut progress, stop),
    );
    let Some(result) = stop.or(GRACE, putting).await else {
        // The server would go on with the statement for as long as it takes.
        let end = format!("SELECT pg_terminate_backend({pid}::integer)");
        if let Err(error) = guard.execute("ending a session", end).await {
            tracing::debug!(%error, "ending a session");
        }
        return Err(progress.interrupted());
    };
    result.map_err(|error| progress.with_failed(error))?;
    guard.execute("ending a transaction", "ROLLBACK").await?;
    guard.close().await;
    connection.close().await;
    match progress.failed.is_empty() {
        true => Ok(progress.restored),
        false => Err(progress.not_restored()),
    }
}

/// How long a connection is waited for that was closed and that the server still counts.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// How far [`restore`] is.
#[derive(Default)]
struct Progress {
    /// How many definitions were open.
    count: usize,
    restored: Restored,
    /// What could not be put back, and why.
    failed: Vec<(Deferred, Error)>,
}

impl Progress {
    /// How many definitions are as the sentence says.
    fn counts(&self) -> String {
        let Restored { back, gone } = &self.restored;
        match gone.len() {
            0 => format!("{back} of {} definitions are back", self.count),
            gone => format!(
                "{back} of {} definitions are back, nothing is left of what {gone} stood on",
                self.count
            ),
        }
    }

    /// The lines that name what could not be put back.
    fn lines(&self) -> String {
        /// How many are named.
        const MOST: usize = 50;
        let mut lines = String::new();
        for (definition, error) in self.failed.iter().take(MOST) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            lines += &format!("\n  {} on {}: {cause}", definition.name, definition.table);
        }
        if let Some(more @ 1..) = self.failed.len().checked_sub(MOST) {
            lines += &format!("\n  and {more} more");
        }
        lines
    }

    /// The error of one that was asked to stop.
    fn interrupted(&self) -> Error {
        let what = match self.failed.len() {
            0 => self.counts(),
            failed => {
                format!("{}, {failed} cannot be put back:{}", self.counts(), self.lines())
            }
        };
        Error::new(ErrorKind::Interrupted, what)
            .with_hint("give the same command again to put the others back")
    }

    /// The error that ended it, with what had failed before.
    fn with_failed(&self, error: Error) -> Error {
        if self.failed.is_empty() || error.kind() == ErrorKind::Interrupted {
            return error;
        }
        let hint = error.hint().unwrap_or("give the same command again").to_owned();
        let what =
            format!("{}, {} cannot be put back:{}", self.counts(), self.failed.len(), self.lines());
        Error::new(error.kind(), what).caused_by(error).with_hint(hint)
    }

    /// The error that names what could not be put back.
    fn not_restored(mut self) -> Error {
        // A foreign key also fails for want of the key that it points to.
        let hint = match self.failed.iter().find_map(|(_, error)| sql_state(error)) {
            Some("42P07" | "42710" | "42P16") => {
                "something of that name is there: drop it, then give the same command again"
            }
            Some(class) if class.starts_with("23") => {
                "give the run's own command to go on with it, which settles such rows; or, to leave it for good, take them out and give this command again"
            }
            _ => {
                "mend the cause, then give the same command again; or start over with `migrate run --clean`"
            }
        };
        if self.failed.len() == 1
            && let Some((definition, error)) = self.failed.pop()
        {
            let Deferred { name, table, .. } = definition;
            let what = format!("{name} cannot be put back on {table}; {}", self.counts());
            return Error::new(ErrorKind::Target, what).caused_by(error).with_hint(hint);
        }
        let what = format!(
            "{} definitions cannot be put back; {}:{}",
            self.failed.len(),
            self.counts(),
            self.lines()
        );
        Error::new(ErrorKind::Target, what).with_hint(hint)
    }
}

/// Puts what is open back, one transaction each, and notes how far it has come.
async fn put_all_back(
    connection: &mut Connection,
    state: &State,
    run: &RunRow,
    reporter: &Arc<dyn Reporter>,
    progress: &mut Progress,
    stop: &Stop,
) -> Result<()> {
    let mut open = open(connection, state, run.run).await?;
    if !open.is_empty() {
        state.give_up(connection, run).await?;
    }
    for table in &run.created.tables {
        upkeep::give_back(connection, table).await?;
    }
    open.sort_by_key(|definition| (definition.kind, definition.position));
    progress.count = open.len();
    let step = Step::Constrain;
    for definition in open {
        if stop.is_stopped() {
            return Err(progress.interrupted());
        }
        let task = format!("{} on {}", definition.name, definition.table);
        let started = Instant::now();
        reporter.event(&Event::TaskStarted { step, task: &task });
        connection.execute("beginning a transaction", "BEGIN").await?;
        state.begin_putting_back(connection, run).await?;
        match put_one_back(connection, state, run.run, &definition).await {
            Ok(is_back) => {
                connection.execute("committing", "COMMIT").await?;
                match is_back {
                    true => progress.restored.back += 1,
                    false => {
                        let message = definition.gone_text();
                        reporter.event(&Event::Notice { message: &message });
                        progress.restored.gone.push(definition);
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::Target => {
                connection.execute("ending a transaction", "ROLLBACK").await?;
                progress.failed.push((definition, error));
            }
            Err(error) => return Err(error),
        }
        reporter.event(&Event::TaskFinished { step, task: &task, elapsed: started.elapsed() });
    }
    Ok(())
}

/// Takes off again what [`restore`] has put back, because the run goes on after all, in the caller's
/// transaction; gives how many definitions.
pub(crate) async fn take_up(
    connection: &mut Connection,
    state: &State,
    names: Names<'_>,
    registry: &RegistryFacts,
    run: &RunRow,
) -> Result<usize> {
    let (number, table) = (run.run, state.table("deferred_ddl"));
    let back = definitions_where(connection, state, number, "given_back", &[]).await?;
    // Once the run has added foreign keys itself, they stay, and its next tasks look at the rows. It adds
    // those between documents first.
    const LOOKING: &str = "looking for foreign keys";
    let sql = format!(
        "SELECT (body->>'documents')::boolean FROM {}
         WHERE run = {number} AND done AND body->>'task' = 'add_foreign_keys'",
        state.table("task")
    );
    let rows = connection.query(LOOKING, sql, &[]).await?;
    let added: Vec<bool> = rows
        .iter()
        .map(|row| row.try_get(0).map_err(|error| target_error(LOOKING, error)))
        .collect::<Result<_>>()?;
    let is_added = |definition: &Deferred| {
        definition.kind == Kind::ForeignKey
            && added.contains(&definition.is_between_documents(names, registry))
    };
    let off: Vec<Deferred> =
        back.iter().filter(|definition| !is_added(definition)).cloned().collect();
    take_off(connection, names, registry, &off).await.map_err(|error| match sql_state(&error) {
        Some("2BP01") => error.with_hint(
            "something else in the database needs it (a view, a publication): drop that until the run is complete, or start over with `--clean`",
        ),
        _ => error,
    })?;
    let sql = format!(
        "UPDATE {table} SET restored = false, given_back = false
             WHERE run = {number} AND given_back;
         UPDATE {} SET given_up_at = NULL WHERE run = {number}",
        state.table("run")
    );
    connection.execute("taking the run up again", sql).await?;
    upkeep::keep_away(connection, state, names, registry, run).await?;
    Ok(back.len())
}

/// Puts back what was taken off tables other than those in `dropped`, in the caller's transaction;
/// gives the sentences about what is left out: nothing is left of what it stands on, or something that
/// it needs, as a function, is not there any more.
pub(crate) async fn put_back(
    connection: &mut Connection,
    state: &State,
    run: i64,
    dropped: &[String],
) -> Result<Vec<String>> {
    const BACK: &str = "ROLLBACK TO SAVEPOINT put_back; RELEASE SAVEPOINT put_back";
    let mut open = open(connection, state, run).await?;
    open.sort_by_key(|definition| (definition.kind, definition.position));
    let mut left_out = Vec::new();
    for definition in open.iter().filter(|definition| !dropped.contains(&definition.table)) {
        connection.execute("setting a savepoint", "SAVEPOINT put_back").await?;
        match put_one_back(connection, state, run, definition).await {
            Ok(is_back) => {
                connection.execute("releasing a savepoint", "RELEASE SAVEPOINT put_back").await?;
                if !is_back {
                    left_out.push(definition.gone_text());
                }
            }
            // The tables are empty; what breaks a key now are rows of somebody else.
            Err(error) if needs_something(&error) || is_unfit(&error) || is_there(&error) => {
                connection.execute("rolling back to a savepoint", BACK).await?;
                left_out.push(definition.left_out_text(&error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(left_out)
}

/// Whether a statement failed for want of an object: no such function, type, operator class, collation,
/// schema, table or column.
fn needs_something(error: &Error) -> bool {
    sql_state(error)
        .is_some_and(|code| ["42883", "42704", "42P01", "42703", "3F000"].contains(&code))
}

/// Whether a statement failed because what it names is of the wrong kind, or of a type that does not do.
fn is_unfit(error: &Error) -> bool {
    sql_state(error).is_some_and(|code| ["42804", "42809", "0A000"].contains(&code))
}

/// Whether a statement failed because something of that name is there.
fn is_there(error: &Error) -> bool {
    sql_state(error).is_some_and(|code| ["42P07", "42710", "42P16"].contains(&code))
}

/// Leaves those definitions out of a run, in the caller's transaction, whose table, or another one or a
/// column that they stand on, is gone, and those of indexes that need something that is gone; gives
/// the sentences about them. Those of tables that the run has made are left alone.
pub(crate) async fn leave_out_gone(
    connection: &mut Connection,
    state: &State,
    run: &RunRow,
) -> Result<Vec<String>> {
    let mut definitions = open(connection, state, run.run).await?;
    definitions.retain(|definition| !run.created.tables.contains(&definition.table));
    let mut gone = gone_among(connection, &definitions).await?;
    let mut left_out = Vec::new();
    for definition in &definitions {
        if gone.contains(&definition.position) {
            left_out.push(definition.gone_text());
        } else if let Some(error) = missed(connection, definition).await? {
            gone.insert(definition.position);
            left_out.push(definition.left_out_text(&error));
        }
    }
    if !gone.is_empty() {
        let gone: Vec<i32> = gone.into_iter().collect();
        let note = note_sql(state, run.run, &gone);
        connection.execute("noting that definitions are gone", note).await?;
    }
    Ok(left_out)
}

/// Why an index cannot be built, whatever the rows are: it needs a function, an operator class, a
/// collation, a type or a column that is gone. It is tried on an empty table of the same columns.
async fn missed(connection: &mut Connection, definition: &Deferred) -> Result<Option<Error>> {
    const BACK: &str = "ROLLBACK TO SAVEPOINT probe; RELEASE SAVEPOINT probe";
    let Some((_, form)) = definition.build.split_once(" USING ") else { return Ok(None) };
    // Columns alone, in their own order, are looked for in the catalogue.
    let is_plain = definition.columns.iter().all(|column| is_name(column))
        && form == format!("btree ({})", definition.columns.join(", "));
    if definition.kind == Kind::ForeignKey || is_plain {
        return Ok(None);
    }
    let act = format!("trying to build {}", definition.name);
    let sql = format!(
        "SAVEPOINT probe; CREATE TEMPORARY TABLE migrate_probe (LIKE {}) ON COMMIT DROP;
         CREATE INDEX ON pg_temp.migrate_probe USING {form}; {BACK}",
        definition.table
    );
    match connection.execute(&act, sql).await {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Target => {
            connection.execute("rolling back to a savepoint", BACK).await?;
            // Whatever else is wrong with the attempt is seen when it is built.
            Ok(needs_something(&error).then_some(error))
        }
        Err(error) => Err(error),
    }
}

/// Puts a definition back in the caller's transaction and notes it. False, and nothing but the note,
/// where what it stands on is gone.
async fn put_one_back(
    connection: &mut Connection,
    state: &State,
    run: i64,
    definition: &Deferred,
) -> Result<bool> {
    // A foreign key may have been added and not yet validated.
    let added = definition.kind == Kind::ForeignKey
        && foreign_keys_of(connection, &definition.table).await?.contains(&definition.name);
    let mut sql = Vec::new();
    if !added {
        sql.push(build_sql(definition));
    }
    if let Some(validate) = &definition.validate {
        sql.push(format!("ALTER TABLE {} {validate}", definition.table));
    }
    let act = format!("building {} on {}", definition.name, definition.table);
    let only = std::slice::from_ref(definition);
    let is_back = unless_gone(connection, only, &act, &sql.join("; ")).await?;
    let note = format!(
        "UPDATE {} SET restored = true, given_back = {is_back} WHERE run = {run} AND position = {}",
        state.table("deferred_ddl"),
        definition.position
    );
    connection.execute("noting that a definition is back", note).await?;
    Ok(is_back)
}

/// Builds definitions of one table under a savepoint of the caller's transaction, by the statements
/// `sql`. False, and the transaction is as it was, where a table or a column that one of them stands on
/// is not in the catalogue any more.
async fn unless_gone(
    connection: &mut Connection,
    definitions: &[Deferred],
    act: &str,
    sql: &str,
) -> Result<bool> {
    let sql = format!("SAVEPOINT unless_gone; {sql}; RELEASE SAVEPOINT unless_gone");
    let error = match connection.execute(act, sql).await {
        Ok(_) => return Ok(true),
        Err(error) => error,
    };
    // No such table, schema or column. That may also be one that an index's function misses.
    if !matches!(sql_state(&error), Some("42P01" | "3F000" | "42703")) {
        return Err(error);
    }
    let sql = "ROLLBACK TO SAVEPOINT unless_gone; RELEASE SAVEPOINT unless_gone";
    connection.execute("rolling back to a savepoint", sql).await?;
    match gone_among(connection, definitions).await?.is_empty() {
        true => Err(error),
        false => Ok(false),
    }
}

/// Whether a part of an index, as SQL, is a column's name, quoted or not.
fn is_name(part: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "_$".contains(c);
    part.chars().all(word) || (part.starts_with('"') && part.ends_with('"'))
}

/// The positions of those definitions whose table, the one that they point to, or a column of their
/// own is not in the catalogue.
async fn gone_among(
    connection: &mut Connection,
    definitions: &[Deferred],
) -> Result<BTreeSet<i32>> {
    const ACT: &str = "looking for what definitions stand on";
    let rows: Vec<serde_json::Value> = definitions
        .iter()
        .map(|definition| {
            // Those behind the first of a foreign key are of the other table.
            let is_key = definition.kind == Kind::ForeignKey;
            let own = definition.columns.iter().take(if is_key { 1 } else { usize::MAX });
            serde_json::json!({
                "position": definition.position,
                "own": definition.table,
                "other": definition.referenced(),
                "columns": own.filter(|column| is_name(column)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let rows = serde_json::Value::from(rows).to_string();
    let rows = connection
        .query(
            ACT,
            "SELECT position FROM jsonb_to_recordset($1::jsonb)
                AS definition (position integer, own text, other text, columns jsonb)
             WHERE to_regclass(own) IS NULL OR (other IS NOT NULL AND to_regclass(other) IS NULL)
                OR EXISTS (SELECT FROM jsonb_array_elements_text(columns) AS its (name)
                    WHERE NOT EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = to_regclass(own) AND attnum > 0 AND NOT attisdropped
                            AND attname = replace(trim(BOTH '\"' FROM its.name), '\"\"', '\"')))",
            &[Some(&rows)],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| target_error(ACT, error))).collect()
}
