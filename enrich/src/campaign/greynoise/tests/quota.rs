//! The quota: spent, closed by the service, opened again by time or by a reload.

use super::*;

/// GreyNoise has said of so many addresses that the quota is spent, for an hour.
fn closed(addresses: u32) -> World {
    let mut world = World::greynoise();
    (1..=addresses).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.turn();
    (1..=addresses).for_each(|n| world.answer_scanner(&format!("198.51.0.{n}"), Err(quota(Some(3600)))));
    world.turn();
    world
}

#[test]
fn a_quota_is_spent_until_its_window_ends() {
    let mut world = World::greynoise();
    world.settings.greynoise_quota = world.ledger.used + 1;
    world.observe("198.51.0.1", 2);
    world.observe("198.51.0.2", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.turns(10);
    assert_eq!((world.asked.len(), world.standing(GreyNoise).state), (1, State::Quota));
    assert_eq!(world.standing(GreyNoise).retry_at, Some(Window::Day.end(NOON)));
    assert_eq!(*world.status("198.51.0.2", GreyNoise), Status::Due, "in silence");
    world.later(DAY as u64 / 2_000_000);
    world.turns(1);
    assert_eq!(world.scanners(), [v4("198.51.0.2")]);
}

#[test]
fn questions_that_never_left_cost_nothing_and_the_source_is_failing() {
    let mut world = World::greynoise();
    let used = world.ledger.used;
    world.settings.greynoise_quota = used + 2;
    world.observe("198.51.0.1", 2);
    world.observe("198.51.0.2", 1);
    let mut failures = 0;
    // Until the breaker opens, and then once each time it is half open.
    for _ in 0..1000 {
        world.turns(1);
        if let Some(ip) = world.scanners().first().map(ToString::to_string) {
            world.answer_scanner(&ip, Err(Failure::unsent("the network thread has ended")));
            failures += 1;
        }
        assert_ne!(world.standing(GreyNoise).state, State::Quota);
        world.later(60);
    }
    world.turns(1);
    assert!(failures > 10, "{failures}");
    assert!(world.ledger.used <= used + world.scanners().len() as u64, "{:?}", world.ledger);
    assert_eq!(world.standing(GreyNoise).state, State::Failing);
}

#[test]
fn a_ledger_that_cannot_be_read_leaves_a_half_open_source_its_try() {
    let mut world = World::greynoise();
    (1..=9).for_each(|n| world.observe(&format!("198.51.0.{n}"), 10 - n));
    world.turn();
    for ip in world.scanners() {
        world.answer_scanner(&ip.to_string(), Err(Failure::transient("the request was cancelled")));
    }
    world.faults.ledger = true;
    world.later(90);
    world.turns(3);
    assert!(world.scanners().is_empty());
    world.faults.ledger = false;
    world.later(3);
    world.turns(1);
    assert_eq!(world.scanners().len(), 1);
}

#[test]
fn who_waits_is_told_that_the_quota_is_spent() {
    let mut world = World::greynoise();
    world.settings.greynoise_quota = world.ledger.used;
    world.add(ip("198.51.0.1"), 1);
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
    world.turn();
    world.turn();
    assert_eq!((world.woken.as_slice(), world.asked.len()), (&[ticket(1)][..], 0));
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Quota(Window::Day.end(NOON)));
}

#[test]
fn a_429_closes_for_as_long_as_it_says() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Err(quota(Some(300))));
    assert!(matches!(world.news[..], [News::QuotaSpent(_)]));
    world.later(290);
    world.turn();
    assert_eq!((world.scanners().len(), world.standing(GreyNoise).state), (0, State::Quota));
    world.later(10);
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn a_429_that_does_not_say_for_how_long_closes_for_longer_each_time() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    for minutes in [1, 2, 4] {
        world.turn();
        world.answer_scanner("198.51.0.1", Err(quota(None)));
        world.later(minutes * 60 - 1);
        world.turn();
        assert!(world.scanners().is_empty(), "{minutes} minutes");
        world.later(1);
    }
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    // An answer ends the row of them.
    world.observe("198.51.0.2", 1);
    world.turn();
    world.answer_scanner("198.51.0.2", Err(quota(None)));
    world.later(60);
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.2")]);
}

#[test]
fn a_closure_ends_by_the_steady_clock_where_the_other_was_set_back() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Err(quota(Some(300))));
    world.later(300);
    world.now.wall -= DAY / 4;
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn a_reload_opens_a_closed_quota_for_one_question() {
    let mut world = closed(4);
    assert!(world.scanners().is_empty());
    world.reload(|_| {});
    world.turn();
    assert_eq!(world.scanners().len(), 1);
}

#[test]
fn a_reload_of_a_database_that_holds_a_row_is_tried_again() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Err(quota(Some(3600))));
    world.faults.ledger = true;
    world.reload(|_| {});
    world.turn();
    assert!(world.scanners().is_empty());
    world.faults.ledger = false;
    world.turns(1);
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn a_ledger_that_was_changed_by_hand_counts_after_a_reload() {
    let mut world = World::greynoise();
    world.ledger.used = world.settings.greynoise_quota;
    world.reload(|_| {});
    world.observe("198.51.0.1", 1);
    world.turn();
    assert!(world.scanners().is_empty() && world.standing(GreyNoise).state == State::Quota);
}

#[test]
fn a_window_of_another_length_has_the_ledger_read_before_anything_is_asked() {
    let mut world = World::greynoise();
    world.settings.greynoise_window = Window::Week;
    world.turn();
    world.reload(|_| {});
    assert!(world.campaign.ledger().is_some(), "the same window");
    // The file knows that those of the week may be of today: by the ledger of before, today has none.
    world.ledger.used = world.settings.greynoise_quota;
    world.reload(|settings| settings.greynoise_window = Window::Day);
    assert_eq!(world.campaign.ledger(), None);
    world.observe("198.51.0.1", 1);
    world.turn();
    assert!(world.scanners().is_empty() && world.standing(GreyNoise).state == State::Quota);
}

#[test]
fn a_reload_writes_nothing_over_a_change_by_hand() {
    let mut world = closed(2);
    (world.ledger.used, world.ledger.closed_until) = (world.settings.greynoise_quota, None);
    world.reload(|_| {});
    world.turns(2);
    assert_eq!((world.ledger.used, world.scanners().len()), (world.settings.greynoise_quota, 0));
    world.ledger.used = 5;
    world.reload(|_| {});
    world.turns(2);
    assert_eq!((world.ledger.used, world.scanners()), (6, vec![v4("198.51.0.1")]));
}

#[test]
fn a_row_that_somebody_holds_keeps_the_quota_from_nothing_when_it_opens() {
    let mut world = closed(3);
    world.faults.locked = Some(ip("198.51.0.1"));
    world.reload(|_| {});
    world.turn();
    assert!(world.ledger.closed_until.is_none());
    assert_eq!(world.scanners(), [v4("198.51.0.2")], "one, to see whether it is open");
    world.answer_scanner("198.51.0.2", Ok(seen()));
    world.turns(1);
    world.answer_scanner("198.51.0.3", Ok(seen()));
    assert!(matches!(world.status("198.51.0.1", GreyNoise), Status::Quota(_)));
    world.faults = Faults::default();
    world.turns(3);
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn a_row_that_could_not_be_made_due_waits_on_when_the_quota_is_spent_again() {
    let mut world = closed(2);
    world.faults.locked = Some(ip("198.51.0.1"));
    world.reload(|_| {});
    world.turn();
    world.answer_scanner("198.51.0.2", Err(quota(Some(3600))));
    world.faults = Faults::default();
    world.turns(10);
    assert!(matches!(world.status("198.51.0.1", GreyNoise), Status::Quota(_)));
    world.reload(|_| {});
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn a_larger_quota_is_there_for_rows_that_wait() {
    let mut world = World::greynoise();
    world.settings.greynoise_quota = world.ledger.used;
    world.add(ip("198.51.0.1"), 1);
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
    world.turns(2);
    assert!(matches!(world.status("198.51.0.1", GreyNoise), Status::Quota(_)));
    world.reload(|settings| settings.greynoise_quota += 1);
    world.turns(1);
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn an_opening_that_fails_is_tried_again() {
    let mut world = closed(2);
    world.faults.reopening = true;
    world.reload(|_| {});
    world.turn();
    assert!(matches!(world.news[..], [News::QuotaSpent(_), News::NotReopened(_)]));
    world.faults = Faults::default();
    world.turn();
    assert_eq!((world.scanners().len(), world.reopened), (0, 0), "not at each turn");
    world.turns(2);
    assert_eq!((world.scanners(), world.reopened), (vec![v4("198.51.0.1")], 1));
}

#[test]
fn rows_that_are_held_are_tried_again_after_a_failure_too() {
    let mut world = closed(2);
    world.faults.locked = Some(ip("198.51.0.1"));
    world.reload(|_| {});
    world.turn();
    world.answer_scanner("198.51.0.2", Ok(seen()));
    world.faults = Faults { reopening: true, ..Faults::default() };
    world.turns(2);
    assert_eq!((world.scanners().len(), world.reopened), (0, 0));
    world.faults = Faults::default();
    world.turns(3);
    assert_eq!((world.scanners(), world.reopened), (vec![v4("198.51.0.1")], 1));
}

#[test]
fn nothing_is_left_to_be_made_due_once_the_quota_is_spent_again() {
    let mut world = closed(2);
    world.faults.locked = Some(ip("198.51.0.1"));
    world.reload(|_| {});
    world.turn();
    assert_eq!(world.reopened, 0);
    world.answer_scanner("198.51.0.2", Err(quota(Some(3600))));
    assert_eq!(world.reopened, 1);
}

#[test]
fn a_row_that_cannot_be_made_due_fails_until_an_opening_writes_it() {
    let mut world = closed(3);
    world.faults = Faults { broken: Some(ip("198.51.0.1")), locked: Some(ip("198.51.0.2")), ..Faults::default() };
    world.reload(|_| {});
    world.turn();
    assert_eq!((world.scanners(), world.reopened), (vec![v4("198.51.0.3")], 0));
    world.answer_scanner("198.51.0.3", Ok(seen()));
    // Free, the other one is made due; this one still is not.
    world.faults.locked = None;
    world.turns(3);
    assert_eq!((world.scanners(), world.reopened), (vec![v4("198.51.0.2")], 0));
    world.answer_scanner("198.51.0.2", Ok(seen()));
    world.reload(|_| {});
    world.turns(3);
    assert_eq!(world.reopened, 0, "another opening that did not write it");
    world.faults = Faults::default();
    world.turns(3);
    assert_eq!((world.scanners().len(), world.reopened), (0, 0), "it waits for the next opening");
    world.reload(|_| {});
    world.turns(1);
    assert_eq!((world.scanners(), world.reopened), (vec![v4("198.51.0.1")], 1));
}

#[test]
fn a_row_that_cannot_be_made_due_is_tried_again_without_a_reload() {
    let mut world = closed(2);
    world.faults.broken = Some(ip("198.51.0.1"));
    world.reload(|_| {});
    world.turn();
    world.answer_scanner("198.51.0.2", Ok(seen()));
    world.faults = Faults::default();
    world.later(3500);
    world.turns(1);
    assert_eq!((world.scanners().len(), world.reopened), (0, 0));
    world.later(100);
    world.turns(1);
    assert_eq!((world.scanners(), world.reopened), (vec![v4("198.51.0.1")], 1));
}

#[test]
fn a_row_that_cannot_be_made_due_is_not_to_be_once_the_quota_is_spent_again() {
    let mut world = closed(2);
    world.faults.broken = Some(ip("198.51.0.1"));
    world.reload(|_| {});
    world.turn();
    assert_eq!(world.reopened, 0);
    world.answer_scanner("198.51.0.2", Err(quota(Some(3600))));
    assert_eq!(world.reopened, 1);
}

#[test]
fn an_opening_that_failed_is_over_where_nothing_is_closed_any_more() {
    let mut world = closed(1);
    world.faults.reopening = true;
    world.reload(|_| {});
    world.turn();
    assert_eq!(world.reopened, 0);
    // By hand, and all of the quota is spent.
    (world.ledger.used, world.ledger.closed_until) = (world.settings.greynoise_quota, None);
    world.reload(|_| {});
    world.turns(1);
    assert_eq!((world.scanners().len(), world.reopened), (0, 1));
}

#[test]
fn a_ledger_that_cannot_be_written_is_news() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    [Step::Prepare, Step::Claim].into_iter().for_each(|step| world.tell(Event::Turn(step)));
    world.event(Event::Turn(Step::Ask));
    let Some(Effect::KeepLedger { pays, .. }) = world.effects.pop_front() else { panic!("it is to be paid") };
    let refused = Some(Refusal { lock: false, message: "no space left".to_owned() });
    world.tell(Event::LedgerKept { pays, refused });
    assert_eq!(world.news, [News::LedgerUnwritable("no space left".to_owned())]);
}
