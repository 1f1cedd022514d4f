//! Text settings: their definition, and their allowed values.
#![allow(unsafe_code, reason = "PostgreSQL calls the hooks, and hands them a pointer to the value")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use enrich::lists::ListFlags;
use enrich::maxmind::download::Site;
use enrich::maxmind::{Edition, Language};
use enrich::proxy;
use enrich::schedule::Schedule;
use enrich::secrets::{Commands, Owners, Patterns, Reference};
use ipnetwork::IpNetwork;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// A setting that is a text.
pub type Text = GucSetting<Option<CString>>;

/// One of that default.
pub const fn text_of(default: &'static CStr) -> Text {
    GucSetting::<Option<CString>>::new(Some(default))
}

/// Name, short and long description, value, flags, check hook.
pub type TextSetting = (&'static CStr, &'static CStr, &'static CStr, &'static Text, GucFlags, Option<Check>);

/// Defines settings that take effect at reload.
pub fn define_texts(settings: &[TextSetting]) {
    for setting in settings {
        define(setting, None);
    }
}

/// Defines one, and counts how often it is set in this process.
pub fn define_counted(setting: &TextSetting) {
    define(setting, Some(count));
}

fn define(
    &(name, short, long, setting, flags, check): &TextSetting,
    assign: Option<unsafe extern "C-unwind" fn(*const c_char, *mut c_void)>,
) {
    let check = check.map(|check| check.0);
    // SAFETY: the hooks are `#[pg_guard]`ed.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            flags,
            check,
            assign,
            None,
        );
    }
}

static TIMES_SET: AtomicU64 = AtomicU64::new(0);

#[pg_guard]
unsafe extern "C-unwind" fn count(_value: *const c_char, _extra: *mut c_void) {
    TIMES_SET.fetch_add(1, Ordering::Relaxed);
}

/// How often a setting of [`define_counted`] was set in this process.
pub fn times_set() -> u64 {
    TIMES_SET.load(Ordering::Relaxed)
}

/// The result of a check hook; a reason for refusal becomes the error's DETAIL.
///
/// # Safety
/// `value` must point to a NUL-terminated text, or to null.
unsafe fn checked(value: *mut *mut c_char, check: impl FnOnce(&str) -> Result<(), String>) -> bool {
    // SAFETY: see above.
    let text = unsafe {
        if (*value).is_null() { String::new() } else { CStr::from_ptr(*value).to_string_lossy().into_owned() }
    };
    match check(text.trim()) {
        Ok(()) => true,
        Err(reason) => {
            let detail = CString::new(reason).unwrap_or_default();
            // SAFETY: PostgreSQL expects a palloced text here.
            unsafe { pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(detail.as_ptr()) };
            false
        }
    }
}

/// A check hook that is guarded, as PostgreSQL needs it: only this file makes one.
#[derive(Clone, Copy)]
pub struct Check(unsafe extern "C-unwind" fn(*mut *mut c_char, *mut *mut c_void, pg_sys::GucSource::Type) -> bool);

/// Makes a check hook of a function from the value to a reason for refusal. The reason never repeats the value: it may
/// be a key that was pasted by mistake.
macro_rules! check {
    ($name:ident, $check:expr) => {
        #[allow(missing_docs, non_upper_case_globals)]
        pub const $name: Check = {
            #[pg_guard]
            unsafe extern "C-unwind" fn hook(
                value: *mut *mut c_char,
                _extra: *mut *mut c_void,
                _source: pg_sys::GucSource::Type,
            ) -> bool {
                // SAFETY: PostgreSQL passes a pointer to the value that it is about to set.
                unsafe { checked(value, $check) }
            }
            Check(hook)
        };
    };
}

check!(check_editions, |text| Edition::list(text).map(drop).map_err(|error| error.to_string()));
check!(check_list_flags, |text| ListFlags::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_language, |text| Language::new(text).map(drop).map_err(|error| error.to_string()));
check!(check_servers, |text| servers(text).map(drop));
check!(check_networks, |text| networks(text).map(drop));
check!(check_schedule, |text| Schedule::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_commands, |text| Commands::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_patterns, |text| Patterns::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_owners, |text| Owners::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_no_proxy, |text| proxy::check_no_proxy(text).map_err(str::to_owned));
check!(check_account, |text| {
    if text.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { Err("It is a number.".to_owned()) }
});
check!(check_host_port, |text| enrich::url::host_port(text).map(drop).map_err(str::to_owned));

/// As [`check!`], for a value that may hold a key or a password: PostgreSQL's own message would repeat it.
macro_rules! check_in_silence {
    ($name:ident, $setting:literal, $check:expr) => {
        #[allow(missing_docs, non_upper_case_globals)]
        pub const $name: Check = {
            #[pg_guard]
            unsafe extern "C-unwind" fn hook(
                value: *mut *mut c_char,
                _extra: *mut *mut c_void,
                _source: pg_sys::GucSource::Type,
            ) -> bool {
                // SAFETY: PostgreSQL passes a pointer to the value that it is about to set, and expects a palloced message.
                unsafe {
                    let fits = checked(value, $check);
                    if !fits {
                        let message = concat!("invalid value for parameter \"asn_inventory.", $setting, "\"\0");
                        pg_sys::GUC_check_errmsg_string = pg_sys::pstrdup(message.as_ptr().cast());
                    }
                    fits
                }
            }
            Check(hook)
        };
    };
}

check_in_silence!(check_greynoise_key, "greynoise_api_key", reference);
check_in_silence!(check_license_key, "maxmind_license_key", reference);
check_in_silence!(check_sources, "mmdb_sources", |text| Site::list(text).map(drop).map_err(|error| error.to_string()));
check_in_silence!(check_proxy_credentials, "https_proxy_credentials", reference);
check_in_silence!(check_proxy, "https_proxy", |text| match text {
    "" => Ok(()),
    text => proxy::address(text).map(drop).map_err(str::to_owned),
});
check_in_silence!(check_greynoise_url, "greynoise_url", https);
check_in_silence!(check_maxmind_url, "maxmind_url", https);

fn reference(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    Reference::parse(text).map(drop).map_err(|error| format!("It is {error}. {}", error.hint()))
}

fn https(text: &str) -> Result<(), String> {
    enrich::url::base(text).map(drop).map_err(str::to_owned)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Addresses of name servers, with or without a port.
pub fn servers(text: &str) -> Result<Vec<SocketAddr>, String> {
    list(text)
        .map(|item| {
            let alone = || Some(SocketAddr::new(item.parse::<IpAddr>().ok()?, 53));
            item.parse().ok().or_else(alone).ok_or_else(|| format!("\"{item}\" is not ip:port."))
        })
        .collect()
}

/// Networks.
pub fn networks(text: &str) -> Result<Vec<IpNetwork>, String> {
    list(text).map(|item| item.parse().map_err(|_| format!("\"{item}\" is not a network."))).collect()
}
