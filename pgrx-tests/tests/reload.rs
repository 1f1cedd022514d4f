//! mmdb files end to end: dropped into a directory, they answer within seconds in open sessions; a broken file is
//! refused and the previous one stays in use; many generations in a row are never mixed.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const DB: &str = "postgres";
const CITY: &str = "GeoLite2-City";
const ASN: &str = "GeoLite2-ASN";

fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster
}

/// A directory in which files are made before they are installed; the server does not look there.
fn workshop(cluster: &Cluster) -> PathBuf {
    let dir = cluster.data_dir().parent().expect("a parent").join("workshop");
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// City and ASN in which one address answers `gen <n>`, among enough others that a generation is not collapsed.
fn make_generation(dir: &std::path::Path, n: u32) {
    let name = format!("gen {n}");
    let age = fixtures::days_ago(1) + u64::from(n);
    fixtures::small_city(age)
        .insert("34.64.0.0/12", json!({"city": {"names": {"en": name}}, "country": {"iso_code": "US"}}))
        .write(&dir.join(format!("{CITY}.mmdb")))
        .expect("a file");
    fixtures::small_asn(age)
        .insert("34.64.0.0/12", json!({"autonomous_system_number": n + 1, "autonomous_system_organization": name}))
        .write(&dir.join(format!("{ASN}.mmdb")))
        .expect("a file");
}

/// Installs City and ASN from `dir` as files of an hour ago: a fresh one is given a second to grow.
fn install_settled(cluster: &Cluster, dir: &std::path::Path) {
    for edition in [CITY, ASN] {
        let name = format!("{edition}.mmdb");
        let part = cluster.maxmind_dir().join(format!("{name}.part"));
        fs::copy(dir.join(&name), &part).expect("copied");
        age(&part);
        fs::rename(&part, cluster.maxmind_dir().join(&name)).expect("renamed");
    }
}

/// The same, while no import looks: City and ASN are there at one stroke.
fn install_at_once(cluster: &Cluster, dir: &std::path::Path) {
    let lock = fs::File::open(cluster.data_dir().join("asn_inventory/import.lock")).expect("the importers' lock");
    lock.lock().expect("locked");
    install_settled(cluster, dir);
}

fn one(client: &mut Client, sql: &str) -> String {
    let rows = query(client, sql).unwrap_or_else(|failure| panic!("{sql}\nfailed: {failure:?}"));
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}

fn refused(cluster: &Cluster, edition: &str) -> String {
    cluster.value(DB, &format!("SELECT refused FROM mmdb_editions() WHERE edition = '{edition}'"))
}

#[test]
fn new_files_answer_in_open_sessions() {
    let cluster = cluster();
    let dir = workshop(&cluster);
    let (mut session, notices) = cluster.connect_with_notices(DB);
    const BOTH: &str = "SELECT (l).city, (l).asn_org, (l).maxmind_status FROM lookup_ip('34.64.0.1') l";
    let both = |client: &mut Client| {
        let row = query(client, BOTH).expect("an answer").remove(0);
        row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
    };

    // Nothing installed: nulls, and one warning a session.
    assert_eq!(both(&mut session), "||unavailable");
    assert_eq!(one(&mut session, "SELECT ip_country('8.8.8.8')"), "");
    assert_eq!(both(&mut session), "||unavailable");
    let warnings = || notices.all().into_iter().filter(|notice| notice.starts_with("WARNING")).count();
    assert_eq!(warnings(), 1, "{:?}", notices.all());
    assert_eq!(cluster.fails(DB, "SELECT backfill_inventory()").code, "55000");

    // ASN alone, then both, then newer ones: the session that was there from the start sees each.
    make_generation(&dir, 1);
    cluster.install_mmdb_as(&dir.join(format!("{ASN}.mmdb")), &format!("{ASN}.mmdb"));
    wait_for("the ASN file alone", || both(&mut session), |answer| answer == "|gen 1|found");
    assert_eq!(one(&mut session, "SELECT ip_asn('34.64.0.1')"), "2");
    assert_eq!(one(&mut session, "SELECT ip_country('34.64.0.1')"), "");
    cluster.install_mmdb(&dir);
    wait_for("both files", || both(&mut session), |answer| answer == "gen 1|gen 1|found");
    make_generation(&dir, 2);
    cluster.install_mmdb(&dir);
    wait_for("newer files", || both(&mut session), |answer| answer == "gen 2|gen 2|found");
    assert_eq!(warnings(), 1, "{:?}", notices.all());

    // A file of the other edition is refused under this one's name, and says so.
    cluster.install_mmdb_as(&dir.join(format!("{ASN}.mmdb")), &format!("{CITY}.mmdb"));
    wait_for("a refusal", || refused(&cluster, CITY), |reason| reason.contains("wrong edition"));
    assert_eq!(both(&mut session), "gen 2|gen 2|found");
    cluster.wait_value(DB, "SELECT refused LIKE '%GeoLite2-City: wrong edition%' FROM enrichment_status", "t");
    // Files that go away take nothing with them, also over a restart.
    for edition in [CITY, ASN] {
        fs::remove_file(cluster.maxmind_dir().join(format!("{edition}.mmdb"))).expect("removed");
    }
    cluster.restart();
    assert_eq!(both(&mut cluster.connect(DB)), "gen 2|gen 2|found");
}

/// The operator's change of the file in place, and the reason of the refusal.
fn harm(path: &std::path::Path, how: &str) {
    let open = || OpenOptions::new().write(true).open(path).expect("the file");
    match how {
        "half" => {
            let size = fs::metadata(path).expect("the file").len();
            open().set_len(size / 2).expect("truncated");
        }
        "nothing" => open().set_len(0).expect("truncated"),
        _ => {
            let mut file = open();
            file.set_len(0).expect("truncated");
            file.write_all(&vec![0x5a; 200_000]).expect("written");
        }
    }
}

#[test]
fn a_file_truncated_in_place_under_load_does_no_harm() {
    let cluster = cluster();
    let dir = workshop(&cluster);
    make_generation(&dir, 1);
    cluster.install_mmdb(&dir);
    cluster.wait_value(DB, "SELECT ip_city('34.64.0.1') || ip_asn_org('34.64.0.1')", "gen 1gen 1");
    let postmaster = cluster.pid();
    let stop = AtomicBool::new(false);
    const LOAD: &str = "SELECT string_agg(DISTINCT (l).city || ' ' || (l).asn_org, ',')
        FROM generate_series(1, 2000) i, LATERAL lookup_ip('34.64.0.0'::inet + i) l";
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = cluster.connect(DB);
                    let mut answers = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(one(&mut client, LOAD), "gen 1 gen 1");
                        answers += 1;
                    }
                    // Until the good files answer here as well.
                    wait_for("the new files", || one(&mut client, LOAD), |answer| answer == "gen 2 gen 2");
                    answers
                })
            })
            .collect();
        for how in ["half", "nothing", "garbage"] {
            let before: BTreeMap<_, _> = [CITY, ASN].map(|edition| (edition, refused_at(&cluster, edition))).into();
            for edition in [CITY, ASN] {
                harm(&cluster.maxmind_dir().join(format!("{edition}.mmdb")), how);
            }
            for edition in [CITY, ASN] {
                wait_until(&format!("{how}: {edition} to be refused"), || {
                    refused_at(&cluster, edition) != before[edition]
                });
                assert!(!refused(&cluster, edition).is_empty());
            }
        }
        let answered = "SELECT ip_city('34.64.0.1')";
        assert_eq!(cluster.value(DB, answered), "gen 1");
        stop.store(true, Ordering::Relaxed);
        make_generation(&dir, 2);
        cluster.install_mmdb(&dir);
        let answers: Vec<u32> = sessions.into_iter().map(|session| session.join().expect("no error")).collect();
        assert!(answers.iter().all(|count| *count > 10), "too little load: {answers:?}");
    });
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE refused IS NOT NULL", "0");
    assert_eq!(cluster.pid(), postmaster);
    let log = cluster.log();
    assert!(!log.contains("terminated by signal") && !log.contains("ERROR:"), "{}", cluster.log_tail());
    assert!(log.contains("refused GeoLite2-City"), "{log}");
}

fn refused_at(cluster: &Cluster, edition: &str) -> String {
    cluster.value(DB, &format!("SELECT refused_at FROM mmdb_editions() WHERE edition = '{edition}'"))
}

#[test]
fn twenty_generations_in_a_row_are_never_mixed() {
    const LAST: u32 = 20;
    // One statement over many rows, slow enough that a reload would hit it in the middle.
    const MANY: &str = "SELECT string_agg(DISTINCT (l).city, ','), string_agg(DISTINCT (l).asn_org, ','),
            string_agg(DISTINCT (l).asn_number::text, ','), count(*)
        FROM generate_series(1, 20000) i, LATERAL lookup_ip('34.64.0.0'::inet + i) l";
    let cluster = cluster();
    let dir = workshop(&cluster);
    make_generation(&dir, 1);
    cluster.install_mmdb(&dir);
    cluster.wait_value(DB, "SELECT ip_city('34.64.0.1') || ip_asn_org('34.64.0.1')", "gen 1gen 1");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = cluster.connect(DB);
                    let (mut before, mut seen) = (1, 0);
                    while !stop.load(Ordering::Relaxed) {
                        let row = query(&mut client, MANY).expect("an answer").remove(0);
                        let field = |i: usize| row[i].clone().unwrap_or_default();
                        // A mixed answer would be a list.
                        let generation = |name: String| {
                            let number = name.strip_prefix("gen ").and_then(|n| n.parse::<u32>().ok());
                            number.unwrap_or_else(|| panic!("{name:?} is of no one generation"))
                        };
                        let (city, asn) = (generation(field(0)), generation(field(1)));
                        assert_eq!(field(2), (asn + 1).to_string(), "number and name of one generation");
                        assert_eq!(field(3), "20000");
                        assert_eq!(city, asn, "both files of one drop");
                        assert!((before..=LAST).contains(&city), "went back");
                        seen += u32::from(city != before);
                        before = city;
                    }
                    // Once it has been told of the last generation, this process has that one open, and no other.
                    const LATEST: &str = "SELECT ip_city('34.64.0.1') || ip_asn_org('34.64.0.1')";
                    let last = format!("gen {LAST}gen {LAST}");
                    wait_for("the last generation", || one(&mut client, LATEST), |answer| *answer == last);
                    (seen, mapped(&one(&mut client, "SELECT pg_backend_pid()")))
                })
            })
            .collect();
        // Stops the sessions also when the operator's part fails.
        let _stop = StopOnDrop(&stop);
        for n in 2..=LAST {
            make_generation(&dir, n);
            install_at_once(&cluster, &dir);
            if n % 4 != 0 {
                // By hand it is quicker; the launcher may have been quicker still, or be at it.
                let by_hand = cluster.try_sql(DB, "SELECT import_mmdb_files()");
                assert!(by_hand.is_ok() || by_hand.is_err_and(|failure| failure.code == "55006"));
            }
            let name = format!("gen {n}gen {n}");
            cluster.wait_value(DB, "SELECT ip_city('34.64.0.1') || ip_asn_org('34.64.0.1')", &name);
        }
        stop.store(true, Ordering::Relaxed);
        let current = cluster.lines(DB, "SELECT generation FROM mmdb_editions() ORDER BY generation");
        for session in sessions {
            let (seen, mapped) = session.join().expect("no error");
            assert!(seen >= 5, "a session hardly noticed: {seen}");
            assert_eq!(mapped, current, "old generations keep their place on the disk as long as they are mapped");
        }
    });
    let generations = cluster.data_dir().join("asn_inventory/generations");
    let kept = || {
        let entries = fs::read_dir(&generations).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let names = wait_for("the current and the previous of each edition", kept, |names| names.len() == 4);
    let current = cluster.lines(DB, "SELECT generation FROM mmdb_editions()");
    assert!(current.iter().all(|name| names.contains(name)), "{current:?} of {names:?}");
    let log = cluster.log();
    let bad = log.lines().filter(|line| line.contains("ERROR:") || line.contains("WARNING:"));
    // The worker may have looked before the first files were there.
    let known = ["another process is importing", "no mmdb file is installed"];
    let bad: Vec<&str> = bad.filter(|line| !known.iter().any(|known| line.contains(known))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// The generations that a process has mapped, of those that are gone, too.
fn mapped(pid: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a session's process");
    let names = maps.lines().filter_map(|line| Some(line.split_once("/generations/")?.1.split('/').next()?.to_owned()));
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_session_in_the_middle_of_a_transaction_switches_with_its_next_statement() {
    let cluster = cluster();
    let dir = workshop(&cluster);
    make_generation(&dir, 1);
    install_settled(&cluster, &dir);
    cluster.wait_value(DB, "SELECT ip_city('34.64.0.1')", "gen 1");
    let mut session = cluster.connect(DB);
    session.batch_execute("BEGIN").expect("a transaction");
    assert_eq!(one(&mut session, "SELECT ip_city('34.64.0.1')"), "gen 1");
    // A cursor that was opened before goes on with the old files or with the new ones: never with an error.
    session
        .batch_execute("DECLARE c CURSOR FOR SELECT ip_city('34.64.0.0'::inet + i) FROM generate_series(1, 1000) i")
        .expect("a cursor");
    assert_eq!(one(&mut session, "FETCH 1 FROM c"), "gen 1");
    make_generation(&dir, 2);
    install_settled(&cluster, &dir);
    cluster.wait_value(DB, "SELECT ip_city('34.64.0.1')", "gen 2");
    wait_for(
        "the same transaction to see it",
        || one(&mut session, "SELECT ip_city('34.64.0.1')"),
        |city| city == "gen 2",
    );
    let rest = query(&mut session, "FETCH 500 FROM c").expect("rows");
    assert!(rest.iter().all(|row| row[0].as_deref().is_some_and(|city| city.starts_with("gen "))));
    session.batch_execute("COMMIT").expect("a commit");
    // The inventory is stale now, and a question updates it.
    cluster.sql(DB, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip'])");
    cluster.sql(DB, "INSERT INTO events VALUES ('34.64.0.9')");
    cluster.wait_value(DB, "SELECT city FROM ip_inventory", "gen 2");
    make_generation(&dir, 3);
    install_settled(&cluster, &dir);
    cluster.wait_value(DB, "SELECT ip_city('34.64.0.1') || ip_asn_org('34.64.0.1')", "gen 3gen 3");
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('34.64.0.9')).city"), "gen 3");
    cluster.wait_value(DB, "SELECT city || asn_org || observation_count FROM ip_inventory", "gen 3gen 31");
}
