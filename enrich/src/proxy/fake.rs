//! For tests: a proxy on loopback. Whatever host it is asked for, it leads to this machine.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it does with a request.
#[derive(Clone)]
pub(crate) enum Way {
    /// Opens the tunnel.
    Tunnel,
    /// Opens it for these credentials, as a header has them.
    Only(&'static str),
    /// Says this, and hangs up.
    Says(&'static str),
    /// Says nothing, until the client goes.
    Hangs,
    /// Says this without end, with pauses.
    Drips(&'static str, Duration),
}

pub(crate) struct FakeProxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeProxy {
    pub(crate) fn start(way: Way) -> FakeProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        // Ends with the process: nothing waits for it.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (way, log) = (way.clone(), log.clone());
                thread::spawn(move || drop(serve(stream, &way, &log)));
            }
        });
        FakeProxy { port, asked }
    }

    /// As a setting names it.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub(crate) fn name(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The requests, with their headers.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, way: &Way, log: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    log.lock().unwrap().push(head.clone());
    match way {
        Way::Only(wanted) if !head.contains(&format!("Proxy-Authorization: {wanted}\r\n")) => {
            stream.write_all(b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
        }
        Way::Tunnel | Way::Only(_) => {
            let target = head.split(' ').nth(1).unwrap_or_default();
            let port: u16 = target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
            let there = TcpStream::connect(("127.0.0.1", port))?;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nX-Some: header\r\n\r\n")?;
            let (mut from, mut to) = (there.try_clone()?, stream.try_clone()?);
            let back = thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
            let mut there = there;
            let _ = io::copy(&mut stream, &mut there);
            let _ = there.shutdown(std::net::Shutdown::Both);
            let _ = back.join();
            Ok(())
        }
        Way::Says(what) => stream.write_all(what.as_bytes()),
        Way::Hangs => stream.read(&mut [0]).map(drop),
        Way::Drips(what, pause) => what.bytes().cycle().try_for_each(|byte| {
            thread::sleep(*pause);
            stream.write_all(&[byte])
        }),
    }
}
