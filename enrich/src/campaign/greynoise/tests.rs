use super::super::POLL;
use super::super::batch::{IPV4_ONLY, NEVER_ASK, Refusal, SWITCHED_OFF};
use super::super::effect::{Effect, News};
use super::super::event::{Event, Step};
use super::super::fake::*;
use super::super::given::{Key, Switch};
use super::super::interest::Progress;
use super::super::standing::State;
use crate::failure::{Failure, FailureKind};
use crate::fetcher::Outcome;
use crate::greynoise::Verdict;
use crate::quota::Window;
use crate::source::Source::{Cymru, GreyNoise};
use crate::time::DAY;

mod key;
mod old;
mod quota;
mod unwritten;

#[test]
fn the_most_observed_are_asked_first() {
    let mut world = World::greynoise();
    for (ip, seen) in [("198.51.0.1", 1), ("198.51.0.2", 7), ("198.51.0.3", 3)] {
        world.observe(ip, seen);
    }
    world.turn();
    assert_eq!(world.scanners(), ["198.51.0.2", "198.51.0.3", "198.51.0.1"].map(v4));
}

#[test]
fn who_waits_goes_before_who_does_not() {
    let mut world = World::greynoise();
    world.settings.greynoise_at_once = 1;
    for (ip, seen) in [("198.51.0.1", 9), ("198.51.0.2", 8), ("198.51.0.3", 7)] {
        world.observe(ip, seen);
    }
    world.turn();
    assert_eq!(world.scanners(), ["198.51.0.1", "198.51.0.2"].map(v4), "one, and one that waits behind it");
    world.add(ip("198.51.0.4"), 1);
    world.tell(Event::Questions(vec![(ip("198.51.0.4"), ticket(1))]));
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.turn();
    assert_eq!(world.scanners(), ["198.51.0.2", "198.51.0.4"].map(v4));
    world.answer_scanner("198.51.0.4", Ok(seen()));
    assert_eq!(world.woken, [ticket(1)]);
}

#[test]
fn nothing_is_asked_before_the_ledger_that_pays_for_it_is_written() {
    let mut world = World::greynoise();
    let used = world.ledger.used;
    world.observe("198.51.0.1", 1);
    world.faults.ledger = true;
    world.turn();
    assert!(world.asked.is_empty() && world.news.is_empty(), "a lock is no news");
    // Each try may wait for it: none at each bell that rings.
    world.faults.ledger = false;
    world.later(1);
    world.turn();
    assert_eq!((world.asked.len(), world.campaign.patience(false, &world.given()).as_secs()), (0, 1));
    world.later(1);
    world.turn();
    assert_eq!((world.asked.len(), world.ledger.used), (1, used + 1));
}

#[test]
fn a_killed_workers_questions_are_asked_again_and_counted_again() {
    let mut world = World::greynoise();
    let used = world.ledger.used;
    world.observe("198.51.0.1", 1);
    world.turn();
    world.kill();
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
    assert_eq!(world.ledger.used, used + 2);
}

#[test]
fn an_open_breaker_is_probed_by_one_question() {
    let mut world = World::greynoise();
    (1..=9).for_each(|n| world.observe(&format!("198.51.0.{n}"), 10 - n));
    world.turn();
    for ip in world.scanners() {
        world.answer_scanner(&ip.to_string(), Err(Failure::transient("broken")));
    }
    world.turns(4);
    assert_eq!((world.scanners().len(), world.standing(GreyNoise).state), (0, State::Failing));
    world.later(10);
    world.turn();
    assert_eq!(world.scanners().len(), 1, "half open");
    world.turns(3);
    assert_eq!(world.scanners().len(), 1);
    let probe = world.scanners()[0].to_string();
    world.answer_scanner(&probe, Ok(seen()));
    world.later(60);
    world.turn();
    assert_eq!((world.scanners().len(), world.standing(GreyNoise).state), (8, State::Ok));
}

#[test]
fn who_waits_for_a_source_that_is_left_alone_is_told() {
    let mut world = World::greynoise();
    (1..=5).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.turn();
    for ip in world.scanners() {
        world.answer_scanner(&ip.to_string(), Err(Failure::transient("broken")));
    }
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
    world.turn();
    assert_eq!((world.woken.as_slice(), world.scanners().len()), (&[ticket(1)][..], 0));
}

#[test]
fn queued_questions_are_looked_at_again_by_a_reload() {
    let mut world = World::greynoise();
    world.settings.greynoise_at_once = 1;
    (1..=4).for_each(|n| world.observe(&format!("198.51.0.{n}"), 10 - n));
    world.turn();
    world.reload(|settings| settings.never_ask = vec!["198.51.0.2/31".parse().unwrap()]);
    world.turn();
    assert_eq!(*world.status("198.51.0.3", GreyNoise), Status::Skipped(NEVER_ASK.to_owned()));
    // The one that had been handed over is held back by the network thread, and given back.
    let used = world.ledger.used;
    world.answer_scanner("198.51.0.2", Ok(seen()));
    assert_eq!(*world.status("198.51.0.2", GreyNoise), Status::Skipped(NEVER_ASK.to_owned()));
    assert_eq!(world.ledger.used, used - 1);
    world.reload(|settings| settings.greynoise = Switch::Off);
    world.turn();
    assert_eq!(*world.status("198.51.0.4", GreyNoise), Status::Skipped(SWITCHED_OFF.to_owned()));
    world.answer_scanner("198.51.0.1", Ok(seen()));
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Skipped(SWITCHED_OFF.to_owned()), "nor did it leave");
    world.reload(|settings| (settings.greynoise, settings.never_ask) = (Switch::On, Vec::new()));
    world.turns(2);
    for _ in 0..4 {
        let ip = world.scanners()[0].to_string();
        world.answer_scanner(&ip, Ok(seen()));
        world.turns(1);
    }
    assert!((1..=4).all(|n| *world.status(&format!("198.51.0.{n}"), GreyNoise) == Status::Answered));
}

#[test]
fn a_skip_that_is_not_written_yet_is_none_once_the_setting_changes_back() {
    let mut world = World::greynoise();
    world.settings.greynoise_at_once = 1;
    (1..=3).for_each(|n| world.observe(&format!("198.51.0.{n}"), 10 - n));
    world.turn();
    world.faults.writes = true;
    world.reload(|settings| settings.never_ask = vec!["198.51.0.3/32".parse().unwrap()]);
    world.turn();
    // Before it is tried again, skipped rows are made due again.
    world.faults.writes = false;
    world.reload(|settings| settings.never_ask = Vec::new());
    world.turn();
    world.turn();
    world.later(60);
    world.turn();
    assert_eq!(*world.status("198.51.0.3", GreyNoise), Status::Due);
}

#[test]
fn skipped_rows_that_somebody_holds_are_made_due_later() {
    let mut world = World::greynoise();
    world.reload(|settings| settings.greynoise = Switch::Off);
    world.observe("198.51.0.1", 1);
    world.turns(2);
    world.reload(|settings| settings.greynoise = Switch::On);
    world.faults.writes = true;
    world.turn();
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Skipped(SWITCHED_OFF.to_owned()));
    world.faults.writes = false;
    world.later(1);
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn settings_that_change_while_the_ledger_is_written_count() {
    let mut world = World::greynoise();
    let used = world.ledger.used;
    world.observe("198.51.0.1", 1);
    [Step::Prepare, Step::Claim].into_iter().for_each(|step| world.tell(Event::Turn(step)));
    world.event(Event::Turn(Step::Ask));
    world.change_settings(|settings| settings.greynoise = Switch::Off);
    world.drain();
    assert_eq!((world.asked.len(), world.ledger.used), (0, used), "it was paid for, and given back");
}

#[test]
fn what_is_given_back_while_the_ledger_is_read_is_not_lost() {
    let mut world = World::greynoise();
    let used = world.ledger.used;
    (1..=3).for_each(|n| world.observe(&format!("198.51.0.{n}"), 1));
    world.turn();
    assert_eq!((world.scanners().len(), world.ledger.used), (3, used + 3));
    // The reload has the ledger read again, and takes the key away.
    world.key = Key::default();
    world.faults.ledger = true;
    world.reload(|_| {});
    world.turn();
    (1..=3).for_each(|n| {
        world.answer_scanner(&format!("198.51.0.{n}"), Err(Failure::new(FailureKind::Withheld, "no key")));
    });
    world.faults.ledger = false;
    world.turns(1);
    assert_eq!(world.ledger.used, used);
}

#[test]
fn rows_that_stand_for_one_address_share_its_question() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.observe("::ffff:198.51.0.1", 2);
    world.observe("2002:c633:1::1", 3);
    world.observe("2600::1", 1);
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
    world.answer_scanner("198.51.0.1", Ok(seen()));
    for row in ["198.51.0.1", "::ffff:198.51.0.1", "2002:c633:1::1"] {
        assert_eq!(*world.status(row, GreyNoise), Status::Answered, "{row}");
    }
    assert_eq!(*world.status("2600::1", GreyNoise), Status::Skipped(IPV4_ONLY.to_owned()));
}

#[test]
fn several_who_wait_for_one_address_share_its_question() {
    let mut world = World::greynoise();
    world.add(ip("198.51.0.1"), 1);
    world.tell(Event::JobStarted(3));
    let sources = [GreyNoise].into_iter().collect();
    world.tell(Event::JobAsks { job: 3, ips: vec![ip("198.51.0.1")], sources, since: Some(NOON) });
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1)), (ip("198.51.0.1"), ticket(2))]));
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(4))]));
    world.answer_scanner("198.51.0.1", Ok(seen()));
    assert_eq!(world.woken, [1, 2, 4].map(ticket));
    let progress = Progress { processed: 1, enriched: 1, scanners: 1, ..Progress::default() };
    assert_eq!(world.campaign.job_progress(3), (progress, true));
}

#[test]
fn a_job_that_is_taken_over_asks_only_about_what_was_not_answered_since_it_began() {
    let mut world = World::greynoise();
    let ips = ["198.51.0.1", "198.51.0.2", "198.51.0.3"].map(ip);
    ips.iter().for_each(|ip| world.add(*ip, 1));
    world.later(1);
    let began = world.now.wall;
    let asks = || {
        let sources = [GreyNoise].into_iter().collect();
        Event::JobAsks { job: 3, ips: ips.to_vec(), sources, since: Some(began) }
    };
    world.tell(Event::JobStarted(3));
    world.tell(asks());
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.answer_scanner("198.51.0.2", Ok(seen()));
    world.turn();
    assert_eq!(world.campaign.left_of_job(3), 1);
    world.kill();
    world.later(1);
    world.asked.clear();
    world.tell(Event::JobStarted(3));
    world.tell(asks());
    assert_eq!(ips.map(|ip| world.campaign.job_waits_for(3, ip)), [false, false, true]);
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.3")]);
}

#[test]
fn a_job_names_addresses_again_whose_rows_could_not_be_looked_for() {
    let mut world = World::new();
    let (at, sources) = (ip("198.51.0.1"), [Cymru, GreyNoise].into_iter().collect());
    world.add(at, 1);
    world.tell(Event::JobStarted(3));
    let asks = || Event::JobAsks { job: 3, ips: vec![at], sources, since: Some(NOON) };
    world.event(asks());
    // Team Cymru's rows are found, and GreyNoise's are not.
    assert!(world.carry_out());
    world.faults.claims = true;
    world.drain();
    world.campaign.take_back(3, &[at]);
    world.faults.claims = false;
    world.turn();
    world.answer_dns(|ip| Ok(announced(ip, 64500, None)));
    world.turn();
    assert_eq!(world.campaign.job_progress(3), (Progress::default(), true), "it would count twice");
    world.tell(asks());
    assert!(world.campaign.job_waits_for(3, at));
}

#[test]
fn an_answer_that_comes_after_a_job_has_ended_is_written_all_the_same() {
    let mut world = World::greynoise();
    world.add(ip("198.51.0.1"), 1);
    world.tell(Event::JobStarted(3));
    let sources = [GreyNoise].into_iter().collect();
    world.tell(Event::JobAsks { job: 3, ips: vec![ip("198.51.0.1")], sources, since: None });
    world.turn();
    world.tell(Event::JobEnded(3));
    world.tell(Event::JobStarted(3));
    world.answer_scanner("198.51.0.1", Ok(seen()));
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Answered);
    assert_eq!(world.campaign.job_progress(3), (Progress::default(), true));
}

#[test]
fn an_address_for_which_nothing_is_due_is_answered_at_once() {
    let mut world = World::greynoise();
    world.tell(Event::Questions(vec![(ip("192.88.0.1"), ticket(1)), (ip("198.51.0.77"), ticket(2))]));
    assert_eq!(world.woken, [1, 2].map(ticket));
    world.faults.claims = true;
    world.add(ip("198.51.0.1"), 1);
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(3))]));
    assert_eq!(world.woken[2..], [ticket(3)], "a claim that fails finds nothing");
}

#[test]
fn a_row_that_takes_no_answer_is_left_alone_for_an_hour() {
    let mut world = World::greynoise();
    world.faults.broken = Some(ip("198.51.0.1"));
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.later(3500);
    world.turn();
    assert!(world.scanners().is_empty());
    world.later(100);
    world.turn();
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn a_row_that_somebody_holds_is_written_later() {
    let mut world = World::greynoise();
    world.faults.locked = Some(ip("198.51.0.1"));
    world.observe("198.51.0.1", 1);
    world.turn();
    world.answer_scanner("198.51.0.1", Ok(seen()));
    world.faults.locked = None;
    world.turn();
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Due, "not at once");
    world.later(1);
    world.turn();
    assert_eq!(*world.status("198.51.0.1", GreyNoise), Status::Answered);
}

#[test]
fn without_a_network_thread_the_question_is_asked_again_and_not_paid_for() {
    let mut world = World::greynoise();
    let used = world.ledger.used;
    world.faults.thread = true;
    world.observe("198.51.0.1", 1);
    world.tell(Event::Questions(vec![(ip("198.51.0.1"), ticket(1))]));
    world.turn();
    world.turn();
    assert!(world.asked.is_empty() && world.standing(GreyNoise).in_flight == 0);
    assert_eq!((world.woken.as_slice(), world.ledger.used), (&[ticket(1)][..], used));
    world.faults.thread = false;
    world.turns(1);
    assert_eq!(world.scanners(), [v4("198.51.0.1")]);
}

#[test]
fn old_verdicts_are_asked_about_when_the_schedule_says_so() {
    let mut world = World::greynoise();
    world.reload(|settings| settings.refresh_schedule = "0 13 * * *".to_owned());
    world.rows.get_mut(&ip("192.88.0.1")).unwrap().at.insert(GreyNoise, Status::Old);
    world.turns(5);
    assert!(world.scanners().is_empty());
    world.later(3600);
    world.turn();
    assert_eq!(world.scanners(), [v4("192.88.0.1")]);
}

#[test]
fn while_the_worker_rests_nothing_leaves() {
    let mut world = World::greynoise();
    world.observe("198.51.0.1", 1);
    world.turn();
    world.tell(Event::Rested);
    let answer = |_| Outcome::Scanner { ip: v4("198.51.0.1"), result: Ok(seen()) };
    assert!(!world.send(0, answer));
    world.later(60);
    assert_eq!(world.campaign.patience(true, &world.given()), POLL, "nothing would be done");
    world.tell(Event::Resumed);
    assert!(world.send(0, answer));
}
