use super::*;
use crate::secrets::SecretError;

fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn url(text: &str, date: NaiveDate, suffix: &str) -> String {
    let mut secret = |reference: &Reference| Ok::<_, SecretError>(Secret::new(format!("<{reference}>/&")));
    Template::parse(text).unwrap().url(date, suffix, &mut secret).unwrap().to_string()
}

#[test]
fn places_are_filled_and_secrets_escaped() {
    let at = day(2026, 3, 4);
    for (text, filled) in [
        ("https://a.example", "https://a.example/"),
        ("https://a.example:8443/x.mmdb", "https://a.example:8443/x.mmdb"),
        ("HTTPS://a.example/x-{year}-{month}-{day}.gz", "https://a.example/x-2026-03-04.gz"),
        ("https://a.example/{secret:env:A}/x?y={year}", "https://a.example/%3Cenv%3AA%3E%2F%26/x?y=2026"),
        (
            "https://a.example/x?token={secret:vault://kv/a#b}&z",
            "https://a.example/x?token=%3Cvault%3A%2F%2Fkv%2Fa%23b%3E%2F%26&z",
        ),
        ("https://me:{secret:env:A}@a.example/x", "https://a.example/x"),
        ("https://{secret:op://a b/c/d@e}@a.example/x", "https://a.example/x"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
        ("http://[::1]/x", "http://[::1]/x"),
        ("https://a.example/x?", "https://a.example/x?"),
    ] {
        assert_eq!(url(text, at, ""), filled);
    }
    for (text, filled) in [
        ("https://a.example", "https://a.example/.sha256"),
        ("https://a.example/x.gz?a=b", "https://a.example/x.gz.sha256?a=b"),
        ("https://a.example/x.gz?suffix=b", "https://a.example/x.gz.sha256?suffix=b"),
        // MaxMind's.
        ("https://a.example/x/download?suffix=tar.gz", "https://a.example/x/download?suffix=tar.gz.sha256"),
        ("https://a.example/d?suffix=zip&date={year}", "https://a.example/d?suffix=zip.sha256&date=2026"),
        ("https://a.example/d?a=b&suffix=tar.gz", "https://a.example/d?a=b&suffix=tar.gz.sha256"),
    ] {
        assert_eq!(url(text, at, ".sha256"), filled);
    }
    assert_eq!(url("https://a.example/d?suffix=tar.gz&a", at, ""), "https://a.example/d?suffix=tar.gz&a");
    assert_eq!(Template::parse("https://x:{secret:env:A}@a.example:1/b").unwrap().host(), "a.example:1");
}

#[test]
fn what_is_not_a_url_or_holds_a_key_is_refused_and_not_repeated() {
    for (text, why) in [
        ("", "https://"),
        ("ftp://hunter2/", "https://"),
        ("http://hunter2.example/x", "this machine alone"),
        ("http://127.0.0.1.example/hunter2", "this machine alone"),
        ("https://", "name a host"),
        ("https://{year}.example/", "host"),
        ("https://{secret:env:A}/", "host"),
        ("https://a.example:hunter2/", "port"),
        ("https://me:hunter2@a.example/", "Before the @"),
        ("https://hunter2@a.example/", "Before the @"),
        ("https://a:b:{secret:env:A}@a.example/", "Before the @"),
        ("https://:{secret:env:A}@a.example/", "Before the @"),
        ("https://a.example/{hunter2}", "In braces"),
        ("https://a.example/{secret:hunter2}", "not a reference"),
        ("https://a.example/{year", "brace"),
        ("https://a.example/year}", "brace"),
        ("https://a.example/{{year}}", "brace"),
        ("https://a.example/hunter 2", "not a URL"),
        ("https://a.example/\\hunter2", "not a URL"),
        ("https://a.example/hünter2", "not a URL"),
        ("https://a.example/x?token=hunter2", "A key itself"),
        ("https://a.example/x?a=b&License_Key=hunter2&c=d", "A key itself"),
        ("https://a.example/x?a={year}&token=hunter2", "A key itself"),
        ("https://a.example/x?token=hunter2{secret:env:A}", "A key itself"),
        ("https://a.example/x?token={secret:env:A}hunter2", "A key itself"),
        ("https://a.example/x?apiToken=hunter2", "A key itself"),
        ("https://a.example/x?api-key=hunter2", "A key itself"),
        ("https://a.example/x?X-Amz-Signature=hunter2", "A key itself"),
        ("https://a.example/x?client_secret=hunter2", "A key itself"),
        ("https://a.example/x?licensekey=hunter2", "A key itself"),
        ("https://a.example/x?t%6Fken=hunter2", "A key itself"),
        ("https://a.example/x?token%3Dhunter2", "A key itself"),
        ("https://a.example/x?a=1;sig=hunter2", "A key itself"),
        ("https://a.example/x?a={secret:env:B}&pass=hunter2", "A key itself"),
    ] {
        let refused = Template::parse(text).expect_err(text);
        assert!(refused.contains(why) && !refused.contains("hunter2"), "{text}: {refused}");
    }
}

#[test]
fn the_file_of_before_is_that_of_the_finest_place() {
    let dates = |text: &str, today| Template::parse(text).unwrap().dates(today);
    let (new_year, leap) = (day(2026, 1, 1), day(2024, 3, 31));
    assert_eq!(dates("https://a.example/x", leap), [leap]);
    assert_eq!(dates("https://a.example/{year}", leap), [leap, day(2023, 3, 1)]);
    assert_eq!(dates("https://a.example/{year}-{month}", leap), [leap, day(2024, 2, 1)]);
    assert_eq!(dates("https://a.example/{year}-{month}", new_year), [new_year, day(2025, 12, 1)]);
    assert_eq!(dates("https://a.example/{year}{month}{day}", new_year), [new_year, day(2025, 12, 31)]);
}
