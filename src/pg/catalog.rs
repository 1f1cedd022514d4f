//! Small questions to the catalog: the schema of the extension, its owner, and names quoted for SQL.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::call::Call;

/// The schema that the extension was created in, ready to be written into SQL.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Its OID.
    pub oid: pg_sys::Oid,
    /// Its name, quoted where needed.
    pub name: String,
}

impl Schema {
    /// The schema of the function that is being called, which is the extension's.
    pub fn of(call: Call) -> Schema {
        Schema::new(call.schema())
    }

    /// The schema with this OID.
    pub fn at(oid: pg_sys::Oid) -> Schema {
        Schema::new(oid)
    }

    fn new(oid: pg_sys::Oid) -> Schema {
        // SAFETY: a schema's name from the catalog, copied at once.
        let name = unsafe {
            let name = pg_sys::get_namespace_name(oid);
            if name.is_null() { String::new() } else { quote_identifier(&text(name)) }
        };
        Schema { oid, name }
    }

    /// The schema of the extension in this database; `None` where it is not installed.
    pub fn find() -> Option<Schema> {
        let oid = extension()?;
        // SAFETY: `pg_extension` is scanned by its OID index; the tuple is read before the scan ends.
        unsafe {
            let relation = pg_sys::table_open(pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as i32);
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &mut key,
                pg_sys::Anum_pg_extension_oid as i16,
                pg_sys::BTEqualStrategyNumber as u16,
                pg_sys::F_OIDEQ.into(),
                pg_sys::Datum::from(oid),
            );
            let scan = pg_sys::systable_beginscan(
                relation,
                pg_sys::ExtensionOidIndexId.into(),
                true,
                std::ptr::null_mut(),
                1,
                &mut key,
            );
            let tuple = pg_sys::systable_getnext(scan);
            let schema = (!tuple.is_null()).then(|| {
                let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_extension>(tuple);
                Schema::new((*form).extnamespace)
            });
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            schema
        }
    }

    /// The same, and keeps the extension from being dropped until the transaction ends. DROP EXTENSION locks the
    /// extension before anything in it, so a holder of this lock cannot deadlock with it.
    pub fn hold() -> Option<Schema> {
        let oid = extension()?;
        // SAFETY: waits for a running DROP, then is held until the transaction ends.
        unsafe {
            pg_sys::LockDatabaseObject(pg_sys::ExtensionRelationId, oid, 0, pg_sys::AccessShareLock as i32);
        }
        Schema::find()
    }

    /// Whether a session is dropping the extension at this moment. In a transaction, which then keeps others from it.
    pub fn is_being_dropped() -> bool {
        let Some(oid) = extension() else { return true };
        // SAFETY: the lock that `hold` takes, without waiting for it.
        unsafe {
            let lock = pg_sys::AccessShareLock as i32;
            !pg_sys::ConditionalLockDatabaseObject(pg_sys::ExtensionRelationId, oid, 0, lock)
        }
    }

    /// The OID of one of the extension's relations.
    pub fn relation(&self, name: &CStr) -> pg_sys::Oid {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::get_relname_relid(name.as_ptr(), self.oid) }
    }

    /// Whether there is a relation of that name, and it is the extension's.
    pub fn is_of_extension(&self, name: &CStr) -> bool {
        let relation = self.relation(name);
        relation != pg_sys::InvalidOid
            && extension().is_some_and(|ours| extension_of(pg_sys::RelationRelationId, relation) == Some(ours))
    }

    /// How many blocks one of the extension's tables has.
    pub fn blocks(&self, name: &CStr) -> u32 {
        blocks(self.relation(name))
    }

    /// Whether one of the extension's tables has a column of that name: before the extension is updated it may not.
    pub fn has_column(&self, table: &CStr, column: &CStr) -> bool {
        // SAFETY: a catalog look-up that tolerates absence.
        unsafe { pg_sys::get_attnum(self.relation(table), column.as_ptr()) != pg_sys::InvalidAttrNumber as i16 }
    }

    /// One of the extension's relations as a constant in SQL: a schema's name may hold quotes.
    pub fn regclass(&self, name: &str) -> String {
        format!("{}::pg_catalog.regclass", quote_literal(&format!("{}.{name}", self.name)))
    }
}

/// The extension's OID in this database.
pub fn extension() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up that tolerates absence.
    let oid = unsafe { pg_sys::get_extension_oid(c"asn_inventory".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Runs what gives users rights that they had before: not as a part of the extension's script, or a dump would take them
/// for the extension's own and leave them out. After an error, PostgreSQL resets the variable with the script.
pub fn outside_of_script(f: impl FnOnce()) {
    // SAFETY: a variable of this process, which PostgreSQL reads where a GRANT is written down.
    let before = unsafe { pg_sys::creating_extension };
    // SAFETY: see above.
    unsafe { pg_sys::creating_extension = false };
    f();
    // SAFETY: see above.
    unsafe { pg_sys::creating_extension = before };
}

/// How many blocks a table has, by its OID. It must be a relation with storage.
pub fn blocks(table: pg_sys::Oid) -> u32 {
    // SAFETY: the relation is opened for the time of one question.
    unsafe {
        let relation = pg_sys::relation_open(table, pg_sys::AccessShareLock as i32);
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        blocks
    }
}

/// OIDs and names of the databases that take connections.
pub fn databases() -> Vec<(u32, String)> {
    let mut found = Vec::new();
    // SAFETY: a scan of a shared catalog; each row is copied out of before the next is read.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
            // A database whose DROP was interrupted is marked so (DATCONNLIMIT_INVALID_DB), and accepts no connection.
            if form.datallowconn && form.datconnlimit != -2 {
                found.push((form.oid.to_u32(), pgrx::name_data_to_str(&form.datname).to_owned()));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}

/// Things that one transaction at a time does, in this database. Each is a sub-object of the extension that no other
/// code names.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Absorbing the queue.
    Absorb = 1,
    /// Giving out numbers of jobs behind the highest.
    Number = 2,
    /// Counting or forgetting what was observed by the hour.
    Activity = 3,
    /// Counting the addresses of every AS, or taking back what was observed of them.
    Count = 4,
}

impl Turn {
    /// Waits for this turn, and has it until the transaction ends. False: the extension is gone.
    pub fn wait(self) -> bool {
        let Some(extension) = extension() else { return false };
        let lock = pg_sys::ExclusiveLock as i32;
        // SAFETY: a heavyweight lock, given back by the transaction's end.
        unsafe { pg_sys::LockDatabaseObject(pg_sys::ExtensionRelationId, extension, self as u16, lock) };
        true
    }

    /// Takes this turn if it is free.
    pub fn take(self) -> bool {
        let Some(extension) = extension() else { return false };
        let lock = pg_sys::ExclusiveLock as i32;
        // SAFETY: as above.
        unsafe { pg_sys::ConditionalLockDatabaseObject(pg_sys::ExtensionRelationId, extension, self as u16, lock) }
    }

    /// Gives this turn back early, one that was waited for.
    pub fn pass(self) {
        let Some(extension) = extension() else { return };
        let lock = pg_sys::ExclusiveLock as i32;
        // SAFETY: a lock that is not held is a warning.
        unsafe { pg_sys::UnlockDatabaseObject(pg_sys::ExtensionRelationId, extension, self as u16, lock) };
    }
}

/// The name of this session's database, in the server's encoding.
pub fn database_name() -> Option<CString> {
    // SAFETY: a name from the catalog, copied at once.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())
    }
}

/// Whether there is a database with this OID.
pub fn has_database(oid: u32) -> bool {
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { !pg_sys::get_database_name(pg_sys::Oid::from(oid)).is_null() }
}

/// Whether the present user owns a relation.
pub fn owns(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        #[cfg(feature = "pg15")]
        let owns = pg_sys::pg_class_ownercheck(relation, pg_sys::GetUserId());
        #[cfg(not(feature = "pg15"))]
        let owns = pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, pg_sys::GetUserId());
        owns
    }
}

/// The schema of a relation.
pub fn schema_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { pg_sys::get_rel_namespace(relation) }
}

/// The extension that an object of a class belongs to.
pub fn extension_of(class: pg_sys::Oid, object: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up that tolerates absence.
    let owner = unsafe { pg_sys::getExtensionOfObject(class, object) };
    (owner != pg_sys::InvalidOid).then_some(owner)
}

/// Keeps a relation from being dropped until the transaction ends; false: it is gone.
pub fn hold(relation: pg_sys::Oid) -> bool {
    // SAFETY: an open that tolerates absence; the lock stays until the transaction ends.
    unsafe {
        let opened = pg_sys::try_relation_open(relation, pg_sys::AccessShareLock as i32);
        if !opened.is_null() {
            pg_sys::relation_close(opened, pg_sys::NoLock as i32);
        }
        !opened.is_null()
    }
}

/// Locks a relation until the transaction ends.
pub fn lock_relation(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: a heavyweight lock, given back by the transaction's end.
    unsafe { pg_sys::LockRelationOid(relation, mode as i32) };
}

/// Gives one such lock back.
pub fn unlock_relation(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: a lock that this session holds.
    unsafe { pg_sys::UnlockRelationOid(relation, mode as i32) };
}

/// Has all sessions forget what they keep of a table, once this transaction has committed.
pub fn forget_kept(relation: pg_sys::Oid) {
    // SAFETY: queues a message; of a relation that is gone, none.
    unsafe {
        if pg_sys::SearchSysCacheExists(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        ) {
            pg_sys::CacheInvalidateRelcacheByRelid(relation);
        }
    }
}

/// This server and database, by which a snapshot is known to mean something here: a restored dump brings those of the
/// database it came from.
pub fn database_identity() -> String {
    // SAFETY: reads the server's own state.
    unsafe { format!("{}/{}", pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId.to_u32()) }
}

/// The rights of a table's owner, in a security-restricted operation, for as long as this lives; after an error, until
/// the (sub)transaction's abort. Code on a table (triggers, defaults, constraints, index expressions, rules) runs as
/// the writing role: if that were the worker's superuser, the table's owner would get a superuser's rights.
///
/// Settings that such code makes end with it, as those of a function's SET do: its own `search_path` must not be that
/// of the next statement, which runs as another role. And if the owner is not a superuser, the owner's code does not
/// run with the triggers and foreign keys of other roles' tables switched off.
///
/// The `search_path` is pinned: with the caller's, an operator of the caller's would be the better match for `=`, and run
/// with the owner's rights. Not every caller is a function that pins it: an index is built and a look-up is made without one.
pub struct Acting {
    user: pg_sys::Oid,
    context: i32,
    level: i32,
}

impl Acting {
    /// As the owner of `relation`. Policies do not hold for that owner, forced ones neither.
    pub fn as_owner_of(relation: pg_sys::Oid) -> Acting {
        let role = owner_of(relation);
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        let more = (restricted | pg_sys::SECURITY_NOFORCE_RLS) as i32;
        // SAFETY: the pair is put back on drop; after an error, by the (sub)transaction's abort.
        let level = unsafe {
            let level = pg_sys::NewGUCNestLevel();
            crate::pg::tx::pin_search_path();
            if super::session::is_replica() && !pg_sys::superuser_arg(role) {
                crate::pg::tx::save_and_set(c"session_replication_role", c"origin");
            }
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            pg_sys::SetUserIdAndSecContext(role, context | more);
            level
        };
        Acting { user, context, level }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: what `begin` found.
            unsafe {
                pg_sys::AtEOXact_GUC(false, self.level);
                pg_sys::SetUserIdAndSecContext(self.user, self.context);
            }
        }
    }
}

/// Whether a role is a superuser.
pub fn is_superuser(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::superuser_arg(role) }
}

/// The planner's estimate of a relation's rows; 0 where it has none. Not by SQL: Citus leaves shards out of pg_class.
pub fn estimated_rows(relation: pg_sys::Oid) -> u64 {
    // SAFETY: a catalog look-up; the tuple is released after one read.
    unsafe {
        let key = pg_sys::Datum::from(relation);
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, key);
        if tuple.is_null() {
            return 0;
        }
        let rows = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple)).reltuples;
        pg_sys::ReleaseSysCache(tuple);
        // Negative before the first ANALYZE.
        rows.max(0.0) as u64
    }
}

/// The owner of a relation; an error where there is none.
pub fn owner_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a catalog look-up; the tuple is released after one read.
    unsafe {
        let key = pg_sys::Datum::from(relation);
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, key);
        if tuple.is_null() {
            crate::pg::errors::raise(
                pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                "a table of asn_inventory is missing",
                "",
                "Run DROP EXTENSION asn_inventory, then CREATE EXTENSION asn_inventory.",
            );
        }
        let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple);
        let (owner, has_children) = ((*form).relowner, (*form).relhassubclass);
        pg_sys::ReleaseSysCache(tuple);
        // A statement on a table is one on its children as well, and those may belong to another role.
        if has_children && super::inherits::below(relation).len() > 1 {
            crate::pg::errors::not_ready(
                format!("a table inherits from \"{}\"", plain_name(relation)),
                "Statements of asn_inventory would reach it, with the rights of another owner.",
                "Run ALTER TABLE ... NO INHERIT on it: enrichment_doctor() names it.",
            );
        }
        owner
    }
}

/// Whether a relation has a column of that name: not a dropped one, and none of PostgreSQL's own.
pub fn has_column(relation: pg_sys::Oid, name: &str) -> bool {
    let name = CString::new(crate::pg::encoding::server_text(name)).unwrap_or_default();
    // SAFETY: a catalog look-up with a NUL-terminated name; system columns have negative numbers.
    unsafe { pg_sys::get_attnum(relation, name.as_ptr()) > 0 }
}

/// A name as SQL writes it.
pub fn quote_identifier(name: &str) -> String {
    pgrx::spi::quote_identifier(name)
}

/// A text as a SQL literal.
pub fn quote_literal(text: &str) -> String {
    pgrx::spi::quote_literal(text)
}

/// A relation's qualified, quoted name.
pub fn relation_name(oid: pg_sys::Oid) -> Option<String> {
    // SAFETY: catalog look-ups; names are copied at once.
    unsafe {
        let name = pg_sys::get_rel_name(oid);
        if name.is_null() {
            return None;
        }
        let name = text(name);
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid));
        let schema = if schema.is_null() { return None } else { text(schema) };
        Some(format!("{}.{}", quote_identifier(&schema), quote_identifier(&name)))
    }
}

/// Whether a relation is there, and will be in other sessions.
pub fn is_lasting(oid: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups that tolerate absence.
    unsafe {
        !pg_sys::get_rel_name(oid).is_null() && pg_sys::get_rel_persistence(oid) as u8 != pg_sys::RELPERSISTENCE_TEMP
    }
}

/// A relation's plain name, for messages.
pub fn plain_name(oid: pg_sys::Oid) -> String {
    // SAFETY: a catalog look-up; the name is copied at once.
    unsafe {
        let name = pg_sys::get_rel_name(oid);
        if name.is_null() { oid.to_u32().to_string() } else { text(name) }
    }
}

/// A name from the catalog, which is in the server's encoding.
///
/// # Safety
/// `name` must be a C string.
unsafe fn text(name: *const std::ffi::c_char) -> String {
    // SAFETY: see above.
    crate::pg::encoding::from_server(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// A C string, or an empty one for text with NULs.
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
