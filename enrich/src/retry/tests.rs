use super::*;
use proptest::prelude::*;

const SECOND: Micros = 1_000_000;

/// Sends a request, if it may go.
fn sends(breaker: &mut Breaker, at: Micros) -> bool {
    let admitted = breaker.admits(at);
    if admitted {
        breaker.sent(at);
    }
    admitted
}

fn tripped(at: Micros) -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..5 {
        assert!(sends(&mut breaker, at));
        breaker.failure(at);
    }
    breaker
}

#[test]
fn five_failures_in_a_row_open_it() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        for _ in 0..4 {
            breaker.failure(0);
        }
        assert_eq!(breaker.state(0), BreakerState::Closed);
        assert_eq!(breaker.retry_at(), None);
        breaker.success();
    }
    let mut breaker = tripped(0);
    assert_eq!(breaker.state(0), BreakerState::Open);
    assert!(!sends(&mut breaker, 30 * SECOND - 1));
    assert_eq!(breaker.retry_at(), Some(30 * SECOND));
}

#[test]
fn after_the_pause_one_probe_goes_out() {
    let mut breaker = tripped(0);
    assert_eq!(breaker.state(30 * SECOND), BreakerState::HalfOpen);
    assert!(sends(&mut breaker, 30 * SECOND));
    assert!(!sends(&mut breaker, 30 * SECOND));
    breaker.success();
    assert_eq!(breaker.state(30 * SECOND), BreakerState::Closed);
    assert!(sends(&mut breaker, 30 * SECOND));
    assert!(sends(&mut breaker, 30 * SECOND));
}

#[test]
fn a_failed_probe_doubles_the_pause_up_to_fifteen_minutes() {
    let mut breaker = tripped(0);
    let mut pauses = Vec::new();
    let mut now = 0;
    for _ in 0..7 {
        let until = breaker.retry_at().unwrap();
        pauses.push((until - now) / SECOND);
        now = until;
        assert!(sends(&mut breaker, now));
        breaker.failure(now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900]);
}

#[test]
fn late_failures_of_requests_under_way_do_not_prolong_the_pause() {
    let mut breaker = tripped(0);
    breaker.failure(10 * SECOND);
    assert_eq!(breaker.retry_at(), Some(30 * SECOND));
}

#[test]
fn one_failure_after_success_does_not_open_it() {
    let mut breaker = tripped(0);
    breaker.success();
    breaker.failure(SECOND);
    assert_eq!(breaker.state(SECOND), BreakerState::Closed);
}

#[test]
fn a_probe_that_nobody_reports_is_replaced() {
    let mut breaker = tripped(0);
    assert!(sends(&mut breaker, 30 * SECOND));
    assert!(!sends(&mut breaker, 89 * SECOND));
    assert!(sends(&mut breaker, 90 * SECOND));
}

#[test]
fn asking_whether_the_probe_may_go_does_not_use_it_up() {
    let mut breaker = tripped(0);
    assert!(!breaker.admits(29 * SECOND));
    assert!(breaker.admits(30 * SECOND));
    assert!(breaker.admits(30 * SECOND));
    assert!(sends(&mut breaker, 30 * SECOND));
    assert!(!breaker.admits(31 * SECOND));
}

#[test]
fn a_clock_that_jumps_back_does_not_keep_it_open() {
    let year = 365 * 86_400 * SECOND;
    let mut breaker = tripped(year);
    assert_eq!(breaker.state(0), BreakerState::HalfOpen);
    assert!(sends(&mut breaker, 0));
    assert!(!sends(&mut breaker, 0));
}

#[test]
fn states_have_words() {
    let words = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen].map(BreakerState::as_str);
    assert_eq!(words, ["closed", "open", "half_open"]);
}

proptest! {
    #[test]
    fn whatever_happened_a_request_may_go_out_within_the_longest_pause(
        events in prop::collection::vec((any::<i64>(), 0u8..3), 0..40), now in any::<i32>(),
    ) {
        let mut breaker = Breaker::default();
        for (at, event) in events {
            match event {
                0 => breaker.success(),
                1 => breaker.failure(at),
                _ => _ = sends(&mut breaker, at),
            }
        }
        let now = Micros::from(now);
        prop_assert!(breaker.admits(now) || breaker.admits(now + LONGEST_PAUSE));
    }
}
