//! The key: proved by one question, refused, replaced, on its way.

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
    world.reload(|settings| settings.greynoise = Switch::On);
    world.turn();
    assert_eq!(world.asked.len(), 1, "without a key");
}
