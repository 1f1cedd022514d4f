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
fn a_scope_is_no_wider_than_the_24_or_48_of_the_address() {
    let of = |prefix: &str, address: &str| scope(Some(net(prefix)), ip(address));
    assert_eq!(of("8.8.8.0/24", "8.8.8.8"), net("8.8.8.0/24"));
    for wide in ["8.0.0.0/9", "8.8.0.0/16", "8.8.8.0/23"] {
        assert_eq!(of(wide, "8.8.8.8"), net("8.8.8.0/24"), "{wide}");
    }
    assert_eq!(of("8.8.8.8/29", "8.8.8.9"), net("8.8.8.8/29"));
    assert_eq!(of("8.8.8.9/32", "8.8.8.9"), net("8.8.8.9/32"));
    for wide in ["2001:4800::/24", "2001:4860::/32", "2001:4860::/47", "2001:4860:1::/48"] {
        assert_eq!(of(wide, "2001:4860:1:2::1"), net("2001:4860:1::/48"), "{wide}");
    }
    assert_eq!(of("2001:4860:1:2::/64", "2001:4860:1:2::1"), net("2001:4860:1:2::/64"));
    assert_eq!(scope(None, ip("8.8.8.8")), net("8.8.8.0/24"));
    assert_eq!(scope(None, ip("2001:4860:1:2::1")), net("2001:4860:1::/48"));
}

#[test]
fn one_question_settles_the_24_and_nothing_beyond() {
    let mut rounds = Rounds::new([(ip("8.8.8.1"), 1), (ip("8.8.8.8"), 9), (ip("8.8.9.1"), 2)]);
    assert_eq!(rounds.next(10), [ip("8.8.8.8"), ip("8.8.9.1")], "the most observed stands for the group");
    assert!(rounds.next(10).is_empty(), "the groups have questions out");
    let origin = announced(&["8.0.0.0/9"]);
    let settled: Vec<_> = rounds.answer(ip("8.8.8.8"), &origin).into_iter().map(|(ip, _)| ip).collect();
    assert_eq!(settled, [ip("8.8.8.1"), ip("8.8.8.8")]);
    assert!(rounds.contains(ip("8.8.9.1")));
}

#[test]
fn the_longest_announcement_wins_for_the_whole_24() {
    let mut rounds = Rounds::new([(ip("94.136.40.1"), 5), (ip("94.136.40.2"), 1), (ip("94.136.33.1"), 1)]);
    assert_eq!(rounds.next(9), [ip("94.136.40.1"), ip("94.136.33.1")]);
    let origin = announced(&["94.136.32.0/19", "94.136.40.0/24"]);
    let lengths: Vec<_> = rounds
        .answer(ip("94.136.40.1"), &origin)
        .into_iter()
        .map(|(ip, by)| (ip.to_string(), by.unwrap().prefix.prefix()))
        .collect();
    assert_eq!(lengths, [("94.136.40.1".into(), 24), ("94.136.40.2".into(), 24)] as [(String, u8); 2]);
}

#[test]
fn a_prefix_longer_than_24_stands_for_itself_alone() {
    let mut rounds =
        Rounds::new([(ip("5.5.5.1"), 9), (ip("5.5.5.100"), 8), (ip("5.5.5.130"), 7), (ip("5.5.5.140"), 6)]);
    assert_eq!(rounds.next(9), [ip("5.5.5.1")]);
    // The wider one says nothing about the rest: others may be inside it there.
    let origin = announced(&["5.5.5.0/25", "5.5.4.0/23"]);
    let settled: Vec<_> = rounds.answer(ip("5.5.5.1"), &origin).into_iter().map(|(ip, _)| ip).collect();
    assert_eq!(settled, [ip("5.5.5.1"), ip("5.5.5.100")]);
    assert_eq!(rounds.next(9), [ip("5.5.5.130")]);
    let origin = announced(&["5.5.4.0/23"]);
    assert_eq!(rounds.answer(ip("5.5.5.130"), &origin).len(), 2);
    assert!(rounds.is_empty());
}

/// Case 29: 22.0.0.0/16 has other networks' /24s inside, one in two; each address gets its own origin, in any order of
/// answers.
#[test]
fn case_29_more_specific_routes_keep_their_origin() {
    let oracle = |ip: IpAddr| {
        let IpAddr::V4(v4) = ip else { unreachable!() };
        let mut known = vec![announcement(net("22.0.0.0/16"))];
        known[0].origins = vec![65001];
        if v4.octets()[2] % 2 == 1 {
            known.push(Announcement { prefix: block(ip, 24), origins: vec![65002], ..known[0].clone() });
        }
        Origin::Announced(known)
    };
    for (turn, step) in [(0u32, 1u32), (7, 3), (40, 5), (13, 40)] {
        let order: Vec<IpAddr> = (0..41).map(|n| v4(0x1600_0000 | ((turn + n * step) % 41) << 8 | 9)).collect();
        let mut rounds = Rounds::default();
        let mut origins: Vec<(IpAddr, u32)> = Vec::new();
        // They become due one after the other, each while questions about others are out.
        let mut out: Vec<IpAddr> = Vec::new();
        for (n, ip) in order.iter().enumerate() {
            rounds.add([(*ip, n as u64)]);
            out.extend(rounds.next(3));
            if n % 4 == 3 {
                for ip in out.drain(..) {
                    let origin = oracle(ip);
                    origins.extend(rounds.answer(ip, &origin).iter().map(|(ip, by)| (*ip, by.unwrap().origins[0])));
                }
            }
        }
        out.extend(rounds.next(100));
        for ip in out {
            let origin = oracle(ip);
            origins.extend(rounds.answer(ip, &origin).iter().map(|(ip, by)| (*ip, by.unwrap().origins[0])));
        }
        assert!(rounds.is_empty());
        assert!(origins.iter().all(|(ip, asn)| {
            let IpAddr::V4(v4) = ip else { return false };
            *asn == 65001 + u32::from(v4.octets()[2] % 2)
        }));
        let of = |asn| origins.iter().filter(|(_, of)| *of == asn).count();
        assert_eq!((of(65001), of(65002)), (21, 20));
    }
}

#[test]
fn a_negative_answer_settles_its_surroundings_only() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 2), (ip("5.5.5.2"), 1), (ip("5.5.6.1"), 1)]);
    assert_eq!(rounds.next(9), [ip("5.5.5.1"), ip("5.5.6.1")]);
    assert_eq!(rounds.answer(ip("5.5.5.1"), &Origin::NotAnnounced), [(ip("5.5.5.1"), None), (ip("5.5.5.2"), None)]);
    assert!(rounds.contains(ip("5.5.6.1")));
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
    assert_eq!(rounds.next(9), [ip("5.5.77.1")], "the other group has a question out");
    let origin = announced(&["5.5.0.0/16"]);
    assert_eq!(rounds.answer(ip("5.5.5.1"), &origin).len(), 2);
    rounds.add([(ip("5.5.77.2"), 9)]);
    assert!(rounds.next(9).is_empty(), "it joins the question that is out");
    assert_eq!(rounds.answer(ip("5.5.77.1"), &origin).len(), 2);
}

#[test]
fn an_address_that_comes_back_while_its_question_is_out_is_settled_by_the_answer() {
    let mut rounds = Rounds::new([(ip("5.5.5.1"), 1)]);
    rounds.next(9);
    rounds.answer(ip("5.5.5.9"), &announced(&["5.5.0.0/16"]));
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
fn many_addresses_take_one_question_a_24() {
    let spread = |i: u32| v4(0x0100_0000 + ((i % 500) << 12) + i / 500);
    let mut rounds = Rounds::new((0..10_000).map(|i| (spread(i), 1)));
    assert_eq!(rounds.len(), 10_000);
    assert_eq!(run(&mut rounds, 10_000, even(20)).len(), 500);
}

#[test]
fn ten_thousand_24s_are_asked_about_at_once() {
    for length in [8, 16, 24] {
        let mut rounds = Rounds::new((0..10_000).map(|i| (v4(0x1000_0000 + (i << 8)), u64::from(i % 9))));
        // No answer has to be waited for: sessions of any size can be filled.
        let (first, second) = (rounds.next(5000), rounds.next(5000));
        assert_eq!((first.len(), second.len(), rounds.next(5000).len()), (5000, 5000, 0));
        for ip in first.into_iter().chain(second) {
            assert_eq!(rounds.answer(ip, &even(length)(ip)).len(), 1);
        }
        assert!(rounds.is_empty());
    }
}

#[test]
fn ipv6_is_asked_about_by_48() {
    let addresses = (0..2000u128).map(|i| IpAddr::V6(Ipv6Addr::from_bits((0x2a00 << 112) | (i % 20) << 80 | i)));
    for length in [29, 32, 48] {
        let mut rounds = Rounds::new(addresses.clone().map(|ip| (ip, 1)));
        assert_eq!(run(&mut rounds, 64, even(length)).len(), 20);
    }
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
                    prop_assert!(scope(by.map(|by| by.prefix), ip).contains(settled));
                    // For every question: the route of the address itself, down to the /24.
                    let own = oracle.ask(settled).longest().map(|own| own.prefix);
                    if own.is_some_and(|own| own.prefix() <= 24) && by.is_some_and(|by| by.prefix.prefix() <= 24) {
                        prop_assert_eq!(by.map(|by| by.prefix), own);
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
