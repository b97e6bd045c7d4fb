//! What the target holds, as a sorted table of hashes: small, and asked by all readers at once.
//!
//! A table is filled by one scan and is asked only after that, so nothing is locked while it is
//! asked. The hashes are spread evenly, so their first bits say where to look.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Hashes of keys, each with what is known of it and whether it was asked for.
pub(super) struct Hashes<T> {
    gathered: Mutex<Vec<(u64, T)>>,
    sorted: OnceLock<Sorted<T>>,
}

struct Sorted<T> {
    entries: Vec<(u64, T)>,
    /// Where the entries begin whose first bits are the place in this list, and where they end.
    starts: Vec<u32>,
    /// How far a hash is shifted to leave those bits.
    shift: u32,
    /// A bit for each entry.
    given: Vec<AtomicU64>,
    /// Whether a key was there more than once.
    has_doubles: bool,
}

/// How many entries share their first bits, about.
const PER_START: usize = 8;

impl<T> Default for Hashes<T> {
    fn default() -> Self {
        Self { gathered: Mutex::default(), sorted: OnceLock::new() }
    }
}

impl<T: Send + Sync> Hashes<T> {
    /// What `entries` entries take, in bytes.
    pub(super) const fn bytes(entries: u64) -> u64 {
        entries * (size_of::<(u64, T)>() as u64 + 1)
    }

    /// Adds what a scan has found. It has no effect once the table was asked.
    pub(super) fn extend(&self, entries: Vec<(u64, T)>) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.is_empty() {
            *gathered = entries;
        } else {
            gathered.extend(entries);
        }
    }

    /// Notes that a key was asked for. Gives what is known of it, and whether this was the first
    /// time; `None` when it is not there.
    pub(super) fn give(&self, key: u64) -> Option<(&T, bool)> {
        let sorted = self.sorted();
        let place = sorted.find(key)?;
        let bit = 1 << (place % 64);
        let before = sorted.given[place / 64].fetch_or(bit, Ordering::Relaxed);
        Some((&sorted.entries[place].1, before & bit == 0))
    }

    /// Whether a key is there that was not asked for.
    pub(super) fn is_left(&self, key: u64) -> bool {
        let sorted = self.sorted();
        sorted.find(key).is_some_and(|place| {
            sorted.given[place / 64].load(Ordering::Relaxed) & (1 << (place % 64)) == 0
        })
    }

    /// Whether a key is there, asked for or not.
    pub(super) fn has(&self, key: u64) -> bool {
        self.sorted().find(key).is_some()
    }

    /// Whether a key is there more than once, as in a table without its primary key.
    pub(super) fn has_doubles(&self) -> bool {
        self.sorted().has_doubles
    }

    /// The keys, each once.
    fn len(&self) -> u64 {
        self.sorted().entries.len() as u64
    }

    /// The keys that were asked for.
    pub(super) fn given(&self) -> u64 {
        let ones = |word: &AtomicU64| u64::from(word.load(Ordering::Relaxed).count_ones());
        self.sorted().given.iter().map(ones).sum()
    }

    /// The keys that were not asked for.
    pub(super) fn left(&self) -> u64 {
        self.len() - self.given()
    }

    fn sorted(&self) -> &Sorted<T> {
        self.sorted.get_or_init(|| {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            Sorted::of(std::mem::take(&mut *gathered))
        })
    }
}

impl<T> Sorted<T> {
    fn of(mut entries: Vec<(u64, T)>) -> Self {
        entries.sort_unstable_by_key(|(key, _)| *key);
        // A table without its key may have a row twice; its number of rows says so.
        let count = entries.len();
        entries.dedup_by_key(|(key, _)| *key);
        let has_doubles = entries.len() < count;
        let bits = (entries.len() / PER_START).max(1).ilog2() + 1;
        let shift = u64::BITS - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        for (key, _) in &entries {
            starts[(key >> shift) as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let given = (0..entries.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { entries, starts, shift, given, has_doubles }
    }

    fn find(&self, key: u64) -> Option<usize> {
        let first = (key >> self.shift) as usize;
        let (start, end) = (self.starts[first] as usize, self.starts[first + 1] as usize);
        let place = self.entries[start..end].iter().position(|(known, _)| *known >= key)?;
        (self.entries[start + place].0 == key).then_some(start + place)
    }
}

#[cfg(test)]
mod tests {
    use super::Hashes;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn every_key_is_found_and_no_other() {
        for count in [0_u64, 1, 2, 63, 64, 65, 10_000] {
            let key = |number: u64| xxh3_64(&number.to_be_bytes());
            let hashes = Hashes::default();
            hashes.extend((0..count / 2).map(|number| (key(number), number)).collect());
            hashes.extend((count / 2..count).map(|number| (key(number), number)).collect());
            assert_eq!(hashes.left(), count);
            assert!(!hashes.has_doubles());
            for number in 0..count {
                assert!(hashes.is_left(key(number)) && hashes.has(key(number)));
                assert_eq!(hashes.give(key(number)), Some((&number, true)));
                assert_eq!(hashes.give(key(number)), Some((&number, false)));
                assert!(!hashes.is_left(key(number)) && hashes.has(key(number)));
                assert_eq!(hashes.given(), number + 1);
            }
            assert_eq!(hashes.left(), 0);
            for number in count..count + 1_000 {
                assert_eq!(hashes.give(key(number)), None);
                assert!(!hashes.is_left(key(number)) && !hashes.has(key(number)));
            }
        }
    }

    #[test]
    fn keys_at_both_ends_are_found_and_doubles_are_one() {
        let hashes = Hashes::default();
        hashes.extend(vec![(u64::MAX, 1), (0, 2), (u64::MAX, 1)]);
        assert_eq!(hashes.left(), 2);
        assert!(hashes.has_doubles());
        assert!(hashes.has(0) && !hashes.has(1));
        assert_eq!(hashes.give(u64::MAX), Some((&1, true)));
        assert_eq!(hashes.give(0), Some((&2, true)));
        assert_eq!(hashes.give(u64::MAX - 1), None);
        assert_eq!(hashes.left(), 0);
    }
}
