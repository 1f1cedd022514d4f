//! `prometheus_metrics()`: figures for Prometheus, in its text exposition format. Values of shared memory and of the
//! files' manifest are read directly; the rest comes from SQL, in a few statements.
//!
//! Unknown values are omitted: a gap shows on a graph, a false 0 does not. So are those behind a lock. Nothing is written,
//! so a standby answers, too.

mod live;
mod page;
mod stored;

use page::Page;

use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::Schema;
use crate::{shared, sql_function};

sql_function!(
    /// `prometheus_metrics() → text`.
    prometheus_metrics,
    pg_finfo_prometheus_metrics,
    |call: Call| {
        let schema = Schema::of(call);
        let stored = stored::read(&schema);
        let slot = shared::here();
        let mut page = Page::of(stored.database.clone());
        live::worker(&mut page, slot);
        stored.queue(&mut page, slot.and_then(live::queue_age));
        stored.inventory(&mut page);
        live::counters(&mut page, slot);
        live::troubles(&mut page, slot);
        stored.sources(&mut page, slot.is_some());
        live::keys(&mut page, slot);
        live::latency(&mut page, slot);
        live::files(&mut page);
        live::lists(&mut page);
        live::jobs(&mut page);
        stored.info(&mut page);
        call.give(Some(call::text(&page.text())))
    }
);
