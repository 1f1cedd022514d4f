//! Servers that drip, whatever they drip, and downloads that nobody wants any more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::secrets::fake::{Directory, Fake, Reply};
use crate::time::DAY;

const PAUSE: Duration = Duration::from_millis(20);

/// A server without TLS that sends `fast` at once, and then byte after byte.
fn dripping(fast: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let mut sent = stream.write_all(fast.as_bytes());
                while sent.is_ok() {
                    thread::sleep(PAUSE);
                    sent = stream.write_all(b"x");
                }
            });
        }
    });
    address
}

/// The error of a source with this URL, which leaves nothing behind.
fn pull(url: &str, fake: Option<&Fake>, limits: &Limits, cancel: &Cancel) -> DownloadError {
    let directory = Directory::new();
    let site = Site::list(&format!("a={url}#list")).unwrap().remove(0);
    let ca_file = fake.map(Fake::ca_file);
    let none = |reference: &crate::secrets::Reference| Err(crate::secrets::SecretError::broken_off(reference));
    let reach = Reach { key: &none, credentials: &none, ca_file: ca_file.as_deref(), proxy: None, limits, cancel };
    let error = site.pull(&reach, 20_000 * DAY, None, directory.path()).unwrap_err();
    assert!(directory.names().is_empty(), "litter");
    error
}

#[test]
fn a_server_that_drips_its_head_or_its_file_is_given_up_long_before_the_time_is_over() {
    let limits = Limits { least: 2_000, window: Duration::from_millis(400), ..Limits::of_sites() };
    for fast in ["HTTP/1.1 200 ", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
        let (address, begun) = (dripping(fast), Instant::now());
        let error = pull(&format!("http://{address}/a"), None, &limits, &Cancel::default());
        assert!(matches!(error, DownloadError::Drips { least: 2_000, .. }), "{fast:?}: {error:?}");
        assert!(error.is_transient() && error.is_of_host());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let error = DownloadError::Drips { least: 60_000, window: Duration::from_secs(60) };
    assert_eq!(error.to_string(), "the download is too slow: less than 60000 bytes in 60 s");
}

#[test]
fn tls_hides_no_drops_and_its_own_bytes_make_nobody_faster() {
    // Each byte becomes a record of some twenty.
    let fake = Fake::start(|_| Reply::new(200, &[], vec![b'x'; 100_000]).drip(PAUSE));
    let limits = Limits { least: 20_000, window: Duration::from_millis(600), ..Limits::of_sites() };
    let error = pull(&fake.url("localhost"), Some(&fake), &limits, &Cancel::default());
    assert!(matches!(error, DownloadError::Drips { .. }), "{error:?}");
}

#[test]
fn a_server_that_is_fast_enough_is_waited_for_over_many_windows() {
    let fake = Fake::start(|_| Reply::new(200, &[], b"192.0.2.0/24\n").drip(Duration::from_millis(40)));
    let limits = Limits { least: 1, window: Duration::from_millis(100), ..Limits::of_sites() };
    let directory = Directory::new();
    let site = Site::list(&format!("a={}#list", fake.url("localhost"))).unwrap().remove(0);
    let none = |reference: &crate::secrets::Reference| Err(crate::secrets::SecretError::broken_off(reference));
    let (ca_file, cancel) = (fake.ca_file(), Cancel::default());
    let reach = Reach {
        key: &none,
        credentials: &none,
        ca_file: Some(&ca_file),
        proxy: None,
        limits: &limits,
        cancel: &cancel,
    };
    site.pull(&reach, 20_000 * DAY, None, directory.path()).unwrap();
    assert_eq!(directory.names(), ["a.list"]);
}

#[test]
fn a_download_that_is_cancelled_ends_at_once_and_none_begins_after() {
    // Silent, and dripping.
    let silent = Fake::start(|_| Reply::new(200, &[], vec![b'x'; 100_000]).hang(10));
    let dripping = Fake::start(|_| Reply::new(200, &[], vec![b'x'; 100_000]).drip(PAUSE));
    for fake in [silent, dripping] {
        let cancel = Arc::new(Cancel::default());
        let (asked, is_asked) = channel();
        let (watched, begun) = (Arc::clone(&cancel), Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| asked.send(pull(&fake.url("localhost"), Some(&fake), &Limits::of_sites(), &watched)));
            while fake.seen().is_empty() {
                assert!(is_asked.try_recv().is_err(), "it ended before it asked");
                thread::sleep(PAUSE);
            }
            assert!(is_asked.try_recv().is_err(), "it waits");
            cancel.cancel();
            assert!(is_asked.recv().is_ok());
        });
        assert!(begun.elapsed() < Duration::from_secs(20), "less than its patience with a silent server");
        let before = fake.seen().len();
        let error = pull(&fake.url("localhost"), Some(&fake), &Limits::of_sites(), &cancel);
        assert!(matches!(error, DownloadError::Cancelled), "{error:?}");
        assert_eq!(fake.seen().len(), before);
    }
}
