//! A server of files, as vendors and companies have them, within the test's own process: over HTTPS under two names, one
//! of which leads here only through a proxy, and over plain HTTP. It knows ETags and logins, and counts its requests.

use super::http::Request;
use super::pair::Pair;
use super::tls::FAR;
use std::collections::HashMap;
use std::path::Path;
use std::sync::MutexGuard;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Path and query.
    pub target: String,
    /// `Authorization`, as it came.
    pub authorization: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

#[derive(Clone)]
struct Offer {
    status: u16,
    content_type: &'static str,
    bytes: Vec<u8>,
    /// `Authorization` that is wanted.
    login: Option<String>,
}

#[derive(Default)]
struct State {
    offers: HashMap<String, Offer>,
    asked: Vec<Fetched>,
}

/// The server, which ends with this handle.
pub struct Files(Pair<State>);

impl Files {
    /// Starts it, with its certificate in `dir`. It offers nothing yet.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(dir: &Path) -> Files {
        Files(Pair::start(dir.join("files-ca.pem"), answer))
    }

    /// The file with its certificate.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.0.ca_file
    }

    /// Host and port, as messages name them.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.0.secure.port())
    }

    /// `localhost`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.host())
    }

    /// By the name that only a proxy knows.
    #[must_use]
    pub fn far_url(&self) -> String {
        format!("https://{FAR}:{}", self.0.secure.port())
    }

    /// Without TLS.
    #[must_use]
    pub fn plain_url(&self) -> String {
        format!("http://{}", self.0.plain)
    }

    /// From now on these bytes are at that target (path and query).
    pub fn offer(&self, target: &str, bytes: &[u8]) {
        self.put(target, 200, "application/octet-stream", bytes, None);
    }

    /// As [`Files::offer`], for those who send this `Authorization`.
    pub fn offer_to(&self, login: &str, target: &str, bytes: &[u8]) {
        self.put(target, 200, "application/octet-stream", bytes, Some(login.to_owned()));
    }

    /// A web page with this status.
    pub fn page(&self, target: &str, status: u16) {
        self.put(target, status, "text/html; charset=utf-8", b"<html>Please sign in</html>", None);
    }

    fn put(&self, target: &str, status: u16, content_type: &'static str, bytes: &[u8], login: Option<String>) {
        let offer = Offer { status, content_type, bytes: bytes.to_vec(), login };
        self.state().offers.insert(target.to_owned(), offer);
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Fetched> {
        self.state().asked.clone()
    }

    /// The statuses of the answers so far.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        self.asked().iter().map(|fetched| fetched.status).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

fn answer(state: &mut State, request: &Request, _is_plain: bool) -> Vec<u8> {
    let authorization = request.header("authorization").map(str::to_owned);
    let missing = Offer { status: 404, content_type: "text/html", bytes: b"<html>no</html>".to_vec(), login: None };
    let mut offer = state.offers.get(&request.path).cloned().unwrap_or(missing);
    if offer.login.is_some() && offer.login != authorization {
        offer = Offer { status: 401, content_type: "text/plain", bytes: b"no".to_vec(), login: None };
    }
    let tag = format!("\"{}\"", sum(&offer.bytes));
    if offer.status == 200 && request.header("if-none-match") == Some(&tag) {
        offer.status = 304;
        offer.bytes.clear();
    }
    state.asked.push(Fetched { target: request.path.clone(), authorization, status: offer.status });
    let head = format!(
        "HTTP/1.1 {} Status\r\nContent-Type: {}\r\nContent-Length: {}\r\nETag: {tag}\r\nConnection: close\r\n\r\n",
        offer.status,
        offer.content_type,
        offer.bytes.len()
    );
    [head.as_bytes(), &offer.bytes].concat()
}

fn sum(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
