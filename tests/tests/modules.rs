//! Models from anywhere under any name: other crates and modules, a second schema, raw identifiers,
//! names that SQL would not take without quotes and names as long as PostgreSQL takes them. Each
//! has children, junctions and references, and goes through a run, both kinds of validation, a
//! repair and a retry.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use migrate_core::event::Silent;
use migrate_core::rejects::{Filter, retry};
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::{Registry, RegistryFacts};
use migrate_core::source::Source;
use migrate_core::source::memory::MemorySource;
use migrate_core::validate::{Request, repair, validate};
use migrate_core::{existing, registry};
use migrate_tests::moved::moved;
use migrate_tests::servers;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

/// Visible in this crate alone, in two schemas, each field and type a word of Rust.
mod words {
    use migrate_core::{Migrate, PgEnum};
    use uuid::Uuid;

    #[derive(PgEnum)]
    #[migrate(name = "r#enum", schema = "Two \"Words\"", rename_all = "lowercase")]
    pub(crate) enum r#Enum {
        r#Loop,
        #[migrate(rename = "it's \"so\", \\ {x}")]
        r#Move,
    }

    #[derive(Migrate)]
    #[migrate(collection = "type", table = "type", schema = "Two \"Words\"")]
    #[migrate(index(r#struct, r#fn), check(r#if = "\"struct\" <> ''"))]
    pub(crate) struct r#Type {
        #[migrate(id)]
        r#type: Uuid,
        #[migrate(unique)]
        r#struct: String,
        r#fn: Option<Vec<r#Enum>>,
        #[migrate(default = r#Enum::r#Loop)]
        r#enum: r#Enum,
        #[fk(Self, key = "struct")]
        r#ref: Option<String>,
        #[child(inner::r#Match)]
        r#match: Vec<inner::r#Match>,
        #[junction(inner::r#Use, position)]
        r#use: Vec<i32>,
    }

    pub(in crate::words) mod inner {
        use migrate_core::Migrate;
        use uuid::Uuid;

        #[derive(Migrate)]
        #[migrate(child, table = "match", primary_key(r#in, r#as))]
        pub(crate) struct r#Match {
            #[migrate(id)]
            r#let: Uuid,
            #[migrate(parent)]
            #[fk(super::r#Type, on_delete = cascade)]
            r#in: Uuid,
            #[migrate(position)]
            r#as: i16,
            #[migrate(value)]
            r#mut: String,
        }

        #[derive(Migrate)]
        #[migrate(junction, table = "use", schema = "Two \"Words\"")]
        pub(crate) struct r#Use {
            #[fk(super::r#Type)]
            r#type: Uuid,
            #[fk(crate::quoted::Odd, key = "sp ace")]
            r#where: i32,
            #[migrate(position)]
            r#while: Option<i32>,
        }
    }

    // The registry names it from outside.
    pub(crate) use inner::{r#Match, r#Use};
}

/// Names that need quotes, and the longest ones, of two bytes a letter.
mod quoted {
    use migrate_core::{Json, Migrate};
    use uuid::Uuid;

    #[derive(Migrate)]
    #[migrate(
        collection = "Odd \"names\"",
        table = "Odd \"names\", it's; -- \\ %s {0} $1",
        unique(capital, longest),
        check = "\"sp ace\" > 0"
    )]
    pub(crate) struct Odd {
        #[migrate(id, column = "Id")]
        id: Uuid,
        #[migrate(rename = "sp ace", column = "sp ace", unique)]
        space: i32,
        #[migrate(rename = "quo\"te", column = "quo\"te'", index)]
        quote: Option<String>,
        #[migrate(column = "CAPITAL")]
        capital: String,
        #[migrate(
            rename = "päth.with$things",
            column = "ñññññññññññññññññññññññññññññññ1",
            default = 0
        )]
        longest: i64,
        #[migrate(extra, column = "select")]
        extra: Option<Json>,
        #[migrate(flatten(prefix = "In side."), rename = "in side")]
        inside: Option<Inside>,
        #[child(Rows)]
        #[migrate(rename = "ro ws")]
        rows: Vec<Rows>,
        #[junction(Pairs)]
        #[migrate(rename = "pa irs")]
        pairs: Vec<Uuid>,
    }

    #[derive(Migrate)]
    #[migrate(embedded)]
    pub(crate) struct Inside {
        #[migrate(column = "Own \"er\"")]
        #[fk(Odd, key = "sp ace", deferred)]
        owner: Option<i32>,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ2")]
    pub(crate) struct Rows {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent, column = "par ent", index)]
        #[fk(Odd)]
        parent: Uuid,
        #[migrate(rename = "to tal", column = "ééééééééééééééééééééééééééééééé-")]
        total: i32,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "pa irs\"", schema = "Two \"Words\"")]
    pub(crate) struct Pairs {
        #[fk(Odd)]
        #[migrate(column = "from ")]
        from: Uuid,
        #[fk(crate::words::r#Type)]
        #[migrate(column = " to")]
        to: Uuid,
    }
}

registry! {
    pub(crate) Anything = [
        words::r#Type, words::Match, words::Use, quoted::Odd, quoted::Rows, quoted::Pairs,
    ]
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

fn anything(mended: bool) -> Arc<dyn Source> {
    let or = |wrong: Bson, right: Bson| if mended { right } else { wrong };
    let types = [
        doc! { "_id": id(1), "struct": "a", "fn": ["loop", "it's \"so\", \\ {x}"], "match": ["x", "y"], "use": [2, 1, 2] },
        doc! { "_id": id(2), "struct": "b", "enum": "it's \"so\", \\ {x}", "ref": "a", "use": [1, 9] },
        doc! { "_id": id(3), "struct": or("".into(), "c".into()), "ref": "b", "match": ["lost"] },
        doc! { "_id": id(4), "struct": or("a".into(), "d".into()), "ref": "nobody" },
    ];
    let odd = [
        doc! { "_id": id(11), "sp ace": 1, "quo\"te": "\"'", "capital": "A", "päth.with$things": 7,
        "in side": { "owner": 2 }, "ro ws": [{ "to tal": 1 }, { "to tal": or("x".into(), 2.into()) }],
        "pa irs": [id(1), id(1), id(3)], "mo.re": { "x": 1 } },
        doc! { "_id": id(12), "sp ace": 2, "capital": "A", "in side": { "owner": 77 } },
        doc! { "_id": id(13), "sp ace": or((-1).into(), 9.into()), "capital": "B" },
        doc! { "_id": id(14), "sp ace": 4, "capital": or("A".into(), "C".into()) },
    ];
    let source = MemorySource::new().with("type", types).with("Odd \"names\"", odd);
    Arc::new(source)
}

async fn assert_valid(registry: &'static RegistryFacts, source: Arc<dyn Source>, target: &str) {
    for independent in [false, true] {
        let request = Request { independent, ..Request::default() };
        let (options, stop) = (Options::default(), Stop::default());
        let source = Arc::clone(&source);
        let report =
            validate(registry, source, target, &options, &request, Arc::new(Silent), &stop)
                .await
                .unwrap();
        assert!(report.clean, "{report:#?}");
    }
}

async fn execute(target: &str, sql: &str) {
    let mut connection = PgConnection::connect(target).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

/// All rows of all tables but the state's, without their ids.
async fn rows(target: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(target).await.unwrap();
    let tables = "SELECT format('%I.%I', schemaname, tablename), tablename::text FROM pg_tables
        WHERE schemaname IN ('public', 'Two \"Words\"') ORDER BY 1";
    let tables = sqlx::query(tables).fetch_all(&mut connection).await.unwrap();
    let mut all = Vec::new();
    for table in tables {
        let (table, name): (String, String) = (table.get(0), table.get(1));
        let sql = format!(
            "SELECT regexp_replace(t::text, '[0-9a-f]{{8}}-[0-9a-f-]{{27}}', '*', 'g') FROM {table} t
             ORDER BY 1"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        all.extend(rows.iter().map(|row| format!("{name} {}", row.get::<String, _>(0))));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn words_quotes_and_a_second_schema() {
    for version in servers::VERSIONS {
        let mut ends = Vec::new();
        for keep_constraints in [false, true] {
            let Some(target) = servers::database(version) else { continue };
            if keep_constraints {
                let names = migrate_core::ddl::Names { schema: "public" };
                let all = migrate_core::ddl::statements(Anything::FACTS, names);
                let sql: Vec<String> = all.into_iter().map(|statement| statement.sql).collect();
                execute(&target, &sql.join("; ")).await;
            }
            let options = Options { keep_constraints, ..Options::default() };
            let (source, stop) = (anything(false), Stop::default());
            let summary = run(Anything::FACTS, source, &target, &options, Arc::new(Silent), &stop)
                .await
                .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
            assert!(summary.balanced, "{summary:#?}");
            assert_valid(Anything::FACTS, anything(false), &target).await;
            ends.push(rows(&target).await);

            // The tables are what the models say they are.
            let mut connection =
                migrate_core::sink::Target::parse(&target).unwrap().connect().await.unwrap();
            let names = migrate_core::ddl::Names { schema: "public" };
            let differences =
                existing::compare(&mut connection, Anything::FACTS, names).await.unwrap();
            assert_eq!(differences, []);

            // What is planted is found and mended.
            execute(
                &target,
                "UPDATE \"Two \"\"Words\"\"\".use SET \"while\" = 5;
                 DELETE FROM match;
                 UPDATE \"Odd \"\"names\"\", it's; -- \\ %s {0} $1\" SET \"quo\"\"te'\" = '?';
                 DELETE FROM \"Two \"\"Words\"\"\".\"pa irs\"\"\"",
            )
            .await;
            assert_ne!(rows(&target).await, ends[0]);
            let report = repair(
                Anything::FACTS,
                anything(false),
                &target,
                &Options::default(),
                &Request::default(),
                Arc::new(Silent),
                &Stop::default(),
                &|_| true,
            )
            .await
            .unwrap();
            assert!(report.clean, "{report:#?}");
            assert_eq!(rows(&target).await, ends[0], "{version} {keep_constraints}");

            let (options, filter) = (Options::default(), Filter::default());
            let (source, silent) = (Some(anything(true)), Arc::new(Silent));
            let retried = retry(Anything::FACTS, source, &target, &options, &filter, silent, &stop)
                .await
                .unwrap();
            assert_eq!((retried.tried, retried.rejected, retried.gone), (6, 0, 0), "{retried:?}");
            assert_valid(Anything::FACTS, anything(true), &target).await;
        }
        for end in &ends {
            insta::allow_duplicates! { insta::assert_snapshot!("anything", end.join("\n")) };
        }
    }
}

/// Models of two other crates and of this one, which refers to them, and they to each other.
mod crates {
    use migrate_core::Migrate;
    use uuid::Uuid;

    #[derive(Migrate)]
    #[migrate(collection = "clerks", table = "clerks")]
    pub(crate) struct Clerks {
        #[migrate(id)]
        id: Uuid,
        #[fk(analytics::Customers)]
        customer: Option<Uuid>,
        #[fk(analytics::Accounts, key = "number")]
        account: i32,
        #[fk(::mflix::Theaters)]
        theater: Option<Uuid>,
        tier: Option<analytics::Tier>,
        #[junction(Favourites)]
        films: Vec<Uuid>,
        #[child(Visits)]
        visits: Vec<Visits>,
    }

    #[derive(Migrate)]
    #[migrate(junction, table = "favourites")]
    pub(crate) struct Favourites {
        #[fk(Clerks)]
        clerk: Uuid,
        #[fk(mflix::Theaters)]
        theater: Uuid,
    }

    #[derive(Migrate)]
    #[migrate(child, table = "visits")]
    pub(crate) struct Visits {
        #[migrate(id)]
        id: Uuid,
        #[migrate(parent)]
        #[fk(Clerks)]
        clerk: Uuid,
        #[fk(mflix::Theaters)]
        theater: Uuid,
    }
}

registry! {
    pub(crate) Several = [
        analytics::Accounts, analytics::Customers, analytics::CustomersToAccounts, analytics::Tiers,
        mflix::Theaters, crates::Clerks, crates::Favourites, crates::Visits,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_several_crates_in_one_registry() {
    let customer = doc! {
        "_id": id(2), "username": "u", "name": "n", "address": "a", "email": "e",
        "birthdate": bson::DateTime::from_millis(0), "accounts": [7],
        "tier_and_details": { "k": { "tier": "Gold", "active": true, "benefits": [], "id": "k" } },
    };
    let theater = doc! {
        "_id": id(3), "theaterId": 1,
        "location": {
            "address": { "street1": "s", "city": "c", "state": "CA", "zipcode": "1" },
            "geo": { "type": "Point", "coordinates": [1.0, 2.0] },
        },
    };
    let clerks: [Document; 2] = [
        doc! { "_id": id(4), "customer": id(2), "account": 7, "theater": id(3), "tier": "Gold",
        "films": [id(3), id(9)], "visits": [{ "theater": id(3) }, { "theater": id(9) }] },
        doc! { "_id": id(5), "account": 8, "films": [] },
    ];
    let source = MemorySource::new()
        .with(
            "accounts",
            [doc! { "_id": id(1), "account_id": 7, "limit": 1, "products": ["Brokerage"] }],
        )
        .with("customers", [customer])
        .with("theaters", [theater])
        .with("clerks", clerks);
    let Some(mut moved) = moved(Several::FACTS, Arc::new(source)).await else { return };
    let sql = "SELECT (SELECT count(*) FROM clerks) AS clerks,
        (SELECT count(*) FROM favourites) AS favourites, (SELECT count(*) FROM visits) AS visits,
        (SELECT count(*) FROM customer_tiers) AS tiers, (SELECT tier::text FROM clerks) AS tier,
        (SELECT count(*) FROM customer_accounts) AS accounts";
    let counts = json!({ "clerks": 1, "favourites": 1, "visits": 1, "tiers": 1, "tier": "Gold", "accounts": 1 });
    assert_eq!(moved.rows(sql).await, [counts]);
    let rejects = moved.rejects().await;
    assert_eq!(rejects.len(), 2, "{rejects:?}");
}
