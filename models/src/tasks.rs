//! Things to do, and what was said about them.

use chrono::NaiveDateTime;
use migrate_core::{Json, Migrate};
use uuid::Uuid;

use crate::accounts::CrmAccounts;
use crate::boards::Sections;
use crate::junctions::DocumentsToTasks;
use crate::status::TaskStatus;
use crate::users::Users;

/// A task of a project, in a section of a board.
#[derive(Debug, Migrate)]
#[migrate(rename_all = "camelCase", column_case = "camelCase", index(user, task_status))]
pub struct Tasks {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub content: Option<String>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub created_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub created_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub due_date_at: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP")]
    pub last_edited_at: Option<NaiveDateTime>,
    pub position: i64,
    #[migrate(index)]
    pub priority: String,
    #[migrate(empty_as_null, index)]
    #[fk(Sections)]
    pub section: Option<Uuid>,
    #[migrate(json)]
    pub tags: Option<Json>,
    pub title: String,
    #[migrate(default = 0, db_default = "0")]
    pub likes: Option<i64>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub user: Option<Uuid>,
    #[migrate(rename = "documentIDs")]
    #[junction(DocumentsToTasks)]
    pub document_ids: Vec<Uuid>,
    #[migrate(default = TaskStatus::Active, db_default = "'ACTIVE'", index)]
    pub task_status: Option<TaskStatus>,
}

/// A task that has to do with an account.
#[derive(Debug, Migrate)]
#[migrate(
    collection = "crm_Accounts_Tasks",
    table = "crm_Accounts_Tasks",
    rename_all = "camelCase",
    column_case = "camelCase",
    index(account, task_status)
)]
pub struct CrmAccountsTasks {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub content: Option<String>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub created_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub created_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub due_date_at: Option<NaiveDateTime>,
    #[migrate(index)]
    pub priority: String,
    #[migrate(json)]
    pub tags: Option<Json>,
    pub title: String,
    #[migrate(default = 0, db_default = "0")]
    pub likes: Option<i64>,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub user: Option<Uuid>,
    #[migrate(empty_as_null, index)]
    #[fk(CrmAccounts)]
    pub account: Option<Uuid>,
    #[migrate(default = TaskStatus::Active, db_default = "'ACTIVE'", index)]
    pub task_status: Option<TaskStatus>,
}

/// A comment on a task; it goes when its task goes.
#[derive(Debug, Migrate)]
#[migrate(collection = "tasksComments", table = "tasksComments")]
pub struct TasksComments {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub comment: String,
    #[migrate(
        rename = "createdAt",
        column = "createdAt",
        pg_type = "timestamp(3)",
        id_time,
        db_default = "CURRENT_TIMESTAMP"
    )]
    pub created_at: NaiveDateTime,
    #[migrate(empty_as_null, index)]
    #[fk(Tasks, on_delete = cascade)]
    pub task: Uuid,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub user: Uuid,
    #[migrate(empty_as_null, index)]
    #[fk(CrmAccountsTasks)]
    pub assigned_crm_account_task: Option<Uuid>,
}

/// A line of a list of things to do.
#[derive(Debug, Migrate)]
#[migrate(rename_all = "camelCase", column_case = "camelCase")]
pub struct TodoList {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    pub created_at: String,
    pub description: String,
    pub title: String,
    pub url: String,
    pub user: String,
}
