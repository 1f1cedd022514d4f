//! What a table had added before it was detached: `forget_ip_source` takes it back as well, as long as the table's sightings hold all
//! of it, and nothing that is noted of tables below it goes by its having been counted.

use pgrx::pg_sys;

use super::absorb;
use super::take_back::{refuse_leftovers, take_back};
use crate::inventory::{detached, source_part};
use crate::pg::catalog::{Schema, plain_name, relation_name};
use crate::pg::errors::not_ready;
use crate::pg::tx;

/// Whether the sightings of a table that is to be detached hold all that it has added. Before it is locked: it takes a while where
/// there are many. One that cannot be told does not keep it from being detached.
pub fn is_whole(schema: &Schema, table: pg_sys::Oid) -> bool {
    tx::attempt(|| detached::is_whole(schema, table)).unwrap_or(false)
}

/// Whether no note on a table, on those that count for it or on those that have left it says that rows of theirs are counted.
/// Before the notes are changed since it is detached.
pub fn is_unnoted(schema: &Schema, table: pg_sys::Oid, own: &[pg_sys::Oid]) -> bool {
    source_part::notes(schema, own).iter().all(|note| note.origin.is_none())
        && source_part::notes_of(schema, table).iter().all(|note| relation_name(note.table).is_none())
}

/// Takes back what a table had added each time before it was detached. The table is locked, neither it nor one above it is attached,
/// and nobody else absorbs.
pub fn forget(schema: &Schema, table: pg_sys::Oid) -> i64 {
    absorb::absorb_all(schema, usize::MAX);
    refuse_leftovers(schema);
    let places = detached::numbers_of(schema, table);
    if places.is_empty() || detached::have_left_out(schema, &places) {
        refuse(schema, table);
    }
    take_back(schema, &places)
}

fn refuse(schema: &Schema, table: pg_sys::Oid) -> ! {
    if !detached::was_attached(schema, table) {
        not_ready(
            format!("table \"{}\" is not attached", plain_name(table)),
            "",
            &format!("SELECT tbl FROM {}.ip_source lists the attached tables.", schema.name),
        );
    }
    not_ready(
        format!("table \"{}\" is not attached, and nothing was taken back", plain_name(table)),
        "What a table of this name had added before it was detached is not told by its sightings alone, or waited in the queue then, and stays.",
        "Attach it without populate_ip_inventory(), which would count its rows once more.",
    );
}
