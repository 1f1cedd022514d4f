//! Old verdicts: when they are looked for, and those that cannot be renewed.

use std::net::{IpAddr, Ipv4Addr};

use super::super::super::claim::Rows;
use super::super::super::effect::Effect;
use super::super::claims::CLAIM;
use super::*;

fn make_old(world: &mut World, at: IpAddr) {
    world.rows.get_mut(&at).unwrap().at.insert(GreyNoise, Status::Old);
}

#[test]
fn an_answer_that_cannot_be_renewed_costs_one_question() {
    let mut world = World::greynoise();
    world.reload(|settings| settings.refresh_schedule = "0 13 * * *".to_owned());
    make_old(&mut world, ip("192.88.0.1"));
    world.later(3600);
    world.turn();
    world.answer_scanner("192.88.0.1", Err(Failure::permanent("400")));
    world.turns(50);
    assert_eq!((world.asked.len(), world.status("192.88.0.1", GreyNoise)), (1, &Status::Old));
    world.later(2 * 86_400);
    world.turns(1);
    assert_eq!(world.asked.len(), 2);
}

#[test]
fn old_verdicts_that_may_not_be_renewed_keep_no_other_from_its_turn() {
    let mut world = World::greynoise();
    world.reload(|settings| {
        settings.refresh_schedule = "0 13 * * *".to_owned();
        settings.never_ask = vec!["8.0.0.0/8".parse().unwrap()];
    });
    // Observed more, and as many as one claim has. A Teredo address ends with the other, inverted.
    for n in 0..CLAIM as u32 {
        let [high, low] = [!0x0801_u16, !(n as u16)];
        let teredo = IpAddr::from([0x2001, 0, 0, 0, 0, 0, high, low]);
        assert_eq!(crate::address::effective(teredo), IpAddr::from(Ipv4Addr::from_bits(0x0801_0000 + n)));
        world.add(teredo, 100);
        make_old(&mut world, teredo);
    }
    make_old(&mut world, ip("192.88.0.1"));
    world.later(3600);
    world.turns(4);
    assert_eq!(world.scanners(), [v4("192.88.0.1")]);
}

#[test]
fn an_old_verdict_that_a_setting_hides_is_renewed_once_it_no_longer_does() {
    let mut world = World::greynoise();
    make_old(&mut world, ip("192.88.0.1"));
    world.reload(|settings| {
        settings.refresh_schedule = "0 13 * * *".to_owned();
        settings.never_ask = vec!["192.88.0.1/32".parse().unwrap()];
    });
    world.tell(Event::Questions(vec![(ip("192.88.0.1"), ticket(1))]));
    world.turn();
    assert_eq!((world.woken.as_slice(), world.status("192.88.0.1", GreyNoise)), (&[ticket(1)][..], &Status::Old));
    world.reload(|settings| settings.never_ask.clear());
    world.turns(2);
    world.later(3600);
    world.turn();
    assert_eq!(world.scanners(), [v4("192.88.0.1")]);
}

#[test]
fn a_clock_that_was_set_back_does_not_put_off_the_look_for_old_verdicts() {
    let mut world = World::greynoise();
    world.now.wall += 3650 * DAY;
    world.reload(|settings| settings.refresh_schedule = "0 13 * * *".to_owned());
    world.turn();
    world.now.wall -= 3650 * DAY;
    make_old(&mut world, ip("192.88.0.1"));
    world.turn();
    world.later(3600);
    world.turn();
    assert_eq!(world.scanners(), [v4("192.88.0.1")]);
}

#[test]
fn a_row_that_cannot_be_written_does_not_keep_old_verdicts_from_being_looked_for() {
    for is_locked in [true, false] {
        let mut world = World::greynoise();
        let at = Some(ip("198.51.0.1"));
        *(if is_locked { &mut world.faults.locked } else { &mut world.faults.broken }) = at;
        world.observe("198.51.0.1", 9);
        world.turn();
        world.answer_scanner("198.51.0.1", Ok(seen()));
        make_old(&mut world, ip("192.88.0.1"));
        world.reload(|settings| settings.refresh_schedule = "1 12 * * *".to_owned());
        world.later(60);
        world.turns(2);
        assert_eq!(world.scanners(), [v4("192.88.0.1")], "locked: {is_locked}");
    }
}

#[test]
fn an_old_verdict_that_cannot_be_written_is_not_looked_for_without_end() {
    let mut world = World::greynoise();
    world.faults.locked = Some(ip("192.88.0.1"));
    make_old(&mut world, ip("192.88.0.1"));
    world.reload(|settings| settings.refresh_schedule = "1 12 * * *".to_owned());
    world.later(60);
    world.turn();
    world.answer_scanner("192.88.0.1", Ok(seen()));
    world.turns(2);
    world.later(5);
    world.event(Event::Turn(Step::Claim));
    let mut looked_for = Vec::new();
    loop {
        if let Some(Effect::Claim(claim)) = world.effects.front() {
            looked_for.push(claim.rows.clone());
        }
        if let Some(found) = world.results.pop_front() {
            world.event(found);
        } else if !world.carry_out() {
            break;
        }
    }
    assert!(looked_for.contains(&Rows::Due) && !looked_for.contains(&Rows::Stale), "{looked_for:?}");
}
