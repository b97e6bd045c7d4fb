//! A live MongoDB: raw replies of the official driver, range by range along the `_id` index.
//!
//! A range is read with `min`/`max` and the `_id` hint. Those are bounds of the *index*, which
//! orders all BSON types; `$gt` compares within one type only and would lose the others. The
//! first and the last range are open, so what is inserted outside the bounds seen at the cut is
//! read as well.
//!
//! An upper bound is exclusive even where it is open: with `min` alone the server stops before the
//! id `MaxKey`, so the last range asks for that one by itself.
//!
//! # How a collection is cut
//! Up to [`SourceOptions::walked_documents`] documents, along the `_id` index alone: the server
//! hops over n ids at a time, which takes it a second for some millions, and the ranges are even.
//! Larger ones by `$sample`, sorted by the server: below 5 % of a collection WiredTiger draws with
//! a random cursor and reads no more than it draws, so we never ask for that much. The ranges then
//! differ, after a bulk insert even by a multiple, as the cursor favours full pages. `$bucketAuto`
//! reads the whole collection; `splitVector` needs rights over the cluster and some hosts do not
//! offer it.
//!
//! # When the server stumbles
//! Documents of a range come in the order of `_id`. After a lost cursor or connection the query is
//! made again with the last id sent as its `min`, and that document is left out; so each is sent
//! once. That also covers a cursor that the server forgot while the target was slow, and makes
//! `noCursorTimeout` unnecessary.
//!
//! # Where any order will do
//! A collection that is not cut is read as it lies on the disk, which takes the server half the
//! time of the way along the index. It is read as of one moment: a document that is deleted and
//! inserted again meanwhile lies somewhere else, and would come twice. The moment is the latest
//! one of the member that answers; on a secondary that may be behind the primary, as any read there
//! is. There is no going on in the middle: places are each server's own, so a skip counts for
//! nothing on another member of the set, and a restart or five minutes end the moment. What is lost
//! with a range begun again is bounded by its size.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::spec::ElementType;
use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{StreamExt, TryStreamExt};
use mongodb::error::{Error as DriverError, ErrorKind as DriverErrorKind};
use mongodb::options::{ClientOptions, Hint, SessionOptions};
use mongodb::raw_batch_cursor::RawBatch;
use mongodb::{Client, ClientSession, Collection, Database};
use tokio::sync::mpsc;

use super::{
    Batch, Buffer, CollectionInfo, Ending, Range, Source, SourceOptions, id_key, id_key_of, id_of,
};
use crate::budget::Budget;
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{GRACE, Stop};
use crate::value::{Elements, Value};

/// Ids drawn for one range: the ranges then differ by about a quarter.
const DRAWS_PER_RANGE: u64 = 16;

/// The share of a collection that may be drawn; at 5 % the server scans it instead.
const DRAWN_SHARE: u64 = 25;

/// How long the driver looks for a server that answers, and how long that is tried when a source
/// is opened.
const SELECTION_TIME: Duration = Duration::from_secs(3);
const OPENING_TIME: Duration = Duration::from_secs(9);
/// After so long without a reply the wait is told of, and then again and again.
const SILENCE: Duration = Duration::from_secs(5);

/// The largest collection that is read without a way to go on in the middle.
const BEGUN_AGAIN_BYTES: u64 = 256 << 20;
/// How long the server may take until it can show the moment that is asked for: it waits for the
/// other members of the set, for ever where too few are up.
const MOMENT_TIME: Duration = Duration::from_secs(3);

/// Collections that are measured at the same time.
const MEASURED: usize = 4;

/// Ids in one `$in`, and the bytes they may have together; a command may have 16 MB.
const FETCHED_IDS: usize = 10_000;
const FETCHED_ID_BYTES: usize = 4 << 20;

/// A database on a live server.
pub struct MongoSource {
    client: Client,
    database: Database,
    description: String,
    options: SourceOptions,
    /// How long the driver looks for a server.
    selection: Duration,
    /// The moment that is read, with [`SourceOptions::snapshot`].
    snapshot: Option<Timestamp>,
    /// What was learned of collections, so that a read need not ask again.
    known: Mutex<HashMap<String, Known>>,
    /// Whether the server could not show its present moment in time, so that it is not asked again.
    without_moments: AtomicBool,
    notices: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    documents: Option<u64>,
    bytes: Option<u64>,
    /// Whether it can be read in the order of an index on `_id`.
    ordered: bool,
    /// Whether it is neither a view nor a time series.
    plain: bool,
}

impl fmt::Debug for MongoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MongoSource").field(&self.description).finish()
    }
}

/// Why an act on the server did not succeed.
enum Failure {
    Driver(DriverError),
    /// No answer in that time.
    Silence(Duration),
    /// A reply that is not as the protocol has it.
    Reply(&'static str),
    /// Somebody asked to stop, and no answer came in time.
    Stopped,
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl Failure {
    /// Whether the same act may succeed a little later, on this or another server of the set.
    fn is_transient(&self) -> bool {
        match self {
            Self::Silence(_) => true,
            Self::Reply(_) | Self::Stopped => false,
            Self::Driver(error) => is_transient(error),
        }
    }

    fn into_error(self, context: String) -> Error {
        if matches!(self, Self::Stopped) {
            return Stop::error();
        }
        let kind = match self.is_transient() {
            true => ErrorKind::SourceConnection,
            false => ErrorKind::Source,
        };
        let error = Error::new(kind, context);
        match self {
            Self::Driver(driver) => {
                let hint = hint(&driver);
                let error = error.caused_by(driver_text(&driver));
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            Self::Silence(time) => {
                error.caused_by(format!("no answer within {} seconds", time.as_secs()))
            }
            Self::Reply(what) => error.caused_by(format!("the server's reply is broken: {what}")),
            Self::Stopped => error,
        }
    }

    fn summary(&self) -> String {
        match self {
            Self::Driver(error) => driver_text(error),
            Self::Silence(time) => format!("no answer within {} seconds", time.as_secs()),
            Self::Reply(what) => (*what).to_owned(),
            Self::Stopped => "it was asked to stop".to_owned(),
        }
    }
}

/// The driver's error in words. Where it finds no server it prints what it knows of each as its
/// debugging text; of that only the address and the cause are for people.
pub fn driver_text(error: &DriverError) -> String {
    match &*error.kind {
        DriverErrorKind::ServerSelection { message, .. } => selection_text(message),
        kind => kind.to_string(),
    }
}

fn selection_text(message: &str) -> String {
    let (head, topology) = message.split_once(" Topology: ").unwrap_or((message, ""));
    let servers: Vec<String> = topology
        .split("{ Address: ")
        .skip(1)
        .filter_map(|server| {
            let (address, rest) = server.split_once(',')?;
            let (_, cause) = rest.split_once("Error: Kind: ")?;
            let cause = cause.split_once(", labels: ").map_or(cause, |(cause, _)| cause);
            Some(format!("{address}: {cause}"))
        })
        .collect();
    let head = head.trim_start_matches("Server selection timeout: ").trim_end_matches('.');
    match servers.is_empty() {
        true => head.to_owned(),
        false => format!("no server answers ({})", servers.join("; ")),
    }
}

fn is_transient(error: &DriverError) -> bool {
    match &*error.kind {
        DriverErrorKind::Io(_)
        | DriverErrorKind::ServerSelection { .. }
        | DriverErrorKind::ConnectionPoolCleared { .. }
        | DriverErrorKind::DnsResolve { .. } => true,
        DriverErrorKind::Command(command) => matches!(
            command.code,
            // The host or the network.
            6 | 7 | 89 | 9001
            // The server shuts down, starts, or is no longer the one to ask.
            | 91 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436
            // The cursor is gone: timed out, killed, its session ended.
            | 43 | 237 | 11601 | 206
            // Not yet, or too slowly.
            | 134 | 262 | 462
        ),
        _ => {
            error.contains_label(mongodb::error::RETRYABLE_ERROR)
                || error.contains_label(mongodb::error::SYSTEM_OVERLOADED_ERROR)
        }
    }
}

fn hint(error: &DriverError) -> Option<&'static str> {
    match &*error.kind {
        DriverErrorKind::Authentication { .. } => Some(
            "check user and password in `--source`, and `authSource` if the user is kept in another database",
        ),
        DriverErrorKind::Command(command) => match command.code {
            13 => Some("grant the user the role `read` on the source's database"),
            18 => Some(
                "check user and password in `--source`, and `authSource` if the user is kept in another database",
            ),
            239 | 246 => Some(
                "the moment read is no longer kept: raise `minSnapshotHistoryWindowInSeconds` on the server, or read without a snapshot",
            ),
            _ => None,
        },
        DriverErrorKind::InvalidTlsConfig { .. } => {
            Some("check the `tls…` options in `--source` and the files they name")
        }
        _ => None,
    }
}

/// What may be shown of an address: no user, no password, no options.
fn without_secrets(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("mongodb", address));
    // A password may hold any character, even where it should have been escaped.
    let (secret, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let place = match rest.find('?') {
        // Either side of this `@` may be a secret: of the user, or in an option.
        _ if secret.contains('?') => "…",
        Some(end) => &rest[..end],
        None => rest,
    };
    format!("{}://{}", scheme.to_ascii_lowercase(), place.trim_end_matches('/'))
}

impl MongoSource {
    /// Connects, and makes sure that the server answers.
    ///
    /// # Errors
    /// When the address cannot be understood or names no database, or the server does not answer.
    pub async fn open(address: &str, options: SourceOptions) -> Result<Self> {
        let shown = without_secrets(address);
        // The driver's message may quote the address.
        let secret = address
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'))
            .map_or("", |(secret, _)| secret);
        let mut client_options = ClientOptions::parse(address).await.map_err(|error| {
            if is_transient(&error) {
                return Failure::Driver(error)
                    .into_error(format!("the hosts of `{shown}` cannot be looked up"));
            }
            let mut cause = error.kind.to_string();
            // The user's name is no secret, and a part of two letters would tear words apart.
            for part in std::iter::once(secret).chain(secret.split(':').skip(1)) {
                if part.len() > 2 {
                    cause = cause.replace(part, "***");
                }
            }
            Error::new(ErrorKind::Usage, format!("`{shown}` is not a MongoDB address"))
                .caused_by(cause)
                .with_hint("write it as `mongodb://USER:PASSWORD@HOST:27017/DATABASE`, with `%` escapes in user and password")
        })?;
        let Some(name) = client_options.default_database.clone() else {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{shown}` names no database"),
            )
            .with_hint("put its name behind the host, as in `mongodb://HOST:27017/DATABASE`; if the user is kept in another database, add `?authSource=admin`"));
        };
        client_options.app_name.get_or_insert_with(|| "migrate".to_owned());
        // The driver waits without a word, so it waits for a short time, and we ask again.
        let selection = *client_options.server_selection_timeout.get_or_insert(SELECTION_TIME);
        client_options.connect_timeout.get_or_insert(Duration::from_secs(10));
        let client = Client::with_options(client_options).map_err(|error| {
            Failure::Driver(error).into_error(format!("`{shown}` cannot be opened"))
        })?;
        let mut source = Self {
            database: client.database(&name),
            client,
            description: format!("MongoDB {shown}"),
            options,
            selection,
            snapshot: None,
            known: Mutex::default(),
            without_moments: AtomicBool::new(false),
            notices: Mutex::default(),
        };
        let begun = Instant::now();
        loop {
            let ping = source.database.run_command(doc! { "ping": 1 });
            let Some(answer) = source.options.stop.or(GRACE, ping.into_future()).await else {
                return Err(Stop::error());
            };
            let Err(error) = answer else { break };
            // A host that is far away may take longer than one selection, a wrong one stays wrong.
            let again = matches!(&*error.kind, DriverErrorKind::ServerSelection { .. })
                && begun.elapsed() + SELECTION_TIME <= OPENING_TIME.min(source.options.retry_for);
            if !again {
                let context = format!("cannot connect to `{shown}`");
                return Err(Failure::Driver(error).into_error(context));
            }
        }
        if source.options.snapshot {
            source.snapshot = source.moment().await.map_err(|failure| {
                failure.into_error(format!("`{shown}` cannot be read as of one moment")).with_hint(
                    "a snapshot needs a replica set or a sharded cluster of MongoDB 5.0 or later",
                )
            })?;
        }
        Ok(source)
    }

    /// The server's present moment, to be read by all sessions; `None` for a database without
    /// collections.
    async fn moment(&self) -> Result<Option<Timestamp>, Failure> {
        let names = self.names().await?;
        let Some((name, _)) = names.iter().find(|(_, kind)| kind == "collection") else {
            return Ok(None);
        };
        let mut session =
            self.client.start_session().with_options(session_options(true, None)).await?;
        let collection: Collection<RawDocumentBuf> = self.database.collection(name);
        collection.find(doc! {}).limit(1).session(&mut session).batch().await?;
        match session.snapshot_time() {
            Some(time) => Ok(Some(time)),
            None => Err(Failure::Reply("no snapshot time")),
        }
    }

    /// The moment as of which a collection may be read in the order in which it lies on the disk;
    /// `None` where the order of `_id` is the better way.
    async fn moment_of_scan(&self, range: &Range, known: Known) -> Option<Timestamp> {
        let whole = matches!(range, Range::Ids { min: None, max: None });
        let small = known.bytes.is_some_and(|bytes| bytes <= BEGUN_AGAIN_BYTES);
        if !(whole && small && known.plain) || self.without_moments.load(Ordering::Relaxed) {
            return None;
        }
        let hello = self.ask(doc! { "hello": 1 });
        let hello = tokio::time::timeout(MOMENT_TIME, hello).await.ok()?.ok()?;
        // A sharded cluster has no name of a set, and may move documents while they are read.
        hello.get_str("setName").ok()?;
        self.snapshot.or_else(|| hello.get_timestamp("operationTime").ok())
    }

    async fn session(&self, moment: Option<Timestamp>) -> Result<ClientSession, Failure> {
        let options = session_options(moment.is_some(), moment);
        Ok(self.client.start_session().with_options(options).await?)
    }

    fn raw(&self, collection: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(collection)
    }

    /// Does an act until it succeeds, fails for good, or the patience is over.
    async fn patiently<'f, T, F>(&self, context: &str, mut act: F) -> Result<T>
    where
        F: FnMut() -> BoxFuture<'f, Result<T, Failure>>,
    {
        let mut patience = self.patience();
        loop {
            let failure = match self.options.stop.or(GRACE, act()).await {
                Some(Ok(done)) => return Ok(done),
                Some(Err(failure)) => failure,
                None => Failure::Stopped,
            };
            match patience.delay(&failure, context) {
                Some(delay) => self.options.stop.pause(delay).await,
                None => return Err(patience.give_up(failure, context)),
            }
        }
    }

    fn patience(&self) -> Patience<'_> {
        Patience { options: &self.options, selection: self.selection, since: None, attempts: 0 }
    }

    /// Names and types of the collections, without system collections.
    async fn names(&self) -> Result<Vec<(String, String)>, Failure> {
        // Both options together also serve users who may read some collections only.
        let command =
            doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
        let mut cursor = self.database.run_cursor_command(command).await?;
        let mut names = Vec::new();
        while let Some(entry) = cursor.next().await {
            let entry = entry?;
            let name =
                entry.get_str("name").map_err(|_| Failure::Reply("a collection without a name"))?;
            if !name.starts_with("system.") {
                let kind = entry.get_str("type").unwrap_or("collection");
                names.push((name.to_owned(), kind.to_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Count and size as the server keeps them. They may be wrong after a crash of the server.
    async fn measure(&self, collection: &str, kind: &str) -> Result<Known, Failure> {
        if kind == "timeseries" {
            return Ok(Known { documents: None, bytes: None, ordered: false, plain: false });
        }
        let plain = kind == "collection";
        let number = |value: Option<&Bson>| match value? {
            Bson::Int32(n) => Some(*n as u64),
            Bson::Int64(n) => Some(*n as u64),
            Bson::Double(n) => Some(*n as u64),
            _ => None,
        };
        // This needs no more than the right to read, and a seventh of the time that all the
        // statistics of the storage take.
        let namespace = format!("{}.{collection}", self.database.name());
        let size = self.ask(doc! { "dataSize": namespace, "estimate": true });
        match size.await {
            Ok(line) => {
                let (documents, bytes) = (number(line.get("numObjects")), number(line.get("size")));
                if documents.is_some() && bytes.is_some() {
                    return Ok(Known { documents, bytes, ordered: true, plain });
                }
            }
            Err(error) if is_transient(&error) => return Err(error.into()),
            // Not every server that speaks the protocol knows it.
            Err(_) => {}
        }
        let pipeline = [
            doc! { "$collStats": { "storageStats": {} } },
            // One line per shard.
            doc! { "$group": {
                "_id": null,
                "documents": { "$sum": "$storageStats.count" },
                "bytes": { "$sum": "$storageStats.size" },
            } },
        ];
        let statistics = async {
            let mut cursor = self.raw(collection).aggregate(pipeline).await?;
            cursor.next().await.transpose()
        };
        match statistics.await {
            Ok(Some(line)) => {
                let (documents, bytes) = (number(line.get("documents")), number(line.get("bytes")));
                Ok(Known { documents, bytes, ordered: true, plain })
            }
            Err(error) if is_transient(&error) => Err(error.into()),
            // Without the right to see statistics there is the count.
            Ok(None) | Err(_) => {
                let documents = self.raw(collection).estimated_document_count().await?;
                Ok(Known { documents: Some(documents), bytes: None, ordered: true, plain })
            }
        }
    }

    /// Measures a collection until the server answers, and remembers what it says.
    async fn measure_patiently(&self, collection: &str, kind: &str) -> Result<CollectionInfo> {
        let context = format!("the collection `{collection}` cannot be looked at");
        let known = self.patiently(&context, || self.measure(collection, kind).boxed()).await?;
        let mut all = self.known.lock().expect("no panic under the lock");
        all.insert(collection.to_owned(), known);
        Ok(CollectionInfo {
            name: collection.to_owned(),
            documents: known.documents,
            bytes: known.bytes,
        })
    }

    /// Runs a command on the member that the address chooses for reading.
    async fn ask(&self, command: Document) -> Result<Document, DriverError> {
        let mut act = self.database.run_command(command);
        if let Some(criteria) = self.database.selection_criteria() {
            act = act.selection_criteria(criteria.clone());
        }
        act.await
    }

    /// What is known of a collection, asked for if need be.
    async fn known(&self, collection: &str) -> Result<Known> {
        let cached = self.known.lock().expect("no panic under the lock").get(collection).copied();
        if let Some(known) = cached {
            return Ok(known);
        }
        let context = format!("the collection `{collection}` cannot be looked at");
        let known = self
            .patiently(&context, || {
                async {
                    let names = self.names().await?;
                    let kind = names.iter().find(|(name, _)| name == collection);
                    let kind = kind.map_or("collection", |(_, kind)| kind.as_str());
                    self.measure(collection, kind).await
                }
                .boxed()
            })
            .await?;
        self.known.lock().expect("no panic under the lock").insert(collection.to_owned(), known);
        Ok(known)
    }

    /// Documents in one reply: about `batch_bytes` of them.
    fn batch_size(&self, known: Known) -> u32 {
        let average = match known {
            Known { documents: Some(documents @ 1..), bytes: Some(bytes), .. } => bytes / documents,
            _ => 1024,
        };
        let most = self.options.batch_documents.max(1) as u64;
        (self.options.batch_bytes as u64 / average.max(16)).max(16).min(most) as u32
    }

    /// Every n-th id of the `_id` index, so that it falls into `ranges` parts, two at the least.
    async fn walk(
        &self,
        collection: &str,
        ranges: u64,
        documents: u64,
    ) -> Result<Vec<Bound>, Failure> {
        let collection = self.raw(collection);
        let step = documents.div_ceil(ranges).max(1);
        let mut bounds: Vec<Bound> = Vec::new();
        let mut last: Option<Document> = None;
        let mut skipped = step;
        // What lies behind the last bound, more than its share where the server has miscounted after a
        // crash, is the last range, whatever it is.
        while (bounds.len() as u64) < ranges - 1 {
            let mut find = collection
                .find(doc! {})
                .projection(doc! { "_id": 1 })
                .sort(doc! { "_id": 1 })
                .hint(by_id())
                .skip(skipped)
                .limit(1);
            if let Some(last) = last.clone() {
                find = find.min(last);
            }
            let mut cursor = self.in_time(find.batch()).await??;
            let Some(reply) = self.in_time(cursor.next()).await? else { return Ok(bounds) };
            let batch = batch_of(reply?)?;
            let Some(document) = batch.iter().next() else { return Ok(bounds) };
            match Bound::of(document) {
                Some(bound) => {
                    last = Some(bound.document.clone());
                    bounds.push(bound);
                    skipped = step;
                }
                // One that is no bound is passed by, and the range becomes larger.
                None => skipped += step,
            }
        }
        Ok(bounds)
    }

    /// Ids drawn at random, so that they cut the collection into about `ranges` parts.
    async fn draw(
        &self,
        collection: &str,
        ranges: u64,
        documents: u64,
    ) -> Result<Vec<Bound>, Failure> {
        let draws = (ranges * DRAWS_PER_RANGE).min(documents / DRAWN_SHARE).max(1);
        let pipeline = [
            doc! { "$sample": { "size": draws as i64 } },
            doc! { "$project": { "_id": 1 } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let mut cursor =
            self.raw(collection).aggregate(pipeline).allow_disk_use(true).batch().await?;
        let mut drawn = Vec::new();
        while let Some(reply) = cursor.next().await {
            drawn.extend(batch_of(reply?)?.iter().filter_map(Bound::of));
        }
        let count = drawn.len() as u64;
        let mut places: Vec<_> = (1..ranges).map(|part| (part * count / ranges) as usize).collect();
        places.dedup();
        let mut drawn: Vec<_> = drawn.into_iter().map(Some).collect();
        Ok(places.into_iter().filter_map(|place| drawn.get_mut(place)?.take()).collect())
    }

    /// Reads a range from `position` on until its end, a failure, or a receiver that is gone.
    async fn stream(
        &self,
        collection: &str,
        known: Known,
        position: &mut Position,
        order: Order,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<(), Failure> {
        if position.sent.as_ref().is_some_and(|(id, _)| *id == [ElementType::MaxKey as u8]) {
            // Nothing lies behind it.
            return Ok(());
        }
        let moment = match order {
            Order::Stored(moment) => Some(moment),
            Order::Id => self.snapshot,
        };
        let mut session = self.session(moment).await?;
        let collection = self.raw(collection);
        let mut find = collection.find(doc! {}).batch_size(self.batch_size(known));
        match order {
            Order::Stored(_) => find = find.hint(Hint::Keys(doc! { "$natural": 1 })),
            // On a sharded cluster the sort merges the shards; elsewhere the index gives it.
            Order::Id if known.ordered => find = find.sort(doc! { "_id": 1 }).hint(by_id()),
            Order::Id => {}
        }
        let asked_from = position.min.clone();
        if let Some(min) = asked_from.clone() {
            find = find.min(min);
        }
        if let Some(max) = position.max.clone() {
            find = find.max(max);
        }
        // Nobody knows how much the next reply holds, up to 16 MB whatever its number of documents.
        let mut slot = self.options.memory.slot().await;
        let find = find.session(&mut session).batch();
        let mut cursor = match order {
            Order::Stored(_) => tokio::time::timeout(MOMENT_TIME, find)
                .await
                .map_err(|_| Failure::Silence(MOMENT_TIME))??,
            Order::Id => self.in_time(find).await??,
        };
        let mut replies = cursor.stream(&mut session);
        while let Some(reply) = self.in_time(replies.next()).await? {
            let reply = reply?;
            let time = moment_of(&reply);
            let mut batch = batch_of(reply)?;
            position.leave_out_sent(&mut batch);
            if batch.is_empty() {
                continue;
            }
            if let Order::Stored(moment) = order
                && !position.has_begun()
                && time != Some(moment)
            {
                // Such a server knows of no moments and does not say so.
                return Err(Failure::Reply("it is of another moment than was asked for"));
            }
            let after = position.after(&batch);
            batch.take_share(&self.options.memory).await;
            drop(slot);
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
            *position = after;
            slot = self.options.memory.slot().await;
        }
        drop(replies);
        // With a `min` alone the server stops before this id.
        if asked_from.is_some() && position.max.is_none() {
            let last = collection.find(doc! { "_id": Bson::MaxKey }).limit(1).session(&mut session);
            let mut cursor = self.in_time(last.batch()).await??;
            let mut replies = cursor.stream(&mut session);
            while let Some(reply) = self.in_time(replies.next()).await? {
                let batch = batch_of(reply?)?;
                if !batch.is_empty() && batches.send(batch).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits for a reply for as long as the options allow, and tells that it waits.
    async fn in_time<T>(&self, act: impl Future<Output = T>) -> Result<T, Failure> {
        let limit = self.options.reply_timeout;
        let begun = Instant::now();
        let mut act = std::pin::pin!(act);
        loop {
            let rest = limit.saturating_sub(begun.elapsed());
            if rest.is_zero() {
                return Err(Failure::Silence(limit));
            }
            let reply = tokio::time::timeout(rest.min(SILENCE), &mut act);
            match self.options.stop.or(GRACE, reply).await {
                Some(Ok(reply)) => return Ok(reply),
                Some(Err(_)) => {}
                None => return Err(Failure::Stopped),
            }
            if let Some(waiting) = &self.options.waiting {
                let waited = begun.elapsed();
                let what =
                    format!("{} has not answered for {} s", self.description, waited.as_secs());
                waiting(&what, limit.saturating_sub(waited));
            }
        }
    }

    /// Sends the documents with those ids, without those that were sent before; false when the
    /// receiver is gone. What is sent is counted in `sent`, by id.
    async fn find_each(
        &self,
        collection: &str,
        ids: &[Bson],
        wanted: &HashMap<Vec<u8>, Bson>,
        sent: &mut HashMap<Vec<u8>, usize>,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<bool, Failure> {
        let filter = doc! { "_id": { "$in": ids } };
        let collection = self.raw(collection);
        let mut before = sent.clone();
        let mut session = self.session(self.snapshot).await?;
        let mut slot = self.options.memory.slot().await;
        let mut cursor =
            self.in_time(collection.find(filter).session(&mut session).batch()).await??;
        let mut replies = cursor.stream(&mut session);
        while let Some(reply) = self.in_time(replies.next()).await? {
            let mut batch = batch_of(reply?)?;
            let mut keys = Vec::with_capacity(batch.len());
            batch.keep(|document| {
                let Some(key) = id_of(document).map(id_key) else { return false };
                // The server finds `1` by `1.0`, and more under a collation.
                if !wanted.contains_key(&key) {
                    return false;
                }
                if let Some(left) = before.get_mut(&key).filter(|left| **left > 0) {
                    *left -= 1;
                    return false;
                }
                keys.push(key);
                true
            });
            if batch.is_empty() {
                continue;
            }
            batch.take_share(&self.options.memory).await;
            drop(slot);
            if batches.send(batch).await.is_err() {
                return Ok(false);
            }
            for key in keys {
                *sent.entry(key).or_default() += 1;
            }
            slot = self.options.memory.slot().await;
        }
        Ok(true)
    }
}

fn session_options(snapshot: bool, time: Option<Timestamp>) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.causal_consistency = Some(false);
    options.snapshot = Some(snapshot);
    options.snapshot_time = time;
    options
}

/// In which order a range is read.
#[derive(Clone, Copy)]
enum Order {
    /// In that of `_id`, so that a read can go on behind the last document.
    Id,
    /// In that of the disk, as of that moment.
    Stored(Timestamp),
}

fn by_id() -> Hint {
    Hint::Keys(doc! { "_id": 1 })
}

/// The moment as of which a reply is, where it says so.
fn moment_of(reply: &RawBatch) -> Option<Timestamp> {
    let cursor = reply.as_raw_document().get_document("cursor").ok()?;
    cursor.get_timestamp("atClusterTime").ok()
}

/// The documents of a reply, left where they are.
fn batch_of(reply: RawBatch) -> Result<Batch, Failure> {
    const BROKEN: Failure = Failure::Reply("no batch in it");
    let find = |document: &[u8], keys: &[&[u8]]| {
        for element in Elements::of(document) {
            let (key, value) = element.ok()?;
            if keys.contains(&key) {
                // Both lie in the reply, so their distance is the place in it.
                return Some((
                    value.bytes.as_ptr() as usize - document.as_ptr() as usize,
                    value.bytes.len(),
                ));
            }
        }
        None
    };
    let bytes = reply.as_raw_document().as_bytes();
    let (cursor, length) = find(bytes, &[b"cursor"]).ok_or(BROKEN)?;
    let (array, length) =
        find(&bytes[cursor..][..length], &[b"firstBatch", b"nextBatch"]).ok_or(BROKEN)?;
    let array = &bytes[cursor + array..][..length];
    let mut documents = Vec::new();
    for element in Elements::of(array) {
        match element {
            Ok((_, Value { kind: ElementType::EmbeddedDocument, bytes: document })) => {
                let offset = document.as_ptr() as usize - bytes.as_ptr() as usize;
                documents.push((offset as u32, document.len() as u32));
            }
            _ => return Err(Failure::Reply("a batch that holds more than documents")),
        }
    }
    Ok(Batch::of(Buffer::Reply(reply), documents))
}

/// An id between two ranges.
struct Bound {
    document: Document,
    stored: String,
}

impl Bound {
    /// The bound before a document. `None` when its id cannot be sent to the server as it is, as
    /// text that is not UTF-8: another one will do as well.
    fn of(document: &[u8]) -> Option<Self> {
        let id = id_of(document)?;
        // Nothing lies before the one or behind the other, and the server refuses such a range.
        if matches!(id.kind, ElementType::MinKey | ElementType::MaxKey) {
            return None;
        }
        let document = doc! { "_id": id.to_bson().ok()? };
        let bytes = RawDocumentBuf::try_from(&document).ok()?.into_bytes();
        let same = id_of(&bytes).is_some_and(|back| id_key(back) == id_key(id));
        same.then(|| Self { document, stored: BASE64.encode(bytes) })
    }
}

/// The `min` or `max` that a stored bound means.
fn bound_document(stored: &str) -> Result<Document> {
    let decoded = BASE64.decode(stored).ok();
    let document = decoded.and_then(|bytes| Document::from_reader(bytes.as_slice()).ok());
    document.filter(|document| document.len() == 1 && document.contains_key("_id")).ok_or_else(
        || {
            Error::new(
                ErrorKind::Source,
                format!("the stored bound `{stored}` is no document of an `_id`"),
            )
            .with_hint("somebody changed the table of chunks: start over with `--clean`")
        },
    )
}

/// How far a range is read.
#[derive(Clone)]
struct Position {
    min: Option<Document>,
    max: Option<Document>,
    /// The id of the last document sent, and how many documents with it were sent; more than one
    /// only where shards hold the same id.
    sent: Option<(Vec<u8>, usize)>,
    /// Documents at the start of the next reply that may have been sent already.
    unsure: usize,
    /// Whether a document was sent whose place cannot be found again.
    lost: bool,
}

impl Position {
    fn new(min: Option<Document>, max: Option<Document>) -> Self {
        Self { min, max, sent: None, unsure: 0, lost: false }
    }

    /// Whether a document was sent.
    fn has_begun(&self) -> bool {
        self.sent.is_some() || self.lost
    }

    /// The position behind a batch that holds a document.
    fn after(&self, batch: &Batch) -> Self {
        let mut next = self.clone();
        next.unsure = 0;
        let Some(id) = batch.iter().next_back().and_then(id_of) else {
            next.lost = true;
            return next;
        };
        let key = id_key(id);
        let mut same = 0;
        for document in batch.iter().rev() {
            if id_of(document).is_none_or(|id| id_key(id) != key) {
                break;
            }
            same += 1;
        }
        if same == batch.len() {
            same +=
                self.sent.as_ref().filter(|(sent, _)| *sent == key).map_or(0, |(_, count)| *count);
        }
        match id.to_bson() {
            Ok(id) => next.min = Some(doc! { "_id": id }),
            Err(_) => next.lost = true,
        }
        next.sent = Some((key, same));
        next
    }

    /// Before the query is made again: its first documents were sent already.
    fn again(&mut self) {
        self.unsure = self.sent.as_ref().map_or(0, |(_, count)| *count);
    }

    /// Takes the documents out that were sent before the query was made again.
    fn leave_out_sent(&mut self, batch: &mut Batch) {
        let Some((key, _)) = &self.sent else { return };
        let skip = batch
            .iter()
            .take(self.unsure)
            .take_while(|document| id_of(document).is_some_and(|id| id_key(id) == *key))
            .count();
        if skip > 0 {
            let mut number = 0;
            batch.keep(|_| {
                number += 1;
                number > skip
            });
        }
        if !batch.is_empty() {
            self.unsure = 0;
        } else {
            self.unsure -= skip;
        }
    }
}

/// How long to go on asking a server that stumbles; starts anew after every success.
struct Patience<'a> {
    options: &'a SourceOptions,
    /// How long the driver has looked for a server when it says that there is none.
    selection: Duration,
    since: Option<Instant>,
    attempts: u32,
}

impl Patience<'_> {
    fn progress(&mut self) {
        self.since = None;
        self.attempts = 0;
    }

    /// How long to wait before the act is done again; `None` when that cannot help, the time is
    /// over, or somebody has asked to stop. Tells that it waits.
    fn delay(&mut self, failure: &Failure, context: &str) -> Option<Duration> {
        let before = match failure {
            Failure::Driver(error)
                if matches!(&*error.kind, DriverErrorKind::ServerSelection { .. }) =>
            {
                self.selection
            }
            _ => Duration::ZERO,
        };
        let begin = || Instant::now().checked_sub(before).unwrap_or_else(Instant::now);
        let since = *self.since.get_or_insert_with(begin);
        let SourceOptions { retry_for, stop, .. } = self.options;
        if !failure.is_transient() || since.elapsed() >= *retry_for || stop.is_stopped() {
            return None;
        }
        let delay = Duration::from_millis(100 << self.attempts.min(6)).min(Duration::from_secs(5));
        self.attempts += 1;
        let what = format!("{context}: {}", failure.summary());
        tracing::warn!(delay_ms = delay.as_millis() as u64, "{what}");
        if let Some(waiting) = &self.options.waiting {
            waiting(&what, delay);
        }
        Some(delay)
    }

    /// The error of an act that is not tried again, or not any more.
    fn give_up(&self, failure: Failure, context: &str) -> Error {
        let transient = failure.is_transient();
        let error = failure.into_error(context.to_owned());
        match transient && self.options.stop.is_stopped() {
            true => Stop::error().caused_by(error),
            false => error.after(self.since.map_or(Duration::ZERO, |since| since.elapsed())),
        }
    }
}

impl Source for MongoSource {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionInfo>>> {
        async {
            let context = format!("the collections of {} cannot be listed", self.description);
            let names = self.patiently(&context, || self.names().boxed()).await?;
            let mut notices = Vec::new();
            let mut measures = Vec::new();
            for (name, kind) in &names {
                match kind.as_str() {
                    "view" => {
                        notices.push(format!("the view `{name}` is left out: it holds no documents of its own"));
                        continue;
                    }
                    "timeseries" => notices.push(format!(
                        "the time series `{name}` is read as one range, which starts over when the server is lost"
                    )),
                    _ => {}
                }
                measures.push(self.measure_patiently(name, kind));
            }
            let infos = futures_util::stream::iter(measures).buffered(MEASURED).try_collect();
            let infos = infos.await?;
            *self.notices.lock().expect("no panic under the lock") = notices;
            Ok(infos)
        }
        .boxed()
    }

    fn notices(&self) -> Vec<String> {
        self.notices.lock().expect("no panic under the lock").clone()
    }

    fn check<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let context = format!("the collection `{collection}` cannot be read");
            // No document has an id of none, so the server does no more than look at the rights.
            self.patiently(&context, || {
                async move {
                    let none = doc! { "_id": { "$in": [] } };
                    let mut session = self.session(self.snapshot).await?;
                    let collection = self.raw(collection);
                    let find = collection.find(none).session(&mut session);
                    self.in_time(find.batch()).await??;
                    Ok(())
                }
                .boxed()
            })
            .await
        }
        .boxed()
    }

    fn budget(&self) -> Option<&Budget> {
        Some(&self.options.memory)
    }

    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>> {
        async move {
            let context = format!("the documents of `{collection}` cannot be counted");
            let known = self.known(collection).await?;
            self.patiently(&context, || {
                async move {
                    let collection = self.raw(collection);
                    let mut count = collection.count_documents(doc! {});
                    if known.ordered {
                        // The index alone tells it, and is smaller than the documents.
                        count = count.hint(by_id());
                    }
                    Ok(count.await?)
                }
                .boxed()
            })
            .await
        }
        .boxed()
    }

    fn split<'a>(
        &'a self,
        collection: &'a str,
        chunk_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<Range>>> {
        async move {
            let known = self.known(collection).await?;
            let documents = known.documents.unwrap_or(0);
            let bytes = known.bytes.unwrap_or(documents.saturating_mul(1024));
            let ranges = bytes.div_ceil(chunk_bytes.max(1)).min(documents);
            let bounds = if ranges <= 1 || !known.ordered {
                Vec::new()
            } else {
                let context = format!("the collection `{collection}` cannot be cut into ranges");
                self.patiently(&context, || match documents <= self.options.walked_documents {
                    true => self.walk(collection, ranges, documents).boxed(),
                    false => self.draw(collection, ranges, documents).boxed(),
                })
                .await?
            };
            let mut ranges = Vec::with_capacity(bounds.len() + 1);
            let mut min = None;
            for Bound { stored, .. } in bounds {
                // The same id may be drawn twice; the server refuses an empty range.
                if min.as_ref() != Some(&stored) {
                    ranges.push(Range::Ids { min: min.replace(stored.clone()), max: Some(stored) });
                }
            }
            ranges.push(Range::Ids { min, max: None });
            Ok(ranges)
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let Range::Ids { min, max } = range else {
                return Err(Error::new(
                    ErrorKind::Source,
                    format!("a range of a dump cannot be read from {}", self.description),
                )
                .with_hint("the run was begun with another source: name that one, or start over with `--clean`"));
            };
            let min = min.as_deref().map(bound_document).transpose()?;
            let max = max.as_deref().map(bound_document).transpose()?;
            let known = self.known(collection).await?;
            let context = format!("the collection `{collection}` cannot be read");
            let mut position = Position::new(min, max);
            let mut patience = self.patience();
            loop {
                let before = position.sent.clone();
                let failure = match self
                    .stream(collection, known, &mut position, Order::Id, &batches)
                    .await
                {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                };
                if position.sent != before {
                    patience.progress();
                }
                // Without an order there is no place to go on from.
                let lost = position.lost || (!known.ordered && position.sent.is_some());
                let delay = match lost {
                    true => None,
                    false => patience.delay(&failure, &context),
                };
                let Some(delay) = delay else { return Err(patience.give_up(failure, &context)) };
                tokio::select! {
                    () = self.options.stop.pause(delay) => {}
                    () = batches.closed() => return Ok(()),
                }
                position.again();
            }
        }
        .boxed()
    }

    fn read_in_any_order<'a>(
        &'a self,
        collection: &'a str,
        range: &'a Range,
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<Ending>> {
        async move {
            let known = self.known(collection).await?;
            if let Some(moment) = self.moment_of_scan(range, known).await {
                let mut position = Position::new(None, None);
                let order = Order::Stored(moment);
                let stream = self.stream(collection, known, &mut position, order, &batches);
                let failure = match stream.await {
                    Ok(()) => return Ok(Ending::Whole),
                    Err(Failure::Stopped) => return Err(Stop::error()),
                    Err(failure) => failure,
                };
                let what = failure.summary();
                tracing::debug!(collection, "reading in the order of the disk: {what}");
                if position.has_begun() {
                    return Ok(Ending::BrokenOff);
                }
                // A refusal comes at once, and may be about this collection, as of a capped one.
                if matches!(failure, Failure::Silence(_)) {
                    self.without_moments.store(true, Ordering::Relaxed);
                }
            }
            self.read(collection, range, batches).await.map(|()| Ending::Whole)
        }
        .boxed()
    }

    fn fetch_batches<'a>(
        &'a self,
        collection: &'a str,
        ids: &'a [Bson],
        batches: mpsc::Sender<Batch>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let context = format!("documents of `{collection}` cannot be read again");
            let mut wanted = HashMap::with_capacity(ids.len());
            for id in ids {
                wanted.insert(id_key_of(id)?, id.clone());
            }
            let mut part: Vec<Bson> = Vec::new();
            let mut part_bytes = 0;
            let mut rest = wanted.iter().peekable();
            while let Some((key, id)) = rest.next() {
                part.push(id.clone());
                // Each has its index as a key in the array.
                part_bytes += key.len() + 8;
                let full = part.len() == FETCHED_IDS || part_bytes >= FETCHED_ID_BYTES;
                if !full && rest.peek().is_some() {
                    continue;
                }
                let part = std::mem::take(&mut part);
                part_bytes = 0;
                let mut sent = HashMap::new();
                let mut patience = self.patience();
                loop {
                    let before = sent.len();
                    let found = self.find_each(collection, &part, &wanted, &mut sent, &batches);
                    let failure = match found.await {
                        Ok(true) => break,
                        Ok(false) => return Ok(()),
                        Err(failure) => failure,
                    };
                    if sent.len() > before {
                        patience.progress();
                    }
                    match patience.delay(&failure, &context) {
                        Some(delay) => self.options.stop.pause(delay).await,
                        None => return Err(patience.give_up(failure, &context)),
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address_has_no_secrets() {
        let cases = [
            ("mongodb://ann:secret@host:27017/crm", "mongodb://host:27017/crm"),
            ("mongodb+srv://ann:secret@host/crm?w=1", "mongodb+srv://host/crm"),
            ("MONGODB://host/crm/", "mongodb://host/crm"),
            ("mongodb://a,b,c/crm?replicaSet=rs0", "mongodb://a,b,c/crm"),
            // What should have been escaped.
            ("mongodb://ann:sec/r@et@host/crm", "mongodb://host/crm"),
            ("mongodb://ann:sec?ret@host/crm", "mongodb://…"),
            ("mongodb://host/crm?authMechanismProperties=TOKEN:se@cret", "mongodb://…"),
        ];
        for (address, shown) in cases {
            assert_eq!(without_secrets(address), shown);
        }
    }

    #[test]
    fn what_the_driver_says_of_servers_is_cut_to_address_and_cause() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Single, \
            Servers: [ { Address: a:1, Type: Unknown, Error: Kind: I/O error: Connection refused \
            (os error 111), labels: {\"RetryableError\"}, source: None, server response: None }, \
            { Address: b:2, Type: Unknown, Error: Kind: no, labels: {} } ] }";
        assert_eq!(
            selection_text(message),
            "no server answers (a:1: I/O error: Connection refused (os error 111); b:2: no)"
        );
        let message = "Server selection timeout: None of the available servers suitable for \
            criteria X. Topology: { Type: Single, Servers: [ { Address: a:1, Type: Standalone } ] }";
        let expected = "None of the available servers suitable for criteria X";
        assert_eq!(selection_text(message), expected);
        assert_eq!(selection_text("as it likes"), "as it likes");
    }

    fn batch(ids: &[i32]) -> Batch {
        let raw = ids.iter().map(|id| RawDocumentBuf::try_from(&doc! { "_id": id }).unwrap());
        Batch::from_documents(raw.map(RawDocumentBuf::into_bytes))
    }

    fn left(position: &mut Position, ids: &[i32]) -> Vec<i32> {
        let mut batch = batch(ids);
        position.leave_out_sent(&mut batch);
        let ids = batch.iter().map(|document| id_of(document).unwrap().fixed::<4>());
        let ids: Vec<_> = ids.map(i32::from_le_bytes).collect();
        assert_eq!(batch.bytes_len(), ids.len() * 14);
        ids
    }

    #[test]
    fn a_read_goes_on_behind_the_last_document_sent() {
        let mut position = Position::new(None, None).after(&batch(&[1, 2, 3]));
        assert_eq!(position.min, Some(doc! { "_id": 3 }));
        // The stream goes on: nothing is left out.
        assert_eq!(left(&mut position, &[4, 5]), [4, 5]);
        position.again();
        assert_eq!(left(&mut position, &[3, 4]), [4]);
        assert_eq!(left(&mut position, &[5]), [5]);
        // The last one was deleted meanwhile.
        position.again();
        assert_eq!(left(&mut position, &[4, 5]), [4, 5]);
        // A reply may be empty, or hold nothing but what was sent.
        position.again();
        assert_eq!(left(&mut position, &[]), [0; 0]);
        assert_eq!(left(&mut position, &[3]), [0; 0]);
        assert_eq!(left(&mut position, &[4]), [4]);
    }

    #[test]
    fn an_id_that_two_shards_hold_is_sent_as_often_as_it_is_there() {
        let position = Position::new(None, None).after(&batch(&[1, 2, 2]));
        let mut again = position.clone();
        again.again();
        assert_eq!(left(&mut again, &[2, 2, 2, 3]), [2, 3]);
        // The same id at the end of one batch and all through the next.
        let mut again = position.after(&batch(&[2, 2]));
        again.again();
        assert_eq!(left(&mut again, &[2, 2, 2]), [0; 0]);
        assert_eq!(left(&mut again, &[2, 2, 4]), [2, 4]);
    }

    #[test]
    fn bounds_keep_what_json_in_a_database_would_lose() {
        let ids = [
            Bson::Document(doc! { "zz": 1, "a": 2.0, "b": 3_i64 }),
            Bson::String("a\0b".to_owned()),
            Bson::Double(-0.0),
            Bson::Null,
        ];
        for id in ids {
            let document = RawDocumentBuf::try_from(&doc! { "_id": id, "x": 1 }).unwrap();
            let bound = Bound::of(document.as_bytes()).unwrap();
            let back = bound_document(&bound.stored).unwrap();
            let back = RawDocumentBuf::try_from(&back).unwrap();
            let key = |document: &RawDocumentBuf| id_key(id_of(document.as_bytes()).unwrap());
            assert_eq!(key(&back), key(&document));
        }
        for id in [Bson::MinKey, Bson::MaxKey] {
            let document = RawDocumentBuf::try_from(&doc! { "_id": id }).unwrap();
            assert!(Bound::of(document.as_bytes()).is_none());
        }
        for stored in ["", "garbage", "BQAAAAA="] {
            assert!(bound_document(stored).is_err(), "{stored}");
        }
    }
}
