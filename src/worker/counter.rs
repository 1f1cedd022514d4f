//! The counter: counts a large inventory, for which the worker would leave everything else alone for seconds.

use std::sync::atomic::Ordering;

use pgrx::pg_sys;

use super::maintenance;
use crate::background_process;
use crate::pg::process;
use crate::shared;

background_process!(asn_inventory_counter_main, run);

fn run(argument: pg_sys::Datum) {
    process::take_signals();
    let database = pg_sys::Oid::from(argument.value() as u32);
    let Some(slot) = shared::shared().and_then(|shared| shared.database(database)) else { return };
    process::connect(c"asn_inventory counter", database);
    slot.counter.store(process::my_pid(), Ordering::Release);
    process::vacate_at_exit(&slot.counter);
    // A DROP DATABASE that began while this process started could not know it; it waits for it to go.
    if slot.is_banned() {
        return;
    }
    slot.counted.store(maintenance::count(maintenance::MOST_PASSES), Ordering::Release);
}
