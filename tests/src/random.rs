//! Numbers for tests that act at random instants, from a seed that a failure names.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A new sequence for the test of that name. The seed is printed; `MIGRATE_TEST_SEED` sets it.
    ///
    /// # Panics
    /// When the variable is no number.
    #[expect(clippy::print_stderr, reason = "whoever repeats a test needs its seed")]
    pub fn for_test(test: &str) -> Self {
        let seed = match std::env::var("MIGRATE_TEST_SEED") {
            Ok(seed) => seed.parse().expect("`MIGRATE_TEST_SEED` is a number, as in `7`"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::from(since.subsec_nanos())),
        };
        eprintln!("{test}: MIGRATE_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
