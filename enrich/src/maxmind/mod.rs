//! MaxMind: `.mmdb` files in process, offline.
//!
//! An operator's file is never mapped. It is imported ([`Store::import`]): copied, verified, indexed and renamed
//! into a directory of immutable *generations*; [`Databases`] maps those and answers look-ups. Data passes
//! file → [`store`] → generation directory → [`generation`] → [`Answer`].
//!
//! | file | what |
//! |---|---|
//! | [`edition`] | the entries of the list: names of editions, and the roles of their files |
//! | [`role`], [`language`] | what a file's records hold and which of it may answer; the language of names |
//! | [`record`] | the fields that we read of a record, by the layouts of all vendors |
//! | [`index`] | the flat index built at import: IPv4 ranges and decoded records |
//! | `overlay`, `merge` | one index of all editions of the list, and how their records are put together |
//! | [`generation`] | one immutable copy of one edition, mapped |
//! | [`networks`] | all networks of a generation, one at a time |
//! | `json` | a whole record as JSON |
//! | [`store`] | generations on disk: import, refusal, which one answers |
//! | [`manifest`] | the state of the store, as it is kept on disk |
//! | `head` | the metadata of a file |
//! | [`tree`] | the check that a file's search tree is one |
//! | `intake` | from the operator's file to a verified, indexed copy |
//! | [`receive`] | a generation that comes from another server |
//! | [`databases`] | the open set of editions, and the look-up |
//! | `usage` | processes that have a generation open; its attribution line |
//! | [`download`] | editions from MaxMind's server |

mod ahead;
pub mod databases;
pub mod download;
pub mod edition;
pub mod generation;
mod head;
pub mod index;
mod intake;
mod json;
pub mod language;
pub mod manifest;
pub(crate) mod map;
mod merge;
pub mod networks;
mod overlay;
pub mod receive;
pub mod record;
pub mod role;
#[cfg(test)]
mod sample;
pub mod store;
pub mod tree;
pub mod update;
mod usage;

pub use databases::{Answer, Databases};
pub use edition::{Edition, Kind};
pub use generation::Generation;
pub use language::Language;
pub use networks::Networks;
pub use record::{Flags, Origin, Place, Record, Traits};
pub use role::{Fields, Holds, Role};
pub use store::{Manifest, Store};
pub use usage::{attribution, users};
