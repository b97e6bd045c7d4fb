//! Models whose names try to be more than names: markup, quotes, text from right to left, and more
//! letters than fit anywhere.

#![expect(missing_docs, reason = "the names say what they are for")]

use migrate_core::{Migrate, registry};
use uuid::Uuid;

#[derive(Migrate)]
#[migrate(
    collection = "\"><img src=x onerror=alert(1)>",
    table = "<script>alert('table')</script>"
)]
#[allow(dead_code)]
pub struct Markup {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(rename = "<b>&amp;\"'", column = "a \"quoted\" <column>")]
    pub text: String,
}

#[derive(Migrate)]
#[migrate(
    collection = "שולחן\u{202e}txt.exe",
    table = "a_table_whose_name_is_as_long_as_a_name_of_postgresql_can_be_63"
)]
#[allow(dead_code)]
pub struct Turned {
    #[migrate(id)]
    pub id: Uuid,
    #[fk(Markup)]
    pub other: Uuid,
}

registry! { pub Hostile = [Markup, Turned] }
