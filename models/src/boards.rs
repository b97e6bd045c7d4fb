//! Boards and their sections.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::junctions::BoardWatchers;
use crate::users::Users;

/// A board of tasks, cut into sections.
#[derive(Debug, Migrate)]
#[migrate(rename_all = "camelCase", column_case = "camelCase", index(user, favourite))]
pub struct Boards {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub description: String,
    #[migrate(index)]
    pub favourite: Option<bool>,
    pub favourite_position: Option<i64>,
    pub icon: Option<String>,
    pub position: Option<i64>,
    pub title: String,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub user: Uuid,
    #[migrate(index)]
    pub visibility: Option<String>,
    #[migrate(default)]
    pub shared_with: Vec<Uuid>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP", index)]
    pub created_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub created_by: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)")]
    pub updated_at: Option<NaiveDateTime>,
    #[migrate(empty_as_null, index)]
    pub updated_by: Option<Uuid>,
    #[junction(BoardWatchers)]
    pub watchers: Vec<Uuid>,
}

/// A section of a board.
#[derive(Debug, Migrate)]
pub struct Sections {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    #[migrate(empty_as_null, index)]
    #[fk(Boards)]
    pub board: Uuid,
    pub title: String,
    pub position: Option<i64>,
}
