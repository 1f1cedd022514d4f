//! Team Cymru by whois: bulk sessions (`begin`, `verbose`, addresses, `end`), and the single query that
//! no client of ours may send, answered and logged as `single`.

use super::data::{Announcement, World};
use super::door::{Door, reset_on_close};
use super::fault::{Fault, Kind, WhoisFault};
use super::log::{Service, Via};
use super::state::{Received, State};
use ipnetwork::IpNetwork;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const BANNER: &str = "Bulk mode; whois.cymru.com [2026-09-14 04:40:56 +0000]\n";
/// No line that makes sense is longer.
const LONGEST_LINE: u64 = 1024;
/// Rows are made in portions, so that other connections are served between them.
const PORTION: usize = 1000;
/// Rows without a question are about these.
const UNASKED: [&str; 3] = ["100.0.0.1", "9.9.9.9", "2620:fe::9"];

/// Answers connections.
pub async fn serve(state: Arc<State>, mut door: Door) {
    loop {
        let stream = door.next().await;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let _ = session(&state, stream).await;
        });
    }
}

/// The lines of a client.
#[derive(Debug, Default)]
struct Session {
    bulk: bool,
    verbose: bool,
    header: bool,
    /// The lines that are not commands, with their numbers from 1, and their addresses.
    lines: Vec<(usize, String, Option<IpAddr>)>,
}

/// Reads to `end`, to the client's end, or, without `begin`, one line.
async fn read(stream: &mut TcpStream) -> io::Result<Session> {
    let mut session = Session::default();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        match text.as_str() {
            "begin" if number == 1 => session.bulk = true,
            "end" if session.bulk => break,
            "verbose" if session.bulk => session.verbose = true,
            "header" if session.bulk => session.header = true,
            "noverbose" | "noheader" if session.bulk => {}
            _ => {
                let query = text.split_whitespace().last().unwrap_or_default();
                let ip = query.parse().ok();
                session.lines.push((number, text, ip));
                if !session.bulk {
                    break;
                }
            }
        }
    }
    Ok(session)
}

async fn session(state: &State, mut stream: TcpStream) -> io::Result<()> {
    let session = read(&mut stream).await?;
    let ips: Vec<IpAddr> = session.lines.iter().filter_map(|(_, _, ip)| *ip).collect();
    let single = session.lines.first().map(|(_, text, _)| format!("single {text}"));
    let what = if session.bulk { "bulk".to_owned() } else { single.unwrap_or_else(|| "nothing".into()) };
    let malformed = ips.len() != session.lines.len();
    let received = Received { service: Service::Whois, what, via: Via::Tcp, malformed, key: false };
    let (delay, fault) = state.receive(received, &ips);
    if delay > Duration::ZERO {
        tokio::time::sleep(delay).await;
    }
    let within = fault.as_ref().and_then(|fault| fault.within);
    match whois_fault(fault) {
        Some(WhoisFault::Silent) => {
            std::future::pending::<()>().await;
        }
        Some(WhoisFault::Garbage) => {
            let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            stream.write_all(&noise).await?;
        }
        Some(WhoisFault::Invalid) => stream.write_all(b"Invalid | Response\n").await?,
        Some(WhoisFault::Reset(after)) => {
            let text = reply(state, &session, None).await;
            stream.write_all(&text[..after.min(text.len())]).await?;
            reset_on_close(&stream);
            return Ok(());
        }
        Some(WhoisFault::Cut(rows)) => {
            let text = reply(state, &session, None).await;
            stream.write_all(cut(&text, rows)).await?;
        }
        Some(WhoisFault::SlowLoris(ms)) => {
            for byte in reply(state, &session, None).await {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
        }
        fault => stream.write_all(&reply(state, &session, fault.zip(Some(within))).await).await?,
    }
    stream.shutdown().await
}

fn whois_fault(fault: Option<Fault>) -> Option<WhoisFault> {
    match fault?.kind {
        Kind::Whois(fault) => Some(fault),
        _ => None,
    }
}

/// The reply up to the middle of the row that follows `rows` whole ones; the banner is not a row.
fn cut(text: &[u8], rows: usize) -> &[u8] {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let whole: usize = lines.by_ref().take(rows + 1).map(<[u8]>::len).sum();
    &text[..whole + lines.next().map_or(0, |line| line.len() / 2)]
}

/// The whole reply, with a fault's effect on the rows of addresses in a network.
async fn reply(state: &State, session: &Session, fault: Option<(WhoisFault, Option<IpNetwork>)>) -> Vec<u8> {
    let mut text = Vec::new();
    if session.bulk {
        text.extend(BANNER.as_bytes());
    }
    if session.header || !session.bulk {
        let header = if session.verbose {
            "AS      | IP               | BGP Prefix          | CC | Registry | Allocated  | AS Name\n"
        } else {
            "AS      | IP               | AS Name\n"
        };
        text.extend(header.as_bytes());
    }
    let unasked = matches!(fault, Some((WhoisFault::Unasked, _)));
    for portion in session.lines.chunks(PORTION) {
        {
            let world = state.world();
            for (number, _, ip) in portion {
                let Some(ip) = *ip else {
                    text.extend(format!("Error: no ASN or IP match on line {number}.\n").as_bytes());
                    continue;
                };
                let struck = fault.as_ref().filter(|(_, within)| within.is_none_or(|within| within.contains(ip)));
                rows(&mut text, &world, session.verbose, ip, struck.map(|(fault, _)| fault));
            }
        }
        if unasked {
            text.extend(unasked_rows());
        }
        tokio::task::yield_now().await;
    }
    text
}

/// Rows without a question, in the right form.
fn unasked_rows() -> Vec<u8> {
    let mut text = Vec::new();
    for ip in UNASKED {
        let prefix = if ip.contains(':') { format!("{ip}/128") } else { format!("{ip}/32") };
        let row = format!("64666   | {ip:<16} | {prefix:<19} | ZZ | arin     | 2001-01-01 | UNASKED - Nobody, ZZ\n");
        text.extend(row.as_bytes());
    }
    text
}

/// An address's rows: one for each covering prefix and origin, or `NA`.
fn rows(text: &mut Vec<u8>, world: &World, verbose: bool, ip: IpAddr, fault: Option<&WhoisFault>) {
    let spelled = spell(ip);
    let announcements = world.announcements(ip);
    if announcements.is_empty() {
        let row = if verbose {
            let registry = if is_private(ip) { "other" } else { "" };
            format!("NA      | {spelled:<16} | NA                  |    | {registry:<8} |            | NA\n")
        } else {
            format!("NA      | {spelled:<16} | NA\n")
        };
        return text.extend(row.as_bytes());
    }
    for announcement in &announcements {
        let Announcement { prefix, origins, country, registry, allocated } = announcement;
        for origin in origins {
            let mut row = format!("{origin:<7} | {spelled:<16} | ");
            if verbose {
                let prefix = prefix.to_string();
                let _ = write!(row, "{prefix:<19} | {country:<2} | {registry:<8} | {allocated:<10} | ");
            }
            text.extend(row.as_bytes());
            text.extend(name(world, *origin, fault));
            text.push(b'\n');
        }
    }
}

/// The name of an ASN, or a fault's version of it.
fn name(world: &World, asn: u32, fault: Option<&WhoisFault>) -> Vec<u8> {
    let name = world.name(asn).map(|name| name.name).unwrap_or_default();
    match fault {
        Some(WhoisFault::LongNames) => "A".repeat(300_000).into_bytes(),
        Some(WhoisFault::ControlNames) => {
            [b"EVIL\x07\x1b[31m\x08\t\x7f - \xff\xfe ", name.as_bytes(), b"\x0b\xc3"].concat()
        }
        Some(WhoisFault::NulNames) => [b"EVIL\0", name.as_bytes(), b"\0"].concat(),
        _ => name.into_bytes(),
    }
}

/// IPv6 addresses come back in another spelling than most are sent in: no zero is left out.
fn spell(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:04x}")).join(":"),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4 == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_in_its_middle() {
        assert_eq!(cut(b"banner\nrow one\nrow two\n", 1), b"banner\nrow one\nrow ");
        assert_eq!(cut(b"banner\nrow one\n", 9), b"banner\nrow one\n");
    }

    #[test]
    fn columns_are_padded_as_documented() {
        let mut world = World::default();
        let data = serde_json::json!({
            "announce": [{ "prefix": "68.22.187.0/24", "origins": [23028], "country": "US", "registry": "arin",
                           "allocated": "2002-03-15" }],
            "names": [{ "asn": 23028, "name": "TEAM-CYMRU - Team Cymru Inc., US" }],
        });
        world.add(serde_json::from_value(data).unwrap()).unwrap();
        let mut text = Vec::new();
        rows(&mut text, &world, true, "68.22.187.0".parse().unwrap(), None);
        rows(&mut text, &world, true, "192.168.1.1".parse().unwrap(), None);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "23028   | 68.22.187.0      | 68.22.187.0/24      | US | arin     | 2002-03-15 | TEAM-CYMRU - Team Cymru Inc., US\n\
             NA      | 192.168.1.1      | NA                  |    | other    |            | NA\n"
        );
    }
}
