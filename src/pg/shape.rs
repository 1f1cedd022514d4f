//! Whether a relation has the expected shape, before it is read or written below SQL: there, a text column that was
//! changed to a number would be an invalid pointer. The owner of a table may rename it, alter its columns or put
//! another in its place.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::datum::text_bytes;
use super::encoding::from_server;

/// A column: its name and type.
pub type Column = (&'static CStr, pg_sys::Oid);

/// Whether `relation` is a plain table in a heap whose first columns are `columns`, and whose others may be null.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn begins_with(relation: pg_sys::Relation, columns: &[Column]) -> bool {
    // SAFETY: see above.
    unsafe {
        is_plain_table(relation)
            && describes((*relation).rd_att, columns)
            && attributes((*relation).rd_att)
                .skip(columns.len())
                .all(|column| column.attisdropped || !column.attnotnull)
    }
}

/// Whether `relation` is a plain table in a heap with just `columns`.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn is(relation: pg_sys::Relation, columns: &[Column]) -> bool {
    // SAFETY: see above.
    unsafe { begins_with(relation, columns) && (*(*relation).rd_att).natts as usize == columns.len() }
}

/// Whether rows of `desc` begin with `columns`.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn describes(desc: pg_sys::TupleDesc, columns: &[Column]) -> bool {
    // SAFETY: see above; names are NUL-terminated.
    unsafe {
        let same = |(column, (name, kind)): (&pg_sys::FormData_pg_attribute, &Column)| {
            !column.attisdropped && column.atttypid == *kind && CStr::from_ptr(column.attname.data.as_ptr()) == *name
        };
        (*desc).natts as usize >= columns.len() && attributes(desc).zip(columns).all(same)
    }
}

/// Whether `relation` is a heap table, and not a view, an index or a partition root.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn is_plain_table(relation: pg_sys::Relation) -> bool {
    // SAFETY: see above.
    let form = unsafe { &*(*relation).rd_rel };
    form.relkind as u8 == pg_sys::RELKIND_RELATION && form.relam == pg_sys::HEAP_TABLE_AM_OID
}

/// Whether the rows of `relation` are stored as PostgreSQL's own access method does it, whatever name that has here.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn is_heap(relation: &pg_sys::RelationData) -> bool {
    // SAFETY: see above; the function returns the address of a constant.
    unsafe {
        (*relation.rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION
            && std::ptr::eq(relation.rd_tableam, pg_sys::GetHeapamTableAmRoutine())
    }
}

/// The number of a live column of that name and type, from 1. Reads the descriptor itself: PostgreSQL's own functions
/// for it cost a guarded call each, which `enrich_ip` would pay for thirty columns.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn find(desc: pg_sys::TupleDesc, name: &CStr, kind: pg_sys::Oid) -> Option<usize> {
    // SAFETY: see above; names are NUL-terminated.
    unsafe {
        attributes(desc)
            .position(|column| {
                column.atttypid == kind && !column.attisdropped && CStr::from_ptr(column.attname.data.as_ptr()) == name
            })
            .map(|at| at + 1)
    }
}

/// The primary key of `table`, if it begins with `column` in the order of `family`. Found by its properties: the
/// table's owner may have given another object its name.
///
/// # Safety
/// `table` must be open.
pub unsafe fn primary_key(table: pg_sys::Relation, column: usize, family: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: see above; an open index has its form and, for each of its key columns, a number and a family.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let oid = pg_sys::RelationGetPrimaryKeyIndex(table);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let oid = pg_sys::RelationGetPrimaryKeyIndex(table, false);
        if oid == pg_sys::InvalidOid {
            return None;
        }
        let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
        let form = &*(*index).rd_index;
        let serves = form.indisvalid
            && usize::try_from(form.indkey.values.as_slice(1)[0]) == Ok(column)
            && *(*index).rd_opfamily == family;
        pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        serves.then_some(oid)
    }
}

/// Whether an open index has a predicate. Only that: RelationGetIndexPredicate() and RelationGetIndexExpressions() simplify what
/// they return, and so call immutable functions of the index's maker, with the rights of whoever asks.
///
/// # Safety
/// `index` must be an open index.
pub unsafe fn has_predicate(index: &pg_sys::RelationData) -> bool {
    // SAFETY: an open index has its row of pg_index; none of the catalog's own descriptor is needed to see a null.
    unsafe {
        let column = pg_sys::Anum_pg_index_indpred as i32;
        !pg_sys::heap_attisnull(index.rd_indextuple, column, std::ptr::null_mut())
    }
}

/// The expressions of an open index, as the catalog has them: see [`has_predicate`]. Empty where it has none.
///
/// # Safety
/// `index` must be an open index.
pub unsafe fn expressions(index: &pg_sys::RelationData) -> String {
    let cache = pg_sys::SysCacheIdentifier::INDEXRELID as i32;
    // SAFETY: a catalog look-up; the tuple is released after the text was copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(index.rd_id));
        if tuple.is_null() {
            return String::new();
        }
        let mut null = false;
        let datum = pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_index_indexprs as i16, &mut null);
        let text = if null { String::new() } else { from_server(text_bytes(datum)) };
        pg_sys::ReleaseSysCache(tuple);
        text
    }
}

/// # Safety
/// `desc` must be a valid descriptor.
unsafe fn attributes<'a>(desc: pg_sys::TupleDesc) -> impl Iterator<Item = &'a pg_sys::FormData_pg_attribute> {
    // SAFETY: as many attributes as it says.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let all = (*desc).attrs.as_slice((*desc).natts as usize);
        // PostgreSQL 18 has the attributes behind their compact forms.
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let all = std::slice::from_raw_parts(
            (*desc).compact_attrs.as_ptr().add((*desc).natts as usize).cast::<pg_sys::FormData_pg_attribute>(),
            (*desc).natts as usize,
        );
        all.iter()
    }
}

/// Whether a column, by its number from 1, is a virtual generated one, as there are from PostgreSQL 18 on: it is computed
/// when it is read, and a trigger, which is handed rows as they are stored, finds null there.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn is_virtual(desc: pg_sys::TupleDesc, attribute: i16) -> bool {
    // Earlier versions have no name for it.
    const VIRTUAL: u8 = b'v';
    let at = usize::try_from(attribute).ok().and_then(|number| number.checked_sub(1));
    // SAFETY: see above.
    at.and_then(|at| unsafe { attributes(desc) }.nth(at)).is_some_and(|column| column.attgenerated as u8 == VIRTUAL)
}

/// The names of all columns of a table that were not dropped.
pub fn readable(table: pg_sys::Oid) -> Vec<String> {
    // SAFETY: the relation is open for as long as its descriptor is read; the lock is kept. Names are NUL-terminated.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let live = attributes((*relation).rd_att).filter(|column| !column.attisdropped);
        let name = |column: &pg_sys::FormData_pg_attribute| CStr::from_ptr(column.attname.data.as_ptr()).to_bytes();
        let names = live.map(|column| from_server(name(column))).collect();
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        names
    }
}

/// The names of a table's columns that can be written.
pub fn columns_of(table: pg_sys::Oid) -> Vec<String> {
    // SAFETY: the relation is open for as long as its descriptor is read; the lock is kept.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let names = live_names((*relation).rd_att);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        names
    }
}

/// The names of the columns that were not dropped and can be written: generated ones and identities give their own values.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn live_names(desc: pg_sys::TupleDesc) -> Vec<String> {
    // SAFETY: see above; names are NUL-terminated.
    unsafe {
        attributes(desc)
            .filter(|column| !column.attisdropped && column.attgenerated == 0 && column.attidentity as u8 != b'a')
            .map(|column| from_server(CStr::from_ptr(column.attname.data.as_ptr()).to_bytes()))
            .collect()
    }
}
