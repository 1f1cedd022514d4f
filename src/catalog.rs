//! Small questions to the catalog: where the extension lives, who owns it, how to write a name into SQL.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::call::{self, Call};

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
        // SAFETY: catalog look-ups by the OID of a running function.
        unsafe { Schema::new(pg_sys::get_func_namespace(call.function())) }
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
    /// extension before anything in it, so whoever holds this can't deadlock with it half-way.
    pub fn hold() -> Option<Schema> {
        let oid = extension()?;
        // SAFETY: waits for a running DROP, then is held until the transaction ends.
        unsafe {
            pg_sys::LockDatabaseObject(pg_sys::ExtensionRelationId, oid, 0, pg_sys::AccessShareLock as i32);
        }
        Schema::find()
    }

    /// Whether somebody is dropping the extension at this moment. In a transaction, which then keeps others from it.
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

    /// One of the extension's relations as a constant in SQL: a schema's name may hold quotes.
    pub fn regclass(&self, name: &str) -> String {
        format!("{}::pg_catalog.regclass", quote_literal(&format!("{}.{name}", self.name)))
    }

    /// The role that owns the extension's tables.
    pub fn owner(&self) -> pg_sys::Oid {
        // SAFETY: the relation is opened for the time of one read.
        unsafe {
            let relation = pg_sys::table_open(self.relation(c"ip_inventory"), pg_sys::AccessShareLock as i32);
            let owner = (*(*relation).rd_rel).relowner;
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            owner
        }
    }
}

/// The extension's OID in this database.
pub fn extension() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up that tolerates absence.
    let oid = unsafe { pg_sys::get_extension_oid(c"asn_inventory".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Runs `f` with the rights of `role`; an error inside restores them as well.
pub fn as_role<R>(role: pg_sys::Oid, f: impl FnOnce() -> R) -> R {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: the pair is restored below; after an error, the (sub)transaction's abort restores it.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
    }
    let result = f();
    // SAFETY: see above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    result
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
    call::from_server(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// A C string, or an empty one for text with NULs.
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
