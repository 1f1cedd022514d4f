//! Waiting for something to become true, without blind sleeps: polls quickly at first, then every 50 ms, and after two
//! minutes panics with the awaited condition and the last value.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long everything may take before a test gives up. Long, for a loaded machine of two cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds.
///
/// # Panics
/// After [`PATIENCE`], with `what`.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_for(what, condition, |held| *held);
}

/// Waits until `probe` gives a state that is `good`, and returns that state.
///
/// # Panics
/// After [`PATIENCE`], with `what` and the last state.
pub fn wait_for<T: Debug>(what: &str, probe: impl FnMut() -> T, good: impl FnMut(&T) -> bool) -> T {
    match wait_within(PATIENCE, probe, good) {
        Ok(state) => state,
        Err(last) => panic!("waited {} s for {what}; the last state was {last:?}", PATIENCE.as_secs()),
    }
}

/// For a test that takes one day of UTC from its begin to its end: shortly before midnight, waits for the next one.
///
/// # Panics
/// With a clock before 1970, or one that stands.
pub fn wait_out_midnight() {
    const DAY: u64 = 86_400;
    const LONGEST: u64 = 180;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs();
    let today = now() / DAY;
    if DAY - now() % DAY <= LONGEST {
        let patience = Duration::from_secs(LONGEST) + PATIENCE;
        wait_within(patience, || now() / DAY, |day| *day != today).expect("the next day");
    }
}

/// As [`wait_for`], bounded by `patience`, and without a panic.
///
/// # Errors
/// The last state, when time is up.
pub fn wait_within<T>(
    patience: Duration,
    mut probe: impl FnMut() -> T,
    mut good: impl FnMut(&T) -> bool,
) -> Result<T, T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let state = probe();
        if good(&state) {
            return Ok(state);
        }
        if start.elapsed() > patience {
            return Err(state);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
