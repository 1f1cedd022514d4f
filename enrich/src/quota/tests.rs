use super::*;
use proptest::prelude::*;

/// Wednesday, 2025-01-08 00:00 UTC.
const WEDNESDAY: Micros = 1_736_294_400_000_000;
const MONDAY: Micros = WEDNESDAY - 2 * DAY;
const HOUR: Micros = DAY / 24;
const MINUTE: Micros = HOUR / 60;

fn used(used: u64, at: Micros, window: Window) -> Ledger {
    Ledger { window_start: window.start(at), used, closed_until: None }
}

#[test]
fn days_begin_at_midnight_and_weeks_on_monday() {
    let noon = WEDNESDAY + 12 * HOUR;
    assert_eq!(Window::Day.start(noon), WEDNESDAY);
    assert_eq!(Window::Day.end(noon), WEDNESDAY + DAY);
    assert_eq!(Window::Day.start(WEDNESDAY), WEDNESDAY);
    assert_eq!(Window::Day.start(WEDNESDAY - 1), WEDNESDAY - DAY);
    assert_eq!(Window::Week.start(noon), MONDAY);
    assert_eq!(Window::Week.start(MONDAY), MONDAY);
    assert_eq!(Window::Week.start(MONDAY - 1), MONDAY - 7 * DAY);
    assert_eq!(Window::Week.end(noon), MONDAY + 7 * DAY);
}

#[test]
fn windows_have_names() {
    for window in [Window::Day, Window::Week] {
        assert_eq!(window.as_str().parse(), Ok(window));
    }
    assert_eq!("month".parse::<Window>(), Err(UnknownWindow));
}

#[test]
fn what_was_used_today_counts_and_what_was_used_yesterday_does_not() {
    let now = WEDNESDAY + 9 * HOUR;
    assert_eq!(used(10_000, now, Window::Day).left(10_000, now, Window::Day), 0);
    assert_eq!(used(10_000, now - DAY, Window::Day).left(10_000, now, Window::Day), 10_000);
    assert_eq!(used(50, now - DAY, Window::Week).left(50, now, Window::Week), 0);
    assert_eq!(used(50, now - 7 * DAY, Window::Week).left(50, now, Window::Week), 50);
}

#[test]
fn takes_what_is_left() {
    let now = WEDNESDAY;
    let mut ledger = Ledger::default();
    assert_eq!(ledger.take(7, 10, now, Window::Day), 7);
    assert_eq!(ledger.take(7, 10, now, Window::Day), 3);
    assert_eq!(ledger.take(7, 10, now, Window::Day), 0);
    assert_eq!(ledger, used(10, now, Window::Day));
    assert_eq!(ledger.open_at(10, now, Window::Day), WEDNESDAY + DAY);
    assert_eq!(ledger.open_at(11, now, Window::Day), now);
    // A limit that was lowered.
    assert_eq!(ledger.left(5, now, Window::Day), 0);
}

#[test]
fn a_429_closes_for_as_long_as_it_says() {
    let mut ledger = used(3, WEDNESDAY, Window::Day);
    ledger.close(Some(Duration::from_secs(60)), 0, WEDNESDAY, Window::Day);
    assert_eq!(ledger.left(10, WEDNESDAY + MINUTE - 1, Window::Day), 0);
    assert_eq!(ledger.take(1, 10, WEDNESDAY + MINUTE - 1, Window::Day), 0);
    assert_eq!(ledger.open_at(10, WEDNESDAY, Window::Day), WEDNESDAY + MINUTE);
    assert_eq!(ledger.left(10, WEDNESDAY + MINUTE, Window::Day), 7);
}

#[test]
fn a_429_that_says_nothing_closes_for_a_minute_and_then_for_longer_until_the_window_ends() {
    let mut ledger = used(3, WEDNESDAY, Window::Day);
    let mut now = WEDNESDAY;
    for (before, minutes) in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].into_iter().enumerate() {
        ledger.close(None, before as u32, now, Window::Day);
        assert_eq!(ledger.closed_until, Some(now + minutes * MINUTE));
        // Others that were under way say the same.
        ledger.close(None, before as u32 + 1, now, Window::Day);
        assert_eq!(ledger.closed_until, Some(now + minutes * MINUTE));
        now += minutes * MINUTE;
        assert_eq!(ledger.left(10, now, Window::Day), 7);
    }
    ledger.close(None, 10, now, Window::Day);
    assert_eq!(ledger.closed_until, Some(WEDNESDAY + DAY), "that is what a day's limit comes to");
    // A moment before the window ends, it is not asked at once.
    let mut ledger = used(3, WEDNESDAY, Window::Day);
    ledger.close(None, u32::MAX, WEDNESDAY + DAY - 1, Window::Day);
    assert_eq!(ledger.closed_until, Some(WEDNESDAY + DAY - 1 + 1_000_000));
}

#[test]
fn who_asks_for_it_has_a_closed_source_asked_again_now() {
    let mut ledger = used(3, WEDNESDAY, Window::Day);
    assert!(!ledger.reopen());
    ledger.close(Some(Duration::from_secs(86_400)), 0, WEDNESDAY, Window::Day);
    assert!(ledger.reopen());
    assert_eq!((ledger.left(10, WEDNESDAY, Window::Day), ledger.left(3, WEDNESDAY, Window::Day)), (7, 0));
}

#[test]
fn a_closure_may_outlast_the_window_and_is_not_shortened() {
    let mut ledger = Ledger::default();
    ledger.close(Some(Duration::from_secs(3 * 86_400)), 0, WEDNESDAY, Window::Day);
    ledger.close(Some(Duration::from_secs(60)), 0, WEDNESDAY, Window::Day);
    assert_eq!(ledger.left(10, WEDNESDAY + 2 * DAY, Window::Day), 0);
    assert_eq!(ledger.left(10, WEDNESDAY + 3 * DAY, Window::Day), 10);
}

#[test]
fn no_wait_at_all_is_still_a_second() {
    let mut ledger = Ledger::default();
    ledger.close(Some(Duration::ZERO), 0, WEDNESDAY, Window::Day);
    assert_eq!(ledger.closed_until, Some(WEDNESDAY + 1_000_000));
}

#[test]
fn a_clock_set_back_over_midnight_does_not_give_the_quota_twice() {
    let mut ledger = Ledger::default();
    let window = Window::Day;
    assert_eq!(ledger.take(10, 10, WEDNESDAY + MINUTE, window), 10);
    assert_eq!(ledger.take(10, 10, WEDNESDAY - MINUTE, window), 0);
    assert_eq!(ledger.reset_at(WEDNESDAY - MINUTE, window), WEDNESDAY + DAY);
    assert_eq!(ledger.take(10, 10, WEDNESDAY + 2 * MINUTE, window), 0);
    assert_eq!(ledger.take(10, 10, WEDNESDAY + DAY, window), 10);
}

#[test]
fn a_clock_that_was_a_year_ahead_does_not_close_for_a_year() {
    let mut ledger = Ledger::default();
    let ahead = WEDNESDAY + 365 * DAY;
    ledger.take(10, 10, ahead, Window::Day);
    ledger.close(Some(Duration::from_secs(86_400)), 0, ahead, Window::Day);
    assert_eq!(ledger.open_at(10, WEDNESDAY, Window::Day), WEDNESDAY + DAY);
    assert_eq!(ledger.left(10, WEDNESDAY + HOUR, Window::Day), 0);
    ledger.roll(WEDNESDAY, Window::Day);
    assert_eq!(ledger.left(10, WEDNESDAY + DAY, Window::Day), 10);
}

#[test]
fn a_changed_window_keeps_what_was_used_until_the_new_one_ends() {
    let mut ledger = used(8, WEDNESDAY, Window::Day);
    assert_eq!(ledger.left(10, WEDNESDAY, Window::Week), 2);
    assert_eq!(ledger.reset_at(WEDNESDAY, Window::Week), MONDAY + 7 * DAY);
    ledger.roll(MONDAY + 7 * DAY, Window::Week);
    assert_eq!(ledger.used, 0);
}

#[test]
fn a_window_that_is_changed_in_between_is_read_by_the_one_that_holds_now() {
    let now = WEDNESDAY + 9 * HOUR;
    // A day's quota is spent. As a week's quota, only today's spending is known, and it counts until Monday.
    let mut ledger = Ledger::default();
    assert_eq!(ledger.take(10, 10, now, Window::Day), 10);
    assert_eq!(ledger.left(50, now, Window::Week), 40);
    assert_eq!(ledger.take(50, 50, now, Window::Week), 40);
    assert_eq!(ledger.open_at(50, now, Window::Week), MONDAY + 7 * DAY);
    assert_eq!(ledger.take(50, 50, now + 3 * DAY, Window::Week), 0);
    assert_eq!(ledger.take(50, 50, MONDAY + 7 * DAY, Window::Week), 50);
    // Back on the day when it was all spent: the week began today, so that it is today's as well.
    assert_eq!(ledger.left(10, MONDAY + 7 * DAY + HOUR, Window::Day), 0);
    assert_eq!(ledger.left(10, MONDAY + 8 * DAY, Window::Day), 10);
}

#[test]
fn a_limit_that_is_lowered_below_what_was_used_waits_for_the_window_and_one_that_is_raised_does_not() {
    let now = WEDNESDAY + 9 * HOUR;
    let mut ledger = used(8, now, Window::Day);
    for limit in [0, 1, 8] {
        assert_eq!((ledger.left(limit, now, Window::Day), ledger.take(5, limit, now, Window::Day)), (0, 0), "{limit}");
        assert_eq!(ledger.open_at(limit, now, Window::Day), WEDNESDAY + DAY, "{limit}");
    }
    assert_eq!(ledger.used, 8, "nothing is forgotten");
    assert_eq!(ledger.take(5, 10, now, Window::Day), 2);
    assert_eq!(ledger.left(3, WEDNESDAY + DAY, Window::Day), 3);
}

#[test]
fn a_clock_that_jumps_ahead_and_comes_back_gives_no_quota_twice() {
    for ahead in [DAY, 2 * DAY, 30 * DAY, 3650 * DAY] {
        for window in [Window::Day, Window::Week] {
            let now = WEDNESDAY + 9 * HOUR;
            let mut ledger = Ledger::default();
            assert_eq!(ledger.take(6, 10, now, window), 6);
            ledger.take(10, 10, now + ahead, window);
            let after = ledger.take(10, 10, now, window);
            // Spending under the wrong clock counts: as long as it cannot be distinguished, nothing is given back.
            assert!(after == 0 && ledger.used <= 10, "{ahead} {window}");
            assert_eq!(ledger.left(10, now, window), 0, "{ahead} {window}");
            // And it is over with the window that follows at the latest.
            let later = window.end(window.end(now));
            assert_eq!(ledger.left(10, later, window), 10, "{ahead} {window}");
        }
    }
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![Just(Window::Day), Just(Window::Week)]
}

proptest! {
    #[test]
    fn no_window_gives_more_than_its_limit_while_the_clock_is_at_most_a_window_behind_itself(
        window in window(),
        limit in 0u64..50,
        steps in prop::collection::vec((0..2 * DAY, 0..=DAY, 0u64..20), 1..80),
    ) {
        let (mut ledger, mut furthest) = (Ledger::default(), WEDNESDAY);
        let mut given = std::collections::HashMap::new();
        for (forward, behind, want) in steps {
            furthest += forward;
            let now = furthest - behind;
            let got = ledger.take(want, limit, now, window);
            let sum = given.entry(ledger.window_start).or_insert(0);
            *sum += got;
            prop_assert!(*sum <= limit);
        }
    }

    #[test]
    fn a_ledger_left_alone_is_open_again_within_two_windows_or_the_longest_closure(
        window in window(), window_start: Micros, used: u64, closed_until: Option<Micros>, now in 0..WEDNESDAY * 2,
    ) {
        let mut ledger = Ledger { window_start, used, closed_until };
        ledger.roll(now, window);
        let open = ledger.open_at(1, now, window);
        prop_assert!(open >= now);
        prop_assert!(open <= after(now, MAX_CLOSED));
        prop_assert_eq!(ledger.left(1, open, window), 1);
    }

    #[test]
    fn no_value_panics(
        window in window(), window_start: Micros, used: u64, closed_until: Option<Micros>,
        now: Micros, n: u64, limit: u64, wait: Option<u64>,
    ) {
        let mut ledger = Ledger { window_start, used, closed_until };
        prop_assert!(ledger.take(n, limit, now, window) <= n.min(limit));
        ledger.close(wait.map(Duration::from_secs), 0, now, window);
        ledger.open_at(limit, now, window);
    }

    #[test]
    fn rolling_twice_is_rolling_once(
        window in window(), window_start: Micros, used: u64, closed_until: Option<Micros>, now: Micros,
    ) {
        let mut once = Ledger { window_start, used, closed_until };
        once.roll(now, window);
        let mut twice = once;
        twice.roll(now, window);
        prop_assert_eq!(once, twice);
    }
}

#[test]
fn what_an_ended_window_has_paid_for_is_not_given_back_to_the_next() {
    let today = 20_000 * DAY;
    let mut ledger = Ledger::default();
    assert_eq!(ledger.take(3, 10, today, Window::Day), 3);
    let paid_in = ledger.window_start;
    ledger.give_back(1, paid_in, today + 1, Window::Day);
    assert_eq!(ledger.used, 2);
    let tomorrow = today + DAY;
    assert_eq!(ledger.take(1, 10, tomorrow, Window::Day), 1);
    ledger.give_back(1, paid_in, tomorrow, Window::Day);
    assert_eq!(ledger.used, 1, "tomorrow was charged for one, and it was asked");
}
