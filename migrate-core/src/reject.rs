//! A document that was not loaded, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a document was rejected. The code is what the ledger stores and what people group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// A required field is missing or null.
    Missing,
    /// The value has another type than the column takes.
    Type,
    /// A number outside the column's range.
    Range,
    /// A number with a fraction where a whole one is needed.
    Fraction,
    /// More digits or characters than the column's type allows.
    TooLong,
    /// A label that the enum does not have.
    Label,
    /// U+0000 in text or JSON.
    Nul,
    /// NaN or an infinity where PostgreSQL has none.
    NotFinite,
    /// Text that is not UTF-8.
    Utf8,
    /// The same key twice in one document.
    DuplicateKey,
    /// The document is no BSON.
    Malformed,
    /// A nesting deeper than the runtime follows, or an array whose rows differ in length.
    Shape,
    /// The model's own conversion refused it.
    Invalid,
    /// A field that the model does not take, where the model refuses such fields.
    UnknownField,
    /// No model of the collection takes such documents.
    NoModel,
    /// A required reference points to nothing.
    Orphan,
    /// Another document has the same unique value, and a smaller `_id`.
    Duplicate,
    /// The target refused the row: a check, an exclusion, a trigger.
    Constraint,
}

impl Reason {
    /// The code in the ledger, as in `duplicate_key`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Range => "range",
            Self::Fraction => "fraction",
            Self::TooLong => "too_long",
            Self::Label => "label",
            Self::Nul => "nul",
            Self::NotFinite => "not_finite",
            Self::Utf8 => "utf8",
            Self::DuplicateKey => "duplicate_key",
            Self::Malformed => "malformed",
            Self::Shape => "shape",
            Self::Invalid => "invalid",
            Self::UnknownField => "unknown_field",
            Self::NoModel => "no_model",
            Self::Orphan => "orphan",
            Self::Duplicate => "duplicate",
            Self::Constraint => "constraint",
        }
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 18] = [
        Self::Missing,
        Self::Type,
        Self::Range,
        Self::Fraction,
        Self::TooLong,
        Self::Label,
        Self::Nul,
        Self::NotFinite,
        Self::Utf8,
        Self::DuplicateKey,
        Self::Malformed,
        Self::Shape,
        Self::Invalid,
        Self::UnknownField,
        Self::NoModel,
        Self::Orphan,
        Self::Duplicate,
        Self::Constraint,
    ];

    /// What to do to have such documents accepted, if that is wanted: in the model where a model can
    /// say it, else in the source or the target. `field` and `message` are those of the reject, or of
    /// a group of them.
    pub fn advice(self, field: &str, message: &str) -> &'static str {
        let expected = message.strip_prefix("expected ").unwrap_or(message);
        let is = |start: &str| expected.starts_with(start);
        let is_id = field == "_id";
        match self {
            Self::Missing if is_id => {
                "no row is without its id: give the document an `_id` in the source"
            }
            Self::Missing => {
                "make the field an `Option`, or give it `#[migrate(default = ..)]`; `id_time` fills a time from the ObjectId"
            }
            Self::Type if is_id => {
                "take `Uuid` for the id, which is made of every type, or `MixedId`, which keeps `_id`s of several types as text"
            }
            Self::Type => {
                "give the field the type that the data has, read it with `#[migrate(lenient)]`, as a number from text, or convert it with `with = ..`; `on_invalid = null` gives it up"
            }
            Self::Range if is("a timestamp") || is("a date") => {
                "PostgreSQL has no such time: mend it in the source, keep it as text with `#[migrate(with = ..)]`, or give it up with `on_invalid = null`"
            }
            Self::Range if is("a latitude") => {
                "mend the coordinates in the source: latitude and longitude may have changed places; `#[migrate(on_invalid = null)]` gives them up"
            }
            Self::Range if is("int8") => "take `Decimal`, which has numbers of any size",
            Self::Range if is("float4") => "take `f64`",
            Self::Range if is("a number that a float") => "take `Decimal`",
            Self::Range if is("numeric") => {
                "take more digits before the point, as `#[migrate(pg_type = \"numeric(20, 2)\")]`, or no limit"
            }
            Self::Range if is("int") => "take a wider type, as `i64` for `i32`",
            Self::Range => {
                "take a wider type, mend the value in the source, or give it up with `#[migrate(on_invalid = null)]`"
            }
            Self::Fraction if is("a date") => {
                "take `NaiveDateTime` or `DateTime<Utc>`, which have a time of day, or cut it off with `#[migrate(truncate)]`"
            }
            Self::Fraction => "take `f64` or `Decimal`, or cut it off with `#[migrate(truncate)]`",
            Self::TooLong if is("float4") => {
                "take `f64` or `Decimal`, or the nearest number that the type has with `#[migrate(lenient)]`"
            }
            Self::TooLong if is("float8") => {
                "take `Decimal`, or the nearest number that the type has with `#[migrate(lenient)]`"
            }
            Self::TooLong if is("a timestamp") => {
                "take a `pg_type` with more digits of the second, up to `timestamp(6)`, or cut them off with `#[migrate(truncate)]`"
            }
            Self::TooLong if is("numeric") => {
                "take more digits behind the point, as `#[migrate(pg_type = \"numeric(20, 6)\")]`, or cut them off with `#[migrate(truncate)]`"
            }
            Self::TooLong if is("a number of at most") => {
                "take `String`, which keeps every digit, or give the value up with `#[migrate(on_invalid = null)]`"
            }
            Self::TooLong if is("a row") || is("jsonb") => {
                "PostgreSQL has no room for it: leave parts out with `#[migrate(skip)]`, take them into columns with `path = ..`, or make rows of an array with `#[child(..)]`"
            }
            Self::TooLong if expected.contains("index") => {
                "take the index or the key off the field in the model (and in the target, where it was there before): values of that length do not fit into one"
            }
            Self::TooLong => {
                "take a wider type (`String` has no limit), or cut with `#[migrate(truncate)]`"
            }
            Self::Label => {
                "add the label to the enum, replace it with `#[migrate(map(..))]`, or mark a variant `other` that takes unknown ones"
            }
            Self::Nul if is_id || is("an id") => {
                "PostgreSQL has no U+0000, and an id is kept as it is: mend it in the source"
            }
            Self::Nul => {
                "PostgreSQL has no U+0000: take it out with `#[migrate(nul = strip)]` or `nul = replace`"
            }
            Self::NotFinite if is("a finite number") => {
                "JSON has no NaN and no infinities: write the field with `#[migrate(json = \"extended\")]`, which has, or mend the value in the source"
            }
            Self::NotFinite if is("a vector") => {
                "mend the vector in the source, or give it up with `#[migrate(on_invalid = null)]`"
            }
            Self::NotFinite if is("a finite numeric") => {
                "take `Decimal` without a limit of digits (infinities need PostgreSQL 14), or `f64`"
            }
            Self::NotFinite => {
                "take `f64`, which has NaN and the infinities, or convert with `#[migrate(with = ..)]`"
            }
            Self::Utf8 => "mend the text in the source: PostgreSQL takes UTF-8 alone",
            Self::DuplicateKey => {
                "mend the document in the source: which of the two values is meant, no model can say"
            }
            Self::Malformed => "mend the document in the source: its bytes are no BSON",
            Self::Shape if is("at most") => {
                "mend the document in the source: nothing takes so many levels"
            }
            Self::Shape if expected.contains("coordinates") => {
                "mend the coordinates in the source, or convert them with `#[migrate(with = ..)]`; `Geometry` takes an altitude, `Point` none"
            }
            Self::Shape if is("a vector") => {
                "give the field the number of dimensions that the data has, mend the vector in the source, or give it up with `#[migrate(on_invalid = null)]`"
            }
            Self::Shape => {
                "take `Json` with `#[migrate(json)]`, which has rows of any length, or mend the document"
            }
            Self::UnknownField => {
                "add a field to the model, `#[migrate(skip)]` or `#[migrate(extra)]`, or take `deny_unknown_fields` off"
            }
            Self::NoModel => {
                "add the value to the `#[migrate(when(..))]` of the model that is to take them, or write a model for them"
            }
            Self::Invalid => {
                "change the function that `with` or `compute` names, or mend the value in the source"
            }
            Self::Orphan if expected.contains("its own document's row") => {
                "have the document accepted that the element stands in: it is rejected itself; `migrate rejects retry` then loads both"
            }
            Self::Orphan if expected.contains("without it the row is refused") => {
                "load what the reference names, or change the `check` that asks for it"
            }
            Self::Orphan => {
                "load what the reference names and try again, make the reference an `Option`, which becomes NULL, or write `#[fk(.., orphan = keep)]`, which makes no foreign key"
            }
            Self::Duplicate if is_id || is("an id") || expected.contains("_pkey\"") => {
                "no model keeps two documents of one id: give one another `_id` in the source, or take it away there (an ObjectId and the text of its digits are one id, and so is one `_id` in two collections)"
            }
            Self::Duplicate => {
                "write `#[migrate(index)]` in place of `unique`, or make the values differ in the source"
            }
            Self::Constraint if is("exactly one of") => {
                "mend the document in the source, or take `one_of(..)` off the model"
            }
            Self::Constraint if is("`") => {
                "mend the document in the source, or change the `check` of the model"
            }
            Self::Constraint => "change the constraint or the trigger in the target",
        }
    }

    /// The reason with that code; `Constraint` for one that this version does not know.
    pub fn from_code(code: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.code() == code).unwrap_or(Self::Constraint)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The stage that rejected a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The conversion.
    Transform,
    /// The COPY: a constraint of the target.
    Write,
    /// After the load: orphans and duplicates.
    Settle,
}

impl Stage {
    /// The stage in the ledger.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Write => "write",
            Self::Settle => "settle",
        }
    }

    /// The stage with that code; `Settle` for one that this version does not know.
    pub fn from_code(code: &str) -> Self {
        match code {
            "transform" => Self::Transform,
            "write" => Self::Write,
            _ => Self::Settle,
        }
    }
}

/// One rejected document.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The collection it was read from.
    pub collection: String,
    /// The table it was meant for.
    pub table: String,
    /// Its `_id` in relaxed form: a bare hex string for an ObjectId, else Extended JSON; empty
    /// when it has none.
    pub source_id: String,
    /// The stage that rejected it.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
    /// The path of the field, as in `tags.3`; empty when it is about the whole document.
    pub field: String,
    /// What was expected and what was found.
    pub message: String,
    /// The document as it was read.
    pub document: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_about_what_was_found() {
        for (reason, field, message, part) in [
            (
                Reason::Range,
                "due",
                "expected a timestamp between 4714-11-24 BC and 294276-12-31, found date",
                "no such time",
            ),
            (
                Reason::Range,
                "day",
                "expected a date between 4714-11-24 BC and 5874897-12-31, found date",
                "no such time",
            ),
            (Reason::Range, "count", "expected int4, found int64", "`i64` for `i32`"),
            (Reason::Range, "count", "expected int8, found double", "`Decimal`"),
            (Reason::Range, "price", "expected numeric(5, 2), found decimal", "before the point"),
            (Reason::Fraction, "day", "expected a date at midnight UTC, found date", "time of day"),
            (Reason::TooLong, "price", "expected numeric(5, 2), found decimal", "behind the point"),
            (Reason::TooLong, "ratio", "expected float8, found int64", "`Decimal`"),
            (Reason::TooLong, "name", "expected at most 80 characters, found string", "`String`"),
            (
                Reason::TooLong,
                "name",
                "expected at most 2704 bytes for an entry of the index a, found 3000",
                "take the index",
            ),
            (Reason::Duplicate, "_id", "expected an id of its own", "two documents of one id"),
            (
                Reason::Duplicate,
                "",
                "duplicate key value violates unique constraint \"Users_pkey\"",
                "two documents of one id",
            ),
            (Reason::Duplicate, "email", "expected a value of its own", "in place of `unique`"),
            (Reason::Missing, "_id", "expected uuid, found no such field", "give the document"),
            (Reason::Constraint, "a", "expected exactly one of `a`, `b`, found 2", "`one_of(..)`"),
            (
                Reason::Constraint,
                "",
                "expected `price >= 0`, which the row does not fulfil",
                "the `check` of the model",
            ),
            (Reason::Constraint, "", "no Mondays", "the trigger in the target"),
        ] {
            let advice = reason.advice(field, message);
            assert!(advice.contains(part), "{reason} {message}: {advice}");
        }
        // None is without.
        for reason in Reason::ALL {
            assert!(!reason.advice("", "").is_empty());
        }
    }
}
