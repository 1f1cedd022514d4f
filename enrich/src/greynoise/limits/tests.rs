use proptest::prelude::*;

use super::*;

/// 1994-11-06 08:49:37 UTC, a Sunday: the date that RFC 9110 shows.
const NOW: Micros = 784_111_777_000_000;
/// A time in 2025: the clock of these tests.
const TODAY: Micros = 1_736_294_400_000_000;

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn of(headers: &[(&str, &'static str)], now: Micros) -> Option<Duration> {
    wait(|name| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value), now)
}

#[test]
fn retry_after_says_how_long_to_wait() {
    let wait = |value| of(&[("retry-after", value)], NOW);
    assert_eq!(of(&[], NOW), None);
    assert_eq!(wait("60"), seconds(60));
    assert_eq!(wait(" 60 "), seconds(60));
    assert_eq!(wait(" 0 "), None, "the quota would be spent on refusals, one a second");
    assert_eq!(wait("99999999999"), Some(MAX_RETRY_AFTER));
    assert_eq!(wait("99999999999999999999999999"), Some(MAX_RETRY_AFTER));
    for in_a_minute in ["Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:50:37 GMT", "Sun Nov  6 08:50:37 1994"] {
        assert_eq!(wait(in_a_minute), seconds(60), "{in_a_minute}");
    }
    assert_eq!(wait("Sat, 05 Nov 1994 08:49:37 GMT"), None);
    assert_eq!(wait("Mon, 06 Nov 2094 08:49:37 GMT"), None, "that day is a Saturday");
    assert_eq!(wait("Sat, 06 Nov 2094 08:49:37 GMT"), Some(MAX_RETRY_AFTER));
    for garbage in ["", "-1", "+60", "1.5", "soon", "60, 70"] {
        assert_eq!(wait(garbage), None, "{garbage}");
    }
}

#[test]
fn without_it_the_reset_of_the_limit_does() {
    for name in RESETS {
        for (value, wait) in [
            ("30", seconds(30)),
            (" 30 ", seconds(30)),
            ("30.5", seconds(30)),
            ("1736294460", seconds(60)),
            ("1736294460.25", seconds(60)),
            ("1736294460000", seconds(60)),
            ("Wed, 08 Jan 2025 00:01:00 GMT", seconds(60)),
            ("2025-01-08T00:01:00Z", seconds(60)),
            ("99999999999999999999999999", None),
            ("0", None),
            ("1736294399", None),
            ("2025-01-07T00:00:00Z", None),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(of(&[(name, value)], TODAY), wait, "{name}: {value}");
        }
    }
    assert_eq!(of(&[("x-ratelimit-reset", "4000000000")], TODAY), Some(MAX_RETRY_AFTER));
    assert_eq!(of(&[("ratelimit", "\"default\";r=0;t=30")], TODAY), seconds(30));
    assert_eq!(of(&[("ratelimit", "limit=10, remaining=0, reset=30")], TODAY), seconds(30));
    assert_eq!(of(&[("ratelimit", "\"default\";r=0")], TODAY), None);
    assert_eq!(of(&[("x-ratelimit-reset", "30"), ("retry-after", "5")], TODAY), seconds(5));
    assert_eq!(of(&[("x-ratelimit-reset", "30"), ("retry-after", "soon")], TODAY), seconds(30));
    assert_eq!(of(&[("x-ratelimit-reset", "30"), ("retry-after", "0")], TODAY), seconds(30));
}

#[test]
fn of_several_limits_the_one_that_was_hit_counts() {
    for (value, wait) in [
        ("\"burst\";r=5;t=1, \"daily\";r=0;t=86400", seconds(86_400)),
        ("\"daily\";r=0;t=86400, \"burst\";r=5;t=1", seconds(86_400)),
        ("\"burst\";r=0;t=1,\"daily\";r=9000;t=86400", seconds(1)),
        ("\"burst\";t=1;r=0, \"daily\";t=3600;r=0", seconds(3600)),
        ("\"a;t=7, b\";r=0; t=30", seconds(30)),
        // None says that it was: the longest.
        ("\"burst\";t=1, \"daily\";t=86400", seconds(86_400)),
        ("\"burst\";r=1;t=60, \"daily\";r=0", seconds(60)),
        ("\"daily\";r=0;t=0, \"burst\";r=0;t=soon", None),
        ("limit=10, remaining=0, reset=30", seconds(30)),
        ("limit=10;w=60, 100;w=3600, remaining=0, reset=50", seconds(50)),
    ] {
        assert_eq!(of(&[("ratelimit", value)], TODAY), wait, "{value}");
    }
}

proptest! {
    #[test]
    fn no_header_panics(value in ".{0,40}", number: u64, now: Micros) {
        for name in ["retry-after", "x-ratelimit-reset", "ratelimit"] {
            let number = if name == "ratelimit" { format!("r=0;t={number}") } else { number.to_string() };
            for value in [&value, &number] {
                let wait = wait(|n| (n == name).then_some(value.as_str()), now);
                prop_assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
            }
        }
    }
}
