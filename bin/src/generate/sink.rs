//! Where generated documents go: a dump as `mongodump` writes it, a MongoDB, or memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use flate2::Compression;
use flate2::write::GzEncoder;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::source::driver_text;
use mongodb::Client;
use mongodb::options::ClientOptions;

use super::{Generated, Generator, Ledger};

/// Bytes of one insert into a MongoDB.
const INSERT_BYTES: usize = 4 << 20;

/// How long the driver looks for a server that answers, where the address does not say it.
const SELECTION_TIME: Duration = Duration::from_secs(5);

/// Writes a dump: `<collection>.bson` and `<collection>.metadata.json` for each collection, both
/// with `.gz` when `gzip` is set. The folder is made where it is missing; files of the same names
/// are replaced.
///
/// # Errors
/// When a file cannot be written.
pub fn to_dump(generator: &Generator, folder: &Path, gzip: bool) -> Result<Ledger> {
    let failed = |path: &Path, error: std::io::Error| {
        Error::new(ErrorKind::File, format!("cannot write `{}`", path.display())).caused_by(error)
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut ledger = Ledger::default();
    for (name, parts) in by_name(generator) {
        let path = folder.join(format!("{name}.bson{}", if gzip { ".gz" } else { "" }));
        write(&path, gzip, |out| {
            for (position, documents) in parts {
                for index in 0..documents {
                    out.write_all(&note(&mut ledger, name, generator.document(position, index)))?;
                }
            }
            Ok(())
        })
        .map_err(|error| failed(&path, error))?;
        let metadata = serde_json::json!({
            "options": {},
            "indexes": [{ "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            "collectionName": name,
            "type": "collection",
        })
        .to_string();
        let path = folder.join(format!("{name}.metadata.json{}", if gzip { ".gz" } else { "" }));
        write(&path, gzip, |out| out.write_all(metadata.as_bytes()))
            .map_err(|error| failed(&path, error))?;
    }
    Ok(ledger)
}

/// The collections with the positions and numbers of documents of the models that share each.
fn by_name(generator: &Generator) -> Vec<(&'static str, Vec<(usize, u64)>)> {
    let mut names: Vec<(&'static str, Vec<(usize, u64)>)> = Vec::new();
    for (position, (name, documents)) in generator.collections().enumerate() {
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, parts)) => parts.push((position, documents)),
            None => names.push((name, vec![(position, documents)])),
        }
    }
    names
}

fn write(
    path: &Path,
    gzip: bool,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    if gzip {
        let mut encoder = GzEncoder::new(&mut file, Compression::fast());
        fill(&mut encoder)?;
        encoder.finish()?;
    } else {
        fill(&mut file)?;
    }
    file.into_inner()?.sync_all()
}

/// Inserts into the MongoDB database that the address names (`mongodb://host/database`). The
/// collections must be empty.
///
/// # Errors
/// When the address names no database, a collection has documents, or the server refuses.
pub async fn to_mongodb(generator: &Generator, address: &str) -> Result<Ledger> {
    let unreachable = |error: mongodb::error::Error| {
        Error::new(ErrorKind::SourceConnection, "cannot reach MongoDB")
            .caused_by(driver_text(&error))
            .with_hint("check that MongoDB runs and that `--target-mongo` names it")
    };
    let mut options = ClientOptions::parse(address).await.map_err(unreachable)?;
    options.server_selection_timeout.get_or_insert(SELECTION_TIME);
    let Some(database) = options.default_database.clone() else {
        return Err(Error::new(ErrorKind::Usage, "the MongoDB address names no database")
            .with_hint("write it as `mongodb://host:27017/database`"));
    };
    let database = Client::with_options(options).map_err(unreachable)?.database(&database);
    // The same seed makes the same ids, and other documents would be counted with ours.
    for (name, _) in generator.collections() {
        let collection = database.collection::<RawDocumentBuf>(name);
        if collection.find_one(Document::new()).await.map_err(unreachable)?.is_some() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("the collection `{name}` of `{}` has documents already", database.name()),
            )
            .with_hint("name another database, or drop this one first"));
        }
    }
    let mut ledger = Ledger::default();
    for (position, (name, documents)) in generator.collections().enumerate() {
        let collection = database.collection::<RawDocumentBuf>(name);
        let mut batch = Vec::new();
        let mut bytes = 0;
        for index in 0..documents {
            let document = note(&mut ledger, name, generator.document(position, index));
            bytes += document.len();
            batch.push(RawDocumentBuf::from_bytes(document).map_err(|error| broken(name, error))?);
            if bytes >= INSERT_BYTES || index + 1 == documents {
                collection.insert_many(&batch).ordered(false).await.map_err(|error| {
                    Error::new(ErrorKind::Source, format!("cannot insert into `{name}`"))
                        .caused_by(error)
                })?;
                batch.clear();
                bytes = 0;
            }
        }
    }
    Ok(ledger)
}

/// All documents by collection; for tests and small scales.
pub fn to_memory(generator: &Generator) -> (BTreeMap<String, Vec<Document>>, Ledger) {
    let mut ledger = Ledger::default();
    let mut collections: BTreeMap<String, Vec<Document>> = BTreeMap::new();
    for (position, (name, documents)) in generator.collections().enumerate() {
        let of_name = collections.entry(name.to_owned()).or_default();
        for index in 0..documents {
            let generated = generator.document(position, index);
            of_name.push(generated.document.clone());
            note(&mut ledger, name, generated);
        }
    }
    (collections, ledger)
}

/// Counts a document and gives its bytes.
fn note(ledger: &mut Ledger, collection: &str, generated: Generated) -> Vec<u8> {
    let bytes = generated.document.to_vec().expect("generated documents have keys that BSON takes");
    match ledger.documents.get_mut(collection) {
        Some(documents) => *documents += 1,
        None => {
            ledger.documents.insert(collection.to_owned(), 1);
        }
    }
    ledger.bytes += bytes.len() as u64;
    ledger.planted.extend(generated.planted);
    bytes
}

fn broken(collection: &str, error: bson::error::Error) -> Error {
    Error::new(ErrorKind::Source, format!("cannot write a document of `{collection}` as BSON"))
        .caused_by(error)
}
