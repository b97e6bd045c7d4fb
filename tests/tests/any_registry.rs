//! The generator knows nothing of NextCRM: a registry with other types, other kinds of ids and
//! references to itself gets documents too, and a run takes them as the ledger says.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use migrate_cli::generate::{Expected, Generator, Plan, to_dump};
use migrate_core::event::Silent;
use migrate_core::run::{Options, Stop, run};
use migrate_core::schema::Registry;
use migrate_core::{Decimal, Json, Migrate, PgEnum, registry};
use migrate_tests::servers;
use uuid::Uuid;

#[derive(Migrate)]
struct Shops {
    #[migrate(id)]
    code: String,
    #[migrate(unique)]
    name: String,
}

#[derive(PgEnum)]
enum Size {
    Small,
    Large,
}

#[derive(Migrate)]
struct Products {
    #[migrate(id)]
    number: i64,
    #[fk(Self)]
    part_of: Option<i64>,
    #[fk(Shops)]
    shop: Option<String>,
    size: Size,
    sizes: Vec<Size>,
    grade: i16,
    weight: f64,
    weights: Option<Vec<f32>>,
    grid: Vec<Vec<i32>>,
    price: Decimal,
    day: NaiveDate,
    seen: Option<DateTime<Utc>>,
    picture: Option<Vec<u8>>,
    more: Option<Json>,
}

#[derive(Migrate)]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[fk(Products)]
    product: i64,
    #[migrate(unique)]
    number: i32,
    #[migrate(id_time)]
    made: DateTime<Utc>,
}

registry! {
    pub(crate) Store = [Shops, Products, Orders]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_other_types() {
    for dirty in [0.0, 0.3] {
        let generator = Generator::new(Store::FACTS, Plan { seed: 2, scale: 0.05, dirty });
        let folder = tempfile::tempdir().unwrap();
        let ledger = to_dump(&generator, folder.path(), false).unwrap();
        let target = servers::database(servers::NEWEST).unwrap();
        let source = migrate_core::source::open(folder.path().to_str().unwrap()).await.unwrap();
        let options = Options::default();
        let stop = Stop::default();
        let summary =
            run(Store::FACTS, source, &target, &options, Arc::new(Silent), &stop).await.unwrap();
        assert!(summary.balanced);
        assert_eq!(summary.is_clean(), dirty == 0.0, "{summary:?}");
        for table in &summary.tables {
            assert_eq!(table.read, ledger.documents[&table.collection]);
            let mut planted: BTreeMap<String, u64> = BTreeMap::new();
            for fault in ledger.planted.iter().filter(|fault| fault.collection == table.collection)
            {
                if let Expected::Rejected(reason) = fault.expected {
                    *planted.entry(reason.code().to_owned()).or_default() += 1;
                }
            }
            // A rejected product takes its orders along, and an order that is gone leaves its
            // number to the one that was to be its duplicate.
            let mut found = table.rejected_by_reason.clone();
            let mut both = |reason| (found.remove(reason), planted.remove(reason));
            let (orphans, planted_orphans) = both("orphan");
            let (duplicates, planted_duplicates) = both("duplicate");
            assert!(orphans >= planted_orphans);
            assert!(duplicates <= planted_duplicates);
            assert!(duplicates.is_some() == planted_duplicates.is_some());
            assert_eq!(found, planted, "{}", table.collection);
        }
    }
}
