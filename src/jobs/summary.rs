//! The result of a job, for its caller.

use std::sync::atomic::Ordering;

use pgrx::pg_sys::{self, Datum};

use crate::pg::call::Call;
use crate::shared::Job;

/// What a job came to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The numbers of an `enrichment_summary`, in its order.
    pub numbers: [u64; 9],
    /// How long it took, µs.
    pub elapsed: i64,
}

/// The `enrichment_summary` of a job; of one without a waiting caller, only its number.
pub fn summary(call: Call, id: i64, job: Option<&Job>) -> Datum {
    let of = |job: &Job| Summary {
        numbers: job.counts.read().in_order(),
        elapsed: job.ended_at.load(Ordering::Relaxed) - job.started_at.load(Ordering::Relaxed),
    };
    row(call, id, job.map(of))
}

/// The same of numbers.
pub fn row(call: Call, id: i64, summary: Option<Summary>) -> Datum {
    let mut values = [Datum::null(); 12];
    let mut nulls = [summary.is_none(); 12];
    values[0] = Datum::from(id);
    nulls[0] = false;
    if let Some(Summary { numbers, elapsed }) = summary {
        for (value, number) in values[1..10].iter_mut().zip(numbers) {
            *value = Datum::from(number as i64);
        }
        let elapsed = elapsed.max(1);
        let mut interval = pg_sys::Interval { time: elapsed, day: 0, month: 0 };
        values[10] = Datum::from(&raw mut interval);
        values[11] = Datum::from((numbers[0] as f64 * 1e6 / elapsed as f64).to_bits());
        return call.row(&mut values, &mut nulls);
    }
    call.row(&mut values, &mut nulls)
}
