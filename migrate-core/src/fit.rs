//! Values too long for an index: PostgreSQL takes entries of at most about a third of a page, and
//! says so only when the index is built, after hours perhaps.
//!
//! The rows are found before anything is settled. What refers to one of them then finds it missing
//! and is treated as any reference to nothing, and its junction rows as any orphans; nothing needs
//! to be settled again. The index is built in a later transaction, because one that is built where
//! rows were deleted takes those up too, and waits where somebody may still see them.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};

use crate::context::Context;
use crate::deferred::{self, Deferred, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::reject::Reason;
use crate::run::Stop;
use crate::schema::{BaseType, Model, quote_ident};
use crate::settle::{self, Loser, Settled, id_column};
use crate::sink::{Connection, database_error, sql_state, target_error};
use crate::status;

/// An entry below this size always fits; the limit itself depends on the page and the columns.
const ALWAYS_FITS: usize = 2_600;

/// The SQLSTATE of an entry that is too long.
const TOO_LONG: &str = "54000";

/// Whether a definition is the `primary` key of a model or one of its other indexes, and values can
/// be too long for it. Only B-trees are looked after.
pub(crate) fn is_meant(model: &Model, definition: &Deferred, primary: bool) -> bool {
    definition.model == model.name
        && definition.kind != Kind::ForeignKey
        && (definition.kind == Kind::PrimaryKey) == primary
        && tail(definition).is_some()
        && definition.columns.iter().any(|sql| {
            model.column_of(sql).is_none_or(|column| {
                column.ty.dimensions > 0
                    || matches!(
                        column.ty.base,
                        BaseType::Text
                            | BaseType::Jsonb
                            | BaseType::Bytea
                            | BaseType::Numeric
                            | BaseType::Other(_)
                    )
            })
        })
}

/// Rejects the rows whose values do not fit into a table's `primary` key, or into the other indexes
/// that are not built yet.
pub(crate) async fn table(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    primary: bool,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let open = deferred::open_of(connection, &context.state, context.run.run, model).await?;
    for definition in open {
        if is_meant(model, &definition, primary)
            && !fits_anyway(context, connection, model, &definition).await?
        {
            settled.rejected += index(context, connection, model, &definition).await?;
        }
    }
    Ok(settled)
}

/// Whether no value of an index's columns can be too long, without a look at the rows.
///
/// PostgreSQL keeps a row within a quarter of a page: it presses values and then moves them into
/// the table's TOAST table. So while that is empty no row has more than an index entry may have,
/// if its columns are such that can be moved. (PostgreSQL's documentation, "TOAST".)
async fn fits_anyway(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    definition: &Deferred,
) -> Result<bool> {
    let table = context.names().table(model);
    let columns = serde_json::to_string(&definition.columns).unwrap_or_default();
    let fits = connection
        .count(
            &format!("looking for long values in {}", model.table),
            format!(
                r#"SELECT count(*) FROM pg_class c WHERE c.oid = $1::regclass
                    AND coalesce(pg_relation_size(nullif(c.reltoastrelid, 0::oid)), 0) = 0
                    AND coalesce(c.reloptions::text, '') NOT LIKE '%toast_tuple_target%'
                    AND {} = (SELECT count(*) FROM pg_attribute
                        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                            AND (attlen > 0 OR attstorage IN ('x', 'e'))
                            AND (quote_ident(attname) IN (SELECT jsonb_array_elements_text($2::jsonb))
                                OR '"' || replace(attname, '"', '""') || '"'
                                    IN (SELECT jsonb_array_elements_text($2::jsonb))))"#,
                definition.columns.len()
            ),
            &[Some(&table), Some(&columns)],
        )
        .await?;
    Ok(fits > 0)
}

/// Whether a statement failed at a value that is too long for an index, of whatever kind.
pub(crate) fn is_too_long(error: &Error) -> bool {
    sql_state(error) == Some(TOO_LONG)
}

/// Whether indexes of a model, or the one at `position`, may have met a row that was rejected for
/// its length.
///
/// An index also gets the rows that somebody else may still see: those that were deleted after the
/// oldest open transaction began. So it can be built as soon as that one ends.
pub(crate) async fn may_meet_a_rejected_row(
    context: &Context,
    connection: &mut Connection,
    model: &Model,
    position: Option<i32>,
) -> Result<bool> {
    let (state, run) = (&context.state, context.run.run);
    let open = deferred::open_of(connection, state, run, model).await?;
    let mut meant = open.iter().filter(|definition| {
        position.is_none_or(|position| position == definition.position)
            && [true, false].iter().any(|primary| is_meant(model, definition, *primary))
    });
    if meant.next().is_none() {
        return Ok(false);
    }
    let rejected = connection
        .count(
            "looking for rejected rows",
            format!(
                "SELECT count(*) FROM (
                    SELECT FROM {} WHERE run = {run} AND table_schema = $1 AND table_name = $2
                        AND reason = $3 LIMIT 1) AS first",
                state.table("reject")
            ),
            &[
                Some(context.names().schema_of(model)),
                Some(model.table),
                Some(Reason::TooLong.code()),
            ],
        )
        .await?;
    Ok(rejected > 0)
}

/// Waits until the transactions have ended that other workers of the run have open now, or until
/// this process is asked to stop, or one of its workers has failed. The caller has none open.
pub(crate) async fn wait_for_workers(
    context: &Context,
    connection: &mut Connection,
    failed: &Stop,
) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(500);
    let before = open_transactions(context, connection).await?;
    let mut is_told = false;
    loop {
        context.check_stop()?;
        let moved = context.watch.next_commit();
        let now = open_transactions(context, connection).await?;
        if failed.is_stopped() || before.is_disjoint(&now) {
            return Ok(());
        }
        if !is_told {
            let what = "a row that was rejected for its length may still be seen by another worker";
            context.reporter.event(&Event::Waiting { what, delay: PAUSE });
            is_told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = moved => {}
        }
    }
}

/// The transactions of other workers of the run that have changed something: session and number.
async fn open_transactions(
    context: &Context,
    connection: &mut Connection,
) -> Result<BTreeSet<(i32, String)>> {
    const ACT: &str = "looking for other workers";
    let rows = connection
        .query(
            ACT,
            "SELECT pid, backend_xid::text, application_name FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
                AND backend_xid IS NOT NULL"
                .to_owned(),
            &[],
        )
        .await?;
    let mut open = BTreeSet::new();
    for row in &rows {
        let get = |error| target_error(ACT, error);
        let name: String = row.try_get(2).map_err(get)?;
        if status::is_worker(&name, context.state.name(), context.run.run) {
            open.insert((row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?));
        }
    }
    Ok(open)
}

/// Says of an index that could not be built although no worker's transaction is in its way, that
/// somebody else's may be: that may pass.
pub(crate) fn seen_by_others(error: Error) -> Error {
    let seen = "a row that was rejected for its length may still be seen by another session";
    Error::new(ErrorKind::TargetBusy, seen).caused_by(error).with_hint(
        "end what has been open on the target since before (`SELECT * FROM pg_stat_activity ORDER BY xact_start`, `pg_prepared_xacts`, `pg_replication_slots` with an `xmin`), then give the same command again",
    )
}

/// Rejects the rows whose values do not fit into one index.
async fn index(
    context: &Context,
    connection: &mut Connection,
    model: &'static Model,
    definition: &Deferred,
) -> Result<u64> {
    let Some(tail) = tail(definition) else { return Ok(0) };
    let act = format!("looking for values too long for {}", definition.name);
    let table = context.names().table(model);
    let id = quote_ident(id_column(model).name);
    // What a value takes up as it is stored; an index may press it further, never less.
    let sizes: Vec<String> = definition
        .columns
        .iter()
        .map(|column| format!("coalesce(pg_column_size({column}), 0)"))
        .collect();
    let rows = connection
        .query(
            &act,
            format!(
                "SELECT {id}::text FROM {table} WHERE {} > {ALWAYS_FITS} ORDER BY {id}",
                sizes.join(" + ")
            ),
            &[],
        )
        .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        keys.push(row.try_get::<String, _>(0).map_err(|error| target_error(&act, error))?);
    }
    connection
        .execute(
            &act,
            format!(
                "DROP TABLE IF EXISTS pg_temp.migrate_fit;
                 CREATE TEMPORARY TABLE migrate_fit (LIKE {table}) ON COMMIT DROP;
                 CREATE INDEX ON pg_temp.migrate_fit {tail}"
            ),
        )
        .await?;
    let mut losers = Vec::new();
    let whole = 0..keys.len();
    let mut open = Vec::from([whole]);
    while let Some(range) = open.pop() {
        connection.execute(&act, "SAVEPOINT fit").await?;
        let sql = format!(
            "INSERT INTO pg_temp.migrate_fit SELECT * FROM {table}
             WHERE {id} = ANY ($1::text[]::{}[])",
            context.names().column_type(id_column(model))
        );
        let result = sqlx::query(AssertSqlSafe(sql))
            .bind(&keys[range.clone()])
            .execute(connection.raw())
            .await
            .map_err(|error| target_error(&act, error));
        connection.execute(&act, "ROLLBACK TO SAVEPOINT fit; RELEASE SAVEPOINT fit").await?;
        match result {
            Ok(_) => {}
            Err(error) if sql_state(&error) == Some(TOO_LONG) => {
                if range.len() == 1 {
                    losers.push(Loser {
                        key: keys[range.start].clone(),
                        reason: Reason::TooLong,
                        field: settle::fields_of(model, &definition.columns),
                        message: message(definition, &error),
                    });
                } else {
                    let middle = range.start + range.len() / 2;
                    open.push(middle..range.end);
                    open.push(range.start..middle);
                }
            }
            Err(error) => return Err(error),
        }
    }
    settle::reject_rows(context, connection, model, &table, losers).await
}

/// What follows the table in the definition of a B-tree: columns, parameters and condition.
fn tail(definition: &Deferred) -> Option<String> {
    let (_, behind) = definition.build.split_once(" ON ")?;
    let tail = match behind.split_once(" USING ") {
        Some((_, method)) => method.strip_prefix("btree ")?,
        None => behind.strip_prefix(&definition.table)?,
    };
    // Rows are tried without regard to each other.
    Some(tail.trim_start().replacen(" NULLS NOT DISTINCT", "", 1))
}

/// The server says `index row size 10016 exceeds btree version 4 maximum 2704 for index "..."`,
/// or for much longer rows `index row requires 30016 bytes, maximum size is 8191`.
fn message(definition: &Deferred, error: &Error) -> String {
    let said = database_error(error).map_or("", |error| error.message());
    let number = |word: &str| {
        let (_, rest) = said.split_once(word)?;
        let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
        (!digits.is_empty()).then_some(digits)
    };
    let most = number("maximum size is ").or_else(|| number("maximum "));
    let found = number("index row size ").or_else(|| number("index row requires "));
    match (most, found) {
        (Some(most), Some(found)) => format!(
            "expected at most {most} bytes for an entry of the index {}, found {found}",
            definition.name
        ),
        _ => format!("expected values that fit into the index {}, found {said}", definition.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(build: &str) -> Deferred {
        Deferred {
            position: 0,
            model: "T".to_owned(),
            table: "\"public\".\"T\"".to_owned(),
            name: "i".to_owned(),
            kind: Kind::Index,
            build: build.to_owned(),
            attach: None,
            validate: None,
            columns: Vec::new(),
            predicate: None,
        }
    }

    #[test]
    fn the_tail_of_a_definition_is_what_follows_the_table() {
        for (build, expected) in [
            ("CREATE INDEX \"i\" ON \"public\".\"T\" (\"a\", \"b\")", Some("(\"a\", \"b\")")),
            (
                "CREATE UNIQUE INDEX i ON public.\"T\" USING btree (lower(a)) INCLUDE (b) NULLS NOT DISTINCT WHERE (a <> ''::text)",
                Some("(lower(a)) INCLUDE (b) WHERE (a <> ''::text)"),
            ),
            ("CREATE INDEX i ON public.\"T\" USING gin (a)", None),
        ] {
            assert_eq!(tail(&definition(build)).as_deref(), expected);
        }
    }
}
