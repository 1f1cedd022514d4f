//! A server within the test's own process: one listener over TLS and a plain one, both on loopback, with one state.

use super::http::Request;
use super::tls::Identities;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What is sent back to a request; the flag: it came without TLS.
type Answer<S> = fn(&mut S, &Request, bool) -> Vec<u8>;

/// Both listeners, which end with this handle.
pub(super) struct Pair<S> {
    state: Arc<Mutex<S>>,
    /// The one over TLS: `localhost`, 127.0.0.1, [`FAR`](super::tls::FAR).
    pub secure: SocketAddr,
    pub plain: SocketAddr,
    /// The file with the certificate.
    pub ca_file: PathBuf,
    // Dropping it ends the thread.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl<S: Default + Send + 'static> Pair<S> {
    /// Starts them, with the certificate in a file of that name.
    ///
    /// # Panics
    /// When they cannot be started.
    pub fn start(ca_file: PathBuf, answer: Answer<S>) -> Pair<S> {
        let identities = Identities::generate().expect("certificates");
        fs::write(&ca_file, &identities.ca_pem).expect("a certificate's file");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let bind = || runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let (secure, plain) = (bind(), bind());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let (secure_at, plain_at) = (address(&secure), address(&plain));
        let state = Arc::<Mutex<S>>::default();
        let (end, ended) = tokio::sync::oneshot::channel();
        let (one, other) = (Arc::clone(&state), Arc::clone(&state));
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(secure, one, Some(identities.right), answer) => {}
                    () = listen(plain, other, None, answer) => {}
                    _ = ended => {}
                }
            });
        });
        Pair { state, secure: secure_at, plain: plain_at, ca_file, _end: end }
    }

    pub fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.state)
    }
}

fn lock<S>(state: &Mutex<S>) -> MutexGuard<'_, S> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen<S: Send + 'static>(
    listener: TcpListener,
    state: Arc<Mutex<S>>,
    tls: Option<TlsAcceptor>,
    answer: Answer<S>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        // A client that goes away does not matter to the test.
        tokio::spawn(async move {
            match tls {
                Some(tls) => serve(tls.accept(stream).await?, &state, false, answer).await,
                None => serve(stream, &state, true, answer).await,
            }
        });
    }
}

/// One request a connection.
async fn serve<S>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    state: &Mutex<S>,
    is_plain: bool,
    answer: Answer<S>,
) -> io::Result<()> {
    let Some(request) = Request::read(&mut stream, &mut Vec::new()).await? else { return Ok(()) };
    let answer = answer(&mut lock(state), &request, is_plain);
    stream.write_all(&answer).await?;
    stream.shutdown().await
}
