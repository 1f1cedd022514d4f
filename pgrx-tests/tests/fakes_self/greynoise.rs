//! GreyNoise by HTTPS.

use super::support::{BRIEF, Https, PATIENCE, example, get, get_within, timed_out};
use asn_inventory_tests::fakes::{Data, DnsFault, Fault, GreyNoiseFault, Service, Via};
use serde_json::json;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

#[test]
fn greynoise_answers_over_one_connection_and_sees_the_key() {
    let fakes = example();
    let key = std::fs::read_to_string(fakes.key_file()).unwrap();
    let key = Some(key.trim_end());
    let mut https = Https::connect(&fakes, PATIENCE).unwrap();
    let seen = https.get("203.0.113.9", key).unwrap();
    assert_eq!((seen.status, seen.has("Connection: keep-alive")), (200, true));
    let body = seen.json();
    assert_eq!(
        body,
        json!({
            "ip": "203.0.113.9", "noise": true, "riot": false, "classification": "malicious", "name": "unknown",
            "last_seen": "2026-09-13", "link": body["link"], "message": "Success",
        })
    );
    let riot = https.get("8.8.8.8", key).unwrap().json();
    assert_eq!((&riot["riot"], &riot["name"]), (&json!(true), &json!("Google Public DNS")));
    let not_seen = https.get("9.9.9.9", key).unwrap();
    assert_eq!(not_seen.status, 404);
    assert_eq!(
        not_seen.json(),
        json!({
            "ip": "9.9.9.9", "noise": false, "riot": false,
            "message": "IP not observed scanning the internet or contained in RIOT data set.",
        })
    );
    for not_routable in ["10.0.0.1", "2001:db8::1", "nonsense"] {
        assert_eq!(https.get(not_routable, key).unwrap().status, 400, "{not_routable}");
    }
    for wrong in [None, Some("wrong")] {
        assert_eq!(https.get("8.8.8.8", wrong).unwrap().status, 401);
    }
    fakes.expect_key(None);
    assert_eq!(https.get("8.8.8.8", None).unwrap().status, 200);
    let asked = fakes.asked(Service::Greynoise);
    assert_eq!((asked[0].what.as_str(), asked[0].via), ("GET /v3/community/203.0.113.9", Via::Tls));
    assert!(asked[0].key && !asked[6].key && asked[7].key);
    assert!(!serde_json::to_string(&asked).unwrap().contains("fake-greynoise-key"));
    assert_eq!(fakes.times(Service::Greynoise, "8.8.8.8"), 4);
    let last = https.send("GET /v3/community/8.8.8.8 HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(last.has("Connection: close") && https.get("8.8.8.8", None).is_err());
}

#[test]
fn greynoise_counts_answers_against_its_quota() {
    let fakes = example();
    fakes.quota(2, Some("60"));
    let status = |ip: &str| get(&fakes, ip).unwrap().status;
    // A missing answer is not counted.
    assert_eq!([status("10.0.0.1"), status("8.8.8.8"), status("9.9.9.9")], [400, 200, 404]);
    let over = get(&fakes, "8.8.8.8").unwrap();
    assert!(over.status == 429 && over.has("Retry-After: 60"), "{over:?}");
    fakes.quota(1, None);
    assert_eq!([status("8.8.8.8"), status("8.8.8.8")], [200, 429]);
    assert!(!get(&fakes, "8.8.8.8").unwrap().head.contains("Retry-After"));
    fakes.no_quota();
    assert_eq!(status("8.8.8.8"), 200);
    fakes.add(Data { forget: vec!["8.8.8.8".parse().unwrap()], ..Data::default() });
    assert_eq!(status("8.8.8.8"), 404);
}

#[test]
fn greynoise_answers_differently_as_configured() {
    let fakes = example();
    let once = |fault: GreyNoiseFault| {
        fakes.fault(Fault::from(fault).within("8.8.8.8/32").next(1));
        assert_eq!(get(&fakes, "9.9.9.9").unwrap().status, 404);
        get(&fakes, "8.8.8.8").unwrap()
    };
    let status = |status, body: Option<&str>| GreyNoiseFault::Status {
        status,
        body: body.map(str::to_owned),
        retry_after: None,
    };
    let bare = once(status(503, None));
    assert_eq!((bare.status, bare.body.len(), bare.head.contains("Retry-After")), (503, 0, false));
    let gateway = once(status(404, Some("<h1>not found</h1>")));
    assert_eq!((gateway.status, gateway.body.as_slice()), (404, b"<h1>not found</h1>".as_slice()));
    let later = GreyNoiseFault::Status {
        status: 429,
        body: Some("{}".into()),
        retry_after: Some("Wed, 21 Oct 2026 07:28:00 GMT".into()),
    };
    assert!(once(later).has("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"));
    let page = once(GreyNoiseFault::Html200);
    assert!(page.status == 200 && page.has("Content-Type: text/html") && page.body.starts_with(b"<!DOCTYPE"));
    assert!(once(GreyNoiseFault::Body2Mb).body.len() > 2_000_000);
    assert_eq!(once(GreyNoiseFault::BadLastSeen).json()["last_seen"], "the day before yesterday");
    assert_eq!(once(GreyNoiseFault::OnlyIp).json(), json!({ "ip": "8.8.8.8" }));
    assert_eq!(get(&fakes, "8.8.8.8").unwrap().json()["riot"], true);
}

#[test]
fn greynoise_breaks_connections_as_configured() {
    let fakes = example();
    let next = |fault: GreyNoiseFault| fakes.fault(Fault::from(fault).next(1));
    next(GreyNoiseFault::Hang);
    assert!(timed_out(get_within(&fakes, "8.8.8.8", BRIEF).unwrap_err().kind()));
    next(GreyNoiseFault::Reset(20));
    assert_eq!(get(&fakes, "8.8.8.8").unwrap_err().kind(), ErrorKind::ConnectionReset);
    next(GreyNoiseFault::SlowLoris(2));
    let start = Instant::now();
    assert_eq!(get(&fakes, "8.8.8.8").unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(400));
    next(GreyNoiseFault::Delay(200));
    let start = Instant::now();
    assert_eq!(get(&fakes, "8.8.8.8").unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn greynoise_shows_another_hosts_certificate_or_nothing_and_ends_idle_connections_first() {
    let fakes = example();
    let mut idle = Https::connect(&fakes, PATIENCE).unwrap();
    assert_eq!(idle.get("8.8.8.8", Some("fake-greynoise-key")).unwrap().status, 200);
    fakes.fault(DnsFault::Drop);
    assert_eq!(idle.get("8.8.8.8", Some("fake-greynoise-key")).unwrap().status, 200);
    fakes.fault(Fault::from(GreyNoiseFault::WrongName).next(1));
    assert!(idle.get("8.8.8.8", Some("fake-greynoise-key")).is_err());
    let error = get(&fakes, "8.8.8.8").unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    assert_eq!(get(&fakes, "8.8.8.8").unwrap().status, 200);
    fakes.fault(GreyNoiseFault::Refuse);
    assert_eq!(get(&fakes, "8.8.8.8").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    fakes.clear_faults();
    assert_eq!(get(&fakes, "8.8.8.8").unwrap().status, 200);
}
