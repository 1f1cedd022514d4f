//! A key that a setting refers to. Resolving it may run a program or ask a Vault server, so a thread of its own does
//! it, and the worker looks whether it has come.

use std::sync::mpsc::{Receiver, TryRecvError, channel};

use enrich::secrets::{Reference, Resolver, Secret, SecretError};

use crate::worker::process;

/// One key.
#[derive(Default)]
pub struct Key {
    value: Option<Secret>,
    coming: Option<Receiver<Result<Secret, SecretError>>>,
    trouble: String,
}

impl Key {
    /// Starts resolving a reference; what is known counts until that is done. No reference: no key.
    pub fn resolve(&mut self, reference: &str, resolver: Resolver) {
        let Ok(reference) = Reference::parse(reference) else {
            *self = Key::default();
            return;
        };
        let (sender, receiver) = channel();
        let work = move || drop(sender.send(resolver.resolve(&reference)));
        let started = process::with_signals_blocked(|| {
            std::thread::Builder::new().name("asn secret".to_owned()).spawn(work).map(drop)
        });
        match started {
            Ok(()) => self.coming = Some(receiver),
            Err(error) => pgrx::warning!("asn_inventory: a thread that resolves a key can't be started: {error}"),
        }
    }

    /// Whether resolving is under way.
    pub fn is_coming(&self) -> bool {
        self.coming.is_some()
    }

    /// Takes what came. True: resolving is over. What went wrong is said once, and never what the key is.
    pub fn take(&mut self, whose: &str) -> bool {
        let Some(coming) = &self.coming else { return false };
        let found = match coming.try_recv() {
            Ok(found) => found,
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => {
                self.coming = None;
                return true;
            }
        };
        self.coming = None;
        let trouble = match &found {
            Err(error) if !error.is_unset() => error.to_string(),
            _ => String::new(),
        };
        if !trouble.is_empty() && trouble != self.trouble {
            pgrx::warning!("asn_inventory: {whose} can't be resolved: {trouble}");
        }
        self.trouble = trouble;
        // A key that can't be read for the moment is the one it was; one that is gone is gone.
        match found {
            Ok(key) => self.value = Some(key),
            Err(error) if error.is_transient() => {}
            Err(_) => self.value = None,
        }
        true
    }

    /// The key, which is forgotten with this.
    pub fn spend(&mut self) -> Option<Secret> {
        self.value.take()
    }

    /// Why there is none; empty when nothing is set.
    pub fn trouble(&self) -> &str {
        &self.trouble
    }

    /// The key.
    pub fn value(&self) -> Option<&Secret> {
        self.value.as_ref()
    }
}
