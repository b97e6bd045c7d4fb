//! Values out of embedded documents: paths, flattened structs, what is left over, and fields that
//! depend on others. PostgreSQL has the last word, and validation agrees after every run.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Document, doc};
use migrate_core::schema::Registry;
use migrate_core::source::Source;
use migrate_core::source::memory::MemorySource;
use migrate_core::{Json, Migrate, PgEnum, registry};
use migrate_tests::moved::{Moved, moved};
use serde_json::json;
use uuid::Uuid;

fn source(collections: Vec<(&str, Vec<Document>)>) -> Arc<dyn Source> {
    let source = MemorySource::new();
    Arc::new(
        collections
            .into_iter()
            .fold(source, |source, (name, documents)| source.with(name, documents)),
    )
}

/// The keys that are counted as left over in a table, with their counts.
fn unknown(moved: &Moved, table: &str) -> Vec<(String, u64)> {
    let table = moved.summary.tables.iter().find(|found| found.table == table).unwrap();
    let fields = table.unknown_fields.iter();
    let mut fields: Vec<_> = fields.map(|(key, field)| (key.to_owned(), field.documents)).collect();
    fields.sort();
    fields
}

mod paths {
    use super::*;

    #[derive(Migrate)]
    struct Places {
        #[migrate(id)]
        number: i32,
        #[migrate(path = "location.address.zip")]
        zip: String,
        #[migrate(path = "location.address.city", alias = "town.name", default = "nowhere")]
        city: String,
        #[migrate(path = "location.coordinates.0")]
        longitude: Option<f64>,
        #[migrate(path = "location.coordinates.1")]
        latitude: Option<f64>,
        #[migrate(path = r"stats\.v1.hits", column = "hits")]
        hits: Option<i64>,
        // The whole document, beside a value out of it.
        #[migrate(json)]
        owner: Option<Json>,
        #[migrate(path = "owner.name", index)]
        owner_name: Option<String>,
    }

    registry! { Atlas = [Places] }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_value_out_of_embedded_documents() {
        let documents = vec![
            doc! { "_id": 1, "location": {
                "address": { "zip": "01067", "city": "Dresden", "street": "x" },
                "coordinates": [13.7, 51.5, 112.0],
            }, "stats.v1": { "hits": 7 }, "owner": { "name": "Ada", "age": 3 } },
            doc! { "_id": 2, "location": { "address": { "zip": "01069" } }, "town": { "name": "Pirna" } },
            doc! { "_id": 3, "location": { "address": { "zip": 5 } } },
            doc! { "_id": 4, "location": { "address": "unknown" } },
            doc! { "_id": 5, "location": null },
            doc! { "_id": 6 },
            doc! { "_id": 7, "location": { "address": { "zip": "1" }, "coordinates": {} }, "owner": "Bob" },
            doc! { "_id": 8, "location": { "address": { "zip": "1" }, "coordinates": "none" } },
            doc! { "_id": 9, "location": [{ "address": { "zip": "1" } }] },
        ];
        let mut twice = doc! { "_id": 10, "location": { "address": { "zip": "1", "zup": "2" } } }
            .to_vec()
            .unwrap();
        let at = twice.windows(4).position(|bytes| bytes == b"zup\0").unwrap();
        twice[at + 1] = b'i';
        let raw = documents.iter().map(|document| document.to_vec().unwrap());
        let raw = raw.chain([twice]);
        let source = Arc::new(MemorySource::new().with_raw("Places", raw));
        let Some(mut moved) = moved(Atlas::FACTS, source).await else { return };
        assert_eq!(
            moved.rows("SELECT * FROM \"Places\" ORDER BY number").await,
            [
                json!({ "number": 1, "zip": "01067", "city": "Dresden", "longitude": 13.7, "latitude": 51.5,
                    "hits": 7, "owner": { "name": "Ada", "age": 3 }, "owner_name": "Ada" }),
                json!({ "number": 2, "zip": "01069", "city": "Pirna", "longitude": null, "latitude": null,
                    "hits": null, "owner": null, "owner_name": null }),
                json!({ "number": 7, "zip": "1", "city": "nowhere", "longitude": null, "latitude": null,
                    "hits": null, "owner": "Bob", "owner_name": null }),
            ]
        );
        assert_eq!(
            moved.rejects().await,
            [
                "10 | duplicate_key | location.address.zip | expected each key once, found the same key twice",
                "3 | type | location.address.zip | expected text, found int 5",
                "4 | type | location.address | expected object, found string \"unknown\"",
                "5 | missing | location.address.zip | expected text, found no such field",
                "6 | missing | location.address.zip | expected text, found no such field",
                "8 | type | location.coordinates | expected array, found string \"none\"",
                "9 | type | location | expected object, found array",
            ]
        );
        assert_eq!(
            unknown(&moved, "Places"),
            [("location.address.street".to_owned(), 1), ("location.coordinates.2".to_owned(), 1)]
        );
    }
}

mod flattened {
    use super::*;

    #[derive(Default, PgEnum)]
    enum Kind {
        #[default]
        Home,
        Work,
    }

    #[derive(Migrate)]
    #[migrate(embedded, rename_all = "camelCase", index(zip_code, street))]
    struct Address {
        street: Option<String>,
        zip_code: String,
        #[migrate(default)]
        kind: Kind,
        #[fk(Countries, key = "code")]
        country: Option<String>,
        #[migrate(flatten(prefix = "geo_"))]
        geo: Option<Geo>,
        #[migrate(skip)]
        note: String,
    }

    #[derive(Migrate)]
    #[migrate(embedded)]
    struct Geo {
        lat: f64,
        lon: f64,
        #[migrate(path = "source.name")]
        source: Option<String>,
    }

    #[derive(Migrate)]
    struct Countries {
        #[migrate(id)]
        id: Uuid,
        #[migrate(unique)]
        code: String,
    }

    #[derive(Migrate)]
    struct People {
        #[migrate(id)]
        id: i32,
        #[migrate(flatten)]
        address: Address,
        #[migrate(rename = "shippingAddress", flatten(prefix = "ship_", present = "ships"))]
        shipping: Option<Address>,
        name: String,
        #[fk(Self)]
        #[migrate(unique)]
        friend: Option<i32>,
    }

    registry! { Town = [People, Countries] }

    #[tokio::test(flavor = "multi_thread")]
    async fn embedded_documents_become_columns() {
        let facts = Town::FACTS;
        assert_eq!(facts.phases, [1, 0], "the embedded references order the models");
        let country =
            |byte, code: &str| doc! { "_id": ObjectId::from_bytes([byte; 12]), "code": code };
        let home = || doc! { "zipCode": "1" };
        let people = vec![
            doc! { "_id": 1, "name": "a", "address": {
                "street": "s", "zipCode": "z", "kind": "Work", "country": "de",
                "geo": { "lat": 1.5, "lon": 2.5, "source": { "name": "gps" } }, "note": "n", "more": 1,
            }, "shippingAddress": { "zipCode": "y", "geo": {} } },
            doc! { "_id": 2, "name": "b", "friend": 1, "address": home() },
            doc! { "_id": 3, "name": "c", "address": home(), "shippingAddress": null },
            doc! { "_id": 4, "name": "d", "address": home(), "shippingAddress": {} },
            doc! { "_id": 5, "name": "e", "address": home(), "shippingAddress": { "street": "s" } },
            doc! { "_id": 6, "name": "f", "address": {} },
            doc! { "_id": 7, "name": "g" },
            doc! { "_id": 8, "name": "h", "address": { "zipCode": "1", "country": "xx" } },
            doc! { "_id": 9, "name": "i", "address": { "zipCode": "1", "geo": { "lat": 1 } } },
            doc! { "_id": 10, "name": "j", "address": "none" },
        ];
        let countries = vec![country(1, "de"), country(2, "fr")];
        let source = source(vec![("People", people), ("Countries", countries)]);
        let Some(mut moved) = moved(facts, source).await else { return };
        let rows = moved.rows("SELECT * FROM \"People\" ORDER BY id").await;
        assert_eq!(
            rows[0],
            json!({ "id": 1, "name": "a", "friend": null,
                "street": "s", "zip_code": "z", "kind": "Work", "country": "de",
                "geo_lat": 1.5, "geo_lon": 2.5, "geo_source": "gps",
                "ships": true, "ship_street": null, "ship_zip_code": "y", "ship_kind": "Home",
                "ship_country": null, "ship_geo_lat": null, "ship_geo_lon": null,
                "ship_geo_source": null })
        );
        let ships: Vec<_> = rows
            .iter()
            .map(|row| (&row["id"], &row["ships"], &row["ship_zip_code"], &row["ship_kind"]))
            .map(|parts| json!(parts).to_string())
            .collect();
        assert_eq!(
            ships,
            [
                "[1,true,\"y\",\"Home\"]",
                "[2,null,null,null]",
                "[3,false,null,null]",
                "[4,true,null,null]",
                "[8,null,null,null]",
            ]
        );
        assert_eq!(rows[4]["country"], json!(null), "an orphan is settled inside the struct too");
        assert_eq!(
            moved.rejects().await,
            [
                "10 | type | address | expected object, found string \"none\"",
                "5 | missing | shippingAddress.zipCode | expected text, found no such field",
                "6 | missing | address.zipCode | expected text, found no such field",
                "7 | missing | address.zipCode | expected text, found no such field",
                "9 | missing | address.geo.lon | expected double precision, found no such field",
            ]
        );
        assert_eq!(unknown(&moved, "People"), [("address.more".to_owned(), 1)]);
        let definitions = moved
            .texts(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE conrelid = '\"People\"'::regclass AND contype = 'f'
                 UNION ALL
                 SELECT substring(pg_get_indexdef(indexrelid) FROM 'USING.*') FROM pg_index
                 WHERE indrelid = '\"People\"'::regclass AND NOT indisunique
                 ORDER BY 1",
            )
            .await;
        assert_eq!(
            definitions,
            [
                "FOREIGN KEY (country) REFERENCES \"Countries\"(code)",
                "FOREIGN KEY (friend) REFERENCES \"People\"(id)",
                "FOREIGN KEY (ship_country) REFERENCES \"Countries\"(code)",
                "USING btree (ship_zip_code, ship_street)",
                "USING btree (zip_code, street)",
            ]
        );
        let not_null = moved
            .texts(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = '\"People\"'::regclass
                 AND attnum > 0 AND attnotnull ORDER BY attnum",
            )
            .await;
        assert_eq!(not_null, ["id", "zip_code", "kind", "name"]);
    }
}

mod left_over {
    use super::*;

    #[derive(Migrate)]
    struct Plain {
        #[migrate(id)]
        id: i32,
        name: Option<String>,
        #[migrate(skip)]
        password: String,
        #[migrate(extra)]
        rest: Option<Json>,
    }

    #[derive(Migrate)]
    struct Extended {
        #[migrate(id)]
        id: i32,
        #[migrate(path = "a.b")]
        b: Option<i32>,
        #[migrate(extra, json = "extended", column = "more")]
        rest: Json,
    }

    #[derive(Migrate)]
    #[migrate(deny_unknown_fields)]
    struct Strict {
        #[migrate(id)]
        id: i32,
        #[migrate(path = "a.b")]
        b: Option<i32>,
        #[migrate(skip)]
        known: i32,
    }

    registry! { Rest = [Plain, Extended, Strict] }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_no_field_takes() {
        let plain = vec![
            doc! { "x": 1, "_id": 1, "name": "a", "y": { "z": [1, 2.5] }, "password": "p", "": "empty" },
            doc! { "_id": 2 },
            doc! { "_id": 3, "bad": f64::NAN },
        ];
        let extended = vec![
            doc! { "_id": 1, "a": { "b": 1, "c": 2 }, "long": 5_i64, "id": ObjectId::from_bytes([7; 12]) },
            doc! { "_id": 2 },
        ];
        let strict = vec![
            doc! { "_id": 1, "a": { "b": 1 }, "known": 3 },
            doc! { "_id": 2, "a": { "b": 1, "c": 1 } },
            doc! { "_id": 3, "more": 1 },
        ];
        let collections = vec![("Plain", plain), ("Extended", extended), ("Strict", strict)];
        let Some(mut moved) = moved(Rest::FACTS, source(collections)).await else { return };
        assert_eq!(
            moved.rows("SELECT * FROM \"Plain\" ORDER BY id").await,
            [
                json!({ "id": 1, "name": "a", "rest": { "x": 1, "y": { "z": [1, 2.5] }, "": "empty" } }),
                json!({ "id": 2, "name": null, "rest": null }),
            ]
        );
        assert_eq!(
            moved.rows("SELECT * FROM \"Extended\" ORDER BY id").await,
            [
                json!({ "id": 1, "b": 1, "more": {
                    "long": { "$numberLong": "5" }, "id": { "$oid": "070707070707070707070707" } } }),
                json!({ "id": 2, "b": null, "more": {} }),
            ]
        );
        assert_eq!(
            moved.rejects().await,
            [
                "2 | unknown_field | a.c | expected a field that the model takes, found another one",
                "3 | not_finite | rest.bad | expected a finite number, found double NaN",
                "3 | unknown_field | more | expected a field that the model takes, found another one",
            ]
        );
        assert_eq!(unknown(&moved, "Plain"), []);
        assert_eq!(unknown(&moved, "Extended"), [("a.c".to_owned(), 1)]);
    }
}

mod kinds {
    use super::*;

    #[derive(Migrate)]
    struct Users {
        #[migrate(id)]
        id: Uuid,
    }

    #[derive(Migrate)]
    struct Companies {
        #[migrate(id)]
        id: Uuid,
    }

    #[derive(PgEnum)]
    enum Kind {
        User,
        Company,
        Robot,
    }

    #[derive(Migrate)]
    #[migrate(one_of(owner_user, owner_company))]
    struct Files {
        #[migrate(id)]
        id: i32,
        #[migrate(path = "owner.id", when("owner.kind" = "User"))]
        #[fk(Users)]
        owner_user: Option<Uuid>,
        #[migrate(path = "owner.id", when("owner.kind" = "Company"))]
        #[fk(Companies)]
        owner_company: Option<Uuid>,
    }

    /// The other way to keep such a reference: an enum and a plain id.
    #[derive(Migrate)]
    struct Notes {
        #[migrate(id)]
        id: i32,
        #[migrate(path = "owner.kind")]
        owner_kind: Kind,
        #[migrate(path = "owner.id", index)]
        owner: Uuid,
    }

    registry! { Owned = [Files, Notes, Users, Companies] }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reference_to_one_of_several_models() {
        let id = |byte| ObjectId::from_bytes([byte; 12]);
        let file = |number: i32, kind: &str, owner: u8| doc! { "_id": number, "owner": { "kind": kind, "id": id(owner) } };
        let files = vec![
            file(1, "User", 1),
            file(2, "Company", 2),
            file(3, "Robot", 1),
            // The user is a company: the reference leads nowhere.
            file(4, "User", 2),
            doc! { "_id": 5, "owner": { "kind": "User", "id": null } },
            doc! { "_id": 6 },
        ];
        let notes = vec![file(1, "User", 1), file(2, "Robot", 9)];
        let collections = vec![
            ("Files", files),
            ("Notes", notes),
            ("Users", vec![doc! { "_id": id(1) }]),
            ("Companies", vec![doc! { "_id": id(2) }]),
        ];
        let Some(mut moved) = moved(Owned::FACTS, source(collections)).await else { return };
        assert_eq!(
            moved
                .texts(
                    "SELECT concat_ws(' ', id, owner_user IS NOT NULL, owner_company IS NOT NULL)
                 FROM \"Files\" ORDER BY id"
                )
                .await,
            ["1 t f", "2 f t"]
        );
        assert_eq!(
            moved.rejects().await,
            [
                "3 | constraint | owner.id | expected exactly one of `owner_user`, `owner_company`, found 0",
                "4 | orphan | owner.id | expected the id of a row in Users, found 0007d7d7-d7d0-8020-8808-080808080800, which is not there",
                "5 | constraint | owner.id | expected exactly one of `owner_user`, `owner_company`, found 0",
                "6 | constraint | owner.id | expected exactly one of `owner_user`, `owner_company`, found 0",
            ]
        );
        let said = moved.refused("UPDATE \"Files\" SET owner_user = NULL").await;
        assert!(said.contains("Files_owner_user_owner_company_check"), "{said}");
        assert_eq!(
            moved.texts("SELECT concat_ws(' ', id, owner_kind) FROM \"Notes\" ORDER BY id").await,
            ["1 User", "2 Robot"]
        );
    }
}

mod lists {
    use super::*;

    #[derive(Migrate)]
    #[migrate(collection = "orders", table = "orders", deny_unknown_fields)]
    struct Orders {
        #[migrate(id)]
        id: i32,
        #[migrate(flatten(prefix = "ship_"), rename = "shipTo")]
        shipping: Option<Shipping>,
        // An array in an embedded document of which nothing else is taken.
        #[child(Notes)]
        #[migrate(path = "meta.notes", alias = "notes")]
        notes: Vec<Notes>,
        #[junction(OrdersToTags, position)]
        #[migrate(path = "meta.tags")]
        tags: Vec<i32>,
    }

    #[derive(Migrate)]
    #[migrate(embedded, index(city))]
    struct Shipping {
        city: String,
        #[migrate(skip)]
        internal: String,
        #[child(Parcels)]
        parcels: Vec<Parcels>,
        #[migrate(flatten(prefix = "by_"))]
        carrier: Carrier,
    }

    #[derive(Migrate)]
    #[migrate(embedded)]
    struct Carrier {
        name: String,
        #[child(Legs)]
        #[migrate(alias = "steps")]
        legs: Vec<Legs>,
        #[migrate(skip)]
        code: String,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "parcels", primary_key(order, number))]
    struct Parcels {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent)]
        #[fk(Orders)]
        order: i32,
        #[migrate(position)]
        number: i32,
        grams: i32,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "legs")]
    struct Legs {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent)]
        #[fk(Orders)]
        order: i32,
        #[migrate(value)]
        town: String,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "notes")]
    struct Notes {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent)]
        #[fk(Orders)]
        order: i32,
        #[migrate(value)]
        text: String,
    }

    #[derive(Migrate)]
    #[migrate(collection = "tags", table = "tags")]
    struct Tags {
        #[migrate(id)]
        id: i32,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "order_tags")]
    struct OrdersToTags {
        #[fk(Orders)]
        order: i32,
        #[fk(Tags)]
        tag: i32,
        #[migrate(position)]
        position: i32,
    }

    registry! { Shop = [Orders, Parcels, Legs, Notes, Tags, OrdersToTags] }

    #[tokio::test(flavor = "multi_thread")]
    async fn arrays_inside_embedded_documents() {
        let orders = vec![
            doc! { "_id": 1, "shipTo": {
                "city": "Bern", "internal": 1, "parcels": [{ "grams": 10 }, { "grams": 20 }],
                "carrier": { "name": "Post", "code": 7, "legs": ["Thun", "Spiez"] },
            }, "meta": { "notes": ["a", "b"], "tags": [2, 1, 2] } },
            doc! { "_id": 2, "shipTo": {
                "city": "Biel", "parcels": [{ "grams": "x" }, { "grams": 1 }],
                "carrier": { "name": "Rail", "steps": ["Lyss"] },
            }, "notes": ["c"] },
            doc! { "_id": 3, "meta": { "notes": 5 } },
            doc! { "_id": 4, "shipTo": null, "meta": {} },
        ];
        let tags = vec![doc! { "_id": 1 }, doc! { "_id": 2 }];
        let source = source(vec![("orders", orders), ("tags", tags)]);
        let Some(mut moved) = moved(Shop::FACTS, source).await else { return };
        let mut rows = Vec::new();
        for table in ["orders", "parcels", "legs", "notes", "order_tags"] {
            let sql = format!(
                "SELECT table_row::text FROM {table} AS table_row ORDER BY
                    regexp_replace(table_row::text, '[0-9a-f-]{{36}}', '')"
            );
            let sql = sql.replace(
                "SELECT table_row::text",
                "SELECT regexp_replace(table_row::text, '[0-9a-f-]{36}', 'id') AS row",
            );
            let found = moved.rows(&sql).await;
            rows.extend(
                found.iter().map(|row| format!("{table} {}", row["row"].as_str().unwrap())),
            );
        }
        assert_eq!(
            rows,
            [
                "orders (1,Bern,Post)",
                "orders (2,Biel,Rail)",
                "orders (3,,)",
                "orders (4,,)",
                "parcels (id,1,0,10)",
                "parcels (id,1,1,20)",
                "parcels (id,2,1,1)",
                "legs (id,1,Spiez)",
                "legs (id,1,Thun)",
                "legs (id,2,Lyss)",
                "notes (id,1,a)",
                "notes (id,1,b)",
                "notes (id,2,c)",
                "order_tags (1,1,1)",
                "order_tags (1,2,0)",
            ]
        );
        assert_eq!(
            moved.rejects().await,
            [
                "2/shipTo.parcels/0 | type | shipTo.parcels.0.grams | expected int4, found string \"x\"",
                "3/meta.notes | type | meta.notes | expected array, found int 5",
            ]
        );
    }
}
