//! One command per file: settings and a printer in, an outcome out.

pub(crate) mod plan;
pub(crate) mod run;
mod signals;
mod summary;
