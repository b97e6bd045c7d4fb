//! What a derived struct promises.

use crate::schema::ModelRef;

/// A struct that ties a collection to a table; implemented by `#[derive(Migrate)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model",
    label = "this names a table or a collection, so it must be a model",
    note = "add `#[derive(Migrate)]` to `{Self}`"
)]
pub trait Migrate {
    /// The facts that the struct's attributes state.
    const MODEL: ModelRef;
}
