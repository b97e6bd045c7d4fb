//! Random numbers that depend on nothing but their key: the same on every machine, and for each
//! document without the ones before it.

/// A stream of numbers (SplitMix64). Cheap to make, so every document and every value that must
/// not depend on its neighbours has its own.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of a key. Keys that differ anywhere give streams that have nothing in common.
    pub(super) fn new(key: &[u64]) -> Self {
        let mut state = 0x6d69_6772_6174_6521u64;
        for part in key {
            state = mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
        }
        Self(state)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The high half of the product: no division, and a bias far below anything seen here.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number of `start..end`.
    pub(super) fn range(&mut self, start: i64, end: i64) -> i64 {
        start + self.below((end - start) as u64) as i64
    }

    /// True in that share of all cases.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// One of the values.
    pub(super) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A key's part for a name (FNV-1a).
pub(super) fn name_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers are pinned: a change would give every seed other documents.
    #[test]
    fn stable() {
        let mut random = Random::new(&[1, 2, 3]);
        let first: Vec<u64> = (0..3).map(|_| random.below(1000)).collect();
        assert_eq!(first, PINNED);
        assert_ne!(Random::new(&[1, 2]).next(), Random::new(&[2, 1]).next());
        assert_eq!(name_key("Tasks"), name_key("Tasks"));
    }

    const PINNED: [u64; 3] = [121, 778, 421];

    #[test]
    fn chances_are_about_right() {
        let mut random = Random::new(&[7]);
        let hits = (0..100_000).filter(|_| random.chance(0.25)).count();
        assert!((24_000..26_000).contains(&hits), "{hits}");
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| (-3..4).contains(&random.range(-3, 4))));
    }
}
