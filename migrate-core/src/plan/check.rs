//! The rules between models, and those that need a type: what generated code asks in
//! `const _: () = ..`, spanned at the token that is wrong.
//!
//! Each rule searches first and panics last, and the function that panics is marked
//! `track_caller`, so that rustc shows the user's line and none of ours. A model whose derive has
//! reported errors has no columns (the derive's fallback); nothing more is said about it.

use super::text::Text;
use super::{cycle, is_junction, position};
use crate::feed;
use crate::schema::{
    BaseType, CellType, ChildShape, Choice, Column, EnumType, JunctionField, Literal, Model,
    ModelKind, ModelRef, Step, str_eq,
};

/// Checks the foreign key on a column: that its target can be referred to, that the key there has
/// the same type, and that the loading order it asks for exists.
///
/// # Panics
/// In const evaluation, with what is wrong and how to mend it.
#[track_caller]
pub const fn reference(model: &'static Model, column: usize) {
    tell(&reference_fault(model, column));
}

/// Checks the `key` of a foreign key: that the target has such a column, and that it is unique.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn key(model: &'static Model, column: usize) {
    tell(&key_fault(model, column));
}

/// Checks that a column takes NULL, as the `word` of its foreign key needs it.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn takes_null(model: &'static Model, column: usize, word: &str) {
    tell(&takes_null_fault(model, column, word));
}

/// Checks that a column of the primary key takes no NULL.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn primary_key(model: &'static Model, column: usize) {
    tell(&primary_key_fault(model, column));
}

/// Checks that a column takes the name of a collection, which is its `origin`.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn origin(model: &'static Model, column: usize) {
    tell(&origin_fault(model, column));
}

/// Checks that a column takes the key of a map.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn map_key(model: &'static Model, column: usize) {
    tell(&map_key_fault(model, column));
}

/// Checks that a column with `id_time` is a time.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn id_time(model: &'static Model, column: usize) {
    tell(&id_time_fault(model, column));
}

/// Checks that a column with `json` is jsonb.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn json(model: &'static Model, column: usize) {
    tell(&json_fault(model, column));
}

/// Checks that a column with `extra` is jsonb.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn extra(model: &'static Model, column: usize) {
    tell(&extra_fault(model, column));
}

/// Checks a field with `flatten`, whose columns begin at `first`: that its struct is an embedded
/// document, and that its columns go together with the model's others.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn flatten(model: &'static Model, embedded: ModelRef, first: usize) {
    tell(&flatten_fault(model, embedded.get(), first));
}

/// Checks a step: that its word can do something to values of the column's type.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn step(model: &'static Model, column: usize, step: usize) {
    tell(&step_fault(model, column, step));
}

/// Checks a `#[junction(..)]` field: that its table is a junction with one side for the owner
/// and another for the ids.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn junction(model: &'static Model, junction: usize) {
    tell(&junction_fault(model, junction));
}

/// Checks a `#[junction(.., position)]` field: that its table has a column for it.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn position_of(model: &'static Model, junction: usize) {
    tell(&position_fault(model, junction));
}

/// Checks that the position of a junction is a number.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn ordinal(model: &'static Model, column: usize) {
    tell(&ordinal_fault(model, column));
}

/// Checks a `#[child(..)]` field: that it names a child of this model, and holds its struct.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn child(model: &'static Model, child: usize) {
    tell(&child_fault(model, child));
}

/// Checks the `parent` of a child: that the model it refers to has a field for the child.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn parent(model: &'static Model, column: usize) {
    tell(&parent_fault(model, column));
}

/// Checks that a child's id has a type whose text gives the element back.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn child_id(model: &'static Model, column: usize) {
    tell(&child_id_fault(model, column));
}

/// Checks the `owner` of a `#[junction(..)]` field: that the junction has it, and that it refers
/// to the model of the field.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn owner(model: &'static Model, junction: usize) {
    tell(&named_owner_fault(model, junction));
}

/// Checks one model of a registry against those before it, and that the models it refers to are
/// there.
///
/// # Panics
/// As [`reference()`].
#[track_caller]
pub const fn registered(models: &[ModelRef], index: usize) {
    tell(&registered_fault(models, index));
}

#[track_caller]
const fn tell(fault: &Option<Text>) {
    if let Some(text) = fault {
        panic!("{}", text.as_str());
    }
}

const fn reference_fault(model: &'static Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    let Some(reference) = column.reference else { return None };
    let target = reference.target.get();
    if is_fallback(target) {
        return None;
    }
    if is_junction(target) {
        return Some(
            Text::new("`")
                .and(target.name)
                .and("` is a junction, whose rows have no id to refer to\nhelp: to fill it, put `#[junction(")
                .and(target.name)
                .and(")]` on an array of ids"),
        );
    }
    if is_embedded(target) {
        return Some(Text::new("`").and(target.name).and(
            "` is an embedded document, which has no rows to refer to\nhelp: refer to the model of a collection",
        ));
    }
    if reference.key.is_none() && target.shares_key() {
        return Some(
            Text::new("the id of `")
                .and(target.name)
                .and("` is unique only together with the other columns of its primary key\nhelp: refer to a column that is unique alone, as in `#[fk(")
                .and(target.name)
                .and(", key = \"..\")]`"),
        );
    }
    if column.ty.dimensions > 0 {
        return Some(place(model, column).and(
            " is an array, which cannot be a foreign key\nhelp: an array of ids fills a junction: `#[junction(..)]`",
        ));
    }
    let key = match reference.key {
        Some(name) => column_named(target, name),
        None => id_of(target),
    };
    // `key_fault` speaks of a key that is not there.
    let Some(key) = key else { return None };
    if !comparable(column.ty, key.ty) {
        return Some(
            with_type(place(model, column).and(" is "), column.ty)
                .and(", but the key it refers to, ")
                .and_place(target, key)
                .and(", is ")
                .and_type(key.ty)
                .and("\nhelp: give both fields the same type"),
        );
    }
    match cycle::find(model, index) {
        Some(path) => Some(
            Text::new("foreign keys form a cycle: ")
                .and(path.as_str())
                .and("\nhelp: mark one of them `#[fk(.., deferred)]`"),
        ),
        None => None,
    }
}

const fn key_fault(model: &Model, index: usize) -> Option<Text> {
    let Some(reference) = model.columns[index].reference else { return None };
    let Some(name) = reference.key else { return None };
    let target = reference.target.get();
    if is_fallback(target) || is_junction(target) {
        return None;
    }
    let Some(key) = column_named(target, name) else {
        return Some(
            Text::new("`")
                .and(target.name)
                .and("` has no column `")
                .and(name)
                .and("`\nhelp: `key` is the name of a column, which may differ from its field's"),
        );
    };
    let is_key = match target.own_key {
        [] => key.primary_key,
        [only] => key.primary_key || str_eq(only, key.name),
        _ => key.primary_key && !target.shares_key(),
    };
    if is_key || key.unique || has_unique_index(target, key.name) {
        return None;
    }
    Some(
        place(target, key)
            .and(" is not unique, so nothing can refer to it\nhelp: mark it `#[migrate(unique)]` in `")
            .and(target.name)
            .and("`"),
    )
}

const fn takes_null_fault(model: &Model, index: usize, word: &str) -> Option<Text> {
    let column = &model.columns[index];
    if column.nullable {
        return None;
    }
    Some(
        Text::new("`")
            .and(word)
            .and("` needs a column that takes NULL, but ")
            .and_place(model, column)
            .and(" is required\nhelp: make the field's type an `Option`"),
    )
}

const fn primary_key_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    if column.nullable {
        return Some(place(model, column).and(
            " is part of the primary key, which takes no NULL\nhelp: write its type without `Option`",
        ));
    }
    if column.ty.dimensions > 0 {
        return Some(place(model, column).and(
            " is an array, which cannot be an id\nhelp: write the type of a single id, as `Uuid`",
        ));
    }
    if !column.primary_key {
        return None;
    }
    match column.ty.base {
        // Documents that differ, in the order of their fields or in a type, are the same jsonb.
        BaseType::Jsonb => Some(place(model, column).and(
            " is jsonb, which cannot be an id\nhelp: write its type as `MixedId`, which takes documents too, or as `Uuid`",
        )),
        BaseType::Enum(ty) if ty.other.is_some() => Some(
            place(model, column)
                .and(" is `")
                .and(ty.name)
                .and("`, in which several ids can become one label\nhelp: remove `other` from the enum, or write the type as `String`"),
        ),
        _ => None,
    }
}

const fn id_time_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    let is_time =
        matches!(column.ty.base, BaseType::Timestamp | BaseType::TimestampTz | BaseType::Date);
    if is_time && column.ty.dimensions == 0 {
        return None;
    }
    Some(
        Text::new("`id_time` is a time, but ")
            .and_place(model, column)
            .and(" is ")
            .and_type(column.ty)
            .and("\nhelp: use `default = ..` for a value of another type"),
    )
}

const fn origin_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    let labels = match (column.ty.base, column.ty.dimensions) {
        (BaseType::Text, 0) => return None,
        (BaseType::Enum(ty), 0) if ty.other.is_some() => return None,
        (BaseType::Enum(ty), 0) => ty,
        _ => {
            return Some(
                place(model, column)
                    .and(" is ")
                    .and_type(column.ty)
                    .and(", but the name of a collection is a text\nhelp: write its type as `String`, or as an enum with the names as labels"),
            );
        }
    };
    let mut collection = model.collection;
    let mut next = 0;
    loop {
        if !is_among(collection, labels.labels) {
            return Some(
                Text::new("the enum `")
                    .and(labels.name)
                    .and("` has no label `")
                    .and(collection)
                    .and("`, which ")
                    .and_place(model, column)
                    .and(
                        " is to hold\nhelp: add it, or name one with `#[migrate(rename = \"..\")]`",
                    ),
            );
        }
        if next == model.further_collections.len() {
            return None;
        }
        collection = model.further_collections[next];
        next += 1;
    }
}

const fn is_among(name: &str, names: &[&str]) -> bool {
    let mut index = 0;
    while index < names.len() {
        if str_eq(names[index], name) {
            return true;
        }
        index += 1;
    }
    false
}

const fn map_key_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    match (column.ty.base, column.ty.dimensions) {
        // A type of the user's own reads what it likes.
        (BaseType::Text | BaseType::Enum(_) | BaseType::Uuid | BaseType::Jsonb | BaseType::Other(_), 0) => None,
        _ => Some(
            place(model, column)
                .and(" is ")
                .and_type(column.ty)
                .and(", but the key of a map is a text\nhelp: write its type as `String`, or read the text with `lenient` or `with = ..`"),
        ),
    }
}

const fn json_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    if matches!(column.ty.base, BaseType::Jsonb) && column.ty.dimensions == 0 {
        return None;
    }
    Some(
        Text::new("`json` writes jsonb, but ")
            .and_place(model, column)
            .and(" is ")
            .and_type(column.ty)
            .and("\nhelp: write its type as `Json` or `Option<Json>`"),
    )
}

const fn extra_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    if matches!(column.ty.base, BaseType::Jsonb) && column.ty.dimensions == 0 {
        return None;
    }
    Some(
        Text::new("`extra` writes jsonb, but ")
            .and_place(model, column)
            .and(" is ")
            .and_type(column.ty)
            .and("\nhelp: write its type as `Json` or `Option<Json>`"),
    )
}

const fn flatten_fault(
    model: &'static Model,
    embedded: &'static Model,
    first: usize,
) -> Option<Text> {
    /// The longest name in PostgreSQL, in bytes.
    const MOST_NAME_BYTES: usize = 63;
    if is_fallback(embedded) {
        return None;
    }
    if !is_embedded(embedded) {
        return Some(
            Text::new("`")
                .and(embedded.name)
                .and("` has a table of its own and cannot be flattened\nhelp: mark it `#[migrate(embedded)]`, or refer to it with `#[fk(")
                .and(embedded.name)
                .and(")]`"),
        );
    }
    let mut index = first;
    while index < first + embedded.columns.len() {
        let column = &model.columns[index];
        if column.name.len() > MOST_NAME_BYTES {
            return Some(
                Text::new("the name `")
                    .and(column.name)
                    .and("` is longer than the 63 bytes that PostgreSQL takes\nhelp: give the flattened document a shorter prefix"),
            );
        }
        let mut other = 0;
        while other < model.columns.len() {
            // Of two flattened documents the second one tells.
            let behind = other >= first + embedded.columns.len();
            if other < first || behind && !is_flattened(&model.columns[other]) {
                let with = &model.columns[other];
                if str_eq(with.name, column.name) {
                    return Some(
                        place(model, with)
                            .and(" and ")
                            .and_place(model, column)
                            .and(" are both the column `")
                            .and(column.name)
                            .and("`\nhelp: put something in front of its columns: `#[migrate(flatten(prefix = \"..\"))]`"),
                    );
                }
                if with.when.is_none() && share_key(with, column) {
                    return Some(
                        place(model, with)
                            .and(" and ")
                            .and_place(model, column)
                            .and(" are both read from one key\nhelp: remove one of them"),
                    );
                }
            }
            other += 1;
        }
        if let Some(fault) = reference_fault(model, index) {
            return Some(fault);
        }
        index += 1;
    }
    let mut child = 0;
    while child < model.children.len() && !is_embedded(model) {
        let mut inner = 0;
        while inner < embedded.children.len() {
            if model.children[child].table.get().same(embedded.children[inner].table.get())
                && let Some(fault) = child_fault(model, child)
            {
                return Some(fault);
            }
            inner += 1;
        }
        child += 1;
    }
    None
}

/// Whether the column came with an embedded document.
const fn is_flattened(column: &Column) -> bool {
    let field = column.field.as_bytes();
    let mut at = 0;
    while at < field.len() {
        if field[at] == b'.' {
            return true;
        }
        at += 1;
    }
    false
}

const fn share_key(a: &Column, b: &Column) -> bool {
    let mut i = 0;
    while i < a.keys.len() {
        let mut j = 0;
        while j < b.keys.len() {
            if str_eq(a.keys[i], b.keys[j]) {
                return true;
            }
            j += 1;
        }
        i += 1;
    }
    false
}

const fn step_fault(model: &Model, index: usize, step: usize) -> Option<Text> {
    let column = &model.columns[index];
    let base = column.ty.base;
    let text = matches!(base, BaseType::Text | BaseType::Enum(_) | BaseType::Uuid);
    let time = matches!(base, BaseType::Timestamp | BaseType::TimestampTz | BaseType::Date);
    let number = matches!(
        base,
        BaseType::Bool
            | BaseType::Int2
            | BaseType::Int4
            | BaseType::Int8
            | BaseType::Float4
            | BaseType::Float8
            | BaseType::Numeric
    );
    let own = matches!(base, BaseType::Other(_));
    let limited = match column.pg_type {
        Some(pg_type) => has_parenthesis(pg_type),
        None => false,
    };
    let (fits, help) = match column.steps[step] {
        Step::Split(_) => {
            (column.ty.dimensions > 0, "`split` makes an array: write the field's type as a `Vec`")
        }
        Step::Trim | Step::Map(_) => (
            text || own || lenient_follows(column.steps, step),
            match base {
                BaseType::Jsonb | BaseType::Bytea => {
                    "its values are no texts: remove it, or convert with `with = ..`"
                }
                _ => {
                    "its values are no texts: write `lenient` behind it, which reads them from texts"
                }
            },
        ),
        Step::Lenient(formats) => match base {
            BaseType::Jsonb => (false, "jsonb takes every value as it is: remove it"),
            BaseType::Other(name) => {
                (str_eq(name, "vector"), "only `with = ..` can convert to a type of your own")
            }
            _ if !formats.is_empty() => {
                (time, "formats of dates are for timestamps and dates: write `lenient` alone")
            }
            _ => (text || time || number || matches!(base, BaseType::Bytea), ""),
        },
        Step::Truncate => match base {
            BaseType::Text => {
                (limited, "there is nothing to cut without a limit: add `pg_type = \"varchar(n)\"`")
            }
            BaseType::Numeric => (
                limited,
                "there is nothing to cut without a scale: add `pg_type = \"numeric(p, s)\"`",
            ),
            BaseType::Int2 | BaseType::Int4 | BaseType::Int8 => (true, ""),
            _ => (time, "texts, decimals, whole numbers and times can be cut: remove it"),
        },
        Step::Nul(_) => (
            text || own || matches!(base, BaseType::Jsonb),
            "U+0000 is found in text and jsonb alone: remove it",
        ),
    };
    if fits {
        return None;
    }
    Some(
        Text::new("`")
            .and(column.steps[step].word())
            .and("` has no meaning here, because ")
            .and_place(model, column)
            .and(" is ")
            .and_type(column.ty)
            .and("\nhelp: ")
            .and(help),
    )
}

/// Whether `lenient` stands behind that step.
const fn lenient_follows(steps: &[Step], step: usize) -> bool {
    let mut index = step + 1;
    while index < steps.len() {
        if matches!(steps[index], Step::Lenient(_)) {
            return true;
        }
        index += 1;
    }
    false
}

const fn has_parenthesis(sql: &str) -> bool {
    let bytes = sql.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'(' {
            return true;
        }
        index += 1;
    }
    false
}

const fn junction_fault(model: &'static Model, index: usize) -> Option<Text> {
    let field = &model.junctions[index];
    let table = field.table.get();
    if is_fallback(table) {
        return None;
    }
    if !is_junction(table) {
        return Some(
            Text::new("`")
                .and(table.name)
                .and("` is the model of a collection, not a junction\nhelp: mark `")
                .and(table.name)
                .and("` with `#[migrate(junction)]`, or use `#[fk(")
                .and(table.name)
                .and(")]` for a single id"),
        );
    }
    let own = match owner_side(field, model) {
        Ok(own) => own,
        // `named_owner_fault` speaks of an owner that is given.
        Err(_) if field.owner.is_some() => return None,
        Err(fault) => return Some(owner_fault(field, model, fault)),
    };
    if let Some(reference) = table.columns[own].reference
        && let Some(name) = reference.key
        && let Some(id) = id_of(model)
        && !str_eq(id.name, name)
    {
        return Some(
            place(table, &table.columns[own])
                .and(" refers to `")
                .and(name)
                .and("`, but the rows of `")
                .and(model.name)
                .and(".")
                .and(field.field)
                .and("` have the id of their own document\nhelp: remove `key` from this side"),
        );
    }
    if let (Some(ordinal), false) = (table.ordinal(), field.position)
        && !ordinal.nullable
    {
        return Some(
            place(table, ordinal)
                .and(" is required, but `")
                .and(model.name)
                .and(".")
                .and(field.field)
                .and("` gives no position\nhelp: write `#[junction(")
                .and(table.name)
                .and(", position)]`, or make `")
                .and(table.name)
                .and(".")
                .and(ordinal.field)
                .and("` an `Option`"),
        );
    }
    let other = &table.columns[1 - own];
    if !comparable(field.ty, other.ty) {
        return Some(
            Text::new("the ids in `")
                .and(model.name)
                .and(".")
                .and(field.field)
                .and("` are ")
                .and_type(field.ty)
                .and(", but ")
                .and_place(table, other)
                .and(" is ")
                .and_type(other.ty)
                .and("\nhelp: give both fields the same type of id"),
        );
    }
    None
}

const fn position_fault(model: &Model, index: usize) -> Option<Text> {
    let table = model.junctions[index].table.get();
    if is_fallback(table) || !is_junction(table) || table.ordinal().is_some() {
        return None;
    }
    Some(
        Text::new("the junction `")
            .and(table.name)
            .and("` has no column for a position\nhelp: write `#[migrate(position)] position: i32` behind its two references"),
    )
}

const fn ordinal_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    let number = matches!(column.ty.base, BaseType::Int4 | BaseType::Int8);
    if number && column.ty.dimensions == 0 {
        return None;
    }
    Some(
        place(model, column)
            .and(" is ")
            .and_type(column.ty)
            .and(", but a position is a number\nhelp: write its type as `i32`, or `Option<i32>` where not every array gives one"),
    )
}

/// Another field that gives the positions of the same junction, from its other side.
const fn other_positions(
    models: &[ModelRef],
    index: usize,
    field: &JunctionField,
) -> Option<(&'static Model, &'static JunctionField)> {
    let table = field.table.get();
    if !field.position || !is_junction(table) {
        return None;
    }
    let Ok(own) = owner_side(field, models[index].get()) else { return None };
    let mut earlier = 0;
    while earlier <= index {
        let model = models[earlier].get();
        let mut at = 0;
        while at < model.junctions.len() {
            let other = &model.junctions[at];
            if other.position
                && other.table.get().same(table)
                && let Ok(side) = owner_side(other, model)
                && side != own
            {
                return Some((model, other));
            }
            at += 1;
        }
        earlier += 1;
    }
    None
}

const fn child_fault(model: &Model, index: usize) -> Option<Text> {
    let field = &model.children[index];
    let table = field.table.get();
    if is_fallback(table) || is_fallback(field.row.get()) {
        return None;
    }
    if !matches!(table.kind, ModelKind::Child) {
        return Some(
            Text::new("`")
                .and(table.name)
                .and("` is no child\nhelp: mark `")
                .and(table.name)
                .and("` with `#[migrate(child)]`, or use `#[junction(..)]` for an array of ids"),
        );
    }
    if !field.row.get().same(table) {
        return Some(
            Text::new("`")
                .and(model.name)
                .and(".")
                .and(field.field)
                .and("` holds `")
                .and(field.row.get().name)
                .and("`, but `#[child]` names `")
                .and(table.name)
                .and("`\nhelp: write the same struct in both places"),
        );
    }
    let mut earlier = 0;
    while earlier < index {
        if model.children[earlier].table.get().same(table) {
            return Some(
                Text::new("`")
                    .and(model.name)
                    .and(".")
                    .and(model.children[earlier].field)
                    .and("` and `")
                    .and(model.name)
                    .and(".")
                    .and(field.field)
                    .and("` both fill `")
                    .and(table.name)
                    .and("`\nhelp: write a child of its own for each field"),
            );
        }
        earlier += 1;
    }
    let mut column = 0;
    while column < table.columns.len() {
        let this = &table.columns[column];
        if reads(this, feed::PARENT)
            && let Some(reference) = this.reference
            && !is_embedded(model)
            && !reference.target.get().same(model)
            && !is_fallback(reference.target.get())
        {
            return Some(
                Text::new("`")
                    .and(table.name)
                    .and("` is a child of `")
                    .and(reference.target.get().name)
                    .and("`, to which its `")
                    .and(this.field)
                    .and("` refers\nhelp: write a child of its own for `")
                    .and(model.name)
                    .and("`"),
            );
        }
        if reads(this, feed::KEY) && !matches!(field.shape, ChildShape::Map) {
            return Some(
                place(table, this)
                    .and(" is the key of a map, but `")
                    .and(model.name)
                    .and(".")
                    .and(field.field)
                    .and("` is an array\nhelp: write the field as `HashMap<String, ")
                    .and(table.name)
                    .and(">`, or take `position`"),
            );
        }
        column += 1;
    }
    None
}

const fn parent_fault(model: &Model, index: usize) -> Option<Text> {
    let Some(reference) = model.columns[index].reference else { return None };
    let parent = reference.target.get();
    if is_fallback(parent) || is_junction(parent) || model.parent().is_some() {
        return None;
    }
    Some(
        Text::new("`")
            .and(parent.name)
            .and("` has no field that holds `")
            .and(model.name)
            .and("`\nhelp: write `#[child(")
            .and(model.name)
            .and(")]` above the array in `")
            .and(parent.name)
            .and("`"),
    )
}

const fn child_id_fault(model: &Model, index: usize) -> Option<Text> {
    let column = &model.columns[index];
    match column.ty.base {
        BaseType::Uuid | BaseType::Int2 | BaseType::Int4 | BaseType::Int8 | BaseType::Text => None,
        _ => Some(
            place(model, column)
                .and(" is ")
                .and_type(column.ty)
                .and(", which is no id of an element\nhelp: write its type as `Uuid`, `String` or an integer"),
        ),
    }
}

/// Whether a column is read from that key alone.
const fn reads(column: &Column, key: &str) -> bool {
    match column.keys {
        [only] => str_eq(only, key),
        _ => false,
    }
}

const fn named_owner_fault(model: &Model, index: usize) -> Option<Text> {
    let field = &model.junctions[index];
    let table = field.table.get();
    if is_fallback(table) || !is_junction(table) {
        return None;
    }
    match owner_side(field, model) {
        Ok(_) => None,
        Err(fault) => Some(owner_fault(field, model, fault)),
    }
}

/// Why a junction's side for the owner of a field is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerFault {
    /// `owner` names no field of the junction.
    Unknown,
    /// What `owner` names refers to another model.
    Elsewhere,
    /// No side refers to the owner.
    None,
    /// Both sides do, and `owner` is not given.
    Both,
}

/// The position of the junction's column that refers to `owner`, which has the field.
///
/// # Errors
/// When it is none of the two, or not clear which.
pub const fn owner_side(field: &JunctionField, owner: &Model) -> Result<usize, OwnerFault> {
    let columns = field.table.get().columns;
    if let Some(name) = field.owner {
        let mut index = 0;
        while index < columns.len() {
            if str_eq(columns[index].field, name) || str_eq(columns[index].name, name) {
                return if refers_to(&columns[index], owner) {
                    Ok(index)
                } else {
                    Err(OwnerFault::Elsewhere)
                };
            }
            index += 1;
        }
        return Err(OwnerFault::Unknown);
    }
    match columns {
        [first, second, ..] => match (refers_to(first, owner), refers_to(second, owner)) {
            (true, false) => Ok(0),
            (false, true) => Ok(1),
            (true, true) => Err(OwnerFault::Both),
            (false, false) => Err(OwnerFault::None),
        },
        _ => Err(OwnerFault::None),
    }
}

const fn owner_fault(field: &JunctionField, owner: &Model, fault: OwnerFault) -> Text {
    let table = field.table.get();
    match fault {
        OwnerFault::None => Text::new("the junction `")
            .and(table.name)
            .and("` does not refer to `")
            .and(owner.name)
            .and("`")
            .and_sides(table)
            .and("\nhelp: one of them must be `#[fk(")
            .and(owner.name)
            .and(")]`"),
        OwnerFault::Both => Text::new("both sides of the junction `")
            .and(table.name)
            .and("` refer to `")
            .and(owner.name)
            .and("`\nhelp: say which one is the side of this field's own document: `#[junction(")
            .and(table.name)
            .and(", owner = ")
            .and(table.columns[0].field)
            .and(")]` or `owner = ")
            .and(table.columns[1].field)
            .and("`"),
        OwnerFault::Unknown => Text::new("the junction `")
            .and(table.name)
            .and("` has no field `")
            .and(match field.owner {
                Some(name) => name,
                None => "",
            })
            .and("`")
            .and_sides(table)
            .and("\nhelp: `owner` names the side of this field's own document"),
        OwnerFault::Elsewhere => Text::new("`")
            .and(table.name)
            .and(".")
            .and(match field.owner {
                Some(name) => name,
                None => "",
            })
            .and("` does not refer to `")
            .and(owner.name)
            .and("`, which has this field")
            .and_sides(table)
            .and("\nhelp: `owner` names the side of this field's own document"),
    }
}

const fn registered_fault(models: &[ModelRef], index: usize) -> Option<Text> {
    let model = models[index].get();
    if is_fallback(model) {
        return None;
    }
    if is_embedded(model) {
        return Some(Text::new("`").and(model.name).and(
            "` is an embedded document, whose columns belong to the models that flatten it\nhelp: remove it from the registry",
        ));
    }
    let mut earlier = 0;
    while earlier < index {
        let other = models[earlier].get();
        if let Some(fault) = shared_collection_fault(other, model) {
            return Some(fault);
        }
        if str_eq(other.table, model.table) && option_eq(other.schema, model.schema) {
            if other.same(model) {
                return Some(
                    Text::new("`")
                        .and(model.name)
                        .and("` is in the registry twice\nhelp: remove one of them"),
                );
            }
            return Some(
                Text::new("`")
                    .and(other.name)
                    .and("` and `")
                    .and(model.name)
                    .and("` both have the table `")
                    .and(model.table)
                    .and("`\nhelp: give one of them another `#[migrate(table = \"..\")]`"),
            );
        }
        if str_eq(other.name, model.name) {
            return Some(
                Text::new("`")
                    .and(other.module)
                    .and("::")
                    .and(other.name)
                    .and("` and `")
                    .and(model.module)
                    .and("::")
                    .and(model.name)
                    .and("` have one name, by which a run knows its models\nhelp: rename one of the structs; `collection` and `table` may stay what they are"),
            );
        }
        earlier += 1;
    }
    let mut column = 0;
    while column < model.columns.len() {
        let this = &model.columns[column];
        if let Some(reference) = this.reference
            && position(models, reference.target.get()).is_none()
        {
            return Some(place(model, this).and_missing(reference.target.get()));
        }
        if let BaseType::Enum(ty) = this.ty.base
            && let Some(other) = differing_enum(models, index, column, ty)
        {
            return Some(
                place(model, this)
                    .and(" and `")
                    .and(other.name)
                    .and("` have two different enums with the PostgreSQL type `")
                    .and(ty.name)
                    .and("`\nhelp: give one of the enums another `#[migrate(name = \"..\")]`"),
            );
        }
        column += 1;
    }
    let mut child = 0;
    while child < model.children.len() {
        let field = &model.children[child];
        if position(models, field.table.get()).is_none() {
            return Some(
                Text::new("`")
                    .and(model.name)
                    .and(".")
                    .and(field.field)
                    .and("`")
                    .and_missing(field.table.get()),
            );
        }
        child += 1;
    }
    let mut junction = 0;
    while junction < model.junctions.len() {
        let field = &model.junctions[junction];
        if position(models, field.table.get()).is_none() {
            return Some(
                Text::new("`")
                    .and(model.name)
                    .and(".")
                    .and(field.field)
                    .and("`")
                    .and_missing(field.table.get()),
            );
        }
        if let Some((other, its)) = other_positions(models, index, field) {
            return Some(
                Text::new("`")
                    .and(other.name)
                    .and(".")
                    .and(its.field)
                    .and("` and `")
                    .and(model.name)
                    .and(".")
                    .and(field.field)
                    .and("` both give positions to `")
                    .and(field.table.get().name)
                    .and("`, from its two sides\nhelp: a pair has one position: remove `position` from one of them, and make the column an `Option`"),
            );
        }
        junction += 1;
    }
    None
}

/// Of two models of one collection, each document must be one's alone.
const fn shared_collection_fault(a: &Model, b: &Model) -> Option<Text> {
    if !matches!((a.kind, b.kind), (ModelKind::Collection, ModelKind::Collection))
        || is_fallback(a)
        || a.same(b)
    {
        return None;
    }
    let (of_a, of_b) = (collection_count(a), collection_count(b));
    let (mut i, mut shared) = (0, 0);
    let mut first = "";
    while i < of_a {
        let mut j = 0;
        while j < of_b {
            if str_eq(collection_at(a, i), collection_at(b, j)) {
                shared += 1;
                first = collection_at(a, i);
            }
            j += 1;
        }
        i += 1;
    }
    if shared == 0 {
        return None;
    }
    if shared != of_a || shared != of_b {
        return Some(
            Text::new("`")
                .and(a.name)
                .and("` and `")
                .and(b.name)
                .and("` share the collection `")
                .and(first)
                .and("`, but not all of their collections\nhelp: models that share one name the same collections"),
        );
    }
    let text = Text::new("`")
        .and(a.name)
        .and("` and `")
        .and(b.name)
        .and("` both take documents of the collection `")
        .and(a.collection);
    if a.when.is_empty() || b.when.is_empty() {
        let without = if a.when.is_empty() { a } else { b };
        return Some(
            text.and("`, and nothing says which are whose\nhelp: say it with `#[migrate(when(kind = \"..\"))]` on both; `")
                .and(without.name)
                .and("` has no `when`"),
        );
    }
    if exclude_each_other(a.when, b.when) {
        return None;
    }
    Some(text.and(
        "`, and one document can be both\nhelp: name a field in `when` on both, with values that differ",
    ))
}

const fn collection_count(model: &Model) -> usize {
    1 + model.further_collections.len()
}

const fn collection_at(model: &Model, index: usize) -> &'static str {
    match index {
        0 => model.collection,
        index => model.further_collections[index - 1],
    }
}

/// Whether no document can hold all that both ask for: at one key they have no value in common.
const fn exclude_each_other(a: &[Choice], b: &[Choice]) -> bool {
    let mut i = 0;
    while i < a.len() {
        let mut j = 0;
        while j < b.len() {
            if str_eq(a[i].key, b[j].key) && !share_literal(a[i].any_of, b[j].any_of) {
                return true;
            }
            j += 1;
        }
        i += 1;
    }
    false
}

const fn share_literal(a: &[Literal], b: &[Literal]) -> bool {
    let mut i = 0;
    while i < a.len() {
        let mut j = 0;
        while j < b.len() {
            if a[i].same(&b[j]) {
                return true;
            }
            j += 1;
        }
        i += 1;
    }
    false
}

/// A model up to this column that has an enum of the same type name with other labels.
const fn differing_enum(
    models: &[ModelRef],
    index: usize,
    column: usize,
    ty: &EnumType,
) -> Option<&'static Model> {
    let mut earlier = 0;
    while earlier <= index {
        let model = models[earlier].get();
        let mut at = 0;
        while at < model.columns.len() && (earlier < index || at < column) {
            if let BaseType::Enum(other) = model.columns[at].ty.base
                && str_eq(other.name, ty.name)
                && option_eq(other.schema, ty.schema)
                && !labels_eq(other.labels, ty.labels)
            {
                return Some(model);
            }
            at += 1;
        }
        earlier += 1;
    }
    None
}

const fn labels_eq(a: &[&str], b: &[&str]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if !str_eq(a[i], b[i]) {
            return false;
        }
        i += 1;
    }
    true
}

impl Text {
    const fn and_place(self, model: &Model, column: &Column) -> Self {
        self.and("`").and(model.name).and(".").and(column.field).and("`")
    }

    const fn and_type(self, ty: CellType) -> Self {
        with_type(self, ty)
    }

    const fn and_sides(self, table: &Model) -> Self {
        match table.columns {
            [first, second, ..] => self
                .and(": its sides are `")
                .and(first.field)
                .and("` (of `")
                .and(side_target(first))
                .and("`) and `")
                .and(second.field)
                .and("` (of `")
                .and(side_target(second))
                .and("`)"),
            _ => self,
        }
    }

    const fn and_missing(self, target: &Model) -> Self {
        self.and(" refers to `")
            .and(target.name)
            .and("`, which is not in the registry\nhelp: add `")
            .and(target.name)
            .and("` to `registry!`")
    }
}

const fn place(model: &Model, column: &Column) -> Text {
    Text::new("").and_place(model, column)
}

const fn with_type(text: Text, ty: CellType) -> Text {
    let mut text = text.and("`").and(ty.base.name());
    let mut dimension = 0;
    while dimension < ty.dimensions {
        text = text.and("[]");
        dimension += 1;
    }
    text.and("`")
}

const fn side_target(column: &Column) -> &'static str {
    match column.reference {
        Some(reference) => reference.target.get().name,
        None => "nothing",
    }
}

const fn refers_to(column: &Column, model: &Model) -> bool {
    match column.reference {
        Some(reference) => reference.target.get().same(model),
        None => false,
    }
}

const fn column_named(model: &'static Model, name: &str) -> Option<&'static Column> {
    let mut index = 0;
    while index < model.columns.len() {
        if str_eq(model.columns[index].name, name) {
            return Some(&model.columns[index]);
        }
        index += 1;
    }
    None
}

const fn id_of(model: &'static Model) -> Option<&'static Column> {
    let mut index = 0;
    while index < model.columns.len() {
        if model.columns[index].primary_key {
            return Some(&model.columns[index]);
        }
        index += 1;
    }
    None
}

const fn has_unique_index(model: &Model, column: &str) -> bool {
    let mut index = 0;
    while index < model.indexes.len() {
        if let [only] = model.indexes[index].columns
            && model.indexes[index].unique
            && str_eq(only, column)
        {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether PostgreSQL makes a foreign key between the two types: the same type, or two integers.
/// What it says about types it knows and we do not is left to it.
const fn comparable(a: CellType, b: CellType) -> bool {
    if a.dimensions != b.dimensions {
        return false;
    }
    match (a.base, b.base) {
        (BaseType::Other(_), _) | (_, BaseType::Other(_)) => true,
        (
            BaseType::Int2 | BaseType::Int4 | BaseType::Int8,
            BaseType::Int2 | BaseType::Int4 | BaseType::Int8,
        ) => true,
        (a, b) => str_eq(a.name(), b.name()),
    }
}

const fn option_eq(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => str_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

const fn is_embedded(model: &Model) -> bool {
    matches!(model.kind, ModelKind::Embedded)
}

const fn is_fallback(model: &Model) -> bool {
    model.columns.is_empty()
}
