//! A message put together in const evaluation, where there is no `String`.

/// The longest message in bytes; what comes after it is cut off.
const CAPACITY: usize = 1024;

/// Text that grows up to a fixed size.
#[derive(Clone, Copy)]
pub(super) struct Text {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Text {
    /// A text that begins so.
    pub(super) const fn new(text: &str) -> Self {
        Self { bytes: [0; CAPACITY], length: 0 }.and(text)
    }

    /// The text with `text` behind it. A text that does not fit whole is left out, so that no
    /// character is torn.
    pub(super) const fn and(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        if self.length + text.len() <= CAPACITY {
            let (_, room) = self.bytes.split_at_mut(self.length);
            let (room, _) = room.split_at_mut(text.len());
            room.copy_from_slice(text);
            self.length += text.len();
        }
        self
    }

    pub(super) const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            Err(_) => panic!("whole texts are put together"),
        }
    }
}
