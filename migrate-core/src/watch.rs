//! Watching the target beside the work: is it there, and who holds what a statement waits for?
//!
//! Whoever waits for an answer of the server hears nothing while an index is built for an hour,
//! and nothing either when the host has vanished, or when somebody's forgotten transaction holds a
//! lock. So one connection more than the workers' asks the server about their sessions from time
//! to time. What it finds is told, and a session that will not answer any more is given up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter};
use crate::run::{Options, Stop};
use crate::sink::{Connection, Target, sql_state, target_error};
use crate::stop::GRACE;

/// The sessions that a process works on, and how far it has come.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    sessions: Mutex<HashMap<i64, oneshot::Sender<Error>>>,
    commits: AtomicU64,
    moves: AtomicU64,
    /// Wakes those who wait for what others do.
    done: Notify,
}

/// A session of ours as the server sees it.
struct Session {
    pid: i64,
    /// Somebody else, who holds the lock that it waits for.
    blocked_by: Option<String>,
}

/// Takes a session off the list when the work on it ends, however it ends.
struct Entered<'a> {
    watch: &'a Watch,
    pid: i64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.watch.sessions().remove(&self.pid);
    }
}

impl Watch {
    fn sessions(&self) -> MutexGuard<'_, HashMap<i64, oneshot::Sender<Error>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something is done for good.
    pub(crate) fn note_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.done.notify_waiters();
    }

    /// Wakes those who wait, though nothing is done for good: there is something to do. It counts as one
    /// commit, so that nobody misses it who looks at their number.
    pub(crate) fn wake(&self) {
        self.note_commit();
    }

    /// Waits until something is done for good after this was called, or there is something to do, by this
    /// process; another one does not tell, so callers do not wait for ever.
    pub(crate) fn next_commit(&self) -> Notified<'_> {
        self.done.notified()
    }

    /// Notes that documents went by, which a failure may still undo.
    pub(crate) fn note_move(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was done for good.
    pub(crate) fn committed(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Works on a session until the work ends, or the session is found to be lost. The connection
    /// must not be used any more after an error.
    pub(crate) async fn over<T>(
        &self,
        pid: i64,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (sender, lost) = oneshot::channel();
        self.sessions().insert(pid, sender);
        let _entered = Entered { watch: self, pid };
        tokio::select! {
            biased;
            Ok(error) = lost => Err(error),
            result = work => result,
        }
    }

    fn lose(&self, pid: i64, error: Error) {
        let sender = self.sessions().remove(&pid);
        if let Some(sender) = sender {
            // Nobody listens when the work has ended meanwhile.
            let _ = sender.send(error);
        }
    }

    /// Asks about the sessions again and again.
    pub(crate) async fn keep(
        &self,
        target: &Target,
        options: &Options,
        reporter: &Arc<dyn Reporter>,
        stop: &Stop,
    ) -> Infallible {
        let patience = options.patience;
        const QUICK_PAUSE: Duration = Duration::from_millis(500);
        let pause = (patience / 4).clamp(Duration::from_millis(500), Duration::from_secs(10));
        let answer_time = (patience / 2).clamp(Duration::from_secs(2), Duration::from_secs(15));
        let mut connection = None;
        let mut blocked: HashMap<i64, Instant> = HashMap::new();
        // Since when nobody answers, and how far the work had come then.
        let mut silent: Option<(Instant, u64)> = None;
        loop {
            // Who wants to stop does not want to wait.
            let (pause, answer_time) = match stop.is_stopped() {
                true => (QUICK_PAUSE, GRACE),
                false => (pause, answer_time),
            };
            match stop.is_stopped() {
                true => tokio::time::sleep(pause).await,
                false => stop.pause(pause).await,
            }
            let pids: Vec<i64> = self.sessions().keys().copied().collect();
            if pids.is_empty() {
                (connection, silent) = (None, None);
                blocked.clear();
                continue;
            }
            let ask = ask(&mut connection, target, &pids);
            let ask = stop.or(GRACE, tokio::time::timeout(answer_time, ask));
            let answer = match ask.await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) => Err(Error::new(
                    ErrorKind::TargetConnection,
                    format!("no answer within {} s", answer_time.as_secs()),
                )),
                None => Err(Error::new(ErrorKind::TargetConnection, "no answer")),
            };
            let sessions = match answer {
                Ok(sessions) => sessions,
                // It is there: that it has no connection to spare is no loss of the others.
                Err(error) if sql_state(&error).is_some() => {
                    connection = None;
                    continue;
                }
                Err(error) => {
                    connection = None;
                    let moves = self.committed() + self.moves.load(Ordering::Relaxed);
                    let now = (Instant::now(), moves);
                    let (since, moves_then) = *silent.get_or_insert(now);
                    if moves_then != moves {
                        silent = None;
                        continue;
                    }
                    let what = format!("{} is silent: {error}", target.describe());
                    // Once may be a host that is far away.
                    if stop.is_stopped() && since.elapsed() >= GRACE {
                        for pid in pids {
                            let error = Error::new(ErrorKind::TargetConnection, what.clone());
                            self.lose(pid, Stop::error().caused_by(error));
                        }
                        continue;
                    }
                    if since.elapsed() >= patience {
                        for pid in pids {
                            self.lose(pid, Error::new(ErrorKind::TargetConnection, what.clone()));
                        }
                    } else {
                        reporter.event(&Event::Waiting { what: &what, delay: pause });
                    }
                    continue;
                }
            };
            silent = None;
            for pid in pids {
                let Some(session) = sessions.iter().find(|session| session.pid == pid) else {
                    let what = "the target has ended a session in the middle of its work";
                    self.lose(pid, Error::new(ErrorKind::TargetConnection, what));
                    continue;
                };
                let Some(holder) = &session.blocked_by else {
                    blocked.remove(&pid);
                    continue;
                };
                let since = *blocked.entry(pid).or_insert_with(Instant::now);
                let what = format!("a statement waits for a lock that {holder} holds");
                if stop.is_stopped() {
                    self.lose(pid, Stop::error());
                } else if since.elapsed() >= patience {
                    let error = Error::new(ErrorKind::TargetBusy, what).with_hint(
                        "end that session, as with `SELECT pg_terminate_backend(PID)`, then give the same command again",
                    );
                    self.lose(pid, error);
                } else {
                    reporter.event(&Event::Waiting { what: &what, delay: pause });
                    continue;
                }
                blocked.remove(&pid);
                cancel(&mut connection, pid).await;
            }
        }
    }
}

/// What the server knows of the sessions; those that it does not know are left out.
async fn ask(
    connection: &mut Option<Connection>,
    target: &Target,
    pids: &[i64],
) -> Result<Vec<Session>> {
    const ACT: &str = "asking about the sessions at work";
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(target.connect().await?),
    };
    // Processes of one run wait for each other as they should. A prepared transaction has no
    // session.
    let rows = sqlx::query(AssertSqlSafe(
        "SELECT a.pid::bigint, b.holder FROM pg_stat_activity a
         LEFT JOIN LATERAL (
            SELECT coalesce('session ' || s.pid || ' (' || concat_ws(', ', s.usename,
                nullif(s.application_name, ''), s.state) || ')', 'a prepared transaction') AS holder
            FROM unnest(pg_blocking_pids(a.pid)) AS by (pid)
            LEFT JOIN pg_stat_activity s ON s.pid = by.pid
            WHERE coalesce(s.application_name, '') !~ '^migrate( |$)' LIMIT 1
         ) b ON a.wait_event_type = 'Lock'
         WHERE a.pid = ANY ($1::bigint[])",
    ))
    .bind(pids)
    .fetch_all(connection.raw())
    .await
    .map_err(|error| target_error(ACT, error))?;
    let get = |error| target_error(ACT, error);
    rows.iter()
        .map(|row| {
            Ok(Session {
                pid: row.try_get(0).map_err(get)?,
                blocked_by: row.try_get(1).map_err(get)?,
            })
        })
        .collect()
}

/// Ends the statement of a session that was given up: it would wait on, and hold what it has.
async fn cancel(connection: &mut Option<Connection>, pid: i64) {
    if let Some(asking) = connection {
        let sql = format!("SELECT pg_cancel_backend({pid}::integer)");
        if let Err(error) = asking.execute("cancelling a statement", sql).await {
            tracing::debug!(%error, "cancelling a statement");
            *connection = None;
        }
    }
}
