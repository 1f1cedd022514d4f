//! Team Cymru by DNS.

use super::support::{BRIEF, PATIENCE, datagram, example, origin_name, tcp, texts, timed_out, udp};
use asn_inventory_tests::fakes::{DnsFault, Fault, Service, Via};
use hickory_proto::op::{Message, ResponseCode};
use std::time::{Duration, Instant};

#[test]
fn dns_answers_origins_and_names_over_udp_and_tcp() {
    let fakes = example();
    let nested = [
        "64500 64501 | 203.0.113.0/24 | US | arin | 2001-01-01".to_owned(),
        "64502 | 203.0.112.0/20 | DE | arin | 2001-01-01".to_owned(),
    ];
    let name = origin_name("203.0.113.7");
    for ask in [udp, tcp] {
        assert_eq!(texts(&ask(&fakes, &name)), (ResponseCode::NoError, nested.to_vec()));
        let (_, v6) = texts(&ask(&fakes, &origin_name("2001:db8::1")));
        assert_eq!(v6, ["64503 | 2001:db8::/32 |  | arin | 2001-01-01"]);
        let (_, named) = texts(&ask(&fakes, "AS64500.asn.cymru.com."));
        assert_eq!(named, ["64500 | US | arin | 2001-01-01 | EXAMPLE-AS - Example, US"]);
        for unknown in [&origin_name("198.51.100.1"), &origin_name("2001:db9::"), "AS64501.asn.cymru.com."] {
            assert_eq!(texts(&ask(&fakes, unknown)), (ResponseCode::NXDomain, vec![]), "{unknown}");
        }
    }
    fakes.withdraw("203.0.113.0/24");
    assert_eq!(texts(&udp(&fakes, &name)).1, nested[1..]);
    assert_eq!(fakes.times(Service::Dns, "203.0.113.7"), 3);
    let counts = fakes.counts(Service::Dns);
    assert_eq!((counts.requests, counts.distinct, counts.addresses), (13, 4, 9));
    let asked = fakes.asked(Service::Dns);
    assert_eq!((asked[0].what.as_str(), asked[0].via, asked[0].malformed), (name.as_str(), Via::Udp, false));
    assert!(asked.iter().any(|asked| asked.via == Via::Tcp));
    fakes.clear_log();
    assert_eq!((fakes.count(Service::Dns), fakes.asked(Service::Dns).len()), (0, 0));
}

#[test]
fn dns_logs_a_malformed_name_and_does_not_know_it() {
    let fakes = example();
    let name = "113.0.203.origin.asn.cymru.com.";
    assert_eq!(texts(&udp(&fakes, name)), (ResponseCode::NXDomain, vec![]));
    let asked = fakes.asked(Service::Dns);
    assert!(asked[0].malformed && asked[0].addresses == 0, "{asked:?}");
}

#[test]
fn dns_truncates_a_long_name_over_udp_and_gives_it_whole_over_tcp() {
    let fakes = example();
    let long = format!("LONG - {}, US", "n".repeat(3000));
    fakes.name(64510, &long);
    let short = udp(&fakes, "AS64510.asn.cymru.com.");
    assert!(short.metadata.truncation && short.answers.is_empty());
    let (_, whole) = texts(&tcp(&fakes, "AS64510.asn.cymru.com."));
    assert!(whole[0].ends_with(&long));
}

#[test]
fn dns_fails_as_configured() {
    let fakes = example();
    let name = origin_name("203.0.113.7");
    let ask = || udp(&fakes, &name);
    for (fault, code) in [
        (DnsFault::Servfail, ResponseCode::ServFail),
        (DnsFault::Refused, ResponseCode::Refused),
        (DnsFault::Nxdomain, ResponseCode::NXDomain),
    ] {
        fakes.fault(fault);
        assert_eq!(texts(&ask()), (code, vec![]));
        assert_eq!(texts(&tcp(&fakes, &name)), (code, vec![]));
        fakes.clear_faults();
    }
    fakes.fault(DnsFault::ForeignTxt);
    assert!(texts(&ask()).1[0].starts_with("v=spf1 "));
    fakes.clear_faults_of(Service::Whois);
    assert!(texts(&ask()).1[0].starts_with("v=spf1 "));
    fakes.clear_faults_of(Service::Dns);

    fakes.fault(DnsFault::Truncate);
    assert!(ask().metadata.truncation && ask().answers.is_empty());
    assert_eq!(texts(&tcp(&fakes, &name)).1.len(), 2);
    fakes.clear_faults();

    fakes.fault(DnsFault::Garbage);
    assert!(Message::from_vec(&datagram(&fakes, &name, PATIENCE).unwrap()).is_err());
    fakes.clear_faults();

    fakes.fault(DnsFault::Drop);
    assert!(timed_out(datagram(&fakes, &name, BRIEF).unwrap_err().kind()));
    fakes.clear_faults();

    fakes.fault(DnsFault::Delay(200));
    let start = Instant::now();
    assert_eq!(texts(&ask()).1.len(), 2);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_fault_applies_to_the_next_requests_or_to_some_addresses() {
    let fakes = example();
    fakes.fault(Fault::from(DnsFault::Servfail).next(2).within("203.0.113.0/28"));
    let code = |ip: &str| texts(&udp(&fakes, &origin_name(ip))).0;
    assert_eq!(code("203.0.113.16"), ResponseCode::NoError);
    assert_eq!(code("203.0.113.1"), ResponseCode::ServFail);
    assert_eq!(code("203.0.113.2"), ResponseCode::ServFail);
    assert_eq!(code("203.0.113.3"), ResponseCode::NoError);
}
