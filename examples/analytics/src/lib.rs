//! MongoDB's `sample_analytics` (a bank's accounts and customers) as tables: labels become an enum,
//! and an array of account numbers becomes a junction.

#![expect(missing_docs, reason = "the fields are those of the collections")]

use chrono::NaiveDateTime;
use migrate_core::{Json, Migrate, PgEnum, registry};
use uuid::Uuid;

registry! {
    /// The whole database.
    pub Analytics = [Accounts, Customers, CustomersToAccounts]
}

/// `db.accounts`. Customers know an account by its number and not by its `_id`, so the number is
/// unique. Two documents have the number 627788: the older one (the smaller `_id`) stays, the other
/// is a reject that says so, and the customer who has the number has the account that stayed.
#[derive(Migrate)]
#[migrate(collection = "accounts", table = "accounts")]
pub struct Accounts {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(rename = "account_id", column = "number", unique)]
    pub number: i32,
    #[migrate(rename = "limit", column = "credit_limit")]
    pub credit_limit: i32,
    // An array of labels is an array of the enum's type.
    pub products: Vec<Product>,
}

/// What an account may hold. A label that is not here rejects the document.
#[derive(PgEnum)]
#[migrate(name = "product")]
pub enum Product {
    Brokerage,
    Commodity,
    CurrencyService,
    Derivatives,
    InvestmentFund,
    InvestmentStock,
}

/// `db.customers`.
#[derive(Migrate)]
#[migrate(collection = "customers", table = "customers")]
pub struct Customers {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(index)]
    pub username: String,
    pub name: String,
    pub address: String,
    pub birthdate: NaiveDateTime,
    #[migrate(index)]
    pub email: String,
    // One customer has it; the others get the default.
    #[migrate(default = false)]
    pub active: bool,
    // `[371138, 324287, ..]`: an array of keys becomes rows of the junction.
    #[junction(CustomersToAccounts)]
    pub accounts: Vec<i32>,
    // `{ "0df078f3…": { tier: "Bronze", .. } }`: a document with data for keys.
    #[migrate(rename = "tier_and_details", column = "tiers", json)]
    pub tiers: Json,
}

/// Which customer has which accounts. `key` names the column that is referred to.
#[derive(Migrate)]
#[migrate(junction, table = "customer_accounts")]
pub struct CustomersToAccounts {
    #[fk(Customers, on_delete = cascade)]
    #[migrate(column = "customer_id")]
    pub customer: Uuid,
    #[fk(Accounts, key = "number", on_delete = cascade)]
    #[migrate(column = "account_number", index)]
    pub account: i32,
}
