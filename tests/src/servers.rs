//! One PostgreSQL of each version and one MongoDB for all tests of a process, and a database of
//! its own for each test. The servers end with the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use migrate_servers::{Mongo, MongoOptions, Postgres, PostgresOptions};

/// The version that every machine can have, because its binaries can be fetched.
pub const NEWEST: u32 = 18;
/// The versions that the tests run on.
pub const VERSIONS: [u32; 2] = [15, NEWEST];

static POSTGRES: Mutex<BTreeMap<u32, Option<&'static Postgres>>> = Mutex::new(BTreeMap::new());
static MONGO: OnceLock<Mongo> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The PostgreSQL of a version. `None`, with a printed reason, where the machine has none and
/// none can be fetched.
///
/// # Panics
/// When it does not start.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub fn postgres(version: u32) -> Option<&'static Postgres> {
    let mut servers = POSTGRES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *servers.entry(version).or_insert_with(|| {
        let options = PostgresOptions { version: Some(version), ..Default::default() };
        match Postgres::start(options) {
            Ok(server) => Some(Box::leak(Box::new(server))),
            Err(error) if error.is_not_found() && version != NEWEST => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    })
}

/// A fresh database on the PostgreSQL of a version; its address.
///
/// # Panics
/// When the server refuses.
pub fn database(version: u32) -> Option<String> {
    let name = fresh_name("target");
    Some(postgres(version)?.create_database(&name).expect("a fresh database"))
}

/// The address of a database on the MongoDB that no other test uses.
///
/// # Panics
/// When it does not start.
pub fn mongodb() -> String {
    let server = MONGO.get_or_init(|| {
        Mongo::start(MongoOptions::default())
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    });
    server.uri(&fresh_name("source"))
}

fn fresh_name(purpose: &str) -> String {
    format!("{purpose}_{}", DATABASES.fetch_add(1, Ordering::Relaxed))
}
