//! GreyNoise's Community API: `GET /v3/community/{ip}` over HTTPS, with kept connections.

use super::faults::{FaultKind, GreyNoiseFault, Trouble};
use super::http::{Head, Reader, response};
use super::log::{Question, Service, Transport};
use super::scanners::Answer;
use super::tls::Acceptors;
use super::world::{Request, State, World};
use serde_json::json;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, acceptors: Acceptors, world: Arc<World>) {
    let acceptors = Arc::new(acceptors);
    // An accept that fails is the client's: it went away before.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let (world, acceptors) = (world.clone(), acceptors.clone());
            tokio::spawn(async move {
                // A client that leaves early sees nothing more, and there is nobody else to tell.
                let _ = connection(stream, &acceptors, &world).await;
            });
        }
    }
}

async fn connection(stream: TcpStream, acceptors: &Acceptors, world: &World) -> io::Result<()> {
    let mut closings = world.closings();
    let wrong_name = {
        let mut state = world.state();
        state.log.note_connection(Service::Greynoise);
        state.faults.meet_connection(&FaultKind::Greynoise(GreyNoiseFault::WrongName))
    };
    let acceptor = if wrong_name { &acceptors.wrong_name } else { &acceptors.good };
    let mut stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let mut reader = Reader::default();
    loop {
        let head = tokio::select! {
            head = reader.next(&mut stream) => head?,
            _ = closings.changed() => None,
        };
        let Some(head) = head else { break };
        let answered = answer(&mut stream, &head, world).await?;
        if !answered || head.close {
            break;
        }
    }
    stream.shutdown().await
}

/// Answers one request; `false`: the connection is of no use any more.
async fn answer(stream: &mut TlsStream<TcpStream>, head: &Head, world: &World) -> io::Result<bool> {
    let address = head.path.strip_prefix("/v3/community/").filter(|_| head.method == "GET");
    let ip: Option<IpAddr> = address.and_then(|text| text.parse().ok());
    let request = Request {
        service: Service::Greynoise,
        question: ip.map_or(Question::Malformed, Question::Address),
        text: &head.path,
        transport: Transport::Tls,
        key: head.key.is_some(),
        addresses: ip.as_slice(),
    };
    let (trouble, answer) = world.decide(&request, |state, trouble| {
        let answer = matter(state, address, ip, head.key.as_deref(), trouble);
        let status = answer.status.to_string();
        (answer, status)
    });
    tokio::time::sleep(trouble.delay).await;
    let fault = match trouble.fault {
        Some((FaultKind::Greynoise(fault), _)) => Some(fault),
        _ => None,
    };
    match fault {
        Some(GreyNoiseFault::Reset) => {
            stream.get_ref().0.set_zero_linger()?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Some(GreyNoiseFault::Hang) => {
            // Until the client has had enough.
            while Reader::default().next(stream).await?.is_some() {}
            Ok(false)
        }
        Some(GreyNoiseFault::SlowLoris(ms)) => {
            stream.get_ref().0.set_nodelay(true)?;
            for byte in response(&answer, JSON) {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Ok(true)
        }
        Some(GreyNoiseFault::Cut) => {
            let all = response(&answer, JSON);
            stream.write_all(&all[..all.len() - answer.body.len() / 2]).await?;
            Ok(false)
        }
        fault => {
            let html = fault == Some(GreyNoiseFault::Html200);
            stream.write_all(&response(&answer, if html { "text/html" } else { JSON })).await?;
            stream.flush().await?;
            Ok(true)
        }
    }
}

/// What the answer says. Quota is spent only on answers of the service itself, not on those of a fault.
fn matter(
    state: &mut State,
    address: Option<&str>,
    ip: Option<IpAddr>,
    key: Option<&str>,
    trouble: &Trouble,
) -> Answer {
    let ok = |body: String| Answer { status: 200, body, retry_after: None };
    let v4: Option<Ipv4Addr> = match ip {
        Some(IpAddr::V4(ip)) => Some(ip),
        _ => None,
    };
    match &trouble.fault {
        Some((FaultKind::Greynoise(GreyNoiseFault::Status { status, body, retry_after }), _)) => {
            Answer { status: *status, body: body.clone(), retry_after: retry_after.clone() }
        }
        Some((FaultKind::Greynoise(GreyNoiseFault::Html200), _)) => {
            ok("<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome</body></html>".into())
        }
        Some((FaultKind::Greynoise(GreyNoiseFault::Body2mb), _)) => {
            ok(json!({ "ip": ip, "noise": true, "riot": false, "message": "m".repeat(2 << 20) }).to_string())
        }
        Some((FaultKind::Greynoise(GreyNoiseFault::BadLastSeen), _)) => state.scanners.bad_last_seen(v4),
        Some((FaultKind::Greynoise(GreyNoiseFault::IpOnly), _)) => ok(json!({ "ip": ip }).to_string()),
        Some((FaultKind::Greynoise(GreyNoiseFault::Reset | GreyNoiseFault::Hang), _)) => Answer::no_such_page(),
        _ => address.map_or_else(Answer::no_such_page, |text| state.scanners.answer(text, key)),
    }
}
