//! HashiCorp Vault (KV version 2), within the test's own process: secrets by path, for clients with the token.

use super::http::{Request, Response};
use super::tls::Identities;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The token.
pub const TOKEN: &str = "hvs.fake-vault-token";

#[derive(Default)]
struct State {
    /// By path (`secret/data/maxmind`) and field.
    secrets: HashMap<String, (String, String)>,
    /// For everything, until it is cleared.
    status: Option<u16>,
    asked: Vec<String>,
}

/// The server, which ends with this handle.
pub struct Vault {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    ca_file: PathBuf,
    // Dropping it ends the thread.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Vault {
    /// Starts it, with its certificate in `dir`. It holds nothing yet.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(dir: &Path) -> Vault {
        let identities = Identities::generate().expect("certificates");
        let ca_file = dir.join("vault-ca.pem");
        fs::write(&ca_file, &identities.ca_pem).expect("a certificate's file");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let (end, ended) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(listener, shared, identities.right) => {}
                    _ = ended => {}
                }
            });
        });
        Vault { state, address, ca_file, _end: end }
    }

    /// The environment of a server that may ask it.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        [("VAULT_ADDR", format!("https://localhost:{}", self.address.port())), ("VAULT_TOKEN", TOKEN.to_owned())]
    }

    /// Trusts this server as well as those of `other`: a file with both certificates.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn trusted_beside(&self, other: &Path) -> PathBuf {
        let both = self.ca_file.with_file_name("vault-and-others.pem");
        let text = [&self.ca_file, &other.to_path_buf()].map(|file| fs::read_to_string(file).expect("a certificate"));
        fs::write(&both, text.concat()).expect("a certificate's file");
        both
    }

    /// Holds a secret from now on: `secret/data/maxmind`, field and value.
    pub fn hold(&self, path: &str, field: &str, value: &str) {
        self.state().secrets.insert(path.to_owned(), (field.to_owned(), value.to_owned()));
    }

    /// Answers with this status from now on; `None`: as it should.
    pub fn status(&self, status: Option<u16>) {
        self.state().status = status;
    }

    /// Paths that were asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, state: Arc<Mutex<State>>, tls: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        // A client that goes away does not matter to the test.
        tokio::spawn(async move { drop(serve(stream, &state, tls).await) });
    }
}

/// One request a connection.
async fn serve(stream: TcpStream, state: &Mutex<State>, tls: TlsAcceptor) -> io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    let Some(request) = Request::read(&mut stream, &mut Vec::new()).await? else { return Ok(()) };
    let answer = answer(&mut lock(state), &request);
    stream.write_all(&answer.bytes(true)).await?;
    stream.shutdown().await
}

fn answer(state: &mut State, request: &Request) -> Response {
    let path = request.path.trim_start_matches("/v1/").to_owned();
    state.asked.push(path.clone());
    if let Some(status) = state.status {
        return Response::json(status, &json!({ "errors": ["no"] }));
    }
    if request.header("x-vault-token") != Some(TOKEN) {
        return Response::json(403, &json!({ "errors": ["permission denied"] }));
    }
    match state.secrets.get(&path) {
        None => Response::json(404, &json!({ "errors": [] })),
        Some((field, value)) => {
            Response::json(200, &json!({ "data": { "data": { field: value }, "metadata": { "version": 1 } } }))
        }
    }
}
