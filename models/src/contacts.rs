//! People at companies.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::junctions::{ContactsToOpportunities, DocumentsToContacts};
use crate::users::Users;

/// A person at an account.
#[derive(Debug, Migrate)]
#[migrate(collection = "crm_Contacts", table = "crm_Contacts")]
pub struct CrmContacts {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0, db_default = "0")]
    pub v: i32,
    #[migrate(empty_as_null)]
    pub account: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub assigned_to: Option<Uuid>,
    pub birthday: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub created_by: Option<Uuid>,
    #[migrate(rename = "createdBy", column = "createdBy", empty_as_null, index)]
    pub creator: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP")]
    pub created_on: Option<NaiveDateTime>,
    #[migrate(
        rename = "cratedAt",
        column = "cratedAt",
        pg_type = "timestamp(3)",
        db_default = "CURRENT_TIMESTAMP",
        index
    )]
    pub crated_at: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub last_activity: Option<NaiveDateTime>,
    #[migrate(rename = "updatedAt", column = "updatedAt", pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(rename = "updatedBy", column = "updatedBy", empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    #[migrate(empty_as_null)]
    pub last_activity_by: Option<Uuid>,
    pub description: Option<String>,
    pub email: Option<String>,
    pub personal_email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: String,
    pub office_phone: Option<String>,
    pub mobile_phone: Option<String>,
    pub website: Option<String>,
    pub position: Option<String>,
    #[migrate(default = true, db_default = "true", index)]
    pub status: bool,
    pub social_twitter: Option<String>,
    pub social_facebook: Option<String>,
    pub social_linkedin: Option<String>,
    pub social_skype: Option<String>,
    pub social_instagram: Option<String>,
    pub social_youtube: Option<String>,
    pub social_tiktok: Option<String>,
    #[migrate(default = "Customer", db_default = "'Customer'", index)]
    pub r#type: Option<String>,
    #[migrate(default)]
    pub tags: Vec<String>,
    #[migrate(default)]
    pub notes: Vec<String>,
    #[migrate(rename = "opportunitiesIDs")]
    #[junction(ContactsToOpportunities)]
    pub opportunities_ids: Vec<Uuid>,
    #[migrate(rename = "accountsIDs", column = "accountsIDs", empty_as_null, index)]
    #[fk(CrmAccounts)]
    pub accounts_ids: Option<Uuid>,
    #[migrate(rename = "documentsIDs")]
    #[junction(DocumentsToContacts)]
    pub documents_ids: Vec<Uuid>,
}
