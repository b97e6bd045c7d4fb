//! The facts of a model, as plain constants: what a derived struct says about its collection and
//! its table. The derive writes them, the runtime reads them, and neither adds to them later.
//!
//! Facts are built by `const` functions so that generated code stays short, and refer to each
//! other through [`ModelRef`], because models may refer to each other in circles and a `static`
//! may not look into itself while it is being made.

use crate::cell::{CellContext, Mismatch, ToCell, Wrote};
use crate::feed;
use crate::value::Value;

/// Everything a model declares: one collection, one table, and how one becomes the other.
#[derive(Debug)]
pub struct Model {
    /// The struct's name, as in `Tasks`.
    pub name: &'static str,
    /// The module that declares it (`module_path!()`); together with `name` it identifies a model.
    pub module: &'static str,
    /// The collection the documents come from, or the first of several; empty for a junction and
    /// for a child.
    pub collection: &'static str,
    /// Other collections whose documents fill the same table.
    pub further_collections: &'static [&'static str],
    /// The PostgreSQL schema of the table; `None` is the target's own (`public` unless told).
    pub schema: Option<&'static str>,
    /// The table's name, unquoted.
    pub table: &'static str,
    /// What fills the table.
    pub kind: ModelKind,
    /// What a document of the collection has to hold to be the model's: each of these.
    pub when: &'static [Choice],
    /// A function of the user's own that has to be true as well.
    pub filter: Option<FilterFn>,
    /// The columns in the order of the struct's fields.
    pub columns: &'static [Column],
    /// Arrays of ids that become rows of junction tables.
    pub junctions: &'static [JunctionField],
    /// Arrays and maps whose elements become rows of child tables.
    pub children: &'static [ChildField],
    /// The keys of fields marked `skip`: left out on purpose, so no run reports them as unknown.
    pub skipped: &'static [&'static str],
    /// Unique keys and indexes of more than one column, or of the struct's attributes.
    pub indexes: &'static [Index],
    /// A document with a field that nothing takes is rejected.
    pub deny_unknown_fields: bool,
    /// Groups of columns of which each row has exactly one that is not NULL.
    pub one_of: &'static [OneOf],
    /// The columns of the primary key, where it is another than the id alone. The id is a column
    /// all the same, because a row is known by it, and has a unique key of its own unless it is
    /// among them.
    pub own_key: &'static [&'static str],
    /// Conditions that the target asks of each row.
    pub checks: &'static [Check],
}

/// A condition on the rows of a table.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The constraint's name; `None` is one made from the table's.
    pub name: Option<&'static str>,
    /// The condition, as SQL.
    pub sql: &'static str,
}

/// Says whether a document is the model's.
pub type FilterFn = fn(&bson::RawDocument) -> bool;

/// Values of which one has to stand at a key, as `when(kind = ["a", "b"])` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The key, or a path with [`KEY_SEPARATOR`] in it.
    pub key: &'static str,
    /// The values.
    pub any_of: &'static [Literal],
}

/// A value of a [`Choice`]. Numbers are the same whatever their BSON type, and a symbol is the same
/// as its text, as MongoDB compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A text.
    Text(&'static str),
    /// A whole number.
    Number(i64),
    /// A boolean.
    Bool(bool),
    /// Null, or no such field.
    Null,
}

impl Literal {
    /// Whether both are the same value.
    pub const fn same(&self, other: &Literal) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => str_eq(a, b),
            (Self::Number(a), Self::Number(b)) => *a == *b,
            (Self::Bool(a), Self::Bool(b)) => *a == *b,
            (Self::Null, Self::Null) => true,
            _ => false,
        }
    }
}

/// What fills a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// The documents of a collection, one row each.
    Collection,
    /// The `#[junction(..)]` fields of other models.
    Junction,
    /// The elements of a `#[child(..)]` field of another model, one row each.
    Child,
    /// Nothing: the columns are parts of other models, which flatten it.
    Embedded,
}

impl ModelKind {
    /// Whether its rows are made from documents: those of a collection, or the elements that
    /// stand inside them.
    pub const fn has_documents(self) -> bool {
        matches!(self, Self::Collection | Self::Child)
    }
}

impl Model {
    /// A model of a collection of which nothing is said: what a derived model does not write is
    /// taken from here.
    pub const EMPTY: Self = Self {
        name: "",
        module: "",
        collection: "",
        further_collections: &[],
        schema: None,
        table: "",
        kind: ModelKind::Collection,
        when: &[],
        filter: None,
        columns: &[],
        junctions: &[],
        children: &[],
        skipped: &[],
        indexes: &[],
        deny_unknown_fields: false,
        one_of: &[],
        own_key: &[],
        checks: &[],
    };

    /// Whether two sets of facts come from the same struct.
    pub const fn same(&self, other: &Model) -> bool {
        str_eq(self.name, other.name) && str_eq(self.module, other.module)
    }

    /// The collections that the documents come from.
    pub fn collections(&self) -> impl Iterator<Item = &'static str> + use<> {
        let first = (!self.collection.is_empty()).then_some(self.collection);
        first.into_iter().chain(self.further_collections.iter().copied())
    }

    /// Whether it takes the same key from documents that are not the same one: the documents of
    /// several collections, or the elements of others. Then a row's key alone does not lead back to
    /// its document.
    pub(crate) fn has_locators(&self) -> bool {
        matches!(self.kind, ModelKind::Child) || !self.further_collections.is_empty()
    }

    /// The model whose documents hold a child's elements, and the field that does; `None` for all
    /// that is no child, and for one that its parent does not name.
    pub const fn parent(&self) -> Option<(&'static Model, &'static ChildField)> {
        if !matches!(self.kind, ModelKind::Child) {
            return None;
        }
        let mut column = 0;
        while column < self.columns.len() {
            if let (Some(reference), [key]) =
                (self.columns[column].reference, self.columns[column].keys)
                && str_eq(key, feed::PARENT)
            {
                let parent = reference.target.get();
                let mut child = 0;
                while child < parent.children.len() {
                    if parent.children[child].table.get().same(self) {
                        return Some((parent, &parent.children[child]));
                    }
                    child += 1;
                }
            }
            column += 1;
        }
        None
    }

    /// The columns of the primary key: the `id` of a collection unless the model names others,
    /// both references of a junction.
    pub fn primary_key(&self) -> impl Iterator<Item = &'static Column> + use<> {
        let (columns, own) = (self.columns, self.own_key);
        let named =
            own.iter().filter_map(|name| columns.iter().find(|column| column.name == *name));
        let id = columns.iter().filter(|column| own.is_empty() && column.primary_key);
        named.chain(id)
    }

    /// The column by which a row of a collection or of a child is known.
    pub const fn id(&self) -> Option<&'static Column> {
        let mut index = 0;
        while index < self.columns.len() {
            if self.columns[index].primary_key {
                return Some(&self.columns[index]);
            }
            index += 1;
        }
        None
    }

    /// The two columns of a junction that refer to other models, in order.
    ///
    /// # Panics
    /// When the model is no junction.
    pub const fn pair(&self) -> [&'static Column; 2] {
        match self.columns {
            [first, second, ..] => [first, second],
            _ => panic!("a junction has two columns that refer to other models"),
        }
    }

    /// The column of a junction that holds a pair's position, where it has one.
    pub const fn ordinal(&self) -> Option<&'static Column> {
        match (self.kind, self.columns) {
            (ModelKind::Junction, [_, _, position]) => Some(position),
            _ => None,
        }
    }

    /// Whether the id stands in the primary key together with other columns, so that nothing but
    /// the documents says that it is unique.
    pub const fn shares_key(&self) -> bool {
        if self.own_key.len() < 2 {
            return false;
        }
        let Some(id) = self.id() else { return false };
        let mut index = 0;
        while index < self.own_key.len() {
            if str_eq(self.own_key[index], id.name) {
                return true;
            }
            index += 1;
        }
        false
    }

    /// The column named so, with its position.
    pub fn column(&self, name: &str) -> Option<(usize, &'static Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }

    /// The column that SQL names, with quotes or, as PostgreSQL prints what needs none, without;
    /// `None` for an expression.
    pub(crate) fn column_of(&self, sql: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == sql || quote_ident(column.name) == sql)
    }
}

/// A pointer from one model's facts to another's, followed with [`ModelRef::get`].
///
/// A plain reference would make rustc look through it while it checks the constant that holds
/// it, and so refuse models that refer to each other; what a raw pointer points to is not looked
/// at before somebody follows it.
#[derive(Clone, Copy)]
pub struct ModelRef(*const Model);

// SAFETY: the pointer comes from a `&'static Model`, whose target is immutable and `Sync`.
#[expect(unsafe_code, reason = "see the type's comment")]
unsafe impl Send for ModelRef {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "see the type's comment")]
unsafe impl Sync for ModelRef {}

impl ModelRef {
    /// A pointer to a model's facts.
    pub const fn new(model: &'static Model) -> Self {
        Self(model)
    }

    /// The facts pointed to.
    #[expect(unsafe_code, reason = "see the type's comment")]
    pub const fn get(self) -> &'static Model {
        // SAFETY: made from a `&'static Model` by `new`, the only constructor.
        unsafe { &*self.0 }
    }
}

impl std::fmt::Debug for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelRef({})", self.get().name)
    }
}

/// One column and the conversion that fills it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The column's name, unquoted.
    pub name: &'static str,
    /// The Rust field's name.
    pub field: &'static str,
    /// The document keys it is read from: the first that is present wins. A key inside embedded
    /// documents is a path with [`KEY_SEPARATOR`] in it. Empty when computed or when the column
    /// belongs to a junction.
    pub keys: &'static [&'static str],
    /// The PostgreSQL type of the field's Rust type.
    pub ty: CellType,
    /// The type written by hand with `pg_type`, as in `timestamp(3)`; it replaces `ty` in the DDL.
    pub pg_type: Option<&'static str>,
    /// Whether the column takes NULL.
    pub nullable: bool,
    /// Whether it is the id of a collection or a child, or one of a junction's references: the
    /// primary key unless [`Model::own_key`] names others.
    pub primary_key: bool,
    /// Whether it has a unique key of its own.
    pub unique: bool,
    /// Whether it has an index of its own.
    pub index: bool,
    /// What is done to a value before it is converted, in order.
    pub steps: &'static [Step],
    /// What becomes of a value that cannot be converted.
    pub on_invalid: OnInvalid,
    /// Whether its text holds ids of several types.
    pub mixed: bool,
    /// How a value becomes the cell.
    pub convert: Convert,
    /// The cell for a missing field, and for null where the column takes no NULL.
    pub default: Option<DefaultFn>,
    /// The default clause of the DDL, as SQL.
    pub db_default: Option<&'static str>,
    /// A missing or null value becomes the creation time inside the document's ObjectId.
    pub id_time: bool,
    /// An empty string counts as null.
    pub empty_as_null: bool,
    /// The foreign key on this column.
    pub reference: Option<Reference>,
    /// The path of the embedded document without which the column is NULL whatever else is said.
    pub within: Option<&'static str>,
    /// A value is needed although the column takes NULL: it may be missing only with the whole
    /// embedded document.
    pub required: bool,
    /// The column is NULL unless another value of the document is this.
    pub when: Option<When>,
    /// The name of the Rust type whose conversion fills it, as the compiler spells it; of `with`
    /// only that it is a function. The second path of `validate --independent` follows the types
    /// that it knows, and tells of the others.
    pub rust_type: fn() -> &'static str,
}

/// The value that another field must have, as `when("owner.kind" = "User")` says it.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// The other field's key or path.
    pub key: &'static str,
    /// The text it must hold.
    pub is: &'static str,
}

/// What stands between the keys of a path; no key of a document has it.
pub const KEY_SEPARATOR: char = '\0';

/// A key or a path as people write it, as in `address.zip`.
pub fn key_path(key: &str) -> String {
    // What stands in front of a key that a locator has pushed aside is no part of it.
    key.trim_start_matches('\u{1}').replace(KEY_SEPARATOR, ".")
}

/// Something done to a value before it becomes a cell, because the model asks for it by name.
///
/// A step that has nothing to do with a value hands it on as it is, so that the next one may try;
/// what is no value of the column in the end is a reject. On an array, each step but `Split` is
/// done to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Takes white space off both ends of a text.
    Trim,
    /// Cuts a text into an array at each of these separators.
    Split(&'static str),
    /// Replaces labels; `None` makes the value null.
    Map(&'static [(&'static str, Option<&'static str>)]),
    /// Reads values of other types, dates by these formats of chrono's language.
    Lenient(&'static [&'static str]),
    /// Cuts off what the column's type has no room for.
    Truncate,
    /// Takes U+0000 out of text.
    Nul(Nul),
}

impl Step {
    /// The word that asks for it.
    pub const fn word(self) -> &'static str {
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

/// What becomes of U+0000 in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nul {
    /// It is left out.
    Strip,
    /// It becomes U+FFFD.
    Replace,
}

/// What becomes of a value that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// The document is rejected.
    Reject,
    /// The column is NULL, and the value is counted.
    Null,
    /// The column has its default, and the value is counted.
    Default,
}

/// Converts one BSON value into the payload of a cell, appended to the buffer.
pub type EncodeFn = fn(Value<'_>, &CellContext, &mut Vec<u8>) -> Result<Wrote, Mismatch>;
/// Computes a cell from the whole document.
pub type ComputeFn = fn(&bson::RawDocument, &CellContext, &mut Vec<u8>) -> Result<Wrote, Mismatch>;
/// Writes a default value as a cell's payload.
pub type DefaultFn = fn(&CellContext, &mut Vec<u8>) -> Result<Wrote, Mismatch>;

/// Where a cell's payload comes from.
#[derive(Clone, Copy, Debug)]
pub enum Convert {
    /// From the value of the first key that is present.
    Value(EncodeFn),
    /// From the whole document.
    Document(ComputeFn),
    /// From a document of the fields that nothing else takes.
    Rest(EncodeFn),
    /// Whether the value of the key is there: true for any value, false for null, NULL where it
    /// is missing.
    Presence,
}

impl Column {
    /// Whether it is a reference that becomes NULL where it points to nothing.
    pub(crate) fn loses_orphans(&self) -> bool {
        self.reference.is_some_and(|reference| match reference.orphan {
            Orphan::Null => true,
            Orphan::Default => self.nullable,
            Orphan::Reject | Orphan::Keep => false,
        })
    }

    /// A column of the Rust type `T`, read from `keys`, with nothing else said about it.
    pub const fn of<T: ToCell>(
        name: &'static str,
        field: &'static str,
        keys: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            field,
            keys,
            ty: T::TYPE,
            pg_type: None,
            nullable: T::NULLABLE,
            primary_key: false,
            unique: false,
            index: false,
            steps: &[],
            on_invalid: OnInvalid::Reject,
            mixed: T::MIXED,
            convert: Convert::Value(T::encode),
            default: None,
            db_default: None,
            id_time: false,
            empty_as_null: false,
            reference: None,
            within: None,
            required: false,
            when: None,
            rust_type: core::any::type_name::<T>,
        }
    }

    /// Makes it (a part of) the primary key.
    pub const fn primary_key(self) -> Self {
        Self { primary_key: true, ..self }
    }

    /// Gives it a unique key.
    pub const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// Gives it an index.
    pub const fn index(self) -> Self {
        Self { index: true, ..self }
    }

    /// Sets what is done to a value first.
    pub const fn steps(self, steps: &'static [Step]) -> Self {
        Self { steps, ..self }
    }

    /// Sets what becomes of a value that cannot be converted.
    pub const fn on_invalid(self, on_invalid: OnInvalid) -> Self {
        Self { on_invalid, ..self }
    }

    /// Replaces the conversion, for `with`.
    pub const fn with(self, encode: EncodeFn) -> Self {
        Self { convert: Convert::Value(encode), rust_type: own_function, ..self }
    }

    /// Computes the cell from the whole document, for `compute`.
    pub const fn compute(self, compute: ComputeFn) -> Self {
        Self { convert: Convert::Document(compute), rust_type: own_function, ..self }
    }

    /// Sets the type of the DDL.
    pub const fn pg_type(self, pg_type: &'static str) -> Self {
        Self { pg_type: Some(pg_type), ..self }
    }

    /// Sets the cell for a missing value.
    pub const fn default(self, default: DefaultFn) -> Self {
        Self { default: Some(default), ..self }
    }

    /// Sets the default clause of the DDL.
    pub const fn db_default(self, sql: &'static str) -> Self {
        Self { db_default: Some(sql), ..self }
    }

    /// Fills a missing time from the ObjectId.
    pub const fn id_time(self) -> Self {
        Self { id_time: true, ..self }
    }

    /// Reads an empty string as null.
    pub const fn empty_as_null(self) -> Self {
        Self { empty_as_null: true, ..self }
    }

    /// Takes the fields that nothing else takes, for `extra`.
    pub const fn rest(self, encode: EncodeFn) -> Self {
        Self { convert: Convert::Rest(encode), rust_type: own_function, ..self }
    }

    /// Tells whether the value is there, for `flatten(present = ..)`.
    pub const fn presence(self) -> Self {
        Self { convert: Convert::Presence, ..self }
    }

    /// Makes it NULL unless the text at `key` is this.
    pub const fn when(self, key: &'static str, is: &'static str) -> Self {
        Self { when: Some(When { key, is }), ..self }
    }

    /// Adds the foreign key.
    pub const fn reference(self, reference: Reference) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// The type as the DDL spells it; a PostgreSQL enum is named without its schema.
    pub fn sql_type(&self) -> String {
        match self.pg_type {
            Some(pg_type) => pg_type.to_owned(),
            None => self.ty.sql(),
        }
    }
}

/// What [`Column::rust_type`] says of a function that `with` or `compute` names.
fn own_function() -> &'static str {
    "fn"
}

/// A PostgreSQL type as the model knows it: a base and the dimensions of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellType {
    /// The type of the value, or of the array's elements.
    pub base: BaseType,
    /// 0 for a single value.
    pub dimensions: u8,
}

impl CellType {
    /// A single value of the base type.
    pub const fn scalar(base: BaseType) -> Self {
        Self { base, dimensions: 0 }
    }

    /// An array with one more dimension.
    pub const fn array_of(self) -> Self {
        Self { base: self.base, dimensions: self.dimensions + 1 }
    }

    /// The type in SQL, as in `text[]`; enum names are quoted.
    pub fn sql(&self) -> String {
        let mut sql = match self.base {
            BaseType::Enum(ty) => quote_ident(ty.name),
            base => base.name().to_owned(),
        };
        for _ in 0..self.dimensions {
            sql.push_str("[]");
        }
        sql
    }
}

/// The PostgreSQL types that the framework's own Rust types map to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the PostgreSQL type of that name")]
#[non_exhaustive]
pub enum BaseType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Uuid,
    Timestamp,
    TimestampTz,
    Date,
    Jsonb,
    Bytea,
    /// A type made by `#[derive(PgEnum)]`.
    Enum(&'static EnumType),
    /// Any other type by its SQL name, for the user's own conversions.
    Other(&'static str),
}

impl BaseType {
    /// The type's name in SQL, unquoted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Date => "date",
            Self::Jsonb => "jsonb",
            Self::Bytea => "bytea",
            Self::Enum(ty) => ty.name,
            Self::Other(name) => name,
        }
    }
}

/// A PostgreSQL enum type and its labels in order.
#[derive(Debug, PartialEq, Eq)]
pub struct EnumType {
    /// The type's name, unquoted.
    pub name: &'static str,
    /// The schema it lives in; `None` is that of the target.
    pub schema: Option<&'static str>,
    /// The labels in sort order.
    pub labels: &'static [&'static str],
    /// The label that a column takes, and counts, for one that is not among them.
    pub other: Option<&'static str>,
}

/// A foreign key.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// The model referred to.
    pub target: ModelRef,
    /// The column referred to; `None` is the target's id.
    pub key: Option<&'static str>,
    /// What happens here when the row there is deleted.
    pub on_delete: OnDelete,
    /// What happens to a reference to nothing.
    pub orphan: Orphan,
    /// Left out of the loading order.
    pub deferred: bool,
}

impl Reference {
    /// A reference to the id of `target`, with the defaults.
    pub const fn to(target: ModelRef) -> Self {
        Self {
            target,
            key: None,
            on_delete: OnDelete::NoAction,
            orphan: Orphan::Default,
            deferred: false,
        }
    }

    /// Refers to another unique column.
    pub const fn key(self, column: &'static str) -> Self {
        Self { key: Some(column), ..self }
    }

    /// Sets the delete rule.
    pub const fn on_delete(self, on_delete: OnDelete) -> Self {
        Self { on_delete, ..self }
    }

    /// Sets what happens to a reference to nothing.
    pub const fn orphan(self, orphan: Orphan) -> Self {
        Self { orphan, ..self }
    }

    /// Leaves it out of the loading order.
    pub const fn deferred(self) -> Self {
        Self { deferred: true, ..self }
    }
}

/// The delete rule of a foreign key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the rule of that name in SQL")]
pub enum OnDelete {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl OnDelete {
    /// The rule in SQL.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::NoAction => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }

    /// The rule as PostgreSQL's catalogue has it.
    pub(crate) const fn catalogue(self) -> &'static str {
        match self {
            Self::NoAction => "a",
            Self::Restrict => "r",
            Self::Cascade => "c",
            Self::SetNull => "n",
            Self::SetDefault => "d",
        }
    }
}

/// What happens to a reference to a row that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// `Null` on a nullable column, `Reject` on a required one.
    Default,
    /// The document is rejected.
    Reject,
    /// The reference becomes NULL and is noted.
    Null,
    /// The value stays, is noted, and the foreign key is not made.
    Keep,
}

/// An array of ids that fills a junction table.
#[derive(Clone, Copy, Debug)]
pub struct JunctionField {
    /// The Rust field's name.
    pub field: &'static str,
    /// The document keys it is read from: the first that is present wins.
    pub keys: &'static [&'static str],
    /// The junction's model.
    pub table: ModelRef,
    /// The junction's field or column that refers to the owner of this field; `None` where only
    /// one does.
    pub owner: Option<&'static str>,
    /// Whether an element's place in this array becomes the pair's position.
    pub position: bool,
    /// The PostgreSQL type of one element.
    pub ty: CellType,
    /// Converts one element.
    pub encode: EncodeFn,
    /// The name of an element's Rust type, as in [`Column::rust_type`].
    pub rust_type: fn() -> &'static str,
}

impl JunctionField {
    /// A junction field whose Rust type is `T`.
    pub const fn of<T: crate::cell::JunctionIds>(
        field: &'static str,
        keys: &'static [&'static str],
        table: ModelRef,
    ) -> Self {
        Self {
            field,
            keys,
            table,
            owner: None,
            position: false,
            ty: <T::Id as ToCell>::TYPE,
            encode: <T::Id as ToCell>::encode,
            rust_type: core::any::type_name::<T::Id>,
        }
    }

    /// Names the junction's field or column that refers to the owner.
    pub const fn owner(self, field_or_column: &'static str) -> Self {
        Self { owner: Some(field_or_column), ..self }
    }

    /// Makes an element's place the pair's position.
    pub const fn position(self) -> Self {
        Self { position: true, ..self }
    }

    /// The junction's two columns as seen from `owner`: its own side first, the elements' second.
    ///
    /// # Panics
    /// When the junction does not refer to the owner; the derive has made that a compile error.
    pub const fn sides(&self, owner: &Model) -> (usize, usize) {
        match crate::plan::check::owner_side(self, owner) {
            Ok(own) => (own, 1 - own),
            Err(_) => panic!("a junction refers to the owner of its field"),
        }
    }
}

/// An array or a map whose elements fill a child table.
#[derive(Clone, Copy, Debug)]
pub struct ChildField {
    /// The Rust field's name.
    pub field: &'static str,
    /// The document keys it is read from: the first that is present wins.
    pub keys: &'static [&'static str],
    /// The child's model.
    pub table: ModelRef,
    /// The model that the field's type names.
    pub row: ModelRef,
    /// What holds the elements.
    pub shape: ChildShape,
    /// Whether an element that is refused takes the whole document with it.
    pub strict: bool,
}

/// What holds the elements of a child table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildShape {
    /// An array.
    Array,
    /// A document whose keys are data.
    Map,
}

impl ChildField {
    /// A child field whose Rust type is `T`.
    pub const fn of<T: feed::Children>(
        field: &'static str,
        keys: &'static [&'static str],
        table: ModelRef,
    ) -> Self {
        Self {
            field,
            keys,
            table,
            row: <T::Row as crate::Migrate>::MODEL,
            shape: T::SHAPE,
            strict: false,
        }
    }

    /// An element that is refused takes the whole document with it.
    pub const fn strict(self) -> Self {
        Self { strict: true, ..self }
    }
}

/// A unique key or an index that the struct's attributes declare.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// The columns' names in order.
    pub columns: &'static [&'static str],
    /// Whether it is a unique key.
    pub unique: bool,
}

/// Columns of which each row has exactly one that is not NULL.
#[derive(Clone, Copy, Debug)]
pub struct OneOf {
    /// The columns' names in order.
    pub columns: &'static [&'static str],
}

/// Every model of a migration and the order that their references ask for.
#[derive(Debug)]
pub struct RegistryFacts {
    /// The registry's name, as in `NextCrm`.
    pub name: &'static str,
    /// The models in the order of the registry.
    pub models: &'static [ModelRef],
    /// For each model its phase: 0 refers to nothing, the junctions come last.
    pub phases: &'static [u16],
    /// Enum types that no column has and that are made all the same, as
    /// `registry! { pub NextCrm = [Users, Tasks]; enums = [LeadStatus] }` names them.
    pub enums: &'static [&'static EnumType],
}

impl RegistryFacts {
    /// The models with their phases, in the order of the registry.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Model, u16)> + use<> {
        let phases = self.phases;
        self.models.iter().zip(phases).map(|(model, phase)| (model.get(), *phase))
    }

    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&'static Model> {
        self.iter().map(|(model, _)| model).find(|model| model.name == name)
    }
}

/// Names a set of models; made by [`registry!`](crate::registry).
pub trait Registry {
    /// The facts folded at compile time.
    const FACTS: &'static RegistryFacts;
}

/// Quotes an identifier for SQL, always, so that case is kept.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string literal for SQL.
pub fn quote_literal(text: &str) -> String {
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

pub(crate) const fn str_eq(a: &str, b: &str) -> bool {
    // From the end, because names begin alike more often than they end alike, and by patterns,
    // which const evaluation takes in one step where an index takes several.
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    while let ([a_rest @ .., a_last], [b_rest @ .., b_last]) = (a, b) {
        if *a_last != *b_last {
            return false;
        }
        (a, b) = (a_rest, b_rest);
    }
    true
}
