//! Look-ups through generations and their flat index give the answers of a plain reader of the operator's files.

use crate::maxmind_support::oracle::{Oracle, said};
use crate::maxmind_support::*;
use asn_inventory_tests::mmdb::synthetic::Plan;
use asn_inventory_tests::prelude::*;
use ipnetwork::IpNetwork;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First and last address of a network, the two outside of it, and one in the middle.
fn edges(network: IpNetwork) -> Vec<IpAddr> {
    match network {
        IpNetwork::V4(v4) => {
            let (first, last) = (v4.network().to_bits(), v4.broadcast().to_bits());
            let middle = first + (last - first) / 2;
            let outside = [first.checked_sub(1), last.checked_add(1)];
            let all = [first, middle, last].into_iter();
            let all = all.chain(outside.into_iter().flatten());
            all.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))).collect()
        }
        IpNetwork::V6(v6) => {
            let (first, last) = (v6.network().to_bits(), v6.broadcast().to_bits());
            let middle = first + (last - first) / 2;
            let all = [first, middle, last].into_iter();
            all.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))).collect()
        }
    }
}

fn oracle(site: &Site) -> Oracle {
    let path = |edition| Some(site.file(edition)).filter(|file| file.exists());
    Oracle::new(path(CITY).as_deref(), path(ASN).as_deref())
}

/// Every network of the files at its edges, and the ends of the address space.
fn check_everywhere(site: &Site) {
    let (oracle, databases) = (oracle(site), site.open());
    let networks = oracle.networks();
    assert!(!networks.is_empty());
    for ip in networks.into_iter().flat_map(edges) {
        oracle.check(&databases, ip);
    }
    for text in [
        "0.0.0.0",
        "0.0.255.255",
        "0.1.0.0",
        "255.255.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        oracle.check(&databases, ip(text));
    }
}

#[test]
fn the_small_files_answer_as_a_plain_reader_does() {
    let site = Site::small("lookup_small");
    check_everywhere(&site);
    let databases = site.open();
    assert_eq!(country(&databases, fixtures::LONDON).as_deref(), Some("GB"));
    assert_eq!(asn(&databases, fixtures::GOOGLE_DNS), Some(15169));
    assert_eq!(asn(&databases, fixtures::GOOGLE_IPV6), Some(15169));
}

#[test]
fn random_files_answer_as_a_plain_reader_does() {
    let site = Site::new("lookup_random");
    for (edition, plan) in [(CITY, Plan::full_city(3, 1)), (ASN, Plan::full_asn(4, 1))] {
        let file = site.file(edition);
        let made = plan.smaller(80).write(&file).expect("written");
        assert!(made.ipv4 > 1000 && made.ipv6 > 500, "{made:?}");
        age(&file);
        site.installed(edition);
    }
    let (oracle, databases) = (oracle(&site), site.open());
    let mut random = Random(11);
    let mut networks = oracle.networks();
    for _ in 0..4000 {
        oracle.check(&databases, random.v4());
        let network = networks.swap_remove(random.below(networks.len()));
        edges(network).into_iter().for_each(|ip| oracle.check(&databases, ip));
        // A random IPv6 address is in no network; one that shares its first half with a network may be.
        let IpNetwork::V6(v6) = network else { continue };
        let low = u128::from(random.next());
        let near = v6.network().to_bits() | low;
        oracle.check(&databases, IpAddr::V6(Ipv6Addr::from_bits(near)));
    }
}

/// Networks that fill many buckets of the index, share one, touch at a border, and hold one address.
#[test]
fn networks_of_every_length_answer_to_their_last_address() {
    let site = Site::new("lookup_lengths");
    let mut city = MmdbWriter::new(CITY, 1);
    let mut asn = MmdbWriter::new(ASN, 1);
    let networks = [
        "0.0.0.0/32",
        "0.0.0.1/32",
        "0.0.255.255/32",
        "0.1.0.0/32",
        "12.0.0.0/7",
        "16.0.0.0/4",
        "31.0.0.0/8",
        "31.7.0.0/16",
        "31.7.128.0/17",
        "31.7.255.254/31",
        "31.7.255.255/32",
        "31.8.0.0/32",
        "64.0.0.0/15",
        "64.1.0.0/16",
        "64.1.255.0/24",
        "64.2.0.0/24",
        "100.0.0.0/30",
        "100.0.0.4/31",
        "100.0.0.6/32",
        "192.0.0.0/2",
        "255.255.0.0/17",
        "255.255.255.255/32",
        "2a00::/12",
        "2a00:1::/32",
        "2a00:1:2:3::/64",
        "2a00:1:2:3::4/128",
        "fe80::/10",
    ];
    for (index, network) in networks.into_iter().enumerate() {
        city.add(network, json!({ "city": { "names": { "en": network } } }));
        // Only every other network has an origin: its neighbours' network is the place's.
        if index % 2 == 0 {
            asn.add(network, json!({ "autonomous_system_number": index + 1 }));
        }
    }
    site.put(CITY, city);
    site.put(ASN, asn);
    site.installed(CITY);
    site.installed(ASN);
    check_everywhere(&site);
    let databases = site.open();
    for (first, last) in [("16.0.0.0", "30.255.255.255"), ("12.0.0.0", "13.255.255.255")] {
        let says = |text| databases.place(ip(text)).and_then(|place| place.city);
        assert!(says(first).is_some());
        assert_eq!(says(first), says(last));
    }
}

#[test]
fn the_default_route_answers_for_all_of_ipv4() {
    let site = Site::new("lookup_default_route");
    let record = |number: u32| json!({ "autonomous_system_number": number });
    let all = MmdbWriter::new(ASN, 1).insert("0.0.0.0/0", record(1));
    site.put(ASN, all.insert("8.8.8.8/32", record(2)));
    site.installed(ASN);
    check_everywhere(&site);
    let databases = site.open();
    for (address, number) in [("0.0.0.0", 1), ("8.8.8.7", 1), ("8.8.8.8", 2), ("8.8.8.9", 1), ("255.255.255.255", 1)] {
        assert_eq!(asn(&databases, address), Some(number), "{address}");
    }
    assert_eq!(asn(&databases, "2a00::1"), None);
}

#[test]
fn every_record_size_answers_the_same() {
    for bits in [24, 28, 32] {
        let site = Site::new(&format!("lookup_bits_{bits}"));
        site.put(CITY, fixtures::small_city(1).record_size(bits));
        site.put(ASN, fixtures::small_asn(1).record_size(bits));
        site.installed(CITY);
        site.installed(ASN);
        assert_eq!(site.open().generations()[0].metadata().record_size, bits);
        check_everywhere(&site);
    }
}

#[test]
fn an_ipv6_form_of_an_ipv4_address_is_answered_as_ipv4() {
    let site = Site::small("lookup_embedded");
    let databases = site.open();
    let plain = said(&databases, ip("8.8.8.8"));
    assert_eq!(databases.answer(ip("8.8.8.8")).network, Some("8.8.8.0/24".parse().unwrap()));
    for disguise in [
        "::ffff:8.8.8.8",
        "2002:808:808::",
        "2002:808:808::1",
        "64:ff9b::8.8.8.8",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
    ] {
        assert_eq!(said(&databases, ip(disguise)), plain, "{disguise}");
        assert_eq!(asn(&databases, disguise), Some(15169), "{disguise}");
        assert_eq!(country(&databases, disguise).as_deref(), Some("US"), "{disguise}");
    }
}

#[test]
fn the_network_is_that_of_the_asn_or_else_of_the_place() {
    let site = Site::new("lookup_network");
    let place = |iso: &str| json!({ "country": { "iso_code": iso } });
    let city = MmdbWriter::new(CITY, 1)
        .insert("31.0.0.0/20", place("FR"))
        .insert("32.0.0.0/24", place("DE"))
        .insert("2a00:1::/32", place("IT"));
    let record = |number: u32| json!({ "autonomous_system_number": number });
    let asn = MmdbWriter::new(ASN, 1)
        .insert("31.0.0.0/24", record(1))
        .insert("33.0.0.0/9", record(2))
        .insert("2a00:1:1::/48", record(3));
    site.put(CITY, city);
    site.put(ASN, asn);
    site.installed(CITY);
    site.installed(ASN);
    let databases = site.open();
    for (address, network) in [
        ("31.0.0.7", Some("31.0.0.0/24")),
        ("31.0.1.7", Some("31.0.0.0/20")),
        ("32.0.0.7", Some("32.0.0.0/24")),
        ("33.1.2.3", Some("33.0.0.0/9")),
        ("34.1.2.3", None),
        ("2a00:1:1::7", Some("2a00:1:1::/48")),
        ("2a00:1:2::7", Some("2a00:1::/32")),
        ("2a00:2::7", None),
    ] {
        let answer = databases.answer(ip(address)).network;
        assert_eq!(answer.map(|n| n.to_string()).as_deref(), network, "{address}");
    }
}

#[test]
fn empty_records_count_as_missing() {
    let site = Site::new("lookup_nothing");
    let city = MmdbWriter::new(CITY, 1)
        .insert("31.0.0.0/24", json!({}))
        .insert("32.0.0.0/24", json!({ "city": { "geoname_id": 7 } }))
        .insert("33.0.0.0/24", json!(["no", "map"]))
        .insert("2a00:1::/32", json!({}));
    site.put(CITY, city.insert("34.0.0.0/24", json!({ "city": { "names": { "en": "Rome" } } })));
    site.installed(CITY);
    let databases = site.open();
    for address in ["31.0.0.1", "32.0.0.1", "33.0.0.1", "2a00:1::1"] {
        let answer = databases.answer(ip(address));
        assert!(answer.place.is_none() && answer.network.is_none(), "{address}: {answer:?}");
    }
    let rome = databases.answer(ip("34.0.0.1"));
    assert_eq!(rome.place.and_then(|p| p.city), Some("Rome"));
}

#[test]
fn an_ipv4_only_file_answers_ipv4_and_has_nothing_on_ipv6() {
    let site = Site::new("lookup_v4_only");
    let networks = [
        ("0.0.0.0/8", json!({ "autonomous_system_number": 1 })),
        ("8.8.8.0/24", json!({ "autonomous_system_number": 15169 })),
        ("31.0.0.0/12", json!({ "autonomous_system_organization": "wide" })),
        ("255.255.255.255/32", json!({ "autonomous_system_number": 2 })),
    ];
    raw::write(&site.file(ASN), ASN, 4, &networks);
    age(&site.file(ASN));
    site.installed(ASN);
    check_everywhere(&site);
    let databases = site.open();
    assert_eq!(databases.generations()[0].metadata().ip_version, 4);
    assert_eq!(asn(&databases, "8.8.8.8"), Some(15169));
    assert_eq!(asn(&databases, "::ffff:8.8.8.8"), Some(15169));
    assert_eq!(asn(&databases, "2001:4860:4860::8888"), None);
    let generation = &databases.generations()[0];
    assert_eq!(generation.record(ip("2001:4860:4860::8888")).expect("no error"), None);
    let inside = |range: &str| {
        let range = Some(range.parse().expect("a network"));
        let mut walk = generation.networks(range);
        std::iter::from_fn(|| walk.next(generation)).count()
    };
    assert_eq!((inside("2001:4860::/32"), inside("8.0.0.0/8")), (0, 1));
}

#[test]
fn a_tree_without_ipv4_answers_ipv4_from_the_network_above() {
    let site = Site::new("lookup_no_v4");
    let record = json!({ "autonomous_system_number": 7 });
    raw::write(&site.file(ASN), ASN, 6, &[("::/3", record.clone())]);
    age(&site.file(ASN));
    site.installed(ASN);
    check_v4(&site, Some(7));
    raw::write(&site.file(ASN), ASN, 6, &[("2a00::/12", record)]);
    age(&site.file(ASN));
    site.installed(ASN);
    check_v4(&site, None);
    assert_eq!(asn(&site.open(), "2a00::1"), Some(7));
}

fn check_v4(site: &Site, number: Option<u32>) {
    let databases = site.open();
    for address in ["0.0.0.0", "8.8.8.8", "255.255.255.255"] {
        assert_eq!(asn(&databases, address), number, "{address}");
    }
}

#[test]
fn whole_records_and_ranges_come_from_any_edition() {
    let site = Site::small("lookup_whole");
    let databases = site.open();
    let city = databases.edition(&edition(CITY)).expect("installed");
    let london = city.record(ip(fixtures::LONDON)).expect("a record");
    assert_eq!(london.expect("a record")["city"]["names"]["en"], "London");
    assert_eq!(city.record(ip(fixtures::UNKNOWN)).expect("no error"), None);
    let range = "81.2.0.0/16".parse().expect("a network");
    let mut walk = city.networks(Some(range));
    let inside: Vec<_> = std::iter::from_fn(|| walk.next(city)).collect();
    assert_eq!(inside.len(), 1);
    let (network, record) = inside[0].as_ref().expect("a record");
    assert_eq!(network.to_string(), "81.2.69.142/31");
    assert_eq!(record["country"]["iso_code"], "GB");
    assert!(databases.edition(&edition("GeoIP2-ISP")).is_none());
}
