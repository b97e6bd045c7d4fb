//! What cannot be flattened, and columns that meet.

use migrate_core::{Migrate, registry};
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(flatten)]
    team: Teams,
    zip: String,
    #[migrate(flatten)]
    address: Address,
    #[migrate(path = "home.zip")]
    home_zip: String,
    #[migrate(flatten(prefix = "home_"), rename = "home")]
    home: Option<Address>,
    #[migrate(path = "work.zip", column = "zip_at_work")]
    work_zip: String,
    #[migrate(flatten(prefix = "work_"))]
    work: Option<Address>,
    #[fk(Address)]
    nothing: Option<Uuid>,
}

#[derive(Migrate)]
struct Teams {
    #[migrate(id)]
    id: Uuid,
}

#[derive(Migrate)]
#[migrate(embedded)]
struct Address {
    zip: String,
}

registry! { All = [Teams, Address] }

fn main() {}
