//! The company itself and its employees.

use migrate_core::Migrate;
use uuid::Uuid;

/// The company that runs the CRM.
#[derive(Debug, Migrate)]
pub struct MyAccount {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub company_name: String,
    #[migrate(default = false, db_default = "false")]
    pub is_person: bool,
    pub email: Option<String>,
    pub email_accountant: Option<String>,
    pub phone_prefix: Option<String>,
    pub phone: Option<String>,
    pub mobile_prefix: Option<String>,
    pub mobile: Option<String>,
    pub fax_prefix: Option<String>,
    pub fax: Option<String>,
    pub website: Option<String>,
    pub street: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub zip: Option<String>,
    pub country: Option<String>,
    pub country_code: Option<String>,
    pub billing_street: Option<String>,
    pub billing_city: Option<String>,
    pub billing_state: Option<String>,
    pub billing_zip: Option<String>,
    pub billing_country: Option<String>,
    pub billing_country_code: Option<String>,
    pub currency: Option<String>,
    pub currency_symbol: Option<String>,
    #[migrate(rename = "VAT_number", column = "VAT_number")]
    pub vat_number: String,
    #[migrate(rename = "TAX_number", column = "TAX_number")]
    pub tax_number: Option<String>,
    pub bank_name: Option<String>,
    pub bank_account: Option<String>,
    pub bank_code: Option<String>,
    #[migrate(rename = "bank_IBAN", column = "bank_IBAN")]
    pub bank_iban: Option<String>,
    #[migrate(rename = "bank_SWIFT", column = "bank_SWIFT")]
    pub bank_swift: Option<String>,
}

/// Somebody who works for the company.
#[derive(Debug, Migrate)]
pub struct Employees {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub avatar: String,
    pub email: Option<String>,
    pub name: String,
    pub salary: i64,
    pub status: String,
}
