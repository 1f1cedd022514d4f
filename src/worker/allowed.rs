//! Whether PostgreSQL will execute a CREATE, DROP or ALTER DATABASE, as far as that can be known in advance.
//!
//! [`ddl`](super::ddl) ends a database's worker for such a statement. It must not do so for one that is refused anyway:
//! a role without rights could stop the worker by repeating it. The checks here are those of PostgreSQL's
//! `dbcommands.c`, in another order.
#![allow(unsafe_code, reason = "reads parse trees and catalogs for a hook")]

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::pg::raw;

/// Options of CREATE DATABASE. Any other is refused.
const OPTIONS: [&CStr; 17] = [
    c"tablespace",
    c"owner",
    c"template",
    c"encoding",
    c"locale",
    c"lc_collate",
    c"lc_ctype",
    c"builtin_locale",
    c"icu_locale",
    c"icu_rules",
    c"locale_provider",
    c"collation_version",
    c"is_template",
    c"allow_connections",
    c"connection_limit",
    c"strategy",
    c"oid",
];

/// A database, as its catalog row has it.
struct Known {
    oid: pg_sys::Oid,
    is_template: bool,
    encoding: i32,
    tablespace: pg_sys::Oid,
    collate: Option<Vec<u8>>,
    ctype: Option<Vec<u8>>,
}

/// How a statement uses a database.
pub struct Wanted {
    /// The database.
    pub database: pg_sys::Oid,
    /// The statement ends other people's sessions itself.
    pub force: bool,
    /// It drops the database.
    pub drops: bool,
}

/// The database that a statement needs for itself, if it is one of those and will get it. `alone`: it is the client's own
/// statement, and not one in a function.
///
/// # Safety
/// `statement` must be a valid planned statement.
pub unsafe fn wanted(statement: *mut pg_sys::PlannedStmt, alone: bool) -> Option<Wanted> {
    // SAFETY: nodes are cast to the types of their tags.
    unsafe {
        let node = (*statement).utilityStmt;
        let by_itself = || !pg_sys::IsInTransactionBlock(alone);
        match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => {
                let drop = &*node.cast::<pg_sys::DropdbStmt>();
                let known = known(drop.dbname)?;
                let goes = by_itself()
                    && others_lack(&known)
                    && !known.is_template
                    && !has_slots(known.oid)
                    && raw::CountDBSubscriptions(known.oid) == 0;
                goes.then(|| Wanted { database: known.oid, force: has_option(drop.options, c"force"), drops: true })
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = &*node.cast::<pg_sys::RenameStmt>();
                if rename.renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                let known = known(rename.subname)?;
                let goes = others_lack(&known) && may_create() && is_free(rename.newname);
                goes.then_some(Wanted { database: known.oid, force: false, drops: false })
            }
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = &*node.cast::<pg_sys::AlterDatabaseStmt>();
                let place = tablespace(option(alter.options, c"tablespace")?)?;
                let known = known(alter.dbname)?;
                let goes = by_itself() && others_lack(&known) && place != known.tablespace;
                goes.then_some(Wanted { database: known.oid, force: false, drops: false })
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                let create = &*node.cast::<pg_sys::CreatedbStmt>();
                let name = option(create.options, c"template").unwrap_or(c"template1".as_ptr().cast_mut());
                let known = known(name)?;
                let may_copy = known.is_template || owns(known.oid);
                let goes = by_itself()
                    && may_create()
                    && may_copy
                    && is_free(create.dbname)
                    && are_options_good(create.options, &known);
                goes.then_some(Wanted { database: known.oid, force: false, drops: false })
            }
            _ => None,
        }
    }
}

/// It is the user's, and not the one that he is in.
fn others_lack(known: &Known) -> bool {
    owns(known.oid) && known.oid != crate::shared::my_database()
}

fn owns(database: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId());
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, pg_sys::GetUserId());
    }
}

/// Whether the user is a superuser or has CREATEDB.
fn may_create() -> bool {
    // SAFETY: catalog look-ups; the tuple is released after one read.
    unsafe {
        if pg_sys::superuser() {
            return true;
        }
        let user = pg_sys::Datum::from(pg_sys::GetUserId());
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::AUTHOID as i32, user);
        if tuple.is_null() {
            return false;
        }
        let may = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_authid>(tuple)).rolcreatedb;
        pg_sys::ReleaseSysCache(tuple);
        may
    }
}

/// Whether a database may get that name.
///
/// # Safety
/// `name` must be a C string, or null.
unsafe fn is_free(name: *const c_char) -> bool {
    // SAFETY: see above.
    !name.is_null() && unsafe { pg_sys::get_database_oid(name, true) } == pg_sys::InvalidOid
}

/// # Safety
/// `name` must be a C string, or null.
unsafe fn known(name: *const c_char) -> Option<Known> {
    // SAFETY: see above; the row is released after it was read.
    unsafe {
        if name.is_null() {
            return None;
        }
        let oid = pg_sys::get_database_oid(name, true);
        let cache = pg_sys::SysCacheIdentifier::DATABASEOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
        if oid == pg_sys::InvalidOid || tuple.is_null() {
            return None;
        }
        let row = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
        let text = |column: u32| {
            let mut null = false;
            let datum = pg_sys::SysCacheGetAttr(cache, tuple, column as i16, &mut null);
            (!null).then(|| crate::pg::datum::text_bytes(datum).to_vec())
        };
        let known = Known {
            oid,
            is_template: row.datistemplate,
            encoding: row.encoding,
            tablespace: row.dattablespace,
            collate: text(pg_sys::Anum_pg_database_datcollate),
            ctype: text(pg_sys::Anum_pg_database_datctype),
        };
        pg_sys::ReleaseSysCache(tuple);
        Some(known)
    }
}

/// Whether a process reads its changes at this moment.
fn has_slots(database: pg_sys::Oid) -> bool {
    let (mut all, mut active) = (0, 0);
    // SAFETY: writes two numbers.
    unsafe { pg_sys::ReplicationSlotsCountDBSlots(database, &mut all, &mut active) };
    active > 0
}

/// A tablespace in which the user may create databases.
///
/// # Safety
/// `name` must be a C string.
unsafe fn tablespace(name: *const c_char) -> Option<pg_sys::Oid> {
    // SAFETY: see above; catalog look-ups.
    unsafe {
        let oid = pg_sys::get_tablespace_oid(name, true);
        if oid == pg_sys::InvalidOid || oid == pg_sys::GLOBALTABLESPACE_OID {
            return None;
        }
        let (user, create) = (pg_sys::GetUserId(), pg_sys::ACL_CREATE as pg_sys::AclMode);
        #[cfg(feature = "pg15")]
        let result = pg_sys::pg_tablespace_aclcheck(oid, user, create);
        #[cfg(not(feature = "pg15"))]
        let result = pg_sys::object_aclcheck(pg_sys::TableSpaceRelationId, oid, user, create);
        (result == pg_sys::AclResult::ACLCHECK_OK).then_some(oid)
    }
}

/// Whether CREATE DATABASE takes these options for a copy of that template. Those of ICU and of PostgreSQL's own locales
/// are taken as they are.
///
/// # Safety
/// `options` must be those of a CREATE DATABASE.
unsafe fn are_options_good(options: *mut pg_sys::List, template: &Known) -> bool {
    // SAFETY: see above.
    unsafe {
        let names: Vec<&CStr> = elements(options).map(|element| CStr::from_ptr((*element).defname)).collect();
        let good = |(i, name): (usize, &&CStr)| OPTIONS.contains(name) && !names[..i].contains(name);
        if !names.iter().enumerate().all(good) {
            return false;
        }
        // Only template0 may be copied into another encoding or locale; PostgreSQL knows it by its name, too.
        let is_plain = option(options, c"template").is_some_and(|name| CStr::from_ptr(name) == c"template0");
        let same = |name: &CStr, has: &Option<Vec<u8>>| {
            option(options, name).is_none_or(|text| is_plain || Some(CStr::from_ptr(text).to_bytes()) == has.as_deref())
        };
        let encoding = option(options, c"encoding").is_none_or(|name| {
            let encoding = encoding(name);
            encoding >= 0 && (is_plain || encoding == template.encoding)
        });
        encoding
            && ["lc_collate", "locale"].iter().all(|name| same(&crate::pg::catalog::c_string(name), &template.collate))
            && ["lc_ctype", "locale"].iter().all(|name| same(&crate::pg::catalog::c_string(name), &template.ctype))
            && option(options, c"tablespace").is_none_or(|name| tablespace(name).is_some())
            && option(options, c"owner").is_none_or(|name| may_give_to(name))
            && option(options, c"oid").is_none_or(|oid| {
                // Lower ones are PostgreSQL's own.
                CStr::from_ptr(oid).to_str().is_ok_and(|oid| oid.parse::<u32>().is_ok_and(|oid| oid >= 16_384))
            })
            && option(options, c"connection_limit").is_none_or(|limit| {
                CStr::from_ptr(limit).to_str().is_ok_and(|limit| limit.parse::<i32>().is_ok_and(|limit| limit >= -1))
            })
    }
}

/// The number of an encoding; negative if the name is unknown. By the function of SQL, which has the same name in every
/// version.
///
/// # Safety
/// `name` must be a C string.
unsafe fn encoding(name: *const c_char) -> i32 {
    // SAFETY: see above; the function takes a name.
    unsafe {
        let mut data = pg_sys::NameData::default();
        pg_sys::namestrcpy(&mut data, name);
        let argument = Some(pg_sys::Datum::from(&raw const data));
        let number = pgrx::direct_function_call_as_datum(pg_sys::PG_char_to_encoding, &[argument]);
        number.map_or(-1, |number| number.value() as i32)
    }
}

/// Whether the user may make that role an owner.
///
/// # Safety
/// `name` must be a C string.
unsafe fn may_give_to(name: *const c_char) -> bool {
    // SAFETY: see above; catalog look-ups.
    unsafe {
        let role = pg_sys::get_role_oid(name, true);
        #[cfg(feature = "pg15")]
        let may = |user| pg_sys::is_member_of_role(user, role);
        #[cfg(not(feature = "pg15"))]
        let may = |user| pg_sys::member_can_set_role(user, role);
        role != pg_sys::InvalidOid && may(pg_sys::GetUserId())
    }
}

/// # Safety
/// `options` must be a list of DefElem, or null.
unsafe fn elements(options: *mut pg_sys::List) -> impl Iterator<Item = *mut pg_sys::DefElem> {
    // SAFETY: see above.
    let count = if options.is_null() { 0 } else { unsafe { (*options).length as usize } };
    // SAFETY: see above.
    (0..count).map(move |i| unsafe { (*(*options).elements.add(i)).ptr_value.cast::<pg_sys::DefElem>() })
}

/// # Safety
/// As [`elements`].
unsafe fn has_option(options: *mut pg_sys::List, name: &CStr) -> bool {
    // SAFETY: see above.
    unsafe { elements(options).any(|element| CStr::from_ptr((*element).defname) == name) }
}

/// The text of an option.
///
/// # Safety
/// As [`elements`].
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*mut c_char> {
    // SAFETY: see above.
    unsafe {
        elements(options)
            .find(|element| CStr::from_ptr((**element).defname) == name && !(**element).arg.is_null())
            .map(|element| pg_sys::defGetString(element))
    }
}
