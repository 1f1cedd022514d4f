//! Whether a request left this server: one that did not costs nothing at a service that counts.
//!
//! The errors of the HTTP library do not tell: a time limit of the whole request may have run out anywhere. So the outermost
//! part of a connection, inside TLS, notes the first bytes of a request. The library asks on the thread of its caller.

use std::cell::Cell;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

thread_local! {
    /// Whether a request began to leave on this thread, since it was last asked about.
    static SENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a request, which blocks, and says whether it began to leave.
pub(crate) fn watched<T>(request: impl FnOnce() -> T) -> (T, bool) {
    SENT.set(false);
    let done = request();
    (done, SENT.get())
}

/// The last link of a chain of connectors.
#[derive(Debug)]
pub(super) struct Watched;

impl<In: Transport> Connector<In> for Watched {
    type Out = WatchedTransport<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(WatchedTransport))
    }
}

#[derive(Debug)]
pub(super) struct WatchedTransport<In>(In);

impl<In: Transport> Transport for WatchedTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // Before it is known to have arrived: then it may have been counted.
        SENT.set(true);
        self.0.transmit_output(amount, timeout)
    }

    fn maybe_await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.maybe_await_input(timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
