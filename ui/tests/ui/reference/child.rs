use migrate_core::{Migrate, registry};
use uuid::Uuid;

#[derive(Migrate)]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[child(Lines)]
    lines: Vec<Lines>,
    #[child(Lines)]
    more_lines: Vec<Lines>,
    #[child(Shops)]
    shops: Vec<Shops>,
    #[child(Keyed)]
    keyed: Vec<Keyed>,
    #[child(Keyed)]
    lines_of_others: Vec<Lines>,
    #[child(Lines)]
    ids: Vec<Uuid>,
    #[child(Lines)]
    one: Lines,
}

#[derive(Migrate)]
struct Shops {
    #[migrate(id)]
    id: i64,
    #[child(Lines)]
    lines: Vec<Lines>,
    #[child(Prices)]
    prices: Vec<Prices>,
}

#[derive(Migrate)]
#[migrate(child)]
struct Lines {
    #[migrate(id)]
    id: f64,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
}

#[derive(Migrate)]
#[migrate(child)]
struct Keyed {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
    #[migrate(key)]
    key: String,
}

#[derive(Migrate)]
#[migrate(child)]
struct Prices {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Shops)]
    shop: Uuid,
}

#[derive(Migrate)]
#[migrate(child)]
struct Forgotten {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Shops)]
    shop: i64,
}

registry! { Store = [Shops, Prices] }

fn main() {}
