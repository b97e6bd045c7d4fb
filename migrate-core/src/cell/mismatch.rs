//! A value that is not exactly what its column takes: what was expected, what was found, where.

use std::borrow::Cow;
use std::fmt;

use bson::spec::ElementType;

use crate::reject::Reason;
use crate::value::{Malformed, Value};

/// Why a value did not become a cell. Made only when something is wrong, so it may allocate.
#[derive(Debug)]
pub struct Mismatch(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    expected: Cow<'static, str>,
    found: String,
    /// From the inside out.
    path: Vec<PathStep>,
}

/// One step from a column's value to the place inside it that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// A position in an array.
    Index(usize),
    /// A key of an embedded document.
    Key(String),
}

impl Mismatch {
    /// A mismatch with all its parts.
    #[cold]
    pub fn new(
        reason: Reason,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            reason,
            expected: expected.into(),
            found: found.into(),
            path: Vec::new(),
        }))
    }

    /// The value has another BSON type than the column takes.
    #[cold]
    pub fn wrong_type(expected: impl Into<Cow<'static, str>>, value: Value<'_>) -> Self {
        let mut found = describe(value);
        found.push_str(way_to_take(value.kind));
        Self::new(Reason::Type, expected, found)
    }

    /// The value has a type that the column takes, but not a value that it takes.
    #[cold]
    pub fn found(reason: Reason, expected: impl Into<Cow<'static, str>>, value: Value<'_>) -> Self {
        Self::new(reason, expected, describe(value))
    }

    /// The text is not UTF-8.
    #[cold]
    pub fn utf8(value: Value<'_>) -> Self {
        Self::new(Reason::Utf8, "valid UTF-8", format!("{} with invalid UTF-8", value.kind_name()))
    }

    /// The value's bytes are no BSON.
    #[cold]
    pub fn malformed(value: Value<'_>) -> Self {
        Self::new(Reason::Malformed, "valid BSON", format!("malformed {}", value.kind_name()))
    }

    /// A user's own conversion has failed with that message.
    #[cold]
    pub fn own(message: impl fmt::Display) -> Self {
        Self::new(Reason::Invalid, "a value the model's own conversion takes", message.to_string())
    }

    /// Adds the step that leads to the place from outside.
    #[cold]
    #[must_use]
    pub fn at(mut self, step: PathStep) -> Self {
        self.0.path.push(step);
        self
    }

    /// The kind of mismatch.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The same without its path, for those who have it by other means.
    #[cold]
    #[must_use]
    pub(crate) fn without_path(mut self) -> Self {
        self.0.path.clear();
        self
    }

    /// What was expected and what was found.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.0.expected, &self.0.found)
    }

    /// The path below `field`, as in `tags.3` or `address.city`.
    pub fn path(&self, field: &str) -> String {
        let mut path = field.to_owned();
        for step in self.0.path.iter().rev() {
            match step {
                PathStep::Index(index) => path.push_str(&format!(".{index}")),
                PathStep::Key(key) => path.push_str(&format!(".{key}")),
            }
        }
        path
    }
}

impl From<Malformed> for Mismatch {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Self::new(Reason::Malformed, "valid BSON", malformed.to_string())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.0.expected, self.0.found)
    }
}

impl std::error::Error for Mismatch {}

/// How to take a value of a type that no column has, for the end of a message.
fn way_to_take(kind: ElementType) -> &'static str {
    match kind {
        ElementType::Symbol | ElementType::JavaScriptCode | ElementType::RegularExpression => {
            " (take it as `Json` with `json`, as text with `lenient`, or with `with = ..`)"
        }
        ElementType::Timestamp => {
            " (take it as `Json` with `json`, as a time with `lenient`, or with `with = ..`)"
        }
        ElementType::JavaScriptCodeWithScope
        | ElementType::DbPointer
        | ElementType::MinKey
        | ElementType::MaxKey => " (take it as `Json` with `json`, or with `with = ..`)",
        _ => "",
    }
}

/// A value in a message: its type and, where short, itself.
#[cold]
pub(crate) fn describe(value: Value<'_>) -> String {
    const MOST_CHARS: usize = 60;
    let name = value.kind_name();
    // A date that `lenient` has made may be longer than BSON's.
    let value = match value.kind {
        ElementType::DateTime => Value::new(value.kind, &value.bytes[..8]),
        _ => value,
    };
    match value.to_bson() {
        Ok(bson::Bson::String(text)) => {
            let short: String = text.chars().take(MOST_CHARS).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            format!("{name} {short:?}{dots}")
        }
        Ok(bson::Bson::Double(number)) => format!("{name} {number:?}"),
        Ok(bson::Bson::Int32(number)) => format!("{name} {number}"),
        Ok(bson::Bson::Int64(number)) => format!("{name} {number}"),
        Ok(bson::Bson::Decimal128(number)) => format!("{name} {number}"),
        Ok(bson::Bson::Boolean(truth)) => format!("{name} {truth}"),
        Ok(bson::Bson::ObjectId(id)) => format!("{name} {id}"),
        Ok(bson::Bson::DateTime(time)) => match super::json::iso_date(time.timestamp_millis()) {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {} ms", time.timestamp_millis()),
        },
        _ => name.to_owned(),
    }
}
