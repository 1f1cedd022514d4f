//! What is taken for a file, and what is not.

use super::*;
use crate::maxmind::download::for_tests::{entry, pack, zip};
use crate::secrets::fake::Seen;

#[test]
fn every_packing_gives_the_same_file() {
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
fn a_list_may_be_called_a_page() {
    let fake = Fake::start(|_| Reply::new(200, &[("Content-Type", "text/html")], "1.2.3.4\n5.6.7.8\n"));
    let bench = Bench::new(&fake);
    assert_eq!(bench.run(&format!("a={}/list.php#list", fake.url("localhost")), NOON), "Downloaded");
}
