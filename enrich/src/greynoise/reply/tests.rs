use proptest::prelude::*;

use super::*;

const ASKED: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// 1994-11-06 08:49:37 UTC, a Sunday: the date that RFC 9110 shows.
const NOW: Micros = 784_111_777_000_000;

fn ok(body: &str) -> Result<Verdict, Failure> {
    parse(ASKED, 200, |_| None, body.as_bytes(), NOW)
}

fn scanner(body: &str) -> Scanner {
    match ok(body) {
        Ok(Verdict::Seen(scanner)) => scanner,
        other => panic!("{body}: {other:?}"),
    }
}

fn kind(status: u16, body: &[u8]) -> FailureKind {
    parse(ASKED, status, |_| None, body, NOW).unwrap_err().kind
}

#[test]
fn a_malicious_scanner() {
    let scanner = scanner(
        r#"{"ip":"8.8.8.8","noise":true,"riot":false,"classification":"malicious","name":"unknown",
            "link":"https://viz.greynoise.io/ip/8.8.8.8","last_seen":"2020-01-01","message":"Success"}"#,
    );
    assert!(scanner.noise && !scanner.riot);
    assert_eq!(scanner.classification.as_deref(), Some("malicious"));
    assert_eq!(scanner.last_seen, Some(1_577_836_800_000_000));
}

#[test]
fn a_benign_service_keeps_its_name() {
    let body = r#"{"ip":"8.8.8.8","noise":false,"riot":true,"classification":"benign","name":"Google Public DNS"}"#;
    let expected = Scanner {
        noise: false,
        riot: true,
        classification: Some("benign".to_owned()),
        name: Some("Google Public DNS".to_owned()),
        last_seen: None,
    };
    assert_eq!(ok(body), Ok(Verdict::Seen(expected)));
}

#[test]
fn what_is_missing_or_of_another_type_is_false_or_null() {
    assert_eq!(scanner(r#"{"ip":"8.8.8.8"}"#), Scanner::default());
    let odd = r#"{"ip":null,"noise":"yes","riot":1,"classification":["benign"],"name":{},"last_seen":20200101}"#;
    assert_eq!(scanner(odd), Scanner::default());
    assert!(scanner(r#"{"noise":true}"#).noise);
}

#[test]
fn only_known_classifications() {
    let classification = |word: &str| scanner(&format!(r#"{{"riot":true,"classification":"{word}"}}"#)).classification;
    assert_eq!(classification("Benign").as_deref(), Some("benign"));
    assert_eq!(classification("unknown").as_deref(), Some("unknown"));
    assert_eq!(classification("evil"), None);
    assert_eq!(classification(""), None);
}

#[test]
fn names_are_cleaned_and_cut() {
    let name = |name: &str| scanner(&format!(r#"{{"ip":"8.8.8.8","name":"{name}"}}"#)).name;
    assert_eq!(name(r"Exa\u0000mple\n\u001b[31m Net").as_deref(), Some("Example [31m Net"));
    assert_eq!(name(r"\u0000 "), None);
    assert_eq!(name(&"x".repeat(10_000)).map(|name| name.len()), Some(text::MAX_TEXT));
}

#[test]
fn last_seen_is_a_date_or_a_timestamp_or_null() {
    let last_seen = |text: &str| scanner(&format!(r#"{{"ip":"8.8.8.8","last_seen":"{text}"}}"#)).last_seen;
    let midnight = Some(1_618_963_200_000_000);
    for same in [
        "2021-04-21",
        "2021-04-21T00:00:00+00:00",
        "2021-04-21T00:00:00Z",
        "2021-04-21T02:00:00.000+02:00",
        "2021-04-21T00:00:00",
        "2021-04-21 00:00:00",
    ] {
        assert_eq!(last_seen(same), midnight, "{same}");
    }
    for bad in ["", "yesterday", "2021-02-30", "0001-01-01", "+12021-04-21", "1969-12-31T23:59:59Z", "2021-04-21x"] {
        assert_eq!(last_seen(bad), None, "{bad}");
    }
}

#[test]
fn an_answer_about_another_address_is_none() {
    for ip in [r#""8.8.4.4""#, r#""nonsense""#, "8", r#"["8.8.8.8"]"#] {
        let body = format!(r#"{{"ip":{ip},"noise":false,"riot":false,"message":"IP not observed"}}"#);
        assert_eq!(kind(200, body.as_bytes()), FailureKind::Transient, "{ip}");
        assert_eq!(kind(404, body.as_bytes()), FailureKind::Transient, "{ip}");
    }
}

#[test]
fn a_200_without_the_documented_body_is_no_answer() {
    let deep = format!(r#"{{"ip":"8.8.8.8","x":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let long = format!(r#"{{"ip":"8.8.8.8","x":"{}"}}"#, "x".repeat(MAX_BODY));
    for body in [
        "",
        "<html>Log in to the guest network</html>",
        "{}",
        "[]",
        "null",
        r#"{"message":"log in"}"#,
        r#"{"name":"guest network","last_seen":"2020-01-01"}"#,
        r#"{"classification":"malicious"}"#,
        r#"{"name":"guest network","ip":null,"noise":null}"#,
        r#"{"ip":"8.8.8.8"} trailing"#,
        r#"{"ip":"8.8.8.8""#,
        &deep,
        &long,
    ] {
        assert_eq!(kind(200, body.as_bytes()), FailureKind::Transient, "{:.60}", body);
    }
    assert_eq!(kind(200, b"{\"ip\":\"8.8.8.8\",\"name\":\"\xff\"}"), FailureKind::Transient);
}

#[test]
fn a_404_is_an_answer_only_with_its_body() {
    let documented = r#"{"ip":"8.8.8.8","noise":false,"riot":false,
        "message":"IP not observed scanning the internet or contained in RIOT data set."}"#;
    for body in [documented, r#"{"noise":false,"riot":false}"#, r#"{"message":"IP not observed scanning"}"#] {
        assert_eq!(parse(ASKED, 404, |_| None, body.as_bytes(), NOW), Ok(Verdict::NotSeen), "{body}");
    }
    for body in [
        "",
        "not found",
        "<html>404</html>",
        "{}",
        r#"{"message":"no Route matched with those values"}"#,
        r#"{"ip":"8.8.8.8","noise":false}"#,
        r#"{"noise":true,"riot":false,"message":"IP not observed"}"#,
    ] {
        assert_eq!(kind(404, body.as_bytes()), FailureKind::Transient, "{body}");
    }
}

#[test]
fn statuses_that_are_no_answer() {
    let answer = br#"{"ip":"8.8.8.8","noise":false,"riot":false}"#;
    assert_eq!(kind(400, answer), FailureKind::Permanent);
    assert_eq!(kind(401, answer), FailureKind::Unauthorized);
    assert_eq!(kind(403, answer), FailureKind::Unauthorized);
    for status in [100, 204, 206, 301, 302, 307, 402, 405, 418, 500, 502, 503, 599, 999] {
        assert_eq!(kind(status, answer), FailureKind::Transient, "{status}");
    }
}

#[test]
fn a_refusal_is_the_services_only_with_its_own_body() {
    for body in [r#"{"message":"unauthorized"}"#, r#"{"error":"invalid key"}"#, r#"{"noise":false,"riot":false}"#] {
        assert_eq!(kind(401, body.as_bytes()), FailureKind::Unauthorized, "{body}");
        assert_eq!(kind(403, body.as_bytes()), FailureKind::Unauthorized, "{body}");
        assert_eq!(kind(400, body.as_bytes()), FailureKind::Permanent, "{body}");
    }
    assert_eq!((kind(401, b""), kind(403, b"")), (FailureKind::Unauthorized, FailureKind::Transient));
    for body in [
        " ",
        "<html><h1>403 Forbidden</h1><p>Blocked by policy</p></html>",
        "Access denied",
        "null",
        "[]",
        "{}",
        r#"{"errors":[{"code":1020}]}"#,
        r#""message""#,
        r#"{"message":null}"#,
    ] {
        for status in [400, 401, 403] {
            let failure = parse(ASKED, status, |_| None, body.as_bytes(), NOW).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Transient, "{status} {body}");
            assert!(failure.reason.contains("probably from a proxy or firewall"), "{failure}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(
        status: u16, retry_after in prop::option::of(".{0,40}"), body: Vec<u8>, now: Micros,
    ) {
        let _ = parse(ASKED, status, |_| retry_after.as_deref(), &body, now);
    }

    #[test]
    fn arbitrary_fields_never_panic(
        status in prop::sample::select(vec![200u16, 404]), name in ".{0,300}", last_seen in "[0-9TZ:.+ -]{0,30}",
    ) {
        let body = serde_json::json!({"ip": "8.8.8.8", "name": name, "last_seen": last_seen}).to_string();
        if let Ok(Verdict::Seen(scanner)) = parse(ASKED, status, |_| None, body.as_bytes(), NOW) {
            prop_assert!(scanner.name.is_none_or(|name| name.len() <= text::MAX_TEXT && !name.contains('\0')));
        }
    }
}
