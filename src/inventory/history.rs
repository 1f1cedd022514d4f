//! The history of ASNs: a trigger of `ip_inventory` writes a row for each change of an ASN or of its country, by any writer.
//! A first answer is no change; an answer to an address that was withdrawn before, which had an AS and lost it, is one.
//!
//! Below SQL, as the owner of `ip_asn_history`: a role that may make a trigger there must not have it run by roles that
//! correct the inventory, or by the worker.
#![allow(unsafe_code, reason = "inserts below SQL, where no trigger of others runs")]

use std::cell::RefCell;
use std::collections::HashMap;

use enrich::record::Status;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::columns::Column;
use crate::pg::call::Call;
use crate::pg::catalog::{Acting, Schema};
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::datum::text_bytes;
use crate::pg::errors::{raise, warn};
use crate::pg::sql::Sql;
use crate::pg::{shape, tx};
use crate::sql_function;

/// Columns of `ip_asn_history`.
const COLUMNS: [shape::Column; 6] = [
    (c"ip_address", pg_sys::INETOID),
    (c"changed_at", pg_sys::TIMESTAMPTZOID),
    (c"old_asn", pg_sys::INT8OID),
    (c"old_source", pg_sys::TEXTOID),
    (c"new_asn", pg_sys::INT8OID),
    (c"new_source", pg_sys::TEXTOID),
];

/// Further ones, which a table of 0.2.0 does not have until ALTER EXTENSION.
const LATER: [shape::Column; 3] =
    [(c"old_country_code", pg_sys::TEXTOID), (c"old_org", pg_sys::TEXTOID), (c"new_country_code", pg_sys::TEXTOID)];

/// The values of a row.
struct Change {
    columns: [Option<Datum>; COLUMNS.len()],
    later: [Option<Datum>; LATER.len()],
}

sql_function!(
    /// `record_asn_change() → trigger`: AFTER UPDATE OF asn_number, country_code ON ip_inventory, FOR EACH ROW, where the AS or
    /// the country of an address changed, or one without an AS gets one that a source was asked about before.
    record_asn_change,
    pg_finfo_record_asn_change,
    |call: Call| {
        let data = call.trigger().filter(|data| !data.tg_trigtuple.is_null() && !data.tg_newtuple.is_null());
        let Some(data) = data else {
            raise(
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "function \"record_asn_change\" was not called by trigger manager",
                "It is an AFTER UPDATE … FOR EACH ROW trigger of ip_inventory.",
                "",
            );
        };
        // Of a shard that moves, the history moves along.
        if !citus::is_moving_shards() {
            // SAFETY: that of a row trigger after an update.
            unsafe { record(call.schema(), data) };
        }
        Datum::from(0)
    }
);

/// # Safety
/// `data` must be that of a running row trigger after an update.
unsafe fn record(schema: pg_sys::Oid, data: &pg_sys::TriggerData) {
    // SAFETY: see above; columns are found by name and type, and values live as long as the tuples.
    unsafe {
        let desc = (*data.tg_relation).rd_att;
        let value = |tuple: pg_sys::HeapTuple, (name, kind): shape::Column| {
            let mut null = true;
            let number = shape::find(desc, name, kind)?;
            let datum = pg_sys::SPI_getbinval(tuple, desc, number as i32, &mut null);
            (!null).then_some(datum)
        };
        let (old, new) = (data.tg_trigtuple, data.tg_newtuple);
        let (asn, source) = (Column::AsnNumber.stored(), Column::AsnSource.stored());
        let columns = [
            value(new, Column::Ip.stored()),
            Some(Datum::from(pg_sys::GetCurrentTransactionStartTimestamp())),
            value(old, asn),
            value(old, source),
            value(new, asn),
            value(new, source),
        ];
        let country = Column::CountryCode.stored();
        // A purge of what expired builds said must not write it down here. Where no file answered before either, nothing is
        // purged: another source has changed its mind.
        let is_unavailable = |tuple| {
            value(tuple, Column::MaxMindStatus.stored())
                .is_some_and(|status| text_bytes(status) == Status::Unavailable.as_str().as_bytes())
        };
        let is_purged = is_unavailable(new) && !is_unavailable(old);
        let later = if is_purged {
            [None; LATER.len()]
        } else {
            [value(old, country), value(old, Column::AsnOrg.stored()), value(new, country)]
        };
        let row = Change { columns, later };
        let table = history_of((*data.tg_relation).rd_id, schema);
        let is_altered =
            columns[0].is_none() || shape::find(desc, asn.0, asn.1).is_none() || table == pg_sys::InvalidOid;
        if !is_altered
            && columns[2].is_none()
            && let Some(ip) = columns[0]
            && !was_withdrawn(table, ip)
        {
            return;
        }
        if is_altered || !insert(table, &row) {
            warn(
                "a change of an ASN is not recorded: table \"ip_asn_history\" or \"ip_inventory\" was altered",
                "",
                "enrichment_doctor() says what differs.",
            );
        }
    }
}

thread_local! {
    /// Of a shard of the inventory, the shard of the history beside it: a number of a shard is never used twice.
    static BESIDE: RefCell<HashMap<u32, pg_sys::Oid>> = RefCell::new(HashMap::new());
}

/// The table that a change in `table` is written to, which is the inventory or, where Citus distributes it, a shard.
fn history_of(table: pg_sys::Oid, schema: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: catalog look-ups that tolerate absence.
    let [inventory, history] =
        [c"ip_inventory", c"ip_asn_history"].map(|name| unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema) });
    if table == inventory || citus::kept(history) != Some(Kept::Distributed) {
        return history;
    }
    if let Some(known) = BESIDE.with_borrow(|known| known.get(&table.to_u32()).copied()) {
        return known;
    }
    let beside = citus::shard_of(table)
        .filter(|(of, _)| *of == inventory)
        .and_then(|(_, shard)| citus::sibling(inventory, shard, history))
        .filter(|beside| *beside != pg_sys::InvalidOid);
    if let Some(beside) = beside {
        BESIDE.with_borrow_mut(|known| known.insert(table.to_u32(), beside));
    }
    beside.unwrap_or(pg_sys::InvalidOid)
}

/// Whether the last change of an address says that no source knew its AS any more. True as well where the table does not have
/// the expected shape, which the caller finds next.
///
/// Costs one look into the index, and only for addresses whose AS is unknown and that a source has answered before: first
/// answers of rows that were inserted bare, and all absorbing, do not come here (see the trigger).
///
/// # Safety
/// `table` must be a relation, and `ip` an inet.
unsafe fn was_withdrawn(table: pg_sys::Oid, ip: Datum) -> bool {
    // SAFETY: the table is locked as by any INSERT; its shape is checked before it is read, and a tuple is read before the
    // scan ends.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        // Whatever its owner has put on the table does not run as whoever corrects the inventory.
        let _owner = Acting::as_owner_of(table);
        let mut was = true;
        if shape::begins_with(relation, &COLUMNS) {
            was = false;
            // Before ALTER EXTENSION, old_asn cannot be null.
            let is_of_now = shape::find((*relation).rd_att, LATER[0].0, LATER[0].1).is_some();
            let index = if is_of_now { by_address(relation) } else { std::ptr::null_mut() };
            if !index.is_null() {
                let mut key = pg_sys::ScanKeyData::default();
                let equal = pg_sys::BTEqualStrategyNumber as u16;
                pg_sys::ScanKeyInit(&mut key, 1, equal, pg_sys::F_NETWORK_EQ.into(), ip);
                // With what this transaction wrote before.
                let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
                let scan = pg_sys::systable_beginscan_ordered(relation, index, snapshot, 1, &mut key);
                let last = pg_sys::systable_getnext_ordered(scan, pg_sys::ScanDirection::BackwardScanDirection);
                if !last.is_null() {
                    let new_asn = shape::find((*relation).rd_att, COLUMNS[4].0, COLUMNS[4].1).unwrap_or(COLUMNS.len());
                    pg_sys::SPI_getbinval(last, (*relation).rd_att, new_asn as i32, &mut was);
                }
                pg_sys::systable_endscan_ordered(scan);
                pg_sys::UnregisterSnapshot(snapshot);
                pg_sys::relation_close(index, pg_sys::NoLock as i32);
            }
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        was
    }
}

/// The open index that has the changes of an address in their order, by its properties: that of a shard has another name. Null
/// where there is none: to read all of the history for each answer would cost more than what it tells.
///
/// # Safety
/// `relation` must be open, and have [`COLUMNS`].
unsafe fn by_address(relation: pg_sys::Relation) -> pg_sys::Relation {
    // SAFETY: an open index has its form and, for each of its key columns, a number, a family and an option.
    unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        let count = if list.is_null() { 0 } else { (*list).length as usize };
        for at in 0..count {
            let oid = (*(*list).elements.add(at)).oid_value;
            let index = pg_sys::try_relation_open(oid, pg_sys::AccessShareLock as i32);
            if index.is_null() {
                continue;
            }
            let form = &*(*index).rd_index;
            let column = |at: usize| *form.indkey.values.as_ptr().add(at);
            let serves = (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && form.indisvalid
                && form.indnkeyatts >= 2
                && [column(0), column(1)] == [1, 2]
                && *(*index).rd_opfamily == pg_sys::NETWORK_BTREE_FAM_OID
                && [*(*index).rd_indoption, *(*index).rd_indoption.add(1)] == [0, 0]
                && !shape::has_predicate(&*index);
            if serves {
                return index;
            }
            pg_sys::relation_close(index, pg_sys::NoLock as i32);
        }
        std::ptr::null_mut()
    }
}

/// Inserts a row with its index entries. False: the table does not have the expected shape.
///
/// # Safety
/// `table` must be a relation, and the values of the types of [`COLUMNS`] and [`LATER`].
unsafe fn insert(table: pg_sys::Oid, row: &Change) -> bool {
    // SAFETY: the table is locked as by any INSERT, and the lock is kept; its shape is checked before it is written.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if !shape::begins_with(relation, &COLUMNS) {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return false;
        }
        // Its owner may have indexes on expressions: they are evaluated here.
        let _owner = Acting::as_owner_of(table);
        let desc = (*relation).rd_att;
        let natts = (*desc).natts as usize;
        let mut values = vec![Datum::null(); natts];
        let mut nulls = vec![true; natts];
        let later = LATER.into_iter().map(|(name, kind)| shape::find(desc, name, kind));
        let places = (0..COLUMNS.len()).map(Some).chain(later.map(|number| number.map(|number| number - 1)));
        for (at, value) in places.zip(row.columns.iter().chain(&row.later)) {
            if let (Some(at), Some(value)) = (at, value) {
                (values[at], nulls[at]) = (*value, false);
            }
        }
        let tuple = pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::simple_heap_insert(relation, tuple);
        insert_into_indexes(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        true
    }
}

/// # Safety
/// `tuple` must have been inserted into `relation`, which must be open.
unsafe fn insert_into_indexes(relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) {
    // SAFETY: an executor state of its own for one row, as PostgreSQL has it where it inserts without a plan.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        let old = pg_sys::MemoryContextSwitchTo((*state).es_query_cxt);
        let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::InitResultRelInfo(target, relation, 1, std::ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(target, false);
        let slot = pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
        pg_sys::ExecStoreHeapTuple(tuple, slot, false);
        let none = std::ptr::null_mut();
        #[cfg(feature = "pg15")]
        let deferred = pg_sys::ExecInsertIndexTuples(target, slot, state, false, false, std::ptr::null_mut(), none);
        #[cfg(not(feature = "pg15"))]
        let deferred =
            pg_sys::ExecInsertIndexTuples(target, slot, state, false, false, std::ptr::null_mut(), none, false);
        // A deferrable constraint would be looked at again at the commit, by a trigger that only SQL queues: where a row
        // may be against one, it is refused now.
        if !deferred.is_null() {
            raise(
                PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
                "a change of an ASN may violate a deferrable constraint of ip_asn_history",
                "The change is recorded below SQL, where no constraint can wait for the commit.",
                "Drop the constraint: the history of an address may hold the same change twice.",
            );
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::ExecCloseIndices(target);
        pg_sys::MemoryContextSwitchTo(old);
        pg_sys::FreeExecutorState(state);
    }
}

/// The script of 0.1.0 made the trigger as one that the worker does not fire: until the extension is updated, the
/// worker calls it itself, so that each change is recorded.
pub fn see_to_trigger() {
    let done = tx::run(|| {
        let Some(schema) = Schema::hold() else { return };
        let sql = Sql::on(&schema, c"ip_inventory");
        let off = sql.query(
            &format!(
                "SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = {} AND tgname = 'record_asn_change' AND tgenabled = 'O'",
                schema.regclass("ip_inventory")
            ),
            &[],
        );
        if off.len() > 0 {
            drop(off);
            let table = &schema.name;
            sql.run(&format!("ALTER TABLE {table}.ip_inventory ENABLE ALWAYS TRIGGER record_asn_change"), &[]);
        }
    });
    if let Err(failure) = done {
        pgrx::log!("asn_inventory: changes of ASNs are not recorded yet: {}", failure.message);
    }
}
