//! A TCP port that can be closed for a while, so that connections are refused by the system itself, and
//! connections that can end with a reset.

use super::log::Service;
use super::state::State;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A loopback port that listens as long as no fault closes it.
#[derive(Debug)]
pub struct Door {
    service: Service,
    state: Arc<State>,
    address: SocketAddr,
    listener: Option<TcpListener>,
    open: watch::Sender<bool>,
}

impl Door {
    /// Opens a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(service: Service, state: Arc<State>) -> io::Result<Door> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Door { service, state, address, listener: Some(listener), open: watch::Sender::new(true) })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is open, for those who changed the faults and wait for the effect.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// The next connection.
    pub async fn next(&mut self) -> TcpStream {
        let mut changed = self.state.changed.subscribe();
        loop {
            let closed = self.state.faults().refuses(self.service);
            if closed {
                self.listener = None;
            } else if self.listener.is_none() {
                self.listener = TcpListener::bind(self.address).await.ok();
            }
            self.open.send_replace(self.listener.is_some());
            match &self.listener {
                Some(listener) => tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted { return stream },
                    _ = changed.changed() => {}
                },
                None if closed => {
                    let _ = changed.changed().await;
                }
                // Someone's outgoing connection has the port's number for a moment.
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// Makes the end of `stream` a reset instead of an orderly one.
pub fn reset_on_close(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
