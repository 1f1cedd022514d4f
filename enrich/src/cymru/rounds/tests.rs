use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn announcement(prefix: IpNetwork) -> Announcement {
    Announcement { prefix, origins: vec![64500], country: None, registry: None, allocated: None, as_name: None }
}

fn announced(prefixes: &[&str]) -> Origin {
    Origin::Announced(prefixes.iter().map(|prefix| announcement(net(prefix))).collect())
}

/// Asks until nothing is left; gives back how often each address was asked about.
fn run(rounds: &mut Rounds, max: usize, oracle: impl Fn(IpAddr) -> Origin) -> Vec<IpAddr> {
    let mut asked = Vec::new();
    loop {
        let now = rounds.next(max);
        if now.is_empty() {
            break;
        }
        for ip in now {
            rounds.answer(ip, &oracle(ip));
            asked.push(ip);
        }
    }
    assert!(rounds.is_empty(), "{} left", rounds.len());
    asked
}

fn v4(bits: u32) -> IpAddr {
    IpAddr::V4(bits.into())
}

/// Everything is announced in prefixes of one length.
fn even(length: u8) -> impl Fn(IpAddr) -> Origin {
    move |ip| Origin::Announced(vec![announcement(block(ip, length))])
}

#[test]
fn a_scope_is_no_wider_than_the_widest_group() {
    assert_eq!(scope(net("8.8.8.0/24"), ip("8.8.8.8")), net("8.8.8.0/24"));
    assert_eq!(scope(net("8.0.0.0/9"), ip("8.8.8.8")), net("8.8.0.0/16"));
    assert_eq!(scope(net("2001:4800::/24"), ip("2001:4860::1")), net("2001:4860::/32"));
    assert_eq!(scope(net("2001:4860:1::/48"), ip("2001:4860:1::1")), net("2001:4860:1::/48"));
    assert_eq!(negative_scope(ip("8.8.8.8")), net("8.8.8.0/24"));
    assert_eq!(negative_scope(ip("2001:4860:1:2::1")), net("2001:4860:1::/48"));
}

#[test]
fn one_question_settles_a_whole_prefix() {
    let mut rounds = Rounds::new([(ip("8.8.0.1"), 1), (ip("8.8.8.8"), 9), (ip("8.8.200.1"), 2)]);
    assert_eq!(rounds.next(10), [ip("8.8.8.8")], "the most observed stands for the group");
    assert!(rounds.next(10).is_empty(), "the group has a question out");
    let origin = announced(&["8.0.0.0/9"]);
    let settled: Vec<_> = rounds.answer(ip("8.8.8.8"), &origin).into_iter().map(|(ip, _)| ip).collect();
    assert_eq!(settled, [ip("8.8.0.1"), ip("8.8.8.8"), ip("8.8.200.1")]);
    assert!(rounds.is_empty());
}

#[test]
fn the_longest_announcement_wins() {
    let mut rounds = Rounds::new([(ip("94.136.40.1"), 5), (ip("94.136.40.2"), 1), (ip("94.136.33.1"), 1)]);
    assert_eq!(rounds.next(1), [ip("94.136.40.1")]);
    let origin = announced(&["94.136.32.0/19", "94.136.40.0/24"]);
    let lengths: Vec<_> = rounds
        .answer(ip("94.136.40.1"), &origin)
        .into_iter()
        .map(|(ip, by)| (ip.to_string(), by.unwrap().prefix.prefix()))
        .collect();
    assert_eq!(
        lengths,
        [("94.136.33.1".into(), 19), ("94.136.40.1".into(), 24), ("94.136.40.2".into(), 24)] as [(String, u8); 3]
    );
}

#[test]
fn a_negative_answer_settles_its_surroundings_only() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 2), (ip("5.5.5.2"), 1), (ip("5.5.6.1"), 1)]);
    assert_eq!(rounds.next(9), [ip("5.5.5.1")]);
    assert_eq!(rounds.answer(ip("5.5.5.1"), &Origin::NotAnnounced), [(ip("5.5.5.1"), None), (ip("5.5.5.2"), None)]);
    assert_eq!(rounds.next(9), [ip("5.5.6.1")]);
}

#[test]
fn a_failure_takes_one_address_and_the_group_asks_on() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 2), (ip("5.5.5.2"), 1)]);
    assert_eq!(rounds.next(9), [ip("5.5.5.1")]);
    rounds.fail(ip("5.5.5.1"));
    assert!(!rounds.contains(ip("5.5.5.1")));
    assert_eq!(rounds.next(9), [ip("5.5.5.2")]);
    rounds.fail(ip("5.5.5.2"));
    assert!(rounds.is_empty() && rounds.next(9).is_empty());
}

#[test]
fn most_observed_groups_are_asked_first() {
    let mut rounds = Rounds::new([(ip("1.1.1.1"), 1), (ip("3.1.1.1"), 7), (ip("2.1.1.1"), 4)]);
    assert_eq!(rounds.next(2), [ip("3.1.1.1"), ip("2.1.1.1")]);
    assert_eq!(rounds.outstanding(), 2);
}

#[test]
fn addresses_that_come_later_join_the_groups() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 1)]);
    assert_eq!(rounds.next(9), [ip("5.5.5.1")]);
    rounds.add([(ip("5.5.5.2"), 8), (ip("5.5.77.1"), 8), (ip("5.5.5.1"), 8)]);
    assert!(rounds.next(9).is_empty(), "their group has a question out");
    let origin = announced(&["5.5.5.0/24"]);
    assert_eq!(rounds.answer(ip("5.5.5.1"), &origin).len(), 2);
    rounds.add([(ip("5.5.77.2"), 9)]);
    assert_eq!(rounds.next(9), [ip("5.5.77.2")], "the group of the /20 goes on with its most observed");
}

#[test]
fn an_address_that_comes_back_while_its_question_is_out_is_settled_by_the_answer() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 1)]);
    rounds.next(9);
    rounds.answer(ip("5.5.9.9"), &announced(&["5.5.0.0/16"]));
    assert!(rounds.is_empty());
    rounds.add([(ip("5.5.5.1"), 1)]);
    assert!(rounds.next(9).is_empty());
    assert_eq!(rounds.answer(ip("5.5.5.1"), &Origin::NotAnnounced).len(), 1);
    assert!(rounds.is_empty() && rounds.groups.is_empty());
}

#[test]
fn after_a_drain_late_answers_settle_nothing() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 1), (ip("9.9.9.9"), 1)]);
    rounds.next(1);
    assert_eq!(rounds.drain(), [ip("5.5.5.1"), ip("9.9.9.9")]);
    assert!(rounds.answer(ip("5.5.5.1"), &Origin::NotAnnounced).is_empty());
    assert!(rounds.is_empty() && rounds.outstanding() == 0);
}

#[test]
fn ten_thousand_addresses_of_five_hundred_prefixes_take_a_thousand_questions() {
    let contiguous = |i: u32| v4(0x0100_0000 + ((i % 500) << 12) + (i / 500) * 200);
    let scattered = |i: u32| v4(((i % 500 + 256) << 20) + (i / 500) * 200);
    for addresses in [(0..10_000).map(contiguous).collect::<Vec<_>>(), (0..10_000).map(scattered).collect()] {
        let mut rounds = Rounds::new(addresses.iter().map(|ip| (*ip, 1)));
        assert_eq!(rounds.len(), 10_000);
        let asked = run(&mut rounds, 10_000, even(20));
        assert!(asked.len() <= 1000, "{} questions", asked.len());
    }
}

#[test]
fn ten_thousand_prefixes_take_a_question_each() {
    for spread in [8, 12] {
        let mut rounds = Rounds::new((0..10_000).map(|i| (v4(0x1000_0000 + (i << spread)), u64::from(i % 9))));
        let asked = run(&mut rounds, 1000, even(24));
        assert_eq!(asked.iter().collect::<HashSet<_>>().len(), asked.len(), "none twice");
        assert_eq!(asked.len(), 10_000);
    }
}

#[test]
fn ipv6_goes_from_allocations_to_single_addresses() {
    let addresses = (0..2000u128).map(|i| IpAddr::V6(Ipv6Addr::from_bits((0x2a00 << 112) | (i % 20) << 80 | i)));
    let mut rounds = Rounds::new(addresses.map(|ip| (ip, 1)));
    assert!(run(&mut rounds, 64, even(48)).len() <= 40);
}

#[test]
fn prefixes_longer_than_every_group_end_too() {
    let mut rounds = Rounds::new((0..600).map(|i| (v4(0x0505_0500 + i), 1)));
    assert_eq!(run(&mut rounds, 64, even(32)).len(), 600);
}

#[test]
fn a_hundred_thousand_addresses_are_no_trouble() {
    let spread = |i: u32| v4(i.wrapping_mul(2_654_435_761));
    let mut rounds = Rounds::new((0..100_000).map(|i| (spread(i), u64::from(i & 7))));
    run(&mut rounds, 10_000, even(18));
}

/// Nested prefixes, and answers as the service gives them: all prefixes around the address asked.
struct Oracle(BTreeSet<(u8, IpAddr)>);

impl Oracle {
    fn ask(&self, ip: IpAddr) -> Origin {
        let around: Vec<_> = (1..=32u8)
            .rev()
            .filter(|length| self.0.contains(&(*length, block(ip, *length).ip())))
            .map(|length| announcement(block(ip, length)))
            .collect();
        if around.is_empty() { Origin::NotAnnounced } else { Origin::Announced(around) }
    }
}

proptest! {
    #[test]
    fn every_address_is_settled_once_by_something_around_it(
        prefixes in proptest::collection::vec((0u32..1 << 12, 8u8..=32), 0..40),
        addresses in proptest::collection::btree_map(0u32..1 << 12, 0u64..50, 1..200),
        later in proptest::collection::btree_map(0u32..1 << 12, 0u64..50, 0..50),
        failing in 0u32..7,
        max in 1usize..50,
    ) {
        // Spread over 16 /16s and, in each, over 256 addresses that differ in the higher host bits too.
        let spread = |i: u32| v4(0x0a00_0000 | (i >> 8) << 16 | (i & 0xf0) << 8 | (i & 0x0f) << 4);
        let oracle = Oracle(prefixes.iter().map(|(i, length)| (*length, block(spread(*i), *length).ip())).collect());
        let mut rounds = Rounds::new(addresses.iter().map(|(i, count)| (spread(*i), *count)));
        let mut expected: HashSet<IpAddr> = addresses.keys().map(|i| spread(*i)).collect();
        let mut later = Some(later);
        let mut asked = HashSet::new();
        loop {
            let now = rounds.next(max);
            if now.is_empty() {
                break;
            }
            // Late additions, while questions are out; only those not gone already.
            if let Some(later) = later.take() {
                expected.extend(later.keys().map(|i| spread(*i)));
                rounds.add(later.into_iter().map(|(i, count)| (spread(i), count)));
            }
            for ip in now {
                prop_assert!(asked.insert(ip), "{} asked twice", ip);
                if failing > 0 && asked.len() as u32 % 7 == failing {
                    expected.remove(&ip);
                    rounds.fail(ip);
                    continue;
                }
                let origin = oracle.ask(ip);
                for (settled, by) in rounds.answer(ip, &origin) {
                    prop_assert!(expected.remove(&settled), "{} settled twice", settled);
                    match by {
                        Some(by) => prop_assert!(scope(by.prefix, ip).contains(settled)),
                        None => prop_assert!(negative_scope(ip).contains(settled)),
                    }
                }
                prop_assert!(!rounds.contains(ip));
            }
            prop_assert_eq!(rounds.len(), expected.len());
        }
        prop_assert!(expected.is_empty());
        prop_assert!(rounds.is_empty() && rounds.groups.is_empty() && rounds.ready.is_empty());
    }
}
