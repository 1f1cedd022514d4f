//! Text settings: how they are defined, and what they may say.

use std::ffi::{CStr, CString, c_char, c_void};
use std::net::{IpAddr, SocketAddr};

use enrich::schedule::Schedule;
use enrich::secrets::{Commands, Patterns, Reference};
use ipnetwork::IpNetwork;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::checked;

/// A setting that is a text.
pub type Text = GucSetting<Option<CString>>;

/// One of that default.
pub const fn text_of(default: &'static CStr) -> Text {
    GucSetting::<Option<CString>>::new(Some(default))
}

/// Name, short and long description, value, flags, check hook.
pub type TextSetting = (&'static CStr, &'static CStr, &'static CStr, &'static Text, GucFlags, StringCheck);

/// Defines settings that take effect at reload.
pub fn define_texts(settings: &[TextSetting]) {
    for &(name, short, long, setting, flags, check) in settings {
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
                None,
                None,
            );
        }
    }
}

/// PostgreSQL's type of a check hook for text settings.
pub type StringCheck =
    Option<unsafe extern "C-unwind" fn(*mut *mut c_char, *mut *mut c_void, pg_sys::GucSource::Type) -> bool>;

/// Makes a check hook of a function from the value to a reason for refusal. The reason never repeats the value: it may
/// be a key that was pasted by mistake.
macro_rules! check {
    ($name:ident, $check:expr) => {
        #[allow(missing_docs)]
        #[pg_guard]
        pub unsafe extern "C-unwind" fn $name(
            value: *mut *mut c_char,
            _extra: *mut *mut c_void,
            _source: pg_sys::GucSource::Type,
        ) -> bool {
            // SAFETY: PostgreSQL passes a pointer to the value that it is about to set.
            unsafe { checked(value, $check) }
        }
    };
}

check!(check_servers, |text| servers(text).map(drop));
check!(check_networks, |text| networks(text).map(drop));
check!(check_schedule, |text| Schedule::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_commands, |text| Commands::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_patterns, |text| Patterns::parse(text).map(drop).map_err(|error| error.to_string()));
check!(check_account, |text| {
    if text.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { Err("It is a number.".to_owned()) }
});
check!(check_host_port, |text| enrich::url::host_port(text).map(drop).map_err(str::to_owned));

/// As [`check!`], for a value that may hold a key or a password: PostgreSQL's own message would repeat it.
macro_rules! check_in_silence {
    ($name:ident, $setting:literal, $check:expr) => {
        #[allow(missing_docs)]
        #[pg_guard]
        pub unsafe extern "C-unwind" fn $name(
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
    };
}

check_in_silence!(check_greynoise_key, "greynoise_api_key", reference);
check_in_silence!(check_license_key, "maxmind_license_key", reference);
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
