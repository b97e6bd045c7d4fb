//! A family of models that use every word of the derive, moved as a whole. The same file is
//! expanded in a snapshot of `migrate-derive`.

use std::collections::HashMap;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{RawDocument, doc};
use chrono::{NaiveDate, NaiveDateTime};
use migrate_core::convert::decimal_comma;
use migrate_core::schema::Registry;
use migrate_core::source::memory::MemorySource;
use migrate_core::{Decimal, Json, Migrate, Mismatch, PgEnum, Value, registry};
use migrate_tests::moved::moved;
use serde_json::json;
use uuid::Uuid;

include!("../../migrate-derive/src/tests/everything.rs");

registry! {
    pub(crate) Everything = [Orders, Lines, Notes, Visits, OrdersToUsers, Users, Companies]
}

fn is_real(document: &RawDocument) -> bool {
    !document.get_bool("test").unwrap_or_default()
}

fn euros(value: Value<'_>) -> Result<Decimal, Mismatch> {
    decimal_comma(value)
}

fn size(document: &RawDocument) -> Result<i64, Mismatch> {
    Ok(document.iter().count() as i64)
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_in_one_run() {
    let order = |number: u8| {
        doc! { "_id": id(number), "kind": "order", "meta": { "draft": false }, "number": 1,
        "customer": { "kind": "user", "id": id(1) }, "gross": "1.234,50" }
    };
    let with = |number: u8, more: bson::Document| {
        let mut document = order(number);
        document.extend(more);
        document
    };
    let orders = [
        with(
            10,
            doc! {
                "shop": "Bern", "number": " 7 ", "invoice": "A\0 1", "state": "D",
                "totals": { "net": 1000.129 }, "codes": "x, y", "replaces": id(99),
                "shipTo": { "street": "Gasse 1", "zipCode": "3000", "visits": ["29.02.2024", "2024-03-01"] },
                "lines": [{ "lineId": 1, "article": { "a": id(1) } }, { "lineId": 2, "article": [1.5] }],
                "meta": { "draft": false, "notes": { "pay": "cash", "no.te": null } },
                "watchers": [id(2), id(1), id(2), id(99)], "raw": { "x": 1_i64 }, "cache": "?", "color": "red",
            },
        ),
        // All that may be missing is, and the customer is a company.
        with(
            11,
            doc! { "kind": null, "store": "", "customer": { "kind": "company", "id": "ACME" }, "gross": "?" },
        ),
        // The key is taken.
        with(12, doc! { "shop": "main", "shipTo": null }),
        // Each breaks another rule.
        with(13, doc! { "number": 13, "totals": { "net": 2000 } }),
        with(14, doc! { "number": 14, "customer": { "kind": "company", "id": "nobody" } }),
        with(15, doc! { "number": 15, "customer": { "kind": "robot" } }),
        with(16, doc! { "number": 16, "lines": [{ "lineId": "x", "article": 1 }] }),
        with(17, doc! { "number": 17, "shop": "a name that is far too long" }),
        with(18, doc! { "number": 18, "gross": "-1" }),
        // Not the model's.
        with(19, doc! { "number": 19, "test": true }),
        with(20, doc! { "number": 20, "meta": { "draft": true } }),
        with(21, doc! { "number": 21, "kind": "offer" }),
    ];
    let source = MemorySource::new()
        .with("orders", orders)
        .with(
            "users",
            [
                doc! { "_id": id(1) },
                doc! { "_id": id(2), "company": id(5) },
                doc! { "_id": id(3), "x": 1 },
            ],
        )
        .with("companies", [doc! { "_id": id(5), "code": "ACME", "owner": id(1) }]);
    let Some(mut moved) = moved(Everything::FACTS, Arc::new(source)).await else { return };
    let all = "SELECT branch, number, invoice_no, ordered::text, state::text, gross::text, net::text, codes,
            by_user IS NOT NULL AS by_user, by_company, replaces, ship_street, ship_zip, has_ship_to,
            bytes, raw, rest
        FROM shop.orders ORDER BY branch";
    assert_eq!(
        moved.rows(all).await,
        [
            json!({
                "branch": "Bern", "number": 7, "invoice_no": "A 1", "ordered": "1975-05-04 10:08:10",
                "state": "done", "gross": "1234.50", "net": "1000.12", "codes": ["x", "y"], "by_user": true,
                "by_company": null, "replaces": null, "ship_street": "Gasse 1", "ship_zip": "3000",
                "has_ship_to": true, "bytes": 18, "raw": { "x": { "$numberLong": "1" } },
                "rest": { "color": "red" },
            }),
            json!({
                "branch": "main", "number": 1, "invoice_no": null, "ordered": "1975-11-15 08:44:59",
                "state": "open", "gross": "0", "net": null, "codes": null, "by_user": false,
                "by_company": "ACME", "replaces": null, "ship_street": null, "ship_zip": null,
                "has_ship_to": null, "bytes": 7, "raw": null, "rest": null,
            }),
        ]
    );
    let others = "SELECT (SELECT jsonb_agg(to_jsonb(l) - 'order' ORDER BY place) FROM shop.order_lines l) AS lines,
        (SELECT jsonb_object_agg(topic, text) FROM order_notes) AS notes,
        (SELECT jsonb_agg(day) FROM order_visits) AS days,
        (SELECT jsonb_agg(place ORDER BY place) FROM order_watchers) AS watchers,
        (SELECT count(*) FROM users WHERE company IS NOT NULL) AS users";
    assert_eq!(
        moved.rows(others).await,
        [json!({
            "lines": [
                { "id": 1, "place": 0, "article": { "a": "010101010101010101010101" } },
                { "id": 2, "place": 1, "article": [1.5] },
            ],
            "notes": { "pay": "cash", "no.te": null },
            "days": ["2024-02-29"],
            "watchers": [0, 1],
            "users": 1,
        })]
    );
    let rejects = moved.rejects().await;
    insta::assert_snapshot!("rejects", rejects.join("\n"));
    let orders = moved.summary.tables.iter().find(|table| table.model == "Orders").unwrap();
    assert_eq!((orders.read, orders.loaded, orders.rejected, orders.skipped), (12, 2, 7, 3));
}
