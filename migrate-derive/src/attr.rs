//! `#[migrate(..)]`, `#[fk(..)]`, `#[junction(..)]` and `#[child(..)]`, one at a time: what is unknown, given
//! twice or malformed is reported here; what two attributes say about each other is not.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, Ident, Lit, LitStr, Meta, Path, Token, token};

use crate::case::{CASES, Case};
use crate::ctxt::Ctxt;
use crate::symbol::{self, Place};

/// What a word says, and where the word stands.
#[derive(Clone)]
pub(crate) struct Word<T = ()> {
    pub(crate) span: Span,
    pub(crate) value: T,
}

/// The words on a struct.
#[derive(Default)]
pub(crate) struct ModelAttrs {
    pub(crate) collection: Option<Word<Vec<LitStr>>>,
    pub(crate) table: Option<Word<LitStr>>,
    pub(crate) schema: Option<Word<LitStr>>,
    pub(crate) rename_all: Option<Word<Case>>,
    pub(crate) column_case: Option<Word<Case>>,
    pub(crate) junction: Option<Word>,
    pub(crate) child: Option<Word>,
    pub(crate) when: Option<Word<Vec<Choice>>>,
    pub(crate) filter: Option<Word<Path>>,
    pub(crate) indexes: Vec<Word<IndexAttr>>,
    pub(crate) embedded: Option<Word>,
    pub(crate) deny_unknown_fields: Option<Word>,
    pub(crate) one_of: Vec<Word<Vec<Ident>>>,
    pub(crate) primary_key: Option<Word<Vec<Ident>>>,
    pub(crate) checks: Vec<Word<Check>>,
}

/// One condition of `check = "sql"` or `check(name = "sql")`.
#[derive(Clone)]
pub(crate) struct Check {
    pub(crate) name: Option<Ident>,
    pub(crate) sql: LitStr,
}

/// `index(a, b)` or `unique(a, b)`.
#[derive(Clone)]
pub(crate) struct IndexAttr {
    pub(crate) unique: bool,
    pub(crate) fields: Vec<Ident>,
}

/// The words on a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) id: Option<Word>,
    pub(crate) rename: Option<Word<LitStr>>,
    pub(crate) column: Option<Word<LitStr>>,
    pub(crate) aliases: Vec<Word<LitStr>>,
    pub(crate) path: Option<Word<LitStr>>,
    pub(crate) flatten: Option<Word<Flatten>>,
    pub(crate) extra: Option<Word>,
    pub(crate) when: Option<Word<When>>,
    pub(crate) default: Option<Word<Option<Expr>>>,
    pub(crate) db_default: Option<Word<LitStr>>,
    pub(crate) skip: Option<Word>,
    pub(crate) index: Option<Word>,
    pub(crate) unique: Option<Word>,
    pub(crate) pg_type: Option<Word<LitStr>>,
    pub(crate) json: Option<Word<Json>>,
    pub(crate) with: Option<Word<Path>>,
    pub(crate) compute: Option<Word<Path>>,
    pub(crate) empty_as_null: Option<Word>,
    pub(crate) id_time: Option<Word>,
    /// The conversions that are not exact, in the order written.
    pub(crate) steps: Vec<Word<Step>>,
    pub(crate) on_invalid: Option<Word<Ident>>,
    pub(crate) fk: Option<Word<ForeignKey>>,
    pub(crate) junction: Option<Word<Junction>>,
    pub(crate) child: Option<Word<Child>>,
    pub(crate) origin: Option<Word>,
    pub(crate) parent: Option<Word>,
    pub(crate) position: Option<Word>,
    pub(crate) key: Option<Word>,
    pub(crate) value: Option<Word>,
}

/// How `json` writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Plain,
    Extended,
}

/// `flatten` or `flatten(..)`.
#[derive(Clone, Default)]
pub(crate) struct Flatten {
    pub(crate) prefix: Option<Word<LitStr>>,
    /// The column that tells whether the document is there.
    pub(crate) present: Option<Word<LitStr>>,
}

/// `when("path" = "text")`.
#[derive(Clone)]
pub(crate) struct When {
    pub(crate) path: LitStr,
    pub(crate) is: LitStr,
}

/// A conversion that is not exact.
#[derive(Clone)]
pub(crate) enum Step {
    Trim,
    Split(LitStr),
    /// Labels and what becomes of them; `None` is null.
    Map(Vec<(LitStr, Option<LitStr>)>),
    /// The formats of dates.
    Lenient(Vec<LitStr>),
    Truncate,
    Nul(Nul),
}

impl Step {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Trim => "trim",
            Self::Split(_) => "split",
            Self::Map(_) => "map",
            Self::Lenient(_) => "lenient",
            Self::Truncate => "truncate",
            Self::Nul(_) => "nul",
        }
    }
}

/// What becomes of U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nul {
    Strip,
    Replace,
}

/// `#[fk(Model, ..)]`.
#[derive(Clone)]
pub(crate) struct ForeignKey {
    pub(crate) model: Path,
    pub(crate) key: Option<Word<LitStr>>,
    pub(crate) on_delete: Option<Word<Ident>>,
    pub(crate) deferred: Option<Word>,
    pub(crate) orphan: Option<Word<Ident>>,
}

/// `#[junction(Table, ..)]`.
#[derive(Clone)]
pub(crate) struct Junction {
    pub(crate) table: Path,
    /// The junction's field or column, as a string.
    pub(crate) owner: Option<Word<LitStr>>,
    /// Its column for the position is filled.
    pub(crate) position: Option<Word>,
}

/// One key of `when(kind = "company", active = true)` on a struct.
#[derive(Clone)]
pub(crate) struct Choice {
    /// The path of keys, as in the facts.
    pub(crate) key: String,
    pub(crate) any_of: Vec<Literal>,
}

/// One of the values of [`Choice`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    Text(String),
    Number(i64),
    Bool(bool),
    Null,
}

/// `#[child(Table, ..)]`.
#[derive(Clone)]
pub(crate) struct Child {
    pub(crate) table: Path,
    pub(crate) on_reject: Option<Word<Ident>>,
}

/// The words on an enum.
#[derive(Default)]
pub(crate) struct EnumAttrs {
    pub(crate) name: Option<Word<LitStr>>,
    pub(crate) schema: Option<Word<LitStr>>,
    pub(crate) rename_all: Option<Word<Case>>,
}

/// The words on a variant.
#[derive(Default)]
pub(crate) struct VariantAttrs {
    pub(crate) rename: Option<Word<LitStr>>,
    pub(crate) other: Option<Word>,
}

/// The values of `on_delete`.
pub(crate) const ON_DELETE: [&str; 5] =
    ["cascade", "restrict", "set_null", "set_default", "no_action"];
/// The values of `nul`.
const NUL: [&str; 2] = ["strip", "replace"];
/// The values of `on_invalid`.
const ON_INVALID: [&str; 3] = ["null", "default", "reject"];
/// The values of `on_reject`.
pub(crate) const ON_REJECT: [&str; 2] = ["element", "document"];
/// The values of `orphan`.
pub(crate) const ORPHAN: [&str; 3] = ["reject", "null", "keep"];

impl ModelAttrs {
    pub(crate) fn parse(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut parsed = Self::default();
        for attr in attrs {
            if attr.path().is_ident("fk") {
                misplaced(
                    ctxt,
                    attr,
                    "`#[fk]` belongs on a field",
                    "write it above the field that holds the other document's id",
                );
            } else if attr.path().is_ident("junction") {
                misplaced(
                    ctxt,
                    attr,
                    "`#[junction]` belongs on a field",
                    "to make this struct a junction, write `#[migrate(junction)]`",
                );
            } else if attr.path().is_ident("child") {
                misplaced(
                    ctxt,
                    attr,
                    "`#[child]` belongs on a field",
                    "to make this struct a child, write `#[migrate(child)]`",
                );
            }
        }
        each_item(ctxt, attrs, Place::Struct, |item| match item.name.as_str() {
            "collection" => item.set(ctxt, &mut parsed.collection, Item::names),
            "table" => item.set(ctxt, &mut parsed.table, Item::name_text),
            "schema" => item.set(ctxt, &mut parsed.schema, Item::name_text),
            "rename_all" => item.set(ctxt, &mut parsed.rename_all, Item::case),
            "column_case" => item.set(ctxt, &mut parsed.column_case, Item::case),
            "junction" => item.set(ctxt, &mut parsed.junction, Item::flag),
            "embedded" => item.set(ctxt, &mut parsed.embedded, Item::flag),
            "deny_unknown_fields" => {
                item.set(ctxt, &mut parsed.deny_unknown_fields, Item::flag);
            }
            "one_of" => {
                if let Some(value) = item.fields(ctxt) {
                    parsed.one_of.push(Word { span: item.word.span(), value });
                }
            }
            "child" => item.set(ctxt, &mut parsed.child, Item::flag),
            "when" => item.set(ctxt, &mut parsed.when, Item::choices),
            "filter" => item.set(ctxt, &mut parsed.filter, Item::path),
            "primary_key" => item.set(ctxt, &mut parsed.primary_key, Item::fields),
            "check" => {
                let checks = item.checks(ctxt).into_iter();
                let span = item.word.span();
                parsed.checks.extend(checks.map(|value| Word { span, value }));
            }
            word => {
                let unique = word == "unique";
                if let Some(fields) = item.fields(ctxt) {
                    let value = IndexAttr { unique, fields };
                    parsed.indexes.push(Word { span: item.word.span(), value });
                }
            }
        });
        parsed
    }
}

impl FieldAttrs {
    pub(crate) fn parse(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut parsed = Self::default();
        each_item(ctxt, attrs, Place::Field, |item| match item.name.as_str() {
            "id" => item.set(ctxt, &mut parsed.id, Item::flag),
            "rename" => item.set(ctxt, &mut parsed.rename, Item::key),
            "column" => item.set(ctxt, &mut parsed.column, Item::name_text),
            "alias" => {
                if let Some(value) = item.key(ctxt) {
                    parsed.aliases.push(Word { span: item.word.span(), value });
                }
            }
            "path" => item.set(ctxt, &mut parsed.path, Item::key_path),
            "flatten" => item.set(ctxt, &mut parsed.flatten, Item::flatten),
            "extra" => item.set(ctxt, &mut parsed.extra, Item::flag),
            "when" => item.set(ctxt, &mut parsed.when, Item::when),
            "default" => item.set(ctxt, &mut parsed.default, Item::optional_expr),
            "db_default" => item.set(ctxt, &mut parsed.db_default, Item::sql),
            "skip" => item.set(ctxt, &mut parsed.skip, Item::flag),
            "index" => item.set(ctxt, &mut parsed.index, Item::flag),
            "unique" => item.set(ctxt, &mut parsed.unique, Item::flag),
            "pg_type" => item.set(ctxt, &mut parsed.pg_type, Item::sql),
            "json" => item.set(ctxt, &mut parsed.json, Item::json),
            "with" => item.set(ctxt, &mut parsed.with, Item::path),
            "compute" => item.set(ctxt, &mut parsed.compute, Item::path),
            "empty_as_null" => item.set(ctxt, &mut parsed.empty_as_null, Item::flag),
            "on_invalid" => {
                let read = |item: &Item, ctxt: &Ctxt| item.choice(ctxt, &ON_INVALID);
                item.set(ctxt, &mut parsed.on_invalid, read);
            }
            "trim" | "split" | "map" | "lenient" | "truncate" | "nul" => {
                if let Some(value) = item.step(ctxt) {
                    parsed.steps.push(Word { span: item.word.span(), value });
                }
            }
            "id_time" => item.set(ctxt, &mut parsed.id_time, Item::flag),
            "origin" => item.set(ctxt, &mut parsed.origin, Item::flag),
            "parent" => item.set(ctxt, &mut parsed.parent, Item::flag),
            "position" => item.set(ctxt, &mut parsed.position, Item::flag),
            "key" => item.set(ctxt, &mut parsed.key, Item::flag),
            _ => item.set(ctxt, &mut parsed.value, Item::flag),
        });
        for attr in attrs {
            if attr.path().is_ident("fk") {
                let fk = ForeignKey::parse(ctxt, attr);
                set_attr(ctxt, attr, &mut parsed.fk, fk);
            } else if attr.path().is_ident("junction") {
                let junction = Junction::parse(ctxt, attr);
                set_attr(ctxt, attr, &mut parsed.junction, junction);
            } else if attr.path().is_ident("child") {
                let child = Child::parse(ctxt, attr);
                set_attr(ctxt, attr, &mut parsed.child, child);
            }
        }
        parsed
    }
}

impl ForeignKey {
    fn parse(ctxt: &Ctxt, attr: &Attribute) -> Option<Self> {
        let (model, rest) = leading_path(ctxt, attr, "the model it points to", "#[fk(Users)]")?;
        let mut fk = Self { model, key: None, on_delete: None, deferred: None, orphan: None };
        each_of(ctxt, rest, Place::Fk, |item| match item.name.as_str() {
            "key" => item.set(ctxt, &mut fk.key, Item::name_text),
            "on_delete" => {
                item.set(ctxt, &mut fk.on_delete, |item, ctxt| item.choice(ctxt, &ON_DELETE));
            }
            "deferred" => item.set(ctxt, &mut fk.deferred, Item::flag),
            _ => item.set(ctxt, &mut fk.orphan, |item, ctxt| item.choice(ctxt, &ORPHAN)),
        });
        Some(fk)
    }
}

impl Junction {
    fn parse(ctxt: &Ctxt, attr: &Attribute) -> Option<Self> {
        let (table, rest) =
            leading_path(ctxt, attr, "the junction it fills", "#[junction(DocumentsToTasks)]")?;
        let mut junction = Self { table, owner: None, position: None };
        each_of(ctxt, rest, Place::Junction, |item| match item.name.as_str() {
            "owner" => item.set(ctxt, &mut junction.owner, Item::field_or_column),
            _ => item.set(ctxt, &mut junction.position, Item::flag),
        });
        Some(junction)
    }
}

impl Child {
    fn parse(ctxt: &Ctxt, attr: &Attribute) -> Option<Self> {
        let (table, rest) = leading_path(ctxt, attr, "the child it fills", "#[child(Rentals)]")?;
        let mut child = Self { table, on_reject: None };
        each_of(ctxt, rest, Place::Child, |item| {
            item.set(ctxt, &mut child.on_reject, |item, ctxt| item.choice(ctxt, &ON_REJECT));
        });
        Some(child)
    }
}

impl EnumAttrs {
    pub(crate) fn parse(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut parsed = Self::default();
        each_item(ctxt, attrs, Place::Enum, |item| match item.name.as_str() {
            "name" => item.set(ctxt, &mut parsed.name, Item::name_text),
            "schema" => item.set(ctxt, &mut parsed.schema, Item::name_text),
            _ => item.set(ctxt, &mut parsed.rename_all, Item::case),
        });
        parsed
    }
}

impl VariantAttrs {
    pub(crate) fn parse(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut parsed = Self::default();
        each_item(ctxt, attrs, Place::Variant, |item| match item.name.as_str() {
            "other" => item.set(ctxt, &mut parsed.other, Item::flag),
            _ => item.set(ctxt, &mut parsed.rename, Item::label),
        });
        parsed
    }
}

/// One item of an attribute's list.
struct Item {
    word: Ident,
    /// The word without `r#`.
    name: String,
    value: ItemValue,
    place: Place,
}

enum ItemValue {
    /// `word`
    Alone,
    /// `word = value`
    Equals(Expr),
    /// `word(..)`
    List(TokenStream, Span),
}

impl Item {
    /// Reads the value with `read` into `slot`, which must be empty.
    fn set<T>(
        &self,
        ctxt: &Ctxt,
        slot: &mut Option<Word<T>>,
        read: impl Fn(&Self, &Ctxt) -> Option<T>,
    ) {
        let span = self.word.span();
        if slot.is_some() {
            ctxt.error(span, format!("`{}` is given twice", self.name), "remove one of them");
        } else if let Some(value) = read(self, ctxt) {
            *slot = Some(Word { span, value });
        }
    }

    /// Says that the value is not `expected`, at the smallest place.
    fn wrong(&self, ctxt: &Ctxt, expected: &str) {
        let span = match &self.value {
            ItemValue::Alone => self.word.span(),
            ItemValue::Equals(value) => value.span(),
            ItemValue::List(_, span) => *span,
        };
        let example = symbol::find(&self.name, self.place).map_or("", |symbol| symbol.example);
        ctxt.error(span, format!("`{}` {expected}", self.name), format!("write it as `{example}`"));
    }

    fn flag(&self, ctxt: &Ctxt) -> Option<()> {
        match self.value {
            ItemValue::Alone => Some(()),
            _ => {
                self.wrong(ctxt, "takes no value");
                None
            }
        }
    }

    fn string(&self, ctxt: &Ctxt) -> Option<LitStr> {
        match &self.value {
            ItemValue::Equals(Expr::Lit(expr)) if let Lit::Str(text) = &expr.lit => {
                Some(text.clone())
            }
            _ => {
                self.wrong(ctxt, "needs a string");
                None
            }
        }
    }

    /// A string that is a name in PostgreSQL or MongoDB.
    fn name_text(&self, ctxt: &Ctxt) -> Option<LitStr> {
        let text = self.string(ctxt)?;
        if text.value().is_empty() || text.value().contains('\0') {
            self.wrong(ctxt, "must be a name, which is not empty and has no U+0000");
            return None;
        }
        Some(text)
    }

    /// A name, or several in brackets.
    fn names(&self, ctxt: &Ctxt) -> Option<Vec<LitStr>> {
        let ItemValue::Equals(Expr::Array(array)) = &self.value else {
            return self.name_text(ctxt).map(|name| vec![name]);
        };
        let mut names: Vec<LitStr> = Vec::new();
        for element in &array.elems {
            let name = match peel(element.clone()) {
                Expr::Lit(ref expr) if let Lit::Str(name) = &expr.lit => name.clone(),
                _ => {
                    self.wrong(ctxt, "needs a string, or several in brackets");
                    return None;
                }
            };
            if name.value().is_empty() || name.value().contains('\0') {
                self.wrong(ctxt, "must be names, which are not empty and have no U+0000");
                return None;
            }
            if names.iter().any(|other| other.value() == name.value()) {
                let help = "remove one of them";
                ctxt.error(
                    name.span(),
                    format!("`{}` has `{}` twice", self.name, name.value()),
                    help,
                );
                return None;
            }
            names.push(name);
        }
        if names.is_empty() {
            self.wrong(ctxt, "needs a string, or several in brackets");
            return None;
        }
        Some(names)
    }

    /// A string that is a document's key; it may be empty, as MongoDB allows.
    fn key(&self, ctxt: &Ctxt) -> Option<LitStr> {
        self.text_without_nul(ctxt, "must be a key, which has no U+0000")
    }

    /// A string that is a label; it may be empty, as PostgreSQL allows.
    fn label(&self, ctxt: &Ctxt) -> Option<LitStr> {
        self.text_without_nul(ctxt, "must be a label, which has no U+0000")
    }

    fn text_without_nul(&self, ctxt: &Ctxt, wrong: &str) -> Option<LitStr> {
        let text = self.string(ctxt)?;
        if text.value().contains('\0') {
            self.wrong(ctxt, wrong);
            return None;
        }
        Some(text)
    }

    /// A string that is a path of keys; see [`path_keys`].
    fn key_path(&self, ctxt: &Ctxt) -> Option<LitStr> {
        let path = self.key(ctxt)?;
        if path_keys(&path.value()).iter().any(String::is_empty) {
            self.wrong(ctxt, "must be keys with one dot between two of them");
            return None;
        }
        Some(path)
    }

    /// Nothing, or a prefix and a column.
    fn flatten(&self, ctxt: &Ctxt) -> Option<Flatten> {
        let mut flatten = Flatten::default();
        match &self.value {
            ItemValue::Alone => {}
            ItemValue::List(tokens, _) => {
                each_of(ctxt, tokens.clone(), Place::Flatten, |item| match item.name.as_str() {
                    "prefix" => item.set(ctxt, &mut flatten.prefix, Item::name_text),
                    _ => item.set(ctxt, &mut flatten.present, Item::name_text),
                });
            }
            ItemValue::Equals(_) => {
                self.wrong(ctxt, "takes its words in parentheses");
                return None;
            }
        }
        Some(flatten)
    }

    /// Keys, each with the values of which one must stand there.
    fn choices(&self, ctxt: &Ctxt) -> Option<Vec<Choice>> {
        let ItemValue::List(tokens, _) = &self.value else {
            self.wrong(ctxt, "needs a key and its value in parentheses");
            return None;
        };
        let parser = |input: ParseStream<'_>| input.parse_terminated(parse_choice, Token![,]);
        let choices = match parser.parse2(tokens.clone()) {
            Ok(choices) => choices,
            Err(error) => {
                ctxt.syn_error(error);
                return None;
            }
        };
        if choices.is_empty() {
            self.wrong(ctxt, "needs a key and its value in parentheses");
            return None;
        }
        let mut keys: Vec<&str> = Vec::new();
        for (choice, span) in &choices {
            if keys.contains(&choice.key.as_str()) {
                let help = "write its values in one place: `when(kind = [\"a\", \"b\"])`";
                ctxt.error(*span, "`when` has the key twice", help);
                return None;
            }
            keys.push(&choice.key);
        }
        Some(choices.into_iter().map(|(choice, _)| choice).collect())
    }

    /// A path and the text that must stand there.
    fn when(&self, ctxt: &Ctxt) -> Option<When> {
        let parser = |input: ParseStream<'_>| {
            let path: LitStr = input.parse()?;
            input.parse::<Token![=]>()?;
            let is: LitStr = input.parse()?;
            input.parse::<Option<Token![,]>>()?;
            match input.is_empty() {
                true => Ok(When { path, is }),
                false => Err(input.error("expected the end")),
            }
        };
        let parsed = match &self.value {
            ItemValue::List(tokens, _) => parser.parse2(tokens.clone()).ok(),
            _ => None,
        };
        let fits = parsed.filter(|when| {
            let is_key = |key: &String| !key.is_empty() && !key.contains('\0');
            path_keys(&when.path.value()).iter().all(is_key)
        });
        if fits.is_none() {
            self.wrong(ctxt, "needs a key or a path and the text that must stand there");
        }
        fits
    }

    /// A string of SQL.
    fn sql(&self, ctxt: &Ctxt) -> Option<LitStr> {
        let text = self.string(ctxt)?;
        if text.value().trim().is_empty() {
            self.wrong(ctxt, "must not be empty");
            return None;
        }
        Some(text)
    }

    fn case(&self, ctxt: &Ctxt) -> Option<Case> {
        let text = self.string(ctxt)?;
        let name = text.value();
        let case = Case::from_name(&name);
        if case.is_none() {
            let names = || CASES.iter().map(|(name, _)| *name);
            let help = match symbol::nearest(&name, names()) {
                Some(near) => format!("write it as `\"{near}\"`"),
                None => format!("the rules are {}", symbol::list(names())),
            };
            ctxt.error(text.span(), format!("unknown naming rule `{name}`"), help);
        }
        case
    }

    fn path(&self, ctxt: &Ctxt) -> Option<Path> {
        match &self.value {
            ItemValue::Equals(Expr::Path(expr)) if expr.qself.is_none() => Some(expr.path.clone()),
            _ => {
                self.wrong(ctxt, "needs the path of a function");
                None
            }
        }
    }

    fn json(&self, ctxt: &Ctxt) -> Option<Json> {
        match &self.value {
            ItemValue::Alone => Some(Json::Plain),
            ItemValue::Equals(Expr::Lit(expr))
                if let Lit::Str(text) = &expr.lit
                    && text.value() == "extended" =>
            {
                Some(Json::Extended)
            }
            _ => {
                self.wrong(ctxt, "stands alone, or is `json = \"extended\"`");
                None
            }
        }
    }

    /// A conversion that is not exact.
    fn step(&self, ctxt: &Ctxt) -> Option<Step> {
        match self.name.as_str() {
            "trim" => self.flag(ctxt).map(|()| Step::Trim),
            "truncate" => self.flag(ctxt).map(|()| Step::Truncate),
            "split" => self.separator(ctxt).map(Step::Split),
            "map" => self.labels(ctxt).map(Step::Map),
            "lenient" => self.formats(ctxt).map(Step::Lenient),
            _ => {
                let choice = self.choice(ctxt, &NUL)?;
                Some(Step::Nul(if choice == "strip" { Nul::Strip } else { Nul::Replace }))
            }
        }
    }

    fn separator(&self, ctxt: &Ctxt) -> Option<LitStr> {
        let text = self.string(ctxt)?;
        if text.value().is_empty() {
            self.wrong(ctxt, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// `(A = "active", "N/A" = null)`
    fn labels(&self, ctxt: &Ctxt) -> Option<Vec<(LitStr, Option<LitStr>)>> {
        let ItemValue::List(tokens, _) = &self.value else {
            self.wrong(ctxt, "needs labels in parentheses");
            return None;
        };
        let parser = |input: ParseStream<'_>| input.parse_terminated(parse_label, Token![,]);
        match parser.parse2(tokens.clone()) {
            Ok(labels) if labels.is_empty() => {
                self.wrong(ctxt, "needs labels in parentheses");
                None
            }
            Ok(labels) => Some(labels.into_iter().collect()),
            Err(error) => {
                ctxt.syn_error(error);
                None
            }
        }
    }

    /// Nothing, or `("%d.%m.%Y", ..)`
    fn formats(&self, ctxt: &Ctxt) -> Option<Vec<LitStr>> {
        let formats = match &self.value {
            ItemValue::Alone => return Some(Vec::new()),
            ItemValue::List(tokens, _) => {
                let parser = |input: ParseStream<'_>| {
                    input.parse_terminated(<LitStr as Parse>::parse, Token![,])
                };
                parser.parse2(tokens.clone()).ok()
            }
            ItemValue::Equals(_) => None,
        };
        match formats {
            Some(formats) if !formats.is_empty() => Some(formats.into_iter().collect()),
            _ => {
                self.wrong(ctxt, "stands alone, or has formats of dates in quotes in parentheses");
                None
            }
        }
    }

    fn optional_expr(&self, ctxt: &Ctxt) -> Option<Option<Expr>> {
        match &self.value {
            ItemValue::Alone => Some(None),
            ItemValue::Equals(value) => Some(Some(value.clone())),
            ItemValue::List(..) => {
                self.wrong(ctxt, "takes its value behind `=`, or none for `Default::default()`");
                None
            }
        }
    }

    /// One of the words in `choices`.
    fn choice(&self, ctxt: &Ctxt, choices: &[&str]) -> Option<Ident> {
        let ident = match &self.value {
            ItemValue::Equals(Expr::Path(expr)) => expr.path.get_ident(),
            _ => None,
        };
        let Some(ident) = ident else {
            let all = choices.join("`, `");
            self.wrong(ctxt, &format!("needs one of `{all}`, without quotes"));
            return None;
        };
        let name = ident.unraw().to_string();
        if choices.contains(&name.as_str()) {
            return Some(ident.clone());
        }
        let help = match symbol::nearest(&name, choices.iter().copied()) {
            Some(near) => format!("write it as `{} = {near}`", self.name),
            None => format!("it is one of {}", symbol::list(choices.iter().copied())),
        };
        ctxt.error(ident.span(), format!("`{}` cannot be `{name}`", self.name), help);
        None
    }

    /// A field of another struct, or in quotes its column.
    fn field_or_column(&self, ctxt: &Ctxt) -> Option<LitStr> {
        if let ItemValue::Equals(Expr::Path(expr)) = &self.value
            && let Some(ident) = expr.path.get_ident()
        {
            return Some(LitStr::new(&ident.unraw().to_string(), ident.span()));
        }
        match &self.value {
            ItemValue::Equals(Expr::Lit(expr)) if let Lit::Str(text) = &expr.lit => {
                Some(text.clone())
            }
            _ => {
                self.wrong(ctxt, "needs a field of the junction");
                None
            }
        }
    }

    /// `= "sql"`, or `(name = "sql", ..)`.
    fn checks(&self, ctxt: &Ctxt) -> Vec<Check> {
        let named = |input: ParseStream<'_>| {
            let name = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            Ok(Check { name: Some(name), sql: input.parse()? })
        };
        let checks = match &self.value {
            ItemValue::Equals(_) => self.sql(ctxt).map(|sql| vec![Check { name: None, sql }]),
            ItemValue::List(tokens, _) => {
                let parser = |input: ParseStream<'_>| input.parse_terminated(named, Token![,]);
                let checks = parser.parse2(tokens.clone()).ok();
                let checks = checks.map(|checks| checks.into_iter().collect::<Vec<_>>());
                let is_sql = |check: &Check| !check.sql.value().trim().is_empty();
                let checks =
                    checks.filter(|checks| !checks.is_empty() && checks.iter().all(is_sql));
                if checks.is_none() {
                    self.wrong(ctxt, "needs names and conditions, as in `name = \"sql\"`");
                }
                checks
            }
            ItemValue::Alone => {
                self.wrong(ctxt, "needs a condition as SQL");
                None
            }
        };
        checks.unwrap_or_default()
    }

    /// The fields in parentheses.
    fn fields(&self, ctxt: &Ctxt) -> Option<Vec<Ident>> {
        let fields = match &self.value {
            ItemValue::List(tokens, _) => {
                let parser =
                    |input: ParseStream<'_>| input.parse_terminated(Ident::parse_any, Token![,]);
                parser.parse2(tokens.clone()).ok()
            }
            _ => None,
        };
        match fields {
            Some(fields) if !fields.is_empty() => Some(fields.into_iter().collect()),
            _ => {
                self.wrong(ctxt, "needs the names of fields in parentheses");
                None
            }
        }
    }
}

/// Calls `read` for every item in all of the `#[migrate(..)]` attributes whose word is known at
/// `place`.
fn each_item(ctxt: &Ctxt, attrs: &[Attribute], place: Place, mut read: impl FnMut(&Item)) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("migrate")) {
        match &attr.meta {
            Meta::List(list) if matches!(list.delimiter, syn::MacroDelimiter::Paren(_)) => {
                each_of(ctxt, list.tokens.clone(), place, &mut read);
            }
            _ => {
                let example = match place {
                    Place::Field => "id",
                    Place::Variant => "rename = \"..\"",
                    Place::Enum => "name = \"..\"",
                    _ => "table = \"..\"",
                };
                ctxt.error(
                    attr.path().span(),
                    "`#[migrate]` needs a list in parentheses",
                    format!("write it as `#[migrate({example})]`"),
                );
            }
        }
    }
}

/// Calls `read` for every item of a list whose word is known at `place`. After an item that
/// cannot be read the next one is tried, so that each mistake is reported.
fn each_of(ctxt: &Ctxt, tokens: TokenStream, place: Place, mut read: impl FnMut(&Item)) {
    let parser = |input: ParseStream<'_>| {
        while !input.is_empty() {
            match parse_item(input, place) {
                Ok(item) if !input.is_empty() && !input.peek(Token![,]) => {
                    let example = symbol::find(&item.name, place);
                    ctxt.error(
                        input.span(),
                        format!("expected `=` or `,` behind `{}`", item.name),
                        match example {
                            Some(symbol) => format!("write it as `{}`", symbol.example),
                            None => "put `,` between two words".to_owned(),
                        },
                    );
                    skip_to_comma(input);
                }
                Ok(item) if symbol::find(&item.name, place).is_some() => read(&item),
                Ok(item) => unknown(ctxt, &item),
                Err(error) => {
                    ctxt.syn_error(error);
                    skip_to_comma(input);
                }
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    if let Err(error) = parser.parse2(tokens) {
        ctxt.syn_error(error);
    }
}

fn parse_item(input: ParseStream<'_>, place: Place) -> syn::Result<Item> {
    let word = match input.call(Ident::parse_any) {
        Ok(word) => word,
        Err(error) => {
            return Err(syn::Error::new(
                error.span(),
                format!("expected a word\nhelp: {}", place.vocabulary()),
            ));
        }
    };
    let name = word.unraw().to_string();
    let value = if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        if input.is_empty() || input.peek(Token![,]) {
            let example = symbol::find(&name, place).map_or("", |symbol| symbol.example);
            return Err(syn::Error::new(
                word.span(),
                format!("`{name}` has no value behind `=`\nhelp: write it as `{example}`"),
            ));
        }
        ItemValue::Equals(peel(input.parse()?))
    } else if input.peek(token::Paren) {
        let content;
        let parens = syn::parenthesized!(content in input);
        ItemValue::List(content.parse()?, parens.span.join())
    } else {
        ItemValue::Alone
    };
    Ok(Item { word, name, value, place })
}

/// One label of `map` and what becomes of it, as in `A = "active"`.
fn parse_label(input: ParseStream<'_>) -> syn::Result<(LitStr, Option<LitStr>)> {
    let wrong = |span: Span, what: &str| {
        let help = r#"write it as `map(A = "active", "N/A" = null)`"#;
        syn::Error::new(span, format!("`map` needs {what}\nhelp: {help}"))
    };
    let from = if input.peek(LitStr) {
        input.parse::<LitStr>()?
    } else {
        match input.call(Ident::parse_any) {
            Ok(ident) => LitStr::new(&ident.unraw().to_string(), ident.span()),
            Err(error) => {
                return Err(wrong(error.span(), "a label before `=`, as a name or in quotes"));
            }
        }
    };
    let needs = "a text or `null` behind `=`";
    input.parse::<Token![=]>().map_err(|_| wrong(from.span(), needs))?;
    if input.peek(LitStr) {
        return Ok((from, Some(input.parse()?)));
    }
    match input.call(Ident::parse_any) {
        Ok(ident) if ident == "null" => Ok((from, None)),
        Ok(ident) => Err(wrong(ident.span(), needs)),
        Err(_) => Err(wrong(from.span(), needs)),
    }
}

/// One key of a struct's `when` and its values, as in `kind = ["a", "b"]`.
fn parse_choice(input: ParseStream<'_>) -> syn::Result<(Choice, Span)> {
    let wrong = |span: Span, what: &str| {
        let help = r#"write it as `when(kind = "company")` or `when(kind = ["a", "b"])`"#;
        syn::Error::new(span, format!("`when` needs {what}\nhelp: {help}"))
    };
    let (key, span) = if input.peek(LitStr) {
        let path: LitStr = input.parse()?;
        let is_key = |key: &String| !key.is_empty() && !key.contains('\0');
        if !path_keys(&path.value()).iter().all(is_key) {
            return Err(wrong(path.span(), "a key, or a path with one dot between two keys"));
        }
        (path_key(&path.value()), path.span())
    } else {
        match input.call(Ident::parse_any) {
            Ok(ident) => (ident.unraw().to_string(), ident.span()),
            Err(error) => {
                return Err(wrong(error.span(), "a key before `=`, as a name or in quotes"));
            }
        }
    };
    let needs =
        "a text, a whole number, `true`, `false` or `null` behind `=`, or several in brackets";
    input.parse::<Token![=]>().map_err(|_| wrong(span, needs))?;
    let values = match input.parse::<Expr>().map(peel) {
        Ok(Expr::Array(array)) => array.elems.into_iter().map(peel).collect(),
        Ok(other) => vec![other],
        Err(_) => return Err(wrong(span, needs)),
    };
    if values.is_empty() {
        return Err(wrong(span, needs));
    }
    let mut any_of = Vec::new();
    for value in &values {
        let literal = literal(value).ok_or_else(|| wrong(value.span(), needs))?;
        if any_of.contains(&literal) {
            return Err(wrong(value.span(), "each value once"));
        }
        any_of.push(literal);
    }
    Ok((Choice { key, any_of }, span))
}

/// A value of a struct's `when`.
fn literal(value: &Expr) -> Option<Literal> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(Literal::Text(text.value())),
            Lit::Int(number) if number.suffix().is_empty() => {
                number.base10_parse().ok().map(Literal::Number)
            }
            Lit::Bool(truth) => Some(Literal::Bool(truth.value)),
            _ => None,
        },
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => {
            match literal(&unary.expr)? {
                Literal::Number(number) => number.checked_neg().map(Literal::Number),
                _ => None,
            }
        }
        Expr::Path(path) if path.path.is_ident("null") => Some(Literal::Null),
        _ => None,
    }
}

/// The expression inside the invisible group that a `macro_rules!` fragment arrives in.
fn peel(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => peel(*group.expr),
        expr => expr,
    }
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        if input.parse::<TokenTree>().is_err() {
            break;
        }
    }
}

/// Says that a word is not known at this place, and what was meant.
fn unknown(ctxt: &Ctxt, item: &Item) {
    let (name, place, span) = (&item.name, item.place, item.word.span());
    if matches!(place, Place::Junction) && name == "key" {
        ctxt.error(
            span,
            "`#[junction]` refers to ids and knows no `key`",
            "for elements that are keys of another column, write `#[child(Table)]` with `#[migrate(value)]` and `#[fk(Model, key = \"..\")]` in it",
        );
        return;
    }
    if let Some(symbol) = symbol::elsewhere(name, place) {
        let right = symbol.place;
        let how = match right {
            Place::Fk => format!("write it as `#[fk(Model, {})]`", symbol.example),
            Place::Junction => format!("write it as `#[junction(Table, {})]`", symbol.example),
            Place::Child => format!("write it as `#[child(Table, {})]`", symbol.example),
            _ => format!("write `#[migrate({})]` {}", symbol.example, right.describe()),
        };
        ctxt.error(span, format!("`{name}` belongs {}", right.describe()), how);
        return;
    }
    if matches!(place, Place::Field) && name == "fk" {
        ctxt.error(span, "`fk` is an attribute of its own", "write it as `#[fk(Users)]`");
        return;
    }
    let others = [Place::Struct, Place::Field, Place::Fk, Place::Junction, Place::Child];
    let elsewhere =
        others.into_iter().find_map(|place| Some((symbol::nearest(name, place.words())?, place)));
    let help = match (symbol::nearest(name, place.words()), elsewhere) {
        (Some(near), _) => format!("there is `{near}`"),
        (None, Some((near, other))) if !matches!(place, Place::Enum | Place::Variant) => {
            format!("there is `{near}`, which belongs {}", other.describe())
        }
        (None, _) => place.vocabulary(),
    };
    let what = match place {
        Place::Fk => "`#[fk]`",
        Place::Junction => "`#[junction]`",
        Place::Child => "`#[child]`",
        _ => "`#[migrate]`",
    };
    ctxt.error(span, format!("{what} does not know the word `{name}`"), help);
}

/// The path that `#[fk(..)]` and `#[junction(..)]` begin with, and the tokens behind its comma.
fn leading_path(
    ctxt: &Ctxt,
    attr: &Attribute,
    needs: &str,
    example: &str,
) -> Option<(Path, TokenStream)> {
    let name = attr.path().to_token_stream();
    let missing = |span: Span| {
        ctxt.error(span, format!("`#[{name}]` needs {needs}"), format!("write it as `{example}`"));
    };
    let tokens = match &attr.meta {
        Meta::List(list) if !list.tokens.is_empty() => list.tokens.clone(),
        _ => {
            missing(attr.path().span());
            return None;
        }
    };
    let parser = |input: ParseStream<'_>| {
        let model = match input.peek2(Token![=]) {
            true => None,
            false => input.call(Path::parse_mod_style).ok(),
        };
        if model.is_some() && !input.is_empty() && !input.peek(Token![,]) {
            let help = format!("write it as `{}, ..)]`", example.trim_end_matches(")]"));
            return Err(input.error(format!("expected `,` behind the path\nhelp: {help}")));
        }
        input.parse::<Option<Token![,]>>()?;
        Ok((model, input.parse::<TokenStream>()?))
    };
    let first =
        tokens.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span());
    match parser.parse2(tokens) {
        Ok((Some(model), rest)) => Some((model, rest)),
        Ok((None, _)) => {
            missing(first);
            None
        }
        Err(error) => {
            ctxt.syn_error(error);
            None
        }
    }
}

/// The keys of a path: a dot stands between two of them, `\\.` is a dot in a key and `\\\\` a
/// backslash.
pub(crate) fn path_keys(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        let next_is_escaped = character == '\\' && matches!(characters.peek(), Some('.' | '\\'));
        match (character, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            (_, Some(key)) if next_is_escaped => key.extend(characters.next()),
            (character, Some(key)) => key.push(character),
            (_, None) => {}
        }
    }
    keys
}

/// The key that a path is in the facts of a model.
pub(crate) fn path_key(path: &str) -> String {
    path_keys(path).join("\0")
}

fn set_attr<T>(ctxt: &Ctxt, attr: &Attribute, slot: &mut Option<Word<T>>, value: Option<T>) {
    let span = attr.path().span();
    if slot.is_some() {
        let name = attr.path().to_token_stream();
        ctxt.error(span, format!("`#[{name}]` is given twice"), "remove one of them");
    } else if let Some(value) = value {
        *slot = Some(Word { span, value });
    }
}

fn misplaced(ctxt: &Ctxt, attr: &Attribute, message: &str, help: &str) {
    ctxt.error(attr.path().span(), message, help);
}
