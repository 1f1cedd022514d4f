//! How Team Cymru stands, for people.

use std::time::Duration;

use super::super::given::{BULK_NEVER, Given};
use super::super::standing::{Standing, State, Way, WayStanding};
use super::state::Cymru;
use crate::retry::BreakerState;

/// How long ago the last answer may be before a single failure makes the source fail.
const QUIET: Duration = Duration::from_secs(60);

impl Cymru {
    /// How it stands.
    pub fn standing(&self, given: &Given<'_>) -> Standing {
        let failing = self.is_closed(given) || self.is_silent(given);
        let state = if !given.settings.cymru {
            State::Off
        } else if failing {
            State::Failing
        } else {
            State::Ok
        };
        let in_flight = self.dns_out.len() + self.names.in_flight() + usize::from(self.bulk_out);
        let retry_at = if failing { self.dns.retry_at().or(self.bulk.retry_at()) } else { None };
        Standing { state, in_flight, retry_at }
    }

    /// How one way to it stands.
    pub fn way_standing(&self, way: Way, given: &Given<'_>) -> WayStanding {
        let (breaker, used) = match way {
            Way::Dns => (&self.dns, true),
            // A minimum out of reach means that bulk sessions are not used, so their failures are not reported.
            Way::Bulk => (&self.bulk, given.settings.bulk_min < BULK_NEVER),
        };
        let failing = given.settings.cymru && used && breaker.state(given.now.wall) != BreakerState::Closed;
        WayStanding { failing, retry_at: breaker.retry_at() }
    }

    /// Whether the last question and the one before got no answer, by either way: one bad record among good ones does
    /// not make it fail.
    fn is_silent(&self, given: &Given<'_>) -> bool {
        match (self.answered_at, self.missed_at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(answered), Some(missed)) => {
                let fails = || self.dns.state(given.now.wall) != BreakerState::Closed;
                missed > answered && (missed - answered > QUIET || fails())
            }
        }
    }
}
