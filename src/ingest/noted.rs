//! An index that somebody made by hand: its table is noted as attached, as `attach_ip_source` does it. By an event trigger,
//! for CREATE INDEX alone, which may stand in a CREATE SCHEMA: what CREATE TABLE … (LIKE …) copies is not asked to observe.
#![allow(unsafe_code, reason = "reads parse trees, and opens an index")]

use std::cell::Cell;
use std::ffi::{CStr, CString};

use enrich::selector::EventTime;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::before::Before;
use super::extract::column;
use super::indexes;
use super::install;
use super::install::may_attach;
use super::observer::check;
use super::part;
use super::relatives;
use super::relatives::{PATIENCE, is_left_alone};
use super::stays;
use crate::inventory::attached;
use crate::inventory::places;
use crate::inventory::source;
use crate::inventory::source::Attaching;
use crate::inventory::source_nodes;
use crate::inventory::source_part;
use crate::pg::argument;
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name, relation_name};
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::errors::{raise, warn};
use crate::pg::inherits;
use crate::pg::made;
use crate::pg::patience;
use crate::pg::session;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::sql_function;

thread_local! {
    static ATTACHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, which makes indexes and notes their tables itself.
pub fn by_itself<R>(f: impl FnOnce() -> R) -> R {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            ATTACHING.set(false);
        }
    }
    ATTACHING.set(true);
    let _done = Done;
    f()
}

sql_function!(
    /// `note_new_observer()`: for the event trigger alone.
    note_new_observer,
    pg_finfo_note_new_observer,
    |call: Call| {
        let makes = Makes::of(&call);
        if makes != Makes::Nothing && is_asked() {
            let schema = Schema::of(call);
            made::relations().into_iter().filter(|index| makes.includes(*index)).for_each(|index| note(&schema, index));
        }
        Datum::from(0)
    }
);

/// Whether this session is to note tables. In one for another node of a cluster, that node notes the table, here as well.
fn is_asked() -> bool {
    !ATTACHING.get() && !session::is_of_pg_upgrade() && !citus::is_part_of_a_query()
}

/// Notes a hypertable of TimescaleDB, which runs a CREATE INDEX on it itself, so that no event trigger hears of it: when the
/// index is made, as long as the owner may attach it. It has the owner's rights here.
///
/// # Safety
/// Both must be open, and `index` an index of `table` with our access method.
pub unsafe fn note_built(table: &pg_sys::RelationData, index: &pg_sys::RelationData) {
    // SAFETY: see above.
    if !is_asked() || unsafe { (*index.rd_rel).relispartition } || !is_hypertable(table.rd_id) {
        return;
    }
    if let Some(schema) = Schema::find()
        && may_attach(&schema, session::user())
        && install::modes(&schema, table.rd_id).is_empty()
    {
        // SAFETY: see above.
        unsafe { attach(&schema, table.rd_id, index) };
    }
}

fn is_hypertable(table: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up that tolerates absence.
    let is_there = unsafe { pg_sys::get_extension_oid(c"timescaledb".as_ptr(), true) } != pg_sys::InvalidOid;
    let text = "SELECT EXISTS (SELECT FROM _timescaledb_catalog.hypertable h JOIN pg_catalog.pg_class c ON c.relname = h.table_name
                    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = h.schema_name WHERE c.oid = $1)";
    is_there && Sql::as_caller().query(text, &[argument::oid(table)]).get::<bool>(0, 1) == Some(true)
}

/// Which indexes with our access method the command makes by hand.
#[derive(PartialEq, Eq)]
enum Makes {
    /// None.
    Nothing,
    /// All that it makes.
    All,
    /// Those of the tables with these names.
    Of(Vec<CString>),
}

impl Makes {
    fn of(call: &Call) -> Makes {
        let Some(node) = relatives::command(call) else { return Makes::Nothing };
        let tree = std::ptr::from_ref(node);
        // SAFETY: nodes are cast to the types of their tags; the parse tree is the command's own.
        unsafe {
            match node.type_ {
                pg_sys::NodeTag::T_IndexStmt if makes_observer(tree.cast()) => Makes::All,
                pg_sys::NodeTag::T_CreateSchemaStmt => {
                    let parts = (*tree.cast::<pg_sys::CreateSchemaStmt>()).schemaElts;
                    let count = if parts.is_null() { 0 } else { (*parts).length as usize };
                    let part =
                        |i: usize| (*(*parts).elements.add(i)).ptr_value.cast::<pg_sys::IndexStmt>().cast_const();
                    let is_one = |part: &*const pg_sys::IndexStmt| {
                        (**part).type_ == pg_sys::NodeTag::T_IndexStmt && makes_observer(*part)
                    };
                    let table = |part: *const pg_sys::IndexStmt| CStr::from_ptr((*(*part).relation).relname).to_owned();
                    let tables: Vec<CString> = (0..count).map(part).filter(is_one).map(table).collect();
                    if tables.is_empty() { Makes::Nothing } else { Makes::Of(tables) }
                }
                _ => Makes::Nothing,
            }
        }
    }

    fn includes(&self, index: pg_sys::Oid) -> bool {
        match self {
            Makes::Nothing => false,
            Makes::All => true,
            Makes::Of(tables) => {
                // SAFETY: catalog look-ups that tolerate absence.
                let name = unsafe { pg_sys::get_rel_name(pg_sys::IndexGetRelation(index, true)) };
                // SAFETY: null, or NUL-terminated.
                !name.is_null() && tables.iter().any(|table| table.as_c_str() == unsafe { CStr::from_ptr(name) })
            }
        }
    }
}

/// Whether a CREATE INDEX names our access method.
///
/// # Safety
/// `statement` must be valid.
unsafe fn makes_observer(statement: *const pg_sys::IndexStmt) -> bool {
    // SAFETY: see above; names are NUL-terminated.
    unsafe {
        let method = (*statement).accessMethod;
        !method.is_null() && CStr::from_ptr(method) == indexes::METHOD
    }
}

/// Notes the table of an index, unless that is one of many below a partitioned table's. Its writers are locked out.
fn note(schema: &Schema, index: pg_sys::Oid) {
    let is_index = matches!(inherits::kind(index), pg_sys::RELKIND_INDEX | pg_sys::RELKIND_PARTITIONED_INDEX);
    // SAFETY: an index that this command made, open while it is read, and its table.
    unsafe {
        if !is_index || pg_sys::get_rel_relispartition(index) {
            return;
        }
        let index = pg_sys::relation_open(index, pg_sys::AccessShareLock as i32);
        if indexes::method() == Some((*(*index).rd_rel).relam) {
            let table = pg_sys::relation_open((*(*index).rd_index).indrelid, pg_sys::NoLock as i32);
            // That of a partitioned table has not been built itself.
            check::index(&*table, &*index);
            // Nor has it said what it is. A dump has its own comments.
            if session::checks_function_bodies() {
                indexes::explain((*index).rd_id);
            }
            attach(schema, (*table).rd_id, &*index);
            pg_sys::relation_close(table, pg_sys::NoLock as i32);
        }
        pg_sys::relation_close(index, pg_sys::NoLock as i32);
    }
}

/// Refuses a role that may not attach tables.
fn check_right(schema: &Schema) {
    if !may_attach(schema, session::user()) {
        raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied for function attach_ip_source",
            "An index of the access method ip_observer attaches its table.",
            &format!("GRANT EXECUTE ON FUNCTION {}.attach_ip_source \u{2026} gives the right.", schema.name),
        );
    }
}

/// Whether one of these tables is attached. Who may not attach any keeps no lock on `ip_source` after that: everybody else would
/// wait behind one who waits for it.
fn is_attached_above(schema: &Schema, above: &[pg_sys::Oid]) -> bool {
    let sources = schema.relation(c"ip_source");
    catalog::lock_relation(sources, pg_sys::AccessShareLock);
    let is_attached = attached::is_any_attached(schema, above);
    if !may_attach(schema, session::user()) {
        catalog::unlock_relation(sources, pg_sys::AccessShareLock);
    }
    is_attached
}

/// A child that nothing observed below an attached table is observed from now on, by the index that it has got.
fn begin(schema: &Schema, table: pg_sys::Oid) {
    let is_first = indexes::oids(table).len() == 1 && install::ours(schema, table).is_none();
    if is_first && inherits::kind(table) == pg_sys::RELKIND_RELATION {
        let _quiet = Settings::without_triggers();
        let away: Vec<pg_sys::Oid> = part::away(schema, &[table]).into_keys().collect();
        part::note(schema, &away);
    }
}

/// Notes the tables below a new source that have no such index: PostgreSQL makes none for a child, nor with ON ONLY for a partition.
fn note_bare(schema: &Schema, own: &[pg_sys::Oid]) {
    let is_bare = |table: &pg_sys::Oid| {
        !is_left_alone(*table)
            && patience::lock(*table, pg_sys::AccessShareLock, PATIENCE)
            && part::is_bare(schema, *table)
    };
    let bare: Vec<pg_sys::Oid> = inherits::plain(own).into_iter().filter(is_bare).collect();
    stays::begin_bare(schema, &bare);
}

/// # Safety
/// `index` must be open, and an index of `table` with our access method.
unsafe fn attach(schema: &Schema, table: pg_sys::Oid, index: &pg_sys::RelationData) {
    let name = relation_name(table);
    // pg_repack copies a table there, with its indexes, and writes the rows that come meanwhile into the copy as well.
    if name.as_deref().is_some_and(|name| name.starts_with("repack.")) || citus::shard_of(table).is_some() {
        return;
    }
    // In a dump, an index of a partitioned table comes first, and those of its partitions belong to it later.
    let above = inherits::all(&[table], inherits::CHILD);
    if is_attached_above(schema, &above[1..]) {
        begin(schema, table);
        return;
    }
    // Also where the table is attached already: sessions may know this index from before.
    catalog::forget_kept(table);
    if citus::kept(table).is_none() {
        install::goes_with_extension(pg_sys::RelationRelationId, index.rd_id);
    }
    // A dump has its own rows of ip_source, and a table that was not attached stays so.
    if !session::checks_function_bodies() {
        return;
    }
    if !install::modes(schema, table).is_empty() {
        warn(
            format!("\"{}\" is observed by its trigger, and the index counts nothing", plain_name(table)),
            "Each row is counted once.",
            "Drop the index, or call attach_ip_source() with method => 'index'.",
        );
        return;
    }
    check_right(schema);
    // SAFETY: see above.
    let mut arguments = unsafe { indexes::read(index) }.arguments;
    // What others of the table read as well.
    for other in indexes::of(table).into_iter().filter(|other| other.index != index.rd_id && other.is_valid) {
        let more: Vec<String> =
            other.arguments.selectors.into_iter().filter(|text| !arguments.selectors.contains(text)).collect();
        arguments.selectors.extend(more);
    }
    let is_column = |name: &str| column(index.rd_att, name).is_some();
    let time = arguments.observed_at.as_deref().map(|text| EventTime::parse(text, is_column));
    let before = Before::now(session::command()).to_string();
    let how = Attaching {
        columns: &arguments.selectors,
        observed_at: time.as_ref(),
        only_where: arguments.only_where.as_deref(),
        sensor: arguments.sensor.as_deref(),
        snapshot: &before,
        name: name.as_deref(),
        is_empty: false,
        method: "index",
    };
    let quiet = Settings::without_triggers();
    let own = source::own(schema, table, &inherits::below(table));
    if source::attach(schema, table, &how) {
        places::retire_own(schema, table);
        source_part::forget_parts(schema, &own);
        note_bare(schema, &own);
    }
    drop(quiet);
    if citus::kept(table) == Some(Kept::Distributed) && citus::is_coordinator() {
        source_nodes::attach(schema, table, &how);
    }
}
