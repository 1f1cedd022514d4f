use proptest::prelude::*;

use super::super::closed::{DAY, SECOND};
use super::*;
use crate::secrets::{Reference, Secret, SecretError};

/// Noon of some day.
const NOON: Micros = 20_000 * DAY + DAY / 2;
const HOUR: Micros = 3600 * SECOND;

fn site(every: &str) -> Site {
    Site::list(&format!("a=https://x.example/a#list&every={every}")).unwrap().remove(0)
}

fn keys(name: &str) -> Fingerprint {
    Fingerprint::of("https://x.example", Some(name), &Secret::new("key".to_owned()))
}

fn setting() -> DownloadError {
    DownloadError::Setting("tls_ca_file: no such file".to_owned())
}

fn secret() -> DownloadError {
    DownloadError::Secret(SecretError::broken_off(&Reference::parse("vault://secret/lists#token").unwrap()))
}

/// Asked at `asked`, and failed so often.
fn failing(site: &Site, asked: Micros, error: &DownloadError, times: u32) -> Line {
    let mut line = Line::of(site).asked(asked);
    (0..times).for_each(|_| line.failed(asked, error, keys("1")));
    line
}

#[test]
fn what_a_setting_or_a_secret_keeps_from_being_asked_is_tried_within_the_hour_and_waits_for_nobody() {
    let daily = site("1d");
    let causes = [(setting(), Closed::Setting), (secret(), Closed::Secret)];
    let failures = [(1, 10), (2, 20), (3, 40), (4, 60), (40, 60)];
    for ((error, why), (times, minutes)) in causes.iter().flat_map(|cause| failures.map(|after| (cause, after))) {
        let line = failing(&daily, NOON, error, times);
        let until = NOON + minutes * 60 * SECOND;
        let wait = line.trouble().unwrap();
        assert_eq!((wait.until, wait.why), (until, *why));
        assert_eq!(line.may(NOON + 1, false, || keys("1")), Ok(()), "by hand at any time");
        assert_eq!((line.due_at(NOON + 1, &daily), line.is_due(NOON + 1, &daily, false)), (until, false));
        assert!(line.is_due(NOON + 1, &daily, true), "once it may have been corrected");
        assert!(line.is_due(until, &daily, false));
    }
    let other = failing(&daily, NOON, &DownloadError::Cut, 1);
    assert!(!other.is_due(NOON + 1, &daily, true), "no setting mends that");
}

#[test]
fn a_clock_that_was_set_back_leaves_a_wait_a_wait() {
    let often = site("6h");
    let back = NOON - 12 * HOUR;
    let due = |error: DownloadError| failing(&often, NOON, &error, 1).due_at(back, &often);
    assert_eq!(due(DownloadError::Denied), back + 6 * HOUR, "its keys are looked at");
    assert_eq!(due(DownloadError::Cut), NOON + HOUR / 6);
    assert_eq!(due(setting()), NOON + HOUR / 6);
    assert_eq!(Line::of(&often).asked(NOON).due_at(back, &often), 0, "nothing is waited for");
}

proptest! {
    /// A look that finds nothing to ask is not followed by another one at once.
    #[test]
    fn a_source_that_is_not_asked_now_is_due_later(
        asked in -3 * DAY..3 * DAY,
        failed_at in -3 * DAY..3 * DAY,
        error in 0..7,
        times in 0_u32..9,
        every in prop::sample::select(vec!["10min", "1h", "7h", "3d"]),
        same_keys in any::<bool>(),
    ) {
        let site = site(every);
        let error = match error {
            0 => DownloadError::Cut,
            1 => DownloadError::Denied,
            2 => DownloadError::Http(404),
            3 => DownloadError::Busy { retry_after: Some(Duration::from_secs(50_000)) },
            4 => DownloadError::Credentials,
            5 => secret(),
            _ => setting(),
        };
        let mut line = Line::of(&site).asked(NOON + asked);
        (0..times).for_each(|_| line.failed(NOON + failed_at, &error, keys("1")));
        let by = keys(if same_keys { "1" } else { "2" });
        if line.may(NOON, false, || by).is_err() || !line.is_due(NOON, &site, false) {
            prop_assert!(line.due_at(NOON, &site) > NOON);
        }
    }

    #[test]
    fn any_times_give_an_answer(asked in any::<i64>(), failed_at in any::<i64>(), now in any::<i64>()) {
        let site = site("366d");
        let mut line = Line::of(&site).asked(asked);
        let _ = (line.due_at(now, &site), line.is_due(now, &site, false));
        line.failed(failed_at, &DownloadError::Denied, keys("1"));
        let _ = (line.due_at(now, &site), line.is_due(now, &site, true), line.may(now, false, || keys("1")));
    }
}
