//! Contracts with companies.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::status::ContractStatus;
use crate::users::Users;

/// A contract with an account.
#[derive(Debug, Migrate)]
#[migrate(
    collection = "crm_Contracts",
    table = "crm_Contracts",
    rename_all = "camelCase",
    column_case = "camelCase",
    index(start_date, end_date)
)]
pub struct CrmContracts {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub title: String,
    pub value: i32,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub start_date: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)", index)]
    pub end_date: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub renewal_reminder_date: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub customer_signed_date: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub company_signed_date: Option<NaiveDateTime>,
    pub description: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(CrmAccounts)]
    pub account: Option<Uuid>,
    #[migrate(rename = "assigned_to", column = "assigned_to", empty_as_null, index)]
    #[fk(Users)]
    pub assigned_to: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub created_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub created_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    #[migrate(default = ContractStatus::NotStarted, db_default = "'NOTSTARTED'", index)]
    pub status: ContractStatus,
    pub r#type: Option<String>,
}
