//! The derive macros of `migrate-core`, which re-exports them: an annotated struct becomes the
//! constant facts of a model, an enum those of a PostgreSQL enum type.

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::ctxt::Ctxt;

mod ast;
mod attr;
mod case;
mod check;
mod ctxt;
mod expand;
mod fallback;
mod registry;
mod symbol;
#[cfg(test)]
mod tests;

/// Derives `Migrate`.
#[proc_macro_derive(Migrate, attributes(migrate, fk, junction))]
pub fn derive_migrate(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    migrate(input.into()).into()
}

/// Derives `PgEnum`.
#[proc_macro_derive(PgEnum, attributes(migrate))]
pub fn derive_pg_enum(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    pg_enum(input.into()).into()
}

/// Names the models of a migration.
#[proc_macro]
pub fn registry(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    registry_facts(input.into()).into()
}

fn migrate(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let ctxt = Ctxt::new();
    let model = ast::Model::from_syn(&ctxt, &input);
    if let Some(model) = &model {
        check::check(&ctxt, model);
    }
    match (ctxt.finish(), model) {
        (Ok(()), Some(model)) => expand::expand_model(&model),
        (Ok(()), None) => unreachable!("a struct that is no model has made an error"),
        (Err(errors), _) => fallback::expand_model(&input, &errors),
    }
}

fn pg_enum(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let ctxt = Ctxt::new();
    let parsed = ast::Enum::from_syn(&ctxt, &input);
    if let Some(parsed) = &parsed {
        check::check_enum(&ctxt, parsed);
    }
    match (ctxt.finish(), parsed) {
        (Ok(()), Some(parsed)) => expand::expand_enum(&parsed),
        (Ok(()), None) => unreachable!("an input that is no enum has made an error"),
        (Err(errors), _) => fallback::expand_enum(&input, &errors),
    }
}

fn registry_facts(input: TokenStream) -> TokenStream {
    match syn::parse2(input) {
        Ok(parsed) => registry::expand(&parsed),
        Err(error) => error.to_compile_error(),
    }
}
