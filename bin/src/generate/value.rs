//! Plausible values: what a field holds is guessed from its key and its column's type.

use bson::{Bson, DateTime, doc};
use migrate_core::cell::{Limit, parse_limit};
use migrate_core::schema::{BaseType, CellType, Column};

use super::random::Random;
use super::shape::last_word;
use super::words::*;

/// The newest time of generated documents: 2025-06-30T00:00:00Z, in milliseconds.
const LAST_MILLIS: i64 = 1_751_241_600_000;
const DAY_MILLIS: i64 = 86_400_000;

/// What a value is made for.
pub(super) struct Place<'a> {
    /// The collection.
    pub(super) collection: &'a str,
    /// The document key.
    pub(super) key: &'a str,
    /// The document's position, which makes unique values unique.
    pub(super) index: u64,
    /// The milliseconds at which the document was made.
    pub(super) made: i64,
    /// Whether no two documents may have the same value.
    pub(super) unique: bool,
    /// Whether the value stands in an array.
    pub(super) nested: bool,
}

/// A value of that type; `None` for types that only the user's own conversions know.
pub(super) fn value(ty: CellType, place: &Place<'_>, random: &mut Random) -> Option<Bson> {
    if ty.dimensions > 0 {
        let element = CellType { base: ty.base, dimensions: ty.dimensions - 1 };
        // PostgreSQL's arrays are rectangular, so nested ones have one length.
        let length = if place.nested || ty.dimensions > 1 { 2 } else { random.below(4) };
        let place = Place { nested: true, ..*place };
        let elements: Option<Vec<Bson>> =
            (0..length).map(|_| value(element, &place, random)).collect();
        return elements.map(Bson::Array);
    }
    Some(match ty.base {
        BaseType::Bool => Bson::Boolean(random.chance(0.5)),
        BaseType::Int2 | BaseType::Int4 => Bson::Int32(number(place, random) as i32),
        BaseType::Int8 => {
            let number = number(place, random);
            // Numbers come as the driver of the day wrote them.
            match i32::try_from(number) {
                Ok(small) if random.chance(0.7) => Bson::Int32(small),
                _ => Bson::Int64(number),
            }
        }
        BaseType::Float4 | BaseType::Float8 => Bson::Double(random.range(-4000, 4000) as f64 / 8.0),
        BaseType::Numeric => {
            let text = format!("{}.{:02}", random.below(100_000), random.below(100));
            Bson::Decimal128(text.parse().ok()?)
        }
        BaseType::Text => Bson::String(text(place, random)),
        BaseType::Timestamp | BaseType::TimestampTz => Bson::DateTime(time(place, random)),
        BaseType::Date => {
            let days = random.range(-20_000, 20_000);
            Bson::DateTime(DateTime::from_millis(days * DAY_MILLIS))
        }
        BaseType::Jsonb => json(place, random),
        BaseType::Bytea => Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: random.next().to_be_bytes().to_vec(),
        }),
        BaseType::Enum(ty) => Bson::String(random.pick(ty.labels).to_owned()),
        BaseType::Other("point" | "geometry") => {
            let (x, y) = (random.range(-1440, 1440), random.range(-720, 720));
            bson::bson!([x as f64 / 8.0, y as f64 / 8.0])
        }
        BaseType::Other("vector") => {
            let numbers = (0..3).map(|_| random.range(-8, 8) as f64 / 8.0);
            numbers.collect::<Vec<_>>().into()
        }
        _ => return None,
    })
}

/// The value with no more characters than the column's type takes.
pub(super) fn limited(value: Bson, column: &Column) -> Bson {
    match (value, column.pg_type.map(parse_limit)) {
        (Bson::String(text), Some(Limit::Chars(most))) => {
            Bson::String(text.chars().take(most as usize).collect())
        }
        (Bson::Array(numbers), Some(Limit::Dimensions(most))) => {
            Bson::Array(numbers.iter().cycle().take(most as usize).cloned().collect())
        }
        (value, _) => value,
    }
}

fn number(place: &Place<'_>, random: &mut Random) -> i64 {
    let key = place.key.to_lowercase();
    let has = |part: &str| key.contains(part);
    if place.unique {
        place.index as i64 + 1
    } else if has("position") || has("order") {
        (place.index % 40) as i64
    } else if key == "__v" {
        random.below(4) as i64
    } else if has("probability") || has("percent") {
        random.below(101) as i64
    } else if has("budget") || has("revenue") {
        // Some budgets do not fit into 32 bits.
        let most = if random.chance(0.1) { 90_000_000_000 } else { 5_000_000 };
        random.range(0, most)
    } else if has("salary") || has("value") || has("price") || has("size") {
        random.range(1, 2_000_000)
    } else {
        random.below(60) as i64
    }
}

fn time(place: &Place<'_>, random: &mut Random) -> DateTime {
    let key = place.key.to_lowercase();
    let millis = if key.contains("due") || key.contains("end") || key.contains("close") {
        LAST_MILLIS + random.range(-400, 800) * DAY_MILLIS
    } else if key.contains("birth") {
        random.range(-15_000, 14_000) * DAY_MILLIS
    } else {
        random.range(place.made, place.made.max(LAST_MILLIS) + 1)
    };
    DateTime::from_millis(millis)
}

fn json(place: &Place<'_>, random: &mut Random) -> Bson {
    if place.key.to_lowercase().contains("item") {
        let items = random.below(4);
        return (0..items)
            .map(|line| {
                Bson::Document(doc! {
                    "line": line as i32 + 1,
                    "text": random.pick(SUBJECTS),
                    "quantity": random.range(1, 30) as f64 / 2.0,
                    "price": { "amount": random.range(100, 900_000), "currency": "EUR" },
                    "delivered": if random.chance(0.5) { Bson::Null } else { Bson::DateTime(time(place, random)) },
                    "taxed": random.chance(0.8),
                })
            })
            .collect::<Vec<_>>()
            .into();
    }
    match random.below(4) {
        0 => Bson::String(random.pick(TAGS).to_owned()),
        1 => Bson::Document(
            doc! { "label": random.pick(TAGS), "color": format!("#{:06x}", random.below(1 << 24)) },
        ),
        _ => (0..random.below(4)).map(|_| random.pick(TAGS).to_owned()).collect::<Vec<_>>().into(),
    }
}

fn text(place: &Place<'_>, random: &mut Random) -> String {
    let made = guess(place, random);
    // An e-mail has its document's number already.
    if place.unique && !made.contains(&place.index.to_string()) {
        format!("{made} {}", place.index)
    } else {
        made
    }
}

fn guess(place: &Place<'_>, random: &mut Random) -> String {
    let key = place.key.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    if has(&["email"]) {
        let (first, last) = (ascii(random.pick(FIRST_NAMES)), ascii(random.pick(LAST_NAMES)));
        format!("{first}.{last}.{}@example.com", place.index)
    } else if has(&["prefix"]) {
        random.pick(&["+420", "+49", "+43", "+380", "+44"]).to_owned()
    } else if has(&["phone", "mobile", "fax"]) {
        format!(
            "+420 {} {:03} {:03}",
            random.range(601, 778),
            random.below(1000),
            random.below(1000)
        )
    } else if has(&["country_code"]) {
        random.pick(COUNTRIES).1.to_owned()
    } else if has(&["country"]) {
        random.pick(COUNTRIES).0.to_owned()
    } else if has(&["city"]) {
        random.pick(CITIES).to_owned()
    } else if has(&["street", "address"]) {
        format!("{} {}", random.pick(STREETS), random.range(1, 200))
    } else if has(&["postal", "zip"]) {
        format!("{:03} {:02}", random.range(100, 800), random.below(100))
    } else if key.ends_with("state") {
        random.pick(STATES).to_owned()
    } else if has(&["mimetype", "mime_type"]) {
        random.pick(&["application/pdf", "image/png", "text/plain"]).to_owned()
    } else if has(&["twitter", "facebook", "linkedin", "instagram", "youtube", "tiktok", "skype"]) {
        format!("@{}{}", ascii(random.pick(LAST_NAMES)), random.below(1000))
    } else if has(&["url", "website", "avatar"]) {
        format!("https://www.example.com/{}/{}", last_word(place.collection), place.index)
    } else if has(&["first_name", "firstname"]) {
        random.pick(FIRST_NAMES).to_owned()
    } else if has(&["last_name", "lastname"]) {
        random.pick(LAST_NAMES).to_owned()
    } else if has(&["username", "account_name"]) {
        format!("{}{}", ascii(random.pick(FIRST_NAMES)), place.index)
    } else if has(&["password"]) {
        format!("$2b$10${:016x}{:016x}", random.next(), random.next())
    } else if has(&["company", "partner", "member_of", "bank_name"]) || key.ends_with("bank") {
        company(random)
    } else if has(&["description", "content", "comment", "note", "next_step"]) {
        prose(random)
    } else if has(&["jobtitle", "position"]) {
        random.pick(JOBS).to_owned()
    } else if has(&["title", "document_name"]) {
        format!("{} the {}", random.pick(VERBS), random.pick(SUBJECTS))
    } else if has(&["currency"]) {
        random.pick(&["CZK", "EUR", "USD", "UAH"]).to_owned()
    } else if has(&["language"]) {
        random.pick(&["cs", "en", "de", "uk"]).to_owned()
    } else if has(&["iban"]) {
        format!(
            "CZ{:02} {:04} {:06}",
            random.below(100),
            random.below(10_000),
            random.below(1_000_000)
        )
    } else if has(&["swift", "bic"]) {
        random.pick(&["GIBACZPX", "COBADEFF", "BKAUATWW"]).to_owned()
    } else if has(&["vat", "tax"]) {
        format!("CZ{:08}", random.below(100_000_000))
    } else if has(&["amount", "revenue", "price"]) {
        format!("{}.{:02}", random.range(10, 900_000), random.below(100))
    } else if has(&["birthday", "createdat", "date"]) {
        format!(
            "{}-{:02}-{:02}",
            random.range(1950, 2006),
            random.range(1, 13),
            random.range(1, 29)
        )
    } else if has(&["priority"]) {
        random.pick(&["low", "medium", "high", "normal"]).to_owned()
    } else if has(&["status"]) {
        random.pick(&["Active", "Inactive", "NEW", "PENDING"]).to_owned()
    } else if has(&["visibility"]) {
        random.pick(&["public", "private"]).to_owned()
    } else if has(&["type"]) {
        random.pick(&["Customer", "Partner", "Vendor", "Prospect"]).to_owned()
    } else if has(&["tag"]) {
        random.pick(TAGS).to_owned()
    } else if has(&["key", "_id", "secret", "token"]) {
        format!("{:016x}", random.next())
    } else if has(&["number", "symbol", "code", "serviceid", "port", "employees"]) {
        format!("{}", random.range(1, 100_000_000))
    } else if key == "name" {
        match last_word(place.collection).as_str() {
            "account" => company(random),
            "user" | "employee" | "contact" | "lead" => {
                format!("{} {}", random.pick(FIRST_NAMES), random.pick(LAST_NAMES))
            }
            _ => random.pick(LABELS).to_owned(),
        }
    } else if has(&["name", "user", "refered_by"]) {
        format!("{} {}", random.pick(FIRST_NAMES), random.pick(LAST_NAMES))
    } else {
        random.pick(LABELS).to_owned()
    }
}

fn company(random: &mut Random) -> String {
    format!("{} {}", random.pick(COMPANIES), random.pick(LEGAL_FORMS))
}

fn prose(random: &mut Random) -> String {
    let mut prose = random.pick(SENTENCES).to_owned();
    while random.chance(0.3) {
        prose.push(' ');
        prose.push_str(random.pick(SENTENCES));
    }
    prose
}

/// The letters of a name that fit into an address.
fn ascii(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_core::Vector;

    #[test]
    fn a_vector_has_the_dimensions_of_its_column() {
        let place =
            Place { collection: "c", key: "v", index: 0, made: 0, unique: false, nested: false };
        for (pg_type, dimensions) in [("vector", 3), ("vector(7)", 7), ("vector(2)", 2)] {
            let column = Column::of::<Vector>("v", "v", &["v"]).pg_type(pg_type);
            let made = value(column.ty, &place, &mut Random::new(&[1])).unwrap();
            assert_eq!(limited(made, &column).as_array().unwrap().len(), dimensions);
        }
    }
}
