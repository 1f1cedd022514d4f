//! Whether and how the rows that come to an index are observed, kept by a session until the table or the index changes.
#![allow(unsafe_code, reason = "reads the relation cache, and ip_source below SQL")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::time::Duration;

use pgrx::pg_sys;

use super::options;
use super::options::Options;
use crate::ingest::install;
use crate::ingest::install::Reads;
use crate::ingest::plan;
use crate::ingest::plan::Plan;
use crate::inventory::attached;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::{inherits, patience, session, shape};

/// How long an insert waits for `ip_source`. Only a session that alters the table should hold such a lock.
const PATIENCE: Duration = Duration::from_millis(50);

/// One index of one table.
pub struct Watch {
    /// The index.
    pub index: pg_sys::Oid,
    /// Of this many changes; see [`plan::changes`].
    changes: u64,
    /// The extension's schema.
    pub schema: pg_sys::Oid,
    /// What is read of a row.
    pub plan: Rc<Plan>,
    /// A hash of that: while one index replaces another (REINDEX CONCURRENTLY), a row may come to both.
    pub read: u64,
    /// The table is a heap, whose rows' headers can be read.
    pub is_heap: bool,
    /// See [`Options`].
    replica: bool,
    /// The mode of a trigger of ours on the same table, which counts where it fires.
    trigger: Option<u8>,
    /// The table is attached.
    is_attached: bool,
}

thread_local! {
    static LAST: Cell<Option<Rc<Watch>>> = const { Cell::new(None) };
    static ALL: RefCell<HashMap<pg_sys::Oid, Rc<Watch>>> = RefCell::new(HashMap::new());
}

/// The watch of an index; `None` without the extension.
///
/// # Safety
/// Both must be open, and `index` an index of `table` with this access method.
#[inline]
pub unsafe fn of(index: &pg_sys::RelationData, table: &pg_sys::RelationData) -> Option<Rc<Watch>> {
    match LAST.take() {
        Some(last) if last.index == index.rd_id && last.changes == plan::changes() => {
            LAST.set(Some(last.clone()));
            Some(last)
        }
        // SAFETY: see above.
        _ => unsafe { find(index, table) },
    }
}

#[cold]
unsafe fn find(index: &pg_sys::RelationData, table: &pg_sys::RelationData) -> Option<Rc<Watch>> {
    let known = ALL.with_borrow(|all| all.get(&index.rd_id).cloned());
    let watch = match known.filter(|watch| watch.changes == plan::changes()) {
        Some(watch) => watch,
        None => {
            // SAFETY: see `of`.
            let (watch, is_certain) = unsafe { make(index, table)? };
            let watch = Rc::new(watch);
            if !is_certain {
                return Some(watch);
            }
            ALL.with_borrow_mut(|all| {
                // Those of before the last change are of no use, and indexes come and go.
                all.retain(|_, other| other.changes == watch.changes);
                all.insert(index.rd_id, watch.clone());
            });
            watch
        }
    };
    LAST.set(Some(watch.clone()));
    Some(watch)
}

/// Makes one, and says whether it is certain that the table is attached or not.
unsafe fn make(index: &pg_sys::RelationData, table: &pg_sys::RelationData) -> Option<(Watch, bool)> {
    // The plan first: from then on this session hears of changes.
    // SAFETY: see `of`.
    let Options { arguments, replica } = unsafe { options::of(index) };
    let read = BuildHasherDefault::<DefaultHasher>::default().hash_one(&arguments);
    // SAFETY: the rows that come to an index are described by it.
    let plan = unsafe { Plan::kept(table, index.rd_id, index.rd_att, || arguments) };
    let changes = plan::changes();
    let schema = Schema::find()?;
    let trigger = install::find(table.rd_id).filter(|found| found.is_ours(&schema) && found.reads != Reads::Nothing);
    let line = inherits::all(&[citus::shard_of(table.rd_id).map_or(table.rd_id, |(whole, _)| whole)], inherits::CHILD);
    let attached = patience::lock(schema.relation(c"ip_source"), pg_sys::AccessShareLock, PATIENCE)
        .then(|| attached::is_any_attached(&schema, &line));
    let watch = Watch {
        index: index.rd_id,
        changes,
        schema: schema.oid,
        plan,
        read,
        // SAFETY: the table is open.
        is_heap: unsafe { shape::is_plain_table(std::ptr::from_ref(table).cast_mut()) },
        replica,
        trigger: trigger.map(|trigger| trigger.enabled),
        // Rows are rather counted than lost.
        is_attached: attached.unwrap_or(true),
    };
    Some((watch, attached.is_some()))
}

impl Watch {
    /// Whether the rows that are written now are counted by way of this index.
    #[inline]
    pub fn counts(&self) -> bool {
        let is_replica = session::is_replica();
        let mine = self.is_attached && (self.replica || !is_replica) && !self.plan.counts_elsewhere;
        mine && !self.trigger.is_some_and(|mode| match mode {
            pg_sys::TRIGGER_FIRES_ALWAYS => true,
            pg_sys::TRIGGER_FIRES_ON_ORIGIN => !is_replica,
            pg_sys::TRIGGER_FIRES_ON_REPLICA => is_replica,
            _ => false,
        })
    }
}
