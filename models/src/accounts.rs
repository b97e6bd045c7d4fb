//! Companies, and the industries they work in.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::junctions::{AccountWatchers, DocumentsToAccounts};
use crate::users::Users;

/// A customer, a partner or a vendor: the company that leads, contacts and contracts belong to.
#[derive(Debug, Migrate)]
#[migrate(collection = "crm_Accounts", table = "crm_Accounts")]
pub struct CrmAccounts {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    #[migrate(
        rename = "createdAt",
        column = "createdAt",
        pg_type = "timestamp(3)",
        id_time,
        db_default = "CURRENT_TIMESTAMP",
        index
    )]
    pub created_at: NaiveDateTime,
    #[migrate(rename = "createdBy", column = "createdBy", empty_as_null, index)]
    pub created_by: Option<Uuid>,
    #[migrate(rename = "updatedAt", column = "updatedAt", pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(rename = "updatedBy", column = "updatedBy", empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    pub annual_revenue: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub assigned_to: Option<Uuid>,
    pub billing_city: Option<String>,
    pub billing_country: Option<String>,
    pub billing_postal_code: Option<String>,
    pub billing_state: Option<String>,
    pub billing_street: Option<String>,
    pub company_id: Option<String>,
    pub description: Option<String>,
    pub email: Option<String>,
    pub employees: Option<String>,
    pub fax: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(CrmIndustryType)]
    pub industry: Option<Uuid>,
    pub member_of: Option<String>,
    pub name: String,
    pub office_phone: Option<String>,
    pub shipping_city: Option<String>,
    pub shipping_country: Option<String>,
    pub shipping_postal_code: Option<String>,
    pub shipping_state: Option<String>,
    pub shipping_street: Option<String>,
    #[migrate(default = "Inactive", db_default = "'Inactive'", index)]
    pub status: Option<String>,
    #[migrate(default = "Customer", db_default = "'Customer'", index)]
    pub r#type: Option<String>,
    pub vat: Option<String>,
    pub website: Option<String>,
    #[migrate(rename = "documentsIDs")]
    #[junction(DocumentsToAccounts)]
    pub documents_ids: Vec<Uuid>,
    #[junction(AccountWatchers)]
    pub watchers: Vec<Uuid>,
}

/// An industry that an account works in.
#[derive(Debug, Migrate)]
#[migrate(collection = "crm_Industry_Type", table = "crm_Industry_Type")]
pub struct CrmIndustryType {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
}
