//! The shared state of the services: the data, the faults and the log, each behind a lock that is never held during a
//! wait.

use super::data::World;
use super::fault::{Fault, Faults};
use super::log::{Asked, Log, Service, Via};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The shared state.
#[derive(Debug)]
pub struct State {
    world: Mutex<World>,
    faults: Mutex<Faults>,
    log: Mutex<Log>,
    /// Changes whenever faults do: ports open or close, idle connections end.
    pub changed: watch::Sender<u64>,
}

impl Default for State {
    fn default() -> Self {
        State {
            world: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl State {
    /// The data.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults; call [`State::faults_changed`] after a change.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for a change of the faults.
    pub fn faults_changed(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Logs a request and sees what strikes it.
    pub fn receive(&self, request: Received, ips: &[IpAddr]) -> (Duration, Option<Fault>) {
        let Received { service, what, via, malformed, key } = request;
        self.log().add(Asked { service, what, via, addresses: 0, malformed, key, at_ms: 0 }, ips);
        self.faults().strike(service, ips)
    }
}

/// A request as a service takes it in; see [`Asked`].
#[derive(Debug)]
pub struct Received {
    /// The service.
    pub service: Service,
    /// For what.
    pub what: String,
    /// The transport.
    pub via: Via,
    /// Whether it was malformed.
    pub malformed: bool,
    /// Whether a key came with it.
    pub key: bool,
}
