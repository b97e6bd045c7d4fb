//! Just enough of both wire protocols to set a server up, so that this crate needs no driver.

pub(crate) mod mongo;
pub(crate) mod postgres;
