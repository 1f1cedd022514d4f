//! From text to address in any query: `ip_parse`, `ip_extract_array`. What the triggers read, by the same code.
//!
//! They raise nothing, whatever a value holds, so a panel over raw events does not end at the first odd one, and they
//! depend on nothing but their arguments: an index or a generated column may be built on them. So they fold IPv4-mapped
//! addresses whatever `asn_inventory.fold_ipv4_mapped` says.
#![allow(unsafe_code, reason = "reads texts and jsonb without a copy")]

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use enrich::address::{Once, parse_host, scan, unmapped};
use enrich::json;
use enrich::json::Value;
use enrich::selector::{Reading, Selector, Step, mistaken_key};
use pgrx::{IntoDatum, pg_sys};

use crate::ingest::jsonb_path::{JsonbPath, is_huge};
use crate::inventory::meant;
use crate::pg::call::Call;
use crate::pg::datum::text_bytes;
use crate::pg::encoding::from_server;
use crate::pg::errors::bad_value;
use crate::pg::inet::Inet;
use crate::pg::raw::Found;
use crate::sql_function;

/// Paths that a session keeps.
const KEPT: usize = 16;

thread_local! {
    /// Paths of this session, as they were written, the latest last.
    static PATHS: RefCell<Vec<(Vec<u8>, Rc<JsonbPath>)>> = const { RefCell::new(Vec::new()) };
}

sql_function!(
    /// `ip_parse(text) → inet`.
    ip_parse,
    pg_finfo_ip_parse,
    |call: Call| {
        // SAFETY: declared to take a text.
        let found = call.arg(0).and_then(|datum| parse(unsafe { text_bytes(datum) }));
        call.give(found.and_then(|ip| Inet::host(ip).into_datum()))
    }
);

sql_function!(
    /// `ip_parse(jsonb, path text) → inet`.
    ip_parse_jsonb,
    pg_finfo_ip_parse_jsonb,
    |call: Call| {
        let (Some(value), Some(path)) = (call.arg(0), call.arg(1)) else { return call.null() };
        // SAFETY: declared to take a jsonb and a text.
        let found = unsafe { at_path(value, &kept_path(text_bytes(path))) };
        call.give(found.and_then(|ip| Inet::host(ip).into_datum()))
    }
);

sql_function!(
    /// `ip_extract_array(text) → inet[]`.
    ip_extract_array,
    pg_finfo_ip_extract_array,
    |call: Call| {
        let Some(datum) = call.arg(0) else { return call.null() };
        let mut once = Once::default();
        let mut found: Vec<Inet> = Vec::new();
        // SAFETY: declared to take a text.
        scan(unsafe { text_bytes(datum) }, |ip| {
            let ip = unmapped(ip);
            let is_first = once.is_first(ip);
            if is_first == Some(true) {
                found.push(Inet::host(ip));
            }
            is_first.is_some()
        });
        call.give(found.into_datum())
    }
);

fn parse(text: &[u8]) -> Option<IpAddr> {
    parse_host(text).ok().flatten().map(unmapped)
}

/// The address that a value's text says; of an array, that of its first element that says one.
fn of_json(text: &[u8]) -> Option<IpAddr> {
    if !json::is_array(text) {
        return parse(text);
    }
    let Value::Array(mut elements) = json::value(text) else { return None };
    elements.find_map(|element| match json::value(element) {
        Value::Text(text) => parse(&text),
        _ => None,
    })
}

/// # Safety
/// `value` must be a jsonb.
unsafe fn at_path(value: pg_sys::Datum, path: &JsonbPath) -> Option<IpAddr> {
    // SAFETY: see above; nothing is owned inside of the guard.
    unsafe {
        match pg_sys::ffi::pg_guard_ffi_boundary(|| path.in_guard(value)) {
            Found::Nothing => None,
            Found::Text(text) => of_json(text),
            Found::Other if is_huge(value) => None,
            Found::Other => path.text(value).and_then(of_json),
        }
    }
}

fn kept_path(written: &[u8]) -> Rc<JsonbPath> {
    let kept =
        PATHS.with_borrow(|paths| paths.iter().rev().find(|(known, _)| known == written).map(|(_, p)| p.clone()));
    kept.unwrap_or_else(|| {
        let path = Rc::new(JsonbPath::new(&keys(&from_server(written))));
        PATHS.with_borrow_mut(|paths| {
            if paths.len() >= KEPT {
                paths.remove(0);
            }
            paths.push((written.to_vec(), path.clone()));
        });
        path
    })
}

/// The keys of a path as selectors write it, with or without an arrow before the first.
fn keys(path: &str) -> Vec<String> {
    let selector = if path.trim_start().starts_with("->") { format!("x{path}") } else { format!("x->>{path}") };
    if let Some((key, cure)) = mistaken_key(&selector) {
        meant::refuse(path, &key, cure);
    }
    let keys = Selector::parse(&selector).ok().filter(|selector| {
        selector.reading == Reading::Address && !selector.path.is_empty() && !selector.path.contains(&Step::Each)
    });
    keys.and_then(|selector| selector.keys()).unwrap_or_else(|| {
        bad_value(
            format!("\"{path}\" is no path to one value in JSON"),
            "A path is written as in attach_ip_source, without the column: src_ip, peer->>ip, hops->0->>ip.",
            "A key with blanks, arrows or quotes stands in single quotes. For each element of an array, jsonb_array_elements() makes a row of it.",
        )
    })
}
