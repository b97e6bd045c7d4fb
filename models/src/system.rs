//! How the CRM is set up.

use migrate_core::Migrate;
use uuid::Uuid;

/// An uploaded image.
#[derive(Debug, Migrate)]
pub struct ImageUpload {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
}

/// Whether a module of the CRM is shown.
#[derive(Debug, Migrate)]
#[migrate(
    collection = "modulStatus",
    table = "modulStatus",
    rename_all = "camelCase",
    column_case = "camelCase"
)]
pub struct ModulStatus {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    pub name: String,
    pub is_visible: bool,
}

/// Whether a module of the CRM can be used, and its place in the menu.
#[derive(Debug, Migrate)]
#[migrate(collection = "system_Modules_Enabled", table = "system_Modules_Enabled")]
pub struct SystemModulesEnabled {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
    pub enabled: bool,
    pub position: i32,
}

/// An outside service and how to reach it.
#[derive(Debug, Migrate)]
#[migrate(
    collection = "systemServices",
    table = "systemServices",
    rename_all = "camelCase",
    column_case = "camelCase"
)]
pub struct SystemServices {
    #[migrate(id, db_default = "gen_random_uuid()")]
    pub id: Uuid,
    #[migrate(rename = "__v", column = "__v", default = 0)]
    pub v: i32,
    pub name: String,
    pub service_url: Option<String>,
    pub service_id: Option<String>,
    pub service_key: Option<String>,
    pub service_password: Option<String>,
    pub service_port: Option<String>,
    pub description: Option<String>,
}
