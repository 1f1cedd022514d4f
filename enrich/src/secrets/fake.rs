//! For tests: a directory that goes away, and an HTTPS server on loopback with answers set by the test.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A directory of one test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("enrich-test-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Names of its files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// The server's answer, and its end.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    Close,
    /// Closes the connection without saying so in TLS, as a broken network does.
    Cut,
    /// Says nothing more until the client goes.
    Hang,
    /// Sends its body byte for byte.
    Drip(Duration),
}

impl Reply {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for (name, value) in headers {
            write!(bytes, "{name}: {value}\r\n").unwrap();
        }
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        bytes.extend_from_slice(body);
        Reply { bytes, then: Then::Close }
    }

    /// Ends where the connection does.
    pub(crate) fn without_length(status: u16, body: impl AsRef<[u8]>) -> Reply {
        let mut bytes = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body.as_ref());
        Reply { bytes, then: Then::Close }
    }

    /// Byte for byte, with pauses.
    pub(crate) fn drip(mut self, pause: Duration) -> Reply {
        self.then = Then::Drip(pause);
        self
    }

    /// Without its last bytes.
    pub(crate) fn cut(mut self, bytes: usize) -> Reply {
        self.bytes.truncate(self.bytes.len() - bytes);
        self.then = Then::Cut;
        self
    }

    /// Without its last bytes, which the client goes on waiting for.
    pub(crate) fn hang(mut self, bytes: usize) -> Reply {
        self.bytes.truncate(self.bytes.len() - bytes);
        self.then = Then::Hang;
        self
    }
}

/// A name that leads here only through a proxy of tests.
pub(crate) const FAR: &str = "far.example";

/// An HTTPS server on loopback. Its certificate is good for `localhost`, `127.0.0.1` and [`FAR`].
pub(crate) struct Fake {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    directory: Directory,
}

static CERTIFICATE: LazyLock<(Arc<ServerConfig>, String)> = LazyLock::new(|| {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), FAR.to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), made.cert.pem())
});

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, ending) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(AtomicBool::new(false)));
        let (log, stop, answer) = (seen.clone(), ending.clone(), Arc::new(answer));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), log, answer) = (stream, log.clone(), answer.clone()) else { continue };
                // A client that refuses us is the test's business, not a failure of the server.
                thread::spawn(move || drop(serve(stream, &log, &*answer)));
            }
        });
        let directory = Directory::new();
        directory.write("ca.pem", &CERTIFICATE.1);
        Fake { port, seen, ending, thread: Some(thread), directory }
    }

    /// By either of its names.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Seen>>, answer: &dyn Fn(&Seen) -> Reply) -> io::Result<()> {
    let connection = ServerConnection::new(CERTIFICATE.0.clone()).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.lines();
    let mut request = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let seen = Seen { method: request.next().unwrap_or_default(), target: request.next().unwrap_or_default(), headers };
    log.lock().unwrap().push(seen.clone());
    let mut reply = answer(&seen);
    if seen.method == "HEAD" {
        reply.bytes.truncate(body_of(&reply.bytes));
    }
    let mut drops = Vec::new();
    if let Then::Drip(_) = reply.then {
        drops = reply.bytes.split_off(body_of(&reply.bytes));
    }
    stream.write_all(&reply.bytes)?;
    stream.flush()?;
    match reply.then {
        Then::Close => {
            stream.conn.send_close_notify();
            stream.flush()
        }
        Then::Cut => Ok(()),
        Then::Hang => stream.read(&mut [0]).map(drop),
        // The pauses are what this server is for; it ends with the first byte that is not received.
        Then::Drip(pause) => drops.chunks(1).try_for_each(|byte| {
            thread::sleep(pause);
            stream.write_all(byte)?;
            stream.flush()
        }),
    }
}

/// Where the body begins.
fn body_of(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}
