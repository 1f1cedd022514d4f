//! What cannot be written at once: it is not asked about again, and stops nothing else.

use super::super::super::locked;
use super::super::claims::CLAIM;
use super::*;

#[test]
fn a_row_that_somebody_holds_stops_no_other() {
    let mut world = networks(1);
    world.faults.locked = Some(ip("198.0.0.1"));
    world.turn();
    world.answer_dns(unrouted);
    world.observe("203.0.114.1", 1);
    world.turns(2);
    assert_eq!(origins(&world), [ip("203.0.114.1")]);
    world.answer_dns(unrouted);
    world.turns(2);
    assert_eq!(*world.status("203.0.114.1", Cymru), Status::Answered);
    assert_eq!(*world.status("198.0.0.1", Cymru), Status::Due);
    world.faults.locked = None;
    world.turns(3);
    assert_eq!((world.status("198.0.0.1", Cymru), world.asked.len()), (&Status::Answered, 2));
    assert!(world.campaign.is_idle());
}

#[test]
fn a_failure_that_cannot_be_noted_is_not_asked_about_again_at_once() {
    for is_locked in [true, false] {
        let mut world = networks(1);
        world.settings.bulk_min = BULK_NEVER;
        let at = Some(ip("198.0.0.1"));
        *(if is_locked { &mut world.faults.locked } else { &mut world.faults.broken }) = at;
        world.turn();
        world.answer_dns(silent);
        world.turns(60);
        assert_eq!(world.asked.len(), 1, "locked: {is_locked}");
        world.faults = Faults::default();
        world.turns(3);
        assert_eq!(matches!(world.status("198.0.0.1", Cymru), Status::Failed(_)), is_locked);
        world.later(600);
        world.turns(1);
        assert_eq!(world.asked.len(), 2, "locked: {is_locked}");
    }
}

#[test]
fn a_row_that_cannot_be_written_does_not_keep_old_answers_from_being_looked_for() {
    for is_locked in [true, false] {
        let mut world = networks(1);
        let at = Some(ip("198.0.0.1"));
        *(if is_locked { &mut world.faults.locked } else { &mut world.faults.broken }) = at;
        world.turn();
        world.answer_dns(unrouted);
        world.add(ip("203.0.114.1"), 1);
        world.rows.get_mut(&ip("203.0.114.1")).unwrap().at.insert(Cymru, Status::Old);
        world.reload(|settings| settings.refresh_schedule = "1 12 * * *".to_owned());
        world.later(60);
        world.turns(2);
        assert_eq!(origins(&world), [ip("203.0.114.1")], "locked: {is_locked}");
    }
}

#[test]
fn an_old_answer_whose_failure_cannot_be_noted_is_not_asked_about_by_who_passes() {
    for is_locked in [true, false] {
        let mut world = World::cymru();
        world.settings.bulk_min = BULK_NEVER;
        world.add(ip("198.51.0.1"), 1);
        world.rows.get_mut(&ip("198.51.0.1")).unwrap().at.insert(Cymru, Status::Old);
        let at = Some(ip("198.51.0.1"));
        *(if is_locked { &mut world.faults.locked } else { &mut world.faults.broken }) = at;
        world.tell(Event::AskedAbout(vec![ip("198.51.0.1")]));
        world.turn();
        world.answer_dns(silent);
        for _ in 0..20 {
            world.turns(1);
            world.tell(Event::AskedAbout(vec![ip("198.51.0.1")]));
        }
        assert_eq!(world.asked.len(), 1, "locked: {is_locked}");
    }
}

#[test]
fn a_note_that_is_written_later_ends_no_wait_for_another_question() {
    let mut world = networks(1);
    world.settings.bulk_min = BULK_NEVER;
    world.faults.locked = Some(ip("198.0.0.1"));
    world.turn();
    world.answer_dns(silent);
    world.tell(Event::Questions(vec![(ip("198.0.0.1"), ticket(1))]));
    world.turns(5);
    world.faults = Faults::default();
    world.turns(3);
    assert_eq!((origins(&world).len(), world.woken.len()), (1, 0));
    world.answer_dns(unrouted);
    assert_eq!(world.woken, [ticket(1)]);
}

#[test]
fn a_failure_that_is_not_noted_yet_is_not_lost_where_nothing_can_be_asked() {
    let mut world = networks(5);
    world.settings.bulk_min = BULK_NEVER;
    world.faults.locked = Some(ip("198.0.0.1"));
    world.turn();
    world.answer_dns(silent);
    assert_eq!(world.standing(Cymru).state, State::Failing);
    world.tell(Event::Questions(vec![(ip("198.0.0.1"), ticket(1))]));
    world.turn();
    world.turn();
    assert_eq!(world.woken, [ticket(1)], "it is told, and nothing is written");
    world.faults = Faults::default();
    world.later(2);
    world.turn();
    assert_eq!(*world.status("198.0.0.1", Cymru), Status::Failed(SILENT.to_owned()));
}

#[test]
fn as_many_held_rows_as_one_claim_has_hide_no_other() {
    let mut world = World::cymru();
    let most_observed: Vec<IpAddr> = (0..CLAIM as u32).map(|n| IpAddr::from((0x0801_0000 + n).to_be_bytes())).collect();
    most_observed.iter().for_each(|ip| world.add(*ip, 100));
    world.faults.locked_network = Some("8.1.0.0/16".parse().unwrap());
    let failed = most_observed.iter().map(|ip| (*ip, SILENT.to_owned())).collect();
    world.campaign.cymru.locked.tried(locked::Rows { failed, ..locked::Rows::default() }, world.now.steady);
    world.observe("198.51.0.1", 1);
    world.turns(1);
    assert_eq!(origins(&world), [ip("198.51.0.1")]);
    world.answer_dns(unrouted);
    world.turns(1);
    assert!(!world.campaign.cymru.more, "it would be looked for each turn");
}

#[test]
fn while_the_table_of_names_cannot_be_read_no_name_counts_as_unknown() {
    let mut world = networks(2);
    world.settings.bulk_min = BULK_NEVER;
    world.faults.names = true;
    world.turn();
    world.answer_dns(|of| if of == ip("198.0.0.1") { known(of) } else { unrouted(of) });
    world.turns(3);
    let about_names = |world: &World| world.asked.iter().filter(|asked| matches!(asked, Request::AsName(_))).count();
    assert_eq!(about_names(&world), 0);
    let statuses = ["198.0.0.1", "198.0.1.1"].map(|of| world.status(of, Cymru));
    assert_eq!(statuses, [&Status::Due, &Status::Answered]);
    assert!(world.in_trouble, "what cannot be read is still in the way");
    world.faults.names = false;
    world.turns(3);
    assert_eq!(about_names(&world), 1);
    world.answer_dns(known);
    world.turns(1);
    assert_eq!(*world.status("198.0.0.1", Cymru), Status::Answered);
    assert!(!world.in_trouble && world.campaign.is_idle());
}
