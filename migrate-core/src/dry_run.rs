//! Transforms everything and writes nothing: what would be rejected, before the first row is sent.
//!
//! References and unique values are settled in the target, so a dry run cannot know of them; it
//! knows of everything that is about one document.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, mpsc};

use crate::cell::PLACEHOLDER_OID;
use crate::choice;
use crate::ddl::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Reporter, Step};
use crate::feed::Feed;
use crate::id::IdScheme;
use crate::load::Side;
use crate::preflight;
use crate::run::{Options, Stop, UuidVersion, plan_chunks};
use crate::schema::{ModelKind, RegistryFacts};
use crate::sink::Target;
use crate::source::{Batch, Source};
use crate::state::{ChunkNote, PlannedChunk};
use crate::summary::{JunctionSummary, Summary, TableSummary};
use crate::transform::{Output, TargetFacts, Transformer};

/// Reads and transforms every document of the registry's collections, telling the reporter of
/// each reject, and compares the target's tables with the models. In the summary `loaded` counts the rows that would be sent; junctions have their
/// elements, of which none is counted as inserted.
///
/// # Errors
/// When a server cannot be reached, the source cannot be read, or somebody asked to stop.
pub async fn dry_run(
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    target: &str,
    options: &Options,
    reporter: Arc<dyn Reporter>,
    stop: &Stop,
) -> Result<Summary> {
    let started = Instant::now();
    reporter.event(&Event::StepStarted { step: Step::Preflight });
    let mut connection = Target::parse(target)?.connect().await?;
    let server_version = preflight::server(&mut connection).await?.version;
    let names = Names { schema: &options.schema };
    crate::run::check_existing(registry, names, &mut connection, &reporter).await?;
    connection.close().await;
    reporter.event(&Event::StepFinished { step: Step::Preflight, elapsed: started.elapsed() });
    reporter.event(&Event::StepStarted { step: Step::Load });
    let collections = source.collections().await?;
    let whole = registry;
    let registry = crate::run::select(registry, options, &[])?;
    preflight::is_the_source(&source, whole, registry, &collections).await?;
    let plan = plan_chunks(registry, &source, options, &collections).await?;
    plan.tell(&reporter);
    let transformers = Arc::new(transformers(whole, registry, server_version, options)?);
    let queue = Arc::new(Mutex::new(plan.chunks.into_iter()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..options.jobs() {
        let worker = Worker {
            registry,
            source: Arc::clone(&source),
            transformers: Arc::clone(&transformers),
            reporter: Arc::clone(&reporter),
            stop: stop.clone(),
        };
        let queue = Arc::clone(&queue);
        workers.spawn(async move {
            let mut results = Vec::new();
            loop {
                let next = queue.lock().await.next();
                let Some(chunk) = next else { return Ok(results) };
                results.push(worker.chunk(&chunk).await?);
            }
        });
    }
    let mut results = Vec::new();
    while let Some(worker) = workers.join_next().await {
        let worker: Result<Vec<_>> = worker.map_err(|error| {
            Error::new(ErrorKind::Source, "a worker broke off").caused_by(error)
        })?;
        results.extend(worker?);
    }
    reporter.event(&Event::StepFinished { step: Step::Load, elapsed: started.elapsed() });

    let mut summary = Summary {
        version: Summary::VERSION,
        registry: registry.name.to_owned(),
        collections_without_model: preflight::left_out(registry, &collections),
        seconds: started.elapsed().as_secs_f64(),
        ..Summary::default()
    };
    let mut elements: HashMap<String, (u64, u64)> = HashMap::new();
    for (model, _) in registry.iter().filter(|(model, _)| model.kind.has_documents()) {
        let mut table = TableSummary {
            model: model.name.to_owned(),
            collection: Feed::of(model).label().to_owned(),
            table: model.table.to_owned(),
            ..TableSummary::default()
        };
        let mut parts = results.iter().filter(|part| part.model == model.name).peekable();
        if parts.peek().is_none() {
            summary.models_without_collection.push(model.name.to_owned());
        }
        for part in parts {
            table.add(&part.note);
            table.rejected += part.note.rejected;
            table.loaded += part.note.loaded;
            for (reason, count) in &part.reasons {
                *table.rejected_by_reason.entry((*reason).to_owned()).or_default() += count;
            }
            for (junction, count) in &part.note.elements {
                elements.entry(junction.clone()).or_default().0 += count;
            }
            for (junction, count) in &part.orphans {
                elements.entry(junction.clone()).or_default().1 += count;
            }
        }
        summary.tables.push(table);
    }
    for (model, _) in registry.iter().filter(|(model, _)| model.kind == ModelKind::Junction) {
        let (all, orphans) = elements.get(model.name).copied().unwrap_or_default();
        summary.junctions.push(JunctionSummary {
            model: model.name.to_owned(),
            table: model.table.to_owned(),
            elements: all,
            orphans,
            ..JunctionSummary::default()
        });
    }
    summary.finish();
    // Nothing was inserted, so only the documents can be balanced.
    summary.balanced = summary.tables.iter().all(|table| table.balanced);
    Ok(summary)
}

fn transformers(
    whole: &'static RegistryFacts,
    registry: &'static RegistryFacts,
    server_version: u32,
    options: &Options,
) -> Result<HashMap<&'static str, Transformer>> {
    let ids = match options.uuid {
        UuidVersion::V8 => IdScheme::V8,
        UuidVersion::V7 => IdScheme::V7,
        UuidVersion::Random => IdScheme::Random([0; 16]),
    };
    let mut facts = TargetFacts::new(server_version, ids);
    for ty in ddl::enum_types(registry) {
        facts.enum_oids.insert((ty.schema, ty.name), PLACEHOLDER_OID);
    }
    registry
        .iter()
        .filter(|(model, _)| model.kind.has_documents())
        .map(|(model, _)| {
            let origins = vec![0; model.junctions.len()];
            let transformer = Transformer::new(model, &facts, &origins)?;
            Ok((model.name, transformer.answer_for(choice::siblings(whole, model))))
        })
        .collect()
}

/// What one chunk would have become.
struct Part {
    model: String,
    note: ChunkNote,
    reasons: HashMap<&'static str, u64>,
    orphans: HashMap<String, u64>,
}

struct Worker {
    registry: &'static RegistryFacts,
    source: Arc<dyn Source>,
    transformers: Arc<HashMap<&'static str, Transformer>>,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
}

impl Worker {
    async fn chunk(&self, chunk: &PlannedChunk) -> Result<Part> {
        let started = Instant::now();
        let (Some(model), Some(transformer)) =
            (self.registry.model(&chunk.model), self.transformers.get(chunk.model.as_str()))
        else {
            return Err(Error::new(ErrorKind::Usage, format!("there is no model {}", chunk.model)));
        };
        let (sender, mut batches) = mpsc::channel::<Batch>(2);
        let reader = tokio::spawn({
            let (source, feed) = (Arc::clone(&self.source), Feed::of(model));
            let (collection, range) = (chunk.collection.clone(), chunk.range.clone());
            async move { feed.read(&*source, &collection, &range, sender).await }
        });
        let mut part = Part {
            model: chunk.model.clone(),
            note: ChunkNote::default(),
            reasons: HashMap::new(),
            orphans: HashMap::new(),
        };
        let mut scratch = transformer.scratch();
        let mut output = Output::default();
        while let Some(batch) = batches.recv().await {
            for document in batch.iter() {
                transformer.transform(&mut scratch, document, &mut output);
            }
            for reject in &output.rejects {
                *part.reasons.entry(reject.reason.code()).or_default() += 1;
                self.reporter.event(&Event::Rejected(reject));
            }
            part.note.rejected += output.rejects.len() as u64;
            for orphan in &output.orphans {
                let junction = model.junctions[orphan.junction].table.get().name;
                *part.orphans.entry(junction.to_owned()).or_default() += 1;
            }
            // Its orphans are counted, not written down.
            Side::default().take(Names { schema: "" }, model, &mut output, &[], &mut part.note);
            self.reporter.event(&Event::Progress {
                table: model.table,
                documents: batch.len() as u64,
                bytes: batch.bytes_len() as u64,
            });
            if self.stop.is_stopped() {
                return Err(Stop::error());
            }
        }
        reader.await.map_err(|error| {
            Error::new(ErrorKind::Source, "the reader broke off").caused_by(error)
        })??;
        part.note.seconds = started.elapsed().as_secs_f64();
        self.reporter.event(&Event::ChunkDone {
            table: model.table,
            read: part.note.read,
            loaded: part.note.loaded,
            rejected: part.note.rejected,
            skipped: part.note.skipped,
            bytes: part.note.bytes,
            elapsed: started.elapsed(),
        });
        Ok(part)
    }
}
