//! `flatten`: the columns of an embedded document become columns of the model, in const
//! evaluation.
//!
//! The facts of an embedded struct know their names and keys as if it stood alone. A model that
//! flattens it needs them with a prefix and under a path, as `&'static str`, so the derive makes
//! one static of all these texts, one of the lists of keys, and one of the columns, with the
//! functions below. All of them go over the [`Part`]s in one order, which is what makes a text's
//! place in the static known.

use crate::model::Flatten;
use crate::schema::{ChildField, ChildShape, Column, Index, Model, ModelRef, When};

/// A piece of a model with `flatten`, in the order of its fields.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Columns of its own.
    Own(&'static [Column]),
    /// A field marked `flatten`.
    Flat(Flat),
}

/// A field marked `flatten`.
#[derive(Clone, Copy, Debug)]
pub struct Flat {
    embedded: ModelRef,
    optional: bool,
    field: &'static str,
    key: &'static str,
    prefix: &'static str,
}

impl Part {
    /// The part of a field with the type `T`, whose document stands under `key`.
    pub const fn flat<T: Flatten>(
        field: &'static str,
        key: &'static str,
        prefix: &'static str,
    ) -> Self {
        Self::Flat(Flat { embedded: T::MODEL, optional: T::OPTIONAL, field, key, prefix })
    }
}

/// The column of `flatten(present = "..")`.
pub const fn present(
    name: &'static str,
    field: &'static str,
    keys: &'static [&'static str],
) -> Column {
    Column::of::<Option<bool>>(name, field, keys).presence()
}

/// Makes the static `__MODEL` of a model with `flatten` of what it says itself and its parts.
#[doc(hidden)]
#[macro_export]
macro_rules! __flattened {
    ($own:ident, $parts:ident) => {
        static __TEXT: [$crate::__private::u8; $crate::__private::flatten::text_length($parts)] =
            $crate::__private::flatten::text($parts);
        static __LISTS: [&$crate::__private::str; $crate::__private::flatten::list_length($parts)] =
            $crate::__private::flatten::lists($parts, &__TEXT);
        static __COLUMNS: [$crate::__private::Column;
            $crate::__private::flatten::column_count($parts)] =
            $crate::__private::flatten::columns($parts, &__TEXT, &__LISTS);
        static __SKIPPED: [&$crate::__private::str;
            $own.skipped.len() + $crate::__private::flatten::skipped_count($parts)] =
            $crate::__private::flatten::skipped($own.skipped, $parts, &__TEXT);
        static __INDEXES: [$crate::__private::Index;
            $own.indexes.len() + $crate::__private::flatten::index_count($parts)] =
            $crate::__private::flatten::indexes($own.indexes, $parts, &__LISTS);
        static __CHILDREN: [$crate::__private::ChildField;
            $own.children.len() + $crate::__private::flatten::child_count($parts)] =
            $crate::__private::flatten::children($own.children, $parts, &__TEXT, &__LISTS);
        static __MODEL: $crate::__private::Model = $crate::__private::Model {
            columns: &__COLUMNS,
            skipped: &__SKIPPED,
            indexes: &__INDEXES,
            children: &__CHILDREN,
            ..$own
        };
    };
}

/// How many columns the parts have.
pub const fn column_count(parts: &[Part]) -> usize {
    let (mut count, mut at) = (0, 0);
    while at < parts.len() {
        count += match parts[at] {
            Part::Own(columns) => columns.len(),
            Part::Flat(flat) => flat.embedded.get().columns.len(),
        };
        at += 1;
    }
    count
}

/// Functions that count what the embedded documents of the parts have of a kind.
macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident = $field:ident;)+) => {$(
        $(#[$doc])*
        pub const fn $name(parts: &[Part]) -> usize {
            let (mut count, mut at) = (0, 0);
            while at < parts.len() {
                if let Part::Flat(flat) = parts[at] {
                    count += flat.embedded.get().$field.len();
                }
                at += 1;
            }
            count
        }
    )+};
}

counts! {
    /// How many indexes the embedded documents of the parts have.
    index_count = indexes;
    /// How many keys the embedded documents of the parts skip.
    skipped_count = skipped;
    /// How many fields of the embedded documents of the parts fill child tables.
    child_count = children;
}

/// How many texts stand in lists: keys of columns, columns of indexes, and keys of children.
pub const fn list_length(parts: &[Part]) -> usize {
    let (mut count, mut at) = (0, 0);
    while at < parts.len() {
        if let Part::Flat(flat) = parts[at] {
            let model = flat.embedded.get();
            let mut column = 0;
            while column < model.columns.len() {
                count += model.columns[column].keys.len();
                column += 1;
            }
            let mut index = 0;
            while index < model.indexes.len() {
                count += model.indexes[index].columns.len();
                index += 1;
            }
            let mut child = 0;
            while child < model.children.len() {
                count += model.children[child].keys.len();
                child += 1;
            }
        }
        at += 1;
    }
    count
}

/// How many bytes all texts have.
pub const fn text_length(parts: &[Part]) -> usize {
    let mut writer = Writer { bytes: &mut [], at: 0 };
    writer.parts(parts);
    writer.at
}

/// All texts, one behind the other; `N` is their [`text_length`].
pub const fn text<const N: usize>(parts: &[Part]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut writer = Writer { bytes: &mut bytes, at: 0 };
    writer.parts(parts);
    bytes
}

/// For each embedded document the lists of keys of its columns, those of columns of its indexes,
/// and those of keys of its children; `N` is their [`list_length`].
pub const fn lists<const N: usize>(parts: &[Part], text: &'static [u8]) -> [&'static str; N] {
    let mut lists = [""; N];
    let mut reader = Reader { text, at: 0 };
    let (mut place, mut at) = (0, 0);
    while at < parts.len() {
        if let Part::Flat(flat) = parts[at] {
            let model = flat.embedded.get();
            let mut index = 0;
            while index < model.columns.len() {
                let column = &model.columns[index];
                reader.column_name(&flat, column);
                reader.column_field(&flat, column);
                reader.column_within(&flat, column);
                reader.column_when(&flat, column);
                let mut key = 0;
                while key < column.keys.len() {
                    lists[place] = reader.path(&flat, column.keys[key]);
                    place += 1;
                    key += 1;
                }
                index += 1;
            }
            index = 0;
            while index < model.indexes.len() {
                let columns = model.indexes[index].columns;
                let mut column = 0;
                while column < columns.len() {
                    lists[place] = reader.take(flat.prefix.len() + columns[column].len());
                    place += 1;
                    column += 1;
                }
                index += 1;
            }
            index = 0;
            while index < model.skipped.len() {
                reader.path(&flat, model.skipped[index]);
                index += 1;
            }
            index = 0;
            while index < model.children.len() {
                let child = &model.children[index];
                reader.child_field(&flat, child);
                let mut key = 0;
                while key < child.keys.len() {
                    lists[place] = reader.path(&flat, child.keys[key]);
                    place += 1;
                    key += 1;
                }
                index += 1;
            }
        }
        at += 1;
    }
    lists
}

/// The columns of the model; `N` is their [`column_count`].
pub const fn columns<const N: usize>(
    parts: &[Part],
    text: &'static [u8],
    lists: &'static [&'static str],
) -> [Column; N] {
    let mut columns = [Column::of::<bool>("", "", &[]); N];
    let mut reader = Reader { text, at: 0 };
    let mut lists = lists;
    let (mut place, mut at) = (0, 0);
    while at < parts.len() {
        match parts[at] {
            Part::Own(own) => {
                let mut index = 0;
                while index < own.len() {
                    columns[place] = own[index];
                    place += 1;
                    index += 1;
                }
            }
            Part::Flat(flat) => {
                let model = flat.embedded.get();
                let mut index = 0;
                while index < model.columns.len() {
                    let column = &model.columns[index];
                    let name = reader.column_name(&flat, column);
                    let field = reader.column_field(&flat, column);
                    let within = reader.column_within(&flat, column);
                    let when = reader.column_when(&flat, column);
                    let mut key = 0;
                    while key < column.keys.len() {
                        reader.path(&flat, column.keys[key]);
                        key += 1;
                    }
                    let (keys, behind) = lists.split_at(column.keys.len());
                    lists = behind;
                    columns[place] = Column {
                        name,
                        field,
                        keys,
                        within,
                        when,
                        nullable: column.nullable || flat.optional,
                        required: column.required || flat.optional && !column.nullable,
                        ..*column
                    };
                    place += 1;
                    index += 1;
                }
                (reader, lists) = behind_columns(reader, lists, &flat, model);
            }
        }
        at += 1;
    }
    columns
}

/// Steps over the texts of indexes, skipped keys and children.
const fn behind_columns(
    mut reader: Reader,
    mut lists: &'static [&'static str],
    flat: &Flat,
    model: &Model,
) -> (Reader, &'static [&'static str]) {
    let mut index = 0;
    while index < model.indexes.len() {
        let columns = model.indexes[index].columns;
        let mut column = 0;
        while column < columns.len() {
            reader.take(flat.prefix.len() + columns[column].len());
            column += 1;
        }
        lists = lists.split_at(columns.len()).1;
        index += 1;
    }
    index = 0;
    while index < model.skipped.len() {
        reader.path(flat, model.skipped[index]);
        index += 1;
    }
    behind_children(reader, lists, flat, model)
}

/// Steps over the texts of children.
const fn behind_children(
    mut reader: Reader,
    mut lists: &'static [&'static str],
    flat: &Flat,
    model: &Model,
) -> (Reader, &'static [&'static str]) {
    let mut index = 0;
    while index < model.children.len() {
        let child = &model.children[index];
        reader.child_field(flat, child);
        let mut key = 0;
        while key < child.keys.len() {
            reader.path(flat, child.keys[key]);
            key += 1;
        }
        lists = lists.split_at(child.keys.len()).1;
        index += 1;
    }
    (reader, lists)
}

/// The model's own fields that fill child tables, and behind them those of its embedded documents.
pub const fn children<const N: usize>(
    own: &[ChildField],
    parts: &[Part],
    text: &'static [u8],
    lists: &'static [&'static str],
) -> [ChildField; N] {
    const NOBODY: ModelRef = ModelRef::new(&Model::EMPTY);
    let mut children = [ChildField {
        field: "",
        keys: &[],
        table: NOBODY,
        row: NOBODY,
        shape: ChildShape::Array,
        strict: false,
    }; N];
    let mut place = 0;
    while place < own.len() {
        children[place] = own[place];
        place += 1;
    }
    let mut reader = Reader { text, at: 0 };
    let (mut lists, mut at) = (lists, 0);
    while at < parts.len() {
        if let Part::Flat(flat) = parts[at] {
            let model = flat.embedded.get();
            let mut writer = Writer { bytes: &mut [], at: 0 };
            writer.before_children(&flat, model);
            reader.take(writer.at);
            let mut index = 0;
            while index < model.columns.len() {
                lists = lists.split_at(model.columns[index].keys.len()).1;
                index += 1;
            }
            index = 0;
            while index < model.indexes.len() {
                lists = lists.split_at(model.indexes[index].columns.len()).1;
                index += 1;
            }
            index = 0;
            while index < model.children.len() {
                let child = &model.children[index];
                let field = reader.child_field(&flat, child);
                let mut key = 0;
                while key < child.keys.len() {
                    reader.path(&flat, child.keys[key]);
                    key += 1;
                }
                let (keys, behind) = lists.split_at(child.keys.len());
                lists = behind;
                children[place] = ChildField { field, keys, ..*child };
                place += 1;
                index += 1;
            }
        }
        at += 1;
    }
    children
}

/// The model's own indexes, and behind them those of its embedded documents.
pub const fn indexes<const N: usize>(
    own: &[Index],
    parts: &[Part],
    lists: &'static [&'static str],
) -> [Index; N] {
    let mut indexes = [Index { columns: &[], unique: false }; N];
    let mut place = 0;
    while place < own.len() {
        indexes[place] = own[place];
        place += 1;
    }
    let (mut lists, mut at) = (lists, 0);
    while at < parts.len() {
        if let Part::Flat(flat) = parts[at] {
            let model = flat.embedded.get();
            let mut column = 0;
            while column < model.columns.len() {
                lists = lists.split_at(model.columns[column].keys.len()).1;
                column += 1;
            }
            let mut index = 0;
            while index < model.indexes.len() {
                let (columns, behind) = lists.split_at(model.indexes[index].columns.len());
                lists = behind;
                indexes[place] = Index { columns, unique: model.indexes[index].unique };
                place += 1;
                index += 1;
            }
            let mut child = 0;
            while child < model.children.len() {
                lists = lists.split_at(model.children[child].keys.len()).1;
                child += 1;
            }
        }
        at += 1;
    }
    indexes
}

/// The keys that the model skips itself, and behind them those of its embedded documents.
pub const fn skipped<const N: usize>(
    own: &[&'static str],
    parts: &[Part],
    text: &'static [u8],
) -> [&'static str; N] {
    let mut skipped = [""; N];
    let mut place = 0;
    while place < own.len() {
        skipped[place] = own[place];
        place += 1;
    }
    let mut reader = Reader { text, at: 0 };
    let mut at = 0;
    while at < parts.len() {
        if let Part::Flat(flat) = parts[at] {
            let model = flat.embedded.get();
            let mut writer = Writer { bytes: &mut [], at: 0 };
            writer.before_skipped(&flat, model);
            reader.take(writer.at);
            let mut index = 0;
            while index < model.skipped.len() {
                skipped[place] = reader.path(&flat, model.skipped[index]);
                place += 1;
                index += 1;
            }
            let mut child = 0;
            while child < model.children.len() {
                reader.child_field(&flat, &model.children[child]);
                let mut key = 0;
                while key < model.children[child].keys.len() {
                    reader.path(&flat, model.children[child].keys[key]);
                    key += 1;
                }
                child += 1;
            }
        }
        at += 1;
    }
    skipped
}

/// Puts texts one behind the other; without room it only counts.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    const fn parts(&mut self, parts: &[Part]) {
        let mut at = 0;
        while at < parts.len() {
            if let Part::Flat(flat) = parts[at] {
                let model = flat.embedded.get();
                self.before_children(&flat, model);
                let mut index = 0;
                while index < model.children.len() {
                    let child = &model.children[index];
                    self.put3(flat.field, ".", child.field);
                    let mut key = 0;
                    while key < child.keys.len() {
                        self.put3(flat.key, "\0", child.keys[key]);
                        key += 1;
                    }
                    index += 1;
                }
            }
            at += 1;
        }
    }

    const fn before_children(&mut self, flat: &Flat, model: &Model) {
        self.before_skipped(flat, model);
        let mut index = 0;
        while index < model.skipped.len() {
            self.put3(flat.key, "\0", model.skipped[index]);
            index += 1;
        }
    }

    const fn before_skipped(&mut self, flat: &Flat, model: &Model) {
        let mut index = 0;
        while index < model.columns.len() {
            let column = &model.columns[index];
            self.put3(flat.prefix, "", column.name);
            self.put3(flat.field, ".", column.field);
            if let Some(within) = column.within {
                self.put3(flat.key, "\0", within);
            }
            if let Some(when) = column.when {
                self.put3(flat.key, "\0", when.key);
            }
            let mut key = 0;
            while key < column.keys.len() {
                self.put3(flat.key, "\0", column.keys[key]);
                key += 1;
            }
            index += 1;
        }
        index = 0;
        while index < model.indexes.len() {
            let columns = model.indexes[index].columns;
            let mut column = 0;
            while column < columns.len() {
                self.put3(flat.prefix, "", columns[column]);
                column += 1;
            }
            index += 1;
        }
    }

    const fn put3(&mut self, first: &str, second: &str, third: &str) {
        self.put(first);
        self.put(second);
        self.put(third);
    }

    const fn put(&mut self, text: &str) {
        let end = self.at + text.len();
        if end <= self.bytes.len() {
            let (before, _) = self.bytes.split_at_mut(end);
            let (_, room) = before.split_at_mut(self.at);
            room.copy_from_slice(text.as_bytes());
        }
        self.at = end;
    }
}

/// Gives the texts back in the order in which they were put.
#[derive(Clone, Copy)]
struct Reader {
    text: &'static [u8],
    at: usize,
}

impl Reader {
    const fn take(&mut self, length: usize) -> &'static str {
        let (text, _) = self.text.split_at(self.at + length);
        let (_, text) = text.split_at(self.at);
        self.at += length;
        match core::str::from_utf8(text) {
            Ok(text) => text,
            Err(_) => panic!("texts are read as they were written"),
        }
    }

    const fn path(&mut self, flat: &Flat, key: &str) -> &'static str {
        self.take(flat.key.len() + 1 + key.len())
    }

    const fn child_field(&mut self, flat: &Flat, child: &ChildField) -> &'static str {
        self.take(flat.field.len() + 1 + child.field.len())
    }

    const fn column_name(&mut self, flat: &Flat, column: &Column) -> &'static str {
        self.take(flat.prefix.len() + column.name.len())
    }

    const fn column_field(&mut self, flat: &Flat, column: &Column) -> &'static str {
        self.take(flat.field.len() + 1 + column.field.len())
    }

    /// The innermost document that may be missing.
    const fn column_within(&mut self, flat: &Flat, column: &Column) -> Option<&'static str> {
        match column.within {
            Some(within) => Some(self.path(flat, within)),
            None if flat.optional => Some(flat.key),
            None => None,
        }
    }

    const fn column_when(&mut self, flat: &Flat, column: &Column) -> Option<When> {
        match column.when {
            Some(when) => Some(When { key: self.path(flat, when.key), is: when.is }),
            None => None,
        }
    }
}
