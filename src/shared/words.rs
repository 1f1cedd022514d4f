//! A short text in shared memory: one process writes it, all may read it, and none waits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes that are kept of a text.
const BYTES: usize = 256;

/// The text. All-zero is the empty one.
#[repr(C)]
pub struct Words {
    /// Odd while it is being written.
    version: AtomicU32,
    words: [AtomicU64; BYTES / 8],
}

impl Words {
    /// The text; `None` when it is empty, or when its writer cannot be caught between two texts.
    pub fn read(&self) -> Option<String> {
        for _ in 0..100 {
            let before = self.version.load(Ordering::Acquire);
            let bytes: Vec<u8> = self.words.iter().flat_map(|w| w.load(Ordering::Acquire).to_ne_bytes()).collect();
            if before.is_multiple_of(2) && self.version.load(Ordering::Acquire) == before {
                let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
                let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                return (!text.is_empty()).then_some(text);
            }
        }
        None
    }

    /// Replaces the text; what does not fit is left off at a character's end. One process at a time may.
    pub fn write(&self, text: &str) {
        let mut bytes = [0; BYTES];
        let mut len = text.len().min(BYTES - 1);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.version.fetch_add(1, Ordering::AcqRel);
        for (word, bytes) in self.words.iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Release);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}
