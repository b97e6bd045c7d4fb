//! MongoDB's `sample_analytics` (a bank's accounts and customers) as tables: labels become an enum,
//! an array of account numbers becomes a junction, and a document whose keys are data becomes rows
//! of a table of its own.

#![expect(missing_docs, reason = "the fields are those of the collections")]

use std::collections::HashMap;

use chrono::NaiveDateTime;
use migrate_core::{Migrate, PgEnum, registry};
use uuid::Uuid;

registry! {
    /// The whole database.
    pub Analytics = [Accounts, Customers, CustomersToAccounts, Tiers]
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
    // `{ "0df078f3…": { tier: "Bronze", .. } }`: a document with data for keys becomes child rows.
    #[child(Tiers)]
    #[migrate(rename = "tier_and_details")]
    pub tiers: HashMap<String, Tiers>,
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

/// The entries of `customers.tier_and_details`.
#[derive(Migrate)]
#[migrate(child, table = "customer_tiers")]
pub struct Tiers {
    // Made of the customer's `_id` and the entry's key, always the same.
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(parent, column = "customer_id", index)]
    #[fk(Customers, on_delete = cascade)]
    pub customer: Uuid,
    #[migrate(key, unique)]
    pub code: String,
    pub tier: Tier,
    pub active: bool,
    pub benefits: Vec<String>,
    // The key once more.
    #[migrate(rename = "id", skip)]
    pub same: String,
}

/// How good a customer is.
#[derive(PgEnum)]
#[migrate(name = "tier")]
pub enum Tier {
    Bronze,
    Silver,
    Gold,
    Platinum,
}
