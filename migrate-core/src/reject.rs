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

    /// What to write in the model to accept such documents, if that is wanted.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Missing => {
                "make the field an `Option`, or give it `#[migrate(default = ..)]`; `id_time` fills a time from the ObjectId"
            }
            Self::Type => {
                "give the field the type that the data has, read it with `#[migrate(lenient)]`, as a number from text, or convert it with `with = ..`; `on_invalid = null` gives it up"
            }
            Self::Range => "take a wider type, as `i64` for `i32`",
            Self::Fraction => "take `f64` or `Decimal`, or cut it off with `#[migrate(truncate)]`",
            Self::TooLong => {
                "take a wider type (`String` has no limit), or cut with `#[migrate(truncate)]`; a value too long for an index needs the index dropped"
            }
            Self::Label => {
                "add the label to the enum, replace it with `#[migrate(map(..))]`, or mark a variant `other` that takes unknown ones"
            }
            Self::Nul => {
                "PostgreSQL has no U+0000: take it out with `#[migrate(nul = strip)]` or `nul = replace`"
            }
            Self::NotFinite => {
                "take `f64`, which has NaN and the infinities, or convert with `#[migrate(with = ..)]`"
            }
            Self::Utf8 => "mend the text in the source: PostgreSQL takes UTF-8 alone",
            Self::DuplicateKey => {
                "mend the document in the source: which of the two values is meant, no model can say"
            }
            Self::Malformed => "mend the document in the source: its bytes are no BSON",
            Self::Shape => {
                "take `Json` with `#[migrate(json)]`, which has rows of any length, or mend the document"
            }
            Self::UnknownField => {
                "add a field to the model, `#[migrate(skip)]` or `#[migrate(extra)]`, or take `deny_unknown_fields` off"
            }
            Self::NoModel => {
                "add the value to the `#[migrate(when(..))]` of the model that is to take them, or write a model for them"
            }
            Self::Invalid => "change the function that `with` or `compute` names",
            Self::Orphan => {
                "make the reference an `Option`, which becomes NULL, or write `#[fk(.., orphan = keep)]`, which makes no foreign key"
            }
            Self::Duplicate => {
                "write `#[migrate(index)]` in place of `unique`, or make the values differ in the source"
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
