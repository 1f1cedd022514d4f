use chrono::NaiveDateTime;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Micros {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap().and_utc().timestamp_micros()
}

/// The first `N` times after `from`, without their seconds.
fn times<const N: usize>(schedule: &str, from: &str) -> [String; N] {
    let schedule = Schedule::parse(schedule).unwrap();
    let mut last = at(from);
    std::array::from_fn(|_| {
        last = schedule.next(last).unwrap();
        let time = DateTime::<Utc>::from_timestamp_micros(last).unwrap();
        assert_eq!(last % 60_000_000, 0);
        time.format("%a %Y-%m-%d %H:%M").to_string()
    })
}

/// 2025-01-08 is a Wednesday.
const FROM: &str = "2025-01-08 12:00:00";

#[test]
fn the_defaults_of_the_settings() {
    assert_eq!(times("17 5 * * 3,6", FROM), ["Sat 2025-01-11 05:17", "Wed 2025-01-15 05:17", "Sat 2025-01-18 05:17"]);
    assert_eq!(times("*/10 * * * *", FROM), ["Wed 2025-01-08 12:10", "Wed 2025-01-08 12:20"]);
}

#[test]
fn the_next_time_is_later_than_now() {
    assert_eq!(times("0 12 * * *", FROM), ["Thu 2025-01-09 12:00"]);
    let noon = Schedule::parse("0 12 * * *").unwrap();
    assert_eq!(noon.next(at(FROM) - 1), Some(at(FROM)));
    assert_eq!(noon.next(at(FROM)), Some(at("2025-01-09 12:00:00")));
}

#[test]
fn sunday_is_0_and_7_and_sun() {
    for sunday in ["0", "7", "sun", "SUN", "0,7"] {
        let times = times(&format!("0 0 * * {sunday}"), FROM);
        assert_eq!(times, ["Sun 2025-01-12 00:00", "Sun 2025-01-19 00:00"], "{sunday}");
    }
}

#[test]
fn each_weekday_by_number_and_name() {
    for (number, name) in ["sun", "mon", "tue", "wed", "thu", "fri", "sat"].iter().enumerate() {
        let [by_number] = times(&format!("0 0 * * {number}"), FROM);
        let [by_name] = times(&format!("0 0 * * {name}"), FROM);
        assert_eq!(by_number, by_name);
        assert!(by_name.to_lowercase().starts_with(name), "{by_name}");
    }
}

#[test]
fn ranges_of_weekdays() {
    assert_eq!(times("0 0 * * 1-5", "2025-01-10 12:00:00"), ["Mon 2025-01-13 00:00", "Tue 2025-01-14 00:00"]);
    for weekend in ["sat-sun", "6-7", "sat,sun"] {
        assert_eq!(
            times(&format!("0 0 * * {weekend}"), FROM),
            ["Sat 2025-01-11 00:00", "Sun 2025-01-12 00:00", "Sat 2025-01-18 00:00"]
        );
    }
    assert_eq!(times("0 0 * * sun-mon", FROM), times::<1>("0 0 * * 0,1", FROM));
}

#[test]
fn steps_begin_where_the_range_does() {
    assert_eq!(
        times("5-59/20 8 * * *", FROM),
        ["Thu 2025-01-09 08:05", "Thu 2025-01-09 08:25", "Thu 2025-01-09 08:45"]
    );
    assert_eq!(times("0 20/2 * * *", FROM), ["Wed 2025-01-08 20:00", "Wed 2025-01-08 22:00", "Thu 2025-01-09 20:00"]);
    // Every second weekday from Monday: not Sunday again as a 7.
    assert_eq!(times("0 0 * * 1/2", FROM), ["Fri 2025-01-10 00:00", "Mon 2025-01-13 00:00"]);
    assert_eq!(times("0 0 * * */2", FROM), ["Thu 2025-01-09 00:00", "Sat 2025-01-11 00:00", "Sun 2025-01-12 00:00"]);
}

#[test]
fn two_restricted_fields_of_days_mean_either() {
    assert_eq!(
        times("0 0 13 * fri", "2025-06-01 00:00:00"),
        ["Fri 2025-06-06 00:00", "Fri 2025-06-13 00:00", "Fri 2025-06-20 00:00", "Fri 2025-06-27 00:00"]
    );
    assert_eq!(times("0 0 13 * fri", "2025-07-11 00:00:00"), ["Sun 2025-07-13 00:00", "Fri 2025-07-18 00:00"]);
}

#[test]
fn a_field_of_days_that_begins_with_a_star_means_both() {
    // Odd days that are Fridays.
    assert_eq!(times("0 0 */2 * fri", FROM), ["Fri 2025-01-17 00:00", "Fri 2025-01-31 00:00"]);
}

#[test]
fn months_and_the_ends_of_months() {
    assert_eq!(times("0 0 1 feb,Aug *", FROM), ["Sat 2025-02-01 00:00", "Fri 2025-08-01 00:00"]);
    assert_eq!(times("0 0 31 * *", "2025-01-31 00:00:00"), ["Mon 2025-03-31 00:00", "Sat 2025-05-31 00:00"]);
    assert_eq!(times("0 0 29 2 *", FROM), ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"]);
    assert_eq!(times("59 23 31 12 *", FROM), ["Wed 2025-12-31 23:59", "Thu 2026-12-31 23:59"]);
}

#[test]
fn shorthands() {
    assert_eq!(times("@hourly", FROM), ["Wed 2025-01-08 13:00"]);
    assert_eq!(times("@Daily", FROM), ["Thu 2025-01-09 00:00"]);
    assert_eq!(times("@weekly", FROM), ["Sun 2025-01-12 00:00"]);
    assert_eq!(times("@monthly", FROM), ["Sat 2025-02-01 00:00"]);
    assert_eq!(times("@yearly", FROM), ["Thu 2026-01-01 00:00"]);
}

#[test]
fn nothing_is_never() {
    for empty in ["", "   "] {
        assert_eq!(Schedule::parse(empty).unwrap().next(0), None);
    }
}

#[test]
fn times_outside_the_calendar() {
    let daily = Schedule::parse("@daily").unwrap();
    assert_eq!(daily.next(Micros::MIN), Some(0));
    assert_eq!(daily.next(-1), Some(0));
    assert_eq!(daily.next(at("2100-12-31 00:00:00")), None);
    assert_eq!(daily.next(Micros::MAX), None);
    assert_eq!(daily.next(8_210_266_876_799_999_999), None);
}

#[test]
fn what_is_no_schedule_is_refused_by_name() {
    assert_eq!(Schedule::parse("* * * *").unwrap_err(), ScheduleError::Fields(4));
    assert_eq!(Schedule::parse("0 * * * * *").unwrap_err(), ScheduleError::Fields(6));
    assert_eq!(Schedule::parse("@never").unwrap_err(), ScheduleError::Fields(1));
    assert_eq!(Schedule::parse("0 0 30 2 *").unwrap_err(), ScheduleError::NoSuchDay);
    assert_eq!(Schedule::parse(&"0 ".repeat(200)).unwrap_err(), ScheduleError::TooLong);
    assert_eq!(
        Schedule::parse("0 24 * * *").unwrap_err().to_string(),
        "hour \"24\" is not valid: use values from 0 to 23, ranges (a-b), steps (/n), lists (a,b)"
    );
    for (field, text) in [
        ("minute", "60 * * * *"),
        ("minute", "+5 * * * *"),
        ("minute", "1,,2 * * * *"),
        ("minute", "*/0 * * * *"),
        ("minute", "*/ * * * *"),
        ("minute", "-5 * * * *"),
        ("minute", "10-5 * * * *"),
        ("minute", "99999999999 * * * *"),
        ("minute", "**/2 * * * *"),
        ("day of month", "0 0 0 * *"),
        ("day of month", "0 0 ? * *"),
        ("month", "0 0 * 13 *"),
        ("month", "0 0 * mon *"),
        ("day of week", "0 0 * * 8"),
        ("day of week", "0 0 * * monday"),
        ("day of week", "0 0 * * fri-mon"),
    ] {
        match Schedule::parse(text) {
            Err(ScheduleError::Field { field: named, .. }) => assert_eq!(named, field, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn jitter_is_half_an_hour_at_most_and_a_tenth_of_what_lies_between_turns() {
    let minute = 60_000_000;
    let spread = |text: &str, chance| Schedule::parse(text).unwrap().next_spread(0, chance).unwrap();
    assert_eq!(spread("* * * * *", 0), minute);
    assert_eq!(spread("* * * * *", 5_999_999), minute + 5_999_999);
    assert_eq!(spread("* * * * *", 6_000_000), minute);
    assert_eq!(spread("0 * * * *", 359_999_999), 60 * minute + 359_999_999);
    assert_eq!(spread("0 * * * *", 360_000_000), 60 * minute);
    // Once a day or a week: the half hour.
    assert_eq!(spread("0 5 * * *", 1_799_999_999), 330 * minute - 1);
    assert_eq!(spread("0 5 * * *", 1_800_000_000), 300 * minute);
    assert_eq!(Schedule::parse("").unwrap().next_spread(0, 7), None);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".*", fields in "[0-9a-z*/,@ -]{0,30}") {
        let _ = Schedule::parse(&text);
        let _ = Schedule::parse(&fields);
    }

    #[test]
    fn every_field_is_what_it_says(
        minute in 0u32..60, hour in 0u32..24, weekday in 0u32..8, after in 0..LAST - 31 * 86_400,
    ) {
        use chrono::{Datelike, Timelike};
        let schedule = Schedule::parse(&format!("{minute} {hour} * * {weekday}")).unwrap();
        let after = after * 1_000_000 + 999_999;
        let next = schedule.next(after).unwrap();
        let time = DateTime::<Utc>::from_timestamp_micros(next).unwrap();
        prop_assert!(next > after && next - after <= 7 * 86_400_000_000);
        prop_assert_eq!((time.minute(), time.hour()), (minute, hour));
        prop_assert_eq!(time.weekday().num_days_from_sunday(), weekday % 7);
    }
}
