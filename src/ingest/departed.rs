//! Partitions and children that leave an attached table. Where its rows are observed one by one, by a row trigger or an index,
//! theirs are not any more, and their rows of then are noted. A trigger of their own goes on: noted is that, and which rows are older
//! than it, as long as nobody has counted them. By the event trigger of [`super::family`], which fails no statement.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use pgrx::pg_sys;

use super::before::Before;
use super::counted;
use super::indexes;
use super::install;
use super::install::Reads;
use super::part;
use super::relatives::{alters, attempt_all, is_left_alone};
use super::stays;
use super::waiting;
use crate::inventory::source;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::errors::warn;
use crate::pg::inherits::{CHILD, PARENT, all, kind, links};
use crate::pg::made;
use crate::pg::made::Departure;
use crate::pg::session;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::tx;
use crate::pg::tx::Settings;

/// How long a commit waits for a round of the worker, where rows of a table that leaves are queued.
const LONGEST: Duration = Duration::from_millis(500);

/// Tables that have left the attached one `root`.
struct Left {
    subtransaction: pg_sys::SubTransactionId,
    tables: Vec<pg_sys::Oid>,
    root: pg_sys::Oid,
    /// What this transaction had queued of them counts for that one: what it queues from then on does not.
    is_own_done: bool,
}

thread_local! {
    /// Those of this transaction.
    static LEFT: RefCell<Vec<Left>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Notes which rows tables have that the command has taken from below an attached table. A failure is a warning.
pub fn note(call: &Call) {
    let kinds = [
        pg_sys::AlterTableType::AT_DetachPartition,
        pg_sys::AlterTableType::AT_DetachPartitionFinalize,
        pg_sys::AlterTableType::AT_DropInherit,
    ];
    if alters(call, &kinds) {
        let schema = Schema::of(*call);
        // What comes later is not of the table that they leave. Counts above a savepoint come into the queue at the end.
        let is_handed_in = counted::hand_in();
        tx::next_command();
        let noted = tx::attempt(|| with_latest_snapshot(|| note_each(&schema, &made::departures(), is_handed_in)));
        if let Err(failure) = noted {
            complain("tables that have left an attached one could not be noted".to_owned(), &failure.message);
        }
    }
}

/// Notes which rows of tables that have left an attached one are in no count, or are not observed any more.
fn note_each(schema: &Schema, departures: &[Departure], is_handed_in: bool) {
    for Departure { table, above } in departures {
        let Some(root) = source::root(schema, *above) else { continue };
        let is_by_row = install::ours(schema, *above).is_some_and(|found| found.reads == Reads::EachRow);
        let is_by_one = is_by_row || !indexes::oids(*above).is_empty();
        // PostgreSQL takes it off a partition. A child's is its own, and stays.
        let took_trigger = is_by_row && kind(*above) == pg_sys::RELKIND_PARTITIONED_TABLE;
        // The rows from before the root was attached, which its next populate may not find below it.
        let uncounted = source::uncounted(schema, root);
        let tables = all(&[*table], PARENT);
        // The command may have put it below another one, whose rows those are not yet.
        let has_moved = links(*table, CHILD).iter().any(|link| link.new);
        let roots = source::roots(schema, &tables);
        let is_below = |leaf: pg_sys::Oid| roots.get(&leaf).is_some_and(|root| !has_moved || tables.contains(root));
        let has_left =
            |leaf: &pg_sys::Oid| kind(*leaf) == pg_sys::RELKIND_RELATION && !is_left_alone(*leaf) && !is_below(*leaf);
        let has_trigger = |leaf: &pg_sys::Oid| install::ours(schema, *leaf).is_some_and(|found| !found.is_inherited);
        let (observed, lost): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
            tables.iter().copied().filter(has_left).partition(has_trigger);
        let mut failures = Vec::new();
        failures.extend(attempt_all(&observed, pg_sys::AccessShareLock, |observed| {
            let _quiet = Settings::without_triggers();
            stays::go_on(schema, observed, root, uncounted.as_deref(), Before::now(session::command()));
        }));
        if is_by_one {
            failures.extend(attempt_all(&lost, pg_sys::ShareRowExclusiveLock, |lost| {
                let _quiet = Settings::without_triggers();
                part::note_departure(schema, lost, root, took_trigger);
                stays::name_origin(schema, lost, root);
            }));
        }
        register();
        let left: Vec<pg_sys::Oid> = tables.iter().copied().filter(|table| !is_below(*table)).collect();
        let is_own_done = is_handed_in && waiting::hand_over_own(schema, &left, root);
        let left = Left { subtransaction: session::subtransaction(), tables: left, root, is_own_done };
        LEFT.with_borrow_mut(|all| all.push(left));
        for (leaf, reason) in failures {
            complain(format!("the rows of \"{}\" could not be noted", plain_name(leaf)), &reason);
        }
    }
}

fn register() {
    if !REGISTERED.replace(true) {
        tx::at_events(at_transaction);
        tx::at_subtransactions(|event, ended, around| {
            LEFT.with_borrow_mut(|all| tx::hand_on(all, |one| &mut one.subtransaction, event, ended, around));
        });
    }
}

/// What waits in the queue was observed for the table that they have left. At the commit, since nobody absorbs meanwhile; one that
/// is prepared leaves the rows of others, for the same reason.
fn at_transaction(event: pg_sys::XactEvent::Type) {
    let is_prepared = event == pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE;
    if !is_prepared && event != pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
        if tx::ends(event) {
            LEFT.take();
        }
        return;
    }
    let left = LEFT.take();
    let Some(schema) = (!left.is_empty()).then(Schema::find).flatten() else { return };
    counted::hand_in();
    // From here on these rows can be found.
    tx::next_command();
    for Left { tables, root, is_own_done, .. } in left {
        let is_done = match is_prepared {
            true => {
                (is_own_done || waiting::hand_over_own(&schema, &tables, root))
                    && waiting::has_none_of_others(&schema, &tables)
            }
            false => waiting::hand_over_within(&schema, &tables, root, is_own_done, LONGEST),
        };
        if !is_done {
            warn(
                format!("queued observations are not counted for \"{}\"", plain_name(root)),
                "They are of a table that has left it, and others are being absorbed.",
                "They are in the inventory all the same.",
            );
        }
    }
}

fn complain(what: String, reason: &str) {
    let hint =
        "populate_ip_inventory() may count these rows twice, or never, once they are below an attached table again.";
    warn(what, reason, hint);
}
