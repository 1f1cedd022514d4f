//! Small clients of the three protocols, independent of the code under test: they see the bytes as the fakes send them.

use asn_inventory_tests::fakes::{Fakes, Scanner};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longer than any answer takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes.
pub const BRIEF: Duration = Duration::from_millis(300);

/// Fakes in a directory of their own, which goes with them.
pub struct Own {
    fakes: Option<Fakes>,
    dir: PathBuf,
}

impl Own {
    /// Starts them.
    pub fn start() -> Own {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("asn-inventory-fakes-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        Own { fakes: Some(Fakes::start(&dir)), dir }
    }

    /// Ends the fakes and keeps their directory for a moment.
    pub fn end(&mut self) {
        self.fakes = None;
    }
}

impl Deref for Own {
    type Target = Fakes;

    fn deref(&self) -> &Fakes {
        self.fakes.as_ref().expect("the fakes were ended")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.fakes = None;
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Fakes that know a little of everything.
pub fn example() -> Own {
    let fakes = Own::start();
    fakes.announce("203.0.113.0/24", &[64500, 64501], "US");
    fakes.announce("203.0.112.0/20", &[64502], "DE");
    fakes.announce("2001:db8::/32", &[64503], "");
    fakes.name(64500, "EXAMPLE-AS - Example, US");
    fakes.scanner(Scanner::noise("203.0.113.9".parse().unwrap(), "malicious", "unknown"));
    fakes.scanner(Scanner::riot("8.8.8.8".parse().unwrap(), "Google Public DNS"));
    fakes
}

/// Whether a read gave up.
pub fn timed_out(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The name that asks for an address's origin.
pub fn origin_name(ip: &str) -> String {
    match ip.parse().unwrap() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.origin.asn.cymru.com.")
        }
        IpAddr::V6(v6) => {
            let nibbles: Vec<String> = format!("{:032x}", v6.to_bits()).chars().rev().map(String::from).collect();
            format!("{}.origin6.asn.cymru.com.", nibbles.join("."))
        }
    }
}

fn query(name: &str, edns: bool) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT));
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// The raw datagram that answers; an error when none comes in time.
pub fn datagram(fakes: &Fakes, name: &str, patience: Duration) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.send_to(&query(name, true), fakes.dns())?;
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// The answer over UDP.
pub fn udp(fakes: &Fakes, name: &str) -> Message {
    Message::from_vec(&datagram(fakes, name, PATIENCE).unwrap()).unwrap()
}

/// The answer over TCP.
pub fn tcp(fakes: &Fakes, name: &str) -> Message {
    let mut stream = connect(fakes.dns(), PATIENCE);
    let bytes = query(name, false);
    stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

/// The TXT records of a message, and its code.
pub fn texts(message: &Message) -> (ResponseCode, Vec<String>) {
    let text = |data: &RData| match data {
        RData::TXT(txt) => {
            let bytes: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        other => panic!("no TXT record: {other:?}"),
    };
    (message.metadata.response_code, message.answers.iter().map(|record| text(&record.data)).collect())
}

/// A connection whose reads give up in time.
pub fn connect(address: std::net::SocketAddr, patience: Duration) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream
}

/// A verbose bulk session: what came, and how the connection ended.
pub fn bulk(fakes: &Fakes, addresses: &[&str], patience: Duration) -> (Vec<u8>, io::Result<()>) {
    let request = format!("begin\nverbose\n{}\nend\n", addresses.join("\n"));
    whois(fakes, &request, patience)
}

/// Any whois session.
pub fn whois(fakes: &Fakes, request: &str, patience: Duration) -> (Vec<u8>, io::Result<()>) {
    let mut stream = connect(fakes.whois(), patience);
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    let end = stream.read_to_end(&mut reply).map(|_| ());
    let _ = stream.shutdown(Shutdown::Both);
    (reply, end)
}

/// The rows of a good bulk session, their fields without padding.
pub fn rows(fakes: &Fakes, addresses: &[&str]) -> Vec<String> {
    let (reply, end) = bulk(fakes, addresses, PATIENCE);
    end.unwrap();
    let text = String::from_utf8(reply).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("Bulk mode; whois.cymru.com ["), "{text}");
    lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
}

/// An HTTPS connection that trusts the fakes' authority only.
pub struct Https(StreamOwned<ClientConnection, TcpStream>);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Whether the head has this line.
    pub fn has(&self, line: &str) -> bool {
        self.head.lines().any(|own| own.eq_ignore_ascii_case(line))
    }
}

impl Https {
    /// Connects and shakes hands.
    pub fn connect(fakes: &Fakes, patience: Duration) -> io::Result<Https> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(fakes.ca_file()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let url = fakes.greynoise_url();
        let (host, port) = url.strip_prefix("https://").unwrap().split_once(':').unwrap();
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().unwrap()))?;
        socket.set_read_timeout(Some(patience))?;
        let client = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned()).unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Https(stream))
    }

    /// Asks about an address and reads the whole answer.
    pub fn get(&mut self, ip: &str, key: Option<&str>) -> io::Result<Answer> {
        let key = key.map(|key| format!("key: {key}\r\n")).unwrap_or_default();
        self.send(&format!(
            "GET /v3/community/{ip} HTTP/1.1\r\nHost: localhost\r\n{key}Accept: application/json\r\n\r\n"
        ))
    }

    /// Sends any request and reads the whole answer.
    pub fn send(&mut self, request: &str) -> io::Result<Answer> {
        self.0.write_all(request.as_bytes())?;
        self.0.flush()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, head, body })
    }
}

/// One question over a connection of its own.
pub fn get(fakes: &Fakes, ip: &str) -> io::Result<Answer> {
    get_within(fakes, ip, PATIENCE)
}

/// As [`get`], giving up sooner.
pub fn get_within(fakes: &Fakes, ip: &str, patience: Duration) -> io::Result<Answer> {
    Https::connect(fakes, patience)?.get(ip, Some("fake-greynoise-key"))
}
