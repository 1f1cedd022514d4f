//! One bulk whois session: many addresses sent, their rows read, over one TCP connection.
//!
//! The service bans callers who open a connection for every address, so this is the only way to port 43. It answers
//! while it still receives questions: a client that writes everything first fills both socket buffers and hangs.
//! Nothing the server sends can take more than bounded memory and time.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use self::received::Received;
use super::Origin;
use crate::failure::Failure;

mod lines;
mod received;
#[cfg(test)]
mod tests;

/// Bytes of a reply that are read for each address asked about, and for none. A row takes about 120.
const BYTES_PER_ADDRESS: u64 = 2048;
/// See [`BYTES_PER_ADDRESS`].
const BYTES_BASE: u64 = 1 << 20;

/// Addresses of the server that are tried.
const MAX_ADDRESSES: usize = 8;

/// How long a session may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until the connection stands, and then between any two pieces that come or go.
    pub progress: Duration,
    /// For everything. It ends a server that sends a byte now and then for ever.
    pub overall: Duration,
}

impl Limits {
    /// For a session about so many addresses. The service takes under a minute for 10,000.
    pub fn new(progress: Duration, addresses: usize) -> Limits {
        let more = Duration::from_millis(u64::try_from(addresses).unwrap_or(u64::MAX).saturating_mul(10));
        Limits { progress, overall: Duration::from_secs(60).saturating_add(more) }
    }
}

/// The result of a session.
#[derive(Debug)]
pub struct Reply {
    /// The answers, in the order asked.
    pub answers: Vec<(IpAddr, Origin)>,
    /// Addresses that were not sent, since they may not be told.
    pub withheld: Vec<IpAddr>,
    /// The address of the last row, and what its rows say, where the reply ended as intended but others have none, or where
    /// the server fell silent: it may have been cut, or the service skipped them. Rows come in any order, so only another
    /// question tells.
    pub doubtful: Option<(IpAddr, Origin)>,
    /// Why the others were not answered: the reply was cut, late or missing. `None` if it was complete and had rows:
    /// the service skipped an address that is missing then.
    pub failure: Option<Failure>,
}

/// How a session ended whose question went out whole.
enum End {
    /// The server closed the connection, at the end of a line.
    Closed,
    /// Nothing more came, after the end of a line.
    Silent,
}

/// Asks `server` (`host:port`) about `asked`, which are effective addresses of public classes. An answer that
/// came before a failure is kept, if all of its rows have come.
pub async fn ask(server: &str, asked: &[IpAddr], limits: Limits) -> Reply {
    ask_about(server, asked, limits, &|_| true).await
}

/// The same, but `may_be_told` is asked about each address right before it is sent.
pub async fn ask_about(
    server: &str,
    asked: &[IpAddr],
    limits: Limits,
    may_be_told: &(dyn Fn(IpAddr) -> bool + Sync),
) -> Reply {
    let mut received = Received::about(asked);
    let deadline = Instant::now() + limits.overall;
    let mut question = Question { left: asked, withheld: Vec::new(), may_be_told };
    if !asked.iter().any(|ip| may_be_told(*ip)) {
        return Reply { answers: Vec::new(), withheld: asked.to_vec(), doubtful: None, failure: None };
    }
    let session = session(server, &mut question, limits.progress, &mut received);
    let ended = timeout_at(deadline, session)
        .await
        .unwrap_or_else(|_| Err(Failure::transient("whois: the reply took too long")));
    let withheld = question.withheld;
    received.leave_out(&withheld);
    let is_whole = received.is_whole();
    let is_closed = matches!(ended, Ok(End::Closed));
    // A server that has a row for everything, and does not hang up, has answered: but for the last address, maybe.
    let ended = match ended {
        Ok(End::Silent) if !is_whole => Err(stalled()),
        ended => ended,
    };
    // The rows of one address come one after the other, and an end of the connection may look as intended: those of the
    // last address may be cut, and what came of them may not be its longest prefix. It is asked about again.
    let last = (!is_whole || !is_closed).then(|| received.take_last()).flatten();
    let doubtful = last.filter(|_| ended.is_ok());
    let answers = received.answers(asked);
    let failure = match ended {
        Err(failure) => Some(failure),
        Ok(_) if answers.is_empty() && doubtful.is_none() && withheld.len() < asked.len() => {
            Some(Failure::transient("whois: the reply has no row for any address asked"))
        }
        Ok(_) => None,
    };
    Reply { answers, withheld, doubtful, failure }
}

/// The addresses still to send, and those withheld.
struct Question<'a> {
    left: &'a [IpAddr],
    withheld: Vec<IpAddr>,
    may_be_told: &'a (dyn Fn(IpAddr) -> bool + Sync),
}

/// Lines that are sent at a time.
const LINES: usize = 64;

impl Question<'_> {
    /// The next lines; `None` once there are none.
    fn lines(&mut self) -> Option<String> {
        if self.left.is_empty() {
            return None;
        }
        let (now, left) = self.left.split_at(self.left.len().min(LINES));
        self.left = left;
        let mut lines = String::new();
        for ip in now {
            if (self.may_be_told)(*ip) {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{ip}");
            } else {
                self.withheld.push(*ip);
            }
        }
        Some(lines)
    }
}

async fn session(
    server: &str,
    question: &mut Question<'_>,
    progress: Duration,
    received: &mut Received,
) -> Result<End, Failure> {
    let stream = connect(server, progress).await?;
    let (mut reader, mut writer) = stream.into_split();
    let asked = question.left.len();
    let mut write = std::pin::pin!(send_all(&mut writer, question, progress));
    let mut written = false;

    let mut left = BYTES_BASE + BYTES_PER_ADDRESS * asked as u64;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // While the question goes out, that is the progress. Afterwards the reply has to make some.
        let read = async {
            match written {
                false => Ok(reader.read(&mut buffer).await),
                true => timeout(progress, reader.read(&mut buffer)).await,
            }
        };
        let count = tokio::select! {
            sent = &mut write, if !written => {
                sent?;
                written = true;
                continue;
            }
            read = read => match read {
                Ok(read) => read.map_err(|error| Failure::transient(format!("whois: {error}")))?,
                Err(_) if received.is_between() => return Ok(End::Silent),
                Err(_) => return Err(stalled()),
            },
        };
        if count == 0 {
            return match received.is_between() && written {
                true => Ok(End::Closed),
                false => Err(cut()),
            };
        }
        received.take(&buffer[..count]);
        left = left
            .checked_sub(count as u64)
            .ok_or_else(|| Failure::transient("whois: the reply is far longer than the question asks for"))?;
    }
}

/// A connection to the first of the server's addresses that takes one. Each has its part of the time limit: a name may
/// have addresses of a family that leads nowhere.
async fn connect(server: &str, progress: Duration) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + progress;
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let unresolved = |reason: &dyn std::fmt::Display| format!("whois: cannot resolve {host}: {reason}");
    let found = match timeout(progress, lookup_host(server)).await {
        Err(_) => return Err(Failure::transient(unresolved(&"no answer in time"))),
        // Not `host:port`.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(Failure::permanent(unresolved(&error)));
        }
        Ok(Err(error)) => return Err(Failure::transient(unresolved(&error))),
        Ok(Ok(found)) => found,
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    let mut reasons = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let part = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reasons.push(format!("({address}): {error}")),
            Err(_) => reasons.push(format!("({address}): no answer in time")),
        }
    }
    match reasons.is_empty() {
        true => Err(Failure::transient(unresolved(&"it has no address"))),
        false => Err(Failure::transient(format!("whois: cannot connect to {host} {}", reasons.join("; ")))),
    }
}

async fn send_all(
    writer: &mut (impl AsyncWrite + Unpin),
    question: &mut Question<'_>,
    progress: Duration,
) -> Result<(), Failure> {
    send(writer, b"begin\nverbose\n", progress).await?;
    while let Some(lines) = question.lines() {
        send(writer, lines.as_bytes(), progress).await?;
    }
    send(writer, b"end\n", progress).await
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], progress: Duration) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let sent = timeout(progress, writer.write(bytes)).await.map_err(|_| stalled())?;
        match sent {
            Ok(0) => return Err(Failure::transient("whois: the server stopped reading")),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => return Err(Failure::transient(format!("whois: {error}"))),
        }
    }
    Ok(())
}

fn cut() -> Failure {
    Failure::transient("whois: the reply was cut")
}

fn stalled() -> Failure {
    Failure::transient("whois: the server stopped responding")
}
