//! NextCRM, an open-source CRM that moved from MongoDB to PostgreSQL: its 29 collections and the 10
//! junction tables that their arrays of ids become.
//!
//! One file for each area of the business, structs and nothing else. Names of collections, tables
//! and columns are NextCRM's own, misspelt ones included: the application asks for them.
//!
//! What all of them have in common: `__v` is the version that Mongoose keeps, 0 where it is
//! missing; times have milliseconds, as the application writes them; an empty string in a field
//! that holds one id means that there is none, because forms store that; a time that is kept by
//! the application and required is, where it is missing, the one in the document's `_id`.

#![expect(missing_docs, reason = "the fields and labels are NextCRM's own and say what they are")]

pub mod accounts;
pub mod assistants;
pub mod boards;
pub mod company;
pub mod contacts;
pub mod contracts;
pub mod documents;
pub mod invoices;
pub mod junctions;
pub mod leads;
pub mod opportunities;
pub mod status;
pub mod system;
pub mod tasks;
pub mod users;

pub use accounts::{CrmAccounts, CrmIndustryType};
pub use assistants::{GptModels, OpenAiKeys, SecondBrainNotions};
pub use boards::{Boards, Sections};
pub use company::{Employees, MyAccount};
pub use contacts::CrmContacts;
pub use contracts::CrmContracts;
pub use documents::{Documents, DocumentsTypes};
pub use invoices::{InvoiceStates, Invoices};
pub use junctions::{
    AccountWatchers, BoardWatchers, ContactsToOpportunities, DocumentsToAccounts,
    DocumentsToContacts, DocumentsToCrmAccountsTasks, DocumentsToInvoices, DocumentsToLeads,
    DocumentsToOpportunities, DocumentsToTasks,
};
pub use leads::CrmLeads;
pub use opportunities::{
    CrmCampaigns, CrmOpportunities, CrmOpportunitiesSalesStages, CrmOpportunitiesType,
};
use status::{ContactType, LeadStatus, LeadType};
pub use system::{ImageUpload, ModulStatus, SystemModulesEnabled, SystemServices};
pub use tasks::{CrmAccountsTasks, Tasks, TasksComments, TodoList};
pub use users::Users;

migrate_core::registry! {
    /// Every model of NextCRM.
    pub NextCrm = [
        CrmAccounts,
        CrmLeads,
        CrmOpportunities,
        CrmCampaigns,
        CrmOpportunitiesSalesStages,
        CrmOpportunitiesType,
        CrmContacts,
        CrmContracts,
        Boards,
        Employees,
        ImageUpload,
        MyAccount,
        Invoices,
        InvoiceStates,
        Documents,
        DocumentsTypes,
        Sections,
        CrmIndustryType,
        ModulStatus,
        Tasks,
        CrmAccountsTasks,
        TasksComments,
        TodoList,
        Users,
        SystemModulesEnabled,
        SecondBrainNotions,
        OpenAiKeys,
        SystemServices,
        GptModels,
        DocumentsToInvoices,
        DocumentsToOpportunities,
        DocumentsToContacts,
        DocumentsToTasks,
        DocumentsToCrmAccountsTasks,
        DocumentsToLeads,
        DocumentsToAccounts,
        AccountWatchers,
        BoardWatchers,
        ContactsToOpportunities,
    ];
    enums = [LeadStatus, LeadType, ContactType]
}
