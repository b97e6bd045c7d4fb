//! Junctions: the pairs that the arrays ask for against those in the target.
//!
//! The arrays' elements go into temporary tables of the target, as they do into staging tables
//! while loading, and PostgreSQL compares the two sets.

use std::collections::{HashMap, HashSet};

use sqlx::{AssertSqlSafe, Row as _};

use super::look::Cursor;
use super::{JunctionReport, Report};
use crate::context::Context;
use crate::ddl::{foreign_keys, list};
use crate::error::Result;
use crate::run;
use crate::schema::{Model, ModelKind, quote_ident};
use crate::sink::{Connection, target_error};

/// The elements of all arrays, in temporary tables of the target, one per junction.
#[derive(Default)]
pub(super) struct Elements {
    /// The junctions that are compared.
    junctions: Vec<&'static Model>,
    /// Elements by junction, those that are no ids among them.
    read: HashMap<&'static str, u64>,
}

impl Elements {
    /// Makes the temporary tables of the junctions that are compared; they go with the connection.
    pub(super) async fn prepare(
        context: &Context,
        connection: &mut Connection,
        compared: &HashSet<&'static str>,
    ) -> Result<Self> {
        let junctions: Vec<&'static Model> =
            context.junction_models().filter(|model| compared.contains(model.name)).collect();
        for model in &junctions {
            let sql = format!(
                "CREATE TEMPORARY TABLE {} {}",
                quote_ident(&format!("element_{}", model.name)),
                run::stage_columns(context.names(), model)
            );
            connection.execute("preparing the junctions", sql).await?;
        }
        Ok(Self { junctions, read: HashMap::new() })
    }

    /// The junctions that are compared.
    pub(super) fn junctions(&self) -> &[&'static Model] {
        &self.junctions
    }

    /// Whether arrays of the model are wanted.
    pub(super) fn wants(&self, model: &Model) -> bool {
        model.junctions.iter().any(|field| self.has(field.table.get()))
    }

    fn has(&self, junction: &Model) -> bool {
        self.junctions.iter().any(|known| known.same(junction))
    }

    /// The temporary table of a junction, in SQL.
    pub(super) fn table(model: &Model) -> String {
        format!("pg_temp.{}", quote_ident(&format!("element_{}", model.name)))
    }

    /// Adds rows of a model's junction fields, and how many elements there were in all.
    pub(super) async fn add(
        &mut self,
        connection: &mut Connection,
        model: &'static Model,
        junctions: &[Vec<u8>],
        elements: &[u64],
    ) -> Result<()> {
        for ((field, rows), elements) in model.junctions.iter().zip(junctions).zip(elements) {
            let junction = field.table.get();
            if !self.has(junction) {
                continue;
            }
            *self.read.entry(junction.name).or_default() += elements;
            if rows.is_empty() {
                continue;
            }
            let statement = run::stage_copy(&Self::table(junction), junction);
            connection.copy("comparing a junction", &statement, rows).await?;
        }
        Ok(())
    }

    /// Adds pairs of a model's junction fields, with their places in the array, as text.
    pub(super) async fn add_texts(
        &self,
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
        texts: Vec<Vec<([String; 2], i32)>>,
    ) -> Result<()> {
        for (index, (field, pairs)) in model.junctions.iter().zip(texts).enumerate() {
            let junction = field.table.get();
            if pairs.is_empty() || !self.has(junction) {
                continue;
            }
            let types = junction.pair().map(|column| context.names().column_type(column));
            let places: Vec<Option<i32>> =
                pairs.iter().map(|(_, place)| field.position.then_some(*place)).collect();
            let (first, second): (Vec<String>, Vec<String>) =
                pairs.into_iter().map(|([first, second], _)| (first, second)).unzip();
            let ordinal = junction.ordinal().map(|column| quote_ident(column.name));
            let place = if ordinal.is_some() { ", p" } else { "" };
            sqlx::query(AssertSqlSafe(format!(
                "INSERT INTO {} ({}, origin{})
                 SELECT a, b, {}::smallint{place}
                 FROM unnest($1::text[]::{}[], $2::text[]::{}[], $3::int[]) AS new (a, b, p)",
                Self::table(junction),
                list(&junction.pair().map(|column| column.name)),
                ordinal.map_or(String::new(), |name| format!(", {name}")),
                context.origins(model)[index],
                types[0],
                types[1],
            )))
            .bind(first)
            .bind(second)
            .bind(places)
            .execute(connection.raw())
            .await
            .map_err(|error| target_error("comparing a junction", error))?;
        }
        Ok(())
    }

    /// Compares every junction. With `is_sample` the arrays of some documents are there only, so
    /// that nothing can be said about pairs that none of them asks for, nor about sums.
    pub(super) async fn compare(
        &self,
        context: &Context,
        connection: &mut Connection,
        is_sample: bool,
        report: &mut Report,
    ) -> Result<()> {
        for model in &self.junctions {
            context.check_stop()?;
            let junction = self.compare_one(context, connection, model, is_sample).await?;
            report.junctions.push(junction);
        }
        Ok(())
    }

    async fn compare_one(
        &self,
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
        is_sample: bool,
    ) -> Result<JunctionReport> {
        let act = format!("comparing {}", model.table);
        let names = context.names();
        let columns: Vec<&str> = model.columns.iter().map(|column| column.name).collect();
        // Made once, because it is asked for several times.
        let made = format!("pg_temp.{}", quote_ident(&format!("expected_{}", model.name)));
        let source = connection
            .execute(
                &act,
                format!(
                    "ANALYZE {}; CREATE TEMPORARY TABLE {} AS {}",
                    Self::table(model),
                    made.trim_start_matches("pg_temp."),
                    expected_pairs(context, model)
                ),
            )
            .await?;
        let table = names.table(model);
        let mut report = JunctionReport {
            model: model.name.to_owned(),
            table: model.table.to_owned(),
            source,
            target: connection.count(&act, format!("SELECT count(*) FROM {table}"), &[]).await?,
            elements: self.read.get(model.name).copied().unwrap_or_default(),
            before: rows_before(context, &table),
            counts_hold: true,
            ..JunctionReport::default()
        };
        let same = columns.iter().enumerate().map(|(index, column)| {
            let same = if index < 2 { "=" } else { "IS NOT DISTINCT FROM" };
            format!("e.{0} {same} j.{0}", quote_ident(column))
        });
        let same: Vec<String> = same.collect();
        let matched = connection
            .count(
                &act,
                format!("SELECT count(*) FROM {made} e JOIN {table} j ON {}", same.join(" AND ")),
                &[],
            )
            .await?;
        // What is not the same on both sides is looked at pair by pair.
        let expected = format!("SELECT {} FROM {made}", list(&columns));
        let actual = format!("SELECT {} FROM {table}", list(&columns));
        connection.execute(&act, "BEGIN").await?;
        for missing in [true, false] {
            let all_match = matched == report.source && matched == report.target;
            if all_match || (is_sample && !missing) {
                continue;
            }
            let (left, right) = if missing { (&expected, &actual) } else { (&actual, &expected) };
            let shown: Vec<String> =
                columns.iter().map(|column| format!("{}::text", quote_ident(column))).collect();
            let mut cursor = Cursor::open(
                connection,
                &act,
                &format!("pairs_{missing}_{}", model.name),
                &format!(
                    "SELECT {} FROM ({left} EXCEPT {right}) AS pairs ORDER BY 1, 2",
                    shown.join(", ")
                ),
            )
            .await?;
            while let Some(rows) = cursor.page(connection).await? {
                let get = |error| target_error(&act, error);
                let named = if missing { &mut report.missing } else { &mut report.extra };
                for row in &rows {
                    let (first, second): (String, String) =
                        (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
                    named.push(match columns.get(2) {
                        None => format!("{first}, {second}"),
                        Some(column) => {
                            let position: Option<String> = row.try_get(2).map_err(get)?;
                            let position = position.as_deref().unwrap_or("null");
                            format!("{first}, {second}, {column} {position}")
                        }
                    });
                }
            }
        }
        connection.execute(&act, format!("COMMIT; DROP TABLE {made}")).await?;
        if report.extra.count <= report.before {
            // Pairs that were there before nobody asked for.
            report.extra = super::Named::default();
        }
        if !is_sample {
            (report.duplicates, report.orphans) = noted(context, connection, model).await?;
            report.counts_hold = report.elements + report.before
                == report.target + report.duplicates + report.orphans;
        }
        Ok(report)
    }
}

/// The pairs that the arrays ask for and whose rows are both there, in SQL, with their positions
/// where the junction has them.
pub(super) fn expected_pairs(context: &Context, model: &'static Model) -> String {
    let pair = list(&model.pair().map(|column| column.name));
    let position = match model.ordinal() {
        Some(column) => format!(", min({0}) AS {0}", quote_ident(column.name)),
        None => String::new(),
    };
    let there: Vec<String> = foreign_keys(model)
        .iter()
        .map(|foreign| {
            format!(
                "EXISTS (SELECT FROM {} p WHERE p.{} = e.{})",
                context.names().table(foreign.target),
                quote_ident(foreign.key.name),
                quote_ident(foreign.column.name)
            )
        })
        .collect();
    format!(
        "SELECT {pair}{position} FROM {} e WHERE {} GROUP BY {pair}",
        Elements::table(model),
        there.join(" AND ")
    )
}

/// How many rows a table held before the first run.
pub(super) fn rows_before(context: &Context, table: &str) -> u64 {
    context.run.created.rows_before.get(table).copied().unwrap_or_default()
}

/// The duplicates and the orphans of a junction, as the runs have noted them.
async fn noted(
    context: &Context,
    connection: &mut Connection,
    model: &Model,
) -> Result<(u64, u64)> {
    let act = format!("adding up {}", model.table);
    debug_assert_eq!(model.kind, ModelKind::Junction, "only junctions have elements");
    let duplicates = connection
        .count(
            &act,
            format!(
                "SELECT coalesce(sum((result->>'duplicates')::bigint), 0)::bigint FROM {}
                 WHERE body->>'task' = 'junction' AND body->>'model' = $1",
                context.state.table("task")
            ),
            &[Some(model.name)],
        )
        .await?;
    let orphans = connection
        .count(
            &act,
            format!(
                "SELECT count(*) FROM {} WHERE {} AND element",
                context.state.table("orphan"),
                context.names().is_noted(model)
            ),
            &[],
        )
        .await?;
    Ok((duplicates, orphans))
}
