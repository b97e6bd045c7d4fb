//! A second path from a document to its row, for `--independent`: whatever the transformer does
//! wrong, it does wrong while loading and while comparing, so its own output proves nothing about
//! it.
//!
//! [`Path`] reads the same facts of the model, decodes the whole document and works on text, as
//! plainly and slowly as possible. It shares no conversion with the transformer: not the walk, not
//! the cells, not the identity. What it cannot know (a function of the user's, a type of the
//! user's, a fact that this file was not told of) it does not guess: the column is on the list of
//! [`Path::unchecked`], which the report names.
//!
//! The rules: `_id` becomes the key. The first of a field's keys that is present counts. Missing
//! or null is NULL, a default, the time inside the id, or a reject, in the order of
//! `Path::absent`. An empty string is null where the model says so. What is not exact is
//! rejected.

pub(super) mod compare;
mod value;

use std::collections::HashSet;

use bson::{Bson, Document, RawBsonRef, RawDocument};
use serde::{Deserialize, Serialize};

use self::value::{Kind, Limit};
use crate::cell::{CellContext, PLACEHOLDER_OID, Role, Wrote};
use crate::id::IdScheme;
use crate::schema::{
    BaseType, CellType, Column, Convert, EnumType, JunctionField, KEY_SEPARATOR, Literal, Model,
    ModelKind, OnInvalid, Reference, When, key_path,
};

pub use self::value::Refused;

/// A column of which the second path says nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unchecked {
    /// The column, a junction's field, or `*` for the whole table.
    pub column: String,
    /// Why.
    pub why: String,
}

/// One cell as the second path expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// NULL.
    Null,
    /// The value, in the form of [`Path::found`].
    Text(String),
    /// The column is not checked.
    Unknown,
}

/// One row as the second path expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The cells in the order of the model's columns.
    pub cells: Vec<Expected>,
    /// For each junction field the ids in its array; `None` is an element that is no id.
    pub elements: Vec<Vec<Option<String>>>,
}

/// Why a document should not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field's key; empty for the whole document.
    pub field: String,
    /// The reason's code in the ledger.
    pub reason: Refused,
}

/// The second path of one model.
#[derive(Debug)]
pub struct Path {
    model: &'static Model,
    ids: IdScheme,
    /// For each column how it is checked; `None` is not at all.
    rules: Vec<Option<Rule>>,
    /// For each junction field what its elements are, and the model whose ids they are.
    elements: Vec<Option<(Kind, Option<&'static Model>)>>,
    unchecked: Vec<Unchecked>,
    /// The keys that the model takes.
    taken: HashSet<&'static str>,
    /// The other models of the collection, where documents that none takes are this one's rejects.
    siblings: Vec<&'static Model>,
}

/// Whose a document of the collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The model's.
    This,
    /// Another model's, or left out.
    Another,
    /// No model's, which this one has to reject.
    Nobody,
}

#[derive(Debug)]
struct Rule {
    kind: Kind,
    limit: Limit,
    keys: &'static [&'static str],
    nullable: bool,
    is_id: bool,
    id_time: bool,
    empty_as_null: bool,
    default: Option<Expected>,
    /// Whether only the presence of the value is asked for.
    presence: bool,
    required: bool,
    within: Option<&'static str>,
    when: Option<When>,
}

impl Rule {
    /// Whether the column is NULL whatever its keys hold.
    fn is_off(&self, document: &Document, taken: &HashSet<&'static str>) -> Result<bool, Refusal> {
        if let Some(path) = self.within {
            let is_there = match find(document, path, taken)? {
                None | Some(Bson::Null) => false,
                Some(Bson::Document(inner)) => !inner.is_empty(),
                Some(Bson::Array(inner)) => !inner.is_empty(),
                Some(_) => true,
            };
            if !is_there {
                return Ok(true);
            }
        }
        match self.when {
            None => Ok(false),
            Some(When { key, is }) => {
                Ok(find(document, key, taken)? != Some(&Bson::String(is.to_owned())))
            }
        }
    }
}

/// The model whose `_id`s a reference holds.
fn id_target(reference: Option<&Reference>) -> Option<&'static Model> {
    let target = reference?.target.get();
    match reference?.key {
        Some(key) => target.column(key)?.1.primary_key.then_some(target),
        None => Some(target),
    }
}

/// The id in a DBRef or a DBPointer to the target's collection, and any other value as it is.
fn referred(value: &Bson, target: Option<&'static Model>) -> Result<Bson, Refused> {
    let Some(target) = target else { return Ok(value.clone()) };
    let (collection, id) = match value {
        Bson::Document(document) => match (document.get("$ref"), document.get("$id")) {
            (Some(Bson::String(collection)), Some(id)) => (collection.clone(), id.clone()),
            _ => return Ok(value.clone()),
        },
        Bson::DbPointer(_) => {
            let json = value.clone().into_canonical_extjson();
            let text = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_str);
            let (Some(namespace), Some(id)) =
                (text("/$dbPointer/$ref"), text("/$dbPointer/$id/$oid"))
            else {
                return Err("type");
            };
            // The name of the database may stand in front.
            let collection = match namespace.split_once('.') {
                Some((_, collection)) if !target.collections().any(|name| name == namespace) => {
                    collection
                }
                _ => namespace,
            };
            let id = bson::oid::ObjectId::parse_str(id).map_err(|_| "type")?;
            (collection.to_owned(), Bson::ObjectId(id))
        }
        value => return Ok(value.clone()),
    };
    if target.collections().any(|name| name == collection) { Ok(id) } else { Err("type") }
}

/// Whether a model's `when` holds, all of it.
fn chooses(model: &Model, document: Option<&RawDocument>) -> bool {
    model.when.iter().all(|choice| {
        let mut keys = choice.key.split(KEY_SEPARATOR);
        // A locator that pushes `_id` aside stands in no document.
        let first = keys.next().unwrap_or_default().trim_start_matches('\u{1}');
        let mut fields = document.into_iter().flat_map(|raw| raw.iter().map_while(Result::ok));
        let found = fields.find(|(key, _)| key.as_str() == first);
        let mut value = found.and_then(|(_, value)| Bson::try_from(value).ok());
        for key in keys {
            value = match value {
                Some(Bson::Document(inner)) => inner.get(key).cloned(),
                Some(Bson::Array(inner)) => {
                    key.parse::<usize>().ok().and_then(|place| inner.get(place).cloned())
                }
                _ => None,
            };
        }
        choice.any_of.iter().any(|literal| match (literal, &value) {
            (Literal::Text(text), Some(Bson::String(found) | Bson::Symbol(found))) => found == text,
            (Literal::Bool(truth), Some(Bson::Boolean(found))) => found == truth,
            (Literal::Null, None | Some(Bson::Null)) => true,
            (Literal::Number(number), Some(found)) => {
                let whole =
                    value::expected(Kind::Scalar(BaseType::Int8), Limit::None, IdScheme::V8, found);
                whole.is_ok_and(|text| text == number.to_string())
            }
            _ => false,
        })
    })
}

/// The value at a key, or at a path through embedded documents and places in arrays.
fn find<'a>(
    document: &'a Document,
    path: &str,
    taken: &HashSet<&'static str>,
) -> Result<Option<&'a Bson>, Refusal> {
    let mut keys = path.split(KEY_SEPARATOR);
    let mut done = keys.next().unwrap_or_default().to_owned();
    let mut value = document.get(&done);
    for key in keys {
        value = match (value, key.parse::<usize>()) {
            (None | Some(Bson::Null), _) => return Ok(None),
            (Some(Bson::Document(inner)), _) => inner.get(key),
            (Some(Bson::Array(inner)), Ok(place)) => inner.get(place),
            // Where the value is wanted as it is, it need not be a document.
            _ if taken.contains(done.as_str()) => return Ok(None),
            _ => return Err(Refusal { field: key_path(&done), reason: "type" }),
        };
        done.push(KEY_SEPARATOR);
        done.push_str(key);
    }
    Ok(value)
}

impl Path {
    /// The second path of a collection's model. `None`, with the reason, where it cannot say
    /// anything about its rows.
    ///
    /// # Errors
    /// What is not checked, when that is the whole model.
    pub fn new(model: &'static Model, ids: IdScheme) -> Result<Self, Unchecked> {
        let whole = |why: &str| Unchecked { column: "*".to_owned(), why: why.to_owned() };
        // Every fact is named here, so that one that is added is thought about: what it changes
        // of a row is followed below, or its model is not checked.
        let Model {
            name: _,
            module: _,
            collection: _,
            further_collections: _,
            schema: _,
            table: _,
            kind,
            when,
            filter,
            columns,
            junctions,
            children,
            skipped: _,
            indexes: _,
            deny_unknown_fields,
            one_of: _,
            own_key: _,
            checks: _,
        } = model;
        match kind {
            ModelKind::Collection => {}
            ModelKind::Child => return Err(whole("its rows are elements of documents")),
            ModelKind::Junction | ModelKind::Embedded => {
                return Err(whole("its rows are no documents"));
            }
        }
        if children.iter().any(|child| child.strict) {
            return Err(whole("its documents are rejected with their elements"));
        }
        let mut path = Self {
            model,
            ids,
            rules: Vec::new(),
            elements: Vec::new(),
            unchecked: Vec::new(),
            taken: HashSet::from(["_id"]),
            siblings: Vec::new(),
        };
        path.taken.extend(when.iter().map(|choice| choice.key));
        if filter.is_some() {
            path.unchecked.push(Unchecked {
                column: "filter".to_owned(),
                why: "which documents are left out is a function of the user's to say".to_owned(),
            });
        }
        for column in *columns {
            path.taken.extend(column.keys);
            match rule(column) {
                Ok(rule) => path.rules.push(Some(rule)),
                Err(why) => {
                    path.rules.push(None);
                    path.unchecked.push(Unchecked { column: column.name.to_owned(), why });
                }
            }
        }
        path.taken.extend(children.iter().flat_map(|child| child.keys));
        for field in *junctions {
            let JunctionField {
                field: name,
                keys,
                table,
                owner: _,
                position: _,
                ty,
                encode: _,
                rust_type,
            } = field;
            path.taken.extend(*keys);
            let kind = kind_of(rust_type(), *ty);
            if let Err(why) = &kind {
                path.unchecked.push(Unchecked { column: (*name).to_owned(), why: why.clone() });
            }
            let junction = table.get();
            let (_, other) = field.sides(model);
            let target = id_target(junction.columns[other].reference.as_ref());
            path.elements.push(kind.ok().map(|kind| (kind, target)));
        }
        if *deny_unknown_fields {
            path.unchecked.push(Unchecked {
                column: "deny_unknown_fields".to_owned(),
                why: "which fields nothing takes is not looked at".to_owned(),
            });
        }
        let id = columns.iter().position(|column| column.primary_key);
        match id.and_then(|id| path.rules[id].as_ref()) {
            Some(_) => Ok(path),
            None => Err(whole("its key is made by a function or a type of the user's")),
        }
    }

    /// Has documents that neither this model nor one of these takes as this one's rejects.
    #[must_use]
    pub fn answer_for(mut self, siblings: &[&'static Model]) -> Self {
        self.siblings = siblings.to_vec();
        self
    }

    /// The model.
    pub fn model(&self) -> &'static Model {
        self.model
    }

    /// Whose a document of the collection is.
    pub fn owner(&self, bytes: &[u8]) -> Owner {
        let raw = RawDocument::from_bytes(bytes).ok();
        if chooses(self.model, raw) {
            return match (self.model.filter, raw) {
                (Some(filter), Some(raw)) if !filter(raw) => Owner::Another,
                _ => Owner::This,
            };
        }
        let by_another = self.siblings.iter().any(|sibling| chooses(sibling, raw));
        if self.siblings.is_empty() || by_another { Owner::Another } else { Owner::Nobody }
    }

    /// The columns and junction fields that are not checked.
    pub fn unchecked(&self) -> &[Unchecked] {
        &self.unchecked
    }

    /// Whether a document may be rejected for this field and reason without this path knowing of
    /// it.
    pub fn is_unchecked(&self, field: &str, reason: &str) -> bool {
        if self.model.deny_unknown_fields && reason == "unknown_field" {
            return true;
        }
        let field = field.split('.').next().unwrap_or_default();
        self.model.columns.iter().zip(&self.rules).any(|(column, rule)| {
            rule.is_none() && (column.keys.contains(&field) || column.field == field)
        })
    }

    /// Decodes a document.
    ///
    /// # Errors
    /// A [`Refusal`] when a key that the model takes stands in it twice, or it is no BSON.
    pub fn decode(&self, bytes: &[u8]) -> Result<Document, Refusal> {
        let malformed = |_| Refusal { field: String::new(), reason: "malformed" };
        let raw = RawDocument::from_bytes(bytes).map_err(malformed)?;
        if let Some(field) = self.key_twice(raw, "") {
            return Err(Refusal { field: key_path(&field), reason: "duplicate_key" });
        }
        Document::from_reader(bytes)
            .map_err(|_| Refusal { field: String::new(), reason: "malformed" })
    }

    /// A document of one of several collections as the model's keys name its parts: its `_id` has
    /// another name, and its collection is a field.
    pub fn gather(&self, mut document: Document, collection: &str) -> Document {
        if !self.model.further_collections.is_empty() {
            if let Some(id) = document.remove("_id") {
                document.insert(crate::feed::OWN_ID, id);
            }
            document.insert(crate::feed::ORIGIN, collection);
        }
        document
    }

    /// A key that the model takes and that stands twice in a document, or in one inside it.
    fn key_twice(&self, raw: &RawDocument, inside: &str) -> Option<String> {
        let mut seen = HashSet::new();
        for (key, value) in raw.iter().flatten() {
            let path = format!("{inside}{}", key.as_str());
            let deeper = format!("{path}{KEY_SEPARATOR}");
            let leads_deeper = self.taken.iter().any(|taken| taken.starts_with(&deeper));
            if !leads_deeper && !self.taken.contains(path.as_str()) {
                continue;
            }
            let is_json = self.model.columns.iter().any(|column| {
                column.ty.base == BaseType::Jsonb && column.keys.contains(&path.as_str())
            });
            if !seen.insert(path.clone()) || (is_json && has_key_twice(value)) {
                return Some(path);
            }
            if leads_deeper
                && let RawBsonRef::Document(raw) = value
                && let Some(path) = self.key_twice(raw, &deeper)
            {
                return Some(path);
            }
        }
        None
    }

    /// The row of a document, before references are looked up.
    ///
    /// # Errors
    /// The first column's refusal.
    pub fn row(&self, document: &Document) -> Result<Row, Refusal> {
        let taken = &self.taken;
        let mut cells = Vec::with_capacity(self.rules.len());
        for (rule, column) in self.rules.iter().zip(self.model.columns) {
            let Some(rule) = rule else {
                cells.push(Expected::Unknown);
                continue;
            };
            let mut read = None;
            for key in rule.keys {
                if let Some(value) = find(document, key, taken)? {
                    read = Some((*key, value));
                    break;
                }
            }
            let value = read.map(|(_, value)| value);
            let key = read.map(|(key, _)| key).or(rule.keys.first().copied());
            let refusal = |reason| Refusal { field: key_path(key.unwrap_or(column.field)), reason };
            if rule.is_off(document, taken)? {
                cells.push(Expected::Null);
                continue;
            }
            if rule.presence {
                cells.push(match value {
                    None => Expected::Null,
                    Some(value) => Expected::Text((*value != Bson::Null).to_string()),
                });
                continue;
            }
            let value = match value {
                Some(value) => {
                    Some(referred(value, id_target(column.reference.as_ref())).map_err(refusal)?)
                }
                None => None,
            };
            let is_null = match &value {
                Some(Bson::Null) => true,
                Some(Bson::String(text)) => rule.empty_as_null && text.is_empty(),
                _ => false,
            };
            cells.push(match &value {
                Some(value) if !is_null => {
                    let text = match (rule.is_id, rule.kind) {
                        (true, Kind::Scalar(BaseType::Uuid)) => value::own_id(self.ids, value),
                        _ => value::expected(rule.kind, rule.limit, self.ids, value)
                            .map_err(refusal)?,
                    };
                    Expected::Text(text)
                }
                _ => self.absent(rule, is_null, document).map_err(refusal)?,
            });
        }
        for group in self.model.one_of {
            let of = |name: &&str| Some(&cells[self.model.column(name)?.0]);
            let group_cells: Vec<&Expected> = group.columns.iter().filter_map(of).collect();
            if group_cells.contains(&&Expected::Unknown) {
                continue;
            }
            if group_cells.iter().filter(|cell| ***cell != Expected::Null).count() != 1 {
                let column = group.columns.first().and_then(|name| self.model.column(name));
                let field = column.map(|(_, column)| column.keys.first().unwrap_or(&column.field));
                let field = field.map(|field| key_path(field)).unwrap_or_default();
                return Err(Refusal { field, reason: "constraint" });
            }
        }
        let mut elements = Vec::with_capacity(self.elements.len());
        for (field, kind) in self.model.junctions.iter().zip(&self.elements) {
            let Some((kind, target)) = kind else {
                elements.push(Vec::new());
                continue;
            };
            let one = |element: &Bson| match referred(element, *target).ok()? {
                Bson::Null => None,
                element => value::expected(*kind, Limit::None, self.ids, &element).ok(),
            };
            let mut value = None;
            for key in field.keys {
                value = value.or(find(document, key, taken)?);
            }
            elements.push(match value {
                None | Some(Bson::Null) => Vec::new(),
                Some(Bson::Array(elements)) => elements.iter().map(one).collect(),
                Some(single) => vec![one(single)],
            });
        }
        Ok(Row { cells, elements })
    }

    /// The key that an `_id` gives.
    pub fn key(&self, id: &Bson) -> Option<String> {
        let rule = self.rules[self.id_column()].as_ref()?;
        match rule.kind {
            Kind::Scalar(BaseType::Uuid) => Some(value::own_id(self.ids, id)),
            kind => value::expected(kind, rule.limit, self.ids, id).ok(),
        }
    }

    /// The cell of a field that is missing or null.
    fn absent(&self, rule: &Rule, is_null: bool, document: &Document) -> Result<Expected, Refused> {
        let takes_null = rule.nullable && !rule.required;
        if is_null && takes_null {
            return Ok(Expected::Null);
        }
        if let Some(default) = &rule.default {
            return Ok(default.clone());
        }
        if rule.id_time
            && let id = document.get("_id").or(document.get(crate::feed::OWN_ID))
            && let Some(seconds) = value::id_seconds(id)
        {
            let time = Bson::DateTime(bson::DateTime::from_millis(seconds * 1000));
            return value::expected(rule.kind, rule.limit, self.ids, &time).map(Expected::Text);
        }
        if takes_null { Ok(Expected::Null) } else { Err("missing") }
    }

    /// The position of the key's column.
    pub fn id_column(&self) -> usize {
        self.model.columns.iter().position(|column| column.primary_key).unwrap_or_default()
    }

    /// A cell as PostgreSQL prints it (`::text`), in the form of [`Expected::Text`].
    pub fn found(&self, column: usize, text: &str) -> String {
        match &self.rules[column] {
            Some(rule) => value::found(rule.kind, text),
            None => text.to_owned(),
        }
    }

    /// The default of a column, where it has one that is understood.
    pub fn default_of(&self, column: usize) -> Option<&Expected> {
        self.rules[column].as_ref()?.default.as_ref()
    }
}

/// What PostgreSQL is told before it prints cells for [`Path::found`].
pub const SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD';
    SET bytea_output = 'hex'; SET extra_float_digits = 1";

/// How a column is checked, or why it is not.
fn rule(column: &'static Column) -> Result<Rule, String> {
    // As in `Path::new`: every fact is named.
    let Column {
        name: _,
        field: _,
        keys,
        ty,
        pg_type,
        nullable,
        primary_key,
        unique: _,
        index: _,
        convert,
        default,
        db_default: _,
        id_time,
        empty_as_null,
        reference: _,
        within,
        required,
        when,
        rust_type,
        steps,
        on_invalid,
        mixed,
    } = column;
    // The conversions that are not exact have one implementation only.
    if let [step, ..] = steps {
        return Err(format!("the model asks for `{}`", step.word()));
    }
    if *on_invalid != OnInvalid::Reject {
        return Err("the model asks for `on_invalid`".to_owned());
    }
    if *mixed {
        return Err("its text holds ids of several types".to_owned());
    }
    match convert {
        Convert::Value(_) | Convert::Presence => {}
        Convert::Document(_) => return Err("it is computed by a function of the user's".into()),
        Convert::Rest(_) => return Err("it takes the fields that nothing else takes".into()),
    }
    let kind = kind_of(rust_type(), *ty)?;
    let limit = pg_type.map_or(Ok(Limit::None), |pg_type| limit_of(pg_type, *ty))?;
    let default = default.map(|write| {
        let mut payload = Vec::new();
        let context = CellContext {
            ids: IdScheme::V8,
            role: Role::Plain,
            element_oid: PLACEHOLDER_OID,
            limit: crate::cell::Limit::None,
            server_version: 0,
        };
        match write(&context, &mut payload) {
            Ok(Wrote::Null) => Expected::Null,
            Ok(Wrote::Payload) => default_text(*ty, &payload),
            Err(_) => Expected::Unknown,
        }
    });
    Ok(Rule {
        kind,
        limit,
        keys,
        nullable: *nullable,
        is_id: *primary_key,
        id_time: *id_time,
        empty_as_null: *empty_as_null,
        default,
        presence: matches!(convert, Convert::Presence),
        required: *required,
        within: *within,
        when: *when,
    })
}

/// The text of a default, which the facts hold as a cell; not known for the types that no default
/// has been seen of.
fn default_text(ty: CellType, payload: &[u8]) -> Expected {
    if ty.dimensions > 0 {
        // Its number of dimensions is 0: the empty array.
        return match payload.starts_with(&[0; 4]) {
            true => Expected::Text("[]".to_owned()),
            false => Expected::Unknown,
        };
    }
    let whole = || payload.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let text = match ty.base {
        BaseType::Bool => Some((payload == [1]).to_string()),
        BaseType::Int2 => Some((whole() as i16).to_string()),
        BaseType::Int4 => Some((whole() as i32).to_string()),
        BaseType::Int8 => Some((whole() as i64).to_string()),
        BaseType::Float8 => {
            Some(value::found(Kind::Scalar(ty.base), &f64::from_bits(whole()).to_string()))
        }
        BaseType::Text | BaseType::Enum(_) => String::from_utf8(payload.to_vec()).ok(),
        BaseType::Jsonb => payload
            .get(1..)
            .and_then(|json| std::str::from_utf8(json).ok())
            .map(|json| value::found(Kind::Scalar(ty.base), json)),
        _ => None,
    };
    text.map_or(Expected::Unknown, Expected::Text)
}

/// What a Rust type makes a cell of; an error for types whose conversion is the user's own.
fn kind_of(rust_type: &str, ty: CellType) -> Result<Kind, String> {
    let unknown = || match rust_type {
        "fn" => "it is converted by a function that the model names".to_owned(),
        rust_type => format!("its type `{rust_type}` has a conversion of its own"),
    };
    let inner = |text: &'static str, name: &str| {
        name.strip_prefix(text).and_then(|rest| rest.strip_suffix('>')).map(str::to_owned)
    };
    let mut name = rust_type.to_owned();
    if let Some(some) = inner("core::option::Option<", &name) {
        name = some;
    }
    let mut dimensions = 0;
    let mut nullable = false;
    while let Some(element) = inner("alloc::vec::Vec<", &name) {
        if element == "u8" {
            name = "bytes".to_owned();
            break;
        }
        dimensions += 1;
        name = element;
        if let Some(some) = inner("core::option::Option<", &name) {
            nullable = true;
            name = some;
        }
    }
    let base = match name.as_str() {
        "bool" => BaseType::Bool,
        "i16" => BaseType::Int2,
        "i32" => BaseType::Int4,
        "i64" => BaseType::Int8,
        "f32" => BaseType::Float4,
        "f64" => BaseType::Float8,
        "alloc::string::String" | "&str" => BaseType::Text,
        "uuid::Uuid" => BaseType::Uuid,
        "chrono::naive::datetime::NaiveDateTime" => BaseType::Timestamp,
        "chrono::datetime::DateTime<chrono::offset::utc::Utc>" => BaseType::TimestampTz,
        "chrono::naive::date::NaiveDate" => BaseType::Date,
        "migrate_core::cell::numeric::Decimal" => BaseType::Numeric,
        "migrate_core::cell::json::Json" => BaseType::Jsonb,
        "bytes" => BaseType::Bytea,
        _ => match ty.base {
            // Every type of an enum is made by the derive, which takes its labels as they are.
            BaseType::Enum(labels) => {
                let EnumType { name: _, schema: _, labels: _, other } = labels;
                if other.is_some() {
                    return Err("its enum takes other labels".to_owned());
                }
                ty.base
            }
            _ => return Err(unknown()),
        },
    };
    if base != ty.base || dimensions != ty.dimensions || dimensions > 2 {
        return Err(unknown());
    }
    Ok(match dimensions {
        0 => Kind::Scalar(base),
        dimensions => Kind::List(base, dimensions, nullable),
    })
}

/// What a type of the DDL restricts.
fn limit_of(pg_type: &str, ty: CellType) -> Result<Limit, String> {
    let unknown = || format!("the type `{pg_type}` is not known here");
    let lower = pg_type.to_ascii_lowercase();
    let lower = lower.trim_end_matches(['[', ']', ' ']);
    let (name, arguments) = match lower.split_once('(') {
        Some((name, rest)) => {
            let numbers = rest.trim_end_matches(')').split(',').map(|number| number.trim().parse());
            (name.trim(), numbers.collect::<Result<Vec<i64>, _>>().map_err(|_| unknown())?)
        }
        None => (lower, Vec::new()),
    };
    Ok(match (name, arguments.as_slice()) {
        ("varchar" | "character varying" | "char" | "character" | "bpchar", [chars]) => {
            Limit::Chars(*chars as usize)
        }
        ("timestamp" | "timestamptz", [digits]) => Limit::SecondDigits(*digits as u32),
        ("numeric" | "decimal", [precision]) => Limit::Numeric(*precision, 0),
        ("numeric" | "decimal", [precision, scale]) => Limit::Numeric(*precision, *scale),
        (name, []) if name == ty.base.name() || name == "varchar" => Limit::None,
        _ => return Err(unknown()),
    })
}

/// Whether an object anywhere inside a value has a key twice.
fn has_key_twice(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Document(document) => {
            let mut seen = HashSet::new();
            document
                .iter()
                .flatten()
                .any(|(key, value)| !seen.insert(key.as_str().to_owned()) || has_key_twice(value))
        }
        RawBsonRef::Array(array) => array.into_iter().flatten().any(has_key_twice),
        _ => false,
    }
}
