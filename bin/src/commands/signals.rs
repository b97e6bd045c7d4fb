//! The first SIGINT or SIGTERM asks the run to stop, the second leaves at once. Either is safe:
//! what is committed is in the target, and the rest was never there.

use migrate_core::run::Stop;
use migrate_core::{Error, ErrorKind};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit;
use crate::printer::Printer;

/// Listens for signals until the returned value is dropped.
///
/// # Errors
/// When the system gives no signals.
pub(super) fn listen(stop: &Stop, printer: Printer) -> Result<Listening, Error> {
    let hear = |kind| {
        signal(kind).map_err(|error| {
            Error::new(ErrorKind::File, "cannot listen for signals").caused_by(error)
        })
    };
    let mut interrupt = hear(SignalKind::interrupt())?;
    let mut terminate = hear(SignalKind::terminate())?;
    let stop = stop.clone();
    let task = tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if !first {
                std::process::exit(exit::INTERRUPTED.into());
            }
            stop.stop();
            printer.note(
                "stopping: what is in flight is finished or rolled back; once more leaves at once",
            );
        }
    });
    Ok(Listening(task))
}

/// Ends the listening when it is dropped.
pub(super) struct Listening(tokio::task::JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}
