use super::*;
use crate::secrets::Secret;
use crate::secrets::fake::{Directory, Fake, Reply};
use crate::time::{DAY, midnight};
use chrono::NaiveDate;

/// Of these editions, none of which is installed.
fn update(fake: &Fake, directory: &Directory, editions: &str, key: &str) -> Update {
    let license_key = Secret::new(key.to_owned());
    let base_url = fake.url("localhost");
    Update {
        maxmind: MaxMind::Asked(
            Box::new(Source {
                base_url: base_url.clone(),
                account_id: Some("1".to_owned()),
                license_key: license_key.clone(),
                ca_file: Some(fake.ca_file()),
                proxy: None,
                limits: Default::default(),
                cancel: Default::default(),
            }),
            Fingerprint::of(&base_url, Some("1"), &license_key),
        ),
        sites: Vec::new(),
        lists: Vec::new(),
        lists_dir: directory.path().join("lists"),
        resolver: Default::default(),
        ca_file: Some(fake.ca_file()),
        editions: Edition::list(editions).unwrap().into_iter().map(|edition| (edition, None)).collect(),
        to_dir: directory.path().to_owned(),
        state_dir: directory.path().join("state"),
        forced: false,
        scheduled: false,
        corrected: false,
        cancel: Default::default(),
    }
}

/// The result of each, in a word.
fn told(update: &Update, now: Micros) -> Vec<String> {
    let word = |done: &Done| match done {
        Done::Failed(error, again) => {
            format!("{error}; again in {:?} min", again.map(|at| (at - now) / 60_000_000))
        }
        other => format!("{other:?}"),
    };
    update.run(|| now).unwrap().iter().map(|told| format!("{}: {}", told.name, word(&told.done))).collect()
}

#[test]
fn each_edition_stands_for_itself_and_those_of_others_are_not_asked_for() {
    let fake = Fake::start(|seen| match &seen.target {
        target if target.contains("GeoIP2-City") => Reply::new(403, &[], "no"),
        target if target.contains("GeoLite2-Gone") => Reply::new(404, &[], "no"),
        _ => Reply::new(304, &[], ""),
    });
    let directory = Directory::new();
    let wanted = update(&fake, &directory, "GeoIP2-City,dbip-city-lite,GeoLite2-Gone,GeoLite2-ASN", "key");
    let first = [
        "GeoIP2-City: the account may not download this edition (403); again in Some(1440) min",
        "dbip-city-lite: Foreign",
        "GeoLite2-Gone: the server answers with status 404; again in Some(1440) min",
        "GeoLite2-ASN: UpToDate",
    ];
    assert_eq!(told(&wanted, 0), first);
    assert!(fake.seen().iter().all(|seen| !seen.target.contains("dbip")));
    let before = fake.seen().len();
    let second = told(&wanted, DAY / 2);
    assert!(second[0].contains("Forbidden") && second[2].contains("Absent"), "{second:?}");
    assert_eq!(second[3], "GeoLite2-ASN: UpToDate");
    assert_eq!(fake.seen().len(), before + 1, "a refusal is not insisted on");
    assert_eq!(told(&wanted, DAY)[0], first[0], "but asked about again the next day");
}

#[test]
fn a_key_that_was_replaced_in_its_place_is_tried_and_the_same_is_not() {
    let fake = Fake::start(|seen| {
        let told = seen.header("authorization").unwrap_or_default();
        Reply::new(if told == "Basic MTpvbGQ=" { 401 } else { 304 }, &[], "")
    });
    let directory = Directory::new();
    let with = |key| update(&fake, &directory, "GeoLite2-City,GeoLite2-ASN", key);
    assert!(told(&with("old"), 0)[0].contains("(401)"));
    assert_eq!(fake.seen().len(), 1, "the other edition meets the same closed door");
    assert!(told(&with("old"), 1)[0].contains("Unauthorized"));
    assert_eq!(fake.seen().len(), 1);
    assert_eq!(told(&with("new"), 2), ["GeoLite2-City: UpToDate", "GeoLite2-ASN: UpToDate"]);
    let ledger = std::fs::read_to_string(directory.path().join("state/downloads.json")).unwrap();
    assert!(!ledger.contains("old") && !ledger.contains("new"), "{ledger}");
}

#[test]
fn what_is_no_file_in_an_editions_place_costs_no_question() {
    let fake = Fake::start(|_| Reply::new(304, &[], ""));
    let directory = Directory::new();
    std::os::unix::fs::symlink("elsewhere", directory.path().join("GeoLite2-City.mmdb")).unwrap();
    let told = told(&update(&fake, &directory, "GeoLite2-City", "key"), 0);
    assert!(told[0].contains("symbolic link"), "{told:?}");
    assert!(fake.seen().is_empty());
}

#[test]
fn a_later_day_is_newer_and_the_same_is_not() {
    let day = NaiveDate::from_ymd_opt(2026, 3, 4).unwrap();
    let built = midnight(day) + 7 * 3600 * 1_000_000;
    let named = |date| Remote { build_date: Some(date), last_modified: Some(built + 30 * DAY) };
    assert!(is_newer(&named(day.succ_opt().unwrap()), Some(built)));
    assert!(!is_newer(&named(day), Some(built)));
    assert!(!is_newer(&named(day.pred_opt().unwrap()), Some(built)));
    assert!(is_newer(&named(day), None), "nothing is installed");
    let changed = |at| Remote { build_date: None, last_modified: Some(at) };
    assert!(!is_newer(&changed(built + DAY / 2), Some(built)), "the archive of what is installed");
    assert!(is_newer(&changed(built + 2 * DAY), Some(built)));
    assert!(!is_newer(&Remote::default(), Some(built)));
}
