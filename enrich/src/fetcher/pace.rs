//! So many a second, evenly.

use std::num::NonZeroU32;
use std::time::Instant;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;

/// The clock that the runtime's timers go by, which tests can turn.
#[derive(Clone, Copy, Debug)]
struct Timers;

impl Clock for Timers {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Lets callers through one after the other, so many a second.
pub struct Pace {
    rate: u32,
    limiter: RateLimiter<NotKeyed, InMemoryState, Timers, NoOpMiddleware<Instant>>,
    /// Its holder is next. Without a queue, all tasks would wake for every place.
    turn: Mutex<()>,
}

impl Pace {
    /// `rate` a second, at least one.
    pub fn new(rate: u32) -> Pace {
        let per_second = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        // Timers wake up to a millisecond late. A place lost that way can be taken by the next one, within a
        // fiftieth of a second; more would be a burst.
        let burst = NonZeroU32::MIN.saturating_add(rate / 50);
        Pace {
            rate,
            limiter: RateLimiter::direct_with_clock(Quota::per_second(per_second).allow_burst(burst), Timers),
            turn: Mutex::new(()),
        }
    }

    /// As it was set.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Waits for the next place.
    pub async fn place(&self) {
        let _turn = self.turn.lock().await;
        while let Err(early) = self.limiter.check() {
            tokio::time::sleep(early.wait_time_from(Timers.now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long so many places take, by timers that do not wait.
    fn spent(rate: u32, count: u32) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let pace = Pace::new(rate);
            let started = Timers.now();
            for _ in 0..count {
                pace.place().await;
            }
            Timers.now() - started
        })
    }

    #[test]
    fn so_many_take_so_long() {
        for (rate, count) in [(1, 60), (20, 1200), (100, 6000), (1000, 60_000)] {
            let burst = Duration::from_secs_f64(f64::from(1 + rate / 50) / f64::from(rate));
            let (expected, spent) = (Duration::from_secs(60), spent(rate, count));
            assert!(spent + burst >= expected, "{rate}/s: {count} took only {spent:?}");
            assert!(spent <= expected + burst, "{rate}/s: {count} took {spent:?}");
        }
    }

    #[test]
    fn a_rate_of_nothing_still_goes_on() {
        assert_eq!(spent(0, 1), Duration::ZERO);
    }
}
