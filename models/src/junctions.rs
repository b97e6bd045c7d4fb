//! Relations between many and many. Both sides of a pair hold it in an array of ids, and either may
//! be incomplete: a junction is the union of the two.

use migrate_core::Migrate;
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::boards::Boards;
use crate::contacts::CrmContacts;
use crate::documents::Documents;
use crate::invoices::Invoices;
use crate::leads::CrmLeads;
use crate::opportunities::CrmOpportunities;
use crate::tasks::{CrmAccountsTasks, Tasks};
use crate::users::Users;

/// Documents that belong to invoices.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToInvoices {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(Invoices, on_delete = cascade)]
    pub invoice_id: Uuid,
}

/// Documents about opportunities.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToOpportunities {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(CrmOpportunities, on_delete = cascade)]
    pub opportunity_id: Uuid,
}

/// Documents about contacts.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToContacts {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(CrmContacts, on_delete = cascade)]
    pub contact_id: Uuid,
}

/// Documents that belong to tasks.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToTasks {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(Tasks, on_delete = cascade)]
    pub task_id: Uuid,
}

/// Documents that belong to the tasks of accounts; only documents hold this relation.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToCrmAccountsTasks {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(CrmAccountsTasks, on_delete = cascade)]
    pub crm_accounts_task_id: Uuid,
}

/// Documents about leads.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToLeads {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(CrmLeads, on_delete = cascade)]
    pub lead_id: Uuid,
}

/// Documents about accounts.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct DocumentsToAccounts {
    #[migrate(index)]
    #[fk(Documents, on_delete = cascade)]
    pub document_id: Uuid,
    #[migrate(index)]
    #[fk(CrmAccounts, on_delete = cascade)]
    pub account_id: Uuid,
}

/// Contacts who take part in opportunities.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct ContactsToOpportunities {
    #[migrate(index)]
    #[fk(CrmContacts, on_delete = cascade)]
    pub contact_id: Uuid,
    #[migrate(index)]
    #[fk(CrmOpportunities, on_delete = cascade)]
    pub opportunity_id: Uuid,
}

/// Users who watch accounts.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct AccountWatchers {
    #[migrate(index)]
    #[fk(CrmAccounts, on_delete = cascade)]
    pub account_id: Uuid,
    #[migrate(index)]
    #[fk(Users, on_delete = cascade)]
    pub user_id: Uuid,
}

/// Users who watch boards.
#[derive(Debug, Migrate)]
#[migrate(junction)]
pub struct BoardWatchers {
    #[migrate(index)]
    #[fk(Boards, on_delete = cascade)]
    pub board_id: Uuid,
    #[migrate(index)]
    #[fk(Users, on_delete = cascade)]
    pub user_id: Uuid,
}
