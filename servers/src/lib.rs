//! Private PostgreSQL and MongoDB servers for the demo, the tests and the benchmark.
//!
//! A server listens on a free port of 127.0.0.1, keeps its data in a folder of its own, and is
//! gone when its value is dropped; when the whole process dies, a small watcher ends it. The
//! binaries are those of the machine, or are fetched once into a cache (see [`binaries`]).
//!
//! ```no_run
//! use migrate_servers::{Postgres, PostgresOptions};
//!
//! let server = Postgres::start(PostgresOptions::default())?;
//! let url = server.create_database("crm")?;
//! # Ok::<(), migrate_servers::Error>(())
//! ```

pub mod binaries;
mod error;
mod mongo;
mod postgres;
mod process;
mod user;
mod wire;

pub use error::Error;
pub use mongo::{Mongo, MongoOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use wire::postgres::{Row, Session};

/// The result of an act of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
