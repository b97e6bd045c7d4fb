//! Loading into a table whose constraints stay on (`--keep-constraints`).
//!
//! A chunk's rows go into a temporary table without constraints first, are settled there against
//! the tables they refer to (which are complete, because phase is loaded after phase), and are
//! then inserted. So an orphan is treated as the model says instead of failing its COPY. A
//! reference to the table itself, or one left out of the order, may point to a row that comes
//! later: it is kept aside and set when everything is loaded.

use std::collections::HashMap;

use bson::Bson;
use sqlx::{AssertSqlSafe, Row as _};

use crate::context::Context;
use crate::ddl::{Foreign, foreign_keys, list};
use crate::error::{Error, ErrorKind, Result};
use crate::load;
use crate::reject::Reason;
use crate::schema::{Column, Model, Orphan, quote_ident};
use crate::settle::{self, Loser, Settled, id_column};
use crate::sink::{Connection, sql_state, target_error};
use crate::source_id;
use crate::staging;

/// Where a chunk's rows wait, in SQL.
pub(crate) const TABLE: &str = "pg_temp.kept_rows";

/// Whether a model's rows go through the temporary table: its constraints are kept on, or it held
/// rows before, which settling must not touch.
pub(crate) fn is_kept(context: &Context, model: &Model) -> bool {
    let table = context.names().table(model);
    let created = &context.run.created;
    created.rows_before.contains_key(&table)
        || (context.options.keep_constraints && !created.tables.contains(&table))
}

/// The references of a model that may point to rows that come later.
pub(crate) fn late_columns(model: &'static Model) -> impl Iterator<Item = Foreign> {
    foreign_keys(model).into_iter().filter(|foreign| is_late(model, foreign))
}

/// Whether a reference may point to a row that comes later.
pub(crate) fn is_late(model: &Model, foreign: &Foreign) -> bool {
    foreign.target.same(model)
        || foreign.column.reference.is_some_and(|reference| reference.deferred)
}

/// Fails for a model whose rows could never be inserted one chunk after the other.
pub(crate) fn check(model: &'static Model) -> Result<()> {
    let refuses = |foreign: &Foreign| !foreign.column.nullable || foreign.orphan == Orphan::Reject;
    match late_columns(model).find(refuses) {
        Some(foreign) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "`{}.{}` must not lose its reference, and the row it points to may come later",
                model.name, foreign.column.field
            ),
        )
        .with_hint(
            "leave `--keep-constraints` and `--append` out, or make the field an `Option` without `orphan = reject`",
        )),
        None => Ok(()),
    }
}

/// Makes the temporary tables of a chunk; they go with the transaction. What stands beside the rows
/// waits as well: of a row that is refused because its key is taken, nothing may come to the row
/// that has the key.
pub(crate) async fn prepare(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<()> {
    let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
    let mut sql = format!(
        "DROP TABLE IF EXISTS {TABLE}, {ORPHAN}, {LATE}, {IDS};
         CREATE TEMPORARY TABLE kept_rows ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA;
         CREATE TEMPORARY TABLE kept_orphan (LIKE {}) ON COMMIT DROP;
         CREATE TEMPORARY TABLE kept_late (LIKE {}) ON COMMIT DROP;
         CREATE TEMPORARY TABLE kept_ids (id text NOT NULL, source_id bytea NOT NULL) ON COMMIT DROP",
        list(&columns),
        context.names().table(model),
        context.state.table("orphan"),
        context.state.table("late_reference"),
    );
    for junction in junctions(model) {
        let stage = stage_name(junction);
        sql.push_str(&format!(
            "; DROP TABLE IF EXISTS pg_temp.{stage}; CREATE TEMPORARY TABLE {stage} {} ON COMMIT DROP",
            staging::columns(context.names(), junction)
        ));
    }
    connection.execute(&format!("making temporary tables for {}", model.table), sql).await.map(drop)
}

/// The notes of orphans, the late references and the `_id`s of the rows that wait.
const ORPHAN: &str = "pg_temp.kept_orphan";
const LATE: &str = "pg_temp.kept_late";
const IDS: &str = "pg_temp.kept_ids";

/// The junctions that a model's arrays fill, each once.
fn junctions(model: &'static Model) -> Vec<&'static Model> {
    let mut junctions: Vec<&'static Model> = Vec::new();
    for field in model.junctions {
        let junction = field.table.get();
        if !junctions.iter().any(|known| known.same(junction)) {
            junctions.push(junction);
        }
    }
    junctions
}

fn stage_name(junction: &Model) -> String {
    quote_ident(&format!("kept_stage_{}", junction.name))
}

/// Where a model's junction rows are staged, in SQL.
pub(crate) fn stage(context: &Context, model: &Model, junction: &Model) -> String {
    match is_kept(context, model) {
        true => format!("pg_temp.{}", stage_name(junction)),
        false => context.state.stage(junction.name),
    }
}

/// Where the elements of a model's arrays are noted that are no ids, in SQL.
pub(crate) fn orphan_table(context: &Context, model: &Model) -> String {
    match is_kept(context, model) {
        true => ORPHAN.to_owned(),
        false => context.state.table("orphan"),
    }
}

/// Where references of rows in `table` are noted that become NULL, in SQL: of rows that wait beside them.
pub(crate) fn note_table(context: &Context, table: &str) -> String {
    match table == TABLE {
        true => ORPHAN.to_owned(),
        false => context.state.table("orphan"),
    }
}

/// Moves what stands beside rows that wait no more: notes of orphans, and late references.
pub(crate) async fn keep_notes(context: &Context, connection: &mut Connection) -> Result<()> {
    let orphan = context.state.table("orphan");
    let late = context.state.table("late_reference");
    let sql = format!(
        "INSERT INTO {orphan} SELECT * FROM {ORPHAN}; DELETE FROM {ORPHAN};
         INSERT INTO {late} SELECT * FROM {LATE}; DELETE FROM {LATE}"
    );
    connection.execute("keeping notes of rows", sql).await.map(drop)
}

/// Forgets the late references of rows that wait.
pub(crate) async fn forget_late(
    connection: &mut Connection,
    model: &Model,
    keys: &[String],
) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!("DELETE FROM {LATE} WHERE row_key = ANY ($1::text[])")))
        .bind(keys)
        .execute(connection.raw())
        .await
        .map(drop)
        .map_err(|error| {
            target_error(&format!("taking rejected rows out of {}", model.table), error)
        })
}

/// Remembers the `_id`s of rows that wait, as the id map has them.
pub(crate) async fn remember_ids(
    connection: &mut Connection,
    sources: &[Vec<u8>],
    ids: &[String],
) -> Result<()> {
    let sql =
        format!("INSERT INTO {IDS} SELECT i, s FROM unnest($1::bytea[], $2::text[]) AS new (s, i)");
    sqlx::query(AssertSqlSafe(sql))
        .bind(sources)
        .bind(ids)
        .execute(connection.raw())
        .await
        .map(drop)
        .map_err(|error| target_error("remembering ids", error))
}

/// Forgets the `_id`s of rows that wait.
pub(crate) async fn forget_ids(
    connection: &mut Connection,
    model: &Model,
    keys: &[String],
) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!("DELETE FROM {IDS} WHERE id = ANY ($1::text[])")))
        .bind(mapped(model, keys))
        .execute(connection.raw())
        .await
        .map(drop)
        .map_err(|error| target_error(&format!("reading the ids of {}", model.table), error))
}

/// What the id map calls the rows with those keys.
fn mapped(model: &Model, keys: &[String]) -> Vec<String> {
    keys.iter().map(|key| source_id::mapped(model, key).to_string()).collect()
}

/// The `_id`s that rows that wait were made from, where their key does not give them back.
pub(crate) async fn own_ids(
    connection: &mut Connection,
    model: &Model,
    keys: &[String],
) -> Result<HashMap<String, Vec<Bson>>> {
    let act = format!("reading the ids of {}", model.table);
    let sql = format!("SELECT id, source_id FROM {IDS} WHERE id = ANY ($1::text[])");
    let mapped = mapped(model, keys);
    let key_of: HashMap<&str, &String> = mapped.iter().map(String::as_str).zip(keys).collect();
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(&mapped)
        .fetch_all(connection.raw())
        .await
        .map_err(|error| target_error(&act, error))?;
    let mut own: HashMap<String, Vec<Bson>> = HashMap::new();
    for row in &rows {
        let get = |error| target_error(&act, error);
        let document: Vec<u8> = row.try_get(1).map_err(get)?;
        let id: String = row.try_get(0).map_err(get)?;
        let Some(key) = key_of.get(id.as_str()) else { continue };
        own.entry((*key).clone()).or_default().extend(settle::mapped_id(&document));
    }
    Ok(own)
}

/// Settles the rows that wait and inserts them; gives how many were rejected.
pub(crate) async fn insert(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<u64> {
    let mut settled = Settled {
        rejected: settle::same_id(context, connection, model, TABLE).await?,
        ..Settled::default()
    };
    let foreign: Vec<Foreign> =
        foreign_keys(model).into_iter().filter(|foreign| !is_late(model, foreign)).collect();
    settle::references(context, connection, model, TABLE, &foreign, &mut settled).await?;
    for foreign in late_columns(model) {
        put_aside(context, connection, model, &foreign).await?;
    }
    if model.shares_key() {
        // No key of the table sees two rows of one id, so those who insert into it take turns, each
        // until its commit; the statement after this one sees what the others have inserted.
        connection
            .execute_with(
                "waiting for a turn to insert",
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))",
                &[Some(&context.names().table(model))],
            )
            .await?;
    }
    settled.rejected += insert_rows(context, connection, model).await?;
    keep_notes(context, connection).await?;
    let act = format!("staging junction rows of {}", model.table);
    for junction in junctions(model) {
        let (stage, kept) = (context.state.stage(junction.name), stage_name(junction));
        let sql = format!("SELECT count(*) FROM (SELECT FROM pg_temp.{kept} LIMIT 1) AS first");
        // Where nothing was staged there need be no place for it.
        if connection.count(&act, sql, &[]).await? > 0 {
            let sql = format!(
                "INSERT INTO {stage} SELECT * FROM pg_temp.{kept}; DELETE FROM pg_temp.{kept}"
            );
            connection.execute(&act, sql).await?;
        }
    }
    Ok(settled.rejected)
}

/// Keeps references aside whose row is not in the table yet.
pub(crate) async fn put_aside(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    foreign: &Foreign,
) -> Result<()> {
    let act = format!("keeping late references of {} aside", model.table);
    let column = quote_ident(foreign.column.name);
    let missing = format!(
        "k.{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {} p WHERE p.{} = k.{column})",
        context.names().table(foreign.target),
        quote_ident(foreign.key.name)
    );
    let late = connection
        .execute_with(
            &act,
            format!(
                "INSERT INTO {LATE} (run, model, column_name, row_key, value)
                 SELECT {}, $1, $2, k.{}::text, k.{column}::text FROM {TABLE} k WHERE {missing}",
                context.run.run,
                quote_ident(id_column(model).name),
            ),
            &[Some(model.name), Some(foreign.column.name)],
        )
        .await?;
    if late > 0 {
        connection
            .execute(&act, format!("UPDATE {TABLE} k SET {column} = NULL WHERE {missing}"))
            .await?;
    }
    Ok(())
}

/// Takes away what waits for the junctions beside rows that are rejected, where the table has another
/// row with their key: it would come to that one.
pub(crate) async fn unstage_doubles(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    keys: &[String],
) -> Result<()> {
    if model.junctions.is_empty() || keys.is_empty() {
        return Ok(());
    }
    let act = format!("looking for doubles in {}", model.table);
    let id = id_column(model);
    let sql = format!(
        "SELECT {0}::text FROM {1} WHERE {0} = ANY ($1::text[]::{2}[])",
        quote_ident(id.name),
        context.names().table(model),
        context.names().column_type(id)
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(keys).fetch_all(connection.raw()).await;
    let rows = rows.map_err(|error| target_error(&act, error))?;
    let taken: Vec<String> = rows
        .iter()
        .map(|row| row.try_get(0).map_err(|error| target_error(&act, error)))
        .collect::<Result<_>>()?;
    if !taken.is_empty() {
        let gone = load::unstage(context, connection, model, &taken).await?;
        settle::note_lost_elements(context, connection, model, gone).await?;
    }
    Ok(())
}

/// Inserts the rows that wait. Those whose unique value is taken stay behind and are rejected;
/// when another constraint refuses the statement, it is halved until the refused rows stand alone.
async fn insert_rows(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<u64> {
    let act = format!("inserting into {}", model.table);
    let id = id_column(model);
    let mut rejected = 0;
    if let Some(refused) = insert_some(context, connection, model, None, true).await? {
        // A key that is checked later cannot be asked for conflicts (55000, object not in
        // prerequisite state); each of its conflicts refuses the statement instead.
        let ask = sql_state(&refused) != Some("55000");
        // Something was refused: one by one, by halves.
        let rows = connection
            .query(
                &act,
                format!("SELECT {0}::text FROM {TABLE} ORDER BY {0}", quote_ident(id.name)),
                &[],
            )
            .await?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push(row.try_get::<String, _>(0).map_err(|error| target_error(&act, error))?);
        }
        let whole = 0..ids.len();
        let mut open = Vec::from([whole]);
        while let Some(range) = open.pop() {
            if range.is_empty() {
                continue;
            }
            let Some(refused) =
                insert_some(context, connection, model, Some(&ids[range.clone()]), ask).await?
            else {
                continue;
            };
            if range.len() > 1 {
                let middle = range.start + range.len() / 2;
                open.push(middle..range.end);
                open.push(range.start..middle);
                continue;
            }
            let (reason, field, message) = load::refusal_parts(model, &refused);
            let loser = Loser { key: ids[range.start].clone(), reason, field, message };
            rejected += settle::reject_rows(context, connection, model, TABLE, vec![loser]).await?;
        }
    }
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT k.{id}::text, EXISTS (SELECT FROM {} t WHERE t.{id} = k.{id}) FROM {TABLE} k",
                context.names().table(model),
                id = quote_ident(id.name),
            ),
            &[],
        )
        .await?;
    let mut losers = Vec::with_capacity(rows.len());
    for row in &rows {
        let get = |error| target_error(&act, error);
        let key: String = row.try_get(0).map_err(get)?;
        let (field, message) = match row.try_get(1).map_err(get)? {
            true => (
                "_id".to_owned(),
                format!(
                    "expected an id of its own, found one that becomes {key} as that of another row does"
                ),
            ),
            false => (
                unique_fields(model),
                "expected a unique value of its own, found one that another row has".to_owned(),
            ),
        };
        losers.push(Loser { key, reason: Reason::Duplicate, field, message });
    }
    rejected += settle::reject_rows(context, connection, model, TABLE, losers).await?;
    Ok(rejected)
}

/// Moves rows (all, or those of the ids) from the temporary table into the model's, and leaves
/// those behind whose unique value is taken, if it is to `ask` for those; gives the refusal when
/// the target refuses them.
async fn insert_some(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    ids: Option<&[String]>,
    ask: bool,
) -> Result<Option<Error>> {
    let act = format!("inserting into {}", model.table);
    let id = quote_ident(id_column(model).name);
    let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
    let columns = list(&columns);
    connection.execute("setting a savepoint", "SAVEPOINT kept").await?;
    let sql = format!(
        "WITH inserted AS (
            INSERT INTO {} ({columns}) SELECT {columns} FROM {TABLE}
            WHERE ($1::text[] IS NULL OR {id}::text = ANY ($1::text[])){alone} ORDER BY {id}
            {conflict} RETURNING {id}
         )
         DELETE FROM {TABLE} k USING inserted i WHERE k.{id} = i.{id}",
        context.names().table(model),
        conflict = if ask { "ON CONFLICT DO NOTHING" } else { "" },
        // A key that the id shares with other columns takes it twice.
        alone = match model.shares_key() {
            true => format!(
                " AND NOT EXISTS (SELECT FROM {} t WHERE t.{id} = {TABLE}.{id})",
                context.names().table(model)
            ),
            false => String::new(),
        },
    );
    let result = sqlx::query(AssertSqlSafe(sql))
        .bind(ids.map(<[String]>::to_vec))
        .execute(connection.raw())
        .await;
    match result.map_err(|error| target_error(&act, error)) {
        Ok(_) => {
            connection.execute("releasing a savepoint", "RELEASE SAVEPOINT kept").await?;
            Ok(None)
        }
        Err(error) if load::is_refusal(&error) || sql_state(&error) == Some("55000") => {
            connection.execute("rolling back to a savepoint", "ROLLBACK TO SAVEPOINT kept").await?;
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

/// The fields of a model's unique keys, of which one was taken.
fn unique_fields(model: &Model) -> String {
    let fields: Vec<String> = model
        .columns
        .iter()
        .filter(|column| column.unique)
        .chain(model.primary_key().filter(|column| !column.primary_key))
        .map(|column: &Column| settle::field_of(column))
        .collect();
    match fields.is_empty() {
        true => "_id".to_owned(),
        false => fields.join(", "),
    }
}

/// Sets the references that were kept aside, now that every row is there; those that still point
/// to nothing stay NULL and are noted.
pub(crate) async fn late_references(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let act = format!("setting the late references of {}", model.table);
    let names = context.names();
    let (state, run) = (&context.state, context.run.run);
    let id = quote_ident(id_column(model).name);
    let id_type = names.column_type(id_column(model));
    for foreign in late_columns(model) {
        let column = quote_ident(foreign.column.name);
        let key = quote_ident(foreign.key.name);
        let ty = names.column_type(foreign.column);
        let late = format!(
            "{} WHERE run = {run} AND model = $1 AND column_name = $2",
            state.table("late_reference")
        );
        let parameters = [Some(model.name), Some(foreign.column.name)];
        connection
            .execute_with(
                &act,
                format!(
                    "UPDATE {} t SET {column} = l.value::{ty}
                     FROM (SELECT row_key, value FROM {late}) l
                     WHERE t.{id} = l.row_key::{id_type}
                        AND EXISTS (SELECT FROM {} p WHERE p.{key} = l.value::{ty})",
                    names.table(model),
                    names.table(foreign.target)
                ),
                &parameters,
            )
            .await?;
        let lost = format!(
            "FROM (SELECT row_key, value FROM {late}) l
             JOIN {} t ON t.{id} = l.row_key::{id_type} WHERE t.{column} IS NULL",
            names.table(model)
        );
        let noted = connection
            .execute_with(
                &act,
                format!(
                    "INSERT INTO {} (run, table_schema, table_name, column_name, row_key, value, element)
                     SELECT {run}, $4, $3, $2, l.row_key, l.value, false {lost}",
                    state.table("orphan")
                ),
                &[
                    Some(model.name),
                    Some(foreign.column.name),
                    Some(model.table),
                    Some(names.schema_of(model)),
                ],
            )
            .await?;
        if noted > 0 {
            *settled.orphans.entry(foreign.column.name.to_owned()).or_default() += noted;
        }
        connection.execute_with(&act, format!("DELETE FROM {late}"), &parameters).await?;
    }
    settle::kept_orphans(context, connection, model, &mut settled).await?;
    Ok(settled)
}
