//! Moves a MongoDB database into PostgreSQL as annotated structs declare it.

// Generated code names the crate, also in the crate's own tests.
#[cfg(test)]
extern crate self as migrate_core;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod budget;
pub mod cell;
mod choice;
mod context;
pub mod convert;
pub mod copy;
pub mod ddl;
pub mod deferred;
pub mod dry_run;
pub mod error;
pub mod event;
pub mod existing;
pub mod failpoint;
pub mod feed;
mod fit;
#[doc(hidden)]
pub mod flatten;
pub mod id;
pub mod ids;
mod kept;
pub mod ledger;
mod load;
pub mod model;
pub mod plan;
mod preflight;
pub mod reject;
pub mod rejects;
mod report;
pub mod row;
pub mod run;
pub mod schema;
mod settle;
pub mod sink;
pub mod source;
pub mod source_id;
mod stages;
pub mod state;
pub mod status;
mod steps;
mod strays;
pub mod summary;
mod task;
pub mod transform;
pub mod upkeep;
pub mod validate;
pub mod value;
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
