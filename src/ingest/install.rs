//! The ingest trigger on one table: what there is, making it, taking it off.
#![allow(unsafe_code, reason = "reads the catalog of triggers, and makes one without SQL")]

use std::ffi::CStr;

use enrich::selector::EventTime;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::arguments::Arguments;
use crate::inventory::meant;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, c_string, quote_literal, relation_name};
use crate::pg::citus;
use crate::pg::inherits;
use crate::pg::sql::Sql;

/// The name of the trigger on every attached table.
pub const TRIGGER: &str = "asn_inventory_observe";

/// The trigger of that name on a table, ours or not.
pub struct Found {
    /// Its function.
    pub function: pg_sys::Oid,
    /// It reads the new rows. Ours does, but on a partitioned table with a foreign partition (see [`Reads`]).
    pub reads: Reads,
    /// Its arguments: `observed_at` and the selectors.
    pub arguments: Vec<String>,
    /// PostgreSQL made it, after that of the partitioned table above.
    pub is_inherited: bool,
}

impl Found {
    /// Whether it is the extension's own.
    pub fn is_ours(&self, schema: &Schema) -> bool {
        self.function == function(schema)
    }
}

/// How the trigger handles the rows of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Reads them from a transition table.
    Rows,
    /// Is called for each of them: see [`super::rows`]. PostgreSQL gives it to partitions by itself.
    EachRow,
    /// Nothing: it counts the statement as not observed. PostgreSQL routes no row to a foreign partition while a
    /// transition table is wanted, so a table above one cannot have the other.
    Nothing,
}

/// The function that the triggers run.
fn function(schema: &Schema) -> pg_sys::Oid {
    let mut found = pg_sys::InvalidOid;
    each_function(schema, c"observe_addresses", |form| {
        if form.pronargs == 0 {
            found = form.oid;
        }
    });
    found
}

/// Whether a role may attach tables: by the extension's own function. Who may make functions in its schema may make one of that
/// name as well.
pub fn may_attach(schema: &Schema, role: pg_sys::Oid) -> bool {
    let ours = catalog::extension();
    let mut may = false;
    each_function(schema, c"attach_ip_source", |form| {
        if catalog::extension_of(pg_sys::ProcedureRelationId, form.oid) != ours {
            return;
        }
        let execute = pg_sys::ACL_EXECUTE as pg_sys::AclMode;
        // SAFETY: a function that is there.
        #[cfg(feature = "pg15")]
        let result = unsafe { pg_sys::pg_proc_aclcheck(form.oid, role, execute) };
        // SAFETY: as above.
        #[cfg(not(feature = "pg15"))]
        let result = unsafe { pg_sys::object_aclcheck(pg_sys::ProcedureRelationId, form.oid, role, execute) };
        may |= result == pg_sys::AclResult::ACLCHECK_OK;
    });
    may
}

/// Calls `f` with each function of that name in the extension's schema. Looks into the catalog's cache alone.
fn each_function(schema: &Schema, name: &CStr, mut f: impl FnMut(&pg_sys::FormData_pg_proc)) {
    // SAFETY: the list is released again; after an error, by the transaction's end.
    unsafe {
        let list = pg_sys::SearchSysCacheList(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            1,
            Datum::from(name.as_ptr()),
            Datum::null(),
            Datum::null(),
        );
        for member in (*list).members.as_slice((*list).n_members as usize) {
            let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_proc>(&raw mut (**member).tuple);
            if (*form).pronamespace == schema.oid {
                f(&*form);
            }
        }
        pg_sys::ReleaseCatCacheList(list);
    }
}

/// The trigger called [`TRIGGER`] on a table. Reads the catalog's row, not the relation: of 1,500 relatives none is
/// opened.
pub fn find(table: pg_sys::Oid) -> Option<Found> {
    let name = c_string(TRIGGER);
    // SAFETY: `pg_trigger` is scanned by its index on table and name; the row's values are copied before the scan ends.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::TriggerRelationId, pg_sys::AccessShareLock as i32);
        let mut name_data = pg_sys::NameData::default();
        pg_sys::namestrcpy(&mut name_data, name.as_ptr());
        let mut keys = [pg_sys::ScanKeyData::default(); 2];
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        let relid = Datum::from(table);
        pg_sys::ScanKeyInit(&mut keys[0], pg_sys::Anum_pg_trigger_tgrelid as i16, equal, pg_sys::F_OIDEQ.into(), relid);
        let named = Datum::from(&raw const name_data);
        pg_sys::ScanKeyInit(&mut keys[1], pg_sys::Anum_pg_trigger_tgname as i16, equal, pg_sys::F_NAMEEQ.into(), named);
        let index = pg_sys::TriggerRelidNameIndexId;
        let scan = pg_sys::systable_beginscan(relation, index.into(), true, std::ptr::null_mut(), 2, keys.as_mut_ptr());
        let tuple = pg_sys::systable_getnext(scan);
        let found = (!tuple.is_null()).then(|| {
            let value = |column: u32| {
                let mut null = false;
                let datum = pg_sys::heap_getattr(tuple, column as i32, (*relation).rd_att, &mut null);
                (!null).then_some(datum)
            };
            let function =
                value(pg_sys::Anum_pg_trigger_tgfoid).map_or(pg_sys::InvalidOid, |d| (d.value() as u32).into());
            let arguments = value(pg_sys::Anum_pg_trigger_tgargs).map_or_else(Vec::new, |datum| arguments(datum));
            let kind = value(pg_sys::Anum_pg_trigger_tgtype).map_or(0, |datum| datum.value() as u32);
            let reads = match value(pg_sys::Anum_pg_trigger_tgnewtable) {
                _ if kind & pg_sys::TRIGGER_TYPE_ROW != 0 => Reads::EachRow,
                Some(_) => Reads::Rows,
                None => Reads::Nothing,
            };
            let parent = value(pg_sys::Anum_pg_trigger_tgparentid).map_or(0, |datum| datum.value() as u32);
            Found { function, reads, arguments, is_inherited: parent != 0 }
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}

/// The same, where it is ours.
pub fn ours(schema: &Schema, table: pg_sys::Oid) -> Option<Found> {
    find(table).filter(|found| found.is_ours(schema))
}

/// Whether a relation is a table that can have it.
pub fn can_have_trigger(table: pg_sys::Oid) -> bool {
    matches!(inherits::kind(table), pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE)
}

/// Whether a trigger of that mode (`pg_trigger.tgenabled`) fires: for rows that a subscription brings, `is_replica`, or for others.
pub fn fires(mode: u8, is_replica: bool) -> bool {
    match mode {
        pg_sys::TRIGGER_FIRES_ALWAYS => true,
        pg_sys::TRIGGER_FIRES_ON_ORIGIN => !is_replica,
        pg_sys::TRIGGER_FIRES_ON_REPLICA => is_replica,
        _ => false,
    }
}

/// The modes (`pg_trigger.tgenabled`) of all triggers on a table that run our function, under any name.
pub fn modes(schema: &Schema, table: pg_sys::Oid) -> Vec<u8> {
    let ours = function(schema);
    let mut modes = Vec::new();
    // SAFETY: as in `find`.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::TriggerRelationId, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        let relid = Datum::from(table);
        pg_sys::ScanKeyInit(&mut key, pg_sys::Anum_pg_trigger_tgrelid as i16, equal, pg_sys::F_OIDEQ.into(), relid);
        let index = pg_sys::TriggerRelidNameIndexId;
        let scan = pg_sys::systable_beginscan(relation, index.into(), true, std::ptr::null_mut(), 1, &mut key);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_trigger>(tuple);
            if form.tgfoid == ours {
                modes.push(form.tgenabled as u8);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    modes
}

/// A trigger's arguments, which stand in the catalog one after the other, each with a NUL behind it.
///
/// # Safety
/// `datum` must be a bytea.
unsafe fn arguments(datum: Datum) -> Vec<String> {
    // SAFETY: see above; a bytea is laid out like a text.
    let bytes = unsafe { crate::pg::datum::text_bytes(datum) };
    let mut parts: Vec<String> = bytes.split(|byte| *byte == 0).map(crate::pg::encoding::from_server).collect();
    parts.pop();
    parts
}

/// Makes the trigger, in the place of one that is there. `arguments` are `observed_at`, which may be empty, and the
/// selectors. (Replacing takes a weaker lock than dropping, which would wait for readers as well.)
pub fn create(sql: &Sql, schema: &Schema, table: pg_sys::Oid, arguments: &[String], reads: Reads) {
    let Some(name) = relation_name(table) else { return };
    let arguments: Vec<String> = arguments.iter().map(|argument| quote_literal(argument)).collect();
    let rows = match reads {
        Reads::Rows => " REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT",
        Reads::EachRow => " FOR EACH ROW",
        Reads::Nothing => " FOR EACH STATEMENT",
    };
    sql.run(
        &format!(
            "CREATE OR REPLACE TRIGGER {TRIGGER} AFTER INSERT ON {name}{rows}
             EXECUTE FUNCTION {}.observe_addresses({})",
            schema.name,
            arguments.join(", ")
        ),
        &[],
    );
    if reads == Reads::EachRow {
        // Replicated rows fire no other.
        sql.run(&format!("ALTER TABLE {name} ENABLE ALWAYS TRIGGER {TRIGGER}"), &[]);
    }
    depend_on_extension(table);
}

/// The same for the event trigger, below SQL: it runs in other people's statements, with a superuser's rights, and so it
/// must run nothing of theirs. A CREATE TRIGGER would run their own event triggers, with their temporary tables in reach.
pub fn create_quietly(schema: &Schema, table: pg_sys::Oid, arguments: &[String], reads: Reads) {
    // SAFETY: the nodes of the statement's tree live in the current context, and PostgreSQL copies the parts that it
    // keeps.
    unsafe {
        let text = |text: &str| pg_sys::pstrdup(c_text(text).as_ptr());
        let mut statement = pg_sys::CreateTrigStmt { type_: pg_sys::NodeTag::T_CreateTrigStmt, ..Default::default() };
        statement.replace = true;
        statement.trigname = text(TRIGGER);
        statement.events = pg_sys::TRIGGER_TYPE_INSERT as i16;
        statement.row = reads == Reads::EachRow;
        for argument in arguments {
            statement.args = pg_sys::lappend(statement.args, pg_sys::makeString(text(argument)).cast());
        }
        let mut rows = pg_sys::TriggerTransition { type_: pg_sys::NodeTag::T_TriggerTransition, ..Default::default() };
        if reads == Reads::Rows {
            rows.name = text("inserted");
            rows.isNew = true;
            rows.isTable = true;
            statement.transitionRels = pg_sys::lappend(std::ptr::null_mut(), (&raw mut rows).cast());
        }
        let none = pg_sys::InvalidOid;
        let when = std::ptr::null_mut();
        let function = function(schema);
        // Replicated rows fire no ordinary row trigger.
        let fires =
            if reads == Reads::EachRow { pg_sys::TRIGGER_FIRES_ALWAYS } else { pg_sys::TRIGGER_FIRES_ON_ORIGIN };
        pg_sys::CreateTriggerFiringOn(
            &mut statement,
            c"".as_ptr(),
            table,
            none,
            none,
            none,
            function,
            none,
            when,
            false,
            false,
            fires as std::ffi::c_char,
        );
        pg_sys::CommandCounterIncrement();
    }
    depend_on_extension(table);
}

/// Text as a C string in the server's encoding.
fn c_text(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(crate::pg::encoding::server_text(text)).unwrap_or_default()
}

/// So that DROP EXTENSION takes the trigger with it and needs no CASCADE. Not by ALTER TRIGGER … DEPENDS ON EXTENSION:
/// that locks the extension until this transaction ends, and no queue would be absorbed.
fn depend_on_extension(table: pg_sys::Oid) {
    // Citus refuses to make partitions of a table whose trigger depends on an extension, and to move its shards.
    if citus::kept(table).is_some() {
        return;
    }
    let name = c_string(TRIGGER);
    // SAFETY: the trigger exists.
    let trigger = unsafe { pg_sys::get_trigger_oid(table, name.as_ptr(), false) };
    goes_with_extension(pg_sys::TriggerRelationId, trigger);
}

/// Has DROP EXTENSION take an object, given by its catalog and its OID, along.
pub fn goes_with_extension(class: pg_sys::Oid, object: pg_sys::Oid) {
    // A DROP EXTENSION that is under way would miss it: it is waited for.
    let Some(extension) = Schema::hold().and_then(|_| crate::pg::catalog::extension()) else { return };
    // SAFETY: both objects exist; the addresses are copied into a catalog row.
    unsafe {
        let known = pg_sys::getAutoExtensionsOfObject(class, object);
        if pg_sys::list_member_oid(known, extension) {
            return;
        }
        let address = |class, object| pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
        let object = address(class, object);
        let extension = address(pg_sys::ExtensionRelationId, extension);
        pg_sys::recordDependencyOn(&object, &extension, pg_sys::DependencyType::DEPENDENCY_AUTO_EXTENSION);
    }
}

/// Takes the trigger off.
pub fn drop(sql: &Sql, table: pg_sys::Oid) {
    if let Some(name) = relation_name(table) {
        if let Some(found) = find(table) {
            let Arguments { observed_at, selectors, only_where, sensor } = Arguments::parse(found.arguments);
            let path = observed_at.and_then(|text| EventTime::parse(&text, |_| false).path);
            meant::remember(selectors.into_iter().chain(path).chain(sensor), only_where.as_deref());
        }
        sql.run(&format!("DROP TRIGGER {TRIGGER} ON {name}"), &[]);
    }
}
