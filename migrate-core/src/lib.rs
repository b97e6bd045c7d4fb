//! Moves a MongoDB database into PostgreSQL as annotated structs declare it.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod cell;
pub mod copy;
pub mod error;
pub mod event;
pub mod id;
pub mod model;
pub mod plan;
pub mod reject;
pub mod row;
pub mod run;
pub mod schema;
pub mod source;
pub mod summary;
pub mod transform;
pub mod value;

pub use bson;
pub use cell::{Decimal, Element, Json, Mismatch, PgEnum, Scalar, ToCell};
pub use error::{Error, ErrorKind};
pub use migrate_derive::{Migrate, PgEnum, registry};
pub use model::Migrate;
pub use reject::{Reason, Reject};
pub use schema::Registry;
pub use value::Value;
