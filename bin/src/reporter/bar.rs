//! Progress as bars on a terminal: one for everything, one for each table that is being loaded,
//! and a line for each key or index that is being made.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use migrate_core::event::{Event, Reporter, Step};

use super::rate::{duration, thousands};
use crate::printer::printable;

const OVERALL: &str =
    "{prefix:<28} {wide_bar} {human_pos:>11} / {human_len:<11} {rate:>12} {eta:>5} left";
const TABLE: &str = "  {prefix:<26} {wide_bar} {human_pos:>11} / {human_len:<11} {rate:>12}";
const UNKNOWN: &str = "  {prefix:<26} {spinner} {human_pos:>11} {rate:>12}";
const TASK: &str = "  {spinner} {msg} {elapsed}";

pub(super) struct Bar {
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    overall: Option<ProgressBar>,
    tables: BTreeMap<String, Table>,
    tasks: BTreeMap<String, ProgressBar>,
}

struct Table {
    documents: u64,
    documents_done: u64,
    /// Chunks that are not done; unknown when an earlier process has done some.
    chunks: Option<u64>,
    /// Made when the first document is read, so that only tables at work are shown.
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(super) fn new() -> Self {
        // Ten redraws a second are enough for people and cost nothing.
        let target = ProgressDrawTarget::stderr_with_hz(10);
        Self { bars: MultiProgress::with_draw_target(target), state: Mutex::default() }
    }

    fn add(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(template)
            .expect("the templates of this file are valid")
            .with_key("rate", write_rate)
            .progress_chars("━━─");
        self.bars.add(bar.with_style(style))
    }

    fn note(&self, text: &str) {
        // A terminal that is gone is told nothing.
        let _ = self.bars.println(printable(text));
    }
}

/// Documents per second, once there is enough to go by.
fn write_rate(state: &ProgressState, out: &mut dyn Write) {
    if state.elapsed() > Duration::from_millis(500) {
        // Whoever cannot be written to sees nothing.
        let _ = write!(out, "{}/s", thousands(state.per_sec() as u64));
    }
}

impl Reporter for Bar {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::StepStarted { step: step @ (Step::Load | Step::Validate) } => {
                if *step == Step::Validate {
                    // It plans its tables itself, and may begin anew.
                    let bars = std::mem::take(&mut state.tables).into_values();
                    for bar in bars.filter_map(|table| table.bar).chain(state.overall.take()) {
                        bar.finish_and_clear();
                    }
                }
                let documents = state.tables.values().map(|table| table.documents).sum();
                let bar = self.add(ProgressBar::new(documents).with_prefix(step.name()), OVERALL);
                let done = state.tables.values().map(|table| table.documents_done).sum();
                bar.set_position(done);
                // What was done before must not count as speed.
                bar.reset_eta();
                state.overall = Some(bar);
            }
            Event::StepFinished { step, elapsed } => {
                if matches!(step, Step::Load | Step::Validate) {
                    for table in state.tables.values_mut() {
                        if let Some(bar) = table.bar.take() {
                            bar.finish_and_clear();
                        }
                    }
                    if let Some(bar) = state.overall.take() {
                        bar.finish_and_clear();
                    }
                }
                self.note(&format!("{:<10} {:>7}", step.name(), duration(*elapsed)));
            }
            Event::Resumed { run, chunks_done, chunks } => {
                self.note(&format!("run {run} goes on: {chunks_done} of {chunks} chunks are done"));
            }
            Event::TablePlanned { table, documents, documents_done, chunks, .. } => {
                let entry = Table {
                    documents: *documents,
                    documents_done: *documents_done,
                    chunks: (*documents_done == 0).then_some(*chunks),
                    bar: None,
                };
                state.tables.insert((*table).to_owned(), entry);
                if let Some(bar) = &state.overall {
                    bar.inc_length(*documents);
                    bar.inc(*documents_done);
                }
            }
            Event::Progress { table, documents, .. } => {
                if let Some(entry) = state.tables.get_mut(*table) {
                    let bar = entry.bar.get_or_insert_with(|| {
                        let name = (*table).to_owned();
                        if entry.documents == 0 {
                            return self.add(ProgressBar::new_spinner().with_prefix(name), UNKNOWN);
                        }
                        let bar = ProgressBar::new(entry.documents).with_prefix(name);
                        let bar = self.add(bar, TABLE);
                        bar.set_position(entry.documents_done);
                        bar.reset_eta();
                        bar
                    });
                    bar.inc(*documents);
                    if entry.documents > 0 && bar.position() >= entry.documents {
                        bar.finish_and_clear();
                    }
                }
                if let Some(bar) = &state.overall {
                    bar.inc(*documents);
                }
            }
            Event::ChunkDone { table, .. } => {
                if let Some(entry) = state.tables.get_mut(*table) {
                    entry.chunks = entry.chunks.map(|chunks| chunks.saturating_sub(1));
                    // The number of documents may have been an estimate.
                    if entry.chunks == Some(0)
                        && let Some(bar) = entry.bar.take()
                    {
                        bar.finish_and_clear();
                    }
                }
            }
            Event::ChunkUndone { table, documents, .. } => {
                let table = state.tables.get(*table).and_then(|table| table.bar.as_ref());
                for bar in table.into_iter().chain(&state.overall) {
                    bar.dec(*documents);
                }
            }
            Event::TaskStarted { task, .. } => {
                let bar = self.add(ProgressBar::new_spinner().with_message(task.to_string()), TASK);
                bar.enable_steady_tick(Duration::from_millis(200));
                state.tasks.insert((*task).to_owned(), bar);
            }
            Event::TaskFinished { task, .. } => {
                if let Some(bar) = state.tasks.remove(*task) {
                    bar.finish_and_clear();
                }
            }
            Event::Waiting { what, delay } => {
                self.note(&format!("{what}; trying again in {}", duration(*delay)));
            }
            Event::Notice { message } => self.note(&format!("note: {message}")),
            _ => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // A run that failed leaves its bars half drawn; the error must stand on a line of its own.
        let _ = self.bars.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Templates are parsed when a bar is made, so a wrong one would show only on a terminal.
    #[test]
    fn every_template_is_valid() {
        for template in [OVERALL, TABLE, UNKNOWN, TASK] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_whole_run_can_be_shown() {
        let bar = Bar {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            state: Mutex::default(),
        };
        let planned = |table, documents| Event::TablePlanned {
            table,
            collection: table,
            documents,
            documents_done: 0,
            rows_done: 0,
            chunks: 1,
        };
        bar.event(&planned("Users", 10));
        bar.event(&planned("Tasks", 0));
        bar.event(&Event::StepStarted { step: Step::Load });
        for table in ["Users", "Tasks", "Strangers"] {
            bar.event(&Event::Progress { table, documents: 4, bytes: 100 });
        }
        bar.event(&Event::ChunkUndone { table: "Users", documents: 4, bytes: 100 });
        {
            let state = bar.state.lock().unwrap();
            assert_eq!(state.overall.as_ref().unwrap().length(), Some(10));
            assert_eq!(state.overall.as_ref().unwrap().position(), 8);
            assert_eq!(state.tables["Users"].bar.as_ref().unwrap().position(), 0);
        }
        let elapsed = Duration::from_secs(1);
        bar.event(&Event::StepFinished { step: Step::Load, elapsed });
        assert!(bar.state.lock().unwrap().overall.is_none());
    }
}
