//! Deals that may be made, and what they are sorted by.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::junctions::{ContactsToOpportunities, DocumentsToOpportunities};
use crate::status::OpportunityStatus;
use crate::users::Users;

/// A deal that may be made with an account.
#[derive(Debug, Migrate)]
#[migrate(
    collection = "crm_Opportunities",
    table = "crm_Opportunities",
    index(status, sales_stage)
)]
pub struct CrmOpportunities {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0, db_default = "0")]
    pub v: i32,
    #[migrate(empty_as_null, index)]
    #[fk(CrmAccounts)]
    pub account: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub assigned_to: Option<Uuid>,
    #[migrate(default = 0, db_default = "0")]
    pub budget: i64,
    #[migrate(empty_as_null, index)]
    #[fk(CrmCampaigns)]
    pub campaign: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", index)]
    pub close_date: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub contact: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub created_by: Option<Uuid>,
    #[migrate(rename = "createdBy", column = "createdBy", empty_as_null)]
    pub creator: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP")]
    pub created_on: Option<NaiveDateTime>,
    #[migrate(
        rename = "createdAt",
        column = "createdAt",
        pg_type = "timestamp(3)",
        id_time,
        db_default = "CURRENT_TIMESTAMP",
        index
    )]
    pub created_at: NaiveDateTime,
    #[migrate(pg_type = "timestamp(3)")]
    pub last_activity: Option<NaiveDateTime>,
    #[migrate(rename = "updatedAt", column = "updatedAt", pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(rename = "updatedBy", column = "updatedBy", empty_as_null)]
    pub updated_by: Option<Uuid>,
    #[migrate(empty_as_null)]
    pub last_activity_by: Option<Uuid>,
    pub currency: Option<String>,
    pub description: Option<String>,
    #[migrate(default = 0, db_default = "0")]
    pub expected_revenue: i64,
    pub name: Option<String>,
    pub next_step: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(CrmOpportunitiesSalesStages)]
    pub sales_stage: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(CrmOpportunitiesType)]
    pub r#type: Option<Uuid>,
    #[migrate(default = OpportunityStatus::Active, db_default = "'ACTIVE'", index)]
    pub status: Option<OpportunityStatus>,
    #[junction(DocumentsToOpportunities)]
    pub connected_documents: Vec<Uuid>,
    #[junction(ContactsToOpportunities)]
    pub connected_contacts: Vec<Uuid>,
}

/// A campaign that opportunities come from.
#[derive(Debug, Migrate)]
#[migrate(collection = "crm_campaigns", table = "crm_campaigns")]
pub struct CrmCampaigns {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
    pub description: Option<String>,
    pub status: Option<String>,
}

/// A stage that an opportunity passes on its way to a deal.
#[derive(Debug, Migrate)]
#[migrate(collection = "crm_Opportunities_Sales_Stages", table = "crm_Opportunities_Sales_Stages")]
pub struct CrmOpportunitiesSalesStages {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
    pub probability: Option<i64>,
    pub order: Option<i64>,
}

/// A kind of opportunity.
#[derive(Debug, Migrate)]
#[migrate(collection = "crm_Opportunities_Type", table = "crm_Opportunities_Type")]
pub struct CrmOpportunitiesType {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
    pub order: Option<i64>,
}
