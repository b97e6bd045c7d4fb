//! Finds the fields that a model takes in a raw document, in one walk.
//!
//! Documents of a collection mostly have their fields in one order, so the walk first compares a
//! key with the one that followed last time; only a surprise asks the hash table. Neither the
//! order nor the keys that nothing takes change the cost by more than a constant per field.

use bson::spec::ElementType;

use crate::reject::Reason;
use crate::value::{Malformed, Value, value_length};

/// The keys that a model takes. A key's position is its slot.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Slots by hash, open addressing, [`EMPTY`] where there is none.
    table: Vec<u16>,
    /// The slots from here on are those of keys that are known and left out on purpose.
    taken: usize,
}

const EMPTY: u16 = u16::MAX;

#[derive(Debug)]
struct Key {
    name: &'static str,
    /// The first 16 bytes of the name and its terminator, the rest zero.
    head: u128,
    /// The bits of `head` that count.
    mask: u128,
}

impl Key {
    fn new(name: &'static str) -> Self {
        let counted = (name.len() + 1).min(16);
        Self { name, head: head_of(name.as_bytes()), mask: u128::MAX >> (8 * (16 - counted)) }
    }

    /// Whether the bytes begin with this key and its terminator.
    #[inline]
    fn starts(&self, bytes: &[u8]) -> bool {
        let length = self.name.len();
        if let Some(head) = bytes.first_chunk::<16>() {
            if u128::from_le_bytes(*head) & self.mask != self.head {
                return false;
            }
            if length < 16 {
                return true;
            }
        }
        bytes.get(length) == Some(&0) && bytes.starts_with(self.name.as_bytes())
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), table: Vec::new(), taken: usize::MAX }
    }

    /// The slot of a key, which is added if it is new.
    pub(super) fn add(&mut self, name: &'static str) -> u16 {
        if let Some(slot) = self.keys.iter().position(|key| key.name == name) {
            return slot as u16;
        }
        self.keys.push(Key::new(name));
        (self.keys.len() - 1) as u16
    }

    /// Ends the keys whose values are taken: those that are added later may be there twice.
    pub(super) fn end_of_taken(&mut self) {
        self.taken = self.keys.len();
    }

    /// Makes the hash table; call it when all keys are added.
    pub(super) fn index(&mut self) {
        let size = (self.keys.len() * 4).next_power_of_two();
        self.table = vec![EMPTY; size];
        for (slot, key) in self.keys.iter().enumerate() {
            let mut place = hash(key.head) & (size - 1);
            while self.table[place] != EMPTY {
                place = (place + 1) & (size - 1);
            }
            self.table[place] = slot as u16;
        }
    }

    pub(super) fn name(&self, slot: u16) -> &'static str {
        self.keys[usize::from(slot)].name
    }

    /// The length of the key at the beginning of the bytes, and its slot if it has one; `None`
    /// when it has no end.
    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<(usize, Option<u16>)> {
        const ONES: u128 = u128::MAX / 255;
        if let Some(head) = bytes.first_chunk::<16>() {
            let head = u128::from_le_bytes(*head);
            // The lowest bit that is set belongs to the first zero byte.
            let zeros = head.wrapping_sub(ONES) & !head & ONES << 7;
            if zeros != 0 {
                let length = (zeros.trailing_zeros() / 8) as usize;
                let head = head & !(u128::MAX << (8 * length));
                return Some((length, self.find_head(head, |_| true)));
            }
        }
        let length = memchr::memchr(0, bytes)?;
        let name = &bytes[..length];
        let slot = self.find_head(head_of(name), |key| key.name.as_bytes() == name);
        Some((length, slot))
    }

    /// The slot of a key by its head; a head with a zero in it is a whole key.
    #[inline]
    fn find_head(&self, head: u128, is_it: impl Fn(&Key) -> bool) -> Option<u16> {
        let last = self.table.len() - 1;
        let mut place = hash(head) & last;
        loop {
            let slot = self.table[place];
            if slot == EMPTY {
                return None;
            }
            let key = &self.keys[usize::from(slot)];
            if key.head == head && is_it(key) {
                return Some(slot);
            }
            place = (place + 1) & last;
        }
    }
}

/// The first 16 bytes of a name, the rest zero.
fn head_of(name: &[u8]) -> u128 {
    let mut head = [0; 16];
    let length = name.len().min(16);
    head[..length].copy_from_slice(&name[..length]);
    u128::from_le_bytes(head)
}

#[inline]
fn hash(head: u128) -> usize {
    let (low, high) = (head as u64, (head >> 64) as u64);
    let mixed = (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize
}

/// What one walk has found; used again for the next document.
#[derive(Debug)]
pub(super) struct Found {
    slots: Vec<Slot>,
    /// The number of the document: a slot with another number is empty.
    document: u32,
    /// For each slot the one that followed it last; the last entry is that of the beginning.
    followers: Vec<u16>,
    /// Keys that nothing takes, as ranges of the document.
    unknown: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    document: u32,
    start: u32,
    end: u32,
    kind: ElementType,
}

/// Why a walk ended early.
pub(super) enum WalkError {
    Malformed(Malformed),
    /// The same key twice.
    Duplicate(u16),
}

impl WalkError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::Malformed,
            Self::Duplicate(_) => Reason::DuplicateKey,
        }
    }
}

impl Found {
    pub(super) fn new(keys: &Keys) -> Self {
        let empty = Slot { document: 0, start: 0, end: 0, kind: ElementType::Null };
        let count = keys.keys.len();
        // In the order in which the keys were added, until documents say otherwise.
        let followers = (1..=count).chain([0]).map(|slot| (slot % count.max(1)) as u16).collect();
        Self { slots: vec![empty; count], document: 0, followers, unknown: Vec::new() }
    }

    /// The value in a slot, if the document has one.
    #[inline]
    pub(super) fn get<'a>(&self, slot: u16, document: &'a [u8]) -> Option<Value<'a>> {
        let slot = &self.slots[usize::from(slot)];
        if slot.document != self.document {
            return None;
        }
        document
            .get(slot.start as usize..slot.end as usize)
            .map(|bytes| Value { kind: slot.kind, bytes })
    }

    /// The keys that nothing takes.
    pub(super) fn unknown<'a>(&self, document: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.unknown.iter().map(|(start, end)| &document[*start as usize..*end as usize])
    }

    /// Whether there are such keys.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Walks one document. After an error the slots hold what came before it.
    pub(super) fn walk(&mut self, keys: &Keys, document: &[u8]) -> Result<(), WalkError> {
        if self.document == u32::MAX {
            self.slots.iter_mut().for_each(|slot| slot.document = 0);
            self.document = 0;
        }
        self.document += 1;
        self.unknown.clear();

        let fault = |offset, what| Err(WalkError::Malformed(Malformed { offset, what }));
        let fits = document.first_chunk::<4>().is_some_and(|length| {
            document.len() >= 5 && u32::from_le_bytes(*length) as usize == document.len()
        });
        if !fits {
            return fault(0, "the length does not fit the document");
        }
        let end = document.len() - 1;
        let beginning = self.followers.len() - 1;
        let mut previous = beginning;
        let mut offset = 4;
        while offset < end {
            let Some(kind) = ElementType::from(document[offset]) else {
                return fault(offset, "unknown element type");
            };
            let key_start = offset + 1;
            let rest = &document[key_start..end];
            let expected = self.followers[previous];
            let slot = if keys.keys[usize::from(expected)].starts(rest) {
                Some(expected)
            } else {
                // A field that is left out now and then is stepped over.
                let second = self.followers[usize::from(expected)];
                if keys.keys[usize::from(second)].starts(rest) { Some(second) } else { None }
            };
            let (slot, value_start) = match slot {
                Some(slot) => (Some(slot), key_start + keys.name(slot).len() + 1),
                None => {
                    let Some((length, slot)) = keys.find(rest) else {
                        return fault(offset, "a key without an end");
                    };
                    match slot {
                        Some(slot) => self.followers[previous] = slot,
                        None => {
                            self.unknown.push((key_start as u32, (key_start + length) as u32));
                        }
                    }
                    (slot, key_start + length + 1)
                }
            };
            let Some(length) = value_length(kind, &document[value_start..end]) else {
                return fault(value_start, "a value that does not fit into its document");
            };
            offset = value_start + length;
            if let Some(index) = slot {
                let slot = &mut self.slots[usize::from(index)];
                if slot.document == self.document && usize::from(index) < keys.taken {
                    return Err(WalkError::Duplicate(index));
                }
                *slot = Slot {
                    document: self.document,
                    start: value_start as u32,
                    end: offset as u32,
                    kind,
                };
                previous = usize::from(index);
            }
        }
        if document[end] != 0 {
            return fault(end, "the document does not end in a zero byte");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    const NAMES: [&str; 6] = ["_id", "a", "ab", "sixteen_bytes_ab", "seventeen_bytes_a", "žluť"];

    fn keys() -> Keys {
        let mut keys = Keys::new();
        for name in NAMES {
            keys.add(name);
        }
        keys.index();
        keys
    }

    #[test]
    fn every_order_is_found() {
        let keys = keys();
        let mut found = Found::new(&keys);
        for turn in 0..NAMES.len() {
            for step in [1, 5] {
                let order: Vec<usize> =
                    (0..NAMES.len()).map(|index| (index * step + turn) % NAMES.len()).collect();
                let document: bson::Document = order
                    .iter()
                    .map(|index| (NAMES[*index].to_owned(), (*index as i32).into()))
                    .collect();
                let bytes = document.to_vec().unwrap();
                assert!(found.walk(&keys, &bytes).is_ok());
                for (slot, _) in NAMES.iter().enumerate() {
                    let value = found.get(slot as u16, &bytes).unwrap();
                    assert_eq!(i32::from_le_bytes(value.fixed()), slot as i32);
                }
                assert!(!found.has_unknown());
            }
        }
    }

    #[test]
    fn keys_that_nothing_takes() {
        let keys = keys();
        let mut found = Found::new(&keys);
        let document =
            doc! { "_ie": 1, "": 2, "a": 3, "sixteen_bytes_ac": 4, "seventeen_bytes_b": 5 };
        let bytes = document.to_vec().unwrap();
        for _ in 0..2 {
            assert!(found.walk(&keys, &bytes).is_ok());
            let unknown: Vec<_> = found.unknown(&bytes).collect();
            let expected: [&[u8]; 4] = [b"_ie", b"", b"sixteen_bytes_ac", b"seventeen_bytes_b"];
            assert_eq!(unknown, expected);
            assert!(found.get(0, &bytes).is_none());
            assert!(found.get(1, &bytes).is_some());
        }
        assert!(found.walk(&keys, &doc! {}.to_vec().unwrap()).is_ok());
        assert!(found.get(1, &bytes).is_none());
    }

    #[test]
    fn a_walk_ends_at_what_is_no_bson() {
        let keys = keys();
        let mut found = Found::new(&keys);
        let bytes = doc! { "_id": 1, "a": "text" }.to_vec().unwrap();
        for length in 0..bytes.len() {
            assert!(found.walk(&keys, &bytes[..length]).is_err());
        }
        let mut open = bytes.clone();
        *open.last_mut().unwrap() = 1;
        assert!(found.walk(&keys, &open).is_err());
    }
}
