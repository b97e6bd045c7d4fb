//! Models and documents to measure with: a CRM's contacts as a whole, and for each kind of cell a
//! model of sixteen columns of it.

use bson::oid::ObjectId;
use bson::{Bson, Document};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use migrate_core::id::IdScheme;
use migrate_core::schema::Model;
use migrate_core::transform::{TargetFacts, Transformer};
use migrate_core::{Decimal, Json, Migrate, PgEnum};
use uuid::Uuid;

use super::contacts::{Contacts, Order, documents};

/// A model and its documents.
pub(crate) struct Case {
    model: &'static Model,
    pub(crate) documents: Vec<Vec<u8>>,
}

impl Case {
    /// A transformer for the case's model.
    pub(crate) fn transformer(&self) -> Transformer {
        let facts = TargetFacts::new(180_000, IdScheme::V8);
        let origins: Vec<i16> = self.model.junctions.iter().map(|_| 1).collect();
        Transformer::new(self.model, &facts, &origins).expect("the model's defaults are right")
    }
}

/// How many columns of its kind a model has beside its id.
pub(crate) const COLUMNS: usize = 16;
/// How many documents a case has.
pub(crate) const DOCUMENTS: u32 = 200;

macro_rules! models {
    ($($(#[$attribute:meta])* $name:ident: $ty:ty;)*) => {$(
        #[derive(Migrate)]
        struct $name {
            #[migrate(id)]
            id: Uuid,
            $(#[$attribute])* column_0: $ty,
            $(#[$attribute])* column_1: $ty,
            $(#[$attribute])* column_2: $ty,
            $(#[$attribute])* column_3: $ty,
            $(#[$attribute])* column_4: $ty,
            $(#[$attribute])* column_5: $ty,
            $(#[$attribute])* column_6: $ty,
            $(#[$attribute])* column_7: $ty,
            $(#[$attribute])* column_8: $ty,
            $(#[$attribute])* column_9: $ty,
            $(#[$attribute])* column_10: $ty,
            $(#[$attribute])* column_11: $ty,
            $(#[$attribute])* column_12: $ty,
            $(#[$attribute])* column_13: $ty,
            $(#[$attribute])* column_14: $ty,
            $(#[$attribute])* column_15: $ty,
        }
    )*};
}

models! {
    Booleans: Option<bool>;
    Integers: Option<i32>;
    LongIntegers: Option<i64>;
    Floats: Option<f64>;
    Decimals: Option<Decimal>;
    Ids: Option<Uuid>;
    Texts: Option<String>;
    Times: Option<DateTime<Utc>>;
    #[migrate(pg_type = "timestamp(3)")]
    ShortTimes: Option<NaiveDateTime>;
    Dates: Option<NaiveDate>;
    Bytes: Option<Vec<u8>>;
    Labels: Option<Level>;
    TextArrays: Vec<String>;
    NumberArrays: Vec<i32>;
    Documents: Option<Json>;
    #[migrate(trim)]
    TrimmedTexts: Option<String>;
    #[migrate(default = 7)]
    Defaults: i32;
}

#[derive(PgEnum)]
enum Level {
    Low,
    Middle,
    High,
}

/// The names of all cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(name, _)| *name)
}

/// The case of that name. `NAME*N` is one of its size times `N`.
pub(crate) fn of(name: &str) -> Option<Case> {
    let (name, factor) = match name.split_once('*') {
        Some((name, factor)) => (name, factor.parse().ok()?),
        None => (name, 1),
    };
    let (_, make) = CASES.iter().find(|(case, _)| *case == name)?;
    Some(make(factor))
}

type Make = fn(usize) -> Case;

const CASES: &[(&str, Make)] = &[
    ("contacts", |_| contacts(Order::Same)),
    ("contacts in any order", |_| contacts(Order::Shuffled)),
    ("missing", |_| Case {
        model: Texts::MODEL.get(),
        documents: (0..DOCUMENTS).map(|number| bytes(&with_id(number))).collect(),
    }),
    ("null", |_| columns::<Texts>(|_| Bson::Null)),
    ("default", |_| Case {
        model: Defaults::MODEL.get(),
        documents: (0..DOCUMENTS).map(|number| bytes(&with_id(number))).collect(),
    }),
    ("bool", |_| columns::<Booleans>(|number| (number % 2 == 0).into())),
    ("int4", |_| columns::<Integers>(|number| (number as i32).into())),
    ("int8", |_| columns::<LongIntegers>(|number| i64::from(number).into())),
    ("float8", |_| columns::<Floats>(|number| (f64::from(number) / 8.0).into())),
    ("numeric", |_| {
        columns::<Decimals>(|number| {
            let text = format!("{number}.{:02}", number % 100);
            Bson::Decimal128(text.parse().expect("a number"))
        })
    }),
    ("uuid of an ObjectId", |_| columns::<Ids>(|number| object_id(number).into())),
    ("uuid of hex digits", |_| columns::<Ids>(|number| object_id(number).to_hex().into())),
    ("text", |factor| columns::<Texts>(|_| "twenty-one bytes here".repeat(factor).into())),
    ("text beyond ASCII", |factor| {
        columns::<Texts>(|_| "dvacet šest bajtů tu je".repeat(factor).into())
    }),
    ("trimmed text", |_| columns::<TrimmedTexts>(|_| "twenty-one bytes here".into())),
    ("timestamptz", |_| columns::<Times>(time)),
    ("timestamp(3)", |_| columns::<ShortTimes>(time)),
    ("date", |_| {
        columns::<Dates>(|number| {
            bson::DateTime::from_millis(i64::from(number) * 86_400_000).into()
        })
    }),
    ("bytea", |factor| {
        columns::<Bytes>(|_| {
            Bson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: vec![7; 32 * factor],
            })
        })
    }),
    ("enum", |_| columns::<Labels>(|number| ["Low", "Middle", "High"][number as usize % 3].into())),
    ("text[]", |factor| {
        columns::<TextArrays>(|_| ["one", "two", "three", "four"].repeat(factor).into())
    }),
    ("int4[]", |factor| columns::<NumberArrays>(|_| [1, 2, 3, 4].repeat(factor).into())),
    ("jsonb", |factor| {
        columns::<Documents>(|number| {
            let parts = (0..factor).map(|part| {
                let inside = bson::doc! {
                    "name": "a value", "count": number as i32, "right": true,
                    "list": [1, "two", null],
                };
                (format!("part_{part}"), inside.into())
            });
            Bson::Document(parts.collect())
        })
    }),
    ("unknown fields", |factor| {
        let document = |number| {
            let mut document = with_id(number);
            for field in 0..COLUMNS * factor {
                document.insert(format!("field_{field}"), number as i32);
            }
            bytes(&document)
        };
        Case { model: Texts::MODEL.get(), documents: (0..DOCUMENTS).map(document).collect() }
    }),
];

fn contacts(order: Order) -> Case {
    Case { model: Contacts::MODEL.get(), documents: documents(DOCUMENTS, order) }
}

/// Documents with a value in each of the columns.
fn columns<M: Migrate>(value: impl Fn(u32) -> Bson) -> Case {
    let document = |number| {
        let mut document = with_id(number);
        for column in 0..COLUMNS as u32 {
            document.insert(format!("column_{column}"), value(number * 31 + column));
        }
        bytes(&document)
    };
    Case { model: M::MODEL.get(), documents: (0..DOCUMENTS).map(document).collect() }
}

fn with_id(number: u32) -> Document {
    bson::doc! { "_id": object_id(number) }
}

fn object_id(number: u32) -> ObjectId {
    let mut bytes = *b"\x5f\x50\0\0machin\0\0";
    bytes[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn time(number: u32) -> Bson {
    bson::DateTime::from_millis(1_600_000_000_000 + i64::from(number) * 1001).into()
}

fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().expect("a sample is BSON")
}
