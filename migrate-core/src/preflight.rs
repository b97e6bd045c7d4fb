//! Looking before leaping: is the target as the run needs it?

use std::collections::{BTreeMap, HashMap};

use sqlx::Row as _;

use crate::ddl::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Model, ModelKind, RegistryFacts};
use crate::sink::{Connection, target_error};
use crate::source::CollectionInfo;

/// The oldest server that the run is tested on, as `server_version_num`.
const OLDEST: u32 = 130_000;

/// Checks version and encoding; gives the version as `server_version_num`, as 180003.
///
/// # Errors
/// When the server is too old, or its encoding is not UTF8, so that text would change on the way.
pub(crate) async fn server(connection: &mut Connection) -> Result<u32> {
    const ACT: &str = "asking the target for its version";
    let rows = connection
        .query(
            ACT,
            "SELECT current_setting('server_version_num')::bigint,
                current_setting('server_version'), current_setting('server_encoding'),
                current_database()::text, pg_is_in_recovery()",
            &[],
        )
        .await?;
    let Some(row) = rows.first() else { return Err(Error::new(ErrorKind::Target, ACT)) };
    let get = |error| target_error(ACT, error);
    let number: i64 = row.try_get(0).map_err(get)?;
    let version: String = row.try_get(1).map_err(get)?;
    let encoding: String = row.try_get(2).map_err(get)?;
    let database: String = row.try_get(3).map_err(get)?;
    let standby: bool = row.try_get(4).map_err(get)?;
    let number = u32::try_from(number).unwrap_or_default();
    if number < OLDEST {
        return Err(Error::new(
            ErrorKind::Preflight,
            format!("the target is PostgreSQL {version}; 13 is the oldest that is supported"),
        ));
    }
    if encoding != "UTF8" {
        return Err(Error::new(
            ErrorKind::Preflight,
            format!(
                "the database `{database}` has the encoding {encoding}, MongoDB's text is UTF-8"
            ),
        )
        .with_hint("make a database with `createdb --encoding UTF8 --template template0`"));
    }
    if standby {
        return Err(Error::new(
            ErrorKind::Preflight,
            "the target is a standby, which takes no writes",
        )
        .with_hint("name the primary in `--target`"));
    }
    Ok(number)
}

/// The tables that have rows, with their number, by SQL name.
pub(crate) async fn filled_tables(
    connection: &mut Connection,
    names: Names<'_>,
    models: &[&'static Model],
) -> Result<BTreeMap<String, u64>> {
    let mut filled = BTreeMap::new();
    for model in models {
        let table = names.table(model);
        let rows =
            connection.count("counting rows", format!("SELECT count(*) FROM {table}"), &[]).await?;
        if rows > 0 {
            filled.insert(table, rows);
        }
    }
    Ok(filled)
}

/// Whether there is a table of that SQL name.
pub(crate) async fn table_exists(connection: &mut Connection, table: &str) -> Result<bool> {
    Ok(connection
        .count("looking for the table", "SELECT count(to_regclass($1))", &[Some(table)])
        .await?
        > 0)
}

/// Whether there is a type of that SQL name.
pub(crate) async fn type_exists(connection: &mut Connection, name: &str) -> Result<bool> {
    Ok(connection
        .count("looking for the type", "SELECT count(to_regtype($1))", &[Some(name)])
        .await?
        > 0)
}

/// OIDs of enum types by the schema and the name that a model gives them.
pub(crate) type EnumOids = HashMap<(Option<&'static str>, &'static str), u32>;

/// The OIDs of the registry's enum types in the target, by schema and name.
///
/// # Errors
/// When one is not there.
pub(crate) async fn enum_oids(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
) -> Result<EnumOids> {
    const ACT: &str = "looking for the enum types";
    let mut oids = HashMap::new();
    for ty in ddl::enum_types(registry) {
        let name = names.enum_type(ty);
        let rows =
            connection.query(ACT, "SELECT to_regtype($1)::oid::bigint", &[Some(&name)]).await?;
        let oid: Option<i64> = match rows.first() {
            Some(row) => row.try_get(0).map_err(|error| target_error(ACT, error))?,
            None => None,
        };
        let oid = oid.and_then(|oid| u32::try_from(oid).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Preflight, format!("the type {name} is not in the target"))
        })?;
        oids.insert((ty.schema, ty.name), oid);
    }
    Ok(oids)
}

/// The collections that no model names, with their documents as far as is known.
pub(crate) fn left_out(
    registry: &'static RegistryFacts,
    collections: &[CollectionInfo],
) -> BTreeMap<String, u64> {
    collections
        .iter()
        .filter(|collection| {
            !registry.iter().any(|(model, _)| {
                model.kind == ModelKind::Collection && model.collection == collection.name
            })
        })
        .map(|collection| (collection.name.clone(), collection.documents.unwrap_or_default()))
        .collect()
}
