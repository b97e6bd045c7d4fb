//! The floor: the same rows, loaded by PostgreSQL itself from binary files on its own disk, and
//! then the same keys, indexes and foreign keys, on as many connections as a run has. Nothing
//! that goes through a client can be faster.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use migrate_core::schema::{quote_ident, quote_literal};
use migrate_servers::{Postgres, Result};
use serde::Serialize;

/// A table with more bytes than this is cut, so that several connections load it.
const PART_BYTES: u64 = 16 << 20;
/// Where the floor's tables are made, beside those of the run.
const SCHEMA: &str = "migrate_bench_floor";

/// What the floor loads, taken from a loaded database.
#[derive(Debug)]
pub(super) struct Floor {
    /// The binary files, the largest first.
    files: Vec<File>,
    schema: String,
    tables: Vec<String>,
    /// Indexes, those of keys among them.
    indexes: Vec<String>,
    /// `ALTER TABLE` that makes a key of an index; quick.
    keys: Vec<String>,
    /// `ALTER TABLE` that adds a foreign key without looking at the rows; quick.
    foreign_keys: Vec<String>,
    /// `ALTER TABLE` that looks at the rows.
    validations: Vec<String>,
    settings: String,
}

#[derive(Debug)]
struct File {
    table: String,
    path: String,
    bytes: u64,
}

/// How long the floor took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct FloorTimes {
    /// All of it, in seconds.
    pub(super) seconds: f64,
    /// `COPY FROM`.
    pub(super) load_seconds: f64,
    /// Indexes and keys.
    pub(super) index_seconds: f64,
    /// Foreign keys.
    pub(super) foreign_key_seconds: f64,
}

impl Floor {
    /// Writes the rows of `tables` (of one schema) to files below `folder`, which PostgreSQL must
    /// be able to write, and notes their constraints.
    pub(super) fn of(
        server: &Postgres,
        database: &str,
        schema: &str,
        tables: &[String],
        folder: &Path,
        jobs: usize,
        sort_bytes: u64,
    ) -> Result<Self> {
        let mut session = server.session(database)?;
        // Definitions then name tables without their schema, and mean those of another one.
        session.query(&format!("SET search_path = {}", quote_ident(schema)))?;
        let mut floor = Self {
            files: Vec::new(),
            schema: schema.to_owned(),
            tables: tables.to_vec(),
            indexes: Vec::new(),
            keys: Vec::new(),
            foreign_keys: Vec::new(),
            validations: Vec::new(),
            settings: format!(
                "SET search_path = {}, {}; SET maintenance_work_mem = '{}kB'; \
                 SET synchronous_commit = off",
                quote_ident(SCHEMA),
                quote_ident(schema),
                (sort_bytes / jobs as u64).clamp(1 << 20, (2 << 30) - 1024) >> 10,
            ),
        };
        for (number, table) in tables.iter().enumerate() {
            let regclass = format!("{}::regclass", quote_literal(&quote_ident(table)));
            let size = session.query(&format!(
                "SELECT pg_relation_size({regclass}), \
                 pg_relation_size({regclass}) / current_setting('block_size')::bigint"
            ))?;
            let cell = |index: usize| -> u64 {
                let cell = size.first().and_then(|row| row.get(index)?.as_ref()?.parse().ok());
                cell.unwrap_or_default()
            };
            let (bytes, pages) = (cell(0), cell(1));
            let parts = (bytes / PART_BYTES + 1).min(4 * jobs as u64);
            for part in 0..parts {
                let path = folder.join(format!("{number}-{part}.copy")).display().to_string();
                let (first, end) = (pages * part / parts, pages * (part + 1) / parts);
                session.query(&format!(
                    "COPY (SELECT * FROM {} WHERE ctid >= '({first},0)' AND ctid < '({end},0)') \
                     TO {} (FORMAT binary)",
                    quote_ident(table),
                    quote_literal(&path)
                ))?;
                floor.files.push(File { table: table.clone(), path, bytes: bytes / parts });
            }
            floor.add_constraints(&mut session, table, &regclass)?;
        }
        floor.files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        Ok(floor)
    }

    fn add_constraints(
        &mut self,
        session: &mut migrate_servers::Session,
        table: &str,
        regclass: &str,
    ) -> Result<()> {
        let table = quote_ident(table);
        let indexes = session.query(&format!(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = {regclass} \
             ORDER BY indexrelid"
        ))?;
        // `ON schema.table` where a definition is written in full.
        self.indexes.extend(indexes.into_iter().flatten().flatten().map(unqualified));
        let constraints = session.query(&format!(
            "SELECT conname, contype, \
                    (SELECT relname FROM pg_class i WHERE i.oid = conindid), \
                    pg_get_constraintdef(oid) \
             FROM pg_constraint WHERE conrelid = {regclass} ORDER BY conname"
        ))?;
        for row in constraints {
            let cell = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
            let (name, index) = (quote_ident(&cell(0)), quote_ident(&cell(2)));
            match cell(1).as_str() {
                kind @ ("p" | "u") => {
                    let kind = if kind == "p" { "PRIMARY KEY" } else { "UNIQUE" };
                    self.keys.push(format!(
                        "ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {index}"
                    ));
                }
                "f" => {
                    self.foreign_keys.push(format!(
                        "ALTER TABLE {table} ADD CONSTRAINT {name} {} NOT VALID",
                        cell(3)
                    ));
                    self.validations
                        .push(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the tables take on the disk, without their indexes.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Loads it into a schema of its own of `database`, which has the tables to copy, and removes
    /// it again; only the load and the constraints are timed.
    pub(super) fn load(
        &self,
        server: &Postgres,
        database: &str,
        jobs: usize,
    ) -> Result<FloorTimes> {
        let mut session = server.session(database)?;
        let schema = quote_ident(SCHEMA);
        session.query(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))?;
        session.query(&format!("CREATE SCHEMA {schema}"))?;
        session.query(&self.settings)?;
        for table in &self.tables {
            let table = quote_ident(table);
            session.query(&format!(
                "CREATE TABLE {schema}.{table} (LIKE {}.{table} INCLUDING DEFAULTS)",
                quote_ident(&self.schema)
            ))?;
        }
        session.query("CHECKPOINT")?;

        let started = Instant::now();
        let copies = self.files.iter().map(|file| {
            format!(
                "COPY {} FROM {} (FORMAT binary)",
                quote_ident(&file.table),
                quote_literal(&file.path)
            )
        });
        self.side_by_side(server, database, jobs, copies)?;
        let loaded = started.elapsed().as_secs_f64();
        self.side_by_side(server, database, jobs, self.indexes.iter().cloned())?;
        for statement in &self.keys {
            session.query(statement)?;
        }
        let indexed = started.elapsed().as_secs_f64();
        for statement in &self.foreign_keys {
            session.query(statement)?;
        }
        self.side_by_side(server, database, jobs, self.validations.iter().cloned())?;
        let seconds = started.elapsed().as_secs_f64();
        session.query(&format!("DROP SCHEMA {schema} CASCADE"))?;
        Ok(FloorTimes {
            seconds,
            load_seconds: loaded,
            index_seconds: indexed - loaded,
            foreign_key_seconds: seconds - indexed,
        })
    }

    /// Runs statements on several connections; each takes the next one when it is free.
    fn side_by_side(
        &self,
        server: &Postgres,
        database: &str,
        jobs: usize,
        statements: impl Iterator<Item = String>,
    ) -> Result<()> {
        let mut statements: Vec<String> = statements.collect();
        statements.reverse();
        let queue = Mutex::new(statements);
        let work = || -> Result<()> {
            let mut session = server.session(database)?;
            session.query(&self.settings)?;
            loop {
                let next = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
                match next {
                    Some(statement) => session.query(&statement)?,
                    None => return Ok(()),
                };
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }
}

/// An index's definition without the schema of its table: ` ON ONLY? schema.table USING`.
fn unqualified(definition: String) -> String {
    let Some((head, rest)) = definition.split_once(" ON ") else { return definition };
    let Some((table, tail)) = rest.split_once(" USING ") else { return definition };
    // A quoted name may hold a point, and the schema may be quoted.
    let mut quoted = false;
    let point = table.char_indices().find(|(_, character)| {
        if *character == '"' {
            quoted = !quoted;
        }
        *character == '.' && !quoted
    });
    let table = point.map_or(table, |(point, _)| &table[point + 1..]);
    format!("{head} ON {table} USING {tail}")
}

#[cfg(test)]
mod tests {
    use super::unqualified;

    #[test]
    fn an_index_loses_its_schema() {
        let cases = [
            (
                r#"CREATE UNIQUE INDEX "U" ON public."Users" USING btree (id)"#,
                r#"CREATE UNIQUE INDEX "U" ON "Users" USING btree (id)"#,
            ),
            (
                r#"CREATE INDEX i ON "a.b"."c.d" USING gin (tags)"#,
                r#"CREATE INDEX i ON "c.d" USING gin (tags)"#,
            ),
            (
                r#"CREATE INDEX i ON "c.d" USING gin (x)"#,
                r#"CREATE INDEX i ON "c.d" USING gin (x)"#,
            ),
        ];
        for (definition, expected) in cases {
            assert_eq!(unqualified(definition.to_owned()), expected);
        }
    }
}
