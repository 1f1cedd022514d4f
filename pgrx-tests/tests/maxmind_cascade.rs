//! The cascade's offline answer about an address: the status of each source, and the record that a new row starts with.

use crate::maxmind_support::*;
use asn_inventory_tests::prelude::*;
use enrich::address::AddressClass;
use enrich::cascade::{Policy, offline};
use enrich::maxmind::Databases;
use enrich::record::{Enrichment, Source, Status};

const PENDING: Option<Status> = Some(Status::Pending);
const SKIPPED: Option<Status> = Some(Status::Skipped);

/// The record of a new row, if all sources may be asked about all addresses.
fn first_record<'a>(ip: std::net::IpAddr, databases: &'a Databases) -> Enrichment<'a> {
    enrich::cascade::first_record(ip, databases, &Policy::default())
}

/// MaxMind's, Cymru's and GreyNoise's status of a new row.
fn statuses(databases: &Databases, address: &str) -> (Status, Option<Status>, Option<Status>) {
    let record = first_record(ip(address), databases);
    (record.maxmind_status, record.cymru_status, record.greynoise_status)
}

#[test]
fn cymru_is_asked_only_without_a_maxmind_asn_and_greynoise_always() {
    let site = Site::small("cascade_statuses");
    let databases = site.open();
    for (address, maxmind, cymru, greynoise) in [
        (fixtures::GOOGLE_DNS, Status::Found, SKIPPED, PENDING),
        (fixtures::LARGE_ASN, Status::Found, SKIPPED, PENDING),
        (fixtures::ASN_WITHOUT_ORG, Status::Found, SKIPPED, PENDING),
        (fixtures::LONDON, Status::Found, PENDING, PENDING),
        (fixtures::CHINA_WITHOUT_ASN, Status::Found, PENDING, PENDING),
        (fixtures::UNKNOWN, Status::NotFound, PENDING, PENDING),
        (fixtures::GOOGLE_IPV6, Status::Found, SKIPPED, SKIPPED),
        ("2a10::1", Status::NotFound, PENDING, SKIPPED),
        // IPv4 in disguise is IPv4: GreyNoise can be asked.
        ("::ffff:8.8.8.8", Status::Found, SKIPPED, PENDING),
        ("2002:808:808::", Status::Found, SKIPPED, PENDING),
        ("64:ff9b::808:808", Status::Found, SKIPPED, PENDING),
    ] {
        assert_eq!(statuses(&databases, address), (maxmind, cymru, greynoise), "{address}");
        let asked_offline = offline(ip(address), &databases);
        assert_eq!(asked_offline.maxmind_status, maxmind, "{address}");
        // A look-up does not use the network's answers.
        assert_eq!((asked_offline.cymru_status, asked_offline.greynoise_status), (None, None));
    }
}

#[test]
fn a_place_without_an_asn_keeps_its_country_and_leaves_the_asn_to_cymru() {
    let site = Site::small("cascade_place_only");
    let databases = site.open();
    let china = first_record(ip(fixtures::CHINA_WITHOUT_ASN), &databases);
    assert_eq!(china.country_code, Some("CN"));
    assert_eq!(china.country_source, Some(Source::MaxMind));
    assert_eq!((china.asn_number, china.asn_org, china.asn_source), (None, None, None));
    assert_eq!(china.network, Some("218.92.0.0/16".parse().unwrap()));
    assert_eq!(china.cymru_status, PENDING);

    let london = first_record(ip(fixtures::LONDON), &databases);
    assert_eq!((london.country_code, london.region, london.city), (Some("GB"), Some("England"), Some("London")));
    assert_eq!((london.latitude, london.longitude), (Some(51.5142), Some(-0.0931)));
    assert_eq!((london.accuracy_radius_km, london.time_zone), (Some(10), Some("Europe/London")));
    assert_eq!((london.asn_number, london.cymru_status), (None, PENDING));
}

#[test]
fn an_asn_above_two_thousand_million_comes_through() {
    let site = Site::small("cascade_large_asn");
    let databases = site.open();
    let record = first_record(ip(fixtures::LARGE_ASN), &databases);
    assert_eq!(record.asn_number, Some(4_200_000_001));
    assert_eq!(record.asn_source, Some(Source::MaxMind));
    let site = Site::new("cascade_largest_asn");
    site.put(ASN, asn_file(u32::MAX, 0));
    site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(u32::MAX));
}

#[test]
fn organizations_are_cleaned_for_storage() {
    let site = Site::small("cascade_orgs");
    let databases = site.open();
    let org = |address| first_record(ip(address), &databases).asn_org;
    assert_eq!(org(fixtures::CONTROL_ORG), Some("EvilCorp [31mRed"));
    assert_eq!(org(fixtures::LONG_ORG), Some(format!("{}…", "A".repeat(252)).as_str()));
    assert_eq!(org(fixtures::ASN_WITHOUT_ORG), None);
    // An odd record does not affect the others.
    assert_eq!(org(fixtures::GOOGLE_DNS), Some("Google LLC"));
}

#[test]
fn odd_places_keep_their_valid_fields() {
    let site = Site::small("cascade_odd_places");
    let databases = site.open();
    let record = |address| offline(ip(address), &databases);
    assert_eq!(record(fixtures::REGISTERED_ONLY).country_code, Some("RO"));
    assert_eq!(record(fixtures::CONTINENT_ONLY).country_code, Some("EU"));
    let wrong = record(fixtures::WRONG_TYPES);
    assert_eq!((wrong.country_code, wrong.longitude), (Some("NL"), Some(4.8995)));
    assert_eq!((wrong.city, wrong.region, wrong.latitude), (None, None, None));
    assert_eq!((wrong.accuracy_radius_km, wrong.time_zone), (None, None));
}

/// Cymru may know the number to an organization that MaxMind only names.
#[test]
fn an_organization_without_a_number_leaves_the_number_to_cymru() {
    let site = Site::new("cascade_org_only");
    let record = json!({ "autonomous_system_organization": "Nameless Numbers" });
    site.put(ASN, MmdbWriter::new(ASN, 1).insert("8.8.8.0/24", record));
    site.installed(ASN);
    let databases = site.open();
    let record = first_record(ip("8.8.8.8"), &databases);
    assert_eq!((record.asn_org, record.asn_number, record.asn_source), (Some("Nameless Numbers"), None, None));
    assert_eq!((record.maxmind_status, record.cymru_status), (Status::Found, PENDING));
}

#[test]
fn special_purpose_addresses_stop_before_the_first_source() {
    let site = Site::small("cascade_special");
    // Even where a file claims to know them.
    let everything = fixtures::small_city(1)
        .insert("0.0.0.0/0", json!({ "country": { "iso_code": "FR" } }))
        .insert("::/1", json!({ "country": { "iso_code": "FR" } }))
        .insert("8000::/1", json!({ "country": { "iso_code": "FR" } }));
    site.put(CITY, everything);
    site.installed(CITY);
    let (installed, none) = (site.open(), Databases::default());
    assert_eq!(country(&installed, "10.0.0.1").as_deref(), Some("FR"));
    for (address, class) in [
        ("10.0.0.1", AddressClass::Private),
        ("127.0.0.1", AddressClass::Loopback),
        ("::1", AddressClass::Loopback),
        ("100.64.0.1", AddressClass::Cgnat),
        ("224.0.0.1", AddressClass::Multicast),
        ("192.0.2.1", AddressClass::Documentation),
        ("fe80::1", AddressClass::LinkLocal),
        ("fc00::1", AddressClass::Private),
        ("2001:db8::1", AddressClass::Documentation),
        ("::ffff:10.0.0.1", AddressClass::Private),
        ("2002:a00:1::", AddressClass::Private),
        ("0.0.0.0", AddressClass::Unspecified),
        ("255.255.255.255", AddressClass::Broadcast),
    ] {
        for databases in [&installed, &none] {
            let record = first_record(ip(address), databases);
            assert_eq!(record.class, class, "{address}");
            assert_eq!(statuses(databases, address), (Status::Skipped, SKIPPED, SKIPPED), "{address}");
            assert_eq!((record.network, record.asn_number, record.country_code), (None, None, None), "{address}");
            assert_eq!(offline(ip(address), databases).maxmind_status, Status::Skipped, "{address}");
        }
    }
}

#[test]
fn an_embedded_address_is_answered_as_itself_and_shown_as_asked() {
    let site = Site::small("cascade_embedded");
    let databases = site.open();
    let plain = first_record(ip("8.8.8.8"), &databases);
    assert_eq!((plain.asn_number, plain.country_code), (Some(15169), Some("US")));
    for disguise in ["::ffff:8.8.8.8", "2002:808:808::"] {
        let record = first_record(ip(disguise), &databases);
        assert_eq!(record.ip, ip(disguise));
        let mut same = plain;
        same.ip = record.ip;
        assert_eq!(format!("{record:?}"), format!("{same:?}"));
    }
}

#[test]
fn editions_answer_independently() {
    let site = Site::new("cascade_independent");
    let unavailable = (Status::Unavailable, PENDING, PENDING);
    assert_eq!(statuses(&site.open(), fixtures::GOOGLE_DNS), unavailable);
    assert!(site.open().is_empty());

    site.put(ASN, fixtures::small_asn(1));
    site.installed(ASN);
    let databases = site.open();
    let record = first_record(ip(fixtures::GOOGLE_DNS), &databases);
    assert_eq!((record.asn_number, record.asn_org), (Some(15169), Some("Google LLC")));
    assert_eq!((record.country_code, record.country_source), (None, None));
    assert_eq!(record.maxmind_status, Status::Found);
    assert_eq!(statuses(&databases, fixtures::LONDON), (Status::NotFound, PENDING, PENDING));

    let site = Site::new("cascade_city_only");
    site.put(CITY, fixtures::small_city(1));
    site.installed(CITY);
    let databases = site.open();
    let record = first_record(ip(fixtures::GOOGLE_DNS), &databases);
    assert_eq!((record.country_code, record.asn_number), (Some("US"), None));
    assert_eq!((record.maxmind_status, record.cymru_status), (Status::Found, PENDING));
}

/// An edition of which no record yields a field is there for whole records only.
#[test]
fn an_edition_of_another_kind_alone_leaves_maxmind_unavailable() {
    let site = Site::new("cascade_other_kind");
    let name = "GeoIP2-Domain";
    let writer = MmdbWriter::new(name, 1).insert("8.8.8.0/24", json!({ "domain": "example.com" }));
    site.put(name, writer);
    site.installed(name);
    let (_, databases, troubles) = site.store.open(&[edition(name)]).expect("a manifest");
    assert!(troubles.is_empty() && databases.is_empty());
    assert_eq!(statuses(&databases, "8.8.8.8").0, Status::Unavailable);
    let whole = databases.generations()[0].record(ip("8.8.8.8"));
    assert_eq!(whole.expect("a record"), Some(json!({ "domain": "example.com" })));
}

#[test]
fn of_two_editions_of_one_kind_the_first_named_answers() {
    let site = Site::new("cascade_preference");
    let place = |iso: &str| json!({ "country": { "iso_code": iso } });
    for (name, iso) in [("GeoLite2-Country", "FR"), ("DBIP-City-Lite", "DE")] {
        site.put(name, MmdbWriter::new(name, 1).insert("8.8.8.0/24", place(iso)));
        site.installed(name);
    }
    for (order, iso) in [("GeoLite2-Country,DBIP-City-Lite", "FR"), ("DBIP-City-Lite,GeoLite2-Country", "DE")] {
        let order = enrich::maxmind::Edition::list(order).expect("names");
        let (_, databases, _) = site.store.open(&order).expect("a manifest");
        assert_eq!(country(&databases, "8.8.8.8").as_deref(), Some(iso));
    }
}
