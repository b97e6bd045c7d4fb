//! Where rows go: connections to PostgreSQL, and what its errors mean.
//!
//! There is one kind of sink and no trait over it: a run's state lives in the same database as
//! its rows and commits with them, so a sink that is not PostgreSQL would be another runtime.

#[cfg(target_os = "linux")]
mod socket;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::postgres::{
    PgConnectOptions, PgConnection, PgCopyIn, PgDatabaseError, PgErrorPosition, PgRow,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Row as _};

use crate::error::{Error, ErrorKind, Result};

/// The SQLSTATE of a server that has no connection left for a user, a database, or anybody.
pub(crate) const NO_CONNECTION_LEFT: &str = "53300";

/// What is sent at once.
const PIECE_BYTES: usize = 512 << 10;

/// The database that a run fills.
#[derive(Clone)]
pub struct Target {
    options: PgConnectOptions,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.describe())
    }
}

impl Target {
    /// Understands a `postgres://user:password@host:port/database?sslmode=…` address.
    ///
    /// # Errors
    /// When it is none. The message never repeats the address, which may hold a password.
    pub fn parse(address: &str) -> Result<Self> {
        let known = ["postgres://", "postgresql://"];
        if !known.iter().any(|scheme| address.starts_with(scheme)) {
            return Err(Error::new(
                ErrorKind::Usage,
                "the target is no PostgreSQL address: it must begin with `postgres://`",
            )
            .with_hint("write it as `--target postgres://user:password@host:5432/database`"));
        }
        let options: PgConnectOptions = address.parse().map_err(|error: sqlx::Error| {
            Error::new(ErrorKind::Usage, "the target's address cannot be understood")
                .caused_by(error)
                .with_hint("write it as `--target postgres://user:password@host:5432/database`")
        })?;
        let options = options
            .application_name("migrate")
            .extra_float_digits(None)
            .statement_cache_capacity(32)
            // When this process vanishes without a word, the server must free its chunk in
            // bounded time. Rows are taken with SKIP LOCKED, which needs to see the newest ones.
            .options([
                ("client_min_messages", "warning"),
                ("timezone", "UTC"),
                // Keys are noted as text.
                ("bytea_output", "hex"),
                ("default_transaction_isolation", "read committed"),
                ("statement_timeout", "0"),
                ("idle_in_transaction_session_timeout", "0"),
                ("tcp_keepalives_idle", "10"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
            ])
            .disable_statement_logging();
        Ok(Self { options })
    }

    /// Whether the server runs on this machine: its address is a socket of the file system or a
    /// loopback one.
    pub(crate) fn is_here(&self) -> bool {
        let host = self.options.get_host();
        let is_loopback = |host: &str| {
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        self.options.get_socket().is_some()
            || host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || is_loopback(host.trim_matches(['[', ']']))
    }

    /// The same target under another name in PostgreSQL's list of connections
    /// (`pg_stat_activity`), by which [`crate::status`] tells who is at work.
    #[must_use]
    pub fn named(mut self, application: &str) -> Self {
        self.options = self.options.application_name(application);
        self
    }

    /// The target in words, without secrets.
    pub fn describe(&self) -> String {
        format!(
            "postgres://{}@{}:{}/{}",
            self.options.get_username(),
            self.options.get_host(),
            self.options.get_port(),
            self.options.get_database().unwrap_or(self.options.get_username())
        )
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn connect(&self) -> Result<Connection> {
        let connect = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            // Whoever reads slowly leaves its session idle for long, and a chunk takes as long as it takes.
            // Servers that do not know a setting would refuse a connection that names it.
            let sql = match connection.server_version_num() {
                Some(170_000..) => {
                    "SELECT pg_backend_pid()::bigint, set_config('idle_session_timeout', '0', false),
                        set_config('transaction_timeout', '0', false)"
                }
                Some(140_000..) => {
                    "SELECT pg_backend_pid()::bigint, set_config('idle_session_timeout', '0', false)"
                }
                _ => "SELECT pg_backend_pid()::bigint",
            };
            let pid = sqlx::query(sql).fetch_one(&mut connection).await?.try_get(0)?;
            Ok((connection, pid))
        };
        let (inner, pid) = match tokio::time::timeout(Duration::from_secs(15), connect).await {
            Ok(connected) => connected.map_err(|error: sqlx::Error| {
                let kind = match &error {
                    sqlx::Error::Database(_) if !is_transient(&error) => ErrorKind::Preflight,
                    _ => ErrorKind::TargetConnection,
                };
                let wrapped = Error::new(kind, format!("cannot connect to {}", self.describe()));
                let wrapped = match detail_hint(&error) {
                    Some(hint) => wrapped.with_hint(hint),
                    None => wrapped,
                };
                // The driver's own text adds the line of the server's source.
                match error.as_database_error().map(|error| error.message().to_owned()) {
                    Some(detail) => wrapped.caused_by(ServerError { detail, source: error }),
                    None => wrapped.caused_by(error),
                }
            })?,
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::TargetConnection,
                    format!("{} did not answer within 15 s", self.describe()),
                ));
            }
        };
        #[cfg(target_os = "linux")]
        socket::set(self.options.get_port());
        Ok(Connection {
            inner,
            pid,
            at_work: false,
            ahead: Ahead::default(),
            named: HashMap::new(),
            mark: uuid::Uuid::new_v4().as_fields().0,
        })
    }
}

impl Target {
    /// Opens a connection, and waits that long for the server to have one left: one that was closed is
    /// counted for a moment more.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub(crate) async fn connect_patiently(&self, patience: Duration) -> Result<Connection> {
        const PAUSE: Duration = Duration::from_millis(50);
        let started = Instant::now();
        loop {
            match self.connect().await {
                Err(error)
                    if sql_state(&error) == Some(NO_CONNECTION_LEFT)
                        && started.elapsed() < patience =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                connected => return connected,
            }
        }
    }
}

/// One connection to the target.
#[derive(Debug)]
pub struct Connection {
    inner: PgConnection,
    pid: i64,
    at_work: bool,
    ahead: Ahead,
    /// The statements that the session knows by name.
    named: HashMap<&'static str, String>,
    /// What tells those names from the ones of other clients.
    mark: u32,
}

/// Statements that wait to go with the next ones that are sent; see [`Connection::ahead`].
#[derive(Debug, Default)]
struct Ahead(Vec<String>);

impl Ahead {
    /// Statements behind those that wait, and how many those were.
    fn with(&mut self, sql: String) -> (String, usize) {
        // A savepoint is rolled back where the transaction takes nothing else.
        if sql.starts_with("ROLLBACK TO") {
            return (sql, 0);
        }
        let mut statements = std::mem::take(&mut self.0);
        if sql.starts_with("ROLLBACK") {
            return (sql, 0);
        }
        let count = statements.len();
        statements.push(sql);
        (statements.join("; "), count)
    }
}

/// What the server has answered to statements that were sent at once.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// How many rows each statement has touched or given.
    pub touched: Vec<u64>,
    /// The rows of all of them, with values as text.
    pub rows: Vec<PgRow>,
}

impl Connection {
    /// The number of its session in the server, as in `pg_stat_activity`.
    pub fn pid(&self) -> i64 {
        self.pid
    }

    /// Whether it has joined a run; see [`crate::state::State`].
    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work
    }

    /// Notes that it has joined a run.
    pub(crate) fn set_at_work(&mut self) {
        self.at_work = true;
    }

    /// The driver's connection, for COPY.
    pub fn raw(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Runs statements separated by semicolons; gives the number of rows they touched.
    ///
    /// # Errors
    /// When the server refuses one; `act` names what was done.
    pub async fn execute(&mut self, act: &str, sql: impl Into<String>) -> Result<u64> {
        let mut replies = Replies::default();
        self.send(act, sql.into(), &mut replies, false).await?;
        Ok(replies.touched.iter().sum())
    }

    /// Runs statements separated by semicolons in one message, and gives what each has come to. What is
    /// asked once costs half the messages in this way: a statement with parameters is prepared first.
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub(crate) async fn ask(&mut self, act: &str, sql: impl Into<String>) -> Result<Replies> {
        let mut replies = Replies::default();
        self.ask_into(act, sql, &mut replies).await?;
        Ok(replies)
    }

    /// As [`Connection::ask`]; after an error `replies` has what came before it, so it tells which
    /// statements were done.
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub(crate) async fn ask_into(
        &mut self,
        act: &str,
        sql: impl Into<String>,
        replies: &mut Replies,
    ) -> Result<()> {
        self.send(act, sql.into(), replies, true).await
    }

    /// Runs statements in one message, each with what is done by it: so the server need not wait for
    /// this process between them.
    ///
    /// # Errors
    /// When the server refuses one, with what was done by that one.
    pub(crate) async fn execute_each(&mut self, statements: &[(String, String)]) -> Result<()> {
        let Some((first, _)) = statements.first() else { return Ok(()) };
        let sql: Vec<&str> = statements.iter().map(|(_, sql)| sql.as_str()).collect();
        let (sql, ahead) = self.ahead.with(sql.join("; "));
        let mut done = 0;
        let mut stream = sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_many(&mut self.inner);
        loop {
            match stream.try_next().await {
                Ok(Some(Either::Left(_))) => done += 1,
                Ok(Some(Either::Right(_))) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    let place = match place_in_text(&error) {
                        // What cannot be read is refused before any is done. A text that is not closed may
                        // be told of a statement behind its own.
                        Some(place) => statement_at(statements, &sql, place),
                        None => statements.get(done - ahead.min(done)),
                    };
                    return Err(target_error(place.map_or(first, |(act, _)| act), error));
                }
            }
        }
    }

    async fn send(
        &mut self,
        act: &str,
        sql: String,
        replies: &mut Replies,
        with_rows: bool,
    ) -> Result<()> {
        let (sql, mut skipped) = self.ahead.with(sql);
        let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut self.inner);
        while let Some(reply) = stream.try_next().await.map_err(|error| target_error(act, error))? {
            match reply {
                Either::Left(_) if skipped > 0 => skipped -= 1,
                Either::Left(done) => replies.touched.push(done.rows_affected()),
                Either::Right(row) if skipped == 0 && with_rows => replies.rows.push(row),
                Either::Right(_) => {}
            }
        }
        Ok(())
    }

    /// Has one statement go with the next ones that [`Connection::execute`] or [`Connection::ask`]
    /// sends, so that it costs no message; what is sent in other ways goes before it. Nobody sees its
    /// answer but an error, and a rollback of the transaction takes it back unsent.
    pub(crate) fn ahead(&mut self, sql: impl Into<String>) {
        self.ahead.0.push(sql.into());
    }

    /// Whether no statement waits to go ahead of others.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.ahead.0.is_empty()
    }

    /// Names a statement for `EXECUTE`, unless the session knows it by that name. What it is to be
    /// called there, [`Connection::named`] tells.
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub(crate) async fn name(
        &mut self,
        act: &str,
        name: &'static str,
        types: &str,
        sql: String,
    ) -> Result<()> {
        let own = self.named(name);
        let sql = format!("PREPARE {own}{types} AS {sql}");
        if self.named.get(name) == Some(&sql) {
            return Ok(());
        }
        if self.named.remove(name).is_some() {
            self.execute(act, format!("DEALLOCATE {own}")).await?;
        }
        self.execute(act, sql.clone()).await?;
        self.named.insert(name, sql);
        Ok(())
    }

    /// The name in the session, which is hardly another client's: a pooler may hand sessions on.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{name}_{:08x}", self.mark)
    }

    /// Runs one statement with text parameters (cast them in the SQL, as in `$1::text::bigint`).
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub async fn execute_with(
        &mut self,
        act: &str,
        sql: impl Into<String>,
        parameters: &[Option<&str>],
    ) -> Result<u64> {
        let mut query = sqlx::query(AssertSqlSafe(sql.into()));
        for parameter in parameters {
            query = query.bind(*parameter);
        }
        query
            .execute(&mut self.inner)
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| target_error(act, error))
    }

    /// The rows of a query with text parameters.
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub async fn query(
        &mut self,
        act: &str,
        sql: impl Into<String>,
        parameters: &[Option<&str>],
    ) -> Result<Vec<PgRow>> {
        let mut query = sqlx::query(AssertSqlSafe(sql.into()));
        for parameter in parameters {
            query = query.bind(*parameter);
        }
        query.fetch_all(&mut self.inner).await.map_err(|error| target_error(act, error))
    }

    /// The first column of the first row as a `bigint`; 0 when there is none.
    ///
    /// # Errors
    /// As [`Connection::execute`], and when the column is no `bigint`.
    pub async fn count(
        &mut self,
        act: &str,
        sql: impl Into<String>,
        parameters: &[Option<&str>],
    ) -> Result<u64> {
        let rows = self.query(act, sql, parameters).await?;
        let number: i64 = match rows.first() {
            Some(row) => row.try_get(0).map_err(|error| target_error(act, error))?,
            None => 0,
        };
        Ok(number.try_into().unwrap_or(0))
    }

    /// Sends rows in binary COPY as one message stream: the header, `tuples`, the trailer. Gives
    /// the number of rows the server took.
    ///
    /// # Errors
    /// When the server refuses a row; the transaction or savepoint it stands in must then be
    /// rolled back.
    pub async fn copy(&mut self, act: &str, statement: &str, tuples: &[u8]) -> Result<u64> {
        let result = async {
            let mut copy = self.inner.copy_in_raw(statement).await?;
            copy.send(crate::copy::HEADER.as_slice()).await?;
            send(&mut copy, tuples).await?;
            copy.send(crate::copy::TRAILER.as_slice()).await?;
            copy.finish().await
        }
        .await;
        result.map_err(|error| target_error(act, error))
    }

    /// Says good-bye to the server; errors do not matter any more.
    pub async fn close(self) {
        if let Err(error) = self.inner.close().await {
            tracing::debug!(%error, "closing a connection");
        }
    }
}

/// Sends a part of a COPY in pieces, because the driver keeps a copy of what it sends at once.
pub(crate) async fn send(copy: &mut PgCopyIn<&mut PgConnection>, bytes: &[u8]) -> sqlx::Result<()> {
    for piece in bytes.chunks(PIECE_BYTES) {
        copy.send(piece).await?;
    }
    Ok(())
}

/// Wraps an error of the server or the connection, with the kind that decides what is done.
pub fn target_error(act: &str, error: sqlx::Error) -> Error {
    let kind = match is_transient(&error) {
        true if error.as_database_error().is_some_and(|error| is_busy(error.code().as_deref())) => {
            ErrorKind::TargetBusy
        }
        true => ErrorKind::TargetConnection,
        false => ErrorKind::Target,
    };
    let detail = error.as_database_error().and_then(|error| {
        let error = error.try_downcast_ref::<PgDatabaseError>()?;
        let mut text = format!("{} ({})", error.message(), error.code());
        for more in [error.detail(), error.hint(), error.r#where()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(&more.replace('\n', "; "));
        }
        Some(text)
    });
    let mut wrapped = Error::new(kind, act.to_owned());
    if let Some(hint) = detail_hint(&error) {
        wrapped = wrapped.with_hint(hint);
    }
    match detail {
        // The driver's own text leaves detail and context out, which say which row it was.
        Some(detail) => wrapped.caused_by(ServerError { detail, source: error }),
        None => wrapped.caused_by(error),
    }
}

/// Where in the text of the message the server found the fault, in characters from 0.
fn place_in_text(error: &sqlx::Error) -> Option<usize> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    match error.position()? {
        PgErrorPosition::Original(place) => place.checked_sub(1),
        PgErrorPosition::Internal { .. } => None,
    }
}

/// The statement at a place of the message `sql`, which they end.
fn statement_at<'a>(
    statements: &'a [(String, String)],
    sql: &str,
    place: usize,
) -> Option<&'a (String, String)> {
    let mut end = sql.chars().count();
    let mut from_the_end = statements.iter().rev();
    from_the_end.find(|(_, statement)| {
        let start = end.saturating_sub(statement.chars().count());
        end = start.saturating_sub("; ".len());
        place >= start
    })
}

/// A refusal of the server with all that it said.
#[derive(Debug)]
pub struct ServerError {
    detail: String,
    source: sqlx::Error,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ServerError {}

/// The server's refusal behind an error of ours.
pub fn database_error(error: &Error) -> Option<&PgDatabaseError> {
    let source = std::error::Error::source(error)?;
    let error = match source.downcast_ref::<ServerError>() {
        Some(wrapped) => &wrapped.source,
        None => source.downcast_ref::<sqlx::Error>()?,
    };
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()
}

/// The SQLSTATE behind an error of ours.
pub fn sql_state(error: &Error) -> Option<&str> {
    database_error(error).map(|error| error.code())
}

/// Whether the same act may succeed on a new connection a little later. The codes are of
/// PostgreSQL's appendix A.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // The driver's word for a connection that ended in the middle of a message.
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code();
            is_busy(code.as_deref())
                || code.is_some_and(|code| {
                    // Admin shutdown, crash shutdown, starting up, idle for too long.
                    code.starts_with("08")
                        || ["57P01", "57P02", "57P03", "57P05"].contains(&code.as_ref())
                })
        }
        _ => false,
    }
}

/// Whether the server refused for now what it may do later, on the same connection or another.
fn is_busy(code: Option<&str>) -> bool {
    code.is_some_and(|code| {
        // Serialization, deadlock, lock timeout, cancelled by a timeout; all of class 53, which is
        // a full disk, no memory, too many connections.
        code.starts_with("53") || ["40001", "40P01", "55P03", "57014"].contains(&code)
    })
}

fn detail_hint(error: &sqlx::Error) -> Option<&'static str> {
    match error.as_database_error()?.code()?.as_ref() {
        "53100" => Some("the target's disk is full: make room, then give the same command again"),
        "53200" => Some(
            "the target has no memory left: take fewer `--jobs` or less `--sort-memory`, then give the same command again",
        ),
        "53300" => Some(
            "the target has no connection left for this user: take fewer `--jobs`, or raise `max_connections`, or the limit of the role or the database (`CONNECTION LIMIT`)",
        ),
        "55P03" => Some(
            "another session holds a lock for too long (`pg_locks` and `pg_stat_activity` name it): end it, or raise `lock_timeout`, then give the same command again",
        ),
        "57014" => Some(
            "something cancels the statement (a `statement_timeout` that a trigger or a pooler sets, or a person): mend that, then give the same command again",
        ),
        "42501" => Some(
            "grant the user the right, or name a schema it may write with `--schema` and `--state-schema`",
        ),
        "28P01" | "28000" => Some("check the user and the password in `--target`"),
        "3D000" => {
            Some("make the database first, as with `createdb`, or mend its name in `--target`")
        }
        "25006" => Some(
            "the target takes no changes: name the primary server and not a standby, and look at `default_transaction_read_only`",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Ahead;

    #[test]
    fn statements_go_ahead_of_the_next_ones_and_not_of_a_rollback() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.with("SELECT 1".to_owned()), ("SELECT 1".to_owned(), 0));
        ahead.0.extend(["SET LOCAL a = 1".to_owned(), "SET LOCAL b = 1".to_owned()]);
        // In an aborted transaction they would fail, and take the rollback with them.
        let back = "ROLLBACK TO SAVEPOINT block".to_owned();
        assert_eq!(ahead.with(back.clone()), (back, 0));
        let (sql, count) = ahead.with("COMMIT; BEGIN".to_owned());
        assert_eq!((&*sql, count), ("SET LOCAL a = 1; SET LOCAL b = 1; COMMIT; BEGIN", 2));
        ahead.0.push("SET LOCAL c = 1".to_owned());
        assert_eq!(ahead.with("ROLLBACK".to_owned()), ("ROLLBACK".to_owned(), 0));
        assert_eq!(ahead.with("SELECT 2".to_owned()), ("SELECT 2".to_owned(), 0));
    }
}
