//! The floor: the same rows, loaded by PostgreSQL itself from binary files on its own disk, and
//! then the same keys, indexes and foreign keys, on as many connections as a run has. Nothing
//! that goes through a client can be faster.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use migrate_core::schema::{quote_ident, quote_literal};
use migrate_servers::{Postgres, Result};
use serde::Serialize;

/// A table with more bytes than this is cut, so that several connections load it.
const PART_BYTES: u64 = 16 << 20;
/// Where the floor's tables are made, beside those of the run: for each schema of the run one with
/// this in front of its name.
const PREFIX: &str = "migrate_bench_floor_";

/// A table of the run.
#[derive(Clone, Debug)]
pub(super) struct Table {
    schema: String,
    name: String,
}

impl Table {
    pub(super) fn new(schema: &str, name: &str) -> Self {
        Self { schema: schema.to_owned(), name: name.to_owned() }
    }

    /// The run's table, in SQL.
    fn run(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// The floor's table, in SQL.
    fn floor(&self) -> String {
        format!("{}.{}", floor_schema(&self.schema), quote_ident(&self.name))
    }
}

/// The floor's schema for one of the run's, in SQL.
fn floor_schema(schema: &str) -> String {
    quote_ident(&format!("{PREFIX}{schema}"))
}

/// What the floor loads, taken from a loaded database.
#[derive(Debug)]
pub(super) struct Floor {
    /// The binary files, the largest first.
    files: Vec<File>,
    tables: Vec<Table>,
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
    /// In SQL.
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
    /// Writes the rows of `tables` to files below `folder`, which PostgreSQL must
    /// be able to write, and notes their constraints.
    pub(super) fn of(
        server: &Postgres,
        database: &str,
        tables: &[Table],
        folder: &Path,
        jobs: usize,
        sort_bytes: u64,
    ) -> Result<Self> {
        let mut session = server.session(database)?;
        // Definitions then name all that is not PostgreSQL's own with its schema.
        session.query("SET search_path = pg_catalog")?;
        let mut floor = Self {
            files: Vec::new(),
            tables: tables.to_vec(),
            indexes: Vec::new(),
            keys: Vec::new(),
            foreign_keys: Vec::new(),
            validations: Vec::new(),
            settings: format!(
                "SET maintenance_work_mem = '{}kB'; SET synchronous_commit = off",
                (sort_bytes / jobs as u64).clamp(1 << 20, (2 << 30) - 1024) >> 10,
            ),
        };
        for (number, table) in tables.iter().enumerate() {
            let regclass = format!("{}::regclass", quote_literal(&table.run()));
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
                let path =
                    folder.join(format!("{database}-{number}-{part}.copy")).display().to_string();
                let (first, end) = (pages * part / parts, pages * (part + 1) / parts);
                session.query(&format!(
                    "COPY (SELECT * FROM {} WHERE ctid >= '({first},0)' AND ctid < '({end},0)') \
                     TO {} (FORMAT binary)",
                    table.run(),
                    quote_literal(&path)
                ))?;
                floor.files.push(File { table: table.floor(), path, bytes: bytes / parts });
            }
            floor.add_constraints(&mut session, table, &regclass)?;
        }
        floor.files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        Ok(floor)
    }

    fn add_constraints(
        &mut self,
        session: &mut migrate_servers::Session,
        table: &Table,
        regclass: &str,
    ) -> Result<()> {
        let floor_table = table.floor();
        let indexes = session.query(&format!(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = {regclass} \
             ORDER BY indexrelid"
        ))?;
        let definitions = indexes.into_iter().flatten().flatten();
        self.indexes.extend(
            definitions.map(|definition| moved(&definition, " ON ", " USING ", &floor_table)),
        );
        let constraints = session.query(&format!(
            "SELECT conname, contype, \
                    (SELECT relname FROM pg_class i WHERE i.oid = conindid), \
                    pg_get_constraintdef(oid), \
                    target.relname, target.nspname \
             FROM pg_constraint LEFT JOIN LATERAL ( \
                SELECT relname, nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                WHERE c.oid = confrelid) target ON true \
             WHERE conrelid = {regclass} ORDER BY conname"
        ))?;
        for row in constraints {
            let cell = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
            let (name, index) = (quote_ident(&cell(0)), quote_ident(&cell(2)));
            match cell(1).as_str() {
                kind @ ("p" | "u") => {
                    let kind = if kind == "p" { "PRIMARY KEY" } else { "UNIQUE" };
                    self.keys.push(format!(
                        "ALTER TABLE {floor_table} ADD CONSTRAINT {name} {kind} USING INDEX {index}"
                    ));
                }
                "f" => {
                    // Tables that the measured run has not filled stay those of the run.
                    let is_target =
                        |table: &&Table| table.name == cell(4) && table.schema == cell(5);
                    let definition = match self.tables.iter().find(is_target) {
                        Some(target) => moved(&cell(3), " REFERENCES ", "(", &target.floor()),
                        None => cell(3),
                    };
                    self.foreign_keys.push(format!(
                        "ALTER TABLE {floor_table} ADD CONSTRAINT {name} {definition} NOT VALID"
                    ));
                    self.validations
                        .push(format!("ALTER TABLE {floor_table} VALIDATE CONSTRAINT {name}"));
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

    /// Loads it into a schema of its own of `database`, which has the tables to copy; only the load
    /// and the constraints are timed.
    pub(super) fn load(
        &self,
        server: &Postgres,
        database: &str,
        jobs: usize,
    ) -> Result<FloorTimes> {
        let mut session = server.session(database)?;
        let schemas: BTreeSet<String> =
            self.tables.iter().map(|table| floor_schema(&table.schema)).collect();
        for schema in &schemas {
            session.query(&format!("CREATE SCHEMA {schema}"))?;
        }
        session.query(&self.settings)?;
        for table in &self.tables {
            session.query(&format!(
                "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS)",
                table.floor(),
                table.run()
            ))?;
        }
        session.query("CHECKPOINT")?;
        super::quiet_disk();

        let started = Instant::now();
        let copies = self.files.iter().map(|file| {
            format!("COPY {} FROM {} (FORMAT binary)", file.table, quote_literal(&file.path))
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

/// A definition with `table` in the place of the one that it names between `before` and `after`.
fn moved(definition: &str, before: &str, after: &str, table: &str) -> String {
    let Some(start) = find_unquoted(definition, before) else { return definition.to_owned() };
    let (head, rest) = definition.split_at(start + before.len());
    let Some(end) = find_unquoted(rest, after) else { return definition.to_owned() };
    format!("{head}{table}{}", &rest[end..])
}

/// Where a text stands first outside of names in quotes.
fn find_unquoted(text: &str, wanted: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(place, character)| {
        if character == '"' {
            quoted = !quoted;
        }
        (!quoted && text[place..].starts_with(wanted)).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::moved;

    #[test]
    fn a_definition_moves_to_another_table() {
        let index = r#"CREATE UNIQUE INDEX "a ON b" ON public."Users" USING btree (id)"#;
        assert_eq!(
            moved(index, " ON ", " USING ", "f.t"),
            r#"CREATE UNIQUE INDEX "a ON b" ON f.t USING btree (id)"#
        );
        let key = r#"FOREIGN KEY ("user") REFERENCES crm."U(1)"(id) ON DELETE CASCADE"#;
        assert_eq!(
            moved(key, " REFERENCES ", "(", "f.t"),
            r#"FOREIGN KEY ("user") REFERENCES f.t(id) ON DELETE CASCADE"#
        );
        assert_eq!(moved("CHECK (x)", " ON ", " USING ", "f.t"), "CHECK (x)");
    }
}
