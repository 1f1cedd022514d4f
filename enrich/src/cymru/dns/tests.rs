use std::time::Instant;

use super::*;
use crate::cymru::fake::{Dns, Say};
use crate::failure::FailureKind;

/// For answers that come: a busy machine takes its time.
const PATIENT: Duration = Duration::from_secs(20);
/// For a silence that is waited for, before or after an answer that has to come within the same time.
const SILENCE: Duration = Duration::from_secs(3);
/// For trouble of any kind, silence among it.
const QUICK: Duration = Duration::from_millis(300);
const RECORD: &str = "15169 | 8.8.8.0/24 | US | arin | 1992-12-01";

fn google() -> IpAddr {
    "8.8.8.8".parse().unwrap()
}

fn resolver(servers: &[&Dns]) -> Resolver {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    Resolver::new(&addresses, PATIENT).unwrap()
}

/// One that waits for an answer that long.
fn waiting(server: &Dns, time: Duration) -> Resolver {
    Resolver::new(&[server.address], time).unwrap()
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
        let failure = waiting(&server, QUICK).origin(google()).await.expect_err(&format!("trouble {number}"));
        assert_eq!(failure.kind, FailureKind::Transient, "trouble {number}");
        assert!(!failure.reason.is_empty());
    }
}

#[tokio::test]
async fn one_attempt_is_one_datagram_and_ends_in_time() {
    let server = Dns::start(|_| Say::Nothing);
    let resolver = waiting(&server, Duration::from_secs(1));
    let started = Instant::now();
    let failure = resolver.origin(google()).await.unwrap_err();
    assert!(failure.reason.contains("in time"), "{failure}");
    let spent = started.elapsed();
    assert!(spent >= Duration::from_millis(900) && spent < Duration::from_secs(15), "{spent:?}");
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

#[tokio::test]
async fn who_does_not_know_the_service_says_nothing_of_an_address() {
    for (name, zone) in [
        (true, None),
        (false, None),
        (true, Some(".")),
        (true, Some("com.")),
        (true, Some("blocked.example.")),
        (true, Some("evilcymru.com.")),
        (false, Some("rpz.local.")),
    ] {
        let server = Dns::start(move |_| Say::Invented(name, zone));
        let failure = ask(&server).await.expect_err("no answer");
        assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Transient, UNKNOWN_ZONE), "{name} {zone:?}");
        let failure = resolver(&[&server]).as_name(1).await.expect_err("no answer");
        assert_eq!(failure.reason, UNKNOWN_ZONE);
    }
}

#[tokio::test]
async fn who_leaves_out_whose_words_they_are_is_asked_for_something_known() {
    // As systemd-resolved does it.
    let server = Dns::start(|query| match query.name.as_str() {
        "8.8.8.8.origin.asn.cymru.com." => Say::txt(RECORD),
        _ => Say::Invented(true, None),
    });
    let resolver = resolver(&[&server]);
    for host in 1..=9 {
        assert_eq!(resolver.origin(IpAddr::from([5, 5, 5, host])).await, Ok(Origin::NotAnnounced));
    }
    assert_eq!(server.seen().len(), 10, "what was found out counts for a while");
}

#[tokio::test]
async fn of_two_resolvers_the_one_that_knows_the_service_answers() {
    let (sinkhole, sound) = (Dns::start(|_| Say::Invented(true, None)), Dns::start(|_| Say::Code(3)));
    let resolver = resolver(&[&sinkhole, &sound]);
    assert!(resolver.origin(google()).await.is_err());
    assert_eq!(resolver.origin(google()).await, Ok(Origin::NotAnnounced));
}

#[tokio::test]
async fn after_a_silence_over_udp_it_is_asked_over_tcp() {
    let server = Dns::start(|query| if query.tcp { Say::txt(RECORD) } else { Say::Nothing });
    let resolver = waiting(&server, SILENCE);
    assert!(resolver.origin(google()).await.is_err());
    for _ in 0..3 {
        assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
    }
    let seen = server.seen();
    assert_eq!(seen.iter().map(|query| query.tcp).collect::<Vec<_>>(), [false, true, true, true]);
}

#[tokio::test]
async fn a_connection_that_breaks_leads_back_to_udp() {
    let server = Dns::start(|query| if query.tcp || query.before == 0 { Say::Nothing } else { Say::txt(RECORD) });
    let resolver = waiting(&server, SILENCE);
    assert!(resolver.origin(google()).await.is_err());
    assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
}

#[tokio::test]
async fn where_nobody_listens_on_tcp_a_silence_costs_one_attempt() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    let resolver = Resolver::new(&[address], Duration::from_secs(1)).unwrap();
    assert!(resolver.origin(google()).await.unwrap_err().reason.contains("in time"));
    // Over TCP the connection is refused at once, and the datagram goes out within the same attempt.
    assert!(resolver.origin(google()).await.unwrap_err().reason.contains("in time"));
    let mut buffer = [0; 512];
    udp.set_nonblocking(true).unwrap();
    assert_eq!((0..9).filter(|_| udp.recv_from(&mut buffer).is_ok()).count(), 2);
}

fn under_way(resolver: &Resolver, way: Option<Way>) -> Attempt<'_> {
    Attempt { server: &resolver.servers[0], under_way: Mutex::new(way) }
}

#[tokio::test]
async fn many_silences_over_udp_at_once_lead_to_tcp_and_a_late_one_does_not_lead_back() {
    let server = Dns::start(|query| if query.tcp { Say::txt(RECORD) } else { Say::Nothing });
    let resolver = waiting(&server, SILENCE);
    let (one, two) = tokio::join!(resolver.origin(google()), resolver.as_name(1));
    assert!(one.is_err() && two.is_err());
    for _ in 0..2 {
        assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
        under_way(&resolver, Some(Way::Datagrams)).ran_out();
    }
    assert_eq!(server.seen().iter().map(|query| query.tcp).collect::<Vec<_>>(), [false, false, true, true]);
}

#[tokio::test]
async fn silences_over_tcp_lead_back_to_udp_however_many_there_are() {
    let server = Dns::start(|_| Say::txt(RECORD));
    for silences in 1..4 {
        let resolver = resolver(&[&server]);
        let attempts: Vec<_> = (0..silences).map(|_| under_way(&resolver, Some(Way::Stream))).collect();
        under_way(&resolver, Some(Way::Datagrams)).ran_out();
        assert!(resolver.servers[0].is_by_stream());
        attempts.iter().for_each(Attempt::ran_out);
        assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
    }
    assert!(server.seen().iter().all(|query| !query.tcp));
}

#[tokio::test]
async fn who_waits_for_the_answer_of_another_tells_nothing_about_his_way() {
    let server = Dns::start(|_| Say::txt(RECORD));
    let resolver = resolver(&[&server]);
    under_way(&resolver, None).ran_out();
    assert!(!resolver.servers[0].is_by_stream());
}

#[tokio::test]
async fn a_server_of_before_edns_is_asked_without_it() {
    let server = Dns::start(|query| if query.edns { Say::Code(1) } else { Say::txt(RECORD) });
    let resolver = resolver(&[&server]);
    for _ in 0..3 {
        assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
    }
    assert_eq!(server.seen().iter().map(|query| query.edns).collect::<Vec<_>>(), [true, false, false, false]);
    *resolver.servers[0].plain.lock() = Some(tokio::time::Instant::now());
    assert_eq!(prefix(resolver.origin(google()).await), "8.8.8.0/24");
    let seen = server.seen();
    assert_eq!(seen.iter().skip(4).map(|query| query.edns).collect::<Vec<_>>(), [true, false], "tried again later");
}

/// The pace counts attempts: each of them would cost two questions.
#[tokio::test]
async fn a_server_that_understands_no_question_is_asked_each_one_once() {
    let server = Dns::start(|_| Say::Code(1));
    let resolver = resolver(&[&server]);
    for _ in 0..3 {
        assert!(resolver.origin(google()).await.is_err());
    }
    assert_eq!(server.seen().iter().map(|query| query.edns).collect::<Vec<_>>(), [true, false, false, false]);
}

/// A link-local address of this machine, with its interface, where it has one that is in use.
fn link_local() -> Option<SocketAddr> {
    let text = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let scope = u32::from_str_radix(words.next()?, 16).ok()?;
        let address = std::net::Ipv6Addr::from_bits(address);
        let at = SocketAddr::from(std::net::SocketAddrV6::new(address, 0, 0, scope));
        (address.is_unicast_link_local() && std::net::UdpSocket::bind(at).is_ok()).then_some(at)
    })
}

#[tokio::test]
async fn a_link_local_server_is_asked_by_its_interface() {
    let Some(at) = link_local() else { return };
    let server = Dns::at(at, |query| if query.tcp { Say::txt(RECORD) } else { Say::Truncated });
    assert_eq!(prefix(ask(&server).await), "8.8.8.0/24");
    let ways: Vec<bool> = server.seen().iter().map(|query| query.tcp).collect();
    assert_eq!(ways, [false, true]);
}
