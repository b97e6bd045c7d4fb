//! Invoices, and the states they pass.

use chrono::NaiveDateTime;
use migrate_core::{Json, Migrate};
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::junctions::DocumentsToInvoices;
use crate::users::Users;

/// An invoice with the partner that wrote it and what was read out of its file.
#[derive(Debug, Migrate)]
#[migrate(index(status, date_created))]
pub struct Invoices {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: Option<i32>,
    #[migrate(pg_type = "timestamp(3)", id_time, db_default = "CURRENT_TIMESTAMP", index)]
    pub date_created: NaiveDateTime,
    #[migrate(pg_type = "timestamp(3)", id_time)]
    pub last_updated: NaiveDateTime,
    #[migrate(empty_as_null, index)]
    pub last_updated_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP")]
    pub date_received: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub date_of_case: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub date_tax: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)", index)]
    pub date_due: Option<NaiveDateTime>,
    pub description: Option<String>,
    pub document_type: Option<String>,
    #[migrate(default = false, db_default = "false", index)]
    pub favorite: Option<bool>,
    pub variable_symbol: Option<String>,
    pub constant_symbol: Option<String>,
    pub specific_symbol: Option<String>,
    pub order_number: Option<String>,
    pub internal_number: Option<String>,
    pub invoice_number: Option<String>,
    pub invoice_amount: Option<String>,
    #[migrate(rename = "invoice_file_mimeType", column = "invoice_file_mimeType")]
    pub invoice_file_mime_type: String,
    pub invoice_file_url: String,
    #[migrate(json)]
    pub invoice_items: Option<Json>,
    #[migrate(index)]
    pub invoice_type: Option<String>,
    pub invoice_currency: Option<String>,
    pub invoice_language: Option<String>,
    pub partner: Option<String>,
    pub partner_street: Option<String>,
    pub partner_city: Option<String>,
    pub partner_zip: Option<String>,
    pub partner_country: Option<String>,
    pub partner_country_code: Option<String>,
    pub partner_business_street: Option<String>,
    pub partner_business_city: Option<String>,
    pub partner_business_zip: Option<String>,
    pub partner_business_country: Option<String>,
    pub partner_business_country_code: Option<String>,
    #[migrate(rename = "partner_VAT_number", column = "partner_VAT_number")]
    pub partner_vat_number: Option<String>,
    #[migrate(rename = "partner_TAX_number", column = "partner_TAX_number")]
    pub partner_tax_number: Option<String>,
    #[migrate(rename = "partner_TAX_local_number", column = "partner_TAX_local_number")]
    pub partner_tax_local_number: Option<String>,
    pub partner_phone_prefix: Option<String>,
    pub partner_phone_number: Option<String>,
    pub partner_fax_prefix: Option<String>,
    pub partner_fax_number: Option<String>,
    pub partner_email: Option<String>,
    pub partner_website: Option<String>,
    pub partner_is_person: Option<bool>,
    pub partner_bank: Option<String>,
    pub partner_account_number: Option<String>,
    pub partner_account_bank_number: Option<String>,
    #[migrate(rename = "partner_IBAN", column = "partner_IBAN")]
    pub partner_iban: Option<String>,
    #[migrate(rename = "partner_SWIFT", column = "partner_SWIFT")]
    pub partner_swift: Option<String>,
    #[migrate(rename = "partner_BIC", column = "partner_BIC")]
    pub partner_bic: Option<String>,
    pub rossum_status: Option<String>,
    pub rossum_annotation_id: Option<String>,
    pub rossum_annotation_url: Option<String>,
    pub rossum_document_id: Option<String>,
    pub rossum_document_url: Option<String>,
    pub rossum_annotation_json_url: Option<String>,
    pub rossum_annotation_xml_url: Option<String>,
    pub money_s3_url: Option<String>,
    #[migrate(index)]
    pub status: Option<String>,
    #[migrate(empty_as_null, index)]
    #[fk(InvoiceStates)]
    pub invoice_state_id: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub assigned_user_id: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(CrmAccounts)]
    pub assigned_account_id: Option<Uuid>,
    #[migrate(default = true, db_default = "true")]
    pub visibility: bool,
    #[junction(DocumentsToInvoices)]
    pub connected_documents: Vec<Uuid>,
}

/// A state that an invoice is in.
#[derive(Debug, Migrate)]
#[migrate(collection = "invoice_States", table = "invoice_States")]
pub struct InvoiceStates {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    pub name: String,
}
