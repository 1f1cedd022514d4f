//! Looks the references of keys up when somebody asks whether they resolve. A thread does it, as it may have to run a
//! program or ask a server; values are dropped where they arrive.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use enrich::secrets::{Reference, Resolver};

use super::process;
use crate::settings;
use crate::shared::Database;
use crate::shared::checks::{SETTINGS, found};

/// Of each reference: what was found, and what to say of it.
type Found = [(u32, String); SETTINGS.len()];

/// The worker's look at its references.
pub struct Secrets {
    slot: &'static Database,
    /// Up to which question the answer will count.
    running: Option<(u32, Receiver<Found>)>,
}

impl Secrets {
    /// For the worker of a database.
    pub fn new(slot: &'static Database) -> Secrets {
        Secrets { slot, running: None }
    }

    /// One turn of the worker's loop.
    pub fn turn(&mut self) {
        self.take();
        let checks = &self.slot.checks;
        let wanted = checks.wanted.load(Ordering::Acquire);
        if self.running.is_some() || checks.done.load(Ordering::Relaxed) == wanted {
            return;
        }
        let (network, downloads) = (settings::network(), settings::downloads());
        let (references, resolver) = ([downloads.license_key, network.greynoise_key.clone()], network.resolver());
        let (sender, receiver) = channel();
        let work = move || drop(sender.send(references.map(|reference| look(&resolver, &reference))));
        let started = process::with_signals_blocked(|| {
            std::thread::Builder::new().name("asn secret".to_owned()).spawn(work).map(drop)
        });
        match started {
            Ok(()) => self.running = Some((wanted, receiver)),
            Err(error) => {
                let found = SETTINGS.map(|_| (found::UNKNOWN, format!("a thread can't be started: {error}")));
                self.show(wanted, &found);
            }
        }
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        if self.running.is_some() { Duration::from_millis(20) } else { Duration::MAX }
    }

    fn take(&mut self) {
        let Some((number, receiver)) = &self.running else { return };
        let (number, found) = match receiver.try_recv() {
            Ok(found) => (*number, found),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {
                (*number, SETTINGS.map(|_| (found::UNKNOWN, "the look-up broke off inside (a panic)".to_owned())))
            }
        };
        self.running = None;
        self.show(number, &found);
    }

    fn show(&self, number: u32, found: &Found) {
        let checks = &self.slot.checks;
        for (key, (found, detail)) in checks.keys.iter().zip(found) {
            key.found.store(*found, Ordering::Relaxed);
            key.detail.write(detail);
        }
        checks.done.store(number, Ordering::Release);
    }
}

fn look(resolver: &Resolver, text: &str) -> (u32, String) {
    if text.is_empty() {
        return (found::NONE, "no reference is set".to_owned());
    }
    let reference = match Reference::parse(text) {
        Ok(reference) => reference,
        Err(error) => return (found::FAILS, error.to_string()),
    };
    match resolver.resolve(&reference) {
        Ok(_) => (found::RESOLVES, format!("{reference} resolves")),
        Err(error) if error.is_unset() => (found::UNSET, error.to_string()),
        Err(error) => (found::FAILS, error.to_string()),
    }
}
