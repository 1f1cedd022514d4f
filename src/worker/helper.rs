//! A helper: takes pieces of one job until there are none left.

use std::sync::atomic::Ordering;

use pgrx::pg_sys;

use crate::background_process;
use crate::jobs::piece::{Pieces, Turn};
use crate::jobs::run::job_title;
use crate::pg::process;
use crate::shared;
use crate::shared::Job;

background_process!(asn_inventory_helper_main, run);

fn run(argument: pg_sys::Datum) {
    process::take_signals();
    let Some(job) = shared::shared().and_then(|shared| shared.jobs.get(argument.value())) else { return };
    let pid = process::my_pid();
    let Some(place) =
        job.helpers.iter().find(|helper| helper.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    else {
        return;
    };
    process::vacate_at_exit(place);
    process::connect(c"asn_inventory backfill", pg_sys::Oid::from(job.database.load(Ordering::Acquire)));
    work(job);
}

fn work(job: &'static Job) {
    let mut pieces = Pieces::new(job);
    loop {
        process::serve_interrupts();
        process::busy(&job_title(job));
        let turn = pieces.turn();
        process::idle();
        if turn != Turn::More {
            return;
        }
    }
}
