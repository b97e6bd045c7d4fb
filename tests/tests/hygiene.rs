//! Generated code means what it says whatever names its user has in scope: without the prelude,
//! and with its names taken by something else.

#![no_implicit_prelude]
#![allow(dead_code, missing_docs, unreachable_pub, non_camel_case_types)]

mod shadows {
    //! The names of the prelude, all meaning something else.
    pub struct Option;
    pub struct Some;
    pub struct None;
    pub struct Result;
    pub struct Ok;
    pub struct Err;
    pub struct Vec;
    pub struct String;
    pub struct Box;
    pub struct Default;
    pub struct Model;
    pub struct Column;
    pub struct Reference;
    pub struct Registry;
    pub struct ModelRef;
    pub struct Value;
    pub struct str;
    pub struct u8;
    pub struct usize;
    pub struct bool;
    pub mod core {}
    pub mod std {}
    pub mod migrate_core {}
}

mod own {
    use ::migrate_core::cell::{CellContext, Wrote};
    use ::migrate_core::schema::{BaseType, CellType};
    use ::migrate_core::{Mismatch, Scalar, ToCell, Value};
    use ::std::vec::Vec;

    pub struct Id;
    impl ::std::default::Default for Id {
        fn default() -> Self {
            Id
        }
    }
    impl ToCell for Id {
        const TYPE: CellType = CellType::scalar(BaseType::Uuid);
        type Literal = Self;
        fn encode(
            _: Value<'_>,
            _: &CellContext,
            _: &mut Vec<u8>,
        ) -> ::std::result::Result<Wrote, Mismatch> {
            ::std::result::Result::Ok(Wrote::Payload)
        }
        fn write(
            &self,
            _: &CellContext,
            _: &mut Vec<u8>,
        ) -> ::std::result::Result<Wrote, Mismatch> {
            ::std::result::Result::Ok(Wrote::Payload)
        }
    }
    impl Scalar for Id {}

    pub fn from_value(
        _: Value<'_>,
    ) -> ::std::result::Result<::std::option::Option<Id>, ::std::string::String> {
        ::std::result::Result::Ok(::std::option::Option::None)
    }

    pub fn from_document(
        _: &::migrate_core::bson::RawDocument,
    ) -> ::std::result::Result<Id, ::std::string::String> {
        ::std::result::Result::Ok(Id)
    }
}

#[derive(::migrate_core::Migrate)]
#[migrate(table = "plain", schema = "s", index(a, b))]
struct Plain {
    #[migrate(id)]
    id: own::Id,
    #[migrate(default, alias = "x")]
    a: own::Id,
    #[migrate(default = own::Id, db_default = "uuid()")]
    #[fk(Self)]
    b: own::Id,
    #[junction(Pairs, owner = left)]
    ids: ::std::vec::Vec<own::Id>,
}

#[derive(::migrate_core::Migrate)]
#[migrate(embedded, index(a, b))]
struct Part {
    a: own::Id,
    #[migrate(path = "b.c", when("k.d" = "x"))]
    b: ::std::option::Option<own::Id>,
    #[migrate(skip)]
    c: own::Id,
}

#[derive(::migrate_core::Migrate)]
#[migrate(junction)]
struct Pairs {
    #[fk(Plain, on_delete = cascade)]
    left: own::Id,
    #[fk(Plain, on_delete = cascade)]
    right: own::Id,
}

mod shadowed {
    #[allow(unused_imports)]
    use super::shadows::*;
    use super::{Pairs, own};

    #[derive(::migrate_core::Migrate)]
    #[migrate(collection = "c", schema = "s", unique(a))]
    struct Shadowed {
        #[migrate(id)]
        id: own::Id,
        #[migrate(with = own::from_value, empty_as_null)]
        a: ::std::option::Option<own::Id>,
        #[migrate(compute = own::from_document, pg_type = "uuid")]
        b: own::Id,
        #[fk(super::Plain, orphan = null)]
        #[migrate(trim, map(Some = "x", None = null), lenient, nul = strip, on_invalid = null)]
        c: ::std::option::Option<own::Id>,
        status: Status,
        #[migrate(flatten(prefix = "part_", present = "has_part"))]
        part: ::std::option::Option<super::Part>,
    }

    #[derive(::migrate_core::PgEnum)]
    #[migrate(schema = "s")]
    enum Status {
        Some,
        None,
        #[migrate(other)]
        r#type,
    }

    ::migrate_core::registry! { pub(super) Everything = [Shadowed, super::Plain, Pairs,]; enums = [Status] }
}

#[test]
fn it_compiles_and_means_the_same() {
    use ::migrate_core::Registry as _;
    let facts = shadowed::Everything::FACTS;
    ::std::assert_eq!(facts.phases, [1, 0, 2]);
    ::std::assert_eq!(facts.enums[0].labels, ["Some", "None", "type"]);
    ::std::assert_eq!(facts.enums[0].schema, ::std::option::Option::Some("s"));
}
