//! People who may become customers.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::junctions::DocumentsToLeads;
use crate::users::Users;

/// Somebody who may become a customer.
#[derive(Debug, Migrate)]
#[migrate(
    collection = "crm_Leads",
    table = "crm_Leads",
    rename_all = "camelCase",
    column_case = "camelCase"
)]
pub struct CrmLeads {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0, db_default = "0")]
    pub v: i32,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub created_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub created_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    pub first_name: Option<String>,
    pub last_name: String,
    pub company: Option<String>,
    pub job_title: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub description: Option<String>,
    #[migrate(rename = "lead_source", column = "lead_source")]
    pub lead_source: Option<String>,
    #[migrate(rename = "refered_by", column = "refered_by")]
    pub refered_by: Option<String>,
    pub campaign: Option<String>,
    #[migrate(default = "NEW", db_default = "'NEW'", index)]
    pub status: Option<String>,
    #[migrate(default = "DEMO", db_default = "'DEMO'", index)]
    pub r#type: Option<String>,
    #[migrate(rename = "assigned_to", column = "assigned_to", empty_as_null, index)]
    #[fk(Users)]
    pub assigned_to: Option<Uuid>,
    #[migrate(rename = "accountsIDs", column = "accountsIDs", empty_as_null, index)]
    #[fk(CrmAccounts)]
    pub accounts_ids: Option<Uuid>,
    #[migrate(rename = "documentsIDs")]
    #[junction(DocumentsToLeads)]
    pub documents_ids: Vec<Uuid>,
}
