//! Moves a MongoDB database into PostgreSQL as annotated structs declare it.
//!
//! A crate that only declares models, or only transforms documents, can do without the feature
//! `engine` and with it without the drivers of both databases: that compiles in a fraction of the
//! time.

// What only the engine calls is left in place without it.
#![cfg_attr(not(feature = "engine"), allow(dead_code, rustdoc::broken_intra_doc_links))]

// Generated code names the crate, also in the crate's own tests.
#[cfg(test)]
extern crate self as migrate_core;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod budget;
pub mod cell;
mod choice;
#[cfg(feature = "engine")]
mod context;
pub mod convert;
pub mod copy;
pub mod ddl;
#[cfg(feature = "engine")]
pub mod deferred;
#[cfg(feature = "engine")]
pub mod dry_run;
pub mod error;
#[cfg(feature = "engine")]
pub mod event;
#[cfg(feature = "engine")]
pub mod existing;
#[cfg(feature = "engine")]
pub mod failpoint;
pub mod feed;
#[cfg(feature = "engine")]
mod fit;
#[doc(hidden)]
pub mod flatten;
pub mod id;
#[cfg(feature = "engine")]
pub mod ids;
#[cfg(feature = "engine")]
mod kept;
#[cfg(feature = "engine")]
pub mod ledger;
#[cfg(feature = "engine")]
mod load;
pub mod model;
pub mod plan;
#[cfg(feature = "engine")]
mod preflight;
#[cfg(feature = "engine")]
mod read_ahead;
pub mod reject;
#[cfg(feature = "engine")]
pub mod rejects;
#[cfg(feature = "engine")]
mod report;
pub mod row;
#[cfg(feature = "engine")]
pub mod run;
pub mod schema;
#[cfg(feature = "engine")]
mod settle;
#[cfg(feature = "engine")]
pub mod sink;
pub mod source;
pub mod source_id;
#[cfg(feature = "engine")]
mod stages;
#[cfg(feature = "engine")]
mod staging;
#[cfg(feature = "engine")]
pub mod state;
#[cfg(feature = "engine")]
pub mod status;
mod steps;
pub mod stop;
#[cfg(feature = "engine")]
mod strays;
#[cfg(feature = "engine")]
pub mod summary;
#[cfg(feature = "engine")]
mod task;
pub mod transform;
#[cfg(feature = "engine")]
pub mod upkeep;
#[cfg(feature = "engine")]
pub mod validate;
pub mod value;
#[cfg(feature = "engine")]
mod watch;

pub use bson;
pub use cell::{
    Decimal, Element, Geometry, Json, Mismatch, MixedId, PgEnum, Point, Scalar, ToCell, Vector,
};
pub use error::{Error, ErrorKind};
pub use migrate_derive::{Migrate, PgEnum, registry};
pub use model::Migrate;
pub use reject::{Reason, Reject};
pub use schema::Registry;
pub use value::Value;
