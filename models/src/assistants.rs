//! Language models and notebooks that users bring along.

use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

use crate::status::GptStatus;
use crate::users::Users;

/// A user's notebook in Notion.
#[derive(Debug, Migrate)]
#[migrate(collection = "secondBrain_notions", table = "secondBrain_notions")]
pub struct SecondBrainNotions {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub user: Uuid,
    pub notion_api_key: String,
    pub notion_db_id: String,
}

/// A user's key for OpenAI.
#[derive(Debug, Migrate)]
#[migrate(collection = "openAi_keys", table = "openAi_keys")]
pub struct OpenAiKeys {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    #[migrate(empty_as_null, index)]
    #[fk(Users)]
    pub user: Uuid,
    pub organization_id: String,
    pub api_key: String,
}

/// A language model that may be asked.
#[derive(Debug, Migrate)]
#[migrate(collection = "gpt_models", table = "gpt_models")]
pub struct GptModels {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub model: String,
    pub description: Option<String>,
    pub status: Option<GptStatus>,
    #[migrate(pg_type = "timestamp(3)", db_default = "CURRENT_TIMESTAMP")]
    pub created_on: Option<NaiveDateTime>,
}
