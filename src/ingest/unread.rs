//! The values of a statement's rows that could not be read: one sample with its reason, to find a wrong column.

use enrich::text::{MAX_TEXT, clean};

use crate::pg::encoding::from_server;

/// Bytes of a value that are kept.
const SAMPLE: usize = 120;

/// Why a time could not be read begins with this, in the queue and in `ip_source`.
pub const OF_TIME: &str = "observed_at: ";
/// So does why rows name no sensor.
pub const OF_SENSOR: &str = "sensor: ";

/// The length of a value from which a sample is made: more than is kept, since cleaning shortens it, and the last
/// character may be cut.
pub fn beginning(value: &[u8]) -> &[u8] {
    &value[..value.len().min(4 * SAMPLE)]
}

/// One value that is not an address, or has none in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its beginning, cleaned; `None` if there is no value.
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
