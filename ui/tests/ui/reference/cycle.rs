//! Models that refer to each other in a circle: the whole path, once.

use migrate_core::{Migrate, registry};
use uuid::Uuid;

#[derive(Migrate)]
struct Sections {
    #[migrate(id)]
    id: Uuid,
    #[fk(Documents)]
    document: Option<Uuid>,
}

#[derive(Migrate)]
struct Documents {
    #[migrate(id)]
    id: Uuid,
    #[fk(Documents)]
    parent: Option<Uuid>,
    #[fk(Tasks)]
    task: Option<Uuid>,
}

#[derive(Migrate)]
struct Tasks {
    #[migrate(id)]
    id: Uuid,
    #[fk(Sections)]
    section: Option<Uuid>,
}

registry! { pub Crm = [Sections, Documents, Tasks] }

fn main() {}
