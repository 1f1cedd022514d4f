//! Team Cymru by DNS: TXT records under `origin.asn.cymru.com`, `origin6.asn.cymru.com` and
//! `AS<n>.asn.cymru.com`, over UDP and TCP on one port.
//!
//! The messages are coded by hickory's protocol crate, and sent by our own few lines: a server library would not send
//! an invalid message, or withhold an answer.

use super::data::World;
use super::fault::{DnsFault, Fault, Kind};
use super::log::{Service, Via};
use super::state::{Received, State};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const TTL: u32 = 3600;
/// Without EDNS, a datagram carries 512 bytes (RFC 1035).
const PLAIN_PAYLOAD: u16 = 512;
/// A character string holds 255 bytes, and all of a record's must fit into a message.
const STRING: usize = 255;
const LONGEST_TEXT: usize = 60_000;
/// Someone else's TXT record.
const FOREIGN: &str = "v=spf1 include:_spf.mail.invalid -all";

/// Opens a UDP and a TCP port of the same number.
///
/// # Errors
/// When none is free.
pub async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::other("no port was tried");
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Answers datagrams, each in a task of its own: a delayed answer holds up no other.
pub async fn serve_udp(state: Arc<State>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors are those of earlier sends, that a client is gone.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (state, socket, bytes) = (Arc::clone(&state), Arc::clone(&socket), buffer[..length].to_vec());
        tokio::spawn(async move {
            if let Some(answer) = answer(&state, &bytes, Via::Udp).await {
                let _ = socket.send_to(&answer, peer).await;
            }
        });
    }
}

/// Answers connections.
pub async fn serve_tcp(state: Arc<State>, listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                let _ = serve_stream(&state, stream).await;
            });
        }
    }
}

/// Messages behind their length in two bytes, until the client leaves.
async fn serve_stream(state: &State, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await?;
        if let Some(answer) = answer(state, &bytes, Via::Tcp).await {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend(answer);
            stream.write_all(&framed).await?;
        }
    }
}

/// The answer's bytes; `None`: nothing is sent.
async fn answer(state: &State, bytes: &[u8], via: Via) -> Option<Vec<u8>> {
    let request = Message::from_vec(bytes).ok()?;
    let query = request.queries.first()?;
    let name = query.name().to_utf8();
    let question = Question::parse(&name);
    let ips: Vec<IpAddr> = match question {
        Question::Origin(ip) => vec![ip],
        _ => Vec::new(),
    };
    let malformed = question == Question::Malformed;
    let received = Received { service: Service::Dns, what: name, via, malformed, key: false };
    let (delay, fault) = state.receive(received, &ips);
    if delay > Duration::ZERO {
        tokio::time::sleep(delay).await;
    }
    let texts = if query.query_type() == RecordType::TXT { question.texts(&state.world()) } else { None };
    match dns_fault(fault) {
        None => encode(&request, code_of(&texts), &texts.unwrap_or_default(), via),
        Some(DnsFault::Truncate) if via == Via::Udp => {
            response(&request, ResponseCode::NoError).truncate().to_vec().ok()
        }
        Some(DnsFault::DropUdp) if via == Via::Udp => None,
        Some(DnsFault::Truncate | DnsFault::DropUdp | DnsFault::Delay(_)) => {
            encode(&request, code_of(&texts), &texts.unwrap_or_default(), via)
        }
        Some(DnsFault::Drop) => None,
        Some(DnsFault::Servfail) => encode(&request, ResponseCode::ServFail, &[], via),
        Some(DnsFault::Refused) => encode(&request, ResponseCode::Refused, &[], via),
        Some(DnsFault::Nxdomain) => encode(&request, ResponseCode::NXDomain, &[], via),
        Some(DnsFault::Sinkhole) => response(&request, ResponseCode::NXDomain).to_vec().ok(),
        Some(DnsFault::NoSoa) if texts.is_none() => response(&request, ResponseCode::NXDomain).to_vec().ok(),
        Some(DnsFault::NoSoa) => encode(&request, code_of(&texts), &texts.unwrap_or_default(), via),
        Some(DnsFault::ForeignTxt) => encode(&request, ResponseCode::NoError, &[FOREIGN.to_owned()], via),
        Some(DnsFault::Garbage) => {
            let mut garbage = bytes[..2].to_vec();
            garbage.extend([0xff; 61]);
            Some(garbage)
        }
    }
}

fn dns_fault(fault: Option<Fault>) -> Option<DnsFault> {
    match fault?.kind {
        Kind::Dns(fault) => Some(fault),
        _ => None,
    }
}

fn code_of(texts: &Option<Vec<String>>) -> ResponseCode {
    if texts.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain }
}

fn response(request: &Message, code: ResponseCode) -> Message {
    let mut response = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        response.set_edns(edns);
    }
    response
}

/// The response with a record for each text; over UDP, an empty one with the TC bit when it is too long.
fn encode(request: &Message, code: ResponseCode, texts: &[String], via: Via) -> Option<Vec<u8>> {
    let name: Name = request.queries.first()?.name().clone();
    let mut response = response(request, code);
    for text in texts {
        let text = &text.as_bytes()[..text.len().min(LONGEST_TEXT)];
        let txt = TXT::from_bytes(text.chunks(STRING).collect());
        response.add_answer(Record::from_rdata(name.clone(), TTL, RData::TXT(txt)));
    }
    // As the service does it (RFC 2308).
    if code == ResponseCode::NXDomain {
        response.add_authority(soa()?);
    }
    let bytes = response.to_vec().ok()?;
    let room = request.edns.as_ref().map_or(PLAIN_PAYLOAD, |edns| edns.max_payload().max(PLAIN_PAYLOAD));
    if via == Via::Udp && bytes.len() > usize::from(room) {
        return response.truncate().to_vec().ok();
    }
    Some(bytes)
}

/// The SOA record that a negative answer comes with.
fn soa() -> Option<Record> {
    let zone = Name::from_ascii("asn.cymru.com.").ok()?;
    let (primary, contact) = (Name::from_ascii("ns.asn.cymru.com.").ok()?, Name::from_ascii("noc.cymru.com.").ok()?);
    Some(Record::from_rdata(zone, TTL, RData::SOA(SOA::new(primary, contact, 1, 21_600, 3600, 604_800, TTL))))
}

/// The question in a name.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    Origin(IpAddr),
    Name(u32),
    /// Unknown to the service: a wrong number of labels, a label that is not an octet or nibble, another zone.
    Malformed,
}

impl Question {
    fn parse(name: &str) -> Question {
        let name = name.to_ascii_lowercase();
        // A name that is not rooted gets no answer: only test programs send one, and the resolver's search list would.
        let question = name.strip_suffix(".asn.cymru.com.").and_then(|front| {
            if let Some(labels) = front.strip_suffix(".origin") {
                reversed_v4(labels).map(|ip| Question::Origin(ip.into()))
            } else if let Some(labels) = front.strip_suffix(".origin6") {
                reversed_v6(labels).map(|ip| Question::Origin(ip.into()))
            } else {
                decimal(front.strip_prefix("as")?).map(Question::Name)
            }
        });
        question.unwrap_or(Question::Malformed)
    }

    /// The TXT records; `None`: no such name.
    fn texts(&self, world: &World) -> Option<Vec<String>> {
        match *self {
            Question::Origin(ip) => {
                let announcements = world.announcements(ip);
                let text = |a: &super::data::Announcement| {
                    let mut origins = String::new();
                    for origin in &a.origins {
                        let _ = write!(origins, "{}{origin}", if origins.is_empty() { "" } else { " " });
                    }
                    format!("{origins} | {} | {} | {} | {}", a.prefix, a.country, a.registry, a.allocated)
                };
                (!announcements.is_empty()).then(|| announcements.iter().map(text).collect())
            }
            Question::Name(asn) => {
                let n = world.name(asn)?;
                Some(vec![format!("{asn} | {} | {} | {} | {}", n.country, n.registry, n.allocated, n.name)])
            }
            Question::Malformed => None,
        }
    }
}

/// A number without leading zeros or signs.
fn decimal<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

fn reversed_v4(labels: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = labels.split('.').rev().map(decimal).collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))
}

fn reversed_v6(labels: &str) -> Option<Ipv6Addr> {
    let nibbles: Vec<&str> = labels.split('.').rev().collect();
    let digits_only = nibbles.iter().all(|nibble| nibble.len() == 1 && nibble.as_bytes()[0].is_ascii_hexdigit());
    if nibbles.len() != 32 || !digits_only {
        return None;
    }
    u128::from_str_radix(&nibbles.concat(), 16).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_service_documents_them() {
        let origin = |text: &str| Question::Origin(text.parse().unwrap());
        assert_eq!(Question::parse("31.108.90.216.origin.asn.cymru.com."), origin("216.90.108.31"));
        assert_eq!(
            Question::parse("8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.b.0.6.8.4.1.0.0.2.origin6.asn.cymru.com."),
            origin("2001:4860:b002::68")
        );
        assert_eq!(Question::parse("AS23028.asn.cymru.com."), Question::Name(23028));
    }

    #[test]
    fn other_names_are_malformed() {
        for name in [
            "108.90.216.origin.asn.cymru.com.",
            "031.108.90.216.origin.asn.cymru.com.",
            "256.108.90.216.origin.asn.cymru.com.",
            "8.6.origin6.asn.cymru.com.",
            "2001:4860:b002::68.origin6.asn.cymru.com.",
            "AS.asn.cymru.com.",
            "AS4294967296.asn.cymru.com.",
            "AS023.asn.cymru.com.",
            "31.108.90.216.origin.asn.cymru.com.corp.invalid.",
            "example.invalid.",
        ] {
            assert_eq!(Question::parse(name), Question::Malformed, "{name}");
        }
    }
}
