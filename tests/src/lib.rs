//! What the tests share: servers and fresh databases, the facts of NextCRM, the oracle that
//! predicts a run from them, and the way to read a target into the oracle's form.

pub mod facts;
pub mod oracle;
pub mod runs;
pub mod servers;
pub mod target;
