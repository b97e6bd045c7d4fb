//! Models of one collection whose conditions do not exclude each other.

use migrate_core::{Migrate, bson::RawDocument, registry};

macro_rules! party {
    ($name:ident, $($words:tt)*) => {
        #[derive(Migrate)]
        #[migrate(collection = "parties", $($words)*)]
        struct $name {
            #[migrate(id)]
            id: i32,
        }
    };
}

party!(All, table = "all");
party!(Companies, when(kind = "company"));
party!(Firms, when(kind = ["firm", "company"]));
party!(Clubs, when(level = "club"));
party!(People, when(kind = "person", level = ["club", "staff"]));
party!(Staff, when(kind = ["person", "contact"], level = "staff"));
party!(Contacts, when(kind = "contact", level = ["club", "guest"]));
party!(Recent, filter = is_recent);

#[derive(Migrate)]
#[migrate(collection = ["clubs", "parties"], when(kind = "club"))]
struct Gathered {
    #[migrate(id)]
    id: i32,
}

fn is_recent(_: &RawDocument) -> bool {
    true
}

registry! { Plain = [All, Companies] }
registry! { Same = [Companies, Firms] }
registry! { Unlike = [Companies, Clubs] }
registry! { Levels = [People, Staff] }
registry! { Filtered = [Companies, Recent] }
registry! { Partly = [Companies, Gathered] }
registry! { Good = [Companies, Staff, Contacts] }

fn main() {}
