//! Steps written wrongly.

use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[migrate(trim = true)]
    a: String,
    #[migrate(split)]
    b: Vec<String>,
    #[migrate(split = "")]
    c: Vec<String>,
    #[migrate(map)]
    d: String,
    #[migrate(map())]
    e: String,
    #[migrate(lenient = "%Y")]
    g: chrono::NaiveDate,
    #[migrate(lenient())]
    h: chrono::NaiveDate,
    #[migrate(truncate(3))]
    i: String,
    #[migrate(nul)]
    j: String,
    #[migrate(nul = remove)]
    k: String,
    #[migrate(on_invalid = nul)]
    l: Option<String>,
    #[migrate(on_invalid)]
    m: Option<String>,
    #[migrate(on_invald = null)]
    n: Option<String>,
    #[migrate(tirm)]
    o: String,
}

fn main() {}
