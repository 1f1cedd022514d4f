//! The configuration in force, and what is built from it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::Config;
use super::pace::Pace;
use crate::cymru::dns::Resolver;
use crate::failure::Failure;
use crate::greynoise::Client;

/// One configuration. What it needs is built at the first use, and again at the next one if that failed: name
/// servers and certificate files may come later.
pub struct Setup {
    pub config: Config,
    pub dns_pace: Arc<Pace>,
    pub scanner_pace: Arc<Pace>,
    resolver: OnceCell<Resolver>,
    client: OnceCell<Client>,
}

impl Setup {
    pub fn new(config: Config) -> Setup {
        Setup {
            dns_pace: Arc::new(Pace::new(config.cymru_rate)),
            scanner_pace: Arc::new(Pace::new(config.greynoise_rate)),
            config,
            resolver: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    /// The setup that follows on this one. An unchanged pace goes on: a new one would begin with free places.
    fn next(&self, config: Config) -> Setup {
        let kept = |old: &Arc<Pace>, new: Arc<Pace>| if old.rate() == new.rate() { Arc::clone(old) } else { new };
        let setup = Setup::new(config);
        Setup {
            dns_pace: kept(&self.dns_pace, setup.dns_pace),
            scanner_pace: kept(&self.scanner_pace, setup.scanner_pace),
            ..setup
        }
    }

    pub async fn resolver(&self) -> Result<&Resolver, Failure> {
        let build = async || Resolver::new(&self.config.dns_servers, self.config.cymru_timeout);
        self.resolver.get_or_try_init(build).await
    }

    /// Blocks for as long as it takes to read the certificates: not for the runtime's thread.
    pub fn client_blocking(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let config = &self.config;
        let client = Client::new(
            &config.greynoise_url,
            config.greynoise_key.as_ref(),
            config.greynoise_timeout,
            config.tls_ca_file.as_deref(),
        )?;
        // Two at the same time build two, and one is dropped.
        let _ = self.client.set(client);
        self.client.get().ok_or_else(|| Failure::transient("the client is being set up"))
    }
}

/// The setup in force.
pub struct Current(Mutex<Arc<Setup>>);

impl Current {
    pub fn new(config: Config) -> Current {
        Current(Mutex::new(Arc::new(Setup::new(config))))
    }

    pub fn get(&self) -> Arc<Setup> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn replace(&self, config: Config) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(current.next(config));
    }
}
