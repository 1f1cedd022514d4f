//! Partitions and children that leave a table whose rows are observed one by one, by a row trigger or an index: theirs are
//! not any more, and their rows of then are noted. By the event trigger of [`super::family`], which fails no statement.
#![allow(unsafe_code, reason = "reads parse trees")]

use pgrx::pg_sys;

use super::indexes;
use super::install;
use super::install::Reads;
use super::part;
use super::relatives::{attempt, has_command, is_left_alone};
use crate::inventory::source;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::errors::warn;
use crate::pg::inherits::{CHILD, PARENT, all, kind, links};
use crate::pg::made;
use crate::pg::made::Departure;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::tx;
use crate::pg::tx::Settings;

/// Notes which rows tables have that the command has taken from below an attached table. A failure is a warning.
pub fn note(call: &Call) {
    if loses_relatives(call) {
        let schema = Schema::of(*call);
        let noted = tx::attempt(|| with_latest_snapshot(|| note_each(&schema, &made::departures())));
        if let Err(failure) = noted {
            complain("tables that have left an attached one could not be noted".to_owned(), &failure.message);
        }
    }
}

/// Whether the command can have taken a table from below another.
fn loses_relatives(call: &Call) -> bool {
    let kinds = [
        pg_sys::AlterTableType::AT_DetachPartition,
        pg_sys::AlterTableType::AT_DetachPartitionFinalize,
        pg_sys::AlterTableType::AT_DropInherit,
    ];
    let data = call.event_trigger().filter(|data| !data.parsetree.is_null());
    // SAFETY: a node is cast to the type of its tag; the parse tree is the command's own.
    data.is_some_and(|data| unsafe {
        (*data.parsetree).type_ == pg_sys::NodeTag::T_AlterTableStmt && has_command(data.parsetree.cast(), &kinds)
    })
}

/// Notes which rows tables have that have left one whose rows are observed one by one: theirs are not any more.
fn note_each(schema: &Schema, departures: &[Departure]) {
    for Departure { table, above } in departures {
        let Some(root) = source::root(schema, *above) else { continue };
        let is_by_row =
            install::find(*above).is_some_and(|found| found.is_ours(schema) && found.reads == Reads::EachRow);
        if !is_by_row && indexes::oids(*above).is_empty() {
            continue;
        }
        let tables = all(&[*table], PARENT);
        // The command may have put it below another one, whose rows those are not yet.
        let has_moved = links(*table, CHILD).iter().any(|link| link.new);
        let is_observed = |leaf: pg_sys::Oid| {
            install::find(leaf).is_some_and(|found| found.is_ours(schema) && !found.is_inherited)
                || source::root(schema, leaf).is_some_and(|root| !has_moved || tables.contains(&root))
        };
        for leaf in tables.iter().copied() {
            if kind(leaf) != pg_sys::RELKIND_RELATION || is_left_alone(leaf) || is_observed(leaf) {
                continue;
            }
            let done = attempt(leaf, || {
                let _quiet = Settings::without_triggers();
                part::note_departure(schema, leaf, root);
            });
            if let Err(reason) = done {
                complain(format!("the rows of \"{}\" could not be noted", plain_name(leaf)), &reason);
            }
        }
    }
}

fn complain(what: String, reason: &str) {
    let hint = "populate_ip_inventory() counts these rows a second time once they are below an attached table again.";
    warn(what, reason, hint);
}
