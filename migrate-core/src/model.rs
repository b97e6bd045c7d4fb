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

/// The type of a field marked `flatten`: an embedded document, or an `Option` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be flattened",
    label = "not an embedded document",
    note = "a field with `flatten` is a struct with `#[derive(Migrate)] #[migrate(embedded)]`, or an `Option` of one"
)]
pub trait Flatten {
    /// The facts of the struct.
    const MODEL: ModelRef;
    /// Whether the document may be missing as a whole.
    const OPTIONAL: bool;
}

impl<T: Migrate> Flatten for T {
    const MODEL: ModelRef = T::MODEL;
    const OPTIONAL: bool = false;
}

impl<T: Migrate> Flatten for Option<T> {
    const MODEL: ModelRef = T::MODEL;
    const OPTIONAL: bool = true;
}
