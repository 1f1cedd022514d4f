//! Sources of anybody, over real sockets: packings, unchanged files, months, secrets, refusals.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::*;
use crate::proxy::Plan;
use crate::proxy::fake::{FakeProxy, Way};
use crate::secrets::fake::{Directory, FAR, Fake, Reply, Seen};
use crate::secrets::{Environment, Patterns};
use crate::time::DAY;

const NOON: Micros = 20_500 * DAY + DAY / 2;
const HOUR: Micros = DAY / 24;

/// What the check of a file wants to see at its end.
fn database(content: &str) -> Vec<u8> {
    [content.as_bytes(), b"\xab\xcd\xefMaxMind.com", b"metadata"].concat()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// A list of sources, and the place of their files.
struct Bench {
    directory: Directory,
    resolver: Resolver,
    ca_file: PathBuf,
}

impl Bench {
    fn new(fake: &Fake) -> Bench {
        Bench::with(fake, &[])
    }

    fn with(fake: &Fake, variables: &[(&str, &str)]) -> Bench {
        let variables = variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let resolver = Resolver {
            env_allow: Patterns::parse("*").unwrap(),
            environment: Environment::Fixed(variables),
            ..Resolver::default()
        };
        Bench { directory: Directory::new(), resolver, ca_file: fake.ca_file() }
    }

    fn update(&self, sites: &str) -> Update {
        let sites = Site::list(sites).unwrap();
        let (databases, lists): (Vec<Site>, Vec<Site>) =
            sites.into_iter().partition(|site| site.kind() == Kind::Database);
        Update {
            maxmind: MaxMind::Unwanted,
            editions: databases.iter().map(|site| (site.name().clone(), None)).collect(),
            sites: databases.iter().chain(&lists).cloned().collect(),
            lists,
            lists_dir: self.directory.path().to_owned(),
            resolver: self.resolver.clone(),
            ca_file: Some(self.ca_file.clone()),
            to_dir: self.directory.path().to_owned(),
            state_dir: self.directory.path().join("state"),
            forced: false,
            scheduled: false,
            corrected: false,
        }
    }

    /// The result of each, in a word.
    fn told(&self, update: &Update, now: Micros) -> String {
        let word = |done: &Done| match done {
            Done::Failed(error, again) => format!("{error}; {:?}", again.map(|at| (at - now) / 60_000_000)),
            Done::Waits(wait) => format!("{:?}", wait.why),
            other => format!("{other:?}"),
        };
        let told: Vec<String> = update.run(|| now).unwrap().iter().map(|told| word(&told.done)).collect();
        let names = self.directory.names();
        assert!(
            names.iter().all(|name| name.ends_with(".mmdb") || name.ends_with(".list") || name == "state"),
            "litter: {names:?}"
        );
        told.join(" | ")
    }

    fn run(&self, sites: &str, now: Micros) -> String {
        self.told(&self.update(sites), now)
    }

    fn file(&self, edition: &str) -> Option<Vec<u8>> {
        fs::read(self.directory.path().join(format!("{edition}.mmdb"))).ok()
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.directory.path().join("state/downloads.json")).unwrap()
    }
}

#[test]
fn every_packing_gives_the_same_file() {
    use crate::maxmind::download::for_tests::{entry, pack, zip};
    let plain = database("x");
    let tar = pack(&[("x/README", tar::EntryType::Regular, b"text"), ("x/y.mmdb", tar::EntryType::Regular, &plain)]);
    for bytes in [plain.clone(), gz(&plain), tar, zip(&[entry("README", b"text"), entry("x/y.mmdb", &plain)])] {
        let fake = Fake::start(move |_| Reply::new(200, &[("Content-Type", "application/x-whatever")], &bytes));
        let bench = Bench::new(&fake);
        // The name says nothing, or something else.
        assert_eq!(bench.run(&format!("a={}/x.tar.gz", fake.url("localhost")), NOON), "Downloaded");
        assert_eq!(bench.file("a").unwrap(), plain);
        assert_eq!(fake.seen().len(), 1);
    }
}

#[test]
fn a_list_of_networks_comes_in_every_packing_and_beside_an_edition_of_its_name() {
    use crate::maxmind::download::for_tests::{entry, pack, zip};
    let plain = b"203.0.113.0/24\n".to_vec();
    let folder = ("x/", tar::EntryType::Directory, &b""[..]);
    let tar = pack(&[folder, ("x/any", tar::EntryType::Regular, &plain)]);
    for bytes in [
        plain.clone(),
        gz(&plain),
        tar,
        zip(&[
            entry("x/", b""),
            entry("x/README.txt", b"text"),
            entry("__MACOSX/x/._any.csv", b"text"),
            entry("x/any.csv", &plain),
        ]),
    ] {
        let fake = Fake::start(move |seen| match seen.target.as_str() {
            "/base" => Reply::new(200, &[], database("a")),
            _ => Reply::new(200, &[("ETag", "1")], &bytes),
        });
        let bench = Bench::new(&fake);
        let url = fake.url("localhost");
        let sites = format!("a={url}/list.txt#every=1h&list, a={url}/base");
        assert_eq!(bench.run(&sites, NOON), "Downloaded | Downloaded");
        assert_eq!(fs::read(bench.directory.path().join("a.list")).unwrap(), plain);
        assert_eq!(bench.file("a").unwrap(), database("a"));
        assert_eq!(bench.run(&sites, NOON + 1), "Unchanged | Unchanged");
        let refused = Site::list(&format!("{sites}, a={url}/again#list")).unwrap_err();
        assert_eq!(refused.to_string(), "a has two sources");
    }
}

#[test]
fn what_is_no_list_leaves_the_one_of_before() {
    use crate::maxmind::download::for_tests::{entry, pack, zip};
    let answer = Arc::new(Mutex::new(b"203.0.113.0/24\n".to_vec()));
    let served = answer.clone();
    let fake = Fake::start(move |_| Reply::new(200, &[], served.lock().clone()));
    let bench = Bench::new(&fake);
    let sites = format!("a={}/x#list", fake.url("localhost"));
    assert_eq!(bench.run(&sites, NOON), "Downloaded");
    let link = ("any", tar::EntryType::Symlink, &b""[..]);
    for (bytes, why) in [
        (Vec::new(), "the downloaded list is empty"),
        (gz(b""), "the downloaded list is empty"),
        (b"<html>sign in</html>".to_vec(), "the answer is a web page, not a file"),
        (zip(&[entry("a", b"1"), entry("b", b"2")]), "the archive is refused: it holds more than one file"),
        (zip(&[entry("a/", b""), entry("a/LICENSE", b"1")]), "the archive is refused: it holds no file"),
        (pack(&[link]), "the archive is refused: its list is not a regular file"),
    ] {
        *answer.lock() = bytes;
        let told = bench.told(&Update { forced: true, ..bench.update(&sites) }, NOON + HOUR);
        assert!(told.starts_with(why), "{told}");
        assert_eq!(fs::read(bench.directory.path().join("a.list")).unwrap(), b"203.0.113.0/24\n");
    }
    assert_eq!(bench.run(&sites, NOON + HOUR), "BackOff");
    let lists = bench.update(&sites).lists;
    let state = bench.directory.path().join("state");
    assert!(again_at(&state, &[], &lists, NOON + HOUR).is_some_and(|at| at > NOON + HOUR));
    assert_eq!(troubles(&state, &lists, NOON + HOUR).len(), 1);
}

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
fn secrets_reach_their_host_and_nothing_else() {
    let plain = database("x");
    let store_bytes = plain.clone();
    let store = Fake::start(move |_| Reply::new(200, &[], &store_bytes));
    let target = store.url("127.0.0.1");
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/t/hunter2%2F/x?token=hunter2%2F" if seen.header("authorization") == Some("Basic bWU6aHVudGVyMi8=") => {
            Reply::new(302, &[("Location", &format!("{target}/signed?hunter2"))], "")
        }
        _ => Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"hunter2\"")], "hunter2"),
    });
    let host = fake.url("localhost").replace("https://", "");
    let bench = Bench::with(&fake, &[("KEY", "hunter2/"), ("PAIR", "me:hunter2/"), ("BAD", "hunter3")]);
    for user in ["me:{secret:env:KEY}", "{secret:env:PAIR}"] {
        let sites = format!("a=https://{user}@{host}/t/{{secret:env:KEY}}/x?token={{secret:env:KEY}}");
        assert_eq!(bench.run(&sites, NOON), "Downloaded");
        fs::remove_file(bench.directory.path().join("a.mmdb")).unwrap();
    }
    assert!(store.seen().iter().all(|seen| seen.header("authorization").is_none()));
    let wrong = format!("a=https://me:{{secret:env:BAD}}@{host}/t/{{secret:env:KEY}}/x");
    let told = bench.run(&wrong, NOON);
    assert_eq!(told, "the server does not accept the credentials of this source (401); Some(1440)");
    assert_eq!(bench.run(&wrong, NOON + HOUR), "Credentials", "the same key is not insisted on");
    let absent = format!("a=https://{host}/{{secret:env:ABSENT}}");
    assert_eq!(bench.run(&absent, NOON), "env:ABSENT: is not set in the server's environment; Some(10)");
    let ledger = bench.ledger();
    assert!(!ledger.contains("hunter") && !ledger.contains("/t/") && ledger.contains(&host), "{ledger}");
    assert!(!format!("{:?}", bench.update(&wrong)).contains("hunter"));
}

#[test]
fn a_key_that_was_replaced_in_its_place_is_tried() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/?t=new" => Reply::new(200, &[], database("x")),
        _ => Reply::new(403, &[], "no"),
    });
    let mut bench = Bench::with(&fake, &[("KEY", "old")]);
    let sites = format!("a={}/?t={{secret:env:KEY}}", fake.url("localhost"));
    assert_eq!(bench.run(&sites, NOON), "the server refuses this file (403); Some(1440)");
    assert_eq!(bench.run(&sites, NOON + HOUR), "Denied");
    bench.resolver = Bench::with(&fake, &[("KEY", "new")]).resolver;
    assert_eq!(bench.run(&sites, NOON + 2 * HOUR), "Downloaded");
}

#[test]
fn what_is_no_database_is_refused_and_the_old_file_goes_on() {
    let bomb = gz(&vec![b'x'; 20 << 20]);
    let page = |kind| move |_: &Seen| Reply::new(200, &[("Content-Type", kind)], "<!DOCTYPE html><html>sign in</html>");
    let packed = |bytes: Vec<u8>| move |_: &Seen| Reply::new(200, &[], &bytes);
    type Answer = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;
    let cases: Vec<(Answer, &str)> = vec![
        (Box::new(page("text/html; charset=utf-8")), "the answer is a web page, not a file"),
        (Box::new(page("application/octet-stream")), "the answer is a web page, not a file"),
        (
            Box::new(packed(b"<?xml version=\"1.0\"?><Error>NoSuchKey</Error>".to_vec())),
            "the answer is a web page, not a file",
        ),
        (Box::new(packed(gz(b"<html>sign in</html>"))), "the answer is a web page, not a file"),
        (Box::new(packed(b"some text".to_vec())), "the downloaded file is not an mmdb file"),
        (Box::new(packed(Vec::new())), "the downloaded file is not an mmdb file"),
        (Box::new(packed(gz(b"some text"))), "the downloaded file is not an mmdb file"),
        (Box::new(packed(bomb)), "the content of the archive is too large"),
        (Box::new(packed(gz(&database("x"))[..20].to_vec())), "not an archive: it is broken"),
        (
            Box::new(|_: &Seen| Reply::new(302, &[("Location", "http://127.0.0.1:1/")], "")),
            "the server redirects to an address that is not plain https://",
        ),
        (
            Box::new(|_: &Seen| Reply::new(429, &[("Retry-After", "3600")], "")),
            "the server wants to be left alone (429)",
        ),
        (Box::new(|_: &Seen| Reply::new(500, &[], "")), "the server answers with status 500"),
        (Box::new(|_: &Seen| Reply::new(304, &[], "")), "not modified (304)"),
    ];
    for (answer, why) in cases {
        let fake = Fake::start(answer);
        let bench = Bench::new(&fake);
        bench.directory.write("a.mmdb", "older");
        let sites = format!("a={}/x", fake.url("localhost"));
        let told = bench.run(&sites, NOON);
        let pause = if why.contains("429") { 60 } else { 10 };
        assert_eq!(told, format!("{why}; Some({pause})"));
        assert_eq!(bench.file("a").unwrap(), b"older");
        let before = fake.seen().len();
        assert!(["BackOff", "Busy"].contains(&bench.run(&sites, NOON + 1).as_str()));
        assert_eq!(fake.seen().len(), before);
    }
}

#[test]
fn a_sum_beside_the_file_is_compared_and_spares_downloads() {
    let sum = Arc::new(Mutex::new(String::new()));
    let served = sum.clone();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/x.gz.sha256?q" => Reply::new(200, &[], format!("{}  x.gz\n", served.lock())),
        _ => Reply::new(200, &[], gz(&database("x"))),
    });
    let bench = Bench::new(&fake);
    let sites = format!("a={}/x.gz?q#sha256", fake.url("localhost"));
    *sum.lock() = "0".repeat(64);
    assert_eq!(bench.run(&sites, NOON), "the archive does not match its SHA-256 sum; Some(10)");
    assert_eq!(bench.file("a"), None);
    *sum.lock() = Sha256::digest(gz(&database("x"))).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bench.run(&sites, NOON + HOUR), "Downloaded");
    let before = fake.seen().len();
    assert_eq!(bench.run(&sites, NOON + 2 * HOUR), "Unchanged");
    assert_eq!(fake.seen().len(), before + 1, "only the sum");
    *sum.lock() = "no sum".to_owned();
    assert!(bench.run(&sites, NOON + 3 * HOUR).starts_with("not an archive: the answer is not a SHA-256 sum"));
}

#[test]
fn a_sum_stands_where_maxmind_has_it_and_its_absence_is_told() {
    let sum: String = Sha256::digest(gz(&database("x"))).iter().map(|byte| format!("{byte:02x}")).collect();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/a/download?suffix=tar.gz.sha256" => Reply::new(200, &[], format!("{sum}  a.tar.gz\n")),
        "/a/download?suffix=tar.gz" | "/b.gz" => Reply::new(200, &[], gz(&database("x"))),
        _ => Reply::new(404, &[], ""),
    });
    let bench = Bench::new(&fake);
    let url = fake.url("localhost");
    assert_eq!(bench.run(&format!("a={url}/a/download?suffix=tar.gz#sha256"), NOON), "Downloaded");
    let without = format!("b={url}/b.gz#sha256");
    let told = "the server answers with status 404 for the SHA-256 sum beside the file; Some(1440)";
    assert_eq!(bench.run(&without, NOON), told);
    assert_eq!(bench.run(&without, NOON + 1), "NoSum");
    assert_eq!(bench.file("b"), None);
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
fn a_list_may_be_called_a_page() {
    let fake = Fake::start(|_| Reply::new(200, &[("Content-Type", "text/html")], "1.2.3.4\n5.6.7.8\n"));
    let bench = Bench::new(&fake);
    assert_eq!(bench.run(&format!("a={}/list.php#list", fake.url("localhost")), NOON), "Downloaded");
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
fn plain_http_is_for_this_machine_alone_and_a_proxy_for_all_others() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
            head.push(byte[0]);
        }
        let body = database("plain");
        write!(stream, "HTTP/1.1 200 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
    });
    let far = Fake::start(|_| Reply::new(200, &[], database("far")));
    let way = FakeProxy::start(Way::Tunnel);
    let mut bench = Bench::new(&far);
    bench.resolver.proxy = Some(Plan { https_proxy: way.url(), ..Plan::default() });
    let sites = format!("a=http://localhost:{port}/x, b={}/x", far.url(FAR));
    assert_eq!(bench.run(&sites, NOON), "Downloaded | Downloaded");
    server.join().unwrap();
    assert_eq!((bench.file("a"), bench.file("b")), (Some(database("plain")), Some(database("far"))));
    assert_eq!(way.asked().len(), 1);
    // A proxy that is of no use: its name, and the target's.
    let wall = FakeProxy::start(Way::Says("HTTP/1.1 403 X\r\nContent-Type: text/html\r\n\r\n<html>blocked"));
    bench.resolver.proxy = Some(Plan { https_proxy: wall.url(), ..Plan::default() });
    let told = bench.run(&format!("b={}/y", far.url(FAR)), NOON);
    assert!(
        told.starts_with(&format!("the proxy {} answers with status 403, asked for {FAR}:", wall.name())),
        "{told}"
    );
    bench.resolver.proxy =
        Some(Plan { https_proxy: "http://p:1".to_owned(), credentials: "env:NONE".to_owned(), ..Plan::default() });
    let told = bench.run(&format!("b={}/z", far.url(FAR)), NOON);
    assert_eq!(
        told,
        "asn_inventory.https_proxy_credentials cannot be resolved: env:NONE: is not set in the server's environment; None"
    );
}

mod secrets;
mod settings;
