//! What the tests share: servers and fresh databases, the facts of NextCRM, the oracle that
//! predicts a run from them, the way to read a target into the oracle's form, and what it takes
//! to disturb a run and to compare its end state with another's.

pub mod end_state;
pub mod facts;
pub mod hostile;
pub mod moved;
pub mod oracle;
pub mod planted;
pub mod program;
pub mod proxy;
pub mod random;
pub mod runs;
pub mod servers;
pub mod target;
