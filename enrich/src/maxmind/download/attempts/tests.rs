use proptest::prelude::*;

use super::*;
use crate::maxmind::download::closed::SECOND;
use crate::secrets::Secret;
use crate::secrets::fake::Directory;
use std::fs;
use std::time::Duration;

/// Noon of some day.
const NOON: Micros = 20_000 * DAY + DAY / 2;
const MIDNIGHT: Micros = 20_001 * DAY;

fn credentials(account: &str) -> Fingerprint {
    Fingerprint::of("https://x.example", Some(account), &Secret::new("key".to_owned()))
}

fn city() -> Edition {
    Edition::new("GeoLite2-City").unwrap()
}

fn asn() -> Edition {
    Edition::new("GeoLite2-ASN").unwrap()
}

fn failed(error: DownloadError) -> Attempts {
    let mut attempts = Attempts::default();
    attempts.began(NOON);
    attempts.failed(NOON, &city(), &credentials("1"), &error);
    attempts
}

fn minutes(count: i64) -> Micros {
    count * 60 * SECOND
}

#[test]
fn a_day_has_thirty_downloads_and_force_makes_no_more() {
    let mut attempts = Attempts::default();
    for _ in 0..DAILY {
        assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Ok(()));
        attempts.began(NOON);
        attempts.succeeded(&city());
    }
    let wait = Err(Wait::new(MIDNIGHT, Closed::Daily));
    assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), wait);
    assert_eq!(attempts.may(MIDNIGHT - 1, &city(), &credentials("2"), true), wait);
    assert_eq!(attempts.may(MIDNIGHT, &city(), &credentials("1"), false), Ok(()));
    attempts.began(MIDNIGHT);
    assert_eq!(attempts.begun_today(MIDNIGHT), 1);
}

#[test]
fn the_pause_after_failures_doubles_up_to_six_hours() {
    let mut attempts = Attempts::default();
    let mut now = NOON;
    for expected in [10, 20, 40, 80, 160, 320, 360, 360] {
        attempts.failed(now, &city(), &credentials("1"), &DownloadError::Cut);
        let until = now + minutes(expected);
        let wait = attempts.may(now, &city(), &credentials("1"), false).unwrap_err();
        assert_eq!((wait.until, wait.why, wait.since), (until, Closed::BackOff, Some(NOON)));
        assert!(attempts.may(until - 1, &city(), &credentials("1"), false).is_err());
        assert_eq!(attempts.may(now, &city(), &credentials("1"), true), Ok(()), "an operator need not wait");
        assert_eq!(attempts.may(until, &city(), &credentials("1"), false), Ok(()));
        now = until;
    }
    attempts.succeeded(&city());
    assert_eq!(attempts.may(now, &city(), &credentials("1"), false), Ok(()));
    attempts.failed(now, &city(), &credentials("1"), &DownloadError::Cut);
    assert_eq!(attempts.may(now, &city(), &credentials("1"), false).unwrap_err().until, now + minutes(10));
}

#[test]
fn many_failures_do_not_overflow() {
    let mut attempts = failed(DownloadError::Cut);
    attempts.failed.get_mut("GeoLite2-City").unwrap().times = u32::MAX;
    attempts.failed(NOON, &city(), &credentials("1"), &DownloadError::Cut);
    assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false).unwrap_err().until, NOON + minutes(360));
}

#[test]
fn a_reached_limit_closes_until_the_server_or_the_day_says_so() {
    let limit = |retry_after| failed(DownloadError::DailyLimit { retry_after });
    let until = |attempts: &Attempts, forced| attempts.may(NOON, &city(), &credentials("2"), forced).unwrap_err().until;
    assert_eq!(until(&limit(None), false), MIDNIGHT);
    assert_eq!(until(&limit(None), true), MIDNIGHT, "force does not make an account larger");
    assert_eq!(until(&limit(Some(Duration::from_secs(3600))), false), NOON + minutes(60));
    assert_eq!(until(&limit(Some(Duration::ZERO)), false), NOON + minutes(10), "at once is never meant");
    assert_eq!(limit(None).may(MIDNIGHT, &city(), &credentials("1"), false), Ok(()));
    assert_eq!(limit(None).may(NOON, &asn(), &credentials("1"), false).unwrap_err().until, MIDNIGHT);
}

#[test]
fn a_refused_key_closes_every_edition_until_it_is_another_or_a_day_has_passed() {
    let mut attempts = failed(DownloadError::Unauthorized);
    let wait = Err(Wait::new(NOON + DAY, Closed::Unauthorized));
    for edition in [city(), asn()] {
        assert_eq!(attempts.may(NOON, &edition, &credentials("1"), false), wait);
        assert_eq!(attempts.may(NOON + DAY - 1, &edition, &credentials("1"), false), wait);
        assert_eq!(attempts.may(NOON + DAY, &edition, &credentials("1"), false), Ok(()));
        assert_eq!(attempts.may(NOON, &edition, &credentials("1"), true), Ok(()));
        assert_eq!(attempts.may(NOON, &edition, &credentials("2"), false), Ok(()));
    }
    attempts.succeeded(&asn());
    assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Ok(()));
}

#[test]
fn an_edition_that_cannot_be_had_keeps_no_other_from_being_asked_for() {
    for (error, why, until) in [
        (DownloadError::Forbidden, Closed::Forbidden, NOON + DAY),
        (DownloadError::Http(404), Closed::Absent, NOON + DAY),
        (DownloadError::HashMismatch, Closed::BackOff, NOON + minutes(10)),
        (DownloadError::NotAnArchive("the answer is a web page"), Closed::BackOff, NOON + minutes(10)),
        (DownloadError::Intercepted(403), Closed::BackOff, NOON + minutes(10)),
        (DownloadError::Http(503), Closed::BackOff, NOON + minutes(10)),
    ] {
        let mut attempts = failed(error);
        let wait = attempts.may(NOON, &city(), &credentials("1"), false).unwrap_err();
        assert_eq!((wait.until, wait.why), (until, why));
        assert_eq!(attempts.may(NOON, &asn(), &credentials("1"), false), Ok(()), "{why}");
        assert_eq!(attempts.may(until, &city(), &credentials("1"), false), Ok(()), "{why}");
        assert_eq!(attempts.may(NOON, &city(), &credentials("1"), true), Ok(()), "{why}");
        // Another account may have it; a server in trouble fails for all.
        assert_eq!(attempts.may(NOON, &city(), &credentials("2"), false).is_ok(), why.is_refusal(), "{why}");
        attempts.succeeded(&asn());
        assert!(attempts.may(NOON, &city(), &credentials("1"), false).is_err(), "{why}: that was another edition");
        assert_eq!(attempts.again_at(NOON, &[asn()], &[]), None);
        assert_eq!(attempts.again_at(NOON, &[asn(), city()], &[]), Some(until), "who plans after a restart is told");
        let long_ago = NOON - 30 * DAY;
        assert_eq!(attempts.again_at(long_ago, &[city()], &[]), Some(long_ago), "another clock dated it");
        attempts.succeeded(&city());
        assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Ok(()));
        assert_eq!(attempts.again_at(NOON, &[asn(), city()], &[]), None);
    }
}

#[test]
fn a_setting_that_is_wrong_closes_nothing() {
    let attempts = failed(DownloadError::Setting("maxmind_url is no https:// address".to_owned()));
    assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Ok(()));
}

#[test]
fn nothing_newer_is_no_failure() {
    let attempts = failed(DownloadError::NotModified);
    assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Ok(()));
}

#[test]
fn a_fingerprint_tells_keys_apart_and_holds_none() {
    let of = |url, account, key: &str| Fingerprint::of(url, account, &Secret::new(key.to_owned()));
    let one = of("https://x", Some("12"), "hunter2");
    assert_eq!(one, of("https://x", Some("12"), "hunter2"));
    for other in [
        of("https://y", Some("12"), "hunter2"),
        of("https://x", Some("13"), "hunter2"),
        of("https://x", None, "hunter2"),
        of("https://x", Some("12"), "hunter3"),
        of("https://x1", Some("2"), "hunter2"),
    ] {
        assert_ne!(one, other);
    }
    assert!(!format!("{one:?}").contains("hunter"));
}

#[test]
fn a_ledger_of_the_first_version_is_read_and_closes_no_more_than_it_must() {
    let directory = Directory::new();
    let old = |rest: &str| {
        let text = format!(r#"{{"day":20000,"downloads":3,"failures":2,{rest},"arrived":{{}}}}"#);
        Attempts::load(&directory.write("downloads.json", text), NOON)
    };
    let later = NOON + minutes(20);
    let refused = old(r#""closed_until":null,"refused":["0123","forbidden"]"#);
    assert_eq!(refused.begun_today(NOON), 3);
    assert_eq!(refused.may(NOON, &asn(), &credentials("1"), false), Ok(()));
    let paused = old(&format!(r#""closed_until":[{later},"back_off"],"refused":null"#));
    assert_eq!(paused.may(NOON, &asn(), &credentials("1"), false), Ok(()));
    let limited = old(&format!(r#""closed_until":[{later},"limit"],"refused":null"#));
    assert_eq!(limited.may(NOON, &asn(), &credentials("1"), true).unwrap_err().until, later);
}

#[test]
fn the_ledger_outlives_the_process() {
    let directory = Directory::new();
    let path = directory.path().join("downloads.json");
    assert_eq!(Attempts::load(&path, NOON), Attempts::default());
    for error in [DownloadError::Cut, DownloadError::Unauthorized, DownloadError::DailyLimit { retry_after: None }] {
        let attempts = failed(error);
        attempts.save(&path).unwrap();
        assert_eq!(Attempts::load(&path, NOON), attempts);
    }
    assert_eq!(directory.names(), ["downloads.json"]);
    assert!(failed(DownloadError::Cut).save(&directory.path().join("absent/downloads.json")).is_err());
}

#[test]
fn a_save_that_fails_leaves_the_ledger_and_no_litter() {
    let directory = Directory::new();
    let path = directory.path().join("downloads.json");
    fs::create_dir(&path).unwrap();
    assert!(Attempts::default().save(&path).is_err());
    assert_eq!(directory.names(), ["downloads.json"]);
    assert_eq!(Attempts::load(&path, NOON).may(NOON, &city(), &credentials("1"), false).unwrap_err().why, Closed::Lost);
}

#[test]
fn a_broken_ledger_makes_no_haste() {
    let directory = Directory::new();
    for broken in ["", "{", "[]", "null", r#"{"downloads":-1}"#, r#"{"downloads":"many"}"#] {
        let attempts = Attempts::load(&directory.write("downloads.json", broken), NOON);
        let wait = Wait::new(NOON + minutes(60), Closed::Lost);
        assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Err(wait), "{broken}");
        assert_eq!(attempts.may(NOON + minutes(60), &city(), &credentials("1"), false), Ok(()));
    }
}

#[test]
fn a_clock_that_was_wrong_does_not_close_for_years() {
    let mut attempts = Attempts::default();
    attempts.began(NOON + 10_000 * DAY);
    attempts.failed(NOON + 10_000 * DAY, &city(), &credentials("1"), &DownloadError::Cut);
    assert_eq!(attempts.may(NOON, &city(), &credentials("1"), false), Ok(()));
    assert_eq!(attempts.begun_today(NOON), 0);
}

#[test]
fn a_source_that_is_not_set_for_a_moment_is_left_alone_still() {
    let sites = Site::list("a=https://x.example/a#every=1h, b=https://x.example/b, c=https://x.example/c").unwrap();
    let mut attempts = Attempts::default();
    sites.iter().for_each(|site| attempts.asks(NOON, site));
    attempts.told(NOON, &sites[0], Err((&DownloadError::Denied, credentials("1"))));
    attempts.told(NOON, &sites[1], Err((&DownloadError::Cut, credentials("1"))));
    attempts.keep(&[], NOON + 1);
    let wait = |why, until| Err((until, why));
    let may = |attempts: &Attempts, site, now| {
        attempts.may_ask(now, site, false, || credentials("1")).map_err(|wait| (wait.until, wait.why))
    };
    assert_eq!(may(&attempts, &sites[0], NOON + 2), wait(Closed::Denied, NOON + DAY));
    assert_eq!(may(&attempts, &sites[1], NOON + 2), wait(Closed::BackOff, NOON + minutes(10)));
    assert_eq!(attempts.sites.keys().collect::<Vec<_>>(), ["a", "b"]);
    // Another URL is another source.
    let other = Site::list("a=https://x.example/other").unwrap();
    assert_eq!(may(&attempts, &other[0], NOON + 2), Ok(()));
    attempts.keep(&[], NOON + minutes(10));
    assert_eq!(attempts.sites.keys().collect::<Vec<_>>(), ["a"]);
    attempts.keep(&sites, NOON + DAY);
    assert_eq!(attempts.sites.len(), 1, "those that are set stay");
    attempts.keep(&[], NOON + DAY);
    assert!(attempts.sites.is_empty());
}

#[test]
fn sources_that_are_not_set_do_not_fill_the_ledger() {
    let many: Vec<String> = (0..MOST_UNSET + 9).map(|n| format!("s{n}=https://x.example/{n}")).collect();
    let sites = Site::list(&many.join(",")).unwrap();
    let mut attempts = Attempts::default();
    for site in &sites {
        attempts.asks(NOON, site);
        attempts.told(NOON, site, Err((&DownloadError::Cut, credentials("1"))));
    }
    attempts.keep(&sites, NOON + 1);
    assert_eq!(attempts.sites.len(), sites.len());
    attempts.keep(&[], NOON + 1);
    assert_eq!(attempts.sites.len(), MOST_UNSET);
}

proptest! {
    #[test]
    fn any_file_and_any_time_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), now in any::<i64>()) {
        let directory = Directory::new();
        let mut attempts = Attempts::load(&directory.write("downloads.json", bytes), now);
        let _ = attempts.may(now, &city(), &credentials("1"), false);
        attempts.began(now);
        attempts.failed(now, &city(), &credentials("1"), &DownloadError::DailyLimit { retry_after: None });
        let _ = attempts.may(now, &city(), &credentials("1"), false);
    }
}

#[test]
fn why_and_since_when_a_file_cannot_be_had_is_kept_until_it_can() {
    let directory = Directory::new();
    let path = directory.path().join("downloads.json");
    let sites = Site::list("a=https://x.example/a#list").unwrap();
    let mut attempts = Attempts::default();
    let failures = [(NOON, DownloadError::Page), (NOON + minutes(10), DownloadError::Network("é".repeat(1000)))];
    for (at, error) in &failures {
        attempts.asks(*at, &sites[0]);
        attempts.told(*at, &sites[0], Err((error, credentials("1"))));
        attempts.failed(*at, &city(), &credentials("1"), error);
    }
    attempts.save(&path).unwrap();
    let attempts = Attempts::load(&path, NOON);
    let of_site = attempts.trouble(&sites[0]).unwrap();
    let of_maxmind = attempts.may(NOON + minutes(11), &city(), &credentials("1"), false).unwrap_err();
    for wait in [of_site, of_maxmind] {
        assert_eq!(wait.since, Some(NOON), "of the first one");
        let text = wait.cause.as_ref().unwrap().text.clone();
        assert!(text.starts_with("éé") && text.len() <= 255, "of the last one: {text}");
        assert_eq!(wait.reason(None), format!("the last download failed: {text}"));
        assert_eq!(wait.reason(Some("x.example")), format!("the last download failed: {text} (x.example)"));
    }
    // A reason that says it all is not told twice, and one of no host names none.
    let reason = |error: DownloadError| {
        let mut attempts = Attempts::default();
        attempts.asks(NOON, &sites[0]);
        attempts.told(NOON, &sites[0], Err((&error, credentials("1"))));
        attempts.trouble(&sites[0]).unwrap().reason(Some("x.example"))
    };
    assert_eq!(reason(DownloadError::Denied), "the server refuses this file");
    assert_eq!(reason(DownloadError::Disk(std::io::Error::other("full"))), "the last download failed: full");
    assert_eq!(
        reason(DownloadError::Page),
        "the last download failed: the answer is a web page, not a file (x.example)"
    );
}

#[test]
fn a_ledger_of_before_has_no_reasons_and_is_read() {
    let directory = Directory::new();
    let path = directory.path().join("downloads.json");
    let mut attempts = Attempts::default();
    attempts.failed(NOON, &city(), &credentials("1"), &DownloadError::Page);
    let mut older = serde_json::to_value(&attempts).unwrap();
    older.as_object_mut().unwrap().remove("under_way").unwrap();
    let failed = older["failed"][city().name()].as_object_mut().unwrap();
    assert!(failed.remove("since").is_some() && failed.remove("cause").is_some());
    std::fs::write(&path, older.to_string()).unwrap();
    let mut attempts = Attempts::load(&path, NOON);
    let wait = |attempts: &Attempts| attempts.may(NOON, &city(), &credentials("1"), false).unwrap_err();
    assert_eq!(wait(&attempts).reason(Some("x.example")), "the last download failed");
    assert_eq!((wait(&attempts).why, wait(&attempts).since), (Closed::BackOff, None));
    // Its beginning is lost, not its end.
    attempts.failed(NOON, &city(), &credentials("1"), &DownloadError::Cut);
    assert_eq!(
        (wait(&attempts).since, wait(&attempts).cause.unwrap().text),
        (None, "the answer was cut short".to_owned())
    );
}
