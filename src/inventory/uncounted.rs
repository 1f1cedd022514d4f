//! Writes to the inventory that PostgreSQL's statistics do not count, because `track_counts` is off in the session: a
//! statement trigger notes when the last of them was committed, and that is part of what [`super::asn::changes`] says.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use crate::pg::call::Call;
use crate::pg::errors::raise;
use crate::pg::{session, time, tx};
use crate::shared;
use crate::sql_function;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// The running transaction has written what is not counted.
    static WRITTEN: Cell<bool> = const { Cell::new(false) };
}

sql_function!(
    /// `_note_uncounted() → trigger`: AFTER INSERT, UPDATE, DELETE or TRUNCATE, FOR EACH STATEMENT.
    note_uncounted,
    pg_finfo_note_uncounted,
    |call: Call| {
        if call.trigger().is_none() {
            raise(
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "function \"note_uncounted\" was not called by trigger manager",
                "It is a trigger of asn_inventory's own tables.",
                "",
            );
        }
        if !session::counts_rows() {
            WRITTEN.set(true);
            if !REGISTERED.replace(true) {
                tx::at_events(at_transaction_end);
            }
        }
        Datum::from(0)
    }
);

/// Noted at the end of the transaction: a count made before would not see its rows.
fn at_transaction_end(event: pg_sys::XactEvent::Type) {
    if tx::ends(event)
        && WRITTEN.replace(false)
        && !tx::is_abort(event)
        && let Some(slot) = shared::shared().and_then(|shared| shared.database_or_new(shared::my_database()))
    {
        slot.uncounted_at.store(time::now(), Ordering::Release);
    }
}

/// When the last such write was committed since the server started (timestamptz); 0: none was.
pub fn last() -> i64 {
    shared::here().map_or(0, |slot| slot.uncounted_at.load(Ordering::Acquire))
}
