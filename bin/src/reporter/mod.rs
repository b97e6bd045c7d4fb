//! Readers of what a run tells: bars for a terminal, lines for a log, JSON for machines, and the
//! files for people.

mod bar;
mod files;
mod json;
mod line;
pub(crate) mod rate;

use std::io::IsTerminal as _;
use std::sync::Arc;

use migrate_core::event::{Event, Reporter, Silent};

#[cfg(test)]
pub(crate) use files::entry;
pub(crate) use files::{Files, shown_id, try_private, write_private};

use crate::cli::ProgressKind;
use crate::printer::Printer;

/// The reporter that a setting names. Nothing is shown when the person asked for silence, but
/// JSON is data.
pub(crate) fn new(kind: ProgressKind, printer: Printer) -> Arc<dyn Reporter> {
    match kind {
        ProgressKind::Json => Arc::new(json::Json::new(printer)),
        _ if printer.is_quiet() => Arc::new(Silent),
        ProgressKind::Bar => Arc::new(bar::Bar::new()),
        ProgressKind::Auto if std::io::stderr().is_terminal() => Arc::new(bar::Bar::new()),
        ProgressKind::Auto | ProgressKind::Line => Arc::new(line::Line::new(printer)),
        ProgressKind::None => Arc::new(Silent),
    }
}

/// Tells two reporters the same.
pub(crate) struct Both(pub(crate) Arc<dyn Reporter>, pub(crate) Arc<dyn Reporter>);

impl Reporter for Both {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}
