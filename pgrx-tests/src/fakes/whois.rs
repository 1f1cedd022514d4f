//! Team Cymru's bulk whois: `begin`, `verbose`, addresses, `end`, and rows in columns. A query without a
//! session is answered too, and noted as [`Question::Single`]: no client may ever send one.

use super::faults::{FaultKind, Scope, Trouble, WhoisFault};
use super::log::{Question, Service, Transport};
use super::table::{Announcement, Table};
use super::world::{Request, State, World};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// What one session may send, in bytes: more than a million addresses.
const MOST: u64 = 64 << 20;
/// Before the rows of a session.
const BANNER: &str = "Bulk mode; whois.cymru.com [2026-09-14 04:40:56 +0000]\n";
/// Heads of the columns.
const HEAD: &str = "AS      | IP               | BGP Prefix          | CC | Registry | Allocated  | AS Name\n";
/// A reset throws away what the peer has not been sent yet.
const ARRIVAL: Duration = Duration::from_millis(20);

/// The door: open, or refusing connections with its port kept.
pub struct Gate {
    /// Where it listens, or would.
    pub address: SocketAddr,
    world: Arc<World>,
    /// Bound and not listening: keeps the port while the door is shut.
    _reserved: TcpSocket,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Gate {
    /// Finds a port and opens.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(world: Arc<World>) -> io::Result<Gate> {
        let reserved = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = reserved.local_addr()?;
        let gate = Gate { address, world, _reserved: reserved, task: Mutex::new(None) };
        gate.apply().await?;
        Ok(gate)
    }

    /// Opens or shuts, as the faults say. When this returns, it is so.
    ///
    /// # Errors
    /// When it cannot listen again.
    pub async fn apply(&self) -> io::Result<()> {
        let mut task = self.task.lock().await;
        match (task.take(), self.world.whois_refuses()) {
            (Some(open), true) => {
                open.abort();
                // Cancelled is what it is to be; the listener is closed with it.
                let _ = open.await;
            }
            (None, false) => {
                let listener = bound(self.address)?.listen(128)?;
                *task = Some(tokio::spawn(accept(listener, self.world.clone())));
            }
            (unchanged, _) => *task = unchanged,
        }
        Ok(())
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    // An accept that fails is the client's: it went away before.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let world = world.clone();
            tokio::spawn(async move {
                world.state().log.note_connection(Service::Whois);
                // A client that leaves early sees nothing more, and there is nobody else to tell.
                let _ = session(stream, &world).await;
            });
        }
    }
}

/// What a client sent.
#[derive(Debug, Default)]
struct Query {
    bulk: bool,
    verbose: bool,
    first: String,
    /// In their order: an address, or the number of a line that is none.
    items: Vec<Result<IpAddr, usize>>,
}

async fn session(mut stream: TcpStream, world: &World) -> io::Result<()> {
    let Some(query) = read(&mut stream).await? else {
        return Ok(());
    };
    let addresses: Vec<IpAddr> = query.items.iter().filter_map(|item| item.as_ref().ok().copied()).collect();
    let request = Request {
        service: Service::Whois,
        question: if query.bulk { Question::Bulk(addresses.len()) } else { Question::Single },
        text: &query.first,
        transport: Transport::Tcp,
        key: false,
        addresses: &addresses,
    };
    let (trouble, reply) = world.decide(&request, |state, trouble| {
        let rows = rows(state, &query, trouble);
        let count = format!("{} rows", rows.len());
        (rows, count)
    });
    tokio::time::sleep(trouble.delay).await;
    let Some((FaultKind::Whois(fault), _)) = trouble.fault else {
        return send(&mut stream, &whole(&query, &reply)).await;
    };
    match fault {
        WhoisFault::Reset(after) => {
            let all = whole(&query, &reply);
            stream.write_all(&all[..after.min(all.len())]).await?;
            tokio::time::sleep(ARRIVAL).await;
            stream.set_zero_linger()
        }
        WhoisFault::Cut(after) => {
            let mut text = whole(&query, &reply[..after.min(reply.len())]);
            if let Some(row) = reply.get(after) {
                text.extend_from_slice(&row[..row.len() / 2]);
            }
            send(&mut stream, &text).await
        }
        WhoisFault::Garbage => send(&mut stream, &noise(4096)).await,
        WhoisFault::Invalid => send(&mut stream, b"Invalid | Response\n").await,
        WhoisFault::SlowLoris(ms) => {
            stream.set_nodelay(true)?;
            for byte in whole(&query, &reply) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            stream.shutdown().await
        }
        WhoisFault::Hang => {
            // Until the client has had enough.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            Ok(())
        }
        _ => send(&mut stream, &whole(&query, &reply)).await,
    }
}

async fn send(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await
}

/// The lines of a session up to `end`, or one query; nothing from a client that says nothing.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Query>> {
    let mut lines = BufReader::new(stream.take(MOST));
    let mut query = Query { first: String::new(), ..Query::default() };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).await? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let word = text.trim();
        if number == 1 {
            word.clone_into(&mut query.first);
            query.bulk = word == "begin";
            if !query.bulk {
                // Options of a single query stand before the address: `-v 8.8.8.8`.
                let address = word.rsplit(' ').next().unwrap_or_default();
                query.verbose = word.contains("-v");
                query.items.push(address.parse().map_err(|_| number));
                break;
            }
            continue;
        }
        match word {
            "end" => break,
            "verbose" => query.verbose = true,
            "" | "header" | "noheader" => {}
            _ => query.items.push(word.parse().map_err(|_| number)),
        }
    }
    Ok((query.bulk || !query.items.is_empty()).then_some(query))
}

/// The rows of an answer, each with its line break, as the fault wants them.
fn rows(state: &mut State, query: &Query, trouble: &Trouble) -> Vec<Vec<u8>> {
    let table = &state.table;
    let (fault, scope) = match &trouble.fault {
        Some((FaultKind::Whois(fault), scope)) => (Some(fault), *scope),
        _ => (None, Scope::Everything),
    };
    let mut rows = Vec::with_capacity(query.items.len());
    let mut long_name_due = true;
    if fault == Some(&WhoisFault::Header) {
        rows.push(HEAD.as_bytes().to_vec());
    }
    for item in &query.items {
        let &ip = match item {
            Ok(ip) => ip,
            Err(number) => {
                rows.push(format!("Error: no ASN or IP match on line {number}.\n").into_bytes());
                continue;
            }
        };
        let odd_name: Option<Vec<u8>> = match fault {
            Some(WhoisFault::LongName) if scope.has(ip) && std::mem::take(&mut long_name_due) => {
                Some(vec![b'L'; 300_000])
            }
            Some(WhoisFault::ControlName) if scope.has(ip) => {
                Some(b"EVIL\0CORP\x07 \x1b[31mred\x7f\xff\xfe\tInc., ZZ".to_vec())
            }
            _ => None,
        };
        if fault == Some(&WhoisFault::Unasked) {
            rows.push(unasked(ip));
        }
        push_rows(&mut rows, table, query.verbose, ip, odd_name.as_deref());
    }
    rows
}

/// All rows of one address: one for each origin of each prefix that covers it.
fn push_rows(rows: &mut Vec<Vec<u8>>, table: &Table, verbose: bool, ip: IpAddr, odd_name: Option<&[u8]>) {
    let found = table.covering(ip);
    if found.is_empty() {
        rows.push(row(verbose, "NA", ip, "NA", &["", "other", ""], odd_name.unwrap_or(b"NA")));
    }
    for Announcement { prefix, origins, country, registry, allocated } in &found {
        let prefix = prefix.to_string();
        for &origin in origins {
            let name = table.name_of(origin).map(|named| named.name.into_bytes()).unwrap_or_default();
            let about = [country.as_str(), registry, allocated];
            rows.push(row(verbose, &origin.to_string(), ip, &prefix, &about, odd_name.unwrap_or(&name)));
        }
    }
}

fn row(verbose: bool, asn: &str, ip: IpAddr, prefix: &str, about: &[&str; 3], name: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(120 + name.len());
    let [country, registry, allocated] = about;
    let ip = spelled(ip);
    // Writing to a vector does not fail.
    let _ = write!(row, "{asn:<7} | {ip:<16} | ");
    if verbose {
        let _ = write!(row, "{prefix:<19} | {country:<2} | {registry:<8} | {allocated:<10} | ");
    }
    row.extend_from_slice(name);
    row.push(b'\n');
    row
}

/// An IPv6 address comes back in another spelling than it was sent in: all digits, in capitals.
fn spelled(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip.segments().iter().map(|group| format!("{group:04X}")).collect();
            groups.join(":")
        }
    }
}

/// A row about another address than `ip`.
fn unasked(ip: IpAddr) -> Vec<u8> {
    let other: IpAddr = match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 0x8000_0001).into(),
        IpAddr::V6(ip) => (ip.to_bits() ^ (1 << 64 | 1)).to_be_bytes().into(),
    };
    row(true, "64666", other, "0.0.0.0/0", &["ZZ", "arin", "2001-01-01"], b"NOBODY-ASKED, ZZ")
}

fn whole(query: &Query, rows: &[Vec<u8>]) -> Vec<u8> {
    let mut text = if query.bulk { BANNER } else { HEAD }.as_bytes().to_vec();
    rows.iter().for_each(|row| text.extend_from_slice(row));
    text
}

/// Bytes without sense, always the same.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
