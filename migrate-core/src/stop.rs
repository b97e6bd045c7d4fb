//! Asking a run to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// Asks a run to stop in an orderly way: chunks in flight are finished or rolled back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What an act gives; `None` where somebody asks to stop and the act goes on for `grace` after
    /// that. It is dropped then, so that nobody waits for a server that says nothing.
    pub(crate) async fn or<T>(&self, grace: Duration, act: impl Future<Output = T>) -> Option<T> {
        const TICK: Duration = Duration::from_millis(100);
        let mut act = std::pin::pin!(act);
        let mut asked: Option<Instant> = None;
        loop {
            if let Ok(done) = tokio::time::timeout(TICK, &mut act).await {
                return Some(done);
            }
            if self.is_stopped() && asked.get_or_insert_with(Instant::now).elapsed() >= grace {
                return None;
            }
        }
    }

    /// Waits that long, unless somebody asks to stop.
    pub(crate) async fn pause(&self, delay: Duration) {
        self.or(Duration::ZERO, tokio::time::sleep(delay)).await;
    }

    /// The error of what was stopped.
    pub(crate) fn error() -> Error {
        Error::new(ErrorKind::Interrupted, "the run was asked to stop")
    }
}

/// How long a server that does not answer is waited for once somebody has asked to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
