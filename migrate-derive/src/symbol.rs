//! Every attribute word once for each place it stands at, with the line that help texts show.

/// Where a word may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Struct,
    Field,
    Enum,
    Variant,
    Fk,
    Junction,
    Flatten,
    Child,
}

impl Place {
    /// The place in a sentence, as in "`table` belongs on the struct".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Struct => "on the struct",
            Self::Field => "on a field",
            Self::Enum => "on the enum",
            Self::Variant => "on a variant",
            Self::Fk => "in `#[fk(..)]`",
            Self::Junction => "in `#[junction(..)]`",
            Self::Flatten => "in `flatten(..)`",
            Self::Child => "in `#[child(..)]`",
        }
    }

    /// The words that may stand there, in a sentence.
    pub(crate) fn vocabulary(self) -> String {
        let known: Vec<_> = self.words().collect();
        match known.as_slice() {
            [only] => format!("the only word {} is `{only}`", self.describe()),
            _ => format!("the words {} are {}", self.describe(), list(known)),
        }
    }

    /// The words that may stand there.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        SYMBOLS.iter().filter(move |symbol| symbol.place == self).map(|symbol| symbol.word)
    }
}

/// A word at a place.
pub(crate) struct Symbol {
    pub(crate) word: &'static str,
    pub(crate) place: Place,
    pub(crate) example: &'static str,
}

/// The word at that place.
pub(crate) fn find(word: &str, place: Place) -> Option<&'static Symbol> {
    SYMBOLS.iter().find(|symbol| symbol.word == word && symbol.place == place)
}

/// Another place where the word may stand; among the places that one derive knows the nearest
/// comes first.
pub(crate) fn elsewhere(word: &str, place: Place) -> Option<&'static Symbol> {
    let of_enum = |place| matches!(place, Place::Enum | Place::Variant);
    let mut found = SYMBOLS.iter().filter(|symbol| symbol.word == word);
    found.find(|symbol| of_enum(symbol.place) == of_enum(place))
}

const fn symbol(place: Place, word: &'static str, example: &'static str) -> Symbol {
    Symbol { word, place, example }
}

/// The whole vocabulary.
pub(crate) const SYMBOLS: &[Symbol] = &[
    symbol(Place::Struct, "collection", "collection = \"tasks\""),
    symbol(Place::Struct, "table", "table = \"tasks\""),
    symbol(Place::Struct, "schema", "schema = \"crm\""),
    symbol(Place::Struct, "rename_all", "rename_all = \"camelCase\""),
    symbol(Place::Struct, "column_case", "column_case = \"snake_case\""),
    symbol(Place::Struct, "index", "index(user, created_at)"),
    symbol(Place::Struct, "unique", "unique(board, position)"),
    symbol(Place::Struct, "junction", "junction"),
    symbol(Place::Struct, "embedded", "embedded"),
    symbol(Place::Struct, "deny_unknown_fields", "deny_unknown_fields"),
    symbol(Place::Struct, "one_of", "one_of(owner_user, owner_company)"),
    symbol(Place::Struct, "child", "child"),
    symbol(Place::Struct, "when", "when(kind = \"company\")"),
    symbol(Place::Struct, "filter", "filter = my::choice"),
    symbol(Place::Struct, "primary_key", "primary_key(board, position)"),
    symbol(Place::Struct, "check", "check = \"budget >= 0\""),
    symbol(Place::Field, "id", "id"),
    symbol(Place::Field, "rename", "rename = \"createdAt\""),
    symbol(Place::Field, "column", "column = \"created_at\""),
    symbol(Place::Field, "path", "path = \"address.zip\""),
    symbol(Place::Field, "flatten", "flatten(prefix = \"address_\")"),
    symbol(Place::Field, "extra", "extra"),
    symbol(Place::Field, "when", "when(\"owner.kind\" = \"User\")"),
    symbol(Place::Field, "alias", "alias = \"created\""),
    symbol(Place::Field, "default", "default = 0"),
    symbol(Place::Field, "db_default", "db_default = \"now()\""),
    symbol(Place::Field, "skip", "skip"),
    symbol(Place::Field, "index", "index"),
    symbol(Place::Field, "unique", "unique"),
    symbol(Place::Field, "pg_type", "pg_type = \"varchar(3)\""),
    symbol(Place::Field, "json", "json"),
    symbol(Place::Field, "with", "with = my::conversion"),
    symbol(Place::Field, "compute", "compute = my::computation"),
    symbol(Place::Field, "empty_as_null", "empty_as_null"),
    symbol(Place::Field, "id_time", "id_time"),
    symbol(Place::Field, "trim", "trim"),
    symbol(Place::Field, "split", "split = \",\""),
    symbol(Place::Field, "map", "map(A = \"active\", \"N/A\" = null)"),
    symbol(Place::Field, "lenient", "lenient"),
    symbol(Place::Field, "truncate", "truncate"),
    symbol(Place::Field, "nul", "nul = strip"),
    symbol(Place::Field, "on_invalid", "on_invalid = null"),
    symbol(Place::Field, "origin", "origin"),
    symbol(Place::Field, "parent", "parent"),
    symbol(Place::Field, "position", "position"),
    symbol(Place::Field, "key", "key"),
    symbol(Place::Field, "value", "value"),
    symbol(Place::Fk, "key", "key = \"code\""),
    symbol(Place::Fk, "on_delete", "on_delete = cascade"),
    symbol(Place::Fk, "deferred", "deferred"),
    symbol(Place::Fk, "orphan", "orphan = null"),
    symbol(Place::Junction, "owner", "owner = document"),
    symbol(Place::Junction, "position", "position"),
    symbol(Place::Flatten, "prefix", "prefix = \"address_\""),
    symbol(Place::Flatten, "present", "present = \"has_address\""),
    symbol(Place::Child, "on_reject", "on_reject = document"),
    symbol(Place::Enum, "name", "name = \"task_status\""),
    symbol(Place::Enum, "schema", "schema = \"crm\""),
    symbol(Place::Enum, "rename_all", "rename_all = \"UPPERCASE\""),
    symbol(Place::Variant, "rename", "rename = \"In progress\""),
    symbol(Place::Variant, "other", "other"),
];

/// The candidate that somebody may have meant by `word`: at most a third of it is different.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, put in, taken out or swapped with their neighbour, case
/// aside.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Words in a sentence: "`a`, `b` and `c`".
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word() {
        let words = || Place::Field.words();
        assert_eq!(nearest("defualt", words()), Some("default"));
        assert_eq!(nearest("Colum", words()), Some("column"));
        assert_eq!(nearest("dbdefault", words()), Some("db_default"));
        assert_eq!(nearest("ids", words()), Some("id"));
        assert_eq!(nearest("primary", words()), None);
        assert_eq!(nearest("", words()), None);
    }

    #[test]
    fn no_word_twice_at_a_place() {
        for (position, symbol) in SYMBOLS.iter().enumerate() {
            assert!(
                !SYMBOLS[..position]
                    .iter()
                    .any(|other| other.word == symbol.word && other.place == symbol.place),
                "{} is listed twice",
                symbol.word
            );
            assert!(symbol.example.starts_with(symbol.word));
        }
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list([]), "none");
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
