//! Lists of networks: which of them hold an address (`ip_lists`), and which there are (`network_lists`).
#![allow(unsafe_code, reason = "hands out a kept array without forming it again: a look-up costs less than that")]

use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, pg_sys};

use crate::files::lists;
use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::time::from_unix_us;
use crate::sql_function;

sql_function!(
    /// `ip_lists(inet) → text[]`: empty where no list holds it, null where no list is installed.
    ip_lists,
    pg_finfo_ip_lists,
    |call: Call| {
        let Some(inet) = call.inet(0) else { return call.null() };
        let Some(holders) = lists::find(inet.ip) else { return call.null() };
        lists::array(holders, bytes_of_array, copied)
    }
);

/// The bytes of a text[] of these texts.
fn bytes_of_array(names: Vec<&str>) -> Box<[u8]> {
    let array = call::text_array(names.into_iter());
    // SAFETY: a fresh array, which is a varlena that is not toasted.
    unsafe {
        let array = array.cast_mut_ptr::<pg_sys::varlena>();
        let bytes = std::slice::from_raw_parts(array.cast::<u8>(), pgrx::varlena::varsize_any(array));
        let kept = bytes.into();
        pg_sys::pfree(array.cast());
        kept
    }
}

/// A palloced copy.
fn copied(bytes: &[u8]) -> Datum {
    // SAFETY: as many bytes as were asked for.
    unsafe {
        let copy = pg_sys::palloc(bytes.len()).cast::<u8>();
        copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        Datum::from(copy)
    }
}

sql_function!(
    /// `network_lists() → setof (list, file, …)`: the installed lists, and refused files.
    network_lists,
    pg_finfo_network_lists,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let manifest = lists::manifest();
        let text = |text: &str| Some(call::text(text));
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).into_datum();
        for (name, state) in manifest.lists {
            rows.row(|| {
                let current = state.current.as_ref();
                let refused = state.refused.as_ref();
                vec![
                    text(&name),
                    text(&state.file),
                    current.and_then(|c| number(c.entries[0])),
                    current.and_then(|c| number(c.entries[1])),
                    current.and_then(|c| number(c.addresses_v4)),
                    current.and_then(|c| number(c.size)),
                    current.and_then(|c| from_unix_us(c.modified_at).into_datum()),
                    current.and_then(|c| from_unix_us(c.installed_at).into_datum()),
                    current.and_then(|c| text(c.warning.as_deref()?)),
                    refused.and_then(|r| text(&r.reason)),
                    refused.and_then(|r| from_unix_us(r.at).into_datum()),
                    current.and_then(|c| text(&c.ranges)),
                    current.and_then(|c| text(c.previous.as_deref()?)),
                ]
            });
        }
        for (file, refusal) in manifest.rejected {
            rows.row(|| {
                let mut row = vec![None; 13];
                row[1] = text(&file);
                row[9] = text(&refusal.reason);
                row[10] = from_unix_us(refusal.at).into_datum();
                row
            });
        }
        call.null()
    }
);
