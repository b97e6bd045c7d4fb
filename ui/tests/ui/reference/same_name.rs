//! A run knows its models by their names.

use migrate_core::{Migrate, registry};
use uuid::Uuid;

mod crm {
    use super::*;

    #[derive(Migrate)]
    #[migrate(table = "crm_users")]
    pub(crate) struct Users {
        #[migrate(id)]
        id: Uuid,
    }
}

mod shop {
    use super::*;

    #[derive(Migrate)]
    #[migrate(table = "shop_users", collection = "shop_users")]
    pub(crate) struct Users {
        #[migrate(id)]
        id: Uuid,
    }
}

registry! { pub(crate) All = [crm::Users, shop::Users] }

fn main() {}
