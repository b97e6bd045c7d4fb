//! A migration of your own: the models of two collections, and a `main` of three lines.
//!
//! ```text
//! cargo run --example own_models -- plan
//! cargo run --example own_models -- generate --out ./dump/shop
//! cargo run --example own_models -- run --source ./dump/shop --target postgres://me@localhost/shop
//! ```

#![expect(missing_docs, reason = "the fields say what they are")]

use chrono::{DateTime, Utc};
use migrate_core::{Migrate, PgEnum, registry};
use uuid::Uuid;

/// `db.customers`: one document, one row.
#[derive(Migrate)]
#[migrate(collection = "customers", table = "customers")]
pub struct Customers {
    #[migrate(id)]
    pub id: Uuid,
    pub name: String,
    #[migrate(unique)]
    pub email: String,
    #[migrate(rename = "createdAt", column = "created_at", id_time)]
    pub created_at: DateTime<Utc>,
}

/// `db.orders`: each refers to a customer.
#[derive(Migrate)]
#[migrate(collection = "orders", table = "orders")]
pub struct Orders {
    #[migrate(id)]
    pub id: Uuid,
    #[fk(Customers)]
    pub customer: Uuid,
    #[migrate(default, index)]
    pub state: OrderState,
    #[migrate(rename = "totalCents", column = "total_cents")]
    pub total_cents: i64,
    pub note: Option<String>,
}

/// Becomes a PostgreSQL enum type.
#[derive(Default, PgEnum)]
#[migrate(rename_all = "lowercase")]
pub enum OrderState {
    #[default]
    Open,
    Paid,
    Sent,
}

registry! { pub Shop = [Customers, Orders] }

fn main() -> std::process::ExitCode {
    migrate_cli::main::<Shop>()
}
