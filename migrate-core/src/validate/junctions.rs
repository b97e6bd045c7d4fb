//! Junctions: the pairs that the arrays ask for against those in the target.
//!
//! The pairs of the target are known as hashes, and each element's is looked up as it is read. What
//! is not found goes into a temporary table, and PostgreSQL says whether its rows are there. Where
//! the hashes would take too much memory, and where every element is wanted later, all elements go
//! there, as they do into staging tables while loading, and PostgreSQL compares the two sets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, Row as _};
use xxhash_rust::xxh3::xxh3_64;

use super::hashes::Hashes;
use super::look::Cursor;
use super::references::Link;
use super::tuples::{Tuples, tuple_length};
use super::{JunctionReport, Named, Report, canonical, needed_connection};
use crate::context::Context;
use crate::ddl::{foreign_keys, list};
use crate::error::Result;
use crate::report;
use crate::schema::{Model, ModelKind, quote_ident};
use crate::sink::{Connection, target_error};
use crate::staging;

/// Pairs that nobody asked for are sent to the target in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// The pairs of one junction as the target has them.
pub(super) struct Pairs {
    model: &'static Model,
    hashes: Hashes<()>,
    /// The rows; until they are scanned, about how many there are.
    rows: AtomicU64,
}

impl Pairs {
    fn new(model: &'static Model, rows: u64) -> Self {
        Self { model, hashes: Hashes::default(), rows: AtomicU64::new(rows) }
    }

    /// The model.
    pub(super) const fn model(&self) -> &'static Model {
        self.model
    }

    /// About how many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Reads the table, and follows its references by `links`.
    pub(super) async fn scan(
        &self,
        context: &Context,
        connection: &mut Connection,
        links: &[Link],
    ) -> Result<()> {
        let expected = self.rows.load(Ordering::Relaxed) as usize;
        let mut hashes = Vec::with_capacity(expected + expected / 32);
        let mut form = Vec::new();
        let act = format!("reading {}", self.model.table);
        let query = pairs_query(context, self.model);
        let mut tuples = Tuples::open(connection, act, &query).await?;
        while let Some(tuple) = tuples.next().await? {
            hashes.push((pair_hash(self.model, &tuple, &mut form), ()));
            let cells = pair_cells(&form);
            for link in links {
                match cells.get(link.place) {
                    Some(cell) => link.follow(xxh3_64(cell)),
                    None => link.doubt(),
                }
            }
        }
        for link in links {
            link.count(hashes.len() as u64);
        }
        self.rows.store(hashes.len() as u64, Ordering::Relaxed);
        self.hashes.extend(hashes);
        Ok(())
    }

    /// Asks for the pairs of staged tuples; those that are not there are appended to `missing`.
    pub(super) fn give(&self, mut staged: &[u8], form: &mut Vec<u8>, missing: &mut Vec<u8>) {
        while let Some(length) = tuple_length(staged) {
            let (tuple, rest) = staged.split_at(length);
            staged = rest;
            if self.hashes.give(pair_hash(self.model, tuple, form)).is_none() {
                missing.extend_from_slice(tuple);
            }
        }
    }
}

/// The hash of a junction's pair: of the first two cells of a tuple. Their forms are left in `form`.
fn pair_hash(model: &Model, tuple: &[u8], form: &mut Vec<u8>) -> u64 {
    form.clear();
    let mut offset = 2;
    for column in model.pair() {
        let length = &tuple[offset..offset + 4];
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        offset += 4;
        let length = usize::try_from(length).unwrap_or_default();
        canonical::append(column.ty, &tuple[offset..offset + length], form);
        offset += length;
    }
    xxh3_64(form)
}

/// The two cells in the form of a pair.
fn pair_cells(form: &[u8]) -> [&[u8]; 2] {
    let length = u32::from_be_bytes([form[0], form[1], form[2], form[3]]) as usize;
    let (first, second) = form.split_at(4 + length);
    [first, second]
}

/// The query for the pairs of a junction's table.
fn pairs_query(context: &Context, model: &Model) -> String {
    let columns = list(&model.pair().map(|column| column.name));
    format!("SELECT {columns} FROM {}", context.names().table(model))
}

/// The elements of all arrays.
#[derive(Default)]
pub(super) struct Elements {
    /// The junctions that are compared.
    junctions: Vec<&'static Model>,
    /// Elements by junction, those that are no ids among them.
    read: HashMap<&'static str, u64>,
    /// The pairs of the target, of junctions that are compared by their hashes.
    pairs: HashMap<&'static str, Arc<Pairs>>,
    /// What their hashes take.
    hash_bytes: u64,
    /// The junctions in whose temporary table there is something.
    filled: HashSet<&'static str>,
}

impl Elements {
    /// Makes the temporary tables of the junctions that are compared; they go with the connection.
    /// The pairs of the target are to be scanned, as far as their hashes fit into `most_bytes`.
    pub(super) async fn prepare(
        context: &Context,
        connection: &mut Connection,
        compared: &HashSet<&'static str>,
        most_bytes: u64,
    ) -> Result<Self> {
        let junctions: Vec<&'static Model> =
            context.junction_models().filter(|model| compared.contains(model.name)).collect();
        let mut pairs = HashMap::new();
        let mut bytes = 0;
        // A position can be told from another one only in the target's own table.
        let mut hashed = junctions.clone();
        hashed.retain(|model| most_bytes > 0 && model.ordinal().is_none());
        let rows = report::rows(context, connection, &hashed).await?;
        for model in &junctions {
            if let Some(&rows) = rows.get(model.name)
                && bytes + Hashes::<()>::bytes(rows) <= most_bytes
            {
                bytes += Hashes::<()>::bytes(rows);
                pairs.insert(model.name, Arc::new(Pairs::new(model, rows)));
            }
            let sql = format!(
                "CREATE TEMPORARY TABLE {} {}",
                quote_ident(&format!("element_{}", model.name)),
                staging::element_columns(context.names(), model)
            );
            connection.execute("preparing the junctions", sql).await?;
        }
        Ok(Self {
            junctions,
            read: HashMap::new(),
            pairs,
            hash_bytes: bytes,
            filled: HashSet::new(),
        })
    }

    /// What the hashes of the target's pairs take.
    pub(super) fn hash_bytes(&self) -> u64 {
        self.hash_bytes
    }

    /// The pairs that are to be scanned.
    pub(super) fn hashed(&self) -> impl Iterator<Item = &Arc<Pairs>> {
        self.pairs.values()
    }

    /// The target's pairs for each junction field of a model, where they are hashed.
    pub(super) fn pairs_of(&self, model: &Model) -> Vec<Option<Arc<Pairs>>> {
        let pairs = |name: &str| self.pairs.get(name).map(Arc::clone);
        model.junctions.iter().map(|field| pairs(field.table.get().name)).collect()
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
            self.filled.insert(junction.name);
            let statement = staging::copy(&Self::table(junction), junction);
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
        if let Some(pairs) = self.pairs.get(model.name) {
            return self.compare_hashed(context, connection, model, pairs).await;
        }
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
        if matched != report.source || matched != report.target {
            let missing = format!("{expected} EXCEPT {actual}");
            report.missing = name_pairs(connection, &act, model, &missing).await?;
            if !is_sample {
                let extra = format!("{actual} EXCEPT {expected}");
                report.extra = name_pairs(connection, &act, model, &extra).await?;
            }
        }
        connection.execute(&act, format!("DROP TABLE {made}")).await?;
        if report.extra.count <= report.before {
            // Pairs that were there before nobody asked for.
            report.extra = super::Named::default();
        }
        if !is_sample {
            add_up(context, connection, model, &mut report).await?;
        }
        Ok(report)
    }

    /// Compares a junction whose elements were looked up as they were read.
    async fn compare_hashed(
        &self,
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
        pairs: &Pairs,
    ) -> Result<JunctionReport> {
        let act = format!("comparing {}", model.table);
        let table = context.names().table(model);
        let pair = list(&model.pair().map(|column| column.name));
        let mut report = JunctionReport {
            model: model.name.to_owned(),
            table: model.table.to_owned(),
            source: pairs.hashes.given(),
            target: pairs.rows.load(Ordering::Relaxed),
            elements: self.read.get(model.name).copied().unwrap_or_default(),
            before: rows_before(context, &table),
            ..JunctionReport::default()
        };
        // Values of which PostgreSQL says that they are equal may have two hashes, so it has the
        // last word on both sides.
        if self.filled.contains(model.name) {
            let expected = quote_ident(&format!("expected_{}", model.name));
            let sql =
                format!("CREATE TEMPORARY TABLE {expected} AS {}", expected_pairs(context, model));
            report.source += connection.execute(&act, sql).await?;
            let sql =
                format!("SELECT {pair} FROM pg_temp.{expected} EXCEPT SELECT {pair} FROM {table}");
            report.missing = name_pairs(connection, &act, model, &sql).await?;
            connection.execute(&act, format!("DROP TABLE pg_temp.{expected}")).await?;
        }
        if pairs.hashes.left() > report.before {
            let left = quote_ident(&format!("left_{}", model.name));
            let sql =
                format!("CREATE TEMPORARY TABLE {left} AS SELECT {pair} FROM {table} WITH NO DATA");
            connection.execute(&act, sql).await?;
            self.send_left(context, connection, model, pairs, &left).await?;
            let sql = format!(
                "SELECT {pair} FROM pg_temp.{left} EXCEPT SELECT {pair} FROM {}",
                Self::table(model)
            );
            report.extra = name_pairs(connection, &act, model, &sql).await?;
            if report.extra.count <= report.before {
                report.extra = Named::default();
            }
            connection.execute(&act, format!("DROP TABLE pg_temp.{left}")).await?;
        }
        add_up(context, connection, model, &mut report).await?;
        Ok(report)
    }

    /// Puts the pairs that no element asked for into a temporary table.
    async fn send_left(
        &self,
        context: &Context,
        connection: &mut Connection,
        model: &'static Model,
        pairs: &Pairs,
        left: &str,
    ) -> Result<()> {
        let act = format!("comparing {}", model.table);
        // Their values are gone with the hash, so the table is gone through once more.
        let mut reader = needed_connection(context).await?;
        let mut form = Vec::new();
        let query = pairs_query(context, model);
        let mut tuples = Tuples::open(&mut reader, act.clone(), &query).await?;
        let mut piece = Vec::new();
        loop {
            let tuple = tuples.next().await?;
            if let Some(tuple) = &tuple
                && pairs.hashes.is_left(pair_hash(model, tuple, &mut form))
            {
                piece.extend_from_slice(tuple);
            }
            let is_end = tuple.is_none();
            if piece.len() >= PIECE_BYTES || (is_end && !piece.is_empty()) {
                let statement = format!("COPY pg_temp.{left} FROM STDIN (FORMAT binary)");
                connection.copy(&act, &statement, &piece).await?;
                piece.clear();
            }
            if is_end {
                break;
            }
        }
        drop(tuples);
        reader.close().await;
        Ok(())
    }
}

/// Counts the pairs that a query gives and names the first of them.
async fn name_pairs(
    connection: &mut Connection,
    act: &str,
    model: &Model,
    query: &str,
) -> Result<Named<String>> {
    let shown: Vec<String> =
        model.columns.iter().map(|column| format!("{}::text", quote_ident(column.name))).collect();
    let query = format!("SELECT {} FROM ({query}) AS pairs ORDER BY 1, 2", shown.join(", "));
    let mut named = Named::default();
    connection.execute(act, "BEGIN").await?;
    let name = format!("pairs_{}", model.name);
    let mut cursor = Cursor::open(connection, act, &name, &query).await?;
    while let Some(rows) = cursor.page(connection).await? {
        let get = |error| target_error(act, error);
        for row in &rows {
            let (first, second): (String, String) =
                (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
            named.push(match model.ordinal() {
                None => format!("{first}, {second}"),
                Some(column) => {
                    let position: Option<String> = row.try_get(2).map_err(get)?;
                    let position = position.as_deref().unwrap_or("null");
                    format!("{first}, {second}, {} {position}", column.name)
                }
            });
        }
    }
    connection.execute(act, "COMMIT").await?;
    Ok(named)
}

/// Adds what the runs have noted of a junction, and whether its sums hold.
async fn add_up(
    context: &Context,
    connection: &mut Connection,
    model: &Model,
    report: &mut JunctionReport,
) -> Result<()> {
    (report.duplicates, report.orphans) = noted(context, connection, model).await?;
    report.counts_hold =
        report.elements + report.before == report.target + report.duplicates + report.orphans;
    Ok(())
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
