//! The key: proved by one question, refused, replaced, on its way; the quota of each.

use super::*;

#[test]
fn one_question_proves_a_key_before_more_are_asked() {
    let mut world = World::new();
    world.settings.cymru = false;
    (1..=20).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.turn();
    assert_eq!(world.scanners().len(), 1);
    world.answer_scanner("198.51.0.1", Ok(Verdict::NotSeen));
    world.turn();
    assert_eq!(world.scanners().len(), 2 * world.settings.greynoise_at_once);
    assert_eq!(world.standing(GreyNoise).in_flight, 2 * world.settings.greynoise_at_once);
}

#[test]
fn a_refused_key_is_said_once_and_nothing_is_asked_with_it() {
    let mut world = World::greynoise();
    let unauthorized = || Err(Failure::new(FailureKind::Unauthorized, "401"));
    world.observe("198.51.0.1", 2);
    world.observe("198.51.0.2", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", unauthorized());
    world.answer_scanner("198.51.0.2", unauthorized());
    world.turns(5);
    assert_eq!(world.news, [News::KeyRefused("401".to_owned())]);
    assert_eq!((world.scanners().len(), world.standing(GreyNoise).state), (0, State::Refused));
    world.reload(|_| {});
    world.turn();
    assert_eq!(world.scanners().len(), 1, "a reload tries it once more");
}

#[test]
fn what_is_said_of_the_key_of_before_says_nothing_of_the_new_one() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.key = key("two");
    world.tell(Event::KeyRead { other: true });
    world.answer_scanner("198.51.0.1", Err(Failure::new(FailureKind::Unauthorized, "401")));
    assert!(!world.key.refused && world.news.is_empty());
}

#[test]
fn nothing_is_asked_while_a_key_is_on_its_way() {
    let mut world = World::greynoise();
    world.key.coming = true;
    world.observe("198.51.0.1", 1);
    world.turns(2);
    assert!(world.asked.is_empty());
    world.key = Key::default();
    world.tell(Event::KeyRead { other: true });
    world.turns(2);
    assert_eq!((world.asked.len(), world.standing(GreyNoise).state), (0, State::NoKey));
    // One that is there and cannot be read is not replaced by nobody's quota.
    world.key.unreadable = true;
    world.reload(|settings| settings.greynoise = Switch::On);
    world.turns(2);
    assert_eq!((world.asked.len(), world.standing(GreyNoise).state), (0, State::NoKey));
    world.key.unreadable = false;
    world.tell(Event::KeyRead { other: true });
    world.turn();
    assert_eq!(world.asked.len(), 1, "without a key");
}

/// Another key is in its place.
fn replace_key(world: &mut World, name: &str) {
    world.key = key(name);
    world.tell(Event::KeyRead { other: true });
}

#[test]
fn a_new_key_begins_with_what_was_spent_with_it() {
    let mut world = World::greynoise();
    world.settings.greynoise_quota = world.ledger.used + 1;
    for n in 1..=4 {
        world.observe(&format!("198.51.0.{n}"), 10 - n);
    }
    world.tell(Event::Questions(vec![(ip("198.51.0.4"), ticket(1))]));
    world.turn();
    world.answer_scanner("198.51.0.4", Ok(seen()));
    world.tell(Event::Questions(vec![(ip("198.51.0.3"), ticket(2))]));
    world.turns(2);
    assert!(matches!(world.status("198.51.0.3", GreyNoise), Status::Quota(_)));
    assert_eq!((world.standing(GreyNoise).state, world.ledger.used), (State::Quota, 2));
    replace_key(&mut world, "two");
    world.turn();
    assert_eq!((world.standing(GreyNoise).state, world.ledger.used), (State::Ok, 1));
    assert_eq!(world.scanners(), [v4("198.51.0.1")], "one question proves it");
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.turns(1);
    // What waited for the other one's quota waits no longer.
    assert_eq!((world.scanners(), world.ledger.used), (vec![v4("198.51.0.2")], 2));
    assert_eq!(*world.status("198.51.0.3", GreyNoise), Status::Due);
    world.answer_scanner("198.51.0.2", Ok(seen()));
    // Set back, the first one is spent still, and after a kill as well.
    for _ in 0..2 {
        replace_key(&mut world, "one");
        world.turns(2);
        assert_eq!((world.scanners().len(), world.ledger.used, world.standing(GreyNoise).state), (0, 2, State::Quota));
        world.kill();
    }
    world.later(DAY as u64 / 1_000_000);
    world.turns(1);
    assert_eq!(world.scanners(), [v4("198.51.0.3")]);
}

#[test]
fn a_key_that_is_gone_for_a_while_resets_nothing() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Err(quota(Some(3600))));
    let (used, closed) = (world.ledger.used, world.ledger.closed_until);
    let before = world.key;
    for away in [Key::default(), Key { coming: true, ..Key::default() }, Key { coming: true, ..before }] {
        world.key = away;
        world.tell(Event::KeyRead { other: away.mark.is_none() });
        world.turns(2);
        world.key = before;
        world.tell(Event::KeyRead { other: true });
        world.turns(2);
        assert_eq!((world.ledger.used, world.ledger.closed_until, world.scanners().len()), (used, closed, 0));
    }
    assert_eq!(world.standing(GreyNoise).state, State::Quota);
}

#[test]
fn another_server_is_another_account() {
    let mut world = World::greynoise();
    world.settings.greynoise_quota = world.ledger.used;
    world.observe("198.51.0.1", 1);
    world.turn();
    assert!(world.scanners().is_empty());
    world.reload(|settings| settings.greynoise_url = "https://other.example".to_owned());
    world.turn();
    assert_eq!((world.scanners().len(), world.ledger.used), (1, 1));
}

#[test]
fn what_the_key_of_before_is_told_late_says_nothing_of_the_new_ones_quota() {
    let mut world = World::greynoise();
    replace_key(&mut world, "two");
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    (2..=4).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.turn();
    assert_eq!((world.scanners().len(), world.ledger.used), (3, 4));
    // Sent already.
    world.waiting.clear();
    replace_key(&mut world, "one");
    (5..=9).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.tell(Event::Turn(Step::Prepare));
    for (n, result) in [(2, Err(quota(Some(3600)))), (3, Ok(seen())), (4, Err(Failure::withheld()))] {
        world.tell(Event::Outcome(Outcome::Scanner { ip: v4(&format!("198.51.0.{n}")), result }));
    }
    assert_eq!((world.ledger.closed_until, world.ledger.used), (None, 1), "neither closed nor given back");
    world.turns(1);
    assert_eq!(*world.status("198.51.0.3", GreyNoise), Status::Answered);
    assert_eq!((world.scanners(), world.ledger.used), (vec![v4("198.51.0.2")], 2), "it is due, and nothing is proven");
}

#[test]
fn a_question_is_asked_with_the_key_that_pays_for_it() {
    // Paid for, and handed over.
    let mut world = World::greynoise();
    let used = world.ledger.used;
    world.observe("198.51.0.1", 1);
    world.turn();
    replace_key(&mut world, "two");
    world.answer_scanner("198.51.0.1", Ok(seen()));
    assert_eq!((world.ledger.used, world.status("198.51.0.1", GreyNoise)), (used, &Status::Due), "it is given back");
    world.turns(1);
    world.answer_scanner("198.51.0.1", Ok(seen()));
    assert_eq!(world.ledger.used, 1);
    // Paid for, and about to be.
    world.observe("198.51.0.2", 1);
    [Step::Prepare, Step::Claim].into_iter().for_each(|step| world.tell(Event::Turn(step)));
    world.event(Event::Turn(Step::Ask));
    replace_key(&mut world, "one");
    assert!(world.scanners().is_empty());
    world.turns(1);
    assert_eq!((world.scanners(), world.ledger.used), (vec![v4("198.51.0.2")], used + 1));
}
