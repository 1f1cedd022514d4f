//! The state of the store: which lists there are, what they were made of, and what was refused. Plain data, kept as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::maxmind::manifest::{MAX_REASON, Signature, now_us};
use crate::text::clean;

/// By what this version judges a file: refused files are looked at again by another one.
const JUDGE: u32 = 1;

/// Which lists answer. Kept as JSON so that an operator can read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Grows with every change: two manifests of one serial are the same.
    pub serial: u64,
    /// By name.
    pub lists: BTreeMap<String, ListState>,
    /// Files that cannot be a list, by their names: why.
    pub rejected: BTreeMap<String, Refusal>,
    /// The index of all lists; `None`: there is no list.
    pub index: Option<IndexInfo>,
}

/// The index in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexInfo {
    /// Name of its file, made of its content.
    pub file: String,
    /// Unix microseconds: answers from before are stale.
    pub installed_at: i64,
}

/// The state of one list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListState {
    /// Name of the operator's file.
    pub file: String,
    /// What answers.
    pub current: Option<ListInfo>,
    /// The file as it was when it was last looked at; unchanged files are not read again.
    pub seen: Option<Signature>,
    /// Why the file last looked at was not taken; `None` when it was.
    pub refused: Option<Refusal>,
}

/// The entries of a list that are in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInfo {
    /// Name of the file with its ranges, made of its content.
    pub ranges: String,
    /// Entries of IPv4 and of IPv6, as the operator's file has them.
    pub entries: [u64; 2],
    /// How many IPv4 addresses they hold.
    pub addresses_v4: u64,
    /// What was wrong with the file.
    pub warning: Option<String>,
    /// Bytes of the file.
    pub size: u64,
    /// The date of the file; Unix microseconds.
    pub modified_at: i64,
    /// When these entries came into use; Unix microseconds.
    pub installed_at: i64,
}

/// A file that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line, lower case.
    pub reason: String,
    /// Unix microseconds.
    pub at: i64,
    /// The version that judged it.
    pub by: u32,
}

impl Refusal {
    /// By this version, now.
    pub(super) fn new(reason: &str) -> Refusal {
        Refusal { reason: clean(reason, MAX_REASON).into_owned(), at: now_us(), by: JUDGE }
    }

    /// Whether another version may judge otherwise.
    pub(super) fn is_by_another(&self) -> bool {
        self.by != JUDGE
    }
}

impl Manifest {
    /// Entries of all lists but one: of both families, and of IPv6.
    pub(super) fn entries_without(&self, name: &str) -> [u64; 2] {
        let others = self.lists.iter().filter(|(other, _)| *other != name);
        others
            .filter_map(|(_, state)| state.current.as_ref())
            .fold([0, 0], |[all, v6], info| [all + info.entries[0] + info.entries[1], v6 + info.entries[1]])
    }

    /// Names and files of ranges of all lists that answer, in ascending order of the names.
    pub(super) fn answering(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lists.iter().filter_map(|(name, state)| Some((name.as_str(), state.current.as_ref()?.ranges.as_str())))
    }
}
