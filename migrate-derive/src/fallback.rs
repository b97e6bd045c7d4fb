//! The impl we give when there were errors, so that one mistake makes one error: without it every
//! use of the model would be another. Its facts are empty, and no check looks at a model without
//! columns.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Generics};

use crate::expand::{Facts, expand_enum_impls, expand_impl, wrap};

/// The errors, and a model without facts.
pub(crate) fn expand_model(input: &DeriveInput, errors: &syn::Error) -> TokenStream {
    let errors = errors.to_compile_error();
    if has_parameters(&input.generics) {
        return errors;
    }
    let name = input.ident.to_string();
    let implementation = expand_impl(&input.ident);
    let facts = Facts::new(&name).finish();
    let fallback = wrap(quote! {
        static __MODEL: _migrate::Model = #facts;
        #implementation
    });
    quote!(#errors #fallback)
}

/// The errors, and an enum without labels.
pub(crate) fn expand_enum(input: &DeriveInput, errors: &syn::Error) -> TokenStream {
    let errors = errors.to_compile_error();
    if has_parameters(&input.generics) {
        return errors;
    }
    let name = input.ident.to_string();
    let implementations = expand_enum_impls(&input.ident, quote!(""));
    let fallback = wrap(quote! {
        static __ENUM: _migrate::EnumType =
            _migrate::EnumType {
                name: #name,
                schema: _migrate::None,
                labels: &[],
                other: _migrate::None,
            };
        #implementations
    });
    quote!(#errors #fallback)
}

/// Whatever stands in for a type with parameters would need their bounds.
fn has_parameters(generics: &Generics) -> bool {
    !generics.params.is_empty()
}
