//! What a model's documents are: those of its collection as they come, or, for a child, one
//! document for each element of an array or a map inside them.
//!
//! A child's documents are made here and nowhere else, so that all that follows (chunks, rejects,
//! settling, retries, validation) knows documents and no elements. Such a document holds the
//! element's own fields, and beside them what only its place tells, under keys that no application
//! uses:
//!
//! ```text
//! { _id: { "\u{1}of": <the root's _id>, "\u{1}at": ["climbers", 3] },
//!   "\u{1}parent": <the parent's id>, "\u{1}position": 3, climber: .., isAborted: .. }
//! ```
//!
//! The `_id` is the element's *locator*: from it the element is found again. The collection is
//! read once for each model that it feeds.
//!
//! A model with several collections has the same `_id` from more than one document, so its documents
//! have locators as well, and their own `_id` stands under [`OWN_ID`]:
//!
//! ```text
//! { _id: { "\u{1}of": <the _id>, "\u{1}in": "orders_2023" },
//!   "\u{1}_id": <the _id>, "\u{1}origin": "orders_2023", total: .. }
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bson::spec::ElementType;
use bson::{Bson, RawDocument, RawDocumentBuf};
use tokio::sync::mpsc;

use crate::cell::Mismatch;
use crate::choice;
use crate::error::Result;
use crate::model::Migrate;
use crate::reject::Reason;
use crate::schema::{ChildShape, KEY_SEPARATOR, Model, key_path};
use crate::source::{Batch, CollectionInfo, Ending, Range, Source, documents_of};
use crate::value::Value;

/// The element's own `_id`, whose place the locator takes.
pub const OWN_ID: &str = "\u{1}_id";
/// The id of the row that the element belongs to.
pub const PARENT: &str = "\u{1}parent";
/// The element's place, counted from 0.
pub const POSITION: &str = "\u{1}position";
/// The element's key in a map.
pub const KEY: &str = "\u{1}key";
/// The element itself, where it is no document.
pub const VALUE: &str = "\u{1}value";
/// Why the element cannot become a row, whatever its model says.
pub(crate) const FAULT: &str = "\u{1}fault";
/// The collection that the document comes from, where it may be one of several.
pub const ORIGIN: &str = "\u{1}origin";
/// In the locator of a document of several collections the one that it comes from.
const IN: &str = "\u{1}in";
/// In a locator the `_id` of the collection's document.
const OF: &str = "\u{1}of";
/// In a locator the way from there: field, position or key, field, ..
const AT: &str = "\u{1}at";

/// The keys that say where an element stands; a model need not take them.
pub(crate) const RESERVED: [&str; 5] = [PARENT, POSITION, KEY, VALUE, FAULT];

/// What a document of several collections has beside its own fields.
pub(crate) const GATHERED: [&str; 2] = [OWN_ID, ORIGIN];

/// Elements travel in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;
/// More levels than documents have.
const MOST_LEVELS: usize = 100;

/// A field that `#[child(..)]` may stand on: an array or a map of a child's struct.
#[diagnostic::on_unimplemented(
    message = "`#[child]` needs an array or a map of rows, found `{Self}`",
    label = "not a `Vec` or a map of a model",
    note = "write the field as `Vec<Row>`, or as `HashMap<String, Row>` where the keys are data; `Row` is the struct with `#[migrate(child)]`"
)]
pub trait Children {
    /// The struct of one element.
    type Row: Migrate;
    /// What holds the elements.
    const SHAPE: ChildShape;
}

impl<T: Migrate> Children for Vec<T> {
    type Row = T;
    const SHAPE: ChildShape = ChildShape::Array;
}

impl<T: Migrate> Children for HashMap<String, T> {
    type Row = T;
    const SHAPE: ChildShape = ChildShape::Map;
}

impl<T: Migrate> Children for BTreeMap<String, T> {
    type Row = T;
    const SHAPE: ChildShape = ChildShape::Map;
}

impl<T: Children> Children for Option<T> {
    type Row = T::Row;
    const SHAPE: ChildShape = T::SHAPE;
}

/// A key as people know it; none for what only an element's place tells.
pub(crate) fn shown_key(key: &'static str) -> &'static str {
    match key {
        PARENT | POSITION | KEY | VALUE | FAULT | ORIGIN => "",
        // The sign in front is what makes it no key of a document.
        key => key.trim_start_matches('\u{1}'),
    }
}

/// The bytes of a key as people know it.
pub(crate) fn shown_bytes(key: &[u8]) -> &[u8] {
    if key == OWN_ID.as_bytes() { b"_id" } else { key }
}

/// A document as people know it: without the keys that say where it comes from, and with its own
/// `_id` where it has one. An element that is no document stands under `value`.
pub fn shown_document(document: &[u8]) -> Cow<'_, [u8]> {
    let fields = || Value::new(ElementType::EmbeddedDocument, document).elements();
    let is_made = fields().next().and_then(Result::ok).is_some_and(|(key, id)| {
        let of = || id.elements().next().and_then(Result::ok);
        key == b"_id"
            && id.kind == ElementType::EmbeddedDocument
            && of().is_some_and(|(key, _)| key == OF.as_bytes())
    });
    if !is_made {
        return Cow::Borrowed(document);
    }
    let mut out = Vec::with_capacity(document.len());
    let mut is_whole = true;
    nested(&mut out, |out| {
        for field in fields().skip(1) {
            let Ok((key, value)) = field else {
                is_whole = false;
                return;
            };
            if key == OWN_ID.as_bytes() {
                element(out, value.kind, b"_id", value.bytes);
            } else if key == VALUE.as_bytes() {
                element(out, value.kind, b"value", value.bytes);
            } else if !RESERVED.iter().any(|reserved| reserved.as_bytes() == key)
                && key != ORIGIN.as_bytes()
            {
                element(out, value.kind, key, value.bytes);
            }
        }
    });
    if is_whole { Cow::Owned(out) } else { Cow::Borrowed(document) }
}

/// The way from a collection's documents to those of one model.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The model of the collection.
    root: &'static Model,
    /// None for the model of a collection.
    steps: Vec<Step>,
    /// The way to its field, as in `.steps`.
    below: String,
    label: String,
}

/// From a document to its elements.
#[derive(Clone, Copy, Debug)]
struct Step {
    keys: &'static [&'static str],
    shape: ChildShape,
    /// Whether the model takes the element as a value, whatever it is.
    whole: bool,
    /// The keys of the id of the model that has the field.
    parent_id: &'static [&'static str],
}

impl Feed {
    /// The feed of a model that has documents.
    pub fn of(model: &'static Model) -> Self {
        let mut steps = Vec::new();
        let mut root = model;
        while let Some((parent, field)) = root.parent()
            && steps.len() < MOST_LEVELS
        {
            let id = parent.columns.iter().find(|column| column.primary_key);
            steps.push(Step {
                keys: field.keys,
                shape: field.shape,
                whole: root.columns.iter().any(|column| column.keys.contains(&VALUE)),
                parent_id: id.map_or(&[], |id| id.keys),
            });
            root = parent;
        }
        steps.reverse();
        let mut below = String::new();
        for step in &steps {
            below.push('.');
            below.push_str(&key_path(step.keys.first().copied().unwrap_or_default()));
        }
        let labels: Vec<String> =
            root.collections().map(|collection| format!("{collection}{below}")).collect();
        Self { root, steps, below, label: labels.join(", ") }
    }

    /// The feed of a child from the documents of its parent alone, whatever those are.
    pub(crate) fn below(child: &'static Model) -> Self {
        let mut feed = Self::of(child);
        feed.steps.drain(..feed.steps.len().saturating_sub(1));
        feed
    }

    /// The collections that are read.
    pub fn collections(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.root.collections()
    }

    /// Where the documents come from, as people name it: `tasks`, for a child `tasks.steps`, for
    /// several collections `orders_2023, orders_2024`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether people mean the model's documents by that name, or a part of them.
    pub fn is_named(&self, name: &str) -> bool {
        self.label == name
            || self.collections().any(|collection| {
                name.strip_prefix(collection).is_some_and(|below| below == self.below)
            })
    }

    /// Where the document with that `_id` comes from, as people name it.
    pub fn label_of(&self, id: &Bson) -> String {
        match origin(id) {
            Some(collection) => format!("{collection}{}", self.below),
            None => self.label.clone(),
        }
    }

    /// How many documents its collections have, as far as is known.
    pub(crate) fn documents(&self, collections: &[CollectionInfo]) -> u64 {
        let known = |name| collections.iter().find(|known| known.name == name);
        self.collections().filter_map(|name| known(name)?.documents).sum()
    }

    /// Whether its documents come from several collections.
    fn is_gathered(&self) -> bool {
        !self.root.further_collections.is_empty()
    }

    /// Whether its documents are elements of others.
    pub fn is_child(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Sends the model's documents of a range of its collection, as [`Source::read`] does.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub async fn read(
        &self,
        source: &dyn Source,
        collection: &str,
        range: &Range,
        batches: mpsc::Sender<Batch>,
    ) -> Result<()> {
        self.send(collection, batches, |batches| source.read(collection, range, batches)).await
    }

    /// Sends them as [`Source::read_in_any_order`] does.
    ///
    /// # Errors
    /// As [`Source::read_in_any_order`].
    pub async fn read_in_any_order(
        &self,
        source: &dyn Source,
        collection: &str,
        range: &Range,
        batches: mpsc::Sender<Batch>,
    ) -> Result<Ending> {
        self.send(collection, batches, |batches| {
            source.read_in_any_order(collection, range, batches)
        })
        .await
    }

    /// Sends them in the order of the ids, which goes on after a stumble, or in whichever is the
    /// cheapest, which may break off.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(crate) async fn read_either(
        &self,
        source: &dyn Source,
        (collection, range): (&str, &Range),
        in_order: bool,
        batches: mpsc::Sender<Batch>,
    ) -> Result<Ending> {
        match in_order {
            true => self.read(source, collection, range, batches).await.map(|()| Ending::Whole),
            false => self.read_in_any_order(source, collection, range, batches).await,
        }
    }

    /// Sends what is the model's of the documents that `read` sends.
    async fn send<T, F: Future<Output = T>>(
        &self,
        collection: &str,
        batches: mpsc::Sender<Batch>,
        read: impl FnOnce(mpsc::Sender<Batch>) -> F,
    ) -> T {
        if !self.is_child() && !self.is_gathered() {
            return read(batches).await;
        }
        let (sender, roots) = mpsc::channel::<Batch>(1);
        let reading = read(sender);
        let (read, ()) =
            tokio::join!(reading, self.unwind_all(collection, roots, batches, |_| true));
        read
    }

    /// Unwinds batches of a collection's documents, or gives them their locators, and sends what is
    /// wanted of that, until nobody takes it. A document may have so many elements that they are never in memory all at
    /// once, so this is done where the thread may wait.
    async fn unwind_all(
        &self,
        collection: &str,
        mut roots: mpsc::Receiver<Batch>,
        batches: mpsc::Sender<Batch>,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) {
        let (feed, collection) = (self.clone(), collection.to_owned());
        let unwinding = tokio::task::spawn_blocking(move || {
            while let Some(documents) = roots.blocking_recv() {
                let mut send = |mut piece: Batch| {
                    piece.keep(&wanted);
                    // It is made of these documents, which have asked for its memory too.
                    piece.share_with(&documents);
                    piece.is_empty() || batches.blocking_send(piece).is_ok()
                };
                let mut piece = Piece::new(&mut send);
                for document in documents.iter() {
                    feed.add(&collection, document, &mut piece);
                }
                piece.pass_on();
                if !piece.is_wanted {
                    // The source ends as well when nobody receives.
                    return;
                }
            }
        });
        // Without a panic the runtime is going down, and this task with it.
        if let Err(Ok(panic)) = unwinding.await.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }

    /// Reads documents again by their `_id`s, as [`Source::fetch`] does, and leaves out those that
    /// are not the model's; those of a child are locators.
    ///
    /// # Errors
    /// As [`Source::fetch`].
    pub async fn fetch(&self, source: &dyn Source, ids: &[Bson]) -> Result<Vec<RawDocumentBuf>> {
        let mut found = self.fetch_any(source, ids).await?;
        if !self.is_child() {
            found.retain(|document| choice::is_meant(self.root, document.as_bytes()));
        }
        Ok(found)
    }

    /// As [`Feed::fetch`], with documents of the collection that are not the model's.
    pub(crate) async fn fetch_any(
        &self,
        source: &dyn Source,
        ids: &[Bson],
    ) -> Result<Vec<RawDocumentBuf>> {
        let (sender, batches) = mpsc::channel(1);
        let fetch = self.fetch_batches(source, ids, sender);
        let (fetched, found) = tokio::join!(fetch, documents_of(batches));
        fetched.map(|()| found)
    }

    /// Reads documents again by their `_id`s, as [`Source::fetch_batches`] does, with documents of
    /// the collection that are not the model's; those of a child are locators.
    ///
    /// # Errors
    /// As [`Source::fetch_batches`].
    pub(crate) async fn fetch_batches(
        &self,
        source: &dyn Source,
        ids: &[Bson],
        batches: mpsc::Sender<Batch>,
    ) -> Result<()> {
        if source.has_elements() || !(self.is_child() || self.is_gathered()) {
            return source.fetch_batches(self.root.collection, ids, batches).await;
        }
        let mut roots: Vec<Bson> = Vec::new();
        let mut wanted = None;
        if self.is_child() {
            let mut seen = HashSet::new();
            let wanted = wanted.insert(HashSet::new());
            for id in ids {
                let Some((root, _)) = parts(id) else { continue };
                wanted.extend(id.as_document().and_then(|locator| locator.to_vec().ok()));
                if seen.insert(bson::doc! { "_id": root }.to_vec().ok()) {
                    roots.push(root.clone());
                }
            }
        } else {
            roots.extend_from_slice(ids);
        }
        let wanted = Arc::new(wanted);
        for collection in self.collections() {
            let here = |root: &&Bson| !self.is_gathered() || origin(root) == Some(collection);
            let own: Vec<Bson> = roots.iter().filter(here).map(own_id).cloned().collect();
            if own.is_empty() {
                continue;
            }
            let wanted = Arc::clone(&wanted);
            let is_wanted = move |element: &[u8]| {
                let Some(wanted) = &*wanted else { return true };
                RawDocument::from_bytes(element).is_ok_and(|element| {
                    let locator = element.get_document("_id");
                    locator.is_ok_and(|locator| wanted.contains(locator.as_bytes()))
                })
            };
            let (sender, found) = mpsc::channel::<Batch>(1);
            let fetching = source.fetch_batches(collection, &own, sender);
            let unwinding = self.unwind_all(collection, found, batches.clone(), is_wanted);
            let (fetched, ()) = tokio::join!(fetching, unwinding);
            fetched?;
        }
        Ok(())
    }

    /// Adds what a document of one of the collections gives.
    fn add(&self, collection: &str, document: &[u8], out: &mut Piece<'_>) {
        out.pass_on_if_full();
        if !self.is_gathered() {
            return self.unwind_meant(document, out);
        }
        let document = gathered(collection, document);
        if self.is_child() {
            return self.unwind_meant(&document, out);
        }
        out.places.push((out.bytes.len() as u32, document.len() as u32));
        out.bytes.extend_from_slice(&document);
    }

    /// Adds the elements of one of the collection's documents; one that is not the root model's
    /// has none that are the child's.
    fn unwind_meant(&self, document: &[u8], out: &mut Piece<'_>) {
        if choice::is_meant(self.root, document) {
            self.unwind(document, out);
        }
    }

    /// Adds the elements of one of the collection's documents.
    pub(crate) fn unwind(&self, document: &[u8], out: &mut Piece<'_>) {
        let id = field(document, &["_id"])
            .map_or((ElementType::Null, &[][..]), |(_, value)| (value.kind, value.bytes));
        let mut path = Path { root: id, places: Vec::new() };
        self.unwind_step(0, document, &Own::default(), &mut path, out);
    }

    fn unwind_step<'a>(
        &self,
        level: usize,
        document: &'a [u8],
        own: &Own<'a>,
        path: &mut Path<'a>,
        out: &mut Piece<'_>,
    ) {
        let step = &self.steps[level];
        let is_last = level + 1 == self.steps.len();
        let Some((key, value)) = field(document, step.keys) else { return };
        let parent = own.id(document, step.parent_id, path, level);
        path.places.push(Place::Key(Cow::Owned(key_path(key).into_bytes())));
        match (value.kind, step.shape) {
            (ElementType::Null, _) => {}
            (ElementType::Array, ChildShape::Array)
            | (ElementType::EmbeddedDocument, ChildShape::Map) => {
                for (position, element) in value.elements().enumerate() {
                    out.pass_on_if_full();
                    if !out.is_wanted {
                        break;
                    }
                    let (key, element) = match element {
                        Ok(element) => element,
                        Err(malformed) => {
                            path.places.push(Place::Position(position as i32));
                            out.fault(path, &parent, malformed.into(), None);
                            path.places.pop();
                            break;
                        }
                    };
                    let own = Own {
                        position: position as i32,
                        key: (step.shape == ChildShape::Map).then_some(key),
                        value: Some(element),
                    };
                    path.places.push(match own.key {
                        Some(key) => Place::Key(Cow::Borrowed(key)),
                        None => Place::Position(own.position),
                    });
                    let is_document = element.kind == ElementType::EmbeddedDocument;
                    if !is_last {
                        // What is no document is told of by the model whose element it is.
                        if is_document {
                            self.unwind_step(level + 1, element.bytes, &own, path, out);
                        }
                    } else if step.whole || is_document {
                        out.element(path, &parent, &own, step.whole);
                    } else {
                        let mismatch = Mismatch::wrong_type("object", element);
                        out.fault(path, &parent, mismatch, Some(element));
                    }
                    path.places.pop();
                }
            }
            _ if is_last => {
                let expected = match step.shape {
                    ChildShape::Array => "array",
                    ChildShape::Map => "object",
                };
                out.fault(path, &parent, Mismatch::wrong_type(expected, value), Some(value));
            }
            _ => {}
        }
        path.places.pop();
    }
}

/// The first of the keys or paths that a document has, and its value.
pub(crate) fn field<'a, 'k>(document: &'a [u8], keys: &[&'k str]) -> Option<(&'k str, Value<'a>)> {
    keys.iter().find_map(|path| {
        let mut value = Value::new(ElementType::EmbeddedDocument, document);
        for wanted in path.split(KEY_SEPARATOR) {
            if !matches!(value.kind, ElementType::EmbeddedDocument | ElementType::Array) {
                return None;
            }
            let mut fields = value.elements().map_while(|element| element.ok());
            (_, value) = fields.find(|(key, _)| *key == wanted.as_bytes())?;
        }
        Some((*path, value))
    })
}

/// A document of one of several collections, with its locator. One that breaks off becomes a
/// document that the transformer refuses, with all of its bytes.
fn gathered(collection: &str, document: &[u8]) -> Vec<u8> {
    let id = field(document, &["_id"]).map(|(_, value)| value);
    let mut out = Vec::with_capacity(document.len() + 2 * collection.len() + 128);
    let place = string(collection.as_bytes());
    nested(&mut out, |out| {
        out.push(ElementType::EmbeddedDocument as u8);
        out.extend_from_slice(b"_id\0");
        nested(out, |out| {
            if let Some(id) = id {
                element(out, id.kind, OF.as_bytes(), id.bytes);
            }
            element(out, ElementType::String, IN.as_bytes(), &place);
        });
        element(out, ElementType::String, ORIGIN.as_bytes(), &place);
        for field in Value::new(ElementType::EmbeddedDocument, document).elements() {
            match field {
                Ok((b"_id", value)) => element(out, value.kind, OWN_ID.as_bytes(), value.bytes),
                Ok((key, value)) => element(out, value.kind, key, value.bytes),
                Err(malformed) => {
                    write_fault(out, malformed.into());
                    let mut bytes = (document.len() as u32).to_le_bytes().to_vec();
                    bytes.push(bson::spec::BinarySubtype::Generic.into());
                    bytes.extend_from_slice(document);
                    element(out, ElementType::Binary, VALUE.as_bytes(), &bytes);
                }
            }
        }
    });
    out
}

/// A document of one of several collections as it stands there.
pub(crate) fn ungathered(document: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len());
    nested(&mut out, |out| {
        let fields = Value::new(ElementType::EmbeddedDocument, document).elements();
        for (key, value) in fields.map_while(|field| field.ok()) {
            if key == OWN_ID.as_bytes() {
                element(out, value.kind, b"_id", value.bytes);
            } else if key != b"_id" && key != ORIGIN.as_bytes() {
                element(out, value.kind, key, value.bytes);
            }
        }
    });
    out
}

/// The document of an element that was found below another one, with a locator that leads to it from
/// the collection's document.
pub(crate) fn with_whole_locator(element: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(element.len());
    nested(&mut out, |out| {
        let fields = Value::new(ElementType::EmbeddedDocument, element).elements();
        for (key, value) in fields.map_while(|field| field.ok()) {
            match (key == b"_id").then(|| whole_locator(value.to_bson().ok()?)).flatten() {
                Some(locator) => self::element(out, value.kind, key, &locator),
                None => self::element(out, value.kind, key, value.bytes),
            }
        }
    });
    out
}

/// A locator whose root is one itself, as a single one.
fn whole_locator(id: Bson) -> Option<Vec<u8>> {
    let (outer, below) = parts(&id)?;
    let (root, above) = parts(outer)?;
    let places: Vec<Bson> = above.iter().chain(below).cloned().collect();
    bson::doc! { OF: root.clone(), AT: places }.to_vec().ok()
}

/// The collection that a locator names.
fn origin(id: &Bson) -> Option<&str> {
    let locator = id.as_document()?;
    match locator.get(OF) {
        Some(of) if locator.contains_key(AT) => origin(of),
        _ => locator.get_str(IN).ok(),
    }
}

/// The `_id` itself, without the collection that it comes from.
pub(crate) fn own_id(id: &Bson) -> &Bson {
    match id.as_document() {
        Some(locator) if locator.contains_key(IN) => locator.get(OF).unwrap_or(&Bson::Null),
        _ => id,
    }
}

/// What an element's place tells of it; for a collection's document nothing.
#[derive(Default)]
struct Own<'a> {
    position: i32,
    key: Option<&'a [u8]>,
    value: Option<Value<'a>>,
}

impl<'a> Own<'a> {
    /// The id of the element, or of a collection's document, as its model reads it.
    fn id(
        &self,
        document: &[u8],
        keys: &[&str],
        path: &Path<'a>,
        level: usize,
    ) -> (ElementType, Vec<u8>) {
        if level == 0 {
            // A document that is an element itself has its place under these keys.
            return match field(document, keys) {
                Some((_, value)) => (value.kind, value.bytes.to_vec()),
                None => (ElementType::Null, Vec::new()),
            };
        }
        for key in keys {
            let found = match *key {
                OWN_ID => field(document, &["_id"]).map(|(_, value)| value),
                "_id" => {
                    return (ElementType::EmbeddedDocument, path.locator());
                }
                KEY => match self.key {
                    Some(key) => return (ElementType::String, string(key)),
                    None => None,
                },
                POSITION => {
                    return (ElementType::Int32, self.position.to_le_bytes().to_vec());
                }
                VALUE => self.value,
                key => field(document, &[key]).map(|(_, value)| value),
            };
            if let Some(value) = found {
                return (value.kind, value.bytes.to_vec());
            }
        }
        (ElementType::Null, Vec::new())
    }
}

/// The place of an element, from the collection's document on.
struct Path<'a> {
    root: (ElementType, &'a [u8]),
    places: Vec<Place<'a>>,
}

enum Place<'a> {
    Key(Cow<'a, [u8]>),
    Position(i32),
}

impl Path<'_> {
    /// The locator, as a document's bytes.
    fn locator(&self) -> Vec<u8> {
        let mut out = Vec::new();
        nested(&mut out, |out| {
            element(out, self.root.0, OF.as_bytes(), self.root.1);
            out.push(ElementType::Array as u8);
            out.extend_from_slice(AT.as_bytes());
            out.push(0);
            nested(out, |out| {
                for (index, place) in self.places.iter().enumerate() {
                    let name = index.to_string();
                    match place {
                        Place::Key(key) => {
                            element(out, ElementType::String, name.as_bytes(), &string(key));
                        }
                        Place::Position(position) => {
                            let bytes = position.to_le_bytes();
                            element(out, ElementType::Int32, name.as_bytes(), &bytes);
                        }
                    }
                }
            });
        });
        out
    }
}

/// Elements as documents, on their way.
pub(crate) struct Piece<'a> {
    bytes: Vec<u8>,
    /// Offset and length of each document.
    places: Vec<(u32, u32)>,
    /// Takes the documents, as soon as they are many, and says whether more are wanted.
    take: &'a mut (dyn FnMut(Batch) -> bool + 'a),
    is_wanted: bool,
}

impl<'a> Piece<'a> {
    /// An empty one, whose documents go to `take`.
    pub(crate) fn new(take: &'a mut (dyn FnMut(Batch) -> bool + 'a)) -> Self {
        Self { bytes: Vec::new(), places: Vec::new(), take, is_wanted: true }
    }

    /// Passes on what there is.
    pub(crate) fn pass_on(&mut self) {
        if !self.places.is_empty() && self.is_wanted {
            let (bytes, places) =
                (std::mem::take(&mut self.bytes), std::mem::take(&mut self.places));
            self.is_wanted = (self.take)(Batch::new(bytes, places));
        }
    }

    fn pass_on_if_full(&mut self) {
        if self.bytes.len() >= PIECE_BYTES {
            self.pass_on();
        }
    }

    /// Adds a document with what `write` puts into it beside its locator and its parent's id.
    fn document(
        &mut self,
        path: &Path<'_>,
        parent: &(ElementType, Vec<u8>),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        nested(&mut self.bytes, |out| {
            element(out, ElementType::EmbeddedDocument, b"_id", &path.locator());
            element(out, parent.0, PARENT.as_bytes(), &parent.1);
            write(out);
        });
        self.places.push((start as u32, (self.bytes.len() - start) as u32));
    }

    fn element(
        &mut self,
        path: &Path<'_>,
        parent: &(ElementType, Vec<u8>),
        own: &Own<'_>,
        whole: bool,
    ) {
        let Some(value) = own.value else { return };
        let mut fault = None;
        self.document(path, parent, |out| {
            let position = own.position.to_le_bytes();
            element(out, ElementType::Int32, POSITION.as_bytes(), &position);
            if let Some(key) = own.key {
                element(out, ElementType::String, KEY.as_bytes(), &string(key));
            }
            if whole {
                element(out, value.kind, VALUE.as_bytes(), value.bytes);
                return;
            }
            for field in value.elements() {
                match field {
                    Ok((b"_id", value)) => {
                        element(out, value.kind, OWN_ID.as_bytes(), value.bytes);
                    }
                    Ok((key, value)) => element(out, value.kind, key, value.bytes),
                    Err(malformed) => fault = Some(malformed),
                }
            }
        });
        if let Some(malformed) = fault
            && let Some((start, _)) = self.places.pop()
        {
            self.bytes.truncate(start as usize);
            self.fault(path, parent, malformed.into(), None);
        }
    }

    /// Adds a document that the transformer refuses with that mismatch.
    fn fault(
        &mut self,
        path: &Path<'_>,
        parent: &(ElementType, Vec<u8>),
        mismatch: Mismatch,
        found: Option<Value<'_>>,
    ) {
        self.document(path, parent, |out| {
            write_fault(out, mismatch);
            if let Some(value) = found {
                element(out, value.kind, VALUE.as_bytes(), value.bytes);
            }
        });
    }
}

/// Writes what makes the transformer refuse a document with that mismatch.
fn write_fault(out: &mut Vec<u8>, mismatch: Mismatch) {
    let (expected, shown) = mismatch.parts();
    out.push(ElementType::EmbeddedDocument as u8);
    out.extend_from_slice(FAULT.as_bytes());
    out.push(0);
    nested(out, |out| {
        for (key, text) in
            [("reason", mismatch.reason().code()), ("expected", expected), ("found", shown)]
        {
            element(out, ElementType::String, key.as_bytes(), &string(text.as_bytes()));
        }
    });
}

/// The mismatch that a fault stands for.
#[cold]
pub(crate) fn fault_of(fault: Value<'_>) -> Mismatch {
    let text = |key| {
        field(fault.bytes, &[key])
            .filter(|(_, value)| value.kind == ElementType::String)
            .and_then(|(_, value)| Some(value.as_str().ok()?.to_owned()))
            .unwrap_or_default()
    };
    Mismatch::new(Reason::from_code(&text("reason")), text("expected"), text("found"))
}

/// Writes one element of a document.
fn element(out: &mut Vec<u8>, kind: ElementType, key: &[u8], bytes: &[u8]) {
    out.push(kind as u8);
    out.extend_from_slice(key);
    out.push(0);
    out.extend_from_slice(bytes);
}

/// Writes a document around what `write` puts into it.
fn nested(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    out.push(0);
    let length = ((out.len() - start) as u32).to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
}

/// The bytes of a BSON string.
fn string(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 5);
    bytes.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

/// A locator for people, as in `507f1f77bcf86cd799439011/climbers/3`, with the collection in front
/// where it is one of several; `None` for other ids.
pub(crate) fn locator_text(id: &Bson) -> Option<String> {
    if let Some(locator) = id.as_document()
        && let Ok(collection) = locator.get_str(IN)
    {
        let own = locator.get(OF).map(crate::source_id::display).unwrap_or_default();
        return Some(format!("{collection}/{own}"));
    }
    let (root, places) = parts(id)?;
    let mut text = crate::source_id::display(root);
    for place in places {
        text.push('/');
        match place {
            Bson::String(key) => text.push_str(key),
            other => text.push_str(&other.to_string()),
        }
    }
    Some(text)
}

/// The field path of the element that a locator leads to, as in `climbers.3`; keys of a map are
/// data, and shown as `*`.
#[cold]
pub(crate) fn field_path(id: Value<'_>) -> Option<String> {
    let id = id.to_bson().ok()?;
    let (_, places) = parts(&id)?;
    let path: Vec<String> = places
        .iter()
        .enumerate()
        .map(|(index, place)| match place {
            Bson::String(_) if index % 2 == 1 => "*".to_owned(),
            Bson::String(key) => key.clone(),
            other => other.to_string(),
        })
        .collect();
    Some(path.join("."))
}

/// The root's `_id` and the way from there.
fn parts(id: &Bson) -> Option<(&Bson, &Vec<Bson>)> {
    let locator = id.as_document()?;
    Some((locator.get(OF)?, locator.get_array(AT).ok()?))
}
