//! Lists of networks: files of an operator (blocklists, Tor exits, the ranges of clouds), and which of them hold an
//! address.
//!
//! | file | what |
//! |---|---|
//! | `span` | one entry |
//! | [`read`] | a file: `text`, `json`; what was read: `parsed` |
//! | [`ranges`], [`index`] | the ranges of one list, and those of all lists overlaid, on disk |

pub mod index;
mod json;
mod parsed;
pub mod ranges;
pub mod read;
mod span;
mod text;

pub use parsed::{MOST_ENTRIES, MOST_ENTRIES_V6, Parsed, Room};
pub use span::{Entry, Span, entry};
pub use text::Unread;
