//! What cannot be written at once: it is not asked about again, and stops nothing else.

use super::*;

#[test]
fn a_row_that_somebody_holds_stops_no_other_and_is_asked_about_once() {
    let mut world = World::greynoise();
    world.faults.locked = Some(ip("198.51.0.1"));
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.turn();
    assert!(world.campaign.patience(false, &world.given()) <= POLL / 5);
    world.observe("198.51.0.2", 1);
    world.turns(2);
    assert_eq!(world.scanners(), [v4("198.51.0.2")]);
    world.answer_scanner("198.51.0.2", Ok(seen()));
    // A session waits for the answer that is there.
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
    world.turns(5);
    assert!(world.woken.is_empty() && world.scanners().is_empty());
    assert_eq!(*world.status("198.51.0.2", GreyNoise), Status::Answered);
    world.faults.locked = None;
    world.turns(3);
    assert_eq!((world.status("198.51.0.1", GreyNoise), world.asked.len()), (&Status::Answered, 2));
    assert!(world.woken == [ticket(1)] && world.campaign.is_idle());
}

#[test]
fn an_answer_that_is_not_written_yet_is_not_asked_for_again() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.faults.writes = true;
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
    world.turns(2);
    assert!(world.scanners().is_empty() && world.woken.is_empty());
    world.faults.writes = false;
    world.turns(1);
    assert_eq!((world.woken.as_slice(), world.asked.len()), (&[ticket(1)][..], 1));
}

#[test]
fn a_question_whose_failure_cannot_be_noted_is_not_paid_for_again_at_once() {
    for failure in [Failure::transient("broken"), Failure::permanent("400")] {
        for is_locked in [true, false] {
            let mut world = World::greynoise();
            let at = Some(ip("198.51.0.1"));
            *(if is_locked { &mut world.faults.locked } else { &mut world.faults.broken }) = at;
            world.observe("198.51.0.1", 1);
            world.turn();
            world.answer_scanner("198.51.0.1", Err(failure.clone()));
            world.turns(60);
            assert_eq!(world.asked.len(), 1, "{failure:?}, locked: {is_locked}");
            world.faults = Faults::default();
            world.turns(3);
            let is_noted = *world.status("198.51.0.1", GreyNoise) != Status::Due;
            assert_eq!(is_noted, is_locked, "{failure:?}");
        }
    }
}
