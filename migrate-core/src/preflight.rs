//! Looking before leaping: is the target as the run needs it?

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use sqlx::{AssertSqlSafe, Row as _};

use crate::ddl::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter};
use crate::existing;
use crate::run::Options;
use crate::schema::{Model, RegistryFacts, quote_ident};
use crate::sink::{Connection, target_error};
use crate::source::{CollectionInfo, Source};
use crate::state::State;

/// The oldest server that the run is tested on, as `server_version_num`.
const OLDEST: u32 = 130_000;

/// Some things are looked at beside the work.
const FEWEST_CONNECTIONS: i64 = 2;

/// What a run must know of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// As `server_version_num`, as in 180003.
    pub(crate) version: u32,
    /// How many connections the user may have to the database, where that is limited.
    connections: Option<usize>,
}

impl Server {
    /// The options with no more jobs than there may be connections for, beside the one that looks at
    /// the others.
    pub(crate) fn fitting(&self, options: &Options) -> Options {
        let most = self.connections.map_or(usize::MAX, |limit| limit - 1);
        Options { jobs: options.jobs().min(most), ..options.clone() }
    }

    /// Tells where the options have fewer jobs than a person wanted, as `wanted` says.
    pub(crate) fn tell(&self, wanted: &Options, fitting: &Options, reporter: &Arc<dyn Reporter>) {
        let (wanted, jobs) = (wanted.jobs(), fitting.jobs());
        if let Some(limit) = self.connections.filter(|_| jobs < wanted) {
            let message = format!(
                "this user may have {limit} connections to the database at a time, so `--jobs` is {jobs} and not {wanted}"
            );
            reporter.event(&Event::Notice { message: &message });
        }
    }
}

/// Checks version and encoding, and how many connections there may be.
///
/// # Errors
/// When the server is too old, its encoding is not UTF8, so that text would change on the way, or
/// the user may have one connection alone.
pub(crate) async fn server(connection: &mut Connection) -> Result<Server> {
    const ACT: &str = "asking the target for its version";
    let rows = connection
        .query(
            ACT,
            "SELECT current_setting('server_version_num')::bigint,
                current_setting('server_version'), current_setting('server_encoding'),
                current_database()::text, pg_is_in_recovery(), session_user::text,
                (SELECT least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1))::bigint
                 FROM pg_roles, pg_database
                 WHERE rolname = session_user AND datname = current_database() AND NOT rolsuper)",
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
    let user: String = row.try_get(5).map_err(get)?;
    let connections: Option<i64> = row.try_get(6).map_err(get)?;
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
    if let Some(limit) = connections.filter(|limit| *limit < FEWEST_CONNECTIONS) {
        return Err(Error::new(
            ErrorKind::Preflight,
            format!("`{user}` may have {limit} connection to `{database}` at a time"),
        )
        .with_hint(format!(
            "a run needs {FEWEST_CONNECTIONS} at the least: raise the limit, as with `ALTER ROLE .. CONNECTION LIMIT 8` or `ALTER DATABASE .. CONNECTION LIMIT -1`"
        )));
    }
    let connections = connections.and_then(|limit| usize::try_from(limit).ok());
    Ok(Server { version: number, connections })
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

/// Whether there is a schema of that name, unquoted.
pub(crate) async fn schema_exists(connection: &mut Connection, schema: &str) -> Result<bool> {
    Ok(connection
        .count(
            "looking for the schema",
            "SELECT count(*) FROM pg_namespace WHERE nspname = $1",
            &[Some(schema)],
        )
        .await?
        > 0)
}

/// Whether there is a table of that SQL name.
pub(crate) async fn table_exists(connection: &mut Connection, table: &str) -> Result<bool> {
    Ok(connection
        .count("looking for the table", "SELECT count(to_regclass($1))", &[Some(table)])
        .await?
        > 0)
}

/// What SQL names are looked up as.
#[derive(Clone, Copy)]
pub(crate) enum Lookup {
    /// Tables.
    Table,
    /// Types.
    Type,
}

/// The OIDs behind SQL names, in their order; `None` where there is nothing of that name.
pub(crate) async fn oids(
    connection: &mut Connection,
    lookup: Lookup,
    names: &[String],
) -> Result<Vec<Option<u32>>> {
    let (act, function) = match lookup {
        Lookup::Table => ("looking for the tables", "to_regclass"),
        Lookup::Type => ("looking for the types", "to_regtype"),
    };
    let sql = format!(
        "SELECT {function}(name)::oid::bigint
         FROM unnest($1::text[]) WITH ORDINALITY AS named (name, place) ORDER BY place"
    );
    let oids: Vec<Option<i64>> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(names)
        .fetch_all(connection.raw())
        .await
        .map_err(|error| target_error(act, error))?;
    Ok(oids.into_iter().map(|oid| u32::try_from(oid?).ok()).collect())
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
    let types = ddl::enum_types(registry);
    let type_names: Vec<String> = types.iter().map(|ty| names.enum_type(ty)).collect();
    let found = oids(connection, Lookup::Type, &type_names).await?;
    let mut oids = HashMap::new();
    for ((ty, name), oid) in types.into_iter().zip(type_names).zip(found) {
        let oid = oid.ok_or_else(|| {
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
            !registry
                .iter()
                .any(|(model, _)| model.collections().any(|name| name == collection.name))
        })
        .map(|collection| (collection.name.clone(), collection.documents.unwrap_or_default()))
        .collect()
}

/// Tells which collections no model names, with their documents as far as is known.
pub(crate) fn name_left_out(
    registry: &'static RegistryFacts,
    collections: &[CollectionInfo],
    reporter: &Arc<dyn Reporter>,
) {
    let left_out: Vec<String> = left_out(registry, collections)
        .into_iter()
        .map(|(name, documents)| format!("`{name}` (about {documents} documents)"))
        .collect();
    if !left_out.is_empty() {
        reporter.event(&Event::Notice {
            message: &format!(
                "the source has collections without a model, which are not loaded: {}",
                left_out.join(", ")
            ),
        });
    }
}

/// Checks that every collection that has a model may be read.
///
/// # Errors
/// When the source cannot be reached, or with all collections that it refuses.
pub(crate) async fn source_rights(
    source: &Arc<dyn Source>,
    registry: &'static RegistryFacts,
) -> Result<()> {
    let mut refused = Vec::new();
    let mut cause = None;
    let mut names: Vec<&'static str> =
        registry.iter().flat_map(|(model, _)| model.collections()).collect();
    names.sort_unstable();
    names.dedup();
    // Each is one round trip, so a few are on their way at once.
    const AT_ONCE: usize = 8;
    let checks: Vec<_> = names.iter().map(|name| source.check(name)).collect();
    let checks = stream::iter(checks).buffered(AT_ONCE);
    let mut checks = checks.zip(stream::iter(&names));
    while let Some((checked, name)) = checks.next().await {
        match checked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Source => {
                refused.push(format!("`{name}`"));
                cause.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let Some(cause) = cause else { return Ok(()) };
    Err(Error::new(
        ErrorKind::Preflight,
        format!("the source does not let these collections be read: {}", refused.join(", ")),
    )
    .caused_by(cause)
    .with_hint("grant the user the role `read` on the source's database, or leave the models out with `--only`"))
}

/// The first of the registry's collections where the source has none of them.
fn first_of_none(
    registry: &'static RegistryFacts,
    collections: &[CollectionInfo],
) -> Option<&'static str> {
    let mut names = registry.iter().flat_map(|(model, _)| model.collections());
    let first = names.next()?;
    let is_there = |name| collections.iter().any(|known| known.name == name);
    (!is_there(first) && !names.any(is_there)).then_some(first)
}

/// Fails where the source has none of the registry's collections: its address most likely names another
/// database than is meant, and nobody should believe that an empty target is what was in it. Or the user
/// may not read those of the `selected` models, which are not shown then.
pub(crate) async fn is_the_source(
    source: &Arc<dyn Source>,
    registry: &'static RegistryFacts,
    selected: &'static RegistryFacts,
    collections: &[CollectionInfo],
) -> Result<()> {
    let Some(first) = first_of_none(registry, collections) else { return Ok(()) };
    source_rights(source, selected).await?;
    let found = match collections {
        [] => "no collections at all, views left out".to_owned(),
        [first, ..] => format!("collections like `{}`", first.name),
    };
    Err(Error::new(
        ErrorKind::Preflight,
        format!(
            "{} has none of the models' collections, as `{first}`: it has {found}",
            source.describe()
        ),
    )
    .with_hint(
        "look at the name of the database in the source's address; tables without rows are made by `migrate schema apply`",
    ))
}

/// Checks that the user may do in the target what the run will do there.
///
/// # Errors
/// When the server does not answer, or with everything that is missing and how to grant it.
pub(crate) async fn target_rights(
    connection: &mut Connection,
    registry: &'static RegistryFacts,
    names: Names<'_>,
    options: &Options,
) -> Result<()> {
    const ACT: &str = "asking the target for the user's rights";
    let get = |error| target_error(ACT, error);
    let rows = connection
        .query(
            ACT,
            "SELECT quote_ident(current_user), quote_ident(current_database()),
                has_database_privilege(current_database(), 'CREATE'),
                has_database_privilege(current_database(), 'TEMPORARY')",
            &[],
        )
        .await?;
    let Some(row) = rows.first() else { return Err(Error::new(ErrorKind::Target, ACT)) };
    let user: String = row.try_get(0).map_err(get)?;
    let database: String = row.try_get(1).map_err(get)?;
    let may_create: bool = row.try_get(2).map_err(get)?;
    let may_make_temporary: bool = row.try_get(3).map_err(get)?;
    let mut missing = Vec::new();
    if !may_make_temporary {
        missing.push((
            "make temporary tables".to_owned(),
            format!("GRANT TEMPORARY ON DATABASE {database} TO {user}"),
        ));
    }
    let there = existing::tables(connection, registry, names).await?;
    let mut schemas: Vec<(&str, bool)> = ddl::schemas(registry, names)
        .into_iter()
        .map(|schema| {
            let makes = registry.iter().any(|(model, _)| {
                model.schema.unwrap_or(names.schema) == schema
                    && !there.iter().any(|existing| existing.same(model))
            });
            (schema, makes)
        })
        .collect();
    let state_exists =
        table_exists(connection, &State::new(&options.state_schema).table("run")).await?;
    schemas.push((&options.state_schema, !state_exists));
    for (schema, makes) in schemas {
        let quoted = quote_ident(schema);
        let rows = connection
            .query(
                ACT,
                "SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
                 FROM pg_namespace WHERE nspname = $1",
                &[Some(schema)],
            )
            .await?;
        let Some(row) = rows.first() else {
            if !may_create {
                missing.push((
                    format!("make the schema {quoted}"),
                    format!("CREATE SCHEMA {quoted} AUTHORIZATION {user}"),
                ));
            }
            continue;
        };
        let usage: bool = row.try_get(0).map_err(get)?;
        let create: bool = row.try_get(1).map_err(get)?;
        if !usage || (makes && !create) {
            missing.push((
                format!("make tables in the schema {quoted}"),
                format!("GRANT USAGE, CREATE ON SCHEMA {quoted} TO {user}"),
            ));
        }
    }
    for model in there {
        let table = names.table(model);
        let rows = connection
            .query(
                ACT,
                "SELECT pg_has_role(t.relowner, 'USAGE'),
                    has_table_privilege(t.oid, 'SELECT') AND has_table_privilege(t.oid, 'INSERT')
                        AND has_table_privilege(t.oid, 'UPDATE')
                        AND has_table_privilege(t.oid, 'DELETE'),
                    EXISTS (SELECT FROM pg_index WHERE indrelid = t.oid)
                        OR EXISTS (SELECT FROM pg_constraint
                            WHERE contype = 'f' AND t.oid IN (conrelid, confrelid)),
                    quote_ident(pg_get_userbyid(t.relowner))
                 FROM pg_class t WHERE t.oid = to_regclass($1)",
                &[Some(&table)],
            )
            .await?;
        let Some(row) = rows.first() else { continue };
        let owns: bool = row.try_get(0).map_err(get)?;
        let writes: bool = row.try_get(1).map_err(get)?;
        let has_keys: bool = row.try_get(2).map_err(get)?;
        let owner: String = row.try_get(3).map_err(get)?;
        if !owns && has_keys && !options.keep_constraints {
            missing.push((
                format!(
                    "take the keys and indexes off {table} (or keep them with `--keep-constraints`)"
                ),
                format!("GRANT {owner} TO {user}"),
            ));
        } else if !writes {
            missing.push((
                format!("read and write {table}"),
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}"),
            ));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> =
        missing.iter().map(|(what, grant)| format!("\n  {what}: `{grant};`")).collect();
    Err(Error::new(
        ErrorKind::Preflight,
        format!("the user {user} lacks rights in the target:{}", list.concat()),
    )
    .with_hint("have the owner of the database run the statements above, or name schemas that the user may write to with `--schema` and `--state-schema`"))
}
