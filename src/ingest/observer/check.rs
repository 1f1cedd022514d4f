//! Whether an index can observe what it says. What cannot is refused, with the reason.
#![allow(unsafe_code, reason = "reads the relation cache")]

use std::collections::HashSet;

use enrich::selector::Selector;
use pgrx::pg_sys;

use super::options;
use crate::ingest::attachable;
use crate::pg::errors::bad_value;

/// Refuses an index that cannot observe.
///
/// # Safety
/// Both must be open, and `index` an index of `table` with this access method.
pub unsafe fn index(table: &pg_sys::RelationData, index: &pg_sys::RelationData) {
    attachable::check_table(table.rd_id);
    // SAFETY: see above.
    unsafe {
        let arguments = options::of(index).arguments;
        attachable::check_arguments(table.rd_id, index.rd_att, &arguments);
        let read: HashSet<String> =
            arguments.selectors.iter().filter_map(|text| Some(Selector::parse(text).ok()?.column)).collect();
        let unread =
            (1..=(*index.rd_index).indnkeyatts).map(|i| options::name(index, i)).find(|key| !read.contains(key));
        if let Some(key) = unread {
            bad_value(
                format!("column \"{key}\" of the index is not read"),
                "No selector names it.",
                "Columns for the time, the condition and the sensor stand in INCLUDE.",
            );
        }
    }
}
