//! Whether and how the rows that come to an index are observed, kept by a session until the table or the index changes.
//!
//! A row is counted once: where a trigger of ours stands on the table that has the index, or above it, the trigger counts, where
//! it fires. A trigger on a partition below an index of its partitioned table does not: it sees only some of the rows.
#![allow(unsafe_code, reason = "reads the relation cache")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::time::Duration;

use pgrx::pg_sys;

use super::options;
use super::options::Options;
use crate::ingest::indexes;
use crate::ingest::install;
use crate::ingest::plan;
use crate::ingest::plan::Plan;
use crate::ingest::unobserved;
use crate::inventory::attached;
use crate::pg::call;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::{inherits, patience, session, shape};

/// How long an insert waits for `ip_source`. Only a session that alters the table should hold such a lock.
const PATIENCE: Duration = Duration::from_millis(50);
/// The same where the rows are not observed without it.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

/// One index of one table.
pub struct Watch {
    /// The index.
    pub index: pg_sys::Oid,
    /// Of this many changes; see [`plan::changes`].
    changes: u64,
    /// Only for the statement that began then (timestamptz): nobody could say whether the table is attached.
    only_at: Option<i64>,
    /// The extension's schema.
    pub schema: pg_sys::Oid,
    /// What is read of a row.
    pub plan: Rc<Plan>,
    /// A hash of that, for other indexes of the same table: a row comes to all of them, and while one replaces another (REINDEX
    /// CONCURRENTLY) to both.
    pub read: u64,
    /// The table has no other index of this access method.
    pub is_alone: bool,
    /// The table is a heap, whose rows' headers can be read.
    pub is_heap: bool,
    /// The table and those above it.
    pub line: Vec<pg_sys::Oid>,
    /// See [`Options`].
    replica: bool,
    /// The modes of triggers of ours, which count where they fire.
    triggers: Vec<u8>,
    /// The table is attached.
    is_attached: bool,
}

thread_local! {
    static LAST: Cell<Option<Rc<Watch>>> = const { Cell::new(None) };
    static ALL: RefCell<HashMap<pg_sys::Oid, Rc<Watch>>> = RefCell::new(HashMap::new());
    /// The last who wanted to read `ip_source` in this session waited in vain.
    static IN_VAIN: Cell<bool> = const { Cell::new(false) };
}

/// The watch of an index; `None` without the extension.
///
/// # Safety
/// Both must be open, and `index` an index of `table` with this access method.
#[inline]
pub unsafe fn of(index: &pg_sys::RelationData, table: &pg_sys::RelationData) -> Option<Rc<Watch>> {
    match LAST.take() {
        Some(last) if last.index == index.rd_id && last.is_current() => {
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
    let watch = match known.filter(|watch| watch.is_current()) {
        Some(watch) => watch,
        None => {
            // SAFETY: see `of`.
            let watch = Rc::new(unsafe { make(index, table)? });
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

unsafe fn make(index: &pg_sys::RelationData, table: &pg_sys::RelationData) -> Option<Watch> {
    // SAFETY: see `of`.
    let Options { arguments, replica } = unsafe { options::of(index) };
    // SAFETY: see `of`.
    let read = BuildHasherDefault::<DefaultHasher>::default().hash_one(unsafe { options::reads(index, &arguments) });
    // The plan first: from then on this session hears of changes.
    // SAFETY: the rows that come to an index are described by it.
    let plan = unsafe { Plan::kept(table, index.rd_id, index.rd_att, || arguments, || None) };
    let changes = plan::changes();
    let schema = Schema::find()?;
    let shard = citus::shard_of(table.rd_id);
    let line = inherits::all(&[shard.map_or(table.rd_id, |(whole, _)| whole)], inherits::CHILD);
    // From the table that the index was made for on upwards.
    let made_for = indexes::made_for(index.rd_id);
    let from = line.iter().position(|member| *member == made_for).unwrap_or(0);
    let triggers = line[from..].iter().flat_map(|member| install::modes(&schema, *member)).collect();
    // SAFETY: the table is open.
    let may_attach = shard.is_some() || install::may_attach(&schema, unsafe { (*table.rd_rel).relowner });
    let patience = match IN_VAIN.get() {
        true => Duration::ZERO,
        false if may_attach => PATIENCE,
        false => LONG_PATIENCE,
    };
    let is_locked = patience::lock(schema.relation(c"ip_source"), pg_sys::AccessShareLock, patience);
    IN_VAIN.set(!is_locked);
    if !is_locked && !may_attach {
        unobserved::count(table.rd_id, call::statement_start());
    }
    Some(Watch {
        index: index.rd_id,
        changes,
        only_at: (!is_locked).then(call::statement_start),
        schema: schema.oid,
        plan,
        read,
        is_alone: indexes::of(table.rd_id).len() < 2,
        // SAFETY: the table is open.
        is_heap: unsafe { shape::is_heap(table) },
        // Statements name shards by their own names.
        line: shard.map_or_else(|| line.clone(), |_| inherits::all(&[table.rd_id], inherits::CHILD)),
        replica,
        triggers,
        // Rows are rather counted than lost, but for a role that cannot have attached the table itself: nobody asked for them,
        // unless somebody else has, and then they show as unobserved. A shard has the index because its table is observed, and loses it when that is
        // detached; that the table is attached is noted on the nodes alone that were there then.
        is_attached: shard.is_some() || if is_locked { attached::is_any_attached(&schema, &line) } else { may_attach },
    })
}

impl Watch {
    /// Whether nothing has changed since it was made.
    #[inline]
    fn is_current(&self) -> bool {
        self.changes == plan::changes() && self.only_at.is_none_or(|at| at == call::statement_start())
    }

    /// Whether the rows that are written now are counted by way of this index.
    #[inline]
    pub fn counts(&self) -> bool {
        let is_replica = session::is_replica();
        let is_from_elsewhere = || is_replica && (!self.replica || citus::is_moving_shards());
        let mine = self.is_attached && !is_from_elsewhere() && !self.plan.counts_elsewhere();
        mine && !self.triggers.iter().any(|mode| install::fires(*mode, is_replica))
    }
}
