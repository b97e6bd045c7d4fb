//! Progress as lines on stderr, fit for a log: each step when it is done, and during the load a
//! line every ten seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use migrate_core::event::{Event, Reporter, Step};

use super::rate::{bytes, duration, thousands};
use crate::printer::Printer;

const INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Line {
    printer: Printer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Documents that the source estimates.
    documents: u64,
    /// Of these, what an earlier process has read.
    documents_before: u64,
    /// Documents read by this process.
    read: u64,
    bytes: u64,
    step: &'static str,
    begin: Option<Instant>,
    last: Option<Instant>,
}

impl Line {
    pub(super) fn new(printer: Printer) -> Self {
        Self { printer, state: Mutex::default() }
    }
}

impl Reporter for Line {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::StepStarted { step: step @ (Step::Load | Step::Validate) } => {
                if *step == Step::Validate {
                    // It plans its tables itself, and may begin anew.
                    *state = State::default();
                }
                state.step = step.name();
                state.begin = Some(Instant::now());
            }
            Event::StepFinished { step: step @ (Step::Load | Step::Validate), elapsed } => {
                self.printer.note(format_args!(
                    "{}: {} documents, {} in {}",
                    step.name(),
                    thousands(state.read),
                    bytes(state.bytes),
                    duration(*elapsed)
                ))
            }
            Event::StepFinished { step, elapsed } => {
                self.printer.note(format_args!("{}: {}", step.name(), duration(*elapsed)));
            }
            Event::Resumed { run, chunks_done, chunks } => self.printer.note(format_args!(
                "run {run} goes on: {} of {} chunks are done",
                thousands(*chunks_done),
                thousands(*chunks)
            )),
            Event::TablePlanned { documents, documents_done, .. } => {
                state.documents += documents;
                state.documents_before += documents_done;
            }
            Event::Progress { documents, bytes, .. } => {
                state.read += documents;
                state.bytes += bytes;
                if let Some(line) = state.line(Instant::now()) {
                    self.printer.note(line);
                }
            }
            Event::ChunkUndone { documents, bytes, .. } => {
                state.read = state.read.saturating_sub(*documents);
                state.bytes = state.bytes.saturating_sub(*bytes);
            }
            Event::Waiting { what, delay } => {
                self.printer.note(format_args!("{what}; trying again in {}", duration(*delay)));
            }
            Event::Notice { message } => self.printer.note(format_args!("note: {message}")),
            _ => {}
        }
    }
}

impl State {
    /// The line that is due, if one is.
    fn line(&mut self, now: Instant) -> Option<String> {
        let begin = self.begin?;
        if now.duration_since(self.last.unwrap_or(begin)) < INTERVAL {
            return None;
        }
        self.last = Some(now);
        let rate = self.read as f64 / now.duration_since(begin).as_secs_f64();
        let done = self.documents_before + self.read;
        let mut line = format!("{}: {}", self.step, thousands(done));
        if self.documents >= done {
            let left = (self.documents - done) as f64 / rate.max(1.0);
            line += &format!(
                " of about {} documents, {} per second, about {} left",
                thousands(self.documents),
                thousands(rate as u64),
                duration(Duration::from_secs_f64(left))
            );
        } else {
            line += &format!(" documents, {} per second", thousands(rate as u64));
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_ten_seconds_with_what_is_left() {
        let begin = Instant::now();
        let mut state = State {
            documents: 10_000,
            documents_before: 1_000,
            read: 2_000,
            step: "load",
            begin: Some(begin),
            ..State::default()
        };
        assert_eq!(state.line(begin + Duration::from_secs(9)), None);
        assert_eq!(
            state.line(begin + Duration::from_secs(10)).as_deref(),
            Some("load: 3,000 of about 10,000 documents, 200 per second, about 35.0s left")
        );
        assert_eq!(state.line(begin + Duration::from_secs(19)), None);
        state.documents = 0;
        assert_eq!(
            state.line(begin + Duration::from_secs(20)).as_deref(),
            Some("load: 3,000 documents, 100 per second")
        );
    }
}
