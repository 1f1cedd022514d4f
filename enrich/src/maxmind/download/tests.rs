//! Downloads from servers that mean well, and from others.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::draft::Draft;
use super::fetch::read_sum;
use super::source::build_date;
use super::unpack::tests::pack;
use super::*;
use crate::maxmind::Edition;
use crate::secrets::Secret;
use crate::secrets::fake::{Directory, Fake, Reply, Seen};

const KEY: &str = "hunter2/hunter2";

fn edition() -> Edition {
    Edition::new("GeoLite2-ASN").unwrap()
}

fn source(fake: &Fake) -> Source {
    Source {
        base_url: fake.url("localhost"),
        account_id: Some("12345".to_owned()),
        license_key: Secret::new(KEY.to_owned()),
        ca_file: Some(fake.ca_file()),
        proxy: None,
        limits: Limits::default(),
        cancel: Default::default(),
    }
}

fn good() -> Vec<u8> {
    pack(&[
        ("GeoLite2-ASN_20240102/COPYRIGHT.txt", EntryType::Regular, b"text"),
        ("GeoLite2-ASN_20240102/GeoLite2-ASN.mmdb", EntryType::Regular, b"database"),
    ])
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The answer of an honest server that has `archive`.
fn serve(seen: &Seen, archive: &[u8]) -> Reply {
    if seen.target.contains("tar.gz.sha256") {
        Reply::new(200, &[], format!("{}  GeoLite2-ASN_20240102.tar.gz\n", hex(archive)))
    } else {
        let headers = [
            ("Content-Type", "application/gzip"),
            ("Last-Modified", "Tue, 02 Jan 2024 15:04:05 GMT"),
            ("Content-Disposition", "attachment; filename=GeoLite2-ASN_20240102.tar.gz"),
        ];
        Reply::new(200, &headers, archive)
    }
}

fn serving(archive: Vec<u8>) -> Fake {
    Fake::start(move |seen| serve(seen, &archive))
}

/// Downloads into a directory that holds an older file, which an error must leave alone, and nothing beside it.
fn attempt(source: &Source) -> Result<Vec<u8>, DownloadError> {
    let directory = Directory::new();
    let older = directory.write("GeoLite2-ASN.mmdb", "older");
    fs::set_permissions(older, fs::Permissions::from_mode(0o640)).unwrap();
    let result = source.download(&edition(), directory.path());
    assert_eq!(directory.names(), ["GeoLite2-ASN.mmdb"]);
    let stands = fs::read(directory.path().join("GeoLite2-ASN.mmdb")).unwrap();
    match result {
        Ok((path, _)) => {
            assert_eq!(path, directory.path().join("GeoLite2-ASN.mmdb"));
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o640,
                "of the file that was replaced"
            );
            Ok(stands)
        }
        Err(error) => {
            assert_eq!(stands, b"older");
            let told = format!("{error} {error:?}");
            assert!(!told.contains("hunter2") && !told.contains("12345"), "{told}");
            Err(error)
        }
    }
}

#[test]
fn a_good_archive_becomes_one_file() {
    let fake = serving(good());
    assert_eq!(attempt(&source(&fake)).unwrap(), b"database");
    let seen = fake.seen();
    let targets: Vec<&str> = seen.iter().map(|s| s.target.as_str()).collect();
    let path = "/geoip/databases/GeoLite2-ASN/download?suffix=tar.gz";
    assert_eq!(targets, [&format!("{path}.sha256"), path]);
    for request in &seen {
        assert_eq!(request.header("authorization"), Some("Basic MTIzNDU6aHVudGVyMi9odW50ZXIy"));
    }
}

#[test]
fn without_an_account_the_key_goes_into_the_query_and_nowhere_else() {
    let fake = serving(good());
    let source = Source { account_id: None, ..source(&fake) };
    assert_eq!(attempt(&source).unwrap(), b"database");
    let seen = fake.seen();
    assert_eq!(
        seen[1].target,
        "/app/geoip_download?edition_id=GeoLite2-ASN&license_key=hunter2%2Fhunter2&suffix=tar.gz"
    );
    assert!(seen.iter().all(|s| s.header("authorization").is_none()));
    assert!(!format!("{source:?}").contains("hunter2"));

    let refused = Fake::start(|_| Reply::new(401, &[], "hunter2"));
    let source = Source { base_url: refused.url("localhost"), ..source };
    assert!(matches!(attempt(&source), Err(DownloadError::Unauthorized)));
    let unreachable = Source { base_url: "https://127.0.0.1:1".to_owned(), ..source };
    assert!(matches!(attempt(&unreachable), Err(DownloadError::Network(_))));
}

#[test]
fn freshness_is_asked_without_a_download() {
    let fake = serving(good());
    let remote = source(&fake).head(&edition()).unwrap();
    assert_eq!(remote.last_modified, Some(1_704_207_845_000_000));
    assert_eq!(remote.build_date, NaiveDate::from_ymd_opt(2024, 1, 2));
    assert_eq!(fake.seen()[0].method, "HEAD");

    let silent =
        Fake::start(|_| Reply::new(200, &[("Last-Modified", "yesterday"), ("Content-Disposition", "x_9")], ""));
    assert_eq!(source(&silent).head(&edition()).unwrap(), Remote::default());
    assert_eq!(build_date("attachment; filename=A_B_99999999.tar.gz"), None);
    assert_eq!(build_date("attachment; filename=A_ä20240102"), None);
}

#[test]
fn the_key_does_not_follow_a_redirect_to_another_origin() {
    let archive = good();
    let store = serving(archive.clone());
    // Another name of the same machine, as a host; and the same name with another port.
    for host in ["127.0.0.1", "localhost"] {
        let target = store.url(host);
        let fake = Fake::start(move |s| Reply::new(302, &[("Location", &format!("{target}{}", s.target))], ""));
        assert_eq!(attempt(&source(&fake)).unwrap(), b"database");
        assert!(fake.seen().iter().all(|s| s.header("authorization").is_some()));
    }
    let seen = store.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|s| s.header("authorization").is_none()), "{seen:?}");
}

#[test]
fn within_the_origin_the_key_is_kept() {
    let archive = good();
    let fake = Fake::start(move |s| match s.target.strip_prefix("/there") {
        Some(_) => serve(s, &archive),
        None => Reply::new(307, &[("Location", &format!("/there{}", s.target))], ""),
    });
    assert_eq!(attempt(&source(&fake)).unwrap(), b"database");
    assert!(fake.seen().iter().all(|s| s.header("authorization").is_some()));
    // Back home after a detour.
    let home = fake.url("localhost");
    let store = Fake::start(move |s| Reply::new(302, &[("Location", &format!("{home}/there{}", s.target))], ""));
    let source = Source { base_url: store.url("localhost"), ..source(&fake) };
    let before = fake.seen().len();
    assert_eq!(attempt(&source).unwrap(), b"database");
    assert!(fake.seen()[before..].iter().all(|s| s.header("authorization").is_none()));
}

#[test]
fn a_redirect_that_is_not_https_or_does_not_end_is_not_followed() {
    let plain = Fake::start(|_| Reply::new(302, &[("Location", "http://127.0.0.1:1/x")], ""));
    assert!(matches!(attempt(&source(&plain)), Err(DownloadError::Redirect(_))));
    let nowhere = Fake::start(|_| Reply::new(302, &[], ""));
    assert!(matches!(attempt(&source(&nowhere)), Err(DownloadError::Redirect(_))));

    let round = Fake::start(|s| Reply::new(302, &[("Location", &s.target)], ""));
    assert!(matches!(attempt(&source(&round)), Err(DownloadError::Redirect("too often"))));
    assert_eq!(round.seen().len(), 4);
}

#[test]
fn only_https_is_asked() {
    let fake = serving(good());
    let usual = source(&fake);
    for url in ["http://127.0.0.1:1", "", "download.maxmind.com", "https://u:p@localhost", "https://localhost/?a=b"] {
        let source = Source { base_url: url.to_owned(), ..usual.clone() };
        assert!(matches!(attempt(&source), Err(DownloadError::Setting(_))), "{url}");
    }
    for account in ["", "1:2", "1\n2"] {
        let source = Source { account_id: Some(account.to_owned()), ..usual.clone() };
        assert!(matches!(attempt(&source), Err(DownloadError::Setting(_))), "{account}");
    }
    let source = Source { ca_file: Some("/nonexistent".into()), ..usual.clone() };
    assert!(matches!(attempt(&source), Err(DownloadError::Setting(_))));
    assert!(fake.seen().is_empty());
    let untrusting = Source { ca_file: None, ..usual };
    assert!(attempt(&untrusting).unwrap_err().is_transient());
    assert!(fake.seen().is_empty());
}

#[test]
fn every_status_has_its_meaning() {
    let of = |status, headers: &'static [(&'static str, &'static str)]| {
        let fake = Fake::start(move |_| Reply::new(status, headers, "Daily GeoIP database download limit reached"));
        let error = attempt(&source(&fake)).unwrap_err();
        assert_eq!(fake.seen().len(), 1, "no download is spent");
        error
    };
    assert!(matches!(of(304, &[]), DownloadError::NotModified));
    assert!(matches!(of(401, &[]), DownloadError::Unauthorized));
    assert!(matches!(of(403, &[]), DownloadError::Forbidden));
    assert!(matches!(of(429, &[]), DownloadError::DailyLimit { retry_after: None }));
    let DownloadError::DailyLimit { retry_after } = of(429, &[("Retry-After", "60")]) else { panic!("not the limit") };
    assert_eq!(retry_after, Some(Duration::from_secs(60)));
    assert!(matches!(of(404, &[]), DownloadError::Http(404)));
    assert!(!of(404, &[]).is_transient());
    assert!(matches!(of(204, &[]), DownloadError::Http(204)));
    assert!(of(500, &[]).is_transient());
    assert!(of(503, &[]).is_transient());
    assert!(!of(401, &[]).is_transient());
}

#[test]
fn a_store_that_refuses_says_nothing_of_the_key() {
    for status in [401, 403, 429] {
        let store = Fake::start(move |_| Reply::new(status, &[], ""));
        let target = store.url("127.0.0.1");
        let fake = Fake::start(move |s| Reply::new(302, &[("Location", &format!("{target}{}", s.target))], ""));
        assert!(matches!(attempt(&source(&fake)), Err(DownloadError::Http(s)) if s == status));
    }
}

#[test]
fn an_archive_that_its_sum_does_not_know_is_refused() {
    let other = good();
    let fake =
        Fake::start(move |s| if s.target.contains("sha256") { serve(s, b"another build") } else { serve(s, &other) });
    let error = attempt(&source(&fake)).unwrap_err();
    assert!(matches!(error, DownloadError::HashMismatch) && error.is_transient());
}

#[test]
fn a_web_page_is_no_archive() {
    let page = Fake::start(|_| Reply::new(200, &[("Content-Type", "text/html")], "<html>maintenance</html>"));
    assert!(matches!(attempt(&source(&page)), Err(DownloadError::NotAnArchive(_))));
    let after_sum = Fake::start(|s| {
        if s.target.contains("sha256") {
            serve(s, b"")
        } else {
            Reply::new(200, &[("Content-Type", "text/html; charset=utf-8")], "<html>")
        }
    });
    assert!(matches!(attempt(&source(&after_sum)), Err(DownloadError::NotAnArchive(_))));
    assert!(matches!(attempt(&source(&serving(b"<html>".to_vec()))), Err(DownloadError::NotAnArchive(_))));
    for sum in ["", "abc  x", &"g".repeat(64), &"0".repeat(65)] {
        assert_eq!(read_sum(sum.as_bytes()), None, "{sum}");
    }
    assert_eq!(read_sum(&[b'F'; 64]), Some([255; 32]));
    let endless = Fake::start(|_| Reply::new(200, &[], vec![b'0'; 1 << 20]));
    assert!(matches!(attempt(&source(&endless)), Err(DownloadError::TooLarge(_))));
}

#[test]
fn hostile_archives_are_refused_whatever_their_sum_says() {
    let refused = |entries: &[(&str, EntryType, &[u8])]| attempt(&source(&serving(pack(entries)))).unwrap_err();
    let link = refused(&[("x.mmdb", EntryType::Symlink, b"")]);
    assert!(matches!(link, DownloadError::Contents(_)), "{link:?}");
    let device = refused(&[("x.mmdb", EntryType::Char, b"")]);
    assert!(matches!(device, DownloadError::Contents(_)), "{device:?}");
    let two = refused(&[("x.mmdb", EntryType::Regular, b"a"), ("y.mmdb", EntryType::Regular, b"b")]);
    assert!(matches!(two, DownloadError::Contents(_)), "{two:?}");
    let bomb = refused(&[("x.mmdb", EntryType::Regular, &vec![0; 20 << 20])]);
    assert!(matches!(bomb, DownloadError::TooLarge(_)), "{bomb:?}");
    let outside = pack(&[("../../x.mmdb", EntryType::Regular, b"database")]);
    assert_eq!(attempt(&source(&serving(outside))).unwrap(), b"database");
}

#[test]
fn an_archive_over_the_limit_is_not_stored() {
    let fake = serving(good());
    let limits = Limits { compressed: 50, ..Limits::default() };
    let announced = attempt(&Source { limits, ..source(&fake) });
    assert!(matches!(announced, Err(DownloadError::TooLarge(_))));
    // Without its length.
    let chunked = Fake::start(|s| {
        let archive = good();
        if s.target.contains("sha256") { serve(s, &archive) } else { Reply::without_length(200, &archive) }
    });
    assert_eq!(attempt(&source(&chunked)).unwrap(), b"database");
    let found_out = attempt(&Source { limits, ..source(&chunked) });
    assert!(matches!(found_out, Err(DownloadError::TooLarge(_))));
}

#[test]
fn a_body_that_is_cut_short_is_no_archive() {
    let fake = Fake::start(|s| {
        let reply = serve(s, &good());
        if s.target.contains("sha256") { reply } else { reply.cut(10) }
    });
    let error = attempt(&source(&fake)).unwrap_err();
    assert!(matches!(error, DownloadError::Cut), "{error:?}");
    assert!(error.is_transient());
    let fake = Fake::start(|s| serve(s, &good()).cut(10));
    assert!(matches!(attempt(&source(&fake)), Err(DownloadError::Cut)));
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for() {
    let fake = Fake::start(|s| {
        let reply = serve(s, &good());
        if s.target.contains("sha256") { reply } else { reply.hang(10) }
    });
    let idle = Limits { idle: Duration::from_millis(200), ..Limits::default() };
    let total = Limits { total: Duration::from_millis(500), ..Limits::default() };
    for limits in [idle, total] {
        let started = Instant::now();
        let error = attempt(&Source { limits, ..source(&fake) }).unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_server_that_drips_is_not_waited_for_either() {
    let fake = Fake::start(|s| {
        let reply = serve(s, &good());
        if s.target.contains("sha256") { reply } else { reply.drip(Duration::from_millis(20)) }
    });
    let limits = Limits { total: Duration::from_millis(800), ..Limits::default() };
    let started = Instant::now();
    let error = attempt(&Source { limits, ..source(&fake) }).unwrap_err();
    assert!(matches!(error, DownloadError::TooSlow), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_disk_that_fails_leaves_no_litter() {
    let fake = serving(good());
    let directory = Directory::new();
    let absent = source(&fake).download(&edition(), &directory.path().join("absent"));
    assert!(matches!(absent, Err(DownloadError::Disk(_))));
    // A directory in the file's place cannot be replaced.
    fs::create_dir(directory.path().join("GeoLite2-ASN.mmdb")).unwrap();
    let taken = source(&fake).download(&edition(), directory.path());
    assert!(matches!(taken, Err(DownloadError::Disk(_))));
    assert_eq!(directory.names(), ["GeoLite2-ASN.mmdb"]);
}

#[test]
fn a_link_in_the_files_place_is_left_alone_and_no_download_is_spent() {
    let fake = serving(good());
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    let target = elsewhere.write("theirs", "theirs");
    let link = directory.path().join("GeoLite2-ASN.mmdb");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let error = source(&fake).download(&edition(), directory.path()).unwrap_err();
    assert!(matches!(error, DownloadError::Disk(_)) && error.to_string().contains("symbolic link"), "{error}");
    assert!(fake.seen().is_empty());
    assert_eq!(fs::read_link(&link).unwrap(), target);
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    // One that came while the archive was on its way.
    let draft = Draft::create(directory.path(), &edition()).unwrap();
    assert!(draft.publish(&link).is_err());
    assert_eq!(directory.names(), ["GeoLite2-ASN.mmdb"]);
}

#[test]
fn a_file_that_replaces_none_is_as_readable_as_others_of_this_process() {
    let fake = serving(good());
    let directory = Directory::new();
    let (path, _) = source(&fake).download(&edition(), directory.path()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), mode(&directory.write("ordinary", "x")));
}

#[test]
fn a_refusal_by_a_web_page_is_not_the_servers() {
    for status in [401, 403, 404, 429] {
        let wall = Fake::start(move |_| Reply::new(status, &[("Content-Type", "text/html")], "<html>blocked</html>"));
        let error = attempt(&source(&wall)).unwrap_err();
        assert!(matches!(error, DownloadError::Intercepted(s) if s == status), "{error:?}");
        assert!(error.is_transient());
    }
}

#[test]
fn a_sweep_takes_what_a_killed_process_left_and_nothing_else() {
    let directory = Directory::new();
    let left = [".download-GeoLite2-ASN-1-0.tmp", ".download-GeoLite2-City-1-1.tmp"];
    let keep = [".download-notes", "GeoLite2-ASN.mmdb", "x.tmp"];
    for name in left.iter().chain(&keep) {
        directory.write(name, "x");
    }
    fs::create_dir(directory.path().join(".download-directory.tmp")).unwrap();
    std::os::unix::fs::symlink("GeoLite2-ASN.mmdb", directory.path().join(".download-link.tmp")).unwrap();
    let mut draft = Draft::create(directory.path(), &edition()).unwrap();
    assert_eq!(sweep(directory.path()).unwrap(), 2);
    let names = directory.names();
    assert!(keep.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
    assert_eq!(names.len(), keep.len() + 3, "{names:?}");
    draft.file().write_all(b"goes on").unwrap();
    draft.publish(&directory.path().join("done")).unwrap();
    assert_eq!(fs::read(directory.path().join("done")).unwrap(), b"goes on");
    assert_eq!(sweep(&directory.path().join("absent")).unwrap(), 0);
}

#[test]
fn a_sweep_during_a_download_does_not_disturb_it() {
    let directory = Arc::new(Directory::new());
    let (swept, count) = (directory.clone(), Arc::new(AtomicU32::new(0)));
    let counter = count.clone();
    let fake = Fake::start(move |s| {
        counter.fetch_add(1, Ordering::SeqCst);
        assert_eq!(sweep(swept.path()).unwrap(), 0);
        serve(s, &good())
    });
    source(&fake).download(&edition(), directory.path()).unwrap();
    assert_eq!((count.load(Ordering::SeqCst), directory.names()), (2, vec!["GeoLite2-ASN.mmdb".to_owned()]));
}
