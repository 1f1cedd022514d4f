//! The feature flag `asn_inventory.enabled`: its order of precedence, and who may switch it.
#![allow(unsafe_code, reason = "PostgreSQL calls the hook, and hands it a pointer to the value")]

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

/// The feature flag's name in the server's environment.
const ENABLE_VARIABLE: &str = "ENABLE_ASN_INVENTORY";

static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
/// [`ENABLED`] without what sessions, roles and databases say.
static SERVER_ENABLED: AtomicBool = AtomicBool::new(true);
static BY_SUPERUSER_ONLY: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Both settings are defined: the library is loaded.
static IS_DEFINED: AtomicBool = AtomicBool::new(false);

/// The feature flag, for this session: off, triggers do nothing. If only superusers may switch it, values of other
/// roles are ignored: such a value may be older than the reload that removed the right, or be that of a role or
/// database.
#[inline]
pub fn enabled() -> bool {
    let (session, server) = (ENABLED.get(), enabled_on_server());
    if session == server || !BY_SUPERUSER_ONLY.get() || is_superuser() { session } else { server }
}

/// The flag as the server's environment and configuration have it.
#[inline]
pub fn enabled_on_server() -> bool {
    SERVER_ENABLED.load(Ordering::Relaxed)
}

/// The feature flag for the worker: off, it rests. It connects as the superuser, and values of that role, or of the
/// database when it connected, do not apply to loaders.
pub fn enabled_for_worker() -> bool {
    enabled_on_server()
}

/// Whether a superuser logged in, or a superuser's function is running.
fn is_superuser() -> bool {
    // SAFETY: catalog look-ups, in a transaction.
    unsafe { pg_sys::superuser_arg(pg_sys::GetSessionUserId()) || pg_sys::superuser_arg(pg_sys::GetUserId()) }
}

/// Defines both settings.
pub fn define() {
    GucRegistry::define_bool_guc(
        c"asn_inventory.enabled_by_superuser_only",
        c"Only superusers may switch asn_inventory.enabled for a session, role or database.",
        c"Values set by other roles are ignored; the server's configuration applies.",
        &BY_SUPERUSER_ONLY,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the hook is `#[pg_guard]`ed.
    unsafe {
        GucRegistry::define_bool_guc_with_hooks(
            c"asn_inventory.enabled",
            c"Observes the addresses of inserted rows; if it is off, triggers queue nothing and the worker is idle.",
            c"Session, role and database settings override ENABLE_ASN_INVENTORY in the server's environment, which overrides postgresql.conf.",
            &ENABLED,
            GucContext::Userset,
            GucFlags::default(),
            Some(check_enabled),
            None,
            None,
        );
    }
    IS_DEFINED.store(true, Ordering::Relaxed);
}

/// Session, role and database settings keep their values; weaker ones yield to the environment.
#[pg_guard]
unsafe extern "C-unwind" fn check_enabled(
    value: *mut bool,
    _extra: *mut *mut std::ffi::c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a pointer to the value it is about to set.
    let value = unsafe { &mut *value };
    if source <= pg_sys::GucSource::PGC_S_ARGV {
        *value = enabled_by_environment().unwrap_or(*value);
        if !is_only_checked() {
            SERVER_ENABLED.store(*value, Ordering::Relaxed);
        }
    } else if source >= pg_sys::GucSource::PGC_S_INTERACTIVE && *value != enabled_on_server() && !may_switch() {
        // SAFETY: PostgreSQL reads these after the hook; the text is expected to be palloced.
        unsafe {
            pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32);
            let detail = c"asn_inventory.enabled_by_superuser_only is on: only superusers may switch it.";
            pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(detail.as_ptr());
        }
        return false;
    }
    true
}

/// Whether the configuration's value is not to apply now: ALTER SYSTEM and the view pg_file_settings have it checked, in the
/// middle of a statement. A session reads its configuration between two of them.
fn is_only_checked() -> bool {
    // SAFETY: reads a variable of this backend.
    IS_DEFINED.load(Ordering::Relaxed) && unsafe { !pg_sys::ActivePortal.is_null() }
}

/// Whether this session may switch the flag. A forbidden value of a role or database is accepted and ignored: it must
/// not prevent a connection.
fn may_switch() -> bool {
    // A parallel worker takes over what its leader has, be it allowed or not: a query must not fail for it. Outside of a
    // transaction no catalog can be asked, and no user's statement runs.
    // SAFETY: reads variables of this backend.
    let asked = unsafe { pg_sys::IsTransactionState() && pg_sys::ParallelWorkerNumber < 0 };
    !BY_SUPERUSER_ONLY.get() || !asked || is_superuser()
}

fn enabled_by_environment() -> Option<bool> {
    match std::env::var(ENABLE_VARIABLE).ok()?.trim().to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Some(true),
        "0" | "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// Whether the server's environment switches it off: it wins over the configuration.
pub fn switched_off_by_environment() -> bool {
    enabled_by_environment() == Some(false)
}

/// A value in the environment that is neither on nor off, for a warning at start.
pub fn bad_environment() -> Option<String> {
    let value = std::env::var(ENABLE_VARIABLE).ok()?;
    (!value.trim().is_empty() && enabled_by_environment().is_none()).then_some(value)
}
