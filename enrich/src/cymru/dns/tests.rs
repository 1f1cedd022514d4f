use std::time::Instant;

use super::*;
use crate::cymru::fake::{Dns, Say};
use crate::failure::FailureKind;

const QUICK: Duration = Duration::from_millis(300);
const RECORD: &str = "15169 | 8.8.8.0/24 | US | arin | 1992-12-01";

fn google() -> IpAddr {
    "8.8.8.8".parse().unwrap()
}

fn resolver(servers: &[&Dns]) -> Resolver {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    Resolver::new(&addresses, QUICK).unwrap()
}

async fn ask(server: &Dns) -> Result<Origin, Failure> {
    resolver(&[server]).origin(google()).await
}

fn prefix(origin: Result<Origin, Failure>) -> String {
    match origin.unwrap() {
        Origin::Announced(known) => known[0].prefix.to_string(),
        Origin::NotAnnounced => "none".into(),
    }
}

#[tokio::test]
async fn an_answer_comes_back() {
    let server = Dns::start(|query| match query.name.as_str() {
        "8.8.8.8.origin.asn.cymru.com." => Say::txt(RECORD),
        "AS23028.asn.cymru.com." => Say::txt("23028 | US | arin | 2002-01-04 | TEAM-CYMRU - Team Cymru Inc., US"),
        _ => Say::Code(3),
    });
    assert_eq!(prefix(ask(&server).await), "8.8.8.0/24");
    let resolver = resolver(&[&server]);
    assert_eq!(resolver.as_name(23028).await.unwrap().unwrap().country.as_deref(), Some("US"));
    assert_eq!(resolver.as_name(1).await, Ok(None));
}

#[tokio::test]
async fn ipv6_is_asked_under_its_own_name() {
    let server = Dns::start(|query| match query.name.ends_with(".1.0.0.2.origin6.asn.cymru.com.") {
        true => Say::txt("15169 | 2001:4860::/32 | US | arin | 2005-03-14"),
        false => Say::Code(3),
    });
    let answer = resolver(&[&server]).origin("2001:4860:b002::68".parse().unwrap()).await;
    assert_eq!(prefix(answer), "2001:4860::/32");
}

#[tokio::test]
async fn nothing_there_is_an_answer() {
    for code in [None, Some(3)] {
        let server = Dns::start(move |_| code.map_or(Say::NoData, Say::Code));
        assert_eq!(ask(&server).await, Ok(Origin::NotAnnounced));
    }
    let server = Dns::start(|_| Say::txt("NA | | | |"));
    assert_eq!(ask(&server).await, Ok(Origin::NotAnnounced));
}

#[tokio::test]
async fn trouble_is_never_a_negative_answer() {
    let troubles: [fn() -> Say; 9] = [
        || Say::Nothing,
        || Say::Code(1),
        || Say::Code(2),
        || Say::Code(5),
        || Say::Code(11),
        || Say::Garbage,
        || Say::Referral,
        || Say::Alias,
        || Say::txt("v=spf1 -all"),
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let server = Dns::start(move |_| trouble());
        let failure = ask(&server).await.expect_err(&format!("trouble {number}"));
        assert_eq!(failure.kind, FailureKind::Transient, "trouble {number}");
        assert!(!failure.reason.is_empty());
    }
}

#[tokio::test]
async fn one_attempt_is_one_datagram_and_ends_in_time() {
    let server = Dns::start(|_| Say::Nothing);
    let resolver = Resolver::new(&[server.address], Duration::from_secs(1)).unwrap();
    let started = Instant::now();
    let failure = resolver.origin(google()).await.unwrap_err();
    assert!(failure.reason.contains("in time"), "{failure}");
    let spent = started.elapsed();
    assert!(spent >= Duration::from_millis(900) && spent < Duration::from_secs(3), "{spent:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_over_tcp() {
    let long = format!("{RECORD} | {}", "x".repeat(9000));
    let server = Dns::start(move |query| if query.tcp { Say::txt(&long) } else { Say::Truncated });
    assert_eq!(prefix(ask(&server).await), "8.8.8.0/24");
    let seen = server.seen();
    assert_eq!(seen.iter().map(|query| query.tcp).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_tcp_server_that_hangs_up_or_truncates_is_a_failure() {
    for again in [false, true] {
        let server = Dns::start(move |query| match (query.tcp, again) {
            (false, _) | (true, true) => Say::Truncated,
            (true, false) => Say::Close,
        });
        assert!(ask(&server).await.unwrap_err().is_transient());
    }
}

#[tokio::test]
async fn after_a_failure_the_next_server_is_asked() {
    let (broken, sound) = (Dns::start(|_| Say::Code(5)), Dns::start(|_| Say::txt(RECORD)));
    let resolver = resolver(&[&broken, &sound]);
    assert!(resolver.origin(google()).await.is_err());
    for _ in 0..3 {
        assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
    }
    assert_eq!((broken.seen().len(), sound.seen().len()), (1, 3));
}

#[tokio::test]
async fn nothing_is_cached() {
    let server = Dns::start(|query| if query.before == 0 { Say::Code(3) } else { Say::txt(RECORD) });
    let resolver = resolver(&[&server]);
    assert_eq!(prefix(resolver.origin(google()).await), "none");
    assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
}
