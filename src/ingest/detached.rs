//! What a table had added before it was detached: `forget_ip_source` takes it back as well, as long as the table's sightings hold all
//! of it, and nothing that is noted of tables below it goes by its having been counted.

use pgrx::pg_sys;

use super::absorb;
use super::take_back::{refuse_leftovers, take_back};
use crate::inventory::{detached, places, source, source_part};
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

/// Takes back what a table had added each time before it was detached, and what was queued then. The table is locked, neither it
/// nor one above it is attached, and nobody else absorbs.
pub fn forget(schema: &Schema, table: pg_sys::Oid, members: &[pg_sys::Oid]) -> i64 {
    absorb::absorb_all(schema, usize::MAX);
    refuse_leftovers(schema);
    let mut places = detached::numbers_of(schema, table);
    // Where nothing was absorbed before, what was queued made a place of its own.
    if places.is_empty() && places::numbers_of(schema, &[table]).is_empty() {
        refuse(schema, table);
    }
    // Of one that counts for another table, or did, and has a note on that, nothing is this one's.
    let mut own = source::own(schema, table, members);
    let others = source::roots(schema, &own);
    let noted = source_part::parts(schema, &own);
    own.retain(|member| !others.contains_key(member) && noted.iter().all(|(table, ..)| table != member));
    places.extend(places::numbers_of(schema, &own));
    if detached::have_left_out(schema, &places) {
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
        "What a table of this name had added before it was detached is not told by its sightings alone, and stays.",
        "Attach it without populate_ip_inventory(), which would count its rows once more.",
    );
}
