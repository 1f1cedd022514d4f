//! Team Cymru by bulk whois.

use super::support::{BRIEF, Own, PATIENCE, bulk, connect, example, rows, timed_out, whois};
use asn_inventory_tests::fakes::{Fault, Service, Via, WhoisFault};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn whois_answers_a_bulk_session_in_the_documented_rows() {
    let fakes = example();
    let (rows, expected) = (
        rows(&fakes, &["203.0.113.7", "2001:db8::1", "192.168.1.1", "not-an-address"]),
        [
            "64500|203.0.113.7|203.0.113.0/24|US|arin|2001-01-01|EXAMPLE-AS - Example, US",
            "64501|203.0.113.7|203.0.113.0/24|US|arin|2001-01-01|",
            "64502|203.0.113.7|203.0.112.0/20|DE|arin|2001-01-01|",
            "64503|2001:0db8:0000:0000:0000:0000:0000:0001|2001:db8::/32||arin|2001-01-01|",
            "NA|192.168.1.1|NA||other||NA",
            "Error: no ASN or IP match on line 6.",
        ],
    );
    assert_eq!(rows, expected);
    let asked = fakes.asked(Service::Whois);
    assert_eq!((asked.len(), asked[0].what.as_str(), asked[0].addresses), (1, "bulk", 3));
    assert_eq!((asked[0].via, asked[0].malformed), (Via::Tcp, true));
}

#[test]
fn whois_answers_a_single_query_and_logs_it_as_one() {
    let fakes = example();
    let (reply, end) = whois(&fakes, "203.0.113.7\n", PATIENCE);
    end.unwrap();
    assert!(String::from_utf8(reply).unwrap().contains("64500   | 203.0.113.7      | EXAMPLE-AS - Example, US\n"));
    assert_eq!(fakes.asked(Service::Whois)[0].what, "single 203.0.113.7");
}

#[test]
fn whois_refuses_connections_until_the_fault_is_cleared() {
    let fakes = example();
    for _ in 0..3 {
        fakes.fault(WhoisFault::Refuse);
        assert_eq!(TcpStream::connect(fakes.whois()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        fakes.clear_faults();
        assert_eq!(rows(&fakes, &["203.0.112.1"]).len(), 1);
    }
}

#[test]
fn whois_breaks_connections_as_configured() {
    let fakes = example();
    let addresses = ["203.0.113.7", "203.0.112.1", "2001:db8::1"];
    let (whole, _) = bulk(&fakes, &addresses, PATIENCE);

    fakes.fault(WhoisFault::Reset(100));
    let (part, end) = bulk(&fakes, &addresses, PATIENCE);
    assert_eq!((end.unwrap_err().kind(), part.as_slice()), (ErrorKind::ConnectionReset, &whole[..100]));
    fakes.clear_faults();

    fakes.fault(WhoisFault::Cut(2));
    let (part, end) = bulk(&fakes, &addresses, PATIENCE);
    end.unwrap();
    assert!(whole.starts_with(&part) && !part.ends_with(b"\n"));
    assert_eq!(part.iter().filter(|&&byte| byte == b'\n').count(), 3);
    fakes.clear_faults();

    fakes.fault(WhoisFault::Silent);
    let (part, end) = bulk(&fakes, &addresses, BRIEF);
    assert!(part.is_empty() && timed_out(end.unwrap_err().kind()));
    fakes.clear_faults();

    fakes.fault(WhoisFault::SlowLoris(20));
    let start = Instant::now();
    let mut stream = connect(fakes.whois(), PATIENCE);
    stream.write_all(b"begin\nverbose\n203.0.113.7\nend\n").unwrap();
    let mut part = [0; 10];
    stream.read_exact(&mut part).unwrap();
    assert_eq!(part, whole[..10]);
    assert!(start.elapsed() >= Duration::from_millis(180));
    fakes.clear_faults();

    fakes.fault(Fault::from(WhoisFault::Delay(200)).next(1));
    let start = Instant::now();
    assert_eq!(bulk(&fakes, &addresses, PATIENCE).0, whole);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn whois_sends_wrong_rows_as_configured() {
    let fakes = example();
    let addresses = ["203.0.112.1", "203.0.113.7"];
    let (whole, _) = bulk(&fakes, &addresses, PATIENCE);

    fakes.fault(Fault::from(WhoisFault::Invalid).within("203.0.113.7/32").next(1));
    assert_eq!(bulk(&fakes, &addresses, PATIENCE).0, b"Invalid | Response\n");

    fakes.fault(Fault::from(WhoisFault::Garbage).next(1));
    let (garbage, _) = bulk(&fakes, &addresses, PATIENCE);
    assert!(garbage.len() > 1000 && String::from_utf8(garbage).is_err());

    fakes.fault(Fault::from(WhoisFault::Unasked).next(1));
    let more = rows(&fakes, &addresses);
    assert_eq!(more.iter().filter(|row| row.starts_with("64666|")).count(), 3);
    assert_eq!(more.len(), 4 + 3);

    let names = |fault: WhoisFault, within: &str| {
        fakes.fault(Fault::from(fault).within(within).next(1));
        bulk(&fakes, &addresses, PATIENCE).0
    };
    assert_eq!(names(WhoisFault::LongNames, "203.0.113.7/32").len() / 100_000, 9);
    let odd = names(WhoisFault::ControlNames, "203.0.112.1/32");
    let odd_lines = odd.split(|&byte| byte == b'\n').filter(|line| line.contains(&0x1b)).count();
    assert!(odd_lines == 1 && String::from_utf8(odd).is_err());
    assert!(names(WhoisFault::NulNames, "0.0.0.0/0").contains(&0));
    assert_eq!(bulk(&fakes, &addresses, PATIENCE).0, whole);
}

#[test]
fn whois_takes_many_addresses_and_rules_announce_them() {
    let fakes = Own::start();
    fakes.rule("20.0.0.0/6", 20, 64500, "US");
    let mut request = String::from("begin\nverbose\n");
    for index in 0..100_000u32 {
        let ip = std::net::Ipv4Addr::from(0x1400_0000 + index * 500);
        request.push_str(&format!("{ip}\n"));
    }
    request.push_str("end\n");
    let (reply, end) = whois(&fakes, &request, PATIENCE);
    end.unwrap();
    let text = String::from_utf8(reply).unwrap();
    assert_eq!(text.lines().count(), 100_001);
    // The last address is 49,999,500 behind the first: block 12,206 of 4096 addresses.
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("76706   | 22.250.238.140   | 22.250.224.0/20     | US | arin "), "{last}");
    assert!(last.ends_with("NET-76706 - Network 76706, US"), "{last}");
    let counts = fakes.counts(Service::Whois);
    assert_eq!((counts.requests, counts.distinct), (1, 100_000));
}
