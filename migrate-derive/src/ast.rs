//! What the user wrote, with spans: the struct of a model and the enum of a PostgreSQL type.

use proc_macro2::Span;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, Generics, Ident, Type};

use crate::attr::{EnumAttrs, FieldAttrs, ModelAttrs, VariantAttrs, path_key};
use crate::ctxt::Ctxt;

/// A struct with `#[derive(Migrate)]`.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) attrs: ModelAttrs,
    pub(crate) fields: Vec<Field>,
}

/// A field of a model.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) attrs: FieldAttrs,
}

/// Before the name of a constant of `migrate_core::feed`, in place of a document's key.
pub(crate) const RESERVED: char = '\u{1}';

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Column,
    /// Rows of a junction table.
    Junction,
    /// The columns of an embedded document.
    Flattened,
    /// Rows of a child table.
    Child,
    Skipped,
}

impl Model {
    /// Reads the struct; `None` when it is of a shape that no model has.
    pub(crate) fn from_syn(ctxt: &Ctxt, input: &DeriveInput) -> Option<Self> {
        check_generics(ctxt, &input.generics, "a model", "struct");
        let attrs = ModelAttrs::parse(ctxt, &input.attrs);
        let data = match &input.data {
            Data::Struct(data) => data,
            Data::Enum(data) => {
                ctxt.error(
                    data.enum_token.span,
                    "`#[derive(Migrate)]` needs a struct",
                    "for the labels of a column, write `#[derive(PgEnum)]`",
                );
                return None;
            }
            Data::Union(data) => {
                ctxt.error(
                    data.union_token.span,
                    "`#[derive(Migrate)]` needs a struct",
                    "a field of a struct becomes a column",
                );
                return None;
            }
        };
        let Fields::Named(fields) = &data.fields else {
            ctxt.error(
                input.ident.span(),
                "a model needs fields with names",
                format!("write it as `struct {} {{ #[migrate(id)] id: Uuid }}`", input.ident),
            );
            return None;
        };
        let fields = fields
            .named
            .iter()
            .filter_map(|field| {
                let attrs = FieldAttrs::parse(ctxt, &field.attrs);
                Some(Field { ident: field.ident.clone()?, ty: field.ty.clone(), attrs })
            })
            .collect();
        Some(Self { ident: input.ident.clone(), attrs, fields })
    }

    /// The struct's name without `r#`.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The collection, or several.
    pub(crate) fn collections(&self) -> Vec<String> {
        match &self.attrs.collection {
            Some(word) => word.value.iter().map(|name| name.value()).collect(),
            None => vec![self.name()],
        }
    }

    /// Whether its documents come from several collections; then they have a locator in the place
    /// of `_id`, as a child's have.
    pub(crate) fn is_gathered(&self) -> bool {
        self.attrs.collection.as_ref().is_some_and(|word| word.value.len() > 1)
    }

    pub(crate) fn table(&self) -> String {
        self.attrs.table.as_ref().map_or_else(|| self.name(), |word| word.value.value())
    }

    pub(crate) fn is_junction(&self) -> bool {
        self.attrs.junction.is_some()
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.attrs.embedded.is_some()
    }

    pub(crate) fn is_child(&self) -> bool {
        self.attrs.child.is_some()
    }

    /// The fields that become columns, in order.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.fate() == Fate::Column)
    }

    /// The column's name of a field, and where it comes from.
    pub(crate) fn column(&self, field: &Field) -> (String, Span) {
        match (&field.attrs.column, &self.attrs.column_case) {
            (Some(word), _) => (word.value.value(), word.value.span()),
            (None, Some(case)) => (case.value.field(&field.name()), field.ident.span()),
            (None, None) => (field.name(), field.ident.span()),
        }
    }

    /// The document keys that a field is read from, and where each comes from.
    pub(crate) fn keys(&self, field: &Field) -> Vec<(String, Span)> {
        let without_key = field.attrs.compute.is_some() || field.attrs.extra.is_some();
        if without_key || self.is_junction() {
            return Vec::new();
        }
        let name = field.ident.span();
        let reserved = [
            ("ORIGIN", &field.attrs.origin),
            ("PARENT", &field.attrs.parent),
            ("POSITION", &field.attrs.position),
            ("KEY", &field.attrs.key),
            ("VALUE", &field.attrs.value),
        ];
        for (reserved, word) in reserved {
            if let Some(word) = word {
                return vec![(format!("{RESERVED}{reserved}"), word.span)];
            }
        }
        let first = if let (true, Some(_), Some(word)) =
            (self.is_child(), &field.attrs.id, &field.attrs.rename)
        {
            (word.value.value(), word.value.span())
        } else if let Some(word) = &field.attrs.id {
            if self.is_child() {
                // Without an id of its own the element's place is its id.
                return vec![
                    (format!("{RESERVED}OWN_ID"), word.span),
                    ("_id".to_owned(), word.span),
                ];
            }
            ("_id".to_owned(), word.span)
        } else if let Some(word) = &field.attrs.rename {
            (word.value.value(), word.value.span())
        } else if let Some(word) = &field.attrs.path {
            (path_key(&word.value.value()), word.value.span())
        } else if let Some(case) = &self.attrs.rename_all {
            (case.value.field(&field.name()), name)
        } else {
            (field.name(), name)
        };
        let is_path = field.attrs.path.is_some();
        let aliases = field.attrs.aliases.iter().map(|word| {
            let key = word.value.value();
            (if is_path { path_key(&key) } else { key }, word.value.span())
        });
        let keys = std::iter::once(first).chain(aliases);
        keys.map(|(key, span)| (self.own_key(&key), span)).collect()
    }

    /// A key or a path as the model's documents have it: where they have locators, these have the
    /// place of `_id`.
    pub(crate) fn own_key(&self, key: &str) -> String {
        match key.strip_prefix("_id") {
            Some(rest)
                if (self.is_child() || self.is_gathered())
                    && (rest.is_empty() || rest.starts_with('\0')) =>
            {
                format!("{RESERVED}OWN_ID{rest}")
            }
            _ => key.to_owned(),
        }
    }
}

impl Field {
    /// The field's name without `r#`.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    pub(crate) fn fate(&self) -> Fate {
        if self.attrs.skip.is_some() {
            Fate::Skipped
        } else if self.attrs.junction.is_some() {
            Fate::Junction
        } else if self.attrs.flatten.is_some() {
            Fate::Flattened
        } else if self.attrs.child.is_some() {
            Fate::Child
        } else {
            Fate::Column
        }
    }
}

/// An enum with `#[derive(PgEnum)]`.
pub(crate) struct Enum {
    pub(crate) ident: Ident,
    pub(crate) attrs: EnumAttrs,
    pub(crate) variants: Vec<Variant>,
}

/// A variant, which is a label.
pub(crate) struct Variant {
    pub(crate) ident: Ident,
    pub(crate) attrs: VariantAttrs,
}

impl Enum {
    /// Reads the enum; `None` when it is none, or has variants that hold something.
    pub(crate) fn from_syn(ctxt: &Ctxt, input: &DeriveInput) -> Option<Self> {
        check_generics(ctxt, &input.generics, "a PostgreSQL enum", "enum");
        let attrs = EnumAttrs::parse(ctxt, &input.attrs);
        let Data::Enum(data) = &input.data else {
            ctxt.error(
                input.ident.span(),
                "`#[derive(PgEnum)]` needs an enum",
                "for a collection, write `#[derive(Migrate)]`",
            );
            return None;
        };
        let mut variants = Vec::new();
        for variant in &data.variants {
            if !matches!(variant.fields, Fields::Unit) {
                ctxt.error(
                    variant.fields.span(),
                    "a label holds no values",
                    format!("write the variant as `{}`", variant.ident),
                );
            }
            let attrs = VariantAttrs::parse(ctxt, &variant.attrs);
            variants.push(Variant { ident: variant.ident.clone(), attrs });
        }
        Some(Self { ident: input.ident.clone(), attrs, variants })
    }

    /// The name of the PostgreSQL type.
    pub(crate) fn type_name(&self) -> String {
        let name = self.attrs.name.as_ref().map(|word| word.value.value());
        name.unwrap_or_else(|| self.ident.unraw().to_string())
    }

    /// The label of a variant, and where it comes from.
    pub(crate) fn label(&self, variant: &Variant) -> (String, Span) {
        let name = variant.ident.unraw().to_string();
        match (&variant.attrs.rename, &self.attrs.rename_all) {
            (Some(word), _) => (word.value.value(), word.value.span()),
            (None, Some(case)) => (case.value.variant(&name), variant.ident.span()),
            (None, None) => (name, variant.ident.span()),
        }
    }
}

/// Refuses parameters: the facts of a model are constants, and each set of parameters would be
/// another table.
fn check_generics(ctxt: &Ctxt, generics: &Generics, what: &str, keyword: &str) {
    if !generics.params.is_empty() {
        let span = generics.to_token_stream().span();
        let (first, last) = (generics.lt_token.span(), generics.gt_token.span());
        ctxt.error(
            first.join(last).unwrap_or(span),
            format!("{what} has no type parameters and no lifetimes, because it stands for one thing in the database"),
            format!("write one {keyword} for each table, with owned types as `String`")
                .replace("for each table", if keyword == "enum" { "for each type" } else { "for each table" }),
        );
    }
}
