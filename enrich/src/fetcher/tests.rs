use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::gate::{Gate, Leave};
use super::*;
use crate::cymru::Origin;
use crate::cymru::fake::{self, Dns, Say};
use crate::failure::FailureKind;
use crate::greynoise::Verdict;
use crate::tls::fake::Authority;

const RECORD: &str = "15169 | 8.8.8.0/24 | US | arin | 1992-12-01";

fn config(dns: &Dns) -> Config {
    Config {
        dns_servers: vec![dns.address],
        resolv_conf: crate::cymru::resolv_conf::PATH.into(),
        whois: "127.0.0.1:9".into(),
        cymru_rate: 10_000,
        cymru_timeout: Duration::from_secs(10),
        greynoise_url: "http://127.0.0.1:9".into(),
        greynoise_key: None,
        greynoise_at_once: 4,
        greynoise_rate: 10_000,
        greynoise_timeout: Duration::from_secs(30),
        tls_ca_file: None,
        resolver: Default::default(),
        gate: Gate::default(),
        retry_base: Duration::from_millis(10),
    }
}

/// A fetcher, and a channel that rings once an outcome.
struct Bench {
    fetcher: Fetcher,
    bell: Receiver<()>,
}

impl Bench {
    fn start(config: Config) -> Bench {
        let (ring, bell) = channel();
        let fetcher = Fetcher::start(
            config,
            Box::new(move || {
                let _ = ring.send(());
            }),
        )
        .unwrap();
        Bench { fetcher, bell }
    }

    fn next(&self) -> Outcome {
        self.finished().outcome
    }

    fn finished(&self) -> Finished {
        self.bell.recv_timeout(Duration::from_secs(60)).expect("an outcome within a minute");
        self.fetcher.outcome().expect("an outcome after the bell")
    }

    fn origin(&self, ip: &str) -> Result<Origin, Failure> {
        self.fetcher.submit(Request::Origin(ip.parse().unwrap()));
        match self.next() {
            Outcome::Origin { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    fn scanner(&self, ip: &str) -> Result<Verdict, Failure> {
        self.fetcher.submit(Request::Scanner(ip.parse().unwrap()));
        match self.next() {
            Outcome::Scanner { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }
}

fn is_announced(result: &Result<Origin, Failure>) -> bool {
    matches!(result, Ok(Origin::Announced(_)))
}

/// An HTTPS server that gives `statuses` one after the other, the last one for ever, and counts; with the authority
/// that it is to be trusted by.
fn https(statuses: &'static [&'static str]) -> (String, Arc<AtomicUsize>, Authority) {
    let authority = Authority::new();
    let config = authority.server_config("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket);
            let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(length) if length > 0 => head.extend_from_slice(&buffer[..length]),
                    _ => break,
                }
            }
            let status = statuses[counted.fetch_add(1, Ordering::SeqCst).min(statuses.len() - 1)];
            let body = r#"{"ip":"8.8.8.8","noise":false,"riot":false,"message":"IP not observed scanning the internet or contained in RIOT data set."}"#;
            let length = body.len();
            let reply = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(reply.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (url, count, authority)
}

#[test]
fn every_request_has_one_outcome_and_rings_once() {
    let dns = Dns::start(|query| match query.name.as_str() {
        "AS15169.asn.cymru.com." => Say::txt("15169 | US | arin | 2000-03-30 | GOOGLE, US"),
        _ => Say::txt(RECORD),
    });
    let whois = fake::whois(|asked, stream| {
        asked.iter().for_each(|ip| stream.write_all(format!("1 | {ip}\n").as_bytes()).unwrap());
    });
    let (greynoise_url, _, authority) = https(&["404 Not Found"]);
    let tls_ca_file = Some(authority.file.clone());
    let bench = Bench::start(Config { whois, greynoise_url, tls_ca_file, ..config(&dns) });
    assert!(bench.fetcher.outcome().is_none());
    bench.fetcher.submit(Request::Origin("8.8.8.8".parse().unwrap()));
    bench.fetcher.submit(Request::AsName(15169));
    bench.fetcher.submit(Request::Bulk(vec!["1.1.1.1".parse().unwrap(), "2.2.2.2".parse().unwrap()]));
    bench.fetcher.submit(Request::Scanner("8.8.8.8".parse().unwrap()));
    assert_eq!(bench.fetcher.in_flight(), 4);
    let mut seen = [0; 4];
    for _ in 0..4 {
        let Finished { outcome, took } = bench.finished();
        assert!(took.is_some_and(|took| !took.is_zero() && took < Duration::from_secs(60)), "{took:?}");
        match outcome {
            Outcome::Origin { ip, result } => {
                assert!(ip.to_string() == "8.8.8.8" && is_announced(&result));
                seen[0] += 1;
            }
            Outcome::AsName { asn, result } => {
                assert_eq!((asn, result.unwrap().unwrap().name.as_deref()), (15169, Some("GOOGLE, US")));
                seen[1] += 1;
            }
            Outcome::Bulk { asked, answers, failure, .. } => {
                assert_eq!((asked.len(), answers.len(), failure), (2, 2, None));
                seen[2] += 1;
            }
            Outcome::Scanner { ip, result } => {
                assert_eq!((ip.to_string().as_str(), result), ("8.8.8.8", Ok(Verdict::NotSeen)));
                seen[3] += 1;
            }
        }
    }
    assert_eq!((seen, bench.fetcher.in_flight()), ([1; 4], 0));
    assert!(bench.bell.try_recv().is_err() && bench.fetcher.outcome().is_none());
}

#[test]
fn case_9_two_timeouts_and_then_an_answer_is_an_answer() {
    let dns = Dns::start(|query| if query.before < 2 { Say::Nothing } else { Say::txt(RECORD) });
    let bench = Bench::start(Config { cymru_timeout: Duration::from_secs(1), ..config(&dns) });
    assert!(is_announced(&bench.origin("8.8.8.8")));
    assert_eq!(dns.seen().len(), 3);
}

#[test]
fn a_failure_that_stays_is_reported_after_three_repeats() {
    let dns = Dns::start(|_| Say::Code(2));
    let bench = Bench::start(Config { retry_base: Duration::from_millis(50), ..config(&dns) });
    let started = Instant::now();
    assert!(bench.origin("8.8.8.8").unwrap_err().is_transient());
    assert_eq!(dns.seen().len(), 4);
    assert!(started.elapsed() >= Duration::from_millis(50 + 100 + 200));
}

#[test]
fn a_negative_answer_is_not_repeated() {
    let dns = Dns::start(|_| Say::Code(3));
    let bench = Bench::start(config(&dns));
    assert_eq!(bench.origin("8.8.8.8"), Ok(Origin::NotAnnounced));
    assert_eq!(dns.seen().len(), 1);
}

#[test]
fn a_scanner_question_is_sent_once_whatever_comes_back() {
    let dns = Dns::start(|_| Say::Nothing);
    for (statuses, kind) in [
        (&["404 Not Found"], None),
        (&["500 Oops"], Some(FailureKind::Transient)),
        (&["401 Unauthorized"], Some(FailureKind::Unauthorized)),
        (&["429 Too Many Requests"], Some(FailureKind::Quota { retry_after: None })),
        (&["400 Bad Request"], Some(FailureKind::Permanent)),
    ] {
        let (greynoise_url, count, authority) = https(statuses);
        let tls_ca_file = Some(authority.file.clone());
        let bench = Bench::start(Config { greynoise_url, tls_ca_file, ..config(&dns) });
        let result = bench.scanner("8.8.8.8");
        assert_eq!(result.err().map(|failure| failure.kind), kind, "{statuses:?}");
        assert_eq!(count.load(Ordering::SeqCst), 1, "{statuses:?}");
    }
}

#[test]
fn certificates_are_read_again_when_their_file_changed() {
    let dns = Dns::start(|_| Say::Nothing);
    let (greynoise_url, _, authority) = https(&["404 Not Found"]);
    let other = Authority::new();
    let file = other.file.with_extension("copy.pem");
    std::fs::copy(&other.file, &file).unwrap();
    let bench = Bench::start(Config { greynoise_url, tls_ca_file: Some(file.clone()), ..config(&dns) });
    let refused = bench.scanner("8.8.8.8").unwrap_err();
    assert!(refused.is_transient() && refused.reason.contains("trusted"), "{refused}");
    let draft = file.with_extension("draft");
    std::fs::copy(&authority.file, &draft).unwrap();
    std::fs::rename(&draft, &file).unwrap();
    assert_eq!(bench.scanner("8.8.8.8"), Ok(Verdict::NotSeen));
    // A broken one is reported, and replaced by the next one.
    std::fs::write(&file, "no certificate at all").unwrap();
    assert!(bench.scanner("8.8.8.8").unwrap_err().reason.contains("no certificate"));
    std::fs::copy(&authority.file, &file).unwrap();
    assert_eq!(bench.scanner("8.8.8.8"), Ok(Verdict::NotSeen));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn queries_keep_the_pace() {
    let dns = Dns::start(|_| Say::txt(RECORD));
    let bench = Bench::start(Config { cymru_rate: 100, ..config(&dns) });
    let started = Instant::now();
    for host in 0..80u8 {
        bench.fetcher.submit(match host % 2 {
            0 => Request::Origin(IpAddr::from([8, 8, 8, host])),
            _ => Request::AsName(u32::from(host)),
        });
    }
    // AS names get a foreign record here, so they repeat: the test counts queries.
    for _ in 0..80 {
        bench.next();
    }
    let queries = dns.seen().len();
    let (spent, expected) = (started.elapsed(), Duration::from_millis(10) * u32::try_from(queries).unwrap());
    assert_eq!(queries, 40 + 40 * 4);
    assert!(spent >= expected.mul_f64(0.9), "{queries} queries in {spent:?}");
}

#[test]
fn a_new_configuration_counts_from_the_next_attempt_on() {
    let (silent, sound) = (Dns::start(|_| Say::Nothing), Dns::start(|_| Say::txt(RECORD)));
    let (cymru_timeout, retry_base) = (Duration::from_millis(150), Duration::from_millis(200));
    let bench = Bench::start(Config { cymru_timeout, retry_base, ..config(&silent) });
    bench.fetcher.submit(Request::Origin("8.8.8.8".parse().unwrap()));
    bench.fetcher.reconfigure(config(&sound));
    assert!(matches!(bench.next(), Outcome::Origin { result, .. } if is_announced(&result)));
    assert!(is_announced(&bench.origin("8.8.8.8")));
}

#[test]
fn bulk_sessions_come_one_after_the_other() {
    let open = Arc::new(AtomicUsize::new(0));
    let whois = fake::whois(move |asked, stream| {
        assert_eq!(open.fetch_add(1, Ordering::SeqCst), 0, "one session at a time");
        asked.iter().for_each(|ip| stream.write_all(format!("1 | {ip}\n").as_bytes()).unwrap());
        open.fetch_sub(1, Ordering::SeqCst);
    });
    let dns = Dns::start(|_| Say::Nothing);
    let bench = Bench::start(Config { whois, ..config(&dns) });
    for host in 1..=5u8 {
        bench.fetcher.submit(Request::Bulk(vec![IpAddr::from([9, 9, 9, host])]));
    }
    for _ in 0..5 {
        assert!(matches!(bench.next(), Outcome::Bulk { answers, failure: None, .. } if answers.len() == 1));
    }
}

#[test]
fn it_ends_at_once_whatever_is_in_flight() {
    let (began, begun) = channel();
    let (dns_began, http_began) = (began.clone(), began.clone());
    let dns = Dns::start(move |_| {
        let _ = dns_began.send("dns");
        Say::Nothing
    });
    let whois = fake::serve_whois(move |stream| {
        let _ = began.send("whois");
        // Until the other side is gone.
        while matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0) {}
    });
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let greynoise_url = format!("https://{}", silent.local_addr().unwrap());
    let authority = Authority::new();
    let tls_ca_file = Some(authority.file.clone());
    thread::spawn(move || {
        let _open = silent.accept();
        let _ = http_began.send("http");
        thread::park();
    });
    let long = Duration::from_secs(600);
    let bench = Bench::start(Config {
        whois,
        greynoise_url,
        tls_ca_file,
        cymru_timeout: long,
        greynoise_timeout: long,
        ..config(&dns)
    });
    bench.fetcher.submit(Request::Bulk(vec!["1.1.1.1".parse().unwrap()]));
    for host in 0..200u8 {
        bench.fetcher.submit(Request::Origin(IpAddr::from([8, 8, 8, host])));
        bench.fetcher.submit(Request::Scanner(Ipv4Addr::from([8, 8, 8, host])));
    }
    let mut waiting = std::collections::HashSet::from(["dns", "whois", "http"]);
    while !waiting.is_empty() {
        waiting.remove(begun.recv_timeout(Duration::from_secs(60)).expect("all three were asked"));
    }
    let started = Instant::now();
    drop(bench.fetcher);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_request_to_a_thread_that_ended_still_has_an_outcome() {
    let dns = Dns::start(|_| Say::Nothing);
    let mut bench = Bench::start(config(&dns));
    let _ = bench.fetcher.messages.send(Message::Stop);
    let _ = bench.fetcher.thread.take().unwrap().join();
    assert!(bench.origin("8.8.8.8").unwrap_err().is_transient());
    assert_eq!(bench.fetcher.in_flight(), 0);
}

/// Takes all that is left, and says how many came back withheld.
fn withheld(bench: &Bench) -> usize {
    let mut count = 0;
    while bench.fetcher.in_flight() > 0 {
        let failure = match bench.next() {
            Outcome::Origin { result, .. } => result.err(),
            Outcome::AsName { result, .. } => result.err(),
            Outcome::Scanner { result, .. } => result.err(),
            Outcome::Bulk { failure, .. } => failure,
        };
        count += usize::from(failure.is_some_and(|failure| failure.is_withheld()));
    }
    count
}

#[test]
fn what_waits_for_its_turn_is_not_sent_once_it_may_not_be() {
    let (greynoise_url, scanners, authority) = https(&["404 Not Found"]);
    let dns = Dns::start(|_| Say::txt("64500 | 9.0.0.0/8 | US | arin | 1992-12-01"));
    let tls_ca_file = Some(authority.file.clone());
    let slow = || Config {
        cymru_rate: 2,
        greynoise_rate: 2,
        greynoise_url: greynoise_url.clone(),
        tls_ca_file: tls_ca_file.clone(),
        ..config(&dns)
    };
    let never_ask = vec!["9.0.0.0/8".parse().unwrap()];
    let hidden = (0..60u8).map(|host| IpAddr::from([9, 9, 9, host])).collect();
    for gate in [
        Gate { cymru: Leave::No, greynoise: Leave::No, ..Gate::default() },
        Gate { never_ask, ..Gate::default() },
        Gate { hidden, ..Gate::default() },
    ] {
        let bench = Bench::start(slow());
        let before = (dns.seen().len(), scanners.load(Ordering::SeqCst));
        for host in 0..60u8 {
            bench.fetcher.submit(Request::Origin(IpAddr::from([9, 9, 9, host])));
            bench.fetcher.submit(Request::Scanner(Ipv4Addr::from([9, 9, 9, host])));
        }
        let mut answered = 0;
        while answered < 4 {
            bench.next();
            answered += 1;
        }
        let heard = || (dns.seen().len() - before.0, scanners.load(Ordering::SeqCst) - before.1);
        bench.fetcher.reconfigure(Config { gate, ..slow() });
        let (reloaded, at_reload) = (Instant::now(), heard());
        let kept = withheld(&bench);
        assert!(reloaded.elapsed() < Duration::from_secs(20), "{:?}", reloaded.elapsed());
        // Only the queries that were on the wire at the reload.
        let (queries, requests) = heard();
        assert!(queries <= at_reload.0 + 1 && requests <= at_reload.1 + 1, "{:?} after {at_reload:?}", heard());
        assert_eq!(kept + queries + requests, 120);
    }
}

#[test]
fn what_waits_for_a_repeat_is_not_sent_once_it_may_not_be() {
    let dns = Dns::start(|_| Say::Code(2));
    let retry_base = Duration::from_millis(300);
    let bench = Bench::start(Config { retry_base, ..config(&dns) });
    bench.fetcher.submit(Request::Origin("8.8.8.8".parse().unwrap()));
    bench.fetcher.submit(Request::AsName(15169));
    while dns.seen().len() < 2 {
        thread::yield_now();
    }
    let gate = Gate { cymru: Leave::No, ..Gate::default() };
    bench.fetcher.reconfigure(Config { retry_base, gate, ..config(&dns) });
    assert_eq!((withheld(&bench), dns.seen().len()), (2, 2));
}

#[test]
fn what_has_to_wait_is_sent_once_it_may_be() {
    let (greynoise_url, scanners, authority) = https(&["404 Not Found"]);
    let dns = Dns::start(|_| Say::txt(RECORD));
    let gate = |greynoise| Gate { greynoise, ..Gate::default() };
    let with = |leave| Config {
        gate: gate(leave),
        greynoise_url: greynoise_url.clone(),
        tls_ca_file: Some(authority.file.clone()),
        ..config(&dns)
    };
    let bench = Bench::start(with(Leave::Wait));
    bench.fetcher.submit(Request::Scanner("8.8.8.8".parse().unwrap()));
    // The other source goes on, and shows that time has passed.
    assert!(is_announced(&bench.origin("8.8.8.8")));
    assert_eq!(scanners.load(Ordering::SeqCst), 0);
    bench.fetcher.reconfigure(with(Leave::Yes));
    assert!(matches!(bench.next(), Outcome::Scanner { result: Ok(Verdict::NotSeen), .. }));
}

#[test]
fn a_question_that_another_key_has_paid_for_is_not_sent() {
    let (greynoise_url, scanners, authority) = https(&["404 Not Found"]);
    let dns = Dns::start(|_| Say::txt(RECORD));
    let with = |key: &str, greynoise| Config {
        gate: Gate { greynoise, ..Gate::default() },
        greynoise_url: greynoise_url.clone(),
        greynoise_key: Some(key.to_owned().into()),
        tls_ca_file: Some(authority.file.clone()),
        ..config(&dns)
    };
    let bench = Bench::start(with("one", Leave::Wait));
    bench.fetcher.submit(Request::Scanner("8.8.8.8".parse().unwrap()));
    bench.fetcher.reconfigure(with("two", Leave::Yes));
    assert!(matches!(bench.next(), Outcome::Scanner { result: Err(failure), .. } if failure.is_withheld()));
    assert_eq!(scanners.load(Ordering::SeqCst), 0);
    assert_eq!(bench.scanner("8.8.8.8"), Ok(Verdict::NotSeen));
}

#[test]
fn servers_of_the_system_are_read_again_when_they_changed() {
    // All on one port of the loopback, which no file can name: so the file is written for port 53, and the test checks
    // only that it is read.
    let path = std::env::temp_dir().join(format!("asn_inventory-resolv-{}", std::process::id()));
    std::fs::write(&path, "nameserver 127.0.0.254\nsearch -bad-.example\n").unwrap();
    let dns = Dns::start(|_| Say::txt(RECORD));
    let config = Config { dns_servers: Vec::new(), resolv_conf: path.clone(), ..config(&dns) };
    let setup = setup::Setup::new(config);
    let first = setup.resolver().unwrap();
    assert!(Arc::ptr_eq(&first, &setup.resolver().unwrap()), "unchanged, it goes on");
    assert_eq!(first.servers(), ["127.0.0.254:53".parse().unwrap()]);
    std::fs::write(&path, "nameserver 127.0.0.253\nnameserver 127.0.0.252\n").unwrap();
    let second = setup.resolver().unwrap();
    assert_eq!(second.servers().len(), 2);
    // A question that failed makes it look also where nothing tells of a change; the same servers go on as they are.
    setup.doubt_resolver();
    assert!(Arc::ptr_eq(&second, &setup.resolver().unwrap()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(setup.resolver().unwrap().servers(), ["127.0.0.1:53".parse().unwrap()]);
}
