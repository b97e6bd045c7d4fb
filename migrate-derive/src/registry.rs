//! `registry! { pub NextCrm = [Users, Tasks]; enums = [Language] }`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Ident, Path, Token, Visibility, bracketed};

use crate::expand::wrap;

/// What stands between the macro's braces.
pub(crate) struct Registry {
    attrs: Vec<Attribute>,
    vis: Visibility,
    ident: Ident,
    models: Vec<Path>,
    enums: Vec<Path>,
}

impl Parse for Registry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let help = |error: syn::Error| {
            syn::Error::new(
                error.span(),
                format!("{error}\nhelp: write it as `registry! {{ pub Shop = [Users, Orders] }}`"),
            )
        };
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let ident = input.parse().map_err(help)?;
        input.parse::<Token![=]>().map_err(help)?;
        let models = parse_paths(input).map_err(help)?;
        let mut enums = Vec::new();
        if input.parse::<Option<Token![;]>>()?.is_some() && !input.is_empty() {
            let word: Ident = input.parse().map_err(help)?;
            if word != "enums" {
                return Err(syn::Error::new(
                    word.span(),
                    format!(
                        "`registry!` does not know the word `{word}`\nhelp: enum types that no column has are named with `enums = [..]`"
                    ),
                ));
            }
            input.parse::<Token![=]>()?;
            enums = parse_paths(input)?;
            input.parse::<Option<Token![;]>>()?;
        }
        if !input.is_empty() {
            return Err(help(input.error("expected the end of the registry")));
        }
        Ok(Self { attrs, vis, ident, models, enums })
    }
}

fn parse_paths(input: ParseStream<'_>) -> syn::Result<Vec<Path>> {
    let content;
    bracketed!(content in input);
    let paths = Punctuated::<Path, Token![,]>::parse_terminated_with(&content, |input| {
        input.call(Path::parse_mod_style)
    })?;
    Ok(paths.into_iter().collect())
}

/// For `pub NextCrm = [Users]`, expands to:
///
/// ```text
/// pub struct NextCrm;
/// const _: () = {
///     use ::migrate_core::__private as _migrate;
///     const __MODELS: &[_migrate::ModelRef] = &[<Users as _migrate::Migrate>::MODEL];
///     static __FACTS: _migrate::RegistryFacts = _migrate::RegistryFacts { .. };
///     impl _migrate::Registry for NextCrm { .. }
///     const _: () = _migrate::check::registered(__MODELS, 0);
/// };
/// ```
pub(crate) fn expand(registry: &Registry) -> TokenStream {
    let Registry { attrs, vis, ident, models, enums } = registry;
    let name = ident.unraw().to_string();
    let count = models.len();
    let refs =
        models.iter().map(|path| quote_spanned!(path.span()=> <#path as _migrate::Migrate>::MODEL));
    let enums =
        enums.iter().map(|path| quote_spanned!(path.span()=> <#path as _migrate::PgEnum>::ENUM));
    let checks = models.iter().enumerate().map(|(index, path)| {
        quote_spanned! {path.span()=>
            const _: () = _migrate::check::registered(__MODELS, #index);
        }
    });
    let facts = wrap(quote! {
        const __MODELS: &[_migrate::ModelRef] = &[#(#refs),*];
        static __FACTS: _migrate::RegistryFacts = _migrate::RegistryFacts {
            name: #name,
            models: __MODELS,
            phases: &_migrate::phases::<#count, { _migrate::edge_count(__MODELS) }>(__MODELS),
            enums: &[#(#enums),*],
        };
        #[automatically_derived]
        impl _migrate::Registry for #ident {
            const FACTS: &'static _migrate::RegistryFacts = &__FACTS;
        }
        #(#checks)*
    });
    quote! {
        #(#attrs)*
        #vis struct #ident;
        #facts
    }
}
