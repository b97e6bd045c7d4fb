//! A transformer that is warm allocates nothing per document, proved by counting.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use migrate_core::Migrate;
use migrate_core::id::IdScheme;
use migrate_core::transform::{Output, TargetFacts, Transformer};

#[path = "../benches/contacts/mod.rs"]
mod contacts;

use contacts::{Contacts, Order, documents};

/// The system's allocator, which counts for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The thread may be on its way out.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

#[test]
fn no_allocation_per_document() {
    let facts = TargetFacts::new(180_000, IdScheme::V8);
    for order in [Order::Same, Order::Shuffled] {
        let mut documents = documents(500, order);
        // A field that the model does not know is counted without an allocation as well.
        let known = b"social_skype\0";
        for document in documents.iter_mut().step_by(3) {
            let place = document.windows(known.len()).position(|window| window == known);
            if let Some(place) = place {
                document[place] = b'S';
            }
        }
        let transformer = Transformer::new(Contacts::MODEL.get(), &facts, &[1]).unwrap();
        let mut scratch = transformer.scratch();
        let mut out = Output::default();
        let mut run = |out: &mut Output| {
            out.clear();
            let before = allocations();
            for document in &documents {
                assert!(transformer.transform(&mut scratch, document, out));
            }
            allocations() - before
        };
        assert!(run(&mut out) > 0, "the first time buffers have to grow");
        assert_eq!(run(&mut out), 0, "{order:?}");
        assert!(out.unknown["Social_skype"].documents > 100);
    }
}
