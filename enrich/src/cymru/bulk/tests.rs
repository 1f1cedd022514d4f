use std::io::{BufRead, BufReader, Read, Write};
use std::thread::sleep;

use super::*;
use crate::cymru::fake::{serve_whois, whois};
use crate::failure::FailureKind;

/// For servers that answer, or hang up: a busy machine takes its time.
const PATIENT: Limits = Limits { progress: Duration::from_secs(20), overall: Duration::from_secs(60) };

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn row(ip: &str) -> String {
    format!("64500   | {ip:16} | {ip}/32 | US | arin     | 2002-03-15 | EXAMPLE - Example Net, US\n")
}

fn answered(reply: &Reply) -> Vec<String> {
    reply.answers.iter().map(|(ip, _)| ip.to_string()).collect()
}

fn reason(reply: &Reply) -> &str {
    reply.failure.as_ref().map_or("no failure", |failure| &failure.reason)
}

#[tokio::test]
async fn a_whole_reply_answers_what_it_has() {
    let server = whois(|asked, stream| {
        assert_eq!(asked, ["1.1.1.1", "2606:4700::1", "3.3.3.3", "4.4.4.4"]);
        let rows = [
            "Bulk mode; whois.cymru.com [2016-05-02 04:40:56 +0000]\n",
            &row("4.4.4.4"),
            "13335 | 2606:4700:0::1 | 2606:4700::/32 | US | arin | 2011-11-01 | CLOUDFLARENET\r\n",
            "Error: no ASN or IP match on line 3.\n",
            "NA      | 1.1.1.1      | NA                  |    | other    |            | NA\n",
        ];
        stream.write_all(rows.concat().as_bytes()).unwrap();
    });
    let reply = ask(&server, &ips(&["1.1.1.1", "2606:4700::1", "3.3.3.3", "4.4.4.4"]), PATIENT).await;
    assert_eq!(answered(&reply), ["1.1.1.1", "2606:4700::1", "4.4.4.4"]);
    assert_eq!(reply.answers[0].1, Origin::NotAnnounced);
    assert_eq!(reply.failure, None);
}

#[tokio::test]
async fn an_address_asked_twice_is_answered_once() {
    let server = whois(|asked, stream| asked.iter().for_each(|ip| stream.write_all(row(ip).as_bytes()).unwrap()));
    let reply = ask(&server, &ips(&["1.1.1.1", "1.1.1.1"]), PATIENT).await;
    assert_eq!((answered(&reply), reply.failure), (vec!["1.1.1.1".to_owned()], None));
}

#[tokio::test]
async fn case_7_a_reply_without_rows_is_a_failure() {
    for text in ["Invalid | Response\n", ""] {
        let server = whois(move |_, stream| stream.write_all(text.as_bytes()).unwrap());
        let reply = ask(&server, &ips(&["1.1.1.1"]), PATIENT).await;
        assert!(reply.answers.is_empty());
        assert!(reply.failure.unwrap().is_transient());
    }
}

#[tokio::test]
async fn a_cut_reply_answers_its_complete_lines() {
    let server = whois(|_, stream| {
        let half = "64500   | 2.2.2.2 | 2.2.2.0/24 | US | arin | 2002-03-15 | EXAM";
        stream.write_all((row("1.1.1.1") + half).as_bytes()).unwrap();
    });
    let reply = ask(&server, &ips(&["1.1.1.1", "2.2.2.2"]), PATIENT).await;
    assert_eq!(answered(&reply), ["1.1.1.1"]);
    assert_eq!(reason(&reply), "whois: the reply was cut");
}

/// Two routes to one address, the wider first, as the service may send them.
const WIDE: &str = "64501 | 2.2.2.2 | 2.2.0.0/16 | US | arin | 2002-03-15 | WIDE\n";
const NARROW: &str = "64502 | 2.2.2.2 | 2.2.2.0/24 | US | arin | 2002-03-15 | NARROW\n";

#[tokio::test]
async fn a_reply_that_ends_between_two_rows_of_an_address_does_not_answer_it() {
    let asked = ips(&["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
    // In the middle of its next row, before its address is known or after, and at the end of a line.
    for (rest, failure) in [
        (&NARROW[..4], "whois: the reply was cut"),
        (&NARROW[..14], "whois: the reply was cut"),
        (&NARROW[..20], "whois: the reply was cut"),
        ("", "no failure"),
    ] {
        let server = whois(move |_, stream| {
            stream.write_all((row("1.1.1.1") + WIDE + rest).as_bytes()).unwrap();
        });
        let reply = ask(&server, &asked, PATIENT).await;
        assert_eq!((answered(&reply), reason(&reply)), (vec!["1.1.1.1".to_owned()], failure), "{rest}");
    }
    // In the middle of a row there is no doubt.
    let server = whois(|_, stream| stream.write_all((WIDE.to_owned() + "64502").as_bytes()).unwrap());
    let reply = ask(&server, &asked, PATIENT).await;
    assert_eq!((answered(&reply).len(), reason(&reply)), (0, "whois: the reply was cut"));
    assert_eq!(reply.doubtful, None);
    // A row of the next address had begun.
    let server =
        whois(|_, stream| stream.write_all([WIDE, NARROW, "64500 | 3.3.3.3 | 3"].concat().as_bytes()).unwrap());
    let reply = ask(&server, &asked, PATIENT).await;
    let Some((_, Origin::Announced(known))) = reply.answers.first() else { panic!("{reply:?}") };
    assert_eq!((known.len(), known[0].origins.as_slice()), (2, &[64502][..]));
}

#[tokio::test]
async fn where_the_service_skips_an_address_the_last_answer_is_doubtful_and_no_failure() {
    // Rows come in any order: the missing one may stand before the last one or behind it.
    for asked in [&["1.1.1.1", "2.2.2.2"], &["2.2.2.2", "1.1.1.1"]] {
        let server = whois(|_, stream| stream.write_all(row("1.1.1.1").as_bytes()).unwrap());
        let reply = ask(&server, &ips(asked), PATIENT).await;
        assert_eq!((answered(&reply).len(), reason(&reply)), (0, "no failure"));
        assert_eq!(reply.doubtful.map(|(ip, _)| ip), Some(ips(&["1.1.1.1"])[0]));
    }
    // Skipped by its own word: there is none.
    let server = whois(|_, stream| {
        let rows = row("1.1.1.1") + "Error: no ASN or IP match on line 3.\n";
        stream.write_all(rows.as_bytes()).unwrap();
    });
    let reply = ask(&server, &ips(&["1.1.1.1", "2.2.2.2"]), PATIENT).await;
    assert_eq!((answered(&reply), &reply.doubtful), (vec!["1.1.1.1".to_owned()], &None));
}

#[tokio::test]
async fn the_last_address_of_a_session_that_broke_off_is_not_answered() {
    let asked = ips(&["1.1.1.1", "2.2.2.2"]);
    let server = whois(|_, stream| {
        stream.write_all((row("1.1.1.1") + WIDE).as_bytes()).unwrap();
        while matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0) {}
    });
    // It hangs, in the middle of a row too, and floods.
    let limits = Limits { progress: Duration::from_millis(300), ..PATIENT };
    let more = ips(&["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
    let reply = ask(&server, &more, limits).await;
    assert_eq!(
        (answered(&reply), reason(&reply)),
        (vec!["1.1.1.1".to_owned()], "whois: the server stopped responding")
    );
    let server = whois(|_, stream| {
        stream.write_all((row("1.1.1.1") + WIDE + "64502 | 2.2").as_bytes()).unwrap();
        while matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0) {}
    });
    let reply = ask(&server, &asked, limits).await;
    assert_eq!(
        (answered(&reply), reason(&reply)),
        (vec!["1.1.1.1".to_owned()], "whois: the server stopped responding")
    );
    let flood = "x\n".repeat(1000);
    let server = whois(move |_, stream| {
        let _ = stream.write_all((row("1.1.1.1") + WIDE).as_bytes());
        while stream.write_all(flood.as_bytes()).is_ok() {}
    });
    let reply = ask(&server, &asked, PATIENT).await;
    assert_eq!(answered(&reply), ["1.1.1.1"]);
}

#[tokio::test]
async fn a_server_that_has_a_row_for_all_and_does_not_hang_up_has_answered_all_but_the_last() {
    let server = whois(|asked, stream| {
        asked.iter().for_each(|ip| stream.write_all(row(ip).as_bytes()).unwrap());
        while matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0) {}
    });
    let limits = Limits { progress: Duration::from_millis(300), ..PATIENT };
    let reply = ask(&server, &ips(&["1.1.1.1", "2.2.2.2"]), limits).await;
    assert_eq!((answered(&reply), reason(&reply)), (vec!["1.1.1.1".to_owned()], "no failure"));
    // Narrower rows of it may have been to come.
    assert_eq!(reply.doubtful.map(|(ip, _)| ip), Some(ips(&["2.2.2.2"])[0]));
}

#[tokio::test]
async fn a_reset_keeps_nothing_but_complete_lines() {
    let server = serve_whois(|stream| {
        let mut some = [0; 4];
        stream.read_exact(&mut some).unwrap();
        // Closed with something unread, a connection is reset.
    });
    let reply = ask(&server, &ips(&["1.1.1.1"]), PATIENT).await;
    assert!(reply.answers.is_empty());
    assert!(reply.failure.unwrap().is_transient());
}

#[tokio::test]
async fn a_silent_server_is_left_after_the_progress_limit() {
    let server = whois(|_, stream| drop(stream.read(&mut [0])));
    let limits = Limits { progress: Duration::from_millis(300), ..PATIENT };
    let started = Instant::now();
    let reply = ask(&server, &ips(&["1.1.1.1"]), limits).await;
    assert_eq!(reason(&reply), "whois: the server stopped responding");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_slow_loris_meets_the_overall_limit_and_its_lines_count() {
    let server = whois(|_, stream| {
        // More rows of the last address may have been to come.
        stream.write_all((row("1.1.1.1") + &row("2.2.2.2")).as_bytes()).unwrap();
        while stream.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(20));
        }
    });
    let limits = Limits { overall: Duration::from_secs(2), ..PATIENT };
    let started = Instant::now();
    let reply = ask(&server, &ips(&["1.1.1.1", "2.2.2.2"]), limits).await;
    assert_eq!(reason(&reply), "whois: the reply took too long");
    assert_eq!(answered(&reply), ["1.1.1.1"]);
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn an_endless_reply_meets_the_size_limit() {
    for piece in ["x", "1 | 9.9.9.9 | 9.9.9.0/24 | | | |\n"] {
        let flood = piece.repeat(1000);
        let server = whois(move |_, stream| while stream.write_all(flood.as_bytes()).is_ok() {});
        let reply = ask(&server, &ips(&["1.1.1.1"]), PATIENT).await;
        assert_eq!(reason(&reply), "whois: the reply is far longer than the question asks for");
    }
}

#[tokio::test]
async fn case_22_a_monstrous_name_costs_no_other_row() {
    let server = whois(|_, stream| {
        let monster = format!("1 | 1.1.1.1 | 1.1.1.0/24 | US | arin | 2002-03-15 | A\0B{}\n", "x".repeat(300_000));
        stream.write_all((row("2.2.2.2") + &monster + &row("3.3.3.3")).as_bytes()).unwrap();
    });
    let reply = ask(&server, &ips(&["1.1.1.1", "2.2.2.2", "3.3.3.3"]), PATIENT).await;
    assert_eq!((answered(&reply).len(), &reply.failure), (3, &None));
    let Origin::Announced(known) = &reply.answers[0].1 else { panic!("{reply:?}") };
    assert!(known[0].as_name.as_deref().unwrap().starts_with("ABxxx"));
}

#[tokio::test]
async fn reading_goes_on_while_a_long_question_is_sent() {
    // A server that answers line by line and stops reading while its answers are not read: a client that sends first
    // and reads later waits without end.
    let server = serve_whois(|stream| {
        let mut out = stream.try_clone().unwrap();
        let note = "x".repeat(250);
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if line == "end" {
                break;
            }
            let _ = out.write_all(format!("1 | {line} | | | | | {note}\n").as_bytes());
        }
    });
    let asked: Vec<IpAddr> = (0..60_000u32).map(|i| IpAddr::V4((0x0100_0000 + i * 256).into())).collect();
    let reply = ask(&server, &asked, PATIENT).await;
    assert_eq!((reply.answers.len(), reply.failure), (asked.len(), None));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient_and_no_server_at_all_is_not() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let reply = ask(&gone, &ips(&["1.1.1.1"]), PATIENT).await;
    assert_eq!(reply.failure.unwrap().kind, FailureKind::Transient);
    let reply = ask("whois.example", &ips(&["1.1.1.1"]), PATIENT).await;
    assert_eq!(reply.failure.unwrap().kind, FailureKind::Permanent);
}

#[test]
fn the_overall_limit_grows_with_the_question() {
    assert_eq!(Limits::new(Duration::from_secs(5), 10_000).overall, Duration::from_secs(160));
}

#[tokio::test]
async fn who_may_not_be_told_is_left_out_of_the_session() {
    let server = whois(|asked, stream| {
        assert_eq!(asked, ["1.1.1.1", "3.3.3.3"]);
        asked.iter().for_each(|ip| stream.write_all(row(ip).as_bytes()).unwrap());
    });
    let secret: IpAddr = "2.2.2.2".parse().unwrap();
    let asked = ips(&["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
    let reply = ask_about(&server, &asked, PATIENT, &|ip| ip != secret).await;
    assert_eq!(
        (answered(&reply), reply.withheld, reply.failure),
        (ips(&["1.1.1.1", "3.3.3.3"]).iter().map(ToString::to_string).collect(), vec![secret], None)
    );
    // Nothing is left: not even a connection.
    let reply = ask_about("127.0.0.1:9", &asked, PATIENT, &|_| false).await;
    assert_eq!((reply.withheld, reply.failure), (asked, None));
}

#[tokio::test]
async fn a_session_tells_nobody_more_once_the_settings_forbid_it() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    // It stops reading after the first lines until the settings have changed; the sockets' buffers fill.
    let (forbidden, heard) = (std::sync::Arc::new(AtomicBool::new(false)), std::sync::Arc::new(AtomicUsize::new(0)));
    let (set, count) = (forbidden.clone(), heard.clone());
    let server = serve_whois(move |stream| {
        let mut lines = BufReader::with_capacity(256, stream).lines();
        let _ = lines.next();
        sleep(Duration::from_millis(200));
        set.store(true, Ordering::SeqCst);
        count.store(lines.map_while(Result::ok).take_while(|line| line != "end").count(), Ordering::SeqCst);
    });
    let asked: Vec<IpAddr> = (0..2_000_000u32).map(|i| IpAddr::V4((0x0100_0000 + i).into())).collect();
    let reply = ask_about(&server, &asked, PATIENT, &|_| !forbidden.load(Ordering::SeqCst)).await;
    let heard = heard.load(Ordering::SeqCst);
    assert!(heard > 0 && heard < asked.len() && reply.withheld.len() + heard <= asked.len() + 1, "{heard}");
    assert!(!reply.withheld.is_empty());
}

#[tokio::test]
async fn the_failure_of_a_connection_says_where_it_was_to_go() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reply = ask(&format!("localhost:{}", gone.port()), &ips(&["1.1.1.1"]), PATIENT).await;
    let wanted = "whois: cannot connect to localhost (";
    assert!(
        reason(&reply).starts_with(wanted) && reason(&reply).contains(&format!("({gone}): ")),
        "{}",
        reason(&reply)
    );
    let reply = ask("no-such-host.invalid:43", &ips(&["1.1.1.1"]), PATIENT).await;
    assert!(reason(&reply).starts_with("whois: cannot resolve no-such-host.invalid: "), "{}", reason(&reply));
}

#[tokio::test]
async fn a_name_with_a_dead_address_leads_to_the_living_one() {
    // No server listens on ::1, or there is no IPv6 at all.
    let server = whois(|asked, stream| asked.iter().for_each(|ip| stream.write_all(row(ip).as_bytes()).unwrap()));
    let port = server.rsplit_once(':').unwrap().1;
    let reply = ask(&format!("localhost:{port}"), &ips(&["1.1.1.1"]), PATIENT).await;
    assert_eq!((answered(&reply), reply.failure), (vec!["1.1.1.1".to_owned()], None));
}
