//! Files, and the kinds of them.

use chrono::NaiveDateTime;
use migrate_core::{Json, Migrate};
use uuid::Uuid;

use crate::junctions::{
    DocumentsToAccounts, DocumentsToContacts, DocumentsToCrmAccountsTasks, DocumentsToInvoices,
    DocumentsToLeads, DocumentsToOpportunities, DocumentsToTasks,
};
use crate::status::DocumentSystemType;
use crate::users::Users;

/// A file with what is known about it, tied to whatever it is about.
#[derive(Debug, Migrate)]
pub struct Documents {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: Option<i32>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP")]
    pub date_created: Option<NaiveDateTime>,
    #[migrate(
        rename = "createdAt",
        column = "createdAt",
        pg_type = "timestamp(3)",
        db_default = "CURRENT_TIMESTAMP",
        index
    )]
    pub created_at: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub last_updated: Option<NaiveDateTime>,
    #[migrate(rename = "updatedAt", column = "updatedAt", pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    pub document_name: String,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub created_by_user: Option<Uuid>,
    #[migrate(rename = "createdBy", column = "createdBy", empty_as_null, index)]
    pub created_by: Option<Uuid>,
    pub description: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(DocumentsTypes)]
    pub document_type: Option<Uuid>,
    #[migrate(index)]
    pub favourite: Option<bool>,
    #[migrate(rename = "document_file_mimeType", column = "document_file_mimeType")]
    pub document_file_mime_type: String,
    pub document_file_url: String,
    #[migrate(index)]
    pub status: Option<String>,
    #[migrate(index)]
    pub visibility: Option<String>,
    #[migrate(json)]
    pub tags: Option<Json>,
    pub key: Option<String>,
    pub size: Option<i32>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub assigned_user: Option<Uuid>,
    #[migrate(default)]
    pub connected_documents: Vec<String>,
    #[migrate(rename = "invoiceIDs")]
    #[junction(DocumentsToInvoices)]
    pub invoice_ids: Vec<Uuid>,
    #[migrate(rename = "opportunityIDs")]
    #[junction(DocumentsToOpportunities)]
    pub opportunity_ids: Vec<Uuid>,
    #[migrate(rename = "contactsIDs")]
    #[junction(DocumentsToContacts)]
    pub contacts_ids: Vec<Uuid>,
    #[migrate(rename = "tasksIDs")]
    #[junction(DocumentsToTasks)]
    pub tasks_ids: Vec<Uuid>,
    #[migrate(rename = "crm_accounts_tasksIDs")]
    #[junction(DocumentsToCrmAccountsTasks)]
    pub crm_accounts_tasks_ids: Vec<Uuid>,
    #[migrate(rename = "leadsIDs")]
    #[junction(DocumentsToLeads)]
    pub leads_ids: Vec<Uuid>,
    #[migrate(rename = "accountsIDs")]
    #[junction(DocumentsToAccounts)]
    pub accounts_ids: Vec<Uuid>,
    #[migrate(default = DocumentSystemType::Other, db_default = "'OTHER'", index)]
    pub document_system_type: Option<DocumentSystemType>,
}

/// A kind of document.
#[derive(Debug, Migrate)]
#[migrate(collection = "Documents_Types", table = "Documents_Types")]
pub struct DocumentsTypes {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
}
