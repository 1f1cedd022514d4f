//! How Team Cymru stands, in the log and in shared memory.

use enrich::failure::Failure;
use enrich::retry::{Breaker, BreakerState};
use pgrx::pg_sys;

use super::Cymru;
use crate::pg::time;
use crate::settings::Network as Settings;
use crate::shared;
use crate::shared::source::{Shown, Way, state, way};

impl Cymru {
    /// Shows how the source stands.
    pub fn show(&self, database: pg_sys::Oid, settings: &Settings, now: i64) {
        let Some(shown) = shown(database) else { return };
        let failing = self.is_closed(now) || self.is_silent(now);
        let state = if !settings.cymru {
            state::OFF
        } else if failing {
            state::FAILING
        } else {
            state::OK
        };
        let in_flight = self.dns_out.len() + self.names.in_flight() + usize::from(self.bulk_out);
        let retry_at = if failing { self.dns.retry_at().or(self.bulk.retry_at()) } else { None };
        shown.stand(state, in_flight, retry_at);
        // Who has set its minimum out of reach does without bulk sessions, and need not be told that they fail.
        let by_bulk = settings.bulk_min < i32::MAX as usize;
        for (at, breaker, used) in [(way::DNS, &self.dns, true), (way::BULK, &self.bulk, by_bulk)] {
            if let Some(way) = way_of(at) {
                let failing = settings.cymru && used && breaker.state(now) != BreakerState::Closed;
                way.stand(failing, breaker.retry_at());
            }
        }
    }
}

impl Cymru {
    /// Whether what it was last asked got no answer, neither way, and what it was asked before neither: one bad record
    /// among good ones does not make it fail.
    fn is_silent(&self, now: i64) -> bool {
        match (self.answered_at, self.missed_at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(answered), Some(missed)) => {
                missed > answered && (missed - answered > QUIET || self.dns.state(now) != BreakerState::Closed)
            }
        }
    }
}

/// How long ago the last answer may be (microseconds) before a single failure makes the source fail.
const QUIET: i64 = 60_000_000;

/// Success; the log learns of it if it knew of a failure.
pub(super) fn heard(breaker: &mut Breaker, what: &str, now: i64) {
    if breaker.state(now) != BreakerState::Closed {
        pgrx::log!("asn_inventory: {what} again");
    }
    breaker.success();
}

/// Failure; the log learns of it when there were so many that nothing is asked for a while, once an outage.
pub(super) fn missed(breaker: &mut Breaker, at: usize, what: &str, reason: &str, now: i64) {
    if let Some(way) = way_of(at) {
        way.note(reason);
    }
    let before = breaker.state(now);
    breaker.failure(now);
    if before == BreakerState::Closed
        && let Some(at) = breaker.retry_at()
    {
        pgrx::log!("asn_inventory: {what}: {reason}; the next attempt is at {}", time::text(at));
    }
}

fn shown(database: pg_sys::Oid) -> Option<&'static Shown> {
    Some(&shared::shared()?.database(database)?.sources[0])
}

fn way_of(at: usize) -> Option<&'static Way> {
    shared::shared()?.database(shared::my_database())?.ways.get(at)
}

/// Counts an outcome.
pub(super) fn count(failure: Option<&Failure>, now: i64) {
    if let Some(shown) = shown(shared::my_database()) {
        shown.outcome(failure, time::from_unix_us(now));
    }
}
