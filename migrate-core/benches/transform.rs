//! How fast documents become rows: `cargo bench -p migrate-core`.

mod contacts;

use contacts::{Contacts, Order, documents};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use migrate_core::Migrate;
use migrate_core::cell::extended_json;
use migrate_core::id::IdScheme;
use migrate_core::transform::{Output, TargetFacts, Transformer};

fn main() {
    divan::main();
}

/// Contacts, in the order of the application and in one that is never the same.
#[divan::bench(args = [Order::Same, Order::Shuffled])]
fn transform_contacts(bencher: Bencher<'_, '_>, order: Order) {
    let documents = documents(1000, order);
    let bytes: usize = documents.iter().map(Vec::len).sum();
    let facts = TargetFacts::new(180_000, IdScheme::V8);
    let transformer = Transformer::new(Contacts::MODEL.get(), &facts, &[1])
        .expect("the model's defaults are right");
    let mut scratch = transformer.scratch();
    let mut out = Output::default();
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(documents.len())).bench_local(
        || {
            out.clear();
            for document in &documents {
                transformer.transform(&mut scratch, document, &mut out);
            }
            assert_eq!(out.row_count(), documents.len());
            out.rows.len()
        },
    );
}

/// The ledger's form of a document.
#[divan::bench]
fn extended_json_of_contacts(bencher: Bencher<'_, '_>) {
    let documents = documents(100, Order::Same);
    let bytes: usize = documents.iter().map(Vec::len).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        documents.iter().map(|document| extended_json(document).len()).sum::<usize>()
    });
}
