//! Team Cymru's DNS: TXT records of `origin.asn.cymru.com`, `origin6.asn.cymru.com` and
//! `AS<n>.asn.cymru.com`, on UDP and TCP. Names that do not exist are NXDOMAIN, and so is every name of a
//! form that the service does not have: a client that forgets to reverse an address sees that at once.

use super::faults::{DnsFault, FaultKind, Trouble};
use super::log::{Question, Service, Transport};
use super::table::{Announcement, AsName};
use super::world::{Request as Asking, State, World};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{NULL, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// As the service's: long enough that a client which keeps answers by itself shows.
const TTL: u32 = 14_400;
/// The zone, and what its SOA names.
const ZONE: &str = "asn.cymru.com.";
/// What a TXT record can hold: 65,535 bytes with a length byte for each 255, and the fields before a name.
const MOST_TEXT: usize = 60_000;
/// How long a silent TCP connection is kept.
const IDLE: Duration = Duration::from_secs(10);

/// Starts to answer on one loopback port, UDP and TCP.
///
/// # Errors
/// When no port is free for both.
pub async fn start(world: Arc<World>) -> io::Result<(SocketAddr, Server<Zone>)> {
    let (udp, tcp) = sockets().await?;
    let address = udp.local_addr()?;
    let udp = udp.into_std()?;
    let zone = Zone { world, udp: udp.try_clone()?, apex: Name::from_ascii(ZONE).map_err(io::Error::other)? };
    let mut server = Server::new(zone);
    server.register_socket(UdpSocket::from_std(udp)?);
    server.register_listener(tcp, IDLE, 32);
    Ok((address, server))
}

/// A UDP and a TCP socket on the same port; what is free for one may be taken for the other.
async fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..50 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port is free for both UDP and TCP")))
}

/// The service.
pub struct Zone {
    world: Arc<World>,
    /// The server's own socket once more, for replies that no library would send.
    udp: std::net::UdpSocket,
    apex: Name,
}

/// What to reply.
struct Matter {
    code: ResponseCode,
    data: Vec<RData>,
}

impl Matter {
    fn of(code: ResponseCode) -> Matter {
        Matter { code, data: Vec::new() }
    }

    fn texts(texts: impl IntoIterator<Item = String>) -> Matter {
        Matter { code: ResponseCode::NoError, data: texts.into_iter().map(|text| txt(&text)).collect() }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, reply: R) -> ResponseInfo {
        let Ok(info) = request.request_info() else {
            return self.send(request, reply, Matter::of(ResponseCode::FormErr), false).await;
        };
        let text = info.query.name().to_string();
        let udp = info.protocol == Protocol::Udp;
        let question = question(&text, info.query.query_type());
        let asked_ip = match question {
            Question::Address(ip) => Some(ip),
            _ => None,
        };
        let asking = Asking {
            service: Service::Dns,
            question,
            text: &text,
            transport: if udp { Transport::Udp } else { Transport::Tcp },
            key: false,
            addresses: asked_ip.as_slice(),
        };
        let (trouble, matter) = self.world.decide(&asking, |state, trouble| {
            let matter = matter(state, &question, info.query.query_type(), &text, trouble);
            let plain =
                if matter.data.is_empty() { matter.code.to_string() } else { format!("{} records", matter.data.len()) };
            (matter, plain)
        });
        if !trouble.delay.is_zero() {
            tokio::time::sleep(trouble.delay).await;
        }
        match trouble.fault {
            Some((FaultKind::Dns(DnsFault::Drop | DnsFault::DropFirst(_)), _)) => silence(request),
            Some((FaultKind::Dns(DnsFault::Garbage), _)) if udp => {
                let mut noise = super::whois::noise(80);
                noise.splice(0..2, request.metadata.id.to_be_bytes());
                // A reply that cannot be sent is a dropped one, which the client has to bear as well.
                let _ = self.udp.send_to(&noise, request.src());
                silence(request)
            }
            Some((FaultKind::Dns(DnsFault::Truncate), _)) if udp => {
                self.send(request, reply, Matter::of(ResponseCode::NoError), true).await
            }
            _ => self.send(request, reply, matter, false).await,
        }
    }
}

impl Zone {
    async fn send<R: ResponseHandler>(
        &self,
        request: &Request,
        mut reply: R,
        matter: Matter,
        truncated: bool,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = matter.code != ResponseCode::Refused;
        metadata.truncation = truncated;
        metadata.response_code = matter.code;
        let name = request.queries.queries().first().map(|query| Name::from(query.name())).unwrap_or_default();
        let negative = matter.data.is_empty() && !truncated;
        let soa = (negative && [ResponseCode::NoError, ResponseCode::NXDomain].contains(&matter.code))
            .then(|| self.start_of_authority());
        let answers: Vec<Record> =
            matter.data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)).collect();
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, 4096));
            edns
        });
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            metadata,
            answers.iter(),
            [],
            soa.iter(),
            [],
        );
        match reply.send_response(response).await {
            Ok(info) => info,
            // The client is gone; there is nobody to tell.
            Err(_) => silence(request),
        }
    }

    fn start_of_authority(&self) -> Record {
        let data = SOA::new(self.apex.clone(), self.apex.clone(), 1, 3600, 600, 86_400, 60);
        Record::from_rdata(self.apex.clone(), 60, RData::SOA(data))
    }
}

/// What the library wants to hear of a request without a reply.
fn silence(request: &Request) -> ResponseInfo {
    let metadata = Metadata::response_from_request(&request.metadata);
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}

/// What a name, in lower case and rooted, asks about.
fn question(name: &str, kind: RecordType) -> Question {
    if kind != RecordType::TXT {
        return Question::Malformed;
    }
    if let Some(labels) = name.strip_suffix(".origin.asn.cymru.com.") {
        return reversed_v4(labels).map_or(Question::Malformed, Question::Address);
    }
    if let Some(labels) = name.strip_suffix(".origin6.asn.cymru.com.") {
        return reversed_v6(labels).map_or(Question::Malformed, Question::Address);
    }
    let number = name.strip_suffix(".asn.cymru.com.").and_then(|label| label.strip_prefix("as"));
    number.and_then(decimal).map_or(Question::Malformed, Question::AsName)
}

fn reversed_v4(labels: &str) -> Option<IpAddr> {
    let mut octets = labels.split('.').map(|label| decimal(label).and_then(|octet| u8::try_from(octet).ok()));
    let (d, c, b, a) = (octets.next()??, octets.next()??, octets.next()??, octets.next()??);
    octets.next().is_none().then(|| Ipv4Addr::new(a, b, c, d).into())
}

fn reversed_v6(labels: &str) -> Option<IpAddr> {
    let mut bits = 0_u128;
    let mut count = 0_u32;
    for label in labels.split('.') {
        let nibble = u128::from(u8::from_str_radix(label, 16).ok()?);
        if label.len() != 1 || count == 32 {
            return None;
        }
        bits |= nibble << (4 * count);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

/// Digits without a sign or a leading zero.
fn decimal(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

fn matter(state: &State, question: &Question, kind: RecordType, name: &str, trouble: &Trouble) -> Matter {
    match &trouble.fault {
        Some((FaultKind::Dns(DnsFault::Servfail), _)) => return Matter::of(ResponseCode::ServFail),
        Some((FaultKind::Dns(DnsFault::Refused), _)) => return Matter::of(ResponseCode::Refused),
        Some((FaultKind::Dns(DnsFault::Nxdomain), _)) => return Matter::of(ResponseCode::NXDomain),
        Some((FaultKind::Dns(DnsFault::ForeignTxt), _)) => {
            return Matter::texts(["v=spf1 include:_spf.example.net ~all".to_owned()]);
        }
        Some((FaultKind::Dns(DnsFault::Garbage), _)) => {
            // A string that says it is longer than the record.
            let cut = RData::Unknown { code: RecordType::TXT, rdata: NULL::with(vec![200, b'6', b'4']) };
            return Matter { code: ResponseCode::NoError, data: vec![cut] };
        }
        _ => {}
    }
    match question {
        Question::Address(ip) => {
            let found = state.table.covering(*ip);
            if found.is_empty() {
                return Matter::of(ResponseCode::NXDomain);
            }
            Matter::texts(found.iter().map(origin_text))
        }
        Question::AsName(asn) => match state.table.name_of(*asn) {
            Some(name) => Matter::texts([name_text(&name)]),
            None => Matter::of(ResponseCode::NXDomain),
        },
        _ if kind != RecordType::TXT && name.ends_with(ZONE) => Matter::of(ResponseCode::NoError),
        _ if name.ends_with(ZONE) => Matter::of(ResponseCode::NXDomain),
        _ => Matter::of(ResponseCode::Refused),
    }
}

/// `23028 | 216.90.108.0/24 | US | arin | 1998-09-25`
fn origin_text(found: &Announcement) -> String {
    let origins: Vec<String> = found.origins.iter().map(u32::to_string).collect();
    let Announcement { prefix, country, registry, allocated, .. } = found;
    format!("{} | {prefix} | {country} | {registry} | {allocated}", origins.join(" "))
}

/// `23028 | US | arin | 2002-01-04 | TEAM-CYMRU - Team Cymru Inc., US`
fn name_text(named: &AsName) -> String {
    let AsName { asn, name, country, registry, allocated } = named;
    format!("{asn} | {country} | {registry} | {allocated} | {name}")
}

/// One record, in strings of at most 255 bytes.
fn txt(text: &str) -> RData {
    let bytes = &text.as_bytes()[..text.len().min(MOST_TEXT)];
    RData::TXT(TXT::from_bytes(bytes.chunks(255).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(name: &str) -> Question {
        question(name, RecordType::TXT)
    }

    #[test]
    fn reversed_names_ask_about_addresses() {
        let v4: IpAddr = "216.90.108.31".parse().expect("an address");
        assert_eq!(asks("31.108.90.216.origin.asn.cymru.com."), Question::Address(v4));
        let v6: IpAddr = "2001:4860:b002::68".parse().expect("an address");
        let name = "8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.b.0.6.8.4.1.0.0.2.origin6.asn.cymru.com.";
        assert_eq!(asks(name), Question::Address(v6));
        assert_eq!(asks("as23028.asn.cymru.com."), Question::AsName(23_028));
    }

    #[test]
    fn names_of_another_form_ask_about_nothing() {
        for name in [
            "origin.asn.cymru.com.",
            "1.2.3.origin.asn.cymru.com.",
            "1.2.3.4.5.origin.asn.cymru.com.",
            "01.2.3.4.origin.asn.cymru.com.",
            "1.2.3.256.origin.asn.cymru.com.",
            "1.0.0.2.origin6.asn.cymru.com.",
            "2001:4860:b002::68.origin6.asn.cymru.com.",
            "+1.2.3.4.origin.asn.cymru.com.",
            "ff.ff.ff.ff.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.b.0.6.8.4.1.0.0.2.origin6.asn.cymru.com.",
            "as.asn.cymru.com.",
            "as4294967296.asn.cymru.com.",
            "as007.asn.cymru.com.",
            "4.3.2.1.peer.asn.cymru.com.",
            "example.net.",
        ] {
            assert_eq!(asks(name), Question::Malformed, "{name}");
        }
        assert_eq!(question("as23028.asn.cymru.com.", RecordType::A), Question::Malformed);
    }
}
