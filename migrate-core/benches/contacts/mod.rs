//! A model of 34 columns and documents of about 800 bytes, as a CRM's contacts are.

use bson::oid::ObjectId;
use bson::{Bson, Document};
use chrono::NaiveDateTime;
use migrate_core::Migrate;
use uuid::Uuid;

#[derive(Migrate)]
pub(crate) struct Opportunities {
    #[migrate(id)]
    pub(crate) id: Uuid,
}

#[derive(Migrate)]
#[migrate(junction)]
pub(crate) struct ContactsToOpportunities {
    #[fk(Contacts)]
    pub(crate) contact: Uuid,
    #[fk(Opportunities)]
    pub(crate) opportunity: Uuid,
}

#[derive(Migrate)]
pub(crate) struct Contacts {
    #[migrate(id)]
    pub(crate) id: Uuid,
    #[migrate(rename = "__v", default = 0)]
    pub(crate) v: i32,
    #[migrate(empty_as_null)]
    pub(crate) account: Option<Uuid>,
    #[migrate(empty_as_null)]
    pub(crate) assigned_to: Option<Uuid>,
    pub(crate) birthday: Option<String>,
    #[migrate(empty_as_null)]
    pub(crate) created_by: Option<Uuid>,
    #[migrate(rename = "createdBy", column = "createdBy", empty_as_null)]
    pub(crate) creator: Option<Uuid>,
    #[migrate(pg_type = "timestamp(3)")]
    pub(crate) created_on: Option<NaiveDateTime>,
    #[migrate(rename = "cratedAt", pg_type = "timestamp(3)")]
    pub(crate) crated_at: Option<NaiveDateTime>,
    #[migrate(pg_type = "timestamp(3)")]
    pub(crate) last_activity: Option<NaiveDateTime>,
    #[migrate(rename = "updatedAt", pg_type = "timestamp(3)")]
    pub(crate) updated_at: Option<NaiveDateTime>,
    #[migrate(rename = "updatedBy", empty_as_null)]
    pub(crate) updated_by: Option<Uuid>,
    #[migrate(empty_as_null)]
    pub(crate) last_activity_by: Option<Uuid>,
    pub(crate) description: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) personal_email: Option<String>,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: String,
    pub(crate) office_phone: Option<String>,
    pub(crate) mobile_phone: Option<String>,
    pub(crate) website: Option<String>,
    pub(crate) position: Option<String>,
    #[migrate(default = true)]
    pub(crate) status: bool,
    pub(crate) social_twitter: Option<String>,
    pub(crate) social_facebook: Option<String>,
    pub(crate) social_linkedin: Option<String>,
    pub(crate) social_skype: Option<String>,
    pub(crate) social_instagram: Option<String>,
    pub(crate) social_youtube: Option<String>,
    pub(crate) social_tiktok: Option<String>,
    #[migrate(default = "Customer")]
    pub(crate) r#type: Option<String>,
    #[migrate(default)]
    pub(crate) tags: Vec<String>,
    #[migrate(default)]
    pub(crate) notes: Vec<String>,
    #[migrate(rename = "opportunitiesIDs")]
    #[junction(ContactsToOpportunities)]
    pub(crate) opportunities_ids: Vec<Uuid>,
    #[migrate(rename = "accountsIDs", empty_as_null)]
    pub(crate) accounts_ids: Option<Uuid>,
}

/// The order in which documents have their fields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// As the application writes them.
    Same,
    /// Another one in each document.
    Shuffled,
}

/// Documents that are the same in every run; some of the optional fields are left out of some.
pub(crate) fn documents(count: u32, order: Order) -> Vec<Vec<u8>> {
    (0..count).map(|number| document(number, order).to_vec().expect("a sample is BSON")).collect()
}

fn document(number: u32, order: Order) -> Document {
    let mut random = Random(u64::from(number) | 1 << 40);
    let mut fields: Vec<(&str, Bson)> = vec![("_id", id(&mut random)), ("__v", 0.into())];
    for key in ["account", "assigned_to", "createdBy", "updatedBy", "last_activity_by"] {
        fields.push((key, id(&mut random)));
    }
    for key in ["created_on", "cratedAt", "last_activity", "updatedAt"] {
        let millis = 1_600_000_000_000 + random.below(100_000_000_000) as i64;
        fields.push((key, bson::DateTime::from_millis(millis).into()));
    }
    let name = ["Jana", "Petr", "Žofie", "Ali"][random.below(4) as usize];
    let texts = [
        ("birthday", "1984-02-29"),
        ("description", "Met at the fair, wants an offer for forty seats."),
        ("email", "someone@example.com"),
        ("first_name", name),
        ("last_name", "Svobodová"),
        ("office_phone", "+420 123 456 789"),
        ("mobile_phone", "+420 987 654 321"),
        ("website", "https://example.com"),
        ("position", "Head of Purchasing"),
        ("social_twitter", ""),
        ("social_facebook", ""),
        ("social_linkedin", ""),
        ("social_skype", ""),
        ("type", "Customer"),
    ];
    for (key, text) in texts {
        if key == "last_name" || random.below(20) > 0 {
            fields.push((key, text.into()));
        }
    }
    for key in ["personal_email", "social_instagram", "social_youtube", "social_tiktok"] {
        fields.push((key, Bson::Null));
    }
    fields.push(("status", true.into()));
    fields.push(("tags", vec!["vip", "fair"].into()));
    fields.push(("notes", Bson::Array(vec![])));
    fields.push(("opportunitiesIDs", vec![id(&mut random)].into()));
    fields.push(("accountsIDs", id(&mut random)));
    if let Order::Shuffled = order {
        for last in (1..fields.len()).rev() {
            fields.swap(last, random.below(last as u64 + 1) as usize);
        }
    }
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn id(random: &mut Random) -> Bson {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&random.next().to_be_bytes());
    ObjectId::from_bytes(bytes).into()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
