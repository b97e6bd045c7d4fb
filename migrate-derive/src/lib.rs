//! The derive macros of `migrate-core`.
use proc_macro::TokenStream;
/// Derives `Migrate`.
#[proc_macro_derive(Migrate, attributes(migrate, fk, junction))]
pub fn derive_migrate(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
