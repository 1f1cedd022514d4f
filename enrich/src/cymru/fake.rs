//! Servers on the loopback for tests: a DNS responder and a whois server, which misbehave on demand.
//!
//! The replies are put together byte by byte, so that they do not share the mistakes of the library that reads
//! them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A DNS server's answer to one query.
pub enum Say {
    Nothing,
    /// TXT records of one string each (cut into several where it is too long for one).
    Txt(Vec<String>),
    /// An error code; with 3 (no such name) the service's own SOA record.
    Code(u8),
    /// No error, no records, and the service's own SOA record.
    NoData,
    /// No such name (`true`) or no records, and an SOA record of this zone, if any: who does not know the service.
    Invented(bool, Option<&'static str>),
    /// Ask over TCP.
    Truncated,
    /// The right id, and no DNS message.
    Garbage,
    /// No error, and some name servers.
    Referral,
    /// A CNAME without its target.
    Alias,
    /// Closes the connection (over TCP).
    Close,
}

impl Say {
    pub fn txt(record: &str) -> Say {
        Say::Txt(vec![record.to_owned()])
    }
}

/// A query as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    /// How many were seen before.
    pub before: usize,
    pub tcp: bool,
    /// Whether it has a record of EDNS.
    pub edns: bool,
}

type Answer = dyn Fn(&Seen) -> Say + Send + Sync;

/// A DNS server, UDP and TCP on one port. Ends when it is dropped.
pub struct Dns {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl Dns {
    pub fn start(answer: impl Fn(&Seen) -> Say + Send + Sync + 'static) -> Dns {
        Dns::at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// At an address of this machine.
    pub fn at(address: SocketAddr, answer: impl Fn(&Seen) -> Say + Send + Sync + 'static) -> Dns {
        let (udp, tcp) = std::iter::repeat_with(|| UdpSocket::bind(address).unwrap())
            .find_map(|udp| Some((TcpListener::bind(udp.local_addr().unwrap()).ok()?, udp)))
            .map(|(tcp, udp)| (udp, tcp))
            .unwrap();
        let address = udp.local_addr().unwrap();
        let (seen, stop) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let answer: Arc<Answer> = Arc::new(answer);

        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (seen_udp, stop_udp, answer_udp) = (seen.clone(), stop.clone(), answer.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stop_udp.load(Ordering::Relaxed) {
                let Ok((length, peer)) = udp.recv_from(&mut buffer) else { continue };
                if let Some(reply) = reply(&buffer[..length], false, &seen_udp, &*answer_udp) {
                    let _ = udp.send_to(&reply, peer);
                }
            }
        });
        let (seen_tcp, stop_tcp) = (seen.clone(), stop.clone());
        thread::spawn(move || {
            for stream in tcp.incoming() {
                if stop_tcp.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(mut stream) = stream {
                    while serve_tcp(&mut stream, &seen_tcp, &*answer).is_some() {}
                }
            }
        });
        Dns { address, seen, stop }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve_tcp(stream: &mut TcpStream, seen: &Mutex<Vec<Seen>>, answer: &Answer) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query).ok()?;
    let reply = reply(&query, true, seen, answer)?;
    stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).ok()?;
    stream.write_all(&reply).ok()
}

fn reply(query: &[u8], tcp: bool, seen: &Mutex<Vec<Seen>>, answer: &Answer) -> Option<Vec<u8>> {
    let (name, question) = question(query);
    let query_seen = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|seen| seen.name == name).count();
        seen.push(Seen { name, before, tcp, edns: query[10..12] != [0, 0] });
        seen.last().cloned().unwrap()
    };
    let (flags, answers, authority): (u16, Vec<Vec<u8>>, Vec<Vec<u8>>) = match answer(&query_seen) {
        Say::Nothing | Say::Close => return None,
        Say::Garbage => return Some([&query[..2], b"\xff\xff\xff\xff\xff\xff garbage"].concat()),
        Say::Code(3) => (0x8183, vec![], vec![soa("asn.cymru.com.")]),
        Say::Code(code) => (0x8180 | u16::from(code), vec![], vec![]),
        Say::NoData => (0x8180, vec![], vec![soa("asn.cymru.com.")]),
        Say::Invented(name, zone) => (0x8180 | if name { 3 } else { 0 }, vec![], zone.map(soa).into_iter().collect()),
        Say::Truncated => (0x8380, vec![], vec![]),
        Say::Referral => (0x8080, vec![], vec![record(2, b"\x02ns\x07example\0")]),
        Say::Alias => (0x8180, vec![record(5, b"\x05other\x07example\0")], vec![]),
        Say::Txt(texts) => (0x8180, texts.iter().map(|text| txt(text.as_bytes())).collect(), vec![]),
    };
    let mut reply = query[..2].to_vec();
    reply.extend(flags.to_be_bytes());
    for count in [1, answers.len(), authority.len(), 0] {
        reply.extend(u16::try_from(count).unwrap().to_be_bytes());
    }
    reply.extend(question);
    reply.extend(answers.concat());
    reply.extend(authority.concat());
    Some(reply)
}

/// The name asked, with its last dot, and the bytes of the question.
fn question(query: &[u8]) -> (String, &[u8]) {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] != 0 {
        let label = &query[at + 1..at + 1 + usize::from(query[at])];
        name.push_str(&String::from_utf8_lossy(label));
        name.push('.');
        at += 1 + label.len();
    }
    (name, &query[12..at + 5])
}

/// A record about the name asked.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length.to_be_bytes(), data].concat()
}

/// The SOA record of a zone.
fn soa(zone: &str) -> Vec<u8> {
    let mut owner: Vec<u8> = Vec::new();
    for label in zone.split('.').filter(|label| !label.is_empty()) {
        owner.push(label.len() as u8);
        owner.extend(label.as_bytes());
    }
    owner.push(0);
    let data = [&b"\x02ns\x07example\0\x04root\x07example\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
    let length = u16::try_from(data.len()).unwrap();
    [&owner[..], &6u16.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length.to_be_bytes(), &data].concat()
}

fn txt(text: &[u8]) -> Vec<u8> {
    let strings: Vec<u8> = text.chunks(255).flat_map(|part| [&[part.len() as u8], part].concat()).collect();
    record(16, &strings)
}

/// A whois server: reads until `end`, then leaves the rest to `answer`.
pub fn whois(answer: impl Fn(&[String], &mut TcpStream) + Send + Sync + 'static) -> String {
    serve_whois(move |stream| {
        let mut question = String::new();
        let mut buffer = [0; 4096];
        while !question.ends_with("\nend\n") {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => question.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
                _ => return,
            }
        }
        let mut lines = question.lines();
        assert_eq!((lines.next(), lines.next()), (Some("begin"), Some("verbose")));
        let asked: Vec<String> = lines.filter(|line| *line != "end").map(str::to_owned).collect();
        answer(&asked, stream);
    })
}

/// A server that does as it likes with every connection, each on a thread of its own.
pub fn serve_whois(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(&mut stream));
        }
    });
    address
}
