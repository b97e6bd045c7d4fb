//! One command per file: settings and a printer in, an outcome out.

pub(crate) mod bench;
pub(crate) mod demo;
mod differences;
pub(crate) mod generate;
pub(crate) mod ids;
mod look;
mod out;
pub(crate) mod plan;
pub(crate) mod rejects;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schema;
mod signals;
pub(crate) mod status;
mod summary;
pub(crate) mod validate;
