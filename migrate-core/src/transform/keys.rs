//! Finds the fields that a model takes in a raw document, in one walk.
//!
//! Documents of a collection mostly have their fields in one order, so the walk first compares a
//! key with the one that followed last time; only a surprise asks the hash table. Neither the
//! order nor the keys that nothing takes change the cost by more than a constant per field.
//!
//! Keys inside embedded documents are levels of their own: behind the walk over the document each
//! embedded document that something is taken out of is walked the same way. All ranges are those
//! of the whole document.

use std::borrow::Cow;

use bson::spec::ElementType;

use crate::schema::{KEY_SEPARATOR, key_path};
use crate::value::{Malformed, Value, kind_of, value_length};

/// The keys that a model takes, by level. A key's position is its slot: those of the document
/// first, then those of one embedded document after the other.
#[derive(Debug)]
pub(super) struct Keys {
    /// The document itself, and behind each level those inside of it.
    levels: Vec<Level>,
}

/// The keys of one document, embedded or not.
#[derive(Debug)]
struct Level {
    keys: Vec<Key>,
    /// Slots by hash, open addressing, [`EMPTY`] where there is none.
    table: Vec<u16>,
    /// The slots from here on are those of keys that are known and left out on purpose.
    taken: usize,
    /// The first slot of the level among those of all levels.
    base: usize,
    /// The level and the key there that the embedded document is the value of.
    under: (usize, u16),
    /// Something takes the value as a whole, so it may be of another type, and no key in it is
    /// left over.
    whole: bool,
    /// A key is a position, so the value may be an array.
    positions: bool,
}

const EMPTY: u16 = u16::MAX;

#[derive(Debug)]
struct Key {
    name: &'static str,
    /// The first 16 bytes of the name, the rest zero.
    head: u128,
    /// Something takes the value as a whole.
    whole: bool,
}

impl Key {
    fn new(name: &'static str) -> Self {
        Self { name, head: head_of(name.as_bytes()), whole: false }
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { levels: vec![Level::new((0, 0))] }
    }

    /// Adds a key, or a path of keys with [`KEY_SEPARATOR`] between them.
    pub(super) fn add(&mut self, path: &'static str) {
        let (level, name) = self.open(path);
        self.levels[level].add(name);
    }

    /// Adds a key whose value is taken as a whole, even if something is taken out of it as well.
    pub(super) fn add_whole(&mut self, path: &'static str) {
        let (level, name) = self.open(path);
        let slot = self.levels[level].add(name);
        self.levels[level].keys[usize::from(slot)].whole = true;
    }

    /// The level that the last key of a path belongs to, and that key.
    fn open(&mut self, path: &'static str) -> (usize, &'static str) {
        let (mut level, mut rest) = (0, path);
        while let Some((name, behind)) = rest.split_once(KEY_SEPARATOR) {
            let under = (level, self.levels[level].add(name));
            level = match self.levels.iter().skip(1).position(|level| level.under == under) {
                Some(position) => position + 1,
                None => {
                    self.levels.push(Level::new(under));
                    self.levels.len() - 1
                }
            };
            rest = behind;
        }
        (level, rest)
    }

    /// Ends the keys whose values are taken: those that are added later may be there twice.
    pub(super) fn end_of_taken(&mut self) {
        for level in &mut self.levels {
            level.taken = level.keys.len();
        }
    }

    /// Numbers the slots; call it when all keys are added.
    pub(super) fn index(&mut self) {
        let mut base = 0;
        for index in 0..self.levels.len() {
            let (under, key) = self.levels[index].under;
            let whole = index > 0 && self.levels[under].keys[usize::from(key)].whole;
            let level = &mut self.levels[index];
            level.index();
            level.base = base;
            level.whole = whole;
            base += level.keys.len();
        }
    }

    /// The slot of a path that was added.
    pub(super) fn slot(&self, path: &str) -> u16 {
        let (mut level, mut rest) = (0, path);
        while let Some((name, behind)) = rest.split_once(KEY_SEPARATOR) {
            let under = (level, self.levels[level].position(name));
            let inside = self.levels.iter().skip(1).position(|level| level.under == under);
            level = inside.map_or_else(|| panic!("`{path}` was added"), |position| position + 1);
            rest = behind;
        }
        (self.levels[level].base + usize::from(self.levels[level].position(rest))) as u16
    }

    /// The path of a slot as people write it.
    pub(super) fn path(&self, slot: u16) -> String {
        let slot = usize::from(slot);
        let level = self.levels.iter().rposition(|level| level.base <= slot).unwrap_or_default();
        let name = self.levels[level].keys[slot - self.levels[level].base].name;
        self.path_in(level, name)
    }

    /// The path of a key in a level.
    fn path_in(&self, level: usize, name: &str) -> String {
        match level {
            0 => key_path(name),
            _ => format!("{}.{}", self.document_path(level), key_path(name)),
        }
    }

    /// The path of the embedded document that a level walks.
    pub(super) fn document_path(&self, level: usize) -> String {
        let (under, key) = self.levels[level].under;
        self.path_in(under, self.levels[under].keys[usize::from(key)].name)
    }

    /// What must stand where a level walks.
    pub(super) fn expected(&self, level: usize) -> &'static str {
        if self.levels[level].positions { "array" } else { "object" }
    }

    /// The slot of the embedded document that a level walks.
    fn document_slot(&self, level: &Level) -> usize {
        self.levels[level.under.0].base + usize::from(level.under.1)
    }
}

impl Level {
    fn new(under: (usize, u16)) -> Self {
        Self {
            keys: Vec::new(),
            table: Vec::new(),
            taken: usize::MAX,
            base: 0,
            under,
            whole: false,
            positions: false,
        }
    }

    fn position(&self, name: &str) -> u16 {
        let position = self.keys.iter().position(|key| key.name == name);
        position.unwrap_or_else(|| panic!("`{name}` was added")) as u16
    }

    /// The position of a key, which is added if it is new.
    fn add(&mut self, name: &'static str) -> u16 {
        if let Some(slot) = self.keys.iter().position(|key| key.name == name) {
            return slot as u16;
        }
        self.keys.push(Key::new(name));
        (self.keys.len() - 1) as u16
    }

    /// Makes the hash table.
    fn index(&mut self) {
        let is_position = |key: &Key| key.name.bytes().all(|digit| digit.is_ascii_digit());
        self.positions = self.keys.iter().any(|key| !key.name.is_empty() && is_position(key));
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
    /// For each level one for each of its keys; the last one is that of the beginning.
    steps: Vec<Vec<Step>>,
    /// Keys that nothing takes.
    unknown: Vec<Unknown>,
}

/// A key as the walk expects it, with all that this needs in one place.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The first 16 bytes of the name and its terminator, the rest zero, in halves.
    head: [u64; 2],
    /// The bits of `head` that count.
    mask: [u64; 2],
    name: &'static str,
    /// The key that came after it last.
    next: u16,
}

impl Step {
    fn new(name: &'static str, next: usize) -> Self {
        let counted = (name.len() + 1).min(16);
        let halves = |bits: u128| [bits as u64, (bits >> 64) as u64];
        Self {
            head: halves(head_of(name.as_bytes())),
            mask: halves(u128::MAX >> (8 * (16 - counted))),
            name,
            next: next as u16,
        }
    }

    /// Whether the bytes begin with this key and its terminator.
    #[inline]
    fn starts(&self, bytes: &[u8]) -> bool {
        if let ([low, high, ..], _) = bytes.as_chunks::<8>() {
            let [low, high] = [u64::from_le_bytes(*low), u64::from_le_bytes(*high)];
            let other = low & self.mask[0] ^ self.head[0] | high & self.mask[1] ^ self.head[1];
            if other != 0 || self.name.len() < 16 {
                return other == 0;
            }
        }
        self.is_whole(bytes)
    }

    /// The same for long names and near the end of a document.
    #[inline(never)]
    fn is_whole(&self, bytes: &[u8]) -> bool {
        bytes.get(self.name.len()) == Some(&0) && bytes.starts_with(self.name.as_bytes())
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    document: u32,
    start: u32,
    end: u32,
    kind: ElementType,
}

/// A key that nothing takes: where it stands in the document, and its level.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    start: u32,
    end: u32,
    level: u32,
}

/// Why a walk ended early.
pub(super) enum WalkError {
    Malformed(Malformed),
    /// The same key twice.
    Duplicate(u16),
    /// The level of an embedded document whose slot holds something else.
    NoDocument(usize),
}

impl Found {
    pub(super) fn new(keys: &Keys) -> Self {
        let empty = Slot { document: 0, start: 0, end: 0, kind: ElementType::Null };
        let count = keys.levels.iter().map(|level| level.keys.len()).sum();
        // In the order in which the keys were added, until documents say otherwise.
        let steps = keys.levels.iter().map(|level| {
            let count = level.keys.len();
            let steps = level.keys.iter().enumerate();
            let steps = steps.map(|(slot, key)| Step::new(key.name, (slot + 1) % count));
            steps.chain([Step::new("", 0)]).collect()
        });
        Self { slots: vec![empty; count], document: 0, steps: steps.collect(), unknown: Vec::new() }
    }

    /// The value in a slot, if the document has one.
    #[inline(always)]
    pub(super) fn get<'a>(&self, slot: u16, document: &'a [u8]) -> Option<Value<'a>> {
        let slot = &self.slots[usize::from(slot)];
        if slot.document != self.document {
            return None;
        }
        document
            .get(slot.start as usize..slot.end as usize)
            .map(|bytes| Value { kind: slot.kind, bytes })
    }

    /// The value that a level should have walked.
    pub(super) fn no_document<'a>(
        &self,
        keys: &Keys,
        level: usize,
        document: &'a [u8],
    ) -> Option<Value<'a>> {
        self.get(keys.document_slot(&keys.levels[level]) as u16, document)
    }

    /// The keys that nothing takes, and whether they are the document's own: those of embedded
    /// documents come with their paths.
    pub(super) fn unknown<'a>(
        &'a self,
        keys: &'a Keys,
        document: &'a [u8],
    ) -> impl Iterator<Item = (Cow<'a, [u8]>, bool)> {
        self.unknown.iter().map(|unknown| {
            let key = &document[unknown.start as usize..unknown.end as usize];
            match unknown.level {
                0 => (Cow::Borrowed(key), true),
                level => {
                    let mut path = keys.document_path(level as usize).into_bytes();
                    path.push(b'.');
                    path.extend_from_slice(key);
                    (Cow::Owned(path), false)
                }
            }
        })
    }

    /// Whether there are such keys.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// A document of the fields of the document itself that nothing takes; empty where there are
    /// none.
    pub(super) fn rest(&self, document: &[u8], rest: &mut Vec<u8>) {
        rest.clear();
        for unknown in self.unknown.iter().filter(|unknown| unknown.level == 0) {
            let value = unknown.end as usize + 1;
            let start = unknown.start as usize - 1;
            // The walk has been over the value, so its length is known to fit.
            let Some(kind) = kind_of(document[start]) else { continue };
            let Some(length) = value_length(kind, &document[value..]) else { continue };
            if rest.is_empty() {
                rest.extend_from_slice(&[0; 4]);
            }
            rest.extend_from_slice(&document[start..value + length]);
        }
        if !rest.is_empty() {
            rest.push(0);
            let length = (rest.len() as u32).to_le_bytes();
            rest[..4].copy_from_slice(&length);
        }
    }

    /// Walks one document. After an error the slots hold what came before it.
    #[inline]
    pub(super) fn walk(&mut self, keys: &Keys, document: &[u8]) -> Result<(), WalkError> {
        if self.document == u32::MAX {
            self.slots.iter_mut().for_each(|slot| slot.document = 0);
            self.document = 0;
        }
        self.document += 1;
        self.unknown.clear();

        let fits = document.first_chunk::<4>().is_some_and(|length| {
            document.len() >= 5 && u32::from_le_bytes(*length) as usize == document.len()
        });
        if !fits {
            return fault(0, "the length does not fit the document");
        }
        self.walk_level(keys, 0, document, 0, document.len())?;
        if keys.levels.len() > 1 { self.walk_embedded(keys, document) } else { Ok(()) }
    }

    /// Walks the embedded documents that something is taken out of.
    fn walk_embedded(&mut self, keys: &Keys, document: &[u8]) -> Result<(), WalkError> {
        for (index, level) in keys.levels.iter().enumerate().skip(1) {
            let slot = self.slots[keys.document_slot(level)];
            if slot.document != self.document {
                continue;
            }
            let (start, end) = (slot.start as usize, slot.end as usize);
            match slot.kind {
                ElementType::EmbeddedDocument => {}
                ElementType::Array if level.positions => {}
                ElementType::Null => continue,
                _ if level.whole => continue,
                _ => return Err(WalkError::NoDocument(index)),
            }
            self.walk_level(keys, index, document, start, end)?;
        }
        Ok(())
    }

    /// Walks the document that lies between `start` and its `close`.
    #[inline]
    fn walk_level(
        &mut self,
        keys: &Keys,
        index: usize,
        document: &[u8],
        start: usize,
        close: usize,
    ) -> Result<(), WalkError> {
        let level = &keys.levels[index];
        let steps = &mut self.steps[index][..];
        let slots = &mut self.slots[level.base..];
        let number = self.document;
        let end = close - 1;
        let inside = &document[..end];
        let mut previous = steps.len() - 1;
        let mut offset = start + 4;
        while let [tag, rest @ ..] = inside.get(offset..).unwrap_or_default() {
            let Some(kind) = kind_of(*tag) else {
                return fault(offset, "unknown element type");
            };
            let expected = usize::from(steps[previous].next);
            // A field that is left out now and then is stepped over.
            let second = usize::from(steps[expected].next);
            let key = if steps[expected].starts(rest) {
                expected
            } else if steps[second].starts(rest) {
                second
            } else {
                let Some((length, slot)) = level.find(rest) else {
                    return fault(offset, "a key without an end");
                };
                let Some(slot) = slot else {
                    let value_start = offset + length + 2;
                    if !level.whole {
                        self.unknown.push(Unknown {
                            start: (offset + 1) as u32,
                            end: (offset + 1 + length) as u32,
                            level: index as u32,
                        });
                    }
                    let value = rest.get(length + 1..).unwrap_or_default();
                    let Some(length) = value_length(kind, value) else {
                        return misfit(value_start);
                    };
                    offset = value_start + length;
                    continue;
                };
                steps[previous].next = slot;
                usize::from(slot)
            };
            let length = steps[key].name.len();
            let value_start = offset + length + 2;
            let value = rest.get(length + 1..).unwrap_or_default();
            let Some(length) = value_length(kind, value) else {
                return misfit(value_start);
            };
            offset = value_start + length;
            let slot = &mut slots[key];
            if slot.document == number && key < level.taken {
                return Err(WalkError::Duplicate((level.base + key) as u16));
            }
            *slot = Slot { document: number, start: value_start as u32, end: offset as u32, kind };
            previous = key;
        }
        if document[end] != 0 {
            return fault(end, "the document does not end in a zero byte");
        }
        Ok(())
    }
}

#[cold]
fn misfit(offset: usize) -> Result<(), WalkError> {
    fault(offset, "a value that does not fit into its document")
}

#[cold]
fn fault(offset: usize, what: &'static str) -> Result<(), WalkError> {
    Err(WalkError::Malformed(Malformed { offset, what }))
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
            let unknown: Vec<_> = found.unknown(&keys, &bytes).map(|(key, _)| key).collect();
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
