//! Checked model → tokens, one function per generated item. Nothing here can fail.
//!
//! Generated code is facts and names only `migrate_core::__private`. Tokens that a type error
//! would point at carry the span of the user's own.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, LitStr, Path};

use crate::ast::{Enum, Fate, Field, Model, RESERVED};
use crate::attr::{
    Check, Choice, Flatten, ForeignKey, IndexAttr, Json, Literal, Nul, Step, Word, path_key,
};

/// For a struct, expands to:
///
/// ```text
/// const _: () = {
///     use ::migrate_core::__private as _migrate;
///     static __MODEL: _migrate::Model = _migrate::Model { name: "Tasks", .. };
///     impl _migrate::Migrate for Tasks { .. }
///     const _: () = _migrate::check::reference(&__MODEL, 3);
///     fn __used(..) { .. }
/// };
/// ```
pub(crate) fn expand_model(model: &Model) -> TokenStream {
    let facts = expand_facts(model);
    let implementation = expand_impl(&model.ident);
    let checks = expand_checks(model);
    let used = expand_used(model);
    let model = match has_parts(model) {
        true => {
            let parts = expand_parts(model);
            quote! {
                const __OWN: _migrate::Model = #facts;
                const __PARTS: &[_migrate::flatten::Part] = #parts;
                _migrate::flattened!(__OWN, __PARTS);
            }
        }
        false => quote!(static __MODEL: _migrate::Model = #facts;),
    };
    wrap(quote! {
        #model
        #implementation
        #checks
        #used
    })
}

/// Puts items where their names meet nobody else's. A search among hundreds of models takes the
/// compiler longer than it thinks a constant may, hence the first `allow`.
pub(crate) fn wrap(items: TokenStream) -> TokenStream {
    quote! {
        #[doc(hidden)]
        #[allow(long_running_const_eval)]
        #[allow(clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
        const _: () = {
            use ::migrate_core::__private as _migrate;
            #items
        };
    }
}

/// The implementation that points to `__MODEL`.
pub(crate) fn expand_impl(ident: &Ident) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl _migrate::Migrate for #ident {
            const MODEL: _migrate::ModelRef = _migrate::ModelRef::new(&__MODEL);
        }
    }
}

fn expand_facts(model: &Model) -> TokenStream {
    let mut facts = Facts::new(&model.name());
    let mut collections = match model.is_junction() || model.is_embedded() || model.is_child() {
        true => Vec::new(),
        false => model.collections(),
    }
    .into_iter();
    let (kind, collection) = match (model.is_junction(), model.is_embedded(), model.is_child()) {
        (true, ..) => (Some(quote!(Junction)), None),
        (_, true, _) => (Some(quote!(Embedded)), None),
        (.., true) => (Some(quote!(Child)), None),
        _ => (None, collections.next()),
    };
    facts.add("collection", collection.map(|collection| quote!(#collection)));
    facts.list("further_collections", collections.map(|name| quote!(#name)));
    facts.add("schema", model.attrs.schema.as_ref().map(|word| expand_option(Some(word))));
    let table = (!model.is_embedded()).then(|| model.table());
    facts.add("table", table.map(|table| quote!(#table)));
    facts.add("kind", kind.map(|kind| quote!(_migrate::ModelKind::#kind)));
    let choices = model.attrs.when.iter().flat_map(|word| &word.value);
    facts.list("when", choices.map(|choice| expand_choice(model, choice)));
    let filter = model.attrs.filter.as_ref().map(|word| &word.value);
    facts.add("filter", filter.map(|path| quote!(_migrate::Some(#path))));
    if !has_parts(model) {
        facts.list("columns", model.columns().map(|field| expand_column(model, field)));
    }
    let fields = || model.fields.iter();
    let skipped = fields().filter(|field| field.fate() == Fate::Skipped);
    facts.list("skipped", skipped.flat_map(|field| expand_keys(model, field)));
    let indexes = model.attrs.indexes.iter();
    facts.list("indexes", indexes.map(|index| expand_index(model, &index.value)));
    facts.list("children", fields().filter_map(|field| expand_child(model, field)));
    facts.list("junctions", fields().filter_map(|field| expand_junction(model, field)));
    let denies = model.attrs.deny_unknown_fields.is_some();
    facts.add("deny_unknown_fields", denies.then(|| quote!(true)));
    let one_of = model.attrs.one_of.iter().map(|group| {
        let columns = columns_named(model, &group.value);
        quote!(_migrate::OneOf { columns: &[#(#columns),*] })
    });
    facts.list("one_of", one_of);
    let key = model.attrs.primary_key.iter().flat_map(|key| columns_named(model, &key.value));
    facts.list("own_key", key.map(|column| quote!(#column)));
    facts.list("checks", model.attrs.checks.iter().map(|check| expand_check(&check.value)));
    facts.finish()
}

/// For `check(positive = "budget > 0")`, expands to:
///
/// ```text
/// _migrate::Check { name: _migrate::Some("positive"), sql: "budget > 0" }
/// ```
fn expand_check(check: &Check) -> TokenStream {
    let sql = &check.sql;
    let name = match &check.name {
        Some(name) => {
            let name = name.unraw().to_string();
            quote!(_migrate::Some(#name))
        }
        None => quote!(_migrate::None),
    };
    quote!(_migrate::Check { name: #name, sql: #sql })
}

/// The facts of a model: what is written is what differs from a model without any, so that a word
/// that a model does not use costs it nothing.
pub(crate) struct Facts(TokenStream);

impl Facts {
    pub(crate) fn new(name: &str) -> Self {
        Self(quote!(name: #name, module: ::core::module_path!(),))
    }

    fn add(&mut self, name: &str, value: Option<TokenStream>) {
        if let Some(value) = value {
            let name = Ident::new(name, Span::call_site());
            self.0.extend(quote!(#name: #value,));
        }
    }

    fn list(&mut self, name: &str, items: impl Iterator<Item = TokenStream>) {
        let items: Vec<_> = items.collect();
        self.add(name, (!items.is_empty()).then(|| quote!(&[#(#items),*])));
    }

    pub(crate) fn finish(self) -> TokenStream {
        let facts = self.0;
        quote!(_migrate::Model { #facts .._migrate::Model::EMPTY })
    }
}

fn has_parts(model: &Model) -> bool {
    model.fields.iter().any(|field| field.fate() == Fate::Flattened)
}

/// The columns of a model with `flatten` are put together of its own and those of the embedded
/// documents. For a field `#[migrate(flatten(prefix = "to_"))] address: Address`, expands to:
///
/// ```text
/// &[
///     _migrate::flatten::Part::Own(&[..]),
///     _migrate::flatten::Part::flat::<Address>("address", "address", "to_"),
/// ]
/// ```
///
/// of which, and of what the model says itself, `flattened!` makes the facts.
fn expand_parts(model: &Model) -> TokenStream {
    let mut parts = Vec::new();
    let mut own = Vec::new();
    for field in &model.fields {
        match field.fate() {
            Fate::Column => own.push(expand_column(model, field)),
            Fate::Flattened => {
                if let Some(column) = expand_present(model, field) {
                    own.push(column);
                }
                if !own.is_empty() {
                    let columns = std::mem::take(&mut own);
                    parts.push(quote!(_migrate::flatten::Part::Own(&[#(#columns),*])));
                }
                parts.push(expand_flat(model, field));
            }
            Fate::Junction | Fate::Child | Fate::Skipped => {}
        }
    }
    if !own.is_empty() {
        parts.push(quote!(_migrate::flatten::Part::Own(&[#(#own),*])));
    }
    quote!(&[#(#parts),*])
}

fn expand_flat(model: &Model, field: &Field) -> TokenStream {
    let (ty, name) = (&field.ty, field.name());
    let key = expand_keys(model, field).next();
    let prefix = match &field.attrs.flatten {
        Some(Word { value: Flatten { prefix: Some(word), .. }, .. }) => word.value.value(),
        _ => String::new(),
    };
    quote_spanned!(ty.span()=> _migrate::flatten::Part::flat::<#ty>(#name, #key, #prefix))
}

/// The column that tells whether the flattened document is there.
fn expand_present(model: &Model, field: &Field) -> Option<TokenStream> {
    let present = field.attrs.flatten.as_ref()?.value.present.as_ref()?;
    let (column, name) = (&present.value, field.name());
    let key = expand_keys(model, field).next();
    Some(quote!(_migrate::flatten::present(#column, #name, &[#key])))
}

/// For `when(kind = ["a", "b"])`, expands to:
///
/// ```text
/// Choice { key: "kind", any_of: &[Literal::Text("a"), Literal::Text("b")] }
/// ```
fn expand_choice(model: &Model, Choice { key, any_of }: &Choice) -> TokenStream {
    let any_of = any_of.iter().map(|value| match value {
        Literal::Text(text) => quote!(_migrate::Literal::Text(#text)),
        Literal::Number(number) => quote!(_migrate::Literal::Number(#number)),
        Literal::Bool(truth) => quote!(_migrate::Literal::Bool(#truth)),
        Literal::Null => quote!(_migrate::Literal::Null),
    });
    let key = expand_key(&model.own_key(key), Span::call_site());
    quote!(_migrate::Choice { key: #key, any_of: &[#(#any_of),*] })
}

fn expand_option(word: Option<&Word<LitStr>>) -> TokenStream {
    match word {
        Some(word) => {
            let text = &word.value;
            quote!(_migrate::Some(#text))
        }
        None => quote!(_migrate::None),
    }
}

/// For a field `#[migrate(index)] #[fk(Users)] user: Option<Uuid>`, expands to:
///
/// ```text
/// _migrate::Column::of::<Option<Uuid>>("user", "user", &["user"]).index()
///     .reference(_migrate::Reference::to(<Users as _migrate::Migrate>::MODEL))
/// ```
fn expand_column(model: &Model, field: &Field) -> TokenStream {
    let attrs = &field.attrs;
    let ty = &field.ty;
    let (column, _) = model.column(field);
    let name = field.name();
    let keys = expand_keys(model, field);
    let mut tokens = quote_spanned! {ty.span()=>
        _migrate::Column::of::<#ty>(#column, #name, &[#(#keys),*])
    };
    let mut then = |method: TokenStream| tokens.extend(quote!(.#method));
    if attrs.id.is_some() || (model.is_junction() && attrs.position.is_none()) {
        then(quote!(primary_key()));
    }
    if attrs.unique.is_some() {
        then(quote!(unique()));
    }
    if attrs.index.is_some() {
        then(quote!(index()));
    }
    let extended = matches!(&attrs.json, Some(Word { value: Json::Extended, .. }));
    match (&attrs.extra, extended) {
        (Some(_), true) => then(quote!(rest(_migrate::json_extended))),
        (Some(word), false) => then(quote_spanned! {word.span=>
            rest(<#ty as _migrate::ToCell>::encode)
        }),
        (None, true) => then(quote!(with(_migrate::json_extended))),
        (None, false) => {}
    }
    if let Some(Word { value: when, .. }) = &attrs.when {
        let (key, is) = (path_key(&when.path.value()), &when.is);
        then(quote!(when(#key, #is)));
    }
    if !attrs.steps.is_empty() {
        let steps = attrs.steps.iter().map(|word| expand_step(&word.value));
        then(quote!(steps(&[#(#steps),*])));
    }
    if let Some(Word { value: on_invalid, .. }) = &attrs.on_invalid {
        let rule = match on_invalid.unraw().to_string().as_str() {
            "null" => quote!(Null),
            "default" => quote!(Default),
            _ => quote!(Reject),
        };
        then(quote!(on_invalid(_migrate::OnInvalid::#rule)));
    }
    if let Some(Word { value: path, .. }) = &attrs.with {
        then(quote! {
            with(|__value, __context, __out| {
                _migrate::with::<#ty, _>(#path, __value, __context, __out)
            })
        });
    }
    if let Some(Word { value: path, .. }) = &attrs.compute {
        then(quote! {
            compute(|__document, __context, __out| {
                _migrate::compute::<#ty, _>(#path, __document, __context, __out)
            })
        });
    }
    if let Some(Word { value: pg_type, .. }) = &attrs.pg_type {
        then(quote!(pg_type(#pg_type)));
    }
    match &attrs.default {
        Some(Word { value: Some(value), .. }) => then(quote! {
            default(|__context, __out| _migrate::literal::<#ty>(#value, __context, __out))
        }),
        Some(Word { span, value: None }) => {
            then(quote_spanned!(*span=> default(_migrate::default::<#ty>)));
        }
        None => {}
    }
    if let Some(Word { value: sql, .. }) = &attrs.db_default {
        then(quote!(db_default(#sql)));
    }
    if attrs.id_time.is_some() {
        then(quote!(id_time()));
    }
    if attrs.empty_as_null.is_some() {
        then(quote!(empty_as_null()));
    }
    if let Some(Word { value: fk, .. }) = &attrs.fk {
        let reference = expand_reference(model, fk);
        // NULL for a reference to nothing would leave none of the group.
        let reference = match fk.orphan.is_none() && in_one_of(model, field) {
            true => quote!(#reference.orphan(_migrate::Orphan::Reject)),
            false => reference,
        };
        then(quote!(reference(#reference)));
    }
    tokens
}

/// For `map(A = "active", "N/A" = null)`, expands to:
///
/// ```text
/// _migrate::Step::Map(&[("A", _migrate::Some("active")), ("N/A", _migrate::None)])
/// ```
fn expand_step(step: &Step) -> TokenStream {
    match step {
        Step::Trim => quote!(_migrate::Step::Trim),
        Step::Split(separator) => quote!(_migrate::Step::Split(#separator)),
        Step::Map(labels) => {
            let labels = labels.iter().map(|(from, to)| match to {
                Some(to) => quote!((#from, _migrate::Some(#to))),
                None => quote!((#from, _migrate::None)),
            });
            quote!(_migrate::Step::Map(&[#(#labels),*]))
        }
        Step::Lenient(formats) => quote!(_migrate::Step::Lenient(&[#(#formats),*])),
        Step::Truncate => quote!(_migrate::Step::Truncate),
        Step::Nul(Nul::Strip) => quote!(_migrate::Step::Nul(_migrate::Nul::Strip)),
        Step::Nul(Nul::Replace) => quote!(_migrate::Step::Nul(_migrate::Nul::Replace)),
    }
}

fn expand_reference(model: &Model, fk: &ForeignKey) -> TokenStream {
    let target = expand_model_ref(model, &fk.model);
    let mut tokens = quote!(_migrate::Reference::to(#target));
    if let Some(Word { value: key, .. }) = &fk.key {
        tokens.extend(quote!(.key(#key)));
    }
    if let Some(Word { value, .. }) = &fk.on_delete {
        let rule = match value.unraw().to_string().as_str() {
            "cascade" => quote!(Cascade),
            "restrict" => quote!(Restrict),
            "set_null" => quote!(SetNull),
            "set_default" => quote!(SetDefault),
            _ => quote!(NoAction),
        };
        tokens.extend(quote!(.on_delete(_migrate::OnDelete::#rule)));
    }
    if let Some(Word { value, .. }) = &fk.orphan {
        let rule = match value.unraw().to_string().as_str() {
            "reject" => quote!(Reject),
            "null" => quote!(Null),
            _ => quote!(Keep),
        };
        tokens.extend(quote!(.orphan(_migrate::Orphan::#rule)));
    }
    if fk.deferred.is_some() {
        tokens.extend(quote!(.deferred()));
    }
    tokens
}

/// The facts of the model at a path, where `Self` is the struct itself.
fn expand_model_ref(model: &Model, path: &Path) -> TokenStream {
    let own = path.is_ident("Self").then(|| {
        let mut ident = model.ident.clone();
        ident.set_span(path.span());
        Path::from(ident)
    });
    let path = own.as_ref().unwrap_or(path);
    quote_spanned!(path.span()=> <#path as _migrate::Migrate>::MODEL)
}

/// For `#[junction(DocumentsToTasks)] tasks: Vec<Uuid>`, expands to:
///
/// ```text
/// _migrate::JunctionField::of::<Vec<Uuid>>("tasks", &["tasks"],
///     <DocumentsToTasks as _migrate::Migrate>::MODEL)
/// ```
fn expand_junction(model: &Model, field: &Field) -> Option<TokenStream> {
    let junction = match field.fate() {
        Fate::Junction => &field.attrs.junction.as_ref()?.value,
        _ => return None,
    };
    let ty = &field.ty;
    let name = field.name();
    let keys = expand_keys(model, field);
    let table = expand_model_ref(model, &junction.table);
    let owner = junction.owner.as_ref().map(|Word { value: owner, .. }| quote!(.owner(#owner)));
    let position = junction.position.as_ref().map(|_| quote!(.position()));
    Some(quote_spanned! {ty.span()=>
        _migrate::JunctionField::of::<#ty>(#name, &[#(#keys),*], #table) #owner #position
    })
}

/// For `#[child(Rentals)] rentals: Vec<Rentals>`, expands to:
///
/// ```text
/// _migrate::ChildField::of::<Vec<Rentals>>("rentals", &["rentals"],
///     <Rentals as _migrate::Migrate>::MODEL)
/// ```
fn expand_child(model: &Model, field: &Field) -> Option<TokenStream> {
    let child = match field.fate() {
        Fate::Child => &field.attrs.child.as_ref()?.value,
        _ => return None,
    };
    let ty = &field.ty;
    let name = field.name();
    let keys = expand_keys(model, field);
    let table = expand_model_ref(model, &child.table);
    let is_strict = child.on_reject.as_ref().is_some_and(|word| word.value == "document");
    let strict = is_strict.then(|| quote!(.strict()));
    Some(quote_spanned! {ty.span()=>
        _migrate::ChildField::of::<#ty>(#name, &[#(#keys),*], #table) #strict
    })
}

/// The keys that a field is read from; those that no document has are constants.
fn expand_keys(model: &Model, field: &Field) -> impl Iterator<Item = TokenStream> {
    model.keys(field).into_iter().map(|(key, span)| expand_key(&key, span))
}

fn expand_key(key: &str, span: Span) -> TokenStream {
    let Some(name) = key.strip_prefix(RESERVED) else { return quote!(#key) };
    match name.strip_prefix("OWN_ID\0") {
        // Behind the constant there is no way to write a path in.
        Some(rest) => {
            let path = format!("\u{1}_id\0{rest}");
            quote!(#path)
        }
        None => {
            let name = Ident::new(name, span);
            quote!(_migrate::#name)
        }
    }
}

/// Whether exactly one of the field and others is set.
pub(crate) fn in_one_of(model: &Model, field: &Field) -> bool {
    let names = model.attrs.one_of.iter().flat_map(|group| &group.value);
    names.into_iter().any(|name| name.unraw() == field.name())
}

/// Whether the field is part of a primary key that the model names.
fn in_primary_key(model: &Model, field: &Field) -> bool {
    let names = model.attrs.primary_key.iter().flat_map(|key| &key.value);
    names.into_iter().any(|name| name.unraw() == field.name())
}

/// The columns of the fields with these names.
fn columns_named(model: &Model, names: &[Ident]) -> Vec<String> {
    let column = |name: &Ident| {
        let name = name.unraw().to_string();
        let field = model.columns().find(|field| field.name() == name)?;
        Some(model.column(field).0)
    };
    names.iter().filter_map(column).collect()
}

fn expand_index(model: &Model, index: &IndexAttr) -> TokenStream {
    let columns = columns_named(model, &index.fields);
    let unique = index.unique;
    quote!(_migrate::Index { columns: &[#(#columns),*], unique: #unique })
}

/// The rules that need types or other models, each at the token it is about.
fn expand_checks(model: &Model) -> TokenStream {
    let mut checks = TokenStream::new();
    let mut check = |span: Span, rule: &str, arguments: TokenStream| {
        let rule = Ident::new(rule, span);
        checks.extend(quote_spanned! {span=>
            const _: () = _migrate::check::#rule(&__MODEL, #arguments);
        });
    };
    // The columns before a field are its own and those of flattened documents.
    let (mut own, mut flat) = (0_usize, Vec::new());
    for field in &model.fields {
        let index = quote!(#own #(+ #flat)*);
        match field.fate() {
            Fate::Column => own += 1,
            Fate::Flattened => {
                let ty = &field.ty;
                if expand_present(model, field).is_some() {
                    own += 1;
                }
                let index = quote!(#own #(+ #flat)*);
                let embedded = quote!(<#ty as _migrate::Flatten>::MODEL);
                check(ty.span(), "flatten", quote!(#embedded, #index));
                flat.push(quote!(#embedded.get().columns.len()));
                continue;
            }
            Fate::Junction | Fate::Child | Fate::Skipped => continue,
        }
        let attrs = &field.attrs;
        let in_key = attrs.id.is_some() || in_primary_key(model, field);
        if model.is_junction() && attrs.position.is_some() {
            check(field.ty.span(), "ordinal", quote!(#index));
        } else if in_key || model.is_junction() {
            check(field.ty.span(), "primary_key", quote!(#index));
        }
        if let (true, Some(word)) = (model.is_child(), &attrs.id) {
            check(word.span, "child_id", quote!(#index));
        }
        if let (Some(_), Some(fk)) = (&attrs.parent, &attrs.fk) {
            check(fk.value.model.span(), "parent", quote!(#index));
        }
        // A function and a step make of the text what they like.
        if attrs.with.is_none() && attrs.steps.is_empty() {
            if attrs.origin.is_some() {
                check(field.ty.span(), "origin", quote!(#index));
            } else if attrs.key.is_some() {
                check(field.ty.span(), "map_key", quote!(#index));
            }
        }
        if let Some(word) = &attrs.id_time {
            check(word.span, "id_time", quote!(#index));
        }
        if let Some(word) = &attrs.json {
            check(word.span, "json", quote!(#index));
        } else if let Some(word) = &attrs.extra {
            check(word.span, "extra", quote!(#index));
        }
        if let Some(word) = &attrs.when {
            check(word.span, "takes_null", quote!(#index, "when"));
        } else if in_one_of(model, field) {
            check(field.ty.span(), "takes_null", quote!(#index, "one_of"));
        }
        // What a function of the user's own takes, only the user knows.
        for (step, word) in attrs.steps.iter().enumerate().filter(|_| attrs.with.is_none()) {
            check(word.span, "step", quote!(#index, #step));
        }
        if let Some(Word { value, .. }) = attrs.on_invalid.as_ref().filter(|on| on.value == "null")
        {
            check(value.span(), "takes_null", quote!(#index, "on_invalid = null"));
        }
        let Some(fk) = &attrs.fk else { continue };
        check(fk.value.model.span(), "reference", quote!(#index));
        if let Some(Word { value: key, .. }) = &fk.value.key {
            check(key.span(), "key", quote!(#index));
        }
        for (word, value) in [("on_delete", &fk.value.on_delete), ("orphan", &fk.value.orphan)] {
            if let Some(Word { value, .. }) = value
                && (value == "set_null" || value == "null")
            {
                let written = format!("{word} = {value}");
                check(value.span(), "takes_null", quote!(#index, #written));
            }
        }
    }
    let junctions = model.fields.iter().filter(|field| field.fate() == Fate::Junction);
    for (index, field) in junctions.enumerate() {
        if let Some(junction) = &field.attrs.junction {
            check(junction.value.table.span(), "junction", quote!(#index));
            if let Some(Word { value: owner, .. }) = &junction.value.owner {
                check(owner.span(), "owner", quote!(#index));
            }
            if let Some(word) = &junction.value.position {
                check(word.span, "position_of", quote!(#index));
            }
        }
    }
    let children = model.fields.iter().filter(|field| field.fate() == Fate::Child);
    for (index, field) in children.enumerate() {
        if let Some(child) = &field.attrs.child {
            check(child.value.table.span(), "child", quote!(#index));
        }
    }
    checks
}

/// A model is declared and never constructed, which rustc takes for dead code; this function,
/// which nobody calls, reads and makes every field.
fn expand_used(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let fields: Vec<_> = model.fields.iter().map(|field| &field.ident).collect();
    quote! {
        #[allow(dead_code, deprecated)]
        fn __used(__model: #ident) -> #ident {
            #ident { #(#fields: __model.#fields),* }
        }
    }
}

/// For an enum, expands to:
///
/// ```text
/// const _: () = {
///     use ::migrate_core::__private as _migrate;
///     static __ENUM: _migrate::EnumType = _migrate::EnumType { name: "Status", .. };
///     impl _migrate::PgEnum for Status { .. }
///     impl _migrate::ToCell for Status { .. }
///     impl _migrate::Scalar for Status {}
///     const __USED: [Status; 2] = [Status::Active, Status::Inactive];
/// };
/// ```
pub(crate) fn expand_enum(input: &Enum) -> TokenStream {
    let name = input.type_name();
    let schema = expand_option(input.attrs.schema.as_ref());
    let labels: Vec<String> = input.variants.iter().map(|variant| input.label(variant).0).collect();
    let variants: Vec<_> = input.variants.iter().map(|variant| &variant.ident).collect();
    let other = input.variants.iter().find(|variant| variant.attrs.other.is_some());
    let other = match other.map(|variant| input.label(variant).0) {
        Some(label) => quote!(_migrate::Some(#label)),
        None => quote!(_migrate::None),
    };
    let count = variants.len();
    let ident = &input.ident;
    let implementations =
        expand_enum_impls(ident, quote!(match self { #(Self::#variants => #labels),* }));
    wrap(quote! {
        static __ENUM: _migrate::EnumType = _migrate::EnumType {
            name: #name,
            schema: #schema,
            labels: &[#(#labels),*],
            other: #other,
        };
        #implementations
        #[allow(dead_code, deprecated)]
        const __USED: [#ident; #count] = [#(#ident::#variants),*];
    })
}

/// The implementations over `__ENUM`, with the body of `label`.
pub(crate) fn expand_enum_impls(ident: &Ident, label: TokenStream) -> TokenStream {
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl _migrate::PgEnum for #ident {
            const ENUM: &'static _migrate::EnumType = &__ENUM;
            fn label(&self) -> &'static _migrate::str { #label }
        }
        #[automatically_derived]
        impl _migrate::ToCell for #ident {
            const TYPE: _migrate::CellType =
                _migrate::CellType::scalar(_migrate::BaseType::Enum(&__ENUM));
            type Literal = Self;
            fn encode(
                __value: _migrate::Value<'_>,
                __context: &_migrate::CellContext,
                __out: &mut _migrate::Buffer,
            ) -> _migrate::Written {
                _migrate::encode_enum::<Self>(__value, __context, __out)
            }
            fn write(
                &self,
                __context: &_migrate::CellContext,
                __out: &mut _migrate::Buffer,
            ) -> _migrate::Written {
                _migrate::write_enum(self, __context, __out)
            }
        }
        #[automatically_derived]
        impl _migrate::Scalar for #ident {}
    }
}
