//! One bulk whois session: many addresses sent, their rows read, over one TCP connection.
//!
//! The service bans callers who open a connection for every address, so this is the only way to port 43. It
//! answers while it is still being written to: whoever writes everything first fills both socket buffers and
//! hangs. Nothing the server sends can take more than bounded memory and time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use self::lines::Lines;
use super::Origin;
use super::grammar::{self, Tally};
use crate::failure::Failure;

mod lines;
#[cfg(test)]
mod tests;

/// Bytes of a reply that are read for each address asked about, and for none. A row takes about 120.
const BYTES_PER_ADDRESS: u64 = 2048;
/// See [`BYTES_PER_ADDRESS`].
const BYTES_BASE: u64 = 1 << 20;

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

/// What came of a session.
#[derive(Debug)]
pub struct Reply {
    /// What was answered, in the order asked.
    pub answers: Vec<(IpAddr, Origin)>,
    /// Why the others were not: the reply was cut, late, or no reply at all. `None` where it came whole and
    /// answered something: an address that is missing then is one that the service passed over.
    pub failure: Option<Failure>,
}

/// Asks `server` (`host:port`) about `asked`, which are effective addresses of public classes. An answer that
/// came before a failure is kept.
pub async fn ask(server: &str, asked: &[IpAddr], limits: Limits) -> Reply {
    let mut tallies: HashMap<IpAddr, Tally> = asked.iter().map(|ip| (*ip, Tally::new(*ip))).collect();
    let deadline = Instant::now() + limits.overall;
    let session = session(server, asked, limits.progress, &mut tallies);
    let ended = timeout_at(deadline, session)
        .await
        .unwrap_or_else(|_| Err(Failure::transient("whois: the reply took too long as a whole")));
    let mut answers = Vec::new();
    for ip in asked {
        // Removed, so that an address asked about twice is answered once.
        if let Some(origin) = tallies.remove(ip).and_then(Tally::origin) {
            answers.push((*ip, origin));
        }
    }
    let failure = match ended {
        Err(failure) => Some(failure),
        Ok(()) if answers.is_empty() && !asked.is_empty() => {
            Some(Failure::transient("whois: the reply has no row for any address asked"))
        }
        Ok(()) => None,
    };
    Reply { answers, failure }
}

async fn session(
    server: &str,
    asked: &[IpAddr],
    progress: Duration,
    tallies: &mut HashMap<IpAddr, Tally>,
) -> Result<(), Failure> {
    let stream = timeout(progress, TcpStream::connect(server)).await.map_err(|_| stalled())?.map_err(|error| {
        let reason = format!("whois: {server}: {error}");
        match error.kind() {
            // Not `host:port`.
            io::ErrorKind::InvalidInput => Failure::permanent(reason),
            _ => Failure::transient(reason),
        }
    })?;
    let (mut reader, mut writer) = stream.into_split();
    let question = question(asked);
    let mut write = std::pin::pin!(send(&mut writer, question.as_bytes(), progress));
    let mut written = false;

    let mut lines = Lines::default();
    let mut left = BYTES_BASE + BYTES_PER_ADDRESS * asked.len() as u64;
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
            read = read => read.map_err(|_| stalled())?.map_err(|error| Failure::transient(format!("whois: {error}")))?,
        };
        if count == 0 {
            return match lines.is_between() && written {
                true => Ok(()),
                false => Err(Failure::transient("whois: the reply was cut")),
            };
        }
        lines.feed(&buffer[..count], |line| grammar::bulk_line(line, |ip| tallies.get_mut(&ip)));
        left = left
            .checked_sub(count as u64)
            .ok_or_else(|| Failure::transient("whois: the reply is far longer than the question asks for"))?;
    }
}

fn question(asked: &[IpAddr]) -> String {
    let mut question = String::from("begin\nverbose\n");
    for ip in asked {
        // Writing to a String cannot fail.
        let _ = writeln!(question, "{ip}");
    }
    question.push_str("end\n");
    question
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], progress: Duration) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let sent = timeout(progress, writer.write(bytes)).await.map_err(|_| stalled())?;
        match sent {
            Ok(0) => return Err(Failure::transient("whois: the server takes no more")),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => return Err(Failure::transient(format!("whois: {error}"))),
        }
    }
    Ok(())
}

fn stalled() -> Failure {
    Failure::transient("whois: the server did not go on in time")
}
