//! What every part of a run shares: the facts, both ends, the state, and who is told.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ddl::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Reporter;
use crate::feed::Feed;
use crate::run::{Options, Stop};
use crate::schema::{Model, ModelKind, RegistryFacts};
use crate::sink::Target;
use crate::source::Source;
use crate::state::{RunRow, State};
use crate::transform::Transformer;
use crate::watch::Watch;

/// One run as its workers see it.
pub(crate) struct Context {
    pub(crate) registry: &'static RegistryFacts,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Target,
    pub(crate) state: State,
    pub(crate) run: RunRow,
    pub(crate) options: Options,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) stop: Stop,
    pub(crate) watch: Arc<Watch>,
    /// One transformer per model that has a collection, by the model's name.
    pub(crate) transformers: HashMap<&'static str, Arc<Transformer>>,
    /// See [`Context::origins`].
    pub(crate) origins: HashMap<&'static str, Vec<i16>>,
}

impl Context {
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
            return Err(Error::new(ErrorKind::Interrupted, "the run was asked to stop"));
        }
        Ok(())
    }
}
