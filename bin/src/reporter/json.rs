//! Every event as one line of JSON on stdout.

use migrate_core::event::{Event, Reporter};
use serde_json::{Value, json};

use crate::printer::Printer;

pub(super) struct Json {
    printer: Printer,
}

impl Json {
    pub(super) fn new(printer: Printer) -> Self {
        Self { printer }
    }
}

impl Reporter for Json {
    fn event(&self, event: &Event<'_>) {
        if let Some(mut value) = to_json(event) {
            let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            value["time"] = Value::String(time);
            self.printer.data(value);
        }
    }
}

/// The event as an object; `None` for one that this version does not know.
fn to_json(event: &Event<'_>) -> Option<Value> {
    Some(match event {
        Event::StepStarted { step } => json!({"event": "step_started", "step": step}),
        Event::StepFinished { step, elapsed } => {
            json!({"event": "step_finished", "step": step, "seconds": elapsed.as_secs_f64()})
        }
        Event::Begun { run } => json!({"event": "begun", "run": run}),
        Event::Resumed { run, chunks_done, chunks } => {
            json!({"event": "resumed", "run": run, "chunks_done": chunks_done, "chunks": chunks})
        }
        Event::TablePlanned { table, collection, documents, documents_done, chunks, .. } => json!({
            "event": "table_planned",
            "table": table,
            "collection": collection,
            "documents": documents,
            "documents_done": documents_done,
            "chunks": chunks,
        }),
        Event::Progress { table, documents, bytes } => {
            json!({"event": "progress", "table": table, "documents": documents, "bytes": bytes})
        }
        Event::ChunkDone { table, read, loaded, rejected, skipped, bytes, elapsed } => json!({
            "event": "chunk_done",
            "table": table,
            "read": read,
            "loaded": loaded,
            "rejected": rejected,
            "skipped": skipped,
            "bytes": bytes,
            "seconds": elapsed.as_secs_f64(),
        }),
        Event::ChunkUndone { table, documents, bytes } => json!({
            "event": "chunk_undone", "table": table, "documents": documents, "bytes": bytes,
        }),
        // The document itself stays out: a log of events must not hold customers' data.
        Event::Rejected(reject) => json!({
            "event": "rejected",
            "table": reject.table,
            "collection": reject.collection,
            "source_id": reject.source_id,
            "stage": reject.stage,
            "reason": reject.reason,
            "field": reject.field,
        }),
        Event::TaskStarted { step, task } => {
            json!({"event": "task_started", "step": step, "task": task})
        }
        Event::TaskFinished { step, task, elapsed } => json!({
            "event": "task_finished",
            "step": step,
            "task": task,
            "seconds": elapsed.as_secs_f64(),
        }),
        Event::Waiting { what, delay } => {
            json!({"event": "waiting", "what": what, "seconds": delay.as_secs_f64()})
        }
        Event::Notice { message } => json!({"event": "notice", "message": message}),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_carry_their_names() {
        let event = Event::ChunkDone {
            table: "Users",
            read: 3,
            loaded: 2,
            rejected: 1,
            skipped: 0,
            bytes: 99,
            elapsed: Duration::from_millis(500),
        };
        assert_eq!(
            to_json(&event).unwrap().to_string(),
            r#"{"event":"chunk_done","table":"Users","read":3,"loaded":2,"rejected":1,"skipped":0,"bytes":99,"seconds":0.5}"#
        );
    }
}
