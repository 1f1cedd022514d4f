//! What could not be read of a statement's rows, and why: one sample of it, for whoever attached the wrong column.

use enrich::text::{MAX_TEXT, clean};

use crate::pg::encoding::from_server;

/// Bytes of a value that are kept.
const SAMPLE: usize = 120;

/// As much of a value as a sample is made of: more than what is kept of it, since cleaning makes it shorter, and the last
/// character may be cut.
pub fn beginning(value: &[u8]) -> &[u8] {
    &value[..value.len().min(4 * SAMPLE)]
}

/// One value that was no address, or in which there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// How it begins, cleaned; `None` where there is no value.
    pub sample: Option<String>,
    /// Why nothing was read.
    pub reason: String,
}

impl Unread {
    /// Of the bytes of a value in the server's encoding.
    pub fn new(value: Option<&[u8]>, reason: &str) -> Unread {
        let text = value.map(|value| from_server(beginning(value)));
        Unread {
            sample: text.map(|text| clean(&text, SAMPLE).into_owned()).filter(|text| !text.is_empty()),
            reason: clean(reason, MAX_TEXT).into_owned(),
        }
    }

    /// The same, and says by which selector.
    pub fn of(self, selector: &str) -> Unread {
        let reason = format!("{selector}: {}", self.reason);
        Unread { sample: self.sample, reason: clean(&reason, MAX_TEXT).into_owned() }
    }
}
