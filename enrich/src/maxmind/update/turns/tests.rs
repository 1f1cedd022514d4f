use super::*;
use crate::time::{DAY, SECOND};

const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
/// Noon of a Thursday.
const NOON: Micros = 2_930 * 7 * DAY + DAY / 2;

/// That look on Wednesdays.
fn weekly(due: Due, now: Micros) -> Turns {
    let mut turns = Turns::default();
    turns.follow(Schedule::parse("0 4 * * wed").ok(), due, now);
    turns
}

fn again(at: Micros) -> Due {
    Due { again: Some(at), own: None }
}

/// When the next turn of all is.
#[track_caller]
fn next(turns: &Turns) -> Micros {
    let at = turns.next_at.expect("a turn");
    assert_eq!((turns.due(at - 1), turns.due(at)), (None, Some(Turn::All)));
    at
}

#[test]
fn a_failure_does_not_wait_for_the_schedule() {
    let mut turns = weekly(Due::default(), NOON);
    assert!(next(&turns) > NOON + 5 * DAY);
    turns.try_again(NOON + HOUR, NOON);
    assert_eq!(next(&turns), NOON + HOUR);
    turns.try_again(NOON + 2 * HOUR, NOON);
    assert_eq!(next(&turns), NOON + HOUR, "the first of them");
    turns.try_again(NOON, NOON);
    assert_eq!(next(&turns), NOON + 10 * MINUTE, "and not at once");
    assert_eq!(next(&weekly(again(NOON + HOUR), NOON)), NOON + HOUR, "nor one of before the start");
}

#[test]
fn without_a_schedule_nothing_is_tried_again() {
    let mut turns = Turns::default();
    turns.follow(None, again(NOON), NOON);
    turns.try_again(NOON, NOON);
    turns.try_soon(true, NOON);
    assert_eq!(turns.due(NOON + 400 * DAY), None);
}

#[test]
fn a_clock_that_was_set_back_keeps_the_next_try_of_what_failed() {
    let failed = NOON + HOUR;
    // Also where it was planned before the failure, and the clock now shows a time in between.
    for back in [failed - 10 * MINUTE, NOON - HOUR, NOON - DAY] {
        let mut turns = weekly(Due::default(), NOON);
        turns.try_again(failed + 10 * MINUTE, failed);
        assert_eq!((turns.set_back(failed), turns.set_back(back)), (None, Some(Turn::All)), "{back}");
        turns.plan_anew(again(failed + 10 * MINUTE), back);
        assert_eq!((turns.set_back(back), next(&turns)), (None, failed + 10 * MINUTE), "the ledger's time");
        // A try that the ledger does not know of.
        turns.try_soon(true, back);
        assert_eq!(next(&turns), back + MINUTE);
    }
}

#[test]
fn sources_with_schedules_of_their_own_have_turns_of_their_own() {
    let own = |at| Due { again: None, own: Some(at) };
    let mut turns = weekly(own(NOON), NOON);
    assert_eq!(turns.due(NOON + MINUTE - 1), None, "not at once after a start");
    assert_eq!(turns.due(NOON + MINUTE), Some(Turn::Own));
    let wednesday = turns.next_at;
    turns.plan_own(Some(NOON + HOUR), NOON + MINUTE);
    assert_eq!((turns.due(NOON + HOUR), turns.next_at), (Some(Turn::Own), wednesday));
    assert_eq!(turns.set_back(NOON), Some(Turn::Own), "planned by another clock");
    turns.put_off_own(NOON + 2 * HOUR);
    assert_eq!((turns.due(NOON + HOUR), turns.due(NOON + 2 * HOUR)), (None, Some(Turn::Own)));
    turns.try_soon(false, NOON + HOUR);
    assert_eq!(turns.own_at, Some(NOON + 2 * HOUR), "they failed by themselves");
    turns.try_soon(true, NOON + HOUR);
    assert_eq!(turns.own_at, Some(NOON + HOUR + MINUTE));
    assert_eq!(turns.due(NOON + 8 * DAY), Some(Turn::All), "everybody");
}
