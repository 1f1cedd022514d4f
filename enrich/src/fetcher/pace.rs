//! So many a second, evenly.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;

/// Lets callers through one after the other, so many a second.
pub struct Pace {
    rate: u32,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// Whoever has it is next. In a crowd without a queue, all would wake for every place.
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
            limiter: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
            clock: DefaultClock::default(),
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
            tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn spent(rate: u32, count: u32) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let pace = Pace::new(rate);
            let started = Instant::now();
            for _ in 0..count {
                pace.place().await;
            }
            started.elapsed()
        })
    }

    #[test]
    fn so_many_take_so_long() {
        for (rate, count) in [(20, 12), (100, 60), (1000, 600)] {
            let expected = Duration::from_secs_f64(f64::from(count) / f64::from(rate));
            let spent = spent(rate, count);
            assert!(spent >= expected.mul_f64(0.9), "{rate}/s: {count} took only {spent:?}");
            // A busy machine may be later; faster it may never be.
            assert!(spent <= expected.mul_f64(1.5), "{rate}/s: {count} took {spent:?}");
        }
    }

    #[test]
    fn a_rate_of_nothing_still_goes_on() {
        assert!(spent(0, 1) < Duration::from_millis(500));
    }
}
