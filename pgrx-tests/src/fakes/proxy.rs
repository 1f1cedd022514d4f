//! An outgoing proxy (CONNECT), within the test's own process. Whatever host it is asked for, it leads to this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Opens the tunnel.
    Tunnel,
    /// Opens it for those who send this `Proxy-Authorization`.
    Only(&'static str),
    /// Answers with a page and this status.
    Page(u16),
    /// Says nothing, until the client goes.
    Hangs,
}

struct State {
    way: Way,
    asked: Vec<String>,
}

/// The proxy, which ends with this handle.
pub struct Proxy {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    // Dropping it ends the thread.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Proxy {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(way: Way) -> Proxy {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { way, asked: Vec::new() }));
        let (end, ended) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(listener, shared) => {}
                    _ = ended => {}
                }
            });
        });
        Proxy { state, address, _end: end }
    }

    /// From now on.
    pub fn becomes(&self, way: Way) {
        self.state().way = way;
    }

    /// As messages name it.
    #[must_use]
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// As a setting names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The targets that it was asked for.
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

async fn listen(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // A client that goes away does not matter to the test.
        tokio::spawn(async move { drop(serve(stream, &state).await) });
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let way = {
        let mut state = lock(state);
        state.asked.push(target.clone());
        state.way
    };
    match way {
        Way::Only(wanted) if !head.contains(&format!("Proxy-Authorization: {wanted}\r\n")) => {
            stream.write_all(b"HTTP/1.1 407 Status\r\nContent-Length: 0\r\n\r\n").await
        }
        Way::Tunnel | Way::Only(_) => {
            let port: u16 = target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
            let mut there = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut stream, &mut there).await.map(drop)
        }
        Way::Page(status) => {
            let page =
                format!("HTTP/1.1 {status} Status\r\nContent-Type: text/html\r\n\r\n<html>Please sign in</html>");
            stream.write_all(page.as_bytes()).await
        }
        Way::Hangs => stream.read_u8().await.map(drop),
    }
}
