//! The content of a packed row of the queue, for SQL.

use enrich::pack::unpack;
use pgrx::IntoDatum;
use pgrx::pg_sys::Datum;

use crate::pg::call::{Call, Rows};
use crate::pg::inet::Inet;
use crate::sql_function;

sql_function!(
    /// `unpack_observations(packed bytea) → setof (address, seen, first_seen, last_seen)`.
    unpack_observations,
    pg_finfo_unpack_observations,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let Some(packed) = call.bytes(0) else { return call.null() };
        // The marks of ip_activity hold none.
        if packed.is_empty() {
            return call.null();
        }
        let mut entries = unpack(packed);
        for entry in entries.by_ref() {
            pgrx::check_for_interrupts!();
            rows.row(|| vec![
                Inet::host(entry.ip).into_datum(),
                Some(Datum::from(entry.count)),
                Some(Datum::from(entry.first)),
                Some(Datum::from(entry.last)),
            ]);
        }
        if entries.is_broken() {
            crate::pg::errors::bad_value(
                "invalid packed observations",
                "The value ends in the middle of an address, or has a layout that this library does not know.",
                "Pass ip_observation.packed unchanged.",
            );
        }
        call.null()
    }
);
