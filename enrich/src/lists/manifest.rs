//! The state of the store: which lists there are, what they were made of, and what was refused. Plain data, kept as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::parsed::{MOST_ENTRIES, MOST_ENTRIES_V6, Room};
use crate::maxmind::manifest::{MAX_REASON, Signature, is_zero, now_us};
use crate::text::clean;

/// By what this version judges a file: refused files are looked at again by another one.
const JUDGE: u32 = 2;

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
    /// How often it was damaged, answered so, and was made anew: what was answered before has to be looked at again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mends: u32,
}

impl IndexInfo {
    /// What tells it from every other, and from itself as it was while it was damaged.
    pub(super) fn label(&self) -> String {
        match self.mends {
            0 => self.file.clone(),
            mends => format!("{}+{mends}", self.file),
        }
    }
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
    /// The name of the ranges before these, if there were any. Their file is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
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
    /// The room that other lists left, where it was too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
}

impl Refusal {
    /// By this version, now.
    pub(super) fn new(reason: &str) -> Refusal {
        Refusal { reason: clean(reason, MAX_REASON).into_owned(), at: now_us(), by: JUDGE, room: None }
    }

    /// The same, for want of room.
    #[must_use]
    pub(super) fn for_room(self, room: Room) -> Refusal {
        Refusal { room: Some(room), ..self }
    }

    /// Whether another version may judge otherwise.
    pub(super) fn is_by_another(&self) -> bool {
        self.by != JUDGE
    }

    /// Whether there was less room than now, and that was the reason.
    pub(super) fn had_less_than(&self, room: Room) -> bool {
        self.room.is_some_and(|had| had.entries < room.entries || had.v6 < room.v6)
    }
}

impl Manifest {
    /// What all lists but one leave to that one.
    pub(super) fn room_for(&self, name: &str) -> Room {
        let [others, others_v6] = self.entries_without(name);
        Room { entries: MOST_ENTRIES.saturating_sub(others), v6: MOST_ENTRIES_V6.saturating_sub(others_v6) }
    }

    /// Entries of all lists but one: of both families, and of IPv6.
    fn entries_without(&self, name: &str) -> [u64; 2] {
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
