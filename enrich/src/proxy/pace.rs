//! A connection whose server sends too slowly ends. A limit of the time without a byte does not see a server that drips, and
//! one of the whole time must be long enough for large files. It counts below TLS, whose records would hide single bytes.

use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// The least that a server must send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Bytes, those of TLS and of heads included.
    pub(crate) bytes: u64,
    /// Within this time of waiting. What is done in between does not count.
    pub(crate) within: Duration,
}

/// The server sends less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the download is too slow: less than {} bytes in {} s", .0.bytes, .0.within.as_secs())]
pub(crate) struct TooSlow(pub(crate) Pace);

/// The link between the connection and TLS; `None`: as slow as it may be.
#[derive(Debug)]
pub(super) struct Paced(pub(super) Option<Pace>);

impl Connector<Box<dyn Transport>> for Paced {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<Box<dyn Transport>>,
    ) -> Result<Option<Box<dyn Transport>>, Error> {
        Ok(chained.map(|inner| match self.0 {
            Some(pace) => Box::new(PacedTransport { inner, pace, waited: Duration::ZERO, came: 0 }),
            None => inner,
        }))
    }
}

#[derive(Debug)]
struct PacedTransport {
    inner: Box<dyn Transport>,
    pace: Pace,
    waited: Duration,
    came: u64,
}

impl Transport for PacedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let begun = Instant::now();
        let has_come = self.inner.await_input(timeout)?;
        self.waited += begun.elapsed();
        self.came += self.inner.buffers().input().len().saturating_sub(before) as u64;
        if self.waited >= self.pace.within {
            if self.came < self.pace.bytes {
                return Err(Error::Other(Box::new(TooSlow(self.pace))));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(has_come)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
