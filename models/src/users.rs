//! People who use the CRM.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::junctions::{AccountWatchers, BoardWatchers};
use crate::status::{ActiveStatus, Language};

/// A person who signs in: works on accounts and boards, and watches some of them.
#[derive(Debug, Migrate)]
pub struct Users {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0, db_default = "0")]
    pub v: i32,
    pub account_name: Option<String>,
    pub avatar: Option<String>,
    #[migrate(unique, index)]
    pub email: String,
    #[migrate(default = false, db_default = "false", index)]
    pub is_account_admin: bool,
    #[migrate(default = false, db_default = "false", index)]
    pub is_admin: bool,
    #[migrate(pg_type = "timestamp(3)", id_time, db_default = "CURRENT_TIMESTAMP", index)]
    pub created_on: NaiveDateTime,
    #[migrate(rename = "lastLoginAt", column = "lastLoginAt", pg_type = "timestamp(3)", index)]
    pub last_login_at: Option<NaiveDateTime>,
    pub name: Option<String>,
    pub password: Option<String>,
    pub username: Option<String>,
    #[migrate(
        rename = "userStatus",
        column = "userStatus",
        default = ActiveStatus::Pending,
        db_default = "'PENDING'",
        index
    )]
    pub user_status: ActiveStatus,
    #[migrate(
        rename = "userLanguage",
        column = "userLanguage",
        default = Language::En,
        db_default = "'en'",
        index
    )]
    pub user_language: Language,
    #[migrate(rename = "watching_boardsIDs")]
    #[junction(BoardWatchers)]
    pub watching_boards_ids: Vec<Uuid>,
    #[migrate(rename = "watching_accountsIDs")]
    #[junction(AccountWatchers)]
    pub watching_accounts_ids: Vec<Uuid>,
}
