//! The network thread: requests in, outcomes out, and never a wait for whoever hands them in.
//!
//! ```text
//! submit ──channel──▶ dispatcher ──▶ a task a request ──▶ queue of outcomes ──▶ outcome
//!                                     │ permit, pace, attempt, repeat        └─▶ notify
//! ```
//!
//! All of it is one thread, `asn network`, with a runtime of its own; name lookups of the system and HTTPS,
//! which block, run on further threads that the runtime starts and ends.
//!
//! **Signals.** All these threads inherit the signal mask of the thread that calls [`Fetcher::start`]. A process
//! whose signals belong to its main thread blocks them all around that call, and restores its own mask after.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::cymru::{AsName, Origin};
use crate::failure::Failure;
use crate::greynoise::Verdict;
use crate::secrets::Secret;

use self::gate::Gate;

pub mod gate;
mod pace;
mod setup;
mod tasks;
#[cfg(test)]
mod tests;

/// Where the sources are, and how fast they may be asked.
#[derive(Debug)]
pub struct Config {
    /// Name servers; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Where the system's are listed.
    pub resolv_conf: PathBuf,
    /// The bulk whois service, `host:port`.
    pub whois: String,
    /// DNS queries a second, repeats included.
    pub cymru_rate: u32,
    /// For one DNS query, and between two pieces of a whois reply.
    pub cymru_timeout: Duration,
    /// Base URL.
    pub greynoise_url: String,
    /// API key, where there is one.
    pub greynoise_key: Option<Secret>,
    /// HTTPS requests a second, repeats included.
    pub greynoise_rate: u32,
    /// For one HTTPS request.
    pub greynoise_timeout: Duration,
    /// Further trusted certificates (PEM), beside the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// What may be sent at all.
    pub gate: Gate,
    /// The wait before the first of three repeats; each next one is twice as long. One second, but for tests.
    pub retry_base: Duration,
}

/// One question. Addresses are effective ones, of public classes: what is private stays at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who announces it, over DNS.
    Origin(IpAddr),
    /// Who announces them, in one whois session.
    Bulk(Vec<IpAddr>),
    /// Whose AS it is, over DNS.
    AsName(u32),
    /// Whether GreyNoise knows it.
    Scanner(Ipv4Addr),
}

/// What became of one [`Request`]. Each gets exactly one, in no particular order.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Request::Origin`].
    Origin {
        /// As requested.
        ip: IpAddr,
        /// The answer.
        result: Result<Origin, Failure>,
    },
    /// Of [`Request::Bulk`].
    Bulk {
        /// As requested.
        asked: Vec<IpAddr>,
        /// Each address that was answered, once, in the order asked.
        answers: Vec<(IpAddr, Origin)>,
        /// Those that were not sent: the settings do not allow it any more.
        withheld: Vec<IpAddr>,
        /// Why the others have no answer. `None` where the reply was complete: then the service passed over them.
        failure: Option<Failure>,
    },
    /// Of [`Request::AsName`].
    AsName {
        /// As requested.
        asn: u32,
        /// The answer; `None`: the service does not know it.
        result: Result<Option<AsName>, Failure>,
    },
    /// Of [`Request::Scanner`].
    Scanner {
        /// As requested.
        ip: Ipv4Addr,
        /// The answer.
        result: Result<Verdict, Failure>,
    },
}

impl Outcome {
    /// The outcome of a request that could not be asked.
    fn failed(request: Request, failure: Failure) -> Outcome {
        match request {
            Request::Origin(ip) => Outcome::Origin { ip, result: Err(failure) },
            Request::Bulk(asked) => {
                Outcome::Bulk { asked, answers: Vec::new(), withheld: Vec::new(), failure: Some(failure) }
            }
            Request::AsName(asn) => Outcome::AsName { asn, result: Err(failure) },
            Request::Scanner(ip) => Outcome::Scanner { ip, result: Err(failure) },
        }
    }
}

/// An outcome, and how long it took.
#[derive(Debug)]
pub struct Finished {
    /// What became of the request.
    pub outcome: Outcome,
    /// How long its last attempt took, from when it was sent, without the wait for its turn. `None`: nothing was sent.
    pub took: Option<Duration>,
}

/// What goes to the network thread.
enum Message {
    Ask(Request),
    Reconfigure(Box<Config>),
    Stop,
}

/// What comes back, and how the owner hears of it.
struct Outcomes {
    queue: Mutex<VecDeque<Finished>>,
    /// Submitted, and not yet taken as an outcome.
    in_flight: AtomicUsize,
    notify: Box<dyn Fn() + Send + Sync>,
}

impl Outcomes {
    fn push(&self, outcome: Outcome, took: Option<Duration>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(Finished { outcome, took });
        (self.notify)();
    }
}

/// The network thread, seen from outside. Dropping it stops the thread.
pub struct Fetcher {
    messages: UnboundedSender<Message>,
    outcomes: Arc<Outcomes>,
    thread: Option<JoinHandle<()>>,
}

impl Fetcher {
    /// Starts the thread. `notify` is called on it after every outcome that was queued: it must be quick, must
    /// not panic, and may not call anything that belongs to another thread.
    ///
    /// # Errors
    /// The system has no thread or no descriptors left.
    pub fn start(config: Config, notify: Box<dyn Fn() + Send + Sync>) -> io::Result<Fetcher> {
        let (messages, inbox) = unbounded_channel();
        let outcomes = Arc::new(Outcomes { queue: Mutex::default(), in_flight: AtomicUsize::new(0), notify });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("asn network io")
            .max_blocking_threads(tasks::MAX_BLOCKING)
            .build()?;
        let theirs = Arc::clone(&outcomes);
        let thread = std::thread::Builder::new().name("asn network".into()).spawn(move || {
            runtime.block_on(tasks::dispatch(config, inbox, theirs));
            // Not a plain drop: that would wait for threads in a system call until its time limit.
            runtime.shutdown_background();
        })?;
        Ok(Fetcher { messages, outcomes, thread: Some(thread) })
    }

    /// Hands a request in. Never blocks.
    pub fn submit(&self, request: Request) {
        self.outcomes.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Err(unsent) = self.messages.send(Message::Ask(request))
            && let Message::Ask(request) = unsent.0
        {
            let failure = Failure::transient("the network thread has ended");
            self.outcomes.push(Outcome::failed(request, failure), None);
        }
    }

    /// Takes the oldest outcome, if there is one. Never blocks.
    pub fn outcome(&self) -> Option<Finished> {
        let finished = self.outcomes.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.outcomes.in_flight.fetch_sub(1, Ordering::Relaxed);
        Some(finished)
    }

    /// How many requests were submitted and not yet taken as an outcome.
    pub fn in_flight(&self) -> usize {
        self.outcomes.in_flight.load(Ordering::Relaxed)
    }

    /// Changes the configuration. What is sent from now on goes by the new one: requests that wait, for their turn or
    /// for a repeat, are looked at again, and what its gate does not let through comes back as
    /// [withheld](crate::failure::FailureKind::Withheld).
    pub fn reconfigure(&self, config: Config) {
        // Without a thread there is nothing to configure.
        let _ = self.messages.send(Message::Reconfigure(Box::new(config)));
    }

    /// Ends the thread, within a second whatever is in flight. What was not answered is dropped.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook; there is nothing left to end.
            let _ = thread.join();
        }
    }
}
