//! The `migrate` command for NextCRM.

fn main() {}
