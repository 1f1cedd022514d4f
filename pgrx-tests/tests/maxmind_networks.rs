//! The walk over a file's networks finds the same as an iteration over the plain file, from any point of continuation.

use crate::maxmind_support::*;
use asn_inventory_tests::mmdb::synthetic::Plan;
use asn_inventory_tests::prelude::*;
use enrich::maxmind::{Generation, Networks};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use maxminddb::{Reader, WithinOptions};
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One file, read both ways.
struct Both {
    site: Site,
    plain: Reader<Vec<u8>>,
}

impl Both {
    fn of(site: Site) -> Both {
        site.installed(ASN);
        let plain = Reader::open_readfile(site.file(ASN)).expect("a sound file");
        Both { site, plain }
    }

    fn expected(&self, range: Option<IpNetwork>) -> Vec<(IpNetwork, Value)> {
        let options = WithinOptions::default();
        let within = match range {
            Some(range) if range.is_ipv6() && self.plain.metadata().ip_version == 4 => return Vec::new(),
            Some(range) => self.plain.within(range, options),
            None => self.plain.networks(options),
        };
        let each = within.expect("an iteration").map(|found| {
            let found = found.expect("a network");
            let record: Value = found.decode().expect("a record").unwrap_or(Value::Null);
            (found.network().expect("a network"), without_nul(&record))
        });
        each.collect()
    }

    fn check(&self, ranges: &[Option<IpNetwork>]) -> usize {
        let databases = self.site.open();
        let generation = databases.edition(&edition(ASN)).expect("installed");
        let mut found = 0;
        for range in ranges {
            let (walked, expected) = (all(generation, *range), self.expected(*range));
            assert!(walked == expected, "{range:?}: {} networks for {}", walked.len(), expected.len());
            found += walked.len();
        }
        found
    }
}

fn all(generation: &Generation, range: Option<IpNetwork>) -> Vec<(IpNetwork, Value)> {
    let mut walk = generation.networks(range);
    let each = std::iter::from_fn(|| {
        // The state between two steps borrows nothing: each continues from a copy.
        let mut copy: Networks = walk;
        let step = copy.next(generation);
        walk = copy;
        step
    });
    each.map(|step| step.expect("a network")).collect()
}

/// PostgreSQL has no NUL in its texts.
fn without_nul(record: &Value) -> Value {
    serde_json::from_str(&record.to_string().replace("\\u0000", "")).expect("JSON")
}

/// Every length around an address of each family, with and without bits of a host; and everything.
fn ranges(addresses: &[&str]) -> Vec<Option<IpNetwork>> {
    let mut ranges = vec![None];
    for address in addresses {
        let address = ip(address);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        ranges.extend((0..=bits).map(|length| Some(IpNetwork::new(address, length).expect("a network"))));
    }
    ranges
}

const ADDRESSES: [&str; 14] = [
    "0.0.0.0",
    "8.8.8.8",
    "8.8.8.255",
    "81.2.69.142",
    "255.255.255.255",
    "::",
    "::8.8.8.8",
    "::ffff:8.8.8.8",
    "2001:0:808:808::1",
    "2001:4860:4860::8888",
    "2002:808:808::",
    "2a02:4780::1",
    "8000::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

#[test]
fn the_small_file_is_walked_as_it_is_iterated() {
    let site = Site::new("networks_small");
    site.put(ASN, fixtures::small_asn(1));
    assert!(Both::of(site).check(&ranges(&ADDRESSES)) > 500);
}

#[test]
fn random_files_are_walked_as_they_are_iterated() {
    let site = Site::new("networks_random");
    for (seed, divisor) in [(5, 400), (6, 2)] {
        let file = site.file(ASN);
        Plan::full_asn(seed, seed).smaller(divisor).write(&file).expect("written");
        age(&file);
        let both = Both::of(Site::new(&format!("networks_random_{seed}")).with(&file));
        let everything = both.check(&[None]);
        assert!(everything > 1000);
        let mut random = Random(seed);
        let mut some = Vec::new();
        // Each range is walked twice: few of the long file may be wide.
        let (widest4, widest6) = if divisor > 100 { (2, 4) } else { (14, 20) };
        for _ in 0..200 {
            let v4 = Ipv4Network::new(
                Ipv4Addr::from_bits(random.next() as u32),
                widest4 + random.below(33 - usize::from(widest4)) as u8,
            );
            some.push(Some(IpNetwork::V4(v4.expect("a network"))));
            let high = 0x2000_0000_0000_0000 | random.next() >> 3;
            let v6 = Ipv6Network::new(
                Ipv6Addr::from_bits(u128::from(high) << 64),
                widest6 + random.below(129 - usize::from(widest6)) as u8,
            );
            some.push(Some(IpNetwork::V6(v6.expect("a network"))));
        }
        assert!(both.check(&some) > 0);
    }
}

#[test]
fn an_ipv4_only_file_has_no_ipv6_networks() {
    let site = Site::new("networks_v4");
    let networks = [
        ("0.0.0.0/8", json!({ "autonomous_system_number": 1 })),
        ("8.8.8.0/24", json!({ "autonomous_system_number": 15169 })),
        ("31.0.0.0/12", json!({ "autonomous_system_number": 3 })),
        ("255.255.255.255/32", json!({ "autonomous_system_number": 2 })),
    ];
    raw::write(&site.file(ASN), ASN, 4, &networks);
    age(&site.file(ASN));
    let both = Both::of(site);
    assert_eq!(both.check(&[None]), 4);
    both.check(&ranges(&ADDRESSES));
}

#[test]
fn a_tree_without_ipv4_is_walked_as_it_is_iterated() {
    let record = |number: u32| json!({ "autonomous_system_number": number });
    for (name, networks) in [
        ("above", vec![("::/3", record(7)), ("2001:4860::/32", record(8)), ("8000::/1", record(9))]),
        ("nothing", vec![("2a00::/12", record(7)), ("ffff::/16", record(8))]),
        ("one", vec![("::/1", record(7))]),
        ("low", vec![("::1.0.0.0/104", record(7)), ("2002::/16", record(8)), ("2001::/32", record(7))]),
    ] {
        let site = Site::new(&format!("networks_no_v4_{name}"));
        raw::write(&site.file(ASN), ASN, 6, &networks);
        age(&site.file(ASN));
        assert!(Both::of(site).check(&ranges(&ADDRESSES)) > 0, "{name}");
    }
}
