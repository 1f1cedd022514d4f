use std::net::IpAddr;

use super::super::batch::{NEVER_ASK, SWITCHED_OFF};
use super::super::claim::{Asker, Claim, Found, Rows, Target};
use super::super::effect::{Effect, News};
use super::super::event::{Event, Step};
use super::super::fake::*;
use super::super::given::BULK_NEVER;
use super::super::interest::Progress;
use super::super::standing::{State, Way};
use super::questions::{APART, GATHER};
use crate::cymru::Origin;
use crate::cymru::answer::Answer;
use crate::cymru::dns::{SILENT, UNKNOWN_ZONE};
use crate::failure::Failure;
use crate::fetcher::{MAX_DNS, Request};
use crate::source::Source::Cymru;
use crate::time::DAY;

mod unwritten;

fn known(ip: IpAddr) -> Result<Origin, Failure> {
    Ok(announced(ip, 64500, None))
}

/// An answer that is written at once: it waits for no name.
fn unrouted(_: IpAddr) -> Result<Origin, Failure> {
    Ok(Origin::NotAnnounced)
}

fn silent(_: IpAddr) -> Result<Origin, Failure> {
    Err(Failure::transient(SILENT))
}

fn broken() -> Option<Failure> {
    Some(Failure::transient("broken off"))
}

/// A world in which so many networks have an address due.
fn networks(n: u16) -> World {
    let mut world = World::cymru();
    for n in 0..n {
        world.add(IpAddr::from([198, (n >> 8) as u8, n as u8, 1]), 1);
    }
    world.tell(Event::MadeDue);
    world
}

/// DNS does not answer, and the breaker is open. Addresses without an answer are collected for a small session.
fn silent_dns() -> World {
    let mut world = networks(5);
    world.turn();
    world.answer_dns(silent);
    assert_eq!(world.standing(Cymru).state, State::Failing);
    world
}

fn origins(world: &World) -> Vec<IpAddr> {
    world
        .waiting
        .iter()
        .filter_map(|request| if let Request::Origin(ip) = request { Some(*ip) } else { None })
        .collect()
}

#[test]
fn one_address_of_a_network_is_asked_about_the_most_observed_one() {
    let mut world = World::cymru();
    for (ip, seen) in [("198.51.0.1", 1), ("198.51.0.2", 7), ("203.0.114.9", 9), ("198.51.0.3", 3)] {
        world.observe(ip, seen);
    }
    world.turn();
    assert_eq!(origins(&world), ["203.0.114.9", "198.51.0.2"].map(ip));
    world.answer_dns(known);
    world.turns(2);
    world.answer_dns(known);
    world.turns(1);
    assert!(world.rows.values().all(|row| row.at[&Cymru] == Status::Answered));
    assert_eq!(world.asked.len(), 3, "and the AS, once");
}

#[test]
fn few_questions_go_by_dns_and_many_in_a_session() {
    for (due, by_bulk) in [(49, false), (50, true)] {
        let mut world = networks(due);
        world.turn();
        assert_eq!(world.session().map_or(0, <[IpAddr]>::len), if by_bulk { due.into() } else { 0 });
        assert_eq!(origins(&world).len(), if by_bulk { 0 } else { due.into() });
    }
}

#[test]
fn no_more_than_so_many_dns_questions_are_out() {
    let mut world = networks(500);
    world.settings.bulk_min = BULK_NEVER;
    world.turns(3);
    assert_eq!(origins(&world).len(), MAX_DNS);
    world.answer_dns(known);
    world.turn();
    assert_eq!(origins(&world).len(), MAX_DNS);
}

#[test]
fn where_bulk_fails_dns_does_its_work_and_bulk_is_tried_again() {
    let mut world = networks(60);
    for strike in 0..5 {
        world.turn();
        world.end_session(|_| false, broken());
        assert!(origins(&world).is_empty());
        world.later(1 << strike.min(3));
    }
    assert!(world.is_failing(Way::Bulk) && world.news.iter().any(|n| matches!(n, News::WayFails(Way::Bulk, ..))));
    assert_eq!(world.standing(Cymru).state, State::Failing, "nothing has been answered yet");
    world.turn();
    assert_eq!((world.session(), origins(&world).len()), (None, 60));
    world.answer_dns(unrouted);
    assert_eq!(world.standing(Cymru).state, State::Ok, "one way is enough");
    (100..200).for_each(|n| world.add(IpAddr::from([203, 0, n, 1]), 1));
    world.later(31);
    world.turns(1);
    assert!(world.session().is_some(), "half open");
    world.end_session(|_| true, None);
    assert!(!world.is_failing(Way::Bulk) && world.news.contains(&News::WayWorks(Way::Bulk)));
}

#[test]
fn a_session_that_answers_and_breaks_off_shows_that_bulk_works_again() {
    let mut world = networks(60);
    for strike in 0..5 {
        world.turn();
        world.end_session(|_| false, broken());
        world.later(1 << strike.min(3));
    }
    assert!(world.is_failing(Way::Bulk));
    world.turn();
    world.answer_dns(unrouted);
    (100..200).for_each(|n| world.add(IpAddr::from([203, 0, n, 1]), 1));
    world.later(31);
    world.turns(1);
    world.end_session(|ip| ip < self::ip("203.0.150.0"), broken());
    assert!(!world.is_failing(Way::Bulk) && world.news.contains(&News::WayWorks(Way::Bulk)));
    world.turns(1);
    assert_eq!(world.session().map(<[IpAddr]>::len), Some(50), "the rest goes into the next one");
}

#[test]
fn a_small_session_that_has_all_leaves_dns_its_try() {
    let mut world = silent_dns();
    world.turns(1);
    world.later(GATHER.as_secs());
    world.turns(1);
    assert_eq!(world.session().map(<[IpAddr]>::len), Some(5));
    // DNS may be tried, and there is nothing to try it with.
    world.later(60);
    world.turns(1);
    assert!(world.session().is_some() && origins(&world).is_empty());
    world.add(ip("203.0.114.1"), 1);
    world.tell(Event::Questions(vec![(ip("203.0.114.1"), ticket(1))]));
    world.turns(1);
    assert_eq!(origins(&world), [ip("203.0.114.1")]);
}

#[test]
fn a_half_open_breaker_lets_one_question_out() {
    let mut world = silent_dns();
    world.settings.bulk_min = BULK_NEVER;
    world.later(90);
    world.turns(1);
    assert_eq!(origins(&world).len(), 1);
    world.turns(3);
    assert_eq!(origins(&world).len(), 1);
    world.answer_dns(known);
    world.turn();
    assert_eq!(origins(&world).len(), 4);
    assert!(world.news.contains(&News::WayWorks(Way::Dns)));
}

#[test]
fn where_dns_is_silent_what_is_due_goes_into_one_small_session() {
    let mut world = silent_dns();
    world.turns(1);
    assert_eq!(world.session(), None, "more may come");
    world.observe("203.0.114.1", 1);
    world.later(GATHER.as_secs());
    world.turns(1);
    assert_eq!(world.session().map(<[IpAddr]>::len), Some(6));
    world.end_session(|_| true, None);
    assert!(world.rows.values().all(|row| row.at[&Cymru] == Status::Answered));
    assert_eq!(world.news.last(), Some(&News::OnlyBulkWorks));
    assert_eq!(world.standing(Cymru).state, State::Ok);
    assert!(world.is_failing(Way::Dns) && !world.is_failing(Way::Bulk));
}

#[test]
fn small_sessions_are_a_minute_apart() {
    let mut world = silent_dns();
    world.turns(3);
    world.end_session(|_| true, None);
    let began = world.now.steady;
    world.observe("203.0.114.1", 1);
    for _ in 0..2 * APART.as_secs() {
        if world.session().is_some() {
            break;
        }
        world.later(1);
        // DNS stays closed.
        world.answer_dns(silent);
        world.turn();
    }
    let apart = world.now.steady - began;
    assert!(apart >= APART - GATHER && apart <= APART + GATHER, "{apart:?}");
}

#[test]
fn where_neither_way_works_who_waits_is_told_and_the_rows_stay_due() {
    let mut world = silent_dns();
    world.settings.bulk_min = BULK_NEVER;
    world.add(ip("203.0.114.1"), 1);
    world.tell(Event::Questions(vec![(ip("203.0.114.1"), ticket(1))]));
    world.turn();
    world.turn();
    assert_eq!(world.woken, [ticket(1)]);
    assert_eq!(*world.status("203.0.114.1", Cymru), Status::Due);
}

#[test]
fn what_a_session_left_open_is_asked_again_and_what_it_passed_over_is_not() {
    let mut world = networks(60);
    world.turn();
    world.end_session(|ip| ip < self::ip("198.0.30.0"), broken());
    world.turns(1);
    assert_eq!(origins(&world).len(), 30, "too few for a session");
    world.answer_dns(known);

    let mut world = networks(60);
    world.turn();
    world.end_session(|ip| ip < self::ip("198.0.30.0"), None);
    world.turns(1);
    assert!(matches!(world.status("198.0.30.1", Cymru), Status::Failed(_)) && origins(&world).is_empty());
}

#[test]
fn a_doubtful_answer_is_asked_for_again_once_and_fails_with_no_other() {
    let good = ip("198.51.0.1");
    let mut world = World::cymru();
    world.settings.bulk_min = 1;
    world.observe("198.51.0.1", 1);
    world.observe("198.51.1.1", 1);
    world.turn();
    assert_eq!(world.session().map(<[IpAddr]>::len), Some(2));
    world.end_session_in_doubt(|_| false, |ip| ip == good, None);
    assert_eq!(*world.status("198.51.1.1", Cymru), Status::Failed("the bulk reply has no row for the address".into()));
    assert_eq!(*world.status("198.51.0.1", Cymru), Status::Due);
    assert!(!world.is_failing(Way::Bulk) && world.standing(Cymru).state == State::Ok);
    // Once more it ends so.
    world.turn();
    assert_eq!(world.session(), Some(&[good][..]));
    world.end_session_in_doubt(|_| false, |ip| ip == good, None);
    world.turns(1);
    assert_eq!(*world.status("198.51.0.1", Cymru), Status::Answered);
    assert_eq!(world.session(), None);
}

#[test]
fn a_reload_looks_again_at_what_waits_and_at_what_is_out() {
    let mut world = networks(4);
    world.add(ip("198.0.0.2"), 0);
    world.turn();
    assert_eq!(origins(&world).len(), 4);
    world.reload(|settings| settings.never_ask = vec!["198.0.0.0/23".parse().unwrap()]);
    world.turn();
    assert_eq!(*world.status("198.0.0.2", Cymru), Status::Skipped(NEVER_ASK.to_owned()), "it had not been asked about");
    world.answer_dns(unrouted);
    for ip in ["198.0.0.1", "198.0.1.1"] {
        assert_eq!(*world.status(ip, Cymru), Status::Skipped(NEVER_ASK.to_owned()), "{ip}");
    }
    world.reload(|settings| settings.never_ask.clear());
    world.turns(2);
    assert!(!origins(&world).is_empty());
}

#[test]
fn a_skip_that_is_not_written_yet_is_none_once_the_setting_changes_back() {
    let mut world = networks(4);
    world.add(ip("198.0.0.2"), 0);
    world.turn();
    world.faults.writes = true;
    world.reload(|settings| settings.never_ask = vec!["198.0.0.0/23".parse().unwrap()]);
    world.turn();
    // Before it is tried again, skipped rows are made due again.
    world.faults.writes = false;
    world.reload(|settings| settings.never_ask.clear());
    world.turn();
    world.turn();
    world.later(60);
    world.turn();
    assert!(world.rows.values().all(|row| !matches!(row.at[&Cymru], Status::Skipped(_))), "{:?}", world.rows);
}

#[test]
fn switched_off_while_questions_are_out_they_do_not_leave() {
    let mut world = networks(4);
    world.turn();
    world.reload(|settings| settings.cymru = false);
    world.answer_dns(known);
    world.turn();
    assert!(world.rows.values().all(|row| row.at[&Cymru] == Status::Skipped(SWITCHED_OFF.to_owned())));
    assert_eq!(world.standing(Cymru).state, State::Off);
    world.reload(|settings| settings.cymru = true);
    world.turns(2);
    assert_eq!(origins(&world).len(), 4);
}

#[test]
fn a_network_that_may_be_told_is_withheld_with_one_that_is_written_so_that_it_may_not() {
    let mut world = World::cymru();
    world.observe("198.51.0.1", 1);
    world.observe("2002:c633:1::1", 1);
    world.turn();
    world.reload(|settings| settings.never_ask = vec!["2002::/16".parse().unwrap()]);
    world.answer_dns(known);
    assert_eq!(*world.status("2002:c633:1::1", Cymru), Status::Skipped(NEVER_ASK.to_owned()));
    assert_eq!(*world.status("198.51.0.1", Cymru), Status::Due);
    // By itself it may be told.
    world.turns(1);
    world.answer_dns(unrouted);
    assert_eq!(*world.status("198.51.0.1", Cymru), Status::Answered);
}

#[test]
fn a_killed_workers_claims_are_due_still() {
    let mut world = networks(3);
    world.turn();
    world.answer_dns(|ip| if ip == self::ip("198.0.0.1") { unrouted(ip) } else { silent(ip) });
    world.kill();
    world.later(60);
    world.turn();
    assert_eq!(origins(&world), ["198.0.1.1", "198.0.2.1"].map(ip));
}

#[test]
fn several_who_wait_are_told_of_one_answer_for_their_network() {
    let mut world = World::cymru();
    let ips = ["198.51.0.1", "198.51.0.2"].map(ip);
    ips.iter().for_each(|ip| world.add(*ip, 1));
    world.tell(Event::JobStarted(0));
    world.tell(Event::JobAsks { job: 0, ips: ips.to_vec(), sources: [Cymru].into_iter().collect(), since: Some(NOON) });
    world.tell(Event::Questions(vec![(ips[0], ticket(1)), (ips[1], ticket(2)), (ips[0], ticket(3))]));
    world.turn();
    assert_eq!(origins(&world).len(), 1);
    world.answer_dns(known);
    assert!(world.woken.is_empty(), "the name of the AS is on its way");
    world.turn();
    world.answer_dns(known);
    world.woken.sort_by_key(|ticket| ticket.number);
    assert_eq!(world.woken, [1, 2, 3].map(ticket));
    let progress = Progress { processed: 2, enriched: 2, cymru_asn: 2, ..Progress::default() };
    assert_eq!(world.campaign.job_progress(0), (progress, true));
}

#[test]
fn no_answer_waits_for_a_name_that_nobody_can_be_asked_for() {
    let mut world = networks(1);
    world.turn();
    world.answer_dns(known);
    // It waits for the name of its AS; meanwhile DNS stops answering.
    for n in 0..5 {
        world.observe(&format!("203.0.{n}.1"), 1);
        world.tell(Event::Questions(vec![(ip(&format!("203.0.{n}.1")), ticket(n))]));
    }
    world.tell(Event::Turn(Step::Ask));
    world.waiting.retain(|request| matches!(request, Request::Origin(_)));
    world.answer_dns(silent);
    world.turn();
    world.turn();
    assert_eq!(*world.status("198.0.0.1", Cymru), Status::Answered);
}

#[test]
fn a_resolver_that_does_not_know_the_service_is_doubted_once() {
    let mut world = networks(3);
    world.turn();
    world.answer_dns(|_| Err(Failure::transient(UNKNOWN_ZONE)));
    assert_eq!(world.doubts, 1);
}

#[test]
fn a_network_that_is_known_is_not_asked_about_but_for_a_job_that_wants_all() {
    let mut world = World::cymru();
    world.add(ip("198.51.0.1"), 1);
    let answer = Answer {
        asn: Some(64500),
        network: None,
        country: None,
        org: Some("EXAMPLE".to_owned()),
        answered_at: Some(NOON),
    };
    let found = || Found {
        rows: vec![Target { ip: ip("198.51.0.1"), seen: 1 }],
        known: vec![(ip("198.51.0.1"), answer.clone())],
    };
    let asker = Asker::Campaign;
    let claim = Claim { source: Cymru, rows: Rows::Due, limit: 10, known: true, asker };
    world.tell(Event::Claimed(claim, Some(found())));
    world.turn();
    assert!(world.asked.is_empty() && *world.status("198.51.0.1", Cymru) == Status::Answered);
    let (ips, sources) = (vec![ip("198.51.0.1")], [Cymru].into_iter().collect());
    world.event(Event::JobAsks { job: 0, ips, sources, since: Some(NOON) });
    assert!(
        matches!(&world.effects[0], Effect::Claim(claim) if !claim.known && matches!(claim.rows, Rows::All(_, NOON)))
    );
}

#[test]
fn what_could_not_be_written_is_written_later() {
    let mut world = networks(1);
    world.turn();
    world.faults.writes = true;
    world.answer_dns(unrouted);
    world.turn();
    assert_eq!(*world.status("198.0.0.1", Cymru), Status::Due);
    world.faults.writes = false;
    world.later(1);
    world.turn();
    assert_eq!(*world.status("198.0.0.1", Cymru), Status::Answered);
    assert!(world.campaign.is_idle());
}

#[test]
fn without_a_network_thread_the_questions_are_asked_again() {
    for due in [3, 60] {
        let mut world = networks(due);
        world.faults.thread = true;
        world.turns(2);
        assert!(world.asked.is_empty());
        world.faults.thread = false;
        world.turns(1);
        assert_eq!(world.session().map_or(0, <[IpAddr]>::len) + origins(&world).len(), usize::from(due));
    }
}

#[test]
fn without_bulk_sessions_nothing_is_claimed_while_dns_does_not_answer() {
    let mut world = silent_dns();
    world.settings.bulk_min = BULK_NEVER;
    let is_claimed = |world: &mut World| {
        world.tell(Event::MadeDue);
        world.event(Event::Turn(Step::Claim));
        let claims = world.effects.iter().any(|effect| matches!(effect, Effect::Claim(of) if of.source == Cymru));
        world.drain();
        claims
    };
    world.observe("203.0.114.1", 1);
    assert!(!is_claimed(&mut world));
    assert_eq!(world.standing(Cymru).state, State::Failing);
    world.later(31);
    assert!(is_claimed(&mut world), "half open");
}

#[test]
fn a_clock_that_was_set_back_keeps_no_failure_alive() {
    let mut world = networks(1);
    world.settings.bulk_min = BULK_NEVER;
    world.turn();
    world.answer_dns(silent);
    assert_eq!(world.standing(Cymru).state, State::Failing, "nothing has been answered yet");
    world.now.wall -= DAY;
    world.observe("203.0.114.1", 1);
    world.turns(1);
    world.answer_dns(unrouted);
    assert_eq!(world.standing(Cymru).state, State::Ok);
}
