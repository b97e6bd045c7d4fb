//! Lists that are no registry.

use migrate_core::registry;

registry! { pub Shop }
registry! { pub Shop = [Users Orders] }
registry! { Shop = [] ; models = [] }
registry! { Shop = ["Users"] }
registry! {}

fn main() {}
