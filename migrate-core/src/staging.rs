//! Staging tables: the rows of junctions between the load, which meets them in arrays of documents
//! in any order, and the settling, which gives each pair once to the junction.
//!
//! A row costs PostgreSQL more than the pair of ids in it. So a row of a staging table holds as
//! many pairs of one junction field as fit into a quarter of a page, as arrays of one length:
//!
//! ```text
//! origin smallint | document_id uuid[] | contact_id uuid[] | position integer[]
//! ```
//!
//! From that size on PostgreSQL would compress the arrays and put them elsewhere.

use sqlx::{AssertSqlSafe, Row as _};

use crate::cell::builtin_oid;
use crate::copy::{HEADER, TRAILER};
use crate::ddl::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::preflight::{self, Lookup};
use crate::schema::{BaseType, Column, Model, quote_ident};
use crate::sink::{Connection, send, target_error};
use crate::state::State;
use crate::upkeep;

/// The arrays of a row together; rows up to about 2,030 bytes stay whole.
const ROW_BYTES: usize = 1_900;
/// Rows leave in messages of about this size.
const MESSAGE_BYTES: usize = 256 << 10;

/// Makes the junctions' staging tables that are not there, and leaves the others alone.
///
/// # Errors
/// When the user may not, or the server cannot be reached.
pub(crate) async fn create(
    connection: &mut Connection,
    state: &State,
    names: Names<'_>,
    junctions: &[&'static Model],
) -> Result<()> {
    if junctions.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = junctions.iter().map(|junction| state.stage(junction.name)).collect();
    let there = preflight::oids(connection, Lookup::Table, &tables).await?;
    let missing = junctions.iter().zip(there).filter(|(_, there)| there.is_none());
    let statements: Vec<String> =
        missing.map(|(junction, _)| create_sql(state, names, junction)).collect();
    if !statements.is_empty() {
        connection.execute("making the staging tables", statements.join("; ")).await?;
    }
    Ok(())
}

/// The statements that make a junction's staging table, unless it is there.
///
/// Where no pair can be too long for a row, there is no need for a place where PostgreSQL puts
/// long values: that would be two more files for each of these tables. To say so at once in
/// `CREATE TABLE` takes PostgreSQL 16.
fn create_sql(state: &State, names: Names<'_>, junction: &Model) -> String {
    let table = state.stage(junction.name);
    let create = format!("CREATE TABLE IF NOT EXISTS {table}");
    let options = upkeep::WITHOUT_AUTOVACUUM;
    if !junction.pair().iter().all(|column| is_short(column)) {
        return format!("{create} {}{options}", columns(names, junction));
    }
    let types = [names.column_type(junction.pair()[0]), names.column_type(junction.pair()[1])];
    let types = types.into_iter().chain(["integer".to_owned()]);
    let changes: Vec<String> = arrays(junction)
        .zip(types)
        .map(|(column, ty)| {
            let name = quote_ident(column.name);
            format!("ADD COLUMN IF NOT EXISTS {name} {ty}[], ALTER COLUMN {name} SET STORAGE PLAIN")
        })
        .collect();
    format!(
        "{create} (origin smallint NOT NULL){options}; ALTER TABLE {table} {}",
        changes.join(", ")
    )
}

/// Whether all values of the column's type have a few bytes.
fn is_short(column: &Column) -> bool {
    use BaseType::{Bool, Date, Float4, Float8, Int2, Int4, Int8, Timestamp, TimestampTz, Uuid};
    column.pg_type.is_none()
        && matches!(
            column.ty.base,
            Bool | Date | Float4 | Float8 | Int2 | Int4 | Int8 | Timestamp | TimestampTz | Uuid
        )
}

/// The columns of a staging table, in parentheses.
pub(crate) fn columns(names: Names<'_>, junction: &Model) -> String {
    all_columns(names, junction, "[]")
}

/// The columns of a table with a row for each element, in parentheses.
pub(crate) fn element_columns(names: Names<'_>, junction: &Model) -> String {
    all_columns(names, junction, "")
}

fn all_columns(names: Names<'_>, junction: &Model, array: &str) -> String {
    let columns: Vec<String> = junction
        .pair()
        .iter()
        .map(|column| format!("{} {}{array}", quote_ident(column.name), names.column_type(column)))
        .collect();
    let ordinal = match junction.ordinal() {
        Some(column) => format!(", {} integer{array}", quote_ident(column.name)),
        None => String::new(),
    };
    format!("(origin smallint NOT NULL, {}{ordinal})", columns.join(", "))
}

/// The statement that fills a staging table, or a table of [`element_columns`] with the rows of a
/// transformer.
pub(crate) fn copy(table: &str, junction: &Model) -> String {
    let ordinal = match junction.ordinal() {
        Some(column) => format!(", {}", quote_ident(column.name)),
        None => String::new(),
    };
    let pair = ddl::list(&junction.pair().map(|column| column.name));
    format!("COPY {table} ({pair}, origin{ordinal}) FROM STDIN (FORMAT binary)")
}

/// A subquery of the elements in a staging table, which has the columns of [`element_columns`].
pub(crate) fn elements(table: &str, junction: &Model) -> String {
    let arrays: Vec<String> = arrays(junction)
        .map(|column| format!("unnest({0}) AS {0}", quote_ident(column.name)))
        .collect();
    format!("(SELECT {}, origin FROM {table})", arrays.join(", "))
}

/// A query of how many elements a staging table has.
pub(crate) fn count_sql(table: &str, junction: &Model) -> String {
    let [first, _] = junction.pair().map(|column| quote_ident(column.name));
    format!("SELECT coalesce(sum(cardinality({first})), 0)::bigint FROM {table}")
}

/// The columns that are arrays, in the order of the table.
fn arrays(junction: &Model) -> impl Iterator<Item = &'static Column> {
    junction.pair().into_iter().chain(junction.ordinal())
}

/// Writes rows of a transformer into the staging table.
///
/// # Errors
/// When the server refuses them or cannot be reached.
pub(crate) async fn write(
    connection: &mut Connection,
    table: &str,
    junction: &Model,
    rows: &[u8],
) -> Result<()> {
    let act = format!("staging rows of {}", junction.table);
    let mut packer = Packer::new(element_oids(connection, table, junction).await?);
    let statement = copy(table, junction);
    let failed = |error| target_error(&act, error);
    let mut to = connection.raw().copy_in_raw(&statement).await.map_err(failed)?;
    let mut out = HEADER.to_vec();
    let mut rest = rows;
    while !rest.is_empty() {
        rest = packer.add(rest, &mut out).ok_or_else(|| {
            Error::new(ErrorKind::Target, act.as_str()).caused_by("a row breaks off")
        })?;
        if out.len() >= MESSAGE_BYTES {
            send(&mut to, &out).await.map_err(failed)?;
            out.clear();
        }
    }
    packer.end_row(&mut out);
    out.extend_from_slice(&TRAILER);
    send(&mut to, &out).await.map_err(failed)?;
    to.finish().await.map_err(failed)?;
    Ok(())
}

/// The OIDs of what the table's arrays hold. Only the server knows those of types that are not its
/// own.
async fn element_oids(
    connection: &mut Connection,
    table: &str,
    junction: &Model,
) -> Result<Vec<u32>> {
    const ACT: &str = "looking types up";
    let known = |column: &Column| match (column.pg_type, builtin_oid(column.ty.base)) {
        (None, 1..) => Some(builtin_oid(column.ty.base)),
        _ => None,
    };
    let ordinal = junction.ordinal().map(|_| builtin_oid(BaseType::Int4));
    if let [Some(first), Some(second)] = junction.pair().map(known) {
        return Ok([first, second].into_iter().chain(ordinal).collect());
    }
    let rows = sqlx::query(AssertSqlSafe(
        "SELECT t.typelem FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
         WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND t.typelem <> 0 ORDER BY a.attnum",
    ))
    .bind(table)
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))?;
    let oid = |row: &sqlx::postgres::PgRow| -> sqlx::Result<u32> {
        Ok(row.try_get::<sqlx::postgres::types::Oid, _>(0)?.0)
    };
    rows.iter().map(|row| oid(row).map_err(|error| target_error(ACT, error))).collect()
}

/// Takes the elements of rows away that came from one junction field, by the rows' keys; gives how
/// many they were. `own` is the column of those keys.
///
/// A row of the table has elements of one field, a field is one model's, and one task at a time takes
/// from what its model brought: so nobody else changes a row that is found here.
///
/// # Errors
/// When the server cannot be reached or asked.
pub(crate) async fn remove(
    connection: &mut Connection,
    table: &str,
    (junction, own): (&Model, &Column),
    key_type: &str,
    origin: i16,
    keys: &[String],
) -> Result<u64> {
    let names: Vec<String> = arrays(junction).map(|column| quote_ident(column.name)).collect();
    let own = quote_ident(own.name);
    let list =
        |sql: &str| names.iter().map(|name| sql.replace('#', name)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "WITH wanted AS MATERIALIZED (
            SELECT key FROM unnest($2::text[]::{key_type}[]) AS given (key)
         ), found AS MATERIALIZED (
            SELECT place, pairs FROM (
                SELECT ctid AS place, cardinality({own}) AS pairs, unnest({own}) AS key
                FROM {table} WHERE origin = $1) AS element
            JOIN wanted USING (key) GROUP BY place, pairs
         ), kept AS (
            UPDATE {table} t SET ({columns}) = (
                SELECT {kept} FROM unnest({arrays}) AS e ({columns})
                WHERE e.{own} NOT IN (SELECT key FROM wanted))
            FROM found WHERE t.ctid = found.place
            RETURNING found.pairs - cardinality(t.{own}) AS gone
         )
         SELECT coalesce(sum(gone), 0)::bigint FROM kept",
        columns = names.join(", "),
        arrays = list("t.#"),
        kept = list("coalesce(array_agg(e.#), '{}')"),
    );
    let gone: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(origin)
        .bind(keys)
        .fetch_one(connection.raw())
        .await
        .map_err(|error| target_error("taking staged rows back", error))?;
    Ok(gone.unsigned_abs())
}

/// Puts rows of a transformer, each of which has one pair, together into rows with many.
struct Packer {
    arrays: Vec<Array>,
    /// Of the row that is being filled.
    origin: [u8; 2],
    /// What its arrays take.
    bytes: usize,
}

/// An array on its way, as `array_recv` reads it.
struct Array {
    oid: u32,
    has_null: bool,
    /// Each element's length and bytes.
    elements: Vec<u8>,
    count: u32,
}

impl Packer {
    fn new(oids: Vec<u32>) -> Self {
        let array = |oid| Array { oid, has_null: false, elements: Vec::new(), count: 0 };
        Self { arrays: oids.into_iter().map(array).collect(), origin: [0; 2], bytes: 0 }
    }

    /// Adds the first of the rows, and writes a row to `out` that is full; gives the other rows.
    /// `None` where that row is not whole.
    fn add<'a>(&mut self, rows: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        /// Where the origin stands among the cells.
        const ORIGIN: usize = 2;
        let (cells, mut rest) = rows.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(*cells)) != self.arrays.len() + 1 {
            return None;
        }
        let mut found: [Option<&[u8]>; 4] = [None; 4];
        for cell in found.iter_mut().take(self.arrays.len() + 1) {
            let (length, bytes) = rest.split_first_chunk()?;
            rest = bytes;
            // -1 is NULL.
            if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (value, behind) = rest.split_at_checked(length)?;
                (*cell, rest) = (Some(value), behind);
            }
        }
        let origin = found[ORIGIN]?.try_into().ok()?;
        let values = [found[0], found[1], found[3]];
        // In the table an element is at most its length and four bytes, rounded up.
        let size = |value: &Option<&[u8]>| value.map_or(0, |value| (value.len() + 7) & !3);
        let bytes: usize = values.iter().map(size).sum();
        if self.origin != origin || self.bytes + bytes > ROW_BYTES {
            self.end_row(out);
            self.origin = origin;
        }
        for (array, value) in self.arrays.iter_mut().zip(values) {
            array.push(value);
        }
        self.bytes += bytes;
        Some(rest)
    }

    /// Writes the row that is being filled, unless it is empty.
    fn end_row(&mut self, out: &mut Vec<u8>) {
        if self.arrays.iter().all(|array| array.count == 0) {
            return;
        }
        out.extend_from_slice(&(self.arrays.len() as u16 + 1).to_be_bytes());
        for (index, array) in self.arrays.iter_mut().enumerate() {
            if index == 2 {
                cell(out, &self.origin);
            }
            array.end(out);
        }
        if self.arrays.len() == 2 {
            cell(out, &self.origin);
        }
        self.bytes = 0;
    }
}

impl Array {
    fn push(&mut self, value: Option<&[u8]>) {
        self.count += 1;
        match value {
            Some(value) => cell(&mut self.elements, value),
            None => {
                self.has_null = true;
                self.elements.extend_from_slice(&(-1_i32).to_be_bytes());
            }
        }
    }

    /// Writes the array as a cell, and begins a new one.
    fn end(&mut self, out: &mut Vec<u8>) {
        const DIMENSIONS: u32 = 1;
        const FIRST: u32 = 1;
        let head = [DIMENSIONS, self.has_null.into(), self.oid, self.count, FIRST];
        let length = size_of_val(&head) + self.elements.len();
        out.extend_from_slice(&(length as u32).to_be_bytes());
        head.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        out.extend_from_slice(&self.elements);
        self.elements.clear();
        (self.has_null, self.count) = (false, 0);
    }
}

fn cell(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut row = (cells.len() as u16).to_be_bytes().to_vec();
        for value in cells {
            match value {
                Some(value) => cell(&mut row, value),
                None => row.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        row
    }

    type Cell = Option<Vec<u8>>;

    /// The elements of each array of each packed row, and the origin.
    fn unpacked(mut out: &[u8]) -> Vec<(Vec<Vec<Cell>>, u16)> {
        fn take<const N: usize>(out: &mut &[u8]) -> [u8; N] {
            let (head, rest) = out.split_first_chunk().unwrap();
            *out = rest;
            *head
        }
        let mut rows = Vec::new();
        while !out.is_empty() {
            let cells = u16::from_be_bytes(take(&mut out));
            let (mut arrays, mut origin) = (Vec::new(), 0);
            for index in 0..cells {
                let length = u32::from_be_bytes(take(&mut out)) as usize;
                let (mut cell, rest) = out.split_at(length);
                out = rest;
                if index == 2 {
                    origin = u16::from_be_bytes(cell.try_into().unwrap());
                    continue;
                }
                let head: [u32; 5] = std::array::from_fn(|_| u32::from_be_bytes(take(&mut cell)));
                let mut elements = Vec::new();
                while !cell.is_empty() {
                    let length = i32::from_be_bytes(take(&mut cell));
                    elements.push(usize::try_from(length).ok().map(|length| {
                        let (value, rest) = cell.split_at(length);
                        cell = rest;
                        value.to_vec()
                    }));
                }
                assert_eq!(head[1] == 1, elements.iter().any(Option::is_none));
                assert_eq!([head[0], head[3], head[4]], [1, elements.len() as u32, 1]);
                arrays.push(elements);
            }
            rows.push((arrays, origin));
        }
        rows
    }

    #[test]
    fn pairs_come_back_in_their_order_and_rows_stay_small() {
        let mut packer = Packer::new(vec![2950, 25, 23]);
        let mut rows = Vec::new();
        let mut expected = Vec::new();
        for number in 0..500_u32 {
            let text = vec![b'x'; number as usize % 90];
            let place = (number % 7 != 0).then(|| number.to_be_bytes().to_vec());
            let origin = if number < 123 { 2_u16 } else { 5 };
            let id = [number as u8; 16].to_vec();
            rows.extend(row(&[
                Some(&id),
                Some(&text),
                Some(&origin.to_be_bytes()),
                place.as_deref(),
            ]));
            expected.push((Some(id), Some(text), place, origin));
        }
        let mut out = Vec::new();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            rest = packer.add(rest, &mut out).unwrap();
        }
        packer.end_row(&mut out);
        let packed = unpacked(&out);
        assert!(packed.len() > 10 && packed.len() < 60, "{}", packed.len());
        let mut found = Vec::new();
        for (arrays, origin) in packed {
            let bytes: usize = arrays.iter().flatten().flatten().map(|value| value.len() + 4).sum();
            assert!(bytes <= ROW_BYTES);
            let [firsts, seconds, places] = arrays.try_into().unwrap();
            for ((first, second), place) in firsts.into_iter().zip(seconds).zip(places) {
                found.push((first, second, place, origin));
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_pair_that_is_larger_than_a_row_should_be_has_one_of_its_own() {
        let mut packer = Packer::new(vec![25, 25]);
        let long = vec![b'a'; 5000];
        let mut out = Vec::new();
        for value in [b"b".as_slice(), &long, b"c"] {
            let one = row(&[Some(b"k"), Some(value), Some(&[0, 1])]);
            assert_eq!(packer.add(&one, &mut out), Some([].as_slice()));
        }
        packer.end_row(&mut out);
        let lengths: Vec<usize> =
            unpacked(&out).iter().map(|(arrays, _)| arrays[0].len()).collect();
        assert_eq!(lengths, [1, 1, 1]);
        // What is not whole is not taken for a row.
        let whole = row(&[Some(b"k"), Some(b"v"), Some(&[0, 1])]);
        for end in 1..whole.len() {
            assert_eq!(packer.add(&whole[..end], &mut out), None, "{end}");
        }
        assert_eq!(packer.add(&row(&[Some(b"k"), Some(&[0, 1])]), &mut out), None);
    }
}
