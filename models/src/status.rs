//! The enums of NextCRM. Three of them are types of the database that no column has.

use migrate_core::PgEnum;

/// How far a lead has come. No column has this type: leads store their status as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "crm_Lead_Status", rename_all = "UPPERCASE")]
pub enum LeadStatus {
    New,
    Contacted,
    Qualified,
    Lost,
}

/// The kind of a lead. No column has this type: leads store theirs as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "crm_Lead_Type", rename_all = "UPPERCASE")]
pub enum LeadType {
    Demo,
}

/// Whether an opportunity is still one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "crm_Opportunity_Status", rename_all = "UPPERCASE")]
pub enum OpportunityStatus {
    Active,
    Inactive,
    Pending,
    Closed,
}

/// What a contact is to the company. No column has this type: contacts store theirs as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "crm_Contact_Type")]
pub enum ContactType {
    Customer,
    Partner,
    Vendor,
    Prospect,
}

/// How far a contract has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "crm_Contracts_Status", rename_all = "UPPERCASE")]
pub enum ContractStatus {
    NotStarted,
    InProgress,
    Signed,
}

/// What a document is to the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(rename_all = "UPPERCASE")]
pub enum DocumentSystemType {
    Invoice,
    Receipt,
    Contract,
    Offer,
    Other,
}

/// Whether a task is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "taskStatus", rename_all = "UPPERCASE")]
pub enum TaskStatus {
    Active,
    Pending,
    Complete,
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(rename_all = "UPPERCASE")]
pub enum ActiveStatus {
    Active,
    Inactive,
    Pending,
}

/// A language of the user interface, by the code that the CRM has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(rename_all = "lowercase")]
pub enum Language {
    Cz,
    En,
    De,
    Uk,
}

/// Whether a language model may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PgEnum)]
#[migrate(name = "gptStatus", rename_all = "UPPERCASE")]
pub enum GptStatus {
    Active,
    Inactive,
}
