//! What cannot be written at once: it is not asked about again, and stops nothing else.

use std::net::IpAddr;
use std::time::Duration;

use super::super::super::locked;
use super::super::claims::CLAIM;
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

/// Something waits for these rows: a failure that could not be noted.
fn hold(world: &mut World, ips: impl IntoIterator<Item = IpAddr>) {
    let failed = ips.into_iter().map(|ip| (ip, "broken".to_owned())).collect();
    world.campaign.greynoise.locked.tried(locked::Rows { failed, ..locked::Rows::default() }, world.now.steady);
}

#[test]
fn an_old_verdict_whose_failure_cannot_be_noted_is_not_asked_about_by_who_passes() {
    let held = Faults { locked: Some(ip("192.88.0.1")), ..Faults::default() };
    let broken = Faults { broken: Some(ip("192.88.0.1")), ..Faults::default() };
    let none = Faults { writes: true, ..Faults::default() };
    for faults in [held, broken, none] {
        let mut world = World::greynoise();
        world.rows.get_mut(&ip("192.88.0.1")).unwrap().at.insert(GreyNoise, Status::Old);
        world.faults = faults;
        world.tell(Event::AskedAbout(vec![ip("192.88.0.1")]));
        world.turn();
        world.answer_scanner("192.88.0.1", Err(Failure::transient("broken")));
        for _ in 0..20 {
            world.turns(1);
            world.tell(Event::AskedAbout(vec![ip("192.88.0.1")]));
        }
        assert_eq!(world.asked.len(), 1, "{faults:?}");
    }
}

#[test]
fn a_note_that_is_written_later_ends_no_wait_for_another_question() {
    for mend in [Faults::default(), Faults { broken: Some(ip("198.51.0.1")), ..Faults::default() }] {
        let mut world = World::greynoise();
        world.faults.locked = Some(ip("198.51.0.1"));
        world.observe("198.51.0.1", 1);
        world.turn();
        world.answer_scanner("198.51.0.1", Err(Failure::transient("broken")));
        world.tell(Event::JobStarted(3));
        let sources = [GreyNoise].into_iter().collect();
        world.tell(Event::JobAsks { job: 3, ips: vec![ip("198.51.0.1")], sources, since: None });
        world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
        world.turns(5);
        world.faults = mend;
        world.turns(3);
        assert_eq!((world.scanners().len(), world.woken.len(), world.campaign.left_of_job(3)), (1, 0, 1), "{mend:?}");
        world.faults = Faults::default();
        world.answer_scanner("198.51.0.1", Ok(seen()));
        assert_eq!(world.woken, [ticket(1)]);
        let progress = Progress { processed: 1, enriched: 1, scanners: 1, ..Progress::default() };
        assert_eq!(world.campaign.job_progress(3), (progress, true));
    }
}

#[test]
fn as_many_held_rows_as_one_claim_has_hide_no_other() {
    let mut world = World::greynoise();
    let most_observed: Vec<IpAddr> = (0..CLAIM as u32).map(|n| IpAddr::from((0x0801_0000 + n).to_be_bytes())).collect();
    most_observed.iter().for_each(|ip| world.add(*ip, 100));
    world.faults.locked_network = Some("8.1.0.0/16".parse().unwrap());
    let until = Duration::from_secs(3600);
    let (held, broken) = most_observed.split_at(CLAIM / 2);
    hold(&mut world, held.iter().copied());
    world.campaign.greynoise.held.extend(broken.iter().map(|ip| (*ip, until)));
    world.observe("198.51.0.1", 1);
    world.turns(1);
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.turns(1);
    assert!(!world.campaign.greynoise.more, "it would be looked for each turn");
}

#[test]
fn nothing_more_is_asked_while_somebody_holds_the_table() {
    let mut world = World::greynoise();
    world.faults.locked_network = Some("0.0.0.0/0".parse().unwrap());
    hold(&mut world, (0..100_000_u32).map(|n| IpAddr::from((0x0801_0000 + n).to_be_bytes())));
    world.observe("198.51.0.1", 1);
    world.turns(3);
    assert!(world.scanners().is_empty());
    world.faults = Faults::default();
    (0..20).for_each(|_| world.turns(1));
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn what_is_held_waits_with_all_writes_after_one_that_failed() {
    let mut world = World::greynoise();
    world.faults.locked = Some(ip("198.51.0.1"));
    world.observe("198.51.0.1", 2);
    world.observe("198.51.0.2", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    let part = Duration::from_millis(600);
    world.now = world.now.after(part);
    world.faults.writes = true;
    world.answer_scanner("198.51.0.2", Ok(seen()));
    world.now = world.now.after(part);
    world.turn();
    assert_eq!(world.campaign.patience(false, &world.given()), Duration::from_millis(400));
}

#[test]
fn a_row_that_somebody_holds_keeps_no_other_from_being_due_again() {
    let mut world = World::greynoise();
    world.reload(|settings| settings.greynoise = Switch::Off);
    (1..=3).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.turns(2);
    world.faults.locked = Some(ip("198.51.0.1"));
    world.reload(|settings| settings.greynoise = Switch::On);
    world.turn();
    for n in [2, 3] {
        world.answer_scanner(&format!("198.51.0.{n}"), Ok(seen()));
        world.turns(1);
    }
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Skipped(SWITCHED_OFF.to_owned()));
    world.faults = Faults::default();
    world.turns(2);
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}
