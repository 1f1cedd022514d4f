use proptest::prelude::*;

use super::*;
use crate::secrets::fake::Directory;

/// Noon of some day.
const NOON: Micros = 20_000 * DAY + DAY / 2;
const MIDNIGHT: Micros = 20_001 * DAY;

fn credentials(account: &str) -> Fingerprint {
    Fingerprint::of("https://x.example", Some(account), &Reference::Env("MAXMIND_LICENSE_KEY".to_owned()))
}

fn failed(error: DownloadError) -> Attempts {
    let mut attempts = Attempts::default();
    attempts.began(NOON);
    attempts.failed(NOON, &credentials("1"), &error);
    attempts
}

fn minutes(count: i64) -> Micros {
    count * 60 * SECOND
}

#[test]
fn a_day_has_thirty_downloads_and_force_makes_no_more() {
    let mut attempts = Attempts::default();
    for _ in 0..DAILY {
        assert_eq!(attempts.may(NOON, &credentials("1"), false), Ok(()));
        attempts.began(NOON);
        attempts.succeeded();
    }
    let wait = Err(Wait { until: Some(MIDNIGHT), why: Closed::Daily });
    assert_eq!(attempts.may(NOON, &credentials("1"), false), wait);
    assert_eq!(attempts.may(MIDNIGHT - 1, &credentials("2"), true), wait);
    assert_eq!(attempts.may(MIDNIGHT, &credentials("1"), false), Ok(()));
    attempts.began(MIDNIGHT);
    assert_eq!(attempts.begun_today(MIDNIGHT), 1);
}

#[test]
fn the_pause_after_failures_doubles_up_to_six_hours() {
    let mut attempts = Attempts::default();
    let mut now = NOON;
    for expected in [10, 20, 40, 80, 160, 320, 360, 360] {
        attempts.failed(now, &credentials("1"), &DownloadError::Cut);
        let until = now + minutes(expected);
        let wait = attempts.may(now, &credentials("1"), false).unwrap_err();
        assert_eq!(wait, Wait { until: Some(until), why: Closed::BackOff });
        assert!(attempts.may(until - 1, &credentials("1"), false).is_err());
        assert_eq!(attempts.may(now, &credentials("1"), true), Ok(()), "an operator need not wait");
        assert_eq!(attempts.may(until, &credentials("1"), false), Ok(()));
        now = until;
    }
    attempts.succeeded();
    assert_eq!((attempts.failures(), attempts.may(now, &credentials("1"), false)), (0, Ok(())));
}

#[test]
fn many_failures_do_not_overflow() {
    let mut attempts = Attempts { failures: u32::MAX, ..Attempts::default() };
    attempts.failed(NOON, &credentials("1"), &DownloadError::Cut);
    assert_eq!(attempts.may(NOON, &credentials("1"), false).unwrap_err().until, Some(NOON + minutes(360)));
}

#[test]
fn a_reached_limit_closes_until_the_server_or_the_day_says_so() {
    let limit = |retry_after| failed(DownloadError::DailyLimit { retry_after });
    let until = |attempts: &Attempts, forced| attempts.may(NOON, &credentials("2"), forced).unwrap_err().until;
    assert_eq!(until(&limit(None), false), Some(MIDNIGHT));
    assert_eq!(until(&limit(None), true), Some(MIDNIGHT), "force does not make an account larger");
    assert_eq!(until(&limit(Some(Duration::from_secs(3600))), false), Some(NOON + minutes(60)));
    assert_eq!(until(&limit(Some(Duration::ZERO)), false), Some(NOON + minutes(10)), "at once is never meant");
    assert_eq!(limit(None).may(MIDNIGHT, &credentials("1"), false), Ok(()));
    assert_eq!(limit(None).failures(), 0);
}

#[test]
fn refused_credentials_close_until_they_change() {
    for (error, why) in
        [(DownloadError::Unauthorized, Closed::Unauthorized), (DownloadError::Forbidden, Closed::Forbidden)]
    {
        let mut attempts = failed(error);
        let wait = Err(Wait { until: None, why });
        assert_eq!(attempts.may(NOON, &credentials("1"), false), wait);
        assert_eq!(attempts.may(NOON + 100 * DAY, &credentials("1"), false), wait);
        assert_eq!(attempts.may(NOON, &credentials("1"), true), Ok(()));
        assert_eq!(attempts.may(NOON, &credentials("2"), false), Ok(()));
        attempts.succeeded();
        assert_eq!(attempts.may(NOON, &credentials("1"), false), Ok(()));
    }
}

#[test]
fn nothing_newer_is_no_failure() {
    let attempts = failed(DownloadError::NotModified);
    assert_eq!((attempts.failures(), attempts.may(NOON, &credentials("1"), false)), (0, Ok(())));
}

#[test]
fn a_fingerprint_tells_settings_apart_and_holds_none() {
    let reference = |text| Reference::parse(text).unwrap();
    let of = |url, account, text| Fingerprint::of(url, account, &reference(text));
    let one = of("https://x", Some("12"), "env:MAXMIND_A");
    assert_eq!(one, of("https://x", Some("12"), "env:MAXMIND_A"));
    for other in [
        of("https://y", Some("12"), "env:MAXMIND_A"),
        of("https://x", Some("13"), "env:MAXMIND_A"),
        of("https://x", None, "env:MAXMIND_A"),
        of("https://x", Some("12"), "env:MAXMIND_B"),
        of("https://x1", Some("2"), "env:MAXMIND_A"),
    ] {
        assert_ne!(one, other);
    }
    assert!(!format!("{one:?}").contains("MAXMIND"));
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
    assert_eq!(Attempts::load(&path, NOON).may(NOON, &credentials("1"), false).unwrap_err().why, Closed::Lost);
}

#[test]
fn a_broken_ledger_makes_no_haste() {
    let directory = Directory::new();
    for broken in ["", "{", "[]", "null", r#"{"downloads":-1}"#, r#"{"downloads":"many"}"#] {
        let attempts = Attempts::load(&directory.write("downloads.json", broken), NOON);
        let wait = Wait { until: Some(NOON + minutes(60)), why: Closed::Lost };
        assert_eq!(attempts.may(NOON, &credentials("1"), false), Err(wait), "{broken}");
        assert_eq!(attempts.may(NOON + minutes(60), &credentials("1"), false), Ok(()));
    }
}

#[test]
fn a_clock_that_was_wrong_does_not_close_for_years() {
    let mut attempts = Attempts::default();
    attempts.began(NOON + 10_000 * DAY);
    attempts.failed(NOON + 10_000 * DAY, &credentials("1"), &DownloadError::Cut);
    assert_eq!(attempts.may(NOON, &credentials("1"), false), Ok(()));
    assert_eq!(attempts.begun_today(NOON), 0);
}

proptest! {
    #[test]
    fn any_file_and_any_time_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), now in any::<i64>()) {
        let directory = Directory::new();
        let mut attempts = Attempts::load(&directory.write("downloads.json", bytes), now);
        let _ = attempts.may(now, &credentials("1"), false);
        attempts.began(now);
        attempts.failed(now, &credentials("1"), &DownloadError::DailyLimit { retry_after: None });
        let _ = attempts.may(now, &credentials("1"), false);
    }
}
