//! When a source is asked, and what it costs if there is nothing new.

use super::*;

#[test]
fn an_unchanged_file_costs_a_question() {
    // By its tag, by its time, by a server that knows neither condition, and by one that tells nothing.
    let with: [(&'static str, bool); 4] = [("ETag", true), ("Last-Modified", true), ("ETag", false), ("X-None", false)];
    for (name, knows) in with {
        let content = Arc::new(Mutex::new(("1".to_owned(), database("first"))));
        let served = content.clone();
        let fake = Fake::start(move |seen| {
            let (tag, bytes) = served.lock().clone();
            let value =
                if name == "ETag" { format!("\"{tag}\"") } else { format!("Thu, 0{tag} Jan 2026 00:00:00 GMT") };
            let condition = if name == "ETag" { "if-none-match" } else { "if-modified-since" };
            if knows && seen.header(condition) == Some(&value) {
                return Reply::new(304, &[], "");
            }
            Reply::new(200, &[(name, &value)], &bytes)
        });
        let bench = Bench::new(&fake);
        let sites = format!("a={}/x", fake.url("localhost"));
        assert_eq!(bench.run(&sites, NOON), "Downloaded", "{name}");
        let inode = |bench: &Bench| {
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(bench.directory.path().join("a.mmdb")).unwrap())
        };
        let before = inode(&bench);
        assert_eq!(bench.run(&sites, NOON + HOUR), "Unchanged", "{name}");
        assert_eq!(bench.run(&sites, NOON + 2 * HOUR), "Unchanged", "{name}");
        assert_eq!(inode(&bench), before, "the file is left alone");
        // A file that an operator removed comes back.
        fs::remove_file(bench.directory.path().join("a.mmdb")).unwrap();
        assert_eq!(bench.run(&sites, NOON + 3 * HOUR), "Downloaded", "{name}");
        *content.lock() = ("2".to_owned(), database("second"));
        assert_eq!(bench.run(&sites, NOON + 4 * HOUR), "Downloaded", "{name}");
        assert_eq!(bench.file("a").unwrap(), database("second"));
        let forced = Update { forced: true, ..bench.update(&sites) };
        assert_eq!(bench.told(&forced, NOON + 5 * HOUR), "Downloaded", "{name}");
        let last = fake.seen().pop().unwrap();
        assert!(last.header("if-none-match").is_none() && last.header("if-modified-since").is_none());
    }
}

#[test]
fn last_months_file_stands_in_until_this_months_is_there() {
    let there = Arc::new(Mutex::new(false));
    let now_there = there.clone();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/x-2026-01.gz" if seen.header("if-none-match") == Some("jan") => Reply::new(304, &[], ""),
        "/x-2026-01.gz" => Reply::new(200, &[("ETag", "jan")], gz(&database("january"))),
        // Another file may have the same tag.
        "/x-2026-02.gz" if *now_there.lock() => Reply::new(200, &[("ETag", "jan")], gz(&database("february"))),
        // As web servers give it.
        _ => Reply::new(404, &[("Content-Type", "text/html")], "<html>not found</html>"),
    });
    let bench = Bench::new(&fake);
    let sites = format!("a={}/x-{{year}}-{{month}}.gz", fake.url("localhost"));
    let february = crate::time::midnight(chrono::NaiveDate::from_ymd_opt(2026, 2, 1).unwrap());
    assert_eq!(bench.run(&sites, february), "Downloaded");
    assert_eq!(bench.run(&sites, february + DAY), "Unchanged");
    assert_eq!(bench.file("a").unwrap(), database("january"));
    *there.lock() = true;
    assert_eq!(bench.run(&sites, february + 2 * DAY), "Downloaded");
    assert_eq!(bench.file("a").unwrap(), database("february"));
    let april = february + 60 * DAY;
    assert_eq!(bench.run(&sites, april), "the server answers with status 404; Some(1440)");
    assert_eq!(bench.run(&sites, april + HOUR), "NoFile");
    assert_eq!(bench.file("a").unwrap(), database("february"), "the old one goes on");
}

#[test]
fn each_source_has_its_own_schedule_and_stands_for_itself() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/broken" => Reply::new(500, &[], ""),
        _ => Reply::new(200, &[("ETag", "x")], database("x")),
    });
    let bench = Bench::new(&fake);
    let url = fake.url("localhost");
    let sites = format!("often={url}/a#every=6h, seldom={url}/b#every=7d, broken={url}/broken, usual={url}/c");
    let update = Update { scheduled: true, ..bench.update(&sites) };
    assert_eq!(due_at(&update.state_dir, &update.sites, NOON), Some(0));
    assert_eq!(
        bench.told(&update, NOON),
        "Downloaded | Downloaded | the server answers with status 500; Some(10) | Downloaded"
    );
    assert_eq!(due_at(&update.state_dir, &update.sites, NOON), Some(NOON + 6 * HOUR));
    assert_eq!(bench.told(&update, NOON + 5), "NotDue | NotDue | BackOff | Unchanged");
    assert_eq!(
        bench.told(&update, NOON + 6 * HOUR),
        "Unchanged | NotDue | the server answers with status 500; Some(20) | Unchanged"
    );
    assert_eq!(
        bench.run(&sites, NOON + 6 * HOUR + 1),
        "Unchanged | Unchanged | BackOff | Unchanged",
        "asked for by hand"
    );
    // Another entry is another source.
    assert_eq!(bench.run(&format!("broken={url}/mended"), NOON + 6 * HOUR + 2), "Downloaded");
    assert_eq!(due_at(&update.state_dir, &Site::list(&format!("a={url}/x")).unwrap(), NOON), None);
}

#[test]
fn a_source_that_waits_is_looked_at_when_it_may_be_asked() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/denied" => Reply::new(403, &[], ""),
        "/busy" => Reply::new(429, &[("Retry-After", "40000")], ""),
        _ => Reply::new(500, &[], ""),
    });
    let due = |path: &str, every: &str| {
        let bench = Bench::new(&fake);
        let sites = format!("a={}/{path}#every={every}", fake.url("localhost"));
        let update = Update { scheduled: true, ..bench.update(&sites) };
        bench.told(&update, NOON);
        move |now: Micros| {
            // Its directory is gone with it.
            let _bench = &bench;
            due_at(&update.state_dir, &update.sites, now).map(|at| at - NOON)
        }
    };
    // Refused for a day, unless its keys change.
    let denied = due("denied", "6h");
    assert_eq!(denied(NOON + 1), Some(6 * HOUR));
    assert_eq!(denied(NOON + 6 * HOUR), Some(12 * HOUR));
    assert_eq!(denied(NOON + 20 * HOUR), Some(24 * HOUR));
    assert_eq!(due("denied", "10min")(NOON + 90 * HOUR / 60), Some(2 * HOUR), "not every ten minutes");
    // Left alone for eleven hours.
    assert_eq!(due("busy", "6h")(NOON + 7 * HOUR), Some(40_000_000_000));
    assert_eq!(due("broken", "6h")(NOON + 1), Some(HOUR / 6), "sooner after a failure");
    // The clock was years ahead.
    assert_eq!(due("broken", "6h")(NOON - 1000 * DAY), Some(-NOON));
}

#[test]
fn a_source_of_maxminds_edition_stands_before_maxmind_and_others_are_told_why_not() {
    let fake = Fake::start(|_| Reply::new(200, &[], database("x")));
    let bench = Bench::new(&fake);
    let mut update = bench.update(&format!("GeoLite2-City={}/mirror", fake.url("localhost")));
    update.editions =
        Edition::list("GeoLite2-City,GeoLite2-ASN,by-hand").unwrap().into_iter().map(|e| (e, None)).collect();
    assert_eq!(bench.told(&update, NOON), "Downloaded | Unwanted | Foreign");
    update.maxmind = MaxMind::Keyless("why".to_owned());
    assert_eq!(bench.told(&update, NOON), "Unchanged | Keyless(\"why\") | Foreign");
}

#[test]
fn what_is_under_way_is_known_to_others_and_what_is_cancelled_is_no_failure() {
    let state: Arc<Mutex<Option<PathBuf>>> = Arc::default();
    let (seen, told): (Arc<Mutex<Vec<UnderWay>>>, _) = (Arc::default(), state.clone());
    let (kept, cancel) = (seen.clone(), Arc::<Cancel>::default());
    let ends = cancel.clone();
    let fake = Fake::start(move |_| {
        kept.lock().extend(under_way(told.lock().as_ref().unwrap(), NOON));
        ends.cancel();
        Reply::new(200, &[], b"192.0.2.0/24\n")
    });
    let bench = Bench::new(&fake);
    let host = fake.url("localhost");
    let update = Update { cancel, ..bench.update(&format!("a={host}/a#list, b={host}/b#list")) };
    *state.lock() = Some(update.state_dir.clone());
    assert_eq!(bench.told(&update, NOON), "Cancelled | Cancelled");
    let what =
        UnderWay { what: "list a".to_owned(), host: host.strip_prefix("https://").unwrap().to_owned(), since: NOON };
    assert_eq!(*seen.lock(), [what], "the second one was not asked");
    assert_eq!(under_way(&update.state_dir, NOON), None, "it has ended");
    assert_eq!(troubles(&update.state_dir, &update.sites, NOON).len(), 0);
    // Nobody has to wait for the next try.
    let again = bench.update(&format!("b={host}/b#list"));
    assert_eq!(bench.told(&again, NOON), "Downloaded");
}
