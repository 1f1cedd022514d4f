//! Lists of networks: files of an operator (blocklists, Tor exits, the ranges of clouds), and which of them hold an
//! address. Data passes file → [`read`](mod@read) → ranges of one list → [`index`] of all lists → [`Lists`], which answers.
//!
//! | file | what |
//! |---|---|
//! | `span` | one entry |
//! | [`read`](mod@read) | a file: `text`, `json`; what was read: `parsed` |
//! | [`ranges`], [`index`] | the ranges of one list, and those of all lists overlaid, on disk |
//! | [`directory`] | which files of the operator are lists |
//! | [`store`], [`manifest`] | import, refusal, what answers |
//! | `open` | the lists that answer |
//! | `meaning` | the flags that lists stand for |
//! | [`spread`] | whether two servers have the same |

pub mod directory;
pub mod index;
mod json;
pub mod manifest;
mod meaning;
mod open;
mod parsed;
pub mod ranges;
pub mod read;
mod span;
pub mod spread;
pub mod store;
mod text;

pub use index::Holders;
pub use meaning::{BadListFlags, ListFlags};
pub use open::{Held, Lists};
pub use parsed::{MOST_ENTRIES, MOST_ENTRIES_V6, Parsed, Room};
pub use span::{Entry, Span, entry};
pub use store::Store;
pub use text::Unread;
