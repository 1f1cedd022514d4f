//! The configuration in force, and the clients built from it.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::message::Config;
use super::pace::Pace;
use crate::cymru::dns::Resolver;
use crate::cymru::resolv_conf::{self, Mark};
use crate::failure::Failure;
use crate::greynoise::Client;
use crate::stamp::Stamp;
use crate::tls;

/// A client that failed is built again, but not more often than this.
const REBUILT: Duration = Duration::from_secs(10);

/// One configuration. Its clients are built at the first use, and again if that failed, or if a file that they were
/// built from changed: name servers and certificates come and go while the server runs.
pub struct Setup {
    pub config: Config,
    pub dns_pace: Arc<Pace>,
    pub scanner_pace: Arc<Pace>,
    resolver: Mutex<Option<BuiltResolver>>,
    client: Mutex<Option<BuiltClient>>,
}

struct BuiltResolver {
    resolver: Arc<Resolver>,
    servers: Vec<SocketAddr>,
    /// The file that listed the servers, when it was read. `None`: it is to be read again.
    mark: Option<Mark>,
}

struct BuiltClient {
    client: Arc<Client>,
    /// The stamps of the certificate files that it was built from.
    stamps: Vec<Stamp>,
    at: Instant,
    /// A question failed: the certificates of the system may be others by now.
    doubted: bool,
}

impl Setup {
    pub fn new(config: Config) -> Setup {
        Setup {
            dns_pace: Arc::new(Pace::new(config.cymru_rate)),
            scanner_pace: Arc::new(Pace::new(config.greynoise_rate)),
            config,
            resolver: Mutex::new(None),
            client: Mutex::new(None),
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

    pub fn resolver(&self) -> Result<Arc<Resolver>, Failure> {
        let mut kept = self.resolver.lock();
        let listed = !self.config.dns_servers.is_empty();
        let mark = (!listed).then(|| Mark::of(&self.config.resolv_conf));
        if let Some(kept) = &*kept
            && (listed || kept.mark == mark)
        {
            return Ok(Arc::clone(&kept.resolver));
        }
        let servers = if listed { self.config.dns_servers.clone() } else { self.system_servers()? };
        if let Some(kept) = &mut *kept
            && kept.servers == servers
        {
            kept.mark = mark;
            return Ok(Arc::clone(&kept.resolver));
        }
        let resolver = Arc::new(Resolver::new(&servers, self.config.cymru_timeout)?);
        *kept = Some(BuiltResolver { resolver: Arc::clone(&resolver), servers, mark });
        Ok(resolver)
    }

    fn system_servers(&self) -> Result<Vec<SocketAddr>, Failure> {
        let path = &self.config.resolv_conf;
        let unusable = |error| Failure::transient(format!("the system has no usable DNS servers: {error}"));
        resolv_conf::read(path).map_err(unusable)
    }

    /// A question failed: the file with the servers is read again before the next one.
    pub fn doubt_resolver(&self) {
        if let Some(kept) = &mut *self.resolver.lock() {
            kept.mark = None;
        }
    }

    /// Blocks for as long as it takes to read the certificates: not for the runtime's thread.
    pub fn client_blocking(&self) -> Result<Arc<Client>, Failure> {
        let config = &self.config;
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps = Stamp::of_all(&tls::files(config.tls_ca_file.as_deref()));
        let mut kept = self.client.lock();
        if let Some(kept) = &*kept
            && kept.stamps == stamps
            && !(kept.doubted && kept.at.elapsed() > REBUILT)
        {
            return Ok(Arc::clone(&kept.client));
        }
        let client = Arc::new(Client::new(
            &config.greynoise_url,
            config.greynoise_key.as_ref(),
            config.greynoise_timeout,
            config.tls_ca_file.as_deref(),
            config.resolver.proxy().map_err(Failure::transient)?,
        )?);
        *kept = Some(BuiltClient { client: Arc::clone(&client), stamps, at: Instant::now(), doubted: false });
        Ok(client)
    }

    /// A question failed: see [`BuiltClient::doubted`].
    pub fn doubt_client(&self) {
        if let Some(kept) = &mut *self.client.lock() {
            kept.doubted = true;
        }
    }
}

/// The setup in force.
pub struct Current(watch::Sender<Arc<Setup>>);

impl Current {
    pub fn new(config: Config) -> Current {
        Current(watch::Sender::new(Arc::new(Setup::new(config))))
    }

    pub fn get(&self) -> Arc<Setup> {
        Arc::clone(&self.0.borrow())
    }

    /// For who waits, and has to hear of the next one.
    pub fn changes(&self) -> watch::Receiver<Arc<Setup>> {
        self.0.subscribe()
    }

    pub fn replace(&self, config: Config) {
        self.0.send_modify(|current| *current = Arc::new(current.next(config)));
    }
}
