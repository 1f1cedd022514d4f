//! Sources that a setting keeps from being asked, and those that are not set for a moment.

use super::*;

#[test]
fn a_file_of_certificates_that_is_wrong_is_looked_at_again_soon_and_not_at_once() {
    let fake = Fake::start(|_| Reply::new(200, &[("ETag", "x")], database("x")));
    let mut bench = Bench::new(&fake);
    let good = bench.ca_file.clone();
    bench.ca_file = bench.directory.path().join("absent.pem");
    let url = fake.url("localhost");
    let sites = format!("a={url}/a#every=1d, b={url}/b#every=7d");
    let scheduled = |bench: &Bench| Update { scheduled: true, ..bench.update(&sites) };
    let mut now = NOON;
    for minutes in [10, 20, 40, 60, 60] {
        let update = scheduled(&bench);
        let told = bench.told(&update, now);
        assert_eq!(told.matches(&format!("; Some({minutes})")).count(), 2, "{told}");
        assert!(told.contains("absent.pem"), "{told}");
        let next = now + minutes * 60_000_000;
        assert_eq!(due_at(&update.state_dir, &update.sites, now), Some(next));
        assert_eq!(bench.told(&update, now + 1), "NotDue | NotDue");
        assert_eq!(due_at(&update.state_dir, &update.sites, now + 1), Some(next));
        assert!(troubles(&update.state_dir, &update.sites, now).iter().all(|(_, wait)| wait.until == next));
        now = next;
    }
    assert!(bench.run(&sites, now - 1).contains("absent.pem"), "who asks is told why");
    assert!(fake.seen().is_empty());
    bench.ca_file = good;
    let update = scheduled(&bench);
    assert_eq!(bench.told(&update, now), "NotDue | NotDue");
    assert_eq!(bench.told(&Update { corrected: true, ..update }, now), "Downloaded | Downloaded");
    let update = Update { corrected: true, ..scheduled(&bench) };
    assert_eq!(bench.told(&update, now + 1), "NotDue | NotDue");
    assert!(troubles(&update.state_dir, &update.sites, now).is_empty());
}

#[test]
fn a_setting_that_goes_wrong_after_a_failure_makes_no_turn_each_minute() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/broken" => Reply::new(500, &[], ""),
        _ => Reply::new(200, &[("ETag", "x")], database("x")),
    });
    let mut bench = Bench::new(&fake);
    let url = fake.url("localhost");
    let sites = format!("a={url}/broken#every=1d, b={url}/b#every=1d");
    let scheduled = |bench: &Bench| Update { scheduled: true, ..bench.update(&sites) };
    assert_eq!(bench.told(&scheduled(&bench), NOON), "the server answers with status 500; Some(10) | Downloaded");
    bench.ca_file = bench.directory.path().join("absent.pem");
    let (update, again) = (scheduled(&bench), NOON + HOUR / 6);
    let told = bench.told(&update, again);
    assert!(told.contains("absent.pem") && told.ends_with("; Some(20) | NotDue"), "{told}");
    assert_eq!(due_at(&update.state_dir, &update.sites, again), Some(again + HOUR / 3));
}

#[test]
fn sources_that_are_not_set_for_a_moment_keep_their_wait() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/denied" => Reply::new(403, &[], ""),
        _ => Reply::new(200, &[("ETag", "x")], database("x")),
    });
    let bench = Bench::new(&fake);
    let url = fake.url("localhost");
    let sites = format!("a={url}/denied, b={url}/b");
    assert_eq!(bench.run(&sites, NOON), "the server refuses this file (403); Some(1440) | Downloaded");
    assert_eq!(bench.run("", NOON + 1), "");
    assert_eq!(bench.run(&format!("c={url}/c"), NOON + 1), "Downloaded");
    assert!(bench.ledger().contains("\"a\"") && !bench.ledger().contains("\"b\""), "{}", bench.ledger());
    let before = fake.seen().len();
    assert_eq!(bench.run(&sites, NOON + HOUR), "Denied | Downloaded");
    assert_eq!(fake.seen().len(), before + 1);
}
