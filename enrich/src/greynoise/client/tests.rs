//! Against a real TLS server on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustls::{ServerConnection, StreamOwned};

use super::*;
use crate::tls::fake::Authority;

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const KEY: &str = "hunter2-hunter2";
const LONG: Duration = Duration::from_secs(20);
const FOUND: &str = r#"{"ip":"192.0.2.1","noise":true,"riot":false,"classification":"malicious"}"#;

type Stream = StreamOwned<ServerConnection, std::net::TcpStream>;

/// A server of one connection. Dropping `hold` tells its handler that the test is over.
struct Server {
    address: SocketAddr,
    request: Receiver<String>,
    hold: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `name`: reads a request, then hands the connection to `handler`.
    fn start(
        authority: &Authority,
        name: &str,
        handler: impl FnOnce(&mut Stream, Receiver<()>) + Send + 'static,
    ) -> Server {
        let config = authority.server_config(name);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, request) = channel();
        let (hold, held) = channel();
        let thread = thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
            let lines: Result<Vec<String>, _> = BufReader::new(&mut stream)
                .lines()
                .take_while(|line| line.as_ref().map_or(true, |l| !l.is_empty()))
                .collect();
            // A client that does not trust us says so instead of sending a request.
            if let Ok(lines) = lines.map(|lines| lines.join("\n")) {
                _ = sender.send(lines);
                handler(&mut stream, held);
            }
        });
        Server { address, request, hold: Some(hold), thread: Some(thread) }
    }

    /// One that answers with `head` (status and further headers) and `body`.
    fn answering(authority: &Authority, name: &str, head: &str, body: &str) -> Server {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Server::start(authority, name, move |stream, _| {
            // A client that has read enough may hang up.
            _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        })
    }

    fn client(&self, timeout: Duration, ca_file: &Path) -> Client {
        let url = format!("https://localhost:{}/", self.address.port());
        Client::new(&url, Some(&Secret::from(KEY.to_owned())), timeout, Some(ca_file), None).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.hold.take());
        // Wakes a server without requests.
        drop(std::net::TcpStream::connect_timeout(&self.address, LONG));
        let joined = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            joined.unwrap().unwrap();
        }
    }
}

/// The error of `client`, which never shows the key.
fn failure(client: &Client) -> Failure {
    let failure = client.ask(IP).unwrap_err();
    assert!(!format!("{failure:?} {client:?}").contains(KEY), "{failure:?}");
    failure
}

#[test]
fn asks_as_documented_and_shows_the_key_to_nobody_else() {
    let authority = Authority::new();
    let server = Server::answering(&authority, "localhost", "200 OK", FOUND);
    let client = server.client(LONG, &authority.file);
    match client.ask(IP) {
        Ok(Verdict::Seen(scanner)) => assert!(scanner.noise),
        other => panic!("{other:?}"),
    }
    let request = server.request.recv_timeout(LONG).unwrap();
    assert!(request.starts_with("GET /v3/community/192.0.2.1 HTTP/1.1\n"), "{request}");
    let lines: Vec<String> = request.lines().map(str::to_ascii_lowercase).collect();
    let version = env!("CARGO_PKG_VERSION");
    for header in
        [format!("key: {KEY}"), "accept: application/json".to_owned(), format!("user-agent: asn_inventory/{version}")]
    {
        assert!(lines.contains(&header), "{header} not in {request}");
    }
    assert!(!format!("{client:?}").contains(KEY));
}

#[test]
fn without_a_key_there_is_no_such_header() {
    let authority = Authority::new();
    let server = Server::answering(&authority, "localhost", "200 OK", FOUND);
    let url = format!("https://localhost:{}", server.address.port());
    let client = Client::new(&url, None, LONG, Some(&authority.file), None).unwrap();
    assert!(client.ask(IP).is_ok());
    assert!(!server.request.recv_timeout(LONG).unwrap().to_ascii_lowercase().contains("key:"));
}

#[test]
fn a_certificate_for_another_name_is_refused_before_the_key_is_sent() {
    let authority = Authority::new();
    let server = Server::answering(&authority, "example.org", "200 OK", FOUND);
    let failure = failure(&server.client(LONG, &authority.file));
    assert_eq!(failure.kind, FailureKind::Unsent);
    assert!(failure.reason.contains("certificate"), "{}", failure.reason);
    assert!(server.request.try_recv().is_err());
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_before_the_key_is_sent() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Server::answering(&theirs, "localhost", "200 OK", FOUND);
    let failure = failure(&server.client(LONG, &ours.file));
    assert_eq!(failure.kind, FailureKind::Unsent);
    assert!(failure.reason.contains("UnknownIssuer"), "{}", failure.reason);
    assert!(server.request.try_recv().is_err());
}

#[test]
fn a_server_that_drips_is_left_at_the_timeout() {
    let authority = Authority::new();
    // In the headers, and in the body.
    for prelude in ["HTTP/1.1 200 OK\r\nX-Drip: ", "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"] {
        let server = Server::start(&authority, "localhost", move |stream, held| {
            let mut write = |bytes: &[u8]| stream.write_all(bytes).and_then(|()| stream.flush()).is_ok();
            let mut alive = write(prelude.as_bytes());
            while alive && held.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                alive = write(b"H");
            }
        });
        let started = Instant::now();
        let failure = failure(&server.client(Duration::from_millis(500), &authority.file));
        assert_eq!(failure.kind, FailureKind::Transient);
        assert!(failure.reason.contains("timed out"), "{}", failure.reason);
        assert!(started.elapsed() < LONG / 2, "{:?}", started.elapsed());
    }
}

#[test]
fn a_server_that_never_answers_the_handshake_is_left_at_the_timeout() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let client = Client::new(&url, None, Duration::from_millis(300), Some(&authority.file), None).unwrap();
    let started = Instant::now();
    assert_eq!(failure(&client).kind, FailureKind::Unsent);
    assert!(started.elapsed() < LONG / 2, "{:?}", started.elapsed());
}

#[test]
fn a_body_of_2_mb_is_a_failure() {
    let authority = Authority::new();
    let body = format!(r#"{{"ip":"192.0.2.1","noise":true,"x":"{}"}}"#, "x".repeat(2 << 20));
    let server = Server::answering(&authority, "localhost", "200 OK", &body);
    let failure = failure(&server.client(LONG, &authority.file));
    assert_eq!(failure.kind, FailureKind::Transient);
}

#[test]
fn a_body_that_is_cut_is_a_failure() {
    let authority = Authority::new();
    let server = Server::start(&authority, "localhost", |stream, _| {
        _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{FOUND}").as_bytes());
    });
    assert_eq!(failure(&server.client(LONG, &authority.file)).kind, FailureKind::Transient);
}

#[test]
fn a_redirect_is_not_followed() {
    let authority = Authority::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let head = format!("302 Found\r\nLocation: https://localhost:{}/", elsewhere.local_addr().unwrap().port());
    let server = Server::answering(&authority, "localhost", &head, "");
    let failure = failure(&server.client(LONG, &authority.file));
    assert_eq!(failure.kind, FailureKind::Transient);
    assert!(failure.reason.contains("302"), "{}", failure.reason);
    assert!(elsewhere.accept().is_err(), "somebody came");
}

#[test]
fn statuses_and_headers_arrive() {
    let authority = Authority::new();
    let quota = FailureKind::Quota { retry_after: Some(Duration::from_secs(60)) };
    for (head, kind) in [
        ("401 Unauthorized", FailureKind::Unauthorized),
        ("429 Too Many Requests\r\nRetry-After: 60", quota.clone()),
        ("429 Too Many Requests\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 60", quota),
        ("503 Service Unavailable", FailureKind::Transient),
    ] {
        let server = Server::answering(&authority, "localhost", head, r#"{"message":"no"}"#);
        assert_eq!(failure(&server.client(LONG, &authority.file)).kind, kind);
    }
    let server = Server::answering(&authority, "localhost", "404 Not Found", r#"{"noise":false,"riot":false}"#);
    assert_eq!(server.client(LONG, &authority.file).ask(IP), Ok(Verdict::NotSeen));
}

#[test]
fn nobody_there_is_transient_and_nothing_was_sent() {
    let authority = Authority::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("https://{closed}"), "https://no-such-host.invalid".to_owned()] {
        let client = Client::new(&url, None, LONG, Some(&authority.file), None).unwrap();
        let failure = failure(&client);
        assert!(failure.is_transient() && failure.is_unsent(), "{failure:?}");
    }
}

#[test]
fn a_question_that_gets_no_answer_was_sent_also_where_the_one_before_was_not() {
    let authority = Authority::new();
    let server = Server::start(&authority, "localhost", |_, _| ());
    assert!(failure(&server.client(LONG, &Authority::new().file)).is_unsent());
    // Hangs up behind the question.
    let server = Server::start(&authority, "localhost", |_, _| ());
    assert_eq!(failure(&server.client(LONG, &authority.file)).kind, FailureKind::Transient);
    assert!(server.request.recv_timeout(LONG).is_ok());
}

#[test]
fn what_cannot_work_is_refused_and_not_repeated() {
    let authority = Authority::new();
    let new = |url: &str, key: &str| {
        Client::new(url, Some(&Secret::from(key.to_owned())), LONG, Some(&authority.file), None).unwrap_err()
    };
    for url in [
        "",
        "localhost",
        "http://localhost",
        "ftp://localhost",
        "https://",
        "https://user:hunter2-hunter2@h/",
        "https://h/?a=hunter2-hunter2",
        "https://h h/",
    ] {
        let failure = new(url, KEY);
        assert_eq!(failure.kind, FailureKind::Permanent, "{url}");
        assert!(!failure.reason.contains(KEY), "{url}");
    }
    for key in ["", "hunter2-hunter2\n", "hunter2-hunter2 x", "hunter2-hunter2é"] {
        let failure = new("https://localhost", key);
        assert_eq!(failure.kind, FailureKind::Permanent, "{key}");
        assert!(!failure.reason.contains(KEY), "{key}");
    }
}
