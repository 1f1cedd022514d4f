//! What a job did, as its caller is told.

use std::sync::atomic::Ordering;

use pgrx::pg_sys::{self, Datum};

use crate::pg::call::Call;
use crate::shared::Job;

/// The `enrichment_summary` of a job; of one that nobody waited for, only its number.
pub fn summary(call: Call, id: i64, job: Option<&Job>) -> Datum {
    let mut values = [Datum::null(); 12];
    let mut nulls = [job.is_none(); 12];
    values[0] = Datum::from(id);
    nulls[0] = false;
    if let Some(job) = job {
        let numbers = job.counts.read().in_order();
        for (value, number) in values[1..10].iter_mut().zip(numbers) {
            *value = Datum::from(number as i64);
        }
        let elapsed = (job.ended_at.load(Ordering::Relaxed) - job.started_at.load(Ordering::Relaxed)).max(1);
        let mut interval = pg_sys::Interval { time: elapsed, day: 0, month: 0 };
        values[10] = Datum::from(&raw mut interval);
        values[11] = Datum::from((numbers[0] as f64 * 1e6 / elapsed as f64).to_bits());
        return call.row(&mut values, &mut nulls);
    }
    call.row(&mut values, &mut nulls)
}
