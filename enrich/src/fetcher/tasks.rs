//! The code of the network thread: the dispatcher, and one task for each request.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use super::gate::{Gate, Leave};
use super::message::{Config, Message, Outcome, Outcomes, Request};
use super::pace::Pace;
use super::setup::{Current, Setup};
use crate::cymru::dns::Resolver;
use crate::cymru::{AsName, Origin, bulk};
use crate::failure::Failure;
use crate::greynoise::Verdict;

/// DNS queries at the same time.
pub const MAX_DNS: usize = 64;
/// The service asks for few, long sessions.
const MAX_BULK: usize = 1;
/// Repeats of a question that met a transient failure, after one, two and four times the base.
const REPEATS: usize = 3;

/// Threads for blocking work: the HTTPS requests, those of a configuration that was just replaced, and names.
pub fn max_blocking(config: &Config) -> usize {
    2 * config.greynoise_at_once + 4
}

/// The shared state of all tasks.
struct Network {
    current: Current,
    dns: Semaphore,
    bulk: Semaphore,
    scanner: Semaphore,
}

/// How long the last attempt of a request took, in nanoseconds; 0: there was none.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    async fn time<T>(&self, attempt: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = attempt.await;
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(took.max(1), Ordering::Relaxed);
        result
    }

    fn read(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ns| *ns > 0).map(Duration::from_nanos)
    }
}

/// Starts a task for every request, until it is told to stop or its owner is gone. Tasks end with it.
pub async fn dispatch(config: Config, mut inbox: UnboundedReceiver<Message>, outcomes: Arc<Outcomes>) {
    let network = Arc::new(Network {
        dns: Semaphore::new(MAX_DNS),
        bulk: Semaphore::new(MAX_BULK),
        scanner: Semaphore::new(config.greynoise_at_once),
        current: Current::new(config),
    });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            message = inbox.recv() => match message {
                Some(Message::Ask(request)) => {
                    let (network, outcomes) = (Arc::clone(&network), Arc::clone(&outcomes));
                    let submitted = network.current.get();
                    tasks.spawn(async move {
                        let clock = Arc::new(Clock::default());
                        let answer = network.answer(request.clone(), submitted, Arc::clone(&clock));
                        let outcome = guarded(answer).await.unwrap_or_else(|panic| Outcome::failed(request, panic));
                        outcomes.push(outcome, clock.read());
                    });
                }
                Some(Message::Reconfigure(config)) => network.current.replace(*config),
                Some(Message::Stop) | None => return,
            },
            // Ended tasks hold memory until they are taken.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => (),
        }
    }
}

/// Runs `work`; a panic in it, or in a library it calls, becomes a failure. Without that one request would never
/// come back.
async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Failure> {
    // A set aborts its tasks when it is dropped; a handle does not.
    let mut task = JoinSet::new();
    task.spawn(work);
    match task.join_next().await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) if error.is_panic() => {
            Err(Failure::transient("the request failed with an internal error (a panic)"))
        }
        _ => Err(Failure::transient("the request was cancelled")),
    }
}

impl Network {
    async fn answer(self: Arc<Self>, request: Request, submitted: Arc<Setup>, clock: Arc<Clock>) -> Outcome {
        let clock = &*clock;
        match request {
            Request::Origin(ip) => Outcome::Origin { ip, result: self.origin(ip, clock).await },
            Request::AsName(asn) => Outcome::AsName { asn, result: self.as_name(asn, clock).await },
            Request::Scanner(ip) => Outcome::Scanner { ip, result: self.scanner(ip, &submitted, clock).await },
            Request::Bulk(asked) => {
                let bulk::Reply { answers, withheld, doubtful, failure } = self.bulk(&asked, clock).await;
                Outcome::Bulk { asked, answers, withheld, doubtful, failure }
            }
        }
    }

    async fn origin(&self, ip: IpAddr, clock: &Clock) -> Result<Origin, Failure> {
        let leave = |gate: &Gate| gate.cymru(ip);
        self.repeated(|| self.query(clock, leave, async |resolver| resolver.origin(ip).await)).await
    }

    async fn as_name(&self, asn: u32, clock: &Clock) -> Result<Option<AsName>, Failure> {
        let leave = |gate: &Gate| gate.cymru;
        self.repeated(|| self.query(clock, leave, async |resolver| resolver.as_name(asn).await)).await
    }

    /// One attempt over DNS. Waiting for a permit and a place is not part of its time limit.
    async fn query<T>(
        &self,
        clock: &Clock,
        leave: impl Fn(&Gate) -> Leave,
        ask: impl AsyncFnOnce(&Resolver) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _permit = permit(self.dns.acquire().await)?;
        let setup = self.turn(leave, |setup| &setup.dns_pace).await?;
        let resolver = setup.resolver()?;
        let answer = clock.time(ask(&resolver)).await;
        if answer.is_err() {
            setup.doubt_resolver();
        }
        answer
    }

    /// Waits for a place, and for the right to use it. A configuration that comes during the wait counts at once: no
    /// task takes a place by earlier settings.
    async fn turn(
        &self,
        leave: impl Fn(&Gate) -> Leave,
        pace: impl Fn(&Setup) -> &Arc<Pace>,
    ) -> Result<Arc<Setup>, Failure> {
        let ending = |_| Failure::transient("the network thread is ending");
        let mut changes = self.current.changes();
        loop {
            let setup = Arc::clone(&changes.borrow_and_update());
            match leave(&setup.config.gate) {
                Leave::No => return Err(Failure::withheld()),
                Leave::Wait => changes.changed().await.map_err(ending)?,
                Leave::Yes => tokio::select! {
                    biased;
                    changed = changes.changed() => changed.map_err(ending)?,
                    () = pace(&setup).place() => return Ok(setup),
                },
            }
        }
    }

    async fn bulk(&self, asked: &[IpAddr], clock: &Clock) -> bulk::Reply {
        let _permit = match permit(self.bulk.acquire().await) {
            Ok(permit) => permit,
            Err(failure) => {
                let (answers, withheld) = (Vec::new(), Vec::new());
                return bulk::Reply { answers, withheld, doubtful: None, failure: Some(failure) };
            }
        };
        let setup = self.current.get();
        let limits = bulk::Limits::new(setup.config.cymru_timeout, asked.len());
        // Checked line by line: a session takes time, and lines that it has not sent yet are no longer sent.
        let may_be_told = |ip| self.current.get().config.gate.cymru(ip) == Leave::Yes;
        clock.time(bulk::ask_about(&setup.config.whois, asked, limits, &may_be_told)).await
    }

    /// One attempt only: each that leaves may count against the quota, so the code with the ledger decides about the next.
    async fn scanner(&self, ip: Ipv4Addr, submitted: &Setup, clock: &Clock) -> Result<Verdict, Failure> {
        let _permit = permit(self.scanner.acquire().await)?;
        let setup = self.turn(|gate| gate.greynoise(ip.into()), |setup| &setup.scanner_pace).await?;
        // Another key by now, or another server: that account has not paid for it.
        if setup.config.account() != submitted.config.account() {
            return Err(Failure::withheld());
        }
        let ask = move |setup: Arc<Setup>| {
            // A wrong setting says nothing about this address: once it is fixed, the address is asked about.
            let client = setup.client_blocking().map_err(|failure| Failure::unsent(failure.reason))?;
            let answer = client.ask(ip);
            if answer.as_ref().is_err_and(Failure::is_transient) {
                setup.doubt_client();
            }
            answer
        };
        let asked = clock.time(tokio::task::spawn_blocking(move || ask(setup))).await;
        asked.unwrap_or_else(|_| Err(Failure::transient("the request failed with an internal error (a panic)")))
    }

    /// Repeats only requests with a transient failure: a refusal stays one, and a used-up quota must not be tried. No
    /// permit is held between two attempts.
    async fn repeated<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let backoff = ExponentialBuilder::default()
            .with_factor(2.0)
            .with_min_delay(self.current.get().config.retry_base)
            .with_max_delay(Duration::from_secs(60))
            .with_max_times(REPEATS);
        attempt.retry(backoff).sleep(tokio::time::sleep).when(Failure::is_transient).await
    }
}

/// The semaphores are never closed; if one were, that is a failure like any other.
fn permit(acquired: Result<SemaphorePermit<'_>, AcquireError>) -> Result<SemaphorePermit<'_>, Failure> {
    acquired.map_err(|_| Failure::transient("the network thread is ending"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let broken = runtime.block_on(guarded(async {
            if true {
                panic!("in a test, on purpose")
            }
        }));
        assert!(broken.unwrap_err().reason.contains("panic"));
        assert_eq!(runtime.block_on(guarded(async { 7 })), Ok(7));
    }
}
