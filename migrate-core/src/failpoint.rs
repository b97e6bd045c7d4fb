//! Fail points: the places of the run's state machine at which a test may stop it, or act behind
//! its back. Without the feature `test-util` they are nothing.

use crate::error::Result;

/// What a test does at a fail point, which is named: an error ends the run there, as a crash would.
#[cfg(feature = "test-util")]
pub type Hook = std::sync::Arc<dyn Fn(&'static str) -> Result<()> + Send + Sync>;

/// The fail points of a run.
#[derive(Clone, Default)]
pub struct FailPoints {
    #[cfg(feature = "test-util")]
    hook: Option<Hook>,
}

impl FailPoints {
    /// Calls `hook` at every fail point that the run comes by, on whatever worker.
    #[cfg(feature = "test-util")]
    pub fn new(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    /// The run is at the point of that name.
    #[cfg(feature = "test-util")]
    pub(crate) fn hit(&self, point: &'static str) -> Result<()> {
        match &self.hook {
            Some(hook) => hook(point),
            None => Ok(()),
        }
    }

    /// The run is at the point of that name.
    #[cfg(not(feature = "test-util"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with `test-util`")]
    pub(crate) const fn hit(&self, _point: &'static str) -> Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for FailPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FailPoints")
    }
}
