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

/// Ties a collection to a table: the struct's fields are the table's columns, in order.
///
/// The struct is only declared. No value of it is ever made; what the attributes and the types of
/// the fields say becomes constant facts, which `registry!` collects and a run reads.
///
/// ```
/// use migrate_core::{Migrate, PgEnum};
/// use uuid::Uuid;
///
/// #[derive(Migrate)]
/// #[migrate(collection = "tasks")]
/// struct Tasks {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(rename = "__v", default = 0)]
///     v: i32,
///     title: String,
///     content: Option<String>,
///     #[fk(Users, on_delete = set_null)]
///     #[migrate(index, empty_as_null)]
///     user: Option<Uuid>,
///     #[migrate(default)]
///     status: Status,
///     #[junction(DocumentsToTasks)]
///     documents: Vec<Uuid>,
/// }
///
/// #[derive(Default, PgEnum)]
/// #[migrate(name = "task_status", rename_all = "UPPERCASE")]
/// enum Status {
///     #[default]
///     Active,
///     Complete,
/// }
///
/// #[derive(Migrate)]
/// #[migrate(junction)]
/// struct DocumentsToTasks {
///     #[fk(Documents, on_delete = cascade)]
///     document: Uuid,
///     #[fk(Tasks, on_delete = cascade)]
///     #[migrate(index)]
///     task: Uuid,
/// }
/// # #[derive(Migrate)]
/// # struct Users { #[migrate(id)] id: Uuid }
/// # #[derive(Migrate)]
/// # struct Documents { #[migrate(id)] id: Uuid }
///
/// let facts = Tasks::MODEL.get();
/// assert_eq!((facts.collection, facts.table), ("tasks", "Tasks"));
/// let content = facts.column("content").unwrap().1;
/// assert!(content.nullable);
/// assert_eq!(content.sql_type(), "text");
/// ```
///
/// Names in quotes are names in a database: collections, document keys, tables, columns. Names
/// without quotes are Rust's: models, fields, functions.
///
/// # Types of fields
///
/// `bool`, `i16`, `i32`, `i64`, `f32`, `f64`, `String`, `Uuid`, `MixedId`, `DateTime<Utc>`, `NaiveDateTime`,
/// `NaiveDate`, `Decimal`, `Json`, `Vec<u8>`, an enum with `#[derive(PgEnum)]`, `Option` and `Vec`
/// of them, `Point`, PostGIS' `Geometry` and pgvector's `Vector`, and whatever implements `ToCell`. An `Option` is a column that takes NULL. The derive
/// asks the type and does not read how it is written, so an alias of `Option` is one too.
///
/// # On the struct
///
/// ## Optional
///
/// * `#[migrate(collection = "tasks")]`: the collection. Without it, the struct's name. Several in
///   brackets fill one table; see *Several collections* below.
/// * `#[migrate(table = "tasks")]`: the table. Without it, the struct's name.
/// * `#[migrate(schema = "crm")]`: the table's schema. Without it, the one that the run is told,
///   which is `public` if it is told none.
/// * `#[migrate(rename_all = "camelCase")]`: makes document keys of fields' names, by one of
///   serde's rules: `lowercase`, `UPPERCASE`, `PascalCase`, `camelCase`, `snake_case`,
///   `SCREAMING_SNAKE_CASE`, `kebab-case`, `SCREAMING-KEBAB-CASE`.
/// * `#[migrate(column_case = "camelCase")]`: makes columns of fields' names, by the same rules.
/// * `#[migrate(index(user, created_at))]`: an index over the columns of these fields. May be
///   given again.
/// * `#[migrate(unique(board, position))]`: a unique key over the columns of these fields. May be
///   given again.
/// * `#[migrate(deny_unknown_fields)]`: a document with a field that no field of the struct takes
///   or skips is rejected. Without it such fields are counted and reported.
/// * `#[migrate(one_of(owner_user, owner_company))]`: each row has exactly one of these columns
///   that is not NULL. The table gets a check constraint, and a document that breaks it is
///   rejected. A reference among them rejects the document where it points to nothing. May be
///   given again.
/// * `#[migrate(primary_key(team, number))]`: the primary key is made of the columns of these fields, in
///   this order, and not of the id alone. The id stays a column, because a row is known by it, and
///   has a unique key of its own; or it is among the fields, as in `primary_key(id, day)` for a table
///   that is cut by days, and then others can refer to this model only by `key = ".."`. Of documents
///   that share a key the one with the smallest `_id` is loaded, the others are rejected.
/// * `#[migrate(check = "price >= 0")]`: a condition on the columns of a row, as SQL. Names of columns
///   stand in it as PostgreSQL reads them, so capitals need double quotes. With
///   `check(price_positive = "price > 0")` the constraint has that name. A row that breaks it is a
///   reject that names the condition. May be given again.
/// * `#[migrate(when(kind = "company"))]`: only documents that hold this value at this key are the
///   model's; see *Parts of a collection* below.
/// * `#[migrate(filter = path)]`: only documents for which this function of your own is true are the
///   model's, `fn(&RawDocument) -> bool`.
/// * `#[migrate(embedded)]`: the struct is an embedded document and has no table; its fields
///   become columns of the models that have it in a field with `flatten`. It may have indexes and
///   references, and fields with `flatten` again.
/// * `#[migrate(junction)]`: the table has no collection and is filled from `#[junction(..)]`
///   fields of other models. It has two fields, each with `#[fk(..)]`, and both are its primary
///   key. Beside `#[fk(..)]` they take `column`, `index`, `pg_type` and `db_default`. A third one with
///   `#[migrate(position)]` behind them holds the place in the array, see `#[junction(..)]` below.
/// * `#[migrate(child)]`: the table has no collection and is filled from the elements of a
///   `#[child(..)]` field of another model; see *Child tables* below.
///
/// ```
/// # use migrate_core::Migrate;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// #[migrate(collection = "users", table = "people", schema = "crm")]
/// #[migrate(rename_all = "camelCase", column_case = "snake_case")]
/// #[migrate(unique(last_name, first_name), index(last_name))]
/// struct Users {
///     #[migrate(id)]
///     id: Uuid,
///     first_name: String,
///     last_name: String,
/// }
///
/// let facts = Users::MODEL.get();
/// assert_eq!((facts.schema, facts.table), (Some("crm"), "people"));
/// assert_eq!(facts.columns[1].keys, ["firstName"]);
/// assert_eq!(facts.columns[1].name, "first_name");
/// assert_eq!(facts.indexes[0].columns, ["last_name", "first_name"]);
///
/// #[derive(Migrate)]
/// #[migrate(primary_key(user, number), check = "price >= 0", check(row_known = "row <> ''"))]
/// struct Seats {
///     #[migrate(id)]
///     id: Uuid,
///     #[fk(Users)]
///     user: Uuid,
///     number: i32,
///     row: String,
///     price: i32,
/// }
///
/// let facts = Seats::MODEL.get();
/// let key: Vec<_> = facts.primary_key().map(|column| column.name).collect();
/// assert_eq!(key, ["user", "number"]);
/// assert_eq!(facts.checks[1].name, Some("row_known"));
/// ```
///
/// # Parts of a collection
///
/// A document that `when` or `filter` leaves out is no row and no reject: it is *skipped*, and
/// counted as such in every sum (`read = loaded + rejected + skipped`). So are the elements of its
/// arrays, which no child counts.
///
/// * `when(kind = "company")` names a key and the value that must stand there: a text, a whole number,
///   `true`, `false`, or `null` for null and for no such field. Values in brackets are alternatives:
///   `when(kind = ["company", "firm", null])`. A key in quotes is a path: `when("state.active" = true)`.
///   Several keys must all hold: `when(kind = "company", active = true)`. Values are compared as MongoDB
///   compares them: 3 is the same number as 3.0 and a decimal 3, a symbol the same as its text. The key
///   counts as taken, so it is not reported as left over where no field reads it.
/// * `filter = path` asks a function of your own about documents that `when` lets through. Bytes that
///   are no BSON are not asked about; they are rejected.
///
/// **Several models may share a collection** when each has a `when`, and no document can be two
/// of theirs: at some key that both name they have no value in common. `registry!` checks that, and
/// what it refuses is a compile error that names both. A function cannot be looked into, so a
/// `filter` alone is not enough. Where a collection is shared, every document has to find its model:
/// one that no `when` lets through is rejected with the reason `no_model`, by the model that stands
/// first in the registry. Each model reads the collection for itself.
///
/// ```
/// # use migrate_core::{Migrate, registry};
/// # use migrate_core::bson::RawDocument;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// #[migrate(collection = "parties", table = "companies", when(kind = ["company", "firm"]))]
/// struct Companies {
///     #[migrate(id)]
///     id: Uuid,
///     name: String,
/// }
///
/// #[derive(Migrate)]
/// #[migrate(collection = "parties", table = "people", when(kind = "person"), filter = is_real)]
/// struct People {
///     #[migrate(id)]
///     id: Uuid,
///     name: String,
///     #[fk(Companies)]
///     employer: Option<Uuid>,
/// }
///
/// fn is_real(document: &RawDocument) -> bool {
///     !document.get_str("name").is_ok_and(|name| name.starts_with("TEST"))
/// }
///
/// registry! { Parties = [Companies, People] }
///
/// assert_eq!(Companies::MODEL.get().when[0].any_of.len(), 2);
/// assert!(People::MODEL.get().filter.is_some());
/// ```
///
/// ```compile_fail,E0080
/// # use migrate_core::{Migrate, registry};
/// # #[derive(Migrate)]
/// # #[migrate(collection = "parties", when(kind = ["company", "firm"]))]
/// # struct Companies { #[migrate(id)] id: i32 }
/// #[derive(Migrate)]
/// #[migrate(collection = "parties", when(kind = "firm"))]
/// struct Firms {
///     #[migrate(id)]
///     id: i32,
/// }
///
/// // `Companies` and `Firms` both take documents of the collection `parties`, and one document
/// // can be both
/// registry! { Parties = [Companies, Firms] }
/// ```
///
/// # Several collections
///
/// With `collection = ["orders_2023", "orders_2024"]` the documents of all of them become rows of one
/// table. A collection that the source does not have is told of, and the others are loaded.
///
/// * `#[migrate(origin)]` on a field: the name of the collection that the document comes from, as a
///   text or as an enum with these labels.
///
/// Two collections may have the same `_id`. Their documents come to the same key, so one of them stays,
/// the one whose collection's name sorts first, and the others are rejected as doubles, with their
/// elements. For the
/// way back from a row to its document each row has an entry in `migrate.id_map`. The ledger, reports and
/// messages show such an `_id` with the collection in front, as in `orders_2023/507f1f77bcf86cd799439011`.
/// Models that share one of several collections (see *Parts of a collection*) share all of them.
///
/// ```
/// # use migrate_core::Migrate;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// #[migrate(collection = ["orders_2023", "orders_2024"], table = "orders")]
/// struct Orders {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(origin, index)]
///     source: String,
///     total: i64,
/// }
///
/// let facts = Orders::MODEL.get();
/// assert!(facts.collections().eq(["orders_2023", "orders_2024"]));
/// ```
///
/// # On a field
///
/// ## Required, on one field
///
/// * `#[migrate(id)]`: the primary key, read from `_id`. Where `_id`s are of several types or documents,
///   `MixedId` keeps them as text and `Uuid` makes a UUID of each; a part of such a document is
///   `path = "_id.region"`. jsonb is no id, nor is an enum with `other`.
///
/// ## Optional: where it comes from and where it goes
///
/// * `#[migrate(rename = "createdAt")]`: the document key. Without it, the field's name.
/// * `#[migrate(alias = "created")]`: another key, read where those before it are not there. May
///   be given again.
/// * `#[migrate(column = "created_at")]`: the column. Without it, the field's name.
/// * `#[migrate(path = "address.zip")]`: a value inside embedded documents. A number between dots
///   is a position in an array; a dot in a key is written `\\.`. With it, aliases are paths too. So may
///   be an array for `#[junction(..)]` or `#[child(..)]`. A value on the way that is neither a document nor null rejects the document, because what it
///   holds would be lost.
/// * `#[migrate(flatten)]`, `#[migrate(flatten(prefix = "ship_"))]`: the columns of an embedded
///   document, for a field whose type is a struct with `#[migrate(embedded)]`. If the type is an
///   `Option` of it, its columns take NULL, and all of them are NULL where the document is
///   missing, null or empty. `present = "has_address"` adds a boolean column that keeps the three
///   apart: true for a document (an empty one too), false for null, NULL where it is missing.
/// * `#[migrate(extra)]`: all fields of the document that no other field takes or skips, as jsonb,
///   for a field of the type `Json` (`{}` where there are none) or `Option<Json>` (NULL). With
///   `json = "extended"` it keeps every BSON type.
/// * `#[migrate(when("owner.kind" = "User"))]`: the value is taken only from documents where that
///   key or path holds that text; else the column is NULL. Several fields may read one key so,
///   which makes a reference to one of several models several columns, see `one_of`.
/// * `#[migrate(skip)]`: no column. A run knows the key and does not report it as left over.
///
/// ```
/// # use migrate_core::Migrate;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// struct Users {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(rename = "eMail", alias = "mail", column = "email")]
///     mail: String,
///     #[migrate(skip)]
///     password: String,
/// }
///
/// let facts = Users::MODEL.get();
/// assert_eq!(facts.columns[1].keys, ["eMail", "mail"]);
/// assert_eq!(facts.columns[1].name, "email");
/// assert_eq!(facts.skipped, ["password"]);
/// ```
///
/// ```
/// # use migrate_core::{Json, Migrate};
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// #[migrate(one_of(owner_user, owner_company))]
/// struct Orders {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(path = "totals.gross")]
///     gross: i64,
///     #[migrate(rename = "shipTo", flatten(prefix = "ship_", present = "ships"))]
///     shipping: Option<Address>,
///     #[migrate(path = "owner.id", when("owner.kind" = "User"))]
///     #[fk(Users)]
///     owner_user: Option<Uuid>,
///     #[migrate(path = "owner.id", when("owner.kind" = "Company"))]
///     #[fk(Companies)]
///     owner_company: Option<Uuid>,
///     #[migrate(extra)]
///     rest: Option<Json>,
/// }
///
/// #[derive(Migrate)]
/// #[migrate(embedded, index(zip))]
/// struct Address {
///     street: String,
///     #[migrate(rename = "zipCode")]
///     zip: Option<String>,
/// }
/// # #[derive(Migrate)]
/// # struct Users { #[migrate(id)] id: Uuid }
/// # #[derive(Migrate)]
/// # struct Companies { #[migrate(id)] id: Uuid }
///
/// let facts = Orders::MODEL.get();
/// let names: Vec<_> = facts.columns.iter().map(|column| column.name).collect();
/// assert_eq!(names[..5], ["id", "gross", "ships", "ship_street", "ship_zip"]);
/// assert_eq!(facts.indexes[0].columns, ["ship_zip"]);
///
/// #[derive(Migrate)]
/// #[migrate(deny_unknown_fields)]
/// struct Settings {
///     #[migrate(id)]
///     id: String,
///     value: Option<String>,
/// }
///
/// assert!(Settings::MODEL.get().deny_unknown_fields);
/// ```
///
/// ## Optional: what becomes of a value
///
/// A field that is missing or null is NULL if its type is an `Option`, and else the document is
/// rejected.
///
/// * `#[migrate(default)]`, `#[migrate(default = 0)]`: the value where the field is missing, and
///   where it is null if the column takes no NULL. Alone it is `Default::default()`.
/// * `#[migrate(id_time)]`: as `default`, with the creation time inside the document's ObjectId.
/// * `#[migrate(empty_as_null)]`: an empty string counts as null.
/// * `#[migrate(json)]`: any BSON value as jsonb, for a field of the type `Json`: ids as hex,
///   dates as ISO 8601. `#[migrate(json = "extended")]` writes canonical Extended JSON, which
///   keeps every BSON type.
/// * `#[migrate(with = path)]`: a function of your own from the BSON value,
///   `fn(Value<'_>) -> Result<T, impl Display>` for a field of the type `T`. An error rejects the
///   document with that message.
/// * `#[migrate(compute = path)]`: a function of your own from the whole document,
///   `fn(&RawDocument) -> Result<T, impl Display>`.
///
/// ```
/// # use migrate_core::{Json, Migrate, Mismatch, Value};
/// # use chrono::NaiveDateTime;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// struct Products {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(default = "EUR")]
///     currency: String,
///     #[migrate(id_time)]
///     created: NaiveDateTime,
///     #[migrate(empty_as_null)]
///     image: Option<Uuid>,
///     #[migrate(json)]
///     details: Option<Json>,
///     #[migrate(with = cents)]
///     price: i64,
///     #[migrate(compute = bytes)]
///     size: i64,
/// }
///
/// /// Takes `"12.50"` as 1250.
/// fn cents(value: Value<'_>) -> Result<i64, Mismatch> {
///     value.as_str()?.replace('.', "").parse().map_err(Mismatch::own)
/// }
///
/// fn bytes(document: &bson::RawDocument) -> Result<i64, std::convert::Infallible> {
///     Ok(document.as_bytes().len() as i64)
/// }
///
/// assert!(Products::MODEL.get().columns[1].default.is_some());
/// ```
///
/// ## Optional: conversions that are not exact
///
/// A column takes a value that is exactly one of its type, and else the document is rejected. These
/// words ask for more, each by its name. They are *steps*: done one after the other, in the order
/// written, before the value becomes a cell. A step that has nothing to do with a value hands it on as
/// it is; what is no value of the column in the end is a reject, as without steps. On an array a step is
/// done to every element. Missing and null fields are seen to before, `empty_as_null` after the steps. The
/// id takes no steps: a document is found again by it.
///
/// * `#[migrate(trim)]`: white space, as Unicode knows it, is taken off both ends of a text.
/// * `#[migrate(split = ",")]`: a text becomes an array, cut at each separator; an empty text becomes
///   an empty array. The field is a `Vec`. A step before it sees the whole text, a step behind it each part.
/// * `#[migrate(map(A = "active", "N/A" = null))]`: a text that is a label on the left becomes the one on
///   the right, or null. Labels that are no names stand in quotes. Others are handed on.
/// * `#[migrate(lenient)]`: values of other types are read; see the table. With
///   `lenient("%Y-%m-%d %H:%M:%S%.f", "%d.%m.%Y")` a text becomes a time by the first of these formats, in
///   the language of [chrono](https://docs.rs/chrono/latest/chrono/format/strftime/index.html), that reads
///   it whole.
/// * `#[migrate(truncate)]`: what the column has no room for is cut off, never rounded: characters
///   beyond the n of `pg_type = "varchar(n)"`, digits behind the s of `numeric(p, s)`, the fraction for a
///   whole number, digits of the second beyond the n of `timestamp(n)` and beyond the microsecond for every
///   timestamp, the time of day for a date. Times are cut towards the past, numbers towards zero. A number
///   with too many digits before its point stays a reject.
/// * `#[migrate(nul = strip)]`, `#[migrate(nul = replace)]`: U+0000, which PostgreSQL cannot hold, is left
///   out of text, or becomes U+FFFD; in jsonb, out of every text inside.
/// * `#[migrate(on_invalid = null)]`, `#[migrate(on_invalid = default)]`: no step, and where it stands does
///   not matter. A value that is refused in the end does not reject the document: the column is NULL, or has
///   what `default = ..` says. Each is counted by column, and the summary of the run shows the counts with
///   an example. `on_invalid = reject` is what happens without the word. Bytes that are no BSON stay a reject.
///
/// What `lenient` reads, by the type of the column (of its elements, if it is an array). White space is
/// part of a text: where there may be some, write `trim` before it.
///
/// | column | reads | as |
/// |---|---|---|
/// | `bool` | numbers 0 and 1 of every type; `true t yes y on 1` and `false f no n off 0` in any case | that |
/// | whole numbers | a decimal text as `12`, `-12.00`, `1.2e3` | that number; with a fraction or out of range it is a reject |
/// | `Decimal` | a decimal text of up to 34 digits; `NaN`, `Infinity` | that number, its scale kept |
/// | `f32`, `f64` | a decimal text; a number of every type; `NaN`, `Infinity` | the nearest number that the type has |
/// | `String`, `PgEnum` | numbers and booleans | `5` (for 5 and 5.0), `12.75`, `true` |
/// | | ObjectIds, UUIDs | hex digits, with hyphens for UUIDs |
/// | | dates | ISO 8601, as `2024-02-29T23:59:59.001Z` |
/// | | symbols, code without scope, regular expressions | their text, `/pattern/options` |
/// | `Uuid` | a UUID as text | that UUID |
/// | timestamps and dates | ISO 8601: `2024-02-29`, `2024-02-29T23:59`, with a space for `T`, seconds of up to 9 digits, `Z` or an offset | that time; a time of day does not fit a date |
/// | | whole numbers | milliseconds since 1970; with formats their digits are read by these, and `%s` is seconds |
/// | | BSON timestamps | their seconds |
/// | `Vec<u8>` | binary of every subtype | its bytes; the subtype is lost |
/// | `Vector` | numbers in an array | the nearest float of four bytes |
/// | any array | a single value of the types above | an array of it |
///
/// A text without an offset is UTC; one with an offset is brought to UTC. A format without a time of day
/// means midnight. A double with a fraction is never rounded to a whole number, and nothing is read
/// from a text that is not a number to its last character.
///
/// ```
/// # use chrono::{NaiveDate, NaiveDateTime};
/// # use migrate_core::{Decimal, Json, Migrate, PgEnum};
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// struct Orders {
///     #[migrate(id)]
///     id: Uuid,
///     // " 12 " is 12, "N/A" and "" are NULL, "many" is NULL and counted.
///     #[migrate(trim, map("N/A" = null), lenient, empty_as_null, on_invalid = null)]
///     count: Option<i32>,
///     // "a, b" is {a,b}.
///     #[migrate(split = ",", trim)]
///     tags: Vec<String>,
///     // "A" is 'active', "B" is rejected.
///     #[migrate(map(A = "active", I = "inactive"))]
///     state: State,
///     // "29.02.2024" and "2024-02-29 23:59:59.5".
///     #[migrate(lenient("%Y-%m-%d %H:%M:%S%.f", "%d.%m.%Y"))]
///     paid_at: Option<NaiveDateTime>,
///     // The time of day is left out.
///     #[migrate(truncate)]
///     day: NaiveDate,
///     // 12.349 is 12.34.
///     #[migrate(truncate, pg_type = "numeric(10, 2)")]
///     total: Decimal,
///     // The first 80 characters, those that PostgreSQL has.
///     #[migrate(nul = replace, truncate, pg_type = "varchar(80)")]
///     note: String,
///     #[migrate(json, nul = strip)]
///     raw: Option<Json>,
///     // "yes", 1 and "TRUE" are true; what is neither is false, and counted.
///     #[migrate(lenient, default = false, on_invalid = default)]
///     shipped: bool,
/// }
///
/// #[derive(PgEnum)]
/// #[migrate(name = "order_state", rename_all = "lowercase")]
/// enum State {
///     Active,
///     Inactive,
/// }
///
/// use migrate_core::schema::{OnInvalid, Step};
/// let count = Orders::MODEL.get().column("count").unwrap().1;
/// assert_eq!(count.steps[0], Step::Trim);
/// assert_eq!(count.on_invalid, OnInvalid::Null);
/// ```
///
/// For texts as `1.234,56 €`, shares in percent and points with the latitude first there are functions for
/// `with` in `migrate_core::convert`.
///
/// ## Optional: the column
///
/// * `#[migrate(index)]`: an index on it alone.
/// * `#[migrate(unique)]`: a unique key on it alone.
/// * `#[migrate(pg_type = "varchar(3)")]`: its PostgreSQL type. Its limit is kept: a longer text
///   is a reject.
/// * `#[migrate(db_default = "now()")]`: its default in PostgreSQL, as SQL. It is for rows that
///   come later; a run writes every column.
///
/// ```
/// # use migrate_core::Migrate;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// struct Countries {
///     #[migrate(id, db_default = "gen_random_uuid()")]
///     id: Uuid,
///     #[migrate(unique, pg_type = "varchar(2)")]
///     code: String,
///     #[migrate(index)]
///     name: String,
/// }
///
/// assert_eq!(Countries::MODEL.get().columns[1].sql_type(), "varchar(2)");
/// ```
///
/// ## Optional: references
///
/// * `#[fk(Users)]`: a foreign key to the id of another model. `#[fk(Self)]` refers to the model
///   itself. Inside the parentheses, behind the model:
///   * `key = "code"`: another unique column of the other table.
///   * `on_delete = cascade`: what happens when the row there is deleted: `no_action` (which it is
///     without the word), `restrict`, `cascade`, `set_null`, `set_default`.
///   * `orphan = null`: what becomes of a reference to a row that is not there: `null` makes it
///     NULL and notes it, `reject` rejects the document, `keep` keeps the value and makes no
///     foreign key. Without it, NULL where the column takes NULL and else a reject.
///   * `deferred`: leaves the reference out of the loading order. Of models that refer to each
///     other in a circle one must say so.
/// * `#[junction(DocumentsToTasks)]`: an array of ids (a `Vec<Uuid>`) that becomes rows of a
///   junction and no column. Both of its sides may have such a field; the rows are the union
///   without duplicates. Inside the parentheses, behind the junction:
///   * `owner = document`: the junction's field (or in quotes its column) that refers to this
///     model, where both do.
///   * `position`: an element's place in the array, counted from 0, goes to the junction's field with
///     `#[migrate(position)]`; of several elements of one pair the first one's. Where the other side
///     has an array too, which gives no place, that field is an `Option`.
///
/// ```
/// # use migrate_core::Migrate;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// struct Users {
///     #[migrate(id)]
///     id: Uuid,
///     #[fk(Self, on_delete = set_null)]
///     boss: Option<Uuid>,
///     #[fk(Countries, key = "code", orphan = keep)]
///     country: String,
///     #[fk(Teams, deferred)]
///     team: Option<Uuid>,
///     #[junction(Friends, owner = user, position)]
///     friends: Vec<Uuid>,
/// }
///
/// #[derive(Migrate)]
/// struct Teams {
///     #[migrate(id)]
///     id: Uuid,
///     #[fk(Users, on_delete = cascade, orphan = reject)]
///     leader: Option<Uuid>,
/// }
///
/// #[derive(Migrate)]
/// #[migrate(junction)]
/// struct Friends {
///     #[fk(Users, on_delete = cascade)]
///     user: Uuid,
///     #[fk(Users, on_delete = cascade)]
///     friend: Uuid,
///     #[migrate(position)]
///     place: i32,
/// }
/// # #[derive(Migrate)]
/// # struct Countries { #[migrate(id)] id: Uuid, #[migrate(unique)] code: String }
///
/// let country = Users::MODEL.get().column("country").unwrap().1.reference.unwrap();
/// assert_eq!((country.target.get().name, country.key), ("Countries", Some("code")));
/// ```
///
/// ## Optional: child tables
///
/// * `#[child(Rentals)]`: an array of embedded documents (`Vec<Rentals>`) that becomes rows of the
///   child's table and no column. A document whose keys are data, `HashMap<String, Rentals>`, is one
///   too. A child may have children, to any depth, and so may an embedded document, whose child has
///   the model that flattens it as its parent. Inside the parentheses, behind the child:
///   * `on_reject = document`: an element that cannot be converted rejects the whole document (one
///     that only the target refuses, for a key or a reference, does not). Without it, which is
///     `on_reject = element`, the document is loaded without the element.
///
/// In the child, which is a struct with `#[migrate(child)]`, fields are read from the element. Four
/// words take what its place tells:
///
/// * `#[migrate(parent)]`: the id of the row that the element belongs to. Required, with `#[fk(..)]`
///   to the parent's model and with the type of the parent's id.
/// * `#[migrate(position)]`: its place, counted from 0. With the parent it makes a key:
///   `primary_key(film, billing)`.
/// * `#[migrate(key)]`: its key in a map, a text; `lenient` reads a number of it.
/// * `#[migrate(value)]`: the element itself, where it is no document, as in an array of strings.
///
/// The child's `#[migrate(id)]` is read from the element's own `_id`. Where it has none, a `Uuid` is
/// made of the parent's `_id` and the place (version 5), always the same. `rename` names another
/// key, `#[migrate(id, rename = "rentalId")]`. An element that is refused is a reject of its own; the
/// elements of a document that is rejected are rejected with it.
///
/// ```
/// # use migrate_core::Migrate;
/// # use std::collections::HashMap;
/// # use uuid::Uuid;
/// #[derive(Migrate)]
/// struct Films {
///     #[migrate(id)]
///     id: i32,
///     #[child(Casting, on_reject = document)]
///     #[migrate(rename = "Actors")]
///     actors: Vec<Casting>,
///     #[child(Labels)]
///     labels: Option<Vec<Labels>>,
///     #[child(Titles)]
///     titles: HashMap<String, Titles>,
/// }
///
/// /// A junction with payload: `Actors: [{ actorId: 1, role: ".." }]`.
/// #[derive(Migrate)]
/// #[migrate(child, unique(film, actor))]
/// struct Casting {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(parent)]
///     #[fk(Films, on_delete = cascade)]
///     film: i32,
///     #[fk(Actors)]
///     #[migrate(rename = "actorId")]
///     actor: i32,
///     #[migrate(position)]
///     billing: i32,
///     role: Option<String>,
/// }
///
/// /// Scalars: `labels: ["drama", "short"]`.
/// #[derive(Migrate)]
/// #[migrate(child)]
/// struct Labels {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(parent)]
///     #[fk(Films, on_delete = cascade)]
///     film: i32,
///     #[migrate(value)]
///     label: String,
/// }
///
/// /// A map: `titles: { en: { text: ".." }, de: { text: ".." } }`.
/// #[derive(Migrate)]
/// #[migrate(child)]
/// struct Titles {
///     #[migrate(id)]
///     id: Uuid,
///     #[migrate(parent)]
///     #[fk(Films, on_delete = cascade)]
///     film: i32,
///     #[migrate(key)]
///     language: String,
///     text: String,
/// }
/// # #[derive(Migrate)]
/// # struct Actors { #[migrate(id)] id: i32 }
///
/// let films = Films::MODEL.get();
/// assert_eq!(films.columns.len(), 1);
/// assert_eq!(films.children[0].table.get().name, "Casting");
/// assert_eq!(Casting::MODEL.get().parent().unwrap().0.name, "Films");
/// ```
#[proc_macro_derive(Migrate, attributes(migrate, fk, junction, child))]
pub fn derive_migrate(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    migrate(input.into()).into()
}

/// Makes an enum a PostgreSQL enum type: each variant is a label, in order.
///
/// # On the enum
///
/// ## Optional
///
/// * `#[migrate(name = "task_status")]`: the type's name. Without it, the enum's name.
/// * `#[migrate(schema = "crm")]`: the type's schema. Without it, the one that the run is told.
/// * `#[migrate(rename_all = "UPPERCASE")]`: makes labels of variants' names, by one of serde's
///   rules, which `#[derive(Migrate)]` lists.
///
/// # On a variant
///
/// ## Optional
///
/// * `#[migrate(rename = "In progress")]`: the label. Without it, the variant's name.
/// * `#[migrate(other)]`, on one variant: a text that is no label becomes this one in a column, and
///   is counted; the summary of the run shows the count with an example. Without it, such a text
///   rejects the document.
///
/// ```
/// use migrate_core::PgEnum;
///
/// #[derive(PgEnum)]
/// #[migrate(name = "task_status", rename_all = "UPPERCASE")]
/// enum TaskStatus {
///     Active,
///     #[migrate(rename = "In progress")]
///     InProgress,
///     #[migrate(other)]
///     Unknown,
/// }
///
/// assert_eq!(TaskStatus::ENUM.name, "task_status");
/// assert_eq!(TaskStatus::ENUM.labels, ["ACTIVE", "In progress", "UNKNOWN"]);
/// assert_eq!(TaskStatus::ENUM.other, Some("UNKNOWN"));
/// ```
#[proc_macro_derive(PgEnum, attributes(migrate))]
pub fn derive_pg_enum(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    pg_enum(input.into()).into()
}

/// Names the models of a migration, and makes the order in which they are loaded.
///
/// The macro makes a unit struct that implements `Registry`. The models may come from any modules
/// and crates; their order does not matter. A model that refers to one that is not named, two
/// models for one table and the same model twice are compile errors.
///
/// ```
/// # use migrate_core::{Migrate, PgEnum};
/// # use uuid::Uuid;
/// use migrate_core::{Registry, registry};
///
/// #[derive(Migrate)]
/// pub struct Users {
///     #[migrate(id)]
///     id: Uuid,
/// }
///
/// #[derive(Migrate)]
/// pub struct Orders {
///     #[migrate(id)]
///     id: Uuid,
///     #[fk(Users)]
///     user: Uuid,
/// }
///
/// #[derive(PgEnum)]
/// pub enum Language {
///     English,
///     German,
/// }
///
/// registry! {
///     /// All that the shop has.
///     pub Shop = [Orders, Users];
///     // Enum types that no column has, and that are made all the same.
///     enums = [Language]
/// }
///
/// assert_eq!(Shop::FACTS.phases, [1, 0]);
/// ```
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
