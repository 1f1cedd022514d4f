//! The network thread: requests in, outcomes out, without a wait for the caller.
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

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::message::{Message, Outcomes};
use crate::failure::Failure;

pub use self::message::{Config, Finished, Outcome, Request};
pub use self::tasks::MAX_DNS;

pub mod gate;
mod message;
mod pace;
mod setup;
mod tasks;
#[cfg(test)]
mod tests;

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
            .max_blocking_threads(tasks::max_blocking(&config))
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
            let failure = Failure::unsent("the network thread has ended");
            self.outcomes.push(Outcome::failed(request, failure), None);
        }
    }

    /// Takes the oldest outcome, if there is one. Never blocks.
    pub fn outcome(&self) -> Option<Finished> {
        let finished = self.outcomes.queue.lock().pop_front()?;
        self.outcomes.in_flight.fetch_sub(1, Ordering::Relaxed);
        Some(finished)
    }

    /// How many requests were submitted and not yet taken as an outcome.
    pub fn in_flight(&self) -> usize {
        self.outcomes.in_flight.load(Ordering::Relaxed)
    }

    /// Changes the configuration. It applies to all later sends: requests that wait, for their turn or for a repeat,
    /// are checked again, and those that its gate refuses come back as
    /// [withheld](crate::failure::FailureKind::Withheld).
    pub fn reconfigure(&self, config: Config) {
        // Without a thread there is nothing to configure.
        let _ = self.messages.send(Message::Reconfigure(Box::new(config)));
    }
}

impl Drop for Fetcher {
    /// Ends the thread within a second, even with requests in flight. Unanswered ones are dropped.
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook; there is nothing left to end.
            let _ = thread.join();
        }
    }
}
