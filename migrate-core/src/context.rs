//! What every part of a run shares: the facts, both ends, the state, and who is told.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit, mpsc};

use crate::budget;
use crate::ddl::Names;
use crate::deferred::{self, Deferred};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Reporter;
use crate::feed::Feed;
use crate::read_ahead::ReadAhead;
use crate::run::{Options, Stop};
use crate::schema::{Model, ModelKind, RegistryFacts};
use crate::sink::{Connection, Target};
use crate::source::{Batch, Source};
use crate::stages::Stages;
use crate::state::{RunRow, State};
use crate::transform::Transformer;
use crate::upkeep;
use crate::watch::Watch;

/// What tasks look up for all tables together, because there are as many tasks as tables and a look
/// takes as long as the work itself where these are small. It is looked up by the first task that
/// needs it, at a level at which it does not change any more.
#[derive(Default)]
pub(crate) struct Lookups {
    /// See [`Context::definitions`].
    definitions: OnceCell<BTreeMap<i32, Deferred>>,
    /// See [`Context::indexed_columns`].
    indexed: OnceCell<HashMap<String, BTreeSet<String>>>,
    /// See [`Context::is_walked`].
    walked: OnceCell<BTreeSet<String>>,
    /// See [`Context::quick_columns`].
    quick: OnceCell<HashMap<String, String>>,
    /// See [`Context::maps`].
    maps: upkeep::Maps,
    maps_of_junctions: upkeep::Maps,
}

/// One run as its workers see it.
pub(crate) struct Context {
    pub(crate) registry: &'static RegistryFacts,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Target,
    /// See [`Context::idle_connection`].
    pub(crate) idle: Mutex<Vec<Connection>>,
    pub(crate) state: State,
    pub(crate) run: RunRow,
    pub(crate) options: Options,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) stop: Stop,
    pub(crate) watch: Arc<Watch>,
    /// What this process spends the load with.
    pub(crate) stages: Stages,
    /// See [`Context::turn_for_rows`].
    pub(crate) large_rows: Semaphore,
    /// One transformer per model that has a collection, by the model's name.
    pub(crate) transformers: HashMap<&'static str, Arc<Transformer>>,
    /// What is read already.
    pub(crate) read_ahead: ReadAhead,
    /// What the tasks have looked up.
    pub(crate) lookups: Lookups,
    /// See [`Context::origins`].
    pub(crate) origins: HashMap<&'static str, Vec<i16>>,
}

/// Documents that are read again.
pub(crate) struct Fetch {
    batches: mpsc::Receiver<Batch>,
    reader: tokio::task::JoinHandle<Result<()>>,
}

impl Fetch {
    /// The next ones; `None` after the last. The ones before must be dropped, so that nobody waits
    /// for memory who has some.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>> {
        match self.batches.recv().await {
            Some(batch) => Ok(Some(batch)),
            None => {
                let broke_off =
                    |error| Error::new(ErrorKind::Source, "the reader broke off").caused_by(error);
                (&mut self.reader).await.map_err(broke_off)?.map(|()| None)
            }
        }
    }
}

impl Context {
    /// Whether the connections of this process alone keep all cores of the target's machine busy:
    /// it is this machine, and they are as many.
    pub(crate) fn takes_all_cores(&self) -> bool {
        self.target.is_here() && self.options.jobs() >= budget::cores()
    }

    /// The visibility maps of the junctions' tables, or of the others.
    pub(crate) fn maps(&self, junctions: bool) -> &upkeep::Maps {
        match junctions {
            true => &self.lookups.maps_of_junctions,
            false => &self.lookups.maps,
        }
    }

    /// A connection that a worker does not need any more, if there is one that lives. To prove who one
    /// is takes longer than most of what is done with a connection.
    pub(crate) async fn idle_connection(&self) -> Option<Connection> {
        const PATIENCE: Duration = Duration::from_secs(5);
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = idle?;
            let ping = connection.raw().ping();
            if matches!(tokio::time::timeout(PATIENCE, ping).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection that has no transaction open for the next worker.
    pub(crate) async fn keep(&self, mut connection: Connection) {
        debug_assert!(connection.has_sent_all());
        // An older server counts a session's changes when it ends, and what follows wants to know.
        match upkeep::counts_at_once(&mut connection) {
            true => self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection),
            false => connection.close().await,
        }
    }

    /// Closes the connections that nobody uses.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            connection.close().await;
        }
    }

    /// The definitions of the run that were not built when this process came to its first task, by
    /// their positions.
    pub(crate) async fn definitions(
        &self,
        connection: &mut Connection,
    ) -> Result<&BTreeMap<i32, Deferred>> {
        let read = async {
            let open = deferred::open(connection, &self.state, self.run.run).await?;
            Ok(open.into_iter().map(|definition| (definition.position, definition)).collect())
        };
        self.lookups.definitions.get_or_try_init(|| read).await
    }

    /// The columns of a model's table, unquoted, by which an index leads to its rows; see
    /// [`upkeep::indexed_columns`].
    pub(crate) async fn indexed_columns(
        &self,
        connection: &mut Connection,
        model: &Model,
    ) -> Result<BTreeSet<String>> {
        let read = upkeep::indexed_columns(connection, self.tables());
        let indexed = self.lookups.indexed.get_or_try_init(|| read).await?;
        Ok(indexed.get(&self.names().table(model)).cloned().unwrap_or_default())
    }

    /// Whether the foreign keys of a table, given in SQL, are best validated by walking indexes; see
    /// [`upkeep::walked_tables`].
    pub(crate) async fn is_walked(&self, connection: &mut Connection, table: &str) -> Result<bool> {
        let definitions = self.definitions(connection).await?;
        let tables: BTreeSet<&str> = definitions
            .values()
            .filter(|definition| definition.validate.is_some())
            .map(|definition| definition.table.as_str())
            .collect();
        let tables = tables.into_iter().map(str::to_owned).collect();
        let read = upkeep::walked_tables(connection, tables);
        Ok(self.lookups.walked.get_or_try_init(|| read).await?.contains(table))
    }

    /// The columns that quick statistics of a table name, as SQL; none where it gets full ones. See
    /// [`upkeep::quick_columns`].
    pub(crate) async fn quick_columns(
        &self,
        connection: &mut Connection,
        table: &str,
    ) -> Result<Option<Cow<'_, str>>> {
        let created = &self.run.created.tables;
        if !created.iter().any(|own| own == table) {
            // Autovacuum has not been kept away from it, and may have been there since.
            let tables = vec![table.to_owned()];
            let mut columns = upkeep::quick_columns(connection, tables, created).await?;
            return Ok(columns.remove(table).map(Cow::Owned));
        }
        let read = upkeep::quick_columns(connection, created.clone(), created);
        let quick = self.lookups.quick.get_or_try_init(|| read).await?;
        Ok(quick.get(table).map(|columns| Cow::Borrowed(columns.as_str())))
    }

    /// The tables of all models, in SQL.
    fn tables(&self) -> Vec<String> {
        self.registry.iter().map(|(model, _)| self.names().table(model)).collect()
    }

    /// Where unqualified tables go.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { schema: &self.options.schema }
    }

    /// The model of that name.
    pub(crate) fn model(&self, name: &str) -> Result<&'static Model> {
        self.registry.model(name).ok_or_else(|| {
            Error::new(
                ErrorKind::Preflight,
                format!("the run has a model `{name}`, the registry none"),
            )
        })
    }

    /// Reads documents of a model again by their `_id`s, batch after batch as they are wanted.
    pub(crate) fn fetch_batches(&self, model: &'static Model, ids: Vec<bson::Bson>) -> Fetch {
        let (sender, batches) = mpsc::channel(1);
        let source = Arc::clone(&self.source);
        let reader =
            tokio::spawn(
                async move { Feed::of(model).fetch_batches(&*source, &ids, sender).await },
            );
        Fetch { batches, reader }
    }

    /// Reads documents of a model again by their `_id`s; see [`Feed::fetch`].
    pub(crate) async fn fetch(
        &self,
        model: &'static Model,
        ids: &[bson::Bson],
    ) -> Result<Vec<bson::RawDocumentBuf>> {
        Feed::of(model).fetch(&*self.source, ids).await
    }

    /// As [`Context::fetch`], with documents that are another model's.
    pub(crate) async fn fetch_any(
        &self,
        model: &'static Model,
        ids: &[bson::Bson],
    ) -> Result<Vec<bson::RawDocumentBuf>> {
        Feed::of(model).fetch_any(&*self.source, ids).await
    }

    /// How much may stand beside the rows of one worker: junction rows, rejects and ids wait,
    /// because a connection can hold one COPY at a time.
    pub(crate) fn side_bytes(&self) -> usize {
        budget::side_bytes(self.options.memory_bytes, self.options.jobs())
    }

    /// How many read large rows from the target at once; see [`Context::turn_for_rows`].
    pub(crate) fn large_rows(options: &Options) -> Semaphore {
        const BYTES_FOR_ONE: u64 = 128_000_000;
        Semaphore::new((options.memory_bytes / BYTES_FOR_ONE).clamp(1, 64) as usize)
    }

    /// Waits until the rows of a table may be read, all of them, one after the other. The driver
    /// has each row whole in memory, so large ones are read by some at a time only; a table has
    /// some when it has values that PostgreSQL keeps apart.
    pub(crate) async fn turn_for_rows(
        &self,
        connection: &mut Connection,
        table: &str,
    ) -> Result<Option<SemaphorePermit<'_>>> {
        const KEPT_APART: u64 = 64 << 10;
        let sql = "SELECT coalesce(pg_relation_size(nullif(reltoastrelid, 0::oid)), 0)
             FROM pg_class WHERE oid = $1::text::regclass";
        let kept_apart = connection.count("asking for large rows", sql, &[Some(table)]).await?;
        Ok(match kept_apart > KEPT_APART {
            true => self.large_rows.acquire().await.ok(),
            false => None,
        })
    }

    /// The transformer of a model.
    pub(crate) fn transformer(&self, model: &Model) -> Result<&Arc<Transformer>> {
        self.transformers.get(model.name).ok_or_else(|| {
            Error::new(ErrorKind::Preflight, format!("`{}` has no collection", model.name))
        })
    }

    /// The numbers that mark where staged junction rows come from: one per junction field of the
    /// model, twice its place among all fields of the registry, plus 1 when the field's owner is
    /// the junction's second column.
    pub(crate) fn origins(&self, model: &Model) -> &[i16] {
        self.origins.get(model.name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The models that have documents.
    pub(crate) fn document_models(&self) -> impl Iterator<Item = (&'static Model, u16)> + use<> {
        self.registry.iter().filter(|(model, _)| model.kind.has_documents())
    }

    /// The models of junctions.
    pub(crate) fn junction_models(&self) -> impl Iterator<Item = &'static Model> + use<> {
        self.registry
            .iter()
            .filter(|(model, _)| model.kind == ModelKind::Junction)
            .map(|(model, _)| model)
    }

    /// An error when somebody asked the run to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.stop.is_stopped() {
            return Err(Stop::error());
        }
        Ok(())
    }
}
