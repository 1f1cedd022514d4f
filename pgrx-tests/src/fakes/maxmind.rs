//! MaxMind's download server, within the test's own process: a host that knows accounts and redirects, and the store
//! that it redirects to, on a port of its own. Both speak HTTPS, count their requests, and fail on demand.

use super::archives::{EntryType, pack};
use super::tls::Identities;
use crate::mmdb::{MmdbWriter, fixtures};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The account that may download.
pub const ACCOUNT: &str = "12345";
/// Its key, which needs escaping in a URL.
pub const KEY: &str = "fake/maxmind+canary";
/// Both, as a header carries them.
const BASIC: &str = "Basic MTIzNDU6ZmFrZS9tYXhtaW5kK2NhbmFyeQ==";
/// The key, as the older URL carries it.
const ESCAPED: &str = "fake%2Fmaxmind%2Bcanary";

/// The fault, until it is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// This status for everything.
    Status(u16),
    /// A web page with status 200 for everything, as a portal gives.
    Page,
    /// As [`Trouble::Page`], but only for archives.
    PageForArchive,
    /// A sum that is another file's.
    WrongSum,
    /// Archives end in the middle.
    Cut,
    /// Archives pause in the middle until the trouble is cleared.
    Hold,
    /// Archives trickle from their middle on, a byte now and then, until the trouble is cleared.
    Trickle,
    /// The redirect leads to plain HTTP.
    Downgrade,
    /// The archive holds two databases.
    TwoDatabases,
}

/// Which of the two was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The one that knows accounts.
    Accounts,
    /// The one that it redirects to.
    Store,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where it came in.
    pub host: Host,
    /// `HEAD` or `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Whether it had an Authorization header, or the key in its URL.
    pub with_key: bool,
}

struct Archive {
    name: String,
    bytes: Vec<u8>,
    with_two: Vec<u8>,
}

#[derive(Default)]
struct State {
    archives: HashMap<String, Archive>,
    trouble: Option<Trouble>,
    asked: Vec<Asked>,
    /// Archives on their way now, and at most.
    under_way: usize,
    most_at_once: usize,
}

/// The servers, which end with this handle.
pub struct MaxMind {
    state: Arc<Mutex<State>>,
    accounts: SocketAddr,
    dir: PathBuf,
    // Dropping it ends the thread.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl MaxMind {
    /// Starts both, with the certificate and the key in files in `dir`. They have nothing to offer yet.
    ///
    /// # Panics
    /// When they cannot be started.
    #[must_use]
    pub fn start(dir: &Path) -> MaxMind {
        let identities = Identities::generate().expect("certificates");
        fs::write(dir.join("maxmind-ca.pem"), &identities.ca_pem).expect("a certificate's file");
        fs::write(dir.join("maxmind.key"), format!("{KEY}\n")).expect("a key's file");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let bind = || runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let (accounts, store) = (bind(), bind());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let (accounts_at, store_at) = (address(&accounts), address(&store));
        let state = Arc::new(Mutex::new(State::default()));
        let (end, ended) = tokio::sync::oneshot::channel();
        let context = Context { state: Arc::clone(&state), store: store_at, tls: identities.right };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(accounts, Host::Accounts, context.clone()) => {}
                    () = listen(store, Host::Store, context.clone()) => {}
                    _ = ended => {}
                }
            });
        });
        MaxMind { state, accounts: accounts_at, dir: dir.to_path_buf(), _end: end }
    }

    /// The settings that direct downloads here, with the account's number and the key in a file, and no schedule.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            // By name, while the store has only a number: another host, and not just another port.
            ("asn_inventory.maxmind_url", format!("https://localhost:{}", self.accounts.port())),
            ("asn_inventory.maxmind_account_id", ACCOUNT.to_owned()),
            ("asn_inventory.maxmind_license_key", format!("file:{}", self.key_file().display())),
            ("asn_inventory.maxmind_update_schedule", String::new()),
            ("asn_inventory.tls_ca_file", self.ca_file().display().to_string()),
        ]
    }

    /// The host that knows accounts, as messages name it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.accounts.port())
    }

    /// The file with the certificate that vouches for both.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("maxmind-ca.pem")
    }

    /// The file with the key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.dir.join("maxmind.key")
    }

    /// Both small fixtures, built some days ago.
    pub fn offer(&self, days_ago: u64) {
        let built = fixtures::days_ago(days_ago);
        self.offer_file(fixtures::small_city(built), "GeoLite2-City", days_ago);
        self.offer_file(fixtures::small_asn(built), "GeoLite2-ASN", days_ago);
    }

    /// One file, in an archive that is named after its day.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn offer_file(&self, writer: MmdbWriter, edition: &str, days_ago: u64) {
        let draft = self.dir.join(format!("{edition}.draft"));
        writer.write(&draft).expect("a fixture");
        let database = fs::read(&draft).expect("a fixture");
        fs::remove_file(draft).expect("a fixture");
        let name = format!("{edition}_{}", day(fixtures::days_ago(days_ago)));
        let path = |file: &str| format!("{name}/{file}");
        let (own, another, legal) = (path(&format!("{edition}.mmdb")), path("Another.mmdb"), path("COPYRIGHT.txt"));
        let own = (own.as_str(), EntryType::Regular, &database[..]);
        let another = (another.as_str(), EntryType::Regular, &database[..]);
        let legal = (legal.as_str(), EntryType::Regular, &b"Database and Contents Copyright"[..]);
        let (bytes, with_two) = (pack(&[legal, own]), pack(&[own, another, legal]));
        self.state().archives.insert(edition.to_owned(), Archive { name, bytes, with_two });
    }

    /// Any bytes, with their own sum, as the archive of that day.
    pub fn offer_archive(&self, bytes: Vec<u8>, edition: &str, days_ago: u64) {
        let name = format!("{edition}_{}", day(fixtures::days_ago(days_ago)));
        self.state().archives.insert(edition.to_owned(), Archive { name, with_two: bytes.clone(), bytes });
    }

    /// From now on this goes wrong; `None`: nothing.
    pub fn trouble(&self, trouble: impl Into<Option<Trouble>>) {
        self.state().trouble = trouble.into();
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Downloads of archives that the store was asked for.
    #[must_use]
    pub fn downloads(&self) -> usize {
        self.asked().iter().filter(|asked| asked.host == Host::Store && asked.method == "GET").count()
    }

    /// Of those, how many were under way at the same time, at most.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Context {
    state: Arc<Mutex<State>>,
    store: SocketAddr,
    tls: TlsAcceptor,
}

async fn listen(listener: TcpListener, host: Host, context: Context) {
    while let Ok((stream, _)) = listener.accept().await {
        let context = context.clone();
        // A client that goes away does not matter to the test.
        tokio::spawn(async move { drop(serve(stream, host, context).await) });
    }
}

/// One request a connection.
async fn serve(stream: TcpStream, host: Host, context: Context) -> io::Result<()> {
    let mut stream = BufReader::new(context.tls.accept(stream).await?);
    let mut first = String::new();
    (&mut stream).take(16 << 10).read_line(&mut first).await?;
    let mut authorization = None;
    loop {
        let mut line = String::new();
        if (&mut stream).take(16 << 10).read_line(&mut line).await? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.trim().to_owned());
        }
    }
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let with_key = authorization.is_some() || target.contains(ESCAPED);
    let opens = authorization.as_deref() == Some(BASIC) || target.contains(&format!("license_key={ESCAPED}&"));
    let head = method == "HEAD";
    let answer = {
        let mut state = lock(&context.state);
        state.asked.push(Asked { host, method, target: target.clone(), with_key });
        match host {
            Host::Accounts => at_accounts(&state, &target, opens, context.store),
            Host::Store => at_store(&state, &target, head),
        }
    };
    let archive = host == Host::Store && !head;
    if archive {
        let mut state = lock(&context.state);
        state.under_way += 1;
        state.most_at_once = state.most_at_once.max(state.under_way);
    }
    let sent = answer.send(stream.into_inner(), head, &context.state).await;
    if archive {
        lock(&context.state).under_way -= 1;
    }
    sent
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// In the middle of the body.
    stop: Option<Trouble>,
}

impl Answer {
    fn new(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: headers.to_owned(), body: body.into(), stop: None }
    }

    fn page() -> Answer {
        Answer::new(200, "Content-Type: text/html; charset=utf-8\r\n", "<html>Please sign in</html>")
    }

    async fn send(self, mut to: TlsStream<TcpStream>, head: bool, state: &Mutex<State>) -> io::Result<()> {
        let (status, headers, length) = (self.status, &self.headers, self.body.len());
        let start =
            format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        to.write_all(start.as_bytes()).await?;
        if !head {
            let (first, rest) = self.body.split_at(length / 2);
            to.write_all(first).await?;
            to.flush().await?;
            while self.stop == Some(Trouble::Hold) && lock(state).trouble == self.stop {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let mut rest = rest;
            while let (Some(Trouble::Trickle), [byte, more @ ..]) = (self.stop, rest)
                && lock(state).trouble == self.stop
            {
                to.write_all(&[*byte]).await?;
                to.flush().await?;
                rest = more;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            if self.stop != Some(Trouble::Cut) {
                to.write_all(rest).await?;
            }
        }
        to.shutdown().await
    }
}

fn at_accounts(state: &State, target: &str, opens: bool, store: SocketAddr) -> Answer {
    match state.trouble {
        Some(Trouble::Status(status)) => return Answer::new(status, "", "no"),
        Some(Trouble::Page) => return Answer::page(),
        _ if !opens => return Answer::new(401, "", "Invalid license key\n"),
        _ => {}
    }
    let known = state.archives.iter().find(|(edition, _)| {
        let (newer, older) = (format!("/databases/{edition}/download?"), format!("edition_id={edition}&"));
        target.contains(&newer) || target.contains(&older)
    });
    let Some((edition, archive)) = known else { return Answer::new(404, "", "Database edition not found\n") };
    if target.ends_with("suffix=tar.gz.sha256") {
        let of: &[u8] = match state.trouble {
            Some(Trouble::WrongSum) => b"another file",
            Some(Trouble::TwoDatabases) => &archive.with_two,
            _ => &archive.bytes,
        };
        let sum: String = Sha256::digest(of).iter().map(|byte| format!("{byte:02x}")).collect();
        return Answer::new(200, "Content-Type: text/plain\r\n", format!("{sum}  {}.tar.gz\n", archive.name));
    }
    let scheme = if state.trouble == Some(Trouble::Downgrade) { "http" } else { "https" };
    let location = format!("Location: {scheme}://127.0.0.1:{}/{edition}?signature=abc\r\n", store.port());
    Answer::new(302, &location, "")
}

fn at_store(state: &State, target: &str, head: bool) -> Answer {
    let edition = target.trim_start_matches('/').split('?').next().unwrap_or_default();
    let Some(archive) = state.archives.get(edition) else { return Answer::new(404, "", "") };
    if state.trouble == Some(Trouble::PageForArchive) && !head {
        return Answer::page();
    }
    let bytes = if state.trouble == Some(Trouble::TwoDatabases) { &archive.with_two } else { &archive.bytes };
    let headers = format!(
        "Content-Type: application/gzip\r\nContent-Disposition: attachment; filename={}.tar.gz\r\n",
        archive.name
    );
    Answer { stop: state.trouble, ..Answer::new(200, &headers, bytes.clone()) }
}

/// `20260102`, of seconds since 1970 (Howard Hinnant's `civil_from_days`).
fn day(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}{month:02}{:02}", of_year - (153 * march + 2) / 5 + 1)
}
