//! `gipfel`, the log book of a climbing club: regions, summits, routes, and who has climbed them
//! with whom. An array of embedded documents becomes a table between two others, with what it
//! says about each pair.

#![expect(missing_docs, reason = "the fields are those of the collections")]

use chrono::NaiveDateTime;
use migrate_core::{Migrate, PgEnum, registry};
use uuid::Uuid;

registry! {
    /// The whole database.
    pub Gipfel = [Regions, Summits, Routes, Climbers, Ascents, Participants, LastChanges]
}

/// `db.regions`.
#[derive(Migrate)]
#[migrate(collection = "regions", table = "regions")]
pub struct Regions {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(unique)]
    pub name: String,
    // The version that Mongoose keeps means nothing here.
    #[migrate(skip, rename = "__v")]
    pub version: i32,
}

/// `db.summits`.
#[derive(Migrate)]
#[migrate(collection = "summits", table = "summits")]
pub struct Summits {
    #[migrate(id)]
    pub id: Uuid,
    pub name: String,
    #[fk(Regions)]
    #[migrate(index)]
    pub region: Uuid,
    // The number in another database is text here, and a number there.
    #[migrate(rename = "teufelsturmId", column = "teufelsturm_id", lenient)]
    pub teufelsturm_id: i32,
    // Two values out of an embedded document that six summits do not have.
    #[migrate(path = "gpsPosition.lat")]
    pub latitude: Option<f64>,
    #[migrate(path = "gpsPosition.lng")]
    pub longitude: Option<f64>,
    #[migrate(skip, rename = "__v")]
    pub version: i32,
}

/// `db.routes`.
#[derive(Migrate)]
#[migrate(collection = "routes", table = "routes")]
pub struct Routes {
    #[migrate(id)]
    pub id: Uuid,
    pub name: String,
    #[fk(Summits)]
    #[migrate(index)]
    pub summit: Uuid,
    // Five routes have "", which is no number and means none.
    #[migrate(rename = "teufelsturmId", column = "teufelsturm_id", empty_as_null, lenient)]
    pub teufelsturm_id: Option<i32>,
    #[migrate(rename = "teufelsturmScore", column = "teufelsturm_score", empty_as_null, lenient)]
    pub teufelsturm_score: Option<i16>,
    // Grades are labels like VIIb. A route has one for each way to climb it.
    #[migrate(path = "difficulty.normal", column = "grade")]
    pub grade: Option<String>,
    #[migrate(path = "difficulty.RP", column = "grade_red_point")]
    pub grade_red_point: Option<String>,
    #[migrate(path = "difficulty.withoutSupport", column = "grade_without_support")]
    pub grade_without_support: Option<String>,
    #[migrate(path = "difficulty.jump", column = "jump", lenient)]
    pub jump: Option<i16>,
    pub stars: Option<i16>,
    #[migrate(skip, rename = "__v")]
    pub version: i32,
}

/// `db.climbers`.
#[derive(Migrate)]
#[migrate(collection = "climbers", table = "climbers")]
pub struct Climbers {
    #[migrate(id)]
    pub id: Uuid,
    #[migrate(rename = "firstName")]
    pub first_name: String,
    #[migrate(rename = "lastName")]
    pub last_name: String,
    #[migrate(skip, rename = "__v")]
    pub version: i32,
}

/// `db.ascents`: a route, a day, and the climbers in an array.
#[derive(Migrate)]
#[migrate(collection = "ascents", table = "ascents", rename_all = "camelCase")]
pub struct Ascents {
    #[migrate(id)]
    pub id: Uuid,
    #[fk(Routes)]
    #[migrate(index)]
    pub route: Uuid,
    pub date: NaiveDateTime,
    // The elements become rows of their own table, and this field no column.
    #[child(Participants)]
    pub climbers: Vec<Participants>,
    #[fk(Climbers)]
    pub lead_climber: Option<Uuid>,
    pub is_aborted: bool,
    pub is_top_rope: bool,
    pub is_solo: bool,
    pub is_without_support: bool,
    pub notes: Option<String>,
    #[migrate(skip, rename = "__v")]
    pub version: i32,
}

/// `climbers: [{ climber, isAborted, _id }]` in an ascent: who was there, and who turned round. It
/// is a junction that says something about each pair, so it is a child with two references.
#[derive(Migrate)]
#[migrate(child, table = "participants", unique(ascent, climber))]
pub struct Participants {
    // The element's own `_id`. Without one the row's id would be made of the ascent's and the
    // place in the array.
    #[migrate(id)]
    pub id: Uuid,
    // The id of the document that the array stands in.
    #[migrate(parent)]
    #[fk(Ascents, on_delete = cascade)]
    pub ascent: Uuid,
    #[fk(Climbers)]
    #[migrate(index)]
    pub climber: Uuid,
    #[migrate(rename = "isAborted")]
    pub is_aborted: bool,
    // The first to be named is 0.
    #[migrate(position)]
    pub place: i16,
}

/// `db.lastchanges`: when each collection was written to.
#[derive(Migrate)]
#[migrate(collection = "lastchanges", table = "last_changes", rename_all = "camelCase")]
pub struct LastChanges {
    #[migrate(id)]
    pub id: Uuid,
    // One of the enum's labels, or the document is rejected.
    pub collection_name: CollectionName,
    pub last_modified: NaiveDateTime,
    #[migrate(skip, rename = "__v")]
    pub version: i32,
}

/// The collections that the application knows.
#[derive(PgEnum)]
#[migrate(name = "collection_name", rename_all = "lowercase")]
pub enum CollectionName {
    Ascents,
    Climbers,
    Locations,
    Regions,
    Routes,
    Summits,
    Users,
}
